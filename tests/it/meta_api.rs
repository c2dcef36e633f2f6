//! Meta's own API here: what its SDKs post, in every form, from their request to the strict sandbox.

use conversion_relay::{
    model::Digest,
    sandbox::{Fault, FaultMode, Platform},
};
use serde_json::{Value, json};

use crate::support::{Answer, KEY, Platforms, Relay, Setup};

const TOKEN_ELSEWHERE: &str = "EAAtoken-of-somebody-else";

fn destination(platforms: &Platforms) -> String {
    format!(
        r#"
[[destinations]]
name = "meta"
kind = "meta"
pixel_id = "1234567890"
access_token = "test-token"
base_url = "{}/meta"
[destinations.events]
purchase = "Purchase"
generate_lead = "Lead"
view_item = "ViewContent"
qualified = "Qualified"
"#,
        platforms.url
    )
}

fn sha(text: &str) -> String {
    Digest::of_token(text).hex()
}

fn now() -> u64 {
    std::time::SystemTime::UNIX_EPOCH.elapsed().expect("after 1970").as_secs()
}

/// An event as the SDKs make it: hashed, whole.
fn event(name: &str, id: &str) -> Value {
    json!({
        "event_name": name, "event_time": now() - 60, "event_id": id, "action_source": "website",
        "event_source_url": "https://shop.example/thanks", "opt_out": false, "data_processing_options": [],
        "user_data": {
            "em": [sha("ada@example.com")], "ph": [sha("16505551212")], "fn": [sha("ada")], "ln": [sha("lovelace")],
            "ct": [sha("london")], "st": [sha("ldn")], "zp": [sha("w1")], "country": [sha("gb")], "ge": [sha("f")],
            "db": [sha("19901210")], "external_id": [sha("cust-7")], "client_ip_address": "203.0.113.7",
            "client_user_agent": "Mozilla/5.0", "fbc": "fb.1.1795160000000.IwAR1", "fbp": "fb.1.1795160000000.123456789",
        },
        "custom_data": { "value": 49.99, "currency": "usd", "order_id": id, "plan": "pro",
            "contents": [{"id": "sku-1", "quantity": 2, "item_price": 12.5}], "content_type": "product" },
    })
}

async fn post(relay: &Relay, path: &str, kind: &str, body: String) -> Answer {
    let request = relay.client.post(format!("{}{path}", relay.public)).header("content-type", kind).body(body);
    Relay::send(request).await
}

/// Posts JSON with the token in the body.
async fn graph(relay: &Relay, data: Value) -> Answer {
    post(relay, "/v26.0/123/events", "application/json", json!({"data": data, "access_token": KEY}).to_string()).await
}

