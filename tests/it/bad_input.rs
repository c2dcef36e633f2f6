//! Malformed input: each kind gets a 4xx problem that names the field and quotes nothing; the next good event works.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    time::Duration,
};

use serde_json::{Value, json};

use crate::support::{Answer, KEY, Relay, Setup};

/// Personal values in what is posted here. None may come back.
const PERSONAL: [&str; 8] = [
    "quillfeather",
    "zaphodina",
    "wobblebrook",
    "snoringham",
    "1984-05-17",
    "6505551212",
    "650 555 1212",
    "cust-zq-77",
];
const EMAIL: &str = "zaphodina@quillfeather.example";

const FILE: &str = r#"
[[destinations]]
name = "rows"
kind = "file"
format = "jsonl"
[destinations.events]
purchase = "purchase"
"#;

/// An event with every field.
fn full() -> Value {
    json!({
        "event": "purchase", "event_id": "bad-1", "time": now(), "visitor_id": "v-1", "transaction_id": "t-1",
        "value": "49.99", "currency": "USD", "action_source": "website",
        "items": [{"id": "sku-1", "name": "Mug", "quantity": 2, "price": "12.50"}],
        "user": {
            "email": EMAIL, "phone": "+1 650 555 1212", "first_name": "Zaphodina", "last_name": "Quillfeather",
            "street": "17 Wobblebrook Lane", "city": "Snoringham", "region": "CA", "postal_code": "94043",
            "country": "US", "date_of_birth": "1984-05-17", "gender": "f", "external_id": "cust-zq-77",
            "email_sha256": "62a14e44f765419d10fea99367361a727c12365e2520f32218d505ed9aa0f62f",
            "phone_sha256": "62a14e44f765419d10fea99367361a727c12365e2520f32218d505ed9aa0f62f",
            "lead_id": "123456789012345"
        },
        "context": {
            "ip": "203.0.113.7", "user_agent": "Mozilla/5.0", "url": "https://shop.example/thanks",
            "referrer": "https://search.example/", "gclid": "g1", "gbraid": "g2", "wbraid": "g3", "dclid": "g4",
            "fbclid": "f1", "msclkid": "m1", "ttclid": "t1", "li_fat_id": "l1", "epik": "e1", "sccid": "s1",
            "rdt_cid": "r1", "twclid": "w1", "oppref": "o1", "fbc": "fb.1.1.f1", "fbp": "fb.1.1.1",
            "ga_client_id": "1.2", "ga_session_id": "3", "checkout_token": "c1", "cart_token": "c2",
            "utm": {"source": "google", "medium": "cpc", "campaign": "x", "content": "y", "term": "z"}
        },
        "consent": {"ad_user_data": "granted", "ad_personalization": "denied"},
        "properties": {"plan": "pro", "nested": {"list": [1, 2]}}
    })
}

/// A time that is always recent: the relay's clock is the machine's.
fn now() -> String {
    use conversion_relay::model::{Clock as _, SystemClock};
    SystemClock.now().to_string()
}

/// [`full`] with `value` at `pointer`.
fn with(pointer: &str, value: Value) -> Vec<u8> {
    let mut event = full();
    let (parent, name) = pointer.rsplit_once('/').expect("a pointer");
    match event.pointer_mut(parent).expect("is there") {
        Value::Object(object) => {
            object.insert(name.to_owned(), value);
        }
        Value::Array(list) => list[name.parse::<usize>().expect("an index")] = value,
        _ => unreachable!("{parent} holds others"),
    }
    event.to_string().into_bytes()
}

/// A text in place of the value of `"event_id"` in [`full`], so that what JSON has no form for can be posted.
fn raw(json: &str) -> Vec<u8> {
    full().to_string().replacen("\"bad-1\"", json, 1).into_bytes()
}

/// A text in place of `from` in [`full`].
fn instead(from: &str, to: &str) -> Vec<u8> {
    let text = full().to_string();
    assert!(text.contains(from), "{from}");
    text.replacen(from, to, 1).into_bytes()
}

fn nested(levels: usize, open: &str, close: &str) -> String {
    format!("{}1{}", open.repeat(levels), close.repeat(levels))
}

/// Status, pointer and what is posted.
type Case = (&'static str, u16, &'static str, Vec<u8>);

