//! Stripe: checkouts, invoices, refunds, customers.
//!
//! | topic | event | transaction |
//! |---|---|---|
//! | `checkout.session.completed`, `checkout.session.async_payment_succeeded` | `purchase` | the session's invoice, else its payment intent |
//! | `invoice.paid`, `invoice.payment_succeeded` | `purchase` | the invoice |
//! | `payment_intent.succeeded`, if `payment_intents = "accept"` | `purchase` | itself |
//! | `charge.refunded`, `refund.created` | `refund` | the invoice that was paid, else the payment intent |
//! | `customer.created` | `sign_up` | – |
//!
//! A subscription's first invoice and its checkout are so one conversion, whichever comes first. Since version 2025-03-31 of
//! the API a refund does not tell the invoice that was paid: [`api`] asks for it.
//!
//! Source: the SDK for Python 16.1.0 (`_webhook.py` and its types), read 2026-11-20.

mod api;
mod fields;
mod orders;
mod refunds;
#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use serde_json::Value;

use super::{
    Common, Descriptor, Inbound, Listing, Parsed, Refusal, Report, Source, TestEvents, Told, Verified, Worth, header,
    json, tolerance,
    verify::{Secrets, fresh, from_hex, no_signature},
    worth,
};
use crate::{
    intake::{
        Draft,
        fetch::{FetchError, Fetcher},
    },
    model::{EventName, Settings, Time},
};

use api::Api;

/// Kind `stripe`.
pub(super) const DESCRIPTOR: Descriptor = Descriptor { kind: "stripe", build };

/// How old a signature may be. Source: `DEFAULT_TOLERANCE` of the SDK.
const TOLERANCE: Duration = Duration::from_secs(300);
/// How long a refund waits for the transaction of its purchase: it is in no hurry, and an outage of Stripe's is over by then.
const LOOKUP_WAIT: Duration = Duration::from_secs(6 * 3600);
/// More signatures in one header are not looked at; Stripe writes one for each live secret.
const SIGNATURES_MAX: usize = 16;

struct Stripe {
    secrets: Secrets,
    tolerance: Duration,
    worth: Worth,
    test_events: TestEvents,
    /// What a checkout is called that costs nothing; without it, it is ignored.
    free_event: Option<String>,
    manual_invoices: bool,
    payment_intents: bool,
    /// How long at most a refund waits for the transaction of its purchase.
    lookup_wait: Duration,
    api: Option<Api>,
}

fn build(common: &Common, settings: &mut Settings) -> Option<Arc<dyn Source>> {
    let secrets = Secrets::read(settings, "the signing secret of the endpoint, whsec_ included");
    let is_key = |secret: &[u8]| [&b"sk_"[..], b"rk_", b"pk_"].iter().any(|start| secret.starts_with(start));
    if secrets.as_ref().is_some_and(|secrets| secrets.iter().any(is_key)) {
        settings.problem("secrets", "must be signing secrets of the endpoint, whsec_…; one is a key of the API");
    }
    let tolerance = tolerance(settings, TOLERANCE);
    let worth = worth(settings);
    let name = |text: &str| EventName::new(text).ok().filter(|name| !name.is_change()).map(|name| name.to_string());
    let free_event = settings.parsed("free_event", "one of our event names, such as start_trial", name);
    let manual_invoices = accepts(settings, "manual_invoices").unwrap_or(true);
    let payment_intents = accepts(settings, "payment_intents").unwrap_or(false);
    let lookup_wait = settings.duration("lookup_wait", Duration::from_secs(1)..=Duration::from_secs(86_400));
    let api = settings.table("api", "a table with the key `token`", Api::read);
    let test_events = common.test_events;
    Some(Arc::new(Stripe {
        secrets: secrets?,
        tolerance,
        worth,
        test_events,
        free_event,
        manual_invoices,
        payment_intents,
        lookup_wait: lookup_wait.unwrap_or(LOOKUP_WAIT),
        api: match api {
            Some(api) => Some(api?),
            None => None,
        },
    }))
}

/// Reads `ignore` or `accept`.
fn accepts(settings: &mut Settings, key: &str) -> Option<bool> {
    settings.parsed(key, "ignore or accept", |text| match text {
        "ignore" => Some(false),
        "accept" => Some(true),
        _ => None,
    })
}

