//! Pipedrive: deals, leads and persons, by webhooks v2. They are not signed: credentials of the webhook, or a token in its
//! address, tell whose they are. Persons of deals are asked for with `api`.
//!
//! Source: <https://pipedrive.readme.io/docs/guide-for-webhooks-v2>, read 2026-11-20; field names after the models of the
//! package `pipedrive` 33.7 (API v2).

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use serde_json::{Value, json as value};

use super::{
    Common, Descriptor, Inbound, Parsed, Refusal, Report, Source, Told, Verified,
    crm::{self, Steps},
    json,
    verify::Secrets,
};
use crate::{
    intake::{
        Draft,
        fetch::{Credential, FetchError, Fetcher},
    },
    model::{Currency, EventName, Raw, RawUser, Settings, Time},
};

/// Kind `pipedrive`.
pub(super) const DESCRIPTOR: Descriptor = Descriptor { kind: "pipedrive", build };

/// What the CRM is called at Meta.
const NAME: &str = "Pipedrive";
/// Where the API is.
const BASE: &str = "https://api.pipedrive.com";
/// The steps that count without `events`.
const STEPS: [(&str, &str); 3] =
    [("added", "generate_lead"), ("won", "close_convert_lead"), ("lost", "close_unconvert_lead")];
/// The step of a won deal that is given another value. No key of `events`.
const RESTATED: &str = "restated";
/// Addresses and numbers of one person that are taken.
const CONTACTS_MAX: usize = 10;

struct Pipedrive {
    secrets: Secrets,
    /// The user whose password one of the secrets is; without it, a secret is the token in the address.
    user: Option<String>,
    steps: Steps,
    api: Option<Api>,
    lookup_wait: Duration,
}

/// Pipedrive's API with a token for it.
struct Api {
    base: String,
    credential: Credential,
}

fn build(_common: &Common, settings: &mut Settings) -> Option<Arc<dyn Source>> {
    const SECRETS: &str = "the HTTP password of the webhook; without `user`, the token behind ?token= in its address";
    const STEP: &str = "added, won, lost, stage.N with the stage's number, lead.added or person.added";
    let secrets = Secrets::read(settings, SECRETS);
    let user = settings.text("user");
    let steps = Steps::read(settings, &STEPS, is_step, STEP);
    let lookup_wait = crm::lookup_wait(settings);
    let asks = settings.has("api");
    let api = settings.table("api", "a table: { token = \"…\" }", |api| {
        let token = api.need("token", "the API token of a user who sees all persons").secret("token");
        let base = api.base_url(BASE);
        Some(Api { base, credential: Credential::Header("x-api-token", token?) })
    });
    let api = api.flatten();
    if asks && api.is_none() {
        return None;
    }
    Some(Arc::new(Pipedrive { secrets: secrets?, user, steps, api, lookup_wait }))
}

fn is_step(step: &str) -> bool {
    matches!(step, "added" | "won" | "lost" | "lead.added" | "person.added")
        || step.strip_prefix("stage.").is_some_and(crm::is_id)
}

#[async_trait]
impl Source for Pipedrive {
    fn verify<'a>(&self, inbound: &'a Inbound<'a>, _now: Time) -> Result<Verified<'a>, Refusal> {
        if let Some(user) = &self.user {
            return self.secrets.basic(inbound, user);
        }
        let mut query = url::form_urlencoded::parse(inbound.query.unwrap_or_default().as_bytes());
        let token = query.find(|(name, _)| name == "token").map(|(_, token)| token);
        self.secrets.presented(inbound, token.as_deref())
    }

    fn parse(&self, verified: &Verified<'_>) -> Result<Parsed, Refusal> {
        let body = json::body(verified.body())?;
        let delivery_id = json::first(&body, &["/meta/id", "/meta/correlation_id"]);
        Ok(Parsed { delivery_id, reports: self.reports(body) })
    }

