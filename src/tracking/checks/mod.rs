//! Whether links lead anywhere: each distinct destination of a live link is asked from time to time, gently. What came of it
//! is in memory, and in the book where it changed, so that a restart forgets no broken link.

mod address;
mod ask;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use prometheus_client::{metrics::gauge::Gauge, registry::Registry};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tokio::sync::watch;
use url::Url;

use self::ask::{Answer, Asker};
use super::Links;
use crate::{
    model::{Clock, Link, LinkKey, LinkState, Time},
    store::{Book, Entry, StoreError},
};

/// The shelf of the book that results are on.
const SHELF: &str = "health";
/// How often it is looked whether something is due.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// Between two requests to one host.
const PACE: Duration = Duration::from_secs(1);
/// A destination that failed once is asked again after this, or with the others if that is sooner.
const AGAIN_AFTER: Duration = Duration::from_secs(60);
/// A site that asks for less is left alone for this long, doubling each time.
const REST_FIRST: Duration = Duration::from_secs(600);
const REST_MAX: Duration = Duration::from_secs(86_400);
/// So many failures in a row make a destination a broken one.
const FAILURES: u8 = 2;

/// Settings of the checks.
#[derive(Clone, Copy, Debug, Default)]
pub struct Settings {
    /// How often each destination is asked; `links.check_every`. Zero: never.
    pub every: Duration,
    /// Whether addresses are asked that are not reachable from outside; `links.check_private`.
    pub private: bool,
}

/// What is known of a destination.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    /// It answered as it should.
    Ok,
    /// It was not asked yet, or its answer says nothing.
    #[default]
    Unknown,
    /// It failed twice in a row.
    Broken,
}

/// How a link, or one of its destinations, is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// How.
    pub condition: Condition,
    /// Why it is not known to be well, in our words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Since when it is so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Time>,
    /// When it was asked last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checked_at: Option<Time>,
}

/// A destination as it is kept in the book.
#[derive(Serialize, Deserialize)]
struct Page {
    destination: String,
    #[serde(flatten)]
    health: Health,
}

#[derive(Clone, Default)]
struct Standing {
    health: Health,
    failures: u8,
    /// The wait after the last answer that asked for one.
    rest: Option<Duration>,
    due: Option<Time>,
}

/// Asks the destinations of links, and remembers how they are.
pub struct Checks {
    settings: Settings,
    links: Arc<Links>,
    book: Arc<dyn Book>,
    clock: Arc<dyn Clock>,
    asker: Asker,
    pace: Duration,
    standings: Mutex<HashMap<String, Standing>>,
    broken: Gauge,
}

