//! `/v1/links`: listing, making, changing and steering links.

mod change;
mod history;
#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{Path, RawQuery, State},
    response::{IntoResponse as _, Response},
    routing::{get, post},
};
use serde_json::{Value, json};

pub(super) use self::{
    change::{csv_text, is_csv, rows_of_csv, rows_of_list},
    history::{diff, history_of},
};
use super::{
    Admin, answer,
    asked::Asked,
    clicks::blocking,
    reports::each_event,
    tracked::{refusal, state},
};
use crate::{
    links::policy::{Field, Policy},
    model::{EventName, Link, LinkKey, Time},
    tracking::{
        registry::{Refused, fields},
        reports::each_visitor,
    },
    web::Problem,
};

/// Links in one list.
const LIMIT_MAX: u64 = 1000;
/// Links in one list, unless asked for otherwise.
const LIMIT: u64 = 100;
/// An event that was not seen for this long is not looked for any further back.
const GOAL_DAYS: u64 = 7;

/// The routes of links.
pub(super) fn routes() -> Router<Admin> {
    Router::new()
        .route("/v1/links", get(list).post(change::create))
        .route("/v1/links/{slug}", get(show).patch(change::patch).delete(change::remove))
        .route("/v1/links/{slug}/approve", post(change::approve))
        .route("/v1/links/{slug}/pause", post(change::pause))
        .route("/v1/links/{slug}/resume", post(change::resume))
        .route("/v1/links/{slug}/history", get(history::show))
}

/// Which link a path names: `slug` with `?host=`, or `host/slug` with the slash encoded.
fn key(slug: &str, host: Option<String>) -> LinkKey {
    match host {
        Some(host) if !slug.contains('/') => LinkKey::of(&format!("{host}/{slug}")),
        _ => LinkKey::of(slug),
    }
}

/// Which links are meant.
#[derive(Clone, Default)]
pub(super) struct Filter {
    pub(super) host: Option<String>,
    pub(super) campaign: Option<String>,
    pub(super) owner: Option<String>,
    pub(super) placement: Option<String>,
    pub(super) state: Option<String>,
    pub(super) q: Option<String>,
}

impl Filter {
    pub(super) fn of(asked: &mut Asked) -> Result<Self, Problem> {
        let known = ["live", "paused", "pending", "expired"];
        let is_state = |text: &str| known.contains(&text).then(|| text.to_owned());
        Ok(Self {
            host: asked.text("host")?.map(|host| host.to_ascii_lowercase()),
            campaign: asked.text("campaign")?,
            owner: asked.text("owner")?,
            placement: asked.text("placement")?,
            state: asked.parsed("state", "live, paused, pending or expired", is_state)?,
            q: asked.text("q")?.map(|text| text.to_lowercase()),
        })
    }

    pub(super) fn takes(&self, link: &Link, policy: &Policy, now: Time) -> bool {
        let same = |field: Field, wanted: &Option<String>| {
            let Some(wanted) = wanted else { return true };
            field.of(link).is_some_and(|value| policy.normal(field, value) == policy.normal(field, wanted))
        };
        let owner = |wanted: &String| link.owner.as_ref().is_some_and(|owner| owner.eq_ignore_ascii_case(wanted));
        self.host.as_ref().is_none_or(|host| link.key.host.as_ref() == Some(host))
            && same(Field::Campaign, &self.campaign)
            && same(Field::Placement, &self.placement)
            && self.owner.as_ref().is_none_or(owner)
            && self.state.as_ref().is_none_or(|wanted| state(link, now) == wanted)
            && self.q.as_ref().is_none_or(|text| Value::Object(fields(link)).to_string().to_lowercase().contains(text))
    }
}

/// The links that are meant, by their keys.
pub(super) fn found(admin: &Admin, filter: &Filter) -> Vec<Arc<Link>> {
    let (policy, now) = (admin.tracked.policy(), admin.clock.now());
    let mut links = admin.tracked.links.all();
    links.retain(|link| filter.takes(link, &policy, now));
    links
}

/// `GET /v1/links`
async fn list(State(admin): State<Admin>, RawQuery(query): RawQuery) -> Result<Response, Problem> {
    let mut asked = Asked::query(query.as_deref())?;
    let filter = Filter::of(&mut asked)?;
    let limit = asked.number("limit", 1..=LIMIT_MAX)?.unwrap_or(LIMIT);
    let after = asked.text("after")?.map(|after| LinkKey::of(&after));
    asked.finish()?;
    let links = found(&admin, &filter);
    let now = admin.clock.now();
    let begin = after.map_or(0, |after| links.partition_point(|link| link.key <= after));
    let end = (begin + usize::try_from(limit).unwrap_or(usize::MAX)).min(links.len());
    let next = (end < links.len()).then(|| links[end - 1].key.to_string());
    let told: Vec<Value> = links[begin..end].iter().map(|link| admin.tracked.told(link, now)).collect();
    Ok(answer(&json!({ "links": told, "next": next, "count": links.len() })))
}

/// `GET /v1/links/{slug}`
async fn show(
    State(admin): State<Admin>,
    Path(slug): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let mut asked = Asked::query(query.as_deref())?;
    let key = key(&slug, asked.text("host")?);
    asked.finish()?;
    let Some(link) = admin.tracked.links.get(&key) else { return Ok(refusal(&Refused::Unknown)) };
    let mut told = admin.tracked.told(&link, admin.clock.now());
    if let Some(goal) = &link.goal {
        told["goal_last_seen"] = last_seen(&admin, goal).await?.map(|at| at.to_string()).into();
    }
    let (policy, all) = (admin.tracked.policy(), admin.tracked.links.all());
    told["broken"] = json!(policy.check(&link, all.iter().map(Arc::as_ref)));
    Ok(answer(&told).into_response())
}

/// When an event of this name was seen last within some days, by a browser or a server.
async fn last_seen(admin: &Admin, goal: &EventName) -> Result<Option<Time>, Problem> {
    let now = admin.clock.now();
    if let Some(known) = admin.tracked.goal(goal, now) {
        return Ok(known);
    }
    let from = now.minus(Duration::from_secs(GOAL_DAYS * 86_400));
    let (visits, wanted) = (Arc::clone(&admin.stores.visits), goal.clone());
    let mut last = blocking(move || {
        let mut last = None;
        each_visitor(&*visits, |visitor| {
            let seen = visitor.actions.iter().filter(|action| action.name == wanted).map(|action| action.at).max();
            last = last.max(seen);
        })?;
        Ok(last)
    })
    .await?;
    each_event(admin, from, now, |event| {
        if event.name == *goal {
            last = last.max(Some(event.received_at));
        }
    })
    .await?;
    admin.tracked.saw_goal(goal.clone(), now, last);
    Ok(last)
}
