//! Asking a provider's API: JSON over HTTPS, bounded in time and size. What is asked for is up to the source.

use std::time::Duration;

use bytes::BytesMut;
use reqwest::{Method, RequestBuilder, header::HeaderMap};
use serde_json::Value;

use crate::model::Secret;

/// One request with its answer.
const TIME_MAX: Duration = Duration::from_secs(30);
/// A page of 250 orders is about 2 MiB.
const ANSWER_BYTES_MAX: usize = 32 << 20;
/// A `Retry-After` over this is cut.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(600);

/// Why something could not be had. Its texts never hold what was answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    /// It may work later.
    #[error("{why}")]
    Later {
        /// What happened.
        why: String,
        /// When to try again, if the provider said so.
        after: Option<Duration>,
    },
    /// It will not work until somebody corrects the settings: the token, its permissions, the address.
    #[error("{0}")]
    Settings(String),
    /// There is no such thing.
    #[error("the provider does not know it")]
    Gone,
}

impl FetchError {
    /// The answer is not what the provider documents.
    #[must_use]
    pub fn unexpected(what: &str) -> Self {
        Self::Later { why: format!("the provider's answer is not as documented: {what}"), after: None }
    }
}

/// How a request is authorised.
#[derive(Clone, Debug)]
pub enum Credential {
    /// `Authorization: Bearer TOKEN`.
    Bearer(Secret),
    /// Basic credentials.
    Basic(String, Secret),
    /// A header of its own.
    Header(&'static str, Secret),
    /// None: what is asked for is a credential.
    None,
}

/// An answer.
pub struct Fetched {
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Value,
}

/// Asks providers' APIs.
#[derive(Clone)]
pub struct Fetcher {
    client: reqwest::Client,
}

impl Fetcher {
    /// One with connections of its own.
    ///
    /// # Errors
    /// If the TLS library cannot be set up.
    pub fn new() -> Result<Self, reqwest::Error> {
        let client = reqwest::Client::builder()
            .timeout(TIME_MAX)
            .connect_timeout(Duration::from_secs(10))
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("conversion-relay/", env!("CARGO_PKG_VERSION")))
            .build()?;
        Ok(Self { client })
    }

    /// What stands at `url`, whose query is `query`.
    ///
    /// # Errors
    /// [`FetchError`].
    pub async fn get(&self, url: &str, query: &[(&str, &str)], credential: &Credential) -> Result<Fetched, FetchError> {
        self.send(self.client.request(Method::GET, url).query(query), credential).await
    }

    /// The same, with one header more.
    ///
    /// # Errors
    /// [`FetchError`].
    pub async fn get_with(
        &self,
        url: &str,
        query: &[(&str, &str)],
        credential: &Credential,
        (name, value): (&str, &str),
    ) -> Result<Fetched, FetchError> {
        self.send(self.client.request(Method::GET, url).query(query).header(name, value), credential).await
    }

    /// What is answered to `body`.
    ///
    /// # Errors
    /// [`FetchError`].
    pub async fn post(&self, url: &str, body: &Value, credential: &Credential) -> Result<Fetched, FetchError> {
        let request = self.client.request(Method::POST, url).header("content-type", "application/json");
        self.send(request.body(body.to_string()), credential).await
    }

    async fn send(&self, request: RequestBuilder, credential: &Credential) -> Result<Fetched, FetchError> {
        let request = request.header("accept", "application/json");
        let request = match credential {
            Credential::Bearer(token) => request.bearer_auth(token.expose()),
            Credential::Basic(user, password) => request.basic_auth(user, Some(password.expose())),
            Credential::Header(name, value) => request.header(*name, value.expose()),
            Credential::None => request,
        };
        let mut answer = request.send().await.map_err(|error| failed(&error))?;
        let status = answer.status().as_u16();
        let headers = std::mem::take(answer.headers_mut());
        let seconds = headers.get("retry-after").and_then(|value| value.to_str().ok()?.trim().parse::<f64>().ok());
        let after = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        let after = after.map(|wait| wait.min(RETRY_AFTER_MAX));
        match status {
            200..=299 => {}
            404 | 410 => return Err(FetchError::Gone),
            408 | 425 | 429 | 500.. => {
                return Err(FetchError::Later { why: format!("the provider answered {status}"), after });
            }
            401 | 403 => {
                let why = format!("the provider answered {status}: the token is wrong, or has not the permission");
                return Err(FetchError::Settings(why));
            }
            _ => return Err(FetchError::Settings(format!("the provider answered {status} to our request"))),
        }
        let mut body = BytesMut::new();
        while let Some(chunk) = answer.chunk().await.map_err(|error| failed(&error))? {
            if body.len() + chunk.len() > ANSWER_BYTES_MAX {
                return Err(FetchError::Settings(format!("the answer is over {ANSWER_BYTES_MAX} bytes")));
            }
            body.extend_from_slice(&chunk);
        }
        let body = serde_json::from_slice(&body).map_err(|_| FetchError::unexpected("no JSON"))?;
        Ok(Fetched { headers, body })
    }
}

/// Without the address: its query may hold a token.
fn failed(error: &reqwest::Error) -> FetchError {
    let why = if error.is_timeout() {
        "the provider did not answer in time"
    } else if error.is_connect() {
        "the provider cannot be reached"
    } else {
        "the connection to the provider broke"
    };
    FetchError::Later { why: why.to_owned(), after: None }
}
