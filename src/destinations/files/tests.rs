//! Events, and the exact file beside them.

use std::collections::BTreeMap;

use super::{super::Request, *};
use crate::model::{
    ActionSource, Attribution, Choice, ClickId, ClickKind, Consent, Context, Cookies, Currency, Digest, EventId,
    EventName, Item, JoinedBy, Money, Normal, Properties, SealedUser, Secret, Sensitive, SourceName, Spelled,
    TransactionId, Utm, VisitorId, kind, parse_decimal,
};

const SOLD: &str = "2026-11-20T08:15:00Z";

fn at(text: &str) -> Time {
    Time::parse(text).expect("a time")
}

fn days(count: u64) -> Duration {
    Duration::from_secs(count * 86_400)
}

fn common(name: &str, conversion: &str) -> Common {
    Common {
        name: crate::model::DestinationName::new("import-file").expect("valid"),
        events: BTreeMap::from([(EventName::new(name).expect("valid"), conversion.to_owned())]),
        hold_after_click: None,
        fallback_for: None,
    }
}

fn file(format: &str, event: &str) -> Box<dyn Destination> {
    let table = toml::toml! { path = "files" }.into_iter().chain([("format".to_owned(), format.into())]).collect();
    build(common(event, "Offline \"gold\" purchase, all"), table).expect("a good table")
}

fn purchase(order: &str) -> SealedEvent {
    SealedEvent {
        source: SourceName::new("shop").expect("valid"),
        name: EventName::new("purchase").expect("valid"),
        event_id: EventId::new(format!("shop:purchase:{order}")).expect("valid"),
        time: at(SOLD),
        received_at: at("2026-11-20T08:15:02Z"),
        visitor_id: None,
        joined_by: None,
        transaction_id: Some(TransactionId::new(order).expect("valid")),
        money: None,
        action_source: ActionSource::Website,
        items: Vec::new(),
        user: SealedUser::default(),
        context: Context::default(),
        attribution: Attribution::default(),
        consent: Consent::default(),
        properties: Properties::default(),
        change: None,
    }
}

fn worth(mut event: SealedEvent, amount: &str, currency: &str) -> SealedEvent {
    let currency = Currency::parse(currency).expect("a currency");
    event.money = Some(Money::new(parse_decimal(amount).expect("a number"), currency).expect("not negative"));
    event
}

fn clicked(mut event: SealedEvent, kind: ClickKind, value: &str, first_seen: Option<&str>) -> SealedEvent {
    let (first_seen, last_seen) = (first_seen.map(at), event.time);
    event.context.clicks.push(ClickId { kind, value: value.into(), first_seen, last_seen });
    event
}

fn known(mut event: SealedEvent) -> SealedEvent {
    let name = |text: &str| Spelled {
        google: Normal::<kind::Name>::new(text.into()).as_ref().map(Digest::of),
        meta: Normal::<kind::Name>::new(format!("{text} (meta)")).as_ref().map(Digest::of),
    };
    event.user.emails.push(name("alex.z@example.com"));
    event.user.phones.push(name("+18005550100"));
    event.user.first_name = name("givenname");
    event.user.last_name = name("obrien");
    event.user.country_code = Some(Sensitive::new("US".into()));
    event.user.postal_code_clear = Some(Sensitive::new("94045".into()));
    event.user.external_ids.push(Digest::of_token("cust-7"));
    event
}

fn chose(mut event: SealedEvent, ad_user_data: Choice, ad_personalization: Choice) -> SealedEvent {
    event.consent = Consent { ad_user_data, ad_personalization };
    event
}

fn refund(order: &str, properties: serde_json::Value) -> SealedEvent {
    let mut event = purchase(order);
    event.name = EventName::new("refund").expect("valid");
    event.properties = Properties::new(properties.as_object().expect("an object")).expect("writable");
    event
}

/// The whole file that `events` make.
fn written(destination: &dyn Destination, events: &[SealedEvent]) -> String {
    for event in events {
        assert_eq!(destination.admit(event), Ok(()));
    }
    match destination.prepare(events) {
        Request::Rows(rows) => rows.header + &rows.rows,
        Request::Http(_) => panic!("a file destination writes rows"),
    }
}

fn code(refused: Result<(), Unsendable>) -> String {
    match refused {
        Err(Unsendable::Reject(failure)) => failure.code,
        Err(Unsendable::Skip(reason)) => reason.as_str().to_owned(),
        Ok(()) => "admitted".to_owned(),
    }
}

const CLICK: Option<&str> = Some("2026-11-18T19:02:11Z");

