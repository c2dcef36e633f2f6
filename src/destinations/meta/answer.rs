//! What Meta's answers mean. All events of a request share one verdict: Meta takes all of them or none.
//!
//! An answer is JSON: `events_received`, `messages` and `fbtrace_id`, or an `error` object with `code`,
//! `error_subcode`, `is_transient`, texts for people (localised, so never decided by) and
//! `error_data.blame_field_specs`.
//! Source: <https://developers.facebook.com/docs/graph-api/guides/error-handling> and
//! <https://developers.facebook.com/docs/marketing-apis/rate-limiting>, read 2026-11-20.

use std::net::IpAddr;

use serde_json::Value;

use super::{
    super::{Response, Verdict},
    limits,
};
use crate::model::Failure;

/// The most characters kept of Meta's text.
const MESSAGE_CHARS_MAX: usize = 300;
/// The most characters kept of a field's name and of a trace id.
const NAME_CHARS_MAX: usize = 128;
/// Hex digits in a row that are taken for a hash of something personal: 32 is an MD5, 64 a SHA-256.
const HASH_DIGITS_MIN: usize = 32;

/// What begins like an access token (`EAA`) and is at least this long is taken for one.
const TOKEN_CHARS_MIN: usize = 16;

/// A permission is missing, or the token is dead: nothing gets through until the operator acts.
/// 3 and 10 and 200–299: permissions; 102 and 190: session and token.
fn is_about_access(code: i64) -> bool {
    matches!(code, 3 | 10 | 102 | 190 | 200..=299)
}

/// The request can never be accepted as it is. 100: a bad parameter; 105: too many parameters.
fn is_about_content(code: i64) -> bool {
    matches!(code, 100 | 105)
}

/// The version of the API that is asked for has ended: every request is refused until another one is configured.
/// Source: <https://github.com/facebook/facebook-php-business-sdk/issues/442> and
/// <https://github.com/facebook/facebook-nodejs-business-sdk/issues/239>, read 2026-11-20. (Meta's own pages list no code.)
const VERSION_ENDED: i64 = 2635;

/// Code 100 with this subcode: there is no such pixel, or not for this token.
const NO_SUCH_PIXEL: (i64, i64) = (100, 33);

/// One verdict for each of the events sent.
pub(super) fn verdicts(sent: usize, response: &Response) -> Vec<Verdict> {
    vec![verdict(sent, response); sent]
}

/// Meta's id of the request.
pub(super) fn trace_id(response: &Response) -> Option<String> {
    let Response::Http { body, .. } = response else { return None };
    let answer = read(body)?;
    let error = answer.get("error").and_then(|error| error.get("fbtrace_id"));
    let id = answer.get("fbtrace_id").or(error)?.as_str()?;
    let plain = !id.is_empty() && id.len() <= NAME_CHARS_MAX && id.bytes().all(|b| b.is_ascii_graphic());
    plain.then(|| id.to_owned())
}

fn verdict(sent: usize, response: &Response) -> Verdict {
    let Response::Http { status, retry_after, body, .. } = response else {
        let failure = failure("no_answer", "the request was not sent over HTTP");
        return Verdict::Retry { after: None, failure };
    };
    // Of the rate limits only a header says when there is room again.
    let after = || retry_after.or_else(|| limits::regained(response).filter(|_| !(200..300).contains(status)));
    let retry = |failure| Verdict::Retry { after: after(), failure };
    let answer = read(body);
    let error = answer.as_ref().and_then(|answer| answer.get("error")).filter(|error| !error.is_null());

    if (200..300).contains(status) {
        return match (&answer, error) {
            (Some(_), Some(error)) => retry(described(error, *status)),
            (Some(answer), None) => match answer.get("events_received").and_then(Value::as_u64) {
                Some(received) if usize::try_from(received) == Ok(sent) => Verdict::Delivered,
                // Which ones is not said. Sending all again is safe: Meta drops what it has by event id, for 48 hours.
                Some(received) => retry(failure(
                    "events_received",
                    format!("Meta confirmed {received} of {sent} events without saying which"),
                )),
                None => retry(failure("events_received", "Meta's answer does not say how many events it received")),
            },
            (None, _) => retry(failure("unreadable_answer", format!("HTTP {status} with a body that is not Meta's"))),
        };
    }
    let Some(error) = error else {
        let failure = failure(format!("http_{status}"), format!("HTTP {status} without an error of Meta's"));
        // Some proxy's limit: half of it may pass.
        return if *status == 413 && sent > 1 { Verdict::Isolate(failure) } else { retry(failure) };
    };
    let described = described(error, *status);
    let transient = error.get("is_transient").and_then(Value::as_bool).unwrap_or(false);
    let (code, subcode) = (number(error, "code"), number(error, "error_subcode"));
    match code {
        _ if transient || *status == 429 || *status >= 500 => retry(described),
        Some(code) if is_about_access(code) || Some(NO_SUCH_PIXEL) == subcode.map(|subcode| (code, subcode)) => {
            Verdict::Blocked(described)
        }
        Some(VERSION_ENDED) => Verdict::Blocked(described),
        Some(code) if is_about_content(code) && sent > 1 => Verdict::Isolate(described),
        Some(code) if is_about_content(code) => Verdict::Rejected(described),
        // 1 and 2: unknown error, service down. 4, 17, 32, 613, 80000–80014: rate limits. 341, 368, 5000, 21009:
        // limits and blocks for a time. And whatever is unknown to us: an event is not given up on a guess.
        _ => retry(described),
    }
}

