//! `conversion-relay events show`

use std::{process::ExitCode, time::Duration};

use anyhow::{Context as _, bail};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

/// The variable that holds the token of the admin listener.
const TOKEN_VARIABLE: &str = "RELAY_ADMIN_TOKEN";

#[derive(clap::Subcommand)]
pub(super) enum Arguments {
    /// Show everything that happened to one event
    Show(Show),
}

#[derive(clap::Args)]
pub(super) struct Show {
    /// The event's id
    event_id: String,
    /// The admin listener of the relay; its token is read from RELAY_ADMIN_TOKEN
    #[arg(long, default_value = "http://127.0.0.1:8081")]
    url: String,
    /// Print the answer as JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let Arguments::Show(show) = arguments;
    let id = utf8_percent_encode(&show.event_id, NON_ALPHANUMERIC);
    let client = reqwest::Client::builder().timeout(Duration::from_secs(30)).build()?;
    let mut request = client.get(format!("{}/v1/events/{id}", show.url.trim_end_matches('/')));
    if let Ok(token) = std::env::var(TOKEN_VARIABLE) {
        request = request.bearer_auth(token);
    }
    let answer = request.send().await.with_context(|| format!("no relay answers at {}; is it running?", show.url))?;
    let status = answer.status();
    let body: Value = serde_json::from_str(&answer.text().await?).context("the answer is not the relay's")?;
    if status == 401 {
        bail!("the admin listener does not take this token; set {TOKEN_VARIABLE} to the one in [admin] token");
    }
    if !status.is_success() {
        bail!("{}", body["detail"].as_str().unwrap_or("the relay refused"));
    }
    if show.json {
        println!("{}", serde_json::to_string_pretty(&body)?);
    } else {
        print(&body);
    }
    Ok(ExitCode::SUCCESS)
}

/// The timeline for people.
pub(super) fn print(timeline: &Value) {
    let text = |value: &Value| match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    println!("{} {} from {}", text(&timeline["event"]), text(&timeline["event_id"]), text(&timeline["source"]));
    println!("  received   {}", text(&timeline["received_at"]));
    println!("  visitor    {} (found by {})", text(&timeline["visitor_id"]), text(&timeline["joined_by"]));
    for click in timeline["attribution"]["clicks"].as_array().into_iter().flatten() {
        println!(
            "  click      {} {} first seen {}",
            text(&click["kind"]),
            text(&click["value"]),
            text(&click["first_seen"])
        );
    }
    for delivery in timeline["deliveries"].as_array().into_iter().flatten() {
        let reason = delivery["reason"].as_str().map(|reason| format!(" ({reason})")).unwrap_or_default();
        let due = delivery["due_at"].as_str().map(|due| format!(", due {due}")).unwrap_or_default();
        println!("  {:<10} {}{reason}{due}", text(&delivery["destination"]), text(&delivery["state"]));
        for attempt in delivery["attempts"].as_array().into_iter().flatten() {
            println!(
                "             {} {} {} {} {}",
                text(&attempt["at"]),
                text(&attempt["status"]),
                text(&attempt["verdict"]),
                text(&attempt["code"]),
                text(&attempt["trace_id"]),
            );
        }
    }
}
