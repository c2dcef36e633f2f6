//! Google Analytics 4, by the Measurement Protocol: `POST {base_url}/mp/collect?measurement_id=…`, one event a request.
//!
//! GA4 answers every request it receives with 2xx, also one with a wrong secret or an event it drops, so `delivered`
//! means received and no more; `check --live` asks the debug endpoint about the form of what is sent. All events of a
//! request belong to one client, so a batch would have to be of one browser's events. Those seldom wait together, and
//! one event a request also means that nothing spoils another.
//! Source: <https://developers.google.com/analytics/devguides/collection/protocol/ga4>, read 2026-11-20.

mod answer;
mod config;
mod names;
mod payload;
#[cfg(test)]
mod tests;

use std::time::Duration;

use super::{
    Auth, Common, Dedupe, Descriptor, Destination, HttpRequest, Method, Problem, Profile, Rehearsal, Request, Response,
    Unsendable, Verdict,
};
use crate::model::{Failure, SealedEvent, SkipReason, Time};
use config::Config;

/// The kind `ga4`.
pub const DESCRIPTOR: Descriptor = Descriptor { kind: "ga4", build };

/// How old an event may be.
/// Source: <https://developers.google.com/analytics/devguides/collection/protocol/ga4/sending-events>, read 2026-11-20.
const AGE_MAX: Duration = Duration::from_secs(72 * 60 * 60);

/// The one event that GA4 recognises when it comes again, by its `transaction_id`.
/// Source: <https://developers.google.com/analytics/devguides/collection/protocol/ga4/reference/events>,
/// read 2026-11-20.
const PURCHASE: &str = "purchase";

/// The event that takes a purchase back, which is found by its `transaction_id`. Source: as above.
const REFUND: &str = "refund";

/// A web data stream that events go to.
struct Ga4 {
    common: Common,
    profile: Profile,
    collect: String,
    debug: String,
}

fn build(common: Common, table: toml::Table) -> Result<Box<dyn Destination>, Vec<Problem>> {
    Ga4::new(common, table).map(|ga4| Box::new(ga4) as Box<dyn Destination>)
}

impl Ga4 {
    fn new(common: Common, table: toml::Table) -> Result<Self, Vec<Problem>> {
        let Config { measurement_id, api_secret, base_url, timeout } = config::read(&common, table)?;
        let profile = Profile {
            batch_max: 1,
            spacing: Duration::ZERO,
            rate: None,
            timeout,
            auth: Auth::Query { name: "api_secret", value: api_secret },
            headers: &[],
        };
        let at = |path: &str| format!("{base_url}{path}?measurement_id={measurement_id}");
        Ok(Self { common, profile, collect: at("/mp/collect"), debug: at("/debug/mp/collect") })
    }

    /// What GA4 calls this event.
    fn event_name(&self, event: &SealedEvent) -> Option<&str> {
        self.common.events.get(&event.name).map(String::as_str)
    }
}

/// When the event happened, for GA4: never later than it reached us, as a giver's clock may run ahead.
fn happened_at(event: &SealedEvent) -> Time {
    event.time.min(event.received_at)
}

impl Destination for Ga4 {
    fn profile(&self) -> &Profile {
        &self.profile
    }

    fn deadline(&self, event: &SealedEvent) -> Time {
        happened_at(event).plus(AGE_MAX)
    }

    fn admit(&self, event: &SealedEvent) -> Result<(), Unsendable> {
        let Some(name) = self.event_name(event) else {
            return Err(Unsendable::Skip(SkipReason::Unmapped));
        };
        // Never made up: an invented client is a new user without a source, who hides where the sale came from.
        if payload::client_id(event).is_none() {
            return Err(Unsendable::Skip(SkipReason::NoIdentifiers));
        }
        let refuse = |code: &str, message: &str| {
            let field = Some("transaction_id".to_owned());
            Err(Unsendable::Reject(Failure { code: code.into(), field, message: message.into() }))
        };
        // Whatever we call it: a cancelled order may be mapped to a refund too.
        let takes_back = event.name.is_refund() || name == REFUND;
        if takes_back && event.transaction_id.is_none() {
            return refuse("missing_transaction_id", "GA4 takes a refund only with the transaction_id of the purchase");
        }
        if (takes_back || name == PURCHASE) && !payload::fits(event.transaction()) {
            return refuse("transaction_id_too_long", "GA4 takes 100 characters; one that is cut names another order");
        }
        Ok(())
    }

    fn prepare(&self, batch: &[SealedEvent]) -> Request {
        Request::Http(HttpRequest {
            method: Method::Post,
            url: self.collect.clone(),
            headers: Vec::new(),
            body: payload::body(self, batch),
        })
    }

    fn interpret(&self, batch: &[SealedEvent], response: &Response) -> Vec<Verdict> {
        vec![answer::verdict(response); batch.len()]
    }

    /// A purchase counts once by its `transaction_id`; whatever else is sent twice counts twice.
    fn dedupe(&self, event: &SealedEvent) -> Dedupe {
        if self.event_name(event) == Some(PURCHASE) { Dedupe::Always } else { Dedupe::Never }
    }

    fn evidence(&self, event: &SealedEvent) -> Vec<&'static str> {
        payload::evidence(event)
    }

    fn rehearsals(&self, sample: &SealedEvent) -> Vec<Rehearsal> {
        let request = HttpRequest {
            method: Method::Post,
            url: self.debug.clone(),
            headers: Vec::new(),
            body: payload::rehearsal(self, sample),
        };
        vec![Rehearsal {
            what: "form of a sample event (debug endpoint, records nothing)",
            request,
            read: answer::said,
        }]
    }
}
