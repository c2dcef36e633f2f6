//! A worker with a destination that is made up, a platform behind HTTP, and the store in memory.

mod gaps;
mod script;

use bytes::Bytes;
use wiremock::{Mock, MockServer, ResponseTemplate, matchers::any};

use self::script::{Script, Scripted};
use super::{worker::Worker, *};
use crate::{
    destinations::{Auth, Dedupe, HttpRequest, Method, Profile, Report, Request, Response, Unsendable, Verdict},
    model::{
        Attempt, Currency, Failure, FailureClass, MockClock, Money, Outcome, SealedEvent, SkipReason, Time, WaitReason,
        parse_decimal,
    },
    store::{Exhibit, Leased, OperatorPause, Receipt, Standing, Step, conformance, memory},
};

const NOW: Time = Time::from_secs(1_763_626_500);
const DAY: Duration = Duration::from_secs(86_400);

/// An event of this name and id; purchases and their changes are of the transaction `t`.
pub(super) fn event(name: &str, id: &str) -> SealedEvent {
    let mut event = conformance::purchase(id, NOW);
    event.name = EventName::new(name).expect("valid");
    let transaction = crate::model::TransactionId::new("t").expect("valid");
    event.transaction_id = Some(transaction).filter(|_| name != "sign_up");
    event
}

/// The same, worth this many dollars.
fn worth(event: SealedEvent, amount: &str) -> SealedEvent {
    let currency = Currency::parse("USD").expect("known");
    let money = Money::new(parse_decimal(amount).expect("a number"), currency).expect("not negative");
    SealedEvent { money: Some(money), ..event }
}

/// Sends the ids of events, one in each line, with what a change leaves. 200 is yes, 400 no, 402 our fault, 413 one of
/// them no, and everything else later. Conversions can be changed when they are a day old.
struct Fake {
    profile: Profile,
    url: String,
    dedupe: Dedupe,
}

impl Destination for Fake {
    fn profile(&self) -> &Profile {
        &self.profile
    }

    fn deadline(&self, event: &SealedEvent) -> Time {
        event.received_at.plus(DAY * 6)
    }

    fn hold(&self, event: &SealedEvent) -> Option<(Time, WaitReason)> {
        Some((event.change.as_ref()?.original.time.plus(DAY), WaitReason::ConversionTooRecent))
    }

    fn admit(&self, _: &SealedEvent) -> Result<(), Unsendable> {
        Ok(())
    }

    fn prepare(&self, batch: &[SealedEvent]) -> Request {
        let line = |event: &SealedEvent| {
            let left = event.change.as_ref().and_then(|change| change.worth);
            left.map_or_else(|| event.event_id.to_string(), |left| format!("{}={}", event.event_id, left.text()))
        };
        let lines: Vec<String> = batch.iter().map(line).collect();
        Request::Http(HttpRequest {
            url: self.url.clone(),
            body: Bytes::from(lines.join("\n")),
            ..HttpRequest::default()
        })
    }

    fn interpret(&self, batch: &[SealedEvent], response: &Response) -> Vec<Verdict> {
        let Response::Http { status, retry_after, .. } = response else { return Vec::new() };
        let failure = Failure { code: format!("http_{status}"), field: None, message: String::new() };
        let verdict = match status {
            200 => Verdict::Delivered,
            400 => Verdict::Rejected(failure),
            401 => Verdict::Blocked(failure),
            402 => Verdict::Misconfigured(failure),
            413 => Verdict::Isolate(failure),
            _ => Verdict::Retry { after: *retry_after, failure },
        };
        vec![verdict; batch.len()]
    }

    fn dedupe(&self, _: &SealedEvent) -> Dedupe {
        self.dedupe
    }

    fn throttle(&self, response: &Response) -> Option<Duration> {
        response.header("x-rest")?.parse().ok().map(Duration::from_secs)
    }

    fn ask(&self, trace_id: &str) -> Option<HttpRequest> {
        let url = format!("{}/{trace_id}", self.url);
        Some(HttpRequest { method: Method::Get, url, ..HttpRequest::default() })
    }

    fn report(&self, response: &Response) -> Report {
        match response {
            Response::Http { status: 200, .. } => Report::Pending,
            _ => Report::Lost(Failure::default()),
        }
    }

