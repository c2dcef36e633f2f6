//! What Google says later of a request it gave a receipt for, and of one that it was only to validate.
//!
//! `requestStatus:retrieve` answers for each destination of the request: a status, and how many records failed or were
//! warned of, by reason. No reason says which event it was.
//! Source: <https://developers.google.com/data-manager/api/devguides/diagnostics> and google-ads-datamanager 0.9.4,
//! `google/ads/datamanager_v1/types/request_status_per_destination.py` and `processing_errors.py`, read 2026-11-20.

use std::{collections::BTreeMap, time::Duration};

use serde::Deserialize;

use super::{
    super::{Report, Response},
    answer,
};
use crate::model::Failure;

/// When events that came too early are sent again. This API states no number; it is that of the Google Ads API for clicks.
/// Source: google-ads 34.0.0, v26/errors/types/conversion_upload_error.py (`TOO_RECENT_EVENT`), read 2026-11-20.
const RESEND_AFTER: Duration = Duration::from_secs(6 * 60 * 60);

/// Google will know the click later, or failed itself: the events are worth sending again.
const RESEND: [&str; 2] = ["TOO_RECENT_CLICK", "INTERNAL_ERROR"];

/// Google has the conversion already, which is what was wanted.
const TAKEN: [&str; 2] = ["DUPLICATE_GCLID", "DUPLICATE_TRANSACTION_ID"];

/// There will never be an answer: the id is not known, or its request is about 50 days old.
const LOST: [&str; 2] = ["INVALID_REQUEST_ID", "REQUEST_TOO_OLD"];

/// What most reasons begin with.
const PREFIXES: [&str; 3] = ["PROCESSING_ERROR_REASON_", "PROCESSING_WARNING_REASON_", "PROCESSING_ERROR_"];

