//! The operator's listener: timelines, balance, destinations, metrics. It reads and changes nothing.

mod timeline;

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Router,
    extract::{Path, Request, State},
    http::header,
    middleware::{self, Next},
    response::{IntoResponse as _, Response},
    routing::get,
};
use serde_json::json;

use crate::{
    delivery::{self, Place, Status},
    model::{Clock, EventId, Secret, Time},
    store::{Counts, Stores},
    web::{Keys, Problem},
};

/// What the admin listener shows.
#[derive(Clone)]
pub struct Admin {
    /// Events and visitors.
    pub stores: Stores,
    /// The configured destinations.
    pub places: Arc<Vec<Place>>,
    /// Which of them are paused.
    pub status: Status,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Renders the metrics.
    pub metrics: Arc<dyn Fn() -> String + Send + Sync>,
}

/// The routes of the admin listener. With a token, every request needs it as `Authorization: Bearer TOKEN`.
pub fn router(admin: Admin, token: Option<Secret>) -> Router {
    let routes = Router::new()
        .route("/v1/events/{event_id}", get(event))
        .route("/v1/balance", get(balance))
        .route("/v1/destinations", get(destinations))
        .route("/metrics", get(metrics))
        .with_state(admin);
    let Some(token) = token else { return routes };
    let keys = Keys::new([(token, ())]);
    routes.layer(middleware::from_fn_with_state(keys, authorize))
}

async fn authorize(State(keys): State<Keys<()>>, request: Request, next: Next) -> Result<Response, Problem> {
    if keys.owner(request.headers()).is_err() {
        let detail = "the admin listener needs its token: Authorization: Bearer TOKEN, see [admin] token";
        return Err(Problem::unauthorized(detail));
    }
    Ok(next.run(request).await)
}

fn answer(value: &serde_json::Value) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], value.to_string()).into_response()
}

async fn event(State(admin): State<Admin>, Path(id): Path<String>) -> Result<Response, Problem> {
    let unknown = || Problem::unknown("no event of this id is stored (any more)");
    let id = EventId::new(id).map_err(|_| unknown())?;
    let timeline = admin.stores.events.timeline(&id).await?.ok_or_else(unknown)?;
    Ok(answer(&timeline::render(&timeline, &admin.places, &admin.status)))
}

async fn balance(State(admin): State<Admin>) -> Response {
    let balance = admin.stores.events.balance();
    let counts: BTreeMap<_, _> = balance.destinations.into_iter().collect();
    let destinations: BTreeMap<&str, Counts> = admin
        .places
        .iter()
        .map(|place| (place.name.as_str(), counts.get(&place.id).copied().unwrap_or_default()))
        .collect();
    answer(&json!({ "accepted": balance.accepted, "destinations": destinations }))
}

async fn destinations(State(admin): State<Admin>) -> Response {
    let counts: BTreeMap<_, _> = admin.stores.events.balance().destinations.into_iter().collect();
    let mut list = Vec::new();
    for Place { name, kind, id, .. } in admin.places.iter() {
        let queued = counts.get(id).map_or(0, |counts| counts.queued);
        let (state, reason, since) = match admin.status.of(name) {
            delivery::State::Active => ("active", None, None),
            delivery::State::Stopped(pause) => ("paused", Some(pause.reason), Some(pause.since.to_string())),
            delivery::State::Paused { reason, since } => {
                ("paused", Some(format!("{}: {}", reason.code, reason.message)), Some(since.to_string()))
            }
        };
        // A time in the past says that it is due now.
        let oldest_due = admin.stores.events.next_due(*id).map(|due| match due == Time::default() {
            true => admin.clock.now().to_string(),
            false => due.to_string(),
        });
        list.push(json!({
            "name": name, "kind": kind, "state": state, "reason": reason, "since": since,
            "queued": queued, "oldest_due": oldest_due,
        }));
    }
    answer(&json!({ "destinations": list }))
}

async fn metrics(State(admin): State<Admin>) -> Response {
    let text = (admin.metrics)();
    ([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text).into_response()
}
