//! The destination's table in the configuration. All that is wrong with it is said at once.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use serde::Deserialize;

use super::super::{GoogleAuth, GoogleCredentials, Problem};
use crate::model::{EventName, Secret, Settings, plain_url};

/// Source: <https://developers.google.com/data-manager/api/reference/rest>, read 2026-11-20.
const BASE_URL: &str = "https://datamanager.googleapis.com";

/// Source: <https://developers.google.com/identity/protocols/oauth2/web-server>, read 2026-11-20.
const TOKEN_URL: &str = "https://oauth2.googleapis.com/token";

/// Source: <https://developers.google.com/data-manager/api/reference/rest/v1/events/ingest>, read 2026-11-20.
const SCOPE: &str = "https://www.googleapis.com/auth/datamanager";

/// The most events in one request.
/// Source: <https://developers.google.com/data-manager/api/devguides/limits>, read 2026-11-20.
const BATCH_LIMIT: usize = 2000;

/// Events in one request unless configured. Below the limit, as one bad event refuses the whole request and Google may
/// name only some of the bad ones at a time: a smaller batch has less to send again. Still 500 × 300 requests a minute.
const BATCH_DEFAULT: usize = 500;

/// The most destinations in one request, each of which is one conversion action.
/// Source: <https://developers.google.com/data-manager/api/devguides/limits>, read 2026-11-20.
const ACTIONS_MAX: usize = 10;

const TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);

/// The two forms of `credentials`.
const CREDENTIALS: &str = "{ client_id, client_secret, refresh_token } or { service_account_file }";

const KEY_FILE: &str = "service_account_file";

/// What an event is sent with.
pub(super) struct Config {
    pub(super) operating_account: String,
    pub(super) login_account: Option<String>,
    pub(super) account_type: &'static str,
    pub(super) user_project: Option<String>,
    /// The whole address of `events:ingest`.
    pub(super) url: String,
    pub(super) batch: usize,
    pub(super) timeout: Duration,
    pub(super) merchant_id: Option<String>,
    pub(super) feed_label: Option<String>,
    pub(super) feed_language: Option<String>,
    /// Our event name → conversion action id.
    pub(super) actions: BTreeMap<EventName, String>,
}

/// Reads `table` and the mapping of events.
pub(super) fn read(
    actions: BTreeMap<EventName, String>,
    table: toml::Table,
) -> Result<(Config, GoogleAuth), Vec<Problem>> {
    let mut settings = Settings::new("", table);
    check_actions(&actions, &mut settings);
    const ACCOUNT: &str = "a Google Ads account: \"123-456-7890\" or its digits";
    let operating_account = settings.required_parsed("operating_account", ACCOUNT, account_digits);
    let login_account = settings.parsed("login_account", ACCOUNT, account_digits);
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
    let timeout = settings.timeout(TIMEOUT_DEFAULT);
    let merchant_id =
        settings.parsed("merchant_id", "a Merchant Center id: digits", |text| is_digits(text).then(|| text.to_owned()));
    let feed_label = settings.parsed("feed_label", "at most 20 letters, digits, - or _", |text| {
        let plain = text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        (text.len() <= 20 && plain).then(|| text.to_owned())
    });
    let feed_language = settings.parsed("feed_language", "an ISO 639-1 code such as en", |text| {
        (text.len() == 2 && text.bytes().all(|b| b.is_ascii_lowercase())).then(|| text.to_owned())
    });
    let credentials = settings
        .need("credentials", CREDENTIALS)
        .table("credentials", &format!("a table: {CREDENTIALS}"), credentials)
        .flatten();
    let problems = settings.finish();
    match (operating_account, credentials) {
        (Some(operating_account), Some((credentials, file_token_url))) if problems.is_empty() => {
            let token_url = token_url.or(file_token_url).unwrap_or_else(|| TOKEN_URL.to_owned());
            let url = format!("{base_url}/v1/events:ingest");
            let config = Config {
                operating_account,
                login_account,
                account_type,
                user_project,
                url,
                batch,
                timeout,
                merchant_id,
                feed_label,
                feed_language,
                actions,
            };
            Ok((config, GoogleAuth { credentials, token_url, scope: SCOPE }))
        }
        _ => Err(problems),
    }
}

