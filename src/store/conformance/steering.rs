//! What comes after a delivery's end: dead letters and replay, refunds, reports, handing over, forgetting.

use std::{future::Future, time::Duration};

use super::{MINUTE, START, WEEK, lease, purchase, queued, settle, two};
use crate::{
    model::{
        Attempt, Awaited, DestinationId, Digest, EventName, Failure, FailureClass, IdentityKey, IdentityKind, Lookup,
        Money, NewEvent, NewState, Outcome, SealedEvent, SkipReason, Spelled, Time, TransactionId, VisitorId,
        WaitReason,
    },
    store::{
        Accepted, Answer, Cause, Exhibit, Forget, Leased, Note, OperatorPause, Requeue, Settlement, Standing, Step,
        Stores,
    },
};

pub(super) async fn suite<F: Future<Output = Stores>>(fresh: impl Fn() -> F) {
    lists_dead_letters_and_queues_them_again(&fresh().await).await;
    discards_for_good(&fresh().await).await;
    lists_what_ended_in_a_time(&fresh().await).await;
    a_destination_added_later_can_get_what_it_missed(&fresh().await).await;
    knows_the_conversion_of_a_refund(&fresh().await).await;
    knows_a_refund_whose_transaction_was_looked_up(&fresh().await).await;
    a_changed_value_is_told_apart_from_a_repeat(&fresh().await).await;
    waits_and_unknown_outcomes_are_kept(&fresh().await).await;
    knows_the_deadlines_of_what_is_queued(&fresh().await).await;
    fresh_events_do_not_wait_for_a_backlog(&fresh().await).await;
    an_operators_pause_lasts(&fresh().await).await;
    hands_over_and_never_sends_both_ways(&fresh().await).await;
    asks_about_receipts_until_they_are_final(&fresh().await).await;
    a_report_resends_nothing_that_was_changed_since(&fresh().await).await;
    forgets_a_person_and_keeps_the_counts(&fresh().await).await;
}

fn failure(code: &str) -> Failure {
    Failure { code: code.into(), field: None, message: "no".into() }
}

fn dead(code: &str) -> Step {
    Step::Ended(Outcome::Dead { class: FailureClass::Event, failure: failure(code) })
}

async fn kill(stores: &Stores, destination: DestinationId, leased: &Leased, now: Time) {
    let settlement = Settlement {
        destination,
        at: now,
        attempt: Some(Attempt { at: now, status: Some(400), trace_id: None, duration_ms: 1, receipt: false }),
        steps: vec![(leased.key, dead("100"))],
        mark: None,
        exhibits: vec![(leased.key, Exhibit::new(b"{\"em\":1}", b"{\"error\":{}}"))],
    };
    assert_eq!(stores.events.settle(settlement).await.expect("settles"), 1);
}

async fn accept(stores: &Stores, event: SealedEvent, to: &[DestinationId]) -> Accepted {
    stores.events.accept(vec![queued(event, to)]).await.expect("accepts").remove(0)
}

async fn sound(stores: &Stores) {
    let audit = stores.events.audit().await.expect("audits");
    assert_eq!((audit.drift, audit.events), (Vec::new(), stores.events.balance().accepted));
}

fn hours(hours: u64) -> Duration {
    Duration::from_secs(hours * 3600)
}

