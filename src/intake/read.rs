//! From the JSON of an event to a [`RawEvent`]: every value is checked here, once, against the limits of the API.

use std::{net::IpAddr, time::Duration};

use super::wire::{Amount, ContextWire, ItemWire, Post};
use crate::{
    attribution::read_landing,
    model::{
        ClickId, ClickKind, Cookies, Currency, EventId, EventName, Item, Money, RawContext, RawEvent, Sensitive,
        SourceName, Time, TransactionId, Utm, VisitorId,
    },
    pipeline,
    privacy::scrub::{self, Posted},
    web::{Object, Problem, Word, consent, cut, page_problem, user},
};

/// Click ids and cookies.
const TOKEN_BYTES_MAX: usize = 1024;
/// Lines of an order.
const ITEMS_MAX: usize = 200;
/// Custom properties as JSON.
const PROPERTIES_BYTES_MAX: usize = 16 * 1024;
/// User agents and UTM values are cut at this, product ids and names refused over it.
const TEXT_BYTES_MAX: usize = 1024;
/// Why an id is refused that would rest and travel in clear.
const IDENTIFIES: &str = "must not contain an e-mail address, nor the person's phone number, name, street or date of \
                          birth: ids are stored and sent in clear";
/// How far ahead of our clock an event may be.
const AHEAD_MAX: Duration = Duration::from_secs(10 * 60);
/// How far back an event may be.
const BACK_MAX: Duration = Duration::from_secs(400 * 86_400);

/// Collects pointers from where the event begins: empty for a single one, `/events/3` in a batch.
pub(super) struct Reader<'a> {
    pub(super) base: &'a str,
    pub(super) source: &'a SourceName,
    pub(super) now: Time,
}

