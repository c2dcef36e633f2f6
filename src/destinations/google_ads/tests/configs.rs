//! The configuration: what it takes, and that all that is wrong is said at once.

use super::*;
use crate::destinations::Rate;
use crate::destinations::{GoogleAuth, google_ads::config};

fn keys_of(table: &str, events: &[(&str, &str)]) -> Vec<String> {
    match build(common(events), table.parse().expect("TOML")) {
        Ok(_) => panic!("taken: {table}"),
        Err(problems) => problems.into_iter().map(|problem| problem.key).collect(),
    }
}

fn auth_of(table: &str) -> GoogleAuth {
    let read = config::read(common(&EVENTS).events, table.parse().expect("TOML"));
    read.unwrap_or_else(|problems| panic!("{problems:?}")).1
}

#[test]
fn defaults_are_documented_values() {
    let google = google();
    let profile = google.profile();
    assert_eq!((profile.batch_max, profile.timeout), (2000, Duration::from_secs(30)));
    let day = Duration::from_secs(86_400);
    assert_eq!(profile.rate, Some(Rate { requests: 15_000, per: day }));
    assert_eq!(profile.headers, ["request-id"]);
    let auth = auth_of(TABLE);
    assert_eq!(auth.token_url, "https://oauth2.googleapis.com/token");
    assert_eq!(auth.scope, "https://www.googleapis.com/auth/adwords");
}

#[test]
fn every_setting_is_taken() {
    let table = format!(
        "{TABLE}
        login_customer_id = \"1112223333\"
        base_url = \"http://127.0.0.1:9000/\"
        token_url = \"http://127.0.0.1:9001/token\"
        api_version = \"v25\"
        batch = 10
        requests_per_day = 2880
        timeout = \"5s\"
        merchant_id = \"1\"
        feed_country = \"US\"
        feed_language = \"en\""
    );
    let google = build_with(&table, &EVENTS);
    let profile = google.profile();
    assert_eq!((profile.batch_max, profile.timeout), (10, Duration::from_secs(5)));
    assert_eq!(profile.rate.map(|rate| rate.requests), Some(2880));
    let url = http(google.prepare(&[full()])).url;
    assert_eq!(url, "http://127.0.0.1:9000/v25/customers/1234567890:uploadClickConversions");
    assert_eq!(auth_of(&table).token_url, "http://127.0.0.1:9001/token");
}

#[test]
fn all_problems_are_said_at_once() {
    let table = r#"
        customer_id = "123-45-67890"
        login_customer_id = 1112223333
        base_url = "googleads.googleapis.com"
        token_url = "https://user:pass@example.com/token?key=1"
        api_version = "26"
        batch = 2001
        requests_per_day = 0
        timeout = "soon"
        feed_country = "us"
        feed_language = "english"
        developer_token = "x"
        credentials = { client_id = "", refresh_token = "token" }
    "#;
    let events = [("purchase", "Purchase"), ("refund", "987"), ("sign_up", "adjust"), ("generate_lead", "1")];
    let mut keys = keys_of(table, &events);
    keys.sort();
    keys.dedup();
    assert_eq!(
        keys,
        [
            "api_version",
            "base_url",
            "batch",
            "credentials.client_id",
            "credentials.client_secret",
            "customer_id",
            "developer_token",
            "events.purchase",
            "events.refund",
            "events.sign_up",
            "feed_country",
            "feed_language",
            "login_customer_id",
            "requests_per_day",
            "timeout",
            "token_url",
        ]
    );
    assert_eq!(keys_of("", &[]), ["customer_id", "credentials"]);
}

#[test]
fn there_has_to_be_something_to_adjust() {
    assert_eq!(keys_of(TABLE, &[("refund", "adjust")]), ["events"]);
    build_with(TABLE, &[("purchase", "1")]);
}
