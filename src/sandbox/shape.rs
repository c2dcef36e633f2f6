//! Shapes of values that both platforms check, and what is wrong with JSON that does not fit.

use std::{borrow::Cow, fmt, net::IpAddr, ops::Deref};

use serde::{
    Deserialize, Deserializer,
    de::{SeqAccess, Visitor},
};

/// SHA-256 of the empty string: what comes out when nothing was hashed. It matches nobody, and everybody who sends it.
pub(super) const EMPTY_SHA256: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// A JSON string that borrows from the request where it can.
pub(super) struct Text<'a>(Cow<'a, str>);

impl Deref for Text<'_> {
    type Target = str;
    fn deref(&self) -> &str {
        &self.0
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = Text<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Borrowed(text)))
            }
            fn visit_str<E>(self, text: &str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(Read)
    }
}

/// A string, or a list of strings.
pub(super) struct Texts<'a>(pub(super) Vec<Text<'a>>);

impl<'de: 'a, 'a> Deserialize<'de> for Texts<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = Texts<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string or a list of strings")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Texts<'de>, E> {
                Ok(Texts(vec![Text(Cow::Borrowed(text))]))
            }
            fn visit_str<E>(self, text: &str) -> Result<Texts<'de>, E> {
                Ok(Texts(vec![Text(Cow::Owned(text.to_owned()))]))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Texts<'de>, A::Error> {
                let mut texts = Vec::with_capacity(list.size_hint().unwrap_or(1));
                while let Some(text) = list.next_element()? {
                    texts.push(text);
                }
                Ok(Texts(texts))
            }
        }
        deserializer.deserialize_any(Read)
    }
}

/// A whole number, also written as a string of digits.
pub(super) struct Digits(pub(super) u64);

impl<'de> Deserialize<'de> for Digits {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;
        impl Visitor<'_> for Read {
            type Value = Digits;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a whole number")
            }
            fn visit_u64<E>(self, number: u64) -> Result<Digits, E> {
                Ok(Digits(number))
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Digits, E> {
                let number = if is_digits(text) { text.parse().ok() } else { None };
                number.map(Digits).ok_or_else(|| E::custom("not a whole number"))
            }
        }
        deserializer.deserialize_any(Read)
    }
}

/// Whether `text` is one or more ASCII digits.
pub(super) fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

/// Whether `text` is the lower-case hexadecimal form of a SHA-256.
pub(super) fn is_sha256_hex(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// Whether `text` is an IPv4 or IPv6 address and nothing else.
pub(super) fn is_ip(text: &str) -> bool {
    text.parse::<IpAddr>().is_ok()
}

/// Whether `text` is an absolute `http` or `https` address.
pub(super) fn is_web_address(text: &str) -> bool {
    (text.starts_with("http://") || text.starts_with("https://"))
        && url::Url::parse(text).is_ok_and(|url| url.has_host())
}

/// What is wrong with JSON that does not fit its type. Holds field names only, never a value.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Malformed {
    /// Where: `user_data.em[0]`; empty at the top.
    pub(super) path: String,
    /// What.
    pub(super) kind: MalformedKind,
}

/// The ways in which JSON does not fit.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum MalformedKind {
    /// No JSON at all.
    Syntax,
    /// A field that does not exist. Its name, cut short.
    UnknownField(String),
    /// A required field is not there.
    MissingField(String),
    /// A value that is none of the listed ones.
    UnknownValue,
    /// A value of another type, a field given twice, or a number out of range.
    WrongType,
}

impl Malformed {
    /// The full path of the field that is meant, under `prefix`.
    pub(super) fn field(&self) -> String {
        match &self.kind {
            MalformedKind::UnknownField(name) | MalformedKind::MissingField(name) if self.path.is_empty() => {
                name.clone()
            }
            MalformedKind::UnknownField(name) | MalformedKind::MissingField(name) => format!("{}.{name}", self.path),
            _ => self.path.clone(),
        }
    }
}

/// Reads `json` once. What is wrong is found out by reading again, so that good input pays nothing for it.
pub(super) fn read<'de, T: Deserialize<'de>>(json: &'de str) -> Result<T, Malformed> {
    serde_json::from_str(json).map_err(|_| {
        let mut again = serde_json::Deserializer::from_str(json);
        match serde_path_to_error::deserialize::<_, T>(&mut again) {
            // Only what follows the value can be wrong then.
            Ok(_) => Malformed { path: String::new(), kind: MalformedKind::Syntax },
            Err(error) => malformed(&error),
        }
    })
}

fn malformed(error: &serde_path_to_error::Error<serde_json::Error>) -> Malformed {
    let text = error.inner().to_string();
    let kind = if !error.inner().is_data() {
        MalformedKind::Syntax
    } else if let Some(name) = quoted(&text, "unknown field `") {
        MalformedKind::UnknownField(name)
    } else if let Some(name) = quoted(&text, "missing field `") {
        MalformedKind::MissingField(name)
    } else if text.starts_with("unknown variant") {
        MalformedKind::UnknownValue
    } else {
        MalformedKind::WrongType
    };
    let path = error.path().to_string();
    let mut path = if path == "." { String::new() } else { path };
    if let MalformedKind::UnknownField(name) = &kind {
        // The path of an unknown field may or may not end in the field itself.
        let parent = path.strip_suffix(name.as_str()).map(|parent| parent.trim_end_matches('.').to_owned());
        path = parent.unwrap_or(path);
    }
    Malformed { path, kind }
}

/// The name between `prefix` and the next backtick: letters, digits and underscores, at most 64 of them.
fn quoted(text: &str, prefix: &str) -> Option<String> {
    let rest = text.strip_prefix(prefix)?;
    let name = rest.chars().take_while(|c| *c != '`').take(64);
    Some(name.map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '?' }).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Inner<'a> {
        #[serde(borrow)]
        name: Option<Text<'a>>,
    }

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Outer<'a> {
        #[serde(borrow)]
        inner: Vec<Inner<'a>>,
    }

    #[test]
    fn what_is_wrong_is_named_without_its_value() {
        let wrong = |json: &str| {
            let malformed = read::<Outer<'_>>(json).err().expect("is wrong");
            assert!(!format!("{malformed:?}").contains("ann@"), "{malformed:?}");
            (malformed.field(), malformed.kind)
        };
        let unknown = MalformedKind::UnknownField("nam".into());
        assert_eq!(wrong(r#"{"inner":[{"name":"x"},{"nam":"ann@example.com"}]}"#), ("inner[1].nam".into(), unknown));
        assert_eq!(wrong(r#"{"inner":[{"name":7}]}"#), ("inner[0].name".into(), MalformedKind::WrongType));
        assert_eq!(wrong(r#"{"inner":"ann@example.com"}"#), ("inner".into(), MalformedKind::WrongType));
        assert_eq!(wrong("{}"), ("inner".into(), MalformedKind::MissingField("inner".into())));
        assert_eq!(wrong(r#"{"inner":[]"#).1, MalformedKind::Syntax);
        assert_eq!(wrong(r#"{"inner":[]}x"#).1, MalformedKind::Syntax);
        let text = read::<Outer<'_>>(r#"{"inner":[{"name":"a\"b"}]}"#).expect("is right");
        assert_eq!(text.inner[0].name.as_deref(), Some("a\"b"));
    }
}
