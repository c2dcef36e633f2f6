//! The audit: every delivery on disk is counted anew and compared with the balance that is kept all the time.

use std::{
    thread,
    time::{Duration, Instant},
};

use super::{
    Shared,
    book::{Beyond, Book, Place, counts_of},
    log::{self, SegmentFile},
    queue::Queue,
    record::{End, Record},
};
use crate::{
    model::{DestinationId, NewDelivery},
    store::{Audit, Counts, Step, StoreError},
};

/// Events that are counted at once, for about twelve bytes each and one for each destination; more take another round.
const EVENTS_AT_ONCE: usize = 2_000_000;
/// After so much work it rests: the relay has other things to do.
const WORK: Duration = Duration::from_millis(5);
/// For how many times as long.
const REST: u32 = 9;

/// The state of a delivery on disk.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// There is none.
    None,
    Queued,
    Ended(End),
}

/// Deliveries of the events of some segments.
struct Tally {
    width: usize,
    /// In order.
    places: Vec<Place>,
    states: Vec<State>,
}

impl Tally {
    fn add(&mut self, place: Place, deliveries: &[NewDelivery]) {
        self.places.push(place);
        self.states.resize(self.places.len() * self.width, State::None);
        for delivery in deliveries {
            let state = End::at_start(delivery.state).map_or(State::Queued, State::Ended);
            self.set(place, delivery.destination, |_| state);
        }
    }

    fn set(&mut self, place: Place, destination: DestinationId, next: impl FnOnce(State) -> State) {
        let column = usize::from(destination.0);
        let Ok(row) = self.places.binary_search(&place) else { return };
        if column < self.width {
            let state = &mut self.states[row * self.width + column];
            *state = next(*state);
        }
    }

    fn end(&mut self, place: Place, destination: DestinationId, end: End) {
        self.set(place, destination, |state| if state == State::Queued { State::Ended(end) } else { state });
    }

    fn apply(&mut self, record: &Record) {
        match record {
            Record::Changed { place, deliveries, .. } => {
                for delivery in deliveries {
                    if let Some(end) = End::at_start(delivery.state) {
                        self.end(*place, delivery.destination, end);
                    }
                }
            }
            Record::Settled { destination, steps, .. } => {
                for (place, step) in steps {
                    if let Step::Ended(outcome) = step {
                        self.end(*place, *destination, End::of(outcome));
                    }
                }
            }
            Record::Requeued { destination, deliveries, .. } => {
                for again in deliveries {
                    self.set(again.place, *destination, |_| State::Queued);
                }
            }
            Record::Spilled { from, to, deliveries, .. } => {
                for (place, again) in deliveries {
                    self.end(*place, *from, End::Skipped);
                    if again.is_some() {
                        self.set(*place, *to, |_| State::Queued);
                    }
                }
            }
            Record::Forgotten { skipped, .. } => {
                for &(destination, place) in skipped {
                    self.end(place, destination, End::Skipped);
                }
            }
            _ => {}
        }
    }

    fn count(&self, into: &mut Vec<Counts>) {
        for (at, state) in self.states.iter().enumerate() {
            let destination = DestinationId(u16::try_from(at % self.width).unwrap_or(u16::MAX));
            let counts = counts_of(into, destination);
            match state {
                State::None => {}
                State::Queued => counts.queued += 1,
                State::Ended(end) => *end.count(counts) += 1,
            }
        }
    }
}

/// See [`crate::store::EventStore::audit`].
pub(super) fn audit(shared: &Shared) -> Result<Audit, StoreError> {
    // Both are changed together, under both locks: this is one moment.
    let (files, balance, mut beyond) = {
        let log = shared.log();
        let book = shared.book();
        let balance: Vec<Counts> = book.queues.iter().map(Queue::counts).collect();
        (log.files()?, (book.accepted, balance), beyond(&book))
    };
    let (accepted, balance) = balance;
    let mut events = beyond.accepted;
    let files: Vec<_> = files.into_iter().filter(|(number, ..)| *number >= beyond.before).collect();
    let mut next = 0;
    while next < files.len() {
        let (tally, end) = round(&files, next, balance.len().max(1))?;
        events += tally.places.len() as u64;
        tally.count(&mut beyond.ended);
        next = end;
    }
    let mut drift = Vec::new();
    for (destination, by_balance) in (0..).map(DestinationId).zip(balance) {
        let by_disk = *counts_of(&mut beyond.ended, destination);
        if by_disk != by_balance || by_balance.sum() != accepted {
            drift.push((destination, by_disk, by_balance));
        }
    }
    if events != accepted && drift.is_empty() {
        drift.push((DestinationId(0), *counts_of(&mut beyond.ended, DestinationId(0)), Counts::default()));
    }
    Ok(Audit { events, drift })
}

/// What no record tells, with what is queued in segments that are not counted.
fn beyond(book: &Book) -> Beyond {
    let mut beyond = book.beyond.clone();
    let numbered = (0..).map(DestinationId).zip(&book.queues);
    for (destination, queue) in numbered {
        counts_of(&mut beyond.ended, destination).queued += queue.queued_before(beyond.before);
    }
    beyond
}

/// Counts the events of the segments from the `first` one on, as many as are counted at once, with everything that was
/// recorded about them in any segment. Returns the first segment that is still to be counted.
fn round(files: &[SegmentFile], first: usize, width: usize) -> Result<(Tally, usize), StoreError> {
    let mut tally = Tally { width, places: Vec::new(), states: Vec::new() };
    let mut end = files.len();
    for (nth, (number, file, length)) in files.iter().enumerate().skip(first) {
        if nth < end && nth > first && tally.places.len() >= EVENTS_AT_ONCE {
            end = nth;
        }
        let counted = nth < end;
        let mut began = Instant::now();
        log::walk(&**file, *number, 0, *length, |place, record| {
            match &record {
                Record::Accepted { deliveries, .. } if counted => tally.add(place, deliveries),
                record => tally.apply(record),
            }
            let worked = began.elapsed();
            if worked >= WORK {
                thread::sleep(worked * REST);
                began = Instant::now();
            }
            true
        })?;
    }
    Ok((tally, end))
}
