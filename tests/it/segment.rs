//! Journeys of those who post through the Segment API.

use std::{fs, io::Write as _, path::Path};

use conversion_relay::sandbox::{Fault, FaultMode, Platform};
use serde_json::{Value, json};

use crate::support::{Answer, KEY, Platforms, Relay, Setup};

const FILE: &str = r#"
[[destinations]]
name = "rows"
kind = "file"
format = "jsonl"
[destinations.events]
purchase = "Purchase"
refund = "Refund"
sign_up = "SignUp"
"#;

/// SHA-256 of `ada@example.com`.
const ADA: &str = "b5fc85e55755f9e0d030a10ab4429b6b2944855f9a0d60077fe832becbc41d72";

/// Posts as server SDKs do: the key as the user of Basic, without a password.
async fn post(relay: &Relay, path: &str, body: &Value) -> Answer {
    let request = relay.client.post(format!("{}{path}", relay.public)).basic_auth(KEY, Some(""));
    Relay::send(request.header("content-type", "application/json").body(body.to_string())).await
}

async fn taken(relay: &Relay, path: &str, body: &Value) {
    let answer = post(relay, path, body).await;
    assert_eq!((answer.status, answer.json()), (200, json!({"success": true})), "{path} {body}");
}

fn order(id: &str, user: &str) -> Value {
    json!({
        "type": "track", "messageId": format!("m-{id}"), "userId": user, "event": "Order Completed",
        "properties": {"order_id": id, "total": "49.99", "currency": "USD"}
    })
}

async fn counts(relay: &Relay) -> Value {
    let sources = relay.admin("/v1/sources").await;
    sources["sources"]
        .as_array()
        .expect("sources")
        .iter()
        .find(|source| source["name"] == "test-shop")
        .expect("known")
        .clone()
}

#[tokio::test]
async fn a_batch_of_a_server_becomes_a_visit_an_identity_and_an_order() {
    let platforms = Platforms::start().await;
    let setup = Setup::new(&platforms.destinations());
    let relay = setup.start();
    let page = "https://shop.example/?gclid=Cj0-batch&fbclid=Fb-batch&utm_source=google&utm_medium=cpc";
    let batch = json!({
        "sentAt": "2000-01-01T00:00:02Z",
        "batch": [
            {"type": "page", "messageId": "1", "anonymousId": "anon-1", "timestamp": "2000-01-01T00:00:00Z",
             "properties": {"url": page, "referrer": "https://www.google.com/"},
             "context": {"ip": "203.0.113.7", "userAgent": "Mozilla/5.0 (X11)"}},
            {"type": "identify", "messageId": "2", "anonymousId": "anon-1", "userId": "cust-7",
             "timestamp": "2000-01-01T00:00:01Z", "traits": {"email": "Ada@Example.com", "name": "Ada Lovelace"}},
            order("1001", "cust-7"),
            {"type": "group", "groupId": "g", "userId": "cust-7"},
            {"type": "track", "userId": "cust-7"},
        ]
    });
    taken(&relay, "/v1/batch", &batch).await;
    let timeline = relay.admin("/v1/events/test-shop:purchase:1001").await;
    assert_eq!(timeline["visitor_id"], "anon-1", "{timeline}");
    assert_eq!(timeline["attribution"]["last"]["utm"]["source"], "google");
    relay.settled().await;
    let sent = platforms.sandbox.received_meta()[0]["event"].clone();
    assert_eq!(sent["user_data"]["em"], json!([ADA]), "{sent}");
    assert!(sent["user_data"]["fbc"].as_str().expect("a click").ends_with(".Fb-batch"), "{sent}");
    assert_eq!(sent["user_data"]["client_ip_address"], "203.0.113.7");
    assert_eq!(platforms.sandbox.received_data_manager().len(), 1);
    // Sent again, as SDKs do that got no answer.
    taken(&relay, "/v1/batch", &batch).await;
    let counts = counts(&relay).await;
    assert_eq!((&counts["accepted"], &counts["duplicate"], &counts["refused"]), (&json!(1), &json!(1), &json!(2)));
    assert_eq!(counts["ignored_topics"], json!({"group: not a conversion": 2}));
    assert_eq!(counts["last_refusal"]["detail"], "event: is missing; a track says what happened");
    assert_eq!(relay.balanced().await["accepted"], 1);
    relay.kill();
    let mut rest = vec![setup.log().into_bytes()];
    files(&setup.data(), &mut rest);
    for secret in ["Ada@Example", "ada@example", "Lovelace"] {
        let found = |bytes: &Vec<u8>| bytes.windows(secret.len()).any(|part| part == secret.as_bytes());
        assert!(!rest.iter().any(found), "{secret} rests on disk or in the log");
    }
}

