//! The operator's requests over real HTTP, on stores in memory: parameters, problems, and what they change.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::*;
use crate::{
    destinations::{
        Auth, Common, Dedupe, Destination, HttpRequest, OnUnknownConsent, Profile, REGISTRY, Request as Prepared,
        Response as Answered, Unsendable, Verdict,
    },
    links::policy::Policy,
    model::{
        Attempt, ClickId, ClickKind, Currency, DestinationId, DestinationName, Digest, EventName, Failure,
        FailureClass, MockClock, Money, Observation, Outcome, Raw, RawUser, SealedEvent, Settings, Time, Visit,
        VisitorId, WaitReason,
    },
    privacy::seal_user,
    store::{Exhibit, Settlement, Step, conformance, memory},
    tracking::{
        Links,
        drift::Drift,
        governance::Governance,
        registry::{Places, Registry},
    },
};

const NOW: i64 = 1_795_000_000;

fn name(text: &str) -> DestinationName {
    DestinationName::new(text).expect("a valid name")
}

pub(super) fn place(text: &str, id: u16, kind: &str, table: &str, fallback_for: Option<&str>) -> Place {
    let purchase = EventName::new("purchase").expect("a valid name");
    let events = BTreeMap::from([(purchase.clone(), "Purchase".to_owned())]);
    let fallback_for = fallback_for.map(name);
    let common = Common { name: name(text), events, hold_after_click: None, fallback_for: fallback_for.clone() };
    let descriptor = REGISTRY.iter().find(|descriptor| descriptor.kind == kind).expect("is known");
    let built = (descriptor.build)(common, table.parse().expect("TOML"));
    let destination = built.unwrap_or_else(|problems| panic!("{problems:?}"));
    Place {
        name: name(text),
        kind: descriptor.kind,
        id: DestinationId(id),
        destination: Arc::from(destination),
        on_unknown_consent: OnUnknownConsent::Send,
        concurrency: None,
        events: [purchase].into(),
        sources: None,
        fallback_for,
        has_fallback: false,
    }
}

/// Takes events of the last day, as its fields say.
pub(super) struct Fake {
    pub(super) profile: Profile,
    pub(super) dedupe: Dedupe,
    pub(super) hold: Option<Time>,
    pub(super) admit: Result<(), Unsendable>,
}

impl Fake {
    pub(super) fn new() -> Self {
        let auth = Auth::None;
        let profile = Profile {
            batch_max: 1,
            spacing: Duration::ZERO,
            rate: None,
            timeout: Duration::from_secs(3600),
            auth,
            headers: &[],
        };
        Self { profile, dedupe: Dedupe::Always, hold: None, admit: Ok(()) }
    }

    pub(super) fn place(self) -> Place {
        Place { destination: Arc::new(self), ..place("fake", 0, "file", "format = 'jsonl'\npath = 'x'", None) }
    }
}

impl Destination for Fake {
    fn profile(&self) -> &Profile {
        &self.profile
    }
    fn deadline(&self, event: &SealedEvent) -> Time {
        event.time.plus(Duration::from_secs(3600) * 24)
    }
    fn hold(&self, _: &SealedEvent) -> Option<(Time, WaitReason)> {
        self.hold.map(|until| (until, WaitReason::ClickTooRecent))
    }
    fn admit(&self, _: &SealedEvent) -> Result<(), Unsendable> {
        self.admit.clone()
    }
    fn prepare(&self, _: &[SealedEvent]) -> Prepared {
        Prepared::Http(HttpRequest::default())
    }
    fn interpret(&self, _: &[SealedEvent], _: &Answered) -> Vec<Verdict> {
        Vec::new()
    }
    fn dedupe(&self, _: &SealedEvent) -> Dedupe {
        self.dedupe
    }
    fn evidence(&self, _: &SealedEvent) -> Vec<&'static str> {
        Vec::new()
    }
}

/// Tracked links with this `[utm]` policy, on one link host.
pub(super) fn tracked(stores: &Stores, clock: &Arc<dyn Clock>, utm: &str) -> Tracked {
    let book = &stores.book;
    let mut settings = Settings::new("utm.", utm.parse().expect("TOML"));
    let governance = Arc::new(Governance::new(Policy::read(&mut settings), Arc::clone(book)));
    assert_eq!(settings.finish(), []);
    let links = Arc::new(Links::open(Arc::clone(book), 20_000));
    let places = Places { public_url: Some("https://t.example.com".into()), hosts: vec!["go.brand.example".into()] };
    let registry =
        Registry::new(Arc::clone(&links), Arc::clone(&governance), Arc::clone(book), Arc::clone(clock), places);
    Tracked {
        links,
        drift: Arc::new(Drift::new(Arc::clone(&governance), Arc::clone(book))),
        governance,
        registry: Arc::new(registry),
        settings: LinkSettings { unique_window: Duration::from_secs(86_400) },
        checks: None,
        goals: Goals::default(),
    }
}

