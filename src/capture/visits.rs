//! `POST /v1/visits`, from the tag or from a server.

use std::{collections::BTreeMap, fmt};

use axum::{
    Router,
    body::Body,
    extract::{ConnectInfo, State},
    http::{HeaderMap, HeaderValue, header},
    response::{IntoResponse as _, Response},
    routing::post,
};
use serde::{
    Deserialize, Deserializer,
    de::{self, MapAccess, Visitor},
};

use super::Capture;
use crate::{
    attribution::{read_cookies, read_landing},
    model::{ClickId, IdentityKey, IdentityKind, Observation, Sensitive, Time, Visit, VisitorId},
    privacy::{
        scrub::{self, Posted},
        seal_user,
    },
    web::{ConsentWire, Object, Peer, Problem, UserWire, consent, cut, page_problem, read_body, read_json, user},
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
    cookies: Option<CookiesWire>,
    consent: Option<Object<ConsentWire>>,
    user: Option<Object<UserWire>>,
    checkout_token: Option<String>,
    cart_token: Option<String>,
}

/// Cookies by name, each name once.
struct CookiesWire(BTreeMap<String, String>);

impl<'de> Deserialize<'de> for CookiesWire {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Named;
        impl<'de> Visitor<'de> for Named {
            type Value = CookiesWire;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of texts")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<CookiesWire, A::Error> {
                let mut cookies = BTreeMap::new();
                while let Some(name) = map.next_key::<String>()? {
                    if cookies.contains_key(&name) {
                        return Err(de::Error::custom(format_args!("duplicate field `{name}`")));
                    }
                    cookies.insert(name, map.next_value()?);
                }
                Ok(CookiesWire(cookies))
            }
        }
        deserializer.deserialize_map(Named)
    }
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
    let mut seen = observation(&capture, wire, &headers, now)?;
    seen.ip = Some(Sensitive::new(capture.trusted_proxies.client(connection.ip(), &headers)));
    let visitor_id = seen.visitor_id.clone();
    capture.pipeline.visit(seen).await?;
    answer(&visitor_id)
}

fn observation(capture: &Capture, wire: VisitWire, headers: &HeaderMap, now: Time) -> Result<Observation, Problem> {
    let invalid =
        |field: &str, why: &str| Problem::invalid(format!("/{field}"), format!("{}: {why}", field.replace('/', ".")));
    let person = user(wire.user.unwrap_or_default().0).map_err(|(field, why)| invalid(field, &why))?;
    let posted = &Posted::of(&person);
    let clean = |text: &str| !scrub::identifies(text, posted);
    let given =
        wire.visitor_id.map(VisitorId::new).transpose().map_err(|why| invalid("visitor_id", &why.to_string()))?;
    if given.as_ref().is_some_and(|id| !clean(id.as_str())) {
        return Err(invalid("visitor_id", "must not contain contact data of the visitor: ids are stored in clear"));
    }
    let known = given.or_else(|| cookie(headers).filter(|id| clean(id.as_str())));
    let agent = headers.get(header::USER_AGENT).and_then(|agent| agent.to_str().ok());
    let agent = agent.and_then(|agent| scrub::agent(cut(agent.to_owned(), USER_AGENT_BYTES_MAX), posted));
    let page = |field: &str, address: Option<String>| {
        let Some(address) = address.filter(|address| !address.is_empty()) else { return Ok(None) };
        page_problem(&address).map_or(Ok(Some(address)), |why| Err(invalid(field, &why)))
    };
    let url =
        page("url", wire.url)?.ok_or_else(|| invalid("url", "is missing; it is the page the visitor landed on"))?;
    // Referrers are set by browsers and apps (`android-app://…`): an odd one must not cost the visit.
    let referrer = page("referrer", wire.referrer).unwrap_or_default();
    let landing = read_landing(&url, now);
    let sent = wire.cookies.map(|cookies| cookies.0).unwrap_or_default();
    // Tags build their cookies from the address of the page, whatever stands there.
    let pairs = sent.iter().map(|(name, value)| (name.as_str(), value.as_str())).filter(|(_, value)| clean(value));
    let pairs = pairs.take(COOKIES_MAX);
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
    keys.extend(IdentityKey::of_cookies(&cookies));
    let utm = scrub::utm(landing.utm, posted);
    let sealed_page = |address: String| Sensitive::new(scrub::page(&address, posted));
    let from_url = landing.clicks.into_iter().filter(|click| clean(&click.value)).collect();
    let clicks = both(from_url, from_cookies);
    keys.extend(clicks.iter().filter_map(IdentityKey::of_click));
    let (url, referrer) = (Some(sealed_page(url)), referrer.map(sealed_page));
    let visit = Visit { at: now, url, referrer, utm, ..Visit::default() };
    Ok(Observation {
        clicks,
        cookies,
        consent: consent(wire.consent.unwrap_or_default().0),
        user_agent: agent.map(Sensitive::new),
        keys,
        ..Observation::new(known.unwrap_or_else(|| VisitorId::mint(now)), visit)
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
