//! Tests.

use serde_json::json;
use wiremock::{
    Mock, MockServer, ResponseTemplate,
    matchers::{body_json, header as has_header, method, path, query_param, query_param_is_missing},
};

use super::{super::testing, *};
use crate::model::SourceName;

const CONFIG: &str = "secrets = ['shhh']";

#[test]
fn fixtures_read_as_their_snapshots() {
    testing::snapshots("shopify", &DESCRIPTOR, CONFIG);
}

/// The body of a fixture.
fn fixture(name: &str) -> Value {
    let path = format!("{}/src/intake/sources/fixtures/shopify/{name}.json", env!("CARGO_MANIFEST_DIR"));
    let fixture: Value = serde_json::from_slice(&std::fs::read(path).expect("reads")).expect("JSON");
    fixture["body"].clone()
}

/// What `body` reads as under `topic` and this configuration.
fn reads(config: &str, topic: &str, body: &Value) -> Value {
    let source = testing::build(&DESCRIPTOR, &format!("{CONFIG}\n{config}"));
    testing::reads(source.as_ref(), &testing::headers([("x-shopify-topic", topic)]), body.to_string().as_bytes())
}

/// Value and currency of the first report.
fn worth_of(config: &str, topic: &str, body: &Value) -> (Option<String>, Option<String>) {
    let read = reads(config, topic, body);
    let text = |name: &str| read["reports"][0]["event"][name].as_str().map(str::to_owned);
    (text("value"), text("currency"))
}

fn is_worth(config: &str, topic: &str, body: &Value, value: &str, currency: &str) {
    assert_eq!(worth_of(config, topic, body), (Some(value.to_owned()), Some(currency.to_owned())), "{config} {topic}");
}

