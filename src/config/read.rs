//! From one merged table to [`Config`].

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    ops::RangeInclusive,
    sync::Arc,
    time::Duration,
};

use toml::Table;

use super::{Config, DestinationConfig};
use crate::{
    capture, delivery,
    destinations::{Common, OnUnknownConsent, REGISTRY},
    intake,
    model::{DestinationName, EventName, Problem, Secret, Settings, SourceName},
    pipeline,
    privacy::Country,
    store,
    telemetry::LogFormat,
    web::{Network, TrustedProxies},
};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);

/// The shortest key that is no invitation.
const KEY_BYTES_MIN: usize = 16;

/// Checks every setting.
///
/// # Errors
/// Every problem, `problems` found before among them.
pub(super) fn config(table: Table, problems: Vec<Problem>) -> Result<Config, Vec<Problem>> {
    let mut settings = Settings::new("", table);
    settings.problems(problems);
    let (public, trusted_proxies) = settings.section("public", |section| {
        section.parsed("url", "an http or https address such as https://t.example.com", |text| {
            crate::web::page_problem(text).is_none().then_some(())
        });
        (address(section), TrustedProxies(networks(section)))
    });
    let (admin, admin_token) = settings.section("admin", |section| {
        let listen = address(section);
        let token = secret(section, "token");
        if token.is_none() && listen.is_some_and(|listen| !listen.ip().is_loopback()) {
            section.problem("token", "is missing: it must be set when admin.listen is not a loopback address");
        }
        (listen, token)
    });
    let mut store = settings.section("store", store_section);
    settings.section("retention", |section| {
        let kept = DAY..=DAY * 3650;
        store.dedupe = days(section, "dedupe", kept.clone());
        store.visits = days(section, "visits", kept.clone());
        store.delivered = days(section, "delivered", kept.clone());
        store.dead_letters = days(section, "dead_letters", kept);
    });
    let (intake, default_country) = settings.section("intake", intake_section);
    let wait_for_visit = settings
        .section("join", |section| section.duration("wait_for_visit", Duration::ZERO..=DAY).unwrap_or_default());
    let delivery = settings.section("delivery", delivery_section);
    let visits_path = settings.section("capture", |section| {
        section.parsed("visits_path", "a path such as /v1/visits", |text| {
            let plain = text.bytes().all(|b| b.is_ascii_alphanumeric() || b"/._-".contains(&b));
            (text.starts_with('/') && text.len() > 1 && plain && text != "/v1/events").then(|| text.to_owned())
        })
    });
    let (log_format, log_level) = settings.section("log", |section| {
        let format = section.parsed("format", "human or json", |text| match text {
            "human" => Some(LogFormat::Human),
            "json" => Some(LogFormat::Json),
            _ => None,
        });
        (format.unwrap_or_default(), section.text("level").unwrap_or_else(|| "info".to_owned()))
    });
    if settings.has("sources") {
        settings.take("sources");
        settings.problem("sources", "webhook sources are not part of this version; post to /v1/events instead");
    }
    let files = store.path.join("files").display().to_string();
    let destinations = settings.tables("destinations", |section| destination(section, &files));
    let mut names = BTreeSet::new();
    for (i, destination) in destinations.iter().enumerate() {
        if let Some(destination) = destination.as_ref().filter(|destination| !names.insert(destination.name.clone())) {
            settings.problem(&format!("destinations[{i}].name"), format!("{} is taken", destination.name));
        }
    }
    let destinations: Option<Vec<DestinationConfig>> = destinations.into_iter().collect();
    let problems = settings.finish();
    match (public, admin, visits_path, destinations) {
        (Some(public), Some(admin), Some(visits_path), Some(destinations)) if problems.is_empty() => Ok(Config {
            public,
            admin,
            admin_token,
            store,
            intake,
            capture: capture::Config { visits_path, trusted_proxies, default_country },
            pipeline: pipeline::Config { default_country, wait_for_visit },
            delivery,
            log_format,
            log_level,
            destinations,
        }),
        _ => Err(problems),
    }
}

fn address(section: &mut Settings) -> Option<SocketAddr> {
    section.required_parsed("listen", "an address and a port, such as 127.0.0.1:8080", |text| text.parse().ok())
}

fn networks(section: &mut Settings) -> Vec<Network> {
    let texts = section.texts("trusted_proxies").unwrap_or_default();
    let networks: Option<Vec<Network>> = texts.iter().map(|text| Network::parse(text)).collect();
    networks.unwrap_or_else(|| {
        section.problem("trusted_proxies", "must be addresses or networks, such as [\"10.0.0.0/8\", \"192.0.2.7\"]");
        Vec::new()
    })
}

/// A key or token; one that could be guessed is refused.
fn secret(section: &mut Settings, key: &str) -> Option<Secret> {
    let secret = section.secret(key)?;
    if secret.expose().len() < KEY_BYTES_MIN || secret.expose().chars().any(|c| !c.is_ascii_graphic()) {
        section.problem(key, format!("must be at least {KEY_BYTES_MIN} printable ASCII characters without spaces"));
    }
    Some(secret)
}

fn days(section: &mut Settings, key: &str, allowed: RangeInclusive<Duration>) -> Duration {
    section.duration(key, allowed).unwrap_or(DAY)
}

