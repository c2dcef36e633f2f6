//! An event as somebody tells it, whatever the form it came in: before its values are checked, joined and hashed.

use rust_decimal::Decimal;
use serde_json::{Map, Value, json};

use crate::{
    attribution::{ReadCookies, read_cookies, read_landing},
    model::{
        ActionSource, Choice, ClickKind, Consent, Cookies, Digest, EventId, Item, Raw, RawUser, Sensitive, SourceName,
        Time, TransactionId, Utm,
    },
};

/// An event before its values are checked. Holds contact details as they came: it can be neither stored nor printed.
#[derive(Clone, Default)]
pub struct Draft {
    /// What happened: one of our event names.
    pub event: Option<String>,
    /// What it is to be known by; if it is missing, its source, name and transaction tell.
    pub event_id: Option<String>,
    /// When it happened.
    pub time: Option<Time>,
    /// Whose browser.
    pub visitor_id: Option<String>,
    /// Which order, invoice or deal.
    pub transaction_id: Option<String>,
    /// What it is worth, in the main unit of `currency`.
    pub value: Option<Decimal>,
    /// ISO 4217 code, in any case.
    pub currency: Option<String>,
    /// Where it happened.
    pub action_source: Option<ActionSource>,
    /// What was bought.
    pub items: Vec<Item>,
    /// Who.
    pub user: RawUser,
    /// The browser side.
    pub context: DraftContext,
    /// What the visitor allowed.
    pub consent: Consent,
    /// Whatever else; sent to platforms in clear.
    pub properties: Map<String, Value>,
}

/// The browser side of a [`Draft`].
#[derive(Clone, Default)]
pub struct DraftContext {
    /// The visitor's address.
    pub ip: Option<Sensitive<String>>,
    /// The visitor's browser.
    pub user_agent: Option<Sensitive<String>>,
    /// The page it happened on.
    pub url: Option<Sensitive<String>>,
    /// Where from.
    pub referrer: Option<Sensitive<String>>,
    /// Click identifiers, byte for byte.
    pub clicks: Vec<(ClickKind, String)>,
    /// Platform cookies.
    pub cookies: Cookies,
    /// UTM values.
    pub utm: Utm,
    /// The shop's token of the checkout, by which a visit may be found.
    pub checkout_token: Option<String>,
    /// The shop's token of the cart, likewise.
    pub cart_token: Option<String>,
}

impl Draft {
    /// An event of this name.
    #[must_use]
    pub fn named(event: impl Into<String>) -> Self {
        Self { event: Some(event.into()), ..Self::default() }
    }

    /// Gives the event the id that every report of what the giver knows by `key` has. A key that is too long, or would show
    /// who somebody is, is known by its hash: it still has to tell sources and events apart.
    pub(super) fn known_by(&mut self, source: &SourceName, key: String) {
        let Some(event) = &self.event else { return };
        let derived = |key: &str| TransactionId::new(key).and_then(|key| EventId::derive(source, event, &key));
        let id = derived(&key).or_else(|_| derived(&format!("sha256.{}", Digest::of_token(&key).hex())));
        self.event_id = Some(id.map_or(key, |id| id.to_string()));
    }

    /// Takes a value that a shop or form carries along under a name of its own: the visitor id (`visitor_id`, `cr_vid`),
    /// click ids, platform cookies, UTM values, checkout and cart tokens, consent, Meta's lead id, the landing page's address.
    /// Leading underscores, case and `-` for `_` make no difference; what is known already stays. Whether the name is one of
    /// these.
    pub fn carry(&mut self, name: &str, value: &str) -> bool {
        let value = value.trim();
        let plain = name.trim().trim_start_matches('_').to_ascii_lowercase().replace('-', "_");
        let text = || Some(value.to_owned()).filter(|value| !value.is_empty());
        if let Some((kind, _)) = ClickKind::ALL.iter().find(|(_, parameter)| parameter.eq_ignore_ascii_case(&plain)) {
            self.click(*kind, value);
            return true;
        }
        let context = &mut self.context;
        let slot = match plain.as_str() {
            "visitor_id" | "cr_vid" | "relay_visitor_id" => &mut self.visitor_id,
            "fbc" => &mut context.cookies.fbc,
            "fbp" => &mut context.cookies.fbp,
            "ga_client_id" => &mut context.cookies.ga_client_id,
            "ga_session_id" => &mut context.cookies.ga_session_id,
            "utm_source" => &mut context.utm.source,
            "utm_medium" => &mut context.utm.medium,
            "utm_campaign" => &mut context.utm.campaign,
            "utm_content" => &mut context.utm.content,
            "utm_term" => &mut context.utm.term,
            "checkout_token" => &mut context.checkout_token,
            "cart_token" => &mut context.cart_token,
            "landing_page" | "landing_site" | "landing_url" => {
                self.landing(value);
                return true;
            }
            "ad_user_data" | "ad_personalization" => {
                let choice = match value.to_ascii_lowercase().as_str() {
                    "granted" | "true" | "yes" => Choice::Granted,
                    "denied" | "false" | "no" => Choice::Denied,
                    _ => Choice::Unknown,
                };
                let consent = &mut self.consent;
                let mine =
                    if plain == "ad_user_data" { &mut consent.ad_user_data } else { &mut consent.ad_personalization };
                *mine = mine.or(choice);
                return true;
            }
            "lead_id" => {
                let digits = value.strip_prefix("l:").unwrap_or(value);
                let lead = digits.parse().ok().filter(|_| (15..=17).contains(&digits.len()));
                self.user.lead_id = self.user.lead_id.or(lead);
                return true;
            }
            _ => return self.cookie(&format!("_{plain}"), value),
        };
        if slot.is_none() {
            *slot = text();
        }
        true
    }

