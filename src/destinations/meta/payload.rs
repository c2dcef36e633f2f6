//! What is sent, under Meta's own names. Everything borrows from the events and is written straight into the body.
//! Source: <https://developers.facebook.com/documentation/ads-commerce/conversions-api/parameters>, read 2026-11-20.

use std::{borrow::Cow, net::IpAddr};

use bytes::Bytes;
use rust_decimal::{Decimal, prelude::ToPrimitive as _};
use serde::{Serialize, Serializer, ser::Error as _};
use serde_json::{Map, Value, value::RawValue};

use super::{Meta, config::Ldu, fbc, happened_at};
use crate::model::{
    ActionSource, Choice, Digest, EventName, Item, Money, SealedEvent, Sensitive, Spelled, TransactionId,
};

/// A typical event's share of the body: what to reserve before writing.
const EVENT_BYTES: usize = 1024;

/// Sets of `user_data` keys that are too little: an event with these alone, or with fewer, is invalid (2804050).
/// Source: <https://developers.facebook.com/documentation/ads-commerce/conversions-api/best-practices>,
/// read 2026-11-20.
const TOO_LITTLE: [&[&str]; 4] = [
    &["ct", "country", "st", "zp", "ge", "client_user_agent"],
    &["db", "client_user_agent"],
    &["fn", "ge"],
    &["ln", "ge"],
];

/// The keys that are ours: a custom property of such a name is left out of `custom_data`, as a value of a wrong shape
/// there makes Meta refuse the batch; some are looked at where they belong. Meta's other names (`content_name`,
/// `search_string`, …) are free for properties.
const OURS: [&str; 12] = [
    "value",
    "currency",
    "order_id",
    "content_ids",
    "contents",
    "content_type",
    "num_items",
    "event_source",
    "lead_event_source",
    "data_processing_options",
    "data_processing_options_country",
    "data_processing_options_state",
];

/// The most bytes of the name of a CRM.
const CRM_NAME_BYTES_MAX: usize = 256;

/// The one event name that `num_items` is defined for.
/// Source: <https://developers.facebook.com/documentation/ads-commerce/conversions-api/parameters/custom-data>,
/// read 2026-11-20.
const COUNTS_ITEMS: &str = "InitiateCheckout";

/// The body of the request that carries `batch`.
pub(super) fn body(meta: &Meta, batch: &[SealedEvent]) -> Bytes {
    let mut text = Vec::with_capacity((batch.len() + 1) * EVENT_BYTES);
    let body = Body {
        data: Data { meta, batch },
        test_event_code: meta.config.test_event_code.as_deref(),
        partner_agent: meta.config.partner_agent.as_deref(),
    };
    serde_json::to_writer(&mut text, &body).expect("memory takes every byte, every key is a string, decimals are JSON");
    Bytes::from(text)
}

/// Whether Meta can match the event to anybody.
pub(super) fn identifies_somebody(event: &SealedEvent) -> bool {
    let user = UserData::of(event);
    !TOO_LITTLE.iter().any(|set| user.keys().all(|key| set.contains(&key)))
}

/// The keys of `user_data` that are sent of this event.
pub(super) fn evidence(event: &SealedEvent) -> Vec<&'static str> {
    UserData::of(event).keys().collect()
}

/// The action source to send. Meta asks more of two sources than we may have, and refuses the batch without it:
/// `website` needs the page and the browser, `app` needs `app_data` about the device, which we never hold. Such an
/// event goes as `system_generated` if it is a CRM's and as `other` if not.
/// Source: <https://developers.facebook.com/documentation/ads-commerce/conversions-api/best-practices> and
/// <https://developers.facebook.com/documentation/ads-commerce/conversions-api/app-events>, read 2026-11-20.
fn action_source(event: &SealedEvent, properties: &Map<String, Value>) -> &'static str {
    let on_a_page = web_address(event.context.url.as_ref()).is_some() && user_agent(event).is_some();
    match event.action_source {
        ActionSource::Website if on_a_page => "website",
        ActionSource::Email => "email",
        ActionSource::PhoneCall => "phone_call",
        ActionSource::Chat => "chat",
        ActionSource::PhysicalStore => "physical_store",
        ActionSource::SystemGenerated => "system_generated",
        ActionSource::Website | ActionSource::App if is_from_crm(event, properties) => "system_generated",
        ActionSource::Website | ActionSource::App | ActionSource::Other => "other",
    }
}

