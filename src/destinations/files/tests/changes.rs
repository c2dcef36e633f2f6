//! Refunds and restatements whose conversion is known.

use super::*;
use crate::model::Change;

fn adjustments(events: &[(&str, &str)]) -> Box<dyn Destination> {
    let mut common = common("purchase", "Offline purchase");
    common.events = events.iter().map(|(ours, theirs)| (name(ours), (*theirs).to_owned())).collect();
    let table = toml::toml! { format = "google_ads_adjustments" };
    build(common, table).unwrap_or_else(|problems| panic!("{problems:?}"))
}

fn adjusting() -> Box<dyn Destination> {
    let conversions = [("purchase", "Offline purchase"), ("generate_lead", "Lead, gold")];
    adjustments(&[&conversions[..], &[("refund", "adjust"), ("restatement", "adjust")]].concat())
}

fn name(text: &str) -> EventName {
    EventName::new(text).expect("valid")
}

fn amount(text: &str, currency: &str) -> Option<Money> {
    worth(purchase("x"), text, currency).money
}

/// A change of `original`, three days later.
fn change(what: &str, original: SealedEvent, worth: Option<Money>) -> SealedEvent {
    let mut event = super::worth(refund("1001", serde_json::json!({})), "12.50", "USD");
    event.name = name(what);
    event.time = at("2026-11-23T10:00:00Z");
    event.received_at = at("2026-11-23T10:00:02Z");
    event.change = Some(Box::new(Change { original, worth }));
    event
}

#[test]
fn a_change_becomes_the_row_of_its_conversion() {
    let sold = || worth(purchase("1001"), "49.90", "USD");
    let lead = SealedEvent { name: name("generate_lead"), transaction_id: None, ..sold() };
    let early = SealedEvent { time: at("2026-11-20T08:00:00Z"), ..change("refund", sold(), amount("0", "USD")) };
    let rows = [
        change("refund", sold(), amount("37.4", "USD")),
        change("refund", sold(), amount("0", "USD")),
        change("restatement", sold(), amount("60", "USD")),
        change("restatement", sold(), amount("0", "USD")),
        change("refund", lead, amount("4999", "JPY")),
        early,
    ];
    let expected = concat!(
        "Order ID,Conversion Name,Adjustment Time,Adjustment Type,Adjusted Value,Adjusted Value Currency\n",
        "1001,Offline purchase,2026-11-23 10:00:00+0000,RESTATE,37.40,USD\n",
        "1001,Offline purchase,2026-11-23 10:00:00+0000,RETRACT,,\n",
        "1001,Offline purchase,2026-11-23 10:00:00+0000,RESTATE,60.00,USD\n",
        "1001,Offline purchase,2026-11-23 10:00:00+0000,RESTATE,0.00,USD\n",
        "shop:purchase:1001,\"Lead, gold\",2026-11-23 10:00:00+0000,RESTATE,4999,JPY\n",
        "1001,Offline purchase,2026-11-20 08:15:01+0000,RETRACT,,\n",
    );
    assert_eq!(written(&*adjusting(), &rows), expected);
}

#[test]
fn what_we_know_of_the_conversion_counts_more_than_what_its_giver_says() {
    let mut event = change("refund", purchase("1001"), amount("37.40", "USD"));
    let said = serde_json::json!({"adjusted_value": "1"});
    event.properties = Properties::new(said.as_object().expect("an object")).expect("writable");
    let named = adjustments(&[("refund", "Offline purchase")]);
    let row = written(&*named, &[event]);
    assert!(row.ends_with("1001,Offline purchase,2026-11-23 10:00:00+0000,RESTATE,37.40,USD\n"), "{row}");
}

