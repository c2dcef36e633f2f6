//! Request bodies, read up to a bound and in bounded time.

use std::time::Duration;

use axum::{
    body::{Body, Bytes, HttpBody as _},
    http::{HeaderMap, header},
};

use super::Problem;

/// A client that takes longer to send its body is cut off.
const BODY_TIME_MAX: Duration = Duration::from_secs(30);

/// The whole body, if it is at most `limit` bytes long.
///
/// # Errors
/// 413, also by what `Content-Length` promises; 408 if it does not arrive.
pub async fn read_body(body: Body, limit: usize) -> Result<Bytes, Problem> {
    if body.size_hint().lower() > limit as u64 {
        return Err(Problem::too_large(limit));
    }
    let read = axum::body::to_bytes(body, limit);
    match tokio::time::timeout(BODY_TIME_MAX, read).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(error)) if is_limit(&error) => Err(Problem::too_large(limit)),
        Ok(Err(_)) | Err(_) => Err(Problem::incomplete()),
    }
}

fn is_limit(error: &axum::Error) -> bool {
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        if cause.to_string() == "length limit exceeded" {
            return true;
        }
        source = cause.source();
    }
    false
}

/// Checks that the body says it is JSON; saying nothing is fine.
///
/// # Errors
/// 415.
pub fn require_json(headers: &HeaderMap) -> Result<(), Problem> {
    let Some(given) = headers.get(header::CONTENT_TYPE) else { return Ok(()) };
    let given = given.to_str().unwrap_or("");
    let essence = given.split(';').next().unwrap_or("").trim().to_ascii_lowercase();
    let json = essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json"));
    if json { Ok(()) } else { Err(Problem::unsupported_type()) }
}
