//! What is sent and when, what answers mean, and what can be configured.

use bytes::Bytes;
use serde_json::{Value, json};

use super::*;
use crate::model::{
    ActionSource, Change, Choice, Consent, Context, Cookies, Currency, Digest, EventId, EventName, Item, Money,
    Properties, SealedUser, Sensitive, SourceName, Spelled, TransactionId, parse_decimal,
};

const CLIENT: &str = "1098115397.1763546400";
/// The session began 2500 seconds before the event.
const SESSION: &str = "1795160000";

fn time(text: &str) -> Time {
    Time::parse(text).expect("a time")
}

fn name(text: &str) -> EventName {
    EventName::new(text).expect("a name")
}

fn common() -> Common {
    let events = [("purchase", "purchase"), ("refund", "refund"), ("generate_lead", "generate_lead")];
    Common {
        name: crate::model::DestinationName::new("analytics").expect("a name"),
        events: events.map(|(ours, theirs)| (name(ours), theirs.into())).into(),
        hold_after_click: None,
        fallback_for: None,
    }
}

fn built(extra: &str) -> Result<Ga4, Vec<Problem>> {
    built_of(common(), extra)
}

fn built_of(common: Common, extra: &str) -> Result<Ga4, Vec<Problem>> {
    let table = format!("measurement_id = \"G-ABC1234567\"\napi_secret = \"hush-hush\"\n{extra}");
    Ga4::new(common, table.parse().expect("TOML"))
}

fn ga4() -> Ga4 {
    built("").expect("a valid configuration")
}

/// What Google spells so that it hashes to `hex`; Meta spells everything differently here.
fn spelled(hex: &str) -> Spelled {
    Spelled { google: Digest::parse(hex).ok(), meta: Some(Digest::of_token("meta's")) }
}

fn money(amount: &str) -> Money {
    Money::new(parse_decimal(amount).expect("a number"), Currency::parse("usd").expect("a currency")).expect("positive")
}

fn item(id: Option<&str>, name: Option<&str>, quantity: &str, price: &str) -> Item {
    let number = |text| parse_decimal(text).ok();
    Item { id: id.map(Into::into), name: name.map(Into::into), quantity: number(quantity), price: number(price) }
}

/// A lead from a known browser.
fn minimal() -> SealedEvent {
    SealedEvent {
        source: SourceName::new("shop").expect("a name"),
        name: name("generate_lead"),
        event_id: EventId::new("lead-1").expect("an id"),
        time: time("2026-11-20T08:15:00Z"),
        received_at: time("2026-11-20T08:15:02Z"),
        visitor_id: None,
        joined_by: None,
        transaction_id: None,
        money: None,
        action_source: ActionSource::Other,
        items: Vec::new(),
        user: SealedUser::default(),
        context: Context {
            cookies: Cookies { ga_client_id: Some(CLIENT.into()), ..Cookies::default() },
            ..Context::default()
        },
        attribution: crate::model::Attribution::default(),
        consent: Consent::default(),
        properties: Properties::default(),
        change: None,
    }
}

/// A purchase with everything an event can have. The digests are those of the platform's examples.
fn full() -> SealedEvent {
    let properties = json!({
        "coupon": "SPRING", "tax": "3.00", "shipping": 4.9, "new_customer": true,
        "value": 1, "transaction_id": "mine", "_private": "x", "google_id": "x", "with space": "x",
        "nested": {"a": 1}, "list": [1], "nothing": null, "empty": "",
    });
    let mut event = SealedEvent {
        name: name("purchase"),
        event_id: EventId::new("order-1001").expect("an id"),
        transaction_id: Some(TransactionId::new("1001").expect("an id")),
        money: Some(money("49.90")),
        items: vec![
            item(Some("sku-1"), Some("Mug"), "2", "12.50"),
            item(None, Some("Mug"), "0.5", "24.90"),
            item(None, None, "1", "0"),
        ],
        user: SealedUser {
            emails: vec![
                spelled("0bf177fe5af2490576a19c89f25de0e86170529138c0ec28f9c1bd2bbcb84067"),
                Spelled { google: None, meta: Some(Digest::of_token("meta's")) },
            ],
            phones: vec![spelled("fb4f73a6ec5fdb7077d564cdd22c3554b43ce49168550c3b12c547b78c517b30")],
            first_name: spelled("128a07bfe2df877c52076e60d7774cf5baaa046c5a6c48daf30ff43ecca2f814"),
            last_name: spelled("b4cb6cb33fe4b865868de825023a1e2790dc12ac01ecc8d7c5afe8254071c8ba"),
            street: spelled("387e1d4528bf5bb1076ed3b4b33d84d7ab3da58d54679075212f4a37957a8901"),
            external_ids: vec![Digest::of_token("cust-7")],
            country_code: Some(Sensitive::new("US".into())),
            postal_code_clear: Some(Sensitive::new("10001".into())),
            ..SealedUser::default()
        },
        consent: Consent { ad_user_data: Choice::Granted, ad_personalization: Choice::Denied },
        properties: Properties::new(properties.as_object().expect("an object")).expect("JSON"),
        ..minimal()
    };
    event.context.cookies.ga_session_id = Some(SESSION.into());
    event
}

