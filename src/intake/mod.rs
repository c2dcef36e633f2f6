//! Events in: the native API, the Segment API, and the webhooks of shops, payment services and CRMs.

mod api;
mod draft;
pub mod fetch;
mod lookups;
mod meta;
mod ndjson;
mod overview;
mod preview;
mod read;
mod reconcile;
pub mod segment;
pub mod sources;
mod tally;
mod webhooks;
mod wire;

use std::{future::Future, io, pin::Pin, sync::Arc, time::Duration};

use axum::Router;
use tokio::sync::watch;

use crate::{
    model::{Clock, Secret, SourceName},
    pipeline::Pipeline,
    web::Keys,
};

pub use api::read_event;
pub use draft::{Draft, DraftContext};
pub use preview::{Previewed, preview};
pub use read::read_draft;
pub use reconcile::Reconcile;
pub use tally::Tally;
pub use webhooks::SourceConfig;

use fetch::Fetcher;
use reconcile::Reconciler;
use webhooks::Desk;

/// Settings of intake; `[intake]` and `[[sources]]`.
#[derive(Clone)]
pub struct Config {
    /// Keys that may post, each with the source it stands for.
    pub keys: Vec<(SourceName, Secret)>,
    /// Bytes of a request's body at most.
    pub body_bytes_max: usize,
    /// Events in a batch at most.
    pub batch_max: usize,
    /// Who posts to `/webhooks/{source}`.
    pub sources: Vec<SourceConfig>,
    /// The Segment API.
    pub segment: segment::Config,
}

/// What the handlers share.
#[derive(Clone)]
struct Intake {
    pipeline: Arc<Pipeline>,
    clock: Arc<dyn Clock>,
    keys: Keys<SourceName>,
    tally: Tally,
    body_bytes_max: usize,
    batch_max: usize,
}

/// What intake consists of.
pub struct Parts {
    /// The routes of the public listener.
    pub public: Router,
    /// Those of the admin listener, which has to guard them.
    pub admin: Router,
    tasks: Vec<Task>,
}

/// Something that runs until it is told to stop.
type Task = Box<dyn FnOnce(watch::Receiver<bool>) -> BoxedTask + Send>;
type BoxedTask = Pin<Box<dyn Future<Output = io::Result<()>> + Send>>;

impl Parts {
    /// What has to run next to the listeners until `stopped`.
    pub fn tasks(self, stopped: &watch::Receiver<bool>) -> impl Iterator<Item = BoxedTask> {
        self.tasks.into_iter().map(|task| task(stopped.clone()))
    }
}

/// Builds intake.
///
/// # Errors
/// If the TLS library cannot be set up.
pub fn build(
    config: &Config,
    pipeline: Arc<Pipeline>,
    clock: Arc<dyn Clock>,
    tally: &Tally,
    dedupe: Duration,
) -> Result<Parts, reqwest::Error> {
    let keys = Keys::new(config.keys.iter().map(|(source, key)| (key.clone(), source.clone())));
    config.keys.iter().for_each(|(source, _)| tally.know(source, "api"));
    config.sources.iter().for_each(|source| tally.know(&source.name, source.kind));
    let Config { body_bytes_max, batch_max, .. } = *config;
    let sources = config.sources.iter().map(|source| (source.name.to_string(), source.clone())).collect();
    let desk = Desk {
        pipeline: Arc::clone(&pipeline),
        clock: Arc::clone(&clock),
        tally: tally.clone(),
        body_bytes_max,
        sources: Arc::new(sources),
    };
    let intake = Intake { pipeline, clock, keys, tally: tally.clone(), body_bytes_max, batch_max };
    let public = api::router(intake.clone())
        .merge(segment::router(intake.clone(), &config.segment))
        .merge(meta::router(intake))
        .merge(webhooks::router(desk.clone()));
    let mut tasks: Vec<Task> = Vec::new();
    let fetcher = Fetcher::new()?;
    if let Some(lookups) = lookups::lookups(desk.clone(), fetcher.clone()) {
        tasks.push(Box::new(|stopped| Box::pin(lookups.run(stopped))));
    }
    let reconciler = Reconciler { desk: desk.clone(), fetcher, dedupe };
    for source in &config.sources {
        if let Some(schedule) = source.reconcile {
            let (reconciler, source) = (reconciler.clone(), source.clone());
            tasks.push(Box::new(move |stopped| Box::pin(reconciler.run(source, schedule, stopped))));
        }
    }
    let admin = overview::router(desk).merge(reconcile::router(reconciler));
    Ok(Parts { public, admin, tasks })
}
