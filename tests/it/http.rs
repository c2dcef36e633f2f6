//! What the API promises to those who use it well.

use std::{os::unix::fs::PermissionsExt as _, time::Instant};

use conversion_relay::sandbox::{Fault, FaultMode, Platform};
use serde_json::{Value, json};

use crate::support::{KEY, PATIENCE, Platforms, Relay, Setup};

const FILE: &str = r#"
[[destinations]]
name = "import"
kind = "file"
format = "google_ads_clicks"
username = "google"
password = "password of the pull"
[destinations.events]
purchase = "Offline purchase"
"#;

/// A purchase that both platforms take.
fn purchase(id: &str) -> Value {
    json!({
        "event": "purchase", "event_id": id, "value": "49.99", "currency": "USD",
        "user": {"email": format!("{id}@shop.example")},
        "context": {"user_agent": "Mozilla/5.0 (X11)", "ip": "203.0.113.7", "url": "https://shop.example/thanks"}
    })
}

/// A landing with click ids of both platforms, made of `name`.
fn landing(name: &str) -> Value {
    json!({ "visitor_id": name, "url": format!("https://shop.example/?gclid=G-{name}&fbclid=F-{name}") })
}

fn status_of(result: &Value) -> (&str, &str) {
    (result["status"].as_str().unwrap_or(""), result["event_id"].as_str().unwrap_or(""))
}

/// What became of one delivery.
async fn delivery(relay: &Relay, id: &str, destination: &str) -> Value {
    let timeline = relay.admin(&format!("/v1/events/{id}")).await;
    let deliveries = timeline["deliveries"].as_array().unwrap_or_else(|| panic!("no timeline: {timeline}")).clone();
    deliveries.into_iter().find(|delivery| delivery["destination"] == destination).expect("configured")
}

/// The events of this id that Meta took.
fn at_meta(platforms: &Platforms, id: &str) -> Vec<Value> {
    let received = platforms.sandbox.received_meta().into_iter().map(|entry| entry["event"].clone());
    received.filter(|event| event["event_id"] == id).collect()
}

/// The events of this id that Google took.
fn at_google(platforms: &Platforms, id: &str) -> Vec<Value> {
    let received = platforms.sandbox.received_data_manager().into_iter().map(|entry| entry["event"].clone());
    received.filter(|event| event["transactionId"] == id).collect()
}

#[tokio::test]
async fn a_restatement_says_of_what_and_what_it_is_worth_now() {
    let setup = Setup::new(FILE);
    let relay = setup.start();
    for (event, pointer) in [
        (json!({"event": "restatement", "value": "40", "currency": "USD"}), "/transaction_id"),
        (json!({"event": "restatement", "transaction_id": "1001"}), "/value"),
    ] {
        let (status, problem) = relay.post("/v1/events", &event).await;
        assert_eq!((status, &problem["pointer"]), (422, &json!(pointer)), "{problem}");
    }
    let restated = json!({"event": "restatement", "transaction_id": "1001", "value": "40.5", "currency": "USD"});
    let (status, answer) = relay.post("/v1/events", &restated).await;
    assert_eq!(status, 202, "{answer}");
    assert_eq!(status_of(&answer["results"][0]), ("accepted", "test-shop:restatement:1001.worth.40.50USD"));
    let (_, answer) = relay.post("/v1/events", &restated).await;
    assert_eq!(status_of(&answer["results"][0]).0, "duplicate");
}

