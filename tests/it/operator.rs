//! What the operator does with a running relay, over the admin listener and on the command line.

use std::{
    path::PathBuf,
    process::Command,
    time::{Duration, Instant},
};

use conversion_relay::{
    model::{Clock, SystemClock},
    sandbox::{Fault, FaultMode, Platform},
    store::{
        ClickStore,
        clicks::FileClicks,
        conformance::clicks::{all, click},
    },
};
use serde_json::{Value, json};
use wiremock::{Mock, MockServer, ResponseTemplate, matchers::any};

use crate::{
    leaks::files,
    support::{PATIENCE, Platforms, Relay, Setup},
};

/// A file that stands in for `meta`.
const SPARE: &str = r#"
[[destinations]]
name = "spare"
kind = "file"
format = "jsonl"
fallback_for = "meta"
[destinations.events]
purchase = "Purchase"
"#;

/// A pixel whose Meta is at `{url}`.
const META: &str = r#"
[[destinations]]
name = "meta"
kind = "meta"
pixel_id = "1234567890"
access_token = "test-token"
base_url = "{url}"
[destinations.events]
purchase = "Purchase"
"#;

/// A purchase of a person of its own. Without a value Meta refuses it.
fn purchase(id: &str, value: Option<&str>) -> Value {
    let mut event = json!({
        "event": "purchase", "event_id": id, "transaction_id": id,
        "user": { "email": format!("{id}@shop.example") },
        "context": { "url": "https://shop.example/", "user_agent": "test-agent", "ip": "203.0.113.7" },
    });
    if let Some(value) = value {
        event["value"] = value.into();
        event["currency"] = "USD".into();
    }
    event
}

async fn until(relay: &Relay, path: &str, good: impl Fn(&Value) -> bool) -> Value {
    let began = Instant::now();
    loop {
        let answer = relay.admin(path).await;
        if good(&answer) {
            return answer;
        }
        assert!(began.elapsed() < PATIENCE, "{path} never got there: {answer}");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

async fn accept(relay: &Relay, event: &Value) {
    let (status, answer) = relay.post("/v1/events", event).await;
    assert_eq!((status, &answer["results"][0]["status"]), (202, &json!("accepted")), "{answer}");
}

/// Posts to the admin listener. Status and body.
async fn steer(relay: &Relay, path: &str, body: &Value) -> (u16, Value) {
    let request = relay.client.post(format!("{}{path}", relay.admin)).header("content-type", "application/json");
    let answer = Relay::send(request.body(body.to_string())).await;
    (answer.status, answer.json())
}

/// [`steer`], which has to be done.
async fn done(relay: &Relay, path: &str, body: &Value) -> Value {
    let (status, answer) = steer(relay, path, body).await;
    assert_eq!(status, 200, "{path} {body}: {answer}");
    answer
}

fn of<'a>(list: &'a Value, name: &str) -> &'a Value {
    list["destinations"].as_array().and_then(|all| all.iter().find(|d| d["name"] == name)).expect("is configured")
}

async fn delivery(relay: &Relay, id: &str, destination: &str) -> Value {
    let timeline = relay.admin(&format!("/v1/events/{id}")).await;
    let deliveries = timeline["deliveries"].as_array().unwrap_or_else(|| panic!("no timeline: {timeline}")).clone();
    deliveries.into_iter().find(|delivery| delivery["destination"] == destination).expect("configured")
}

fn at_meta(platforms: &Platforms, id: &str) -> usize {
    platforms.sandbox.received_meta().iter().filter(|entry| entry["event"]["event_id"] == id).count()
}

/// Runs a command against this relay. Whether it exited with 0, and what it printed.
fn run(relay: &Relay, arguments: &[&str]) -> (bool, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_conversion-relay"));
    let output = command.args(arguments).args(["--url", &relay.admin]).env_remove("RELAY_ADMIN_TOKEN").output();
    let output = output.expect("runs");
    let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).expect("is text")).concat();
    (output.status.success(), text)
}

