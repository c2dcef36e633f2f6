//! People: contact details as they were typed (never stored, never printed), as a platform spells them, and hashed.

use std::{fmt, marker::PhantomData};

use serde::{Deserialize, Deserializer, Serialize};
use sha2::{Digest as _, Sha256};

use super::{ClickId, Cookies, Sensitive};

/// What a contact detail is; the parameter of [`Raw`] and [`Normal`].
pub mod kind {
    macro_rules! kinds {
        ($($(#[$doc:meta])* $name:ident)+) => {$(
            $(#[$doc])*
            #[derive(Debug, Clone, Copy, PartialEq, Eq)]
            pub enum $name {}
        )+};
    }
    kinds! {
        /// E-mail address.
        Email
        /// Telephone number.
        Phone
        /// Given or family name.
        Name
        /// Street and house number.
        Street
        /// City.
        City
        /// State, county or province.
        Region
        /// Postal code.
        PostalCode
        /// Country.
        Country
        /// Date of birth.
        DateOfBirth
        /// Gender.
        Gender
        /// The giver's own id of the customer.
        ExternalId
    }
}

/// A contact detail as a person typed it: may be spelled and hashed, never stored, never printed.
///
/// ```
/// use conversion_relay::model::{Raw, kind::Email};
/// let email: Raw<Email> = Raw::new("ada@example.com");
/// assert_eq!(format!("{email:?}"), "Raw(..)");
/// ```
/// ```compile_fail
/// use conversion_relay::model::{Raw, kind::Email};
/// let email: Raw<Email> = Raw::new("ada@example.com");
/// serde_json::to_string(&email); // `Raw` has no `Serialize`
/// ```
/// ```compile_fail
/// use conversion_relay::model::{Raw, kind::Email};
/// let email: Raw<Email> = Raw::new("ada@example.com");
/// format!("{email}"); // `Raw` has no `Display`
/// ```
pub struct Raw<K>(String, PhantomData<K>);

impl<K> Raw<K> {
    /// Takes a text as it came.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into(), PhantomData)
    }

    /// The text, for the code that spells and hashes it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl<K> Clone for Raw<K> {
    fn clone(&self) -> Self {
        Self::new(self.0.clone())
    }
}

impl<K> fmt::Debug for Raw<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Raw(..)")
    }
}

impl<'de, K> Deserialize<'de> for Raw<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::new)
    }
}

/// A contact detail as one platform spells it before hashing. Never empty; as secret as [`Raw`].
pub struct Normal<K>(String, PhantomData<K>);

impl<K> Normal<K> {
    /// Takes a spelled value; `None` if there is nothing left of it, as an empty string must never be hashed.
    #[must_use]
    pub fn new(spelled: String) -> Option<Self> {
        if spelled.trim().is_empty() { None } else { Some(Self(spelled, PhantomData)) }
    }

    /// The spelled text.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl<K> fmt::Debug for Normal<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Normal(..)")
    }
}

/// A text that is not the SHA-256 of something, in hex.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidDigest {
    /// Not 64 hexadecimal digits.
    #[error("must be a SHA-256 digest: 64 hexadecimal digits")]
    NotHex,
    /// The digest of the empty string.
    #[error("is the SHA-256 of an empty string; leave the field out instead")]
    OfNothing,
}

/// A SHA-256 digest. Prints as lower-case hex.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Digest([u8; 32]);

/// SHA-256 of the empty string: what a careless client sends for a field that is not there.
const OF_NOTHING: [u8; 32] = [
    0xe3, 0xb0, 0xc4, 0x42, 0x98, 0xfc, 0x1c, 0x14, 0x9a, 0xfb, 0xf4, 0xc8, 0x99, 0x6f, 0xb9, 0x24, 0x27, 0xae, 0x41,
    0xe4, 0x64, 0x9b, 0x93, 0x4c, 0xa4, 0x95, 0x99, 0x1b, 0x78, 0x52, 0xb8, 0x55,
];

