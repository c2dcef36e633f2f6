//! `/v1/clicks`: every request for a link with its verdict, the totals, and relabelling.

use std::{ops::ControlFlow, sync::Arc, time::Duration};

use axum::{
    body::Body,
    extract::{Path, RawQuery, State},
    http::HeaderMap,
    response::Response,
};
use serde_json::{Value, json};

use super::{Admin, answer, asked::Asked, finished};
use crate::{
    model::{Click, ClickVerdict, LinkKey, Time},
    store::{Amendment, ClickStore, StoreError},
    tracking::reports::{Figures, Selection, Uniques},
    web::Problem,
};

/// Rows in one list.
const LIMIT_MAX: u64 = 1000;
/// Rows in one list, unless asked for otherwise.
const LIMIT: u64 = 100;
/// Rows that one list or report looks at; where there are more, `complete` is false.
pub(super) const ROWS_MAX: u64 = 5_000_000;
/// Rows that one request relabels.
const RELABELLED_MAX: usize = 100_000;

/// Reads which rows are meant.
pub(super) fn selection(asked: &mut Asked) -> Result<Selection, Problem> {
    let link = asked.text("link")?.map(|link| LinkKey::of(&link));
    let verdict = asked.parsed("verdict", &verdicts(), ClickVerdict::parse)?;
    let (from, to) = (asked.time("since")?, asked.time("until")?);
    let all = Selection::ALL;
    Ok(Selection { link, verdict, reason: None, from: from.unwrap_or(all.from), to: to.unwrap_or(all.to) })
}

fn verdicts() -> String {
    ClickVerdict::ALL.map(ClickVerdict::as_str).join(", ")
}

