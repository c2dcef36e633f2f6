//! Points in time, and the clock that everything is handed instead of asking the system.

use std::{
    fmt,
    sync::atomic::{AtomicI64, Ordering},
    time::Duration,
};

use serde::{Deserialize, Serialize};

/// A point in time: milliseconds since 1970-01-01T00:00:00Z. Prints as RFC 3339 in UTC.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Time(i64);

/// A text that is not an RFC 3339 time with an offset.
#[derive(Debug, thiserror::Error)]
#[error("not an RFC 3339 time with an offset, such as 2026-11-20T08:15:00Z")]
pub struct InvalidTime;

impl Time {
    /// The time `ms` milliseconds after the epoch.
    #[must_use]
    pub const fn from_ms(ms: i64) -> Self {
        Self(ms)
    }

    /// The time `seconds` seconds after the epoch.
    #[must_use]
    pub const fn from_secs(seconds: i64) -> Self {
        Self(seconds.saturating_mul(1000))
    }

    /// Milliseconds since the epoch.
    #[must_use]
    pub const fn as_ms(self) -> i64 {
        self.0
    }

    /// Whole seconds since the epoch, rounded down.
    #[must_use]
    pub const fn as_secs(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// Reads RFC 3339 (`Z` or an offset, fractions allowed).
    ///
    /// # Errors
    /// [`InvalidTime`] for anything else, also for a time without an offset.
    pub fn parse(text: &str) -> Result<Self, InvalidTime> {
        text.parse::<jiff::Timestamp>().map(|at| Self(at.as_millisecond())).map_err(|_| InvalidTime)
    }

    /// How long after `earlier` this is; zero if it is not after it.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// This time, `span` later.
    #[must_use]
    pub fn plus(self, span: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(span.as_millis()).unwrap_or(i64::MAX)))
    }

    /// This time, `span` earlier.
    #[must_use]
    pub fn minus(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(span.as_millis()).unwrap_or(i64::MAX)))
    }

    /// The calendar day in UTC, `2026-11-20`.
    #[must_use]
    pub fn day(self) -> String {
        self.format("%Y-%m-%d")
    }

    /// The time in UTC by a `strftime` pattern.
    #[must_use]
    pub fn format(self, pattern: &str) -> String {
        self.zoned().strftime(pattern).to_string()
    }

    fn zoned(self) -> jiff::Zoned {
        let limit = |ms| jiff::Timestamp::from_millisecond(ms).ok();
        let fallback = if self.0 < 0 { jiff::Timestamp::MIN } else { jiff::Timestamp::MAX };
        limit(self.0).unwrap_or(fallback).to_zoned(jiff::tz::TimeZone::UTC)
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pattern = if self.0 % 1000 == 0 { "%Y-%m-%dT%H:%M:%SZ" } else { "%Y-%m-%dT%H:%M:%S%.3fZ" };
        f.write_str(&self.format(pattern))
    }
}

impl fmt::Debug for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What tells the time. Passed in, so that tests set it and none waits for it.
pub trait Clock: Send + Sync {
    /// The present.
    fn now(&self) -> Time;
}

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place that asks the system for the time")]
    fn now(&self) -> Time {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Time(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }
}

/// A clock that stands still until it is told to move.
#[derive(Debug)]
pub struct MockClock(AtomicI64);

impl MockClock {
    /// A clock that shows `now`.
    #[must_use]
    pub const fn at(now: Time) -> Self {
        Self(AtomicI64::new(now.0))
    }

    /// Moves the clock by `span`.
    pub fn advance(&self, span: Duration) {
        self.set(self.now().plus(span));
    }

    /// Sets the clock, also backwards.
    pub fn set(&self, now: Time) {
        self.0.store(now.0, Ordering::SeqCst);
    }
}

impl Clock for MockClock {
    fn now(&self) -> Time {
        Time(self.0.load(Ordering::SeqCst))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_reads_any_offset_and_prints_utc() {
        assert_eq!(Time::parse("2026-11-20T10:15:00+02:00").expect("valid").to_string(), "2026-11-20T08:15:00Z");
        assert_eq!(Time::parse("2026-11-20T08:15:00.25Z").expect("valid").to_string(), "2026-11-20T08:15:00.250Z");
        for bad in ["2026-11-20", "2026-11-20T08:15:00", "yesterday", "1763626500", ""] {
            assert!(Time::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn extreme_times_print_without_a_panic() {
        for ms in [i64::MIN, -1, 0, i64::MAX] {
            assert!(!Time::from_ms(ms).to_string().is_empty());
        }
    }
}
