//! The destination's table in the configuration. All that is wrong with it is said at once.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::super::{
    GoogleAuth, Problem, Rate,
    google::{self, account_digits, is_digits},
};
use crate::model::{EventName, Settings};

/// Source: <https://developers.google.com/data-manager/api/reference/rest>, read 2026-11-20.
const BASE_URL: &str = "https://datamanager.googleapis.com";

/// Source: <https://developers.google.com/data-manager/api/reference/rest/v1/events/ingest>, read 2026-11-20.
const SCOPE: &str = "https://www.googleapis.com/auth/datamanager";

/// The most events in one request.
/// Source: <https://developers.google.com/data-manager/api/devguides/limits>, read 2026-11-20.
const BATCH_LIMIT: usize = 2000;

/// Events in one request unless configured. Below the limit, as one bad event refuses the whole request and Google may
/// name only some of the bad ones at a time: a smaller batch has less to send again. Still 500 × 300 requests a minute.
const BATCH_DEFAULT: usize = 500;

/// Requests that Google allows a Cloud project in one minute.
/// Source: developers.google.com/data-manager/api/devguides/limits, read 2026-11-20.
const REQUESTS_PER_MINUTE: u32 = 300;

/// The most destinations in one request, each of which is one conversion action.
/// Source: <https://developers.google.com/data-manager/api/devguides/limits>, read 2026-11-20.
const ACTIONS_MAX: usize = 10;

const TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);

/// The word that a refund or a restatement is mapped to when it is to change the conversion it is about.
const ADJUST: &str = "adjust";

/// How old a conversion must be before its value is changed, unless configured. Data Manager names no time of its own for
/// this; it is that of the Google Ads API, which does not know a younger conversion. It matters more here: an id that is
/// not known yet becomes a conversion of its own.
/// Source: google-ads 34.0.0, v26/errors/types/conversion_adjustment_upload_error.py (`TOO_RECENT_CONVERSION`), read
/// 2026-11-20.
const HOLD_AFTER_CONVERSION: Duration = Duration::from_secs(24 * 60 * 60);

/// What an event is sent with.
pub(super) struct Config {
    pub(super) operating_account: String,
    pub(super) login_account: Option<String>,
    pub(super) account_type: &'static str,
    pub(super) user_project: Option<String>,
    /// The whole address of `events:ingest`.
    pub(super) url: String,
    /// The whole address of `requestStatus:retrieve`, without its query.
    pub(super) status_url: String,
    pub(super) batch: usize,
    pub(super) rate: Rate,
    pub(super) timeout: Duration,
    pub(super) merchant_id: Option<String>,
    pub(super) feed_label: Option<String>,
    pub(super) feed_language: Option<String>,
    /// Our event name → conversion action id.
    pub(super) actions: BTreeMap<EventName, String>,
    /// The events that give the conversion they are about another value: mapped to [`ADJUST`].
    pub(super) adjusting: BTreeSet<EventName>,
    /// How old a conversion must be before its value is changed.
    pub(super) hold_after_conversion: Duration,
}

