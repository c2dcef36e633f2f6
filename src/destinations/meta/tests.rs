//! What is sent, and when. What answers mean, and what can be configured, is in `tests/`.

mod answers;
mod configuration;
mod limits;
mod rehearsals;

use serde_json::Value;

use super::*;
use crate::model::{
    Choice, ClickId, Consent, Context, Cookies, Currency, Digest, EventId, EventName, Item, Money, Properties,
    SealedUser, Sensitive, SourceName, Spelled, TransactionId, parse_decimal,
};

const RECEIVED_AT: &str = "2026-11-20T08:15:02Z";
const BROWSER: &str = "Mozilla/5.0 (X11; Linux x86_64)";

fn time(text: &str) -> Time {
    Time::parse(text).expect("a time")
}

fn common() -> Common {
    let events = [("purchase", "Purchase"), ("generate_lead", "Lead"), ("begin_checkout", "InitiateCheckout")];
    Common {
        name: crate::model::DestinationName::new("meta").expect("a name"),
        events: events.map(|(ours, theirs)| (EventName::new(ours).expect("a name"), theirs.into())).into(),
        hold_after_click: None,
        fallback_for: None,
    }
}

fn built(extra: &str) -> Result<Meta, Vec<Problem>> {
    let table = format!("pixel_id = \"1234567890\"\naccess_token = \"EAAtoken\"\n{extra}");
    Meta::new(common(), table.parse().expect("TOML"))
}

fn meta() -> Meta {
    built("").expect("a valid configuration")
}

/// The digest of something that Meta spells `text`; Google spells everything differently here.
fn spelled(text: &str) -> Spelled {
    Spelled { meta: Some(Digest::of_token(text)), google: Some(Digest::of_token("google's")) }
}

fn money(amount: &str, currency: &str) -> Money {
    let currency = Currency::parse(currency).expect("a currency");
    Money::new(parse_decimal(amount).expect("a number"), currency).expect("not negative")
}

/// A lead without anything but an e-mail address.
fn minimal() -> SealedEvent {
    SealedEvent {
        source: SourceName::new("shop").expect("a name"),
        name: EventName::new("generate_lead").expect("a name"),
        event_id: EventId::new("lead-1").expect("an id"),
        time: time("2026-11-20T08:15:00Z"),
        received_at: time(RECEIVED_AT),
        visitor_id: None,
        joined_by: None,
        transaction_id: None,
        money: None,
        action_source: ActionSource::Other,
        items: Vec::new(),
        user: SealedUser { emails: vec![spelled("john_smith@gmail.com")], ..SealedUser::default() },
        context: Context::default(),
        attribution: crate::model::Attribution::default(),
        consent: Consent::default(),
        properties: Properties::default(),
        change: None,
    }
}

fn item(id: Option<&str>, quantity: &str, price: &str) -> Item {
    let number = |text| parse_decimal(text).ok();
    Item { id: id.map(Into::into), name: Some("Mug".into()), quantity: number(quantity), price: number(price) }
}

/// A purchase with everything an event can have.
fn full() -> SealedEvent {
    let properties = serde_json::json!({"plan": "pro", "content_name": "Spring", "value": 1, "contents": "mine"});
    SealedEvent {
        name: EventName::new("purchase").expect("a name"),
        event_id: EventId::new("order-1001").expect("an id"),
        transaction_id: Some(TransactionId::new("1001").expect("an id")),
        money: Some(money("49.90", "usd")),
        action_source: ActionSource::Website,
        items: vec![item(Some("sku-1"), "2", "12.50"), item(Some("sku-2"), "1", "24.90"), item(None, "1", "0")],
        user: SealedUser {
            emails: vec![
                spelled("john_smith@gmail.com"),
                Spelled { meta: None, ..spelled("") },
                spelled("j@example.com"),
            ],
            phones: vec![spelled("16505551212")],
            first_name: spelled("mary"),
            last_name: spelled("smith"),
            street: spelled("1mainst"),
            city: spelled("newyork"),
            region: spelled("ny"),
            postal_code: spelled("10001"),
            country: spelled("us"),
            date_of_birth: spelled("19970216"),
            gender: spelled("f"),
            external_ids: vec![Digest::of_token("cust-7")],
            country_code: Some(Sensitive::new("US".into())),
            postal_code_clear: Some(Sensitive::new("10001".into())),
            lead_id: Some(12_345_678_901_234_567),
        },
        context: Context {
            ip: Some(Sensitive::new("::ffff:203.0.113.7".parse().expect("an address"))),
            user_agent: Some(Sensitive::new(BROWSER.into())),
            url: Some(Sensitive::new("https://shop.example/thanks?x=1".into())),
            referrer: Some(Sensitive::new("https://www.facebook.com/".into())),
            clicks: vec![click("IwAR-AbC_123", Some("2026-11-19T10:00:00Z"))],
            cookies: Cookies {
                fbc: Some("fb.1.1763546400123.IwAR-AbC_123.AQICAQMC".into()),
                fbp: Some("fb.1.1763546400000.1098115397".into()),
                ga_client_id: Some("1.2".into()),
                ga_session_id: Some("3".into()),
            },
            choices: Vec::new(),
        },
        consent: Consent { ad_user_data: Choice::Granted, ad_personalization: Choice::Denied },
        properties: Properties::new(properties.as_object().expect("an object")).expect("JSON"),
        ..minimal()
    }
}

