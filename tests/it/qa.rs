//! `conversion-relay links qa` against links, sites and an admin listener of the test's own, so that each can be broken.

use std::process::Command;

use serde_json::{Value, json};
use wiremock::{
    Mock, MockServer, Request, ResponseTemplate,
    matchers::{method, path},
};

/// A page that loads the tag.
const PAGE: &str = "<!doctype html><link rel=canonical href='/mugs'><script src='/t.js' async></script>";

/// One server is the admin listener, one the relay's public listener, one the shop.
struct Stage {
    admin: MockServer,
    relay: MockServer,
    shop: MockServer,
}

impl Stage {
    /// Everything as it should be.
    async fn new() -> Self {
        let stage = Self {
            admin: MockServer::builder().start().await,
            relay: MockServer::builder().start().await,
            shop: MockServer::builder().start().await,
        };
        let qa = json!({ "settings": { "tag_path": "/t.js", "utm": "keep" } });
        answer(&stage.admin, "GET", "/v1/qa", 5, ResponseTemplate::new(200).set_body_json(qa)).await;
        answer(&stage.admin, "POST", "/v1/links/mugs/qa", 5, ResponseTemplate::new(200).set_body_json(json!({}))).await;
        let link = ResponseTemplate::new(200).set_body_json(stage.link());
        answer(&stage.admin, "GET", "/v1/links/mugs", 5, link).await;
        stage.redirects(|to| to).await;
        answer(&stage.shop, "GET", "/mugs", 5, ResponseTemplate::new(200).set_body_raw(PAGE, "text/html")).await;
        stage
    }

    fn link(&self) -> Value {
        json!({
            "slug": "mugs", "url": format!("{}/l/mugs", self.relay.uri()), "state": "live", "placement": "bio",
            "destination": format!("{}/mugs", self.shop.uri()), "utm": { "source": "instagram" },
            "goal": "purchase", "goal_last_seen": "2999-01-01T00:00:00Z",
        })
    }

    /// The relay redirects as it does, or as `change` makes it.
    async fn redirects(&self, change: impl Fn(String) -> String + Send + Sync + 'static) {
        let shop = self.shop.uri();
        let redirect = move |request: &Request| {
            let query = request.url.query().unwrap_or_default().split('&').filter(|piece| !piece.starts_with("cr_qa="));
            let query = query.collect::<Vec<_>>().join("&");
            let to = change(format!("{shop}/mugs?utm_source=instagram&{query}"));
            ResponseTemplate::new(302)
                .insert_header("location", to.as_str())
                .insert_header("cache-control", "private, no-store")
                .insert_header("x-request-id", "0123456789abcdef")
        };
        Mock::given(path("/l/mugs")).respond_with(redirect).with_priority(1).mount(&self.relay).await;
    }

    /// Whether it exited with 0, and what it said.
    async fn run(&self, more: &[&str]) -> (bool, Value) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_conversion-relay"));
        command.args(["links", "qa", "--rate", "1000", "--json", "--url", &self.admin.uri()]).args(more);
        let output =
            command.env("RELAY_QA_TOKEN", "test-token").env_remove("RELAY_ADMIN_TOKEN").output().expect("runs");
        let told = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
        assert!(!told.is_null(), "{}", String::from_utf8_lossy(&output.stderr));
        (output.status.success(), told)
    }
}

async fn answer(server: &MockServer, verb: &str, at: &str, priority: u8, answer: ResponseTemplate) {
    Mock::given(method(verb)).and(path(at)).respond_with(answer).with_priority(priority).mount(server).await;
}

