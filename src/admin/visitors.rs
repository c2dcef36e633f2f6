//! `/v1/visitors`: who somebody is to us, and forgetting it.

use std::collections::{BTreeMap, BTreeSet};

use axum::{
    body::Body,
    extract::{Path, RawQuery, State},
    http::HeaderMap,
    response::Response,
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Admin, answer, asked::Asked, finished, timeline};
use crate::{
    context,
    model::{Action, IdentityKey, IdentityKind, Raw, RawUser, Visit, Visitor, VisitorId, kind},
    privacy::seal_user,
    store::Forget,
    web::{OneOrMany, Problem, read_body, read_json, require_json},
};

/// A person has few identifiers.
const BODY_BYTES_MAX: usize = 64 << 10;
/// Forgetting goes from a person's identifiers to the visitors, and on to what else is known of those: no further than this.
const ROUNDS_MAX: usize = 10;

/// `GET /v1/visitors/{id}`
pub(super) async fn show(
    State(admin): State<Admin>,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    Asked::query(query.as_deref())?.finish()?;
    let id = VisitorId::new(id).map_err(|_| unknown())?;
    let visits = admin.stores.visits.clone();
    let found = tokio::task::spawn_blocking(move || visits.find(&id)).await.map_err(|_| Problem::internal())?;
    Ok(answer(&render(&found?.ok_or_else(unknown)?)))
}

fn unknown() -> Problem {
    Problem::unknown("no visitor of this id is stored (any more)")
}

/// A visitor without what tells who it is: identifiers are counted, pages are told without their query.
fn render(visitor: &Visitor) -> Value {
    let mut identifiers: BTreeMap<&'static str, u64> = BTreeMap::new();
    for key in &visitor.keys {
        *identifiers.entry(kind_name(key.kind)).or_default() += 1;
    }
    let visit = |visit: &Visit| {
        let page = |address: &Option<crate::model::Sensitive<String>>| {
            address.as_ref().map(|address| address.expose().split(['?', '#']).next().unwrap_or_default().to_owned())
        };
        json!({
            "at": visit.at.to_string(), "page": page(&visit.url), "referrer": page(&visit.referrer), "utm": visit.utm,
            "link": visit.link, "pages": visit.pages, "engaged_s": visit.engaged_s, "scroll": visit.scroll,
        })
    };
    let visits: Vec<Value> = std::iter::once(&visitor.first_visit).chain(&visitor.visits).map(visit).collect();
    json!({
        "visitor_id": visitor.id,
        "first_seen": visitor.first_visit.at.to_string(),
        "last_seen": visitor.last_seen.to_string(),
        "consent": visitor.consent,
        "identifiers": identifiers,
        "clicks": timeline::clicks(&visitor.clicks),
        "visits": visits,
        "steps": visitor.actions.iter().map(step).collect::<Vec<_>>(),
        "screen": visitor.screen,
        "linked": visitor.linked,
    })
}

/// Something the visitor did, without the transaction, of which only a hash is known.
fn step(action: &Action) -> Value {
    let (value, currency) = action.money.as_ref().map(|money| (money.text(), money.currency().code())).unzip();
    json!({ "at": action.at.to_string(), "event": action.name, "value": value, "currency": currency })
}

const fn kind_name(kind: IdentityKind) -> &'static str {
    match kind {
        IdentityKind::Email => "email",
        IdentityKind::Phone => "phone",
        IdentityKind::ExternalId => "external_id",
        IdentityKind::CheckoutToken => "checkout_token",
        IdentityKind::GaClientId => "ga_client_id",
        IdentityKind::Fbp => "fbp",
        IdentityKind::LeadId => "lead_id",
        IdentityKind::ClickId => "click_id",
        IdentityKind::Conversion => "conversion",
    }
}

/// `DELETE /v1/visitors/{id}`
pub(super) async fn forget_one(State(admin): State<Admin>, Path(id): Path<String>) -> Result<Response, Problem> {
    let id = VisitorId::new(id).map_err(|_| unknown())?;
    let whom = Forget { visitors: vec![id], keys: Vec::new() };
    finished(async move { forgotten(&admin, whom, &["visitor_id"]).await }).await
}

/// The body of `POST /v1/visitors/forget`. Contact data in it is hashed at once; it has no way to be printed.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ForgetWire {
    visitor_id: Option<String>,
    email: Option<OneOrMany<Raw<kind::Email>>>,
    phone: Option<OneOrMany<Raw<kind::Phone>>>,
    external_id: Option<OneOrMany<Raw<kind::ExternalId>>>,
    country: Option<Raw<kind::Country>>,
}

