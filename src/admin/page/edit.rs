//! Making a link, and one link with all there is to say and do.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    body::Body,
    extract::{RawQuery, State},
    http::{HeaderMap, StatusCode},
    response::Response,
};
use minijinja::{Value as Told, context};
use serde_json::Value;

use super::{
    super::{
        Admin,
        asked::Asked,
        clicks::{blocking, listed},
        links::history_of,
        tracked::state,
    },
    form::{self, Sent, Wrong},
    of, part, percent, see, show as page, shown, wrong,
};
use crate::{
    links::{LinkDraft, policy::Field},
    model::{Link, LinkKey},
    tracking::{
        registry::{Refused, Steer, fields},
        reports::Selection,
    },
    web::Problem,
};

/// The latest rows that are shown of a link.
const ROWS: usize = 25;
/// The latest changes.
const CHANGES: usize = 25;

/// `GET /links/new`; with `like` as another link is, but for its slug.
pub(super) async fn ask(State(admin): State<Admin>, RawQuery(query): RawQuery, headers: HeaderMap) -> Response {
    let read = || -> Result<Option<LinkKey>, Problem> {
        let mut asked = Asked::query(query.as_deref())?;
        let like = asked.text("like")?.map(|key| LinkKey::of(&key));
        asked.finish()?;
        Ok(like)
    };
    let like = match read() {
        Ok(like) => like.and_then(|key| admin.tracked.links.get(&key)),
        Err(problem) => return wrong(&headers, &problem),
    };
    let mut values = like.map(|link| form::values(&fields(&link))).unwrap_or_default();
    values.remove("slug");
    values.remove("exception");
    asking(&admin, &headers, StatusCode::OK, &values, &Wrong::new())
}

fn asking(
    admin: &Admin,
    headers: &HeaderMap,
    status: StatusCode,
    values: &BTreeMap<String, String>,
    mistakes: &Wrong,
) -> Response {
    let policy = admin.tracked.policy();
    let hosts = &admin.tracked.registry.places().hosts;
    let told = form::told(values, mistakes, &policy, hosts);
    match part("form.html", context! { new => true, ..told.clone() }) {
        Ok(form) => page(headers, status, "New link", "new.html", context! { form, ..told }),
        Err(error) => {
            tracing::error!(%error, "a page cannot be made");
            wrong(headers, &Problem::internal())
        }
    }
}

/// `POST /links/new`
pub(super) async fn create(State(admin): State<Admin>, headers: HeaderMap, body: Body) -> Response {
    let sent = match Sent::read(&headers, body).await {
        Ok(sent) => sent,
        Err(problem) => return wrong(&headers, &problem),
    };
    if sent.text("do") == Some("compose") {
        let (values, mistakes) = composed(&admin, &sent);
        return asking(&admin, &headers, StatusCode::OK, &values, &mistakes);
    }
    match made(&admin, &headers, &sent).await {
        Ok(link) => see(&shown_at(&link.key, "made")),
        Err(mistakes) => asking(&admin, &headers, StatusCode::UNPROCESSABLE_ENTITY, sent.all(), &mistakes),
    }
}

async fn made(admin: &Admin, headers: &HeaderMap, sent: &Sent) -> Result<Link, Wrong> {
    let mut link = form::without_nulls(form::link(sent)?);
    for name in ["slug", "host"] {
        if let Some(value) = sent.text(name) {
            link.insert(name.to_owned(), value.into());
        }
    }
    let by = who(headers, sent)?;
    let draft = LinkDraft::read(Value::Object(link)).map_err(|problem| Refused::from(problem).reasons())?;
    let registry = Arc::clone(&admin.tracked.registry);
    let made = tokio::spawn(async move { registry.create(draft, &by, false).await });
    let made = made.await.map_err(|_| vec![(String::new(), "something unexpected went wrong".to_owned())])?;
    made.map_err(|refused| refused.reasons())
}

/// Who sent a form.
pub(super) fn who(headers: &HeaderMap, sent: &Sent) -> Result<String, Wrong> {
    let by = sent.text("by").map(|by| ("by".to_owned(), Value::from(by)));
    Asked::object(by.into_iter().collect())
        .by(headers)
        .map_err(|problem| vec![("by".to_owned(), problem.detail.trim_start_matches("by: ").to_owned())])
}

