use rust_decimal::Decimal;

use super::*;
use crate::model::{
    ActionSource, Attribution, Change, ClickId, ClickKind, Consent, Context, Currency, DestinationName, Digest,
    EventId, Failure, Item, Properties, SealedUser, SourceName, Spelled, TransactionId, parse_decimal,
};

mod answers;
mod configs;

const TABLE: &str = r#"
    customer_id = "123-456-7890"
    credentials = { client_id = "id", client_secret = "secret", refresh_token = "token" }
"#;

const EVENTS: [(&str, &str); 4] =
    [("purchase", "987654321"), ("sign_up", "987654322"), ("refund", "adjust"), ("restatement", "adjust")];

fn at(text: &str) -> Time {
    Time::parse(text).expect("a time")
}

fn name(text: &str) -> EventName {
    EventName::new(text).expect("an event name")
}

fn common(events: &[(&str, &str)]) -> Common {
    Common {
        name: DestinationName::new("google").expect("a name"),
        events: events.iter().map(|(event, action)| (name(event), (*action).to_owned())).collect(),
        hold_after_click: None,
        fallback_for: None,
    }
}

fn build_with(table: &str, events: &[(&str, &str)]) -> Box<dyn Destination> {
    build(common(events), table.parse().expect("TOML")).unwrap_or_else(|problems| panic!("{problems:?}"))
}

fn google() -> Box<dyn Destination> {
    build_with(TABLE, &EVENTS)
}