#[tokio::test]
async fn an_event_is_accepted_once_and_known_by_its_id() {
    let setup = Setup::new(FILE);
    let relay = setup.start();
    let post = async |event: Value| {
        let (status, answer) = relay.post("/v1/events", &event).await;
        (status, answer["results"][0].clone())
    };
    let (status, result) = post(json!({"event": "purchase", "event_id": "o-1"})).await;
    assert_eq!((status, status_of(&result)), (202, ("accepted", "o-1")));
    let (status, result) = post(json!({"event": "purchase", "event_id": "o-1"})).await;
    assert_eq!((status, status_of(&result)), (202, ("duplicate", "o-1")));

    let derived = "test-shop:purchase:1001";
    let (_, result) = post(json!({"event": "purchase", "transaction_id": "1001"})).await;
    assert_eq!(status_of(&result), ("accepted", derived));
    let (_, result) = post(json!({"event": "purchase", "transaction_id": "1001"})).await;
    assert_eq!(status_of(&result), ("duplicate", derived));
    let (_, result) = post(json!({"event": "purchase", "event_id": "other", "transaction_id": "1001"})).await;
    assert_eq!(status_of(&result), ("duplicate", derived), "the id it is known by, where the timeline is");
    let (_, result) = post(json!({"event": "refund", "transaction_id": "1001"})).await;
    assert_eq!(status_of(&result), ("accepted", "test-shop:refund:1001"));

    let (_, result) = post(json!({"event": "purchase"})).await;
    assert_eq!((result["event_id"].as_str().expect("an id").len(), &result["status"]), (26, &json!("accepted")));

    let (status, problem) = relay.post("/v1/events", &json!({"event": "sign_up", "event_id": "o-1"})).await;
    assert_eq!((status, &problem["pointer"]), (422, &json!("/event_id")), "{problem}");
    assert_eq!(problem["type"], "/problems/event-id-conflict");
    assert_eq!(relay.admin("/v1/balance").await["accepted"], 4);

    relay.kill();
    let relay = setup.start();
    let (_, answer) = relay.post("/v1/events", &json!({"event": "purchase", "event_id": "o-1"})).await;
    assert_eq!(status_of(&answer["results"][0]), ("duplicate", "o-1"), "also after a crash");
}

#[tokio::test]
async fn a_batch_is_answered_in_its_order() {
    let setup = Setup::new(FILE);
    let relay = setup.start();
    let events: Vec<Value> = (0..1000).map(|i| json!({"event": "purchase", "event_id": format!("b-{i}")})).collect();
    let (status, answer) = relay.post("/v1/events", &json!({ "events": events })).await;
    let results = answer["results"].as_array().expect("results");
    assert_eq!((status, results.len()), (202, 1000));
    for (i, result) in results.iter().enumerate() {
        assert_eq!(status_of(result), ("accepted", format!("b-{i}").as_str()));
    }
    let (new, conflict) =
        (json!({"event": "purchase", "event_id": "new"}), json!({"event": "refund", "event_id": "b-8"}));
    let again = json!({"events": [events[7], new, conflict]});
    let (status, answer) = relay.post("/v1/events", &again).await;
    let results: Vec<&str> = answer["results"].as_array().expect("results").iter().map(|r| status_of(r).0).collect();
    assert_eq!((status, results), (207, vec!["duplicate", "accepted", "rejected"]));
    assert_eq!(answer["results"][2]["problem"]["pointer"], "/events/2/event_id");
    assert_eq!(relay.admin("/v1/balance").await["accepted"], 1001);
}

#[tokio::test]
async fn a_full_queue_is_said_and_nothing_of_the_request_is_stored() {
    let platforms = Platforms::start().await;
    platforms.sandbox.set_fault(Platform::Meta, Fault::new(FaultMode::ExpiredToken));
    let setup = Setup::new(&platforms.destinations()).env("RELAY__STORE__QUEUE_MAX", "3");
    let relay = setup.start();
    let url = format!("{}/v1/events", relay.public);
    let post = async |body: Value| {
        let request = relay.client.post(&url).bearer_auth(KEY).header("content-type", "application/json");
        Relay::send(request.body(body.to_string())).await
    };
    let mut accepted = 0;
    let full = loop {
        let answer = post(purchase(&format!("q-{accepted}"))).await;
        if answer.status != 202 {
            break answer;
        }
        accepted += 1;
        assert!(accepted <= 10, "the bound holds");
    };
    assert_eq!((full.status, full.header("content-type")), (503, "application/problem+json"), "{}", full.text);
    assert!(full.header("retry-after").parse::<u32>().is_ok_and(|seconds| seconds > 0));
    assert_eq!(full.json()["type"], "/problems/queue-full");
    let batch: Vec<Value> = (0..5).map(|i| purchase(&format!("qb-{i}"))).collect();
    assert_eq!(post(json!({ "events": batch })).await.status, 503);
    assert_eq!(relay.admin("/v1/balance").await["accepted"], accepted, "all or nothing");
    let ready = Relay::send(relay.client.get(format!("{}/readyz", relay.public))).await;
    assert_eq!(ready.status, 200, "other work goes on");
    platforms.sandbox.set_fault(Platform::Meta, Fault::default());
    relay.settled().await;
    assert_eq!(post(purchase("q-after")).await.status, 202);
}

