//! Lemon Squeezy: orders, subscription payments and refunds.
//!
//! Source: reference/webhooks.md (signature, field map), read 2026-11-20; field names after the public API reference.

use std::sync::Arc;

use rust_decimal::RoundingStrategy;
use serde_json::Value;

use super::{
    Common, Descriptor, Inbound, Parsed, Refusal, Report, Source, TestEvents, Told, Verified, Worth, header, json,
    verify::{Secrets, from_hex, no_signature},
    worth,
};
use crate::{
    intake::Draft,
    model::{ActionSource, EventName, Item, Settings, Time},
};

/// Kind `lemon_squeezy`.
pub(super) const DESCRIPTOR: Descriptor = Descriptor { kind: "lemon_squeezy", build };

struct LemonSqueezy {
    secrets: Secrets,
    worth: Worth,
    test_events: TestEvents,
}

fn build(common: &Common, settings: &mut Settings) -> Option<Arc<dyn Source>> {
    let secrets = Secrets::read(settings, "the signing secret of the webhook");
    let worth = worth(settings);
    Some(Arc::new(LemonSqueezy { secrets: secrets?, worth, test_events: common.test_events }))
}

impl Source for LemonSqueezy {
    fn verify<'a>(&self, inbound: &'a Inbound<'a>, _now: Time) -> Result<Verified<'a>, Refusal> {
        let given = header(inbound.headers, "x-signature").and_then(from_hex);
        let given = given.ok_or(no_signature("there is no sound X-Signature header; is a signing secret set?"))?;
        self.secrets.hmac(inbound, &[inbound.body], &[given])
    }

    fn parse(&self, verified: &Verified<'_>) -> Result<Parsed, Refusal> {
        let body = json::body(verified.body())?;
        let topic = json::text(&body, "/meta/event_name").unwrap_or_default();
        // Deliveries have no id of their own: data.id and the topic tell them apart.
        let id = json::text(&body, "/data/id").map(|id| format!("{topic}.{id}"));
        Ok(Parsed::one(id, self.report(&topic, body)))
    }
}

