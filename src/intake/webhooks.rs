//! `POST /webhooks/{source}`: verified, read, mapped, made durable, answered as its provider expects.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Router,
    body::Body,
    extract::{Path, RawQuery, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
    routing::post,
};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{
    draft::Draft,
    read::read_draft,
    reconcile::Reconcile,
    sources::{Inbound, Mapping, Parsed, Report, Source, Taken, Told},
    tally::{Tally, word},
};
use crate::{
    model::{Clock, EventId, Lookup, RawEvent, SourceName, Time},
    pipeline::Pipeline,
    store::{Accepted, StoreError},
    web::{Problem, discard, read_body},
};

/// Where providers name a delivery next to its body: for the log of one that was not read.
const DELIVERY_HEADERS: [&str; 3] = ["x-shopify-webhook-id", "webhook-id", "x-wc-webhook-delivery-id"];

/// Why an entry is ignored for which the map names no event.
pub(super) const NOT_MAPPED: &str = "not mapped";

/// Why a body is ignored that holds no entry.
const NO_ENTRIES: &str = "no entries";

/// A configured source.
#[derive(Clone)]
pub struct SourceConfig {
    /// Its name: the last part of its address.
    pub name: SourceName,
    /// Its kind.
    pub kind: &'static str,
    /// Its rules.
    pub source: Arc<dyn Source>,
    /// What the operator maps himself.
    pub map: Option<Arc<Mapping>>,
    /// When it is reconciled without anybody asking.
    pub reconcile: Option<Reconcile>,
    /// What its transaction ids are put behind, so that another source may use the same numbers: `transaction_prefix`.
    pub transaction_prefix: Option<String>,
}

impl SourceConfig {
    /// A transaction id of this source, as it is known here.
    pub(super) fn transaction(&self, id: &str) -> String {
        format!("{}{id}", self.transaction_prefix.as_deref().unwrap_or_default())
    }
}

/// What brings reports of sources to where they are durable: webhooks, listings and lookups all end here.
#[derive(Clone)]
pub(super) struct Desk {
    pub(super) pipeline: Arc<Pipeline>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) tally: Tally,
    pub(super) body_bytes_max: usize,
    pub(super) sources: Arc<BTreeMap<String, SourceConfig>>,
}

pub(super) fn router(desk: Desk) -> Router {
    Router::new().route("/webhooks/{source}", post(receive)).with_state(desk)
}

