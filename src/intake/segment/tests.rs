use std::{fs, path::Path};

use axum::http::HeaderMap;
use serde_json::{Value, json};

use super::*;
use crate::intake::sources::Worth;

/// 2026-11-20T09:00:00Z.
const NOW: Time = Time::from_secs(1_795_165_200);

fn source() -> SourceName {
    SourceName::new("site").expect("valid")
}

/// What the calls of a body are read as.
fn reads(path: &str, body: &Value, config: &Config) -> Vec<Value> {
    let source = source();
    let (_, kind, direct) = *ROUTES.iter().find(|(ours, ..)| *ours == path).expect("a path");
    let client = "203.0.113.9".parse().expect("an address");
    let call = Call { source: &source, kind, direct, client, now: NOW };
    let messages = match call.messages(body, 100) {
        Ok(messages) => messages,
        Err(problem) => return vec![json!({ "refused": problem })],
    };
    let mut people = People::default();
    let shown = |message: Message<'_>| match told(&message, &source, config, &mut people) {
        Ok(Told::Event(draft)) => json!({ "event": draft.shown() }),
        Ok(Told::Sighting(draft)) => json!({ "sighting": draft.shown() }),
        Ok(Told::Ignored(topic, reason)) => json!({ "ignored": reason, "topic": topic }),
        Err(problem) => json!({ "refused": problem }),
    };
    messages.into_iter().map(shown).collect()
}

fn event(body: Value) -> Value {
    let mut read = reads("/v1/track", &body, &Config::default());
    read.remove(0)["event"].take()
}

/// `fixtures/NAME.json` is `{"path": …, "body": …}`, and `NAME.event.json` beside it what it reads as;
/// `UPDATE_SNAPSHOTS=1` writes those anew.
#[test]
fn fixtures_read_as_their_snapshots() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/intake/segment/fixtures");
    let entries = fs::read_dir(&directory).expect("fixtures").map(|entry| entry.expect("reads").path());
    let mut fixtures: Vec<_> = entries.filter(|path| !path.to_string_lossy().ends_with(".event.json")).collect();
    fixtures.sort();
    assert!(fixtures.len() > 5, "{fixtures:?}");
    for path in fixtures {
        let fixture: Value = serde_json::from_slice(&fs::read(&path).expect("reads")).expect("JSON");
        let read = reads(fixture["path"].as_str().expect("a path"), &fixture["body"], &Config::default());
        let read = serde_json::to_string_pretty(&read).expect("JSON") + "\n";
        let snapshot = path.with_extension("event.json");
        if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
            fs::write(&snapshot, read).expect("writes");
        } else {
            assert_eq!(fs::read_to_string(&snapshot).unwrap_or_default(), read, "{}", path.display());
        }
    }
}

#[test]
fn names_are_those_of_the_spec_else_our_own() {
    for (theirs, ours) in [
        ("Order Completed", "purchase"),
        ("order completed", "purchase"),
        ("Completed Order", "purchase"),
        ("orderCompleted", "purchase"),
        ("Order_Refunded", "refund"),
        ("Signed Up", "sign_up"),
        ("Trial Started", "trial_started"),
        ("generate_lead", "generate_lead"),
        ("Demo – Requested!", "demo_requested"),
    ] {
        assert_eq!(event(json!({ "event": theirs }))["event"], ours, "{theirs}");
    }
    for none in ["2nd Visit", "購入", "!", "ada@example.com wrote", &"long ".repeat(10)] {
        let read = reads("/v1/track", &json!({ "event": none }), &Config::default());
        assert_eq!(read, [json!({ "ignored": "the name does not fit", "topic": "track" })], "{none}");
    }
    let read = reads("/v1/track", &json!({ "event": " " }), &Config::default());
    assert_eq!(read[0]["refused"]["pointer"], "/event");
}

