//! Trouble of all kinds at once, against the real process and the real clock: kills under load while every platform fails in
//! some way, a stop under load, a backlog, a hand-over to a file. Hours and days of trouble are in `clock.rs`.
//!
//! What the relay promises, and the tests that fail without it:
//!
//! | promise | tests |
//! |---|---|
//! | an acknowledged event is never lost | `faults::kills_under_load…`, `crash::*`, `faults::a_stop_under_load…`; no 2xx before its sync, and a full disk: `tests/system` |
//! | one outcome for each event and destination, and a balance that sums up | `Relay::balanced` and `Setup::audit` in the tests here, `World::drained` in `clock` |
//! | contact details never rest | `leaks::*`, `faults::forgetting_reaches…`, the `compile_fail` tests of `privacy` |
//! | once in the report, under one id | `faults::kills_under_load…` (ids, `changed_duplicates`), `clock::an_answer_that_never_comes…`, `faults::what_is_handed_over…` |
//! | a bad event harms no other | `clock::two_poison_events…`, `delivery::one_event_that_a_platform_refuses…` |
//! | a bad destination harms no other | `clock::ten_minutes_without_one_platform…`, `clock::hours_of_401…`, `delivery::a_dead_token…` |
//! | an age limit is a deadline | `delivery::an_event_past_a_platforms_age_limit…`, `clock::a_clock_that_jumps…`, `clock::what_expired_by_a_wrong_clock…` |
//! | consent decides | `http::what_was_chosen_at_the_visit…`, the tests of `pipeline` and of each destination |
//! | bad input gets a clear answer | `bad_input::*` |
//! | everything has bounds | `http::a_full_queue…`, `bad_input::bodies_over_the_limit…`, `faults::a_fresh_event…` (a backlog) |
//! | a refund never overtakes its purchase | `clock::a_refund_never_overtakes…`, `clock::a_refund_waits…`, `faults::a_refund_never_overtakes…` |

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use conversion_relay::sandbox::{Fault, FaultMode, Platform, Sandbox, Stats};
use serde_json::{Value, json};
use wiremock::{Mock, MockServer, Request, Respond, ResponseTemplate, matchers::any};

use crate::support::{Load, PATIENCE, Platforms, Relay, Setup};

const EVERYWHERE: [&str; 5] = ["meta", "google", "google-ads", "analytics", "import-file"];

fn event(name: &str, id: &str, transaction: &str) -> Value {
    json!({
        "event": name, "event_id": id, "transaction_id": transaction, "value": "10.00", "currency": "EUR",
        "user": { "email": format!("{transaction}@shop.example") },
        "context": {
            "gclid": format!("Click-{transaction}"), "ga_client_id": "12.34", "url": "https://shop.example/",
            "user_agent": "test", "ip": "203.0.113.7",
        },
    })
}

fn purchase(i: usize) -> Value {
    event("purchase", &format!("order-{i}"), &format!("t{i}"))
}

fn batch(numbers: std::ops::Range<usize>) -> Value {
    json!({ "events": numbers.map(purchase).collect::<Vec<_>>() })
}

/// What `name` is of every received event, as often as it was.
fn ids(received: &[Value], name: &str) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for entry in received {
        let id = entry.pointer(name).and_then(Value::as_str).unwrap_or_else(|| panic!("no {name} in {entry}"));
        *counts.entry(id.to_owned()).or_insert(0) += 1;
    }
    counts
}

fn ordered(numbers: impl Iterator<Item = usize>, prefix: &str) -> BTreeSet<String> {
    numbers.map(|i| format!("{prefix}{i}")).collect()
}

