//! An e-mail address in every place of what providers and SDKs post, one place at a time: it rests nowhere in clear.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use conversion_relay::model::{Clock as _, SystemClock};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;

use crate::{
    leaks::{EMAIL, found, leaks},
    support::{KEY, Platforms, Relay, Setup},
};

const SOURCES: &str = r#"
[[sources]]
name = "shopify"
kind = "shopify"
secrets = ["shhh"]
[[sources]]
name = "woocommerce"
kind = "woocommerce"
secrets = ["shhh"]
[[sources]]
name = "lemon-squeezy"
kind = "lemon_squeezy"
secrets = ["shhh"]
[[sources]]
name = "stripe"
kind = "stripe"
secrets = ["shhh"]
[[sources]]
name = "paddle"
kind = "paddle"
secrets = ["shhh"]
[[sources]]
name = "pipedrive"
kind = "pipedrive"
user = "relay"
secrets = ["shhh"]
[[sources]]
name = "erp"
kind = "generic"
secrets = ["shhh"]
bearer = true
[sources.map]
event = "'purchase'"
transaction_id = "id"
value = "total"
currency = "'EUR'"
"user.email" = "customer.email"
"user.first_name" = "customer.name"
"properties.note" = "note"
"context.url" = "page"
visitor_id = "visitor"
"#;

/// `base` with the address in the place of every value in turn, and inside a text there. What stands at `ids` makes each an
/// event of its own.
fn smuggled(base: &Value, ids: &[&str]) -> Vec<Value> {
    fn places(value: &Value, at: &str, all: &mut Vec<String>) {
        match value {
            Value::Object(fields) => {
                for (name, value) in fields {
                    places(value, &format!("{at}/{}", name.replace('~', "~0").replace('/', "~1")), all);
                }
            }
            Value::Array(list) => {
                list.iter().enumerate().for_each(|(i, value)| places(value, &format!("{at}/{i}"), all))
            }
            _ => all.push(at.to_owned()),
        }
    }
    let mut all = Vec::new();
    places(base, "", &mut all);
    let mut bodies = Vec::new();
    for place in all {
        for text in [EMAIL.to_owned(), format!("https://shop.example/?a={EMAIL}&b=1"), format!("for {EMAIL}, please")] {
            let mut body = base.clone();
            for id in ids {
                *body.pointer_mut(id).unwrap_or_else(|| panic!("{id} of {base:.300}")) =
                    (1_000_000 + bodies.len()).into();
            }
            *body.pointer_mut(&place).expect("is there") = text.into();
            bodies.push(body);
        }
    }
    bodies
}

