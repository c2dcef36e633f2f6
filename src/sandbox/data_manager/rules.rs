//! What Data Manager refuses, by its own reasons.
//! Source: google-ads-datamanager 0.9.4 `types/error.py`, developers.google.com/data-manager/api, checked 2026-11-20.

use std::time::Duration;

use base64::{Engine, prelude::BASE64_STANDARD};

use super::wire::{Account, AccountType, AdIdentifiers, Address, Destination, Encoding, Event, UserIdentifier};
use crate::{
    model::{Currency, Time},
    sandbox::shape::{self, EMPTY_SHA256, Malformed, MalformedKind, Text},
};

/// The most identifiers of a person in one event.
/// Source: developers.google.com/data-manager/api/devguides/limits, read 2026-11-20.
const IDENTIFIERS_MAX: usize = 10;
/// How far ahead an event's time may be. Google says only that a time may be invalid; this is ours, and generous.
const FUTURE_MAX: Duration = Duration::from_secs(24 * 3600);
/// Older events are answered as received, and fail afterwards.
/// Source: support.google.com/google-ads/answer/7012522, read 2026-11-20.
const AGE_MAX: Duration = Duration::from_secs(90 * 24 * 3600);
/// The longest transaction id. Google documents no limit; third-party code uses this one (seen 2026-11-20).
const TRANSACTION_ID_MAX: usize = 512;

/// One thing wrong with a request.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Violation {
    /// Where, in snake case: `events[3].event_source`.
    pub(super) field: String,
    /// The platform's reason.
    pub(super) reason: &'static str,
    /// What is wrong, without the value.
    pub(super) description: &'static str,
}

/// A violation of `field`.
pub(super) fn violation(field: &str, reason: &'static str, description: &'static str) -> Violation {
    Violation { field: field.to_owned(), reason, description }
}

fn missing(field: &str) -> Violation {
    violation(field, "REQUIRED_FIELD_MISSING", "a required field is missing")
}

impl Violation {
    /// The same, below `parent`.
    pub(super) fn under(mut self, parent: &str) -> Self {
        self.field = if self.field.is_empty() { parent.to_owned() } else { format!("{parent}.{}", self.field) };
        self
    }
}

/// The violation of JSON that does not have the documented form.
pub(super) fn violation_of(malformed: &Malformed) -> Violation {
    let (reason, description) = match malformed.kind {
        MalformedKind::Syntax => ("INVALID_ARGUMENT", "invalid JSON payload received"),
        MalformedKind::UnknownField(_) => ("INVALID_ARGUMENT", "unknown name: cannot find field"),
        MalformedKind::MissingField(_) => ("REQUIRED_FIELD_MISSING", "a required field is missing"),
        MalformedKind::UnknownValue => ("INVALID_ENUM_VALUE", "not one of the documented values"),
        MalformedKind::WrongType => ("INVALID_FORMAT", "wrong type, out of range, or given twice"),
    };
    // Our own names come in camelCase and are answered in snake case; an unknown name is answered as it came.
    let path = snake_case(&malformed.path);
    let name = match &malformed.kind {
        MalformedKind::UnknownField(name) => name.clone(),
        MalformedKind::MissingField(name) => snake_case(name),
        _ => String::new(),
    };
    let dot = if path.is_empty() || name.is_empty() { "" } else { "." };
    let field = format!("{path}{dot}{name}");
    Violation { field, reason, description }
}

fn snake_case(camel: &str) -> String {
    let mut snake = String::with_capacity(camel.len() + 4);
    for c in camel.chars() {
        if c.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(c.to_ascii_lowercase());
    }
    snake
}

impl Destination<'_> {
    pub(super) fn check(&self) -> Result<(), Violation> {
        let Some(account) = &self.operating_account else { return Err(missing("operating_account")) };
        account.check().map_err(|wrong| wrong.under("operating_account"))?;
        for (field, account) in [("login_account", &self.login_account), ("linked_account", &self.linked_account)] {
            account.as_ref().map_or(Ok(()), Account::check).map_err(|wrong| wrong.under(field))?;
        }
        let id = self.product_destination_id.as_deref().unwrap_or_default();
        if id.is_empty() {
            return Err(missing("product_destination_id"));
        }
        if account.account_type == Some(AccountType::GoogleAds) && !shape::is_digits(id) {
            let description = "a conversion action id is a string of digits";
            return Err(violation("product_destination_id", "INVALID_CONVERSION_ACTION_ID", description));
        }
        Ok(())
    }
}

impl Account<'_> {
    fn check(&self) -> Result<(), Violation> {
        if self.account_type.is_none() {
            return Err(missing("account_type"));
        }
        match self.account_id.as_deref() {
            None | Some("") => Err(missing("account_id")),
            Some(id) if shape::is_digits(id) => Ok(()),
            Some(_) => Err(violation("account_id", "INVALID_FORMAT", "an account id is a string of digits only")),
        }
    }
}