#[test]
fn a_change_waits_a_day_for_its_conversion_and_ends_with_it() {
    let destination = adjusting();
    let mut event = change("refund", purchase("1"), amount("1", "USD"));
    assert_eq!(destination.hold(&event), None);
    assert_eq!(destination.deadline(&event), at(SOLD).plus(days(54)));
    event.received_at = at("2026-11-20T09:00:00Z");
    assert_eq!(destination.hold(&event), Some((at("2026-11-21T08:15:00Z"), WaitReason::ConversionTooRecent)));
    event.change = None;
    assert_eq!(destination.hold(&event), None);
    assert_eq!(destination.deadline(&event), event.time.plus(days(54)));
    assert_eq!(destination.original(&event), Original::Elsewhere);
    assert_eq!(file("jsonl", "refund").original(&event), Original::Unneeded);
}

#[test]
fn a_change_without_its_conversion_has_no_name_unless_it_is_given_one() {
    let destination = adjusting();
    let lone = SealedEvent { change: None, ..change("refund", purchase("1"), None) };
    assert_eq!(code(destination.admit(&lone)), "no_original");
    let other = SealedEvent { name: name("sign_up"), ..purchase("1") };
    assert_eq!(code(destination.admit(&change("refund", other, amount("1", "USD")))), "no_original");
    assert_eq!(code(destination.admit(&change("refund", purchase("1"), None))), "worth_unknown");
    assert_eq!(code(destination.admit(&purchase("1"))), "unmapped", "the sale itself is in another file");

    let named = adjustments(&[("refund", "Offline purchase"), ("restatement", "Offline purchase")]);
    let restated = SealedEvent { change: None, ..change("restatement", purchase("1"), None) };
    assert!(written(&*named, std::slice::from_ref(&restated)).ends_with("RESTATE,12.50,USD\n"));
    assert_eq!(code(named.admit(&SealedEvent { money: None, ..restated })), "adjusted_value_unknown");
}

#[test]
fn a_format_without_changes_never_counts_one_as_a_conversion() {
    let problems = |format: &str, events: &[(&str, &str)]| {
        let mut common = common("purchase", "Sale");
        common.events.extend(events.iter().map(|(ours, theirs)| (name(ours), (*theirs).to_owned())));
        let table = [("format".to_owned(), format.into())].into_iter().collect();
        let problems = build(common, table).err().unwrap_or_default();
        problems.into_iter().map(|problem| problem.key).collect::<Vec<_>>()
    };
    for format in ["google_ads_clicks", "google_ads_leads", "data_manager", "microsoft"] {
        assert_eq!(problems(format, &[("refund", "Sale")]), ["events.refund"], "{format}");
        assert_eq!(problems(format, &[("refund", "adjust")]), ["events.refund"], "{format}");
        assert_eq!(problems(format, &[("restatement", "Restated")]), ["events.restatement"], "{format}");
        assert_eq!(problems(format, &[("refund", "Refund")]), Vec::<String>::new(), "{format}");
    }
    assert_eq!(problems("jsonl", &[("refund", "Sale"), ("restatement", "Sale")]), Vec::<String>::new());
    let alone = build(common("refund", "adjust"), toml::toml! { format = "google_ads_adjustments" });
    assert_eq!(alone.err().expect("nothing to adjust")[0].key, "events.refund");
}

#[test]
fn the_evidence_names_the_columns_that_are_filled() {
    let both = clicked(known(purchase("1")), ClickKind::Gclid, "Cj0", CLICK);
    let braid = clicked(known(purchase("1")), ClickKind::Wbraid, "Cj0", CLICK);
    let bing = clicked(purchase("1"), ClickKind::Msclkid, "f894", CLICK);
    let leads = ["Email", "Phone Number", "Google Click ID", "First Name, Last Name, Country, Zip"];
    for (format, event, columns) in [
        ("google_ads_clicks", &both, &leads[2..3]),
        ("google_ads_leads", &both, &leads[..]),
        ("google_ads_leads", &chose(both.clone(), Choice::Denied, Choice::Unknown), &leads[2..3]),
        ("google_ads_adjustments", &both, &["Order ID"]),
        ("data_manager", &both, &["gclid", "email_sha256", "phone_sha256"]),
        ("data_manager", &braid, &["wbraid"]),
        ("microsoft", &bing, &["Microsoft Click ID"]),
        ("jsonl", &both, &[]),
    ] {
        assert_eq!(file(format, "purchase").evidence(event), columns, "{format}");
    }
}
