//! The stand-in for `POST /v{N.N}/{pixel_id}/events` of the Conversions API: one invalid event refuses the whole
//! request, and the answer does not say which. The ledger's latest refusals do.
//! Source: developers.facebook.com/documentation/ads-commerce/conversions-api/using-the-api (copy of 2026-09-12) and
//! facebook-business 26.0.3, checked 2026-11-20.

mod rules;
mod wire;

use std::{borrow::Cow, sync::Arc, time::Duration};

use axum::{
    body::Bytes,
    extract::{Path, RawQuery, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::Response,
};
use serde::Deserialize;
use serde_json::{json, value::RawValue};

use super::{
    FaultMode, Platform, Sandbox,
    fault::Met,
    json,
    ledger::{Recorded, key},
    shape::{self, Malformed, MalformedKind, Text},
};
use crate::model::Time;
use wire::Event;

/// The most events in one request.
/// Source: conversions-api/using-the-api, read 2026-09-12.
const EVENTS_MAX: usize = 1000;
/// A later event with the pixel, name and id of an earlier one is dropped for this long after the first.
/// Source: conversions-api/deduplicate-pixel-and-server-events, read 2026-09-12.
const DEDUPE_WINDOW: Duration = Duration::from_secs(48 * 3600);

/// Why one event is not acceptable.
#[derive(Debug, PartialEq, Eq)]
struct Flaw {
    subcode: Option<u32>,
    reason: &'static str,
    field: Cow<'static, str>,
    message: Cow<'static, str>,
}

/// A refused request, all that Meta's error object is made of.
struct Refusal {
    status: StatusCode,
    code: u32,
    subcode: Option<u32>,
    reason: &'static str,
    /// For the ledger, with the event's index.
    place: String,
    /// For the answer, without it.
    field: String,
    transient: bool,
    message: Cow<'static, str>,
}

impl Refusal {
    fn new(code: u32, reason: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        let (place, field) = (String::new(), String::new());
        let status = StatusCode::BAD_REQUEST;
        Self { status, code, subcode: None, reason, place, field, transient: false, message: message.into() }
    }

    fn at(mut self, field: &str) -> Self {
        field.clone_into(&mut self.place);
        field.clone_into(&mut self.field);
        self
    }

    fn of_event(index: usize, flaw: Flaw) -> Self {
        let place = format!("data[{index}].{}", flaw.field);
        let refusal = Self::new(100, flaw.reason, flaw.message);
        Self { subcode: flaw.subcode, place, field: flaw.field.into_owned(), ..refusal }
    }

    fn expired() -> Self {
        let message = "Error validating access token: Session has expired.";
        Self { subcode: Some(463), ..Self::new(190, "expired_token", message) }
    }
}

/// The request's own fields.
/// Source: facebook-business 26.0.3, `adobjects/serverside/event_request.py`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "listed so that everything else is refused")]
struct Body<'a> {
    #[serde(borrow)]
    data: Vec<&'a RawValue>,
    access_token: Option<Text<'a>>,
    appsecret_proof: Option<Text<'a>>,
    test_event_code: Option<Text<'a>>,
    partner_agent: Option<Text<'a>>,
    namespace_id: Option<Text<'a>>,
    upload_id: Option<Text<'a>>,
    upload_tag: Option<Text<'a>>,
    upload_source: Option<Text<'a>>,
}

/// `POST /meta/v{N.N}/{pixel_id}/events`.
pub(super) async fn events(
    State(sandbox): State<Arc<Sandbox>>,
    Path((version, pixel_id)): Path<(String, String)>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let fault = sandbox.meet(Platform::Meta);
    let request = Request { version, pixel_id, query: query.unwrap_or_default(), headers, body };
    let trace_id = format!("A{:015x}Sandbox", sandbox.serial());
    let mut response = match request.take_in(&sandbox, &fault) {
        Ok(received) => {
            json(StatusCode::OK, &json!({"events_received": received, "messages": [], "fbtrace_id": trace_id}))
        }
        Err(refusal) => {
            sandbox.ledger(Platform::Meta).refuse(sandbox.now(), refusal.reason, &refusal.place);
            refused(&refusal, &trace_id)
        }
    };
    let usage = match fault.mode {
        FaultMode::Throttle => Some((100, fault.retry_after.unwrap_or_default().as_secs().div_ceil(60))),
        _ => fault.usage,
    };
    if let Some((percent, minutes)) = usage {
        response.headers_mut().insert("x-business-use-case-usage", usage_header(percent, minutes));
    }
    fault.apply(response).await
}

