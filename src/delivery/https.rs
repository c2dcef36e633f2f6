//! The transport of HTTP destinations: adds the authorisation, sends, and reads the answer up to a bound.

use std::{sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use reqwest::header::HeaderMap;

use super::oauth::{TokenError, TokenSource};
use crate::{
    destinations::{Auth, HttpRequest, Method, Profile, Response},
    model::{Clock, Failure, Time},
};

/// Answers are read up to this. The longest real ones name every event of a batch.
const ANSWER_BYTES_MAX: usize = 4 << 20;
/// A `Retry-After` over this is cut.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(3600);
/// A longer header is left out: cut, its JSON could not be read.
const HEADER_BYTES_MAX: usize = 8 << 10;

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum NoAnswer {
    /// The network or the platform failed.
    Failed {
        /// How.
        failure: Failure,
        /// How long to wait, if somebody said so.
        after: Option<Duration>,
        /// Whether the platform may have got the request all the same.
        unknown: bool,
    },
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
            // Shorter than the whole, so that a connection that never came about is told from an answer that did not.
            .connect_timeout((profile.timeout / 2).min(Duration::from_secs(10)))
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
        let headers = wanted(profile.headers, answer.headers());
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
        Ok(Response::Http { status, retry_after, headers, body: Bytes::from(body) })
    }
}

/// Those of `names` that are there as text of a sensible length.
fn wanted(names: &[&'static str], headers: &HeaderMap) -> Vec<(&'static str, String)> {
    let value = |name: &&'static str| {
        let value = headers.get(*name)?.to_str().ok().filter(|value| value.len() <= HEADER_BYTES_MAX)?;
        Some((*name, value.to_owned()))
    };
    names.iter().filter_map(value).collect()
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
            let failure = Failure { code: "token_endpoint".into(), field: None, message };
            NoAnswer::Failed { failure, after: retry_after, unknown: false }
        }
    }
}

/// What the client library says, without the address: its query may hold a credential.
fn failed(error: &reqwest::Error) -> NoAnswer {
    let (code, message, unknown) = if error.is_connect() {
        ("connect", "no connection to the platform", false)
    } else if error.is_builder() {
        ("request", "the request cannot be put together; check the destination's base_url", false)
    } else if error.is_timeout() {
        ("timeout", "no answer in time; the platform may have the events, they go out again with the same ids", true)
    } else {
        ("transport", "the connection broke before the whole answer was read; the platform may have the events", true)
    };
    let failure = Failure { code: code.into(), field: None, message: message.into() };
    NoAnswer::Failed { failure, after: None, unknown }
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

    fn profile(timeout: Duration) -> Profile {
        let (batch_max, spacing) = (1, Duration::ZERO);
        Profile {
            batch_max,
            spacing,
            rate: None,
            timeout,
            auth: Auth::None,
            headers: &["x-business-use-case-usage", "x-missing"],
        }
    }

    async fn send(request: HttpRequest, timeout: Duration) -> Result<Response, NoAnswer> {
        let profile = profile(timeout);
        let https = Https::new(&profile, Arc::new(crate::model::SystemClock)).expect("sets up");
        https.send(&profile, &request, Time::from_secs(1_763_626_500)).await
    }

    fn post(url: String) -> HttpRequest {
        HttpRequest { url, body: Bytes::from_static(b"{}"), ..HttpRequest::default() }
    }

    #[tokio::test]
    async fn wanted_headers_come_with_the_answer_and_a_get_has_no_body() {
        let server = wiremock::MockServer::start().await;
        let answer = wiremock::ResponseTemplate::new(200)
            .insert_header("X-Business-Use-Case-Usage", "{\"1\":[]}")
            .insert_header("x-other", "no");
        wiremock::Mock::given(wiremock::matchers::method("GET")).respond_with(answer).mount(&server).await;
        let request = HttpRequest { method: Method::Get, url: server.uri(), ..HttpRequest::default() };
        let response = send(request, Duration::from_secs(5)).await.expect("answers");
        assert_eq!(response.header("x-business-use-case-usage"), Some("{\"1\":[]}"));
        assert_eq!((response.header("x-other"), response.header("x-missing")), (None, None));
        let got = server.received_requests().await.expect("recorded");
        assert!(got[0].body.is_empty() && !got[0].headers.contains_key("content-type"));
    }

    #[tokio::test]
    async fn only_what_was_sent_may_have_arrived() {
        let unknown = |result: Result<Response, NoAnswer>| match result {
            Err(NoAnswer::Failed { failure, unknown, .. }) => (failure.code, unknown),
            other => panic!("{other:?}"),
        };
        // A port that was free a moment ago: nobody listens.
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}/", listener.local_addr().expect("an address"));
        drop(listener);
        let refused = send(post(url), Duration::from_secs(5)).await;
        assert_eq!(unknown(refused), ("connect".to_owned(), false));
        let no_name = send(post("http://nobody.invalid/".into()), Duration::from_secs(5)).await;
        assert_eq!(unknown(no_name), ("connect".to_owned(), false));

        // Somebody who reads the request and hangs up, and somebody who never answers.
        for (hang_up, expected) in [(true, "transport"), (false, "timeout")] {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
            let url = format!("http://{}/", listener.local_addr().expect("an address"));
            let serving = tokio::spawn(async move {
                let (stream, _) = listener.accept().await.expect("connects");
                while stream.try_read(&mut [0; 1024]).is_err() {
                    stream.readable().await.expect("reads");
                }
                if !hang_up {
                    std::future::pending::<()>().await;
                }
            });
            let lost = send(post(url), Duration::from_millis(300)).await;
            assert_eq!(unknown(lost), (expected.to_owned(), true));
            serving.abort();
        }
    }
}
