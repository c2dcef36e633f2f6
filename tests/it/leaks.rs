//! Contact details never rest: whatever is posted, wherever it stands in the request, neither the data directory nor
//! the log, an answer or a metric holds it.
//!
//! Not searched for, as they may be kept in clear: the country and, with a country and both names, the postal code (the
//! only form Google takes them in); a first name, last name or city alone in UTM values, item names and paths
//! (campaigns and products are called that); an amount of as many digits; a phone number or name under a name that says nothing in a request that does not give
//! it as the person's, which nobody can tell from an order number.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use conversion_relay::sandbox::{Fault, FaultMode, Platform};
use percent_encoding::{NON_ALPHANUMERIC, percent_decode, utf8_percent_encode};
use serde_json::{Value, json};

use crate::support::{Answer, KEY, Platforms, Relay, Setup};

pub(crate) const EMAIL: &str = "Zaphodina.Quillfeather+Shop@Wobble.Example";
const PERSON: &str = "Zaphodina Quillfeather";
const STREET: &str = "17 Wobblebrook Lane";
const CITY: &str = "Snoringham";
const BORN: &str = "1984-05-17";
const PHONES: [&str; 5] = ["+1 (650) 555-0173", "(650) 555-0173", "650.555.0173", "6505550173", "+1-650-555-0173"];

/// What must not be found, in lower case. The city of a hashed address is as personal as its street.
const NEEDLES: [&str; 9] = [
    "zaphodina",
    "quillfeather",
    "wobble.example",
    "wobblebrook",
    "snoringham",
    "1984-05-17",
    "1984/05/17",
    "19840517",
    "6505550173",
];

/// What of [`NEEDLES`] is in `bytes`: as it is, percent-encoded once or twice, without what stands between digits.
pub(crate) fn found(bytes: &[u8]) -> Vec<&'static str> {
    let lower = bytes.to_ascii_lowercase();
    let decoded: Vec<u8> = percent_decode(&lower).collect();
    let twice: Vec<u8> = percent_decode(&decoded).collect::<Vec<u8>>().to_ascii_lowercase();
    let joined: Vec<u8> = twice.iter().copied().filter(|b| !b"+-(). /".contains(b)).collect();
    let texts = [lower, decoded, twice, joined].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    let within = |needle: &&str| texts.iter().any(|text| text.contains(needle));
    NEEDLES.into_iter().filter(within).collect()
}

pub(crate) fn files(directory: &Path, list: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).expect("reads").map(|entry| entry.expect("reads").path()) {
        if entry.is_dir() { files(&entry, list) } else { list.push(entry) }
    }
}

/// Where in the data directory and the log which of [`NEEDLES`] are.
pub(crate) fn leaks(setup: &Setup) -> Vec<String> {
    let mut list = Vec::new();
    files(&setup.data(), &mut list);
    let mut leaks = Vec::new();
    for file in list {
        let bytes = std::fs::read(&file).expect("reads");
        let found = found(&bytes);
        leaks.extend(found.into_iter().map(|needle| format!("{needle} in {}", file.display())));
    }
    let log = setup.log();
    let suspicious = if found(log.as_bytes()).is_empty() { "" } else { log.as_str() };
    for line in suspicious.lines() {
        leaks.extend(found(line.as_bytes()).into_iter().map(|needle| format!("{needle} in the log: {line}")));
    }
    leaks
}

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

fn person(phone: &str) -> Value {
    json!({
        "email": [EMAIL, EMAIL.to_uppercase()], "phone": phone, "first_name": "Zaphodina", "last_name": "Quillfeather",
        "street": STREET, "city": CITY, "region": "CA", "postal_code": "94043", "country": "US",
        "date_of_birth": BORN, "gender": "f", "external_id": format!(" {EMAIL}")
    })
}

/// An event that everything is in order with.
fn event(id: &str, user: &Value) -> Value {
    json!({
        "event": "purchase", "event_id": id, "value": "49.99", "currency": "USD", "user": user,
        "items": [{"id": "sku-1", "name": "Mug", "quantity": 1, "price": "49.99"}],
        "context": {
            "user_agent": "Mozilla/5.0 (X11)", "ip": "203.0.113.7", "url": "https://shop.example/thanks", "utm": {}
        },
        "consent": {"ad_user_data": "granted"}, "properties": {"plan": "pro", "nested": {"list": [1]}}
    })
}

