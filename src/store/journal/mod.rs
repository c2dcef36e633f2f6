//! The event journal: every event, delivery and outcome as records in append-only segments, with one `fdatasync` for all
//! requests that wait at that moment. `ARCHITECTURE.md` tells what is on disk and what a crash leaves.
//!
//! Three parts: the book (what the records add up to, in memory), the log (segments and their indexes), and the
//! committer, the one thread that writes. A record changes the book only after it is synced.

mod book;
mod commit;
pub mod disk;
mod index;
mod log;
mod record;
mod segments;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, atomic::AtomicU32},
    thread,
};

use async_trait::async_trait;
use tokio::sync::{Notify, mpsc, oneshot};

use self::{
    book::{Book, Place},
    commit::{Committer, Op},
    disk::Disk,
    log::Log,
    record::Record,
};
use super::{
    Accepted, Balance, Config, DeliveryHistory, EventStore, Health, LeaseKey, Leased, Metrics, Settlement, Step,
    StoreError, Timeline, Waiting,
};
use crate::model::{
    DestinationId, DestinationName, EventId, Failure, FileMark, IdentityKey, NewDelivery, NewEvent, NewState, Outcome,
    SealedEvent, Time, VisitorId,
};

/// How long a segment gets unless the configuration of the store says otherwise; a record is never split.
pub const SEGMENT_BYTES: u64 = 64 << 20;
/// Deliveries of a destination that is no longer configured that are looked at each time.
const EXPIRED_AT_ONCE: usize = 1000;
/// Requests that may wait for the committer; more wait at the door.
const COMMITTER_QUEUE: usize = 1024;

/// The event store on a disk.
pub struct Journal {
    shared: Arc<Shared>,
    operations: Option<mpsc::Sender<Op>>,
    committer: Option<thread::JoinHandle<()>>,
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

    fn log(&self) -> RwLockReadGuard<'_, Log> {
        self.log.read().unwrap_or_else(PoisonError::into_inner)
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

