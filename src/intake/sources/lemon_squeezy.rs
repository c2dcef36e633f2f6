//! Lemon Squeezy: orders, subscription payments and refunds.
//!
//! Source: reference/webhooks.md (signature, field map), read 2026-11-20; field names after the public API reference.

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
    model::{ActionSource, Currency, EventName, Item, Settings, Time},
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
        Ok(Parsed::one(id, self.report(&topic, body)?))
    }
}

impl LemonSqueezy {
    fn report(&self, topic: &str, body: Value) -> Result<Report, Refusal> {
        let attributes = json::at(&body, "/data/attributes").unwrap_or(&Value::Null);
        let status = json::text(attributes, "/status").unwrap_or_default();
        let invoice = topic.starts_with("subscription_payment_");
        let refund = match topic {
            "order_created" | "subscription_payment_success" => false,
            "order_refunded" | "subscription_payment_refunded" => true,
            _ => return Ok(Report::ignored(topic, "not a conversion")),
        };
        if json::flag(&body, "/meta/test_mode") && self.test_events == TestEvents::Ignore {
            return Ok(Report::ignored(topic, "test event"));
        }
        if topic == "order_created" && status != "paid" {
            return Ok(Report::ignored(topic, "not paid"));
        }
        if invoice && json::text(attributes, "/billing_reason").as_deref() == Some("initial") {
            // Its order tells of the same money.
            return Ok(Report::ignored(topic, "counted by another topic"));
        }
        let currency = json::currency(attributes, "/currency")?;
        let (event, value) = if refund {
            self.after_refund(attributes, currency, status == "partial_refund")?
        } else {
            ("purchase", self.value(attributes, currency)?)
        };
        let mut draft = Draft {
            time: json::time(attributes, if refund { "/refunded_at" } else { "/created_at" }).ok().flatten(),
            transaction_id: if invoice {
                json::text(&body, "/data/id").map(|id| format!("invoice-{id}"))
            } else {
                json::first(attributes, &["/identifier", "/order_number"])
            },
            value,
            currency: Some(currency.code().to_owned()),
            action_source: invoice.then_some(ActionSource::SystemGenerated),
            ..Draft::named(event)
        };
        draft.user.emails.extend(json::raw(attributes, "/user_email"));
        if let Some(name) = json::text(attributes, "/user_name") {
            json::name(&name, &mut draft.user);
        }
        draft.user.external_ids.extend(json::raw(attributes, "/customer_id"));
        if let Some(item) = json::at(attributes, "/first_order_item").filter(|_| !refund) {
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

    /// What an order or invoice is worth as a purchase. Prices may include their tax or not: only what is left of the total
    /// is right for both.
    fn value(&self, attributes: &Value, currency: Currency) -> Result<Option<Decimal>, Refusal> {
        let amount = |pointer| json::minor(attributes, pointer, currency);
        let total = amount("/total")?;
        if self.worth == Worth::Total {
            return Ok(total);
        }
        if let Some((total, tax)) = total.zip(amount("/tax")?) {
            return Ok(Some((total - tax).max(Decimal::ZERO)));
        }
        let discount = amount("/discount_total")?.unwrap_or_default();
        Ok(amount("/subtotal")?.map(|subtotal| (subtotal - discount).max(Decimal::ZERO)).or(total))
    }

    /// What a refund makes of an order or invoice. It tells the sum of all refunds so far, tax included, and with that what is
    /// left: of a value without tax, the same share.
    fn after_refund(
        &self,
        attributes: &Value,
        currency: Currency,
        partial: bool,
    ) -> Result<(&'static str, Option<Decimal>), Refusal> {
        let amount = |pointer| json::minor(attributes, pointer, currency);
        let (total, refunded) = (amount("/total")?, amount("/refunded_amount")?);
        let whole = self.value(attributes, currency)?;
        if !partial {
            return Ok(("refund", if self.worth == Worth::Total { refunded.or(whole) } else { whole.or(refunded) }));
        }
        let left = total.zip(refunded).map(|(total, refunded)| (total - refunded).max(Decimal::ZERO));
        let share = || {
            let (total, left, whole) = (total.filter(|total| !total.is_zero())?, left?, whole?);
            let share = whole.checked_mul(left)?.checked_div(total)?;
            Some(share.round_dp_with_strategy(currency.exponent(), RoundingStrategy::MidpointAwayFromZero))
        };
        let left = if self.worth == Worth::Total { left } else { share().or(left) };
        Ok((EventName::RESTATEMENT, left))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json as value;

    use super::{super::testing, *};

    const CONFIG: &str = "secrets = ['shhh']";

    #[test]
    fn fixtures_read_as_their_snapshots() {
        testing::snapshots("lemon_squeezy", &DESCRIPTOR, CONFIG);
    }

    #[test]
    fn without_tax_a_refund_takes_its_share() {
        let source = testing::build(&DESCRIPTOR, "secrets = ['shhh']\nvalue = 'subtotal'");
        let of = |topic: &str, status: &str, refunded: i64| {
            let attributes = value!({ "identifier": "o-1", "currency": "EUR", "status": status, "subtotal": 5000,
                "discount_total": 1000, "tax": 760, "total": 4760, "refunded_amount": refunded });
            let body = value!({ "meta": { "event_name": topic }, "data": { "id": "1", "attributes": attributes } });
            let read = testing::reads(source.as_ref(), &testing::headers([]), body.to_string().as_bytes());
            let event = &read["reports"][0]["event"];
            (event["event"].as_str().map(str::to_owned), event["value"].as_str().map(str::to_owned))
        };
        let said = |event: &str, value: &str| (Some(event.to_owned()), Some(value.to_owned()));
        assert_eq!(of("order_created", "paid", 0), said("purchase", "40.00"));
        assert_eq!(of("order_refunded", "partial_refund", 1190), said("restatement", "30.00"));
        assert_eq!(of("order_refunded", "refunded", 4760), said("refund", "40.00"));
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
}