fn syntax() -> Vec<Case> {
    let text = full().to_string();
    let cut = |at: usize| text.as_bytes()[..at].to_vec();
    let mut invalid_utf8 = instead("\"Mug\"", "\"M?g\"");
    let at = invalid_utf8.iter().position(|&b| b == b'?').expect("is there");
    invalid_utf8[at] = 0xff;
    let bom = [b"\xef\xbb\xbf", text.as_bytes()].concat();
    let utf16: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    vec![
        ("empty body", 400, "", Vec::new()),
        ("white space only", 400, "", b" \n\t ".to_vec()),
        ("one brace", 400, "", b"{".to_vec()),
        ("no JSON", 400, "", EMAIL.as_bytes().to_vec()),
        ("form data", 400, "", format!("email={EMAIL}&event=purchase").into_bytes()),
        ("XML", 400, "", format!("<user>{EMAIL}</user>").into_bytes()),
        ("truncated at half", 400, "*", cut(text.len() / 2)),
        ("truncated before the last brace", 400, "*", cut(text.len() - 1)),
        ("truncated in a text", 400, "*", cut(text.find("Wobble").expect("is there") + 3)),
        ("trailing garbage", 400, "", format!("{text}{EMAIL}").into_bytes()),
        ("two events in a row", 400, "", format!("{text}{text}").into_bytes()),
        ("trailing comma", 400, "*", instead("\"pro\"", "\"pro\",")),
        ("single quotes", 400, "*", instead("\"pro\"", "'pro'")),
        ("a comment", 400, "*", instead("\"pro\"", "/* x */\"pro\"")),
        ("names without quotes", 400, "", b"{event: \"purchase\"}".to_vec()),
        ("missing colon", 400, "*", instead("\"plan\":", "\"plan\" ")),
        ("line break in a text", 400, "/event_id", raw("\"a\nb\"")),
        ("NUL in a text", 400, "/event_id", raw("\"a\0b\"")),
        ("unknown escape", 400, "/event_id", raw("\"\\x41\"")),
        ("NaN", 400, "/event_id", raw("NaN")),
        ("NaN as value", 400, "/value", instead("\"49.99\"", "NaN")),
        ("Infinity as value", 400, "/value", instead("\"49.99\"", "Infinity")),
        ("minus Infinity as value", 400, "/value", instead("\"49.99\"", "-Infinity")),
        ("1e400 as value", 422, "/value", instead("\"49.99\"", "1e400")),
        ("1e999 in properties", 422, "/properties/plan", instead("\"pro\"", "1e999")),
        ("leading zero", 400, "/value", instead("\"49.99\"", "01.5")),
        ("hexadecimal number", 400, "*", instead("\"49.99\"", "0x10")),
        ("leading plus", 400, "/value", instead("\"49.99\"", "+1")),
        ("lone leading surrogate", 422, "/event_id", raw("\"a\\ud800\"")),
        ("lone trailing surrogate", 422, "/event_id", raw("\"a\\udc00\"")),
        ("invalid UTF-8", 400, "/items/0/name", invalid_utf8),
        ("byte order mark", 400, "", bom),
        ("UTF-16", 400, "", utf16),
        ("top level list", 422, "", b"[]".to_vec()),
        ("top level list of values in our order", 422, "", b"[null,\"purchase\",\"id\",null,null,null]".to_vec()),
        ("list of events", 422, "", format!("[{text}]").into_bytes()),
        ("null", 422, "", b"null".to_vec()),
        ("a text", 422, "", format!("\"{EMAIL}\"").into_bytes()),
        ("a number", 422, "", b"16505551212".to_vec()),
        ("true", 422, "", b"true".to_vec()),
        ("10,000 lists", 422, "", nested(10_000, "[", "]").into_bytes()),
        ("10,000 objects", 422, "/a", nested(10_000, "{\"a\":", "}").into_bytes()),
        ("10,000 open lists", 422, "", "[".repeat(10_000).into_bytes()),
    ]
}

fn names() -> Vec<Case> {
    let twice = |object: &str, name: &str, value: &str| {
        instead(&format!("{object}{{"), &format!("{object}{{\"{name}\":{value},"))
    };
    let mut long = vec![
        ("unknown field", 422, "/emial", with("/emial", json!(EMAIL))),
        ("an e-mail address as a field", 422, "/(name withheld)", with(&format!("/{EMAIL}"), json!(1))),
        ("an encoded one", 422, "/(name withheld)", with("/zaphodina%40quillfeather.example", json!(1))),
        ("a phone number as a field", 422, "/(name withheld)", with("/+1 650 555 1212", json!(1))),
        ("a person as a field", 422, "/user/(name withheld)", with("/user/Zaphodina Quillfeather", json!(1))),
        ("unknown field of the user", 422, "/user/mail", with("/user/mail", json!(EMAIL))),
        ("unknown field of the context", 422, "/context/agent", with("/context/agent", json!(EMAIL))),
        ("unknown field of an item", 422, "/items/0/sku", with("/items/0/sku", json!(EMAIL))),
        ("unknown field of UTM", 422, "/context/utm/id", with("/context/utm/id", json!(EMAIL))),
        ("unknown field of consent", 422, "/consent/ads", with("/consent/ads", json!(EMAIL))),
        ("field in another case", 422, "/Event_id", with("/Event_id", json!("x"))),
        ("field twice", 422, "/event", twice("", "event", "\"purchase\"")),
        ("user twice", 422, "/user", twice("", "user", "{}")),
        ("properties twice", 422, "/properties", twice("", "properties", "{}")),
        ("field of the user twice", 422, "/user/email", twice("\"user\":", "email", &format!("\"{EMAIL}\""))),
        ("field of the context twice", 422, "/context/url", twice("\"context\":", "url", "\"https://a.example\"")),
        ("field of an item twice", 422, "/items/0/id", twice("\"items\":[", "id", "\"x\"")),
        ("field of consent twice", 422, "/consent/ad_user_data", twice("\"consent\":", "ad_user_data", "\"denied\"")),
        ("UTM twice", 422, "/context/utm/term", twice("\"utm\":", "term", "\"x\"")),
        ("one field under both of its names", 422, "/context/sccid", twice("\"context\":", "ScCid", "\"x\"")),
        ("property twice", 422, "/properties/plan", twice("\"properties\":", "plan", "1")),
        ("nested property twice", 422, "/properties/nested/list", twice("\"nested\":", "list", "1")),
        ("a person as a property twice", 422, "/properties/(name withheld)", {
            twice("\"properties\":", EMAIL, &format!("1,\"{EMAIL}\":2"))
        }),
    ];
    for message in ["x`, expected", "x, expected ", " at line 1"] {
        long.push(("our own words in a name", 422, "/(name withheld)", with(&format!("/{message}{EMAIL}"), json!(1))));
        let value = json!(format!("{message}{EMAIL}"));
        long.push(("our own words in a value", 422, "/value", with("/value", value.clone())));
        long.push(("our own words in a choice", 422, "/action_source", with("/action_source", value.clone())));
        long.push(("our own words for an object", 422, "/consent", with("/consent", value)));
    }
    long
}

