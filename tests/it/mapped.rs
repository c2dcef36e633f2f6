//! Sources whose meaning the operator maps, Salesforce's messages, and `preview` of bodies.

use std::process::Output;

use serde_json::{Value, json};

use crate::{
    support::{Answer, Platforms, Relay, Setup},
    webhooks::signature,
};

/// The source of the design's example, to the letter but for the secret.
const ERP: &str = r#"
[[sources]]
name = "erp"
kind = "generic"                       # also with standard_webhooks
secrets = ["erp-secret"]
signature = { header = "x-signature", encoding = "hex" }   # HMAC-SHA256 of the body; or bearer, or basic
[sources.map]                          # our field (dotted path into §4.4) = expression over the body
event = "'purchase'"
transaction_id = "order.id"
value = "order.total"
currency = "order.currency"
"user.email" = "customer.email"
"#;

const LIST: &str = r#"
[[sources]]
name = "till"
kind = "generic"
secrets = ["till-secret"]
bearer = true
each = "orders"
[sources.map]
event = "{'sale': 'purchase', 'return': 'refund'}[kind]"
transaction_id = "order"
value = "amount | minor(currency | default(_root.currency))"
currency = "currency | default(_root.currency)"
"user.phone" = "phone"
"#;

const CRM: &str = r#"
[[sources]]
name = "crm"
kind = "salesforce"
secrets = ["crm-secret"]
organization_id = "00D000000000062"
currency = "EUR"
"#;

