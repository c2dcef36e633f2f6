//! The operator's listener: it tells how events, destinations and dead letters are, and does what the operator wants done
//! with them: pause, hand over, replay, discard, forget.

mod again;
mod asked;
mod clicks;
mod dead_letters;
mod destinations;
mod diff;
mod fate;
mod letters;
mod links;
mod page;
mod qa;
mod replay;
mod reports;
mod sealed;
mod session;
#[cfg(test)]
mod tests;
mod timeline;
mod tracked;
mod utm;
mod visitors;

pub use qa::QaSettings;

use std::{collections::BTreeMap, future::Future, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{Path, Request, State},
    http::{HeaderMap, Method, header},
    middleware::{self, Next},
    response::{IntoResponse as _, Response},
    routing::{get, post},
};
use serde_json::{Value, json};
use tokio::sync::Mutex;

use self::session::Door;
pub use self::tracked::{Goals, LinkSettings, Tracked};

use crate::{
    delivery::{Place, State as Standing, Status},
    model::{Clock, EventId, Secret},
    privacy::Country,
    store::{Counts, Stores},
    web::Problem,
};

/// What the admin listener shows and acts on.
#[derive(Clone)]
pub struct Admin {
    /// Events and visitors.
    pub stores: Stores,
    /// The configured destinations.
    pub places: Arc<Vec<Place>>,
    /// Tracked links.
    pub tracked: Tracked,
    /// Which of them are paused.
    pub status: Status,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// How long before their deadline queued deliveries are warned of.
    pub warn_before: Duration,
    /// Region of phone numbers written without a country code, as at intake.
    pub default_country: Option<Country>,
    /// Held while a destination is paused or resumed, so that what is stored and what is done are the same.
    pub steering: Arc<Mutex<()>>,
    /// What tests of links have to know.
    pub qa: QaSettings,
    /// Renders the metrics.
    pub metrics: Arc<dyn Fn() -> String + Send + Sync>,
}

impl Admin {
    /// The destination of this name.
    fn place(&self, name: &str) -> Result<&Place, Problem> {
        self.places.iter().find(|place| place.name.as_str() == name).ok_or_else(|| {
            let known: Vec<&str> = self.places.iter().map(|place| place.name.as_str()).collect();
            Problem::unknown(format!("no destination of this name is configured; there are: {}", known.join(", ")))
        })
    }

    /// Whether this destination takes events. What its operator said holds above what its platform says.
    fn state(&self, place: &Place) -> Standing {
        self.stores.events.paused(place.id).map_or_else(|| self.status.of(&place.name), Standing::Stopped)
    }
}

/// The routes of the admin listener, `others` among them. With a token, every request needs it as
/// `Authorization: Bearer TOKEN`, or the cookie of a session that was opened with it.
pub fn router(admin: Admin, token: Option<Secret>, others: Router) -> Router {
    let clock = Arc::clone(&admin.clock);
    let routes = Router::new()
        .merge(links::routes())
        .merge(utm::routes())
        .merge(reports::routes())
        .merge(page::routes())
        .route("/v1/clicks", get(clicks::list))
        .route("/v1/clicks/label", post(clicks::label_all))
        .route("/v1/clicks/{id}/label", post(clicks::label))
        .route("/v1/events/{event_id}", get(event))
        .route("/v1/balance", get(balance))
        .route("/v1/destinations", get(destinations::list))
        .route("/v1/destinations/{name}/pause", post(destinations::pause))
        .route("/v1/destinations/{name}/resume", post(destinations::resume))
        .route("/v1/destinations/{name}/spill", post(destinations::spill))
        .route("/v1/dead-letters", get(dead_letters::list))
        .route("/v1/dead-letters/{event_id}", get(dead_letters::show))
        .route("/v1/dead-letters/replay", post(dead_letters::replay))
        .route("/v1/dead-letters/discard", post(dead_letters::discard))
        .route("/v1/replay", post(replay::replay))
        .route("/v1/visitors/{id}", get(visitors::show).delete(visitors::forget_one))
        .route("/v1/visitors/forget", post(visitors::forget))
        .merge(qa::routes())
        .route("/metrics", get(metrics))
        .with_state(admin)
        .merge(others);
    let Some(token) = token else {
        return routes.layer(middleware::from_fn(refuse_other_sites)).layer(middleware::from_fn(refuse_other_names));
    };
    let door = Door::new(token, clock);
    let authorize = middleware::from_fn_with_state(door.clone(), session::authorize);
    routes.merge(door.routes()).layer(authorize).layer(middleware::from_fn(refuse_other_sites))
}

/// A page of some other site that the operator has open could ask his browser to post here: without a token, on the
/// loopback, nothing else would stop it. Browsers say where such a request comes from.
async fn refuse_other_sites(request: Request, next: Next) -> Result<Response, Problem> {
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    if !reads && !is_own_site(request.headers()) {
        let detail = "this request comes from a page of another site; only this listener's own may change things";
        return Err(Problem::forbidden(detail));
    }
    Ok(next.run(request).await)
}

/// Without a token anybody who reaches the listener may act. A page of another site cannot, unless its name is made to lead
/// here: then the browser says that name, and not an address of this machine.
async fn refuse_other_names(request: Request, next: Next) -> Result<Response, Problem> {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    let local = name == "localhost" || name.ends_with(".localhost") || name.parse::<std::net::IpAddr>().is_ok();
    if !local {
        let detail = "without [admin] token this listener answers only under localhost or an address, not under a name";
        return Err(Problem::forbidden(detail));
    }
    Ok(next.run(request).await)
}

/// Whether no page of another site sent this. Programs other than browsers send no `Origin`.
fn is_own_site(headers: &HeaderMap) -> bool {
    let Some(origin) = headers.get(header::ORIGIN) else { return true };
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let authority = origin.to_str().ok().and_then(|origin| origin.split_once("://")).map(|(_, authority)| authority);
    authority.is_some() && authority == host
}

/// Does `work` to its end, also if whoever asked for it hangs up in the middle, and answers with what it came to.
async fn finished(work: impl Future<Output = Result<Value, Problem>> + Send + 'static) -> Result<Response, Problem> {
    let done = tokio::spawn(work).await.map_err(|_| Problem::internal())?;
    done.map(|value| answer(&value))
}

fn answer(value: &Value) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], value.to_string()).into_response()
}

async fn event(State(admin): State<Admin>, Path(id): Path<String>) -> Result<Response, Problem> {
    let unknown = || Problem::unknown("no event of this id is stored (any more)");
    let id = EventId::new(id).map_err(|_| unknown())?;
    let timeline = admin.stores.events.timeline(&id).await?.ok_or_else(unknown)?;
    Ok(answer(&timeline::render(&timeline, &admin)))
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

async fn metrics(State(admin): State<Admin>) -> Response {
    let text = (admin.metrics)();
    ([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text).into_response()
}
