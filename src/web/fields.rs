//! Parts of posted JSON that several edges read: people, consent, page addresses.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{self, SeqAccess, Visitor},
};
use url::Url;

use super::json::Word;
use crate::model::{Choice, Consent, Digest, Raw, RawUser, kind};

/// Page addresses.
const URL_BYTES_MAX: usize = 8 * 1024;

/// `user`: a person, as typed or as hashed by the giver.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub struct UserWire {
    pub(super) email: Option<OneOrMany<Raw<kind::Email>>>,
    pub(super) phone: Option<OneOrMany<Raw<kind::Phone>>>,
    pub(super) email_sha256: Option<OneOrMany<String>>,
    pub(super) phone_sha256: Option<OneOrMany<String>>,
    pub(super) first_name: Option<Raw<kind::Name>>,
    pub(super) last_name: Option<Raw<kind::Name>>,
    pub(super) street: Option<Raw<kind::Street>>,
    pub(super) city: Option<Raw<kind::City>>,
    pub(super) region: Option<Raw<kind::Region>>,
    pub(super) postal_code: Option<Raw<kind::PostalCode>>,
    pub(super) country: Option<Raw<kind::Country>>,
    pub(super) date_of_birth: Option<Raw<kind::DateOfBirth>>,
    pub(super) gender: Option<Raw<kind::Gender>>,
    pub(super) external_id: Option<OneOrMany<Raw<kind::ExternalId>>>,
    pub(super) lead_id: Option<LeadId>,
}

/// `consent`: what the visitor allowed.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub struct ConsentWire {
    pub(super) ad_user_data: Option<Word<Choice>>,
    pub(super) ad_personalization: Option<Word<Choice>>,
}

/// A value or a list of values.
pub struct OneOrMany<T>(pub(super) Vec<T>);

impl<T> OneOrMany<T> {
    /// The values.
    #[must_use]
    pub fn into_vec(self) -> Vec<T> {
        self.0
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for OneOrMany<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either<T>(std::marker::PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Either<T> {
            type Value = OneOrMany<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string or a list of strings")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(OneOrMany(vec![T::deserialize(de::value::StrDeserializer::new(text))?]))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                let mut values = Vec::new();
                while let Some(value) = list.next_element()? {
                    values.push(value);
                }
                Ok(OneOrMany(values))
            }
        }
        deserializer.deserialize_any(Either(std::marker::PhantomData))
    }
}

/// Meta's lead id: 15 to 17 digits, as a string or a number.
pub struct LeadId(pub(super) u64);

impl<'de> Deserialize<'de> for LeadId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Digits;
        impl Visitor<'_> for Digits {
            type Value = LeadId;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a lead id of 15 to 17 digits")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<LeadId, E> {
                let number = text.strip_prefix("l:").unwrap_or(text).parse().map_err(|_| self.wrong())?;
                self.visit_u64(number)
            }
            fn visit_u64<E: de::Error>(self, number: u64) -> Result<LeadId, E> {
                let digits = number.to_string().len();
                if (15..=17).contains(&digits) { Ok(LeadId(number)) } else { Err(self.wrong()) }
            }
        }
        impl Digits {
            fn wrong<E: de::Error>(&self) -> E {
                E::custom("must be a lead id of 15 to 17 digits")
            }
        }
        deserializer.deserialize_any(Digits)
    }
}

/// What is wrong with a page's address.
pub fn page_problem(address: &str) -> Option<String> {
    if address.len() > URL_BYTES_MAX {
        return Some(format!("must be at most {URL_BYTES_MAX} bytes"));
    }
    let sound = Url::parse(address).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    (!sound || address.chars().any(char::is_control)).then(|| "must be an http or https address".to_owned())
}

/// Cuts a text at a character boundary.
pub fn cut(mut text: String, bytes: usize) -> String {
    let mut end = text.len().min(bytes);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text.retain(|c| !c.is_control());
    text
}

/// The choices as given.
pub fn consent(wire: ConsentWire) -> Consent {
    let choice = |given: Option<Word<Choice>>| given.map(|Word(choice)| choice).unwrap_or_default();
    Consent { ad_user_data: choice(wire.ad_user_data), ad_personalization: choice(wire.ad_personalization) }
}

/// The person as given; the error names the field.
pub fn user(wire: UserWire) -> Result<RawUser, (&'static str, String)> {
    fn list<T>(values: Option<OneOrMany<T>>) -> Vec<T> {
        values.map(|values| values.0).unwrap_or_default()
    }
    let digests = |field: &'static str, values: Option<OneOrMany<String>>| {
        let given = list(values).into_iter().filter(|value| !value.trim().is_empty());
        given
            .map(|hex| Digest::parse(hex.trim()).map_err(|why| (field, why.to_string())))
            .collect::<Result<Vec<_>, _>>()
    };
    Ok(RawUser {
        email_digests: digests("user/email_sha256", wire.email_sha256)?,
        phone_digests: digests("user/phone_sha256", wire.phone_sha256)?,
        emails: list(wire.email),
        phones: list(wire.phone),
        first_name: wire.first_name,
        last_name: wire.last_name,
        street: wire.street,
        city: wire.city,
        region: wire.region,
        postal_code: wire.postal_code,
        country: wire.country,
        date_of_birth: wire.date_of_birth,
        gender: wire.gender,
        external_ids: list(wire.external_id),
        lead_id: wire.lead_id.map(|id| id.0),
        ..RawUser::default()
    })
}
