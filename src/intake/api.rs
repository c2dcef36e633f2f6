//! `POST /v1/events`: one event, a batch with an answer for each, or one event on each line (`ndjson`).

use axum::{
    Router,
    body::Body,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse as _, Response},
    routing::post,
};
use serde::Serialize;
use serde_json::value::RawValue;

use super::{
    Intake, ndjson,
    read::Reader,
    wire::{Batch, Post},
};
use crate::{
    model::{EventId, RawEvent, SourceName, Time},
    store::Accepted,
    web::{Problem, discard, read_body, read_json, require_json},
};

pub(super) fn router(intake: Intake) -> Router {
    Router::new().route("/v1/events", post(accept)).with_state(intake)
}

/// Reads one event as `POST /v1/events` does: for `conversion-relay preview`.
///
/// # Errors
/// The problem the API would answer.
pub fn read_event(body: &[u8], source: &SourceName, now: Time) -> Result<RawEvent, Problem> {
    let post: Post<'_> = read_json(body, "")?;
    Reader { base: "", source, now }.event(post)
}

#[derive(Serialize)]
pub(super) struct Answers {
    pub(super) results: Vec<Answer>,
}

/// What became of one event.
#[derive(Serialize)]
pub(super) struct Answer {
    /// The line it stood on, in a body that is read line by line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) line: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) event_id: Option<EventId>,
    pub(super) status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) problem: Option<Problem>,
}

impl Answer {
    pub(super) fn refused(event_id: Option<EventId>, problem: Problem) -> Self {
        Self { line: None, event_id, status: "rejected", problem: Some(problem) }
    }
}

async fn accept(State(intake): State<Intake>, headers: HeaderMap, body: Body) -> Result<Response, Problem> {
    let lines = ndjson::is_ndjson(&headers);
    let typed = || if lines { Ok(()) } else { require_json(&headers) };
    let source = match intake.keys.owner(&headers).and_then(|source| typed().map(|()| source)) {
        Ok(source) => source,
        Err(problem) => {
            // Anybody can have himself refused here: that may not fill the disk.
            tracing::debug!(detail = %problem.detail, "refused a request to /v1/events");
            discard(body).await;
            return Err(problem);
        }
    };
    intake.tally.came(&source, intake.clock.now());
    if lines {
        return Ok(ndjson::accept(&intake, &source, body).await);
    }
    let body = read_body(body, intake.body_bytes_max).await?;
    let mut post: Post<'_> = read_json(&body, "").inspect_err(|problem| refused(&intake, &source, problem))?;
    let now = intake.clock.now();
    let Some(events) = post.events.take() else { return single(&intake, &source, post, now).await };
    if !post.is_empty() {
        // Fields of a single event beside `events` are mistakes; reading them as a batch alone finds which.
        read_json::<Batch<'_>>(&body, "").inspect_err(|problem| refused(&intake, &source, problem))?;
    }
    batch(&intake, &source, events, now).await
}

pub(super) fn refused(intake: &Intake, source: &SourceName, problem: &Problem) {
    let Problem { kind, pointer, .. } = problem;
    tracing::debug!(%source, problem = kind, pointer, "refused an event");
    intake.pipeline.metrics.answered(source, "rejected");
    intake.tally.refused(source, intake.clock.now(), None, "invalid_event", &with_field(problem));
}

/// Why, behind the place that it is about.
fn with_field(problem: &Problem) -> String {
    let Problem { pointer, detail, .. } = problem;
    let field = pointer.as_deref().unwrap_or_default().trim_start_matches('/').replace('/', ".");
    let why = |named: &str| detail.strip_prefix(named)?.strip_prefix(": ");
    let last = field.rsplit('.').next().unwrap_or_default();
    match why(&field).or_else(|| why(last)) {
        _ if field.is_empty() => detail.to_string(),
        Some(why) => format!("{field}: {why}"),
        None => format!("{field}: {detail}"),
    }
}

pub(super) fn tally(intake: &Intake, source: &SourceName, answers: &[Answer]) {
    let count = |status| answers.iter().filter(|answer| answer.status == status).count();
    intake.tally.took(source, count("accepted"), count("duplicate"));
}

