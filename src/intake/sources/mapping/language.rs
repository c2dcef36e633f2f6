//! The language of expressions: minijinja's, cut down to what ends soon, takes little memory and is exact.
//!
//! Its own `*` and `+` are left out: on texts they repeat and join (`"49" + "5"` is `495`), and on fractions they are not
//! exact. The filters `times`, `plus`, `minus` and `sum` count in decimals. There are no functions, and every filter looks
//! at the size of what it gets before it does anything.

use std::{collections::BTreeMap, sync::LazyLock};

use axum::http::HeaderMap;
use minijinja::{
    Environment, Error, ErrorKind, Expression, State, UndefinedBehavior, filters, tests,
    value::{Rest, Value as Mini, ValueKind, ValueOrKwargs},
};
use serde::Deserialize as _;
use serde_json::{Map, Value};

use super::filters::{
    default, join, map, minor, minus, plus, rejectattr, replace, selectattr, sum, times, too_large, unix, utc,
};

/// Steps one expression may take: far more than one needs, far less than a loop.
const FUEL: u64 = 20_000;
/// Expressions are at most this long.
const EXPRESSION_BYTES_MAX: usize = 4096;
/// `~` in one expression: each may join two texts as long as the body.
const JOINS_MAX: usize = 16;
/// What one expression may give.
const RESULT_BYTES_MAX: usize = 64 << 10;
/// What a filter takes.
const ARGUMENT_BYTES_MAX: usize = 1 << 20;
/// Entries of a list that a filter takes, and that `each` gives.
pub(in crate::intake::sources) const LIST_MAX: usize = 1000;
/// What a number, a key or an empty text weighs against these limits.
const NODE_BYTES: usize = 8;
/// Levels of lists and objects that a result may nest.
const DEPTH_MAX: usize = 32;
/// Headers that hold credentials, which no event may carry away.
const SECRET_HEADERS: [&str; 3] = ["authorization", "cookie", "proxy-authorization"];

/// Words that may stand before an opening bracket.
const WORDS: [&str; 7] = ["and", "or", "not", "in", "is", "if", "else"];

/// The tests behind `is`, by name.
const TESTS: [&str; 18] = [
    "defined",
    "undefined",
    "none",
    "true",
    "false",
    "number",
    "string",
    "sequence",
    "mapping",
    "startingwith",
    "endingwith",
    "in",
    "eq",
    "ne",
    "lt",
    "le",
    "gt",
    "ge",
];

/// The filters, by name.
static FILTERS: LazyLock<BTreeMap<&'static str, Mini>> = LazyLock::new(|| {
    BTreeMap::from([
        ("abs", Mini::from_function(filters::abs)),
        ("attr", Mini::from_function(filters::attr)),
        ("count", Mini::from_function(filters::length)),
        ("d", Mini::from_function(default)),
        ("default", Mini::from_function(default)),
        ("first", Mini::from_function(filters::first)),
        ("float", Mini::from_function(filters::float)),
        ("int", Mini::from_function(filters::int)),
        ("join", Mini::from_function(join)),
        ("last", Mini::from_function(filters::last)),
        ("length", Mini::from_function(filters::length)),
        ("list", Mini::from_function(filters::list)),
        ("lower", Mini::from_function(filters::lower)),
        ("map", Mini::from_function(map)),
        ("max", Mini::from_function(filters::max)),
        ("min", Mini::from_function(filters::min)),
        ("minor", Mini::from_function(minor)),
        ("minus", Mini::from_function(minus)),
        ("plus", Mini::from_function(plus)),
        ("reject", Mini::from_function(filters::reject)),
        ("rejectattr", Mini::from_function(rejectattr)),
        ("replace", Mini::from_function(replace)),
        ("reverse", Mini::from_function(filters::reverse)),
        ("round", Mini::from_function(filters::round)),
        ("select", Mini::from_function(filters::select)),
        ("selectattr", Mini::from_function(selectattr)),
        ("sort", Mini::from_function(filters::sort)),
        ("split", Mini::from_function(filters::split)),
        ("string", Mini::from_function(filters::string)),
        ("sum", Mini::from_function(sum)),
        ("times", Mini::from_function(times)),
        ("trim", Mini::from_function(filters::trim)),
        ("unique", Mini::from_function(filters::unique)),
        ("unix", Mini::from_function(unix)),
        ("upper", Mini::from_function(filters::upper)),
        ("utc", Mini::from_function(utc)),
    ])
});
static ENVIRONMENT: LazyLock<Environment<'static>> = LazyLock::new(environment);

