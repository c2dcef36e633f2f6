//! The only way from contact details as posted to contact details as stored: pre-clean, spell, hash; and keep them from
//! slipping past in page addresses and free texts.
//!
//! ```text
//! Raw ──▶ clean: what a person meant (E.164, ISO country, date) ──▶ dialect: how Meta, how Google writes that ──▶
//! SHA-256 ```

mod clean;
mod dialect;
pub mod scrub;

use crate::model::{Digest, Normal, RawUser, SealedUser, Sensitive, Spelled, kind::ExternalId};

pub use clean::{BirthDate, Country, Gender, InvalidCountry, Telephone};
pub use dialect::{Dialect, Google, Meta};

/// The most e-mail addresses, phone numbers or customer ids kept of one person; later ones are left out.
///
/// Google takes ten identifiers of an event.
/// Source: developers.google.com/data-manager/api/devguides/limits, read 2026-11-20.
pub const IDENTIFIERS_MAX: usize = 10;

/// No country's postal codes are longer, however they are written.
const POSTAL_CODE_BYTES_MAX: usize = 16;

/// Hashes a person in every spelling a supported platform needs, and keeps in clear only what one wants in clear.
///
/// A value that a platform's rule refuses is left out for that platform. A phone number without a country code is read
/// as one of the person's own country, then as one of `default_country`; with neither it cannot be told whose it is.
#[must_use]
pub fn seal_user(raw: &RawUser, default_country: Option<Country>) -> SealedUser {
    let country = raw.country.as_ref().and_then(|text| Country::named(text.expose()));
    let regions = [country, default_country];
    let telephones = raw.phones.iter().map(|phone| Telephone::read(phone, regions));
    let birth = raw.date_of_birth.as_ref().and_then(|text| BirthDate::read(text.expose()));
    let gender = raw.gender.as_ref().and_then(|text| Gender::read(text.expose()));

    let first_name = each(raw.first_name.as_ref(), |dialect, name| dialect.name(name));
    let last_name = each(raw.last_name.as_ref(), |dialect, name| dialect.name(name));
    let postal_code_clear = raw.postal_code.as_ref().and_then(|code| {
        let complete = country.is_some() && first_name.google.is_some() && last_name.google.is_some();
        let code = dialect::trim(code.expose());
        (complete && is_postal_code(code)).then(|| Sensitive::new(code.to_owned()))
    });

    let given = &raw.meta_digests;
    let for_meta = given.phones.iter().map(|digest| Spelled::for_meta(*digest));
    SealedUser {
        emails: several(
            raw.emails.iter().map(|email| spell(|dialect| dialect.email(email))),
            raw.email_digests.iter().map(|digest| Spelled::given(*digest)),
        ),
        phones: several(
            telephones.map(|phone| spell(|dialect| dialect.phone(&phone))),
            raw.phone_digests.iter().map(|digest| Spelled::given(*digest)).chain(for_meta),
        ),
        first_name: or_given(first_name, given.first_name),
        last_name: or_given(last_name, given.last_name),
        street: each(raw.street.as_ref(), |dialect, street| dialect.street(street)),
        city: or_given(each(raw.city.as_ref(), |dialect, city| dialect.city(city)), given.city),
        region: or_given(each(raw.region.as_ref(), |dialect, region| dialect.region(region)), given.region),
        postal_code: or_given(
            each(raw.postal_code.as_ref(), |dialect, code| dialect.postal_code(code)),
            given.postal_code,
        ),
        country: or_given(each(country.as_ref(), |dialect, &country| dialect.country(country)), given.country),
        date_of_birth: or_given(
            each(birth.as_ref(), |dialect, &date| dialect.date_of_birth(date)),
            given.date_of_birth,
        ),
        gender: or_given(each(gender.as_ref(), |dialect, &gender| dialect.gender(gender)), given.gender),
        external_ids: external_ids(raw),
        country_code: country.map(|country| Sensitive::new(country.alpha2().to_owned())),
        postal_code_clear,
        lead_id: raw.lead_id,
    }
}

/// Whether `text` can be a postal code of some country: what stands in that field otherwise, a name or an address, must not rest
/// in clear. All have a digit.
fn is_postal_code(text: &str) -> bool {
    let plain = text.chars().all(|c| c.is_alphanumeric() || " -\u{2013}\u{3012}".contains(c));
    plain && text.len() <= POSTAL_CODE_BYTES_MAX && text.chars().any(char::is_numeric)
}

/// One value, hashed as each platform spells it.
fn spell<K>(by: impl Fn(&dyn Dialect) -> Option<Normal<K>>) -> Spelled {
    let (meta, google) = (by(&Meta), by(&Google));
    let digest = meta.as_ref().map(Digest::of);
    let same = meta.as_ref().map(Normal::expose) == google.as_ref().map(Normal::expose);
    Spelled { meta: digest, google: if same { digest } else { google.as_ref().map(Digest::of) } }
}

/// A value that may be missing, hashed as each platform spells it.
fn each<T, K>(value: Option<&T>, by: impl Fn(&dyn Dialect, &T) -> Option<Normal<K>>) -> Spelled {
    value.map(|value| spell(|dialect| by(dialect, value))).unwrap_or_default()
}

/// A value as spelled from its text; for Meta, else, the digest that its giver made.
const fn or_given(spelled: Spelled, digest: Option<Digest>) -> Spelled {
    if spelled.meta.is_some() { spelled } else { Spelled { meta: digest, ..spelled } }
}

/// The usable ones of several values and of digests that came as such: each once, in their order, at most
/// [`IDENTIFIERS_MAX`]. A digest that an earlier value already has, in any spelling, says nothing new.
fn several(values: impl Iterator<Item = Spelled>, digests: impl Iterator<Item = Spelled>) -> Vec<Spelled> {
    let mut kept: Vec<Spelled> = Vec::new();
    for spelled in values.filter(|spelled| !spelled.is_empty()) {
        if kept.len() == IDENTIFIERS_MAX {
            return kept;
        }
        if !kept.contains(&spelled) {
            kept.push(spelled);
        }
    }
    for given in digests {
        if kept.len() == IDENTIFIERS_MAX {
            return kept;
        }
        if !kept.iter().any(|known| known.meta == given.meta || known.google == given.meta) {
            kept.push(given);
        }
    }
    kept
}

/// Customer ids: all whitespace removed, lower case, hashed.
///
/// Meta's SDK sends them as they come and its documentation recommends hashing; its parameter builder does this.
/// Source: `capi_param_builder_python` 1.3.2, `piiUtil`, read 2026-11-20.
fn external_ids(raw: &RawUser) -> Vec<Digest> {
    let mut kept = Vec::new();
    let hashed = raw.external_ids.iter().filter_map(|id| {
        let spelled: String = id.expose().to_lowercase().chars().filter(|&c| !dialect::is_space(c)).collect();
        Normal::<ExternalId>::new(spelled).as_ref().map(Digest::of)
    });
    for digest in hashed.chain(raw.external_id_digests.iter().copied()) {
        if kept.len() < IDENTIFIERS_MAX && !kept.contains(&digest) {
            kept.push(digest);
        }
    }
    kept
}

#[cfg(test)]
mod tests;
