//! `conversion-relay events show`

use std::process::ExitCode;

use serde_json::Value;

use super::{
    relay::{Relay, part},
    table::text,
};

#[derive(clap::Subcommand)]
pub(super) enum Arguments {
    /// Show everything that happened to one event
    Show(Show),
}

#[derive(clap::Args)]
pub(super) struct Show {
    /// The event's id
    event_id: String,
    #[command(flatten)]
    relay: Relay,
}

pub(super) async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let Arguments::Show(show) = arguments;
    let timeline = show.relay.get(&format!("/v1/events/{}", part(&show.event_id)), &[]).await?;
    if !show.relay.printed(&timeline)? {
        print(&timeline);
    }
    Ok(ExitCode::SUCCESS)
}

/// The timeline for people.
pub(super) fn print(timeline: &Value) {
    println!("{} {} from {}", text(&timeline["event"]), text(&timeline["event_id"]), text(&timeline["source"]));
    println!("  received   {}", text(&timeline["received_at"]));
    println!("  visitor    {} (found by {})", text(&timeline["visitor_id"]), text(&timeline["joined_by"]));
    for click in list(&timeline["attribution"]["clicks"]) {
        println!(
            "  click      {} {} first seen {}",
            text(&click["kind"]),
            text(&click["value"]),
            text(&click["first_seen"])
        );
    }
    for delivery in list(&timeline["deliveries"]) {
        let reason = delivery["reason"].as_str().map(|reason| format!(" ({reason})")).unwrap_or_default();
        let due = delivery["due_at"].as_str().map(|due| format!(", due {due}")).unwrap_or_default();
        println!("  {:<10} {}{reason}{due}", text(&delivery["destination"]), text(&delivery["state"]));
        if !list(&delivery["evidence"]).is_empty() {
            let evidence: Vec<String> = list(&delivery["evidence"]).iter().map(text).collect();
            println!("             matched by {}", evidence.join(", "));
        }
        for wait in list(&delivery["waits"]).iter().filter(|wait| wait["reason"] != "retry") {
            println!("             waits until {} for {}", text(&wait["until"]), text(&wait["reason"]));
        }
        print_attempts(&delivery["attempts"]);
        print_notes(&delivery["notes"]);
    }
}

/// The attempts of a delivery, one a line.
pub(super) fn print_attempts(attempts: &Value) {
    for attempt in list(attempts) {
        let unknown = if attempt["unknown"] == true { " (it may have arrived)" } else { "" };
        println!(
            "             {} {} {} {} {}{unknown}",
            text(&attempt["at"]),
            text(&attempt["status"]),
            text(&attempt["verdict"]),
            text(&attempt["code"]),
            text(&attempt["trace_id"]),
        );
    }
}

/// What else happened to a delivery, one a line.
pub(super) fn print_notes(notes: &Value) {
    for note in list(notes) {
        let more = match note["what"].as_str() {
            Some("requeued") => format!("by {}", text(&note["cause"])),
            Some("discarded") => text(&note["reason"]),
            _ => format!("{} taken {} {}", text(&note["status"]), text(&note["taken"]), text(&note["counts"])),
        };
        println!("             {} {} {more}", text(&note["at"]), text(&note["what"]));
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}
