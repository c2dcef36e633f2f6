//! Failing on demand. Several faults of one platform can be in force at once; how each is asked for is in [`request`].
//!
//! Nothing here is random, so that a run can be repeated: shares and ranges are spread evenly over the requests.

mod request;
#[cfg(test)]
mod tests;

use std::{
    collections::HashSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    RequestExt,
    body::Body,
    extract::{DefaultBodyLimit, Request},
    http::{HeaderValue, header},
    response::Response,
};
use serde::{Deserialize, Serialize};

pub use request::{FaultRequest, InvalidFault};

use super::{ledger::key, lock};
use crate::model::Time;

/// Faults that one platform can have at once; the oldest go first.
const FAULTS_MAX: usize = 32;
/// Ids that a `poison_every` fault tells apart; what comes after that many is not poisoned.
const SEEN_MAX: usize = 5_000_000;
/// The largest share that can be said: all requests.
const MILLION: u32 = 1_000_000;

/// One of the stand-ins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Platform {
    /// Meta Conversions API.
    Meta,
    /// Data Manager API.
    DataManager,
    /// Google Ads API.
    GoogleAds,
    /// Google's token endpoint.
    Oauth,
    /// GA4 Measurement Protocol.
    Ga4,
}

impl Platform {
    /// Every stand-in.
    pub const ALL: [Self; 5] = [Self::Meta, Self::DataManager, Self::GoogleAds, Self::Oauth, Self::Ga4];

    /// Its name in the control API and on the command line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Meta => "meta",
            Self::DataManager => "data_manager",
            Self::GoogleAds => "google_ads",
            Self::Oauth => "oauth",
            Self::Ga4 => "ga4",
        }
    }

    /// The stand-in of this name.
    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|platform| platform.as_str() == name)
    }

    /// The stand-in that serves this path.
    fn at(path: &str) -> Option<Self> {
        match path.split('/').nth(1)? {
            "meta" => Some(Self::Meta),
            "google" => Some(Self::DataManager),
            "google-ads" => Some(Self::GoogleAds),
            "oauth" => Some(Self::Oauth),
            "ga4" => Some(Self::Ga4),
            _ => None,
        }
    }
}

/// How a stand-in fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultMode {
    /// Not at all.
    #[default]
    None,
    /// Refuses everything with a 503; nothing is taken.
    Outage,
    /// Refuses [`Fault::share_ppm`] of the requests with a 500, or with [`Fault::status`]; nothing of them is taken.
    ErrorRate,
    /// Refuses everything as too much; nothing is taken. Meta: code 80004 with the wait in
    /// `X-Business-Use-Case-Usage`. Google: 429, Google Ads with the wait in `retryDelay`. All with `Retry-After` if the fault says how long.
    Throttle,
    /// Works, and answers only after the fault's delay: whoever stops waiting does not know that it worked.
    Slow,
    /// Works, and never answers: the connection stays open until the sender gives up.
    Hang,
    /// Meta: code 190, subcode 463. Data Manager and Google Ads: 401, and the token that came is not good any more, so that
    /// for one request a new token works. Token endpoint: `invalid_grant`. GA4: 204 as always, and nothing is taken.
    ExpiredToken,
    /// Takes all events of a request but those of [`Fault::ids`]; without ids, all but the last. Meta: `events_received`
    /// is that much less. Data Manager: the status of the request is `PARTIAL_SUCCESS`, or `FAILED` if it was all. Google
    /// Ads: `INTERNAL_ERROR` for the row. GA4: 204 as always. Token endpoint: no effect.
    Partial,
    /// Refuses the events of [`Fault::ids`], or every [`Fault::every`]th id, for good. Meta: the whole request with
    /// code 100, without saying which event. Data Manager: the whole request, naming the index. GA4: says nothing.
    /// Token endpoint: no effect.
    Poison,
    /// Closes the connection before the request's body is read; nothing is taken.
    Cut,
    /// Works, and closes the connection instead of answering.
    Reset,
    /// Meta: works, and says in `X-Business-Use-Case-Usage` that so much of the limit is used. Others: no effect.
    Usage,
}

