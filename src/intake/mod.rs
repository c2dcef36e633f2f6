//! Events in: the native API, and the webhooks of shops, payment services and CRMs.

mod api;
mod draft;
pub mod fetch;
mod ndjson;
mod overview;
mod read;
pub mod sources;
mod tally;
mod webhooks;
mod wire;

use std::sync::Arc;

use axum::Router;

use crate::{
    model::{Clock, Secret, SourceName},
    pipeline::Pipeline,
    web::Keys,
};

pub use api::read_event;
pub use draft::{Draft, DraftContext};
pub use read::read_draft;
pub use tally::Tally;
pub use webhooks::SourceConfig;

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

/// The routes of intake: those of the public listener, and those of the admin listener, which has to guard them.
pub fn routers(config: &Config, pipeline: Arc<Pipeline>, clock: Arc<dyn Clock>, tally: &Tally) -> (Router, Router) {
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
    let admin = overview::router(desk.clone());
    let intake = Intake { pipeline, clock, keys, tally: tally.clone(), body_bytes_max, batch_max };
    (api::router(intake).merge(webhooks::router(desk)), admin)
}
