//! One event as Meta's clients tell it.
//!
//! What Meta takes and we have no place for is left out: `app_data`, `attribution_data`, `original_event_data`,
//! `messaging_channel`, `customer_segmentation`, `store_data`, `advanced_measurement_table`.

use rust_decimal::Decimal;
use serde_json::{Map, Value};

use super::{
    answer::Refused,
    names::{PURCHASE, ours},
    user::{self, without_appendix},
};
use crate::{
    intake::{Draft, sources::json::said},
    model::{ActionSource, Choice, Item, Sensitive, Time, parse_decimal},
};

/// Keys of `custom_data` that are fields of ours.
const FIELDS: [&str; 5] = ["value", "currency", "order_id", "contents", "content_ids"];

/// Where the Java SDK leaves custom properties when it posts to a gateway.
/// Source: facebook-java-business-sdk, `CAPIGatewayIngressRequest.java`, which registers no adapter for them; read
/// 2026-11-20.
const NESTED: [&str; 2] = ["custom_properties", "customProperties"];

/// Keys of an event that say how Meta is to process it. They go along as properties; to Meta the destination sends them
/// where they were.
const PROCESSING: [&str; 3] =
    ["data_processing_options", "data_processing_options_country", "data_processing_options_state"];

/// What the event says, and what of it is of no use.
///
/// # Errors
/// The field that is missing or not what it has to be.
pub(super) fn draft(event: &Map<String, Value>) -> Result<(Draft, Vec<String>), Refused> {
    let mut notes = Vec::new();
    let theirs = text(event, "event_name").ok_or_else(|| Refused::field("event_name", "is missing"))?;
    let name = ours(&theirs).ok_or_else(|| {
        let why = "must be 1 to 40 letters, digits, spaces or underscores, with a letter first: it becomes a name such as \
                   submit_application here";
        Refused::field("event_name", why)
    })?;
    let mut draft = Draft {
        event_id: text(event, "event_id"),
        time: Some(time(event)?),
        action_source: action_source(event)?,
        ..Draft::named(name.as_str())
    };
    let page = |key: &str| text(event, key).map(|page| Sensitive::new(without_appendix(&page).to_owned()));
    draft.context.url = page("event_source_url");
    draft.context.referrer = page("referrer_url");
    match event.get("opt_out") {
        Some(Value::Bool(true)) => draft.consent.ad_personalization = Choice::Denied,
        Some(Value::String(text)) if text == "true" => draft.consent.ad_personalization = Choice::Denied,
        _ => {}
    }
    let kept = PROCESSING.iter().filter_map(|key| Some(((*key).to_owned(), present(event, key)?.clone())));
    draft.properties.extend(kept);
    let person = object(event, "user_data")?.ok_or_else(|| Refused::field("user_data", "is missing"))?;
    user::fill(&mut draft, person, &mut notes);
    if let Some(custom) = object(event, "custom_data")? {
        fill(&mut draft, custom, &mut notes)?;
    }
    // The gateway's documentation has them beside `custom_data`.
    if draft.items.is_empty() {
        draft.items = items(event, &mut notes);
    }
    if name.is_refund() {
        // Given back is counted from zero, however its giver counts.
        draft.value = draft.value.map(|value| value.abs());
    }
    if theirs == PURCHASE && draft.value.is_none() {
        return Err(Refused::no_value());
    }
    Ok((draft, notes))
}

/// What stands at a key, unless it is null.
fn present<'a>(object: &'a Map<String, Value>, key: &str) -> Option<&'a Value> {
    object.get(key).filter(|value| !value.is_null())
}

/// The texts of a value or of a list of them that say something; a number is the text it is written as.
pub(super) fn texts(value: &Value) -> Vec<String> {
    match value {
        Value::Array(list) => list.iter().filter_map(said).collect(),
        value => said(value).into_iter().collect(),
    }
}

fn text(object: &Map<String, Value>, key: &str) -> Option<String> {
    object.get(key).and_then(said)
}

fn object<'a>(event: &'a Map<String, Value>, key: &str) -> Result<Option<&'a Map<String, Value>>, Refused> {
    match present(event, key) {
        None => Ok(None),
        Some(Value::Object(object)) => Ok(Some(object)),
        // What PHP makes of an object without fields.
        Some(Value::Array(list)) if list.is_empty() => Ok(None),
        Some(_) => Err(Refused::field(key, "must be an object")),
    }
}

