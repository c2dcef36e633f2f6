//! `links drift`, `alias`, `value` and `campaign`: the UTM policy of a running relay.

use serde_json::{Value, json};

use super::view::print_history;
use crate::cli::{
    relay::Relay,
    table::{self, text, time},
    when,
};

#[derive(clap::Args)]
pub(in crate::cli) struct Drift {
    /// Only values seen since this time or day
    #[arg(long, value_parser = when::time)]
    since: Option<String>,
    #[command(flatten)]
    relay: Relay,
}

#[derive(clap::Subcommand)]
pub(in crate::cli) enum Alias {
    /// List the aliases in force
    List(Only),
    /// Another name of a value; holds for every report from now on, also for what is stored
    Add(AddAlias),
    /// Take an alias out
    Remove(RemoveAlias),
    /// Who decided what about UTM values
    History(Only),
}

#[derive(clap::Args)]
pub(in crate::cli) struct Only {
    #[command(flatten)]
    relay: Relay,
}

#[derive(clap::Args)]
pub(in crate::cli) struct AddAlias {
    /// source, medium, campaign, content or term
    field: String,
    /// The name
    from: String,
    /// The value that it stands for
    to: String,
    /// Who decides; kept in the history
    #[arg(long)]
    by: Option<String>,
    #[command(flatten)]
    relay: Relay,
}

#[derive(clap::Args)]
pub(in crate::cli) struct RemoveAlias {
    /// source, medium, campaign, content or term
    field: String,
    /// The name
    from: String,
    /// Who decides; kept in the history
    #[arg(long)]
    by: Option<String>,
    #[command(flatten)]
    relay: Relay,
}

#[derive(clap::Args)]
pub(in crate::cli) struct NewValue {
    /// source, medium, campaign, content, term, placement, audience or intent
    field: String,
    /// The value
    value: String,
    /// Who decides; kept in the history
    #[arg(long)]
    by: Option<String>,
    #[command(flatten)]
    relay: Relay,
}

#[derive(clap::Args)]
pub(in crate::cli) struct Campaign {
    /// Its name
    name: String,
    /// What it offers; its links cannot offer anything else
    #[arg(long)]
    offer: Option<String>,
    /// Who decides about it
    #[arg(long)]
    owner: Option<String>,
    /// Whatever is worth remembering
    #[arg(long)]
    note: Option<String>,
    /// Its first day, such as 2026-11-20
    #[arg(long)]
    from: Option<String>,
    /// Its last day
    #[arg(long)]
    until: Option<String>,
    /// Who decides; kept in the history
    #[arg(long)]
    by: Option<String>,
    #[command(flatten)]
    relay: Relay,
}

pub(super) async fn drift(Drift { since, relay }: &Drift) -> anyhow::Result<()> {
    let query: Vec<(&str, String)> = since.iter().map(|since| ("since", since.clone())).collect();
    let answer = relay.get("/v1/utm/drift", &query).await?;
    if relay.printed(&answer)? {
        return Ok(());
    }
    let values = answer["drift"].as_array().cloned().unwrap_or_default();
    if values.is_empty() {
        println!("every value that came in is known");
        return Ok(());
    }
    let row = |value: &Value| {
        vec![
            text(&value["field"]),
            text(&value["value"]),
            text(&value["count"]),
            time(&value["first_seen"]),
            time(&value["last_seen"]),
            text(&value["nearest"]),
        ]
    };
    table::print(
        &["field", "value", "count", "first seen", "last seen", "nearest known"],
        &values.iter().map(row).collect::<Vec<_>>(),
    );
    Ok(())
}

pub(super) async fn alias(arguments: &Alias) -> anyhow::Result<()> {
    match arguments {
        Alias::List(Only { relay }) => {
            let answer = relay.get("/v1/utm", &[]).await?;
            if relay.printed(&answer)? {
                return Ok(());
            }
            let mut rows = Vec::new();
            for (field, rules) in answer["fields"].as_object().into_iter().flatten() {
                for alias in rules["aliases"].as_array().into_iter().flatten() {
                    rows.push(vec![field.clone(), text(&alias["from"]), text(&alias["to"]), text(&alias["origin"])]);
                }
            }
            table::print(&["field", "from", "to", "by"], &rows);
        }
        Alias::Add(AddAlias { field, from, to, by, relay }) => {
            let body = json!({ "field": field, "from": from, "to": to, "by": by });
            let answer = relay.post("/v1/utm/aliases", &body).await?;
            if !relay.printed(&answer)? {
                println!("{from} counts as {to} in every report from now on, also for what is stored");
            }
        }
        Alias::Remove(RemoveAlias { field, from, by, relay }) => {
            let answer = relay.delete("/v1/utm/aliases", &json!({ "field": field, "from": from, "by": by })).await?;
            if !relay.printed(&answer)? {
                println!("{from} stands for itself again");
            }
        }
        Alias::History(Only { relay }) => {
            let answer = relay.get("/v1/utm/history", &[]).await?;
            if !relay.printed(&answer)? {
                print_history(&answer);
            }
        }
    }
    Ok(())
}

pub(super) async fn value(NewValue { field, value, by, relay }: &NewValue) -> anyhow::Result<()> {
    let answer = relay.post("/v1/utm/values", &json!({ "field": field, "value": value, "by": by })).await?;
    if !relay.printed(&answer)? {
        println!("{value} is a known {field} from now on");
    }
    Ok(())
}

pub(super) async fn campaign(arguments: &Campaign) -> anyhow::Result<()> {
    let Campaign { name, offer, owner, note, from, until, by, relay } = arguments;
    let body = json!({
        "name": name, "offer": offer, "owner": owner, "note": note, "from": from, "until": until, "by": by,
    });
    let answer = relay.post("/v1/utm/campaigns", &body).await?;
    if !relay.printed(&answer)? {
        println!("the campaign {name} is registered");
    }
    Ok(())
}