impl Digest {
    /// Hashes what a dialect has spelled. Text that none has spelled cannot be hashed.
    ///
    /// ```compile_fail
    /// use conversion_relay::model::{Digest, Raw, kind::Email};
    /// let email: Raw<Email> = Raw::new("ada@example.com");
    /// Digest::of(&email);
    /// ```
    #[must_use]
    pub fn of<K>(normal: &Normal<K>) -> Self {
        Self(Sha256::digest(normal.expose().as_bytes()).into())
    }

    /// Hashes an opaque token (a checkout id, a cookie) for use as a lookup key; such digests are never sent.
    #[must_use]
    pub fn of_token(token: &str) -> Self {
        Self(Sha256::digest(token.as_bytes()).into())
    }

    /// Takes a digest that its giver declared as one; upper-case hex is lowered.
    ///
    /// # Errors
    /// [`InvalidDigest`]; also for the digest of the empty string.
    pub fn parse(hex: &str) -> Result<Self, InvalidDigest> {
        let mut bytes = [0; 32];
        if hex.len() != 64 {
            return Err(InvalidDigest::NotHex);
        }
        for (byte, pair) in bytes.iter_mut().zip(hex.as_bytes().chunks_exact(2)) {
            let digit = |c: u8| char::from(c).to_digit(16).ok_or(InvalidDigest::NotHex);
            *byte = u8::try_from(digit(pair[0])? << 4 | digit(pair[1])?).map_err(|_| InvalidDigest::NotHex)?;
        }
        if bytes == OF_NOTHING { Err(InvalidDigest::OfNothing) } else { Ok(Self(bytes)) }
    }

    /// The 32 bytes.
    #[must_use]
    pub const fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Lower-case hex, as the platforms want it.
    #[must_use]
    pub fn hex(&self) -> String {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = String::with_capacity(64);
        for byte in self.0 {
            text.push(char::from(DIGITS[usize::from(byte >> 4)]));
            text.push(char::from(DIGITS[usize::from(byte & 15)]));
        }
        text
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.hex())
    }
}

/// One contact detail hashed as each family of platforms spells it; `None` where that platform's rule refuses it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spelled {
    /// Meta's spelling.
    pub meta: Option<Digest>,
    /// Google's spelling.
    pub google: Option<Digest>,
}

impl Spelled {
    /// A digest that was given to us: the same for everybody.
    #[must_use]
    pub const fn given(digest: Digest) -> Self {
        Self { meta: Some(digest), google: Some(digest) }
    }

    /// A digest that was given to us as Meta spells it: of no use to anybody else.
    #[must_use]
    pub const fn for_meta(digest: Digest) -> Self {
        Self { meta: Some(digest), google: None }
    }

    /// Whether no platform can use it.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.meta.is_none() && self.google.is_none()
    }
}

/// Contact details that their giver hashed as Meta spells them, where other platforms spell them otherwise.
#[derive(Clone, Debug, Default)]
pub struct MetaDigests {
    /// Phone numbers: digits only, where Google has a `+` before them.
    pub phones: Vec<Digest>,
    /// Given name: with its punctuation, which Google leaves out.
    pub first_name: Option<Digest>,
    /// Family name, likewise.
    pub last_name: Option<Digest>,
    /// City: Google takes it in clear, as the three below.
    pub city: Option<Digest>,
    /// State, county or province.
    pub region: Option<Digest>,
    /// Postal code.
    pub postal_code: Option<Digest>,
    /// Country.
    pub country: Option<Digest>,
    /// Date of birth: Google does not take it.
    pub date_of_birth: Option<Digest>,
    /// Gender: likewise.
    pub gender: Option<Digest>,
}