/// An event that nobody can be matched by.
fn event() -> SealedEvent {
    SealedEvent {
        source: SourceName::new("shop").expect("a name"),
        name: name("purchase"),
        event_id: EventId::new("order-1001").expect("an id"),
        time: at("2026-11-20T08:15:00.900Z"),
        received_at: at("2026-11-20T08:15:02Z"),
        visitor_id: None,
        joined_by: None,
        transaction_id: None,
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

fn seen(kind: ClickKind, value: &str, first_seen: Option<&str>) -> ClickId {
    let first_seen = first_seen.map(at);
    ClickId { kind, value: value.into(), first_seen, last_seen: first_seen.unwrap_or(at("2026-11-20T08:15:00Z")) }
}

fn clicked(clicks: Vec<ClickId>) -> SealedEvent {
    let mut event = event();
    event.context.clicks = clicks;
    event
}

fn spelled(text: &str) -> Spelled {
    Spelled { meta: None, google: Some(Digest::of_token(text)) }
}

fn money(text: &str, currency: &str) -> Option<Money> {
    let amount = parse_decimal(text).expect("a number");
    Money::new(amount, Currency::parse(currency).expect("a currency")).ok()
}

fn item(id: &str, quantity: Option<&str>, price: Option<&str>) -> Item {
    let number = |text: &str| text.parse::<Decimal>().expect("a number");
    Item { id: Some(id.into()), name: None, quantity: quantity.map(number), price: price.map(number) }
}

/// A purchase with everything.
fn full() -> SealedEvent {
    let mut event = clicked(vec![seen(ClickKind::Gclid, "EAIaIQobChMI-x_Y", Some("2026-11-19T20:00:00.250Z"))]);
    event.transaction_id = TransactionId::new("1001").ok();
    event.money = money("49.9", "USD");
    event.items = vec![item("sku-1", Some("2"), Some("12.50")), item("sku-2", None, None)];
    event.user.emails = vec![spelled("ada@example.com"), spelled("ada@example.com"), spelled("ada@work.example")];
    event.user.phones = vec![spelled("+16505551212"), Spelled::default()];
    event.consent = Consent { ad_user_data: Choice::Granted, ad_personalization: Choice::Denied };
    event
}

/// A refund or restatement of order 1001, whose original is not known.
fn change(event_name: &str) -> SealedEvent {
    let mut event = event();
    event.name = name(event_name);
    event.event_id = EventId::new("change-1").expect("an id");
    event.transaction_id = TransactionId::new("1001").ok();
    event.time = at("2026-11-23T10:00:00Z");
    event.received_at = event.time;
    event
}

/// The same, of a conversion that is known.
fn change_of(event_name: &str, original: SealedEvent, worth: Option<Money>) -> SealedEvent {
    SealedEvent { change: Some(Box::new(Change { original, worth })), ..change(event_name) }
}

fn http(request: Request) -> HttpRequest {
    match request {
        Request::Http(request) => request,
        Request::Rows(_) => panic!("not an HTTP request"),
    }
}

fn body(destination: &dyn Destination, batch: &[SealedEvent]) -> serde_json::Value {
    serde_json::from_slice(&http(destination.prepare(batch)).body).expect("JSON")
}

/// The first row of a request.
fn row(event: SealedEvent) -> serde_json::Value {
    body(&*google(), &[event])["conversions"][0].clone()
}

/// A fixture without the white space between its tokens: numbers have to match digit for digit.
fn compact(pretty: &str) -> String {
    let (mut inside, mut out) = (false, String::new());
    for c in pretty.chars() {
        inside ^= c == '"';
        if inside || !c.is_whitespace() {
            out.push(c);
        }
    }
    out
}

fn skip(reason: SkipReason) -> Result<(), Unsendable> {
    Err(Unsendable::Skip(reason))
}

#[test]
fn conversions_become_exactly_the_documented_request() {
    let table = format!(
        "{TABLE}
        login_customer_id = \"111-222-3333\"
        merchant_id = \"5551\"
        feed_country = \"GB\"
        feed_language = \"en\""
    );
    let google = build_with(&table, &EVENTS);
    let mut braid = clicked(vec![seen(ClickKind::Wbraid, "Cj0", None)]);
    braid.name = name("sign_up");
    braid.money = money("0.000000000001", "EUR");
    braid.action_source = ActionSource::PhoneCall;
    braid.user.emails = vec![spelled("ada@example.com")];
    braid.items = vec![item("sku-1", Some("2"), None)];
    let request = http(google.prepare(&[full(), braid]));
    assert_eq!(request.url, "https://googleads.googleapis.com/v26/customers/1234567890:uploadClickConversions");
    assert_eq!(request.headers, [("login-customer-id", "1112223333".to_owned())]);
    let sent = String::from_utf8(request.body.to_vec()).expect("text");
    assert_eq!(sent, compact(include_str!("fixtures/clicks.json")));
}

#[test]
fn changes_become_exactly_the_documented_request() {
    let whole = change_of("refund", full(), money("0", "USD"));
    let half = change_of("restatement", full(), money("30", "USD"));
    let request = http(google().prepare(&[whole, half]));
    assert_eq!(request.url, "https://googleads.googleapis.com/v26/customers/1234567890:uploadConversionAdjustments");
    assert!(request.headers.is_empty());
    let sent = String::from_utf8(request.body.to_vec()).expect("text");
    assert_eq!(sent, compact(include_str!("fixtures/adjustments.json")));
}

#[test]
fn a_change_names_the_conversion_it_is_about_and_comes_after_it() {
    let mut original = full();
    original.name = name("sign_up");
    original.transaction_id = None;
    let mut early = change_of("refund", original, money("0", "USD"));
    early.time = at("2026-11-20T08:15:00.950Z");
    let row = &body(&*google(), &[early])["conversionAdjustments"][0];
    assert_eq!(row["conversionAction"], "customers/1234567890/conversionActions/987654322");
    assert_eq!(row["orderId"], "order-1001");
    assert_eq!(row["adjustmentDateTime"], "2026-11-20 08:15:01+00:00");
}

#[test]
fn a_change_comes_after_the_time_that_its_conversion_was_sent_with() {
    let mut original = full();
    original.context.clicks[0].first_seen = Some(at("2026-11-20T08:20:00Z"));
    assert_eq!(
        row(original.clone())["conversionDateTime"],
        "2026-11-20 08:20:01+00:00",
        "Google wants it after the click"
    );
    let mut early = change_of("refund", original, money("0", "USD"));
    early.time = at("2026-11-20T08:18:00Z");
    let adjusted_at = body(&*google(), &[early])["conversionAdjustments"][0]["adjustmentDateTime"].clone();
    assert_eq!(adjusted_at, "2026-11-20 08:20:02+00:00");
}

#[test]
fn only_a_refund_takes_a_conversion_back() {
    let to_nothing = |event_name| {
        let event = change_of(event_name, full(), money("0", "USD"));
        body(&*google(), &[event])["conversionAdjustments"][0].clone()
    };
    assert_eq!(to_nothing("refund")["adjustmentType"], "RETRACTION");
    let restated = to_nothing("restatement");
    assert_eq!(restated["adjustmentType"], "RESTATEMENT", "one that was taken back could have no value any more");
    assert_eq!(restated["restatementValue"], serde_json::json!({ "adjustedValue": 0.0, "currencyCode": "USD" }));
}

#[test]
fn a_change_is_sent_only_of_what_this_destination_can_have() {
    let google = google();
    let half = || money("30", "USD");
    assert_eq!(google.admit(&change_of("refund", full(), half())), Ok(()));
    let nobody = event();
    let unmapped = SealedEvent { name: name("add_to_cart"), ..full() };
    let mut denied = full();
    denied.consent.ad_user_data = Choice::Denied;
    for original in [nobody, unmapped, denied] {
        assert_eq!(google.admit(&change_of("refund", original, half())), skip(SkipReason::NoOriginal));
    }
    let worthless = google.admit(&change_of("refund", full(), None));
    assert!(matches!(worthless, Err(Unsendable::Reject(failure)) if failure.code == "no_value"));
    let mut no = change_of("refund", full(), half());
    no.consent.ad_user_data = Choice::Denied;
    assert_eq!(google.admit(&no), skip(SkipReason::Consent));
    let unmapped = build_with(TABLE, &[("purchase", "1")]);
    assert_eq!(unmapped.admit(&change_of("refund", full(), half())), skip(SkipReason::Unmapped));
}

#[test]
fn of_an_unknown_conversion_only_all_can_be_taken_back() {
    let google = google();
    assert_eq!(google.admit(&change("refund")), Ok(()));
    let row = &body(&*google, &[change("refund")])["conversionAdjustments"][0];
    assert_eq!((&row["adjustmentType"], &row["orderId"]), (&"RETRACTION".into(), &"1001".into()));
    assert_eq!(row["conversionAction"], "customers/1234567890/conversionActions/987654321", "that of purchases");
    let part = SealedEvent { money: money("5", "USD"), ..change("refund") };
    let nameless = SealedEvent { transaction_id: None, ..change("refund") };
    let new_value = SealedEvent { money: money("5", "USD"), ..change("restatement") };
    for event in [part, nameless, new_value, change("restatement")] {
        assert_eq!(google.admit(&event), skip(SkipReason::NoOriginal), "{event:?}");
    }
    let one = build_with(TABLE, &[("sign_up", "5"), ("refund", "adjust")]);
    assert_eq!(one.admit(&change("refund")), Ok(()));
    let which = build_with(TABLE, &[("sign_up", "5"), ("generate_lead", "6"), ("refund", "adjust")]);
    assert_eq!(which.admit(&change("refund")), skip(SkipReason::NoOriginal));
}

#[test]
fn conversions_and_changes_never_travel_together() {
    let google = google();
    let mixed = [full(), change("refund"), full()];
    assert_eq!(mixed.each_ref().map(|event| google.lane(event)), [0, 1, 0]);
    let sent = body(&*google, &mixed);
    assert_eq!(sent["conversions"].as_array().map(Vec::len), Some(2));
    assert!(sent.get("conversionAdjustments").is_none());
    let sent = body(&*google, &mixed[1..]);
    assert_eq!(sent["conversionAdjustments"].as_array().map(Vec::len), Some(1));
    assert!(sent.get("conversions").is_none());
}

#[test]
fn one_click_is_named_and_nobody_next_to_a_braid() {
    use ClickKind::{Gbraid, Gclid, Wbraid};
    let when = Some("2026-11-10T00:00:00Z");
    for (clicks, source, field) in [
        (
            vec![seen(Gbraid, "g", when), seen(Gclid, "c", when), seen(Wbraid, "w", when)],
            ActionSource::Website,
            "gclid",
        ),
        (vec![seen(Gbraid, "g", when), seen(Wbraid, "w", when)], ActionSource::Website, "wbraid"),
        (vec![seen(Gbraid, "g", when), seen(Wbraid, "w", when)], ActionSource::App, "gbraid"),
        (vec![seen(Gbraid, "g", None), seen(Gclid, "c", when)], ActionSource::Website, "gbraid"),
    ] {
        let mut event = SealedEvent { action_source: source, ..clicked(clicks) };
        event.user.emails = vec![spelled("ada@example.com")];
        let evidence = google().evidence(&event);
        let row = row(event);
        let named: Vec<_> = ["gclid", "wbraid", "gbraid"].into_iter().filter(|name| row.get(name).is_some()).collect();
        assert_eq!(named, [field]);
        assert_eq!(row.get("userIdentifiers").is_some(), field == "gclid");
        assert_eq!(evidence.len(), if field == "gclid" { 2 } else { 1 });
        assert_eq!(evidence[0], field);
    }
    assert_eq!(google().evidence(&full()), ["gclid", "hashedEmail", "hashedPhoneNumber"]);
    assert_eq!(google().evidence(&change("refund")), ["orderId"]);
}

#[test]
fn at_most_five_identifiers_are_sent() {
    let mut event = full();
    event.user.emails = (0..12).map(|i| spelled(&format!("{i}@example.com"))).collect();
    assert_eq!(row(event)["userIdentifiers"].as_array().map(Vec::len), Some(5));
}

#[test]
fn consent_is_stated_only_where_it_is_known() {
    let sent = |ad_user_data| {
        row(SealedEvent { consent: Consent { ad_user_data, ad_personalization: Choice::Granted }, ..full() })
    };
    assert!(sent(Choice::Unknown).get("consent").is_none());
    assert_eq!(sent(Choice::Granted)["consent"], serde_json::json!({ "adUserData": "GRANTED" }));
    let denied = sent(Choice::Denied);
    assert_eq!(denied["consent"], serde_json::json!({ "adUserData": "DENIED" }));
    assert!(denied.get("userIdentifiers").is_none());
}

#[test]
fn a_cart_is_sent_with_a_merchant_and_in_full_only() {
    assert!(row(full()).get("cartData").is_none());
    let google = build_with(&format!("{TABLE}\nmerchant_id = \"5551\""), &EVENTS);
    for (item, kept) in [
        (item("sku", Some("3.0"), None), true),
        (item("sku", Some("1.5"), None), false),
        (item("sku", Some("99999999999"), None), false),
        (item("", Some("1"), None), false),
    ] {
        let sent = body(&*google, &[SealedEvent { items: vec![item], ..full() }]);
        assert_eq!(sent["conversions"][0].get("cartData").is_some(), kept, "{sent}");
    }
}

#[test]
fn young_clicks_and_young_conversions_are_held_back() {
    let held = |first_seen, hold| {
        let event = clicked(vec![seen(ClickKind::Gclid, "c", first_seen)]);
        let common = Common { hold_after_click: hold, ..common(&EVENTS) };
        build(common, TABLE.parse().expect("TOML")).unwrap_or_else(|problems| panic!("{problems:?}")).hold(&event)
    };
    let until = |text| Some((at(text), WaitReason::ClickTooRecent));
    assert_eq!(held(Some("2026-11-20T08:00:00Z"), None), until("2026-11-20T14:00:00Z"));
    assert_eq!(held(Some("2026-11-20T08:00:00Z"), Some(Duration::from_secs(3600))), until("2026-11-20T09:00:00Z"));
    assert_eq!(held(Some("2026-11-20T02:00:00Z"), None), None, "old enough when the event came");
    assert_eq!(held(None, None), None, "nobody knows when it was");

    let mut soon = change_of("refund", full(), money("0", "USD"));
    assert_eq!(google().hold(&soon), None, "three days later");
    soon.received_at = at("2026-11-21T08:00:00Z");
    assert_eq!(google().hold(&soon), Some((at("2026-11-21T08:15:00.900Z"), WaitReason::ConversionTooRecent)));
    assert_eq!(google().hold(&change("refund")), None);
}

#[test]
fn the_deadline_is_that_of_the_click_of_contact_details_or_of_the_changed_conversion() {
    let deadline = |clicks| google().deadline(&clicked(clicks)).to_string();
    let click = |first_seen| vec![seen(ClickKind::Gclid, "c", first_seen)];
    assert_eq!(deadline(click(Some("2026-11-01T00:00:00Z"))), "2027-01-30T00:00:00Z");
    assert_eq!(deadline(click(None)), "2027-02-18T08:15:00.900Z");
    assert_eq!(deadline(vec![]), "2027-01-22T08:15:00.900Z");
    assert_eq!(google().deadline(&change("refund")).to_string(), "2027-01-16T10:00:00Z");
    let known = change_of("refund", full(), None);
    assert_eq!(google().deadline(&known).to_string(), "2027-01-13T08:15:00.900Z");
}

#[test]
fn what_can_not_be_matched_or_may_not_be_sent_is_not_admitted() {
    let google = google();
    assert_eq!(google.admit(&full()), Ok(()));
    assert_eq!(google.admit(&clicked(vec![seen(ClickKind::Gbraid, "g", None)])), Ok(()));
    assert_eq!(google.admit(&event()), skip(SkipReason::NoIdentifiers));
    let mut lead = event();
    lead.user.phones = vec![spelled("+16505551212")];
    assert_eq!(google.admit(&lead), Ok(()));
    lead.name = name("add_to_cart");
    assert_eq!(google.admit(&lead), skip(SkipReason::Unmapped));
    let mut denied = full();
    denied.consent.ad_user_data = Choice::Denied;
    assert_eq!(google.admit(&denied), skip(SkipReason::Consent));
}

#[test]
fn a_rehearsal_asks_for_every_action_and_counts_nothing() {
    let google = google();
    let rehearsals = google.rehearsals(&full());
    let [rehearsal] = rehearsals.as_slice() else { panic!("one request") };
    let sent: serde_json::Value = serde_json::from_slice(&rehearsal.request.body).expect("JSON");
    assert_eq!((&sent["validateOnly"], &sent["partialFailure"]), (&true.into(), &true.into()));
    let actions: Vec<_> =
        sent["conversions"].as_array().expect("rows").iter().map(|row| &row["conversionAction"]).collect();
    assert_eq!(
        actions,
        ["customers/1234567890/conversionActions/987654321", "customers/1234567890/conversionActions/987654322"]
    );
    assert_eq!(google.api(), Some(("google_ads", "v26")));
    assert_eq!(google.dedupe(&full()), crate::destinations::Dedupe::Always);
}