impl LemonSqueezy {
    fn report(&self, topic: &str, body: Value) -> Result<Report, Refusal> {
        let attributes = json::at(&body, "/data/attributes").unwrap_or(&Value::Null);
        let status = json::text(attributes, "/status").unwrap_or_default();
        let event = match topic {
            "order_created" | "subscription_payment_success" => "purchase",
            // It tells the sum of all refunds so far, and with that what is left.
            "order_refunded" | "subscription_payment_refunded" if status == "partial_refund" => EventName::RESTATEMENT,
            "order_refunded" | "subscription_payment_refunded" => "refund",
            _ => return Ok(Report::ignored(topic, "not a conversion")),
        };
        if json::flag(&body, "/meta/test_mode") && self.test_events == TestEvents::Ignore {
            return Ok(Report::ignored(topic, "test event"));
        }
        if topic == "order_created" && !["paid", "refunded", "partial_refund"].contains(&status.as_str()) {
            return Ok(Report::ignored(topic, "not paid"));
        }
        let renewal = topic.starts_with("subscription_payment_");
        if renewal && json::text(attributes, "/billing_reason").as_deref() == Some("initial") {
            // Its order tells of the same money.
            return Ok(Report::ignored(topic, "counted by another topic"));
        }
        let currency = json::currency(attributes, "/currency")?;
        let amount = |pointer| json::minor(attributes, pointer, currency);
        let total = amount("/total")?;
        // Whether prices include their tax or not, and a setup fee was paid or not: this is the goods, after discounts.
        let goods = total.map(|total| total - amount("/tax").ok().flatten().unwrap_or_default());
        let worth = if self.worth == Worth::Subtotal { goods } else { total };
        // Of a refund only the sum is told, tax included: it takes its share of what the purchase counted.
        let refunded = match (amount("/refunded_amount")?, total, worth) {
            (Some(refunded), Some(total), Some(worth)) if !total.is_zero() => {
                let share = refunded.checked_mul(worth).and_then(|product| product.checked_div(total));
                share.map(|share| {
                    share.round_dp_with_strategy(currency.exponent(), RoundingStrategy::MidpointAwayFromZero)
                })
            }
            (refunded, ..) => refunded,
        };
        let value = match event {
            "refund" => refunded,
            EventName::RESTATEMENT => worth.zip(refunded).map(|(worth, refunded)| worth - refunded),
            _ => worth,
        };
        let mut draft = Draft {
            time: json::time(attributes, if event == "purchase" { "/created_at" } else { "/refunded_at" })?,
            transaction_id: if renewal {
                json::text(&body, "/data/id").map(|id| format!("invoice-{id}"))
            } else {
                json::first(attributes, &["/identifier", "/order_number"])
            },
            value,
            currency: Some(currency.code().to_owned()),
            action_source: renewal.then_some(ActionSource::SystemGenerated),
            ..Draft::named(event)
        };
        draft.user.emails.extend(json::raw(attributes, "/user_email"));
        if let Some(name) = json::text(attributes, "/user_name") {
            json::name(&name, &mut draft.user);
        }
        draft.user.external_ids.extend(json::raw(attributes, "/customer_id"));
        if let Some(item) = json::at(attributes, "/first_order_item").filter(|_| event == "purchase") {
            draft.items.push(Item {
                id: json::first(item, &["/variant_id", "/product_id"]),
                name: json::text(item, "/product_name"),
                quantity: json::decimal(item, "/quantity").ok().flatten(),
                price: json::minor(item, "/price", currency).ok().flatten(),
            });
        }
        if let Some(Value::Object(custom)) = body.pointer("/meta/custom_data") {
            custom.iter().filter_map(|(name, value)| Some((name, value.as_str()?))).for_each(|(name, value)| {
                draft.carry(name, value);
            });
        }
        Ok(Told::new(draft, body).into())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{super::testing, *};

    const CONFIG: &str = "secrets = ['shhh']";

    #[test]
    fn fixtures_read_as_their_snapshots() {
        testing::snapshots("lemon_squeezy", &DESCRIPTOR, CONFIG);
    }

    /// Vector: reference/webhooks.md, "Signature test vectors".
    #[test]
    fn the_signature_is_checked() {
        let source = testing::build(&DESCRIPTOR, CONFIG);
        let body = br#"{"id":1,"email":"a@b.test"}"#;
        let right = "cd0740ed91f366cb18aa557a435d1cd2100ef5f9636d0416a4e0501d429d6df0";
        let verdict = |signature: Option<&str>, body: &[u8]| {
            let headers = testing::headers(signature.map(|signature| ("x-signature", signature)));
            let inbound = Inbound { headers: &headers, query: None, body };
            source.verify(&inbound, testing::NOW).err().map(|refusal| refusal.reason)
        };
        assert_eq!(verdict(Some(right), body), None);
        assert_eq!(verdict(Some(right), br#"{"id":2,"email":"a@b.test"}"#), Some("bad_signature"));
        assert_eq!(verdict(None, body), Some("no_signature"));
        assert_eq!(verdict(Some("zz"), body), Some("no_signature"));
    }

    #[test]
    fn a_subtotal_is_without_tax_and_its_refunds_come_to_the_same() {
        let source = testing::build(&DESCRIPTOR, "secrets = ['shhh']\nvalue = 'subtotal'");
        let reads = |topic: &str, status: &str, refunded: u32| {
            let attributes = json!({
                "identifier": "a", "currency": "EUR", "status": status, "tax_inclusive": true, "billing_reason": "renewal",
                "subtotal": 1000, "setup_fee": 190, "tax": 190, "total": 1190, "refunded_amount": refunded,
                "created_at": "2026-11-20T08:15:00Z", "refunded_at": "2026-11-20T08:45:00Z",
                "first_order_item": { "price": "?", "quantity": [] },
            });
            let body = json!({ "meta": { "event_name": topic }, "data": { "id": "7", "attributes": attributes } });
            let read = testing::reads(&*source, &testing::headers([]), body.to_string().as_bytes());
            ["event", "transaction_id", "value"]
                .map(|key| read["reports"][0]["event"][key].as_str().unwrap_or("-").to_owned())
        };
        assert_eq!(reads("order_created", "paid", 0), ["purchase", "a", "10.00"]);
        assert_eq!(reads("order_refunded", "partial_refund", 595), ["restatement", "a", "5.00"]);
        assert_eq!(reads("order_refunded", "refunded", 1190), ["refund", "a", "10.00"]);
        assert_eq!(reads("subscription_payment_success", "paid", 0), ["purchase", "invoice-7", "10.00"]);
        assert_eq!(reads("subscription_payment_refunded", "refunded", 1190), ["refund", "invoice-7", "10.00"]);
    }
}
