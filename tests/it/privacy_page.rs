//! The privacy page over real HTTP.

use std::{sync::Arc, time::Duration};

use conversion_relay::{
    capture::{
        Countries,
        privacy_page::{self, Contact, PrivacyFacts, Retention},
    },
    destinations::OnUnknownConsent,
    web::{BoundedListener, Peer, with_request_id},
};
use serde_json::Value;

use crate::support::Relay;

async fn serve() -> String {
    let days = |days: u64| Duration::from_secs(days * 86_400);
    let facts = PrivacyFacts {
        contact: Some(Contact::of("https://shop.example/contact")),
        require_consent: true,
        respect_gpc: true,
        meta_cookies: false,
        cookie_life: days(400),
        own_domains: Vec::new(),
        retention: Retention {
            visits: days(90),
            clicks: days(90),
            delivered: days(30),
            dead_letters: days(90),
            dedupe: days(30),
        },
        destinations: vec![("meta", OnUnknownConsent::Send), ("meta", OnUnknownConsent::Send)],
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}/about/data", listener.local_addr().expect("an address"));
    let routes = privacy_page::router("/about/data", facts, Arc::new(Countries::default()));
    let routes = routes.layer(axum::middleware::from_fn(with_request_id));
    let service = routes.into_make_service_with_connect_info::<Peer>();
    tokio::spawn(async move { axum::serve(BoundedListener::new(listener), service).await });
    url
}

#[tokio::test(flavor = "multi_thread")]
async fn browsers_get_a_page_and_programs_get_json() {
    let (url, client) = (serve().await, reqwest::Client::new());
    let page = Relay::send(client.get(&url).header("accept", "text/html,*/*;q=0.8")).await;
    assert_eq!((page.status, page.header("content-type")), (200, "text/html; charset=utf-8"));
    assert!(
        page.text.starts_with("<!doctype html>") && page.text.contains("https:&#x2f;&#x2f;shop.example"),
        "{}",
        page.text
    );
    assert!(page.header("content-security-policy").starts_with("default-src 'none'; style-src 'sha256-"));
    assert_eq!(page.text.matches("Meta (Facebook, Instagram)").count(), 1, "each kind once, however many there are");

    let head = Relay::send(client.head(&url)).await;
    assert_eq!((head.status, head.text.as_str()), (200, ""));
    assert_eq!(Relay::send(client.post(&url)).await.status, 405);

    let json = Relay::send(client.get(&url).header("accept", "application/json")).await;
    let told: Value = json.json();
    assert_eq!((json.header("vary"), &told["consent"]["required"]), ("accept", &Value::Bool(true)));
    let fields: Vec<&str> = told["kept"]
        .as_array()
        .into_iter()
        .flatten()
        .flat_map(|record| record["fields"].as_array().into_iter().flatten())
        .flat_map(|kept| kept["fields"].as_array().into_iter().flatten().filter_map(Value::as_str))
        .collect();
    for field in ["visitor.ip", "click.fingerprint", "event.user.emails", "event.context.user_agent"] {
        assert!(fields.contains(&field), "{field} is not told");
    }
}
