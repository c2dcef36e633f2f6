//! Request bodies, read up to a bound and in bounded time.

use std::{future::poll_fn, pin::Pin, time::Duration};

use axum::{
    body::{Body, Bytes, HttpBody as _},
    http::{HeaderMap, header},
};
use bytes::BytesMut;

use super::Problem;

/// A client that takes longer to send its body, or one line of a body that is read line by line, is cut off.
pub const BODY_TIME_MAX: Duration = Duration::from_secs(30);
/// So much of a body that nobody wants is read before the answer.
const DISCARDED_MAX: usize = 32 << 20;

/// The whole body, if it is at most `limit` bytes long.
///
/// # Errors
/// 413, also by what `Content-Length` promises; 408 if it does not arrive.
pub async fn read_body(mut body: Body, limit: usize) -> Result<Bytes, Problem> {
    let whole =
        async { if body.size_hint().lower() > limit as u64 { Ok(None) } else { whole(&mut body, limit).await } };
    match tokio::time::timeout(BODY_TIME_MAX, whole).await {
        Ok(Ok(Some(bytes))) => Ok(bytes),
        Ok(Ok(None)) => {
            discard(body).await;
            Err(Problem::too_large(limit))
        }
        Ok(Err(_)) | Err(_) => Err(Problem::incomplete()),
    }
}

/// Reads what is left of a body, up to a bound, before a refusal that does not need it. Closing the connection with
/// bytes unread resets it, and most clients then never see the answer.
pub async fn discard(mut body: Body) {
    let rest = async {
        let mut length = 0;
        while let Some(Ok(part)) = part(&mut body).await {
            length += part.len();
            if length > DISCARDED_MAX {
                return;
            }
        }
    };
    // Too slow to wait for: the connection is closed as it is.
    let _late = tokio::time::timeout(BODY_TIME_MAX, rest).await;
}

/// The body, or `None` as soon as it is over `limit`.
async fn whole(body: &mut Body, limit: usize) -> Result<Option<Bytes>, axum::Error> {
    let (mut first, mut several) = (Bytes::new(), BytesMut::new());
    while let Some(part) = part(body).await.transpose()? {
        if first.len().max(several.len()) + part.len() > limit {
            return Ok(None);
        }
        // Most bodies arrive in one part, which is then not copied.
        if first.is_empty() {
            first = part;
            continue;
        }
        if several.is_empty() {
            several.extend_from_slice(&first);
        }
        several.extend_from_slice(&part);
    }
    Ok(Some(if several.is_empty() { first } else { several.freeze() }))
}

/// What arrives of the body next; `None` at its end, an error if it broke off.
pub async fn part(body: &mut Body) -> Option<Result<Bytes, axum::Error>> {
    let frame = poll_fn(|context| Pin::new(&mut *body).poll_frame(context)).await?;
    // Trailers say nothing to us.
    Some(frame.map(|frame| frame.into_data().unwrap_or_default()))
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
