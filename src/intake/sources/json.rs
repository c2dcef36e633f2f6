//! Reading a provider's JSON, where everything may be missing, null, empty, or a number instead of a text.

use rust_decimal::Decimal;
use serde_json::Value;

use super::Refusal;
use crate::model::{Currency, Money, Raw, RawUser, Time, parse_decimal};

/// The body as JSON.
///
/// # Errors
/// If it is none, with the place.
pub(super) fn body(bytes: &[u8]) -> Result<Value, Refusal> {
    let problem = |error: serde_json::Error| Refusal {
        reason: "malformed",
        problem: crate::web::Problem::malformed(
            format!("the body is no valid JSON (line {}, column {})", error.line(), error.column()),
            String::new(),
        ),
    };
    serde_json::from_slice(bytes).map_err(problem)
}

/// What stands at a JSON pointer, unless it is null.
pub(super) fn at<'a>(value: &'a Value, pointer: &str) -> Option<&'a Value> {
    value.pointer(pointer).filter(|value| !value.is_null())
}

/// A value as a text that says something; a number is the text it is written as.
pub(in crate::intake) fn said(value: &Value) -> Option<String> {
    let text = match value {
        Value::String(text) => text.trim().to_owned(),
        Value::Number(number) => number.to_string(),
        _ => return None,
    };
    Some(text).filter(|text| !text.is_empty())
}

/// The text that stands at a JSON pointer, if it says something.
pub(super) fn text(value: &Value, pointer: &str) -> Option<String> {
    said(at(value, pointer)?)
}

/// The first of several pointers with a text that says something.
pub(super) fn first(value: &Value, pointers: &[&str]) -> Option<String> {
    pointers.iter().find_map(|pointer| text(value, pointer))
}

/// All texts that say something, each once.
pub(super) fn all(value: &Value, pointers: &[&str]) -> Vec<String> {
    let mut texts: Vec<String> = Vec::new();
    for text in pointers.iter().filter_map(|pointer| text(value, pointer)) {
        if !texts.contains(&text) {
            texts.push(text);
        }
    }
    texts
}

/// A contact detail.
pub(super) fn raw<K>(value: &Value, pointer: &str) -> Option<Raw<K>> {
    text(value, pointer).map(Raw::new)
}

/// A whole name, as given and family name: the last word is the family's.
pub(in crate::intake) fn name(whole: &str, user: &mut RawUser) {
    let whole = whole.trim();
    let (first, last) = whole.rsplit_once(char::is_whitespace).unwrap_or((whole, ""));
    let part = |text: &str| Some(text.trim()).filter(|text| !text.is_empty()).map(str::to_owned);
    user.first_name = user.first_name.take().or_else(|| part(first).map(Raw::new));
    user.last_name = user.last_name.take().or_else(|| part(last).map(Raw::new));
}

/// The entries of a list; none if there is no list.
pub(super) fn list<'a>(value: &'a Value, pointer: &str) -> &'a [Value] {
    at(value, pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// Whether it is `true`.
pub(super) fn flag(value: &Value, pointer: &str) -> bool {
    at(value, pointer).and_then(Value::as_bool).unwrap_or_default()
}

/// A decimal number, as a text or a JSON number, exact.
///
/// # Errors
/// If something else stands there.
pub(super) fn decimal(value: &Value, pointer: &str) -> Result<Option<Decimal>, Refusal> {
    let Some(text) = text(value, pointer) else { return Ok(None) };
    parse_decimal(&text).map(Some).map_err(|why| Refusal::unreadable(pointer, format!("{pointer}: {why}")))
}

/// A whole number of the currency's smallest unit, as a number or a text, in its main unit: 4999 cents are 49.99, 4999 yen
/// are 4999.
///
/// # Errors
/// If something else stands there.
pub(super) fn minor(value: &Value, pointer: &str, currency: Currency) -> Result<Option<Decimal>, Refusal> {
    let Some(units) = decimal(value, pointer)? else { return Ok(None) };
    let units = units.is_integer().then(|| i64::try_from(units).ok()).flatten();
    let size = |units: i64| Money::from_minor(units.checked_abs()?, currency).ok();
    let money = units.and_then(|units| size(units).map(|money| (units, money.amount())));
    let why = || Refusal::unreadable(pointer, format!("{pointer}: must be a whole number of the smallest unit"));
    money.map(|(units, amount)| Some(if units < 0 { -amount } else { amount })).ok_or_else(why)
}

/// A currency.
///
/// # Errors
/// If it is missing or no ISO 4217 code.
pub(super) fn currency(value: &Value, pointer: &str) -> Result<Currency, Refusal> {
    let code = text(value, pointer).unwrap_or_default();
    Currency::parse(&code).map_err(|why| Refusal::unreadable(pointer, format!("{pointer}: {why}")))
}

/// A time: ISO 8601 with an offset, or seconds since 1970 as a number.
///
/// # Errors
/// If something else stands there.
pub(super) fn time(value: &Value, pointer: &str) -> Result<Option<Time>, Refusal> {
    let Some(text) = text(value, pointer) else { return Ok(None) };
    let seconds = text.parse().ok().map(Time::from_secs);
    let time = seconds.map_or_else(|| Time::parse(&text), Ok);
    time.map(Some).map_err(|why| Refusal::unreadable(pointer, format!("{pointer}: {why}")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn money_is_exact_in_every_form() {
        let eur = Currency::parse("EUR").expect("valid");
        let value = json!({"a": 4999, "b": "4999", "c": 12.5, "d": "x", "e": null, "f": -150, "g": "", "h": 0.1});
        let of = |pointer: &str, code: &str| {
            let currency = Currency::parse(code).expect("valid");
            minor(&value, pointer, currency).expect("reads").map(|amount| amount.to_string())
        };
        assert_eq!(of("/a", "EUR").as_deref(), Some("49.99"));
        assert_eq!(of("/b", "JPY").as_deref(), Some("4999"));
        assert_eq!(of("/b", "KWD").as_deref(), Some("4.999"));
        assert_eq!(of("/f", "EUR").as_deref(), Some("-1.50"));
        assert_eq!((of("/e", "EUR"), of("/g", "EUR"), of("/none", "EUR")), (None, None, None));
        assert!(minor(&value, "/c", eur).is_err() && minor(&value, "/d", eur).is_err());
        assert!(minor(&json!({ "least": i64::MIN }), "/least", eur).is_err(), "has no size");
        assert_eq!(decimal(&value, "/h").expect("reads").map(|d| d.to_string()).as_deref(), Some("0.1"));
        let refused = decimal(&value, "/d").expect_err("no number");
        assert_eq!((refused.problem.status, refused.problem.pointer.as_deref()), (422, Some("/d")));
    }

    #[test]
    fn what_says_nothing_is_not_there() {
        let value = json!({"a": " ", "b": 7, "c": ["x"], "t": 1_700_000_000, "u": "2023-11-14T22:13:20Z", "w": "soon"});
        assert_eq!((text(&value, "/a"), text(&value, "/b").as_deref(), text(&value, "/c")), (None, Some("7"), None));
        assert_eq!(first(&value, &["/a", "/x", "/b"]).as_deref(), Some("7"));
        assert_eq!(all(&value, &["/b", "/c/0", "/b"]), ["7", "x"]);
        assert_eq!(time(&value, "/t").expect("reads"), time(&value, "/u").expect("reads"));
        assert!(time(&value, "/w").is_err());
        assert!(list(&value, "/a").is_empty());
    }
}
