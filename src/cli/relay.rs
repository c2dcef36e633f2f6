//! Talking to the admin listener of a running relay.

use std::time::Duration;

use anyhow::{Context as _, bail};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::{Method, RequestBuilder};
use serde_json::Value;

use crate::web::Problem;

/// The variable that holds the token of the admin listener.
const TOKEN_VARIABLE: &str = "RELAY_ADMIN_TOKEN";
/// What stays as it is in a part of a path.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');
/// Acting on many deliveries takes its time.
const PATIENCE: Duration = Duration::from_secs(3600);
const CONNECT_PATIENCE: Duration = Duration::from_secs(10);

/// Which relay is meant, and how its answer is printed.
#[derive(clap::Args)]
pub(super) struct Relay {
    /// The admin listener of the relay; its token is read from RELAY_ADMIN_TOKEN
    #[arg(long, default_value = "http://127.0.0.1:8081")]
    url: String,
    /// Print the answer as JSON
    #[arg(long)]
    pub(super) json: bool,
}

impl Relay {
    /// Reads from a path, with these parameters.
    pub(super) async fn get(&self, path: &str, query: &[(&str, String)]) -> anyhow::Result<Value> {
        self.send(self.request(Method::GET, path)?.query(query)).await
    }

    /// Posts to a path.
    pub(super) async fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        let request = self.request(Method::POST, path)?.header("content-type", "application/json");
        self.send(request.body(body.to_string())).await
    }

    /// Posts a text of this type, with these parameters.
    pub(super) async fn post_text(
        &self,
        path: &str,
        query: &[(&str, String)],
        kind: &str,
        text: String,
    ) -> anyhow::Result<Value> {
        let request = self.request(Method::POST, path)?.query(query).header("content-type", kind);
        self.send(request.body(text)).await
    }

    /// Changes what is at a path.
    pub(super) async fn patch(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        let request = self.request(Method::PATCH, path)?.header("content-type", "application/json");
        self.send(request.body(body.to_string())).await
    }

    /// Takes out what is at a path.
    pub(super) async fn delete(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        let request = self.request(Method::DELETE, path)?.header("content-type", "application/json");
        self.send(request.body(body.to_string())).await
    }

    fn request(&self, method: Method, path: &str) -> anyhow::Result<RequestBuilder> {
        let client = reqwest::Client::builder().timeout(PATIENCE).connect_timeout(CONNECT_PATIENCE).build()?;
        let request = client.request(method, format!("{}{path}", base(&self.url)));
        Ok(match token() {
            Some(token) => request.bearer_auth(token),
            None => request,
        })
    }

    async fn send(&self, request: RequestBuilder) -> anyhow::Result<Value> {
        let answer = request.send().await.map_err(|error| unreachable(&self.url, &error))?;
        let status = answer.status();
        let text = answer.text().await?;
        if status == 401 {
            let what = if token().is_some() { "does not take this token" } else { "wants a token" };
            bail!("the admin listener {what}; set {TOKEN_VARIABLE} to the one in [admin] token");
        }
        let body: Value = serde_json::from_str(&text)
            .with_context(|| format!("what answers at {} is no admin listener of a relay (HTTP {status})", self.url))?;
        if !status.is_success() {
            if body["detail"] == Problem::not_found().detail.as_ref() {
                bail!("{} is not the admin listener of this release of the relay; see [admin] listen", self.url);
            }
            bail!("{}", body["detail"].as_str().unwrap_or("the relay refused"));
        }
        Ok(body)
    }

    /// Prints the answer as JSON if that is wanted; whether it did.
    pub(super) fn printed(&self, answer: &Value) -> anyhow::Result<bool> {
        if self.json {
            println!("{}", serde_json::to_string_pretty(answer)?);
        }
        Ok(self.json)
    }
}

fn token() -> Option<String> {
    std::env::var(TOKEN_VARIABLE).ok().filter(|token| !token.is_empty())
}

/// An address as it is meant: `127.0.0.1:8081` is one of HTTP.
pub(super) fn base(url: &str) -> String {
    let url = url.trim_end_matches('/');
    if url.contains("://") { url.to_owned() } else { format!("http://{url}") }
}

/// Why a relay could not be asked, in the words of whatever failed first.
pub(super) fn unreachable(url: &str, error: &reqwest::Error) -> anyhow::Error {
    let mut cause: &dyn std::error::Error = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    anyhow::anyhow!("no relay answers at {url} ({}): {cause}", doubt(url))
}

/// What is most likely wrong where no relay answers.
pub(super) fn doubt(url: &str) -> &'static str {
    if url.starts_with("https:") {
        "is it running, and is there a proxy that speaks TLS? The relay itself speaks plain http"
    } else {
        "is it running?"
    }
}

/// A text as one part of a path.
pub(super) fn part(text: &str) -> String {
    utf8_percent_encode(text, PLAIN).to_string()
}
