//! Tracked links: `GET /l/{slug}` on every host, `GET /{slug}` on link hosts.
//!
//! The answer needs the link and the request's headers, and nothing else: no disk, no lock that anybody holds for long. What
//! came of the request goes as one `Hit` into a bounded queue to one writer (`writer.rs`), which judges it, appends its row and
//! tells the pipeline of the visitor.
//!
//! A stopped relay writes every hit it answered. A killed one loses those that its writer had not appended: in practice
//! what came within the last milliseconds (`writer::GATHER`, and the time of a write), at most what the queue
//! ([`Config::queue_max`]) and the writer's hands (`writer::BATCH_MAX`) hold.

mod agents;
mod answers;
mod metrics;
mod row;
#[cfg(test)]
mod tests;
mod writer;

use std::{
    hash::{BuildHasher as _, RandomState},
    net::IpAddr,
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    extract::{ConnectInfo, Request, State},
    http::{HeaderMap, HeaderValue, Method, header},
    middleware::{self, Next},
    response::Response,
    routing::get,
};
use percent_encoding::percent_decode_str;
use tokio::sync::mpsc;
use ulid::Ulid;

use super::{
    Countries,
    cookies::{self, Jar},
    truth::{Asked, Fingerprints, Lately, Qa, Signs, Who, cookie},
};
use crate::{
    agents::{Agent, Agents},
    links::{Onward, is_reserved, pick},
    model::{Clock, Link, LinkState, RawUser, Secret, Time, Utm, UtmRule, VisitorId},
    pipeline::Pipeline,
    privacy::scrub::{self, Posted},
    store::{Amendment, ClickStore},
    tracking::{Links, drift::Drift},
    web::{Network, Peer, TrustedProxies},
};

pub use metrics::Metrics;
pub use writer::Writer;

use agents::Reader;
use answers::Missing;

/// How long an id that was handed over is taken from the landing page's address.
const HANDED_OVER: Duration = Duration::from_secs(30 * 60);
/// Ids handed over and not yet too old, at most.
const HANDED_OVER_MAX: usize = 100_000;
/// How long an answer waits for room in the queue.
const ROOM_WAIT: Duration = Duration::from_secs(1);
/// The longest slug that is looked for.
const SLUG_BYTES_MAX: usize = 64;

/// Settings of tracked links; `[links]`, and what `[capture]` and `[public]` say for them.
#[derive(Clone, Debug)]
pub struct Config {
    /// Hosts of links, in lower case.
    pub hosts: Vec<String>,
    /// Where links lead that do not exist, or not any more.
    pub fallback: Option<String>,
    /// Whose UTM values win, where a link does not say.
    pub utm: UtmRule,
    /// What the operator's own people put into `cr_qa`.
    pub qa_token: Option<Secret>,
    /// Where the operator's own people are.
    pub qa_networks: Vec<Network>,
    /// How long a visitor's next click on the same link is a repetition.
    pub duplicate_window: Duration,
    /// Hits that wait to be written, at most.
    pub queue_max: usize,
    /// Paths of one part that the relay itself serves on every host, such as `/t.js`.
    pub own_paths: Vec<String>,
    /// Proxies whose headers are believed.
    pub trusted_proxies: TrustedProxies,
    /// The domain of the visitor's cookie, where the link's host is in it.
    pub cookie_domain: Option<String>,
    /// How long browsers keep the visitor's cookie.
    pub cookie_life: Duration,
    /// Whether ids need the visitor's consent. A click carries none: then only a cookie that is there already counts.
    pub require_consent: bool,
    /// Whether `Sec-GPC: 1` stands for a no.
    pub respect_gpc: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            hosts: Vec::new(),
            fallback: None,
            utm: UtmRule::default(),
            qa_token: None,
            qa_networks: Vec::new(),
            duplicate_window: Duration::from_secs(10),
            queue_max: 10_000,
            own_paths: Vec::new(),
            trusted_proxies: TrustedProxies::default(),
            cookie_domain: None,
            cookie_life: Duration::from_secs(400 * 86_400),
            require_consent: false,
            respect_gpc: true,
        }
    }
}