#[async_trait]
impl Source for Stripe {
    /// The header is `t=SECONDS,v1=HEX`, with a `v1` for each live secret; other schemes stand beside them. Signed is
    /// `SECONDS.BODY`, with the secret as the text that it is. A time ahead of our clock is no reason to refuse, as in the SDK.
    fn verify<'a>(&self, inbound: &'a Inbound<'a>, now: Time) -> Result<Verified<'a>, Refusal> {
        let missing =
            "there is no Stripe-Signature header; is it Stripe that posts here, and not through a cloud provider?";
        let header = header(inbound.headers, "stripe-signature").ok_or_else(|| no_signature(missing))?;
        let parts = || header.split(',').filter_map(|part| part.trim().split_once('='));
        let signed_at = parts().find(|(name, _)| *name == "t").map(|(_, text)| text);
        let seconds =
            signed_at.filter(|text| text.bytes().all(|b| b.is_ascii_digit())).and_then(|text| text.parse().ok());
        let (Some(signed_at), Some(seconds)) = (signed_at, seconds) else {
            return Err(Refusal::unverified("no_timestamp", "the Stripe-Signature header tells no time (t=…)"));
        };
        let given: Vec<_> = parts().filter(|(name, _)| *name == "v1").take(SIGNATURES_MAX).collect();
        if given.is_empty() {
            return Err(Refusal::unverified("no_v1", "the Stripe-Signature header has no signature of scheme v1"));
        }
        let given: Vec<[u8; 32]> = given.into_iter().filter_map(|(_, text)| from_hex(text)).collect();
        let verified = self.secrets.hmac(inbound, &[signed_at.as_bytes(), b".", inbound.body], &given)?;
        fresh(Time::from_secs(seconds), now, self.tolerance, None)?;
        Ok(verified)
    }

    fn parse(&self, verified: &Verified<'_>) -> Result<Parsed, Refusal> {
        let event = json::body(verified.body())?;
        let id = json::text(&event, "/id");
        Ok(Parsed::one(id, self.report(event)))
    }

    async fn look_up(&self, fetcher: &Fetcher, what: &str) -> Result<Option<Told>, FetchError> {
        match &self.api {
            Some(api) => api.look_up(fetcher, what).await.map(Some),
            None => Ok(None),
        }
    }

    fn listing(&self) -> Option<&dyn Listing> {
        self.api.as_ref().map(|_| self as &dyn Listing)
    }
}

impl Stripe {
    /// What an event of Stripe tells, whether a webhook or a listing brought it.
    fn report(&self, event: Value) -> Result<Report, Refusal> {
        let topic = json::text(&event, "/type").unwrap_or_default();
        match json::text(&event, "/object").as_deref() {
            Some("v2.core.event") => {
                return Ok(Report::ignored(topic, "thin event; choose snapshot payloads for this endpoint"));
            }
            Some("event") | None if !topic.is_empty() => {}
            _ => {
                return Err(Refusal::unreadable(
                    "/object",
                    "object: must be event, with a type; the body is no event of Stripe",
                ));
            }
        }
        let read: fn(&Self, &Value) -> Result<Reading, Refusal> = match topic.as_str() {
            "checkout.session.completed" | "checkout.session.async_payment_succeeded" => Self::session,
            "invoice.paid" | "invoice.payment_succeeded" => Self::invoice,
            "payment_intent.succeeded" if self.payment_intents => Self::payment_intent,
            "charge.refunded" => Self::refunded_charge,
            "refund.created" => Self::refund,
            "refund.updated" | "refund.failed" | "charge.refund.updated" => {
                return Ok(Report::ignored(topic, "counted when the refund was created"));
            }
            "customer.created" => Self::customer,
            _ => return Ok(Report::ignored(topic, "not a conversion")),
        };
        if !event.pointer(OBJECT).is_some_and(Value::is_object) {
            return Err(Refusal::unreadable(
                OBJECT,
                "data.object: is missing; choose snapshot payloads for this endpoint",
            ));
        }
        let test = json::at(&event, "/livemode").and_then(Value::as_bool) == Some(false);
        if test && self.test_events == TestEvents::Ignore {
            return Ok(Report::ignored(topic, "test event"));
        }
        Ok(match read(self, &event)? {
            Reading::Useless(reason) => Report::ignored(topic, reason),
            Reading::Event { draft, key, lookup } => Told { key, lookup, ..Told::new(*draft, event) }.into(),
        })
    }

    fn customer(&self, event: &Value) -> Result<Reading, Refusal> {
        let object = fields::object(event);
        let mut draft = Draft { time: fields::time(event), ..Draft::named("sign_up") };
        fields::person(object, &fields::CUSTOMER, &mut draft.user);
        draft.user.external_ids.extend(json::raw(object, "/id"));
        fields::metadata(object, &["/metadata"], &mut draft);
        Ok(Reading::Event { draft: Box::new(draft), key: json::text(object, "/id"), lookup: None })
    }
}

/// Where the object of an event stands.
const OBJECT: &str = "/data/object";

/// What the object of an event reads as.
enum Reading {
    /// Nothing that is a conversion.
    Useless(&'static str),
    /// An event.
    Event {
        /// What it is.
        draft: Box<Draft>,
        /// Its own id, if that is not the transaction.
        key: Option<String>,
        /// What has to be asked for, and how long the event waits for that.
        lookup: Option<(String, Duration)>,
    },
}

impl Reading {
    /// An event known by its transaction.
    fn known(draft: Draft) -> Self {
        Self::Event { draft: Box::new(draft), key: None, lookup: None }
    }
}
