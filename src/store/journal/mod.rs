//! The event journal: every event, delivery and outcome as records in append-only segments, with one `fdatasync` for all
//! requests that wait at that moment. `ARCHITECTURE.md` tells what is on disk and what a crash leaves.
//!
//! Three parts: the book (what the records add up to, in memory), the log (segments and their indexes), and the
//! committer, the one thread that writes. A record changes the book only after it is synced.

mod audit;
mod book;
mod commit;
pub mod disk;
mod erase;
mod history;
mod index;
mod log;
mod operator;
mod queue;
mod record;
mod segments;
mod v1;
mod v2;

use std::{
    cell::Cell,
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, atomic::AtomicU32},
    thread,
    time::Duration,
};

use async_trait::async_trait;
use tokio::sync::{Notify, mpsc, oneshot};

use self::{
    book::{Book, Place},
    commit::{Committer, Group, Op},
    disk::Disk,
    log::Log,
    queue::Taken,
    record::Record,
};
use super::{
    Accepted, Answer, Audit, Balance, Cause, Config, Ended, EventStore, Forget, Forgotten, Health, LeaseKey, Leased,
    Metrics, OperatorPause, Receipt, Reported, Requeue, Settlement, Spill, Standing, Step, StoreError, Takes, Timeline,
    Waiting,
};
use crate::model::{
    Awaited, DestinationId, DestinationName, EventId, EventName, Failure, FailureClass, FileMark, IdentityKey,
    NewDelivery, NewEvent, NewState, Outcome, SealedEvent, Time, TransactionId, VisitorId,
};

/// How long a segment gets unless the configuration of the store says otherwise; a record is never split.
pub const SEGMENT_BYTES: u64 = 64 << 20;
/// Deliveries of a destination that is no longer configured that expire in one write.
const EXPIRED_AT_ONCE: usize = 1000;
/// Requests that may wait for the committer; more wait at the door.
const COMMITTER_QUEUE: usize = 1024;

/// The event store on a disk.
pub struct Journal {
    shared: Arc<Shared>,
    operations: Option<mpsc::Sender<Op>>,
    committer: Option<thread::JoinHandle<()>>,
    /// Held by what changes deliveries that have ended, or segments that are full: one at a time.
    operator: tokio::sync::Mutex<()>,
}

/// A look at the segments. Whoever takes a second one while it has the first waits for ever as soon as the committer wants to
/// write in between; where tests run, that is a panic at once.
struct Reading<'a>(RwLockReadGuard<'a, Log>);

thread_local! {
    static READS: Cell<bool> = const { Cell::new(false) };
}

impl<'a> Reading<'a> {
    fn new(log: &'a RwLock<Log>) -> Self {
        debug_assert!(!READS.replace(true), "the log is read-locked twice by one thread");
        Self(log.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        READS.set(false);
    }
}

impl std::ops::Deref for Reading<'_> {
    type Target = Log;
    fn deref(&self) -> &Log {
        &self.0
    }
}

/// What the committer and everybody else share. Locks are held for moments, never over I/O of the committer.
struct Shared {
    config: Config,
    disk: Arc<dyn Disk>,
    book: Mutex<Book>,
    log: RwLock<Log>,
    health: Mutex<Health>,
    metrics: Metrics,
    wake: Mutex<HashMap<DestinationId, Arc<Notify>>>,
    /// The destinations that are configured; the book may know more.
    registered: Mutex<Vec<DestinationId>>,
    /// The first segment that the last checkpoint on disk does not cover.
    checkpointed: AtomicU32,
}

