//! `conversion-relay reconcile`

use std::{process::ExitCode, time::Duration};

use anyhow::bail;
use serde_json::{Value, json};

use super::{
    relay::{Relay, part},
    when,
};
use crate::model::{Clock as _, SystemClock};

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// The source, by its name in [[sources]]
    source: String,
    /// How far back to look: a span such as 2d, a time such as 2026-11-20T08:15:00Z, or a day (0:00 UTC)
    #[arg(long, value_parser = since)]
    since: String,
    /// Also look further back than ids are remembered (retention.dedupe): what was delivered before may count twice
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    relay: Relay,
}

/// A time, or so long ago.
fn since(text: &str) -> Result<String, String> {
    when::time(text).or_else(|why| {
        let ago: Duration = when::span(text).map_err(|_| format!("{why}, or a span, such as 2d"))?;
        Ok(SystemClock.now().minus(ago).to_string())
    })
}

pub(super) async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let Arguments { source, since, force, relay } = arguments;
    let path = format!("/v1/sources/{}/reconcile", part(&source));
    let mut sum = json!({ "listed": 0, "accepted": 0, "duplicates": 0, "ignored": 0, "refused": 0, "problems": [] });
    let mut cursor = Value::Null;
    loop {
        let page = relay.post(&path, &json!({ "since": since, "force": force, "cursor": cursor })).await?;
        for name in ["listed", "accepted", "duplicates", "ignored", "refused"] {
            sum[name] = (sum[name].as_u64().unwrap_or(0) + page[name].as_u64().unwrap_or(0)).into();
        }
        if let (Value::Array(all), Value::Array(more)) = (&mut sum["problems"], &page["problems"]) {
            all.extend(more.iter().take(100_usize.saturating_sub(all.len())).cloned());
        }
        if page["next"].is_null() {
            break;
        }
        if page["next"] == cursor {
            bail!("the listing does not go on: the provider names the same page again");
        }
        cursor = page["next"].clone();
        if !relay.json {
            eprintln!("… {} listed, {} were missing", sum["listed"], sum["accepted"]);
        }
    }
    if !relay.printed(&sum)? {
        println!("listed      {}", sum["listed"]);
        println!("taken       {} (no webhook had brought them)", sum["accepted"]);
        println!("known       {}", sum["duplicates"]);
        println!("ignored     {} (no conversions)", sum["ignored"]);
        println!("refused     {}", sum["refused"]);
        for problem in sum["problems"].as_array().into_iter().flatten() {
            println!("  {}", problem["detail"].as_str().unwrap_or_default());
        }
    }
    Ok(if sum["refused"] == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
