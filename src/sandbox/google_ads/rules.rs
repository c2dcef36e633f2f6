//! What Google refuses of one row, by its own codes.
//! Source: google-ads 34.0.0, `google/ads/googleads/v26/errors/types/`, checked 2026-11-20.

use std::time::Duration;

use super::wire::{AdjustmentType, ClickConversion, ConversionAdjustment, UserIdentifier};
use crate::{
    model::{Currency, Time},
    sandbox::{
        ledger::key,
        shape::{self, EMPTY_SHA256, Text},
    },
};

/// The most identifiers of a person in one row. Source: as above.
const IDENTIFIERS_MAX: usize = 5;
/// How old a conversion may be.
/// Source: support.google.com/google-ads/answer/7012522, read 2026-11-20.
const AGE_MAX: Duration = Duration::from_secs(90 * 24 * 3600);
/// How far ahead a time may be. Google names no number; this is ours, and generous.
const FUTURE_MAX: Duration = Duration::from_secs(24 * 3600);

/// One thing wrong with a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Flaw {
    /// The key of `errorCode`.
    pub(super) kind: &'static str,
    pub(super) code: &'static str,
    /// In snake case; empty if it is the row.
    pub(super) field: &'static str,
    /// What is wrong, without the value.
    pub(super) message: &'static str,
}

const fn flaw(kind: &'static str, code: &'static str, field: &'static str, message: &'static str) -> Flaw {
    Flaw { kind, code, field, message }
}

pub(super) const fn of_upload(code: &'static str, field: &'static str, message: &'static str) -> Flaw {
    flaw("conversionUploadError", code, field, message)
}

pub(super) const fn of_adjustment(code: &'static str, field: &'static str, message: &'static str) -> Flaw {
    flaw("conversionAdjustmentUploadError", code, field, message)
}

const fn missing(field: &'static str) -> Flaw {
    flaw("fieldError", "REQUIRED", field, "The required field was not present.")
}

const fn must_be_unset(field: &'static str, message: &'static str) -> Flaw {
    flaw("fieldError", "VALUE_MUST_BE_UNSET", field, message)
}

/// A conversion that is good by itself.
pub(super) struct Conversion {
    /// Digits.
    pub(super) action: String,
    pub(super) at: Time,
    /// Stands for its order id.
    pub(super) order: Option<u64>,
    /// Stands for its click and time.
    pub(super) click: Option<u64>,
}

/// An adjustment that is good by itself.
pub(super) struct Adjustment {
    /// Digits.
    pub(super) action: String,
    pub(super) kind: AdjustmentType,
    pub(super) at: Time,
    /// Stands for the order id of the conversion, or its click and time.
    pub(super) conversion: u64,
}

/// Stands for an order id.
fn order_key(action: &str, order_id: &str) -> u64 {
    key(("order", action, order_id))
}

/// Stands for a click and time.
fn click_key(action: &str, click: &str, at: Time) -> u64 {
    key(("click", action, click, at.as_ms()))
}

