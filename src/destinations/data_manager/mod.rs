//! Google's Data Manager API, `events:ingest`: offline conversions and enhanced conversions for leads in Google Ads.
//!
//! The request is all or nothing: one event that Google refuses refuses the batch. The answer names it by its index, so
//! that the others are sent again without it (`answer.rs`). A 200 is a receipt: Google matches the events to clicks
//! later, and reports what came of it only as counts for each reason, never for one event.

mod answer;
mod config;
mod identifiers;
mod payload;
#[cfg(test)]
mod tests;

use std::{collections::BTreeSet, time::Duration};

use bytes::Bytes;

use self::config::Config;
use super::{
    Auth, Common, Descriptor, Destination, HttpRequest, Method, Problem, Profile, Request, Response, Unsendable,
    Verdict,
};
use crate::model::{Choice, SealedEvent, SkipReason, Time, WaitReason};

/// Google Ads by the Data Manager API.
pub const DESCRIPTOR: Descriptor = Descriptor { kind: "data_manager", build };

/// How old a click must be before Google can find it, unless `hold_after_click` says otherwise. Data Manager documents
/// the reason (`TOO_RECENT_CLICK`) without a number; this one is that of the Google Ads API for the same clicks.
/// Source: google-ads 34.0.0, v26/errors/types/conversion_upload_error.py (`TOO_RECENT_EVENT`), read 2026-11-20.
const HOLD_AFTER_CLICK: Duration = Duration::from_secs(6 * 60 * 60);

/// Keeps under 300 requests a minute, which is what a Cloud project may send.
/// Source: developers.google.com/data-manager/api/devguides/limits, read 2026-11-20.
const SPACING: Duration = Duration::from_millis(200);

fn build(common: Common, table: toml::Table) -> Result<Box<dyn Destination>, Vec<Problem>> {
    let hold_after_click = common.hold_after_click.unwrap_or(HOLD_AFTER_CLICK);
    let (config, auth) = config::read(common.events, table)?;
    let (batch_max, timeout) = (config.batch, config.timeout);
    let profile = Profile { batch_max, spacing: SPACING, timeout, auth: Auth::Google(auth), headers: &[] };
    Ok(Box::new(DataManager { profile, config, hold_after_click }))
}

struct DataManager {
    profile: Profile,
    config: Config,
    hold_after_click: Duration,
}

impl DataManager {
    /// The conversion action of `event`. An event that has none is never admitted; if one came all the same, Google
    /// would refuse it by its index.
    fn action(&self, event: &SealedEvent) -> &str {
        self.config.actions.get(&event.name).map_or("", String::as_str)
    }

    /// The conversion actions of a batch, in the order of the request's `destinations`.
    fn actions(&self, batch: &[SealedEvent]) -> Vec<&str> {
        let distinct: BTreeSet<&str> = batch.iter().map(|event| self.action(event)).collect();
        distinct.into_iter().collect()
    }
}

impl Destination for DataManager {
    fn profile(&self) -> &Profile {
        &self.profile
    }

    fn deadline(&self, event: &SealedEvent) -> Time {
        match identifiers::click(event) {
            Some(click) => click.first_seen.unwrap_or(event.time).plus(identifiers::CLICK_AGE_MAX),
            None => event.time.plus(identifiers::USER_DATA_AGE_MAX),
        }
    }

    fn hold(&self, event: &SealedEvent) -> Option<(Time, WaitReason)> {
        let clicked_at = identifiers::click(event)?.first_seen?;
        let until = clicked_at.plus(self.hold_after_click);
        (until > event.received_at).then_some((until, WaitReason::ClickTooRecent))
    }

    fn evidence(&self, _event: &SealedEvent) -> Vec<&'static str> {
        Vec::new()
    }

    fn admit(&self, event: &SealedEvent) -> Result<(), Unsendable> {
        if !self.config.actions.contains_key(&event.name) {
            return Err(Unsendable::Skip(SkipReason::Unmapped));
        }
        if event.consent.ad_user_data == Choice::Denied {
            return Err(Unsendable::Skip(SkipReason::Consent));
        }
        if identifiers::click(event).is_none() && identifiers::of_user(event).is_empty() {
            return Err(Unsendable::Skip(SkipReason::NoIdentifiers));
        }
        Ok(())
    }

    fn prepare(&self, batch: &[SealedEvent]) -> Request {
        let actions = self.actions(batch);
        let request =
            payload::Ingest::new(&self.config, &actions, batch.iter().map(|event| (self.action(event), event)));
        let body = serde_json::to_vec(&request).expect("the wire structs hold strings, integers and checked numbers");
        let project = self.config.user_project.iter().map(|project| ("x-goog-user-project", project.clone()));
        Request::Http(HttpRequest {
            method: Method::Post,
            url: self.config.url.clone(),
            headers: project.collect(),
            body: Bytes::from(body),
        })
    }

    fn trace_id(&self, response: &Response) -> Option<String> {
        match response {
            Response::Http { body, .. } => answer::request_id(body),
            Response::Written => None,
        }
    }

    fn interpret(&self, batch: &[SealedEvent], response: &Response) -> Vec<Verdict> {
        let actions = self.actions(batch);
        let place = |event| actions.binary_search(&self.action(event)).unwrap_or(0);
        let destination_of: Vec<usize> = batch.iter().map(place).collect();
        answer::verdicts(&destination_of, response)
    }
}