pub(super) struct Operator {
    pub(super) admin: Admin,
    pub(super) url: String,
    pub(super) client: reqwest::Client,
}

impl Operator {
    /// The listener with destinations `meta`, `fake`, which counts everything twice that comes twice, and the files `out`
    /// and `spare`, of which the second stands in for `meta`.
    pub(super) async fn start(token: Option<&str>) -> Self {
        Self::with(token, "").await
    }

    /// The same with this `[utm]` policy.
    pub(super) async fn with(token: Option<&str>, utm: &str) -> Self {
        let directory = std::path::Path::new("unused");
        let stores = memory::open(memory::SimulatedDisk::default(), conformance::config(directory)).expect("opens");
        let names = [name("meta"), name("out"), name("spare"), name("fake")];
        let ids = stores.events.register(&names).await.expect("registers");
        let file = "format = 'jsonl'\npath = 'unused'";
        let clock: Arc<dyn Clock> = Arc::new(MockClock::at(Time::from_secs(NOW)));
        let admin = Admin {
            tracked: tracked(&stores, &clock, utm),
            stores,
            places: Arc::new(vec![
                place("meta", ids[0].0, "meta", "pixel_id = '1'\naccess_token = 't'", None),
                place("out", ids[1].0, "file", file, None),
                place("spare", ids[2].0, "file", file, Some("meta")),
                Place { id: ids[3], ..Fake { dedupe: Dedupe::Never, ..Fake::new() }.place() },
            ]),
            status: Status::default(),
            clock,
            warn_before: Duration::from_secs(86_400),
            default_country: Country::parse("US").ok(),
            steering: Arc::default(),
            qa: QaSettings::default(),
            metrics: Arc::new(String::new),
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let routes = router(admin.clone(), token.map(Secret::new), axum::Router::new());
        tokio::spawn(async move { axum::serve(listener, routes).await });
        Self { admin, url, client: reqwest::Client::new() }
    }

    pub(super) async fn send(request: reqwest::RequestBuilder) -> (u16, Value) {
        let answer = request.send().await.expect("answers");
        let status = answer.status().as_u16();
        let text = answer.text().await.expect("has a body");
        (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    pub(super) async fn get(&self, path: &str) -> (u16, Value) {
        Self::send(self.client.get(format!("{}{path}", self.url))).await
    }

    pub(super) async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        let request = self.client.post(format!("{}{path}", self.url)).header("content-type", "application/json");
        Self::send(request.body(body.to_string())).await
    }

    /// What is refused about a request, by its status.
    pub(super) async fn refused(&self, path: &str, body: &Value) -> (u16, String) {
        let (status, problem) = self.post(path, body).await;
        assert!(status >= 400, "{path} {body}: {problem}");
        (status, problem["detail"].as_str().unwrap_or_default().to_owned())
    }
}

#[tokio::test]
async fn a_destination_nobody_knows_is_not_found() {
    let operator = Operator::start(None).await;
    for path in ["pause", "resume", "spill"] {
        for name in ["nobody", "Meta", "%20"] {
            let (status, problem) = operator.post(&format!("/v1/destinations/{name}/{path}"), &json!({})).await;
            assert_eq!((status, &problem["type"]), (404, &json!("/problems/not-found")), "{path} {name}");
        }
    }
    let (status, _) = operator.get("/v1/dead-letters?destination=nobody").await;
    assert_eq!(status, 404);
    for (path, body) in [
        ("/v1/dead-letters/replay", json!({"destination": "nobody"})),
        ("/v1/dead-letters/discard", json!({"destination": "nobody", "reason": "test"})),
        ("/v1/replay", json!({"destination": "nobody", "from": "2026-11-20T00:00:00Z", "to": "2026-11-21T00:00:00Z"})),
    ] {
        assert_eq!(operator.refused(path, &body).await.0, 404, "{path}");
    }
    for path in ["/v1/dead-letters/o-1", "/v1/visitors/v-1", "/v1/visitors/ada%40example.com"] {
        assert_eq!(operator.get(path).await.0, 404, "{path}");
    }
}

#[tokio::test]
async fn a_parameter_nobody_knows_is_named() {
    let operator = Operator::start(None).await;
    for (path, told) in [
        ("/v1/dead-letters?clas=event", "clas: "),
        ("/v1/dead-letters?class=mine", "class: must be event, settings or unknown"),
        ("/v1/dead-letters?limit=0", "limit: must be a whole number from 1 to 1000"),
        ("/v1/dead-letters?limit=1001", "limit: "),
        ("/v1/dead-letters?after=x", "after: must be the next of an earlier answer"),
        ("/v1/dead-letters?since=yesterday", "since: "),
        ("/v1/dead-letters?event_ids=o-1", "event_ids: this parameter is not known here"),
        ("/v1/visitors/v-1?full=1", "full: "),
    ] {
        let (status, problem) = operator.get(path).await;
        let detail = problem["detail"].as_str().expect("a detail");
        assert!(status == 422 && detail.starts_with(told), "{path}: {status} {detail}");
    }
    let replay = "/v1/replay";
    let (from, to) = ("2026-11-20T00:00:00Z", "2026-11-21T00:00:00Z");
    for (path, body, told) in [
        ("/v1/destinations/meta/pause", json!({"why": "x"}), "why: this field is not known here; known: reason"),
        ("/v1/destinations/meta/pause", json!({"reason": "ask ada@example.com"}), "reason: is stored"),
        ("/v1/destinations/meta/pause", json!({"reason": 7}), "reason: must be a text"),
        ("/v1/destinations/meta/resume", json!({"reason": "x"}), "reason: this field"),
        ("/v1/destinations/meta/spill", json!({"to": "out"}), "to: must name a file destination that is configured"),
        ("/v1/dead-letters/replay", json!({"event_ids": []}), "event_ids: must have 1 to 1000"),
        ("/v1/dead-letters/replay", json!({"event_ids": ["ada@example.com"]}), "event_ids: must be a list"),
        ("/v1/dead-letters/replay", json!({"event_ids": ["o-1"], "limit": 1}), "limit: does not go with event_ids"),
        ("/v1/dead-letters/replay", json!({"dry_run": "yes"}), "dry_run: must be true or false"),
        ("/v1/dead-letters/discard", json!({"class": "event"}), "reason: is missing"),
        ("/v1/dead-letters/discard", json!({"class": "event", "reason": " "}), "reason: is missing"),
        ("/v1/dead-letters/discard", json!({"reason": "old"}), "all: must be true"),
        (replay, json!({"from": from, "to": to}), "destination: is missing"),
        (replay, json!({"destination": "meta", "from": from}), "from: from and to are both needed"),
        (replay, json!({"destination": "meta", "from": to, "to": from}), "to: must be after from"),
        (replay, json!({"destination": "meta", "from": from, "to": to, "outcomes": ["queued"]}), "outcomes: must be"),
        ("/v1/visitors/forget", json!({}), "give at least one of"),
        ("/v1/visitors/forget", json!({"e-mail": "ada@example.com"}), "this field is not known here"),
        ("/v1/visitors/forget", json!({"email": "no address"}), "email: cannot be read as one"),
        ("/v1/visitors/forget", json!({"phone": "x"}), "phone: cannot be read as one"),
    ] {
        let (status, problem) = operator.post(path, &body).await;
        let detail = problem["detail"].as_str().expect("a detail");
        assert!(status == 422 && detail.starts_with(told), "{path} {body}: {status} {detail}");
        assert_eq!(problem["type"], "/problems/invalid-request", "{path} {body}");
        assert!(!problem.to_string().contains("ada@"), "{problem}");
    }
}

#[tokio::test]
async fn a_body_is_json_or_nothing() {
    let operator = Operator::start(None).await;
    let pause = || operator.client.post(format!("{}/v1/destinations/meta/pause", operator.url));
    assert_eq!(Operator::send(pause()).await.0, 200);
    assert_eq!(Operator::send(pause().body("{}")).await.0, 200, "without a type");
    assert_eq!(Operator::send(pause().body("{")).await.0, 400);
    assert_eq!(Operator::send(pause().body("[]")).await.0, 422);
    assert_eq!(Operator::send(pause().header("content-type", "text/plain").body("{}")).await.0, 415);
}

#[tokio::test]
async fn the_token_is_needed_for_everything() {
    let operator = Operator::start(Some("token-of-the-operator")).await;
    for path in ["/v1/destinations/meta/pause", "/v1/dead-letters/replay", "/v1/visitors/forget", "/v1/replay"] {
        assert_eq!(operator.refused(path, &json!({})).await.0, 401, "{path}");
    }
    let request = operator.client.post(format!("{}/v1/destinations/meta/pause", operator.url));
    assert_eq!(Operator::send(request.bearer_auth("token-of-the-operator")).await.0, 200);
}

#[tokio::test]
async fn pages_of_other_sites_change_nothing() {
    let operator = Operator::start(None).await;
    let pause = || operator.client.post(format!("{}/v1/destinations/meta/pause", operator.url));
    for origin in ["https://evil.example", "null", "http://127.0.0.1:1"] {
        let (status, problem) = Operator::send(pause().header("origin", origin)).await;
        assert_eq!((status, &problem["type"]), (403, &json!("/problems/forbidden")), "{origin}");
    }
    assert_eq!(Operator::send(pause().header("origin", &operator.url)).await.0, 200, "its own may");
    let list = operator.client.get(format!("{}/v1/destinations", operator.url)).header("origin", "https://x.example");
    assert_eq!(list.send().await.expect("answers").status(), StatusCode::OK, "reading is for the browser to refuse");
}

#[tokio::test]
async fn a_pause_says_whose_it_is_and_ends_when_its_operator_wants() {
    let operator = Operator::start(None).await;
    let (status, paused) = operator.post("/v1/destinations/meta/pause", &json!({"reason": "outage at Meta"})).await;
    assert_eq!((status, &paused["state"], &paused["paused_by"]), (200, &json!("paused"), &json!("operator")));
    assert_eq!((&paused["reason"], &paused["name"]), (&json!("outage at Meta"), &json!("meta")));
    assert_eq!(paused["since"], Time::from_secs(NOW).to_string());
    let (_, list) = operator.get("/v1/destinations").await;
    let states: Vec<_> = list["destinations"].as_array().expect("a list").iter().map(|d| &d["state"]).collect();
    assert_eq!(states, ["paused", "active", "active", "active"]);
    let (status, resumed) = operator.post("/v1/destinations/meta/resume", &json!({})).await;
    assert_eq!((status, &resumed["state"], &resumed["paused_by"]), (200, &json!("active"), &Value::Null));
    assert_eq!(operator.admin.status.of(&name("meta")), Standing::Active);
}

#[tokio::test]
async fn only_a_destination_that_is_paused_is_spilled() {
    let operator = Operator::start(None).await;
    let (status, detail) = operator.refused("/v1/destinations/meta/spill", &json!({})).await;
    assert!(status == 409 && detail.contains("pause meta first"), "{status} {detail}");
    let (status, detail) = operator.refused("/v1/destinations/out/spill", &json!({})).await;
    assert!(status == 409 && detail.contains("fallback_for = \"out\""), "{status} {detail}");
    operator.post("/v1/destinations/meta/pause", &json!({})).await;
    let (status, spilled) = operator.post("/v1/destinations/meta/spill", &json!({})).await;
    assert_eq!((status, &spilled["to"], &spilled["moved"]), (200, &json!("spare"), &json!(0)));
}

#[tokio::test]
async fn a_visitor_is_shown_without_contact_data_and_forgotten_by_what_intake_would_find_it_by() {
    let operator = Operator::start(None).await;
    let person = RawUser {
        emails: vec![Raw::new("ada@example.com")],
        phones: vec![Raw::new("(650) 555-1212")],
        ..RawUser::default()
    };
    let at = Time::from_secs(NOW - 60);
    let url = Some(crate::model::Sensitive::new("https://shop.example/mugs?gclid=secret-click".into()));
    let visit = Visit { at, url, ..Visit::default() };
    let seen = |id: &str| Observation {
        clicks: vec![ClickId { kind: ClickKind::Gclid, value: "G-1".into(), first_seen: Some(at), last_seen: at }],
        ip: Some(crate::model::Sensitive::new([203, 0, 113, 7].into())),
        user_agent: Some(crate::model::Sensitive::new("Mozilla".into())),
        keys: seal_user(&person, Country::parse("US").ok()).identity_keys().collect(),
        ..Observation::new(VisitorId::new(id).expect("valid"), visit.clone())
    };
    let remember = async |id: &str| operator.admin.stores.visits.remember(vec![seen(id)]).await.expect("remembers");
    remember("v-1").await;
    let (status, shown) = operator.get("/v1/visitors/v-1").await;
    assert_eq!((status, &shown["identifiers"]), (200, &json!({"email": 1, "phone": 1})), "{shown}");
    assert_eq!(shown["visits"][0]["page"], "https://shop.example/mugs");
    for hidden in ["203.0.113.7", "Mozilla", "secret-click", "ada"] {
        assert!(!shown.to_string().contains(hidden), "{hidden}: {shown}");
    }
    for by in
        [json!({"email": " Ada@Example.com "}), json!({"phone": ["(650) 555 1212"]}), json!({"visitor_id": "v-1"})]
    {
        remember("v-1").await;
        let (status, answer) = operator.post("/v1/visitors/forget", &by).await;
        assert_eq!((status, &answer["visitors"]), (200, &json!(1)), "{by}: {answer}");
        assert_eq!(operator.get("/v1/visitors/v-1").await.0, 404, "{by}");
    }
    remember("v-1").await;
    let delete = || operator.client.delete(format!("{}/v1/visitors/v-1", operator.url));
    assert_eq!(Operator::send(delete()).await.1["visitors"], 1);
    assert_eq!(Operator::send(delete()).await.1["visitors"], 0, "once more is no mistake");
}

#[tokio::test]
async fn a_person_is_forgotten_with_every_browser_and_every_click() {
    let operator = Operator::start(None).await;
    let at = Time::from_secs(NOW - 60);
    let stores = operator.admin.stores.clone();
    let id = |id: &str| VisitorId::new(id).expect("valid");
    let seen = |who: &str, same_as: Option<&str>| Observation {
        same_as: same_as.map(id),
        ..Observation::new(id(who), Visit { at, ..Visit::default() })
    };
    // v-2 names v-1; v-0 names v-2, which has never heard of it.
    let told = [seen("v-0", Some("v-2")), seen("v-1", None), seen("v-2", Some("v-1")), seen("v-9", None)];
    for seen in told {
        stores.visits.remember(vec![seen]).await.expect("remembers");
    }
    let mut bought = conformance::purchase("o-1", at);
    bought.visitor_id = Some(id("v-1"));
    stores.events.accept(vec![conformance::queued(bought, &[operator.admin.places[0].id])]).await.expect("accepts");
    let whose = [Some("v-0"), Some("v-1"), Some("v-1"), Some("v-9"), None];
    let rows = whose.iter().zip(0..).map(|(who, n)| conformance::clicks::click(n, at, *who)).collect::<Vec<_>>();
    stores.clicks.append(&rows).expect("appends");
    let (status, answer) = operator.post("/v1/visitors/forget", &json!({"visitor_id": "v-1"})).await;
    assert_eq!((status, answer), (200, json!({"visitors": 3, "clicks": 3, "events": 1, "skipped": 1})));
    let left: Vec<_> = conformance::clicks::all(&*stores.clicks).into_iter().filter_map(|row| row.visitor_id).collect();
    assert_eq!(left, [id("v-9")]);
    assert!(stores.visits.find(&id("v-9")).expect("reads").is_some());
    let again = operator.post("/v1/visitors/forget", &json!({"visitor_id": "v-1"})).await.1;
    assert_eq!(again, json!({"visitors": 0, "clicks": 0, "events": 0, "skipped": 0}), "once more is no mistake");
}

/// Brings an event of this id to its end at the destination that stands at `place`.
async fn end(operator: &Operator, place: usize, id: &str, outcome: Outcome) {
    let (events, destination) = (&operator.admin.stores.events, operator.admin.places[place].id);
    let now = operator.admin.clock.now();
    let mut event = conformance::purchase(id, now);
    event.user.external_ids = vec![Digest::of_token(id)];
    event.money = Currency::parse("EUR").and_then(|eur| Money::from_minor(500, eur)).ok();
    events.accept(vec![conformance::queued(event, &[destination])]).await.expect("accepts");
    let leased = events.lease(destination, 10, now, now.plus(Duration::from_secs(60))).await.expect("leases");
    let settlement = Settlement {
        destination,
        at: now,
        attempt: Some(Attempt { at: now, ..Attempt::default() }),
        steps: leased.iter().map(|leased| (leased.key, Step::Ended(outcome.clone()))).collect(),
        mark: None,
        exhibits: leased.iter().map(|leased| (leased.key, Exhibit::new(b"{\"data\":[]}", b"no json"))).collect(),
    };
    assert_eq!(events.settle(settlement).await.expect("settles"), 1);
}

/// What ended dead at Meta, of this class, by its event's id.
async fn letter(operator: &Operator, id: &str, class: FailureClass) {
    let failure = Failure { code: "7".into(), field: None, message: "no".into() };
    end(operator, 0, id, Outcome::Dead { class, failure }).await;
}

#[tokio::test]
async fn what_the_platform_may_have_is_replayed_only_if_just_that_is_asked_for() {
    let operator = Operator::start(None).await;
    letter(&operator, "o-1", FailureClass::Settings).await;
    letter(&operator, "o-2", FailureClass::Unknown).await;
    let replay = async |body: Value| {
        let (status, answer) = operator.post("/v1/dead-letters/replay", &body).await;
        assert_eq!(status, 200, "{answer}");
        (answer["matched"].as_u64(), answer["replayed"].as_u64(), answer["undecided"].as_u64())
    };
    let counts = |matched, replayed, undecided| (Some(matched), Some(replayed), Some(undecided));
    assert_eq!(replay(json!({"dry_run": true})).await, counts(2, 1, 1));
    assert_eq!(replay(json!({"dry_run": true, "force": true})).await, counts(2, 2, 0));
    assert_eq!(replay(json!({"dry_run": true, "class": "unknown"})).await, counts(1, 1, 0));
    assert_eq!(replay(json!({"dry_run": true, "event_ids": ["o-2"]})).await, counts(1, 1, 0));
    assert_eq!(replay(json!({"dry_run": true, "limit": 1})).await, counts(1, 1, 0));
    assert_eq!(replay(json!({})).await, counts(2, 1, 1));
    assert_eq!(replay(json!({})).await, counts(1, 0, 1), "what is queued is no dead letter any more");
    let (_, list) = operator.get("/v1/dead-letters").await;
    assert_eq!(list["dead_letters"].as_array().map(Vec::len), Some(1), "{list}");
    let (_, shown) = operator.get("/v1/dead-letters/o-2").await;
    let letter = &shown["dead_letters"][0];
    assert_eq!(
        (&letter["class"], &letter["attempts"][0]["verdict"]),
        (&json!("unknown"), &json!("unknown")),
        "{shown}"
    );
    assert_eq!((&letter["request"], &letter["answer"]), (&json!({"data": []}), &json!("no json")), "{shown}");
}

#[tokio::test]
async fn a_list_goes_on_where_it_ended_and_outlives_what_becomes_of_its_letters() {
    let operator = Operator::start(None).await;
    for i in 0..5 {
        letter(&operator, &format!("o-{i}"), FailureClass::Event).await;
    }
    let page = async |query: &str| {
        let (status, list) = operator.get(&format!("/v1/dead-letters?limit=2{query}")).await;
        assert_eq!(status, 200, "{list}");
        let ids: Vec<String> =
            list["dead_letters"].as_array().expect("a list").iter().map(|l| l["event_id"].to_string()).collect();
        (ids.join(" "), list["next"].as_str().map(str::to_owned))
    };
    let (ids, next) = page("").await;
    assert_eq!(ids, "\"o-0\" \"o-1\"");
    let discard = json!({"event_ids": ["o-1", "o-2", "o-9"], "reason": "test"});
    let (_, answer) = operator.post("/v1/dead-letters/discard", &discard).await;
    assert_eq!((&answer["discarded"], &answer["not_found"]), (&json!(2), &json!(["o-9"])), "{answer}");
    let (ids, next) = page(&format!("&after={}", next.expect("there is more"))).await;
    assert_eq!((ids.as_str(), next), ("\"o-3\" \"o-4\"", None));
}

#[tokio::test]
async fn what_would_count_twice_is_refused_as_a_whole_unless_it_is_wanted() {
    let operator = Operator::start(None).await;
    for i in 0..3 {
        end(&operator, 3, &format!("o-{i}"), Outcome::Delivered).await;
    }
    end(&operator, 3, "o-dead", Outcome::Dead { class: FailureClass::Event, failure: Failure::default() }).await;
    let body = |more: Value| {
        let mut body = json!({"destination": "fake", "from": "2020-01-01T00:00:00Z", "to": "2100-01-01T00:00:00Z"});
        more.as_object().expect("fields").iter().for_each(|(name, value)| body[name] = value.clone());
        body
    };
    let queued = || operator.admin.stores.events.balance().destinations[3].1.queued;
    let both = json!(["delivered", "dead"]);
    let (status, detail) = operator.refused("/v1/replay", &body(json!({"outcomes": both}))).await;
    assert!(
        status == 409 && detail.starts_with("3 of 4 would count twice: fake does not recognise"),
        "{status} {detail}"
    );
    assert_eq!(queued(), 0, "not even the one that could");
    let (_, dry) = operator.post("/v1/replay", &body(json!({"dry_run": true}))).await;
    assert_eq!((&dry["would_count_twice"], &dry["replayed"]), (&json!(3), &json!(0)), "{dry}");
    let (status, answer) = operator.post("/v1/replay", &body(json!({"outcomes": ["dead"]}))).await;
    assert_eq!((status, &answer["replayed"], queued()), (200, &json!(1), 1), "{answer}");
    let (status, answer) = operator.post("/v1/replay", &body(json!({"force": true}))).await;
    assert_eq!((status, &answer["replayed"], queued()), (200, &json!(3), 4), "{answer}");
}

#[tokio::test]
async fn what_was_discarded_is_not_sent_by_any_replay() {
    let operator = Operator::start(None).await;
    letter(&operator, "o-1", FailureClass::Settings).await;
    let (_, answer) = operator.post("/v1/dead-letters/discard", &json!({"reason": "test", "all": true})).await;
    assert_eq!(answer["discarded"], 1, "{answer}");
    let all = json!({
        "destination": "meta", "from": "2020-01-01T00:00:00Z", "to": "2100-01-01T00:00:00Z",
        "outcomes": ["delivered", "skipped", "expired", "dead"],
    });
    for (path, body) in [("/v1/dead-letters/replay", json!({})), ("/v1/replay", all)] {
        let (status, answer) = operator.post(path, &body).await;
        assert_eq!((status, &answer["replayed"]), (200, &json!(0)), "{path}: {answer}");
    }
}

#[tokio::test]
async fn tests_of_links_are_kept_by_link_and_placement() {
    let operator = Operator::start(None).await;
    let link = |placement: &str| {
        let link = json!({
            "key": "go.brand.example/mugs", "destination": "https://shop.example/", "placement": placement,
            "created_at": 1, "updated_at": 1,
        });
        let (by, shelf, key) = ("t".to_owned(), "link".to_owned(), "go.brand.example/mugs".to_owned());
        crate::store::Entry { at: Time::from_secs(1), by, shelf, key, value: Some(link.to_string()), audited: true }
    };
    operator.admin.stores.book.write(vec![link("bio")]).await.expect("writes");
    let run = |result| json!({ "by": "ci", "results": [{ "profile": "iphone", "step": "tag", "result": result, "note": "x" }] });
    let (path, same) = ("/v1/links/go.brand.example%2Fmugs/qa", "/v1/links/MUGS/qa?host=go.brand.example");
    assert_eq!(operator.get(path).await.0, 404, "not tested yet");
    assert_eq!(operator.post(path, &run("pass")).await.0, 200);
    let (status, answer) = operator.post(same, &run("fail")).await;
    assert_eq!((status, &answer["result"], &answer["placement"]), (200, &json!("fail"), &json!("bio")), "{answer}");
    let (_, matrix) = operator.get("/v1/qa").await;
    let bio = json!({
        "placement": "bio", "links": 1, "never_verified": 0, "failing": 1,
        "verified_at": answer["verified_at"], "oldest_verified_at": answer["verified_at"],
    });
    assert_eq!((&matrix["placements"], &matrix["settings"]["tag_path"]), (&json!([bio]), &json!("/t.js")), "{matrix}");
    operator.admin.stores.book.write(vec![link("email")]).await.expect("writes");
    assert_eq!(operator.get(path).await.0, 404, "elsewhere it may be rewritten otherwise");
    for bad in [
        json!({}),
        json!({ "results": [] }),
        json!({ "by": "a@shop.example", "results": run("pass")["results"] }),
        run("odd"),
    ] {
        assert_eq!(operator.post(path, &bad).await.0 / 100, 4, "{bad}");
    }
    assert_eq!(operator.post("/v1/links/other/qa", &run("pass")).await.0, 404);
}
