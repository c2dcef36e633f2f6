//! One call of the API: the fields that all calls share.

use std::{net::IpAddr, time::Duration};

use rust_decimal::Decimal;
use serde_json::Value;

use super::{Call, Config};
use crate::{
    intake::{
        Draft,
        sources::json::{self, said as text},
    },
    model::{Choice, Consent, Digest, InvalidDigest, Raw, RawUser, Sensitive, Time, parse_decimal},
    web::Problem,
};

/// The category of consent that Segment's own documentation names.
const AD_CONSENT: &str = "Advertising";
/// The significant digits that every double keeps.
const DOUBLE_DIGITS: u32 = 15;
/// How far ahead of our clock, and how far back, a time is accepted.
const AHEAD_MAX: Duration = Duration::from_secs(10 * 60);
const BACK_MAX: Duration = Duration::from_secs(400 * 86_400);
/// What names this relay in `integrations`.
const OURS: &str = "conversionrelay";
/// Libraries that post to the short paths from servers too, where they tell of no device.
/// Source: Analytics-CSharp, `HTTPClient.cs`, `ContextPlugin.cs` and its samples of ASP.NET; analytics-kotlin, which runs on
/// any JVM; read 2026-11-20.
const ON_SERVERS_TOO: [&str; 2] = ["Analytics-CSharp", "analytics-kotlin"];

/// One call, in a request of its own or in a batch.
pub(super) struct Message<'a> {
    /// `track`, `identify`, ….
    pub(super) kind: &'a str,
    body: &'a Value,
    /// The batch around it: its `context`, `integrations` and `sentAt` hold where the call has none.
    batch: &'a Value,
    /// The visitor's address, if it is the visitor who posts.
    client: Option<IpAddr>,
    now: Time,
}

impl<'a> Message<'a> {
    pub(super) fn new(kind: &'a str, body: &'a Value, batch: &'a Value, call: &Call<'_>) -> Self {
        let mut message = Self { kind, body, batch, client: None, now: call.now };
        // "IP Address is not collected by our libraries, but instead filled in by our servers […] for client side events
        // only", and for any with `context.direct`: that of a server is never the visitor's.
        let library = message.text("/context/library/name");
        let asks = message.at("/context/direct").and_then(Value::as_bool).unwrap_or_default();
        let library = library.as_deref();
        let server =
            library.is_some_and(|name| ON_SERVERS_TOO.contains(&name)) && message.at("/context/device").is_none();
        if (call.direct && !server) || asks || library == Some("analytics.js") {
            message.client = Some(call.client);
        }
        message
    }

