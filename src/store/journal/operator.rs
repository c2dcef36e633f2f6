//! What the operator, and the platforms' later reports, do to deliveries that have ended. First the records are read, off
//! the committer; then the committer records what is still so by the book. Callers hold `Journal::operator`, so that in
//! between nobody else does such a thing.

use std::{collections::HashSet, time::Duration};

use super::{
    Shared,
    book::{Book, Place},
    history::{self, life},
    record::{Again, Record},
};
use crate::{
    model::{DestinationId, Outcome, SealedEvent, Time, TransactionId},
    store::{Cause, Receipt, Step, StoreError},
};

/// How long what is to be handed over is leased to nobody.
const RESERVED: Duration = Duration::from_secs(60);

/// Those of `events` whose delivery has ended, as they are to be queued again.
pub(super) fn again(
    shared: &Shared,
    destination: DestinationId,
    events: &[(u64, Time)],
) -> Result<Vec<Again>, StoreError> {
    let mut found = Vec::with_capacity(events.len());
    for &(place, deadline) in events {
        let life = life(shared, place, destination)?;
        let ended = life.and_then(|life| Some((life.end()?, life.content)));
        found.extend(ended.map(|(was, content)| Again { place, content, was, deadline }));
    }
    Ok(found)
}

/// What records that they are queued again, and how many there are.
pub(super) fn requeue(
    book: &mut Book,
    destination: DestinationId,
    at: Time,
    due: Time,
    cause: Cause,
    mut deliveries: Vec<Again>,
) -> (Vec<Record>, u64) {
    let queue = book.queue(destination);
    deliveries.sort_unstable_by_key(|again| again.place);
    deliveries.dedup_by_key(|again| again.place);
    deliveries.retain(|again| !queue.is_queued(again.place));
    let count = deliveries.len() as u64;
    let record = Record::Requeued { destination, at, due, cause, deliveries };
    (if count == 0 { Vec::new() } else { vec![record] }, count)
}

/// What records that dead letters are given up, and how many there are.
pub(super) fn discard(
    book: &mut Book,
    destination: DestinationId,
    events: &[Place],
    reason: String,
    at: Time,
) -> (Vec<Record>, u64) {
    let dead = &book.queue(destination).dead;
    let places: Vec<Place> = events.iter().copied().filter(|place| dead.contains_key(place)).collect();
    let count = places.len() as u64;
    let record = Record::Discarded { destination, at, reason, places };
    (if count == 0 { Vec::new() } else { vec![record] }, count)
}

/// A delivery to hand over, and how it is queued there; `None` if it is there already.
pub(super) type Handover = (Place, Option<Again>);

/// What `from` could hand over to `to`, and how many of its deliveries it has to keep.
pub(super) fn spillable(
    shared: &Shared,
    from: DestinationId,
    to: DestinationId,
    takes: &dyn Fn(&SealedEvent) -> bool,
    max: usize,
) -> Result<(Vec<Handover>, u64), StoreError> {
    let (places, mut left) = shared.book().queue(from).unsent();
    let mut deliveries = Vec::new();
    for place in places {
        if deliveries.len() >= max {
            break;
        }
        let Some(there) = life(shared, place, to)? else { continue };
        let again = match (there.end(), &there.ended) {
            // Its row is written, or will be.
            (None, _) | (_, Some((Outcome::Delivered, _))) => None,
            (Some(_), _) if !takes(&there.event) => {
                left += 1;
                continue;
            }
            (Some(was), _) => {
                let here = life(shared, place, from)?;
                let deadline = here.map(|here| history::deadline(shared, &here, from)).transpose()?.flatten();
                let deadline = deadline.unwrap_or(Time::from_ms(i64::MAX));
                Some(Again { place, content: there.content, was, deadline })
            }
        };
        deliveries.push((place, again));
    }
    Ok((deliveries, left))
}

/// What records the handing over, and how many deliveries it is.
pub(super) fn spill(
    book: &mut Book,
    ended: &HashSet<(DestinationId, Place)>,
    from: DestinationId,
    to: DestinationId,
    at: Time,
    mut deliveries: Vec<Handover>,
) -> (Vec<Record>, u64) {
    let queue = book.queue(from);
    deliveries.retain(|(place, _)| queue.is_unsent(*place) && !ended.contains(&(from, *place)));
    // From now until this is on disk nobody may lease it; should the disk fail, it comes back.
    deliveries.iter().for_each(|(place, _)| queue.reserve(*place, at.plus(RESERVED)));
    let count = deliveries.len() as u64;
    let record = Record::Spilled { from, to, at, deliveries };
    (if count == 0 { Vec::new() } else { vec![record] }, count)
}

/// The receipts behind `due`, and those that cannot be read.
pub(super) fn receipts(shared: &Shared, due: Vec<(Place, u16)>) -> (Vec<Receipt>, Vec<Place>) {
    let (mut receipts, mut gone) = (Vec::new(), Vec::new());
    for (number, asked) in due {
        let record = shared.read(number);
        let attempt = match record {
            Ok(Record::Settled { attempt, .. }) => attempt,
            _ => None,
        };
        match attempt.and_then(|attempt| Some((attempt.trace_id?, attempt.at))) {
            Some((trace_id, sent_at)) => receipts.push(Receipt { number, trace_id, sent_at, asked }),
            None => gone.push(number),
        }
    }
    (receipts, gone)
}

/// The deliveries that the request of a receipt delivered, as they are to be queued again.
pub(super) fn delivered_by(
    shared: &Shared,
    destination: DestinationId,
    receipt: Place,
) -> Result<Vec<Again>, StoreError> {
    let Record::Settled { steps, .. } = shared.read(receipt)? else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    for (place, step) in steps {
        if step != Step::Ended(Outcome::Delivered) {
            continue;
        }
        let Some(life) = life(shared, place, destination)? else { continue };
        // With its old value it would undo a change that was delivered meanwhile.
        if !matches!(life.ended, Some((Outcome::Delivered, _))) || changed_since(shared, place, &life, destination)? {
            continue;
        }
        let deadline = history::deadline(shared, &life, destination)?.unwrap_or(Time::from_ms(i64::MAX));
        found.extend(life.end().map(|was| Again { place, content: life.content, was, deadline }));
    }
    Ok(found)
}

/// Whether a change of the same transaction that came after this event is delivered.
fn changed_since(
    shared: &Shared,
    place: Place,
    life: &history::Life,
    destination: DestinationId,
) -> Result<bool, StoreError> {
    let Ok(transaction) = TransactionId::new(life.event.transaction()) else { return Ok(false) };
    let later = history::changes(shared, &transaction)?.into_keys().filter(|&change| change > place);
    for change in later {
        let delivered = history::life(shared, change, destination)?.and_then(|life| life.ended);
        if matches!(delivered, Some((Outcome::Delivered, _))) {
            return Ok(true);
        }
    }
    Ok(false)
}