#[test]
fn an_order_is_worth_what_the_setting_says_and_exactly_that() {
    let of = |worth: Worth, properties: Value| {
        let config = Config { worth, ..Config::default() };
        let body = json!({ "event": "Order Completed", "properties": properties });
        let read = reads("/v1/track", &body, &config).remove(0);
        (read["event"]["value"].clone(), read["refused"]["pointer"].clone())
    };
    let whole = json!({"total": 27.5, "subtotal": "22.50", "revenue": 25.0, "shipping": 3, "tax": 2, "value": 1});
    assert_eq!(of(Worth::Total, whole.clone()).0, "27.5");
    assert_eq!(of(Worth::Subtotal, whole).0, "22.50");
    let total = json!({"total": 27.5, "shipping": 3, "tax": 2});
    assert_eq!(of(Worth::Subtotal, total).0, "22.5");
    assert_eq!(of(Worth::Total, json!({"revenue": 25})).0, "25");
    assert_eq!(of(Worth::Subtotal, json!({"value": "4980"})).0, "4980");
    assert_eq!(of(Worth::Total, json!({"total": 0.1 + 0.2})).0, "0.3", "what a program computes in doubles");
    assert_eq!(of(Worth::Total, json!({"total": 12.345})).0, "12.345");
    assert_eq!(of(Worth::Total, json!({"total": ""})).0, Value::Null);
    for wrong in [json!("12,50"), json!("€ 12"), json!([1]), json!({})] {
        assert_eq!(of(Worth::Total, json!({ "total": wrong })).1, "/properties/total", "{wrong}");
    }
}

#[test]
fn an_event_has_one_id_however_often_it_is_sent() {
    let order = json!({"event": "Order Completed", "messageId": "m-1", "properties": {"order_id": 1001}});
    let read = event(order);
    assert_eq!((&read["event_id"], &read["transaction_id"]), (&Value::Null, &json!("1001")), "its order tells");
    let refund = json!({"event": "Order Refunded", "messageId": "m-2", "properties": {"order_id": "1001"}});
    let read = event(refund);
    assert_eq!((&read["event_id"], &read["transaction_id"]), (&json!("site:refund:m-2"), &json!("1001")));
    let refund = json!({"event": "Order Refunded", "messageId": "m-3",
                        "properties": {"order_id": "1001", "refund_id": "r-1"}});
    assert_eq!(event(refund)["event_id"], "site:refund:1001:r-1", "refunds may be counted for each order");
    assert_eq!(event(json!({"event": "Signed Up", "messageId": "m-4"}))["event_id"], "site:sign_up:m-4");
    let coupon = json!({"event": "Coupon Applied", "messageId": "m-5", "properties": {"order_id": "1001"}});
    let read = event(coupon);
    assert_eq!((&read["event_id"], &read["transaction_id"]), (&json!("site:coupon_applied:m-5"), &Value::Null));
    let timed = || event(json!({"event": "A", "userId": 1, "timestamp": "2026-11-20T08:00:00Z"}))["event_id"].clone();
    assert!(timed().is_string() && timed() == timed());
    assert_eq!(event(json!({"event": "A", "userId": 1}))["event_id"], Value::Null, "two such calls are two events");
}

