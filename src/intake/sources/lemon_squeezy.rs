//! Lemon Squeezy: orders, subscription payments and refunds.
//!
//! Source: docs.lemonsqueezy.com (webhooks, objects of the API) and its SDK for JavaScript, read 2026-11-20.

use std::sync::Arc;

use rust_decimal::{Decimal, RoundingStrategy};
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
        let refunded = match topic {
            "order_created" | "subscription_payment_success" => false,
            "order_refunded" | "subscription_payment_refunded" => true,
            _ => return Ok(Report::ignored(topic, "not a conversion")),
        };
        if json::flag(&body, "/meta/test_mode") && self.test_events == TestEvents::Ignore {
            return Ok(Report::ignored(topic, "test event"));
        }
        if topic == "order_created" && !["paid", "partial_refund", "refunded"].contains(&status.as_str()) {
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
        let worth = match self.worth {
            Worth::Total => total,
            // Prices may include their tax or not: only what is left of the total is right for both.
            Worth::Subtotal => match total.zip(amount("/tax")?) {
                Some((total, tax)) => Some((total - tax).max(Decimal::ZERO)),
                None => {
                    let discount = amount("/discount_total")?.unwrap_or_default();
                    amount("/subtotal")?.map(|subtotal| (subtotal - discount).max(Decimal::ZERO))
                }
            },
        };
        let given_back = if refunded { amount("/refunded_amount")? } else { None };
        // The sum of all refunds so far is told, and with that what is left. The status of an invoice knows no part.
        let in_part = status == "partial_refund" || total.zip(given_back).is_some_and(|(total, back)| back < total);
        // What it takes of the purchase's value: tax was given back with the rest.
        let taken = given_back.map(|back| {
            let share = total.zip(worth).and_then(|(total, worth)| back.checked_mul(worth)?.checked_div(total));
            let rounded = |share: Decimal| {
                share.round_dp_with_strategy(currency.exponent(), RoundingStrategy::MidpointAwayFromZero)
            };
            if self.worth == Worth::Total { back } else { share.map_or(back, rounded) }
        });
        let (event, value) = match (refunded, in_part) {
            (false, _) => ("purchase", worth),
            (true, true) => {
                (EventName::RESTATEMENT, worth.zip(taken).map(|(worth, taken)| (worth - taken).max(Decimal::ZERO)))
            }
            (true, false) => ("refund", taken),
        };
        let mut draft = Draft {
            time: json::time(attributes, if event == "purchase" { "/created_at" } else { "/refunded_at" })
                .ok()
                .flatten(),
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
    use super::{super::testing, *};

    const CONFIG: &str = "secrets = ['shhh']";

    /// Event, transaction and value of a body.
    fn read(config: &str, body: &serde_json::Value) -> [String; 3] {
        let read =
            testing::reads(&*testing::build(&DESCRIPTOR, config), &testing::headers([]), body.to_string().as_bytes());
        let event = &read["reports"][0]["event"];
        ["event", "transaction_id", "value"].map(|name| event[name].as_str().unwrap_or_default().to_owned())
    }

    #[test]
    fn a_refund_takes_what_it_is_of_the_value_that_the_purchase_had() {
        let order = |topic: &str, status: &str, refunded: u32| {
            serde_json::json!({
                "meta": { "event_name": topic },
                "data": { "id": "1", "attributes": {
                    "identifier": "o-1", "status": status, "currency": "EUR", "subtotal": 5000, "discount_total": 1000,
                    "tax": 760, "total": 4760, "refunded_amount": refunded,
                } },
            })
        };
        let net = format!("{CONFIG}\nvalue = 'subtotal'");
        let of = |config: &str, topic, status, refunded| read(config, &order(topic, status, refunded));
        assert_eq!(of(&net, "order_created", "paid", 0), ["purchase", "o-1", "40.00"]);
        assert_eq!(of(&net, "order_refunded", "partial_refund", 1190)[..], ["restatement", "o-1", "30.00"]);
        assert_eq!(of(&net, "order_refunded", "refunded", 4760), ["refund", "o-1", "40.00"]);
        assert_eq!(of(CONFIG, "order_refunded", "partial_refund", 1190), ["restatement", "o-1", "35.70"]);
        assert_eq!(of(CONFIG, "order_refunded", "refunded", 4760), ["refund", "o-1", "47.60"]);
    }

    #[test]
    fn a_subtotal_is_without_tax_also_where_prices_include_it() {
        let order = |status: &str| {
            serde_json::json!({
                "meta": { "event_name": "order_created" },
                "data": { "id": "1", "attributes": {
                    "identifier": "o-1", "status": status, "currency": "EUR", "tax_inclusive": true,
                    "subtotal": 1000, "setup_fee": 190, "tax": 190, "total": 1190,
                } },
            })
        };
        let net = format!("{CONFIG}\nvalue = 'subtotal'");
        assert_eq!(read(&net, &order("paid")), ["purchase", "o-1", "10.00"]);
        assert_eq!(read(&net, &order("refunded")), ["purchase", "o-1", "10.00"], "its refund is another event");
        assert_eq!(read(&net, &order("pending")), ["", "", ""]);
    }

    #[test]
    fn a_refund_of_a_renewal_is_that_of_its_invoice() {
        let invoice = |reason: &str, refunded: u32| {
            serde_json::json!({
                "meta": { "event_name": "subscription_payment_refunded" },
                "data": { "id": "881", "attributes": {
                    "billing_reason": reason, "status": "refunded", "currency": "JPY", "subtotal": 980, "total": 1078,
                    "refunded_amount": refunded,
                } },
            })
        };
        assert_eq!(read(CONFIG, &invoice("renewal", 1078)), ["refund", "invoice-881", "1078"]);
        assert_eq!(read(CONFIG, &invoice("renewal", 78)), ["restatement", "invoice-881", "1000"]);
        assert_eq!(read(CONFIG, &invoice("initial", 1078)), ["", "", ""], "its order tells of it");
    }

    #[test]
    fn fixtures_read_as_their_snapshots() {
        testing::snapshots("lemon_squeezy", &DESCRIPTOR, CONFIG);
    }

    #[test]
    fn without_tax_is_without_tax_also_where_prices_include_it() {
        let attributes = serde_json::json!({
            "identifier": "o-1", "currency": "EUR", "status": "paid", "tax_inclusive": true, "subtotal": 11900,
            "discount_total": 0, "tax": 1900, "total": 11900, "created_at": "soon",
        });
        let body =
            serde_json::json!({ "meta": { "event_name": "order_created" }, "data": { "attributes": attributes } });
        assert_eq!(read("secrets = ['s']\nvalue = 'subtotal'", &body), ["purchase", "o-1", "100.00"]);
    }

    /// Vector: computed outside this code, with the vendor\'s own package where there is one.
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
}
