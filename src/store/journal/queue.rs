//! The deliveries of one destination: what waits, what is with a worker, how many ended how.

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use super::{
    book::{Place, offset_of, place_at, segment_of},
    v1::QueueV1,
};
use crate::{
    model::{FileMark, Time},
    store::{Counts, LeaseKey, OperatorPause, Reported},
};

/// Deadlines are kept to this: the queue of a destination that is paused is looked through when one has passed, and ten
/// minutes are little next to days.
const DEADLINE_UNIT_MS: i64 = 600_000;
/// Of a batch from a backlog, this share is of the newest: what comes after an outage does not wait for all of it. And this
/// share is of those that were never tried, whatever else is due.
const FRESH_SHARE: usize = 4;
/// Room for deliveries is made for so many at least.
const READY_MIN: usize = 256;
/// A clock that goes back by more than this was put back; less is two threads.
const CLOCK_BACK: Duration = Duration::from_secs(5);
/// Nothing is tried again later than this: a day, the longest wish of a platform that is kept, and some room.
const RETRY_MAX: Duration = Duration::from_secs(25 * 3600);
/// Receipts that are remembered; more could not be asked about, as Google allows 50,000 such questions a day.
const RECEIPTS_MAX: usize = 50_000;

/// A deadline, rounded up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(super) struct Deadline(u32);

impl Deadline {
    /// Not known.
    pub(super) const NONE: Self = Self(u32::MAX);

    pub(super) fn of(time: Time) -> Self {
        let units = time.as_ms().saturating_add(DEADLINE_UNIT_MS - 1) / DEADLINE_UNIT_MS;
        Self(u32::try_from(units.max(0)).unwrap_or(u32::MAX))
    }

    pub(super) fn time(self) -> Time {
        if self == Self::NONE { Time::from_ms(i64::MAX) } else { Time::from_ms(i64::from(self.0) * DEADLINE_UNIT_MS) }
    }

    fn is_past(self, now: Time) -> bool {
        self.time() <= now
    }
}

/// What is known of a queued delivery beside its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Tries {
    /// How often it was sent.
    pub(super) attempts: u16,
    /// When it was first sent without anybody knowing whether it arrived.
    pub(super) unknown: Option<Time>,
    /// That is only so because it is being sent.
    pub(super) sending: bool,
    pub(super) deadline: Deadline,
}

impl Tries {
    const fn none(deadline: Deadline) -> Self {
        Self { attempts: 0, unknown: None, sending: false, deadline }
    }

    /// What is known when it is being sent from `at` on.
    pub(super) fn sending(self, at: Time) -> Self {
        // After a crash in the middle of a request that is no longer only so because it is being sent.
        Self { unknown: self.unknown.or(Some(at)), sending: self.unknown.is_none(), ..self }
    }

    /// What is known when the answer is there: it may have arrived, or it certainly has not.
    pub(super) fn answered(self, arrived: Option<Time>) -> Self {
        let before = self.unknown.filter(|_| !self.sending);
        Self { unknown: before.or(arrived.map(|at| self.unknown.unwrap_or(at))), sending: false, ..self }
    }

    const fn is_fresh(&self) -> bool {
        self.attempts == 0 && self.unknown.is_none()
    }
}

/// A delivery that was never sent: its place in two halves, so that it takes twelve bytes. This is where a backlog is.
#[derive(Debug, Clone, Copy)]
struct Ready {
    segment: u32,
    offset: u32,
    deadline: Deadline,
}

impl Ready {
    fn new(place: Place, deadline: Deadline) -> Self {
        Self { segment: segment_of(place), offset: offset_of(place), deadline }
    }

    fn place(self) -> Place {
        place_at(self.segment, self.offset)
    }
}

#[derive(Debug, Clone, Copy)]
struct Lease {
    token: u64,
    until: Time,
    tries: Tries,
}

/// A delivery handed out: place, token, and what is known of it.
pub(super) type Taken = (Place, u64, Tries);

#[derive(Debug, Default)]
pub(super) struct Queue {
    /// Due since they came, in the order of their places.
    ready: VecDeque<Ready>,
    /// Members of `ready` that have left it otherwise than from an end.
    gone: HashSet<Place>,
    /// Due at a time.
    later: BTreeMap<(Time, Place), Tries>,
    later_due: HashMap<Place, Time>,
    leased: HashMap<Place, Lease>,
    next_token: u64,
    /// How often anything was asked for.
    leases: usize,
    /// The latest time that anybody showed.
    seen: Time,
    /// How many are queued with each deadline.
    deadlines: BTreeMap<Deadline, u64>,
    /// All but `queued`, which is counted where they lie.
    pub(super) ended: Counts,
    /// Dead letters that nobody discarded: the event, and the record it died with.
    pub(super) dead: BTreeMap<Place, Place>,
    /// Records that settled requests of which the platform tells more later, by when it is asked, and how often it was.
    receipts: BTreeMap<(Time, Place), u16>,
    receipts_due: HashMap<Place, Time>,
    pub(super) reported: Reported,
    pub(super) paused: Option<OperatorPause>,
    pub(super) mark: Option<FileMark>,
}