/// How a platform fails in one round. What would lose events at the platform itself is left out: nobody could tell.
fn failing(platform: Platform, round: usize) -> Fault {
    const MODES: [FaultMode; 8] = [
        FaultMode::ErrorRate,
        FaultMode::Reset,
        FaultMode::Hang,
        FaultMode::ExpiredToken,
        FaultMode::Cut,
        FaultMode::Throttle,
        FaultMode::Outage,
        FaultMode::Partial,
    ];
    let mode = match (platform, MODES[(round + 3 * platform as usize) % MODES.len()]) {
        // Meta names its rests in minutes; GA4 has no way to say that it takes nothing; what Data Manager does not process
        // after all it tells much later.
        (Platform::Meta, FaultMode::Throttle)
        | (Platform::Ga4, FaultMode::ExpiredToken | FaultMode::Partial)
        | (Platform::DataManager, FaultMode::Partial) => FaultMode::Reset,
        (Platform::Oauth, FaultMode::Hang | FaultMode::Partial) => FaultMode::Outage,
        (_, mode) => mode,
    };
    match mode {
        FaultMode::ErrorRate => Fault::error_rate(0.5),
        FaultMode::Throttle => Fault::new(mode).for_requests(1).retry_after(Duration::from_secs(1)),
        FaultMode::Hang | FaultMode::Partial => Fault::new(mode).for_requests(1),
        _ => Fault::new(mode).for_requests(3),
    }
}

fn requests(stats: &Stats) -> [u64; 4] {
    [&stats.meta, &stats.data_manager, &stats.google_ads, &stats.ga4].map(|platform| platform.requests)
}

