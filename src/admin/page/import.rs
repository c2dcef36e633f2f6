//! Many links as CSV, pasted or uploaded.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::Response,
};
use minijinja::{Value, context};

use super::{
    super::{Admin, links::rows_of_csv},
    edit::who,
    form::Sent,
    show as page, wrong,
};
use crate::{links::file::COLUMNS, web::Problem};

/// `GET /links/import`
pub(super) async fn ask(headers: HeaderMap) -> Response {
    page(&headers, StatusCode::OK, "Import", "import.html", context! { columns => COLUMNS.to_vec() })
}

/// `POST /links/import`
pub(super) async fn take(State(admin): State<Admin>, headers: HeaderMap, body: Body) -> Response {
    let sent = match Sent::read(&headers, body).await {
        Ok(sent) => sent,
        Err(problem) => return wrong(&headers, &problem),
    };
    let text = sent.text("file").map_or_else(|| sent.raw("rows"), |_| sent.raw("file")).to_owned();
    let by = match who(&headers, &sent) {
        Ok(by) => by,
        Err(mistakes) => return wrong(&headers, &Problem::invalid_request(None, mistakes[0].1.clone())),
    };
    let dry_run = sent.text("do") == Some("check");
    let (rows, mut rejected) = rows_of_csv(&text);
    let registry = Arc::clone(&admin.tracked.registry);
    let made = tokio::spawn(async move { registry.create_all(rows, &by, dry_run).await }).await;
    let made = match made {
        Ok(Ok(made)) => made,
        Ok(Err(refused)) => {
            let why = refused.reasons().into_iter().map(|(_, reason)| reason).collect::<Vec<_>>().join("; ");
            return wrong(&headers, &Problem::conflict(why));
        }
        Err(_) => return wrong(&headers, &Problem::internal()),
    };
    rejected.extend(made.rejected);
    rejected.sort_by_key(|row| row.line);
    let status =
        if made.made.is_empty() && !rejected.is_empty() { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::OK };
    let places = admin.tracked.registry.places();
    let links: Vec<Value> = made
        .made
        .iter()
        .map(|link| context! { key => link.key.to_string(), url => places.url(&link.key), destination => link.destination.clone() })
        .collect();
    let rejected: Vec<Value> = rejected
        .into_iter()
        .map(|row| context! { line => row.line, slug => row.slug, field => row.field, reason => row.reason })
        .collect();
    let told = context! {
        columns => COLUMNS.to_vec(), done => true, dry_run, links, rejected, rows => text, by => sent.raw("by"),
    };
    page(&headers, status, "Import", "import.html", told)
}
