//! Tracked links as the admin listener has them: to be shown, changed, and counted.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    http::{HeaderValue, header},
    response::{IntoResponse as _, Response},
};
use serde_json::{Value, json};

use crate::{
    links::policy::{Field, Policy},
    model::{EventName, Link, LinkKey, LinkState, Time},
    store::StoreError,
    tracking::{
        Links,
        checks::{Checks, Condition},
        drift::Drift,
        governance::Governance,
        registry::{Refused, Registry, fields},
        reports::Dimension,
    },
    web::Problem,
};

/// Events whose last time is remembered.
const GOALS_MAX: usize = 1000;

/// What of the configuration the admin listener shows and counts by.
#[derive(Clone, Debug)]
pub struct LinkSettings {
    /// One click of a visitor on a link counts as unique in such a span.
    pub unique_window: Duration,
}

/// Tracked links, their rules, and what drifts from them.
#[derive(Clone)]
pub struct Tracked {
    /// The links.
    pub links: Arc<Links>,
    /// The UTM policy in force.
    pub governance: Arc<Governance>,
    /// Values that nobody registered.
    pub drift: Arc<Drift>,
    /// What changes links.
    pub registry: Arc<Registry>,
    /// What they are counted by.
    pub settings: LinkSettings,
    /// How their destinations are; `None` where nothing asks.
    pub checks: Option<Arc<Checks>>,
    /// When events were seen last, and when somebody looked.
    pub goals: Goals,
}

/// When events were seen last, and when somebody looked.
pub type Goals = Arc<Mutex<HashMap<EventName, (Time, Option<Time>)>>>;

impl Tracked {
    /// The links by their keys.
    pub(super) fn by_key(&self) -> HashMap<LinkKey, Arc<Link>> {
        self.links.all().into_iter().map(|link| (link.key.clone(), link)).collect()
    }

    /// The policy in force.
    pub(super) fn policy(&self) -> Arc<Policy> {
        self.governance.policy()
    }

    /// When an event was seen last, if somebody looked within the last minute.
    pub(super) fn goal(&self, name: &EventName, now: Time) -> Option<Option<Time>> {
        let goals = self.goals.lock().unwrap_or_else(PoisonError::into_inner);
        let (looked, seen) = goals.get(name)?;
        (now.since(*looked) < Duration::from_secs(60)).then_some(*seen)
    }

    /// Remembers when an event was seen last.
    pub(super) fn saw_goal(&self, name: EventName, now: Time, seen: Option<Time>) {
        let mut goals = self.goals.lock().unwrap_or_else(PoisonError::into_inner);
        if goals.len() >= GOALS_MAX {
            goals.clear();
        }
        goals.insert(name, (now, seen));
    }

    /// How its destination was when it was checked last; `None` if it was not.
    pub(super) fn health(&self, key: &LinkKey) -> Option<Value> {
        let health = self.checks.as_ref()?.health(key);
        (health.condition != Condition::Unknown).then(|| json!(health))
    }

    /// A link as the API tells it.
    pub(super) fn told(&self, link: &Link, now: Time) -> Value {
        let mut told = fields(link);
        told.insert("url".to_owned(), self.registry.places().url(&link.key).into());
        told.insert("link".to_owned(), link.key.to_string().into());
        told.insert("state".to_owned(), state(link, now).into());
        told.insert("health".to_owned(), self.health(&link.key).into());
        told.insert("approved_by".to_owned(), link.approved_by.clone().into());
        told.insert("created_at".to_owned(), link.created_at.to_string().into());
        told.insert("updated_at".to_owned(), link.updated_at.to_string().into());
        told.into()
    }
}

/// Whether a link redirects, in a word.
pub(super) fn state(link: &Link, now: Time) -> &'static str {
    match link.state {
        LinkState::Live if link.expires_at.is_some_and(|end| end <= now) => "expired",
        LinkState::Live => "live",
        LinkState::Paused => "paused",
        LinkState::Pending => "pending",
    }
}

/// A value of a report as the policy spells it.
pub(super) fn spelled(policy: &Policy, dimension: Dimension, raw: &str) -> String {
    let field = match dimension {
        Dimension::Source => Field::Source,
        Dimension::Medium => Field::Medium,
        Dimension::Campaign => Field::Campaign,
        Dimension::Content => Field::Content,
        Dimension::Term => Field::Term,
        Dimension::Placement => Field::Placement,
        Dimension::Audience => Field::Audience,
        Dimension::Intent => Field::Intent,
        Dimension::Referrer => return policy.source_of(&format!("https://{raw}")).unwrap_or_else(|| raw.to_owned()),
        _ => return raw.to_owned(),
    };
    policy.normal(field, raw).into_owned()
}

/// Why a link was not made or changed, as a problem that lists every field and rule.
pub(super) fn refusal(refused: &Refused) -> Response {
    let reasons = refused.reasons();
    let detail: Vec<String> = reasons
        .iter()
        .map(|(field, reason)| if field.is_empty() { reason.clone() } else { format!("{field}: {reason}") })
        .collect();
    let detail = detail.join("; ");
    let pointer = reasons.first().filter(|(field, _)| !field.is_empty());
    let pointer = pointer.map(|(field, _)| format!("/{}", field.replace(['.', '['], "/").replace(']', "")));
    let mut problem = match refused {
        Refused::Fields(_) => Problem::invalid_request(pointer, detail),
        Refused::Policy(_) => {
            let mut problem = Problem::invalid_request(pointer, detail);
            (problem.kind, problem.title) = ("/problems/utm-policy", "Breaks the UTM policy");
            problem
        }
        Refused::Unknown => Problem::unknown("there is no link of this slug; a link on a host of its own is HOST/SLUG"),
        Refused::Taken(_) | Refused::State(_) | Refused::Full(_) => Problem::conflict(detail),
        Refused::Store(why) => return Problem::from(StoreError::Unavailable(why.clone())).into_response(),
    };
    if let (Refused::Taken(_), None) = (refused, &problem.pointer) {
        problem.pointer = Some("/slug".to_owned());
    }
    let status = problem.status;
    let mut told = json!(problem);
    let errors: Vec<Value> =
        reasons.iter().map(|(field, reason)| json!({ "field": field, "reason": reason })).collect();
    told["errors"] = errors.into();
    if let Refused::Policy(broken) = refused {
        told["broken"] = json!(broken);
    }
    let mut answer = (
        axum::http::StatusCode::from_u16(status).unwrap_or(axum::http::StatusCode::INTERNAL_SERVER_ERROR),
        told.to_string(),
    )
        .into_response();
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    answer
}
