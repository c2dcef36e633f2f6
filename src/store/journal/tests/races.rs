//! What happens between a decision and its sync: the disk waits here until it is told to go on. Ignored ones show a defect.

use std::sync::{Condvar, MutexGuard as Guard};

use super::*;
use crate::{
    model::{SkipReason, WaitReason},
    store::journal::disk::DiskFile,
};

/// A disk whose syncs wait while it is closed.
#[derive(Clone, Default)]
struct Gate {
    disk: SimulatedDisk,
    state: Arc<(Mutex<State>, Condvar)>,
}

#[derive(Default)]
struct State {
    closed: bool,
    hold_checkpoint: bool,
    no_erasing: bool,
    held: bool,
    waiting: usize,
}

impl Gate {
    fn state(&self) -> Guard<'_, State> {
        self.state.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn close(&self) {
        self.state().closed = true;
    }

    fn open(&self) {
        self.state().closed = false;
        self.state.1.notify_all();
    }

    /// Returns when a sync waits.
    async fn reached(&self) {
        until(|| self.state().waiting > 0).await;
    }

    fn pass(&self) {
        let mut state = self.state();
        state.waiting += 1;
        while state.closed {
            state = self.state.1.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.waiting -= 1;
    }
}

impl Disk for Gate {
    fn list(&self) -> std::io::Result<Vec<String>> {
        self.disk.list()
    }

    fn open(&self, name: &str) -> std::io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(Gated { gate: self.clone(), file: Disk::open(&self.disk, name)? }))
    }

    fn read(&self, name: &str) -> std::io::Result<Option<Vec<u8>>> {
        self.disk.read(name)
    }

    fn replace(&self, name: &str, content: &[u8]) -> std::io::Result<()> {
        if name.ends_with(".log") && self.state().no_erasing {
            return Err(std::io::Error::other("no room for a second copy"));
        }
        while name == "checkpoint" && {
            let mut s = self.state();
            s.held = s.hold_checkpoint;
            s.held
        } {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        self.disk.replace(name, content)
    }

    fn remove(&self, name: &str) -> std::io::Result<()> {
        self.disk.remove(name)
    }
}

struct Gated {
    gate: Gate,
    file: Arc<dyn DiskFile>,
}

impl DiskFile for Gated {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> std::io::Result<usize> {
        self.file.read_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> std::io::Result<()> {
        self.file.write_at(bytes, offset)
    }

    fn sync(&self) -> std::io::Result<()> {
        self.gate.pass();
        self.file.sync()
    }

    fn truncate(&self, length: u64) -> std::io::Result<()> {
        self.file.truncate(length)
    }

