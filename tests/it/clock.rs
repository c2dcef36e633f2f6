//! Hours and days of trouble on the test's clock: relay and platforms run in this process and share a clock that only the
//! test moves. A worker looks at the clock when something comes in, and once a second.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use conversion_relay::{
    model::{Clock as _, MockClock, Time},
    sandbox::{Fault, FaultMode, Platform, PlatformStats},
};
use serde_json::{Value, json};

use crate::support::{PATIENCE, Platforms, Relay, Setup};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);

/// The destinations that ask a platform, and which.
const ASKING: [(&str, Platform); 4] = [
    ("meta", Platform::Meta),
    ("google", Platform::DataManager),
    ("google-ads", Platform::GoogleAds),
    ("analytics", Platform::Ga4),
];

/// Platforms, a relay's directory, and the clock of both.
struct World {
    clock: Arc<MockClock>,
    platforms: Platforms,
    setup: Setup,
}

impl World {
    /// The destinations of [`Platforms::everywhere`] that are named, with more settings in the place of some.
    async fn with(names: &[&str], settings: &[(&str, &str)]) -> Self {
        let clock = Arc::new(MockClock::at(Time::parse("2026-11-20T08:15:00Z").expect("valid")));
        let platforms = Platforms::start_at(Arc::clone(&clock) as _).await;
        let all = platforms.everywhere();
        let wanted = all.split("[[destinations]]").filter(|one| {
            let name = one.lines().find_map(|line| line.strip_prefix("name = \"")?.strip_suffix('"'));
            name.is_some_and(|name| names.contains(&name))
        });
        let mut text: String = wanted.map(|one| format!("[[destinations]]{one}")).collect();
        for (from, to) in settings {
            assert!(text.contains(from), "{from}");
            text = text.replace(from, to);
        }
        Self { clock, platforms, setup: Setup::new(&text) }
    }

    async fn start(&self) -> Relay {
        self.setup.start_here(&self.clock).await
    }

    fn fail(&self, platform: Platform, fault: Fault) {
        self.platforms.sandbox.set_fault(platform, fault);
    }

    fn heal(&self) {
        for platform in Platform::ALL {
            self.fail(platform, Fault::new(FaultMode::None));
        }
    }

    fn stats(&self, platform: Platform) -> PlatformStats {
        let stats = self.platforms.sandbox.stats();
        match platform {
            Platform::Meta => stats.meta,
            Platform::DataManager => stats.data_manager,
            Platform::GoogleAds => stats.google_ads,
            Platform::Ga4 => stats.ga4,
            Platform::Oauth => stats.oauth,
        }
    }

    /// The events that a platform took, oldest first: name and transaction.
    fn arrived(&self, destination: &str) -> Vec<(String, String)> {
        let sandbox = &self.platforms.sandbox;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let received = match destination {
            "meta" => sandbox.received_meta(),
            "google" => sandbox.received_data_manager(),
            "google-ads" => sandbox.received_google_ads(),
            "analytics" => sandbox.received_ga4(),
            _ => self.setup.rows().iter().map(|row| json!({"event": row.parse::<Value>().expect("JSON")})).collect(),
        };
        let named = |entry: &Value| {
            let event = &entry["event"];
            match destination {
                "meta" => (text(&event["event_name"]), text(&event["custom_data"]["order_id"])),
                "google" => ("Purchase".into(), text(&event["transactionId"])),
                "google-ads" => (text(&entry["kind"]), text(&event["orderId"])),
                "analytics" => {
                    let event = &event["events"][0];
                    (text(&event["name"]), text(&event["params"]["transaction_id"]))
                }
                _ => (text(&event["event"]), text(&event["transaction_id"])),
            }
        };
        received.iter().map(named).collect()
    }