fn mac(text: &[u8]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(b"shhh").expect("any key");
    mac.update(text);
    mac.finalize().into_bytes().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The headers that make a source believe `body`, and its topic where that is one.
fn signed(source: &str, topic: &str, body: &str) -> Vec<(&'static str, String)> {
    let now = SystemClock.now().as_secs();
    let over = |joint: &str| hex(&mac(format!("{now}{joint}{body}").as_bytes()));
    let plain = mac(body.as_bytes());
    match source {
        "shopify" => vec![("x-shopify-hmac-sha256", STANDARD.encode(plain)), ("x-shopify-topic", topic.to_owned())],
        "woocommerce" => {
            vec![("x-wc-webhook-signature", STANDARD.encode(plain)), ("x-wc-webhook-topic", topic.to_owned())]
        }
        "lemon-squeezy" => vec![("x-signature", hex(&plain))],
        "stripe" => vec![("stripe-signature", format!("t={now},v1={}", over(".")))],
        "paddle" => vec![("paddle-signature", format!("ts={now};h1={}", over(":")))],
        "pipedrive" => vec![("authorization", format!("Basic {}", STANDARD.encode("relay:shhh")))],
        _ => vec![("authorization", "Bearer shhh".to_owned())],
    }
}

fn fixture(path: &str) -> Value {
    let path = format!("{}/src/intake/{path}.json", env!("CARGO_MANIFEST_DIR"));
    let fixture: Value = serde_json::from_slice(&std::fs::read(path).expect("reads")).expect("JSON");
    match fixture.get("body") {
        Some(body) if fixture.get("headers").is_some() => body.clone(),
        _ => fixture,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_anywhere_in_a_webhook_or_a_call_of_an_sdk_rests_nowhere() {
    let platforms = Platforms::start().await;
    let setup = Setup::new(&format!("{SOURCES}{}", platforms.destinations()));
    let relay = setup.start();
    let erp = json!({
        "id": "1", "total": "5.00", "customer": { "email": "ada@example.com", "name": "Ada" }, "note": "x",
        "page": "https://shop.example/thanks", "visitor": "v-1", "type": "order",
    });
    let webhooks = [
        ("shopify", "orders/paid", fixture("sources/fixtures/shopify/orders_paid"), vec!["/id"]),
        ("shopify", "refunds/create", fixture("sources/fixtures/shopify/refunds_create_first_part"), vec!["/id"]),
        ("woocommerce", "order.updated", fixture("sources/fixtures/woocommerce/order_refunded_in_parts"), vec!["/id"]),
        (
            "lemon-squeezy",
            "",
            fixture("sources/fixtures/lemon_squeezy/order_created"),
            vec!["/data/attributes/identifier"],
        ),
        ("stripe", "", fixture("sources/fixtures/stripe/session_paid"), vec!["/id", "/data/object/payment_intent"]),
        ("stripe", "", fixture("sources/fixtures/stripe/refund_part_1"), vec!["/id", "/data/object/id"]),
        ("paddle", "", fixture("sources/fixtures/paddle/transaction_completed"), vec!["/data/id"]),
        ("pipedrive", "", fixture("sources/fixtures/pipedrive/deal_won"), vec!["/data/id"]),
        ("erp", "", erp, vec!["/id"]),
    ];
    let segment = fixture("segment/fixtures/order_completed")["body"].clone();
    let meta = json!({ "data": [{
        "event_name": "Purchase", "event_time": SystemClock.now().as_secs(), "event_id": "m-1", "action_source": "website",
        "event_source_url": "https://shop.example/thanks", "referrer_url": "https://shop.example/",
        "user_data": { "em": ["x"], "fbp": "fb.1.1700000000000.1", "client_user_agent": "test", "external_id": ["7"] },
        "custom_data": { "value": 5, "currency": "EUR", "order_id": "o-1", "contents": [{ "id": "sku", "quantity": 1 }], "own": "x" },
    }] });
    let mut requests = Vec::new();
    for (source, topic, base, ids) in webhooks {
        for body in smuggled(&base, &ids) {
            let body = body.to_string();
            let mut request = relay.client.post(format!("{}/webhooks/{source}", relay.public));
            for (name, value) in signed(source, topic, &body) {
                request = request.header(name, value);
            }
            requests.push(request.body(body));
        }
    }
    let calls = [
        ("/v1/track", segment, ["/messageId", "/properties/order_id"]),
        ("/v26.0/1234567890/events", meta, ["/data/0/event_id", "/data/0/custom_data/order_id"]),
    ];
    for (path, base, ids) in calls {
        for body in smuggled(&base, &ids) {
            let request =
                relay.client.post(format!("{}{path}", relay.public)).bearer_auth(KEY).basic_auth(KEY, Some(""));
            let request = if path.starts_with("/v26") { request.bearer_auth(KEY) } else { request };
            requests.push(request.header("content-type", "application/json").body(body.to_string()));
        }
    }
    let (count, mut taken) = (requests.len(), 0);
    for request in requests {
        let answer = Relay::send(request).await;
        assert!(answer.status < 500, "{}", answer.text);
        assert!(found(answer.text.as_bytes()).is_empty(), "{}", answer.text);
        taken += usize::from(answer.status < 300);
    }
    assert!(count > 500 && taken * 2 > count, "{taken} of {count} were taken");
    let balance = relay.settled().await;
    assert!(balance["accepted"].as_u64().is_some_and(|accepted| accepted * 3 > count as u64), "{balance}");
    for path in ["/v1/sources", "/metrics", "/v1/destinations", "/v1/dead-letters"] {
        let shown = relay.admin(path).await.to_string();
        assert!(found(shown.as_bytes()).is_empty(), "{path}: {:?}", found(shown.as_bytes()));
    }
    assert!(relay.terminate());
    let leaks = leaks(&setup);
    assert!(leaks.is_empty(), "{} leaks: {:.2000}", leaks.len(), leaks.join("\n"));
}