fn files(directory: &Path, found: &mut Vec<Vec<u8>>) {
    for path in fs::read_dir(directory).expect("reads").map(|entry| entry.expect("reads").path()) {
        if path.is_dir() {
            files(&path, found);
        } else {
            found.push(fs::read(path).expect("reads"));
        }
    }
}

#[tokio::test]
async fn who_was_identified_is_found_by_every_name() {
    let setup = Setup::new(FILE);
    let relay = setup.start();
    let page = |anonymous: &str| json!({"anonymousId": anonymous, "properties": {"url": format!("https://shop.example/?gclid=G-{anonymous}")}});
    for anonymous in ["anon-1", "anon-2", "anon-3"] {
        taken(&relay, "/v1/page", &page(anonymous)).await;
    }
    let traits = json!({"email": "ada@example.com"});
    taken(&relay, "/v1/identify", &json!({"anonymousId": "anon-1", "userId": "u-1"})).await;
    taken(&relay, "/v1/identify", &json!({"userId": "u-1", "traits": traits})).await;
    taken(&relay, "/v1/alias", &json!({"previousId": "anon-2", "userId": "u-2"})).await;
    taken(&relay, "/v1/alias", &json!({"previousId": "u-2", "userId": "u-2b"})).await;
    taken(&relay, "/v1/screen", &json!({"anonymousId": "anon-3", "userId": "u-3", "name": "Home"})).await;
    // Of a user without a browser there is nothing to find.
    taken(&relay, "/v1/identify", &json!({"userId": "u-9"})).await;
    for (user, visitor) in [("u-1", "anon-1"), ("u-2", "anon-2"), ("u-2b", "anon-2"), ("u-3", "anon-3")] {
        taken(&relay, "/v1/track", &order(&format!("o-{user}"), user)).await;
        let timeline = relay.admin(&format!("/v1/events/test-shop:purchase:o-{user}")).await;
        let (by, click) = (&timeline["joined_by"], &timeline["attribution"]["clicks"][0]["value"]);
        assert_eq!((by, click), (&json!("external_id"), &json!(format!("G-{visitor}"))), "{timeline}");
    }
    let webhook = json!({"event": "purchase", "transaction_id": "w", "user": {"email": "Ada@example.com"}});
    relay.post("/v1/events", &webhook).await;
    assert_eq!(relay.admin("/v1/events/test-shop:purchase:w").await["visitor_id"], "anon-1", "by what was identified");
    taken(&relay, "/v1/track", &order("o-9", "u-9")).await;
    assert_eq!(relay.admin("/v1/events/test-shop:purchase:o-9").await["visitor_id"], Value::Null);
}

