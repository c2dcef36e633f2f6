//! Asking HubSpot's API for a deal, its contact, or a contact.
//!
//! Source: <https://developers.hubspot.com/docs/api-reference/legacy/overview> and `…/latest/overview`, read 2026-11-20: `v3`
//! has no end date yet and is what HubSpot's own libraries ask (13.5.0, 14.0.1); versions by date stand elsewhere in the path.

use serde_json::{Map, Value};

use super::super::{Told, crm, json};
use crate::{
    intake::{
        Draft,
        fetch::{Credential, FetchError, Fetcher},
    },
    model::{ClickKind, Currency, Raw, RawUser, Settings},
};

/// Where it is.
const BASE: &str = "https://api.hubapi.com";
/// What is asked for of a deal.
const DEAL: [&str; 4] = ["amount", "deal_currency_code", "dealstage", "pipeline"];
/// What is asked for of a contact: HubSpot's own properties.
const CONTACT: [&str; 15] = [
    "email",
    "hs_additional_emails",
    "phone",
    "mobilephone",
    "firstname",
    "lastname",
    "address",
    "city",
    "state",
    "zip",
    "country",
    "hs_country_region_code",
    "hs_google_click_id",
    "hs_facebook_click_id",
    "hs_analytics_first_url",
];
/// What is asked for of either: properties that [`Draft::carry`] understands. HubSpot leaves out what an account has not.
const CARRIED: [&str; 22] = [
    "visitor_id",
    "cr_vid",
    "gclid",
    "gbraid",
    "wbraid",
    "fbclid",
    "msclkid",
    "ttclid",
    "li_fat_id",
    "fbc",
    "fbp",
    "ga_client_id",
    "ga_session_id",
    "lead_id",
    "landing_page",
    "utm_source",
    "utm_medium",
    "utm_campaign",
    "utm_content",
    "utm_term",
    "ad_user_data",
    "ad_personalization",
];
/// More properties than anybody maps.
const PROPERTIES_MAX: usize = 100;

/// HubSpot's API with a token for it.
pub(super) struct Api {
    objects: String,
    credential: Credential,
    /// What `amount` is in where a deal names no currency.
    currency: Option<Currency>,
    deal_properties: String,
    contact_properties: String,
}

impl Api {
    /// Reads `api`, `currency` and `properties`; `Ok(None)` without `api`.
    ///
    /// # Errors
    /// If something is wrong with them, which is noted.
    pub(super) fn read(settings: &mut Settings) -> Result<Option<Self>, ()> {
        const WHAT: &str = "a table: { token = \"…\" }";
        let currency = settings.parsed("currency", "an ISO 4217 code such as EUR", |text| Currency::parse(text).ok());
        let properties = settings.list("properties", "the internal name of a property, such as lead_source", property);
        let properties = properties.unwrap_or_default();
        if properties.len() > PROPERTIES_MAX {
            settings.problem("properties", format!("must be at most {PROPERTIES_MAX}"));
        }
        if !settings.has("api") {
            return Ok(None);
        }
        let api = settings.table("api", WHAT, |api| {
            let token = api.need("token", "the access token of a private app, or a service key").secret("token");
            let base = api.base_url(BASE);
            let version = api.parsed("version", "v3, or a date such as 2026-03", version);
            (token, base, version.unwrap_or_else(|| "v3".to_owned()))
        });
        let (Some(token), base, version) = api.ok_or(())? else { return Err(()) };
        let objects = if version.starts_with('v') {
            format!("{base}/crm/{version}/objects")
        } else {
            format!("{base}/crm/objects/{version}")
        };
        let list = |own: &[&str]| {
            let all = own.iter().copied().chain(CARRIED).chain(properties.iter().map(String::as_str));
            all.collect::<Vec<_>>().join(",")
        };
        let (deal_properties, contact_properties) = (list(&DEAL), list(&CONTACT));
        let credential = Credential::Bearer(token);
        Ok(Some(Self { objects, credential, currency, deal_properties, contact_properties }))
    }

