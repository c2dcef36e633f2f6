//! Conversions: as posted, and as stored.

use std::{borrow::Cow, fmt, net::IpAddr, time::Duration};

use rust_decimal::Decimal;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::{
    ClickChoice, ClickId, Consent, Cookies, EventId, Money, RawUser, SealedUser, Sensitive, SourceName, Time,
    TransactionId, Utm, VisitorId,
};

/// The name of a conversion or step: a GA4 recommended name, or a custom `[a-z][a-z0-9_]{0,39}`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct EventName(String);

/// A text that cannot name an event.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("must match [a-z][a-z0-9_]{{0,39}}, such as purchase, sign_up or generate_lead")]
pub struct InvalidEventName;

impl EventName {
    /// Checks `text`.
    ///
    /// # Errors
    /// What the text has to be.
    pub fn new(text: impl Into<String>) -> Result<Self, InvalidEventName> {
        let text = text.into();
        let rest = text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
        let first = text.bytes().next().is_some_and(|b| b.is_ascii_lowercase());
        if first && rest && text.len() <= 40 { Ok(Self(text)) } else { Err(InvalidEventName) }
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it takes value back from an earlier conversion. There may be several for one transaction.
    #[must_use]
    pub fn is_refund(&self) -> bool {
        self.0 == "refund"
    }

    /// The name of an event that gives an earlier conversion another value.
    pub const RESTATEMENT: &str = "restatement";

    /// Whether it says what an earlier conversion of the same transaction is worth after all: a refund or a restatement.
    #[must_use]
    pub fn is_change(&self) -> bool {
        self.is_refund() || self.0 == Self::RESTATEMENT
    }
}

impl TryFrom<String> for EventName {
    type Error = InvalidEventName;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::new(text)
    }
}

impl fmt::Display for EventName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where a conversion happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ActionSource {
    /// On a web page.
    Website,
    /// In an app.
    App,
    /// By e-mail.
    Email,
    /// On the phone.
    PhoneCall,
    /// In a chat.
    Chat,
    /// In a shop or branch.
    PhysicalStore,
    /// Without a person: a renewal, a CRM stage.
    SystemGenerated,
    /// Somewhere else.
    Other,
}

/// One line of an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    /// The product's id.
    pub id: Option<String>,
    /// The product's name.
    pub name: Option<String>,
    /// How many; not negative.
    #[serde(with = "rust_decimal::serde::str_option")]
    pub quantity: Option<Decimal>,
    /// Price of one, in the event's currency.
    #[serde(with = "rust_decimal::serde::str_option")]
    pub price: Option<Decimal>,
}

/// Custom properties: one JSON object as compact text, checked and free of contact data.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Properties(Option<Sensitive<String>>);

impl Properties {
    /// Takes a JSON object. Empty means none.
    ///
    /// # Errors
    /// Only if a number in it cannot be written, which JSON that was read cannot cause.
    pub fn new(object: &serde_json::Map<String, serde_json::Value>) -> Result<Self, serde_json::Error> {
        if object.is_empty() {
            return Ok(Self(None));
        }
        serde_json::to_string(object).map(|text| Self(Some(Sensitive::new(text))))
    }

    /// The properties, in their giver's order of names.
    #[must_use]
    pub fn object(&self) -> serde_json::Map<String, serde_json::Value> {
        let text = self.0.as_ref().map(Sensitive::expose);
        text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
    }

    /// Takes from `other` the properties that are missing here.
    pub fn add(&mut self, other: &Self) {
        if other.is_empty() {
            return;
        }
        let mut object = other.object();
        object.extend(self.object());
        // What was read can be written.
        if let Ok(both) = Self::new(&object) {
            *self = both;
        }
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_none()
    }
}

/// The browser side of an event as posted: page addresses may still carry contact data in their query.
#[derive(Clone, Debug, Default)]
pub struct RawContext {
    /// The visitor's address.
    pub ip: Option<Sensitive<IpAddr>>,
    /// The visitor's browser.
    pub user_agent: Option<Sensitive<String>>,
    /// The page.
    pub url: Option<Sensitive<String>>,
    /// Where from.
    pub referrer: Option<Sensitive<String>>,
    /// Click identifiers.
    pub clicks: Vec<ClickId>,
    /// Platform cookies.
    pub cookies: Cookies,
    /// UTM values.
    pub utm: Utm,
    /// Checkout and cart tokens, by which a visit may be found.
    pub checkout_tokens: Vec<String>,
}

