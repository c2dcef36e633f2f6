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
pub use body::{read_body, require_json};
pub use client::{Network, TrustedProxies};
pub use fields::{ConsentWire, LeadId, OneOrMany, UserWire, consent, cut, page_problem, user};
pub use files::{ServedFile, files_router};
pub use json::read_json;
pub use listener::{BoundedListener, Connection, Peer};
pub use problem::{Problem, RequestId};

use axum::{
    extract::Request,
    http::{HeaderName, HeaderValue},
    middleware::Next,
    response::{IntoResponse as _, Response},
};

/// The header that names a request in our answers and logs.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Gives every request an id, answers with it, and turns what is not an answer of ours (unknown paths and methods) into
/// problems.
pub async fn with_request_id(mut request: Request, next: Next) -> Response {
    let id = RequestId::mint();
    request.extensions_mut().insert(id);
    let (method, path) = (request.method().clone(), request.uri().path().len());
    let mut answer = next.run(request).await;
    let status = answer.status();
    if (status == 404 || status == 405) && !answer.headers().contains_key("content-type") {
        let problem = if status == 404 { Problem::not_found() } else { Problem::method_not_allowed() };
        answer = problem.into_response();
    }
    // The path is not logged: it may hold what a stranger put there.
    tracing::debug!(request_id = %id, %method, path_bytes = path, status = status.as_u16(), "answered");
    if let Ok(value) = HeaderValue::from_str(&id.to_string()) {
        answer.headers_mut().insert(REQUEST_ID, value);
    }
    answer
}
