//! Access tokens of Google: got with a refresh token or a service account's key, kept until shortly before they expire.
//!
//! ```text
//! refresh token     POST token_url  grant_type=refresh_token & client_id & client_secret & refresh_token
//! service account   POST token_url  grant_type=urn:ietf:params:oauth:grant-type:jwt-bearer & assertion=<JWT, RS256>
//! both answer       {"access_token": "…", "expires_in": 3599, "token_type": "Bearer"}
//!                   {"error": "invalid_grant", "error_description": "…"}
//! ```
//! Source: <https://developers.google.com/identity/protocols/oauth2>, read 2026-11-20.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use reqwest::{StatusCode, header};
use serde::{Deserialize, Serialize};

use crate::{
    destinations::{GoogleAuth, GoogleCredentials},
    model::{Clock, Secret, Time},
};

/// How long before its end a token is replaced; at the half of its life if that is later.
/// Source: google-auth 2.62.2, `google/auth/_helpers.py` (`REFRESH_THRESHOLD`), read 2026-11-20.
const REFRESH_EARLY: Duration = Duration::from_secs(225);

/// How long after a failed early refresh the old token is used without another try.
const EARLY_RETRY: Duration = Duration::from_secs(10);

/// How long a service account's assertion holds; Google takes no more.
/// Source: <https://developers.google.com/identity/protocols/oauth2/service-account>, read 2026-11-20.
const ASSERTION_LIFE: Duration = Duration::from_secs(3600);

/// How long a token holds whose answer does not say: short, as a refresh is cheap.
const LIFE_UNSTATED: Duration = Duration::from_secs(600);

/// How long one token request may take.
const TIMEOUT: Duration = Duration::from_secs(20);

/// The most bytes of an answer that are read.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// The most characters of the endpoint's text that are kept.
const MESSAGE_CHARS_MAX: usize = 300;

/// Error codes that come with a 4xx although another try may help.
/// Source: google-auth 2.62.2, `google/oauth2/_client.py` (`_can_retry`), read 2026-11-20.
const RETRYABLE: [&str; 3] = ["internal_failure", "server_error", "temporarily_unavailable"];

/// A bearer token. Never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct AccessToken(Secret);

impl AccessToken {
    /// The token, for the `Authorization` header.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.expose()
    }
}

impl fmt::Debug for AccessToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AccessToken(..)")
    }
}

/// Why there is no token. Holds no credential and no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// The credential does not work, and will not until its operator does something.
    #[error("no access token: {code}: {message}")]
    Blocked {
        /// The endpoint's code (`invalid_grant`), or `unusable_key`.
        code: String,
        /// Its text.
        message: String,
    },
    /// The endpoint could not be reached or is busy.
    #[error("no access token yet: {message}")]
    Transient {
        /// What happened.
        message: String,
        /// How long the endpoint wants us to wait.
        retry_after: Option<Duration>,
    },
}

/// Gets access tokens with one credential, and keeps the latest. Shared by all workers: one request at a time.
pub struct TokenSource {
    http: reqwest::Client,
    clock: Arc<dyn Clock>,
    token_url: String,
    grant: Grant,
    state: Mutex<State>,
    /// Held by the one caller that asks the endpoint.
    refreshing: tokio::sync::Mutex<()>,
}

impl fmt::Debug for TokenSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenSource").finish_non_exhaustive()
    }
}

enum Grant {
    Refresh { client_id: String, client_secret: Secret, refresh_token: Secret },
    ServiceAccount { client_email: String, key_id: String, key: Option<EncodingKey>, scope: &'static str },
}

#[derive(Default)]
struct State {
    token: Option<Kept>,
    /// How many requests have ended, so that those who waited for one can tell that it was theirs.
    ended: u64,
    /// How the last of them failed, if it did.
    failure: Option<TokenError>,
}

#[derive(Clone)]
struct Kept {
    token: AccessToken,
    refresh_at: Time,
    expires_at: Time,
}

/// What a service account signs.
#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    scope: &'a str,
    aud: &'a str,
    iat: i64,
    exp: i64,
}

#[derive(Deserialize)]
struct Granted {
    access_token: Secret,
    expires_in: Option<u64>,
}

