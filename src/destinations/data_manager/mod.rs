//! Google's Data Manager API, `events:ingest`: offline conversions and enhanced conversions for leads in Google Ads.
//!
//! The request is all or nothing: one event that Google refuses refuses the batch. The answer names it by its index, so
//! that the others are sent again without it (`answer.rs`). A 200 is a receipt: Google matches the events to clicks
//! later, and reports what came of it only as counts for each reason, never for one event (`diagnostics.rs`).
//!
//! A refund or a restatement that is mapped to `"adjust"` sends the conversion it is about once more, with the same
//! transaction id, action, time and identifiers, and with what it is worth now: Google overwrites value and currency.
//! There is no retraction. A conversion that is refunded as a whole keeps its count, with value 0; store sales and calls
//! cannot be adjusted; and an id that Google does not find becomes a conversion of its own, for which reason nothing is
//! sent unless the conversion is one of ours and a day old (`hold_after_conversion`).
//! Source: <https://developers.google.com/data-manager/api/devguides/events/google-ads/conversion-adjustments>, read
//! 2026-11-20.

mod answer;
mod config;
mod diagnostics;
mod identifiers;
mod payload;
#[cfg(test)]
mod tests;

use std::{collections::BTreeSet, time::Duration};

use bytes::Bytes;

use self::{
    config::Config,
    payload::{Conversion, Ingest},
};
use super::{
    Auth, Common, Dedupe, Descriptor, Destination, HttpRequest, Method, Original, Problem, Profile, Rehearsal, Report,
    Request, Response, Unsendable, Verdict,
};
use crate::model::{Choice, Failure, SealedEvent, SkipReason, Time, WaitReason};

/// Google Ads by the Data Manager API.
pub const DESCRIPTOR: Descriptor = Descriptor { kind: "data_manager", build };

/// How old a click must be before Google can find it, unless `hold_after_click` says otherwise. Data Manager documents
/// the reason (`TOO_RECENT_CLICK`) without a number; this one is that of the Google Ads API for the same clicks.
/// Source: google-ads 34.0.0, v26/errors/types/conversion_upload_error.py (`TOO_RECENT_EVENT`), read 2026-11-20.
const HOLD_AFTER_CLICK: Duration = Duration::from_secs(6 * 60 * 60);

/// What comes meanwhile travels together.
const SPACING: Duration = Duration::from_millis(200);

/// How long after the conversion its value may be changed. Data Manager names no time of its own; it is that of the Google
/// Ads API. Past it the id might be taken for that of a new conversion.
/// Source: google-ads 34.0.0, v26/errors/types/conversion_adjustment_upload_error.py (`CONVERSION_EXPIRED`), read
/// 2026-11-20.
const ADJUSTABLE: Duration = Duration::from_secs(54 * 24 * 60 * 60);

/// What a changed value does not do, for the timeline.
/// Source: <https://developers.google.com/data-manager/api/devguides/events/google-ads/conversion-adjustments>, read
/// 2026-11-20.
const ADJUST_NOTE: &str = "sent as a new value of the conversion: Data Manager takes no conversion back, so one that is \
                           refunded as a whole keeps its count, with value 0; store sales and calls keep their value, and \
                           a conversion that Google no longer finds by its transaction id would count anew";

fn build(common: Common, table: toml::Table) -> Result<Box<dyn Destination>, Vec<Problem>> {
    let hold_after_click = common.hold_after_click.unwrap_or(HOLD_AFTER_CLICK);
    let (config, auth) = config::read(common.events, table)?;
    let (batch_max, timeout, rate) = (config.batch, config.timeout, Some(config.rate));
    let profile = Profile { batch_max, spacing: SPACING, rate, timeout, auth: Auth::Google(auth), headers: &[] };
    Ok(Box::new(DataManager { profile, config, hold_after_click }))
}

struct DataManager {
    profile: Profile,
    config: Config,
    hold_after_click: Duration,
}