impl Queue {
    pub(super) fn queued(&self) -> u64 {
        (self.in_ready() + self.later.len() + self.leased.len()) as u64
    }

    fn in_ready(&self) -> usize {
        self.ready.len().saturating_sub(self.gone.len())
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

    pub(super) fn due(&mut self, now: Time, enough: usize) -> usize {
        self.notice_the_clock(now);
        let mut due = self.in_ready();
        if due < enough {
            due += self.later.range(..=(now, Place::MAX)).take(enough - due).count();
        }
        if due < enough {
            due += self.leased.values().filter(|lease| lease.until <= now).count();
        }
        due.min(enough)
    }

    /// What is to be tried again at a time of a clock that was ahead, and was put back, is due now. So is what no schedule could
    /// have put off so long: the clock was put back while nobody looked. Waits for clicks and visits go by the events' own
    /// times and stay.
    fn notice_the_clock(&mut self, now: Time) {
        let (first, put_back) = (self.seen == Time::default(), now.plus(CLOCK_BACK) < self.seen);
        let before = self.seen;
        self.seen = if put_back { now } else { self.seen.max(now) };
        if !first && !put_back {
            return;
        }
        let from = if put_back { now } else { now.plus(RETRY_MAX) };
        // One that was never tried waits by the event's own time, unless the clock was ahead when it was put there. The worker
        // asks once more whether it is to be held.
        let ahead = |due: Time| put_back && due > before;
        let again =
            self.later.range((from, Place::MAX)..).filter(|&(&(due, _), tries)| tries.attempts > 0 || ahead(due));
        let again: Vec<(Time, Place, Tries)> = again.map(|(&(due, place), &tries)| (due, place, tries)).collect();
        for (due, place, tries) in again {
            self.later.remove(&(due, place));
            self.put_later(place, now, tries);
        }
    }

    /// An event among those queued longest.
    pub(super) fn oldest(&self) -> Option<Place> {
        let ready = self.ready.iter().map(|ready| ready.place()).find(|place| !self.gone.contains(place));
        let later = self.later.keys().map(|&(_, place)| place).min();
        let leased = self.leased.keys().copied().min();
        [ready, later, leased].into_iter().flatten().min()
    }

    /// When a queued delivery is due; `None` if it is due already.
    pub(super) fn due_of(&self, place: Place) -> Option<Time> {
        self.later_due.get(&place).copied().filter(|&due| due > Time::default())
    }

    /// How many queued ones have their deadline before `until`.
    pub(super) fn expiring(&self, until: Time) -> u64 {
        self.deadlines.range(..=Deadline::of(until)).map(|(_, count)| count).sum()
    }

    fn find(&self, place: Place) -> Option<usize> {
        self.ready.binary_search_by_key(&place, |ready| ready.place()).ok()
    }

    /// Whether this delivery is waiting or in flight.
    pub(super) fn is_queued(&self, place: Place) -> bool {
        self.in_flight(place)
            || self.later_due.contains_key(&place)
            || (self.find(place).is_some() && !self.gone.contains(&place))
    }

    /// Whether this delivery is with a worker.
    pub(super) fn in_flight(&self, place: Place) -> bool {
        self.leased.contains_key(&place)
    }

    /// How many are of events in segments below `segment`.
    pub(super) fn queued_before(&self, segment: u32) -> u64 {
        let end = place_at(segment, 0);
        let ready = self.ready.iter().take_while(|ready| ready.place() < end);
        let ready = ready.filter(|ready| !self.gone.contains(&ready.place())).count();
        let later = self.later_due.keys().filter(|&&place| place < end).count();
        (ready + later + self.leased.keys().filter(|&&place| place < end).count()) as u64
    }

    /// Those that are not in flight and have certainly not arrived, longest waiting first; and how many others there are.
    pub(super) fn unsent(&self) -> (Vec<Place>, u64) {
        let ready = self.ready.iter().map(|ready| ready.place()).filter(|place| !self.gone.contains(place));
        let later = self.later.iter().filter(|(_, tries)| tries.unknown.is_none()).map(|(&(_, place), _)| place);
        let unknown = self.later.values().filter(|tries| tries.unknown.is_some()).count() + self.leased.len();
        (ready.chain(later).collect(), unknown as u64)
    }

    /// Whether this delivery waits and has certainly not arrived.
    pub(super) fn is_unsent(&self, place: Place) -> bool {
        let later = self.later_due.get(&place).and_then(|&due| self.later.get(&(due, place)));
        self.is_queued(place) && !self.in_flight(place) && later.is_none_or(|tries| tries.unknown.is_none())
    }

    pub(super) fn lease(&mut self, max: usize, now: Time, until: Time) -> Vec<Taken> {
        self.take_back(now);
        let mut taken = Vec::new();
        // A batch too small to be shared is a fresh one now and then.
        self.leases = self.leases.wrapping_add(1);
        let small = usize::from(max < FRESH_SHARE && self.leases.is_multiple_of(FRESH_SHARE));
        let untried = (max / FRESH_SHARE).max(small).min(self.in_ready());
        let from_later = max - untried;
        while taken.len() < from_later {
            match self.later.first_key_value() {
                Some((&(due, place), &tries)) if due <= now => {
                    self.later.pop_first();
                    self.later_due.remove(&place);
                    taken.push((place, tries));
                }
                _ => break,
            }
        }
        let fresh = if self.in_ready() > 2 * max { ((max - taken.len()) / FRESH_SHARE).max(small) } else { 0 };
        for newest in (0..max - taken.len()).map(|nth| nth < fresh) {
            let next = loop {
                let end = if newest { self.ready.pop_back() } else { self.ready.pop_front() };
                match end {
                    Some(ready) if self.gone.remove(&ready.place()) => {}
                    end => break end,
                }
            };
            let Some(ready) = next else { break };
            taken.push((ready.place(), Tries::none(ready.deadline)));
        }
        if self.ready.capacity() > 4096 && self.ready.len() < self.ready.capacity() / 4 {
            self.ready.shrink_to(self.ready.len() * 2);
        }
        self.hand_out(taken, until)
    }

    /// Hands out up to `max` whose deadline has passed.
    pub(super) fn lease_expired(&mut self, max: usize, now: Time, until: Time) -> Vec<Taken> {
        if self.deadlines.first_key_value().is_none_or(|(deadline, _)| !deadline.is_past(now)) {
            return Vec::new();
        }
        self.take_back(now);
        let later = self.later.iter().filter(|(_, tries)| tries.deadline.is_past(now)).map(|(&(_, place), _)| place);
        let ready = self.ready.iter().filter(|ready| ready.deadline.is_past(now)).map(|ready| ready.place());
        let ready = ready.filter(|place| !self.gone.contains(place));
        let expired: Vec<Place> = later.chain(ready).take(max).collect();
        let taken = expired.into_iter().filter_map(|place| Some((place, self.pull(place)?))).collect();
        self.hand_out(taken, until)
    }

    /// Leases that have run out are queued again.
    fn take_back(&mut self, now: Time) {
        let overdue: Vec<Place> = self.leased.iter().filter(|(_, l)| l.until <= now).map(|(&place, _)| place).collect();
        for place in overdue {
            self.give_back(place, now);
        }
    }

    fn hand_out(&mut self, taken: Vec<(Place, Tries)>, until: Time) -> Vec<Taken> {
        taken
            .into_iter()
            .map(|(place, tries)| {
                self.next_token += 1;
                self.leased.insert(place, Lease { token: self.next_token, until, tries });
                (place, self.next_token, tries)
            })
            .collect()
    }

    /// Notes that a delivery is being sent; with a lease it stays where it is.
    pub(super) fn note_sending(&mut self, place: Place, at: Time) {
        if let Some(lease) = self.leased.get_mut(&place) {
            lease.tries = lease.tries.sending(at);
        } else if let Some(tries) = self.take(place) {
            self.put(place, at, tries.sending(at));
        }
    }

    pub(super) fn holds(&self, key: LeaseKey) -> bool {
        self.leased.get(&key.event).is_some_and(|lease| lease.token == key.token)
    }

    /// Keeps a lease until `until`; whether it holds.
    pub(super) fn renew(&mut self, key: LeaseKey, until: Time) -> bool {
        let holds = self.holds(key);
        if let Some(lease) = self.leased.get_mut(&key.event).filter(|_| holds) {
            lease.until = lease.until.max(until);
        }
        holds
    }

    /// Keeps a waiting delivery from being leased until it is decided, or until `until`.
    pub(super) fn reserve(&mut self, place: Place, until: Time) {
        if let Some(tries) = self.pull(place) {
            self.hand_out(vec![(place, tries)], until);
        }
    }

    /// Ends a lease: the delivery is due at `due`, or at once.
    pub(super) fn release(&mut self, key: LeaseKey, due: Time) {
        if self.holds(key) {
            self.give_back(key.event, due);
        }
    }

    fn give_back(&mut self, place: Place, due: Time) {
        let Some(lease) = self.leased.remove(&place) else { return };
        let at_once = due <= Time::default() && lease.tries.is_fresh();
        if !(at_once && self.make_ready(place, lease.tries.deadline)) {
            self.put_later(place, due, lease.tries);
        }
    }

    /// Adds a delivery to those that are due since they came, if it keeps their order.
    fn make_ready(&mut self, place: Place, deadline: Deadline) -> bool {
        let ready = Ready::new(place, deadline);
        if self.ready.len() == self.ready.capacity() {
            // By a quarter, not twice: this is where a backlog is.
            self.ready.reserve_exact((self.ready.len() / 4).max(READY_MIN));
        }
        if self.ready.back().is_none_or(|back| back.place() < place) {
            self.ready.push_back(ready);
        } else if self.ready.front().is_none_or(|front| place < front.place()) {
            self.ready.push_front(ready);
        } else {
            // Its old place is good again, if it has one.
            let Some(at) = self.find(place).filter(|_| self.gone.remove(&place)) else { return false };
            self.ready[at] = ready;
        }
        true
    }

    fn put_later(&mut self, place: Place, due: Time, tries: Tries) {
        self.later.insert((due, place), tries);
        self.later_due.insert(place, due);
    }

    /// Removes a queued delivery from wherever it waits or is.
    fn pull(&mut self, place: Place) -> Option<Tries> {
        if let Some(lease) = self.leased.remove(&place) {
            return Some(lease.tries);
        }
        if let Some(due) = self.later_due.remove(&place) {
            return self.later.remove(&(due, place));
        }
        let at = self.find(place)?;
        let deadline = self.ready[at].deadline;
        if at == 0 && !self.gone.contains(&place) {
            self.ready.pop_front();
            // What left before it, out of order, is no longer in the way.
            while self.ready.front().is_some_and(|front| self.gone.remove(&front.place())) {
                self.ready.pop_front();
            }
            return Some(Tries::none(deadline));
        }
        self.gone.insert(place).then_some(Tries::none(deadline))
    }

    /// Takes a delivery out of the queue, for good or to put it elsewhere; `None` if it is not queued.
    pub(super) fn take(&mut self, place: Place) -> Option<Tries> {
        let tries = self.pull(place)?;
        if let Some(count) = self.deadlines.get_mut(&tries.deadline) {
            *count -= 1;
            if *count == 0 {
                self.deadlines.remove(&tries.deadline);
            }
        }
        Some(tries)
    }

    /// Queues a delivery that is due at once.
    pub(super) fn put_ready(&mut self, place: Place, deadline: Deadline) {
        *self.deadlines.entry(deadline).or_default() += 1;
        if !self.make_ready(place, deadline) {
            self.put_later(place, Time::default(), Tries::none(deadline));
        }
    }

    /// Queues a delivery that is due later.
    pub(super) fn put(&mut self, place: Place, due: Time, tries: Tries) {
        *self.deadlines.entry(tries.deadline).or_default() += 1;
        self.put_later(place, due, tries);
    }

    /// Queues a delivery that was not tried yet.
    pub(super) fn put_untried(&mut self, place: Place, due: Time, deadline: Deadline) {
        self.put(place, due, Tries::none(deadline));
    }

    /// Remembers to ask about the request that the record at `place` settled.
    pub(super) fn add_receipt(&mut self, place: Place, due: Time, asked: u16) {
        if self.receipts_due.len() >= RECEIPTS_MAX {
            self.reported.lost += 1;
            return;
        }
        self.receipts.insert((due, place), asked);
        self.receipts_due.insert(place, due);
        self.reported.open = self.receipts.len() as u64;
    }

    /// Forgets a receipt; how often it was asked about.
    pub(super) fn take_receipt(&mut self, place: Place) -> Option<u16> {
        let due = self.receipts_due.remove(&place)?;
        let asked = self.receipts.remove(&(due, place));
        self.reported.open = self.receipts.len() as u64;
        asked
    }

    /// Receipts to be asked about at `now`.
    pub(super) fn due_receipts(&self, now: Time, max: usize) -> Vec<(Place, u16)> {
        let due = self.receipts.range(..=(now, Place::MAX)).take(max);
        due.map(|(&(_, place), &asked)| (place, asked)).collect()
    }

    pub(super) fn next_receipt(&self) -> Option<Time> {
        self.receipts.first_key_value().map(|(&(due, _), _)| due)
    }

    /// Forgets what was in a segment that is deleted.
    pub(super) fn forget_segment(&mut self, segment: u32) {
        let (first, last) = (place_at(segment, 0), place_at(segment, u32::MAX));
        let dead: Vec<Place> = self.dead.range(first..=last).map(|(&place, _)| place).collect();
        for place in dead {
            self.dead.remove(&place);
        }
        let receipts: Vec<Place> = self.receipts_due.keys().copied().filter(|&at| segment_of(at) == segment).collect();
        for place in receipts {
            self.take_receipt(place);
            self.reported.lost += 1;
        }
    }
}

/// A queue on disk.
#[derive(Serialize, Deserialize)]
pub(super) struct QueueSnapshot {
    /// Differences to the one before: two or three bytes each.
    ready: Vec<(u64, i64)>,
    later: Vec<(Time, Place, Tries)>,
    ended: Counts,
    dead: Vec<(Place, Place)>,
    receipts: Vec<(Time, Place, u16)>,
    reported: Reported,
    paused: Option<OperatorPause>,
    mark: Option<FileMark>,
}

impl QueueSnapshot {
    /// What was handed out is back in the queue: nobody has it after a restart.
    pub(super) fn of(queue: &Queue) -> Self {
        let (fresh, sent): (Vec<_>, Vec<_>) =
            queue.leased.iter().map(|(&place, lease)| (place, lease.tries)).partition(|(_, tries)| tries.is_fresh());
        let ready = queue.ready.iter().map(|ready| (ready.place(), ready.deadline));
        let ready = ready.filter(|(place, _)| !queue.gone.contains(place));
        let mut ready: Vec<_> = ready.chain(fresh.into_iter().map(|(place, tries)| (place, tries.deadline))).collect();
        ready.sort_unstable();
        let (mut place_before, mut deadline_before) = (0, 0);
        let differences = |(place, deadline): (Place, Deadline)| {
            let deadline = i64::from(deadline.0);
            let difference = (place - place_before, deadline - deadline_before);
            (place_before, deadline_before) = (place, deadline);
            difference
        };
        let later = queue.later.iter().map(|(&(due, place), &tries)| (due, place, tries));
        Self {
            ready: ready.into_iter().map(differences).collect(),
            later: later.chain(sent.into_iter().map(|(place, tries)| (Time::default(), place, tries))).collect(),
            ended: queue.ended,
            dead: queue.dead.iter().map(|(&event, &died)| (event, died)).collect(),
            receipts: queue.receipts.iter().map(|(&(due, place), &asked)| (due, place, asked)).collect(),
            reported: queue.reported.clone(),
            paused: queue.paused.clone(),
            mark: queue.mark.clone(),
        }
    }