impl FaultMode {
    /// Every mode.
    const ALL: [Self; 12] = [
        Self::None,
        Self::Outage,
        Self::ErrorRate,
        Self::Throttle,
        Self::Slow,
        Self::Hang,
        Self::ExpiredToken,
        Self::Partial,
        Self::Poison,
        Self::Cut,
        Self::Reset,
        Self::Usage,
    ];

    /// The word for it, in the control API and among the reasons of refusals.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Outage => "outage",
            Self::ErrorRate => "error_rate",
            Self::Throttle => "throttle",
            Self::Slow => "slow",
            Self::Hang => "hang",
            Self::ExpiredToken => "expired_token",
            Self::Partial => "partial",
            Self::Poison => "poison",
            Self::Cut => "cut",
            Self::Reset => "reset",
            Self::Usage => "usage",
        }
    }

    /// Which one shows if several stop a request before it is looked at; 0: it stops none.
    const fn stops(self) -> u8 {
        match self {
            Self::Outage => 4,
            Self::ErrorRate => 3,
            Self::Throttle => 2,
            Self::ExpiredToken => 1,
            _ => 0,
        }
    }
}

/// A way to fail, and for how long.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fault {
    /// How.
    pub mode: FaultMode,
    /// How long each answer is held back, after the work is done. Goes with every mode.
    pub delay: Duration,
    /// The longest that an answer is held back, if that differs from one to the next.
    pub delay_max: Option<Duration>,
    /// What `Throttle`, `Outage` and `ErrorRate` say about when to come back, in whole seconds.
    pub retry_after: Option<Duration>,
    /// How many requests it hits before it ends by itself; `None`: it stays.
    pub for_requests: Option<u64>,
    /// When it begins; `None`: at once.
    pub begins: Option<Time>,
    /// When it ends; `None`: it stays.
    pub ends: Option<Time>,
    /// How many of a million requests `ErrorRate` hits.
    pub share_ppm: u32,
    /// What `ErrorRate` answers with; `None`: 500.
    pub status: Option<u16>,
    /// The events of `Partial` and `Poison`, by event id or transaction id.
    pub ids: Vec<String>,
    /// `Poison` hits every so many-th id that comes in, each time it comes again too.
    pub every: Option<u64>,
    /// How much of the limit is used, for `Usage`, in percent.
    pub percent: u32,
    /// In how many minutes there will be room again, for `Usage`.
    pub minutes: u64,
}

impl Fault {
    /// A fault that stays until it is replaced.
    #[must_use]
    pub fn new(mode: FaultMode) -> Self {
        Self { mode, ..Self::default() }
    }

    /// Hits the next `requests` requests only.
    #[must_use]
    pub fn for_requests(self, requests: u64) -> Self {
        Self { for_requests: Some(requests), ..self }
    }

    /// Holds each answer back for `delay`.
    #[must_use]
    pub fn delay(self, delay: Duration) -> Self {
        Self { delay, ..self }
    }

    /// Says when to come back.
    #[must_use]
    pub fn retry_after(self, after: Duration) -> Self {
        Self { retry_after: Some(after), ..self }
    }

    /// In force from `begins` on and until `ends`.
    #[must_use]
    pub fn between(self, begins: Time, ends: Time) -> Self {
        Self { begins: Some(begins), ends: Some(ends), ..self }
    }

    /// Is about the events of these event ids or transaction ids.
    #[must_use]
    pub fn ids<T: Into<String>>(self, ids: impl IntoIterator<Item = T>) -> Self {
        Self { ids: ids.into_iter().map(Into::into).collect(), ..self }
    }

    /// Every `n`-th id is poison.
    #[must_use]
    pub fn poison_every(n: u64) -> Self {
        Self { every: Some(n), ..Self::new(FaultMode::Poison) }
    }

    /// `share` of the requests fail, from 0 to 1.
    #[must_use]
    pub fn error_rate(share: f64) -> Self {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to a million")]
        let share_ppm = (share.clamp(0.0, 1.0) * f64::from(MILLION)).round() as u32;
        Self { share_ppm, ..Self::new(FaultMode::ErrorRate) }
    }

