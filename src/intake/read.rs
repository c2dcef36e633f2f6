//! From the JSON of an event to a [`RawEvent`]: every value is checked here, once, against the limits of the API.

use std::{cell::RefCell, net::IpAddr, time::Duration};

use rust_decimal::Decimal;
use serde_json::Value;

use super::{
    draft::{Draft, DraftContext},
    wire::{Amount, ContextWire, ItemWire, NESTING_MAX, Post},
};
use crate::{
    attribution::read_landing,
    model::{
        ClickId, ClickKind, Cookies, Currency, Digest, EventId, EventName, InvalidId, Item, Money, RawContext,
        RawEvent, Sensitive, SourceName, Time, TransactionId, Utm, VisitorId,
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

/// Checks an event that its giver cannot correct: what is not sound of it, and not what it is about, is left out and told
/// in the list; ids that may not rest in clear are known by their hash.
///
/// # Errors
/// If its name, value, currency or time is wrong, or one of those that a restatement needs is missing.
pub fn read_draft(draft: Draft, source: &SourceName, now: Time) -> (Result<RawEvent, Problem>, Vec<Problem>) {
    let left_out = RefCell::default();
    let event = Checker { reader: &Reader { base: "", source, now }, left_out: Some(&left_out) }.event(draft);
    (event, left_out.into_inner())
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
        Checker { reader: self, left_out: None }.event(self.draft(post)?)
    }

    /// What `post` says, as far as its form alone tells whether it is sound.
    ///
    /// # Errors
    /// A problem of `user` or `time`.
    pub(super) fn draft(&self, post: Post<'_>) -> Result<Draft, Problem> {
        let user = user(post.user.unwrap_or_default().0).map_err(|(field, why)| self.refuse(field, why))?;
        let time = post.time.map(|given| Time::parse(&given).map_err(|why| self.refuse("time", why))).transpose()?;
        let amount = |amount: Option<Amount>| amount.map(|Amount(amount)| amount);
        let item = |Object(item): Object<ItemWire>| Item {
            id: item.id,
            name: item.name,
            quantity: amount(item.quantity),
            price: amount(item.price),
        };
        Ok(Draft {
            event: post.event,
            event_id: post.event_id,
            time,
            visitor_id: post.visitor_id,
            transaction_id: post.transaction_id,
            value: amount(post.value),
            currency: post.currency,
            action_source: post.action_source.map(|Word(source)| source),
            items: post.items.unwrap_or_default().into_iter().map(item).collect(),
            user,
            context: context(post.context.unwrap_or_default().0),
            consent: consent(post.consent.unwrap_or_default().0),
            properties: post.properties.map(|properties| properties.0).unwrap_or_default(),
        })
    }
}

fn context(wire: ContextWire) -> DraftContext {
    let given = [
        (ClickKind::Gclid, wire.gclid),
        (ClickKind::Gbraid, wire.gbraid),
        (ClickKind::Wbraid, wire.wbraid),
        (ClickKind::Dclid, wire.dclid),
        (ClickKind::Fbclid, wire.fbclid),
        (ClickKind::Msclkid, wire.msclkid),
        (ClickKind::Ttclid, wire.ttclid),
        (ClickKind::LiFatId, wire.li_fat_id),
        (ClickKind::Epik, wire.epik),
        (ClickKind::Sccid, wire.sccid),
        (ClickKind::RdtCid, wire.rdt_cid),
        (ClickKind::Twclid, wire.twclid),
        (ClickKind::Oppref, wire.oppref),
    ];
    DraftContext {
        ip: wire.ip.map(Sensitive::new),
        user_agent: wire.user_agent.map(Sensitive::new),
        url: wire.url.map(Sensitive::new),
        referrer: wire.referrer.map(Sensitive::new),
        clicks: given.into_iter().filter_map(|(kind, value)| Some((kind, value?))).collect(),
        cookies: Cookies {
            fbc: wire.fbc,
            fbp: wire.fbp,
            ga_client_id: wire.ga_client_id,
            ga_session_id: wire.ga_session_id,
        },
        utm: wire.utm.unwrap_or_default().0,
        checkout_token: wire.checkout_token,
        cart_token: wire.cart_token,
    }
}

/// Checks the values of a draft.
struct Checker<'a> {
    reader: &'a Reader<'a>,
    /// Where to tell what was left out; without it, what would be left out is refused.
    left_out: Option<&'a RefCell<Vec<Problem>>>,
}