/// The object that was asked for.
pub(super) fn object(response: &Response) -> Result<Value, Failure> {
    let Response::Http { status, body, .. } = response else {
        return Err(failure("no_answer", "the request was not sent over HTTP"));
    };
    let answer = read(body);
    let error = answer.as_ref().and_then(|answer| answer.get("error")).filter(|error| !error.is_null());
    match (error, answer.as_ref()) {
        (Some(error), _) => Err(described(error, *status)),
        (None, Some(object)) if (200..300).contains(status) && object.get("id").is_some() => Ok(object.clone()),
        _ => Err(failure(format!("http_{status}"), format!("HTTP {status} with a body that is not Meta's"))),
    }
}

/// The answer, if it is a JSON object.
fn read(body: &[u8]) -> Option<Value> {
    serde_json::from_slice(body).ok().filter(Value::is_object)
}

fn number(error: &Value, key: &str) -> Option<i64> {
    error.get(key).and_then(Value::as_i64)
}

fn failure(code: impl Into<String>, message: impl Into<String>) -> Failure {
    Failure { code: code.into(), field: None, message: message.into() }
}

/// What Meta says is wrong, without anything personal it may repeat.
fn described(error: &Value, status: u16) -> Failure {
    let code = match (number(error, "code"), number(error, "error_subcode")) {
        (Some(code), Some(subcode)) => format!("{code}/{subcode}"),
        (Some(code), None) => code.to_string(),
        (None, _) => format!("http_{status}"),
    };
    let text = |key: &str| error.get(key).and_then(Value::as_str).filter(|text| !text.trim().is_empty());
    let message = match text("error_user_msg").or_else(|| text("message")) {
        Some(message) if is_personal(message) => "Meta's text is left out: it repeats personal data or a token".into(),
        Some(message) => {
            message.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MESSAGE_CHARS_MAX).collect()
        }
        None => "Meta gives no text".into(),
    };
    Failure { code, field: error.get("error_data").and_then(blamed_field), message }
}

/// The first field that `error_data` blames. Meta sends `error_data` as an object, and as an object inside a string.
fn blamed_field(data: &Value) -> Option<String> {
    let inner = data.as_str().and_then(|text| serde_json::from_str::<Value>(text).ok());
    let data = inner.as_ref().unwrap_or(data);
    let name = data.get("blame_field_specs").and_then(first_text).or_else(|| data.get("blame_field")?.as_str())?;
    (!is_personal(name)).then(|| name.chars().filter(|c| !c.is_control()).take(NAME_CHARS_MAX).collect())
}

fn first_text(value: &Value) -> Option<&str> {
    match value {
        Value::String(text) if !text.is_empty() => Some(text),
        Value::Array(values) => values.iter().find_map(first_text),
        _ => None,
    }
}

/// Whether a text holds what looks like an e-mail address, a hash, an IP address, a click, or an access token, which Meta
/// repeats when it is malformed.
fn is_personal(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    let hash = lower.split(|c: char| !c.is_ascii_hexdigit()).any(|run| run.len() >= HASH_DIGITS_MIN);
    let mut words = lower.split(|c: char| c.is_whitespace() || "\"'(){}[]<>,;=".contains(c));
    let address = |word: &str| word.trim_end_matches(['.', ':']).parse::<IpAddr>().is_ok();
    let token = |word: &str| word.starts_with("eaa") && word.len() >= TOKEN_CHARS_MIN;
    hash || words.any(|word| {
        word.contains('@') || word.contains("%40") || word.starts_with("fb.") || address(word) || token(word)
    })
}
