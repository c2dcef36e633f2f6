//! Making, changing and steering links over the API.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::{Path, RawQuery, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use serde_json::{Map, Value, json};

use super::{super::Admin, super::answer, super::asked::Asked, key, refusal};
use crate::{
    links::{
        LinkDraft,
        file::{Row, read_csv},
    },
    model::{Link, LinkKey},
    tracking::registry::{Refused, Rejection, Steer},
    web::{Problem, read_body, read_json, require_json},
};

/// Ten thousand rows with long addresses fit.
const BODY_BYTES_MAX: usize = 16 << 20;
/// Links in one request.
const LINKS_MAX: usize = 10_000;

/// `POST /v1/links`: one as an object, many as `{"links": […]}` or as CSV.
pub(super) async fn create(
    State(admin): State<Admin>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let mut asked = Asked::query(query.as_deref())?;
    let is_yes = |text: &str| match text {
        "1" | "true" => Some(true),
        "0" | "false" => Some(false),
        _ => None,
    };
    let dry_run = asked.parsed("dry_run", "1 or 0", is_yes)?.unwrap_or(false);
    let by = asked.by(&headers)?;
    asked.finish()?;
    let bytes = read_body(body, BODY_BYTES_MAX).await?;
    if is_csv(&headers) {
        let (rows, rejected) = rows_of_csv(csv_text(&bytes)?);
        return bulk(admin, rows, rejected, by, dry_run).await;
    }
    require_json(&headers)?;
    let mut fields: Map<String, Value> = read_json(&bytes, "")?;
    let by = said(&mut fields, &headers)?.unwrap_or(by);
    if let Some(Value::Array(list)) = fields.get("links") {
        if list.len() > LINKS_MAX {
            return Err(Problem::invalid_request(Some("/links".into()), format!("links: at most {LINKS_MAX} at once")));
        }
        if fields.len() > 1 {
            return Err(Problem::invalid_request(None, "beside links, only by is known here"));
        }
        let (rows, rejected) = rows_of_list(list);
        return bulk(admin, rows, rejected, by, dry_run).await;
    }
    let draft = match LinkDraft::read(Value::Object(fields)) {
        Ok(draft) => draft,
        Err(problem) => return Ok(refusal(&problem.into())),
    };
    let status = if dry_run { StatusCode::OK } else { StatusCode::CREATED };
    done(admin, status, move |admin| async move { admin.tracked.registry.create(draft, &by, dry_run).await }).await
}

/// Whether the body is CSV.
pub(in crate::admin) fn is_csv(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    kind.trim_start().to_ascii_lowercase().starts_with("text/csv")
}

/// CSV as text.
pub(in crate::admin) fn csv_text(bytes: &[u8]) -> Result<&str, Problem> {
    let why = "the CSV is not UTF-8: save it as UTF-8 and send it again";
    std::str::from_utf8(bytes).map_err(|_| Problem::invalid_request(None, why))
}

/// The links of a CSV, and the rows that are none.
pub(in crate::admin) fn rows_of_csv(text: &str) -> (Vec<Row>, Vec<Rejection>) {
    let (mut rows, mut rejected) = (Vec::new(), Vec::new());
    for row in read_csv(text) {
        match row {
            Ok(row) => rows.push(row),
            Err(row) => rejected.push(row.into()),
        }
    }
    (rows, rejected)
}

/// The links of a list by their places, counted from 1, and the entries that are none.
pub(in crate::admin) fn rows_of_list(list: &[Value]) -> (Vec<Row>, Vec<Rejection>) {
    let (mut rows, mut rejected) = (Vec::new(), Vec::new());
    for (line, link) in (1..).zip(list) {
        match LinkDraft::read(link.clone()) {
            Ok(draft) => rows.push(Row { line, draft }),
            Err(problem) => rejected.push(Rejection {
                line,
                slug: link["slug"].as_str().filter(|slug| slug.len() <= 64).map(str::to_owned),
                field: problem.key,
                reason: problem.message,
            }),
        }
    }
    (rows, rejected)
}