/// A conversion as posted: checked, not yet joined, not yet hashed. Cannot be stored.
#[derive(Clone, Debug)]
pub struct RawEvent {
    /// Who posted it.
    pub source: SourceName,
    /// What happened.
    pub name: EventName,
    /// What it is known by: given, derived or minted at the edge.
    pub event_id: EventId,
    /// When it happened.
    pub time: Time,
    /// When it reached us.
    pub received_at: Time,
    /// Whose browser.
    pub visitor_id: Option<VisitorId>,
    /// Which order, invoice or deal.
    pub transaction_id: Option<TransactionId>,
    /// What it is worth.
    pub money: Option<Money>,
    /// Where it happened, if the giver said.
    pub action_source: Option<ActionSource>,
    /// What was bought.
    pub items: Vec<Item>,
    /// Who.
    pub user: RawUser,
    /// The browser side.
    pub context: RawContext,
    /// What the visitor allowed, if the giver knows.
    pub consent: Consent,
    /// Whatever else, at most 16 KiB.
    pub properties: serde_json::Map<String, serde_json::Value>,
    /// What its source is to be asked for before it is sent, and how long its deliveries wait for that.
    pub lookup: Option<(Lookup, Duration)>,
}

/// Something that an event leaves out and its source can be asked for: the customer of an order, the contact of a deal.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lookup {
    /// Whom to ask.
    pub source: SourceName,
    /// What for, in the words of that source: kind and id of a record there. Never holds contact data.
    pub what: String,
}

/// What an event waits for.
///
/// On disk it is one text: the id of a visitor as it is, and a lookup behind U+0001, which no id may hold.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Awaited {
    /// A visit of this visitor.
    Visit(VisitorId),
    /// The answer of its source.
    Lookup(Lookup),
}

/// What begins a lookup on disk, and stands between its two parts.
const LOOKUP_MARK: char = '\u{1}';

impl Awaited {
    /// The text it is on disk.
    #[must_use]
    pub fn text(&self) -> Cow<'_, str> {
        match self {
            Self::Visit(visitor) => visitor.as_str().into(),
            Self::Lookup(Lookup { source, what }) => format!("{LOOKUP_MARK}{source}{LOOKUP_MARK}{what}").into(),
        }
    }
}

impl Serialize for Awaited {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text())
    }
}

impl<'de> Deserialize<'de> for Awaited {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let Some(lookup) = text.strip_prefix(LOOKUP_MARK) else {
            return VisitorId::new(text).map(Self::Visit).map_err(de::Error::custom);
        };
        let (source, what) = lookup.split_once(LOOKUP_MARK).ok_or_else(|| de::Error::custom("half a lookup"))?;
        let source = SourceName::new(source).map_err(de::Error::custom)?;
        Ok(Self::Lookup(Lookup { source, what: what.to_owned() }))
    }
}

/// The browser side of an event as stored.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Context {
    /// The visitor's address.
    pub ip: Option<Sensitive<IpAddr>>,
    /// The visitor's browser.
    pub user_agent: Option<Sensitive<String>>,
    /// The page, free of contact data.
    pub url: Option<Sensitive<String>>,
    /// Where from, free of contact data.
    pub referrer: Option<Sensitive<String>>,
    /// Click identifiers inside their windows: of each platform the click that each of the destinations' rules chose.
    pub clicks: Vec<ClickId>,
    /// Platform cookies.
    pub cookies: Cookies,
    /// Which click each rule chose for each platform, and why. Empty without a visitor: what came on the event goes along.
    pub choices: Vec<ClickChoice>,
}

/// How the visitor was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JoinedBy {
    /// By the visitor id on the event.
    VisitorId,
    /// By a hashed e-mail address.
    Email,
    /// By a hashed phone number.
    Phone,
    /// By the giver's customer id.
    ExternalId,
    /// By a checkout or cart token.
    CheckoutToken,
    /// By the Google Analytics client id.
    GaClientId,
    /// By Meta's browser id.
    Fbp,
    /// By Meta's lead id.
    LeadId,
    /// By a click id.
    ClickId,
    /// By the transaction: the visitor's browser saw the conversion.
    Transaction,
}

/// Which visits get the credit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attribution {
    /// UTM values of the visitor's first landing.
    pub first: Option<(Time, Utm)>,
    /// UTM values of the latest landing that had any, or those on the event.
    pub last: Option<(Time, Utm)>,
}

/// A conversion as stored and sent: joined, consented, hashed. The only form that a store takes.
///
/// ```compile_fail
/// fn stored<T: serde::Serialize>() {}
/// stored::<conversion_relay::model::RawEvent>();
/// ```
/// ```
/// fn stored<T: serde::Serialize>() {}
/// stored::<conversion_relay::model::SealedEvent>();
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealedEvent {
    /// Who posted it.
    pub source: SourceName,
    /// What happened.
    pub name: EventName,
    /// What it is known by, at every platform.
    pub event_id: EventId,
    /// When it happened.
    pub time: Time,
    /// When it reached us.
    pub received_at: Time,
    /// Whose browser: as named by the event, or as found.
    pub visitor_id: Option<VisitorId>,
    /// How the visitor was found; `None` if it was not.
    pub joined_by: Option<JoinedBy>,
    /// Which order, invoice or deal.
    pub transaction_id: Option<TransactionId>,
    /// What it is worth.
    pub money: Option<Money>,
    /// Where it happened.
    pub action_source: ActionSource,
    /// What was bought.
    pub items: Vec<Item>,
    /// Who, hashed.
    pub user: SealedUser,
    /// The browser side.
    pub context: Context,
    /// Which visits get the credit.
    pub attribution: Attribution,
    /// What the visitor allowed, at the visit or with the event.
    pub consent: Consent,
    /// Whatever else.
    pub properties: Properties,
    /// Of a refund or restatement, looked up when it is about to be sent: the conversion that it changes. Never stored.
    #[serde(skip)]
    pub change: Option<Box<Change>>,
}

