//! Whatever posts JSON or a form: an ERP, a shop of your own, an automation. What it means is up to `[sources.map]`.

use std::{sync::Arc, time::Duration};

use axum::http::{HeaderMap, HeaderName};
use serde_json::{Map, Value};

use super::{
    Common, Descriptor, Inbound, Parsed, Refusal, Report, Source, Told, Verified, header, json,
    mapping::{Formula, LIST_MAX, Root, unix_time, variables},
    tolerance,
    verify::{Secrets, fresh, from_base64, from_hex, no_signature},
};
use crate::{
    intake::Draft,
    model::{Settings, Time},
};

/// Kind `generic`.
pub(super) const DESCRIPTOR: Descriptor = Descriptor { kind: "generic", build };

/// Signatures in one header: those of the secrets of a rotation.
const SIGNATURES_MAX: usize = 8;
/// Fields of a form.
const FORM_FIELDS_MAX: usize = 1000;

struct Generic {
    secrets: Secrets,
    proof: Proof,
    tolerance: Duration,
    shape: Shape,
}

/// How a request shows that it knows the secret.
enum Proof {
    /// `signature`
    Signature(Signature),
    /// `header`
    Header(String),
    /// `bearer`
    Bearer,
    /// `basic`, of this user.
    Basic(String),
}

/// An HMAC-SHA256 in a header.
struct Signature {
    header: String,
    read: fn(&str) -> Option<[u8; 32]>,
    prefix: String,
    /// The header with the time; then `{time}.{body}` is what is signed.
    timestamp: Option<String>,
}

/// How a body is taken apart: `each` and `delivery_id`.
pub(super) struct Shape {
    each: Option<Formula>,
    delivery_id: Option<Formula>,
}

fn build(common: &Common, settings: &mut Settings) -> Option<Arc<dyn Source>> {
    let secrets = Secrets::read(settings, "what the sender signs with, or presents");
    let proof = proof(settings);
    let tolerance = tolerance(settings, Duration::from_secs(300));
    let shape = Shape::read(common, settings)?;
    Some(Arc::new(Generic { secrets: secrets?, proof: proof?, tolerance, shape }))
}

/// Reads the one key that says how requests are verified.
fn proof(settings: &mut Settings) -> Option<Proof> {
    const WAYS: [&str; 4] = ["signature", "header", "bearer", "basic"];
    let given: Vec<&str> = WAYS.into_iter().filter(|way| settings.has(way)).collect();
    if given.len() > 1 {
        settings.problem(given[1], format!("cannot stand beside {}: a source is verified in one way", given[0]));
    }
    let mut found = None;
    for way in &given {
        let proof = match *way {
            "signature" => settings.table("signature", SIGNATURE, signature).flatten().map(Proof::Signature),
            "header" => {
                settings.parsed("header", "the name of the header with the secret", header_name).map(Proof::Header)
            }
            "bearer" => match settings.flag("bearer") {
                Some(false) => {
                    settings.problem("bearer", "must be true, or left out");
                    None
                }
                flag => flag.map(|_| Proof::Bearer),
            },
            _ => settings
                .table("basic", "{ user = \"…\" }", |basic| basic.required("user", "the user's name"))
                .flatten()
                .map(Proof::Basic),
        };
        found = found.or(proof);
    }
    if given.is_empty() {
        settings.problem(
            "signature",
            format!("is missing: {SIGNATURE}; or header, bearer or basic, as docs/sources/generic.md says"),
        );
    }
    found
}

/// What `signature` has to be.
const SIGNATURE: &str = "{ header = \"x-signature\", encoding = \"hex\" or \"base64\" }";

fn header_name(text: &str) -> Option<String> {
    HeaderName::from_bytes(text.as_bytes()).ok().map(|name| name.to_string())
}

fn signature(settings: &mut Settings) -> Option<Signature> {
    let header = settings.required_parsed("header", "the name of the header with the signature", header_name);
    let read = settings.required_parsed("encoding", "hex or base64", |text| match text {
        "hex" => Some(from_hex as fn(&str) -> Option<[u8; 32]>),
        "base64" => Some(from_base64),
        _ => None,
    });
    let prefix = settings.text("prefix").unwrap_or_default();
    let timestamp = settings.parsed("timestamp", "the name of the header with the time of signing", header_name);
    Some(Signature { header: header?, read: read?, prefix, timestamp })
}

