//! What providers post: believed by its signature alone, counted once, answered as they expect.

use std::process::Command;

use base64::Engine as _;
use conversion_relay::model::{Clock as _, SystemClock};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;
use wiremock::{
    Mock, MockServer, ResponseTemplate,
    matchers::{any, header, path},
};

use conversion_relay::sandbox::{Fault, FaultMode, Platform};

use crate::support::{Answer, Platforms, Relay, Setup};

const SOURCE: &str = r#"
[[sources]]
name = "courses"
kind = "lemon_squeezy"
secrets = ["new-secret", "old-secret"]
[sources.map]
"properties.plan" = "meta.custom_data.plan"
"#;

/// HMAC-SHA256 of `body`, in hexadecimal digits.
pub(crate) fn signature(secret: &str, body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("any key");
    mac.update(body);
    mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn order(id: u32, total: u32) -> Value {
    json!({
        "meta": { "event_name": "order_created", "test_mode": false, "custom_data": { "plan": "pro", "visitor_id": "v-1" } },
        "data": { "id": id.to_string(), "type": "orders", "attributes": {
            "identifier": format!("order-{id}"), "status": "paid", "currency": "EUR", "total": total,
            "user_name": "Ada Lovelace", "user_email": "ada.webhook@example.com",
        } },
    })
}

async fn deliver(relay: &Relay, body: &Value, secret: &str) -> Answer {
    let body = body.to_string();
    let request = relay.client.post(format!("{}/webhooks/courses", relay.public));
    let request = request.header("x-signature", signature(secret, body.as_bytes()));
    Relay::send(request.header("content-type", "application/json").body(body)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signed_order_arrives_once_and_an_unsigned_one_never() {
    let platforms = Platforms::start().await;
    let setup = Setup::new(&format!("{SOURCE}{}", platforms.destinations()));
    let relay = setup.start();
    for (secret, status) in [("new-secret", 200), ("old-secret", 200), ("guess", 401), ("new-secret", 200)] {
        let answer = deliver(&relay, &order(1, 4999), secret).await;
        assert_eq!(answer.status, status, "{}", answer.text);
        if status == 401 {
            assert_eq!(answer.header("content-type"), "application/problem+json");
            assert!(
                answer.json()["detail"].as_str().is_some_and(|detail| detail.contains("secrets")),
                "{}",
                answer.text
            );
            assert!(!answer.text.contains("ada.webhook"));
        }
    }
    let ignored = json!({ "meta": { "event_name": "license_key_created" }, "data": { "id": "7" } });
    assert_eq!(deliver(&relay, &ignored, "new-secret").await.status, 200, "what is of no use is no failure");
    let refused = json!({ "meta": { "event_name": "order_created" }, "data": { "id": "8", "attributes": {
        "status": "paid", "total": 100, "currency": "EURO", "user_email": "ada.webhook@example.com" } } });
    let answer = deliver(&relay, &refused, "new-secret").await;
    assert_eq!((answer.status, answer.json()["pointer"].as_str()), (422, Some("/currency")), "{}", answer.text);
    let answer =
        relay.client.post(format!("{}/webhooks/nobody", relay.public)).body("{}").send().await.expect("answers");
    assert_eq!(answer.status(), 404);

    relay.settled().await;
    assert_eq!(relay.balanced().await["accepted"], 1);
    let received = platforms.sandbox.received_meta();
    assert_eq!(received.len(), 1, "{received:?}");
    let sources = relay.admin("/v1/sources").await;
    let courses =
        sources["sources"].as_array().and_then(|all| all.iter().find(|s| s["name"] == "courses")).expect("is there");
    assert_eq!(courses["kind"], "lemon_squeezy");
    assert_eq!((&courses["accepted"], &courses["duplicate"]), (&json!(1), &json!(2)), "{courses}");
    assert_eq!(courses["ignored_topics"], json!({ "license_key_created: not a conversion": 1 }));
    assert_eq!(courses["refused_reasons"], json!({ "bad_signature": 1, "unreadable": 1 }));
    assert_eq!(courses["last_refusal"]["reason"], "unreadable", "{courses}");
    for time in [&courses["last_delivery"], &courses["last_refusal"]["at"]] {
        assert!(time.as_str().is_some_and(|time| time.ends_with('Z')), "{courses}");
    }
    assert_eq!(courses["last_refusal"]["delivery_id"], "order_created.8", "{courses}");
    assert!(setup.log().contains("body."), "one that is not believed is known by its content");
    let timeline = relay.admin("/v1/events/courses:purchase:order-1").await;
    assert_eq!(timeline["source"], "courses", "{timeline}");
    assert!(!setup.log().contains("ada.webhook"), "no contact data in the log");
}

#[tokio::test]
async fn what_a_full_queue_turns_away_is_told_with_its_source_and_delivery() {
    let platforms = Platforms::start().await;
    platforms.sandbox.set_fault(Platform::Meta, Fault::new(FaultMode::ExpiredToken));
    let setup = Setup::new(&format!("{SOURCE}{}", platforms.destinations())).env("RELAY__STORE__QUEUE_MAX", "3");
    let relay = setup.start();
    let mut order_number = 0;
    let full = loop {
        order_number += 1;
        let answer = deliver(&relay, &order(order_number, 4999), "new-secret").await;
        if answer.status != 200 {
            break answer;
        }
        assert!(order_number <= 10, "the bound holds");
    };
    assert_eq!((full.status, full.header("content-type")), (503, "application/problem+json"), "{}", full.text);
    let refusal = &relay.admin("/v1/sources").await["sources"];
    let refusal = refusal.as_array().and_then(|all| all.iter().find(|s| s["name"] == "courses")).expect("is there");
    let refusal = &refusal["last_refusal"];
    assert_eq!(refusal["reason"], "not_stored");
    assert_eq!(refusal["delivery_id"], format!("order_created.{order_number}"));
    assert!(setup.log().contains("not_stored") && !setup.log().contains("ada.webhook"));
}

/// A CRM keeps the click id or Meta's lead id of a landing, and nothing else of the browser.
#[tokio::test(flavor = "multi_thread")]
async fn a_stage_in_the_crm_finds_the_visit_by_click_id_or_lead_id() {
    let setup =
        Setup::new("[[destinations]]\nname = 'out'\nkind = 'file'\nformat = 'jsonl'\nevents.purchase = 'Sale'\n");
    let relay = setup.start();
    let visits = [
        json!({ "visitor_id": "v-click", "url": "https://shop.example/?gclid=Cj0-AbC&utm_source=google" }),
        json!({ "visitor_id": "v-lead", "url": "https://shop.example/", "user": { "lead_id": "1234567890123456" } }),
    ];
    for visit in visits {
        let (status, answer) = relay.post("/v1/visits", &visit).await;
        assert_eq!(status, 200, "{answer}");
    }
    let stages = [
        (
            json!({ "event": "qualify_lead", "event_id": "q1", "context": { "gclid": "Cj0-AbC" } }),
            "v-click",
            "click_id",
        ),
        (
            json!({ "event": "qualify_lead", "event_id": "q2", "user": { "lead_id": 1_234_567_890_123_456_u64 } }),
            "v-lead",
            "lead_id",
        ),
    ];
    for (stage, visitor, by) in stages {
        let (status, answer) = relay.post("/v1/events", &stage).await;
        assert_eq!(status, 202, "{answer}");
        let timeline = relay.admin(&format!("/v1/events/{}", stage["event_id"].as_str().expect("an id"))).await;
        assert_eq!((&timeline["visitor_id"], &timeline["joined_by"]), (&json!(visitor), &json!(by)), "{timeline}");
    }
}

/// Paddle tells who bought by an id alone. The sale is acknowledged at once, waits, survives a crash meanwhile, and goes out
/// with the customer when Paddle can be asked.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_webhook_leaves_out_is_looked_up_through_failures_and_a_kill() {
    let (platforms, paddle) = (Platforms::start().await, MockServer::start().await);
    let source = format!(
        "[[sources]]\nname = 'saas'\nkind = 'paddle'\nsecrets = ['pdl_ntfset_x']\nlookup_wait = '1h'\n\
         api = {{ token = 'pdl_live_apikey_x', base_url = '{}' }}\n",
        paddle.uri()
    );
    let setup = Setup::new(&format!("{source}{}", platforms.destinations()));
    let down = Mock::given(any()).respond_with(ResponseTemplate::new(503)).mount_as_scoped(&paddle).await;
    let relay = setup.start();
    let now = SystemClock.now();
    let body = json!({
        "event_id": "evt_1", "event_type": "transaction.completed", "occurred_at": now.to_string(),
        "data": {
            "id": "txn_1", "status": "completed", "customer_id": "ctm_1", "currency_code": "KWD", "origin": "web",
            "details": { "totals": { "grand_total": "12500", "subtotal": "12500", "discount": "0", "tax": "0" } },
        },
    });
    let body = body.to_string();
    let (at, mut mac) = (now.as_secs(), Hmac::<Sha256>::new_from_slice(b"pdl_ntfset_x").expect("any key"));
    mac.update(format!("{at}:{body}").as_bytes());
    let hex: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    let request = relay.client.post(format!("{}/webhooks/saas", relay.public));
    let answer = Relay::send(request.header("paddle-signature", format!("ts={at};h1={hex}")).body(body)).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let failing = |sources: &Value| {
        sources["sources"][0]["lookup_failure"].is_object() || sources["sources"][1]["lookup_failure"].is_object()
    };
    relay.until("/v1/sources", failing).await;
    relay.kill();

    let relay = setup.start();
    let timeline = relay.admin("/v1/events/saas:purchase:txn_1").await;
    assert_eq!(timeline["deliveries"][0]["state"], "queued", "{timeline}");
    assert!(timeline.to_string().contains("wait_for_lookup"), "{timeline}");
    drop(down);
    let customer = json!({ "data": { "id": "ctm_1", "email": "Ada.Buyer@Example.com", "name": "Ada Lovelace" } });
    Mock::given(path("/customers/ctm_1"))
        .and(header("authorization", "Bearer pdl_live_apikey_x"))
        .respond_with(ResponseTemplate::new(200).set_body_json(customer))
        .mount(&paddle)
        .await;
    relay.settled().await;
    let received = platforms.sandbox.received_meta();
    assert_eq!(received.len(), 1, "{received:?}");
    let event = &received[0]["event"];
    assert_eq!(event["custom_data"]["value"], json!(12.5));
    // SHA-256 of ada.buyer@example.com.
    let digest = conversion_relay::model::Digest::of_token("ada.buyer@example.com").hex();
    assert_eq!(event["user_data"]["em"], json!([digest]), "{event}");
    assert_eq!(relay.admin("/v1/sources").await["sources"].to_string().matches("\"looked_up\":1").count(), 1);
    assert!(!setup.log().to_ascii_lowercase().contains("ada.buyer"), "no contact data in the log");
}

/// A page of orders as WooCommerce lists them, of which a webhook brought the first.
#[tokio::test(flavor = "multi_thread")]
async fn what_no_webhook_brought_is_taken_from_the_shops_list_once() {
    let (platforms, shop) = (Platforms::start().await, MockServer::start().await);
    let source = |schedule: &str| {
        format!(
            "[[sources]]\nname = 'shop'\nkind = 'woocommerce'\nsecrets = ['woo']\n{schedule}\
             api = {{ url = '{}', key = 'ck_1', secret = 'cs_1' }}\n",
            shop.uri()
        )
    };
    let order = |id: u32, status: &str, currency: &str, total: &str| {
        let at = SystemClock.now().format("%Y-%m-%dT%H:%M:%S");
        json!({
            "id": id, "number": id.to_string(), "status": status, "currency": currency, "total": total,
            "date_created_gmt": at, "date_paid_gmt": if status == "pending" { Value::Null } else { json!(at) },
            "date_modified_gmt": at, "created_via": "checkout", "customer_id": 0,
            "billing": { "email": format!("guest{id}@example.com") }, "refunds": [],
        })
    };
    let orders = [
        order(1, "processing", "JPY", "4999"),
        order(2, "pending", "EUR", "5.00"),
        order(3, "completed", "EUR", "7.50"),
    ];
    Mock::given(path("/wp-json/wc/v3/orders"))
        .respond_with(ResponseTemplate::new(200).insert_header("x-wp-totalpages", "1").set_body_json(&orders))
        .mount(&shop)
        .await;
    let setup = Setup::new(&format!("{}{}", source(""), platforms.destinations()));
    let relay = setup.start();
    let (signed, mut mac) = (orders[0].to_string(), Hmac::<Sha256>::new_from_slice(b"woo").expect("any key"));
    mac.update(signed.as_bytes());
    let signature = base64::engine::general_purpose::STANDARD.encode(mac.finalize().into_bytes());
    let request =
        relay.client.post(format!("{}/webhooks/shop", relay.public)).header("x-wc-webhook-topic", "order.updated");
    let answer = Relay::send(request.header("x-wc-webhook-signature", signature).body(signed)).await;
    assert_eq!(answer.status, 200, "{}", answer.text);

    let command = |more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_conversion-relay"));
        command.args(["reconcile", "shop", "--url", &relay.admin]).args(more);
        let output = command.output().expect("runs");
        (output.status.success(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
    };
    let (done, told) = command(&["--since", "2d", "--json"]);
    let told: Value = serde_json::from_str(&told).unwrap_or_else(|_| panic!("{told}"));
    assert!(done);
    assert_eq!(
        told,
        json!({ "listed": 3, "accepted": 1, "duplicates": 1, "ignored": 1, "refused": 0, "problems": [] })
    );
    let (_, told) = command(&["--since", "2d"]);
    assert!(told.contains("taken       0") && told.contains("known       2"), "{told}");
    let (done, told) = command(&["--since", "2020-01-01"]);
    assert!(!done && told.contains("retention.dedupe"), "{told}");
    relay.settled().await;
    assert_eq!(relay.balanced().await["accepted"], 2);
    assert_eq!(platforms.sandbox.received_meta().len(), 2);
    assert!(relay.terminate());

    // On a schedule, too, and a token that the shop does not take shows.
    let setup =
        Setup::new(&format!("{}{}", source("reconcile = { every = '1s', since = '2d' }\n"), platforms.destinations()));
    let relay = setup.start();
    let ran = relay.until("/v1/sources", |sources| sources.to_string().contains("\"accepted\":2,")).await;
    assert!(ran.to_string().contains("last_reconcile"), "{ran}");
    shop.reset().await;
    Mock::given(any()).respond_with(ResponseTemplate::new(401)).mount(&shop).await;
    relay.until("/v1/sources", |sources| sources.to_string().contains("the provider answered 401")).await;
}
