//! The destination's table in the configuration. All that is wrong with it is said at once.

use std::{collections::BTreeMap, time::Duration};

use super::super::{
    GoogleAuth, Problem, Rate,
    google::{self, DAY, account_digits, is_digits},
};
use crate::model::{EventName, Settings};

/// Source: google-ads 34.0.0, v26/services/services/conversion_upload_service/transports/base.py, read 2026-11-20.
const BASE_URL: &str = "https://googleads.googleapis.com";

/// Source: as above.
const SCOPE: &str = "https://www.googleapis.com/auth/adwords";

/// The newest version. Those before it differ from it in nothing that is used here.
/// Source: google-ads 34.0.0, v23 to v26, read 2026-11-20.
const API_VERSION: &str = "v26";

/// The most rows in one request. One bad row harms no other, so that there is no reason for fewer.
/// Source: google-ads 34.0.0, v26/errors/types/conversion_upload_error.py (`TOO_MANY_CONVERSIONS_IN_REQUEST`) and
/// conversion_adjustment_upload_error.py (`TOO_MANY_ADJUSTMENTS_IN_REQUEST`), read 2026-11-20.
const BATCH_LIMIT: usize = 2000;

/// Requests that a Cloud project with Basic access may send on one day; with Explorer access 2880.
/// Source: <https://developers.google.com/google-ads/api/docs/best-practices/quotas>, read 2026-11-20. That an upload of
/// many rows counts as one is how it reads there.
const REQUESTS_PER_DAY: u32 = 15_000;

/// More would be closer together than one millisecond.
const REQUESTS_PER_DAY_MAX: u32 = 86_400_000;

const TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);

/// The word in `events` for an event that changes an earlier conversion.
const ADJUST: &str = "adjust";

/// What an event is sent with.
pub(super) struct Config {
    pub(super) login_customer_id: Option<String>,
    pub(super) api_version: String,
    /// The customer's address, which the names of the two calls are put behind.
    pub(super) customer_url: String,
    pub(super) batch: usize,
    pub(super) rate: Rate,
    pub(super) timeout: Duration,
    pub(super) merchant: Option<Merchant>,
    /// Our event name → what becomes of it.
    pub(super) events: BTreeMap<EventName, Becomes>,
}

/// What becomes of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Becomes {
    /// A conversion, by the resource name of its action.
    Conversion(String),
    /// An adjustment of an earlier conversion.
    Adjustment,
}

/// Where the products of carts are described.
pub(super) struct Merchant {
    pub(super) id: String,
    pub(super) feed_country: Option<String>,
    pub(super) feed_language: Option<String>,
}

impl Config {
    /// The conversion action of events of this name; `None` if they become no conversion.
    pub(super) fn action(&self, event: &EventName) -> Option<&str> {
        match self.events.get(event)? {
            Becomes::Conversion(action) => Some(action),
            Becomes::Adjustment => None,
        }
    }

    /// The action of each event that becomes a conversion, in the order of the events' names.
    pub(super) fn actions(&self) -> impl Iterator<Item = &str> {
        self.events.keys().filter_map(|event| self.action(event))
    }
}

/// Reads `table` and the mapping of events.
pub(super) fn read(
    events: BTreeMap<EventName, String>,
    table: toml::Table,
) -> Result<(Config, GoogleAuth), Vec<Problem>> {
    let mut settings = Settings::new("", table);
    let customer_id = settings.required_parsed("customer_id", google::ACCOUNT, account_digits);
    let login_customer_id = settings.parsed("login_customer_id", google::ACCOUNT, account_digits);
    let events = becomes(events, customer_id.as_deref().unwrap_or_default(), &mut settings);
    let base_url = settings.base_url(BASE_URL);
    let token_url = settings.url("token_url");
    let api_version = settings.parsed("api_version", "a version such as v26", |text| {
        text.strip_prefix('v').filter(|number| is_digits(number) && number.len() <= 3).map(|_| text.to_owned())
    });
    let api_version = api_version.unwrap_or_else(|| API_VERSION.to_owned());
    let batch = settings.number("batch", 1..=BATCH_LIMIT).unwrap_or(BATCH_LIMIT);
    let requests_per_day = settings.number("requests_per_day", 1..=REQUESTS_PER_DAY_MAX).unwrap_or(REQUESTS_PER_DAY);
    let timeout = settings.timeout(TIMEOUT_DEFAULT);
    let merchant = merchant(&mut settings);
    let credentials = google::credentials(&mut settings);
    let problems = settings.finish();
    match (customer_id, credentials) {
        (Some(customer_id), Some((credentials, file_token_url))) if problems.is_empty() => {
            let token_url = token_url.or(file_token_url).unwrap_or_else(|| google::TOKEN_URL.to_owned());
            let customer_url = format!("{base_url}/{api_version}/customers/{customer_id}");
            let rate = Rate { requests: requests_per_day, per: DAY };
            let config =
                Config { login_customer_id, api_version, customer_url, batch, rate, timeout, merchant, events };
            Ok((config, GoogleAuth { credentials, token_url, scope: SCOPE }))
        }
        _ => Err(problems),
    }
}

/// What becomes of each event; what cannot become anything is a problem.
fn becomes(
    events: BTreeMap<EventName, String>,
    customer_id: &str,
    settings: &mut Settings,
) -> BTreeMap<EventName, Becomes> {
    let mut read = BTreeMap::new();
    for (event, text) in events {
        let becomes = match (event.is_change(), text.as_str()) {
            (true, ADJUST) => Ok(Becomes::Adjustment),
            // A conversion of its own would add to the sale's value instead of taking from it.
            (true, _) => Err("must be \"adjust\": it changes the conversion it is about and is none itself"),
            (false, action) if is_digits(action) => {
                Ok(Becomes::Conversion(format!("customers/{customer_id}/conversionActions/{action}")))
            }
            (false, _) => Err("must be the id of a conversion action: digits, such as \"987654321\""),
        };
        match becomes {
            Ok(becomes) => drop(read.insert(event, becomes)),
            Err(message) => settings.problem(&format!("events.{event}"), message),
        }
    }
    if !read.is_empty() && read.values().all(|becomes| *becomes == Becomes::Adjustment) {
        settings.problem("events", "must map the conversions that are to be adjusted, such as purchase");
    }
    read
}

fn merchant(settings: &mut Settings) -> Option<Merchant> {
    let digits = |text: &str| is_digits(text).then(|| text.to_owned());
    let code = |text: &str, letter: fn(&u8) -> bool| {
        (text.len() == 2 && text.bytes().all(|b| letter(&b))).then(|| text.to_owned())
    };
    let needs_merchant: Vec<&str> =
        ["feed_country", "feed_language"].into_iter().filter(|key| settings.has(key)).collect();
    let has_merchant = settings.has("merchant_id");
    let id = settings.parsed("merchant_id", "a Merchant Center id: digits", digits);
    let feed_country = settings
        .parsed("feed_country", "an ISO 3166-1 alpha-2 code such as US", |text| code(text, u8::is_ascii_uppercase));
    let feed_language =
        settings.parsed("feed_language", "an ISO 639-1 code such as en", |text| code(text, u8::is_ascii_lowercase));
    if !has_merchant {
        for key in needs_merchant {
            settings.problem(key, "means nothing without merchant_id");
        }
    }
    Some(Merchant { id: id?, feed_country, feed_language })
}
