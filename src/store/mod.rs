//! What is durable: events with their deliveries, visitors, the book of links, and rows of clicks. Traits first; the engines
//! are below them.
//!
//! The calls are coarse and batch-shaped, and deliveries are leased, not popped, so that a SQL engine shared by several
//! relays can stand behind the same traits. Every engine passes [`conformance`].

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use prometheus_client::{
    metrics::{
        counter::Counter,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};
use serde::{Deserialize, Serialize};

use crate::model::{
    Attempt, Awaited, DestinationId, DestinationName, EventId, EventName, Failure, FileMark, IdentityKey, NewEvent,
    NewState, Observation, Outcome, SealedEvent, Time, TransactionId, Visitor, VisitorId, WaitReason,
};

pub mod book;
pub mod clicks;
pub mod conformance;
mod frame;
pub mod journal;
pub mod memory;
pub mod sled;
mod steering;

pub use book::{Book, Changed, Entry};
pub use clicks::{Amendment, ClickStore};
pub use steering::{
    Answer, Audit, Cause, Ended, Forget, Forgotten, Note, OperatorPause, Receipt, Reported, Requeue, Spill, Standing,
    Takes,
};

/// Settings of the store; `[store]` and `[retention]`.
#[derive(Clone, Debug)]
pub struct Config {
    /// The data directory.
    pub path: std::path::PathBuf,
    /// How long an id is remembered.
    pub dedupe: Duration,
    /// How long visitors are kept after they were last seen.
    pub visits: Duration,
    /// How long rows of clicks are kept, by whole days.
    pub clicks: Duration,
    /// How long events are kept after their last delivery ended.
    pub delivered: Duration,
    /// How long events are kept that have a dead letter.
    pub dead_letters: Duration,
    /// The most deliveries one destination may have waiting.
    pub queue_max: u64,
    /// A journal segment is full when it is this long.
    pub segment_bytes: u64,
    /// Memory for the cache of the visitor store, in bytes.
    pub cache_bytes: u64,
}

/// Why a store could not do what it was asked.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// It cannot write. Nothing of the request is stored; the caller may try again later.
    #[error("the store cannot write: {0}")]
    Unavailable(String),
    /// The bound of waiting deliveries is reached.
    #[error("the delivery queue is full")]
    Full,
    /// What is on disk cannot be read.
    #[error("stored data cannot be read: {0}")]
    Damaged(String),
}

/// Whether a store works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// It does.
    Ok,
    /// It reads but does not acknowledge writes, and tries to recover by itself.
    Failed(String),
}

/// What became of an event that was to be accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Accepted {
    /// It and its deliveries are durable.
    New,
    /// It reports a conversion that is known, under this id; what it adds is kept while something is unsent.
    Duplicate(EventId),
    /// Its id names another conversion: this event.
    Conflict(EventName),
    /// It reports this known conversion with another value, by the source that reported it first: the caller may accept a
    /// restatement of it. Nothing is stored.
    Restates(Box<SealedEvent>),
}

/// A delivery handed to a worker until a time.
#[derive(Clone, Debug)]
pub struct Leased {
    /// What the worker settles it by.
    pub key: LeaseKey,
    /// The event.
    pub event: SealedEvent,
    /// How often it was sent before.
    pub attempts: u16,
    /// When the platform stops taking it.
    pub deadline: Time,
    /// When it was first sent without anybody knowing whether it arrived; `None` if that never happened.
    pub unknown_since: Option<Time>,
}

/// Names a lease: a delivery that was leased again has another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LeaseKey {
    /// The event, by the store's own numbering.
    pub event: u64,
    /// Which lease of it.
    pub token: u64,
}

/// What follows for one leased delivery.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Step {
    /// It has ended.
    Ended(Outcome),
    /// It is tried again.
    Again {
        /// When.
        due: Time,
        /// Why.
        failure: Failure,
        /// The platform may have got it all the same.
        unknown: bool,
    },
    /// It waits, and nothing was sent. Costs no attempt.
    Wait {
        /// Until when.
        due: Time,
        /// For what.
        reason: WaitReason,
    },
    /// It is about to be sent, and the lease goes on: should the process die before the next step, it may have arrived.
    Sending,
}

/// A request for one event, as it was sent, and the answer it got: kept with a dead letter.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exhibit {
    /// The body of the request, or the row, cut at [`Exhibit::BYTES_MAX`].
    pub request: String,
    /// The body of the answer, cut likewise.
    pub answer: String,
}

