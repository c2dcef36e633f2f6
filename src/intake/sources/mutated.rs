//! The fixtures of every source, each with one value at a time that no provider sends: nothing panics, and what is optional
//! costs no sale.

use std::{fs, path::Path};

use serde_json::{Value, json};

use super::{Inbound, REGISTRY, Report, Verified, testing};
use crate::{intake::read::read_draft, model::SourceName};

/// The settings that read the most of each kind.
const CONFIGS: [(&str, &str); 9] = [
    ("calendly", "secrets = ['s']\nvisitor_id_in = 'utm_content'\nphone_question = 'Your phone number'"),
    ("hubspot", "secrets = ['s']\nurl = 'https://relay.example/w'\napi = { token = 't' }"),
    ("lemon_squeezy", "secrets = ['s']\nvalue = 'subtotal'"),
    ("paddle", "secrets = ['s']\nvalue = 'subtotal'\napi = { token = 't' }"),
    ("pipedrive", "secrets = ['s']\napi = { token = 't' }\n[events]\nwon = 'purchase'\nperson.added = 'sign_up'"),
    ("salesforce_json", "secrets = ['s']\nformat = 'json'\ncurrency = 'EUR'"),
    ("shopify", "secrets = ['s']\nvalue = 'subtotal'\ncurrency = 'presentment'\npurchase_on = 'orders/create'"),
    ("stripe", "secrets = ['s']\nvalue = 'subtotal'\npayment_intents = 'accept'\napi = { token = 't' }"),
    ("woocommerce", "secrets = ['s']\nvalue = 'subtotal'\ntransaction_id = 'number'"),
];
/// Parts of a pointer to what is optional: people, addresses, items, notes.
const OPTIONAL: [&str; 16] = [
    "/customer",
    "/billing",
    "/shipping_address",
    "/meta_data",
    "/metadata",
    "/custom_data",
    "/custom_fields",
    "/note_attributes",
    "/client_details",
    "/first_order_item",
    "/user_",
    "/person",
    "email",
    "phone",
    "/lines/",
    "/properties",
];

/// Pointers to everything in `value`.
fn pointers(value: &Value, at: &str, found: &mut Vec<String>) {
    found.push(at.to_owned());
    match value {
        Value::Object(entries) => entries.iter().for_each(|(name, value)| {
            pointers(value, &format!("{at}/{}", name.replace('~', "~0").replace('/', "~1")), found);
        }),
        Value::Array(entries) => {
            entries.iter().enumerate().for_each(|(i, value)| pointers(value, &format!("{at}/{i}"), found));
        }
        _ => {}
    }
}

#[test]
fn nothing_panics_and_what_is_optional_costs_no_sale() {
    let mutations = [
        json!(null),
        json!(""),
        json!("9999999999999999999999999999"),
        json!("-9999999999999999999999999999"),
        json!(i64::MIN),
        json!(u64::MAX),
        json!("0.000000000001"),
        json!([1, "x", null, {}]),
        json!({}),
        json!(true),
        json!("ä\u{0}€\n".repeat(400)),
    ];
    let source_name = SourceName::new("shop").expect("valid");
    for (kind, config) in CONFIGS {
        let descriptor = REGISTRY.iter().find(|descriptor| kind.starts_with(descriptor.kind)).expect("is known");
        let source = testing::build(descriptor, config);
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/intake/sources/fixtures").join(kind);
        let files = fs::read_dir(directory).expect("fixtures").map(|entry| entry.expect("reads").path());
        let mut files: Vec<_> = files.filter(|path| !path.to_string_lossy().ends_with(".event.json")).collect();
        files.sort();
        for (nth, path) in files.iter().enumerate() {
            let Ok(mut body) = serde_json::from_slice::<Value>(&fs::read(path).expect("reads")) else { continue };
            let mut headers = testing::headers([]);
            if let (Some(Value::Object(given)), Some(inner)) = (body.get("headers"), body.get("body")) {
                headers =
                    testing::headers(given.iter().filter_map(|(name, value)| Some((name.as_str(), value.as_str()?))));
                body = inner.clone();
            }
            let refused = |body: &Value| {
                let body = body.to_string();
                let inbound = Inbound { headers: &headers, query: None, body: body.as_bytes() };
                let Ok(parsed) = source.parse(&Verified::trusted(&inbound)) else { return true };
                parsed.reports.into_iter().any(|report| match report {
                    Report::Event(told) => read_draft(told.draft, &source_name, testing::NOW).0.is_err(),
                    Report::Refused(_) => true,
                    Report::Ignored { .. } => false,
                })
            };
            let sound = !refused(&body);
            let mut places = Vec::new();
            pointers(&body, "", &mut places);
            for (place, pointer) in places.iter().enumerate() {
                let mut mutated = body.clone();
                // One of them each: the fixtures of a kind share most of their places.
                *mutated.pointer_mut(pointer).expect("is there") = mutations[(place + nth) % mutations.len()].clone();
                let costs = refused(&mutated) && sound;
                let optional = OPTIONAL.iter().any(|part| pointer.contains(part));
                assert!(!(costs && optional), "{}: {pointer} costs the sale", path.display());
            }
        }
    }
}
