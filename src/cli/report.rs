//! `conversion-relay report`: what came of links and visits, as tables.

use std::process::ExitCode;

use serde_json::Value;

use super::{
    links::percent,
    relay::Relay,
    table::{self, text, time},
    when,
};

#[derive(clap::Subcommand)]
pub(super) enum Arguments {
    /// Clicks by link, UTM value, device and the like: all, human, unique, sessions
    Clicks(Clicks),
    /// Where visits came from: bounces, engaged visits, time, what was done next
    Referrers(Span),
    /// How many visitors came how far
    Steps(Steps),
    /// Fast clickers, delayed converters, repeat visitors, high intent; and why
    Segments(Segments),
    /// How much of the clicks and events is to be counted on
    Quality(Span),
    /// Why something is not tracked: the tag, the source, a blocker, consent
    Diagnose(Diagnose),
}

#[derive(clap::Args)]
pub(super) struct Span {
    /// From this time on, such as 2026-11-20T08:15:00Z, or this day (0:00 UTC); 30 days ago if not given
    #[arg(long, value_parser = when::time)]
    since: Option<String>,
    /// Before this time, or this day; now if not given
    #[arg(long, value_parser = when::time)]
    until: Option<String>,
    #[command(flatten)]
    relay: Relay,
}

impl Span {
    async fn ask(&self, report: &str, more: Vec<(&str, String)>) -> anyhow::Result<Value> {
        let span = [("since", &self.since), ("until", &self.until)];
        let span = span.into_iter().filter_map(|(name, value)| Some((name, value.clone()?)));
        let query: Vec<(&str, String)> = more.into_iter().chain(span).collect();
        self.relay.get(&format!("/v1/reports/{report}"), &query).await
    }
}

#[derive(clap::Args)]
pub(super) struct Clicks {
    /// By what: link, source, medium, campaign, content, term, model, prompt_family, angle, placement, audience, intent,
    /// offer, owner, device, browser, os, in_app, country, referrer, split, hour, day; two with a comma between
    #[arg(long, default_value = "link")]
    by: String,
    /// Only those of this link: its slug, or HOST/SLUG
    #[arg(long)]
    link: Option<String>,
    /// Print the spellings that were counted together
    #[arg(long)]
    raw: bool,
    #[command(flatten)]
    span: Span,
}

#[derive(clap::Args)]
pub(super) struct Steps {
    /// The steps with commas between: click, visit, page, or names of events
    #[arg(long, default_value = "visit,view_item,add_to_cart,begin_checkout,purchase")]
    steps: String,
    /// Only visitors who came by this link
    #[arg(long)]
    link: Option<String>,
    #[command(flatten)]
    span: Span,
}

#[derive(clap::Args)]
pub(super) struct Segments {
    /// One visitor alone
    #[arg(long)]
    visitor: Option<String>,
    /// Only visitors seen from this time or day on; 30 days ago if not given
    #[arg(long, value_parser = when::time)]
    since: Option<String>,
    /// How fast a fast clicker is
    #[arg(long)]
    fast: Option<String>,
    /// How long a delayed converter takes
    #[arg(long)]
    delay: Option<String>,
    /// How many visits a repeat visitor has
    #[arg(long)]
    visits: Option<u64>,
    /// Which score is high intent
    #[arg(long)]
    intent: Option<u64>,
    /// How many visitors of each are told
    #[arg(long)]
    limit: Option<u64>,
    #[command(flatten)]
    relay: Relay,
}

#[derive(clap::Args)]
#[group(required = true, multiple = false, id = "what", args = ["page", "visitor", "event"])]
pub(super) struct Diagnose {
    /// The address of a page
    #[arg(long)]
    page: Option<String>,
    /// The id of a visitor
    #[arg(long)]
    visitor: Option<String>,
    /// The id of an event
    #[arg(long)]
    event: Option<String>,
    #[command(flatten)]
    relay: Relay,
}