impl Exhibit {
    /// Longer texts are cut.
    pub const BYTES_MAX: usize = 16 << 10;

    /// An exhibit of these bodies.
    #[must_use]
    pub fn new(request: &[u8], answer: &[u8]) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(&bytes[..bytes.len().min(Self::BYTES_MAX)]).into_owned();
        Self { request: text(request), answer: text(answer) }
    }
}

/// What one request brought for the deliveries it carried. Recorded in one durable write.
#[derive(Clone, Debug)]
pub struct Settlement {
    /// Whose deliveries.
    pub destination: DestinationId,
    /// When.
    pub at: Time,
    /// The request; `None` if none was sent.
    pub attempt: Option<Attempt>,
    /// What follows for each.
    pub steps: Vec<(LeaseKey, Step)>,
    /// For an import file: how far it is settled with this.
    pub mark: Option<FileMark>,
    /// What those that end dead failed with.
    pub exhibits: Vec<(LeaseKey, Exhibit)>,
}

/// Deliveries of one destination by where they are; the five sum to `accepted`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// The platform confirmed them.
    pub delivered: u64,
    /// Not to be sent.
    pub skipped: u64,
    /// Never acceptable.
    pub dead: u64,
    /// Past the platform's age limit.
    pub expired: u64,
    /// Waiting or in flight.
    pub queued: u64,
}

impl Counts {
    /// All of them.
    #[must_use]
    pub const fn sum(&self) -> u64 {
        self.delivered + self.skipped + self.dead + self.expired + self.queued
    }
}

/// The balance sheet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Balance {
    /// Events accepted since the store began.
    pub accepted: u64,
    /// Counts by destination.
    pub destinations: Vec<(DestinationId, Counts)>,
}

/// Everything known of one event.
#[derive(Clone, Debug)]
pub struct Timeline {
    /// The event, by the store's own numbering.
    pub number: u64,
    /// The event, as it is sent now.
    pub event: SealedEvent,
    /// Its deliveries.
    pub deliveries: Vec<DeliveryHistory>,
}

/// Everything known of one delivery.
#[derive(Clone, Debug)]
pub struct DeliveryHistory {
    /// Where to.
    pub destination: DestinationId,
    /// How it started; a late join may have changed that.
    pub start: NewState,
    /// Each request that carried it, and what followed.
    pub attempts: Vec<(Option<Attempt>, Step)>,
    /// What else happened to it.
    pub notes: Vec<Note>,
    /// How it ended; `None` while it is queued.
    pub outcome: Option<Outcome>,
    /// When it is due next, while it is queued.
    pub due: Option<Time>,
}

/// An event that waits for a visit or a lookup, to be completed with it.
#[derive(Clone, Debug)]
pub struct Waiting {
    /// The event, by the store's own numbering.
    pub event: u64,
    /// The event as stored.
    pub sealed: SealedEvent,
}

/// Events, their deliveries and their outcomes.
#[async_trait]
pub trait EventStore: Send + Sync {
    /// The ids of the configured destinations, in their order. A name keeps its id for good; a new one gets the events
    /// accepted before it as `skipped(not_configured)`, so that its counts sum up too.
    async fn register(&self, names: &[DestinationName]) -> Result<Vec<DestinationId>, StoreError>;

    /// Stores events with their deliveries: each one together or not at all, durable when this returns. An event whose
    /// id, or whose name and transaction, is known is a duplicate; what it adds is filled in while something is unsent.
    async fn accept(&self, events: Vec<NewEvent>) -> Result<Vec<Accepted>, StoreError>;

    /// The events that wait for this.
    async fn waiting_for(&self, awaited: &Awaited) -> Result<Vec<Waiting>, StoreError>;

    /// The visitor that the latest event with one of `keys` was joined to by its id, and the key that found it: what the
    /// checkout told of its customer, the CRM is found by.
    fn visitor_of(&self, keys: &[IdentityKey]) -> Result<Option<(VisitorId, IdentityKey)>, StoreError>;

    /// Everything that some event waits for.
    fn awaited(&self) -> Vec<Awaited>;

    /// Replaces a waiting event by its completed form and applies `deliveries` to those that are still queued.
    async fn complete(&self, event: u64, completed: NewEvent) -> Result<(), StoreError>;

    /// Leases up to `max` deliveries that are due at `now`, until `until`: then, or after a restart, they are due again.
    async fn lease(
        &self,
        destination: DestinationId,
        max: usize,
        now: Time,
        until: Time,
    ) -> Result<Vec<Leased>, StoreError>;