fn click(value: &str, first_seen: Option<&str>) -> ClickId {
    let first_seen = first_seen.map(time);
    let last_seen = first_seen.unwrap_or(time(RECEIVED_AT));
    ClickId { kind: ClickKind::Fbclid, value: value.into(), first_seen, last_seen }
}

fn text(meta: &Meta, batch: &[SealedEvent]) -> String {
    let Request::Http(request) = meta.prepare(batch) else { panic!("not an HTTP request") };
    String::from_utf8(request.body.to_vec()).expect("UTF-8")
}

/// The one event of a body.
fn sent(event: &SealedEvent) -> Value {
    let body: Value = serde_json::from_str(&text(&meta(), std::slice::from_ref(event))).expect("JSON");
    body["data"][0].clone()
}

#[track_caller]
fn assert_body(meta: &Meta, batch: &[SealedEvent], fixture: &str) {
    let body: Value = serde_json::from_str(&text(meta, batch)).expect("JSON");
    let expected: Value = serde_json::from_str(fixture).expect("JSON");
    assert_eq!(body, expected, "{}", serde_json::to_string_pretty(&body).expect("JSON"));
}

#[test]
fn a_full_event_is_sent_with_all_that_meta_takes() {
    let extra = "test_event_code = \"TEST123\"\npartner_agent = \"relay\"\nldu = { country = 1, state = 1000 }";
    assert_body(&built(extra).expect("valid"), &[full()], include_str!("fixtures/full.json"));
}

#[test]
fn a_minimal_event_is_sent_without_empty_fields() {
    assert_body(&meta(), &[minimal(), minimal()], include_str!("fixtures/minimal.json"));
}

#[test]
fn the_request_goes_to_the_pixel_and_never_holds_the_token() {
    let meta = built("base_url = \"http://127.0.0.1:9000/meta/\"\napi_version = \"v25.0\"").expect("valid");
    let Request::Http(request) = meta.prepare(&[full()]) else { panic!("not an HTTP request") };
    assert_eq!(request.url, "http://127.0.0.1:9000/meta/v25.0/1234567890/events");
    assert!(!String::from_utf8_lossy(&request.body).contains("EAAtoken"));
    let Auth::Query { name, value } = &meta.profile().auth else { panic!("not in the query") };
    assert_eq!((*name, value.expose()), ("access_token", "EAAtoken"));
}

