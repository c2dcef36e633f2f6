use std::time::Duration;

use serde_json::{Value, json};
use wiremock::{
    Mock, MockServer, ResponseTemplate,
    matchers::{bearer_token, method, path, query_param, query_param_is_missing},
};

use super::{super::testing, *};
use crate::{
    intake::{
        fetch::{FetchError, Fetcher},
        sources::{Report, TestEvents},
    },
    model::SourceName,
};

const CONFIG: &str = "secrets = ['pdl_ntfset_x']\napi = { token = 'pdl_live_apikey_1' }";
const BODY: &[u8] = br#"{"id":1,"email":"a@b.test"}"#;
/// Vector: computed outside this code, with the vendor\'s own package where there is one.
const RIGHT: &str = "a7699dbc070eaf99888e842d175e4d22dfef0a827f58dd41208d77137a1472e6";
const SIGNED_AT: i64 = 1_700_000_000;

#[test]
fn fixtures_read_as_their_snapshots() {
    testing::snapshots("paddle", &DESCRIPTOR, CONFIG);
}

/// Why a body with this header is refused, `age` seconds after it was signed.
fn verdict(config: &str, signature: &str, body: &[u8], age: i64) -> Option<&'static str> {
    let source = testing::build(&DESCRIPTOR, config);
    let headers = testing::headers([("paddle-signature", signature)]);
    let inbound = Inbound { headers: &headers, query: None, body };
    source.verify(&inbound, Time::from_secs(SIGNED_AT + age)).err().map(|refusal| refusal.reason)
}