/// `base` with `value` smuggled into every place in turn. `alone`: it is not a whole identity, so only where each part
/// of one is looked for.
fn smuggled(base: &Value, value: &str, alone: bool) -> Vec<Value> {
    let code = encoded(value);
    let (twice, plus) = (encoded(&code), code.replace("%20", "+"));
    let mut events = Vec::new();
    let mut put = |pointer: &str, value: Value| {
        let mut event = base.clone();
        let (parent, name) = pointer.rsplit_once('/').expect("a pointer");
        match event.pointer_mut(parent).expect("is there") {
            Value::Object(object) => drop(object.insert(name.to_owned(), value)),
            Value::Array(list) => list[0] = value,
            _ => unreachable!("holds others"),
        }
        events.push(event);
    };
    for field in ["/context/url", "/context/referrer"] {
        for query in [&code, &twice, &plus] {
            put(field, json!(format!("https://shop.example/thanks?order=1&q={query}&b=2")));
            put(field, json!(format!("https://shop.example/thanks?to=https%3A%2F%2Fa.example%2F%3Fx%3D{query}")));
        }
        put(field, json!(format!("https://shop.example/#/done?for={code}")));
    }
    put("/properties/note", json!(value));
    put("/properties/nested/list/0", json!(format!("for {value}, please")));
    put("/properties/nested", json!({"a": [{"b": {"c": code}}]}));
    if alone {
        return events;
    }
    for field in ["/context/url", "/context/referrer"] {
        put(field, json!(format!("https://shop.example/thanks/{code}/done")));
        put(field, json!(format!("https://shop.example/?utm_source=x&utm_campaign={code}&{code}=1#{code}")));
    }
    for place in [
        "/items/0/name",
        "/items/0/id",
        "/context/utm/source",
        "/context/utm/medium",
        "/context/utm/campaign",
        "/context/utm/content",
        "/context/utm/term",
        "/context/user_agent",
        "/event_id",
        "/transaction_id",
        "/visitor_id",
        "/user/external_id",
        "/context/gclid",
        "/context/fbclid",
        "/context/fbc",
        "/context/fbp",
        "/context/ga_client_id",
        "/context/ga_session_id",
        "/context/checkout_token",
        "/context/cart_token",
    ] {
        put(place, json!(value));
        put(place, json!(format!("x-{code}-y")));
    }
    put(&format!("/properties/{}", value.replace('/', "-")), json!(1));
    put(&format!("/properties/{code}"), json!(true));
    // These are refused, and the refusal must not quote them.
    for place in [
        "/event",
        "/time",
        "/value",
        "/currency",
        "/action_source",
        "/items",
        "/items/0",
        "/items/0/quantity",
        "/user",
        "/user/email_sha256",
        "/user/lead_id",
        "/context",
        "/context/ip",
        "/context/utm",
        "/consent",
        "/consent/ad_user_data",
        "/properties",
        "/unknown",
        "/user/unknown",
        "/context/unknown",
    ] {
        // A number is a number: as an amount, a phone number is one too.
        let amount = place == "/value" || place == "/items/0/quantity";
        if !(amount && value.bytes().all(|b| b.is_ascii_digit())) {
            put(place, json!(value));
        }
    }
    for object in ["", "/user", "/context", "/items/0", "/consent", "/context/utm"] {
        put(&format!("{object}/{}", value.replace('/', "-")), json!(value));
        put(&format!("{object}/{code}"), json!(1));
    }
    events
}

/// The same as a visit, if its fields are those of one.
fn visit(event: &Value, i: usize) -> Value {
    let context = &event["context"];
    let cookie = |kind: &str| format!("fb.1.1794000000123.{}", context[kind].as_str().unwrap_or("1"));
    json!({
        "visitor_id": event["visitor_id"].as_str().unwrap_or(&format!("v-{i}")), "url": context["url"],
        "referrer": context["referrer"], "user": event["user"], "checkout_token": context["checkout_token"],
        "cookies": {"_fbc": cookie("fbc"), "_fbp": cookie("fbp"), "_ga": context["ga_client_id"].as_str().unwrap_or("")}
    })
}