/// A refund of `amount` that leaves `worth` of [`full`].
fn refund(amount: Option<&str>, worth: &str) -> SealedEvent {
    let change = Change { original: full(), worth: Some(money(worth)) };
    let mut event = SealedEvent {
        name: name("refund"),
        money: amount.map(money),
        properties: Properties::default(),
        change: Some(Box::new(change)),
        ..full()
    };
    event.context = Context::default();
    event
}

fn text(event: &SealedEvent) -> String {
    let Request::Http(request) = ga4().prepare(std::slice::from_ref(event)) else { panic!("not an HTTP request") };
    String::from_utf8(request.body.to_vec()).expect("UTF-8")
}

fn sent(event: &SealedEvent) -> Value {
    serde_json::from_str(&text(event)).expect("JSON")
}

fn params(event: &SealedEvent) -> Value {
    sent(event)["events"][0]["params"].clone()
}

#[track_caller]
fn assert_body(event: &SealedEvent, fixture: &str) {
    let expected: Value = serde_json::from_str(fixture).expect("JSON");
    assert_eq!(sent(event), expected, "{}", text(event));
}

fn answer(status: u16, body: &str) -> Response {
    let body = Bytes::copy_from_slice(body.as_bytes());
    Response::Http { status, retry_after: Some(Duration::from_secs(7)), headers: Vec::new(), body }
}

#[test]
fn a_full_event_is_sent_with_all_that_ga4_takes() {
    assert_body(&full(), include_str!("fixtures/full.json"));
}

#[test]
fn a_minimal_event_is_sent_without_empty_fields() {
    assert_body(&minimal(), include_str!("fixtures/minimal.json"));
}

#[test]
fn the_request_goes_to_the_stream_and_never_holds_the_secret() {
    for (extra, url) in [
        ("", "https://www.google-analytics.com/mp/collect?measurement_id=G-ABC1234567"),
        ("region = \"eu\"", "https://region1.google-analytics.com/mp/collect?measurement_id=G-ABC1234567"),
        ("base_url = \"http://127.0.0.1:9/ga4/\"", "http://127.0.0.1:9/ga4/mp/collect?measurement_id=G-ABC1234567"),
    ] {
        let ga4 = built(extra).expect("valid");
        let Request::Http(request) = ga4.prepare(&[full()]) else { panic!("not an HTTP request") };
        assert_eq!(request.url, url);
        assert!(!String::from_utf8_lossy(&request.body).contains("hush"));
        let Auth::Query { name, value } = &ga4.profile().auth else { panic!("not in the query") };
        assert_eq!((*name, value.expose()), ("api_secret", "hush-hush"));
        assert!(!format!("{:?} {request:?}", ga4.profile()).contains("hush"));
        assert_eq!(ga4.profile().batch_max, 1, "events of two clients cannot share a request");
    }
}

#[test]
fn a_client_is_never_made_up() {
    let mut event = full();
    for none in [None, Some(" ".to_owned())] {
        event.context.cookies.ga_client_id = none;
        assert_eq!(ga4().admit(&event), Err(Unsendable::Skip(SkipReason::NoIdentifiers)));
    }
    assert_eq!(ga4().admit(&minimal()), Ok(()));
    let unmapped = SealedEvent { name: name("sign_up"), ..full() };
    assert_eq!(ga4().admit(&unmapped), Err(Unsendable::Skip(SkipReason::Unmapped)));
}

