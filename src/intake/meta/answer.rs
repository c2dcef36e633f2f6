//! Answers as Meta gives them.
//!
//! Source: developers.facebook.com/docs/graph-api/guides/error-handling; facebook_business 26.0.3, `event_response.py` and
//! `api.py`: it needs `events_received`, `messages` and `fbtrace_id`, and an `error` object in everything else; read
//! 2026-11-20.

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use serde_json::json;

use crate::{store::StoreError, web::Problem};

/// Which of Meta's shapes a request has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// The Graph API: answered with 200.
    Graph,
    /// A Conversions API Gateway: the PHP and Java SDKs take 202 for success and nothing else.
    Gateway,
}

/// The answer to a request whose events were all taken.
pub(super) fn received(shape: Shape, events: usize, message: Option<&str>, trace: &str) -> Response {
    let status = match shape {
        Shape::Graph => StatusCode::OK,
        Shape::Gateway => StatusCode::ACCEPTED,
    };
    let messages: Vec<&str> = message.into_iter().collect();
    json_answer(status, &json!({ "events_received": events, "messages": messages, "fbtrace_id": trace }))
}

/// Something in the request is wrong.
const INVALID: i64 = 100;
/// The token is not known.
const BAD_TOKEN: i64 = 190;
/// There is no token.
const NO_TOKEN: i64 = 104;
/// We cannot take it at the moment.
const TEMPORARY: i64 = 2;
/// With [`INVALID`]: there is no such pixel.
const NO_SUCH_PIXEL: u32 = 33;
/// With [`INVALID`]: the event is too old.
const TOO_OLD: u32 = 2_804_003;
/// With [`INVALID`]: the event is in the future.
const IN_FUTURE: u32 = 2_804_004;
/// With [`INVALID`]: a purchase has no value.
const NO_VALUE: u32 = 2_804_009;
/// With [`INVALID`]: a value is not sound.
const BAD_VALUE: u32 = 2_804_019;
/// With [`INVALID`]: a value has no sound currency.
const NO_CURRENCY: u32 = 2_804_023;

/// A request that is refused as a whole. Its texts never quote what was posted.
#[derive(Clone, Debug)]
pub(super) struct Refused {
    /// A word for logs and metrics.
    pub(super) reason: &'static str,
    /// What is wrong, and where.
    pub(super) message: String,
    status: StatusCode,
    code: i64,
    subcode: Option<u32>,
    /// The field that is to blame: `data[3].event_name`.
    place: Option<String>,
    retry_after_s: Option<u32>,
}

impl Refused {
    fn new(status: StatusCode, code: i64, reason: &'static str, message: impl Into<String>) -> Self {
        Self { reason, message: message.into(), status, code, subcode: None, place: None, retry_after_s: None }
    }

