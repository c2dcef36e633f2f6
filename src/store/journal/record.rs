//! Records as they lie in a segment: `length u32 | crc32 u32 | version u8 | postcard`, integers little-endian. The length
//! counts what follows the checksum; the checksum is over the same bytes.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::{
    model::{
        Attempt, DestinationId, EventName, FileMark, IdentityKey, JoinedBy, NewDelivery, SealedEvent, Time,
        TransactionId, VisitorId,
    },
    store::Step,
};

/// The form that is written. Older ones stay readable: `decode` knows every form that was ever released.
pub(super) const VERSION: u8 = 1;
/// Bytes before the version byte.
pub(super) const HEADER_BYTES: usize = 8;
/// No record is larger; a length over this is damage.
pub(super) const RECORD_BYTES_MAX: usize = 16 << 20;

/// What a record says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Record {
    /// The destinations known from here on, by id, and events each of them had missed when it was added.
    Destinations { names: Vec<String>, missed: Vec<(DestinationId, u64)> },
    /// An event with its deliveries.
    Accepted { event: SealedEvent, deliveries: Vec<NewDelivery>, waits_for: Option<VisitorId> },
    /// The event at `place` has this content now. `deliveries`, still queued, start anew like this; `deadlines` are those
    /// of all its deliveries; `pending` of them have not ended; `completed` says that it waits for no visit any more.
    Changed {
        place: u64,
        event: SealedEvent,
        deliveries: Vec<NewDelivery>,
        deadlines: Vec<(DestinationId, Time)>,
        pending: u16,
        completed: bool,
    },
    /// What one request brought.
    Settled {
        destination: DestinationId,
        at: Time,
        attempt: Option<Attempt>,
        steps: Vec<(u64, Step)>,
        mark: Option<FileMark>,
    },
}

impl Record {
    /// The event this record at `at` holds, and the place that event is known by.
    pub(super) fn about(self, at: u64) -> Option<(u64, SealedEvent)> {
        match self {
            Self::Accepted { event, .. } => Some((at, event)),
            Self::Changed { place, event, .. } => Some((place, event)),
            Self::Destinations { .. } | Self::Settled { .. } => None,
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
        waits_for: &'a Option<VisitorId>,
    },
}

/// A whole frame around `record`.
pub(super) fn encode<R: Serialize>(record: &R) -> Vec<u8> {
    let mut frame = Vec::with_capacity(1024);
    frame.extend_from_slice(&[0; HEADER_BYTES]);
    frame.push(VERSION);
    let mut frame = postcard::to_extend(record, frame).expect("writing into memory cannot fail");
    let length = u32::try_from(frame.len() - HEADER_BYTES).expect("a record is bounded by the request's size");
    let checksum = crc32fast::hash(&frame[HEADER_BYTES..]);
    frame[..4].copy_from_slice(&length.to_le_bytes());
    frame[4..HEADER_BYTES].copy_from_slice(&checksum.to_le_bytes());
    frame
}

/// The bytes of the frame that starts `bytes`, header included, if it is whole and its checksum holds.
pub(super) fn frame(bytes: &[u8]) -> Option<&[u8]> {
    let length = frame_bytes(bytes)?;
    let frame = bytes.get(..length)?;
    let checksum = u32::from_le_bytes(frame[4..HEADER_BYTES].try_into().ok()?);
    (crc32fast::hash(&frame[HEADER_BYTES..]) == checksum).then_some(frame)
}

/// How long the frame that starts `bytes` says it is, header included.
pub(super) fn frame_bytes(bytes: &[u8]) -> Option<usize> {
    let length = u32::from_le_bytes(bytes.get(..4)?.try_into().ok()?) as usize;
    (1..=RECORD_BYTES_MAX).contains(&length).then_some(length + HEADER_BYTES)
}

/// Reads what a checked frame holds; `None` if this build does not know its version.
pub(super) fn decode(frame: &[u8]) -> Option<Record> {
    match frame.get(HEADER_BYTES)? {
        1 => postcard::from_bytes(&frame[HEADER_BYTES + 1..]).ok(),
        _ => None,
    }
}

/// The keys an event is known by: its id, and its name with its transaction. Refunds go by their id alone, as one
/// transaction may have several.
pub(super) fn dedupe_keys(event: &SealedEvent) -> Vec<u64> {
    let mut keys = vec![key(&[b"id", event.event_id.as_str().as_bytes()])];
    if let Some(transaction) = business_key(event) {
        keys.push(key(&[b"tx", event.name.as_str().as_bytes(), transaction.as_str().as_bytes()]));
    }
    keys
}

/// The transaction by which two reports with different ids are still one conversion.
pub(super) fn business_key(event: &SealedEvent) -> Option<&TransactionId> {
    event.transaction_id.as_ref().filter(|_| !EventName::is_refund(&event.name))
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
