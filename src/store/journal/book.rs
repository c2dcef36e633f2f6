//! What the journal's records add up to: queues, counts, who waits for whom. Changed by [`Book::apply`] alone, in the live
//! process and on replay alike, so that both always agree. Leases are the exception: they are not on disk, and after a
//! restart every leased delivery is due again.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use super::{
    queue::{Deadline, Queue, QueueSnapshot, Tries},
    record::{self, Again, End, Record},
    v1::{SegmentV1, SnapshotV1, TrackedV1},
};
use crate::{
    model::{Attempt, Awaited, DestinationId, FileMark, NewDelivery, NewState, Outcome, Time},
    store::{Answer, Counts, Step},
};

/// The place of a record: segment number and offset. The place of an event's first record is the event's number.
pub(super) type Place = u64;

/// The first time a platform is asked about a request that it gave a receipt for.
/// Source: <https://developers.google.com/data-manager/api/devguides/diagnostics>, read 2026-11-20.
const ASK_AFTER: Duration = Duration::from_secs(30 * 60);
/// Reasons that are counted each on its own; the platforms have about a hundred.
const REASONS_MAX: usize = 300;

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
    /// Events that wait for something or have new content, while something of them is unsent.
    tracked: HashMap<Place, Tracked>,
    /// The tracked events that wait, by what they wait for.
    waiting: HashMap<Awaited, Vec<Place>>,
    pub(super) segments: BTreeMap<u32, SegmentState>,
    pub(super) beyond: Beyond,
    /// Events whose person is still to be erased from the records.
    pub(super) erasing: BTreeSet<Place>,
}

/// What counts though no record that is kept tells it: events of deleted segments, and those that were accepted before a
/// destination was added.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Beyond {
    pub(super) accepted: u64,
    pub(super) ended: Vec<Counts>,
    /// Segments below this one were written by a version that did not count for each of them: what ends there is
    /// counted here, too.
    pub(super) before: u32,
}

/// What has to be known of an event that is not as its first record says.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Tracked {
    /// Deliveries that have not ended.
    pending: u16,
    waits_for: Option<Awaited>,
    /// The record with its present content.
    changed: Option<Place>,
}