    /// The body is not what it has to be.
    pub(super) fn unreadable(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, INVALID, "unreadable", message)
    }

    /// A field is not what it has to be.
    pub(super) fn field(place: impl Into<String>, why: impl std::fmt::Display) -> Self {
        let place = place.into();
        let message = format!("{place}: {why}");
        let refused = Self::new(StatusCode::BAD_REQUEST, INVALID, "invalid_event", message);
        Self { place: Some(place), ..refused }
    }

    /// A purchase without a value, which Meta never takes.
    pub(super) fn no_value() -> Self {
        let why = "is missing; a Purchase needs its value and currency";
        Self { subcode: Some(NO_VALUE), ..Self::field("custom_data.value", why) }
    }

    /// The same of the event at this place of `data`.
    pub(super) fn of_event(self, place: usize) -> Self {
        let within = self.place.as_deref().unwrap_or_default();
        let dot = if within.is_empty() || within.starts_with('[') { "" } else { "." };
        let place = format!("data[{place}]{dot}{within}");
        let message = self.message.strip_prefix(within).unwrap_or(&self.message);
        let message = format!("{place}: {}", message.trim_start_matches(": "));
        Self { place: Some(place), message, ..self }
    }

    /// What the checks say of a field, under Meta's name for it.
    pub(super) fn of_field(problem: &Problem) -> Self {
        let ours = problem.pointer.as_deref().unwrap_or_default().trim_start_matches('/');
        let why = problem.detail.strip_prefix(ours).map_or(&*problem.detail, |why| why.trim_start_matches(": "));
        let (place, subcode) = match ours {
            "event" => ("event_name", None),
            "time" if why.contains("future") => ("event_time", Some(IN_FUTURE)),
            "time" => ("event_time", Some(TOO_OLD)),
            "value" => ("custom_data.value", Some(BAD_VALUE)),
            "currency" => ("custom_data.currency", Some(NO_CURRENCY)),
            "transaction_id" => ("custom_data.order_id", None),
            other => (other, None),
        };
        Self { subcode, ..Self::field(place, why) }
    }

    /// The event's id is that of another event, and too long to be told apart.
    pub(super) fn id_in_use(place: usize) -> Self {
        let why = "is the id of another event, and too long to tell the two apart; the events before it were taken";
        Self::field("event_id", why).of_event(place)
    }

    /// The path names no pixel.
    pub(super) fn no_such_pixel() -> Self {
        let message = "Unsupported post request. The pixel or dataset id in the path must be digits";
        let refused = Self::new(StatusCode::BAD_REQUEST, INVALID, "no_such_pixel", message);
        Self { subcode: Some(NO_SUCH_PIXEL), ..refused }
    }

    /// There is no token.
    pub(super) fn no_token() -> Self {
        let message = "An access token is required to request this resource: a key from [intake] keys, as access_token \
                       in the query or the body, as accessKey in the body, or as Authorization: Bearer KEY";
        Self::new(StatusCode::UNAUTHORIZED, NO_TOKEN, "no_token", message)
    }

    /// The token is no key of ours.
    pub(super) fn unknown_token() -> Self {
        let message = "Invalid OAuth access token: it is none of [intake] keys; check it against the configuration";
        Self::new(StatusCode::UNAUTHORIZED, BAD_TOKEN, "unknown_token", message)
    }

    /// The error object.
    pub(super) fn answer(self, trace: &str) -> Response {
        let transient = self.status.is_server_error() || self.status == StatusCode::REQUEST_TIMEOUT;
        let invalid = self.code == INVALID;
        let mut error = json!({
            "message": if invalid { format!("(#{INVALID}) {}", self.message) } else { self.message.clone() },
            "type": "OAuthException",
            "code": self.code,
            "is_transient": transient,
            "fbtrace_id": trace,
        });
        if let Some(subcode) = self.subcode {
            error["error_subcode"] = subcode.into();
        }
        if invalid {
            error["error_user_title"] = "Invalid parameter".into();
            error["error_user_msg"] = self.message.into();
        }
        if let Some(place) = self.place {
            error["error_data"] = json!({ "blame_field_specs": [[place]] });
        }
        let mut answer = json_answer(self.status, &json!({ "error": error }));
        if let Some(seconds) = self.retry_after_s {
            answer.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        answer
    }
}

/// A problem of the request as such, or of the store.
impl From<Problem> for Refused {
    fn from(problem: Problem) -> Self {
        let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let late = status == StatusCode::REQUEST_TIMEOUT;
        let code = if status.is_server_error() || late { TEMPORARY } else { INVALID };
        let refused = Self::new(status, code, "body", problem.detail.clone());
        let answer = problem.into_response();
        let retry_after_s =
            answer.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        Self { retry_after_s, ..refused }
    }
}

impl From<StoreError> for Refused {
    fn from(error: StoreError) -> Self {
        Self { reason: "store", ..Problem::from(error).into() }
    }
}

fn json_answer(status: StatusCode, body: &serde_json::Value) -> Response {
    let kind = HeaderValue::from_static("application/json");
    (status, [(header::CONTENT_TYPE, kind)], body.to_string()).into_response()
}
