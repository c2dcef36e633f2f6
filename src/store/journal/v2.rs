//! Records as version 2 wrote them: events without the choice of their clicks. They are only read: what is written again is
//! written in the newest form.

use std::net::IpAddr;

use serde::Deserialize;

use super::record::{Again, Record};
use crate::{
    model::{
        ActionSource, Attempt, Attribution, Awaited, ClickId, Consent, Context, Cookies, DestinationId, EventId,
        EventName, FileMark, Item, JoinedBy, Money, NewDelivery, Properties, SealedEvent, SealedUser, Sensitive,
        SourceName, Time, TransactionId, VisitorId,
    },
    store::{Answer, Cause, Exhibit, OperatorPause, Step},
};

/// An event of versions 1 and 2.
#[derive(Deserialize)]
pub(super) struct SealedEventV2 {
    source: SourceName,
    name: EventName,
    event_id: EventId,
    time: Time,
    received_at: Time,
    visitor_id: Option<VisitorId>,
    joined_by: Option<JoinedBy>,
    transaction_id: Option<TransactionId>,
    money: Option<Money>,
    action_source: ActionSource,
    items: Vec<Item>,
    user: SealedUser,
    context: ContextV2,
    attribution: Attribution,
    consent: Consent,
    properties: Properties,
}

#[derive(Deserialize)]
struct ContextV2 {
    ip: Option<Sensitive<IpAddr>>,
    user_agent: Option<Sensitive<String>>,
    url: Option<Sensitive<String>>,
    referrer: Option<Sensitive<String>>,
    clicks: Vec<ClickId>,
    cookies: Cookies,
}

impl From<SealedEventV2> for SealedEvent {
    fn from(old: SealedEventV2) -> Self {
        let ContextV2 { ip, user_agent, url, referrer, clicks, cookies } = old.context;
        Self {
            source: old.source,
            name: old.name,
            event_id: old.event_id,
            time: old.time,
            received_at: old.received_at,
            visitor_id: old.visitor_id,
            joined_by: old.joined_by,
            transaction_id: old.transaction_id,
            money: old.money,
            action_source: old.action_source,
            items: old.items,
            user: old.user,
            context: Context { ip, user_agent, url, referrer, clicks, cookies, choices: Vec::new() },
            attribution: old.attribution,
            consent: old.consent,
            properties: old.properties,
            change: None,
        }
    }
}

/// The variants of [`Record`], in its order.
#[derive(Deserialize)]
pub(super) enum RecordV2 {
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
        completed: bool,
    },
    Settled {
        destination: DestinationId,
        at: Time,
        attempt: Option<Attempt>,
        steps: Vec<(u64, Step)>,
        mark: Option<FileMark>,
        exhibits: Vec<(u64, Exhibit)>,
    },
    Requeued {
        destination: DestinationId,
        at: Time,
        due: Time,
        cause: Cause,
        deliveries: Vec<Again>,
    },
    Discarded {
        destination: DestinationId,
        at: Time,
        reason: String,
        places: Vec<u64>,
    },
    Spilled {
        from: DestinationId,
        to: DestinationId,
        at: Time,
        deliveries: Vec<(u64, Option<Again>)>,
    },
    Steered {
        destination: DestinationId,
        pause: Option<OperatorPause>,
    },
    Reported {
        destination: DestinationId,
        receipt: u64,
        answer: Answer,
    },
    Forgotten {
        at: Time,
        places: Vec<u64>,
        skipped: Vec<(DestinationId, u64)>,
    },
    Erased {
        places: Vec<u64>,
    },
}

impl From<RecordV2> for Record {
    fn from(old: RecordV2) -> Self {
        match old {
            RecordV2::Destinations { names, missed } => Self::Destinations { names, missed },
            RecordV2::Accepted { event, deliveries, waits_for } => {
                Self::Accepted { event: event.into(), deliveries, waits_for }
            }
            RecordV2::Changed { place, event, deliveries, deadlines, completed } => {
                Self::Changed { place, event: event.into(), deliveries, deadlines, completed }
            }
            RecordV2::Settled { destination, at, attempt, steps, mark, exhibits } => {
                Self::Settled { destination, at, attempt, steps, mark, exhibits }
            }
            RecordV2::Requeued { destination, at, due, cause, deliveries } => {
                Self::Requeued { destination, at, due, cause, deliveries }
            }
            RecordV2::Discarded { destination, at, reason, places } => {
                Self::Discarded { destination, at, reason, places }
            }
            RecordV2::Spilled { from, to, at, deliveries } => Self::Spilled { from, to, at, deliveries },
            RecordV2::Steered { destination, pause } => Self::Steered { destination, pause },
            RecordV2::Reported { destination, receipt, answer } => Self::Reported { destination, receipt, answer },
            RecordV2::Forgotten { at, places, skipped } => Self::Forgotten { at, places, skipped },
            RecordV2::Erased { places } => Self::Erased { places },
        }
    }
}
