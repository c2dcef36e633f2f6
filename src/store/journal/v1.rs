//! Records and checkpoints as version 1 wrote them. They are only read: what is written again is written in the newest form.

use serde::Deserialize;

use super::{book::Place, record::Record, v2::SealedEventV2};
use crate::{
    model::{Attempt, Awaited, DestinationId, Failure, FailureClass, FileMark, NewDelivery, Outcome, SkipReason, Time},
    store::{Counts, Step},
};

#[derive(Deserialize)]
pub(super) enum RecordV1 {
    Destinations {
        names: Vec<String>,
        missed: Vec<(DestinationId, u64)>,
    },
    Accepted {
        event: SealedEventV2,
        deliveries: Vec<NewDelivery>,
        waits_for: Option<Awaited>,
    },
    Changed {
        place: u64,
        event: SealedEventV2,
        deliveries: Vec<NewDelivery>,
        deadlines: Vec<(DestinationId, Time)>,
        _pending: u16,
        completed: bool,
    },
    Settled {
        destination: DestinationId,
        at: Time,
        attempt: Option<AttemptV1>,
        steps: Vec<(u64, StepV1)>,
        mark: Option<FileMark>,
    },
}

#[derive(Deserialize)]
pub(super) struct AttemptV1 {
    at: Time,
    status: Option<u16>,
    trace_id: Option<String>,
    duration_ms: u32,
}

#[derive(Deserialize)]
pub(super) enum StepV1 {
    Ended(OutcomeV1),
    Again { due: Time, failure: Failure },
}

#[derive(Deserialize)]
pub(super) enum OutcomeV1 {
    Delivered,
    Skipped(SkipReason),
    Dead(Failure),
    Expired,
}

impl From<RecordV1> for Record {
    fn from(old: RecordV1) -> Self {
        match old {
            RecordV1::Destinations { names, missed } => Self::Destinations { names, missed },
            RecordV1::Accepted { event, deliveries, waits_for } => {
                Self::Accepted { event: event.into(), deliveries, waits_for }
            }
            RecordV1::Changed { place, event, deliveries, deadlines, completed, .. } => {
                Self::Changed { place, event: event.into(), deliveries, deadlines, completed }
            }
            RecordV1::Settled { destination, at, attempt, steps, mark } => {
                let steps = steps.into_iter().map(|(place, step)| (place, step.into())).collect();
                Self::Settled { destination, at, attempt: attempt.map(Into::into), steps, mark, exhibits: Vec::new() }
            }
        }
    }
}

impl From<AttemptV1> for Attempt {
    fn from(AttemptV1 { at, status, trace_id, duration_ms }: AttemptV1) -> Self {
        Self { at, status, trace_id, duration_ms, receipt: false }
    }
}

impl From<StepV1> for Step {
    fn from(old: StepV1) -> Self {
        match old {
            StepV1::Again { due, failure } => Self::Again { due, failure, unknown: false },
            StepV1::Ended(OutcomeV1::Delivered) => Self::Ended(Outcome::Delivered),
            StepV1::Ended(OutcomeV1::Skipped(reason)) => Self::Ended(Outcome::Skipped(reason)),
            StepV1::Ended(OutcomeV1::Expired) => Self::Ended(Outcome::Expired),
            StepV1::Ended(OutcomeV1::Dead(failure)) => {
                Self::Ended(Outcome::Dead { class: FailureClass::Event, failure })
            }
        }
    }
}

/// The checkpoint of version 1.
#[derive(Deserialize)]
pub(super) struct SnapshotV1 {
    pub(super) next_segment: u32,
    pub(super) names: Vec<String>,
    pub(super) accepted: u64,
    pub(super) queues: Vec<QueueV1>,
    pub(super) tracked: Vec<(Place, TrackedV1)>,
    pub(super) segments: Vec<(u32, SegmentV1)>,
}

#[derive(Deserialize)]
pub(super) struct QueueV1 {
    pub(super) ready: Vec<u64>,
    pub(super) later: Vec<(Time, Place, u16)>,
    pub(super) ended: Counts,
    pub(super) mark: Option<FileMark>,
}

#[derive(Deserialize)]
pub(super) struct TrackedV1 {
    pub(super) pending: u16,
    pub(super) waits_for: Option<Awaited>,
    pub(super) changed: Option<Place>,
}

#[derive(Deserialize)]
pub(super) struct SegmentV1 {
    pub(super) pending: u64,
    pub(super) dead: u64,
    pub(super) last: Time,
}
