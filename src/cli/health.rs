//! `conversion-relay health`

use std::{process::ExitCode, time::Duration};

use super::relay::{base, unreachable};

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// Where the relay is
    #[arg(long, default_value = "http://127.0.0.1:8080")]
    url: String,
}

pub(super) async fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let client = reqwest::Client::builder().timeout(Duration::from_secs(5)).build()?;
    let request = client.get(format!("{}/readyz", base(&arguments.url)));
    let answer = request.send().await.map_err(|error| unreachable(&arguments.url, &error))?;
    println!("{}", if answer.status().is_success() { "ready" } else { "not ready" });
    Ok(if answer.status().is_success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
