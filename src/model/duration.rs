//! Spans of time as the configuration writes them: `250ms`, `30s`, `10m`, `6h`, `30d`.

use std::time::Duration;

/// A text that is no span of time.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be a whole number and a unit (ms, s, m, h or d), such as 250ms, 30s, 10m, 6h or 30d")]
pub struct InvalidDuration;

/// Reads a whole number directly followed by its unit: `ms`, `s`, `m`, `h` or `d` (24 hours).
///
/// # Errors
/// [`InvalidDuration`] for anything else: no unit, a sign, a fraction, white space, two units, or more than `u64` milliseconds.
pub fn parse_duration(text: &str) -> Result<Duration, InvalidDuration> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let unit_ms: u64 = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60 * 1000,
        "h" => 60 * 60 * 1000,
        "d" => 24 * 60 * 60 * 1000,
        _ => return Err(InvalidDuration),
    };
    // An empty number is refused here.
    let number: u64 = number.parse().map_err(|_| InvalidDuration)?;
    number.checked_mul(unit_ms).map(Duration::from_millis).ok_or(InvalidDuration)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_and_a_unit_make_a_duration() {
        for (text, ms) in [
            ("250ms", 250),
            ("30s", 30_000),
            ("10m", 600_000),
            ("6h", 21_600_000),
            ("30d", 2_592_000_000),
            ("0s", 0),
            ("007s", 7000),
        ] {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for bad in [
            "",
            "s",
            "10",
            "-1s",
            "+1s",
            "1.5s",
            " 1s",
            "1s ",
            "1 s",
            "1S",
            "1M",
            "1m30s",
            "1w",
            "1é",
            "999999999999999999d",
        ] {
            assert_eq!(parse_duration(bad), Err(InvalidDuration), "{bad}");
        }
    }
}
