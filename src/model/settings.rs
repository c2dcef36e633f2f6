//! Reading settings out of TOML so that everything wrong is said at once, each with its key and what would be right.

use std::{ops::RangeInclusive, time::Duration};

use toml::{Table, Value};

use super::{Secret, parse_duration};

/// Something wrong in the configuration. Its message never repeats a configured text: that may be a credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The key with its tables: `delivery.retry_max`, `credentials.client_id`.
    pub key: String,
    /// What is wrong and what would be right.
    pub message: String,
}

impl Problem {
    /// A problem of `key`.
    pub fn new(key: impl Into<String>, message: impl Into<String>) -> Self {
        Self { key: key.into(), message: message.into() }
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.key, self.message)
    }
}

/// A table whose keys are taken out one by one; what is left at the end is unknown, and said to be.
#[derive(Debug)]
pub struct Settings {
    prefix: String,
    table: Table,
    known: Vec<String>,
    problems: Vec<Problem>,
}

impl Settings {
    /// Reads `table`, whose keys are called by `prefix` and their name in problems.
    pub fn new(prefix: impl Into<String>, table: Table) -> Self {
        Self { prefix: prefix.into(), table, known: Vec::new(), problems: Vec::new() }
    }

    /// Every problem there was, unknown keys among them.
    #[must_use]
    pub fn finish(mut self) -> Vec<Problem> {
        self.note_unknown();
        self.problems
    }

    fn note_unknown(&mut self) {
        for key in std::mem::take(&mut self.table).keys() {
            let known = self.known.join(", ");
            self.problem(key, format!("is not a key here; known: {known}"));
        }
    }

    /// Notes a problem of `key`.
    pub fn problem(&mut self, key: &str, message: impl Into<String>) {
        self.problems.push(Problem::new(format!("{}{key}", self.prefix), message));
    }

    /// Notes problems that were found elsewhere, relative to this table.
    pub fn problems(&mut self, problems: impl IntoIterator<Item = Problem>) {
        for Problem { key, message } in problems {
            self.problem(&key, message);
        }
    }

    /// Whether `key` is there.
    #[must_use]
    pub fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// The value of `key` as it is.
    pub fn take(&mut self, key: &str) -> Option<Value> {
        self.known.push(key.to_owned());
        self.table.remove(key)
    }

    /// A text.
    pub fn text(&mut self, key: &str) -> Option<String> {
        match self.take(key)? {
            Value::String(text) if text.trim().is_empty() => {
                self.problem(key, "must not be empty; leave it out instead");
                None
            }
            Value::String(text) => Some(text),
            other => {
                self.problem(key, format!("must be a text in quotes, not {}", kind_of(&other)));
                None
            }
        }
    }

    /// A text that has to be there; `what` says what it is.
    pub fn required(&mut self, key: &str, what: &str) -> Option<String> {
        if !self.has(key) {
            self.known.push(key.to_owned());
            self.problem(key, format!("is missing: {what}"));
            return None;
        }
        self.text(key)
    }

    /// A text that `read` understands; `expected` says what that would be.
    pub fn parsed<T>(&mut self, key: &str, expected: &str, read: impl FnOnce(&str) -> Option<T>) -> Option<T> {
        let text = self.text(key)?;
        self.check(key, expected, &text, read)
    }

    /// [`Settings::parsed`] of a text that has to be there.
    pub fn required_parsed<T>(&mut self, key: &str, expected: &str, read: impl FnOnce(&str) -> Option<T>) -> Option<T> {
        let text = self.required(key, expected)?;
        self.check(key, expected, &text, read)
    }

    fn check<T>(&mut self, key: &str, expected: &str, text: &str, read: impl FnOnce(&str) -> Option<T>) -> Option<T> {
        let value = read(text);
        if value.is_none() {
            self.problem(key, format!("must be {expected}"));
        }
        value
    }

    /// A credential.
    pub fn secret(&mut self, key: &str) -> Option<Secret> {
        self.text(key).map(Secret::new)
    }

    /// A span of time such as `30s`, inside `allowed`.
    pub fn duration(&mut self, key: &str, allowed: RangeInclusive<Duration>) -> Option<Duration> {
        let text = self.text(key)?;
        match parse_duration(&text) {
            Ok(span) if allowed.contains(&span) => Some(span),
            Ok(_) => {
                self.problem(key, format!("must be from {:?} to {:?}", allowed.start(), allowed.end()));
                None
            }
            Err(error) => {
                self.problem(key, error.to_string());
                None
            }
        }
    }

