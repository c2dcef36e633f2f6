//! `conversion-relay preview`

use std::{io::Read as _, path::PathBuf, process::ExitCode, sync::Arc};

use anyhow::{Context as _, bail};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;

use crate::{
    app,
    config::Config,
    delivery,
    destinations::{Request, Unsendable},
    intake::{self, Previewed, SourceConfig},
    model::{Clock as _, NewDelivery, NewState, RawEvent, SourceName, SystemClock},
    pipeline::{Pipeline, Route},
    store::memory,
    web::Problem,
};

/// Who is taken to have posted the event when nobody says.
const NO_SOURCE: &str = "preview";

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// The configuration file; without one the compiled-in defaults hold
    #[arg(long, short)]
    config: Option<PathBuf>,
    /// Who is to have posted it: the name of a source in [[sources]], or of a key in [intake] keys
    #[arg(long)]
    source: Option<String>,
    /// A header that the source sends along, such as 'X-Shopify-Topic: orders/paid'; as often as needed
    #[arg(long, value_name = "NAME: VALUE", value_parser = header, requires = "source")]
    header: Vec<(HeaderName, HeaderValue)>,
    /// A file with the body that the source posts, or with the JSON of one event as POST /v1/events takes it; - for
    /// standard input
    body: PathBuf,
}

/// Reads `Name: value`.
fn header(text: &str) -> Result<(HeaderName, HeaderValue), String> {
    let parts = text
        .split_once(':')
        .and_then(|(name, value)| Some((name.trim().parse().ok()?, HeaderValue::from_str(value.trim()).ok()?)));
    parts.ok_or_else(|| "must be a header such as 'X-Shopify-Topic: orders/paid'".to_owned())
}

pub(super) async fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let config = super::configuration(arguments.config.as_ref())?;
    let body = if arguments.body.as_os_str() == "-" {
        let mut body = Vec::new();
        std::io::stdin().read_to_end(&mut body)?;
        body
    } else {
        std::fs::read(&arguments.body).with_context(|| format!("cannot read {}", arguments.body.display()))?
    };
    let name = arguments.source.as_deref().unwrap_or(NO_SOURCE);
    let name = SourceName::new(name).context("--source is no name of a source")?;
    let posted = config.intake.sources.iter().find(|source| source.name == name).cloned();
    match posted {
        Some(source) => of_source(arguments, &source, config, &body).await,
        None => of_key(arguments, &name, config, &body).await,
    }
}

/// What `POST /v1/events` would make of it.
async fn of_key(arguments: &Arguments, source: &SourceName, config: Config, body: &[u8]) -> anyhow::Result<ExitCode> {
    if !arguments.header.is_empty() {
        bail!("--header is for the body of a source in [[sources]]; {source} is none");
    }
    let given: Option<Value> = serde_json::from_slice(body).ok();
    if given.is_some_and(|given| given.get("events").is_some()) {
        bail!("preview takes one event, without the list around it");
    }
    let keys = &config.intake.keys;
    if arguments.source.is_some() && !keys.is_empty() && !keys.iter().any(|(name, _)| name == source) {
        println!("note: no source in [[sources]] and no key in [intake] keys has the name {source}");
    }
    let event = match intake::read_event(body, source, SystemClock.now()) {
        Ok(event) => event,
        Err(problem) => return refused("the relay would refuse this event:", &problem),
    };
    let pipeline = pipeline(config).await?;
    requests(&pipeline, event)?;
    Ok(ExitCode::SUCCESS)
}