#[test]
fn google_ads_clicks_are_written_as_the_template_has_them() {
    let events = [
        chose(
            clicked(worth(purchase("1001"), "49.99", "USD"), ClickKind::Gclid, "Cj0KCQ_aB-c", CLICK),
            Choice::Granted,
            Choice::Denied,
        ),
        clicked(worth(purchase("R-5, \"B\""), "4999", "JPY"), ClickKind::Gclid, "-1-_Zz", CLICK),
        clicked(worth(purchase("-1003"), "1.5", "KWD"), ClickKind::Gclid, "EAIaIQ", None),
        clicked(purchase("bestellung-ä"), ClickKind::Gclid, "EAIaIR", CLICK),
    ];
    let text = written(&*file("google_ads_clicks", "purchase"), &events);
    assert_eq!(text, include_str!("fixtures/google_ads_clicks.csv"));
}

#[test]
fn google_ads_leads_carry_hashes_and_a_click_when_there_is_one() {
    let mut injected = known(purchase("1004"));
    injected.user.postal_code_clear = Some(Sensitive::new("=1+1".into()));
    let events = [
        chose(known(worth(purchase("1001"), "49.9", "USD")), Choice::Granted, Choice::Granted),
        clicked(known(purchase("1002")), ClickKind::Gclid, "Cj0KCQ", CLICK),
        chose(clicked(known(purchase("1003")), ClickKind::Gclid, "Cj0KCR", CLICK), Choice::Denied, Choice::Unknown),
        injected,
    ];
    let text = written(&*file("google_ads_leads", "purchase"), &events);
    assert_eq!(text, include_str!("fixtures/google_ads_leads.csv"));
}

#[test]
fn google_ads_adjustments_retract_in_full_and_restate_to_what_is_left() {
    let events = [
        refund("1001", serde_json::json!({})),
        worth(refund("1002", serde_json::json!({"adjusted_value": "37.4"})), "12.59", "USD"),
        worth(refund("1003", serde_json::json!({"adjusted_value": 0})), "4999", "JPY"),
    ];
    let text = written(&*file("google_ads_adjustments", "refund"), &events);
    assert_eq!(text, include_str!("fixtures/google_ads_adjustments.csv"));
}

#[test]
fn a_refund_that_does_not_say_what_is_left_is_refused_with_what_to_post() {
    let destination = file("google_ads_adjustments", "refund");
    let mut nameless = refund("1001", serde_json::json!({}));
    nameless.transaction_id = None;
    for (event, expected) in [
        (worth(refund("1", serde_json::json!({})), "5", "EUR"), "adjusted_value_unknown"),
        (worth(refund("1", serde_json::json!({"adjusted_value": "-1"})), "5", "EUR"), "adjusted_value_invalid"),
        (worth(refund("1", serde_json::json!({"adjusted_value": {}})), "5", "EUR"), "adjusted_value_invalid"),
        (refund("1", serde_json::json!({"adjusted_value": "1"})), "adjusted_currency_unknown"),
        (nameless, "order_id_missing"),
    ] {
        assert_eq!(code(destination.admit(&event)), expected);
    }
}

#[test]
fn data_manager_gets_one_click_id_or_contact_data() {
    let landing = clicked(known(worth(purchase("1002"), "1.5", "KWD")), ClickKind::Gbraid, "Gb", CLICK);
    let mut app = landing.clone();
    app.action_source = ActionSource::App;
    let events = [
        clicked(known(worth(purchase("1001"), "49.99", "USD")), ClickKind::Gclid, "Cj0KCQ", CLICK),
        clicked(landing.clone(), ClickKind::Wbraid, "Wb", CLICK),
        clicked(app, ClickKind::Wbraid, "Wb", CLICK),
        clicked(landing, ClickKind::Gclid, "older", Some("2026-11-01T00:00:00Z")),
        chose(known(worth(purchase("1003"), "4999", "JPY")), Choice::Granted, Choice::Denied),
    ];
    let text = written(&*file("data_manager", "purchase"), &events);
    assert_eq!(text, include_str!("fixtures/data_manager.csv"));
}

#[test]
fn microsoft_rows_are_in_utc_and_the_first_line_says_so() {
    let event = |order, kind, id| clicked(purchase(order), kind, id, CLICK);
    let events = [
        worth(event("1001", ClickKind::Msclkid, "f894f652ea334e739002f7167ab8f8e3"), "49.99", "USD"),
        worth(event("1002", ClickKind::Msclkid, "0194f652ea334e739002f7167ab8f8e3"), "1.5", "KWD"),
    ];
    let destination = file("microsoft", "purchase");
    assert_eq!(written(&*destination, &events), include_str!("fixtures/microsoft.csv"));
    assert_eq!(code(destination.admit(&event("1003", ClickKind::Gclid, "Cj0KCQ"))), "no_identifiers");
}

