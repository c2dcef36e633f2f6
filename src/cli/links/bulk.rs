//! `links import` and `links export`: many links as CSV.

use std::{path::PathBuf, process::ExitCode};

use anyhow::Context as _;
use serde_json::Value;

use super::view;
use crate::{
    cli::{
        relay::Relay,
        table::{self, text},
    },
    links::file::COLUMNS,
};

/// More links than one relay holds.
const ALL: u64 = 1_000_000;

#[derive(clap::Args)]
pub(in crate::cli) struct Import {
    /// A CSV file with a head; its columns are those of links export
    file: PathBuf,
    /// Only check the rows
    #[arg(long)]
    dry_run: bool,
    /// Who asks for this; kept in the history
    #[arg(long)]
    by: Option<String>,
    #[command(flatten)]
    relay: Relay,
}

#[derive(clap::Args)]
pub(in crate::cli) struct Export {
    #[command(flatten)]
    relay: Relay,
}

pub(super) async fn import(arguments: &Import) -> anyhow::Result<ExitCode> {
    let file = &arguments.file;
    let text_of = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let mut query = Vec::new();
    if arguments.dry_run {
        query.push(("dry_run", "1".to_owned()));
    }
    if let Some(by) = &arguments.by {
        query.push(("by", by.clone()));
    }
    let answer = arguments.relay.post_text("/v1/links", &query, "text/csv", text_of).await?;
    let rejected = answer["rejected"].as_array().cloned().unwrap_or_default();
    let code = if rejected.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    if arguments.relay.printed(&answer)? {
        return Ok(code);
    }
    for link in answer["links"].as_array().into_iter().flatten() {
        println!("{}", text(&link["url"]));
    }
    let done = if arguments.dry_run { "could be made" } else { "made" };
    println!("{} links {done}, {} rows rejected", answer["created"], rejected.len());
    if !rejected.is_empty() {
        let row = |row: &Value| vec![text(&row["line"]), text(&row["slug"]), text(&row["field"]), text(&row["reason"])];
        table::print(&["line", "slug", "field", "reason"], &rejected.iter().map(row).collect::<Vec<_>>());
    }
    Ok(code)
}

pub(super) async fn export(arguments: &Export) -> anyhow::Result<()> {
    let answer = view::all(&arguments.relay, Vec::new(), ALL).await?;
    if arguments.relay.printed(&answer)? {
        return Ok(());
    }
    let mut writer = csv::Writer::from_writer(Vec::new());
    // The columns of the import, and where the link is.
    let columns = || COLUMNS.into_iter().chain(["url"]);
    writer.write_record(columns())?;
    for link in answer["links"].as_array().into_iter().flatten() {
        writer.write_record(columns().map(|column| cell(link, column)))?;
    }
    print!("{}", String::from_utf8(writer.into_inner()?)?);
    Ok(())
}

fn cell(link: &Value, column: &str) -> String {
    let value = [&link[column], &link["utm"][column], &link["variant"][column]];
    let value = value.into_iter().find(|value| !value.is_null());
    value.map(text).unwrap_or_default()
}
