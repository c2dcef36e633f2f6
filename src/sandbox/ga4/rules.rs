//! What GA4 drops. Everything is said at once, in the form of the debug endpoint's messages.
//! Sources, read 2026-11-20: developers.google.com/analytics/devguides/collection/protocol/ga4 (sending-events,
//! validating-events, reference, reference/events), …/collection/ga4/uid-data.

use std::time::Duration;

use super::body::Json;
use crate::{
    model::{Currency, Time},
    sandbox::shape::{self, EMPTY_SHA256},
};

/// Source of these limits: …/ga4/sending-events, read 2026-11-20.
const EVENTS_MAX: usize = 25;
const PARAMS_MAX: usize = 25;
const NAME_CHARS_MAX: usize = 40;
const VALUE_CHARS_MAX: usize = 100;
const USER_PROPERTIES_MAX: usize = 25;
const USER_PROPERTY_NAME_CHARS_MAX: usize = 24;
const USER_PROPERTY_VALUE_CHARS_MAX: usize = 36;
/// Not on that page; known from practice.
const ITEMS_MAX: usize = 200;
/// How old an event may be. Source: …/ga4/sending-events, read 2026-11-20.
const AGE_MAX: Duration = Duration::from_secs(72 * 3600);
/// How long after its start a session takes events. Source: …/ga4/sending-events, read 2026-11-20.
const SESSION_MAX: Duration = Duration::from_secs(24 * 3600);
/// GA4 documents no limit ahead. A time that is further off than this is in another unit.
const AHEAD_MAX: Duration = Duration::from_secs(24 * 3600);

/// Source of the reserved names: …/ga4/reference, read 2026-11-20.
const RESERVED_PREFIXES: [&str; 5] = ["_", "firebase_", "ga_", "google_", "gtag."];
/// Events that Google's own tags and apps send: GA4 drops one of such a name that comes from elsewhere.
/// Source: <https://firebase.google.com/docs/reference/kotlin/com/google/firebase/analytics/FirebaseAnalytics.Event>, read
/// 2026-11-20.
const RESERVED_EVENTS: [&str; 30] = [
    "ad_activeview",
    "ad_click",
    "ad_exposure",
    "ad_query",
    "ad_reward",
    "adunit_exposure",
    "app_background",
    "app_clear_data",
    "app_exception",
    "app_remove",
    "app_store_refund",
    "app_store_subscription_cancel",
    "app_store_subscription_convert",
    "app_store_subscription_renew",
    "app_update",
    "app_upgrade",
    "dynamic_link_app_open",
    "dynamic_link_app_update",
    "dynamic_link_first_open",
    "error",
    "first_open",
    "first_visit",
    "in_app_purchase",
    "notification_dismiss",
    "notification_foreground",
    "notification_open",
    "notification_receive",
    "os_update",
    "session_start",
    "user_engagement",
];

/// The numbers among the parameters that GA4 names.
const NUMBERS: [&str; 3] = ["value", "tax", "shipping"];
/// The numbers among what GA4 names of an item.
const ITEM_NUMBERS: [&str; 4] = ["price", "quantity", "discount", "index"];

/// One thing that is wrong.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) field: String,
    pub(super) code: &'static str,
    pub(super) description: &'static str,
}

impl Message {
    pub(super) fn new(field: &str, code: &'static str, description: &'static str) -> Self {
        // A name that the sender chose may be anything.
        let field = field.chars().filter(|c| c.is_ascii_graphic()).take(128).collect();
        Self { field, code, description }
    }
}

struct Judge {
    now: Time,
    messages: Vec<Message>,
}

/// Everything that is wrong with a body.
pub(super) fn judge(body: &Json, now: Time) -> Vec<Message> {
    let mut judge = Judge { now, messages: Vec::new() };
    judge.body(body);
    judge.messages
}

impl Judge {
    fn say(&mut self, field: &str, code: &'static str, description: &'static str) {
        self.messages.push(Message::new(field, code, description));
    }

