//! What Google's answer means for each event.
//!
//! An error names what it refuses by a path such as `events.events[3].event_source` (the prefix is doubled) or
//! `destinations[0].product_destination_id`. The reasons are an open set: one that is not known here is final for the
//! event it names, and has the batch split when it names none.
//! Source: <https://developers.google.com/data-manager/api/devguides/concepts/understand-errors> and
//! google-ads-datamanager 0.9.4, `google/ads/datamanager_v1/types/error.py`, read 2026-11-20.

use std::{collections::BTreeSet, time::Duration};

use serde::Deserialize;

use super::super::{
    Response, Verdict,
    google::{TOKEN_CHARS_MAX, failure, parse_delay},
};
use crate::model::Failure;

/// How long a conversion action has to exist before Google takes conversions for it.
/// Source: google-ads 34.0.0, v26/errors/types/conversion_upload_error.py (`TOO_RECENT_CONVERSION_ACTION`), read
/// 2026-11-20.
const NEW_ACTION_WAIT: Duration = Duration::from_secs(6 * 60 * 60);

/// The reason that asks for [`NEW_ACTION_WAIT`].
const NEW_ACTION: &str = "CONVERSION_ACTION_TOO_RECENTLY_CREATED";

/// Google is busy, whatever the HTTP status says.
const BUSY: [&str; 8] = [
    "ABORTED",
    "CANCELLED",
    "DEADLINE_EXCEEDED",
    "INTERNAL",
    "INTERNAL_ERROR",
    "RESOURCE_EXHAUSTED",
    "UNAVAILABLE",
    "UNKNOWN",
];

/// One conversion action is at fault: those of the others are taken.
const ACTION: [&str; 2] = ["INVALID_CONVERSION_ACTION_ID", "INVALID_CONVERSION_ACTION_TYPE"];

/// The account or our settings are at fault: no event would be taken.
const SET_UP: [&str; 20] = [
    "ADVERTISER_TOS_NOT_ACCEPTED",
    "DESTINATION_ACCOUNT_DATA_POLICY_PROHIBITS_ENHANCED_CONVERSIONS",
    "DESTINATION_ACCOUNT_ENHANCED_CONVERSIONS_TERMS_NOT_SIGNED",
    "DESTINATION_ACCOUNT_NOT_ENABLED_ENHANCED_CONVERSIONS_FOR_LEADS",
    "DESTINATION_ACCOUNT_TYPE_MISMATCH",
    "DIFFERENT_LOGIN_ACCOUNTS_NOT_ALLOWED_FOR_DATA_PARTNER",
    "EU_POLITICAL_ADVERTISING_DECLARATION_REQUIRED",
    "INVALID_DESTINATION",
    "INVALID_MERCHANT_FEED_LANGUAGE_CODE",
    "INVALID_MERCHANT_ID",
    "LINKED_ACCOUNT_ONLY_ALLOWED_WITH_DATA_PARTNER_LOGIN_ACCOUNT",
    "NOT_ALLOWLISTED",
    "NOT_FOUND",
    "OPERATING_ACCOUNT_LOGIN_ACCOUNT_MISMATCH",
    "PERMISSION_DENIED",
    "REQUIRED_PREREQUISITE_LINK_MISSING",
    "TERMS_AND_CONDITIONS_NOT_SIGNED",
    "UNAUTHENTICATED",
    "UNSUPPORTED_LINKED_ACCOUNT_FOR_DATA_PARTNER",
    "UNSUPPORTED_OPERATING_ACCOUNT_FOR_DATA_PARTNER",
];