/// The most different reasons that are kept: an answer cannot fill the metrics.
const REASONS_MAX: usize = 100;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Reply {
    request_status_per_destination: Vec<Status>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Status {
    request_status: String,
    events_ingestion_status: Ingested,
    error_info: Errors,
    warning_info: Warnings,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Ingested {
    record_count: Count,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Errors {
    error_counts: Vec<Reason>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Warnings {
    warning_counts: Vec<Reason>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Reason {
    record_count: Count,
    reason: String,
}

/// An `int64`, which protobuf's JSON writes as a string.
#[derive(Clone, Copy, Default, Deserialize)]
#[serde(from = "Written")]
struct Count(u64);

#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Text(String),
    Number(u64),
    Other(serde::de::IgnoredAny),
}

impl From<Written> for Count {
    fn from(written: Written) -> Self {
        Self(match written {
            Written::Text(text) => text.parse().unwrap_or_default(),
            Written::Number(number) => number,
            Written::Other(_) => 0,
        })
    }
}

/// Reads the answer to `requestStatus:retrieve`. Several destinations are summed up.
pub(super) fn report(response: &Response) -> Report {
    let Response::Http { status, body, .. } = response else {
        return Report::Retry(failure("unexpected_answer", "not an HTTP answer"));
    };
    if !(200..300).contains(status) {
        let complaints = answer::complaints(*status, body);
        let lost = complaints.iter().find(|failure| LOST.contains(&failure.code.as_str()));
        if let Some(lost) = lost {
            return Report::Lost(lost.clone());
        }
        let unreadable = || failure(&format!("http_{status}"), "an answer that is no error of Google's");
        return Report::Retry(complaints.into_iter().next().unwrap_or_else(unreadable));
    }
    let Ok(reply) = serde_json::from_slice::<Reply>(body) else {
        return Report::Retry(failure("unreadable_answer", "success without the status of any destination"));
    };
    sum_up(&reply.request_status_per_destination)
}

fn sum_up(statuses: &[Status]) -> Report {
    if statuses.iter().any(|status| status.request_status == "PROCESSING") {
        return Report::Pending;
    }
    let word = |status: &Status| match status.request_status.as_str() {
        "SUCCESS" => Some("SUCCESS"),
        "PARTIAL_SUCCESS" => Some("PARTIAL_SUCCESS"),
        // The guide writes the second, the enum the first.
        "FAILED" | "FAILURE" => Some("FAILED"),
        _ => None,
    };
    let words: Option<Vec<&str>> = statuses.iter().map(word).collect();
    let Some(words) = words.filter(|words| !words.is_empty()) else {
        return Report::Retry(failure("unknown_status", "a status of the request that Google does not document"));
    };
    let status = if words.iter().all(|word| *word == words[0]) { words[0] } else { "PARTIAL_SUCCESS" };
    let (mut taken, mut counts, mut again) = (0_u64, BTreeMap::<String, u64>::new(), false);
    for status in statuses {
        // All records of the request, whatever became of them.
        let sent = status.events_ingestion_status.record_count.0;
        let mut failed: u64 = 0;
        for Reason { record_count: Count(count), reason } in &status.error_info.error_counts {
            let reason = plain(reason);
            again |= *count > 0 && RESEND.contains(&reason.as_str());
            if !TAKEN.contains(&reason.as_str()) {
                failed = failed.saturating_add(*count);
            }
            add(&mut counts, reason, *count);
        }
        for Reason { record_count: Count(count), reason } in &status.warning_info.warning_counts {
            add(&mut counts, format!("warning:{}", plain(reason)), *count);
        }
        taken = taken.saturating_add(sent.saturating_sub(failed));
    }
    let resend_after = again.then_some(RESEND_AFTER);
    Report::Final { status: status.to_owned(), taken, counts: counts.into_iter().collect(), resend_after }
}

fn add(counts: &mut BTreeMap<String, u64>, reason: String, count: u64) {
    if count > 0 && (counts.len() < REASONS_MAX || counts.contains_key(&reason)) {
        let sum = counts.entry(reason).or_default();
        *sum = sum.saturating_add(count);
    }
}

/// A reason without what all of them begin with; it becomes a label of a metric, so it is held to its alphabet.
fn plain(reason: &str) -> String {
    let short = PREFIXES.iter().find_map(|prefix| reason.strip_prefix(prefix)).unwrap_or(reason);
    let fits = !short.is_empty() && short.len() <= 100 && short.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if fits { short.to_owned() } else { "UNKNOWN".to_owned() }
}

/// What Google answered to a request that it was only to validate.
pub(super) fn rehearsed(response: &Response) -> Result<String, String> {
    let Response::Http { status, body, .. } = response else { return Err("not an HTTP answer".into()) };
    if (200..300).contains(status) {
        return Ok("Google takes events for this account and these conversion actions".into());
    }
    let mut told: Vec<String> = Vec::new();
    for failure in answer::complaints(*status, body) {
        let place = failure.field.as_ref().map(|field| format!(" ({field})")).unwrap_or_default();
        let hint = hint(&failure.code).map(|hint| format!("; {hint}")).unwrap_or_default();
        told.push(format!("{}{place}: {}{hint}", failure.code, failure.message));
    }
    if told.is_empty() {
        let hint = if *status == 404 { ": is base_url right?" } else { "" };
        told.push(format!("HTTP {status} with an answer that is no error of Google's{hint}"));
    }
    Err(told.join("\n"))
}

/// What puts it right.
fn hint(code: &str) -> Option<&'static str> {
    Some(match code {
        "PERMISSION_DENIED" => {
            "give the user or service account of the credentials access to operating_account, or name the manager account \
             it has access through as login_account"
        }
        "SERVICE_DISABLED" | "ACCESS_TOKEN_SCOPE_INSUFFICIENT" => {
            "enable the Data Manager API in the Google Cloud project, and get credentials with its scope \
             (https://www.googleapis.com/auth/datamanager)"
        }
        "OPERATING_ACCOUNT_LOGIN_ACCOUNT_MISMATCH" => "login_account has no access to operating_account",
        "NOT_FOUND" | "INVALID_DESTINATION" | "INVALID_CONVERSION_ACTION_ID" => {
            "look up the ids of the conversion actions, and whether operating_account is the account that has them"
        }
        "INVALID_CONVERSION_ACTION_TYPE" => "the conversion action must be one for imports from clicks (UPLOAD_CLICKS)",
        "CONVERSION_ACTION_TOO_RECENTLY_CREATED" => "it was just made: Google takes events for it after 6 hours",
        "DESTINATION_ACCOUNT_NOT_ENABLED_ENHANCED_CONVERSIONS_FOR_LEADS" => {
            "switch on enhanced conversions for leads in the account's conversion settings"
        }
        "DESTINATION_ACCOUNT_ENHANCED_CONVERSIONS_TERMS_NOT_SIGNED" | "TERMS_AND_CONDITIONS_NOT_SIGNED" => {
            "accept the customer data terms in the account's conversion settings"
        }
        "RESOURCE_EXHAUSTED" => "the quota of the Cloud project is used up: try again later",
        _ => return None,
    })
}

fn failure(code: &str, message: &str) -> Failure {
    Failure { code: code.into(), field: None, message: message.into() }
}