fn store_section(section: &mut Settings) -> store::Config {
    section
        .required_parsed("engine", "sled, the embedded engine of this version", |text| (text == "sled").then_some(()));
    let path = section.required("path", "the data directory").unwrap_or_default();
    store::Config {
        path: path.into(),
        dedupe: DAY,
        visits: DAY,
        delivered: DAY,
        dead_letters: DAY,
        queue_max: section.number("queue_max", 1..=1_000_000_000).unwrap_or(1),
        segment_bytes: store::journal::SEGMENT_BYTES,
        cache_bytes: section.number("cache_mib", 8..=65_536).unwrap_or(8) << 20,
    }
}

fn intake_section(section: &mut Settings) -> (intake::Config, Option<Country>) {
    let default_country =
        section.parsed("default_country", "an ISO 3166-1 country code such as US", |text| Country::parse(text).ok());
    let mut seen = BTreeSet::new();
    let keys = section.tables("keys", |key| {
        let name = key.required_parsed("name", "a name such as shop-backend", |text| SourceName::new(text).ok());
        if !key.has("key") {
            key.required("key", "the key itself, best as \"${RELAY_KEY}\"");
        }
        let key = secret(key, "key");
        Some((name?, key?))
    });
    for (name, key) in keys.iter().flatten() {
        if !seen.insert(key.expose().to_owned()) {
            section.problem("keys", format!("{name} has the key of another; a key stands for one source"));
        }
    }
    let size = |number: Option<u64>| usize::try_from(number.unwrap_or(1)).unwrap_or(usize::MAX);
    let config = intake::Config {
        keys: keys.into_iter().flatten().collect(),
        body_bytes_max: size(section.number("body_bytes_max", 1024..=64 << 20)),
        batch_max: size(section.number("batch_max", 1..=10_000)),
    };
    (config, default_country)
}

fn delivery_section(section: &mut Settings) -> delivery::Config {
    let wait = Duration::from_millis(1)..=DAY;
    let first = section.duration("retry_first", wait.clone()).unwrap_or(SECOND);
    let max = section.duration("retry_max", wait.clone()).unwrap_or(HOUR);
    if max < first {
        section.problem("retry_max", "must not be shorter than retry_first");
    }
    delivery::Config {
        schedule: delivery::Schedule { first, max },
        probe_every: section.duration("probe_every", wait).unwrap_or(SECOND),
        drain: section.duration("drain", Duration::ZERO..=HOUR).unwrap_or(SECOND),
        concurrency: usize::try_from(section.number("concurrency", 1..=64).unwrap_or(1)).unwrap_or(1),
    }
}

fn destination(section: &mut Settings, files: &str) -> Option<DestinationConfig> {
    let name = section.required_parsed("name", "a name such as meta or google-eu", |t| DestinationName::new(t).ok());
    if let Some(name) = &name {
        section.rename(format!("destinations.{name}."));
    }
    let kinds: Vec<&str> = REGISTRY.iter().map(|descriptor| descriptor.kind).collect();
    let kinds = kinds.join(", ");
    let descriptor = section.required_parsed("kind", &format!("one of {kinds}"), |text| {
        REGISTRY.iter().find(|descriptor| descriptor.kind == text)
    });
    let sources = section.texts("sources");
    let sources = sources.map(|names| names.into_iter().map(SourceName::new).collect::<Result<BTreeSet<_>, _>>());
    let sources = sources.transpose().unwrap_or_else(|_| {
        section.problem("sources", "must be names of sources, such as [\"shop-backend\"]");
        None
    });
    let expected = "send (without a statement about consent) or skip";
    let on_unknown_consent = section.parsed("on_unknown_consent", expected, |text| match text {
        "send" => Some(OnUnknownConsent::Send),
        "skip" => Some(OnUnknownConsent::Skip),
        _ => None,
    });
    let hold_after_click = section.duration("hold_after_click", Duration::ZERO..=DAY * 30);
    let events = events(section);
    let mut rest = section.rest();
    let (Some(name), Some(descriptor)) = (name, descriptor) else { return None };
    if descriptor.kind == "file" && !rest.contains_key("path") {
        rest.insert("path".to_owned(), files.into());
    }
    let mapped = events.keys().cloned().collect();
    let common = Common { name: name.clone(), events, hold_after_click };
    match (descriptor.build)(common, rest) {
        Ok(destination) => Some(DestinationConfig {
            name,
            kind: descriptor.kind,
            destination: Arc::from(destination),
            events: mapped,
            sources,
            on_unknown_consent: on_unknown_consent.unwrap_or_default(),
        }),
        Err(problems) => {
            section.problems(problems);
            None
        }
    }
}

fn events(section: &mut Settings) -> BTreeMap<EventName, String> {
    let table = match section.take("events") {
        Some(toml::Value::Table(table)) if !table.is_empty() => table,
        _ => {
            let what = "must be a table of our event names and what the platform calls them: purchase = \"Purchase\"";
            section.problem("events", what);
            return BTreeMap::new();
        }
    };
    let mut events = BTreeMap::new();
    for (name, value) in table {
        match (EventName::new(name.as_str()), value) {
            (Ok(name), toml::Value::String(text)) if !text.trim().is_empty() => {
                events.insert(name, text);
            }
            (Ok(_), _) => {
                section.problem(&format!("events.{name}"), "must be a text in quotes: its name at the platform")
            }
            (Err(why), _) => section.problem(&format!("events.{name}"), why.to_string()),
        }
    }
    events
}