#[tokio::test]
async fn both_listeners_say_how_they_are_and_name_each_request() {
    let setup = Setup::new(FILE);
    let relay = setup.start();
    let mut ids = std::collections::HashSet::new();
    for listener in [&relay.public, &relay.admin] {
        for (path, status, text) in [("/healthz", 200, "ok\n"), ("/readyz", 200, "ready\n"), ("/nothing", 404, "")] {
            let answer = Relay::send(relay.client.get(format!("{listener}{path}"))).await;
            assert_eq!(answer.status, status, "{listener}{path}");
            assert!(text.is_empty() || answer.text == text);
            let id = answer.header("x-request-id").to_owned();
            assert!(id.len() == 16 && id.bytes().all(|b| b.is_ascii_hexdigit()) && ids.insert(id.clone()), "{id}");
        }
    }
    let metrics = Relay::send(relay.client.get(format!("{}/metrics", relay.admin))).await;
    assert!(metrics.text.contains("relay_queue_depth") && metrics.text.ends_with("# EOF\n"), "{}", metrics.text);
    let public = Relay::send(relay.client.get(format!("{}/metrics", relay.public))).await;
    assert_eq!(public.status, 404, "the operator's paths are on the operator's listener");
}

#[tokio::test]
async fn without_a_configured_key_one_is_made_that_only_its_owner_reads() {
    let setup = Setup::new(FILE).env("RELAY__INTAKE__KEYS", "[]");
    let relay = setup.start();
    let file = setup.data().join("relay.key");
    let key = std::fs::read_to_string(&file).expect("reads").trim().to_owned();
    assert_eq!(std::fs::metadata(&file).expect("is there").permissions().mode() & 0o777, 0o600);
    assert!(relay.banner.iter().any(|line| line.contains(&key)), "it is shown");
    assert!(key.len() >= 32 && !setup.log().contains(&key), "but not logged");
    let post = async |relay: &Relay, key: &str| {
        let request = relay.client.post(format!("{}/v1/events", relay.public)).bearer_auth(key);
        Relay::send(request.header("content-type", "application/json").body("{\"event\":\"purchase\"}")).await.status
    };
    assert_eq!((post(&relay, &key).await, post(&relay, KEY).await), (202, 401));
    assert!(relay.terminate());
    let relay = setup.start();
    assert_eq!(post(&relay, &key).await, 202, "the same key after a restart");
    assert!(!relay.banner.iter().any(|line| line.contains(&key)), "shown once");
}

#[tokio::test]
async fn a_second_process_on_the_same_data_says_so_in_one_line() {
    let setup = Setup::new(FILE);
    let relay = setup.start();
    let second = setup.command().env("RUST_LOG", "info").output().expect("runs");
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(!second.status.success() && second.stdout.is_empty(), "{said}");
    assert!(said.lines().count() == 1 && said.contains("in use by another conversion-relay"), "{said}");
    assert_eq!(relay.post("/v1/events", &purchase("after")).await.0, 202, "the first goes on");
}

