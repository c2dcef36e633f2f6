//! Offline-import files (`kind = "file"`): rows that Google Ads, Google's Data Manager, Microsoft Advertising or a
//! warehouse fetch on a schedule.
//!
//! | `format` | for | an event needs |
//! |---|---|---|
//! | `google_ads_clicks` | Google Ads, import of clicks | a `gclid` |
//! | `google_ads_leads` | Google Ads, enhanced conversions for leads | an e-mail address, a phone number or a `gclid` |
//! | `google_ads_adjustments` | Google Ads, refunds of imported conversions | a `transaction_id` |
//! | `data_manager` | Google Ads Data Manager (map columns there) | a click id, an e-mail address or a phone number |
//! | `microsoft` | Microsoft Advertising, offline conversions | an `msclkid` |
//! | `jsonl` | anything else: one JSON object a line | nothing |
//!
//! Files are UTF-8 with `\n` line ends, quoted as RFC 4180 says. One daily file holds the rows written that day;
//! several days are served together, so that a row the platform found too early (a click younger than 6 hours, a
//! conversion younger than a day) is offered to it again. That is safe: platforms ignore a row that they have.

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
    Auth, Common, Descriptor, Destination, FileProfile, Problem, Profile, Request, Response, Rows, Unsendable, Verdict,
};
use crate::model::{Failure, SealedEvent, SkipReason, Time};

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
    let (extension, header) = (format.extension(), format.header().to_owned());
    Ok(Box::new(Files {
        common,
        format,
        file: FileProfile { directory, extension, header, days_served, auth },
        profile: Profile {
            batch_max: BATCH_MAX,
            spacing: SPACING,
            timeout: WRITE_TIMEOUT,
            auth: Auth::None,
            headers: &[],
        },
    }))
}

struct Files {
    common: Common,
    format: Format,
    file: FileProfile,
    profile: Profile,
}

impl Files {
    fn line(&self, event: &SealedEvent) -> Result<String, Unsendable> {
        let conversion = self.common.events.get(&event.name).ok_or(Unsendable::Skip(SkipReason::Unmapped))?;
        self.format.line(conversion, event)
    }
}

impl Destination for Files {
    fn profile(&self) -> &Profile {
        &self.profile
    }

    fn deadline(&self, event: &SealedEvent) -> Time {
        self.format.deadline(event)
    }

    fn evidence(&self, _event: &SealedEvent) -> Vec<&'static str> {
        Vec::new()
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
