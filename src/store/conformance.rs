//! What every engine has to do, as one suite. Each engine's tests call [`suite`]; a new engine passes it before it is used.

pub mod book;
pub mod clicks;
mod steering;

use std::{future::Future, time::Duration};

use super::{Accepted, Config, LeaseKey, Leased, Settlement, Step, StoreError, Stores};
use crate::model::{
    ActionSource, Attempt, Attribution, Awaited, ClickId, ClickKind, Consent, Context, DestinationId, DestinationName,
    Digest, EventId, EventName, Failure, FailureClass, IdentityKey, IdentityKind, JoinedBy, NewDelivery, NewEvent,
    NewState, Observation, Outcome, Properties, SealedEvent, SealedUser, SkipReason, SourceName, Spelled, Time,
    TransactionId, Visit, VisitorId, WaitReason,
};

/// Settings with the default retention and small bounds, in `path`.
#[must_use]
pub fn config(path: &std::path::Path) -> Config {
    let days = |days: u64| Duration::from_secs(days * 86_400);
    Config {
        path: path.to_owned(),
        dedupe: days(30),
        visits: days(90),
        clicks: days(90),
        delivered: days(30),
        dead_letters: days(90),
        queue_max: 1_000_000,
        segment_bytes: 64 << 10,
        cache_bytes: 16 << 20,
    }
}

/// A plain purchase with this id, received at `at`.
#[must_use]
pub fn purchase(id: &str, at: Time) -> SealedEvent {
    SealedEvent {
        source: SourceName::new("shop").expect("a valid name"),
        name: EventName::new("purchase").expect("a valid name"),
        event_id: EventId::new(id).expect("a valid id"),
        time: at,
        received_at: at,
        visitor_id: None,
        joined_by: None,
        transaction_id: None,
        money: None,
        action_source: ActionSource::Website,
        items: Vec::new(),
        user: SealedUser::default(),
        context: Context::default(),
        attribution: Attribution::default(),
        consent: Consent::default(),
        properties: Properties::default(),
        change: None,
    }
}

/// `event` queued at once for each of `destinations`, for a week.
#[must_use]
pub fn queued(event: SealedEvent, destinations: &[DestinationId]) -> NewEvent {
    let (due, deadline) = (event.received_at, event.received_at.plus(WEEK));
    let state = NewState::Queued { due, deadline, wait: None };
    let deliveries = destinations.iter().map(|&destination| NewDelivery { destination, state }).collect();
    NewEvent { event, deliveries, waits_for: None }
}

const WEEK: Duration = Duration::from_secs(7 * 86_400);
const MINUTE: Duration = Duration::from_secs(60);

/// The time every case begins at.
pub const START: Time = Time::from_secs(1_795_000_000);

/// Two destinations, registered.
///
/// # Panics
/// If the store does not do what it has to; so do all functions here.
pub async fn two(stores: &Stores) -> [DestinationId; 2] {
    let names = ["meta", "google"].map(|name| DestinationName::new(name).expect("a valid name"));
    let ids = stores.events.register(&names).await.expect("registers");
    [ids[0], ids[1]]
}

/// Leases up to ten that are due at `now`, for a minute.
pub async fn lease(stores: &Stores, destination: DestinationId, now: Time) -> Vec<Leased> {
    stores.events.lease(destination, 10, now, now.plus(MINUTE)).await.expect("leases")
}

/// Settles leases with one step each.
pub async fn settle(stores: &Stores, destination: DestinationId, steps: Vec<(LeaseKey, Step)>, now: Time) -> usize {
    let attempt =
        Some(Attempt { at: now, status: Some(200), trace_id: Some("t".into()), duration_ms: 5, receipt: false });
    let settlement = Settlement { destination, at: now, attempt, steps, mark: None, exhibits: Vec::new() };
    stores.events.settle(settlement).await.expect("settles")
}

/// Runs every case, each in stores that `fresh` makes.
pub async fn suite<F: Future<Output = Stores>>(fresh: impl Fn() -> F) {
    accepts_once(&fresh().await).await;
    merges_what_a_second_report_adds(&fresh().await).await;
    refuses_an_id_that_names_another_event(&fresh().await).await;
    leases_each_delivery_to_one_worker(&fresh().await).await;
    lease_ends_and_stale_settlements_change_nothing(&fresh().await).await;
    reschedules_and_counts_attempts(&fresh().await).await;
    keeps_the_balance_for_every_outcome(&fresh().await).await;
    completes_what_waits_for_a_visit(&fresh().await).await;
    two_completions_end_nothing_twice(&fresh().await).await;
    stops_waiting_when_all_is_sent(&fresh().await).await;
    events_lead_to_their_visitors(&fresh().await).await;
    a_new_destination_starts_balanced(&fresh().await).await;
    remembers_finds_and_forgets_visitors(&fresh().await).await;
    steering::suite(fresh).await;
}

