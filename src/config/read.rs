//! From one merged table to [`Config`].

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    ops::RangeInclusive,
    sync::Arc,
    time::Duration,
};

use toml::Table;
use tracing_subscriber::EnvFilter;

use super::{Config, DestinationConfig, Links};
use crate::{
    attribution::{CLICK_WINDOW, DEFAULT_RULE},
    capture::{self, privacy_page::Contact},
    delivery,
    destinations::{Chosen, Common, OnUnknownConsent, REGISTRY},
    intake::{
        self, Reconcile, SourceConfig,
        sources::{self, Mapping, TestEvents},
    },
    links::policy::Policy,
    model::{ClickRule, Credit, Currency, DestinationName, EventName, Problem, Settings, SourceName},
    pipeline,
    privacy::Country,
    store,
    telemetry::LogFormat,
    web::{Network, TrustedProxies},
};

pub(super) const SECOND: Duration = Duration::from_secs(1);
pub(super) const HOUR: Duration = Duration::from_secs(3600);
pub(super) const DAY: Duration = Duration::from_secs(86_400);

/// Public paths of our own, next to those below `/files/`, `/webhooks/` and `/capi/`.
pub(super) const PATHS_TAKEN: [&str; 3] = ["/v1/events", "/healthz", "/readyz"];

/// Checks every setting.
///
/// # Errors
/// Every problem, `problems` found before among them.
pub(super) fn config(table: Table, problems: Vec<Problem>) -> Result<Config, Vec<Problem>> {
    let mut settings = Settings::new("", table);
    for Problem { key, message } in problems {
        settings.problem(&key, message);
    }
    let mut public_url = None;
    let (public, trusted_proxies) = settings.section("public", |section| {
        public_url = section.url("url");
        let networks = section.list("trusted_proxies", "an address or a network such as 10.0.0.0/8", Network::parse);
        (address(section), TrustedProxies(networks.unwrap_or_default()))
    });
    let (admin, admin_token) = settings.section("admin", |section| {
        let listen = address(section);
        if listen.is_some_and(|listen| !listen.ip().is_loopback()) {
            section.need("token", "it must be set when admin.listen is not a loopback address");
        }
        (listen, section.secret("token"))
    });
    let mut store = settings.section("store", store_section);
    settings.section("retention", |section| {
        let kept = DAY..=DAY * 3650;
        store.dedupe = days(section, "dedupe", kept.clone());
        store.visits = days(section, "visits", kept.clone());
        store.clicks = days(section, "clicks", kept.clone());
        store.delivered = days(section, "delivered", kept.clone());
        store.dead_letters = days(section, "dead_letters", kept);
    });
    let (mut intake, mut sources, default_country) = settings.section("intake", intake_section);
    let wait_for_visit = settings
        .section("join", |section| section.duration("wait_for_visit", Duration::ZERO..=DAY).unwrap_or_default());
    let delivery = settings.section("delivery", delivery_section);
    let mut privacy_contact = None;
    let capture = settings.section("capture", |section| {
        privacy_contact = section.text("privacy_contact").map(|text| Contact::of(&text));
        super::read_capture::read(section)
    });
    let mut links = settings.section("links", super::read_links::read);
    links.policy = settings.section("utm", Policy::read);
    let (log_format, log_level) = settings.section("log", |section| {
        let format = section.parsed("format", "human or json", |text| match text {
            "human" => Some(LogFormat::Human),
            "json" => Some(LogFormat::Json),
            _ => None,
        });
        let level = section.parsed("level", "a level such as info, or a filter as RUST_LOG has it", |text| {
            EnvFilter::try_new(text).is_ok().then(|| text.to_owned())
        });
        (format.unwrap_or_default(), level.unwrap_or_default())
    });
    let mut posted: Vec<SourceConfig> = Vec::new();
    settings.tables("sources", |section| posted.extend(source(section, public_url.as_deref(), &mut sources)));
    for (name, problem) in shared_numbers(&posted) {
        settings.problem(&format!("sources.{name}.transaction_prefix"), problem);
    }
    intake.sources = posted;
    intake.segment.trusted_proxies = trusted_proxies.clone();
    let files = store.path.join("files").display().to_string();
    let mut names = BTreeSet::new();
    let destinations = settings.tables("destinations", |section| {
        let name = section.required_parsed("name", &named("meta"), name::<DestinationName>);
        if name.as_ref().is_some_and(|name| !names.insert(name.clone())) {
            section.problem("name", "is that of another destination");
        } else if let Some(name) = &name {
            section.rename(format!("destinations.{name}."));
        }
        destination(section, name, &files, &sources)
    });
    let mut destinations: Option<Vec<DestinationConfig>> = destinations.into_iter().collect();
    destinations.iter_mut().for_each(|all| choose_apart(all));
    for (name, problem) in destinations.iter().flat_map(|all| fallbacks(all)) {
        settings.problem(&format!("destinations.{name}.fallback_for"), problem);
    }
    let problems = settings.finish();
    match (public, admin, capture, destinations) {
        (Some(public), Some(admin), Some(capture), Some(destinations)) if problems.is_empty() => Ok(Config {
            public,
            public_url,
            admin,
            admin_token,
            store,
            intake,
            links: for_links(links, &capture, &trusted_proxies),
            privacy_contact,
            capture: capture::Config { trusted_proxies, default_country, ..capture },
            pipeline: pipeline::Config { default_country, wait_for_visit },
            delivery,
            log_format,
            log_level,
            destinations,
        }),
        _ => Err(problems),
    }
}