/// `GET /meta/v{N.N}/{pixel_id}?fields=…`: the pixel, for whoever wants to know whether a token reaches it.
/// Source: developers.facebook.com/docs/marketing-api/reference/ad-account/adspixels (`GET /v25.0/<PIXEL_ID>/?fields=`),
/// read 2026-11-20.
pub(super) async fn pixel(
    State(sandbox): State<Arc<Sandbox>>,
    Path((version, pixel_id)): Path<(String, String)>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let fault = sandbox.meet(Platform::Meta);
    let (fields, query) = fields_of(&query.unwrap_or_default());
    let request = Request { version, pixel_id, query, headers, body: Bytes::new() };
    let trace_id = format!("A{:015x}Sandbox", sandbox.serial());
    let response = match request.show(&sandbox, &fault, &fields) {
        Ok(pixel) => json(StatusCode::OK, &pixel),
        Err(refusal) => {
            sandbox.ledger(Platform::Meta).refuse(sandbox.now(), refusal.reason, &refusal.place);
            refused(&refusal, &trace_id)
        }
    };
    fault.apply(response).await
}

/// The fields that a query asks for, and the rest of it.
fn fields_of(query: &str) -> (Vec<String>, String) {
    let (mut fields, mut rest) = (Vec::new(), url::form_urlencoded::Serializer::new(String::new()));
    for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
        if name == "fields" {
            fields.extend(value.split(',').map(str::to_owned));
        } else {
            rest.append_pair(&name, &value);
        }
    }
    (fields, rest.finish())
}

struct Request {
    version: String,
    pixel_id: String,
    query: String,
    headers: HeaderMap,
    body: Bytes,
}

/// A request's events and token, whichever way they were encoded.
struct Batch<'a> {
    data: Vec<&'a RawValue>,
    token: Option<Cow<'a, str>>,
}

/// What is kept of an event that passed.
struct Passed {
    key: Option<u64>,
    id: Arc<str>,
    /// `order_id`, for faults that name it.
    order: String,
    event: Arc<RawValue>,
}

impl Passed {
    fn ids(&self) -> [&str; 2] {
        [&self.id, &self.order]
    }
}

impl Request {
    /// The fields of the pixel that are asked for; its id in any case.
    fn show(&self, sandbox: &Sandbox, fault: &Met, fields: &[String]) -> Result<serde_json::Value, Refusal> {
        meet(fault)?;
        self.check_address()?;
        check_token(sandbox, self.token()?)?;
        let mut pixel = json!({ "id": self.pixel_id });
        for field in fields {
            match field.as_str() {
                "id" => {}
                "name" => pixel["name"] = json!("Sandbox pixel"),
                _ => return Err(Refusal::new(100, "unknown_field", "Tried accessing a nonexisting field")),
            }
        }
        Ok(pixel)
    }

