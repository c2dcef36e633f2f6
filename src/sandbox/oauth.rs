//! The stand-in for Google's token endpoint: an access token for a refresh token, or for a service account's assertion.
//! Source: google-auth 2.62.2 `oauth2/{credentials,service_account}.py`, checked 2026-11-20.
//!
//! The signature of an assertion is not verified (the sandbox has no account's public key); its shape and claims are.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::Arc,
};

use axum::{
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::Response,
};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use serde::Deserialize;
use serde_json::json;

use super::{FaultMode, Platform, Sandbox, json, lock, shape};
use crate::model::Time;

/// What Data Manager wants to be authorised for.
/// Source: developers.google.com/data-manager/api, read 2026-11-20.
const SCOPE: &str = "https://www.googleapis.com/auth/datamanager";
/// What Google Ads wants to be authorised for.
/// Source: google-ads 34.0.0, conversion_upload_service/transports/base.py, checked 2026-11-20.
const ADS_SCOPE: &str = "https://www.googleapis.com/auth/adwords";
/// The grant type of a service account.
/// Source: RFC 7523, section 2.1.
const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
/// How long an assertion may be valid.
/// Source: google-auth 2.62.2 `oauth2/service_account.py`, checked 2026-11-20.
const ASSERTION_LIFETIME_MAX: i64 = 3600;
/// How far the two clocks may differ.
const SKEW_S: i64 = 60;
/// How many issued tokens are remembered; the oldest go first.
const TOKENS_MAX: usize = 10_000;

/// The access tokens that were issued, with their ends.
#[derive(Default)]
pub(super) struct Tokens {
    ends: HashMap<String, Time>,
    order: VecDeque<String>,
}

impl Tokens {
    fn issue(&mut self, token: String, end: Time) {
        self.order.push_back(token.clone());
        self.ends.insert(token, end);
        if self.order.len() > TOKENS_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.ends.remove(&oldest);
        }
    }

    /// Whether `token` was issued here and is good at `now`.
    pub(super) fn is_good(&self, token: &str, now: Time) -> bool {
        self.ends.get(token).is_some_and(|end| now < *end)
    }

    /// Makes `token` end at once.
    pub(super) fn revoke(&mut self, token: &str) {
        self.ends.remove(token);
    }
}

/// A refused request, in the words of RFC 6749, section 5.2.
struct Refusal {
    status: StatusCode,
    error: &'static str,
    /// For the ledger.
    reason: &'static str,
    description: &'static str,
}

const fn refusal(error: &'static str, description: &'static str) -> Refusal {
    Refusal { status: StatusCode::BAD_REQUEST, error, reason: error, description }
}

/// `POST /oauth/token`.
pub(super) async fn token(State(sandbox): State<Arc<Sandbox>>, headers: HeaderMap, body: Bytes) -> Response {
    let fault = sandbox.meet(Platform::Oauth);
    let now = sandbox.now();
    let answer = match fault.mode {
        FaultMode::Outage => Err(Refusal {
            status: StatusCode::SERVICE_UNAVAILABLE,
            reason: fault.mode.as_str(),
            ..refusal("temporarily_unavailable", "The service is unavailable.")
        }),
        FaultMode::Throttle => Err(Refusal {
            status: StatusCode::TOO_MANY_REQUESTS,
            reason: fault.mode.as_str(),
            ..refusal("temporarily_unavailable", "Too many requests.")
        }),
        FaultMode::ExpiredToken => Err(Refusal { reason: fault.mode.as_str(), ..revoked() }),
        FaultMode::ErrorRate => Err(Refusal {
            status: fault.status(),
            reason: fault.mode.as_str(),
            ..refusal("server_error", "Internal error.")
        }),
        _ => check(&headers, &body, now),
    };
    let response = match answer {
        Ok(()) => {
            let lifetime = sandbox.config.token_lifetime;
            let token = format!("ya29.sandbox-{:08x}", sandbox.serial());
            lock(&sandbox.tokens).issue(token.clone(), now.plus(lifetime));
            sandbox.ledger(Platform::Oauth).stats.accepted += 1;
            let (expires_in, token_type) = (lifetime.as_secs(), "Bearer");
            let body =
                json!({"access_token": token, "expires_in": expires_in, "scope": SCOPE, "token_type": token_type});
            json(StatusCode::OK, &body)
        }
        Err(refusal) => {
            sandbox.ledger(Platform::Oauth).refuse(now, refusal.reason, "");
            json(refusal.status, &json!({"error": refusal.error, "error_description": refusal.description}))
        }
    };
    fault.apply(response).await
}

