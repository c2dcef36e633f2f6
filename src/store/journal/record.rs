//! Records as they lie in a segment: framed as `store/frame.rs` says, in postcard.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{v1::RecordV1, v2::RecordV2};
pub(super) use crate::store::frame::{HEADER_BYTES, frame, frame_bytes};
use crate::{
    model::{
        Attempt, Awaited, DestinationId, EventName, FileMark, IdentityKey, JoinedBy, NewDelivery, NewState, Outcome,
        SealedEvent, Time, TransactionId,
    },
    store::{
        Answer, Cause, Counts, Exhibit, OperatorPause, Step,
        frame::{begin, seal},
    },
};

/// The form that is written. Older ones stay readable: `decode` knows every form that was ever released.
pub(super) const VERSION: u8 = 3;

/// What a record says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Record {
    /// The destinations known from here on, by id, and events each of them had missed when it was added.
    Destinations { names: Vec<String>, missed: Vec<(DestinationId, u64)> },
    /// An event with its deliveries.
    Accepted { event: SealedEvent, deliveries: Vec<NewDelivery>, waits_for: Option<Awaited> },
    /// The event at `place` has this content now. `deliveries`, still queued, start anew like this; `deadlines` are those
    /// of all its deliveries; `completed` says that it waits for no visit any more.
    Changed {
        place: u64,
        event: SealedEvent,
        deliveries: Vec<NewDelivery>,
        deadlines: Vec<(DestinationId, Time)>,
        completed: bool,
    },
    /// What one request brought. Dead letters have what they failed with among `exhibits`.
    Settled {
        destination: DestinationId,
        at: Time,
        attempt: Option<Attempt>,
        steps: Vec<(u64, Step)>,
        mark: Option<FileMark>,
        exhibits: Vec<(u64, Exhibit)>,
    },
    /// Deliveries that had ended are queued again.
    Requeued { destination: DestinationId, at: Time, due: Time, cause: Cause, deliveries: Vec<Again> },
    /// Dead letters that the operator gave up.
    Discarded { destination: DestinationId, at: Time, reason: String, places: Vec<u64> },
    /// Queued deliveries that one destination handed over to another, and how each is queued there; `None` if it has
    /// it already.
    Spilled { from: DestinationId, to: DestinationId, at: Time, deliveries: Vec<(u64, Option<Again>)> },
    /// The operator stops a destination, or lets it go on.
    Steered { destination: DestinationId, pause: Option<OperatorPause> },
    /// What the platform said later of the request that the record at `receipt` settled.
    Reported { destination: DestinationId, receipt: u64, answer: Answer },
    /// The person of these events is to be erased from every record; the deliveries are skipped.
    Forgotten { at: Time, places: Vec<u64>, skipped: Vec<(DestinationId, u64)> },
    /// It is erased.
    Erased { places: Vec<u64> },
}

/// One delivery that is queued again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Again {
    /// The event.
    pub(super) place: u64,
    /// The record with its present content.
    pub(super) content: u64,
    /// What the delivery had ended as.
    pub(super) was: End,
    /// Until when it may be sent.
    pub(super) deadline: Time,
}

/// An outcome without its reasons.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum End {
    Delivered,
    Skipped,
    Dead,
    Expired,
    /// Skipped because the destination was added after the event came: no record tells of the delivery.
    Missed,
}

impl End {
    pub(super) const fn of(outcome: &Outcome) -> Self {
        match outcome {
            Outcome::Delivered => Self::Delivered,
            Outcome::Skipped(_) => Self::Skipped,
            Outcome::Dead { .. } => Self::Dead,
            Outcome::Expired => Self::Expired,
        }
    }

    /// How a delivery starts ended; `None` if it starts queued.
    pub(super) const fn at_start(state: NewState) -> Option<Self> {
        match state {
            NewState::Queued { .. } => None,
            NewState::Skipped(_) => Some(Self::Skipped),
            NewState::Expired => Some(Self::Expired),
        }
    }

    /// Where it is counted.
    pub(super) const fn count(self, counts: &mut Counts) -> &mut u64 {
        match self {
            Self::Delivered => &mut counts.delivered,
            Self::Skipped | Self::Missed => &mut counts.skipped,
            Self::Dead => &mut counts.dead,
            Self::Expired => &mut counts.expired,
        }
    }
}

impl Record {
    /// The event this record at `at` holds, and the place that event is known by.
    pub(super) fn about(self, at: u64) -> Option<(u64, SealedEvent)> {
        match self {
            Self::Accepted { event, .. } => Some((at, event)),
            Self::Changed { place, event, .. } => Some((place, event)),
            _ => None,
        }
    }
}

