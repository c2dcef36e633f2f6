//! Tests of the kind `generic`.

use super::{super::testing, *};

const BODY: &[u8] = br#"{"id":1,"email":"a@b.test"}"#;
/// Vectors: computed outside this code, with the vendor\'s own package where there is one.
const HEX: &str = "cd0740ed91f366cb18aa557a435d1cd2100ef5f9636d0416a4e0501d429d6df0";
const BASE64: &str = "zQdA7ZHzZssYqlV6Q10c0hAO9fljbQQWpOBQHUKdbfA=";
const AT: i64 = 1_700_000_000;

fn verdict(config: &str, headers: &[(&str, &str)], body: &[u8]) -> Option<&'static str> {
    let source = testing::mapped(&DESCRIPTOR, config);
    let headers = testing::headers(headers.iter().copied());
    let inbound = Inbound { headers: &headers, query: None, body };
    source.verify(&inbound, Time::from_secs(AT)).err().map(|refusal| refusal.reason)
}

#[test]
fn fixtures_read_as_their_snapshots() {
    let config = r#"
        secrets = ['shhh']
        signature = { header = "x-signature", encoding = "hex" }
        delivery_id = "_headers['x-delivery'] | default(batch)"
        each = "orders | default([_body])"
        [map]
        event = "{'order.paid': 'purchase', 'order.refunded': 'refund'}[type | default('order.paid')]"
        transaction_id = "id"
        value = "total | default(cents | minor(currency | default(_root.currency)))"
        currency = "currency | default(_root.currency)"
        time = "at | default(_root.at)"
        items = "lines"
        "item.id" = "sku"
        "item.quantity" = "qty"
        "item.price" = "price"
        "user.email" = "[customer.email, email]"
        "user.phone" = "customer.phone"
        "properties.discounts" = "discounts | map(attribute='code') | join(', ')"
        "properties.discount" = "discounts | sum(attribute='amount')"
    "#;
    testing::mapped_snapshots("generic", &DESCRIPTOR, config);
}

#[test]
fn signatures_are_those_of_the_vectors() {
    let hex = "secrets = ['old', 'shhh']\nsignature = { header = 'X-Signature', encoding = 'hex' }";
    assert_eq!(verdict(hex, &[("x-signature", HEX)], BODY), None);
    assert_eq!(verdict(hex, &[("x-signature", &HEX.to_uppercase())], BODY), None);
    assert_eq!(verdict(hex, &[("x-signature", &format!("{}, {HEX}", "00".repeat(32)))], BODY), None);
    assert_eq!(verdict(hex, &[("x-signature", HEX)], b"{}"), Some("bad_signature"));
    assert_eq!(verdict(hex, &[("x-signature", &HEX.replace("cd", "ce"))], BODY), Some("bad_signature"));
    for headers in [&[][..], &[("x-signature", "")], &[("x-signature", BASE64)], &[("x-signature", &HEX[1..])]] {
        assert_eq!(verdict(hex, headers, BODY), Some("no_signature"));
    }
    let base64 = "secrets = ['shhh']\nsignature = { header = 'x-s', encoding = 'base64' }";
    assert_eq!(verdict(base64, &[("x-s", BASE64)], BODY), None);
    let prefix = "secrets = ['shhh']\nsignature = { header = 'x-s', encoding = 'hex', prefix = 'sha256=' }";
    assert_eq!(verdict(prefix, &[("x-s", &format!("sha256={HEX}"))], BODY), None);
    assert_eq!(verdict(prefix, &[("x-s", HEX)], BODY), Some("no_signature"));
    let word = prefix.replace("sha256=", "HMAC-SHA256 ");
    assert_eq!(verdict(&word, &[("x-s", &format!("HMAC-SHA256 {HEX}"))], BODY), None);
    let other = hex.replace("'shhh'", "'other'");
    assert_eq!(verdict(&other, &[("x-signature", HEX)], BODY), Some("bad_signature"));
}

#[test]
fn a_signed_time_has_to_be_fresh() {
    let config = "secrets = ['shhh']\nsignature = { header = 'x-s', encoding = 'hex', timestamp = 'x-t' }";
    let signed = |stamp: &str| -> String {
        let mac = super::super::verify::hmac(b"shhh", &[stamp.as_bytes(), b".", BODY]);
        mac.iter().map(|byte| format!("{byte:02x}")).collect()
    };
    let at = |stamp: &str| verdict(config, &[("x-s", &signed(stamp)), ("x-t", stamp)], BODY);
    for fresh in ["1700000000", "1700000000000", "1699999701", "1700000300", "2023-11-14T22:13:20Z"] {
        assert_eq!(at(fresh), None, "{fresh}");
    }
    assert_eq!(at("1699999699"), Some("stale"));
    assert_eq!(at("1700000301"), Some("from_the_future"));
    assert_eq!(at("soon"), Some("no_signature"));
    assert_eq!(verdict(config, &[("x-s", &signed("1700000000"))], BODY), Some("no_signature"));
    // The time is part of what is signed.
    assert_eq!(verdict(config, &[("x-s", &signed("1700000000")), ("x-t", "1700000001")], BODY), Some("bad_signature"));
}