/// The campaign's name out of its segments.
fn composed(admin: &Admin, sent: &Sent) -> (BTreeMap<String, String>, Wrong) {
    let mut values = sent.all().clone();
    let segments = sent.all().iter().filter_map(|(name, value)| Some((name.strip_prefix("segment.")?, value.trim())));
    let segments = segments.filter(|(_, value)| !value.is_empty());
    let segments = segments.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    match admin.tracked.policy().compose(Field::Campaign, &segments) {
        Ok(name) => {
            values.insert("campaign".to_owned(), name);
            (values, Wrong::new())
        }
        Err(broken) => (values, Refused::Policy(broken).reasons()),
    }
}

/// Where a link is shown, with a word on what was done.
fn shown_at(key: &LinkKey, done: &str) -> String {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    format!("/links/show?{}", query.append_pair("key", &key.to_string()).append_pair("done", done).finish())
}

/// `GET /links/show`
pub(super) async fn show(State(admin): State<Admin>, RawQuery(query): RawQuery, headers: HeaderMap) -> Response {
    let read = || -> Result<(Option<LinkKey>, Option<String>), Problem> {
        let mut asked = Asked::query(query.as_deref())?;
        let key = asked.text("key")?.map(|key| LinkKey::of(&key));
        let done = asked.text("done")?;
        asked.finish()?;
        Ok((key, done))
    };
    let (key, done) = match read() {
        Ok(read) => read,
        Err(problem) => return wrong(&headers, &problem),
    };
    let link = key.and_then(|key| admin.tracked.links.get(&key));
    let Some(link) = link else { return wrong(&headers, &Problem::unknown("there is no link of this key (any more)")) };
    let notice = match done.as_deref() {
        Some("made") => Some("The link is made."),
        Some("changed") => Some("Changed; the next click leads by it."),
        Some("pause") => Some("Paused: it redirects nobody until it is resumed."),
        Some("resume") => Some("It redirects again."),
        Some("approve") => Some("Approved: it redirects."),
        _ => None,
    };
    let values = form::values(&fields(&link));
    showing(&admin, &headers, StatusCode::OK, &link, &values, &Wrong::new(), notice).await
}

async fn showing(
    admin: &Admin,
    headers: &HeaderMap,
    status: StatusCode,
    link: &Link,
    values: &BTreeMap<String, String>,
    mistakes: &Wrong,
    notice: Option<&str>,
) -> Response {
    match told(admin, link, values, mistakes, notice).await {
        Ok(told) => page(headers, status, &link.key.to_string(), "link.html", told),
        Err(problem) => wrong(headers, &problem),
    }
}

async fn told(
    admin: &Admin,
    link: &Link,
    values: &BTreeMap<String, String>,
    mistakes: &Wrong,
    notice: Option<&str>,
) -> Result<Told, Problem> {
    let (policy, places, now) = (admin.tracked.policy(), admin.tracked.registry.places(), admin.clock.now());
    let rendered = |template: &str, told: Told| {
        part(template, told).map_err(|error| {
            tracing::error!(template, %error, "a page cannot be made");
            Problem::internal()
        })
    };
    let form =
        rendered("form.html", context! { new => false, ..form::told(values, mistakes, &policy, &places.hosts) })?;
    let history = history_of(admin, &link.key, CHANGES)?;
    let history = rendered("history.html", context! { history => of(history) })?;
    let (clicks, window) = (Arc::clone(&admin.stores.clicks), admin.tracked.settings.unique_window);
    let selection = Selection { link: Some(link.key.clone()), ..Selection::ALL };
    let rows = blocking(move || listed(&*clicks, &selection, window, ROWS, None)).await?;
    let row = |row: &crate::model::Click| {
        let with = [&row.device, &row.in_app, &row.browser, &row.os, &row.country];
        let with: Vec<&str> = with.into_iter().filter_map(Option::as_deref).collect();
        context! {
            at => shown(row.at), verdict => row.verdict.as_str(), with => with.join(" · "), referrer => row.referrer.clone(),
            reasons => row.reasons.join("; "), landed => row.landed.is_some(), head => row.head,
        }
    };
    let all = admin.tracked.links.all();
    let broken = Refused::Policy(policy.check(link, all.iter().map(Arc::as_ref))).reasons();
    let broken: Vec<String> = broken.into_iter().map(|(field, reason)| format!("{field} {reason}")).collect();
    let state = state(link, now);
    Ok(context! {
        key => link.key.to_string(), url => places.url(&link.key), state, notice, form, history, broken,
        mistakes => !mistakes.is_empty(),
        exception => link.exception.clone(), approved_by => link.approved_by.clone(),
        health => of(admin.tracked.health(&link.key)),
        created => shown(link.created_at), updated => shown(link.updated_at),
        all => rows.totals.all, human => rows.totals.human, unique => rows.totals.unique,
        sessions => rows.totals.sessions, ratio => percent(rows.totals.click_to_session()),
        rows => rows.rows.iter().map(row).collect::<Vec<_>>(),
    })
}