impl ClickConversion<'_> {
    pub(super) fn check(&self, now: Time) -> Result<Conversion, Flaw> {
        let click = self.check_identifiers()?;
        let action = action(self.conversion_action.as_deref())?;
        let at = date_time(self.conversion_date_time.as_deref(), "conversion_date_time")?;
        if at > now.plus(FUTURE_MAX) {
            let field = "conversion_date_time";
            return Err(flaw("dateError", "LATER_THAN_MAXIMUM_DATE", field, "more than a day in the future"));
        }
        if at < now.minus(AGE_MAX) {
            return Err(of_upload("EXPIRED_EVENT", "conversion_date_time", "the click is too old"));
        }
        check_money(self.conversion_value, self.currency_code.as_deref(), ["conversion_value", "currency_code"])?;
        check_order_id(self.order_id.as_deref(), of_upload)?;
        if self.consent.as_ref().is_some_and(|consent| consent.ad_personalization.is_some()) {
            return Err(must_be_unset("consent", "ad_personalization is not for this service"));
        }
        if self.user_ip_address.is_some()
            || self.session_attributes_encoded.is_some()
            || self.session_attributes_key_value_pairs.is_some()
        {
            let code = "CUSTOMER_NOT_ALLOWLISTED_FOR_THIS_FEATURE";
            return Err(flaw("notAllowlistedError", code, "", "IP address and session attributes are allow-listed"));
        }
        if self.external_attribution_data.is_some() {
            let code = "EXTERNAL_ATTRIBUTION_DATA_SET_FOR_NON_EXTERNALLY_ATTRIBUTED_CONVERSION_ACTION";
            return Err(of_upload(code, "external_attribution_data", "no externally attributed action"));
        }
        let order = self.order_id.as_deref().map(|order| order_key(&action, order));
        let click = click.map(|click| click_key(&action, click, at));
        Ok(Conversion { action, at, order, click })
    }

    /// The click, if there is one.
    fn check_identifiers(&self) -> Result<Option<&str>, Flaw> {
        let (gclid, gbraid, wbraid) = (self.gclid.as_deref(), self.gbraid.as_deref(), self.wbraid.as_deref());
        for (click, field, code) in [
            (gclid, "gclid", "UNPARSEABLE_GCLID"),
            (gbraid, "gbraid", "UNPARSEABLE_GBRAID"),
            (wbraid, "wbraid", "UNPARSEABLE_WBRAID"),
        ] {
            not_empty(click, field)?;
            let plain = |id: &str| id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
            if click.is_some_and(|id| !plain(id)) {
                return Err(of_upload(code, field, "not a click id: letters, digits, - and _ only"));
            }
        }
        if gbraid.is_some() && wbraid.is_some() {
            return Err(of_upload("GBRAID_WBRAID_BOTH_SET", "", "gbraid and wbraid exclude each other"));
        }
        if gclid.is_some() && wbraid.is_some() {
            return Err(must_be_unset("wbraid", "gclid and wbraid together are not documented"));
        }
        if gbraid.or(wbraid).is_some() {
            let unsupported = [
                ("user_identifiers", !self.user_identifiers.is_empty()),
                ("cart_data", self.cart_data.is_some()),
                ("custom_variables", !self.custom_variables.is_empty()),
            ];
            if let Some((field, _)) = unsupported.into_iter().find(|(_, there)| *there) {
                return Err(must_be_unset(field, "not documented together with gbraid or wbraid"));
            }
        }
        check_people(&self.user_identifiers, of_upload)?;
        let click = gclid.or(gbraid).or(wbraid);
        if click.is_none() && self.user_identifiers.is_empty() {
            return Err(missing("gclid"));
        }
        Ok(click)
    }
}

impl ConversionAdjustment<'_> {
    pub(super) fn check(&self) -> Result<Adjustment, Flaw> {
        let Some(kind) = self.adjustment_type else { return Err(missing("adjustment_type")) };
        let action = action(self.conversion_action.as_deref())?;
        check_order_id(self.order_id.as_deref(), of_adjustment)?;
        if kind == AdjustmentType::Enhancement {
            let code = "CONVERSION_ACTION_NOT_ELIGIBLE_FOR_ENHANCEMENT";
            return Err(of_adjustment(code, "adjustment_type", "no action of a web page"));
        }
        let conversion = match (self.order_id.as_deref(), &self.gclid_date_time_pair) {
            (Some(_), Some(_)) => {
                let code = "GCLID_DATE_TIME_PAIR_AND_ORDER_ID_BOTH_SET";
                return Err(of_adjustment(code, "gclid_date_time_pair", "one of the two only"));
            }
            (None, None) => return Err(missing("order_id")),
            (Some(order_id), None) => order_key(&action, order_id),
            (None, Some(pair)) => {
                let Some(gclid) = pair.gclid.as_deref() else { return Err(missing("gclid_date_time_pair")) };
                let at = date_time(pair.conversion_date_time.as_deref(), "gclid_date_time_pair")?;
                click_key(&action, gclid, at)
            }
        };
        let at = date_time(self.adjustment_date_time.as_deref(), "adjustment_date_time")?;
        if !self.user_identifiers.is_empty() || self.user_agent.is_some() {
            return Err(must_be_unset("user_identifiers", "for enhancements only"));
        }
        match (&self.restatement_value, kind) {
            (Some(_), AdjustmentType::Retraction) => {
                return Err(must_be_unset("restatement_value", "a retraction has no value"));
            }
            (None, AdjustmentType::Restatement) => return Err(missing("restatement_value")),
            (Some(value), _) if value.adjusted_value.is_none() => return Err(missing("restatement_value")),
            (Some(value), _) => {
                check_money(value.adjusted_value, value.currency_code.as_deref(), ["restatement_value"; 2])?;
            }
            (None, _) => {}
        }
        Ok(Adjustment { action, kind, at, conversion })
    }
}

