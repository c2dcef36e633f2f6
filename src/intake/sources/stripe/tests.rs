use serde_json::{Value, json};
use wiremock::{
    Mock, MockServer, ResponseTemplate,
    matchers::{header, method, path, query_param, query_param_is_missing},
};

use super::{
    super::{super::fetch::Fetcher, Inbound, Report, testing},
    DESCRIPTOR,
};
use crate::{
    intake::fetch::FetchError,
    model::{Settings, SourceName, Time},
};

const CONFIG: &str = "secrets = ['whsec_test']";
/// Vector: as the SDK for Python makes it.
const BODY: &[u8] = br#"{"id":1,"email":"a@b.test"}"#;
const SIGNED_AT: i64 = 1_700_000_000;
const SIGNATURE: &str = "538db16f9675066496a0eee00bd0ab5b6973f398faaab74a6890bad1fb17ab9f";

#[test]
fn fixtures_read_as_their_snapshots() {
    testing::snapshots("stripe", &DESCRIPTOR, CONFIG);
}

/// Why a request with this header is refused, `seconds` after it was signed.
fn verdict(config: &str, given: Option<&str>, body: &[u8], seconds: i64) -> Option<(&'static str, u16)> {
    let source = testing::build(&DESCRIPTOR, config);
    let headers = testing::headers(given.map(|given| ("stripe-signature", given)));
    let inbound = Inbound { headers: &headers, query: None, body };
    let refused = source.verify(&inbound, Time::from_secs(SIGNED_AT + seconds)).err();
    refused.map(|refusal| (refusal.reason, refusal.problem.status))
}

#[test]
fn the_signature_is_checked() {
    let right = format!("t={SIGNED_AT},v1={SIGNATURE}");
    let wrong = "0".repeat(64);
    assert_eq!(verdict(CONFIG, Some(&right), BODY, 0), None);
    assert_eq!(verdict(CONFIG, Some(&format!("t={SIGNED_AT}, v1={wrong}, v0=zz, v1={SIGNATURE}")), BODY, 0), None);
    assert_eq!(verdict("secrets = ['whsec_new', 'whsec_test']", Some(&right), BODY, 0), None);
    let refused = [
        (None, "no_signature"),
        (Some(String::new()), "no_signature"),
        (Some(format!("v1={SIGNATURE}")), "no_timestamp"),
        (Some(format!("t=soon,v1={SIGNATURE}")), "no_timestamp"),
        (Some(format!("t=,v1={SIGNATURE}")), "no_timestamp"),
        (Some(format!("t=99999999999999999999,v1={SIGNATURE}")), "no_timestamp"),
        (Some(format!("t={SIGNED_AT},v0={SIGNATURE}")), "no_v1"),
        (Some(format!("t={SIGNED_AT},v1={wrong}")), "bad_signature"),
        (Some(format!("t={SIGNED_AT},v1=zz")), "bad_signature"),
        (Some(format!("t={},v1={SIGNATURE}", SIGNED_AT + 1)), "bad_signature"),
        (Some(format!("t={},v1={SIGNATURE}", i64::MAX)), "bad_signature"),
    ];
    for (given, reason) in refused {
        assert_eq!(verdict(CONFIG, given.as_deref(), BODY, 0), Some((reason, 401)), "{given:?}");
    }
    let altered = br#"{"id":2,"email":"a@b.test"}"#;
    assert_eq!(verdict(CONFIG, Some(&right), altered, 0), Some(("bad_signature", 401)));
    assert_eq!(
        verdict("secrets = ['test']", Some(&right), BODY, 0),
        Some(("bad_signature", 401)),
        "whsec_ is part of it"
    );
}

#[test]
fn an_old_signature_is_stale_and_one_from_the_future_is_not_refused() {
    let right = format!("t={SIGNED_AT},v1={SIGNATURE}");
    assert_eq!(verdict(CONFIG, Some(&right), BODY, 300), None);
    assert_eq!(verdict(CONFIG, Some(&right), BODY, 301), Some(("stale", 401)));
    assert_eq!(verdict(CONFIG, Some(&right), BODY, -86_400), None);
    let longer = format!("{CONFIG}\ntolerance = '3d'");
    assert_eq!(verdict(&longer, Some(&right), BODY, 3 * 86_400), None);
    assert_eq!(verdict(&longer, Some(&right), BODY, 3 * 86_400 + 1), Some(("stale", 401)));
}

