//! The stand-in for `events:ingest` and `requestStatus:retrieve` of the Data Manager API: all or nothing at request
//! time, and failures of single events only as counts in the status.
//! Source: google-ads-datamanager 0.9.4 and developers.google.com/data-manager/api, checked 2026-11-20.

mod rules;
mod wire;

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::Arc,
};

use axum::{
    body::Bytes,
    extract::{RawQuery, State},
    http::{HeaderMap, StatusCode, header},
    response::Response,
};
use serde_json::{Value, json, value::RawValue};

use super::{
    Config, FaultMode, Platform, Sandbox,
    fault::Met,
    json,
    ledger::{Recorded, key},
    lock, oauth, shape,
};
use crate::model::Time;
use rules::{Violation, violation, violation_of};
use wire::{Destination, Event, Request};

/// The most events in one request.
/// Source: developers.google.com/data-manager/api/devguides/limits, read 2026-11-20.
const EVENTS_MAX: usize = 2000;
/// The most destinations in one request. Source: as above.
const DESTINATIONS_MAX: usize = 10;
/// How many violations one answer lists; Google too lists only some.
const VIOLATIONS_MAX: usize = 10;

/// A refused request.
struct Refusal {
    status: StatusCode,
    /// The canonical code's name.
    code: &'static str,
    reason: &'static str,
    message: &'static str,
    violations: Vec<Violation>,
}

impl Refusal {
    const fn new(status: StatusCode, code: &'static str, reason: &'static str, message: &'static str) -> Self {
        Self { status, code, reason, message, violations: Vec::new() }
    }

    fn invalid(violations: Vec<Violation>) -> Self {
        let reason = violations.first().map_or("INVALID_ARGUMENT", |first| first.reason);
        let message = "There was a problem with the request.";
        Self { violations, ..Self::new(StatusCode::BAD_REQUEST, "INVALID_ARGUMENT", reason, message) }
    }
}

impl From<Violation> for Refusal {
    fn from(violation: Violation) -> Self {
        Self::invalid(vec![violation])
    }
}

/// What became of a request, for each of its destinations.
struct Receipt {
    at: Time,
    destinations: Vec<Processed>,
}

struct Processed {
    destination: Box<RawValue>,
    records: u64,
    failed: BTreeMap<String, u64>,
}

/// The requests whose status can be asked for, and what has to be known of conversions to answer as Google does.
#[derive(Default)]
pub(super) struct Receipts {
    by_id: HashMap<String, Receipt>,
    order: VecDeque<String>,
    /// What is reported of a transaction the next time it comes.
    reasons: HashMap<String, &'static str>,
    /// What the conversions are worth, by action and transaction, with the order of their first arrival.
    worth: HashMap<u64, u64>,
    arrivals: VecDeque<u64>,
    adjusted: VecDeque<Value>,
}

impl Receipts {
    /// Has `reason` reported of `transaction` the next time it comes.
    pub(super) fn report(&mut self, transaction: &str, reason: &'static str) {
        self.reasons.insert(transaction.to_owned(), reason);
    }

    /// The conversions that got another value, oldest first.
    pub(super) fn adjusted(&self) -> Vec<Value> {
        self.adjusted.iter().cloned().collect()
    }

    /// Whether the conversion that `key` stands for is known with another value. It has this one from now on.
    fn adjusts(&mut self, key: u64, worth: u64, config: &Config) -> bool {
        if let Some(known) = self.worth.get_mut(&key) {
            return std::mem::replace(known, worth) != worth;
        }
        self.worth.insert(key, worth);
        self.arrivals.push_back(key);
        if self.arrivals.len() > config.ids_max
            && let Some(oldest) = self.arrivals.pop_front()
        {
            self.worth.remove(&oldest);
        }
        false
    }

    fn keep_adjusted(&mut self, entry: Value, config: &Config) {
        self.adjusted.push_back(entry);
        while self.adjusted.len() > config.recorded_max {
            self.adjusted.pop_front();
        }
    }

    fn add(&mut self, id: String, receipt: Receipt, max: usize) {
        self.order.push_back(id.clone());
        self.by_id.insert(id, receipt);
        while self.order.len() > max {
            let Some(oldest) = self.order.pop_front() else { break };
            self.by_id.remove(&oldest);
        }
    }
}

