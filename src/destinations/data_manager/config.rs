//! The destination's table in the configuration. All that is wrong with it is said at once.

use std::{collections::BTreeMap, collections::BTreeSet, time::Duration};

use serde::Deserialize;

use super::super::{GoogleAuth, GoogleCredentials, Problem};
use crate::model::{EventName, Secret, parse_duration};

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
    let mut keys = Keys { table, prefix: "", problems: Vec::new() };
    check_actions(&actions, &mut keys.problems);
    let operating_account =
        keys.text("operating_account", Need::Required("the Google Ads account, such as \"123-456-7890\""));
    let operating_account = keys.account("operating_account", operating_account);
    let login_account = keys.text("login_account", Need::Optional);
    let login_account = keys.account("login_account", login_account);
    let account_type = keys.text("account_type", Need::Optional);
    if account_type.is_some_and(|given| given != "GOOGLE_ADS") {
        keys.problem("account_type", "must be GOOGLE_ADS, the only account type that has conversion actions");
    }
    let user_project = keys.checked("user_project", "must be the id of a Google Cloud project", |text| {
        text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-:.".contains(&b))
    });
    let base_url = keys.url("base_url");
    let token_url = keys.url("token_url");
    let batch = keys.batch();
    let timeout = keys.timeout();
    let merchant_id = keys.checked("merchant_id", "must be a Merchant Center id: digits", is_digits);
    let feed_label = keys.checked("feed_label", "must be at most 20 letters, digits, - or _", |text| {
        text.len() <= 20 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    });
    let feed_language = keys.checked("feed_language", "must be an ISO 639-1 code such as en", |text| {
        text.len() == 2 && text.bytes().all(|b| b.is_ascii_lowercase())
    });
    let credentials = keys.credentials();
    let problems = keys.finish();
    let (Some(operating_account), Some((credentials, file_token_url)), true) =
        (operating_account, credentials, problems.is_empty())
    else {
        return Err(problems);
    };
    let token_url = token_url.or(file_token_url).unwrap_or_else(|| TOKEN_URL.to_owned());
    let config = Config {
        operating_account,
        login_account,
        account_type: "GOOGLE_ADS",
        user_project,
        url: format!("{}/v1/events:ingest", base_url.as_deref().unwrap_or(BASE_URL).trim_end_matches('/')),
        batch,
        timeout,
        merchant_id,
        feed_label,
        feed_language,
        actions,
    };
    Ok((config, GoogleAuth { credentials, token_url, scope: SCOPE }))
}

