//! `links list`, `show`, `history` and `clicks`: looking, and changing nothing.

use anyhow::bail;
use serde_json::{Value, json};

use crate::cli::{
    relay::{Relay, part},
    table::{self, text, time},
    when,
};

/// What one request for a list brings at most.
const PAGE: u64 = 1000;

#[derive(clap::Args)]
pub(in crate::cli) struct List {
    /// Only those on this link host
    #[arg(long)]
    host: Option<String>,
    /// Only those of this campaign; its aliases count
    #[arg(long)]
    campaign: Option<String>,
    /// Only those of this owner
    #[arg(long)]
    owner: Option<String>,
    /// Only those at this placement
    #[arg(long)]
    placement: Option<String>,
    /// Only those in this state
    #[arg(long, value_parser = ["live", "paused", "pending", "expired"])]
    state: Option<String>,
    /// Only those with this text in their slug, destination, names or note
    #[arg(long = "search")]
    q: Option<String>,
    /// How many at most
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..))]
    limit: u64,
    #[command(flatten)]
    relay: Relay,
}

#[derive(clap::Args)]
pub(in crate::cli) struct Named {
    /// The link: its slug, or HOST/SLUG on a link host
    pub(super) link: String,
    #[command(flatten)]
    pub(super) relay: Relay,
}

#[derive(clap::Args)]
pub(in crate::cli) struct Clicks {
    /// Only those of this link: its slug, or HOST/SLUG
    link: Option<String>,
    /// Only those with this verdict
    #[arg(long, value_parser = ["human", "bot", "preview", "prefetch", "qa", "duplicate", "burst"])]
    verdict: Option<String>,
    /// At or after this time, such as 2026-11-20T08:15:00Z, or this day (0:00 UTC)
    #[arg(long, value_parser = when::time)]
    since: Option<String>,
    /// Before this time, or this day
    #[arg(long, value_parser = when::time)]
    until: Option<String>,
    /// How many at most
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..=1000))]
    limit: u64,
    #[command(flatten)]
    relay: Relay,
}

/// Where a link is on the admin listener.
pub(super) fn path(link: &str, what: &str) -> String {
    format!("/v1/links/{}{what}", part(link))
}

/// All of a list that comes in pages, up to `limit`.
pub(super) async fn all(relay: &Relay, mut query: Vec<(&str, String)>, limit: u64) -> anyhow::Result<Value> {
    let mut links: Vec<Value> = Vec::new();
    loop {
        let wanted = limit - links.len() as u64;
        let mut page = query.clone();
        page.push(("limit", wanted.min(PAGE).to_string()));
        let mut answer = relay.get("/v1/links", &page).await?;
        if let Some(found) = answer["links"].as_array_mut() {
            links.append(found);
        }
        let Some(next) = answer["next"].as_str().map(str::to_owned) else {
            return Ok(json!({ "links": links, "next": null }));
        };
        if links.len() as u64 >= limit {
            return Ok(json!({ "links": links, "next": next }));
        }
        query.retain(|(name, _)| *name != "after");
        query.push(("after", next));
    }
}

pub(super) async fn list(arguments: &List) -> anyhow::Result<()> {
    let query = [
        ("host", &arguments.host),
        ("campaign", &arguments.campaign),
        ("owner", &arguments.owner),
        ("placement", &arguments.placement),
        ("state", &arguments.state),
        ("q", &arguments.q),
    ];
    let query = query.into_iter().filter_map(|(name, value)| Some((name, value.clone()?))).collect();
    let answer = all(&arguments.relay, query, arguments.limit).await?;
    if arguments.relay.printed(&answer)? {
        return Ok(());
    }
    let links = answer["links"].as_array().cloned().unwrap_or_default();
    if links.is_empty() {
        println!("no link is so; make one: conversion-relay links add https://shop.example/ --source newsletter");
        return Ok(());
    }
    let row = |link: &Value| {
        vec![
            text(&link["url"]),
            text(&link["state"]),
            text(&link["utm"]["source"]),
            text(&link["utm"]["campaign"]),
            text(&link["placement"]),
            text(&link["owner"]),
            text(&link["destination"]),
        ]
    };
    table::print(
        &["url", "state", "source", "campaign", "placement", "owner", "destination"],
        &links.iter().map(row).collect::<Vec<_>>(),
    );
    if !answer["next"].is_null() {
        println!("… and more; --limit tells how many are listed");
    }
    Ok(())
}

