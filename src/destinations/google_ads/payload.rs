//! The bodies of `uploadClickConversions` and `uploadConversionAdjustments`, with Google's names. Fields that we have
//! nothing for are left out, never sent empty.
//!
//! Left out on purpose: `userIpAddress` and the session attributes, which only allow-listed callers may send, and
//! `jobId`, which Google picks itself.
//! Source: google-ads 34.0.0, v26/services/types/conversion_upload_service.py, conversion_adjustment_upload_service.py
//! and v26/common/types/consent.py, read 2026-11-20.

use std::time::Duration;

use rust_decimal::Decimal;
use serde::Serialize;
use serde_json::value::RawValue;

use super::{
    super::google::{click, distinct, happened_at, number},
    Adjustment,
    config::{Config, Merchant},
};
use crate::model::{ActionSource, Choice, ClickKind, Item, Money, SealedEvent, Time};

/// The most identifiers of the user in one conversion.
/// Source: as above.
const USER_IDENTIFIERS_MAX: usize = 5;

/// The body of either call. Of the two lists the one is there that the call is for.
#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Upload<'a> {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) conversions: Vec<ClickConversion<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) conversion_adjustments: Vec<ConversionAdjustment<'a>>,
    /// Google takes nothing else than `true` here.
    pub(super) partial_failure: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) validate_only: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ClickConversion<'a> {
    #[serde(flatten)]
    click: Option<Click<'a>>,
    conversion_action: &'a str,
    conversion_date_time: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    conversion_value: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    currency_code: Option<&'static str>,
    order_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    conversion_environment: Option<&'static str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    user_identifiers: Vec<UserIdentifier>,
    #[serde(skip_serializing_if = "Option::is_none")]
    consent: Option<Consent>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cart_data: Option<CartData<'a>>,
}