/// What links need of the rest of the relay.
pub struct Tools {
    /// Which links there are.
    pub links: Arc<Links>,
    /// Where rows go.
    pub clicks: Arc<dyn ClickStore>,
    /// Where visitors go.
    pub pipeline: Arc<Pipeline>,
    /// Where UTM values are noted that nobody registered.
    pub drift: Option<Arc<Drift>>,
    /// Who reads user agents.
    pub agents: Agents,
    /// Who knows countries.
    pub countries: Arc<Countries>,
    /// What tells the time.
    pub clock: Arc<dyn Clock>,
    /// What is counted.
    pub metrics: Metrics,
}

/// One request for a link, as it was answered.
#[derive(Debug)]
struct Hit {
    id: Ulid,
    at: Time,
    link: Arc<Link>,
    /// Why the link does not lead to its destination.
    missing: Option<Missing>,
    signs: Signs,
    agent: Agent,
    client: IpAddr,
    user_agent: String,
    country: Option<String>,
    referrer: Option<String>,
    who: Who,
    /// Whether nothing may be kept that tells this browser from another.
    anonymous: bool,
    split: Option<u16>,
    /// Where to; `None` if nowhere.
    location: Option<HeaderValue>,
}

/// What the writer gets.
#[derive(Debug)]
enum Message {
    Hit(Box<Hit>),
    Landed(Amendment),
}

/// An id that was handed over to a landing page.
#[derive(Debug)]
struct Handed {
    row: Ulid,
    user_agent: u64,
    landed: bool,
}

/// Tracked links as they are asked for.
pub struct Redirects {
    config: Config,
    qa: Qa,
    links: Arc<Links>,
    agents: RwLock<Arc<Reader>>,
    countries: Arc<Countries>,
    clock: Arc<dyn Clock>,
    metrics: Metrics,
    fingerprints: Arc<Fingerprints>,
    handed_over: Mutex<Lately<VisitorId, Handed>>,
    /// Tells user agents apart without keeping them.
    hashing: RandomState,
    queue: mpsc::Sender<Message>,
    /// Whether rows cannot be written at the moment: then nobody waits for room.
    failing: Arc<AtomicBool>,
}

impl Redirects {
    /// Links, and the writer of what comes of them, which has to be run. It ends when everybody has dropped the links.
    #[must_use]
    pub fn new(config: Config, tools: Tools) -> (Arc<Self>, Writer) {
        let (queue, waiting) = mpsc::channel(config.queue_max.max(1));
        let fingerprints = Arc::new(Fingerprints::new(rand::random));
        let failing = Arc::new(AtomicBool::new(false));
        let qa = Qa { token: config.qa_token.clone(), networks: config.qa_networks.clone() };
        let writer = Writer::new(&config, &tools, waiting, Arc::clone(&fingerprints), Arc::clone(&failing));
        let Tools { links, agents, countries, clock, metrics, .. } = tools;
        let redirects = Self {
            qa,
            links,
            agents: RwLock::new(Arc::new(Reader::new(agents))),
            countries,
            clock,
            metrics,
            fingerprints,
            handed_over: Mutex::new(Lately::new(HANDED_OVER, HANDED_OVER_MAX)),
            hashing: RandomState::new(),
            queue,
            failing,
            config,
        };
        (Arc::new(redirects), writer)
    }

    /// The routes of `/l/`.
    pub fn router(self: &Arc<Self>) -> Router {
        Router::new().route("/l/{slug}", get(below_l)).route("/l/{slug}/", get(below_l)).with_state(Arc::clone(self))
    }

    /// `routes`, with the links of link hosts in front of them.
    pub fn in_front_of(self: &Arc<Self>, routes: Router) -> Router {
        if self.config.hosts.is_empty() {
            return routes;
        }
        routes.layer(middleware::from_fn_with_state(Arc::clone(self), on_link_hosts))
    }