    /// Takes all events in, or none; answers with how many were received.
    fn take_in(&self, sandbox: &Sandbox, fault: &Met) -> Result<usize, Refusal> {
        meet(fault)?;
        self.check_address()?;
        let token = self.token()?;
        let text = str::from_utf8(&self.body).map_err(|_| Refusal::new(100, "malformed", "the body is not UTF-8"))?;
        let form;
        let content_type = self.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
        let batch = match content_type.split(';').next().unwrap_or("").trim() {
            "application/json" => {
                let body: Body<'_> = shape::read(text).map_err(|malformed| refuse_body(&malformed))?;
                Batch { data: body.data, token: body.access_token.map(|token| Cow::Owned(token.to_owned())) }
            }
            "application/x-www-form-urlencoded" => {
                form = Form::read(text)?;
                form.batch()?
            }
            _ => return Err(Refusal::new(100, "content_type", "the body is neither application/json nor a form")),
        };
        check_token(sandbox, token.or_else(|| batch.token.as_deref().map(str::to_owned)))?;
        if batch.data.is_empty() || batch.data.len() > EVENTS_MAX {
            return Err(Refusal::new(100, "batch_size", "data must hold 1 to 1000 events").at("data"));
        }
        let now = sandbox.now();
        let mut passed = batch
            .data
            .iter()
            .enumerate()
            .map(|(index, raw)| self.judge(raw, now).map_err(|flaw| Refusal::of_event(index, flaw)))
            .collect::<Result<Vec<Passed>, Refusal>>()?;
        // Every one is looked at, as every one counts for `poison_every`.
        let poison = passed.iter().map(|event| fault.poisons(&event.ids(), event.event.get())).collect::<Vec<_>>();
        if let Some(index) = poison.iter().position(|is_poison| *is_poison) {
            let refusal = Refusal::new(100, FaultMode::Poison.as_str(), "Invalid parameter");
            return Err(Refusal { place: format!("data[{index}]"), ..refusal });
        }
        let mut ledger = sandbox.ledger(Platform::Meta);
        let (sent, mut index) = (passed.len(), 0);
        passed.retain(|event| {
            index += 1;
            !fault.drops(&event.ids(), index == sent)
        });
        if passed.len() < sent {
            let dropped = ledger.stats.failed_afterwards.entry(FaultMode::Partial.as_str()).or_default();
            *dropped += (sent - passed.len()) as u64;
        }
        ledger.forget(now, DEDUPE_WINDOW);
        let (received, to) = (passed.len(), Arc::<str>::from(&*self.pixel_id));
        for Passed { key, id, event, .. } in passed {
            let recorded = Recorded { at: now, to: Arc::clone(&to), id, event, duplicate: false };
            ledger.accept(key, recorded, &sandbox.config);
        }
        Ok(received)
    }

    fn check_address(&self) -> Result<(), Refusal> {
        let version = self.version.strip_prefix('v').and_then(|version| version.split_once('.'));
        if !version.is_some_and(|(major, minor)| shape::is_digits(major) && shape::is_digits(minor)) {
            return Err(Refusal::new(2500, "version", "unknown path components; the version looks like v25.0"));
        }
        if !shape::is_digits(&self.pixel_id) {
            let message =
                "Unsupported post request. Object does not exist or cannot be loaded due to missing permissions";
            return Err(Refusal { subcode: Some(33), ..Refusal::new(100, "pixel_id", message) });
        }
        Ok(())
    }

    /// The access token of the query or the `Authorization` header.
    fn token(&self) -> Result<Option<String>, Refusal> {
        let mut token = None;
        for (name, value) in url::form_urlencoded::parse(self.query.as_bytes()) {
            match &*name {
                "access_token" => token = Some(value.into_owned()),
                "appsecret_proof" => {}
                _ => return Err(Refusal::new(100, "unknown_field", "unknown query parameter")),
            }
        }
        let header = self.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        Ok(token.or_else(|| header.and_then(|value| value.strip_prefix("Bearer ")).map(str::to_owned)))
    }

    /// Reads and checks one event: an object, or a string that holds one as the Python SDK sends it.
    fn judge(&self, raw: &RawValue, now: Time) -> Result<Passed, Flaw> {
        let text = raw.get();
        let decoded = text.starts_with('"').then(|| serde_json::from_str::<String>(text).unwrap_or_default());
        let event: Event<'_> =
            shape::read(decoded.as_deref().unwrap_or(text)).map_err(|wrong| rules::flaw_of(&wrong))?;
        event.check(now)?;
        let id = event.event_id.as_deref();
        let key = id.map(|id| key((&*self.pixel_id, &*event.event_name, id)));
        let id = Arc::from(id.unwrap_or_default());
        let order = event.custom_data.as_ref().and_then(|custom| custom.order_id.as_deref());
        let order = order.unwrap_or_default().to_owned();
        drop(event);
        let kept = match decoded {
            Some(text) => RawValue::from_string(text).expect("it was read as JSON just now"),
            None => raw.to_owned(),
        };
        Ok(Passed { key, id, order, event: Arc::from(kept) })
    }
}

/// The fields of a form body.
struct Form {
    data: String,
    token: Option<String>,
}

