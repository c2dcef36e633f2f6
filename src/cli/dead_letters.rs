//! `conversion-relay dead-letters`

use std::{process::ExitCode, time::Duration};

use anyhow::bail;
use clap::ArgGroup;
use serde_json::{Map, Value, json};

use super::{
    events,
    relay::{Relay, part},
    table::{self, text, time},
    when,
};
use crate::model::{Clock as _, SystemClock};

/// What one request for a list brings at most.
const PAGE: u64 = 1000;

#[derive(clap::Subcommand)]
pub(super) enum Arguments {
    /// List dead letters, by destination, oldest event first
    List(List),
    /// Show one: the event, the exact last request, the platform's answer
    Show(Show),
    /// Send them again, with the ids they had; --dry-run shows what would change
    Replay(Replay),
    /// Give them up for good
    Discard(Discard),
}

#[derive(clap::Args)]
struct Filter {
    /// Of this destination
    #[arg(long)]
    destination: Option<String>,
    /// Whose fault: event, settings, or unknown (nobody knows whether the platform has it)
    #[arg(long, value_parser = ["event", "settings", "unknown"])]
    class: Option<String>,
    /// With this code
    #[arg(long)]
    code: Option<String>,
    /// Posted by this source
    #[arg(long)]
    source: Option<String>,
    /// Of events with this name, such as purchase
    #[arg(long)]
    event: Option<String>,
    /// That ended dead at or after this time, such as 2026-11-20T08:15:00Z, or this day (0:00 UTC)
    #[arg(long, value_parser = when::time)]
    since: Option<String>,
    /// That ended dead before this time, or this day
    #[arg(long, value_parser = when::time)]
    until: Option<String>,
    /// That ended dead longer ago than this, such as 2d
    #[arg(long, conflicts_with = "until", value_parser = when::span)]
    older_than: Option<Duration>,
    /// That ended dead in the time since, such as 6h
    #[arg(long, conflicts_with = "since", value_parser = when::span)]
    newer_than: Option<Duration>,
}

impl Filter {
    fn fields(&self) -> Vec<(&'static str, String)> {
        let ago = |span: Option<Duration>| span.map(|span| SystemClock.now().minus(span).to_string());
        let fields = [
            ("destination", self.destination.clone()),
            ("class", self.class.clone()),
            ("code", self.code.clone()),
            ("source", self.source.clone()),
            ("event", self.event.clone()),
            ("since", self.since.clone().or_else(|| ago(self.newer_than))),
            ("until", self.until.clone().or_else(|| ago(self.older_than))),
        ];
        fields.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
    }
}

#[derive(clap::Args)]
pub(super) struct List {
    #[command(flatten)]
    filter: Filter,
    /// How many at most
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..))]
    limit: u64,
    #[command(flatten)]
    relay: Relay,
}

#[derive(clap::Args)]
pub(super) struct Show {
    /// The event's id
    event_id: String,
    /// Only at this destination
    #[arg(long)]
    destination: Option<String>,
    #[command(flatten)]
    relay: Relay,
}

/// Which ones: by id, by filter, or all.
#[derive(clap::Args)]
#[command(group = ArgGroup::new("which").args(["event_ids", "all"]))]
struct Chosen {
    /// Ids of events
    #[arg(value_name = "EVENT_ID")]
    event_ids: Vec<String>,
    #[command(flatten)]
    filter: Filter,
    /// All there are
    #[arg(long)]
    all: bool,
    /// So many at most
    #[arg(long, conflicts_with = "event_ids")]
    limit: Option<u64>,
    /// Change nothing; only say what would happen
    #[arg(long)]
    dry_run: bool,
}

impl Chosen {
    fn body(&self) -> anyhow::Result<Map<String, Value>> {
        let filter = self.filter.fields();
        if filter.is_empty() && self.event_ids.is_empty() && !self.all {
            bail!("say which: ids of events, a filter such as --destination meta, or --all");
        }
        let mut body: Map<String, Value> =
            filter.into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
        if !self.event_ids.is_empty() {
            body.insert("event_ids".to_owned(), json!(self.event_ids));
        }
        if let Some(limit) = self.limit {
            body.insert("limit".to_owned(), limit.into());
        }
        body.insert("dry_run".to_owned(), self.dry_run.into());
        Ok(body)
    }
}

