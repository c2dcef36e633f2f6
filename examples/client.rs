//! A client of the relay in Rust: posts a visit, then the purchase that follows it, and prints the answers.
//!
//! ```text
//! cargo run --example client -- http://127.0.0.1:8080 "$(cat data/relay.key)"
//! RELAY_URL=https://t.example.com RELAY_KEY=… cargo run --example client
//! ```

use std::{env, time::Duration};

use anyhow::{Context as _, bail};
use serde_json::{Value, json};

/// How often a request is sent before this client gives up.
const ATTEMPTS: u32 = 5;

struct Client {
    http: reqwest::Client,
    url: String,
    key: String,
}

impl Client {
    /// Posts `body`, and sends it again after a 5xx, a 429 or a broken connection. That is safe for an event with an
    /// `event_id` or a `transaction_id`: the relay answers `duplicate` to what it has.
    async fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        for attempt in 1..=ATTEMPTS {
            let request = self.http.post(format!("{}{path}", self.url)).bearer_auth(&self.key);
            let request = request.header("content-type", "application/json").body(body.to_string());
            let mut wait = Duration::from_secs(u64::from(attempt));
            match request.send().await {
                Ok(answer) if answer.status().is_server_error() || answer.status() == 429 => {
                    let header = answer.headers().get("retry-after").and_then(|seconds| seconds.to_str().ok());
                    wait = header.and_then(|s| s.parse().ok()).map_or(wait, Duration::from_secs);
                    eprintln!("the relay answers {}; again in {wait:?}", answer.status());
                }
                Ok(answer) => {
                    let status = answer.status();
                    let text = answer.text().await?;
                    println!("POST {path}: {status}\n  {text}");
                    // A refusal is a problem (RFC 9457); its `pointer` names the field. Sending it again changes nothing.
                    if status.is_client_error() {
                        bail!("the relay refused the request");
                    }
                    return Ok(serde_json::from_str(&text)?);
                }
                Err(error) => eprintln!("no answer: {error}; again in {wait:?}"),
            }
            tokio::time::sleep(wait).await;
        }
        bail!("gave up after {ATTEMPTS} attempts")
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut arguments = env::args().skip(1);
    let url = arguments.next().or_else(|| env::var("RELAY_URL").ok()).unwrap_or("http://127.0.0.1:8080".to_owned());
    let key = arguments.next().or_else(|| env::var("RELAY_KEY").ok());
    let key = key.context("usage: client URL KEY (or set RELAY_URL and RELAY_KEY)")?;
    let http = reqwest::Client::builder().timeout(Duration::from_secs(30)).build()?;
    let relay = Client { http, url: url.trim_end_matches('/').to_owned(), key };

    let landing = "https://shop.example/mugs?gclid=EAIaIQobChMI-example&fbclid=IwAR2example&utm_source=google";
    let consent = json!({ "ad_user_data": "granted", "ad_personalization": "granted" });
    let visit = relay.post("/v1/visits", &json!({ "url": landing, "consent": consent })).await?;

    // The order's own number is what makes it one conversion, whoever reports it and how often.
    let order = std::process::id();
    let purchase = json!({
        "event": "purchase",
        "transaction_id": format!("example-{order}"),
        "visitor_id": visit["visitor_id"],
        "value": "49.99", // money as text stays exact
        "currency": "USD",
        "user": { "email": "ada@example.com" },
    });
    let answer = relay.post("/v1/events", &purchase).await?;
    println!("\nwhat became of it: conversion-relay events show {}", answer["results"][0]["event_id"]);
    Ok(())
}
