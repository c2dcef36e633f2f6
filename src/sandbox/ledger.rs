//! What one platform has taken in: counters, the ids it deduplicates by, and the latest events. All of it is bounded.

use std::{
    collections::{BTreeMap, HashMap, VecDeque, hash_map::Entry},
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
    time::Duration,
};

use serde::Serialize;
use serde_json::value::RawValue;

use super::{Config, FaultMode};
use crate::model::Time;

/// How many of the latest refusals are kept.
const REFUSALS_MAX: usize = 20;

/// Counters of one platform since the start or the last reset.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct PlatformStats {
    /// Requests that came in, refused ones included. `data_manager` counts status calls too.
    pub requests: u64,
    /// Events answered as received, duplicates included; for `oauth`, tokens issued. An event for two Data Manager
    /// destinations counts twice.
    pub accepted: u64,
    /// Accepted events that were there already.
    pub duplicates: u64,
    /// Conversions that are known and came with another value, which they have from then on; not among the accepted ones.
    /// Data Manager only.
    pub adjusted: u64,
    /// Duplicates whose event is not, byte for byte, the one that came first with that id: changed on purpose (Data
    /// Manager takes it for an adjustment), or one id given to two conversions.
    pub changed_duplicates: u64,
    /// Different ids among the accepted events.
    pub distinct_ids: u64,
    /// Accepted events without an id, which nothing can deduplicate. Always `accepted = distinct_ids + duplicates +
    /// without_id`, except for `oauth`, which has no ids.
    pub without_id: u64,
    /// Refused requests by reason; a fault in force is a reason of its own.
    pub refused: BTreeMap<&'static str, u64>,
    /// Events of answered requests that were not taken after all, by reason: Data Manager's processing errors, and what
    /// a `partial` fault drops.
    pub failed_afterwards: BTreeMap<&'static str, u64>,
    /// Requests that met a fault, by its mode; one that met several counts for each.
    pub faults_met: BTreeMap<&'static str, u64>,
    /// The latest refusals, oldest first, at most 20.
    pub latest_refusals: VecDeque<RefusalNote>,
}

impl PlatformStats {
    /// Counts a request and the faults that it meets.
    pub(super) fn meet(&mut self, modes: &[FaultMode]) {
        self.requests += 1;
        for mode in modes {
            *self.faults_met.entry(mode.as_str()).or_default() += 1;
        }
    }
}

/// One refused request, for the eyes of whoever debugs an integration. Holds no values.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct RefusalNote {
    /// When, in milliseconds since the epoch.
    pub at_ms: i64,
    /// Why.
    pub reason: &'static str,
    /// The field, with the event's index; empty if there is none.
    pub field: String,
}

/// An accepted event.
pub(super) struct Recorded {
    pub(super) at: Time,
    /// The pixel, the conversion action, or the measurement id.
    pub(super) to: Arc<str>,
    /// `event_id` or `transactionId`.
    pub(super) id: Arc<str>,
    pub(super) event: Arc<RawValue>,
    pub(super) duplicate: bool,
}

impl Recorded {
    fn bytes(&self) -> usize {
        self.event.get().len() + self.id.len() + size_of::<Self>()
    }
}

/// The books of one platform.
#[derive(Default)]
pub(super) struct Ledger {
    pub(super) stats: PlatformStats,
    /// What events are deduplicated by, each with what stands for its first event.
    seen: HashMap<u64, u64>,
    /// The ids of `seen` with the time of their first arrival, oldest first.
    arrivals: VecDeque<(Time, u64)>,
    recorded: VecDeque<Recorded>,
    recorded_bytes: usize,
}

impl Ledger {
    /// Counts a refused request.
    pub(super) fn refuse(&mut self, at: Time, reason: &'static str, field: &str) {
        *self.stats.refused.entry(reason).or_default() += 1;
        if self.stats.latest_refusals.len() == REFUSALS_MAX {
            self.stats.latest_refusals.pop_front();
        }
        self.stats.latest_refusals.push_back(RefusalNote { at_ms: at.as_ms(), reason, field: field.to_owned() });
    }

    /// Forgets the ids whose first arrival is more than `window` ago.
    pub(super) fn forget(&mut self, now: Time, window: Duration) {
        while self.arrivals.front().is_some_and(|(at, _)| at.plus(window) < now) {
            self.forget_oldest();
        }
    }

    /// Counts and records one accepted event; `id` is what it is deduplicated by.
    pub(super) fn accept(&mut self, id: Option<u64>, mut event: Recorded, config: &Config) {
        self.stats.accepted += 1;
        match id {
            None => self.stats.without_id += 1,
            Some(id) => match self.seen.entry(id) {
                Entry::Vacant(first) => {
                    first.insert(key(event.event.get()));
                    self.stats.distinct_ids += 1;
                    self.arrivals.push_back((event.at, id));
                    if self.arrivals.len() > config.ids_max {
                        self.forget_oldest();
                    }
                }
                Entry::Occupied(first) => {
                    event.duplicate = true;
                    self.stats.duplicates += 1;
                    self.stats.changed_duplicates += u64::from(*first.get() != key(event.event.get()));
                }
            },
        }
        self.recorded_bytes += event.bytes();
        self.recorded.push_back(event);
        while self.recorded.len() > config.recorded_max || self.recorded_bytes > config.recorded_bytes_max {
            let Some(oldest) = self.recorded.pop_front() else { break };
            self.recorded_bytes -= oldest.bytes();
        }
    }

    /// The recorded events, oldest first.
    pub(super) fn recorded(&self) -> impl Iterator<Item = &Recorded> {
        self.recorded.iter()
    }

    fn forget_oldest(&mut self) {
        if let Some((_, key)) = self.arrivals.pop_front() {
            self.seen.remove(&key);
        }
    }
}

/// 64 bits that stand for what an event is deduplicated by.
pub(super) fn key(parts: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    parts.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_bounded_by_count_bytes_and_ids() {
        let config = Config { recorded_max: 3, recorded_bytes_max: 1000, ids_max: 2, ..Config::default() };
        let mut ledger = Ledger::default();
        let event = |at: i64, size: usize| Recorded {
            at: Time::from_secs(at),
            to: "1".into(),
            id: "x".into(),
            event: Arc::from(RawValue::from_string(format!("\"{}\"", "y".repeat(size))).unwrap()),
            duplicate: false,
        };
        for i in 0..5_i64 {
            ledger.accept(Some(key(i)), event(i, 10), &config);
        }
        assert_eq!(ledger.recorded().map(|event| event.at.as_secs()).collect::<Vec<_>>(), [2, 3, 4]);
        assert_eq!((ledger.seen.len(), ledger.stats.distinct_ids), (2, 5));
        ledger.accept(None, event(5, 2000), &config);
        assert_eq!((ledger.recorded().count(), ledger.recorded_bytes), (0, 0), "larger than all that may be kept");
        ledger.accept(Some(key(4_i64)), event(6, 1), &config);
        assert_eq!((ledger.stats.duplicates, ledger.stats.without_id, ledger.stats.accepted), (1, 1, 7));
        assert_eq!(ledger.stats.changed_duplicates, 1, "it came with another event first");
        ledger.forget(Time::from_secs(100), Duration::from_secs(10));
        assert_eq!(ledger.seen.len(), 0);
    }
}
