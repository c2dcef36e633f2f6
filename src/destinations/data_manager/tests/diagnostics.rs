//! What Google says later, and to requests that it only validates.

use serde_json::{Value, json};

use super::*;

fn answered(status: u16, body: &Value) -> Response {
    Response::Http { status, retry_after: None, headers: Vec::new(), body: Bytes::from(body.to_string()) }
}

fn report(statuses: &[Value]) -> Report {
    google().report(&answered(200, &json!({ "requestStatusPerDestination": statuses })))
}

fn status(word: &str, records: u64, errors: &[(&str, u64)], warnings: &[(&str, u64)]) -> Value {
    let counts = |prefix: &str, counts: &[(&str, u64)]| -> Vec<Value> {
        let one = |(reason, count): &(&str, u64)| json!({ "recordCount": count.to_string(), "reason": format!("{prefix}{reason}") });
        counts.iter().map(one).collect()
    };
    json!({
        "destination": { "productDestinationId": "987654321" },
        "requestStatus": word,
        "eventsIngestionStatus": { "recordCount": records.to_string() },
        "errorInfo": { "errorCounts": counts("PROCESSING_ERROR_REASON_", errors) },
        "warningInfo": { "warningCounts": counts("PROCESSING_WARNING_REASON_", warnings) },
    })
}

fn last(status: &str, taken: u64, counts: &[(&str, u64)], resend: bool) -> Report {
    Report::Final {
        status: status.into(),
        taken,
        counts: counts.iter().map(|(reason, count)| ((*reason).to_owned(), *count)).collect(),
        resend_after: resend.then_some(Duration::from_secs(6 * 60 * 60)),
    }
}

fn error(reason: &str) -> Value {
    json!({ "error": { "code": 400, "status": "INVALID_ARGUMENT", "message": "Not good.", "details": [
        { "@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": reason },
    ] } })
}