#[test]
fn a_session_is_named_only_while_it_takes_events() {
    let at = time("2026-11-20T08:15:00Z").as_secs();
    let session = |id: &str| {
        let mut event = minimal();
        event.context.cookies.ga_session_id = Some(id.into());
        let params = params(&event);
        assert_eq!(params.get("session_id").is_some(), params.get("engagement_time_msec").is_some());
        params.get("session_id").cloned()
    };
    for (began, is_sent) in [
        (at, true),
        (at - 24 * 3600, true),
        (at - 24 * 3600 - 1, false),
        (at + 600, true), // the browser's clock is ahead
        (at + 601, false),
    ] {
        assert_eq!(session(&began.to_string()), is_sent.then(|| json!(began.to_string())), "{}", began - at);
    }
    for strange in ["3", "", "abc", "-1", "99999999999999999999"] {
        assert_eq!(session(strange), None, "{strange}");
    }
    assert_eq!(params(&minimal()).get("engagement_time_msec"), None);
}

#[test]
fn consent_is_said_only_if_known_and_a_no_keeps_the_person_out() {
    assert_eq!(sent(&minimal()).get("consent"), None);
    let consent = Consent { ad_user_data: Choice::Unknown, ad_personalization: Choice::Granted };
    assert_eq!(sent(&SealedEvent { consent, ..full() })["consent"], json!({"ad_personalization": "GRANTED"}));
    let consent = Consent { ad_user_data: Choice::Denied, ..Consent::default() };
    let denied = sent(&SealedEvent { consent, ..full() });
    assert_eq!((&denied["consent"], denied.get("user_data")), (&json!({"ad_user_data": "DENIED"}), None));
}

#[test]
fn our_hashed_customer_ids_are_no_user_id() {
    let body = text(&full());
    assert!(!body.contains("user_id") && !body.contains(&Digest::of_token("cust-7").hex()), "{body}");
}

#[test]
fn a_place_without_a_person_is_not_sent() {
    let mut event = full();
    event.user.first_name = Spelled::default();
    event.user.last_name = Spelled::default();
    assert_eq!(sent(&event)["user_data"].get("address"), None);
}

#[test]
fn texts_are_cut_and_ids_left_out_where_ga4_takes_no_more() {
    let long = "ä".repeat(101);
    let cut = "ä".repeat(100);
    let properties = json!({"note": long, "n".repeat(41): 1, "n".repeat(40): 1});
    let event = SealedEvent {
        event_id: EventId::new("e".repeat(101)).expect("an id"),
        transaction_id: Some(TransactionId::new("t".repeat(101)).expect("an id")),
        properties: Properties::new(properties.as_object().expect("an object")).expect("JSON"),
        items: vec![item(Some(&long), Some(&long), "1", "1"), item(Some(&long), None, "1", "1")],
        ..minimal()
    };
    let sent = params(&event);
    assert_eq!(sent["note"], json!(cut));
    assert_eq!(sent["items"], json!([{"item_name": cut, "price": 1, "quantity": 1}]));
    assert_eq!((sent.get("event_id"), sent.get("transaction_id")), (None, None));
    assert_eq!((sent.get("n".repeat(41)), &sent["n".repeat(40)]), (None, &json!(1)));
    let purchase = SealedEvent { name: name("purchase"), ..event };
    let Err(Unsendable::Reject(failure)) = ga4().admit(&purchase) else { panic!("admitted") };
    assert_eq!(failure.code, "transaction_id_too_long");
}

#[test]
fn a_request_keeps_every_limit() {
    let many: serde_json::Map<String, Value> = (0..60).map(|i| (format!("p{i:02}"), json!("x".repeat(100)))).collect();
    let name = "\u{1}".repeat(100); // six bytes each in JSON
    let event = SealedEvent {
        items: (0..300).map(|i| item(Some(&format!("{i:0>100}")), Some(&name), "1", "1")).collect(),
        properties: Properties::new(&many).expect("JSON"),
        ..full()
    };
    let body = text(&event);
    assert!(body.len() < 130_000, "{}", body.len());
    let params = params(&event);
    assert_eq!(params.as_object().map(serde_json::Map::len), Some(25));
    let items = params["items"].as_array().expect("items").len();
    assert_eq!((items, &params["value"]), (100, &json!(49.9)), "what it is worth does not hang on the items");
    let few = SealedEvent { items: vec![item(Some("a"), None, "1", "1"); 300], ..full() };
    assert_eq!(self::params(&few)["items"].as_array().map(Vec::len), Some(200));
}

