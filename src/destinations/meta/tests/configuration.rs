//! What can be configured, and what is said about mistakes.

use super::*;

#[test]
fn what_is_not_configured_has_metas_limits() {
    let meta = meta();
    assert_eq!(meta.url, "https://graph.facebook.com/v26.0/1234567890/events");
    assert_eq!((meta.profile.batch_max, meta.profile.timeout), (1000, Duration::from_secs(10)));
    let meta = built("batch = 50\ntimeout = \"1500ms\"").expect("valid");
    assert_eq!((meta.profile.batch_max, meta.profile.timeout), (50, Duration::from_millis(1500)));
}

#[test]
fn everything_wrong_with_a_table_is_said_at_once() {
    let table = r#"
        pixel_id = 1234567890
        acces_token = "EAAtoken"
        base_url = "graph.facebook.com"
        api_version = "26"
        test_event_code = ""
        batch = 1001
        timeout = "10"
        partner_agent = 5
        ldu = { country = 1, province = 1000 }
    "#;
    let Err(problems) = build(common(), table.parse().expect("TOML")) else { panic!("accepted") };
    let mut keys: Vec<_> = problems.iter().map(|problem| problem.key.as_str()).collect();
    keys.sort_unstable();
    assert_eq!(
        keys,
        [
            "acces_token",
            "access_token",
            "api_version",
            "base_url",
            "batch",
            "ldu.province",
            "ldu.state",
            "partner_agent",
            "pixel_id",
            "test_event_code",
            "timeout",
        ]
    );
    for Problem { key, message } in &problems {
        let says = ["must be", "must not be", "is missing: ", "known: pixel_id, ", "known: country, "];
        assert!(says.iter().any(|words| message.contains(words)), "{key} {message}");
        assert!(!message.contains("EAAtoken"), "{message}");
    }
}