    /// What stands at a JSON pointer, here or around it, unless it is null.
    pub(super) fn at(&self, pointer: &str) -> Option<&'a Value> {
        let around = ["/context/", "/context", "/integrations", "/sentAt"].iter().any(|part| pointer.starts_with(part));
        let here = self.body.pointer(pointer).filter(|value| !value.is_null());
        here.or_else(|| self.batch.pointer(pointer).filter(|value| around && !value.is_null()))
    }

    /// A text that says something; a number is the text it is written as.
    pub(super) fn text(&self, pointer: &str) -> Option<String> {
        text(self.at(pointer)?)
    }

    /// The id by which Segment deduplicates.
    pub(super) fn id(&self) -> Option<String> {
        self.text("/messageId")
    }

    /// Whom it is about.
    pub(super) fn ids(&self) -> impl Iterator<Item = String> {
        // Kept apart: a user's id may be what another's anonymous id is.
        let id = |name: &str| self.text(&format!("/{name}")).map(|id| format!("{name}:{id}"));
        [id("userId"), id("anonymousId")].into_iter().flatten()
    }

    /// Whether `integrations` says that it is to go nowhere: `All` is false, and nothing else names this relay.
    pub(super) fn is_switched_off(&self) -> bool {
        let Some(Value::Object(chosen)) = self.at("/integrations") else { return false };
        let ours = |name: &str| {
            name.bytes().filter(u8::is_ascii_alphanumeric).map(|b| b.to_ascii_lowercase()).eq(OURS.bytes())
        };
        let wanted = |value: &Value| value.as_bool().unwrap_or(value.is_object());
        match chosen.iter().find(|(name, _)| ours(name)) {
            Some((_, value)) => !wanted(value),
            None => chosen.get("All").is_some_and(|all| all == &Value::Bool(false)),
        }
    }

    /// When it happened: `timestamp`, corrected by how far `sentAt` is from our clock, as Segment does. A call that Segment
    /// or another collector has received before is corrected already.
    pub(super) fn time(&self) -> Option<Time> {
        let time = |pointer| self.at(pointer).and_then(moment);
        let (given, sent) = (time("/timestamp"), time("/sentAt"));
        let corrected =
            self.at("/receivedAt").is_some() || (given.is_some() && self.at("/originalTimestamp").is_some());
        let given = given.or_else(|| time("/originalTimestamp"))?;
        let Some(sent) = sent.filter(|_| !corrected) else { return Some(given) };
        let meant = if sent >= given { self.now.minus(sent.since(given)) } else { self.now.plus(given.since(sent)) };
        // A `sentAt` that is nonsense must not take a sound time out of what is accepted.
        let sound = |time: Time| time <= self.now.plus(AHEAD_MAX) && time >= self.now.minus(BACK_MAX);
        Some(if sound(given) && !sound(meant) { given } else { meant })
    }

    /// What the shared fields tell.
    pub(super) fn draft(&self, config: &Config) -> Draft {
        let mut draft = Draft { time: self.time(), ..Draft::default() };
        for pointer in ["/properties", "/context", "/context/consent", "/context/traits", "/traits"] {
            self.carry(pointer, &mut draft);
        }
        let user_id = self.text("/userId");
        draft.visitor_id = draft.visitor_id.or_else(|| self.text("/anonymousId"));
        // Some use the address as the user's id.
        draft.user.emails.extend(user_id.clone().filter(|id| id.contains('@')).map(Raw::new));
        draft.user.external_ids.extend(user_id.map(Raw::new));
        for pointer in ["/traits", "/context/traits"] {
            // Those of a group are not those of a person.
            if let Some(traits) = self.at(pointer).filter(|_| self.kind != "group") {
                person(traits, true, &mut draft.user);
            }
        }
        self.browser(&mut draft);
        draft.consent = draft.consent.or(self.consent(config.ad_consent.as_deref().unwrap_or(AD_CONSENT)));
        draft
    }

    /// Takes the values of an object that we know by their names; of the context, also those around the call.
    fn carry(&self, pointer: &str, draft: &mut Draft) {
        let around = Some(self.batch).filter(|_| pointer.starts_with("/context"));
        let objects =
            [Some(self.body), around].into_iter().flatten().filter_map(|value| value.pointer(pointer)?.as_object());
        for (name, value) in objects.flatten() {
            match value {
                Value::Bool(yes) => draft.carry(name, if *yes { "true" } else { "false" }),
                value => text(value).is_some_and(|value| draft.carry(name, &value)),
            };
        }
    }

    fn browser(&self, draft: &mut Draft) {
        let (context, page) = (&mut draft.context, if self.kind == "page" { "/properties" } else { "/context/page" });
        let on_page =
            |name: &str| self.text(&format!("{page}/{name}")).or_else(|| self.text(&format!("/context/page/{name}")));
        let given = self.text("/context/ip");
        // Segment's way of not telling it.
        let hidden = given.as_deref() == Some("0.0.0.0");
        let ip = given.or_else(|| self.client.map(|client| client.to_string())).filter(|_| !hidden);
        context.ip = ip.map(Sensitive::new);
        context.user_agent = self.text("/context/userAgent").map(Sensitive::new);
        context.url = on_page("url").map(Sensitive::new);
        context.referrer = on_page("referrer").map(Sensitive::new);
        let utm = &mut context.utm;
        let mut fill = |slot: fn(&mut crate::model::Utm) -> &mut Option<String>, name: &str| {
            let slot = slot(utm);
            *slot = slot.take().or_else(|| self.text(&format!("/context/campaign/{name}")));
        };
        fill(|utm| &mut utm.source, "source");
        fill(|utm| &mut utm.medium, "medium");
        fill(|utm| &mut utm.campaign, "name");
        fill(|utm| &mut utm.content, "content");
        fill(|utm| &mut utm.term, "term");
        // The address may be the canonical one, without what the visitor came with.
        if let Some(search) = on_page("search") {
            draft.landing(&format!("?{}", search.trim_start_matches('?')));
        }
        if let Some(Value::Object(chosen)) = self.at("/integrations") {
            let google = chosen.iter().filter(|(name, _)| name.starts_with("Google Analytics"));
            let client = google.filter_map(|(_, options)| text(options.get("clientId")?)).next();
            let known = &mut draft.context.cookies.ga_client_id;
            *known = known.take().or(client);
        }
    }

    /// What `context.consent` says of the category that stands for advertising.
    fn consent(&self, category: &str) -> Consent {
        let choices = self.at("/context/consent/categoryPreferences").and_then(Value::as_object);
        let choice = choices.into_iter().flatten().find(|(name, _)| name.eq_ignore_ascii_case(category));
        let choice = match choice.and_then(|(_, value)| value.as_bool()) {
            Some(true) => Choice::Granted,
            Some(false) => Choice::Denied,
            None => Choice::Unknown,
        };
        Consent { ad_user_data: choice, ad_personalization: choice }
    }
}

