//! The configuration: compiled-in defaults, then the file, then the environment; checked whole before anything starts.

mod load;
mod read;
mod read_capture;

use std::{collections::BTreeSet, net::SocketAddr, sync::Arc};

pub use load::{ConfigError, load};

use crate::{
    capture, delivery,
    destinations::{Destination, OnUnknownConsent},
    intake,
    model::{ClickRule, DestinationName, EventName, Secret, SourceName},
    pipeline, store,
    telemetry::LogFormat,
};

/// What is compiled in: every setting without a file.
pub const DEFAULT: &str = include_str!("../../config/default.toml");

/// All settings, each checked.
pub struct Config {
    /// The public listener.
    pub public: SocketAddr,
    /// How the outside reaches the public one.
    pub public_url: Option<String>,
    /// The admin listener.
    pub admin: SocketAddr,
    /// What the admin listener asks for.
    pub admin_token: Option<Secret>,
    /// Where data is, how long it is kept.
    pub store: store::Config,
    /// Who may post events.
    pub intake: intake::Config,
    /// Visits.
    pub capture: capture::Config,
    /// Joining.
    pub pipeline: pipeline::Config,
    /// Sending.
    pub delivery: delivery::Config,
    /// How logs are written.
    pub log_format: LogFormat,
    /// What is logged, as `RUST_LOG` has it.
    pub log_level: String,
    /// Where events go.
    pub destinations: Vec<DestinationConfig>,
}

/// A configured destination.
#[derive(Clone)]
pub struct DestinationConfig {
    /// Its name.
    pub name: DestinationName,
    /// Its kind.
    pub kind: &'static str,
    /// Its rules, built.
    pub destination: Arc<dyn Destination>,
    /// The events it maps.
    pub events: BTreeSet<EventName>,
    /// The sources it takes from; `None` for all.
    pub sources: Option<BTreeSet<SourceName>>,
    /// What to do when nobody told what the visitor allowed.
    pub on_unknown_consent: OnUnknownConsent,
    /// Requests in flight at most, if not as many as for the others.
    pub concurrency: Option<usize>,
    /// It gets only what its operator hands over from that destination.
    pub fallback_for: Option<DestinationName>,
    /// Which of the visitor's clicks it takes.
    pub click: ClickRule,
}

#[cfg(test)]
mod tests;
