#!/bin/sh
# Posts a body to a source as Shopify does: signed with HMAC-SHA256 over the raw bytes, in Base64.
#
#   examples/send-webhook.sh http://127.0.0.1:8080/webhooks/shop SECRET orders/paid order.json
#
# The relay's configuration has to hold:
#
#   [[sources]]
#   name = "shop"
#   kind = "shopify"
#   secrets = ["SECRET"]
set -eu
if [ $# -ne 4 ]; then
    echo "usage: $0 ADDRESS SECRET TOPIC BODY.json" >&2
    exit 2
fi
signature=$(openssl dgst -sha256 -hmac "$2" -binary "$4" | base64)
# --data-binary sends the file byte for byte: one byte more or less, and the signature does not fit.
curl --silent --show-error --data-binary "@$4" "$1" \
    --header 'Content-Type: application/json' \
    --header "X-Shopify-Topic: $3" \
    --header "X-Shopify-Hmac-Sha256: $signature"
echo