fn fixture(name: &str) -> Value {
    let path = format!("{}/src/intake/sources/fixtures/stripe/{name}.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_slice(&std::fs::read(path).expect("a fixture")).expect("JSON")
}

/// What an event reads as: the only report of it.
fn read(config: &str, event: &Value) -> Value {
    let source = testing::build(&DESCRIPTOR, config);
    let mut read = testing::reads(source.as_ref(), &testing::headers([]), event.to_string().as_bytes());
    assert_eq!(read["reports"].as_array().map(Vec::len), Some(1), "{read}");
    read["reports"][0].take()
}

fn of(config: &str, name: &str) -> Value {
    read(config, &fixture(name))
}

#[test]
fn a_first_invoice_and_its_checkout_are_one_conversion() {
    let known = |name: &str| {
        let event = &of(CONFIG, name)["event"];
        [&event["event"], &event["transaction_id"], &event["value"], &event["currency"]].map(Clone::clone)
    };
    assert_eq!(known("session_subscription"), known("invoice_first"));
    assert_eq!(known("invoice_first"), known("invoice_first_succeeded"));
    assert_eq!(known("session_unpaid")[1], Value::Null, "nothing yet");
    assert_eq!(of(CONFIG, "session_paid_later")["event"]["transaction_id"], "pi_3SqSepa");
}

#[test]
fn what_a_capture_in_part_releases_is_no_refund() {
    let mut event = fixture("refund_part_1");
    let charge = &mut event["data"]["object"];
    (charge["amount"], charge["amount_captured"], charge["amount_refunded"]) = (json!(1000), json!(600), json!(400));
    event["data"]["previous_attributes"]["amount_refunded"] = json!(0);
    assert_eq!(read(CONFIG, &event)["ignored"], "the rest of what was reserved");
    event["data"]["object"]["amount_refunded"] = json!(500);
    event["data"]["previous_attributes"]["amount_refunded"] = json!(400);
    assert_eq!(read(CONFIG, &event)["event"]["value"], "1.00");
}

#[test]
fn both_topics_of_a_refund_are_one_and_its_parts_are_several() {
    let known = |name: &str| {
        let read = of(CONFIG, name);
        [&read["key"], &read["event"]["event"], &read["event"]["transaction_id"], &read["event"]["value"]]
            .map(Clone::clone)
    };
    assert_eq!(known("refund_part_1"), known("refund_part_1_created"));
    let values = ["refund_part_1", "refund_part_2", "refund_rest_by_stripe"].map(|name| known(name)[3].clone());
    assert_eq!(values, ["10.00", "15.00", "88.05"], "113.05 in all");
    let keys = ["refund_part_1", "refund_part_2", "refund_rest_by_stripe"].map(|name| known(name)[0].clone());
    assert!(keys[0] != keys[1] && keys[1] != keys[2] && keys[0] != keys[2], "{keys:?}");
    // Two parts of the same amount that no request tells apart.
    let mut again = fixture("refund_part_2");
    again["request"] = Value::Null;
    let first = read(CONFIG, &again);
    again["data"]["object"]["amount_refunded"] = json!(4000);
    again["data"]["previous_attributes"]["amount_refunded"] = json!(2500);
    let second = read(CONFIG, &again);
    assert_eq!(first["event"]["value"], second["event"]["value"]);
    assert_ne!(first["key"], second["key"]);
}

#[test]
fn the_worth_of_the_goods_is_without_tax_and_shipping() {
    let subtotal = format!("{CONFIG}\nvalue = 'subtotal'");
    let worth = |name: &str| of(&subtotal, name)["event"]["value"].clone();
    assert_eq!(worth("session_paid"), "90.00", "100 less two discounts of together 10");
    assert_eq!(worth("invoice_first"), "24.37");
    assert_eq!(worth("invoice_renewal_2024"), "24.37", "from the taxes, before there was a net total");
    assert_eq!(worth("session_nobody"), "100.00", "without details: what stands before tax");
    // Prices with their tax in them: 119.00 for the goods, 5.95 for shipping, 19.95 tax in both.
    let mut inclusive = fixture("session_paid");
    let session = &mut inclusive["data"]["object"];
    session["amount_subtotal"] = json!(11900);
    session["amount_total"] = json!(12495);
    session["total_details"] = json!({ "amount_discount": 0, "amount_shipping": 595, "amount_tax": 1995 });
    assert_eq!(read(&subtotal, &inclusive)["event"]["value"], "100.00");
    // Part of it was paid from the customer's balance.
    assert_eq!(worth("invoice_kwd_balance"), "10.000");
}

#[test]
fn what_costs_nothing_is_an_event_only_if_it_has_a_name() {
    let named = format!("{CONFIG}\nfree_event = 'start_trial'");
    for name in ["session_trial", "invoice_trial"] {
        assert_eq!(of(CONFIG, name)["ignored"], "no value", "{name}");
        let read = of(&named, name);
        assert_eq!(read["event"]["event"], "start_trial", "{name}");
        assert_eq!((&read["event"]["transaction_id"], &read["event"]["value"]), (&json!("in_1SqTrial"), &Value::Null));
    }
    let mut renewal = fixture("invoice_trial");
    renewal["data"]["object"]["billing_reason"] = json!("subscription_cycle");
    assert_eq!(read(&named, &renewal)["ignored"], "no value", "a coupon for ever starts no trial every month");
}

#[test]
fn payments_without_a_checkout_and_manual_invoices_are_a_choice() {
    assert_eq!(of(CONFIG, "payment_intent")["ignored"], "not a conversion");
    let taken = format!("{CONFIG}\npayment_intents = 'accept'");
    let shown = of(&taken, "payment_intent");
    assert_eq!(shown["event"]["value"], "20.00", "{shown}");
    assert_eq!(shown["event"]["visitor_id"], "v-9", "{shown}");
    assert_eq!(shown["event"]["transaction_id"], "pi_3SqEl", "{shown}");
    let read_as = |change: fn(&mut Value)| {
        let mut event = fixture("payment_intent");
        change(&mut event["data"]["object"]);
        read(&taken, &event)
    };
    let of_checkout = read_as(|object| object["payment_details"]["order_reference"] = json!("cs_live_9"));
    assert_eq!(of_checkout, shown, "its session has the same transaction");
    let in_person = read_as(|object| object["payment_method_types"] = json!(["card_present", "interac_present"]));
    assert_eq!(in_person["event"]["action_source"], "physical_store");
    let of_invoices: [fn(&mut Value); 3] = [
        |object| object["payment_details"]["order_reference"] = json!("in_9"),
        |object| {
            object["payment_details"]["order_reference"] = json!("cs_live_9");
            object["description"] = json!("Subscription creation");
        },
        |object| object["invoice"] = json!({ "id": "in_8" }),
    ];
    for change in of_invoices {
        assert_eq!(read_as(change)["ignored"], "counted by its invoice");
    }
    let refused = format!("{CONFIG}\nmanual_invoices = 'ignore'");
    assert_eq!(of(&refused, "invoice_by_transfer")["ignored"], "manual invoice");
}

#[test]
fn a_test_order_counts_if_the_operator_says_so() {
    assert_eq!(of(CONFIG, "session_test")["ignored"], "test event");
    let common = super::Common {
        name: SourceName::new("shop").expect("valid"),
        address: None,
        test_events: super::TestEvents::Accept,
        mapped: Vec::new(),
    };
    let mut settings = Settings::new("", CONFIG.parse().expect("TOML"));
    let source = (DESCRIPTOR.build)(&common, &mut settings).expect("built");
    let body = fixture("session_test").to_string();
    let read = testing::reads(source.as_ref(), &testing::headers([]), body.as_bytes());
    assert_eq!(read["reports"][0]["event"]["event"], "purchase", "{read}");
}

#[test]
fn what_is_wrong_with_the_settings_is_said() {
    let told = |config: &str| {
        let common = super::Common {
            name: SourceName::new("shop").expect("valid"),
            address: None,
            test_events: super::TestEvents::Ignore,
            mapped: Vec::new(),
        };
        let mut settings = Settings::new("", config.parse().expect("TOML"));
        let built = (DESCRIPTOR.build)(&common, &mut settings).is_some();
        let problems: Vec<String> = settings.finish().iter().map(ToString::to_string).collect();
        assert!(!built || !problems.is_empty());
        problems
    };
    assert_eq!(told(""), ["secrets: is missing: the signing secret of the endpoint, whsec_ included"]);
    let key = "secrets: must be signing secrets of the endpoint, whsec_…; one is a key of the API";
    assert_eq!(told("secrets = ['whsec_test', 'sk_live_1']"), [key]);
    let wrong = "secrets = ['x']\ntolerance = '9d'\nvalue = 'net'\nfree_event = 'refund'\npayment_intents = 'yes'\n[api]\nevents = \
                 ['charge.expired']\ntokens = 'x'\nitems = 'yes'";
    let problems = told(wrong);
    for key in [
        "tolerance: ",
        "value: ",
        "free_event: ",
        "payment_intents: ",
        "api.token: ",
        "api.events[0]: ",
        "api.tokens: ",
    ] {
        assert!(problems.iter().any(|problem| problem.starts_with(key)), "{key} in {problems:?}");
    }
}

fn with_api(server: &MockServer) -> String {
    format!("{CONFIG}\n[api]\ntoken = 'rk_live_x'\nbase_url = '{}/'", server.uri())
}

/// Payments of this invoice, or of none, for `payment`.
async fn payments(server: &MockServer, payment: &str, invoice: Option<Value>) {
    let data: Vec<Value> = invoice
        .into_iter()
        .map(|invoice| {
            json!({ "id": "inpay_1", "object": "invoice_payment", "invoice": invoice,
            "payment": { "type": "payment_intent", "payment_intent": payment }, "status": "paid" })
        })
        .collect();
    Mock::given(method("GET"))
        .and(path("/v1/invoice_payments"))
        .and(query_param("payment[type]", "payment_intent"))
        .and(query_param("payment[payment_intent]", payment))
        .and(header("authorization", "Bearer rk_live_x"))
        .and(header("stripe-version", "2025-03-31.basil"))
        .respond_with(
            ResponseTemplate::new(200).set_body_json(json!({ "object": "list", "data": data, "has_more": false })),
        )
        .mount(server)
        .await;
}

#[tokio::test]
async fn a_refund_finds_the_invoice_that_was_paid() {
    let server = MockServer::start().await;
    let (config, fetcher) = (with_api(&server), Fetcher::new().expect("built"));
    for name in ["refund_part_1", "refund_part_1_created"] {
        let read = of(&config, name);
        assert_eq!(read["lookup"], json!({ "what": "pi_3SqAbC", "limit_s": 21_600 }), "{name}");
        assert_eq!(read["event"]["transaction_id"], Value::Null, "what is missing can be filled in");
        assert_eq!(read["key"], "ch_3SqAbC.req_R1.10");
    }
    // These tell it themselves, or need it at once.
    for (name, transaction) in [
        ("refund_2020_listed", "in_1QkOld"),
        ("refund_2024_no_invoice", "pi_3SqAbC"),
        ("refund_legacy_charge", "ch_1Old"),
        ("refund_sum_only", "pi_3SqAbC"),
    ] {
        let read = of(&config, name);
        assert_eq!((&read["lookup"], &read["event"]["transaction_id"]), (&Value::Null, &json!(transaction)), "{name}");
    }
    let source = testing::build(&DESCRIPTOR, &config);
    payments(&server, "pi_1", Some(json!("in_1SqFirst"))).await;
    payments(&server, "pi_2", Some(json!({ "id": "in_2", "object": "invoice" }))).await;
    payments(&server, "pi_3", None).await;
    for (payment, transaction) in [("pi_1", "in_1SqFirst"), ("pi_2", "in_2"), ("pi_3", "pi_3")] {
        let told = source.look_up(&fetcher, payment).await.expect("answers").expect("tells");
        assert_eq!(told.draft.shown(), json!({ "event": "refund", "transaction_id": transaction }));
    }
    assert!(matches!(source.look_up(&fetcher, "pi_4").await, Err(FetchError::Gone)), "not mounted");
}

#[tokio::test]
async fn the_items_of_a_checkout_are_asked_for_if_the_operator_wants_them() {
    let server = MockServer::start().await;
    assert_eq!(of(&with_api(&server), "session_paid")["lookup"], Value::Null);
    let config = format!("{}\nitems = 'fetch'", with_api(&server));
    let what = json!({ "what": "items.cs_live_a1B2c3", "limit_s": 600 });
    assert_eq!(of(&config, "session_paid")["lookup"], what);
    assert_eq!(of(&config, "session_expanded")["lookup"], Value::Null, "they are there");
    let lines = fixture("session_expanded")["data"]["object"]["line_items"].clone();
    Mock::given(method("GET"))
        .and(path("/v1/checkout/sessions/cs_live_a1B2c3/line_items"))
        .and(query_param("limit", "100"))
        .respond_with(ResponseTemplate::new(200).set_body_json(lines))
        .mount(&server)
        .await;
    let source = testing::build(&DESCRIPTOR, &config);
    let fetcher = Fetcher::new().expect("built");
    let told = source.look_up(&fetcher, "items.cs_live_a1B2c3").await.expect("answers").expect("tells");
    assert_eq!(told.draft.shown()["items"], of(CONFIG, "session_expanded")["event"]["items"]);
    assert_eq!((told.draft.transaction_id, told.draft.value), (None, None));
    assert!(matches!(source.look_up(&fetcher, "items.../events").await, Err(FetchError::Gone)), "is no id");
}

#[tokio::test]
async fn an_answer_that_is_no_list_is_asked_for_again_and_a_wrong_token_is_said() {
    let server = MockServer::start().await;
    let source = testing::build(&DESCRIPTOR, &with_api(&server));
    let fetcher = Fetcher::new().expect("built");
    let answers =
        [ResponseTemplate::new(200).set_body_json(json!({})), ResponseTemplate::new(401), ResponseTemplate::new(429)];
    for (i, answer) in answers.into_iter().enumerate() {
        server.reset().await;
        Mock::given(method("GET")).respond_with(answer).mount(&server).await;
        let looked = source.look_up(&fetcher, "pi_1").await.err().expect("fails");
        let listed = source.listing().expect("lists").page(&fetcher, testing::NOW, None).await.err().expect("fails");
        for error in [looked, listed] {
            assert_eq!(matches!(error, FetchError::Settings(_)), i == 1, "{error:?}");
            assert_eq!(matches!(error, FetchError::Later { .. }), i != 1, "{error:?}");
        }
    }
}

#[tokio::test]
async fn events_are_listed_page_by_page_and_read_as_their_webhooks() {
    assert!(testing::build(&DESCRIPTOR, CONFIG).listing().is_none(), "without a token there is nothing to ask with");
    let server = MockServer::start().await;
    let list = |names: &[&str], more: bool| {
        let data: Vec<Value> = names.iter().map(|name| fixture(name)).collect();
        ResponseTemplate::new(200)
            .set_body_json(json!({ "object": "list", "url": "/v1/events", "data": data, "has_more": more }))
    };
    let first = ["refund_part_1", "session_bad_amount", "session_paid"];
    let last = fixture("session_paid")["id"].as_str().expect("an id").to_owned();
    let since = testing::NOW.as_secs().to_string();
    let asked = || {
        Mock::given(method("GET"))
            .and(path("/v1/events"))
            .and(header("authorization", "Bearer rk_live_x"))
            .and(query_param("limit", "100"))
            .and(query_param("created[gte]", since.as_str()))
    };
    asked().and(query_param_is_missing("starting_after")).respond_with(list(&first, true)).mount(&server).await;
    asked()
        .and(query_param("starting_after", last.as_str()))
        .respond_with(list(&["invoice_renewal"], false))
        .mount(&server)
        .await;
    let source = testing::build(&DESCRIPTOR, &with_api(&server));
    let (listing, fetcher) = (source.listing().expect("lists"), Fetcher::new().expect("built"));
    let page = listing.page(&fetcher, testing::NOW, None).await.expect("answers");
    assert_eq!(page.next.as_deref(), Some(last.as_str()));
    let shown = |report: &Report| match report {
        Report::Event(told) => told.draft.shown(),
        Report::Ignored { reason, .. } => json!(reason),
        Report::Refused(refusal) => json!(refusal.reason),
    };
    let reports: Vec<Value> = page.reports.iter().map(shown).collect();
    assert_eq!(reports[1], "unreadable", "one entry does not spoil the page");
    assert_eq!(reports[2], of(CONFIG, "session_paid")["event"]);
    let page = listing.page(&fetcher, testing::NOW, page.next.as_deref()).await.expect("answers");
    assert_eq!((page.next, page.reports.len()), (None, 1));
    let asked = server.received_requests().await.expect("recorded");
    let topics: Vec<_> = asked[0].url.query_pairs().filter(|(name, _)| name == "types[]").collect();
    assert_eq!(topics.len(), 4, "{topics:?}");
}
