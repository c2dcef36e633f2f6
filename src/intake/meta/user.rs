//! `user_data`: a person as Meta's clients tell it, hashed by them or in clear.
//!
//! The keys of Meta that we have no field for are left out: `subscription_id`, `fb_login_id`, `anon_id`, `madid`,
//! `page_id`, `page_scoped_user_id`, `ctwa_clid`, `ig_account_id`, `ig_sid`, `partner_id`, `partner_name`, `f5first`,
//! `f5last`, `fi`, `dobd`, `dobm`, `doby`.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Map, Value};

use super::event::texts;
use crate::{
    intake::Draft,
    model::{Digest, InvalidDigest, Raw, Sensitive},
};

/// Hex digits of an MD5, which the SDKs let pass as if it were a SHA-256.
const MD5_DIGITS: usize = 32;

/// Two characters that the parameter builders once appended for their language.
/// Source: capi_param_builder_python 1.3.2, `constants.py`, read 2026-11-20.
const LANGUAGES: [&str; 6] = ["AQ", "Ag", "Aw", "BA", "BQ", "Bg"];

/// `text` without what a parameter builder of Meta's appended: a dot, and the URL-safe base64 of six bytes of which the
/// first is 1, or one of two characters.
/// Source: capi_param_builder_python 1.3.2, `param_builder.py`, read 2026-11-20.
pub(super) fn without_appendix(text: &str) -> &str {
    let is_appendix =
        |tail: &str| URL_SAFE_NO_PAD.decode(tail).is_ok_and(|bytes| bytes.len() == 6 && bytes.first() == Some(&1));
    match text.rsplit_once('.') {
        Some((value, tail)) if LANGUAGES.contains(&tail) || is_appendix(tail) => value,
        _ => text,
    }
}

/// A contact detail: a hash is one by its form alone, as in the SDKs.
enum Given {
    Digest(Digest),
    Clear(String),
}

/// Reads texts of a key, and notes what is of no use.
fn given(key: &str, value: &Value, notes: &mut Vec<String>) -> Vec<Given> {
    let mut kept = Vec::new();
    for text in texts(value) {
        let hash = without_appendix(&text);
        let is_hex = hash.bytes().all(|byte| byte.is_ascii_hexdigit());
        match Digest::parse(hash) {
            Ok(digest) => kept.push(Given::Digest(digest)),
            Err(InvalidDigest::OfNothing) => notes.push(format!("user_data.{key}: is the hash of nothing")),
            Err(InvalidDigest::NotHex) if is_hex && hash.len() == MD5_DIGITS => {
                notes.push(format!("user_data.{key}: is an MD5; Meta matches SHA-256 only"));
            }
            Err(InvalidDigest::NotHex) => kept.push(Given::Clear(text)),
        }
    }
    kept
}

/// Takes the values of a key that may have several.
fn several<K>(given: Vec<Given>, clear: &mut Vec<Raw<K>>, digests: &mut Vec<Digest>) {
    for given in given {
        match given {
            Given::Digest(digest) => digests.push(digest),
            Given::Clear(text) => clear.push(Raw::new(text)),
        }
    }
}

/// Takes the first value of a key that we keep one of.
fn one<K>(given: Vec<Given>, clear: &mut Option<Raw<K>>, digest: &mut Option<Digest>) {
    if clear.is_some() || digest.is_some() {
        return;
    }
    match given.into_iter().next() {
        Some(Given::Digest(given)) => *digest = Some(given),
        Some(Given::Clear(text)) => *clear = Some(Raw::new(text)),
        None => {}
    }
}

/// Fills in the person and the browser side. What is of no use is told in `notes`.
pub(super) fn fill(draft: &mut Draft, data: &Map<String, Value>, notes: &mut Vec<String>) {
    for (key, value) in data {
        let Draft { user, context, .. } = draft;
        let digests = &mut user.meta_digests;
        let first = || texts(value).into_iter().next();
        let mut given = || given(key, value, notes);
        match key.as_str() {
            // Meta and Google spell an address the same, but for Gmail's dots.
            "em" | "email" => several(given(), &mut user.emails, &mut user.email_digests),
            "ph" | "phone" => several(given(), &mut user.phones, &mut digests.phones),
            "external_id" => several(given(), &mut user.external_ids, &mut user.external_id_digests),
            "fn" => one(given(), &mut user.first_name, &mut digests.first_name),
            "ln" => one(given(), &mut user.last_name, &mut digests.last_name),
            "ct" => one(given(), &mut user.city, &mut digests.city),
            "st" => one(given(), &mut user.region, &mut digests.region),
            "zp" | "zip" => one(given(), &mut user.postal_code, &mut digests.postal_code),
            "country" => one(given(), &mut user.country, &mut digests.country),
            "db" | "dob" => one(given(), &mut user.date_of_birth, &mut digests.date_of_birth),
            "ge" | "gen" => one(given(), &mut user.gender, &mut digests.gender),
            "client_ip_address" => context.ip = first().map(|ip| Sensitive::new(without_appendix(&ip).to_owned())),
            "client_user_agent" => context.user_agent = first().map(Sensitive::new),
            "fbc" => context.cookies.fbc = first(),
            "fbp" => context.cookies.fbp = first(),
            "lead_id" => {
                let lead = first();
                draft.carry("lead_id", lead.as_deref().unwrap_or_default());
                if lead.is_some() && draft.user.lead_id.is_none() {
                    notes.push("user_data.lead_id: must be a lead id of 15 to 17 digits".to_owned());
                }
            }
            _ => {}
        }
    }
}