    /// Records what followed, durably. Leases that no longer hold are left out; the answer counts those that did.
    async fn settle(&self, settlement: Settlement) -> Result<usize, StoreError>;

    /// Gives leases back unspent: the deliveries are due again at once.
    fn release(&self, destination: DestinationId, keys: &[LeaseKey]);

    /// Gives leases back until `due`, for deliveries that have to wait without anything having been tried. Only in memory:
    /// after a restart they are due at once.
    fn defer(&self, destination: DestinationId, keys: &[LeaseKey], due: Time);

    /// Keeps leases until `until`. Those of `keys` that still hold: the others are somebody else's, or over.
    fn hold(&self, destination: DestinationId, keys: &[LeaseKey], until: Time) -> Vec<LeaseKey>;

    /// How many queued deliveries have their deadline before `until`, to the hour.
    fn expiring(&self, destination: DestinationId, until: Time) -> u64;

    /// Leases up to `max` deliveries whose deadline is before `now`, whenever they are due.
    async fn lease_expired(
        &self,
        destination: DestinationId,
        max: usize,
        now: Time,
        until: Time,
    ) -> Result<Vec<Leased>, StoreError>;

    /// The latest event of `transaction` with one of `names`, and where its delivery to `destination` stands.
    async fn original(
        &self,
        destination: DestinationId,
        transaction: &TransactionId,
        names: &[EventName],
    ) -> Result<Option<(SealedEvent, Standing)>, StoreError>;

    /// The refunds and restatements of `transaction`, in the order of their acceptance.
    async fn changes(&self, transaction: &TransactionId) -> Result<Vec<SealedEvent>, StoreError>;

    /// Stops a destination, or lets it go on; durable when this returns.
    async fn pause(&self, destination: DestinationId, pause: Option<OperatorPause>) -> Result<(), StoreError>;

    /// Whether its operator stopped this destination.
    fn paused(&self, destination: DestinationId) -> Option<OperatorPause>;

    /// Up to `max` dead letters of `destination` whose number is above `after`, by number. Discarded ones are not among them.
    async fn dead_letters(&self, destination: DestinationId, after: u64, max: usize) -> Result<Vec<Ended>, StoreError>;

    /// Up to `max` deliveries to `destination` that have ended, of events received in `from..to` with a number above `after`,
    /// by number.
    async fn ended(
        &self,
        destination: DestinationId,
        from: Time,
        to: Time,
        after: u64,
        max: usize,
    ) -> Result<Vec<Ended>, StoreError>;

    /// Queues ended deliveries again, durably. Those that are queued already are left out; the answer counts the others.
    async fn requeue(&self, requeue: Requeue) -> Result<u64, StoreError>;

    /// Gives dead letters up for good, durably: they stay `dead` in the balance and leave the list. Counts them.
    async fn discard(
        &self,
        destination: DestinationId,
        events: &[u64],
        reason: String,
        at: Time,
    ) -> Result<u64, StoreError>;

    /// Hands up to `max` queued deliveries of `from` over to `to`, in one durable write: here they are skipped, there they are
    /// queued unless they are delivered or queued already. What may have arrived stays where it is, and what `to` would not
    /// take.
    async fn spill(
        &self,
        from: DestinationId,
        to: DestinationId,
        takes: Takes,
        max: usize,
        at: Time,
    ) -> Result<Spill, StoreError>;

    /// Up to `max` receipts that are to be asked about at `now`.
    async fn receipts(&self, destination: DestinationId, now: Time, max: usize) -> Result<Vec<Receipt>, StoreError>;

    /// When the next receipt is to be asked about.
    fn next_receipt(&self, destination: DestinationId) -> Option<Time>;

    /// Records what asking about a receipt came to, durably.
    async fn report(&self, destination: DestinationId, receipt: u64, answer: Answer) -> Result<(), StoreError>;

    /// What was reported on all receipts so far.
    fn reported(&self, destination: DestinationId) -> Reported;

    /// Counts every event and outcome on disk and compares that with the balance. Takes seconds.
    async fn audit(&self) -> Result<Audit, StoreError>;

    /// Removes who the person is from every stored event of it, on disk too; what is queued of it is skipped. Counts stay.
    async fn forget(&self, forget: &Forget, at: Time) -> Result<Forgotten, StoreError>;

    /// When the next delivery of this destination is due, or the first lease runs out; `None` if none is queued.
    fn next_due(&self, destination: DestinationId) -> Option<Time>;

