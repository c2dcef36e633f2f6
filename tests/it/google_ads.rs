//! What the destination `google_ads` sends is what its stand-in, which shares no code with it, takes; and what that answers
//! is understood.

use std::{sync::Arc, time::Duration};

use conversion_relay::{
    destinations::{Common, Destination, REGISTRY, Request, Response, Verdict},
    model::{
        ActionSource, Attribution, Change, Choice, ClickId, ClickKind, Clock, Consent, Context, Currency,
        DestinationName, Digest, EventId, EventName, Item, MockClock, Money, Properties, SealedEvent, SealedUser,
        SourceName, Spelled, Time, TransactionId, parse_decimal,
    },
    sandbox::{self, Fault, FaultMode, Platform, Sandbox},
};

const DAY: Duration = Duration::from_secs(24 * 3600);

struct Running {
    sandbox: Arc<Sandbox>,
    clock: Arc<MockClock>,
    google: Box<dyn Destination>,
    client: reqwest::Client,
    token: String,
}

impl Running {
    async fn start() -> Self {
        let clock = Arc::new(MockClock::at(at("2026-11-20T08:15:00Z")));
        let sandbox =
            Sandbox::new(clock.clone(), sandbox::Config { token_lifetime: DAY * 90, ..sandbox::Config::default() });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let base = format!("http://{}", listener.local_addr().expect("an address"));
        tokio::spawn(sandbox::serve(listener, Arc::clone(&sandbox), std::future::pending()));
        let client = reqwest::Client::new();
        let form = "grant_type=refresh_token&client_id=id&client_secret=secret&refresh_token=good";
        let request = client.post(format!("{base}/oauth/token"));
        let request = request.header("content-type", "application/x-www-form-urlencoded").body(form);
        let answer = request.send().await.expect("an answer").bytes().await.expect("a body");
        let answer: serde_json::Value = serde_json::from_slice(&answer).expect("JSON");
        let token = answer["access_token"].as_str().expect("a token").to_owned();
        let kind = REGISTRY.iter().find(|kind| kind.kind == "google_ads").expect("in the registry");
        let events = [("purchase", "987654321"), ("refund", "adjust"), ("restatement", "adjust")];
        let common = Common {
            name: DestinationName::new("google-ads").expect("a name"),
            events: events.map(|(event, action)| (name(event), action.to_owned())).into(),
            hold_after_click: None,
            fallback_for: None,
        };
        let table = format!(
            "customer_id = \"123-456-7890\"
            login_customer_id = \"111-222-3333\"
            merchant_id = \"5551\"
            base_url = \"{base}/google-ads\"
            credentials = {{ client_id = \"id\", client_secret = \"secret\", refresh_token = \"good\" }}"
        );
        let google =
            (kind.build)(common, table.parse().expect("TOML")).unwrap_or_else(|problems| panic!("{problems:?}"));
        Self { sandbox, clock, google, client, token }
    }

    async fn send(&self, request: conversion_relay::destinations::HttpRequest) -> Response {
        let mut post =
            self.client.post(&request.url).header("content-type", "application/json").bearer_auth(&self.token);
        for (name, value) in &request.headers {
            post = post.header(*name, value);
        }
        let answer = post.body(request.body).send().await.expect("an answer");
        let status = answer.status().as_u16();
        let id = answer.headers()["request-id"].to_str().expect("text").to_owned();
        let body = answer.bytes().await.expect("a body");
        Response::Http { status, retry_after: None, headers: vec![("request-id", id)], body }
    }

    async fn deliver(&self, batch: &[SealedEvent]) -> Vec<String> {
        for event in batch {
            assert_eq!(self.google.admit(event), Ok(()), "{event:?}");
        }
        let Request::Http(request) = self.google.prepare(batch) else { panic!("not an HTTP request") };
        let response = self.send(request).await;
        assert!(self.google.trace_id(&response).is_some_and(|id| id.starts_with("sandbox-")));
        self.google.interpret(batch, &response).iter().map(told).collect()
    }
}

fn told(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Delivered => "delivered".into(),
        Verdict::Retry { after, failure } => {
            format!("retry {} after {}", failure.code, after.map_or(0, |after| after.as_secs()))
        }
        Verdict::Blocked(failure) => format!("blocked {}", failure.code),
        Verdict::Rejected(failure) => format!("rejected {}", failure.code),
        Verdict::Misconfigured(failure) => format!("misconfigured {}", failure.code),
        Verdict::Isolate(failure) => format!("isolate {}", failure.code),
        Verdict::Resend => "resend".into(),
    }
}

fn at(text: &str) -> Time {
    Time::parse(text).expect("a time")
}

fn name(text: &str) -> EventName {
    EventName::new(text).expect("an event name")
}

fn euros(text: &str) -> Option<Money> {
    Money::new(parse_decimal(text).expect("a number"), Currency::parse("EUR").expect("known")).ok()
}

fn purchase(order: &str) -> SealedEvent {
    let spelled = |text| Spelled { meta: None, google: Some(Digest::of_token(text)) };
    let time = at("2026-11-20T08:14:00.250Z");
    let clicked = Some(at("2026-11-19T20:00:00Z"));
    let value = format!("Cj0KCQ-{order}_x");
    let clicks = vec![ClickId { kind: ClickKind::Gclid, value, first_seen: clicked, last_seen: time }];
    SealedEvent {
        source: SourceName::new("shop").expect("a name"),
        name: name("purchase"),
        event_id: EventId::new(format!("order-{order}")).expect("an id"),
        time,
        received_at: time,
        visitor_id: None,
        joined_by: None,
        transaction_id: TransactionId::new(order).ok(),
        money: euros("49.9"),
        action_source: ActionSource::Website,
        items: vec![Item { id: Some("sku".into()), name: None, quantity: None, price: None }],
        user: SealedUser { emails: vec![spelled("a")], phones: vec![spelled("b")], ..SealedUser::default() },
        context: Context { clicks, ..Context::default() },
        attribution: Attribution::default(),
        consent: Consent { ad_user_data: Choice::Granted, ad_personalization: Choice::Denied },
        properties: Properties::default(),
        change: None,
    }
}

fn change(event: &str, original: &SealedEvent, worth: &str, time: Time) -> SealedEvent {
    let change = Change { original: original.clone(), worth: euros(worth) };
    let (name, event_id) = (name(event), EventId::new(format!("{event}-{time}")).expect("an id"));
    SealedEvent { name, event_id, time, received_at: time, change: Some(Box::new(change)), ..purchase("x") }
}

#[tokio::test]
async fn conversions_are_taken_once_and_young_ones_are_not_adjusted() {
    let running = Running::start().await;
    let (a, b) = (purchase("a"), purchase("b"));
    let mut braid = purchase("c");
    braid.context.clicks[0].kind = ClickKind::Wbraid;
    let mut lead = purchase("d");
    lead.context.clicks.clear();
    let batch = [a.clone(), b, braid, lead];
    assert_eq!(running.deliver(&batch).await, ["delivered"; 4]);
    assert_eq!(running.deliver(&batch).await, ["delivered"; 4], "it has them already");
    let stats = running.sandbox.stats().google_ads;
    assert_eq!((stats.distinct_ids, stats.duplicates), (4, 4));
    let twins = [purchase("e"), purchase("e")];
    assert_eq!(running.deliver(&twins).await, ["isolate DUPLICATE_ORDER_ID"; 2]);
    let refund = change("refund", &a, "0", running.clock.now());
    assert_eq!(running.deliver(&[refund]).await, ["retry TOO_RECENT_CONVERSION after 86400"]);
}

#[tokio::test]
async fn refunds_and_restatements_change_the_conversion() {
    let running = Running::start().await;
    let (a, b) = (purchase("a"), purchase("b"));
    assert_eq!(running.deliver(std::slice::from_ref(&a)).await, ["delivered"]);
    running.clock.advance(DAY);
    let now = running.clock.now();
    let later = now.plus(Duration::from_secs(60));
    let mixed = [change("refund", &a, "30", now), purchase("z"), change("refund", &b, "0", now)];
    let missing = "retry CONVERSION_NOT_FOUND after 21600";
    assert_eq!(running.deliver(&mixed).await, ["delivered", "resend", missing]);
    assert_eq!(running.deliver(&[change("restatement", &a, "20", later)]).await, ["delivered"]);
    let total = change("refund", &a, "0", later.plus(Duration::from_secs(60)));
    assert_eq!(running.deliver(std::slice::from_ref(&total)).await, ["delivered"]);
    assert_eq!(running.deliver(&[total]).await, ["delivered"], "retracted already");
    let received = running.sandbox.received_google_ads();
    let kinds: Vec<_> = received.iter().map(|entry| entry["event"]["adjustmentType"].clone()).collect();
    assert_eq!(kinds, [serde_json::Value::Null, "RESTATEMENT".into(), "RESTATEMENT".into(), "RETRACTION".into()]);
    assert_eq!(received[1]["event"]["restatementValue"]["adjustedValue"], 30.0);
}

#[tokio::test]
async fn faults_have_the_verdicts_that_they_need() {
    let running = Running::start().await;
    let fail = |mode| {
        let fault = Fault::new(mode).for_requests(1).retry_after(Duration::from_secs(7));
        running.sandbox.set_fault(Platform::GoogleAds, fault);
    };
    let batch = [purchase("a"), purchase("b")];
    for (mode, verdicts) in [
        (FaultMode::Outage, ["retry TRANSIENT_ERROR after 0"; 2]),
        (FaultMode::Throttle, ["retry RESOURCE_TEMPORARILY_EXHAUSTED after 7"; 2]),
        (FaultMode::Partial, ["delivered", "retry INTERNAL_ERROR after 0"]),
        (FaultMode::None, ["delivered"; 2]),
        (FaultMode::ExpiredToken, ["blocked OAUTH_TOKEN_INVALID"; 2]),
    ] {
        fail(mode);
        assert_eq!(running.deliver(&batch).await, verdicts, "{mode:?}");
    }
}

#[tokio::test]
async fn a_rehearsal_passes_and_counts_nothing() {
    let running = Running::start().await;
    for rehearsal in running.google.rehearsals(&purchase("sample")) {
        let response = running.send(rehearsal.request).await;
        assert!((rehearsal.read)(&response).is_ok(), "{:?}", (rehearsal.read)(&response));
    }
    assert_eq!(running.sandbox.stats().google_ads.accepted, 0);
}
