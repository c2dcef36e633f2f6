//! The fields that expressions may set, and how what they give becomes the JSON of one.

use serde_json::{Map, Value, json};

use super::filters::unix_time;
use crate::model::parse_decimal;

/// The fields that are no tables. `item.…` are those of each entry of `items`.
const FIELDS: [&str; 9] =
    ["event", "event_id", "time", "visitor_id", "transaction_id", "value", "currency", "action_source", "items"];
/// The fields of a table.
const TABLES: [(&str, &[&str]); 5] = [
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
        ],
    ),
    ("context.utm", &["source", "medium", "campaign", "content", "term"]),
    ("consent", &["ad_user_data", "ad_personalization"]),
    ("item", &ITEM),
];
/// What an item has.
pub(super) const ITEM: [&str; 4] = ["id", "name", "quantity", "price"];

/// Whether it is a field of an event.
pub(super) fn is_known(field: &str) -> bool {
    if let Some(name) = field.strip_prefix("properties.") {
        return name.split('.').all(|part| !part.is_empty());
    }
    match field.rsplit_once('.') {
        None => FIELDS.contains(&field),
        Some((table, name)) => TABLES.iter().any(|(known, names)| *known == table && names.contains(&name)),
    }
}

/// Whether an event is not worth anything without it, or counts as another.
pub(super) fn is_essential(field: &str) -> bool {
    matches!(field, "event" | "event_id" | "time" | "transaction_id" | "value" | "currency")
}

/// What an expression gave for `field`, in the form the field has; nothing if it says nothing.
pub(super) fn shaped(field: &str, value: Value) -> Option<Value> {
    match field {
        "value" | "item.quantity" | "item.price" => amount(value),
        "time" => match text(value)? {
            Value::String(text) => {
                // Eight digits are a day.
                let number = text.len() > 8 && text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
                let time = number.then(|| unix_time(&text)).flatten();
                Some(time.map_or(Value::String(text), |time| time.to_string().into()))
            }
            other => Some(other),
        },
        "user.email" | "user.phone" | "user.email_sha256" | "user.phone_sha256" | "user.external_id" => match value {
            Value::Array(list) => {
                let list: Vec<Value> = list.into_iter().filter_map(text).collect();
                Some(list).filter(|list| !list.is_empty()).map(Value::from)
            }
            one => text(one),
        },
        "items" => items(value),
        "consent.ad_user_data" | "consent.ad_personalization" => match text(value)? {
            Value::Bool(true) => Some("granted".into()),
            Value::Bool(false) => Some("denied".into()),
            Value::String(word) => match word.to_ascii_lowercase().as_str() {
                "true" | "yes" | "1" => Some("granted".into()),
                "false" | "no" | "0" => Some("denied".into()),
                word => Some(word.into()),
            },
            other => Some(other),
        },
        field if field.starts_with("properties.") => {
            let says = !value.is_null() && value.as_str().is_none_or(|text| !text.trim().is_empty());
            says.then_some(value)
        }
        _ => text(value),
    }
}

/// Whole numbers above this are no longer told apart: two ids of 20 digits would be one.
const EXACT_MAX: f64 = 9_007_199_254_740_992.0;

/// A text that says something, without spaces around it; a number is the text it is written as. One that was too long to be
/// kept exact stays a number, which no field with a text takes.
fn text(value: Value) -> Option<Value> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.trim()).filter(|text| !text.is_empty()).map(Value::from),
        Value::Number(number) if number.is_f64() && number.as_f64().is_some_and(|double| double.abs() >= EXACT_MAX) => {
            Some(number.into())
        }
        Value::Number(number) => {
            let text = number.to_string();
            Some(text.strip_suffix(".0").unwrap_or(&text).into())
        }
        other => Some(other),
    }
}

/// An amount. What an expression computed in binary fractions is what it means in decimals: 15 digits of a double are
/// exact.
fn amount(value: Value) -> Option<Value> {
    match value {
        Value::Number(number) if number.is_f64() => {
            let fifteen = number.as_f64().and_then(|double| parse_decimal(&format!("{double:.14e}")).ok());
            Some(fifteen.map_or(Value::Number(number), |decimal| decimal.normalize().to_string().into()))
        }
        Value::String(_) => text(value),
        Value::Null => None,
        other => Some(other),
    }
}

/// The entries of a list that are items, each with the fields that an item has.
fn items(value: Value) -> Option<Value> {
    let Value::Array(entries) = value else { return Some(value).filter(|value| !value.is_null()) };
    let item = |entry: Value| {
        let Value::Object(mut fields) = entry else { return None };
        let named = ITEM.iter().filter_map(|name| {
            let value = shaped(&format!("item.{name}"), fields.remove(*name)?)?;
            Some(((*name).to_owned(), value))
        });
        Some(Value::Object(named.collect::<Map<_, _>>())).filter(|item| *item != json!({}))
    };
    Some(entries.into_iter().filter_map(item).collect::<Vec<_>>().into())
}
