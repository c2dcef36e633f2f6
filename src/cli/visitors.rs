//! `conversion-relay visitors`

use std::{io::Read as _, process::ExitCode};

use anyhow::bail;
use serde_json::{Map, Value};

use super::{
    relay::{Relay, part},
    table::{self, text, time},
};

#[derive(clap::Subcommand)]
pub(super) enum Arguments {
    /// Show what is known of a visitor, without contact data
    Show(Show),
    /// Forget a person: visits, and who it is in every stored event; counts stay
    Forget(Forget),
}

#[derive(clap::Args)]
pub(super) struct Show {
    /// The visitor's id
    visitor_id: String,
    #[command(flatten)]
    relay: Relay,
}

/// The person, by one or more of these. A value of - is read from standard input, so that it is in no shell history.
#[derive(clap::Args)]
pub(super) struct Forget {
    /// The visitor's id
    visitor_id: Option<String>,
    /// An e-mail address; - reads it from standard input
    #[arg(long)]
    email: Option<String>,
    /// A phone number, with its country code; - reads it from standard input
    #[arg(long)]
    phone: Option<String>,
    /// Your own id of the customer; - reads it from standard input
    #[arg(long)]
    external_id: Option<String>,
    #[command(flatten)]
    relay: Relay,
}

pub(super) async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    match arguments {
        Arguments::Show(Show { visitor_id, relay }) => {
            let visitor = relay.get(&format!("/v1/visitors/{}", part(&visitor_id)), &[]).await?;
            if !relay.printed(&visitor)? {
                print(&visitor);
            }
        }
        Arguments::Forget(Forget { visitor_id, email, phone, external_id, relay }) => {
            if visitor_id.as_ref().is_some_and(|id| id.contains('@')) {
                bail!("an e-mail address is no visitor's id; say it with --email");
            }
            let mut body = Map::new();
            let given = [("visitor_id", visitor_id), ("email", email), ("phone", phone), ("external_id", external_id)];
            let mut read = false;
            for (name, value) in given.into_iter().filter_map(|(name, value)| Some((name, value?))) {
                let value = if value == "-" {
                    if std::mem::replace(&mut read, true) {
                        bail!("only one value can come from standard input");
                    }
                    let mut text = String::new();
                    std::io::stdin().read_to_string(&mut text)?;
                    text.trim().to_owned()
                } else {
                    value
                };
                body.insert(name.to_owned(), value.into());
            }
            if body.is_empty() {
                bail!("say whom: a visitor's id, --email, --phone or --external-id");
            }
            let answer = relay.post("/v1/visitors/forget", &body.into()).await?;
            if !relay.printed(&answer)? {
                if ["visitors", "clicks", "events"].iter().all(|what| answer[what] == 0) {
                    println!("nothing that is stored leads to this person");
                } else {
                    println!(
                        "forgotten: {} visitors, who it is in {} events and {} clicks; {} deliveries that waited are skipped",
                        answer["visitors"], answer["events"], answer["clicks"], answer["skipped"]
                    );
                }
                println!("rows that are in import files already stay there; delete those files if they have to go too");
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn print(visitor: &Value) {
    println!("{}", text(&visitor["visitor_id"]));
    println!("  first seen  {}", time(&visitor["first_seen"]));
    println!("  last seen   {}", time(&visitor["last_seen"]));
    let consent = &visitor["consent"];
    println!(
        "  consent     ad_user_data {}, ad_personalization {}",
        text(&consent["ad_user_data"]),
        text(&consent["ad_personalization"])
    );
    let kinds = visitor["identifiers"].as_object().into_iter().flatten();
    let kinds: Vec<String> = kinds.map(|(kind, count)| format!("{kind} ({count})")).collect();
    println!("  found by    {}", if kinds.is_empty() { "its id only".to_owned() } else { kinds.join(", ") });
    for click in visitor["clicks"].as_array().into_iter().flatten() {
        println!(
            "  click       {} {} first seen {}",
            text(&click["kind"]),
            text(&click["value"]),
            time(&click["first_seen"])
        );
    }
    let row = |visit: &Value| {
        let utm = visit["utm"].as_object().into_iter().flatten().filter(|(_, value)| !value.is_null());
        let utm: Vec<String> = utm.map(|(name, value)| format!("{name}={}", text(value))).collect();
        vec![time(&visit["at"]), text(&visit["page"]), text(&visit["referrer"]), utm.join(" ")]
    };
    let rows: Vec<_> = visitor["visits"].as_array().into_iter().flatten().map(row).collect();
    println!();
    table::print(&["visit", "page", "from", "utm"], &rows);
}
