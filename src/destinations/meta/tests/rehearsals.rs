//! What `check --live` asks, and what it tells.

use bytes::Bytes;

use super::*;

fn answered(status: u16, body: &str) -> Response {
    Response::Http { status, retry_after: None, headers: Vec::new(), body: Bytes::copy_from_slice(body.as_bytes()) }
}

fn refused(code: i64, subcode: Option<i64>) -> Response {
    let mut error = serde_json::json!({ "message": "Not so.", "code": code });
    if let Some(subcode) = subcode {
        error["error_subcode"] = subcode.into();
    }
    answered(400, &serde_json::json!({ "error": error }).to_string())
}

fn rehearsal(extra: &str) -> crate::destinations::Rehearsal {
    let mut all = built(extra).expect("valid").rehearsals(&full());
    assert_eq!(all.len(), 1);
    all.remove(0)
}

#[test]
fn without_a_test_code_no_event_is_sent() {
    let rehearsal = rehearsal("");
    assert_eq!(rehearsal.request.method, Method::Get);
    assert_eq!(rehearsal.request.url, "https://graph.facebook.com/v26.0/1234567890?fields=id,name");
    assert!(rehearsal.request.body.is_empty());
    assert!((rehearsal.read)(&answered(200, r#"{"id":"1234567890","name":"Shop"}"#)).is_ok());
}

#[test]
fn with_a_test_code_one_event_is_sent_that_is_no_sale() {
    let rehearsal = rehearsal("test_event_code = \"TEST1\"");
    assert_eq!(rehearsal.request.url, "https://graph.facebook.com/v26.0/1234567890/events");
    assert!(rehearsal.what.contains("counts like any other"));
    let body: Value = serde_json::from_slice(&rehearsal.request.body).expect("JSON");
    assert_eq!((&body["test_event_code"], body["data"].as_array().map(Vec::len)), (&"TEST1".into(), Some(1)));
    assert_eq!(body["data"][0]["event_name"], "InitiateCheckout");
    assert!((rehearsal.read)(&answered(200, r#"{"events_received":1,"messages":[],"fbtrace_id":"x"}"#)).is_ok());
    assert!((rehearsal.read)(&answered(200, r#"{"events_received":0}"#)).is_err());
}

#[test]
fn what_is_wrong_is_told_with_what_puts_it_right() {
    for extra in ["", "test_event_code = \"TEST1\""] {
        let read = rehearsal(extra).read;
        for (response, word) in [
            (refused(190, Some(463)), "new access token"),
            (refused(10, None), "give the system user"),
            (refused(200, None), "give the system user"),
            (refused(100, Some(33)), "pixel_id"),
            (refused(2635, None), "api_version"),
            (answered(404, "<html>"), "base_url"),
            (refused(100, None), "100: Not so."),
        ] {
            let told = read(&response).expect_err("refused");
            assert!(told.contains(word), "{told}");
        }
    }
    let told = (rehearsal("").read)(&refused(200, None)).expect_err("refused");
    assert!(told.contains("test_event_code"), "reading a pixel takes more than sending to it: {told}");
}