impl Shared {
    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self, destination: DestinationId) -> Arc<Notify> {
        let mut wake = self.wake.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(wake.entry(destination).or_default())
    }

    fn log(&self) -> Reading<'_> {
        Reading::new(&self.log)
    }

    /// The record at `place`. The log is locked to find the segment, not while it is read: the committer needs it too.
    fn read(&self, place: Place) -> Result<Record, StoreError> {
        let file = self.log().file(place)?;
        log::read_record(&*file, place)
    }

    /// The event that the record at `at` holds, and the place it is known by. A damaged one is as good as none: it must
    /// not stand in the way of others.
    fn event_at(&self, at: Place) -> Result<Option<(Place, SealedEvent)>, StoreError> {
        match self.read(at) {
            Ok(record) => Ok(record.about(at)),
            Err(StoreError::Damaged(reason)) => {
                tracing::error!(reason, "a stored event is damaged and passed over");
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn registered(&self) -> Vec<DestinationId> {
        self.registered.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The present content of the event at `place`, and the deadline of each of its deliveries.
    fn content(&self, place: Place) -> Result<Content, StoreError> {
        let at = self.book().content_of(place);
        Content::of(self.read(at)?)
    }

    /// Every record about the event at `place` after its first, with its own place, in their order. Damaged ones are passed
    /// over.
    fn history(&self, place: Place) -> Result<Vec<(Place, Record)>, StoreError> {
        let places = self.log().touching(place)?;
        let mut records = Vec::with_capacity(places.len());
        for at in places {
            match self.read(at) {
                Ok(record) => records.push((at, record)),
                Err(StoreError::Damaged(reason)) => {
                    tracing::error!(reason, "a stored record is damaged and passed over")
                }
                Err(error) => return Err(error),
            }
        }
        Ok(records)
    }

    /// Where the event with this id is.
    fn find(&self, id: &EventId) -> Result<Option<Place>, StoreError> {
        let candidates = self.log().candidates(record::id_key(id.as_str()))?;
        for at in candidates {
            let found = self.event_at(at)?.filter(|(_, event)| event.event_id == *id);
            if let Some((place, _)) = found {
                return Ok(Some(place));
            }
        }
        Ok(None)
    }
}

/// An event as it is to be sent now.
struct Content {
    event: SealedEvent,
    deadlines: Vec<(DestinationId, Time)>,
}

impl Content {
    fn of(record: Record) -> Result<Self, StoreError> {
        match record {
            Record::Accepted { event, deliveries, .. } => Ok(Self { deadlines: deadlines(&deliveries), event }),
            Record::Changed { event, deadlines, .. } => Ok(Self { event, deadlines }),
            _ => Err(StoreError::Damaged("an event's place holds another record".into())),
        }
    }

    /// `None` for a delivery that did not start queued.
    fn deadline(&self, destination: DestinationId) -> Option<Time> {
        let found = self.deadlines.iter().find(|(id, _)| *id == destination);
        found.map(|&(_, deadline)| deadline)
    }
}

fn deadlines(deliveries: &[NewDelivery]) -> Vec<(DestinationId, Time)> {
    let queued = |delivery: &NewDelivery| match delivery.state {
        NewState::Queued { deadline, .. } => Some((delivery.destination, deadline)),
        _ => None,
    };
    deliveries.iter().filter_map(queued).collect()
}

impl Journal {
    /// Opens the journal in `disk`, replays what the checkpoint does not cover, and starts the committer.
    ///
    /// # Errors
    /// What the disk says, or [`StoreError::Damaged`] where starting would lose acknowledged events silently.
    pub fn open(disk: Arc<dyn Disk>, config: Config) -> Result<Self, StoreError> {
        let (mut log, book, checkpointed) = Log::open(&disk)?;
        let mut erased: Vec<Place> = book.erasing.iter().copied().collect();
        if !erased.is_empty()
            && let Err(error) = erase::erase_at_start(&disk, &mut log, &book)
        {
            tracing::error!(%error, "somebody who is to be forgotten cannot be erased yet; it is tried again");
            erased.clear();
        }
        let shared = Arc::new(Shared {
            config,
            disk,
            book: Mutex::new(book),
            log: RwLock::new(log),
            health: Mutex::new(Health::Ok),
            metrics: Metrics::default(),
            wake: Mutex::default(),
            registered: Mutex::default(),
            checkpointed: AtomicU32::new(checkpointed),
        });
        let (operations, waiting) = mpsc::channel(COMMITTER_QUEUE);
        let mut committer = Committer::new(Arc::clone(&shared), waiting);
        // The checkpoint may name a visitor, too: it is done when there is a new one.
        if !erased.is_empty() && committer.roll_and_wait() {
            committer.commit(Group::of(Record::Erased { places: erased }));
        }
        let committer = thread::Builder::new()
            .name("committer".into())
            .spawn(move || committer.run())
            .map_err(|error| StoreError::Unavailable(error.to_string()))?;
        Ok(Self { shared, operations: Some(operations), committer: Some(committer), operator: Default::default() })
    }

    async fn record(
        &self,
        decide: impl FnOnce(&mut Book, &commit::Ended) -> (Vec<Record>, u64) + Send + 'static,
    ) -> Result<u64, StoreError> {
        self.ask(|reply| Op::Record { decide: Box::new(decide), reply }).await
    }

    /// The events of deliveries that were handed out. A damaged one ends dead, in the open.
    async fn read_leased(
        &self,
        destination: DestinationId,
        taken: Vec<Taken>,
        now: Time,
    ) -> Result<Vec<Leased>, StoreError> {
        if taken.is_empty() {
            return Ok(Vec::new());
        }
        let mut taken: Vec<(Taken, Place)> = {
            let book = self.shared.book();
            taken.into_iter().map(|taken| (taken, book.content_of(taken.0))).collect()
        };
        // In the order in which they lie on disk, so that neighbours cost one read.
        taken.sort_unstable_by_key(|&(_, at)| at);
        let keys: Vec<LeaseKey> = taken.iter().map(|&((event, token, _), _)| LeaseKey { event, token }).collect();
        let read = self
            .blocking(move |shared| {
                // The lock is held to find a segment, not while records are read: the committer needs it too.
                let file = |place| shared.log().file(place);
                let mut window = log::Window::default();
                let (mut leased, mut damaged) = (Vec::with_capacity(taken.len()), Vec::new());
                for ((event, token, tries), at) in taken {
                    let key = LeaseKey { event, token };
                    match window.read(at, file).and_then(Content::of) {
                        Ok(content) => leased.push(Leased {
                            key,
                            attempts: tries.attempts,
                            deadline: content.deadline(destination).unwrap_or(tries.deadline.time()),
                            unknown_since: tries.unknown,
                            event: content.event,
                        }),
                        Err(StoreError::Damaged(message)) => damaged.push((key, message)),
                        Err(error) => return Err(error),
                    }
                }
                Ok((leased, damaged))
            })
            .await;
        let (leased, damaged) = match read {
            Ok(read) => read,
            Err(error) => {
                self.release(destination, &keys);
                return Err(error);
            }
        };
        if !damaged.is_empty() {
            tracing::error!(count = damaged.len(), "stored events are damaged; their deliveries end dead");
            let steps = damaged.into_iter().map(|(key, message)| {
                let failure = Failure { code: "damaged_record".into(), field: None, message };
                (key, Step::Ended(Outcome::Dead { class: FailureClass::Event, failure }))
            });
            let steps = steps.collect();
            let settlement =
                Settlement { destination, at: now, attempt: None, steps, mark: None, exhibits: Vec::new() };
            if let Err(error) = self.settle(settlement).await {
                self.release(destination, &keys);
                return Err(error);
            }
        }
        Ok(leased)
    }

    async fn ask<T>(&self, op: impl FnOnce(oneshot::Sender<Result<T, StoreError>>) -> Op) -> Result<T, StoreError> {
        let gone = || StoreError::Unavailable("the committer has ended".into());
        let (reply, answer) = oneshot::channel();
        let operations = self.operations.as_ref().ok_or_else(gone)?;
        operations.send(op(reply)).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }

    /// What waits for a destination that is no longer configured waits for its return, but not past its deadline.
    async fn expire_unregistered(&self, now: Time) -> Result<(), StoreError> {
        let known = u16::try_from(self.shared.book().queues.len()).unwrap_or(u16::MAX);
        let registered = self.shared.registered();
        for destination in (0..known).map(DestinationId).filter(|id| !registered.contains(id)) {
            loop {
                let until = now.plus(Duration::from_secs(60));
                let over = self.lease_expired(destination, EXPIRED_AT_ONCE, now, until).await?;
                if over.is_empty() {
                    break;
                }
                let steps = over.into_iter().map(|leased| (leased.key, Step::Ended(Outcome::Expired))).collect();
                let (attempt, mark, exhibits) = (None, None, Vec::new());
                self.settle(Settlement { destination, at: now, attempt, steps, mark, exhibits }).await?;
            }
        }
        Ok(())
    }

    /// Erases the person of these events, of whom that is recorded to be done.
    /// One that was begun before may have left nothing but the checkpoint that tells of it.
    async fn erase(&self, places: Vec<Place>, begun: bool) -> Result<(), StoreError> {
        let (to_look, to_erase) = (places.clone(), places.clone());
        if begun || self.blocking(move |shared| erase::needs_new_segment(shared, &to_look)).await? {
            self.ask(|reply| Op::Roll { reply }).await?;
        }
        self.blocking(move |shared| erase::erase(shared, &to_erase)).await?;
        self.record(move |_, _| (vec![Record::Erased { places }], 0)).await?;
        Ok(())
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Shared) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let shared = Arc::clone(&self.shared);
        let done = tokio::task::spawn_blocking(move || work(&shared)).await;
        done.map_err(|_| StoreError::Damaged("reading the journal failed unexpectedly".into()))?
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        drop(self.operations.take());
        if let Some(committer) = self.committer.take() {
            // A panic of the committer was reported when it happened.
            let _ended = committer.join();
        }
    }
}

#[async_trait]
impl EventStore for Journal {
    async fn register(&self, names: &[DestinationName]) -> Result<Vec<DestinationId>, StoreError> {
        let names = names.iter().map(|name| name.as_str().to_owned()).collect();
        let ids = self.ask(|reply| Op::Register { names, reply }).await?;
        self.shared.registered.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&ids);
        Ok(ids)
    }

    async fn accept(&self, events: Vec<NewEvent>) -> Result<Vec<Accepted>, StoreError> {
        let registered = self.shared.registered();
        let longest = {
            let mut book = self.shared.book();
            registered.iter().map(|&id| book.queue(id).queued()).max().unwrap_or(0)
        };
        if longest >= self.shared.config.queue_max {
            return Err(StoreError::Full);
        }
        // Serialised here, so that the committer only copies.
        let events = events.into_iter().map(commit::Prepared::new).collect();
        self.ask(|reply| Op::Accept { events, reply }).await
    }

    async fn waiting_for(&self, awaited: &Awaited) -> Result<Vec<Waiting>, StoreError> {
        let places = self.shared.book().waiting_for(awaited);
        if places.is_empty() {
            return Ok(Vec::new());
        }
        self.blocking(move |shared| {
            let waiting = |place| match shared.content(place) {
                Ok(content) => Some(Ok(Waiting { event: place, sealed: content.event })),
                Err(StoreError::Damaged(reason)) => {
                    tracing::error!(reason, "an event that waits for a visit or a lookup is damaged");
                    None
                }
                Err(error) => Some(Err(error)),
            };
            places.into_iter().filter_map(waiting).collect()
        })
        .await
    }

    fn visitor_of(&self, keys: &[IdentityKey]) -> Result<Option<(VisitorId, IdentityKey)>, StoreError> {
        for key in keys {
            let candidates = self.shared.log().candidates(record::identity_key(key))?;
            for at in candidates {
                let event = self.shared.event_at(at)?.map(|(_, event)| event);
                let joined = event.filter(|event| record::links(event).any(|link| link == *key));
                if let Some(visitor) = joined.and_then(|event| event.visitor_id) {
                    return Ok(Some((visitor, *key)));
                }
            }
        }
        Ok(None)
    }

    fn awaited(&self) -> Vec<Awaited> {
        self.shared.book().awaited()
    }

    async fn complete(&self, event: u64, completed: NewEvent) -> Result<(), StoreError> {
        self.ask(|reply| Op::Complete { place: event, completed: Box::new(completed), reply }).await
    }

    async fn lease(
        &self,
        destination: DestinationId,
        max: usize,
        now: Time,
        until: Time,
    ) -> Result<Vec<Leased>, StoreError> {
        let taken = self.shared.book().queue(destination).lease(max, now, until);
        self.read_leased(destination, taken, now).await
    }

    async fn settle(&self, settlement: Settlement) -> Result<usize, StoreError> {
        self.ask(|reply| Op::Settle { settlement, reply }).await
    }

    fn release(&self, destination: DestinationId, keys: &[LeaseKey]) {
        self.defer(destination, keys, Time::default());
    }

    fn defer(&self, destination: DestinationId, keys: &[LeaseKey], due: Time) {
        let mut book = self.shared.book();
        for key in keys.iter().rev() {
            book.queue(destination).release(*key, due);
        }
    }

    fn hold(&self, destination: DestinationId, keys: &[LeaseKey], until: Time) -> Vec<LeaseKey> {
        let mut book = self.shared.book();
        let queue = book.queue(destination);
        keys.iter().copied().filter(|key| queue.renew(*key, until)).collect()
    }

    fn expiring(&self, destination: DestinationId, until: Time) -> u64 {
        self.shared.book().queue(destination).expiring(until)
    }

    async fn lease_expired(
        &self,
        destination: DestinationId,
        max: usize,
        now: Time,
        until: Time,
    ) -> Result<Vec<Leased>, StoreError> {
        let taken = self.shared.book().queue(destination).lease_expired(max, now, until);
        self.read_leased(destination, taken, now).await
    }

    async fn original(
        &self,
        destination: DestinationId,
        transaction: &TransactionId,
        names: &[EventName],
    ) -> Result<Option<(SealedEvent, Standing)>, StoreError> {
        let (transaction, names) = (transaction.clone(), names.to_vec());
        self.blocking(move |shared| history::original(shared, destination, &transaction, &names)).await
    }

    async fn changes(&self, transaction: &TransactionId) -> Result<Vec<SealedEvent>, StoreError> {
        let transaction = transaction.clone();
        self.blocking(move |shared| Ok(history::changes(shared, &transaction)?.into_values().collect())).await
    }

    async fn pause(&self, destination: DestinationId, pause: Option<OperatorPause>) -> Result<(), StoreError> {
        self.record(move |_, _| (vec![Record::Steered { destination, pause }], 0)).await?;
        Ok(())
    }

    fn paused(&self, destination: DestinationId) -> Option<OperatorPause> {
        self.shared.book().queue(destination).paused.clone()
    }

    async fn dead_letters(&self, destination: DestinationId, after: u64, max: usize) -> Result<Vec<Ended>, StoreError> {
        self.blocking(move |shared| history::dead_letters(shared, destination, after, max)).await
    }

    async fn ended(
        &self,
        destination: DestinationId,
        from: Time,
        to: Time,
        after: u64,
        max: usize,
    ) -> Result<Vec<Ended>, StoreError> {
        self.blocking(move |shared| history::ended(shared, destination, from, to, after, max)).await
    }

    async fn requeue(&self, requeue: Requeue) -> Result<u64, StoreError> {
        let _alone = self.operator.lock().await;
        let Requeue { destination, events, at, due } = requeue;
        let again = self.blocking(move |shared| operator::again(shared, destination, &events)).await?;
        self.record(move |book, _| operator::requeue(book, destination, at, due, Cause::Operator, again)).await
    }

    async fn discard(
        &self,
        destination: DestinationId,
        events: &[u64],
        reason: String,
        at: Time,
    ) -> Result<u64, StoreError> {
        let _alone = self.operator.lock().await;
        let events = events.to_vec();
        self.record(move |book, _| operator::discard(book, destination, &events, reason, at)).await
    }

    async fn spill(
        &self,
        from: DestinationId,
        to: DestinationId,
        takes: Takes,
        max: usize,
        at: Time,
    ) -> Result<Spill, StoreError> {
        let _alone = self.operator.lock().await;
        let spillable = self.blocking(move |shared| operator::spillable(shared, from, to, &*takes, max)).await?;
        let (deliveries, left) = spillable;
        let moved = self.record(move |book, ended| operator::spill(book, ended, from, to, at, deliveries)).await?;
        Ok(Spill { moved, left })
    }

    async fn receipts(&self, destination: DestinationId, now: Time, max: usize) -> Result<Vec<Receipt>, StoreError> {
        let due = self.shared.book().queue(destination).due_receipts(now, max);
        let (receipts, gone) = self.blocking(move |shared| Ok(operator::receipts(shared, due))).await?;
        for receipt in gone {
            let status = "lost: the record of the request is damaged".to_owned();
            let answer = Answer { at: now, status, taken: 0, counts: Vec::new(), again: None, resend: None };
            self.report(destination, receipt, answer).await?;
        }
        Ok(receipts)
    }

    fn next_receipt(&self, destination: DestinationId) -> Option<Time> {
        self.shared.book().queue(destination).next_receipt()
    }

    async fn report(&self, destination: DestinationId, receipt: u64, answer: Answer) -> Result<(), StoreError> {
        let _alone = self.operator.lock().await;
        let resend = answer.resend;
        let again = match resend {
            Some(_) => self.blocking(move |shared| operator::delivered_by(shared, destination, receipt)).await?,
            None => Vec::new(),
        };
        let record = Record::Reported { destination, receipt, answer: answer.clone() };
        self.record(move |book, _| {
            let due = resend.unwrap_or(answer.at);
            let (again, count) = operator::requeue(book, destination, answer.at, due, Cause::Report, again);
            (std::iter::once(record).chain(again).collect(), count)
        })
        .await?;
        Ok(())
    }

    fn reported(&self, destination: DestinationId) -> Reported {
        self.shared.book().queue(destination).reported.clone()
    }

    async fn audit(&self) -> Result<Audit, StoreError> {
        self.blocking(audit::audit).await
    }

    async fn forget(&self, forget: &Forget, at: Time) -> Result<Forgotten, StoreError> {
        let _alone = self.operator.lock().await;
        let forget = forget.clone();
        let (places, visitors) = self.blocking(move |shared| erase::events_of(shared, &forget)).await?;
        if places.is_empty() {
            return Ok(Forgotten::default());
        }
        let events = places.len() as u64;
        let of = places.clone();
        let skipped = self.record(move |book, _| erase::forget(book, at, of)).await?;
        self.erase(places, false).await?;
        Ok(Forgotten { events, skipped, visitors })
    }

    fn next_due(&self, destination: DestinationId) -> Option<Time> {
        self.shared.book().queue(destination).next_due()
    }

    fn due(&self, destination: DestinationId, now: Time, enough: usize) -> usize {
        self.shared.book().queue(destination).due(now, enough)
    }

    async fn changed(&self, destination: DestinationId) {
        self.shared.wake(destination).notified().await;
    }

    fn mark(&self, destination: DestinationId) -> Option<FileMark> {
        self.shared.book().queue(destination).mark.clone()
    }

    async fn timeline(&self, id: &EventId) -> Result<Option<Timeline>, StoreError> {
        let id = id.clone();
        self.blocking(move |shared| history::timeline(shared, &id)).await
    }

    fn balance(&self) -> Balance {
        let book = self.shared.book();
        let numbered = (0_u16..).map(DestinationId).zip(&book.queues);
        Balance { accepted: book.accepted, destinations: numbered.map(|(id, queue)| (id, queue.counts())).collect() }
    }

    fn oldest(&self, destination: DestinationId) -> Option<Time> {
        let place = self.shared.book().queue(destination).oldest()?;
        Some(self.shared.content(place).ok()?.event.received_at)
    }

    async fn retain(&self, now: Time) -> Result<(), StoreError> {
        let _alone = self.operator.lock().await;
        let to_erase: Vec<Place> = self.shared.book().erasing.iter().copied().collect();
        let erased = if to_erase.is_empty() { Ok(()) } else { self.erase(to_erase, true).await };
        // It may be retention that makes the room that erasing needs.
        self.expire_unregistered(now).await?;
        self.ask(|reply| Op::Retain { now, reply }).await?;
        erased
    }

    fn health(&self) -> Health {
        if self.operations.as_ref().is_none_or(mpsc::Sender::is_closed) {
            return Health::Failed("the committer has ended unexpectedly; restart the relay".into());
        }
        self.shared.health.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn recover(&self) -> Result<(), StoreError> {
        self.ask(|reply| Op::Recover { reply }).await
    }

    fn metrics(&self) -> &Metrics {
        &self.shared.metrics
    }
}

#[cfg(test)]
mod tests;