/// [`Record::Accepted`] without owning the event.
#[derive(Serialize)]
pub(super) enum RecordRef<'a> {
    #[expect(dead_code, reason = "keeps the variant numbers of `Record`")]
    Destinations,
    Accepted {
        event: &'a SealedEvent,
        deliveries: &'a [NewDelivery],
        waits_for: &'a Option<Awaited>,
    },
}

/// A whole frame of `length` bytes around a record that is shorter: what is behind it is ignored when it is read.
/// `None` if it is not.
pub(super) fn encode_padded(record: &Record, length: usize) -> Option<Vec<u8>> {
    let mut frame = encode(record);
    let fits = frame.len() <= length;
    frame.resize(length, 0);
    fits.then(|| seal(frame))
}

/// A whole frame around `record`.
pub(super) fn encode<R: Serialize>(record: &R) -> Vec<u8> {
    seal(postcard::to_extend(record, begin(VERSION)).expect("writing into memory cannot fail"))
}

/// Reads what a checked frame holds; `None` if this build does not know its version.
pub(super) fn decode(frame: &[u8]) -> Option<Record> {
    match *frame.get(HEADER_BYTES)? {
        1 => postcard::from_bytes::<RecordV1>(&frame[HEADER_BYTES + 1..]).ok().map(Record::from),
        2 => postcard::from_bytes::<RecordV2>(&frame[HEADER_BYTES + 1..]).ok().map(Record::from),
        VERSION => postcard::from_bytes(&frame[HEADER_BYTES + 1..]).ok(),
        _ => None,
    }
}

/// The keys an event is known by: its id, and its name with its transaction. Refunds and restatements go by their id
/// alone, as one transaction may have several.
pub(super) fn dedupe_keys(event: &SealedEvent) -> Vec<u64> {
    let mut keys = vec![id_key(event.event_id.as_str())];
    keys.extend(business_key(event).map(|transaction| transaction_key(&event.name, transaction)));
    keys
}

/// The transaction by which two reports with different ids are still one conversion.
pub(super) fn business_key(event: &SealedEvent) -> Option<&TransactionId> {
    event.transaction_id.as_ref().filter(|_| !event.name.is_change())
}

/// The key of a conversion of this name by its transaction.
pub(super) fn transaction_key(name: &EventName, transaction: &TransactionId) -> u64 {
    key(&[b"tx", name.as_str().as_bytes(), transaction.as_str().as_bytes()])
}

/// No place of a record is as high: what is marked below this and the places that records are about keep apart.
pub(super) const MARK: u64 = 1 << 63;

/// What the refunds and restatements of a transaction are marked with in the index: there may be several of one.
pub(super) fn change_mark(transaction: &TransactionId) -> u64 {
    MARK | key(&[b"ch", transaction.as_str().as_bytes()])
}

/// The mark that this event is to be found by.
pub(super) fn mark_of(event: &SealedEvent) -> Option<u64> {
    event.transaction_id.as_ref().filter(|_| event.name.is_change()).map(change_mark)
}

/// All keys of an event: those it is known by, and those its visitor may be found by later.
pub(super) fn keys(event: &SealedEvent) -> Vec<u64> {
    let mut keys = dedupe_keys(event);
    keys.extend(links(event).map(|key| identity_key(&key)));
    keys
}

/// The identifiers by which an event leads to its visitor. One that was itself only joined by an identifier does not pass
/// others on.
pub(super) fn links(event: &SealedEvent) -> impl Iterator<Item = IdentityKey> + '_ {
    let joined = event.joined_by == Some(JoinedBy::VisitorId);
    event.user.identity_keys().filter(move |_| joined)
}

/// The key of an identifier: part of its digest, which is as good as random, told apart from keys of other kinds.
pub(super) fn identity_key(key: &IdentityKey) -> u64 {
    let digest = u64::from_le_bytes(key.digest.bytes()[..8].try_into().expect("eight of 32 bytes"));
    digest ^ (key.kind as u64) << 56
}

/// The key of an event id.
pub(super) fn id_key(id: &str) -> u64 {
    key(&[b"id", id.as_bytes()])
}

fn key(parts: &[&[u8]]) -> u64 {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part);
        hash.update([0]);
    }
    let digest: [u8; 32] = hash.finalize().into();
    u64::from_le_bytes(digest[..8].try_into().expect("eight of 32 bytes"))
}