const fn revoked() -> Refusal {
    refusal("invalid_grant", "Token has been expired or revoked.")
}

fn check(headers: &HeaderMap, body: &[u8], now: Time) -> Result<(), Refusal> {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    if !content_type.starts_with("application/x-www-form-urlencoded") {
        return Err(refusal("invalid_request", "The body must be a form."));
    }
    let mut fields = BTreeMap::new();
    for (name, value) in url::form_urlencoded::parse(body) {
        if fields.insert(name.into_owned(), value.into_owned()).is_some() {
            return Err(refusal("invalid_request", "A parameter is given twice."));
        }
    }
    match fields.remove("grant_type").as_deref() {
        Some("refresh_token") => check_refresh(&mut fields)?,
        Some(JWT_BEARER) => {
            let assertion = fields.remove("assertion").unwrap_or_default();
            check_assertion(&assertion, now)?;
        }
        _ => return Err(refusal("unsupported_grant_type", "Neither refresh_token nor jwt-bearer.")),
    }
    if fields.is_empty() { Ok(()) } else { Err(refusal("invalid_request", "Unknown parameter.")) }
}

fn check_refresh(fields: &mut BTreeMap<String, String>) -> Result<(), Refusal> {
    let mut take = |name: &str| fields.remove(name).filter(|value| !value.is_empty());
    let (client, secret, token) = (take("client_id"), take("client_secret"), take("refresh_token"));
    if client.is_none() || secret.is_none() {
        let status = StatusCode::UNAUTHORIZED;
        return Err(Refusal { status, ..refusal("invalid_client", "The OAuth client was not found.") });
    }
    match token.as_deref() {
        None => Err(refusal("invalid_request", "Missing required parameter: refresh_token")),
        Some("revoked") => Err(revoked()),
        Some(_) => Ok(()),
    }
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    typ: Option<String>,
    kid: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Claims {
    iss: String,
    scope: String,
    aud: String,
    iat: i64,
    exp: i64,
    sub: Option<String>,
}

fn check_assertion(assertion: &str, now: Time) -> Result<(), Refusal> {
    let bad = |description| Err(refusal("invalid_grant", description));
    let mut parts = assertion.split('.').map(|part| BASE64_URL_SAFE_NO_PAD.decode(part).ok());
    let (Some(Some(header)), Some(Some(claims)), Some(Some(signature)), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return bad("Not a valid JWT: three parts of unpadded base64url are wanted.");
    };
    let Ok(header) = serde_json::from_slice::<Header>(&header) else { return bad("Not a valid JWT header.") };
    if header.alg != "RS256" || header.typ.as_deref() != Some("JWT") || header.kid.is_none_or(|kid| kid.is_empty()) {
        return bad("The JWT header must say alg RS256, typ JWT and a kid.");
    }
    // 2048 bits is the smallest key that Google issues.
    if signature.len() < 256 {
        return bad("Invalid JWT Signature.");
    }
    let Ok(claims) = serde_json::from_slice::<Claims>(&claims) else { return bad("Invalid JWT claims.") };
    let now_s = now.as_secs();
    if claims.exp <= now_s || claims.iat > now_s + SKEW_S || claims.exp - claims.iat > ASSERTION_LIFETIME_MAX {
        return bad("Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe.");
    }
    if !claims.iss.contains('@') || claims.sub.is_some_and(|sub| sub.is_empty()) {
        return bad("Invalid JWT: iss must be a service account.");
    }
    if !shape::is_web_address(&claims.aud) || !claims.aud.ends_with("/token") {
        return bad("Invalid JWT: aud must be the token endpoint.");
    }
    if !claims.scope.split(' ').any(|scope| scope == SCOPE || scope == ADS_SCOPE) {
        return Err(refusal("invalid_scope", "The scope of Data Manager or Google Ads is missing."));
    }
    Ok(())
}

/// The bearer token of a request.
pub(super) fn bearer(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ")
}

#[cfg(test)]
mod tests;