async fn lists_dead_letters_and_queues_them_again(stores: &Stores) {
    let ids = two(stores).await;
    let events = &stores.events;
    for id in ["e1", "e2", "e3"] {
        accept(stores, purchase(id, START), &ids).await;
    }
    let now = START.plus(MINUTE);
    for leased in lease(stores, ids[0], now).await.iter().take(2) {
        kill(stores, ids[0], leased, now).await;
    }
    let letters = events.dead_letters(ids[0], 0, 10).await.expect("lists");
    let names: Vec<&str> = letters.iter().map(|letter| letter.event.event_id.as_str()).collect();
    assert_eq!(names, ["e1", "e2"]);
    assert_eq!((letters[0].at, letters[0].attempt.as_ref().and_then(|attempt| attempt.status)), (now, Some(400)));
    assert_eq!(letters[0].exhibit, Some(Exhibit::new(b"{\"em\":1}", b"{\"error\":{}}")));
    let second = events.dead_letters(ids[0], letters[0].number, 10).await.expect("lists");
    assert_eq!(second.len(), 1, "the list goes on behind a number");
    assert!(events.dead_letters(ids[1], 0, 10).await.expect("lists").is_empty());
    sound(stores).await;

    let deadline = START.plus(WEEK);
    let requeue = |number| Requeue { destination: ids[0], events: vec![(number, deadline)], at: now, due: now };
    assert_eq!(events.requeue(requeue(letters[0].number)).await.expect("requeues"), 1);
    assert_eq!(events.requeue(requeue(letters[0].number)).await.expect("requeues"), 0, "it is queued already");
    let counts = events.balance().destinations[0].1;
    assert_eq!((counts.dead, counts.queued, counts.sum()), (1, 2, 3));
    sound(stores).await;
    let again = lease(stores, ids[0], now).await;
    assert_eq!((again.len(), again[0].event.event_id.as_str(), again[0].attempts), (1, "e1", 0));
    settle(stores, ids[0], vec![(again[0].key, Step::Ended(Outcome::Delivered))], now).await;
    assert_eq!(events.dead_letters(ids[0], 0, 10).await.expect("lists").len(), 1);
    let timeline = events.timeline(&letters[0].event.event_id).await.expect("reads").expect("is there");
    let history = &timeline.deliveries[0];
    assert_eq!(history.notes, [Note::Requeued { at: now, cause: Cause::Operator }]);
    assert_eq!((history.attempts.len(), history.outcome.clone()), (2, Some(Outcome::Delivered)));
    assert_eq!(timeline.deliveries[1].outcome, None, "only the destination that missed it");
    sound(stores).await;
}

async fn discards_for_good(stores: &Stores) {
    let ids = two(stores).await;
    accept(stores, purchase("e1", START), &ids).await;
    let leased = lease(stores, ids[0], START).await;
    kill(stores, ids[0], &leased[0], START).await;
    let number = stores.events.dead_letters(ids[0], 0, 1).await.expect("lists")[0].number;
    let events = [number, 7];
    let discard = || stores.events.discard(ids[0], &events, "a test order".into(), START);
    assert_eq!(discard().await.expect("discards"), 1);
    assert_eq!(discard().await.expect("discards"), 0);
    assert!(stores.events.dead_letters(ids[0], 0, 1).await.expect("lists").is_empty());
    assert_eq!(stores.events.balance().destinations[0].1.dead, 1, "it stays dead");
    let timeline = stores.events.timeline(&leased[0].event.event_id).await.expect("reads").expect("is there");
    assert_eq!(timeline.deliveries[0].notes, [Note::Discarded { at: START, reason: "a test order".into() }]);
    sound(stores).await;
}

async fn lists_what_ended_in_a_time(stores: &Stores) {
    let ids = two(stores).await;
    for hour in 0..5 {
        accept(stores, purchase(&format!("e{hour}"), START.plus(hours(hour))), &ids).await;
    }
    let now = START.plus(hours(5));
    let leased = lease(stores, ids[0], now).await;
    let steps = leased.iter().take(4).map(|leased| (leased.key, Step::Ended(Outcome::Delivered))).collect();
    settle(stores, ids[0], steps, now).await;
    let (from, to) = (START.plus(hours(1)), START.plus(hours(5)));
    let ended = stores.events.ended(ids[0], from, to, 0, 10).await.expect("lists");
    let names: Vec<&str> = ended.iter().map(|ended| ended.event.event_id.as_str()).collect();
    assert_eq!(names, ["e1", "e2", "e3"], "e0 came before, e4 is queued");
    let rest = stores.events.ended(ids[0], from, to, ended[0].number, 1).await.expect("lists");
    assert_eq!(rest[0].event.event_id.as_str(), "e2");
}

