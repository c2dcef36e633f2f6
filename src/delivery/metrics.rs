//! What delivery measures.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError, atomic::AtomicU64},
    time::Duration,
};

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};

use crate::model::{DestinationName, FailureClass};

/// Longer codes are cut in labels.
const LABEL_CHARS_MAX: usize = 64;
/// Platforms make up codes as they like; once there are this many, a new one is counted as [`OTHER`].
const LABELS_MAX: usize = 300;
/// The label for what comes after [`LABELS_MAX`].
const OTHER: &str = "other";

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabels {
    destination: String,
    outcome: &'static str,
    reason: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DeadLabels {
    destination: String,
    class: &'static str,
    code: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabels {
    destination: String,
    reason: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DestinationLabels {
    destination: String,
}

impl DestinationLabels {
    fn of(destination: &DestinationName) -> Self {
        Self { destination: destination.to_string() }
    }
}

type UnsignedGauge = Gauge<u64, AtomicU64>;

/// What delivery measures.
#[derive(Clone, Debug)]
pub struct Metrics {
    outcomes: Family<OutcomeLabels, Counter>,
    dead: Family<DeadLabels, Counter>,
    retries: Family<ReasonLabels, Counter>,
    reported: Family<ReasonLabels, Counter>,
    latency: Family<DestinationLabels, Histogram, fn() -> Histogram>,
    limit: Family<DestinationLabels, UnsignedGauge>,
    in_flight: Family<DestinationLabels, UnsignedGauge>,
    deadline_soon: Family<DestinationLabels, UnsignedGauge>,
    /// Every reason that has a label.
    reasons: Arc<Mutex<HashSet<String>>>,
}

impl Default for Metrics {
    fn default() -> Self {
        let buckets = || Histogram::new([0.005, 0.02, 0.05, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0]);
        Self {
            outcomes: Family::default(),
            dead: Family::default(),
            retries: Family::default(),
            reported: Family::default(),
            latency: Family::new_with_constructor(buckets as fn() -> Histogram),
            limit: Family::default(),
            in_flight: Family::default(),
            deadline_soon: Family::default(),
            reasons: Arc::default(),
        }
    }
}

impl Metrics {
    /// Adds them to a registry.
    pub fn register(&self, registry: &mut Registry) {
        let outcomes = "Deliveries that ended, by destination, outcome and reason";
        registry.register("outcomes", outcomes, self.outcomes.clone());
        let dead =
            "Deliveries that ended dead, by destination, by whose fault it is (event, settings, unknown) and by code";
        registry.register("dead", dead, self.dead.clone());
        registry.register("retries", "Deliveries to be tried again, by destination and reason", self.retries.clone());
        let reported = "Events that a platform reported on later, by destination and its reason; taken: it has them";
        registry.register("reported", reported, self.reported.clone());
        registry.register("attempt_seconds", "Time a request took, by destination", self.latency.clone());
        registry.register("concurrency_limit", "Requests that may be in flight, by destination", self.limit.clone());
        registry.register("requests_in_flight", "Requests in flight, by destination", self.in_flight.clone());
        let soon = "Deliveries whose deadline is near, by destination";
        registry.register("deadline_soon", soon, self.deadline_soon.clone());
    }

    /// Shows outcomes as 0 before there are any: what first appears as 1 is no increase to who compares.
    pub fn begin<'a>(&self, destinations: impl Iterator<Item = &'a DestinationName>) {
        for destination in destinations {
            for outcome in ["delivered", "expired"] {
                self.ended(destination, outcome, "", 0);
            }
        }
    }

    /// `reason` as a label: short, and one of not too many.
    fn label(&self, reason: &str) -> String {
        let label: String = reason.chars().take(LABEL_CHARS_MAX).collect();
        let mut reasons = self.reasons.lock().unwrap_or_else(PoisonError::into_inner);
        if reasons.contains(&label) {
            return label;
        }
        if reasons.len() >= LABELS_MAX {
            return OTHER.into();
        }
        reasons.insert(label.clone());
        label
    }

    /// Counts deliveries that ended.
    pub fn ended(&self, destination: &DestinationName, outcome: &'static str, reason: &str, count: u64) {
        let labels = OutcomeLabels { destination: destination.to_string(), outcome, reason: self.label(reason) };
        self.outcomes.get_or_create(&labels).inc_by(count);
    }

    /// Counts deliveries that ended dead.
    pub(super) fn died(&self, destination: &DestinationName, class: FailureClass, code: &str, count: u64) {
        self.ended(destination, "dead", code, count);
        let labels = DeadLabels { destination: destination.to_string(), class: class.as_str(), code: self.label(code) };
        self.dead.get_or_create(&labels).inc_by(count);
    }

    pub(super) fn retried(&self, destination: &DestinationName, reason: &str, count: u64) {
        let labels = ReasonLabels { destination: destination.to_string(), reason: self.label(reason) };
        self.retries.get_or_create(&labels).inc_by(count);
    }

    pub(super) fn reported(&self, destination: &DestinationName, reason: &str, count: u64) {
        let labels = ReasonLabels { destination: destination.to_string(), reason: self.label(reason) };
        self.reported.get_or_create(&labels).inc_by(count);
    }

    pub(super) fn took(&self, destination: &DestinationName, took: Duration) {
        self.latency.get_or_create(&DestinationLabels::of(destination)).observe(took.as_secs_f64());
    }

    pub(super) fn concurrency(&self, destination: &DestinationName, limit: usize, in_flight: usize) {
        let labels = DestinationLabels::of(destination);
        self.limit.get_or_create(&labels).set(limit as u64);
        self.in_flight.get_or_create(&labels).set(in_flight as u64);
    }

    pub(super) fn deadline_soon(&self, destination: &DestinationName, count: u64) {
        self.deadline_soon.get_or_create(&DestinationLabels::of(destination)).set(count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_platform_that_makes_up_codes_does_not_fill_the_memory() {
        let (metrics, name) = (Metrics::default(), DestinationName::new("meta").expect("valid"));
        for i in 0..5_000 {
            metrics.died(&name, FailureClass::Event, &format!("code-{i}-{}", "x".repeat(500)), 1);
        }
        metrics.died(&name, FailureClass::Settings, "code-again", 2);
        let mut registry = Registry::default();
        metrics.register(&mut registry);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).expect("encodes");
        let lines: Vec<&str> = text.lines().filter(|line| line.starts_with("dead_total{")).collect();
        assert!(lines.len() <= LABELS_MAX + 2, "{}", lines.len());
        assert!(lines.iter().all(|line| line.len() < 200));
        assert!(text.contains("dead_total{destination=\"meta\",class=\"settings\",code=\"other\"} 2"), "{text}");
        assert!(text.contains("class=\"event\",code=\"other\"} 4700"), "{}", lines.join("\n"));
    }
}