    /// How many deliveries are due at `now`, counted up to `enough`.
    fn due(&self, destination: DestinationId, now: Time, enough: usize) -> usize;

    /// Returns when deliveries of this destination may have become due earlier than [`EventStore::next_due`] said.
    async fn changed(&self, destination: DestinationId);

    /// How far this destination's import file is settled.
    fn mark(&self, destination: DestinationId) -> Option<FileMark>;

    /// Everything known of one event; `None` if there is none of that id (any more).
    async fn timeline(&self, id: &EventId) -> Result<Option<Timeline>, StoreError>;

    /// The balance at this moment.
    fn balance(&self) -> Balance;

    /// When the event was received that has been queued longest for this destination. Reads one record.
    fn oldest(&self, destination: DestinationId) -> Option<Time>;

    /// Deletes what is past its retention. Never what is still queued, and never the counts.
    async fn retain(&self, now: Time) -> Result<(), StoreError>;

    /// Whether it works.
    fn health(&self) -> Health;

    /// Tries to write after a failure, so that it recovers without waiting for somebody's event.
    async fn recover(&self) -> Result<(), StoreError>;

    /// What it measures of itself.
    fn metrics(&self) -> &Metrics;
}

/// Visitors, by id and by what they were seen with.
#[async_trait]
pub trait VisitStore: Send + Sync {
    /// Adds what was seen to what is known; durable when this returns. Visitors that turn out to be one person, by a contact
    /// detail or an id that was handed over, are linked both ways, and each keeps its history.
    async fn remember(&self, seen: Vec<Observation>) -> Result<(), StoreError>;

    /// The visitor of this id.
    fn find(&self, id: &VisitorId) -> Result<Option<Visitor>, StoreError>;

    /// The visitor last seen with one of `keys`, tried in their order, and the key that found it.
    fn find_by(&self, keys: &[IdentityKey]) -> Result<Option<(Visitor, IdentityKey)>, StoreError>;

    /// Up to `max` visitors by id, behind `after`. Those whose record is damaged are left out.
    fn page(&self, after: Option<&VisitorId>, max: usize) -> Result<Vec<Visitor>, StoreError>;

    /// Deletes a visitor with all its identifiers; durable when this returns. Whether there was one.
    async fn forget(&self, id: &VisitorId) -> Result<bool, StoreError>;

    /// Deletes visitors not seen since `before`. Returns how many.
    async fn retain(&self, before: Time) -> Result<usize, StoreError>;

    /// Whether it works.
    fn health(&self) -> Health;

    /// Tries to work again after a failure, without waiting for somebody's visit.
    async fn recover(&self) -> Result<(), StoreError>;
}

/// All stores of one engine.
#[derive(Clone)]
pub struct Stores {
    /// Events and deliveries.
    pub events: Arc<dyn EventStore>,
    /// Visitors.
    pub visits: Arc<dyn VisitStore>,
    /// Links, and what else people decide while the relay runs.
    pub book: Arc<dyn Book>,
    /// Requests for links.
    pub clicks: Arc<dyn ClickStore>,
}

/// What a store measures of itself.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// Durable writes.
    pub commits: Counter,
    /// Bytes appended.
    pub bytes: Counter,
    /// Requests that one durable write served.
    pub batch: Histogram,
    /// Seconds from writing to the end of the sync.
    pub flush: Histogram,
    /// Whether rows of clicks cannot be written: 1, else 0.
    pub clicks_failed: Gauge,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            commits: Counter::default(),
            bytes: Counter::default(),
            batch: Histogram::new(exponential_buckets(1.0, 2.0, 10)),
            flush: Histogram::new(exponential_buckets(0.000_1, 3.0, 10)),
            clicks_failed: Gauge::default(),
        }
    }
}

impl Metrics {
    /// Adds them to a registry.
    pub fn register(&self, registry: &mut Registry) {
        let store = registry.sub_registry_with_prefix("store");
        store.register("commits", "Durable writes (one fdatasync each)", self.commits.clone());
        store.register("written_bytes", "Bytes appended to the event journal", self.bytes.clone());
        store.register("commit_requests", "Requests that one durable write served", self.batch.clone());
        store.register("flush_seconds", "Time from writing to the end of the sync", self.flush.clone());
        let help = "1 while rows of clicks cannot be written; events and visits are taken all the same";
        store.register("clicks_failed", help, self.clicks_failed.clone());
    }
}