#[tokio::test]
async fn import_files_are_served_to_whoever_has_the_password() {
    let setup = Setup::new(FILE);
    let relay = setup.start();
    let mut event = purchase("o-1");
    event["context"]["gclid"] = json!("Cj0-Click");
    assert_eq!(relay.post("/v1/events", &event).await.0, 202);
    relay.settled().await;
    let url = format!("{}/files/import.csv", relay.public);
    let get = || relay.client.get(&url).basic_auth("google", Some("password of the pull"));
    let file = Relay::send(get()).await;
    assert_eq!((file.status, file.header("content-type")), (200, "text/csv; charset=utf-8"), "{}", file.text);
    assert!(file.text.contains("Cj0-Click") && file.text.contains("Offline purchase"), "{}", file.text);
    let etag = file.header("etag").to_owned();
    assert!(etag.starts_with('"') && etag.ends_with('"'), "{etag}");
    for (tag, status) in [(etag.as_str(), 304), (&format!("W/{etag}"), 304), ("\"x\", *", 304), ("\"x\"", 200)] {
        let again = Relay::send(get().header("if-none-match", tag)).await;
        assert_eq!((again.status, again.text.is_empty(), again.header("etag")), (status, status == 304, etag.as_str()));
    }
    for wrong in [
        relay.client.get(&url),
        relay.client.get(&url).basic_auth("google", Some("guess")),
        relay.client.get(&url).bearer_auth(KEY),
    ] {
        let answer = Relay::send(wrong).await;
        assert_eq!((answer.status, answer.header("content-type")), (401, "application/problem+json"));
        assert!(answer.header("www-authenticate").starts_with("Basic realm="));
    }
    let unknown = relay.client.get(format!("{}/files/other.csv", relay.public));
    assert_eq!(Relay::send(unknown).await.status, 404);
}

#[tokio::test]
async fn the_admin_listener_wants_its_token_if_one_is_configured() {
    let token = "token-of-the-operator";
    let setup = Setup::new(FILE).env("RELAY__ADMIN__TOKEN", token);
    let relay = setup.start();
    for path in ["/v1/balance", "/v1/destinations", "/v1/events/x", "/metrics"] {
        let get = || relay.client.get(format!("{}{path}", relay.admin));
        for wrong in [get(), get().bearer_auth(KEY), get().basic_auth("", Some(token))] {
            let answer = Relay::send(wrong).await;
            assert_eq!((answer.status, answer.header("www-authenticate")), (401, "Bearer"), "{path}");
            assert_eq!(answer.header("content-type"), "application/problem+json");
        }
        let status = Relay::send(get().bearer_auth(token)).await.status;
        assert_eq!(status, if path == "/v1/events/x" { 404 } else { 200 }, "{path}");
    }
    let health = Relay::send(relay.client.get(format!("{}/healthz", relay.admin))).await;
    assert_eq!(health.status, 200, "health checks have no token");
    assert_eq!(relay.post("/v1/events", &purchase("o-1")).await.0, 202, "intake has its own key");
}

#[tokio::test]
async fn an_event_waits_for_its_visit_and_goes_out_with_the_click_as_soon_as_it_comes() {
    let platforms = Platforms::start().await;
    let setup = Setup::new(&platforms.destinations()).env("RELAY__JOIN__WAIT_FOR_VISIT", "30s");
    let relay = setup.start();
    let began = Instant::now();
    let mut event = purchase("late-1");
    event["visitor_id"] = json!("v-late");
    assert_eq!(relay.post("/v1/events", &event).await.0, 202);
    for destination in ["meta", "google"] {
        let waiting = delivery(&relay, "late-1", destination).await;
        assert_eq!((&waiting["state"], &waiting["reason"]), (&json!("queued"), &json!("wait_for_visit")));
    }
    assert!(at_meta(&platforms, "late-1").is_empty());
    assert_eq!(relay.post("/v1/visits", &landing("v-late")).await.0, 200);
    relay.settled().await;
    assert!(began.elapsed().as_secs() < 20, "at once, not after the wait");
    let meta = at_meta(&platforms, "late-1");
    assert_eq!(meta.len(), 1);
    assert!(meta[0]["user_data"]["fbc"].as_str().is_some_and(|fbc| fbc.ends_with(".F-v-late")), "{meta:?}");
    assert_eq!(at_google(&platforms, "late-1")[0]["adIdentifiers"]["gclid"], "G-v-late");
    assert_eq!(relay.admin("/v1/events/late-1").await["joined_by"], "visitor_id");
}

