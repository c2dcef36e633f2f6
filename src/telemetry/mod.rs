//! Logs and metrics.

use std::{io::IsTerminal as _, sync::Arc};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric as _},
    metrics::gauge::ConstGauge,
    registry::Registry,
};
use tracing_subscriber::{EnvFilter, layer::SubscriberExt as _, util::SubscriberInitExt as _};

use crate::{
    delivery::{self, Place, Status},
    model::Clock,
    store::{Health, Stores},
};

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

/// The registry of everything that is measured, all names prefixed with `relay_`.
#[must_use]
pub fn registry(
    pipeline: &crate::pipeline::Metrics,
    delivery: &delivery::Metrics,
    stores: &Stores,
    places: &Arc<Vec<Place>>,
    status: &Status,
    clock: &Arc<dyn Clock>,
) -> Registry {
    let mut registry = Registry::with_prefix("relay");
    pipeline.register(&mut registry);
    delivery.register(&mut registry);
    stores.events.metrics().register(&mut registry);
    registry.register_collector(Box::new(Queues {
        stores: stores.clone(),
        places: Arc::clone(places),
        status: status.clone(),
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

/// What is read off the store when somebody asks.
struct Queues {
    stores: Stores,
    places: Arc<Vec<Place>>,
    status: Status,
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
        let counts: std::collections::BTreeMap<_, _> = self.stores.events.balance().destinations.into_iter().collect();
        let oldest = |place: &Place| {
            let received = self.stores.events.oldest(place.id);
            received.map_or(0.0, |received| now.since(received).as_secs_f64())
        };
        let queued = |place: &Place| counts.get(&place.id).map_or(0.0, |counts| counts.queued as f64);
        let paused = |place: &Place| f64::from(u8::from(self.status.of(&place.name) != delivery::State::Active));
        let mut family = |name: &str, help: &str, value: &dyn Fn(&Place) -> f64| {
            let kind = prometheus_client::metrics::MetricType::Gauge;
            let mut metric = encoder.encode_descriptor(name, help, None, kind)?;
            for place in self.places.iter() {
                let labels = [("destination", place.name.as_str())];
                ConstGauge::new(value(place)).encode(metric.encode_family(&labels)?)?;
            }
            Ok::<_, std::fmt::Error>(())
        };
        family("queue_depth", "Deliveries waiting or in flight", &queued)?;
        family("queue_oldest_seconds", "Age of the event queued longest", &oldest)?;
        family("destination_paused", "Whether the destination waits for its operator", &paused)?;
        let kind = prometheus_client::metrics::MetricType::Gauge;
        let help = "Whether the store can write: events that cannot be acknowledged are refused";
        let mut metric = encoder.encode_descriptor("store_healthy", help, None, kind)?;
        for (name, health) in [("events", self.stores.events.health()), ("visits", self.stores.visits.health())] {
            let healthy = f64::from(u8::from(health == Health::Ok));
            ConstGauge::new(healthy).encode(metric.encode_family(&[("store", name)])?)?;
        }
        Ok(())
    }
}