fn check_actions(actions: &BTreeMap<EventName, String>, settings: &mut Settings) {
    for (event, action) in actions {
        let key = format!("events.{event}");
        if !is_digits(action) {
            settings.problem(&key, "must be the id of a conversion action: digits, such as \"987654321\"");
        }
        // Google has no retraction here: a second event with the same transaction id overwrites the first one's value.
        if event.is_refund() && actions.iter().any(|(other, shared)| other != event && shared == action) {
            let message = "must be another action than those of other events: Data Manager would overwrite the \
                           sale's value with the refund's instead of taking it back";
            settings.problem(&key, message);
        }
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

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.len() <= 20 && text.bytes().all(|b| b.is_ascii_digit())
}

/// `123-456-7890`, or digits alone.
fn account_digits(text: &str) -> Option<String> {
    let dashed = text.len() == 12 && text.bytes().enumerate().all(|(i, b)| (b == b'-') == (i == 3 || i == 7));
    let digits = if dashed { text.replace('-', "") } else { text.to_owned() };
    is_digits(&digits).then_some(digits)
}

/// The credentials, and the token endpoint of a key file.
fn credentials(settings: &mut Settings) -> Option<(GoogleCredentials, Option<String>)> {
    const USER: [(&str, &str); 3] = [
        ("client_id", "the OAuth client's id"),
        ("client_secret", "the OAuth client's secret"),
        ("refresh_token", "a refresh token for the Data Manager scope"),
    ];
    if !settings.has(KEY_FILE) {
        let [client_id, client_secret, refresh_token] = USER.map(|(key, what)| settings.need(key, what).secret(key));
        let _known = settings.text(KEY_FILE);
        let (client_id, client_secret, refresh_token) =
            (client_id?.expose().to_owned(), client_secret?, refresh_token?);
        return Some((GoogleCredentials::Refresh { client_id, client_secret, refresh_token }, None));
    }
    for (key, _) in USER.iter().filter(|(key, _)| settings.has(key)).collect::<Vec<_>>() {
        settings.problem(key, format!("must be left out next to {KEY_FILE}: {CREDENTIALS}"));
        settings.text(key);
    }
    let path = settings.text(KEY_FILE)?;
    let read = std::fs::read(path).map_err(|error| format!("cannot be read: {error}"));
    let read = read.and_then(|bytes| parse_key_file(&bytes).map_err(|what| format!("names a file that {what}")));
    read.map_err(|message| settings.problem(KEY_FILE, message)).ok()
}

/// What Google's console hands out for a service account.
#[derive(Deserialize)]
struct KeyFile {
    r#type: String,
    client_email: String,
    private_key_id: String,
    private_key: Secret,
    token_uri: Option<String>,
}

/// Reads a key file. What is wrong is said without anything out of the file.
fn parse_key_file(bytes: &[u8]) -> Result<(GoogleCredentials, Option<String>), &'static str> {
    const SHAPE: &str = "is not a service account's JSON key file: it must have type, client_email, private_key_id and \
                         private_key";
    let file: KeyFile = serde_json::from_slice(bytes).map_err(|_| SHAPE)?;
    if file.r#type != "service_account" {
        return Err("is a key file of another type than \"service_account\"");
    }
    if jsonwebtoken::EncodingKey::from_rsa_pem(file.private_key.expose().as_bytes()).is_err() {
        return Err("holds a private_key that is no RSA key in PEM form");
    }
    let KeyFile { client_email, private_key_id, private_key, token_uri, .. } = file;
    let token_uri = token_uri.map(|uri| plain_url(&uri).ok_or("holds a token_uri that is no http or https address"));
    let token_uri = token_uri.transpose()?;
    Ok((GoogleCredentials::ServiceAccount { client_email, private_key_id, private_key }, token_uri))
}
