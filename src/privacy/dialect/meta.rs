//! Meta's spelling, equal to what its Python SDK sends, so that an event from here and one from a shop's own
//! integration match.
//!
//! Source of all rules: `facebook_business` 26.0.3, `adobjects/serverside/normalize.py`, read 2026-11-20. One rule
//! there is left out on purpose: a text of 32 or 64 hex digits is not taken for a hash. Digests are declared by who
//! posts them.

use super::{Dialect, is_space, lower};
use crate::{
    model::{Normal, Raw, kind},
    privacy::clean::{BirthDate, Country, Gender, Telephone, is_valid_international},
};

/// Meta's Conversions API.
#[derive(Clone, Copy, Debug)]
pub struct Meta;

/// Digits of the longest phone number. Source: Recommendation ITU-T E.164 (11/2010), section 6.2.1.
const PHONE_DIGITS_MAX: usize = 15;

impl Dialect for Meta {
    /// Anything with an `@` and a later dot, each with something on both sides. Gmail's dots and suffixes stay.
    fn email(&self, raw: &Raw<kind::Email>) -> Option<Normal<kind::Email>> {
        let email = lower(raw.expose());
        if is_email(&email) { Normal::new(email) } else { None }
    }

    /// Country code and digits, without `+`.
    ///
    /// A number that could not be brought into E.164 goes through the SDK's rule as typed, if it is clearly
    /// international: it begins with `+` or `00`, or its digits are a valid number with a country code in front. The
    /// SDK takes national numbers too, without their 0 and without a country code; these could be anybody's and are
    /// left out.
    fn phone(&self, phone: &Telephone<'_>) -> Option<Normal<kind::Phone>> {
        match phone.e164() {
            Some(e164) => digits(e164).and_then(Normal::new),
            None => {
                let typed = phone.raw().trim_start_matches(|c| is_space(c) || matches!(c, '-' | '(' | ')'));
                let digits = digits(phone.raw())?;
                let prefixed = typed.starts_with('+') || typed.starts_with("00");
                let short = digits.len() <= PHONE_DIGITS_MAX;
                let national = typed.starts_with('0') && !prefixed;
                let clear = short && (prefixed || (!national && is_valid_international(&digits)));
                if clear { Normal::new(digits) } else { None }
            }
        }
    }

    /// Lower case; punctuation and inner spaces stay.
    fn name(&self, raw: &Raw<kind::Name>) -> Option<Normal<kind::Name>> {
        Normal::new(lower(raw.expose()))
    }

    fn city(&self, raw: &Raw<kind::City>) -> Option<Normal<kind::City>> {
        Normal::new(place(raw.expose()))
    }

    /// As for a city. Names of states are not turned into codes: the SDK does not.
    fn region(&self, raw: &Raw<kind::Region>) -> Option<Normal<kind::Region>> {
        Normal::new(place(raw.expose()))
    }

    /// Without whitespace, up to the first hyphen. The SDK hashes the empty string for `-1234`; here it is left out.
    fn postal_code(&self, raw: &Raw<kind::PostalCode>) -> Option<Normal<kind::PostalCode>> {
        let code = raw.expose().to_lowercase();
        Normal::new(code.chars().filter(|&c| !is_space(c)).take_while(|&c| c != '-').collect())
    }

    /// ISO 3166-1 alpha-2, lower case.
    fn country(&self, country: Country) -> Option<Normal<kind::Country>> {
        Normal::new(country.alpha2().to_ascii_lowercase())
    }

    /// `YYYYMMDD`.
    ///
    /// Source:
    /// developers.facebook.com/documentation/ads-commerce/conversions-api/parameters/customer-information-parameters,
    /// stored copy of 2026-09-12.
    fn date_of_birth(&self, date: BirthDate) -> Option<Normal<kind::DateOfBirth>> {
        Normal::new(date.yyyymmdd())
    }