impl DataManager {
    /// What `event` makes Google know; `None` if it is not mapped, or changes a conversion that is not.
    fn conversion<'a>(&'a self, event: &'a SealedEvent) -> Option<Conversion<'a>> {
        if self.config.adjusting.contains(&event.name) {
            let change = event.change.as_deref()?;
            let original = &change.original;
            return Some(Conversion {
                action: self.config.actions.get(&original.name)?,
                event: original,
                money: change.worth,
                consent: event.consent.or(original.consent),
                adjusts: true,
            });
        }
        let action = self.config.actions.get(&event.name)?;
        Some(Conversion { action, event, money: event.money, consent: event.consent, adjusts: false })
    }

    /// The same for an event of a batch. One that has no action is never admitted; if one came all the same, Google would
    /// refuse it by its index.
    fn admitted<'a>(&'a self, event: &'a SealedEvent) -> Conversion<'a> {
        let unmapped = || Conversion { action: "", event, money: event.money, consent: event.consent, adjusts: false };
        self.conversion(event).unwrap_or_else(unmapped)
    }

    fn request(&self, url: &str, method: Method, body: Bytes) -> HttpRequest {
        let project = self.config.user_project.iter().map(|project| ("x-goog-user-project", project.clone()));
        HttpRequest { method, url: url.to_owned(), headers: project.collect(), body }
    }
}

/// The distinct actions, in the order of the request's `destinations`.
fn actions_of<'a>(conversions: &[Conversion<'a>]) -> Vec<&'a str> {
    let distinct: BTreeSet<&str> = conversions.iter().map(|conversion| conversion.action).collect();
    distinct.into_iter().collect()
}

fn written(request: &Ingest<'_>) -> Bytes {
    let body = serde_json::to_vec(request).expect("the wire structs hold strings, integers and checked numbers");
    Bytes::from(body)
}

/// When Google stops taking a conversion.
fn taken_until(event: &SealedEvent) -> Time {
    match identifiers::click(event) {
        Some(click) => click.first_seen.unwrap_or(event.time).plus(identifiers::CLICK_AGE_MAX),
        None => event.time.plus(identifiers::USER_DATA_AGE_MAX),
    }
}

impl Destination for DataManager {
    fn profile(&self) -> &Profile {
        &self.profile
    }

    fn deadline(&self, event: &SealedEvent) -> Time {
        if !self.config.adjusting.contains(&event.name) {
            return taken_until(event);
        }
        // Until its conversion is looked up, a change counts from its own time, which is later.
        let original = event.change.as_ref().map_or(event, |change| &change.original);
        let adjustable = original.time.plus(ADJUSTABLE);
        if event.change.is_some() { adjustable.min(taken_until(original)) } else { adjustable }
    }

    fn hold(&self, event: &SealedEvent) -> Option<(Time, WaitReason)> {
        let held = |until: Time, reason| (until > event.received_at).then_some((until, reason));
        if self.config.adjusting.contains(&event.name) {
            let original = &event.change.as_ref()?.original;
            return held(original.time.plus(self.config.hold_after_conversion), WaitReason::ConversionTooRecent);
        }
        let clicked_at = identifiers::click(event)?.first_seen?;
        held(clicked_at.plus(self.hold_after_click), WaitReason::ClickTooRecent)
    }

    fn original(&self, event: &SealedEvent) -> Original {
        if self.config.adjusting.contains(&event.name) { Original::Here } else { Original::Unneeded }
    }

