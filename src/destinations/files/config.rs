//! The keys of `kind = "file"`:
//!
//! ```toml
//! format = "google_ads_clicks"     # google_ads_leads, google_ads_adjustments, data_manager, microsoft, jsonl
//! path = "data/files"              # the directory; one file for each destination and day
//! keep = 7                         # how many daily files GET /files/{name}.csv serves together
//! username = "google"              # Basic authentication of that path: both or neither
//! password = "${FILES_PASSWORD}"
//! ```

use std::path::PathBuf;

use super::{cells, formats::Format};
use crate::{
    destinations::{Common, Problem},
    model::{EventName, Secret, Settings},
};

const PATH_DEFAULT: &str = "data/files";
const KEEP_DEFAULT: u32 = 7;
/// No platform takes rows that are older than this many days.
const KEEP_MAX: u32 = 90;

/// The word that a refund or a restatement is mapped to when it is to be found by what its conversion was.
pub(super) const ADJUST: &str = "adjust";

/// The events that are mapped to [`ADJUST`].
pub(super) fn adjusting(common: &Common) -> impl Iterator<Item = &EventName> {
    common.events.iter().filter(|(event, mapped)| event.is_change() && *mapped == ADJUST).map(|(event, _)| event)
}

/// What is configured of one file destination.
pub(super) struct Config {
    pub(super) format: Format,
    pub(super) directory: PathBuf,
    pub(super) days_served: u32,
    pub(super) auth: Option<(String, Secret)>,
}

impl Config {
    /// Reads and checks the table and what `common` holds for it; every problem at once.
    pub(super) fn read(common: &Common, table: toml::Table) -> Result<Self, Vec<Problem>> {
        let mut settings = Settings::new("", table);
        let names = Format::ALL.map(|(name, _)| name).join(", ");
        // Meta publishes no list of columns that could be relied on.
        let expected = format!("one of {names}; for Meta there is kind = \"meta\" instead");
        let format = settings.required_parsed("format", &expected, |text| {
            Format::ALL.iter().find(|(name, _)| *name == text).map(|(_, format)| *format)
        });
        let directory = settings.text("path").unwrap_or_else(|| PATH_DEFAULT.to_owned()).into();
        let days_served = settings.number("keep", 1..=KEEP_MAX).unwrap_or(KEEP_DEFAULT);
        let auth = auth(&mut settings);
        if common.hold_after_click.is_some() {
            let message = "is not for files, whose rows are served again for days (keep): leave it out";
            settings.problem("hold_after_click", message);
        }
        for (event, conversion) in &common.events {
            // A conversion's name is the platform's, byte for byte, so one that cannot stand in a cell has to be
            // renamed there.
            let unsafe_name = conversion.starts_with('-') || cells::is_unsafe(conversion);
            if unsafe_name && format.is_some_and(|format| format != Format::Jsonl) {
                let message = "would run as a formula in a spreadsheet, and the name has to match exactly: rename the \
                               conversion at the platform so that it (and what follows a , or ;) does not begin with \
                               = + - @ and has no tabs or line ends";
                settings.problem(&format!("events.{event}"), message);
            }
        }
        match format {
            Some(Format::GoogleAdsAdjustments) => check_adjustments(common, &mut settings),
            Some(Format::Jsonl) | None => {}
            Some(_) => check_changes(common, &mut settings),
        }
        let problems = settings.finish();
        match format {
            Some(format) if problems.is_empty() => Ok(Self { format, directory, days_served, auth }),
            _ => Err(problems),
        }
    }
}

/// A change that is found by its conversion needs the names of the conversions.
fn check_adjustments(common: &Common, settings: &mut Settings) {
    let conversions = common.events.keys().any(|event| !event.is_change());
    if let Some(event) = adjusting(common).next().filter(|_| !conversions) {
        let message = "is found by its conversion, of which none is mapped here: map purchase, or whatever is refunded, to \
                       the conversion's name too";
        settings.problem(&format!("events.{event}"), message);
    }
}

/// Files of conversions take nothing back: what changes one would be one more.
fn check_changes(common: &Common, settings: &mut Settings) {
    for (event, conversion) in common.events.iter().filter(|(event, _)| event.is_change()) {
        let shared = common.events.iter().any(|(other, name)| other != event && name == conversion);
        if !event.is_refund() {
            let message = "gives a conversion another value, which this format cannot tell: use google_ads_adjustments";
            settings.problem(&format!("events.{event}"), message);
        } else if shared || conversion == ADJUST {
            let message = "must be a conversion of its own: this format takes nothing back, and under the name of another \
                           one it would count as that; to take value back use google_ads_adjustments";
            settings.problem(&format!("events.{event}"), message);
        }
    }
}

/// User name and password of Basic authentication, as far as it can carry them.
fn auth(settings: &mut Settings) -> Option<(String, Secret)> {
    const BOTH: &str = "give username and password, or neither";
    let given = ["username", "password"].map(|key| settings.has(key));
    if given[0] != given[1] {
        settings.need("username", BOTH).need("password", BOTH);
    }
    let username = settings.parsed("username", "a text without a colon and control characters", |text| {
        (!text.contains(':') && !text.contains(char::is_control)).then(|| text.to_owned())
    });
    let password = settings.parsed("password", "a text without control characters", |text| {
        (!text.contains(char::is_control)).then(|| Secret::new(text))
    });
    username.zip(password)
}
