//! What GA4's answers mean. A 2xx only says that the request came in: GA4 reports neither a wrong secret nor an event
//! that it drops. Refusals are not documented at all, so what they say comes from a proxy or from HTTP itself, and none
//! of their text is repeated.
//! Source: <https://developers.google.com/analytics/devguides/collection/protocol/ga4/validating-events>,
//! read 2026-11-20.

use serde::Deserialize;

use super::super::{Response, Verdict};
use crate::model::Failure;

/// The most messages of the debug endpoint that are shown.
const MESSAGES_MAX: usize = 10;
/// The most characters kept of each of its texts.
const CHARS_MAX: usize = 200;

/// What an answer means for the event that was sent.
pub(super) fn verdict(response: &Response) -> Verdict {
    let Response::Http { status, retry_after, .. } = response else {
        return Verdict::Retry { after: None, failure: failure("no_answer", "the request was not sent over HTTP") };
    };
    let failed = |message: &str| failure(&format!("http_{status}"), message);
    match status {
        200..=299 => Verdict::Delivered,
        400 | 413 => Verdict::Rejected(failed("the request was refused; GA4 itself documents no such answer")),
        401 | 403 => Verdict::Blocked(failed("access was refused; GA4 itself never does that: look at base_url")),
        300..=399 | 404 | 405 => Verdict::Blocked(failed("there is no Measurement Protocol at this address")),
        _ => Verdict::Retry { after: *retry_after, failure: failed("GA4 did not take the request this time") },
    }
}

fn failure(code: &str, message: &str) -> Failure {
    Failure { code: code.into(), field: None, message: message.into() }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Validated {
    #[serde(default)]
    validation_messages: Vec<Message>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Message {
    field_path: String,
    description: String,
    validation_code: String,
}

/// What the debug endpoint says of a sample event.
pub(super) fn said(response: &Response) -> Result<String, String> {
    let Response::Http { status, body, .. } = response else {
        return Err("the request was not sent over HTTP".into());
    };
    if !(200..300).contains(status) {
        return Err(format!("the debug endpoint answered HTTP {status}: is base_url right?"));
    }
    let Ok(Validated { validation_messages: messages }) = serde_json::from_slice(body) else {
        return Err("the answer is not one of GA4's debug endpoint: is base_url right?".into());
    };
    if messages.is_empty() {
        return Ok(
            "GA4 finds the event well-formed. It checks neither measurement_id nor api_secret, here or when events \
                   are sent: look for them under Realtime in Google Analytics"
                .into(),
        );
    }
    let described = messages.iter().take(MESSAGES_MAX).map(|message| {
        let field = if message.field_path.is_empty() { "the event" } else { &message.field_path };
        let text = if message.description.is_empty() { &message.validation_code } else { &message.description };
        format!("{}: {}", plain(field), plain(text))
    });
    Err(described.collect::<Vec<_>>().join("; "))
}

fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(CHARS_MAX).collect()
}
