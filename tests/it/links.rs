//! Tracked links through the real binary: made by the operator, clicked, and not lost when the relay ends.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::support::{Relay, Setup};

const CHROME: &str =
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36";
/// Requests for links at the same time.
const CONNECTIONS: u8 = 16;

fn client() -> reqwest::Client {
    reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().expect("a client")
}

/// Behind a proxy that tells whose requests it passes on.
fn setup(more: &str) -> Setup {
    Setup::new(more).env("RELAY__PUBLIC__TRUSTED_PROXIES", r#"["127.0.0.1"]"#)
}

async fn make(relay: &Relay, link: &Value) {
    let request = relay.client.post(format!("{}/v1/links", relay.admin)).header("content-type", "application/json");
    let answer = Relay::send(request.body(link.to_string())).await;
    assert_eq!(answer.status, 201, "{}", answer.text);
}

#[tokio::test]
async fn a_link_redirects_as_soon_as_it_is_made_or_changed_and_each_click_is_seen() {
    let setup = setup("[links]\nhosts = [\"go.brand.example\"]");
    let relay = setup.start();
    let (client, admin) = (client(), relay.admin.clone());
    make(
        &relay,
        &json!({ "slug": "Mugs", "destination": "https://old.example/p?a=1#top", "utm": { "source": "pin" } }),
    )
    .await;
    make(&relay, &json!({ "slug": "mugs", "host": "go.brand.example", "destination": "https://brand.example/" })).await;
    let get = async |path: &str, host: &str| {
        let request = client.get(format!("{}{path}", relay.public)).header("host", host).header("user-agent", CHROME);
        Relay::send(request).await
    };
    let answer = get("/l/mugs?gclid=AbC-_d", "t.example.com").await;
    let start = "https://old.example/p?a=1&utm_source=pin&gclid=AbC-_d&cr_vid=";
    assert!(answer.status == 302 && answer.header("location").starts_with(start), "{:?}", answer.headers);
    assert!(answer.header("location").ends_with("#top") && answer.text.is_empty());
    assert_eq!(answer.header("cache-control"), "private, no-store");
    assert!(get("/mugs", "go.brand.example").await.header("location").starts_with("https://brand.example/?cr_vid="));
    assert_eq!(get("/healthz", "go.brand.example").await.status, 200);

    let change = relay.client.patch(format!("{admin}/v1/links/mugs")).header("content-type", "application/json");
    assert_eq!(Relay::send(change.body(r#"{"destination":"https://new.example/"}"#)).await.status, 200);
    assert!(
        get("/l/mugs", "t.example.com").await.header("location").starts_with("https://new.example/?utm_source=pin")
    );

    let clicks = relay.until("/v1/clicks", |clicks| clicks["totals"]["all"] == 3).await;
    let of = |place: usize, field: &str| clicks["clicks"][place][field].as_str().unwrap_or("").to_owned();
    assert_eq!((of(0, "verdict"), of(1, "link")), ("duplicate".to_owned(), "go.brand.example/mugs".to_owned()));
    assert_eq!((of(2, "verdict"), of(2, "browser")), ("human".to_owned(), "Chrome".to_owned()));
    let visitor = relay
        .until(&format!("/v1/visitors/{}", of(2, "visitor_id")), |told| {
            told.get("id").is_some() || told.get("visitor_id").is_some()
        })
        .await;
    assert!(visitor.to_string().contains("AbC-_d"), "the click id is with the visitor: {visitor}");
    let metrics = relay.admin("/metrics").await;
    let text = metrics.as_str().expect("text");
    assert!(text.contains("relay_redirects_total{verdict=\"human\"} 2") && text.contains("relay_clicks_lost_total 0"));
}

/// Asks for a link over and over until the relay is gone; how many redirects came back.
fn clickers(relay: &Relay) -> (JoinSet<()>, Arc<AtomicU64>) {
    let (answered, mut clickers) = (Arc::new(AtomicU64::new(0)), JoinSet::new());
    for place in 0..CONNECTIONS {
        let (answered, client, url) = (Arc::clone(&answered), client(), format!("{}/l/mugs", relay.public));
        clickers.spawn(async move {
            let address = format!("192.0.2.{place}");
            loop {
                let request = client.get(&url).header("user-agent", CHROME).header("x-forwarded-for", &address);
                match request.send().await {
                    Ok(answer) if answer.status() == 302 => answered.fetch_add(1, Ordering::Relaxed),
                    _ => return,
                };
            }
        });
    }
    (clickers, answered)
}

async fn answered_and_written(end: impl FnOnce(Relay)) -> (u64, u64) {
    let setup = setup("");
    let relay = setup.start();
    make(&relay, &json!({ "slug": "mugs", "destination": "https://shop.example/" })).await;
    let (mut clickers, answered) = clickers(&relay);
    while answered.load(Ordering::Relaxed) < 2_000 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // It waits for the process to end, which ends when the clickers have their answers: they have a thread of their own.
    tokio::task::block_in_place(|| end(relay));
    while clickers.join_next().await.is_some() {}
    let relay = setup.start();
    let rows = relay.admin("/v1/clicks?limit=1").await["totals"]["all"].as_u64().expect("a number");
    (answered.load(Ordering::Relaxed), rows)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_under_load_loses_no_click() {
    let (answered, rows) = answered_and_written(|relay| assert!(relay.terminate())).await;
    assert!(rows >= answered && rows <= answered + u64::from(CONNECTIONS), "{answered} answers, {rows} rows");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigkill_under_load_loses_what_came_within_the_last_moment() {
    let (answered, rows) = answered_and_written(Relay::kill).await;
    let lost = answered.saturating_sub(rows);
    eprintln!("SIGKILL: {answered} answers, {lost} without a row");
    assert!(lost <= 512, "{answered} answers, {rows} rows");
}
