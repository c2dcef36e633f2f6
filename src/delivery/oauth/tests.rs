use std::collections::BTreeMap;

use jsonwebtoken::{DecodingKey, Validation};
use tokio::task::JoinSet;
use wiremock::{Mock, MockServer, ResponseTemplate, matchers::method};

use super::*;
use crate::model::MockClock;

const KEY: &str = include_str!("../fixtures/test_only_key.pem");
const PUBLIC_KEY: &str = include_str!("../fixtures/test_only_key.pub.pem");
const SCOPE: &str = "https://www.googleapis.com/auth/datamanager";

struct Setting {
    server: MockServer,
    clock: Arc<MockClock>,
    source: Arc<TokenSource>,
}

fn refresh_token() -> GoogleCredentials {
    GoogleCredentials::Refresh {
        client_id: "client&1".into(),
        client_secret: Secret::new("s3cret+ä"),
        refresh_token: Secret::new("1//refresh"),
    }
}

fn service_account(key: &str) -> GoogleCredentials {
    GoogleCredentials::ServiceAccount {
        client_email: "relay@project.iam.gserviceaccount.com".into(),
        private_key_id: "key-1".into(),
        private_key: Secret::new(key),
    }
}

async fn setting(credentials: GoogleCredentials) -> Setting {
    let server = MockServer::start().await;
    let clock = Arc::new(MockClock::at(Time::from_secs(1_763_626_500)));
    let auth = GoogleAuth { credentials, token_url: format!("{}/token", server.uri()), scope: SCOPE };
    let source = Arc::new(TokenSource::new(reqwest::Client::new(), &auth, clock.clone()));
    Setting { server, clock, source }
}

