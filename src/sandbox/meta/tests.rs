use serde_json::{Value, json};

use crate::sandbox::{
    Config, Fault, FaultMode, Platform,
    shape::EMPTY_SHA256,
    testing::{EMAIL, NOW_S, Running, answer, purchase, with},
};

const PATH: &str = "/meta/v25.0/1234567890/events";

async fn send(running: &Running, events: &[Value]) -> (u16, Value) {
    running.post(PATH, "token", &json!({ "data": events })).await
}

#[tokio::test]
async fn a_good_event_is_received_recorded_and_counted() {
    let running = Running::start().await;
    let (status, body) = send(&running, &[purchase("e1"), purchase("e2")]).await;
    assert_eq!((status, &body["events_received"], &body["messages"]), (200, &json!(2), &json!([])));
    assert!(body["fbtrace_id"].as_str().is_some_and(|id| !id.is_empty()));
    let received = running.sandbox.received_meta();
    assert_eq!(received[1]["event"], purchase("e2"), "as it was sent");
    assert_eq!((&received[1]["pixel_id"], &received[1]["at"]), (&json!("1234567890"), &json!("2026-11-20T08:15:00Z")));
    let stats = running.sandbox.stats().meta;
    assert_eq!((stats.requests, stats.accepted, stats.distinct_ids, stats.duplicates), (1, 2, 2, 0));
}

#[tokio::test]
async fn every_way_to_spoil_an_event_is_refused() {
    let running = Running::start().await;
    let hash = |field: &str| (format!("/user_data/{field}"), Some(json!("ann@example.com")), None, "not_hashed");
    let mut cases: Vec<(String, Option<Value>, Option<u32>, &str)> = vec![
        ("/event_name".into(), Some(json!(" ")), None, "event_name"),
        ("/event_time".into(), Some(json!(NOW_S * 1000)), Some(2_804_004), "milliseconds"),
        ("/event_time".into(), Some(json!(NOW_S.to_string())), None, "wrong_type"),
        ("/event_time".into(), Some(json!(NOW_S + 61)), Some(2_804_004), "future"),
        ("/event_time".into(), Some(json!(NOW_S - 7 * 86_400 - 1)), Some(2_804_003), "too_old"),
        ("/action_source".into(), None, None, "missing_field"),
        ("/action_source".into(), Some(json!("web")), None, "unknown_value"),
        ("/event_source_url".into(), None, None, "missing_field"),
        ("/event_source_url".into(), Some(json!("shop.example/thanks")), None, "url"),
        ("/eventId".into(), Some(json!("x")), None, "unknown_field"),
        ("/user_data/email".into(), Some(json!(EMAIL)), None, "unknown_field"),
        ("/user_data/client_user_agent".into(), None, None, "missing_field"),
        ("/user_data/em".into(), Some(json!([EMAIL, EMAIL.to_uppercase()])), None, "not_hashed"),
        ("/user_data/em".into(), Some(json!([])), None, "user_data"),
        ("/user_data/em".into(), Some(json!(7)), None, "wrong_type"),
        ("/user_data/em".into(), Some(json!(EMPTY_SHA256)), None, "hash_of_nothing"),
        ("/user_data/external_id".into(), Some(json!("ann@example.com")), None, "not_hashed"),
        ("/user_data/client_ip_address".into(), Some(json!("203.0.113.777")), None, "user_data"),
        ("/user_data/fbc".into(), Some(json!("fb.1.1795162400.AbC")), None, "user_data"),
        ("/user_data/fbp".into(), Some(json!("GA1.1.1795162400000.1")), None, "user_data"),
        ("/user_data/lead_id".into(), Some(json!("12a")), Some(2_804_036), "wrong_type"),
        ("/user_data/lead_id".into(), Some(json!(12)), Some(2_804_036), "lead_id"),
        ("/user_data/madid".into(), Some(json!("x")), None, "user_data"),
        ("/user_data".into(), Some(json!({"client_user_agent": "x"})), Some(2_804_050), "too_few_identifiers"),
        ("/user_data".into(), None, None, "missing_field"),
        ("/custom_data".into(), None, Some(2_804_009), "purchase_value"),
        ("/custom_data/value".into(), None, Some(2_804_009), "purchase_value"),
        ("/custom_data/value".into(), Some(json!("49.99")), Some(2_804_019), "wrong_type"),
        ("/custom_data/value".into(), Some(json!(-1)), Some(2_804_019), "purchase_value"),
        ("/custom_data/currency".into(), None, Some(2_804_023), "currency"),
        ("/custom_data/currency".into(), Some(json!("EURO")), Some(2_804_023), "currency"),
        ("/data_processing_options".into(), Some(json!(["LDU"])), None, "data_processing_options"),
        ("/app_data".into(), Some(json!({"extinfo": []})), None, "app_data"),
    ];
    cases.extend(["em", "ph", "fn", "ln", "db", "ge", "ct", "st", "zp", "country"].map(hash));
    for (pointer, value, subcode, reason) in cases {
        let bad = with(purchase("e1"), &pointer, value.clone());
        let (status, body) = send(&running, &[purchase("good"), bad]).await;
        let error = &body["error"];
        assert_eq!((status, &error["code"]), (400, &json!(100)), "{pointer} {value:?}: {body}");
        assert_eq!(error["error_subcode"].as_u64(), subcode.map(u64::from), "{pointer} {value:?}: {body}");
        assert!(!body.to_string().contains("ann@") && !body.to_string().contains("[1]"), "{body}");
        let note = running.sandbox.stats().meta.latest_refusals.pop_back().unwrap();
        assert_eq!(note.reason, reason, "{pointer} {value:?}: {body}");
        assert!(note.field.starts_with("data[1]"), "{note:?}");
    }
    assert_eq!(running.sandbox.stats().meta.accepted, 0, "one bad event refuses the good one beside it");
    assert!(running.sandbox.received_meta().is_empty());
}

