//! Phone numbers: from what was typed to E.164.

use std::fmt;

use rlibphonenumber::{NumberLengthType, PHONE_NUMBER_UTIL, PhoneNumber, PhoneNumberFormat};

use super::Country;
use crate::model::{Raw, kind::Phone};

/// A phone number as typed, and in E.164 if it could be told whose it is. As secret as [`Raw`].
pub struct Telephone<'a> {
    raw: &'a Raw<Phone>,
    e164: Option<String>,
}

impl<'a> Telephone<'a> {
    /// Reads a number; one without a country code belongs to the first of `countries` where it can exist.
    ///
    /// Where no country has such a number, but its digits are a valid number with a country code in front
    /// (`16505551212` in a shop in Germany), that is what is meant. Possible numbers are enough otherwise: newly
    /// assigned ranges and numbers reserved for tests are not valid by the book.
    #[must_use]
    pub fn read(raw: &'a Raw<Phone>, countries: [Option<Country>; 2]) -> Self {
        Self { raw, e164: e164(raw.expose(), countries) }
    }

    /// As typed.
    #[must_use]
    pub fn raw(&self) -> &str {
        self.raw.expose()
    }

    /// With `+` and the country code.
    #[must_use]
    pub fn e164(&self) -> Option<&str> {
        self.e164.as_deref()
    }
}

impl fmt::Debug for Telephone<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Telephone(..)")
    }
}

fn e164(text: &str, countries: [Option<Country>; 2]) -> Option<String> {
    let written = |number: &PhoneNumber| number.format_as(PhoneNumberFormat::E164).into_owned();
    if text.contains(['+', '＋'])
        && let Some(number) = possible(text, None)
    {
        return Some(written(&number));
    }
    // `00` is how most of the world dials abroad: a valid number behind it is what was meant, whatever else those digits
    // could be in the person's own country.
    if let Some(abroad) = text.trim_start().strip_prefix("00")
        && let Some(number) = possible(&format!("+{abroad}"), None).filter(PhoneNumber::is_valid)
    {
        return Some(written(&number));
    }
    let mut likely = None;
    for country in countries.into_iter().flatten() {
        if let Some(number) = possible(text, Some(country)) {
            if number.is_valid() {
                return Some(written(&number));
            }
            likely = likely.or(Some(number));
        }
    }
    // Without any country this would be a guess; with one, its numbers have been ruled out.
    if countries.iter().any(Option::is_some)
        && text.trim_start().starts_with(|c: char| c.is_ascii_digit() && c != '0')
        && let Some(number) = possible(&format!("+{}", text.trim_start()), None).filter(PhoneNumber::is_valid)
    {
        return Some(written(&number));
    }
    likely.as_ref().map(written)
}

/// The number, if one of its length can be dialled from abroad.
fn possible(text: &str, country: Option<Country>) -> Option<PhoneNumber> {
    let number = PHONE_NUMBER_UTIL.parse(text, country.and_then(Country::dialling_region)).ok()?;
    (number.is_possible_with_reason() == Ok(NumberLengthType::IsPossible)).then_some(number)
}

/// Whether `digits` are a valid number that begins with a country code.
pub(in crate::privacy) fn is_valid_international(digits: &str) -> bool {
    possible(&format!("+{digits}"), None).is_some_and(|number| number.is_valid())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, countries: [&str; 2]) -> Option<String> {
        e164(text, countries.map(|code| Country::parse(code).ok()))
    }

    #[test]
    fn a_number_without_country_code_is_the_persons_own_then_the_shops() {
        assert_eq!(read("(650) 555-1212", ["US", "DE"]).as_deref(), Some("+16505551212"));
        assert_eq!(read("07911 123456", ["", "GB"]).as_deref(), Some("+447911123456"));
        assert_eq!(read("020 7946 0958", ["US", "GB"]).as_deref(), Some("+442079460958"));
        assert_eq!(read("07911 123456", ["", ""]), None);
    }

    #[test]
    fn a_country_code_without_plus_counts_where_the_number_is_no_national_one() {
        assert_eq!(read("16505551212", ["", "US"]).as_deref(), Some("+16505551212"));
        assert_eq!(read("447911123456", ["", "GB"]).as_deref(), Some("+447911123456"));
        assert_eq!(read("4930901820", ["", "US"]).as_deref(), Some("+4930901820"));
        assert_eq!(read("16505551212", ["", ""]), None);
    }

    #[test]
    fn two_zeros_dial_abroad_from_anywhere() {
        for country in ["DE", "BR", "US", ""] {
            assert_eq!(read("0049 30 901820", ["", country]).as_deref(), Some("+4930901820"), "{country}");
        }
        assert_eq!(read("0012", ["", "US"]), None);
    }

    #[test]
    fn reserved_numbers_pass_and_fragments_do_not() {
        for (text, country, wanted) in [
            ("(800) 555-0100", "US", Some("+18005550100")),
            ("+1 650 555 1212", "DE", Some("+16505551212")),
            ("tel:+1-650-555-1212", "", Some("+16505551212")),
            ("+1 (650) 555-1212 ext. 7", "", Some("+16505551212")),
            ("+39 06 1234 5678", "US", Some("+390612345678")),
            ("555-1212", "US", None),
            ("12", "US", None),
            ("+", "US", None),
            ("no phone", "US", None),
            ("", "US", None),
        ] {
            assert_eq!(read(text, ["", country]).as_deref(), wanted, "{text}");
        }
    }
}