#[test]
fn jsonl_holds_the_stored_event_and_no_contact_data() {
    let mut full = worth(known(purchase("1001")), "49.9", "USD");
    full = clicked(full, ClickKind::Fbclid, "IwAR0", CLICK);
    full.visitor_id = Some(VisitorId::new("01JD3N6V6J8Q4T3W9K5Z7Y2X1A").expect("valid"));
    full.joined_by = Some(JoinedBy::Email);
    let two = parse_decimal("2").ok();
    full.items =
        vec![Item { id: Some("sku-1".into()), name: Some("=HYPERLINK(\"x\")".into()), quantity: two, price: None }];
    full.context.ip = Some(Sensitive::new("203.0.113.7".parse().expect("an address")));
    full.context.cookies = Cookies { fbp: Some("fb.1.1.2".into()), ..Cookies::default() };
    full.attribution.last = Some((at("2026-11-18T19:02:11Z"), Utm { source: Some("meta".into()), ..Utm::default() }));
    full.properties =
        Properties::new(serde_json::json!({"plan": "pro\n"}).as_object().expect("an object")).expect("writable");
    let text = written(&*file("jsonl", "purchase"), &[full, worth(purchase("=1+1"), "4999", "JPY")]);
    assert_eq!(text, include_str!("fixtures/jsonl.jsonl"));
    assert!(!text.contains("94045"), "the postal code in clear is for Google alone");
    for line in text.lines() {
        serde_json::from_str::<serde_json::Value>(line).expect("one object a line");
    }
}

#[test]
fn a_cell_that_a_spreadsheet_could_run_is_refused_and_never_changed() {
    let destination = file("google_ads_clicks", "purchase");
    for order in ["=1+1", "+1", "@SUM(A1)", "-A1", "-1+2", "-", "＝1", " =1", "a,=1", "a;@b", "\"=1"] {
        let event = clicked(purchase(order), ClickKind::Gclid, "Cj0KCQ", CLICK);
        assert_eq!(code(destination.admit(&event)), "unsafe_cell", "{order}");
    }
    for order in ["-1", "-1.5", "1-2", "a=b", "2026/11-20", "#1001"] {
        let event = clicked(purchase(order), ClickKind::Gclid, "Cj0KCQ", CLICK);
        assert_eq!(code(destination.admit(&event)), "admitted", "{order}");
    }
    for id in ["=cmd|'/C calc'!A0", "{gclid}", "", "a b", "-A1:B2", &"a".repeat(1025)] {
        let event = clicked(purchase("1"), ClickKind::Gclid, id, CLICK);
        assert_eq!(code(destination.admit(&event)), "no_identifiers", "{id}");
    }
}

#[test]
fn the_newest_click_that_can_have_led_to_the_sale_is_taken() {
    let destination = file("google_ads_clicks", "purchase");
    let sold = |clicks: &[(&str, Option<&str>)]| {
        clicks.iter().fold(purchase("1"), |event, (id, seen)| clicked(event, ClickKind::Gclid, id, *seen))
    };
    let id = |event: SealedEvent| {
        let text = written(&*destination, &[event]);
        text.lines().nth(1).and_then(|row| row.split(',').next()).map(str::to_owned)
    };
    let (old, new) = (("old", Some("2026-11-01T00:00:00Z")), ("new", Some("2026-11-10T00:00:00Z")));
    assert_eq!(id(sold(&[new, old])).as_deref(), Some("new"));
    assert_eq!(id(sold(&[old, ("after", Some("2026-11-20T08:15:01Z"))])).as_deref(), Some("old"));
    assert_eq!(id(sold(&[("given", None), new])).as_deref(), Some("given"));
    assert_eq!(id(sold(&[("same", Some("2026-11-20T08:15:00.900Z"))])).as_deref(), Some("same"));
    let stale = sold(&[("stale", Some("2026-08-22T08:15:02Z"))]);
    assert_eq!(code(destination.admit(&stale)), "no_identifiers", "90 days have passed since that click");
    assert_eq!(code(file("google_ads_leads", "purchase").admit(&known(stale))), "admitted");
}

