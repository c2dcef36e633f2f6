//! `jsonl`: the stored event as one JSON object a line, under names that stay. Absent or null means not known. Contact
//! data is there as SHA-256 in hex only, by the platform family that spells it so before hashing; the postal code,
//! which is stored in clear for Google alone, is left out. Times are RFC 3339 in UTC, amounts are exact decimals as
//! text.

use serde::Serialize;

use crate::{
    destinations::Unsendable,
    model::{
        ActionSource, ClickId, Consent, Context, Digest, Failure, Item, JoinedBy, SealedEvent, SealedUser, Sensitive,
        Spelled, Time, TransactionId, Utm, VisitorId,
    },
};

#[derive(Serialize)]
struct Line<'e> {
    event_id: &'e str,
    /// Our name of the event.
    event: &'e str,
    /// The name that the configuration maps it to.
    conversion: &'e str,
    time: String,
    received_at: String,
    source: &'e str,
    #[serde(skip_serializing_if = "Option::is_none")]
    visitor_id: Option<&'e str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    joined_by: Option<JoinedBy>,
    #[serde(skip_serializing_if = "Option::is_none")]
    transaction_id: Option<&'e str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    currency: Option<&'static str>,
    action_source: ActionSource,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    items: &'e [Item],
    user: User<'e>,
    context: Browser<'e>,
    attribution: Credit<'e>,
    consent: Consent,
    #[serde(skip_serializing_if = "serde_json::Map::is_empty")]
    properties: serde_json::Map<String, serde_json::Value>,
}

#[derive(Serialize)]
struct User<'e> {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    emails: Vec<Hashes>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    phones: Vec<Hashes>,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_name: Option<Hashes>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_name: Option<Hashes>,
    #[serde(skip_serializing_if = "Option::is_none")]
    street: Option<Hashes>,
    #[serde(skip_serializing_if = "Option::is_none")]
    city: Option<Hashes>,
    #[serde(skip_serializing_if = "Option::is_none")]
    region: Option<Hashes>,
    #[serde(skip_serializing_if = "Option::is_none")]
    postal_code: Option<Hashes>,
    #[serde(skip_serializing_if = "Option::is_none")]
    country: Option<Hashes>,
    #[serde(skip_serializing_if = "Option::is_none")]
    country_code: Option<&'e str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    date_of_birth: Option<Hashes>,
    #[serde(skip_serializing_if = "Option::is_none")]
    gender: Option<Hashes>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    external_ids: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lead_id: Option<u64>,
}

#[derive(Serialize)]
struct Hashes {
    #[serde(skip_serializing_if = "Option::is_none")]
    google: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    meta: Option<String>,
}

#[derive(Serialize)]
struct Browser<'e> {
    #[serde(skip_serializing_if = "Option::is_none")]
    ip: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_agent: Option<&'e str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<&'e str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    referrer: Option<&'e str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    clicks: Vec<Click<'e>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fbc: Option<&'e str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fbp: Option<&'e str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ga_client_id: Option<&'e str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ga_session_id: Option<&'e str>,
}

#[derive(Serialize)]
struct Click<'e> {
    /// The query parameter that carries it: `gclid`.
    kind: &'static str,
    id: &'e str,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_seen: Option<String>,
    last_seen: String,
}

#[derive(Serialize)]
struct Credit<'e> {
    #[serde(skip_serializing_if = "Option::is_none")]
    first: Option<Landing<'e>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last: Option<Landing<'e>>,
}

#[derive(Serialize)]
struct Landing<'e> {
    at: String,
    utm: &'e Utm,
}

/// The line of `event`, which the file's reader knows as `conversion`.
pub(super) fn line(conversion: &str, event: &SealedEvent) -> Result<String, Unsendable> {
    let line = Line {
        event_id: event.event_id.as_str(),
        event: event.name.as_str(),
        conversion,
        time: event.time.to_string(),
        received_at: event.received_at.to_string(),
        source: event.source.as_str(),
        visitor_id: event.visitor_id.as_ref().map(VisitorId::as_str),
        joined_by: event.joined_by,
        transaction_id: event.transaction_id.as_ref().map(TransactionId::as_str),
        value: event.money.map(|money| money.text()),
        currency: event.money.map(|money| money.currency().code()),
        action_source: event.action_source,
        items: &event.items,
        user: user(&event.user),
        context: browser(&event.context),
        attribution: Credit {
            first: event.attribution.first.as_ref().map(landed),
            last: event.attribution.last.as_ref().map(landed),
        },
        consent: event.consent,
        properties: event.properties.object(),
    };
    let text = serde_json::to_string(&line).map_err(|error| {
        let message = format!("cannot be written as JSON: {error}");
        Unsendable::Reject(Failure { code: "not_json".into(), field: None, message })
    })?;
    Ok(text + "\n")
}

fn user(user: &SealedUser) -> User<'_> {
    User {
        emails: user.emails.iter().filter_map(hashes).collect(),
        phones: user.phones.iter().filter_map(hashes).collect(),
        first_name: hashes(&user.first_name),
        last_name: hashes(&user.last_name),
        street: hashes(&user.street),
        city: hashes(&user.city),
        region: hashes(&user.region),
        postal_code: hashes(&user.postal_code),
        country: hashes(&user.country),
        country_code: user.country_code.as_ref().map(|code| code.expose().as_str()),
        date_of_birth: hashes(&user.date_of_birth),
        gender: hashes(&user.gender),
        external_ids: user.external_ids.iter().map(Digest::hex).collect(),
        lead_id: user.lead_id,
    }
}

fn hashes(spelled: &Spelled) -> Option<Hashes> {
    let hex = |digest: Option<Digest>| digest.map(|digest| digest.hex());
    (!spelled.is_empty()).then(|| Hashes { google: hex(spelled.google), meta: hex(spelled.meta) })
}

fn browser(context: &Context) -> Browser<'_> {
    fn text(value: &Option<Sensitive<String>>) -> Option<&str> {
        value.as_ref().map(|text| text.expose().as_str())
    }
    Browser {
        ip: context.ip.as_ref().map(|ip| ip.expose().to_string()),
        user_agent: text(&context.user_agent),
        url: text(&context.url),
        referrer: text(&context.referrer),
        clicks: context.clicks.iter().map(click).collect(),
        fbc: context.cookies.fbc.as_deref(),
        fbp: context.cookies.fbp.as_deref(),
        ga_client_id: context.cookies.ga_client_id.as_deref(),
        ga_session_id: context.cookies.ga_session_id.as_deref(),
    }
}

fn click(click: &ClickId) -> Click<'_> {
    Click {
        kind: click.kind.parameter(),
        id: &click.value,
        first_seen: click.first_seen.map(|at| at.to_string()),
        last_seen: click.last_seen.to_string(),
    }
}

fn landed((at, utm): &(Time, Utm)) -> Landing<'_> {
    Landing { at: at.to_string(), utm }
}
