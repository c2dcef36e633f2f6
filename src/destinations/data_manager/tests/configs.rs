//! The configuration: what it takes, and that all that is wrong is said at once.

use super::*;
use crate::destinations::{GoogleAuth, data_manager::config};

const KEY: &str = include_str!("../../../delivery/fixtures/test_only_key.pem");

fn problems_of(table: &str, events: &[(&str, &str)]) -> Vec<(String, String)> {
    match build(common(events), table.parse().expect("TOML")) {
        Ok(_) => panic!("taken: {table}"),
        Err(problems) => problems.into_iter().map(|problem| (problem.key, problem.message)).collect(),
    }
}

fn keys_of(table: &str, events: &[(&str, &str)]) -> Vec<String> {
    problems_of(table, events).into_iter().map(|(key, _)| key).collect()
}

fn auth_of(table: &str) -> GoogleAuth {
    let read = config::read(common(&[("purchase", "1")]).events, table.parse().expect("TOML"));
    read.unwrap_or_else(|problems| panic!("{problems:?}")).1
}

#[test]
fn defaults_are_documented_values() {
    let google = google();
    let profile = google.profile();
    assert_eq!((profile.batch_max, profile.timeout), (500, Duration::from_secs(30)));
    let auth = auth_of(TABLE);
    assert_eq!(auth.token_url, "https://oauth2.googleapis.com/token");
    assert_eq!(auth.scope, "https://www.googleapis.com/auth/datamanager");
    assert!(matches!(auth.credentials, GoogleCredentials::Refresh { client_id, .. } if client_id == "id"));
}

#[test]
fn every_setting_is_taken() {
    let table = format!(
        "{TABLE}
        account_type = \"GOOGLE_ADS\"
        base_url = \"http://127.0.0.1:9000/\"
        token_url = \"http://127.0.0.1:9001/token\"
        batch = 2000
        timeout = \"5s\""
    );
    let google = build_with(&table, &[("purchase", "1")]);
    assert_eq!((google.profile().batch_max, google.profile().timeout), (2000, Duration::from_secs(5)));
    assert_eq!(http(google.prepare(&[full()])).url, "http://127.0.0.1:9000/v1/events:ingest");
    assert_eq!(auth_of(&table).token_url, "http://127.0.0.1:9001/token");
    assert!(!format!("{:?}", google.profile()).contains("\"secret\""), "no secret is printed");
}

#[test]
fn all_problems_are_said_at_once() {
    let table = r#"
        operating_account = "123-45-67890"
        login_account = 1112223333
        account_type = "FLOODLIGHT_CONFIG"
        user_project = "my project"
        base_url = "datamanager.googleapis.com"
        token_url = "https://user:pass@example.com/token?key=1"
        batch = 2001
        timeout = "soon"
        merchant_id = "shop"
        feed_label = "a label"
        feed_language = "english"
        acces_token = "x"
        credentials = { client_id = "", refresh_token = "token", scope = "x" }
    "#;
    let mut keys = keys_of(table, &[("purchase", "Purchase"), ("sign_up", "1")]);
    keys.sort();
    assert_eq!(
        keys,
        [
            "acces_token",
            "account_type",
            "base_url",
            "batch",
            "credentials.client_id",
            "credentials.client_secret",
            "credentials.scope",
            "events.purchase",
            "feed_label",
            "feed_language",
            "login_account",
            "merchant_id",
            "operating_account",
            "timeout",
            "token_url",
            "user_project",
        ]
    );
    assert_eq!(keys_of("", &[]), ["operating_account", "credentials"]);
}

