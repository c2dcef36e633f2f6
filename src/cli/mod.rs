//! The command line: one file for each command.

/// Prints a line as std's does, but does not panic when nobody reads on: `… | head` is no defect.
macro_rules! println {
    () => { $crate::cli::table::out(format_args!("\n")) };
    ($($told:tt)*) => { $crate::cli::table::out(format_args!("{}\n", format_args!($($told)*))) };
}

mod balance;
mod check;
mod dead_letters;
mod demo;
mod destinations;
mod events;
mod health;
mod import;
mod links;
mod preview;
mod reconcile;
mod relay;
mod replay;
mod report;
mod sandbox;
mod serve;
mod table;
mod visitors;
mod when;

use std::{collections::BTreeMap, path::PathBuf, process::ExitCode, time::Duration};

use clap::{Parser, Subcommand};

use crate::config::{self, Config, ConfigError};

/// How long work that blocks may still take when everything else has ended.
const BLOCKING_GRACE: Duration = Duration::from_secs(1);

/// Takes conversions from shops and CRMs, joins them to the ad click, and delivers them to Meta, Google and import files.
/// It never loses a sale.
#[derive(Parser)]
#[command(version, propagate_version = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Play the whole story against built-in platforms; no account needed
    Demo(demo::Arguments),
    /// Run the relay
    Serve(serve::Arguments),
    /// Validate the configuration and list all problems at once; with --live, ask the platforms too
    Check(check::Arguments),
    /// Print what becomes of an event or a webhook's body, and the request each destination would get; no network, nothing stored
    Preview(preview::Arguments),
    /// Run the strict stand-ins for the ad platforms, to test an integration against
    Sandbox(sandbox::Arguments),
    /// Post the rows of a CSV or JSON lines file to a running relay; may be run again until all are taken
    Import(import::Arguments),
    /// Look at events of a running relay
    #[command(subcommand)]
    Events(events::Arguments),
    /// List, show, send again or give up what a platform would not take
    #[command(subcommand)]
    DeadLetters(dead_letters::Arguments),
    /// See, pause and resume destinations, and hand over what waits
    #[command(subcommand)]
    Destinations(destinations::Arguments),
    /// Send again what ended in a span of time: for a new destination, or after a platform lost data
    Replay(replay::Arguments),
    /// Take what the webhooks of a shop did not bring, through the shop's API
    Reconcile(reconcile::Arguments),
    /// Make, change and count tracked links, and keep their UTM values in order
    #[command(subcommand)]
    Links(links::Arguments),
    /// What came of links and visits, as tables
    #[command(subcommand)]
    Report(report::Arguments),
    /// Look at visitors, and forget people
    #[command(subcommand)]
    Visitors(visitors::Arguments),
    /// Where every accepted event is: delivered, skipped, dead, expired or queued
    Balance(balance::Arguments),
    /// Ask a running relay whether it is ready; for container health checks
    Health(health::Arguments),
}

/// Runs the command line.
///
/// # Errors
/// What went wrong, to be printed.
pub fn run() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let result = runtime.block_on(async {
        match arguments.command {
            Command::Demo(arguments) => demo::run(arguments).await,
            Command::Serve(arguments) => serve::run(arguments).await,
            Command::Check(arguments) => check::run(&arguments).await,
            Command::Preview(arguments) => preview::run(&arguments).await,
            Command::Sandbox(arguments) => sandbox::run(arguments).await,
            Command::Import(arguments) => import::run(arguments).await,
            Command::Events(arguments) => events::run(arguments).await,
            Command::DeadLetters(arguments) => dead_letters::run(arguments).await,
            Command::Destinations(arguments) => destinations::run(arguments).await,
            Command::Replay(arguments) => replay::run(arguments).await,
            Command::Reconcile(arguments) => reconcile::run(arguments).await,
            Command::Links(arguments) => links::run(arguments).await,
            Command::Report(arguments) => report::run(arguments).await,
            Command::Visitors(arguments) => visitors::run(arguments).await,
            Command::Balance(arguments) => balance::run(arguments).await,
            Command::Health(arguments) => health::run(&arguments).await,
        }
    });
    // Looking through the whole journal, as the audit does, takes minutes, and may end anywhere.
    runtime.shutdown_timeout(BLOCKING_GRACE);
    result
}

/// The configuration of `file`, or the defaults, with this process's environment over it.
fn configuration(file: Option<&PathBuf>) -> Result<Config, ConfigError> {
    // A variable that is no text cannot be meant for us.
    let environment: BTreeMap<String, String> = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    config::load(file.map(PathBuf::as_path), &environment)
}

/// Returns when the process is asked to end.
async fn asked_to_end() {
    use tokio::signal::unix::{SignalKind, signal};
    let terminated = async {
        match signal(SignalKind::terminate()) {
            Ok(mut terminated) => {
                terminated.recv().await;
            }
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        () = terminated => {}
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_sound() {
        super::Arguments::command().debug_assert();
    }
}
