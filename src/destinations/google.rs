//! What the kinds for Google share: the windows, the choice of the click, digests, credentials, and the texts of answers.

use std::{collections::BTreeSet, time::Duration};

use serde::Deserialize;
use serde_json::value::RawValue;

use super::GoogleCredentials;
use crate::model::{
    ActionSource, ClickId, ClickKind, Failure, SealedEvent, Secret, Settings, Spelled, Time, plain_url,
};

/// Source: <https://developers.google.com/identity/protocols/oauth2/web-server>, read 2026-11-20.
pub(super) const TOKEN_URL: &str = "https://oauth2.googleapis.com/token";

/// What an account has to look like.
pub(super) const ACCOUNT: &str = "a Google Ads account: \"123-456-7890\" or its digits";

/// The two forms of `credentials`.
const CREDENTIALS: &str = "{ client_id, client_secret, refresh_token } or { service_account_file }";

const KEY_FILE: &str = "service_account_file";

/// The most characters of Google's text that are kept.
const MESSAGE_CHARS_MAX: usize = 300;

/// The most characters of a code, a field path or a request id that are kept.
pub(super) const TOKEN_CHARS_MAX: usize = 200;

/// One day.
pub(super) const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// How long after a click Google takes conversions for it. An action's own window may be shorter.
/// Source: <https://support.google.com/google-ads/answer/7012522>, read 2026-11-20.
pub(super) const CLICK_AGE_MAX: Duration = DAY.saturating_mul(90);

/// How long Google takes conversions that carry contact details only.
/// Source: <https://support.google.com/google-ads/answer/10029210>, read 2026-11-20.
pub(super) const USER_DATA_AGE_MAX: Duration = DAY.saturating_mul(63);

/// How far the clocks of shops and browsers may differ: a click this much after the sale still led to it.
const CLOCK_SKEW: Duration = Duration::from_secs(10 * 60);

/// When the conversion happened, for Google. Never later than it reached us, as a giver's clock may run ahead. And never
/// before its click, as the giver's clock may run behind: Google refuses such a conversion for good.
pub(super) fn happened_at(event: &SealedEvent) -> Time {
    let at = event.time.min(event.received_at);
    let clicked_at = click(event).and_then(|click| click.first_seen);
    let seemingly_later = clicked_at.filter(|clicked_at| *clicked_at >= at && clicked_at.since(at) <= CLOCK_SKEW);
    // Google Ads reads whole seconds.
    seemingly_later.map_or(at, |clicked_at| clicked_at.plus(Duration::from_secs(1)))
}

/// The one click to name, as Google refuses an event with two. The newest counts; one that came with the event itself
/// (`first_seen` is unknown) is newer than any stored one. Of ids seen at the same moment `gclid` is the most exact,
/// then `wbraid` (web) and `gbraid` (app), the one first that fits where the conversion was. A click that was past its
/// window when the event came is left out: it would displace contact details that can still match.
pub(super) fn click(event: &SealedEvent) -> Option<&ClickId> {
    let in_app = event.action_source == ActionSource::App;
    let rank = |click: &ClickId| match click.kind {
        ClickKind::Gclid => Some(3_u8),
        ClickKind::Wbraid => Some(if in_app { 1 } else { 2 }),
        ClickKind::Gbraid => Some(if in_app { 2 } else { 1 }),
        _ => None,
    };
    let in_window = |click: &&ClickId| event.received_at.since(click.first_seen.unwrap_or(event.time)) < CLICK_AGE_MAX;
    let order = |click: &ClickId| -> (bool, Time, Option<u8>) {
        (click.first_seen.is_none(), click.first_seen.unwrap_or(click.last_seen), rank(click))
    };
    event
        .context
        .clicks
        .iter()
        .filter(|click| rank(click).is_some() && is_click_id(&click.value))
        .filter(in_window)
        .max_by_key(|click| order(click))
}

/// Whether `text` has the form of Google's click ids. Anything else (a placeholder that was never filled in) would have the event
/// refused, which contact details can still match.
fn is_click_id(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

/// The digests of contact details in Google's spelling, hex, each once.
pub(super) fn distinct(details: &[Spelled]) -> impl Iterator<Item = String> {
    let mut seen = BTreeSet::new();
    details
        .iter()
        .filter_map(|detail| detail.google)
        .filter(move |digest| seen.insert(*digest))
        .map(|digest| digest.hex())
}

/// A decimal number as JSON writes it, digit for digit.
pub(super) fn number(decimal: String) -> Option<Box<RawValue>> {
    RawValue::from_string(decimal).ok()
}

/// Whether `text` is an id as Google writes them.
pub(super) fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.len() <= 20 && text.bytes().all(|b| b.is_ascii_digit())
}

/// `123-456-7890`, or digits alone.
pub(super) fn account_digits(text: &str) -> Option<String> {
    let dashed = text.len() == 12 && text.bytes().enumerate().all(|(i, b)| (b == b'-') == (i == 3 || i == 7));
    let digits = if dashed { text.replace('-', "") } else { text.to_owned() };
    is_digits(&digits).then_some(digits)
}

/// `credentials`, which have to be there, and the token endpoint of a key file.
pub(super) fn credentials(settings: &mut Settings) -> Option<(GoogleCredentials, Option<String>)> {
    let expected = format!("a table: {CREDENTIALS}");
    settings.need("credentials", CREDENTIALS).table("credentials", &expected, either).flatten()
}

fn either(settings: &mut Settings) -> Option<(GoogleCredentials, Option<String>)> {
    const USER: [(&str, &str); 3] = [
        ("client_id", "the OAuth client's id"),
        ("client_secret", "the OAuth client's secret"),
        ("refresh_token", "a refresh token for the scope of this API"),
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

/// A duration as protobuf's JSON writes it: `30s`, `0.5s`.
pub(super) fn parse_delay(text: &str) -> Option<Duration> {
    Duration::try_from_secs_f64(text.strip_suffix('s')?.parse().ok()?).ok()
}

/// What Google says is wrong, without anything personal that it may repeat.
pub(super) fn failure(code: &str, field: Option<&str>, message: &str) -> Failure {
    let is_path = |c: char| c.is_ascii_alphanumeric() || "_.[]".contains(c);
    let token = |text: &str| -> Option<String> {
        (!text.is_empty() && text.len() <= TOKEN_CHARS_MAX && text.chars().all(is_path)).then(|| text.to_owned())
    };
    // A postal address is sent with its country and postal code in clear.
    let of_address = field.is_some_and(|field| field.contains(".address")) || code == "INVALID_POSTAL_CODE";
    let message = if of_address || may_hold_contact_data(message) {
        "(left out: it may repeat contact data)".to_owned()
    } else {
        message.chars().filter(|c| !c.is_control()).take(MESSAGE_CHARS_MAX).collect()
    };
    Failure { code: token(code).unwrap_or_else(|| "unknown".to_owned()), field: field.and_then(token), message }
}

/// Whether a text of Google's repeats an e-mail address, a phone number or a digest that we sent.
fn may_hold_contact_data(text: &str) -> bool {
    let address = |word: &str| word.trim_matches(|c: char| !c.is_alphanumeric()).contains('@') || word.contains("%40");
    let email = text.split_whitespace().any(address);
    let longest = |inside: fn(&u8) -> bool| text.as_bytes().split(|b| !inside(b)).map(<[u8]>::len).max();
    let digest = longest(u8::is_ascii_hexdigit) >= Some(64);
    let phone = text.split('+').skip(1).any(|rest| rest.bytes().take_while(u8::is_ascii_digit).count() >= 7);
    email || digest || phone
}