    /// Reads user agents by another list from now on.
    pub fn set_agents(&self, agents: Agents) {
        *self.agents.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(Reader::new(agents));
    }

    /// Whether a link handed `visitor` over to this browser within the last half hour.
    pub(super) fn handed(&self, visitor: &VisitorId, user_agent: &str, now: Time) -> bool {
        let handed_over = self.handed_over.lock().unwrap_or_else(PoisonError::into_inner);
        let handed = handed_over.get(visitor, now);
        handed.is_some_and(|(_, handed)| handed.user_agent == self.hashing.hash_one(cut(user_agent)))
    }

    /// Whether `visitor` was handed over to a landing page by a link within the last half hour, and to this browser: then
    /// its click is noted to have led to a page. Anybody can write an id into an address.
    pub fn landed(&self, visitor: &VisitorId, user_agent: &str, now: Time) -> bool {
        let amendment = {
            let mut handed_over = self.handed_over.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(handed) = handed_over.get_mut(visitor, now) else { return false };
            if handed.user_agent != self.hashing.hash_one(cut(user_agent)) {
                return false;
            }
            if std::mem::replace(&mut handed.landed, true) {
                return true;
            }
            row::landing(handed.row, now)
        };
        // It only adds to a row: where there is no room for it, the next page of the visit does not try again.
        let _full = self.queue.try_send(Message::Landed(amendment));
        true
    }

    /// The answer, and what is to be written of it.
    fn answer(&self, request: &Request, host: Option<&str>, slug: &str) -> (Response, Option<Box<Hit>>) {
        let now = self.clock.now();
        let Some(link) = self.find(host, slug) else {
            self.metrics.unknown.inc();
            let query = request.uri().query().unwrap_or("");
            let answer = match self.fallback(query, None) {
                Some(location) => answers::redirect(location, None),
                None => answers::missing(Missing::Unknown, request.headers()),
            };
            return (answer, None);
        };
        let peer =
            request.extensions().get::<ConnectInfo<Peer>>().map(|ConnectInfo(Peer(peer))| peer.ip().to_canonical());
        // Every listener says who connects.
        let peer = peer.unwrap_or(IpAddr::from([0, 0, 0, 0]));
        let (hit, cookie) = self.hit(request, peer, link, now);
        let answer = match (&hit.location, hit.missing) {
            (Some(location), _) => answers::redirect(location.clone(), cookie),
            (None, missing) => answers::missing(missing.unwrap_or(Missing::Unknown), request.headers()),
        };
        (answer, Some(hit))
    }

    fn find(&self, host: Option<&str>, slug: &str) -> Option<Arc<Link>> {
        // A key as text may hold a host, which only the request's own host may choose.
        if slug.len() > SLUG_BYTES_MAX || slug.contains('/') {
            return None;
        }
        if slug.bytes().any(|b| b.is_ascii_uppercase()) {
            return self.links.find(host, &slug.to_ascii_lowercase());
        }
        self.links.find(host, slug)
    }

    fn fallback(&self, query: &str, visitor: Option<&str>) -> Option<HeaderValue> {
        let destination = self.config.fallback.as_deref()?;
        location(&Onward { destination, utm: &Utm::default(), rule: self.config.utm, query, visitor })
    }

