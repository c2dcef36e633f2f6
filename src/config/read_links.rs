//! `[links]` and `[utm]`.

use std::{path::PathBuf, time::Duration};

use axum::http::HeaderName;

use super::{
    Links,
    read::{DAY, HOUR, SECOND},
    read_capture::host,
};
use crate::{
    capture::redirect,
    links::policy::Policy,
    model::{Settings, UtmRule},
    tracking::checks,
    web::Network,
};

/// Reads `[links]`; what `[capture]` and `[public]` say for links is set elsewhere.
pub(super) fn read(section: &mut Settings) -> Links {
    let defaults = redirect::Config::default();
    let hosts = section.list("hosts", "a host such as go.brand.example", host);
    let fallback = section.url("fallback");
    let utm =
        section.parsed("utm", "keep (the destination's values win) or replace (the link's do)", |text| match text {
            "keep" => Some(UtmRule::Keep),
            "replace" => Some(UtmRule::Replace),
            _ => None,
        });
    let qa_token = section.secret("qa_token");
    let qa_networks = section.list("qa_networks", "an address or a network such as 10.0.0.0/8", Network::parse);
    let redirect = redirect::Config {
        hosts: hosts.unwrap_or_default(),
        fallback,
        utm: utm.unwrap_or_default(),
        qa_token,
        qa_networks: qa_networks.unwrap_or_default(),
        duplicate_window: section
            .duration("duplicate_window", Duration::ZERO..=DAY)
            .unwrap_or(defaults.duplicate_window),
        queue_max: section.number("queue_max", 1..=1_000_000).unwrap_or(defaults.queue_max),
        ..defaults
    };
    let country_header = section
        .parsed("country_header", "the name of a header, such as cf-ipcountry", |text| HeaderName::try_from(text).ok());
    let check_every = section.duration("check_every", Duration::ZERO..=DAY * 30).unwrap_or_default();
    if !check_every.is_zero() && check_every < HOUR / 4 {
        section.problem("check_every", "must be 0s, for never, or at least 15m: others have to answer");
    }
    let path = |text: &str| (!text.contains('\0')).then(|| PathBuf::from(text));
    Links {
        redirect,
        policy: Policy::default(),
        max: section.number("max", 1..=1_000_000).unwrap_or(100_000),
        unique_window: section.duration("unique_window", SECOND..=DAY * 30).unwrap_or(DAY),
        file: section.parsed("file", "the path of a file of links", path),
        bots_file: section.parsed("bots_file", "the path of a list in the form of crawler-user-agents.json", path),
        country_header,
        geo_file: section.parsed("geo_file", "the path of an MMDB file with countries", path),
        checks: checks::Settings { every: check_every, private: section.flag("check_private").unwrap_or(false) },
    }
}
