//! Offline-import files (`kind = "file"`): rows that Google Ads, Google's Data Manager, Microsoft Advertising or a
//! warehouse fetch on a schedule.
//!
//! | `format` | for | an event needs |
//! |---|---|---|
//! | `google_ads_clicks` | Google Ads, import of clicks | a `gclid` |
//! | `google_ads_leads` | Google Ads, enhanced conversions for leads | an e-mail address, a phone number or a `gclid` |
//! | `google_ads_adjustments` | Google Ads, refunds and restatements of imported conversions | a `transaction_id` |
//! | `data_manager` | Google Ads Data Manager (map columns there) | a click id, an e-mail address or a phone number |
//! | `microsoft` | Microsoft Advertising, offline conversions | an `msclkid` |
//! | `jsonl` | anything else: one JSON object a line | nothing |
//!
//! Files are UTF-8 with `\n` line ends, quoted as RFC 4180 says. One daily file holds the rows written that day;
//! several days are served together, so that a row the platform found too early (a click younger than 6 hours, a
//! conversion younger than a day) is offered to it again. That is safe: platforms ignore a row that they have.
//!
//! A refund or a restatement in a `google_ads_adjustments` file gives the conversion what is left of its value, or takes it
//! back. Which conversion that is, and what is left, is looked up (`event.change`). Where the conversion is not known to us,
//! its giver says so: a refund without a value takes back the whole, one with a value needs `properties.adjusted_value`, and
//! a restatement's own value is the new one.

mod cells;
mod config;
mod formats;
mod jsonl;
mod matching;
#[cfg(test)]
mod tests;

use std::time::Duration;

use self::{config::Config, formats::Format};
use super::{
    Auth, Common, Descriptor, Destination, FileProfile, Original, Problem, Profile, Request, Response, Rows,
    Unsendable, Verdict,
};
use crate::model::{Failure, SealedEvent, SkipReason, Time, WaitReason};

/// `kind = "file"`.
pub const DESCRIPTOR: Descriptor = Descriptor { kind: "file", build };

/// The most rows written and synced together.
const BATCH_MAX: usize = 1000;
/// Each batch costs a sync: rows that come close together share one.
const SPACING: Duration = Duration::from_millis(50);
/// How long writing and syncing one batch may take.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

fn build(common: Common, table: toml::Table) -> Result<Box<dyn Destination>, Vec<Problem>> {
    let Config { format, directory, days_served, auth } = Config::read(&common, table)?;
    let adjusts = format == Format::GoogleAdsAdjustments && config::adjusting(&common).next().is_some();
    let (extension, header) = (format.extension(), format.header().to_owned());
    Ok(Box::new(Files {
        common,
        format,
        adjusts,
        file: FileProfile { directory, extension, header, days_served, auth },
        profile: Profile {
            batch_max: BATCH_MAX,
            spacing: SPACING,
            rate: None,
            timeout: WRITE_TIMEOUT,
            auth: Auth::None,
            headers: &[],
        },
    }))
}

struct Files {
    common: Common,
    format: Format,
    /// Some change finds the name of its conversion by what that was.
    adjusts: bool,
    file: FileProfile,
    profile: Profile,
}

impl Files {
    fn line(&self, event: &SealedEvent) -> Result<String, Unsendable> {
        let mapped = self.common.events.get(&event.name).ok_or(Unsendable::Skip(SkipReason::Unmapped))?;
        self.format.line(self.conversion(mapped, event)?, event)
    }

    /// The platform's name of the conversion that `event` is, or is about.
    fn conversion<'s>(&'s self, mapped: &'s str, event: &SealedEvent) -> Result<&'s str, Unsendable> {
        if !self.adjusts {
            return Ok(mapped);
        }
        if !event.name.is_change() {
            // It is mapped for its name only: the conversion itself is in another file.
            return Err(Unsendable::Skip(SkipReason::Unmapped));
        }
        if mapped != config::ADJUST {
            return Ok(mapped);
        }
        let original = event.change.as_ref().and_then(|change| self.common.events.get(&change.original.name));
        original.map(String::as_str).ok_or(Unsendable::Skip(SkipReason::NoOriginal))
    }
}

impl Destination for Files {
    fn profile(&self) -> &Profile {
        &self.profile
    }

    fn deadline(&self, event: &SealedEvent) -> Time {
        self.format.deadline(event)
    }

    fn hold(&self, event: &SealedEvent) -> Option<(Time, WaitReason)> {
        let until = self.format.held_until(event)?;
        (until > event.received_at).then_some((until, WaitReason::ConversionTooRecent))
    }

    /// The conversions are in another file, or came by an API.
    fn original(&self, _event: &SealedEvent) -> Original {
        if self.format == Format::GoogleAdsAdjustments { Original::Elsewhere } else { Original::Unneeded }
    }

    /// The columns by which the platform matches a row.
    fn evidence(&self, event: &SealedEvent) -> Vec<&'static str> {
        self.format.evidence(event)
    }

    fn admit(&self, event: &SealedEvent) -> Result<(), Unsendable> {
        self.line(event).map(drop)
    }

    fn prepare(&self, batch: &[SealedEvent]) -> Request {
        let line =
            |event| self.line(event).expect("a batch holds admitted events only, and `admit` asks for this line");
        Request::Rows(Rows {
            directory: self.file.directory.clone(),
            extension: self.file.extension,
            header: self.file.header.clone(),
            rows: batch.iter().map(line).collect(),
        })
    }

    fn interpret(&self, batch: &[SealedEvent], response: &Response) -> Vec<Verdict> {
        let verdict = || match response {
            Response::Written => Verdict::Delivered,
            Response::Http { .. } => Verdict::Retry {
                after: None,
                failure: Failure {
                    code: "not_written".into(),
                    field: None,
                    message: "the rows were not confirmed to be on disk".into(),
                },
            },
        };
        batch.iter().map(|_| verdict()).collect()
    }

    fn file(&self) -> Option<&FileProfile> {
        Some(&self.file)
    }
}
