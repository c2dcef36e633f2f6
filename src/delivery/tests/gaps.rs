//! What goes wrong between two looks of a worker: restarts, leases that run out, a platform or a store that turns. Ignored
//! ones show a defect.

use super::*;
use crate::store::{Requeue, Settlement};

/// A platform that answers by what a request carries.
async fn answers_by(setting: &Setting, answer: impl Fn(&str) -> ResponseTemplate + Send + Sync + 'static) {
    setting.platform.reset().await;
    let answer = move |request: &wiremock::Request| answer(&String::from_utf8_lossy(&request.body));
    Mock::given(any()).respond_with(answer).mount(&setting.platform).await;
}

/// Two refunds of 20 each of an order of 50 that is delivered and old enough.
async fn refunded_twice() -> (Setting, [SealedEvent; 2]) {
    let mut original = worth(event("purchase", "p"), "50");
    original.time = NOW.minus(DAY);
    let refunds = ["r1", "r2"].map(|id| worth(event("refund", id), "20"));
    let changes = refunds.to_vec();
    let setting = Setting::with(Dedupe::Always, |script| {
        script.original = Some((original, Standing::Delivered));
        script.changes = changes;
    })
    .await;
    (setting, refunds)
}

#[tokio::test]
async fn nothing_is_sent_while_its_outcome_could_not_be_recorded() {
    let setting = Setting::new(Dedupe::Always).await;
    assert_eq!(setting.worker.batch_size(NOW), Ok(100));
    setting.store.script().failed = true;
    assert!(setting.worker.batch_size(NOW).is_err(), "the same would go out again and again");
    setting.store.script().failed = false;
    assert_eq!(setting.worker.batch_size(NOW), Ok(100));
}

#[tokio::test]
async fn a_wait_does_not_make_certain_what_nobody_knows() {
    let original = event("purchase", "p");
    let queued = Some((original.clone(), Standing::Queued));
    let setting = Setting::with(Dedupe::Never, |script| script.original = queued).await;
    setting.answers(ResponseTemplate::new(200)).await;
    // The relay was killed in the middle of the request.
    let leased = setting.lease(vec![event("refund", "r")]).await;
    let steps = vec![(leased[0].key, Step::Sending)];
    let settlement =
        Settlement { destination: setting.id, at: NOW, attempt: None, steps, mark: None, exhibits: Vec::new() };
    assert_eq!(setting.store.settle(settlement).await.expect("settles"), 1);
    setting.store.release(setting.id, &[leased[0].key]);
    // Then the operator had the purchase sent again, so that the refund has to wait for it.
    setting.worker.deliver(setting.lease_again().await).await;
    setting.store.script().original = Some((original, Standing::Delivered));
    setting.clock.advance(DAY * 2);
    setting.worker.deliver(setting.lease_again().await).await;
    assert!(setting.got().await.is_empty(), "the platform may have it, and would count it twice");
    assert!(is_dead(&setting.last_step("r").await, FailureClass::Unknown));
}

#[tokio::test]
async fn what_counts_twice_is_not_sent_on_a_lease_that_is_lost() {
    let setting = Setting::new(Dedupe::Never).await;
    setting.answers(ResponseTemplate::new(200)).await;
    let lost = setting.lease(vec![event("purchase", "p")]).await;
    setting.clock.advance(DAY);
    assert_eq!(setting.lease_again().await.len(), 1, "somebody else has it now");
    setting.worker.deliver(lost).await;
    assert!(setting.got().await.is_empty());
}

