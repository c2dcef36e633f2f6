use serde_json::{Value, json};
use wiremock::{
    Mock, MockServer, ResponseTemplate,
    matchers::{basic_auth, method, path, query_param},
};

use super::{super::testing, *};
use crate::{
    intake::fetch::{FetchError, Fetcher},
    web::Problem,
};

const CONFIG: &str = "secrets = ['shhh']";
const BODY: &[u8] = br#"{"id":1,"email":"a@b.test"}"#;
/// Vector: computed outside this code, with the vendor\'s own package where there is one.
const RIGHT: &str = "zQdA7ZHzZssYqlV6Q10c0hAO9fljbQQWpOBQHUKdbfA=";

#[test]
fn fixtures_read_as_their_snapshots() {
    testing::snapshots("woocommerce", &DESCRIPTOR, CONFIG);
}

/// Why a body with this signature is refused.
fn verdict(config: &str, signature: Option<&str>, body: &[u8]) -> Option<&'static str> {
    let source = testing::build(&DESCRIPTOR, config);
    let headers = testing::headers(signature.map(|signature| ("x-wc-webhook-signature", signature)));
    let inbound = Inbound { headers: &headers, query: None, body };
    source.verify(&inbound, testing::NOW).err().map(|refusal| refusal.reason)
}

