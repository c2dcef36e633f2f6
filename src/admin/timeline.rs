//! The timeline of one event as JSON. Nothing in it tells who the person is.

use serde_json::{Value, json};

use super::Admin;
use crate::{
    delivery::State,
    model::{ClickChoice, ClickId, Failure, FailureClass, IdentityKey, NewState, Outcome, SealedEvent, Time, Utm},
    store::{Cause, DeliveryHistory, Note, Step, Timeline},
};

pub(super) fn render(timeline: &Timeline, admin: &Admin) -> Value {
    let event = &timeline.event;
    let deliveries: Vec<Value> = timeline.deliveries.iter().map(|history| delivery(event, history, admin)).collect();
    let mut shown = head(event);
    shown["seen_by_browser"] = browser_saw(event, admin).map(|at| at.to_string()).into();
    shown["deliveries"] = deliveries.into();
    shown
}

/// When the visitor's browser told of the same conversion; `None` if it did not, or nobody may know.
fn browser_saw(event: &SealedEvent, admin: &Admin) -> Option<Time> {
    let transaction = event.transaction_id.as_ref().filter(|_| !event.name.is_change())?;
    let key = IdentityKey::of_conversion(event.name.as_str(), transaction.as_str());
    // One whose record is damaged is as good as unknown.
    let (visitor, _) = admin.stores.visits.find_by(&[key]).ok()??;
    let mut actions = visitor.actions.iter().filter(|action| action.transaction == Some(key.digest));
    actions.next().map(|action| action.at)
}

/// What is told of an event wherever it is told.
pub(super) fn head(event: &SealedEvent) -> Value {
    let touch =
        |touch: &Option<(Time, Utm)>| touch.as_ref().map(|(at, utm)| json!({ "at": at.to_string(), "utm": utm }));
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
            "clicks": clicks(&event.context.clicks),
            "choices": event.context.choices.iter().map(choice).collect::<Vec<_>>(),
            "first": touch(&event.attribution.first),
            "last": touch(&event.attribution.last),
        },
    })
}

/// What a destination's rule chose for a platform, and why.
fn choice(choice: &ClickChoice) -> Value {
    json!({
        "platform": choice.platform, "click": choice.rule.credit, "window_s": choice.rule.window_s,
        "exclusive": choice.rule.exclusive, "clicked_at": choice.at.map(|at| at.to_string()), "reason": choice.reason,
        "of": choice.of,
    })
}

/// Clicks and when they were seen.
pub(super) fn clicks(clicks: &[ClickId]) -> Value {
    let click = |click: &ClickId| {
        let (first, last) = (click.first_seen.map(|at| at.to_string()), click.last_seen.to_string());
        json!({ "kind": click.kind, "value": click.value, "first_seen": first, "last_seen": last })
    };
    clicks.iter().map(click).collect()
}

fn delivery(event: &SealedEvent, history: &DeliveryHistory, admin: &Admin) -> Value {
    let place = admin.places.iter().find(|place| place.id == history.destination);
    let name = place.map_or("(no longer configured)", |place| place.name.as_str());
    let (state, reason, class) = match &history.outcome {
        None => match place.map(|place| admin.state(place)) {
            Some(State::Paused { reason, .. }) => {
                ("queued", Some(format!("destination paused: {}", reason.code)), None)
            }
            Some(State::Stopped(_)) => ("queued", Some("destination paused by its operator".to_owned()), None),
            Some(State::Active) | None => ("queued", waiting_for(history), None),
        },
        Some(Outcome::Delivered) => ("delivered", None, None),
        Some(Outcome::Skipped(reason)) => ("skipped", Some(reason.as_str().to_owned()), None),
        Some(Outcome::Expired) => ("expired", Some("past the platform's age limit".to_owned()), None),
        Some(Outcome::Dead { class, failure }) => ("dead", Some(failure.code.clone()), Some(class.as_str())),
    };
    let deadline = match history.start {
        NewState::Queued { deadline, .. } => Some(deadline.to_string()),
        NewState::Skipped(_) | NewState::Expired => None,
    };
    let sent = history.outcome.is_none() || history.attempts.iter().any(|(attempt, _)| attempt.is_some());
    let evidence = place.filter(|_| sent).map(|place| place.destination.evidence(event));
    let remark = place.filter(|_| sent).and_then(|place| place.destination.note(event));
    json!({
        "destination": name, "state": state, "reason": reason, "class": class,
        "due_at": history.due.map(|due| due.to_string()), "deadline": deadline, "attempts": attempts(history),
        "waits": waits(history), "notes": notes(history), "evidence": evidence, "remark": remark,
    })
}

