//! How much of Meta's limits is used, and what follows.

use bytes::Bytes;
use serde_json::json;

use super::*;

const TAKEN: &str = r#"{"events_received":1,"messages":[],"fbtrace_id":"t"}"#;
const LIMITED: &str = r#"{"error":{"code":80004,"error_subcode":2446079,"message":"too many calls"}}"#;

fn with(status: u16, body: &'static str, headers: &[(&'static str, Value)]) -> Response {
    let headers = headers.iter().map(|(name, value)| (*name, value.to_string())).collect();
    Response::Http { status, retry_after: None, headers, body: Bytes::from_static(body.as_bytes()) }
}

fn business(call_count: u32, regain_minutes: u32) -> (&'static str, Value) {
    let usage = json!({ "1234567890": [{ "type": "ads_management", "call_count": call_count, "total_cputime": 25,
        "total_time": 25, "estimated_time_to_regain_access": regain_minutes }] });
    ("x-business-use-case-usage", usage)
}

#[test]
fn the_headers_with_the_limits_are_asked_for() {
    let wanted = ["x-business-use-case-usage", "x-app-usage", "x-ad-account-usage"];
    assert_eq!(meta().profile().headers, wanted);
}

#[test]
fn near_the_limit_requests_slow_down_and_over_it_they_wait() {
    let pause = |headers: &[(&'static str, Value)]| meta().throttle(&with(200, TAKEN, headers)).map(|p| p.as_secs());
    let app = |percent: f64| ("x-app-usage", json!({ "call_count": 3, "total_cputime": percent, "total_time": 1 }));
    let account =
        |percent: f64| ("x-ad-account-usage", json!({ "acc_id_util_pct": percent, "reset_time_duration": 9 }));
    assert_eq!(pause(&[]), None);
    assert_eq!(pause(&[business(79, 0), app(79.9), account(9.67)]), None);
    assert_eq!(pause(&[business(80, 0)]), Some(1));
    assert_eq!(pause(&[app(90.0)]), Some(30));
    assert_eq!(pause(&[account(100.0)]), Some(60));
    assert_eq!(pause(&[business(10, 0), account(250.0)]), Some(60), "the nearest limit counts");
    assert_eq!(pause(&[business(100, 7)]), Some(7 * 60));
    assert_eq!(pause(&[business(100, 4_000_000)]), Some(24 * 60 * 60));
    for odd in [json!("text"), json!([1]), json!({ "1": 5 }), json!({ "1": [{ "call_count": "90" }] })] {
        assert_eq!(pause(&[("x-business-use-case-usage", odd.clone())]), None, "{odd}");
    }
    assert_eq!(meta().throttle(&Response::Written), None);
}

#[test]
fn a_refusal_for_the_limit_is_tried_again_when_the_header_says() {
    let after = |response: &Response| match meta().interpret(&[minimal()], response).remove(0) {
        Verdict::Retry { after, .. } => after.map(|after| after.as_secs()),
        verdict => panic!("{verdict:?}"),
    };
    assert_eq!(after(&with(400, LIMITED, &[business(100, 3)])), Some(180));
    assert_eq!(after(&with(429, "", &[business(100, 3)])), Some(180));
    assert_eq!(after(&with(400, LIMITED, &[business(100, 0)])), None);
    let (status, body) = (429, Bytes::from_static(LIMITED.as_bytes()));
    let (name, usage) = business(100, 3);
    let retry_after = Some(Duration::from_secs(5));
    let both = Response::Http { status, retry_after, headers: vec![(name, usage.to_string())], body };
    assert_eq!(after(&both), Some(5), "Retry-After is the more exact");
}