#[test]
fn a_success_with_an_id_is_a_receipt_and_asked_about_by_it() {
    let google = google();
    let receipt = |status, body: &str| {
        let body = Bytes::copy_from_slice(body.as_bytes());
        google.is_receipt(&Response::Http { status, retry_after: None, headers: Vec::new(), body })
    };
    assert!(receipt(200, r#"{"requestId":"abc-123"}"#));
    assert!(!receipt(200, "{}"));
    assert!(!receipt(400, r#"{"requestId":"abc-123"}"#));
    assert!(!google.is_receipt(&Response::Written));
    let table = format!("{TABLE}\nuser_project = \"my-project\"\nbase_url = \"http://127.0.0.1:9000/google\"");
    let asked = build_with(&table, &[("purchase", "1")]).ask("a b&c/1").expect("a request");
    assert_eq!(asked.method, Method::Get);
    assert_eq!(asked.url, "http://127.0.0.1:9000/google/v1/requestStatus:retrieve?requestId=a+b%26c%2F1");
    assert_eq!(asked.headers, [("x-goog-user-project", "my-project".to_owned())]);
    assert!(asked.body.is_empty());
}

#[test]
fn what_became_of_the_events_is_told_by_reason() {
    assert_eq!(report(&[status("SUCCESS", 3, &[], &[])]), last("SUCCESS", 3, &[], false));
    let half = status("PARTIAL_SUCCESS", 10, &[("CLICK_NOT_FOUND", 2), ("NO_CONSENT", 1)], &[("KEK", 4)]);
    let counts = [("CLICK_NOT_FOUND", 2), ("NO_CONSENT", 1), ("warning:KEK", 4)];
    assert_eq!(report(&[half]), last("PARTIAL_SUCCESS", 7, &counts, false));
    let failed = status("FAILED", 1, &[("EVENT_TOO_OLD", 1)], &[]);
    assert_eq!(report(&[failed]), last("FAILED", 0, &[("EVENT_TOO_OLD", 1)], false));
}

#[test]
fn what_google_has_already_is_taken() {
    let twice = status("PARTIAL_SUCCESS", 3, &[("DUPLICATE_TRANSACTION_ID", 1), ("DUPLICATE_GCLID", 1)], &[]);
    let counts = [("DUPLICATE_GCLID", 1), ("DUPLICATE_TRANSACTION_ID", 1)];
    assert_eq!(report(&[twice]), last("PARTIAL_SUCCESS", 3, &counts, false));
}

#[test]
fn what_came_too_early_is_sent_again() {
    for reason in ["TOO_RECENT_CLICK", "INTERNAL_ERROR"] {
        let early = status("FAILED", 1, &[(reason, 1)], &[]);
        assert_eq!(report(&[early]), last("FAILED", 0, &[(reason, 1)], true));
        let none = status("SUCCESS", 1, &[(reason, 0)], &[(reason, 1)]);
        assert_eq!(report(&[none]), last("SUCCESS", 1, &[(&format!("warning:{reason}"), 1)], false));
    }
}

#[test]
fn several_destinations_are_summed_up() {
    let good = || status("SUCCESS", 2, &[], &[("X", 1)]);
    let bad = || status("FAILURE", 3, &[("CLICK_NOT_FOUND", 3)], &[("X", 2)]);
    let counts = [("CLICK_NOT_FOUND", 3), ("warning:X", 3)];
    assert_eq!(report(&[good(), bad()]), last("PARTIAL_SUCCESS", 2, &counts, false));
    assert_eq!(report(&[good(), good()]), last("SUCCESS", 4, &[("warning:X", 2)], false));
    assert_eq!(report(&[good(), status("PROCESSING", 0, &[], &[])]), Report::Pending);
}

#[test]
fn a_report_that_will_never_come_is_lost_and_any_other_is_asked_for_again() {
    for reason in ["INVALID_REQUEST_ID", "REQUEST_TOO_OLD"] {
        let Report::Lost(failure) = google().report(&answered(400, &error(reason))) else { panic!("{reason}") };
        assert_eq!(failure.code, reason);
    }
    for (status, body) in [
        (401, error("ACCESS_TOKEN_EXPIRED")),
        (403, error("PERMISSION_DENIED")),
        (429, error("RESOURCE_EXHAUSTED")),
        (500, json!("<html>")),
        (200, json!({})),
        (200, json!({ "requestStatusPerDestination": [] })),
        (200, json!({ "requestStatusPerDestination": [{ "requestStatus": "REQUEST_STATUS_UNKNOWN" }] })),
        (200, json!({ "requestStatusPerDestination": [{ "requestStatus": 7 }] })),
    ] {
        assert!(matches!(google().report(&answered(status, &body)), Report::Retry(_)), "{status} {body}");
    }
    assert!(matches!(google().report(&Response::Written), Report::Retry(_)));
}

#[test]
fn reasons_are_labels_and_nothing_else() {
    let odd = json!({
        "requestStatus": "FAILED",
        "eventsIngestionStatus": { "recordCount": 5 },
        "errorInfo": { "errorCounts": [
            { "recordCount": 1, "reason": "ada@example.com" },
            { "recordCount": "2", "reason": "PROCESSING_ERROR_OPERATING_ACCOUNT_MISMATCH_FOR_AD_IDENTIFIER" },
            { "recordCount": null, "reason": "NONE" },
            { "recordCount": "1" },
        ] },
    });
    let counts = [("OPERATING_ACCOUNT_MISMATCH_FOR_AD_IDENTIFIER", 2), ("UNKNOWN", 2)];
    assert_eq!(report(&[odd]), last("FAILED", 1, &counts, false));
}

#[test]
fn a_rehearsal_names_every_action_and_takes_nothing() {
    let events = [("purchase", "1"), ("sign_up", "2"), ("generate_lead", "2"), ("refund", "adjust")];
    let rehearsals = build_with(TABLE, &events).rehearsals(&full());
    assert_eq!(rehearsals.len(), 1);
    let sent: Value = serde_json::from_slice(&rehearsals[0].request.body).expect("JSON");
    assert_eq!(sent["validateOnly"], true);
    let of = |list: &str, field: &str| -> Vec<String> {
        let all = sent[list].as_array().expect("a list").iter();
        all.map(|one| one[field].as_str().unwrap_or_else(|| one[field][0].as_str().expect("a text")).into()).collect()
    };
    assert_eq!(of("destinations", "productDestinationId"), ["1", "2"]);
    assert_eq!(of("events", "destinationReferences"), ["1", "2"]);
    assert!(body(&*google(), &[full()]).get("validateOnly").is_none(), "what is delivered is never only validated");
}

#[test]
fn a_rehearsal_says_what_to_fix() {
    let read = google().rehearsals(&full()).remove(0).read;
    assert!(read(&answered(200, &json!({ "requestId": "x" }))).is_ok());
    let violation = json!({ "field": "destinations[1].product_destination_id", "description": "Not found.",
        "reason": "INVALID_CONVERSION_ACTION_ID" });
    let refused = json!({ "error": { "status": "INVALID_ARGUMENT", "message": "", "details": [
        { "@type": "type.googleapis.com/google.rpc.BadRequest", "fieldViolations": [violation] },
    ] } });
    let told = read(&answered(400, &refused)).expect_err("refused");
    assert!(told.starts_with("INVALID_CONVERSION_ACTION_ID (destinations[1].product_destination_id): Not found.;"));
    assert!(told.contains("look up the ids"), "{told}");
    assert!(read(&answered(403, &error("PERMISSION_DENIED"))).expect_err("refused").contains("login_account"));
    assert!(read(&answered(404, &json!("<html>"))).expect_err("refused").contains("base_url"));
}

#[test]
fn sending_again_is_always_safe_and_the_version_is_known() {
    assert_eq!(google().dedupe(&full()), Dedupe::Always);
    let google = google();
    let (api, version) = google.api().expect("an API");
    assert!(crate::destinations::versions::TABLE.iter().any(|known| (known.api, known.version) == (api, version)));
}
