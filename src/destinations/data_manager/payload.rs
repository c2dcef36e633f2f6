//! The body of `events:ingest`, with Google's names. Fields that we have nothing for are left out, never sent empty.
//!
//! Left out on purpose: `adIdentifiers.landingPageDeviceInfo` (IP address, user agent). It means the device at the
//! *landing*, which a server often does not know, and Google excludes users in the EEA, the UK and Switzerland from IP
//! matching, whom we cannot tell apart.
//! Source: google-ads-datamanager 0.9.4, types/event.py, user_data.py and cart_data.py, read 2026-11-20.

use rust_decimal::Decimal;
use serde::Serialize;
use serde_json::value::RawValue;

use super::{
    super::google::{happened_at, number},
    config::Config,
    identifiers,
};
use crate::model::{ActionSource, Choice, ClickId, ClickKind, Consent, Item, Money, SealedEvent};

/// A conversion as Google is to know it.
#[derive(Clone, Copy)]
pub(super) struct Conversion<'a> {
    /// Its conversion action.
    pub(super) action: &'a str,
    /// What happened, when, and to whom: of a change, the conversion that is changed.
    pub(super) event: &'a SealedEvent,
    /// What it is worth.
    pub(super) money: Option<Money>,
    /// What the visitor said last.
    pub(super) consent: Consent,
    /// It is known to Google and gets another value.
    pub(super) adjusts: bool,
}

/// A request.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Ingest<'a> {
    destinations: Vec<Target<'a>>,
    events: Vec<Event<'a>>,
    /// How digests are written. Required with `userData`.
    #[serde(skip_serializing_if = "Option::is_none")]
    encoding: Option<&'static str>,
    /// Checks the request, and takes nothing.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    validate_only: bool,
}

/// One conversion action.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Target<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    reference: Option<&'a str>,
    operating_account: Account<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    login_account: Option<Account<'a>>,
    product_destination_id: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Account<'a> {
    account_type: &'a str,
    account_id: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Event<'a> {
    /// Empty means every destination of the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    destination_references: Option<[&'a str; 1]>,
    transaction_id: &'a str,
    event_timestamp: String,
    event_source: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    ad_identifiers: Option<AdIdentifiers<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_data: Option<UserData<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    consent: Option<ConsentStatus>,
    #[serde(skip_serializing_if = "Option::is_none")]
    currency: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    conversion_value: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cart_data: Option<CartData<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
enum AdIdentifiers<'a> {
    Gclid(&'a str),
    Gbraid(&'a str),
    Wbraid(&'a str),
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct UserData<'a> {
    user_identifiers: Vec<UserIdentifier<'a>>,
}

/// One way to know the person.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum UserIdentifier<'a> {
    /// Digest, hex.
    EmailAddress(String),
    /// Digest, hex.
    PhoneNumber(String),
    /// Names hashed, the rest in clear.
    Address(Address<'a>),
}

impl UserIdentifier<'_> {
    /// Google's name of it.
    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::EmailAddress(_) => "emailAddress",
            Self::PhoneNumber(_) => "phoneNumber",
            Self::Address(_) => "address",
        }
    }
}

/// A postal address: Google takes it with all four parts only.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Address<'a> {
    /// Digest, hex.
    pub(super) given_name: String,
    /// Digest, hex.
    pub(super) family_name: String,
    /// ISO 3166-1 alpha-2.
    pub(super) region_code: &'a str,
    /// In clear.
    pub(super) postal_code: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ConsentStatus {
    #[serde(skip_serializing_if = "Option::is_none")]
    ad_user_data: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ad_personalization: Option<&'static str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CartData<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    merchant_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    merchant_feed_label: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    merchant_feed_language_code: Option<&'a str>,
    items: Vec<CartItem<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CartItem<'a> {
    merchant_product_id: &'a str,
    /// An `int64`, which JSON writes as a string.
    quantity: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    unit_price: Option<Box<RawValue>>,
}

