//! What the journal's records add up to: queues, counts, who waits for whom. Changed by [`Book::apply`] alone, in the live
//! process and on replay alike, so that both always agree. Leases are the exception: they are not on disk, and after a
//! restart every leased delivery is due again.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use serde::{Deserialize, Serialize};

use super::record::Record;
use crate::{
    model::{DestinationId, FileMark, NewDelivery, NewState, Outcome, Time, VisitorId},
    store::{Counts, LeaseKey, Step},
};

/// The place of a record: segment number and offset. The place of an event's first record is the event's number.
pub(super) type Place = u64;

/// The segment a place is in.
pub(super) const fn segment_of(place: Place) -> u32 {
    (place >> 32) as u32
}

/// The offset a place has in its segment.
pub(super) const fn offset_of(place: Place) -> u32 {
    (place & 0xffff_ffff) as u32
}

/// The place at an offset of a segment.
pub(super) fn place_at(segment: u32, offset: u32) -> Place {
    u64::from(segment) << 32 | u64::from(offset)
}

#[derive(Debug, Default)]
pub(super) struct Book {
    pub(super) names: Vec<String>,
    pub(super) accepted: u64,
    pub(super) queues: Vec<Queue>,
    /// Events that wait for a visit or have new content, while something of them is unsent.
    tracked: HashMap<Place, Tracked>,
    /// The tracked events that wait for the visit of a visitor.
    waiting: HashMap<VisitorId, Vec<Place>>,
    pub(super) segments: BTreeMap<u32, SegmentState>,
}

/// What has to be known of an event that is not as its first record says.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Tracked {
    /// Deliveries that have not ended.
    pending: u16,
    waits_for: Option<VisitorId>,
    /// The record with its present content.
    changed: Option<Place>,
}

/// What decides when a segment may go.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(super) struct SegmentState {
    /// Deliveries of its events that are still queued.
    pub(super) pending: u64,
    /// Deliveries of its events that ended dead.
    pub(super) dead: u64,
    /// The latest time any record about its events was written.
    pub(super) last: Time,
}

/// The deliveries of one destination.
#[derive(Debug, Default)]
pub(super) struct Queue {
    /// Due since they came, in that order. Eight bytes each: this is where a backlog is.
    ready: VecDeque<Place>,
    /// Members of `ready` that have left it otherwise than from the front. None is in `ready` twice: one that comes back
    /// is no longer gone.
    gone: HashSet<Place>,
    /// Due at a time, with the number of attempts so far.
    later: BTreeMap<(Time, Place), u16>,
    later_due: HashMap<Place, Time>,
    leased: HashMap<Place, Lease>,
    next_token: u64,
    /// All but `queued`, which is counted where they lie.
    ended: Counts,
    pub(super) mark: Option<FileMark>,
}

#[derive(Debug, Clone, Copy)]
struct Lease {
    token: u64,
    until: Time,
    attempts: u16,
}

impl Queue {
    pub(super) fn queued(&self) -> u64 {
        (self.in_ready() + self.later.len() + self.leased.len()) as u64
    }

    fn in_ready(&self) -> usize {
        self.ready.len().saturating_sub(self.gone.len())
    }

    /// After a replay: settlements of events whose own record was damaged have left nothing to be gone.
    pub(super) fn forget_strangers(&mut self) {
        if !self.gone.is_empty() {
            let ready: HashSet<Place> = self.ready.iter().copied().collect();
            self.gone.retain(|place| ready.contains(place));
        }
    }

    pub(super) fn counts(&self) -> Counts {
        Counts { queued: self.queued(), ..self.ended }
    }

    /// When the next one is due; `Time::default()` (long ago) for those that are due already.
    pub(super) fn next_due(&self) -> Option<Time> {
        if self.in_ready() > 0 {
            return Some(Time::default());
        }
        let returns = self.leased.values().map(|lease| lease.until).min();
        let later = self.later.first_key_value().map(|(&(due, _), _)| due);
        [later, returns].into_iter().flatten().min()
    }

    pub(super) fn due(&self, now: Time, enough: usize) -> usize {
        let mut due = self.in_ready();
        if due < enough {
            due += self.later.range(..=(now, Place::MAX)).take(enough - due).count();
        }
        if due < enough {
            due += self.leased.values().filter(|lease| lease.until <= now).count();
        }
        due.min(enough)
    }

