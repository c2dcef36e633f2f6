//! Reading JSON with problems that name the field and never quote a value.

use serde::Deserialize;
use serde_path_to_error::{Path, Segment};

use super::Problem;
use crate::model::looks_like_contact_data;

/// Reads `bytes`. The second, slower pass that finds out where a mistake is runs only if there is one.
///
/// # Errors
/// 400 for what is no JSON, 422 for what does not fit, with a pointer that starts with `base`.
pub fn read_json<'a, T: Deserialize<'a>>(bytes: &'a [u8], base: &str) -> Result<T, Problem> {
    match serde_json::from_slice(bytes) {
        Ok(value) => Ok(value),
        Err(_) => Err(explain::<T>(bytes, base)),
    }
}

fn explain<'a, T: Deserialize<'a>>(bytes: &'a [u8], base: &str) -> Problem {
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let (error, mut pointer) = match serde_path_to_error::deserialize::<_, T>(&mut json) {
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
    let message = text.split(" at line ").next().unwrap_or("");
    let place = format!("line {}, column {}", error.line(), error.column());
    if error.classify() != serde_json::error::Category::Data {
        let what = if std::str::from_utf8(bytes).is_err() { "the body is not valid UTF-8" } else { message };
        return Problem::malformed(format!("the body is no valid JSON: {what} ({place})"), pointer);
    }
    let (detail, name) = detail(message);
    if let Some(name) = name.filter(|name| !pointer.ends_with(&format!("/{name}"))) {
        pointer = format!("{pointer}/{}", segment(name));
    }
    Problem::invalid(pointer, detail)
}

/// What is wrong, without the value that is, and the name of the field if the message tells it.
fn detail(message: &str) -> (String, Option<&str>) {
    let name = || message.split('`').nth(1);
    let expected = || message.split_once("expected ").map_or("something else", |(_, expected)| expected);
    if message.starts_with("unknown field") {
        (format!("this field is not known here; known: {}", expected().trim_start_matches("one of ")), name())
    } else if message.starts_with("duplicate field") {
        ("this field is given twice".to_owned(), name())
    } else if message.starts_with("missing field") {
        ("this field is missing".to_owned(), name())
    } else if ["invalid type", "invalid value", "invalid length", "unknown variant"]
        .iter()
        .any(|s| message.starts_with(s))
    {
        (format!("must be {}", expected()), None)
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

/// A name as a segment of a JSON pointer. Names come from outside too: contact data in them is not repeated.
fn segment(name: &str) -> String {
    if name.len() > 64 || looks_like_contact_data(name) {
        return "(name withheld)".to_owned();
    }
    name.replace('~', "~0").replace('/', "~1")
}