#[test]
fn a_clock_that_is_wrong_is_corrected() {
    let at = |fields: Value| {
        let mut body = json!({"event": "A"});
        fields.as_object().expect("fields").iter().for_each(|(name, value)| body[name] = value.clone());
        event(body)["time"].clone()
    };
    let timestamp = "2026-11-20T11:58:00.000Z";
    assert_eq!(at(json!({ "timestamp": timestamp })), "2026-11-20T11:58:00Z");
    let sent = json!({ "timestamp": timestamp, "sentAt": "2026-11-20T12:00:00Z" });
    assert_eq!(at(sent), "2026-11-20T08:58:00Z", "two minutes before it was sent");
    let sent = json!({ "timestamp": "2026-11-20T12:01:00Z", "sentAt": "2026-11-20T12:00:00Z" });
    assert_eq!(at(sent), "2026-11-20T09:01:00Z");
    for nonsense in [json!(7), json!("2100-01-01T00:00:00Z")] {
        let sent = json!({ "timestamp": "2026-11-20T08:00:00Z", "sentAt": nonsense });
        assert_eq!(at(sent), "2026-11-20T08:00:00Z");
    }
    let replayed = json!({ "timestamp": "2026-11-19T08:00:00Z", "originalTimestamp": "2026-11-19T09:00:00Z",
                           "sentAt": "2026-11-19T09:00:01Z" });
    assert_eq!(at(replayed), "2026-11-19T08:00:00Z", "Segment corrected it already");
    assert_eq!(at(json!({ "timestamp": 1_795_165_100_000_i64 })), "2026-11-20T08:58:20Z");
    assert_eq!(at(json!({ "timestamp": "2015-2-02T00:30:12.984Z" })), Value::Null, "as if it happened now");
}

#[test]
fn the_address_is_the_visitors_or_none() {
    let ip = |path: &str, body: Value| reads(path, &body, &Config::default())[0]["event"]["context"]["ip"].clone();
    assert_eq!(ip("/v1/track", json!({"event": "A"})), Value::Null, "a server's address is not its visitor's");
    assert_eq!(ip("/v1/track", json!({"event": "A", "context": {"ip": "198.51.100.7"}})), "198.51.100.7");
    assert_eq!(ip("/v1/t", json!({"event": "A"})), "203.0.113.9");
    assert_eq!(ip("/v1/t", json!({"event": "A", "context": {"ip": "198.51.100.7"}})), "198.51.100.7");
    assert_eq!(ip("/v1/t", json!({"event": "A", "context": {"ip": "0.0.0.0"}})), Value::Null, "it is not to be told");
    assert_eq!(ip("/v1/track", json!({"event": "A", "context": {"direct": true}})), "203.0.113.9");
    for library in ["Analytics-CSharp", "analytics-kotlin"] {
        let mut body = json!({"event": "A", "context": {"library": {"name": library}}});
        assert_eq!(ip("/v1/t", body.clone()), Value::Null, "{library} may run on a server");
        body["context"]["device"] = json!({"id": "d"});
        assert_eq!(ip("/v1/t", body), "203.0.113.9");
    }
    assert_eq!(ip("/v1/track", json!({"event": "A", "context": {"library": {"name": "analytics.js"}}})), "203.0.113.9");
}

#[test]
fn what_is_hashed_already_is_not_hashed_again() {
    let hash = crate::model::Digest::of_token("ada@example.com").hex();
    let traits = json!({"email": hash.to_uppercase(), "phone": hash, "name": hash, "lastName": hash, "city": hash});
    let read = event(json!({"event": "Signed Up", "context": {"traits": traits}}));
    assert_eq!(read["user"], json!({"email_sha256": [hash]}));
}

#[test]
fn consent_is_what_the_category_says() {
    let consent = |config: &Config, consent: Value| {
        let body = json!({"event": "A", "context": {"consent": consent}});
        reads("/v1/track", &body, config)[0]["event"]["consent"].clone()
    };
    let default = Config::default();
    let both = |choice: &str| json!({"ad_user_data": choice, "ad_personalization": choice});
    let preferences = |value: bool| json!({"categoryPreferences": {"advertising": value, "Analytics": !value}});
    assert_eq!(consent(&default, preferences(true)), both("granted"));
    assert_eq!(consent(&default, preferences(false)), both("denied"));
    assert_eq!(consent(&default, json!({"categoryPreferences": {"Functional": true}})), Value::Null);
    let named = Config { ad_consent: Some("C0004".into()), ..Config::default() };
    assert_eq!(consent(&named, json!({"categoryPreferences": {"C0004": false}})), both("denied"));
    assert_eq!(
        consent(&default, json!({"ad_user_data": "granted", "ad_personalization": "denied"})),
        json!({"ad_user_data": "granted", "ad_personalization": "denied"})
    );
}

