//! The answers to requests for links.

use axum::{
    body::Body,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
};

use crate::web::Problem;

/// Nobody keeps an answer: a link's destination may change at any time, and every click is to be seen.
const NO_STORE: HeaderValue = HeaderValue::from_static("private, no-store");
/// The landing page is to see where its visitors came from, as far as that page tells. Browsers take the policy of a redirect
/// for what follows it; this one takes nothing away but where encryption ends.
/// Source: <https://www.w3.org/TR/referrer-policy/#set-requests-referrer-policy-on-redirect>, read 2026-11-20.
const REFERRER_POLICY: HeaderValue = HeaderValue::from_static("no-referrer-when-downgrade");
const ROBOTS: HeaderName = HeaderName::from_static("x-robots-tag");
const NOINDEX: HeaderValue = HeaderValue::from_static("noindex");

/// Why a link does not lead anywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Missing {
    /// There is none.
    Unknown,
    /// It ended.
    Expired,
    /// Its operator stopped it.
    Paused,
    /// It is not approved yet.
    Pending,
}

impl Missing {
    /// As a row has it among its reasons.
    pub(super) const fn reason(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Expired => "expired",
            Self::Paused => "paused",
            Self::Pending => "pending",
        }
    }
}

/// On to `location`.
pub(super) fn redirect(location: HeaderValue, cookie: Option<HeaderValue>) -> Response {
    let mut answer = Response::new(Body::empty());
    *answer.status_mut() = StatusCode::FOUND;
    let headers = answer.headers_mut();
    headers.insert(header::LOCATION, location);
    headers.insert(header::REFERRER_POLICY, REFERRER_POLICY);
    private(headers);
    if let Some(cookie) = cookie {
        headers.insert(header::SET_COOKIE, cookie);
    }
    answer
}

/// That there is nothing to go to: a page for people, a problem for programs.
pub(super) fn missing(missing: Missing, asked: &HeaderMap) -> Response {
    let (title, detail, problem) = if missing == Missing::Unknown {
        let detail = "There is no link of this name. Look whether the address was copied whole.";
        ("Link not found", detail, Problem::unknown("there is no link of this name"))
    } else {
        let detail = "This link is not in use any more.";
        ("Link not in use", detail, Problem::gone("this link is not in use"))
    };
    let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::NOT_FOUND);
    let accepts = |accept: &HeaderValue| accept.to_str().is_ok_and(|accept| accept.contains("text/html"));
    let mut answer = if asked.get_all(header::ACCEPT).iter().any(accepts) {
        let page = format!(
            "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
             <meta name=\"viewport\" content=\"width=device-width\"><title>{title}</title></head>\n\
             <body><h1>{title}</h1><p>{detail}</p></body></html>\n"
        );
        let mut answer = (status, [(header::CONTENT_TYPE, "text/html; charset=utf-8")], page).into_response();
        let policy = HeaderValue::from_static("default-src 'none'");
        answer.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
        answer
    } else {
        problem.into_response()
    };
    private(answer.headers_mut());
    answer
}

fn private(headers: &mut HeaderMap) {
    headers.insert(header::CACHE_CONTROL, NO_STORE);
    headers.insert(ROBOTS, NOINDEX);
}
