//! What a source would make of a body, for `conversion-relay preview`: read and mapped as at the desk, and nothing stored.

use std::time::Duration;

use axum::http::HeaderMap;
use serde_json::Value;

use super::{
    read::read_draft,
    sources::{Inbound, Parsed, Refusal, Report, Verified},
    webhooks::{NOT_MAPPED, SourceConfig, entry_id, id_of, is_unnamed, mapped, topic},
};
use crate::{
    model::{RawEvent, Time},
    web::Problem,
};

/// What one entry of a body would become.
pub enum Previewed {
    /// Counted, and of no use.
    Ignored {
        /// What it is about.
        topic: String,
        /// Why it is of no use.
        reason: &'static str,
    },
    /// Refused.
    Refused(Problem),
    /// An event.
    Event {
        /// As the JSON of `POST /v1/events`, contact details in clear.
        shown: Value,
        /// The same, checked.
        event: Box<RawEvent>,
        /// What is not sound of it, and was left out.
        left_out: Vec<Problem>,
        /// How long at most it would wait for what the provider is asked for.
        lookup: Option<Duration>,
    },
}

/// What each entry of `body` would become, which is believed without a signature.
///
/// # Errors
/// If it cannot be read as what the source takes.
pub fn preview(config: &SourceConfig, headers: &HeaderMap, body: &[u8], now: Time) -> Result<Vec<Previewed>, Refusal> {
    let inbound = Inbound { headers, query: None, body };
    let Parsed { delivery_id, reports } = config.source.parse(&Verified::trusted(&inbound))?;
    let delivery = delivery_id.unwrap_or_else(|| id_of(body));
    let entry = |(i, report)| match report {
        Report::Refused(refusal) => Previewed::Refused(refusal.problem),
        Report::Ignored { topic, reason } => Previewed::Ignored { topic, reason },
        Report::Event(told) => {
            let topic = topic(&told.body);
            let lookup = told.lookup.as_ref().map(|(_, limit)| *limit);
            let (draft, mut left_out) = match mapped(config, headers, *told, Some(entry_id(&delivery, i))) {
                Ok((draft, _)) if is_unnamed(config, &draft) => {
                    return Previewed::Ignored { topic, reason: NOT_MAPPED };
                }
                Ok(mapped) => mapped,
                Err(problem) => return Previewed::Refused(problem),
            };
            let shown = draft.shown();
            let (event, more) = read_draft(draft, &config.name, now);
            left_out.extend(more);
            match event {
                Ok(event) => Previewed::Event { shown, event: Box::new(event), left_out, lookup },
                Err(problem) => Previewed::Refused(problem),
            }
        }
    };
    Ok(reports.into_iter().enumerate().map(entry).collect())
}
