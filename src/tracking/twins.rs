//! Conversions that two told of: the shop's server, and the visitor's browser. What only the server saw is what blockers and
//! closed tabs hid.
//!
//! A conversion waits here for its twin for an hour, in memory; then it counts as seen by one side only. Names of which no
//! browser ever tells are not counted: their sites do not report them by the tag.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};

use crate::model::{Digest, EventName, Time};

/// How long a conversion waits for its twin: pages are slow, and webhooks come minutes late.
const PATIENCE: Duration = Duration::from_secs(3600);
/// Conversions that wait at once; beyond that the oldest are counted early.
const WAITING_MAX: usize = 100_000;
/// Names that are told apart; those of pages that make them up are counted together with none.
const NAMES_MAX: usize = 64;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    event: String,
    seen_by: &'static str,
}

/// Who saw a conversion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Server,
    Browser,
}

#[derive(Default)]
struct Waiting {
    /// Names that browsers tell of.
    names: HashSet<EventName>,
    by_digest: HashMap<Digest, (Side, EventName)>,
    /// In the order of their time; those matched meanwhile are skipped.
    order: VecDeque<(Time, Digest)>,
}

/// Matches what servers and browsers tell. Clones share it.
#[derive(Clone, Default)]
pub struct Twins {
    waiting: Arc<Mutex<Waiting>>,
    seen: Family<Labels, Counter>,
}

impl Twins {
    /// Adds what is counted to a registry.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "conversions_seen",
            "Website conversions by who saw them: both, the server alone (hidden from the browser), the browser alone",
            self.seen.clone(),
        );
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The shop's server told of a conversion on a website; `digest` stands for its name and transaction.
    pub fn by_server(&self, name: &EventName, digest: Digest, now: Time) {
        let mut waiting = self.waiting();
        if waiting.names.contains(name) {
            self.tell(&mut waiting, Side::Server, name, digest, now);
        }
    }

    /// A browser told of it.
    pub fn by_browser(&self, name: &EventName, digest: Digest, now: Time) {
        let mut waiting = self.waiting();
        if !waiting.names.contains(name) {
            if waiting.names.len() >= NAMES_MAX {
                return;
            }
            waiting.names.insert(name.clone());
        }
        self.tell(&mut waiting, Side::Browser, name, digest, now);
    }

    /// Whether browsers tell of conversions of this name.
    #[must_use]
    pub fn is_told_by_browsers(&self, name: &EventName) -> bool {
        self.waiting().names.contains(name)
    }

    fn tell(&self, waiting: &mut Waiting, side: Side, name: &EventName, digest: Digest, now: Time) {
        self.count_old(waiting, now);
        match waiting.by_digest.get(&digest) {
            Some((known, _)) if *known == side => {}
            Some(_) => {
                waiting.by_digest.remove(&digest);
                self.count(name, "both");
            }
            None => {
                waiting.by_digest.insert(digest, (side, name.clone()));
                waiting.order.push_back((now, digest));
            }
        }
    }

    /// Counts those whose twin did not come.
    fn count_old(&self, waiting: &mut Waiting, now: Time) {
        while let Some(&(at, digest)) = waiting.order.front() {
            if waiting.order.len() <= WAITING_MAX && now.since(at) < PATIENCE {
                break;
            }
            waiting.order.pop_front();
            if let Some((side, name)) = waiting.by_digest.remove(&digest) {
                self.count(&name, if side == Side::Server { "server" } else { "browser" });
            }
        }
    }

    /// Counts what has waited long enough by `now`: asked before the figures are read.
    pub fn settle(&self, now: Time) {
        self.count_old(&mut self.waiting(), now);
    }

    fn count(&self, name: &EventName, seen_by: &'static str) {
        self.seen.get_or_create(&Labels { event: name.to_string(), seen_by }).inc();
    }

    /// Conversions of this name seen by both, by the server alone, by the browser alone.
    #[must_use]
    pub fn counts(&self, name: &EventName) -> [u64; 3] {
        ["both", "server", "browser"]
            .map(|seen_by| self.seen.get_or_create(&Labels { event: name.to_string(), seen_by }).get())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Time = Time::from_secs(1_795_000_000);

    fn digest(text: &str) -> Digest {
        Digest::of_token(text)
    }

    #[test]
    fn a_conversion_without_its_twin_is_counted_after_an_hour() {
        let twins = Twins::default();
        let purchase = EventName::new("purchase").expect("valid");
        twins.by_server(&purchase, digest("0"), NOW);
        assert_eq!(twins.counts(&purchase), [0, 0, 0], "this site's pages tell of none so far");
        twins.by_browser(&purchase, digest("1"), NOW);
        twins.by_server(&purchase, digest("1"), NOW);
        twins.by_server(&purchase, digest("2"), NOW);
        twins.by_server(&purchase, digest("2"), NOW);
        twins.by_browser(&purchase, digest("3"), NOW);
        assert_eq!(twins.counts(&purchase), [1, 0, 0]);
        twins.settle(NOW.plus(PATIENCE));
        assert_eq!(twins.counts(&purchase), [1, 1, 1]);
        twins.settle(NOW.plus(PATIENCE * 2));
        assert_eq!(twins.counts(&purchase), [1, 1, 1]);
    }
}