/// Five numbers for every destination that sum up to what was accepted.
async fn balanced(relay: &Relay) -> Value {
    let balance = relay.admin("/v1/balance").await;
    for (name, counts) in balance["destinations"].as_object().expect("destinations") {
        let sum: u64 = counts.as_object().expect("counts").values().filter_map(Value::as_u64).sum();
        assert_eq!(Some(sum), balance["accepted"].as_u64(), "{name}: {balance}");
    }
    balance
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_operator_pauses_stays_paused_until_he_lets_it_go_on() {
    let platforms = Platforms::start().await;
    let setup = Setup::new(&platforms.destinations());
    let relay = setup.start();
    done(&relay, "/v1/destinations/meta/pause", &json!({"reason": "moving pixels"})).await;
    accept(&relay, &purchase("o-1", Some("5"))).await;
    until(&relay, "/v1/balance", |b| b["destinations"]["google"]["delivered"] == 1).await;
    let list = relay.admin("/v1/destinations").await;
    let meta = of(&list, "meta");
    assert_eq!((&meta["paused_by"], &meta["reason"]), (&json!("operator"), &json!("moving pixels")));
    assert_eq!((&meta["queued"], at_meta(&platforms, "o-1")), (&json!(1), 0));
    let since = meta["since"].clone();

    relay.kill();
    let relay = setup.start();
    let list = relay.admin("/v1/destinations").await;
    assert_eq!((&of(&list, "meta")["state"], &of(&list, "meta")["since"]), (&json!("paused"), &since), "after a crash");
    accept(&relay, &purchase("o-2", Some("5"))).await;
    until(&relay, "/v1/balance", |b| b["destinations"]["google"]["delivered"] == 2).await;
    assert_eq!(at_meta(&platforms, "o-1") + at_meta(&platforms, "o-2"), 0);
    assert_eq!(delivery(&relay, "o-1", "meta").await["reason"], "destination paused by its operator");

    done(&relay, "/v1/destinations/meta/resume", &json!({})).await;
    let balance = relay.settled().await;
    assert_eq!(balance["destinations"]["meta"]["delivered"], 2, "{balance}");
    assert_eq!(of(&relay.admin("/v1/destinations").await, "meta")["paused_by"], Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_are_listed_shown_replayed_after_a_correction_and_discarded() {
    let platforms = Platforms::start().await;
    let setup = Setup::new(&platforms.destinations());
    let relay = setup.start();
    for i in 0..5 {
        accept(&relay, &purchase(&format!("bad-{i}"), None)).await;
    }
    accept(&relay, &purchase("good", Some("5"))).await;
    let balance = relay.settled().await;
    assert_eq!(balance["destinations"]["meta"]["dead"], 5, "{balance}");

    let list = relay.admin("/v1/dead-letters?destination=meta&code=missing_value&class=event&limit=2").await;
    let letters = list["dead_letters"].as_array().expect("a list");
    assert_eq!((letters.len(), &letters[0]["event_id"]), (2, &json!("bad-0")), "oldest first: {list}");
    assert_eq!((&letters[0]["field"], &letters[0]["source"]), (&json!("value"), &json!("test-shop")));
    let mut seen = 2;
    let mut next = list["next"].clone();
    while let Some(after) = next.as_str() {
        let page = relay.admin(&format!("/v1/dead-letters?destination=meta&limit=2&after={after}")).await;
        seen += page["dead_letters"].as_array().expect("a list").len();
        next = page["next"].clone();
    }
    assert_eq!(seen, 5);
    for nothing in ["class=settings", "code=1", "source=other", "event=refund", "until=2020-01-01T00:00:00Z"] {
        let list = relay.admin(&format!("/v1/dead-letters?{nothing}")).await;
        assert_eq!(list, json!({"dead_letters": [], "next": null}), "{nothing}");
    }

    let shown = relay.admin("/v1/dead-letters/bad-0?destination=meta").await;
    assert_eq!(shown["dead_letters"][0]["code"], "missing_value", "{shown}");
    assert_eq!(shown["event"]["context"]["ip"], "(kept back)");
    let hash = shown["event"]["user"]["email"][0]["meta"].as_str().expect("hashed");
    assert_eq!(hash.len(), 64);
    assert!(!shown["event"].to_string().contains("shop.example"), "{shown}");

    let dry = done(&relay, "/v1/dead-letters/replay", &json!({"event_ids": ["bad-0", "good"], "dry_run": true})).await;
    assert_eq!(dry["diffs"][0]["refused"]["code"], "missing_value", "{dry}");
    assert_eq!(dry["not_found"], json!(["good"]), "{dry}");
    let answer = done(&relay, "/v1/dead-letters/replay", &json!({"destination": "meta"})).await;
    assert_eq!((&answer["matched"], &answer["replayed"], &answer["refused"]), (&json!(5), &json!(0), &json!(5)));

    // What is corrected is the mapping: Meta wants a value with its Purchase alone.
    assert!(relay.terminate());
    let text = std::fs::read_to_string(setup.config()).expect("reads");
    std::fs::write(setup.config(), text.replace("\"Purchase\"", "\"Lead\"")).expect("writes");
    let relay = setup.start();
    let open = "relay_dead_letters_open{destination=\"meta\",class=\"event\"} 5";
    until(&relay, "/metrics", |text| text.as_str().is_some_and(|text| text.contains(open))).await;
    let dry = done(&relay, "/v1/dead-letters/replay", &json!({"event_ids": ["bad-0", "bad-1"], "dry_run": true})).await;
    assert_eq!((&dry["dry_run"], &dry["matched"], &dry["replayed"]), (&json!(true), &json!(2), &json!(2)), "{dry}");
    assert_eq!(dry["diffs"].as_array().map(Vec::len), Some(2), "{dry}");
    assert_eq!(relay.admin("/v1/balance").await["destinations"]["meta"]["dead"], 5, "nothing happened");

    let answer = done(&relay, "/v1/dead-letters/replay", &json!({"event_ids": ["bad-0", "bad-1"]})).await;
    assert_eq!((&answer["matched"], &answer["replayed"]), (&json!(2), &json!(2)), "{answer}");
    relay.settled().await;
    let balance = balanced(&relay).await;
    assert_eq!(balance["destinations"]["meta"]["dead"], 3, "{balance}");
    assert_eq!((at_meta(&platforms, "bad-0"), at_meta(&platforms, "bad-2"), at_meta(&platforms, "good")), (1, 0, 1));
    let story = delivery(&relay, "bad-0", "meta").await;
    assert_eq!((&story["state"], &story["notes"][0]["cause"]), (&json!("delivered"), &json!("operator")), "{story}");

    let (ok, text) = run(&relay, &["dead-letters", "discard", "bad-2", "--reason", "test order", "--dry-run"]);
    assert!(ok && text.contains("1 dead letters would be discarded"), "{text}");
    let (ok, text) = run(&relay, &["dead-letters", "discard", "bad-2", "--reason", "test order"]);
    assert!(ok && text.contains("1 dead letters were discarded"), "{text}");
    let (ok, text) = run(&relay, &["dead-letters", "list", "--destination", "meta", "--newer-than", "1h"]);
    assert!(ok && text.contains("bad-3") && text.contains("missing_value") && !text.contains("bad-2"), "{text}");
    let story = delivery(&relay, "bad-2", "meta").await;
    assert_eq!((&story["state"], &story["class"]), (&json!("dead"), &json!("event")), "stays what it was: {story}");
    assert_eq!(story["notes"][0]["reason"], "test order");
    let (ok, text) = run(&relay, &["dead-letters", "show", "bad-2"]);
    assert!(ok && text.contains("discarded") && text.contains("test order"), "{text}");
    let answer = done(&relay, "/v1/dead-letters/replay", &json!({"limit": 1})).await;
    assert_eq!(answer["replayed"], 1, "as many as asked for: {answer}");
    relay.settled().await;
    let balance = balanced(&relay).await;
    assert_eq!(balance["destinations"]["meta"]["dead"], 2, "the discarded one among them: {balance}");
    assert!(!setup.log().contains("test order"), "the operator's words are not for the log");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_shows_what_the_correction_changes_in_the_request() {
    // Something that Meta refuses for a reason that we do not know beforehand.
    let meta = MockServer::start().await;
    let refusal = json!({"error": {"code": 100, "message": "Invalid parameter", "fbtrace_id": "A1"}});
    Mock::given(any()).respond_with(ResponseTemplate::new(400).set_body_json(refusal)).mount(&meta).await;
    let setup = Setup::new(&META.replace("{url}", &meta.uri()));
    let relay = setup.start();
    accept(&relay, &purchase("o-1", Some("5"))).await;
    relay.settled().await;
    let shown = relay.admin("/v1/dead-letters/o-1").await;
    let letter = &shown["dead_letters"][0];
    assert_eq!(letter["request"]["data"][0]["event_name"], "Purchase", "the request as it went: {shown}");
    assert_eq!(letter["answer"]["error"]["code"], 100, "and what Meta said: {shown}");
    assert_eq!(letter["attempts"][0]["trace_id"], "A1", "{shown}");
    assert!(relay.terminate());
    let text = std::fs::read_to_string(setup.config()).expect("reads");
    std::fs::write(setup.config(), text.replace("\"Purchase\"", "\"Lead\"")).expect("writes");
    let relay = setup.start();
    let dry = done(&relay, "/v1/dead-letters/replay", &json!({"dry_run": true})).await;
    let expected = json!([{"path": "/data/0/event_name", "was": "Purchase", "now": "Lead"}]);
    assert_eq!(dry["diffs"][0]["differences"], expected, "{dry}");
    let (ok, text) = run(&relay, &["dead-letters", "replay", "--all", "--dry-run"]);
    assert!(ok && text.contains("/data/0/event_name: Purchase → Lead"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_delivered_is_sent_again_only_where_it_was_asked_for() {
    let platforms = Platforms::start().await;
    let setup = Setup::new(&platforms.destinations());
    let relay = setup.start();
    for i in 0..3 {
        accept(&relay, &purchase(&format!("o-{i}"), Some("5"))).await;
    }
    relay.settled().await;
    let (from, to) = ("2020-01-01T00:00:00Z", "2100-01-01T00:00:00Z");
    let body = |dry_run: bool| json!({"destination": "meta", "from": from, "to": to, "dry_run": dry_run});
    let dry = done(&relay, "/v1/replay", &body(true)).await;
    assert_eq!((&dry["matched"], &dry["replayed"]), (&json!(3), &json!(3)), "{dry}");
    let answer = done(&relay, "/v1/replay", &body(false)).await;
    assert_eq!(answer["replayed"], 3, "{answer}");
    relay.settled().await;
    let balance = balanced(&relay).await;
    assert_eq!(balance["destinations"]["meta"]["delivered"], 3, "{balance}");
    for i in 0..3 {
        let story = delivery(&relay, &format!("o-{i}"), "meta").await;
        assert_eq!(story["attempts"].as_array().map(Vec::len), Some(2), "{story}");
        let story = delivery(&relay, &format!("o-{i}"), "google").await;
        assert_eq!(story["attempts"].as_array().map(Vec::len), Some(1), "{story}");
    }
    let none = json!({"destination": "meta", "from": from, "to": "2020-01-02T00:00:00Z"});
    assert_eq!(done(&relay, "/v1/replay", &none).await["matched"], 0);
    let (ok, text) = run(&relay, &["replay", "--destination", "meta", "--from", from, "--to", to, "--dry-run"]);
    assert!(ok && text.contains("3 match, 3 would be sent again"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_destination_gets_what_came_before_it() {
    let platforms = Platforms::start().await;
    let meta_only = platforms.destinations().split("[[destinations]]\nname = \"google\"").next().map(str::to_owned);
    let setup = Setup::new(&meta_only.expect("is first"));
    let relay = setup.start();
    accept(&relay, &purchase("o-1", Some("5"))).await;
    relay.settled().await;
    assert!(relay.terminate());
    let text = std::fs::read_to_string(setup.config()).expect("reads");
    let file = SPARE.replace("fallback_for = \"meta\"\n", "");
    std::fs::write(setup.config(), format!("{text}{file}")).expect("writes");
    let relay = setup.start();
    let body = json!({"destination": "spare", "from": "2020-01-01T00:00:00Z", "to": "2100-01-01T00:00:00Z", "outcomes": ["skipped"]});
    let answer = done(&relay, "/v1/replay", &body).await;
    assert_eq!(answer["replayed"], 1, "{answer}");
    let balance = relay.settled().await;
    assert_eq!(
        (&balance["destinations"]["spare"]["delivered"], &balance["destinations"]["spare"]["skipped"]),
        (&json!(1), &json!(0))
    );
    balanced(&relay).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_handed_over_to_a_file_goes_one_way_only() {
    let platforms = Platforms::start().await;
    platforms.sandbox.set_fault(Platform::Meta, Fault::new(FaultMode::ExpiredToken));
    let setup = Setup::new(&format!("{}{SPARE}", platforms.destinations()));
    let relay = setup.start();
    for i in 0..20 {
        accept(&relay, &purchase(&format!("o-{i}"), Some("5"))).await;
    }
    until(&relay, "/v1/destinations", |list| of(list, "meta")["paused_by"] == "platform").await;
    done(&relay, "/v1/destinations/meta/pause", &json!({})).await;
    let (ok, text) = run(&relay, &["destinations", "spill", "meta", "--dry-run"]);
    assert!(ok && text.contains("20 deliveries wait for meta"), "{text}");
    let mut moved = 0;
    let began = Instant::now();
    // A probe may be in flight at first.
    while moved < 20 {
        moved += done(&relay, "/v1/destinations/meta/spill", &json!({})).await["moved"].as_u64().expect("a number");
        assert!(began.elapsed() < PATIENCE, "only {moved} were handed over");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    relay.settled().await;
    let balance = balanced(&relay).await;
    assert_eq!(
        (&balance["destinations"]["meta"]["skipped"], &balance["destinations"]["spare"]["delivered"]),
        (&json!(20), &json!(20)),
        "{balance}"
    );
    let story = delivery(&relay, "o-7", "meta").await;
    assert_eq!((&story["state"], &story["reason"]), (&json!("skipped"), &json!("spilled")), "{story}");

    platforms.sandbox.set_fault(Platform::Meta, Fault::new(FaultMode::None));
    done(&relay, "/v1/destinations/meta/resume", &json!({})).await;
    let again = json!({"destination": "meta", "from": "2020-01-01T00:00:00Z", "to": "2100-01-01T00:00:00Z", "outcomes": ["skipped", "delivered"]});
    let answer = done(&relay, "/v1/replay", &again).await;
    assert_eq!((&answer["replayed"], &answer["spilled"]), (&json!(0), &json!(20)), "never both ways: {answer}");
    accept(&relay, &purchase("later", Some("5"))).await;
    relay.settled().await;
    assert_eq!((at_meta(&platforms, "o-7"), at_meta(&platforms, "later")), (0, 1));
    let rows: String = std::fs::read_dir(setup.data().join("files"))
        .expect("reads")
        .map(|entry| std::fs::read_to_string(entry.expect("reads").path()).expect("reads"))
        .collect();
    assert_eq!((rows.lines().count(), rows.contains("later")), (20, false), "{rows}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_is_forgotten_everywhere_and_the_counts_stay() {
    let platforms = Platforms::start().await;
    let setup = Setup::new(&platforms.destinations());
    let relay = setup.start();
    let (status, _) = relay.post("/v1/visits", &json!({"visitor_id": "v-ada", "url": "https://shop.example/?gclid=G-ada", "user": {"email": "ada@shop.example"}})).await;
    assert_eq!(status, 200);
    accept(&relay, &purchase("ada", Some("5"))).await;
    accept(&relay, &purchase("bob", Some("5"))).await;
    relay.settled().await;
    done(&relay, "/v1/destinations/meta/pause", &json!({})).await;
    let mut waiting = purchase("ada-2", Some("5"));
    waiting["user"]["email"] = "ada@shop.example".into();
    accept(&relay, &waiting).await;
    until(&relay, "/v1/balance", |b| b["destinations"]["google"]["delivered"] == 3).await;
    assert_eq!(relay.admin("/v1/events/ada").await["visitor_id"], "v-ada");

    let (ok, text) = run(&relay, &["visitors", "show", "v-ada"]);
    assert!(ok && text.contains("email (1)") && !text.contains("shop.example/?"), "{text}");
    let (ok, text) = run(&relay, &["visitors", "forget", "--email", "ADA@shop.example"]);
    assert!(ok && text.contains("forgotten: 1 visitors, who it is in 2 events and 0 clicks; 1 deliveries"), "{text}");
    assert_eq!(
        relay.client.get(format!("{}/v1/visitors/v-ada", relay.admin)).send().await.expect("answers").status(),
        404
    );
    let story = relay.admin("/v1/events/ada").await;
    assert_eq!((&story["visitor_id"], &story["attribution"]["clicks"]), (&Value::Null, &json!([])), "{story}");
    assert_eq!(delivery(&relay, "ada-2", "meta").await["reason"], "forgotten");
    assert_eq!(delivery(&relay, "bob", "meta").await["state"], "delivered");
    balanced(&relay).await;
    assert!(!setup.log().to_lowercase().contains("ada@shop"), "not in the log either");
}

/// Files that hold this text, but for import files: what is in those stays there.
fn holding(setup: &Setup, text: &str) -> Vec<PathBuf> {
    let mut list = Vec::new();
    files(&setup.data(), &mut list);
    let holds = |file: &PathBuf| {
        let bytes = std::fs::read(file).expect("reads");
        bytes.windows(text.len()).any(|window| window == text.as_bytes())
    };
    list.into_iter().filter(|file| !file.starts_with(setup.data().join("files")) && holds(file)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_on_disk_names_the_visitors_of_a_person_who_was_forgotten() {
    let platforms = Platforms::start().await;
    let setup = Setup::new(&platforms.destinations());
    let [ada, also_ada, bob] = ["visitor-of-ada-1", "visitor-of-ada-2", "visitor-of-bob"];
    let clicks = FileClicks::open(&setup.data().join("clicks")).expect("opens");
    let now = SystemClock.now();
    let ago = |days: u64| now.minus(Duration::from_secs(days * 86_400));
    let rows = [(1, ago(20), ada), (2, ago(20), bob), (3, ago(2), also_ada), (4, now, ada)];
    clicks.append(&rows.map(|(n, at, whose)| click(n, at, Some(whose)))).expect("appends");
    drop(clicks);
    let relay = setup.start();
    // Two browsers, and an event that names the first.
    for (visitor, email) in [(ada, "ada"), (also_ada, "ada"), (bob, "bob")] {
        let user = json!({"email": format!("{email}@shop.example")});
        let visit = json!({"visitor_id": visitor, "url": "https://shop.example/?gclid=G-1", "user": user});
        assert_eq!(relay.post("/v1/visits", &visit).await.0, 200);
    }
    let mut bought = purchase("o-1", Some("5"));
    bought["visitor_id"] = ada.into();
    accept(&relay, &bought).await;
    relay.settled().await;
    assert!(holding(&setup, "visitor-of-ada").len() >= 4, "is there before");

    let (ok, text) = run(&relay, &["visitors", "forget", also_ada]);
    assert!(ok && text.contains("forgotten: 2 visitors, who it is in 1 events and 3 clicks; 0 deliveries"), "{text}");
    let left = holding(&setup, "visitor-of-ada");
    assert!(left.iter().all(|file| file.starts_with(setup.data().join("visitors"))), "until the next start: {left:?}");
    let (ok, text) = run(&relay, &["visitors", "forget", ada]);
    assert!(ok && text.contains("nothing that is stored leads to this person"), "{text}");
    assert!(relay.terminate());
    let relay = setup.start();
    assert_eq!(holding(&setup, "visitor-of-ada"), Vec::<PathBuf>::new());
    assert!(holding(&setup, "visitor-of-bob").len() >= 2, "the others stay");
    assert!(relay.terminate());
    let clicks = all(&FileClicks::open(&setup.data().join("clicks")).expect("opens"));
    let whose: Vec<_> = clicks.iter().map(|row| row.visitor_id.as_ref().map(|id| id.as_str().to_owned())).collect();
    assert_eq!(whose, [None, None, Some(bob.to_owned()), None], "the rows are still counted");
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_say_what_is_and_end_accordingly() {
    let platforms = Platforms::start().await;
    let setup = Setup::new(&platforms.destinations());
    let relay = setup.start();
    accept(&relay, &purchase("o-1", Some("5"))).await;
    relay.settled().await;
    let (ok, text) = run(&relay, &["balance"]);
    assert!(ok && text.contains("1 events accepted") && text.contains("DESTINATION"), "{text}");
    let (ok, text) = run(&relay, &["destinations", "list"]);
    assert!(ok && text.contains("meta") && text.contains("active"), "{text}");
    let (ok, text) = run(&relay, &["destinations", "list", "--state", "paused"]);
    assert!(ok && text.contains("no destination is so"), "{text}");
    let (ok, text) = run(&relay, &["destinations", "pause", "nobody"]);
    assert!(!ok && text.contains("no destination of this name"), "{text}");
    let (ok, text) = run(&relay, &["dead-letters", "list"]);
    assert!(ok && text.trim() == "no dead letters", "{text}");
    let (ok, text) = run(&relay, &["dead-letters", "replay"]);
    assert!(!ok && text.contains("say which"), "{text}");
    let (ok, text) = run(&relay, &["dead-letters", "list", "--json"]);
    assert_eq!((ok, serde_json::from_str(&text).ok()), (true, Some(json!({"dead_letters": [], "next": null}))));
    let (ok, text) = run(&relay, &["dead-letters", "show", "o-1"]);
    assert!(!ok && text.contains("no dead letter of this event"), "{text}");
    let (ok, text) = run(&relay, &["visitors", "forget"]);
    assert!(!ok && text.contains("say whom"), "{text}");
    let (ok, text) = run(&relay, &["events", "show", "o-1"]);
    assert!(ok && text.contains("200 delivered (id "), "{text}");
    let (ok, text) = run(&relay, &["visitors", "forget", "ada@shop.example"]);
    assert!(!ok && text.contains("--email"), "{text}");
    let (ok, text) = run(&relay, &["visitors", "forget", "nobody"]);
    assert!(ok && text.contains("nothing that is stored leads to this person"), "{text}");
    let (ok, text) = run(&relay, &["replay", "--destination", "meta", "--from", "2026-11-01", "--to", "soon"]);
    assert!(!ok && text.contains("--to") && text.contains("such as 2026-11-20"), "{text}");
    let (ok, text) =
        run(&relay, &["replay", "--destination", "meta", "--from", "2020-01-01", "--to", "2100-01-01", "--dry-run"]);
    assert!(ok && text.contains("1 match"), "a day will do: {text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_asks_in_the_wrong_place_says_so() {
    let platforms = Platforms::start().await;
    let setup = Setup::new(&platforms.destinations());
    let relay = setup.start();
    let ask = |url: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_conversion-relay"));
        let output = command.args(["balance", "--url", url]).env("RELAY_ADMIN_TOKEN", "").output().expect("runs");
        (output.status.success(), String::from_utf8(output.stderr).expect("is text"))
    };
    let (ok, text) = ask(&relay.public);
    assert!(!ok && text.contains("is not the admin listener"), "{text}");
    let admin = relay.admin.trim_start_matches("http://");
    assert_eq!(ask(admin), (true, String::new()), "no scheme is HTTP");
    let (ok, text) = ask("127.0.0.1:9");
    assert!(!ok && text.contains("is it running?") && text.lines().count() == 1, "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_has_to_read_all_that_a_command_prints() {
    // What `conversion-relay check | head -0` comes to.
    let (reader, writer) = std::io::pipe().expect("makes");
    drop(reader);
    let setup = Setup::new("");
    let mut command = Command::new(env!("CARGO_BIN_EXE_conversion-relay"));
    let command = command.args(["check", "--config"]).arg(setup.config()).stdout(writer);
    let output = command.output().expect("runs");
    let told = String::from_utf8(output.stderr).expect("is text");
    assert_eq!((output.status.success(), told.as_str()), (true, ""));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operator_hears_what_a_file_would_not_take() {
    let platforms = Platforms::start().await;
    let spare = SPARE.replace("purchase = ", "sign_up = ");
    let setup = Setup::new(&format!("{}{spare}", platforms.destinations()));
    let relay = setup.start();
    done(&relay, "/v1/destinations/meta/pause", &json!({})).await;
    let (ok, text) = run(&relay, &["destinations", "spill", "meta", "--dry-run"]);
    assert!(ok && text.contains("spare does not take ") && text.contains("purchase"), "{text}");
}
