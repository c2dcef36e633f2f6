//! `/v1/destinations`: how they are, pausing them, and handing over what waits to an import file.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::{Path, State},
    http::HeaderMap,
    response::Response,
};
use serde_json::{Value, json};

use super::{Admin, answer, asked::Asked, finished};
use crate::{
    delivery::{self, Place},
    destinations::versions,
    model::{EventName, Time},
    store::{Counts, OperatorPause, Reported, Takes},
    web::Problem,
};

/// Handed over in one durable write.
const CHUNK: usize = 1000;

/// `GET /v1/destinations`
pub(super) async fn list(State(admin): State<Admin>) -> Response {
    let list: Vec<Value> = admin.places.iter().map(|place| render(&admin, place)).collect();
    answer(&json!({ "destinations": list }))
}

fn render(admin: &Admin, place: &Place) -> Value {
    let (store, now) = (&admin.stores.events, admin.clock.now());
    let (state, reason, since, paused_by) = match admin.state(place) {
        delivery::State::Active => ("active", None, None, None),
        delivery::State::Stopped(pause) => {
            let reason = if pause.reason.is_empty() { "paused by its operator".to_owned() } else { pause.reason };
            ("paused", Some(reason), Some(pause.since), Some("operator"))
        }
        delivery::State::Paused { reason, since } => {
            ("paused", Some(format!("{}: {}", reason.code, reason.message)), Some(since), Some("platform"))
        }
    };
    // A time in the past says that it is due now.
    let oldest_due = store.next_due(place.id).map(|due| if due == Time::default() { now } else { due });
    let reported = store.reported(place.id);
    let ends = place.destination.api().and_then(|(api, version)| versions::end_of(api, version));
    json!({
        "name": place.name, "kind": place.kind, "state": state, "reason": reason,
        "since": since.map(|since| since.to_string()), "paused_by": paused_by, "queued": counts(admin, place).queued,
        "oldest_due": oldest_due.map(|due| due.to_string()),
        "expiring": store.expiring(place.id, now.plus(admin.warn_before)),
        "reported": (reported != Reported::default()).then(|| json!({
            "taken": reported.taken, "counts": reported.counts, "open": reported.open, "lost": reported.lost,
        })),
        "api_version_ends": ends.map(|at| at.to_string()),
        "fallback_for": place.fallback_for,
    })
}

fn counts(admin: &Admin, place: &Place) -> Counts {
    let all = admin.stores.events.balance().destinations;
    all.into_iter().find(|(id, _)| *id == place.id).map(|(_, counts)| counts).unwrap_or_default()
}

/// `POST /v1/destinations/{name}/pause`
pub(super) async fn pause(
    State(admin): State<Admin>,
    Path(name): Path<String>,
    headers: HeaderMap,
    given: Body,
) -> Result<Response, Problem> {
    let mut asked = Asked::body(&headers, given).await?;
    let reason = asked.reason()?;
    asked.finish()?;
    admin.place(&name)?;
    finished(async move {
        let _alone = admin.steering.lock().await;
        let place = admin.place(&name)?;
        let known = admin.stores.events.paused(place.id);
        // Pausing once more only says why in other words.
        let since = known.as_ref().map_or_else(|| admin.clock.now(), |pause| pause.since);
        let reason = reason.or(known.map(|pause| pause.reason)).unwrap_or_default();
        let pause = OperatorPause { reason, since };
        admin.stores.events.pause(place.id, Some(pause.clone())).await?;
        admin.status.stop(&place.name, pause);
        tracing::info!(destination = %place.name, "destination paused by the operator");
        Ok(render(&admin, place))
    })
    .await
}

/// `POST /v1/destinations/{name}/resume`
pub(super) async fn resume(
    State(admin): State<Admin>,
    Path(name): Path<String>,
    headers: HeaderMap,
    given: Body,
) -> Result<Response, Problem> {
    Asked::body(&headers, given).await?.finish()?;
    admin.place(&name)?;
    finished(async move {
        let _alone = admin.steering.lock().await;
        let place = admin.place(&name)?;
        if let delivery::State::Stopped(_) = admin.state(place) {
            admin.stores.events.pause(place.id, None).await?;
            tracing::info!(destination = %place.name, "destination resumed by the operator");
        }
        // One that its platform refuses is probed at once, and goes on when that works; nothing here could make it.
        admin.status.go_on(&place.name);
        Ok(render(&admin, place))
    })
    .await
}

/// `POST /v1/destinations/{name}/spill`
pub(super) async fn spill(
    State(admin): State<Admin>,
    Path(name): Path<String>,
    headers: HeaderMap,
    given: Body,
) -> Result<Response, Problem> {
    let mut asked = Asked::body(&headers, given).await?;
    let to = asked.destination("to")?;
    let dry_run = asked.flag("dry_run")?;
    let from = admin.place(&name)?.clone();
    let mut files = admin.places.iter().filter(|place| place.fallback_for.as_ref() == Some(&from.name));
    let file = match &to {
        Some(to) => files.find(|place| place.name == *to).cloned().ok_or_else(|| {
            let why = format!("must name a file destination that is configured with fallback_for = \"{}\"", from.name);
            asked.wrong("to", &why)
        })?,
        None => match (files.next(), files.next()) {
            (Some(file), None) => file.clone(),
            (Some(_), Some(_)) => return Err(asked.wrong("to", "is missing, and several files stand in for it")),
            (None, _) => {
                let detail = format!(
                    "no file stands in for {0}: configure a file destination with fallback_for = \"{0}\", then restart",
                    from.name
                );
                return Err(Problem::conflict(detail));
            }
        },
    };
    asked.finish()?;
    if admin.state(&from) == delivery::State::Active {
        let detail = format!("{0} delivers, so nothing has to be handed over; pause {0} first", from.name);
        return Err(Problem::conflict(detail));
    }
    let notes: Vec<String> = untaken(&from, &file).into_iter().collect();
    // A change needs its conversion, which no file looks up.
    let takes: Takes = {
        let file = file.clone();
        Arc::new(move |event| {
            let listed = file.events.contains(&event.name) && !event.name.is_change();
            let source = file.sources.as_ref().is_none_or(|sources| sources.contains(&event.source));
            let consent = file.on_unknown_consent.allows(event.consent);
            listed && source && consent && file.destination.admit(event).is_ok()
        })
    };
    finished(async move {
        let (mut moved, mut left) = (0, counts(&admin, &from).queued);
        // A platform that works again in the middle of it gets the rest itself.
        while !dry_run && admin.state(&from) != delivery::State::Active {
            let spilled =
                admin.stores.events.spill(from.id, file.id, Arc::clone(&takes), CHUNK, admin.clock.now()).await?;
            (moved, left) = (moved + spilled.moved, spilled.left);
            if spilled.moved == 0 {
                break;
            }
        }
        tracing::info!(from = %from.name, to = %file.name, dry_run, moved, left, "queue handed over by the operator");
        Ok(json!({
            "dry_run": dry_run, "from": from.name, "to": file.name, "moved": moved, "left": left,
            "queued": counts(&admin, &from).queued, "notes": notes,
        }))
    })
    .await
}

/// Events that `from` takes and `file` does not: they stay where they are.
fn untaken(from: &Place, file: &Place) -> Option<String> {
    let names: Vec<&str> = from.events.difference(&file.events).map(EventName::as_str).collect();
    (!names.is_empty()).then(|| {
        format!("{} does not take {}: what waits of that stays with {}", file.name, names.join(", "), from.name)
    })
}