    /// Every record about the event at `place` after its first, in their order.
    fn history(&self, place: Place) -> Result<Vec<Record>, StoreError> {
        let places = self.log().touching(place)?;
        places.into_iter().map(|at| self.read(at)).collect()
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

    fn deadline(&self, destination: DestinationId) -> Time {
        let found = self.deadlines.iter().find(|(id, _)| *id == destination);
        found.map_or(Time::from_ms(i64::MAX), |&(_, deadline)| deadline)
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
        let (log, book, checkpointed) = Log::open(&disk)?;
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
        let committer = Committer::new(Arc::clone(&shared), waiting);
        let committer = thread::Builder::new()
            .name("committer".into())
            .spawn(move || committer.run())
            .map_err(|error| StoreError::Unavailable(error.to_string()))?;
        Ok(Self { shared, operations: Some(operations), committer: Some(committer) })
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
            let leased = self.lease(destination, EXPIRED_AT_ONCE, now, now).await?;
            let (over, waiting): (Vec<_>, Vec<_>) = leased.into_iter().partition(|leased| leased.deadline <= now);
            let waiting: Vec<LeaseKey> = waiting.into_iter().map(|leased| leased.key).collect();
            self.release(destination, &waiting);
            if !over.is_empty() {
                let steps = over.into_iter().map(|leased| (leased.key, Step::Ended(Outcome::Expired))).collect();
                self.settle(Settlement { destination, at: now, attempt: None, steps, mark: None }).await?;
            }
        }
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

    async fn waiting_for(&self, visitor: &VisitorId) -> Result<Vec<Waiting>, StoreError> {
        let places = self.shared.book().waiting_for(visitor);
        if places.is_empty() {
            return Ok(Vec::new());
        }
        self.blocking(move |shared| {
            let waiting = |place| match shared.content(place) {
                Ok(content) => Some(Ok(Waiting { event: place, sealed: content.event })),
                Err(StoreError::Damaged(reason)) => {
                    tracing::error!(reason, "an event that waits for its visit is damaged");
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

    fn awaited(&self) -> Vec<VisitorId> {
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
        let taken: Vec<(Place, u64, u16, Place)> = {
            let mut book = self.shared.book();
            let taken = book.queue(destination).lease(max, now, until);
            taken.into_iter().map(|(place, token, n)| (place, token, n, book.content_of(place))).collect()
        };
        if taken.is_empty() {
            return Ok(Vec::new());
        }
        let keys: Vec<LeaseKey> = taken.iter().map(|&(event, token, ..)| LeaseKey { event, token }).collect();
        let read = self
            .blocking(move |shared| {
                // The lock is held to find a segment, not while records are read: the committer needs it too.
                let file = |place| shared.log().file(place);
                let mut window = log::Window::default();
                let (mut leased, mut damaged) = (Vec::with_capacity(taken.len()), Vec::new());
                for (event, token, attempts, at) in taken {
                    let key = LeaseKey { event, token };
                    match window.read(at, file).and_then(Content::of) {
                        Ok(content) => {
                            let deadline = content.deadline(destination);
                            leased.push(Leased { key, event: content.event, attempts, deadline });
                        }
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
                (key, Step::Ended(Outcome::Dead(failure)))
            });
            let settlement = Settlement { destination, at: now, attempt: None, steps: steps.collect(), mark: None };
            if let Err(error) = self.settle(settlement).await {
                self.release(destination, &keys);
                return Err(error);
            }
        }
        Ok(leased)
    }

    async fn settle(&self, settlement: Settlement) -> Result<usize, StoreError> {
        self.ask(|reply| Op::Settle { settlement, reply }).await
    }

    fn release(&self, destination: DestinationId, keys: &[LeaseKey]) {
        let mut book = self.shared.book();
        for key in keys.iter().rev() {
            book.queue(destination).release(*key);
        }
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
        self.blocking(move |shared| {
            let Some(place) = shared.find(&id)? else { return Ok(None) };
            let Record::Accepted { event, deliveries, .. } = shared.read(place)? else { return Ok(None) };
            let mut timeline = Timeline { event, deliveries: deliveries.iter().map(DeliveryHistory::new).collect() };
            for record in shared.history(place)? {
                timeline.add(place, record);
            }
            let mut book = shared.book();
            for delivery in timeline.deliveries.iter_mut().filter(|delivery| delivery.outcome.is_none()) {
                delivery.due = book.queue(delivery.destination).due_of(place);
            }
            Ok(Some(timeline))
        })
        .await
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
        self.expire_unregistered(now).await?;
        self.ask(|reply| Op::Retain { now, reply }).await
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

impl DeliveryHistory {
    fn new(delivery: &NewDelivery) -> Self {
        let outcome = match delivery.state {
            NewState::Queued { .. } => None,
            NewState::Skipped(reason) => Some(Outcome::Skipped(reason)),
            NewState::Expired => Some(Outcome::Expired),
        };
        Self { destination: delivery.destination, start: delivery.state, attempts: Vec::new(), outcome, due: None }
    }
}

impl Timeline {
    fn add(&mut self, place: Place, record: Record) {
        match record {
            Record::Changed { event, deliveries, .. } => {
                self.event = event;
                for new in deliveries {
                    let known = self.deliveries.iter_mut().find(|old| old.destination == new.destination);
                    if let Some(delivery) = known.filter(|delivery| delivery.outcome.is_none()) {
                        let attempts = std::mem::take(&mut delivery.attempts);
                        *delivery = DeliveryHistory { attempts, ..DeliveryHistory::new(&new) };
                    }
                }
            }
            Record::Settled { destination, attempt, steps, .. } => {
                let delivery = self.deliveries.iter_mut().find(|delivery| delivery.destination == destination);
                let step = steps.into_iter().find(|(about, _)| *about == place);
                if let (Some(delivery), Some((_, step))) = (delivery, step) {
                    if let Step::Ended(outcome) = &step {
                        delivery.outcome = Some(outcome.clone());
                    }
                    delivery.attempts.push((attempt, step));
                }
            }
            Record::Accepted { .. } | Record::Destinations { .. } => {}
        }
    }
}

#[cfg(test)]
mod tests;