/// `POST /v1/visitors/forget`
pub(super) async fn forget(State(admin): State<Admin>, headers: HeaderMap, given: Body) -> Result<Response, Problem> {
    let bytes = read_body(given, BODY_BYTES_MAX).await?;
    require_json(&headers)?;
    let refused = |mut problem: Problem| {
        if problem.status == 422 {
            problem.kind = "/problems/invalid-request";
        }
        problem
    };
    let wire: ForgetWire = read_json(&bytes, "").map_err(refused)?;
    let visitor = wire.visitor_id.map(VisitorId::new).transpose();
    let visitor =
        visitor.map_err(|why| Problem::invalid_request(Some("/visitor_id".into()), format!("visitor_id: {why}")))?;
    let person = RawUser {
        emails: list(wire.email),
        phones: list(wire.phone),
        external_ids: list(wire.external_id),
        country: wire.country,
        ..RawUser::default()
    };
    let (emails, phones, ids) = (person.emails.len(), person.phones.len(), person.external_ids.len());
    // As intake does it, so that the same person has the same keys.
    let keys: Vec<IdentityKey> = seal_user(&person, admin.default_country).identity_keys().collect();
    drop(person);
    let count = |kind| keys.iter().filter(|key| key.kind == kind).count();
    for (field, given, kind) in [
        ("email", emails, IdentityKind::Email),
        ("phone", phones, IdentityKind::Phone),
        ("external_id", ids, IdentityKind::ExternalId),
    ] {
        if given > 0 && count(kind) == 0 {
            let hint = if field == "phone" { "; write it with its country code" } else { "" };
            let detail = format!("{field}: cannot be read as one, so that nothing would be found by it{hint}");
            return Err(Problem::invalid_request(Some(format!("/{field}")), detail));
        }
    }
    if visitor.is_none() && keys.is_empty() {
        let detail = "give at least one of visitor_id, email, phone and external_id";
        return Err(Problem::invalid_request(Some(String::new()), detail));
    }
    let by: Vec<&'static str> =
        [("visitor_id", visitor.is_some()), ("email", emails > 0), ("phone", phones > 0), ("external_id", ids > 0)]
            .into_iter()
            .filter_map(|(name, given)| given.then_some(name))
            .collect();
    let whom = Forget { visitors: visitor.into_iter().collect(), keys };
    finished(async move { forgotten(&admin, whom, &by).await }).await
}

fn list<T>(values: Option<OneOrMany<T>>) -> Vec<T> {
    values.map(OneOrMany::into_vec).unwrap_or_default()
}

/// What forgetting came to.
#[derive(Default)]
struct Sum {
    visitors: u64,
    clicks: u64,
    events: u64,
    skipped: u64,
}

/// Forgets everywhere.
async fn forgotten(admin: &Admin, whom: Forget, by: &[&str]) -> Result<Value, Problem> {
    let Forget { visitors, keys } = whom;
    let (mut next, mut sum) = (BTreeSet::from_iter(visitors), Sum::default());
    // Deleting a visitor may bring an older one to light that was seen with the same identifier.
    for round in 0..=ROUNDS_MAX {
        next.extend(seen_with(admin, &keys).await?);
        let keys = if round == 0 { keys.clone() } else { Vec::new() };
        if next.is_empty() && keys.is_empty() {
            break;
        }
        forget_persons(admin, std::mem::take(&mut next), keys, &mut sum).await?;
    }
    let Sum { visitors, clicks, events, skipped } = sum;
    tracing::info!(by = by.join(" "), visitors, clicks, events, skipped, "a person was forgotten by the operator");
    Ok(json!({ "visitors": visitors, "clicks": clicks, "events": events, "skipped": skipped }))
}

/// Forgets these visitors, the others that are the same persons, and those that their events name. Events come first: if the
/// store fails in the middle, the visitors that lead to the rest are still there for another try.
async fn forget_persons(
    admin: &Admin,
    mut next: BTreeSet<VisitorId>,
    mut keys: Vec<IdentityKey>,
    sum: &mut Sum,
) -> Result<(), Problem> {
    let (now, mut done) = (admin.clock.now(), BTreeSet::new());
    for _ in 0..ROUNDS_MAX {
        if next.is_empty() && keys.is_empty() {
            break;
        }
        let (stores, whose) = (admin.stores.clone(), next.clone());
        let others = tokio::task::spawn_blocking(move || context::same_persons(&stores, &whose)).await;
        let forget = Forget { visitors: next.iter().cloned().collect(), keys: std::mem::take(&mut keys) };
        let forgotten = admin.stores.events.forget(&forget, now).await?;
        (sum.events, sum.skipped) = (sum.events + forgotten.events, sum.skipped + forgotten.skipped);
        done.append(&mut next);
        next.extend(others.map_err(|_| Problem::internal())??);
        next.extend(forgotten.visitors);
        next.retain(|id| !done.contains(id));
    }
    done.append(&mut next);
    let forgotten = context::forget(&admin.stores, &done).await?;
    (sum.visitors, sum.clicks) = (sum.visitors + forgotten.visitors, sum.clicks + forgotten.clicks);
    Ok(())
}

/// The visitors that these keys lead to.
async fn seen_with(admin: &Admin, keys: &[IdentityKey]) -> Result<Vec<VisitorId>, Problem> {
    let (visits, keys) = (admin.stores.visits.clone(), keys.to_vec());
    let search = move || {
        let found = keys.iter().filter_map(|key| visits.find_by(std::slice::from_ref(key)).transpose());
        let ids: Result<BTreeSet<VisitorId>, _> = found.map(|found| found.map(|(visitor, _)| visitor.id)).collect();
        ids
    };
    let ids = tokio::task::spawn_blocking(search).await.map_err(|_| Problem::internal())??;
    Ok(ids.into_iter().collect())
}