    /// What the request is as far as it tells by itself, and the cookie to be set.
    fn hit(&self, request: &Request, peer: IpAddr, link: Arc<Link>, at: Time) -> (Box<Hit>, Option<HeaderValue>) {
        let (headers, query) = (request.headers(), request.uri().query().unwrap_or(""));
        let proxies = &self.config.trusted_proxies;
        let client = proxies.client(peer, headers);
        let user_agent = headers.get(header::USER_AGENT).and_then(|agent| agent.to_str().ok());
        let agent = Arc::clone(&self.agents.read().unwrap_or_else(PoisonError::into_inner)).read(user_agent);
        let user_agent = cut(user_agent.unwrap_or(""));
        let asked = Asked { method: request.method(), query, headers, peer, client };
        let signs = Signs::read(&asked, &agent, &self.qa, proxies);
        let (who, anonymous) = self.who(headers, &signs, at);
        let missing = Missing::of(&link, at);
        let visitor = match &who {
            Who::Known(id) | Who::New(Some(id)) => Some(id),
            Who::New(None) => None,
        };
        let (location, split) = match missing {
            Some(_) => (self.fallback(query, visitor.map(VisitorId::as_str)), None),
            None => self.onward(&link, query, visitor, || self.fingerprints.of(client, user_agent, at)),
        };
        let id = Ulid::from_parts(u64::try_from(at.as_ms()).unwrap_or(0), rand::random());
        if let (Some(visitor), Some(_)) = (visitor, &location) {
            let handed = Handed { row: id, user_agent: self.hashing.hash_one(user_agent), landed: false };
            self.handed_over.lock().unwrap_or_else(PoisonError::into_inner).put(visitor.clone(), handed, at);
        }
        // With consent required a cookie that is there was allowed for as long as it was given.
        let cookie = visitor.filter(|_| location.is_some() && !self.config.require_consent);
        let cookie = cookie.and_then(|visitor| self.cookie(visitor, request));
        let hit = Hit {
            country: self.countries.country(peer, client, headers),
            referrer: row::referrer(headers),
            user_agent: user_agent.to_owned(),
            id,
            at,
            link,
            missing,
            signs,
            agent,
            client,
            who,
            anonymous,
            split,
            location,
        };
        (Box::new(hit), cookie)
    }

    /// Who asks, and whether that may not be known.
    fn who(&self, headers: &HeaderMap, signs: &Signs, at: Time) -> (Who, bool) {
        if self.config.respect_gpc && headers.get("sec-gpc").is_some_and(|value| value == "1") {
            return (Who::New(None), true);
        }
        if signs.head || !row::may_be_a_person(signs.verdict()) {
            return (Who::New(None), self.config.require_consent);
        }
        match cookie(headers, cookies::VISITOR).and_then(visitor_id) {
            Some(id) => (Who::Known(id), false),
            None if self.config.require_consent => (Who::New(None), true),
            None => (Who::New(Some(VisitorId::mint(at))), false),
        }
    }

    /// Where the link leads, and by which of its destinations.
    fn onward(
        &self,
        link: &Link,
        query: &str,
        visitor: Option<&VisitorId>,
        fingerprint: impl FnOnce() -> u64,
    ) -> (Option<HeaderValue>, Option<u16>) {
        let picked = (!link.split.is_empty()).then(|| match visitor {
            Some(visitor) => pick(&link.split, &link.key, visitor.as_str().as_bytes()),
            None => pick(&link.split, &link.key, &fingerprint().to_le_bytes()),
        });
        let picked = picked.flatten().and_then(|place| Some((link.split.get(place)?, u16::try_from(place).ok()?)));
        let destination = picked.map_or(link.destination.as_str(), |(split, _)| &split.destination);
        let rule = link.utm_rule.unwrap_or(self.config.utm);
        let visitor = visitor.map(VisitorId::as_str);
        let location = location(&Onward { destination, utm: &link.utm, rule, query, visitor });
        (location, picked.map(|(_, place)| place))
    }

    fn cookie(&self, visitor: &VisitorId, request: &Request) -> Option<HeaderValue> {
        let domain = self.config.cookie_domain.clone();
        // Browsers refuse a cookie for a domain that the host is not in.
        let domain = domain.filter(|domain| host_of(request).is_some_and(|host| is_in(host, domain)));
        Jar { domain, life: self.config.cookie_life }.visitor(visitor)
    }

