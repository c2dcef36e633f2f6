//! What the objects of Stripe have in common: amounts, ids, people, metadata.

use rust_decimal::Decimal;
use serde_json::Value;

use super::{super::json, OBJECT, Refusal};
use crate::{
    intake::Draft,
    model::{Currency, Raw, RawUser, Time},
};

/// Currencies whose amounts have no decimals. UGX is on Stripe's list too, but its special case says otherwise.
/// Source: docs.stripe.com/currencies, "Zero-decimal currencies" and "Special cases", read 2026-11-20.
const WHOLE: [&str; 15] =
    ["BIF", "CLP", "DJF", "GNF", "JPY", "KMF", "KRW", "MGA", "PYG", "RWF", "VND", "VUV", "XAF", "XOF", "XPF"];
/// Currencies whose amounts have three decimals. Source: the same page, "Three-decimal currencies".
const THOUSANDTHS: [&str; 5] = ["BHD", "JOD", "KWD", "OMR", "TND"];

/// Decimals of Stripe's amounts: not those of ISO 4217 for ISK and UGX (two, always zeros) and MGA (none). All that is on no
/// list has two.
fn decimals(currency: Currency) -> u32 {
    match currency.code() {
        code if WHOLE.contains(&code) => 0,
        code if THOUSANDTHS.contains(&code) => 3,
        _ => 2,
    }
}

/// What an event is about.
pub(super) fn object(event: &Value) -> &Value {
    event.pointer(OBJECT).unwrap_or(&Value::Null)
}

/// A whole number of Stripe's smallest unit, in the currency's main unit. May be negative.
///
/// # Errors
/// If something else stands there.
pub(super) fn amount(value: &Value, pointer: &str, currency: Currency) -> Result<Option<Decimal>, Refusal> {
    let Some(units) = json::decimal(value, pointer)? else { return Ok(None) };
    let whole = units.is_integer().then(|| i64::try_from(units).ok()).flatten();
    let why = || Refusal::unreadable(pointer, format!("{pointer}: must be a whole number of the smallest unit"));
    whole.map(|units| Some(Decimal::new(units, decimals(currency)))).ok_or_else(why)
}

/// A price of one, which may be a fraction of the smallest unit. What cannot be read is left out.
pub(super) fn unit_price(value: &Value, pointers: &[&str], currency: Currency) -> Option<Decimal> {
    let units = pointers.iter().find_map(|pointer| json::decimal(value, pointer).ok().flatten())?;
    units.checked_mul(Decimal::new(1, decimals(currency))).map(|price| price.normalize())
}

/// The id that stands at a pointer, or that of the object there, if Stripe was told to expand it.
pub(super) fn id(value: &Value, pointer: &str) -> Option<String> {
    json::text(value, pointer).or_else(|| json::text(value, &format!("{pointer}/id")))
}

/// When the event happened: that of the event, which is not when a session was opened or an invoice drafted.
pub(super) fn time(event: &Value) -> Option<Time> {
    let at = |pointer: &str| json::time(event, pointer).ok().flatten();
    at("/created").or_else(|| at(&format!("{OBJECT}/created")))
}

/// Where an object tells of a person, the best place first.
pub(super) struct Places {
    emails: &'static [&'static str],
    names: &'static [&'static str],
    phones: &'static [&'static str],
    addresses: &'static [&'static str],
}

/// Of a checkout session. Shipping moved into `collected_information` with version 2025-03-31.
pub(super) const SESSION: Places = Places {
    emails: &["/customer_details/email", "/customer_email", "/customer/email"],
    names: &[
        "/customer_details/name",
        "/customer_details/individual_name",
        "/collected_information/shipping_details/name",
        "/shipping_details/name",
        "/shipping/name",
        "/customer/name",
    ],
    phones: &["/customer_details/phone", "/shipping/phone", "/customer/phone"],
    addresses: &[
        "/customer_details/address",
        "/collected_information/shipping_details/address",
        "/shipping_details/address",
        "/shipping/address",
        "/customer/address",
    ],
};

/// Of an invoice.
pub(super) const INVOICE: Places = Places {
    emails: &["/customer_email", "/customer/email"],
    names: &["/customer_name", "/customer_shipping/name", "/customer/name"],
    phones: &["/customer_phone", "/customer_shipping/phone", "/customer/phone"],
    addresses: &["/customer_address", "/customer_shipping/address", "/customer/address"],
};