async fn accepts_once(stores: &Stores) {
    let ids = two(stores).await;
    let events = &stores.events;
    let mut renamed = purchase("e2", START);
    renamed.transaction_id = TransactionId::new("1001").ok();
    let mut twin = purchase("e3", START);
    twin.transaction_id = TransactionId::new("1001").ok();
    let batch = vec![queued(purchase("e1", START), &ids), queued(renamed, &ids), queued(purchase("e1", START), &ids)];
    let answers = events.accept(batch).await.expect("accepts");
    let known = |id: &str| Accepted::Duplicate(EventId::new(id).expect("valid"));
    assert_eq!(answers, [Accepted::New, Accepted::New, known("e1")]);
    let answers = events.accept(vec![queued(purchase("e1", START), &ids), queued(twin, &ids)]).await.expect("accepts");
    assert_eq!(answers, [known("e1"), known("e2")], "by id, and by name and transaction");
    let mut refunds = ["r1", "r2"].map(|id| purchase(id, START));
    for refund in &mut refunds {
        refund.name = EventName::new("refund").expect("valid");
        refund.transaction_id = TransactionId::new("1001").ok();
    }
    let refunds = refunds.map(|refund| queued(refund, &ids)).to_vec();
    let answers = events.accept(refunds).await.expect("accepts");
    assert_eq!(answers, [Accepted::New, Accepted::New], "one order may be refunded in parts");
    assert_eq!(events.balance().accepted, 4);
    let late = START.plus(Duration::from_secs(31 * 86_400));
    let answers = events.accept(vec![queued(purchase("e1", late), &ids)]).await.expect("accepts");
    assert_eq!(answers, [Accepted::New], "an id is remembered for the configured time");
}

async fn merges_what_a_second_report_adds(stores: &Stores) {
    let ids = two(stores).await;
    stores.events.accept(vec![queued(purchase("e1", START), &ids)]).await.expect("accepts");
    let mut richer = purchase("e1", START);
    richer.context.cookies.fbp = Some("fb.1.1.1".into());
    richer.transaction_id = TransactionId::new("77").ok();
    stores.events.accept(vec![queued(richer.clone(), &ids)]).await.expect("accepts");
    let leased = lease(stores, ids[0], START).await;
    assert_eq!(leased[0].event.context.cookies.fbp, richer.context.cookies.fbp, "filled in before it was sent");
    assert_eq!(leased[0].deadline, START.plus(WEEK));
    let mut third = purchase("e9", START);
    third.transaction_id = TransactionId::new("77").ok();
    let answers = stores.events.accept(vec![queued(third, &ids)]).await.expect("accepts");
    let first = EventId::new("e1").expect("valid");
    assert_eq!(answers, [Accepted::Duplicate(first)], "known by the transaction that the second report brought");
    assert_eq!(stores.events.balance().accepted, 1);
}

async fn refuses_an_id_that_names_another_event(stores: &Stores) {
    let ids = two(stores).await;
    let mut lead = purchase("e1", START);
    lead.name = EventName::new("generate_lead").expect("valid");
    let name = lead.name.clone();
    let answers = stores.events.accept(vec![queued(lead, &ids), queued(purchase("e1", START), &ids)]).await;
    assert_eq!(answers.expect("accepts"), [Accepted::New, Accepted::Conflict(name.clone())]);
    let answers = stores.events.accept(vec![queued(purchase("e1", START), &ids)]).await.expect("accepts");
    assert_eq!(answers, [Accepted::Conflict(name)]);
}