#[tokio::test]
async fn what_meta_allows_is_taken() {
    let running = Running::start().await;
    let appended = format!("{EMAIL}.AQICAQMC");
    let old = json!(NOW_S - 61 * 86_400);
    let store = with(with(purchase("a"), "/action_source", Some(json!("physical_store"))), "/event_time", Some(old));
    let lead = json!({
        "event_name": "qualified", "event_time": NOW_S, "action_source": "system_generated", "event_id": "b",
        "user_data": {"lead_id": 123_456_789_012_345_u64},
        "custom_data": {"event_source": "crm", "lead_event_source": "HubSpot"},
    });
    let good = [
        store,
        lead,
        with(purchase("c"), "/user_data/em", Some(json!(appended))),
        with(purchase("d"), "/user_data/fbc", Some(json!("fb.1.1795162400000.AbC.AQICAQMC"))),
        with(purchase("e"), "/user_data/client_ip_address", Some(json!("2001:db8::1"))),
        with(purchase("f"), "/custom_data/currency", Some(json!("eur"))),
        with(purchase("g"), "/event_time", Some(json!(NOW_S + 60))),
        json!(purchase("h").to_string()),
    ];
    let (status, body) = send(&running, &good).await;
    assert_eq!((status, &body["events_received"]), (200, &json!(8)), "{:?}", running.sandbox.stats().meta);
}

#[tokio::test]
async fn the_python_sdks_form_is_read_too() {
    let running = Running::start().await;
    let data = json!([purchase("e1").to_string()]).to_string();
    let fields = [("access_token", "token"), ("data", &*data), ("test_event_code", "T1")];
    assert_eq!(running.form(PATH, &fields).await.1["events_received"], 1);
    assert_eq!(running.sandbox.received_meta()[0]["event"], purchase("e1"));
}