    fn lane(&self, event: &SealedEvent) -> u8 {
        u8::from(event.name.as_str() == "sign_up")
    }

    fn evidence(&self, _: &SealedEvent) -> Vec<&'static str> {
        Vec::new()
    }
}

struct Setting {
    platform: MockServer,
    clock: Arc<MockClock>,
    store: Arc<Scripted>,
    worker: Arc<Worker>,
    id: DestinationId,
}

impl Setting {
    async fn new(dedupe: Dedupe) -> Self {
        Self::with(dedupe, |_| {}).await
    }

    async fn with(dedupe: Dedupe, script: impl FnOnce(&mut Script)) -> Self {
        Self::patient(Duration::from_secs(30), dedupe, script).await
    }

    /// One whose requests may take as long as `timeout`.
    async fn patient(timeout: Duration, dedupe: Dedupe, script: impl FnOnce(&mut Script)) -> Self {
        let platform = MockServer::start().await;
        let clock = Arc::new(MockClock::at(NOW));
        let stores = memory::open(memory::SimulatedDisk::default(), conformance::config("memory".as_ref()));
        let store = Arc::new(Scripted::new(stores.expect("opens").events));
        script(&mut store.script());
        let name = DestinationName::new("fake").expect("valid");
        let id = store.register(std::slice::from_ref(&name)).await.expect("registers")[0];
        let profile = Profile {
            batch_max: 100,
            spacing: Duration::ZERO,
            rate: None,
            timeout,
            auth: Auth::None,
            headers: &["x-rest"],
        };
        let destination = Arc::new(Fake { profile, url: platform.uri(), dedupe });
        let events = ["purchase", "refund", "sign_up"].map(|name| EventName::new(name).expect("valid")).into();
        let on_unknown_consent = OnUnknownConsent::Send;
        let place = Place {
            name,
            kind: "fake",
            id,
            destination,
            on_unknown_consent,
            concurrency: None,
            events,
            sources: None,
            fallback_for: None,
            has_fallback: false,
        };
        let second = Duration::from_secs(1);
        let config = Config {
            schedule: Schedule { first: second, max: second },
            probe_every: second * 60,
            drain: second,
            concurrency: 4,
            warn_before: DAY,
        };
        let (metrics, status) = (Metrics::default(), Status::default());
        let tools = Tools { store: store.clone(), clock: clock.clone(), config, metrics, status };
        let worker = Arc::new(Worker::new(place, tools).expect("sets up"));
        Self { platform, clock, store, worker, id }
    }

    async fn answers(&self, answer: ResponseTemplate) {
        self.platform.reset().await;
        Mock::given(any()).respond_with(answer).mount(&self.platform).await;
    }

    /// Accepts these events and leases them.
    async fn lease(&self, events: Vec<SealedEvent>) -> Vec<Leased> {
        let new = events.into_iter().map(|event| conformance::queued(event, &[self.id])).collect();
        self.store.accept(new).await.expect("accepts");
        self.lease_again().await
    }

    async fn lease_again(&self) -> Vec<Leased> {
        let now = self.clock.now();
        self.store.lease(self.id, 100, now, now.plus(DAY)).await.expect("leases")
    }

    async fn deliver(&self, events: Vec<SealedEvent>) {
        let leased = self.lease(events).await;
        self.worker.deliver(leased).await;
    }

    async fn history(&self, id: &str) -> Vec<(Option<Attempt>, Step)> {
        let id = crate::model::EventId::new(id).expect("valid");
        let timeline = self.store.timeline(&id).await.expect("reads").expect("is there");
        timeline.deliveries[0].attempts.clone()
    }

    async fn last_step(&self, id: &str) -> Step {
        self.history(id).await.last().expect("some step").1.clone()
    }

    /// The bodies of the requests that the platform got.
    async fn got(&self) -> Vec<String> {
        let requests = self.platform.received_requests().await.expect("recorded");
        requests.into_iter().map(|request| String::from_utf8(request.body).expect("text")).collect()
    }
}

/// Waits for something that another task does.
async fn until(done: impl AsyncFn() -> bool) {
    let waiting = async {
        while !done().await {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), waiting).await.expect("happens");
}

