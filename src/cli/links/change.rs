//! `links add`, `edit`, `remove`, `pause`, `resume`, `approve` and `relabel`.

use anyhow::bail;
use serde_json::{Map, Value, json};

use super::view::{self, Named, path};
use crate::cli::{
    relay::{Relay, part},
    when,
};

/// What is said of a link. An empty value takes out what `edit` finds.
#[derive(clap::Args)]
pub(super) struct Fields {
    /// utm_source: which site, app or list
    #[arg(long)]
    source: Option<String>,
    /// utm_medium: what kind of traffic
    #[arg(long)]
    medium: Option<String>,
    /// utm_campaign
    #[arg(long)]
    campaign: Option<String>,
    /// utm_content: which of several texts or pictures
    #[arg(long)]
    content: Option<String>,
    /// utm_term
    #[arg(long)]
    term: Option<String>,
    /// The model that made the variant
    #[arg(long)]
    model: Option<String>,
    /// The family of prompts it was made with
    #[arg(long)]
    prompt_family: Option<String>,
    /// Its creative angle
    #[arg(long)]
    angle: Option<String>,
    /// Where it is put: chat, pin, email, bio
    #[arg(long)]
    placement: Option<String>,
    /// For whom it is
    #[arg(long)]
    audience: Option<String>,
    /// What its visitors want
    #[arg(long)]
    intent: Option<String>,
    /// The event it is there for, such as purchase
    #[arg(long)]
    goal: Option<String>,
    /// What is offered
    #[arg(long)]
    offer: Option<String>,
    /// Who decides about it
    #[arg(long)]
    owner: Option<String>,
    /// Whatever is worth remembering
    #[arg(long)]
    note: Option<String>,
    /// When it ends: a time, or a day (0:00 UTC)
    #[arg(long, value_parser = ends)]
    expires_at: Option<String>,
    /// One of several destinations and its weight, as WEIGHT=ADDRESS; may be given several times
    #[arg(long, value_name = "WEIGHT=ADDRESS")]
    split: Vec<String>,
    /// Why it may break the UTM policy; it then waits for approval
    #[arg(long)]
    exception: Option<String>,
    /// Who asks for this; kept in the history
    #[arg(long)]
    by: Option<String>,
}

/// A time or day, or nothing.
fn ends(text: &str) -> Result<String, String> {
    if text.is_empty() { Ok(String::new()) } else { when::time(text) }
}

impl Fields {
    /// The fields that are given, as JSON; what is empty is null.
    fn json(&self) -> anyhow::Result<Map<String, Value>> {
        let value = |text: &String| if text.is_empty() { Value::Null } else { text.clone().into() };
        let given = |fields: &[(&str, &Option<String>)]| -> Map<String, Value> {
            fields.iter().filter_map(|(name, text)| Some(((*name).to_owned(), value(text.as_ref()?)))).collect()
        };
        let mut json = given(&[
            ("placement", &self.placement),
            ("audience", &self.audience),
            ("intent", &self.intent),
            ("goal", &self.goal),
            ("offer", &self.offer),
            ("owner", &self.owner),
            ("note", &self.note),
            ("expires_at", &self.expires_at),
            ("exception", &self.exception),
            ("by", &self.by),
        ]);
        let utm = given(&[
            ("source", &self.source),
            ("medium", &self.medium),
            ("campaign", &self.campaign),
            ("content", &self.content),
            ("term", &self.term),
        ]);
        let variant = given(&[("model", &self.model), ("prompt_family", &self.prompt_family), ("angle", &self.angle)]);
        for (name, fields) in [("utm", utm), ("variant", variant)] {
            if !fields.is_empty() {
                json.insert(name.to_owned(), fields.into());
            }
        }
        let mut splits = Vec::new();
        for split in &self.split {
            let Some((Ok(weight), destination)) = split.split_once('=').map(|(w, to)| (w.trim().parse::<u32>(), to))
            else {
                bail!("--split: write WEIGHT=ADDRESS, such as --split 70=https://shop.example/a");
            };
            splits.push(json!({ "destination": destination, "weight": weight }));
        }
        if !splits.is_empty() {
            json.insert("split".to_owned(), splits.into());
        }
        Ok(json)
    }
}

#[derive(clap::Args)]
pub(in crate::cli) struct Add {
    /// Where to: an http or https address
    destination: String,
    /// The last part of the link's address; one is made up if none is given
    #[arg(long)]
    slug: Option<String>,
    /// One of the link hosts of [links] hosts; else the link is below /l/
    #[arg(long)]
    host: Option<String>,
    #[command(flatten)]
    fields: Fields,
    /// Only check it
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    relay: Relay,
}

#[derive(clap::Args)]
pub(in crate::cli) struct Edit {
    /// The link: its slug, or HOST/SLUG on a link host
    link: String,
    /// Where to from now on
    #[arg(long)]
    destination: Option<String>,
    #[command(flatten)]
    fields: Fields,
    #[command(flatten)]
    relay: Relay,
}

#[derive(clap::Args)]
pub(in crate::cli) struct Act {
    #[command(flatten)]
    named: Named,
    /// Who asks for this; kept in the history
    #[arg(long)]
    by: Option<String>,
}

