//! `conversion-relay events show`

use std::process::ExitCode;

use serde_json::Value;

use super::{
    relay::{Relay, part},
    table::{line, text},
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
    match timeline["joined_by"].as_str() {
        Some(by) => println!("  visitor    {} (found by {by})", text(&timeline["visitor_id"])),
        None if timeline["visitor_id"].is_string() => println!("  visitor    {}", text(&timeline["visitor_id"])),
        None => println!("  visitor    none found"),
    }
    for click in list(&timeline["attribution"]["clicks"]) {
        let seen = click["first_seen"].as_str().map(|at| format!(" first seen {at}")).unwrap_or_default();
        println!("  click      {} {}{seen}", text(&click["kind"]), text(&click["value"]));
    }
    let deliveries = list(&timeline["deliveries"]);
    let width = deliveries.iter().map(|delivery| text(&delivery["destination"]).chars().count()).max().unwrap_or(0);
    for delivery in deliveries {
        print_delivery(delivery, width.max(10));
    }
}

fn print_delivery(delivery: &Value, width: usize) {
    let class = delivery["class"].as_str().map(|class| format!(", class {class}")).unwrap_or_default();
    let reason = delivery["reason"].as_str().map(|reason| format!(" ({}{class})", line(reason))).unwrap_or_default();
    let queued = delivery["state"] == "queued";
    let times = [("due", &delivery["due_at"]), ("at the latest", &delivery["deadline"])];
    let times =
        times.into_iter().filter(|_| queued).filter_map(|(what, at)| Some(format!(", {what} {}", at.as_str()?)));
    println!(
        "  {:<width$} {}{reason}{}",
        text(&delivery["destination"]),
        text(&delivery["state"]),
        times.collect::<String>()
    );
    let evidence: Vec<String> = list(&delivery["evidence"]).iter().map(text).collect();
    if !evidence.is_empty() {
        println!("             to be matched by {}", evidence.join(", "));
    }
    if let Some(remark) = delivery["remark"].as_str() {
        println!("             note: {remark}");
    }
    for wait in list(&delivery["waits"]).iter().filter(|wait| wait["reason"] != "retry") {
        println!("             waits until {} for {}", text(&wait["until"]), text(&wait["reason"]));
    }
    print_history(&delivery["attempts"], &delivery["notes"]);
}

/// Everything that happened to a delivery, one a line, in the order of time.
pub(super) fn print_history(attempts: &Value, notes: &Value) {
    for told in history(attempts, notes) {
        println!("             {told}");
    }
}

fn history(attempts: &Value, notes: &Value) -> Vec<String> {
    // What was skipped before it was sent has nothing to add to its state.
    let told = list(attempts).iter().filter(|one| !(one["at"].is_null() && one["code"].is_null()));
    let attempts = told.map(|one| (one["at"].as_str(), attempt(one)));
    let notes = list(notes).iter().map(|one| (one["at"].as_str(), note(one)));
    let mut lines: Vec<(Option<&str>, String)> = attempts.chain(notes).collect();
    // What ended without a request has no time, and comes last.
    lines.sort_by_key(|(at, _)| (at.is_none(), *at));
    lines.into_iter().map(|(at, told)| at.map_or(told.clone(), |at| format!("{at} {told}"))).collect()
}

/// Status, verdict and why; the platform's id of the request and how long it took.
fn attempt(attempt: &Value) -> String {
    let mut told = attempt["status"].as_u64().map(|status| format!("{status} ")).unwrap_or_default();
    told += &text(&attempt["verdict"]);
    if attempt["receipt"] == true {
        told += ", so far a receipt";
    }
    let why: Vec<String> = ["code", "field", "message"]
        .iter()
        .filter_map(|key| attempt[key].as_str())
        .filter(|why| attempt["verdict"] != **why)
        .map(line)
        .collect();
    if !why.is_empty() {
        told += &format!(": {}", why.join(" "));
    }
    if attempt["unknown"] == true {
        told += " (it may have arrived)";
    }
    let id = attempt["trace_id"].as_str().map(|id| format!("id {}", line(id)));
    let took = attempt["duration_ms"].as_u64().map(|ms| format!("{ms} ms"));
    let more: Vec<String> = id.into_iter().chain(took).collect();
    if !more.is_empty() {
        told += &format!(" ({})", more.join(", "));
    }
    told
}

/// What else happened to a delivery.
fn note(note: &Value) -> String {
    match note["what"].as_str() {
        Some("requeued") => match note["cause"].as_str() {
            Some("spilled") => "handed over to this file".to_owned(),
            Some("report") => "queued again, as the platform reported that it came too early".to_owned(),
            _ => "queued again by the operator".to_owned(),
        },
        Some("discarded") => format!("discarded: {}", text(&note["reason"])),
        _ => {
            let counts = note["counts"].as_object().into_iter().flatten();
            let counts: String = counts.map(|(reason, count)| format!(", {count} {}", line(reason))).collect();
            format!("its request was reported on: {}, {} taken{counts}", line(&text(&note["status"])), note["taken"])
        }
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_happened_is_told_in_the_order_of_time() {
        let attempts = json!([
            {"at": "2026-11-20T08:13:31.502Z", "status": 400, "verdict": "rejected", "code": "100", "message": "Invalid\nparameter",
             "trace_id": "A1", "duration_ms": 3, "unknown": false, "receipt": false},
            {"at": "2026-11-20T08:13:35.086Z", "status": 200, "verdict": "delivered", "code": null, "message": null,
             "trace_id": null, "duration_ms": 9, "unknown": false, "receipt": true},
            {"at": null, "status": null, "verdict": "skipped", "code": null},
            {"at": null, "status": null, "verdict": "rejected", "code": "missing_value", "field": "value", "message": "no value"},
            {"at": "2026-11-20T08:15:00Z", "status": null, "verdict": "unknown", "code": "unknown", "message": "it got lost", "unknown": true},
        ]);
        let notes = json!([
            {"what": "requeued", "at": "2026-11-20T08:13:35.076Z", "cause": "operator"},
            {"what": "discarded", "at": "2026-11-20T08:14:00Z", "reason": "test order"},
        ]);
        assert_eq!(
            history(&attempts, &notes),
            [
                "2026-11-20T08:13:31.502Z 400 rejected: 100 Invalid parameter (id A1, 3 ms)",
                "2026-11-20T08:13:35.076Z queued again by the operator",
                "2026-11-20T08:13:35.086Z 200 delivered, so far a receipt (9 ms)",
                "2026-11-20T08:14:00Z discarded: test order",
                "2026-11-20T08:15:00Z unknown: it got lost (it may have arrived)",
                "rejected: missing_value value no value",
            ]
        );
    }
}