#[test]
fn amounts_are_sent_digit_for_digit() {
    for (amount, currency, written) in [
        ("4999", "JPY", r#""value":4999,"currency":"JPY""#),
        ("1.5", "KWD", r#""value":1.500,"currency":"KWD""#),
        ("49.90", "EUR", r#""value":49.90,"currency":"EUR""#),
        ("9999999999999999.99", "USD", r#""value":9999999999999999.99,"currency":"USD""#),
        ("0.1", "USD", r#""value":0.10,"currency":"USD""#),
    ] {
        let body = text(&meta(), &[SealedEvent { money: Some(money(amount, currency)), ..full() }]);
        assert!(body.contains(written), "{body}");
    }
}

#[test]
fn an_action_source_that_meta_would_refuse_is_replaced() {
    let cut = |change: fn(&mut SealedEvent)| {
        let mut event = full();
        event.user.lead_id = None;
        change(&mut event);
        sent(&event)["action_source"].as_str().expect("a text").to_owned()
    };
    assert_eq!(cut(|_| ()), "website");
    assert_eq!(cut(|event| event.context.url = None), "other");
    assert_eq!(cut(|event| event.context.url = Some(Sensitive::new("android-app://x".into()))), "other");
    assert_eq!(cut(|event| event.context.user_agent = None), "other");
    assert_eq!(cut(|event| event.action_source = ActionSource::App), "other");
    let from_crm = |event: &mut SealedEvent| (event.context.url, event.user.lead_id) = (None, Some(1));
    assert_eq!(cut(from_crm), "system_generated");
    for (ours, theirs) in [
        (ActionSource::Email, "email"),
        (ActionSource::PhoneCall, "phone_call"),
        (ActionSource::Chat, "chat"),
        (ActionSource::PhysicalStore, "physical_store"),
        (ActionSource::SystemGenerated, "system_generated"),
        (ActionSource::Other, "other"),
    ] {
        assert_eq!(sent(&SealedEvent { action_source: ours, ..minimal() })["action_source"], theirs);
    }
}

#[test]
fn a_stage_of_a_lead_is_marked_as_from_the_crm() {
    let stage = sent(&SealedEvent { action_source: ActionSource::SystemGenerated, ..minimal() });
    assert_eq!(
        (&stage["custom_data"]["event_source"], &stage["custom_data"]["lead_event_source"]),
        (&Value::from("crm"), &Value::from("shop"))
    );
    let name = EventName::new("purchase").expect("a name");
    let renewal = sent(&SealedEvent { action_source: ActionSource::SystemGenerated, name, ..minimal() });
    assert_eq!(renewal.get("custom_data"), None);
}

#[test]
fn a_crm_names_itself_and_marks_what_is_about_a_lead() {
    let stage = |properties: Value, lead_id: Option<u64>| {
        let mut event = SealedEvent {
            action_source: ActionSource::SystemGenerated,
            name: EventName::new("deal_won").expect("a name"),
            properties: Properties::new(properties.as_object().expect("an object")).expect("JSON"),
            ..minimal()
        };
        event.user.lead_id = lead_id;
        sent(&event)
    };
    let named = stage(serde_json::json!({"lead_event_source": " HubSpot ", "stage": "won"}), None);
    assert_eq!(
        named["custom_data"],
        serde_json::json!({"event_source": "crm", "lead_event_source": "HubSpot", "stage": "won"})
    );
    let lead = stage(serde_json::json!({}), Some(1_234_567_890_123_456));
    assert_eq!(lead["user_data"]["lead_id"], 1_234_567_890_123_456_u64);
    assert_eq!(lead["custom_data"], serde_json::json!({"event_source": "crm", "lead_event_source": "shop"}));
    let said = stage(serde_json::json!({"event_source": "crm"}), None);
    assert_eq!(said["custom_data"], lead["custom_data"]);
    for other in [
        serde_json::json!({}),
        serde_json::json!({"lead_event_source": ""}),
        serde_json::json!({"lead_event_source": 7, "event_source": "web"}),
        serde_json::json!({"lead_event_source": "x".repeat(257)}),
    ] {
        assert_eq!(stage(other.clone(), None).get("custom_data"), None, "{other}");
    }
}

#[test]
fn what_the_giver_said_of_processing_wins_over_what_is_configured() {
    let configured = built("ldu = { country = 1, state = 1000 }").expect("valid");
    let processing = |meta: &Meta, properties: Value| {
        let properties = Properties::new(properties.as_object().expect("an object")).expect("JSON");
        let event = SealedEvent { properties, ..minimal() };
        let body: Value = serde_json::from_str(&text(meta, &[event])).expect("JSON");
        let event = body["data"][0].clone();
        assert_eq!(event.get("custom_data"), None, "{event}");
        ["data_processing_options", "data_processing_options_country", "data_processing_options_state"]
            .map(|key| event.get(key).cloned().unwrap_or_default())
    };
    let ldu = |country: u32, state: u32| [serde_json::json!(["LDU"]), country.into(), state.into()];
    let given = |options: Value, country: Value, state: Value| {
        serde_json::json!({"data_processing_options": options, "data_processing_options_country": country,
            "data_processing_options_state": state})
    };
    let none = [Value::Null, Value::Null, Value::Null];
    let list = serde_json::json!(["LDU"]);
    assert_eq!(processing(&configured, serde_json::json!({})), ldu(1, 1000));
    assert_eq!(processing(&meta(), serde_json::json!({})), none);
    assert_eq!(processing(&meta(), given(list.clone(), 1.into(), 1000.into())), ldu(1, 1000));
    assert_eq!(processing(&configured, given(list.clone(), 0.into(), 0.into())), ldu(0, 0));
    assert_eq!(processing(&meta(), given(list, 7.into(), Value::Null)), ldu(0, 0));
    let unlimited = [serde_json::json!([]), Value::Null, Value::Null];
    assert_eq!(processing(&configured, given(serde_json::json!([]), 0.into(), 0.into())), unlimited);
    for other in [serde_json::json!(["XYZ"]), serde_json::json!("LDU"), serde_json::json!(["LDU", "LDU"])] {
        assert_eq!(processing(&meta(), given(other, 1.into(), 1000.into())), none);
    }
}

#[test]
fn an_id_that_events_share_is_sent_as_their_giver_knows_it() {
    let mut event = full();
    event.event_id = EventId::new("page-7").and_then(|id| id.shared(event.name.as_str())).expect("an id");
    assert_eq!(sent(&event)["event_id"], "page-7");
}

#[test]
fn items_are_counted_only_in_whole_numbers_and_only_where_meta_asks() {
    let custom = |name: &str, items: Vec<Item>| {
        let name = EventName::new(name).expect("a name");
        sent(&SealedEvent { name, items, ..minimal() })["custom_data"].clone()
    };
    let by_weight = custom("begin_checkout", vec![item(Some("a"), "1.5", "2"), item(Some("b"), "3.0", "")]);
    assert_eq!(by_weight["contents"], serde_json::json!([{"id": "a", "item_price": 2}, {"id": "b", "quantity": 3}]));
    assert_eq!(by_weight.get("num_items"), None);
    assert_eq!(custom("begin_checkout", vec![item(Some("a"), "", ""), item(None, "3", "")])["num_items"], 4);
    assert_eq!(custom("generate_lead", vec![item(Some("a"), "2", "")]).get("num_items"), None);
    for (given, sent_as) in [(serde_json::json!(5), 5), (serde_json::json!("6"), 6), (serde_json::json!("x"), 1)] {
        let properties = serde_json::json!({"num_items": given, "content_type": "product_group"});
        let properties = Properties::new(properties.as_object().expect("an object")).expect("JSON");
        let name = EventName::new("begin_checkout").expect("a name");
        let items = vec![item(Some("a"), "", "")];
        let custom = sent(&SealedEvent { name, items, properties, ..minimal() })["custom_data"].clone();
        assert_eq!((&custom["num_items"], &custom["content_type"]), (&sent_as.into(), &"product_group".into()));
    }
}

#[test]
fn an_event_that_is_ahead_of_our_clock_is_sent_as_of_its_arrival() {
    let ahead = SealedEvent { time: time("2026-11-20T08:20:00Z"), ..minimal() };
    assert_eq!(sent(&ahead)["event_time"], time(RECEIVED_AT).as_secs());
}

#[test]
fn the_click_is_the_newest_and_keeps_its_own_time() {
    let cookie_a = "fb.1.1763546400123.ClickA"; // 2025-11-19T10:00:00.123Z
    let fbc = |cookie: Option<&str>, clicks: &[ClickId]| {
        let mut event = minimal();
        event.context.cookies.fbc = cookie.map(Into::into);
        event.context.clicks = clicks.into();
        sent(&event)["user_data"].get("fbc").map(|fbc| fbc.as_str().expect("a text").to_owned())
    };
    let (old, new) = (Some("2025-11-01T00:00:00Z"), Some("2026-11-01T00:00:00.5Z"));
    for (cookie, clicks, expected) in [
        (None, vec![], None),
        (Some(cookie_a), vec![], Some(cookie_a)),
        (Some("fb.1.1763546400123.ClickA.AQICAQMC"), vec![], Some("fb.1.1763546400123.ClickA.AQICAQMC")),
        // The same click: the cookie's time is the browser's, which is better than ours.
        (Some(cookie_a), vec![click("ClickA", new)], Some(cookie_a)),
        (Some("fb.2.1763546400123.ClickA.Ag"), vec![click("ClickA", new)], Some("fb.2.1763546400123.ClickA.Ag")),
        (Some(cookie_a), vec![click("ClickB", old)], Some(cookie_a)),
        (Some(cookie_a), vec![click("ClickB", new)], Some("fb.1.1793491200500.ClickB")),
        (Some(cookie_a), vec![click("clicka", new)], Some("fb.1.1793491200500.clicka")),
        (None, vec![click("B", new), click("A", old)], Some("fb.1.1793491200500.B")),
        // Without a time of its own: when it reached us, never when the conversion was.
        (None, vec![click("B", None)], Some("fb.1.1795162502000.B")),
        (None, vec![click("B.c", new)], None),
        (None, vec![ClickId { kind: ClickKind::Gclid, ..click("B", new) }], None),
    ] {
        assert_eq!(fbc(cookie, &clicks).as_deref(), expected, "{cookie:?} {clicks:?}");
    }
    for malformed in [
        "",
        "ClickA",
        "fb.1.1763546400123",
        "fb.1.x.A",
        "fb.1..A",
        "xx.1.1.A",
        "fb.1.1.A.",
        "fb.1.1.A.b.c",
        "fb.1.1.A b",
    ] {
        assert_eq!(fbc(Some(malformed), &[]), None, "{malformed}");
        assert_eq!(fbc(Some(malformed), &[click("B", new)]).as_deref(), Some("fb.1.1793491200500.B"), "{malformed}");
    }
}

#[test]
fn a_malformed_browser_id_is_left_out() {
    let mut event = minimal();
    event.context.cookies.fbp = Some("1098115397".into());
    assert_eq!(sent(&event)["user_data"].get("fbp"), None);
}

#[test]
fn an_event_that_matches_nobody_is_skipped() {
    let admitted = |change: fn(&mut SealedEvent)| {
        let mut event = SealedEvent { user: SealedUser::default(), ..minimal() };
        event.context.user_agent = Some(Sensitive::new(BROWSER.into()));
        change(&mut event);
        meta().admit(&event)
    };
    let nobody = Err(Unsendable::Skip(SkipReason::NoIdentifiers));
    assert_eq!(admitted(|event| event.context.user_agent = None), nobody);
    assert_eq!(admitted(|_| ()), nobody);
    assert_eq!(admitted(|event| event.user = SealedUser { emails: vec![Spelled::default()], ..full().user }), Ok(()));
    let place: fn(&mut SealedEvent) = |event| {
        let SealedUser { city, region, postal_code, country, gender, .. } = full().user;
        event.user = SealedUser { city, region, postal_code, country, gender, ..SealedUser::default() };
    };
    assert_eq!(admitted(place), nobody);
    assert_eq!(admitted(|event| event.user.date_of_birth = spelled("19970216")), nobody);
    let first_name: fn(&mut SealedEvent) = |event| {
        event.context.user_agent = None;
        event.user.first_name = spelled("mary");
        event.user.gender = spelled("f");
    };
    assert_eq!(admitted(first_name), nobody);
    assert_eq!(admitted(|event| event.user.first_name = spelled("mary")), Ok(()), "a name and a browser");
    assert_eq!(admitted(|event| event.user.lead_id = Some(1)), Ok(()));
    assert_eq!(admitted(|event| event.context.ip = full().context.ip), Ok(()));
    assert_eq!(admitted(|event| event.context.clicks = full().context.clicks), Ok(()));
    assert_eq!(admitted(|event| event.context.cookies.fbp = Some("broken".into())), nobody);
}

#[test]
fn a_purchase_without_value_never_spoils_a_batch() {
    let Err(Unsendable::Reject(failure)) = meta().admit(&SealedEvent { money: None, ..full() }) else {
        panic!("not rejected")
    };
    assert_eq!((failure.code.as_str(), failure.field.as_deref()), ("missing_value", Some("value")));
    assert_eq!(meta().admit(&full()), Ok(()));
    assert_eq!(meta().admit(&minimal()), Ok(()), "a lead needs no value");
}

#[test]
fn an_unmapped_event_is_skipped_without_a_panic() {
    let event = SealedEvent { name: EventName::new("refund").expect("a name"), ..full() };
    assert_eq!(meta().admit(&event), Err(Unsendable::Skip(SkipReason::Unmapped)));
    assert_eq!(sent(&event)["event_name"], "refund");
}

#[test]
fn deadlines_and_holds_follow_the_event() {
    let meta = meta();
    assert_eq!(meta.deadline(&minimal()), time("2026-11-27T08:15:00Z"));
    let store = SealedEvent { action_source: ActionSource::PhysicalStore, ..minimal() };
    assert_eq!(meta.deadline(&store), time("2027-01-21T08:15:00Z"));
    assert_eq!(meta.hold(&full()), None);
    let waits = Common { hold_after_click: Some(Duration::from_secs(3600)), ..common() };
    let meta = Meta { common: waits, ..meta };
    assert_eq!(meta.hold(&full()), Some((time("2026-11-19T11:00:00Z"), WaitReason::ClickTooRecent)));
    assert_eq!(meta.hold(&minimal()), None);
}

#[test]
fn a_refund_goes_under_a_name_of_its_own_and_needs_no_original() {
    let events = [("purchase", "Purchase"), ("refund", "Refund")];
    let events = events.map(|(ours, theirs)| (EventName::new(ours).expect("a name"), theirs.into())).into();
    let table = "pixel_id = \"1234567890\"\naccess_token = \"EAAtoken\"".parse().expect("TOML");
    let meta = Meta::new(Common { events, ..common() }, table).expect("a valid configuration");
    let name = EventName::new("refund").expect("a name");
    let refund = SealedEvent {
        name,
        event_id: EventId::new("refund-1").expect("an id"),
        money: Some(money("12.5", "USD")),
        ..full()
    };
    assert_eq!((meta.admit(&refund), meta.original(&refund)), (Ok(()), Original::Unneeded));
    let body: Value = serde_json::from_str(&text(&meta, &[refund])).expect("JSON");
    let (event, custom) = (&body["data"][0], &body["data"][0]["custom_data"]);
    assert_eq!((&event["event_name"], &event["event_id"]), (&"Refund".into(), &"refund-1".into()));
    assert_eq!((&custom["value"], &custom["order_id"]), (&serde_json::json!(12.5), &"1001".into()));
}

#[test]
fn a_change_that_would_count_as_a_conversion_is_refused_when_the_configuration_is_read() {
    let problems = |ours: &str, theirs: &str| {
        let mut common = common();
        common.events.insert(EventName::new("deal").expect("a name"), "Deal".into());
        common.events.insert(EventName::new(ours).expect("a name"), theirs.into());
        let table = "pixel_id = \"1\"\naccess_token = \"t\"".parse().expect("TOML");
        let problems = Meta::new(common, table).err().unwrap_or_default();
        problems.into_iter().map(|problem| problem.key).collect::<Vec<_>>()
    };
    assert_eq!(problems("refund", "Purchase"), ["events.refund"]);
    assert_eq!(problems("restatement", "Subscribe"), ["events.restatement"]);
    assert_eq!(problems("refund", "Deal"), ["events.refund"]);
    assert_eq!(problems("refund", "Refund"), Vec::<String>::new());
}

#[test]
fn meta_knows_an_event_for_two_days_and_a_shop_for_a_week() {
    let of = |action_source| meta().dedupe(&SealedEvent { action_source, ..full() });
    assert_eq!(of(ActionSource::Website), Dedupe::Within(Duration::from_secs(48 * 3600)));
    assert_eq!(of(ActionSource::SystemGenerated), Dedupe::Within(Duration::from_secs(48 * 3600)));
    assert_eq!(of(ActionSource::PhysicalStore), Dedupe::Within(Duration::from_secs(7 * 86_400)));
}

#[test]
fn the_evidence_names_the_keys_that_are_sent() {
    assert_eq!(meta().evidence(&minimal()), ["em"]);
    let event = full();
    let sent: Vec<String> = sent(&event)["user_data"].as_object().expect("an object").keys().cloned().collect();
    let mut evidence = meta().evidence(&event);
    evidence.sort_unstable();
    let mut sent: Vec<&str> = sent.iter().map(String::as_str).collect();
    sent.sort_unstable();
    assert_eq!(evidence, sent);
}

#[test]
fn the_version_is_one_whose_life_is_known() {
    let meta = meta();
    assert_eq!(meta.api(), Some(("meta_graph", "v26.0")));
    assert!(crate::destinations::versions::TABLE.iter().any(|known| Some((known.api, known.version)) == meta.api()));
}
