//! Google Analytics 4, from the checkout to the strict sandbox.

use conversion_relay::sandbox::{Fault, FaultMode, Platform};
use serde_json::{Value, json};

use crate::support::{Platforms, Setup};

const SECRET: &str = "ga4-secret-of-the-test";

fn destination(platforms: &Platforms) -> String {
    format!(
        r#"
[[destinations]]
name = "analytics"
kind = "ga4"
measurement_id = "G-ABC1234567"
api_secret = "{SECRET}"
base_url = "{}/ga4"
[destinations.events]
purchase = "purchase"
generate_lead = "generate_lead"
"#,
        platforms.url
    )
}

fn event(name: &str, id: &str, client: Option<&str>) -> Value {
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().expect("after 1970").as_secs();
    json!({
        "event": name, "event_id": id, "transaction_id": id, "value": "49.99", "currency": "USD",
        "items": [{"id": "sku", "name": "Mug", "quantity": 2, "price": "12.50"}],
        "user": { "email": "ada@example.com", "phone": "+1 650 555 1212", "first_name": "Ada", "last_name": "Lovelace",
            "postal_code": "10001", "country": "US", "external_id": "cust-7" },
        "context": { "ga_client_id": client, "ga_session_id": (now - 60).to_string() },
        "consent": { "ad_user_data": "granted", "ad_personalization": "denied" },
        "properties": { "plan": "pro", "tax": "3.20" },
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purchase_reaches_ga4_well_formed_and_once_through_errors() {
    let platforms = Platforms::start().await;
    platforms.sandbox.set_fault(Platform::Ga4, Fault::new(FaultMode::Outage).for_requests(1));
    platforms.sandbox.add_fault(Platform::Ga4, Fault::new(FaultMode::Throttle).for_requests(2));
    let setup = Setup::new(&destination(&platforms));
    let relay = setup.start();
    for (name, id, client) in
        [("purchase", "o-1", Some("123.456")), ("generate_lead", "l-1", Some("123.456")), ("purchase", "o-2", None)]
    {
        let (status, answer) = relay.post("/v1/events", &event(name, id, client)).await;
        assert_eq!(status, 202, "{answer}");
    }
    let balance = relay.settled().await;
    let counts = &balance["destinations"]["analytics"];
    assert_eq!((&counts["delivered"], &counts["skipped"]), (&json!(2), &json!(1)), "{balance}");
    let stats = platforms.sandbox.stats().ga4;
    assert_eq!((stats.accepted, stats.duplicates), (2, 0), "{stats:?}");
    let refused: Vec<_> = stats.refused.keys().copied().collect();
    assert_eq!(refused, ["outage", "throttle"], "nothing for its form: {:?}", stats.latest_refusals);
    let received = platforms.sandbox.received_ga4();
    let order = received.iter().find(|it| it["event"]["events"][0]["name"] == "purchase").expect("the order");
    let params = &order["event"]["events"][0]["params"];
    assert_eq!(
        (&params["transaction_id"], &params["value"], &params["tax"]),
        (&json!("o-1"), &json!(49.99), &json!(3.2))
    );
    assert_eq!((&order["event"]["client_id"], &order["measurement_id"]), (&json!("123.456"), &json!("G-ABC1234567")));
    assert!(params["session_id"].is_string() && order["event"]["user_data"]["address"].is_array(), "{order}");
    assert!(!setup.log().contains(SECRET), "the secret is in the log");
    let timeline = relay.admin("/v1/events/o-1").await;
    assert!(!timeline.to_string().contains(SECRET), "{timeline}");
}
