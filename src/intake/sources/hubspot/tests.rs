use std::collections::BTreeSet;

use axum::http::HeaderMap;
use serde_json::{Value, json};
use wiremock::{
    Mock, MockServer, ResponseTemplate,
    matchers::{header, method, path},
};

use super::{super::testing, *};
use crate::intake::sources::{TestEvents, testing::NOW, verify::hmac};

const CONFIG: &str = "secrets = ['old', 'shhh']\nurl = 'https://relay.example/hook/hs'";
const BODY: &[u8] = br#"{"id":1,"email":"a@b.test"}"#;

fn signed(signature: &str, at: &str) -> HeaderMap {
    testing::headers([("X-HubSpot-Signature-v3", signature), ("X-HubSpot-Request-Timestamp", at)])
}

fn verdict(
    source: &dyn Source,
    headers: &HeaderMap,
    query: Option<&str>,
    body: &[u8],
    now: Time,
) -> Option<&'static str> {
    let inbound = Inbound { headers, query, body };
    source.verify(&inbound, now).err().map(|refusal| refusal.reason)
}

#[test]
fn fixtures_read_as_their_snapshots() {
    let config = format!(
        "{CONFIG}\napi = {{ token = 't' }}\n[events]\n'deal.creation' = 'working_lead'\n\
         'dealstage.94812345' = 'purchase'\ndealstage.94812399 = 'refund'"
    );
    testing::snapshots("hubspot", &DESCRIPTOR, &config);
}

