//! What each answer of Google's means.

use serde_json::json;

use super::*;

/// The verdicts for a batch of a purchase, a sign-up and a purchase, so that `destinations[0]` is the purchases'.
fn verdicts(status: u16, body: &serde_json::Value) -> Vec<Verdict> {
    interpret(3, status, None, &body.to_string())
}

fn interpret(events: usize, status: u16, retry_after: Option<Duration>, body: &str) -> Vec<Verdict> {
    let batch: Vec<_> = ["purchase", "sign_up", "purchase"]
        .into_iter()
        .take(events)
        .map(|event| SealedEvent { name: name(event), ..full() })
        .collect();
    let response =
        Response::Http { status, retry_after, headers: Vec::new(), body: Bytes::copy_from_slice(body.as_bytes()) };
    google().interpret(&batch, &response)
}

fn violation(field: &str, reason: &str) -> serde_json::Value {
    json!({ "field": field, "description": "Not good.", "reason": reason })
}

/// An error as Google writes it.
fn error(violations: &[serde_json::Value]) -> serde_json::Value {
    let kind = |name: &str| format!("type.googleapis.com/google.rpc.{name}");
    let details = json!([
        { "@type": kind("ErrorInfo"), "reason": "INVALID_ARGUMENT", "domain": "datamanager.googleapis.com" },
        { "@type": kind("BadRequest"), "fieldViolations": violations },
        { "@type": kind("RequestInfo"), "requestId": "t-0kvhEbpaGl" },
        { "@type": kind("Help"), "links": [{ "url": "https://developers.google.com" }] },
    ]);
    let message = "There was a problem with the request.";
    json!({ "error": { "code": 400, "message": message, "status": "INVALID_ARGUMENT", "details": details } })
}

fn plain_error(status: &str, reason: &str) -> serde_json::Value {
    json!({ "error": { "code": 400, "message": "Not good.", "status": status, "details": [
        { "@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": reason },
    ] } })
}

fn failure(code: &str, field: Option<&str>) -> Failure {
    Failure { code: code.into(), field: field.map(Into::into), message: "Not good.".into() }
}

fn kinds(verdicts: &[Verdict]) -> Vec<&'static str> {
    let kind = |verdict: &Verdict| match verdict {
        Verdict::Delivered => "delivered",
        Verdict::Retry { .. } => "retry",
        Verdict::Blocked(_) => "blocked",
        Verdict::Rejected(_) => "rejected",
        Verdict::Misconfigured(_) => "misconfigured",
        Verdict::Isolate(_) => "isolate",
        Verdict::Resend => "resend",
    };
    verdicts.iter().map(kind).collect()
}

fn waits(verdict: &Verdict) -> Option<u64> {
    match verdict {
        Verdict::Retry { after, .. } => after.map(|after| after.as_secs()),
        _ => None,
    }
}

#[test]
fn a_receipt_delivers_the_whole_batch() {
    let body = json!({ "requestId": "abc-123", "fieldWarnings": [{ "reason": "CART_DATA_NOT_SUPPORTED" }] });
    assert_eq!(verdicts(200, &body), [Verdict::Delivered, Verdict::Delivered, Verdict::Delivered]);
}

#[test]
fn success_without_a_receipt_is_tried_again() {
    for body in ["{}", "", "<html>", r#"{"requestId":""}"#] {
        assert_eq!(kinds(&interpret(2, 200, None, body)), ["retry"; 2], "{body}");
    }
}

#[test]
fn a_named_event_is_rejected_and_the_others_go_again() {
    let field = "events.events[1].event_source";
    let answer = error(&[violation(field, "REQUIRED_FIELD_MISSING")]);
    let rejected = Verdict::Rejected(failure("REQUIRED_FIELD_MISSING", Some(field)));
    assert_eq!(verdicts(400, &answer), [Verdict::Resend, rejected, Verdict::Resend]);
    let two =
        error(&[violation("events[0].currency", "INVALID_CURRENCY_CODE"), violation("events.events[2]", "NEW_ONE")]);
    assert_eq!(kinds(&verdicts(400, &two)), ["rejected", "resend", "rejected"]);
    let inner = error(&[violation("events.events[2].cart_data.items[0].quantity", "")]);
    assert_eq!(kinds(&verdicts(400, &inner)), ["resend", "resend", "rejected"]);
}