async fn a_destination_added_later_can_get_what_it_missed(stores: &Stores) {
    use crate::model::DestinationName;
    let ids = two(stores).await;
    accept(stores, purchase("e1", START), &ids).await;
    let names = ["meta", "google", "ga4"].map(|name| DestinationName::new(name).expect("valid"));
    let third = stores.events.register(&names).await.expect("registers")[2];
    sound(stores).await;
    let missed = stores.events.ended(third, START, START.plus(MINUTE), 0, 10).await.expect("lists");
    assert_eq!(missed[0].outcome, Outcome::Skipped(SkipReason::NotConfigured));
    let events = vec![(missed[0].number, START.plus(WEEK))];
    let requeue = Requeue { destination: third, events, at: START, due: START };
    assert_eq!(stores.events.requeue(requeue).await.expect("requeues"), 1);
    sound(stores).await;
    let leased = lease(stores, third, START).await;
    let late = leased[0].deadline.since(START.plus(WEEK));
    assert!(leased[0].deadline >= START.plus(WEEK) && late < MINUTE * 10, "to ten minutes");
    settle(stores, third, vec![(leased[0].key, Step::Ended(Outcome::Delivered))], START).await;
    let counts = stores.events.balance().destinations[2].1;
    assert_eq!((counts.delivered, counts.skipped, counts.sum()), (1, 0, 1));
    let timeline = stores.events.timeline(&leased[0].event.event_id).await.expect("reads").expect("is there");
    assert_eq!(timeline.deliveries[2].outcome, Some(Outcome::Delivered));
    sound(stores).await;
}

fn of_order(id: &str, name: &str, order: &str, value: Option<&str>) -> SealedEvent {
    let mut event = purchase(id, START);
    event.name = EventName::new(name).expect("valid");
    event.transaction_id = TransactionId::new(order).ok();
    event.money = value.map(usd);
    event
}

fn usd(amount: &str) -> Money {
    let amount = crate::model::parse_decimal(amount).expect("a number");
    Money::new(amount, crate::model::Currency::parse("USD").expect("known")).expect("valid")
}

async fn knows_the_conversion_of_a_refund(stores: &Stores) {
    let ids = two(stores).await;
    let events = &stores.events;
    let order = TransactionId::new("1001").expect("valid");
    let names = [EventName::new("sign_up").expect("valid"), EventName::new("purchase").expect("valid")];
    assert!(events.original(ids[0], &order, &names).await.expect("looks").is_none());
    accept(stores, of_order("p", "purchase", "1001", Some("50")), &ids).await;
    accept(stores, of_order("other", "purchase", "1002", Some("7")), &ids).await;
    for (id, name, value) in [("r1", "refund", "5"), ("w1", "restatement", "40"), ("r2", "refund", "5")] {
        assert_eq!(accept(stores, of_order(id, name, "1001", Some(value)), &ids).await, Accepted::New);
    }
    accept(stores, of_order("r9", "refund", "1002", None), &ids).await;
    let standing = async |at: usize| {
        let found = events.original(ids[at], &order, &names).await.expect("looks").expect("is there");
        assert_eq!(found.0.event_id.as_str(), "p");
        found.1
    };
    accept(stores, purchase("no-order", START.plus(hours(1))), &[ids[1]]).await;
    let by_id = TransactionId::new("no-order").expect("valid");
    assert!(
        events.original(ids[0], &by_id, &names).await.expect("looks").is_some(),
        "without an order it goes by its id"
    );
    assert_eq!(standing(0).await, Standing::Queued);
    let leased = lease(stores, ids[0], START).await;
    assert_eq!(standing(0).await, Standing::Queued, "in flight");
    settle(stores, ids[0], vec![(leased[0].key, Step::Ended(Outcome::Delivered))], START).await;
    assert_eq!((standing(0).await, standing(1).await), (Standing::Delivered, Standing::Queued));
    let leased = lease(stores, ids[1], START).await;
    kill(stores, ids[1], &leased[0], START).await;
    assert_eq!(standing(1).await, Standing::Dead);
    events.discard(ids[1], &[leased[0].key.event], "no".into(), START).await.expect("discards");
    assert_eq!(standing(1).await, Standing::Over);
    let changes = events.changes(&order).await.expect("looks");
    let changes: Vec<&str> = changes.iter().map(|event| event.event_id.as_str()).collect();
    assert_eq!(changes, ["r1", "w1", "r2"]);
}