pub(super) async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    match arguments {
        Arguments::Clicks(arguments) => clicks(&arguments).await?,
        Arguments::Referrers(span) => {
            let answer = span.ask("referrers", Vec::new()).await?;
            if !span.relay.printed(&answer)? {
                referrers(&answer);
            }
        }
        Arguments::Steps(Steps { steps, link, span }) => {
            let mut query = vec![("steps", steps)];
            query.extend(link.map(|link| ("link", link)));
            let answer = span.ask("steps", query).await?;
            if !span.relay.printed(&answer)? {
                funnel(&answer);
            }
        }
        Arguments::Segments(arguments) => segments(&arguments).await?,
        Arguments::Quality(span) => {
            let answer = span.ask("quality", Vec::new()).await?;
            if !span.relay.printed(&answer)? {
                quality(&answer);
            }
        }
        Arguments::Diagnose(arguments) => diagnose(&arguments).await?,
    }
    Ok(ExitCode::SUCCESS)
}

fn list<'a>(answer: &'a Value, name: &str) -> &'a [Value] {
    answer[name].as_array().map_or(&[], Vec::as_slice)
}

async fn clicks(arguments: &Clicks) -> anyhow::Result<()> {
    let mut query = vec![("by", arguments.by.clone())];
    query.extend(arguments.link.clone().map(|link| ("link", link)));
    let answer = arguments.span.ask("clicks", query).await?;
    if arguments.span.relay.printed(&answer)? {
        return Ok(());
    }
    let by: Vec<&str> = list(&answer, "by").iter().filter_map(Value::as_str).collect();
    let figures = |row: &Value| {
        ["all", "human", "unique", "sessions"]
            .map(|name| text(&row[name]))
            .into_iter()
            .chain([percent(&row["click_to_session"])])
    };
    let row = |row: &Value| -> Vec<String> {
        let mut cells: Vec<String> = by.iter().map(|name| text(&row[*name])).chain(figures(row)).collect();
        if arguments.raw {
            cells.push(spellings(&row["raw"]));
        }
        cells
    };
    let mut head = by.clone();
    head.extend(["all", "human", "unique", "sessions", "click to session"]);
    if arguments.raw {
        head.push("written");
    }
    let mut rows: Vec<Vec<String>> = list(&answer, "rows").iter().map(row).collect();
    let mut total = vec![String::new(); by.len()];
    total[0] = "total".to_owned();
    total.extend(figures(&answer["totals"]));
    rows.push(total);
    table::print(&head, &rows);
    for hint in list(&answer, "hints") {
        println!("{}", text(hint));
    }
    if answer["more"] != 0 {
        println!("… and {} rows more", answer["more"]);
    }
    Ok(())
}

fn spellings(raw: &Value) -> String {
    let fields = raw.as_object().into_iter().flatten().filter_map(|(_, spellings)| spellings.as_object());
    fields.flatten().map(|(written, count)| format!("{written} ({count})")).collect::<Vec<_>>().join(", ")
}

fn referrers(answer: &Value) {
    let row = |row: &Value| {
        vec![
            text(&row["referrer"]),
            text(&row["visits"]),
            percent(&row["bounce_share"]),
            text(&row["engaged"]),
            text(&row["average_engaged_s"]),
            text(&row["next_action"]["name"]),
        ]
    };
    table::print(
        &["referrer", "visits", "bounces", "engaged", "seconds", "next action"],
        &list(answer, "rows").iter().map(row).collect::<Vec<_>>(),
    );
    println!("\nengaged: {}\nof {}", text(&answer["engaged_means"]), text(&answer["basis"]));
}

fn funnel(answer: &Value) {
    let row = |step: &Value| {
        vec![
            text(&step["step"]),
            text(&step["visitors"]),
            text(&step["dropped"]),
            percent(&step["share_of_previous"]),
            percent(&step["share_of_first"]),
        ]
    };
    table::print(
        &["step", "visitors", "dropped", "of the previous", "of the first"],
        &list(answer, "steps").iter().map(row).collect::<Vec<_>>(),
    );
    println!("\nof {}", text(&answer["basis"]));
}

