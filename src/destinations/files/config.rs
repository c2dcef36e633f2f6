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
    model::Secret,
};

const PATH_DEFAULT: &str = "data/files";
const KEEP_DEFAULT: u32 = 7;
/// No platform takes rows that are older than this many days.
const KEEP_MAX: u32 = 90;

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
        let mut keys = Keys { table, problems: Vec::new() };
        let format = keys.format();
        let directory = keys.text("path", "the directory of the files, such as \"data/files\"");
        let days_served = keys.days_served();
        let auth = keys.auth();
        keys.refuse_the_rest();
        let mut problems = keys.problems;
        if common.hold_after_click.is_some() {
            let message = "is not for files, whose rows are served again for days (keep): leave it out";
            problems.push(Problem::new("hold_after_click", message));
        }
        if format.is_some_and(|format| format != Format::Jsonl) {
            problems.extend(common.events.iter().filter_map(|(event, conversion)| {
                wrong_name(conversion).map(|message| Problem::new(format!("events.{event}"), message))
            }));
        }
        match format {
            Some(format) if problems.is_empty() => Ok(Self {
                format,
                directory: directory.unwrap_or_else(|| PATH_DEFAULT.into()).into(),
                days_served,
                auth,
            }),
            _ => Err(problems),
        }
    }
}

/// A conversion's name is the platform's, byte for byte, so one that cannot stand in a cell has to be renamed there.
fn wrong_name(conversion: &str) -> Option<&'static str> {
    if conversion.trim().is_empty() {
        Some("must be the conversion's name at the platform, such as \"Offline purchase\"")
    } else if conversion.starts_with('-') || cells::is_unsafe(conversion) {
        Some(
            "would run as a formula in a spreadsheet, and the name has to match exactly: rename the conversion at the \
             platform so that it (and what follows a , or ;) does not begin with = + - @ and has no tabs or line ends",
        )
    } else {
        None
    }
}

struct Keys {
    table: toml::Table,
    problems: Vec<Problem>,
}

impl Keys {
    fn problem(&mut self, key: &str, message: impl Into<String>) {
        self.problems.push(Problem::new(key, message));
    }

    /// The text of `key`, if it is there and not empty.
    fn text(&mut self, key: &str, wanted: &str) -> Option<String> {
        match self.table.remove(key)? {
            toml::Value::String(text) if !text.trim().is_empty() => Some(text),
            _ => {
                self.problem(key, format!("must be {wanted}"));
                None
            }
        }
    }

    fn format(&mut self) -> Option<Format> {
        let names = Format::ALL.map(|(name, _)| name).join(", ");
        if !self.table.contains_key("format") {
            self.problem("format", format!("is missing: it must be one of {names}"));
            return None;
        }
        let given = self.text("format", &format!("one of {names}"))?;
        let known = Format::ALL.iter().find(|(name, _)| *name == given).map(|(_, format)| *format);
        if given == "meta" {
            // Meta publishes no list of columns that could be relied on.
            let message =
                "\"meta\" is not supported yet: use kind = \"meta\", which sends events, or format = \"jsonl\"";
            self.problem("format", message);
        } else if known.is_none() {
            self.problem("format", format!("{given:?} is not known: it must be one of {names}"));
        }
        known
    }

    fn days_served(&mut self) -> u32 {
        let given = self.table.remove("keep");
        let days = match &given {
            None => Some(KEEP_DEFAULT),
            Some(value) => value.as_integer().and_then(|days| u32::try_from(days).ok()),
        };
        match days {
            Some(days) if (1..=KEEP_MAX).contains(&days) => days,
            _ => {
                self.problem("keep", format!("must be a whole number of days from 1 to {KEEP_MAX}, such as 7"));
                KEEP_DEFAULT
            }
        }
    }

    fn auth(&mut self) -> Option<(String, Secret)> {
        let given = ["username", "password"].map(|key| self.table.contains_key(key));
        let username = self.text("username", "the user name of the file's Basic authentication");
        let password = self.text("password", "the password of the file's Basic authentication");
        match given {
            [true, false] => self.problem("password", "is missing: give username and password, or neither"),
            [false, true] => self.problem("username", "is missing: give username and password, or neither"),
            _ => {}
        }
        if username.as_ref().is_some_and(|name| name.contains(':') || name.contains(char::is_control)) {
            self.problem(
                "username",
                "must not contain a colon or control characters: Basic authentication cannot carry them",
            );
        }
        if password.as_ref().is_some_and(|word| word.contains(char::is_control)) {
            self.problem("password", "must not contain control characters: Basic authentication cannot carry them");
        }
        username.zip(password.map(Secret::new))
    }

    fn refuse_the_rest(&mut self) {
        for key in std::mem::take(&mut self.table).keys() {
            self.problem(key, "is not a key of kind = \"file\", which has format, path, keep, username and password");
        }
    }
}