async fn knows_a_refund_whose_transaction_was_looked_up(stores: &Stores) {
    let ids = two(stores).await;
    let order = TransactionId::new("1001").expect("valid");
    let source = crate::model::SourceName::new("shop").expect("valid");
    let lookup = Awaited::Lookup(Lookup { source, what: "payment-1".into() });
    let refund = |id: &str, known: bool| SealedEvent {
        transaction_id: Some(order.clone()).filter(|_| known),
        ..of_order(id, "refund", "1001", Some("5"))
    };
    for id in ["r1", "r2"] {
        let waits_for = Some(lookup.clone());
        let new = NewEvent { waits_for, ..queued(refund(id, false), &ids) };
        stores.events.accept(vec![new]).await.expect("accepts");
    }
    accept(stores, refund("r3", true), &ids).await;
    let changes = async || {
        let changes = stores.events.changes(&order).await.expect("looks");
        changes.into_iter().map(|event| event.event_id.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(changes().await, ["r3"]);
    for waiting in stores.events.waiting_for(&lookup).await.expect("looks") {
        let event = SealedEvent { transaction_id: Some(order.clone()), ..waiting.sealed };
        stores.events.complete(waiting.event, queued(event, &ids)).await.expect("completes");
    }
    assert_eq!(changes().await, ["r1", "r2", "r3"], "in the order in which they were accepted, each once");
    sound(stores).await;
}

async fn a_changed_value_is_told_apart_from_a_repeat(stores: &Stores) {
    let ids = two(stores).await;
    let order = || of_order("p", "purchase", "1001", Some("50"));
    let changed = || of_order("p", "purchase", "1001", Some("45"));
    let answers = stores.events.accept(vec![queued(order(), &ids), queued(changed(), &ids)]).await.expect("accepts");
    assert!(matches!(&answers[1], Accepted::Restates(known) if known.money == Some(usd("50"))), "in one request");
    assert!(matches!(accept(stores, changed(), &ids).await, Accepted::Restates(_)));
    let by_order = of_order("p2", "purchase", "1001", Some("45"));
    assert!(matches!(accept(stores, by_order, &ids).await, Accepted::Restates(_)));
    assert!(matches!(accept(stores, order(), &ids).await, Accepted::Duplicate(_)));
    let valueless = of_order("p", "purchase", "1001", None);
    assert!(matches!(accept(stores, valueless, &ids).await, Accepted::Duplicate(_)));
    let elsewhere = SealedEvent { source: crate::model::SourceName::new("tag").expect("valid"), ..changed() };
    assert!(matches!(accept(stores, elsewhere, &ids).await, Accepted::Duplicate(_)), "another source");
    assert_eq!(stores.events.balance().accepted, 1);
}

async fn waits_and_unknown_outcomes_are_kept(stores: &Stores) {
    let ids = two(stores).await;
    accept(stores, purchase("e1", START), &ids).await;
    let first = lease(stores, ids[0], START).await;
    let due = START.plus(MINUTE);
    let wait = Step::Wait { due, reason: WaitReason::Original };
    settle(stores, ids[0], vec![(first[0].key, wait)], START).await;
    assert_eq!(stores.events.next_due(ids[0]), Some(due));
    let second = lease(stores, ids[0], due).await;
    assert_eq!((second[0].attempts, second[0].unknown_since), (0, None), "a wait costs no attempt");
    let again = Step::Again { due, failure: failure("timeout"), unknown: true };
    settle(stores, ids[0], vec![(second[0].key, again)], due).await;
    let third = lease(stores, ids[0], due).await;
    assert_eq!((third[0].attempts, third[0].unknown_since), (1, Some(due)));
    let later = due.plus(MINUTE);
    let again = Step::Again { due, failure: failure("503"), unknown: false };
    settle(stores, ids[0], vec![(third[0].key, again)], later).await;
    let fourth = lease(stores, ids[0], later).await;
    assert_eq!((fourth[0].attempts, fourth[0].unknown_since), (2, Some(due)), "the first time counts");
    // Being sent is unknown as long as nothing else is known.
    accept(stores, purchase("e2", later), &ids).await;
    let next = lease(stores, ids[0], later).await;
    let key = next[0].key;
    assert_eq!(settle(stores, ids[0], vec![(key, Step::Sending)], later).await, 1);
    stores.events.release(ids[0], &[key]);
    let again = lease(stores, ids[0], later).await;
    assert_eq!((again[0].key.event, again[0].unknown_since), (key.event, Some(later)), "nobody knows");
    let step = Step::Again { due: later, failure: failure("refused"), unknown: false };
    assert_eq!(settle(stores, ids[0], vec![(again[0].key, step)], later).await, 1);
    let sure = lease(stores, ids[0], later).await;
    assert_eq!((sure[0].key.event, sure[0].unknown_since), (key.event, None), "it certainly did not arrive");
    settle(stores, ids[0], vec![(sure[0].key, Step::Ended(Outcome::Delivered))], later).await;

    stores.events.defer(ids[0], &[fourth[0].key], later.plus(MINUTE));
    assert!(lease(stores, ids[0], later).await.is_empty());
    assert_eq!(lease(stores, ids[0], later.plus(MINUTE)).await[0].attempts, 2, "deferring costs none");
}

async fn knows_the_deadlines_of_what_is_queued(stores: &Stores) {
    let ids = two(stores).await;
    accept(stores, purchase("e1", START), &ids).await;
    let mut waiting = queued(purchase("e2", START), &ids);
    let deadline = START.plus(hours(5));
    waiting.deliveries[0].state = NewState::Queued { due: START.plus(hours(9)), deadline, wait: None };
    if let NewState::Queued { wait, .. } = &mut waiting.deliveries[0].state {
        *wait = Some(WaitReason::ClickTooRecent);
    }
    stores.events.accept(vec![waiting]).await.expect("accepts");
    let expiring = |hour| stores.events.expiring(ids[0], START.plus(hours(hour)));
    assert_eq!([expiring(4), expiring(6), expiring(8 * 24)], [0, 1, 2]);
    let expired = async |hour: u64| {
        let now = START.plus(hours(hour));
        stores.events.lease_expired(ids[0], 10, now, now.plus(MINUTE)).await.expect("leases")
    };
    assert!(expired(4).await.is_empty());
    let over = expired(6).await;
    assert_eq!((over.len(), over[0].event.event_id.as_str()), (1, "e2"), "before it is due");
    settle(stores, ids[0], vec![(over[0].key, Step::Ended(Outcome::Expired))], deadline).await;
    assert_eq!([expiring(6), expiring(8 * 24)], [0, 1]);
    assert_eq!(expired(8 * 24).await.len(), 1);
    sound(stores).await;
}

async fn fresh_events_do_not_wait_for_a_backlog(stores: &Stores) {
    let ids = two(stores).await;
    for i in 0..40 {
        accept(stores, purchase(&format!("e{i}"), START), &ids).await;
    }
    let numbers = |leased: &[Leased]| -> Vec<u64> { leased.iter().map(|leased| leased.key.event).collect() };
    let first = lease(stores, ids[0], START).await;
    let newest = first.iter().filter(|leased| leased.event.event_id.as_str() == "e39").count();
    assert_eq!((first.len(), first[0].event.event_id.as_str(), newest), (10, "e0", 1), "a share of the newest");
    let keys: Vec<_> = first.iter().map(|leased| leased.key).collect();
    stores.events.release(ids[0], &keys);
    assert_eq!(stores.events.due(ids[0], START, 100), 40);
    let mut all = numbers(&stores.events.lease(ids[0], 100, START, START.plus(MINUTE)).await.expect("leases"));
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), 40, "each once");
}

