//! Times as files hold them, made into those of the API.

use jiff::{
    Timestamp,
    civil::DateTime,
    fmt::strtime,
    tz::{Offset, TimeZone},
};

use crate::model::Time;

/// Larger whole numbers are milliseconds.
const SECONDS_MAX: i64 = 100_000_000_000;
const NO_OFFSET: &str = "has no offset; say with --time-zone in which zone the file's times are";
const UNREADABLE: &str = "is no time that is known here, such as 2026-11-20T08:15:00Z, 2026-11-20 08:15:00, or seconds \
                          since 1970; see --time-format";

/// How the times of a file are to be read.
#[derive(Clone, Debug, Default)]
pub(super) struct Times {
    /// The zone of times that do not say theirs.
    pub(super) zone: Option<TimeZone>,
    /// A `strftime` pattern.
    pub(super) format: Option<String>,
}

/// A zone: an offset, or a name of the system's zone database.
pub(super) fn zone(text: &str) -> Result<TimeZone, String> {
    if matches!(text, "UTC" | "utc" | "Z" | "GMT") {
        return Ok(TimeZone::UTC);
    }
    if let Some(offset) = offset(text) {
        return Ok(offset.to_time_zone());
    }
    TimeZone::get(text).map_err(|_| {
        "must be an offset, such as +02:00, or the name of a zone that this system's zone database has, such as \
         Europe/Berlin"
            .to_owned()
    })
}

/// `+02:00`, `+0200` or `+2`.
fn offset(text: &str) -> Option<Offset> {
    let (sign, rest) = match text.split_at_checked(1)? {
        ("+", rest) => (1, rest),
        ("-" | "\u{2212}", rest) => (-1, rest),
        _ => return None,
    };
    let digits: String = rest.chars().filter(|&c| c != ':').collect();
    if digits.is_empty() || digits.len() > 4 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number: i32 = digits.parse().ok()?;
    let (hours, minutes) = if digits.len() > 2 { (number / 100, number % 100) } else { (number, 0) };
    (hours <= 14 && minutes < 60).then(|| Offset::from_seconds(sign * (hours * 3600 + minutes * 60)).ok()).flatten()
}

impl Times {
    /// The time that `text` is.
    ///
    /// # Errors
    /// What is wrong with it, without quoting it.
    pub(super) fn read(&self, text: &str) -> Result<Time, &'static str> {
        let text = text.trim();
        if let Some(format) = &self.format {
            return self.by(format, text);
        }
        if let Ok(time) = Time::parse(text) {
            return Ok(time);
        }
        if let Some(time) = unix(text) {
            return Ok(time);
        }
        // A zone of its own at the end: `2026-11-20 08:15:00 +0200`, `2026-11-20 08:15:00 Europe/Berlin`.
        let own = text.rsplit_once(' ').and_then(|(local, own)| Some((local, zone(own).ok()?)));
        let glued = || {
            let at = text.rfind(['+', '-']).filter(|&at| at > "2026-11-20".len())?;
            Some((&text[..at], offset(&text[at..])?.to_time_zone()))
        };
        let (local, own) = own.or_else(glued).map_or((text, None), |(local, own)| (local, Some(own)));
        let local = civil(local.trim()).ok_or(UNREADABLE)?;
        at(local, own.as_ref().or(self.zone.as_ref()).ok_or(NO_OFFSET)?)
    }

    fn by(&self, format: &str, text: &str) -> Result<Time, &'static str> {
        const WRONG: &str = "is not written as --time-format says";
        let parts = strtime::parse(format, text).map_err(|_| WRONG)?;
        if let Ok(timestamp) = parts.to_timestamp() {
            return Ok(Time::from_ms(timestamp.as_millisecond()));
        }
        let local = parts.to_datetime().or_else(|_| parts.to_date().map(DateTime::from)).map_err(|_| WRONG)?;
        at(local, self.zone.as_ref().ok_or(NO_OFFSET)?)
    }
}

/// A time without a zone, and nothing else with it.
fn civil(text: &str) -> Option<DateTime> {
    let plain = |c: char| c.is_ascii_digit() || matches!(c, '-' | ':' | '.' | 'T' | ' ');
    text.chars().all(plain).then(|| text.parse().ok()).flatten()
}