/// Shows `each` the selected rows, newest first. Whether those were all.
pub(super) fn each_row(
    clicks: &dyn ClickStore,
    selection: &Selection,
    mut each: impl FnMut(&Click),
) -> Result<bool, StoreError> {
    let mut seen = 0;
    clicks.scan(selection.from, selection.to, &mut |row| {
        seen += 1;
        if selection.takes(row) {
            each(row);
        }
        if seen < ROWS_MAX { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    Ok(seen < ROWS_MAX)
}

/// Runs work that reads files.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, Problem> {
    Ok(tokio::task::spawn_blocking(work).await.map_err(|_| Problem::internal())??)
}

/// Some rows, and the totals of all.
pub(super) struct Listed {
    pub(super) rows: Vec<Click>,
    pub(super) next: Option<String>,
    pub(super) totals: Figures,
    pub(super) complete: bool,
}

/// Up to `limit` selected rows behind the one of the id `after`, and the totals of all that are selected.
pub(super) fn listed(
    clicks: &dyn ClickStore,
    selection: &Selection,
    unique_window: Duration,
    limit: usize,
    after: Option<&str>,
) -> Result<Listed, StoreError> {
    let (mut rows, mut next, mut totals) = (Vec::new(), None, Figures::default());
    let (mut uniques, mut begun) = (Uniques::new(unique_window), after.is_none());
    let complete = each_row(clicks, selection, |row| {
        totals.add(row, 0, &mut uniques);
        if begun && rows.len() < limit {
            rows.push(row.clone());
        } else if begun && next.is_none() {
            next = rows.last().map(|last: &Click| last.id.clone());
        }
        begun |= after == Some(row.id.as_str());
    })?;
    Ok(Listed { rows, next, totals, complete })
}

/// `GET /v1/clicks`
pub(super) async fn list(State(admin): State<Admin>, RawQuery(query): RawQuery) -> Result<Response, Problem> {
    let mut asked = Asked::query(query.as_deref())?;
    let mut selection = selection(&mut asked)?;
    selection.reason = asked.text("reason")?;
    let limit = asked.number("limit", 1..=LIMIT_MAX)?.unwrap_or(LIMIT);
    let is_id = |text: &str| (text.len() == 26 && text.is_ascii()).then(|| text.to_owned());
    let after = asked.parsed("after", "the next of an earlier answer", is_id)?;
    asked.finish()?;
    let (clicks, window) = (Arc::clone(&admin.stores.clicks), admin.tracked.settings.unique_window);
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let listed = blocking(move || listed(&*clicks, &selection, window, limit, after.as_deref())).await?;
    let rows: Vec<Value> = listed.rows.iter().map(render).collect();
    Ok(answer(&json!({
        "clicks": rows, "next": listed.next, "totals": listed.totals.totals(), "complete": listed.complete,
    })))
}

/// A row.
pub(super) fn render(row: &Click) -> Value {
    json!({
        "id": row.id, "at": row.at.to_string(), "link": row.link, "verdict": row.verdict, "reasons": row.reasons,
        "head": row.head, "device": row.device, "browser": row.browser, "os": row.os, "in_app": row.in_app,
        "country": row.country, "referrer": row.referrer, "visitor_id": row.visitor_id, "utm": row.utm,
        "split": row.split, "landed": row.landed.map(|at| at.to_string()), "relabelled_by": row.relabelled_by,
    })
}

fn amendment(row: &Click, verdict: ClickVerdict, by: &str) -> Amendment {
    let reason = Some(format!("relabelled: {}, was {}", verdict.as_str(), row.verdict.as_str()));
    Amendment {
        id: row.id.clone(),
        clicked_at: row.at,
        verdict: Some(verdict),
        reason,
        landed: None,
        by: Some(by.to_owned()),
    }
}

/// `POST /v1/clicks/{id}/label`
pub(super) async fn label(
    State(admin): State<Admin>,
    Path(id): Path<String>,
    headers: HeaderMap,
    given: Body,
) -> Result<Response, Problem> {
    let mut asked = Asked::body(&headers, given).await?;
    let verdict = asked.parsed("verdict", &verdicts(), ClickVerdict::parse)?;
    let verdict = verdict.ok_or_else(|| asked.wrong("verdict", &format!("is missing: {}", verdicts())))?;
    let by = asked.by(&headers)?;
    asked.finish()?;
    finished(async move {
        let clicks = Arc::clone(&admin.stores.clicks);
        let row = blocking(move || {
            let Some(row) = clicks.find(&id)? else { return Ok(None) };
            if row.verdict != verdict {
                clicks.amend(&[amendment(&row, verdict, &by)])?;
                clicks.sync()?;
            }
            clicks.find(&id)
        });
        let row = row.await?.ok_or_else(|| Problem::unknown("no click of this id is stored (any more)"))?;
        tracing::info!(verdict = verdict.as_str(), "a click was relabelled by the operator");
        Ok(render(&row))
    })
    .await
}

/// `POST /v1/clicks/label`: by filter.
pub(super) async fn label_all(
    State(admin): State<Admin>,
    headers: HeaderMap,
    given: Body,
) -> Result<Response, Problem> {
    let mut asked = Asked::body(&headers, given).await?;
    let mut wanted = asked.section("where")?;
    let mut selection = selection(&mut wanted)?;
    selection.reason = wanted.text("reason")?;
    wanted.finish()?;
    let verdict = asked.parsed("verdict", &verdicts(), ClickVerdict::parse)?;
    let verdict = verdict.ok_or_else(|| asked.wrong("verdict", &format!("is missing: {}", verdicts())))?;
    let (by, dry_run) = (asked.by(&headers)?, asked.flag("dry_run")?);
    if selection == Selection::ALL {
        return Err(asked.wrong("where", "must name at least one of link, verdict, reason, since and until"));
    }
    asked.finish()?;
    finished(async move {
        let clicks = Arc::clone(&admin.stores.clicks);
        let (matched, relabelled, complete) = blocking(move || {
            let (mut matched, mut amendments) = (0_u64, Vec::new());
            let complete = each_row(&*clicks, &selection, |row| {
                matched += u64::from(!row.head);
                if row.verdict != verdict && !row.head && amendments.len() < RELABELLED_MAX {
                    amendments.push(amendment(row, verdict, &by));
                }
            })?;
            let complete = complete && amendments.len() < RELABELLED_MAX;
            let count = amendments.len();
            if !dry_run && count > 0 {
                clicks.amend(&amendments)?;
                clicks.sync()?;
            }
            Ok((matched, count, complete))
        })
        .await?;
        tracing::info!(matched, relabelled, dry_run, "clicks relabelled by the operator");
        Ok(json!({ "matched": matched, "relabelled": relabelled, "dry_run": dry_run, "complete": complete }))
    })
    .await
}

/// The start of the span of `days` that ends now.
pub(super) fn days_ago(now: Time, days: u64) -> Time {
    now.minus(Duration::from_secs(days * 86_400))
}