#[derive(Deserialize)]
struct Refused {
    error: String,
    #[serde(default)]
    error_description: String,
}

impl TokenSource {
    /// Gets tokens as `auth` says. A key that cannot be used shows when a token is asked for.
    #[must_use]
    pub fn new(http: reqwest::Client, auth: &GoogleAuth, clock: Arc<dyn Clock>) -> Self {
        let grant = match &auth.credentials {
            GoogleCredentials::Refresh { client_id, client_secret, refresh_token } => Grant::Refresh {
                client_id: client_id.clone(),
                client_secret: client_secret.clone(),
                refresh_token: refresh_token.clone(),
            },
            GoogleCredentials::ServiceAccount { client_email, private_key_id, private_key } => Grant::ServiceAccount {
                client_email: client_email.clone(),
                key_id: private_key_id.clone(),
                key: EncodingKey::from_rsa_pem(private_key.expose().as_bytes()).ok(),
                scope: auth.scope,
            },
        };
        let token_url = auth.token_url.clone();
        Self { http, clock, token_url, grant, state: Mutex::default(), refreshing: tokio::sync::Mutex::default() }
    }

    /// A token that is good now. Asks the endpoint when there is none or it is about to expire; callers that come
    /// meanwhile get the old token while it lasts, else what that one request brings, success or failure.
    ///
    /// # Errors
    /// [`TokenError`].
    pub async fn token(&self) -> Result<AccessToken, TokenError> {
        let (kept, ended) = {
            let state = self.state();
            (state.token.clone(), state.ended)
        };
        let now = self.clock.now();
        let old = kept.filter(|kept| now < kept.expires_at);
        if let Some(kept) = old.as_ref().filter(|kept| now < kept.refresh_at) {
            return Ok(kept.token.clone());
        }
        let _turn = match (self.refreshing.try_lock(), old) {
            (Ok(turn), _) => turn,
            (Err(_), Some(old)) => return Ok(old.token),
            (Err(_), None) => self.refreshing.lock().await,
        };
        if let Some(done) = self.done_meanwhile(ended) {
            return done;
        }
        let result = self.fetch().await;
        self.record(result)
    }

    /// Forgets the token, if it still is `used`: the platform answered 401 to it. Of all who were refused with the same
    /// token only the first has an effect, so that one request replaces it.
    pub fn invalidate(&self, used: &str) {
        let mut state = self.state();
        if state.token.as_ref().is_some_and(|kept| kept.token.expose() == used) {
            state.token = None;
        }
    }

    /// What a request brought that ended while we waited for our turn.
    fn done_meanwhile(&self, ended: u64) -> Option<Result<AccessToken, TokenError>> {
        let state = self.state();
        if state.ended == ended {
            return None;
        }
        let now = self.clock.now();
        let token = state.token.as_ref().filter(|kept| now < kept.refresh_at).map(|kept| Ok(kept.token.clone()));
        token.or_else(|| state.failure.clone().map(Err))
    }

    /// Keeps what a request brought. An early refresh that failed for the moment leaves the old token in use.
    fn record(&self, result: Result<Kept, TokenError>) -> Result<AccessToken, TokenError> {
        let now = self.clock.now();
        let mut state = self.state();
        state.ended = state.ended.wrapping_add(1);
        state.failure = result.as_ref().err().cloned();
        match result {
            Ok(kept) => {
                let token = kept.token.clone();
                state.token = Some(kept);
                Ok(token)
            }
            Err(error) => match (&error, state.token.as_mut().filter(|kept| now < kept.expires_at)) {
                (TokenError::Transient { retry_after, .. }, Some(old)) => {
                    old.refresh_at = now.plus(retry_after.unwrap_or(EARLY_RETRY));
                    Ok(old.token.clone())
                }
                _ => Err(error),
            },
        }
    }

