use std::time::Duration;

use serde_json::{Value, json};

use crate::sandbox::{
    Config, Fault, FaultMode, Platform,
    shape::EMPTY_SHA256,
    testing::{EMAIL, Running, conversion, ingest, with},
};

const PATH: &str = "/google/v1/events:ingest";

async fn status_of(running: &Running, token: &str, answer: &Value) -> Value {
    let id = answer["requestId"].as_str().unwrap();
    running.get(&format!("/google/v1/requestStatus:retrieve?requestId={id}"), token).await.1
}

#[tokio::test]
async fn a_good_request_is_received_recorded_and_has_a_status() {
    let running = Running::with(Config { processing: Duration::from_secs(1800), ..Config::default() }).await;
    let token = running.token().await;
    let (status, answer) = running.post(PATH, &token, &ingest(&[conversion("t1"), conversion("t2")])).await;
    assert_eq!(status, 200, "{answer}");
    let received = running.sandbox.received_data_manager();
    assert_eq!((received.len(), &received[1]["event"]), (2, &conversion("t2")));
    assert_eq!(received[0]["product_destination_id"], "987654321");
    let status = status_of(&running, &token, &answer).await;
    assert_eq!(status["requestStatusPerDestination"][0]["requestStatus"], "PROCESSING");
    running.clock.advance(Duration::from_secs(1800));
    let status = &status_of(&running, &token, &answer).await["requestStatusPerDestination"][0];
    assert_eq!(
        (&status["requestStatus"], &status["eventsIngestionStatus"]["recordCount"]),
        (&json!("SUCCESS"), &json!("2"))
    );
    assert_eq!(status["destination"], ingest(&[])["destinations"][0]);
    let (code, unknown) = running.get("/google/v1/requestStatus:retrieve?requestId=x", &token).await;
    assert_eq!((code, &unknown["error"]["details"][0]["reason"]), (400, &json!("INVALID_REQUEST_ID")));
}

