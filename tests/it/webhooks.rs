//! What providers post: believed by its signature alone, counted once, answered as they expect.

use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;

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
    let timeline = relay.admin("/v1/events/courses:purchase:order-1").await;
    assert_eq!(timeline["source"], "courses", "{timeline}");
    assert!(!setup.log().contains("ada.webhook"), "no contact data in the log");
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
