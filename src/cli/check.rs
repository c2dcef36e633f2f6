//! `conversion-relay check`

use std::{path::PathBuf, process::ExitCode, sync::Arc};

use anyhow::Context as _;

use super::table;
use crate::{
    agents::{Agents, parse_overlay},
    capture::{self, Countries},
    config::{Config, DestinationConfig, Links},
    delivery::{self, rehearse::rehearse},
    destinations::{
        Destination,
        versions::{self, Life},
    },
    intake::{self, Reconcile, SourceConfig},
    links::file::read_toml,
    model::{Clock, EventName, SealedEvent, SourceName, SystemClock, Time},
    pipeline::Pipeline,
    store::memory,
};

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// The configuration file; without one the compiled-in defaults are checked
    #[arg(long, short)]
    config: Option<PathBuf>,
    /// Ask each platform whether it would take events, with the configured credentials. Nothing counts, unless a destination
    /// is set up with a test event code, which sends one event
    #[arg(long)]
    live: bool,
}

pub(super) async fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let config = super::configuration(arguments.config.as_ref())?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    println!("the configuration is valid");
    println!("  public listener  {}", config.public);
    let guard = if config.admin_token.is_some() { "with a token" } else { "loopback, without a token" };
    println!("  admin listener   {} ({guard})", config.admin);
    println!("  data             {}", config.store.path.display());
    let keys: Vec<&str> = config.intake.keys.iter().map(|(name, _)| name.as_str()).collect();
    let keys = if keys.is_empty() { "none: one is made at the first start".to_owned() } else { keys.join(", ") };
    println!("  keys             {keys}");
    for source in &config.intake.sources {
        println!("  source           {} ({}): {}", source.name, source.kind, posts_to(source));
    }
    for destination in &config.destinations {
        let events: Vec<&str> = destination.events.iter().map(EventName::as_str).collect();
        println!("  destination      {} ({}): {}", destination.name, destination.kind, events.join(", "));
        for line in stand_in(destination, &config.destinations) {
            println!("                   {line}");
        }
        if let Some(warning) = version_warning(&*destination.destination, clock.now()) {
            println!("                   {warning}");
        }
    }
    if config.destinations.is_empty() {
        println!("  destination      none: events are kept, and sent nowhere");
    }
    let sites = config.capture.sites.0.len();
    println!("  tag              {}, for pages of {sites} configured sites", config.capture.tag_path);
    if sites == 0 {
        println!("                   pages of other origins than the relay's own are refused: see capture.sites");
    }
    let hosts = &config.links.redirect.hosts;
    println!("  links            {}", if hosts.is_empty() { "/l/".to_owned() } else { hosts.join(", ") });
    let unusable = unusable_files(&config.links, &config.capture);
    for problem in &unusable {
        println!("                   {problem}");
    }
    if !unusable.is_empty() {
        return Ok(ExitCode::FAILURE);
    }
    if arguments.live && !ask_all(&config, clock).await? {
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

/// What is wrong with the files that links need.
fn unusable_files(links: &Links, capture: &capture::Config) -> Vec<String> {
    let mut problems = Vec::new();
    let read = |path: &PathBuf| std::fs::read_to_string(path).map_err(|error| error.to_string());
    let proxies = capture.trusted_proxies.clone();
    if let Err(error) = Countries::open(links.country_header.clone(), links.geo_file.clone(), proxies) {
        problems.push(format!("links.geo_file: {error}"));
    }
    if let Some(path) = &links.bots_file {
        let entries = read(path).and_then(|text| parse_overlay(&text).map_err(|why| why.to_string()));
        let usable = entries.and_then(|entries| Agents::new(entries).map_err(|why| why.to_string()));
        problems.extend(usable.err().map(|why| format!("links.bots_file: {why}")));
    }
    if let Some(path) = &links.file {
        match read(path) {
            Ok(text) => {
                let rejected = read_toml(&text).into_iter().filter_map(Result::err);
                problems.extend(rejected.map(|row| format!("links.file: line {}: {}", row.line, row.reason)));
            }
            Err(why) => problems.push(format!("links.file: {why}")),
        }
    }
    problems
}

/// Where a source posts to, and what else there is to it.
fn posts_to(source: &SourceConfig) -> String {
    let path = format!("/webhooks/{}", source.name);
    match source.reconcile {
        Some(Reconcile { every, since }) => {
            let (every, since) = (table::span(every), table::span(since));
            format!("{path}; every {every}, what no webhook brought in the last {since} is asked for")
        }
        None if source.source.listing().is_some() => {
            format!("{path}; what no webhook brought: reconcile {} --since 2d", source.name)
        }
        None => path,
    }
}

/// What is to be said of a file that stands in for another destination.
fn stand_in(file: &DestinationConfig, all: &[DestinationConfig]) -> Vec<String> {
    let Some(name) = &file.fallback_for else { return Vec::new() };
    let mut lines = vec![format!("gets only what is handed over from {name}: destinations spill {name}")];
    let other = all.iter().find(|other| other.name == *name);
    let untaken = other.into_iter().flat_map(|other| other.events.difference(&file.events));
    let untaken: Vec<&str> = untaken.map(EventName::as_str).collect();
    if !untaken.is_empty() {
        lines.push(format!("does not take {}: that stays where it is", untaken.join(", ")));
    }
    lines
}

/// What is to be said of the version of the platform's API.
fn version_warning(destination: &dyn Destination, now: Time) -> Option<String> {
    let (api, version) = destination.api()?;
    match versions::life(api, version, now) {
        Life::Lasting => None,
        Life::Ending(end) => {
            Some(format!("warning: {api} {version} works until {} only: choose a newer one before then", end.day()))
        }
        Life::Ended(end) => Some(format!("warning: {api} {version} ended on {}: choose a newer one", end.day())),
        Life::Unknown => {
            Some(format!("warning: {api} {version} is not known to this build: nobody can tell how long it works"))
        }
    }
}

/// Asks every platform. Whether all is well.
async fn ask_all(config: &Config, clock: Arc<dyn Clock>) -> anyhow::Result<bool> {
    let sample = sample(config, &clock)?;
    println!("\nasking the platforms");
    let mut well = true;
    for destination in &config.destinations {
        let name = &destination.name;
        let rehearsed = rehearse(&*destination.destination, &sample, Arc::clone(&clock)).await;
        if rehearsed.is_empty() {
            println!("  {name}: nobody to ask ({})", destination.kind);
        }
        for one in rehearsed {
            let (word, told) = match &one.result {
                Ok(works) => ("works", works),
                Err(wrong) => ("to fix", wrong),
            };
            well &= one.result.is_ok();
            println!("  {name}: {word}: {}", one.what);
            for line in told.lines() {
                println!("      {line}");
            }
        }
    }
    println!("{}", if well { "all is well" } else { "something is to be fixed" });
    Ok(well)
}

/// An event that is obviously not real, sealed like any other. Each has an id of its own, so that none is a duplicate.
fn sample(config: &Config, clock: &Arc<dyn Clock>) -> anyhow::Result<SealedEvent> {
    let id = format!("check-live-{:032x}", rand::random::<u128>());
    let event = serde_json::json!({
        "event": "purchase", "event_id": id, "transaction_id": id, "value": "0.01", "currency": "USD",
        "action_source": "website", "user": { "email": "check-live@example.com" },
        "context": { "url": "https://example.com/", "user_agent": "conversion-relay check --live" },
    });
    let source = SourceName::new("check-live").context("a valid name")?;
    let event = intake::read_event(event.to_string().as_bytes(), &source, clock.now());
    let event = event.map_err(|problem| anyhow::anyhow!("the sample event is refused: {problem:?}"))?;
    let stores = memory::open(memory::SimulatedDisk::default(), config.store.clone())?;
    let pipeline = Pipeline::new(stores, Vec::new(), config.pipeline, Arc::clone(clock), delivery::Metrics::default());
    Ok(pipeline.seal(event)?.event)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::{
        destinations::{Common, meta},
        model::DestinationName,
    };

    #[test]
    fn an_operator_hears_of_the_end_of_a_version_in_time() {
        let said = |version: &str, now: &str| {
            let purchase = EventName::new("purchase").expect("a name");
            let common = Common {
                name: DestinationName::new("meta").expect("a name"),
                events: BTreeMap::from([(purchase, "Purchase".to_owned())]),
                hold_after_click: None,
                fallback_for: None,
            };
            let table = format!("pixel_id = \"1\"\naccess_token = \"t\"\napi_version = \"{version}\"");
            let built = (meta::DESCRIPTOR.build)(common, table.parse().expect("TOML"));
            let destination = built.unwrap_or_else(|problems| panic!("{problems:?}"));
            version_warning(&*destination, Time::parse(now).expect("a time"))
        };
        assert_eq!(said("v26.0", "2026-11-20T08:15:00Z"), None);
        assert_eq!(said("v22.0", "2027-02-18T08:15:00Z"), None);
        let ending = said("v22.0", "2027-02-19T08:15:00Z").expect("a warning");
        assert!(ending.contains("meta_graph v22.0 works until 2027-05-20 only"), "{ending}");
        let ended = said("v22.0", "2027-05-21T08:15:00Z").expect("a warning");
        assert!(ended.contains("ended on 2027-05-20"), "{ended}");
        assert!(said("v21.0", "2026-11-20T08:15:00Z").expect("a warning").contains("not known"));
    }
}