/// Vector: computed outside this code, with the vendor\'s own package where there is one.
#[test]
fn the_signature_is_checked() {
    const RIGHT: &str = "zQdA7ZHzZssYqlV6Q10c0hAO9fljbQQWpOBQHUKdbfA=";
    const BODY: &[u8] = br#"{"id":1,"email":"a@b.test"}"#;
    let verdict = |config: &str, headers: &[(&str, &str)], body: &[u8]| {
        let source = testing::build(&DESCRIPTOR, config);
        let headers = testing::headers(headers.iter().copied());
        let inbound = Inbound { headers: &headers, query: None, body };
        source.verify(&inbound, testing::NOW).err().map(|refusal| (refusal.problem.status, refusal.reason))
    };
    let signed = [("x-shopify-hmac-sha256", RIGHT)];
    assert_eq!(verdict(CONFIG, &signed, BODY), None);
    assert_eq!(verdict("secrets = ['new', 'shhh']", &signed, BODY), None);
    assert_eq!(verdict("secrets = ['new', 'old']", &signed, BODY), Some((401, "bad_signature")));
    assert_eq!(verdict(CONFIG, &signed, br#"{"id":2,"email":"a@b.test"}"#), Some((401, "bad_signature")));
    assert_eq!(verdict(CONFIG, &signed, br#"{"id":1, "email":"a@b.test"}"#), Some((401, "bad_signature")));
    let altered = [("x-shopify-hmac-sha256", "AQdA7ZHzZssYqlV6Q10c0hAO9fljbQQWpOBQHUKdbfA=")];
    assert_eq!(verdict(CONFIG, &altered, BODY), Some((401, "bad_signature")));
    assert_eq!(verdict(CONFIG, &[("x-shopify-hmac-sha256", "AAAA")], BODY), Some((401, "no_signature")));
    assert_eq!(verdict(CONFIG, &[], BODY), Some((401, "no_signature")));

    let shop = format!("{CONFIG}\nshop = 'Nordlicht-Tee.myshopify.com'");
    let from = |shop| [signed[0], ("x-shopify-shop-domain", shop)];
    assert_eq!(verdict(&shop, &from("nordlicht-tee.myshopify.com"), BODY), None);
    assert_eq!(verdict(&shop, &from("other.myshopify.com"), BODY), Some((401, "wrong_shop")));
    assert_eq!(verdict(&shop, &signed, BODY), Some((401, "wrong_shop")));
    // Who cannot sign learns nothing about the shop.
    assert_eq!(verdict(&shop, &[altered[0], from("other.myshopify.com")[1]], BODY), Some((401, "bad_signature")));

    let hour = format!("{CONFIG}\ntolerance = '1h'");
    let at = |time| [signed[0], ("x-shopify-triggered-at", time)];
    assert_eq!(verdict(&hour, &at("2026-11-20T08:00:00.000000000Z"), BODY), None);
    assert_eq!(verdict(&hour, &at("2026-11-20T07:59:59Z"), BODY), Some((401, "stale")));
    assert_eq!(verdict(&hour, &at("2026-11-20T10:00:01Z"), BODY), Some((401, "from_the_future")));
    assert_eq!(verdict(&hour, &at("yesterday"), BODY), Some((401, "no_time")));
    assert_eq!(verdict(&hour, &signed, BODY), Some((401, "no_time")));
    assert_eq!(verdict(CONFIG, &at("2001-01-01T00:00:00Z"), BODY), None);
}

#[test]
fn deliveries_are_told_apart_by_event_and_topic() {
    let source = testing::build(&DESCRIPTOR, CONFIG);
    let id = |headers: &[(&str, &str)]| {
        let read = testing::reads(source.as_ref(), &testing::headers(headers.iter().copied()), b"{}");
        read["delivery_id"].as_str().map(str::to_owned)
    };
    let all = [("x-shopify-topic", "Carts/Update"), ("x-shopify-event-id", "e-1"), ("x-shopify-webhook-id", "w-1")];
    assert_eq!(id(&all).as_deref(), Some("e-1.carts/update"));
    assert_eq!(id(&[all[0], all[2]]).as_deref(), Some("w-1"));
    assert_eq!(id(&all[..1]), None);
}

#[test]
fn a_subtotal_is_without_tax_and_shipping() {
    let subtotal = "value = 'subtotal'";
    // 53.80 of goods with 3.52 of tax in them; 4.90 of shipping.
    let mut order = fixture("orders_paid");
    is_worth(subtotal, "orders/paid", &order, "50.28", "EUR");
    // The same from all taxes less those of shipping, where lines do not tell theirs.
    for line in order["line_items"].as_array_mut().expect("lines") {
        line["tax_lines"] = json!([]);
    }
    is_worth(subtotal, "orders/paid", &order, "50.28", "EUR");
    // Prices without tax are as they are.
    order["taxes_included"] = json!(false);
    is_worth(subtotal, "orders/paid", &order, "53.80", "EUR");
    is_worth(subtotal, "orders/paid", &fixture("orders_paid_jpy_guest"), "9850", "JPY");
    is_worth(subtotal, "orders/paid", &fixture("orders_paid_kwd"), "35.125", "KWD");
    let presentment = "value = 'subtotal'\ncurrency = 'presentment'";
    is_worth(presentment, "orders/paid", &fixture("orders_paid_presentment"), "2964", "JPY");
}

#[test]
fn an_order_counts_in_the_currency_that_is_asked_for() {
    let mut order = fixture("orders_paid_presentment");
    is_worth("", "orders/paid", &order, "24.99", "USD");
    is_worth("currency = 'presentment'", "orders/paid", &order, "3898", "JPY");
    let read = reads("currency = 'presentment'", "orders/paid", &order);
    // Two at 1560, less 156.
    assert_eq!(read["reports"][0]["event"]["items"][0]["price"], "1482");
    // Where only the shop's currency is told, it is that, and said to be.
    order["total_price_set"] = Value::Null;
    is_worth("currency = 'presentment'", "orders/paid", &order, "24.99", "USD");
}

#[test]
fn a_refund_takes_off_what_its_purchase_counted() {
    let topic = "refunds/create";
    let (first, second) = (fixture("refunds_create_first_part"), fixture("refunds_create_second_part"));
    is_worth("", topic, &first, "12.90", "EUR");
    // Failed transactions and other kinds are no money that went back.
    is_worth("", topic, &second, "9.90", "EUR");
    // 12.90 with 0.84 of tax in them.
    is_worth("value = 'subtotal'", topic, &first, "12.06", "EUR");
    // 4.90 of shipping, its tax in them as the sum shows; the rest is for the goods.
    is_worth("value = 'subtotal'", topic, &second, "5.00", "EUR");
    // 4.90 of shipping with its tax beside, and nothing else.
    let mut shipping = second.clone();
    (shipping["order_adjustments"], shipping["transactions"][0]["amount"]) = (json!([]), json!("0.48"));
    is_worth("", topic, &shipping, "5.38", "EUR");
    let read = reads("value = 'subtotal'", topic, &shipping);
    assert_eq!(read["reports"][0]["ignored"], "no goods refunded");

    let foreign = fixture("refunds_create_foreign");
    is_worth("", topic, &foreign, "9.50", "USD");
    is_worth("currency = 'presentment'", topic, &foreign, "1482", "JPY");
    let amount_only = fixture("refunds_create_foreign_amount_only");
    is_worth("", topic, &amount_only, "6.41", "USD");
    is_worth("currency = 'presentment'", topic, &amount_only, "1000", "JPY");
    // Half of the line's price at the line's rate, to the cent.
    let mut half = foreign.clone();
    half["transactions"][0]["amount"] = json!("741");
    is_worth("", topic, &half, "4.75", "USD");
    // Without a rate it is what it is, in the currency it was paid in.
    half["refund_line_items"] = json!([]);
    is_worth("", topic, &half, "741", "JPY");
    // With the order there is one.
    let mut order = fixture("orders_paid_presentment");
    order["refunds"] = json!([half]);
    is_worth("", "orders/updated", &order, "4.75", "USD");
    is_worth("currency = 'presentment'", "orders/updated", &order, "741", "JPY");
}

#[test]
fn old_versions_tell_shipping_as_an_adjustment() {
    let mut refund = fixture("refunds_create_second_part");
    refund["refund_shipping_lines"] = Value::Null;
    refund["order_adjustments"] = json!([
        {"kind": "shipping_refund", "amount": "-4.42", "tax_amount": "-0.48"},
        {"kind": "refund_discrepancy", "amount": "-5.00", "tax_amount": "0.00"},
    ]);
    is_worth("value = 'subtotal'", "refunds/create", &refund, "5.00", "EUR");
}

#[test]
fn a_name_that_is_told_whole_is_taken_apart() {
    let mut order = fixture("orders_paid_jpy_guest");
    order["billing_address"] = json!({ "name": "Ada King Lovelace", "first_name": null, "country_code": "GB" });
    let user = &reads("", "orders/paid", &order)["reports"][0]["event"]["user"];
    assert_eq!((&user["first_name"], &user["last_name"]), (&json!("Ada King"), &json!("Lovelace")));
}

/// Where every value of `value` stands.
fn pointers(value: &Value, at: &str, all: &mut Vec<String>) {
    all.push(at.to_owned());
    match value {
        Value::Object(fields) => fields.iter().for_each(|(name, value)| pointers(value, &format!("{at}/{name}"), all)),
        Value::Array(list) => list.iter().enumerate().for_each(|(i, value)| pointers(value, &format!("{at}/{i}"), all)),
        _ => {}
    }
}

#[test]
fn nothing_of_another_type_does_harm() {
    let config = format!("{CONFIG}\nvalue = 'subtotal'\ncurrency = 'presentment'");
    let source = testing::build(&DESCRIPTOR, &config);
    let odd = [Value::Null, json!("9".repeat(28)), json!([[], -1, { "amount": true }])];
    for (topic, name) in [
        ("orders/updated", "orders_updated_with_refunds"),
        ("refunds/create", "refunds_create_foreign"),
        ("refunds/create", "refunds_create_second_part"),
        ("customers/create", "customers_create"),
    ] {
        let (headers, whole) = (testing::headers([("x-shopify-topic", topic)]), fixture(name));
        let mut all = Vec::new();
        pointers(&whole, "", &mut all);
        // One of them at each place, as each of them everywhere takes seconds.
        for (pointer, odd) in all.iter().zip(odd.iter().cycle()) {
            let mut body = whole.clone();
            *body.pointer_mut(pointer).expect("there") = odd.clone();
            let read = testing::reads(source.as_ref(), &headers, body.to_string().as_bytes());
            assert!(read["refused"].is_null() || read["problem"]["pointer"].is_string(), "{name} {pointer}");
        }
    }
}

#[test]
fn amounts_beyond_all_money_are_refused() {
    let mut refund = fixture("refunds_create_first_part");
    let line = refund["refund_line_items"][0].clone();
    refund["refund_line_items"] = vec![line; 9].into();
    for line in refund["refund_line_items"].as_array_mut().expect("lines") {
        (line["subtotal"], line["total_tax"]) = (json!("9".repeat(27)), json!("9".repeat(27)));
    }
    let read = reads("value = 'subtotal'", "refunds/create", &refund);
    let read = &read["reports"][0];
    assert_eq!((&read["refused"], &read["problem"]["pointer"]), (&json!("unreadable"), &json!("/subtotal")));
}

#[test]
fn the_topics_are_those_that_are_configured() {
    let (order, refund) = (fixture("orders_paid"), fixture("refunds_create_first_part"));
    let first = |config: &str, topic: &str, body: &Value| reads(config, topic, body)["reports"][0].clone();
    let created = first("purchase_on = 'orders/create'", "orders/create", &order);
    let paid = first("purchase_on = 'orders/create'", "orders/paid", &order);
    assert_eq!(created["event"]["transaction_id"], "5900000000017");
    assert_eq!(created, paid, "both are known by the same transaction");

    let named = "transaction_id = 'name'\nrefund_on = 'orders/updated'";
    assert_eq!(first(named, "orders/paid", &order)["event"]["transaction_id"], "#1017");
    assert_eq!(first(named, "refunds/create", &refund)["ignored"], "not the configured topic");
    let refund = first(named, "orders/updated", &fixture("orders_updated_with_refunds"));
    assert_eq!((&refund["event"]["transaction_id"], &refund["key"]), (&json!("#1017"), &json!("950001")));
    let numbered = "transaction_id = 'order_number'\nrefund_on = 'orders/updated'";
    assert_eq!(first(numbered, "orders/paid", &order)["event"]["transaction_id"], "1017");

    let item = |config| first(config, "orders/paid", &order)["event"]["items"][0]["id"].clone();
    assert_eq!((item("item_id = 'product_id'"), item("item_id = 'sku'")), (json!("8500000000001"), json!("TEA-001")));
}

#[test]
fn test_orders_are_taken_if_that_is_wished() {
    let common = Common {
        name: SourceName::new("shop").expect("valid"),
        address: None,
        test_events: super::super::TestEvents::Accept,
        mapped: vec!["transaction_id".to_owned()],
    };
    let mut settings = Settings::new("", CONFIG.parse().expect("TOML"));
    let source = build(&common, &mut settings).expect("built");
    let kind = |topic: &str, name: &str| {
        let headers = testing::headers([("x-shopify-topic", topic)]);
        let read = testing::reads(source.as_ref(), &headers, fixture(name).to_string().as_bytes());
        read["reports"][0]["event"]["event"].clone()
    };
    assert_eq!(kind("orders/paid", "orders_paid_test"), "purchase");
    assert_eq!(kind("refunds/create", "refunds_create_test"), "refund");
    // What the operator maps himself need not be there.
    assert_eq!(kind("orders/paid", "orders_paid_without_id"), "purchase");
}

#[test]
fn wrong_settings_are_told() {
    let told = |config: &str| -> Vec<String> {
        let common = Common {
            name: SourceName::new("shop").expect("valid"),
            address: None,
            test_events: super::super::TestEvents::Ignore,
            mapped: Vec::new(),
        };
        let mut settings = Settings::new("", config.parse().expect("TOML"));
        drop(build(&common, &mut settings));
        settings.finish().into_iter().map(|problem| problem.key).collect()
    };
    assert_eq!(told(""), ["secrets"]);
    let all = "secrets = ['s']\nshop = 'tee.example'\npurchase_on = 'x'\nrefund_on = 'x'\nvalue = 'x'\ncurrency = 'x'\n\
               transaction_id = 'x'\nitem_id = 'x'\ntolerance = '8d'\ntopics = []";
    let keys =
        ["tolerance", "shop", "purchase_on", "refund_on", "value", "currency", "transaction_id", "item_id", "topics"];
    assert_eq!(told(all), keys);
    assert_eq!(told("secrets = ['s']\ntransaction_id = 'name'"), ["refund_on"]);
    let api = |api: &str| told(&format!("secrets = ['s']\napi = {{ {api} }}"));
    assert_eq!(api("shop = 'a.myshopify.com', token = 't'"), [""; 0]);
    assert_eq!(api("shop = 'a.myshopify.com', client_id = 'c', client_secret = 's'"), [""; 0]);
    assert_eq!(api("base_url = 'http://127.0.0.1:1', token = 't', version = 'unstable'"), [""; 0]);
    assert_eq!(api(""), ["api.shop", "api.token"]);
    assert_eq!(api("shop = 'a', token = 't', version = 'new'"), ["api.shop", "api.version"]);
    assert_eq!(api("shop = 'a.myshopify.com', token = 't', client_id = 'c'"), ["api.token"]);
    assert_eq!(api("shop = 'a.myshopify.com', client_id = 'c'"), ["api.client_secret"]);
    assert_eq!(api("shop = 'a.myshopify.com', client_secret = 'c'"), ["api.client_id"]);
    assert_eq!(told("secrets = ['s']\nshop = 'a.myshopify.com'\napi = { token = 't' }"), [""; 0]);
}

/// A page of the listing since the day before the orders of the fixtures.
async fn page(source: &dyn Source, cursor: Option<&str>) -> Result<(Vec<Value>, Option<String>), FetchError> {
    let since = Time::parse("2026-11-19T00:00:00Z").expect("valid");
    let fetcher = Fetcher::new().expect("built");
    let page = source.listing().expect("configured").page(&fetcher, since, cursor).await?;
    let shown = testing::shown(&Parsed { delivery_id: None, reports: page.reports });
    Ok((shown["reports"].as_array().cloned().unwrap_or_default(), page.next))
}

#[tokio::test]
async fn orders_are_listed_page_by_page_as_their_webhooks_tell_them() {
    let server = MockServer::start().await;
    let next = format!("<{}/elsewhere?page_info=p2&limit=250>; rel=\"next\"", server.uri());
    let mut pending = fixture("orders_paid_kwd");
    pending["financial_status"] = json!("pending");
    let mut broken = fixture("orders_paid_bad_total");
    broken["refunds"] = json!([fixture("refunds_create_without_order")]);
    let mut old = fixture("orders_updated_with_refunds");
    (old["processed_at"], old["refunds"][0]["processed_at"]) =
        (json!("2026-09-01T00:00:00Z"), json!("2026-09-02T00:00:00Z"));
    let first =
        json!({ "orders": [fixture("orders_updated_with_refunds"), pending, broken, fixture("orders_paid_test")] });
    Mock::given(method("GET"))
        .and(path("/admin/api/2026-07/orders.json"))
        .and(has_header("x-shopify-access-token", "shpat_1"))
        .and(query_param("status", "any"))
        .and(query_param("updated_at_min", "2026-11-19T00:00:00Z"))
        .and(query_param("order", "updated_at asc"))
        .and(query_param("limit", "250"))
        .and(query_param_is_missing("page_info"))
        .respond_with(ResponseTemplate::new(200).insert_header("link", next.as_str()).set_body_json(first))
        .expect(1)
        .mount(&server)
        .await;
    Mock::given(method("GET"))
        .and(path("/admin/api/2026-07/orders.json"))
        .and(query_param("page_info", "p2"))
        .and(query_param_is_missing("status"))
        .respond_with(ResponseTemplate::new(200).set_body_json(json!({ "orders": [old] })))
        .expect(1)
        .mount(&server)
        .await;
    let config = format!("{CONFIG}\napi = {{ base_url = '{}', token = 'shpat_1', version = '2026-07' }}", server.uri());
    let source = testing::build(&DESCRIPTOR, &config);
    let (reports, next) = page(source.as_ref(), None).await.expect("listed");
    let paid = |name: &str| reads("", "orders/paid", &fixture(name))["reports"][0]["event"].clone();
    assert_eq!(reports[0]["event"], paid("orders_paid"), "a purchase keeps its value after refunds");
    let refunds = reads("", "orders/updated", &fixture("orders_updated_with_refunds"));
    assert_eq!(json!(reports[1..3]), refunds["reports"]);
    let ignored = |i: usize| reports[i]["ignored"].as_str();
    assert_eq!((ignored(3), ignored(6)), (Some("not paid"), Some("test event")));
    assert_eq!(reports[4]["refused"], "unreadable");
    assert!(reports[4]["problem"]["detail"].as_str().is_some_and(|detail| detail.starts_with("order ")));
    // That order's refund can be read: its transaction is that of the order it stands in.
    assert_eq!(reports[5]["event"]["transaction_id"], "5900000000030");
    assert_eq!(reports.len(), 7);
    assert_eq!(next.as_deref(), Some("p2"));
    let (reports, next) = page(source.as_ref(), next.as_deref()).await.expect("listed");
    assert_eq!((&reports[0]["ignored"], &reports[1]["key"]), (&json!("too old"), &json!("950002")));
    assert_eq!((reports.len(), next), (2, None));
}

#[tokio::test]
async fn an_app_of_the_dev_dashboard_gets_a_token_first() {
    let server = MockServer::start().await;
    let grant = json!({ "client_id": "app-1", "client_secret": "s3", "grant_type": "client_credentials" });
    Mock::given(method("POST"))
        .and(path("/admin/oauth/access_token"))
        .and(body_json(grant))
        .respond_with(
            ResponseTemplate::new(200).set_body_json(json!({ "access_token": "shpat_2", "expires_in": 86399 })),
        )
        .mount(&server)
        .await;
    Mock::given(path("/admin/api/2026-10/orders.json"))
        .and(has_header("x-shopify-access-token", "shpat_2"))
        .respond_with(ResponseTemplate::new(200).set_body_json(json!({ "orders": [] })))
        .mount(&server)
        .await;
    let config =
        format!("{CONFIG}\napi = {{ base_url = '{}', client_id = 'app-1', client_secret = 's3' }}", server.uri());
    let source = testing::build(&DESCRIPTOR, &config);
    assert_eq!(page(source.as_ref(), None).await, Ok((Vec::new(), None)));
}

#[tokio::test]
async fn what_the_api_refuses_is_told_apart() {
    assert!(testing::build(&DESCRIPTOR, CONFIG).listing().is_none());
    for (answer, settings) in [
        (ResponseTemplate::new(401), true),
        (ResponseTemplate::new(403), true),
        (ResponseTemplate::new(404), true),
        (ResponseTemplate::new(429).insert_header("retry-after", "2.0"), false),
        (ResponseTemplate::new(503), false),
        (ResponseTemplate::new(200).set_body_json(json!({ "errors": "no" })), false),
    ] {
        let server = MockServer::start().await;
        Mock::given(method("GET")).respond_with(answer).mount(&server).await;
        let config = format!("{CONFIG}\napi = {{ base_url = '{}', token = 't' }}", server.uri());
        let source = testing::build(&DESCRIPTOR, &config);
        let error = page(source.as_ref(), None).await.expect_err("refused");
        assert_eq!(matches!(error, FetchError::Settings(_)), settings, "{error}");
        assert!(!matches!(error, FetchError::Gone));
    }
}

#[test]
fn a_late_change_of_an_order_tells_of_no_old_refund() {
    let told = |updated_at: &str| {
        let mut order = fixture("orders_updated_with_refunds");
        order["updated_at"] = updated_at.into();
        let read = reads("", "orders/updated", &order);
        read["reports"].as_array().expect("reports").iter().filter(|report| report["event"].is_object()).count()
    };
    assert!(told("2026-12-18T11:02:09+01:00") > 0, "28 days after");
    assert_eq!(told("2026-12-18T11:02:10+01:00"), 0);
}