    /// A cookie of a platform's tag, in that platform's form.
    fn cookie(&mut self, name: &str, value: &str) -> bool {
        if !(name == "_ga" || name.starts_with("_ga_") || name.starts_with("_gcl_")) {
            return false;
        }
        let ReadCookies { clicks, cookies, .. } = read_cookies([(name, value)], Time::default());
        self.context.cookies.fill_from(&cookies);
        clicks.into_iter().for_each(|click| self.click(click.kind, &click.value));
        true
    }

    /// Takes a click id, unless one of its kind is known.
    pub fn click(&mut self, kind: ClickKind, value: &str) {
        let clicks = &mut self.context.clicks;
        if kind.names_a_click() && !value.is_empty() && clicks.iter().all(|(known, _)| *known != kind) {
            clicks.push((kind, value.to_owned()));
        }
    }

    /// Takes the visitor, the click ids and UTM values of the address that the visitor landed on, a whole one or a path. Its UTM values
    /// count together: only if none is known.
    pub fn landing(&mut self, address: &str) {
        let landing = read_landing(address, Time::default());
        // A tracked link hands its visitor over there: without a tag it is all that leads back to the click.
        if self.visitor_id.is_none() {
            self.visitor_id = landing.visitor_id;
        }
        landing.clicks.into_iter().for_each(|click| self.click(click.kind, &click.value));
        if self.context.utm.is_empty() {
            self.context.utm = landing.utm;
        }
    }

    /// Takes from `other` what is missing here.
    pub fn fill_from(&mut self, other: Self) {
        let mine = std::mem::replace(self, other);
        self.overlay(mine);
    }

