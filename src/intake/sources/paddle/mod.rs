//! Paddle Billing: transactions, refunds and chargebacks, and new customers.
//!
//! A transaction names its customer by an id alone; with `api`, the address is asked for before the event is sent.
//!
//! Source: @paddle/paddle-node-sdk 3.10.0 (signature, types) and developer.paddle.com (events, adjustments, API), read
//! 2026-11-20.

mod api;
mod event;
#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;

use self::{
    api::Api,
    event::{Events, PurchaseOn},
};
use super::{
    Common, Descriptor, Inbound, Listing, Parsed, Refusal, Source, Told, Verified, header, json, tolerance,
    verify::{Secrets, fresh, from_hex, no_signature},
    worth,
};
use crate::{
    intake::fetch::{FetchError, Fetcher},
    model::{Settings, Time},
};

/// Kind `paddle`.
pub(super) const DESCRIPTOR: Descriptor = Descriptor { kind: "paddle", build };

/// Paddle tries for 3 days (Source: developer.paddle.com/webhooks/about/respond-to-webhooks, read 2026-11-20), and is said to
/// repeat the signature of the first attempt. What comes twice counts once anyway, so the 5 seconds of its SDK win nothing.
const TOLERANCE: Duration = Duration::from_secs(4 * 86_400);
/// Signatures that are looked at: one for each secret of a rotation.
const SIGNATURES_MAX: usize = 8;

struct Paddle {
    secrets: Secrets,
    tolerance: Duration,
    events: Events,
    api: Option<Api>,
}

fn build(common: &Common, settings: &mut Settings) -> Option<Arc<dyn Source>> {
    let secrets = Secrets::read(settings, "the secret key of the notification destination, pdl_ntfset_…");
    let purchase_on = settings.parsed("purchase_on", "completed or paid", |text| match text {
        "completed" => Some(PurchaseOn::Completed),
        "paid" => Some(PurchaseOn::Paid),
        _ => None,
    });
    let tolerance = tolerance(settings, TOLERANCE);
    let worth = worth(settings);
    let lookup_wait = settings.duration("lookup_wait", Duration::from_secs(1)..=Duration::from_secs(86_400));
    let api = Api::read(settings);
    let events = Events {
        worth,
        purchase_on: purchase_on.unwrap_or_default(),
        test_events: common.test_events,
        lookup_wait: api.is_some().then(|| lookup_wait.unwrap_or(Duration::from_secs(600))),
    };
    Some(Arc::new(Paddle { secrets: secrets?, tolerance, events, api }))
}

#[async_trait]
impl Source for Paddle {
    fn verify<'a>(&self, inbound: &'a Inbound<'a>, now: Time) -> Result<Verified<'a>, Refusal> {
        let missing = || no_signature("there is no sound Paddle-Signature header");
        let given = header(inbound.headers, "paddle-signature").ok_or_else(missing)?;
        let parts = || given.split(';').filter_map(|part| part.split_once('=')).map(|(k, v)| (k.trim(), v.trim()));
        let signed_at = parts().find(|(name, _)| *name == "ts").map(|(_, seconds)| seconds).ok_or_else(missing)?;
        let at = signed_at.parse().map(Time::from_secs).map_err(|_| missing())?;
        let signatures = parts().filter(|(name, _)| *name == "h1").filter_map(|(_, hex)| from_hex(hex));
        let signatures: Vec<_> = signatures.take(SIGNATURES_MAX).collect();
        if signatures.is_empty() {
            return Err(missing());
        }
        let verified = self.secrets.hmac(inbound, &[signed_at.as_bytes(), b":", inbound.body], &signatures)?;
        fresh(at, now, self.tolerance, Some(self.tolerance))?;
        Ok(verified)
    }

    fn parse(&self, verified: &Verified<'_>) -> Result<Parsed, Refusal> {
        let body = json::body(verified.body())?;
        let id = json::first(&body, &["/event_id", "/notification_id"]);
        Ok(Parsed::one(id, self.events.report(body)))
    }

    async fn look_up(&self, fetcher: &Fetcher, what: &str) -> Result<Option<Told>, FetchError> {
        match &self.api {
            Some(api) => api.look_up(fetcher, what).await,
            None => Ok(None),
        }
    }

    fn listing(&self) -> Option<&dyn Listing> {
        self.api.is_some().then_some(self as &dyn Listing)
    }
}
