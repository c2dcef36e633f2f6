//! `[sources.map]`: our fields as expressions over what a provider posts.
//!
//! The language is that of minijinja expressions: `order.total`, `items[0].sku | default('none')`,
//! `'refund' if type == 'return' else 'purchase'`. Variables are the fields of the entry; `_body` is the whole entry,
//! `_headers` the headers of the request by lower-case name, `_event` the event's name as far as it is known. What is not
//! there, null or empty leaves its field as it is.

use std::{collections::BTreeMap, sync::LazyLock};

use axum::http::HeaderMap;
use minijinja::{Environment, Error, ErrorKind, Expression, UndefinedBehavior, value::Value as Mini};
use serde::Deserialize as _;
use serde_json::{Map, Value};

use crate::{
    intake::{draft::Draft, read::Reader, wire::Post},
    model::{Currency, Money, Settings, SourceName, Time, parse_decimal},
    web::{Problem, read_json},
};

/// Steps one expression may take: far more than one needs, far less than a loop.
const FUEL: u64 = 20_000;
/// Expressions are at most this long.
const EXPRESSION_BYTES_MAX: usize = 4096;
/// Headers that hold credentials, which no event may carry away.
const SECRET_HEADERS: [&str; 3] = ["authorization", "cookie", "proxy-authorization"];

static ENVIRONMENT: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Chainable);
    environment.set_fuel(Some(FUEL));
    environment.add_filter("minor", minor);
    environment.add_filter("unix", unix);
    environment
});

/// The expressions of one source.
pub struct Mapping {
    fields: Vec<(String, Expression<'static, 'static>)>,
}

impl Mapping {
    /// Reads the table `map`, if it is there: our field, as a dotted path into an event, and its expression.
    pub(crate) fn read(settings: &mut Settings) -> Option<Self> {
        const WHAT: &str = "a table of our fields and expressions: \"user.email\" = \"customer.email\"";
        settings.table("map", WHAT, |map| {
            let mut fields = Vec::new();
            expressions(map, "", &mut fields);
            Self { fields }
        })
    }

    /// The names of the fields it sets.
    pub(crate) fn fields(&self) -> impl Iterator<Item = &str> {
        self.fields.iter().map(|(field, _)| field.as_str())
    }

    /// What each expression says.
    fn say<'a>(&'a self, variables: &'a Mini) -> impl Iterator<Item = (&'a str, Result<Value, Error>)> {
        self.fields.iter().map(move |(field, expression)| {
            let value = expression.eval(variables).and_then(|value| {
                let kind = |_| Error::from(ErrorKind::BadSerialization);
                if value.is_undefined() { Ok(Value::Null) } else { serde_json::to_value(&value).map_err(kind) }
            });
            (field.as_str(), value)
        })
    }

    /// Writes what the expressions say of `body` into `said`, the JSON of an event, for whoever can correct them.
    ///
    /// # Errors
    /// The first field whose expression cannot be computed.
    pub(crate) fn write(&self, body: &Value, said: &mut Value) -> Result<(), Problem> {
        let variables = variables(body, &HeaderMap::new(), &Draft::default());
        for (field, value) in self.say(&variables) {
            // The kind alone: the rest may quote the body.
            let problem = |error: Error| {
                let detail = format!("{field}: the expression failed: {}", error.kind());
                Problem::invalid(format!("/{}", field.replace('.', "/")), detail)
            };
            let value = value.map_err(problem)?;
            if !says_nothing(&value) {
                put(said, field, value);
            }
        }
        Ok(())
    }

    /// Writes what the expressions say of `body` over `draft`. What does not fit its field is left out and told in the list.
    ///
    /// # Errors
    /// If what says what happened, when, and what it is worth cannot be computed or does not fit.
    pub(crate) fn apply(&self, body: &Value, headers: &HeaderMap, draft: &mut Draft) -> Result<Vec<Problem>, Problem> {
        let variables = variables(body, headers, draft);
        let mut said = Value::Object(Map::new());
        let mut left_out = Vec::new();
        for (field, value) in self.say(&variables) {
            let problem = |error: &Error| {
                // The kind alone: the rest may quote the body.
                let detail = format!("{field}: the expression of [sources.map] failed: {}", error.kind());
                Problem::invalid(format!("/{}", field.replace('.', "/")), detail)
            };
            match value {
                Ok(value) if says_nothing(&value) => {}
                Ok(value) => put(&mut said, field, value),
                Err(error) if is_essential(field) => return Err(problem(&error)),
                Err(error) => left_out.push(problem(&error)),
            }
        }
        loop {
            match read(&said) {
                Ok(told) => {
                    draft.overlay(told);
                    return Ok(left_out);
                }
                Err(problem) => {
                    let field = problem.pointer.clone().unwrap_or_default();
                    if is_essential(&field[1.min(field.len())..]) || !take(&mut said, &field) {
                        return Err(problem);
                    }
                    left_out.push(problem);
                }
            }
        }
    }
}

/// Reads the expressions of a table, and of tables inside it, each by its dotted path.
fn expressions(map: &mut Settings, prefix: &str, fields: &mut Vec<(String, Expression<'static, 'static>)>) {
    for name in map.names() {
        let field = format!("{prefix}{name}");
        if map.is_table(&name) {
            map.section(&name, |inner| expressions(inner, &format!("{field}."), fields));
            continue;
        }
        let Some(text) = map.text(&name) else { continue };
        if !is_known(&field) {
            map.problem(&name, "is no field of an event; see the event's JSON in README.md");
        } else if text.len() > EXPRESSION_BYTES_MAX {
            map.problem(&name, format!("must be at most {EXPRESSION_BYTES_MAX} bytes"));
        } else {
            match ENVIRONMENT.compile_expression_owned(text) {
                Ok(expression) => fields.push((field, expression)),
                Err(error) => {
                    map.problem(&name, format!("is no expression: {}", error.detail().unwrap_or("syntax error")))
                }
            }
        }
    }
}

