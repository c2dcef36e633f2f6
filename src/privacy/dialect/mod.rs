//! How each platform spells a contact detail before hashing. The same person hashes differently for Meta and for
//! Google.

mod google;
mod meta;

pub use google::Google;
pub use meta::Meta;

use super::clean::{BirthDate, Country, Gender, Telephone};
use crate::model::{Normal, Raw, kind};

/// How one platform spells a value before hashing: `16505551212` for Meta is `+16505551212` for Google.
///
/// `None` where the platform's rule refuses the value, or where the platform does not take it hashed.
pub trait Dialect: Sync {
    /// An e-mail address.
    fn email(&self, raw: &Raw<kind::Email>) -> Option<Normal<kind::Email>>;
    /// A phone number.
    fn phone(&self, phone: &Telephone<'_>) -> Option<Normal<kind::Phone>>;
    /// A given or family name.
    fn name(&self, raw: &Raw<kind::Name>) -> Option<Normal<kind::Name>>;
    /// Street and house number.
    fn street(&self, _: &Raw<kind::Street>) -> Option<Normal<kind::Street>> {
        None
    }
    /// A city.
    fn city(&self, _: &Raw<kind::City>) -> Option<Normal<kind::City>> {
        None
    }
    /// A state, county or province.
    fn region(&self, _: &Raw<kind::Region>) -> Option<Normal<kind::Region>> {
        None
    }
    /// A postal code.
    fn postal_code(&self, _: &Raw<kind::PostalCode>) -> Option<Normal<kind::PostalCode>> {
        None
    }
    /// A country.
    fn country(&self, _: Country) -> Option<Normal<kind::Country>> {
        None
    }
    /// A date of birth.
    fn date_of_birth(&self, _: BirthDate) -> Option<Normal<kind::DateOfBirth>> {
        None
    }
    /// A gender.
    fn gender(&self, _: Gender) -> Option<Normal<kind::Gender>> {
        None
    }
}

/// Whether `c` is whitespace to Python, in which both platforms wrote their reference code: Unicode whitespace, and the
/// four ASCII separators U+001C to U+001F.
///
/// Source: CPython documentation, `str.isspace`, read 2026-11-20.
pub(super) fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

/// `text` without whitespace at its ends.
pub(super) fn trim(text: &str) -> &str {
    text.trim_matches(is_space)
}

/// Lower case by the full Unicode rules (final sigma included), then trimmed. No Unicode normalisation: neither
/// platform asks for it, so composed and decomposed letters hash differently.
fn lower(text: &str) -> String {
    let mut lower = text.to_lowercase();
    lower.truncate(lower.trim_end_matches(is_space).len());
    let start = lower.len() - lower.trim_start_matches(is_space).len();
    lower.drain(..start);
    lower
}
