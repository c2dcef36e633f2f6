//! Tests of lookups.

use std::{collections::VecDeque, sync::Mutex};

use async_trait::async_trait;

use super::*;
use crate::{
    delivery, destinations,
    intake::{
        Draft, Tally,
        sources::{Inbound, Parsed, Refusal, Report, Source, Verified},
    },
    model::{
        Choice, Consent, DestinationId, DestinationName, EventId, EventName, JoinedBy, MockClock, NewState,
        Observation, Raw, Visit, VisitorId, WaitReason,
    },
    pipeline::{self, Pipeline, Route},
    store::{Stores, conformance, memory},
};

const NOW: Time = Time::from_secs(1_795_165_200);
const LIMIT: Duration = Duration::from_secs(600);

/// Answers lookups from a list.
struct Crm(Mutex<VecDeque<Result<Option<Told>, FetchError>>>);

#[async_trait]
impl Source for Crm {
    fn verify<'a>(&self, inbound: &'a Inbound<'a>, _now: Time) -> Result<Verified<'a>, Refusal> {
        Ok(Verified::trusted(inbound))
    }

    fn parse(&self, _verified: &Verified<'_>) -> Result<Parsed, Refusal> {
        Ok(Parsed::one(None, Ok(Report::ignored("test", "not a conversion"))))
    }

    async fn look_up(&self, _fetcher: &Fetcher, what: &str) -> Result<Option<Told>, FetchError> {
        assert_eq!(what, "deal/7");
        self.0.lock().expect("not poisoned").pop_front().unwrap_or(Err(FetchError::Gone))
    }
}

fn contact() -> Told {
    let mut draft = Draft { visitor_id: Some("v-1".into()), ..Draft::default() };
    draft.user.emails = vec![Raw::new("ada@example.com")];
    draft.value = Some(rust_decimal::Decimal::TEN);
    draft.currency = Some("EUR".into());
    Told::new(draft, serde_json::json!({ "id": 7 }))
}

fn desk(stores: &Stores, answers: Vec<Result<Option<Told>, FetchError>>, ids: &[DestinationId]) -> Desk {
    desk_of(stores, Arc::new(Crm(Mutex::new(answers.into()))), ids, destinations::OnUnknownConsent::Send)
}

fn desk_of(
    stores: &Stores,
    source: Arc<dyn Source>,
    ids: &[DestinationId],
    on_unknown_consent: destinations::OnUnknownConsent,
) -> Desk {
    let [purchase, refund] = ["purchase", "refund"].map(|name| EventName::new(name).expect("valid"));
    let name = DestinationName::new("out").expect("valid");
    let kind = destinations::REGISTRY.iter().find(|kind| kind.kind == "file").expect("is known");
    let common = destinations::Common {
        name: name.clone(),
        events: [(purchase.clone(), "Purchase".to_owned()), (refund.clone(), "Refund".to_owned())].into(),
        hold_after_click: None,
        fallback_for: None,
    };
    let table = "format = \"jsonl\"\npath = \"unused\"".parse().expect("TOML");
    let destination = (kind.build)(common, table).unwrap_or_else(|problems| panic!("{problems:?}")).into();
    let events = [purchase, refund].into();
    let route = Route {
        name,
        id: ids[0],
        destination,
        events,
        sources: None,
        on_unknown_consent,
        fallback: false,
        click: crate::attribution::DEFAULT_RULE,
    };
    let clock = Arc::new(MockClock::at(NOW));
    let config = pipeline::Config { default_country: None, wait_for_visit: Duration::from_secs(30) };
    let outcomes = delivery::Metrics::default();
    let pipeline = Arc::new(Pipeline::new(stores.clone(), vec![route], config, Arc::clone(&clock) as _, outcomes));
    let crm = SourceName::new("crm").expect("valid");
    let config = SourceConfig { name: crm, kind: "test", source, map: None, reconcile: None, transaction_prefix: None };
    let sources = Arc::new([("crm".to_owned(), config)].into());
    Desk { pipeline, clock, tally: Tally::default(), body_bytes_max: 1024, sources }
}

/// A deal without its contact, accepted.
async fn deal(desk: &Desk) -> Lookup {
    let draft = Draft { transaction_id: Some("7".into()), ..Draft::named("purchase") };
    let config = &desk.sources["crm"];
    let told = Told { lookup: Some(("deal/7".to_owned(), LIMIT)), ..Told::new(draft, serde_json::json!({})) };
    let taken =
        desk.take(config, &axum::http::HeaderMap::new(), Some("d-1"), vec![told.into()], NOW).await.expect("works");
    assert_eq!(taken.accepted, ["crm:purchase:7"]);
    desk.pipeline.lookups().pop().expect("is awaited")
}

async fn stores(disk: &memory::SimulatedDisk) -> (Stores, Vec<DestinationId>) {
    let stores = memory::open(disk.clone(), conformance::config("unused".as_ref())).expect("opens");
    let ids = stores.events.register(&[DestinationName::new("out").expect("valid")]).await.expect("registers");
    (stores, ids)
}

