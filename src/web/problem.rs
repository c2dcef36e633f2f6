//! Errors as callers see them: `application/problem+json` (RFC 9457).

use std::{borrow::Cow, fmt};

use axum::{
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;

use crate::store::StoreError;

/// The id of a request: 64 random bits, in hex.
#[derive(Clone, Copy, Debug)]
pub struct RequestId(u64);

impl RequestId {
    /// A new one.
    #[must_use]
    pub fn mint() -> Self {
        Self(rand::random())
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// One problem. Clients match on `type`: once released, it stays. Its texts never quote what was posted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// What kind of problem, as a relative URI.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// The same in words.
    pub title: &'static str,
    /// The HTTP status.
    pub status: u16,
    /// What happened, and what to do.
    pub detail: Cow<'static, str>,
    /// The field, as a JSON pointer into the request's body.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pointer: Option<String>,
    #[serde(skip)]
    retry_after_s: Option<u32>,
}

impl Problem {
    const fn new(status: u16, kind: &'static str, title: &'static str, detail: Cow<'static, str>) -> Self {
        Self { kind, title, status, detail, pointer: None, retry_after_s: None }
    }

    /// The body is no JSON.
    #[must_use]
    pub fn malformed(detail: String, pointer: String) -> Self {
        let problem = Self::new(400, "/problems/malformed-json", "Malformed JSON", detail.into());
        Self { pointer: Some(pointer), ..problem }
    }

    /// A field is not what it has to be.
    #[must_use]
    pub fn invalid(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        let problem = Self::new(422, "/problems/invalid-event", "Invalid field", detail.into().into());
        Self { pointer: Some(pointer.into()), ..problem }
    }

    /// The event's id names another event.
    #[must_use]
    pub fn id_conflict(pointer: String, known_as: &str) -> Self {
        let detail = format!(
            "event_id is the id of another conversion, a {known_as}; one id names one conversion: give this one its own"
        );
        let problem = Self::new(422, "/problems/event-id-conflict", "Event id in use", detail.into());
        Self { pointer: Some(pointer), ..problem }
    }

    /// No key, or none that is known.
    #[must_use]
    pub const fn unauthorized(detail: &'static str) -> Self {
        Self::new(401, "/problems/unauthorized", "Not authorised", Cow::Borrowed(detail))
    }

    /// The body is too large.
    #[must_use]
    pub fn too_large(limit_bytes: usize) -> Self {
        let detail = format!("the body is over the limit of {limit_bytes} bytes; send fewer events at once");
        Self::new(413, "/problems/body-too-large", "Body too large", detail.into())
    }

    /// The body is of another type.
    #[must_use]
    pub const fn unsupported_type() -> Self {
        let detail = "send the body as JSON, with the header Content-Type: application/json";
        Self::new(415, "/problems/unsupported-media-type", "Unsupported media type", Cow::Borrowed(detail))
    }

    /// The body did not arrive whole, or not in time.
    #[must_use]
    pub const fn incomplete() -> Self {
        let detail = "the body did not arrive whole in time; nothing of it was stored";
        Self::new(408, "/problems/incomplete-body", "Incomplete body", Cow::Borrowed(detail))
    }

    /// The request line or its headers are not what HTTP wants.
    #[must_use]
    pub const fn bad_request() -> Self {
        let detail = "the path must be UTF-8 when decoded, and there must be one Host header";
        Self::new(400, "/problems/bad-request", "Bad request", Cow::Borrowed(detail))
    }

    /// A parameter or field of a request that is no event is not what it has to be.
    #[must_use]
    pub fn invalid_request(pointer: Option<String>, detail: impl Into<String>) -> Self {
        let problem = Self::new(422, "/problems/invalid-request", "Invalid request", detail.into().into());
        Self { pointer, ..problem }
    }

    /// What is asked for does not go with how things stand.
    #[must_use]
    pub fn conflict(detail: impl Into<String>) -> Self {
        Self::new(409, "/problems/conflict", "Conflict", detail.into().into())
    }

    /// Whoever asks may not.
    #[must_use]
    pub const fn forbidden(detail: &'static str) -> Self {
        Self::new(403, "/problems/forbidden", "Forbidden", Cow::Borrowed(detail))
    }

    /// Somebody else whom we had to ask failed.
    #[must_use]
    pub fn bad_gateway(detail: impl Into<String>) -> Self {
        Self::new(502, "/problems/bad-gateway", "Bad gateway", detail.into().into())
    }

    /// There is nothing here.
    #[must_use]
    pub const fn not_found() -> Self {
        Self::new(404, "/problems/not-found", "Not found", Cow::Borrowed("there is nothing at this path"))
    }

    /// There is nothing of this id.
    #[must_use]
    pub fn unknown(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(404, "/problems/not-found", "Not found", detail.into())
    }

    /// There was something here, and there is no more.
    #[must_use]
    pub fn gone(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(410, "/problems/gone", "Gone", detail.into())
    }

    /// The path takes other methods.
    #[must_use]
    pub const fn method_not_allowed() -> Self {
        let detail = "this path takes another method";
        Self::new(405, "/problems/method-not-allowed", "Method not allowed", Cow::Borrowed(detail))
    }

    /// Something that should not happen did; the log says what.
    #[must_use]
    pub const fn internal() -> Self {
        let detail = "something unexpected went wrong; nothing was acknowledged, the request may be sent again";
        Self::new(500, "/problems/internal", "Internal error", Cow::Borrowed(detail))
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        let (kind, title, detail, wait) = match error {
            StoreError::Full => (
                "/problems/queue-full",
                "Queue full",
                "a destination has as many deliveries waiting as are allowed; nothing was stored, send it again later",
                30,
            ),
            StoreError::Unavailable(_) => (
                "/problems/store-unavailable",
                "Store unavailable",
                "the store cannot write at the moment; nothing was stored, send it again later",
                5,
            ),
            StoreError::Damaged(reason) => {
                tracing::error!(reason, "stored data is damaged");
                return Self::internal();
            }
        };
        Self { retry_after_s: Some(wait), ..Self::new(503, kind, title, detail.into()) }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut answer = (status, [(header::CONTENT_TYPE, "application/problem+json")], body).into_response();
        let headers = answer.headers_mut();
        if let Some(seconds) = self.retry_after_s {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, header::HeaderValue::from_static("Bearer"));
        }
        answer
    }
}