/// One verdict for each event; `destination_of` holds the index in the request's `destinations` of each event's action,
/// `configured` is the number of actions that events may have.
pub(super) fn verdicts(destination_of: &[usize], configured: usize, response: &Response) -> Vec<Verdict> {
    let Response::Http { status, retry_after, body, .. } = response else {
        return vec![busy(None, failure("unexpected_answer", None, "not an HTTP answer")); destination_of.len()];
    };
    if (200..300).contains(status) {
        let verdict = match request_id(body) {
            Some(_) => Verdict::Delivered,
            None => busy(*retry_after, failure("no_request_id", None, "success without a request id")),
        };
        return vec![verdict; destination_of.len()];
    }
    let code = format!("http_{status}");
    let error = error_of(body);
    let all = |verdict: Verdict| vec![verdict; destination_of.len()];
    let Some(error) = error else {
        let failure = failure(&code, None, "an answer that is no error of Google's");
        return match status {
            401 | 403 => all(Verdict::Blocked(failure)),
            413 => all(refused(destination_of.len(), failure)),
            _ => all(busy(*retry_after, failure)),
        };
    };
    let details = details_of(&error);
    let after = retry_after.or_else(|| details.iter().find_map(|detail| parse_delay(detail.retry_delay.as_deref()?)));
    let faults = faults(&error, &details, &code);
    let first = || faults.first().map(|fault| fault.failure.clone()).unwrap_or_default();
    let all_final = faults.iter().all(|fault| fault.class == Class::Final);
    match status {
        408 | 429 | 500..=599 => all(busy(after, first())),
        401 => all(Verdict::Blocked(first())),
        403 | 404 if all_final => all(Verdict::Blocked(first())),
        400 | 413 | 422 => settle(destination_of, configured, &faults, after),
        // An answer that Google does not document ends no event.
        _ if all_final => all(busy(after, first())),
        _ => settle(destination_of, configured, &faults, after),
    }
}

/// What Google has against a request, at least one thing; empty if the body is no error of Google's.
pub(super) fn complaints(status: u16, body: &[u8]) -> Vec<Failure> {
    let Some(error) = error_of(body) else { return Vec::new() };
    let faults = faults(&error, &details_of(&error), &format!("http_{status}"));
    faults.into_iter().map(|fault| fault.failure).collect()
}

fn error_of(body: &[u8]) -> Option<ErrorBody> {
    serde_json::from_slice::<Reply>(body).ok()?.error
}

fn details_of(error: &ErrorBody) -> Vec<Detail> {
    error.details.iter().filter_map(|detail| Detail::deserialize(detail).ok()).collect()
}

