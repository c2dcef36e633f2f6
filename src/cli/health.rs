//! `conversion-relay health`

use std::{process::ExitCode, time::Duration};

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// Where the relay is
    #[arg(long, default_value = "http://127.0.0.1:8080")]
    url: String,
}

pub(super) async fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let client = reqwest::Client::builder().timeout(Duration::from_secs(5)).build()?;
    let answer = client.get(format!("{}/readyz", arguments.url.trim_end_matches('/'))).send().await?;
    println!("{}", if answer.status().is_success() { "ready" } else { "not ready" });
    Ok(if answer.status().is_success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
