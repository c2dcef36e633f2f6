//! The timeline of one event as JSON. Nothing in it tells who the person is.

use serde_json::{Value, json};

use crate::{
    delivery::{Place, State, Status},
    model::{NewState, Outcome, Time, Utm},
    store::{DeliveryHistory, Step, Timeline},
};

pub(super) fn render(timeline: &Timeline, places: &[Place], status: &Status) -> Value {
    let event = &timeline.event;
    let deliveries: Vec<Value> = timeline.deliveries.iter().map(|history| delivery(history, places, status)).collect();
    let touch =
        |touch: &Option<(Time, Utm)>| touch.as_ref().map(|(at, utm)| json!({ "at": at.to_string(), "utm": utm }));
    let clicks: Vec<Value> = event
        .context
        .clicks
        .iter()
        .map(|click| {
            let (first, last) = (click.first_seen.map(|at| at.to_string()), click.last_seen.to_string());
            json!({ "kind": click.kind, "value": click.value, "first_seen": first, "last_seen": last })
        })
        .collect();
    json!({
        "event_id": event.event_id,
        "event": event.name,
        "time": event.time.to_string(),
        "received_at": event.received_at.to_string(),
        "source": event.source,
        "transaction_id": event.transaction_id,
        "visitor_id": event.visitor_id,
        "joined_by": event.joined_by,
        "consent": event.consent,
        "attribution": {
            "clicks": clicks,
            "first": touch(&event.attribution.first),
            "last": touch(&event.attribution.last),
        },
        "deliveries": deliveries,
    })
}

fn delivery(history: &DeliveryHistory, places: &[Place], status: &Status) -> Value {
    let place = places.iter().find(|place| place.id == history.destination);
    let name = place.map_or("(no longer configured)", |place| place.name.as_str());
    let (state, reason) = match &history.outcome {
        None => match place.map(|place| status.of(&place.name)) {
            Some(State::Paused { reason, .. }) => ("queued", Some(format!("destination paused: {}", reason.code))),
            _ => ("queued", waiting_for(history)),
        },
        Some(Outcome::Delivered) => ("delivered", None),
        Some(Outcome::Skipped(reason)) => ("skipped", Some(reason.as_str().to_owned())),
        Some(Outcome::Expired) => ("expired", Some("past the platform's age limit".to_owned())),
        Some(Outcome::Dead { failure, .. }) => ("dead", Some(failure.code.clone())),
    };
    let deadline = match history.start {
        NewState::Queued { deadline, .. } => Some(deadline.to_string()),
        _ => None,
    };
    let attempts: Vec<Value> = history
        .attempts
        .iter()
        .map(|(attempt, step)| {
            let (verdict, failure) = match step {
                Step::Ended(Outcome::Delivered) => ("delivered", None),
                Step::Ended(Outcome::Skipped(_)) => ("skipped", None),
                Step::Ended(Outcome::Expired) => ("expired", None),
                Step::Ended(Outcome::Dead { failure, .. }) => ("rejected", Some(failure)),
                Step::Again { failure, .. } => ("retry", Some(failure)),
                Step::Wait { .. } => ("wait", None),
            };
            json!({
                "at": attempt.as_ref().map(|attempt| attempt.at.to_string()),
                "status": attempt.as_ref().and_then(|attempt| attempt.status),
                "verdict": verdict,
                "code": failure.map(|failure| &failure.code),
                "field": failure.and_then(|failure| failure.field.as_ref()),
                "message": failure.map(|failure| &failure.message),
                "trace_id": attempt.as_ref().and_then(|attempt| attempt.trace_id.as_ref()),
                "duration_ms": attempt.as_ref().map(|attempt| attempt.duration_ms),
            })
        })
        .collect();
    json!({
        "destination": name, "state": state, "reason": reason,
        "due_at": history.due.map(|due| due.to_string()), "deadline": deadline, "attempts": attempts,
    })
}

fn waiting_for(history: &DeliveryHistory) -> Option<String> {
    match (history.attempts.last(), history.start) {
        (Some((_, Step::Again { failure, .. })), _) => Some(format!("retry after {}", failure.code)),
        (_, NewState::Queued { wait: Some(reason), .. }) if history.due.is_some() => Some(reason.as_str().to_owned()),
        _ => None,
    }
}
