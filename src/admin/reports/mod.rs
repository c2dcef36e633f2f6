//! `/v1/reports/…` and `/v1/diagnose`: what came of links and visits.

mod diagnose;
mod quality;
mod visitors;

pub(super) use self::quality::each_event;

use std::sync::Arc;

use axum::{
    Router,
    extract::{RawQuery, State},
    response::Response,
    routing::get,
};
use serde_json::{Value, json};

use super::{
    Admin, answer,
    asked::Asked,
    clicks::{blocking, days_ago, each_row, selection},
};
use crate::{
    model::Time,
    tracking::reports::{Dimension, Figures, Group, Pivot, Selection, Uniques},
    web::Problem,
};

/// Days that a report is about, unless asked for otherwise.
const DAYS: u64 = 30;
/// Rows of a report that are told at most.
const LIMIT_MAX: u64 = 10_000;
const LIMIT: u64 = 1000;
/// Human clicks from which on a small share of sessions is worth a word.
const CLICKS_TELLING: u64 = 10;

/// The routes of the reports.
pub(super) fn routes() -> Router<Admin> {
    Router::new()
        .route("/v1/reports/clicks", get(clicks))
        .route("/v1/reports/referrers", get(visitors::referrers))
        .route("/v1/reports/steps", get(visitors::steps))
        .route("/v1/reports/segments", get(visitors::segments))
        .route("/v1/reports/quality", get(quality::show))
        .route("/v1/diagnose", get(diagnose::show))
}

/// The span that is asked for: the last thirty days if nothing is said.
fn span(asked: &mut Asked, now: Time) -> Result<(Time, Time), Problem> {
    let since = asked.time("since")?;
    let until = asked.time("until")?.unwrap_or(now);
    Ok((since.unwrap_or_else(|| days_ago(until, DAYS)), until))
}

/// `GET /v1/reports/clicks`
async fn clicks(State(admin): State<Admin>, RawQuery(query): RawQuery) -> Result<Response, Problem> {
    let mut asked = Asked::query(query.as_deref())?;
    let known = Dimension::ALL.map(Dimension::as_str).join(", ");
    let dimensions = |text: &str| {
        let by: Option<Vec<Dimension>> = text.split(',').map(|name| Dimension::parse(name.trim())).collect();
        by.filter(|by| by.len() <= 2 && by.first() != by.get(1))
    };
    let by = asked.parsed("by", &format!("one of these, or two with a comma between: {known}"), dimensions)?;
    let by = by.unwrap_or_else(|| vec![Dimension::Link]);
    let mut rows = selection(&mut asked)?;
    let now = admin.clock.now();
    if rows.from == Selection::ALL.from {
        rows.from = days_ago(rows.to.min(now), DAYS);
    }
    let limit = asked.number("limit", 1..=LIMIT_MAX)?.unwrap_or(LIMIT);
    asked.finish()?;
    let (since, until) = (rows.from, rows.to.min(now));
    let table = table(&admin, by.clone(), rows).await?;
    let more = table.groups.len().saturating_sub(usize::try_from(limit).unwrap_or(usize::MAX));
    let shown = table.groups.len() - more;
    let rows: Vec<Value> = table.groups[..shown].iter().map(|group| group.json(&by)).collect();
    let by: Vec<&str> = by.into_iter().map(Dimension::as_str).collect();
    Ok(answer(&json!({
        "by": by, "since": since.to_string(), "until": until.to_string(), "rows": rows, "more": more,
        "beyond": table.beyond, "totals": table.totals.totals(), "hints": hints(&table.totals, table.in_app),
        "complete": table.complete,
    })))
}

/// Clicks by some dimensions.
pub(super) struct Table {
    pub(super) groups: Vec<Group>,
    beyond: u64,
    totals: Figures,
    /// Human clicks in the browser of an app.
    in_app: u64,
    complete: bool,
}

/// The table of the selected rows.
pub(super) async fn table(admin: &Admin, by: Vec<Dimension>, rows: Selection) -> Result<Table, Problem> {
    let (clicks, window) = (Arc::clone(&admin.stores.clicks), admin.tracked.settings.unique_window);
    let tracked = admin.tracked.clone();
    blocking(move || {
        let (links, policy) = (tracked.by_key(), tracked.policy());
        let spell = |dimension: Dimension, raw: &str| super::tracked::spelled(&policy, dimension, raw);
        let mut pivot = Pivot::new(&by, &links, &spell, window);
        let (mut totals, mut uniques, mut in_app) = (Figures::default(), Uniques::new(window), 0);
        let complete = each_row(&*clicks, &rows, |row| {
            totals.add(row, 0, &mut uniques);
            let human = row.verdict == crate::model::ClickVerdict::Human && !row.head;
            in_app += u64::from(human && row.in_app.is_some());
            pivot.add(row);
        })?;
        let (groups, beyond) = pivot.finish();
        Ok(Table { groups, beyond, totals, in_app, complete })
    })
    .await
}

/// Why fewer clicks became sessions than should have; nothing where that cannot be said.
fn hints(totals: &Figures, in_app: u64) -> Vec<&'static str> {
    let mut hints = Vec::new();
    if totals.identified < CLICKS_TELLING || totals.click_to_session().is_none_or(|share| share >= 0.7) {
        return hints;
    }
    if totals.sessions == 0 {
        hints.push("no landing page reported a visit: the tag may be missing there, its site not among capture.sites, or the redirect may not arrive (links qa)");
    } else {
        hints.push("visitors leave before the tag runs: a slow page, or a redirect that fails for some (links qa)");
    }
    if (totals.all - totals.human) * 5 > totals.all {
        hints.push("more than a fifth of the requests are programs; some that look human may be previews too (by=browser, by=referrer)");
    }
    if in_app * 2 > totals.human {
        hints.push("most clicks come from the browsers of apps, which load ahead and are closed soon (by=in_app)");
    }
    hints
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_share_of_sessions_has_likely_causes() {
        let totals = |all, human, sessions| Figures { all, human, identified: human, sessions, ..Figures::default() };
        assert!(hints(&totals(9, 9, 0), 0).is_empty(), "too few to tell");
        assert!(hints(&totals(10, 10, 9), 0).is_empty());
        assert!(hints(&totals(10, 10, 0), 0)[0].starts_with("no landing page reported"));
        assert_eq!(hints(&totals(40, 10, 2), 8).len(), 3);
    }
}