async fn receive(
    State(desk): State<Desk>,
    Path(name): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let Some(config) = desk.sources.get(&name) else {
        discard(body).await;
        return Err(Problem::unknown("no source of this name is configured; see [[sources]]"));
    };
    let now = desk.clock.now();
    desk.tally.came(&config.name, now);
    let refused = |reason: &str, delivery: Option<&str>, problem: Problem| {
        desk.tally.refused(&config.name, now, delivery, reason, &problem.detail);
        problem
    };
    let body = read_body(body, desk.body_bytes_max).await.map_err(|problem| refused("body", None, problem))?;
    let inbound = Inbound { headers: &headers, query: query.as_deref(), body: &body };
    if config.source.greets(&inbound) {
        return Ok(StatusCode::OK.into_response());
    }
    let read = config.source.verify(&inbound, now).and_then(|verified| config.source.parse(&verified));
    let Parsed { delivery_id, reports } = match read {
        Ok(parsed) => parsed,
        Err(refusal) => {
            let named = DELIVERY_HEADERS.iter().find_map(|name| headers.get(*name)?.to_str().ok());
            let delivery = named.map_or_else(|| id_of(&body), str::to_owned);
            return Err(refused(refusal.reason, Some(&delivery), refusal.problem));
        }
    };
    let delivery = delivery_id.unwrap_or_else(|| id_of(&body));
    let taken = desk.take(config, &headers, Some(&delivery), reports, now).await;
    let taken = taken.map_err(|error| refused("not_stored", Some(&delivery), error.into()))?;
    if let Some(reply) = config.source.answer(&taken) {
        let status = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::OK);
        let kind = HeaderValue::from_static(reply.content_type);
        return Ok((status, [(header::CONTENT_TYPE, kind)], reply.body).into_response());
    }
    let Taken { accepted, duplicates, ignored, mut refused } = taken;
    if accepted.is_empty() && duplicates.is_empty() && ignored == 0 && !refused.is_empty() {
        // The first stands for all; the log has each.
        return Err(refused.swap_remove(0));
    }
    let body = json!({ "accepted": accepted, "duplicates": duplicates, "ignored": ignored, "refused": refused });
    Ok((StatusCode::OK, [(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response())
}

/// What tells a delivery from others where neither the provider nor its event does: its content.
pub(super) fn id_of(body: &[u8]) -> String {
    let hex: String = Sha256::digest(body).iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    format!("body.{hex}")
}

/// What tells an entry of a delivery from the others.
pub(super) fn entry_id(delivery: &str, i: usize) -> String {
    if i == 0 { delivery.to_owned() } else { format!("{delivery}.{i}") }
}

/// What an entry says it is about, under the names that are usual: for the counts of what no event is mapped for.
pub(super) fn topic(body: &Value) -> String {
    let names = ["type", "event_type", "topic", "event", "event_name"];
    names.iter().find_map(|name| body.get(name)?.as_str()).unwrap_or_default().to_owned()
}

impl Desk {
    /// Maps, checks and accepts what a source reports. What is refused is in the answer, the log and the counts.
    ///
    /// # Errors
    /// Of the store; then nothing of it was acknowledged.
    pub(super) async fn take(
        &self,
        config: &SourceConfig,
        headers: &HeaderMap,
        delivery: Option<&str>,
        reports: Vec<Report>,
        now: Time,
    ) -> Result<Taken, StoreError> {
        let mut taken = Taken::default();
        let mut events = Vec::new();
        let refuse = |taken: &mut Taken, reason: &str, problem: Problem| {
            self.tally.refused(&config.name, now, delivery, reason, &problem.detail);
            taken.refused.push(problem);
        };
        if reports.is_empty() && delivery.is_some() {
            // An empty list, or a list that is looked for in the wrong place.
            self.tally.ignored(&config.name, "", NO_ENTRIES);
            taken.ignored += 1;
        }
        for (i, report) in reports.into_iter().enumerate() {
            match report {
                Report::Refused(refusal) => {
                    self.pipeline.metrics.answered(&config.name, "rejected");
                    refuse(&mut taken, refusal.reason, refusal.problem);
                }
                Report::Ignored { topic, reason } => {
                    self.tally.ignored(&config.name, &topic, reason);
                    taken.ignored += 1;
                }
                Report::Event(told) => {
                    let topic = topic(&told.body);
                    match event(config, headers, *told, delivery.map(|delivery| entry_id(delivery, i)), now) {
                        Ok(None) => {
                            self.tally.ignored(&config.name, &topic, NOT_MAPPED);
                            taken.ignored += 1;
                        }
                        Ok(Some((event, left_out))) => {
                            for problem in left_out {
                                let (source, detail) = (&config.name, &problem.detail);
                                let delivery = delivery.map(word);
                                tracing::warn!(%source, delivery, %detail, "left out a field of an event");
                            }
                            events.push(event);
                        }
                        Err(problem) => {
                            self.pipeline.metrics.answered(&config.name, "rejected");
                            refuse(&mut taken, "invalid_event", problem);
                        }
                    }
                }
            }
        }
        let ids: Vec<EventId> = events.iter().map(|event| event.event_id.clone()).collect();
        let accepted = if events.is_empty() { Vec::new() } else { self.pipeline.accept(events).await? };
        for (id, accepted) in ids.into_iter().zip(accepted) {
            match accepted {
                Accepted::New => taken.accepted.push(id.to_string()),
                Accepted::Restates(restatement) => taken.accepted.push(restatement.event_id.to_string()),
                Accepted::Duplicate(known) => taken.duplicates.push(known.to_string()),
                Accepted::Conflict(name) => {
                    let problem = Problem::id_conflict("/event_id".to_owned(), name.as_str());
                    refuse(&mut taken, "event_id_conflict", problem);
                }
            }
        }
        self.tally.took(&config.name, taken.accepted.len(), taken.duplicates.len());
        Ok(taken)
    }
}

/// What the operator maps over what the source tells, and the id the event has at every delivery of it.
///
/// # Errors
/// If what says what happened, when, or what it is worth is not sound.
pub(super) fn mapped(
    config: &SourceConfig,
    headers: &HeaderMap,
    told: Told,
    fallback: Option<String>,
) -> Result<(Draft, Vec<Problem>), Problem> {
    let Told { mut draft, key, body, root, .. } = told;
    let named = draft.event.is_some();
    let map = config.map.as_ref();
    let left_out = map.map(|map| map.apply(&body, root.as_ref(), headers, &mut draft)).transpose()?;
    draft.transaction_id = draft.transaction_id.map(|id| config.transaction(&id));
    if draft.event_id.is_none()
        // An order may be refunded in parts, and where the map alone tells of it, nothing else tells them apart.
        && let Some(key) = key.or_else(|| {
            let refund = !named && draft.event.as_deref() == Some("refund");
            fallback.filter(|_| draft.transaction_id.is_none() || refund)
        })
    {
        draft.known_by(&config.name, key);
    }
    Ok((draft, left_out.unwrap_or_default()))
}

/// Whether the map was to say what happened, and says nothing.
pub(super) fn is_unnamed(config: &SourceConfig, draft: &Draft) -> bool {
    draft.event.is_none() && config.map.as_ref().is_some_and(|map| map.sets("event"))
}

/// The event, and what was left out of it; nothing if the map is to say what happened, and says nothing.
fn event(
    config: &SourceConfig,
    headers: &HeaderMap,
    told: Told,
    fallback: Option<String>,
    now: Time,
) -> Result<Option<(RawEvent, Vec<Problem>)>, Problem> {
    let lookup = told.lookup.clone();
    let (draft, mut left_out) = mapped(config, headers, told, fallback)?;
    if is_unnamed(config, &draft) {
        return Ok(None);
    }
    let (event, more) = read_draft(draft, &config.name, now);
    left_out.extend(more);
    let mut event = event?;
    event.lookup = lookup.map(|(what, limit)| (Lookup { source: config.name.clone(), what }, limit));
    Ok(Some((event, left_out)))
}
