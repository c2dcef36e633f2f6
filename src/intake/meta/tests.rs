//! What events become.

use serde_json::{Value, json};

use super::*;
use crate::{
    model::{ActionSource, Digest},
    privacy::seal_user,
};

/// The clock of these tests: 2026-11-20T09:00:00Z.
const NOW: Time = Time::from_secs(1_795_165_200);
const AT: i64 = 1_795_165_000;

/// The JSON of our own API that an event becomes, and the notes on what was left out.
fn shown(event: &Value) -> (Value, Vec<String>) {
    let (draft, notes) = event::draft(event.as_object().expect("an object")).expect("is sound");
    (draft.shown(), notes)
}

/// What the checks make of an event.
fn checked(event: &Value) -> Result<RawEvent, (String, Value)> {
    let source = SourceName::new("shop").expect("valid");
    read(3, event.as_object().expect("an object"), &source, NOW, "trace").map_err(|refused| {
        let message = refused.message.clone();
        let answer = refused.answer("trace");
        assert_eq!(answer.status(), 400);
        (message, code(answer))
    })
}

/// Code and subcode of an error.
fn code(answer: Response) -> Value {
    let body = axum::body::to_bytes(answer.into_body(), 1 << 16);
    let body = tokio::runtime::Builder::new_current_thread().build().expect("a runtime").block_on(body);
    let answer: Value = serde_json::from_slice(&body.expect("a body")).expect("JSON");
    json!([answer["error"]["code"], answer["error"]["error_subcode"]])
}

fn sha(text: &str) -> String {
    Digest::of_token(text).hex()
}

/// An event as the Python SDK 26.0.3 sends it, with every field that we have a place for.
fn from_an_sdk() -> Value {
    json!({
        "event_name": "Purchase", "event_time": AT, "event_id": "order-1", "action_source": "website",
        "event_source_url": "https://shop.example/thanks?fbclid=IwAR1.AQICAQMC",
        "referrer_url": "https://shop.example/cart.AQICAQMA", "opt_out": true,
        "data_processing_options": ["LDU"], "data_processing_options_country": 1, "data_processing_options_state": 1000,
        "user_data": {
            "em": [sha("ada@example.com"), sha("ada@work.example")], "ph": [format!("{}.AQIBAQMC", sha("16505551212"))],
            "fn": [sha("ada")], "ln": sha("lovelace").to_uppercase(), "ct": [sha("london")], "st": [sha("ldn")],
            "zp": [sha("w1")], "country": [sha("gb")], "db": [sha("18151210")], "ge": [sha("f")],
            "external_id": ["cust-7", sha("cust-8")], "client_ip_address": "203.0.113.7.AQICAQMA",
            "client_user_agent": "Mozilla/5.0", "fbc": "fb.1.1795160000000.IwAR1.AQICAQMC",
            "fbp": "fb.1.1795160000000.123456789", "lead_id": 1_234_567_890_123_456_u64,
            "subscription_id": "s-1", "madid": null,
        },
        "custom_data": {
            "value": 123.45, "currency": "usd", "order_id": "1001", "content_type": "product", "num_items": 3,
            "content_ids": ["sku-1", "sku-2"], "content_name": "Mugs", "predicted_ltv": 20.5,
            "contents": [{"id": "sku-1", "quantity": 2, "item_price": 12.5, "title": "Mug", "brand": "B"},
                {"id": "sku-2", "quantity": 1, "item_price": 98.45}],
            "visitor_id": "v-1", "custom_properties": {"gclid": "Cj0-x", "plan": "pro", "none": null}, "status": null,
        },
    })
}

#[test]
fn an_event_of_an_sdk_becomes_one_of_ours() {
    let (shown, notes) = shown(&from_an_sdk());
    assert_eq!(notes, [""; 0]);
    let expected = json!({
        "event": "purchase", "event_id": "order-1", "time": "2026-11-20T08:56:40Z", "visitor_id": "v-1",
        "transaction_id": "1001", "value": "123.45", "currency": "usd", "action_source": "website",
        "items": [{"id": "sku-1", "name": "Mug", "quantity": "2", "price": "12.5"},
            {"id": "sku-2", "quantity": "1", "price": "98.45"}],
        "user": {
            "email_sha256": [sha("ada@example.com"), sha("ada@work.example")],
            "external_id": ["cust-7"], "external_id_sha256": [sha("cust-8")], "lead_id": 1_234_567_890_123_456_u64,
            "meta_sha256": {
                "phone": [sha("16505551212")], "first_name": sha("ada"), "last_name": sha("lovelace"),
                "city": sha("london"), "region": sha("ldn"), "postal_code": sha("w1"), "country": sha("gb"),
                "date_of_birth": sha("18151210"), "gender": sha("f"),
            },
        },
        "context": {
            "ip": "203.0.113.7", "user_agent": "Mozilla/5.0", "url": "https://shop.example/thanks?fbclid=IwAR1",
            "referrer": "https://shop.example/cart", "fbc": "fb.1.1795160000000.IwAR1.AQICAQMC",
            "fbp": "fb.1.1795160000000.123456789", "gclid": "Cj0-x",
        },
        "consent": {"ad_user_data": "unknown", "ad_personalization": "denied"},
        "properties": {
            "data_processing_options": ["LDU"], "data_processing_options_country": 1,
            "data_processing_options_state": 1000, "content_type": "product", "num_items": 3, "content_name": "Mugs",
            "predicted_ltv": 20.5, "plan": "pro",
        },
    });
    assert_eq!(shown, expected, "{}", serde_json::to_string_pretty(&shown).expect("JSON"));
    let event = checked(&from_an_sdk()).expect("is sound");
    assert_eq!((event.event_id.as_str(), event.context.clicks.len()), ("order-1", 2));
    let sealed = seal_user(&event.user, None);
    assert_eq!(sealed.phones[0].meta, Some(Digest::of_token("16505551212")));
    assert_eq!((sealed.phones[0].google, sealed.first_name.google), (None, None), "Google spells them otherwise");
}

