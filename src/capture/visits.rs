//! `POST /v1/visits`, from the tag or from a server.

use std::{net::IpAddr, sync::Arc};

use axum::{
    Router,
    body::Body,
    extract::{ConnectInfo, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
    routing::post,
};
use serde_json::{Map, Value, json};

use super::{
    Capture,
    allowed::{Allowed, Keeping},
    cookies,
    sites::From,
    wire::{ActionWire, VisitWire},
    without_contacts,
};
use crate::{
    attribution::{ReadCookies, read_cookies, read_landing, without_ours},
    model::{
        Action, ActionSource, Choice, ClickId, Consent, Digest, EventName, IdentityKey, IdentityKind, Left,
        Observation, Place, RawContext, RawEvent, RawUser, Sensitive, Time, Utm, Visit, Visitor, VisitorId,
    },
    privacy::{
        scrub::{self, Posted},
        seal_user,
    },
    web::{Peer, Problem, Word, cut, page_problem, read_body, read_json, user},
};

/// A visit is small; more is a mistake or an attack.
const BODY_BYTES_MAX: usize = 64 << 10;
/// Cookies of the platforms' tags that are looked at.
const COOKIES_MAX: usize = 64;
/// User agents are cut at this.
const USER_AGENT_BYTES_MAX: usize = 1024;
/// The longest a page is believed to have been looked at.
const ENGAGED_MS_MAX: u64 = 4 * 3600 * 1000;

pub(super) fn router(path: &str, capture: Arc<Capture>) -> Router {
    Router::new().route(path, post(visit).options(preflight)).with_state(capture)
}

async fn preflight(State(capture): State<Arc<Capture>>, headers: HeaderMap) -> Response {
    let mut answer = StatusCode::NO_CONTENT.into_response();
    capture.config.sites.from(&headers).allow_posting(answer.headers_mut());
    answer
}

async fn visit(
    State(capture): State<Arc<Capture>>,
    ConnectInfo(Peer(connection)): ConnectInfo<Peer>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let from = capture.config.sites.from(&headers);
    if from == From::Stranger {
        capture.metrics.refused.inc();
        // Anybody can have himself refused here: that may not fill the disk.
        tracing::debug!("refused a visit posted by a page whose origin is not in capture.sites");
        let detail = "the page's origin is not one of this relay's sites; see [capture] sites";
        return Problem::forbidden(detail).into_response();
    }
    let client = capture.config.trusted_proxies.client(connection.ip(), &headers);
    let mut answer = match take(&capture, client, &headers, body).await {
        Ok(answer) => answer,
        Err(problem) => problem.into_response(),
    };
    from.allow(answer.headers_mut());
    answer
}

async fn take(capture: &Arc<Capture>, client: IpAddr, headers: &HeaderMap, body: Body) -> Result<Response, Problem> {
    // No check of the media type: `sendBeacon` sends JSON as text, to need no preflight.
    let body = read_body(body, BODY_BYTES_MAX).await?;
    let wire: VisitWire = read_json(&body, "")?;
    let told = Told::read(capture, wire, client, headers)?;
    // A no on the page that a link led to is about whom the link handed over. A yes of theirs is not taken for one of this
    // browser: the address may have been passed on.
    let subject = told.known.clone().or_else(|| told.handed.clone().filter(|id| told.believes(capture, id)));
    let known = subject.as_ref().map(|id| capture.pipeline.visitor(Some(id), &[])).transpose()?.flatten();
    let its_own = |visitor: &Visitor| told.known.as_ref() == Some(&visitor.id);
    let counts = |visitor: &&Visitor| its_own(visitor) || visitor.consent.ad_user_data == Choice::Denied;
    let stored = known.as_ref().filter(counts).map(|visitor| visitor.consent).unwrap_or_default();
    let known = known.filter(its_own);
    let allowed = told.allowed.or(stored);
    match allowed.keeping(capture.config.require_consent, subject.is_some()) {
        Keeping::All => told.keep(capture, known, allowed.told(), headers).await,
        Keeping::Refusal => told.keep_refusal(capture, subject, allowed.told()).await,
        Keeping::Nothing => {
            let action = told.action.as_ref().map(|(action, _)| action.name.clone());
            capture.count_without_consent(action.as_ref(), told.place == Place::Landing);
            Ok(no_content())
        }
    }
}

/// What a request tells, checked; nothing is stored yet.
struct Told {
    at: Time,
    /// Whom it says it is about.
    known: Option<VisitorId>,
    /// Whom the page's address says it is about.
    handed: Option<VisitorId>,
    allowed: Allowed,
    place: Place,
    visit: Visit,
    clicks: Vec<ClickId>,
    cookies: ReadCookies,
    ip: IpAddr,
    agent: Option<String>,
    screen: Option<crate::model::Screen>,
    person: RawUser,
    keys: Vec<IdentityKey>,
    action: Option<(Action, Option<RawEvent>)>,
    left: Option<Left>,
}

fn invalid(field: &str, why: &str) -> Problem {
    Problem::invalid(format!("/{field}"), format!("{}: {why}", field.replace('/', ".")))
}

impl Told {
    fn read(capture: &Capture, wire: VisitWire, ip: IpAddr, headers: &HeaderMap) -> Result<Self, Problem> {
        let at = capture.clock.now();
        let config = &capture.config;
        let person = user(wire.user.unwrap_or_default().0).map_err(|(field, why)| invalid(field, &why))?;
        let posted = Posted::of(&person);
        let clean = |text: &str| !scrub::identifies(text, &posted);
        let given =
            wire.visitor_id.map(VisitorId::new).transpose().map_err(|why| invalid("visitor_id", &why.to_string()))?;
        if given.as_ref().is_some_and(|id| !clean(id.as_str())) {
            return Err(invalid("visitor_id", "must not contain contact data of the visitor: ids are stored in clear"));
        }
        let page = |field: &str, address: Option<String>| {
            let Some(address) = address.filter(|address| !address.is_empty()) else { return Ok(None) };
            page_problem(&address).map_or(Ok(Some(address)), |why| Err(invalid(field, &why)))
        };
        let url =
            page("url", wire.url)?.ok_or_else(|| invalid("url", "is missing; it is the page the visitor landed on"))?;
        // Referrers are set by browsers and apps (`android-app://…`): an odd one must not cost the visit.
        let referrer = page("referrer", wire.referrer).unwrap_or_default();
        let landing = read_landing(&url, at);
        let sent = wire.cookies.unwrap_or_default().0;
        // The page's own come last, and win: those of the request are older where the two differ. Tags build their cookies
        // from the address of the page, whatever stands there.
        let pairs = cookies::sent(headers).chain(sent.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        let read = read_cookies(pairs.filter(|(_, value)| clean(value)).take(COOKIES_MAX), at);
        let from_url: Vec<ClickId> = landing.clicks.into_iter().filter(|click| clean(&click.value)).collect();
        let clicked = from_url.iter().any(|click| click.kind.names_a_click());
        let clicks = both(from_url, read.clicks.clone());
        let mut keys: Vec<IdentityKey> = seal_user(&person, config.default_country).identity_keys().collect();
        for (field, token) in [("checkout_token", wire.checkout_token), ("cart_token", wire.cart_token)] {
            if let Some(token) = token.filter(|token| !token.is_empty()) {
                if token.len() > 1024 {
                    return Err(invalid(field, "must be at most 1024 bytes"));
                }
                keys.push(IdentityKey::of_token(IdentityKind::CheckoutToken, &token));
            }
        }
        let action = wire.event.map(|action| read_action(capture, action, at)).transpose()?;
        let left = left(wire.engaged_ms, wire.scroll)?;
        let privacy_control = wire.gpc == Some(true) || headers.get("sec-gpc").is_some_and(|value| value == "1");
        let inside = referrer.as_deref().is_some_and(|from| config.sites.inside(from, &url));
        let brought = !landing.utm.is_empty() || clicked || landing.visitor_id.is_some();
        let place = match (&action, left, wire.page) {
            (Some(_), ..) | (_, Some(_), _) => Place::Within,
            (.., Some(true)) => Place::Page,
            _ if inside && !brought => Place::Page,
            _ => Place::Landing,
        };
        let agent = headers.get(header::USER_AGENT).and_then(|agent| agent.to_str().ok());
        let agent = agent.and_then(|agent| scrub::agent(cut(agent.to_owned(), USER_AGENT_BYTES_MAX), &posted));
        let sealed_page = |address: &str| Sensitive::new(scrub::page(&without_ours(address), &posted));
        let utm = without_contacts(scrub::utm(landing.utm, &posted));
        let visit = Visit {
            at,
            url: Some(sealed_page(&url)),
            referrer: referrer.as_deref().map(sealed_page),
            utm,
            ..Visit::default()
        };
        Ok(Self {
            at,
            known: cookies::visitor(headers).filter(|id| clean(id.as_str())).or(given),
            handed: landing.visitor_id.and_then(|id| VisitorId::new(id).ok()).filter(|id| clean(id.as_str())),
            allowed: Allowed::of(wire.consent.unwrap_or_default().0, privacy_control && config.respect_gpc),
            place,
            visit,
            clicks,
            cookies: read,
            ip,
            agent,
            screen: wire.screen.map(|Word(screen)| screen),
            keys,
            action,
            left,
            person,
        })
    }

    fn believes(&self, capture: &Capture, id: &VisitorId) -> bool {
        capture.may_be_handed_over(id, self.agent.as_deref(), self.at)
    }

    /// Stores all of it, and answers with the visitor's id.
    async fn keep(
        self,
        capture: &Arc<Capture>,
        known: Option<Visitor>,
        consent: Consent,
        headers: &HeaderMap,
    ) -> Result<Response, Problem> {
        let handed = self.handed.as_ref().filter(|id| self.known.as_ref() != Some(id));
        let handed = handed.and_then(|id| capture.handed_over(id, self.agent.as_deref(), self.at));
        let visitor_id = self.known.clone().or_else(|| handed.clone()).unwrap_or_else(|| VisitorId::mint(self.at));
        let mut cookies = self.cookies.cookies.clone();
        cookies.fill_from(&known.map(|visitor| visitor.cookies).unwrap_or_default());
        let jar = capture.jar();
        let mut set: Vec<HeaderValue> = jar.visitor(&visitor_id).into_iter().collect();
        if capture.config.meta_cookies {
            let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
            set.extend(jar.mint_meta(host, &mut cookies, &self.clicks, self.at));
        }
        let mut keys = self.keys;
        keys.extend(IdentityKey::of_cookies(&cookies));
        keys.extend(self.clicks.iter().filter_map(IdentityKey::of_click));
        let (action, event) = self.action.map_or((None, None), |(action, event)| (Some(action), event));
        let conversion =
            action.as_ref().and_then(|action| action.transaction.map(|digest| (action.name.clone(), digest)));
        keys.extend(
            conversion.as_ref().map(|(_, digest)| IdentityKey { kind: IdentityKind::Conversion, digest: *digest }),
        );
        let (ip, agent) = (Some(Sensitive::new(self.ip)), self.agent.map(Sensitive::new));
        let event = event.map(|event| {
            let Visit { url, referrer, .. } = self.visit.clone();
            let context = RawContext {
                ip: ip.clone(),
                user_agent: agent.clone(),
                url,
                referrer,
                cookies: cookies.clone(),
                clicks: Vec::new(),
                utm: Utm::default(),
                checkout_tokens: Vec::new(),
            };
            let visitor_id = Some(visitor_id.clone());
            let action_source = Some(ActionSource::Website);
            RawEvent { visitor_id, context, consent, user: self.person, action_source, ..event }
        });
        let landed = (self.place == Place::Landing).then(|| self.handed.clone()).flatten();
        let seen = Observation {
            place: self.place,
            clicks: self.clicks,
            cookies,
            browser_ids: self.cookies.browser_ids,
            consent,
            ip,
            user_agent: agent,
            screen: self.screen,
            keys,
            action,
            left: self.left,
            same_as: handed.filter(|id| *id != visitor_id),
            ..Observation::new(visitor_id.clone(), self.visit)
        };
        capture.saw(seen, landed.as_ref()).await?;
        let routed =
            |(name, _): &(EventName, Digest)| capture.pipeline.routes().iter().any(|route| route.events.contains(name));
        // Names that pages make up are not waited for.
        if let Some((name, digest)) = conversion.filter(routed) {
            capture.pipeline.twins.by_browser(&name, digest, self.at);
        }
        if let Some(event) = event {
            capture.pipeline.accept(vec![event]).await?;
        }
        answer(&visitor_id, set)
    }

    /// Stores that the visitor said no, and has its browser forget the id.
    async fn keep_refusal(
        self,
        capture: &Arc<Capture>,
        subject: Option<VisitorId>,
        consent: Consent,
    ) -> Result<Response, Problem> {
        let known = self.known.is_some();
        let visitor_id = subject.unwrap_or_else(|| VisitorId::mint(self.at));
        let seen = Observation {
            place: Place::Within,
            consent,
            keys: self.keys,
            withdrawn: true,
            ..Observation::new(visitor_id.clone(), Visit { at: self.at, ..Visit::default() })
        };
        capture.saw(seen, None).await?;
        if capture.config.require_consent {
            let mut answer = no_content();
            for cookie in capture.jar().delete() {
                answer.headers_mut().append(header::SET_COOKIE, cookie);
            }
            return Ok(answer);
        }
        // Where no yes is needed, the no is remembered by the id it is stored with.
        let set = capture.jar().visitor(&visitor_id).into_iter().filter(|_| !known).collect();
        answer(&visitor_id, set)
    }
}

fn left(engaged_ms: Option<u64>, scroll: Option<u64>) -> Result<Option<Left>, Problem> {
    if scroll.is_some_and(|percent| percent > 100) {
        return Err(invalid("scroll", "must be a whole number from 0 to 100"));
    }
    let seconds = |ms: u64| u32::try_from(ms.min(ENGAGED_MS_MAX) / 1000).unwrap_or(u32::MAX);
    let percent = scroll.and_then(|percent| u8::try_from(percent).ok());
    Ok(engaged_ms.map(|ms| Left { engaged_s: seconds(ms), scroll: percent.unwrap_or(0) }))
}

/// What the visitor did, and the event it becomes if its name is one that pages may report and somebody wants it.
fn read_action(capture: &Capture, wire: ActionWire, at: Time) -> Result<(Action, Option<RawEvent>), Problem> {
    let ActionWire { name, fields } = wire;
    let mut body = Map::from_iter([("event".to_owned(), Value::from(name))]);
    body.extend(fields);
    let body = Value::Object(body).to_string();
    let event = (capture.read_event)(body.as_bytes(), &capture.config.source, at).map_err(|mut problem| {
        // In there, the name is called `event`.
        let pointer =
            problem.pointer.take().map(|pointer| if pointer == "/event" { "/name".to_owned() } else { pointer });
        problem.pointer = Some(format!("/event{}", pointer.unwrap_or_default()));
        problem
    })?;
    let digest = |transaction: &str| IdentityKey::of_conversion(event.name.as_str(), transaction).digest;
    let transaction: Option<Digest> = event.transaction_id.as_ref().map(|id| digest(id.as_str()));
    let action = Action { at, name: event.name.clone(), transaction, money: event.money };
    let wanted = capture.config.events.contains(&event.name) && is_wanted(capture, &event.name);
    Ok((action, wanted.then_some(event)))
}

/// Whether a destination takes events of this name from pages.
fn is_wanted(capture: &Capture, name: &EventName) -> bool {
    let takes = |sources: &Option<std::collections::HashSet<_>>| {
        sources.as_ref().is_none_or(|sources| sources.contains(&capture.config.source))
    };
    capture.pipeline.routes().iter().any(|route| route.events.contains(name) && takes(&route.sources))
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

fn no_content() -> Response {
    ([(header::CACHE_CONTROL, "no-store")], StatusCode::NO_CONTENT).into_response()
}

fn answer(visitor_id: &VisitorId, set: Vec<HeaderValue>) -> Result<Response, Problem> {
    let body = serde_json::to_vec(&json!({ "visitor_id": visitor_id })).map_err(|_| Problem::internal())?;
    let mut answer = ([(header::CONTENT_TYPE, "application/json")], body).into_response();
    let headers = answer.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    for cookie in set {
        headers.append(header::SET_COOKIE, cookie);
    }
    Ok(answer)
}
