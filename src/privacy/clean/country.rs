//! Countries, from codes and names.

use std::{collections::HashMap, sync::LazyLock};

use rlibphonenumber::Region;

/// An ISO 3166-1 country.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Country(&'static str);

/// A text that is no ISO 3166-1 alpha-2 country code.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be a country as ISO 3166-1 alpha-2, such as US, GB or DE")]
pub struct InvalidCountry;

impl Country {
    /// Takes an alpha-2 code, as in the configuration; case does not matter.
    ///
    /// # Errors
    /// [`InvalidCountry`].
    pub fn parse(code: &str) -> Result<Self, InvalidCountry> {
        let [first, second] = *code.as_bytes() else { return Err(InvalidCountry) };
        let upper = [first.to_ascii_uppercase(), second.to_ascii_uppercase()];
        let known = std::str::from_utf8(&upper).ok().and_then(rust_iso3166::from_alpha2);
        known.map(|country| Self(country.alpha2)).ok_or(InvalidCountry)
    }

    /// Reads what a form may hold: a code of two or three letters, an English name, or another common name.
    ///
    /// Whatever is not a letter from a to z is first left out, as Meta's SDK does, so that `U.S.` is `US`.
    #[must_use]
    pub fn named(text: &str) -> Option<Self> {
        let lower = text.to_lowercase();
        let letters: String = lower.chars().filter(char::is_ascii_lowercase).collect();
        if let Ok(country) = Self::parse(&letters) {
            return Some(country);
        }
        if letters.len() == 3
            && let Some(country) = rust_iso3166::from_alpha3(&letters.to_ascii_uppercase())
        {
            return Some(Self(country.alpha2));
        }
        NAMES.get(&key(&lower)).copied()
    }

    /// The alpha-2 code, upper case.
    #[must_use]
    pub const fn alpha2(self) -> &'static str {
        self.0
    }

    /// Where its phone numbers belong.
    pub(super) fn dialling_region(self) -> Option<Region> {
        Region::from_code(self.0).ok()
    }
}

/// Letters only, lower case: `Côte d'Ivoire` and `cote-d'ivoire` differ in one letter and in nothing else.
fn key(name: &str) -> String {
    name.to_lowercase().chars().filter(|c| c.is_alphabetic()).collect()
}

/// Short forms that two countries share.
const SHARED: [&str; 3] = ["Congo", "Korea", "Virgin Islands"];

/// Names by which countries go, next to those in ISO 3166-1.
const COMMON: &[(&str, &str)] = &[
    ("uk", "GB"),
    ("United Kingdom", "GB"),
    ("Great Britain", "GB"),
    ("Britain", "GB"),
    ("England", "GB"),
    ("Scotland", "GB"),
    ("Wales", "GB"),
    ("Northern Ireland", "GB"),
    ("United States", "US"),
    ("America", "US"),
    ("The United States of America", "US"),
    ("The United States", "US"),
    ("The Netherlands", "NL"),
    ("Holland", "NL"),
    ("el", "GR"),
    ("Hellas", "GR"),
    ("Czech Republic", "CZ"),
    ("Turkey", "TR"),
    ("Turkiye", "TR"),
    ("Russia", "RU"),
    ("South Korea", "KR"),
    ("Republic of Korea", "KR"),
    ("Korea, South", "KR"),
    ("North Korea", "KP"),
    ("Vietnam", "VN"),
    ("Laos", "LA"),
    ("Syria", "SY"),
    ("Brunei", "BN"),
    ("Ivory Coast", "CI"),
    ("Cote d'Ivoire", "CI"),
    ("Cape Verde", "CV"),
    ("Swaziland", "SZ"),
    ("Macedonia", "MK"),
    ("Macau", "MO"),
    ("Burma", "MM"),
    ("East Timor", "TL"),
    ("Vatican", "VA"),
    ("Vatican City", "VA"),
    ("The Bahamas", "BS"),
    ("The Gambia", "GM"),
    ("The Philippines", "PH"),
    ("UAE", "AE"),
    ("Emirates", "AE"),
    ("KSA", "SA"),
    ("Republic of Ireland", "IE"),
    ("Eire", "IE"),
    ("DR Congo", "CD"),
    ("DRC", "CD"),
    ("Curacao", "CW"),
    ("Reunion", "RE"),
    ("Aland Islands", "AX"),
    ("Saint Barthelemy", "BL"),
    ("São Tomé and Príncipe", "ST"),
    ("Hong Kong SAR", "HK"),
    ("Palestinian Territories", "PS"),
    ("US Virgin Islands", "VI"),
    ("British Virgin Islands", "VG"),
    ("Democratic Republic of the Congo", "CD"),
    ("Republic of the Congo", "CG"),
    // What the people who live there write.
    ("Deutschland", "DE"),
    ("Österreich", "AT"),
    ("Oesterreich", "AT"),
    ("Schweiz", "CH"),
    ("Suisse", "CH"),
    ("Svizzera", "CH"),
    ("España", "ES"),
    ("Espana", "ES"),
    ("Italia", "IT"),
    ("Nederland", "NL"),
    ("Belgique", "BE"),
    ("België", "BE"),
    ("Belgie", "BE"),
    ("Polska", "PL"),
    ("Česko", "CZ"),
    ("Danmark", "DK"),
    ("Sverige", "SE"),
    ("Norge", "NO"),
    ("Suomi", "FI"),
    ("Magyarország", "HU"),
    ("România", "RO"),
    ("Hrvatska", "HR"),
    ("Brasil", "BR"),
    ("México", "MX"),
    ("Perú", "PE"),
    ("日本", "JP"),
    ("中国", "CN"),
    ("Россия", "RU"),
    ("Україна", "UA"),
];

