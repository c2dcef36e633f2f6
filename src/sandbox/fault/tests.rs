//! Every fault, over HTTP, and every way to ask for it.

use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::sandbox::testing::{NOW_S, Running, conversion, ingest, purchase, with};

const META: &str = "/meta/v25.0/1234567890/events";
const INGEST: &str = "/google/v1/events:ingest";
const GA4: &str = "/ga4/mp/collect?measurement_id=G-ABC123&api_secret=s";

async fn fault(running: &Running, wanted: Value) -> Value {
    let (status, faults) = running.post("/faults", "", &wanted).await;
    assert_eq!(status, 200, "{wanted}: {faults}");
    faults
}

async fn meta(running: &Running, events: &[Value]) -> (u16, Value) {
    running.post(META, "token", &json!({ "data": events })).await
}

async fn google(running: &Running, events: &[Value]) -> (u16, Value) {
    let token = running.token().await;
    running.post(INGEST, &token, &ingest(events)).await
}

/// Status, headers and text of one GA4 request with a purchase.
async fn ga4(running: &Running, transaction: &str) -> reqwest::Response {
    let event = json!({"name": "purchase", "params": {"transaction_id": transaction}});
    let body = json!({"client_id": "1.2", "events": [event]});
    running.client.post(format!("{}{GA4}", running.base)).body(body.to_string()).send().await.unwrap()
}

fn meta_request(running: &Running, events: &[Value]) -> reqwest::RequestBuilder {
    let request = running.client.post(format!("{}{META}?access_token=t", running.base));
    request.header("content-type", "application/json").body(json!({ "data": events }).to_string())
}

#[tokio::test]
async fn an_outage_is_there_from_one_time_to_another() {
    let running = Running::start().await;
    fault(&running, json!({"platform": "meta", "mode": "outage", "from": "10s", "for": "20s"})).await;
    let at = |s: i64| Time::from_secs(NOW_S + s);
    for (second, status) in [(0, 200), (9, 200), (10, 503), (29, 503), (30, 200)] {
        running.clock.set(at(second));
        assert_eq!(meta(&running, &[purchase("a")]).await.0, status, "at {second} s");
    }
    assert_eq!(running.sandbox.faults(Platform::Meta), [], "it is over");
    let from =
        json!({"platform": "ga4", "mode": "outage", "from": at(40).to_string(), "for": "5s", "retry_after_s": 3});
    fault(&running, from).await;
    running.clock.set(at(41));
    let answer = ga4(&running, "1").await;
    assert_eq!((answer.status().as_u16(), &answer.headers()["retry-after"]), (503, &"3".parse().unwrap()));
    running.clock.set(at(45));
    assert_eq!(ga4(&running, "1").await.status(), 204);
}

#[tokio::test]
async fn an_error_rate_hits_exactly_its_share() {
    let running = Running::start().await;
    fault(&running, json!({"platform": "meta", "mode": "error_rate", "share": 0.1})).await;
    fault(&running, json!({"platform": "data_manager", "mode": "error_rate", "share": 0.5, "status": 503})).await;
    let token = running.token().await;
    let (mut at_meta, mut at_google) = (Vec::new(), Vec::new());
    for i in 0..20 {
        at_meta.push(meta(&running, &[purchase(&i.to_string())]).await.0);
        at_google.push(running.post(INGEST, &token, &ingest(&[conversion(&i.to_string())])).await.0);
    }
    let hit = |statuses: &[u16], status| statuses.iter().filter(|it| **it == status).count();
    assert_eq!((hit(&at_meta, 500), hit(&at_meta, 200)), (2, 18));
    assert_eq!((hit(&at_google, 503), hit(&at_google, 200)), (10, 10));
    let stats = running.sandbox.stats();
    assert_eq!(
        (stats.meta.accepted, stats.meta.refused["error_rate"], stats.meta.faults_met["error_rate"]),
        (18, 2, 2)
    );
}