fn values() -> Vec<Case> {
    let big = "x".repeat(17 * 1024);
    let without = |name: &str| {
        let mut event = full();
        event.as_object_mut().expect("an object").remove(name);
        event.to_string().into_bytes()
    };
    let levels = |levels: usize| {
        let inner = format!("{{\"a\":{}}}", nested(levels - 1, "{\"a\":", "}"));
        instead("{\"nested\":{\"list\":[1,2]},\"plan\":\"pro\"}", &inner)
    };
    let url = |path: &str| json!(format!("https://shop.example/{path}"));
    vec![
        ("no event", 422, "/event", without("event")),
        ("empty object", 422, "/event", b"{}".to_vec()),
        ("event null", 422, "/event", with("/event", Value::Null)),
        ("event empty", 422, "/event", with("/event", json!(""))),
        ("event in capitals", 422, "/event", with("/event", json!("Purchase"))),
        ("event too long", 422, "/event", with("/event", json!("a".repeat(41)))),
        ("event an address", 422, "/event", with("/event", json!(EMAIL))),
        ("unknown currency", 422, "/currency", with("/currency", json!("XYZ"))),
        ("currency a symbol", 422, "/currency", with("/currency", json!("€"))),
        ("currency an address", 422, "/currency", with("/currency", json!(EMAIL))),
        ("value without currency", 422, "/currency", without("currency")),
        ("value with an empty currency", 422, "/currency", with("/currency", json!(""))),
        ("negative value", 422, "/value", with("/value", json!("-1"))),
        ("negative number", 422, "/value", with("/value", json!(-0.01))),
        ("40 digits", 422, "/value", with("/value", json!("9".repeat(40)))),
        ("13 decimals", 422, "/value", with("/value", json!("0.0000000000001"))),
        ("a number of too many digits", 422, "/value", instead("\"49.99\"", "123456789012345678901234.5")),
        ("1e308", 422, "/value", instead("\"49.99\"", "1e308")),
        ("decimal comma", 422, "/value", with("/value", json!("49,99"))),
        ("value with its currency", 422, "/value", with("/value", json!("USD 49.99"))),
        ("value empty", 422, "/value", with("/value", json!(""))),
        ("NaN in quotes", 422, "/value", with("/value", json!("NaN"))),
        ("Infinity in quotes", 422, "/value", with("/value", json!("Infinity"))),
        ("1e999 in quotes", 422, "/value", with("/value", json!("1e999"))),
        ("year 1970", 422, "/time", with("/time", json!("1970-01-01T00:00:00Z"))),
        ("year 2100", 422, "/time", with("/time", json!("2100-01-01T00:00:00Z"))),
        ("year 10000", 422, "/time", with("/time", json!("10000-01-01T00:00:00Z"))),
        ("year -1", 422, "/time", with("/time", json!("-0001-01-01T00:00:00Z"))),
        ("time without offset", 422, "/time", with("/time", json!("2026-11-20T08:15:00"))),
        ("a date", 422, "/time", with("/time", json!("2026-11-20"))),
        ("30 February", 422, "/time", with("/time", json!("2026-02-30T08:15:00Z"))),
        ("time a number", 422, "/time", with("/time", json!(1_763_626_500))),
        ("time in digits", 422, "/time", with("/time", json!("1763626500"))),
        ("time empty", 422, "/time", with("/time", json!(""))),
        ("event_id empty", 422, "/event_id", with("/event_id", json!(""))),
        ("event_id of spaces", 422, "/event_id", with("/event_id", json!("  "))),
        ("event_id of 257 bytes", 422, "/event_id", with("/event_id", json!("a".repeat(257)))),
        ("event_id with a control character", 422, "/event_id", with("/event_id", json!("a\u{7}b"))),
        ("event_id with an address", 422, "/event_id", with("/event_id", json!(format!("o-{EMAIL}")))),
        (
            "event_id with an encoded one",
            422,
            "/event_id",
            with("/event_id", json!("zaphodina%40quillfeather.example")),
        ),
        ("event_id with the phone number", 422, "/event_id", with("/event_id", json!("o-650-555-1212"))),
        ("event_id with the person", 422, "/event_id", with("/event_id", json!("Quillfeather.Zaphodina"))),
        ("transaction_id empty", 422, "/transaction_id", with("/transaction_id", json!(""))),
        ("transaction_id of 257 bytes", 422, "/transaction_id", with("/transaction_id", json!("ä".repeat(129)))),
        ("transaction_id with a line break", 422, "/transaction_id", with("/transaction_id", json!("a\nb"))),
        ("transaction_id with an address", 422, "/transaction_id", with("/transaction_id", json!(EMAIL))),
        ("visitor_id empty", 422, "/visitor_id", with("/visitor_id", json!(""))),
        ("visitor_id of 257 bytes", 422, "/visitor_id", with("/visitor_id", json!("v".repeat(257)))),
        ("visitor_id with an address", 422, "/visitor_id", with("/visitor_id", json!(EMAIL))),
        ("unknown action source", 422, "/action_source", with("/action_source", json!(EMAIL))),
        ("unknown choice", 422, "/consent/ad_user_data", with("/consent/ad_user_data", json!(EMAIL))),
        ("ftp address", 422, "/context/url", with("/context/url", json!("ftp://shop.example/"))),
        ("javascript address", 422, "/context/url", with("/context/url", json!("javascript:alert(1)"))),
        ("no address", 422, "/context/url", with("/context/url", json!(EMAIL))),
        ("relative address", 422, "/context/url", with("/context/url", json!("/thanks"))),
        ("address of 9 KB", 422, "/context/url", with("/context/url", url(&"x".repeat(9 * 1024)))),
        ("referrer of 9 KB", 422, "/context/referrer", with("/context/referrer", url(&"x".repeat(9 * 1024)))),
        ("data referrer", 422, "/context/referrer", with("/context/referrer", json!("data:text/html,x"))),
        ("bad ip", 422, "/context/ip", with("/context/ip", json!("203.0.113.300"))),
        ("ip with a port", 422, "/context/ip", with("/context/ip", json!("203.0.113.7:80"))),
        ("ip an address of another kind", 422, "/context/ip", with("/context/ip", json!(EMAIL))),
        ("click id with a space", 422, "/context/gclid", with("/context/gclid", json!("a b"))),
        ("click id of 1025 bytes", 422, "/context/fbclid", with("/context/fbclid", json!("x".repeat(1025)))),
        ("click id with an address", 422, "/context/ttclid", with("/context/ttclid", json!(EMAIL))),
        ("cookie of 1025 bytes", 422, "/context/fbp", with("/context/fbp", json!("x".repeat(1025)))),
        ("cookie with a line break", 422, "/context/fbc", with("/context/fbc", json!("fb.1.1.a\n"))),
        (
            "token of 1025 bytes",
            422,
            "/context/checkout_token",
            with("/context/checkout_token", json!("x".repeat(1025))),
        ),
        ("201 items", 422, "/items", with("/items", json!(vec![json!({"id": "x"}); 201]))),
        ("negative quantity", 422, "/items/0/quantity", with("/items/0/quantity", json!(-1))),
        ("negative price", 422, "/items/0/price", with("/items/0/price", json!("-0.01"))),
        ("item name of 1025 bytes", 422, "/items/0/name", with("/items/0/name", json!("x".repeat(1025)))),
        ("item id with a control character", 422, "/items/0/id", with("/items/0/id", json!("a\0"))),
        ("properties of 17 KiB", 422, "/properties", with("/properties/big", json!(big))),
        ("properties of 33 levels", 422, "*", levels(33)),
        ("properties of 10,000 levels", 422, "*", levels(10_000)),
        (
            "user of 10,000 levels",
            422,
            "/user/a",
            instead("\"user\":{", &format!("\"user\":{}", nested(10_000, "{\"a\":", "}"))),
        ),
        (
            "items of 10,000 levels",
            422,
            "/items/0",
            instead("\"items\":", &format!("\"items\":{},\"x\":", nested(10_000, "[", "]"))),
        ),
        ("lead id of 5 digits", 422, "/user/lead_id", with("/user/lead_id", json!("12345"))),
        ("a digest that is none", 422, "/user/email_sha256", with("/user/email_sha256", json!(EMAIL))),
        ("a short digest", 422, "/user/phone_sha256", with("/user/phone_sha256", json!("abc123"))),
        ("batch and single fields", 422, "*", with("/events", json!([{"event": "purchase"}]))),
        ("empty batch", 422, "/events", br#"{"events":[]}"#.to_vec()),
        (
            "batch of 1001",
            422,
            "/events",
            json!({"events": vec![json!({"event": "purchase"}); 1001]}).to_string().into(),
        ),
        ("batch an object", 422, "/events", br#"{"events":{}}"#.to_vec()),
        ("batch a text", 422, "/events", format!("{{\"events\":\"{EMAIL}\"}}").into_bytes()),
        ("batch twice", 422, "/events", br#"{"events":[],"events":[]}"#.to_vec()),
        ("broken batch", 400, "*", br#"{"events":[{"event":"purchase"},{]}"#.to_vec()),
        ("batch with an unknown field", 422, "/source", br#"{"events":[{"event":"purchase"}],"source":"x"}"#.to_vec()),
    ]
}

/// Every field with values of every other type. The pointer is the field's, or leads into it.
fn types() -> Vec<(String, Vec<u8>)> {
    fn leaves(at: &str, value: &Value, found: &mut Vec<(String, Value)>) {
        if at.starts_with("/properties/") {
            return;
        }
        found.push((at.to_owned(), value.clone()));
        match value {
            Value::Object(object) => object.iter().for_each(|(name, v)| leaves(&format!("{at}/{name}"), v, found)),
            Value::Array(list) => list.iter().enumerate().for_each(|(i, v)| leaves(&format!("{at}/{i}"), v, found)),
            _ => {}
        }
    }
    let mut found = Vec::new();
    full().as_object().expect("an object").iter().for_each(|(name, v)| leaves(&format!("/{name}"), v, &mut found));
    let mut cases = Vec::new();
    for (pointer, value) in found {
        let mut wrong = vec![
            json!(true),
            json!(7.5),
            json!({ EMAIL: EMAIL }),
            json!({ "website": null }),
            json!([7, EMAIL]),
            json!([[EMAIL]]),
        ];
        if value.is_array() || value.is_object() {
            wrong.push(json!(EMAIL));
        }
        if value.is_object() {
            // Lists of their values in order.
            wrong.push(value.as_object().expect("an object").values().cloned().collect());
        }
        let amount = ["/value", "/items/0/quantity", "/items/0/price"].contains(&pointer.as_str());
        wrong.retain(|wrong| !(amount && wrong.is_number() || pointer == "/properties" && wrong.is_object()));
        cases.extend(wrong.into_iter().map(|wrong| (pointer.clone(), with(&pointer, wrong))));
    }
    cases
}

/// A relay that keeps being asked whether it still works.
struct Watched {
    relay: Relay,
    good: u64,
    wrong: Vec<String>,
}

impl Drop for Watched {
    fn drop(&mut self) {
        // All at once: one rule changed by mistake shows in many cases.
        if !std::thread::panicking() {
            assert!(self.wrong.is_empty(), "{}", self.wrong.join("\n"));
        }
    }
}

impl Watched {
    fn start(setup: &Setup) -> Self {
        Self { relay: setup.start(), good: 0, wrong: Vec::new() }
    }

    async fn post(&self, path: &str, body: Vec<u8>) -> Answer {
        let request = self.relay.client.post(format!("{}{path}", self.relay.public)).bearer_auth(KEY);
        Relay::send(request.header("content-type", "application/json").body(body)).await
    }

    /// The answer is a problem of this status and pointer (`*`: any, `-`: none) that quotes nothing personal, and the
    /// relay still works.
    async fn refused(&mut self, what: &str, answer: &Answer, status: u16, pointer: &str) {
        let problem = answer.json();
        let pointed = match pointer {
            "*" => problem["pointer"].is_string(),
            "-" => problem["pointer"].is_null(),
            pointer => problem["pointer"] == pointer,
        };
        let typed = answer.header("content-type") == "application/problem+json" && problem["status"] == status;
        let told = problem["detail"].as_str().is_some_and(|detail| detail.len() > 10);
        if !(answer.status == status && typed && pointed && told) {
            self.wrong.push(format!("{what}: {} {} instead of {status} {pointer}", answer.status, answer.text));
        }
        quotes_nothing(what, answer);
        self.works(what).await;
    }

    async fn works(&mut self, what: &str) {
        self.good += 1;
        let event = json!({"event": "purchase", "event_id": format!("good-{}", self.good)});
        let (status, answer) = self.relay.post("/v1/events", &event).await;
        assert_eq!(status, 202, "after {what}: {answer}");
    }
}

fn quotes_nothing(what: &str, answer: &Answer) {
    let all = format!("{:?}{}", answer.headers, answer.text).to_lowercase();
    for personal in PERSONAL {
        assert!(!all.contains(personal), "{what} is quoted: {all}");
    }
}

#[tokio::test]
async fn malformed_events_are_refused_with_the_field_and_without_its_value() {
    let setup = Setup::new(FILE);
    let mut relay = Watched::start(&setup);
    let (status, answer) = relay.relay.post_bytes("/v1/events", full().to_string().into_bytes()).await;
    assert_eq!(status, 202, "the full event is sound, so only the change makes it malformed: {answer}");
    let cases: Vec<Case> = [syntax(), names(), values()].concat();
    assert!(cases.len() >= 120, "{}", cases.len());
    for (what, status, pointer, body) in cases {
        let answer = relay.post("/v1/events", body).await;
        relay.refused(what, &answer, status, pointer).await;
    }
    let accepted = relay.relay.admin("/v1/balance").await["accepted"].clone();
    assert_eq!(accepted, relay.good + 1, "nothing of what was refused is stored");
}

#[tokio::test]
async fn every_field_refuses_every_other_type() {
    let setup = Setup::new(FILE);
    let mut relay = Watched::start(&setup);
    for (field, body) in types() {
        let posted: Value = serde_json::from_slice(&body).expect("is JSON");
        let shown = posted.pointer(&field).expect("is there").to_string();
        let answer = relay.post("/v1/events", body).await;
        let (text, pointer) = (&answer.text, answer.json()["pointer"].as_str().unwrap_or_default().to_owned());
        let pointed = pointer == field || pointer.starts_with(&format!("{field}/"));
        if !pointed || answer.status != 422 || answer.header("content-type") != "application/problem+json" {
            relay.wrong.push(format!("{field}: {} {text} {shown}", answer.status));
        }
        quotes_nothing(&field, &answer);
    }
    relay.works("all of them").await;
    assert_eq!(relay.relay.admin("/v1/balance").await["accepted"], 1);
}

#[tokio::test]
async fn requests_that_are_wrong_before_their_body_is_read_are_refused() {
    let setup = Setup::new(FILE);
    let mut relay = Watched::start(&setup);
    let url = format!("{}/v1/events", relay.relay.public);
    let body = full().to_string();
    let post = || relay.relay.client.post(&url).body(body.clone());
    let json = |request: reqwest::RequestBuilder| request.header("content-type", "application/json");
    let mut requests = Vec::new();
    requests.push(("no key", 401, json(post())));
    for authorization in
        ["Bearer", "Bearer ", "Bearer wrong", "Basic a2V5OmtleQ==", KEY, "Bearer  x y", &format!("Bearer {EMAIL}")]
    {
        requests.push(("a wrong key", 401, json(post()).header("authorization", authorization)));
    }
    requests.push(("a key of bytes", 401, json(post()).header("authorization", &b"Bearer \xff\xfe"[..])));
    for kind in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "json", ""] {
        requests.push(("a wrong type", 415, post().bearer_auth(KEY).header("content-type", kind)));
    }
    requests.push(("a type of bytes", 415, post().bearer_auth(KEY).header("content-type", &b"\xff"[..])));
    for method in ["GET", "PUT", "DELETE", "PATCH", "OPTIONS", "BREW"] {
        let method = method.parse().expect("a method");
        requests.push(("a wrong method", 405, relay.relay.client.request(method, &url).bearer_auth(KEY)));
    }
    for path in [&format!("/{EMAIL}"), "/v1/events/", "/v1", "/", "/files/../relay.key", "/v1/events/x?email=a"] {
        requests.push(("an unknown path", 404, json(relay.relay.client.post(format!("{}{path}", relay.relay.public)))));
    }
    requests.push((
        "a path that is no UTF-8",
        400,
        relay.relay.client.get(format!("{}/files/%ff", relay.relay.public)),
    ));
    let requests: Vec<_> = requests;
    for (what, status, request) in requests {
        let answer = Relay::send(request).await;
        relay.refused(what, &answer, status, "-").await;
        match status {
            401 => assert_eq!(answer.header("www-authenticate"), "Bearer"),
            405 => assert_eq!(answer.header("allow"), "POST"),
            _ => {}
        }
    }
}

#[tokio::test]
async fn bodies_over_the_limit_get_a_413_however_they_come() {
    let setup = Setup::new(FILE);
    let mut relay = Watched::start(&setup);
    let ten = vec![b'x'; 10 << 20];
    let answer = relay.post("/v1/events", ten.clone()).await;
    relay.refused("10 MB with its length", &answer, 413, "-").await;
    let answer = relay.post("/v1/visits", vec![b' '; 100 << 10]).await;
    relay.refused("a visit of 100 KiB", &answer, 413, "-").await;
    let unauthorized = relay.relay.client.post(format!("{}/v1/events", relay.relay.public)).body(ten.clone());
    let answer = Relay::send(unauthorized).await;
    relay.refused("10 MB without a key", &answer, 401, "-").await;

    let mut chunked = head("POST", "/v1/events", "Transfer-Encoding: chunked\r\nContent-Type: application/json\r\n");
    for chunk in ten.chunks(60_000) {
        chunked.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        chunked.extend_from_slice(chunk);
        chunked.extend_from_slice(b"\r\n");
    }
    chunked.extend_from_slice(b"0\r\n\r\n");
    let answer = exchange(&relay.relay, chunked, false);
    assert!(answer.starts_with("HTTP/1.1 413 ") && answer.contains("application/problem+json"), "{answer}");
    relay.works("10 MB in chunks").await;
}

/// A request's head as bytes, with the key.
fn head(method: &str, path: &str, headers: &str) -> Vec<u8> {
    let always = format!("Host: relay\r\nAuthorization: Bearer {KEY}\r\nConnection: close\r\n");
    format!("{method} {path} HTTP/1.1\r\n{always}{headers}\r\n").into_bytes()
}

/// Writes bytes to the public listener, and nothing after them if it `ends`; reads until it closes the connection.
fn exchange(relay: &Relay, bytes: Vec<u8>, ends: bool) -> String {
    let address = relay.public.trim_start_matches("http://");
    let mut stream = TcpStream::connect(address).expect("connects");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("is set");
    let mut writer = stream.try_clone().expect("clones");
    let writing = std::thread::spawn(move || {
        // The other side may have closed it already.
        let _closed = writer.write_all(&bytes);
        if ends {
            let _closed = writer.shutdown(std::net::Shutdown::Write);
        }
    });
    let mut answer = Vec::new();
    let _reset = stream.read_to_end(&mut answer);
    writing.join().expect("writes");
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn oddities_of_http_itself_do_no_harm() {
    let setup = Setup::new(FILE);
    let mut relay = Watched::start(&setup);
    let body = format!("{{\"event\":\"purchase\",\"user\":{{\"email\":\"{EMAIL}\"}}}}");
    let good = |headers: &str| {
        let length = format!("Content-Type: application/json\r\nContent-Length: {}\r\n{headers}", body.len());
        [head("POST", "/v1/events", &length), body.clone().into_bytes()].concat()
    };
    let text = |text: &str| text.as_bytes().to_vec();
    let auth = format!("Authorization: Bearer {KEY}\r\nConnection: close\r\n");
    // Bytes, and what the answer starts with; empty: no answer is an answer too.
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("a good request", good(""), "HTTP/1.1 202 "),
        ("no Host", format!("POST /v1/events HTTP/1.1\r\n{auth}Content-Length: 0\r\n\r\n").into(), "HTTP/1.1 400 "),
        ("two Hosts", good("Host: other\r\n"), "HTTP/1.1 400 "),
        ("HTTP/1.0", text("GET /healthz HTTP/1.0\r\n\r\n"), "HTTP/1.0 200 "),
        ("no HTTP", text("zaphodina@quillfeather.example\r\n\r\n"), "HTTP/1.1 400 "),
        ("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n".to_vec(), "HTTP/1.1 400 "),
        ("HTTP/3.7", text("GET / HTTP/3.7\r\nHost: x\r\n\r\n"), "HTTP/1.1 400 "),
        ("HTTP/2 without asking", text("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), ""),
        ("nothing", Vec::new(), ""),
        ("header without a name", good(": x\r\n"), "HTTP/1.1 400 "),
        ("header with a NUL", good("X-A: a\0b\r\n"), "HTTP/1.1 400 "),
        ("header of 1 MiB", good(&format!("X-A: {}\r\n", "a".repeat(1 << 20))), "HTTP/1.1 431 "),
        ("200 headers", good(&"X-A: a\r\n".repeat(200)), "HTTP/1.1 431 "),
        ("path of 100 KB", head("GET", &format!("/{}", "a".repeat(100_000)), ""), "HTTP/1.1 414 "),
        ("length that is none", head("POST", "/v1/events", "Content-Length: ten\r\n"), "HTTP/1.1 400 "),
        ("negative length", head("POST", "/v1/events", "Content-Length: -1\r\n"), "HTTP/1.1 400 "),
        ("two lengths", good("Content-Length: 3\r\n"), "HTTP/1.1 400 "),
        ("length and chunks", good("Transfer-Encoding: chunked\r\n"), "HTTP/1.1 4"),
        (
            "a broken chunk",
            [head("POST", "/v1/events", "Transfer-Encoding: chunked\r\n"), text("zz\r\n")].concat(),
            "HTTP/1.1 4",
        ),
        ("a body that ends early", [head("POST", "/v1/events", "Content-Length: 99\r\n"), text("{")].concat(), ""),
    ];
    for (what, bytes, starts) in cases {
        let answer = exchange(&relay.relay, bytes, starts.is_empty());
        if !answer.starts_with(starts) {
            relay.wrong.push(format!("{what}: {answer}"));
        }
        for personal in PERSONAL {
            assert!(!answer.to_lowercase().contains(personal), "{what}: {answer}");
        }
        relay.works(what).await;
    }
    let open = format!("POST /v1/events HTTP/1.1\r\nHost: relay\r\nAuthorization: Bearer {KEY}\r\n");
    let pipelined = format!("{open}Content-Length: {}\r\n\r\n{body}{EMAIL} is no request\r\n\r\n", body.len());
    let answer = exchange(&relay.relay, pipelined.into_bytes(), false);
    assert!(answer.starts_with("HTTP/1.1 202 ") && answer.contains("HTTP/1.1 400 "), "{answer}");
    relay.works("garbage behind a good request").await;
}

#[tokio::test]
async fn of_a_mixed_batch_the_good_ones_are_stored_and_each_gets_its_answer_in_order() {
    let setup = Setup::new(FILE);
    let mut relay = Watched::start(&setup);
    let good = |id: &str| json!({"event": "purchase", "event_id": id, "user": {"email": EMAIL}});
    let mut deep = json!(1);
    for _ in 0..40 {
        deep = json!({ "a": deep });
    }
    let events = json!([
        good("b-1"), 5, null, EMAIL, [], [good("b-x")], {"events": [good("b-y")]}, good("b-2"), {},
        {"event": "purchase", "value": "1"}, {"event": "purchase", "user": {"email": 5}},
        {"event": "purchase", EMAIL: 1}, {"event": "purchase", "properties": deep}, good("b-1"), good("b-3"),
    ]);
    let pointers = [
        "",
        "/events/1",
        "/events/2",
        "/events/3",
        "/events/4",
        "/events/5",
        "/events/6/events",
        "",
        "/events/8/event",
        "/events/9/currency",
        "/events/10/user/email",
        "/events/11/(name withheld)",
        "*",
        "",
        "",
    ];
    // Surrogates have no form in a value, so they are written into the text.
    let body = json!({ "events": events }).to_string().replacen("\"b-3\"", "\"b-3\"},{\"event\":\"\\ud800\"", 1);
    let answer = relay.post("/v1/events", body.into_bytes()).await;
    assert_eq!((answer.status, answer.header("content-type")), (207, "application/json"), "{}", answer.text);
    quotes_nothing("the batch", &answer);
    let results = answer.json()["results"].as_array().expect("results").clone();
    assert_eq!(results.len(), pointers.len() + 1);
    for (i, (result, pointer)) in results.iter().zip(pointers).enumerate() {
        match pointer {
            "" => assert!(result["problem"].is_null() && result["event_id"].is_string(), "{i}: {result}"),
            "*" => assert!(result["problem"]["pointer"].as_str().is_some_and(|p| p.starts_with("/events/12/"))),
            pointer => assert_eq!(result["problem"]["pointer"], pointer, "{i}: {result}"),
        }
        assert_eq!(result["status"] == "rejected", !pointer.is_empty(), "{i}: {result}");
    }
    assert_eq!((&results[13]["status"], &results[13]["event_id"]), (&json!("duplicate"), &json!("b-1")));
    assert_eq!(results[15]["problem"]["pointer"], "/events/15/event");
    let stored = relay.relay.admin("/v1/balance").await["accepted"].clone();
    assert_eq!(stored, 3, "b-1, b-2 and b-3");
    assert_eq!(relay.relay.admin("/v1/events/b-2").await["event"], "purchase");

    let answer = relay.post("/v1/events", json!({"events": [5, {"event": EMAIL}]}).to_string().into_bytes()).await;
    assert_eq!(answer.status, 422, "{}", answer.text);
    quotes_nothing("the second batch", &answer);
    assert_eq!(answer.json()["results"].as_array().expect("results").len(), 2);
    relay.works("a batch without a good one").await;
}

#[tokio::test]
async fn malformed_visits_are_refused_with_the_field_and_without_its_value() {
    let setup = Setup::new(FILE);
    let mut relay = Watched::start(&setup);
    let sound = json!({
        "visitor_id": "v-1", "url": "https://shop.example/?gclid=g1", "referrer": "android-app://example",
        "cookies": {"_fbp": "fb.1.1794000000123.987654"}, "consent": {"ad_user_data": "granted"},
        "user": {"email": EMAIL, "phone": "+1 650 555 1212", "first_name": "Zaphodina", "last_name": "Quillfeather"},
        "checkout_token": "c1", "cart_token": "c2"
    });
    let with = |name: &str, value: Value| {
        let mut visit = sound.clone();
        visit[name] = value;
        visit.to_string().into_bytes()
    };
    let text = sound.to_string();
    let cases: Vec<Case> = vec![
        ("empty body", 400, "", Vec::new()),
        ("truncated", 400, "*", text.as_bytes()[..text.len() - 3].to_vec()),
        ("trailing garbage", 400, "", format!("{text}{EMAIL}").into_bytes()),
        ("a list", 422, "", b"[]".to_vec()),
        ("a list of our values", 422, "", b"[\"v\",\"https://a.example\",null,null,null,null,null,null]".to_vec()),
        ("a text", 422, "", format!("\"{EMAIL}\"").into_bytes()),
        ("no url", 422, "/url", b"{}".to_vec()),
        ("url null", 422, "/url", with("url", Value::Null)),
        ("url a number", 422, "/url", with("url", json!(5))),
        ("url of another kind", 422, "/url", with("url", json!("javascript:alert(1)"))),
        ("url of 9 KB", 422, "/url", with("url", json!(format!("https://a.example/{}", "x".repeat(9000))))),
        ("referrer a number", 422, "/referrer", with("referrer", json!(5))),
        ("unknown field", 422, "/email", with("email", json!(EMAIL))),
        ("an address as a field", 422, "/(name withheld)", with(EMAIL, json!(EMAIL))),
        ("unknown field of the user", 422, "/user/mail", with("user", json!({"mail": EMAIL}))),
        ("user a text", 422, "/user", with("user", json!(EMAIL))),
        ("user a list", 422, "/user", with("user", json!([EMAIL]))),
        ("user with a wrong digest", 422, "/user/email_sha256", with("user", json!({"email_sha256": EMAIL}))),
        ("consent a list", 422, "/consent", with("consent", json!(["granted", "granted"]))),
        ("consent a text", 422, "/consent/ad_user_data", with("consent", json!({"ad_user_data": EMAIL}))),
        ("cookies a text", 422, "/cookies", with("cookies", json!(EMAIL))),
        ("cookies a list", 422, "/cookies", with("cookies", json!([EMAIL]))),
        ("cookie a number", 422, "/cookies/_fbp", with("cookies", json!({"_fbp": 5}))),
        ("a person as a cookie", 422, "/cookies/(name withheld)", with("cookies", json!({ EMAIL: 5 }))),
        ("a cookie twice", 422, "/cookies/_fbp", text.replace("\"_fbp\":", "\"_fbp\":\"x\",\"_fbp\":").into_bytes()),
        ("visitor_id empty", 422, "/visitor_id", with("visitor_id", json!(""))),
        ("visitor_id too long", 422, "/visitor_id", with("visitor_id", json!("v".repeat(257)))),
        ("visitor_id an address", 422, "/visitor_id", with("visitor_id", json!(EMAIL))),
        ("visitor_id the phone number", 422, "/visitor_id", with("visitor_id", json!("16505551212"))),
        ("token too long", 422, "/checkout_token", with("checkout_token", json!("x".repeat(1025)))),
        ("token a number", 422, "/cart_token", with("cart_token", json!(5))),
        ("user twice", 422, "/user", text.replace("\"user\":", "\"user\":{},\"user\":").into_bytes()),
        ("lone surrogate", 422, "/visitor_id", text.replace("\"v-1\"", "\"\\udfff\"").into_bytes()),
        ("10,000 levels", 422, "/a", nested(10_000, "{\"a\":", "}").into_bytes()),
    ];
    for (what, status, pointer, body) in cases {
        let answer = relay.post("/v1/visits", body).await;
        relay.refused(what, &answer, status, pointer).await;
    }
    let answer = relay.post("/v1/visits", text.into_bytes()).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
}