/// What decides when a segment may go, and what then has to be remembered of its events.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct SegmentState {
    /// Deliveries of its events that are still queued.
    pub(super) pending: u64,
    /// Dead letters among them that nobody discarded.
    pub(super) dead: u64,
    /// The latest time any record about its events was written.
    pub(super) last: Time,
    /// Its events.
    accepted: u64,
    /// How their deliveries ended, by destination.
    ended: Vec<Counts>,
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
                    counts_of(&mut self.beyond.ended, destination).skipped += count;
                }
            }
            Record::Accepted { event, deliveries, waits_for } => {
                self.accept(at, deliveries, waits_for.as_ref(), event.received_at);
            }
            Record::Changed { place, deliveries, completed, .. } => self.change(at, *place, deliveries, *completed),
            Record::Settled { destination, at: now, attempt, steps, mark, .. } => {
                self.settle(at, *destination, *now, attempt.as_ref(), steps, mark.as_ref());
            }
            Record::Requeued { destination, due, deliveries, .. } => {
                deliveries.iter().for_each(|again| self.requeue(*destination, *due, again));
            }
            Record::Discarded { destination, places, .. } => {
                for &place in places {
                    if self.queue(*destination).dead.remove(&place).is_some() {
                        self.segment(place).dead -= 1;
                    }
                }
            }
            Record::Spilled { from, to, at: now, deliveries } => {
                for (place, again) in deliveries {
                    // In this order, so that what is known of the event is kept: it is forgotten with its last delivery.
                    if let Some(again) = again {
                        self.requeue(*to, *now, again);
                    }
                    self.end(*from, *place, End::Skipped, *now);
                }
            }
            Record::Steered { destination, pause } => self.queue(*destination).paused.clone_from(pause),
            Record::Reported { destination, receipt, answer } => self.report(*destination, *receipt, answer),
            Record::Forgotten { at: now, places, skipped } => {
                for &(destination, place) in skipped {
                    self.end(destination, place, End::Skipped, *now);
                }
                self.erasing.extend(places);
            }
            Record::Erased { places } => {
                for place in places {
                    self.erasing.remove(place);
                }
            }
        }
    }

    pub(super) fn accept(&mut self, at: Place, deliveries: &[NewDelivery], waits: Option<&Awaited>, now: Time) {
        self.accepted += 1;
        let segment = self.segment(at);
        segment.accepted += 1;
        segment.last = segment.last.max(now);
        let mut pending = 0_u16;
        for delivery in deliveries {
            match delivery.state {
                NewState::Queued { wait: None, deadline, .. } => {
                    self.queue(delivery.destination).put_ready(at, Deadline::of(deadline));
                }
                NewState::Queued { due, deadline, .. } => {
                    self.queue(delivery.destination).put_untried(at, due, Deadline::of(deadline));
                }
                NewState::Skipped(_) | NewState::Expired => {
                    let end = End::at_start(delivery.state).unwrap_or(End::Skipped);
                    self.count(delivery.destination, at, end, 1);
                    continue;
                }
            }
            pending += 1;
        }
        self.segment(at).pending += u64::from(pending);
        if let Some(awaited) = waits.filter(|_| pending > 0) {
            self.waiting.entry(awaited.clone()).or_default().push(at);
            self.tracked.insert(at, Tracked { pending, waits_for: Some(awaited.clone()), changed: None });
        }
    }

    fn change(&mut self, at: Place, place: Place, deliveries: &[NewDelivery], completed: bool) {
        for delivery in deliveries {
            let queue = self.queue(delivery.destination);
            match delivery.state {
                NewState::Queued { due, deadline, .. } => {
                    // In flight with the old content: its settlement follows in any case.
                    if queue.in_flight(place) {
                        continue;
                    }
                    // What was tried before stays known: attempts, and that it may have arrived.
                    if let Some(tries) = queue.take(place) {
                        queue.put(place, due, Tries { deadline: Deadline::of(deadline), ..tries });
                    }
                }
                NewState::Skipped(_) | NewState::Expired => {
                    let end = End::at_start(delivery.state).unwrap_or(End::Skipped);
                    if queue.take(place).is_some() {
                        self.count(delivery.destination, place, end, 1);
                        self.segment(place).pending -= 1;
                    }
                }
            }
        }
        let pending = self.queues.iter().filter(|queue| queue.is_queued(place)).count();
        let mut tracked = self.tracked.remove(&place).unwrap_or_default();
        if (completed || pending == 0)
            && let Some(awaited) = tracked.waits_for.take()
        {
            self.stop_waiting(&awaited, place);
        }
        if pending > 0 {
            tracked.pending = u16::try_from(pending).unwrap_or(u16::MAX);
            tracked.changed = Some(at);
            self.tracked.insert(place, tracked);
        }
    }

    fn settle(
        &mut self,
        at: Place,
        to: DestinationId,
        now: Time,
        attempt: Option<&Attempt>,
        steps: &[(Place, Step)],
        mark: Option<&FileMark>,
    ) {
        for (place, step) in steps {
            let queue = self.queue(to);
            match step {
                Step::Wait { due, .. } => {
                    if let Some(tries) = queue.take(*place) {
                        queue.put(*place, *due, tries.answered(None));
                    }
                }
                Step::Again { due, unknown, .. } => {
                    if let Some(tries) = queue.take(*place) {
                        let sent = attempt.map_or(now, |attempt| attempt.at);
                        let tries = tries.answered(unknown.then_some(sent));
                        queue.put(*place, *due, Tries { attempts: tries.attempts.saturating_add(1), ..tries });
                    }
                }
                Step::Sending => queue.note_sending(*place, now),
                Step::Ended(outcome) => {
                    if self.end(to, *place, End::of(outcome), now) && matches!(outcome, Outcome::Dead { .. }) {
                        self.queue(to).dead.insert(*place, at);
                        self.segment(*place).dead += 1;
                    }
                }
            }
        }
        let queue = self.queue(to);
        if let Some(mark) = mark {
            queue.mark = Some(mark.clone());
        }
        if let Some(attempt) = attempt.filter(|attempt| attempt.receipt && attempt.trace_id.is_some()) {
            queue.add_receipt(at, attempt.at.plus(ASK_AFTER), 0);
        }
    }

    /// Ends a queued delivery; whether it was queued.
    fn end(&mut self, destination: DestinationId, place: Place, end: End, now: Time) -> bool {
        if self.queue(destination).take(place).is_none() {
            return false;
        }
        self.count(destination, place, end, 1);
        let segment = self.segment(place);
        segment.pending -= 1;
        segment.last = segment.last.max(now);
        if let Some(tracked) = self.tracked.get_mut(&place) {
            tracked.pending = tracked.pending.saturating_sub(1);
            if tracked.pending == 0
                && let Some(awaited) = self.tracked.remove(&place).and_then(|tracked| tracked.waits_for)
            {
                self.stop_waiting(&awaited, place);
            }
        }
        true
    }

    fn requeue(&mut self, destination: DestinationId, due: Time, again: &Again) {
        let Again { place, content, was, deadline } = *again;
        let queue = self.queue(destination);
        if queue.is_queued(place) {
            return;
        }
        let was_letter = queue.dead.remove(&place).is_some();
        queue.put_untried(place, due, Deadline::of(deadline));
        self.count(destination, place, was, -1);
        let segment = self.segment(place);
        segment.dead -= u64::from(was_letter);
        segment.pending += 1;
        if let Some(tracked) = self.tracked.get_mut(&place) {
            tracked.pending += 1;
        } else if content != place {
            // Others of it may be queued only if it has had this content all the time, which is then tracked.
            self.tracked.insert(place, Tracked { pending: 1, waits_for: None, changed: Some(content) });
        }
    }

    fn report(&mut self, destination: DestinationId, receipt: Place, answer: &Answer) {
        let queue = self.queue(destination);
        let Some(asked) = queue.take_receipt(receipt) else { return };
        if let Some(again) = answer.again {
            queue.add_receipt(receipt, again, asked.saturating_add(1));
            return;
        }
        let reported = &mut queue.reported;
        if answer.taken == 0 && answer.counts.is_empty() {
            reported.lost += 1;
        }
        reported.taken += answer.taken;
        for (reason, count) in &answer.counts {
            let known = reported.counts.contains_key(reason) || reported.counts.len() < REASONS_MAX;
            let reason = if known { reason.as_str() } else { "other" };
            *reported.counts.entry(reason.to_owned()).or_default() += count;
        }
    }

    /// Counts a delivery of the event at `place` that ended, or no longer has.
    fn count(&mut self, destination: DestinationId, place: Place, end: End, by: i64) {
        let add = |count: &mut u64| *count = count.saturating_add_signed(by);
        add(end.count(&mut self.queue(destination).ended));
        if end == End::Missed || segment_of(place) < self.beyond.before {
            add(end.count(counts_of(&mut self.beyond.ended, destination)));
        } else {
            add(end.count(counts_of(&mut self.segment(place).ended, destination)));
        }
    }

    fn segment(&mut self, place: Place) -> &mut SegmentState {
        self.segments.entry(segment_of(place)).or_default()
    }

    /// The queue of a destination; one the book has no name for yet gets an empty one.
    pub(super) fn queue(&mut self, destination: DestinationId) -> &mut Queue {
        let index = usize::from(destination.0);
        if self.queues.len() <= index {
            self.queues.resize_with(index + 1, Queue::default);
        }
        &mut self.queues[index]
    }

    /// Forgets a segment that was deleted: its events stay counted.
    pub(super) fn forget_segment(&mut self, segment: u32) {
        let Some(state) = self.segments.remove(&segment) else { return };
        self.beyond.accepted += state.accepted;
        for (destination, ended) in (0..).map(DestinationId).zip(&state.ended) {
            let beyond = counts_of(&mut self.beyond.ended, destination);
            beyond.delivered += ended.delivered;
            beyond.skipped += ended.skipped;
            beyond.dead += ended.dead;
            beyond.expired += ended.expired;
        }
        self.queues.iter_mut().for_each(|queue| queue.forget_segment(segment));
        let (first, last) = (place_at(segment, 0), place_at(segment, u32::MAX));
        self.erasing.retain(|place| !(first..=last).contains(place));
    }

    /// The events that wait for this.
    pub(super) fn waiting_for(&self, awaited: &Awaited) -> Vec<Place> {
        self.waiting.get(awaited).cloned().unwrap_or_default()
    }

    /// Everything that some event waits for.
    pub(super) fn awaited(&self) -> Vec<Awaited> {
        self.waiting.keys().cloned().collect()
    }

    /// The record with the present content of the event at `place`, of which something is queued.
    pub(super) fn content_of(&self, place: Place) -> Place {
        self.tracked.get(&place).and_then(|tracked| tracked.changed).unwrap_or(place)
    }

    /// The destinations that the event at `place` is queued for.
    pub(super) fn queued_at(&self, place: Place) -> Vec<DestinationId> {
        let queues = (0..).map(DestinationId).zip(&self.queues);
        queues.filter(|(_, queue)| queue.is_queued(place)).map(|(id, _)| id).collect()
    }

    fn stop_waiting(&mut self, awaited: &Awaited, place: Place) {
        if let Some(places) = self.waiting.get_mut(awaited) {
            places.retain(|&other| other != place);
            if places.is_empty() {
                self.waiting.remove(awaited);
            }
        }
    }

    /// Everything, as of this moment, for the checkpoint.
    pub(super) fn snapshot(&self, next_segment: u32) -> Vec<u8> {
        let snapshot = Snapshot {
            next_segment,
            names: self.names.clone(),
            accepted: self.accepted,
            queues: self.queues.iter().map(QueueSnapshot::of).collect(),
            tracked: self.tracked.iter().map(|(&place, tracked)| (place, tracked)).collect(),
            segments: self.segments.iter().map(|(&number, state)| (number, state.clone())).collect(),
            beyond: self.beyond.clone(),
            erasing: self.erasing.iter().copied().collect(),
        };
        record::encode(&snapshot)
    }

    /// The book of a checkpoint, and the first segment that it does not cover; `None` if it is damaged.
    pub(super) fn restore(bytes: &[u8]) -> Option<(Self, u32)> {
        let frame = record::frame(bytes)?;
        let (version, body) = frame.get(record::HEADER_BYTES..)?.split_first()?;
        let snapshot: Snapshot<Tracked> = match *version {
            1 => postcard::from_bytes::<SnapshotV1>(body).ok()?.into(),
            2 | record::VERSION => postcard::from_bytes(body).ok()?,
            _ => return None,
        };
        let mut waiting: HashMap<Awaited, Vec<Place>> = HashMap::new();
        for (place, tracked) in &snapshot.tracked {
            if let Some(awaited) = &tracked.waits_for {
                waiting.entry(awaited.clone()).or_default().push(*place);
            }
        }
        let book = Self {
            names: snapshot.names,
            accepted: snapshot.accepted,
            queues: snapshot.queues.into_iter().map(QueueSnapshot::queue).collect(),
            tracked: snapshot.tracked.into_iter().collect(),
            waiting,
            segments: snapshot.segments.into_iter().collect(),
            beyond: snapshot.beyond,
            erasing: snapshot.erasing.into_iter().collect(),
        };
        Some((book, snapshot.next_segment))
    }
}

