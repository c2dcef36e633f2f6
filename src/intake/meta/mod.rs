//! Meta's own API, so that Meta's SDKs and whatever posts to Meta today can post here: `POST /v{N.N}/{pixel_id}/events` as
//! the Graph API takes it, `POST /capi/{pixel_id}/events` as a Conversions API Gateway does. The access token is a key of
//! `[intake]`. One unsound event refuses the whole request, as at Meta, and says which.
//!
//! Source: facebook_business 26.0.3 and facebook-nodejs-business-sdk 24.0.1 as they are
//! sent, read 2026-11-20.

mod answer;
mod event;
mod multipart;
mod names;
mod request;
#[cfg(test)]
mod tests;
mod user;

use axum::{
    Extension, Router,
    body::Body,
    extract::{Path, RawQuery, State},
    http::HeaderMap,
    response::{IntoResponse as _, Response},
    routing::post,
};
use serde_json::{Map, Value};

use super::{Intake, read::read_draft};
use crate::{
    model::{RawEvent, SourceName, Time},
    store::{Accepted, StoreError},
    web::{Problem, RequestId, read_body},
};
use answer::{Refused, Shape};
use request::Posted;

/// What an answer says of a request with `test_event_code`.
const TESTED: &str = "test_event_code is set: the events were checked, and nothing of them was stored or delivered";

pub(super) fn router(intake: Intake) -> Router {
    Router::new()
        .route("/{version}/{pixel_id}/events", post(graph))
        .route("/capi/{pixel_id}/events", post(gateway))
        .with_state(intake)
}

async fn graph(
    State(intake): State<Intake>,
    Path((version, pixel_id)): Path<(String, String)>,
    RawQuery(query): RawQuery,
    id: Option<Extension<RequestId>>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let number = version.strip_prefix('v').and_then(|number| number.split_once('.'));
    if !number.is_some_and(|(major, minor)| is_digits(major) && is_digits(minor)) {
        return Problem::not_found().into_response();
    }
    let request = Request { shape: Shape::Graph, pixel_id, query, headers, body };
    request.answer(&intake, id).await
}

