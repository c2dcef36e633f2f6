//! What a request to the admin listener asks for: parameters of its query or fields of its body, taken out one by one so
//! that what nobody knows is refused by its name.

use std::ops::RangeInclusive;

use axum::{body::Body, http::HeaderMap};
use serde_json::{Map, Value};

use crate::{
    model::{DestinationName, Time, contains_email, looks_like_contact_data},
    web::{Problem, read_body, read_json, require_json},
};

/// A thousand event ids of 256 bytes fit, with room.
const BODY_BYTES_MAX: usize = 1 << 20;
/// Event ids in one request.
const IDS_MAX: usize = 1000;
/// Longer names of operators are refused.
const OPERATOR_CHARS_MAX: usize = 120;
/// Longer reasons are refused.
const REASON_BYTES_MAX: usize = 500;

/// Parameters or fields that are still to be read.
pub(super) struct Asked {
    given: Map<String, Value>,
    known: Vec<&'static str>,
    in_body: bool,
}

impl Asked {
    /// The parameters of a query.
    ///
    /// # Errors
    /// 422 for one that is given twice.
    pub(super) fn query(raw: Option<&str>) -> Result<Self, Problem> {
        let mut asked = Self { given: Map::new(), known: Vec::new(), in_body: false };
        for (name, value) in url::form_urlencoded::parse(raw.unwrap_or_default().as_bytes()) {
            if asked.given.contains_key(name.as_ref()) {
                return Err(asked.wrong(&name, "is given twice"));
            }
            // What is left empty is as good as left out: forms send it so.
            if !value.is_empty() {
                asked.given.insert(name.into_owned(), Value::String(value.into_owned()));
            }
        }
        Ok(asked)
    }

    /// The fields of a body; an empty one has none.
    ///
    /// # Errors
    /// What is wrong with the body as a whole.
    pub(super) async fn body(headers: &HeaderMap, body: Body) -> Result<Self, Problem> {
        let bytes = read_body(body, BODY_BYTES_MAX).await?;
        let given = if bytes.is_empty() {
            Map::new()
        } else {
            require_json(headers)?;
            read_json(&bytes, "")?
        };
        Ok(Self { given, known: Vec::new(), in_body: true })
    }

    /// The fields of an object that was read already.
    pub(super) const fn object(given: Map<String, Value>) -> Self {
        Self { given, known: Vec::new(), in_body: true }
    }

