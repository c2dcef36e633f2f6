//! The UTM policy: what is accepted, what drifts, what is decided about it.

use axum::{
    body::Body,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::Response,
};
use minijinja::{Value, context};

use super::{
    super::{Admin, links::diff, utm::decided},
    edit::who,
    form::{Sent, Wrong},
    of, part, see, show as page, shown, wrong,
};
use crate::{
    links::policy::{Campaign, Decision, Field},
    model::Time,
    web::Problem,
};

/// Drifting values on the page.
const DRIFT_MAX: usize = 50;
/// Changes on the page.
const CHANGES: usize = 25;

/// `GET /links/policy`
pub(super) async fn show(State(admin): State<Admin>, headers: HeaderMap) -> Response {
    showing(&admin, &headers, StatusCode::OK, &Sent::default(), &Wrong::new())
}

fn showing(admin: &Admin, headers: &HeaderMap, status: StatusCode, sent: &Sent, mistakes: &Wrong) -> Response {
    let told = || -> Result<Value, Problem> {
        let drift = admin.tracked.drift.list(None, DRIFT_MAX).into_iter().map(|value| {
            let spellings: Vec<String> =
                value.spellings.iter().take(5).map(|one| format!("{} ({})", one.raw, one.count)).collect();
            let at = |at: Time| shown(at);
            context! {
                field => value.field.as_str(), value => value.value, count => value.count, nearest => value.nearest,
                first => at(value.first_seen), last => at(value.last_seen), spellings => spellings.join(", "),
            }
        });
        let history: Vec<serde_json::Value> = admin.tracked.governance.history(CHANGES)?.iter().map(diff).collect();
        let history = part("history.html", context! { history => of(history), keyed => true }).map_err(|error| {
            tracing::error!(%error, "a page cannot be made");
            Problem::internal()
        })?;
        let told: Vec<String> =
            mistakes.iter().map(|(field, reason)| format!("{field} {reason}").trim().to_owned()).collect();
        Ok(context! {
            policy => of(admin.tracked.policy().shown()), drift => drift.collect::<Vec<_>>(), history,
            fields => Field::ALL.map(Field::as_str).to_vec(), wrong => told, sent => of(sent.all()),
        })
    };
    match told() {
        Ok(told) => page(headers, status, "UTM policy", "policy.html", told),
        Err(problem) => wrong(headers, &problem),
    }
}

/// `POST /links/policy`
pub(super) async fn decide(State(admin): State<Admin>, headers: HeaderMap, body: Body) -> Response {
    let sent = match Sent::read(&headers, body).await {
        Ok(sent) => sent,
        Err(problem) => return wrong(&headers, &problem),
    };
    let decision = || -> Result<(Decision, String), Wrong> {
        let text = |name: &str| {
            let text = sent.text(name).map(str::to_owned);
            text.ok_or_else(|| vec![(name.to_owned(), "is missing".to_owned())])
        };
        let field = || {
            text("field").and_then(|field| {
                Field::parse(&field).ok_or_else(|| vec![("field".to_owned(), "is none of the fields".to_owned())])
            })
        };
        let optional = |name: &str| sent.text(name).map(str::to_owned);
        let decision = match sent.raw("do") {
            "alias" => Decision::Alias { field: field()?, from: text("from")?, to: text("to")? },
            "value" => Decision::Value { field: field()?, value: text("value")? },
            "campaign" => Decision::Campaign {
                name: text("name")?,
                campaign: Campaign { offer: optional("offer"), owner: optional("owner"), ..Campaign::default() },
            },
            _ => return Err(vec![("do".to_owned(), "must be alias, value or campaign".to_owned())]),
        };
        Ok((decision, who(&headers, &sent)?))
    };
    let done = match decision() {
        Ok((decision, by)) => decided(&admin, decision, by).await.map_err(|refused| refused.reasons()),
        Err(mistakes) => Err(mistakes),
    };
    match done {
        Ok(()) => see("/links/policy"),
        Err(mistakes) => showing(&admin, &headers, StatusCode::UNPROCESSABLE_ENTITY, &sent, &mistakes),
    }
}
