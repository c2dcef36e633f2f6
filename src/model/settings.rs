//! Reading settings out of TOML so that everything wrong is said at once, each with its key and what would be right.

use std::{fmt, ops::RangeInclusive, time::Duration};

use toml::{Table, Value};

use super::{Secret, parse_duration};

/// What the message of an unknown key begins with; the keys that are known follow.
const UNKNOWN: &str = "is not a key here; known: ";

/// What [`unavailable`] values begin with. Neither the environment nor a file read by `config` can hold it.
const UNAVAILABLE: char = '\0';

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

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.message)
    }
}

/// Stands for a value that cannot be had, because of `why` (an environment variable is not set): whoever takes it gets
/// nothing, and `why` becomes the one problem of its key.
#[must_use]
pub fn unavailable(why: &str) -> String {
    format!("{UNAVAILABLE}{why}")
}

/// `text` as an http or https address, if it is one without a user, a query and a fragment.
#[must_use]
pub fn plain_url(text: &str) -> Option<String> {
    let url = url::Url::parse(text).ok()?;
    let web = matches!(url.scheme(), "http" | "https") && url.has_host();
    let bare =
        url.username().is_empty() && url.password().is_none() && url.query().is_none() && url.fragment().is_none();
    (web && bare).then(|| url.into())
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
        let known = self.known.join(", ");
        for key in std::mem::take(&mut self.table).keys() {
            self.problem(key, format!("{UNKNOWN}{known}"));
        }
    }

    /// Notes a problem of `key`.
    pub fn problem(&mut self, key: &str, message: impl Into<String>) {
        self.problems.push(Problem::new(format!("{}{key}", self.prefix), message));
    }

    /// Notes problems that were found in the [`rest`](Self::rest) of this table: a key that is unknown there could also
    /// have been meant for here.
    pub fn problems_of_rest(&mut self, problems: Vec<Problem>) {
        for Problem { key, message } in problems {
            match message.strip_prefix(UNKNOWN).filter(|_| !key.contains('.')) {
                Some(others) => self.problem(&key, format!("{UNKNOWN}{}, {others}", self.known.join(", "))),
                None => self.problem(&key, message),
            }
        }
    }

    fn must_be(&mut self, key: &str, expected: &str, given: &Value) {
        let given = match given {
            Value::String(_) => "a text",
            Value::Integer(_) | Value::Float(_) => "a number",
            Value::Boolean(_) => "true or false",
            Value::Datetime(_) => "a date",
            Value::Array(_) => "a list",
            Value::Table(_) => "a table",
        };
        self.problem(key, format!("must be {expected}, not {given}"));
    }

    /// Whether `key` is there.
    #[must_use]
    pub fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// Whether `key` is a table.
    #[must_use]
    pub fn is_table(&self, key: &str) -> bool {
        self.table.get(key).is_some_and(Value::is_table)
    }

    /// The names of the keys that are left.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.table.keys().cloned().collect()
    }

    /// Notes it if `key`, which has to be there, is not; `what` says what it is.
    pub fn need(&mut self, key: &str, what: &str) -> &mut Self {
        if !self.has(key) {
            self.know(key);
            self.problem(key, format!("is missing: {what}"));
        }
        self
    }

    /// Notes that there is such a key.
    fn know(&mut self, key: &str) {
        if !self.known.iter().any(|known| known == key) {
            self.known.push(key.to_owned());
        }
    }

    fn take(&mut self, key: &str) -> Option<Value> {
        self.know(key);
        let value = self.table.remove(key)?;
        let why = |value: &Value| value.as_str()?.strip_prefix(UNAVAILABLE).map(str::to_owned);
        let unavailable: Vec<Problem> = match &value {
            Value::Array(list) => {
                let items = list.iter().enumerate();
                items.filter_map(|(i, item)| Some(Problem::new(format!("{key}[{i}]"), why(item)?))).collect()
            }
            value => why(value).map(|why| Problem::new(key, why)).into_iter().collect(),
        };
        if unavailable.is_empty() {
            return Some(value);
        }
        unavailable.into_iter().for_each(|Problem { key, message }| self.problem(&key, message));
        None
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
                self.must_be(key, "a text in quotes", &other);
                None
            }
        }
    }

    /// A text that has to be there; `what` says what it is.
    pub fn required(&mut self, key: &str, what: &str) -> Option<String> {
        self.need(key, what).text(key)
    }

    /// A text that `read` understands; `expected` says what that would be.
    pub fn parsed<T>(&mut self, key: &str, expected: &str, read: impl FnOnce(&str) -> Option<T>) -> Option<T> {
        let value = read(&self.text(key)?);
        if value.is_none() {
            self.problem(key, format!("must be {expected}"));
        }
        value
    }

    /// [`Settings::parsed`] of a text that has to be there.
    pub fn required_parsed<T>(&mut self, key: &str, expected: &str, read: impl FnOnce(&str) -> Option<T>) -> Option<T> {
        self.need(key, expected).parsed(key, expected, read)
    }

    /// A key or token: in one word, so that a line end that was copied with it is noticed.
    pub fn secret(&mut self, key: &str) -> Option<Secret> {
        self.parsed(key, "printable ASCII without spaces and line ends", |text| {
            text.bytes().all(|b| b.is_ascii_graphic()).then(|| Secret::new(text))
        })
    }

    /// A [`plain_url`].
    pub fn url(&mut self, key: &str) -> Option<String> {
        self.parsed(key, "an http or https address without a user, a query and a fragment", plain_url)
    }

    /// A [`plain_url`] that paths are put behind, without a slash at its end; `default` if there is none.
    pub fn base_url(&mut self, default: &str) -> String {
        let url = self.url("base_url").unwrap_or_else(|| default.to_owned());
        url.trim_end_matches('/').to_owned()
    }

    /// A span of time such as `30s`, inside `allowed`.
    pub fn duration(&mut self, key: &str, allowed: RangeInclusive<Duration>) -> Option<Duration> {
        let text = self.text(key)?;
        match parse_duration(&text) {
            Ok(span) if allowed.contains(&span) => Some(span),
            Ok(_) => {
                let (least, most) = (written(*allowed.start()), written(*allowed.end()));
                self.problem(key, format!("must be from {least} to {most}"));
                None
            }
            Err(error) => {
                self.problem(key, error.to_string());
                None
            }
        }
    }

    /// How long one request may take.
    pub fn timeout(&mut self, default: Duration) -> Duration {
        self.duration("timeout", Duration::from_millis(1)..=Duration::from_secs(600)).unwrap_or(default)
    }

    /// A whole number inside `allowed`; also as a text, which is what the environment has.
    pub fn number<T>(&mut self, key: &str, allowed: RangeInclusive<T>) -> Option<T>
    where
        T: TryFrom<i64> + PartialOrd + fmt::Display,
    {
        let number = match self.take(key)? {
            Value::String(text) => text.parse().ok(),
            value => value.as_integer(),
        };
        let number = number.and_then(|number| T::try_from(number).ok()).filter(|number| allowed.contains(number));
        if number.is_none() {
            self.problem(key, format!("must be a whole number from {} to {}", allowed.start(), allowed.end()));
        }
        number
    }

    /// `true` or `false`; also as a text, which is what the environment has.
    pub fn flag(&mut self, key: &str) -> Option<bool> {
        let flag = match self.take(key)? {
            Value::Boolean(flag) => Some(flag),
            Value::String(text) => text.parse().ok(),
            _ => None,
        };
        if flag.is_none() {
            self.problem(key, "must be true or false");
        }
        flag
    }

    /// A list of texts that `read` understands; `expected` says what each would be.
    pub fn list<T>(&mut self, key: &str, expected: &str, read: impl Fn(&str) -> Option<T>) -> Option<Vec<T>> {
        let Value::Array(items) = self.take(key)? else {
            self.problem(key, format!("must be a list, each of it {expected}"));
            return None;
        };
        let read: Vec<Option<T>> = items.iter().map(|item| item.as_str().and_then(&read)).collect();
        for (i, _) in read.iter().enumerate().filter(|(_, item)| item.is_none()) {
            self.problem(&format!("{key}[{i}]"), format!("must be {expected}"));
        }
        read.into_iter().collect()
    }

    /// A table inside this one; what `read` leaves of it is unknown. A missing one reads as empty.
    pub fn section<T>(&mut self, key: &str, read: impl FnOnce(&mut Settings) -> T) -> T {
        let table = match self.take(key) {
            None => Table::new(),
            Some(Value::Table(table)) => table,
            Some(other) => {
                self.must_be(key, "a table", &other);
                // What would be missing in it is no problem of its own.
                return read(&mut Self::new("", Table::new()));
            }
        };
        self.inside(format!("{}{key}.", self.prefix), table, read)
    }

    /// [`Settings::section`], if it is there; `expected` says what it holds.
    pub fn table<T>(&mut self, key: &str, expected: &str, read: impl FnOnce(&mut Settings) -> T) -> Option<T> {
        match self.take(key)? {
            Value::Table(table) => Some(self.inside(format!("{}{key}.", self.prefix), table, read)),
            other => {
                self.must_be(key, expected, &other);
                None
            }
        }
    }

    /// A list of tables, each called `key[0].`, `key[1].`, …
    pub fn tables<T>(&mut self, key: &str, mut read: impl FnMut(&mut Settings) -> T) -> Vec<T> {
        let list = match self.take(key) {
            None => return Vec::new(),
            Some(Value::Array(list)) => list,
            Some(other) => {
                self.must_be(key, &format!("a list of tables, each begun with [[{}{key}]]", self.prefix), &other);
                return Vec::new();
            }
        };
        let mut values = Vec::with_capacity(list.len());
        for (i, item) in list.into_iter().enumerate() {
            match item {
                Value::Table(table) => {
                    values.push(self.inside(format!("{}{key}[{i}].", self.prefix), table, &mut read));
                }
                other => self.must_be(&format!("{key}[{i}]"), "a table", &other),
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

/// `span` as the configuration writes it.
fn written(span: Duration) -> String {
    let ms = span.as_millis();
    let units = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1000, "s")];
    let unit = units.into_iter().find(|(unit, _)| ms > 0 && ms.is_multiple_of(*unit));
    let (unit, name) = unit.unwrap_or((1, if ms == 0 { "s" } else { "ms" }));
    format!("{}{name}", ms / unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(table: &str) -> Settings {
        Settings::new("top.", table.parse().expect("TOML"))
    }

    fn told(settings: Settings) -> Vec<String> {
        settings.finish().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn everything_wrong_is_said_at_once_with_its_key() {
        let mut settings = settings("a = 1\nb = ''\nc = '5 s'\nd = 70\ne = ['x', 1]\nf.g = true\nh = 'x y'\nz = 1");
        assert_eq!(settings.text("a"), None);
        assert_eq!(settings.text("b"), None);
        assert_eq!(settings.duration("c", Duration::ZERO..=Duration::MAX), None);
        assert_eq!(settings.number("d", 1..=64_u32), None);
        assert_eq!(settings.list("e", "a text", |text| Some(text.to_owned())), None);
        assert_eq!(settings.required("missing", "the thing"), None);
        settings.section("f", |_| ());
        assert_eq!(settings.secret("h"), None);
        let problems = settings.finish();
        let keys: Vec<&str> = problems.iter().map(|problem| problem.key.as_str()).collect();
        assert_eq!(keys, ["top.a", "top.b", "top.c", "top.d", "top.e[1]", "top.missing", "top.f.g", "top.h", "top.z"]);
        assert_eq!(problems[8].message, "is not a key here; known: a, b, c, d, e, missing, f, h");
    }

    #[test]
    fn a_number_may_be_a_text_of_digits() {
        let mut settings = settings("a = '12'\nb = '12x'\nc = 12.5\nd = -1");
        assert_eq!(settings.number("a", 1..=64_usize), Some(12));
        for key in ["b", "c", "d"] {
            assert_eq!(settings.number(key, 1..=64_u64), None);
        }
        assert_eq!(told(settings)[0], "top.b: must be a whole number from 1 to 64");
    }

    #[test]
    fn a_flag_is_true_or_false() {
        let mut settings = settings("a = true\nb = 'false'\nc = 'yes'\nd = 1");
        assert_eq!((settings.flag("a"), settings.flag("b")), (Some(true), Some(false)));
        assert_eq!((settings.flag("c"), settings.flag("d"), settings.flag("e")), (None, None, None));
        assert_eq!(told(settings), ["top.c: must be true or false", "top.d: must be true or false"]);
    }

    #[test]
    fn limits_of_time_are_said_as_they_are_written() {
        let mut settings = settings("a = '2d'\nb = '1ms'");
        settings.duration("a", Duration::ZERO..=Duration::from_secs(86_400));
        settings.duration("b", Duration::from_millis(1500)..=Duration::from_secs(90 * 60));
        assert_eq!(told(settings), ["top.a: must be from 0s to 1d", "top.b: must be from 1500ms to 90m"]);
    }

    #[test]
    fn an_address_is_plain() {
        for bad in ["", "x.example", "ftp://x.example", "https://", "https://x.example?a=b", "https://x.example#a"] {
            assert_eq!(plain_url(bad), None, "{bad}");
        }
        for bad in ["https://u:p@x.example", "https://u@x.example"] {
            assert_eq!(plain_url(bad), None, "{bad}");
        }
        assert_eq!(plain_url("http://127.0.0.1:9000/token").as_deref(), Some("http://127.0.0.1:9000/token"));
        assert_eq!(settings("base_url = 'https://x.example/a/'").base_url("unused"), "https://x.example/a");
        assert_eq!(settings("").base_url("https://y.example"), "https://y.example");
    }

    #[test]
    fn a_value_that_cannot_be_had_is_one_problem() {
        let mut table: Table = "list = ['here']\n[inner]".parse().expect("TOML");
        let gone = || Value::String(unavailable("the variable X is not set"));
        table.insert("a".to_owned(), gone());
        table["list"].as_array_mut().expect("a list").push(gone());
        table["inner"].as_table_mut().expect("a table").insert("b".to_owned(), gone());
        let mut settings = Settings::new("", table);
        assert_eq!(settings.secret("a"), None);
        assert_eq!(settings.list("list", "a text", |text| Some(text.to_owned())), None);
        settings.section("inner", |inner| inner.number("b", 1..=2_u64));
        let expected = ["a", "list[1]", "inner.b"].map(|key| format!("{key}: the variable X is not set"));
        assert_eq!(told(settings), expected);
    }

    #[test]
    fn a_table_of_another_type_is_one_problem() {
        let mut settings = settings("a = 1\nb = 'x'\nc = [1]");
        settings.section("a", |inner| inner.required("x", "the thing"));
        settings.table("b", "a table: { x }", |inner| inner.required("x", "the thing"));
        settings.tables("c", |inner| inner.required("x", "the thing"));
        let expected = [
            "top.a: must be a table, not a number",
            "top.b: must be a table: { x }, not a text",
            "top.c[0]: must be a table, not a number",
        ];
        assert_eq!(told(settings), expected);
    }

    #[test]
    fn a_key_that_is_unknown_in_the_rest_could_have_been_meant_for_here() {
        let mut outer = settings("a = 'x'\nbb = 1\n[inner]\nc = 1");
        outer.text("a");
        let mut rest = Settings::new("", outer.rest());
        rest.text("b");
        rest.section("inner", |inner| inner.text("d"));
        outer.problems_of_rest(rest.finish());
        let expected = ["top.inner.c: is not a key here; known: d", "top.bb: is not a key here; known: a, b, inner"];
        assert_eq!(told(outer), expected);
    }
}
