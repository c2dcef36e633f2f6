//! WooCommerce: orders with their refunds, and new customers.
//!
//! There is no topic for a payment: `order.updated` comes at every change of an order, so each order is reported as often as
//! it changes, and counts by its number. A delivery that fails is never repeated: what was missed is listed
//! (`conversion-relay reconcile`).
//!
//! Source: class-wc-webhook.php of woocommerce/woocommerce @00e1bc4d (signature, headers, ping, failures) and the REST API v3
//! (orders, customers), read 2026-11-20.

mod listing;
mod order;
#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use axum::http::header::CONTENT_TYPE;
use serde_json::Value;

use self::{
    listing::Api,
    order::{Numbering, Orders, sign_up},
};
use super::{
    Common, Descriptor, Inbound, Listing, Parsed, Refusal, Reply, Report, Source, Taken, Verified, header, json,
    verify::{Secrets, from_base64, no_signature},
    worth,
};
use crate::model::{Settings, Time};

/// Kind `woocommerce`.
pub(super) const DESCRIPTOR: Descriptor = Descriptor { kind: "woocommerce", build };

const DAY: Duration = Duration::from_secs(86_400);

struct WooCommerce {
    secrets: Secrets,
    orders: Orders,
    api: Option<Api>,
}

fn build(common: &Common, settings: &mut Settings) -> Option<Arc<dyn Source>> {
    let secrets = Secrets::read(settings, "the secret of the webhook (WooCommerce > Settings > Advanced > Webhooks)");
    let status = |text: &str| {
        let status = text.trim().trim_start_matches("wc-");
        (!status.is_empty()).then(|| status.to_owned())
    };
    let paid_statuses = settings.list("paid_statuses", "a status such as processing", status);
    let numbering = settings.parsed("transaction_id", "id or number", |text| match text {
        "id" => Some(Numbering::Id),
        "number" => Some(Numbering::Number),
        _ => None,
    });
    let orders = Orders {
        worth: worth(settings),
        paid_statuses: paid_statuses.unwrap_or_else(|| ["processing", "completed"].map(str::to_owned).into()),
        numbering: numbering.unwrap_or_default(),
        report_within: settings.duration("report_within", DAY..=DAY * 400).unwrap_or(DAY * 30),
        refunds_within: settings.duration("refunds_within", DAY..=DAY * 400).unwrap_or(DAY * 60),
        test_events: common.test_events,
    };
    let api = Api::read(settings);
    Some(Arc::new(WooCommerce { secrets: as_signed(&secrets?), orders, api }))
}

impl Source for WooCommerce {
    /// The ping of a webhook that is being saved: `webhook_id=N`, unsigned; anything but 200 and it cannot be saved.
    fn greets(&self, inbound: &Inbound<'_>) -> bool {
        let id = inbound.body.strip_prefix(b"webhook_id=").unwrap_or_default();
        let form = |kind: &str| kind.to_ascii_lowercase().starts_with("application/x-www-form-urlencoded");
        (1..=20).contains(&id.len())
            && id.iter().all(u8::is_ascii_digit)
            && !inbound.headers.contains_key("x-wc-webhook-signature")
            && header(inbound.headers, CONTENT_TYPE.as_str()).is_none_or(form)
    }

    fn verify<'a>(&self, inbound: &'a Inbound<'a>, _now: Time) -> Result<Verified<'a>, Refusal> {
        let given = header(inbound.headers, "x-wc-webhook-signature").and_then(from_base64);
        let given = given.ok_or(no_signature("there is no sound X-WC-Webhook-Signature header; is a secret set?"))?;
        self.secrets.hmac(inbound, &[inbound.body], &[given])
    }

    fn parse(&self, verified: &Verified<'_>) -> Result<Parsed, Refusal> {
        let body = json::body(verified.body())?;
        let topic = verified.header("x-wc-webhook-topic").unwrap_or_else(|| topic_of(&body)).to_owned();
        // The header's delivery id is a hash of the second: neither unique, nor the same at a second delivery.
        let parts = ["/id", "/date_modified_gmt"].into_iter().filter_map(|pointer| json::text(&body, pointer));
        let delivery_id = parts.fold(topic.clone(), |id, part| format!("{id}.{part}"));
        let delivery_id = Some(delivery_id).filter(|_| json::at(&body, "/id").is_some());
        let reports = match topic.as_str() {
            "order.created" | "order.updated" | "order.restored" => self.orders.reports(&topic, body),
            "customer.created" => Ok(vec![sign_up(&topic, body)]),
            _ => Ok(vec![Report::ignored(topic, "not a conversion")]),
        };
        Ok(Parsed::of(delivery_id, reports))
    }

    /// WooCommerce repeats nothing, and switches a webhook off after six answers in a row that are no success: what was read
    /// and refused is told in the log and the counts, and answered like the rest.
    fn answer(&self, taken: &Taken) -> Option<Reply> {
        let only_refused = taken.accepted.is_empty() && taken.duplicates.is_empty() && taken.ignored == 0;
        (only_refused && !taken.refused.is_empty()).then(|| Reply {
            status: 200,
            content_type: "application/json",
            body: serde_json::json!({ "refused": taken.refused }).to_string(),
        })
    }

    fn listing(&self) -> Option<&dyn Listing> {
        self.api.is_some().then_some(self as &dyn Listing)
    }
}

/// What a body without a topic is about: one from a file, for `preview`.
fn topic_of(body: &Value) -> &'static str {
    if body.get("line_items").is_some() {
        "order.updated"
    } else if body.get("is_paying_customer").is_some() {
        "customer.created"
    } else {
        "unknown"
    }
}

/// The secrets, each also as WordPress signs with it: HTML entities are decoded first (`wp_specialchars_decode` with
/// `ENT_QUOTES`).
fn as_signed(secrets: &Secrets) -> Secrets {
    let mut all: Vec<Vec<u8>> = secrets.iter().map(<[u8]>::to_vec).collect();
    for secret in secrets.iter() {
        // A secret comes out of a TOML text.
        let decoded = decode_entities(&String::from_utf8_lossy(secret)).into_bytes();
        if !all.contains(&decoded) {
            all.push(decoded);
        }
    }
    Secrets::new(all)
}

/// Decodes the HTML entities of `&`, `<`, `>` and quotes, once.
fn decode_entities(text: &str) -> String {
    let mut decoded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        decoded.push_str(&rest[..at]);
        rest = &rest[at..];
        let end = rest.find(';').map(|end| end + 1);
        match end.and_then(|end| Some((entity(&rest[1..end - 1])?, end))) {
            Some((character, end)) => {
                decoded.push(character);
                rest = &rest[end..];
            }
            None => {
                decoded.push('&');
                rest = &rest[1..];
            }
        }
    }
    decoded + rest
}

/// The character that WordPress decodes an entity of this name to. Of `<` and `>` it knows no hexadecimal numbers.
fn entity(name: &str) -> Option<char> {
    let zeros = |digits: &str| digits.trim_start_matches('0').to_ascii_lowercase();
    match name.strip_prefix('#') {
        None => [("amp", '&'), ("lt", '<'), ("gt", '>'), ("quot", '"')].iter().find(|(known, _)| *known == name),
        Some(number) => match number.strip_prefix('x') {
            Some(hex) => [("26", '&'), ("22", '"'), ("27", '\'')].iter().find(|(known, _)| *known == zeros(hex)),
            None => [("38", '&'), ("60", '<'), ("62", '>'), ("34", '"'), ("39", '\'')]
                .iter()
                .find(|(known, _)| *known == zeros(number)),
        },
    }
    .map(|(_, character)| *character)
}