#[test]
fn nobody_to_match_is_skipped_for_what_it_is() {
    let leads = file("google_ads_leads", "purchase");
    assert_eq!(code(leads.admit(&purchase("1"))), "no_identifiers");
    let denied = chose(known(purchase("1")), Choice::Denied, Choice::Denied);
    assert_eq!(code(leads.admit(&denied)), "consent");
    assert_eq!(code(file("data_manager", "purchase").admit(&denied)), "consent");
    assert_eq!(code(leads.admit(&refund("1", serde_json::json!({})))), "unmapped");
}

#[test]
fn an_event_is_taken_as_long_as_the_platform_takes_it() {
    let click = at("2026-11-18T19:02:11Z");
    let event = clicked(known(purchase("1")), ClickKind::Gclid, "Cj0KCQ", CLICK);
    let microsoft = clicked(purchase("1"), ClickKind::Msclkid, "f894", CLICK);
    for (format, event, expected) in [
        ("google_ads_clicks", &event, click.plus(days(90))),
        ("google_ads_clicks", &purchase("1"), at(SOLD).plus(days(90))),
        ("google_ads_leads", &event, click.plus(days(90))),
        ("google_ads_leads", &known(purchase("1")), at(SOLD).plus(days(63))),
        ("google_ads_adjustments", &event, at(SOLD).plus(days(54))),
        ("data_manager", &event, click.plus(days(90))),
        ("microsoft", &microsoft, click.plus(days(90))),
        ("jsonl", &event, at(SOLD).plus(days(3650))),
    ] {
        assert_eq!(file(format, "purchase").deadline(event), expected, "{format}");
    }
}

#[test]
fn only_rows_on_disk_are_delivered() {
    let destination = file("jsonl", "purchase");
    let batch = [purchase("1"), purchase("2")];
    assert_eq!(destination.interpret(&batch, &Response::Written), [Verdict::Delivered, Verdict::Delivered]);
    let other = Response::Http { status: 200, retry_after: None, headers: Vec::new(), body: bytes::Bytes::new() };
    let verdicts = destination.interpret(&batch, &other);
    assert!(verdicts.len() == 2 && verdicts.iter().all(|verdict| matches!(verdict, Verdict::Retry { .. })));
    assert!(destination.hold(&batch[0]).is_none());
}

#[test]
fn a_table_becomes_what_the_file_is_served_by() {
    let table = toml::toml! {
        format = "microsoft"
        keep = 3
        username = "ms"
        password = "s3cret"
    };
    let destination = build(common("purchase", "Offline purchase"), table).expect("a good table");
    let profile = destination.file().expect("a file");
    assert_eq!(profile.directory, std::path::Path::new("data/files"));
    assert_eq!((profile.extension, profile.days_served), ("csv", 3));
    assert_eq!(profile.header.lines().next(), Some("Parameters:TimeZone=+0000"));
    assert_eq!(profile.auth, Some(("ms".to_owned(), Secret::new("s3cret"))));
    assert_eq!(file("jsonl", "purchase").file().map(|profile| profile.extension), Some("jsonl"));
}

#[test]
fn every_problem_of_a_table_is_told_at_once() {
    let problems = |mut common: Common, table: toml::Table| {
        common.hold_after_click = Some(days(1));
        let problems = build(common, table).err().expect("a bad table");
        problems.into_iter().map(|problem| problem.key).collect::<Vec<_>>()
    };
    let table = toml::toml! {
        format = "microsoft"
        path = ""
        keep = 0
        username = "a:b"
        colour = "red"
    };
    let expected = ["path", "keep", "password", "username", "hold_after_click", "events.purchase", "colour"];
    assert_eq!(problems(common("purchase", "=1+1"), table), expected);
    for format in ["meta", "excel"] {
        let table = [("format".to_owned(), format.into())].into_iter().collect();
        assert_eq!(problems(common("purchase", "Sale"), table), ["format", "hold_after_click"]);
    }
    assert_eq!(problems(common("purchase", "Sale"), toml::Table::new()), ["format", "hold_after_click"]);
}

#[test]
fn a_conversion_name_that_could_run_is_refused_when_the_configuration_is_read() {
    let built = |format: &str, conversion| {
        let table = [("format".to_owned(), format.into())].into_iter().collect();
        build(common("purchase", conversion), table).is_ok()
    };
    for bad in ["=Sale", "+Sale", "-Sale", "-5", "@Sale", "Sale\t2", "Sale\r"] {
        assert!(!built("google_ads_clicks", bad), "{bad}");
    }
    assert!(built("google_ads_clicks", "Sale - gold"));
    assert!(built("jsonl", "=Sale"), "no spreadsheet runs JSON");
}

mod changes;