impl<'a> Ingest<'a> {
    /// The request for `conversions`; `actions` are their distinct actions.
    pub(super) fn new(
        config: &'a Config,
        actions: &[&'a str],
        conversions: impl Iterator<Item = Conversion<'a>>,
    ) -> Self {
        let several = actions.len() > 1;
        let account = |id| Account { account_type: config.account_type, account_id: id };
        let target = |&action| Target {
            reference: several.then_some(action),
            operating_account: account(&config.operating_account),
            login_account: config.login_account.as_deref().map(account),
            product_destination_id: action,
        };
        let events: Vec<_> = conversions
            .map(|conversion| Event::new(config, several.then_some(conversion.action), conversion))
            .collect();
        let encoding = events.iter().any(|event| event.user_data.is_some()).then_some("HEX");
        Self { destinations: actions.iter().map(target).collect(), events, encoding, validate_only: false }
    }

    /// The same, to be checked only.
    pub(super) fn only_to_validate(self) -> Self {
        Self { validate_only: true, ..self }
    }
}

impl<'a> Event<'a> {
    fn new(config: &'a Config, reference: Option<&'a str>, conversion: Conversion<'a>) -> Self {
        let Conversion { event, money, consent, adjusts, .. } = conversion;
        let click = identifiers::click(event);
        let with_user_data = identifiers::goes_with_user_data(click);
        let allowed = with_user_data && consent.ad_user_data != Choice::Denied;
        let user_identifiers = if allowed { identifiers::of_user(event) } else { Vec::new() };
        Self {
            destination_references: reference.map(|reference| [reference]),
            transaction_id: event.transaction(),
            event_timestamp: happened_at(event).to_string(),
            event_source: event_source(event.action_source),
            ad_identifiers: click.and_then(ad_identifiers),
            user_data: (!user_identifiers.is_empty()).then_some(UserData { user_identifiers }),
            consent: consent_status(consent),
            currency: money.map(|money| money.currency().code()),
            conversion_value: money.as_ref().map(Money::text).and_then(number),
            // What is left of a cart after a refund is not known.
            cart_data: if with_user_data && !adjusts { cart(config, &event.items) } else { None },
        }
    }
}

/// Google's word for where it happened. The server requires one for Google Ads, although the schema does not.
/// Source: <https://github.com/googleapis/google-cloud-php/issues/9201>, read 2026-11-20.
fn event_source(source: ActionSource) -> &'static str {
    match source {
        ActionSource::Website => "WEB",
        ActionSource::App => "APP",
        ActionSource::PhysicalStore => "IN_STORE",
        ActionSource::PhoneCall => "PHONE",
        ActionSource::Chat | ActionSource::Email => "MESSAGE",
        ActionSource::SystemGenerated | ActionSource::Other => "OTHER",
    }
}

fn ad_identifiers(click: &ClickId) -> Option<AdIdentifiers<'_>> {
    match click.kind {
        ClickKind::Gclid => Some(AdIdentifiers::Gclid(&click.value)),
        ClickKind::Gbraid => Some(AdIdentifiers::Gbraid(&click.value)),
        ClickKind::Wbraid => Some(AdIdentifiers::Wbraid(&click.value)),
        _ => None,
    }
}

/// What the visitor said. What nobody told us is left out: it is never sent as granted.
fn consent_status(consent: Consent) -> Option<ConsentStatus> {
    let status = |choice| match choice {
        Choice::Granted => Some("CONSENT_GRANTED"),
        Choice::Denied => Some("CONSENT_DENIED"),
        Choice::Unknown => None,
    };
    let (user_data, personalization) = (status(consent.ad_user_data), status(consent.ad_personalization));
    (user_data.is_some() || personalization.is_some())
        .then_some(ConsentStatus { ad_user_data: user_data, ad_personalization: personalization })
}

/// The cart, if it can be told in full: an item without an id, or with a quantity that is no whole number, would make
/// it another cart. An item without a quantity counts once, as in GA4.
fn cart<'a>(config: &'a Config, items: &'a [Item]) -> Option<CartData<'a>> {
    let items: Option<Vec<_>> = items.iter().map(cart_item).collect();
    let items = items.filter(|items| !items.is_empty())?;
    Some(CartData {
        merchant_id: config.merchant_id.as_deref(),
        merchant_feed_label: config.feed_label.as_deref(),
        merchant_feed_language_code: config.feed_language.as_deref(),
        items,
    })
}

fn cart_item(item: &Item) -> Option<CartItem<'_>> {
    let quantity = item.quantity.unwrap_or(Decimal::ONE);
    let whole = quantity.is_integer().then(|| i64::try_from(quantity).ok()).flatten()?;
    Some(CartItem {
        merchant_product_id: item.id.as_deref().filter(|id| !id.is_empty())?,
        quantity: whole.to_string(),
        unit_price: item.price.map(|price| price.to_string()).and_then(number),
    })
}