#[test]
fn integrations_switch_off_what_names_nobody_else() {
    let read = |integrations: Value| {
        reads("/v1/track", &json!({"event": "A", "integrations": integrations}), &Config::default()).remove(0)
    };
    for off in [json!({"All": false}), json!({"All": false, "Mixpanel": true}), json!({"Conversion Relay": false})] {
        assert_eq!(read(off.clone())["ignored"], "switched off by integrations", "{off}");
    }
    for on in
        [json!({}), json!({"All": true}), json!({"Mixpanel": false}), json!({"All": false, "conversion-relay": true})]
    {
        assert_eq!(read(on.clone())["event"]["event"], "a", "{on}");
    }
}

#[test]
fn keys_come_in_the_header_or_in_the_body() {
    let of =
        |value: &str| header_key(&HeaderMap::from_iter([(header::AUTHORIZATION, value.parse().expect("a header"))]));
    assert_eq!(of("Basic YWJjMTIzOg==").as_deref(), Some("abc123"));
    assert_eq!(of("basic YWJjMTIz").as_deref(), Some("abc123"), "without the colon, as some write it");
    assert_eq!(of("Basic YWJjMTIzOnB3").as_deref(), Some("abc123"), "with a password");
    assert_eq!(of("Bearer abc123").as_deref(), Some("abc123"));
    for none in ["Basic !", "Digest YWJjMTIzOg==", "abc123"] {
        assert_eq!(of(none), None, "{none}");
    }
    assert_eq!(body_key(br#"{"batch": [{}], "writeKey": "k"}"#), Ok(Some("k".into())));
    assert_eq!(body_key(br#"{"writeKey": 7}"#), Ok(None));
    assert_eq!(body_key(b"[]"), Ok(None));
    assert_eq!(body_key(b"{").expect_err("no JSON").status, 400);
}

#[test]
fn compressed_bodies_are_bounded_by_what_they_hold() {
    use std::io::Write as _;
    let gzip = |text: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(text).expect("writes");
        Bytes::from(encoder.finish().expect("ends"))
    };
    let headers = HeaderMap::from_iter([(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"))]);
    assert_eq!(inflated(&headers, gzip(b"{}"), 2), Ok(Bytes::from_static(b"{}")));
    assert_eq!(inflated(&headers, gzip(&[b' '; 1 << 20]), 1024).expect_err("a bomb").status, 413);
    assert_eq!(inflated(&headers, Bytes::from_static(b"{}"), 1024).expect_err("not compressed").status, 400);
    let half = gzip(b"{}").slice(..12);
    assert_eq!(inflated(&headers, half, 1024).expect_err("cut off").status, 400);
    let other = HeaderMap::from_iter([(header::CONTENT_ENCODING, HeaderValue::from_static("br"))]);
    assert_eq!(inflated(&other, Bytes::new(), 1024).expect_err("unknown").status, 400);
    assert_eq!(inflated(&HeaderMap::new(), Bytes::from_static(b"{}"), 1), Ok(Bytes::from_static(b"{}")));
}

#[test]
fn properties_keep_what_has_no_field() {
    let read = event(json!({
        "event": "Signed Up",
        "properties": {
            "type": "organic", "plan": null, "nested": {"a": [1, {"b": true}]}, "name": "Ada Lovelace",
            "username": "ada", "email": "ada@example.com", "fbp": "fb.1.1700000000000.42", "gender": "f"
        }
    }));
    assert_eq!(read["properties"], json!({"type": "organic", "nested": {"a": [1, {"b": true}]}}));
    assert_eq!((&read["user"]["first_name"], &read["user"]["last_name"]), (&json!("Ada"), &json!("Lovelace")));
    assert_eq!((&read["user"]["gender"], &read["context"]["fbp"]), (&json!("f"), &json!("fb.1.1700000000000.42")));
    let product = event(json!({
        "event": "Product Viewed",
        "properties": {"product_id": "p", "name": "Coat", "gender": "women", "city": "Paris", "category": "Coats"}
    }));
    assert_eq!((&product["user"], &product["items"][0]["name"]), (&Value::Null, &json!("Coat")));
    assert_eq!(product["properties"], json!({"gender": "women", "city": "Paris", "category": "Coats"}));
}

#[test]
fn what_was_told_of_one_user_of_a_browser_is_not_told_of_the_next() {
    let who = |user: &str, extra: Value| {
        let mut body = json!({"anonymousId": "a", "userId": user});
        extra.as_object().expect("fields").iter().for_each(|(name, value)| body[name] = value.clone());
        body
    };
    let sale = json!({"type": "track", "event": "Order Completed"});
    let batch = json!({"batch": [
        who("u-1", json!({"type": "identify", "traits": {"email": "ada@example.com", "phone": "+16505551212"}})),
        who("u-1", sale.clone()),
        who("u-2", sale.clone()),
        who("u-2", json!({"type": "identify", "traits": {"email": "grace@example.com"}})),
        who("u-2", sale.clone()),
        {"type": "track", "event": "Order Completed", "anonymousId": "a"},
    ]});
    let read = reads("/v1/batch", &batch, &Config::default());
    let user =
        |i: usize| (read[i]["event"]["user"]["email"][0].as_str(), read[i]["event"]["user"]["phone"][0].as_str());
    assert_eq!(user(1), (Some("ada@example.com"), Some("+16505551212")));
    assert_eq!(user(2), (None, None));
    assert_eq!((user(4), user(5)), ((Some("grace@example.com"), None), (Some("grace@example.com"), None)));
}

/// Every place in a value, as JSON pointers.
fn places(value: &Value, at: &str, found: &mut Vec<String>) {
    found.push(at.to_owned());
    match value {
        Value::Object(fields) => fields.iter().for_each(|(name, value)| places(value, &format!("{at}/{name}"), found)),
        Value::Array(list) => list.iter().enumerate().for_each(|(i, value)| places(value, &format!("{at}/{i}"), found)),
        _ => {}
    }
}

#[test]
fn whatever_stands_in_a_field_costs_the_sale_only_if_it_says_what_happened_or_what_it_is_worth() {
    let fixture: Value = serde_json::from_str(include_str!("fixtures/order_completed.json")).expect("JSON");
    let body = &fixture["body"];
    let mut all = Vec::new();
    places(body, "", &mut all);
    assert!(all.len() > 60, "{all:?}");
    let odd = [
        json!(null),
        json!(-1.5e300),
        json!(7),
        json!("\u{0}\n"),
        json!(true),
        json!([[]]),
        json!({"a": {}}),
        json!("x".repeat(9000)),
    ];
    let mut costs = std::collections::BTreeSet::new();
    for (place, value) in
        all.iter().filter(|place| !place.is_empty()).flat_map(|place| odd.iter().map(move |v| (place, v)))
    {
        let mut body = body.clone();
        *body.pointer_mut(place).expect("is there") = value.clone();
        let source = source();
        let client = "203.0.113.9".parse().expect("an address");
        let call = Call { source: &source, kind: "track", direct: true, client, now: NOW };
        let message = call.messages(&body, 1).expect("a call").remove(0);
        let taken = match told(&message, &source, &Config::default(), &mut People::default()) {
            Ok(Told::Event(draft)) => read_draft(*draft, &source, NOW).0.is_ok(),
            _ => false,
        };
        if !taken {
            costs.insert(place.as_str());
        }
    }
    let essential = [
        "/event",
        "/properties/currency",
        "/properties/total",
        "/properties/subtotal",
        "/properties/revenue",
        "/properties/value",
        "/properties",
        "/timestamp",
    ];
    let others: Vec<_> = costs.iter().filter(|place| !essential.contains(*place)).collect();
    assert!(others.is_empty(), "{others:?}");
}
