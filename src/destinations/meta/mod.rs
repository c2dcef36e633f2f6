//! Meta, by its Conversions API: `POST {base_url}/{api_version}/{pixel_id}/events` with one to 1000 events. One invalid
//! event makes Meta refuse the whole request without saying which, so what it is known to refuse never joins a batch.

mod answer;
mod config;
mod fbc;
mod payload;
#[cfg(test)]
mod tests;

use std::time::Duration;

use super::{
    Auth, Common, Descriptor, Destination, HttpRequest, Method, Problem, Profile, Request, Response, Unsendable,
    Verdict,
};
use crate::model::{ActionSource, ClickKind, Failure, SealedEvent, SkipReason, Time, WaitReason};
use config::Config;

/// The kind `meta`.
pub const DESCRIPTOR: Descriptor = Descriptor { kind: "meta", build };

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Meta names no limit of requests for conversions; this keeps a burst from becoming a request for each event.
const SPACING: Duration = Duration::from_millis(5);

/// How old an event may be.
/// Source: <https://developers.facebook.com/documentation/ads-commerce/conversions-api/using-the-api>, read 2026-11-20.
const AGE_MAX: Duration = DAY.saturating_mul(7);

/// How old an event of a physical shop may be.
/// Source: <https://developers.facebook.com/documentation/ads-commerce/conversions-api/offline-events>,
/// read 2026-11-20.
const AGE_MAX_STORE: Duration = DAY.saturating_mul(62);

/// The event name that needs a value and a currency.
/// Source: <https://developers.facebook.com/documentation/ads-commerce/conversions-api/parameters/custom-data>,
/// read 2026-11-20.
const PURCHASE: &str = "Purchase";

/// A pixel (Meta also says dataset) that events go to.
struct Meta {
    common: Common,
    config: Config,
    profile: Profile,
    url: String,
}

fn build(common: Common, table: toml::Table) -> Result<Box<dyn Destination>, Vec<Problem>> {
    Meta::new(common, table).map(|meta| Box::new(meta) as Box<dyn Destination>)
}

impl Meta {
    fn new(common: Common, table: toml::Table) -> Result<Self, Vec<Problem>> {
        let config = config::read(table)?;
        let profile = Profile {
            batch_max: config.batch,
            spacing: SPACING,
            timeout: config.timeout,
            auth: Auth::Query { name: "access_token", value: config.access_token.clone() },
            headers: &[],
        };
        let url = format!("{}/{}/{}/events", config.base_url, config.api_version, config.pixel_id);
        Ok(Self { common, config, profile, url })
    }

    /// What Meta calls this event.
    fn event_name(&self, event: &SealedEvent) -> Option<&str> {
        self.common.events.get(&event.name).map(String::as_str)
    }
}

/// When the event happened, for Meta: never later than it reached us. A giver's clock that runs ahead would otherwise
/// cost a whole batch (subcode 2804004, time in the future).
fn happened_at(event: &SealedEvent) -> Time {
    event.time.min(event.received_at)
}

impl Destination for Meta {
    fn profile(&self) -> &Profile {
        &self.profile
    }

    fn deadline(&self, event: &SealedEvent) -> Time {
        let age_max = if event.action_source == ActionSource::PhysicalStore { AGE_MAX_STORE } else { AGE_MAX };
        happened_at(event).plus(age_max)
    }

    /// Meta knows its clicks at once, so there is no wait unless one is configured.
    fn hold(&self, event: &SealedEvent) -> Option<(Time, WaitReason)> {
        let wait = self.common.hold_after_click?;
        let clicks = event.context.clicks.iter().filter(|click| click.kind == ClickKind::Fbclid);
        let clicked_at = clicks.filter_map(|click| click.first_seen).max()?;
        Some((clicked_at.plus(wait), WaitReason::ClickTooRecent))
    }

    fn evidence(&self, _event: &SealedEvent) -> Vec<&'static str> {
        Vec::new()
    }

    fn admit(&self, event: &SealedEvent) -> Result<(), Unsendable> {
        let Some(name) = self.event_name(event) else {
            return Err(Unsendable::Skip(SkipReason::Unmapped));
        };
        if !payload::identifies_somebody(event) {
            return Err(Unsendable::Skip(SkipReason::NoIdentifiers));
        }
        if name == PURCHASE && event.money.is_none() {
            return Err(Unsendable::Reject(Failure {
                code: "missing_value".into(),
                field: Some("value".into()),
                message: "Meta refuses a Purchase without value and currency, and every event sent with it".into(),
            }));
        }
        Ok(())
    }

    fn prepare(&self, batch: &[SealedEvent]) -> Request {
        Request::Http(HttpRequest {
            method: Method::Post,
            url: self.url.clone(),
            headers: Vec::new(),
            body: payload::body(self, batch),
        })
    }

    fn trace_id(&self, response: &Response) -> Option<String> {
        answer::trace_id(response)
    }

    fn interpret(&self, batch: &[SealedEvent], response: &Response) -> Vec<Verdict> {
        answer::verdicts(batch.len(), response)
    }
}