    /// An event among those queued longest.
    pub(super) fn oldest(&self) -> Option<Place> {
        let ready = self.ready.iter().find(|place| !self.gone.contains(place)).copied();
        let later = self.later.keys().map(|&(_, place)| place).min();
        let leased = self.leased.keys().copied().min();
        [ready, later, leased].into_iter().flatten().min()
    }

    /// When a queued delivery is due; `None` if it is due already.
    pub(super) fn due_of(&self, place: Place) -> Option<Time> {
        self.later_due.get(&place).copied()
    }

    pub(super) fn lease(&mut self, max: usize, now: Time, until: Time) -> Vec<(Place, u64, u16)> {
        let overdue: Vec<Place> = self.leased.iter().filter(|(_, l)| l.until <= now).map(|(&place, _)| place).collect();
        for place in overdue {
            self.give_back(place, now);
        }
        let mut taken = Vec::new();
        while taken.len() < max {
            match self.later.first_key_value() {
                Some((&(due, place), &attempts)) if due <= now => {
                    self.later.pop_first();
                    self.later_due.remove(&place);
                    taken.push((place, attempts));
                }
                _ => break,
            }
        }
        while taken.len() < max {
            let Some(place) = self.ready.pop_front() else { break };
            if !self.gone.remove(&place) {
                taken.push((place, 0));
            }
        }
        if self.ready.capacity() > 4096 && self.ready.len() < self.ready.capacity() / 4 {
            self.ready.shrink_to(self.ready.len() * 2);
        }
        taken
            .into_iter()
            .map(|(place, attempts)| {
                self.next_token += 1;
                self.leased.insert(place, Lease { token: self.next_token, until, attempts });
                (place, self.next_token, attempts)
            })
            .collect()
    }

    pub(super) fn holds(&self, key: LeaseKey) -> bool {
        self.leased.get(&key.event).is_some_and(|lease| lease.token == key.token)
    }

    pub(super) fn release(&mut self, key: LeaseKey) {
        if self.holds(key) {
            self.give_back(key.event, Time::default());
        }
    }

    fn give_back(&mut self, place: Place, due: Time) {
        let Some(lease) = self.leased.remove(&place) else { return };
        if lease.attempts == 0 && self.gone.remove(&place) {
            // Its old place in `ready` is good again.
        } else if lease.attempts == 0 && self.ready.front().is_none_or(|&front| place < front) {
            self.ready.push_front(place);
        } else {
            self.put_later(place, due, lease.attempts);
        }
    }

    fn put_later(&mut self, place: Place, due: Time, attempts: u16) {
        self.later.insert((due, place), attempts);
        self.later_due.insert(place, due);
    }

    /// Removes a queued delivery from wherever it is. Returns its attempts so far.
    fn take(&mut self, place: Place) -> u16 {
        if let Some(lease) = self.leased.remove(&place) {
            return lease.attempts;
        }
        if let Some(due) = self.later_due.remove(&place) {
            return self.later.remove(&(due, place)).unwrap_or(0);
        }
        self.gone.insert(place);
        0
    }

    fn start(&mut self, place: Place, delivery: &NewDelivery) -> bool {
        match delivery.state {
            NewState::Queued { wait: None, .. } => {
                if !self.gone.remove(&place) {
                    self.ready.push_back(place);
                }
                return true;
            }
            NewState::Queued { due, .. } => {
                self.put_later(place, due, 0);
                return true;
            }
            NewState::Skipped(_) => self.ended.skipped += 1,
            NewState::Expired => self.ended.expired += 1,
        }
        false
    }
}

impl Book {
    /// Adds what `record`, whose frame begins at `at`, says.
    pub(super) fn apply(&mut self, record: &Record, at: Place) {
        match record {
            Record::Destinations { names, missed } => {
                self.names.clone_from(names);
                self.queues.resize_with(names.len(), Queue::default);
                for &(destination, count) in missed {
                    self.queue(destination).ended.skipped += count;
                }
            }
            Record::Accepted { event, deliveries, waits_for } => {
                self.accept(at, deliveries, waits_for.as_ref(), event.received_at);
            }
            Record::Changed { place, deliveries, pending, completed, .. } => {
                self.change(at, *place, deliveries, *pending, *completed);
            }
            Record::Settled { destination, at, steps, mark, .. } => {
                self.settle(*destination, *at, steps, mark.as_ref());
            }
        }
    }