#[tokio::test]
async fn the_token_endpoint_errs_and_breaks_like_the_others() {
    let running = Running::start().await;
    fault(&running, json!({"platform": "oauth", "mode": "error_rate", "share": 1, "status": 503})).await;
    let (status, body) = running.refresh("good").await;
    assert_eq!((status, &body["error"]), (503, &json!("server_error")));
    for mode in ["cut", "reset"] {
        fault(&running, json!({"platform": "oauth", "mode": mode, "for_requests": 1})).await;
        let request = running.client.post(format!("{}/oauth/token", running.base)).body("grant_type=refresh_token");
        assert!(request.send().await.is_err(), "{mode}");
    }
    assert_eq!(running.refresh("good").await.0, 200);
}

#[tokio::test]
async fn a_connection_cut_in_mid_request_takes_nothing() {
    let running = Running::start().await;
    fault(&running, json!({"platform": "meta", "mode": "cut", "for_requests": 2})).await;
    let many: Vec<Value> = (0..1000).map(|i| purchase(&i.to_string())).collect();
    for events in [&many[..], &many[..1]] {
        assert!(meta_request(&running, events).send().await.is_err(), "not even a status line");
    }
    let stats = running.sandbox.stats().meta;
    assert_eq!((stats.requests, stats.accepted, stats.faults_met["cut"]), (2, 0, 2));
    assert_eq!(meta(&running, &many).await.0, 200);
    assert_eq!(ga4(&running, "1").await.status(), 204, "the others are left alone");
}

#[tokio::test]
async fn a_hanging_request_has_worked_and_is_never_answered() {
    let running = Running::start().await;
    fault(&running, json!({"platform": "meta", "mode": "hang", "for_requests": 1})).await;
    let answer = tokio::spawn(meta_request(&running, &[purchase("a")]).send());
    while running.sandbox.stats().meta.accepted == 0 {
        tokio::task::yield_now().await;
    }
    assert!(!answer.is_finished());
    assert_eq!(meta(&running, &[purchase("a")]).await.0, 200, "the next one is answered");
    assert!(!answer.is_finished());
    assert_eq!(running.sandbox.stats().meta.duplicates, 1);
    answer.abort();
}

#[tokio::test]
async fn a_token_dies_once_or_for_good() {
    let running = Running::start().await;
    let send = async |token: &str| running.post(INGEST, token, &ingest(&[conversion("a")])).await.0;
    let old = running.token().await;
    fault(&running, json!({"platform": "data_manager", "mode": "expired_token", "for_requests": 1})).await;
    assert_eq!((send(&old).await, send(&old).await), (401, 401), "it stays dead");
    assert_eq!(send(&running.token().await).await, 200, "a new one works");
    fault(&running, json!({"platform": "data_manager", "mode": "expired_token"})).await;
    for _ in 0..3 {
        assert_eq!(send(&running.token().await).await, 401);
    }
    fault(&running, json!({"platform": "meta", "mode": "expired_token", "for_requests": 1})).await;
    assert_eq!(meta(&running, &[purchase("a")]).await.1["error"]["error_subcode"], 463);
    assert_eq!(meta(&running, &[purchase("a")]).await.0, 200);
    fault(&running, json!({"platform": "ga4", "mode": "expired_token"})).await;
    assert_eq!(ga4(&running, "1").await.status(), 204, "GA4 says nothing");
    let stats = running.sandbox.stats().ga4;
    assert_eq!((stats.accepted, stats.refused["expired_token"]), (0, 1));
}

#[tokio::test]
async fn named_events_fail_and_the_others_are_taken() {
    let running = Running::start().await;
    for platform in ["meta", "data_manager", "ga4"] {
        fault(&running, json!({"platform": platform, "mode": "partial", "ids": ["b", "A-7"]})).await;
    }
    let by_order = with(purchase("d"), "/custom_data/order_id", Some(json!("A-7")));
    let sent = [purchase("a"), purchase("b"), purchase("c"), by_order];
    assert_eq!(meta(&running, &sent).await.1["events_received"], 2);
    assert_eq!(meta(&running, &sent[..1]).await.1["events_received"], 1);
    let id = google(&running, &[conversion("a"), conversion("b")]).await.1["requestId"].as_str().unwrap().to_owned();
    let token = running.token().await;
    let status = running.get(&format!("/google/v1/requestStatus:retrieve?requestId={id}"), &token).await.1;
    assert_eq!(status["requestStatusPerDestination"][0]["requestStatus"], "PARTIAL_SUCCESS");
    for id in ["a", "b"] {
        assert_eq!(ga4(&running, id).await.status(), 204);
    }
    let stats = running.sandbox.stats();
    assert_eq!((stats.meta.distinct_ids, stats.meta.failed_afterwards["partial"]), (2, 2));
    assert_eq!((stats.data_manager.accepted, stats.ga4.accepted, stats.ga4.failed_afterwards["partial"]), (1, 1, 1));
}

