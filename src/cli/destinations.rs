//! `conversion-relay destinations`

use std::process::ExitCode;

use serde_json::{Map, Value, json};

use super::{
    relay::{Relay, part},
    table::{self, text, time},
};

#[derive(clap::Subcommand)]
pub(super) enum Arguments {
    /// List the destinations: whether they deliver, what waits, what runs out of time
    List(List),
    /// Stop a destination: nothing is sent there until it is resumed; also after a restart
    Pause(Pause),
    /// Let a paused destination go on
    Resume(Named),
    /// Write what waits for a paused destination into the import file that stands in for it; each event goes one way only
    Spill(Spill),
}

#[derive(clap::Args)]
pub(super) struct List {
    /// Only those in this state: active or paused
    #[arg(long, value_parser = ["active", "paused"])]
    state: Option<String>,
    /// Only those of this kind, such as meta
    #[arg(long)]
    kind: Option<String>,
    #[command(flatten)]
    relay: Relay,
}

#[derive(clap::Args)]
pub(super) struct Named {
    /// The destination's name
    name: String,
    #[command(flatten)]
    relay: Relay,
}

#[derive(clap::Args)]
pub(super) struct Pause {
    #[command(flatten)]
    named: Named,
    /// Why, for those who look at it later
    #[arg(long)]
    reason: Option<String>,
}

#[derive(clap::Args)]
pub(super) struct Spill {
    #[command(flatten)]
    named: Named,
    /// The file destination to write to, if several stand in for it
    #[arg(long)]
    to: Option<String>,
    /// Only say how much waits
    #[arg(long)]
    dry_run: bool,
}

pub(super) async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    match arguments {
        Arguments::List(arguments) => list(&arguments).await?,
        Arguments::Pause(Pause { named: Named { name, relay }, reason }) => {
            let answer = relay.post(&path(&name, "pause"), &json!({ "reason": reason })).await?;
            if !relay.printed(&answer)? {
                println!(
                    "{name} is paused; {} deliveries wait, and none is sent until it is resumed",
                    answer["queued"]
                );
            }
        }
        Arguments::Resume(Named { name, relay }) => {
            let answer = relay.post(&path(&name, "resume"), &json!({})).await?;
            if !relay.printed(&answer)? {
                match answer["paused_by"].as_str() {
                    Some(_) => println!(
                        "{name} still waits for its platform, which refuses what we are set up with: {}\nIt is probed, and \
                         goes on by itself when that works again.",
                        text(&answer["reason"])
                    ),
                    None => println!("{name} delivers; {} deliveries are queued", answer["queued"]),
                }
            }
        }
        Arguments::Spill(Spill { named: Named { name, relay }, to, dry_run }) => {
            let answer = relay.post(&path(&name, "spill"), &json!({ "to": to, "dry_run": dry_run })).await?;
            if !relay.printed(&answer)? {
                print_spill(&name, &answer);
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn path(name: &str, what: &str) -> String {
    format!("/v1/destinations/{}/{what}", part(name))
}

async fn list(arguments: &List) -> anyhow::Result<()> {
    let mut answer = arguments.relay.get("/v1/destinations", &[]).await?;
    let meant = |entry: &Value| {
        let is = |wanted: &Option<String>, key: &str| wanted.as_ref().is_none_or(|wanted| entry[key] == **wanted);
        is(&arguments.state, "state") && is(&arguments.kind, "kind")
    };
    if let Some(list) = answer["destinations"].as_array_mut() {
        list.retain(meant);
    }
    if arguments.relay.printed(&answer)? {
        return Ok(());
    }
    let empty = Vec::new();
    let list = answer["destinations"].as_array().unwrap_or(&empty);
    if list.is_empty() {
        println!("no destination is so; without a filter all are listed");
        return Ok(());
    }
    let row = |entry: &Value| {
        let state = match entry["paused_by"].as_str() {
            Some(whom) => format!("paused by {whom}"),
            None => text(&entry["state"]),
        };
        vec![
            text(&entry["name"]),
            text(&entry["kind"]),
            state,
            text(&entry["queued"]),
            text(&entry["expiring"]),
            time(&entry["oldest_due"]),
        ]
    };
    table::print(
        &["name", "kind", "state", "queued", "expiring", "next due"],
        &list.iter().map(row).collect::<Vec<_>>(),
    );
    for entry in list {
        let name = text(&entry["name"]);
        if let Some(other) = entry["fallback_for"].as_str() {
            println!("{name}: gets what is handed over from {other} (destinations spill {other}), and nothing else");
        }
        if entry["state"] == "paused" {
            println!("{name}: {}, since {}", text(&entry["reason"]), time(&entry["since"]));
        }
        if entry["expiring"].as_u64().is_some_and(|count| count > 0) {
            println!("{name}: {} deliveries are close to the platform's age limit", entry["expiring"]);
        }
        if let Some(reported) = entry["reported"].as_object() {
            println!("{name}: {}", told(reported));
        }
        if !entry["api_version_ends"].is_null() {
            println!("{name}: its API version ends {}", time(&entry["api_version_ends"]));
        }
    }
    Ok(())
}

/// What a platform reported later of the requests that it had given receipts for.
fn told(reported: &Map<String, Value>) -> String {
    let mut told = format!("its platform reported later: {} events taken", reported["taken"]);
    for (reason, count) in reported["counts"].as_object().into_iter().flatten() {
        told += &format!(", {count} {}", table::line(reason));
    }
    for (name, what) in [("open", "not reported on yet"), ("lost", "that will never be reported on")] {
        if reported[name] != 0 {
            told += &format!("; requests {what}: {}", reported[name]);
        }
    }
    told
}

fn print_spill(name: &str, answer: &Value) {
    let to = text(&answer["to"]);
    if answer["dry_run"] == true {
        println!("{} deliveries wait for {name} and could go to {to}; nothing was moved", answer["queued"]);
    } else {
        println!("{} deliveries were handed over from {name} to {to}", answer["moved"]);
        if answer["left"] != 0 {
            println!("{} stay: they are in flight, or {name} may have them already", answer["left"]);
        }
    }
    for note in answer["notes"].as_array().into_iter().flatten() {
        println!("note: {}", text(note));
    }
}
