//! What each source brought since the relay started: `GET /v1/sources`.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};
use serde::{Serialize, Serializer};

use super::{fetch::FetchError, reconcile::Reconciled};
use crate::model::{SourceName, Time, looks_like_contact_data};

/// Topics and reasons that are counted each on its own for one source; the others count as `other`.
const WORDS_MAX: usize = 64;
/// Refusals of one source that are warned of in one second; more are counted, and logged at level debug.
const LOGGED_MAX: u32 = 20;
/// Seconds that a request may take from its first byte to its refusal; what is older still was refused before the clock was set back.
const SLOWEST_S: i64 = 120;
/// Longer topics and delivery ids are cut.
const WORD_BYTES_MAX: usize = 64;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct IgnoredLabels {
    source: String,
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RefusedLabels {
    source: String,
    reason: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LookupLabels {
    source: String,
    result: &'static str,
}

/// What sources brought. Clones share it.
#[derive(Clone, Default)]
pub struct Tally {
    sources: Arc<Mutex<BTreeMap<SourceName, Counts>>>,
    ignored: Family<IgnoredLabels, Counter>,
    refused: Family<RefusedLabels, Counter>,
    lookups: Family<LookupLabels, Counter>,
}

/// What one source brought since the start.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Counts {
    /// Its kind: that of `[[sources]]`, or `api` for a key.
    pub kind: &'static str,
    /// When the latest request came, refused or not.
    #[serde(serialize_with = "written_if")]
    pub last_delivery: Option<Time>,
    /// Events that were new.
    pub accepted: u64,
    /// Events that were known.
    pub duplicate: u64,
    /// What was of no use.
    pub ignored: u64,
    /// That, by topic and reason.
    pub ignored_topics: BTreeMap<String, u64>,
    /// What was refused.
    pub refused: u64,
    /// That, by reason.
    pub refused_reasons: BTreeMap<String, u64>,
    /// The latest of them.
    pub last_refusal: Option<LastRefusal>,
    /// What the source could be asked for.
    pub looked_up: u64,
    /// Why the latest lookup failed, if no later one succeeded.
    pub lookup_failure: Option<Failed>,
    /// The latest run of the schedule that takes what no webhook brought.
    pub last_reconcile: Option<LastReconcile>,
    /// Refusals that were logged in a second.
    #[serde(skip)]
    logged: (i64, u32),
}

/// Something that did not work.
#[derive(Clone, Debug, Serialize)]
pub struct Failed {
    /// When.
    #[serde(serialize_with = "written")]
    pub at: Time,
    /// Why, and what to do.
    pub detail: String,
}

/// A run of the schedule that takes what no webhook brought.
#[derive(Clone, Debug, Serialize)]
pub struct LastReconcile {
    /// When it ended.
    #[serde(serialize_with = "written")]
    pub at: Time,
    /// How far back it looked.
    #[serde(serialize_with = "written")]
    pub since: Time,
    /// Entries that were listed.
    pub listed: usize,
    /// Those that were missing.
    pub accepted: usize,
    /// Those that were refused.
    pub refused: usize,
    /// Why it ended early.
    pub error: Option<String>,
}

fn written<S: Serializer>(time: &Time, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(time)
}

fn written_if<S: Serializer>(time: &Option<Time>, serializer: S) -> Result<S::Ok, S::Error> {
    time.map(|time| time.to_string()).serialize(serializer)
}

/// The latest refusal of a source.
#[derive(Clone, Debug, Serialize)]
pub struct LastRefusal {
    /// When.
    #[serde(serialize_with = "written")]
    pub at: Time,
    /// The provider's id of the delivery, if it gave one.
    pub delivery_id: Option<String>,
    /// A word for why.
    pub reason: String,
    /// Why, and what to do.
    pub detail: String,
}

impl Tally {
    /// Adds its counters to a registry.
    pub fn register(&self, registry: &mut Registry) {
        registry.register("webhook_ignored", "Entries of webhooks that are no conversions", self.ignored.clone());
        registry.register("intake_refused", "Requests and events that were refused, by reason", self.refused.clone());
        registry.register("lookups", "Questions to sources for what webhooks leave out", self.lookups.clone());
    }

    /// Makes a source known before it brings anything.
    pub fn know(&self, source: &SourceName, kind: &'static str) {
        self.all().entry(source.clone()).or_default().kind = kind;
    }

    /// A request came.
    pub fn came(&self, source: &SourceName, at: Time) {
        self.with(source, |counts| counts.last_delivery = Some(at));
    }

    /// Events were taken.
    pub fn took(&self, source: &SourceName, accepted: usize, duplicate: usize) {
        self.with(source, |counts| {
            counts.accepted += accepted as u64;
            counts.duplicate += duplicate as u64;
        });
    }

    /// Something of no use came.
    pub fn ignored(&self, source: &SourceName, topic: &str, reason: &'static str) {
        self.ignored.get_or_create(&IgnoredLabels { source: source.to_string(), reason }).inc();
        self.with(source, |counts| {
            counts.ignored += 1;
            *slot(&mut counts.ignored_topics, &format!("{}: {reason}", word(topic))) += 1;
        });
    }

    /// Something was refused. The log and the counts say so; `detail` never quotes what was posted.
    pub fn refused(&self, source: &SourceName, at: Time, delivery_id: Option<&str>, reason: &str, detail: &str) {
        let delivery_id = delivery_id.map(word);
        self.refused.get_or_create(&RefusedLabels { source: source.to_string(), reason: reason.to_owned() }).inc();
        self.with(source, |counts| {
            // Anybody can have himself refused: that may not fill the disk.
            // Requests end in another order than they came: those of two seconds take turns, and are no new second each.
            let second = at.as_secs();
            let same = (0..=SLOWEST_S).contains(&counts.logged.0.saturating_sub(second));
            counts.logged = if same { (counts.logged.0, counts.logged.1 + 1) } else { (second, 1) };
            match counts.logged.1 {
                0..=LOGGED_MAX => {
                    tracing::warn!(%source, delivery_id, reason, detail, "refused what a source sent");
                }
                _ => tracing::debug!(%source, delivery_id, reason, detail, "refused what a source sent"),
            }
            counts.refused += 1;
            *slot(&mut counts.refused_reasons, reason) += 1;
            let (reason, detail) = (reason.to_owned(), detail.to_owned());
            counts.last_refusal = Some(LastRefusal { at, delivery_id, reason, detail });
        });
    }

    /// The source answered a lookup.
    pub fn looked_up(&self, source: &SourceName) {
        self.lookups.get_or_create(&LookupLabels { source: source.to_string(), result: "done" }).inc();
        self.with(source, |counts| {
            counts.looked_up += 1;
            counts.lookup_failure = None;
        });
    }

    /// A lookup failed. The first time, and whenever the reason changes, the log says so.
    pub fn not_looked_up(&self, source: &SourceName, at: Time, error: &FetchError) {
        self.lookups.get_or_create(&LookupLabels { source: source.to_string(), result: "failed" }).inc();
        let detail = error.to_string();
        self.with(source, |counts| {
            if counts.lookup_failure.as_ref().is_none_or(|last| last.detail != detail) {
                tracing::warn!(%source, detail, "cannot look up what webhooks leave out");
            }
            counts.lookup_failure = Some(Failed { at, detail });
        });
    }

    /// A run of the schedule ended.
    pub fn reconciled(&self, source: &SourceName, at: Time, since: Time, sum: &Reconciled, error: Option<String>) {
        let Reconciled { listed, accepted, refused, .. } = *sum;
        let run = LastReconcile { at, since, listed, accepted, refused, error };
        self.with(source, |counts| counts.last_reconcile = Some(run));
    }

    /// What every source brought, by name.
    #[must_use]
    pub fn counts(&self) -> Vec<(SourceName, Counts)> {
        self.all().iter().map(|(name, counts)| (name.clone(), counts.clone())).collect()
    }

    fn with(&self, source: &SourceName, change: impl FnOnce(&mut Counts)) {
        let mut all = self.all();
        match all.get_mut(source) {
            Some(counts) => change(counts),
            None => change(all.entry(source.clone()).or_default()),
        }
    }

    fn all(&self) -> MutexGuard<'_, BTreeMap<SourceName, Counts>> {
        self.sources.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The count of `name`, or of all that are too many.
fn slot<'a>(counts: &'a mut BTreeMap<String, u64>, name: &str) -> &'a mut u64 {
    let known = counts.contains_key(name) || counts.len() < WORDS_MAX;
    counts.entry(if known { name } else { "other" }.to_owned()).or_default()
}

/// A word from outside, fit to be shown: short, plain, no contact data.
pub(super) fn word(text: &str) -> String {
    let plain: String = text.chars().filter(|c| c.is_ascii_graphic()).take(WORD_BYTES_MAX).collect();
    // Ids are long numbers often enough; only what names somebody is hidden, also if that is behind the cut.
    let names = text.contains('@') || text.to_ascii_lowercase().contains("%40");
    if names || (looks_like_contact_data(&plain) && plain.starts_with('+')) { "…".to_owned() } else { plain }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_of_two_seconds_that_take_turns_do_not_fill_the_log() {
        let (tally, source) = (Tally::default(), SourceName::new("shop").expect("valid"));
        let logged = |second: i64| {
            tally.refused(&source, Time::from_secs(second), None, "body", "is too slow");
            tally.counts()[0].1.logged
        };
        for _ in 0..50 {
            logged(1000);
            logged(1001);
        }
        assert_eq!(logged(1001), (1001, 100), "but for the first, of the second before");
        assert_eq!(logged(1002), (1002, 1));
        assert_eq!(logged(10), (10, 1), "the clock was set back");
    }
}