    fn is_over(&self, now: Time) -> bool {
        self.for_requests == Some(0) || self.ends.is_some_and(|end| end <= now)
    }
}

/// A fault in force, with what it remembers.
#[derive(Debug, Default)]
struct Active {
    fault: Fault,
    /// Requests that it might have hit.
    met: u32,
    /// Parts of a million that are due from `share_ppm`.
    due: u32,
    poison: Arc<Mutex<Poison>>,
}

/// Which ids are poison, of those that came in.
#[derive(Debug, Default)]
struct Poison {
    seen: HashSet<u64>,
    bad: HashSet<u64>,
}

impl Poison {
    /// Whether this id is an `every`-th one, or was when it came first.
    fn hits(&mut self, id: u64, every: u64) -> bool {
        if self.seen.len() < SEEN_MAX && self.seen.insert(id) && (self.seen.len() as u64).is_multiple_of(every) {
            self.bad.insert(id);
        }
        self.bad.contains(&id)
    }
}

impl Active {
    /// Whether the request at hand is hit; counts it.
    fn hits(&mut self) -> bool {
        self.met = self.met.wrapping_add(1);
        if self.fault.mode == FaultMode::ErrorRate {
            self.due += self.fault.share_ppm.min(MILLION);
            if self.due < MILLION {
                return false;
            }
            self.due -= MILLION;
        }
        if let Some(left) = &mut self.fault.for_requests {
            *left = left.saturating_sub(1);
        }
        true
    }

    fn delay(&self) -> Duration {
        let Some(max) = self.fault.delay_max else { return self.fault.delay };
        // Multiples of the golden ratio are spread evenly over any range.
        let place = self.met.wrapping_mul(0x9E37_79B9);
        self.fault.delay + max.saturating_sub(self.fault.delay).mul_f64(f64::from(place) / f64::from(u32::MAX))
    }
}

/// The faults of every platform.
#[derive(Default)]
pub(super) struct Faults([Vec<Active>; Platform::ALL.len()]);

impl Faults {
    /// Those in force or to come, oldest first.
    pub(super) fn get(&self, platform: Platform, now: Time) -> impl Iterator<Item = &Fault> {
        self.0[platform as usize].iter().map(|active| &active.fault).filter(move |fault| !fault.is_over(now))
    }

    /// Ends all others of the platform.
    pub(super) fn set(&mut self, platform: Platform, fault: Fault) {
        self.0[platform as usize].clear();
        self.add(platform, fault);
    }

    pub(super) fn add(&mut self, platform: Platform, fault: Fault) {
        let faults = &mut self.0[platform as usize];
        if fault.mode == FaultMode::None && fault.delay.is_zero() {
            return;
        }
        if faults.len() == FAULTS_MAX {
            faults.remove(0);
        }
        faults.push(Active { fault, ..Active::default() });
    }

    fn in_force(&mut self, platform: Platform, now: Time) -> impl Iterator<Item = &mut Active> {
        let faults = &mut self.0[platform as usize];
        faults.retain(|active| !active.fault.is_over(now));
        faults.iter_mut().filter(move |active| active.fault.begins.is_none_or(|begin| begin <= now))
    }

    /// Whether the connection of the request at hand is closed before it is read.
    pub(super) fn cuts(&mut self, platform: Platform, now: Time) -> bool {
        self.in_force(platform, now).any(|active| active.fault.mode == FaultMode::Cut && active.hits())
    }

    /// What the request at hand meets.
    pub(super) fn take(&mut self, platform: Platform, now: Time) -> Met {
        let mut met = Met::default();
        for active in self.in_force(platform, now).filter(|active| active.fault.mode != FaultMode::Cut) {
            if active.hits() {
                met.add(active);
            }
        }
        met
    }
}