fn is_dead(step: &Step, expected: FailureClass) -> bool {
    matches!(step, Step::Ended(Outcome::Dead { class, .. }) if *class == expected)
}

#[tokio::test]
async fn what_may_have_arrived_goes_again_only_while_the_platform_would_notice() {
    let answer = ResponseTemplate::new;
    for (dedupe, again) in [(Dedupe::Always, true), (Dedupe::Within(DAY * 2), true), (Dedupe::Never, false)] {
        let never = answer(200).set_delay(Duration::from_secs(60));
        for (answer, timeout) in [(never, 300), (answer(502), 30_000), (answer(504), 30_000)] {
            let setting = Setting::patient(Duration::from_millis(timeout), dedupe, |_| {}).await;
            setting.answers(answer).await;
            setting.deliver(vec![event("purchase", "p")]).await;
            let step = setting.last_step("p").await;
            assert_eq!(matches!(step, Step::Again { unknown: true, .. }), again, "{dedupe:?}: {step:?}");
            assert_eq!(is_dead(&step, FailureClass::Unknown), !again, "{dedupe:?}: {step:?}");
        }
        // A yes that does not say to how many.
        let setting = Setting::new(dedupe).await;
        setting.answers(ResponseTemplate::new(202)).await;
        setting.deliver(vec![event("purchase", "p")]).await;
        let step = setting.last_step("p").await;
        let expected = dedupe != Dedupe::Always;
        assert_eq!(matches!(step, Step::Again { unknown: true, .. }), expected && again, "{dedupe:?}: {step:?}");
        assert_eq!(is_dead(&step, FailureClass::Unknown), expected && !again, "{dedupe:?}: {step:?}");
        let setting = Setting::new(dedupe).await;
        setting.answers(ResponseTemplate::new(503)).await;
        setting.deliver(vec![event("purchase", "p")]).await;
        let step = setting.last_step("p").await;
        assert!(matches!(step, Step::Again { unknown: false, .. }), "a refusal is an answer: {step:?}");
    }
}

/// After a crash in the middle of a request nobody knows whether it arrived: that is on disk before the request goes out.
#[tokio::test]
async fn what_would_count_twice_is_noted_before_it_is_sent() {
    for (dedupe, noted) in [(Dedupe::Never, true), (Dedupe::Within(DAY), false), (Dedupe::Always, false)] {
        let setting = Setting::new(dedupe).await;
        let hanging = ResponseTemplate::new(200).set_delay(Duration::from_secs(3600));
        setting.answers(hanging).await;
        let leased = setting.lease(vec![event("purchase", "p")]).await;
        let (worker, key) = (Arc::clone(&setting.worker), leased[0].key);
        let sending = tokio::spawn(async move { worker.deliver(leased).await });
        until(async || !setting.got().await.is_empty()).await;
        sending.abort();
        setting.store.release(setting.id, &[key]);
        let again = setting.lease_again().await;
        assert_eq!(again[0].unknown_since.is_some(), noted, "{dedupe:?}");
    }
    // A refusal of our settings is an answer: it certainly did not arrive.
    let setting = Setting::new(Dedupe::Never).await;
    for status in [401, 503] {
        setting.answers(ResponseTemplate::new(status)).await;
        let leased =
            if status == 401 { setting.lease(vec![event("purchase", "p")]).await } else { setting.lease_again().await };
        setting.worker.deliver(leased).await;
        setting.clock.advance(DAY);
        let again = setting.lease_again().await;
        assert_eq!((again.len(), again[0].unknown_since), (1, None), "{status}");
        setting.store.release(setting.id, &[again[0].key]);
    }
}

#[tokio::test]
async fn what_may_have_arrived_too_long_ago_is_left_to_the_operator() {
    for (dedupe, waited, sent) in [
        (Dedupe::Within(DAY), DAY / 2, true),
        (Dedupe::Within(DAY), DAY * 2, false),
        (Dedupe::Never, Duration::ZERO, false),
        (Dedupe::Always, DAY * 2, true),
    ] {
        let setting = Setting::new(dedupe).await;
        setting.answers(ResponseTemplate::new(200)).await;
        let mut leased = setting.lease(vec![event("purchase", "p")]).await;
        setting.clock.advance(waited);
        leased[0].unknown_since = Some(NOW);
        setting.worker.deliver(leased).await;
        assert_eq!(setting.got().await.len(), usize::from(sent), "{dedupe:?} after {waited:?}");
        let step = setting.last_step("p").await;
        assert_eq!(is_dead(&step, FailureClass::Unknown), !sent, "{dedupe:?} after {waited:?}: {step:?}");
    }
}

