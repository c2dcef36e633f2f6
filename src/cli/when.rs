//! Times and spans as a person writes them.

use std::time::Duration;

use crate::model::{Time, parse_duration};

/// A time with its offset, or a day, which begins at 0:00 UTC.
pub(super) fn time(text: &str) -> Result<String, String> {
    let day = format!("{text}T00:00:00Z");
    let read = [text, &day].into_iter().find(|text| Time::parse(text).is_ok());
    read.map(str::to_owned).ok_or_else(|| {
        "must be a time with an offset, such as 2026-11-20T08:15:00Z, or a day (0:00 UTC), such as 2026-11-20"
            .to_owned()
    })
}

/// A span, such as 6h.
pub(super) fn span(text: &str) -> Result<Duration, String> {
    parse_duration(text).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_begins_at_midnight_in_utc() {
        assert_eq!(time("2026-11-20"), Ok("2026-11-20T00:00:00Z".to_owned()));
        let exact = "2026-11-20T08:15:00+02:00";
        assert_eq!(time(exact), Ok(exact.to_owned()));
        for wrong in ["yesterday", "20.11.2026", "2026-11-20T08:15:00", "2026-13-01", ""] {
            assert!(time(wrong).is_err_and(|told| told.contains("2026-11-20T08:15:00Z")), "{wrong}");
        }
    }
}