fn encoded(fields: &[(&str, &str)]) -> String {
    let mut form = url::form_urlencoded::Serializer::new(String::new());
    form.extend_pairs(fields).finish()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_client_of_meta_is_understood_and_its_hashes_arrive_as_sent() {
    let platforms = Platforms::start().await;
    let setup = Setup::new(&destination(&platforms));
    let relay = setup.start();
    let texts = |id: &str| json!([event("Purchase", id).to_string()]).to_string();
    let objects = |id: &str| json!([event("Purchase", id)]).to_string();
    let parts = format!(
        "--x\r\nContent-Disposition: form-data; name=\"data\"\r\n\r\n{}\r\n--x\r\nContent-Disposition: form-data; \
         name=\"access_token\"\r\n\r\n{KEY}\r\n--x--\r\n",
        objects("php")
    );
    let node = json!({"data": [event("Purchase", "node")], "test_event_code": null, "id": "123", "access_token": KEY});
    let (form, json_type) = ("application/x-www-form-urlencoded", "application/json");
    let with_token = format!("/v26.0/123/events?access_token={KEY}&appsecret_proof=00");
    for (path, kind, body) in [
        (with_token.as_str(), form, encoded(&[("data", &texts("python")), ("partner_agent", "x")])),
        ("/v26.0/123/events", form, encoded(&[("data", &objects("async")), ("access_token", KEY)])),
        (with_token.as_str(), json_type, node.to_string()),
        ("/v24.0/123/events", "multipart/form-data; boundary=x", parts),
    ] {
        let answer = post(&relay, path, kind, body).await;
        let said = answer.json();
        assert_eq!((answer.status, &said["events_received"]), (200, &json!(1)), "{}", answer.text);
        assert_eq!((&said["messages"], said["fbtrace_id"].as_str()), (&json!([]), Some(answer.header("x-request-id"))));
    }
    let gateway = json!({"accessKey": KEY, "data": [event("Purchase", "gateway")]}).to_string();
    let answer = post(&relay, "/capi/123/events", json_type, gateway).await;
    assert_eq!((answer.status, &answer.json()["events_received"]), (202, &json!(1)), "{}", answer.text);
    let bearer = relay.client.post(format!("{}/v26.0/123/events", relay.public)).bearer_auth(KEY);
    let answer = Relay::send(bearer.body(json!({"data": [event("Purchase", "bearer")]}).to_string())).await;
    assert_eq!(answer.status, 200, "{}", answer.text);

    let balance = relay.settled().await;
    assert_eq!(balance["destinations"]["meta"]["delivered"], 6, "{balance}");
    let received = platforms.sandbox.received_meta();
    for id in ["python", "async", "node", "php", "gateway", "bearer"] {
        let got = received.iter().find(|it| it["event"]["event_id"] == id).unwrap_or_else(|| panic!("{id} is missing"));
        let (got, sent) = (&got["event"], event("Purchase", id));
        for (key, value) in sent["user_data"].as_object().expect("an object") {
            let one = |value: &Value| value.get(0).unwrap_or(value).clone();
            assert_eq!(one(&got["user_data"][key]), one(value), "{id} {key}");
        }
        let custom = &got["custom_data"];
        assert_eq!((&custom["value"], &custom["currency"]), (&json!(49.99), &json!("USD")));
        assert_eq!((&custom["plan"], &custom["order_id"]), (&json!("pro"), &json!(id)));
        assert_eq!(got["data_processing_options"], json!([]));
    }
    let refused = platforms.sandbox.stats().meta.refused;
    assert!(refused.is_empty(), "{refused:?}");
    let log = setup.log();
    assert!(!log.contains(KEY) && !log.contains(&sha("ada@example.com")), "the token or a hash is in the log");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_taken_whole_or_refused_as_meta_does() {
    let platforms = Platforms::start().await;
    let setup = Setup::new(&destination(&platforms));
    let relay = setup.start();
    let mut bad = event("Purchase", "bad");
    bad["custom_data"]["currency"] = "EURO".into();
    let answer = graph(&relay, json!([event("Purchase", "good"), bad])).await;
    let error = &answer.json()["error"];
    assert_eq!((answer.status, &error["code"], &error["error_subcode"]), (400, &json!(100), &json!(2_804_023)));
    assert!(error["message"].as_str().expect("a text").contains("data[1].custom_data.currency"), "{error}");
    assert_eq!(error["error_data"]["blame_field_specs"], json!([["data[1].custom_data.currency"]]));
    assert_eq!((&error["type"], &error["is_transient"]), (&json!("OAuthException"), &json!(false)));
    assert!(error["fbtrace_id"].is_string() && error["error_user_msg"].is_string(), "{error}");

    let body = |token: &str| json!({"data": [event("Purchase", "x")], "access_token": token}).to_string();
    for (path, body, status, code) in [
        ("/v26.0/123/events", body(TOKEN_ELSEWHERE), 401, 190),
        ("/capi/123/events", body(TOKEN_ELSEWHERE), 401, 190),
        ("/v26.0/123/events", json!({"data": []}).to_string(), 401, 104),
        ("/v26.0/123/events", "{".to_owned(), 400, 100),
        ("/v26.0/123/events", json!({"data": [], "access_token": KEY}).to_string(), 400, 100),
        ("/v26.0/pixel/events", body(KEY), 400, 100),
        ("/capi/pixel/events", body(KEY), 400, 100),
    ] {
        let answer = post(&relay, path, "application/json", body).await;
        assert_eq!((answer.status, &answer.json()["error"]["code"]), (status, &json!(code)), "{path} {}", answer.text);
        assert!(!answer.text.contains(TOKEN_ELSEWHERE));
    }
    let unknown = post(&relay, "/vx/123/events", "application/json", body(KEY)).await;
    assert_eq!((unknown.status, unknown.header("content-type")), (404, "application/problem+json"));
    let large = post(&relay, "/v26.0/123/events", "application/json", " ".repeat(5 << 20)).await;
    assert_eq!((large.status, &large.json()["error"]["code"]), (413, &json!(100)));

    assert_eq!(relay.balanced().await["accepted"], 0);
    let source = relay.admin("/v1/sources").await["sources"][0].clone();
    assert_eq!((&source["refused"], &source["refused_reasons"]["invalid_event"]), (&json!(2), &json!(2)), "{source}");
    let log = setup.log();
    assert!(log.contains("unknown_token") && log.contains("no_token"), "every refusal has its line");
    assert!(!log.contains(TOKEN_ELSEWHERE) && !log.contains("EURO"), "the log repeats what was posted");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeat_counts_once_and_an_id_that_two_events_share_is_kept_for_both() {
    let platforms = Platforms::start().await;
    let setup = Setup::new(&destination(&platforms));
    let relay = setup.start();
    let mut viewed = event("ViewContent", "page-7");
    viewed["custom_data"] = json!({"content_ids": ["sku-1"]});
    for _ in 0..2 {
        let answer = graph(&relay, json!([event("Purchase", "page-7"), viewed])).await;
        assert_eq!((answer.status, &answer.json()["events_received"]), (200, &json!(2)), "{}", answer.text);
    }
    // The same order by another way, under another id.
    let (status, answer) = relay
        .post(
            "/v1/events",
            &json!({"event": "purchase", "transaction_id": "page-7", "value": "49.99", "currency": "USD",
                "user": {"email": "ada@example.com"}}),
        )
        .await;
    assert_eq!((status, &answer["results"][0]["status"]), (202, &json!("duplicate")), "{answer}");
    let balance = relay.settled().await;
    assert_eq!((&balance["accepted"], &balance["destinations"]["meta"]["delivered"]), (&json!(2), &json!(2)));
    let received = platforms.sandbox.received_meta();
    let mut sent: Vec<_> = received
        .iter()
        .map(|it| (it["event"]["event_name"].as_str().unwrap_or_default(), &it["event"]["event_id"]))
        .collect();
    sent.sort_unstable_by_key(|(name, _)| *name);
    assert_eq!(sent, [("Purchase", &json!("page-7")), ("ViewContent", &json!("page-7"))]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_test_is_checked_and_goes_nowhere() {
    let platforms = Platforms::start().await;
    let setup = Setup::new(&destination(&platforms));
    let relay = setup.start();
    let test = |data: Value| json!({"data": data, "access_token": KEY, "test_event_code": "TEST123"}).to_string();
    let (path, kind) = ("/v26.0/123/events", "application/json");
    let answer = post(&relay, path, kind, test(json!([event("Purchase", "t")]))).await;
    assert_eq!((answer.status, &answer.json()["events_received"]), (200, &json!(1)));
    assert!(answer.json()["messages"][0].as_str().expect("a text").contains("test_event_code"), "{}", answer.text);
    assert_eq!(post(&relay, path, kind, test(json!([{"event_name": "x"}]))).await.status, 400);
    assert_eq!(relay.balanced().await["accepted"], 0);
    let source = relay.admin("/v1/sources").await["sources"][0].clone();
    assert_eq!(source["ignored"], 1, "{source}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stage_of_a_crm_arrives_as_a_conversion_lead() {
    let platforms = Platforms::start().await;
    platforms.sandbox.set_fault(Platform::Meta, Fault::new(FaultMode::Outage).for_requests(1));
    let setup = Setup::new(&destination(&platforms));
    let relay = setup.start();
    let stage = json!({
        "event_name": "Qualified", "event_time": now() - 3600, "action_source": "system_generated",
        "user_data": {"lead_id": 1_234_567_890_123_456_u64, "em": [sha("ada@example.com")]},
        "custom_data": {"event_source": "crm", "lead_event_source": "HubSpot"},
    });
    assert_eq!(graph(&relay, json!([stage])).await.status, 200);
    let native = json!({"event": "qualified", "event_id": "native", "action_source": "system_generated",
        "user": {"email": "ada@example.com", "lead_id": "l:1234567890123457"}});
    assert_eq!(relay.post("/v1/events", &native).await.0, 202);
    let balance = relay.settled().await;
    assert_eq!(balance["destinations"]["meta"]["delivered"], 2, "{balance}");
    let received = platforms.sandbox.received_meta();
    let sent = |lead: u64| {
        let found = received.iter().find(|it| it["event"]["user_data"]["lead_id"] == lead).expect("arrived");
        assert_eq!(
            (&found["event"]["event_name"], &found["event"]["action_source"]),
            (&json!("Qualified"), &json!("system_generated"))
        );
        found["event"]["custom_data"].clone()
    };
    let named = |name: &str| json!({"event_source": "crm", "lead_event_source": name});
    assert_eq!(sent(1_234_567_890_123_456), named("HubSpot"));
    assert_eq!(sent(1_234_567_890_123_457), named("test-shop"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_hashed_for_meta_harms_no_other_platform() {
    let platforms = Platforms::start().await;
    let setup = Setup::new(&platforms.everywhere());
    let relay = setup.start();
    let mut clear = event("Purchase", "clear");
    clear["user_data"] = json!({"em": "Ada@Example.com", "ph": "+1 650 555 1212", "fn": "Ada", "ln": "Lovelace",
        "zp": "10001", "country": "us", "client_user_agent": "Mozilla/5.0", "client_ip_address": "203.0.113.7"});
    let answer = graph(&relay, json!([event("Purchase", "hashed"), clear])).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let balance = relay.settled().await;
    for name in ["meta", "google", "google-ads"] {
        assert_eq!(balance["destinations"][name]["delivered"], 2, "{name}: {balance}");
    }
    let google = platforms.sandbox.received_data_manager();
    let of = |id: &str| {
        let found = google.iter().find(|it| it.to_string().contains(&format!("\"transactionId\":\"{id}\"")));
        found.unwrap_or_else(|| panic!("{id} is missing: {google:?}")).to_string()
    };
    let (hashed, clear) = (of("hashed"), of("clear"));
    let (email, phone) = (sha("ada@example.com"), sha("+16505551212"));
    assert!(hashed.contains(&email) && clear.contains(&email) && clear.contains(&phone));
    for for_meta in ["16505551212", "ada", "lovelace", "london"] {
        assert!(!hashed.contains(&sha(for_meta)), "{for_meta} is spelled otherwise by Google: {hashed}");
    }
    let stats = platforms.sandbox.stats();
    assert!(stats.meta.refused.is_empty() && stats.data_manager.refused.is_empty(), "{stats:?}");
    let received = platforms.sandbox.received_meta();
    let user = |id: &str| {
        let found = received.iter().find(|it| it["event"]["event_id"] == id).expect("arrived");
        found["event"]["user_data"].clone()
    };
    assert_eq!(user("clear")["ph"], json!([sha("16505551212")]), "hashed here, where Meta would have refused it");
    assert_eq!((&user("hashed")["fn"], &user("clear")["zp"]), (&json!(sha("ada")), &json!(sha("10001"))));
}