fn check_people(
    people: &[UserIdentifier<'_>],
    of: fn(&'static str, &'static str, &'static str) -> Flaw,
) -> Result<(), Flaw> {
    const FIELD: &str = "user_identifiers";
    if people.len() > IDENTIFIERS_MAX {
        return Err(flaw("collectionSizeError", "TOO_MANY", FIELD, "more than 5 user identifiers"));
    }
    for person in people {
        if person.mobile_id.is_some() || person.third_party_user_id.is_some() || person.address_info.is_some() {
            return Err(of("UNSUPPORTED_USER_IDENTIFIER", FIELD, "only e-mail address and phone number"));
        }
        let digest = match (person.hashed_email.as_deref(), person.hashed_phone_number.as_deref()) {
            (Some(digest), None) | (None, Some(digest)) => digest,
            _ => return Err(of("INVALID_USER_IDENTIFIER", FIELD, "exactly one identifier in each element")),
        };
        if digest == EMPTY_SHA256 || !shape::is_sha256_hex(digest) {
            return Err(of("INVALID_USER_IDENTIFIER", FIELD, "not the lower-case hexadecimal SHA-256 of a value"));
        }
    }
    Ok(())
}

fn check_money(
    value: Option<f64>,
    currency: Option<&str>,
    [of_value, of_currency]: [&'static str; 2],
) -> Result<(), Flaw> {
    if value.is_some_and(|value| value < 0.0) {
        return Err(flaw("fieldError", "INVALID_VALUE", of_value, "must not be negative"));
    }
    match currency {
        // Optional at Google, where the account's currency then applies: never what a sender means.
        None if value.is_some() => Err(missing(of_currency)),
        Some(code) if Currency::parse(code).is_err() || code.bytes().any(|b| b.is_ascii_lowercase()) => {
            Err(flaw("currencyCodeError", "UNSUPPORTED", of_currency, "not an ISO 4217 code"))
        }
        _ => Ok(()),
    }
}

fn check_order_id(
    order_id: Option<&str>,
    of: fn(&'static str, &'static str, &'static str) -> Flaw,
) -> Result<(), Flaw> {
    not_empty(order_id, "order_id")?;
    let phone = |text: &str| text.strip_prefix('+').is_some_and(|rest| rest.len() >= 7 && shape::is_digits(rest));
    if order_id.is_some_and(|text| text.contains('@') || phone(text)) {
        return Err(of("ORDER_ID_CONTAINS_PII", "order_id", "an order id must not be contact data"));
    }
    Ok(())
}

/// The empty string is no way to say nothing.
fn not_empty(text: Option<&str>, field: &'static str) -> Result<(), Flaw> {
    if text == Some("") { Err(flaw("stringLengthError", "TOO_SHORT", field, "Too short.")) } else { Ok(()) }
}

/// The digits of `customers/{digits}/conversionActions/{digits}`.
fn action(name: Option<&str>) -> Result<String, Flaw> {
    const FIELD: &str = "conversion_action";
    let Some(name) = name else { return Err(missing(FIELD)) };
    let parts: Vec<&str> = name.split('/').collect();
    match parts.as_slice() {
        ["customers", customer, "conversionActions", action]
            if shape::is_digits(customer) && shape::is_digits(action) =>
        {
            Ok((*action).to_owned())
        }
        _ => Err(flaw("requestError", "RESOURCE_NAME_MALFORMED", FIELD, "customers/{id}/conversionActions/{id}")),
    }
}

fn date_time(text: Option<&str>, field: &'static str) -> Result<Time, Flaw> {
    let code = "INVALID_STRING_DATE_TIME_SECONDS_WITH_OFFSET";
    let Some(text) = text else { return Err(missing(field)) };
    parse_date_time(text).ok_or(flaw("dateError", code, field, "not yyyy-mm-dd hh:mm:ss+|-hh:mm"))
}

/// Reads `2026-11-20 08:15:00+00:00` and nothing else.
fn parse_date_time(text: &str) -> Option<Time> {
    let fits = |pattern: &str| {
        let mut pairs = text.bytes().zip(pattern.bytes());
        text.len() == pattern.len() && pairs.all(|(b, p)| if p == b'd' { b.is_ascii_digit() } else { b == p })
    };
    let good = fits("dddd-dd-dd dd:dd:dd+dd:dd") || fits("dddd-dd-dd dd:dd:dd-dd:dd");
    if good { Time::parse(&text.replacen(' ', "T", 1)).ok() } else { None }
}

/// The order id of a row, for the list of what came in.
pub(super) fn order_id<'a>(order_id: &'a Option<Text<'_>>) -> &'a str {
    order_id.as_deref().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_googles_own_form_is_a_time() {
        let at = parse_date_time("2026-11-20 10:15:00+02:00");
        assert_eq!(at, Time::parse("2026-11-20T08:15:00Z").ok());
        for bad in [
            "2026-11-20T08:15:00+00:00",
            "2026-11-20 08:15:00Z",
            "2026-11-20 08:15:00+0000",
            "2026-11-20 08:15:00.5+00:00",
            "2026-11-20 08:15+00:00",
            "2026-02-30 08:15:00+00:00",
            "",
        ] {
            assert!(parse_date_time(bad).is_none(), "{bad}");
        }
    }
}
