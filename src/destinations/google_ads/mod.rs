//! Google Ads API: `uploadClickConversions`, and `uploadConversionAdjustments` for refunds and restatements.
//!
//! Click uploads are closed to newcomers: an account that sent none between 2025-12-17 and 2026-06-15 is refused
//! (`notAllowlistedError`) and has to use the kind `data_manager`. Unlike there every row has an answer of its own
//! (`answer.rs`), so that a bad event costs no request.
//! Source: <https://developers.google.com/google-ads/api/docs/deprecations>, read 2026-11-20.

mod answer;
mod codes;
mod config;
mod payload;
mod rehearsal;
#[cfg(test)]
mod tests;

use std::{collections::BTreeSet, time::Duration};

use bytes::Bytes;

use self::{
    config::{Becomes, Config},
    payload::{ClickConversion, ConversionAdjustment, Upload},
};
use super::{
    Auth, Common, Descriptor, Destination, HttpRequest, Method, Problem, Profile, Rehearsal, Request, Response,
    Unsendable, Verdict,
    google::{CLICK_AGE_MAX, DAY, USER_DATA_AGE_MAX, click, failure},
};
use crate::model::{Choice, EventName, Money, SealedEvent, SkipReason, Time, WaitReason};

/// Google Ads by its own API.
pub const DESCRIPTOR: Descriptor = Descriptor { kind: "google_ads", build };

/// How old a click must be before Google can find it, unless `hold_after_click` says otherwise.
/// Source: google-ads 34.0.0, v26/errors/types/conversion_upload_error.py (`TOO_RECENT_EVENT`), read 2026-11-20.
const HOLD_AFTER_CLICK: Duration = Duration::from_secs(6 * 60 * 60);

/// How old a conversion must be before it can be adjusted.
/// Source: google-ads 34.0.0, v26/errors/types/conversion_adjustment_upload_error.py (`TOO_RECENT_CONVERSION`), read
/// 2026-11-20.
const ADJUSTABLE_AFTER: Duration = DAY;

/// How old a conversion may be to be adjusted. Google's help pages say 55 days.
/// Source: as above (`CONVERSION_EXPIRED`).
const ADJUSTABLE_FOR: Duration = DAY.saturating_mul(54);

/// The event whose conversion a refund takes back if nobody knows better.
const PURCHASE: &str = "purchase";

const CONVERSIONS: u8 = 0;
const ADJUSTMENTS: u8 = 1;

/// What comes meanwhile travels together: requests are counted, and clicks are hours old anyway.
const SPACING: Duration = Duration::from_secs(1);

fn build(common: Common, table: toml::Table) -> Result<Box<dyn Destination>, Vec<Problem>> {
    let hold_after_click = common.hold_after_click.unwrap_or(HOLD_AFTER_CLICK);
    let (config, auth) = config::read(common.events, table)?;
    let (batch_max, timeout) = (config.batch, config.timeout);
    let profile = Profile {
        batch_max,
        spacing: SPACING,
        rate: Some(config.rate),
        timeout,
        auth: Auth::Google(auth),
        headers: &[answer::REQUEST_ID_HEADER],
    };
    Ok(Box::new(GoogleAds { profile, config, hold_after_click }))
}

struct GoogleAds {
    profile: Profile,
    config: Config,
    hold_after_click: Duration,
}

/// What a refund or restatement makes of a conversion.
struct Adjustment<'a> {
    /// Of the conversion.
    action: &'a str,
    /// Of the conversion.
    order_id: &'a str,
    /// What it is worth now; `None` if nothing is left of it.
    worth: Option<Money>,
}

impl GoogleAds {
    /// Whether `event` can become a conversion.
    fn admit_conversion(&self, event: &SealedEvent) -> Result<(), Unsendable> {
        if self.config.action(&event.name).is_none() {
            return Err(Unsendable::Skip(SkipReason::Unmapped));
        }
        if event.consent.ad_user_data == Choice::Denied {
            return Err(Unsendable::Skip(SkipReason::Consent));
        }
        if payload::evidence(event).is_empty() {
            return Err(Unsendable::Skip(SkipReason::NoIdentifiers));
        }
        Ok(())
    }

    /// The adjustment that `event` is, a refund or restatement.
    fn adjustment<'a>(&'a self, event: &'a SealedEvent) -> Result<Adjustment<'a>, Unsendable> {
        let no_original = || Unsendable::Skip(SkipReason::NoOriginal);
        let Some(change) = &event.change else {
            // All of it is taken back, so that nobody has to know what it was worth.
            let whole = event.name.is_refund() && event.transaction_id.is_some() && event.money.is_none();
            let action = self.likely_action().filter(|_| whole).ok_or_else(no_original)?;
            return Ok(Adjustment { action, order_id: event.transaction(), worth: None });
        };
        let original = &change.original;
        self.admit_conversion(original).map_err(|_| no_original())?;
        let action = self.config.action(&original.name).ok_or_else(no_original)?;
        let worth = match change.worth {
            // A conversion may be restated to nothing and still count; only a refund takes it back.
            Some(_) if change.is_total() && event.name.is_refund() => None,
            Some(worth) => Some(worth),
            None => {
                let message = "what is left of the conversion is not known: it never had a value, or one in another currency \
                               than the refund; refund it as a whole, without a value";
                return Err(Unsendable::Reject(failure("no_value", Some("value"), message)));
            }
        };
        Ok(Adjustment { action, order_id: original.transaction(), worth })
    }