/// Each request that carried it, or end without one, and what followed.
pub(super) fn attempts(history: &DeliveryHistory) -> Value {
    let attempt = |(attempt, step): &(Option<crate::model::Attempt>, Step)| {
        let (verdict, failure, unknown): (_, Option<&Failure>, _) = match step {
            Step::Ended(Outcome::Delivered) => ("delivered", None, false),
            Step::Ended(Outcome::Skipped(_)) => ("skipped", None, false),
            Step::Ended(Outcome::Expired) => ("expired", None, false),
            // Nobody refused it: it may have arrived, and it is too late to find out by sending it again.
            Step::Ended(Outcome::Dead { class: FailureClass::Unknown, failure }) => ("unknown", Some(failure), true),
            Step::Ended(Outcome::Dead { failure, .. }) => ("rejected", Some(failure), false),
            Step::Again { failure, unknown, .. } => ("retry", Some(failure), *unknown),
            Step::Wait { .. } | Step::Sending => return None,
        };
        Some(json!({
            "at": attempt.as_ref().map(|attempt| attempt.at.to_string()),
            "status": attempt.as_ref().and_then(|attempt| attempt.status),
            "verdict": verdict,
            "code": failure.map(|failure| &failure.code),
            "field": failure.and_then(|failure| failure.field.as_ref()),
            "message": failure.map(|failure| &failure.message),
            "trace_id": attempt.as_ref().and_then(|attempt| attempt.trace_id.as_ref()),
            "duration_ms": attempt.as_ref().map(|attempt| attempt.duration_ms),
            // The platform may have got it, though no answer said so.
            "unknown": unknown,
            // The answer was a receipt; what became of it is reported later, see notes.
            "receipt": attempt.as_ref().is_some_and(|attempt| attempt.receipt),
        }))
    };
    history.attempts.iter().filter_map(attempt).collect()
}

/// Each time that nothing was to be sent before, and what for.
fn waits(history: &DeliveryHistory) -> Value {
    let wait = |reason: &str, until: Time| json!({ "reason": reason, "until": until.to_string() });
    let first = match history.start {
        NewState::Queued { due, wait: Some(reason), .. } => Some(wait(reason.as_str(), due)),
        NewState::Queued { .. } | NewState::Skipped(_) | NewState::Expired => None,
    };
    let later = history.attempts.iter().filter_map(|(_, step)| match step {
        Step::Wait { due, reason } => Some(wait(reason.as_str(), *due)),
        Step::Again { due, .. } => Some(wait("retry", *due)),
        Step::Ended(_) | Step::Sending => None,
    });
    first.into_iter().chain(later).collect()
}

/// What else happened to it.
pub(super) fn notes(history: &DeliveryHistory) -> Value {
    let note = |note: &Note| match note {
        Note::Requeued { at, cause } => {
            let cause = match cause {
                Cause::Operator => "operator",
                Cause::Report => "report",
                Cause::Spilled => "spilled",
            };
            json!({ "what": "requeued", "at": at.to_string(), "cause": cause })
        }
        Note::Discarded { at, reason } => json!({ "what": "discarded", "at": at.to_string(), "reason": reason }),
        Note::Reported(report) => json!({
            "what": "reported", "at": report.at.to_string(), "status": report.status, "taken": report.taken,
            "counts": report.counts.iter().map(|(reason, count)| (reason.clone(), Value::from(*count))).collect::<serde_json::Map<_, _>>(),
            "again": report.again.map(|at| at.to_string()), "resend": report.resend.map(|at| at.to_string()),
        }),
    };
    history.notes.iter().map(note).collect()
}

fn waiting_for(history: &DeliveryHistory) -> Option<String> {
    match (history.attempts.last(), history.start) {
        (Some((_, Step::Again { failure, .. })), _) => Some(format!("retry after {}", failure.code)),
        (Some((_, Step::Wait { reason, .. })), _) if history.due.is_some() => Some(reason.as_str().to_owned()),
        (_, NewState::Queued { wait: Some(reason), .. }) if history.due.is_some() => Some(reason.as_str().to_owned()),
        _ => None,
    }
}