#[test]
fn a_minimal_event_with_nulls_and_empty_texts_is_taken() {
    let event = json!({
        "event_name": "Lead", "event_time": AT.to_string(), "event_id": null, "action_source": null,
        "event_source_url": "", "referrer_url": null, "opt_out": false, "data_processing_options": null, "app_data": {},
        "user_data": {"em": null, "ph": [], "fn": [""], "client_ip_address": "", "lead_id": null, "zip": "W1 1AA"},
        "custom_data": [],
    });
    let (shown, notes) = shown(&event);
    assert_eq!(notes, [""; 0]);
    let expected = json!({"event": "generate_lead", "time": "2026-11-20T08:56:40Z", "user": {"postal_code": "W1 1AA"}});
    assert_eq!(shown, expected);
    assert_eq!(checked(&event).expect("is sound").action_source, None);
}

#[test]
fn what_is_not_hashed_is_hashed_here_and_what_is_no_use_is_left_out() {
    let nothing = sha("");
    let event = json!({
        "event_name": "Contact", "event_time": AT, "action_source": "business_messaging",
        "user_data": {
            "em": ["Ada@Example.com", "0cc175b9c0f1b6a831c399e269772661", nothing], "ph": "+1 (650) 555-1212",
            "fn": "Ada", "ln": [nothing, sha("lovelace")], "country": "GB", "ge": "female", "db": "1990-12-10",
            "lead_id": 12, "client_ip_address": "2001:db8::1.AQQBAQMA",
        },
    });
    let (shown, notes) = shown(&event);
    assert_eq!(
        notes,
        [
            "user_data.em: is an MD5; Meta matches SHA-256 only",
            "user_data.em: is the hash of nothing",
            "user_data.lead_id: must be a lead id of 15 to 17 digits",
            "user_data.ln: is the hash of nothing",
        ]
    );
    assert_eq!(
        (&shown["user"], &shown["context"]["ip"]),
        (
            &json!({
                "email": ["Ada@Example.com"], "phone": ["+1 (650) 555-1212"], "first_name": "Ada", "country": "GB",
                "date_of_birth": "1990-12-10", "gender": "female", "meta_sha256": {"last_name": sha("lovelace")},
            }),
            &json!("2001:db8::1")
        )
    );
    let event = checked(&event).expect("is sound");
    assert_eq!(event.action_source, Some(ActionSource::Chat));
    let sealed = seal_user(&event.user, None);
    assert_eq!(sealed.emails[0].meta, Some(Digest::of_token("ada@example.com")));
    assert_eq!(sealed.phones[0].meta, Some(Digest::of_token("16505551212")));
    assert_eq!(
        (sealed.gender.meta, sealed.date_of_birth.meta),
        (Some(Digest::of_token("f")), Some(Digest::of_token("19901210")))
    );
}

#[test]
fn consent_is_taken_in_every_form() {
    for (given, choice) in [(json!(false), "denied"), (json!("Denied"), "denied"), (json!(true), "granted")] {
        let mut event = from_an_sdk();
        event["custom_data"]["ad_user_data"] = given.clone();
        let (shown, _) = shown(&event);
        assert_eq!(shown["consent"]["ad_user_data"], choice, "{given}");
        assert_eq!(shown["properties"].get("ad_user_data"), None);
    }
}