#[tokio::test]
async fn a_poison_event_spoils_what_it_travels_in() {
    let running = Running::start().await;
    for platform in ["meta", "data_manager", "ga4"] {
        fault(&running, json!({"platform": platform, "mode": "poison", "ids": ["bad"]})).await;
    }
    for _ in 0..2 {
        let (status, body) = meta(&running, &[purchase("a"), purchase("bad")]).await;
        assert_eq!((status, &body["error"]["code"]), (400, &json!(100)));
        assert!(!body.to_string().contains("bad") && body["error"].get("error_data").is_none(), "not which: {body}");
    }
    let (status, body) = google(&running, &[conversion("a"), conversion("bad")]).await;
    let violations = body["error"]["details"].as_array().unwrap().iter().find_map(|it| it.get("fieldViolations"));
    assert_eq!((status, &violations.unwrap()[0]["field"]), (400, &json!("events.events[1]")), "{body}");
    assert_eq!((ga4(&running, "bad").await.status().as_u16(), ga4(&running, "a").await.status().as_u16()), (204, 204));
    assert_eq!(meta(&running, &[purchase("a")]).await.0, 200);
    assert_eq!(google(&running, &[conversion("a")]).await.0, 200);
    let stats = running.sandbox.stats();
    assert_eq!((stats.meta.accepted, stats.data_manager.accepted, stats.ga4.accepted), (1, 1, 1));
    let poison = [&stats.meta, &stats.data_manager, &stats.ga4].map(|it| it.refused["poison"]);
    assert_eq!(poison, [2, 1, 1]);
    assert_eq!(stats.meta.latest_refusals[0].field, "data[1]", "the ledger knows which");
}

#[tokio::test]
async fn every_nth_event_is_poison_however_it_is_sent_again() {
    let running = Running::start().await;
    fault(&running, json!({"platform": "meta", "mode": "poison", "poison_every": 5})).await;
    let events: Vec<Value> = (1..=12).map(|i| purchase(&i.to_string())).collect();
    let mut refused = Vec::new();
    let mut halves = vec![&events[..]];
    let mut requests = 0;
    while let Some(batch) = halves.pop() {
        requests += 1;
        match (meta(&running, batch).await.0, batch) {
            (200, _) => {}
            (400, [one]) => refused.push(one["event_id"].as_str().unwrap().to_owned()),
            (400, batch) => halves.extend([&batch[..batch.len() / 2], &batch[batch.len() / 2..]]),
            (status, _) => panic!("{status}"),
        }
    }
    refused.sort();
    assert_eq!(refused, ["10", "5"], "the same ones in every half");
    assert!(requests <= 15, "{requests}");
    assert_eq!(running.sandbox.stats().meta.accepted, 10);
    for id in refused {
        assert_eq!(meta(&running, &[purchase(&id)]).await.0, 400, "for good");
    }
}

#[tokio::test]
async fn meta_says_how_much_of_its_limit_is_used() {
    let running = Running::start().await;
    fault(&running, json!({"platform": "meta", "mode": "usage", "percent": 95, "minutes": 7})).await;
    let response = meta_request(&running, &[purchase("a")]).send().await.unwrap();
    let usage: Value = serde_json::from_slice(response.headers()["x-business-use-case-usage"].as_bytes()).unwrap();
    assert_eq!(response.status(), 200);
    let usage = &usage["1"][0];
    assert_eq!((&usage["call_count"], &usage["estimated_time_to_regain_access"]), (&json!(95), &json!(7)));
}