#[tokio::test]
async fn every_way_to_spoil_an_event_is_refused_with_its_place() {
    let running = Running::start().await;
    let token = running.token().await;
    let person = |identifier: Value| Some(json!({"userIdentifiers": [identifier]}));
    let ad = |ids: Value| Some(ids);
    let cases: Vec<(&str, Option<Value>, &str, &str)> = vec![
        ("/eventTimestamp", None, "REQUIRED_FIELD_MISSING", ".event_timestamp"),
        ("/eventTimestamp", Some(json!("2026-11-20 08:14:00+00:00")), "EVENT_TIME_INVALID", ".event_timestamp"),
        ("/eventTimestamp", Some(json!("2026-11-22T08:14:00Z")), "EVENT_TIME_INVALID", ".event_timestamp"),
        ("/eventTimestamp", Some(json!(1_795_162_440)), "INVALID_FORMAT", ".event_timestamp"),
        ("/eventSource", None, "REQUIRED_FIELD_MISSING", ".event_source"),
        ("/eventSource", Some(json!("WEBSITE")), "INVALID_ENUM_VALUE", ".event_source"),
        ("/transactionId", None, "REQUIRED_FIELD_MISSING", ".transaction_id"),
        ("/transactionId", Some(json!("x".repeat(513))), "FIELD_VALUE_TOO_LONG", ".transaction_id"),
        ("/transaction_id", Some(json!("t")), "INVALID_ARGUMENT", ".transaction_id"),
        ("/currencyCode", Some(json!("EUR")), "INVALID_ARGUMENT", ".currencyCode"),
        ("/currency", Some(json!("eur")), "INVALID_CURRENCY_CODE", ".currency"),
        ("/currency", Some(json!("EURO")), "INVALID_CURRENCY_CODE", ".currency"),
        ("/currency", None, "REQUIRED_FIELD_MISSING", ".currency"),
        ("/conversionValue", Some(json!("49.99")), "INVALID_FORMAT", ".conversion_value"),
        ("/conversionValue", Some(json!(-1)), "INVALID_NUMBER_FORMAT", ".conversion_value"),
        ("/consent", Some(json!({"adUserData": "GRANTED"})), "INVALID_ENUM_VALUE", ".consent.ad_user_data"),
        ("/adIdentifiers", ad(json!({"gclid": "a", "wbraid": "b"})), "INVALID_EVENT", ".ad_identifiers"),
        ("/adIdentifiers", ad(json!({"gclid": "a b"})), "INVALID_FORMAT", ".ad_identifiers.gclid"),
        ("/adIdentifiers", ad(json!({"fbclid": "a"})), "INVALID_ARGUMENT", ".ad_identifiers.fbclid"),
        ("/userData", person(json!({})), "REQUIRED_FIELD_MISSING", ".user_data.user_identifiers[0]"),
        ("/userData", Some(json!({"userIdentifiers": []})), "REQUIRED_FIELD_MISSING", ".user_data.user_identifiers"),
        (
            "/userData",
            Some(json!({"userIdentifiers": vec![json!({"emailAddress": EMAIL}); 11]})),
            "TOO_MANY_USER_IDENTIFIERS",
            ".user_data.user_identifiers",
        ),
        (
            "/userData",
            person(json!({"emailAddress": EMAIL, "phoneNumber": EMAIL})),
            "INVALID_FORMAT",
            ".user_data.user_identifiers[0]",
        ),
        (
            "/userData",
            person(json!({"emailAddress": "ann@example.com"})),
            "INVALID_HEX_ENCODING",
            ".user_data.user_identifiers[0].email_address",
        ),
        (
            "/userData",
            person(json!({"emailAddress": EMAIL.to_uppercase()})),
            "INVALID_SHA256_FORMAT",
            ".user_data.user_identifiers[0].email_address",
        ),
        (
            "/userData",
            person(json!({"phoneNumber": EMPTY_SHA256})),
            "INVALID_SHA256_FORMAT",
            ".user_data.user_identifiers[0].phone_number",
        ),
        (
            "/userData",
            person(json!({"address": {"givenName": EMAIL, "familyName": EMAIL, "regionCode": "DE"}})),
            "REQUIRED_FIELD_MISSING",
            ".user_data.user_identifiers[0].address.postal_code",
        ),
        (
            "/userData",
            person(json!({"address":
                {"givenName": EMAIL, "familyName": EMAIL, "regionCode": "de", "postalCode": "1"}})),
            "INVALID_REGION_CODE",
            ".user_data.user_identifiers[0].address.region_code",
        ),
        ("/destinationReferences", Some(json!(["other"])), "INVALID_DESTINATION", ".destination_references"),
    ];
    for (pointer, value, reason, place) in cases {
        let bad = with(conversion("bad"), pointer, value.clone());
        let (status, body) = running.post(PATH, &token, &ingest(&[conversion("good"), bad])).await;
        assert_eq!((status, &body["error"]["status"]), (400, &json!("INVALID_ARGUMENT")), "{pointer} {value:?}");
        assert_eq!(body["error"]["details"][0]["reason"], reason, "{pointer} {value:?}: {body}");
        let violation = &body["error"]["details"][1]["fieldViolations"][0];
        assert_eq!(violation["field"], format!("events.events[1]{place}"), "{pointer} {value:?}: {body}");
        assert_eq!(violation["reason"], reason);
        assert!(!body.to_string().contains("ann@"), "{body}");
    }
    let nobody = with(with(conversion("t"), "/userData", None), "/adIdentifiers", None);
    let (_, body) = running.post(PATH, &token, &ingest(&[nobody])).await;
    assert_eq!(body["error"]["details"][0]["reason"], "NO_IDENTIFIERS_PROVIDED");
    assert_eq!(body["error"]["details"][1]["fieldViolations"][0]["field"], "events.events[0]");
    assert_eq!(running.sandbox.stats().data_manager.accepted, 0, "all or nothing");
}