fn granted(token: &str) -> ResponseTemplate {
    let body = format!(r#"{{"access_token":"{token}","expires_in":3599,"scope":"s","token_type":"Bearer"}}"#);
    ResponseTemplate::new(200).set_body_raw(body, "application/json")
}

fn refused(status: u16, error: &str, description: &str) -> ResponseTemplate {
    let body = format!(r#"{{"error":"{error}","error_description":"{description}"}}"#);
    ResponseTemplate::new(status).set_body_raw(body, "application/json")
}

impl Setting {
    /// What the endpoint answers from now on, once if `once`.
    async fn answers(&self, answer: ResponseTemplate, once: bool) {
        let mock = Mock::given(method("POST")).respond_with(answer);
        let mock = if once { mock.up_to_n_times(1) } else { mock };
        mock.mount(&self.server).await;
    }

    async fn asked(&self) -> usize {
        self.server.received_requests().await.expect("recorded").len()
    }

    async fn form(&self) -> BTreeMap<String, String> {
        let requests = self.server.received_requests().await.expect("recorded");
        let request = requests.last().expect("one came");
        assert_eq!(request.headers["content-type"], "application/x-www-form-urlencoded");
        url::form_urlencoded::parse(&request.body).into_owned().collect()
    }

    async fn token(&self) -> Result<String, TokenError> {
        self.source.token().await.map(|token| token.expose().to_owned())
    }

    /// The results of 20 callers at once.
    async fn tokens(&self) -> Vec<Result<String, TokenError>> {
        let mut callers = JoinSet::new();
        for _ in 0..20 {
            let source = Arc::clone(&self.source);
            callers.spawn(async move { source.token().await.map(|token| token.expose().to_owned()) });
        }
        callers.join_all().await
    }
}

fn blocked(code: &str, message: &str) -> TokenError {
    TokenError::Blocked { code: code.into(), message: message.into() }
}

#[tokio::test]
async fn a_refresh_token_is_posted_as_a_form() {
    let setting = setting(refresh_token()).await;
    setting.answers(granted("t1"), false).await;
    assert_eq!(setting.token().await, Ok("t1".into()));
    let form = setting.form().await;
    let form: Vec<_> = form.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    assert_eq!(
        form,
        [
            ("client_id", "client&1"),
            ("client_secret", "s3cret+ä"),
            ("grant_type", "refresh_token"),
            ("refresh_token", "1//refresh")
        ]
    );
}

#[tokio::test]
async fn a_service_account_signs_an_assertion_that_its_public_key_verifies() {
    let setting = setting(service_account(KEY)).await;
    setting.answers(granted("t1"), false).await;
    assert_eq!(setting.token().await, Ok("t1".into()));
    let form = setting.form().await;
    assert_eq!(form["grant_type"], "urn:ietf:params:oauth:grant-type:jwt-bearer");

    let mut rules = Validation::new(Algorithm::RS256);
    rules.validate_exp = false; // the mock clock stands where it stands
    rules.set_audience(&[format!("{}/token", setting.server.uri())]);
    let key = DecodingKey::from_rsa_pem(PUBLIC_KEY.as_bytes()).expect("a public key");
    let token = jsonwebtoken::decode::<serde_json::Value>(&form["assertion"], &key, &rules).expect("verifies");
    assert_eq!((token.header.kid.as_deref(), token.header.typ.as_deref()), (Some("key-1"), Some("JWT")));
    assert_eq!(token.claims["iss"], "relay@project.iam.gserviceaccount.com");
    assert_eq!(token.claims["scope"], SCOPE);
    assert_eq!(token.claims["iat"], 1_763_626_500);
    assert_eq!(token.claims["exp"], 1_763_626_500 + 3600);
}

#[tokio::test]
async fn a_key_that_cannot_sign_blocks_without_asking() {
    let setting = setting(service_account("-----BEGIN PRIVATE KEY-----\nbm8=\n-----END PRIVATE KEY-----\n")).await;
    let error = setting.token().await.expect_err("no key");
    assert!(matches!(&error, TokenError::Blocked { code, .. } if code == "unusable_key"), "{error}");
    assert_eq!(setting.asked().await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_callers_share_one_request() {
    let setting = setting(refresh_token()).await;
    setting.answers(granted("t1").set_delay(Duration::from_millis(100)), false).await;
    assert!(setting.tokens().await.iter().all(|token| *token == Ok("t1".into())));
    assert_eq!(setting.asked().await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_that_waited_for_a_request_share_its_failure() {
    let setting = setting(refresh_token()).await;
    setting.answers(ResponseTemplate::new(503).set_delay(Duration::from_millis(300)), false).await;
    let results = setting.tokens().await;
    assert!(results.iter().all(|result| matches!(result, Err(TokenError::Transient { .. }))), "{results:?}");
    assert_eq!(setting.asked().await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_token_is_replaced_once() {
    let setting = setting(refresh_token()).await;
    setting.answers(granted("t1"), true).await;
    setting.answers(granted("t2"), false).await;
    let used = setting.token().await.expect("granted");
    for _ in 0..3 {
        setting.source.invalidate(&used);
        assert_eq!(setting.token().await, Ok("t2".into()));
    }
    assert_eq!(setting.asked().await, 2);
}

#[tokio::test]
async fn a_token_is_replaced_shortly_before_it_expires() {
    let setting = setting(refresh_token()).await;
    setting.answers(granted("t1"), true).await;
    setting.answers(granted("t2"), false).await;
    assert_eq!(setting.token().await, Ok("t1".into()));
    setting.clock.advance(Duration::from_secs(3599 - 226));
    assert_eq!(setting.token().await, Ok("t1".into()));
    setting.clock.advance(Duration::from_secs(1));
    assert_eq!(setting.token().await, Ok("t2".into()));
}

#[tokio::test]
async fn while_an_early_refresh_fails_the_old_token_is_used_to_its_end() {
    let setting = setting(refresh_token()).await;
    setting.answers(granted("t1"), true).await;
    setting.answers(ResponseTemplate::new(500), false).await;
    assert_eq!(setting.token().await, Ok("t1".into()));
    setting.clock.advance(Duration::from_secs(3599 - 100));
    assert_eq!(setting.token().await, Ok("t1".into()));
    assert_eq!(setting.token().await, Ok("t1".into()));
    assert_eq!(setting.asked().await, 2, "the next try has to wait");
    setting.clock.advance(Duration::from_secs(100));
    assert!(matches!(setting.token().await, Err(TokenError::Transient { .. })));
}

#[tokio::test]
async fn a_dead_credential_blocks_with_the_endpoints_words() {
    for (status, code) in [(400, "invalid_grant"), (401, "invalid_client"), (401, "unauthorized_client")] {
        let setting = setting(refresh_token()).await;
        setting.answers(refused(status, code, "Token has been expired or revoked."), false).await;
        assert_eq!(setting.token().await, Err(blocked(code, "Token has been expired or revoked.")));
    }
}

#[tokio::test]
async fn a_busy_endpoint_is_asked_again() {
    let after = Some(Duration::from_secs(7));
    for (answer, retry_after) in [
        (ResponseTemplate::new(500), None),
        (ResponseTemplate::new(429).insert_header("retry-after", "7"), after),
        (refused(400, "internal_failure", ""), None),
        (refused(503, "invalid_grant", ""), None),
        (ResponseTemplate::new(404).set_body_string("<html>"), None),
        (ResponseTemplate::new(200).set_body_string("{}"), None),
        (granted("two words"), None),
    ] {
        let setting = setting(refresh_token()).await;
        setting.answers(answer, true).await;
        setting.answers(granted("t2"), false).await;
        let error = setting.token().await.expect_err("busy");
        assert!(matches!(error, TokenError::Transient { retry_after: r, .. } if r == retry_after), "{error:?}");
        assert_eq!(setting.token().await, Ok("t2".into()));
    }
}

#[tokio::test]
async fn no_text_holds_a_credential_or_an_address() {
    let setting = setting(refresh_token()).await;
    setting.answers(refused(400, "invalid_grant", "no such token: 1//refresh"), true).await;
    assert_eq!(setting.token().await, Err(blocked("invalid_grant", "")));
    setting.answers(granted("t1"), false).await;
    let token = setting.source.token().await.expect("granted");
    assert_eq!(format!("{token:?}"), "AccessToken(..)");
    assert_eq!(format!("{:?}", setting.source), "TokenSource { .. }");

    let auth =
        GoogleAuth { credentials: refresh_token(), token_url: "http://127.0.0.1:1/secret-path".into(), scope: SCOPE };
    let source = TokenSource::new(reqwest::Client::new(), &auth, setting.clock.clone());
    let error = source.token().await.expect_err("nobody listens there").to_string();
    assert!(error.contains("cannot be reached") && !error.contains("secret-path"), "{error}");
}