#[tokio::test]
async fn nobody_else_gets_a_batch_that_is_being_taken_apart() {
    let setting = Setting::new(Dedupe::Always).await;
    let (clock, store, id) = (Arc::clone(&setting.clock), Arc::clone(&setting.store), setting.id);
    let due = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let seen = Arc::clone(&due);
    answers_by(&setting, move |_| {
        clock.advance(Duration::from_secs(55));
        seen.fetch_add(store.due(id, clock.now(), 100), std::sync::atomic::Ordering::Relaxed);
        ResponseTemplate::new(413)
    })
    .await;
    let new = ["a", "b", "c", "d"].map(|id| conformance::queued(event("sign_up", id), &[setting.id]));
    setting.store.accept(new.to_vec()).await.expect("accepts");
    // As if leases were short.
    let until = NOW.plus(Duration::from_secs(120));
    let leased = setting.store.lease(setting.id, 100, NOW, until).await.expect("leases");
    setting.worker.deliver(leased).await;
    assert_eq!(due.load(std::sync::atomic::Ordering::Relaxed), 0, "somebody else could have sent it");
    assert_eq!(setting.got().await.len(), 7);
}

#[tokio::test]
async fn a_rest_counts_for_what_is_left_of_a_batch() {
    for answer in [ResponseTemplate::new(429).insert_header("x-rest", "60"), ResponseTemplate::new(503)] {
        let setting = Setting::new(Dedupe::Always).await;
        setting.answers(answer).await;
        setting.deliver(vec![event("purchase", "p"), event("sign_up", "s")]).await;
        assert_eq!(setting.got().await.len(), 1);
    }
}

#[tokio::test]
async fn one_refused_event_does_not_keep_its_destination_paused() {
    let setting = Setting::new(Dedupe::Always).await;
    let answer = |body: &str| ResponseTemplate::new(if body.contains("wrong") { 401 } else { 200 });
    answers_by(&setting, answer).await;
    // A conversion action of Google Ads that is set up wrong, with no other one in the request.
    setting.deliver(vec![event("sign_up", "wrong")]).await;
    let good = conformance::queued(event("purchase", "good"), &[setting.id]);
    setting.store.accept(vec![good]).await.expect("accepts");
    for _ in 0..5 {
        setting.clock.advance(Duration::from_secs(60));
        let now = setting.clock.now();
        let size = setting.worker.batch_size(now).expect("a minute is over");
        let probe = setting.store.lease(setting.id, size, now, now.plus(DAY)).await.expect("leases");
        setting.worker.deliver(probe).await;
    }
    let got = setting.got().await;
    assert!(got.contains(&"good".to_owned()), "{got:?}");
}

#[tokio::test]
async fn changes_of_one_order_keep_their_order_over_a_restart() {
    let (setting, refunds) = refunded_twice().await;
    setting.answers(ResponseTemplate::new(503).insert_header("retry-after", "600")).await;
    setting.deliver(refunds.to_vec()).await;
    assert_eq!(setting.got().await.len(), 1, "the second one waits");
    let restarted = Worker::new(setting.worker.place.clone(), setting.worker.tools.clone()).expect("sets up");
    setting.answers(ResponseTemplate::new(200)).await;
    for _ in 0..30 {
        setting.clock.advance(Duration::from_secs(60));
        restarted.deliver(setting.lease_again().await).await;
    }
    let got = setting.got().await;
    assert_eq!(got.len(), 2);
    assert!(got[1].ends_with("=10.00"), "the last word is what is left: {got:?}");
}

#[tokio::test]
async fn a_refund_that_is_replayed_after_later_ones_restores_nothing() {
    let (setting, refunds) = refunded_twice().await;
    answers_by(&setting, |body| ResponseTemplate::new(if body.starts_with("r1") { 400 } else { 200 })).await;
    setting.deliver(refunds.to_vec()).await;
    setting.clock.advance(Duration::from_secs(60));
    setting.worker.deliver(setting.lease_again().await).await;
    assert_eq!(setting.got().await[1], "r2=10.00");
    let letter = setting.store.dead_letters(setting.id, 0, 9).await.expect("lists").remove(0);
    let now = setting.clock.now();
    let events = vec![(letter.number, now.plus(DAY))];
    let requeue = Requeue { destination: setting.id, events, at: now, due: now };
    assert_eq!(setting.store.requeue(requeue).await.expect("requeues"), 1);
    setting.answers(ResponseTemplate::new(200)).await;
    setting.worker.deliver(setting.lease_again().await).await;
    assert_eq!(setting.got().await, ["r1=10.00"]);
}
