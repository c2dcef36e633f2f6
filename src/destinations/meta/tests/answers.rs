//! One test for each row of what answers mean.

use bytes::Bytes;

use super::*;

const TRACE: &str = "AbCdEf123_-x";

fn response(status: u16, body: &str) -> Response {
    Response::Http { status, retry_after: None, headers: Vec::new(), body: Bytes::from(body.to_owned()) }
}

fn error(status: u16, fields: Value) -> Response {
    let mut error = serde_json::json!({"message": "Invalid parameter", "type": "OAuthException", "fbtrace_id": TRACE});
    error.as_object_mut().expect("an object").extend(fields.as_object().expect("an object").clone());
    response(status, &serde_json::json!({ "error": error }).to_string())
}

fn coded(code: i64) -> Response {
    error(400, serde_json::json!({ "code": code }))
}

/// The verdict that all of `sent` events got.
#[track_caller]
fn verdict(sent: usize, response: &Response) -> Verdict {
    let verdicts = meta().interpret(&vec![minimal(); sent], response);
    assert_eq!(verdicts.len(), sent);
    assert!(verdicts.iter().all(|verdict| *verdict == verdicts[0]));
    verdicts.into_iter().next().expect("at least one event was sent")
}

#[track_caller]
fn assert_retry(response: &Response, code: &str) {
    for sent in [1, 3] {
        let Verdict::Retry { after: None, failure } = verdict(sent, response) else { panic!("{response:?}") };
        assert_eq!(failure.code, code);
    }
}

#[track_caller]
fn rejected(response: &Response) -> Failure {
    let Verdict::Rejected(failure) = verdict(1, response) else { panic!("{response:?}") };
    failure
}

#[test]
fn a_full_count_confirms_every_event() {
    let body = serde_json::json!({"events_received": 3, "messages": [], "fbtrace_id": TRACE}).to_string();
    assert_eq!(verdict(3, &response(200, &body)), Verdict::Delivered);
    assert_eq!(meta().trace_id(&response(200, &body)).as_deref(), Some(TRACE));
}

