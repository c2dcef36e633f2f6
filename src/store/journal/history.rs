//! What the records tell of one event: its timeline, how a delivery ended, which conversion a refund is about.

use std::{collections::BTreeMap, time::Duration};

use super::{
    Content, Shared,
    book::Place,
    log,
    record::{self, End, Record},
};
use crate::{
    model::{
        Attempt, DestinationId, EventId, EventName, NewDelivery, NewState, Outcome, SealedEvent, SkipReason, Time,
        TransactionId,
    },
    store::{DeliveryHistory, Ended, Exhibit, Note, Standing, Step, StoreError, Timeline},
};

/// By how much the clock may have been wrong for a while.
const CLOCK_JUMP_MAX: Duration = Duration::from_secs(86_400);

/// One delivery as its records tell it.
pub(super) struct Life {
    pub(super) event: SealedEvent,
    /// The record with the present content.
    pub(super) content: Place,
    /// How and when it ended; `None` while it is queued.
    pub(super) ended: Option<(Outcome, Time)>,
    attempt: Option<Attempt>,
    exhibit: Option<Exhibit>,
    /// Until when it may be sent, if it ever was to be.
    pub(super) deadline: Option<Time>,
}

impl Life {
    /// What it ended as, for the counts.
    pub(super) fn end(&self) -> Option<End> {
        let (outcome, _) = self.ended.as_ref()?;
        let missed = *outcome == Outcome::Skipped(SkipReason::NotConfigured);
        Some(if missed { End::Missed } else { End::of(outcome) })
    }

    fn into_ended(self, number: Place) -> Option<Ended> {
        let (outcome, at) = self.ended?;
        Some(Ended { number, event: self.event, outcome, at, attempt: self.attempt, exhibit: self.exhibit })
    }

    fn start(&mut self, state: NewState, at: Time) {
        self.ended = match state {
            NewState::Queued { deadline, .. } => {
                self.deadline = Some(deadline);
                None
            }
            NewState::Skipped(reason) => Some((Outcome::Skipped(reason), at)),
            NewState::Expired => Some((Outcome::Expired, at)),
        };
    }
}

/// The delivery of the event at `place` to `destination`; `None` if the event is damaged.
pub(super) fn life(shared: &Shared, place: Place, destination: DestinationId) -> Result<Option<Life>, StoreError> {
    let first = match shared.read(place) {
        Err(StoreError::Damaged(reason)) => {
            tracing::error!(reason, "a stored event is damaged and passed over");
            return Ok(None);
        }
        first => first?,
    };
    let Record::Accepted { event, deliveries, .. } = first else { return Ok(None) };
    let of = |deliveries: &[NewDelivery]| deliveries.iter().find(|d| d.destination == destination).map(|d| d.state);
    let at = event.received_at;
    let missed = Some((Outcome::Skipped(SkipReason::NotConfigured), at));
    let mut life = Life { event, content: place, ended: missed, attempt: None, exhibit: None, deadline: None };
    if let Some(state) = of(&deliveries) {
        life.start(state, at);
    }
    for (record_at, record) in shared.history(place)? {
        match record {
            Record::Changed { event, deliveries, .. } => {
                (life.event, life.content) = (event, record_at);
                if let Some(state) = of(&deliveries).filter(|_| life.ended.is_none()) {
                    life.start(state, at);
                }
            }
            Record::Settled { destination: to, at, attempt, steps, exhibits, .. } if to == destination => {
                let step = steps.into_iter().find(|(about, _)| *about == place).map(|(_, step)| step);
                if let Some(Step::Ended(outcome)) = step.filter(|_| life.ended.is_none()) {
                    life.ended = Some((outcome, at));
                    life.attempt = attempt;
                    life.exhibit = exhibits.into_iter().find(|(about, _)| *about == place).map(|(_, exhibit)| exhibit);
                }
            }
            Record::Requeued { destination: to, deliveries, .. } if to == destination => {
                let again = deliveries.iter().find(|again| again.place == place);
                if let Some(again) = again {
                    (life.ended, life.attempt, life.exhibit) = (None, None, None);
                    life.deadline = Some(again.deadline);
                }
            }
            Record::Spilled { from, to, at, deliveries } => {
                let moved = deliveries.into_iter().find(|(about, _)| *about == place);
                if from == destination && moved.is_some() && life.ended.is_none() {
                    life.ended = Some((Outcome::Skipped(SkipReason::Spilled), at));
                } else if to == destination
                    && let Some((_, Some(again))) = moved
                {
                    (life.ended, life.deadline) = (None, Some(again.deadline));
                }
            }
            Record::Forgotten { at, skipped, .. }
                if skipped.contains(&(destination, place)) && life.ended.is_none() =>
            {
                life.ended = Some((Outcome::Skipped(SkipReason::Forgotten), at));
            }
            _ => {}
        }
    }
    Ok(Some(life))
}