#[tokio::test]
async fn pages_inside_a_site_are_no_landings() {
    let setup = Setup::new(FILE);
    let relay = setup.start();
    let page = |url: &str, referrer: &str| json!({"anonymousId": "a", "properties": {"url": format!("https://shop.example/{url}"), "referrer": referrer}});
    let own = "https://shop.example/";
    taken(&relay, "/v1/p", &page("?utm_source=news", "https://mail.example/")).await;
    taken(&relay, "/v1/p", &page("?utm_source=news", "https://mail.example/")).await;
    taken(&relay, "/v1/p", &page("mugs", own)).await;
    taken(&relay, "/v1/p", &page("?fbclid=Second", own)).await;
    let metrics = Relay::send(relay.client.get(format!("{}/metrics", relay.admin))).await.text;
    assert!(metrics.contains("visits_total 2"), "{metrics}");
    let sale = json!({"anonymousId": "a", "event": "Order Completed", "messageId": "m"});
    taken(&relay, "/v1/t", &sale).await;
    let timeline = relay.admin("/v1/events/test-shop:purchase:m").await;
    assert_eq!(timeline["attribution"]["last"]["utm"]["source"], "news", "{timeline}");
    assert_eq!(timeline["attribution"]["clicks"][0]["value"], "Second");
}

#[tokio::test]
async fn an_order_told_by_an_sdk_and_by_the_shop_counts_once() {
    let setup = Setup::new(FILE);
    let relay = setup.start();
    taken(&relay, "/v1/track", &order("1001", "u")).await;
    let shop = json!({"event": "purchase", "event_id": "of-the-shop", "transaction_id": "1001", "value": "49.99",
                      "currency": "USD"});
    let (_, answer) = relay.post("/v1/events", &shop).await;
    assert_eq!(answer["results"][0]["status"], "duplicate");
    for (message, total) in [("r-1", "10"), ("r-2", "5.5"), ("r-2", "5.5")] {
        let refund = json!({"type": "track", "event": "Order Refunded", "messageId": message,
                            "properties": {"order_id": "1001", "total": total, "currency": "USD"}});
        taken(&relay, "/v1/track", &refund).await;
    }
    assert_eq!(relay.balanced().await["accepted"], 3, "one order and two parts of it taken back");
}

#[tokio::test]
async fn a_visit_that_a_page_told_of_is_found_by_its_click_alone() {
    let setup = Setup::new(FILE);
    let relay = setup.start();
    let page = json!({"type": "page", "anonymousId": "anon-9", "context": {"ip": "203.0.113.7"},
                      "properties": {"url": "https://shop.example/?gclid=Cj0-alone&utm_source=google"}});
    taken(&relay, "/v1/page", &page).await;
    let stage = json!({"event": "purchase", "event_id": "won-1", "context": {"gclid": "Cj0-alone"}, "value": "5",
                       "currency": "USD"});
    relay.post("/v1/events", &stage).await;
    let timeline = relay.admin("/v1/events/won-1").await;
    assert_eq!((&timeline["visitor_id"], &timeline["joined_by"]), (&json!("anon-9"), &json!("click_id")), "{timeline}");
}

#[tokio::test]
async fn refunds_are_counted_by_each_order() {
    let setup = Setup::new(FILE);
    let relay = setup.start();
    for order in ["1", "2", "2"] {
        let refund = json!({"event": "Order Refunded", "messageId": "m",
                            "properties": {"order_id": order, "refund_id": 1, "total": 5, "currency": "USD"}});
        taken(&relay, "/v1/track", &refund).await;
    }
    assert_eq!(relay.balanced().await["accepted"], 2);
}