/// The contact details among traits or properties. Among the properties of a track that is not about a person, `name`,
/// `gender` and `city` are those of a product or a place: then `about` is false.
pub(super) fn person(traits: &Value, about: bool, user: &mut RawUser) {
    fn first(traits: &Value, names: &[&str]) -> Option<String> {
        let found = names.iter().find_map(|name| text(traits.get(*name)?));
        // A hash: nobody says how what it was made of is spelled, and hashed once more it is nobody's.
        found.filter(|text| Digest::parse(text) == Err(InvalidDigest::NotHex))
    }
    fn one<K>(traits: &Value, names: &[&str], slot: &mut Option<Raw<K>>) {
        *slot = slot.take().or_else(|| first(traits, names).map(Raw::new));
    }
    let first = |names: &[&str]| first(traits, names);
    user.emails.extend(first(&["email"]).map(Raw::new));
    // Of an address there is one spelling that all take.
    let hashed = traits.get("email").and_then(text).and_then(|email| Digest::parse(&email).ok());
    user.email_digests.extend(hashed);
    user.phones.extend(first(&["phone"]).map(Raw::new));
    one(traits, &["firstName", "first_name", "firstname"], &mut user.first_name);
    one(traits, &["lastName", "last_name", "lastname"], &mut user.last_name);
    if about {
        let whole = first(&["name"]).filter(|_| user.first_name.is_none() && user.last_name.is_none());
        whole.into_iter().for_each(|whole| json::name(&whole, user));
        one(traits, &["gender"], &mut user.gender);
        // A date, or the midnight it begins with.
        let day = first(&["birthday"]).map(|day| day.split('T').next().unwrap_or_default().to_owned());
        user.date_of_birth = user.date_of_birth.take().or_else(|| day.map(Raw::new));
    }
    let Some(address) = traits.get("address").filter(|address| address.is_object()).or(about.then_some(traits)) else {
        return;
    };
    one(address, &["street"], &mut user.street);
    one(address, &["city"], &mut user.city);
    one(address, &["state", "region"], &mut user.region);
    one(address, &["postalCode", "postal_code", "zip"], &mut user.postal_code);
    one(address, &["country"], &mut user.country);
}

/// A decimal number, as a text or a JSON number. One that a program computed in doubles (`29.990000000000002`) is what it
/// was meant to be: the fifteen digits that doubles keep.
///
/// # Errors
/// If something else stands there.
pub(super) fn amount(properties: &Value, name: &str) -> Result<Option<Decimal>, Problem> {
    let value = properties.get(name).filter(|value| !value.is_null());
    let Some(value) = value.filter(|value| value.as_str().is_none_or(|text| !text.trim().is_empty())) else {
        return Ok(None);
    };
    let wrong =
        || Problem::invalid(format!("/properties/{name}"), format!("properties.{name}: must be a decimal number"));
    let given = text(value).ok_or_else(wrong)?;
    if !value.is_f64() {
        return parse_decimal(&given).map(Some).map_err(|_| wrong());
    }
    let long = given.parse::<Decimal>().or_else(|_| Decimal::from_scientific(&given)).map_err(|_| wrong())?;
    let meant = long.round_sf(DOUBLE_DIGITS).ok_or_else(wrong)?.normalize();
    parse_decimal(&meant.to_string()).map(Some).map_err(|_| wrong())
}

/// ISO 8601, or seconds or milliseconds since 1970.
fn moment(value: &Value) -> Option<Time> {
    match value {
        Value::String(text) => Time::parse(text.trim()).ok(),
        Value::Number(number) => {
            let number = number.as_i64()?;
            Some(if number.unsigned_abs() < 100_000_000_000 { Time::from_secs(number) } else { Time::from_ms(number) })
        }
        _ => None,
    }
}
