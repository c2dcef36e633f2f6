//! What Meta refuses, with the subcodes that are known.
//! Source: conversions-api/parameters/server-event, …/best-practices (copies of 2026-09-12), and for the subcodes
//! rudderlabs/rudder-transformer `v0/util/facebookUtils/networkHandler.js` @c98d160c, checked 2026-11-20.

use std::{borrow::Cow, time::Duration};

use super::{
    Flaw,
    wire::{ActionSource, Event, UserData},
};
use crate::{
    model::{Currency, Time},
    sandbox::shape::{self, EMPTY_SHA256, Malformed, MalformedKind, Texts},
};

/// How old an event may be.
/// Source: conversions-api/using-the-api, read 2026-09-12.
const AGE_MAX: Duration = Duration::from_secs(7 * 24 * 3600);
/// How old an event of a shop or branch may be.
/// Source: conversions-api/offline-events, read 2026-09-12.
const AGE_MAX_PHYSICAL_STORE: Duration = Duration::from_secs(62 * 24 * 3600);
/// How far ahead an event's time may be. Meta documents none.
/// Source: rudderlabs/rudder-transformer `facebook_pixel/docs/businesslogic.md` @c98d160c, read 2026-08.
const FUTURE_MAX: Duration = Duration::from_secs(60);
/// Keys that are not enough to match anybody, alone or with others of the same set (subcode 2804050).
/// Source: conversions-api/best-practices, read 2026-09-12.
const TOO_WEAK: [&[&str]; 4] = [
    &["ct", "country", "st", "zp", "ge", "client_user_agent"],
    &["db", "client_user_agent"],
    &["fn", "ge"],
    &["ln", "ge"],
];
/// What the parameter-builder libraries append: the first two characters of the long form, and all of the short forms.
/// Source: Python capi_param_builder 1.3.2 and Node capi-param-builder-nodejs 1.3.2, checked 2026-11-20.
const APPENDICES: [&str; 6] = ["AQ", "Ag", "Aw", "BA", "BQ", "Bg"];

const fn flaw(reason: &'static str, field: &'static str, message: &'static str) -> Flaw {
    Flaw { subcode: None, reason, field: Cow::Borrowed(field), message: Cow::Borrowed(message) }
}

impl Flaw {
    const fn subcode(mut self, subcode: u32) -> Self {
        self.subcode = Some(subcode);
        self
    }
}

/// The flaw of an event that does not have the documented form.
pub(super) fn flaw_of(malformed: &Malformed) -> Flaw {
    let field = malformed.field();
    let (reason, message) = match malformed.kind {
        MalformedKind::Syntax => ("malformed", "not a JSON object"),
        MalformedKind::UnknownField(_) => ("unknown_field", "unknown field"),
        MalformedKind::MissingField(_) => ("missing_field", "missing field"),
        MalformedKind::UnknownValue => ("unknown_value", "not one of the documented values"),
        MalformedKind::WrongType => ("wrong_type", "wrong type, out of range, or given twice"),
    };
    let subcode = match &*field {
        "custom_data.value" => Some(2_804_019),
        "user_data.lead_id" => Some(2_804_036),
        _ => None,
    };
    Flaw { subcode, reason, field: Cow::Owned(field), message: Cow::Borrowed(message) }
}