pub(super) async fn show(arguments: &Named) -> anyhow::Result<()> {
    let link = arguments.relay.get(&path(&arguments.link, ""), &[]).await?;
    if !arguments.relay.printed(&link)? {
        print_link(&link);
    }
    Ok(())
}

/// A link with everything that is said of it.
pub(super) fn print_link(link: &Value) {
    println!("{}", text(&link["url"]));
    let told = link.as_object().into_iter().flatten();
    for (name, value) in told.filter(|(name, value)| !value.is_null() && *name != "url" && *name != "broken") {
        match value {
            Value::Object(fields) => {
                let fields: Vec<String> = fields
                    .iter()
                    .filter(|(_, value)| !value.is_null())
                    .map(|(name, value)| format!("{name} {}", text(value)))
                    .collect();
                println!("  {name:<18}{}", table::line(&fields.join(", ")));
            }
            Value::Array(entries) => {
                for entry in entries {
                    println!("  {name:<18}{} × {}", text(&entry["destination"]), text(&entry["weight"]));
                }
            }
            value if name.ends_with("_at") || name.ends_with("_seen") => println!("  {name:<18}{}", time(value)),
            value => println!("  {name:<18}{}", table::line(&text(value))),
        }
    }
}

pub(super) async fn history(arguments: &Named) -> anyhow::Result<()> {
    let answer = arguments.relay.get(&path(&arguments.link, "/history"), &[]).await?;
    if arguments.relay.printed(&answer)? {
        return Ok(());
    }
    print_history(&answer);
    Ok(())
}

/// Who changed what when.
pub(super) fn print_history(answer: &Value) {
    let changes = answer["history"].as_array().cloned().unwrap_or_default();
    let mut rows: Vec<Vec<String>> = Vec::new();
    for change in &changes {
        let mut head = vec![time(&change["at"]), text(&change["by"]), text(&change["what"])];
        // A line for each field, of which the first says who and when.
        for one in change["changes"].as_array().into_iter().flatten() {
            let mut row = std::mem::replace(&mut head, vec![String::new(); 3]);
            row.extend(["field", "before", "after"].map(|name| text(&one[name])));
            rows.push(row);
        }
        if !head[0].is_empty() {
            rows.push(head);
        }
    }
    table::print(&["when", "who", "what", "field", "before", "after"], &rows);
}

pub(super) async fn clicks(arguments: &Clicks) -> anyhow::Result<()> {
    let query = [
        ("link", arguments.link.clone()),
        ("verdict", arguments.verdict.clone()),
        ("since", arguments.since.clone()),
        ("until", arguments.until.clone()),
        ("limit", Some(arguments.limit.to_string())),
    ];
    let query: Vec<_> = query.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
    let answer = arguments.relay.get("/v1/clicks", &query).await?;
    if arguments.relay.printed(&answer)? {
        return Ok(());
    }
    let rows = answer["clicks"].as_array().cloned().unwrap_or_default();
    let row = |click: &Value| {
        let reasons = click["reasons"].as_array().into_iter().flatten().map(text).collect::<Vec<_>>().join("; ");
        let what = [&click["device"], &click["in_app"], &click["browser"], &click["country"]];
        let what: Vec<String> = what.into_iter().filter(|value| !value.is_null()).map(text).collect();
        vec![
            time(&click["at"]),
            text(&click["link"]),
            text(&click["verdict"]),
            what.join(" "),
            text(&click["referrer"]),
            text(&click["id"]),
            reasons,
        ]
    };
    table::print(
        &["when", "link", "verdict", "with", "from", "id", "reasons"],
        &rows.iter().map(row).collect::<Vec<_>>(),
    );
    let totals = &answer["totals"];
    println!(
        "\nall {}, human {}, unique {}; sessions {}, click to session {}",
        totals["all"],
        totals["human"],
        totals["unique"],
        totals["sessions"],
        percent(&totals["click_to_session"])
    );
    Ok(())
}

/// A share as percent; `-` if there is none.
pub(in crate::cli) fn percent(share: &Value) -> String {
    share.as_f64().map_or_else(|| "-".to_owned(), |share| format!("{:.1} %", share * 100.0))
}

/// The link that `answer` is about, printed as short as it goes: its address.
pub(super) fn print_url(answer: &Value) -> anyhow::Result<()> {
    let Some(url) = answer["url"].as_str() else { bail!("the relay's answer names no link") };
    println!("{url}");
    if answer["state"] == "pending" {
        println!(
            "It waits for approval, as it breaks the UTM policy: conversion-relay links approve {}",
            text(&answer["link"])
        );
    }
    Ok(())
}