/// Reads `table` and the mapping of events.
pub(super) fn read(
    events: BTreeMap<EventName, String>,
    table: toml::Table,
) -> Result<(Config, GoogleAuth), Vec<Problem>> {
    let mut settings = Settings::new("", table);
    let (adjusting, actions): (BTreeMap<_, _>, BTreeMap<_, _>) =
        events.into_iter().partition(|(event, action)| event.is_change() && action == ADJUST);
    let adjusting: BTreeSet<EventName> = adjusting.into_keys().collect();
    check_actions(&actions, &adjusting, &mut settings);
    let operating_account = settings.required_parsed("operating_account", google::ACCOUNT, account_digits);
    let login_account = settings.parsed("login_account", google::ACCOUNT, account_digits);
    let account_type = "GOOGLE_ADS";
    settings.parsed("account_type", "GOOGLE_ADS, the only account type that has conversion actions", |text| {
        (text == account_type).then_some(())
    });
    let user_project = settings.parsed("user_project", "the id of a Google Cloud project", |text| {
        text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-:.".contains(&b)).then(|| text.to_owned())
    });
    let base_url = settings.base_url(BASE_URL);
    let token_url = settings.url("token_url");
    let batch = settings.number("batch", 1..=BATCH_LIMIT).unwrap_or(BATCH_DEFAULT);
    let requests_per_minute = settings.number("requests_per_minute", 1..=1_000_000).unwrap_or(REQUESTS_PER_MINUTE);
    let timeout = settings.timeout(TIMEOUT_DEFAULT);
    let hold_after_conversion = settings
        .duration("hold_after_conversion", Duration::ZERO..=Duration::from_secs(30 * 24 * 60 * 60))
        .unwrap_or(HOLD_AFTER_CONVERSION);
    let merchant_id =
        settings.parsed("merchant_id", "a Merchant Center id: digits", |text| is_digits(text).then(|| text.to_owned()));
    let feed_label = settings.parsed("feed_label", "at most 20 letters, digits, - or _", |text| {
        let plain = text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        (text.len() <= 20 && plain).then(|| text.to_owned())
    });
    let feed_language = settings.parsed("feed_language", "an ISO 639-1 code such as en", |text| {
        (text.len() == 2 && text.bytes().all(|b| b.is_ascii_lowercase())).then(|| text.to_owned())
    });
    let credentials = google::credentials(&mut settings);
    let problems = settings.finish();
    match (operating_account, credentials) {
        (Some(operating_account), Some((credentials, file_token_url))) if problems.is_empty() => {
            let token_url = token_url.or(file_token_url).unwrap_or_else(|| google::TOKEN_URL.to_owned());
            let url = format!("{base_url}/v1/events:ingest");
            let status_url = format!("{base_url}/v1/requestStatus:retrieve");
            let config = Config {
                operating_account,
                login_account,
                account_type,
                user_project,
                url,
                status_url,
                batch,
                rate: Rate { requests: requests_per_minute, per: Duration::from_secs(60) },
                timeout,
                merchant_id,
                feed_label,
                feed_language,
                actions,
                adjusting,
                hold_after_conversion,
            };
            Ok((config, GoogleAuth { credentials, token_url, scope: SCOPE }))
        }
        _ => Err(problems),
    }
}

fn check_actions(actions: &BTreeMap<EventName, String>, adjusting: &BTreeSet<EventName>, settings: &mut Settings) {
    for (event, action) in actions {
        let key = format!("events.{event}");
        if event.is_change() && !event.is_refund() {
            // As an event of its own it would count the conversion once more.
            settings.problem(&key, "must be \"adjust\": it gives the conversion it is about another value");
        } else if !is_digits(action) {
            let or =
                if event.is_refund() { ", or \"adjust\" to give the conversion what is left of its value" } else { "" };
            let message = format!("must be the id of a conversion action: digits, such as \"987654321\"{or}");
            settings.problem(&key, message);
        }
        // Google has no retraction here: a second event with the same transaction id overwrites the first one's value.
        if event.is_refund() && actions.iter().any(|(other, shared)| other != event && shared == action) {
            let message = "must be another action than those of other events, or \"adjust\": Data Manager would \
                           overwrite the sale's value with the refund's instead of taking it back";
            settings.problem(&key, message);
        }
    }
    let conversions = actions.keys().any(|event| !event.is_change());
    if let Some(event) = adjusting.iter().next().filter(|_| !conversions) {
        let message = "adjusts conversions, of which none is mapped here: map purchase, or whatever is refunded, too";
        settings.problem(&format!("events.{event}"), message);
    }
    let distinct: BTreeSet<_> = actions.values().collect();
    if distinct.len() > ACTIONS_MAX {
        let message = format!(
            "must name at most {ACTIONS_MAX} different conversion actions (there are {}), as one request takes no \
             more: put the others into a second [[destinations]]",
            distinct.len()
        );
        settings.problem("events", message);
    }
}