fn environment() -> Environment<'static> {
    let mut environment = Environment::empty();
    environment.set_undefined_behavior(UndefinedBehavior::Chainable);
    environment.set_fuel(Some(FUEL));
    for (&name, inner) in FILTERS.iter() {
        let of_nothing = match name {
            "default" | "d" => None,
            "length" | "count" => Some(Mini::from(0)),
            _ => Some(Mini::UNDEFINED),
        };
        environment.add_filter(name, move |state: &mut State, args: Rest<ValueOrKwargs>| {
            let args = args.into_values();
            let first = args.first().is_none_or(|first| first.is_undefined() || first.is_none());
            match &of_nothing {
                Some(nothing) if first => return Ok(nothing.clone()),
                _ => {}
            }
            let mut left = ARGUMENT_BYTES_MAX;
            args.iter().try_for_each(|argument| weigh(argument, &mut left, DEPTH_MAX))?;
            inner.call(state, &args)
        });
    }
    environment.add_test("defined", tests::is_defined);
    environment.add_test("undefined", tests::is_undefined);
    environment.add_test("none", tests::is_none);
    environment.add_test("true", tests::is_true);
    environment.add_test("false", tests::is_false);
    environment.add_test("number", tests::is_number);
    environment.add_test("string", tests::is_string);
    environment.add_test("sequence", tests::is_sequence);
    environment.add_test("mapping", tests::is_mapping);
    environment.add_test("startingwith", tests::is_startingwith);
    environment.add_test("endingwith", tests::is_endingwith);
    environment.add_test("in", tests::is_in);
    environment.add_test("eq", tests::is_eq);
    environment.add_test("ne", tests::is_ne);
    environment.add_test("lt", tests::is_lt);
    environment.add_test("le", tests::is_le);
    environment.add_test("gt", tests::is_gt);
    environment.add_test("ge", tests::is_ge);
    environment
}

/// An expression that was read.
pub(in crate::intake::sources) struct Formula(Expression<'static, 'static>);

impl Formula {
    /// Reads one.
    ///
    /// # Errors
    /// What is wrong with it, for the operator who wrote it; it goes on after the key's name.
    pub(in crate::intake::sources) fn compile(text: String) -> Result<Self, String> {
        if text.len() > EXPRESSION_BYTES_MAX {
            return Err(format!("must be at most {EXPRESSION_BYTES_MAX} bytes"));
        }
        look_over(&text)?;
        let wrong = |error: Error| format!("is no expression: {}", error.detail().unwrap_or("syntax error"));
        ENVIRONMENT.compile_expression_owned(text).map(Self).map_err(wrong)
    }

    /// What it gives; null for what is not there.
    ///
    /// # Errors
    /// A few words for why it cannot be computed, without anything of the body.
    pub(in crate::intake::sources) fn value(&self, variables: &Mini) -> Result<Value, String> {
        let mut left = RESULT_BYTES_MAX;
        self.evaluate(variables, &mut left)
    }

    /// The entries of the list it gives; one that is no list is the only entry.
    ///
    /// # Errors
    /// As [`Formula::value`], and if there are too many.
    pub(in crate::intake::sources) fn entries(&self, variables: &Mini) -> Result<Vec<Value>, String> {
        // As long as a body may be: nothing is repeated.
        let mut left = usize::MAX;
        match self.evaluate(variables, &mut left)? {
            Value::Null => Ok(Vec::new()),
            Value::Array(entries) if entries.len() > LIST_MAX => Err(format!("more than {LIST_MAX} entries")),
            Value::Array(entries) => Ok(entries),
            entry => Ok(vec![entry]),
        }
    }

    fn evaluate(&self, variables: &Mini, left: &mut usize) -> Result<Value, String> {
        // The kind alone: the rest may quote the body.
        let value = self.0.eval(variables.clone()).and_then(|value| json(&value, left, DEPTH_MAX));
        value.map_err(|error| error.kind().to_string())
    }
}

/// What expressions may name.
pub(in crate::intake::sources) fn variables(
    body: &Value,
    headers: &HeaderMap,
    event: Option<&str>,
    root: Option<&Mini>,
) -> Mini {
    let whole = mini(body);
    let mut names: BTreeMap<String, Mini> = BTreeMap::new();
    if let Value::Object(fields) = body {
        // Each shares its content with the whole.
        names.extend(fields.keys().map(|name| (name.clone(), whole.get_attr(name).unwrap_or_default())));
    }
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    // A map of this type becomes a map; collecting pairs would make a list of them.
    let headers: BTreeMap<String, String> = headers
        .keys()
        .filter(|name| !SECRET_HEADERS.contains(&name.as_str()))
        .filter_map(|name| Some((name.to_string(), text(name.as_str())?)))
        .collect();
    names.insert("_root".to_owned(), root.unwrap_or(&whole).clone());
    names.insert("_body".to_owned(), whole);
    names.insert("_headers".to_owned(), headers.into());
    names.insert("_event".to_owned(), event.map_or_else(Mini::default, Mini::from));
    names.into()
}

/// A body as expressions see it.
fn mini(value: &Value) -> Mini {
    // JSON always fits.
    Mini::deserialize(value).unwrap_or_default()
}