/// `POST /links/edit`
pub(super) async fn change(State(admin): State<Admin>, headers: HeaderMap, body: Body) -> Response {
    let sent = match Sent::read(&headers, body).await {
        Ok(sent) => sent,
        Err(problem) => return wrong(&headers, &problem),
    };
    let key = LinkKey::of(sent.raw("key").trim());
    let Some(before) = admin.tracked.links.get(&key) else {
        return wrong(&headers, &Problem::unknown("there is no link of this key (any more)"));
    };
    if sent.text("do") == Some("compose") {
        let (values, mistakes) = composed(&admin, &sent);
        return showing(&admin, &headers, StatusCode::OK, &before, &values, &mistakes, None).await;
    }
    let read = || -> Result<(String, serde_json::Map<String, Value>), Wrong> {
        Ok((who(&headers, &sent)?, form::link(&sent)?))
    };
    let done = match read() {
        Ok((by, patch)) => {
            let (registry, key) = (Arc::clone(&admin.tracked.registry), key.clone());
            let done = tokio::spawn(async move { registry.patch(&key, &patch, &by).await }).await;
            done.map_err(|_| vec![(String::new(), "something unexpected went wrong".to_owned())])
                .and_then(|done| done.map_err(|refused| refused.reasons()))
        }
        Err(mistakes) => Err(mistakes),
    };
    match done {
        Ok(link) => see(&shown_at(&link.key, "changed")),
        Err(mistakes) => {
            let status = StatusCode::UNPROCESSABLE_ENTITY;
            showing(&admin, &headers, status, &before, sent.all(), &mistakes, None).await
        }
    }
}

/// `POST /links/act`: pause, resume, approve, remove.
pub(super) async fn act(State(admin): State<Admin>, headers: HeaderMap, body: Body) -> Response {
    let sent = match Sent::read(&headers, body).await {
        Ok(sent) => sent,
        Err(problem) => return wrong(&headers, &problem),
    };
    let refused = |reasons: &Wrong| {
        let reasons: Vec<&str> = reasons.iter().map(|(_, reason)| reason.as_str()).collect();
        wrong(&headers, &Problem::conflict(reasons.join("; ")))
    };
    let by = match who(&headers, &sent) {
        Ok(by) => by,
        Err(mistakes) => return refused(&mistakes),
    };
    let (key, act) = (LinkKey::of(sent.raw("key").trim()), sent.raw("act").to_owned());
    let steer = match act.as_str() {
        "pause" => Some(Steer::Pause),
        "resume" => Some(Steer::Resume),
        "approve" => Some(Steer::Approve),
        "remove" => None,
        _ => return wrong(&headers, &Problem::invalid_request(None, "act: must be pause, resume, approve or remove")),
    };
    let (registry, link) = (Arc::clone(&admin.tracked.registry), key.clone());
    let done = tokio::spawn(async move {
        match steer {
            Some(steer) => registry.steer(&link, steer, &by).await.map(drop),
            None => registry.remove(&link, &by).await,
        }
    });
    match done.await {
        Ok(Ok(())) if steer.is_none() => see("/links"),
        Ok(Ok(())) => see(&shown_at(&key, &act)),
        Ok(Err(error)) => refused(&error.reasons()),
        Err(_) => wrong(&headers, &Problem::internal()),
    }
}