    async fn look_up(&self, fetcher: &Fetcher, what: &str) -> Result<Option<Told>, FetchError> {
        let mut parts = what.splitn(3, '/');
        let (Some("person"), Some(id), Some(api)) = (parts.next(), parts.next(), &self.api) else { return Ok(None) };
        if !crm::is_id(id) {
            return Ok(None);
        }
        let url = format!("{}/api/v2/persons/{id}", api.base);
        let mut answer = fetcher.get(&url, &[], &api.credential).await?.body;
        let person = answer.get_mut("data").map(Value::take).filter(Value::is_object);
        let person = person.ok_or_else(|| FetchError::unexpected("a person without data"))?;
        let mut draft = Draft::named(parts.next().unwrap_or("generate_lead"));
        read_person(&person, &mut draft.user);
        Ok(Some(Told::new(draft, value!({ "person": person }))))
    }
}

impl Pipedrive {
    /// Every step that one change is: a deal may be added and won at once.
    fn reports(&self, body: Value) -> Vec<Report> {
        let word = |pointer| json::text(&body, pointer).unwrap_or_default();
        let (entity, action) = (word("/meta/entity"), word("/meta/action"));
        let topic = format!("{action}.{entity}");
        let Some(data) = json::at(&body, "/data").filter(|data| data.is_object()) else {
            let old = body.get("current").is_some();
            let why = if old { "a webhook of version 1" } else { "not a conversion" };
            let topic = if old { word("/event") } else { topic };
            return vec![Report::ignored(topic, why)];
        };
        let steps: Vec<String> = match (entity.as_str(), action.as_str()) {
            ("deal", "create" | "change") => deal_steps(data, json::at(&body, "/previous"), action == "create"),
            ("lead" | "person", "create") => vec![format!("{entity}.added")],
            _ => return vec![Report::ignored(topic, "not a conversion")],
        };
        let Some(id) = json::first(data, &["/id"]).or_else(|| json::text(&body, "/meta/entity_id")) else {
            return vec![Report::ignored(topic, "no object")];
        };
        let reports = steps.iter().filter_map(|step| {
            let event = if step == RESTATED { Some(EventName::RESTATEMENT) } else { self.steps.event(step) }?;
            // Only what counts as a sale has a worth that can be given another.
            let sold = step != RESTATED || self.steps.event("won").is_some_and(crm::is_sale);
            sold.then(|| self.told(&body, data, &entity, &id, step, event)).flatten()
        });
        let reports: Vec<Report> = reports.map(Report::from).collect();
        if !reports.is_empty() {
            return reports;
        }
        let topic = if steps.is_empty() { topic } else { steps.join(" ") };
        vec![Report::ignored(topic, "no step of events")]
    }

    fn told(&self, body: &Value, data: &Value, entity: &str, id: &str, step: &str, event: &str) -> Option<Told> {
        let mut draft = crm::step(event, NAME);
        let when = match step {
            "won" => "/won_time",
            "lost" => "/lost_time",
            "added" | "lead.added" | "person.added" => "/add_time",
            RESTATED => "/update_time",
            _ => "/stage_change_time",
        };
        let time = |value: &Value, pointer| json::time(value, pointer).ok().flatten();
        draft.time = time(data, when).or_else(|| time(body, "/meta/timestamp"));
        let currency = json::text(data, "/currency").and_then(|code| Currency::parse(&code).ok());
        let sale = entity == "deal" && crm::is_sale(event);
        if entity == "deal" {
            crm::worth(&mut draft, data.get("value").unwrap_or(&Value::Null), currency);
        }
        if step == RESTATED && draft.value.is_none() {
            return None;
        }
        draft.transaction_id = sale.then(|| id.to_owned());
        let person = if entity == "person" {
            read_person(data, &mut draft.user);
            None
        } else {
            json::first(data, &["/person_id", "/person_id/value"]).filter(|id| crm::is_id(id))
        };
        // A new worth goes with what is known of the sale.
        let lookup = person.filter(|_| self.api.is_some() && step != RESTATED);
        let lookup = lookup.map(|person| (format!("person/{person}/{event}"), self.lookup_wait));
        // A sale, and each worth of it, is known by its deal; of refunds there may be several.
        let key = (!sale || event == "refund").then(|| format!("{entity}.{id}.{step}"));
        Some(Told { key, lookup, ..Told::new(draft, body.clone()) })
    }
}