#[tokio::test]
async fn the_token_may_come_in_three_ways_and_bad_ones_are_told_apart() {
    let running = Running::start().await;
    let body = json!({"data": [purchase("e1")]});
    assert_eq!(running.post(&format!("{PATH}?access_token=t"), "", &body).await.0, 200);
    let in_body = json!({"data": [purchase("e1")], "access_token": "t"});
    assert_eq!(running.post(PATH, "", &in_body).await.0, 200);
    assert_eq!(running.post(PATH, "t", &body).await.0, 200);
    assert_eq!(running.sandbox.stats().meta.duplicates, 2);
    for (token, code, subcode) in [("", 190, None), ("expired", 190, Some(463)), ("forbidden", 10, None)] {
        let error = running.post(PATH, token, &body).await.1["error"].clone();
        assert_eq!((error["code"].as_u64(), error["error_subcode"].as_u64()), (Some(code), subcode), "{token}");
    }
    let only =
        Running::with(Config { meta_tokens: vec![crate::model::Secret::new("mine")], ..Config::default() }).await;
    assert_eq!(only.post(PATH, "other", &body).await.1["error"]["code"], 190);
    assert_eq!(only.post(PATH, "mine", &body).await.0, 200);
}

#[tokio::test]
async fn addresses_and_batches_outside_the_limits_are_refused() {
    let running = Running::start().await;
    let body = json!({"data": [purchase("e1")]});
    assert_eq!(running.post("/meta/25/1/events", "t", &body).await.1["error"]["code"], 2500);
    assert_eq!(running.post("/meta/v25.0/my-pixel/events", "t", &body).await.1["error"]["error_subcode"], 33);
    assert_eq!(running.post(&format!("{PATH}?debug=all"), "t", &body).await.0, 400);
    for wrong in [json!({"data": []}), json!({"data": vec![purchase("x"); 1001]}), json!({}), json!({"data": {}})] {
        assert_eq!(running.post(PATH, "t", &wrong).await.1["error"]["code"], 100);
    }
    assert_eq!(running.post(PATH, "t", &json!({"data": [purchase("x")], "dry_run": true})).await.0, 400);
    let text = running.client.post(format!("{}{PATH}?access_token=t", running.base)).body(body.to_string());
    assert_eq!(answer(text).await.0, 400, "no content type");
}

#[tokio::test]
async fn a_thousand_events_are_one_request() {
    let running = Running::start().await;
    let events: Vec<Value> = (0..1000).map(|i| purchase(&i.to_string())).collect();
    assert_eq!(send(&running, &events).await.1["events_received"], 1000);
    assert_eq!(running.sandbox.stats().meta.distinct_ids, 1000);
}

#[tokio::test]
async fn a_repeated_event_is_a_duplicate_for_48_hours_after_the_first() {
    let running = Running::start().await;
    send(&running, &[purchase("e1")]).await;
    let hours = |hours: u64| std::time::Duration::from_secs(hours * 3600);
    running.clock.advance(hours(47));
    assert_eq!(send(&running, &[purchase("e1")]).await.1["events_received"], 1, "Meta does not tell");
    send(&running, &[with(purchase("e1"), "/event_name", Some(json!("Lead")))]).await;
    running.post("/meta/v25.0/2/events", "t", &json!({"data": [purchase("e1")]})).await;
    let stats = running.sandbox.stats().meta;
    assert_eq!((stats.duplicates, stats.distinct_ids), (1, 3), "pixel, name and id are the key");
    running.clock.advance(hours(2));
    send(&running, &[purchase("e1")]).await;
    send(&running, &[with(purchase("x"), "/event_id", None)]).await;
    let stats = running.sandbox.stats().meta;
    assert_eq!((stats.duplicates, stats.distinct_ids, stats.without_id), (1, 4, 1), "48 hours are over");
    assert_eq!(stats.accepted, stats.distinct_ids + stats.duplicates + stats.without_id);
}