/// Whether the event is a stage of a lead, as a CRM reports it.
/// Source: the payload specification of
/// <https://developers.facebook.com/documentation/ads-commerce/conversions-api/conversion-leads-integration>,
/// read 2026-11-20.
fn is_from_crm(event: &SealedEvent, properties: &Map<String, Value>) -> bool {
    let about_a_lead = |name: &EventName| name.as_str().split('_').any(|word| word == "lead");
    let said =
        || crm_name(properties).is_some() || properties.get("event_source").is_some_and(|source| source == "crm");
    event.user.lead_id.is_some()
        || (event.action_source == ActionSource::SystemGenerated && (about_a_lead(&event.name) || said()))
}

/// What the event's giver calls its CRM: the property `lead_event_source`.
fn crm_name(properties: &Map<String, Value>) -> Option<&str> {
    let name = properties.get("lead_event_source")?.as_str()?.trim();
    (1..=CRM_NAME_BYTES_MAX).contains(&name.len()).then_some(name)
}

fn user_agent(event: &SealedEvent) -> Option<&str> {
    event.context.user_agent.as_ref().map(|text| text.expose().as_str()).filter(|text| !text.trim().is_empty())
}

/// The address of a page, if it is one of the web.
fn web_address(address: Option<&Sensitive<String>>) -> Option<&str> {
    let text = address?.expose().as_str();
    (text.starts_with("https://") || text.starts_with("http://")).then_some(text)
}

#[derive(Serialize)]
struct Body<'a> {
    data: Data<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    test_event_code: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    partner_agent: Option<&'a str>,
}

/// The events, each made when it is written.
struct Data<'a> {
    meta: &'a Meta,
    batch: &'a [SealedEvent],
}

impl Serialize for Data<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.batch.iter().map(|event| Event::of(self.meta, event)))
    }
}

#[derive(Serialize)]
struct Event<'a> {
    event_name: &'a str,
    event_time: i64,
    event_id: &'a str,
    action_source: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    event_source_url: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    referrer_url: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    opt_out: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data_processing_options: Option<&'static [&'static str]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data_processing_options_country: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data_processing_options_state: Option<u32>,
    user_data: UserData<'a>,
    #[serde(skip_serializing_if = "CustomData::is_empty")]
    custom_data: CustomData<'a>,
}

impl<'a> Event<'a> {
    fn of(meta: &'a Meta, event: &'a SealedEvent) -> Self {
        // `admit` lets only mapped events in.
        let event_name = meta.event_name(event).unwrap_or(event.name.as_str());
        let properties = event.properties.object();
        let processing = Processing::of(&properties).unwrap_or(Processing { ldu: meta.config.ldu, unlimited: false });
        Self {
            event_name,
            event_time: happened_at(event).as_secs(),
            event_id: event.event_id.own(event.name.as_str()),
            action_source: action_source(event, &properties),
            event_source_url: web_address(event.context.url.as_ref()),
            referrer_url: web_address(event.context.referrer.as_ref()),
            opt_out: (event.consent.ad_personalization == Choice::Denied).then_some(true),
            data_processing_options: processing.options(),
            data_processing_options_country: processing.ldu.map(|ldu| ldu.country),
            data_processing_options_state: processing.ldu.map(|ldu| ldu.state),
            user_data: UserData::of(event),
            custom_data: CustomData::of(event, event_name, properties),
        }
    }
}

/// How Meta is to process an event: what its giver said of it, else what is configured for all.
struct Processing {
    ldu: Option<Ldu>,
    /// Whether it is said that nothing limits it.
    unlimited: bool,
}