    /// Gives a hit to the writer.
    async fn send(&self, hit: Option<Box<Hit>>) {
        let Some(hit) = hit else { return };
        let Err(error) = self.queue.try_send(Message::Hit(hit)) else { return };
        let mpsc::error::TrySendError::Full(hit) = error else { return self.metrics.lose(1, self.clock.now()) };
        let wait = if self.failing.load(Ordering::Relaxed) { Duration::ZERO } else { ROOM_WAIT };
        if tokio::time::timeout(wait, self.queue.send(hit)).await.is_err() {
            self.metrics.lose(1, self.clock.now());
        }
    }

    /// The link host that a request is for, and the slug it asks for there.
    fn on_link_host<'a>(&'a self, request: &'a Request) -> Option<(&'a str, &'a str)> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return None;
        }
        let asked = host_of(request)?;
        let host = self.config.hosts.iter().find(|host| host.eq_ignore_ascii_case(asked))?;
        let path = request.uri().path();
        let slug = path.strip_prefix('/')?;
        let slug = slug.strip_suffix('/').unwrap_or(slug);
        let stem = slug.split('.').next().unwrap_or("");
        let ours = slug.contains('/') || (!slug.is_empty() && stem.is_empty()) || is_reserved(stem);
        (!ours && !self.config.own_paths.iter().any(|own| own == path)).then_some((host.as_str(), slug))
    }
}

async fn below_l(State(redirects): State<Arc<Redirects>>, request: Request) -> Response {
    let slug = request.uri().path().strip_prefix("/l/").unwrap_or("");
    let slug = decoded(slug.strip_suffix('/').unwrap_or(slug));
    let (answer, hit) = redirects.answer(&request, None, &slug);
    redirects.send(hit).await;
    answer
}

async fn on_link_hosts(State(redirects): State<Arc<Redirects>>, request: Request, next: Next) -> Response {
    let asked = redirects.on_link_host(&request);
    let answered = asked.map(|(host, slug)| redirects.answer(&request, Some(host), &decoded(slug)));
    let Some((answer, hit)) = answered else { return next.run(request).await };
    redirects.send(hit).await;
    answer
}

fn decoded(slug: &str) -> std::borrow::Cow<'_, str> {
    percent_decode_str(slug).decode_utf8_lossy()
}

fn location(onward: &Onward<'_>) -> Option<HeaderValue> {
    // What is composed can always be a header; an answer without an address would be worse than none.
    HeaderValue::try_from(onward.address()).ok()
}

/// The host a request is for, without its port.
fn host_of(request: &Request) -> Option<&str> {
    let host = match request.uri().host() {
        Some(host) => host,
        None => request.headers().get(header::HOST)?.to_str().ok()?,
    };
    let port = host.rfind(':').filter(|at| !host[*at..].contains(']'));
    Some(host[..port.unwrap_or(host.len())].trim_end_matches('.'))
}

fn is_in(host: &str, domain: &str) -> bool {
    let Some(start) = host.len().checked_sub(domain.len()) else { return false };
    host.get(start..).is_some_and(|end| end.eq_ignore_ascii_case(domain))
        && (start == 0 || host.as_bytes()[start - 1] == b'.')
}

/// The id of a cookie, if it can be kept, handed over and set again.
fn visitor_id(text: &str) -> Option<VisitorId> {
    let plain = text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.:~".contains(&b));
    // Ids that are minted here hold nothing.
    let clean = || Ulid::from_string(text).is_ok() || !scrub::identifies(text, &Posted::of(&RawUser::default()));
    VisitorId::new(text).ok().filter(|_| plain && clean())
}

/// As much of a user agent as is looked at.
fn cut(user_agent: &str) -> &str {
    // Headers read as text are ASCII: no character is cut.
    user_agent.get(..row::USER_AGENT_BYTES_MAX).unwrap_or(user_agent)
}

impl Missing {
    fn of(link: &Link, now: Time) -> Option<Self> {
        match link.state {
            LinkState::Paused => Some(Self::Paused),
            LinkState::Pending => Some(Self::Pending),
            LinkState::Live => link.expires_at.is_some_and(|end| end <= now).then_some(Self::Expired),
        }
    }
}