    fn length(&self) -> std::io::Result<u64> {
        self.file.length()
    }
}

async fn until(done: impl Fn() -> bool) {
    let waiting = async {
        while !done() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(30), waiting).await.expect("happens");
}

/// A journal on such a disk with two destinations, the second of which only gets what the first hands over, and the
/// event `e` of the visitor `v`, who is still to come.
async fn gated() -> (Gate, Arc<Journal>, [DestinationId; 2]) {
    let gate = Gate::default();
    let journal = Journal::open(Arc::new(gate.clone()), conformance::config(Path::new("unused"))).expect("opens");
    let names = ["meta", "spare"].map(|name| DestinationName::new(name).expect("a valid name"));
    let ids = journal.register(&names).await.expect("registers");
    let mut event = purchase("e", START);
    event.visitor_id = VisitorId::new("v").ok();
    let mut new = queued(event, &ids);
    new.deliveries[1].state = NewState::Skipped(SkipReason::Fallback);
    new.waits_for = new.event.visitor_id.clone().map(Awaited::Visit);
    journal.accept(vec![new]).await.expect("accepts");
    (gate, Arc::new(journal), [ids[0], ids[1]])
}

/// Keeps the committer busy; what is asked meanwhile is written together.
async fn busy(gate: &Gate, journal: &Arc<Journal>, id: DestinationId) {
    gate.close();
    let journal = Arc::clone(journal);
    tokio::spawn(async move { journal.pause(id, None).await });
    gate.reached().await;
}

/// Returns when so many requests wait for the committer.
async fn asked(journal: &Journal, count: usize) {
    let waiting = || COMMITTER_QUEUE - journal.operations.as_ref().expect("runs").capacity();
    until(|| waiting() == count).await;
}

fn forget_visitor() -> Forget {
    Forget { visitors: VisitorId::new("v").into_iter().collect(), keys: Vec::new() }
}

#[tokio::test]
async fn what_is_being_handed_over_is_leased_to_nobody() {
    let (gate, journal, ids) = gated().await;
    gate.close();
    let spilling = tokio::spawn({
        let journal = Arc::clone(&journal);
        async move { journal.spill(ids[0], ids[1], Arc::new(|_| true), 10, START).await }
    });
    gate.reached().await;
    let leased = journal.lease(ids[0], 1, START, START.plus(WEEK)).await.expect("leases");
    gate.open();
    let spill = spilling.await.expect("runs").expect("spills");
    assert_eq!((spill.moved, leased.len()), (1, 0), "it goes one way");
}

#[tokio::test]
async fn the_timeline_tells_the_outcome_that_is_counted() {
    let (gate, journal, ids) = gated().await;
    let leased = journal.lease(ids[0], 1, START, START.plus(WEEK)).await.expect("leases");
    busy(&gate, &journal, ids[0]).await;
    let forgetting = tokio::spawn({
        let journal = Arc::clone(&journal);
        async move { journal.forget(&forget_visitor(), START).await }
    });
    asked(&journal, 1).await;
    let steps = vec![(leased[0].key, Step::Ended(Outcome::Delivered))];
    let settlement =
        Settlement { destination: ids[0], at: START, attempt: None, steps, mark: None, exhibits: Vec::new() };
    let settling = tokio::spawn({
        let journal = Arc::clone(&journal);
        async move { journal.settle(settlement).await }
    });
    asked(&journal, 2).await;
    gate.open();
    forgetting.await.expect("runs").expect("forgets");
    settling.await.expect("runs").expect("settles");
    let counts = journal.balance().destinations[0].1;
    assert_eq!((counts.skipped, counts.delivered), (1, 0));
    let id = EventId::new("e").expect("valid");
    let timeline = journal.timeline(&id).await.expect("reads").expect("is there");
    assert_eq!(timeline.deliveries[0].outcome, Some(Outcome::Skipped(SkipReason::Forgotten)));
}

#[tokio::test]
async fn what_ended_before_it_was_handed_over_is_not_queued_there() {
    let (gate, journal, ids) = gated().await;
    busy(&gate, &journal, ids[0]).await;
    let waiting =
        journal.waiting_for(&Awaited::Visit(VisitorId::new("v").expect("valid"))).await.expect("reads").remove(0);
    let mut done = queued(waiting.sealed, &ids[..1]);
    done.deliveries[0].state = NewState::Skipped(SkipReason::Consent);
    let completing = tokio::spawn({
        let journal = Arc::clone(&journal);
        async move { journal.complete(waiting.event, done).await }
    });
    asked(&journal, 1).await;
    let spilling = tokio::spawn({
        let journal = Arc::clone(&journal);
        async move { journal.spill(ids[0], ids[1], Arc::new(|_| true), 10, START).await }
    });
    asked(&journal, 2).await;
    gate.open();
    completing.await.expect("runs").expect("completes");
    spilling.await.expect("runs").expect("spills");
    let counts: Vec<_> = journal.balance().destinations.iter().map(|(_, counts)| *counts).collect();
    assert_eq!((counts[0].skipped, counts[1].queued), (1, 0), "its visitor said no");
}

#[tokio::test]
async fn a_replay_of_many_does_not_hold_up_fresh_events() {
    let stores = open(&SimulatedDisk::default());
    let ids = two(&stores).await;
    for i in 0..40 {
        stores.events.accept(vec![queued(purchase(&format!("old{i}"), START), &ids)]).await.expect("accepts");
    }
    let old = stores.events.lease(ids[0], 100, START, START.plus(WEEK)).await.expect("leases");
    let wait = Step::Wait { due: START, reason: WaitReason::Original };
    settle(&stores, ids[0], old.iter().map(|leased| (leased.key, wait.clone())).collect(), START).await;
    for i in 0..10 {
        stores.events.accept(vec![queued(purchase(&format!("new{i}"), START), &ids)]).await.expect("accepts");
    }
    let next = lease(&stores, ids[0], START).await;
    let fresh = next.iter().filter(|leased| leased.event.event_id.as_str().starts_with("new")).count();
    assert!(fresh > 0, "none of {} is fresh", next.len());
}

#[tokio::test]
async fn forgetting_many_people_does_not_make_a_segment_for_each() {
    let disk = SimulatedDisk::default();
    let stores = open(&disk);
    let ids = two(&stores).await;
    let visitor = |i: u32| VisitorId::new(format!("v{i}")).expect("valid");
    for i in 0..30 {
        let mut event = purchase(&format!("e{i}"), START);
        event.visitor_id = Some(visitor(i));
        stores.events.accept(vec![queued(event, &ids)]).await.expect("accepts");
    }
    for i in 0..30 {
        let forget = Forget { visitors: vec![visitor(i)], keys: Vec::new() };
        assert_eq!(stores.events.forget(&forget, START).await.expect("forgets").events, 1);
    }
    let segments = disk.list().expect("lists").into_iter().filter(|name| name.ends_with(".log")).count();
    assert!(segments < 10, "{segments} segments");
}

#[tokio::test]
async fn a_full_disk_does_not_keep_a_relay_with_somebody_to_erase_from_starting() {
    let disk = SimulatedDisk::default();
    let stores = open(&disk);
    let ids = two(&stores).await;
    let mut event = purchase("e", START);
    event.visitor_id = VisitorId::new("v").ok();
    stores.events.accept(vec![queued(event, &ids)]).await.expect("accepts");
    let restarted = |disk: &SimulatedDisk| {
        disk.fail_after(Some(0));
        let opened = memory::open(disk.clone(), conformance::config(Path::new("unused")));
        opened.map(|stores| stores.events.balance().accepted).map_err(|error| error.to_string())
    };
    assert_eq!(restarted(&disk.after_power_cut(0)), Ok(1), "a full disk alone is no reason");
    // The write and the sync of `Forgotten` still go through.
    disk.fail_after(Some(2));
    stores.events.forget(&forget_visitor(), START).await.expect_err("the disk is full");
    drop(stores);
    assert_eq!(restarted(&disk), Ok(1), "it starts, and erases when there is room");
}

fn one(destination: DestinationId, at: Time, key: LeaseKey, step: Step) -> Settlement {
    Settlement { destination, at, attempt: None, steps: vec![(key, step)], mark: None, exhibits: Vec::new() }
}

#[tokio::test]
async fn a_request_lost_in_a_crash_stays_unknown() {
    let (gate, journal, ids) = gated().await;
    let leased = journal.lease(ids[0], 1, START, START.plus(WEEK)).await.expect("leases");
    journal.settle(one(ids[0], START, leased[0].key, Step::Sending)).await.expect("settles");
    let disk = gate.disk.after_power_cut(0);
    drop(journal);
    let journal = Journal::open(Arc::new(disk), conformance::config(Path::new("unused"))).expect("opens");
    let leased = journal.lease(ids[0], 1, START, START.plus(WEEK)).await.expect("leases");
    assert_eq!(leased[0].unknown_since, Some(START));
    let key = leased[0].key;
    journal.settle(one(ids[0], START, key, Step::Sending)).await.expect("settles");
    let failure = Failure { code: "503".into(), ..Failure::default() };
    journal
        .settle(one(ids[0], START, key, Step::Again { due: START, failure, unknown: false }))
        .await
        .expect("settles");
    let spill = journal.spill(ids[0], ids[1], Arc::new(|_| true), 10, START).await.expect("spills");
    assert_eq!(spill.moved, 0, "the platform may have it");
}

#[tokio::test]
async fn a_wait_set_by_a_clock_that_was_ahead_ends_when_it_is_put_back() {
    let (_gate, journal, ids) = gated().await;
    let ahead = START.plus(WEEK);
    assert_eq!(journal.due(ids[0], ahead, 9), 1);
    let leased = journal.lease(ids[0], 1, ahead, ahead.plus(WEEK)).await.expect("leases");
    journal.defer(ids[0], &[leased[0].key], ahead.plus(std::time::Duration::from_secs(60)));
    assert_eq!(journal.due(ids[0], START, 9), 1, "due again when the clock is put back");
}

#[tokio::test]
async fn what_a_visit_told_is_handed_over() {
    let (gate, journal, ids) = gated().await;
    busy(&gate, &journal, ids[0]).await;
    let waiting =
        journal.waiting_for(&Awaited::Visit(VisitorId::new("v").expect("valid"))).await.expect("reads").remove(0);
    let mut done = queued(waiting.sealed, &ids[..1]);
    done.event.joined_by = Some(crate::model::JoinedBy::VisitorId);
    let completing = tokio::spawn({
        let journal = Arc::clone(&journal);
        async move { journal.complete(waiting.event, done).await }
    });
    asked(&journal, 1).await;
    let spilling = tokio::spawn({
        let journal = Arc::clone(&journal);
        async move { journal.spill(ids[0], ids[1], Arc::new(|_| true), 10, START).await }
    });
    asked(&journal, 2).await;
    gate.open();
    completing.await.expect("runs").expect("completes");
    assert_eq!(spilling.await.expect("runs").expect("spills").moved, 1);
    let leased = journal.lease(ids[1], 1, START, START.plus(WEEK)).await.expect("leases");
    assert_eq!(leased[0].event.joined_by, Some(crate::model::JoinedBy::VisitorId));
}

#[tokio::test]
async fn an_event_handed_over_still_waits_for_its_visit() {
    let (_gate, journal, ids) = gated().await;
    journal.spill(ids[0], ids[1], Arc::new(|_| true), 10, START).await.expect("spills");
    let waiting = journal.waiting_for(&Awaited::Visit(VisitorId::new("v").expect("valid"))).await.expect("reads");
    assert_eq!(waiting.len(), 1);
}

#[tokio::test]
async fn a_checkpoint_under_way_names_nobody_who_is_forgotten() {
    let gate = Gate::default();
    let mut config = conformance::config(Path::new("unused"));
    config.segment_bytes = 120;
    let journal = Arc::new(Journal::open(Arc::new(gate.clone()), config).expect("opens"));
    let names = ["meta", "spare"].map(|name| DestinationName::new(name).expect("a valid name"));
    let ids = journal.register(&names).await.expect("registers");
    gate.state().hold_checkpoint = true;
    let mut event = purchase("e", START);
    event.visitor_id = VisitorId::new("somebody-long").ok();
    let mut new = queued(event, &ids);
    new.waits_for = new.event.visitor_id.clone().map(Awaited::Visit);
    journal.accept(vec![new]).await.expect("accepts");
    until(|| gate.state().held).await;
    let forgetting = tokio::spawn({
        let journal = Arc::clone(&journal);
        let forget = Forget { visitors: VisitorId::new("somebody-long").into_iter().collect(), keys: Vec::new() };
        async move { journal.forget(&forget, START).await }
    });
    let early = tokio::time::timeout(std::time::Duration::from_millis(500), async {
        while !forgetting.is_finished() {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await
        }
    })
    .await
    .is_ok();
    gate.state().hold_checkpoint = false;
    assert_eq!(forgetting.await.expect("runs").expect("forgets").events, 1);
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    let checkpoint = Disk::read(&gate.disk, "checkpoint").expect("reads").unwrap_or_default();
    let named = checkpoint.windows(13).any(|w| w == b"somebody-long");
    assert!(!named, "forgotten (before the checkpoint was written: {early}), and the checkpoint names the visitor");
}

#[tokio::test]
async fn what_cannot_be_erased_yet_does_not_keep_retention_from_making_room() {
    let gate = Gate::default();
    let mut config = conformance::config(Path::new("unused"));
    config.segment_bytes = 120;
    let journal = Arc::new(Journal::open(Arc::new(gate.clone()), config).expect("opens"));
    let names = ["meta", "spare"].map(|name| DestinationName::new(name).expect("a valid name"));
    let ids = journal.register(&names).await.expect("registers");
    for i in 0..5 {
        let mut event = purchase(&format!("e{i}"), START);
        event.visitor_id = VisitorId::new(format!("v{i}")).ok();
        let mut new = queued(event, &ids);
        new.deliveries.iter_mut().for_each(|d| d.state = NewState::Skipped(SkipReason::Consent));
        journal.accept(vec![new]).await.expect("accepts");
    }
    gate.state().no_erasing = true;
    let forget = Forget { visitors: VisitorId::new("v4").into_iter().collect(), keys: Vec::new() };
    journal.forget(&forget, START).await.expect_err("no room");
    let logs = || Disk::list(&gate.disk).expect("lists").into_iter().filter(|n| n.ends_with(".log")).count();
    let before = logs();
    for _ in 0..5 {
        let _later = journal.retain(START.plus(WEEK * 200)).await;
    }
    assert!(logs() < before, "{before} segments, and after five rounds of retention {}", logs());
}