    fn note(&self, event: &SealedEvent) -> Option<&'static str> {
        self.config.adjusting.contains(&event.name).then_some(ADJUST_NOTE)
    }

    fn admit(&self, event: &SealedEvent) -> Result<(), Unsendable> {
        let adjusts = self.config.adjusting.contains(&event.name);
        let Some(conversion) = self.conversion(event) else {
            // An id that Google does not know would become a conversion of its own.
            return Err(Unsendable::Skip(if adjusts { SkipReason::NoOriginal } else { SkipReason::Unmapped }));
        };
        let denied = [event.consent, conversion.event.consent].iter().any(|said| said.ad_user_data == Choice::Denied);
        if denied {
            return Err(Unsendable::Skip(SkipReason::Consent));
        }
        if identifiers::click(conversion.event).is_none() && identifiers::of_user(conversion.event).is_empty() {
            return Err(Unsendable::Skip(SkipReason::NoIdentifiers));
        }
        if adjusts && conversion.money.is_none() {
            return Err(Unsendable::Reject(Failure {
                code: "worth_unknown".into(),
                field: Some("value".into()),
                message: "what is left of the conversion is not known: it never had a value, or one in another currency than \
                          the refund; refund it as a whole, without a value"
                    .into(),
            }));
        }
        Ok(())
    }

    fn prepare(&self, batch: &[SealedEvent]) -> Request {
        let conversions: Vec<_> = batch.iter().map(|event| self.admitted(event)).collect();
        let actions = actions_of(&conversions);
        let body = written(&Ingest::new(&self.config, &actions, conversions.into_iter()));
        Request::Http(self.request(&self.config.url, Method::Post, body))
    }

    fn trace_id(&self, response: &Response) -> Option<String> {
        match response {
            Response::Http { body, .. } => answer::request_id(body),
            Response::Written => None,
        }
    }

    fn interpret(&self, batch: &[SealedEvent], response: &Response) -> Vec<Verdict> {
        let conversions: Vec<_> = batch.iter().map(|event| self.admitted(event)).collect();
        let actions = actions_of(&conversions);
        let place = |conversion: &Conversion<'_>| actions.binary_search(&conversion.action).unwrap_or(0);
        let destination_of: Vec<usize> = conversions.iter().map(place).collect();
        let configured: BTreeSet<&String> = self.config.actions.values().collect();
        answer::verdicts(&destination_of, configured.len(), response)
    }

    /// Google counts a transaction id once for an action, and knows it for good.
    fn dedupe(&self, _event: &SealedEvent) -> Dedupe {
        Dedupe::Always
    }

    fn evidence(&self, event: &SealedEvent) -> Vec<&'static str> {
        let adjusts = self.config.adjusting.contains(&event.name);
        // What a change is about is found by its transaction; whom else it names is known while it is being sent.
        let by_transaction = adjusts.then_some("transactionId");
        let sent = self.conversion(event).map(|conversion| identifiers::names(conversion.event));
        by_transaction.into_iter().chain(sent.unwrap_or_default()).collect()
    }

    fn is_receipt(&self, response: &Response) -> bool {
        matches!(response, Response::Http { status: 200..300, body, .. } if answer::request_id(body).is_some())
    }

    fn ask(&self, trace_id: &str) -> Option<HttpRequest> {
        let query = url::form_urlencoded::Serializer::new(String::new()).append_pair("requestId", trace_id).finish();
        let url = format!("{}?{query}", self.config.status_url);
        Some(self.request(&url, Method::Get, Bytes::new()))
    }

    fn report(&self, response: &Response) -> Report {
        diagnostics::report(response)
    }

    /// One request that names every configured action, so that each is tried.
    fn rehearsals(&self, sample: &SealedEvent) -> Vec<Rehearsal> {
        let conversions: Vec<_> = self
            .config
            .actions
            .values()
            .collect::<BTreeSet<_>>()
            .into_iter()
            .map(|action| Conversion {
                action,
                event: sample,
                money: sample.money,
                consent: sample.consent,
                adjusts: false,
            })
            .collect();
        let actions = actions_of(&conversions);
        let body = written(&Ingest::new(&self.config, &actions, conversions.into_iter()).only_to_validate());
        vec![Rehearsal {
            what: "credentials, account and conversion actions, by a request that Google only validates",
            request: self.request(&self.config.url, Method::Post, body),
            read: diagnostics::rehearsed,
        }]
    }

    fn api(&self) -> Option<(&'static str, &str)> {
        Some(("data_manager", "v1"))
    }
}
