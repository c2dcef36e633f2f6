//! What Google's answer means for each row.
//!
//! With `partialFailure` an upload is answered by 200 even if every row failed: `results` has a slot for each row, empty
//! for one that failed, and `partialFailureError` holds a `GoogleAdsFailure` whose errors name their rows. Errors of the
//! whole request come as 4xx and 5xx with the same `GoogleAdsFailure` inside. A row is delivered only if its slot says
//! so, or Google says that it has it already.
//! Source: google-ads 34.0.0, v26/errors/types/errors.py and v26/services/types/conversion_upload_service.py, read
//! 2026-11-20.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use serde::Deserialize;
use serde_json::Value;

use super::{
    super::{
        Response, Verdict,
        google::{TOKEN_CHARS_MAX, failure, parse_delay},
    },
    codes::{self, Class},
};
use crate::model::{Failure, SealedEvent};

/// Where Google tells its id of the request.
pub(super) const REQUEST_ID_HEADER: &str = "request-id";

/// How long Google may take to process a conversion before it can be adjusted. It names no time; this is the one after
/// which it finds clicks.
const PROCESSING: Duration = Duration::from_secs(6 * 60 * 60);

/// The conversion was taken back earlier, which is what a refund wants, whoever did it.
const RETRACTED: &str = "CONVERSION_ALREADY_RETRACTED";

/// The lists of the two calls, as their errors call them.
const LISTS: [&str; 2] = ["conversions", "conversion_adjustments"];

/// What a request was about.
pub(super) struct Sent<'a> {
    /// Its rows.
    pub(super) events: &'a [&'a SealedEvent],
    /// The conversion action of each row.
    pub(super) actions: &'a [&'a str],
    /// How many different actions events may have.
    pub(super) configured: usize,
}

/// One verdict for each row.
pub(super) fn verdicts(request: &Sent<'_>, response: &Response) -> Vec<Verdict> {
    let sent = request.events;
    let all = |verdict: Verdict| vec![verdict; sent.len()];
    let Response::Http { status, retry_after, body, .. } = response else {
        return all(busy(None, failure("unexpected_answer", None, "not an HTTP answer")));
    };
    let reply: Option<Reply> = serde_json::from_slice(body).ok();
    if (200..300).contains(status) {
        return match reply {
            Some(reply) => of_success(request, &reply, *retry_after),
            None => {
                all(busy(*retry_after, failure("unexpected_answer", None, "success without an answer of Google's")))
            }
        };
    }
    let code = format!("http_{status}");
    let Some(error) = reply.and_then(|reply| reply.error) else {
        let failure = failure(&code, None, "an answer that is no error of Google's");
        return match status {
            401 | 403 | 404 => all(Verdict::Blocked(failure)),
            413 => all(apart(sent.len(), failure)),
            _ => all(busy(*retry_after, failure)),
        };
    };
    let mut faults = faults(&error, sent.len());
    if faults.is_empty() {
        let stated = if error.status.is_empty() { &code } else { &error.status };
        let class = if *status == 400 { Class::Final } else { Class::Unknown };
        faults.push(Fault { row: None, class, after: None, failure: failure(stated, None, &error.message) });
    }
    let worst =
        |faults: &[Fault]| faults.iter().max_by_key(|fault| fault.class.finality()).map(|it| it.failure.clone());
    let whole = worst(&faults).unwrap_or_default();
    let temporary = |fault: &Fault| matches!(fault.class, Class::Busy | Class::Later(_));
    match status {
        408 | 429 | 500..=599 => {
            let after = faults.iter().filter_map(|fault| fault.after).max().or(*retry_after);
            all(busy(after, whole))
        }
        401 => all(Verdict::Blocked(whole)),
        403 | 404 if !faults.iter().any(temporary) => all(Verdict::Blocked(whole)),
        413 => all(apart(sent.len(), whole)),
        _ => of_refusal(request, &faults, *retry_after),
    }
}

/// Google's id of the request.
pub(super) fn request_id(response: &Response) -> Option<String> {
    let Response::Http { body, .. } = response else { return None };
    let in_body = || {
        let reply: Reply = serde_json::from_slice(body).ok()?;
        let error = reply.error.or(reply.partial_failure_error)?;
        error.details.iter().find_map(|detail| Some(detail.get("requestId")?.as_str()?.to_owned()))
    };
    let id = response.header(REQUEST_ID_HEADER).map(str::to_owned).or_else(in_body)?;
    let plain = !id.is_empty() && id.len() <= TOKEN_CHARS_MAX && id.bytes().all(|b| b.is_ascii_graphic());
    plain.then_some(id)
}

