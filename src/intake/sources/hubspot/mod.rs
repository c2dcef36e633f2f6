//! HubSpot: steps of contacts and deals, in batches that hold ids only; the rest is asked for with `api`.
//!
//! Source: @hubspot/api-client 13.5.0 (signature, envelope), read 2026-11-20;
//! <https://developers.hubspot.com/docs/apps/developer-platform/build-apps/authentication/request-validation>;
//! `@hubspot/api-client` 13.5.0 (`utils/signature.js`).

mod api;
#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use serde_json::Value;
use url::Url;

use self::api::Api;
use super::{
    Common, Descriptor, Inbound, Parsed, Refusal, Report, Source, Told, Verified,
    crm::{self, Steps},
    header, json, tolerance,
    verify::{Secrets, fresh, from_base64, no_signature},
};
use crate::{
    intake::fetch::{FetchError, Fetcher},
    model::{Settings, Time},
};

/// Kind `hubspot`.
pub(super) const DESCRIPTOR: Descriptor = Descriptor { kind: "hubspot", build };

/// What the CRM is called at Meta.
const NAME: &str = "HubSpot";
/// How old HubSpot says a signature may be.
const TOLERANCE: Duration = Duration::from_secs(300);
/// Escapes that HubSpot decodes in the address before it signs it; no other.
///
/// Source: request-validation, as above, read 2026-11-20.
const DECODED: [(&str, char); 12] = [
    ("3A", ':'),
    ("2F", '/'),
    ("3F", '?'),
    ("40", '@'),
    ("21", '!'),
    ("24", '$'),
    ("27", '\''),
    ("28", '('),
    ("29", ')'),
    ("2A", '*'),
    ("2C", ','),
    ("3B", ';'),
];
/// The steps that count without `events`: those whose names are the same in every account, and each of a lead's once.
const STEPS: [(&str, &str); 6] = [
    ("contact.creation", "generate_lead"),
    ("lifecyclestage.marketingqualifiedlead", "qualify_lead"),
    ("lifecyclestage.salesqualifiedlead", "working_lead"),
    ("hs_lead_status.unqualified", "disqualify_lead"),
    ("dealstage.closedwon", "close_convert_lead"),
    ("dealstage.closedlost", "close_unconvert_lead"),
];

/// Properties whose values are stages, and never anything of a person: people are told which of them does not count.
const STAGES: [&str; 3] = ["dealstage", "lifecyclestage", "hs_lead_status"];

/// HubSpot sends up to 100 events at once.
const ENTRIES_MAX: usize = 1000;

struct HubSpot {
    secrets: Secrets,
    tolerance: Duration,
    /// The address that HubSpot signs: all of it, or without the query that a request may have.
    address: Address,
    steps: Steps,
    api: Option<Api>,
    lookup_wait: Duration,
}

enum Address {
    /// As `url` says, to the letter.
    Exact(String),
    /// That of this source; the query of a request belongs behind it.
    Ours(String),
}

fn build(common: &Common, settings: &mut Settings) -> Option<Arc<dyn Source>> {
    const STEP: &str = "contact.creation, deal.creation, or property.value such as \"dealstage.closedwon\"";
    let secrets = Secrets::read(settings, "the client secret of the HubSpot app");
    let tolerance = tolerance(settings, TOLERANCE);
    let address = address(common, settings);
    let steps = Steps::read(settings, &STEPS, |step| step.contains('.'), STEP);
    let lookup_wait = crm::lookup_wait(settings);
    let api = Api::read(settings);
    Some(Arc::new(HubSpot { secrets: secrets?, tolerance, address: address?, steps, api: api.ok()?, lookup_wait }))
}

/// Reads `url`, or takes the address of this source.
fn address(common: &Common, settings: &mut Settings) -> Option<Address> {
    const WHAT: &str = "the address that is entered at HubSpot as target URL, to the letter: https://…";
    if settings.has("url") {
        let is_web = |url: Url| matches!(url.scheme(), "http" | "https") && url.has_host();
        let exact = |text: &str| Url::parse(text).is_ok_and(is_web).then(|| text.to_owned());
        return settings.parsed("url", WHAT, exact).map(Address::Exact);
    }
    if common.address.is_none() {
        // HubSpot signs it, and behind a proxy nobody here can tell it from the request.
        settings.need("url", &format!("set public.url, or here {WHAT}"));
    }
    settings.text("url");
    common.address.clone().map(Address::Ours)
}