/// Seconds since 1970, as a number or a text.
fn time(event: &Map<String, Value>) -> Result<Time, Refused> {
    let given = text(event, "event_time").ok_or_else(|| Refused::field("event_time", "is missing"))?;
    let seconds = parse_decimal(&given).ok().and_then(|seconds| i64::try_from(seconds.trunc()).ok());
    // Thirteen digits are milliseconds, which no clock shows as seconds before the year 5138.
    match seconds.filter(|seconds| (0..100_000_000_000).contains(seconds)) {
        Some(seconds) => Ok(Time::from_secs(seconds)),
        None => Err(Refused::field("event_time", "must be the seconds since 1970, UTC, as a whole number")),
    }
}

fn action_source(event: &Map<String, Value>) -> Result<Option<ActionSource>, Refused> {
    let Some(given) = text(event, "action_source") else { return Ok(None) };
    Ok(Some(match given.as_str() {
        "website" => ActionSource::Website,
        "app" => ActionSource::App,
        "email" => ActionSource::Email,
        "phone_call" => ActionSource::PhoneCall,
        // A chat on Meta's own messengers.
        "chat" | "business_messaging" => ActionSource::Chat,
        "physical_store" => ActionSource::PhysicalStore,
        "system_generated" => ActionSource::SystemGenerated,
        "other" => ActionSource::Other,
        _ => {
            let why = "must be website, app, email, phone_call, chat, physical_store, system_generated, \
                       business_messaging or other";
            return Err(Refused::field("action_source", why));
        }
    }))
}

/// Reads `custom_data`: what has no field of its own is a property, or leads to the visitor and the click.
fn fill(draft: &mut Draft, custom: &Map<String, Value>, notes: &mut Vec<String>) -> Result<(), Refused> {
    if let Some(value) = present(custom, "value").filter(|value| **value != "") {
        let why = "must be a decimal number";
        draft.value = Some(number(value).ok_or_else(|| Refused::field("custom_data.value", why))?);
    }
    draft.currency = text(custom, "currency");
    draft.transaction_id = text(custom, "order_id");
    draft.items = items(custom, notes);
    for (key, value) in custom {
        match value {
            Value::Null => {}
            _ if FIELDS.contains(&key.as_str()) => {}
            Value::Object(own) if NESTED.contains(&key.as_str()) => {
                own.iter().for_each(|(key, value)| property(draft, key, value));
            }
            value => property(draft, key, value),
        }
    }
    Ok(())
}

/// Takes a property, or where it leads to.
fn property(draft: &mut Draft, key: &str, value: &Value) {
    let text = match value {
        Value::Null => return,
        Value::Bool(yes) => Some(yes.to_string()),
        value => said(value),
    };
    if !text.is_some_and(|text| draft.carry(key, &text)) {
        draft.properties.insert(key.to_owned(), value.clone());
    }
}

/// A decimal number. What a program added up in binary is taken for what it meant: 59.970000000000006 is 59.97.
fn number(value: &Value) -> Option<Decimal> {
    let given = said(value)?;
    parse_decimal(&given).ok().or_else(|| {
        let binary = value.as_f64().or_else(|| given.parse().ok()).filter(|number| number.is_finite())?;
        parse_decimal(&format!("{binary:.10}")).ok().map(|number| number.normalize())
    })
}

/// `contents`, or else `content_ids`.
fn items(custom: &Map<String, Value>, notes: &mut Vec<String>) -> Vec<Item> {
    let unpacked;
    let contents = match present(custom, "contents") {
        Some(Value::String(text)) => {
            unpacked = serde_json::from_str(text).unwrap_or(Value::Null);
            &unpacked
        }
        Some(value) => value,
        None => &Value::Null,
    };
    let amount = |content: &Map<String, Value>, key: &str| present(content, key).and_then(number);
    let item = |content: &Value| {
        let content = content.as_object()?;
        Some(Item {
            id: text(content, "id"),
            name: text(content, "title"),
            quantity: amount(content, "quantity"),
            price: amount(content, "item_price"),
        })
    };
    let items: Vec<Item> = contents.as_array().into_iter().flatten().filter_map(item).collect();
    if items.is_empty() && present(custom, "contents").is_some_and(|contents| *contents != Value::Array(Vec::new())) {
        notes.push("custom_data.contents: must be a list of objects".to_owned());
    }
    if !items.is_empty() {
        return items;
    }
    let ids = present(custom, "content_ids").map(texts).unwrap_or_default();
    ids.into_iter().map(|id| Item { id: Some(id), name: None, quantity: None, price: None }).collect()
}