    pub(super) fn queue(self) -> Queue {
        let Self { ended, reported, paused, mark, .. } = self;
        let mut queue = Queue { ended, paused, mark, dead: self.dead.into_iter().collect(), ..Queue::default() };
        let (mut place, mut deadline) = (0, 0);
        for (place_difference, deadline_difference) in self.ready {
            place += place_difference;
            deadline += deadline_difference;
            queue.put_ready(place, Deadline(u32::try_from(deadline).unwrap_or(u32::MAX)));
        }
        for (due, place, tries) in self.later {
            queue.put(place, due, tries);
        }
        for (due, place, asked) in self.receipts {
            queue.add_receipt(place, due, asked);
        }
        queue.reported = reported;
        queue
    }
}

impl From<QueueV1> for QueueSnapshot {
    /// Deadlines were not kept: the worker knows them when it sends.
    fn from(old: QueueV1) -> Self {
        let none = i64::from(Deadline::NONE.0);
        let ready = old.ready.into_iter().enumerate().map(|(nth, place)| (place, if nth == 0 { none } else { 0 }));
        let tries = |attempts| Tries { attempts, unknown: None, sending: false, deadline: Deadline::NONE };
        Self {
            ready: ready.collect(),
            later: old.later.into_iter().map(|(due, place, attempts)| (due, place, tries(attempts))).collect(),
            ended: old.ended,
            dead: Vec::new(),
            receipts: Vec::new(),
            reported: Reported::default(),
            paused: None,
            mark: old.mark,
        }
    }
}