    /// `f` or `m`.
    fn gender(&self, gender: Gender) -> Option<Normal<kind::Gender>> {
        let letter = match gender {
            Gender::Female => "f",
            Gender::Male => "m",
        };
        Normal::new(letter.to_owned())
    }
}

/// Something, `@`, something, a dot, something. Stricter than the SDK in one point: a line break is never part of an
/// address.
fn is_email(text: &str) -> bool {
    let mut inner = text.chars();
    // The first `@` that has something before it, and the last dot that has something after it, decide.
    let (Some(first), Some(last)) = (inner.next(), inner.next_back()) else { return false };
    let at = text[first.len_utf8()..].find('@').map(|at| at + first.len_utf8());
    let dot = text[..text.len() - last.len_utf8()].rfind('.');
    !text.contains('\n') && at.zip(dot).is_some_and(|(at, dot)| at + 1 < dot)
}

/// The SDK's rule for phone numbers: whitespace, hyphens and parentheses go, then twice a `+` and up to two zeros. What
/// is left must be at least seven digits and not begin with 0. The SDK's digits are those of any script; here only
/// ASCII ones.
fn digits(text: &str) -> Option<String> {
    let compact: String = text.chars().filter(|&c| !(is_space(c) || matches!(c, '-' | '(' | ')'))).collect();
    let mut number = compact.as_str();
    for _ in 0..2 {
        number = number.strip_prefix('+').unwrap_or(number);
        for _ in 0..2 {
            number = number.strip_prefix('0').unwrap_or(number);
        }
    }
    let valid = number.len() >= 7 && !number.starts_with('0') && number.bytes().all(|b| b.is_ascii_digit());
    valid.then(|| number.to_owned())
}

