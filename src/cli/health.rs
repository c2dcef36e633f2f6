//! `conversion-relay health`

use std::{process::ExitCode, time::Duration};

use anyhow::Context as _;

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// Where the relay is
    #[arg(long, default_value = "http://127.0.0.1:8080")]
    url: String,
}

pub(super) async fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let client = reqwest::Client::builder().timeout(Duration::from_secs(5)).build()?;
    let request = client.get(format!("{}/readyz", arguments.url.trim_end_matches('/')));
    let answer = request.send().await.with_context(|| format!("no relay answers at {}", arguments.url))?;
    println!("{}", if answer.status().is_success() { "ready" } else { "not ready" });
    Ok(if answer.status().is_success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