/// Of a charge.
pub(super) const CHARGE: Places = Places {
    emails: &["/billing_details/email", "/receipt_email"],
    names: &["/billing_details/name", "/shipping/name"],
    phones: &["/billing_details/phone", "/shipping/phone"],
    addresses: &["/billing_details/address", "/shipping/address"],
};

/// Of a payment intent. Its charges stood in it until version 2022-11-15.
pub(super) const PAYMENT: Places = Places {
    emails: &[
        "/latest_charge/billing_details/email",
        "/charges/data/0/billing_details/email",
        "/receipt_email",
        "/customer/email",
    ],
    names: &[
        "/latest_charge/billing_details/name",
        "/charges/data/0/billing_details/name",
        "/shipping/name",
        "/customer/name",
    ],
    phones: &[
        "/latest_charge/billing_details/phone",
        "/charges/data/0/billing_details/phone",
        "/shipping/phone",
        "/customer/phone",
    ],
    addresses: &[
        "/latest_charge/billing_details/address",
        "/charges/data/0/billing_details/address",
        "/shipping/address",
        "/customer/address",
    ],
};

/// Of a customer.
pub(super) const CUSTOMER: Places = Places {
    emails: &["/email"],
    names: &["/name", "/individual_name", "/shipping/name"],
    phones: &["/phone", "/shipping/phone"],
    addresses: &["/address", "/shipping/address"],
};

/// Takes what an object tells of a person.
pub(super) fn person(object: &Value, places: &Places, user: &mut RawUser) {
    user.emails.extend(json::all(object, places.emails).into_iter().map(Raw::new));
    user.phones.extend(json::all(object, places.phones).into_iter().map(Raw::new));
    if let Some(name) = json::first(object, places.names) {
        json::name(&name, user);
    }
    // Parts of two addresses would make a third; the fullest one counts, the first of equals.
    let addresses = places.addresses.iter().filter_map(|pointer| json::at(object, pointer)).rev();
    let told = |address: &&Value| ADDRESS.iter().filter(|part| json::text(address, part).is_some()).count();
    if let Some(address) = addresses.max_by_key(told) {
        let [street, city, region, postal_code, country] = ADDRESS;
        user.street = json::raw(address, street);
        user.city = json::raw(address, city);
        user.region = json::raw(address, region);
        user.postal_code = json::raw(address, postal_code);
        user.country = json::raw(address, country);
    }
}

/// The parts of an address.
const ADDRESS: [&str; 5] = ["/line1", "/city", "/state", "/postal_code", "/country"];

/// Takes the customer's id, which is no e-mail address and no account of the shop, but the same at every payment.
pub(super) fn customer(object: &Value, user: &mut RawUser) {
    user.external_ids.extend(id(object, "/customer").map(Raw::new));
}

/// Takes what metadata carries along under names that we know; earlier places first.
pub(super) fn metadata(object: &Value, pointers: &[&str], draft: &mut Draft) {
    for metadata in pointers.iter().filter_map(|pointer| object.pointer(pointer)?.as_object()) {
        for (name, value) in metadata {
            if let Some(value) = value.as_str() {
                draft.carry(name, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Source: docs.stripe.com/currencies, read 2026-11-20.
    #[test]
    fn amounts_have_the_decimals_that_stripe_gives_them() {
        for (code, units, expected) in [
            ("USD", 1099, "10.99"),
            ("JPY", 500, "500"),
            ("KRW", 500, "500"),
            ("KWD", 5120, "5.120"),
            ("TND", -5120, "-5.120"),
            ("ISK", 500, "5.00"),
            ("UGX", 500, "5.00"),
            ("HUF", 1045, "10.45"),
            ("TWD", 80045, "800.45"),
            ("MGA", 500, "500"),
            ("CLP", 500, "500"),
        ] {
            let currency = Currency::parse(code).expect("known");
            let read = amount(&json!({ "a": units }), "/a", currency).expect("reads").map(|amount| amount.to_string());
            assert_eq!(read.as_deref(), Some(expected), "{code}");
        }
        let usd = Currency::parse("usd").expect("known");
        let value = json!({"a": 10.5, "b": "x", "c": null, "d": "0.5", "e": 9_223_372_036_854_775_807_u64 });
        assert!(amount(&value, "/a", usd).is_err() && amount(&value, "/b", usd).is_err());
        assert_eq!(amount(&value, "/c", usd).expect("reads"), None);
        assert_eq!(unit_price(&value, &["/b", "/d"], usd).map(|price| price.to_string()).as_deref(), Some("0.005"));
        assert!(amount(&value, "/e", usd).expect("reads").is_some());
    }
}