/// A person as posted. Lives in memory during the request only.
#[derive(Clone, Debug, Default)]
pub struct RawUser {
    /// E-mail addresses.
    pub emails: Vec<Raw<kind::Email>>,
    /// Phone numbers.
    pub phones: Vec<Raw<kind::Phone>>,
    /// E-mail addresses that their giver hashed.
    pub email_digests: Vec<Digest>,
    /// Phone numbers that their giver hashed.
    pub phone_digests: Vec<Digest>,
    /// Given name.
    pub first_name: Option<Raw<kind::Name>>,
    /// Family name.
    pub last_name: Option<Raw<kind::Name>>,
    /// Street and house number.
    pub street: Option<Raw<kind::Street>>,
    /// City.
    pub city: Option<Raw<kind::City>>,
    /// State, county or province.
    pub region: Option<Raw<kind::Region>>,
    /// Postal code.
    pub postal_code: Option<Raw<kind::PostalCode>>,
    /// Country, as a code or a name.
    pub country: Option<Raw<kind::Country>>,
    /// Date of birth.
    pub date_of_birth: Option<Raw<kind::DateOfBirth>>,
    /// Gender.
    pub gender: Option<Raw<kind::Gender>>,
    /// The giver's own customer ids.
    pub external_ids: Vec<Raw<kind::ExternalId>>,
    /// Customer ids that their giver hashed.
    pub external_id_digests: Vec<Digest>,
    /// What their giver hashed for Meta alone.
    pub meta_digests: MetaDigests,
    /// Meta's lead id: 15 to 17 digits, sent in clear.
    pub lead_id: Option<u64>,
}

/// A person as stored: hashes in every spelling that a supported platform needs, and what platforms want in clear.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealedUser {
    /// E-mail addresses.
    pub emails: Vec<Spelled>,
    /// Phone numbers.
    pub phones: Vec<Spelled>,
    /// Given name.
    pub first_name: Spelled,
    /// Family name.
    pub last_name: Spelled,
    /// Street and house number.
    pub street: Spelled,
    /// City.
    pub city: Spelled,
    /// State, county or province.
    pub region: Spelled,
    /// Postal code.
    pub postal_code: Spelled,
    /// Country.
    pub country: Spelled,
    /// Date of birth.
    pub date_of_birth: Spelled,
    /// Gender.
    pub gender: Spelled,
    /// Customer ids.
    pub external_ids: Vec<Digest>,
    /// ISO 3166-1 alpha-2 country, upper case: Google wants it in clear.
    pub country_code: Option<Sensitive<String>>,
    /// Postal code, trimmed: Google wants it in clear. Kept only with a country and both names, the only form Google takes.
    pub postal_code_clear: Option<Sensitive<String>>,
    /// Meta's lead id.
    pub lead_id: Option<u64>,
}

/// What a visitor can be found by, next to the visitor id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[repr(u8)]
pub enum IdentityKind {
    /// Hashed e-mail address.
    Email = 1,
    /// Hashed phone number.
    Phone = 2,
    /// Hashed customer id.
    ExternalId = 3,
    /// Checkout or cart token.
    CheckoutToken = 4,
    /// Google Analytics client id.
    GaClientId = 5,
    /// Meta's browser id.
    Fbp = 6,
    /// Meta's lead id.
    LeadId = 7,
    /// Click id of a platform.
    ClickId = 8,
    /// A conversion that the visitor's browser saw: its name and its transaction.
    Conversion = 9,
}

impl IdentityKind {
    /// Whether two browsers seen with the same one are one person's.
    #[must_use]
    pub const fn tells_person(self) -> bool {
        matches!(self, Self::Email | Self::Phone | Self::ExternalId | Self::LeadId)
    }
}

/// A hashed identifier of a visitor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct IdentityKey {
    /// What it is.
    pub kind: IdentityKind,
    /// Its hash.
    pub digest: Digest,
}

impl IdentityKey {
    /// The key for a token or cookie value.
    #[must_use]
    pub fn of_token(kind: IdentityKind, token: &str) -> Self {
        Self { kind, digest: Digest::of_token(token) }
    }

    /// The keys for platform cookies that stay with a browser.
    pub fn of_cookies(cookies: &Cookies) -> impl Iterator<Item = Self> + use<> {
        let key = |kind, value: &Option<String>| value.as_ref().map(|value| Self::of_token(kind, value));
        let keys = [key(IdentityKind::GaClientId, &cookies.ga_client_id), key(IdentityKind::Fbp, &cookies.fbp)];
        keys.into_iter().flatten()
    }