struct Poster {
    relay: Relay,
    answers: BTreeSet<String>,
    statuses: BTreeSet<u16>,
    posted: usize,
}

impl Poster {
    fn note(&mut self, answer: &Answer) {
        self.statuses.insert(answer.status);
        let all = format!("{:?} {}", answer.headers, answer.text);
        let found = found(all.as_bytes());
        if !found.is_empty() {
            self.answers.insert(format!("{found:?} in {all}"));
        }
    }

    async fn send(&mut self, request: reqwest::RequestBuilder) {
        let answer = Relay::send(request).await;
        self.note(&answer);
    }

    async fn post(&mut self, path: &str, body: impl Into<reqwest::Body>) {
        let request = self.relay.client.post(format!("{}{path}", self.relay.public)).bearer_auth(KEY);
        self.send(request.header("content-type", "application/json").body(body)).await;
    }

    /// Everything once as an event and once as a visit.
    async fn everything(&mut self) {
        let mut events = Vec::new();
        for phone in PHONES {
            let base = event("x", &person(phone));
            events.push(base.clone());
            events.extend(smuggled(&base, phone, false));
        }
        let base = event("x", &person(PHONES[0]));
        for value in [EMAIL, PERSON, STREET, BORN, "Quillfeather, Zaphodina"] {
            events.extend(smuggled(&base, value, false));
        }
        for value in ["Zaphodina", "Quillfeather", CITY] {
            events.extend(smuggled(&base, value, true));
        }
        // An address is one whoever the person is.
        events.extend(smuggled(&event("x", &json!({})), EMAIL, false));
        for group in events.chunks_mut(40) {
            let mut visits = tokio::task::JoinSet::new();
            for event in group.iter_mut() {
                self.posted += 1;
                if event["event_id"] == "x" {
                    event["event_id"] = json!(format!("e-{}", self.posted));
                }
                let agent = event["context"]["user_agent"].as_str().unwrap_or("Mozilla/5.0").to_owned();
                let request = self.relay.client.post(format!("{}/v1/visits", self.relay.public));
                let request = request.header("user-agent", agent).body(visit(event, self.posted).to_string());
                visits.spawn(Relay::send(request));
            }
            for answer in visits.join_all().await {
                self.note(&answer);
            }
            // Most in a batch; every fourth alone, whose answer has another form.
            let (alone, batch): (Vec<_>, Vec<_>) = group.iter().enumerate().partition(|(i, _)| i % 4 == 0);
            let batch: Vec<&Value> = batch.into_iter().map(|(_, event)| event).collect();
            self.post("/v1/events", json!({ "events": batch }).to_string()).await;
            for (_, event) in alone {
                self.post("/v1/events", event.to_string()).await;
            }
        }
        self.malformed(&base).await;
        self.headers().await;
        for path in ["/metrics", "/v1/balance", "/v1/destinations", "/v1/events/e-1", "/v1/events/e-30"] {
            self.send(self.relay.client.get(format!("{}{path}", self.relay.admin))).await;
        }
    }

    async fn malformed(&mut self, base: &Value) {
        let text = base.to_string();
        for path in ["/v1/events", "/v1/visits"] {
            for at in (1..text.len()).step_by(37) {
                self.post(path, text[..at].to_owned()).await;
            }
            for body in [
                format!("{text}{EMAIL}"),
                format!("{EMAIL}{text}"),
                format!("\"{EMAIL}\""),
                format!("[\"{EMAIL}\"]"),
                format!("{{\"{EMAIL}\":\"{EMAIL}\""),
                format!("{{\"x, expected {PERSON}\":1}}"),
                format!("{{\"value\":\"x, expected {PERSON} at line 1\"}}"),
                format!("{{\"consent\":\", expected {EMAIL}\"}}"),
                format!("{{\"properties\":{{\"{PERSON}\":1,\"{PERSON}\":2}}}}"),
                format!("email={}&name={PERSON}", encoded(EMAIL)),
                format!("{{\"event\":\"purchase\",\"event_id\":\"{EMAIL}\\ud800\"}}"),
            ] {
                self.post(path, body).await;
            }
            self.post(path, [EMAIL.as_bytes(), b"\xff\xfe"].concat()).await;
        }
    }

