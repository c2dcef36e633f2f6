//! What is sent, under GA4's own names. Everything borrows from the event.
//! Source: <https://developers.google.com/analytics/devguides/collection/protocol/ga4/reference> and
//! <https://developers.google.com/analytics/devguides/collection/ga4/uid-data>, read 2026-11-20.
//!
//! Two rules for what is longer than GA4 takes: a text for people (an item's name, a property) is cut, since its
//! beginning still tells; an id is left out, since one that is cut is another id.
//!
//! Not sent: `user_id` (ours are hashed, which would be another user than the one the tag reports), `ip_override`,
//! `user_agent` and `device` (the client is known to GA4 from the tag, with its device and place), and a city and a
//! region (we hold them only hashed, GA4 wants them in clear).

use std::{borrow::Cow, time::Duration};

use bytes::Bytes;
use rust_decimal::{Decimal, prelude::ToPrimitive as _};
use serde::{Serialize, Serializer, ser::Error as _, ser::SerializeMap as _};
use serde_json::{Value, value::RawValue};

use super::{Ga4, PURCHASE, happened_at, names};
use crate::model::{Choice, Digest, Item, Money, SealedEvent, Sensitive, Spelled, Time};

/// Source of these limits: <https://developers.google.com/analytics/devguides/collection/protocol/ga4/sending-events>,
/// read 2026-11-20.
const PARAMS_MAX: usize = 25;
const VALUE_CHARS_MAX: usize = 100;
/// A body has to be smaller.
const BODY_BYTES: usize = 130_000;
/// How many items of an event GA4 looks at. Not on that page; known from practice. What an order is worth is in
/// `value`, whatever items are left out.
const ITEMS_MAX: usize = 200;

/// The most e-mail addresses and phone numbers that are sent of one person. GA4 names no limit; this keeps the body small.
const CONTACTS_MAX: usize = 10;

/// How long after its start a session takes events. Source: as above.
const SESSION_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// How far the browser's clock may be ahead of ours: the session's start is the browser's time.
const SKEW_MAX: Duration = Duration::from_secs(10 * 60);

/// The parameters that are ours: a property of such a name is left out.
const OURS: [&str; 7] =
    ["transaction_id", "value", "currency", "items", "session_id", "engagement_time_msec", "event_id"];
/// The parameters that GA4 names and that are numbers: a property of such a name has to be one.
const NUMBERS: [&str; 2] = ["tax", "shipping"];

/// A client for rehearsals, in a form that no tag makes. Nothing of a rehearsal is recorded.
const NOBODY: &str = "0.0";

/// The body of the request that carries `batch`, which is one event.
pub(super) fn body(ga4: &Ga4, batch: &[SealedEvent]) -> Bytes {
    let Some(event) = batch.first() else { return Bytes::new() };
    // `admit` lets only mapped events of a known client in.
    let name = ga4.event_name(event).unwrap_or(event.name.as_str());
    write(event, name, client_id(event).unwrap_or_default(), None)
}

/// The body that asks about the form of `sample`.
pub(super) fn rehearsal(ga4: &Ga4, sample: &SealedEvent) -> Bytes {
    let any = ga4.common.events.values().next().map(String::as_str);
    let name = ga4.event_name(sample).or(any).unwrap_or(sample.name.as_str());
    write(sample, name, client_id(sample).unwrap_or(NOBODY), Some("ENFORCE_RECOMMENDATIONS"))
}

fn write(event: &SealedEvent, name: &str, client_id: &str, behavior: Option<&'static str>) -> Bytes {
    let mut body = Body::of(event, name, client_id, behavior);
    loop {
        let text =
            serde_json::to_vec(&body).expect("memory takes every byte, every key is a string, decimals are JSON");
        let items = &mut body.events[0].params.items;
        if text.len() < BODY_BYTES || items.is_empty() {
            return Bytes::from(text);
        }
        items.truncate(items.len() / 2);
    }
}

/// The browser, as GA4 knows it. That of the purchase will do for its refund, which often comes without one.
pub(super) fn client_id(event: &SealedEvent) -> Option<&str> {
    let id = event.context.cookies.ga_client_id.as_deref();
    let original = || event.change.as_ref()?.original.context.cookies.ga_client_id.as_deref();
    id.or_else(original).filter(|id| !id.trim().is_empty())
}

/// The session, if it is known to take the event. Google's tag names a session by the second in which it began; of an
/// id that is no such time nobody knows how old it is, and an event in a session that is over opens a new one without
/// a source.
fn session_id(event: &SealedEvent) -> Option<&str> {
    let id = event.context.cookies.ga_session_id.as_deref()?;
    let began = Some(id).filter(|id| id.bytes().all(|b| b.is_ascii_digit()))?.parse().map(Time::from_secs).ok()?;
    let at = happened_at(event);
    (at.since(began) <= SESSION_MAX && began.since(at) <= SKEW_MAX).then_some(id)
}

