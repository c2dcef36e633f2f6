use rust_decimal::Decimal;

use super::*;
use crate::{
    destinations::{GoogleCredentials, REGISTRY},
    model::{
        ActionSource, Attribution, ClickId, ClickKind, Consent, Context, Currency, DestinationName, Digest, EventId,
        EventName, Failure, Item, Money, Properties, SealedUser, Sensitive, SourceName, Spelled, TransactionId,
        parse_decimal,
    },
};

mod answers;
mod changes;
mod configs;
mod diagnostics;

const TABLE: &str = r#"
    operating_account = "123-456-7890"
    credentials = { client_id = "id", client_secret = "secret", refresh_token = "token" }
"#;

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
    build_with(TABLE, &[("purchase", "987654321"), ("sign_up", "987654322")])
}

/// An event that nobody can be matched by.
fn event() -> SealedEvent {
    SealedEvent {
        source: SourceName::new("shop").expect("a name"),
        name: name("purchase"),
        event_id: EventId::new("order-1001").expect("an id"),
        time: at("2026-11-20T08:15:00Z"),
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

/// An event with everything.
fn full() -> SealedEvent {
    let mut event = clicked(vec![seen(ClickKind::Gclid, "EAIaIQobChMI-x_Y", Some("2026-11-19T20:00:00.250Z"))]);
    event.transaction_id = TransactionId::new("1001").ok();
    event.money = money("49.9", "USD");
    event.items = vec![item("sku-1", Some("2"), Some("12.50")), item("sku-2", None, None)];
    event.user.emails = vec![spelled("ada@example.com"), spelled("ada@example.com"), spelled("ada@work.example")];
    event.user.phones = vec![spelled("+16505551212"), Spelled::default()];
    event.user.first_name = spelled("ada");
    event.user.last_name = spelled("lovelace");
    event.user.country_code = Some(Sensitive::new("GB".into()));
    event.user.postal_code_clear = Some(Sensitive::new("W1".into()));
    event.consent = Consent { ad_user_data: Choice::Granted, ad_personalization: Choice::Denied };
    event
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

#[test]
fn it_is_in_the_registry() {
    assert!(REGISTRY.iter().any(|kind| kind.kind == "data_manager"));
}

#[test]
fn a_full_event_becomes_exactly_the_documented_request() {
    let table = format!(
        "{TABLE}
        login_account = \"1112223333\"
        user_project = \"my-project\"
        merchant_id = \"5551\"
        feed_label = \"GB\"
        feed_language = \"en\""
    );
    let google = build_with(&table, &[("purchase", "987654321"), ("sign_up", "987654322")]);
    let request = http(google.prepare(&[full()]));
    assert_eq!(request.url, "https://datamanager.googleapis.com/v1/events:ingest");
    assert_eq!(request.headers, [("x-goog-user-project", "my-project".to_owned())]);
    let sent = String::from_utf8(request.body.to_vec()).expect("text");
    assert_eq!(sent, compact(include_str!("fixtures/full.json")));
}

#[test]
fn events_of_several_actions_name_their_destination() {
    let mut lead = event();
    lead.name = name("sign_up");
    lead.action_source = ActionSource::PhoneCall;
    lead.user.emails = vec![spelled("ada@example.com")];
    let mut braid = clicked(vec![seen(ClickKind::Wbraid, "Cj0", None)]);
    braid.money = money("0.000000000001", "EUR");
    braid.user.emails = vec![spelled("ada@example.com")];
    braid.items = vec![item("sku-1", Some("2"), None)];
    let request = http(google().prepare(&[lead, braid]));
    assert!(request.headers.is_empty());
    let sent = String::from_utf8(request.body.to_vec()).expect("text");
    assert_eq!(sent, compact(include_str!("fixtures/two_actions.json")));
}

#[test]
fn the_source_of_an_event_has_googles_word() {
    for (source, word) in [
        (ActionSource::Website, "WEB"),
        (ActionSource::App, "APP"),
        (ActionSource::PhysicalStore, "IN_STORE"),
        (ActionSource::PhoneCall, "PHONE"),
        (ActionSource::Chat, "MESSAGE"),
        (ActionSource::Email, "MESSAGE"),
        (ActionSource::SystemGenerated, "OTHER"),
        (ActionSource::Other, "OTHER"),
    ] {
        let event = SealedEvent { action_source: source, ..full() };
        assert_eq!(body(&*google(), &[event])["events"][0]["eventSource"], word);
    }
}

#[test]
fn consent_is_stated_only_where_it_is_known() {
    let sent = |ad_user_data, ad_personalization| {
        let event = SealedEvent { consent: Consent { ad_user_data, ad_personalization }, ..full() };
        body(&*google(), &[event])["events"][0].clone()
    };
    assert!(sent(Choice::Unknown, Choice::Unknown).get("consent").is_none());
    let half = sent(Choice::Unknown, Choice::Denied);
    assert_eq!(half["consent"], serde_json::json!({ "adPersonalization": "CONSENT_DENIED" }));
    let denied = sent(Choice::Denied, Choice::Unknown);
    assert_eq!(denied["consent"], serde_json::json!({ "adUserData": "CONSENT_DENIED" }));
    assert!(denied.get("userData").is_none());
}

#[test]
fn a_cart_that_cannot_be_told_exactly_is_left_out() {
    for (item, kept) in [
        (item("sku", Some("1.5"), None), false),
        (item("sku", Some("99999999999999999999"), None), false),
        (Item { id: None, ..item("", Some("1"), None) }, false),
        (item("", Some("1"), None), false),
        (item("sku", Some("3.0"), Some("-0.10")), true),
    ] {
        let event = SealedEvent { items: vec![item], ..full() };
        let cart = body(&*google(), &[event])["events"][0]["cartData"].clone();
        assert_eq!(!cart.is_null(), kept, "{cart}");
    }
}

#[test]
fn at_most_ten_identifiers_are_sent_and_the_address_is_one_of_them() {
    let mut event = full();
    event.user.emails = (0..12).map(|i| spelled(&format!("{i}@example.com"))).collect();
    let sent = body(&*google(), std::slice::from_ref(&event));
    let list = sent["events"][0]["userData"]["userIdentifiers"].as_array().expect("a list").clone();
    assert_eq!(list.len(), 10);
    assert!(list[9].get("address").is_some());

    event.user.emails.clear();
    event.user.phones.clear();
    event.user.postal_code_clear = None;
    let sent = body(&*google(), &[event]);
    assert!(sent["events"][0].get("userData").is_none() && sent.get("encoding").is_none(), "half an address is none");
}

#[test]
fn one_click_is_chosen() {
    use ClickKind::{Dclid, Fbclid, Gbraid, Gclid, Wbraid};
    let (old, new) = (Some("2026-11-01T00:00:00Z"), Some("2026-11-10T00:00:00Z"));
    let limit = Some("2026-08-22T08:15:02.001Z");
    for (clicks, chosen) in [
        (vec![], None),
        (vec![seen(Fbclid, "f", new), seen(Dclid, "d", new)], None),
        (vec![seen(Gclid, "", new), seen(Gclid, "{gclid}", new)], None),
        (vec![seen(Gclid, "a", old), seen(Gclid, "b", new)], Some("b")),
        (vec![seen(Gbraid, "new", new), seen(Gclid, "old", old)], Some("new")),
        (vec![seen(Gclid, "stored", new), seen(Wbraid, "given", None)], Some("given")),
        (vec![seen(Gbraid, "g", new), seen(Gclid, "c", new), seen(Wbraid, "w", new)], Some("c")),
        (vec![seen(Wbraid, "w", new), seen(Gbraid, "g", new)], Some("w")),
        (vec![seen(Wbraid, "w", None), seen(Gclid, "c", None)], Some("c")),
        (vec![seen(Gclid, "nearly-90-days", limit)], Some("nearly-90-days")),
        (vec![seen(Gclid, "90-days-when-the-event-came", Some("2026-08-22T08:15:02Z"))], None),
        (vec![seen(Gclid, "after-the-event", Some("2026-11-20T09:00:00Z"))], Some("after-the-event")),
    ] {
        let event = clicked(clicks);
        assert_eq!(identifiers::click(&event).map(|click| click.value.as_str()), chosen, "{:?}", event.context.clicks);
    }
}

#[test]
fn an_event_that_comes_after_its_clicks_window_goes_by_contact_details() {
    let mut late = clicked(vec![seen(ClickKind::Gclid, "c", Some("2026-08-25T00:00:00Z"))]);
    late.received_at = at("2026-11-25T00:00:00Z");
    late.user.emails = vec![spelled("ada@example.com")];
    assert_eq!(google().evidence(&late), ["emailAddress"]);
    assert_eq!(google().deadline(&late), at("2027-01-22T08:15:00Z"), "and does not end with the click");
}

#[test]
fn clocks_that_disagree_cost_no_conversion() {
    let sent_at = |event: SealedEvent| body(&*google(), &[event])["events"][0]["eventTimestamp"].clone();
    let ahead = SealedEvent { time: at("2026-11-20T08:24:00Z"), ..full() };
    assert_eq!(sent_at(ahead), "2026-11-20T08:15:02Z", "as of its arrival");
    let after = |clicked_at| clicked(vec![seen(ClickKind::Gclid, "c", Some(clicked_at))]);
    assert_eq!(sent_at(after("2026-11-20T08:15:00Z")), "2026-11-20T08:15:01Z");
    assert_eq!(sent_at(after("2026-11-20T08:25:00Z")), "2026-11-20T08:25:01Z", "the shop's clock is behind");
    assert_eq!(sent_at(after("2026-11-20T08:25:00.001Z")), "2026-11-20T08:15:00Z", "no clock is that wrong");
    assert_eq!(sent_at(after("2026-11-20T08:14:59.999Z")), "2026-11-20T08:15:00Z");
}

#[test]
fn a_young_click_is_held_back() {
    let held = |first_seen, hold| {
        let event = clicked(vec![seen(ClickKind::Gclid, "c", first_seen)]);
        let common = Common { hold_after_click: hold, ..common(&[("purchase", "1")]) };
        let google = build(common, TABLE.parse().expect("TOML")).unwrap_or_else(|problems| panic!("{problems:?}"));
        google.hold(&event)
    };
    let until = |text| Some((at(text), WaitReason::ClickTooRecent));
    assert_eq!(held(Some("2026-11-20T08:00:00Z"), None), until("2026-11-20T14:00:00Z"));
    assert_eq!(held(Some("2026-11-20T08:00:00Z"), Some(Duration::from_secs(3600))), until("2026-11-20T09:00:00Z"));
    assert_eq!(held(Some("2026-11-20T08:00:00Z"), Some(Duration::ZERO)), None);
    assert_eq!(held(Some("2026-11-20T02:00:00Z"), None), None, "old enough when the event came");
    assert_eq!(held(None, None), None, "nobody knows when it was");
    assert_eq!(google().hold(&event()), None);
}

#[test]
fn the_deadline_is_that_of_the_click_else_of_contact_details() {
    let deadline = |clicks| google().deadline(&clicked(clicks)).to_string();
    let click = |first_seen| vec![seen(ClickKind::Gclid, "c", first_seen)];
    assert_eq!(deadline(click(Some("2026-11-01T00:00:00Z"))), "2027-01-30T00:00:00Z");
    assert_eq!(deadline(click(None)), "2027-02-18T08:15:00Z");
    assert_eq!(deadline(vec![]), "2027-01-22T08:15:00Z");
    assert_eq!(
        deadline(click(Some("2026-08-01T00:00:00Z"))),
        "2027-01-22T08:15:00Z",
        "a stale click counts for nothing"
    );
}

#[test]
fn what_can_not_be_matched_or_may_not_be_sent_is_not_admitted() {
    let google = google();
    let skip = |reason| Err(Unsendable::Skip(reason));
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