/// What other sections say for links.
fn for_links(mut links: Links, capture: &capture::Config, trusted_proxies: &TrustedProxies) -> Links {
    let own = [&capture.visits_path, &capture.tag_path, &capture.privacy_path].map(String::clone);
    links.redirect.own_paths = own.into_iter().chain(PATHS_TAKEN.map(str::to_owned)).collect();
    links.redirect.trusted_proxies = trusted_proxies.clone();
    links.redirect.cookie_domain.clone_from(&capture.cookie_domain);
    links.redirect.cookie_life = capture.cookie_life;
    links.redirect.require_consent = capture.require_consent;
    links.redirect.respect_gpc = capture.respect_gpc;
    links
}

/// Where destinations choose clicks by different rules, each is to see its own alone.
fn choose_apart(destinations: &mut [DestinationConfig]) {
    let alike = destinations.windows(2).all(|pair| pair[0].click == pair[1].click);
    for config in destinations.iter_mut().filter(|_| !alike) {
        config.destination = Arc::new(Chosen::new(Arc::clone(&config.destination), config.click));
    }
}

/// What is wrong with whom files are to stand in for.
fn fallbacks(destinations: &[DestinationConfig]) -> Vec<(DestinationName, &'static str)> {
    let problem = |config: &DestinationConfig| {
        let wanted = config.fallback_for.as_ref()?;
        let problem = match destinations.iter().find(|other| other.name == *wanted) {
            None => "must name a destination of this configuration",
            Some(other) if other.name == config.name => "must name another destination",
            Some(other) if other.destination.file().is_some() => "must name a destination that is no file itself",
            Some(_) => return None,
        };
        Some((config.name.clone(), problem))
    };
    destinations.iter().filter_map(problem).collect()
}

fn address(section: &mut Settings) -> Option<SocketAddr> {
    section.required_parsed("listen", "an address and a port, such as 127.0.0.1:8080", |text| text.parse().ok())
}

/// What a name has to be.
pub(super) fn named(example: &str) -> String {
    format!("a name such as {example}: a to z, 0 to 9, - and _, beginning with a letter, at most 40")
}

pub(super) fn name<T: TryFrom<String>>(text: &str) -> Option<T> {
    T::try_from(text.to_owned()).ok()
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
        clicks: DAY,
        delivered: DAY,
        dead_letters: DAY,
        queue_max: section.number("queue_max", 1..=1_000_000_000).unwrap_or(1),
        segment_bytes: store::journal::SEGMENT_BYTES,
        cache_bytes: section.number("cache_mib", 8..=65_536).unwrap_or(8) << 20,
    }
}

/// The settings, the names of all sources, also of those whose keys are wrong, and the default country.
fn intake_section(section: &mut Settings) -> (intake::Config, BTreeSet<SourceName>, Option<Country>) {
    let default_country =
        section.parsed("default_country", "an ISO 3166-1 country code such as US", |text| Country::parse(text).ok());
    let (mut seen, mut sources) = (BTreeSet::new(), BTreeSet::new());
    let keys = section.tables("keys", |section| {
        let name = section.required_parsed("name", &named("shop-backend"), name::<SourceName>);
        sources.extend(name.clone());
        let key = section.need("key", "the key itself, best as \"${RELAY_KEY}\"").secret("key");
        if key.as_ref().is_some_and(|key| !seen.insert(key.expose().to_owned())) {
            section.problem("key", "is the key of another entry too; a key stands for one source");
        }
        Some((name?, key?))
    });
    let config = intake::Config {
        keys: keys.into_iter().flatten().collect(),
        body_bytes_max: section.number("body_bytes_max", 1024..=64 << 20).unwrap_or(1),
        batch_max: section.number("batch_max", 1..=10_000).unwrap_or(1),
        sources: Vec::new(),
        segment: section.section("segment", |section| segment_section(section, default_country)),
    };
    (config, sources, default_country)
}