impl Signature {
    fn verify<'a>(
        &self,
        secrets: &Secrets,
        inbound: &'a Inbound<'a>,
        now: Time,
        tolerance: Duration,
    ) -> Result<Verified<'a>, Refusal> {
        let missing = no_signature("the header that `signature` names holds no signature in that form");
        let text = header(inbound.headers, &self.header).ok_or_else(|| missing.clone())?;
        // Also as a whole: the prefix may be a word with a space behind it.
        let parts = std::iter::once(text).chain(text.split([',', ' ']));
        let parts = parts.filter_map(|part| part.trim().strip_prefix(self.prefix.as_str()));
        let given: Vec<[u8; 32]> = parts.filter_map(self.read).take(SIGNATURES_MAX).collect();
        if given.is_empty() {
            return Err(missing);
        }
        let Some(timestamp) = &self.timestamp else { return secrets.hmac(inbound, &[inbound.body], &given) };
        let stamp = header(inbound.headers, timestamp)
            .ok_or_else(|| no_signature("the header that `signature.timestamp` names is missing"))?;
        let signed_at = unix_time(stamp).or_else(|| Time::parse(stamp).ok());
        let signed_at =
            signed_at.ok_or_else(|| no_signature("the header that `signature.timestamp` names holds no time"))?;
        let verified = secrets.hmac(inbound, &[stamp.as_bytes(), b".", inbound.body], &given)?;
        fresh(signed_at, now, tolerance, Some(tolerance)).map(|()| verified)
    }
}

impl Source for Generic {
    fn verify<'a>(&self, inbound: &'a Inbound<'a>, now: Time) -> Result<Verified<'a>, Refusal> {
        match &self.proof {
            Proof::Signature(signature) => signature.verify(&self.secrets, inbound, now, self.tolerance),
            Proof::Header(name) => self.secrets.in_header(inbound, name),
            Proof::Bearer => self.secrets.bearer(inbound),
            Proof::Basic(user) => self.secrets.basic(inbound, user),
        }
    }

    fn parse(&self, verified: &Verified<'_>) -> Result<Parsed, Refusal> {
        let kind = verified.header("content-type").and_then(|kind| kind.split(';').next()).unwrap_or_default();
        let form = kind.trim().eq_ignore_ascii_case("application/x-www-form-urlencoded");
        let body = if form { fields(verified.body())? } else { json::body(verified.body())? };
        self.shape.parse(body, verified.headers(), None)
    }
}

/// The fields of a form, as an object of texts; of lists, where a name comes more than once.
fn fields(body: &[u8]) -> Result<Value, Refusal> {
    let mut fields = Map::new();
    for (i, (name, value)) in url::form_urlencoded::parse(body).enumerate() {
        if i >= FORM_FIELDS_MAX {
            return Err(Refusal::unreadable("", format!("the form has more than {FORM_FIELDS_MAX} fields")));
        }
        let value = Value::from(value.into_owned());
        match fields.get_mut(name.as_ref()) {
            None => drop(fields.insert(name.into_owned(), value)),
            Some(Value::Array(list)) => list.push(value),
            Some(one) => *one = Value::Array(vec![one.take(), value]),
        }
    }
    Ok(fields.into())
}

impl Shape {
    /// Reads `each` and `delivery_id`, and sees to it that the map says what happened.
    pub(super) fn read(common: &Common, settings: &mut Settings) -> Option<Self> {
        if !common.mapped.iter().any(|field| field == "event") {
            settings.problem("map.event", "is missing: what happened, as an expression, such as \"'purchase'\"");
        }
        let mut formula = |key: &str| match settings.text(key).map(Formula::compile).transpose() {
            Ok(formula) => Some(formula),
            Err(why) => {
                settings.problem(key, why);
                None
            }
        };
        let (each, delivery_id) = (formula("each"), formula("delivery_id"));
        Some(Self { each: each?, delivery_id: delivery_id? })
    }

    /// The entries of a body, each for the map to say what it is. A body that is a list is one of entries.
    pub(super) fn parse(
        &self,
        body: Value,
        headers: &HeaderMap,
        delivery_id: Option<String>,
    ) -> Result<Parsed, Refusal> {
        let failed = |key: &str, why: &str| Refusal::unreadable("", format!("the expression `{key}` failed: {why}"));
        let known = variables(&body, headers, None, None);
        let delivery_id = match &self.delivery_id {
            Some(formula) => match formula.value(&known).map_err(|why| failed("delivery_id", &why))? {
                Value::String(id) => Some(id.trim().to_owned()).filter(|id| !id.is_empty()),
                Value::Number(id) => Some(id.to_string()),
                _ => None,
            },
            None => None,
        }
        .or(delivery_id);
        let entries = match (&self.each, body) {
            (Some(each), _) => match each.entries(&known) {
                Ok(entries) => entries,
                Err(why) => return Ok(Parsed::one(delivery_id, Err(failed("each", &why)))),
            },
            (None, Value::Array(entries)) if entries.len() > LIST_MAX => {
                let refusal = Refusal::unreadable("", format!("the body has more than {LIST_MAX} entries"));
                return Ok(Parsed::one(delivery_id, Err(refusal)));
            }
            (None, Value::Array(entries)) => entries,
            (None, body) => return Ok(Parsed::one(delivery_id, Ok(Told::new(Draft::default(), body).into()))),
        };
        let root = Root::of(&known);
        let report = |entry| Report::from(Told { root: Some(root.clone()), ..Told::new(Draft::default(), entry) });
        Ok(Parsed { delivery_id, reports: entries.into_iter().map(report).collect() })
    }
}

#[cfg(test)]
mod tests;