/// What Google has against an upload that it only validates.
pub(super) fn faults_of(response: &Response) -> Result<Vec<Fault>, String> {
    let Response::Http { status, body, .. } = response else { return Err("not an HTTP answer".into()) };
    let reply: Option<Reply> = serde_json::from_slice(body).ok();
    let ok = (200..300).contains(status);
    let Some(reply) = reply else { return Err(format!("HTTP {status}, and no answer of Google's")) };
    match (ok, reply.error, reply.partial_failure_error) {
        (true, _, None) => Ok(Vec::new()),
        (true, _, Some(error)) | (false, Some(error), _) => {
            let faults = faults(&error, usize::MAX);
            if faults.is_empty() {
                let told = failure(&error.status, None, &error.message);
                return Err(format!("HTTP {status}: {}: {}", told.code, told.message));
            }
            Ok(faults)
        }
        (false, None, _) => Err(format!("HTTP {status}, and no answer of Google's")),
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Reply {
    #[serde(default)]
    results: Vec<Value>,
    partial_failure_error: Option<Status>,
    error: Option<Status>,
}

/// Google's general form of an error. Its `code` is left out: a number in one place, and the HTTP status in the other.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Status {
    status: String,
    message: String,
    details: Vec<Value>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct GoogleAdsError {
    /// One enum and one of its codes.
    error_code: BTreeMap<String, Value>,
    message: String,
    location: Location,
    details: ErrorDetails,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Location {
    field_path_elements: Vec<FieldPathElement>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct FieldPathElement {
    field_name: String,
    index: Option<usize>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ErrorDetails {
    unpublished_error_code: Option<String>,
    quota_error_details: QuotaErrorDetails,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct QuotaErrorDetails {
    retry_delay: Option<String>,
}

/// One thing that Google has against a row, or against the request.
pub(super) struct Fault {
    /// `None`: against the request.
    row: Option<usize>,
    class: Class,
    /// When to come back, if Google says.
    after: Option<Duration>,
    pub(super) failure: Failure,
}

/// The faults of a request of so many rows. An error of another shape is left out, and hides no other.
fn faults(error: &Status, rows: usize) -> Vec<Fault> {
    let is_failure = |detail: &&Value| detail["@type"].as_str().is_some_and(|name| name.ends_with("GoogleAdsFailure"));
    let errors = error.details.iter().filter(is_failure).filter_map(|detail| detail["errors"].as_array()).flatten();
    errors.filter_map(|error| GoogleAdsError::deserialize(error).ok()).map(|error| fault(&error, rows)).collect()
}

fn fault(error: &GoogleAdsError, rows: usize) -> Fault {
    let path = &error.location.field_path_elements;
    let list = path.iter().find(|element| LISTS.contains(&element.field_name.as_str()));
    // An index that is not there is no zero: the error is about the request, unless there is but one row it can be about.
    let named = list.and_then(|element| element.index).filter(|index| *index < rows);
    let row = named.or_else(|| (rows == 1).then_some(0));
    let (kind, code) =
        error.error_code.iter().next().map_or(("", ""), |(kind, code)| (kind, code.as_str().unwrap_or("")));
    let class = codes::class(kind, code);
    let hidden = error.details.unpublished_error_code.as_deref().filter(|_| code == "ERROR_CODE_NOT_PUBLISHED");
    let field: Vec<String> = path.iter().map(element_text).collect();
    let message = match codes::advice(code) {
        Some(advice) if kind == "notAllowlistedError" => advice,
        _ => &error.message,
    };
    let failure = failure(hidden.unwrap_or(code), Some(&field.join(".")), message);
    let after = error.details.quota_error_details.retry_delay.as_deref().and_then(parse_delay);
    Fault { row, class, after, failure }
}

fn element_text(element: &FieldPathElement) -> String {
    match element.index {
        Some(index) => format!("{}[{index}]", element.field_name),
        None => element.field_name.clone(),
    }
}

/// The most final of several faults.
fn most_final<'a>(faults: impl Iterator<Item = &'a Fault>) -> Option<&'a Fault> {
    faults.max_by_key(|fault| {
        let wait = match fault.class {
            Class::Later(wait) => Some(wait),
            _ => fault.after,
        };
        (fault.class.finality(), wait)
    })
}

/// Whether another action may work than those that Google has something against: then these must not stop it. With all of
/// them wrong nothing works, and nothing is given up.
fn another_may_work(request: &Sent<'_>, faults: &[Fault]) -> bool {
    let of_action = faults.iter().filter(|fault| fault.class == Class::Action);
    let wrong: BTreeSet<_> = of_action.filter_map(|fault| request.actions.get(fault.row?)).collect();
    wrong.len() < request.configured
}

fn of_success(request: &Sent<'_>, reply: &Reply, retry_after: Option<Duration>) -> Vec<Verdict> {
    let sent = request.events;
    let faults = reply.partial_failure_error.as_ref().map(|error| faults(error, sent.len())).unwrap_or_default();
    let confirmed =
        |row: usize| reply.results.get(row).and_then(Value::as_object).is_some_and(|result| !result.is_empty());
    let of_row = |row: usize| most_final(faults.iter().filter(|fault| fault.row == Some(row)));
    let of_request = most_final(faults.iter().filter(|fault| fault.row.is_none()));
    let others = another_may_work(request, &faults);
    let verdict = |(row, event): (usize, &&SealedEvent)| match (of_row(row), of_request) {
        (Some(fault), _) => verdict_of(fault, event, others, retry_after),
        (None, _) if confirmed(row) => Verdict::Delivered,
        (None, Some(fault)) => verdict_of_request(fault, sent.len(), retry_after),
        (None, None) => busy(retry_after, failure("no_result", None, "the answer says nothing of this row")),
    };
    sent.iter().enumerate().map(verdict).collect()
}

fn of_refusal(request: &Sent<'_>, faults: &[Fault], retry_after: Option<Duration>) -> Vec<Verdict> {
    let sent = request.events;
    let others = another_may_work(request, faults);
    let of_row = |row: usize| most_final(faults.iter().filter(|fault| fault.row == Some(row)));
    let of_request = most_final(faults.iter().filter(|fault| fault.row.is_none()));
    let verdict = |(row, event): (usize, &&SealedEvent)| match (of_row(row), of_request) {
        (Some(fault), _) => verdict_of(fault, event, others, retry_after),
        (None, Some(fault)) => verdict_of_request(fault, sent.len(), retry_after),
        (None, None) => Verdict::Resend,
    };
    sent.iter().enumerate().map(verdict).collect()
}

/// What a fault means for the row that it names. `others`: whether another conversion action may work.
fn verdict_of(fault: &Fault, event: &SealedEvent, others: bool, retry_after: Option<Duration>) -> Verdict {
    let failure = fault.failure.clone();
    match fault.class {
        Class::Unknown | Class::Busy => busy(fault.after.or(retry_after), failure),
        Class::Later(wait) => busy(Some(wait), failure),
        Class::NotFound if event.change.is_some() => busy(Some(PROCESSING), failure),
        Class::NotFound | Class::Final => Verdict::Rejected(failure),
        Class::Apart => Verdict::Isolate(failure),
        Class::Account => Verdict::Blocked(failure),
        Class::Action if others => Verdict::Misconfigured(failure),
        Class::Action => Verdict::Blocked(failure),
        Class::Row => Verdict::Misconfigured(failure),
        Class::Taken if failure.code == RETRACTED && wants_value(event) => Verdict::Rejected(failure),
        Class::Taken => Verdict::Delivered,
    }
}

/// Whether `event` gives its conversion a value, which one that was taken back can no longer have.
fn wants_value(event: &SealedEvent) -> bool {
    !event.name.is_refund() && event.change.as_ref().is_some_and(|change| !change.is_total())
}

/// What a fault that names no row means for each of so many rows.
fn verdict_of_request(fault: &Fault, rows: usize, retry_after: Option<Duration>) -> Verdict {
    let failure = fault.failure.clone();
    match fault.class {
        Class::Unknown | Class::Busy => busy(fault.after.or(retry_after), failure),
        Class::Later(wait) => busy(Some(wait), failure),
        Class::Account | Class::Action => Verdict::Blocked(failure),
        // It holds for some row, and only they themselves can tell for which.
        Class::NotFound | Class::Apart | Class::Final | Class::Row | Class::Taken => apart(rows, failure),
    }
}

/// A refusal that names no row: of one row it is final, of several somebody has to be found.
fn apart(rows: usize, failure: Failure) -> Verdict {
    if rows > 1 { Verdict::Isolate(failure) } else { Verdict::Rejected(failure) }
}

fn busy(after: Option<Duration>, failure: Failure) -> Verdict {
    Verdict::Retry { after, failure }
}