impl Event<'_> {
    /// Whether Meta would take it at `now`.
    pub(super) fn check(&self, now: Time) -> Result<(), Flaw> {
        if self.event_name.trim().is_empty() {
            return Err(flaw("event_name", "event_name", "must not be empty"));
        }
        if self.event_id.as_deref().is_some_and(str::is_empty) {
            return Err(flaw("event_id", "event_id", "must not be empty"));
        }
        self.check_time(now)?;
        self.check_source()?;
        self.user_data.check(self.action_source)?;
        self.check_options()?;
        let custom = self.custom_data.as_ref();
        let (value, currency) = (custom.and_then(|it| it.value), custom.and_then(|it| it.currency.as_deref()));
        check_value(&self.event_name, value, currency)
    }

    fn check_time(&self, now: Time) -> Result<(), Flaw> {
        if self.event_time >= 100_000_000_000 {
            let message = "is in the future; it looks like milliseconds, but counts seconds";
            return Err(flaw("milliseconds", "event_time", message).subcode(2_804_004));
        }
        let at = Time::from_secs(self.event_time);
        if at > now.plus(FUTURE_MAX) {
            return Err(flaw("future", "event_time", "is in the future").subcode(2_804_004));
        }
        let store = self.action_source == ActionSource::PhysicalStore;
        if at < now.minus(if store { AGE_MAX_PHYSICAL_STORE } else { AGE_MAX }) {
            let message = "more than 7 days old (62 for physical_store)";
            return Err(flaw("too_old", "event_time", message).subcode(2_804_003));
        }
        Ok(())
    }

    fn check_source(&self) -> Result<(), Flaw> {
        for (field, url) in [("event_source_url", &self.event_source_url), ("referrer_url", &self.referrer_url)] {
            if url.as_deref().is_some_and(|url| !shape::is_web_address(url)) {
                return Err(flaw("url", field, "must start with http:// or https://"));
            }
        }
        let website = self.action_source == ActionSource::Website;
        if website && self.event_source_url.is_none() {
            return Err(flaw("missing_field", "event_source_url", "required for website events"));
        }
        if website && self.user_data.client_user_agent.as_deref().is_none_or(|agent| agent.trim().is_empty()) {
            return Err(flaw("missing_field", "user_data.client_user_agent", "required for website events"));
        }
        if self.messaging_channel.is_some() && self.action_source != ActionSource::BusinessMessaging {
            return Err(flaw("messaging_channel", "messaging_channel", "only with business_messaging"));
        }
        let Some(app) = &self.app_data else { return Ok(()) };
        if self.action_source != ActionSource::App {
            return Err(flaw("app_data", "app_data", "only with app events"));
        }
        let slots = &app.extinfo;
        if slots.len() != 16 || slots[0].is_empty() || slots[4].is_empty() {
            return Err(
                flaw("app_data", "app_data.extinfo", "16 slots, of which 0 and 4 must be filled").subcode(2_804_043)
            );
        }
        Ok(())
    }

    fn check_options(&self) -> Result<(), Flaw> {
        const FIELD: &str = "data_processing_options";
        let options = self.data_processing_options.as_deref().unwrap_or_default();
        if options.iter().any(|option| &**option != "LDU") {
            return Err(flaw(FIELD, FIELD, "the only option is LDU"));
        }
        let (country, state) = (self.data_processing_options_country, self.data_processing_options_state);
        if !options.is_empty() && country.is_none() || country.is_some() && state.is_none() {
            return Err(flaw(FIELD, FIELD, "LDU needs a country, and a country needs a state"));
        }
        if !matches!(country, None | Some(0 | 1)) || !matches!(state, None | Some(0 | 1000)) {
            return Err(flaw(FIELD, FIELD, "the country is 0 or 1, the state 0 or 1000"));
        }
        Ok(())
    }
}

fn check_value(event_name: &str, value: Option<f64>, currency: Option<&str>) -> Result<(), Flaw> {
    if event_name == "Purchase" && value.is_none() {
        return Err(flaw("purchase_value", "custom_data.value", "required for Purchase").subcode(2_804_009));
    }
    if value.is_some_and(|value| value < 0.0) {
        return Err(flaw("purchase_value", "custom_data.value", "must not be negative").subcode(2_804_019));
    }
    match currency {
        None if value.is_some() => {
            Err(flaw("currency", "custom_data.currency", "required with a value").subcode(2_804_023))
        }
        Some(code) if Currency::parse(code).is_err() => {
            Err(flaw("currency", "custom_data.currency", "not an ISO 4217 code").subcode(2_804_023))
        }
        _ => Ok(()),
    }
}

