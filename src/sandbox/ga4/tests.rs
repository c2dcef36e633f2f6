use serde_json::{Value, json};

use crate::sandbox::testing::{EMAIL, NOW_S, Running, with};

const QUERY: &str = "measurement_id=G-ABC123&api_secret=s";

fn good() -> Value {
    json!({
        "client_id": "123.456",
        "timestamp_micros": (NOW_S - 60) * 1_000_000,
        "user_data": {
            "sha256_email_address": [EMAIL],
            "address": [{"sha256_first_name": EMAIL, "city": "berlin", "postal_code": "10115", "country": "DE"}],
        },
        "consent": {"ad_user_data": "GRANTED", "ad_personalization": "DENIED"},
        "user_properties": {"tier": {"value": "gold"}},
        "events": [{"name": "purchase", "params": {
            "transaction_id": "1001",
            "value": 49.99,
            "currency": "EUR",
            "session_id": (NOW_S - 3600).to_string(),
            "engagement_time_msec": 1,
            "plan": "pro",
            "items": [{"item_id": "sku", "item_name": "Mug", "price": 12.5, "quantity": 2}],
        }}],
    })
}

async fn collect(running: &Running, query: &str, body: &Value) -> u16 {
    let request = running.client.post(format!("{}/ga4/mp/collect?{query}", running.base));
    request.body(body.to_string()).send().await.unwrap().status().as_u16()
}

async fn messages(running: &Running, body: &Value) -> Vec<(String, String)> {
    let (status, answer) = running.post(&format!("/ga4/debug/mp/collect?{QUERY}"), "", body).await;
    assert_eq!(status, 200);
    let list = answer["validationMessages"].as_array().unwrap().iter();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    list.map(|message| (text(&message["fieldPath"]), text(&message["validationCode"]))).collect()
}

