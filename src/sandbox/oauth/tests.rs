use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use crate::sandbox::{
    Fault, FaultMode, Platform,
    testing::{NOW_S, Running, with},
};

async fn assert_jwt(running: &Running, header: &Value, claims: &Value, signature: &[u8]) -> (u16, Value) {
    let part = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
    let (header, claims) = (part(header.to_string().as_bytes()), part(claims.to_string().as_bytes()));
    let assertion = format!("{header}.{claims}.{}", part(signature));
    let grant = ("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer");
    running.form("/oauth/token", &[grant, ("assertion", &assertion)]).await
}

#[tokio::test]
async fn a_refresh_token_is_exchanged_for_an_access_token() {
    let running = Running::start().await;
    let (status, body) = running.refresh("good").await;
    assert_eq!((status, &body["expires_in"], &body["token_type"]), (200, &json!(3599), &json!("Bearer")));
    assert_ne!(running.token().await, running.token().await);
    let (status, body) = running.refresh("revoked").await;
    assert_eq!((status, &body["error"]), (400, &json!("invalid_grant")));
    let (status, body) = running.form("/oauth/token", &[("grant_type", "refresh_token"), ("refresh_token", "x")]).await;
    assert_eq!((status, &body["error"]), (401, &json!("invalid_client")));
    let (_, body) = running.form("/oauth/token", &[("grant_type", "password")]).await;
    assert_eq!(body["error"], "unsupported_grant_type");
    let stats = running.sandbox.stats().oauth;
    assert_eq!((stats.requests, stats.accepted, stats.refused["invalid_grant"]), (6, 3, 1));
}

#[tokio::test]
async fn an_assertion_is_checked_claim_by_claim() {
    let running = Running::start().await;
    let header = json!({"alg": "RS256", "typ": "JWT", "kid": "k1"});
    let claims = json!({
        "iss": "relay@project.iam.gserviceaccount.com",
        "scope": "https://www.googleapis.com/auth/datamanager",
        "aud": format!("{}/oauth/token", running.base),
        "iat": NOW_S,
        "exp": NOW_S + 3600,
    });
    let signature = [7; 256];
    assert_eq!(assert_jwt(&running, &header, &claims, &signature).await.0, 200);
    let ads = with(claims.clone(), "/scope", Some(json!("https://www.googleapis.com/auth/adwords")));
    assert_eq!(assert_jwt(&running, &header, &ads, &signature).await.0, 200);
    let other = json!("https://www.googleapis.com/auth/analytics");
    let cases = [
        ("/exp", json!(NOW_S), "invalid_grant"),
        ("/exp", json!(NOW_S + 3601), "invalid_grant"),
        ("/iat", json!(NOW_S + 61), "invalid_grant"),
        ("/iat", json!("now"), "invalid_grant"),
        ("/iss", json!("relay"), "invalid_grant"),
        ("/aud", json!("elsewhere"), "invalid_grant"),
        ("/nbf", json!(NOW_S), "invalid_grant"),
        ("/scope", other, "invalid_scope"),
    ];
    for (pointer, value, error) in cases {
        let (status, body) =
            assert_jwt(&running, &header, &with(claims.clone(), pointer, Some(value)), &signature).await;
        assert_eq!((status, &body["error"]), (400, &json!(error)), "{pointer}");
    }
    let none = with(header.clone(), "/alg", Some(json!("none")));
    assert_eq!(assert_jwt(&running, &none, &claims, &signature).await.0, 400);
    assert_eq!(assert_jwt(&running, &header, &claims, b"").await.0, 400);
}

#[tokio::test]
async fn the_token_endpoint_fails_as_told() {
    let running = Running::start().await;
    for (mode, status, error) in [
        (FaultMode::Outage, 503, "temporarily_unavailable"),
        (FaultMode::Throttle, 429, "temporarily_unavailable"),
        (FaultMode::ExpiredToken, 400, "invalid_grant"),
    ] {
        running.sandbox.set_fault(Platform::Oauth, Fault::new(mode).for_requests(1));
        let (code, body) = running.refresh("good").await;
        assert_eq!((code, &body["error"]), (status, &json!(error)));
    }
    assert_eq!(running.refresh("good").await.0, 200);
}