#[tokio::test]
async fn a_visitor_is_found_by_whatever_it_was_seen_with() {
    let platforms = Platforms::start().await;
    let setup = Setup::new(&platforms.destinations());
    let relay = setup.start();
    let (ga, fbp) = ("111.1794000000", "fb.1.1794000000123.987654");
    // How, what the visit has, where on the event the same is and how it is spelled there.
    let cases = [
        ("email", "/user", json!({"email": "Ada@Example.com"}), "/user/email", " ada@example.COM"),
        ("phone", "/user", json!({"phone": "+1 650 555 1212"}), "/user/phone", "(650) 555-1212"),
        ("external_id", "/user", json!({"external_id": "cust-7"}), "/user/external_id", "cust-7"),
        ("checkout_token", "/checkout_token", json!("c-1"), "/context/checkout_token", "c-1"),
        ("checkout_token", "/cart_token", json!("c-2"), "/context/cart_token", "c-2"),
        ("ga_client_id", "/cookies", json!({"_ga": format!("GA1.1.{ga}")}), "/context/ga_client_id", ga),
        ("fbp", "/cookies", json!({"_fbp": fbp}), "/context/fbp", fbp),
    ];
    for (i, (by, at, known, field, value)) in cases.iter().enumerate() {
        let mut visit = landing(&format!("v-{i}"));
        visit[at.trim_start_matches('/')] = known.clone();
        assert_eq!(relay.post("/v1/visits", &visit).await.0, 200, "{by}");
        let mut event = purchase(&format!("o-{i}"));
        let (parent, name) = field.rsplit_once('/').expect("a pointer");
        event.pointer_mut(parent).expect("is there")[name] = json!(value);
        assert_eq!(relay.post("/v1/events", &event).await.0, 202, "{by}");
    }
    // The visitor id wins over everything else, and an e-mail address over a cookie.
    let mut event = purchase("o-first");
    event["user"]["email"] = json!("ada@example.com");
    event["context"]["fbp"] = json!(fbp);
    assert_eq!(relay.post("/v1/events", &event).await.0, 202);
    event["event_id"] = json!("o-own");
    event["visitor_id"] = json!("v-3");
    assert_eq!(relay.post("/v1/events", &event).await.0, 202);
    relay.settled().await;
    for (i, (by, ..)) in cases.iter().enumerate() {
        let timeline = relay.admin(&format!("/v1/events/o-{i}")).await;
        assert_eq!((&timeline["joined_by"], &timeline["visitor_id"]), (&json!(by), &json!(format!("v-{i}"))));
        assert_eq!(at_google(&platforms, &format!("o-{i}"))[0]["adIdentifiers"]["gclid"], format!("G-v-{i}"), "{by}");
        let fbc = at_meta(&platforms, &format!("o-{i}"))[0]["user_data"]["fbc"].clone();
        assert!(fbc.as_str().is_some_and(|fbc| fbc.ends_with(&format!(".F-v-{i}"))), "{by}: {fbc}");
    }
    for (id, by, visitor) in [("o-first", "email", "v-0"), ("o-own", "visitor_id", "v-3")] {
        let timeline = relay.admin(&format!("/v1/events/{id}")).await;
        assert_eq!((&timeline["joined_by"], &timeline["visitor_id"]), (&json!(by), &json!(visitor)), "{id}");
    }
}

