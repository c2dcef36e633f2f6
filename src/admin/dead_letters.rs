//! `/v1/dead-letters`: list, show, replay, discard.

use axum::{
    body::Body,
    extract::{Path, RawQuery, State},
    http::HeaderMap,
    response::Response,
};
use serde_json::{Value, json};

use super::{
    Admin,
    again::Again,
    answer,
    asked::Asked,
    finished,
    letters::{Cursor, Filter, Letters, Missing},
    sealed, timeline,
};
use crate::{
    delivery::Place,
    model::{EventId, FailureClass, Outcome},
    store::{Ended, Note},
    web::Problem,
};

/// Dead letters in one list.
const LIMIT_MAX: u64 = 1000;
/// Dead letters in one list, unless asked for otherwise.
const LIMIT: u64 = 100;
/// Dead letters looked at for one list; where it ends, `next` says.
const LOOKED_AT_MAX: usize = 10_000;

/// `GET /v1/dead-letters`
pub(super) async fn list(State(admin): State<Admin>, RawQuery(query): RawQuery) -> Result<Response, Problem> {
    let mut asked = Asked::query(query.as_deref())?;
    let filter = Filter::of(&mut asked)?;
    let limit = asked.number("limit", 1..=LIMIT_MAX)?.unwrap_or(LIMIT);
    let after = asked.parsed("after", "the next of an earlier answer", Cursor::parse)?;
    asked.finish()?;
    let mut letters = Letters::new(&admin, &filter, after)?;
    let (mut found, mut looked_at, mut last, mut next) = (Vec::new(), 0, None, None);
    'all: while let Some((place, chunk)) = letters.next().await? {
        for ended in &chunk {
            if found.len() as u64 == limit {
                next = last;
                break 'all;
            }
            if filter.matches(ended) {
                found.push(line(place, ended));
            }
            last = Some(Cursor::behind(place, ended));
        }
        looked_at += chunk.len();
        if looked_at >= LOOKED_AT_MAX {
            next = last;
            break;
        }
    }
    Ok(answer(&json!({ "dead_letters": found, "next": next.map(Cursor::text) })))
}

fn line(place: &Place, ended: &Ended) -> Value {
    let Outcome::Dead { class, failure } = &ended.outcome else { return Value::Null };
    let event = &ended.event;
    json!({
        "event_id": event.event_id, "destination": place.name, "class": class.as_str(), "code": failure.code,
        "field": failure.field, "message": failure.message, "at": ended.at.to_string(), "event": event.name,
        "source": event.source, "transaction_id": event.transaction_id, "received_at": event.received_at.to_string(),
        "deadline": place.destination.deadline(event).to_string(),
    })
}

/// `GET /v1/dead-letters/{event_id}`
pub(super) async fn show(
    State(admin): State<Admin>,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let mut asked = Asked::query(query.as_deref())?;
    let wanted = asked.destination("destination")?;
    asked.finish()?;
    let unknown =
        || Problem::unknown("no dead letter of this event is stored (any more); its timeline tells what became of it");
    let id = EventId::new(id).map_err(|_| unknown())?;
    let story = admin.stores.events.timeline(&id).await?.ok_or_else(unknown)?;
    if let Some(name) = &wanted {
        admin.place(name.as_str())?;
    }
    let mut found = Vec::new();
    for history in &story.deliveries {
        let Some(Outcome::Dead { class, failure }) = &history.outcome else { continue };
        let place = admin.places.iter().find(|place| place.id == history.destination);
        let Some(place) = place.filter(|place| wanted.as_ref().is_none_or(|name| *name == place.name)) else {
            continue;
        };
        let ended = stored(&admin, place, story.number).await?;
        let discarded = history.notes.iter().rev().find_map(|note| match note {
            Note::Discarded { at, reason } => Some(json!({ "at": at.to_string(), "reason": reason })),
            Note::Requeued { .. } | Note::Reported(_) => None,
        });
        let exhibit = ended.as_ref().and_then(|ended| ended.exhibit.as_ref());
        found.push(json!({
            "event_id": story.event.event_id,
            "destination": place.name,
            "class": class.as_str(),
            "code": failure.code,
            "field": failure.field,
            "message": failure.message,
            "at": ended.as_ref().map(|ended| ended.at.to_string()),
            "discarded": discarded,
            "deadline": place.destination.deadline(&story.event).to_string(),
            "request": exhibit.map(|exhibit| body(&exhibit.request)),
            "answer": exhibit.map(|exhibit| body(&exhibit.answer)),
            "attempts": timeline::attempts(history),
            "notes": timeline::notes(history),
        }));
    }
    if found.is_empty() {
        return Err(unknown());
    }
    Ok(answer(&json!({ "event": sealed::render(&story.event), "dead_letters": found })))
}