impl Reader<'_> {
    fn refuse(&self, field: &str, why: impl std::fmt::Display) -> Problem {
        Problem::invalid(format!("{}/{field}", self.base), format!("{}: {why}", field.replace('/', ".")))
    }

    /// Checks every value of `post`.
    ///
    /// # Errors
    /// The first that is wrong, with its pointer.
    pub(super) fn event(&self, post: Post<'_>) -> Result<RawEvent, Problem> {
        let name =
            post.event.ok_or_else(|| self.refuse("event", "is missing; it says what happened, such as purchase"))?;
        let name = EventName::new(name).map_err(|why| self.refuse("event", why))?;
        let user = user(post.user.unwrap_or_default().0).map_err(|(field, why)| self.refuse(field, why))?;
        let posted = Posted::of(&user);
        for (field, id) in
            [("event_id", &post.event_id), ("transaction_id", &post.transaction_id), ("visitor_id", &post.visitor_id)]
        {
            if id.as_ref().is_some_and(|id| scrub::identifies(id, &posted)) {
                return Err(self.refuse(field, IDENTIFIES));
            }
        }
        let transaction_id = post.transaction_id.map(TransactionId::new).transpose();
        let transaction_id = transaction_id.map_err(|why| self.refuse("transaction_id", why))?;
        let visitor_id = post.visitor_id.map(VisitorId::new).transpose();
        let visitor_id = visitor_id.map_err(|why| self.refuse("visitor_id", why))?;
        let money = self.money(post.value, post.currency)?;
        let restates = name.as_str() == EventName::RESTATEMENT;
        if restates && transaction_id.is_none() {
            let why = "is missing; a restatement needs the transaction of the conversion that it gives another value";
            return Err(self.refuse("transaction_id", why));
        }
        let restated = match (&money, restates) {
            (Some(money), true) => Some(*money),
            (None, true) => {
                return Err(self.refuse("value", "is missing; a restatement says what the conversion is worth now"));
            }
            (_, false) => None,
        };
        let event_id = match (post.event_id, &transaction_id) {
            (Some(given), _) => EventId::new(given).map_err(|why| self.refuse("event_id", why))?,
            (None, Some(transaction)) => {
                let id = EventId::derive(self.source, name.as_str(), transaction);
                let id = id.map_err(|why| self.refuse("transaction_id", why))?;
                // There may be several of one transaction, each with a value of its own.
                let restated = restated.and_then(|value| pipeline::restatement_id(id.as_str(), &value));
                restated.unwrap_or(id)
            }
            (None, None) => EventId::mint(self.now),
        };
        let properties = post.properties.map(|properties| properties.0).unwrap_or_default();
        if serde_json::to_string(&properties).map_or(usize::MAX, |text| text.len()) > PROPERTIES_BYTES_MAX {
            return Err(self.refuse("properties", format!("must be at most {PROPERTIES_BYTES_MAX} bytes of JSON")));
        }
        Ok(RawEvent {
            source: self.source.clone(),
            time: self.time(post.time)?,
            received_at: self.now,
            visitor_id,
            transaction_id,
            money,
            action_source: post.action_source.map(|Word(source)| source),
            items: self.items(post.items.unwrap_or_default())?,
            context: self.context(post.context.unwrap_or_default().0, &posted)?,
            user,
            consent: consent(post.consent.unwrap_or_default().0),
            properties,
            name,
            event_id,
        })
    }

    fn time(&self, given: Option<String>) -> Result<Time, Problem> {
        let Some(given) = given else { return Ok(self.now) };
        let time = Time::parse(&given).map_err(|why| self.refuse("time", why))?;
        if time > self.now.plus(AHEAD_MAX) {
            return Err(self.refuse("time", format!("is more than 10 minutes in the future (it is {} here)", self.now)));
        }
        if time < self.now.minus(BACK_MAX) {
            return Err(self.refuse("time", format!("is more than 400 days in the past (it is {} here)", self.now)));
        }
        Ok(time)
    }

    fn money(&self, value: Option<Amount>, currency: Option<String>) -> Result<Option<Money>, Problem> {
        let currency = currency.filter(|code| !code.is_empty());
        let currency = currency.map(|code| Currency::parse(&code)).transpose();
        let currency = currency.map_err(|why| self.refuse("currency", why))?;
        let Some(Amount(value)) = value else { return Ok(None) };
        let Some(currency) = currency else {
            return Err(self.refuse("currency", "is missing; a value needs its ISO 4217 currency, such as EUR"));
        };
        Money::new(value, currency).map(Some).map_err(|why| self.refuse("value", why))
    }

    fn items(&self, items: Vec<Object<ItemWire>>) -> Result<Vec<Item>, Problem> {
        if items.len() > ITEMS_MAX {
            return Err(self.refuse("items", format!("must be at most {ITEMS_MAX} items")));
        }
        let item = |(i, Object(item)): (usize, Object<ItemWire>)| {
            let amount = |field: &str, amount: Option<Amount>| match amount {
                Some(Amount(amount)) if amount.is_sign_negative() && !amount.is_zero() => {
                    Err(self.refuse(&format!("items/{i}/{field}"), "must not be negative"))
                }
                amount => Ok(amount.map(|Amount(amount)| amount)),
            };
            let text = |field: &str, text: Option<String>| match text {
                Some(text) if text.len() > TEXT_BYTES_MAX || text.chars().any(char::is_control) => {
                    let why = format!("must be at most {TEXT_BYTES_MAX} bytes without control characters");
                    Err(self.refuse(&format!("items/{i}/{field}"), why))
                }
                text => Ok(text.filter(|text| !text.is_empty())),
            };
            Ok(Item {
                id: text("id", item.id)?,
                name: text("name", item.name)?,
                quantity: amount("quantity", item.quantity)?,
                price: amount("price", item.price)?,
            })
        };
        items.into_iter().enumerate().map(item).collect()
    }

    fn context(&self, wire: ContextWire, posted: &Posted<'_>) -> Result<RawContext, Problem> {
        let token = |field: &str, value: Option<String>| match value {
            Some(value) if value.len() > TOKEN_BYTES_MAX => {
                Err(self.refuse(&format!("context/{field}"), format!("must be at most {TOKEN_BYTES_MAX} bytes")))
            }
            Some(value) if value.chars().any(|c| c.is_control() || c.is_whitespace()) => {
                Err(self.refuse(&format!("context/{field}"), "must not contain spaces or control characters"))
            }
            Some(value) if scrub::identifies(&value, posted) => {
                Err(self.refuse(&format!("context/{field}"), IDENTIFIES))
            }
            value => Ok(value.filter(|value| !value.is_empty())),
        };
        let page = |field: &str, value: Option<String>| {
            let Some(value) = value.filter(|value| !value.is_empty()) else { return Ok(None) };
            let why = page_problem(&value).map(|why| self.refuse(&format!("context/{field}"), why));
            why.map_or(Ok(Some(Sensitive::new(value))), Err)
        };
        let ip = wire.ip.filter(|ip| !ip.is_empty()).map(|ip| ip.trim().parse::<IpAddr>()).transpose();
        let ip = ip.map_err(|_| self.refuse("context/ip", "must be an IPv4 or IPv6 address"))?;
        let url = page("url", wire.url)?;
        let given = [
            (ClickKind::Gclid, "gclid", wire.gclid),
            (ClickKind::Gbraid, "gbraid", wire.gbraid),
            (ClickKind::Wbraid, "wbraid", wire.wbraid),
            (ClickKind::Dclid, "dclid", wire.dclid),
            (ClickKind::Fbclid, "fbclid", wire.fbclid),
            (ClickKind::Msclkid, "msclkid", wire.msclkid),
            (ClickKind::Ttclid, "ttclid", wire.ttclid),
            (ClickKind::LiFatId, "li_fat_id", wire.li_fat_id),
            (ClickKind::Epik, "epik", wire.epik),
            (ClickKind::Sccid, "sccid", wire.sccid),
            (ClickKind::RdtCid, "rdt_cid", wire.rdt_cid),
            (ClickKind::Twclid, "twclid", wire.twclid),
            (ClickKind::Oppref, "oppref", wire.oppref),
        ];
        let mut clicks = Vec::new();
        for (kind, field, value) in given {
            if let Some(value) = token(field, value)? {
                clicks.push(ClickId { kind, value, first_seen: None, last_seen: self.now });
            }
        }
        let landing = url.as_ref().map(|url| read_landing(url.expose(), self.now)).unwrap_or_default();
        for click in landing.clicks {
            let known = clicks.iter().any(|known: &ClickId| known.kind == click.kind);
            if !known && !scrub::identifies(&click.value, posted) {
                clicks.push(ClickId { first_seen: None, ..click });
            }
        }
        let utm = wire.utm.unwrap_or_default().0;
        let cut = |value: Option<String>| value.map(|value| cut(value, TEXT_BYTES_MAX)).filter(|v| !v.is_empty());
        let utm = Utm {
            source: cut(utm.source),
            medium: cut(utm.medium),
            campaign: cut(utm.campaign),
            content: cut(utm.content),
            term: cut(utm.term),
        };
        let tokens = [token("checkout_token", wire.checkout_token)?, token("cart_token", wire.cart_token)?];
        Ok(RawContext {
            ip: ip.map(Sensitive::new),
            user_agent: cut(wire.user_agent).map(Sensitive::new),
            referrer: page("referrer", wire.referrer)?,
            url,
            clicks,
            cookies: Cookies {
                fbc: token("fbc", wire.fbc)?,
                fbp: token("fbp", wire.fbp)?,
                ga_client_id: token("ga_client_id", wire.ga_client_id)?,
                ga_session_id: token("ga_session_id", wire.ga_session_id)?,
            },
            utm: if utm.is_empty() { landing.utm } else { utm },
            checkout_tokens: tokens.into_iter().flatten().collect(),
        })
    }
}