impl Checks {
    /// Checks of the destinations of `links`, with what the book knows of them.
    ///
    /// # Errors
    /// If the TLS library cannot be set up.
    pub fn open(
        settings: Settings,
        links: Arc<Links>,
        book: Arc<dyn Book>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, reqwest::Error> {
        let read = |(_, value): (String, Arc<str>)| serde_json::from_str::<Page>(&value).ok();
        let standing = |page: Page| (page.destination, Standing { health: page.health, ..Standing::default() });
        let standings = book.list(SHELF).into_iter().filter_map(read).map(standing).collect();
        let asker = Asker::new(settings.private)?;
        let checks = Self {
            settings,
            links,
            book,
            clock,
            asker,
            pace: PACE,
            standings: Mutex::new(standings),
            broken: Gauge::default(),
        };
        checks.count();
        Ok(checks)
    }

    /// Adds the metric to a registry.
    pub fn register(&self, registry: &mut Registry) {
        registry.register("links_broken", "Live links with a destination that does not answer", self.broken.clone());
    }

    /// How a link is: as the worst of its destinations.
    #[must_use]
    pub fn health(&self, key: &LinkKey) -> Health {
        self.links.get(key).map(|link| self.health_of(&link)).unwrap_or_default()
    }

    fn health_of(&self, link: &Link) -> Health {
        let standings = self.standings();
        let known = destinations(link).map(|destination| standings.get(destination).map(|known| known.health.clone()));
        known.map(Option::unwrap_or_default).max_by_key(|health| health.condition).unwrap_or_default()
    }

    /// Checks until `stopped`.
    pub async fn run(self: Arc<Self>, mut stopped: watch::Receiver<bool>) -> std::io::Result<()> {
        loop {
            tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY) => {}
                _ = stopped.wait_for(|stopped| *stopped) => return Ok(()),
            }
            if self.settings.every.is_zero() {
                continue;
            }
            tokio::select! {
                result = self.round() => if let Err(error) = result {
                    tracing::warn!(%error, "what became of links cannot be written into the book");
                },
                _ = stopped.wait_for(|stopped| *stopped) => return Ok(()),
            }
        }
    }

    /// Asks every destination that is due.
    async fn round(&self) -> Result<(), StoreError> {
        let live = self.live();
        self.forget_others(&live).await?;
        let queue = Mutex::new(in_turns(self.due(&live)));
        let pace = tokio::sync::Mutex::new(BTreeMap::new());
        let worker = || async {
            // The lock ends with the statement: it is not held while a site is asked.
            while let Some((destination, url)) = { lock(&queue).pop_front() } {
                wait_for_turn(&pace, &url, self.pace).await;
                let answer = self.asker.ask(&url).await;
                self.note(&destination, answer).await?;
            }
            Ok::<_, StoreError>(())
        };
        // Two requests at once, no more.
        let (one, other) = tokio::join!(worker(), worker());
        self.count();
        one.and(other)
    }

    /// The distinct destinations of links that redirect.
    fn live(&self) -> BTreeSet<String> {
        let now = self.clock.now();
        let redirects =
            |link: &Arc<Link>| link.state == LinkState::Live && link.expires_at.is_none_or(|expires| now < expires);
        let live = self.links.all();
        live.iter().filter(|link| redirects(link)).flat_map(|link| destinations(link)).map(str::to_owned).collect()
    }

    fn due(&self, live: &BTreeSet<String>) -> Vec<(String, Url)> {
        let now = self.clock.now();
        let standings = self.standings();
        // A due time that is further away than any wait was set before the clock went back.
        let furthest = now.plus(self.settings.every.max(REST_MAX));
        let due = |destination: &&String| {
            let due = standings.get(*destination).and_then(|known| known.due);
            due.is_none_or(|due| due <= now || due > furthest)
        };
        live.iter().filter(due).filter_map(|text| Some((text.clone(), Url::parse(text).ok()?))).collect()
    }

    /// Notes what came of asking, and writes it down where something has changed.
    async fn note(&self, destination: &str, answer: Answer) -> Result<(), StoreError> {
        let now = self.clock.now();
        let (changed, health) = {
            let mut standings = self.standings();
            let known = standings.entry(destination.to_owned()).or_default();
            let before = (known.health.condition, known.health.reason.clone());
            known.take(answer, now, self.settings.every);
            (before != (known.health.condition, known.health.reason.clone()), known.health.clone())
        };
        if !changed {
            return Ok(());
        }
        if health.condition == Condition::Broken {
            let reason = health.reason.as_deref().unwrap_or_default();
            let destination = &record(destination)[..8];
            tracing::warn!(destination, reason, "a destination of links is broken; links list shows which");
        }
        let page = Page { destination: destination.to_owned(), health };
        let value = serde_json::to_string(&page).map_err(|error| StoreError::Unavailable(error.to_string()))?;
        self.book.write(vec![self.entry(destination, Some(value), now)]).await
    }

    /// Drops what no live link leads to any more.
    async fn forget_others(&self, live: &BTreeSet<String>) -> Result<(), StoreError> {
        let now = self.clock.now();
        let gone: Vec<String> = {
            let mut standings = self.standings();
            let gone: Vec<String> = standings.keys().filter(|known| !live.contains(*known)).cloned().collect();
            gone.iter().for_each(|destination| drop(standings.remove(destination)));
            gone
        };
        let entries: Vec<Entry> = gone.iter().map(|destination| self.entry(destination, None, now)).collect();
        if entries.is_empty() { Ok(()) } else { self.book.write(entries).await }
    }

    fn entry(&self, destination: &str, value: Option<String>, at: Time) -> Entry {
        let (by, shelf) = ("relay".to_owned(), SHELF.to_owned());
        Entry { at, by, shelf, key: record(destination), value, audited: false }
    }

    /// Counts broken links for the metric.
    fn count(&self) {
        let broken =
            |link: &&Arc<Link>| link.state == LinkState::Live && self.health_of(link).condition == Condition::Broken;
        let broken = self.links.all().iter().filter(broken).count();
        self.broken.set(i64::try_from(broken).unwrap_or(i64::MAX));
    }

    fn standings(&self) -> MutexGuard<'_, HashMap<String, Standing>> {
        lock(&self.standings)
    }
}