/// `POST /google/v1/events:ingest`.
pub(super) async fn ingest(State(sandbox): State<Arc<Sandbox>>, headers: HeaderMap, body: Bytes) -> Response {
    let fault = sandbox.meet(Platform::DataManager);
    let id = format!("sandbox-{:012x}", sandbox.serial());
    let answer = admit(&sandbox, &fault, &headers).and_then(|()| take_in(&sandbox, &fault, &headers, &body, &id));
    finish(&sandbox, fault, answer.map(|()| json!({ "requestId": id })), &id).await
}

/// `GET /google/v1/requestStatus:retrieve?requestId=…`.
pub(super) async fn status(
    State(sandbox): State<Arc<Sandbox>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let fault = sandbox.meet(Platform::DataManager);
    let id = format!("sandbox-{:012x}", sandbox.serial());
    let answer = admit(&sandbox, &fault, &headers).and_then(|()| look_up(&sandbox, &query.unwrap_or_default()));
    finish(&sandbox, fault, answer, &id).await
}

async fn finish(sandbox: &Sandbox, fault: Met, answer: Result<Value, Refusal>, id: &str) -> Response {
    let response = match answer {
        Ok(body) => json(StatusCode::OK, &body),
        Err(refusal) => {
            let field = refusal.violations.first().map_or("", |first| &first.field);
            sandbox.ledger(Platform::DataManager).refuse(sandbox.now(), refusal.reason, field);
            refused(&refusal, id)
        }
    };
    fault.apply(response).await
}

/// The faults that stop a request before it is looked at, and the access token.
fn admit(sandbox: &Sandbox, fault: &Met, headers: &HeaderMap) -> Result<(), Refusal> {
    let token = oauth::bearer(headers);
    match fault.mode {
        FaultMode::Outage => {
            let message = "The service is currently unavailable.";
            return Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "UNAVAILABLE", "outage", message));
        }
        FaultMode::Throttle => {
            let (status, code) = (StatusCode::TOO_MANY_REQUESTS, "RESOURCE_EXHAUSTED");
            return Err(Refusal::new(status, code, "throttle", "Quota exceeded for ingestion requests per minute."));
        }
        FaultMode::ExpiredToken => lock(&sandbox.tokens).revoke(token.unwrap_or_default()),
        FaultMode::ErrorRate => {
            return Err(Refusal::new(fault.status(), "INTERNAL", "error_rate", "Internal error encountered."));
        }
        _ => {}
    }
    if token.is_some_and(|token| lock(&sandbox.tokens).is_good(token, sandbox.now())) {
        return Ok(());
    }
    let reason = if token.is_some() { "ACCESS_TOKEN_EXPIRED" } else { "CREDENTIALS_MISSING" };
    let message = "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or \
                   other valid authentication credential.";
    Err(Refusal::new(StatusCode::UNAUTHORIZED, "UNAUTHENTICATED", reason, message))
}

/// What is kept of an event that passed.
struct Passed<'a> {
    raw: &'a RawValue,
    id: Arc<str>,
    /// Places in the list of destinations; empty: all.
    to: Vec<usize>,
    /// Stands for value and currency.
    worth: u64,
    fails: Option<&'static str>,
}

/// Takes all events in, or none.
fn take_in(sandbox: &Sandbox, fault: &Met, headers: &HeaderMap, body: &[u8], id: &str) -> Result<(), Refusal> {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    if !content_type.starts_with("application/json") {
        return Err(violation("", "INVALID_ARGUMENT", "the content type must be application/json").into());
    }
    let text = str::from_utf8(body).map_err(|_| violation("", "INVALID_ARGUMENT", "the body is not UTF-8"))?;
    let request: Request<'_> = shape::read(text).map_err(|wrong| violation_of(&wrong))?;
    let destinations = destinations(&request)?;
    let now = sandbox.now();
    let mut passed = Vec::with_capacity(request.events.len());
    let (mut violations, mut poisoned) = (Vec::new(), false);
    for (index, raw) in request.events.iter().enumerate() {
        match judge(&request, &destinations, raw, now) {
            Ok(event) if fault.poisons(&[&event.id], raw.get()) => {
                poisoned = true;
                let wrong = violation("", "INVALID_EVENT", "this event is refused on demand");
                violations.push(wrong.under(&format!("events[{index}]")));
            }
            Ok(event) => passed.push(event),
            Err(violation) => violations.push(violation.under(&format!("events[{index}]"))),
        }
        if violations.len() == VIOLATIONS_MAX {
            break;
        }
    }
    if !violations.is_empty() {
        let refusal = Refusal::invalid(violations);
        return Err(if poisoned { Refusal { reason: FaultMode::Poison.as_str(), ..refusal } } else { refusal });
    }
    if request.validate_only {
        return Ok(());
    }
    let sent = passed.len();
    for (index, event) in passed.iter_mut().enumerate() {
        if fault.drops(&[&event.id], index + 1 == sent) {
            event.fails = Some("PROCESSING_ERROR_REASON_CLICK_NOT_FOUND");
        }
    }
    record(sandbox, now, &request, &destinations, passed, id);
    Ok(())
}