#[tokio::test]
async fn whoever_has_no_key_is_refused_and_so_is_what_is_no_call() {
    let setup = Setup::new(FILE).env("RELAY__INTAKE__BATCH_MAX", "2").env("RELAY__INTAKE__BODY_BYTES_MAX", "2048");
    let relay = setup.start();
    let url = format!("{}/v1/track", relay.public);
    let send = async |body: &str| Relay::send(relay.client.post(&url).body(body.to_owned())).await;
    let sale = order("1", "u");
    let answer = send(&sale.to_string()).await;
    assert_eq!((answer.status, answer.header("content-type")), (401, "application/problem+json"));
    assert_eq!(answer.header("access-control-allow-origin"), "*", "so that a page's script can read it");
    let mut keyed = sale.clone();
    keyed["writeKey"] = "another".into();
    assert_eq!(send(&keyed.to_string()).await.status, 401);
    keyed["writeKey"] = KEY.into();
    assert_eq!(send(&keyed.to_string()).await.status, 200, "the key in the body, as text");
    let oauth = relay.client.post(&url).bearer_auth("a token of Segment's").body(keyed.to_string());
    assert_eq!(Relay::send(oauth).await.status, 200);
    assert_eq!(send("{").await.status, 400);

    let refused = async |path: &str, body: &str| {
        let request = relay.client.post(format!("{}{path}", relay.public)).basic_auth(KEY, None::<&str>);
        Relay::send(request.body(body.to_owned())).await.status
    };
    assert_eq!(refused("/v1/track", "{\"event\":").await, 400);
    assert_eq!(refused("/v1/track", "[]").await, 400);
    assert_eq!(refused("/v1/batch", "{}").await, 400);
    assert_eq!(refused("/v1/batch", r#"{"batch": [{}, {}, {}]}"#).await, 400);
    assert_eq!(refused("/v1/track", &" ".repeat(3000)).await, 400);
    let counts = counts(&relay).await;
    assert_eq!(counts["refused_reasons"], json!({"batch": 3, "body": 1, "malformed": 1}), "{counts}");

    let options = relay.client.request(reqwest::Method::OPTIONS, &url).header("origin", "https://shop.example");
    let options = Relay::send(options.header("access-control-request-headers", "authorization,content-type")).await;
    assert_eq!((options.status, options.header("access-control-allow-origin")), (204, "*"));
    assert!(options.header("access-control-allow-headers").contains("authorization"));
}

#[tokio::test]
async fn compressed_batches_are_read() {
    let setup = Setup::new(FILE).env("RELAY__INTAKE__BODY_BYTES_MAX", "100000");
    let relay = setup.start();
    let gzip = |text: &str| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(text.as_bytes()).expect("writes");
        encoder.finish().expect("ends")
    };
    let send = async |body: Vec<u8>| {
        let request = relay.client.post(format!("{}/v1/import", relay.public)).header("content-encoding", "gzip");
        Relay::send(request.body(body)).await.status
    };
    let batch = json!({"writeKey": KEY, "batch": [order("1", "u"), order("2", "u")]}).to_string();
    assert_eq!(send(gzip(&batch)).await, 200);
    assert_eq!(send(batch.into_bytes()).await, 400, "its header says that it is compressed");
    assert_eq!(send(gzip(&" ".repeat(5_000_000))).await, 400, "a bomb");
    assert_eq!(relay.balanced().await["accepted"], 2);
}

#[tokio::test]
async fn what_cannot_be_stored_is_not_acknowledged_and_what_is_survives_a_crash() {
    let platforms = Platforms::start().await;
    platforms.sandbox.set_fault(Platform::Meta, Fault::new(FaultMode::ExpiredToken));
    let setup = Setup::new(&platforms.destinations()).env("RELAY__STORE__QUEUE_MAX", "3");
    let relay = setup.start();
    let sale = |i: usize| {
        let mut sale = order(&format!("q-{i}"), "u");
        sale["properties"]["email"] = "ada@example.com".into();
        sale
    };
    let mut accepted = 0;
    let full = loop {
        let answer = post(&relay, "/v1/track", &sale(accepted)).await;
        if answer.status != 200 {
            break answer;
        }
        accepted += 1;
        assert!(accepted <= 10, "the bound holds");
    };
    assert_eq!((full.status, full.header("content-type")), (503, "application/problem+json"), "{}", full.text);
    assert!(full.header("retry-after").parse::<u32>().is_ok_and(|seconds| seconds > 0), "SDKs wait for it");
    relay.kill();
    let relay = setup.start();
    assert_eq!(relay.balanced().await["accepted"], accepted);
    platforms.sandbox.set_fault(Platform::Meta, Fault::default());
    relay.settled().await;
    for i in 0..=accepted {
        taken(&relay, "/v1/track", &sale(i)).await;
    }
    relay.settled().await;
    assert_eq!(platforms.sandbox.received_meta().len(), accepted + 1, "each once");
}