#[tokio::test]
async fn events_of_two_lanes_never_share_a_request() {
    let setting = Setting::new(Dedupe::Always).await;
    setting.answers(ResponseTemplate::new(200)).await;
    setting.deliver(vec![event("purchase", "p"), event("sign_up", "s1"), event("sign_up", "s2")]).await;
    let mut got = setting.got().await;
    got.sort();
    assert_eq!(got, ["p", "s1\ns2"]);
}

#[tokio::test]
async fn a_refund_of_what_nobody_reported_waits_an_hour_and_then_goes_as_it_is() {
    let setting = Setting::new(Dedupe::Always).await;
    setting.answers(ResponseTemplate::new(200)).await;
    let leased = setting.lease(vec![event("refund", "r")]).await;
    setting.worker.deliver(leased).await;
    let step = setting.last_step("r").await;
    assert_eq!(step, Step::Wait { due: NOW.plus(Duration::from_secs(1)), reason: WaitReason::Original });
    assert!(setting.got().await.is_empty());
    setting.clock.advance(Duration::from_secs(3600));
    let leased = setting.lease_again().await;
    setting.worker.deliver(leased).await;
    assert_eq!(setting.last_step("r").await, Step::Ended(Outcome::Delivered));
}

#[tokio::test]
async fn whose_fault_a_dead_letter_is_can_be_told() {
    for (status, class) in [(400, FailureClass::Event), (402, FailureClass::Settings)] {
        let setting = Setting::new(Dedupe::Always).await;
        setting.answers(ResponseTemplate::new(status).set_body_string("because")).await;
        setting.deliver(vec![event("purchase", "p")]).await;
        let step = setting.last_step("p").await;
        assert!(is_dead(&step, class), "{status}: {step:?}");
    }
}

#[tokio::test]
async fn a_platform_that_asks_for_a_rest_gets_it_though_it_took_everything() {
    let setting = Setting::new(Dedupe::Always).await;
    setting.answers(ResponseTemplate::new(200).insert_header("x-rest", "90")).await;
    setting.deliver(vec![event("purchase", "p")]).await;
    assert_eq!(setting.last_step("p").await, Step::Ended(Outcome::Delivered));
    assert_eq!(setting.worker.batch_size(NOW), Err(NOW.plus(Duration::from_secs(90))));
    setting.answers(ResponseTemplate::new(200)).await;
    setting.deliver(vec![event("purchase", "q")]).await;
    let rests = setting.worker.batch_size(NOW);
    assert_eq!(rests, Err(NOW.plus(Duration::from_secs(90))), "a success that was under way does not end it");
    assert_eq!(setting.worker.batch_size(NOW.plus(Duration::from_secs(90))), Ok(100));
}

#[tokio::test]
async fn a_paused_destination_is_probed_with_one_event_and_at_once_if_its_operator_wants() {
    let setting = Setting::new(Dedupe::Always).await;
    setting.answers(ResponseTemplate::new(401)).await;
    setting.deliver(vec![event("purchase", "p")]).await;
    let (status, name) = (&setting.worker.tools.status, &setting.worker.place.name);
    assert!(matches!(status.of(name), State::Paused { .. }));
    assert!(setting.history("p").await.is_empty(), "no attempt is spent");
    assert_eq!(setting.worker.batch_size(NOW), Err(NOW.plus(Duration::from_secs(60))));
    setting.answers(ResponseTemplate::new(200)).await;
    status.go_on(name);
    let (stop, stopped) = watch::channel(false);
    let running = tokio::spawn(Arc::clone(&setting.worker).run(stopped));
    until(async || !setting.got().await.is_empty()).await;
    stop.send_replace(true);
    running.await.expect("ends");
    assert_eq!(status.of(name), State::Active);
    assert_eq!(setting.last_step("p").await, Step::Ended(Outcome::Delivered));
}

