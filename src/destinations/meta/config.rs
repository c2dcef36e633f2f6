//! The keys of `kind = "meta"`, read so that everything wrong is said at once.

use std::time::Duration;

use super::super::Problem;
use crate::model::{Secret, Settings};

/// Where Meta listens, unless `base_url` says otherwise.
const BASE_URL: &str = "https://graph.facebook.com";

/// The version this code was written for: released 2026-07-29, supported for at least two years from then.
/// Source: <https://developers.facebook.com/docs/graph-api/changelog>, read 2026-11-20.
const API_VERSION: &str = "v26.0";

/// The most events that Meta takes in one request.
/// Source: <https://developers.facebook.com/documentation/ads-commerce/conversions-api/using-the-api>, read 2026-11-20.
const BATCH_MAX: usize = 1000;

/// Meta says that most answers take under 600 ms and suggests 1.5 s; a full batch may take longer.
/// Source: <https://developers.facebook.com/documentation/ads-commerce/conversions-api/support>, read 2026-11-20.
const TIMEOUT: Duration = Duration::from_secs(10);

/// What is configured for Meta alone.
#[derive(Debug)]
pub(super) struct Config {
    /// The pixel, also called dataset.
    pub(super) pixel_id: String,
    /// A system user's token.
    pub(super) access_token: Secret,
    /// Without a slash at the end.
    pub(super) base_url: String,
    /// `v26.0`.
    pub(super) api_version: String,
    /// Shows the events under "test events"; they count all the same.
    pub(super) test_event_code: Option<String>,
    /// Events in one request.
    pub(super) batch: usize,
    /// How long one request may take.
    pub(super) timeout: Duration,
    /// How Meta knows an agency or platform.
    pub(super) partner_agent: Option<String>,
    /// Limited Data Use.
    pub(super) ldu: Option<Ldu>,
}

/// Limited Data Use, for every event: 0 and 0 let Meta find out where the person is, 1 and 1000 are California.
/// Source: <https://developers.facebook.com/documentation/ads-commerce/conversions-api/parameters/server-event>,
/// read 2026-11-20.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ldu {
    pub(super) country: u32,
    pub(super) state: u32,
}

/// Reads `table`.
///
/// # Errors
/// Every problem there is. None repeats a configured text: it may be the token under a wrong name.
pub(super) fn read(table: toml::Table) -> Result<Config, Vec<Problem>> {
    let mut settings = Settings::new("", table);
    let pixel_id = settings
        .required_parsed("pixel_id", "the digits of the pixel or dataset id", |t| is_digits(t).then(|| t.to_owned()));
    let access_token = settings.need("access_token", "the access token of a system user").secret("access_token");
    let base_url = settings.base_url(BASE_URL);
    let api_version = settings.parsed("api_version", "a version such as v26.0", |text| {
        let (major, minor) = text.strip_prefix('v')?.split_once('.')?;
        (is_digits(major) && is_digits(minor)).then(|| text.to_owned())
    });
    let test_event_code = settings.text("test_event_code");
    let partner_agent = settings.text("partner_agent");
    let batch = settings.number("batch", 1..=BATCH_MAX).unwrap_or(BATCH_MAX);
    let timeout = settings.timeout(TIMEOUT);
    let ldu = settings.table("ldu", "a table such as { country = 1, state = 1000 }, which is California", |ldu| {
        let country = ldu.need("country", "1 for the United States, or 0").number("country", 0..=1);
        let state = ldu.need("state", "Meta's number of it: 1000 for California, or 0").number("state", 0..=9999);
        Some(Ldu { country: country?, state: state? })
    });
    let problems = settings.finish();
    match (pixel_id, access_token) {
        (Some(pixel_id), Some(access_token)) if problems.is_empty() => Ok(Config {
            pixel_id,
            access_token,
            base_url,
            api_version: api_version.unwrap_or_else(|| API_VERSION.to_owned()),
            test_event_code,
            batch,
            timeout,
            partner_agent,
            ldu: ldu.flatten(),
        }),
        _ => Err(problems),
    }
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}
