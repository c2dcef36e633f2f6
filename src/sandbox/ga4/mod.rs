//! The stand-in for the Measurement Protocol of Google Analytics 4. Like the real one it answers 204 to whatever it
//! receives, also to what it then drops; what it dropped and why is in the control API (`stats`: `refused`,
//! `latest_refusals`). Its debug endpoint says what is wrong, records nothing and does not look at the secret.
//! Source: developers.google.com/analytics/devguides/collection/protocol/ga4, read 2026-11-20.

mod body;
mod rules;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use axum::{
    body::{Body, Bytes},
    extract::{RawQuery, State},
    http::StatusCode,
    response::Response,
};
use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};

use super::{
    FaultMode, Platform, Sandbox,
    fault::Met,
    json,
    ledger::{Recorded, key},
};
use body::Json;
use rules::Message;

/// A body has to be smaller.
/// Source: …/ga4/sending-events, read 2026-11-20.
const BODY_BYTES: usize = 130_000;
/// The one event that GA4 recognises when it comes again, by its transaction.
/// Source: …/ga4/reference/events, read 2026-11-20.
const PURCHASE: &str = "purchase";

/// `POST /ga4/mp/collect`.
pub(super) async fn collect(State(sandbox): State<Arc<Sandbox>>, RawQuery(query): RawQuery, body: Bytes) -> Response {
    let met = sandbox.meet(Platform::Ga4);
    let query = query.unwrap_or_default();
    let status = match met.mode {
        FaultMode::Outage => StatusCode::SERVICE_UNAVAILABLE,
        FaultMode::Throttle => StatusCode::TOO_MANY_REQUESTS,
        FaultMode::ErrorRate => met.status(),
        _ => StatusCode::NO_CONTENT,
    };
    // A dead secret is no reason for GA4 to say anything.
    let refusal = match met.mode {
        FaultMode::None => take_in(&sandbox, &met, &query, &body).err(),
        mode => Some((mode.as_str(), String::new())),
    };
    if let Some((reason, field)) = refusal {
        sandbox.ledger(Platform::Ga4).refuse(sandbox.now(), reason, &field);
    }
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    met.apply(response).await
}

/// `POST /ga4/debug/mp/collect`.
pub(super) async fn debug(State(sandbox): State<Arc<Sandbox>>, RawQuery(query): RawQuery, body: Bytes) -> Response {
    let met = sandbox.meet(Platform::Ga4);
    let messages = match Address::read(&query.unwrap_or_default()) {
        Ok(_) => read(&sandbox, &body).err().unwrap_or_default(),
        Err((_, field)) => {
            vec![Message::new(&field, "VALUE_INVALID", "the measurement id is G- with letters and digits")]
        }
    };
    let messages = messages.iter().map(|message| {
        json!({"fieldPath": message.field, "description": message.description, "validationCode": message.code})
    });
    let response = match met.mode {
        FaultMode::Outage => json(StatusCode::SERVICE_UNAVAILABLE, &json!({})),
        FaultMode::Throttle => json(StatusCode::TOO_MANY_REQUESTS, &json!({})),
        FaultMode::ErrorRate => json(met.status(), &json!({})),
        _ => json(StatusCode::OK, &json!({"validationMessages": messages.collect::<Vec<Value>>()})),
    };
    met.apply(response).await
}

/// Why nothing of a request is taken, and the field.
type Refusal = (&'static str, String);

/// What the query says.
struct Address {
    measurement_id: String,
    has_secret: bool,
}

impl Address {
    fn read(query: &str) -> Result<Self, Refusal> {
        let mut address = Self { measurement_id: String::new(), has_secret: false };
        for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
            match &*name {
                "measurement_id" => address.measurement_id = value.into_owned(),
                "api_secret" => address.has_secret = !value.is_empty(),
                _ => return Err(("unknown_field", "query".to_owned())),
            }
        }
        let id = address.measurement_id.strip_prefix("G-").unwrap_or_default();
        let is_id = !id.is_empty() && id.bytes().all(|b| b.is_ascii_digit() || b.is_ascii_uppercase());
        if is_id { Ok(address) } else { Err(("measurement_id", "measurement_id".to_owned())) }
    }
}

/// Reads and judges a body.
fn read(sandbox: &Sandbox, body: &[u8]) -> Result<Json, Vec<Message>> {
    if body.len() >= BODY_BYTES {
        return Err(vec![Message::new("", "VALUE_OUT_OF_BOUNDS", "the body must be smaller than 130 kB")]);
    }
    let Ok(read) = serde_json::from_slice::<Json>(body) else {
        return Err(vec![Message::new("", "VALUE_INVALID", "unable to parse the payload: no JSON")]);
    };
    let messages = rules::judge(&read, sandbox.now());
    if messages.is_empty() { Ok(read) } else { Err(messages) }
}

/// An event, as far as the books need it.
#[derive(Deserialize)]
struct Event {
    name: String,
    #[serde(default)]
    params: Params,
}

#[derive(Default, Deserialize)]
struct Params {
    transaction_id: Option<String>,
    event_id: Option<String>,
}

/// Takes the events in, but for those that a fault hits.
fn take_in(sandbox: &Sandbox, met: &Met, query: &str, body: &[u8]) -> Result<(), Refusal> {
    let address = Address::read(query)?;
    if !address.has_secret {
        return Err(("no_secret", "api_secret".to_owned()));
    }
    read(sandbox, body).map_err(|messages| {
        let first = messages.into_iter().next();
        first.map_or(("VALUE_INVALID", String::new()), |first| (first.code, first.field))
    })?;
    let unreadable = || ("VALUE_INVALID", "events".to_owned());
    let mut whole: Value = serde_json::from_slice(body).map_err(|_| unreadable())?;
    let Value::Array(events) = whole["events"].take() else { return Err(unreadable()) };
    let (now, sent) = (sandbox.now(), events.len());
    let to = Arc::<str>::from(address.measurement_id);
    for (index, event) in events.into_iter().enumerate() {
        let known = Event::deserialize(&event).map_err(|_| unreadable())?;
        let transaction = known.params.transaction_id.unwrap_or_default();
        let id = known.params.event_id.unwrap_or_default();
        whole["events"] = Value::Array(vec![event]);
        let alone = serde_json::value::to_raw_value(&whole).map_err(|_| unreadable())?;
        let original = if sent == 1 { as_sent(body) } else { None };
        let mut ledger = sandbox.ledger(Platform::Ga4);
        if met.poisons(&[&transaction, &id], alone.get()) {
            ledger.refuse(now, FaultMode::Poison.as_str(), &format!("events[{index}]"));
            continue;
        }
        if met.drops(&[&transaction, &id], index + 1 == sent) {
            *ledger.stats.failed_afterwards.entry(FaultMode::Partial.as_str()).or_default() += 1;
            continue;
        }
        let dedupe = (known.name == PURCHASE).then(|| key((&*to, &*transaction)));
        let id = Arc::from(if transaction.is_empty() { id } else { transaction });
        let event = Arc::<RawValue>::from(original.unwrap_or(alone));
        ledger.accept(dedupe, Recorded { at: now, to: Arc::clone(&to), id, event, duplicate: false }, &sandbox.config);
    }
    Ok(())
}

/// The body, byte for byte.
fn as_sent(body: &[u8]) -> Option<Box<RawValue>> {
    RawValue::from_string(String::from_utf8(body.to_vec()).ok()?).ok()
}