static NAMES: LazyLock<HashMap<String, Country>> = LazyLock::new(|| {
    let mut names = HashMap::new();
    for country in rust_iso3166::ALL {
        names.insert(key(country.name), Country(country.alpha2));
    }
    for country in rust_iso3166::ALL {
        let short = country.name.split(" (").next().unwrap_or(country.name);
        if !SHARED.contains(&short) {
            names.entry(key(short)).or_insert(Country(country.alpha2));
        }
    }
    for &(name, code) in COMMON {
        if let Ok(country) = Country::parse(code) {
            names.insert(key(name), country);
        }
    }
    names
});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configured_country_is_an_alpha_2_code() {
        assert_eq!(Country::parse("us").map(Country::alpha2), Ok("US"));
        for no in ["", "U", "USA", "UK", "XK", "ZZ", "é", "1A", "001"] {
            assert_eq!(Country::parse(no), Err(InvalidCountry), "{no}");
        }
    }

    #[test]
    fn codes_and_names_are_understood() {
        for (text, code) in [
            ("US", "US"),
            ("u.s.", "US"),
            (" us ", "US"),
            ("USA", "US"),
            ("U.S.A.", "US"),
            ("United States", "US"),
            ("united states of america", "US"),
            ("UK", "GB"),
            ("GBR", "GB"),
            ("United Kingdom", "GB"),
            ("deu", "DE"),
            ("Germany", "DE"),
            ("DEUTSCHLAND", "DE"),
            ("Åland Islands", "AX"),
            ("Côte d’Ivoire", "CI"),
            ("Bolivia", "BO"),
            ("Taiwan", "TW"),
            ("Congo", "CG"),
            ("Viet Nam", "VN"),
            ("Netherlands", "NL"),
            ("Guinea-Bissau", "GW"),
            ("Czechia", "CZ"),
            ("Türkiye", "TR"),
            ("España", "ES"),
            ("日本", "JP"),
        ] {
            assert_eq!(Country::named(text).map(Country::alpha2), Some(code), "{text}");
        }
        for text in ["", " ", "XK", "ZZ", "Korea", "Virgin Islands", "Narnia", "12", "日"] {
            assert_eq!(Country::named(text), None, "{text}");
        }
    }

    #[test]
    fn every_code_and_every_name_of_the_standard_is_known() {
        assert_eq!(rust_iso3166::ALL.len(), 249);
        for country in rust_iso3166::ALL {
            for text in [country.alpha2, country.alpha3, country.name] {
                assert_eq!(Country::named(text).map(Country::alpha2), Some(country.alpha2), "{text}");
            }
            let known = Country::parse(country.alpha2).expect("valid");
            assert!(known.dialling_region().is_some());
        }
        for &(name, code) in COMMON {
            assert_eq!(Country::named(name).map(Country::alpha2), Some(code), "{name}");
        }
    }
}
