//! What comes after a delivery's end: dead letters and replay, late reports, handing over, forgetting, the audit.

use std::{collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize};

use super::{Counts, Exhibit};
use crate::model::{Attempt, DestinationId, IdentityKey, Outcome, SealedEvent, Time, VisitorId};

/// Where the delivery of an earlier event stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Waiting or in flight.
    Queued,
    /// The platform has it.
    Delivered,
    /// Dead, and not discarded: the operator may yet send it.
    Dead,
    /// Ended otherwise, or never meant for this destination.
    Over,
}

/// A destination that its operator stopped: nothing is sent, not even a probe, until he lets it go on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperatorPause {
    /// Why, in his words; may be empty.
    pub reason: String,
    /// Since when.
    pub since: Time,
}

/// A delivery that has ended.
#[derive(Clone, Debug)]
pub struct Ended {
    /// The event, by the store's own numbering; grows with the time of acceptance.
    pub number: u64,
    /// The event as it would be sent now.
    pub event: SealedEvent,
    /// How it ended.
    pub outcome: Outcome,
    /// When it ended.
    pub at: Time,
    /// The request that it ended with.
    pub attempt: Option<Attempt>,
    /// That request and its answer, of a dead letter.
    pub exhibit: Option<Exhibit>,
}

/// Why ended deliveries are queued again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Cause {
    /// The operator wants it.
    Operator,
    /// The platform reported later that they came too early.
    Report,
    /// Another destination handed them over.
    Spilled,
}

/// Ended deliveries to be queued again, under the ids they had, with attempts counted from nothing.
#[derive(Clone, Debug)]
pub struct Requeue {
    /// Whose.
    pub destination: DestinationId,
    /// The events, each with its deadline.
    pub events: Vec<(u64, Time)>,
    /// When.
    pub at: Time,
    /// When they are due.
    pub due: Time,
}

/// Whether a destination would take an event.
pub type Takes = Arc<dyn Fn(&SealedEvent) -> bool + Send + Sync>;

/// What handing over to an import file came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spill {
    /// Handed over.
    pub moved: u64,
    /// Left where they are: in flight, or the platform may have them already, or the file would not take them.
    pub left: u64,
}

/// A request whose events the platform reports on later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// By the store's own numbering.
    pub number: u64,
    /// The platform's id of it.
    pub trace_id: String,
    /// When it was sent.
    pub sent_at: Time,
    /// How often the platform was asked.
    pub asked: u16,
}

/// What asking about a receipt came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// When.
    pub at: Time,
    /// The platform's word, or why there is none.
    pub status: String,
    /// Events taken.
    pub taken: u64,
    /// Events not taken, or warned of, by reason.
    pub counts: Vec<(String, u64)>,
    /// When to ask again; `None`: this is final.
    pub again: Option<Time>,
    /// The events are queued again, due at this time.
    pub resend: Option<Time>,
}

/// What a platform reported on all receipts so far.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reported {
    /// Events taken.
    pub taken: u64,
    /// Events not taken, or warned of, by reason.
    pub counts: BTreeMap<String, u64>,
    /// Receipts still to be asked about.
    pub open: u64,
    /// Receipts that were never answered for.
    pub lost: u64,
}

/// Something in the history of a delivery that is no attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// It was queued again.
    Requeued {
        /// When.
        at: Time,
        /// Why.
        cause: Cause,
    },
    /// The operator gave it up.
    Discarded {
        /// When.
        at: Time,
        /// Why, in his words.
        reason: String,
    },
    /// The platform reported on the request that carried it.
    Reported(Answer),
}

/// What is to be forgotten: everything of these visitors, and everything with one of these identifiers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Forget {
    /// By visitor id.
    pub visitors: Vec<VisitorId>,
    /// By identifier.
    pub keys: Vec<IdentityKey>,
}

/// What forgetting came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Forgotten {
    /// Events whose person is forgotten.
    pub events: u64,
    /// Deliveries of theirs that were queued, and are skipped now.
    pub skipped: u64,
    /// The visitors these events named.
    pub visitors: Vec<VisitorId>,
}

/// What counting everything on disk came to, next to what is said all the time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Audit {
    /// Events counted on disk.
    pub events: u64,
    /// Where disk and balance differ: destination, by disk, by balance. Empty: all is well.
    pub drift: Vec<(DestinationId, Counts, Counts)>,
}