impl Processing {
    /// What the properties `data_processing_options`, `…_country` and `…_state` say, if they are what Meta takes.
    fn of(properties: &Map<String, Value>) -> Option<Self> {
        let options = properties.get("data_processing_options")?.as_array()?;
        if options.is_empty() {
            return Some(Self { ldu: None, unlimited: true });
        }
        let number = |name: &str| properties.get(name).and_then(Value::as_u64).and_then(|it| u32::try_from(it).ok());
        let (country, state) = (number("data_processing_options_country"), number("data_processing_options_state"));
        let place = match (country.unwrap_or_default(), state.unwrap_or_default()) {
            (country @ (0 | 1), state @ (0 | 1000)) => Ldu { country, state },
            // Anywhere else Meta finds out for itself.
            _ => Ldu { country: 0, state: 0 },
        };
        (options.len() == 1 && options[0] == "LDU").then_some(Self { ldu: Some(place), unlimited: false })
    }

    fn options(&self) -> Option<&'static [&'static str]> {
        match self {
            Self { ldu: Some(_), .. } => Some(&["LDU"]),
            Self { unlimited: true, .. } => Some(&[]),
            Self { .. } => None,
        }
    }
}

#[derive(Serialize)]
struct UserData<'a> {
    #[serde(skip_serializing_if = "Hashes::is_empty")]
    em: Hashes<'a>,
    #[serde(skip_serializing_if = "Hashes::is_empty")]
    ph: Hashes<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    r#fn: Option<Hex<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ln: Option<Hex<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    db: Option<Hex<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ge: Option<Hex<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ct: Option<Hex<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    st: Option<Hex<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    zp: Option<Hex<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    country: Option<Hex<'a>>,
    #[serde(skip_serializing_if = "<[_]>::is_empty", serialize_with = "external_ids")]
    external_id: &'a [Digest],
    #[serde(skip_serializing_if = "Option::is_none")]
    client_ip_address: Option<IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_user_agent: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fbc: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fbp: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lead_id: Option<u64>,
}

impl<'a> UserData<'a> {
    fn of(event: &'a SealedEvent) -> Self {
        let user = &event.user;
        let hex = |spelled: &'a Spelled| spelled.meta.as_ref().map(Hex);
        Self {
            em: Hashes(&user.emails),
            ph: Hashes(&user.phones),
            r#fn: hex(&user.first_name),
            ln: hex(&user.last_name),
            db: hex(&user.date_of_birth),
            ge: hex(&user.gender),
            ct: hex(&user.city),
            st: hex(&user.region),
            zp: hex(&user.postal_code),
            country: hex(&user.country),
            external_id: &user.external_ids,
            client_ip_address: event.context.ip.as_ref().map(|ip| ip.expose().to_canonical()),
            client_user_agent: user_agent(event),
            fbc: fbc::fbc(event),
            fbp: fbc::fbp(event),
            lead_id: user.lead_id,
        }
    }

    /// The names of what will be sent.
    fn keys(&self) -> impl Iterator<Item = &'static str> {
        let keys = [
            ("em", !self.em.is_empty()),
            ("ph", !self.ph.is_empty()),
            ("fn", self.r#fn.is_some()),
            ("ln", self.ln.is_some()),
            ("db", self.db.is_some()),
            ("ge", self.ge.is_some()),
            ("ct", self.ct.is_some()),
            ("st", self.st.is_some()),
            ("zp", self.zp.is_some()),
            ("country", self.country.is_some()),
            ("external_id", !self.external_id.is_empty()),
            ("client_ip_address", self.client_ip_address.is_some()),
            ("client_user_agent", self.client_user_agent.is_some()),
            ("fbc", self.fbc.is_some()),
            ("fbp", self.fbp.is_some()),
            ("lead_id", self.lead_id.is_some()),
        ];
        keys.into_iter().filter_map(|(key, sent)| sent.then_some(key))
    }
}

/// Those of a person's details that Meta's spelling has a hash of.
struct Hashes<'a>(&'a [Spelled]);

impl Hashes<'_> {
    fn is_empty(&self) -> bool {
        self.0.iter().all(|spelled| spelled.meta.is_none())
    }
}

impl Serialize for Hashes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().filter_map(|spelled| spelled.meta.as_ref()).map(Hex))
    }
}