fn destinations<'a>(request: &Request<'a>) -> Result<Vec<Destination<'a>>, Violation> {
    for (field, count) in [("destinations", request.destinations.len()), ("events", request.events.len())] {
        if count == 0 {
            return Err(violation(field, "REQUIRED_FIELD_MISSING", "must not be empty"));
        }
    }
    if request.destinations.len() > DESTINATIONS_MAX {
        return Err(violation("destinations", "TOO_MANY_DESTINATIONS", "more than 10 destinations"));
    }
    if request.events.len() > EVENTS_MAX {
        return Err(violation("events", "TOO_MANY_EVENTS", "more than 2000 events"));
    }
    if request.encryption_info.is_some() {
        return Err(violation("encryption_info", "INVALID_ARGUMENT", "the sandbox has no key to decrypt with"));
    }
    let mut destinations = Vec::<Destination<'a>>::with_capacity(request.destinations.len());
    for (index, &raw) in request.destinations.iter().enumerate() {
        let read = shape::read::<Destination<'_>>(raw.get()).map_err(|wrong| violation_of(&wrong));
        let read = read.and_then(|destination| destination.check().map(|()| destination));
        let destination = read.map_err(|wrong| wrong.under(&format!("destinations[{index}]")))?;
        let reference = destination.reference.as_deref();
        if reference.is_some() && destinations.iter().any(|other| other.reference.as_deref() == reference) {
            let field = format!("destinations[{index}].reference");
            return Err(violation(&field, "DUPLICATE_DESTINATION_REFERENCE", "used by another destination"));
        }
        destinations.push(destination);
    }
    Ok(destinations)
}

fn judge<'a>(
    request: &Request<'a>,
    destinations: &[Destination<'a>],
    raw: &'a RawValue,
    now: Time,
) -> Result<Passed<'a>, Violation> {
    let event: Event<'_> = shape::read(raw.get()).map_err(|wrong| violation_of(&wrong))?;
    let fails = event.check(request.encoding, now)?;
    let place = |reference: &str| destinations.iter().position(|it| it.reference.as_deref() == Some(reference));
    let to = event.destination_references.iter().map(|reference| {
        let unknown =
            || violation("destination_references", "INVALID_DESTINATION", "names no destination of the request");
        place(reference).ok_or_else(unknown)
    });
    let to = to.collect::<Result<Vec<usize>, Violation>>()?;
    let worth = key((event.conversion_value.map(f64::to_bits), event.currency.as_deref()));
    Ok(Passed { raw, id: Arc::from(event.transaction_id.as_deref().unwrap_or_default()), to, worth, fails })
}