/// A time of a zone. One that the clocks skip or show twice is taken as RFC 5545 has it.
fn at(local: DateTime, zone: &TimeZone) -> Result<Time, &'static str> {
    let zoned = local.to_zoned(zone.clone()).map_err(|_| UNREADABLE)?;
    Ok(Time::from_ms(Timestamp::as_millisecond(zoned.timestamp())))
}

/// Seconds since 1970, with a fraction or without, or milliseconds, told by their size.
fn unix(text: &str) -> Option<Time> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    // Shorter numbers are years or days that somebody wrote without anything between.
    if !digits(whole) || !digits(fraction) || !(9..=14).contains(&whole.len()) {
        return None;
    }
    let number: i64 = whole.parse().ok()?;
    if number >= SECONDS_MAX {
        return Some(Time::from_ms(number));
    }
    let ms: String = fraction.chars().chain("000".chars()).take(3).collect();
    Some(Time::from_ms(number * 1000 + ms.parse::<i64>().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(zone_name: Option<&str>, text: &str) -> Result<String, &'static str> {
        let zone = zone_name.map(|name| zone(name).expect("a zone"));
        Times { zone, format: None }.read(text).map(|time| time.to_string())
    }

    #[test]
    fn a_time_that_says_its_offset_needs_no_zone() {
        for text in [
            "2026-11-20T08:15:00Z",
            "2026-11-20T10:15:00+02:00",
            "2026-11-20 10:15:00+02:00",
            "2026-11-20 10:15:00+0200",
            "2026-11-20 10:15:00 +0200",
            "2026-11-20 10:15:00 +02:00",
            "2026-11-20 08:15:00 UTC",
            " 2026-11-20 03:15:00 -5 ",
            "1795162500",
            "1795162500000",
        ] {
            assert_eq!(read(None, text).as_deref(), Ok("2026-11-20T08:15:00Z"), "{text}");
            assert_eq!(read(Some("-07:00"), text).as_deref(), Ok("2026-11-20T08:15:00Z"), "{text}");
        }
        assert_eq!(read(None, "1795162500.25").as_deref(), Ok("2026-11-20T08:15:00.250Z"));
    }

    #[test]
    fn a_time_that_does_not_is_of_the_zone_that_is_given_or_refused() {
        for text in ["2026-11-20 10:15:00", "2026-11-20T10:15:00", "2026-11-20 10:15"] {
            assert_eq!(read(Some("+02:00"), text).as_deref(), Ok("2026-11-20T08:15:00Z"), "{text}");
            assert_eq!(read(None, text), Err(NO_OFFSET), "{text}");
        }
        assert_eq!(read(Some("UTC"), "2026-11-20").as_deref(), Ok("2026-11-20T00:00:00Z"));
    }

    #[test]
    fn what_is_no_time_is_refused_without_a_panic() {
        for text in ["", "yesterday", "20.11.2026", "2026-13-01", "1", "+", "11/20/2026", "é 2026", "99:99"] {
            assert!(read(Some("UTC"), text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_pattern_reads_what_nothing_else_would() {
        let times = |format: &str| Times { zone: zone("+02:00").ok(), format: Some(format.to_owned()) };
        let read = |format, text| times(format).read(text).map(|time| time.to_string());
        assert_eq!(read("%m/%d/%Y %I:%M:%S %p", "11/20/2026 10:15:00 AM").as_deref(), Ok("2026-11-20T08:15:00Z"));
        assert_eq!(read("%d.%m.%Y", "20.11.2026").as_deref(), Ok("2026-11-19T22:00:00Z"));
        assert_eq!(read("%d.%m.%Y %H:%M %z", "20.11.2026 08:15 +0000").as_deref(), Ok("2026-11-20T08:15:00Z"));
        assert!(read("%d.%m.%Y", "2026-11-20").is_err());
    }

    #[test]
    fn a_zone_is_an_offset_or_a_name() {
        for wrong in ["", "+", "+25", "+02:75", "Mars/Olympus", "2", "+é"] {
            assert!(zone(wrong).is_err(), "{wrong}");
        }
        for right in ["+2", "+02", "-0530", "+05:45", "UTC"] {
            assert!(zone(right).is_ok(), "{right}");
        }
    }
}