/// Cities and states: lower case without digits, dots, whitespace, hyphens and parentheses. Apostrophes and accents
/// stay.
fn place(text: &str) -> String {
    let dropped = |c: char| c.is_ascii_digit() || matches!(c, '.' | '-' | '(' | ')') || is_space(c);
    text.to_lowercase().chars().filter(|&c| !dropped(c)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Digest;

    /// A spelling and its digest.
    fn hashed<K>(spelled: Option<Normal<K>>) -> Option<(String, String)> {
        spelled.map(|normal| (normal.expose().to_owned(), Digest::of(&normal).hex()))
    }

    fn phone(text: &str, country: &str) -> Option<(String, String)> {
        hashed(Meta.phone(&Telephone::read(&Raw::new(text), [None, Country::parse(country).ok()])))
    }

    fn wanted(spelled: &str, digest: &str) -> Option<(String, String)> {
        Some((spelled.to_owned(), digest.to_owned()))
    }

    #[test]
    fn published_vectors_hash_as_published() {
        let john = wanted("john_smith@gmail.com", "62a14e44f765419d10fea99367361a727c12365e2520f32218d505ed9aa0f62f");
        assert_eq!(hashed(Meta.email(&Raw::new("John_Smith@gmail.com"))), john);
        let name = |text: &str| hashed(Meta.name(&Raw::new(text)));
        let mary = "6915771be1c5aa0c886870b6951b03d7eafc121fea0e80a5ea83beb7c449f4ec";
        assert_eq!(name("Mary"), wanted("mary", mary));
        let valery = "08e1996b5dd49e62a4b4c010d44e4345592a863bb9f8e3976219bac29417149c";
        assert_eq!(name("Valéry"), wanted("valéry", valery));
        assert_eq!(name("정"), wanted("정", "8fa8cd9c440be61d0151429310034083132b35975c4bea67fdd74158eb51db14"));
        let us = "79adb2a2fce5c6ba215fe5f27f532d4e7edbac4b6a5e09e1ef3a08084a904621";
        assert_eq!(hashed(Meta.country(Country::named("US").expect("known"))), wanted("us", us));
        let born = "01acdbf6ec7b4f478a225f1a246e5d6767eeab1a7ffa17f025265b5b94f40f0c";
        let date = BirthDate::read("19970216").expect("clear");
        assert_eq!(hashed(Meta.date_of_birth(date)), wanted("19970216", born));
        let city = "350c754ba4d38897693aa077ef43072a859d23f613443133fecbbd90a3512ca5";
        assert_eq!(hashed(Meta.city(&Raw::new("New York"))), wanted("newyork", city));
        let zip = "8dc3075ea745609c169d1c120d3fcd1c42673d16f18b423f4374e894d34a098a";
        assert_eq!(hashed(Meta.postal_code(&Raw::new("75018"))), wanted("75018", zip));
    }

    #[test]
    fn published_phone_vectors_hash_as_published_with_and_without_a_default_country() {
        let us = wanted("16505551212", "e323ec626319ca94ee8bff2e4c87cf613be6ea19919ed1364124e16807ab3176");
        let berlin = wanted("4930901820", "c03f76216358b07b09a300613908002987efc1ae9a2ef2a85d57d5a971bf821a");
        for country in ["", "US", "DE", "GB"] {
            assert_eq!(phone("+1 (650) 555-1212", country), us, "{country}");
            assert_eq!(phone("00 49 30 901820", country), berlin, "{country}");
            assert_eq!(phone("12", country), None, "{country}");
        }
        assert_eq!(phone("16505551212", ""), us);
        assert_eq!(phone("16505551212", "US"), us);
        assert_eq!(phone("(650) 555-1212", "US"), us);
    }

    #[test]
    fn a_number_that_could_be_anybodys_is_left_out() {
        for text in ["030 901820", "6505551212", "+12", "1234567", "", "call me", "+1 650 555 1212 x x"] {
            assert!(phone(text, "").is_none_or(|(spelled, _)| spelled == "16505551212"), "{text}");
        }
        assert_eq!(phone("+999 123 456 789", "").map(|(spelled, _)| spelled).as_deref(), Some("999123456789"));
        assert_eq!(phone(&"9".repeat(40), ""), None);
    }

    #[test]
    fn what_the_sdk_refuses_is_refused() {
        for text in ["nope", "", " ", "@", "a@b", "@b.c", "a@.", "a@b.", "a@.c", "a.b@c", "a\n@b.c"] {
            assert!(Meta.email(&Raw::new(text)).is_none(), "{text}");
        }
        for text in ["a@b.c", "a b@c.d", "a@@b.c", "@@b.c", "a@b@c.d", "a@b..", "a@é.c", "é@b.c"] {
            assert!(Meta.email(&Raw::new(text)).is_some(), "{text}");
        }
    }

    #[test]
    fn places_and_codes_are_spelled_as_the_sdk_does() {
        let city = |text: &str| Meta.city(&Raw::new(text)).map(|normal| normal.expose().to_owned());
        assert_eq!(city("St. Louis (MO) 63101").as_deref(), Some("stlouismo"));
        assert_eq!(city("L'Haÿ-les-Roses").as_deref(), Some("l'haÿlesroses"));
        assert_eq!(city(" 12.3 "), None);
        let zip = |text: &str| Meta.postal_code(&Raw::new(text)).map(|normal| normal.expose().to_owned());
        assert_eq!(zip(" 94025-1234").as_deref(), Some("94025"));
        assert_eq!(zip("SW1A 1AA").as_deref(), Some("sw1a1aa"));
        assert_eq!(zip("-1234"), None);
        let region = |text: &str| Meta.region(&Raw::new(text)).map(|normal| normal.expose().to_owned());
        assert_eq!(region("CA").as_deref(), Some("ca"));
        assert_eq!(region("New South Wales").as_deref(), Some("newsouthwales"));
        assert_eq!(Meta.gender(Gender::Female).map(|normal| normal.expose().to_owned()).as_deref(), Some("f"));
    }
}