async fn leases_each_delivery_to_one_worker(stores: &Stores) {
    let ids = two(stores).await;
    let mut held = queued(purchase("later", START), &ids);
    for delivery in &mut held.deliveries {
        let wait = Some(WaitReason::ClickTooRecent);
        delivery.state = NewState::Queued { due: START.plus(MINUTE), deadline: START.plus(WEEK), wait };
    }
    let batch = vec![held, queued(purchase("e1", START), &ids), queued(purchase("e2", START), &ids)];
    stores.events.accept(batch).await.expect("accepts");
    let names = |leased: &[Leased]| leased.iter().map(|l| l.event.event_id.to_string()).collect::<Vec<_>>();
    assert_eq!([10, 1].map(|enough| stores.events.due(ids[0], START, enough)), [2, 1]);
    assert_eq!(stores.events.due(ids[0], START.plus(MINUTE), 10), 3);
    let first = lease(stores, ids[0], START).await;
    assert_eq!(names(&first), ["e1", "e2"], "in their order, and only what is due");
    assert!(lease(stores, ids[0], START).await.is_empty());
    assert_eq!(names(&lease(stores, ids[1], START).await), ["e1", "e2"], "the other destination has its own");
    let keys: Vec<LeaseKey> = first.iter().map(|leased| leased.key).collect();
    stores.events.release(ids[0], &keys);
    assert_eq!(names(&lease(stores, ids[0], START).await), ["e1", "e2"], "given back unspent");
    assert_eq!(stores.events.next_due(ids[0]), Some(START.plus(MINUTE)));
    assert!(names(&lease(stores, ids[0], START.plus(MINUTE)).await).contains(&"later".to_owned()));
}

async fn lease_ends_and_stale_settlements_change_nothing(stores: &Stores) {
    let ids = two(stores).await;
    stores.events.accept(vec![queued(purchase("e1", START), &ids)]).await.expect("accepts");
    let first = lease(stores, ids[0], START).await;
    assert_eq!(stores.events.due(ids[0], START, 10), 0);
    assert_eq!(stores.events.due(ids[0], START.plus(MINUTE), 10), 1, "a lease that ran out is due again");
    let again = lease(stores, ids[0], START.plus(MINUTE)).await;
    assert_eq!(again.len(), 1);
    let ended = Step::Ended(Outcome::Delivered);
    assert_eq!(settle(stores, ids[0], vec![(first[0].key, ended.clone())], START).await, 0);
    assert_eq!(stores.events.balance().destinations[0].1.delivered, 0);
    assert_eq!(settle(stores, ids[0], vec![(again[0].key, ended.clone())], START).await, 1);
    assert_eq!(settle(stores, ids[0], vec![(again[0].key, ended)], START).await, 0, "settled once");
    assert_eq!(stores.events.balance().destinations[0].1.delivered, 1);
}

async fn reschedules_and_counts_attempts(stores: &Stores) {
    let ids = two(stores).await;
    stores.events.accept(vec![queued(purchase("e1", START), &ids)]).await.expect("accepts");
    let mut now = START;
    for attempt in 0..3 {
        let leased = lease(stores, ids[0], now).await;
        assert_eq!(leased[0].attempts, attempt);
        now = now.plus(MINUTE);
        let failure = Failure { code: "503".into(), field: None, message: "busy".into() };
        settle(stores, ids[0], vec![(leased[0].key, Step::Again { due: now, failure, unknown: false })], now).await;
        assert_eq!(stores.events.next_due(ids[0]), Some(now));
        assert!(lease(stores, ids[0], now.minus(Duration::from_millis(1))).await.is_empty());
    }
    let timeline = stores.events.timeline(&EventId::new("e1").expect("valid")).await.expect("reads").expect("is there");
    assert_eq!(timeline.deliveries[0].attempts.len(), 3);
    assert_eq!((timeline.deliveries[0].due, timeline.deliveries[0].outcome.clone()), (Some(now), None));
    assert_eq!(timeline.deliveries[1].attempts.len(), 0);
}

async fn keeps_the_balance_for_every_outcome(stores: &Stores) {
    let ids = two(stores).await;
    let balanced = || {
        let balance = stores.events.balance();
        balance.destinations.iter().all(|(_, counts)| counts.sum() == balance.accepted)
    };
    for i in 0..5 {
        let mut new = queued(purchase(&format!("e{i}"), START), &ids);
        new.deliveries[1].state = if i % 2 == 0 { NewState::Skipped(SkipReason::Unmapped) } else { NewState::Expired };
        stores.events.accept(vec![new]).await.expect("accepts");
        assert!(balanced());
    }
    let leased = lease(stores, ids[0], START).await;
    assert!(balanced(), "what is in flight counts as queued");
    let dead = Outcome::Dead {
        class: FailureClass::Event,
        failure: Failure { code: "100".into(), field: None, message: "no".into() },
    };
    let outcomes = [Outcome::Delivered, Outcome::Skipped(SkipReason::NoIdentifiers), dead, Outcome::Expired];
    let steps = leased.iter().zip(outcomes).map(|(leased, outcome)| (leased.key, Step::Ended(outcome))).collect();
    assert_eq!(settle(stores, ids[0], steps, START).await, 4);
    assert!(balanced());
    let counts = stores.events.balance().destinations[0].1;
    assert_eq!((counts.delivered, counts.skipped, counts.dead, counts.expired, counts.queued), (1, 1, 1, 1, 1));
    let counts = stores.events.balance().destinations[1].1;
    assert_eq!((counts.skipped, counts.expired), (3, 2));
}

