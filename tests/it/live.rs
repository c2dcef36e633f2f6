//! `conversion-relay check --live`, against the sandbox.

use std::process::{Command, Output};

use conversion_relay::sandbox::{Fault, FaultMode, Platform};

use crate::support::{Platforms, Setup};

const FILE: &str = r#"
[[destinations]]
name = "import-file"
kind = "file"
format = "google_ads_clicks"
[destinations.events]
purchase = "Offline purchase"
"#;

/// Runs it where it may take its time without holding up the sandbox.
async fn check(setup: &Setup, arguments: &'static [&'static str]) -> Output {
    let config = setup.config().to_owned();
    let run = move || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_conversion-relay"));
        command.arg("check").args(arguments).arg("--config").arg(config).output().expect("runs")
    };
    tokio::task::spawn_blocking(run).await.expect("ends")
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_platform_is_asked_and_nothing_counts() {
    let platforms = Platforms::start().await;
    let setup = Setup::new(&(platforms.destinations() + FILE));
    let output = check(&setup, &["--live"]).await;
    let told = text(&output);
    assert!(output.status.success(), "{told}");
    for line in ["meta: works:", "google: works:", "import-file: nobody to ask", "all is well"] {
        assert!(told.contains(line), "{line}: {told}");
    }
    let stats = platforms.sandbox.stats();
    assert_eq!((stats.meta.accepted, stats.data_manager.accepted), (0, 0), "nothing is taken");
    assert_eq!((stats.meta.requests, stats.data_manager.requests), (1, 1));
    assert!(!setup.data().exists(), "nothing is stored");

    let output = check(&setup, &[]).await;
    assert!(output.status.success() && !text(&output).contains("asking"), "{}", text(&output));
    assert_eq!(platforms.sandbox.stats(), stats, "without --live nobody is asked");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_test_event_code_sends_one_event_that_is_obviously_not_real() {
    let platforms = Platforms::start().await;
    let with_code = platforms.destinations().replace("access_token =", "test_event_code = \"TEST1\"\naccess_token =");
    let setup = Setup::new(&with_code);
    let output = check(&setup, &["--live"]).await;
    assert!(output.status.success(), "{}", text(&output));
    assert!(text(&output).contains("counts like any other"), "{}", text(&output));
    let received = platforms.sandbox.received_meta();
    assert_eq!(received.len(), 1);
    assert_eq!(received[0]["event"]["event_name"], "Lead", "no sale where there is a choice");
    assert!(received[0]["event"]["event_id"].as_str().expect("an id").starts_with("check-live-"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_told_for_each_and_no_secret_with_it() {
    let platforms = Platforms::start().await;
    let expired = platforms.destinations().replace("\"test-token\"", "\"expired\"");
    platforms.sandbox.set_fault(Platform::Oauth, Fault::new(FaultMode::ExpiredToken));
    let output = check(&Setup::new(&expired), &["--live"]).await;
    let told = text(&output);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("meta: to fix:") && told.contains("190/463") && told.contains("new access token"), "{told}");
    assert!(told.contains("google: to fix:") && told.contains("invalid_grant"), "{told}");

    let secret = "EAAB-a-token-that-nobody-may-see-0123456789";
    let unreachable =
        platforms.destinations().replace("test-token", secret).replace(&platforms.url, "http://127.0.0.1:1");
    let output = check(&Setup::new(&unreachable), &["--live"]).await;
    let told = text(&output);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("meta: to fix:") && told.contains("google: to fix:") && told.contains("base_url"), "{told}");
    assert!(!told.contains(secret), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_platform_that_repeats_the_token_does_not_bring_it_to_the_screen() {
    const SECRET: &str = "no-shape-that-anybody-knows-1";
    let meta = wiremock::MockServer::start().await;
    let error = serde_json::json!({ "error": { "code": 190, "message": format!("Malformed access token {SECRET}") } });
    let answer = wiremock::ResponseTemplate::new(400).set_body_json(error);
    wiremock::Mock::given(wiremock::matchers::any()).respond_with(answer).mount(&meta).await;
    let destination = format!(
        "[[destinations]]\nname = \"meta\"\nkind = \"meta\"\npixel_id = \"1\"\naccess_token = \"{SECRET}\"\n\
         base_url = \"{}\"\n[destinations.events]\npurchase = \"Purchase\"\n",
        meta.uri()
    );
    let output = check(&Setup::new(&destination), &["--live"]).await;
    let told = text(&output);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("Malformed access token (credential)") && !told.contains(SECRET), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_nobody_knows_is_warned_of() {
    let platforms = Platforms::start().await;
    let future = platforms.destinations().replace("access_token =", "api_version = \"v99.0\"\naccess_token =");
    let output = check(&Setup::new(&future), &[]).await;
    let told = text(&output);
    assert!(output.status.success(), "{told}");
    assert!(told.contains("meta_graph v99.0 is not known"), "{told}");
    assert!(!told.contains("data_manager v1 "), "{told}");
}
