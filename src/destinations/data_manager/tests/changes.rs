//! Refunds and restatements: the conversion once more, with another value.

use super::*;
use crate::model::Change;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn adjusting_with(more: &str) -> Box<dyn Destination> {
    let events = [("purchase", "987654321"), ("sign_up", "987654322"), ("refund", "adjust"), ("restatement", "adjust")];
    build_with(&format!("{TABLE}\n{more}"), &events)
}

/// A refund that comes five days later, without anything that tells who it is from.
fn refund(original: SealedEvent, worth: Option<Money>) -> SealedEvent {
    SealedEvent {
        name: name("refund"),
        event_id: EventId::new("refund-1001").expect("an id"),
        time: at("2026-11-25T10:00:00Z"),
        received_at: at("2026-11-25T10:00:01Z"),
        transaction_id: TransactionId::new("1001").ok(),
        money: money("12.5", "USD"),
        change: Some(Box::new(Change { original, worth })),
        ..event()
    }
}

#[test]
fn a_refund_sends_the_conversion_again_with_what_is_left_of_its_value() {
    let google = adjusting_with("");
    let refund = refund(full(), money("37.4", "USD"));
    assert_eq!(google.admit(&refund), Ok(()));
    let first = body(&*google, &[full()]);
    let mut again = body(&*google, &[refund]);
    let sent = again["events"][0].as_object_mut().expect("an event");
    assert_eq!(sent["conversionValue"], serde_json::json!(37.4));
    assert_eq!(sent["currency"], "USD");
    assert!(!sent.contains_key("cartData"), "what is left of the cart is not known");
    sent["conversionValue"] = first["events"][0]["conversionValue"].clone();
    sent.insert("cartData".into(), first["events"][0]["cartData"].clone());
    assert_eq!(again, first, "the same id, action, time, source, identifiers and consent");
}

#[test]
fn a_conversion_without_a_transaction_keeps_the_id_it_was_sent_with() {
    let original = SealedEvent { transaction_id: None, ..full() };
    let sent = body(&*adjusting_with(""), &[refund(original, money("1", "USD"))]);
    assert_eq!(sent["events"][0]["transactionId"], "order-1001");
}

#[test]
fn a_total_refund_leaves_a_conversion_of_no_value() {
    let sent = body(&*adjusting_with(""), &[refund(full(), money("0", "USD"))]);
    assert_eq!(sent["events"][0]["conversionValue"], serde_json::json!(0.0));
}

#[test]
fn changes_travel_with_conversions_to_the_action_of_what_they_change() {
    let lead = SealedEvent { name: name("sign_up"), ..full() };
    let mut restatement = refund(lead, money("80", "USD"));
    restatement.name = name("restatement");
    let sent = body(&*adjusting_with(""), &[full(), restatement]);
    assert_eq!(sent["events"][0]["destinationReferences"], serde_json::json!(["987654321"]));
    assert_eq!(sent["events"][1]["destinationReferences"], serde_json::json!(["987654322"]));
}

#[test]
fn what_google_cannot_have_is_never_adjusted_as_that_would_count_it_anew() {
    let google = adjusting_with("");
    let skip = |reason| Err(Unsendable::Skip(reason));
    let lone = SealedEvent { change: None, ..refund(full(), None) };
    assert_eq!(google.admit(&lone), skip(SkipReason::NoOriginal));
    let unmapped = refund(SealedEvent { name: name("add_to_cart"), ..full() }, money("1", "USD"));
    assert_eq!(google.admit(&unmapped), skip(SkipReason::NoOriginal));
    assert_eq!(google.admit(&refund(event(), money("1", "USD"))), skip(SkipReason::NoIdentifiers));
    let mut denied = refund(full(), money("1", "USD"));
    denied.consent.ad_user_data = Choice::Denied;
    assert_eq!(google.admit(&denied), skip(SkipReason::Consent), "a no that came with the refund");
    let mut original = full();
    original.consent.ad_user_data = Choice::Denied;
    assert_eq!(google.admit(&refund(original, money("1", "USD"))), skip(SkipReason::Consent));
    let Err(Unsendable::Reject(failure)) = google.admit(&refund(full(), None)) else { panic!("not rejected") };
    assert_eq!(failure.code, "worth_unknown");
}

#[test]
fn a_change_waits_until_google_knows_the_conversion_and_ends_with_it() {
    let mut young = refund(full(), money("1", "USD"));
    young.received_at = full().time.plus(Duration::from_secs(60));
    let until = full().time.plus(DAY);
    assert_eq!(adjusting_with("").hold(&young), Some((until, WaitReason::ConversionTooRecent)));
    assert_eq!(adjusting_with("hold_after_conversion = \"0s\"").hold(&young), None);
    let old = refund(full(), money("1", "USD"));
    let google = adjusting_with("");
    assert_eq!(google.hold(&old), None);
    assert_eq!(google.deadline(&old), full().time.plus(DAY * 54));
    let mut clicked_long_ago = full();
    clicked_long_ago.context.clicks = vec![seen(ClickKind::Gclid, "c", Some("2026-09-01T00:00:00Z"))];
    let late = refund(clicked_long_ago, money("1", "USD"));
    assert_eq!(google.deadline(&late), at("2026-11-30T00:00:00Z"), "the click's own window ends first");
    let unknown = SealedEvent { change: None, ..old };
    assert_eq!(google.hold(&unknown), None);
    assert_eq!(google.deadline(&unknown), unknown.time.plus(DAY * 54));
}

#[test]
fn the_operator_is_told_what_an_adjustment_does_not_do() {
    let google = adjusting_with("");
    let change = refund(full(), money("1", "USD"));
    assert!(google.note(&change).is_some_and(|note| note.contains("keeps its count")));
    assert!(google.note(&SealedEvent { change: None, ..change.clone() }).is_some(), "also as it is stored");
    assert_eq!(google.note(&full()), None);
    let own = build_with(TABLE, &[("purchase", "1"), ("refund", "2")]);
    assert_eq!(own.note(&change), None);
}

#[test]
fn a_refund_with_an_action_of_its_own_is_a_conversion_of_its_own() {
    let own = build_with(TABLE, &[("purchase", "1"), ("refund", "2")]);
    let mut change = refund(full(), money("37.4", "USD"));
    change.user.emails = vec![spelled("ada@example.com")];
    assert_eq!(own.admit(&change), Ok(()));
    assert_eq!(own.original(&change), Original::Unneeded);
    assert_eq!(adjusting_with("").original(&change), Original::Here);
    let sent = body(&*own, &[change.clone()]);
    assert_eq!(sent["destinations"][0]["productDestinationId"], "2");
    assert_eq!(sent["events"][0]["conversionValue"], serde_json::json!(12.5));
    assert_eq!(own.evidence(&change), ["emailAddress"]);
}

#[test]
fn the_evidence_names_what_the_request_holds() {
    let google = adjusting_with("");
    assert_eq!(google.evidence(&full()), ["gclid", "emailAddress", "phoneNumber", "address"]);
    let change = refund(full(), None);
    assert_eq!(google.evidence(&change), ["transactionId", "gclid", "emailAddress", "phoneNumber", "address"]);
    assert_eq!(google.evidence(&SealedEvent { change: None, ..change }), ["transactionId"]);
    let mut braid = full();
    braid.context.clicks = vec![seen(ClickKind::Gbraid, "b", None)];
    assert_eq!(google.evidence(&braid), ["gbraid"]);
    assert_eq!(google.evidence(&event()), Vec::<&str>::new());
}