async fn an_operators_pause_lasts(stores: &Stores) {
    let ids = two(stores).await;
    let pause = OperatorPause { reason: "sale week".into(), since: START };
    stores.events.pause(ids[1], Some(pause.clone())).await.expect("pauses");
    assert_eq!((stores.events.paused(ids[0]), stores.events.paused(ids[1])), (None, Some(pause)));
    stores.events.pause(ids[1], None).await.expect("goes on");
    assert_eq!(stores.events.paused(ids[1]), None);
}

async fn hands_over_and_never_sends_both_ways(stores: &Stores) {
    let ids = two(stores).await;
    for i in 0..5 {
        let mut new = queued(purchase(&format!("e{i}"), START), &ids);
        new.deliveries[1].state = NewState::Skipped(SkipReason::Fallback);
        stores.events.accept(vec![new]).await.expect("accepts");
    }
    // One in flight, one that may have arrived.
    let leased = stores.events.lease(ids[0], 2, START, START.plus(WEEK)).await.expect("leases");
    let takes: crate::store::Takes = std::sync::Arc::new(|event| event.event_id.as_str() != "e3");
    let again = Step::Again { due: START, failure: failure("timeout"), unknown: true };
    settle(stores, ids[0], vec![(leased[0].key, again)], START).await;
    let spill = stores.events.spill(ids[0], ids[1], takes.clone(), 100, START).await.expect("spills");
    assert_eq!(
        (spill.moved, spill.left),
        (2, 3),
        "one in flight, one that may be there, one that the file does not take"
    );
    let counts: Vec<_> = stores.events.balance().destinations.iter().map(|(_, counts)| *counts).collect();
    assert_eq!((counts[0].queued, counts[0].skipped), (3, 2));
    assert_eq!((counts[1].queued, counts[1].skipped), (2, 3));
    sound(stores).await;
    let rows = lease(stores, ids[1], START).await;
    let steps = rows.iter().map(|row| (row.key, Step::Ended(Outcome::Delivered))).collect();
    assert_eq!(settle(stores, ids[1], steps, START).await, 2);
    assert_eq!(stores.events.spill(ids[0], ids[1], takes.clone(), 100, START).await.expect("spills").moved, 0);
    let timeline = stores.events.timeline(&rows[0].event.event_id).await.expect("reads").expect("is there");
    assert_eq!(timeline.deliveries[0].outcome, Some(Outcome::Skipped(SkipReason::Spilled)));
    assert_eq!(timeline.deliveries[1].notes, [Note::Requeued { at: START, cause: Cause::Spilled }]);
    sound(stores).await;
}

