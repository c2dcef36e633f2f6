#!/usr/bin/env bash
# Posts a visit, the purchase that follows, the same purchase again, a batch, and a mistake; prints the answers. Works with what
# `conversion-relay serve` starts with:
#
#   ./post-events.sh                                          relay on 127.0.0.1:8080, key from ./data/relay.key
#   RELAY_URL=https://t.example.com RELAY_KEY=… ./post-events.sh
set -euo pipefail

url=${RELAY_URL:-http://127.0.0.1:8080}
key=${RELAY_KEY:-$(cat data/relay.key)}

post() { # path, body
    printf '\nPOST %s\n' "$1"
    curl --silent --show-error --max-time 30 --write-out ' (%{http_code})\n' "$url$1" \
        --header "Authorization: Bearer $key" --header 'Content-Type: application/json' --data "$2"
}

# What the shop's page would post when a visitor lands with a click id.
visit=$(post /v1/visits '{
  "url": "https://shop.example/mugs?gclid=EAIaIQobChMI-example&fbclid=IwAR2example&utm_source=google&utm_campaign=mugs",
  "consent": {"ad_user_data": "granted", "ad_personalization": "granted"}
}')
echo "$visit"
visitor=$(printf '%s' "$visit" | sed -n 's/.*"visitor_id":"\([^"]*\)".*/\1/p')

purchase='{
  "event": "purchase", "event_id": "order-1001", "transaction_id": "1001", "visitor_id": "'"$visitor"'",
  "value": "49.99", "currency": "USD",
  "items": [{"id": "sku-1", "name": "Mug", "quantity": 2, "price": "12.50"}],
  "user": {"email": "ada@example.com", "phone": "+1 650 555 1212", "first_name": "Ada", "last_name": "Lovelace"},
  "context": {"url": "https://shop.example/thanks", "user_agent": "Mozilla/5.0 (example)", "ip": "203.0.113.7"}
}'
post /v1/events "$purchase"
echo "once more, as a webhook would: it counts once"
post /v1/events "$purchase"

echo "a batch: a lead from the CRM, a refund, and an event with a mistake"
post /v1/events '{"events": [
  {"event": "generate_lead", "event_id": "lead-7", "action_source": "system_generated", "user": {"email": "ada@example.com"}},
  {"event": "refund", "event_id": "refund-1001", "transaction_id": "1001"},
  {"event": "purchase", "value": "5", "currency": "EURO"}
]}'
