//! From a stage in the CRM to the ad click: HubSpot posts ids, and is asked who it is about and what the deal is worth.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use conversion_relay::model::{Clock as _, SystemClock};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;
use wiremock::{
    Mock, MockServer, ResponseTemplate,
    matchers::{header, path},
};

use crate::support::{Answer, Platforms, Relay, Setup};

const TARGET: &str = "https://crm.example/hubspot";

async fn hubspot() -> MockServer {
    let server = MockServer::start().await;
    let deal = json!({
        "id": "9001", "properties": { "amount": "1250.500", "deal_currency_code": "KWD" },
        "associations": { "contacts": { "results": [{ "id": "51", "type": "deal_to_contact" }] } },
    });
    let contact = json!({ "id": "51", "properties": { "email": "ada.crm@example.com", "firstname": "Ada" } });
    for (at, body) in [("/crm/v3/objects/deals/9001", deal), ("/crm/v3/objects/contacts/51", contact)] {
        let asked = Mock::given(path(at)).and(header("authorization", "Bearer token-of-the-crm"));
        asked.respond_with(ResponseTemplate::new(200).set_body_json(body)).expect(1).mount(&server).await;
    }
    server
}

async fn deliver(relay: &Relay, body: &Value, secret: &str) -> Answer {
    let (body, at) = (body.to_string(), SystemClock.now().as_ms().to_string());
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("any key");
    mac.update(format!("POST{TARGET}{body}{at}").as_bytes());
    let signature = STANDARD.encode(mac.finalize().into_bytes());
    let request =
        relay.client.post(format!("{}/webhooks/crm", relay.public)).header("X-HubSpot-Signature-v3", signature);
    Relay::send(request.header("X-HubSpot-Request-Timestamp", at).body(body)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deal_that_is_won_reaches_the_click_that_led_to_it() {
    let (platforms, crm) = (Platforms::start().await, hubspot().await);
    let source = format!(
        "[[sources]]\nname = 'crm'\nkind = 'hubspot'\nsecrets = ['the-secret']\nurl = '{TARGET}'\n\
         events = {{ 'dealstage.closedwon' = 'purchase' }}\napi = {{ token = 'token-of-the-crm', base_url = '{}' }}\n",
        crm.uri()
    );
    let setup = Setup::new(&format!("{source}{}", platforms.destinations()));
    let relay = setup.start();
    let visit = json!({
        "visitor_id": "v-crm", "url": "https://shop.example/?gclid=Cj0-Crm",
        "user": { "email": "Ada.Crm@example.com" }, "consent": { "ad_user_data": "granted" },
    });
    let (status, answer) = relay.post("/v1/visits", &visit).await;
    assert_eq!(status, 200, "{answer}");

    let at = SystemClock.now().as_ms() - 60_000;
    let entry = json!({ "eventId": 8, "subscriptionId": 25, "portalId": 33, "occurredAt": at, "attemptNumber": 0,
        "subscriptionType": "object.propertyChange", "objectTypeId": "0-3", "objectId": 9001,
        "propertyName": "dealstage", "propertyValue": "closedwon" });
    let other = json!({ "subscriptionType": "company.creation", "objectId": 5 });
    assert_eq!(deliver(&relay, &json!([other, entry]), "a-guess").await.status, 401);
    let answer = deliver(&relay, &json!([other, entry]), "the-secret").await;
    assert_eq!((answer.status, &answer.json()["accepted"]), (200, &json!(["crm:purchase:9001"])), "{}", answer.text);
    let again = deliver(&relay, &json!([entry]), "the-secret").await;
    assert_eq!(again.json()["duplicates"], json!(["crm:purchase:9001"]), "{}", again.text);

    relay.settled().await;
    assert_eq!(relay.balanced().await["accepted"], 1);
    let timeline = relay.admin("/v1/events/crm:purchase:9001").await;
    assert_eq!((&timeline["visitor_id"], &timeline["joined_by"]), (&json!("v-crm"), &json!("email")), "{timeline}");
    let meta = platforms.sandbox.received_meta();
    assert_eq!(meta.len(), 1, "{meta:?}");
    let event = &meta[0]["event"];
    assert_eq!(
        (&event["action_source"], &event["custom_data"]["currency"]),
        (&json!("system_generated"), &json!("KWD"))
    );
    assert_eq!(event["custom_data"]["value"].as_f64(), Some(1250.5), "{event}");
    let google = json!(platforms.sandbox.received_data_manager()).to_string();
    assert!(google.contains("Cj0-Crm"), "{google}");
    for secret in ["ada.crm", "token-of-the-crm", "the-secret"] {
        assert!(!setup.log().contains(secret), "{secret} is not in the log");
    }
}
