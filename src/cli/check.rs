//! `conversion-relay check`

use std::{path::PathBuf, process::ExitCode};

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// The configuration file; without one the compiled-in defaults are checked
    #[arg(long, short)]
    config: Option<PathBuf>,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let config = super::configuration(arguments.config.as_ref())?;
    println!("the configuration is valid");
    println!("  public listener  {}", config.public);
    let guard = if config.admin_token.is_some() { "with a token" } else { "loopback, without a token" };
    println!("  admin listener   {} ({guard})", config.admin);
    println!("  data             {}", config.store.path.display());
    let keys: Vec<&str> = config.intake.keys.iter().map(|(name, _)| name.as_str()).collect();
    let keys = if keys.is_empty() { "none: one is made at the first start".to_owned() } else { keys.join(", ") };
    println!("  keys             {keys}");
    for destination in &config.destinations {
        let events: Vec<&str> = destination.events.iter().map(crate::model::EventName::as_str).collect();
        println!("  destination      {} ({}): {}", destination.name, destination.kind, events.join(", "));
    }
    if config.destinations.is_empty() {
        println!("  destination      none: events are kept, and sent nowhere");
    }
    Ok(ExitCode::SUCCESS)
}