/// The Segment API; its proxies are those of `[public]`.
fn segment_section(section: &mut Settings, default_country: Option<Country>) -> intake::segment::Config {
    intake::segment::Config {
        worth: sources::worth(section),
        currency: section
            .parsed("currency", "an ISO 4217 currency code such as EUR", |text| Currency::parse(text).ok()),
        ad_consent: section.text("ad_consent"),
        trusted_proxies: TrustedProxies::default(),
        default_country,
    }
}

/// Sources of one kind that number their orders from 1, and would be taken for one: all but the first need a prefix.
fn shared_numbers(configured: &[SourceConfig]) -> Vec<(SourceName, String)> {
    let problem = |(i, source): (usize, &SourceConfig)| {
        let same =
            |other: &&SourceConfig| other.kind == source.kind && other.transaction_prefix == source.transaction_prefix;
        let other = configured[..i].iter().find(same).filter(|_| sources::numbers_from_one(source.kind))?;
        let why = format!(
            "is missing: this source and {} number their orders independently, so two orders with one number would count \
             as one; set it to a text such as \"eu-\"",
            other.name
        );
        Some((source.name.clone(), why))
    };
    configured.iter().enumerate().filter_map(problem).collect()
}

/// A source of webhooks; `known` are the names of the sources so far, and of this one after it.
fn source(section: &mut Settings, public_url: Option<&str>, known: &mut BTreeSet<SourceName>) -> Option<SourceConfig> {
    let name = section.required_parsed("name", &named("shop"), name::<SourceName>);
    if name.as_ref().is_some_and(|name| !known.insert(name.clone())) {
        section.problem("name", "is that of another source, or of a key in intake.keys");
    } else if let Some(name) = &name {
        section.rename(format!("sources.{name}."));
    }
    let kinds: Vec<&str> = sources::REGISTRY.iter().map(|descriptor| descriptor.kind).collect();
    let descriptor = section.required_parsed("kind", &format!("one of {}", kinds.join(", ")), |text| {
        sources::REGISTRY.iter().find(|descriptor| descriptor.kind == text)
    });
    let test_events = section.parsed("test_events", "ignore or accept", |text| match text {
        "ignore" => Some(TestEvents::Ignore),
        "accept" => Some(TestEvents::Accept),
        _ => None,
    });
    let map = Mapping::read(section).map(Arc::new);
    let expected = "at most 32 letters, digits and -_.: such as eu-";
    let transaction_prefix = section.parsed("transaction_prefix", expected, |text| {
        let plain = text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.:".contains(&b));
        (plain && text.len() <= 32).then(|| text.to_owned())
    });
    const WHEN: &str = "a table: { every = \"1h\", since = \"2d\" }";
    let reconcile = section.table("reconcile", WHEN, |section| {
        let every = section.need("every", "how long after one run the next begins").duration("every", SECOND..=DAY);
        let since = section.need("since", "how far back each run looks").duration("since", SECOND..=DAY * 30);
        Some(Reconcile { every: every?, since: since? })
    });
    let Some(descriptor) = descriptor else {
        section.rest();
        return None;
    };
    // One without a name is checked all the same.
    let called = name.clone().unwrap_or_else(|| SourceName::new("unnamed").expect("a valid name"));
    let address = public_url.map(|url| format!("{}/webhooks/{called}", url.trim_end_matches('/')));
    let common = sources::Common {
        name: called,
        address,
        test_events: test_events.unwrap_or_default(),
        mapped: mapped_fields(map.as_deref()),
    };
    let source = (descriptor.build)(&common, section)?;
    let reconcile = reconcile.flatten();
    if reconcile.is_some() && source.listing().is_none() {
        section.problem("reconcile", "this source cannot be listed: its kind has no such API, or its `api` is missing");
    }
    Some(SourceConfig { name: name?, kind: descriptor.kind, source, map, reconcile, transaction_prefix })
}

fn mapped_fields(map: Option<&Mapping>) -> Vec<String> {
    map.map(|map| map.fields().map(str::to_owned).collect()).unwrap_or_default()
}

fn delivery_section(section: &mut Settings) -> delivery::Config {
    let wait = Duration::from_millis(1)..=DAY;
    let first = section.duration("retry_first", wait.clone());
    let max = section.duration("retry_max", wait.clone());
    if first.zip(max).is_some_and(|(first, max)| max < first) {
        section.problem("retry_max", "must not be shorter than retry_first");
    }
    delivery::Config {
        schedule: delivery::Schedule { first: first.unwrap_or(SECOND), max: max.unwrap_or(HOUR) },
        probe_every: section.duration("probe_every", wait).unwrap_or(SECOND),
        drain: section.duration("drain", Duration::ZERO..=HOUR).unwrap_or(SECOND),
        concurrency: section.number("concurrency", 1..=64).unwrap_or(1),
        warn_before: section.duration("warn_before", Duration::ZERO..=DAY * 90).unwrap_or(DAY),
    }
}

