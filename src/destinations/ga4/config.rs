//! The keys of `kind = "ga4"`, read so that everything wrong is said at once.

use std::time::Duration;

use super::{Common, PURCHASE, Problem, REFUND, names};
use crate::model::{EventName, Secret, Settings};

/// Where GA4 collects, unless `region` or `base_url` says otherwise.
/// Source: <https://developers.google.com/analytics/devguides/collection/protocol/ga4/reference>, read 2026-11-20.
const GLOBAL: &str = "https://www.google-analytics.com";

/// Where it collects in the EU. Source: as above.
const EU: &str = "https://region1.google-analytics.com";

const TIMEOUT: Duration = Duration::from_secs(10);

/// What is configured for GA4 alone.
#[derive(Debug)]
pub(super) struct Config {
    /// Of the web data stream: `G-` and capital letters and digits. No secret.
    pub(super) measurement_id: String,
    /// Made in the data stream's settings.
    pub(super) api_secret: Secret,
    /// Without a slash at the end.
    pub(super) base_url: String,
    /// How long one request may take.
    pub(super) timeout: Duration,
}

/// Reads `table`, and looks at the names that events are mapped to.
///
/// # Errors
/// Every problem there is. None repeats a configured text: it may be the secret under a wrong name.
pub(super) fn read(common: &Common, table: toml::Table) -> Result<Config, Vec<Problem>> {
    let mut settings = Settings::new("", table);
    let expected = "the measurement id of a web data stream, such as G-ABC1234567";
    let measurement_id = settings.required_parsed("measurement_id", expected, |text| {
        let id = text.strip_prefix("G-")?;
        let plain = id.bytes().all(|b| b.is_ascii_digit() || b.is_ascii_uppercase());
        (!id.is_empty() && plain).then(|| text.to_owned())
    });
    let api_secret =
        settings.need("api_secret", "a Measurement Protocol API secret of the stream").secret("api_secret");
    let both = settings.has("region") && settings.has("base_url");
    let region = settings.parsed("region", "global or eu", |text| match text {
        "global" => Some(GLOBAL),
        "eu" => Some(EU),
        _ => None,
    });
    let base_url = settings.base_url(region.unwrap_or(GLOBAL));
    if both {
        settings.problem("region", "has no effect next to base_url; leave one of them out");
    }
    let timeout = settings.timeout(TIMEOUT);
    if common.hold_after_click.is_some() {
        settings.problem("hold_after_click", "is not for ga4, which knows no ad clicks: leave it out");
    }
    for (event, name) in &common.events {
        if let Err(why) = names::check_event(name) {
            settings.problem(&format!("events.{event}"), why);
        }
        if let Some(why) = would_count(common, event, name) {
            settings.problem(&format!("events.{event}"), why);
        }
    }
    let problems = settings.finish();
    match (measurement_id, api_secret) {
        (Some(measurement_id), Some(api_secret)) if problems.is_empty() => {
            Ok(Config { measurement_id, api_secret, base_url, timeout })
        }
        _ => Err(problems),
    }
}

/// What is wrong with calling a refund or restatement `name`: under the name of another event it would be one more of those.
fn would_count(common: &Common, event: &EventName, name: &str) -> Option<&'static str> {
    let another = || common.events.iter().any(|(other, theirs)| !other.is_change() && theirs == name && name != REFUND);
    if !event.is_change() {
        None
    } else if name == PURCHASE {
        Some("would be lost: GA4 drops a second purchase of one transaction; leave it out, or call it otherwise")
    } else if !event.is_refund() && name == REFUND {
        Some("would take back all of the conversion's new value: leave it out, or call it otherwise")
    } else if another() {
        Some("is the name of another event here, of which it would be one more: leave it out, or call it otherwise")
    } else {
        None
    }
}
