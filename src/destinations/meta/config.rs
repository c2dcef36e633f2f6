//! The keys of `kind = "meta"`, read so that everything wrong is said at once.

use std::time::Duration;

use super::super::{Common, Problem};
use crate::model::{Secret, parse_duration};

/// Where Meta listens, unless `base_url` says otherwise.
const BASE_URL: &str = "https://graph.facebook.com";

/// The version this code was written for: released 2026-07-29, supported for at least two years from then.
/// Source: <https://developers.facebook.com/docs/graph-api/changelog>, read 2026-11-20.
const API_VERSION: &str = "v26.0";

/// The most events that Meta takes in one request.
/// Source: <https://developers.facebook.com/documentation/ads-commerce/conversions-api/using-the-api>, read 2026-11-20.
const BATCH_MAX: usize = 1000;

/// Meta says that most answers take under 600 ms and suggests 1.5 s; a full batch may take longer.
/// Source: <https://developers.facebook.com/documentation/ads-commerce/conversions-api/support>, read 2026-11-20.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The keys there are.
const KEYS: &str = "pixel_id, access_token, base_url, api_version, test_event_code, batch, timeout, partner_agent, ldu";

/// What is configured for Meta alone.
#[derive(Debug)]
pub(super) struct Settings {
    /// The pixel, also called dataset.
    pub(super) pixel_id: String,
    /// A system user's token.
    pub(super) access_token: Secret,
    /// Without a slash at the end.
    pub(super) base_url: String,
    /// `v26.0`.
    pub(super) api_version: String,
    /// Shows the events under "test events"; they count all the same.
    pub(super) test_event_code: Option<String>,
    /// Events in one request.
    pub(super) batch: usize,
    /// How long one request may take.
    pub(super) timeout: Duration,
    /// How Meta knows an agency or platform.
    pub(super) partner_agent: Option<String>,
    /// Limited Data Use.
    pub(super) ldu: Option<Ldu>,
}

/// Limited Data Use, for every event: 0 and 0 let Meta find out where the person is, 1 and 1000 are California.
/// Source: <https://developers.facebook.com/documentation/ads-commerce/conversions-api/parameters/server-event>,
/// read 2026-11-20.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ldu {
    pub(super) country: u32,
    pub(super) state: u32,
}

/// Reads `table`.
///
/// # Errors
/// Every problem there is. None repeats a configured text: it may be the token under a wrong name.
pub(super) fn read(common: &Common, table: toml::Table) -> Result<Settings, Vec<Problem>> {
    let mut keys = Reader { prefix: "", table, problems: Vec::new() };
    let pixel_id = keys.required("pixel_id", "must be the digits of the pixel or dataset id, in quotes", |text| {
        is_digits(text).then(|| text.to_owned())
    });
    let access_token = keys.required("access_token", "must be the access token of a system user", |text| {
        (!text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic())).then(|| Secret::new(text))
    });
    let base_url = keys.optional("base_url", "must be an address such as https://graph.facebook.com", address);
    let api_version = keys.optional("api_version", "must be a version such as v26.0", |text| {
        let (major, minor) = text.strip_prefix('v')?.split_once('.')?;
        (is_digits(major) && is_digits(minor)).then(|| text.to_owned())
    });
    let some_text = |text: &str| (!text.trim().is_empty()).then(|| text.to_owned());
    let test_event_code =
        keys.optional("test_event_code", "must be a code such as TEST12345, or be left out", some_text);
    let partner_agent = keys.optional("partner_agent", "must be the name agreed with Meta, or be left out", some_text);
    let timeout = keys.optional("timeout", "must be a time above zero such as \"10s\" or \"1500ms\"", |text| {
        parse_duration(text).ok().filter(|timeout| !timeout.is_zero())
    });
    let batch = keys.whole("batch", "must be a whole number from 1 to 1000", 1, BATCH_MAX);
    let ldu = keys.ldu();
    for (event, name) in &common.events {
        if name.trim().is_empty() {
            keys.problem(&format!("events.{event}"), "must be Meta's name for the event, such as Purchase or Lead");
        }
    }
    keys.no_more(KEYS);

    match (pixel_id, access_token) {
        (Some(pixel_id), Some(access_token)) if keys.problems.is_empty() => Ok(Settings {
            pixel_id,
            access_token,
            base_url: base_url.unwrap_or_else(|| BASE_URL.into()),
            api_version: api_version.unwrap_or_else(|| API_VERSION.into()),
            test_event_code,
            batch: batch.unwrap_or(BATCH_MAX),
            timeout: timeout.unwrap_or(TIMEOUT),
            partner_agent,
            ldu,
        }),
        _ => Err(keys.problems),
    }
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

