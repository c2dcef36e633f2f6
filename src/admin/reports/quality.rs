//! How far the figures can be relied on: what of the clicks was no person, and what of the events came without its context.

use std::sync::Arc;

use axum::{
    extract::{RawQuery, State},
    response::Response,
};
use serde_json::{Value, json};

use super::super::{Admin, answer, asked::Asked, clicks::blocking, clicks::each_row};
use super::span;
use crate::{
    model::{SealedEvent, Time},
    tracking::reports::{Figures, Selection, Uniques},
    web::Problem,
};

/// Events that one report looks at.
const EVENTS_MAX: u64 = 100_000;
/// Events read at once.
const PAGE: usize = 500;
/// An event that comes this much later than it happened is late.
const LATE_AFTER_S: u64 = 3600;

/// Shows `each` the stored events of the span whose delivery to the first destination has ended, oldest first. How many, and
/// whether those were all; `None` if no destination is configured, as events can only be gone through by that.
pub(in crate::admin) async fn each_event(
    admin: &Admin,
    from: Time,
    to: Time,
    mut each: impl FnMut(&SealedEvent) + Send,
) -> Result<Option<(u64, bool)>, Problem> {
    let Some(place) = admin.places.first() else { return Ok(None) };
    let (mut after, mut seen) = (0, 0);
    loop {
        let page = admin.stores.events.ended(place.id, from, to, after, PAGE).await?;
        let Some(last) = page.last() else { return Ok(Some((seen, true))) };
        after = last.number;
        seen += page.len() as u64;
        page.iter().for_each(|ended| each(&ended.event));
        if seen >= EVENTS_MAX {
            return Ok(Some((seen, false)));
        }
    }
}

/// `GET /v1/reports/quality`
pub(super) async fn show(State(admin): State<Admin>, RawQuery(query): RawQuery) -> Result<Response, Problem> {
    let mut asked = Asked::query(query.as_deref())?;
    let (from, to) = span(&mut asked, admin.clock.now())?;
    asked.finish()?;
    let (clicks, window) = (Arc::clone(&admin.stores.clicks), admin.tracked.settings.unique_window);
    let (figures, complete) = blocking(move || {
        let (mut figures, mut uniques) = (Figures::default(), Uniques::new(window));
        let rows = Selection { from, to, ..Selection::ALL };
        let complete = each_row(&*clicks, &rows, |row| figures.add(row, 0, &mut uniques))?;
        Ok((figures, complete))
    })
    .await?;
    let (mut late, mut bare, mut unjoined) = (0, 0, 0);
    let events = each_event(&admin, from, to, |event| {
        late += u64::from(event.received_at.since(event.time).as_secs() >= LATE_AFTER_S);
        bare += u64::from(event.context.clicks.is_empty());
        unjoined += u64::from(event.joined_by.is_none());
    })
    .await?;
    let events = match events {
        Some((count, complete)) => json!({
            "events": count, "complete": complete,
            "late": part(late, count), "without_click_context": part(bare, count), "without_visitor": part(unjoined, count),
        }),
        None => Value::Null,
    };
    let [human, bot, preview, prefetch, qa, duplicate, burst] =
        figures.by_verdict.map(|count| part(count, figures.all));
    Ok(answer(&json!({
        "since": from.to_string(), "until": to.to_string(),
        "clicks": {
            "all": figures.all, "human": human, "bot": bot, "preview": preview, "prefetch": prefetch, "qa": qa,
            "duplicate": duplicate, "burst": burst, "head": figures.head,
            "click_to_session": figures.click_to_session(), "complete": complete,
        },
        "events": events,
        "means": {
            "late": "an hour or more between what happened and its report",
            "without_click_context": "no click id, neither with the event nor by its visitor",
            "without_visitor": "no visitor was found for it",
            "duplicate": "of clicks; an event that is reported twice is stored once",
        },
    })))
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
fn part(count: u64, whole: u64) -> Value {
    let share = (whole > 0).then(|| (count as f64 / whole as f64 * 10_000.0).round() / 10_000.0);
    json!({ "count": count, "share": share })
}
