//! Senders that keep to the Standard Webhooks specification, or to Svix, which it comes from. What a body means is up to
//! `[sources.map]`.
//!
//! Source: the Standard Webhooks specification (standardwebhooks.com), read 2026-11-20; vector reproduced with the specification's own
//! package.

use std::{sync::Arc, time::Duration};

use axum::http::HeaderMap;
use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::{
    Common, Descriptor, Inbound, Parsed, Refusal, Source, Verified,
    generic::Shape,
    header, json, tolerance,
    verify::{Secrets, fresh, from_base64, no_signature},
};
use crate::model::{Settings, Time};

/// Kind `standard_webhooks`.
pub(super) const DESCRIPTOR: Descriptor = Descriptor { kind: "standard_webhooks", build };

/// What secrets begin with; the rest is Base64.
const SECRET_PREFIX: &str = "whsec_";
/// Symmetric signatures begin with this; others, such as `v1a`, are of other keys.
const SCHEME: &str = "v1,";
/// Signatures in one header: those of the secrets of a rotation.
const SIGNATURES_MAX: usize = 16;
/// The names of the three headers begin with one of these.
const FAMILIES: [&str; 2] = ["webhook", "svix"];

struct StandardWebhooks {
    secrets: Secrets,
    tolerance: Duration,
    shape: Shape,
}

fn build(common: &Common, settings: &mut Settings) -> Option<Arc<dyn Source>> {
    const WHAT: &str = "the endpoint's signing secret: whsec_ and Base64";
    let decoded = |text: &str| {
        let text = text.trim();
        let bytes = STANDARD.decode(text.strip_prefix(SECRET_PREFIX).unwrap_or(text)).ok()?;
        (!bytes.is_empty()).then_some(bytes)
    };
    let secrets = settings.need("secrets", WHAT).list("secrets", WHAT, decoded);
    if secrets.as_ref().is_some_and(Vec::is_empty) {
        settings.problem("secrets", format!("must hold at least one: {WHAT}"));
    }
    let secrets = secrets.filter(|secrets| !secrets.is_empty()).map(Secrets::new);
    let tolerance = tolerance(settings, Duration::from_secs(300));
    let shape = Shape::read(common, settings);
    Some(Arc::new(StandardWebhooks { secrets: secrets?, tolerance, shape: shape? }))
}

/// The id, the time and the signatures, all of one family of headers.
fn signed(headers: &HeaderMap) -> Option<(&str, &str, &str)> {
    FAMILIES.iter().find_map(|family| {
        let part = |name: &str| header(headers, &format!("{family}-{name}"));
        Some((part("id")?, part("timestamp")?, part("signature")?))
    })
}

impl Source for StandardWebhooks {
    fn verify<'a>(&self, inbound: &'a Inbound<'a>, now: Time) -> Result<Verified<'a>, Refusal> {
        let missing = "the headers webhook-id, webhook-timestamp and webhook-signature (or svix-…) are not all there";
        let (id, timestamp, signatures) = signed(inbound.headers).ok_or_else(|| no_signature(missing))?;
        let signed_at = timestamp.parse().ok().map(Time::from_secs);
        let signed_at = signed_at.ok_or_else(|| no_signature("the timestamp header holds no seconds since 1970"))?;
        let given: Vec<[u8; 32]> = signatures
            .split_ascii_whitespace()
            .filter_map(|signature| from_base64(signature.strip_prefix(SCHEME)?))
            .take(SIGNATURES_MAX)
            .collect();
        if given.is_empty() {
            return Err(no_signature("the signature header holds no signature of scheme v1"));
        }
        let signed = [id.as_bytes(), b".", timestamp.as_bytes(), b".", inbound.body];
        let verified = self.secrets.hmac(inbound, &signed, &given)?;
        fresh(signed_at, now, self.tolerance, Some(self.tolerance)).map(|()| verified)
    }

    fn parse(&self, verified: &Verified<'_>) -> Result<Parsed, Refusal> {
        // The one that was signed: another could be put beside it, and what was recorded would count again.
        let signed = signed(verified.headers()).map(|(id, _, _)| id);
        let id = signed.or_else(|| FAMILIES.iter().find_map(|family| verified.header(&format!("{family}-id"))));
        self.shape.parse(json::body(verified.body())?, verified.headers(), id.map(str::to_owned))
    }
}

#[cfg(test)]
mod tests {
    use super::{super::testing, *};

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const BODY: &[u8] = br#"{"id":1,"email":"a@b.test"}"#;
    /// Vector: computed outside this code, with the vendor\'s own package where there is one.
    const RIGHT: &str = "v1,1uGL5AnBiZ5lQgSoeQ3ojpszk9C9Vg1iSutoyhwZl58=";

