//! Logs and metrics.

use std::{
    collections::BTreeMap,
    io::IsTerminal as _,
    sync::{Arc, Mutex, PoisonError},
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric as _},
    metrics::{MetricType, gauge::ConstGauge},
    registry::Registry,
};
use tracing_subscriber::{EnvFilter, layer::SubscriberExt as _, util::SubscriberInitExt as _};

use crate::{
    delivery::{self, Place, Status},
    destinations::versions,
    model::{Clock, DestinationId, FailureClass, Time},
    store::{Health, Stores},
};

/// Seconds of a day.
const DAY: i64 = 86_400;

/// How logs are written; `[log] format`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    #[default]
    Human,
    /// One JSON object a line.
    Json,
}

/// Starts logging to standard error. `level` is a filter as `RUST_LOG` has it, which wins.
pub fn start_logging(format: LogFormat, level: &str) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    let registry = tracing_subscriber::registry().with(filter);
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_target(false);
    let layer = layer.with_ansi(std::io::stderr().is_terminal());
    // A second start, in tests, changes nothing.
    let _already = match format {
        LogFormat::Human => registry.with(layer).try_init(),
        LogFormat::Json => registry.with(layer.json().flatten_event(true)).try_init(),
    };
}

/// What somebody has to read off the disk from time to time, so that nobody who asks for metrics waits for that.
#[derive(Clone, Debug, Default)]
pub struct Observed(Arc<Mutex<BTreeMap<DestinationId, Observation>>>);

/// What was read for one destination.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Observation {
    /// When the event was received that has been queued longest.
    pub oldest: Option<Time>,
    /// Dead letters that are neither replayed nor discarded, in the order of [`FailureClass::ALL`].
    pub dead_letters: [u64; FailureClass::ALL.len()],
    /// Deliveries that disk and balance disagree about.
    pub drift: u64,
}

impl Observed {
    /// What was read last.
    #[must_use]
    pub fn of(&self, destination: DestinationId) -> Observation {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&destination).copied().unwrap_or_default()
    }

    /// Notes what was read.
    pub fn note(&self, destination: DestinationId, change: impl FnOnce(&mut Observation)) {
        change(self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(destination).or_default());
    }
}

/// How many days the version of the platform's API that a destination speaks still works; 0 on its last, then negative,
/// `None` if that is not known.
#[must_use]
pub fn api_days_left(place: &Place, now: Time) -> Option<i64> {
    let (api, version) = place.destination.api()?;
    versions::end_of(api, version).map(|end| days_until(end, now))
}

fn days_until(end: Time, now: Time) -> i64 {
    // It works on its last day, whose beginning `end` is.
    end.as_secs().saturating_sub(now.as_secs()).saturating_add(DAY - 1).div_euclid(DAY)
}

/// The registry of everything that is measured, all names prefixed with `relay_`.
#[must_use]
pub fn registry(
    pipeline: &crate::pipeline::Metrics,
    delivery: &delivery::Metrics,
    stores: &Stores,
    places: &Arc<Vec<Place>>,
    status: &Status,
    observed: &Observed,
    clock: &Arc<dyn Clock>,
) -> Registry {
    let mut registry = Registry::with_prefix("relay");
    pipeline.register(&mut registry);
    delivery.register(&mut registry);
    delivery.begin(places.iter().map(|place| &place.name));
    stores.events.metrics().register(&mut registry);
    registry.register_collector(Box::new(Queues {
        stores: stores.clone(),
        places: Arc::clone(places),
        status: status.clone(),
        observed: observed.clone(),
        clock: Arc::clone(clock),
    }));
    registry
}

/// All metrics as text.
#[must_use]
pub fn render(registry: &Registry) -> String {
    let mut text = String::new();
    match prometheus_client::encoding::text::encode(&mut text, registry) {
        Ok(()) => text,
        Err(_) => String::new(), // writing into a string cannot fail
    }
}

/// What is looked up in memory when somebody asks.
struct Queues {
    stores: Stores,
    places: Arc<Vec<Place>>,
    status: Status,
    observed: Observed,
    clock: Arc<dyn Clock>,
}

impl std::fmt::Debug for Queues {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Queues")
    }
}

impl Collector for Queues {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let now = self.clock.now();
        let counts: BTreeMap<_, _> = self.stores.events.balance().destinations.into_iter().collect();
        let observed = |place: &Place| self.observed.of(place.id);
        let oldest = |place: &Place| {
            let received = observed(place).oldest;
            Some(received.map_or(0.0, |received| now.since(received).as_secs_f64()))
        };
        let queued = |place: &Place| Some(counts.get(&place.id).map_or(0.0, |counts| counts.queued as f64));
        let is = |yes: bool| Some(f64::from(u8::from(yes)));
        let paused = |place: &Place| is(self.status.of(&place.name) != delivery::State::Active);
        let stopped = |place: &Place| is(matches!(self.status.of(&place.name), delivery::State::Stopped(_)));
        let mut family = |name: &str, help: &str, value: &dyn Fn(&Place) -> Option<f64>| {
            let mut metric = encoder.encode_descriptor(name, &format!("{help}."), None, MetricType::Gauge)?;
            for place in self.places.iter() {
                let Some(value) = value(place) else { continue };
                let labels = [("destination", place.name.as_str())];
                ConstGauge::new(value).encode(metric.encode_family(&labels)?)?;
            }
            Ok::<_, std::fmt::Error>(())
        };
        family("queue_depth", "Deliveries waiting or in flight", &queued)?;
        family("queue_oldest_seconds", "Age of the event queued longest", &oldest)?;
        family("destination_paused", "Whether the destination waits for its operator", &paused)?;
        family("destination_stopped", "Whether its operator stopped the destination", &stopped)?;
        let drift = "Deliveries that the last count on disk and the balance disagree about";
        family("audit_drift", drift, &|place| Some(observed(place).drift as f64))?;
        let left = "Days until the platform ends the version of its API that is used; negative after that";
        family("api_version_days_left", left, &|place| api_days_left(place, now).map(|days| days as f64))?;
        let help =
            "Dead letters that are neither replayed nor discarded, by whose fault they are, counted up to 10,000.";
        let mut metric = encoder.encode_descriptor("dead_letters_open", help, None, MetricType::Gauge)?;
        for place in self.places.iter() {
            for (class, open) in FailureClass::ALL.into_iter().zip(observed(place).dead_letters) {
                let labels = [("destination", place.name.as_str()), ("class", class.as_str())];
                ConstGauge::new(open as f64).encode(metric.encode_family(&labels)?)?;
            }
        }
        let help = "Whether the store can write: events that cannot be acknowledged are refused.";
        let mut metric = encoder.encode_descriptor("store_healthy", help, None, MetricType::Gauge)?;
        for (name, health) in [("events", self.stores.events.health()), ("visits", self.stores.visits.health())] {
            let healthy = f64::from(u8::from(health == Health::Ok));
            ConstGauge::new(healthy).encode(metric.encode_family(&[("store", name)])?)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_whole_and_go_below_zero() {
        let end = Time::parse("2027-02-01T00:00:00Z").expect("valid");
        let at = |text| days_until(end, Time::parse(text).expect("valid"));
        assert_eq!(at("2026-11-03T00:00:00Z"), 90);
        assert_eq!(at("2026-11-04T00:00:00Z"), 89);
        assert_eq!(at("2027-02-01T00:00:00Z"), 0);
        assert_eq!(at("2027-02-01T23:59:59Z"), 0, "its last day");
        assert_eq!(at("2027-02-02T00:00:01Z"), -1);
    }
}