#[test]
fn amounts_are_those_that_were_meant() {
    let money = |value: Value, currency: &str| {
        let custom = json!({"value": value, "currency": currency, "content_ids": ["a", 7]});
        let event = json!({"event_name": "Purchase", "event_time": AT, "user_data": {}, "custom_data": custom});
        checked(&event).map(|event| format!("{:?} {}", event.money.expect("a value"), event.items.len()))
    };
    for (value, currency, expected) in [
        (json!(0.1 + 0.2), "USD", "0.30 USD"),
        (json!(19.99 * 3.0), "eur", "59.97 EUR"),
        (json!("4999"), "JPY", "4999 JPY"),
        (json!(1.5), "KWD", "1.500 KWD"),
        (json!(0), "EUR", "0.00 EUR"),
        (json!("12.345678"), "EUR", "12.345678 EUR"),
    ] {
        assert_eq!(money(value, currency), Ok(format!("{expected} 2")));
    }
    let refused = |value: Value, currency: &str| money(value, currency).expect_err("is refused");
    let (field, value) = ("data[3].custom_data.value", "data[3].custom_data.value: must be a decimal number");
    assert_eq!(refused(json!("x"), "EUR").0, value);
    assert_eq!(refused(json!(1e300), "EUR").0, value);
    assert_eq!(refused(json!({}), "EUR").0, value);
    assert_eq!(
        refused(json!(-5), "EUR"),
        (format!("{field}: must not be negative; a refund is an event of its own"), json!([100, 2_804_019]))
    );
    let missing = format!("{field}: is missing; a Purchase needs its value and currency");
    assert_eq!(refused(Value::Null, "EUR"), (missing, json!([100, 2_804_009])));
    let (message, code) = refused(json!(5), "");
    assert!(message.starts_with("data[3].custom_data.currency: is missing"), "{message}");
    assert_eq!(code, json!([100, 2_804_023]));
    assert_eq!(refused(json!(5), "XYZ").1, json!([100, 2_804_023]));
}

#[test]
fn a_refund_is_counted_from_zero() {
    let event = json!({"event_name": "Refund", "event_time": AT, "user_data": {},
        "custom_data": {"value": -12.5, "currency": "EUR", "order_id": 1001}});
    let event = checked(&event).expect("is sound");
    assert_eq!((event.name.as_str(), format!("{:?}", event.money)), ("refund", "Some(12.50 EUR)".to_owned()));
    assert_eq!(event.event_id.as_str(), "shop:refund:1001");
}

#[test]
fn an_unsound_event_is_refused_with_its_place_and_without_its_values() {
    let sound = json!({"event_name": "Lead", "event_time": AT, "user_data": {}});
    for (field, value, message, subcode) in [
        ("event_name", Value::Null, "data[3].event_name: is missing", Value::Null),
        ("event_name", json!("ada@example.com 購入"), "data[3].event_name: must be 1 to 40 letters", Value::Null),
        ("event_time", Value::Null, "data[3].event_time: is missing", Value::Null),
        ("event_time", json!("soon"), "data[3].event_time: must be the seconds since 1970", Value::Null),
        ("event_time", json!(AT * 1000), "data[3].event_time: must be the seconds since 1970", Value::Null),
        ("event_time", json!(AT + 3600), "data[3].event_time: is more than 10 minutes in the future", json!(2_804_004)),
        ("event_time", json!(1), "data[3].event_time: is more than 400 days in the past", json!(2_804_003)),
        ("user_data", Value::Null, "data[3].user_data: is missing", Value::Null),
        ("user_data", json!("ada"), "data[3].user_data: must be an object", Value::Null),
        ("custom_data", json!([1]), "data[3].custom_data: must be an object", Value::Null),
        ("action_source", json!("moon"), "data[3].action_source: must be website", Value::Null),
    ] {
        let mut event = sound.clone();
        event[field] = value;
        let (said, code) = checked(&event).expect_err(message);
        assert!(said.starts_with(message) && !said.contains("ada"), "{said}");
        assert_eq!(code, json!([100, subcode]), "{said}");
    }
    assert!(checked(&sound).is_ok());
}

#[test]
fn what_is_our_fault_or_passes_is_temporary() {
    for (refused, status, wait, error) in [
        (Refused::from(StoreError::Full), 503, Some("30"), json!([2, null])),
        (Refused::from(StoreError::Unavailable("disk".into())), 503, Some("5"), json!([2, null])),
        (Refused::from(Problem::incomplete()), 408, None, json!([2, null])),
        (Refused::from(Problem::too_large(9)), 413, None, json!([100, null])),
        (Refused::no_token(), 401, None, json!([104, null])),
        (Refused::unknown_token(), 401, None, json!([190, null])),
        (Refused::no_such_pixel(), 400, None, json!([100, 33])),
    ] {
        let answer = refused.answer("trace");
        assert_eq!(answer.status(), status);
        let given = answer.headers().get("retry-after").and_then(|value| value.to_str().ok());
        assert_eq!(given, wait);
        assert_eq!(code(answer), error);
    }
}

#[test]
fn only_an_appendix_of_the_builders_is_cut_off() {
    for (text, without) in [
        ("a.AQICAQMC", "a"),
        ("203.0.113.7", "203.0.113.7"),
        ("https://shop.example/index.html", "https://shop.example/index.html"),
        ("https://shop.example/a.Ag", "https://shop.example/a"),
        ("https://shop.example/a.download", "https://shop.example/a.download"),
        ("plain", "plain"),
    ] {
        assert_eq!(user::without_appendix(text), without);
    }
}
