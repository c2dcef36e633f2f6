//! What the edges share: problems (RFC 9457), keys, the client's address, reading bodies, import files.

mod auth;
mod body;
mod client;
mod fields;
mod files;
mod json;
mod listener;
mod problem;

pub use auth::{Keys, basic_matches};
pub use body::{BODY_TIME_MAX, discard, part, read_body, require_json};
pub use client::{Network, TrustedProxies};
pub use fields::{ConsentWire, LeadId, OneOrMany, UserWire, consent, cut, page_problem, user};
pub use files::{ServedFile, files_router};
pub use json::{Object, Word, read_json};
pub use listener::{BoundedListener, Connection, Peer};
pub use problem::{Problem, RequestId};

use axum::{
    extract::Request,
    http::{HeaderName, HeaderValue, StatusCode, Version, header},
    middleware::Next,
    response::{IntoResponse as _, Response},
};

/// The header that names a request in our answers and logs.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Gives every request an id, answers with it, and turns what is not an answer of ours (unknown paths and methods,
/// paths that are no UTF-8) into problems.
pub async fn with_request_id(mut request: Request, next: Next) -> Response {
    let id = RequestId::mint();
    request.extensions_mut().insert(id);
    let (method, path) = (request.method().clone(), request.uri().path().len());
    // RFC 9112 §3.2 wants exactly that; a proxy in front might route by a host that we do not see.
    let hosts = request.headers().get_all(header::HOST).into_iter().take(2).count();
    let hosted = hosts == 1 || (hosts == 0 && request.version() != Version::HTTP_11);
    let mut answer = if hosted { next.run(request).await } else { Problem::bad_request().into_response() };
    if answer.status().is_client_error() && !is_ours(&answer) {
        let problem = match answer.status() {
            StatusCode::NOT_FOUND => Problem::not_found(),
            StatusCode::METHOD_NOT_ALLOWED => Problem::method_not_allowed(),
            _ => Problem::bad_request(),
        };
        let allowed = answer.headers_mut().remove(header::ALLOW);
        answer = problem.into_response();
        if let Some(allowed) = allowed {
            answer.headers_mut().insert(header::ALLOW, allowed);
        }
    }
    let status = answer.status();
    // The path is not logged: it may hold what a stranger put there.
    tracing::debug!(request_id = %id, %method, path_bytes = path, status = status.as_u16(), "answered");
    if let Ok(value) = HeaderValue::from_str(&id.to_string()) {
        answer.headers_mut().insert(REQUEST_ID, value);
    }
    answer
}

/// Whether a refusal says what it is about, as a problem or as a page: the router's own are empty or plain text.
fn is_ours(answer: &Response) -> bool {
    let kind = answer.headers().get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    kind.is_some_and(|kind| kind.starts_with(b"application/") || kind.starts_with(b"text/html"))
}
