//! Keeps contact data from resting through side doors: page addresses, custom properties, names of items, UTM values,
//! user agents, ids.
//!
//! Contact data is any e-mail address, whatever the posted person's details are, and what says by its name that it is.
//! What cannot be told: a phone number, a name or an address that stands in a text of its own, under a name that says
//! nothing, in a request that does not give it as the person's.
//! Everything else stays as it is, byte for byte: click ids are opaque and may break when encoded again.

mod names;
mod posted;

use percent_encoding::percent_decode_str;
use serde_json::{Map, Value};

use crate::model::Utm;

pub use self::posted::Posted;

/// What stands where contact data was part of a path.
const REDACTED: &str = "redacted";

/// `url` without the parameters that hold contact data (in the query, and in a fragment written like one), without user
/// name and password, and with `redacted` for the path segments that tell who the person is: an e-mail address, a
/// posted phone number, both posted names, street or date of birth.
///
/// Click ids stay unless they hold an e-mail address, UTM parameters unless they tell who the person is.
#[must_use]
pub fn page(url: &str, posted: &Posted<'_>) -> String {
    let mut out = String::with_capacity(url.len());
    let (rest, fragment) = split(url, '#');
    let (rest, query) = split(rest, '?');
    let path = push_origin(rest, posted, &mut out);
    let origin = out.len();
    push_path(&rest[path..], posted, &mut out);
    push_query(query, posted, &mut out);
    push_fragment(fragment, posted, &mut out);
    if posted.divided_email_is_in(&out) {
        out.truncate(origin);
    }
    out
}

/// `properties` without what holds contact data, by its key or by its value, at any depth.
#[must_use]
pub fn properties(mut properties: Map<String, Value>, posted: &Posted<'_>) -> Map<String, Value> {
    retain(&mut properties, posted);
    properties
}

/// `text`, a name of an item or a UTM value, unless it tells who the person is. One posted name or the city alone
/// stays: products and campaigns are called that too.
#[must_use]
pub fn text(text: String, posted: &Posted<'_>) -> Option<String> {
    if posted.identity_is_in(&text) { None } else { Some(text) }
}

/// UTM values, each as a [`text`].
#[must_use]
pub fn utm(utm: Utm, posted: &Posted<'_>) -> Utm {
    let text = |value: Option<String>| value.and_then(|value| text(value, posted));
    Utm {
        source: text(utm.source),
        medium: text(utm.medium),
        campaign: text(utm.campaign),
        content: text(utm.content),
        term: text(utm.term),
    }
}

/// Whether `text`, an id, token or cookie that is stored and sent in clear, tells who the person is.
#[must_use]
pub fn identifies(text: &str, posted: &Posted<'_>) -> bool {
    posted.identity_is_surely_in(text)
}

/// `text`, a user agent, without the words that hold an e-mail address; nothing if it still tells who the person is.
#[must_use]
pub fn agent(text: String, posted: &Posted<'_>) -> Option<String> {
    if !posted.identity_is_surely_in(&text) {
        return Some(text);
    }
    let words: Vec<&str> = text.split(' ').filter(|word| !posted.email_is_in(word)).collect();
    Some(words.join(" ")).filter(|rest| !rest.is_empty() && !posted.identity_is_surely_in(rest))
}

/// `text` up to `mark`, and from there on.
fn split(text: &str, mark: char) -> (&str, &str) {
    text.split_at(text.find(mark).unwrap_or(text.len()))
}

/// Writes scheme and host without user name and password; returns where the path begins.
fn push_origin(rest: &str, posted: &Posted<'_>, out: &mut String) -> usize {
    let is_scheme = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'));
    let host = match rest.find("//") {
        Some(0) => 2,
        Some(slashes) if rest[..slashes].strip_suffix(':').is_some_and(is_scheme) => slashes + 2,
        _ => return 0,
    };
    let path = rest[host..].find(['/', '\\']).map_or(rest.len(), |length| host + length);
    let start = rest[host..path].rfind('@').map_or(host, |at| host + at + 1);
    out.push_str(&rest[..host]);
    let name = &rest[start..path];
    out.push_str(if posted.email_is_in(name) { REDACTED } else { name });
    path
}

fn push_path(path: &str, posted: &Posted<'_>, out: &mut String) {
    for segment in path.split_inclusive(['/', '\\']) {
        let name = segment.trim_end_matches(['/', '\\']);
        if posted.identity_is_in(name) {
            out.push_str(REDACTED);
            out.push_str(&segment[name.len()..]);
        } else {
            out.push_str(segment);
        }
    }
}

/// Writes a query with its `?`; without the `?` too if nothing is left of it.
fn push_query(query: &str, posted: &Posted<'_>, out: &mut String) {
    let Some(parameters) = query.strip_prefix('?') else { return };
    let start = out.len();
    out.push('?');
    push_parameters(parameters, posted, out);
    if out.len() == start + 1 && !parameters.is_empty() {
        out.truncate(start);
    }
}

/// Writes a fragment with its `#`: as parameters, as a path, or as a path with a query (`#/checkout?step=2`).
fn push_fragment(fragment: &str, posted: &Posted<'_>, out: &mut String) {
    let Some(inner) = fragment.strip_prefix('#') else { return };
    let start = out.len();
    out.push('#');
    let (path, query) = split(inner, '?');
    if query.is_empty() && path.contains('=') {
        push_parameters(path, posted, out);
    } else {
        push_path(path, posted, out);
        push_query(query, posted, out);
    }
    if out.len() == start + 1 && !inner.is_empty() {
        out.truncate(start);
    }
}

fn push_parameters(parameters: &str, posted: &Posted<'_>, out: &mut String) {
    let mut first = true;
    for parameter in parameters.split('&') {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        if !is_contact(name, value, posted) {
            if !first {
                out.push('&');
            }
            out.push_str(parameter);
            first = false;
        }
    }
}

/// Whether a named value is contact data.
fn is_contact(name: &str, value: &str, posted: &Posted<'_>) -> bool {
    if names::is_campaign(name) {
        return if names::is_utm(name) {
            posted.identity_is_in(name) || posted.identity_is_in(value)
        } else {
            posted.email_is_in(value)
        };
    }
    let says_so = if name.contains('%') {
        names::is_contact(&percent_decode_str(name).decode_utf8_lossy())
    } else {
        names::is_contact(name)
    };
    (says_so && !names::is_flag(value)) || posted.is_in(value) || posted.identity_is_in(name)
}

fn retain(properties: &mut Map<String, Value>, posted: &Posted<'_>) {
    properties.retain(|name, value| match value {
        Value::String(text) => !is_contact(name, text, posted),
        Value::Bool(_) | Value::Null => !posted.identity_is_in(name),
        Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            let contact = !names::is_campaign(name) && names::is_contact(name);
            !contact && !posted.identity_is_in(name) && is_free(value, posted)
        }
    });
}

/// Whether nothing is wrong with a value itself; what is wrong inside it is removed.
fn is_free(value: &mut Value, posted: &Posted<'_>) -> bool {
    match value {
        Value::String(text) => !posted.is_in(text),
        Value::Number(number) => !posted.identity_is_in(&number.to_string()),
        Value::Array(values) => {
            values.retain_mut(|value| is_free(value, posted));
            true
        }
        Value::Object(properties) => {
            retain(properties, posted);
            true
        }
        Value::Bool(_) | Value::Null => true,
    }
}

#[cfg(test)]
mod tests;
