//! `/v1/utm`: the policy in force, what drifts from it, and what is decided about it while the relay runs.

use axum::{
    Router,
    body::Body,
    extract::{RawQuery, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse as _, Response},
    routing::{get, post},
};
use serde_json::{Value, json};

use super::{
    Admin, answer,
    asked::Asked,
    links::{csv_text, diff, is_csv, rows_of_csv, rows_of_list},
    tracked::refusal,
};
use crate::{
    links::{
        file::Row,
        policy::{Campaign, Decision, DecisionKey, Field, Offers},
    },
    model::Time,
    tracking::{
        governance::DecisionError,
        registry::{Refused, Rejection},
    },
    web::{Problem, read_body, read_json, require_json},
};

/// Values in one list.
const LIMIT_MAX: u64 = 10_000;
const LIMIT: u64 = 200;
/// Changes in one list.
const CHANGES_MAX: u64 = 1000;
const CHANGES: u64 = 100;
/// Ten thousand rows with long addresses fit.
const BODY_BYTES_MAX: usize = 16 << 20;

/// The routes of the policy.
pub(super) fn routes() -> Router<Admin> {
    Router::new()
        .route("/v1/utm", get(show))
        .route("/v1/utm/drift", get(drift))
        .route("/v1/utm/history", get(history))
        .route("/v1/utm/aliases", post(add_alias).delete(remove_alias))
        .route("/v1/utm/values", post(add_value).delete(remove_value))
        .route("/v1/utm/campaigns", post(add_campaign).delete(remove_campaign))
        .route("/v1/utm/lint", post(lint))
}

/// `GET /v1/utm`
async fn show(State(admin): State<Admin>, RawQuery(query): RawQuery) -> Result<Response, Problem> {
    Asked::query(query.as_deref())?.finish()?;
    let mut told = admin.tracked.policy().shown();
    told["decisions"] = json!(admin.tracked.governance.decisions());
    Ok(answer(&told))
}

/// `GET /v1/utm/drift`
async fn drift(State(admin): State<Admin>, RawQuery(query): RawQuery) -> Result<Response, Problem> {
    let mut asked = Asked::query(query.as_deref())?;
    let since = asked.time("since")?;
    let max = asked.number("limit", 1..=LIMIT_MAX)?.unwrap_or(LIMIT);
    asked.finish()?;
    Ok(answer(&drifting(&admin, since, usize::try_from(max).unwrap_or(usize::MAX))))
}

/// What nobody registered.
pub(super) fn drifting(admin: &Admin, since: Option<Time>, max: usize) -> Value {
    let drift = &admin.tracked.drift;
    let told: Vec<Value> = drift
        .list(since, max)
        .into_iter()
        .map(|value| {
            json!({
                "field": value.field, "value": value.value, "count": value.count, "nearest": value.nearest,
                "first_seen": value.first_seen.to_string(), "last_seen": value.last_seen.to_string(),
                "spellings": value.spellings,
            })
        })
        .collect();
    json!({ "drift": told, "others": drift.others() })
}

/// `GET /v1/utm/history`
async fn history(State(admin): State<Admin>, RawQuery(query): RawQuery) -> Result<Response, Problem> {
    let mut asked = Asked::query(query.as_deref())?;
    let max = asked.number("limit", 1..=CHANGES_MAX)?.unwrap_or(CHANGES);
    asked.finish()?;
    let changes = admin.tracked.governance.history(usize::try_from(max).unwrap_or(usize::MAX))?;
    Ok(answer(&json!({ "history": changes.iter().map(diff).collect::<Vec<_>>() })))
}

fn field(asked: &mut Asked) -> Result<Field, Problem> {
    let known = Field::ALL.map(Field::as_str).join(", ");
    let field = asked.parsed("field", &known, Field::parse)?;
    field.ok_or_else(|| asked.wrong("field", &format!("is missing; one of {known}")))
}

fn needed(asked: &mut Asked, name: &'static str) -> Result<String, Problem> {
    let text = asked.text(name)?.filter(|text| !text.trim().is_empty());
    text.ok_or_else(|| asked.wrong(name, "is missing"))
}

/// Decides, also if whoever asked hangs up in the middle.
pub(super) async fn decided(admin: &Admin, decision: Decision, by: String) -> Result<(), Refused> {
    let (governance, now) = (admin.tracked.governance.clone(), admin.clock.now());
    let done = tokio::spawn(async move { governance.decide(&decision, &by, now).await });
    match done.await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(DecisionError::Refused(problem))) => Err(problem.into()),
        Ok(Err(DecisionError::Store(error))) => Err(error.into()),
        Ok(Err(full @ DecisionError::Full)) => Err(Refused::Full(full.to_string())),
        Err(_) => Err(Refused::Store("the decision broke off".to_owned())),
    }
}

async fn decide(admin: &Admin, decision: Decision, by: String) -> Response {
    let told = json!(decision);
    match decided(admin, decision, by).await {
        Ok(()) => (StatusCode::CREATED, answer(&told)).into_response(),
        Err(refused) => refusal(&refused),
    }
}

/// Takes back what was decided. Whether there was something.
async fn undo(admin: &Admin, key: DecisionKey, by: String) -> Result<bool, Problem> {
    let (governance, now) = (admin.tracked.governance.clone(), admin.clock.now());
    let done = tokio::spawn(async move { governance.undo(&key, &by, now).await });
    Ok(done.await.map_err(|_| Problem::internal())??)
}