/// A destination; `files` is where import files are unless it says otherwise, `known` are the names of the sources.
fn destination(
    section: &mut Settings,
    name: Option<DestinationName>,
    files: &str,
    known: &BTreeSet<SourceName>,
) -> Option<DestinationConfig> {
    let kinds: Vec<&str> = REGISTRY.iter().map(|descriptor| descriptor.kind).collect();
    let descriptor = section.required_parsed("kind", &format!("one of {}", kinds.join(", ")), |text| {
        REGISTRY.iter().find(|descriptor| descriptor.kind == text)
    });
    // A generated key has a name that nobody configured.
    let sources = section.list("sources", "the name of a source in intake.keys or sources", |text| {
        self::name::<SourceName>(text).filter(|name| known.is_empty() || known.contains(name))
    });
    if sources.as_ref().is_some_and(Vec::is_empty) {
        section.problem("sources", "must name at least one source; leave it out to take from all");
    }
    let expected = "send (without a statement about consent) or skip";
    let on_unknown_consent = section.parsed("on_unknown_consent", expected, |text| match text {
        "send" => Some(OnUnknownConsent::Send),
        "skip" => Some(OnUnknownConsent::Skip),
        _ => None,
    });
    let hold_after_click = section.duration("hold_after_click", Duration::ZERO..=DAY * 30);
    let fallback_for = match descriptor {
        Some(descriptor) if descriptor.kind == "file" => {
            section.parsed("fallback_for", "the name of another destination", self::name::<DestinationName>)
        }
        _ => None,
    };
    // Rows of an import file are written one batch after the other.
    let concurrency = match descriptor {
        Some(descriptor) if descriptor.kind != "file" => section.number("concurrency", 1..=64),
        _ => None,
    };
    let click = click_rule(section);
    let events = events(section);
    let mut rest = section.rest();
    let descriptor = descriptor?;
    if descriptor.kind == "file" && !rest.contains_key("path") {
        rest.insert("path".to_owned(), files.into());
    }
    let mapped = events.keys().cloned().collect();
    // One without a name is checked all the same.
    let called = name.clone().unwrap_or_else(|| DestinationName::new("unnamed").expect("a valid name"));
    let common = Common { name: called, events, hold_after_click, fallback_for: fallback_for.clone() };
    match (descriptor.build)(common, rest) {
        Ok(destination) => Some(DestinationConfig {
            name: name?,
            kind: descriptor.kind,
            destination: Arc::from(destination),
            events: mapped,
            sources: sources.map(BTreeSet::from_iter),
            on_unknown_consent: on_unknown_consent.unwrap_or_default(),
            concurrency,
            fallback_for,
            click,
        }),
        Err(problems) => {
            section.problems_of_rest(problems);
            None
        }
    }
}

/// Which of the visitor's clicks a destination takes.
fn click_rule(section: &mut Settings) -> ClickRule {
    let credit = section.parsed("click", "last, first or last_paid", |text| match text {
        "last" => Some(Credit::Last),
        "first" => Some(Credit::First),
        "last_paid" => Some(Credit::LastPaid),
        _ => None,
    });
    let window = section.duration("click_window", HOUR..=CLICK_WINDOW).unwrap_or(CLICK_WINDOW);
    let exclusive = section.flag("click_exclusive").unwrap_or(false);
    let window_s = u32::try_from(window.as_secs()).unwrap_or(DEFAULT_RULE.window_s);
    ClickRule { credit: credit.unwrap_or_default(), window_s, exclusive }
}

fn events(section: &mut Settings) -> BTreeMap<EventName, String> {
    const WHAT: &str = "a table of our event names and what the platform calls them: purchase = \"Purchase\"";
    let events = section.need("events", WHAT).table("events", WHAT, |events| {
        let (names, mut mapped) = (events.names(), BTreeMap::new());
        for name in &names {
            let text = events.text(name);
            match EventName::new(name.as_str()) {
                Ok(event) => mapped.extend(text.map(|text| (event, text))),
                Err(why) => events.problem(name, why.to_string()),
            }
        }
        (names.is_empty(), mapped)
    });
    let (none, mapped) = events.unwrap_or_default();
    if none {
        section.problem("events", "must map at least one event");
    }
    mapped
}
