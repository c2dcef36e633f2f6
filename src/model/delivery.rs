//! Deliveries: one event for one destination, from queued to its one outcome.

use serde::{Deserialize, Serialize};

use super::{Awaited, SealedEvent, Time};

/// A destination inside one store: small, assigned when its name is first seen, never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct DestinationId(pub u16);

/// Why a delivery is not even tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SkipReason {
    /// The destination maps no such event.
    Unmapped,
    /// The destination does not take from this source.
    Source,
    /// The visitor said no, or said nothing and the destination wants a yes.
    Consent,
    /// Nothing in the event could be matched to anybody at the platform.
    NoIdentifiers,
    /// The destination was configured after the event came.
    NotConfigured,
    /// It changes a conversion that this destination cannot have got from us.
    NoOriginal,
    /// The destination takes only what another one hands over to it.
    Fallback,
    /// Handed over to an import file, by its operator.
    Spilled,
    /// The person it is about was forgotten.
    Forgotten,
}

impl SkipReason {
    /// The word for it in logs, metrics and the timeline.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unmapped => "unmapped",
            Self::Source => "source",
            Self::Consent => "consent",
            Self::NoIdentifiers => "no_identifiers",
            Self::NotConfigured => "not_configured",
            Self::NoOriginal => "no_original",
            Self::Fallback => "fallback",
            Self::Spilled => "spilled",
            Self::Forgotten => "forgotten",
        }
    }
}

/// What a queued delivery waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WaitReason {
    /// For the visit that the event names.
    Visit,
    /// For the platform to know the click.
    ClickTooRecent,
    /// For the next try.
    Retry,
    /// For the conversion that it changes to be there first.
    Original,
    /// For the platform to take changes of the conversion, which it does only when that is old enough.
    ConversionTooRecent,
    /// For its source to tell what it left out.
    Lookup,
}

impl WaitReason {
    /// The word for it in logs, metrics and the timeline.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Visit => "wait_for_visit",
            Self::ClickTooRecent => "hold_after_click",
            Self::Retry => "retry",
            Self::Original => "wait_for_original",
            Self::ConversionTooRecent => "conversion_too_recent",
            Self::Lookup => "wait_for_lookup",
        }
    }
}

/// How a delivery starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum NewState {
    /// To be sent.
    Queued {
        /// When it becomes due.
        due: Time,
        /// When the platform stops taking it.
        deadline: Time,
        /// Why it is not due at once.
        wait: Option<WaitReason>,
    },
    /// Settled before it began.
    Skipped(SkipReason),
    /// The platform's age limit had passed when it came.
    Expired,
}

/// A delivery to be stored with its event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewDelivery {
    /// Where to.
    pub destination: DestinationId,
    /// How it starts.
    pub state: NewState,
}

/// An event with one delivery for each destination: stored together or not at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewEvent {
    /// The event.
    pub event: SealedEvent,
    /// Its deliveries.
    pub deliveries: Vec<NewDelivery>,
    /// What is not known yet; its arrival completes the event.
    pub waits_for: Option<Awaited>,
}

/// What a platform, or our own check, had against one event. Never holds personal data.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The platform's code, or one of ours.
    pub code: String,
    /// The field it names.
    pub field: Option<String>,
    /// Its text, cut to a sensible length.
    pub message: String,
}

/// Whose fault a dead letter is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureClass {
    /// The event's: it can never be accepted as it is.
    #[default]
    Event,
    /// Our settings': another event like it fares the same until they are corrected.
    Settings,
    /// Nobody knows whether the platform has it, and it is too late to send it again without counting it twice.
    Unknown,
}

impl FailureClass {
    /// All there are.
    pub const ALL: [Self; 3] = [Self::Event, Self::Settings, Self::Unknown];

    /// The word for it in logs, metrics and the admin API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Event => "event",
            Self::Settings => "settings",
            Self::Unknown => "unknown",
        }
    }
}

/// How a delivery ended. There is exactly one for each event and destination.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// The platform confirmed it.
    Delivered,
    /// It was not to be sent.
    Skipped(SkipReason),
    /// It was given up.
    Dead {
        /// Whose fault it is.
        class: FailureClass,
        /// What it failed of.
        failure: Failure,
    },
    /// The platform's age limit passed.
    Expired,
}

/// One request that carried a delivery.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// When it was sent.
    pub at: Time,
    /// HTTP status; `None` if there was no answer.
    pub status: Option<u16>,
    /// The platform's id of the request.
    pub trace_id: Option<String>,
    /// From sending to the end of the answer.
    pub duration_ms: u32,
    /// The answer was a receipt only: what became of the events is asked for later, by `trace_id`.
    pub receipt: bool,
}

/// How far an import file is settled: what is behind that place was written but never recorded, and is cut off at start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileMark {
    /// The file's name inside its directory.
    pub file: String,
    /// Its settled length in bytes.
    pub length: u64,
}
