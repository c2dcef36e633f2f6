//! Salesforce: leads and opportunities, as outbound messages (SOAP) or as the HTTP callout of a flow (JSON).
//!
//! Salesforce signs neither. An outbound message says whose organisation it is from, and its address may carry a secret; a
//! callout sends whatever header its named credential holds.
//!
//! Source: Salesforce SOAP API Developer Guide "Outbound Messaging", read 2026-11-20.

mod record;
mod soap;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use axum::http::HeaderName;
use serde_json::Value;

use super::{
    Common, Descriptor, Inbound, Parsed, Refusal, Reply, Report, Source, Taken, Told, Verified,
    crm::{self, Steps},
    header, json,
    mapping::LIST_MAX,
    verify::Secrets,
};
use crate::model::{Currency, Settings, Time};
use record::{Record, whole_id};

/// Kind `salesforce`.
pub(super) const DESCRIPTOR: Descriptor = Descriptor { kind: "salesforce", build };

/// The steps that count without `events`.
const STEPS: [(&str, &str); 3] =
    [("lead", "generate_lead"), ("lead.qualified", "qualify_lead"), ("opportunity.closed won", "close_convert_lead")];
/// What a step is, for people.
const STEP: &str =
    "an object, or an object and its stage or status: \"Lead\", \"Lead.Qualified\", \"Opportunity.Closed Won\"";
/// The stage of an opportunity that was won, whatever the organisation calls it.
const WON: &str = "closed won";
/// The parameter of the address with the secret.
const TOKEN: &str = "token";
/// The user of Basic credentials, if `user` names no other.
const USER: &str = "salesforce";

struct Salesforce {
    secrets: Secrets,
    format: Format,
    header: Option<String>,
    user: String,
    currency: Option<Currency>,
    steps: Steps,
}

/// What is posted.
enum Format {
    /// SOAP, of this organisation.
    OutboundMessage(String),
    /// JSON.
    Json,
}

fn build(_common: &Common, settings: &mut Settings) -> Option<Arc<dyn Source>> {
    let secrets = Secrets::read(settings, "a secret of your own making, which the sender presents");
    let format = format(settings);
    let header = settings.parsed("header", "the name of the header with the secret", |text| {
        HeaderName::from_bytes(text.as_bytes()).ok().map(|name| name.to_string())
    });
    let user = settings.text("user").unwrap_or_else(|| USER.to_owned());
    let currency = settings.parsed("currency", "an ISO 4217 currency such as EUR", |text| Currency::parse(text).ok());
    let steps = Steps::read(settings, &STEPS, |step| !step.starts_with('.') && !step.ends_with('.'), STEP);
    Some(Arc::new(Salesforce { secrets: secrets?, format: format?, header, user, currency, steps }))
}

fn format(settings: &mut Settings) -> Option<Format> {
    const ID: &str = "the organisation's id, 15 or 18 letters and digits that begin with 00D";
    let soap = settings.parsed("format", "outbound_message or json", |text| match text {
        "outbound_message" => Some(true),
        "json" => Some(false),
        _ => None,
    });
    let soap = soap.unwrap_or(true);
    if soap {
        settings.need("organization_id", ID);
    }
    let id = settings.parsed("organization_id", ID, |text| {
        let sound = matches!(text.len(), 15 | 18) && text.starts_with("00D");
        (sound && text.bytes().all(|b| b.is_ascii_alphanumeric())).then(|| whole_id(text))
    });
    if soap { id.map(Format::OutboundMessage) } else { Some(Format::Json) }
}

impl Source for Salesforce {
    fn verify<'a>(&self, inbound: &'a Inbound<'a>, _now: Time) -> Result<Verified<'a>, Refusal> {
        if let Some(name) = &self.header {
            return self.secrets.in_header(inbound, name);
        }
        let scheme = header(inbound.headers, "authorization").and_then(|text| text.split_ascii_whitespace().next());
        match scheme {
            Some(scheme) if scheme.eq_ignore_ascii_case("basic") => self.secrets.basic(inbound, &self.user),
            Some(scheme) if scheme.eq_ignore_ascii_case("bearer") => self.secrets.bearer(inbound),
            _ => {
                let pairs = url::form_urlencoded::parse(inbound.query.unwrap_or_default().as_bytes());
                let token = pairs.into_iter().find(|(name, _)| name == TOKEN).map(|(_, token)| token);
                self.secrets.presented(inbound, token.as_deref())
            }
        }
    }