/// An http(s) address to put a path behind, without credentials, query or fragment.
fn address(text: &str) -> Option<String> {
    let url = url::Url::parse(text).ok()?;
    let web = matches!(url.scheme(), "https" | "http") && url.has_host();
    let bare =
        url.username().is_empty() && url.password().is_none() && url.query().is_none() && url.fragment().is_none();
    (web && bare).then(|| url.as_str().trim_end_matches('/').to_owned())
}

/// Takes keys out of a table and collects what is wrong with them.
struct Reader {
    prefix: &'static str,
    table: toml::Table,
    problems: Vec<Problem>,
}

impl Reader {
    fn problem(&mut self, key: &str, message: impl Into<String>) {
        self.problems.push(Problem::new(format!("{}{key}", self.prefix), message));
    }

    /// A text that `read` takes. `rule` says what it has to be.
    fn optional<T>(&mut self, key: &str, rule: &str, read: impl FnOnce(&str) -> Option<T>) -> Option<T> {
        let value = self.table.remove(key)?;
        let read = value.as_str().and_then(read);
        if read.is_none() {
            self.problem(key, rule);
        }
        read
    }

    /// The same for a text that has to be there.
    fn required<T>(&mut self, key: &str, rule: &str, read: impl FnOnce(&str) -> Option<T>) -> Option<T> {
        if !self.table.contains_key(key) {
            self.problem(key, format!("is missing; it {rule}"));
        }
        self.optional(key, rule, read)
    }

    /// A whole number from `least` to `most`.
    fn whole<T: TryFrom<i64> + PartialOrd>(&mut self, key: &str, rule: &str, least: T, most: T) -> Option<T> {
        let value = self.table.remove(key)?;
        let number = value.as_integer().and_then(|number| T::try_from(number).ok());
        let number = number.filter(|number| (least..=most).contains(number));
        if number.is_none() {
            self.problem(key, rule);
        }
        number
    }

    fn ldu(&mut self) -> Option<Ldu> {
        const RULE: &str = "must be { country = 1, state = 1000 } for California, or { country = 0, state = 0 } to let \
                            Meta find out where the person is";
        let value = self.table.remove("ldu")?;
        let toml::Value::Table(table) = value else {
            self.problem("ldu", RULE);
            return None;
        };
        let mut keys = Self { prefix: "ldu.", table, problems: Vec::new() };
        for key in ["country", "state"] {
            if !keys.table.contains_key(key) {
                keys.problem(key, format!("is missing; ldu {RULE}"));
            }
        }
        let country = keys.whole("country", "must be 1 for the United States, or 0", 0, 1);
        let state =
            keys.whole("state", "must be Meta's number of the state, such as 1000 for California, or 0", 0, 9999);
        keys.no_more("country, state");
        self.problems.append(&mut keys.problems);
        Some(Ldu { country: country?, state: state? })
    }

    /// Whatever is left in the table is a mistake.
    fn no_more(&mut self, known: &str) {
        for (key, _) in std::mem::take(&mut self.table) {
            self.problem(&key, format!("is not a key of this kind of destination; there are {known}"));
        }
    }
}