#[test]
fn a_refusal_that_names_no_event_is_isolated_and_of_one_event_final() {
    for answer in [
        error(&[]),
        error(&[violation("encoding", "INVALID_FORMAT")]),
        error(&[violation("events.events[7].currency", "INVALID_CURRENCY_CODE")]),
        plain_error("INVALID_ARGUMENT", "A_REASON_FROM_THE_FUTURE"),
        plain_error("INVALID_ARGUMENT", "TOO_MANY_EVENTS"),
    ] {
        assert_eq!(kinds(&verdicts(400, &answer)), ["isolate"; 3], "{answer}");
        assert_eq!(kinds(&interpret(1, 400, None, &answer.to_string())), ["rejected"], "{answer}");
    }
    assert_eq!(kinds(&interpret(2, 413, None, "too large")), ["isolate"; 2]);
    assert_eq!(kinds(&interpret(1, 413, None, "too large")), ["rejected"]);
}

#[test]
fn what_is_wrong_with_the_account_or_the_settings_blocks() {
    for reason in [
        "PERMISSION_DENIED",
        "NOT_FOUND",
        "INVALID_DESTINATION",
        "INVALID_CONVERSION_ACTION_ID",
        "INVALID_CONVERSION_ACTION_TYPE",
        "OPERATING_ACCOUNT_LOGIN_ACCOUNT_MISMATCH",
        "DESTINATION_ACCOUNT_NOT_ENABLED_ENHANCED_CONVERSIONS_FOR_LEADS",
        "DESTINATION_ACCOUNT_ENHANCED_CONVERSIONS_TERMS_NOT_SIGNED",
        "DESTINATION_ACCOUNT_DATA_POLICY_PROHIBITS_ENHANCED_CONVERSIONS",
        "NOT_ALLOWLISTED",
        "DESTINATION_ACCOUNT_TYPE_MISMATCH",
    ] {
        let blocked = || Verdict::Blocked(failure(reason, None));
        assert_eq!(verdicts(400, &plain_error("INVALID_ARGUMENT", reason)), [blocked(), blocked(), blocked()]);
    }
    let field = "destinations[0].operating_account.account_id";
    let answer = error(&[violation(field, "INVALID_FORMAT"), violation("events[1].currency", "INVALID_CURRENCY_CODE")]);
    assert_eq!(verdicts(400, &answer)[1], Verdict::Blocked(failure("INVALID_FORMAT", Some(field))));
    for (status, body) in [
        (401, plain_error("UNAUTHENTICATED", "ACCESS_TOKEN_EXPIRED").to_string()),
        (403, plain_error("PERMISSION_DENIED", "SERVICE_DISABLED").to_string()),
        (404, plain_error("NOT_FOUND", "").to_string()),
        (401, String::new()),
        (403, "<html>".into()),
    ] {
        assert_eq!(kinds(&interpret(3, status, None, &body)), ["blocked"; 3], "{status} {body}");
    }
}

#[test]
fn one_wrong_action_among_several_costs_the_events_of_the_others_nothing() {
    let field = |index| format!("destinations[{index}].product_destination_id");
    for reason in ["INVALID_CONVERSION_ACTION_ID", "INVALID_CONVERSION_ACTION_TYPE", "INVALID_FORMAT"] {
        let first = error(&[violation(&field(0), reason)]);
        let wrong = || Verdict::Misconfigured(failure(reason, Some(&field(0))));
        assert_eq!(verdicts(400, &first), [wrong(), Verdict::Resend, wrong()]);
        let alone = interpret(1, 400, None, &first.to_string());
        assert_eq!(alone, [wrong()], "another action is configured, and may be right");
        let both = error(&[violation(&field(0), reason), violation(&field(1), reason)]);
        assert_eq!(kinds(&verdicts(400, &both)), ["blocked"; 3], "nothing could be sent: nothing is given up");
    }
    let unnamed = plain_error("INVALID_ARGUMENT", "INVALID_CONVERSION_ACTION_ID");
    assert_eq!(kinds(&verdicts(400, &unnamed)), ["blocked"; 3], "which of the two is not said");
    assert_eq!(kinds(&interpret(1, 400, None, &unnamed.to_string())), ["misconfigured"]);
    let only = build_with(TABLE, &[("purchase", "987654321")]);
    let body = Bytes::from(error(&[violation(&field(0), "INVALID_CONVERSION_ACTION_ID")]).to_string());
    let response = Response::Http { status: 400, retry_after: None, headers: Vec::new(), body };
    assert_eq!(kinds(&only.interpret(&[full()], &response)), ["blocked"]);
    let mixed = error(&[
        violation(&field(0), "INVALID_CONVERSION_ACTION_ID"),
        violation("events.events[1].currency", "INVALID_CURRENCY_CODE"),
    ]);
    assert_eq!(kinds(&verdicts(400, &mixed)), ["misconfigured", "rejected", "misconfigured"]);
}