impl Event<'_> {
    /// Whether the request that carries it is answered as received; then, the reason for which it fails afterwards.
    pub(super) fn check(&self, encoding: Option<Encoding>, now: Time) -> Result<Option<&'static str>, Violation> {
        let at = self.check_time(now)?;
        if self.event_source.is_none() {
            return Err(missing("event_source"));
        }
        match self.transaction_id.as_deref() {
            None | Some("") => return Err(missing("transaction_id")),
            Some(id) if id.len() > TRANSACTION_ID_MAX => {
                return Err(violation("transaction_id", "FIELD_VALUE_TOO_LONG", "longer than 512 bytes"));
            }
            Some(_) => {}
        }
        self.check_identifiers(encoding)?;
        self.check_value()?;
        if self.client_id.is_some() && self.app_instance_id.is_some() {
            let reason = "BOTH_CLIENT_ID_AND_APP_INSTANCE_ID_NOT_ALLOWED";
            return Err(violation("client_id", reason, "a client id and an app instance id exclude each other"));
        }
        Ok((at < now.minus(AGE_MAX)).then_some("PROCESSING_ERROR_REASON_EVENT_TOO_OLD"))
    }

    fn check_time(&self, now: Time) -> Result<Time, Violation> {
        let Some(text) = self.event_timestamp.as_deref() else { return Err(missing("event_timestamp")) };
        let invalid = |field, description| violation(field, "EVENT_TIME_INVALID", description);
        let not_rfc = "not RFC 3339, such as 2026-11-20T08:15:00Z";
        let at = rfc3339(text).ok_or_else(|| invalid("event_timestamp", not_rfc))?;
        if self.last_updated_timestamp.as_deref().is_some_and(|text| rfc3339(text).is_none()) {
            return Err(invalid("last_updated_timestamp", not_rfc));
        }
        if at > now.plus(FUTURE_MAX) {
            return Err(invalid("event_timestamp", "more than a day in the future"));
        }
        Ok(at)
    }

    fn check_identifiers(&self, encoding: Option<Encoding>) -> Result<(), Violation> {
        let ads = self.ad_identifiers.as_ref();
        ads.map_or(Ok(()), AdIdentifiers::check).map_err(|wrong| wrong.under("ad_identifiers"))?;
        let people = self.user_data.as_ref().map_or(&[][..], |data| data.user_identifiers.as_slice());
        if self.user_data.is_some() && people.is_empty() {
            return Err(missing("user_data.user_identifiers"));
        }
        if people.len() > IDENTIFIERS_MAX {
            let field = "user_data.user_identifiers";
            return Err(violation(field, "TOO_MANY_USER_IDENTIFIERS", "more than 10 user identifiers"));
        }
        for (index, person) in people.iter().enumerate() {
            let parent = || format!("user_data.user_identifiers[{index}]");
            person.check(encoding).map_err(|wrong| wrong.under(&parent()))?;
        }
        if people.is_empty() && !ads.is_some_and(AdIdentifiers::identifies) {
            let description = "neither ad identifiers nor user data";
            return Err(violation("", "NO_IDENTIFIERS_PROVIDED", description));
        }
        Ok(())
    }

    fn check_value(&self) -> Result<(), Violation> {
        if self.conversion_value.is_some_and(|value| value < 0.0) {
            return Err(violation("conversion_value", "INVALID_NUMBER_FORMAT", "must not be negative"));
        }
        match self.currency.as_deref() {
            // Optional at Google, where the account's currency then applies: never what a sender means.
            None if self.conversion_value.is_some() => Err(missing("currency")),
            Some(code) if Currency::parse(code).is_err() || code.bytes().any(|b| b.is_ascii_lowercase()) => {
                Err(violation("currency", "INVALID_CURRENCY_CODE", "not an ISO 4217 code"))
            }
            _ => Ok(()),
        }
    }
}

impl AdIdentifiers<'_> {
    fn check(&self) -> Result<(), Violation> {
        let clicks =
            [("gclid", &self.gclid), ("gbraid", &self.gbraid), ("wbraid", &self.wbraid), ("dclid", &self.dclid)];
        let clicks = clicks.into_iter().filter_map(|(name, id)| id.as_deref().map(|id| (name, id)));
        if clicks.clone().count() > 1 {
            return Err(violation("", "INVALID_EVENT", "more than one click id"));
        }
        for (name, id) in clicks {
            if id.is_empty() || !id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_') {
                return Err(violation(name, "INVALID_FORMAT", "not a click id: letters, digits, - and _ only"));
            }
        }
        let device = self.landing_page_device_info.as_ref();
        if device.and_then(|device| device.ip_address.as_deref()).is_some_and(|ip| !shape::is_ip(ip)) {
            return Err(violation("landing_page_device_info.ip_address", "INVALID_FORMAT", "not an IP address"));
        }
        Ok(())
    }

    /// Whether anything in it can be matched. A device alone cannot.
    fn identifies(&self) -> bool {
        let single = [
            &self.gclid,
            &self.gbraid,
            &self.wbraid,
            &self.dclid,
            &self.impression_id,
            &self.match_id,
            &self.mobile_device_id,
            &self.session_attributes,
            &self.ppid,
            &self.visitor_ppid,
        ];
        !self.encrypted_user_ids.is_empty() || single.iter().any(|id| id.as_deref().is_some_and(|id| !id.is_empty()))
    }
}