    /// The action of a conversion that nobody knows: that of purchases, or the only one there is.
    fn likely_action(&self) -> Option<&str> {
        let purchase = EventName::new(PURCHASE).ok().and_then(|name| self.config.action(&name));
        purchase.or_else(|| {
            let mut actions = self.config.actions();
            let first = actions.next()?;
            actions.all(|other| other == first).then_some(first)
        })
    }

    /// The conversion action that the row of `event` names.
    fn action<'a>(&'a self, event: &'a SealedEvent) -> &'a str {
        if event.name.is_change() {
            self.adjustment(event).map_or("", |adjustment| adjustment.action)
        } else {
            self.config.action(&event.name).unwrap_or_default()
        }
    }

    /// The events of `batch` that travel in one request with its first.
    fn together<'a>(&self, batch: &'a [SealedEvent]) -> impl Iterator<Item = &'a SealedEvent> {
        let lane = batch.first().map(|event| self.lane(event));
        batch.iter().filter(move |event| Some(self.lane(event)) == lane)
    }

    fn request(&self, upload: &Upload<'_>) -> HttpRequest {
        let call = if upload.conversions.is_empty() { "uploadConversionAdjustments" } else { "uploadClickConversions" };
        let login = self.config.login_customer_id.iter().map(|id| ("login-customer-id", id.clone()));
        let body = serde_json::to_vec(upload).expect("the wire structs hold strings, integers and checked numbers");
        HttpRequest {
            method: Method::Post,
            url: format!("{}:{call}", self.config.customer_url),
            headers: login.collect(),
            body: Bytes::from(body),
        }
    }
}

impl Destination for GoogleAds {
    fn profile(&self) -> &Profile {
        &self.profile
    }

    fn deadline(&self, event: &SealedEvent) -> Time {
        if event.name.is_change() {
            let converted_at = event.change.as_ref().map_or(event.time, |change| change.original.time);
            return converted_at.plus(ADJUSTABLE_FOR);
        }
        match click(event) {
            Some(click) => click.first_seen.unwrap_or(event.time).plus(CLICK_AGE_MAX),
            None => event.time.plus(USER_DATA_AGE_MAX),
        }
    }

    fn hold(&self, event: &SealedEvent) -> Option<(Time, WaitReason)> {
        let (until, reason) = if event.name.is_change() {
            let converted_at = event.change.as_ref()?.original.time;
            (converted_at.plus(ADJUSTABLE_AFTER), WaitReason::ConversionTooRecent)
        } else {
            (click(event)?.first_seen?.plus(self.hold_after_click), WaitReason::ClickTooRecent)
        };
        (until > event.received_at).then_some((until, reason))
    }

    fn evidence(&self, event: &SealedEvent) -> Vec<&'static str> {
        if event.name.is_change() { vec!["orderId"] } else { payload::evidence(event) }
    }

    fn admit(&self, event: &SealedEvent) -> Result<(), Unsendable> {
        match self.config.events.get(&event.name) {
            Some(Becomes::Adjustment) if event.consent.ad_user_data == Choice::Denied => {
                Err(Unsendable::Skip(SkipReason::Consent))
            }
            Some(Becomes::Adjustment) => self.adjustment(event).map(drop),
            Some(Becomes::Conversion(_)) | None => self.admit_conversion(event),
        }
    }

    fn lane(&self, event: &SealedEvent) -> u8 {
        if event.name.is_change() { ADJUSTMENTS } else { CONVERSIONS }
    }

    fn prepare(&self, batch: &[SealedEvent]) -> Request {
        let mut upload = Upload { partial_failure: true, ..Upload::default() };
        for event in self.together(batch) {
            // An event without action or original is never admitted; if one came all the same, Google would refuse its row.
            if self.lane(event) == ADJUSTMENTS {
                let nothing = Adjustment { action: "", order_id: event.transaction(), worth: None };
                let adjustment = self.adjustment(event).unwrap_or(nothing);
                upload.conversion_adjustments.push(ConversionAdjustment::new(&adjustment, event));
            } else {
                upload.conversions.push(ClickConversion::new(&self.config, self.action(event), event));
            }
        }
        Request::Http(self.request(&upload))
    }

    fn trace_id(&self, response: &Response) -> Option<String> {
        answer::request_id(response)
    }

    fn interpret(&self, batch: &[SealedEvent], response: &Response) -> Vec<Verdict> {
        let sent: Vec<&SealedEvent> = self.together(batch).collect();
        let actions: Vec<&str> = sent.iter().map(|event| self.action(event)).collect();
        let configured = self.config.actions().collect::<BTreeSet<_>>().len();
        let request = answer::Sent { events: &sent, actions: &actions, configured };
        let mut verdicts = answer::verdicts(&request, response).into_iter();
        let lane = batch.first().map(|event| self.lane(event));
        let verdict = |event: &SealedEvent| {
            let sent = Some(self.lane(event)) == lane;
            // What was not in the request goes in the next.
            sent.then(|| verdicts.next()).flatten().unwrap_or(Verdict::Resend)
        };
        batch.iter().map(verdict).collect()
    }

    fn rehearsals(&self, sample: &SealedEvent) -> Vec<Rehearsal> {
        let conversions = self.config.actions().map(|action| ClickConversion::new(&self.config, action, sample));
        let upload = Upload {
            conversions: conversions.collect(),
            partial_failure: true,
            validate_only: true,
            ..Upload::default()
        };
        let what = "an upload of one conversion for each mapped event, which Google only validates";
        vec![Rehearsal { what, request: self.request(&upload), read: rehearsal::read }]
    }

    fn api(&self) -> Option<(&'static str, &str)> {
        Some(("google_ads", &self.config.api_version))
    }
}