/// What a source would make of a body.
async fn of_source(
    arguments: &Arguments,
    source: &SourceConfig,
    config: Config,
    body: &[u8],
) -> anyhow::Result<ExitCode> {
    let headers: HeaderMap = arguments.header.iter().cloned().collect();
    println!("source {} ({}); its signature is taken for right", source.name, source.kind);
    let entries = match intake::preview(source, &headers, body, SystemClock.now()) {
        Ok(entries) => entries,
        Err(refusal) => return refused("the relay would refuse this body:", &refusal.problem),
    };
    if entries.is_empty() {
        println!("the body holds no entries: it would be taken, and nothing of it sent");
    }
    let pipeline = pipeline(config).await?;
    let (several, mut code) = (entries.len() > 1, ExitCode::SUCCESS);
    for (i, entry) in entries.into_iter().enumerate() {
        if several {
            println!("\n═══ entry {}", i + 1);
        }
        match entry {
            Previewed::Ignored { topic, reason } => {
                let topic = Some(topic).filter(|topic| !topic.is_empty()).map(|topic| format!(" ({topic})"));
                println!("ignored: {reason}{}", topic.unwrap_or_default());
                if reason == "test event" {
                    println!("test_events = \"accept\" takes the provider's tests too");
                }
            }
            Previewed::Refused(problem) => code = refused("the relay would refuse this entry:", &problem)?,
            Previewed::Event { shown, event, left_out, lookup } => {
                println!("reads as the event\n\n{}\n", serde_json::to_string_pretty(&shown)?);
                for problem in left_out {
                    println!("left out: {}", problem.detail);
                }
                if let Some(limit) = lookup {
                    println!(
                        "waits up to {} s for what the provider is asked, which preview does not do",
                        limit.as_secs()
                    );
                }
                requests(&pipeline, *event)?;
            }
        }
    }
    Ok(code)
}

fn refused(what: &str, problem: &Problem) -> anyhow::Result<ExitCode> {
    eprintln!("{what}");
    eprintln!("{}", serde_json::to_string_pretty(problem)?);
    Ok(ExitCode::FAILURE)
}

/// A pipeline with the destinations of the configuration, and nothing in its store.
async fn pipeline(config: Config) -> anyhow::Result<Pipeline> {
    let stores = memory::open(memory::SimulatedDisk::default(), config.store.clone())?;
    let ids = app::register(&stores, &config.destinations).await?;
    let routes = app::routes(&config.destinations, &ids);
    Ok(Pipeline::new(stores, routes, config.pipeline, Arc::new(SystemClock), delivery::Metrics::default()))
}

/// Prints what each destination would get.
fn requests(pipeline: &Pipeline, event: RawEvent) -> anyhow::Result<()> {
    let new = pipeline.seal(event)?;
    println!("event_id {}", new.event.event_id);
    if new.waits_for.is_some() {
        println!("names a visitor: it would be joined to that visitor's visit, which preview cannot see");
    }
    for (delivery, route) in new.deliveries.iter().zip(pipeline.routes()) {
        println!("\n── {}", route.name);
        show(delivery, route, &new.event)?;
    }
    Ok(())
}

fn show(delivery: &NewDelivery, route: &Route, event: &crate::model::SealedEvent) -> anyhow::Result<()> {
    match delivery.state {
        NewState::Skipped(reason) => {
            println!("skipped: {}", reason.as_str());
            return Ok(());
        }
        NewState::Expired => {
            println!("expired: past the platform's age limit");
            return Ok(());
        }
        NewState::Queued { due, deadline, wait } => {
            if let Some(wait) = wait {
                println!("waits until {due} ({})", wait.as_str());
            }
            println!("to be delivered before {deadline}");
        }
    }
    match route.destination.admit(event) {
        Err(Unsendable::Skip(reason)) => println!("skipped: {}", reason.as_str()),
        Err(Unsendable::Reject(failure)) => println!("dead letter: {}: {}", failure.code, failure.message),
        Ok(()) => match route.destination.prepare(std::slice::from_ref(event)) {
            Request::Http(request) => {
                println!("POST {}", request.url);
                for (name, value) in &request.headers {
                    println!("{name}: {value}");
                }
                let body: serde_json::Value = serde_json::from_slice(&request.body)?;
                println!("\n{}", serde_json::to_string_pretty(&body)?);
            }
            Request::Rows(rows) => {
                println!("appends to the file of the day in {}:\n", rows.directory.display());
                println!("{}{}", rows.header, rows.rows.trim_end());
            }
        },
    }
    Ok(())
}