impl Checker<'_> {
    fn refuse(&self, field: &str, why: impl std::fmt::Display) -> Problem {
        self.reader.refuse(field, why)
    }

    /// Nothing, if something is wrong with it and may be left out.
    fn keep<T: Default>(&self, read: Result<T, Problem>) -> Result<T, Problem> {
        match (read, self.left_out) {
            (Err(problem), Some(left_out)) => {
                left_out.borrow_mut().push(problem);
                Ok(T::default())
            }
            (read, _) => read,
        }
    }

    /// An id, or the hash of one that may not rest in clear, so that it still tells one event from another.
    fn id<T: TryFrom<String, Error = InvalidId>>(
        &self,
        field: &str,
        id: Option<String>,
        posted: &Posted<'_>,
    ) -> Result<Option<T>, Problem> {
        let Some(id) = id else { return Ok(None) };
        let identifies = scrub::identifies(&id, posted);
        let hashed = self.left_out.is_some().then(|| format!("sha256.{}", Digest::of_token(&id).hex()));
        let read = if identifies { Err(self.refuse(field, IDENTIFIES)) } else { self.named(field, id) };
        match (read, hashed) {
            (Err(problem), Some(hashed)) => {
                self.keep::<()>(Err(problem))?;
                self.named(field, hashed).map(Some)
            }
            (read, _) => read.map(Some),
        }
    }

    fn named<T: TryFrom<String, Error = InvalidId>>(&self, field: &str, id: String) -> Result<T, Problem> {
        T::try_from(id).map_err(|why| self.refuse(field, why))
    }

    fn event(&self, draft: Draft) -> Result<RawEvent, Problem> {
        let Reader { source, now, .. } = *self.reader;
        let name =
            draft.event.ok_or_else(|| self.refuse("event", "is missing; it says what happened, such as purchase"))?;
        let name = EventName::new(name).map_err(|why| self.refuse("event", why))?;
        let posted = Posted::of(&draft.user);
        let given_id: Option<EventId> = self.id("event_id", draft.event_id, &posted)?;
        let transaction_id: Option<TransactionId> = self.id("transaction_id", draft.transaction_id, &posted)?;
        let visitor_id = match draft.visitor_id {
            Some(id) if scrub::identifies(&id, &posted) => Err(self.refuse("visitor_id", IDENTIFIES)),
            Some(id) => self.named("visitor_id", id).map(Some),
            None => Ok(None),
        };
        let visitor_id: Option<VisitorId> = self.keep(visitor_id)?;
        let money = self.money(draft.value, draft.currency)?;
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
        let event_id = match (given_id, &transaction_id) {
            (Some(given), _) => given,
            (None, Some(transaction)) => {
                let derived = |transaction: &TransactionId| EventId::derive(source, name.as_str(), transaction);
                let hashed = || TransactionId::new(format!("sha256.{}", Digest::of_token(transaction.as_str()).hex()));
                let id = match derived(transaction) {
                    Err(_) if self.left_out.is_some() => hashed().and_then(|hashed| derived(&hashed)),
                    id => id,
                };
                let id = id.map_err(|why| self.refuse("transaction_id", why))?;
                // There may be several of one transaction, each with a value of its own.
                let restated = restated.and_then(|value| pipeline::restatement_id(id.as_str(), &value));
                restated.unwrap_or(id)
            }
            (None, None) => EventId::mint(now),
        };
        let mut properties = draft.properties;
        let given = properties.len();
        properties.retain(|_, value| !nests_deeper(value, NESTING_MAX - 1));
        if properties.len() < given {
            let why = format!("one nests deeper than {NESTING_MAX} levels");
            self.keep::<()>(Err(self.refuse("properties", why)))?;
        }
        let size = serde_json::to_string(&properties).map_or(usize::MAX, |text| text.len());
        let properties = self.keep(if size > PROPERTIES_BYTES_MAX {
            Err(self.refuse("properties", format!("must be at most {PROPERTIES_BYTES_MAX} bytes of JSON")))
        } else {
            Ok(properties)
        })?;
        Ok(RawEvent {
            source: source.clone(),
            time: self.time(draft.time)?,
            received_at: now,
            visitor_id,
            transaction_id,
            money,
            action_source: draft.action_source,
            items: self.items(draft.items)?,
            context: self.context(draft.context, &posted)?,
            user: draft.user,
            consent: draft.consent,
            properties,
            lookup: None,
            name,
            event_id,
        })
    }

    fn time(&self, given: Option<Time>) -> Result<Time, Problem> {
        let now = self.reader.now;
        let Some(time) = given else { return Ok(now) };
        if time > now.plus(AHEAD_MAX) {
            let problem = self.refuse("time", format!("is more than 10 minutes in the future (it is {now} here)"));
            // A sale has happened by the time it is told: where its giver cannot correct it, his clock is wrong.
            return self.keep::<()>(Err(problem)).map(|()| now);
        }
        if time < now.minus(BACK_MAX) {
            return Err(self.refuse("time", format!("is more than 400 days in the past (it is {now} here)")));
        }
        Ok(time)
    }

    fn money(&self, value: Option<Decimal>, currency: Option<String>) -> Result<Option<Money>, Problem> {
        let currency = currency.filter(|code| !code.is_empty());
        let currency = currency.map(|code| Currency::parse(&code)).transpose();
        let currency = currency.map_err(|why| self.refuse("currency", why))?;
        let Some(value) = value else { return Ok(None) };
        let Some(currency) = currency else {
            return Err(self.refuse("currency", "is missing; a value needs its ISO 4217 currency, such as EUR"));
        };
        Money::new(value, currency).map(Some).map_err(|why| self.refuse("value", why))
    }

    fn items(&self, mut items: Vec<Item>) -> Result<Vec<Item>, Problem> {
        if items.len() > ITEMS_MAX {
            self.keep::<()>(Err(self.refuse("items", format!("must be at most {ITEMS_MAX} items"))))?;
            items.truncate(ITEMS_MAX);
        }
        let item = |(i, item): (usize, Item)| {
            let amount = |field: &str, amount: Option<Decimal>| match amount {
                Some(amount) if amount.is_sign_negative() && !amount.is_zero() => {
                    self.keep(Err(self.refuse(&format!("items/{i}/{field}"), "must not be negative")))
                }
                amount => Ok(amount),
            };
            let text = |field: &str, text: Option<String>| match text {
                Some(text) if text.len() > TEXT_BYTES_MAX || text.chars().any(char::is_control) => {
                    let why = format!("must be at most {TEXT_BYTES_MAX} bytes without control characters");
                    self.keep(Err(self.refuse(&format!("items/{i}/{field}"), why)))
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

    fn token(&self, field: &str, value: Option<String>, posted: &Posted<'_>) -> Result<Option<String>, Problem> {
        self.keep(match value {
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
        })
    }

    fn page(&self, field: &str, address: Option<Sensitive<String>>) -> Result<Option<Sensitive<String>>, Problem> {
        let Some(address) = address.filter(|address| !address.expose().is_empty()) else { return Ok(None) };
        let why = page_problem(address.expose()).map(|why| self.refuse(&format!("context/{field}"), why));
        self.keep(why.map_or(Ok(Some(address)), Err))
    }

    fn context(&self, draft: DraftContext, posted: &Posted<'_>) -> Result<RawContext, Problem> {
        let now = self.reader.now;
        let ip = draft.ip.filter(|ip| !ip.expose().is_empty());
        let ip = ip.map(|ip| ip.expose().trim().parse::<IpAddr>()).transpose();
        let ip = self.keep(ip.map_err(|_| self.refuse("context/ip", "must be an IPv4 or IPv6 address")))?;
        let url = self.page("url", draft.url)?;
        let mut clicks: Vec<ClickId> = Vec::new();
        for (kind, value) in draft.clicks {
            let field = kind.parameter().to_ascii_lowercase();
            if let Some(value) = self.token(&field, Some(value), posted)? {
                clicks.push(ClickId { kind, value, first_seen: None, last_seen: now });
            }
        }
        let landing = url.as_ref().map(|url| read_landing(url.expose(), now)).unwrap_or_default();
        for click in landing.clicks {
            let known = clicks.iter().any(|known| known.kind == click.kind);
            if !known && !scrub::identifies(&click.value, posted) {
                clicks.push(ClickId { first_seen: None, ..click });
            }
        }
        let utm = draft.utm;
        let cut = |value: Option<String>| value.map(|value| cut(value, TEXT_BYTES_MAX)).filter(|v| !v.is_empty());
        let utm = Utm {
            source: cut(utm.source),
            medium: cut(utm.medium),
            campaign: cut(utm.campaign),
            content: cut(utm.content),
            term: cut(utm.term),
        };
        let tokens = [("checkout_token", draft.checkout_token), ("cart_token", draft.cart_token)];
        let tokens = tokens.into_iter().map(|(field, token)| self.token(field, token, posted));
        Ok(RawContext {
            ip: ip.map(Sensitive::new),
            user_agent: cut(draft.user_agent.map(Sensitive::into_inner)).map(Sensitive::new),
            referrer: self.page("referrer", draft.referrer)?,
            url,
            clicks,
            cookies: Cookies {
                fbc: self.token("fbc", draft.cookies.fbc, posted)?,
                fbp: self.token("fbp", draft.cookies.fbp, posted)?,
                ga_client_id: self.token("ga_client_id", draft.cookies.ga_client_id, posted)?,
                ga_session_id: self.token("ga_session_id", draft.cookies.ga_session_id, posted)?,
            },
            utm: if utm.is_empty() { landing.utm } else { utm },
            checkout_tokens: tokens.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect(),
        })
    }
}

/// Whether lists and objects nest deeper than `levels`.
fn nests_deeper(value: &Value, levels: usize) -> bool {
    match value {
        Value::Array(list) => levels == 0 || list.iter().any(|value| nests_deeper(value, levels - 1)),
        Value::Object(fields) => levels == 0 || fields.values().any(|value| nests_deeper(value, levels - 1)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Raw;

    fn now() -> Time {
        Time::from_secs(1_795_165_200)
    }

    fn sale() -> Draft {
        let mut draft = Draft {
            transaction_id: Some("1001".into()),
            value: Some(Decimal::ONE),
            currency: Some("eur".into()),
            ..Draft::named("purchase")
        };
        draft.user.emails = vec![Raw::new("ada@example.com")];
        draft
    }

    fn read(draft: Draft) -> (Result<RawEvent, Problem>, Vec<String>) {
        let (event, left_out) = read_draft(draft, &SourceName::new("shop").expect("valid"), now());
        (event, left_out.into_iter().filter_map(|problem| problem.pointer).collect())
    }

    #[test]
    fn what_is_optional_and_unsound_costs_the_field_and_not_the_sale() {
        let mut draft = sale();
        draft.visitor_id = Some("ada@example.com".into());
        draft.items =
            vec![Item { id: None, name: Some("a\nb".into()), quantity: None, price: Some(-Decimal::ONE) }; 201];
        draft.context.ip = Some(Sensitive::new("unknown".into()));
        draft.context.url = Some(Sensitive::new("not an address".into()));
        draft.context.clicks = vec![(ClickKind::Gclid, "a b".into()), (ClickKind::Fbclid, "IwAR-1".into())];
        draft.context.cookies.fbp = Some("x".repeat(2000));
        draft.properties.insert("note".into(), "x".repeat(20_000).into());
        draft.time = Some(Time::from_secs(1_795_165_200 + 3600));
        let (event, left_out) = read(draft);
        let event = event.expect("a sale");
        assert_eq!(event.time, now());
        assert_eq!((event.event_id.as_str(), event.items.len()), ("shop:purchase:1001", 200));
        assert_eq!(event.context.clicks.len(), 1);
        assert!(event.visitor_id.is_none() && event.context.ip.is_none() && event.context.url.is_none());
        assert!(
            event.properties.is_empty() && event.items.iter().all(|item| item.name.is_none() && item.price.is_none())
        );
        for field in ["/visitor_id", "/items", "/items/0/name", "/context/ip", "/context/gclid", "/properties"] {
            assert!(left_out.iter().any(|pointer| pointer == field), "{field}: {left_out:?}");
        }
    }

    #[test]
    fn a_property_that_nests_deeper_than_the_api_takes_is_left_out() {
        let nested = |levels: usize| (0..levels).fold(Value::from(1), |inner, _| Value::from(vec![inner]));
        let mut draft = sale();
        draft.properties.extend([("near".to_owned(), nested(31)), ("deep".to_owned(), nested(32))]);
        let (event, left_out) = read(draft);
        let properties = event.expect("a sale").properties;
        assert_eq!(properties.keys().collect::<Vec<_>>(), ["near"]);
        assert_eq!(left_out, ["/properties"]);
    }

    #[test]
    fn ids_that_show_who_somebody_is_are_known_by_their_hash() {
        let long = Draft { transaction_id: Some("x".repeat(300)), ..sale() };
        let telling = Draft { transaction_id: Some("ada@example.com".into()), ..sale() };
        for draft in [long, telling] {
            let ids = [read(draft.clone()), read(draft)].map(|(event, left_out)| {
                assert_eq!(left_out, ["/transaction_id"]);
                let event = event.expect("a sale");
                (event.event_id, event.transaction_id.expect("kept as a hash"))
            });
            assert_eq!(ids[0], ids[1], "the same at every report");
            assert!(ids[0].1.as_str().starts_with("sha256.") && !ids[0].0.as_str().contains("ada"));
        }
        // Sound by itself, and too long with what it is told apart by.
        let (event, left_out) = read(Draft { transaction_id: Some("x".repeat(250)), ..sale() });
        let event = event.expect("a sale");
        assert!(left_out.is_empty() && event.event_id.as_str().starts_with("shop:purchase:sha256."));
        assert_eq!(event.transaction_id.map(|id| id.as_str().len()), Some(250));
    }

    #[test]
    fn what_an_event_is_about_has_to_be_sound() {
        for (field, draft) in [
            ("/event", Draft { event: Some("Order Completed".into()), ..sale() }),
            ("/event", Draft { event: None, ..sale() }),
            ("/currency", Draft { currency: Some("EURO".into()), ..sale() }),
            ("/currency", Draft { currency: None, ..sale() }),
            ("/value", Draft { value: Some(-Decimal::ONE), ..sale() }),
            ("/time", Draft { time: Some(Time::from_secs(1)), ..sale() }),
        ] {
            let (event, _) = read(draft);
            assert_eq!(event.expect_err(field).pointer.as_deref(), Some(field));
        }
    }
}