#[tokio::test]
async fn what_was_chosen_at_the_visit_holds_for_the_event() {
    let platforms = Platforms::start().await;
    let strict =
        platforms.destinations().replacen("kind = \"meta\"", "kind = \"meta\"\non_unknown_consent = \"skip\"", 1);
    let setup = Setup::new(&strict);
    let relay = setup.start();
    for (name, choice) in [("denied", "denied"), ("granted", "granted")] {
        let mut visit = landing(name);
        visit["consent"] = json!({"ad_user_data": choice, "ad_personalization": choice});
        assert_eq!(relay.post("/v1/visits", &visit).await.0, 200);
        let mut event = purchase(&format!("o-{name}"));
        event["visitor_id"] = json!(name);
        assert_eq!(relay.post("/v1/events", &event).await.0, 202);
    }
    assert_eq!(relay.post("/v1/events", &purchase("o-unknown")).await.0, 202);
    relay.settled().await;
    let skipped = (json!("skipped"), json!("consent"));
    let delivered = (json!("delivered"), Value::Null);
    for (id, destination, outcome) in [
        ("o-denied", "meta", &skipped),
        ("o-denied", "google", &skipped),
        ("o-granted", "meta", &delivered),
        ("o-granted", "google", &delivered),
        ("o-unknown", "meta", &skipped),
        ("o-unknown", "google", &delivered),
    ] {
        let delivery = delivery(&relay, id, destination).await;
        assert_eq!((&delivery["state"], &delivery["reason"]), (&outcome.0, &outcome.1), "{id} {destination}");
    }
    assert!(at_meta(&platforms, "o-denied").is_empty() && at_google(&platforms, "o-denied").is_empty());
    let consent = &at_google(&platforms, "o-granted")[0]["consent"];
    assert_eq!(consent["adUserData"], "CONSENT_GRANTED", "{consent}");
    assert!(at_google(&platforms, "o-unknown")[0]["consent"].is_null(), "unknown is never sent as granted");
}

#[tokio::test]
async fn a_second_report_fills_what_the_first_left_open_while_it_is_unsent() {
    let platforms = Platforms::start().await;
    for platform in [Platform::Meta, Platform::DataManager] {
        platforms.sandbox.set_fault(platform, Fault::new(FaultMode::Outage));
    }
    let other = "keys = [{ name = \"test-shop\", key = \"key-of-the-test-shop\" }, ";
    let keys = other.trim_start_matches("keys = ").to_owned() + "{ name = \"crm\", key = \"key-of-the-test-crm\" }]";
    let setup = Setup::new(&platforms.destinations()).env("RELAY__INTAKE__KEYS", keys);
    let relay = setup.start();
    let mut first = purchase("m-1");
    first["transaction_id"] = json!("t-1");
    assert_eq!(relay.post("/v1/events", &first).await.0, 202);
    let (fbp, began) = ("fb.1.1794000000123.987654", Instant::now());
    let second = json!({
        "event": "purchase", "transaction_id": "t-1", "value": "1.00", "currency": "EUR",
        "user": {"phone": "+1 650 555 1212"}, "context": {"fbp": fbp, "gclid": "G-second"}
    });
    let request = relay.client.post(format!("{}/v1/events", relay.public)).bearer_auth("key-of-the-test-crm");
    let answer = Relay::send(request.header("content-type", "application/json").body(second.to_string())).await;
    assert_eq!((answer.status, status_of(&answer.json()["results"][0])), (202, ("duplicate", "m-1")));
    for platform in [Platform::Meta, Platform::DataManager] {
        platforms.sandbox.set_fault(platform, Fault::default());
    }
    let balance = relay.settled().await;
    assert!(began.elapsed() < PATIENCE);
    assert_eq!(balance["accepted"], 1, "never a second delivery");
    let meta = at_meta(&platforms, "m-1");
    assert_eq!(meta.len(), 1);
    assert_eq!(meta[0]["user_data"]["fbp"], fbp, "{meta:?}");
    assert_eq!(meta[0]["user_data"]["ph"].as_array().map(Vec::len), Some(1));
    assert_eq!(meta[0]["custom_data"]["currency"], "USD", "what the first said stays");
    let google = platforms.sandbox.received_data_manager();
    assert_eq!((google.len(), &google[0]["event"]["adIdentifiers"]["gclid"]), (1, &json!("G-second")), "{google:?}");
}
