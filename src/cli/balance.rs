//! `conversion-relay balance`

use std::process::ExitCode;

use serde_json::Value;

use super::{
    relay::Relay,
    table::{self, text},
};

/// The five places a delivery can be.
const COLUMNS: [&str; 5] = ["delivered", "skipped", "dead", "expired", "queued"];

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// Only this destination
    #[arg(long)]
    destination: Option<String>,
    #[command(flatten)]
    relay: Relay,
}

/// Exits with 1 if the five numbers of some destination do not sum up to what was accepted.
pub(super) async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let mut answer = arguments.relay.get("/v1/balance", &[]).await?;
    if let (Some(wanted), Some(list)) = (&arguments.destination, answer["destinations"].as_object_mut()) {
        if !list.contains_key(wanted) {
            let known: Vec<&str> = list.keys().map(String::as_str).collect();
            anyhow::bail!("no destination of this name is configured; there are: {}", known.join(", "));
        }
        list.retain(|name, _| name == wanted);
    }
    let sound = answer["destinations"].as_object().into_iter().flatten().all(|(_, counts)| {
        COLUMNS.iter().map(|column| counts[*column].as_u64().unwrap_or(0)).sum::<u64>()
            == answer["accepted"].as_u64().unwrap_or(0)
    });
    if !arguments.relay.printed(&answer)? {
        print(&answer);
        if !sound {
            println!(
                "the numbers of a destination do not sum up to what was accepted: this is a defect, please report it"
            );
        }
    }
    Ok(if sound { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn print(answer: &Value) {
    println!("{} events accepted", answer["accepted"]);
    let row = |(name, counts): (&String, &Value)| {
        std::iter::once(name.clone()).chain(COLUMNS.iter().map(|column| text(&counts[*column]))).collect()
    };
    let rows: Vec<Vec<String>> = answer["destinations"].as_object().into_iter().flatten().map(row).collect();
    let head: Vec<&str> = std::iter::once("destination").chain(COLUMNS).collect();
    table::print(&head, &rows);
}