async fn single(intake: &Intake, source: &SourceName, post: Post<'_>, now: Time) -> Result<Response, Problem> {
    let event = Reader { base: "", source, now }.event(post).inspect_err(|problem| refused(intake, source, problem))?;
    let event_id = event.event_id.clone();
    let accepted = intake.pipeline.accept(vec![event]).await?;
    let accepted = accepted.into_iter().next().ok_or_else(Problem::internal)?;
    let answer = answer(event_id, accepted, "");
    tally(intake, source, std::slice::from_ref(&answer));
    match answer.problem {
        Some(problem) => Err(problem),
        None => Ok(json(StatusCode::ACCEPTED, &Answers { results: vec![answer] })),
    }
}

async fn batch(intake: &Intake, source: &SourceName, events: Vec<&RawValue>, now: Time) -> Result<Response, Problem> {
    if events.is_empty() || events.len() > intake.batch_max {
        let problem = Problem::invalid("/events", format!("events: must be 1 to {} events", intake.batch_max));
        refused(intake, source, &problem);
        return Err(problem);
    }
    let mut answers: Vec<Option<Answer>> = Vec::with_capacity(events.len());
    let mut sound = Vec::with_capacity(events.len());
    for (i, raw) in events.iter().enumerate() {
        let base = format!("/events/{i}");
        let read = read_json::<Post<'_>>(raw.get().as_bytes(), &base).and_then(|post| match post.events {
            None => Reader { base: &base, source, now }.event(post),
            Some(_) => Err(Problem::invalid(format!("{base}/events"), "events: a batch cannot hold another")),
        });
        match read {
            Ok(event) => {
                sound.push(event);
                answers.push(None);
            }
            Err(problem) => {
                refused(intake, source, &problem);
                answers.push(Some(Answer::refused(None, problem)));
            }
        }
    }
    let ids: Vec<EventId> = sound.iter().map(|event| event.event_id.clone()).collect();
    let accepted = if sound.is_empty() { Vec::new() } else { intake.pipeline.accept(sound).await? };
    let mut accepted = ids.into_iter().zip(accepted);
    let results: Vec<Answer> = answers
        .into_iter()
        .enumerate()
        .filter_map(|(i, refused)| {
            refused.or_else(|| accepted.next().map(|(id, done)| answer(id, done, &format!("/events/{i}"))))
        })
        .collect();
    tally(intake, source, &results);
    Ok(json(status(&results), &Answers { results }))
}

/// The status that says whether all, some or none of the events were taken.
pub(super) fn status(results: &[Answer]) -> StatusCode {
    match results.iter().filter(|answer| answer.problem.is_some()).count() {
        0 => StatusCode::ACCEPTED,
        n if n == results.len() => StatusCode::UNPROCESSABLE_ENTITY,
        _ => StatusCode::MULTI_STATUS,
    }
}

pub(super) fn answer(event_id: EventId, accepted: Accepted, base: &str) -> Answer {
    match accepted {
        Accepted::New => Answer { line: None, event_id: Some(event_id), status: "accepted", problem: None },
        // The id it is known by: where the timeline is found.
        Accepted::Duplicate(known) => Answer { line: None, event_id: Some(known), status: "duplicate", problem: None },
        // The known conversion with another value: what was accepted is the restatement of it.
        Accepted::Restates(restatement) => {
            Answer { line: None, event_id: Some(restatement.event_id), status: "accepted", problem: None }
        }
        Accepted::Conflict(name) => {
            Answer::refused(Some(event_id), Problem::id_conflict(format!("{base}/event_id"), name.as_str()))
        }
    }
}

pub(super) fn json(status: StatusCode, answers: &Answers) -> Response {
    match serde_json::to_vec(answers) {
        Ok(body) => (status, [(header::CONTENT_TYPE, "application/json")], body).into_response(),
        Err(_) => Problem::internal().into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_the_place_once() {
        let told = |pointer: &str, detail: &str| with_field(&Problem::invalid(pointer, detail));
        assert_eq!(told("/amount", "this field is not known here"), "amount: this field is not known here");
        assert_eq!(told("/events/2/currency", "currency: is missing"), "events.2.currency: is missing");
        assert_eq!(told("/user/email", "user.email: is too long"), "user.email: is too long");
        assert_eq!(told("", "must be an object"), "must be an object");
    }
}
