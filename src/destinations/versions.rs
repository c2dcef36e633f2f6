//! The versions of the platforms' APIs, and when each ends: one table, so that nobody finds out from a refused request.

use std::time::Duration;

use crate::model::Time;

/// How long before a version ends it is warned of.
pub const WARN_BEFORE: Duration = DAY.saturating_mul(90);

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// One version of an API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version {
    /// The API, as [`super::Destination::api`] names it.
    pub api: &'static str,
    /// Its version, as it is configured.
    pub version: &'static str,
    /// The last day it works, `YYYY-MM-DD`; `None` if the platform has named none.
    pub ends: Option<&'static str>,
}

/// Every version that is known.
pub static TABLE: &[Version] = &[
    // Source: <https://developers.facebook.com/docs/graph-api/changelog>, read 2026-11-20. For the Conversions API every
    // version gets at least two years; v26.0, of 2026-07-29, has no end yet.
    version("meta_graph", "v22.0", Some("2027-05-20")),
    version("meta_graph", "v23.0", Some("2027-10-08")),
    version("meta_graph", "v24.0", Some("2028-02-18")),
    version("meta_graph", "v25.0", Some("2028-07-29")),
    version("meta_graph", "v26.0", None),
    // Source: <https://developers.google.com/google-ads/api/docs/sunset-dates>, which names no dates for v23 to v26, and
    // <https://developers.google.com/ads/blog/posts/2026/09/google-ads-api-v22-sunset-reminder>, read 2026-11-20.
    version("google_ads", "v22", Some("2026-10-07")),
    version("google_ads", "v23", None),
    version("google_ads", "v24", None),
    version("google_ads", "v25", None),
    version("google_ads", "v26", None),
    // Source: <https://developers.google.com/data-manager/api/reference/rest>, read 2026-11-20: there is one version.
    version("data_manager", "v1", None),
];

const fn version(api: &'static str, version: &'static str, ends: Option<&'static str>) -> Version {
    Version { api, version, ends }
}

/// How long a version still works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// It is not in [`TABLE`]: newer than this build, or never there.
    Unknown,
    /// No end is near.
    Lasting,
    /// It ends within [`WARN_BEFORE`]; the last day begins at this time.
    Ending(Time),
    /// It has ended; the last day began at this time.
    Ended(Time),
}

/// How long this version of an API still works, as seen at `now`.
#[must_use]
pub fn life(api: &str, version: &str, now: Time) -> Life {
    if !TABLE.iter().any(|known| known.api == api && known.version == version) {
        return Life::Unknown;
    }
    match end_of(api, version) {
        Some(end) if now >= end.plus(DAY) => Life::Ended(end),
        Some(end) if now.plus(WARN_BEFORE) >= end => Life::Ending(end),
        _ => Life::Lasting,
    }
}

/// When this version of an API ends; `None` if that is not known.
#[must_use]
pub fn end_of(api: &str, version: &str) -> Option<Time> {
    let known = TABLE.iter().find(|known| known.api == api && known.version == version)?;
    Time::parse(&format!("{}T00:00:00Z", known.ends?)).ok()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn at(text: &str) -> Time {
        Time::parse(text).expect("a time")
    }

    #[test]
    fn every_date_is_one_and_no_version_is_there_twice() {
        let mut seen = BTreeSet::new();
        for known in TABLE {
            assert!(seen.insert((known.api, known.version)), "{known:?}");
            assert_eq!(end_of(known.api, known.version).is_some(), known.ends.is_some(), "{known:?}");
        }
    }

    #[test]
    fn a_version_is_warned_of_ninety_days_ahead_and_ends_after_its_last_day() {
        let v22 = |now| life("meta_graph", "v22.0", at(now));
        let end = at("2027-05-20T00:00:00Z");
        assert_eq!(v22("2027-02-18T23:59:59Z"), Life::Lasting);
        assert_eq!(v22("2027-02-19T00:00:00Z"), Life::Ending(end));
        assert_eq!(v22("2027-05-20T23:59:59Z"), Life::Ending(end), "the last day is one that it works on");
        assert_eq!(v22("2027-05-21T00:00:00Z"), Life::Ended(end));
        let now = at("2026-11-20T08:15:00Z");
        assert_eq!(life("google_ads", "v22", now), Life::Ended(at("2026-10-07T00:00:00Z")));
        assert_eq!(life("google_ads", "v26", now), Life::Lasting);
        assert_eq!(life("data_manager", "v1", now), Life::Lasting);
        assert_eq!(life("meta_graph", "v99.0", now), Life::Unknown);
        assert_eq!(life("google_ads", "v22.0", now), Life::Unknown);
    }
}