#[test]
fn a_secret_may_be_presented_instead() {
    let bearer = "secrets = ['new', 'shhh']\nbearer = true";
    assert_eq!(verdict(bearer, &[("authorization", "Bearer shhh")], BODY), None);
    assert_eq!(verdict(bearer, &[("authorization", "Bearer x")], BODY), Some("bad_credential"));
    assert_eq!(verdict(bearer, &[("authorization", "Basic shhh")], BODY), Some("no_credential"));
    let key = "secrets = ['shhh']\nheader = 'X-Api-Key'";
    assert_eq!(verdict(key, &[("x-api-key", "shhh")], BODY), None);
    assert_eq!(verdict(key, &[("x-api-key", "shh")], BODY), Some("bad_credential"));
    assert_eq!(verdict(key, &[], BODY), Some("no_credential"));
    let basic = "secrets = ['shhh']\nbasic = { user = 'erp' }";
    assert_eq!(verdict(basic, &[("authorization", "Basic ZXJwOnNoaGg=")], BODY), None);
    assert_eq!(verdict(basic, &[("authorization", "Basic ZXJwOnNoaA==")], BODY), Some("bad_credential"));
    assert_eq!(verdict(basic, &[], BODY), Some("no_credential"));
}

#[test]
fn a_form_reads_as_an_object_of_texts() {
    let source = testing::mapped(&DESCRIPTOR, "secrets = ['x']\nbearer = true");
    let headers = testing::headers([("content-type", "application/x-www-form-URLEncoded; charset=utf-8")]);
    let inbound = Inbound { headers: &headers, query: None, body: b"total=49.90&tag=a&tag=b&name=Ada+L%C3%B6w&empty=" };
    let parsed = source.parse(&Verified::trusted(&inbound)).map_err(|refusal| refusal.reason).expect("reads");
    let [Report::Event(told)] = parsed.reports.as_slice() else { panic!("one event") };
    assert_eq!(told.body, serde_json::json!({"total": "49.90", "tag": ["a", "b"], "name": "Ada Löw", "empty": ""}));
    let many = "a=1&".repeat(1001);
    let inbound = Inbound { headers: &headers, query: None, body: many.as_bytes() };
    assert_eq!(source.parse(&Verified::trusted(&inbound)).err().map(|refusal| refusal.reason), Some("unreadable"));
}

#[test]
fn lists_are_bounded() {
    let source = testing::mapped(&DESCRIPTOR, "secrets = ['x']\nbearer = true\neach = 'orders'");
    let none = HeaderMap::new();
    let count = |source: &dyn Source, body: Value| {
        let body = body.to_string();
        let inbound = Inbound { headers: &none, query: None, body: body.as_bytes() };
        let parsed = source.parse(&Verified::trusted(&inbound)).expect("is told");
        match parsed.reports.as_slice() {
            [Report::Refused(refusal)] => Err(refusal.reason),
            reports => Ok(reports.len()),
        }
    };
    let list = |n: usize| Value::from(vec![serde_json::json!({"id": 1}); n]);
    assert_eq!(count(source.as_ref(), serde_json::json!({"orders": list(1000)})), Ok(1000));
    assert_eq!(count(source.as_ref(), serde_json::json!({"orders": list(1001)})), Err("unreadable"));
    assert_eq!(count(source.as_ref(), serde_json::json!({"orders": null})), Ok(0));
    assert_eq!(count(source.as_ref(), serde_json::json!({"orders": {"id": 1}})), Ok(1));
    let plain = testing::mapped(&DESCRIPTOR, "secrets = ['x']\nbearer = true");
    assert_eq!(count(plain.as_ref(), list(3)), Ok(3));
    assert_eq!(count(plain.as_ref(), list(1001)), Err("unreadable"));
    let inbound = Inbound { headers: &none, query: None, body: b"{\"a\": " };
    assert_eq!(plain.parse(&Verified::trusted(&inbound)).err().map(|refusal| refusal.reason), Some("malformed"));
}

#[test]
fn wrong_settings_are_told() {
    let told = |config: &str| testing::told(&DESCRIPTOR, &format!("{config}\nmap.event = \"'x'\""));
    let one = |config: &str| {
        let told = told(config);
        assert_eq!(told.len(), 1, "{told:?}");
        told[0].clone()
    };
    assert!(one("secrets = ['x']").starts_with("signature: is missing: { header"));
    assert!(one("bearer = true").starts_with("secrets: is missing"));
    assert!(one("secrets = ['x']\nbearer = false").starts_with("bearer: must be true"));
    assert!(
        one("secrets = ['x']\nbearer = true\nbasic = { user = 'a' }").starts_with("basic: cannot stand beside bearer")
    );
    assert!(one("secrets = ['x']\nbasic = {}").starts_with("basic.user: is missing"));
    assert!(one("secrets = ['x']\nheader = 'a b'").starts_with("header: must be the name"));
    assert!(one("secrets = ['x']\nbearer = true\neach = 'a +'").starts_with("each: has a +"));
    assert!(one("secrets = ['x']\nbearer = true\ndelivery_id = '('").starts_with("delivery_id: is no expression"));
    let signature = told("secrets = ['x']\nsignature = { encoding = 'hx', name = 'x' }");
    assert_eq!(signature.len(), 3, "{signature:?}");
    let without = testing::told(&DESCRIPTOR, "secrets = ['x']\nbearer = true");
    assert!(without[0].starts_with("map.event: is missing"), "{without:?}");
}
