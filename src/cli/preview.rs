//! `conversion-relay preview`

use std::{io::Read as _, path::PathBuf, process::ExitCode, sync::Arc};

use anyhow::{Context as _, bail};

use crate::{
    app, delivery,
    destinations::{Request, Unsendable},
    intake,
    model::{Clock as _, NewDelivery, NewState, SourceName, SystemClock},
    pipeline::{Pipeline, Route},
    store::memory,
};

/// Who is taken to have posted the event when nobody says.
const NO_SOURCE: &str = "preview";

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// The configuration file; without one the compiled-in defaults hold
    #[arg(long, short)]
    config: Option<PathBuf>,
    /// The source that is to have posted the event: the name of a key in [intake] keys
    #[arg(long)]
    source: Option<String>,
    /// A file with the JSON of one event as POST /v1/events takes it; - for standard input
    event: PathBuf,
}

pub(super) async fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let config = super::configuration(arguments.config.as_ref())?;
    let body = if arguments.event.as_os_str() == "-" {
        let mut body = Vec::new();
        std::io::stdin().read_to_end(&mut body)?;
        body
    } else {
        std::fs::read(&arguments.event).with_context(|| format!("cannot read {}", arguments.event.display()))?
    };
    let given: Option<serde_json::Value> = serde_json::from_slice(&body).ok();
    if given.is_some_and(|given| given.get("events").is_some()) {
        bail!("preview takes one event, without the list around it");
    }
    let source = arguments.source.as_deref().unwrap_or(NO_SOURCE);
    let source = SourceName::new(source).context("--source is no name of a source")?;
    let keys = &config.intake.keys;
    if arguments.source.is_some() && !keys.is_empty() && !keys.iter().any(|(name, _)| *name == source) {
        println!("note: no key in [intake] keys has the name {source}");
    }
    let clock = Arc::new(SystemClock);
    let event = match intake::read_event(&body, &source, clock.now()) {
        Ok(event) => event,
        Err(problem) => {
            eprintln!("the relay would refuse this event:");
            eprintln!("{}", serde_json::to_string_pretty(&problem)?);
            return Ok(ExitCode::FAILURE);
        }
    };
    let stores = memory::open(memory::SimulatedDisk::default(), config.store.clone())?;
    let ids = app::register(&stores, &config.destinations).await?;
    let routes = app::routes(&config.destinations, &ids);
    let pipeline = Pipeline::new(stores, routes, config.pipeline, clock, delivery::Metrics::default());
    let new = pipeline.seal(event)?;
    println!("event_id {}", new.event.event_id);
    if new.waits_for.is_some() {
        println!("names a visitor: it would be joined to that visitor's visit, which preview cannot see");
    }
    for (delivery, route) in new.deliveries.iter().zip(pipeline.routes()) {
        println!("\n── {}", route.name);
        show(delivery, route, &new.event)?;
    }
    Ok(ExitCode::SUCCESS)
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