/// `POST /v1/utm/aliases`
async fn add_alias(State(admin): State<Admin>, headers: HeaderMap, body: Body) -> Result<Response, Problem> {
    let mut asked = Asked::body(&headers, body).await?;
    let field = field(&mut asked)?;
    let (from, to, by) = (needed(&mut asked, "from")?, needed(&mut asked, "to")?, asked.by(&headers)?);
    asked.finish()?;
    Ok(decide(&admin, Decision::Alias { field, from, to }, by).await)
}

/// `DELETE /v1/utm/aliases`: one that was decided is taken back; one that is configured or built in holds no longer.
async fn remove_alias(State(admin): State<Admin>, headers: HeaderMap, body: Body) -> Result<Response, Problem> {
    let mut asked = Asked::body(&headers, body).await?;
    let field = field(&mut asked)?;
    let (from, by) = (needed(&mut asked, "from")?, asked.by(&headers)?);
    asked.finish()?;
    if undo(&admin, DecisionKey::alias(field, &from), by.clone()).await? {
        return Ok(answer(&json!({ "field": field, "from": from, "removed": true })));
    }
    Ok(decide(&admin, Decision::NoAlias { field, from }, by).await)
}

/// `POST /v1/utm/values`
async fn add_value(State(admin): State<Admin>, headers: HeaderMap, body: Body) -> Result<Response, Problem> {
    let mut asked = Asked::body(&headers, body).await?;
    let field = field(&mut asked)?;
    let (value, by) = (needed(&mut asked, "value")?, asked.by(&headers)?);
    asked.finish()?;
    Ok(decide(&admin, Decision::Value { field, value }, by).await)
}

/// `DELETE /v1/utm/values`
async fn remove_value(State(admin): State<Admin>, headers: HeaderMap, body: Body) -> Result<Response, Problem> {
    let mut asked = Asked::body(&headers, body).await?;
    let field = field(&mut asked)?;
    let (value, by) = (needed(&mut asked, "value")?, asked.by(&headers)?);
    asked.finish()?;
    removed(undo(&admin, DecisionKey::value(field, &value), by).await?)
}

/// `POST /v1/utm/campaigns`
async fn add_campaign(State(admin): State<Admin>, headers: HeaderMap, body: Body) -> Result<Response, Problem> {
    let mut asked = Asked::body(&headers, body).await?;
    let name = needed(&mut asked, "name")?;
    let campaign = Campaign {
        offer: asked.text("offer")?,
        owner: asked.text("owner")?,
        note: asked.text("note")?,
        from: asked.text("from")?,
        until: asked.text("until")?,
    };
    let by = asked.by(&headers)?;
    asked.finish()?;
    Ok(decide(&admin, Decision::Campaign { name, campaign }, by).await)
}

/// `DELETE /v1/utm/campaigns`
async fn remove_campaign(State(admin): State<Admin>, headers: HeaderMap, body: Body) -> Result<Response, Problem> {
    let mut asked = Asked::body(&headers, body).await?;
    let (name, by) = (needed(&mut asked, "name")?, asked.by(&headers)?);
    asked.finish()?;
    removed(undo(&admin, DecisionKey::campaign(&name), by).await?)
}

fn removed(there: bool) -> Result<Response, Problem> {
    if there {
        return Ok(answer(&json!({ "removed": true })));
    }
    Err(Problem::unknown("nothing of this name was decided while the relay runs; what is configured stays in [utm]"))
}

/// `POST /v1/utm/lint`: a link, many, or CSV; what they would break, and nothing is stored.
async fn lint(State(admin): State<Admin>, headers: HeaderMap, body: Body) -> Result<Response, Problem> {
    let bytes = read_body(body, BODY_BYTES_MAX).await?;
    let (rows, rejected) = if is_csv(&headers) {
        rows_of_csv(csv_text(&bytes)?)
    } else {
        require_json(&headers)?;
        let fields: serde_json::Map<String, Value> = read_json(&bytes, "")?;
        let list = match fields.get("links") {
            Some(Value::Array(list)) => list.clone(),
            _ => vec![Value::Object(fields)],
        };
        rows_of_list(&list)
    };
    let (policy, all, now) = (admin.tracked.policy(), admin.tracked.links.all(), admin.clock.now());
    let mut offers = Offers::of(&policy, all.iter().map(AsRef::as_ref));
    let (mut findings, mut errors) = (Vec::new(), 0_u64);
    let mut tell = |line: u64, slug: Option<&str>, severity: &str, one: Value| {
        errors += u64::from(severity == "error");
        let mut told = json!({ "line": line, "slug": slug, "severity": severity });
        if let (Value::Object(told), Value::Object(one)) = (&mut told, one) {
            told.extend(one);
        }
        findings.push(told);
    };
    for Rejection { line, slug, field, reason } in rejected {
        tell(line, slug.as_deref(), "error", json!({ "rule": "format", "field": field, "message": reason }));
    }
    let count = rows.len();
    for Row { line, draft } in rows {
        let slug = draft.slug.clone();
        let link = admin.tracked.registry.drafted(draft, now);
        match link {
            Err(refused) => {
                for (field, message) in refused.reasons() {
                    tell(
                        line,
                        slug.as_deref(),
                        "error",
                        json!({ "rule": "format", "field": field, "message": message }),
                    );
                }
            }
            Ok(link) => {
                for one in policy.check_among(&link, &offers) {
                    tell(line, slug.as_deref(), "error", json!(one));
                }
                for one in policy.advice(&link) {
                    tell(line, slug.as_deref(), "advice", json!(one));
                }
                offers.add(&policy, &link);
            }
        }
    }
    Ok(answer(&json!({ "links": count, "errors": errors, "findings": findings })))
}