async fn gateway(
    State(intake): State<Intake>,
    Path(pixel_id): Path<String>,
    RawQuery(query): RawQuery,
    id: Option<Extension<RequestId>>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let request = Request { shape: Shape::Gateway, pixel_id, query, headers, body };
    request.answer(&intake, id).await
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// A request in one of Meta's shapes.
struct Request {
    shape: Shape,
    pixel_id: String,
    query: Option<String>,
    headers: HeaderMap,
    body: Body,
}

/// What became of a request that was not refused.
struct Taken {
    received: usize,
    message: Option<&'static str>,
}

impl Request {
    async fn answer(self, intake: &Intake, id: Option<Extension<RequestId>>) -> Response {
        let trace = id.map_or_else(RequestId::mint, |Extension(id)| id).to_string();
        let shape = self.shape;
        match self.take(intake, &trace).await {
            Ok(taken) => answer::received(shape, taken.received, taken.message, &trace),
            Err(refused) => refused.answer(&trace),
        }
    }

    async fn take(self, intake: &Intake, trace: &str) -> Result<Taken, Refused> {
        let now = intake.clock.now();
        let anonymous = |refused: Refused| {
            // Anybody can have himself refused: that may not fill the disk.
            tracing::debug!(trace, reason = refused.reason, "refused a request in Meta's form");
            refused
        };
        let Self { pixel_id, query, headers, body, .. } = self;
        let body = read_body(body, intake.body_bytes_max).await.map_err(|problem| anonymous(problem.into()))?;
        if !is_digits(&pixel_id) {
            return Err(anonymous(Refused::no_such_pixel()));
        }
        let (source, posted) = believed(intake, query.as_deref(), &headers, &body).map_err(anonymous)?;
        intake.tally.came(&source, now);
        let refuse = |refused: Refused, events: usize| {
            for _ in 0..events {
                intake.pipeline.metrics.answered(&source, "rejected");
            }
            intake.tally.refused(&source, now, Some(trace), refused.reason, &refused.message);
            refused
        };
        let posted = posted.map_err(|refused| refuse(refused, 1))?;
        let is_test = posted.is_test();
        let data = posted.data(intake.batch_max).map_err(|refused| refuse(refused, 1))?;
        let events = data.iter().enumerate().map(|(place, event)| read(place, event, &source, now, trace));
        let events = events.collect::<Result<Vec<_>, _>>().map_err(|refused| refuse(refused, data.len()))?;
        let received = events.len();
        if is_test {
            events.iter().for_each(|event| intake.tally.ignored(&source, event.name.as_str(), "test event"));
            return Ok(Taken { received, message: Some(TESTED) });
        }
        match accept(intake, &source, events).await? {
            None => Ok(Taken { received, message: None }),
            Some(place) => Err(refuse(Refused::id_in_use(place), 0)),
        }
    }
}

/// Whose token the request carries, and what it posts: nothing of it is kept before the token is known.
fn believed(
    intake: &Intake,
    query: Option<&str>,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<(SourceName, Result<Posted, Refused>), Refused> {
    let token = request::token(query, headers, body)?.ok_or_else(Refused::no_token)?;
    let owner = intake.keys.owner_of(&token).ok_or_else(Refused::unknown_token)?;
    Ok((owner, request::read(query, headers, body)))
}

/// One event, checked. What is optional and unsound is left out, and logged.
fn read(
    place: usize,
    event: &Map<String, Value>,
    source: &SourceName,
    now: Time,
    trace: &str,
) -> Result<RawEvent, Refused> {
    let left_out = |detail: &str| tracing::warn!(%source, trace, place, detail, "left out a field of an event");
    let (draft, notes) = event::draft(event).map_err(|refused| refused.of_event(place))?;
    notes.iter().for_each(|note| left_out(note));
    let (event, problems) = read_draft(draft, source, now);
    // Meta refuses one from the future, and its giver can correct it.
    if let Some(problem) = problems.iter().find(|problem| problem.pointer.as_deref() == Some("/time")) {
        return Err(Refused::of_field(problem).of_event(place));
    }
    problems.iter().for_each(|problem| left_out(&problem.detail));
    event.map_err(|problem| Refused::of_field(&problem).of_event(place))
}

/// Makes the events durable. The place of one whose id is that of another event, and cannot be told apart from it.
async fn accept(intake: &Intake, source: &SourceName, events: Vec<RawEvent>) -> Result<Option<usize>, StoreError> {
    let answers = intake.pipeline.accept(events.clone()).await?;
    let count = |answers: &[Accepted]| {
        let known = answers.iter().filter(|answer| matches!(answer, Accepted::Duplicate(_))).count();
        let refused = answers.iter().filter(|answer| matches!(answer, Accepted::Conflict(_))).count();
        intake.tally.took(source, answers.len() - known - refused, known);
    };
    count(&answers);
    // Meta tells events apart by name and id together, so that a page may use one id for all it reports.
    let (mut places, mut again) = (Vec::new(), Vec::new());
    for (place, (mut event, answer)) in events.into_iter().zip(answers).enumerate() {
        let Accepted::Conflict(_) = answer else { continue };
        let Ok(shared) = event.event_id.shared(event.name.as_str()) else { return Ok(Some(place)) };
        event.event_id = shared;
        places.push(place);
        again.push(event);
    }
    if again.is_empty() {
        return Ok(None);
    }
    let answers = intake.pipeline.accept(again).await?;
    count(&answers);
    Ok(places
        .into_iter()
        .zip(answers)
        .find(|(_, answer)| matches!(answer, Accepted::Conflict(_)))
        .map(|(place, _)| place))
}