#[derive(clap::Args)]
pub(super) struct Replay {
    #[command(flatten)]
    chosen: Chosen,
    /// Also those of which nobody knows whether the platform has them: it may count them twice
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    relay: Relay,
}

#[derive(clap::Args)]
pub(super) struct Discard {
    #[command(flatten)]
    chosen: Chosen,
    /// Why; it is kept in the timeline
    #[arg(long)]
    reason: String,
    #[command(flatten)]
    relay: Relay,
}

pub(super) async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    match arguments {
        Arguments::List(arguments) => list(&arguments).await?,
        Arguments::Show(arguments) => show(&arguments).await?,
        Arguments::Replay(Replay { chosen, force, relay }) => {
            let mut body = chosen.body()?;
            body.insert("force".to_owned(), force.into());
            let answer = relay.post("/v1/dead-letters/replay", &body.into()).await?;
            if !relay.printed(&answer)? {
                print_replay(&answer);
            }
        }
        Arguments::Discard(Discard { chosen, reason, relay }) => {
            let mut body = chosen.body()?;
            body.extend([("reason".to_owned(), reason.into()), ("all".to_owned(), chosen.all.into())]);
            let answer = relay.post("/v1/dead-letters/discard", &body.into()).await?;
            if !relay.printed(&answer)? {
                match answer["dry_run"] == true {
                    true => println!("{} dead letters would be discarded", answer["matched"]),
                    false => println!("{} dead letters were discarded", answer["discarded"]),
                }
                print_missing(&answer);
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn list(arguments: &List) -> anyhow::Result<()> {
    let filter = arguments.filter.fields();
    let (mut found, mut next) = (Vec::new(), Value::Null);
    // The relay looks at a bounded number for each answer, and says where it stopped.
    while (found.len() as u64) < arguments.limit {
        let mut query = filter.clone();
        query.push(("limit", (arguments.limit - found.len() as u64).min(PAGE).to_string()));
        query.extend(next.as_str().map(|next| ("after", next.to_owned())));
        let mut answer = arguments.relay.get("/v1/dead-letters", &query).await?;
        if let Some(page) = answer["dead_letters"].as_array_mut() {
            found.append(page);
        }
        next = answer["next"].take();
        if next.is_null() {
            break;
        }
    }
    if arguments.relay.printed(&json!({ "dead_letters": found, "next": next }))? {
        return Ok(());
    }
    if found.is_empty() {
        println!("no dead letters{}", if filter.is_empty() { "" } else { " that match" });
        return Ok(());
    }
    let row = |letter: &Value| {
        let field = letter["field"].as_str().map(|field| format!("{field}: ")).unwrap_or_default();
        vec![
            text(&letter["event_id"]),
            text(&letter["destination"]),
            text(&letter["class"]),
            text(&letter["code"]),
            time(&letter["at"]),
            format!("{field}{}", text(&letter["message"])),
        ]
    };
    let head = ["event id", "destination", "class", "code", "ended", "message"];
    table::print(&head, &found.iter().map(row).collect::<Vec<_>>());
    if !next.is_null() {
        println!("there are more: --limit, or a filter");
    }
    Ok(())
}

async fn show(arguments: &Show) -> anyhow::Result<()> {
    let query: Vec<_> = arguments.destination.iter().map(|name| ("destination", name.clone())).collect();
    let answer = arguments.relay.get(&format!("/v1/dead-letters/{}", part(&arguments.event_id)), &query).await?;
    if arguments.relay.printed(&answer)? {
        return Ok(());
    }
    println!("{}", serde_json::to_string_pretty(&without_empty(answer["event"].clone()))?);
    for letter in answer["dead_letters"].as_array().into_iter().flatten() {
        let field = letter["field"].as_str().map(|field| format!(" at {field}")).unwrap_or_default();
        println!(
            "\n── {}: dead ({}), {}{field}",
            text(&letter["destination"]),
            text(&letter["class"]),
            text(&letter["code"])
        );
        println!("   {}", table::line(&text(&letter["message"])));
        if letter["discarded"].is_null() {
            println!("   ended {}; the platform takes it until {}", time(&letter["at"]), time(&letter["deadline"]));
        } else {
            println!("   discarded {}: {}", time(&letter["discarded"]["at"]), text(&letter["discarded"]["reason"]));
        }
        events::print_history(&letter["attempts"], &letter["notes"]);
        let sent = letter["attempts"].as_array().into_iter().flatten().any(|attempt| !attempt["at"].is_null());
        if !sent {
            println!("   nothing was sent: the relay knows itself that it would be refused");
            continue;
        }
        for (what, body) in [("the request", &letter["request"]), ("the answer", &letter["answer"])] {
            println!("\n{what}:");
            match body {
                Value::Null => println!("(it is not kept)"),
                Value::String(text) if text.is_empty() => println!("(none)"),
                Value::String(text) => println!("{}", text.trim_end()),
                other => println!("{}", serde_json::to_string_pretty(other)?),
            }
        }
    }
    Ok(())
}

/// A value without what is empty in it.
fn without_empty(value: Value) -> Value {
    let kept = |value: &Value| match value {
        Value::Null => false,
        Value::Array(list) => !list.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => true,
    };
    match value {
        Value::Object(fields) => {
            let fields = fields.into_iter().map(|(name, value)| (name, without_empty(value)));
            fields.filter(|(_, value)| kept(value)).collect::<Map<_, _>>().into()
        }
        Value::Array(list) => list.into_iter().map(without_empty).collect(),
        value => value,
    }
}

/// The ids that were asked for in vain.
fn print_missing(answer: &Value) {
    for id in answer["not_found"].as_array().into_iter().flatten() {
        println!("no dead letter: {}", text(id));
    }
}

/// What replaying came to, for people.
pub(super) fn print_replay(answer: &Value) {
    let dry_run = answer["dry_run"] == true;
    if answer["matched"] == 0 {
        println!("nothing matches");
    } else {
        println!(
            "{} match, {} {} again",
            answer["matched"],
            answer["replayed"],
            if dry_run { "would be sent" } else { "are queued" }
        );
    }
    print_missing(answer);
    let told = ["dry_run", "matched", "replayed", "notes", "diffs", "diffs_left_out", "not_found"];
    for (name, count) in answer.as_object().into_iter().flatten() {
        if !told.contains(&name.as_str()) && *count != 0 {
            println!("  left out, {}: {count}", name.replace('_', " "));
        }
    }
    for note in answer["notes"].as_array().into_iter().flatten() {
        println!("note: {}", text(note));
    }
    for diff in answer["diffs"].as_array().into_iter().flatten() {
        println!("\n{} at {}", text(&diff["event_id"]), text(&diff["destination"]));
        if let Some(refused) = diff["refused"].as_object() {
            println!("  would not be sent: {} {}", text(&refused["code"]), text(&refused["message"]));
            continue;
        }
        if let Some(why) = diff["not_computed"].as_str() {
            println!("  not compared: {why}");
            continue;
        }
        let differences = diff["differences"].as_array().map_or(&[][..], Vec::as_slice);
        if differences.is_empty() {
            println!("  the same request as the one that failed");
        }
        for difference in differences {
            let side = |name: &str| difference.get(name).map_or_else(|| "(not there)".to_owned(), text);
            let path = difference["path"].as_str().filter(|path| !path.is_empty()).unwrap_or("(all of it)");
            println!("  {path}: {} → {}", side("was"), side("now"));
        }
        if diff["more"].as_u64().is_some_and(|more| more > 0) {
            println!("  and {} more", diff["more"]);
        }
    }
    if answer["diffs_left_out"].as_u64().is_some_and(|more| more > 0) && dry_run {
        println!("\n{} more are not told of", answer["diffs_left_out"]);
    }
}