    pub(super) fn accept(&mut self, at: Place, deliveries: &[NewDelivery], waits: Option<&VisitorId>, now: Time) {
        self.accepted += 1;
        let mut pending = 0_u16;
        for delivery in deliveries {
            pending += u16::from(self.queue(delivery.destination).start(at, delivery));
        }
        if let Some(visitor) = waits.filter(|_| pending > 0) {
            self.waiting.entry(visitor.clone()).or_default().push(at);
            self.tracked.insert(at, Tracked { pending, waits_for: Some(visitor.clone()), changed: None });
        }
        let segment = self.segments.entry(segment_of(at)).or_default();
        segment.pending += u64::from(pending);
        segment.last = segment.last.max(now);
    }

    fn change(&mut self, at: Place, place: Place, deliveries: &[NewDelivery], pending: u16, completed: bool) {
        let tracked = self.tracked.entry(place).or_default();
        tracked.pending = pending;
        tracked.changed = Some(at);
        if completed && let Some(visitor) = tracked.waits_for.take() {
            self.stop_waiting(&visitor, place);
        }
        for delivery in deliveries {
            let queue = self.queue(delivery.destination);
            // In flight with the old content: its settlement follows in any case.
            if queue.leased.contains_key(&place) && matches!(delivery.state, NewState::Queued { .. }) {
                continue;
            }
            queue.take(place);
            if !queue.start(place, delivery) {
                self.ended(place);
            }
        }
    }

    pub(super) fn settle(&mut self, to: DestinationId, now: Time, steps: &[(Place, Step)], mark: Option<&FileMark>) {
        for (place, step) in steps {
            let queue = self.queue(to);
            let attempts = queue.take(*place);
            match step {
                Step::Again { due, .. } => {
                    queue.put_later(*place, *due, attempts.saturating_add(1));
                    continue;
                }
                Step::Ended(Outcome::Delivered) => queue.ended.delivered += 1,
                Step::Ended(Outcome::Skipped(_)) => queue.ended.skipped += 1,
                Step::Ended(Outcome::Expired) => queue.ended.expired += 1,
                Step::Ended(Outcome::Dead(_)) => {
                    queue.ended.dead += 1;
                    self.segments.entry(segment_of(*place)).or_default().dead += 1;
                }
            }
            self.ended(*place);
            let segment = self.segments.entry(segment_of(*place)).or_default();
            segment.last = segment.last.max(now);
        }
        if let Some(mark) = mark {
            self.queue(to).mark = Some(mark.clone());
        }
    }

    /// The queue of a destination; one the book has no name for yet gets an empty one.
    pub(super) fn queue(&mut self, destination: DestinationId) -> &mut Queue {
        let index = usize::from(destination.0);
        if self.queues.len() <= index {
            self.queues.resize_with(index + 1, Queue::default);
        }
        &mut self.queues[index]
    }

    /// Forgets a segment that was deleted.
    pub(super) fn forget_segment(&mut self, segment: u32) {
        self.segments.remove(&segment);
    }

    /// The events that wait for a visit of `visitor`.
    pub(super) fn waiting_for(&self, visitor: &VisitorId) -> Vec<Place> {
        self.waiting.get(visitor).cloned().unwrap_or_default()
    }

    /// Every visitor that some event waits for.
    pub(super) fn awaited(&self) -> Vec<VisitorId> {
        self.waiting.keys().cloned().collect()
    }

    /// The record with the present content of the event at `place`.
    pub(super) fn content_of(&self, place: Place) -> Place {
        self.tracked.get(&place).and_then(|tracked| tracked.changed).unwrap_or(place)
    }

    fn stop_waiting(&mut self, visitor: &VisitorId, place: Place) {
        if let Some(places) = self.waiting.get_mut(visitor) {
            places.retain(|&other| other != place);
            if places.is_empty() {
                self.waiting.remove(visitor);
            }
        }
    }

    fn ended(&mut self, place: Place) {
        if let Some(segment) = self.segments.get_mut(&segment_of(place)) {
            segment.pending = segment.pending.saturating_sub(1);
        }
        let Some(tracked) = self.tracked.get_mut(&place) else { return };
        tracked.pending = tracked.pending.saturating_sub(1);
        if tracked.pending == 0
            && let Some(visitor) = self.tracked.remove(&place).and_then(|tracked| tracked.waits_for)
        {
            self.stop_waiting(&visitor, place);
        }
    }

