//! Events in: the native API.

mod api;
mod read;
mod wire;

use std::sync::Arc;

use axum::Router;

use crate::{
    model::{Clock, Secret, SourceName},
    pipeline::Pipeline,
    web::Keys,
};

pub use api::read_event;

/// Settings of intake; `[intake]`.
#[derive(Clone, Debug)]
pub struct Config {
    /// Keys that may post, each with the source it stands for.
    pub keys: Vec<(SourceName, Secret)>,
    /// Bytes of a request's body at most.
    pub body_bytes_max: usize,
    /// Events in a batch at most.
    pub batch_max: usize,
}

/// What the handlers share.
#[derive(Clone)]
struct Intake {
    pipeline: Arc<Pipeline>,
    clock: Arc<dyn Clock>,
    keys: Keys<SourceName>,
    body_bytes_max: usize,
    batch_max: usize,
}

/// The routes of intake.
pub fn router(config: &Config, pipeline: Arc<Pipeline>, clock: Arc<dyn Clock>) -> Router {
    let keys = Keys::new(config.keys.iter().map(|(source, key)| (key.clone(), source.clone())));
    let Config { body_bytes_max, batch_max, .. } = *config;
    api::router(Intake { pipeline, clock, keys, body_bytes_max, batch_max })
}