/// What a refund or restatement makes of the conversion it is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The conversion, as it was accepted and completed.
    pub original: SealedEvent,
    /// What it is worth now: its value, or the latest restated one, less all refunds up to this event's; never below zero.
    /// `None` if it never had a value and was not refunded as a whole.
    pub worth: Option<Money>,
}

impl Change {
    /// Whether nothing is left of the conversion.
    #[must_use]
    pub fn is_total(&self) -> bool {
        self.worth.as_ref().is_some_and(|money| money.amount().is_zero())
    }
}

impl SealedEvent {
    /// The id of the transaction at platforms that want one: the order's, else the event's own.
    #[must_use]
    pub fn transaction(&self) -> &str {
        self.transaction_id.as_ref().map_or(self.event_id.as_str(), TransactionId::as_str)
    }

    /// Fills what is missing here from a second report of the same conversion. Returns whether anything was.
    pub fn fill_from(&mut self, other: &Self) -> bool {
        let before = self.clone();
        fill(&mut self.visitor_id, &other.visitor_id);
        fill(&mut self.transaction_id, &other.transaction_id);
        fill(&mut self.money, &other.money);
        fill(&mut self.context.ip, &other.context.ip);
        fill(&mut self.context.user_agent, &other.context.user_agent);
        fill(&mut self.context.url, &other.context.url);
        fill(&mut self.context.referrer, &other.context.referrer);
        fill(&mut self.attribution.first, &other.attribution.first);
        fill(&mut self.attribution.last, &other.attribution.last);
        fill(&mut self.joined_by, &other.joined_by);
        self.context.cookies.fill_from(&other.context.cookies);
        if self.context.clicks.is_empty() {
            self.context.clicks.clone_from(&other.context.clicks);
            self.context.choices.clone_from(&other.context.choices);
        }
        if self.items.is_empty() {
            self.items.clone_from(&other.items);
        }
        if self.properties.is_empty() {
            self.properties = other.properties.clone();
        }
        self.consent = self.consent.or(other.consent);
        self.user.fill_from(&other.user);
        *self != before
    }
}

impl SealedUser {
    fn fill_from(&mut self, other: &Self) {
        for (mine, theirs) in [(&mut self.emails, &other.emails), (&mut self.phones, &other.phones)] {
            if mine.is_empty() {
                mine.clone_from(theirs);
            }
        }
        for (mine, theirs) in [
            (&mut self.first_name, other.first_name),
            (&mut self.last_name, other.last_name),
            (&mut self.street, other.street),
            (&mut self.city, other.city),
            (&mut self.region, other.region),
            (&mut self.postal_code, other.postal_code),
            (&mut self.country, other.country),
            (&mut self.date_of_birth, other.date_of_birth),
            (&mut self.gender, other.gender),
        ] {
            if mine.is_empty() {
                *mine = theirs;
            }
        }
        if self.external_ids.is_empty() {
            self.external_ids.clone_from(&other.external_ids);
        }
        fill(&mut self.country_code, &other.country_code);
        fill(&mut self.postal_code_clear, &other.postal_code_clear);
        fill(&mut self.lead_id, &other.lead_id);
    }
}

fn fill<T: Clone>(mine: &mut Option<T>, theirs: &Option<T>) {
    if mine.is_none() {
        mine.clone_from(theirs);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_awaited_is_one_text_on_disk() {
        let visit = Awaited::Visit(VisitorId::new("v-1").expect("valid"));
        let lookup =
            Awaited::Lookup(Lookup { source: SourceName::new("crm").expect("valid"), what: "deal/7\u{1}x".into() });
        for awaited in [visit, lookup] {
            let bytes = postcard::to_allocvec(&awaited).expect("writes");
            assert_eq!(postcard::from_bytes::<Awaited>(&bytes).expect("reads"), awaited);
        }
        // As every journal before lookups wrote it.
        let old = postcard::to_allocvec(&VisitorId::new("v-1").expect("valid")).expect("writes");
        assert_eq!(postcard::from_bytes::<Awaited>(&old).expect("reads").text(), "v-1");
        for bad in ["\u{1}crm", "\u{1}C R M\u{1}x", ""] {
            let bytes = postcard::to_allocvec(bad).expect("writes");
            assert!(postcard::from_bytes::<Awaited>(&bytes).is_err());
        }
    }
}
