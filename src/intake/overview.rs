//! `GET /v1/sources`: what each source brought since the relay started.

use axum::{
    Router,
    extract::State,
    http::header,
    response::{IntoResponse as _, Response},
    routing::get,
};
use serde_json::{Value, json};

use super::webhooks::Desk;

pub(super) fn router(desk: Desk) -> Router {
    Router::new().route("/v1/sources", get(all)).with_state(desk)
}

async fn all(State(desk): State<Desk>) -> Response {
    let source = |(name, counts)| {
        let mut shown = serde_json::to_value(counts).unwrap_or_default();
        if let Value::Object(shown) = &mut shown {
            shown.insert("name".to_owned(), json!(name));
        }
        shown
    };
    let body = json!({ "sources": desk.tally.counts().into_iter().map(source).collect::<Vec<_>>() });
    ([(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}