async fn asks_about_receipts_until_they_are_final(stores: &Stores) {
    let ids = two(stores).await;
    let events = &stores.events;
    accept(stores, purchase("e1", START), &ids).await;
    let leased = lease(stores, ids[1], START).await;
    let attempt =
        Attempt { at: START, status: Some(200), trace_id: Some("req-1".into()), duration_ms: 1, receipt: true };
    let steps = vec![(leased[0].key, Step::Ended(Outcome::Delivered))];
    let settlement =
        Settlement { destination: ids[1], at: START, attempt: Some(attempt), steps, mark: None, exhibits: Vec::new() };
    events.settle(settlement).await.expect("settles");
    let half_hour = START.plus(MINUTE * 30);
    assert_eq!((events.next_receipt(ids[1]), events.next_receipt(ids[0])), (Some(half_hour), None));
    assert!(events.receipts(ids[1], START, 10).await.expect("reads").is_empty());
    let receipt = events.receipts(ids[1], half_hour, 10).await.expect("reads").remove(0);
    assert_eq!((receipt.trace_id.as_str(), receipt.sent_at, receipt.asked), ("req-1", START, 0));
    let answer = |again, resend, counts: &[(&str, u64)]| Answer {
        at: half_hour,
        status: "PROCESSING".into(),
        taken: 0,
        counts: counts.iter().map(|(reason, count)| ((*reason).to_owned(), *count)).collect(),
        again,
        resend,
    };
    let later = START.plus(hours(2));
    events.report(ids[1], receipt.number, answer(Some(later), None, &[])).await.expect("reports");
    assert_eq!(events.reported(ids[1]).open, 1);
    let receipt = events.receipts(ids[1], later, 10).await.expect("reads").remove(0);
    assert_eq!(receipt.asked, 1);
    let resend = later.plus(hours(6));
    let last = answer(None, Some(resend), &[("TOO_RECENT_CLICK", 1)]);
    events.report(ids[1], receipt.number, last.clone()).await.expect("reports");
    let reported = events.reported(ids[1]);
    assert_eq!((reported.open, reported.counts["TOO_RECENT_CLICK"]), (0, 1));
    let counts = events.balance().destinations[1].1;
    assert_eq!((counts.delivered, counts.queued), (0, 1), "it goes out again");
    assert_eq!(events.next_due(ids[1]), Some(resend));
    let timeline = events.timeline(&leased[0].event.event_id).await.expect("reads").expect("is there");
    assert!(timeline.deliveries[1].notes.contains(&Note::Reported(last)));
    sound(stores).await;
}