#[tokio::test]
async fn a_stopped_destination_finishes_what_is_in_flight_and_sends_nothing_more() {
    for status in [200, 401, 503] {
        let setting = Setting::new(Dedupe::Always).await;
        setting.answers(ResponseTemplate::new(status)).await;
        let (states, name) = (&setting.worker.tools.status, &setting.worker.place.name);
        let pause = OperatorPause { reason: "audit".into(), since: NOW };
        let leased = setting.lease(vec![event("purchase", "p"), event("sign_up", "s")]).await;
        states.stop(name, pause.clone());
        setting.worker.deliver(leased).await;
        assert_eq!(setting.got().await.len(), 1, "{status}: the second request had not started");
        assert_eq!(states.of(name), State::Stopped(pause), "{status}: no answer changes that");
        assert!(setting.worker.batch_size(NOW.plus(DAY)).is_err(), "{status}: not even a probe");
        setting.clock.advance(DAY);
        let left = setting.lease_again().await.len();
        assert_eq!(left, if status == 200 { 1 } else { 2 }, "{status}: nothing is lost");
    }
}

/// A refund of an order that stands so at this destination.
async fn refund_while(standing: Standing) -> Setting {
    let original = worth(event("purchase", "p"), "50");
    let setting = Setting::with(Dedupe::Always, |script| script.original = Some((original, standing))).await;
    setting.answers(ResponseTemplate::new(200)).await;
    setting.deliver(vec![worth(event("refund", "r"), "20")]).await;
    setting
}

#[tokio::test]
async fn a_refund_never_overtakes_its_purchase() {
    for (standing, wait) in [(Standing::Queued, 1), (Standing::Dead, 60)] {
        let setting = refund_while(standing).await;
        let due = NOW.plus(Duration::from_secs(wait));
        assert_eq!(setting.last_step("r").await, Step::Wait { due, reason: WaitReason::Original }, "{standing:?}");
        setting.clock.set(due);
        let leased = setting.lease_again().await;
        setting.worker.deliver(leased).await;
        assert_eq!(setting.history("r").await.len(), 1, "that it still waits is not recorded again");
        assert_eq!(setting.store.script().deferred, [due.plus(Duration::from_secs(wait * 2))], "{standing:?}");
        assert!(setting.got().await.is_empty());
    }
    let setting = refund_while(Standing::Over).await;
    assert_eq!(setting.last_step("r").await, Step::Ended(Outcome::Skipped(SkipReason::NoOriginal)));
    assert!(setting.got().await.is_empty());
}

#[tokio::test]
async fn a_destination_that_takes_changes_only_does_not_wait_for_conversions() {
    let setting = refund_while(Standing::Queued).await;
    setting.clock.advance(Duration::from_secs(1));
    let events = [EventName::new("refund").expect("valid")].into();
    let place = Place { events, ..setting.worker.place.clone() };
    let worker = Worker::new(place, setting.worker.tools.clone()).expect("sets up");
    worker.deliver(setting.lease_again().await).await;
    assert_eq!(setting.last_step("r").await, Step::Ended(Outcome::Delivered));
}

#[tokio::test]
async fn a_refund_goes_with_what_is_left_when_the_platform_takes_changes() {
    let setting = refund_while(Standing::Delivered).await;
    let due = NOW.plus(DAY);
    assert_eq!(setting.last_step("r").await, Step::Wait { due, reason: WaitReason::ConversionTooRecent });
    setting.clock.set(due);
    let leased = setting.lease_again().await;
    setting.worker.deliver(leased).await;
    assert_eq!(setting.got().await, ["r=30.00"]);
    assert_eq!(setting.last_step("r").await, Step::Ended(Outcome::Delivered));
}

#[tokio::test]
async fn changes_of_one_order_go_one_after_the_other() {
    let mut original = worth(event("purchase", "p"), "50");
    original.time = NOW.minus(DAY);
    let refunds = ["r1", "r2"].map(|id| worth(event("refund", id), "20"));
    let setting = Setting::with(Dedupe::Always, |script| {
        script.original = Some((original, Standing::Delivered));
        script.changes = refunds.to_vec();
    })
    .await;
    setting.answers(ResponseTemplate::new(503)).await;
    setting.deliver(refunds.to_vec()).await;
    assert_eq!(setting.got().await, ["r1=10.00"]);
    assert!(matches!(setting.last_step("r2").await, Step::Wait { .. }));
    setting.answers(ResponseTemplate::new(200)).await;
    for expected in [vec!["r1=10.00"], vec!["r1=10.00", "r2=10.00"]] {
        setting.clock.advance(Duration::from_secs(60));
        let leased = setting.lease_again().await;
        setting.worker.deliver(leased).await;
        assert_eq!(setting.got().await, expected);
    }
}