fn external_ids<S: Serializer>(digests: &[Digest], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(digests.iter().map(Hex))
}

/// A digest, written as lower-case hex without a string in between.
struct Hex<'a>(&'a Digest);

impl Serialize for Hex<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut text = [0; 64];
        for (pair, byte) in text.chunks_exact_mut(2).zip(self.0.bytes()) {
            pair[0] = b"0123456789abcdef"[usize::from(byte >> 4)];
            pair[1] = b"0123456789abcdef"[usize::from(byte & 15)];
        }
        serializer.serialize_str(std::str::from_utf8(&text).map_err(S::Error::custom)?)
    }
}

#[derive(Serialize)]
struct CustomData<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<Number>,
    #[serde(skip_serializing_if = "Option::is_none")]
    currency: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    order_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    content_ids: Vec<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    contents: Vec<Content<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content_type: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    num_items: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    event_source: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lead_event_source: Option<Cow<'a, str>>,
    #[serde(flatten)]
    properties: Map<String, Value>,
}

impl<'a> CustomData<'a> {
    fn of(event: &'a SealedEvent, event_name: &str, mut properties: Map<String, Value>) -> Self {
        let contents: Vec<_> = event.items.iter().filter_map(Content::of).collect();
        let content_ids: Vec<_> = contents.iter().map(|content| content.id).collect();
        let from_crm = is_from_crm(event, &properties);
        let crm = crm_name(&properties).map(|name| Cow::Owned(name.to_owned()));
        let crm = crm.unwrap_or(Cow::Borrowed(event.source.as_str()));
        let group = properties.get("content_type").is_some_and(|kind| kind == "product_group");
        let counted = properties.get("num_items").and_then(|it| it.as_u64().or_else(|| it.as_str()?.parse().ok()));
        properties.retain(|name, _| !OURS.contains(&name.as_str()));
        Self {
            value: event.money.as_ref().map(|money| Number(money.text())),
            currency: event.money.as_ref().map(Money::currency).map(|currency| currency.code()),
            order_id: event.transaction_id.as_ref().map(TransactionId::as_str),
            content_type: (!contents.is_empty()).then_some(if group { "product_group" } else { "product" }),
            content_ids,
            contents,
            num_items: (event_name == COUNTS_ITEMS).then(|| counted.or_else(|| count(&event.items))).flatten(),
            event_source: from_crm.then_some("crm"),
            lead_event_source: from_crm.then_some(crm),
            properties,
        }
    }

    /// Whether there is nothing to say. A content type or an id never comes without contents.
    fn is_empty(&self) -> bool {
        self.value.is_none()
            && self.order_id.is_none()
            && self.contents.is_empty()
            && self.num_items.is_none()
            && self.event_source.is_none()
            && self.properties.is_empty()
    }
}

#[derive(Serialize)]
struct Content<'a> {
    id: &'a str,
    /// Meta takes whole numbers; a fraction (by weight, by length) is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    quantity: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    item_price: Option<Number>,
}

impl<'a> Content<'a> {
    /// An item without an id is in no catalogue.
    fn of(item: &'a Item) -> Option<Self> {
        let item_price = item.price.map(|price| Number(price.normalize().to_string()));
        Some(Self { id: item.id.as_deref()?, quantity: item.quantity.and_then(whole), item_price })
    }
}

/// How many things were bought; `None` without items, or if one is not counted in whole numbers.
fn count(items: &[Item]) -> Option<u64> {
    let quantities = items.iter().map(|item| item.quantity.map_or(Some(1), whole));
    let sum = quantities.into_iter().try_fold(0, |sum: u64, quantity| sum.checked_add(quantity?))?;
    (!items.is_empty()).then_some(sum)
}

fn whole(number: Decimal) -> Option<u64> {
    if number.fract().is_zero() { number.to_u64() } else { None }
}

/// A decimal number, digit for digit: no floating point in between.
struct Number(String);

impl Serialize for Number {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serde_json::from_str::<&RawValue>(&self.0).map_err(S::Error::custom)?.serialize(serializer)
    }
}