#[test]
fn a_problem_says_what_would_be_right() {
    let table = TABLE.replace("\"123-456-7890\"", "1234567890");
    let expected = [("operating_account".to_owned(), "must be a text in quotes, not a number".to_owned())];
    assert_eq!(problems_of(&table, &[("purchase", "1")]), expected);
    let both = "operating_account = \"1234567890\"
        credentials = { client_id = \"id\", service_account_file = \"key.json\" }";
    let told = problems_of(both, &[("purchase", "1")]);
    assert_eq!((told[0].0.as_str(), &told[0].1[..16]), ("credentials.client_id", "must be left out"));
    assert_eq!(keys_of("operating_account = \"1\"\ncredentials = \"x\"", &[("purchase", "1")]), ["credentials"]);
}

#[test]
fn more_actions_than_a_request_can_name_are_refused() {
    let events: Vec<_> = (0..11).map(|i| (format!("event_{i}"), format!("{i}"))).collect();
    let events: Vec<_> = events.iter().map(|(event, action)| (event.as_str(), action.as_str())).collect();
    let problems = problems_of(TABLE, &events);
    assert!(matches!(&problems[..], [(key, message)] if key == "events" && message.contains("at most 10")));
    assert_eq!(google().profile().batch_max, 500);
    let same: Vec<_> = events.iter().map(|(event, _)| (*event, "1")).collect();
    build_with(TABLE, &same);
}

#[test]
fn a_refund_may_not_overwrite_the_sale() {
    assert_eq!(keys_of(TABLE, &[("purchase", "1"), ("refund", "1")]), ["events.refund"]);
    build_with(TABLE, &[("purchase", "1"), ("refund", "2")]);
}

#[test]
fn changes_are_opted_into_with_a_word_of_their_own() {
    build_with(TABLE, &[("purchase", "1"), ("refund", "adjust"), ("restatement", "adjust")]);
    assert_eq!(keys_of(TABLE, &[("purchase", "adjust")]), ["events.purchase"]);
    assert_eq!(keys_of(TABLE, &[("purchase", "1"), ("restatement", "2")]), ["events.restatement"]);
    assert_eq!(keys_of(TABLE, &[("refund", "adjust")]), ["events.refund"], "there is nothing to adjust");
    assert!(problems_of(TABLE, &[("refund", "Refund")])[0].1.contains("\"adjust\""));
    let late = format!("{TABLE}\nhold_after_conversion = \"31d\"");
    assert_eq!(keys_of(&late, &[("purchase", "1")]), ["hold_after_conversion"]);
}

#[test]
fn a_key_file_is_read_and_its_token_endpoint_gives_way_to_a_configured_one() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("key.json");
    let table =
        |more: &str| format!("operating_account = \"1\"\ncredentials = {{ service_account_file = {path:?} }}\n{more}");
    let write = |json: serde_json::Value| std::fs::write(&path, json.to_string()).expect("written");
    let mut file = serde_json::json!({
        "type": "service_account", "client_email": "relay@project.iam.gserviceaccount.com", "private_key_id": "k1",
        "private_key": KEY, "token_uri": "https://file.example/token", "project_id": "project",
    });
    write(file.clone());
    let auth = auth_of(&table(""));
    assert_eq!(auth.token_url, "https://file.example/token");
    assert!(
        matches!(auth.credentials, GoogleCredentials::ServiceAccount { private_key_id, .. } if private_key_id == "k1")
    );
    assert_eq!(auth_of(&table("token_url = \"https://mine.example/t\"")).token_url, "https://mine.example/t");

    let one_problem = |word: &str| {
        let problems = problems_of(&table(""), &[("purchase", "1")]);
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert_eq!(problems[0].0, "credentials.service_account_file");
        assert!(problems[0].1.contains(word), "{problems:?}");
        for secret in ["top secret", "key.json"] {
            assert!(!problems[0].1.contains(secret), "{problems:?}");
        }
    };
    file["private_key"] = "top secret".into();
    write(file.clone());
    one_problem("PEM");
    file["type"] = "authorized_user".into();
    write(file.clone());
    one_problem("another type");
    file["private_key_id"] = 7.into();
    write(file);
    one_problem("private_key_id");
    std::fs::remove_file(&path).expect("removed");
    one_problem("cannot be read");
}