#[tokio::test]
async fn a_dead_letter_comes_with_its_own_request_and_the_answer() {
    let setting = Setting::new(Dedupe::Always).await;
    setting.answers(ResponseTemplate::new(402).set_body_string("because")).await;
    let transaction = |id: &str| crate::model::TransactionId::new(id).ok();
    let of = |id: &str| SealedEvent { transaction_id: transaction(id), ..event("purchase", id) };
    setting.deliver(vec![of("a"), of("b")]).await;
    assert_eq!(setting.got().await, ["a\nb"]);
    let exhibit = |id: &str| Exhibit { request: id.into(), answer: "because".into() };
    assert_eq!(setting.store.script().exhibits, [exhibit("a"), exhibit("b")]);
}

#[tokio::test]
async fn a_platforms_deadline_counts_though_a_later_one_was_stored() {
    let setting = Setting::new(Dedupe::Always).await;
    setting.answers(ResponseTemplate::new(200)).await;
    let leased = setting.lease(vec![event("purchase", "p")]).await;
    setting.clock.advance(DAY * 6);
    assert!(leased[0].deadline > setting.clock.now());
    setting.worker.deliver(leased).await;
    assert_eq!(setting.last_step("p").await, Step::Ended(Outcome::Expired));
}

#[tokio::test]
async fn what_is_past_its_deadline_expires_also_while_its_destination_is_stopped() {
    let setting = Setting::new(Dedupe::Always).await;
    let leased = setting.lease(vec![event("purchase", "p")]).await;
    {
        let mut script = setting.store.script();
        (script.expired, script.expiring) = (leased, 7);
    }
    setting.worker.tools.status.stop(&setting.worker.place.name, OperatorPause { reason: String::new(), since: NOW });
    let (stop, stopped) = watch::channel(false);
    let watching = tokio::spawn(Arc::clone(&setting.worker).watch_deadlines(stopped));
    until(async || !setting.history("p").await.is_empty()).await;
    stop.send_replace(true);
    watching.await.expect("ends");
    assert_eq!(setting.last_step("p").await, Step::Ended(Outcome::Expired));
    let mut registry = prometheus_client::registry::Registry::default();
    setting.worker.tools.metrics.register(&mut registry);
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).expect("encodes");
    assert!(text.contains("deadline_soon{destination=\"fake\"} 7"), "{text}");
}

#[tokio::test]
async fn a_destination_that_was_stopped_is_stopped_after_a_restart() {
    let pause = OperatorPause { reason: "audit".into(), since: NOW };
    let setting = Setting::with(Dedupe::Always, |script| script.paused = Some(pause.clone())).await;
    assert_eq!(setting.worker.tools.status.of(&setting.worker.place.name), State::Stopped(pause));
}

#[tokio::test]
async fn a_platform_is_asked_what_became_of_a_request() {
    let receipt = Receipt { number: 4, trace_id: "t-4".into(), sent_at: NOW, asked: 0 };
    for (status, expected) in [(200, "pending"), (404, "lost: : ")] {
        let setting = Setting::with(Dedupe::Always, |script| script.receipts = vec![receipt.clone()]).await;
        setting.answers(ResponseTemplate::new(status)).await;
        let (stop, stopped) = watch::channel(false);
        let asking = tokio::spawn(Arc::clone(&setting.worker).ask_about_receipts(stopped));
        until(async || !setting.store.script().reports.is_empty()).await;
        stop.send_replace(true);
        asking.await.expect("ends");
        let (number, answer) = setting.store.script().reports[0].clone();
        assert_eq!((number, answer.status.as_str()), (4, expected));
        let asked = &setting.platform.received_requests().await.expect("recorded")[0];
        assert_eq!((asked.method.as_str(), asked.url.path()), ("GET", "/t-4"));
    }
}