/// The counts of a destination in a list by number.
pub(super) fn counts_of(list: &mut Vec<Counts>, destination: DestinationId) -> &mut Counts {
    let index = usize::from(destination.0);
    if list.len() <= index {
        list.resize_with(index + 1, Counts::default);
    }
    &mut list[index]
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
    beyond: Beyond,
    erasing: Vec<Place>,
}

impl From<SnapshotV1> for Snapshot<Tracked> {
    fn from(old: SnapshotV1) -> Self {
        let ended = old.queues.iter().map(|queue| queue.ended).collect();
        let beyond = Beyond { accepted: old.accepted, ended, before: old.next_segment };
        let tracked = old.tracked.into_iter().map(|(place, tracked)| {
            let TrackedV1 { pending, waits_for, changed } = tracked;
            (place, Tracked { pending, waits_for, changed })
        });
        let segments = old.segments.into_iter().map(|(number, segment)| {
            let SegmentV1 { pending, dead, last } = segment;
            (number, SegmentState { pending, dead, last, ..SegmentState::default() })
        });
        Self {
            next_segment: old.next_segment,
            names: old.names,
            accepted: old.accepted,
            queues: old.queues.into_iter().map(QueueSnapshot::from).collect(),
            tracked: tracked.collect(),
            segments: segments.collect(),
            beyond,
            erasing: Vec::new(),
        }
    }
}
