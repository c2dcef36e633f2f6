//! What Meta's answers say of its rate limits. Events count as Marketing API traffic, whose use three headers tell, as JSON:
//!
//! - `x-business-use-case-usage`: for each business a list of `call_count`, `total_cputime`, `total_time` (percent of the
//!   limit) and `estimated_time_to_regain_access` (minutes).
//! - `x-app-usage`: the same three percentages.
//! - `x-ad-account-usage`: `acc_id_util_pct`, percent.
//!
//! Source: <https://developers.facebook.com/docs/marketing-apis/rate-limiting> and
//! <https://developers.facebook.com/docs/graph-api/overview/rate-limiting>, read 2026-11-20.

use std::time::Duration;

use serde_json::Value;

use super::super::Response;

const BUSINESS: &str = "x-business-use-case-usage";
const APP: &str = "x-app-usage";
const ACCOUNT: &str = "x-ad-account-usage";

/// The headers, as [`super::super::Profile::headers`] wants them.
pub(super) const HEADERS: &[&str] = &[BUSINESS, APP, ACCOUNT];

/// From here on we slow down. Meta refuses at 100.
const SLOW_FROM: f64 = 80.0;

/// The pause at [`SLOW_FROM`] and at 100 percent; in between it grows evenly. Meta counts over about an hour, so that a
/// minute at the edge gives use time to fall, and a second before it is hardly felt: a request holds up to 1000 events.
const PAUSE: (f64, f64) = (1.0, 60.0);

/// A longer wait than this is no estimate that anybody could mean.
const WAIT_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// How long nothing more should be sent.
pub(super) fn throttle(response: &Response) -> Option<Duration> {
    regained(response).or_else(|| {
        let used = used(response);
        let share = ((used - SLOW_FROM) / (100.0 - SLOW_FROM)).min(1.0);
        (used >= SLOW_FROM).then(|| Duration::from_secs_f64(PAUSE.0 + share * (PAUSE.1 - PAUSE.0)))
    })
}

/// When Meta takes requests again, if it takes none now.
pub(super) fn regained(response: &Response) -> Option<Duration> {
    let minutes =
        businesses(response).into_iter().filter_map(|usage| usage.get("estimated_time_to_regain_access")?.as_u64());
    let minutes = minutes.max().filter(|minutes| *minutes > 0)?;
    Some(Duration::from_secs(minutes.saturating_mul(60)).min(WAIT_MAX))
}

/// The percentage of the limit that is nearest.
fn used(response: &Response) -> f64 {
    const SHARES: [&str; 4] = ["call_count", "total_cputime", "total_time", "acc_id_util_pct"];
    let others = [APP, ACCOUNT].into_iter().filter_map(|name| read(response, name));
    let usages = businesses(response).into_iter().chain(others);
    let shares = usages.flat_map(|usage| SHARES.map(|share| usage.get(share).and_then(Value::as_f64).unwrap_or(0.0)));
    shares.fold(0.0, f64::max)
}

fn businesses(response: &Response) -> Vec<Value> {
    let Some(Value::Object(businesses)) = read(response, BUSINESS) else { return Vec::new() };
    let lists =
        businesses.into_iter().filter_map(|(_, list)| if let Value::Array(list) = list { Some(list) } else { None });
    lists.flatten().collect()
}

fn read(response: &Response, header: &str) -> Option<Value> {
    serde_json::from_str(response.header(header)?).ok()
}
