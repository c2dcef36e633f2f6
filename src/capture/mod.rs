//! Visits in: what a browser landed with, by which later conversions are joined to their click.

mod country;
mod visits;

use std::sync::Arc;

pub use country::{Attribution, Countries, GeoError};

use axum::Router;

use crate::{model::Clock, pipeline::Pipeline, privacy::Country, web::TrustedProxies};

/// Settings of capture; `[capture]`.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where visits are posted.
    pub visits_path: String,
    /// Proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: TrustedProxies,
    /// Region of phone numbers written without a country code.
    pub default_country: Option<Country>,
}

#[derive(Clone)]
struct Capture {
    pipeline: Arc<Pipeline>,
    clock: Arc<dyn Clock>,
    trusted_proxies: TrustedProxies,
    default_country: Option<Country>,
}

/// The routes of capture.
pub fn router(config: &Config, pipeline: Arc<Pipeline>, clock: Arc<dyn Clock>) -> Router {
    let Config { trusted_proxies, default_country, visits_path } = config.clone();
    visits::router(&visits_path, Capture { pipeline, clock, trusted_proxies, default_country })
}