/// The steps that did not pass, as `fail utm: …`, each once.
fn wrong(told: &Value) -> Vec<String> {
    let results = told["links"][0]["results"].as_array().expect("results");
    let wrong = results.iter().filter(|found| found["result"] != "pass");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut lines: Vec<String> = wrong
        .map(|found| format!("{} {}: {}", text(&found["result"]), text(&found["step"]), text(&found["note"])))
        .collect();
    lines.dedup();
    lines.sort();
    lines.dedup();
    lines
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sound_link_passes_as_every_browser_and_counts_as_a_test() {
    let stage = Stage::new().await;
    let (well, told) = stage.run(&["mugs"]).await;
    assert!(well, "{told}");
    assert_eq!(wrong(&told), [""; 0]);
    assert_eq!((&told["links"][0]["placement"], &told["failed"]), (&json!("bio"), &json!(0)));
    let asked = stage.relay.received_requests().await.expect("recorded");
    assert_eq!(asked.len(), 10, "GET and HEAD as five browsers");
    assert!(asked.iter().all(|request| request.url.query().is_some_and(|query| query.ends_with("cr_qa=test-token"))));
    let agents: std::collections::BTreeSet<String> =
        asked.iter().map(|request| request.headers["user-agent"].to_str().expect("is text").to_owned()).collect();
    assert_eq!(agents.len(), 5);
    assert!(agents.iter().any(|agent| agent.contains("Instagram")) && !agents.iter().any(|agent| agent.contains("QA")));
    assert!(asked.iter().all(|request| !request.headers.contains_key("cookie")));
    let stored = stage.admin.received_requests().await.expect("recorded");
    let stored = stored.iter().find(|request| request.method.as_str() == "POST").expect("stored");
    let stored: Value = serde_json::from_slice(&stored.body).expect("is JSON");
    assert_eq!(stored["results"].as_array().map(Vec::len), Some(5 * 7 + 1));
    assert!(!told.to_string().contains("test-token") && !stored.to_string().contains("test-token"));
}

#[tokio::test(flavor = "multi_thread")]
async fn each_defect_is_named_and_fails() {
    type Change = fn(String) -> String;
    let defects: [(&str, Change); 4] = [
        ("fail click ids: gclid does not arrive as it was, already behind the link; fbclid", |to| to.to_lowercase()),
        ("fail utm: utm_source is missing, already behind the link", |to| to.replace("utm_source=instagram&", "")),
        ("fail utm: utm_source is there 2 times", |to| format!("{to}&utm_source=instagram")),
        ("fail destination: redirects elsewhere", |to| to.replace("/mugs", "/")),
    ];
    for (expected, change) in defects {
        let stage = Stage::new().await;
        stage.relay.reset().await;
        stage.redirects(change).await;
        let (well, told) = stage.run(&["mugs"]).await;
        let found = wrong(&told);
        assert!(!well && found.iter().any(|line| line.starts_with(expected)), "{expected}: {found:?}");
    }
    let pages = [
        ("fail destination: 127.0.0.1/mugs answers 404", ResponseTemplate::new(404)),
        ("fail tag: no tag", ResponseTemplate::new(200).set_body_raw("<p>hello", "text/html")),
        ("fail chain: goes round", ResponseTemplate::new(301).insert_header("location", "/mugs")),
    ];
    for (expected, page) in pages {
        let stage = Stage::new().await;
        answer(&stage.shop, "GET", "/mugs", 1, page).await;
        let (well, told) = stage.run(&["mugs", "--no-record"]).await;
        let found = wrong(&told);
        // A redirect to itself without the query is one hop before it goes round.
        assert!(!well && found.iter().any(|line| line.starts_with(expected)), "{expected}: {found:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tag_is_found_under_a_neutral_name_and_a_hop_that_loses_the_query_is_named() {
    let stage = Stage::new().await;
    let page = "<script src=/assets/stats.js></script><script src=/assets/other.js></script>";
    answer(&stage.shop, "GET", "/mugs", 1, ResponseTemplate::new(301).insert_header("location", "/new")).await;
    answer(&stage.shop, "GET", "/new", 5, ResponseTemplate::new(200).set_body_raw(page, "text/html")).await;
    let tag = ResponseTemplate::new(200).set_body_raw("(()=>{var c='cr_vid'})()", "text/javascript");
    answer(&stage.shop, "GET", "/assets/stats.js", 5, tag).await;
    let (well, told) = stage.run(&["mugs"]).await;
    let found = wrong(&told);
    let since = "since the redirect of 127.0.0.1/mugs";
    assert!(!well && found.len() == 2 && found.iter().all(|line| line.contains(since)), "{found:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn links_on_hosts_of_their_own_are_asked_by_their_name_on_staging() {
    let stage = Stage::new().await;
    let mut link = stage.link();
    link["host"] = json!("go.brand.example");
    link["url"] = json!("https://go.brand.example/l/mugs");
    answer(
        &stage.admin,
        "GET",
        "/v1/links",
        5,
        ResponseTemplate::new(200).set_body_json(json!({ "links": [link, { "state": "paused" }], "next": null })),
    )
    .await;
    let (well, told) = stage.run(&["--all", "--base", &stage.relay.uri(), "--no-record"]).await;
    assert!(well, "{told}");
    let asked = stage.relay.received_requests().await.expect("recorded");
    assert!(asked.len() == 10 && asked.iter().all(|request| request.headers["host"] == "go.brand.example"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_is_not_there_fails_and_the_checklist_can_be_read() {
    let stage = Stage::new().await;
    let mut command = Command::new(env!("CARGO_BIN_EXE_conversion-relay"));
    command.args([
        "links",
        "qa",
        "mugs",
        "--rate",
        "1000",
        "--url",
        &stage.admin.uri(),
        "--base",
        "http://127.0.0.1:1",
    ]);
    let output = command.env_remove("RELAY_QA_TOKEN").env_remove("RELAY_ADMIN_TOKEN").output().expect("runs");
    let text = String::from_utf8(output.stdout).expect("is text");
    assert_eq!(output.status.code(), Some(1), "{text}");
    for line in [
        "mugs  (bio)",
        "STEP",
        "link host  fail",
        "goal       pass",
        "fail link host: no connection",
        "1 with failures",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
    assert!(String::from_utf8_lossy(&output.stderr).contains("RELAY_QA_TOKEN is not set"));
}