    /// Moves the clock on, a step at a time, until nothing is queued.
    async fn drained(&self, relay: &Relay, step: Duration) -> Value {
        for _ in 0..60 {
            let began = Instant::now();
            // Longer than a worker sleeps.
            while began.elapsed() < SECOND + SECOND / 4 {
                let balance = relay.balanced().await;
                if balance["destinations"].as_object().expect("some").values().all(|counts| counts["queued"] == 0) {
                    return balance;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            self.clock.advance(step);
        }
        panic!("still queued: {}", relay.balanced().await);
    }
}

fn event(name: &str, id: &str, transaction: &str) -> Value {
    json!({
        "event": name, "event_id": id, "transaction_id": transaction, "value": "10.00", "currency": "EUR",
        "user": { "email": format!("{transaction}@shop.example") },
        "context": {
            "ga_client_id": format!("1.{}", transaction.len()), "url": "https://shop.example/", "user_agent": "test",
        },
    })
}

fn purchase(id: &str) -> Value {
    event("purchase", id, id)
}

async fn accept(relay: &Relay, events: &[Value]) {
    let (status, answer) = relay.post("/v1/events", &json!({ "events": events })).await;
    assert_eq!(status, 202, "{answer}");
}

fn counts(delivered: u64, dead: u64, queued: u64) -> Value {
    json!({ "delivered": delivered, "skipped": 0, "dead": dead, "expired": 0, "queued": queued })
}

/// Waits until so many were delivered at a destination.
async fn delivered(relay: &Relay, destination: &str, count: usize) {
    relay.until("/v1/balance", |balance| balance["destinations"][destination]["delivered"] == count).await;
}

async fn delivery(relay: &Relay, id: &str, destination: &str) -> Value {
    let timeline = relay.admin(&format!("/v1/events/{id}")).await;
    let deliveries = timeline["deliveries"].as_array().unwrap_or_else(|| panic!("no timeline: {timeline}"));
    deliveries.iter().find(|delivery| delivery["destination"] == destination).expect("configured").clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_minutes_without_one_platform_are_not_felt_at_the_other() {
    const STEPS: usize = 20;
    const EACH: usize = 5;
    let world = World::with(&["meta", "google"], &[]).await;
    let began = world.clock.now();
    world.fail(Platform::Meta, Fault::new(FaultMode::Outage).between(began, began.plus(10 * MINUTE)));
    let relay = world.start().await;
    for step in 0..STEPS {
        let batch: Vec<Value> = (0..EACH).map(|i| purchase(&format!("o-{step}-{i}"))).collect();
        accept(&relay, &batch).await;
        // The clock stands still, so this is at once.
        delivered(&relay, "google", (step + 1) * EACH).await;
        let google = delivery(&relay, &format!("o-{step}-0"), "google").await;
        let attempts = google["attempts"].as_array().expect("a list");
        assert_eq!((attempts.len(), &attempts[0]["at"]), (1, &json!(world.clock.now().to_string())), "{google}");
        world.clock.advance(10 * MINUTE / u32::try_from(STEPS).expect("small"));
    }
    let meta = world.stats(Platform::Meta);
    assert_eq!(meta.accepted, 0);
    assert!(meta.requests <= STEPS as u64, "{} requests in vain", meta.requests);
    let balance = world.drained(&relay, MINUTE).await;
    let all = (STEPS * EACH) as u64;
    assert_eq!(balance["destinations"]["meta"], counts(all, 0, 0));
    assert_eq!(balance["destinations"]["google"], counts(all, 0, 0));
    for (_, platform) in &ASKING[..2] {
        let stats = world.stats(*platform);
        assert_eq!((stats.distinct_ids, stats.duplicates), (all, 0), "{platform:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hours_of_401_burn_no_event_and_no_attempt() {
    const PROBES: u64 = 24;
    let mut world = World::with(&["meta", "google", "google-ads"], &[]).await;
    world.setup = world.setup.env("RELAY__DELIVERY__PROBE_EVERY", "10m");
    for platform in [Platform::Meta, Platform::DataManager, Platform::GoogleAds] {
        world.fail(platform, Fault::new(FaultMode::ExpiredToken));
    }
    let relay = world.start().await;
    let refusing = &ASKING[..3];
    let (mut posted, mut steps) = (0, PROBES);
    for probe in 1..=PROBES {
        // Something new comes in at every step, so that the workers look at the clock.
        accept(&relay, &[purchase(&format!("o-{probe}"))]).await;
        posted += 1;
        let (mut began, patient) = (Instant::now(), Instant::now());
        let seen = || refusing.iter().all(|(_, platform)| world.stats(*platform).requests >= probe);
        while !seen() {
            assert!(patient.elapsed() < PATIENCE, "probe {probe} is never sent");
            // An answer that was read after the clock had moved on puts the next probe off by a step.
            if began.elapsed() > 2 * SECOND {
                world.clock.advance(10 * MINUTE);
                (began, steps) = (Instant::now(), steps + 1);
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let list = relay
            .until("/v1/destinations", |list| {
                list["destinations"].as_array().is_some_and(|all| all.iter().all(|one| one["state"] == "paused"))
            })
            .await;
        assert!(list["destinations"][0]["reason"].as_str().is_some_and(|reason| reason.contains("190")), "{list}");
        world.clock.advance(10 * MINUTE);
    }
    for (name, platform) in refusing {
        // Google's are asked once more with a new token.
        let most = steps * if *name == "meta" { 1 } else { 2 };
        let requests = world.stats(*platform).requests;
        assert!(requests <= most, "{name}: {requests} requests in {steps} times 10 minutes");
        assert_eq!(relay.balanced().await["destinations"][name], counts(0, 0, posted));
        assert_eq!(delivery(&relay, "o-1", name).await["attempts"], json!([]), "{name}");
    }

    world.heal();
    let balance = world.drained(&relay, 10 * MINUTE).await;
    for (name, platform) in refusing {
        assert_eq!(balance["destinations"][name], counts(posted, 0, 0));
        assert_eq!(world.stats(*platform).distinct_ids, posted, "{name}");
        for id in ["o-1".to_owned(), format!("o-{PROBES}")] {
            let attempts = delivery(&relay, &id, name).await["attempts"].clone();
            assert_eq!(attempts.as_array().map(Vec::len), Some(1), "{name}, {id}: {attempts}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_poison_events_in_a_thousand_cost_few_requests_and_no_good_event() {
    let bad = ["o-77", "o-801"];
    let batch: Vec<Value> = (0..1000).map(|i| purchase(&format!("o-{i}"))).collect();
    // Halving finds one of 1,000 in twice log2(1000) requests, and an index in one.
    for ((name, platform), extra) in ASKING.into_iter().zip([39, 1, 1]) {
        let one_request = match name {
            "google" => "timeout = \"30s\"\nbatch = 1000",
            _ => "timeout = \"30s\"",
        };
        let world = World::with(&[name], &[("timeout = \"1s\"", one_request)]).await;
        world.fail(platform, Fault::new(FaultMode::Poison).ids(bad));
        let relay = world.start().await;
        accept(&relay, &batch).await;
        let balance = world.drained(&relay, SECOND).await;
        assert_eq!(balance["destinations"][name], counts(998, 2, 0));
        let stats = world.stats(platform);
        assert_eq!((stats.distinct_ids, stats.duplicates), (998, 0), "{name}");
        assert!(stats.requests <= 1 + extra, "{name}: {} requests", stats.requests);
        let list = relay.admin("/v1/dead-letters").await;
        let letters = list["dead_letters"].as_array().expect("a list");
        let dead: Vec<_> = letters.iter().map(|letter| letter["event_id"].as_str().expect("an id")).collect();
        assert_eq!(dead, bad, "{name}");
        assert!(letters.iter().all(|letter| letter["class"] == "event" && letter["code"] != ""), "{name}: {list}");
    }
}

/// Waits until a delivery has been tried and refused so often.
async fn tried(relay: &Relay, id: &str, destination: &str, times: usize) {
    let began = Instant::now();
    while delivery(relay, id, destination).await["attempts"].as_array().map_or(0, Vec::len) < times {
        assert!(began.elapsed() < PATIENCE, "{id} is not tried at {destination}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// [`tried`], where other failures may make the destination rest: a rest that begins after the clock was moved ends only when it
/// is moved again.
async fn tried_after_rests(world: &World, relay: &Relay, id: &str, destination: &str, times: usize) {
    for _ in 0..PATIENCE.as_secs() {
        let began = Instant::now();
        while began.elapsed() < SECOND {
            if delivery(relay, id, destination).await["attempts"].as_array().map_or(0, Vec::len) >= times {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        world.clock.advance(SECOND);
    }
    panic!("{id} is not tried at {destination}");
}

/// A clock that goes a day ahead while Meta is down and Data Manager goes down, and back. Since when it is back.
async fn jumped(world: &World, relay: &Relay) -> Time {
    let right = world.clock.now();
    accept(relay, &[purchase("before")]).await;
    world.drained(relay, SECOND).await;
    world.fail(Platform::Meta, Fault::new(FaultMode::Outage));
    accept(relay, &[purchase("waiting")]).await;
    delivered(relay, "google", 2).await;
    tried(relay, "waiting", "meta", 1).await;

    // Ahead: what is new goes out at once, with a new token, and what waits is inside every platform's age limit.
    world.clock.advance(DAY);
    accept(relay, &[purchase("tomorrow")]).await;
    for name in ["google", "analytics"] {
        delivered(relay, name, 3).await;
    }
    tried_after_rests(world, relay, "waiting", "meta", 2).await;
    world.fail(Platform::DataManager, Fault::new(FaultMode::Outage));
    world.clock.advance(SECOND);
    accept(relay, &[purchase("failed-tomorrow")]).await;
    for (id, name) in [("tomorrow", "meta"), ("failed-tomorrow", "meta"), ("failed-tomorrow", "google")] {
        tried_after_rests(world, relay, id, name, 1).await;
    }

    world.clock.set(right.plus(MINUTE));
    world.heal();
    world.clock.now()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_jumps_a_day_ahead_and_back_loses_nothing() {
    let names = ["meta", "google", "analytics"];
    let world = World::with(&names, &[]).await;
    let relay = world.start().await;
    let back = jumped(&world, &relay).await;
    // What is new does not wait, and no deadline was missed.
    accept(&relay, &[purchase("back")]).await;
    for name in names {
        tried(&relay, "back", name, 1).await;
        assert_eq!(delivery(&relay, "back", name).await["state"], "delivered", "{name}");
        assert_eq!(relay.balanced().await["destinations"][name]["expired"], 0, "{name}");
    }
    assert_eq!(world.clock.now(), back, "all of it at once");
    let balance = world.drained(&relay, 6 * HOUR).await;
    for name in names {
        assert_eq!(balance["destinations"][name], counts(5, 0, 0), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_put_off_by_a_wrong_clock_goes_out_when_it_is_right_again() {
    let world = World::with(&["meta", "google", "analytics"], &[]).await;
    let relay = world.start().await;
    let back = jumped(&world, &relay).await;
    world.drained(&relay, MINUTE).await;
    assert!(world.clock.now().since(back) < HOUR);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_expired_by_a_wrong_clock_can_be_sent_after_all() {
    let world = World::with(&["meta"], &[]).await;
    let relay = world.start().await;
    let right = world.clock.now();
    world.fail(Platform::Meta, Fault::new(FaultMode::Outage));
    accept(&relay, &[purchase("o-1")]).await;
    tried(&relay, "o-1", "meta", 1).await;
    world.clock.advance(8 * DAY);
    relay.until("/v1/balance", |balance| balance["destinations"]["meta"]["expired"] == 1).await;
    world.clock.set(right.plus(MINUTE));
    world.heal();
    let (from, to) = (right.minus(DAY).to_string(), right.plus(9 * DAY).to_string());
    let wanted = json!({"destination": "meta", "from": from, "to": to, "outcomes": ["expired"]});
    let answer = relay.steer("/v1/replay", &wanted).await;
    assert_eq!(answer["replayed"], 1, "{answer}");
    assert_eq!(world.drained(&relay, SECOND).await["destinations"]["meta"], counts(1, 0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_jump_while_a_request_is_under_way_does_not_send_it_twice() {
    let world = World::with(&["analytics"], &[("timeout = \"1s\"", "timeout = \"20s\"")]).await;
    world.fail(Platform::Ga4, Fault::new(FaultMode::Slow).delay(3 * SECOND));
    let relay = world.start().await;
    accept(&relay, &[event("generate_lead", "l-1", "l-1")]).await;
    let began = Instant::now();
    while world.stats(Platform::Ga4).requests == 0 {
        assert!(began.elapsed() < PATIENCE, "never sent");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    world.clock.advance(DAY);
    let balance = world.drained(&relay, SECOND).await;
    assert_eq!(balance["destinations"]["analytics"], counts(1, 0, 0));
    assert_eq!(world.stats(Platform::Ga4).requests, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_never_comes_is_resent_only_where_the_platform_knows_it_again() {
    let world = World::with(&["meta", "analytics"], &[]).await;
    let relay = world.start().await;
    world.fail(Platform::Meta, Fault::new(FaultMode::Hang).for_requests(1));
    world.fail(Platform::Ga4, Fault::new(FaultMode::Hang).for_requests(1));
    accept(&relay, &[event("generate_lead", "l-1", "l-1")]).await;
    let balance = world.drained(&relay, SECOND).await;
    assert_eq!(balance["destinations"]["meta"], counts(1, 0, 0));
    assert_eq!(balance["destinations"]["analytics"], counts(0, 1, 0));
    let meta = world.stats(Platform::Meta);
    assert_eq!((meta.accepted, meta.distinct_ids, meta.changed_duplicates), (2, 1, 0), "again, under the same id");
    let list = relay.admin("/v1/dead-letters?class=unknown").await;
    assert_eq!(list["dead_letters"][0]["event_id"], "l-1", "{list}");

    // A purchase is known again by its transaction, and goes out once more.
    world.fail(Platform::Ga4, Fault::new(FaultMode::Hang).for_requests(1));
    accept(&relay, &[purchase("o-1")]).await;
    world.drained(&relay, SECOND).await;
    // Neither time nor a restart sends the lead again.
    relay.stop().await;
    let relay = world.start().await;
    world.clock.advance(2 * HOUR);
    accept(&relay, &[purchase("o-2")]).await;
    let balance = world.drained(&relay, SECOND).await;
    assert_eq!(balance["destinations"]["analytics"], counts(2, 1, 0));
    let arrived = world.arrived("analytics").into_iter().fold(BTreeMap::new(), |mut counts, (name, id)| {
        *counts.entry((name, id)).or_insert(0) += 1;
        counts
    });
    let of = |name: &str, id: &str| arrived.get(&(name.to_owned(), id.to_owned())).copied().unwrap_or_default();
    assert_eq!((of("purchase", "o-1"), of("purchase", "o-2")), (2, 1), "{arrived:?}");
    assert_eq!(world.stats(Platform::Ga4).requests, 4, "{arrived:?}");
}

/// Every refund that arrived came after its purchase did.
fn in_order(world: &World, destination: &str, orders: &[&str]) {
    let arrived = world.arrived(destination);
    for order in orders {
        let mut places = arrived.iter().enumerate().filter(|(_, (_, transaction))| transaction == order);
        let first = places.next().unwrap_or_else(|| panic!("{destination}: nothing of {order} in {arrived:?}"));
        assert!(
            ["purchase", "Purchase", "click"].contains(&first.1.0.as_str()),
            "{destination}: {order} begins with {first:?} of {arrived:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refund_never_overtakes_its_purchase() {
    let names = ["meta", "google", "google-ads", "analytics", "import-file"];
    let world = World::with(&names, &[]).await;
    for (_, platform) in ASKING {
        world.fail(platform, Fault::new(FaultMode::Outage));
    }
    let relay = world.start().await;
    // Together, the refund before or after its purchase; and one after the other.
    accept(&relay, &[purchase("a"), event("refund", "a-r", "a"), event("refund", "b-r", "b"), purchase("b")]).await;
    accept(&relay, &[purchase("c")]).await;
    accept(&relay, &[event("refund", "c-r", "c")]).await;
    // Hours of outage, with restarts; each platform comes back at a time of its own.
    let mut relay = relay;
    for (_, platform) in ASKING {
        for _ in 0..3 {
            world.clock.advance(20 * MINUTE);
            accept(&relay, &[purchase(&world.clock.now().to_string())]).await;
        }
        relay.stop().await;
        world.fail(platform, Fault::new(FaultMode::None));
        relay = world.start().await;
    }
    // Google wants a conversion to be a day old before it is changed.
    let balance = world.drained(&relay, 6 * HOUR).await;
    for name in names {
        in_order(&world, name, &["a", "b", "c"]);
        assert_eq!(balance["destinations"][name], counts(18, 0, 0), "{name}");
    }
    assert_eq!(world.platforms.sandbox.adjusted_data_manager().len(), 3, "Data Manager's changes come apart");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refund_waits_for_a_purchase_that_is_a_dead_letter_until_that_is_replayed() {
    let names = ["meta", "google", "google-ads"];
    let world = World::with(&names, &[]).await;
    for (_, platform) in &ASKING[..3] {
        world.fail(*platform, Fault::new(FaultMode::Poison).ids(["a"]));
    }
    let relay = world.start().await;
    accept(&relay, &[purchase("a"), event("refund", "a-r", "a")]).await;
    for name in names {
        relay.until("/v1/balance", |balance| balance["destinations"][name]["dead"] == 1).await;
    }
    for _ in 0..8 {
        world.clock.advance(4 * HOUR);
        accept(&relay, &[purchase(&world.clock.now().to_string())]).await;
    }
    for name in names {
        delivered(&relay, name, 8).await;
        assert_eq!(delivery(&relay, "a-r", name).await["attempts"], json!([]), "{name}");
        assert_eq!(delivery(&relay, "a-r", name).await["state"], "queued", "{name}");
    }
    relay.stop().await;
    let relay = world.start().await;
    world.heal();
    let answer = relay.steer("/v1/dead-letters/replay", &json!({"event_ids": ["a"]})).await;
    assert_eq!(answer["replayed"], 3, "{answer}");
    let balance = world.drained(&relay, 6 * HOUR).await;
    for name in names {
        assert_eq!(balance["destinations"][name], counts(10, 0, 0), "{name}");
        in_order(&world, name, &["a"]);
    }
}