/// The fields an expression may set.
const FIELDS: [&str; 13] = [
    "event",
    "event_id",
    "time",
    "visitor_id",
    "transaction_id",
    "value",
    "currency",
    "action_source",
    "items",
    "user",
    "context",
    "consent",
    "properties",
];
/// Those that are tables.
const TABLES: [(&str, &[&str]); 3] = [
    (
        "user",
        &[
            "email",
            "phone",
            "email_sha256",
            "phone_sha256",
            "first_name",
            "last_name",
            "street",
            "city",
            "region",
            "postal_code",
            "country",
            "date_of_birth",
            "gender",
            "external_id",
            "lead_id",
        ],
    ),
    (
        "context",
        &[
            "ip",
            "user_agent",
            "url",
            "referrer",
            "gclid",
            "gbraid",
            "wbraid",
            "dclid",
            "fbclid",
            "msclkid",
            "ttclid",
            "li_fat_id",
            "epik",
            "sccid",
            "rdt_cid",
            "twclid",
            "oppref",
            "fbc",
            "fbp",
            "ga_client_id",
            "ga_session_id",
            "checkout_token",
            "cart_token",
            "utm",
        ],
    ),
    ("consent", &["ad_user_data", "ad_personalization"]),
];
const UTM: [&str; 5] = ["source", "medium", "campaign", "content", "term"];

/// Whether an expression may set this field.
pub(crate) fn is_known(field: &str) -> bool {
    match field.split_once('.') {
        None => FIELDS.contains(&field) && !TABLES.iter().any(|(table, _)| *table == field),
        Some(("properties", name)) => !name.is_empty(),
        Some(("context", utm)) if utm.starts_with("utm.") => UTM.contains(&&utm[4..]),
        Some((table, name)) => {
            TABLES.iter().any(|(known, names)| *known == table && names.contains(&name) && name != "utm")
        }
    }
}

/// Whether an event is not worth anything without it, or counts as another.
fn is_essential(field: &str) -> bool {
    matches!(field, "event" | "event_id" | "time" | "transaction_id" | "value" | "currency")
}

fn says_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.trim().is_empty(),
        _ => false,
    }
}

/// What expressions may name.
fn variables(body: &Value, headers: &HeaderMap, draft: &Draft) -> Mini {
    // JSON always fits.
    let mini = |value: &Value| Mini::deserialize(value).unwrap_or_default();
    let mut names: BTreeMap<String, Mini> = BTreeMap::new();
    if let Value::Object(fields) = body {
        names.extend(fields.iter().map(|(name, value)| (name.clone(), mini(value))));
    }
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let headers: Mini = headers
        .keys()
        .filter(|name| !SECRET_HEADERS.contains(&name.as_str()))
        .filter_map(|name| Some((name.to_string(), text(name.as_str())?)))
        .collect();
    names.insert("_body".to_owned(), mini(body));
    names.insert("_headers".to_owned(), headers);
    names.insert("_event".to_owned(), draft.event.clone().map_or_else(Mini::default, Mini::from));
    names.into_iter().collect()
}

/// Writes `value` at the dotted path `field`.
pub(crate) fn put(said: &mut Value, field: &str, value: Value) {
    let mut place = said;
    for name in field.split('.') {
        if !place.is_object() {
            *place = Value::Object(Map::new());
        }
        place = &mut place[name];
    }
    // Ids and other texts of ours that are numbers there.
    *place = match value {
        Value::Number(number) if !matches!(field, "value" | "user.lead_id") && !field.starts_with("properties.") => {
            number.to_string().into()
        }
        value => value,
    };
}

/// Takes what is at or around `pointer` out; whether there was anything.
fn take(said: &mut Value, pointer: &str) -> bool {
    let mut pointer = pointer;
    while let Some((parent, name)) = pointer.rsplit_once('/') {
        if let Some(Value::Object(fields)) = said.pointer_mut(parent)
            && fields.remove(name).is_some()
        {
            return true;
        }
        pointer = parent;
    }
    false
}

/// The event that `said` is the JSON of, as far as it goes.
fn read(said: &Value) -> Result<Draft, Problem> {
    let bytes = serde_json::to_vec(said).map_err(|_| Problem::internal())?;
    let post: Post<'_> = read_json(&bytes, "")?;
    let source = SourceName::new("map").map_err(|_| Problem::internal())?;
    Reader { base: "", source: &source, now: Time::default() }.draft(post)
}

/// `4999 | minor('EUR')` is `49.99`.
fn minor(units: &Mini, currency: &str) -> Result<String, Error> {
    let wrong = |_| Error::from(ErrorKind::InvalidOperation);
    let currency = Currency::parse(currency).map_err(wrong)?;
    let units = parse_decimal(&units.to_string()).map_err(wrong)?;
    let units = units.is_integer().then(|| i64::try_from(units).ok()).flatten();
    let units = units.ok_or_else(|| Error::from(ErrorKind::InvalidOperation))?;
    Money::from_minor(units, currency).map(|money| money.text()).map_err(wrong)
}

/// `1700000000 | unix` is a time; milliseconds are told by their size.
fn unix(number: &Mini) -> Result<String, Error> {
    let number: i64 = number.to_string().trim().parse().map_err(|_| Error::from(ErrorKind::InvalidOperation))?;
    let milliseconds = if number.abs() < 100_000_000_000 { number.saturating_mul(1000) } else { number };
    Ok(Time::from_ms(milliseconds).to_string())
}
