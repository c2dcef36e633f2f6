//! What tracked links count.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{
        counter::Counter,
        family::Family,
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};

use crate::model::{ClickVerdict, Time};

/// Losses are logged no more often than this, in milliseconds.
const LOG_EVERY_MS: i64 = 10_000;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct VerdictLabels {
    verdict: &'static str,
}

/// What tracked links count.
#[derive(Clone, Debug)]
pub struct Metrics {
    redirects: Family<VerdictLabels, Counter>,
    pub(super) unknown: Counter,
    lost: Counter,
    visitors_lost: Counter,
    lag: Histogram,
    logged: Arc<AtomicI64>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            redirects: Family::default(),
            unknown: Counter::default(),
            lost: Counter::default(),
            visitors_lost: Counter::default(),
            lag: Histogram::new(exponential_buckets(0.001, 4.0, 8)),
            logged: Arc::new(AtomicI64::new(i64::MIN)),
        }
    }
}

impl Metrics {
    /// Adds them to a registry.
    pub fn register(&self, registry: &mut Registry) {
        // All of them are there from the start: a rate needs a zero to begin at.
        for verdict in ClickVerdict::ALL {
            drop(self.redirects.get_or_create(&VerdictLabels { verdict: verdict.as_str() }));
        }
        registry.register("redirects", "Requests for tracked links by what they were", self.redirects.clone());
        registry.register("redirects_unknown", "Requests for links that do not exist", self.unknown.clone());
        registry.register("clicks_lost", "Requests for links that were answered and not recorded", self.lost.clone());
        let help = "Clicks whose visitors were not stored, as the visitor store failed";
        registry.register("click_visitors_lost", help, self.visitors_lost.clone());
        let help = "Time from the oldest request of a batch to its row";
        registry.register("click_write_lag_seconds", help, self.lag.clone());
    }

    /// Notes a batch of rows, as they were judged, and how long the oldest had waited.
    pub(super) fn wrote(&self, verdicts: impl Iterator<Item = ClickVerdict>, oldest: Option<Time>, now: Time) {
        for verdict in verdicts {
            self.redirects.get_or_create(&VerdictLabels { verdict: verdict.as_str() }).inc();
        }
        if let Some(oldest) = oldest {
            self.lag.observe(now.since(oldest).as_secs_f64());
        }
    }

    /// Notes that rows were not written.
    pub(super) fn lose(&self, rows: u64, now: Time) {
        self.lost.inc_by(rows);
        if self.may_log(now) {
            let lost = self.lost.get();
            tracing::error!(
                lost,
                "requests for links were answered but not recorded: rows cannot be written fast enough"
            );
        }
    }

    /// Notes that visitors were not stored.
    pub(super) fn lose_visitors(&self, visitors: u64, now: Time) {
        self.visitors_lost.inc_by(visitors);
        if self.may_log(now) {
            let lost = self.visitors_lost.get();
            tracing::error!(lost, "visitors of links were not stored: the visitor store fails");
        }
    }

    fn may_log(&self, now: Time) -> bool {
        let (now, last) = (now.as_ms(), self.logged.load(Ordering::Relaxed));
        now.saturating_sub(last) >= LOG_EVERY_MS
            && self.logged.compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }
}