#[test]
fn the_signature_is_checked() {
    assert_eq!(verdict(CONFIG, Some(RIGHT), BODY), None);
    assert_eq!(verdict("secrets = ['new', 'shhh']", Some(RIGHT), BODY), None, "during a rotation");
    assert_eq!(verdict(CONFIG, Some(RIGHT), br#"{"id":2,"email":"a@b.test"}"#), Some("bad_signature"));
    assert_eq!(verdict(CONFIG, Some(&RIGHT.replace('z', "y")), BODY), Some("bad_signature"));
    assert_eq!(verdict("secrets = ['other']", Some(RIGHT), BODY), Some("bad_signature"));
    assert_eq!(verdict(CONFIG, None, BODY), Some("no_signature"));
    assert_eq!(verdict(CONFIG, Some("zQdA7Q=="), BODY), Some("no_signature"));
}

/// Vector: Python `base64(hmac.digest(b"a<b>&\"'c&copy;", body, "sha256"))`.
#[test]
fn a_secret_is_also_taken_as_wordpress_decodes_it() {
    let encoded = "secrets = ['''a&lt;b&#062;&amp;&#X22;&#039;c&copy;''', 'n']";
    assert_eq!(decode_entities("a&lt;b&#062;&amp;&quot;&#x027;c&copy;&"), "a<b>&\"'c&copy;&");
    assert_eq!(decode_entities("&amp;lt; &#x3C; & ;"), "&lt; &#x3C; & ;", "once, and what WordPress knows");
    let signature = "n6v6OasaOudAFDMYwwSjCuFL/aNDfHrJV+jvmhoffuE=";
    assert_eq!(verdict("secrets = ['''a&lt;b&#062;&amp;&#x22;&#039;c&copy;''']", Some(signature), BODY), None);
    assert_eq!(verdict(encoded, Some(signature), BODY), Some("bad_signature"), "no X in capitals");
}

#[test]
fn only_the_ping_of_a_new_webhook_is_greeted() {
    let source = testing::build(&DESCRIPTOR, CONFIG);
    let greets = |headers: &[(&str, &str)], body: &[u8]| {
        let headers = testing::headers(headers.iter().copied());
        source.greets(&Inbound { headers: &headers, query: None, body })
    };
    let form = ("content-type", "application/x-www-form-urlencoded; charset=UTF-8");
    assert!(greets(&[form], b"webhook_id=42"));
    assert!(greets(&[], b"webhook_id=42"));
    assert!(!greets(&[("content-type", "application/json")], b"webhook_id=42"));
    assert!(!greets(&[form, ("x-wc-webhook-signature", RIGHT)], b"webhook_id=42"));
    for body in ["webhook_id=", "webhook_id=4x", "webhook_id=4&a=b", "webhook_id=123456789012345678901", "{}", ""] {
        assert!(!greets(&[form], body.as_bytes()), "{body}");
    }
}

/// An order, with these fields of its own.
fn order(fields: Value) -> Vec<u8> {
    let mut order = json!({
        "id": 9, "number": "A-9", "status": "processing", "currency": "EUR", "total": "119.00", "total_tax": "19.00",
        "shipping_total": "0.00", "date_paid_gmt": "2026-11-20T08:00:00", "line_items": [],
    });
    let (Value::Object(order), Value::Object(fields)) = (&mut order, fields) else { panic!("objects") };
    order.extend(fields);
    serde_json::to_vec(order).expect("JSON")
}

/// Event, value and key of what an order reports.
fn told(config: &str, fields: Value) -> Vec<(String, Option<String>, Option<String>)> {
    let source = testing::build(&DESCRIPTOR, config);
    let read = testing::reads(source.as_ref(), &testing::headers([]), &order(fields));
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let reports = read["reports"].as_array().expect("reports").iter();
    reports
        .map(|report| match text(&report["ignored"]) {
            Some(reason) => (reason, None, None),
            None => {
                let event = &report["event"];
                (text(&event["event"]).expect("named"), text(&event["value"]), text(&report["key"]))
            }
        })
        .collect()
}

#[test]
fn without_tax_and_shipping_the_refunds_of_everything_take_back_everything() {
    let config = "secrets = ['s']\nvalue = 'subtotal'";
    let refunds = json!([{"id": 3, "total": "-39.67"}, {"id": 1, "total": "-39.67"}, {"id": 2, "total": "-39.66"}]);
    let all = told(config, json!({"status": "refunded", "refunds": refunds, "shipping_total": "7.00"}));
    let values: Vec<_> = all.iter().filter_map(|(_, value, key)| Some((value.as_deref()?, key.as_deref()))).collect();
    assert_eq!(values, [("93.00", None), ("31.00", Some("1")), ("31.00", Some("2")), ("31.00", Some("3"))]);
    assert_eq!(told(config, json!({"total": "5.00", "shipping_total": "7.00"}))[0].1.as_deref(), Some("0"));
}

#[test]
fn what_is_paid_is_up_to_status_and_date() {
    let event = |config: &str, fields| told(config, fields).remove(0).0;
    let unpaid = |status: &str| json!({"status": status, "date_paid_gmt": null});
    assert_eq!(event(CONFIG, unpaid("completed")), "purchase", "cash on delivery");
    assert_eq!(event(CONFIG, unpaid("on-hold")), "not paid");
    assert_eq!(event("secrets = ['s']\npaid_statuses = ['wc-shipped']", unpaid("shipped")), "purchase");
    assert_eq!(event("secrets = ['s']\npaid_statuses = ['shipped']", unpaid("completed")), "not paid");
    assert_eq!(event(CONFIG, json!({"status": "wc-packing"})), "purchase", "a status of a plugin, with a date");
    assert_eq!(event(CONFIG, json!({"status": "cancelled"})), "not paid");
    let returned = told(CONFIG, json!({"status": "cancelled", "refunds": [{"id": 5, "total": "-119.00"}]}));
    assert_eq!(returned.iter().map(|(event, ..)| event.as_str()).collect::<Vec<_>>(), ["purchase", "refund"]);
}

#[test]
fn an_order_may_be_known_by_its_number() {
    let source = testing::build(&DESCRIPTOR, "secrets = ['s']\ntransaction_id = 'number'");
    let read = testing::reads(source.as_ref(), &testing::headers([]), &order(json!({})));
    assert_eq!(read["reports"][0]["event"]["transaction_id"], "A-9");
}

#[test]
fn many_refunds_are_reported_up_to_a_bound() {
    let refunds: Vec<_> = (1..=80).map(|id| json!({"id": id, "total": "-1.00"})).collect();
    let all = told(CONFIG, json!({"refunds": refunds}));
    assert_eq!(all.len(), 51);
    assert_eq!(all[1].2.as_deref(), Some("31"), "the newest");
}

#[test]
fn amounts_beyond_reason_are_no_panic() {
    let huge = "7922816251426433759354395033";
    let config = "secrets = ['s']\nvalue = 'subtotal'";
    let refunds: Vec<_> = (1..=9).map(|id| json!({"id": id, "total": format!("-{huge}")})).collect();
    let items = json!([{"quantity": "0.000000000001", "total": huge}]);
    let all =
        told(config, json!({"total": huge, "total_tax": format!("-{huge}"), "refunds": refunds, "line_items": items}));
    assert_eq!(all.len(), 10);
}

#[test]
fn what_is_refused_is_answered_like_success_since_nothing_is_repeated() {
    let source = testing::build(&DESCRIPTOR, CONFIG);
    let refused = Taken { refused: vec![Problem::invalid("/currency", "currency: is missing")], ..Taken::default() };
    assert_eq!(source.answer(&refused).map(|reply| reply.status), Some(200));
    assert_eq!(source.answer(&Taken { ignored: 1, ..refused }), None, "as the desk answers");
    assert_eq!(source.answer(&Taken::default()), None);
}

#[test]
fn wrong_settings_are_told() {
    let text = "secrets = []\nvalue = 'net'\npaid_statuses = ['']\ntransaction_id = 'key'\nreport_within = '1h'\nrefunds_within = '1h'\n\
                api = { url = 'shop', key = 'a b' }\ntolerance = '5m'";
    let common = Common {
        name: crate::model::SourceName::new("shop").expect("valid"),
        address: None,
        test_events: Default::default(),
        mapped: Vec::new(),
    };
    let mut settings = Settings::new("", text.parse().expect("TOML"));
    assert!(build(&common, &mut settings).is_none());
    let keys: Vec<_> = settings.finish().into_iter().map(|problem| problem.key).collect();
    let wrong = [
        "secrets",
        "paid_statuses[0]",
        "transaction_id",
        "value",
        "report_within",
        "refunds_within",
        "api.url",
        "api.key",
    ];
    assert_eq!(keys, [&wrong[..], &["api.secret", "tolerance"]].concat());
}

/// A source whose shop is `server`.
fn listed(server: &MockServer) -> Arc<dyn Source> {
    let api = format!("{CONFIG}\napi = {{ url = '{}/wp/', key = 'ck_1', secret = 'cs_1' }}", server.uri());
    testing::build(&DESCRIPTOR, &api)
}

/// `count` orders that changed at `second`.
fn changed(first: usize, count: usize, second: &str) -> Vec<Value> {
    (first..first + count)
        .map(|id| {
            json!({
                "id": id, "status": "processing", "currency": "EUR", "total": "1.00",
                "date_modified_gmt": format!("2026-11-20T08:00:{second}"),
            })
        })
        .collect()
}

#[tokio::test]
async fn orders_are_listed_in_the_order_of_their_changes() {
    let server = MockServer::start().await;
    let page = |after: &str, page: &str, orders: Vec<Value>, pages: &str| {
        Mock::given(method("GET"))
            .and(path("/wp/wp-json/wc/v3/orders"))
            .and(basic_auth("ck_1", "cs_1"))
            .and(query_param("modified_after", after))
            .and(query_param("dates_are_gmt", "true"))
            .and(query_param("orderby", "modified"))
            .and(query_param("order", "asc"))
            .and(query_param("per_page", "100"))
            .and(query_param("page", page))
            .respond_with(ResponseTemplate::new(200).insert_header("X-WP-TotalPages", pages).set_body_json(orders))
            .expect(1)
            .mount(&server)
    };
    let mut bad = changed(1, 99, "30");
    bad.push(json!({"id": 100, "status": "processing", "total": "x", "date_modified_gmt": "2026-11-20T08:00:30"}));
    page("2026-11-20T07:59:59", "1", bad, "4").await;
    // All of a page changed in one second: the time cannot move on.
    page("2026-11-20T08:00:29", "1", changed(100, 100, "30"), "3").await;
    page("2026-11-20T08:00:29", "2", changed(200, 100, "31"), "3").await;
    page("2026-11-20T08:00:30", "1", changed(250, 60, "31"), "1").await;
    let source = listed(&server);
    let listing = source.listing().expect("lists");
    let fetcher = Fetcher::new().expect("a client");
    let since = Time::parse("2026-11-20T08:00:00.250Z").expect("a time");
    let (mut cursor, mut found) = (None, Vec::new());
    for _ in 0..5 {
        let page = listing.page(&fetcher, since, cursor.as_deref()).await.expect("answers");
        found.push(page.reports.len());
        let refused = page.reports.iter().filter(|report| matches!(report, Report::Refused(_))).count();
        assert_eq!(refused, usize::from(cursor.is_none()), "the one that cannot be read");
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(found, [100, 100, 100, 60]);
}

#[tokio::test]
async fn a_shop_that_does_not_answer_as_documented_is_told() {
    let server = MockServer::start().await;
    let source = listed(&server);
    let listing = source.listing().expect("lists");
    let fetcher = Fetcher::new().expect("a client");
    let mut errors = Vec::new();
    for answer in [ResponseTemplate::new(401), ResponseTemplate::new(200).set_body_json(json!({"code": "x"}))] {
        server.reset().await;
        Mock::given(method("GET")).respond_with(answer).mount(&server).await;
        errors.push(listing.page(&fetcher, testing::NOW, None).await.err());
    }
    assert!(matches!(errors[0], Some(FetchError::Settings(_))), "{errors:?}");
    assert!(matches!(errors[1], Some(FetchError::Later { .. })), "{errors:?}");
    assert!(testing::build(&DESCRIPTOR, CONFIG).listing().is_none(), "without api");
}
