//! The transport of HTTP destinations: adds the authorisation, sends, and reads the answer up to a bound.

use std::{sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};

use super::oauth::{TokenError, TokenSource};
use crate::{
    destinations::{Auth, HttpRequest, Method, Profile, Response},
    model::{Clock, Failure, Time},
};

/// Answers are read up to this. The longest real ones name every event of a batch.
const ANSWER_BYTES_MAX: usize = 4 << 20;
/// A `Retry-After` over this is cut.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(3600);

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum NoAnswer {
    /// The network or the platform failed; the request may or may not have arrived.
    Failed(Failure, Option<Duration>),
    /// There is no access token, and there will be none until the operator does something.
    Blocked(Failure),
}

/// Sends the requests of one destination: each has its own connections, so that a slow one holds up no other.
pub(super) struct Https {
    client: reqwest::Client,
    tokens: Option<TokenSource>,
}

impl Https {
    /// A transport for a destination of this profile.
    ///
    /// # Errors
    /// If the TLS library cannot be set up.
    pub(super) fn new(profile: &Profile, clock: Arc<dyn Clock>) -> Result<Self, reqwest::Error> {
        let client = reqwest::Client::builder()
            .timeout(profile.timeout)
            .connect_timeout(profile.timeout.min(Duration::from_secs(10)))
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("conversion-relay/", env!("CARGO_PKG_VERSION")))
            .tcp_nodelay(true)
            .build()?;
        let tokens = match &profile.auth {
            Auth::Google(auth) => Some(TokenSource::new(client.clone(), auth, clock)),
            Auth::None | Auth::Query { .. } => None,
        };
        Ok(Self { client, tokens })
    }

    /// Sends `request`. A 401 to an access token gets one more try with a new one.
    ///
    /// # Errors
    /// [`NoAnswer`].
    pub(super) async fn send(&self, profile: &Profile, request: &HttpRequest, now: Time) -> Result<Response, NoAnswer> {
        let Some(tokens) = &self.tokens else { return self.once(profile, request, None, now).await };
        let token = tokens.token().await.map_err(no_token)?;
        match self.once(profile, request, Some(token.expose()), now).await {
            Ok(Response::Http { status: 401, .. }) => {
                tokens.invalidate(token.expose());
                let token = tokens.token().await.map_err(no_token)?;
                self.once(profile, request, Some(token.expose()), now).await
            }
            other => other,
        }
    }

    async fn once(
        &self,
        profile: &Profile,
        request: &HttpRequest,
        token: Option<&str>,
        now: Time,
    ) -> Result<Response, NoAnswer> {
        let mut sent = match request.method {
            Method::Post => {
                let post = self.client.post(&request.url).header("content-type", "application/json");
                post.body(request.body.clone())
            }
            Method::Get => self.client.get(&request.url),
        };
        for (name, value) in &request.headers {
            sent = sent.header(*name, value);
        }
        if let Auth::Query { name, value } = &profile.auth {
            sent = sent.query(&[(name, value.expose())]);
        }
        if let Some(token) = token {
            sent = sent.bearer_auth(token);
        }
        let mut answer = sent.send().await.map_err(|error| failed(&error))?;
        let status = answer.status().as_u16();
        let retry_after = answer.headers().get("retry-after").and_then(|value| value.to_str().ok());
        let retry_after = retry_after.and_then(|text| wait_of(text, now)).map(|wait| wait.min(RETRY_AFTER_MAX));
        let mut body = BytesMut::new();
        while let Some(chunk) = answer.chunk().await.map_err(|error| failed(&error))? {
            let room = ANSWER_BYTES_MAX - body.len();
            body.extend_from_slice(&chunk[..chunk.len().min(room)]);
            if chunk.len() >= room {
                break;
            }
        }
        Ok(Response::Http { status, retry_after, headers: Vec::new(), body: Bytes::from(body) })
    }
}

/// `Retry-After` in seconds or as a date.
fn wait_of(text: &str, now: Time) -> Option<Duration> {
    if let Ok(seconds) = text.trim().parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = jiff::fmt::rfc2822::parse(text).ok()?;
    Some(Time::from_ms(date.timestamp().as_millisecond()).since(now))
}

fn no_token(error: TokenError) -> NoAnswer {
    match error {
        TokenError::Blocked { code, message } => NoAnswer::Blocked(Failure { code, field: None, message }),
        TokenError::Transient { message, retry_after } => {
            let message = format!("no access token yet: {message}");
            NoAnswer::Failed(Failure { code: "token_endpoint".into(), field: None, message }, retry_after)
        }
    }
}

/// What the client library says, without the address: its query may hold a credential.
fn failed(error: &reqwest::Error) -> NoAnswer {
    let (code, message) = if error.is_timeout() {
        ("timeout", "no answer in time; the platform may have the events, they go out again with the same ids")
    } else if error.is_connect() {
        ("connect", "no connection to the platform")
    } else {
        ("transport", "the connection broke before the whole answer was read")
    };
    NoAnswer::Failed(Failure { code: code.into(), field: None, message: message.into() }, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_reads_seconds_and_dates() {
        let now = Time::parse("2026-11-20T08:15:00Z").expect("valid");
        assert_eq!(wait_of("120", now), Some(Duration::from_secs(120)));
        assert_eq!(wait_of("Fri, 20 Nov 2026 08:16:00 GMT", now), Some(Duration::from_secs(60)));
        assert_eq!(wait_of("Fri, 20 Nov 2026 08:00:00 GMT", now), Some(Duration::ZERO), "past is now");
        assert_eq!(wait_of("soon", now), None);
    }
}