fn record(
    sandbox: &Sandbox,
    now: Time,
    request: &Request<'_>,
    destinations: &[Destination<'_>],
    passed: Vec<Passed<'_>>,
    id: &str,
) {
    let names: Vec<Arc<str>> =
        destinations.iter().map(|it| Arc::from(it.product_destination_id.as_deref().unwrap_or_default())).collect();
    let empty = |&raw: &&RawValue| Processed { destination: raw.to_owned(), records: 0, failed: BTreeMap::new() };
    let mut processed: Vec<Processed> = request.destinations.iter().map(empty).collect();
    let mut receipts = lock(&sandbox.receipts);
    let mut ledger = sandbox.ledger(Platform::DataManager);
    for Passed { raw, id, mut to, worth, fails } in passed {
        if to.is_empty() {
            to.extend(0..destinations.len());
        }
        let fails = receipts.reasons.remove(&*id).or(fails);
        let event = Arc::<RawValue>::from(raw.to_owned());
        for place in to {
            processed[place].records += 1;
            if let Some(reason) = fails {
                *processed[place].failed.entry(spelled_out(reason)).or_default() += 1;
                *ledger.stats.failed_afterwards.entry(reason).or_default() += 1;
                continue;
            }
            let (to, id, event) = (Arc::clone(&names[place]), Arc::clone(&id), Arc::clone(&event));
            let dedupe = key((&*to, &*id));
            // An id that is known with another value is no duplicate: the value is overwritten.
            if receipts.adjusts(dedupe, worth, &sandbox.config) {
                ledger.stats.adjusted += 1;
                let event = serde_json::from_str::<Value>(event.get()).unwrap_or_default();
                let entry = json!({"at": now.to_string(), "product_destination_id": &*to, "event": event});
                receipts.keep_adjusted(entry, &sandbox.config);
                continue;
            }
            ledger.accept(Some(dedupe), Recorded { at: now, to, id, event, duplicate: false }, &sandbox.config);
        }
    }
    drop(ledger);
    let receipt = Receipt { at: now, destinations: processed };
    receipts.add(id.to_owned(), receipt, sandbox.config.receipts_max);
}

/// A reason of processing as the status has it.
fn spelled_out(reason: &str) -> String {
    if reason.starts_with("PROCESSING_") { reason.to_owned() } else { format!("PROCESSING_ERROR_REASON_{reason}") }
}

/// The status of an earlier request. One failure in a request of several is `PARTIAL_SUCCESS`.
fn look_up(sandbox: &Sandbox, query: &str) -> Result<Value, Refusal> {
    let mut wanted = None;
    for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
        match &*name {
            "requestId" => wanted = Some(value.into_owned()),
            _ => return Err(violation("", "INVALID_ARGUMENT", "unknown query parameter").into()),
        }
    }
    let receipts = lock(&sandbox.receipts);
    let receipt = wanted.as_ref().and_then(|id| receipts.by_id.get(id));
    let unknown = || violation("request_id", "INVALID_REQUEST_ID", "no such request, or too many since");
    let receipt = receipt.ok_or_else(unknown)?;
    let processing = sandbox.now() < receipt.at.plus(sandbox.config.processing);
    let per_destination = receipt.destinations.iter().map(|processed| {
        let destination = serde_json::from_str::<Value>(processed.destination.get()).unwrap_or_default();
        let failed: u64 = processed.failed.values().sum();
        let outcome = match failed {
            _ if processing => "PROCESSING",
            0 => "SUCCESS",
            failed if failed == processed.records => "FAILED",
            _ => "PARTIAL_SUCCESS",
        };
        let mut status = json!({"destination": destination, "requestStatus": outcome});
        if !processing {
            status["eventsIngestionStatus"] = json!({"recordCount": processed.records.to_string()});
        }
        if !processing && failed > 0 {
            let counts = processed.failed.iter();
            let counts = counts.map(|(reason, count)| json!({"recordCount": count.to_string(), "reason": reason}));
            status["errorInfo"] = json!({"errorCounts": counts.collect::<Vec<_>>()});
        }
        status
    });
    Ok(json!({"requestStatusPerDestination": per_destination.collect::<Vec<_>>()}))
}

/// The error answer.
/// Source: developers.google.com/data-manager/api/devguides/concepts/understand-errors, read 2026-11-20.
fn refused(refusal: &Refusal, id: &str) -> Response {
    let mut details = Vec::new();
    if refusal.status != StatusCode::SERVICE_UNAVAILABLE {
        let reason = match refusal.reason {
            "throttle" => "RESOURCE_EXHAUSTED",
            "error_rate" => "INTERNAL_ERROR",
            "poison" => "INVALID_EVENT",
            reason => reason,
        };
        details.push(json!({
            "@type": "type.googleapis.com/google.rpc.ErrorInfo",
            "reason": reason,
            "domain": "datamanager.googleapis.com",
        }));
    }
    if !refusal.violations.is_empty() {
        let violations = refusal.violations.iter().map(|wrong| {
            let field = format!("events.{}", wrong.field);
            json!({"field": field, "description": wrong.description, "reason": wrong.reason})
        });
        let violations: Vec<Value> = violations.collect();
        details.push(json!({"@type": "type.googleapis.com/google.rpc.BadRequest", "fieldViolations": violations}));
    }
    details.push(json!({"@type": "type.googleapis.com/google.rpc.RequestInfo", "requestId": id}));
    let (code, message, status) = (refusal.status.as_u16(), refusal.message, refusal.code);
    json(refusal.status, &json!({"error": {"code": code, "message": message, "status": status, "details": details}}))
}

#[cfg(test)]
mod tests;