/// Vector: computed outside this code, with the vendor\'s own package where there is one.
#[test]
fn the_signature_is_checked() {
    let source = testing::build(&DESCRIPTOR, CONFIG);
    let (right, at) = ("7dvpf/T3GlKCpW6l63XFsCiz9KyOEaQ0U5qRbQPYrVs=", "1700000000000");
    let then = Time::from_secs(1_700_000_010);
    let verdict = |headers: &HeaderMap, body: &[u8]| verdict(source.as_ref(), headers, None, body, then);
    assert_eq!(verdict(&signed(right, at), BODY), None, "under the second of two secrets");
    assert_eq!(verdict(&signed(right, at), br#"{"id":2,"email":"a@b.test"}"#), Some("bad_signature"));
    assert_eq!(verdict(&signed(right, "1700000000001"), BODY), Some("bad_signature"), "the time is signed, too");
    assert_eq!(verdict(&signed(&right.replace('7', "8"), at), BODY), Some("bad_signature"));
    for (signature, at) in [("", at), ("zz", at), (right, ""), (right, "yesterday")] {
        assert_eq!(verdict(&signed(signature, at), BODY), Some("no_signature"), "{signature} {at}");
    }
    assert_eq!(verdict(&HeaderMap::new(), BODY), Some("no_signature"));
}

#[test]
fn a_signature_is_fresh_for_five_minutes_or_as_long_as_configured() {
    let right = "7dvpf/T3GlKCpW6l63XFsCiz9KyOEaQ0U5qRbQPYrVs=";
    let headers = signed(right, "1700000000000");
    let at = |config: &str, seconds: i64| {
        let source = testing::build(&DESCRIPTOR, config);
        verdict(source.as_ref(), &headers, None, BODY, Time::from_secs(1_700_000_000 + seconds))
    };
    assert_eq!((at(CONFIG, 300), at(CONFIG, 301)), (None, Some("stale")));
    assert_eq!((at(CONFIG, -300), at(CONFIG, -301)), (None, Some("from_the_future")));
    let longer = format!("{CONFIG}\ntolerance = '1h'");
    assert_eq!((at(&longer, 3600), at(&longer, 3601)), (None, Some("stale")));
}

#[test]
fn the_address_is_ours_with_the_query_of_the_request_or_what_url_says() {
    let signature = |address: &str| {
        let at = NOW.as_ms().to_string();
        let mac = hmac(b"shhh", &[b"POST", address.as_bytes(), BODY, at.as_bytes()]);
        signed(&base64::Engine::encode(&base64::engine::general_purpose::STANDARD, mac), &at)
    };
    let ours = testing::build(&DESCRIPTOR, "secrets = ['shhh']");
    let verdict_of = |source: &Arc<dyn Source>, address: &str, query| {
        verdict(source.as_ref(), &signature(address), query, BODY, NOW)
    };
    let here = "https://relay.example/webhooks/shop";
    assert_eq!(verdict_of(&ours, here, None), None);
    assert_eq!(verdict_of(&ours, &format!("{here}?a=b%20c"), Some("a=b%20c")), None);
    assert_eq!(verdict_of(&ours, here, Some("a=b")), Some("bad_signature"));
    // As HubSpot's page says, and as its libraries do.
    assert_eq!(verdict_of(&ours, &format!("{here}?to=a:b/c&x=%26"), Some("to=a%3Ab%2fc&x=%26")), None);
    assert_eq!(verdict_of(&ours, &format!("{here}?to=a%3Ab%2fc&x=%26"), Some("to=a%3Ab%2fc&x=%26")), None);
    let exact = testing::build(&DESCRIPTOR, "secrets = ['shhh']\nurl = 'https://Edge.example/hs?tenant=1'");
    assert_eq!(verdict_of(&exact, "https://Edge.example/hs?tenant=1", Some("whatever")), None);
    assert_eq!(verdict_of(&exact, here, None), Some("bad_signature"));
}

#[test]
fn only_the_listed_escapes_are_decoded() {
    let all = "%3a%2F%3F%40%21%24%27%28%29%2A%2C%3B";
    assert_eq!(decoded(&format!("https://x.example/{all}")), "https://x.example/:/?@!$'()*,;");
    for same in ["a%20b%2", "%", "%zz%E2%82%AC", "100%é", "%253A"] {
        assert_eq!(decoded(same), same);
    }
}

#[test]
fn what_is_wrong_in_the_configuration_is_told_with_its_key() {
    let told = |config: &str, address: Option<&str>| -> Vec<String> {
        let common = Common {
            name: crate::model::SourceName::new("crm").expect("valid"),
            address: address.map(str::to_owned),
            test_events: TestEvents::Ignore,
            mapped: Vec::new(),
        };
        let mut settings = Settings::new("", config.parse().expect("TOML"));
        let built = build(&common, &mut settings).is_some();
        let problems: Vec<String> = settings.finish().iter().map(ToString::to_string).collect();
        assert_eq!(built, problems.is_empty(), "{problems:?}");
        problems
    };
    let here = Some("https://relay.example/webhooks/crm");
    assert!(told("secrets = ['x']", here).is_empty());
    let without = told("secrets = ['x']", None);
    assert!(without.len() == 1 && without[0].starts_with("url: is missing: set public.url"), "{without:?}");
    assert_eq!(told("", here).len(), 1);
    assert!(told("secrets = ['x']\nurl = 'relay.example'", here)[0].starts_with("url: must be"));
    assert!(told("secrets = ['x']\napi = {}", here)[0].starts_with("api.token: is missing"));
    assert!(told("secrets = ['x']\napi = 'x'", here)[0].starts_with("api: must be a table"));
}

/// An API with these objects, and a source that asks it.
async fn asking(more: &str, objects: &[(&str, u16, Value)]) -> (MockServer, Arc<dyn Source>) {
    let server = MockServer::start().await;
    for (at, status, body) in objects {
        let answer = ResponseTemplate::new(*status).set_body_json(body);
        let bearer = header("authorization", "Bearer pat-1");
        Mock::given(method("GET")).and(path(*at)).and(bearer).respond_with(answer).mount(&server).await;
    }
    let config = format!("{CONFIG}\n{more}\n[api]\ntoken = 'pat-1'\nbase_url = '{}'", server.uri());
    let source = testing::build(&DESCRIPTOR, &config);
    (server, source)
}

async fn learnt(source: &dyn Source, what: &str) -> Result<Option<(Value, Value)>, FetchError> {
    let fetcher = Fetcher::new().expect("TLS");
    let told = source.look_up(&fetcher, what).await?;
    Ok(told.map(|told| (told.draft.shown(), told.body)))
}

fn contact() -> Value {
    json!({"id": "51", "archived": false, "properties": {
        "email": "ada@example.com", "hs_additional_emails": "ada.work@example.com; ",
        "phone": "+44 20 7946 0000", "mobilephone": null, "firstname": "Ada", "lastname": "Lovelace",
        "address": "12 St James's Square", "city": "London", "state": "England", "zip": "SW1Y 4JH", "country": "United Kingdom",
        "hs_google_click_id": "Cj0KCQiA-AbC_d", "hs_facebook_click_id": null,
        "hs_analytics_first_url": "https://shop.example/?gclid=older&fbclid=IwAR0x&utm_source=fb&utm_medium=paid",
        "visitor_id": "01JD3N6V6J8Q4T3W9K5Z7Y2X1A", "lead_id": "123456789012345", "favourite_colour": "blue",
        "ad_user_data": "granted",
    }})
}

fn deal(amount: Value, currency: Value) -> Value {
    json!({
        "id": "9", "properties": { "amount": amount, "deal_currency_code": currency, "dealstage": "closedwon" },
        "associations": { "contacts": { "results": [
            { "id": "51", "type": "deal_to_contact" }, { "id": "52", "type": "deal_to_contact" },
        ] } },
    })
}

#[tokio::test]
async fn a_deal_brings_its_worth_and_its_contact() {
    let objects = [
        ("/crm/v3/objects/deals/9", 200, deal(json!("1250.500"), json!("KWD"))),
        ("/crm/v3/objects/contacts/51", 200, contact()),
    ];
    let (server, source) = asking("properties = ['lead_source']", &objects).await;
    let (event, body) = learnt(source.as_ref(), "deal/9/purchase").await.expect("asks").expect("finds");
    assert_eq!((&event["value"], &event["currency"]), (&json!("1250.500"), &json!("KWD")));
    assert_eq!(event["user"]["email"], json!(["ada@example.com", "ada.work@example.com"]));
    assert_eq!(event["user"]["phone"], json!(["+44 20 7946 0000"]));
    assert_eq!(
        (&event["user"]["first_name"], &event["user"]["postal_code"], &event["user"]["lead_id"]),
        (&json!("Ada"), &json!("SW1Y 4JH"), &json!(123_456_789_012_345_u64))
    );
    assert_eq!((&event["context"]["gclid"], &event["context"]["fbclid"]), (&json!("Cj0KCQiA-AbC_d"), &json!("IwAR0x")));
    assert_eq!(event["context"]["utm"]["source"], "fb");
    assert_eq!(
        (&event["visitor_id"], &event["consent"]["ad_user_data"]),
        (&json!("01JD3N6V6J8Q4T3W9K5Z7Y2X1A"), &json!("granted"))
    );
    assert_eq!(event["user"]["external_id"], Value::Null, "HubSpot's ids are not those of the shop");
    // What [sources.map] reads.
    assert_eq!(
        (&body["deal"]["dealstage"], &body["contact"]["favourite_colour"]),
        (&json!("closedwon"), &json!("blue"))
    );
    let asked = server.received_requests().await.expect("recorded");
    let query = |i: usize, name: &str| {
        asked[i].url.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
    };
    let properties =
        |i| query(i, "properties").unwrap_or_default().split(',').map(str::to_owned).collect::<BTreeSet<_>>();
    assert_eq!((asked.len(), query(0, "associations").as_deref()), (2, Some("contacts")));
    assert!(["amount", "deal_currency_code", "lead_source", "gclid"].iter().all(|name| properties(0).contains(*name)));
    assert!(
        ["email", "hs_google_click_id", "lead_source", "visitor_id"].iter().all(|name| properties(1).contains(*name))
    );
}

#[tokio::test]
async fn a_worth_needs_a_currency_and_a_deal_needs_no_contact() {
    let worth = async |currency: &str, event: &str, deal: Value| {
        let objects = [("/crm/v3/objects/deals/9", 200, deal), ("/crm/v3/objects/contacts/51", 404, json!({}))];
        let (_server, source) = asking(currency, &objects).await;
        let what = format!("deal/9/{event}");
        let (event, _) = learnt(source.as_ref(), &what).await.expect("asks").expect("finds");
        assert_eq!(event["user"], Value::Null);
        format!("{} {}", event["value"], event["currency"])
    };
    assert_eq!(worth("", "purchase", deal(json!("98000"), json!("JPY"))).await, r#""98000" "JPY""#);
    assert_eq!(worth("", "purchase", deal(json!("98000"), Value::Null)).await, "null null");
    assert_eq!(worth("currency = 'eur'", "purchase", deal(json!("98.50"), Value::Null)).await, r#""98.50" "EUR""#);
    assert_eq!(worth("currency = 'eur'", "purchase", deal(json!("98.50"), json!("XXZ"))).await, "null null");
    assert_eq!(worth("currency = 'eur'", "purchase", deal(json!("n/a"), Value::Null)).await, "null null");
    assert_eq!(worth("", "close_unconvert_lead", deal(json!("98000"), json!("JPY"))).await, "null null");
    let alone = json!({ "id": "9", "properties": { "amount": "5", "deal_currency_code": "EUR" } });
    assert_eq!(worth("", "purchase", alone).await, r#""5" "EUR""#);
}

#[tokio::test]
async fn a_contact_is_asked_for_where_the_version_has_it() {
    let server = MockServer::start().await;
    let answer = ResponseTemplate::new(200).set_body_json(contact());
    let asked = Mock::given(path("/crm/objects/2026-03/contacts/51"));
    asked.respond_with(answer).expect(1).mount(&server).await;
    let config = format!("{CONFIG}\napi = {{ token = 't', version = '2026-03', base_url = '{}/' }}", server.uri());
    let source = testing::build(&DESCRIPTOR, &config);
    let (event, _) = learnt(source.as_ref(), "contact/51/generate_lead").await.expect("asks").expect("finds");
    assert_eq!(event["user"]["city"], "London");
    for what in ["contact/../51", "company/51", "contact", "", "deal/x/purchase"] {
        assert_eq!(learnt(source.as_ref(), what).await, Ok(None), "{what}");
    }
}

#[tokio::test]
async fn what_cannot_be_had_says_whether_it_may_be_later() {
    let of = async |status: u16, body: Value| {
        let (_server, source) = asking("", &[("/crm/v3/objects/contacts/51", status, body)]).await;
        learnt(source.as_ref(), "contact/51/generate_lead").await.expect_err("fails")
    };
    assert!(matches!(of(429, json!({})).await, FetchError::Later { .. }));
    assert!(matches!(of(200, json!({"status": "?"})).await, FetchError::Later { .. }));
    assert!(matches!(of(403, json!({})).await, FetchError::Settings(_)));
    assert_eq!(of(404, json!({})).await, FetchError::Gone);
}

#[test]
fn without_the_api_nothing_waits() {
    let source = testing::build(&DESCRIPTOR, CONFIG);
    let body = br#"[{"subscriptionType":"contact.creation","objectId":1,"portalId":3}]"#;
    let read = testing::reads(source.as_ref(), &HeaderMap::new(), body);
    assert_eq!(read["reports"][0]["lookup"], Value::Null);
    assert_eq!(read["reports"][0]["key"], "3.1.contact.creation");
    let waits = testing::build(&DESCRIPTOR, &format!("{CONFIG}\nlookup_wait = '90s'\napi = {{ token = 't' }}"));
    let read = testing::reads(waits.as_ref(), &HeaderMap::new(), body);
    assert_eq!(read["reports"][0]["lookup"], json!({"what": "contact/1/generate_lead", "limit_s": 90}));
}