    /// Takes everything that `other` says, over what is known.
    pub fn overlay(&mut self, other: Self) {
        fn over<T>(mine: &mut Option<T>, theirs: Option<T>) {
            if theirs.is_some() {
                *mine = theirs;
            }
        }
        fn all<T>(mine: &mut Vec<T>, theirs: Vec<T>) {
            if !theirs.is_empty() {
                *mine = theirs;
            }
        }
        over(&mut self.event, other.event);
        over(&mut self.event_id, other.event_id);
        over(&mut self.time, other.time);
        over(&mut self.visitor_id, other.visitor_id);
        over(&mut self.transaction_id, other.transaction_id);
        over(&mut self.value, other.value);
        over(&mut self.currency, other.currency);
        over(&mut self.action_source, other.action_source);
        all(&mut self.items, other.items);
        let (user, theirs) = (&mut self.user, other.user);
        all(&mut user.emails, theirs.emails);
        all(&mut user.phones, theirs.phones);
        all(&mut user.email_digests, theirs.email_digests);
        all(&mut user.phone_digests, theirs.phone_digests);
        over(&mut user.first_name, theirs.first_name);
        over(&mut user.last_name, theirs.last_name);
        over(&mut user.street, theirs.street);
        over(&mut user.city, theirs.city);
        over(&mut user.region, theirs.region);
        over(&mut user.postal_code, theirs.postal_code);
        over(&mut user.country, theirs.country);
        over(&mut user.date_of_birth, theirs.date_of_birth);
        over(&mut user.gender, theirs.gender);
        all(&mut user.external_ids, theirs.external_ids);
        all(&mut user.external_id_digests, theirs.external_id_digests);
        let (given, digests) = (&mut user.meta_digests, theirs.meta_digests);
        all(&mut given.phones, digests.phones);
        over(&mut given.first_name, digests.first_name);
        over(&mut given.last_name, digests.last_name);
        over(&mut given.city, digests.city);
        over(&mut given.region, digests.region);
        over(&mut given.postal_code, digests.postal_code);
        over(&mut given.country, digests.country);
        over(&mut given.date_of_birth, digests.date_of_birth);
        over(&mut given.gender, digests.gender);
        over(&mut user.lead_id, theirs.lead_id);
        let (context, theirs) = (&mut self.context, other.context);
        over(&mut context.ip, theirs.ip);
        over(&mut context.user_agent, theirs.user_agent);
        over(&mut context.url, theirs.url);
        over(&mut context.referrer, theirs.referrer);
        for (kind, value) in theirs.clicks {
            context.clicks.retain(|(known, _)| *known != kind);
            context.clicks.push((kind, value));
        }
        let mut cookies = theirs.cookies;
        cookies.fill_from(&context.cookies);
        context.cookies = cookies;
        let (utm, theirs_utm) = (&mut context.utm, theirs.utm);
        over(&mut utm.source, theirs_utm.source);
        over(&mut utm.medium, theirs_utm.medium);
        over(&mut utm.campaign, theirs_utm.campaign);
        over(&mut utm.content, theirs_utm.content);
        over(&mut utm.term, theirs_utm.term);
        over(&mut context.checkout_token, theirs.checkout_token);
        over(&mut context.cart_token, theirs.cart_token);
        self.consent = other.consent.or(self.consent);
        self.properties.extend(other.properties);
    }

    /// What it says, as the JSON of `POST /v1/events`, contact details in clear: for the eyes of the operator who gave them
    /// (`preview`), and for tests.
    #[must_use]
    pub fn shown(&self) -> Value {
        fn one<K>(raw: Option<&Raw<K>>) -> Value {
            raw.map(Raw::expose).into()
        }
        fn list<K>(raw: &[Raw<K>]) -> Value {
            raw.iter().map(Raw::expose).collect::<Vec<_>>().into()
        }
        let secret = |text: &Option<Sensitive<String>>| text.as_ref().map(Sensitive::expose).cloned();
        let hex = |digests: &[crate::model::Digest]| digests.iter().map(crate::model::Digest::hex).collect::<Vec<_>>();
        let item = |item: &Item| {
            json!({
                "id": item.id,
                "name": item.name,
                "quantity": item.quantity.map(|number| number.to_string()),
                "price": item.price.map(|number| number.to_string()),
            })
        };
        let (user, context) = (&self.user, &self.context);
        let given = &user.meta_digests;
        let digest = |digest: &Option<crate::model::Digest>| digest.as_ref().map(crate::model::Digest::hex);
        let mut shown = json!({
            "event": self.event,
            "event_id": self.event_id,
            "time": self.time.map(|time| time.to_string()),
            "visitor_id": self.visitor_id,
            "transaction_id": self.transaction_id,
            "value": self.value.map(|value| value.to_string()),
            "currency": self.currency,
            "action_source": self.action_source,
            "items": self.items.iter().map(item).collect::<Vec<_>>(),
            "user": {
                "email": list(&user.emails),
                "phone": list(&user.phones),
                "email_sha256": hex(&user.email_digests),
                "phone_sha256": hex(&user.phone_digests),
                "first_name": one(user.first_name.as_ref()),
                "last_name": one(user.last_name.as_ref()),
                "street": one(user.street.as_ref()),
                "city": one(user.city.as_ref()),
                "region": one(user.region.as_ref()),
                "postal_code": one(user.postal_code.as_ref()),
                "country": one(user.country.as_ref()),
                "date_of_birth": one(user.date_of_birth.as_ref()),
                "gender": one(user.gender.as_ref()),
                "external_id": list(&user.external_ids),
                "external_id_sha256": hex(&user.external_id_digests),
                "meta_sha256": {
                    "phone": hex(&given.phones),
                    "first_name": digest(&given.first_name),
                    "last_name": digest(&given.last_name),
                    "city": digest(&given.city),
                    "region": digest(&given.region),
                    "postal_code": digest(&given.postal_code),
                    "country": digest(&given.country),
                    "date_of_birth": digest(&given.date_of_birth),
                    "gender": digest(&given.gender),
                },
                "lead_id": user.lead_id,
            },
            "context": {
                "ip": secret(&context.ip),
                "user_agent": secret(&context.user_agent),
                "url": secret(&context.url),
                "referrer": secret(&context.referrer),
                "fbc": context.cookies.fbc,
                "fbp": context.cookies.fbp,
                "ga_client_id": context.cookies.ga_client_id,
                "ga_session_id": context.cookies.ga_session_id,
                "utm": context.utm,
                "checkout_token": context.checkout_token,
                "cart_token": context.cart_token,
            },
            "consent": self.consent,
            "properties": self.properties,
        });
        for (kind, value) in &context.clicks {
            shown["context"][kind.parameter().to_ascii_lowercase()] = value.as_str().into();
        }
        if self.consent == Consent::default() {
            shown["consent"] = Value::Null;
        }
        prune(&mut shown);
        shown
    }
}