/// What all faults in force do to one request.
#[derive(Debug, Default)]
pub(super) struct Met {
    /// The one that stops it before it is looked at: `Outage`, `ErrorRate`, `Throttle`, `ExpiredToken`; else `None`.
    pub(super) mode: FaultMode,
    /// When to come back, if the request is stopped.
    pub(super) retry_after: Option<Duration>,
    /// What is said to be used of the limit in percent, and in how many minutes there will be room again.
    pub(super) usage: Option<(u32, u64)>,
    /// The modes that were met.
    pub(super) modes: Vec<FaultMode>,
    status: Option<u16>,
    delay: Duration,
    ending: Ending,
    drops: Vec<Fault>,
    poison: Vec<(Fault, Arc<Mutex<Poison>>)>,
}

/// What becomes of the answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Ending {
    #[default]
    Answer,
    Reset,
    Hang,
}

impl Met {
    fn add(&mut self, active: &Active) {
        let fault = &active.fault;
        self.modes.push(fault.mode);
        self.delay += active.delay();
        if fault.mode.stops() > self.mode.stops() {
            (self.mode, self.retry_after, self.status) = (fault.mode, fault.retry_after, fault.status);
        }
        match fault.mode {
            FaultMode::Hang => self.ending = self.ending.max(Ending::Hang),
            FaultMode::Reset => self.ending = self.ending.max(Ending::Reset),
            FaultMode::Partial => self.drops.push(fault.clone()),
            FaultMode::Poison => self.poison.push((fault.clone(), Arc::clone(&active.poison))),
            FaultMode::Usage => self.usage = Some((fault.percent, fault.minutes)),
            _ => {}
        }
    }

    /// The status that `ErrorRate` answers with.
    pub(super) fn status(&self) -> axum::http::StatusCode {
        use axum::http::StatusCode;
        self.status.and_then(|status| StatusCode::from_u16(status).ok()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// Whether an event with one of these ids is left out of an otherwise good request.
    pub(super) fn drops(&self, ids: &[&str], is_last: bool) -> bool {
        self.drops.iter().any(|fault| if fault.ids.is_empty() { is_last } else { named(fault, ids) })
    }

    /// Whether an event is refused for good: one with one of these ids, or an `every`-th one. The first id that is not
    /// empty tells events apart, or else their `text`.
    pub(super) fn poisons(&self, ids: &[&str], text: &str) -> bool {
        let id = ids.iter().find(|id| !id.is_empty()).copied().unwrap_or(text);
        // Every one counts, also if an earlier one hits already.
        let hits = |(fault, poison): &(Fault, Arc<Mutex<Poison>>)| {
            named(fault, ids) | fault.every.is_some_and(|every| every > 0 && lock(poison).hits(key(id), every))
        };
        self.poison.iter().filter(|one| hits(one)).count() > 0
    }

    /// Does to `response` what the faults do to every answer.
    pub(super) async fn apply(self, mut response: Response) -> Response {
        if matches!(self.mode, FaultMode::Throttle | FaultMode::Outage | FaultMode::ErrorRate)
            && let Some(after) = self.retry_after
        {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(after.as_secs()));
        }
        if !self.delay.is_zero() {
            tokio::time::sleep(self.delay).await;
        }
        match self.ending {
            Ending::Answer => response,
            Ending::Reset => cut(),
            Ending::Hang => std::future::pending().await,
        }
    }
}

fn named(fault: &Fault, ids: &[&str]) -> bool {
    ids.iter().any(|id| !id.is_empty() && fault.ids.iter().any(|bad| bad == id))
}

/// Closes the connections that a `Cut` fault hits, before anything reads the request's body.
pub(super) async fn cut_off(
    axum::extract::State(sandbox): axum::extract::State<Arc<super::Sandbox>>,
    request: Request,
    next: axum::middleware::Next,
) -> Response {
    match Platform::at(request.uri().path()) {
        Some(platform) if sandbox.cuts(platform) => cut(),
        _ => next.run(request).await,
    }
}

/// An answer whose body fails at the first read: the server then closes the connection with nothing written.
fn cut() -> Response {
    let mut request = Request::new(Body::from("longer than one byte"));
    DefaultBodyLimit::max(1).apply(&mut request);
    Response::new(request.with_limited_body().into_body())
}