#[tokio::test]
async fn what_is_learnt_is_sent_and_nothing_is_sent_before() {
    let disk = memory::SimulatedDisk::default();
    let (first, ids) = stores(&disk).await;
    deal(&desk(&first, Vec::new(), &ids)).await;
    drop(first);
    // The power goes before anybody was asked.
    let (stores, ids) = stores(&disk.after_power_cut(0)).await;
    let later = FetchError::Later { why: "the provider answered 503".into(), after: Some(Duration::from_secs(9)) };
    let desk = desk(&stores, vec![Err(later), Ok(Some(contact()))], &ids);
    let lookup = desk.pipeline.lookups().pop().expect("is still awaited");
    let lease = || stores.events.lease(ids[0], 9, NOW, NOW.plus(LIMIT));
    assert!(lease().await.expect("leases").is_empty(), "waits");
    let fetcher = Fetcher::new().expect("TLS");
    let again = attempt(&desk, &fetcher, &lookup, 0).await.expect("to be asked again").wait;
    assert!(again >= Duration::from_secs(9), "{again:?}");
    assert!(desk.tally.counts()[0].1.lookup_failure.is_some());
    assert_eq!(attempt(&desk, &fetcher, &lookup, 1).await, None);
    assert!(desk.tally.counts()[0].1.lookup_failure.is_none() && desk.pipeline.lookups().is_empty());
    let leased = lease().await.expect("leases");
    let event = &leased[0].event;
    assert_eq!((event.user.emails.len(), event.money.is_some(), event.time), (1, true, NOW));
    assert_eq!(event.visitor_id.as_ref().map(|id| id.as_str()), Some("v-1"));
    assert_eq!(attempt(&desk, &fetcher, &lookup, 0).await, None, "nothing waits for it any more");
}

#[tokio::test]
async fn a_visit_that_comes_while_the_source_is_asked_counts_whatever_it_answers() {
    let (stores, ids) = stores(&memory::SimulatedDisk::default()).await;
    let source = Arc::new(Crm(Mutex::new([Err(FetchError::Gone)].into())));
    let desk = desk_of(&stores, source, &ids, destinations::OnUnknownConsent::Skip);
    let draft = Draft { transaction_id: Some("7".into()), visitor_id: Some("v-1".into()), ..Draft::named("purchase") };
    let told = Told { lookup: Some(("deal/7".to_owned(), LIMIT)), ..Told::new(draft, serde_json::json!({})) };
    let config = &desk.sources["crm"];
    desk.take(config, &axum::http::HeaderMap::new(), None, vec![told.into()], NOW).await.expect("works");
    let seen = Observation {
        consent: Consent { ad_user_data: Choice::Granted, ad_personalization: Choice::Granted },
        ..Observation::new(VisitorId::new("v-1").expect("valid"), Visit { at: NOW, ..Visit::default() })
    };
    desk.pipeline.visit(seen).await.expect("stores");
    let lookup = desk.pipeline.lookups().pop().expect("is awaited");
    let fetcher = Fetcher::new().expect("TLS");
    assert_eq!(attempt(&desk, &fetcher, &lookup, 0).await, None);
    let leased = stores.events.lease(ids[0], 9, NOW, NOW.plus(LIMIT)).await.expect("leases");
    assert_eq!(leased.len(), 1, "the visit brought the consent");
    assert_eq!(leased[0].event.joined_by, Some(JoinedBy::VisitorId));
}

/// Answers when it is told to.
#[derive(Default)]
struct Slow {
    asked: tokio::sync::Notify,
    go: tokio::sync::Notify,
}

#[async_trait]
impl Source for Slow {
    fn verify<'a>(&self, inbound: &'a Inbound<'a>, _now: Time) -> Result<Verified<'a>, Refusal> {
        Ok(Verified::trusted(inbound))
    }

    fn parse(&self, _verified: &Verified<'_>) -> Result<Parsed, Refusal> {
        Ok(Parsed::one(None, Ok(Report::ignored("test", "not a conversion"))))
    }

    async fn look_up(&self, _fetcher: &Fetcher, _what: &str) -> Result<Option<Told>, FetchError> {
        self.asked.notify_one();
        self.go.notified().await;
        Ok(Some(contact()))
    }
}

#[tokio::test]
async fn what_a_second_report_tells_while_the_source_is_asked_counts() {
    let (stores, ids) = stores(&memory::SimulatedDisk::default()).await;
    let source = Arc::new(Slow::default());
    let desk = desk_of(&stores, Arc::clone(&source) as _, &ids, destinations::OnUnknownConsent::Skip);
    let lookup = deal(&desk).await;
    let asking = tokio::spawn({
        let desk = desk.clone();
        async move { attempt(&desk, &Fetcher::new().expect("TLS"), &lookup, 0).await }
    });
    source.asked.notified().await;
    let mut again = Draft { transaction_id: Some("7".into()), ..Draft::named("purchase") };
    again.consent = Consent { ad_user_data: Choice::Granted, ad_personalization: Choice::Granted };
    let again = Told::new(again, serde_json::json!({}));
    let config = &desk.sources["crm"];
    let taken = desk.take(config, &axum::http::HeaderMap::new(), None, vec![again.into()], NOW).await.expect("works");
    assert_eq!(taken.duplicates, ["crm:purchase:7"]);
    source.go.notify_one();
    assert_eq!(asking.await.expect("ends"), None);
    let leased = stores.events.lease(ids[0], 9, NOW, NOW.plus(LIMIT)).await.expect("leases");
    assert_eq!(leased.len(), 1, "the second report brought the consent");
    assert_eq!(leased[0].event.user.emails.len(), 1);
}