/// Waits until every platform was asked again, or has nothing left to be asked for.
async fn felt(sandbox: &Sandbox, relay: &Relay) {
    let (began, before) = (Instant::now(), requests(&sandbox.stats()));
    loop {
        let now = requests(&sandbox.stats());
        let balance = relay.balanced().await;
        let idle = |name: &str| balance["destinations"][name]["queued"] == 0;
        if (0..4).all(|i| now[i] >= before[i] + 2 || idle(EVERYWHERE[i])) {
            return;
        }
        assert!(began.elapsed() < PATIENCE, "{before:?} {now:?} {balance}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kills_under_load_with_every_platform_failing_lose_nothing_and_double_nothing() {
    const EVENTS: usize = 480;
    const KILLS: usize = 16;
    const POISON_EVERY: usize = 60;
    let platforms = Platforms::start().await;
    let sandbox = &platforms.sandbox;
    let setup = Setup::new(&platforms.everywhere());
    let mut relay = setup.start();
    let poisonous = || (0..EVENTS).filter(|i| i % POISON_EVERY == 7);
    let poison = || {
        Fault::new(FaultMode::Poison).ids(ordered(poisonous(), "order-").into_iter().chain(ordered(poisonous(), "t")))
    };
    let judging = [Platform::Meta, Platform::DataManager, Platform::GoogleAds];
    let load = Load::start(&relay, 16, EVENTS, purchase);
    for round in 0..KILLS {
        for platform in Platform::ALL {
            sandbox.set_fault(platform, failing(platform, round));
        }
        for platform in judging {
            sandbox.add_fault(platform, poison());
        }
        load.acknowledged(EVENTS * round / KILLS).await;
        felt(sandbox, &relay).await;
        tokio::time::sleep(Duration::from_micros(u64::from(rand::random::<u16>()) / 2)).await;
        relay.kill();
        relay = setup.start();
        load.goes_on_at(&relay);
    }
    load.finish().await;
    for platform in Platform::ALL {
        sandbox.set_fault(platform, Fault::new(FaultMode::None));
    }
    for platform in judging {
        sandbox.add_fault(platform, poison());
    }
    relay.settled().await;

    let balance = relay.balanced().await;
    assert_eq!(balance["accepted"], EVENTS, "{balance}");
    let dead = poisonous().count();
    for name in EVERYWHERE {
        let dead = if ["analytics", "import-file"].contains(&name) { 0 } else { dead };
        let expected = json!({ "delivered": EVENTS - dead, "skipped": 0, "dead": dead, "expired": 0, "queued": 0 });
        assert_eq!(balance["destinations"][name], expected, "{name}: {balance}");
    }
    for name in ["meta", "google", "google-ads"] {
        let list = relay.admin(&format!("/v1/dead-letters?destination={name}&limit=1000")).await;
        let letters = list["dead_letters"].as_array().expect("a list");
        let dead: BTreeSet<_> = ids(letters, "/event_id").into_keys().collect();
        assert_eq!((letters.len(), dead), (poisonous().count(), ordered(poisonous(), "order-")), "{name}");
    }
    let good = || (0..EVENTS).filter(|i| i % POISON_EVERY != 7);
    let arrived = [
        ("meta", ids(&sandbox.received_meta(), "/event/event_id"), ordered(good(), "order-")),
        ("google", ids(&sandbox.received_data_manager(), "/event/transactionId"), ordered(good(), "t")),
        ("google-ads", ids(&sandbox.received_google_ads(), "/event/orderId"), ordered(good(), "t")),
        ("analytics", ids(&sandbox.received_ga4(), "/event/events/0/params/transaction_id"), ordered(0..EVENTS, "t")),
    ];
    for (name, arrived, expected) in arrived {
        assert_eq!(arrived.into_keys().collect::<BTreeSet<_>>(), expected, "{name}: each, under its one id");
    }
    let stats = sandbox.stats();
    let (mut duplicates, mut met) = (0, BTreeSet::new());
    for (name, stats) in
        [("meta", &stats.meta), ("google", &stats.data_manager), ("google-ads", &stats.google_ads), ("ga4", &stats.ga4)]
    {
        assert_eq!(stats.changed_duplicates, 0, "{name}: what is sent again is the same");
        duplicates += stats.duplicates;
        met.extend(stats.faults_met.keys().map(|fault| format!("{name}: {fault}")));
    }
    // Which of them meet whom is left to chance.
    assert!(met.len() >= 6 && duplicates > 0, "too little went wrong: {duplicates} duplicates, {met:?}");
    assert!(relay.terminate());
    let rows: Vec<Value> = setup.rows().iter().map(|row| row.parse().expect("JSON")).collect();
    let rows = ids(&rows, "/event_id");
    assert_eq!(rows.keys().cloned().collect::<BTreeSet<_>>(), ordered(0..EVENTS, "order-"));
    assert!(rows.values().all(|&count| count == 1), "no row twice");
    assert_eq!(setup.audit().await, EVENTS as u64);
}

/// A purchase and its refund, in one request.
fn sale(i: usize) -> Value {
    let (transaction, refund) = (format!("t{i}"), format!("refund-{i}"));
    let mut both = vec![purchase(i), event("refund", &refund, &transaction)];
    if i % 2 == 1 {
        both.reverse();
    }
    json!({ "events": both })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refund_never_overtakes_its_purchase_through_kills_and_errors() {
    const SALES: usize = 60;
    const KILLS: usize = 6;
    let platforms = Platforms::start().await;
    let sandbox = &platforms.sandbox;
    let all = platforms.everywhere();
    let wanted =
        all.split("[[destinations]]").filter(|one| !one.contains("customer_id") && !one.contains("data_manager"));
    // Those at which a refund does not have to wait for a day.
    let setup = Setup::new(&wanted.collect::<Vec<_>>().join("[[destinations]]"));
    let mut relay = setup.start();
    for platform in [Platform::Meta, Platform::Ga4] {
        sandbox.set_fault(platform, Fault::error_rate(0.5));
        sandbox.add_fault(platform, Fault::new(FaultMode::Slow).delay(Duration::from_millis(5)));
    }
    let load = Load::start(&relay, 4, SALES, sale);
    for kill in 0..KILLS {
        load.acknowledged(SALES * kill / KILLS).await;
        tokio::time::sleep(Duration::from_micros(u64::from(rand::random::<u16>()))).await;
        relay.kill();
        relay = setup.start();
        load.goes_on_at(&relay);
    }
    load.finish().await;
    relay.settled().await;
    relay.balanced().await;
    // GA4 recognises no refund: one that was under way at a kill is the operator's.
    let undecided = relay.admin("/v1/dead-letters?destination=analytics&class=unknown&limit=1000").await;
    let undecided = ids(undecided["dead_letters"].as_array().expect("a list"), "/event_id");
    assert!(relay.terminate());
    let rows: Vec<Value> = setup.rows().iter().map(|row| row.parse().expect("JSON")).collect();
    let story = |received: &[Value], transaction: &str, name: &str| {
        let mut stories: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for entry in received {
            let text = |pointer: &str| entry.pointer(pointer).and_then(Value::as_str).expect("text").to_lowercase();
            stories.entry(text(transaction)).or_default().push(text(name));
        }
        stories
    };
    for (place, stories) in [
        ("meta", story(&sandbox.received_meta(), "/event/custom_data/order_id", "/event/event_name")),
        ("ga4", story(&sandbox.received_ga4(), "/event/events/0/params/transaction_id", "/event/events/0/name")),
        ("file", story(&rows, "/transaction_id", "/event")),
    ] {
        assert_eq!(stories.len(), SALES, "{place}");
        for (transaction, names) in stories {
            let left = place == "ga4" && undecided.contains_key(&transaction.replace('t', "refund-"));
            let refunded = names.contains(&"refund".to_owned());
            assert!(names[0] == "purchase" && (refunded || left), "{place}, {transaction}: {names:?}");
        }
    }
}

/// A Meta that is down at first, and then notes of each request how many events it carried and whether a fresh one was
/// among them.
#[derive(Clone, Default)]
struct Backlogged {
    up: Arc<AtomicBool>,
    taken: Arc<Mutex<Vec<(usize, bool)>>>,
}

impl Respond for Backlogged {
    fn respond(&self, request: &Request) -> ResponseTemplate {
        if !self.up.load(Ordering::SeqCst) {
            return ResponseTemplate::new(503);
        }
        let body = str::from_utf8(&request.body).expect("text");
        let events = body.matches("\"event_name\"").count();
        self.taken.lock().expect("no panic").push((events, body.contains("\"fresh\"")));
        ResponseTemplate::new(200)
            .set_body_json(json!({ "events_received": events, "messages": [], "fbtrace_id": "t" }))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fresh_event_does_not_wait_for_a_backlog() {
    // A hundred thousand take 35 seconds in a debug build. What counts is how many requests they are.
    const BACKLOG: usize = 20_000;
    let meta = Backlogged::default();
    let server = MockServer::builder().disable_request_recording().start().await;
    Mock::given(any()).respond_with(meta.clone()).mount(&server).await;
    let text = format!(
        "[[destinations]]\nname = \"meta\"\nkind = \"meta\"\npixel_id = \"1\"\naccess_token = \"t\"\nbase_url = \"{}\"\n\
         timeout = \"30s\"\nbatch = 200\nevents = {{ purchase = \"Purchase\" }}\n",
        server.uri()
    );
    let setup = Setup::new(&text).env("RUST_LOG", "warn");
    let relay = setup.start();
    let load = Load::start(&relay, 2, BACKLOG / 1000, |i| batch(i * 1000..(i + 1) * 1000));
    load.finish().await;
    assert_eq!(relay.admin("/v1/balance").await["destinations"]["meta"]["queued"], BACKLOG);

    meta.up.store(true, Ordering::SeqCst);
    let began = Instant::now();
    let taken = || meta.taken.lock().expect("no panic").len();
    while taken() < 5 {
        assert!(began.elapsed() < PATIENCE, "the backlog does not begin to drain");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let (status, answer) = relay.post("/v1/events", &event("purchase", "fresh", "fresh")).await;
    assert_eq!(status, 202, "{answer}");
    let before = taken();
    let balance = relay.settled().await;
    assert_eq!(balance["destinations"]["meta"]["delivered"], BACKLOG + 1, "{balance}");
    let taken = meta.taken.lock().expect("no panic");
    let fresh = taken.iter().position(|(_, fresh)| *fresh).expect("arrived");
    let after: usize = taken[fresh + 1..].iter().map(|(events, _)| events).sum();
    assert!(fresh < before + 10, "{} requests went ahead of it", fresh - before);
    assert!(after > BACKLOG / 2, "only {after} events came after it");
    assert_eq!(taken.iter().map(|(events, _)| events).sum::<usize>(), BACKLOG + 1, "each once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_under_load_finishes_what_is_under_way_or_queues_it_again() {
    const EVENTS: usize = 400;
    // Slow answers are waited for; one that never comes is not waited for beyond the grace period.
    for (mode, drain) in [(FaultMode::Slow, "5s"), (FaultMode::Hang, "1s")] {
        let platforms = Platforms::start().await;
        let sandbox = &platforms.sandbox;
        let setup = Setup::new(&platforms.everywhere().replace("timeout = \"1s\"", "timeout = \"20s\""));
        let setup = setup.env("RELAY__DELIVERY__DRAIN", drain);
        for platform in [Platform::Meta, Platform::DataManager, Platform::GoogleAds, Platform::Ga4] {
            sandbox.set_fault(platform, Fault::new(mode).delay(Duration::from_millis(700)));
        }
        let relay = setup.start();
        let load = Load::start(&relay, 8, EVENTS, purchase);
        load.acknowledged(EVENTS / 4).await;
        let began = Instant::now();
        while requests(&sandbox.stats()).contains(&0) {
            assert!(began.elapsed() < PATIENCE, "not all are asked");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let began = Instant::now();
        let ended = tokio::task::spawn_blocking(|| relay.terminate()).await.expect("no panic");
        let (took, grace) = (began.elapsed(), Duration::from_secs(drain[..1].parse().expect("a number")));
        assert!(ended && took < grace + Duration::from_secs(3), "{mode:?}: {took:?}");
        let stopped_at = sandbox.stats();

        for platform in Platform::ALL {
            sandbox.set_fault(platform, Fault::new(FaultMode::None));
        }
        let relay = setup.start();
        load.goes_on_at(&relay);
        load.finish().await;
        relay.settled().await;
        let balance = relay.balanced().await;
        for name in EVERYWHERE {
            assert_eq!(balance["destinations"][name]["delivered"], EVENTS, "{mode:?}, {name}: {balance}");
        }
        let stats = sandbox.stats();
        for (platform, then) in [
            (&stats.meta, &stopped_at.meta),
            (&stats.data_manager, &stopped_at.data_manager),
            (&stats.google_ads, &stopped_at.google_ads),
            (&stats.ga4, &stopped_at.ga4),
        ] {
            assert_eq!(platform.distinct_ids, EVENTS as u64, "{mode:?}");
            // What was answered is settled; what was not is sent again.
            let again = if mode == FaultMode::Slow { 0 } else { then.accepted };
            assert_eq!(platform.duplicates, again, "{mode:?}");
        }
    }
}

/// Meta with requests of 100 events, and a file that stands in for it.
fn meta_and_its_spare(platforms: &Platforms) -> String {
    let all = platforms.everywhere();
    let meta = all
        .split("[[destinations]]")
        .nth(1)
        .expect("is first")
        .replace("timeout = \"1s\"", "timeout = \"20s\"\nbatch = 100");
    let spare = "name = \"spare\"\nkind = \"file\"\nformat = \"jsonl\"\nfallback_for = \"meta\"\n\
                 events = { purchase = \"Purchase\" }\n";
    format!("[[destinations]]{meta}[[destinations]]\n{spare}")
}

/// Stops Meta, and waits until what was under way is settled.
async fn pause_meta(relay: &Relay) {
    relay.steer("/v1/destinations/meta/pause", &json!({})).await;
    // The line is there from the first request on.
    let idle =
        |line: &str| line.strip_prefix("relay_requests_in_flight{destination=\"meta\"} ").is_none_or(|n| n == "0");
    let none = |metrics: &Value| metrics.as_str().is_some_and(|text| text.lines().all(idle));
    relay.until("/metrics", none).await;
}

/// Every event is at Meta or in the file, once.
fn one_way_each(platforms: &Platforms, setup: &Setup, events: usize) -> [usize; 2] {
    let at_meta: BTreeSet<_> = ids(&platforms.sandbox.received_meta(), "/event/event_id").into_keys().collect();
    let rows: Vec<Value> = setup.rows().iter().map(|row| row.parse().expect("JSON")).collect();
    let rows = ids(&rows, "/event_id");
    assert!(rows.values().all(|&count| count == 1), "no row twice");
    let both: Vec<_> = rows.keys().filter(|id| at_meta.contains(*id)).collect();
    assert!(both.is_empty(), "{} at both: {both:?}", both.len());
    assert_eq!(at_meta.len() + rows.len(), events, "each");
    [at_meta.len(), rows.len()]
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_handed_over_to_a_file_is_never_at_both_through_kills() {
    const EVENTS: usize = 6000;
    let platforms = Platforms::start().await;
    let setup = Setup::new(&meta_and_its_spare(&platforms)).env("RUST_LOG", "warn");
    let mut relay = setup.start();
    pause_meta(&relay).await;
    Load::start(&relay, 2, EVENTS / 1000, |i| batch(i * 1000..(i + 1) * 1000)).finish().await;
    platforms.sandbox.set_fault(Platform::Meta, Fault::new(FaultMode::Slow).delay(Duration::from_millis(100)));
    let skipped =
        async |relay: &Relay| relay.balanced().await["destinations"]["meta"]["skipped"].as_u64().expect("a number");
    let mut cut_off = 0;
    for round in 0..6 {
        let before = skipped(&relay).await;
        let (client, url) = (relay.client.clone(), format!("{}/v1/destinations/meta/spill", relay.admin));
        let request = client.post(url).header("content-type", "application/json").body("{}");
        let spilling = tokio::spawn(request.send());
        // At a moment nobody chose; or as soon as some of it is handed over.
        tokio::time::sleep(Duration::from_micros(u64::from(rand::random::<u16>()) / 2)).await;
        while round % 2 == 1 && !spilling.is_finished() && skipped(&relay).await == before {}
        relay.kill();
        cut_off += usize::from(spilling.await.expect("no panic").is_err());
        relay = setup.start();
        // Between two tries to hand all of it over, Meta gets some of it.
        let balance = relay.balanced().await;
        if balance["destinations"]["meta"]["queued"] == 0 {
            break;
        }
        let before = balance["destinations"]["meta"]["delivered"].as_u64().expect("a number");
        relay.steer("/v1/destinations/meta/resume", &json!({})).await;
        let more = |balance: &Value| balance["destinations"]["meta"]["delivered"].as_u64() > Some(before);
        relay.until("/v1/balance", more).await;
        pause_meta(&relay).await;
    }
    let by_killed = skipped(&relay).await;
    relay.steer("/v1/destinations/meta/spill", &json!({})).await;
    relay.settled().await;
    relay.balanced().await;
    assert!(relay.terminate());
    let [at_meta, rows] = one_way_each(&platforms, &setup, EVENTS);
    assert!(cut_off > 0 && by_killed > 0 && rows > 0, "{cut_off} {by_killed} {at_meta} {rows}");
    assert_eq!(setup.audit().await, EVENTS as u64);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_under_way_at_a_kill_is_not_handed_over() {
    const EVENTS: usize = 300;
    let platforms = Platforms::start().await;
    let setup = Setup::new(&meta_and_its_spare(&platforms));
    let relay = setup.start();
    platforms.sandbox.set_fault(Platform::Meta, Fault::new(FaultMode::Hang));
    assert_eq!(relay.post("/v1/events", &batch(0..EVENTS)).await.0, 202);
    let began = Instant::now();
    while platforms.sandbox.stats().meta.accepted == 0 {
        assert!(began.elapsed() < PATIENCE, "never sent");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    relay.steer("/v1/destinations/meta/pause", &json!({})).await;
    relay.kill();
    let relay = setup.start();
    relay.steer("/v1/destinations/meta/spill", &json!({})).await;
    platforms.sandbox.set_fault(Platform::Meta, Fault::new(FaultMode::None));
    relay.steer("/v1/destinations/meta/resume", &json!({})).await;
    relay.settled().await;
    assert!(relay.terminate());
    one_way_each(&platforms, &setup, EVENTS);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_under_way_at_a_kill_is_not_counted_twice() {
    let platforms = Platforms::start().await;
    let setup = Setup::new(&platforms.everywhere());
    let relay = setup.start();
    platforms.sandbox.set_fault(Platform::Ga4, Fault::new(FaultMode::Hang));
    assert_eq!(relay.post("/v1/events", &event("generate_lead", "l-1", "l-1")).await.0, 202);
    let began = Instant::now();
    while platforms.sandbox.stats().ga4.accepted == 0 {
        assert!(began.elapsed() < PATIENCE, "never sent");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    relay.kill();
    platforms.sandbox.set_fault(Platform::Ga4, Fault::new(FaultMode::None));
    let relay = setup.start();
    relay.settled().await;
    assert_eq!(platforms.sandbox.stats().ga4.accepted, 1);
}

/// Whether any file of the journal holds these bytes.
fn on_disk(setup: &Setup, bytes: &[u8]) -> bool {
    let files = std::fs::read_dir(setup.data().join("events")).expect("reads");
    let mut texts = files.map(|entry| std::fs::read(entry.expect("reads").path()).expect("reads"));
    texts.any(|text| text.windows(bytes.len()).any(|window| window == bytes))
}

#[tokio::test(flavor = "multi_thread")]
async fn forgetting_reaches_the_queue_and_the_dead_letters() {
    let platforms = Platforms::start().await;
    let sandbox = &platforms.sandbox;
    sandbox.set_fault(Platform::Meta, Fault::new(FaultMode::Poison).ids(["order-1"]));
    let setup = Setup::new(&platforms.destinations());
    let relay = setup.start();
    relay.steer("/v1/destinations/google/pause", &json!({})).await;
    assert_eq!(relay.post("/v1/events", &batch(1..3)).await.0, 202);
    let done = |counts: &Value| counts["dead"] == 1 && counts["delivered"] == 1;
    relay.until("/v1/balance", |balance| done(&balance["destinations"]["meta"])).await;
    let letter = relay.admin("/v1/dead-letters/order-1").await;
    let hash = letter["event"]["user"]["email"][0]["meta"].as_str().expect("hashed").to_owned();
    let digest: Vec<u8> =
        (0..32).map(|i| u8::from_str_radix(&hash[2 * i..2 * i + 2], 16).expect("hexadecimal")).collect();
    assert!(letter["dead_letters"][0]["request"].to_string().contains(&hash), "{letter}");
    assert!(on_disk(&setup, &digest) && on_disk(&setup, hash.as_bytes()), "is there before");

    let answer = relay.steer("/v1/visitors/forget", &json!({"email": "t1@shop.example"})).await;
    assert_eq!((&answer["events"], &answer["skipped"]), (&json!(1), &json!(1)), "{answer}");
    let letter = relay.admin("/v1/dead-letters/order-1").await;
    assert!(!letter.to_string().contains(&hash), "{letter}");
    relay.steer("/v1/destinations/google/resume", &json!({})).await;
    sandbox.set_fault(Platform::Meta, Fault::new(FaultMode::None));
    relay.steer("/v1/dead-letters/replay", &json!({"destination": "meta"})).await;
    relay.settled().await;
    relay.balanced().await;
    assert!(relay.terminate());
    assert!(!on_disk(&setup, &digest) && !on_disk(&setup, hash.as_bytes()), "still on disk");
    for (received, id) in
        [(sandbox.received_meta(), "/event/event_id"), (sandbox.received_data_manager(), "/event/transactionId")]
    {
        let arrived = ids(&received, id);
        assert!(arrived.len() == 1 && !arrived.contains_key("order-1") && !arrived.contains_key("t1"), "{arrived:?}");
        assert!(!serde_json::to_string(&received).expect("JSON").contains(&hash));
    }
    assert_eq!(setup.audit().await, 2);
}