impl UserIdentifier<'_> {
    fn check(&self, encoding: Option<Encoding>) -> Result<(), Violation> {
        match (&self.email_address, &self.phone_number, &self.address) {
            (Some(email), None, None) => check_hash(email, "email_address", encoding),
            (None, Some(phone), None) => check_hash(phone, "phone_number", encoding),
            (None, None, Some(address)) => address.check(encoding).map_err(|wrong| wrong.under("address")),
            (None, None, None) => Err(missing("")),
            _ => Err(violation("", "INVALID_FORMAT", "exactly one of email_address, phone_number and address")),
        }
    }
}

impl Address<'_> {
    fn check(&self, encoding: Option<Encoding>) -> Result<(), Violation> {
        let required = |text: &Option<Text<'_>>, field| match text.as_deref() {
            None | Some("") => Err(missing(field)),
            Some(_) => Ok(()),
        };
        required(&self.region_code, "region_code")?;
        required(&self.postal_code, "postal_code")?;
        for (field, name) in [("given_name", &self.given_name), ("family_name", &self.family_name)] {
            let Some(name) = name else { return Err(missing(field)) };
            check_hash(name, field, encoding)?;
        }
        if let Some(line) = &self.address_line {
            check_hash(line, "address_line", encoding)?;
        }
        let region = self.region_code.as_deref().unwrap_or_default();
        if region.len() != 2
            || !region.bytes().all(|b| b.is_ascii_uppercase())
            || rust_iso3166::from_alpha2(region).is_none()
        {
            return Err(violation(
                "region_code",
                "INVALID_REGION_CODE",
                "not an ISO 3166-1 alpha-2 code in upper case",
            ));
        }
        let postal = self.postal_code.as_deref().unwrap_or_default();
        if postal.trim() != postal || postal.len() > 16 {
            return Err(violation("postal_code", "INVALID_POSTAL_CODE", "has spaces around it or is too long"));
        }
        Ok(())
    }
}

fn check_hash(text: &str, field: &str, encoding: Option<Encoding>) -> Result<(), Violation> {
    let nothing = || violation(field, "INVALID_SHA256_FORMAT", "the SHA-256 of the empty string");
    match encoding {
        None => Err(violation(field, "REQUIRED_FIELD_MISSING", "user data needs the request's encoding")),
        Some(Encoding::Hex) if text == EMPTY_SHA256 => Err(nothing()),
        Some(Encoding::Hex) if shape::is_sha256_hex(text) => Ok(()),
        Some(Encoding::Hex) if !text.is_empty() && text.bytes().all(|b| b.is_ascii_hexdigit()) => {
            Err(violation(field, "INVALID_SHA256_FORMAT", "not 64 lower-case hexadecimal digits"))
        }
        Some(Encoding::Hex) => Err(violation(field, "INVALID_HEX_ENCODING", "not hexadecimal")),
        Some(Encoding::Base64) => match BASE64_STANDARD.decode(text) {
            Err(_) => Err(violation(field, "INVALID_BASE64_ENCODING", "not base64")),
            Ok(hash) if hash.len() != 32 => Err(violation(field, "INVALID_SHA256_FORMAT", "not 32 bytes")),
            Ok(hash) if hex(&hash) == EMPTY_SHA256 => Err(nothing()),
            Ok(_) => Ok(()),
        },
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Reads `2026-11-20T08:15:00[.123](Z|+01:00)` and no other of the many forms that ISO 8601 has.
fn rfc3339(text: &str) -> Option<Time> {
    let pattern = "dddd-dd-ddTdd:dd:dd";
    let fits = |text: &str, pattern: &str| {
        let pairs = || text.bytes().zip(pattern.bytes());
        text.len() == pattern.len() && pairs().all(|(b, p)| if p == b'd' { b.is_ascii_digit() } else { b == p })
    };
    let (start, rest) = text.split_at_checked(pattern.len())?;
    let zone = match rest.strip_prefix('.') {
        None => rest,
        Some(fraction) => {
            let zone = fraction.trim_start_matches(|c: char| c.is_ascii_digit());
            let digits = fraction.len() - zone.len();
            if !(1..=9).contains(&digits) {
                return None;
            }
            zone
        }
    };
    let zoned = zone == "Z" || fits(zone, "+dd:dd") || fits(zone, "-dd:dd");
    if fits(start, pattern) && zoned { Time::parse(text).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_rfc_3339_is_a_timestamp() {
        for good in ["2026-11-20T08:15:00Z", "2026-11-20T10:15:00+02:00", "2026-11-20T08:15:00.123456789Z"] {
            assert!(rfc3339(good).is_some(), "{good}");
        }
        let bad = [
            "2026-11-20 08:15:00Z",
            "2026-11-20 08:15:00+00:00",
            "2026-11-20T08:15:00",
            "2026-11-20T08:15Z",
            "2026-11-20T08:15:00.Z",
            "2026-11-20T08:15:00+0000",
            "2026-02-30T08:15:00Z",
            "1763626500",
            "",
        ];
        for bad in bad {
            assert!(rfc3339(bad).is_none(), "{bad}");
        }
    }
}