#[derive(clap::Args)]
pub(in crate::cli) struct Relabel {
    /// The click, by its id as links clicks tells it; leave it out to relabel by filter
    id: Option<String>,
    /// What it was
    #[arg(long, value_parser = ["human", "bot", "preview", "prefetch", "qa", "duplicate", "burst"])]
    verdict: String,
    /// All clicks of this link
    #[arg(long, conflicts_with = "id")]
    link: Option<String>,
    /// All clicks that have this reason, such as known_bot
    #[arg(long, conflicts_with = "id")]
    reason: Option<String>,
    /// All clicks that were judged so
    #[arg(long, conflicts_with = "id", value_parser = ["human", "bot", "preview", "prefetch", "qa", "duplicate", "burst"])]
    was: Option<String>,
    /// All clicks from this time or day on
    #[arg(long, conflicts_with = "id", value_parser = when::time)]
    since: Option<String>,
    /// All clicks before this time or day
    #[arg(long, conflicts_with = "id", value_parser = when::time)]
    until: Option<String>,
    /// Only say how many there are
    #[arg(long, conflicts_with = "id")]
    dry_run: bool,
    /// Who asks for this; kept with the click
    #[arg(long)]
    by: Option<String>,
    #[command(flatten)]
    relay: Relay,
}

pub(super) async fn add(arguments: &Add) -> anyhow::Result<()> {
    let mut body = arguments.fields.json()?;
    body.insert("destination".to_owned(), arguments.destination.clone().into());
    for (name, value) in [("slug", &arguments.slug), ("host", &arguments.host)] {
        if let Some(value) = value {
            body.insert(name.to_owned(), value.clone().into());
        }
    }
    let path = if arguments.dry_run { "/v1/links?dry_run=1" } else { "/v1/links" };
    let answer = arguments.relay.post(path, &body.into()).await?;
    if arguments.relay.printed(&answer)? {
        return Ok(());
    }
    if arguments.dry_run {
        println!("this link could be made; nothing was stored");
        return Ok(());
    }
    view::print_url(&answer)
}

pub(super) async fn edit(arguments: &Edit) -> anyhow::Result<()> {
    let mut body = arguments.fields.json()?;
    if let Some(destination) = &arguments.destination {
        body.insert("destination".to_owned(), destination.clone().into());
    }
    if body.keys().all(|name| name == "by") {
        bail!("say what is to change, such as --destination https://shop.example/new");
    }
    let answer = arguments.relay.patch(&path(&arguments.link, ""), &body.into()).await?;
    if !arguments.relay.printed(&answer)? {
        view::print_link(&answer);
    }
    Ok(())
}

pub(super) async fn remove(Act { named: Named { link, relay }, by }: &Act) -> anyhow::Result<()> {
    let answer = relay.delete(&path(link, ""), &said(by)).await?;
    if !relay.printed(&answer)? {
        println!("{link} is removed; its clicks stay, and its history tells what it was");
    }
    Ok(())
}

pub(super) async fn act(Act { named: Named { link, relay }, by }: &Act, what: &str) -> anyhow::Result<()> {
    let answer = relay.post(&path(link, &format!("/{what}")), &said(by)).await?;
    if !relay.printed(&answer)? {
        println!("{} is {}", answer["url"].as_str().unwrap_or(link), answer["state"].as_str().unwrap_or("changed"));
    }
    Ok(())
}

fn said(by: &Option<String>) -> Value {
    by.as_ref().map_or_else(|| json!({}), |by| json!({ "by": by }))
}

pub(super) async fn relabel(arguments: &Relabel) -> anyhow::Result<()> {
    let relay = &arguments.relay;
    let mut body = said(&arguments.by);
    body["verdict"] = arguments.verdict.clone().into();
    if let Some(id) = &arguments.id {
        let answer = relay.post(&format!("/v1/clicks/{}/label", part(id)), &body).await?;
        if !relay.printed(&answer)? {
            println!("{id} counts as {}", arguments.verdict);
        }
        return Ok(());
    }
    let filter = [
        ("link", &arguments.link),
        ("reason", &arguments.reason),
        ("verdict", &arguments.was),
        ("since", &arguments.since),
        ("until", &arguments.until),
    ];
    let filter: Map<String, Value> =
        filter.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value.clone()?.into()))).collect();
    if filter.is_empty() {
        bail!("say which: the id of a click, or --link, --reason, --was, --since or --until");
    }
    body["where"] = filter.into();
    body["dry_run"] = arguments.dry_run.into();
    let answer = relay.post("/v1/clicks/label", &body).await?;
    if !relay.printed(&answer)? {
        let done = if arguments.dry_run { "would be relabelled" } else { "are relabelled" };
        println!("{} of {} clicks {done} as {}", answer["relabelled"], answer["matched"], arguments.verdict);
        if answer["complete"] == false {
            println!("there are more; run it again");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_ends_a_link_at_its_beginning() {
        assert_eq!(ends("2026-12-24").as_deref(), Ok("2026-12-24T00:00:00Z"));
        assert_eq!(ends("").as_deref(), Ok(""), "and nothing takes the end out");
        assert!(ends("soon").is_err());
    }
}