/// Whether GA4 takes an id of this length.
pub(super) fn fits(id: &str) -> bool {
    id.chars().count() <= VALUE_CHARS_MAX
}

/// What GA4 can tell by who it was.
pub(super) fn evidence(event: &SealedEvent) -> Vec<&'static str> {
    let user = UserData::of(event);
    let sent = [
        ("client_id", client_id(event).is_some()),
        ("session_id", session_id(event).is_some()),
        ("sha256_email_address", !user.sha256_email_address.is_empty()),
        ("sha256_phone_number", !user.sha256_phone_number.is_empty()),
        ("address", !user.address.is_empty()),
    ];
    sent.into_iter().filter_map(|(name, sent)| sent.then_some(name)).collect()
}

#[derive(Serialize)]
struct Body<'a> {
    client_id: &'a str,
    timestamp_micros: i64,
    #[serde(skip_serializing_if = "UserData::is_empty")]
    user_data: UserData<'a>,
    #[serde(skip_serializing_if = "Consent::is_empty")]
    consent: Consent,
    #[serde(skip_serializing_if = "Option::is_none")]
    validation_behavior: Option<&'static str>,
    events: [Event<'a>; 1],
}

impl<'a> Body<'a> {
    fn of(event: &'a SealedEvent, name: &'a str, client_id: &'a str, behavior: Option<&'static str>) -> Self {
        Self {
            client_id,
            timestamp_micros: happened_at(event).as_ms().saturating_mul(1000),
            user_data: UserData::of(event),
            consent: Consent::of(event),
            validation_behavior: behavior,
            events: [Event { name, params: Params::of(event, name) }],
        }
    }
}

#[derive(Serialize)]
struct Consent {
    #[serde(skip_serializing_if = "Option::is_none")]
    ad_user_data: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ad_personalization: Option<&'static str>,
}

impl Consent {
    /// Without a statement GA4 goes by what the tag last said of the client, so only what is known is said.
    fn of(event: &SealedEvent) -> Self {
        let word = |choice| match choice {
            Choice::Granted => Some("GRANTED"),
            Choice::Denied => Some("DENIED"),
            Choice::Unknown => None,
        };
        Self {
            ad_user_data: word(event.consent.ad_user_data),
            ad_personalization: word(event.consent.ad_personalization),
        }
    }

    const fn is_empty(&self) -> bool {
        self.ad_user_data.is_none() && self.ad_personalization.is_none()
    }
}

#[derive(Default, Serialize)]
struct UserData<'a> {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    sha256_email_address: Vec<Hex<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    sha256_phone_number: Vec<Hex<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    address: Vec<Address<'a>>,
}

impl<'a> UserData<'a> {
    fn of(event: &'a SealedEvent) -> Self {
        if event.consent.ad_user_data == Choice::Denied {
            return Self::default();
        }
        let user = &event.user;
        let hashes = |list: &'a [Spelled]| {
            list.iter().filter_map(|spelled| spelled.google.as_ref()).map(Hex).take(CONTACTS_MAX).collect::<Vec<_>>()
        };
        Self {
            sha256_email_address: hashes(&user.emails),
            sha256_phone_number: hashes(&user.phones),
            address: Address::of(event).into_iter().collect(),
        }
    }

    const fn is_empty(&self) -> bool {
        self.sha256_email_address.is_empty() && self.sha256_phone_number.is_empty() && self.address.is_empty()
    }
}

#[derive(Serialize)]
struct Address<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    sha256_first_name: Option<Hex<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sha256_last_name: Option<Hex<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sha256_street: Option<Hex<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    postal_code: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    country: Option<&'a str>,
}

impl<'a> Address<'a> {
    /// A place without a person is nobody's address.
    fn of(event: &'a SealedEvent) -> Option<Self> {
        let user = &event.user;
        let hex = |spelled: &'a Spelled| spelled.google.as_ref().map(Hex);
        let clear = |text: &'a Option<Sensitive<String>>| text.as_ref().map(|text| text.expose().as_str());
        let address = Self {
            sha256_first_name: hex(&user.first_name),
            sha256_last_name: hex(&user.last_name),
            sha256_street: hex(&user.street),
            postal_code: clear(&user.postal_code_clear).filter(|text| fits(text)),
            country: clear(&user.country_code),
        };
        (address.sha256_first_name.is_some() || address.sha256_last_name.is_some()).then_some(address)
    }
}

/// A digest, written as lower-case hex.
struct Hex<'a>(&'a Digest);

impl Serialize for Hex<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0.hex())
    }
}

#[derive(Serialize)]
struct Event<'a> {
    name: &'a str,
    params: Params<'a>,
}

struct Params<'a> {
    transaction_id: Option<&'a str>,
    money: Option<&'a Money>,
    items: Vec<GaItem<'a>>,
    session_id: Option<&'a str>,
    event_id: Option<&'a str>,
    properties: Vec<(String, Value)>,
}