#[test]
fn the_signature_is_checked() {
    let right = format!("ts={SIGNED_AT};h1={RIGHT}");
    let other = RIGHT.replace('a', "b");
    assert_eq!(verdict(CONFIG, &right, BODY, 2), None);
    assert_eq!(verdict("secrets = ['new', 'pdl_ntfset_x']", &right, BODY, 2), None, "two secrets of ours");
    for of_rotation in [format!("{right};h1={other}"), format!("ts={SIGNED_AT};h1={other};h1={RIGHT};h2=x")] {
        assert_eq!(verdict(CONFIG, &of_rotation, BODY, 2), None, "two secrets of theirs");
    }
    assert_eq!(verdict(CONFIG, &right, br#"{"id":2,"email":"a@b.test"}"#, 2), Some("bad_signature"));
    assert_eq!(verdict(CONFIG, &format!("ts={SIGNED_AT};h1={other}"), BODY, 2), Some("bad_signature"));
    assert_eq!(verdict(CONFIG, &format!("ts={};h1={RIGHT}", SIGNED_AT + 1), BODY, 2), Some("bad_signature"));
    assert_eq!(verdict("secrets = ['other']", &right, BODY, 2), Some("bad_signature"));
    let at = format!("ts={SIGNED_AT}");
    for bad in ["", "x", &at, &format!("h1={RIGHT}"), &format!("ts=soon;h1={RIGHT}"), &format!("{at};h1=zz")] {
        assert_eq!(verdict(CONFIG, bad, BODY, 2), Some("no_signature"), "{bad}");
    }
}

#[test]
fn freshness_is_a_setting() {
    let right = format!("ts={SIGNED_AT};h1={RIGHT}");
    let three_days = 3 * 86_400;
    assert_eq!(verdict(CONFIG, &right, BODY, three_days), None, "as long as Paddle tries");
    assert_eq!(verdict(CONFIG, &right, BODY, 2 * three_days), Some("stale"));
    let strict = "secrets = ['pdl_ntfset_x']\ntolerance = '5m'";
    assert_eq!((verdict(strict, &right, BODY, 300), verdict(strict, &right, BODY, 301)), (None, Some("stale")));
    assert_eq!(verdict(strict, &right, BODY, -301), Some("from_the_future"));
}

/// The only report of a fixture.
fn told(config: &str, fixture: &str) -> Value {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/src/intake/sources/fixtures/paddle");
    let body = std::fs::read(format!("{directory}/{fixture}.json")).expect("reads");
    testing::reads(testing::build(&DESCRIPTOR, config).as_ref(), &testing::headers([]), &body)["reports"][0].take()
}

#[test]
fn what_counts_and_what_it_is_worth_are_settings() {
    let config = "secrets = ['x']\nvalue = 'subtotal'\npurchase_on = 'paid'";
    let paid = told(config, "transaction_paid");
    assert_eq!((&paid["event"]["value"], &paid["lookup"]), (&json!("81.00"), &Value::Null), "no api, no lookup");
    assert_eq!(told(config, "transaction_completed")["ignored"], "counted by another topic");
    assert_eq!(told(config, "adjustment_approved")["event"]["value"], "9.18");
    let waits = "secrets = ['x']\nlookup_wait = '90s'\napi = { token = 't' }";
    assert_eq!(told(waits, "transaction_completed")["lookup"]["limit_s"], 90);
}

fn common(test_events: TestEvents) -> Common {
    let name = SourceName::new("shop").expect("valid");
    Common { name, address: None, test_events, mapped: Vec::new() }
}

#[test]
fn a_simulation_may_be_taken_for_real() {
    let mut settings = Settings::new("", "secrets = ['x']".parse().expect("TOML"));
    let source = build(&common(TestEvents::Accept), &mut settings).expect("built");
    let body =
        json!({"event_id": "ntfsimevt_1", "event_type": "customer.created", "data": {"id": "ctm_1"}}).to_string();
    let read = testing::reads(source.as_ref(), &testing::headers([]), body.as_bytes());
    assert_eq!(read["reports"][0]["key"], "ctm_1");
}

#[test]
fn wrong_settings_are_told() {
    let text = "value = 'net'\npurchase_on = 'billed'\ntolerance = '30d'\nlookup_wait = '2d'\nfresh = 1\n\
                api = { base_url = 'paddle' }";
    let mut settings = Settings::new("", text.parse().expect("TOML"));
    assert!(build(&common(TestEvents::Ignore), &mut settings).is_none());
    let keys: Vec<_> = settings.finish().into_iter().map(|problem| problem.key).collect();
    let wrong = ["secrets", "purchase_on", "tolerance", "value", "lookup_wait", "api.token", "api.base_url", "fresh"];
    assert_eq!(keys, wrong);
}

/// A source whose API is `server`.
fn asking(server: &MockServer) -> Arc<dyn Source> {
    let config = format!("secrets = ['x']\napi = {{ token = 'tok', base_url = '{}' }}", server.uri());
    testing::build(&DESCRIPTOR, &config)
}

async fn answer(server: &MockServer, at: &str, answer: ResponseTemplate) {
    Mock::given(method("GET")).and(path(at)).and(bearer_token("tok")).respond_with(answer).mount(server).await;
}

#[tokio::test]
async fn a_customer_is_looked_up_with_the_address() {
    let server = MockServer::start().await;
    let source = asking(&server);
    let fetcher = Fetcher::new().expect("a client");
    let json = |body: Value| ResponseTemplate::new(200).set_body_json(body);
    let ada = json!({"data": {"id": "ctm_1", "email": "ada@example.com", "name": "Ada Lovelace"}, "meta": {}});
    answer(&server, "/customers/ctm_1", json(ada)).await;
    let home = json!({"first_line": "1 Main St", "city": "London", "postal_code": "W1", "country_code": "GB"});
    answer(&server, "/customers/ctm_1/addresses/add_1", json(json!({ "data": home }))).await;
    answer(&server, "/customers/ctm_1/addresses/add_2", ResponseTemplate::new(403)).await;
    answer(&server, "/customers/ctm_1/addresses/add_3", ResponseTemplate::new(503)).await;
    answer(&server, "/customers/ctm_2", ResponseTemplate::new(429).insert_header("retry-after", "7")).await;
    answer(&server, "/customers/ctm_3", json(json!({"data": []}))).await;
    answer(&server, "/customers/ctm_4", json(json!(["not Paddle"]))).await;
    let look_up = |what: &'static str| source.look_up(&fetcher, what);
    let user = |told: Option<Told>| told.map(|told| told.draft.shown()["user"].take()).unwrap_or_default();

    let told = look_up("customer/ctm_1/address/add_1").await.expect("answers");
    assert_eq!(told.as_ref().map(|told| &told.body["data"]["customer"]["name"]), Some(&json!("Ada Lovelace")));
    let name = json!({"email": ["ada@example.com"], "first_name": "Ada", "last_name": "Lovelace"});
    let mut whole = name.clone();
    let address = json!({"street": "1 Main St", "city": "London", "postal_code": "W1", "country": "GB"});
    whole.as_object_mut().expect("an object").extend(address.as_object().expect("an object").clone());
    assert_eq!(user(told), whole);
    for without_address in ["customer/ctm_1", "customer/ctm_1/address/add_2", "customer/ctm_1/address/add_9"] {
        assert_eq!(user(look_up(without_address).await.expect("answers")), name, "{without_address}");
    }
    for nothing in ["customer/ctm_9", "customer/../keys", "customer/a?b", "order/1", ""] {
        assert!(look_up(nothing).await.expect("answers").is_none(), "{nothing}");
    }
    let later = look_up("customer/ctm_2").await.err();
    assert!(matches!(&later, Some(FetchError::Later { after: Some(wait), .. }) if wait.as_secs() == 7), "{later:?}");
    for broken in ["customer/ctm_1/address/add_3", "customer/ctm_3", "customer/ctm_4"] {
        assert!(matches!(look_up(broken).await, Err(FetchError::Later { .. })), "{broken}");
    }
}

#[tokio::test]
async fn transactions_are_listed_and_then_what_was_given_back() {
    let server = MockServer::start().await;
    let source = asking(&server);
    let fetcher = Fetcher::new().expect("a client");
    let page = |data: Value, more: bool| {
        ResponseTemplate::new(200).set_body_json(json!({"data": data, "meta": {"pagination": {"has_more": more}}}))
    };
    let bought = |id: &str, total: &str| {
        let customer = json!({"id": "ctm_1", "email": "ada@example.com"});
        json!({"id": id, "currency_code": "EUR", "details": {"totals": {"grand_total": total}}, "customer": customer})
    };
    let given = |id: &str, created: &str, updated: &str| {
        json!({"id": id, "action": "refund", "status": "approved", "transaction_id": "txn_1", "currency_code": "EUR",
               "totals": {"total": "100"}, "created_at": created, "updated_at": updated})
    };
    let transactions = || {
        Mock::given(method("GET"))
            .and(path("/transactions"))
            .and(query_param("status", "completed"))
            .and(query_param("updated_at[GTE]", "2026-11-20T09:00:00Z"))
            .and(query_param("order_by", "id[ASC]"))
            .and(query_param("include", "customer,address"))
    };
    let first = page(json!([bought("txn_1", "4999"), bought("txn_2", "4.5")]), true);
    transactions().and(query_param_is_missing("after")).respond_with(first).mount(&server).await;
    let second = page(json!([bought("txn_3", "1")]), false);
    transactions().and(query_param("after", "txn_2")).respond_with(second).mount(&server).await;
    let adjustments = || {
        Mock::given(method("GET"))
            .and(path("/adjustments"))
            .and(query_param("action", "refund,chargeback"))
            .and(query_param("status", "approved"))
            .and(query_param("order_by", "id[DESC]"))
    };
    let (before, after, long_ago) = ("2026-11-19T09:00:00Z", "2026-11-20T10:00:00Z", "2026-09-01T09:00:00Z");
    let third = page(json!([given("adj_9", after, after), given("adj_8", before, before)]), true);
    adjustments().and(query_param_is_missing("after")).respond_with(third).mount(&server).await;
    let fourth = page(json!([given("adj_7", before, after), given("adj_1", long_ago, long_ago)]), true);
    adjustments().and(query_param("after", "adj_8")).respond_with(fourth).mount(&server).await;

    let listing = source.listing().expect("lists");
    answer(&server, "/transactions", ResponseTemplate::new(200).set_body_json(json!("maintenance"))).await;
    let broken = listing.page(&fetcher, testing::NOW, Some("none")).await.err();
    assert_eq!(broken, Some(FetchError::unexpected("no list")));
    let (mut cursor, mut found) = (None, Vec::new());
    loop {
        let page = listing.page(&fetcher, testing::NOW, cursor.as_deref()).await.expect("answers");
        found.extend(page.reports.into_iter().map(|report| match report {
            Report::Ignored { reason, .. } => reason.to_owned(),
            Report::Refused(refusal) => refusal.reason.to_owned(),
            Report::Event(told) => {
                let shown = told.draft.shown();
                let waits = if told.lookup.is_some() { " waits" } else { "" };
                let text = |name: &str| shown[name].as_str().map(str::to_owned).unwrap_or_default();
                format!("{} {} {}{waits}", text("event"), told.key.unwrap_or(text("transaction_id")), text("value"))
            }
        }));
        match page.next {
            Some(next) => cursor = Some(next),
            None => break,
        }
        assert!(found.len() < 20, "it ends");
    }
    let expected =
        ["purchase txn_1 49.99", "unreadable", "purchase txn_3 0.01", "refund adj_9 1.00", "refund adj_7 1.00"];
    assert_eq!(found, expected);
    assert!(testing::build(&DESCRIPTOR, "secrets = ['x']").listing().is_none(), "without api");
}

#[test]
fn a_key_of_the_sandbox_asks_the_sandbox() {
    let url = |token: &str| {
        let mut settings = Settings::new("", format!("api = {{ token = '{token}' }}").parse().expect("TOML"));
        Api::read(&mut settings).expect("read").base_url
    };
    assert_eq!(url("pdl_live_apikey_1"), "https://api.paddle.com");
    assert_eq!(url("pdl_sdbx_apikey_1"), "https://sandbox-api.paddle.com");
    assert_eq!(TOLERANCE, Duration::from_secs(345_600), "as docs/sources/paddle.md says");
}