#[tokio::test]
async fn google_throttles_with_429_and_says_when_to_come_back() {
    let running = Running::start().await;
    let token = running.token().await;
    for platform in ["data_manager", "ga4"] {
        let throttle = json!({"platform": platform, "mode": "throttle", "retry_after_s": 30, "for_requests": 1});
        fault(&running, throttle).await;
    }
    let request = running.client.post(format!("{}{INGEST}", running.base)).bearer_auth(token);
    let answers = [request.body("{}").send().await.unwrap(), ga4(&running, "1").await];
    for answer in answers {
        assert_eq!((answer.status().as_u16(), &answer.headers()["retry-after"]), (429, &"30".parse().unwrap()));
    }
    assert_eq!(ga4(&running, "1").await.status(), 204);
}

#[tokio::test]
async fn several_faults_of_one_platform_are_in_force_at_once() {
    let running = Running::start().await;
    let add = |mut wanted: Value| {
        wanted["platform"] = json!("meta");
        wanted["add"] = json!(true);
        wanted
    };
    fault(&running, add(json!({"mode": "usage", "percent": 80}))).await;
    fault(&running, add(json!({"mode": "partial", "ids": ["a"]}))).await;
    fault(&running, add(json!({"mode": "poison", "ids": ["bad"]}))).await;
    let faults = fault(&running, add(json!({"mode": "outage", "from": "60s"}))).await;
    let modes = |faults: &Value| {
        let list = faults["meta"]["in_force"].as_array().unwrap();
        list.iter().map(|fault| fault["mode"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(modes(&faults), ["usage", "partial", "poison", "outage"]);
    assert_eq!(meta(&running, &[purchase("c"), purchase("bad")]).await.0, 400);
    let response = meta_request(&running, &[purchase("a"), purchase("b")]).send().await.unwrap();
    assert!(response.headers().contains_key("x-business-use-case-usage"));
    assert_eq!(running.sandbox.stats().meta.accepted, 1);
    running.clock.advance(Duration::from_secs(60));
    assert_eq!(meta(&running, &[purchase("b")]).await.0, 503);
    let faults = fault(&running, json!({"platform": "meta", "mode": "slow"})).await;
    assert_eq!(modes(&faults), ["slow"], "without add it takes the place of all others");
    let faults = fault(&running, json!({"platform": "meta", "mode": "none"})).await;
    assert_eq!((modes(&faults), &faults["meta"]["mode"]), (vec![], &json!("none")));
}

#[tokio::test]
async fn the_same_id_with_another_body_is_noticed() {
    let running = Running::start().await;
    meta(&running, &[purchase("a")]).await;
    meta(&running, &[purchase("a")]).await;
    meta(&running, &[with(purchase("a"), "/custom_data/value", Some(json!(5)))]).await;
    let stats = running.sandbox.stats().meta;
    assert_eq!((stats.accepted, stats.distinct_ids, stats.duplicates, stats.changed_duplicates), (3, 1, 2, 1));
    let stats = running.get("/_sandbox/stats", "").await.1;
    assert_eq!((&stats["meta"]["changed_duplicates"], &stats["meta"]["requests"]), (&json!(1), &json!(3)));
}

#[test]
fn a_latency_range_is_used_evenly_and_kept() {
    let (least, most) = (Duration::from_millis(100), Duration::from_millis(200));
    let fault = Fault { delay_max: Some(most), ..Fault::new(FaultMode::Slow).delay(least) };
    let mut active = Active { fault, ..Active::default() };
    let mut below = 0;
    for _ in 0..100 {
        active.hits();
        let delay = active.delay();
        assert!((least..=most).contains(&delay), "{delay:?}");
        below += usize::from(delay < Duration::from_millis(150));
    }
    assert!((45..=55).contains(&below), "{below}");
}

#[test]
fn the_one_word_form_says_the_same_as_json() {
    let now = Time::from_secs(NOW_S);
    let word = |text: &str| {
        let request: FaultRequest = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
        (request.platform(), request.fault(now).expect("was checked"))
    };
    let seconds = Duration::from_secs;
    let until = |s: u64| Some(now.plus(seconds(s)));
    for (text, platform, fault) in [
        ("meta:outage:20s", Platform::Meta, Fault { ends: until(20), ..Fault::new(FaultMode::Outage) }),
        (
            "meta:outage:from=10s:for=20s",
            Platform::Meta,
            Fault::new(FaultMode::Outage).between(now.plus(seconds(10)), now.plus(seconds(30))),
        ),
        ("data_manager:error_rate=0.1", Platform::DataManager, Fault::error_rate(0.1)),
        ("ga4:error_rate=1:status=503", Platform::Ga4, Fault { status: Some(503), ..Fault::error_rate(1.0) }),
        (
            "meta:throttle=30s:1m",
            Platform::Meta,
            Fault { ends: until(60), ..Fault::new(FaultMode::Throttle).retry_after(seconds(30)) },
        ),
        ("meta:slow=200ms", Platform::Meta, Fault::new(FaultMode::Slow).delay(Duration::from_millis(200))),
        (
            "meta:slow=100ms-2s",
            Platform::Meta,
            Fault { delay_max: Some(seconds(2)), ..Fault::new(FaultMode::Slow).delay(Duration::from_millis(100)) },
        ),
        ("meta:cut:for_requests=3", Platform::Meta, Fault::new(FaultMode::Cut).for_requests(3)),
        ("oauth:hang", Platform::Oauth, Fault::new(FaultMode::Hang)),
        ("data_manager:expired_token:once", Platform::DataManager, Fault::new(FaultMode::ExpiredToken).for_requests(1)),
        ("meta:partial=a,b", Platform::Meta, Fault::new(FaultMode::Partial).ids(["a", "b"])),
        ("meta:poison=a", Platform::Meta, Fault::new(FaultMode::Poison).ids(["a"])),
        ("meta:poison_every=500", Platform::Meta, Fault::poison_every(500)),
        ("meta:usage=95%:minutes=5", Platform::Meta, Fault { percent: 95, minutes: 5, ..Fault::new(FaultMode::Usage) }),
    ] {
        assert_eq!(word(text), (platform, fault), "{text}");
    }
}

#[tokio::test]
async fn a_fault_that_makes_no_sense_is_refused_with_what_would() {
    let say = |text: &str| text.parse::<FaultRequest>().expect_err(text).to_string();
    for (text, said) in [
        ("", "PLATFORM:MODE"),
        ("tiktok:outage", "platforms: meta, data_manager, google_ads, oauth, ga4"),
        ("meta", "is no mode"),
        ("meta:explode", "modes: none, outage, "),
        ("meta:outage:20", "for must be a whole number and a unit"),
        ("meta:outage:colour=red", "colour is no setting; known: from"),
        ("meta:cut=3", "cut takes no value"),
        ("meta:error_rate", "a share from 0 to 1"),
        ("meta:error_rate=2", "a share from 0 to 1"),
        ("meta:error_rate=x", "share wants a number"),
        ("meta:error_rate=0.1:status=404", "500 to 599"),
        ("meta:outage:ids=a", "ids are for partial and poison"),
        ("meta:poison", "poison wants ids or poison_every"),
        ("meta:poison_every=0", "1 or more"),
        ("meta:poison_every", "poison_every wants a number"),
        ("meta:usage", "wants percent"),
        ("ga4:usage=90", "usage is for meta"),
        ("oauth:partial", "no events"),
        ("meta:slow=2s-1s", "must not be less"),
        ("meta:outage:from=tomorrow", "from wants a time"),
    ] {
        assert!(say(text).contains(said), "{text}: {}", say(text));
    }
    let running = Running::start().await;
    let wrong = json!({"platform": "meta", "mode": "error_rate", "share": 7});
    let (status, answer) = running.post("/faults", "", &wrong).await;
    assert!(status == 400 && answer["error"].as_str().unwrap().contains("a share from 0 to 1"), "{answer}");
    assert_eq!(running.sandbox.faults(Platform::Meta), []);
}