    async fn fetch(&self) -> Result<Kept, TokenError> {
        let asked_at = self.clock.now();
        let body = self.grant.form(&self.token_url, asked_at)?;
        let request = self.http.post(&self.token_url).timeout(TIMEOUT);
        let request = request.header(header::CONTENT_TYPE, "application/x-www-form-urlencoded").body(body);
        let mut response = request.send().await.map_err(unreachable)?;
        let status = response.status();
        let retry_after =
            response.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
            body.extend_from_slice(&chunk);
            if body.len() > ANSWER_BYTES_MAX {
                return Err(transient("the token endpoint's answer is too long", None));
            }
        }
        if !status.is_success() {
            return Err(self.refusal(status, &body, retry_after.map(Duration::from_secs)));
        }
        let granted: Granted = serde_json::from_slice(&body).map_err(|_| unreadable())?;
        let text = granted.access_token.expose();
        if text.is_empty() || !text.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(unreadable());
        }
        let life = granted.expires_in.map_or(LIFE_UNSTATED, Duration::from_secs);
        Ok(Kept {
            token: AccessToken(granted.access_token),
            refresh_at: asked_at.plus(life.saturating_sub(REFRESH_EARLY.min(life / 2))),
            expires_at: asked_at.plus(life),
        })
    }

    fn refusal(&self, status: StatusCode, body: &[u8], retry_after: Option<Duration>) -> TokenError {
        let http = status.as_u16();
        let Ok(refused) = serde_json::from_slice::<Refused>(body) else {
            return transient(format!("the token endpoint answered HTTP {http}"), retry_after);
        };
        let plain = |c: &char| c.is_ascii_alphanumeric() || *c == '_';
        let code: String = refused.error.chars().filter(plain).take(64).collect();
        let busy = status.is_server_error() || matches!(http, 408 | 429);
        if busy || RETRYABLE.iter().any(|word| refused.error == *word || refused.error_description == *word) {
            return transient(format!("the token endpoint answered HTTP {http}: {code}"), retry_after);
        }
        let echo = self.grant.secrets().any(|secret| refused.error_description.contains(secret));
        let text = if echo { "" } else { refused.error_description.as_str() };
        let message = text.chars().filter(|c| !c.is_control()).take(MESSAGE_CHARS_MAX).collect();
        TokenError::Blocked { code, message }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it is held, and each change of it is complete in itself.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Grant {
    fn form(&self, token_url: &str, now: Time) -> Result<String, TokenError> {
        let mut form = url::form_urlencoded::Serializer::new(String::new());
        match self {
            Self::Refresh { client_id, client_secret, refresh_token } => {
                form.append_pair("grant_type", "refresh_token")
                    .append_pair("client_id", client_id)
                    .append_pair("client_secret", client_secret.expose())
                    .append_pair("refresh_token", refresh_token.expose());
            }
            Self::ServiceAccount { client_email, key_id, key, scope } => {
                let header = Header { kid: Some(key_id.clone()), ..Header::new(Algorithm::RS256) };
                let (iat, exp) = (now.as_secs(), now.plus(ASSERTION_LIFE).as_secs());
                let claims = Claims { iss: client_email, scope, aud: token_url, iat, exp };
                let signed = key.as_ref().and_then(|key| jsonwebtoken::encode(&header, &claims, key).ok());
                let assertion = signed.ok_or_else(|| TokenError::Blocked {
                    code: "unusable_key".to_owned(),
                    message: "the service account's private key is no RSA key that can sign".to_owned(),
                })?;
                form.append_pair("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer")
                    .append_pair("assertion", &assertion);
            }
        }
        Ok(form.finish())
    }

    fn secrets(&self) -> impl Iterator<Item = &str> {
        let secrets = match self {
            Self::Refresh { client_secret, refresh_token, .. } => [Some(client_secret), Some(refresh_token)],
            Self::ServiceAccount { .. } => [None, None],
        };
        secrets.into_iter().flatten().map(Secret::expose).filter(|secret| !secret.is_empty())
    }
}

fn transient(message: impl Into<String>, retry_after: Option<Duration>) -> TokenError {
    TokenError::Transient { message: message.into(), retry_after }
}

fn unreadable() -> TokenError {
    transient("the token endpoint answered without a usable access_token", None)
}

fn unreachable(error: reqwest::Error) -> TokenError {
    let what = if error.is_timeout() { "did not answer in time" } else { "cannot be reached" };
    transient(format!("the token endpoint {what}: {}", error.without_url()), None)
}

#[cfg(test)]
mod tests;
