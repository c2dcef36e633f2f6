//! `POST /v1/visits`, from the tag or from a server.

use std::collections::BTreeMap;

use axum::{
    Router,
    body::Body,
    extract::{ConnectInfo, State},
    http::{HeaderMap, HeaderValue, header},
    response::{IntoResponse as _, Response},
    routing::post,
};
use serde::Deserialize;

use super::Capture;
use crate::{
    attribution::{read_cookies, read_landing},
    model::{ClickId, Cookies, IdentityKey, IdentityKind, Observation, Sensitive, Time, Utm, Visit, VisitorId},
    privacy::{scrub, seal_user},
    web::{ConsentWire, Peer, Problem, UserWire, consent, cut, page_problem, read_body, read_json, user},
};

/// A visit is small; more is a mistake or an attack.
const BODY_BYTES_MAX: usize = 64 << 10;
/// Cookies of the platforms' tags that are looked at.
const COOKIES_MAX: usize = 64;
/// User agents are cut at this.
const USER_AGENT_BYTES_MAX: usize = 1024;
/// The cookie that holds the visitor id.
const COOKIE: &str = "cr_vid";
/// 400 days, the longest browsers keep a cookie.
/// Source: <https://developer.chrome.com/blog/cookie-max-age-expires>, read 2026-11-20.
const COOKIE_SECONDS: u32 = 400 * 86_400;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct VisitWire {
    visitor_id: Option<String>,
    url: Option<String>,
    referrer: Option<String>,
    cookies: Option<BTreeMap<String, String>>,
    consent: Option<ConsentWire>,
    user: Option<UserWire>,
    checkout_token: Option<String>,
    cart_token: Option<String>,
}

pub(super) fn router(path: &str, capture: Capture) -> Router {
    Router::new().route(path, post(visit)).with_state(capture)
}

async fn visit(
    State(capture): State<Capture>,
    ConnectInfo(Peer(connection)): ConnectInfo<Peer>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    // No check of the media type: `sendBeacon` sends JSON as text, to need no preflight.
    let body = read_body(body, BODY_BYTES_MAX).await?;
    let wire: VisitWire = read_json(&body, "")?;
    let now = capture.clock.now();
    let given = wire.visitor_id.clone().map(VisitorId::new).transpose();
    let given = given.map_err(|why| Problem::invalid("/visitor_id", format!("visitor_id: {why}")))?;
    let visitor_id = given.or_else(|| cookie(&headers)).unwrap_or_else(|| VisitorId::mint(now));
    let mut seen = observation(&capture, wire, visitor_id.clone(), now)?;
    seen.ip = Some(Sensitive::new(capture.trusted_proxies.client(connection.ip(), &headers)));
    let agent = headers.get(header::USER_AGENT).and_then(|agent| agent.to_str().ok());
    seen.user_agent = agent.map(|agent| Sensitive::new(cut(agent.to_owned(), USER_AGENT_BYTES_MAX)));
    capture.pipeline.visit(seen).await?;
    answer(&visitor_id)
}

fn observation(capture: &Capture, wire: VisitWire, visitor_id: VisitorId, now: Time) -> Result<Observation, Problem> {
    let invalid = |field: &str, why: &str| Problem::invalid(format!("/{field}"), format!("{field}: {why}"));
    let person = user(wire.user.unwrap_or_default()).map_err(|(field, why)| invalid(field, &why))?;
    let page = |field: &str, address: Option<String>| {
        let Some(address) = address.filter(|address| !address.is_empty()) else { return Ok(None) };
        page_problem(&address).map_or(Ok(Some(address)), |why| Err(invalid(field, &why)))
    };
    let url =
        page("url", wire.url)?.ok_or_else(|| invalid("url", "is missing; it is the page the visitor landed on"))?;
    // Referrers are set by browsers and apps (`android-app://…`): an odd one must not cost the visit.
    let referrer = page("referrer", wire.referrer).unwrap_or_default();
    let landing = read_landing(&url, now);
    let sent = wire.cookies.unwrap_or_default();
    let pairs = sent.iter().map(|(name, value)| (name.as_str(), value.as_str())).take(COOKIES_MAX);
    let (from_cookies, cookies) = read_cookies(pairs, now);
    let tokens = [("checkout_token", wire.checkout_token), ("cart_token", wire.cart_token)];
    let mut keys: Vec<IdentityKey> = seal_user(&person, capture.default_country).identity_keys().collect();
    for (field, token) in tokens {
        if let Some(token) = token.filter(|token| !token.is_empty()) {
            if token.len() > 1024 {
                return Err(invalid(field, "must be at most 1024 bytes"));
            }
            keys.push(IdentityKey::of_token(IdentityKind::CheckoutToken, &token));
        }
    }
    keys.extend(cookie_keys(&cookies));
    let text = |value: Option<String>| value.and_then(|value| scrub::text(value, &person));
    let utm = Utm {
        source: text(landing.utm.source),
        medium: text(landing.utm.medium),
        campaign: text(landing.utm.campaign),
        content: text(landing.utm.content),
        term: text(landing.utm.term),
    };
    let sealed_page = |address: String| Sensitive::new(scrub::page(&address, &person));
    Ok(Observation {
        visitor_id,
        clicks: both(landing.clicks, from_cookies),
        visit: Visit { at: now, url: Some(sealed_page(url)), referrer: referrer.map(sealed_page), utm },
        cookies,
        consent: consent(&wire.consent.unwrap_or_default()),
        ip: None,
        user_agent: None,
        keys,
    })
}

/// A click id in the address beats the cookie's, but takes its time: the cookie was set at the click.
fn both(from_url: Vec<ClickId>, from_cookies: Vec<ClickId>) -> Vec<ClickId> {
    let mut clicks = from_cookies;
    for click in from_url {
        match clicks.iter_mut().find(|known| known.kind == click.kind && known.value == click.value) {
            Some(known) => known.last_seen = click.last_seen,
            None => clicks.push(click),
        }
    }
    clicks
}

fn cookie_keys(cookies: &Cookies) -> impl Iterator<Item = IdentityKey> + '_ {
    let key = |kind, value: &Option<String>| value.as_ref().map(|value| IdentityKey::of_token(kind, value));
    [key(IdentityKind::GaClientId, &cookies.ga_client_id), key(IdentityKind::Fbp, &cookies.fbp)].into_iter().flatten()
}

fn cookie(headers: &HeaderMap) -> Option<VisitorId> {
    let lists = headers.get_all(header::COOKIE).into_iter().filter_map(|value| value.to_str().ok());
    let mut pairs = lists.flat_map(|list| list.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(name, _)| *name == COOKIE).and_then(|(_, value)| VisitorId::new(value).ok())
}

fn answer(visitor_id: &VisitorId) -> Result<Response, Problem> {
    let body = serde_json::to_vec(&serde_json::json!({ "visitor_id": visitor_id })).map_err(|_| Problem::internal())?;
    let mut answer = ([(header::CONTENT_TYPE, "application/json")], body).into_response();
    let headers = answer.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // Given ids may hold what a cookie cannot; such a visitor is found by the id its giver keeps.
    let plain = visitor_id.as_str().bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.:~".contains(&b));
    let cookie = format!("{COOKIE}={visitor_id}; Path=/; Max-Age={COOKIE_SECONDS}; Secure; SameSite=Lax");
    if let Some(cookie) = HeaderValue::from_str(&cookie).ok().filter(|_| plain) {
        headers.insert(header::SET_COOKIE, cookie);
    }
    Ok(answer)
}