    /// Asks for what an event left out: `deal/ID/EVENT` or `contact/ID/EVENT`.
    ///
    /// # Errors
    /// If it cannot be had now, or not at all.
    pub(super) async fn look_up(&self, fetcher: &Fetcher, what: &str) -> Result<Option<Told>, FetchError> {
        let mut parts = what.splitn(3, '/');
        let (Some(object), Some(id)) = (parts.next(), parts.next().filter(|id| crm::is_id(id))) else {
            return Ok(None);
        };
        let mut draft = Draft::named(parts.next().unwrap_or("generate_lead"));
        let mut found = Map::new();
        let contact = match object {
            "contact" => Some(id.to_owned()),
            "deal" => {
                let mut deal =
                    self.object(fetcher, "deals", id, &self.deal_properties, &[("associations", "contacts")]).await?;
                let contact = json::list(&deal, "/associations/contacts/results").first();
                let contact = contact.and_then(|contact| json::text(contact, "/id")).filter(|id| crm::is_id(id));
                let properties = deal.get_mut("properties").map(Value::take).unwrap_or_default();
                self.read_deal(&properties, &mut draft);
                found.insert("deal".to_owned(), properties);
                contact
            }
            _ => return Ok(None),
        };
        if let Some(contact) = contact {
            match self.object(fetcher, "contacts", &contact, &self.contact_properties, &[]).await {
                Ok(mut contact) => {
                    let properties = contact.get_mut("properties").map(Value::take).unwrap_or_default();
                    read_contact(&properties, &mut draft);
                    found.insert("contact".to_owned(), properties);
                }
                // The deal is worth what it is worth without it.
                Err(FetchError::Gone) if object == "deal" => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Some(Told::new(draft, Value::Object(found))))
    }

    async fn object(
        &self,
        fetcher: &Fetcher,
        kind: &str,
        id: &str,
        properties: &str,
        more: &[(&str, &str)],
    ) -> Result<Value, FetchError> {
        let query: Vec<_> = [("properties", properties)].into_iter().chain(more.iter().copied()).collect();
        let answer = fetcher.get(&format!("{}/{kind}/{id}", self.objects), &query, &self.credential).await?;
        let documented = answer.body.get("properties").is_some_and(Value::is_object);
        if documented { Ok(answer.body) } else { Err(FetchError::unexpected("an object without properties")) }
    }

    fn read_deal(&self, properties: &Value, draft: &mut Draft) {
        carry(properties, draft);
        let currency = json::text(properties, "/deal_currency_code").map_or(self.currency, |code| {
            // One that is unknown is not the account's own.
            Currency::parse(&code).ok()
        });
        crm::worth(draft, properties.get("amount").unwrap_or(&Value::Null), currency);
    }
}

fn read_contact(properties: &Value, draft: &mut Draft) {
    let user = &mut draft.user;
    let own = json::all(properties, &["/email"]);
    let more = json::text(properties, "/hs_additional_emails").unwrap_or_default();
    let more = more.split(';').map(str::trim).filter(|email| !email.is_empty()).map(str::to_owned);
    *user = RawUser {
        emails: own.into_iter().chain(more).map(Raw::new).collect(),
        phones: json::all(properties, &["/phone", "/mobilephone"]).into_iter().map(Raw::new).collect(),
        first_name: json::raw(properties, "/firstname"),
        last_name: json::raw(properties, "/lastname"),
        street: json::raw(properties, "/address"),
        city: json::raw(properties, "/city"),
        region: json::raw(properties, "/state"),
        postal_code: json::raw(properties, "/zip"),
        country: json::raw(properties, "/hs_country_region_code").or_else(|| json::raw(properties, "/country")),
        ..std::mem::take(user)
    };
    // The latest clicks first: the first page's are older.
    for (kind, pointer) in [(ClickKind::Gclid, "/hs_google_click_id"), (ClickKind::Fbclid, "/hs_facebook_click_id")] {
        draft.click(kind, &json::text(properties, pointer).unwrap_or_default());
    }
    carry(properties, draft);
    if let Some(first) = json::text(properties, "/hs_analytics_first_url") {
        draft.landing(&first);
    }
}

/// Takes the properties whose names say what they are.
fn carry(properties: &Value, draft: &mut Draft) {
    let Some(properties) = properties.as_object() else { return };
    for (name, value) in properties {
        if let Some(value) = value.as_str() {
            draft.carry(name, value);
        }
    }
}

/// An internal name.
fn property(text: &str) -> Option<String> {
    let named = text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    (named && (1..=100).contains(&text.len())).then(|| text.to_owned())
}

/// `v3`, or a year and a month.
fn version(text: &str) -> Option<String> {
    let digits = |part: &str, count: usize| part.len() == count && part.bytes().all(|b| b.is_ascii_digit());
    let dated = text.split_once('-').is_some_and(|(year, month)| digits(year, 4) && digits(month, 2));
    (text == "v3" || dated).then(|| text.to_owned())
}
