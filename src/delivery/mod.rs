//! From the queue to the outcome: lease, prepare, send, interpret, settle or try again later.
//!
//! Every destination has its own worker, its own connections and its own pause, so that one that is down, slow or refused
//! never holds up another. Workers read the store and never call the pipeline.

pub mod file_sink;
mod https;
pub mod oauth;
pub mod rehearse;
mod retry;
mod worker;

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, histogram::Histogram},
    registry::Registry,
};
use tokio::{sync::watch, task::JoinSet};

pub use retry::Schedule;

use crate::{
    destinations::{Destination, OnUnknownConsent},
    model::{Clock, DestinationId, DestinationName, EventName, Failure, Time},
    store::{EventStore, OperatorPause},
};

/// How long a worker that panicked rests.
const RESTART_AFTER: Duration = Duration::from_secs(1);

/// Settings of delivery; `[delivery]`.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// When a delivery is tried again.
    pub schedule: Schedule,
    /// How often a paused destination is tried with one event.
    pub probe_every: Duration,
    /// How long requests in flight may take at shutdown.
    pub drain: Duration,
    /// Requests in flight for one destination at most, unless it says otherwise.
    pub concurrency: usize,
    /// How long before their deadline queued deliveries are warned of.
    pub warn_before: Duration,
}

/// A configured destination, with the number the store knows it by.
#[derive(Clone)]
pub struct Place {
    /// Its name.
    pub name: DestinationName,
    /// Its kind, as configured.
    pub kind: &'static str,
    /// The store's number for it.
    pub id: DestinationId,
    /// What turns events into requests.
    pub destination: Arc<dyn Destination>,
    /// What to do when nobody told what the visitor allowed.
    pub on_unknown_consent: OnUnknownConsent,
    /// Requests in flight at most, if not [`Config::concurrency`].
    pub concurrency: Option<usize>,
    /// The events it maps.
    pub events: BTreeSet<EventName>,
}

/// Whether a destination takes events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// It does.
    #[default]
    Active,
    /// It refuses what we are set up with; it is probed until that works again.
    Paused {
        /// What it said.
        reason: Failure,
        /// Since when.
        since: Time,
    },
    /// Its operator stopped it; only he lets it go on.
    Stopped(OperatorPause),
}

/// What delivery tells others about its destinations.
#[derive(Clone, Debug, Default)]
pub struct Status(Arc<Mutex<HashMap<DestinationName, State>>>);

impl Status {
    /// The state of a destination.
    #[must_use]
    pub fn of(&self, name: &DestinationName) -> State {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned().unwrap_or_default()
    }

    fn set(&self, name: &DestinationName, state: State) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(name.clone(), state);
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabels {
    destination: String,
    outcome: &'static str,
    reason: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DestinationLabels {
    destination: String,
}

/// What delivery measures.
#[derive(Clone, Debug)]
pub struct Metrics {
    outcomes: Family<OutcomeLabels, Counter>,
    retries: Family<OutcomeLabels, Counter>,
    latency: Family<DestinationLabels, Histogram, fn() -> Histogram>,
}

impl Default for Metrics {
    fn default() -> Self {
        let buckets = || Histogram::new([0.005, 0.02, 0.05, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0]);
        Self {
            outcomes: Family::default(),
            retries: Family::default(),
            latency: Family::new_with_constructor(buckets as fn() -> Histogram),
        }
    }
}

impl Metrics {
    /// Adds them to a registry.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "outcomes",
            "Deliveries that ended, by destination, outcome and reason",
            self.outcomes.clone(),
        );
        registry.register("retries", "Deliveries to be tried again, by destination and reason", self.retries.clone());
        registry.register("attempt_seconds", "Time a request took, by destination", self.latency.clone());
    }

    /// Counts deliveries that ended.
    pub fn ended(&self, destination: &DestinationName, outcome: &'static str, reason: &str, count: u64) {
        let labels = OutcomeLabels { destination: destination.to_string(), outcome, reason: reason.to_owned() };
        self.outcomes.get_or_create(&labels).inc_by(count);
    }

    fn retried(&self, destination: &DestinationName, reason: &str, count: u64) {
        let (destination, reason) = (destination.to_string(), reason.to_owned());
        self.retries.get_or_create(&OutcomeLabels { destination, outcome: "retry", reason }).inc_by(count);
    }

    fn took(&self, destination: &DestinationName, took: Duration) {
        let labels = DestinationLabels { destination: destination.to_string() };
        self.latency.get_or_create(&labels).observe(took.as_secs_f64());
    }
}

/// What every worker is given.
#[derive(Clone)]
pub struct Tools {
    /// Events and deliveries.
    pub store: Arc<dyn EventStore>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Settings.
    pub config: Config,
    /// What it measures.
    pub metrics: Metrics,
    /// What it tells others.
    pub status: Status,
}

/// A worker that could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The TLS library.
    #[error("destination {0}: cannot set up HTTPS: {1}")]
    Https(DestinationName, reqwest::Error),
    /// An import file or its directory.
    #[error("destination {0}: cannot open its import files: {1}")]
    Files(DestinationName, std::io::Error),
}

/// The running workers.
pub struct Delivery {
    stop: watch::Sender<bool>,
    workers: JoinSet<()>,
    drain: Duration,
}

impl Delivery {
    /// Starts a worker for each destination.
    ///
    /// # Errors
    /// [`StartError`]; then none runs.
    pub fn start(places: &[Place], tools: &Tools) -> Result<Self, StartError> {
        let (stop, stopped) = watch::channel(false);
        let mut workers = JoinSet::new();
        for place in places {
            let worker = Arc::new(worker::Worker::new(place.clone(), tools.clone())?);
            workers.spawn(supervise(worker, stopped.clone()));
        }
        Ok(Self { stop, workers, drain: tools.config.drain })
    }

    /// Takes no more deliveries, and waits for requests in flight as long as the configuration allows. What is not done
    /// by then is due again at the next start.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        let all = async { while self.workers.join_next().await.is_some() {} };
        if tokio::time::timeout(self.drain, all).await.is_err() {
            tracing::warn!(
                "requests were still in flight after the grace period; they go out again after the next start"
            );
        }
    }
}

/// Runs a worker until it is stopped. One that panics, which is a defect, is started again: its leases run out, and its
/// events are tried once more.
async fn supervise(worker: Arc<worker::Worker>, stopped: watch::Receiver<bool>) {
    loop {
        // A set of its own, so that aborting this ends the worker too.
        let mut running = JoinSet::new();
        running.spawn(Arc::clone(&worker).run(stopped.clone()));
        match running.join_next().await {
            Some(Err(error)) if error.is_panic() => {
                tracing::error!(%error, "a delivery worker ended unexpectedly and is started again");
                tokio::time::sleep(RESTART_AFTER).await;
                worker.take_back_unsettled().await;
            }
            _ => return,
        }
    }
}