async fn segments(arguments: &Segments) -> anyhow::Result<()> {
    let number = |number: Option<u64>| number.map(|number| number.to_string());
    let query = [
        ("visitor", arguments.visitor.clone()),
        ("since", arguments.since.clone()),
        ("fast", arguments.fast.clone()),
        ("delay", arguments.delay.clone()),
        ("visits", number(arguments.visits)),
        ("intent", number(arguments.intent)),
        ("limit", number(arguments.limit)),
    ];
    let query: Vec<(&str, String)> = query.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
    let answer = arguments.relay.get("/v1/reports/segments", &query).await?;
    if arguments.relay.printed(&answer)? {
        return Ok(());
    }
    let about = |visitor: &Value| {
        let reasons = list(visitor, "reasons").iter().map(text).collect::<Vec<_>>().join(", ");
        vec![text(&visitor["visitor_id"]), text(&visitor["visits"]), text(&visitor["intent"]), reasons]
    };
    let head = ["visitor", "visits", "intent", "reasons"];
    if arguments.visitor.is_some() {
        table::print(&head, &[about(&answer)]);
        let segments = list(&answer, "segments").iter().map(text).collect::<Vec<_>>().join(", ");
        println!("segments: {}", if segments.is_empty() { "none" } else { &segments });
        return Ok(());
    }
    println!("{} visitors since {}", answer["visitors"], time(&answer["since"]));
    for segment in list(&answer, "segments") {
        let name = text(&segment["segment"]);
        println!("\n{name}: {} ({})", segment["visitors"], text(&answer["thresholds"][&name]));
        let examples: Vec<Vec<String>> = list(segment, "examples").iter().map(about).collect();
        if !examples.is_empty() {
            table::print(&head, &examples);
        }
    }
    Ok(())
}

fn quality(answer: &Value) {
    let row = |of: &str, name: &str| {
        let part = &answer[of][name];
        vec![format!("{of}: {}", name.replace('_', " ")), text(&part["count"]), percent(&part["share"])]
    };
    let clicks = ["human", "bot", "preview", "prefetch", "qa", "duplicate", "burst"];
    let mut rows: Vec<Vec<String>> = clicks.into_iter().map(|name| row("clicks", name)).collect();
    if answer["events"].is_object() {
        rows.extend(["late", "without_click_context", "without_visitor"].into_iter().map(|name| row("events", name)));
    }
    table::print(&["what", "count", "share"], &rows);
    println!("\n{} requests for links, {} events", answer["clicks"]["all"], text(&answer["events"]["events"]));
    for (name, means) in answer["means"].as_object().into_iter().flatten() {
        println!("{}: {}", name.replace('_', " "), text(means));
    }
}

async fn diagnose(arguments: &Diagnose) -> anyhow::Result<()> {
    let query = [("url", &arguments.page), ("visitor", &arguments.visitor), ("event", &arguments.event)];
    let query: Vec<(&str, String)> =
        query.into_iter().filter_map(|(name, value)| Some((name, value.clone()?))).collect();
    let answer = arguments.relay.get("/v1/diagnose", &query).await?;
    if arguments.relay.printed(&answer)? {
        return Ok(());
    }
    let row = |finding: &Value| {
        let applies = match finding["applies"].as_bool() {
            Some(true) => "yes",
            Some(false) => "no",
            None => "not known",
        };
        let figures = finding["figures"].as_object().into_iter().flatten();
        let figures: Vec<String> =
            figures.map(|(name, value)| format!("{} {}", name.replace('_', " "), text(value))).collect();
        vec![text(&finding["cause"]).replace('_', " "), applies.to_owned(), figures.join(", "), text(&finding["says"])]
    };
    table::print(
        &["cause", "applies", "figures", "what it says"],
        &list(&answer, "findings").iter().map(row).collect::<Vec<_>>(),
    );
    Ok(())
}