/// See [`crate::store::EventStore::dead_letters`].
pub(super) fn dead_letters(
    shared: &Shared,
    destination: DestinationId,
    after: Place,
    max: usize,
) -> Result<Vec<Ended>, StoreError> {
    let mut found = Vec::new();
    let mut last = after;
    // Damaged ones are passed over, so that a page that is not full is the last one.
    while found.len() < max {
        let places: Vec<Place> = {
            let mut book = shared.book();
            let dead = &book.queue(destination).dead;
            dead.range(last.saturating_add(1)..).take(max - found.len()).map(|(&place, _)| place).collect()
        };
        let Some(&end) = places.last() else { break };
        last = end;
        for place in places {
            let letter = life(shared, place, destination)?.and_then(|life| life.into_ended(place));
            found.extend(letter.filter(|letter| matches!(letter.outcome, Outcome::Dead { .. })));
        }
    }
    Ok(found)
}

/// See [`crate::store::EventStore::ended`].
pub(super) fn ended(
    shared: &Shared,
    destination: DestinationId,
    from: Time,
    to: Time,
    after: Place,
    max: usize,
) -> Result<Vec<Ended>, StoreError> {
    let files = shared.log().files()?;
    let (mut found, mut past) = (Vec::new(), false);
    for (number, file, end) in files {
        let untouched = shared.book().segments.get(&number).is_some_and(|segment| segment.last < from);
        if number < super::book::segment_of(after) || untouched || past || found.len() >= max {
            continue;
        }
        let mut failed = None;
        let start = if number == super::book::segment_of(after) { u64::from(super::book::offset_of(after)) } else { 0 };
        log::walk(&*file, number, start, end, |place, record| {
            let Record::Accepted { event, .. } = &record else { return true };
            // Events are in the order in which they came, but for a clock that was put right.
            past = event.received_at > to.plus(CLOCK_JUMP_MAX);
            if past {
                return false;
            }
            if place <= after || !(from..to).contains(&event.received_at) {
                return true;
            }
            match life(shared, place, destination) {
                Ok(life) => found.extend(life.and_then(|life| life.into_ended(place))),
                Err(error) => failed = Some(error),
            }
            failed.is_none() && found.len() < max
        })?;
        if let Some(error) = failed {
            return Err(error);
        }
    }
    Ok(found)
}

/// See [`crate::store::EventStore::original`].
pub(super) fn original(
    shared: &Shared,
    destination: DestinationId,
    transaction: &TransactionId,
    names: &[EventName],
) -> Result<Option<(SealedEvent, Standing)>, StoreError> {
    let mut latest: Option<(Place, SealedEvent)> = None;
    let by_transaction = names.iter().map(|name| record::transaction_key(name, transaction));
    // Without a transaction of its own, a conversion goes by its id.
    for key in by_transaction.chain(std::iter::once(record::id_key(transaction.as_str()))) {
        // Not in the head of the loop: the lock would be held all through it, and taken again in it. With the committer
        // waiting in between, both would wait for ever.
        let candidates = shared.log().candidates(key)?;
        for at in candidates {
            let Some((place, event)) = shared.event_at(at)? else { continue };
            let same = names.contains(&event.name) && event.transaction() == transaction.as_str();
            if same && latest.as_ref().is_none_or(|(known, _)| *known < place) {
                latest = Some((place, event));
            }
        }
    }
    let Some((place, _)) = latest else { return Ok(None) };
    let (queued, dead) = {
        let mut book = shared.book();
        let queue = book.queue(destination);
        (queue.is_queued(place), queue.dead.contains_key(&place))
    };
    let Some(life) = life(shared, place, destination)? else { return Ok(None) };
    let standing = match life.ended {
        _ if queued => Standing::Queued,
        _ if dead => Standing::Dead,
        Some((Outcome::Delivered, _)) => Standing::Delivered,
        // Its settlement came between the two looks.
        None => Standing::Queued,
        Some(_) => Standing::Over,
    };
    Ok(Some((life.event, standing)))
}

/// The refunds and restatements of a transaction in the order in which they were accepted, each with its place.
pub(super) fn changes(
    shared: &Shared,
    transaction: &TransactionId,
) -> Result<BTreeMap<Place, SealedEvent>, StoreError> {
    let records = shared.log().marked(record::change_mark(transaction))?;
    let mut changes = BTreeMap::new();
    for at in records {
        let known = shared.event_at(at)?.filter(|(_, event)| event.transaction_id.as_ref() == Some(transaction));
        // A later record of the same event holds what the earlier one does, and more.
        changes.extend(known);
    }
    Ok(changes)
}

