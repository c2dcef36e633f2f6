//! The configuration: compiled-in defaults, then the file, then the environment; checked whole before anything starts.

mod load;
mod read;
mod read_capture;
mod read_links;

use std::{collections::BTreeSet, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use axum::http::HeaderName;

pub use load::{ConfigError, load};

use crate::{
    capture::{self, privacy_page::Contact, redirect},
    delivery,
    destinations::{Destination, OnUnknownConsent},
    intake,
    links::policy::Policy,
    model::{ClickRule, DestinationName, EventName, Secret, SourceName},
    pipeline, store,
    telemetry::LogFormat,
    tracking::checks,
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
    /// Tracked links.
    pub links: Links,
    /// Whom visitors may ask about their data; `capture.privacy_contact`.
    pub privacy_contact: Option<Contact>,
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

/// Tracked links.
pub struct Links {
    /// How they are asked for.
    pub redirect: redirect::Config,
    /// What their UTM values may be; `[utm]`.
    pub policy: Policy,
    /// How many there may be.
    pub max: usize,
    /// One human click of a visitor on a link in so long counts as unique.
    pub unique_window: Duration,
    /// Links that are kept in a file.
    pub file: Option<PathBuf>,
    /// Bots that the operator knows.
    pub bots_file: Option<PathBuf>,
    /// The header in which a trusted proxy tells the country.
    pub country_header: Option<HeaderName>,
    /// A file that tells the country.
    pub geo_file: Option<PathBuf>,
    /// Whether destinations are looked after.
    pub checks: checks::Settings,
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
