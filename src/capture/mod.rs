//! What browsers tell: visits with what led to them, steps on the way, and what the visitor allowed. Later conversions are
//! joined to it.

mod allowed;
mod cookies;
mod country;
pub mod privacy_page;
pub mod redirect;
mod sites;
mod tag;
mod truth;
mod visits;
mod wire;

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

pub use country::{Attribution, Countries, GeoError};

use axum::Router;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};

use crate::{
    links::contact,
    model::{Clock, EventName, Observation, Place, RawEvent, SourceName, Time, Utm, VisitorId},
    pipeline::Pipeline,
    privacy::Country,
    store::StoreError,
    tracking::drift::Drift,
    web::{Problem, TrustedProxies},
};

pub use sites::{Site, Sites};

use cookies::Jar;
use redirect::Redirects;
use tag::TagSettings;
use truth::Lately;

/// How long after it was seen a visitor may be handed over to another site. Addresses get passed on: whoever opens one
/// later is somebody else.
const HANDED_OVER_WITHIN: Duration = Duration::from_secs(30 * 60);

/// Ids taken over that are remembered, at most.
const TAKEN_OVER_MAX: usize = 100_000;

/// Settings of capture; `[capture]`.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where visits are posted.
    pub visits_path: String,
    /// Where the tag is.
    pub tag_path: String,
    /// Where the page is that tells visitors what is kept.
    pub privacy_path: String,
    /// Whose pages may post visits.
    pub sites: Sites,
    /// Hosts that links are decorated for.
    pub own_domains: Vec<String>,
    /// The domain of cookies; `None` for the relay's host alone.
    pub cookie_domain: Option<String>,
    /// How long the visitor's cookie is kept; browsers keep none longer than 400 days.
    /// Source: <https://developer.chrome.com/blog/cookie-max-age-expires>, read 2026-11-20.
    pub cookie_life: Duration,
    /// Whether nothing is kept without a yes.
    pub require_consent: bool,
    /// Whether Global Privacy Control is a no.
    pub respect_gpc: bool,
    /// Whether Meta's cookies are set for browsers without them.
    pub meta_cookies: bool,
    /// Names that pages may report as events of their own.
    pub events: BTreeSet<EventName>,
    /// What these events have as their source.
    pub source: SourceName,
    /// Proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: TrustedProxies,
    /// Region of phone numbers written without a country code.
    pub default_country: Option<Country>,
}

/// Reads an event as `POST /v1/events` has it.
pub type ReadEvent = fn(&[u8], &SourceName, Time) -> Result<RawEvent, Problem>;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WithoutConsent {
    what: String,
}

/// UTM values without those that hold an e-mail address or a phone number: links in mails carry them.
fn without_contacts(utm: Utm) -> Utm {
    let clean = |value: Option<String>| value.filter(|value| !contact::holds(value));
    Utm {
        source: clean(utm.source),
        medium: clean(utm.medium),
        campaign: clean(utm.campaign),
        content: clean(utm.content),
        term: clean(utm.term),
    }
}

/// What capture counts.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    refused: Counter,
    without_consent: Family<WithoutConsent, Counter>,
}

impl Metrics {
    /// Adds them to a registry.
    pub fn register(&self, registry: &mut Registry) {
        let help = "Landings, other pages and steps of visitors of whom nothing may be kept";
        registry.register("seen_without_consent", help, self.without_consent.clone());
        let help = "Visits posted by pages whose origin is not in capture.sites";
        registry.register("visits_refused", help, self.refused.clone());
    }
}

/// What the handlers share.
pub struct Capture {
    /// Its settings.
    pub config: Config,
    /// Where visits and events go.
    pub pipeline: Arc<Pipeline>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// How events of pages are read.
    pub read_event: ReadEvent,
    /// What it counts.
    pub metrics: Metrics,
    /// Links, which hand visitors over; `None` where there are none.
    pub redirects: Option<Arc<Redirects>>,
    /// Where UTM values are noted that nobody registered.
    pub drift: Option<Arc<Drift>>,
    /// Ids that a landing page took over lately.
    pub taken_over: TakenOver,
}

/// Ids that were handed over and are somebody's now.
pub struct TakenOver(Mutex<Lately<VisitorId, ()>>);

impl Default for TakenOver {
    fn default() -> Self {
        Self(Mutex::new(Lately::new(HANDED_OVER_WITHIN * 2, TAKEN_OVER_MAX)))
    }
}

impl Capture {
    fn jar(&self) -> Jar {
        Jar { domain: self.config.cookie_domain.clone(), life: self.config.cookie_life }
    }

    /// Whether an id in the address of a page may be that of the browser that has it open: a link handed it over just now, or
    /// another own site did, to this browser.
    fn may_be_handed_over(&self, id: &VisitorId, agent: Option<&str>, now: Time) -> bool {
        let by_link = |redirects: &Arc<Redirects>| redirects.handed(id, agent.unwrap_or_default(), now);
        if self.redirects.as_ref().is_some_and(by_link) {
            return true;
        }
        let Some(visitor) = self.pipeline.visitor(Some(id), &[]).ok().flatten() else { return false };
        let same = visitor.user_agent.as_ref().map(|agent| agent.expose().as_str()) == agent;
        same && now.since(visitor.last_seen) <= HANDED_OVER_WITHIN
    }

    /// The visitor that the address of a page hands over, if that is believable. Once: addresses are passed on, and whoever
    /// opens one later is somebody else.
    fn handed_over(&self, id: &VisitorId, agent: Option<&str>, now: Time) -> Option<VisitorId> {
        if !self.may_be_handed_over(id, agent, now) {
            return None;
        }
        let mut taken = self.taken_over.0.lock().unwrap_or_else(PoisonError::into_inner);
        if taken.get(id, now).is_some() {
            return None;
        }
        taken.put(id.clone(), (), now);
        Some(id.clone())
    }

    /// Stores what was seen; `landed` is the visitor that the address of the landing page names.
    async fn saw(&self, seen: Observation, landed: Option<&VisitorId>) -> Result<(), StoreError> {
        let agent = seen.user_agent.as_ref().map_or("", |agent| agent.expose());
        let by_link = |(redirects, id): (&Arc<Redirects>, &VisitorId)| redirects.landed(id, agent, seen.visit.at);
        let by_link = self.redirects.as_ref().zip(landed).is_some_and(by_link);
        // The values of a link were noted when it was clicked.
        if let Some(drift) = self.drift.as_ref().filter(|_| seen.place == Place::Landing && !by_link) {
            drift.note_all(&seen.visit.utm, seen.visit.at);
        }
        self.pipeline.visit(seen).await
    }

    /// Counts what is all that may be kept.
    fn count_without_consent(&self, action: Option<&EventName>, landing: bool) {
        let known = |name: &&EventName| self.config.events.contains(*name);
        let what = match action {
            // Names are the page's: only those that are configured are told apart.
            Some(_) => action.filter(known).map_or("step", EventName::as_str),
            None if landing => "landing",
            None => "page",
        };
        self.metrics.without_consent.get_or_create(&WithoutConsent { what: what.to_owned() }).inc();
    }
}

/// The routes of capture.
pub fn router(capture: Arc<Capture>) -> Router {
    let Config { visits_path, tag_path, own_domains, cookie_life, require_consent, .. } = capture.config.clone();
    let settings = TagSettings { visits_path: visits_path.clone(), own_domains, cookie_life, require_consent };
    tag::router(&tag_path, &settings).merge(visits::router(&visits_path, capture))
}
