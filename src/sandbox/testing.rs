//! A sandbox on a real socket, with a clock that stands still.

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};

use super::{Config, Sandbox, serve};
use crate::model::{MockClock, Time};

/// What the clock shows at first: 2026-11-20T08:15:00Z.
pub(super) const NOW_S: i64 = 1_795_162_500;
/// SHA-256 of an e-mail address, from Google's published examples.
pub(super) const EMAIL: &str = "0bf177fe5af2490576a19c89f25de0e86170529138c0ec28f9c1bd2bbcb84067";

pub(super) struct Running {
    pub(super) sandbox: Arc<Sandbox>,
    pub(super) clock: Arc<MockClock>,
    pub(super) client: reqwest::Client,
    pub(super) base: String,
    _stop: tokio::sync::oneshot::Sender<()>,
}

impl Running {
    pub(super) async fn start() -> Self {
        Self::with(Config::default()).await
    }

    pub(super) async fn with(config: Config) -> Self {
        let clock = Arc::new(MockClock::at(Time::from_secs(NOW_S)));
        let sandbox = Sandbox::new(clock.clone(), config);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let (_stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let shutdown = async move {
            let _ = stopped.await;
        };
        tokio::spawn(serve(listener, Arc::clone(&sandbox), shutdown));
        let client = reqwest::Client::builder().timeout(Duration::from_secs(20)).build().unwrap();
        Self { sandbox, clock, client, base, _stop }
    }

    /// Sends JSON and reads the status and the JSON answer.
    pub(super) async fn post(&self, path: &str, token: &str, body: &Value) -> (u16, Value) {
        let request = self.client.post(format!("{}{path}", self.base)).header("content-type", "application/json");
        let request = if token.is_empty() { request } else { request.bearer_auth(token) };
        answer(request.body(body.to_string())).await
    }

    pub(super) async fn get(&self, path: &str, token: &str) -> (u16, Value) {
        answer(self.client.get(format!("{}{path}", self.base)).bearer_auth(token)).await
    }

    pub(super) async fn form(&self, path: &str, fields: &[(&str, &str)]) -> (u16, Value) {
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        let request = self.client.post(format!("{}{path}", self.base));
        answer(request.header("content-type", "application/x-www-form-urlencoded").body(body)).await
    }

    pub(super) async fn refresh(&self, refresh_token: &str) -> (u16, Value) {
        let grant = ("grant_type", "refresh_token");
        let client = [("client_id", "id"), ("client_secret", "secret"), ("refresh_token", refresh_token)];
        self.form("/oauth/token", &[&[grant], &client[..]].concat()).await
    }

    pub(super) async fn token(&self) -> String {
        self.refresh("good").await.1["access_token"].as_str().unwrap().to_owned()
    }
}

pub(super) async fn answer(request: reqwest::RequestBuilder) -> (u16, Value) {
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    (status, serde_json::from_slice(&response.bytes().await.unwrap()).unwrap())
}

/// A purchase on a website as Meta wants it.
pub(super) fn purchase(id: &str) -> Value {
    json!({
        "event_name": "Purchase",
        "event_time": NOW_S - 60,
        "event_id": id,
        "action_source": "website",
        "event_source_url": "https://shop.example/thanks",
        "user_data": {
            "em": [EMAIL],
            "client_ip_address": "203.0.113.7",
            "client_user_agent": "Mozilla/5.0",
            "fbc": "fb.1.1795162400000.AbC-dEf_123",
            "fbp": "fb.1.1795162400000.123456789",
        },
        "custom_data": {
            "value": 49.99,
            "currency": "EUR",
            "order_id": "A-1",
            "contents": [{"id": "sku", "quantity": 1, "item_price": 49.99}],
            "anything": {"else": true},
        },
    })
}

/// The same purchase as Data Manager wants it.
pub(super) fn conversion(id: &str) -> Value {
    json!({
        "eventTimestamp": "2026-11-20T08:14:00Z",
        "transactionId": id,
        "eventSource": "WEB",
        "adIdentifiers": {"gclid": "Cj0KCQ-abc_DEF"},
        "userData": {"userIdentifiers": [
            {"emailAddress": EMAIL},
            {"address": {"givenName": EMAIL, "familyName": EMAIL, "regionCode": "DE", "postalCode": "10115"}},
        ]},
        "consent": {"adUserData": "CONSENT_GRANTED", "adPersonalization": "CONSENT_DENIED"},
        "conversionValue": 49.99,
        "currency": "EUR",
    })
}

/// A request that carries `events` to one conversion action.
pub(super) fn ingest(events: &[Value]) -> Value {
    json!({
        "destinations": [{
            "operatingAccount": {"accountType": "GOOGLE_ADS", "accountId": "1234567890"},
            "productDestinationId": "987654321",
        }],
        "encoding": "HEX",
        "events": events,
    })
}

/// `value` with the field at `pointer` set, or taken away with `None`.
pub(super) fn with(mut value: Value, pointer: &str, field: Option<Value>) -> Value {
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    let parent = value.pointer_mut(parent).unwrap().as_object_mut().unwrap();
    match field {
        Some(field) => parent.insert(name.to_owned(), field),
        None => parent.remove(name),
    };
    value
}