/// The one click that is named.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
enum Click<'a> {
    Gclid(&'a str),
    Gbraid(&'a str),
    Wbraid(&'a str),
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct UserIdentifier {
    user_identifier_source: &'static str,
    #[serde(flatten)]
    contact: Contact,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
enum Contact {
    /// Digest, hex.
    HashedEmail(String),
    /// Digest, hex.
    HashedPhoneNumber(String),
}

/// `adPersonalization` is not for this call.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Consent {
    ad_user_data: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CartData<'a> {
    /// An `int64`, which JSON writes as a string.
    merchant_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    feed_country_code: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    feed_language_code: Option<&'a str>,
    items: Vec<CartItem<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CartItem<'a> {
    product_id: &'a str,
    quantity: i32,
    #[serde(skip_serializing_if = "Option::is_none")]
    unit_price: Option<Box<RawValue>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ConversionAdjustment<'a> {
    adjustment_type: &'static str,
    conversion_action: &'a str,
    order_id: &'a str,
    adjustment_date_time: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    restatement_value: Option<RestatementValue>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RestatementValue {
    adjusted_value: Option<Box<RawValue>>,
    currency_code: &'static str,
}

impl<'a> ClickConversion<'a> {
    /// `event` as a conversion of `action`.
    pub(super) fn new(config: &'a Config, action: &'a str, event: &'a SealedEvent) -> Self {
        let merchant = config.merchant.as_ref().filter(|_| goes_with_person(event));
        Self {
            click: named_click(event),
            conversion_action: action,
            conversion_date_time: date_time(happened_at(event)),
            conversion_value: event.money.as_ref().map(Money::text).and_then(number),
            currency_code: event.money.map(|money| money.currency().code()),
            order_id: event.transaction(),
            conversion_environment: environment(event.action_source),
            user_identifiers: user_identifiers(event),
            consent: consent(event.consent.ad_user_data),
            cart_data: merchant.and_then(|merchant| cart(merchant, &event.items)),
        }
    }
}

impl<'a> ConversionAdjustment<'a> {
    /// `event` as the adjustment that it makes of a conversion.
    pub(super) fn new(adjustment: &Adjustment<'a>, event: &'a SealedEvent) -> Self {
        let restatement_value = adjustment.worth.map(|worth| RestatementValue {
            adjusted_value: number(worth.text()),
            currency_code: worth.currency().code(),
        });
        // Google wants it after the conversion, and reads whole seconds.
        let converted_at = event.change.as_ref().map(|change| happened_at(&change.original));
        let earliest = converted_at.map(|at| at.plus(Duration::from_secs(1)));
        Self {
            adjustment_type: if restatement_value.is_some() { "RESTATEMENT" } else { "RETRACTION" },
            conversion_action: adjustment.action,
            order_id: adjustment.order_id,
            adjustment_date_time: date_time(earliest.map_or(event.time, |earliest| event.time.max(earliest))),
            restatement_value,
        }
    }
}

/// A time as Google reads it: `yyyy-mm-dd hh:mm:ss+hh:mm`.
fn date_time(at: Time) -> String {
    at.format("%Y-%m-%d %H:%M:%S+00:00")
}

/// The names of the fields that Google can match a conversion by.
pub(super) fn evidence(event: &SealedEvent) -> Vec<&'static str> {
    let click = named_click(event).map(|click| match click {
        Click::Gclid(_) => "gclid",
        Click::Gbraid(_) => "gbraid",
        Click::Wbraid(_) => "wbraid",
    });
    let mut names: Vec<_> = click.into_iter().collect();
    for identifier in user_identifiers(event) {
        let name = match identifier.contact {
            Contact::HashedEmail(_) => "hashedEmail",
            Contact::HashedPhoneNumber(_) => "hashedPhoneNumber",
        };
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

/// The click to name.
fn named_click(event: &SealedEvent) -> Option<Click<'_>> {
    let click = click(event)?;
    match click.kind {
        ClickKind::Gclid => Some(Click::Gclid(&click.value)),
        ClickKind::Gbraid => Some(Click::Gbraid(&click.value)),
        ClickKind::Wbraid => Some(Click::Wbraid(&click.value)),
        _ => None,
    }
}

/// Whether contact details and a cart may go with the event's click: with a braid Google documents neither.
/// Source: developers.google.com/google-ads/api/docs/conversions/upload-offline, read 2026-11-20.
fn goes_with_person(event: &SealedEvent) -> bool {
    click(event).is_none_or(|click| click.kind == ClickKind::Gclid)
}

/// The person, where it may be named: e-mail addresses, then phone numbers. A postal address would draw
/// `UNSUPPORTED_USER_IDENTIFIER`.
fn user_identifiers(event: &SealedEvent) -> Vec<UserIdentifier> {
    if !goes_with_person(event) || event.consent.ad_user_data == Choice::Denied {
        return Vec::new();
    }
    let emails = distinct(&event.user.emails).map(Contact::HashedEmail);
    let phones = distinct(&event.user.phones).map(Contact::HashedPhoneNumber);
    let first_party = |contact| UserIdentifier { user_identifier_source: "FIRST_PARTY", contact };
    emails.chain(phones).take(USER_IDENTIFIERS_MAX).map(first_party).collect()
}

fn environment(source: ActionSource) -> Option<&'static str> {
    match source {
        ActionSource::Website => Some("WEB"),
        ActionSource::App => Some("APP"),
        _ => None,
    }
}

/// What the visitor said. What nobody told us is left out: it is never sent as granted.
fn consent(choice: Choice) -> Option<Consent> {
    match choice {
        Choice::Granted => Some(Consent { ad_user_data: "GRANTED" }),
        Choice::Denied => Some(Consent { ad_user_data: "DENIED" }),
        Choice::Unknown => None,
    }
}

/// The cart, if it can be told in full: an item without an id, or with a quantity that is no whole number, would make
/// it another cart. An item without a quantity counts once, as in GA4.
fn cart<'a>(merchant: &'a Merchant, items: &'a [Item]) -> Option<CartData<'a>> {
    let items: Option<Vec<_>> = items.iter().map(cart_item).collect();
    Some(CartData {
        merchant_id: &merchant.id,
        feed_country_code: merchant.feed_country.as_deref(),
        feed_language_code: merchant.feed_language.as_deref(),
        items: items.filter(|items| !items.is_empty())?,
    })
}

fn cart_item(item: &Item) -> Option<CartItem<'_>> {
    let quantity = item.quantity.unwrap_or(Decimal::ONE);
    Some(CartItem {
        product_id: item.id.as_deref().filter(|id| !id.is_empty())?,
        quantity: quantity.is_integer().then(|| i32::try_from(quantity).ok()).flatten()?,
        unit_price: item.price.map(|price| price.to_string()).and_then(number),
    })
}