impl UserData<'_> {
    fn check(&self, source: ActionSource) -> Result<(), Flaw> {
        self.check_hashed()?;
        let clear = |field, message| Err(flaw("user_data", field, message));
        if let Some(ids) = &self.external_id {
            if ids.0.is_empty() || ids.0.iter().any(|id| id.trim().is_empty() || &**id == EMPTY_SHA256) {
                return clear("user_data.external_id", "must not be empty");
            }
            if ids.0.iter().any(|id| id.contains('@')) {
                return Err(flaw("not_hashed", "user_data.external_id", "holds an e-mail address in clear"));
            }
        }
        if self.client_ip_address.as_deref().is_some_and(|ip| !shape::is_ip(without_appendix(ip))) {
            return clear("user_data.client_ip_address", "not an IP address");
        }
        if self.fbc.as_deref().is_some_and(|fbc| !is_fb_cookie(fbc)) {
            return clear("user_data.fbc", "must look like fb.1.<milliseconds>.<fbclid>");
        }
        if self.fbp.as_deref().is_some_and(|fbp| !is_fb_cookie(fbp)) {
            return clear("user_data.fbp", "must look like fb.1.<milliseconds>.<number>");
        }
        if self.lead_id.as_ref().is_some_and(|id| !(10_u64.pow(14)..10_u64.pow(17)).contains(&id.0)) {
            return Err(flaw("lead_id", "user_data.lead_id", "must have 15 to 17 digits").subcode(2_804_036));
        }
        let app_only = [&self.anon_id, &self.madid];
        if source != ActionSource::App && app_only.iter().any(|id| id.is_some()) {
            return clear("user_data", "anon_id and madid are for app events only");
        }
        let chat = [&self.page_id, &self.page_scoped_user_id, &self.ctwa_clid, &self.ig_account_id, &self.ig_sid];
        if source != ActionSource::BusinessMessaging && chat.iter().any(|id| id.is_some()) {
            return clear("user_data", "page, WhatsApp and Instagram ids are for business_messaging only");
        }
        let present: Vec<&str> = self.present().collect();
        if TOO_WEAK.iter().any(|weak| present.iter().all(|key| weak.contains(key))) {
            let message = "this combination of customer information is too broad to match anybody";
            return Err(flaw("too_few_identifiers", "user_data", message).subcode(2_804_050));
        }
        Ok(())
    }

    fn hashed(&self) -> [(&'static str, &'static str, Option<&Texts<'_>>); 16] {
        [
            ("em", "user_data.em", self.em.as_ref()),
            ("ph", "user_data.ph", self.ph.as_ref()),
            ("fn", "user_data.fn", self.r#fn.as_ref()),
            ("ln", "user_data.ln", self.ln.as_ref()),
            ("db", "user_data.db", self.db.as_ref()),
            ("ge", "user_data.ge", self.ge.as_ref()),
            ("ct", "user_data.ct", self.ct.as_ref()),
            ("st", "user_data.st", self.st.as_ref()),
            ("zp", "user_data.zp", self.zp.as_ref()),
            ("country", "user_data.country", self.country.as_ref()),
            ("f5first", "user_data.f5first", self.f5first.as_ref()),
            ("f5last", "user_data.f5last", self.f5last.as_ref()),
            ("fi", "user_data.fi", self.fi.as_ref()),
            ("dobd", "user_data.dobd", self.dobd.as_ref()),
            ("dobm", "user_data.dobm", self.dobm.as_ref()),
            ("doby", "user_data.doby", self.doby.as_ref()),
        ]
    }

    fn check_hashed(&self) -> Result<(), Flaw> {
        for (_, field, texts) in self.hashed() {
            let Some(texts) = texts else { continue };
            if texts.0.is_empty() {
                return Err(flaw("user_data", field, "an empty list"));
            }
            for text in &texts.0 {
                let hash = without_appendix(text);
                if !shape::is_sha256_hex(hash) {
                    return Err(flaw("not_hashed", field, "not 64 lower-case hexadecimal digits"));
                }
                if hash == EMPTY_SHA256 {
                    return Err(flaw("hash_of_nothing", field, "the SHA-256 of the empty string"));
                }
            }
        }
        Ok(())
    }

    /// The keys that say something about the person.
    fn present(&self) -> impl Iterator<Item = &'static str> {
        let hashed = self.hashed().map(|(name, _, texts)| (name, texts.is_some()));
        let others = [
            ("external_id", self.external_id.is_some()),
            ("client_ip_address", self.client_ip_address.is_some()),
            ("client_user_agent", self.client_user_agent.is_some()),
            ("fbc", self.fbc.is_some()),
            ("fbp", self.fbp.is_some()),
            ("subscription_id", self.subscription_id.is_some()),
            ("fb_login_id", self.fb_login_id.is_some()),
            ("lead_id", self.lead_id.is_some()),
            ("anon_id", self.anon_id.is_some()),
            ("madid", self.madid.is_some()),
            ("page_scoped_user_id", self.page_scoped_user_id.is_some()),
            ("ctwa_clid", self.ctwa_clid.is_some()),
            ("ig_sid", self.ig_sid.is_some()),
            ("partner_id", self.partner_id.is_some() && self.partner_name.is_some()),
        ];
        hashed.into_iter().chain(others).filter_map(|(name, is_there)| is_there.then_some(name))
    }
}

/// `text` without what a parameter-builder library appended to it.
fn without_appendix(text: &str) -> &str {
    let url_safe = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    match text.rsplit_once('.') {
        Some((value, tail)) if APPENDICES.contains(&tail) => value,
        Some((value, tail)) if tail.len() == 8 && tail.starts_with("AQ") && tail.bytes().all(url_safe) => value,
        _ => text,
    }
}

/// `fb.{subdomain index}.{13 digits of milliseconds}.{payload}`, with or without an appendix.
fn is_fb_cookie(text: &str) -> bool {
    let is_plain = |text: &str| {
        let parts: Vec<&str> = text.split('.').collect();
        let &[fb, index, ms, payload] = parts.as_slice() else { return false };
        let word = !payload.is_empty() && payload.bytes().all(|b| b.is_ascii_graphic());
        fb == "fb" && index.len() == 1 && shape::is_digits(index) && ms.len() == 13 && shape::is_digits(ms) && word
    };
    is_plain(text) || is_plain(without_appendix(text))
}