impl Standing {
    fn take(&mut self, answer: Answer, now: Time, every: Duration) {
        self.health.checked_at = Some(now);
        let (mut failures, mut rest, mut next) = (0, None, every);
        match answer {
            Answer::Well => self.turn(Condition::Ok, None, now),
            Answer::Unclear(reason) => self.turn(Condition::Unknown, Some(reason), now),
            Answer::Busy(wanted) => {
                let wait = self.rest.map_or(REST_FIRST, |rest| rest * 2).max(wanted.unwrap_or_default()).min(REST_MAX);
                (rest, next, failures) = (Some(wait), wait.max(every), self.failures);
            }
            Answer::Failed(reason) => {
                failures = self.failures.saturating_add(1);
                if failures >= FAILURES {
                    self.turn(Condition::Broken, Some(reason), now);
                } else {
                    next = every.min(AGAIN_AFTER);
                }
            }
        }
        (self.failures, self.rest, self.due) = (failures, rest, Some(now.plus(next)));
    }

    fn turn(&mut self, condition: Condition, reason: Option<String>, now: Time) {
        if self.health.condition != condition || self.health.since.is_none() {
            self.health.since = Some(now);
        }
        (self.health.condition, self.health.reason) = (condition, reason);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Where a link leads: as it is spelled in requests.
fn destinations(link: &Link) -> impl Iterator<Item = &str> {
    let split = link.split.iter().map(|part| part.destination.as_str());
    let one = link.split.is_empty().then_some(link.destination.as_str());
    split.chain(one)
}

/// The key of a destination in the book: addresses may be long.
fn record(destination: &str) -> String {
    Sha256::digest(destination).iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

/// In such an order that the hosts take turns: the first of each, then the second of each.
fn in_turns(due: Vec<(String, Url)>) -> VecDeque<(String, Url)> {
    let mut seen: HashMap<String, usize> = HashMap::new();
    let mut turns = Vec::with_capacity(due.len());
    for (destination, url) in due {
        let turn = seen.entry(url.host_str().unwrap_or_default().to_owned()).or_default();
        turns.push((*turn, destination, url));
        *turn += 1;
    }
    turns.sort_by_key(|(turn, ..)| *turn);
    turns.into_iter().map(|(_, destination, url)| (destination, url)).collect()
}

/// Waits until the host of `url` may be asked once more.
async fn wait_for_turn(
    pace: &tokio::sync::Mutex<BTreeMap<String, tokio::time::Instant>>,
    url: &Url,
    between: Duration,
) {
    let at = {
        let mut free = pace.lock().await;
        let now = tokio::time::Instant::now();
        let free = free.entry(url.host_str().unwrap_or_default().to_owned()).or_insert(now);
        let at = (*free).max(now);
        *free = at + between;
        at
    };
    tokio::time::sleep_until(at).await;
}

#[cfg(test)]
mod tests;
