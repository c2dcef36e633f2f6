//! What happens when platforms refuse, fail or are slow.

use std::time::Duration;

use conversion_relay::sandbox::{Fault, FaultMode, Platform};
use serde_json::{Value, json};

use crate::support::{PATIENCE, Platforms, Relay, Setup};

fn purchase(id: &str) -> Value {
    json!({
        "event": "purchase", "event_id": id, "transaction_id": id, "value": "49.99", "currency": "USD",
        "user": { "email": "ada@example.com" },
        "context": { "url": "https://shop.example/", "user_agent": "test" },
    })
}

/// Waits until the admin listener says what it should.
async fn until(relay: &Relay, path: &str, good: impl Fn(&Value) -> bool) -> Value {
    let began = std::time::Instant::now();
    loop {
        let answer = relay.admin(path).await;
        if good(&answer) {
            return answer;
        }
        assert!(began.elapsed() < PATIENCE, "{path} never got there: {answer}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn destination<'a>(list: &'a Value, name: &str) -> &'a Value {
    list["destinations"].as_array().and_then(|all| all.iter().find(|d| d["name"] == name)).expect("is configured")
}

/// Everything that is measured is in README.md's table, and no page names what is not.
fn documented(metrics: &str) {
    let read = |page: &str| std::fs::read_to_string(format!("{}/{page}", env!("CARGO_MANIFEST_DIR"))).expect("reads");
    let readme = read("README.md");
    let rows = readme.lines().filter(|line| line.starts_with("| `relay_")).collect::<String>();
    for line in metrics.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let (name, kind) = line.split_once(' ').expect("has a type");
        let name = if kind == "counter" { format!("{name}_total") } else { name.to_owned() };
        assert!(rows.contains(&format!("`{name}`")), "README.md does not have {name}");
    }
    let word = |c: char| !(c.is_ascii_alphanumeric() || c == '_');
    for name in read("docs/operating.md").split(word).filter(|word| word.starts_with("relay_")) {
        assert!(rows.contains(&format!("`{name}`")), "docs/operating.md names {name}, README.md does not");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_token_pauses_its_destination_alone_and_costs_no_event() {
    let platforms = Platforms::start().await;
    platforms.sandbox.set_fault(Platform::Meta, Fault::new(FaultMode::ExpiredToken));
    let setup = Setup::new(&platforms.destinations());
    let relay = setup.start();
    for i in 0..5 {
        assert_eq!(relay.post("/v1/events", &purchase(&format!("o-{i}"))).await.0, 202);
    }
    let list = until(&relay, "/v1/destinations", |list| destination(list, "meta")["state"] == "paused").await;
    assert!(destination(&list, "meta")["reason"].as_str().expect("a reason").starts_with("190"), "{list}");
    let balance = until(&relay, "/v1/balance", |b| b["destinations"]["google"]["delivered"] == 5).await;
    assert_eq!(balance["destinations"]["meta"]["queued"], 5, "{balance}");
    let timeline = relay.admin("/v1/events/o-0").await;
    let at_meta = timeline["deliveries"].as_array().expect("a list").iter().find(|d| d["destination"] == "meta");
    assert_eq!(at_meta.expect("meta")["attempts"], json!([]), "no attempt is spent: {timeline}");
    let metrics = relay.admin("/metrics").await;
    let metrics = metrics.as_str().expect("text");
    for line in [
        "relay_destination_paused{destination=\"meta\"} 1",
        "relay_destination_stopped{destination=\"meta\"} 0",
        "relay_dead_letters_open{destination=\"meta\",class=\"settings\"} 0",
        "relay_outcomes_total{destination=\"meta\",outcome=\"expired\",reason=\"\"} 0",
        "relay_audit_drift{destination=\"meta\"} 0",
        "relay_deadline_soon{destination=\"meta\"} 0",
        "relay_concurrency_limit{destination=\"google\"} ",
        "relay_requests_in_flight{destination=\"google\"} ",
    ] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
    documented(metrics);

    platforms.sandbox.set_fault(Platform::Meta, Fault::new(FaultMode::None));
    let balance = relay.settled().await;
    assert_eq!(balance["destinations"]["meta"]["delivered"], 5, "resumes by itself: {balance}");
    until(&relay, "/v1/destinations", |list| destination(list, "meta")["state"] == "active").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_of_one_platform_is_waited_out_while_the_other_goes_on() {
    for mode in [FaultMode::Outage, FaultMode::Throttle, FaultMode::Reset] {
        let platforms = Platforms::start().await;
        platforms.sandbox.set_fault(Platform::DataManager, Fault::new(mode));
        let setup = Setup::new(&platforms.destinations());
        let relay = setup.start();
        let batch: Vec<Value> = (0..50).map(|i| purchase(&format!("o-{i}"))).collect();
        assert_eq!(relay.post("/v1/events", &json!({ "events": batch })).await.0, 202);
        let balance = until(&relay, "/v1/balance", |b| b["destinations"]["meta"]["delivered"] == 50).await;
        assert_eq!(balance["destinations"]["google"]["queued"], 50, "{mode:?}: {balance}");
        until(&relay, "/v1/events/o-7", |timeline| {
            let google =
                timeline["deliveries"].as_array().and_then(|d| d.iter().find(|d| d["destination"] == "google"));
            google.is_some_and(|delivery| delivery["attempts"].as_array().is_some_and(|a| a.len() > 1))
        })
        .await;
        platforms.sandbox.set_fault(Platform::DataManager, Fault::new(FaultMode::None));
        let balance = relay.settled().await;
        assert_eq!(balance["destinations"]["google"]["delivered"], 50, "{mode:?}: {balance}");
        assert_eq!(platforms.sandbox.stats().data_manager.distinct_ids, 50, "{mode:?}");
    }
}

/// A Meta that refuses a whole batch because of one event, and does not say which.
struct Poisoned;

impl wiremock::Respond for Poisoned {
    fn respond(&self, request: &wiremock::Request) -> wiremock::ResponseTemplate {
        let body: Value = serde_json::from_slice(&request.body).expect("JSON");
        let events = body["data"].as_array().expect("events");
        if events.iter().any(|event| event["event_id"] == "o-77") {
            let error =
                json!({ "message": "Invalid parameter", "code": 100, "error_subcode": 2_804_019, "fbtrace_id": "t" });
            return wiremock::ResponseTemplate::new(400).set_body_json(json!({ "error": error }));
        }
        let answer = json!({ "events_received": events.len(), "messages": [], "fbtrace_id": "t" });
        wiremock::ResponseTemplate::new(200).set_body_json(answer)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_event_that_a_platform_refuses_costs_no_other() {
    let meta = wiremock::MockServer::start().await;
    wiremock::Mock::given(wiremock::matchers::any()).respond_with(Poisoned).mount(&meta).await;
    let destination = format!(
        "[[destinations]]\nname = \"meta\"\nkind = \"meta\"\npixel_id = \"1\"\naccess_token = \"t\"\n\
         base_url = \"{}\"\n[destinations.events]\npurchase = \"Purchase\"\n",
        meta.uri()
    );
    let setup = Setup::new(&destination);
    let relay = setup.start();
    let batch: Vec<Value> = (0..1000).map(|i| purchase(&format!("o-{i}"))).collect();
    assert_eq!(relay.post("/v1/events", &json!({ "events": batch })).await.0, 202);
    let balance = relay.settled().await;
    assert_eq!(
        balance["destinations"]["meta"],
        json!({ "delivered": 999, "skipped": 0, "dead": 1, "expired": 0, "queued": 0 })
    );
    let timeline = relay.admin("/v1/events/o-77").await;
    assert_eq!(timeline["deliveries"][0]["reason"], "100/2804019", "{timeline}");
    let requests = meta.received_requests().await.expect("recorded").len();
    assert!(requests <= 21, "{requests} requests for one bad event among 1000");
}

#[tokio::test(flavor = "multi_thread")]
async fn half_a_batch_taken_is_sent_again_under_the_same_ids() {
    let platforms = Platforms::start().await;
    platforms.sandbox.set_fault(Platform::Meta, Fault::new(FaultMode::Partial).for_requests(1));
    let setup = Setup::new(&platforms.destinations());
    let relay = setup.start();
    let batch: Vec<Value> = (0..20).map(|i| purchase(&format!("o-{i}"))).collect();
    assert_eq!(relay.post("/v1/events", &json!({ "events": batch })).await.0, 202);
    let balance = relay.settled().await;
    assert_eq!(balance["destinations"]["meta"]["delivered"], 20, "{balance}");
    assert_eq!(platforms.sandbox.stats().meta.distinct_ids, 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_past_a_platforms_age_limit_expires_there_and_only_there() {
    let platforms = Platforms::start().await;
    let setup = Setup::new(&platforms.destinations());
    let relay = setup.start();
    let mut old = purchase("o-1");
    let now = conversion_relay::model::Clock::now(&conversion_relay::model::SystemClock);
    old["time"] = json!(now.minus(Duration::from_secs(8 * 86_400)).to_string());
    assert_eq!(relay.post("/v1/events", &old).await.0, 202);
    let balance = relay.settled().await;
    assert_eq!(balance["destinations"]["meta"]["expired"], 1, "{balance}");
    assert_eq!(balance["destinations"]["google"]["delivered"], 1, "{balance}");
    assert_eq!(platforms.sandbox.stats().meta.requests, 0, "nobody was asked in vain");
}
