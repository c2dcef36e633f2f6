//! Identifiers that outsiders give us or we mint: checked once, at the edge.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The most bytes an identifier may have.
const ID_BYTES_MAX: usize = 256;

/// Why a text is no identifier.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidId {
    /// Empty, or only white space.
    #[error("must not be empty")]
    Empty,
    /// Over 256 bytes.
    #[error("must be at most {ID_BYTES_MAX} bytes long")]
    TooLong,
    /// A control character (line breaks and tabs among them).
    #[error("must not contain control characters")]
    ControlCharacter,
    /// An e-mail address: ids are stored, logged and sent in clear.
    #[error("must not contain an e-mail address: ids are stored and sent in clear")]
    ContactData,
    /// Not in the form that this kind of name has.
    #[error("must match [a-z][a-z0-9_-]{{0,39}}")]
    NotAName,
}

fn checked(text: &str) -> Result<&str, InvalidId> {
    if text.trim().is_empty() {
        return Err(InvalidId::Empty);
    }
    if text.len() > ID_BYTES_MAX {
        return Err(InvalidId::TooLong);
    }
    if text.chars().any(char::is_control) {
        return Err(InvalidId::ControlCharacter);
    }
    if super::identity::contains_email(text) {
        return Err(InvalidId::ContactData);
    }
    Ok(text)
}

fn checked_name(text: &str) -> Result<&str, InvalidId> {
    let mut bytes = text.bytes();
    let first = bytes.next().ok_or(InvalidId::Empty)?;
    let rest = bytes.all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-');
    if first.is_ascii_lowercase() && rest && text.len() <= 40 { Ok(text) } else { Err(InvalidId::NotAName) }
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident by $check:ident;)+) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String")]
        pub struct $name(String);

        impl $name {
            /// Checks `text` and takes it as it is: case and spacing are the giver's.
            ///
            /// # Errors
            /// [`InvalidId`] says which rule it breaks.
            pub fn new(text: impl Into<String>) -> Result<Self, InvalidId> {
                let text = text.into();
                $check(&text)?;
                Ok(Self(text))
            }

            /// The identifier as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidId;
            fn try_from(text: String) -> Result<Self, InvalidId> {
                Self::new(text)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    )+};
}

ids! {
    /// What one conversion is known by, at the giver's, here and at every platform.
    EventId by checked;
    /// The order, invoice or deal a conversion belongs to.
    TransactionId by checked;
    /// A browser, by the id we minted or were given.
    VisitorId by checked;
    /// A configured place that posts events.
    SourceName by checked_name;
    /// A configured place that events go to.
    DestinationName by checked_name;
}

impl VisitorId {
    /// A new visitor id: a ULID for `now` with random bits.
    #[must_use]
    pub fn mint(now: super::Time) -> Self {
        Self(mint(now))
    }
}

impl EventId {
    /// A new event id: a ULID for `now` with random bits.
    #[must_use]
    pub fn mint(now: super::Time) -> Self {
        Self(mint(now))
    }

    /// The id of a conversion whose giver named none: the same for every report of it by one source.
    ///
    /// # Errors
    /// [`InvalidId::TooLong`] when the three together are too long.
    pub fn derive(source: &SourceName, event: &str, transaction: &TransactionId) -> Result<Self, InvalidId> {
        Self::new(format!("{source}:{event}:{transaction}"))
    }

    /// The id here of an event that shares its own with another event of the same giver, who tells events apart by name
    /// and id together, as Meta does.
    ///
    /// # Errors
    /// [`InvalidId::TooLong`] when the two together are too long.
    pub fn shared(&self, event: &str) -> Result<Self, InvalidId> {
        Self::new(format!("{self}#{event}"))
    }

    /// The id its giver knows it by, together with its name: what [`EventId::shared`] was made from, else itself.
    #[must_use]
    pub fn own(&self, event: &str) -> &str {
        let own = self.0.strip_suffix(event).and_then(|rest| rest.strip_suffix('#'));
        own.filter(|own| !own.is_empty()).unwrap_or(&self.0)
    }
}

fn mint(now: super::Time) -> String {
    let ms = u64::try_from(now.as_ms()).unwrap_or(0);
    ulid::Ulid::from_parts(ms, rand::random()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_keeps_its_case_and_refuses_what_could_not_be_sent_in_clear() {
        assert_eq!(EventId::new("Order-1001 ä").expect("valid").as_str(), "Order-1001 ä");
        assert_eq!(EventId::new(" "), Err(InvalidId::Empty));
        assert_eq!(EventId::new("a".repeat(257)), Err(InvalidId::TooLong));
        assert_eq!(EventId::new("a\nb"), Err(InvalidId::ControlCharacter));
        assert_eq!(EventId::new("order-ada@example.com"), Err(InvalidId::ContactData));
        assert!(EventId::new("order@2x").is_ok(), "an @ alone is no address");
    }

    #[test]
    fn an_id_that_two_events_share_is_told_apart_by_the_name() {
        let id = EventId::new("page-7").expect("valid");
        let shared = id.shared("view_item").expect("valid");
        assert_eq!((shared.as_str(), shared.own("view_item")), ("page-7#view_item", "page-7"));
        assert_eq!((shared.own("purchase"), id.own("view_item")), ("page-7#view_item", "page-7"));
        assert_eq!(EventId::new("#purchase").expect("valid").own("purchase"), "#purchase");
        assert_eq!(EventId::new("a".repeat(250)).expect("valid").shared("purchase"), Err(InvalidId::TooLong));
    }

    #[test]
    fn a_name_is_lower_case_and_short() {
        assert!(DestinationName::new("import-file").is_ok());
        for bad in ["", "Meta", "1meta", "a b", "../etc", &"a".repeat(41)] {
            assert!(DestinationName::new(bad).is_err(), "{bad}");
        }
    }
}
