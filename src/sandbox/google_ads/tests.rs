use std::time::Duration;

use serde_json::{Value, json};

use crate::sandbox::{
    Fault, FaultMode, Platform,
    shape::EMPTY_SHA256,
    testing::{EMAIL, Running, with},
};

const CLICKS: &str = "/google-ads/v26/customers/1234567890:uploadClickConversions";
const ADJUSTMENTS: &str = "/google-ads/v26/customers/1234567890:uploadConversionAdjustments";
const ACTION: &str = "customers/1234567890/conversionActions/987654321";
const DAY: Duration = Duration::from_secs(24 * 3600);

fn click(order_id: &str) -> Value {
    json!({
        "gclid": format!("Cj0KCQ-{order_id}_DEF"),
        "conversionAction": ACTION,
        "conversionDateTime": "2026-11-20 08:14:00+00:00",
        "conversionValue": 49.99,
        "currencyCode": "EUR",
        "orderId": order_id,
        "userIdentifiers": [{"userIdentifierSource": "FIRST_PARTY", "hashedEmail": EMAIL}],
        "consent": {"adUserData": "GRANTED"},
        "conversionEnvironment": "WEB",
    })
}

fn restatement(order_id: &str, at: &str, value: f64) -> Value {
    json!({
        "adjustmentType": "RESTATEMENT",
        "conversionAction": ACTION,
        "orderId": order_id,
        "adjustmentDateTime": at,
        "restatementValue": {"adjustedValue": value, "currencyCode": "EUR"},
    })
}

fn retraction(order_id: &str, at: &str) -> Value {
    let row = with(restatement(order_id, at, 0.0), "/restatementValue", None);
    with(row, "/adjustmentType", Some(json!("RETRACTION")))
}

fn clicks(rows: &[Value]) -> Value {
    json!({"conversions": rows, "partialFailure": true})
}

fn adjustments(rows: &[Value]) -> Value {
    json!({"conversionAdjustments": rows, "partialFailure": true})
}

/// The errors of an answer: of each the row, its code and the field.
fn flaws(answer: &Value) -> Vec<(u64, String, String)> {
    let details = &answer["partialFailureError"]["details"][0];
    let errors = details["errors"].as_array().cloned().unwrap_or_default();
    let told = errors.iter().map(|error| {
        let (_, code) = error["errorCode"].as_object().unwrap().iter().next().unwrap();
        let path = error["location"]["fieldPathElements"].as_array().unwrap();
        let field = path.get(1).map_or("", |element| element["fieldName"].as_str().unwrap());
        (path[0]["index"].as_u64().unwrap(), code.as_str().unwrap().to_owned(), field.to_owned())
    });
    told.collect()
}

/// The codes of an answer, in the order of its rows; every row has one.
async fn codes(running: &Running, path: &str, body: &Value) -> Vec<String> {
    let (status, answer) = running.post(path, &running.token().await, body).await;
    assert_eq!(status, 200, "{answer}");
    flaws(&answer).into_iter().map(|(_, code, _)| code).collect()
}

/// The code of a refused request.
async fn refused(running: &Running, path: &str, body: &Value) -> (u16, Value) {
    let (status, answer) = running.post(path, &running.token().await, body).await;
    let error = &answer["error"]["details"][0]["errors"][0]["errorCode"];
    (status, error.as_object().and_then(|error| error.values().next()).cloned().unwrap_or_default())
}