    fn config(secrets: &str) -> String {
        format!("secrets = [{secrets}]")
    }

    fn verdict(config: &str, family: &str, signature: &str, at: i64, body: &[u8]) -> Option<&'static str> {
        let source = testing::mapped(&DESCRIPTOR, config);
        let names = ["id", "timestamp", "signature"].map(|name| format!("{family}-{name}"));
        let [id, timestamp, signed] = &names;
        let headers = testing::headers([(id.as_str(), "msg_1"), (timestamp, "1700000000"), (signed, signature)]);
        let inbound = Inbound { headers: &headers, query: None, body };
        source.verify(&inbound, Time::from_secs(at)).err().map(|refusal| refusal.reason)
    }

    #[test]
    fn the_signature_is_that_of_the_vector() {
        let one = config(&format!("'{SECRET}'"));
        let at = 1_700_000_000;
        for family in ["webhook", "svix", "Webhook"] {
            assert_eq!(verdict(&one, family, RIGHT, at, BODY), None, "{family}");
        }
        assert_eq!(verdict(&config(&format!("'{}'", &SECRET[6..])), "webhook", RIGHT, at, BODY), None);
        assert_eq!(verdict(&config(&format!("'whsec_AAAA', '{SECRET}'")), "webhook", RIGHT, at, BODY), None);
        assert_eq!(verdict(&config("'whsec_AAAA'"), "webhook", RIGHT, at, BODY), Some("bad_signature"));
        let rotated = format!("v1a,AAAA v1,{}= {RIGHT}", "A".repeat(43));
        assert_eq!(verdict(&one, "webhook", &rotated, at, BODY), None);
        assert_eq!(verdict(&one, "webhook", RIGHT, at, b"{}"), Some("bad_signature"));
        assert_eq!(verdict(&one, "webhook", &RIGHT[3..], at, BODY), Some("no_signature"));
        assert_eq!(verdict(&one, "other", RIGHT, at, BODY), Some("no_signature"));
        assert_eq!(verdict(&one, "webhook", RIGHT, at + 300, BODY), None);
        assert_eq!(verdict(&one, "webhook", RIGHT, at + 301, BODY), Some("stale"));
        assert_eq!(verdict(&one, "webhook", RIGHT, at - 301, BODY), Some("from_the_future"));
        let day = format!("{one}\ntolerance = '1d'");
        assert_eq!(verdict(&day, "webhook", RIGHT, at + 86_400, BODY), None);
    }

    #[test]
    fn headers_of_two_families_are_not_mixed() {
        let source = testing::mapped(&DESCRIPTOR, &config(&format!("'{SECRET}'")));
        let headers =
            testing::headers([("webhook-id", "msg_1"), ("svix-timestamp", "1700000000"), ("webhook-signature", RIGHT)]);
        let inbound = Inbound { headers: &headers, query: None, body: BODY };
        let refused = source.verify(&inbound, Time::from_secs(1_700_000_000)).err();
        assert_eq!(refused.map(|refusal| refusal.reason), Some("no_signature"));
    }

    #[test]
    fn the_delivery_is_known_by_its_id() {
        let source = testing::mapped(&DESCRIPTOR, &config(&format!("'{SECRET}'")));
        let headers = testing::headers([("svix-id", "msg_1")]);
        let read = testing::reads(source.as_ref(), &headers, BODY);
        assert_eq!(read["delivery_id"], "msg_1");
        assert_eq!(read["reports"].as_array().map(Vec::len), Some(1));
        let headers = testing::headers([
            ("svix-id", "msg_1"),
            ("svix-timestamp", "1700000000"),
            ("svix-signature", RIGHT),
            ("webhook-id", "unsigned"),
        ]);
        let inbound = Inbound { headers: &headers, query: None, body: BODY };
        let verified = source.verify(&inbound, Time::from_secs(1_700_000_000)).map_err(|refusal| refusal.reason);
        let parsed = source.parse(&verified.expect("is signed")).map_err(|refusal| refusal.reason).expect("reads");
        assert_eq!(parsed.delivery_id.as_deref(), Some("msg_1"), "the one that was signed");
    }

    #[test]
    fn wrong_settings_are_told() {
        let told = |config: &str| testing::told(&DESCRIPTOR, config);
        assert_eq!(
            told(""),
            [
                "secrets: is missing: the endpoint's signing secret: whsec_ and Base64",
                "map.event: is missing: what happened, as an expression, such as \"'purchase'\"",
            ]
        );
        assert_eq!(
            told("secrets = ['whsec_!', '']\nmap.event = \"'x'\"").iter().filter(|t| t.starts_with("secrets[")).count(),
            2
        );
        assert!(told("secrets = []\nmap.event = \"'x'\"")[0].starts_with("secrets: must hold"));
    }
}