    /// A whole number inside `allowed`.
    pub fn number(&mut self, key: &str, allowed: RangeInclusive<u64>) -> Option<u64> {
        let value = self.take(key)?;
        let number = value.as_integer().and_then(|number| u64::try_from(number).ok());
        let number = number.filter(|number| allowed.contains(number));
        if number.is_none() {
            self.problem(key, format!("must be a whole number from {} to {}", allowed.start(), allowed.end()));
        }
        number
    }

    /// A list of texts.
    pub fn texts(&mut self, key: &str) -> Option<Vec<String>> {
        let value = self.take(key)?;
        let texts = value
            .as_array()
            .and_then(|list| list.iter().map(|item| item.as_str().map(str::to_owned)).collect::<Option<Vec<String>>>());
        if texts.is_none() {
            self.problem(key, "must be a list of texts, such as [\"one\", \"two\"]");
        }
        texts
    }

    /// A table inside this one; what `read` leaves of it is unknown. A missing one reads as empty.
    pub fn section<T>(&mut self, key: &str, read: impl FnOnce(&mut Settings) -> T) -> T {
        let table = match self.take(key) {
            None => Table::new(),
            Some(Value::Table(table)) => table,
            Some(other) => {
                self.problem(key, format!("must be a table, not {}", kind_of(&other)));
                Table::new()
            }
        };
        self.inside(format!("{}{key}.", self.prefix), table, read)
    }

    /// A list of tables, each called `key[0].`, `key[1].`, …
    pub fn tables<T>(&mut self, key: &str, mut read: impl FnMut(&mut Settings) -> T) -> Vec<T> {
        let list = match self.take(key) {
            None => return Vec::new(),
            Some(Value::Array(list)) => list,
            Some(other) => {
                self.problem(key, format!("must be a list of tables, not {}", kind_of(&other)));
                return Vec::new();
            }
        };
        let mut values = Vec::with_capacity(list.len());
        for (i, item) in list.into_iter().enumerate() {
            match item {
                Value::Table(table) => {
                    values.push(self.inside(format!("{}{key}[{i}].", self.prefix), table, &mut read))
                }
                other => self.problem(&format!("{key}[{i}]"), format!("must be a table, not {}", kind_of(&other))),
            }
        }
        values
    }

    fn inside<T>(&mut self, prefix: String, table: Table, read: impl FnOnce(&mut Settings) -> T) -> T {
        let mut inner = Self::new(prefix, table);
        let value = read(&mut inner);
        inner.note_unknown();
        self.problems.append(&mut inner.problems);
        value
    }

    /// Calls this table differently in problems from here on.
    pub fn rename(&mut self, prefix: impl Into<String>) {
        self.prefix = prefix.into();
    }

    /// Everything that is left, for somebody else to read: nothing of it counts as unknown here.
    pub fn rest(&mut self) -> Table {
        std::mem::take(&mut self.table)
    }
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::String(_) => "a text",
        Value::Integer(_) | Value::Float(_) => "a number",
        Value::Boolean(_) => "true or false",
        Value::Datetime(_) => "a date",
        Value::Array(_) => "a list",
        Value::Table(_) => "a table",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_wrong_is_said_at_once_with_its_key() {
        let table: Table =
            "a = 1\nb = ''\nc = '5 s'\nd = 70\ne = ['x', 1]\nz = 1\n[f]\ng = true\n".parse().expect("TOML");
        let mut settings = Settings::new("top.", table);
        assert_eq!(settings.text("a"), None);
        assert_eq!(settings.text("b"), None);
        assert_eq!(settings.duration("c", Duration::ZERO..=Duration::MAX), None);
        assert_eq!(settings.number("d", 1..=64), None);
        assert_eq!(settings.texts("e"), None);
        assert_eq!(settings.required("missing", "the thing"), None);
        settings.section("f", |_| ());
        let problems = settings.finish();
        let keys: Vec<&str> = problems.iter().map(|problem| problem.key.as_str()).collect();
        assert_eq!(keys, ["top.a", "top.b", "top.c", "top.d", "top.e", "top.missing", "top.f.g", "top.z"]);
    }
}