/// Removes what says nothing. Whether anything is left.
fn prune(value: &mut Value) -> bool {
    match value {
        Value::Null => false,
        Value::Array(list) => {
            list.retain_mut(prune);
            !list.is_empty()
        }
        Value::Object(fields) => {
            fields.retain(|_, value| prune(value));
            !fields.is_empty()
        }
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_shop_carries_along_is_known_by_its_name() {
        let mut draft = Draft::named("purchase");
        let given = [
            ("_visitor_id", "v-1"),
            ("GCLID", "Cj0-Ab"),
            ("ScCid", "s-1"),
            ("_fbp", "fb.1.1700000000000.123456789"),
            ("_ga", "GA1.1.1234567890.1700000000"),
            ("utm-source", "google"),
            ("_cart_token", "c-1"),
            ("landing_site", "/p?fbclid=IwAR1&gclid=other&utm_source=fb&utm_medium=cpc"),
            ("ad_user_data", "Granted"),
            ("lead_id", "l:1234567890123456"),
            ("visitor_id", "v-2"),
        ];
        for (name, value) in given {
            assert!(draft.carry(name, value), "{name}");
        }
        assert!(!draft.carry("gift_message", "Happy birthday"));
        assert_eq!(
            draft.shown(),
            json!({
                "event": "purchase",
                "visitor_id": "v-1",
                "user": {"lead_id": 1_234_567_890_123_456_u64},
                "context": {
                    "gclid": "Cj0-Ab", "sccid": "s-1", "fbclid": "IwAR1", "fbp": "fb.1.1700000000000.123456789",
                    "ga_client_id": "1234567890.1700000000", "utm": {"source": "google"}, "cart_token": "c-1",
                },
                "consent": {"ad_user_data": "granted", "ad_personalization": "unknown"},
            })
        );
    }

    #[test]
    fn the_later_word_wins_only_where_it_says_something() {
        let mut first = Draft { currency: Some("EUR".into()), value: Some(Decimal::ONE), ..Draft::named("purchase") };
        first.click(ClickKind::Gclid, "a");
        let mut second = Draft { value: Some(Decimal::TEN), ..Draft::default() };
        second.click(ClickKind::Gclid, "b");
        let mut over = first.clone();
        over.overlay(second.clone());
        assert_eq!((over.value, over.currency.as_deref()), (Some(Decimal::TEN), Some("EUR")));
        assert_eq!(over.context.clicks, [(ClickKind::Gclid, "b".to_owned())]);
        first.fill_from(second);
        assert_eq!(first.value, Some(Decimal::ONE));
        assert_eq!(first.context.clicks, [(ClickKind::Gclid, "a".to_owned())]);
    }

    #[test]
    fn the_key_of_what_happened_tells_sources_and_events_apart_whatever_it_looks_like() {
        let known_by = |source: &str, event: &str, key: &str| {
            let mut draft = Draft::named(event);
            draft.known_by(&SourceName::new(source).expect("valid"), key.to_owned());
            draft.event_id.expect("has one")
        };
        for key in ["77", "ada@example.com", &"x".repeat(250), &"x".repeat(300), "a\nb"] {
            let ids = [("crm", "lead"), ("crm", "sign_up"), ("erp", "lead")].map(|(s, e)| known_by(s, e, key));
            assert_eq!(ids[0], known_by("crm", "lead", key), "the same at every delivery");
            assert!(ids[0] != ids[1] && ids[0] != ids[2], "{ids:?}");
            assert!(ids.iter().all(|id| id.len() <= 256 && !id.contains('@')), "{ids:?}");
        }
    }
}