#[tokio::test]
async fn requests_outside_the_rules_are_refused() {
    let running = Running::start().await;
    let token = running.token().await;
    let good = ingest(&[conversion("t")]);
    let destination = good["destinations"][0].clone();
    let dashed = with(destination.clone(), "/operatingAccount/accountId", Some(json!("123-456-7890")));
    let number = with(destination.clone(), "/operatingAccount/accountId", Some(json!(1_234_567_890_u64)));
    let named = with(destination.clone(), "/productDestinationId", Some(json!("Purchase")));
    let cases = [
        ("/destinations", Some(json!([])), "REQUIRED_FIELD_MISSING"),
        ("/destinations", Some(json!(vec![destination.clone(); 11])), "TOO_MANY_DESTINATIONS"),
        ("/destinations", Some(json!([dashed])), "INVALID_FORMAT"),
        ("/destinations", Some(json!([number])), "INVALID_FORMAT"),
        ("/destinations", Some(json!([named])), "INVALID_CONVERSION_ACTION_ID"),
        ("/destinations", Some(json!([with(destination, "/operatingAccount", None)])), "REQUIRED_FIELD_MISSING"),
        ("/events", Some(json!([])), "REQUIRED_FIELD_MISSING"),
        ("/events", Some(json!(vec![json!({}); 2001])), "TOO_MANY_EVENTS"),
        ("/encoding", None, "REQUIRED_FIELD_MISSING"),
        ("/encoding", Some(json!("hex")), "INVALID_ENUM_VALUE"),
        ("/encoding", Some(json!("BASE64")), "INVALID_SHA256_FORMAT"),
        ("/validate_only", Some(json!(true)), "INVALID_ARGUMENT"),
        ("/encryptionInfo", Some(json!({})), "INVALID_ARGUMENT"),
    ];
    for (pointer, value, reason) in cases {
        let (status, body) = running.post(PATH, &token, &with(good.clone(), pointer, value)).await;
        assert_eq!((status, &body["error"]["details"][0]["reason"]), (400, &json!(reason)), "{pointer}: {body}");
    }
    let check = with(good.clone(), "/validateOnly", Some(json!(true)));
    assert_eq!(running.post(PATH, &token, &check).await.0, 200);
    let base64 = with(good, "/encoding", Some(json!("BASE64")));
    let person = json!([{"emailAddress": "C/F3/lrySQV2oZyJ8l3g6GFwUpE4wOwo+cG9K7y4QGc="}]);
    let base64 = with(base64, "/events/0/userData/userIdentifiers", Some(person));
    assert_eq!(running.post(PATH, &token, &base64).await.0, 200);
    assert_eq!(running.sandbox.stats().data_manager.accepted, 1, "validateOnly takes nothing");
}

#[tokio::test]
async fn only_a_token_of_the_sandbox_that_has_not_expired_is_good() {
    let running = Running::start().await;
    let body = ingest(&[conversion("t")]);
    for token in ["", "made-up"] {
        let (status, answer) = running.post(PATH, token, &body).await;
        assert_eq!((status, &answer["error"]["status"]), (401, &json!("UNAUTHENTICATED")));
    }
    let token = running.token().await;
    running.clock.advance(Duration::from_secs(3598));
    assert_eq!(running.post(PATH, &token, &body).await.0, 200);
    running.clock.advance(Duration::from_secs(1));
    assert_eq!(running.post(PATH, &token, &body).await.0, 401);
    let token = running.token().await;
    running.sandbox.set_fault(Platform::DataManager, Fault::new(FaultMode::ExpiredToken).for_requests(1));
    assert_eq!(running.post(PATH, &token, &body).await.0, 401);
    assert_eq!(running.post(PATH, &token, &body).await.0, 401, "that token is gone for good");
    assert_eq!(running.post(PATH, &running.token().await, &body).await.0, 200);
}

#[tokio::test]
async fn an_action_counts_a_transaction_once() {
    let running = Running::start().await;
    let token = running.token().await;
    let mut body = ingest(&[conversion("t1"), conversion("t1"), conversion("t2")]);
    running.post(PATH, &token, &body).await;
    body["destinations"][0]["productDestinationId"] = json!("1");
    running.post(PATH, &token, &body).await;
    let stats = running.sandbox.stats().data_manager;
    assert_eq!((stats.accepted, stats.duplicates, stats.distinct_ids), (6, 2, 4));
    assert_eq!(running.sandbox.received_data_manager()[1]["duplicate"], true);
}

#[tokio::test]
async fn events_go_to_the_destinations_they_name_and_old_ones_fail_afterwards() {
    let running = Running::start().await;
    let token = running.token().await;
    let mut body = ingest(&[
        with(conversion("t1"), "/destinationReferences", Some(json!(["b"]))),
        conversion("t2"),
        with(conversion("t3"), "/eventTimestamp", Some(json!("2026-01-01T00:00:00Z"))),
    ]);
    let destination = &body["destinations"][0];
    let second = with(destination.clone(), "/productDestinationId", Some(json!("2")));
    let second = with(second, "/reference", Some(json!("b")));
    body["destinations"] = json!([with(destination.clone(), "/reference", Some(json!("a"))), second]);
    let (_, answer) = running.post(PATH, &token, &body).await;
    let status = &status_of(&running, &token, &answer).await["requestStatusPerDestination"];
    for (place, records) in [(0, "2"), (1, "3")] {
        assert_eq!(status[place]["requestStatus"], "PARTIAL_SUCCESS");
        assert_eq!(status[place]["eventsIngestionStatus"]["recordCount"], records);
        let failed = json!([{"recordCount": "1", "reason": "PROCESSING_ERROR_REASON_EVENT_TOO_OLD"}]);
        assert_eq!(status[place]["errorInfo"]["errorCounts"], failed);
    }
    assert_eq!(running.sandbox.stats().data_manager.accepted, 3);
}

