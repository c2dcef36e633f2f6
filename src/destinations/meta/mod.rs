//! Meta, by its Conversions API: `POST {base_url}/{api_version}/{pixel_id}/events` with one to 1000 events. One invalid
//! event makes Meta refuse the whole request without saying which, so what it is known to refuse never joins a batch.

mod answer;
mod config;
mod fbc;
mod limits;
mod payload;
mod rehearsal;
#[cfg(test)]
mod tests;

use std::time::Duration;

use super::{
    Auth, Common, Dedupe, Descriptor, Destination, HttpRequest, Method, Original, Problem, Profile, Rehearsal, Request,
    Response, Unsendable, Verdict,
};
use crate::model::{ActionSource, ClickKind, EventName, Failure, SealedEvent, SkipReason, Time, WaitReason};
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

/// For how long Meta drops an event that comes with the pixel, name and id of an earlier one, counted from the first.
/// Source: <https://developers.facebook.com/documentation/ads-commerce/conversions-api/deduplicate-pixel-and-server-events>,
/// read 2026-11-20.
const DEDUPE: Duration = DAY.saturating_mul(2);

/// The same for events of a physical shop, which Meta tells apart by data set, time, name, order id and user data.
/// Source: <https://developers.facebook.com/documentation/ads-commerce/conversions-api/offline-events>,
/// read 2026-11-20.
const DEDUPE_STORE: Duration = DAY.saturating_mul(7);

/// Meta's own event names.
/// Source: <https://developers.facebook.com/docs/meta-pixel/reference>, read 2026-11-20.
const STANDARD: [&str; 18] = [
    "AddPaymentInfo",
    "AddToCart",
    "AddToWishlist",
    "CompleteRegistration",
    "Contact",
    "CustomizeProduct",
    "Donate",
    "FindLocation",
    "InitiateCheckout",
    "Lead",
    "PageView",
    "Purchase",
    "Schedule",
    "Search",
    "StartTrial",
    "SubmitApplication",
    "Subscribe",
    "ViewContent",
];

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
        let wrong = changes_that_would_count(&common);
        let config = match config::read(table) {
            Ok(config) if wrong.is_empty() => config,
            Ok(_) => return Err(wrong),
            Err(problems) => return Err(problems.into_iter().chain(wrong).collect()),
        };
        let profile = Profile {
            batch_max: config.batch,
            spacing: SPACING,
            rate: None,
            timeout: config.timeout,
            auth: Auth::Query { name: "access_token", value: config.access_token.clone() },
            headers: limits::HEADERS,
        };
        let url = format!("{}/{}/{}/events", config.base_url, config.api_version, config.pixel_id);
        Ok(Self { common, config, profile, url })
    }

    fn requested(&self, batch: &[SealedEvent]) -> HttpRequest {
        let body = payload::body(self, batch);
        HttpRequest { method: Method::Post, url: self.url.clone(), headers: Vec::new(), body }
    }

    /// What Meta calls this event.
    fn event_name(&self, event: &SealedEvent) -> Option<&str> {
        self.common.events.get(&event.name).map(String::as_str)
    }
}

/// Meta takes nothing back: a refund is there for its own sake, under a name of the operator's. Under one of Meta's own, or
/// that of another event, it would count as one more of those.
fn changes_that_would_count(common: &Common) -> Vec<Problem> {
    let others = |name: &str| common.events.iter().any(|(event, theirs)| !event.is_change() && theirs == name);
    let changes = common.events.iter().filter(|(event, _)| event.is_change());
    let wrong = changes.filter(|(_, theirs)| STANDARD.contains(&theirs.as_str()) || others(theirs));
    let problem = |(event, _): (&EventName, _)| {
        let message = "must be a name of your own, such as \"Refund\": under this one it would count as a conversion, as \
                       Meta takes no value back";
        Problem::new(format!("events.{event}"), message)
    };
    wrong.map(problem).collect()
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
        Request::Http(self.requested(batch))
    }

    fn trace_id(&self, response: &Response) -> Option<String> {
        answer::trace_id(response)
    }

    fn interpret(&self, batch: &[SealedEvent], response: &Response) -> Vec<Verdict> {
        answer::verdicts(batch.len(), response)
    }

    /// Meta takes nothing back: a refund is an event of its own.
    fn original(&self, _event: &SealedEvent) -> Original {
        Original::Unneeded
    }

    fn dedupe(&self, event: &SealedEvent) -> Dedupe {
        Dedupe::Within(if event.action_source == ActionSource::PhysicalStore { DEDUPE_STORE } else { DEDUPE })
    }

    fn throttle(&self, response: &Response) -> Option<Duration> {
        limits::throttle(response)
    }

    fn evidence(&self, event: &SealedEvent) -> Vec<&'static str> {
        payload::evidence(event)
    }

    fn rehearsals(&self, sample: &SealedEvent) -> Vec<Rehearsal> {
        vec![self.rehearsal(sample)]
    }

    fn api(&self) -> Option<(&'static str, &str)> {
        Some(("meta_graph", &self.config.api_version))
    }
}