#[test]
fn a_new_conversion_action_is_waited_for_by_its_own_events_only() {
    const NEW: &str = "CONVERSION_ACTION_TOO_RECENTLY_CREATED";
    let hours_6 = Some(6 * 60 * 60);
    let whole = verdicts(400, &plain_error("FAILED_PRECONDITION", NEW));
    assert_eq!(whole.iter().map(waits).collect::<Vec<_>>(), [hours_6; 3]);
    let one = verdicts(400, &error(&[violation("events.events[1].x", NEW)]));
    assert_eq!((kinds(&one), waits(&one[1])), (vec!["resend", "retry", "resend"], hours_6));
    let action = verdicts(400, &error(&[violation("destinations[0].product_destination_id", NEW)]));
    assert_eq!((kinds(&action), waits(&action[0])), (vec!["retry", "resend", "retry"], hours_6));
}

#[test]
fn a_busy_platform_is_asked_again_when_it_says() {
    let info = json!({ "error": { "code": 429, "message": "Quota", "status": "RESOURCE_EXHAUSTED", "details": [
        { "@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "33.5s" },
    ] } })
    .to_string();
    assert_eq!(waits(&interpret(1, 429, None, &info)[0]), Some(33));
    assert_eq!(waits(&interpret(1, 429, Some(Duration::from_secs(5)), &info)[0]), Some(5));
    let named = error(&[violation("events[0]", "INVALID_EVENT")]).to_string();
    for (status, body) in [
        (429, String::new()),
        (500, plain_error("INTERNAL", "INTERNAL_ERROR").to_string()),
        (503, "<html>".into()),
        (504, plain_error("DEADLINE_EXCEEDED", "DEADLINE_EXCEEDED").to_string()),
        (500, named.clone()),
        (400, plain_error("INVALID_ARGUMENT", "INTERNAL_ERROR").to_string()),
        (403, plain_error("RESOURCE_EXHAUSTED", "RESOURCE_EXHAUSTED").to_string()),
        (400, "<html>".into()),
        (400, r#"{"error":"a text"}"#.into()),
        (302, String::new()),
        (418, named),
    ] {
        assert_eq!(kinds(&interpret(3, status, None, &body)), ["retry"; 3], "{status} {body}");
    }
}

#[test]
fn a_detail_of_another_shape_hides_nothing() {
    let mut answer = error(&[violation("events[0]", "INVALID_EVENT")]);
    let details = answer["error"]["details"].as_array_mut().expect("a list");
    details.insert(0, json!({ "@type": "x", "reason": { "not": "a text" } }));
    details.insert(0, json!("not an object"));
    assert_eq!(kinds(&verdicts(400, &answer)), ["rejected", "resend", "resend"]);
}

#[test]
fn the_request_id_is_kept() {
    let trace = |body: &str| {
        let body = Bytes::copy_from_slice(body.as_bytes());
        google().trace_id(&Response::Http { status: 200, retry_after: None, headers: Vec::new(), body })
    };
    assert_eq!(trace(r#"{"requestId":"abc-123"}"#).as_deref(), Some("abc-123"));
    assert_eq!(trace(&error(&[]).to_string()).as_deref(), Some("t-0kvhEbpaGl"));
    assert_eq!(trace("{}"), None);
    assert_eq!(google().trace_id(&Response::Written), None);
}

#[test]
fn a_failure_repeats_no_contact_data_and_is_short() {
    let message_of = |text: &str| {
        let answer = json!({ "error": { "status": "INVALID_ARGUMENT", "message": text } });
        match interpret(1, 400, None, &answer.to_string()).remove(0) {
            Verdict::Rejected(failure) => failure.message,
            verdict => panic!("{verdict:?}"),
        }
    };
    let digest = Digest::of_token("ada@example.com").hex();
    for text in ["bad value 'ada@example.com'.", &format!("bad:{digest}!"), &digest.to_uppercase(), "to +16505551212"] {
        assert_eq!(message_of(text), "(left out: it may repeat contact data)", "{text}");
    }
    assert_eq!(message_of("bad ?email=ada%40example.com"), "(left out: it may repeat contact data)");
    let place = "events.events[0].user_data.user_identifiers[1].address.postal_code";
    let mut of_address = violation(place, "INVALID_POSTAL_CODE");
    of_address["description"] = json!("W1A 1AA is no postal code");
    let verdict = interpret(1, 400, None, &error(&[of_address]).to_string());
    assert!(!format!("{verdict:?}").contains("W1A"), "an address is sent in clear: {verdict:?}");
    assert_eq!(message_of(&"ä".repeat(1000)).chars().count(), 300);
    assert_eq!(message_of("Wait 10 s @ most.\n"), "Wait 10 s @ most.");
    let field = error(&[violation("events[0].x=ada@example.com", "bad reason!")]);
    let verdict = interpret(1, 400, None, &field.to_string());
    assert_eq!(verdict, [Verdict::Rejected(failure("unknown", None))]);
}
