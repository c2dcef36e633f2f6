//! Groups of rows on their way to a running relay.

use std::time::Duration;

use anyhow::{Context as _, bail};
use reqwest::{StatusCode, header};
use serde::Deserialize;

use super::Refused;
use crate::cli::relay::{base, doubt};

/// The variable that holds a key of the relay.
pub(super) const KEY_VARIABLE: &str = "RELAY_KEY";
/// An answer that takes longer is not waited for: the rows are sent again, as duplicates.
const ANSWER_PATIENCE: Duration = Duration::from_secs(120);
const CONNECT_PATIENCE: Duration = Duration::from_secs(10);
/// A relay that asks for more patience than this is asked again all the same.
const WAIT_MAX: Duration = Duration::from_secs(300);

/// The public listener of a relay.
pub(super) struct Target {
    client: reqwest::Client,
    url: String,
    key: String,
}

/// What became of one row.
pub(super) enum Fate {
    Accepted,
    Duplicate,
    Refused(Refused),
}

/// What an answer says of the rows that were sent.
pub(super) struct Answer {
    /// What became of the first of them.
    pub(super) fates: Vec<Fate>,
    /// What to do about the others, if there are any.
    pub(super) rest: Option<Rest>,
}

/// What to do about rows that the relay did not take yet.
pub(super) enum Rest {
    /// Send them again, after this time if it was said, because of this.
    Later(Option<Duration>, String),
    /// Send fewer at once.
    Fewer,
}

/// An answer with results, whole or as far as the relay came.
#[derive(Deserialize)]
struct Results {
    #[serde(default)]
    results: Vec<OneResult>,
    lines: Option<usize>,
    detail: Option<String>,
}

#[derive(Deserialize)]
struct OneResult {
    status: String,
    problem: Option<Told>,
}

#[derive(Deserialize)]
struct Told {
    pointer: Option<String>,
    detail: String,
}

impl Target {
    /// The relay at `url`, with the key from the environment.
    pub(super) fn new(url: &str) -> anyhow::Result<Self> {
        let key = std::env::var(KEY_VARIABLE).ok().map(|key| key.trim().to_owned());
        let key = key.filter(|key| !key.is_empty()).with_context(|| {
            format!(
                "a key is needed: set {KEY_VARIABLE} to one from [intake] keys (a relay without any has made one: \
                 relay.key in its data directory)"
            )
        })?;
        let client = reqwest::Client::builder().timeout(ANSWER_PATIENCE).connect_timeout(CONNECT_PATIENCE).build()?;
        Ok(Self { client, url: format!("{}/v1/events", base(url)), key })
    }

    /// Posts rows, each the JSON of an event on one line.
    ///
    /// # Errors
    /// If there is no use in trying again.
    pub(super) async fn post(&self, rows: &[&[u8]]) -> anyhow::Result<Answer> {
        let mut body = rows.join(&b'\n');
        body.push(b'\n');
        let request = self.client.post(&self.url).bearer_auth(&self.key);
        let request = request.header(header::CONTENT_TYPE, "application/x-ndjson").body(body);
        let later = |wait, why: String| Ok(Answer { fates: Vec::new(), rest: Some(Rest::Later(wait, why)) });
        let answer = match request.send().await {
            Ok(answer) => answer,
            Err(error) if error.is_builder() => bail!("--url is no address of HTTP"),
            Err(error) => return later(None, format!("{} ({})", cause(&error), doubt(&self.url))),
        };
        let status = answer.status();
        let wait = answer.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        let wait = wait.map(|seconds| Duration::from_secs(seconds).min(WAIT_MAX));
        let text = match answer.bytes().await {
            Ok(text) => text,
            Err(error) => return later(wait, cause(&error)),
        };
        let told: Option<Results> = serde_json::from_slice(&text).ok();
        let detail = told.as_ref().and_then(|told| told.detail.clone());
        let detail = detail.unwrap_or_else(|| format!("HTTP {status}"));
        let fates = |told: Option<Results>| told.map(|told| (told.lines, told.results)).unwrap_or_default();
        match status {
            StatusCode::ACCEPTED | StatusCode::MULTI_STATUS | StatusCode::UNPROCESSABLE_ENTITY => {
                let (_, results) = fates(told);
                if results.len() != rows.len() {
                    bail!("{} does not answer as a relay does: {detail}", self.url);
                }
                Ok(Answer { fates: results.into_iter().map(Fate::from).collect(), rest: None })
            }
            StatusCode::PAYLOAD_TOO_LARGE => Ok(Answer { fates: Vec::new(), rest: Some(Rest::Fewer) }),
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => later(wait, detail),
            status if status.is_server_error() => {
                // As far as it came. Each row is a line, and has a result.
                let (lines, mut results) = fates(told);
                results.truncate(lines.unwrap_or(0).min(rows.len()));
                let fates = results.into_iter().map(Fate::from).collect();
                Ok(Answer { fates, rest: Some(Rest::Later(wait, detail)) })
            }
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                bail!("the relay does not take the key in {KEY_VARIABLE}: {detail}")
            }
            StatusCode::UNSUPPORTED_MEDIA_TYPE => {
                bail!("the relay at {} is of an older release than this command: it takes no lines of JSON", self.url)
            }
            _ => bail!("{} is not the public listener of a relay: {detail}", self.url),
        }
    }
}

impl From<OneResult> for Fate {
    fn from(result: OneResult) -> Self {
        match (result.status.as_str(), result.problem) {
            ("accepted", _) => Self::Accepted,
            ("duplicate", _) => Self::Duplicate,
            (_, Some(problem)) => Self::Refused(Refused::of(problem.pointer.as_deref(), &problem.detail)),
            (_, None) => Self::Refused(Refused::row("was refused")),
        }
    }
}

/// What failed first.
fn cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}