/// The steps a deal takes when it is created, or changes from what `previous` says of its changed fields. Where nothing is
/// said of them, it may just have been won: if it was won before, that is known.
fn deal_steps(data: &Value, previous: Option<&Value>, created: bool) -> Vec<String> {
    let unsaid = previous.is_none();
    let previous = previous.unwrap_or(&Value::Null);
    let changed = |pointer: &str| {
        let (before, after) = (previous.pointer(pointer), data.pointer(pointer));
        created || before.is_some_and(|before| Some(before) != after)
    };
    let status = json::text(data, "/status").unwrap_or_default();
    let mut steps = Vec::new();
    if created {
        steps.push("added".to_owned());
    }
    if changed("/stage_id")
        && let Some(stage) = json::text(data, "/stage_id")
    {
        steps.push(format!("stage.{stage}"));
    }
    match status.as_str() {
        "won" | "lost" if unsaid || changed("/status") => steps.push(status),
        "won" if changed("/value") || changed("/currency") => steps.push(RESTATED.to_owned()),
        _ => {}
    }
    steps
}

/// Reads a person as a webhook or the API tells of it, the primary address and number first.
fn read_person(person: &Value, user: &mut RawUser) {
    let values = |pointers: &[&str]| {
        let mut entries: Vec<&Value> = pointers.iter().flat_map(|pointer| json::list(person, pointer)).collect();
        entries.sort_by_key(|entry| !json::flag(entry, "/primary"));
        entries.into_iter().filter_map(|entry| json::text(entry, "/value")).take(CONTACTS_MAX).collect::<Vec<_>>()
    };
    let emails = values(&["/emails", "/email"]);
    let phones = values(&["/phones", "/phone"]);
    user.emails.extend(emails.into_iter().map(Raw::new));
    user.phones.extend(phones.into_iter().map(Raw::new));
    user.first_name = json::raw(person, "/first_name");
    user.last_name = json::raw(person, "/last_name");
    if user.first_name.is_none()
        && user.last_name.is_none()
        && let Some(name) = json::text(person, "/name")
    {
        json::name(&name, user);
    }
    let street = json::text(person, "/postal_address/route");
    let number = json::text(person, "/postal_address/street_number");
    user.street =
        street.map(|street| Raw::new([Some(street), number].into_iter().flatten().collect::<Vec<_>>().join(" ")));
    user.city = json::raw(person, "/postal_address/locality");
    user.region = json::raw(person, "/postal_address/admin_area_level_1");
    user.postal_code = json::raw(person, "/postal_address/postal_code");
    user.country = json::raw(person, "/postal_address/country");
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderMap;
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    use wiremock::{
        Mock, MockServer, ResponseTemplate,
        matchers::{header, path},
    };

    use super::{super::testing, *};

    const CONFIG: &str = "secrets = ['new', 'p:w']\nuser = 'relay'";

    #[test]
    fn fixtures_read_as_their_snapshots() {
        let config = format!(
            "{CONFIG}\napi = {{ token = 't' }}\n[events]\n'stage.5' = 'qualify_lead'\nperson.added = 'sign_up'\n\
             'lead.added' = 'generate_lead'"
        );
        testing::snapshots("pipedrive", &DESCRIPTOR, &config);
    }

    #[test]
    fn the_password_of_the_webhook_is_checked() {
        let source = testing::build(&DESCRIPTOR, CONFIG);
        let verdict = |user: Option<&str>| {
            let basic = user.map(|user| format!("Basic {}", STANDARD.encode(user)));
            let headers = testing::headers(basic.as_deref().map(|basic| ("authorization", basic)));
            let inbound = Inbound { headers: &headers, query: Some("token=new"), body: b"{}" };
            source.verify(&inbound, testing::NOW).err().map(|refusal| refusal.reason)
        };
        assert_eq!((verdict(Some("relay:new")), verdict(Some("relay:p:w"))), (None, None), "two are live");
        assert_eq!(verdict(Some("relay:old")), Some("bad_credential"));
        assert_eq!(verdict(Some("other:new")), Some("bad_credential"));
        assert_eq!(verdict(None), Some("no_credential"), "with a user, no token will do");
    }

    #[test]
    fn without_a_user_the_token_of_the_address_is_checked() {
        let source = testing::build(&DESCRIPTOR, "secrets = ['a+b c', 'tok-2']");
        let verdict = |query: Option<&str>| {
            let inbound = Inbound { headers: &HeaderMap::new(), query, body: b"{}" };
            source.verify(&inbound, testing::NOW).err().map(|refusal| refusal.reason)
        };
        assert_eq!((verdict(Some("x=1&token=tok-2")), verdict(Some("token=a%2Bb%20c"))), (None, None));
        assert_eq!(verdict(Some("token=tok-3")), Some("bad_credential"));
        assert_eq!(verdict(Some("token=")), Some("bad_credential"));
        assert_eq!((verdict(None), verdict(Some("Token=tok-2"))), (Some("no_credential"), Some("no_credential")));
    }

    #[test]
    fn a_step_that_cannot_be_is_told() {
        let common = Common {
            name: crate::model::SourceName::new("crm").expect("valid"),
            address: None,
            test_events: Default::default(),
            mapped: Vec::new(),
        };
        let config = "secrets = ['x']\napi = { base_url = 'https://x.example' }\n[events]\nstage.first = 'qualify_lead'\n\
                      wonn = 'purchase'";
        let mut settings = Settings::new("", config.parse().expect("TOML"));
        assert!(build(&common, &mut settings).is_none());
        let problems: Vec<String> = settings.finish().iter().map(|problem| problem.key.clone()).collect();
        assert_eq!(problems, ["events.stage.first", "events.wonn", "api.token"]);
    }

    #[tokio::test]
    async fn the_person_of_a_deal_is_asked_for() {
        let server = MockServer::start().await;
        let person = value!({ "success": true, "data": {
            "id": 139, "name": "Ada King Lovelace", "first_name": null, "last_name": null,
            "emails": [
                { "value": "ada.work@example.com", "primary": false, "label": "work" },
                { "value": "ada@example.com", "primary": true, "label": "home" },
            ],
            "phones": [{ "value": "+44 20 7946 0000", "primary": true, "label": "mobile" }],
            "postal_address": { "value": "…", "route": "St James's Square", "street_number": "12", "locality": "London",
                "admin_area_level_1": "England", "postal_code": "SW1Y 4JH", "country": "United Kingdom" },
            "custom_fields": { "dcf558aac1ae4e8c4f849ba5e668430d8df9be12": "Cj0KCQiA-AbC_d" },
        } });
        let answer = ResponseTemplate::new(200).set_body_json(person);
        let asked = Mock::given(path("/api/v2/persons/139")).and(header("x-api-token", "tok"));
        asked.respond_with(answer).mount(&server).await;
        let config = format!("{CONFIG}\napi = {{ token = 'tok', base_url = '{}' }}", server.uri());
        let source = testing::build(&DESCRIPTOR, &config);
        let fetcher = Fetcher::new().expect("TLS");
        let told = source.look_up(&fetcher, "person/139/close_convert_lead").await.expect("asks").expect("finds");
        let event = told.draft.shown();
        assert_eq!(event["user"]["email"], value!(["ada@example.com", "ada.work@example.com"]));
        assert_eq!(
            (&event["user"]["first_name"], &event["user"]["last_name"]),
            (&value!("Ada King"), &value!("Lovelace"))
        );
        assert_eq!(
            (&event["user"]["street"], &event["user"]["city"]),
            (&value!("St James's Square 12"), &value!("London"))
        );
        let gclid = &told.body["person"]["custom_fields"]["dcf558aac1ae4e8c4f849ba5e668430d8df9be12"];
        assert_eq!(gclid, "Cj0KCQiA-AbC_d", "what [sources.map] reads");
        let gone = source.look_up(&fetcher, "person/140/purchase").await.err();
        assert_eq!(gone, Some(FetchError::Gone));
        for what in ["person/../139", "deal/139", "person"] {
            assert!(matches!(source.look_up(&fetcher, what).await, Ok(None)), "{what}");
        }
    }
}