/// Sent again with its old value, a conversion would undo the refund that came after it.
async fn a_report_resends_nothing_that_was_changed_since(stores: &Stores) {
    let ids = two(stores).await;
    let events = &stores.events;
    accept(stores, of_order("p", "purchase", "1001", Some("50")), &[ids[0]]).await;
    let purchase = lease(stores, ids[0], START).await;
    let attempt =
        Attempt { at: START, status: Some(200), trace_id: Some("req-1".into()), duration_ms: 1, receipt: true };
    let steps = vec![(purchase[0].key, Step::Ended(Outcome::Delivered))];
    let settlement =
        Settlement { destination: ids[0], at: START, attempt: Some(attempt), steps, mark: None, exhibits: Vec::new() };
    events.settle(settlement).await.expect("settles");
    accept(stores, of_order("r", "refund", "1001", None), &[ids[0]]).await;
    let refund = lease(stores, ids[0], START).await;
    settle(stores, ids[0], vec![(refund[0].key, Step::Ended(Outcome::Delivered))], START).await;
    let now = START.plus(hours(1));
    let receipt = events.receipts(ids[0], now, 1).await.expect("reads").remove(0);
    let answer = Answer {
        at: now,
        status: "FAILED".into(),
        taken: 0,
        counts: vec![("TOO_RECENT_CLICK".into(), 1)],
        again: None,
        resend: Some(now),
    };
    events.report(ids[0], receipt.number, answer).await.expect("reports");
    assert_eq!(events.balance().destinations[0].1.queued, 0);
}

async fn forgets_a_person_and_keeps_the_counts(stores: &Stores) {
    let ids = two(stores).await;
    let events = &stores.events;
    let digest = Digest::of_token("ada@example.com");
    let theirs = |id: &str| {
        let mut event = of_order(id, "purchase", id, Some("5"));
        event.user.emails = vec![Spelled { meta: Some(digest), google: Some(digest) }];
        event.visitor_id = VisitorId::new("v-ada").ok();
        event.context.cookies.fbp = Some("fb.1.1.7".into());
        event
    };
    for id in ["a1", "a2"] {
        accept(stores, theirs(id), &ids).await;
    }
    accept(stores, purchase("other", START), &ids).await;
    let leased = events.lease(ids[0], 1, START, START.plus(WEEK)).await.expect("leases");
    kill(stores, ids[0], &leased[0], START).await;
    let key = theirs("x").user.identity_keys().next().expect("has one");
    assert_eq!(key.kind, IdentityKind::Email);
    let forget = Forget { visitors: Vec::new(), keys: vec![key] };
    let forgotten = events.forget(&forget, START).await.expect("forgets");
    assert_eq!((forgotten.events, forgotten.skipped), (2, 3));
    assert_eq!(forgotten.visitors, [VisitorId::new("v-ada").expect("valid")]);
    for id in ["a1", "a2"] {
        let timeline = events.timeline(&purchase(id, START).event_id).await.expect("reads").expect("still known");
        let event = timeline.event;
        assert_eq!((&event.visitor_id, event.user.emails.len(), &event.context.cookies.fbp), (&None, 0, &None));
        assert_eq!(event.money, Some(usd("5")), "what it was worth stays");
    }
    let letters = events.dead_letters(ids[0], 0, 10).await.expect("lists");
    assert_eq!((letters.len(), &letters[0].exhibit), (1, &None), "the request told who it was");
    assert_eq!(events.visitor_of(&[IdentityKey { ..key }]).expect("looks"), None);
    let counts = events.balance().destinations[0].1;
    assert_eq!((counts.dead, counts.skipped, counts.queued, counts.sum()), (1, 1, 1, 3));
    assert!(matches!(accept(stores, theirs("a1"), &ids).await, Accepted::Duplicate(_)), "it still counts once");
    assert_eq!(events.forget(&forget, START).await.expect("forgets"), Default::default(), "nothing is left");
    sound(stores).await;
}