async fn completes_what_waits_for_a_visit(stores: &Stores) {
    let ids = two(stores).await;
    let visitor = VisitorId::new("v1").expect("valid");
    let mut new = queued(purchase("e1", START), &ids);
    new.event.visitor_id = Some(visitor.clone());
    new.waits_for = Some(Awaited::Visit(visitor.clone()));
    for delivery in &mut new.deliveries {
        let due = START.plus(MINUTE);
        delivery.state = NewState::Queued { due, deadline: START.plus(WEEK), wait: Some(WaitReason::Visit) };
    }
    stores.events.accept(vec![new]).await.expect("accepts");
    assert_eq!(stores.events.awaited(), [Awaited::Visit(visitor.clone())]);
    let waiting = stores.events.waiting_for(&Awaited::Visit(visitor.clone())).await.expect("reads");
    let mut completed = queued(waiting[0].sealed.clone(), &ids);
    completed.event.context.cookies.fbp = Some("fb.1.1.1".into());
    completed.deliveries[1].state = NewState::Skipped(SkipReason::Consent);
    stores.events.complete(waiting[0].event, completed).await.expect("completes");
    assert!(stores.events.awaited().is_empty());
    let leased = lease(stores, ids[0], START).await;
    assert!(leased[0].event.context.cookies.fbp.is_some(), "due at once, and complete");
    let balance = stores.events.balance();
    assert!(balance.destinations.iter().all(|(_, counts)| counts.sum() == 1));
    assert_eq!(balance.destinations[1].1.skipped, 1);
    settle(stores, ids[0], vec![(leased[0].key, Step::Ended(Outcome::Delivered))], START).await;
    assert_eq!(stores.events.balance().destinations[0].1.delivered, 1);
}

async fn two_completions_end_nothing_twice(stores: &Stores) {
    let ids = two(stores).await;
    let mut new = queued(purchase("e1", START), &ids);
    new.waits_for = VisitorId::new("v1").ok().map(Awaited::Visit);
    stores.events.accept(vec![new.clone(), queued(purchase("e2", START), &ids)]).await.expect("accepts");
    let awaited = new.waits_for.take().expect("set");
    // Two visits of one visitor at the same moment both find the event waiting.
    let waiting = stores.events.waiting_for(&awaited).await.expect("reads");
    let mut denied = queued(waiting[0].sealed.clone(), &ids);
    for delivery in &mut denied.deliveries {
        delivery.state = NewState::Skipped(SkipReason::Consent);
    }
    stores.events.complete(waiting[0].event, denied.clone()).await.expect("completes");
    stores.events.complete(waiting[0].event, denied).await.expect("completes");
    for (_, counts) in stores.events.balance().destinations {
        assert_eq!((counts.skipped, counts.queued), (1, 1));
    }
    assert_eq!(lease(stores, ids[0], START).await.len(), 1);
}

async fn stops_waiting_when_all_is_sent(stores: &Stores) {
    let ids = two(stores).await;
    let visitor = VisitorId::new("v1").expect("valid");
    let mut new = queued(purchase("e1", START), &ids);
    new.waits_for = Some(Awaited::Visit(visitor.clone()));
    stores.events.accept(vec![new.clone()]).await.expect("accepts");
    for (id, left) in ids.into_iter().zip([1, 0]) {
        let leased = lease(stores, id, START).await;
        settle(stores, id, vec![(leased[0].key, Step::Ended(Outcome::Delivered))], START).await;
        assert_eq!(stores.events.awaited().len(), left, "nothing is kept of what is over");
    }
    assert!(stores.events.waiting_for(&Awaited::Visit(visitor.clone())).await.expect("reads").is_empty());
}