/// Google's id of the request: of the receipt, or among an error's details.
pub(super) fn request_id(body: &[u8]) -> Option<String> {
    let reply: Reply = serde_json::from_slice(body).ok()?;
    let of_details = |error: ErrorBody| error.details.iter().find_map(|d| Detail::deserialize(d).ok()?.request_id);
    let id = reply.request_id.or_else(|| reply.error.and_then(of_details))?;
    let plain = !id.is_empty() && id.bytes().all(|b| b.is_ascii_graphic());
    plain.then(|| id.chars().take(TOKEN_CHARS_MAX).collect())
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Reply {
    request_id: Option<String>,
    error: Option<ErrorBody>,
}

#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
struct ErrorBody {
    status: String,
    message: String,
    details: Vec<serde_json::Value>,
}

/// The fields of `ErrorInfo`, `BadRequest`, `RequestInfo` and `RetryInfo` together: no two share a name.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Detail {
    reason: Option<String>,
    field_violations: Vec<Violation>,
    request_id: Option<String>,
    retry_delay: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Violation {
    field: String,
    description: String,
    reason: String,
}

/// One thing that Google has against the request.
struct Fault {
    place: Place,
    class: Class,
    failure: Failure,
}

enum Place {
    Event(usize),
    Destination(usize),
    Request,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Busy,
    NewAction,
    /// Of one conversion action.
    Action,
    SetUp,
    Final,
}

fn faults(error: &ErrorBody, details: &[Detail], http: &str) -> Vec<Fault> {
    let stated = details.iter().find_map(|detail| detail.reason.as_deref()).unwrap_or(&error.status);
    let reason = if stated.is_empty() { http } else { stated };
    let violations: Vec<_> = details.iter().flat_map(|detail| &detail.field_violations).collect();
    if violations.is_empty() {
        let failure = failure(reason, None, &error.message);
        return vec![Fault { place: Place::Request, class: class(reason), failure }];
    }
    let fault = |violation: &&Violation| {
        let reason = if violation.reason.is_empty() { reason } else { &violation.reason };
        let place = match (index(&violation.field, "events"), index(&violation.field, "destinations")) {
            (Some(event), _) => Place::Event(event),
            (None, Some(destination)) => Place::Destination(destination),
            (None, None) => Place::Request,
        };
        let class = match (&place, class(reason)) {
            (Place::Destination(_), Class::Final) if violation.field.ends_with("product_destination_id") => {
                Class::Action
            }
            (Place::Destination(_), Class::Final) => Class::SetUp,
            (_, class) => class,
        };
        let text = if violation.description.is_empty() { &error.message } else { &violation.description };
        Fault { place, class, failure: failure(reason, Some(&violation.field), text) }
    };
    violations.iter().map(fault).collect()
}

fn class(reason: &str) -> Class {
    match reason {
        NEW_ACTION => Class::NewAction,
        _ if BUSY.contains(&reason) => Class::Busy,
        _ if ACTION.contains(&reason) => Class::Action,
        _ if SET_UP.contains(&reason) => Class::SetUp,
        _ => Class::Final,
    }
}

/// Verdicts for a request that was refused for `faults`, of which there is at least one.
fn settle(destination_of: &[usize], configured: usize, faults: &[Fault], after: Option<Duration>) -> Vec<Verdict> {
    let all = |verdict: Verdict| vec![verdict; destination_of.len()];
    let of_class = |class| faults.iter().find(|fault| fault.class == class).map(|fault| fault.failure.clone());
    if let Some(failure) = of_class(Class::SetUp) {
        return all(Verdict::Blocked(failure));
    }
    if let Some(failure) = of_class(Class::Busy) {
        return all(busy(after, failure));
    }
    let actions = destination_of.iter().max().map_or(0, |last| last + 1);
    let at_fault = |fault: &Fault, event: usize| match (&fault.place, fault.class) {
        (Place::Event(index), _) => *index == event,
        (Place::Destination(index), _) => destination_of[event] == *index,
        // Only one can be meant.
        (Place::Request, Class::Action) => actions == 1,
        (Place::Request, _) => false,
    };
    if let Some(failure) = of_class(Class::Action) {
        // With one wrong action among several the events of the others go on. With all of them wrong nothing does, and
        // nothing is given up.
        let wrong: BTreeSet<usize> = (0..destination_of.len())
            .filter(|event| faults.iter().any(|fault| fault.class == Class::Action && at_fault(fault, *event)))
            .map(|event| destination_of[event])
            .collect();
        if wrong.is_empty() || wrong.len() >= configured {
            return all(Verdict::Blocked(failure));
        }
    }
    let mut verdicts = all(Verdict::Resend);
    let mut named = false;
    for fault in faults {
        for (event, verdict) in verdicts.iter_mut().enumerate() {
            if at_fault(fault, event) && !matches!(verdict, Verdict::Rejected(_) | Verdict::Misconfigured(_)) {
                named = true;
                *verdict = match fault.class {
                    Class::NewAction => busy(Some(NEW_ACTION_WAIT), fault.failure.clone()),
                    Class::Action => Verdict::Misconfigured(fault.failure.clone()),
                    _ => Verdict::Rejected(fault.failure.clone()),
                };
            }
        }
    }
    match (named, faults.first()) {
        (true, _) => verdicts,
        (false, Some(fault)) if fault.class == Class::NewAction => {
            all(busy(Some(NEW_ACTION_WAIT), fault.failure.clone()))
        }
        (false, fault) => {
            let failure = fault.map(|fault| fault.failure.clone()).unwrap_or_default();
            all(refused(destination_of.len(), failure))
        }
    }
}

/// A refusal that names no event: of one event it is final, of several somebody has to be found.
fn refused(events: usize, failure: Failure) -> Verdict {
    if events > 1 { Verdict::Isolate(failure) } else { Verdict::Rejected(failure) }
}

fn busy(after: Option<Duration>, failure: Failure) -> Verdict {
    Verdict::Retry { after, failure }
}

/// The number in `list[number]`, wherever the path has it.
fn index(path: &str, list: &str) -> Option<usize> {
    path.split('.').find_map(|part| part.strip_prefix(list)?.strip_prefix('[')?.split(']').next()?.parse().ok())
}