    /// The problem of one parameter or field.
    pub(super) fn wrong(&self, name: &str, why: &str) -> Problem {
        // Names come from outside: only what reads as one is repeated.
        let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b));
        let sound = plain && !name.is_empty() && name.len() <= 64 && !looks_like_contact_data(name);
        let name = if sound { name } else { "(name withheld)" };
        Problem::invalid_request(self.in_body.then(|| format!("/{name}")), format!("{name}: {why}"))
    }

    fn take(&mut self, name: &'static str) -> Option<Value> {
        self.known.push(name);
        self.given.remove(name).filter(|value| !value.is_null())
    }

    /// A text.
    pub(super) fn text(&mut self, name: &'static str) -> Result<Option<String>, Problem> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(self.wrong(name, "must be a text")),
        }
    }

    /// A text that `read` understands; `expected` says what that would be.
    pub(super) fn parsed<T>(
        &mut self,
        name: &'static str,
        expected: &str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, Problem> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        read(&text).map(Some).ok_or_else(|| self.wrong(name, &format!("must be {expected}")))
    }

    /// The fields of an object inside the body; an absent one has none. Ends like the whole does.
    pub(super) fn section(&mut self, name: &'static str) -> Result<Self, Problem> {
        let given = match self.take(name) {
            None => Map::new(),
            Some(Value::Object(fields)) => fields,
            Some(_) => return Err(self.wrong(name, "must be an object")),
        };
        Ok(Self { given, known: Vec::new(), in_body: self.in_body })
    }

    /// A time.
    pub(super) fn time(&mut self, name: &'static str) -> Result<Option<Time>, Problem> {
        self.parsed(name, "a time with an offset, such as 2026-11-20T08:15:00Z", |text| Time::parse(text).ok())
    }

    /// The name of a destination.
    pub(super) fn destination(&mut self, name: &'static str) -> Result<Option<DestinationName>, Problem> {
        self.parsed(name, "the name of a destination, as in the configuration", |text| DestinationName::new(text).ok())
    }

    /// A whole number inside `allowed`.
    pub(super) fn number(&mut self, name: &'static str, allowed: RangeInclusive<u64>) -> Result<Option<u64>, Problem> {
        let number = match self.take(name) {
            None => return Ok(None),
            Some(Value::String(text)) => text.parse().ok(),
            Some(value) => value.as_u64(),
        };
        let number = number.filter(|number| allowed.contains(number));
        let why = || format!("must be a whole number from {} to {}", allowed.start(), allowed.end());
        number.map(Some).ok_or_else(|| self.wrong(name, &why()))
    }

    /// Yes or no; no if nothing is said.
    pub(super) fn flag(&mut self, name: &'static str) -> Result<bool, Problem> {
        match self.take(name) {
            None => Ok(false),
            Some(Value::Bool(flag)) => Ok(flag),
            Some(_) => Err(self.wrong(name, "must be true or false")),
        }
    }

    /// A list of texts that `read` understands, at most 1000; `expected` says what each would be.
    pub(super) fn list<T>(
        &mut self,
        name: &'static str,
        expected: &str,
        read: impl Fn(&str) -> Option<T>,
    ) -> Result<Option<Vec<T>>, Problem> {
        let Some(value) = self.take(name) else { return Ok(None) };
        let Value::Array(items) = value else { return Err(self.wrong(name, "must be a list")) };
        if items.is_empty() || items.len() > IDS_MAX {
            return Err(self.wrong(name, &format!("must have 1 to {IDS_MAX} entries; leave it out for no choice")));
        }
        let read: Option<Vec<T>> = items.iter().map(|item| item.as_str().and_then(&read)).collect();
        read.map(Some).ok_or_else(|| self.wrong(name, &format!("must be a list, each of it {expected}")))
    }

    /// Why the operator does something, in his words. It is stored: it must not name a person.
    pub(super) fn reason(&mut self) -> Result<Option<String>, Problem> {
        const NAME: &str = "reason";
        let Some(text) = self.text(NAME)? else { return Ok(None) };
        let text = text.trim();
        if text.len() > REASON_BYTES_MAX || text.chars().any(char::is_control) {
            return Err(self.wrong(NAME, "must be one line of at most 500 bytes"));
        }
        if contains_email(text) {
            return Err(self.wrong(NAME, "is stored and shown: it must not have an e-mail address in it"));
        }
        Ok(Some(text.to_owned()).filter(|text| !text.is_empty()))
    }

    /// Who asks: as the body says, else the header `X-Operator`; `operator` if nobody says.
    pub(super) fn by(&mut self, headers: &HeaderMap) -> Result<String, Problem> {
        const NAME: &str = "by";
        let header = || headers.get("x-operator").map(|value| value.to_str().unwrap_or("\u{0}").to_owned());
        let given = self.text(NAME)?.or_else(header).unwrap_or_default();
        let by = given.trim();
        if by.chars().count() > OPERATOR_CHARS_MAX || by.chars().any(char::is_control) {
            return Err(self.wrong(NAME, "must be one line of at most 120 characters"));
        }
        if contains_email(by) {
            return Err(self.wrong(NAME, "is stored and shown: it must not have an e-mail address in it; give a name"));
        }
        Ok(if by.is_empty() { "operator".to_owned() } else { by.to_owned() })
    }

    /// Ends the reading.
    ///
    /// # Errors
    /// 422 with the name of what nobody knows.
    pub(super) fn finish(self) -> Result<(), Problem> {
        let Some(name) = self.given.keys().next() else { return Ok(()) };
        let what = if self.in_body { "field" } else { "parameter" };
        let known = if self.known.is_empty() { "none".to_owned() } else { self.known.join(", ") };
        Err(self.wrong(name, &format!("this {what} is not known here; known: {known}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(asked: impl FnOnce(&mut Asked) -> Result<(), Problem>, query: &str) -> String {
        let mut read = Asked::query(Some(query)).expect("reads");
        let problem = asked(&mut read).and_then(|()| read.finish()).expect_err("is refused");
        assert_eq!((problem.status, problem.kind), (422, "/problems/invalid-request"));
        problem.detail.into_owned()
    }

    #[test]
    fn what_nobody_knows_is_refused_by_its_name() {
        let known = |asked: &mut Asked| asked.number("limit", 1..=10).map(drop);
        assert_eq!(refused(known, "limt=5"), "limt: this parameter is not known here; known: limit");
        for name in ["ada%40example.com", "%2B16505551212", "a%20b", &"x".repeat(65)] {
            assert!(refused(known, &format!("{name}=1")).starts_with("(name withheld): "), "{name}");
        }
        assert_eq!(
            refused(|asked| asked.number("limit", 1..=10).map(drop), "limit=11"),
            "limit: must be a whole number from 1 to 10"
        );
        assert!(Asked::query(Some("a=1&a=2")).is_err_and(|problem| problem.detail.ends_with("is given twice")));
    }

    #[test]
    fn values_are_never_repeated() {
        let secret = "ada%40example.com";
        assert!(!refused(|asked| asked.time("since").map(drop), &format!("since={secret}")).contains("ada"));
        assert!(!refused(|asked| asked.destination("to").map(drop), &format!("to={secret}")).contains("ada"));
        assert!(!refused(|asked| asked.reason().map(drop), &format!("reason={secret}")).contains("ada"));
    }

    #[test]
    fn what_is_left_empty_is_as_good_as_left_out() {
        let mut asked = Asked::query(Some("class=&limit=7")).expect("reads");
        assert_eq!((asked.text("class"), asked.number("limit", 1..=10)), (Ok(None), Ok(Some(7))));
        assert_eq!(asked.finish(), Ok(()));
    }
}