async fn bulk(
    admin: Admin,
    rows: Vec<Row>,
    mut rejected: Vec<Rejection>,
    by: String,
    dry_run: bool,
) -> Result<Response, Problem> {
    let registry = Arc::clone(&admin.tracked.registry);
    let made = tokio::spawn(async move { registry.create_all(rows, &by, dry_run).await });
    let made = match made.await.map_err(|_| Problem::internal())? {
        Ok(made) => made,
        Err(refused) => return Ok(refusal(&refused)),
    };
    rejected.extend(made.rejected);
    rejected.sort_by_key(|row| row.line);
    let rejected: Vec<Value> = rejected
        .into_iter()
        .map(|row| json!({ "line": row.line, "slug": row.slug, "field": row.field, "reason": row.reason }))
        .collect();
    let places = admin.tracked.registry.places();
    let told = |link: &Link| json!({ "slug": link.key.slug, "host": link.key.host, "url": places.url(&link.key), "state": link.state });
    let links: Vec<Value> = made.made.iter().map(told).collect();
    Ok(answer(&json!({ "created": links.len(), "dry_run": dry_run, "rejected": rejected, "links": links })))
}

/// Takes `by` out of the fields of a body.
fn said(fields: &mut Map<String, Value>, headers: &HeaderMap) -> Result<Option<String>, Problem> {
    if fields.get("by").is_none_or(Value::is_null) {
        fields.remove("by");
        return Ok(None);
    }
    let by: Map<String, Value> = fields.remove("by").into_iter().map(|by| ("by".to_owned(), by)).collect();
    Asked::object(by).by(headers).map(Some)
}

/// Changes a link to its end, also if whoever asked hangs up in the middle, and answers with what it is then.
async fn done<W, F>(admin: Admin, status: StatusCode, work: W) -> Result<Response, Problem>
where
    W: FnOnce(Admin) -> F + Send + 'static,
    F: Future<Output = Result<Link, Refused>> + Send + 'static,
{
    let link = tokio::spawn(work(admin.clone())).await.map_err(|_| Problem::internal())?;
    Ok(match link {
        Ok(link) => (status, answer(&admin.tracked.told(&link, admin.clock.now()))).into_response(),
        Err(refused) => refusal(&refused),
    })
}

fn which(slug: &str, query: Option<&str>) -> Result<LinkKey, Problem> {
    let mut asked = Asked::query(query)?;
    let key = key(slug, asked.text("host")?);
    asked.finish()?;
    Ok(key)
}

/// `PATCH /v1/links/{slug}`: a JSON merge patch.
pub(super) async fn patch(
    State(admin): State<Admin>,
    Path(slug): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let key = which(&slug, query.as_deref())?;
    let bytes = read_body(body, BODY_BYTES_MAX).await?;
    require_json(&headers)?;
    let mut fields: Map<String, Value> = read_json(&bytes, "")?;
    let by = match said(&mut fields, &headers)? {
        Some(by) => by,
        None => Asked::object(Map::new()).by(&headers)?,
    };
    done(admin, StatusCode::OK, move |admin| async move { admin.tracked.registry.patch(&key, &fields, &by).await })
        .await
}

/// `DELETE /v1/links/{slug}`
pub(super) async fn remove(
    State(admin): State<Admin>,
    Path(slug): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let key = which(&slug, query.as_deref())?;
    let mut asked = Asked::body(&headers, body).await?;
    let by = asked.by(&headers)?;
    asked.finish()?;
    let registry = Arc::clone(&admin.tracked.registry);
    let link = key.clone();
    let removed = tokio::spawn(async move { registry.remove(&key, &by).await });
    Ok(match removed.await.map_err(|_| Problem::internal())? {
        Ok(()) => answer(&json!({ "link": link, "state": "removed" })),
        Err(refused) => refusal(&refused),
    })
}

/// `POST /v1/links/{slug}/approve`
pub(super) async fn approve(
    State(admin): State<Admin>,
    slug: Path<String>,
    query: RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    steer(admin, slug, query, headers, body, Steer::Approve).await
}

/// `POST /v1/links/{slug}/pause`
pub(super) async fn pause(
    State(admin): State<Admin>,
    slug: Path<String>,
    query: RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    steer(admin, slug, query, headers, body, Steer::Pause).await
}

/// `POST /v1/links/{slug}/resume`
pub(super) async fn resume(
    State(admin): State<Admin>,
    slug: Path<String>,
    query: RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    steer(admin, slug, query, headers, body, Steer::Resume).await
}

async fn steer(
    admin: Admin,
    Path(slug): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Body,
    steer: Steer,
) -> Result<Response, Problem> {
    let key = which(&slug, query.as_deref())?;
    let mut asked = Asked::body(&headers, body).await?;
    let by = asked.by(&headers)?;
    asked.finish()?;
    done(admin, StatusCode::OK, move |admin| async move { admin.tracked.registry.steer(&key, steer, &by).await }).await
}