#[tokio::test]
async fn meta_fails_as_told_and_recovers() {
    let running = Running::start().await;
    let wait = std::time::Duration::from_secs(120);
    running.sandbox.set_fault(Platform::Meta, Fault::new(FaultMode::Outage).for_requests(2));
    for _ in 0..2 {
        let (status, body) = send(&running, &[purchase("e1")]).await;
        assert_eq!((status, &body["error"]["is_transient"]), (503, &json!(true)));
    }
    assert_eq!(send(&running, &[purchase("e1")]).await.0, 200, "after two requests it is over");

    running.sandbox.set_fault(Platform::Meta, Fault::new(FaultMode::Throttle).retry_after(wait));
    let request = running.client.post(format!("{}{PATH}?access_token=t", running.base));
    let request = request.header("content-type", "application/json");
    let response = request.body(json!({"data": [purchase("e1")]}).to_string()).send().await.unwrap();
    assert_eq!((response.status().as_u16(), &response.headers()["retry-after"]), (400, &"120".parse().unwrap()));
    let usage: Value = serde_json::from_slice(response.headers()["x-business-use-case-usage"].as_bytes()).unwrap();
    assert_eq!(usage["1"][0]["estimated_time_to_regain_access"], 2);

    running.sandbox.set_fault(Platform::Meta, Fault::new(FaultMode::ExpiredToken));
    assert_eq!(send(&running, &[purchase("e1")]).await.1["error"]["error_subcode"], 463);

    running.sandbox.set_fault(Platform::Meta, Fault::new(FaultMode::Partial));
    assert_eq!(send(&running, &[purchase("e2"), purchase("e3")]).await.1["events_received"], 1);
    let stats = running.sandbox.stats().meta;
    assert_eq!((stats.accepted, stats.failed_afterwards["partial"]), (2, 1));
    assert_eq!((stats.refused["outage"], stats.refused["throttle"], stats.refused["expired_token"]), (2, 1, 1));
}

#[tokio::test]
async fn a_reset_takes_the_event_and_answers_nothing() {
    let running = Running::start().await;
    running.sandbox.set_fault(Platform::Meta, Fault::new(FaultMode::Reset).for_requests(1));
    let request = running.client.post(format!("{}{PATH}?access_token=t", running.base));
    let request =
        request.header("content-type", "application/json").body(json!({"data": [purchase("e1")]}).to_string());
    assert!(request.send().await.is_err(), "not even a status line");
    assert_eq!(running.sandbox.stats().meta.accepted, 1);
    assert_eq!(send(&running, &[purchase("e1")]).await.0, 200);
    assert_eq!(running.sandbox.stats().meta.duplicates, 1);
}

#[tokio::test]
async fn a_slow_answer_comes_after_the_work() {
    let running = Running::start().await;
    let hour = std::time::Duration::from_secs(3600);
    running.sandbox.set_fault(Platform::Meta, Fault::new(FaultMode::Slow).delay(hour).for_requests(1));
    let body = json!({"data": [purchase("e1")]}).to_string();
    let request = running.client.post(format!("{}{PATH}?access_token=t", running.base));
    let answer = tokio::spawn(request.header("content-type", "application/json").body(body).send());
    while running.sandbox.stats().meta.accepted == 0 {
        tokio::task::yield_now().await;
    }
    assert!(!answer.is_finished(), "the sender does not know that it worked");
    answer.abort();
}

#[tokio::test]
async fn the_pixel_can_be_looked_at_with_a_token() {
    let running = Running::start().await;
    let look = |version: &str, query: &str| {
        let path = format!("/meta/{version}/1234567890?{query}");
        let running = &running;
        async move { running.get(&path, "").await }
    };
    let (status, pixel) = look("v26.0", "fields=id,name&access_token=t").await;
    assert_eq!((status, &pixel["id"], pixel["name"].is_string()), (200, &json!("1234567890"), true));
    for (version, query, code) in [
        ("v26.0", "fields=id,name", 190),
        ("v26.0", "fields=id,name&access_token=expired", 190),
        ("v26.0", "fields=id,name&access_token=forbidden", 10),
        ("v26.0", "fields=secrets&access_token=t", 100),
        ("26", "fields=id&access_token=t", 2500),
    ] {
        let (status, answer) = look(version, query).await;
        assert!((400..500).contains(&status) && answer["error"]["code"] == code, "{version} {query}: {answer}");
    }
    assert_eq!(running.sandbox.stats().meta.accepted, 0);
}