async fn events_lead_to_their_visitors(stores: &Stores) {
    let ids = two(stores).await;
    let told = |id: &str, visitor: &str, joined_by, email: &str| {
        let mut event = purchase(id, START);
        event.visitor_id = VisitorId::new(visitor).ok();
        event.joined_by = joined_by;
        event.user.emails = vec![Spelled::given(Digest::of_token(email))];
        queued(event, &ids)
    };
    let key = |email: &str| IdentityKey { kind: IdentityKind::Email, digest: Digest::of_token(email) };
    let by_id = Some(JoinedBy::VisitorId);
    let events = vec![
        told("e1", "v1", by_id, "ada"),
        told("e2", "v2", by_id, "bob"),
        told("e3", "v3", by_id, "ada"),
        told("e4", "v4", Some(JoinedBy::Phone), "eve"),
        told("e5", "v5", None, "eve"),
    ];
    stores.events.accept(events).await.expect("accepts");
    let found = |emails: &[&str]| {
        let keys: Vec<IdentityKey> = emails.iter().map(|email| key(email)).collect();
        stores.events.visitor_of(&keys).expect("reads").map(|(visitor, _)| visitor.to_string())
    };
    assert_eq!(found(&["nobody", "bob", "ada"]).as_deref(), Some("v2"), "by the first key that leads anywhere");
    assert_eq!(found(&["ada"]).as_deref(), Some("v3"), "to the latest");
    assert_eq!(found(&["eve"]), None, "only an event that names a known visitor says whose an address is");
}

async fn a_new_destination_starts_balanced(stores: &Stores) {
    let ids = two(stores).await;
    stores.events.accept(vec![queued(purchase("e1", START), &ids)]).await.expect("accepts");
    let names = ["google", "files"].map(|name| DestinationName::new(name).expect("valid"));
    let later = stores.events.register(&names).await.expect("registers");
    assert_eq!(later[0], ids[1], "a name keeps its id");
    stores.events.accept(vec![queued(purchase("e2", START), &later)]).await.expect("accepts");
    let back = two(stores).await;
    assert_eq!(back, ids);
    let balance = stores.events.balance();
    assert_eq!(balance.destinations.len(), 3);
    for (id, counts) in &balance.destinations[..2] {
        assert_eq!(counts.sum(), 2, "{id:?}: what passed while it was not configured is skipped");
    }
}

async fn remembers_finds_and_forgets_visitors(stores: &Stores) {
    let visits = &stores.visits;
    let seen = |visitor: &str, gclid: &str, key: &str, at: Time| Observation {
        clicks: vec![ClickId { kind: ClickKind::Gclid, value: gclid.into(), first_seen: Some(at), last_seen: at }],
        keys: vec![IdentityKey { kind: IdentityKind::Email, digest: Digest::of_token(key) }],
        ..Observation::new(VisitorId::new(visitor).expect("valid"), Visit { at, ..Visit::default() })
    };
    let later = START.plus(MINUTE);
    let all = vec![seen("v1", "A", "ada", START), seen("v1", "B", "ada", later), seen("v2", "C", "bob", later)];
    visits.remember(all).await.expect("remembers");
    let [v1, v2] = ["v1", "v2"].map(|id| VisitorId::new(id).expect("valid"));
    let key = |name: &str| IdentityKey { kind: IdentityKind::Email, digest: Digest::of_token(name) };
    assert_eq!(visits.find(&v1).expect("reads").expect("known").clicks.len(), 2);
    let (found, by) = visits.find_by(&[key("nobody"), key("bob"), key("ada")]).expect("reads").expect("known");
    assert_eq!((found.id, by), (v2.clone(), key("bob")), "the first key that leads anywhere");
    visits.remember(vec![seen("v2", "D", "ada", later)]).await.expect("remembers");
    assert_eq!(visits.find_by(&[key("ada")]).expect("reads").expect("known").0.id, v2, "last seen there");
    assert!(visits.forget(&v2).await.expect("forgets"));
    assert!(!visits.forget(&v2).await.expect("forgets"));
    assert!(visits.find_by(&[key("bob")]).expect("reads").is_none());
    assert_eq!(visits.retain(later).await.expect("retains"), 0);
    assert_eq!(visits.retain(later.plus(MINUTE)).await.expect("retains"), 1);
    assert!(visits.find(&v1).expect("reads").is_none());
    let much_later = later.plus(MINUTE * 60);
    visits.remember(vec![seen("v3", "E", "eve", later)]).await.expect("remembers");
    visits.remember(vec![seen("v4", "F", "eve", much_later)]).await.expect("remembers");
    assert_eq!(visits.retain(much_later).await.expect("retains"), 1);
    let found = visits.find_by(&[key("eve")]).expect("reads").expect("known");
    assert_eq!(found.0.id.as_str(), "v4", "an old visitor takes no identifier of a newer one with it");
}

/// Fills the queue and expects to be refused.
pub async fn refuses_over_its_bound(stores: &Stores, bound: u64) {
    let ids = two(stores).await;
    for i in 0..bound {
        stores.events.accept(vec![queued(purchase(&format!("e{i}"), START), &ids)]).await.expect("accepts");
    }
    let refused = stores.events.accept(vec![queued(purchase("one-more", START), &ids)]).await;
    assert!(matches!(refused, Err(StoreError::Full)));
}
