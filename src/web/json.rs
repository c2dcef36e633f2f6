//! Reading JSON with problems that name the field and never quote a value.

use std::{fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{
        self, IgnoredAny, MapAccess, Visitor,
        value::{MapAccessDeserializer, StrDeserializer},
    },
};
use serde_path_to_error::{Path, Segment};

use super::Problem;
use crate::model::looks_like_contact_data;

/// A `T` written as an object. A derived `Deserialize` alone also takes a list of the values in their order, so that
/// `["granted", "denied"]` would be a consent.
#[derive(Default)]
pub struct Object<T>(pub T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Fields<T> {
            type Value = Object<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, fields: A) -> Result<Object<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(fields)).map(Object)
            }
        }
        deserializer.deserialize_map(Fields(PhantomData))
    }
}

/// One word of a fixed choice. A derived `Deserialize` alone also takes `{"granted": null}`.
pub struct Word<T>(pub T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Word<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Text<T> {
            type Value = Word<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Word<T>, E> {
                T::deserialize(StrDeserializer::new(text)).map(Word)
            }
        }
        deserializer.deserialize_str(Text(PhantomData))
    }
}

/// Reads `bytes`, an object. The second, slower pass that finds out where a mistake is runs only if there is one.
///
/// # Errors
/// 400 for what is no JSON, 422 for what does not fit, with a pointer that starts with `base`.
pub fn read_json<'a, T: Deserialize<'a>>(bytes: &'a [u8], base: &str) -> Result<T, Problem> {
    match serde_json::from_slice(bytes) {
        Ok(Object(value)) => Ok(value),
        Err(_) => Err(explain::<T>(bytes, base)),
    }
}

fn explain<'a, T: Deserialize<'a>>(bytes: &'a [u8], base: &str) -> Problem {
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let (error, mut pointer) = match serde_path_to_error::deserialize::<_, Object<T>>(&mut json) {
        Err(error) => {
            let pointer = format!("{base}{}", pointer(error.path()));
            (error.into_inner(), pointer)
        }
        Ok(_) => match json.end() {
            Err(error) => (error, base.to_owned()),
            Ok(()) => return Problem::internal(),
        },
    };
    let text = error.to_string();
    // From the end: names and values from outside may hold any words.
    let message = text.rsplit_once(" at line ").map_or(text.as_str(), |(message, _)| message);
    let place = format!("line {}, column {}", error.line(), error.column());
    if error.classify() != serde_json::error::Category::Data {
        if std::str::from_utf8(bytes).is_err() {
            return Problem::malformed(format!("the body is not valid UTF-8 ({place})"), pointer);
        }
        // The reader also says so of sound JSON with numbers or nesting that it cannot hold.
        return match serde_json::from_slice::<IgnoredAny>(bytes) {
            Err(_) => Problem::malformed(format!("the body is no valid JSON: {message} ({place})"), pointer),
            Ok(_) => Problem::invalid(pointer, format!("cannot be kept: {message} ({place})")),
        };
    }
    let (detail, name) = detail(message);
    if let Some(name) = name {
        pointer = format!("{pointer}/{}", segment(name));
    }
    Problem::invalid(pointer, detail)
}

/// What is wrong, without the value that is, and the name of the field if the path does not end with it.
fn detail(message: &str) -> (String, Option<&str>) {
    let name = |start: &str| message.strip_prefix(start)?.strip_suffix('`');
    let expected = || message.rsplit_once(", expected ").map_or("something else", |(_, expected)| expected);
    if message.starts_with("unknown field") {
        (format!("this field is not known here; known: {}", expected().trim_start_matches("one of ")), None)
    } else if let Some(name) = name("duplicate field `") {
        ("this field is given twice".to_owned(), Some(name))
    } else if let Some(name) = name("missing field `") {
        ("this field is missing".to_owned(), Some(name))
    } else if ["invalid type", "invalid value", "invalid length", "unknown variant"]
        .iter()
        .any(|s| message.starts_with(s))
    {
        (format!("must be {}", expected().replace("a sequence", "a list")), None)
    } else {
        (message.to_owned(), None) // a text of ours
    }
}

fn pointer(path: &Path) -> String {
    let mut pointer = String::new();
    for part in path {
        match part {
            Segment::Seq { index } => pointer.push_str(&format!("/{index}")),
            Segment::Map { key } => pointer.push_str(&format!("/{}", segment(key))),
            Segment::Enum { .. } | Segment::Unknown => {}
        }
    }
    pointer
}

/// A name as a segment of a JSON pointer. Names come from outside too: only what reads as a name of a field is
/// repeated, no e-mail address, phone number, street, or name of a person with a space in it.
fn segment(name: &str) -> String {
    let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.$[]".contains(&b));
    if name.len() > 64 || !plain || looks_like_contact_data(name) {
        return "(name withheld)".to_owned();
    }
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::web::UserWire;

    fn problem(body: &str) -> (String, String) {
        let problem = read_json::<UserWire>(body.as_bytes(), "").err().expect("is refused");
        (problem.pointer.expect("has a pointer"), problem.detail.into_owned())
    }

    #[test]
    fn words_of_our_own_messages_inside_a_value_do_not_bring_it_into_the_answer() {
        for value in ["x, expected ada@example.com", "x at line 1, ada@example.com", "`ada@example.com`"] {
            for body in [
                serde_json::json!({ "lead_id": { value: 1 } }),
                serde_json::json!({ value: 1 }),
                serde_json::json!({ "first_name": [value] }),
                serde_json::json!({ "lead_id": value }),
            ] {
                let (pointer, detail) = problem(&body.to_string());
                assert!(!format!("{pointer} {detail}").contains("ada@"), "{pointer} {detail}");
            }
        }
    }

    #[test]
    fn a_name_is_repeated_only_if_it_reads_as_one_of_a_field() {
        for name in ["emial", "e-mail", "user.email", "items[0]"] {
            assert_eq!(problem(&serde_json::json!({ name: 1 }).to_string()).0, format!("/{name}"));
        }
        for name in ["a@b", "ada%40example.com", "+16505551212", "Ada Lovelace", "1/Main", "", "größe", &"x".repeat(65)]
        {
            let pointer = problem(&serde_json::json!({ name: 1 }).to_string()).0;
            assert!(pointer == "/(name withheld)" || name.is_empty(), "{pointer}");
        }
    }

    #[test]
    fn a_list_is_no_object() {
        assert_eq!(problem("[]"), (String::new(), "must be an object".to_owned()));
    }
}