#[tokio::test]
async fn a_good_event_is_recorded_and_a_purchase_counts_once() {
    let running = Running::start().await;
    assert_eq!(messages(&running, &good()).await, []);
    assert_eq!(running.sandbox.stats().ga4.accepted, 0, "the debug endpoint records nothing");
    for _ in 0..2 {
        assert_eq!(collect(&running, QUERY, &good()).await, 204);
    }
    let lead = with(good(), "/events", Some(json!([{"name": "generate_lead", "params": {"event_id": "l"}}])));
    collect(&running, QUERY, &lead).await;
    collect(&running, QUERY, &lead).await;
    let stats = running.sandbox.stats().ga4;
    assert_eq!((stats.accepted, stats.distinct_ids, stats.duplicates, stats.without_id), (4, 1, 1, 2));
    let received = running.sandbox.received_ga4();
    assert_eq!((&received[0]["event"], &received[0]["measurement_id"]), (&good(), &json!("G-ABC123")));
    let found = running.get("/_sandbox/received?platform=ga4&event_id=l", "").await.1;
    assert_eq!(found["ga4"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn each_event_of_a_request_is_recorded_on_its_own() {
    let running = Running::start().await;
    let event = |id: &str| json!({"name": "purchase", "params": {"transaction_id": id}});
    collect(&running, QUERY, &json!({"client_id": "1.2", "events": [event("a"), event("b")]})).await;
    let received = running.sandbox.received_ga4();
    assert_eq!(received[1]["event"], json!({"client_id": "1.2", "events": [event("b")]}));
    assert_eq!(running.sandbox.stats().ga4.distinct_ids, 2);
}

#[tokio::test]
async fn what_is_wrong_is_dropped_without_a_word_and_named_by_the_debug_endpoint() {
    let running = Running::start().await;
    let params = |name: &str| format!("/events/0/params/{name}");
    let long = "x".repeat(101);
    let many: serde_json::Map<String, Value> = (0..26).map(|i| (format!("p{i}"), json!(i))).collect();
    let micros = |s: i64| json!((NOW_S + s) * 1_000_000);
    let cases: Vec<(String, Option<Value>, &str, &str)> = vec![
        ("/client_id".into(), None, "client_id", "VALUE_REQUIRED"),
        ("/client_id".into(), Some(json!("")), "client_id", "VALUE_INVALID"),
        ("/clientId".into(), Some(json!("x")), "clientId", "VALUE_INVALID"),
        ("/timestamp_micros".into(), Some(micros(-72 * 3600 - 1)), "timestamp_micros", "VALUE_OUT_OF_BOUNDS"),
        ("/timestamp_micros".into(), Some(json!(NOW_S)), "timestamp_micros", "VALUE_OUT_OF_BOUNDS"),
        ("/timestamp_micros".into(), Some(micros(90_000)), "timestamp_micros", "VALUE_OUT_OF_BOUNDS"),
        ("/timestamp_micros".into(), Some(json!("now")), "timestamp_micros", "VALUE_INVALID"),
        ("/consent/ad_user_data".into(), Some(json!("granted")), "consent.ad_user_data", "VALUE_INVALID"),
        ("/consent/adUserData".into(), Some(json!("GRANTED")), "consent.adUserData", "VALUE_INVALID"),
        ("/user_properties/ga_x".into(), Some(json!({"value": 1})), "user_properties.ga_x", "NAME_RESERVED"),
        ("/user_properties/tier".into(), Some(json!("gold")), "user_properties.tier", "VALUE_REQUIRED"),
        (
            "/user_data/sha256_email_address".into(),
            Some(json!("a@example.com")),
            "user_data.sha256_email_address",
            "VALUE_INVALID",
        ),
        ("/user_data/email".into(), Some(json!(EMAIL)), "user_data.email", "VALUE_INVALID"),
        ("/user_data/address".into(), Some(json!({"country": "de"})), "user_data.address.country", "VALUE_INVALID"),
        ("/ip_override".into(), Some(json!("1.2.3")), "ip_override", "VALUE_INVALID"),
        ("/validation_behavior".into(), Some(json!("STRICT")), "validation_behavior", "VALUE_INVALID"),
        ("/events".into(), Some(json!([])), "events", "VALUE_REQUIRED"),
        ("/events".into(), Some(json!(vec![json!({"name": "x"}); 26])), "events", "EXCEEDED_MAX_ENTITIES"),
        ("/events/0/name".into(), None, "events[0].name", "VALUE_REQUIRED"),
        ("/events/0/name".into(), Some(json!("sign up")), "events[0].name", "NAME_INVALID"),
        ("/events/0/name".into(), Some(json!("x".repeat(41))), "events[0].name", "NAME_INVALID"),
        ("/events/0/name".into(), Some(json!("session_start")), "events[0].name", "NAME_RESERVED"),
        ("/events/0/name".into(), Some(json!("first_open")), "events[0].name", "NAME_RESERVED"),
        ("/events/0/name".into(), Some(json!("google_x")), "events[0].name", "NAME_RESERVED"),
        ("/events/0/id".into(), Some(json!("x")), "events[0].id", "VALUE_INVALID"),
        ("/events/0/params".into(), Some(Value::Object(many)), "events[0].params", "EXCEEDED_MAX_ENTITIES"),
        (params("1st"), Some(json!(1)), "events[0].params.1st", "NAME_INVALID"),
        (params("_x"), Some(json!(1)), "events[0].params._x", "NAME_RESERVED"),
        (params("plan"), Some(json!(long)), "events[0].params.plan", "VALUE_OUT_OF_BOUNDS"),
        (params("plan"), Some(json!({"a": 1})), "events[0].params.plan", "VALUE_INVALID"),
        (params("value"), Some(json!("49.99")), "events[0].params.value", "VALUE_INVALID"),
        (params("currency"), None, "events[0].params.currency", "VALUE_REQUIRED"),
        (params("currency"), Some(json!("EURO")), "events[0].params.currency", "VALUE_INVALID"),
        (params("transaction_id"), None, "events[0].params.transaction_id", "VALUE_REQUIRED"),
        (
            params("engagement_time_msec"),
            Some(json!(0)),
            "events[0].params.engagement_time_msec",
            "VALUE_OUT_OF_BOUNDS",
        ),
        (params("engagement_time_msec"), None, "events[0].params.engagement_time_msec", "VALUE_REQUIRED"),
        (params("session_id"), Some(json!(NOW_S - 90_000)), "events[0].params.session_id", "VALUE_OUT_OF_BOUNDS"),
        (params("session_id"), Some(json!("abc")), "events[0].params.session_id", "VALUE_INVALID"),
        (params("items"), Some(json!([{"price": 1}])), "events[0].params.items[0]", "VALUE_REQUIRED"),
        (
            params("items"),
            Some(json!([{"item_id": "x", "price": "1"}])),
            "events[0].params.items[0].price",
            "VALUE_INVALID",
        ),
        (
            params("items"),
            Some(json!(vec![json!({"item_id": "x"}); 201])),
            "events[0].params.items",
            "EXCEEDED_MAX_ENTITIES",
        ),
    ];
    for (pointer, value, field, code) in cases {
        let pointer_text = pointer.clone();
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        let mut bad = good();
        let parent = bad.pointer_mut(parent).unwrap().as_object_mut().unwrap();
        match value {
            Some(value) => parent.insert(name.to_owned(), value),
            None => parent.remove(name),
        };
        let said = messages(&running, &bad).await;
        assert!(said.contains(&(field.to_owned(), code.to_owned())), "{pointer_text}: {said:?}");
        let before = running.sandbox.stats().ga4.refused.values().sum::<u64>();
        assert_eq!(collect(&running, QUERY, &bad).await, 204, "it never tells");
        assert_eq!(running.sandbox.stats().ga4.refused.values().sum::<u64>(), before + 1, "{pointer_text}");
    }
    assert_eq!(running.sandbox.stats().ga4.accepted, 0);
    let large = with(good(), "/user_id", Some(json!("x".repeat(130_000))));
    assert_eq!(messages(&running, &large).await[0].1, "VALUE_OUT_OF_BOUNDS");
    let twice = r#"{"client_id":"1.2","events":[{"name":"x","params":{"a":1,"a":2}}]}"#;
    let request = running.client.post(format!("{}/ga4/debug/mp/collect?{QUERY}", running.base)).body(twice);
    assert!(request.send().await.unwrap().text().await.unwrap().contains("NAME_DUPLICATED"));
}

#[tokio::test]
async fn a_bad_address_is_dropped_and_only_the_secret_goes_unchecked() {
    let running = Running::start().await;
    for (query, reason) in [
        ("measurement_id=G-ABC123", "no_secret"),
        ("measurement_id=UA-1&api_secret=s", "measurement_id"),
        ("api_secret=s", "measurement_id"),
        ("measurement_id=G-ABC123&api_secret=s&debug=1", "unknown_field"),
    ] {
        assert_eq!(collect(&running, query, &good()).await, 204);
        assert_eq!(running.sandbox.stats().ga4.latest_refusals.back().unwrap().reason, reason, "{query}");
    }
    let (status, answer) = running.post("/ga4/debug/mp/collect?measurement_id=G-ABC123", "", &good()).await;
    assert_eq!((status, answer), (200, json!({"validationMessages": []})));
    let (_, answer) = running.post("/ga4/debug/mp/collect?measurement_id=1&api_secret=s", "", &good()).await;
    assert_eq!(answer["validationMessages"][0]["fieldPath"], "measurement_id");
}
