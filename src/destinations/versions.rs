//! The versions of the platforms' APIs, and when each ends: one table, so that nobody finds out from a refused request.

use crate::model::Time;

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
pub static TABLE: &[Version] = &[];

/// When this version of an API ends; `None` if that is not known.
#[must_use]
pub fn end_of(api: &str, version: &str) -> Option<Time> {
    let known = TABLE.iter().find(|known| known.api == api && known.version == version)?;
    Time::parse(&format!("{}T00:00:00Z", known.ends?)).ok()
}