#[test]
fn a_source_that_does_not_answer_keeps_no_other_waiting() {
    let lookup =
        |source: &str, what: usize| Lookup { source: SourceName::new(source).expect("valid"), what: what.to_string() };
    let plan = |due| Plan { tries: 0, due };
    let mut plans: BTreeMap<_, _> = (0..100).map(|i| (lookup("dead", i), plan(NOW))).collect();
    plans.insert(lookup("well", 1), plan(NOW.plus(LIMIT)));
    let mut running = BTreeMap::new();
    assert_eq!(next(&plans, &running).map(|(lookup, _)| lookup.source.as_str()), Some("dead"));
    running.extend((100..100 + CONCURRENCY).map(|i| (lookup("dead", i), ())));
    assert_eq!(next(&plans, &running).map(|(lookup, _)| lookup.source.as_str()), Some("well"));
}

#[test]
fn a_source_that_wants_to_be_left_alone_is_not_asked_for_what_comes_meanwhile() {
    let of = |source: &str| Lookup { source: SourceName::new(source).expect("valid"), what: "1".to_owned() };
    let rests = [(of("busy").source, NOW.plus(LIMIT)), (of("rested").source, NOW.minus(LIMIT))].into();
    let (mut plans, mut running) = (BTreeMap::new(), BTreeMap::new());
    for source in ["busy", "rested", "well"] {
        begin(&mut plans, &mut running, &rests, of(source), NOW);
    }
    let due = ["busy", "rested", "well"].map(|source| plans[&of(source)].due);
    assert_eq!(due, [NOW.plus(LIMIT), NOW, NOW]);
}

#[tokio::test]
async fn a_refund_learns_which_purchase_it_is_of() {
    let (stores, ids) = stores(&memory::SimulatedDisk::default()).await;
    let invoice = Draft { transaction_id: Some("in_1".into()), ..Draft::named("refund") };
    let desk = desk(&stores, vec![Ok(Some(Told::new(invoice, serde_json::Value::Null)))], &ids);
    let told = Told::new(Draft::named("refund"), serde_json::json!({})).keyed("re_1");
    let told = Told { lookup: Some(("deal/7".to_owned(), LIMIT)), ..told };
    let config = &desk.sources["crm"];
    let taken =
        desk.take(config, &axum::http::HeaderMap::new(), Some("d-1"), vec![told.into()], NOW).await.expect("works");
    assert_eq!(taken.accepted, ["crm:refund:re_1"]);
    let lookup = desk.pipeline.lookups().pop().expect("is awaited");
    assert_eq!(attempt(&desk, &Fetcher::new().expect("TLS"), &lookup, 0).await, None);
    let transaction = crate::model::TransactionId::new("in_1").expect("valid");
    let changes = stores.events.changes(&transaction).await.expect("reads");
    assert_eq!(changes.iter().map(|refund| refund.event_id.as_str()).collect::<Vec<_>>(), ["crm:refund:re_1"]);
}

#[tokio::test]
async fn an_event_goes_as_it_is_when_nothing_is_to_be_had_or_the_wait_is_over() {
    let (stores, ids) = stores(&memory::SimulatedDisk::default()).await;
    let answers = vec![Err(FetchError::Settings("the provider answered 401".into())), Err(FetchError::Gone)];
    let desk = desk(&stores, answers, &ids);
    let lookup = deal(&desk).await;
    let timeline = stores.events.timeline(&EventId::new("crm:purchase:7").expect("valid")).await.expect("reads");
    let NewState::Queued { due, wait, .. } = timeline.expect("is there").deliveries[0].start else {
        panic!("is to be sent");
    };
    assert_eq!((due, wait), (NOW.plus(LIMIT), Some(WaitReason::Lookup)));
    assert_eq!(stores.events.next_due(ids[0]), Some(NOW.plus(LIMIT)), "whatever becomes of the lookup");
    let fetcher = Fetcher::new().expect("TLS");
    let again = attempt(&desk, &fetcher, &lookup, 0).await.expect("a token can be corrected");
    assert!(again.wait >= Duration::from_secs(60));
    assert_eq!(again.rest, Some(REFUSED_REST), "another question may be answered");
    assert_eq!(attempt(&desk, &fetcher, &lookup, 1).await, None);
    let leased = stores.events.lease(ids[0], 9, NOW, NOW.plus(LIMIT)).await.expect("leases");
    assert_eq!(leased.len(), 1, "due at once");
}