    /// The members of an object, each name once.
    fn members<'a>(&mut self, value: &'a Json, field: &str) -> &'a [(String, Json)] {
        let Json::Object(members) = value else {
            self.say(field, "VALUE_INVALID", "must be an object");
            return &[];
        };
        for (index, (name, _)) in members.iter().enumerate() {
            if members[..index].iter().any(|(earlier, _)| earlier == name) {
                self.say(&join(field, name), "NAME_DUPLICATED", "is given twice");
            }
        }
        members
    }

    fn text<'a>(&mut self, value: &'a Json, field: &str) -> Option<&'a str> {
        let text = value.text().filter(|text| !text.is_empty());
        if text.is_none() {
            self.say(field, "VALUE_INVALID", "must be a text that is not empty");
        }
        text.map(String::as_str)
    }

    fn body(&mut self, body: &Json) {
        let mut at = self.now;
        if let Some(micros) = body.get("timestamp_micros") {
            at = self.timestamp(micros, "timestamp_micros");
        }
        for (name, value) in self.members(body, "") {
            match name.as_str() {
                "client_id" | "user_id" | "user_agent" | "ip_override" => {
                    self.text(value, name);
                }
                "timestamp_micros" => {}
                "user_properties" => self.user_properties(value),
                "user_data" => self.user_data(value),
                "consent" => self.consent(value),
                "non_personalized_ads" if matches!(value, Json::Bool) => {}
                "user_location" | "device" => {
                    self.members(value, name);
                }
                "validation_behavior" => {
                    if !matches!(value.text().map(String::as_str), Some("RELAXED" | "ENFORCE_RECOMMENDATIONS")) {
                        self.say(name, "VALUE_INVALID", "RELAXED or ENFORCE_RECOMMENDATIONS");
                    }
                }
                "events" => self.events(value, at),
                "non_personalized_ads" => self.say(name, "VALUE_INVALID", "must be true or false"),
                _ => self.say(name, "VALUE_INVALID", "cannot find field"),
            }
        }
        if body.get("ip_override").and_then(Json::text).is_some_and(|ip| !shape::is_ip(ip)) {
            self.say("ip_override", "VALUE_INVALID", "not an IP address");
        }
        for required in ["client_id", "events"] {
            if body.get(required).is_none() {
                self.say(required, "VALUE_REQUIRED", "is required");
            }
        }
    }

    /// When an event was, by what is said of it.
    fn timestamp(&mut self, value: &Json, field: &str) -> Time {
        let micros = match value {
            Json::Number(number) if number.fract() == 0.0 => Some(*number),
            Json::Text(text) if shape::is_digits(text) => text.parse().ok(),
            _ => None,
        };
        let Some(micros) = micros else {
            self.say(field, "VALUE_INVALID", "must be a whole number of microseconds");
            return self.now;
        };
        #[expect(clippy::cast_possible_truncation, reason = "a time that is too large to be one is refused below")]
        let at = Time::from_ms((micros / 1000.0) as i64);
        if at < self.now.minus(AGE_MAX) {
            self.say(field, "VALUE_OUT_OF_BOUNDS", "more than 72 hours back; it counts microseconds");
        }
        if at > self.now.plus(AHEAD_MAX) {
            self.say(field, "VALUE_OUT_OF_BOUNDS", "far ahead; it counts microseconds");
        }
        at
    }

    fn user_properties(&mut self, value: &Json) {
        let properties = self.members(value, "user_properties");
        if properties.len() > USER_PROPERTIES_MAX {
            self.say("user_properties", "EXCEEDED_MAX_ENTITIES", "more than 25 user properties");
        }
        for (name, property) in properties {
            let field = join("user_properties", name);
            self.name(name, USER_PROPERTY_NAME_CHARS_MAX, &field);
            match property.get("value") {
                Some(Json::Text(text)) if text.chars().count() > USER_PROPERTY_VALUE_CHARS_MAX => {
                    self.say(&field, "VALUE_OUT_OF_BOUNDS", "longer than 36 characters");
                }
                Some(Json::Text(_) | Json::Number(_)) => {}
                _ => self.say(&field, "VALUE_REQUIRED", "wants {\"value\": a text or a number}"),
            }
        }
    }

    /// Whether `name` has the form of one.
    fn name(&mut self, name: &str, chars_max: usize, field: &str) {
        let form = name.starts_with(|c: char| c.is_ascii_alphabetic())
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if RESERVED_PREFIXES.iter().any(|prefix| name.starts_with(prefix)) {
            self.say(field, "NAME_RESERVED", "begins like a reserved name");
        } else if !form || name.len() > chars_max {
            self.say(field, "NAME_INVALID", "a letter, then letters, digits and underscores; not longer than allowed");
        }
    }

    fn consent(&mut self, value: &Json) {
        for (name, choice) in self.members(value, "consent") {
            let field = join("consent", name);
            if !matches!(name.as_str(), "ad_user_data" | "ad_personalization") {
                self.say(&field, "VALUE_INVALID", "cannot find field");
            }
            if !matches!(choice.text().map(String::as_str), Some("GRANTED" | "DENIED")) {
                self.say(&field, "VALUE_INVALID", "GRANTED or DENIED");
            }
        }
    }

    fn user_data(&mut self, value: &Json) {
        for (name, part) in self.members(value, "user_data") {
            let field = join("user_data", name);
            match (name.as_str(), part) {
                ("sha256_email_address" | "sha256_phone_number", Json::List(list)) if !list.is_empty() => {
                    list.iter().for_each(|hash| self.hash(hash, &field));
                }
                ("sha256_email_address" | "sha256_phone_number", hash) => self.hash(hash, &field),
                ("address", Json::List(list)) if !list.is_empty() => {
                    list.iter().for_each(|address| self.address(address, &field));
                }
                ("address", address) => self.address(address, &field),
                _ => self.say(&field, "VALUE_INVALID", "cannot find field"),
            }
        }
    }

    fn address(&mut self, value: &Json, parent: &str) {
        for (name, part) in self.members(value, parent) {
            let field = join(parent, name);
            match name.as_str() {
                "sha256_first_name" | "sha256_last_name" | "sha256_street" => self.hash(part, &field),
                "city" | "region" | "postal_code" => {
                    self.text(part, &field);
                }
                "country" => {
                    let country = self.text(part, &field).unwrap_or_default();
                    if country.len() != 2 || !country.bytes().all(|b| b.is_ascii_uppercase()) {
                        self.say(&field, "VALUE_INVALID", "two upper-case letters");
                    }
                }
                _ => self.say(&field, "VALUE_INVALID", "cannot find field"),
            }
        }
    }

    fn hash(&mut self, value: &Json, field: &str) {
        match value.text() {
            Some(hash) if shape::is_sha256_hex(hash) && hash != EMPTY_SHA256 => {}
            _ => self.say(field, "VALUE_INVALID", "not the SHA-256 of something in lower-case hexadecimal digits"),
        }
    }

    fn events(&mut self, value: &Json, at: Time) {
        let Json::List(events) = value else {
            return self.say("events", "VALUE_INVALID", "must be a list");
        };
        if events.is_empty() {
            self.say("events", "VALUE_REQUIRED", "must not be empty");
        }
        if events.len() > EVENTS_MAX {
            self.say("events", "EXCEEDED_MAX_ENTITIES", "more than 25 events");
        }
        for (index, event) in events.iter().enumerate() {
            self.event(event, &format!("events[{index}]"), at);
        }
    }

    fn event(&mut self, event: &Json, field: &str, mut at: Time) {
        for (name, value) in self.members(event, field) {
            let field = join(field, name);
            match name.as_str() {
                "name" | "params" => {}
                "timestamp_micros" => at = self.timestamp(value, &field),
                _ => self.say(&field, "VALUE_INVALID", "cannot find field"),
            }
        }
        let Some(name) = event.get("name").and_then(Json::text) else {
            return self.say(&join(field, "name"), "VALUE_REQUIRED", "is required");
        };
        let place = join(field, "name");
        if RESERVED_EVENTS.contains(&name.as_str()) {
            self.say(&place, "NAME_RESERVED", "is a name of Google's own events");
        }
        self.name(name, NAME_CHARS_MAX, &place);
        let field = join(field, "params");
        let none = Json::Object(Vec::new());
        let params = event.get("params").unwrap_or(&none);
        self.params(params, &field);
        if matches!(name.as_str(), "purchase" | "refund") && params.get("transaction_id").is_none() {
            self.say(&join(&field, "transaction_id"), "VALUE_REQUIRED", "is required");
        }
        self.session(params, &field, at);
    }

    fn params(&mut self, params: &Json, parent: &str) {
        let members = self.members(params, parent);
        if members.len() > PARAMS_MAX {
            self.say(parent, "EXCEEDED_MAX_ENTITIES", "more than 25 parameters");
        }
        for (name, value) in members {
            let field = join(parent, name);
            self.name(name, NAME_CHARS_MAX, &field);
            match (name.as_str(), value) {
                ("items", Json::List(items)) => self.items(items, &field),
                ("currency", Json::Text(code)) => {
                    let upper = code.bytes().all(|b| b.is_ascii_uppercase());
                    if !upper || Currency::parse(code).is_err() {
                        self.say(&field, "VALUE_INVALID", "not an ISO 4217 code");
                    }
                }
                (name, value) => self.value(value, NUMBERS.contains(&name), &field),
            }
        }
        if params.get("value").is_some() && params.get("currency").is_none() {
            self.say(&join(parent, "currency"), "VALUE_REQUIRED", "is required with a value");
        }
    }

    fn value(&mut self, value: &Json, is_number: bool, field: &str) {
        match value {
            Json::Number(_) => {}
            _ if is_number => self.say(field, "VALUE_INVALID", "must be a number"),
            Json::Text(text) if text.chars().count() > VALUE_CHARS_MAX => {
                self.say(field, "VALUE_OUT_OF_BOUNDS", "longer than 100 characters");
            }
            Json::Text(_) => {}
            _ => self.say(field, "VALUE_INVALID", "must be a text or a number"),
        }
    }

    fn items(&mut self, items: &[Json], parent: &str) {
        if items.len() > ITEMS_MAX {
            self.say(parent, "EXCEEDED_MAX_ENTITIES", "more than 200 items");
        }
        for (index, item) in items.iter().enumerate() {
            let place = format!("{parent}[{index}]");
            for (name, value) in self.members(item, &place) {
                let field = join(&place, name);
                self.name(name, NAME_CHARS_MAX, &field);
                self.value(value, ITEM_NUMBERS.contains(&name.as_str()), &field);
            }
            if item.get("item_id").is_none() && item.get("item_name").is_none() {
                self.say(&place, "VALUE_REQUIRED", "item_id or item_name is required");
            }
        }
    }

    /// A session's id is the second in which it began, as Google's own tag makes it.
    fn session(&mut self, params: &Json, parent: &str, at: Time) {
        let engagement = params.get("engagement_time_msec").map(|time| time.number().is_some_and(|ms| ms >= 1.0));
        let field = join(parent, "engagement_time_msec");
        if engagement == Some(false) {
            self.say(&field, "VALUE_OUT_OF_BOUNDS", "must be 1 or more");
        }
        let Some(session) = params.get("session_id") else { return };
        if engagement.is_none() {
            self.say(&field, "VALUE_REQUIRED", "without it the event does not join the session");
        }
        let field = join(parent, "session_id");
        let began = session.number().filter(|began| began.fract() == 0.0 && *began > 0.0);
        #[expect(clippy::cast_possible_truncation, reason = "what is too large to be a time is refused")]
        let began = began.map(|began| Time::from_secs(began as i64));
        match began {
            None => self.say(&field, "VALUE_INVALID", "must be digits"),
            Some(began) if at.since(began).max(began.since(at)) > SESSION_MAX => {
                self.say(&field, "VALUE_OUT_OF_BOUNDS", "the session began more than 24 hours before the event");
            }
            Some(_) => {}
        }
    }
}

fn join(parent: &str, name: &str) -> String {
    if parent.is_empty() { name.to_owned() } else { format!("{parent}.{name}") }
}