#[test]
fn amounts_are_sent_digit_for_digit() {
    let body = text(&SealedEvent { money: Some(money("9999999999999999.99")), ..full() });
    assert!(body.contains(r#""value":9999999999999999.99,"currency":"USD""#), "{body}");
}

#[test]
fn a_purchase_without_an_order_is_recognised_by_its_own_id() {
    let event = SealedEvent { transaction_id: None, ..full() };
    assert_eq!(params(&event)["transaction_id"], "order-1001");
    assert_eq!(params(&minimal()).get("transaction_id"), None);
}

#[test]
fn a_whole_refund_names_its_purchase_alone_and_a_partial_one_says_how_much() {
    for event in [refund(None, "0"), refund(Some("49.90"), "0")] {
        let params = params(&event);
        assert_eq!(params["transaction_id"], "1001");
        assert!(params.get("value").is_none() && params.get("items").is_none(), "{params}");
        assert_eq!(sent(&event)["client_id"], CLIENT, "that of the purchase");
        assert_eq!(ga4().admit(&event), Ok(()));
    }
    let mut unknown = SealedEvent { change: None, ..refund(None, "0") };
    unknown.context = minimal().context;
    assert!(params(&unknown).get("items").is_none(), "without a value all is taken back, whoever knows the purchase");
    let partial = params(&refund(Some("12.50"), "37.40"));
    assert_eq!((&partial["value"], &partial["currency"]), (&json!(12.5), &json!("USD")));
    assert_eq!(partial["items"][0]["item_id"], "sku-1");
    let last = params(&refund(Some("10"), "0"));
    assert_eq!(last["value"], json!(10.0), "the last of several takes back its own part only");
    let orphan = SealedEvent { change: None, ..refund(Some("5"), "0") };
    assert_eq!(ga4().admit(&orphan), Err(Unsendable::Skip(SkipReason::NoIdentifiers)));
    let nameless = SealedEvent { transaction_id: None, ..refund(None, "0") };
    let Err(Unsendable::Reject(failure)) = ga4().admit(&nameless) else { panic!("admitted") };
    assert_eq!((failure.code.as_str(), failure.field.as_deref()), ("missing_transaction_id", Some("transaction_id")));
}

#[test]
fn what_is_mapped_to_a_refund_needs_what_a_refund_needs() {
    let mut common = common();
    common.events.insert(name("order_cancelled"), "refund".into());
    let ga4 = built_of(common, "").unwrap_or_else(|problems| panic!("{problems:?}"));
    let cancelled = SealedEvent { name: name("order_cancelled"), ..full() };
    assert_eq!(ga4.admit(&cancelled), Ok(()));
    let nameless = SealedEvent { transaction_id: None, ..cancelled.clone() };
    let long = SealedEvent { transaction_id: TransactionId::new("1".repeat(101)).ok(), ..cancelled };
    for (event, expected) in [(nameless, "missing_transaction_id"), (long, "transaction_id_too_long")] {
        let Err(Unsendable::Reject(failure)) = ga4.admit(&event) else { panic!("admitted") };
        assert_eq!(failure.code, expected);
    }
}

#[test]
fn a_change_under_the_name_of_something_else_is_refused() {
    let told = |event: &str, theirs: &str| {
        let mut common = common();
        common.events.insert(name(event), theirs.into());
        let problems = built_of(common, "").err().unwrap_or_default();
        problems.into_iter().map(|problem| problem.message).collect::<Vec<_>>().join("; ")
    };
    assert!(told("refund", "purchase").contains("drops a second purchase"));
    assert!(told("restatement", "purchase").contains("drops a second purchase"));
    assert!(told("restatement", "refund").contains("take back"));
    assert!(told("refund", "generate_lead").contains("one more"));
    for (event, theirs) in [("refund", "refund"), ("refund", "money_back"), ("restatement", "new_value")] {
        assert_eq!(told(event, theirs), "", "{event} = {theirs}");
    }
}

#[test]
fn names_that_ga4_keeps_for_itself_are_refused_and_others_are_not() {
    for reserved in ["first_open", "in_app_purchase", "app_update", "ad_click", "notification_open", "firebase_x", "_x"]
    {
        assert!(names::check_event(reserved).is_err(), "{reserved}");
    }
    for free in ["app_download", "ad_lead", "page_view", "errors"] {
        assert_eq!(names::check_event(free), Ok(()), "{free}");
    }
}

#[test]
fn only_a_purchase_is_recognised_when_it_comes_again() {
    assert_eq!(ga4().dedupe(&full()), Dedupe::Always);
    assert_eq!(ga4().dedupe(&minimal()), Dedupe::Never);
    assert_eq!(ga4().dedupe(&refund(None, "0")), Dedupe::Never);
}

#[test]
fn the_deadline_is_72_hours_after_the_event_and_never_counts_from_the_future() {
    assert_eq!(ga4().deadline(&full()), time("2026-11-23T08:15:00Z"));
    let ahead = SealedEvent { time: time("2026-11-20T08:20:00Z"), ..full() };
    assert_eq!(ga4().deadline(&ahead), time("2026-11-23T08:15:02Z"));
    assert_eq!(sent(&ahead)["timestamp_micros"], json!(1_795_162_502_000_000_i64));
}

#[test]
fn evidence_names_what_was_sent() {
    let all = ["client_id", "session_id", "sha256_email_address", "sha256_phone_number", "address"];
    assert_eq!(ga4().evidence(&full()), all);
    assert_eq!(ga4().evidence(&minimal()), ["client_id"]);
}

#[test]
fn any_2xx_is_all_that_ga4_ever_says() {
    let verdict = |status| ga4().interpret(&[full()], &answer(status, "ada@example.com")).remove(0);
    for status in [200, 204, 202] {
        assert_eq!(verdict(status), Verdict::Delivered);
    }
    for status in [429, 500, 502, 503, 504, 408, 418] {
        let Verdict::Retry { after, failure } = verdict(status) else { panic!("{status}") };
        assert_eq!((after, failure.code), (Some(Duration::from_secs(7)), format!("http_{status}")));
    }
    for status in [301, 401, 403, 404, 405] {
        assert!(matches!(verdict(status), Verdict::Blocked(_)), "{status}");
    }
    for status in [400, 413] {
        let Verdict::Rejected(failure) = verdict(status) else { panic!("{status}") };
        assert!(!failure.message.contains('@'), "no text of an answer is repeated");
    }
}

#[test]
fn a_rehearsal_asks_the_debug_endpoint_and_reads_it_in_words() {
    let mut sample = full();
    sample.context.cookies.ga_client_id = None;
    let rehearsal = ga4().rehearsals(&sample).pop().expect("one");
    let url = "https://www.google-analytics.com/debug/mp/collect?measurement_id=G-ABC1234567";
    assert_eq!(rehearsal.request.url, url);
    let body: Value = serde_json::from_slice(&rehearsal.request.body).expect("JSON");
    assert_eq!((&body["validation_behavior"], &body["client_id"]), (&json!("ENFORCE_RECOMMENDATIONS"), &json!("0.0")));
    let read = |status, text: &str| (rehearsal.read)(&answer(status, text));
    let good = read(200, r#"{"validationMessages": []}"#).expect("fine");
    assert!(good.contains("neither measurement_id nor api_secret"), "{good}");
    let bad = json!({"validationMessages": [
        {"fieldPath": "events", "description": "Event at index: [0] has invalid name [a b].", "validationCode": "NAME_INVALID"},
        {"fieldPath": "", "description": "", "validationCode": "VALUE_REQUIRED"},
    ]});
    let said = "events: Event at index: [0] has invalid name [a b].; the event: VALUE_REQUIRED";
    assert_eq!(read(200, &bad.to_string()), Err(said.to_owned()));
    assert!(read(404, "").is_err() && read(200, "<html>").is_err());
}

#[test]
fn everything_wrong_with_a_table_is_said_at_once() {
    let table = r#"
        measurement_id = "UA-1"
        api_secrett = "hush-hush"
        region = "us"
        base_url = "google-analytics.com"
        timeout = "10"
        batch = 25
    "#;
    let mut common = common();
    common.hold_after_click = Some(Duration::from_secs(1));
    common.events.insert(name("lead_lost"), "lead lost".into());
    common.events.insert(name("sign_up"), "session_start".into());
    common.events.insert(name("restatement"), "purchase".into());
    let Err(problems) = build(common, table.parse().expect("TOML")) else { panic!("accepted") };
    let mut keys: Vec<_> = problems.iter().map(|problem| problem.key.as_str()).collect();
    keys.sort_unstable();
    let expected = [
        "api_secret",
        "api_secrett",
        "base_url",
        "batch",
        "events.lead_lost",
        "events.restatement",
        "events.sign_up",
        "hold_after_click",
        "measurement_id",
        "region",
        "region",
        "timeout",
    ];
    assert_eq!(keys, expected);
    assert!(problems.iter().all(|problem| !problem.message.contains("hush")));
}