/// Refuses what this language leaves out, by the text alone: the names of filters are otherwise only looked up when a
/// body comes.
fn look_over(text: &str) -> Result<(), String> {
    let mut rest = text;
    let mut joins = 0;
    let (mut word, mut after_pipe, mut after_is) = ("", false, false);
    // The brackets that are open, each with the colons in it.
    let mut open: Vec<(char, u8)> = Vec::new();
    while let Some(c) = rest.chars().next() {
        let length = match c {
            '\'' | '"' => quoted(rest, c),
            c if c.is_alphabetic() || c == '_' => {
                rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len())
            }
            c => c.len_utf8(),
        };
        let (token, following) = rest.split_at(length);
        match c {
            '*' => return Err("has a *: write `a | times(b)`, which is exact and takes numbers alone".to_owned()),
            '+' => {
                return Err(
                    "has a +: write `a | plus(b)` for numbers, which is exact, and `a ~ b` for texts".to_owned()
                );
            }
            '~' => {
                joins += 1;
                if joins > JOINS_MAX {
                    return Err(format!("joins more than {JOINS_MAX} texts with ~"));
                }
            }
            '(' if !word.is_empty() && !after_pipe && !after_is && !WORDS.contains(&word) => {
                return Err("calls a function or method; there are none, only filters behind a |".to_owned());
            }
            _ => {}
        }
        match c {
            '(' | '[' | '{' => open.push((c, 0)),
            ')' | ']' | '}' => drop(open.pop()),
            ':' => {
                if let Some(('[', colons)) = open.last_mut() {
                    *colons += 1;
                    // minijinja 3.0.5 panics at `''[::-1]`.
                    if *colons > 1 {
                        return Err("has a slice of three parts: write `a[1:3]`, or `a | reverse`".to_owned());
                    }
                }
            }
            _ => {}
        }
        if c.is_alphabetic() || c == '_' {
            if word == "|" && !FILTERS.contains_key(token) {
                let known: Vec<&str> = FILTERS.keys().copied().collect();
                return Err(format!("names a filter that there is not; known: {}", known.join(", ")));
            }
            if (word == "is" && token != "not" || after_is && word == "not") && !TESTS.contains(&token) {
                return Err(format!("names a test that there is not behind `is`; known: {}", TESTS.join(", ")));
            }
            after_pipe = word == "|";
            after_is = word == "is" || (after_is && word == "not");
            word = token;
        } else if !c.is_whitespace() {
            (after_pipe, after_is) = (false, false);
            word = if c == '|' { "|" } else { "" };
        }
        rest = following;
    }
    Ok(())
}

/// How long the quoted text is that `text` begins with.
fn quoted(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (i, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return i + 1,
            _ => {}
        }
    }
    text.len()
}

/// Takes what a value weighs off `left`.
fn weigh(value: &Mini, left: &mut usize, depth: usize) -> Result<(), Error> {
    let mine = NODE_BYTES + value.as_str().map_or(0, str::len);
    *left = left.checked_sub(mine).ok_or_else(too_large)?;
    let inner = || depth.checked_sub(1).ok_or_else(too_large);
    match value.kind() {
        ValueKind::Map => {
            let inner = inner()?;
            for key in value.try_iter()? {
                weigh(&key, left, inner)?;
                weigh(&value.get_item(&key)?, left, inner)?;
            }
        }
        ValueKind::Seq | ValueKind::Iterable => {
            let inner = inner()?;
            for (i, entry) in value.try_iter()?.enumerate() {
                if i >= LIST_MAX {
                    return Err(too_large());
                }
                weigh(&entry, left, inner)?;
            }
        }
        _ => {}
    }
    Ok(())
}

/// What an expression gave, as JSON.
fn json(value: &Mini, left: &mut usize, depth: usize) -> Result<Value, Error> {
    let mine = NODE_BYTES + value.as_str().map_or(0, str::len);
    *left = left.checked_sub(mine).ok_or_else(too_large)?;
    let inner = || depth.checked_sub(1).ok_or_else(too_large);
    Ok(match value.kind() {
        ValueKind::Undefined | ValueKind::None => Value::Null,
        ValueKind::Bool | ValueKind::Number => match serde_json::to_value(value) {
            // What is infinite would be written as null.
            Ok(number) if !number.is_null() => number,
            _ => return Err(Error::from(ErrorKind::BadSerialization)),
        },
        ValueKind::String => value.as_str().unwrap_or_default().into(),
        ValueKind::Map => {
            let inner = inner()?;
            let mut fields = Map::new();
            for key in value.try_iter()? {
                let name = key.as_str().map_or_else(|| key.to_string(), str::to_owned);
                fields.insert(name, json(&value.get_item(&key)?, left, inner)?);
            }
            fields.into()
        }
        ValueKind::Seq | ValueKind::Iterable => {
            let inner = inner()?;
            value.try_iter()?.map(|entry| json(&entry, left, inner)).collect::<Result<Vec<_>, _>>()?.into()
        }
        _ => return Err(Error::from(ErrorKind::BadSerialization)),
    })
}
