//! From the queue to the outcome: lease, prepare, send, interpret, settle or try again later.
//!
//! Every destination has its own worker, its own connections and its own pause, so that one that is down, slow or refused
//! never holds up another. Workers read the store and never call the pipeline.

mod deadlines;
mod deliver;
pub mod file_sink;
mod https;
mod limit;
mod metrics;
pub mod oauth;
mod order;
mod rate;
mod receipts;
pub mod rehearse;
mod retry;
mod send;
mod settle;
mod status;
mod unknown;
mod worker;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use tokio::{sync::watch, task::JoinSet};

pub use metrics::Metrics;
pub use retry::Schedule;
pub use status::{State, Status};

use crate::{
    destinations::{Destination, OnUnknownConsent},
    model::{Clock, DestinationId, DestinationName, EventName, SourceName},
    store::EventStore,
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
    /// The sources it takes from; `None` for all.
    pub sources: Option<BTreeSet<SourceName>>,
    /// It gets only what its operator hands over from that destination.
    pub fallback_for: Option<DestinationName>,
    /// Whether some file gets what its operator hands over from here.
    pub has_fallback: bool,
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
            workers.spawn(supervise(Arc::clone(&worker), stopped.clone(), worker::Worker::run));
            workers.spawn(supervise(Arc::clone(&worker), stopped.clone(), worker::Worker::watch_deadlines));
            workers.spawn(supervise(worker, stopped.clone(), worker::Worker::ask_about_receipts));
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

/// Runs one task of a worker until it is stopped. One that panics, which is a defect, is started again: its leases run out,
/// and its events are tried once more.
async fn supervise<F: Future<Output = ()> + Send + 'static>(
    worker: Arc<worker::Worker>,
    stopped: watch::Receiver<bool>,
    task: fn(Arc<worker::Worker>, watch::Receiver<bool>) -> F,
) {
    loop {
        // A set of its own, so that aborting this ends the task too.
        let mut running = JoinSet::new();
        running.spawn(task(Arc::clone(&worker), stopped.clone()));
        match running.join_next().await {
            Some(Err(error)) if error.is_panic() => {
                tracing::error!(%error, "a delivery worker ended unexpectedly and is started again");
                tokio::time::sleep(RESTART_AFTER).await;
            }
            _ => return,
        }
    }
}

#[cfg(test)]
mod tests;