    /// Whether this delivery is with a worker.
    pub(super) fn in_flight(&self, place: Place, destination: DestinationId) -> bool {
        self.queues.get(usize::from(destination.0)).is_some_and(|queue| queue.leased.contains_key(&place))
    }

    /// Everything, as of this moment, for the checkpoint.
    pub(super) fn snapshot(&self, next_segment: u32) -> Vec<u8> {
        let queues = self.queues.iter().map(QueueSnapshot::of).collect();
        let snapshot = Snapshot {
            next_segment,
            names: self.names.clone(),
            accepted: self.accepted,
            queues,
            tracked: self.tracked.iter().map(|(&place, tracked)| (place, tracked)).collect(),
            segments: self.segments.iter().map(|(&number, &state)| (number, state)).collect(),
        };
        super::record::encode(&snapshot)
    }

    /// The book of a checkpoint, and the first segment that it does not cover; `None` if it is damaged.
    pub(super) fn restore(bytes: &[u8]) -> Option<(Self, u32)> {
        let length = u32::from_le_bytes(bytes.get(..4)?.try_into().ok()?) as usize;
        let body = bytes.get(super::record::HEADER_BYTES..super::record::HEADER_BYTES + length)?;
        let checksum = u32::from_le_bytes(bytes[4..super::record::HEADER_BYTES].try_into().ok()?);
        if crc32fast::hash(body) != checksum || *body.first()? != super::record::VERSION {
            return None;
        }
        let snapshot: Snapshot<Tracked> = postcard::from_bytes(&body[1..]).ok()?;
        let mut waiting: HashMap<VisitorId, Vec<Place>> = HashMap::new();
        for (place, tracked) in &snapshot.tracked {
            if let Some(visitor) = &tracked.waits_for {
                waiting.entry(visitor.clone()).or_default().push(*place);
            }
        }
        let book = Self {
            names: snapshot.names,
            accepted: snapshot.accepted,
            queues: snapshot.queues.into_iter().map(QueueSnapshot::queue).collect(),
            tracked: snapshot.tracked.into_iter().collect(),
            waiting,
            segments: snapshot.segments.into_iter().collect(),
        };
        Some((book, snapshot.next_segment))
    }
}

/// The book on disk; `T` is [`Tracked`], or a reference to one when it is written.
#[derive(Serialize, Deserialize)]
struct Snapshot<T> {
    next_segment: u32,
    names: Vec<String>,
    accepted: u64,
    queues: Vec<QueueSnapshot>,
    tracked: Vec<(Place, T)>,
    segments: Vec<(u32, SegmentState)>,
}

#[derive(Serialize, Deserialize)]
struct QueueSnapshot {
    /// Differences to the one before: two or three bytes each.
    ready: Vec<u64>,
    later: Vec<(Time, Place, u16)>,
    ended: Counts,
    mark: Option<FileMark>,
}

impl QueueSnapshot {
    fn of(queue: &Queue) -> Self {
        let unsent = queue.leased.iter().filter(|(_, lease)| lease.attempts == 0).map(|(&place, _)| place);
        let mut ready: Vec<Place> =
            queue.ready.iter().filter(|place| !queue.gone.contains(place)).copied().chain(unsent).collect();
        ready.sort_unstable();
        let mut before = 0;
        for place in &mut ready {
            (*place, before) = (*place - before, *place);
        }
        let sent = queue.leased.iter().filter(|(_, lease)| lease.attempts > 0);
        let later = queue.later.iter().map(|(&(due, place), &attempts)| (due, place, attempts));
        let later = later.chain(sent.map(|(&place, lease)| (Time::default(), place, lease.attempts))).collect();
        Self { ready, later, ended: queue.ended, mark: queue.mark.clone() }
    }

    fn queue(self) -> Queue {
        let mut queue = Queue { ended: self.ended, mark: self.mark, ..Queue::default() };
        let mut place = 0;
        queue.ready = self
            .ready
            .into_iter()
            .map(|difference| {
                place += difference;
                place
            })
            .collect();
        for (due, place, attempts) in self.later {
            queue.put_later(place, due, attempts);
        }
        queue
    }
}