#[tokio::test]
async fn a_good_upload_is_taken_and_told_row_by_row() {
    let running = Running::start().await;
    let spoilt = with(click("b"), "/conversionDateTime", Some(json!("2026-11-20T08:14:00Z")));
    let token = running.token().await;
    let request = running.client.post(format!("{}{CLICKS}", running.base)).bearer_auth(&token);
    let body = clicks(&[click("a"), spoilt, click("c")]).to_string();
    let response = request.header("content-type", "application/json").body(body).send().await.unwrap();
    assert!(response.headers()["request-id"].to_str().unwrap().starts_with("sandbox-"));
    let answer: Value = serde_json::from_slice(&response.bytes().await.unwrap()).unwrap();
    assert_eq!(answer["results"][1], json!({}));
    assert_eq!(
        answer["results"][2],
        json!({"gclid": "Cj0KCQ-c_DEF", "conversionAction": ACTION, "conversionDateTime": "2026-11-20 08:14:00+00:00"})
    );
    let code = "INVALID_STRING_DATE_TIME_SECONDS_WITH_OFFSET".to_owned();
    assert_eq!(flaws(&answer), [(1, code, "conversion_date_time".to_owned())]);
    assert!(answer["jobId"].is_string());
    let received = running.sandbox.received_google_ads();
    assert_eq!(received.len(), 2);
    assert_eq!((&received[1]["event"], &received[1]["kind"]), (&click("c"), &json!("click")));
    assert_eq!((&received[1]["conversion_action"], &received[1]["duplicate"]), (&json!("987654321"), &json!(false)));
    let stats = running.sandbox.stats().google_ads;
    assert_eq!((stats.requests, stats.accepted, stats.distinct_ids), (1, 2, 2));
    assert_eq!(stats.failed_afterwards.values().sum::<u64>(), 1);
    let (_, listed) = running.get("/_sandbox/received?platform=google_ads&event_id=c", "").await;
    assert_eq!(listed["google_ads"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn every_way_to_spoil_a_row_is_told_with_its_field() {
    let running = Running::start().await;
    let person = |person: Value| Some(json!([person]));
    let cases: Vec<(&str, Option<Value>, &str, &str)> = vec![
        ("/conversionAction", None, "REQUIRED", "conversion_action"),
        ("/conversionAction", Some(json!("987654321")), "RESOURCE_NAME_MALFORMED", "conversion_action"),
        ("/conversionDateTime", None, "REQUIRED", "conversion_date_time"),
        (
            "/conversionDateTime",
            Some(json!("2026-11-22 08:14:00+00:00")),
            "LATER_THAN_MAXIMUM_DATE",
            "conversion_date_time",
        ),
        ("/conversionDateTime", Some(json!("2026-08-01 08:14:00+00:00")), "EXPIRED_EVENT", "conversion_date_time"),
        ("/gclid", Some(json!("")), "TOO_SHORT", "gclid"),
        ("/gclid", Some(json!("a b")), "UNPARSEABLE_GCLID", "gclid"),
        ("/wbraid", Some(json!("w")), "VALUE_MUST_BE_UNSET", "wbraid"),
        ("/gbraid", Some(json!("g")), "VALUE_MUST_BE_UNSET", "user_identifiers"),
        ("/conversionValue", Some(json!(-1)), "INVALID_VALUE", "conversion_value"),
        ("/currencyCode", None, "REQUIRED", "currency_code"),
        ("/currencyCode", Some(json!("eur")), "UNSUPPORTED", "currency_code"),
        ("/orderId", Some(json!("")), "TOO_SHORT", "order_id"),
        ("/orderId", Some(json!("ann@example.com")), "ORDER_ID_CONTAINS_PII", "order_id"),
        ("/orderId", Some(json!("+16505551212")), "ORDER_ID_CONTAINS_PII", "order_id"),
        ("/userIdentifiers", Some(json!(vec![json!({"hashedEmail": EMAIL}); 6])), "TOO_MANY", "user_identifiers"),
        (
            "/userIdentifiers",
            person(json!({"hashedEmail": "ann@example.com"})),
            "INVALID_USER_IDENTIFIER",
            "user_identifiers",
        ),
        (
            "/userIdentifiers",
            person(json!({"hashedEmail": EMAIL.to_uppercase()})),
            "INVALID_USER_IDENTIFIER",
            "user_identifiers",
        ),
        (
            "/userIdentifiers",
            person(json!({"hashedEmail": EMPTY_SHA256})),
            "INVALID_USER_IDENTIFIER",
            "user_identifiers",
        ),
        ("/userIdentifiers", person(json!({})), "INVALID_USER_IDENTIFIER", "user_identifiers"),
        ("/userIdentifiers", person(json!({"addressInfo": {}})), "UNSUPPORTED_USER_IDENTIFIER", "user_identifiers"),
        ("/consent", Some(json!({"adPersonalization": "GRANTED"})), "VALUE_MUST_BE_UNSET", "consent"),
        ("/userIpAddress", Some(json!("203.0.113.7")), "CUSTOMER_NOT_ALLOWLISTED_FOR_THIS_FEATURE", ""),
    ];
    for (pointer, value, code, field) in cases {
        let bad = with(click("bad"), pointer, value.clone());
        let body = with(clicks(&[click("good"), bad]), "/validateOnly", Some(json!(true)));
        let (status, answer) = running.post(CLICKS, &running.token().await, &body).await;
        assert_eq!(status, 200, "{pointer} {value:?}: {answer}");
        assert_eq!(flaws(&answer), [(1, code.to_owned(), field.to_owned())], "{pointer} {value:?}");
        assert!(!answer.to_string().contains("ann@"), "{answer}");
    }
    let nobody = with(with(click("t"), "/gclid", None), "/userIdentifiers", None);
    assert_eq!(codes(&running, CLICKS, &clicks(&[nobody])).await, ["REQUIRED"]);
    let braids = with(with(click("t"), "/gbraid", Some(json!("g"))), "/wbraid", Some(json!("w")));
    assert_eq!(codes(&running, CLICKS, &clicks(&[braids])).await, ["GBRAID_WBRAID_BOTH_SET"]);
    assert_eq!(running.sandbox.stats().google_ads.accepted, 0, "what is only validated is not taken");
}

#[tokio::test]
async fn requests_outside_the_rules_are_refused() {
    let running = Running::start().await;
    let good = clicks(&[click("t")]);
    let change = |pointer, value| with(good.clone(), pointer, Some(value));
    for (path, body, code) in [
        (CLICKS, change("/partialFailure", json!(false)), "PARTIAL_FAILURE_MODE_REQUIRED"),
        (CLICKS, change("/jobId", json!(0)), "INVALID_JOB_ID"),
        (CLICKS, clicks(&[]), "REQUIRED"),
        (CLICKS, clicks(&vec![json!({}); 2001]), "TOO_MANY_CONVERSIONS_IN_REQUEST"),
        (ADJUSTMENTS, adjustments(&vec![json!({}); 2001]), "TOO_MANY_ADJUSTMENTS_IN_REQUEST"),
        (&CLICKS.replace("v26", "v22"), good.clone(), "UNSUPPORTED_VERSION"),
        (&CLICKS.replace("1234567890", "123-456-7890"), good.clone(), "INVALID_CUSTOMER_ID"),
    ] {
        assert_eq!(refused(&running, path, &body).await, (400, json!(code)), "{path}");
    }
    let unknown = clicks(&[click("a"), with(click("b"), "/currency", Some(json!("EUR")))]);
    for (path, body) in [
        (CLICKS, unknown),
        (CLICKS, change("/customerId", json!("1"))),
        (CLICKS, clicks(&[with(click("t"), "/conversionValue", Some(json!("49.99")))])),
        (CLICKS, clicks(&[with(click("t"), "/consent", Some(json!({"adUserData": "CONSENT_GRANTED"})))])),
        (CLICKS, adjustments(&[])),
        (ADJUSTMENTS, good.clone()),
    ] {
        let (status, answer) = running.post(path, &running.token().await, &body).await;
        assert_eq!((status, &answer["error"]["status"]), (400, &json!("INVALID_ARGUMENT")), "{body}");
    }
    let unknown = CLICKS.replace("uploadClickConversions", "uploadCallConversions");
    assert_eq!(running.post(&unknown, &running.token().await, &good).await.0, 404);
    for token in ["", "made-up"] {
        assert_eq!(running.post(CLICKS, token, &good).await.0, 401);
    }
    let dashed = running.client.post(format!("{}{CLICKS}", running.base)).bearer_auth(running.token().await);
    let dashed = dashed.header("content-type", "application/json").header("login-customer-id", "111-222-3333");
    let (status, _) = crate::sandbox::testing::answer(dashed.body(good.to_string())).await;
    assert_eq!(status, 400);
    assert_eq!(running.sandbox.stats().google_ads.accepted, 0);
}

#[tokio::test]
async fn an_action_counts_an_order_and_a_click_once() {
    let running = Running::start().await;
    let twins = clicks(&[click("a"), click("b"), click("a")]);
    assert_eq!(codes(&running, CLICKS, &twins).await, ["DUPLICATE_ORDER_ID"; 2]);
    assert!(codes(&running, CLICKS, &clicks(&[click("a")])).await.is_empty(), "none of the twins was taken");
    assert_eq!(codes(&running, CLICKS, &clicks(&[click("a")])).await, ["ORDER_ID_ALREADY_IN_USE"]);
    let same_click = with(click("a"), "/orderId", Some(json!("x")));
    assert_eq!(codes(&running, CLICKS, &clicks(&[same_click])).await, ["CLICK_CONVERSION_ALREADY_EXISTS"]);
    let nameless = |gclid: &str| with(with(click(gclid), "/orderId", None), "/gclid", Some(json!(gclid)));
    let twins = clicks(&[nameless("n"), nameless("n"), nameless("m")]);
    assert_eq!(codes(&running, CLICKS, &twins).await, ["DUPLICATE_CLICK_CONVERSION_IN_REQUEST"; 2]);
    let other_action = with(click("a"), "/conversionAction", Some(json!("customers/1/conversionActions/2")));
    assert!(codes(&running, CLICKS, &clicks(&[other_action])).await.is_empty());
    let stats = running.sandbox.stats().google_ads;
    assert_eq!((stats.accepted, stats.distinct_ids, stats.duplicates), (6, 4, 2));
    let flags: Vec<_> = running.sandbox.received_google_ads().iter().map(|entry| entry["duplicate"].clone()).collect();
    assert_eq!(flags, [false, false, true, true, false, false].map(Value::from));
}

#[tokio::test]
async fn an_adjustment_needs_its_conversion_and_the_right_moment() {
    let running = Running::start().await;
    let adjust = async |row: Value| codes(&running, ADJUSTMENTS, &adjustments(&[row])).await;
    let at = |hour: u32| format!("2026-11-21 {hour:02}:00:00+00:00");
    assert_eq!(adjust(retraction("a", &at(9))).await, ["CONVERSION_NOT_FOUND"]);
    codes(&running, CLICKS, &clicks(&[click("a"), click("b")])).await;
    assert_eq!(adjust(retraction("a", &at(9))).await, ["TOO_RECENT_CONVERSION"]);
    running.clock.advance(DAY);
    let early = restatement("a", "2026-11-20 08:14:00+00:00", 1.0);
    assert_eq!(adjust(early).await, ["ADJUSTMENT_PRECEDES_CONVERSION"]);
    assert!(adjust(restatement("a", &at(9), 30.0)).await.is_empty());
    assert_eq!(adjust(restatement("a", &at(9), 30.0)).await, ["RESTATEMENT_ALREADY_EXISTS"]);
    assert_eq!(adjust(restatement("a", &at(8), 20.0)).await, ["MORE_RECENT_RESTATEMENT_FOUND"]);
    let pair = json!({"gclid": "Cj0KCQ-a_DEF", "conversionDateTime": "2026-11-20 09:14:00+01:00"});
    let by_click = with(with(retraction("a", &at(10)), "/orderId", None), "/gclidDateTimePair", Some(pair.clone()));
    assert!(adjust(by_click).await.is_empty());
    assert_eq!(adjust(retraction("a", &at(11))).await, ["CONVERSION_ALREADY_RETRACTED"]);
    let twins = adjustments(&[retraction("b", &at(9)), retraction("b", &at(9))]);
    assert_eq!(codes(&running, ADJUSTMENTS, &twins).await, ["DUPLICATE_ADJUSTMENT_IN_REQUEST"; 2]);
    for (row, code) in [
        (with(retraction("b", &at(9)), "/gclidDateTimePair", Some(pair)), "GCLID_DATE_TIME_PAIR_AND_ORDER_ID_BOTH_SET"),
        (with(retraction("b", &at(9)), "/orderId", None), "REQUIRED"),
        (with(retraction("b", &at(9)), "/adjustmentDateTime", None), "REQUIRED"),
        (with(retraction("b", &at(9)), "/restatementValue", Some(json!({"adjustedValue": 0}))), "VALUE_MUST_BE_UNSET"),
        (with(restatement("b", &at(9), 1.0), "/restatementValue", None), "REQUIRED"),
        (
            with(retraction("b", &at(9)), "/userIdentifiers", Some(json!([{"hashedEmail": EMAIL}]))),
            "VALUE_MUST_BE_UNSET",
        ),
        (
            with(retraction("b", &at(9)), "/adjustmentType", Some(json!("ENHANCEMENT"))),
            "CONVERSION_ACTION_NOT_ELIGIBLE_FOR_ENHANCEMENT",
        ),
    ] {
        assert_eq!(adjust(row.clone()).await, [code], "{row}");
    }
    running.clock.advance(DAY * 54);
    assert_eq!(adjust(retraction("b", &at(9))).await, ["CONVERSION_EXPIRED"]);
    let kinds: Vec<_> = running.sandbox.received_google_ads().iter().map(|entry| entry["kind"].clone()).collect();
    assert_eq!(kinds, ["click", "click", "adjustment", "adjustment", "adjustment"]);
}

#[tokio::test]
async fn google_ads_fails_as_told() {
    let running = Running::start().await;
    let body = clicks(&[click("a"), click("b")]);
    let fail = |fault: Fault| running.sandbox.set_fault(Platform::GoogleAds, fault.for_requests(1));
    fail(Fault::new(FaultMode::Outage));
    assert_eq!(refused(&running, CLICKS, &body).await.0, 503);
    fail(Fault::new(FaultMode::Throttle).retry_after(Duration::from_secs(7)));
    let (status, answer) = running.post(CLICKS, &running.token().await, &body).await;
    let error = &answer["error"]["details"][0]["errors"][0];
    assert_eq!((status, &error["errorCode"]["quotaError"]), (429, &json!("RESOURCE_TEMPORARILY_EXHAUSTED")));
    assert_eq!(error["details"]["quotaErrorDetails"]["retryDelay"], "7s");
    let token = running.token().await;
    fail(Fault::new(FaultMode::ExpiredToken));
    assert_eq!(running.post(CLICKS, &token, &body).await.0, 401);
    assert_eq!(running.post(CLICKS, &token, &body).await.0, 401, "that token is gone for good");
    fail(Fault::new(FaultMode::Partial));
    assert_eq!(codes(&running, CLICKS, &body).await, ["INTERNAL_ERROR"]);
    assert_eq!(running.sandbox.received_google_ads().len(), 1);
    fail(Fault::error_rate(1.0));
    assert_eq!(refused(&running, CLICKS, &body).await, (500, json!("INTERNAL_ERROR")));
    running.sandbox.set_fault(Platform::GoogleAds, Fault::new(FaultMode::Poison).ids(["b"]));
    let (_, answer) = running.post(CLICKS, &running.token().await, &clicks(&[click("c"), click("b")])).await;
    assert_eq!(flaws(&answer), [(1, "INVALID_USER_IDENTIFIER".to_owned(), String::new())], "that row alone");
    assert_eq!(running.sandbox.received_google_ads().len(), 2);
    running.sandbox.reset();
    assert!(codes(&running, CLICKS, &body).await.is_empty(), "what was taken is forgotten");
}