    async fn headers(&mut self) {
        let sound = || json!({"event": "purchase", "url": "https://shop.example/"}).to_string();
        for value in [EMAIL.to_owned(), encoded(EMAIL), format!("cr_vid={EMAIL}"), format!("Bearer {EMAIL}")] {
            for name in
                ["authorization", "cookie", "user-agent", "referer", "x-forwarded-for", "x-request-id", "content-type"]
            {
                for path in ["/v1/events", "/v1/visits"] {
                    let request = self.relay.client.post(format!("{}{path}", self.relay.public)).body(sound());
                    let request = if name == "authorization" { request } else { request.bearer_auth(KEY) };
                    self.send(request.header(name, value.as_str())).await;
                }
            }
            for path in ["/v1/events?email=", "/v1/visits?q=", "/files/", "/", "/v1/events/"] {
                let code = encoded(&value);
                self.post(&format!("{path}{code}"), sound()).await;
                self.send(self.relay.client.get(format!("{}{path}{code}", self.relay.public))).await;
                self.send(self.relay.client.get(format!("{}{path}{code}", self.relay.admin))).await;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn contact_details_are_found_nowhere() {
    let platforms = Platforms::start().await;
    let files = r#"
[[destinations]]
name = "rows"
kind = "file"
format = "jsonl"
[destinations.events]
purchase = "purchase"

[[destinations]]
name = "leads"
kind = "file"
format = "google_ads_leads"
[destinations.events]
purchase = "Offline lead"
"#;
    let setup = Setup::new(&format!("{}{files}", platforms.destinations())).env("RUST_LOG", "trace");
    let relay = setup.start();
    let mut poster = Poster { relay, answers: BTreeSet::new(), statuses: BTreeSet::new(), posted: 0 };
    poster.everything().await;
    poster.relay.settled().await;
    platforms.sandbox.set_fault(Platform::Meta, Fault::new(FaultMode::Partial));
    platforms.sandbox.set_fault(Platform::DataManager, Fault::new(FaultMode::Outage));
    poster.everything().await;

    let Poster { relay, answers, statuses, .. } = poster;
    assert!(relay.terminate());
    assert!(answers.is_empty(), "{} answers, such as {:?}", answers.len(), answers.first());
    assert_eq!(statuses.into_iter().collect::<Vec<_>>(), [200, 202, 207, 400, 401, 404, 405, 415, 422], "as varied");
    let leaks_there = leaks(&setup);
    assert!(
        leaks_there.is_empty(),
        "{} leaks:\n{}",
        leaks_there.len(),
        leaks_there[..leaks_there.len().min(20)].join("\n")
    );
    let (meta, google) = (platforms.sandbox.received_meta(), platforms.sandbox.received_data_manager());
    assert!(meta.len() > 100 && google.len() > 100, "{} and {} were delivered", meta.len(), google.len());
    assert_eq!(found(json!([meta, google]).to_string().as_bytes()), [""; 0], "and what leaves is hashed");

    // The search finds what is there, in every spelling.
    let planted = [
        ("\0x ZAPHODINA y", "zaphodina"),
        ("quillfeather%40wobble%2Eexample", "wobble.example"),
        ("q%3DQuill%2566eather", "quillfeather"),
        ("call%20%2B1%20(650)%20555-0173", "6505550173"),
        ("born 1984.05.17", "19840517"),
    ];
    for (i, (text, _)) in planted.iter().enumerate() {
        std::fs::write(setup.data().join("events").join(format!("planted-{i}")), text).expect("writes");
    }
    let found = leaks(&setup);
    for (i, (_, needle)) in planted.iter().enumerate() {
        let (start, end) = (format!("{needle} in "), format!("planted-{i}"));
        assert!(found.iter().any(|leak| leak.starts_with(&start) && leak.ends_with(&end)), "{needle}: {found:?}");
    }
}