impl Form {
    fn read(text: &str) -> Result<Self, Refusal> {
        let mut form = Self { data: String::new(), token: None };
        for (name, value) in url::form_urlencoded::parse(text.as_bytes()) {
            match &*name {
                "data" => form.data = value.into_owned(),
                "access_token" => form.token = Some(value.into_owned()),
                "appsecret_proof" | "test_event_code" | "partner_agent" | "namespace_id" | "upload_id"
                | "upload_tag" | "upload_source" => {}
                _ => return Err(Refusal::new(100, "unknown_field", "unknown form field")),
            }
        }
        Ok(form)
    }

    fn batch(&self) -> Result<Batch<'_>, Refusal> {
        let data = shape::read(&self.data).map_err(|malformed| refuse_body(&malformed))?;
        Ok(Batch { data, token: self.token.as_deref().map(Cow::Borrowed) })
    }
}

/// The faults that stop a request before it is looked at.
fn meet(fault: &Met) -> Result<(), Refusal> {
    let reason = fault.mode.as_str();
    match fault.mode {
        FaultMode::Outage => Err(Refusal {
            status: StatusCode::SERVICE_UNAVAILABLE,
            transient: true,
            ..Refusal::new(2, reason, "Service temporarily unavailable")
        }),
        FaultMode::Throttle => Err(Refusal {
            subcode: Some(2_446_079),
            ..Refusal::new(80_004, reason, "There have been too many calls to this ad-account.")
        }),
        FaultMode::ExpiredToken => Err(Refusal::expired()),
        FaultMode::ErrorRate => Err(Refusal {
            status: fault.status(),
            transient: true,
            ..Refusal::new(1, reason, "An unknown error occurred")
        }),
        _ => Ok(()),
    }
}

fn check_token(sandbox: &Sandbox, token: Option<String>) -> Result<(), Refusal> {
    let known = &sandbox.config.meta_tokens;
    match token.as_deref() {
        None | Some("") => Err(Refusal::new(190, "no_token", "An access token is required to request this resource.")),
        Some("expired") => Err(Refusal::expired()),
        Some("forbidden") => {
            let message = "Application does not have permission for this action";
            Err(Refusal { status: StatusCode::FORBIDDEN, ..Refusal::new(10, "forbidden", message) })
        }
        Some(token) if known.is_empty() || known.iter().any(|known| known.expose() == token) => Ok(()),
        Some(_) => Err(Refusal::new(190, "unknown_token", "Invalid OAuth access token.")),
    }
}

fn refuse_body(malformed: &Malformed) -> Refusal {
    match &malformed.kind {
        MalformedKind::UnknownField(_) => Refusal::new(100, "unknown_field", "unknown field").at(&malformed.field()),
        MalformedKind::MissingField(_) => Refusal::new(100, "missing_field", "missing field").at(&malformed.field()),
        _ => Refusal::new(100, "malformed", "the body does not have the documented form").at(&malformed.field()),
    }
}

/// The error answer.
/// Source: developers.facebook.com/docs/graph-api/guides/error-handling, read 2026-09-12.
fn refused(refusal: &Refusal, trace_id: &str) -> Response {
    let mut error = json!({
        "message": if refusal.code == 100 { "Invalid parameter" } else { &*refusal.message },
        "type": "OAuthException",
        "code": refusal.code,
        "is_transient": refusal.transient,
        "fbtrace_id": trace_id,
    });
    if let Some(subcode) = refusal.subcode {
        error["error_subcode"] = json!(subcode);
    }
    if refusal.code == 100 {
        error["error_user_title"] = json!("Invalid parameter");
        error["error_user_msg"] = json!(refusal.message);
    }
    if !refusal.field.is_empty() {
        error["error_data"] = json!({"blame_field_specs": [[refusal.field]]});
    }
    json(refusal.status, &json!({ "error": error }))
}

/// How much of the limit is used, and when there will be room again.
/// Source: developers.facebook.com/docs/graph-api/overview/rate-limiting, read 2026-09-12.
fn usage_header(percent: u32, minutes: u64) -> HeaderValue {
    let usage = json!({"1": [{"type": "ads_management", "call_count": percent, "total_cputime": 25, "total_time": 25,
        "estimated_time_to_regain_access": minutes}]});
    HeaderValue::from_str(&usage.to_string()).unwrap_or_else(|_| HeaderValue::from_static("{}"))
}

#[cfg(test)]
mod tests;