fn check_actions(actions: &BTreeMap<EventName, String>, problems: &mut Vec<Problem>) {
    if actions.is_empty() {
        problems.push(Problem::new("events", "must map at least one event to a conversion action id"));
    }
    for (event, action) in actions {
        let key = format!("events.{event}");
        if !is_digits(action) {
            problems.push(Problem::new(&key, "must be the id of a conversion action: digits, such as \"987654321\""));
        }
        // Google has no retraction here: a second event with the same transaction id overwrites the first one's value.
        if event.is_refund() && actions.iter().any(|(other, shared)| other != event && shared == action) {
            let message = "must be another action than those of other events: Data Manager would overwrite the \
                           sale's value with the refund's instead of taking it back";
            problems.push(Problem::new(&key, message));
        }
    }
    let distinct: BTreeSet<_> = actions.values().collect();
    if distinct.len() > ACTIONS_MAX {
        let message = format!(
            "must name at most {ACTIONS_MAX} different conversion actions (there are {}), as one request takes no \
             more: put the others into a second [[destinations]]",
            distinct.len()
        );
        problems.push(Problem::new("events", message));
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

enum Need {
    /// With what to write there.
    Required(&'static str),
    Optional,
}

/// A table whose keys are taken out one by one: what is left at the end is unknown.
struct Keys {
    table: toml::Table,
    prefix: &'static str,
    problems: Vec<Problem>,
}

impl Keys {
    fn problem(&mut self, key: &str, message: impl Into<String>) {
        self.problems.push(Problem::new(format!("{}{key}", self.prefix), message));
    }

    fn text(&mut self, key: &str, need: Need) -> Option<String> {
        match (self.table.remove(key), need) {
            (Some(toml::Value::String(text)), _) if !text.trim().is_empty() => return Some(text),
            (Some(toml::Value::String(_)), _) => self.problem(key, "must not be empty"),
            (Some(other), _) => self.problem(key, format!("must be a text in quotes, not {}", article(&other))),
            (None, Need::Required(what)) => self.problem(key, format!("is missing: {what}")),
            (None, Need::Optional) => {}
        }
        None
    }

    fn checked(&mut self, key: &str, message: &str, good: impl Fn(&str) -> bool) -> Option<String> {
        let text = self.text(key, Need::Optional)?;
        if good(&text) {
            return Some(text);
        }
        self.problem(key, message);
        None
    }

    fn account(&mut self, key: &str, given: Option<String>) -> Option<String> {
        let digits = account_digits(&given?);
        if digits.is_none() {
            self.problem(key, "must be an account id: \"123-456-7890\" or its digits");
        }
        digits
    }

    fn url(&mut self, key: &str) -> Option<String> {
        self.checked(key, "must be an http or https URL without a user, query or fragment", is_plain_url)
    }

    fn batch(&mut self) -> usize {
        match self.table.remove("batch") {
            None => return BATCH_DEFAULT,
            Some(toml::Value::Integer(given)) => match usize::try_from(given) {
                Ok(batch @ 1..=BATCH_LIMIT) => return batch,
                _ => self.problem("batch", format!("must be from 1 to {BATCH_LIMIT}")),
            },
            Some(other) => {
                let message = format!("must be a whole number from 1 to {BATCH_LIMIT}, not {}", article(&other));
                self.problem("batch", message);
            }
        }
        BATCH_DEFAULT
    }

    fn timeout(&mut self) -> Duration {
        let Some(text) = self.text("timeout", Need::Optional) else { return TIMEOUT_DEFAULT };
        match parse_duration(&text) {
            Ok(timeout) if !timeout.is_zero() => return timeout,
            Ok(_) => self.problem("timeout", "must be longer than nothing"),
            Err(error) => self.problem("timeout", error.to_string()),
        }
        TIMEOUT_DEFAULT
    }

    /// The credentials, and the token endpoint of a key file.
    fn credentials(&mut self) -> Option<(GoogleCredentials, Option<String>)> {
        const FORMS: &str = "{ client_id, client_secret, refresh_token } or { service_account_file }";
        let table = match self.table.remove("credentials") {
            Some(toml::Value::Table(table)) => table,
            Some(_) => {
                self.problem("credentials", format!("must be a table: {FORMS}"));
                return None;
            }
            None => {
                self.problem("credentials", format!("is missing: {FORMS}"));
                return None;
            }
        };
        let user = ["client_id", "client_secret", "refresh_token"].iter().any(|key| table.contains_key(*key));
        let mut keys = Keys { table, prefix: "credentials.", problems: Vec::new() };
        let read = if keys.table.contains_key("service_account_file") && user {
            self.problem("credentials", format!("must be one of {FORMS}, not both"));
            return None;
        } else if keys.table.contains_key("service_account_file") {
            keys.service_account()
        } else {
            keys.refresh().map(|credentials| (credentials, None))
        };
        self.problems.extend(keys.finish());
        read
    }

    fn refresh(&mut self) -> Option<GoogleCredentials> {
        let client_id = self.text("client_id", Need::Required("the OAuth client's id"));
        let client_secret = self.text("client_secret", Need::Required("the OAuth client's secret"));
        let refresh_token = self.text("refresh_token", Need::Required("a refresh token for the Data Manager scope"));
        Some(GoogleCredentials::Refresh {
            client_id: client_id?,
            client_secret: Secret::new(client_secret?),
            refresh_token: Secret::new(refresh_token?),
        })
    }

    fn service_account(&mut self) -> Option<(GoogleCredentials, Option<String>)> {
        let path =
            self.text("service_account_file", Need::Required("the path of a service account's JSON key file"))?;
        let read = std::fs::read(&path).map_err(|error| format!("cannot read {path}: {error}"));
        match read.and_then(|bytes| parse_key_file(&bytes).map_err(|what| format!("{path} {what}"))) {
            Ok(read) => Some(read),
            Err(message) => {
                self.problem("service_account_file", message);
                None
            }
        }
    }

    fn finish(mut self) -> Vec<Problem> {
        for key in std::mem::take(&mut self.table).keys() {
            self.problem(key, "is not a key of this destination");
        }
        self.problems
    }
}

fn article(value: &toml::Value) -> String {
    let name = value.type_str();
    if name.starts_with(['a', 'i']) { format!("an {name}") } else { format!("a {name}") }
}

fn is_plain_url(text: &str) -> bool {
    url::Url::parse(text).is_ok_and(|url| {
        let bare = url.username().is_empty() && url.password().is_none();
        let ends = url.query().is_none() && url.fragment().is_none();
        matches!(url.scheme(), "http" | "https") && url.has_host() && bare && ends
    })
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
    if file.token_uri.as_deref().is_some_and(|uri| !is_plain_url(uri)) {
        return Err("holds a token_uri that is no http or https URL");
    }
    let KeyFile { client_email, private_key_id, private_key, token_uri, .. } = file;
    Ok((GoogleCredentials::ServiceAccount { client_email, private_key_id, private_key }, token_uri))
}