    /// The key for a click id: a CRM often keeps nothing else of a landing. `None` for what names no click.
    #[must_use]
    pub fn of_click(click: &ClickId) -> Option<Self> {
        let text = || format!("{}:{}", click.kind.parameter(), click.value);
        click.kind.names_a_click().then(|| Self::of_token(IdentityKind::ClickId, &text()))
    }

    /// The key for a conversion: what the browser saw of it is found by what the shop reports, and the other way round.
    #[must_use]
    pub fn of_conversion(event: &str, transaction: &str) -> Self {
        Self::of_token(IdentityKind::Conversion, &format!("{event}:{transaction}"))
    }
}

impl SealedUser {
    /// The keys a visitor with these contact details is found by, strongest first.
    pub fn identity_keys(&self) -> impl Iterator<Item = IdentityKey> + '_ {
        // Google's spelling joins more (it folds Gmail variants); Meta's stands in where Google's rule refuses the value.
        let digest = |spelled: &Spelled| spelled.google.or(spelled.meta);
        let email = move |spelled| Some(IdentityKey { kind: IdentityKind::Email, digest: digest(spelled)? });
        let phone = move |spelled| Some(IdentityKey { kind: IdentityKind::Phone, digest: digest(spelled)? });
        self.emails
            .iter()
            .filter_map(email)
            .chain(self.phones.iter().filter_map(phone))
            .chain(self.external_ids.iter().map(|&digest| IdentityKey { kind: IdentityKind::ExternalId, digest }))
            .chain(self.lead_id.map(|lead| IdentityKey::of_token(IdentityKind::LeadId, &lead.to_string())))
    }
}

/// Whether `text` holds something that reads as an e-mail address.
#[must_use]
pub(crate) fn contains_email(text: &str) -> bool {
    text.match_indices('@').any(|(at, _)| {
        let local = text[..at].chars().next_back().is_some_and(|c| c.is_alphanumeric() || "._%+-'\"".contains(c));
        let domain: &str =
            text[at + 1..].split(|c: char| !(c.is_alphanumeric() || c == '-' || c == '.')).next().unwrap_or("");
        let mut labels = domain.split('.');
        let host = labels.next().is_some_and(|label| !label.is_empty());
        local && host && labels.any(|label| label.chars().take_while(|c| c.is_alphabetic()).count() >= 2)
    })
}

/// Whether `text`, a name given from outside, had better not be repeated: an e-mail address or a long number.
#[must_use]
pub(crate) fn looks_like_contact_data(text: &str) -> bool {
    text.contains('@') || text.bytes().filter(u8::is_ascii_digit).count() >= 7
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_64_hex_digits_in_any_case_and_not_that_of_nothing() {
        let hex = "62a14e44f765419d10fea99367361a727c12365e2520f32218d505ed9aa0f62f";
        assert_eq!(Digest::parse(&hex.to_uppercase()).expect("valid").hex(), hex);
        assert_eq!(Digest::parse(&hex[1..]), Err(InvalidDigest::NotHex));
        assert_eq!(Digest::parse(&"é".repeat(32)), Err(InvalidDigest::NotHex));
        assert_eq!(Digest::parse(&"+a".repeat(32)), Err(InvalidDigest::NotHex));
        assert_eq!(Digest::parse(&Digest::of_token("").hex()), Err(InvalidDigest::OfNothing));
        assert!(Normal::<kind::Email>::new(" \u{2003}".into()).is_none());
    }

    #[test]
    fn addresses_are_found_inside_other_text() {
        for yes in ["ada@example.com", "order-ada@example.com-7", "a.b+c@x.co.uk,", "jürgen@bücher.example"] {
            assert!(contains_email(yes), "{yes}");
        }
        for no in ["", "@", "a@b", "x @example.com", "@example.com", "mug@2.50", "1@2.3", "https://medium.com/@ada"] {
            assert!(!contains_email(no), "{no}");
        }
    }
}