#[tokio::test]
async fn data_manager_fails_as_told() {
    let running = Running::start().await;
    let token = running.token().await;
    let body = ingest(&[conversion("t")]);
    let fail = |mode| running.sandbox.set_fault(Platform::DataManager, Fault::new(mode).for_requests(1));
    fail(FaultMode::Outage);
    assert_eq!(running.post(PATH, &token, &body).await.0, 503);
    fail(FaultMode::Throttle);
    let (status, answer) = running.post(PATH, &token, &body).await;
    assert_eq!((status, &answer["error"]["status"]), (429, &json!("RESOURCE_EXHAUSTED")));
    fail(FaultMode::Partial);
    let (_, answer) = running.post(PATH, &token, &body).await;
    let status = status_of(&running, &token, &answer).await;
    assert_eq!(status["requestStatusPerDestination"][0]["requestStatus"], "FAILED");
    assert_eq!(running.sandbox.stats().data_manager.accepted, 0);
}

#[tokio::test]
async fn a_known_transaction_with_another_value_is_an_adjustment_and_no_duplicate() {
    let running = Running::start().await;
    let token = running.token().await;
    let worth = |value: Value| with(conversion("t1"), "/conversionValue", Some(value));
    for value in [json!(49.99), json!(49.99), json!(10), json!(10), json!(0)] {
        assert_eq!(running.post(PATH, &token, &ingest(&[worth(value)])).await.0, 200);
    }
    let stats = running.sandbox.stats().data_manager;
    assert_eq!((stats.accepted, stats.distinct_ids, stats.duplicates, stats.adjusted), (3, 1, 2, 2));
    let adjusted = running.sandbox.adjusted_data_manager();
    assert_eq!(adjusted.len(), 2);
    assert_eq!(
        (&adjusted[1]["event"], &adjusted[1]["product_destination_id"]),
        (&worth(json!(0)), &json!("987654321"))
    );
    let other = with(conversion("t1"), "/currency", Some(json!("USD")));
    let other = with(other, "/conversionValue", Some(json!(0)));
    running.post(PATH, &token, &ingest(&[other])).await;
    assert_eq!(running.sandbox.stats().data_manager.adjusted, 3, "another currency is another value");
    running.sandbox.reset();
    assert!(running.sandbox.adjusted_data_manager().is_empty());
}

#[tokio::test]
async fn a_transaction_can_be_made_to_fail_once_for_a_reason() {
    let running = Running::start().await;
    let token = running.token().await;
    running.sandbox.report_reason("t1", "TOO_RECENT_CLICK");
    let body = ingest(&[conversion("t1"), conversion("t2")]);
    let (_, answer) = running.post(PATH, &token, &body).await;
    let status = &status_of(&running, &token, &answer).await["requestStatusPerDestination"][0];
    assert_eq!(status["requestStatus"], "PARTIAL_SUCCESS");
    let counts = json!([{"recordCount": "1", "reason": "PROCESSING_ERROR_REASON_TOO_RECENT_CLICK"}]);
    assert_eq!(status["errorInfo"]["errorCounts"], counts);
    assert_eq!(running.sandbox.stats().data_manager.distinct_ids, 1);
    let (_, answer) = running.post(PATH, &token, &body).await;
    let status = &status_of(&running, &token, &answer).await["requestStatusPerDestination"][0];
    assert_eq!(status["requestStatus"], "SUCCESS");
    assert_eq!(running.sandbox.stats().data_manager.distinct_ids, 2);
}

#[tokio::test]
async fn what_is_only_validated_is_judged_and_never_taken() {
    let running = Running::start().await;
    let token = running.token().await;
    let bad = with(conversion("t"), "/eventSource", None);
    let only = |event| with(ingest(&[event]), "/validateOnly", Some(json!(true)));
    assert_eq!(running.post(PATH, &token, &only(bad)).await.0, 400);
    let (status, answer) = running.post(PATH, &token, &only(conversion("t"))).await;
    assert_eq!(status, 200);
    let id = answer["requestId"].as_str().unwrap();
    let asked = running.get(&format!("/google/v1/requestStatus:retrieve?requestId={id}"), &token).await;
    assert_eq!(asked.0, 400, "such an id cannot be looked up");
    assert_eq!(running.sandbox.stats().data_manager.accepted, 0);
}