impl<'a> Params<'a> {
    fn of(event: &'a SealedEvent, name: &str) -> Self {
        // Only a purchase must have one; elsewhere it is a courtesy, and an event's own id is there already.
        let transaction_id = match &event.transaction_id {
            Some(id) => Some(id.as_str()),
            None => (name == PURCHASE).then(|| event.transaction()),
        };
        let partial = !takes_all_back(event);
        let mut params = Self {
            transaction_id: transaction_id.filter(|id| fits(id)),
            money: event.money.as_ref().filter(|_| partial),
            items: event.items.iter().filter_map(GaItem::of).take(if partial { ITEMS_MAX } else { 0 }).collect(),
            session_id: session_id(event),
            event_id: Some(event.event_id.as_str()).filter(|id| fits(id)),
            properties: Vec::new(),
        };
        let room = PARAMS_MAX - params.count();
        let properties = event.properties.object();
        params.properties =
            properties.into_iter().filter_map(|(name, value)| property(name, value)).take(room).collect();
        params
    }

    /// How many there are, but for the properties.
    fn count(&self) -> usize {
        [
            (self.transaction_id.is_some(), 1),
            (self.money.is_some(), 2),
            (!self.items.is_empty(), 1),
            (self.session_id.is_some(), 2),
            (self.event_id.is_some(), 1),
        ]
        .into_iter()
        .filter_map(|(sent, count)| sent.then_some(count))
        .sum()
    }
}

impl Serialize for Params<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        if let Some(id) = self.transaction_id {
            map.serialize_entry("transaction_id", id)?;
        }
        if let Some(money) = self.money {
            map.serialize_entry("value", &Number(money.text()))?;
            map.serialize_entry("currency", money.currency().code())?;
        }
        if let Some(id) = self.session_id {
            map.serialize_entry("session_id", id)?;
            // How long the visitor looked at the page is not known; without any time the event joins no session.
            map.serialize_entry("engagement_time_msec", &1)?;
        }
        if let Some(id) = self.event_id {
            map.serialize_entry("event_id", id)?;
        }
        for (name, value) in &self.properties {
            map.serialize_entry(name, value)?;
        }
        if !self.items.is_empty() {
            map.serialize_entry("items", &self.items)?;
        }
        map.end()
    }
}

/// Whether a refund takes back all of its purchase by itself: GA4 then wants the transaction only. One without a value
/// does. The last of several partial ones leaves nothing either, but takes back its own part only.
fn takes_all_back(event: &SealedEvent) -> bool {
    if !event.name.is_refund() {
        return false;
    }
    let Some(refunded) = &event.money else { return true };
    event.change.as_ref().filter(|change| change.is_total()).is_some_and(|change| {
        let paid = change.original.money.as_ref();
        paid.is_some_and(|paid| paid.currency() == refunded.currency() && paid.amount() <= refunded.amount())
    })
}

/// A property as a parameter: texts and numbers under names that GA4 takes.
fn property(name: String, value: Value) -> Option<(String, Value)> {
    if !names::is_parameter(&name) || OURS.contains(&name.as_str()) {
        return None;
    }
    let value = match value {
        Value::Number(_) => value,
        Value::String(text) if NUMBERS.contains(&name.as_str()) => {
            let number = text.parse::<Decimal>().ok()?;
            serde_json::from_str(&number.normalize().to_string()).ok()?
        }
        _ if NUMBERS.contains(&name.as_str()) => return None,
        Value::String(text) if text.trim().is_empty() => return None,
        Value::String(text) => Value::String(cut(&text).into_owned()),
        Value::Bool(yes) => Value::String(yes.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => return None,
    };
    Some((name, value))
}

/// The beginning of a text, as much as GA4 takes.
fn cut(text: &str) -> Cow<'_, str> {
    if fits(text) { Cow::Borrowed(text) } else { text.chars().take(VALUE_CHARS_MAX).collect() }
}

#[derive(Serialize)]
struct GaItem<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    item_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    item_name: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    price: Option<Number>,
    /// A count: a fraction (by weight, by length) is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    quantity: Option<u64>,
}

impl<'a> GaItem<'a> {
    /// GA4 takes no item without an id or a name.
    fn of(item: &'a Item) -> Option<Self> {
        let filled = |text: &'a Option<String>| text.as_deref().filter(|text| !text.trim().is_empty());
        let item_id = filled(&item.id).filter(|id| fits(id));
        let item_name = filled(&item.name).map(cut);
        if item_id.is_none() && item_name.is_none() {
            return None;
        }
        let whole = |number: Decimal| if number.fract().is_zero() { number.to_u64() } else { None };
        let price = item.price.map(|price| Number(price.normalize().to_string()));
        Some(Self { item_id, item_name, price, quantity: item.quantity.and_then(whole) })
    }
}

/// A decimal number, digit for digit: no floating point in between.
struct Number(String);

impl Serialize for Number {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serde_json::from_str::<&RawValue>(&self.0).map_err(S::Error::custom)?.serialize(serializer)
    }
}