    fn parse(&self, verified: &Verified<'_>) -> Result<Parsed, Refusal> {
        let entries = match &self.format {
            Format::OutboundMessage(organization) => {
                let message = soap::read(verified.body())?;
                if whole_id(&message.organization_id) != *organization {
                    let detail = "the message is of another organisation than `organization_id`; a sandbox has its own";
                    return Err(Refusal::unverified("wrong_organization", detail));
                }
                message.notifications.into_iter().map(|soap::Notification { id, record }| (id, record)).collect()
            }
            Format::Json => records(json::body(verified.body())?)?,
        };
        let delivery_id = entries.iter().find_map(|(id, _)| id.clone());
        let reports = entries.into_iter().map(|(id, record)| self.report(id, record)).collect();
        Ok(Parsed { delivery_id, reports })
    }

    /// Only a message that was taken whole is acknowledged; Salesforce sends another one again for 24 hours.
    fn answer(&self, taken: &Taken) -> Option<Reply> {
        let Format::OutboundMessage(_) = self.format else { return None };
        let body = soap::acknowledgement(taken.refused.is_empty());
        Some(Reply { status: 200, content_type: "text/xml; charset=utf-8", body })
    }
}

/// The records of a callout's body: one, a list, or an object with a list or one record in it.
fn records(body: Value) -> Result<Vec<(Option<String>, Value)>, Refusal> {
    let mut body = body;
    let inner = ["records", "record"].into_iter().find(|name| json::at(&body, &format!("/{name}")).is_some());
    let kind = json::first(&body, &["/sobject", "/sObject", "/object"]);
    let entries = match inner.map(|name| body[name].take()).unwrap_or(body) {
        Value::Array(entries) => entries,
        entry => vec![entry],
    };
    if entries.len() > LIST_MAX {
        return Err(Refusal::unreadable("", format!("the body has more than {LIST_MAX} records")));
    }
    let named = |mut entry: Value| {
        // What the records are may be said once, around them.
        if let (Value::Object(fields), Some(kind)) = (&mut entry, &kind) {
            fields.entry("sobject").or_insert_with(|| kind.as_str().into());
        }
        (None, entry)
    };
    Ok(entries.into_iter().map(named).collect())
}

impl Salesforce {
    fn report(&self, notification: Option<String>, value: Value) -> Report {
        let record = Record::new(&value);
        let Some(kind) = record.kind() else { return Report::ignored("", "no kind of record") };
        let stage = record.stage().map(|stage| format!("{kind}.{stage}"));
        // A stage that is switched off is not counted as something else instead.
        if let Some(stage) = stage.as_ref().filter(|stage| self.steps.ignores(stage)) {
            return Report::ignored(stage.as_str(), "not mapped");
        }
        let won = || Some(format!("{kind}.{WON}")).filter(|_| record.is_won());
        let staged = stage.as_deref().and_then(|stage| self.steps.event(stage));
        let staged = staged.or_else(|| self.steps.event(&won()?));
        let Some(event) = staged.or_else(|| self.steps.event(&kind)) else {
            return Report::ignored(stage.unwrap_or(kind), "no step of events");
        };
        if record.is_long_past(staged.is_none()) {
            return Report::ignored(stage.unwrap_or(kind), "happened long before the change");
        }
        let mut draft = crm::step(event, "Salesforce");
        draft.time = record.time(staged.is_none());
        record.tell(&kind, self.currency, &mut draft);
        // A record comes to a stage once, however many notifications tell of it.
        let key = record.id().or(notification).filter(|_| draft.transaction_id.is_none());
        Told { key, ..Told::new(draft, value) }.into()
    }
}