/// The dead letter of the event with this number at `place`; `None` if it was discarded.
async fn stored(admin: &Admin, place: &Place, number: u64) -> Result<Option<Ended>, Problem> {
    let next = admin.stores.events.dead_letters(place.id, number.saturating_sub(1), 1).await?;
    Ok(next.into_iter().find(|ended| ended.number == number))
}

/// A body as JSON, if it is that; else as text.
fn body(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| text.into())
}

/// `POST /v1/dead-letters/replay`
pub(super) async fn replay(State(admin): State<Admin>, headers: HeaderMap, given: Body) -> Result<Response, Problem> {
    let mut asked = Asked::body(&headers, given).await?;
    let filter = Filter::of_body(&mut asked)?;
    let limit = filter.limit(&mut asked)?;
    let (dry_run, force) = (asked.flag("dry_run")?, asked.flag("force")?);
    asked.finish()?;
    finished(async move {
        // What may be at the platform is sent again only if somebody asks for just that.
        let decided = force || filter.event_ids.is_some() || filter.class == Some(FailureClass::Unknown);
        let mut again = Again::new(&admin, dry_run, true);
        let (mut letters, mut missing) = (Letters::new(&admin, &filter, None)?, Missing::of(&filter));
        while let Some((place, mut chunk)) = letters.next().await? {
            chunk.retain(|ended| filter.matches(ended));
            missing.met(&chunk);
            chunk.truncate(usize::try_from(limit - again.counts().get("matched")).unwrap_or(usize::MAX));
            let all = chunk.len();
            if !decided {
                chunk.retain(|ended| !matches!(ended.outcome, Outcome::Dead { class: FailureClass::Unknown, .. }));
            }
            again.leave_undecided((all - chunk.len()) as u64);
            again.take(&admin, place, chunk).await?;
            if again.counts().get("matched") >= limit {
                break;
            }
        }
        let (matched, replayed) = (again.counts().get("matched"), again.counts().get("replayed"));
        tracing::info!(filter = filter.words(), dry_run, matched, replayed, "dead letters replayed by the operator");
        let mut answer = again.answer(Vec::new());
        answer["not_found"] = missing.into_json();
        Ok(answer)
    })
    .await
}

/// `POST /v1/dead-letters/discard`
pub(super) async fn discard(State(admin): State<Admin>, headers: HeaderMap, given: Body) -> Result<Response, Problem> {
    let mut asked = Asked::body(&headers, given).await?;
    let filter = Filter::of_body(&mut asked)?;
    let limit = filter.limit(&mut asked)?;
    let (dry_run, all) = (asked.flag("dry_run")?, asked.flag("all")?);
    let Some(reason) = asked.reason()? else {
        return Err(asked.wrong("reason", "is missing; discarded dead letters are gone for good, say why"));
    };
    if filter.is_empty() && !all {
        return Err(
            asked.wrong("all", "must be true to discard every dead letter there is; or give a filter or event_ids")
        );
    }
    asked.finish()?;
    finished(async move {
        let now = admin.clock.now();
        let (mut matched, mut discarded) = (0, 0);
        let (mut letters, mut missing) = (Letters::new(&admin, &filter, None)?, Missing::of(&filter));
        while let Some((place, mut chunk)) = letters.next().await? {
            chunk.retain(|ended| filter.matches(ended));
            missing.met(&chunk);
            let left = usize::try_from(limit - matched).unwrap_or(usize::MAX);
            let numbers: Vec<u64> = chunk.iter().take(left).map(|ended| ended.number).collect();
            matched += numbers.len() as u64;
            if !dry_run && !numbers.is_empty() {
                discarded += admin.stores.events.discard(place.id, &numbers, reason.clone(), now).await?;
            }
            if matched >= limit {
                break;
            }
        }
        tracing::info!(filter = filter.words(), dry_run, matched, discarded, "dead letters discarded by the operator");
        let missing = missing.into_json();
        Ok(json!({ "dry_run": dry_run, "matched": matched, "discarded": discarded, "not_found": missing }))
    })
    .await
}
