//! SIGKILL at random moments: what was acknowledged arrives, and nothing arrives under two ids.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use serde_json::{Value, json};

use crate::support::{Load, Platforms, Relay, Setup};

const EVENTS: usize = 200;
const CLIENTS: usize = 32;
const KILLS: usize = 20;

fn purchase(i: usize) -> Value {
    json!({
        "event": "purchase", "event_id": format!("order-{i}"), "transaction_id": i.to_string(),
        "value": "10.00", "currency": "EUR",
        "user": { "email": format!("customer{i}@example.com") },
        "context": { "gclid": format!("Click-{i}"), "url": "https://shop.example/", "user_agent": "test" },
    })
}

/// How often each id arrived at each platform.
fn arrived(platforms: &Platforms) -> [BTreeMap<String, usize>; 2] {
    let count = |received: Vec<Value>, field: &str| {
        let mut counts = BTreeMap::new();
        for received in received {
            let id = received["event"][field].as_str().expect("an id").to_owned();
            *counts.entry(id).or_insert(0) += 1;
        }
        counts
    };
    [
        count(platforms.sandbox.received_meta(), "event_id"),
        count(platforms.sandbox.received_data_manager(), "transactionId"),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn every_acknowledged_event_survives_twenty_kills_under_one_id() {
    let platforms = Platforms::start().await;
    let file = "[[destinations]]\nname = \"import-file\"\nkind = \"file\"\nformat = \"google_ads_clicks\"\n\
                [destinations.events]\npurchase = \"Offline purchase\"\n";
    let setup = Setup::new(&(platforms.destinations() + file));
    let mut relay = setup.start();
    let load = Load::start(&relay, CLIENTS, EVENTS, purchase);
    for kill in 0..KILLS {
        // Spread over the run: a kill comes when its share of events is acknowledged, at a moment nobody chose.
        load.acknowledged(EVENTS * kill / KILLS).await;
        tokio::time::sleep(Duration::from_micros(u64::from(rand::random::<u16>()) / 2)).await;
        relay.kill();
        relay = setup.start();
        load.goes_on_at(&relay);
    }
    load.finish().await;
    let balance = relay.settled().await;
    assert_eq!(balance["accepted"], EVENTS, "{balance}");
    for (name, counts) in balance["destinations"].as_object().expect("destinations") {
        assert_eq!(counts["delivered"], EVENTS, "{name}: {balance}");
    }
    let [meta, google] = arrived(&platforms);
    let expected = |prefix: &str| (0..EVENTS).map(|i| format!("{prefix}{i}")).collect::<BTreeSet<_>>();
    assert_eq!(meta.keys().cloned().collect::<BTreeSet<_>>(), expected("order-"), "each at Meta, under its one id");
    assert_eq!(google.keys().cloned().collect::<BTreeSet<_>>(), expected(""), "each at Google, under its one id");
    assert!(relay.terminate());

    let mut rows = BTreeMap::new();
    for entry in std::fs::read_dir(setup.data().join("files")).expect("reads") {
        let path = entry.expect("reads").path();
        // A kill before the very first mark leaves a file that is moved aside, and its rows are written again.
        if path.extension().is_none_or(|extension| extension != "csv") {
            continue;
        }
        let text = std::fs::read_to_string(path).expect("reads");
        for line in text.lines().skip(1) {
            *rows.entry(line.split(',').next().expect("a column").to_owned()).or_insert(0) += 1;
        }
    }
    assert_eq!(rows.len(), EVENTS, "each in the import file");
    assert!(rows.values().all(|&count| count == 1), "and no row twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_keeps_visits_ids_and_what_waits() {
    let platforms = Platforms::start().await;
    let setup = Setup::new(&platforms.destinations());
    let relay = setup.start();
    let visit = json!({ "visitor_id": "v-1", "url": "https://shop.example/?gclid=Kept-Click" });
    assert_eq!(relay.post("/v1/visits", &visit).await.0, 200);
    relay.kill();
    let relay = setup.start();
    let sale = json!({ "event": "purchase", "event_id": "o-1", "visitor_id": "v-1", "value": 5, "currency": "EUR" });
    assert_eq!(relay.post("/v1/events", &sale).await.0, 202);
    relay.kill();
    let relay = setup.start();
    let (_, answer) = relay.post("/v1/events", &sale).await;
    assert_eq!(answer["results"][0]["status"], "duplicate");
    relay.settled().await;
    let timeline = relay.admin("/v1/events/o-1").await;
    assert_eq!(timeline["attribution"]["clicks"][0]["value"], "Kept-Click");
    let states: BTreeSet<_> = timeline["deliveries"].as_array().expect("a list").iter().map(state).collect();
    assert_eq!(states, BTreeSet::from(["delivered".to_owned()]), "{timeline}");
}

fn state(delivery: &Value) -> String {
    delivery["state"].as_str().expect("a state").to_owned()
}

/// Nothing the relay keeps is in the way of stopping it the ordinary way while work is under way.
#[tokio::test(flavor = "multi_thread")]
async fn a_stop_under_load_loses_nothing() {
    let platforms = Platforms::start().await;
    let setup = Setup::new(&platforms.destinations());
    let relay = setup.start();
    let batch: Vec<Value> = (0..500).map(purchase).collect();
    assert_eq!(relay.post("/v1/events", &json!({ "events": batch })).await.0, 202);
    assert!(relay.terminate(), "ends well inside its grace period");
    let relay: Relay = setup.start();
    let balance = relay.settled().await;
    assert_eq!(balance["destinations"]["meta"]["delivered"], 500, "{balance}");
    let [meta, google] = arrived(&platforms);
    assert_eq!((meta.len(), google.len()), (500, 500));
}