/// See [`crate::store::EventStore::timeline`].
pub(super) fn timeline(shared: &Shared, id: &EventId) -> Result<Option<Timeline>, StoreError> {
    let Some(place) = shared.find(id)? else { return Ok(None) };
    let Record::Accepted { event, deliveries, .. } = shared.read(place)? else { return Ok(None) };
    let mut timeline =
        Timeline { number: place, event, deliveries: deliveries.iter().map(DeliveryHistory::new).collect() };
    for (at, record) in shared.history(place)? {
        let receipt = matches!(&record, Record::Settled { attempt: Some(attempt), .. } if attempt.receipt);
        timeline.add(place, record);
        if receipt {
            shared.history(at)?.into_iter().for_each(|(_, record)| timeline.add(place, record));
        }
    }
    let mut book = shared.book();
    for delivery in timeline.deliveries.iter_mut().filter(|delivery| delivery.outcome.is_none()) {
        delivery.due = book.queue(delivery.destination).due_of(place);
    }
    Ok(Some(timeline))
}

impl DeliveryHistory {
    fn new(delivery: &NewDelivery) -> Self {
        let mut history = Self {
            destination: delivery.destination,
            start: delivery.state,
            attempts: Vec::new(),
            notes: Vec::new(),
            outcome: None,
            due: None,
        };
        history.restart(delivery.state);
        history
    }

    /// The first end is the one that is counted.
    fn end(&mut self, outcome: Outcome) {
        self.outcome.get_or_insert(outcome);
    }

    fn restart(&mut self, state: NewState) {
        self.start = state;
        self.outcome = match state {
            NewState::Queued { .. } => None,
            NewState::Skipped(reason) => Some(Outcome::Skipped(reason)),
            NewState::Expired => Some(Outcome::Expired),
        };
    }
}

impl Timeline {
    /// The history of one destination. One that was added later is in no record until something is done for it.
    fn at(&mut self, destination: DestinationId) -> &mut DeliveryHistory {
        let known = self.deliveries.iter().position(|history| history.destination == destination);
        let index = known.unwrap_or_else(|| {
            let state = NewState::Skipped(SkipReason::NotConfigured);
            self.deliveries.push(DeliveryHistory::new(&NewDelivery { destination, state }));
            self.deliveries.len() - 1
        });
        &mut self.deliveries[index]
    }

    fn requeued(&mut self, destination: DestinationId, at: Time, cause: crate::store::Cause) {
        let history = self.at(destination);
        history.outcome = None;
        history.notes.push(Note::Requeued { at, cause });
    }

    fn add(&mut self, place: Place, record: Record) {
        match record {
            Record::Changed { event, deliveries, .. } => {
                self.event = event;
                for new in deliveries {
                    let history = self.at(new.destination);
                    if history.outcome.is_none() {
                        history.restart(new.state);
                    }
                }
            }
            Record::Settled { destination, attempt, steps, .. } => {
                let step = steps.into_iter().find(|(about, _)| *about == place).map(|(_, step)| step);
                if let Some(step) = step.filter(|step| *step != Step::Sending) {
                    let history = self.at(destination);
                    if let Step::Ended(outcome) = &step {
                        history.end(outcome.clone());
                    }
                    history.attempts.push((attempt, step));
                }
            }
            Record::Requeued { destination, at, cause, .. } => self.requeued(destination, at, cause),
            Record::Discarded { destination, at, reason, .. } => {
                self.at(destination).notes.push(Note::Discarded { at, reason });
            }
            Record::Spilled { from, to, at, deliveries } => {
                self.at(from).end(Outcome::Skipped(SkipReason::Spilled));
                if deliveries.iter().any(|(about, again)| *about == place && again.is_some()) {
                    self.requeued(to, at, crate::store::Cause::Spilled);
                }
            }
            Record::Forgotten { skipped, .. } => {
                for (destination, _) in skipped.into_iter().filter(|(_, about)| *about == place) {
                    self.at(destination).end(Outcome::Skipped(SkipReason::Forgotten));
                }
            }
            Record::Reported { destination, answer, .. } => {
                self.at(destination).notes.push(Note::Reported(answer));
            }
            Record::Accepted { .. } | Record::Destinations { .. } | Record::Steered { .. } | Record::Erased { .. } => {}
        }
    }
}

/// The present content of an event as `again` finds it: the deadline that its delivery had.
pub(super) fn deadline(shared: &Shared, life: &Life, destination: DestinationId) -> Result<Option<Time>, StoreError> {
    Ok(Content::of(shared.read(life.content)?)?.deadline(destination).or(life.deadline))
}