#[async_trait]
impl Source for HubSpot {
    fn verify<'a>(&self, inbound: &'a Inbound<'a>, now: Time) -> Result<Verified<'a>, Refusal> {
        let given = header(inbound.headers, "x-hubspot-signature-v3").and_then(from_base64);
        let given = given.ok_or(no_signature("there is no sound X-HubSpot-Signature-v3 header"))?;
        let at = header(inbound.headers, "x-hubspot-request-timestamp").unwrap_or_default();
        let missing = no_signature("there is no sound X-HubSpot-Request-Timestamp header");
        let signed_at = at.parse().map(Time::from_ms).map_err(|_| missing)?;
        let address = match (&self.address, inbound.query) {
            (Address::Exact(address), _) | (Address::Ours(address), None) => address.clone(),
            (Address::Ours(address), Some(query)) => format!("{address}?{query}"),
        };
        let check = |address: &str| {
            self.secrets.hmac(inbound, &[b"POST", address.as_bytes(), inbound.body, at.as_bytes()], &[given])
        };
        // HubSpot's page says to decode, its own libraries do not.
        let decoded = decoded(&address);
        let verified =
            check(&decoded).or_else(|refusal| if decoded == address { Err(refusal) } else { check(&address) });
        let verified = verified.map_err(|Refusal { reason, .. }| {
            Refusal::unverified(
                reason,
                "the signature does not fit; check that `secrets` holds the client secret of the app, and that the target URL \
                 at HubSpot is to the letter the one configured here (`url`, or public.url with /webhooks/NAME behind it)",
            )
        })?;
        fresh(signed_at, now, self.tolerance, Some(self.tolerance))?;
        Ok(verified)
    }

    fn parse(&self, verified: &Verified<'_>) -> Result<Parsed, Refusal> {
        let entries = match json::body(verified.body())? {
            Value::Array(entries) if entries.len() > ENTRIES_MAX => {
                return Err(Refusal::unreadable(
                    "",
                    format!("has more than {ENTRIES_MAX} entries; HubSpot sends up to 100"),
                ));
            }
            Value::Array(entries) => entries,
            entry @ Value::Object(_) => vec![entry],
            _ => return Err(Refusal::unreadable("", "must be a list of HubSpot's events")),
        };
        // Entries have ids, deliveries have none: HubSpot may put a repeated entry into another batch.
        let delivery_id = entries.first().map(|first| {
            let ids = ["/portalId", "/subscriptionId", "/eventId", "/objectId", "/occurredAt"];
            ids.map(|pointer| json::text(first, pointer).unwrap_or_default()).join(".")
        });
        Ok(Parsed { delivery_id, reports: entries.into_iter().map(|entry| self.report(entry)).collect() })
    }

    async fn look_up(&self, fetcher: &Fetcher, what: &str) -> Result<Option<Told>, FetchError> {
        match &self.api {
            Some(api) => api.look_up(fetcher, what).await,
            None => Ok(None),
        }
    }
}

impl HubSpot {
    fn report(&self, entry: Value) -> Report {
        let topic = json::text(&entry, "/subscriptionType").unwrap_or_default();
        let (named, change) = topic.split_once('.').unwrap_or_default();
        let object = match (named, json::text(&entry, "/objectTypeId").as_deref()) {
            ("contact", _) | ("object", Some("0-1")) => "contact",
            ("deal", _) | ("object", Some("0-3")) => "deal",
            _ => return Report::ignored(topic, "not a conversion"),
        };
        let step = match change {
            "creation" => format!("{object}.creation"),
            "propertyChange" => {
                let text = |pointer| json::text(&entry, pointer).unwrap_or_default();
                format!("{}.{}", text("/propertyName"), text("/propertyValue"))
            }
            _ => return Report::ignored(topic, "not a conversion"),
        };
        let Some(event) = self.steps.event(&step) else {
            let stage = step.split_once('.').is_some_and(|(property, _)| STAGES.contains(&property));
            return Report::ignored(if stage { step } else { topic }, "no step of events");
        };
        let Some(id) = json::text(&entry, "/objectId") else { return Report::ignored(topic, "no object") };
        let mut draft = crm::step(event, NAME);
        draft.time = json::text(&entry, "/occurredAt").and_then(|ms| ms.parse().ok()).map(Time::from_ms);
        let sale = object == "deal" && crm::is_sale(event);
        draft.transaction_id = sale.then(|| id.clone());
        let asks = self.api.is_some() && crm::is_id(&id);
        let lookup = asks.then(|| (format!("{object}/{id}/{event}"), self.lookup_wait));
        // A sale is known by its deal; of refunds there may be several.
        let key = (!sale || event == "refund").then(|| {
            let portal = json::text(&entry, "/portalId").unwrap_or_default();
            format!("{portal}.{id}.{}", step.to_ascii_lowercase())
        });
        Told { key, lookup, ..Told::new(draft, entry) }.into()
    }
}

/// The address as HubSpot signs it.
fn decoded(address: &str) -> String {
    let mut rest = address;
    let mut decoded = String::with_capacity(address.len());
    while let Some((before, after)) = rest.split_once('%') {
        decoded.push_str(before);
        let escape = after.get(..2).and_then(|code| DECODED.iter().find(|(known, _)| known.eq_ignore_ascii_case(code)));
        match escape {
            Some((code, character)) => {
                decoded.push(*character);
                rest = &after[code.len()..];
            }
            None => {
                decoded.push('%');
                rest = after;
            }
        }
    }
    decoded + rest
}