#[test]
fn a_success_that_does_not_confirm_every_event_is_tried_again() {
    assert_retry(&response(200, r#"{"events_received":2,"messages":[],"fbtrace_id":"x"}"#), "events_received");
    assert_retry(&response(200, r#"{"events_received":"3"}"#), "events_received");
    assert_retry(&response(200, "{}"), "events_received");
    assert_retry(&response(200, ""), "unreadable_answer");
    assert_retry(&response(200, "Service Unavailable"), "unreadable_answer");
    assert_retry(&response(200, "[3]"), "unreadable_answer");
    assert_retry(&response(200, r#"{"events_received":3,"error":{"code":100,"message":"no"}}"#), "100");
    assert_retry(&response(200, r#"{"events_received":3,"error":"no"}"#), "http_200");
}

#[test]
fn a_dead_token_or_a_missing_permission_blocks_the_destination() {
    for code in [3, 10, 102, 190, 200, 250, 299] {
        let Verdict::Blocked(failure) = verdict(2, &coded(code)) else { panic!("{code}") };
        assert_eq!(failure.code, code.to_string());
    }
    let expired = error(401, serde_json::json!({"code": 190, "error_subcode": 463}));
    let Verdict::Blocked(failure) = verdict(1, &expired) else { panic!("not blocked") };
    assert_eq!(failure.code, "190/463");
}

#[test]
fn a_pixel_that_is_not_there_blocks_the_destination() {
    let missing = error(400, serde_json::json!({"code": 100, "error_subcode": 33}));
    for sent in [1, 2] {
        assert!(matches!(verdict(sent, &missing), Verdict::Blocked(failure) if failure.code == "100/33"));
    }
}

#[test]
fn a_version_that_has_ended_blocks_the_destination() {
    let ended = error(400, serde_json::json!({"code": 2635}));
    assert!(matches!(verdict(2, &ended), Verdict::Blocked(failure) if failure.code == "2635"));
}

#[test]
fn limits_and_outages_are_tried_again() {
    for code in [1, 2, 4, 17, 32, 341, 368, 613, 5000, 21_009, 80_000, 80_004, 80_014] {
        assert_retry(&coded(code), &code.to_string());
    }
}

#[test]
fn an_unknown_code_is_tried_again() {
    assert_retry(&coded(424_242), "424242");
    assert_retry(&coded(300), "300");
    assert_retry(&error(400, serde_json::json!({})), "http_400");
}

#[test]
fn what_calls_itself_transient_is_tried_again_whatever_its_code() {
    assert_retry(&error(400, serde_json::json!({"code": 100, "is_transient": true})), "100");
}

#[test]
fn a_status_of_the_server_is_tried_again_whatever_its_code() {
    for status in [429, 500, 502, 503] {
        assert_retry(&response(status, "<html>Sorry</html>"), &format!("http_{status}"));
        assert_retry(&error(status, serde_json::json!({"code": 100})), "100");
    }
}

#[test]
fn a_page_instead_of_an_answer_is_tried_again() {
    for status in [302, 400, 403, 404] {
        assert_retry(&response(status, "<!DOCTYPE html>"), &format!("http_{status}"));
    }
    assert_retry(&Response::Written, "no_answer");
}

#[test]
fn the_wait_that_meta_asks_for_is_passed_on() {
    let body = Bytes::from_static(br#"{"error":{"code":4,"message":"Application request limit reached"}}"#);
    let after = Some(Duration::from_secs(90));
    let limited = Response::Http { status: 403, retry_after: after, headers: Vec::new(), body };
    assert!(matches!(verdict(2, &limited), Verdict::Retry { after: asked, .. } if asked == after));
}

#[test]
fn a_refused_batch_is_split_and_a_refused_event_is_rejected() {
    for code in [100, 105] {
        assert!(matches!(verdict(2, &coded(code)), Verdict::Isolate(failure) if failure.code == code.to_string()));
        assert_eq!(rejected(&coded(code)).code, code.to_string());
    }
}

#[test]
fn an_event_that_is_too_old_is_rejected_with_metas_words() {
    let failure = rejected(&error(
        400,
        serde_json::json!({
            "code": 100, "error_subcode": 2_804_003, "is_transient": false, "error_user_title": "Event too old",
            "error_user_msg": "The timestamp for this event is too far in the past.",
            "error_data": {"blame_field_specs": [["data[0][event_time]"]]},
        }),
    ));
    assert_eq!(failure.code, "100/2804003");
    assert_eq!(failure.field.as_deref(), Some("data[0][event_time]"));
    assert_eq!(failure.message, "The timestamp for this event is too far in the past.");
}

#[test]
fn the_blamed_field_is_found_in_every_form_meta_sends() {
    for data in [
        serde_json::json!({"blame_field_specs": [["user_data", "em"]]}),
        serde_json::json!({"blame_field": "user_data"}),
        serde_json::json!(r#"{"blame_field_specs":[["user_data"]]}"#),
    ] {
        let failure = rejected(&error(400, serde_json::json!({"code": 100, "error_data": data})));
        assert_eq!((failure.field.as_deref(), failure.message.as_str()), (Some("user_data"), "Invalid parameter"));
    }
    for data in [serde_json::json!(null), serde_json::json!("x"), serde_json::json!({"blame_field_specs": []})] {
        assert_eq!(rejected(&error(400, serde_json::json!({"code": 100, "error_data": data}))).field, None);
    }
}

#[test]
fn a_request_that_is_too_large_is_halved() {
    assert!(matches!(verdict(2, &response(413, "")), Verdict::Isolate(failure) if failure.code == "http_413"));
    assert!(matches!(verdict(1, &response(413, "")), Verdict::Retry { .. }));
}

#[test]
fn a_failure_never_repeats_personal_data() {
    let hash = "62A14E44f765419d10fea99367361a727c12365e2520f32218d505ed9aa0f62f";
    for personal in [
        "ada@example.com",
        "\"ada@example.com\"",
        "x=ada%40example.com",
        hash,
        &format!("em:{hash}."),
        "203.0.113.7",
        "(2001:db8::7)",
        "203.0.113.7.",
        "2001:db8::7:",
        "fb.1.1763546400123.IwAR",
        "EAABwzLixnjYBAHxyz0123456789",
    ] {
        let message = format!("Invalid value {personal} in user_data");
        let data = serde_json::json!({"blame_field_specs": [[personal]]});
        let fields = serde_json::json!({"code": 100, "error_user_msg": message, "error_data": data});
        let failure = rejected(&error(400, fields));
        assert_eq!(failure.message, "Meta's text is left out: it repeats personal data or a token", "{personal}");
        assert_eq!(failure.field, None, "{personal}");
    }
    let harmless = "(#100) Object with ID '1234567890123456' does not exist; see https://fb.example/v26.0 at 08:15.";
    assert_eq!(rejected(&error(400, serde_json::json!({"code": 100, "message": harmless}))).message, harmless);
}

#[test]
fn a_long_message_is_cut_between_characters() {
    let failure = rejected(&error(400, serde_json::json!({"code": 100, "error_user_msg": "ü\n".repeat(400)})));
    assert_eq!(failure.message, "ü ".repeat(150));
}

#[test]
fn the_trace_id_of_an_error_is_kept_and_anything_else_is_not() {
    assert_eq!(meta().trace_id(&coded(190)).as_deref(), Some(TRACE));
    for body in ["", "<html>", "{}", r#"{"fbtrace_id":7}"#, r#"{"fbtrace_id":"a b"}"#] {
        assert_eq!(meta().trace_id(&response(200, body)), None, "{body}");
    }
    assert_eq!(meta().trace_id(&Response::Written), None);
}
