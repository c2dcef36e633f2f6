//! `conversion-relay replay`

use std::process::ExitCode;

use serde_json::json;

use super::{dead_letters::print_replay, relay::Relay, when};

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// Where to send again
    #[arg(long)]
    destination: String,
    /// Events received at or after this time, such as 2026-11-20T08:15:00Z, or this day (0:00 UTC)
    #[arg(long, value_parser = when::time)]
    from: String,
    /// Events received before this time, or this day
    #[arg(long, value_parser = when::time)]
    to: String,
    /// Deliveries that ended so; may be given several times. Without it: delivered
    #[arg(long, value_parser = ["delivered", "skipped", "expired", "dead"])]
    outcome: Vec<String>,
    /// Also what the platform does not recognise any more: it counts twice
    #[arg(long)]
    force: bool,
    /// Change nothing; only say what would happen
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    relay: Relay,
}

pub(super) async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let Arguments { destination, from, to, outcome, force, dry_run, relay } = arguments;
    let outcomes = Some(outcome).filter(|outcomes| !outcomes.is_empty());
    let body = json!({
        "destination": destination, "from": from, "to": to, "outcomes": outcomes, "force": force, "dry_run": dry_run,
    });
    let answer = relay.post("/v1/replay", &body).await?;
    if !relay.printed(&answer)? {
        print_replay(&answer);
    }
    Ok(ExitCode::SUCCESS)
}