async fn deliver(relay: &Relay, body: &str, header: (&str, &str), path: &str) -> Answer {
    let request = relay.client.post(format!("{}/webhooks/{path}", relay.public));
    Relay::send(request.header(header.0, header.1).body(body.to_owned())).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_documented_generic_source_works_as_it_stands() {
    let platforms = Platforms::start().await;
    let setup = Setup::new(&format!("{ERP}{}", platforms.destinations()));
    let relay = setup.start();
    let order = |id: u64, total: &str, currency: &str| {
        json!({ "order": { "id": id, "total": total, "currency": currency }, "customer": { "email": "ada.erp@example.com" } })
            .to_string()
    };
    let signed = |body: &str| signature("erp-secret", body.as_bytes());
    let first = order(123_456_789_012_345_678, "49.90", "EUR");
    let answer = deliver(&relay, &first, ("x-signature", &signed(&first)), "erp").await;
    assert_eq!(
        (answer.status, answer.json()["accepted"][0].as_str()),
        (200, Some("erp:purchase:123456789012345678")),
        "{}",
        answer.text
    );
    // The same order in another body is the same sale.
    let again = first.replace("}}", "},\"try\":2}");
    let answer = deliver(&relay, &again, ("x-signature", &signed(&again)), "erp").await;
    assert_eq!(answer.json()["duplicates"], json!(["erp:purchase:123456789012345678"]), "{}", answer.text);
    for (total, currency) in [("4999", "JPY"), ("1.234", "KWD")] {
        let body = order(total.len() as u64, total, currency);
        let answer = deliver(&relay, &body, ("x-signature", &signed(&body)), "erp").await;
        assert_eq!(answer.status, 200, "{}", answer.text);
    }
    let wrong = order(9, "49,90", "EUR");
    let answer = deliver(&relay, &wrong, ("x-signature", &signed(&wrong)), "erp").await;
    assert_eq!((answer.status, answer.json()["pointer"].as_str()), (422, Some("/value")), "{}", answer.text);
    assert!(!answer.text.contains("ada.erp") && !answer.text.contains("49,90"), "{}", answer.text);
    assert_eq!(deliver(&relay, &first, ("x-signature", &signed(&wrong)), "erp").await.status, 401);
    relay.settled().await;
    assert_eq!(relay.balanced().await["accepted"], 3);
    let received = platforms.sandbox.received_meta();
    let values: Vec<Value> = received.iter().map(|event| event["event"]["custom_data"]["value"].clone()).collect();
    for value in [json!(49.9), json!(4999), json!(1.234)] {
        assert!(values.contains(&value), "{value}: {values:?}");
    }
    assert!(!setup.log().contains("ada.erp"), "no contact data in the log");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_of_many_entries_is_taken_entry_by_entry() {
    let platforms = Platforms::start().await;
    let setup = Setup::new(&format!("{LIST}{}", platforms.destinations()));
    let relay = setup.start();
    let body = json!({ "currency": "EUR", "orders": [
        { "kind": "sale", "id": 1, "order": "A", "amount": 4999, "phone": "+16505551212" },
        { "kind": "return", "id": 2, "order": "A", "amount": 1000 },
        { "kind": "return", "id": 3, "order": "A", "amount": "500" },
        { "kind": "inventory", "id": 4 },
        { "kind": "sale", "id": 5, "order": "B", "amount": 12.5, "phone": "+16505551213" },
    ] })
    .to_string();
    for (accepted, duplicates) in [(3, 0), (0, 3)] {
        let answer = deliver(&relay, &body, ("authorization", "Bearer till-secret"), "till").await;
        let told = answer.json();
        let count = |name: &str| told[name].as_array().map(Vec::len);
        assert_eq!(
            (answer.status, count("accepted"), count("duplicates")),
            (200, Some(accepted), Some(duplicates)),
            "{told}"
        );
        assert_eq!((&told["ignored"], count("refused")), (&json!(1), Some(1)), "{told}");
    }
    let sources = relay.admin("/v1/sources").await;
    let till =
        sources["sources"].as_array().and_then(|all| all.iter().find(|s| s["name"] == "till")).expect("is there");
    assert_eq!(till["ignored_topics"], json!({ ": not mapped": 2 }), "{till}");
}

#[tokio::test(flavor = "multi_thread")]
async fn salesforce_gets_an_acknowledgement_only_for_what_was_taken() {
    let platforms = Platforms::start().await;
    let setup = Setup::new(&format!("{CRM}{}", platforms.destinations()));
    let relay = setup.start();
    let message = |organization: &str, fields: &str| {
        format!(
            "<soapenv:Envelope xmlns:soapenv=\"http://schemas.xmlsoap.org/soap/envelope/\" \
             xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\"><soapenv:Body><notifications \
             xmlns=\"http://soap.sforce.com/2005/09/outbound\"><OrganizationId>{organization}</OrganizationId><Notification>\
             <Id>04l1</Id><sObject xsi:type=\"sf:Lead\" xmlns:sf=\"urn:sobject.enterprise.soap.sforce.com\">\
             <sf:Id>00QA0000001AbcDMAS</sf:Id><sf:Email>ada.crm@example.com</sf:Email>{fields}</sObject></Notification>\
             </notifications></soapenv:Body></soapenv:Envelope>"
        )
    };
    let xml = ("content-type", "text/xml; charset=utf-8");
    let sound = message("00D000000000062EAA", "<sf:Status>Qualified</sf:Status>");
    for _ in 0..2 {
        let answer = deliver(&relay, &sound, xml, "crm?token=crm-secret").await;
        assert_eq!((answer.status, answer.header("content-type")), (200, "text/xml; charset=utf-8"));
        assert!(answer.text.contains("<Ack>true</Ack>"), "{}", answer.text);
    }
    // Older than the relay takes: told to Salesforce, which shows it as failed.
    let old = message("00D000000000062EAA", "<sf:CreatedDate>2001-01-01T00:00:00Z</sf:CreatedDate>");
    let answer = deliver(&relay, &old, xml, "crm?token=crm-secret").await;
    assert!(answer.text.contains("<Ack>false</Ack>"), "{}", answer.text);
    for (body, path) in
        [(&message("00D000000000063EAA", ""), "crm?token=crm-secret"), (&sound, "crm?token=x"), (&sound, "crm")]
    {
        let answer = deliver(&relay, body, xml, path).await;
        assert_eq!((answer.status, answer.text.contains("Ack")), (401, false), "{}", answer.text);
    }
    assert_eq!(relay.balanced().await["accepted"], 1);
    let log = setup.log();
    assert!(!log.contains("ada.crm") && !log.contains("crm-secret"), "neither contact data nor the token in the log");
}

fn preview(setup: &Setup, arguments: &[&str], body: &str) -> (bool, String) {
    let file = setup.config().with_file_name("body");
    std::fs::write(&file, body).expect("writes");
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_conversion-relay"));
    command.args(["preview", "--config"]).arg(setup.config()).args(arguments).arg(&file);
    let Output { status, stdout, stderr } = command.output().expect("runs");
    (status.success(), String::from_utf8_lossy(&stdout).into_owned() + &String::from_utf8_lossy(&stderr))
}

#[tokio::test(flavor = "multi_thread")]
async fn preview_shows_what_a_body_would_become() {
    let platforms = Platforms::start().await;
    let setup = Setup::new(&format!("{ERP}{LIST}{}", platforms.destinations()));
    let order = json!({ "order": { "id": 7, "total": "49.90", "currency": "EUR" }, "customer": { "email": "ada@example.com" } });
    let (good, told) = preview(&setup, &["--source", "erp"], &order.to_string());
    assert!(good, "{told}");
    for part in [
        "source erp (generic)",
        "\"transaction_id\": \"7\"",
        "\"ada@example.com\"",
        "event_id erp:purchase:7",
        "── meta",
        "POST http",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
    let body = json!({ "currency": "EUR", "orders": [
        { "kind": "sale", "id": 1, "order": "A", "amount": 4999 },
        { "kind": "inventory", "id": 4, "type": "stock.changed" },
        { "kind": "sale", "id": 5, "order": "B", "amount": 12.5 },
        { "kind": "sale", "id": 6, "order": "C", "amount": 100, "phone": [{}] },
    ] });
    let (good, told) = preview(&setup, &["--source", "till", "--header", "X-Any: thing"], &body.to_string());
    assert!(!good, "an entry is refused: {told}");
    for part in [
        "═══ entry 4",
        "ignored: not mapped (stock.changed)",
        "the relay would refuse this entry:",
        "\"pointer\": \"/value\"",
        "left out: user.phone",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
    let (good, told) = preview(&setup, &["--source", "erp"], "{");
    assert!(!good && told.contains("the relay would refuse this body:"), "{told}");
    let (good, told) = preview(&setup, &["--source", "erp", "--header", "nothing"], "{}");
    assert!(!good && told.contains("must be a header"), "{told}");
    // Events of the native API, as ever.
    let event = json!({ "event": "purchase", "event_id": "e-1", "value": 1, "currency": "EUR" });
    let (good, told) = preview(&setup, &[], &event.to_string());
    assert!(good && told.contains("event_id e-1"), "{told}");
}
