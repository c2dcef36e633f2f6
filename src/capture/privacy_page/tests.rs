use serde_json::Value;

use super::*;

fn facts() -> PrivacyFacts {
    let days = |days: u64| Duration::from_secs(days * 86_400);
    PrivacyFacts {
        contact: Some(Contact::of("privacy@shop.example")),
        require_consent: true,
        respect_gpc: true,
        meta_cookies: true,
        cookie_life: days(400),
        own_domains: vec!["checkout.example".into()],
        retention: Retention {
            visits: days(77),
            clicks: days(66),
            delivered: days(33),
            dead_letters: days(88),
            dedupe: days(11),
        },
        destinations: vec![("meta", OnUnknownConsent::Skip), ("ga4", OnUnknownConsent::Skip)],
    }
}

/// The answer's headers and body.
async fn get_page(facts: PrivacyFacts, accept: &str) -> (HeaderMap, String) {
    let accepted = HeaderMap::from_iter([(header::ACCEPT, accept.parse().expect("a value"))]);
    let answer = show(State(Page::new(facts, Arc::default())), accepted).await.expect("answers");
    assert_eq!(answer.status(), 200);
    let headers = answer.headers().clone();
    let body = axum::body::to_bytes(answer.into_body(), 1 << 20).await.expect("a body");
    (headers, String::from_utf8(body.to_vec()).expect("is text"))
}

const BROWSER: &str = "text/html,application/xhtml+xml,application/json;q=0.9,*/*;q=0.8";

#[tokio::test]
async fn the_page_says_what_the_configuration_says() {
    let (headers, page) = get_page(facts(), BROWSER).await;
    assert_eq!(headers[header::CONTENT_TYPE], "text/html; charset=utf-8");
    let wanted = [
        "77 days after you were last seen",
        "66 days",
        "33 days after it was reported everywhere; 88 days if",
        "kept for 11 days",
        "400 days",
        "90 days",
        "Before you agree, nothing about you is kept",
        "Global Privacy Control",
        "Where you were not asked, nothing is sent.",
        "Meta (Facebook, Instagram)",
        "Google Analytics",
        "checkout.example",
        "mailto:privacy@shop.example",
        "click.fingerprint",
    ];
    for text in wanted {
        assert!(page.contains(text), "{text} is missing in {page}");
    }
    for absent in ["Data Manager", "Google Ads<", "click.country", "<script"] {
        assert!(!page.contains(absent), "{absent}");
    }
}

#[tokio::test]
async fn other_settings_make_another_page() {
    let other = PrivacyFacts {
        contact: None,
        require_consent: false,
        respect_gpc: false,
        meta_cookies: false,
        own_domains: Vec::new(),
        destinations: Vec::new(),
        ..facts()
    };
    let (_, page) = get_page(other, BROWSER).await;
    for text in ["kept unless you decline", "Nothing is sent to anybody.", "<p>Nobody.</p>"] {
        assert!(page.contains(text), "{text}");
    }
    for absent in ["Global Privacy", "<td>_fbp</td>", "handed to", "Contact:", "Before you agree"] {
        assert!(!page.contains(absent), "{absent}");
    }
}

#[tokio::test]
async fn the_style_is_the_only_thing_the_policy_allows() {
    let (headers, page) = get_page(facts(), BROWSER).await;
    let style = page.split_once("<style>").and_then(|(_, rest)| rest.split_once("</style>")).expect("a style").0;
    let hash = STANDARD.encode(Sha256::digest(style));
    let policy = headers[header::CONTENT_SECURITY_POLICY].to_str().expect("is text");
    assert!(
        policy.contains(&format!("style-src 'sha256-{hash}'")) && policy.starts_with("default-src 'none'"),
        "{policy}"
    );
    assert!(!page.contains("style=") && !policy.contains("unsafe"));
    assert!(!headers.contains_key(header::SET_COOKIE));
}

#[tokio::test]
async fn programs_get_the_same_as_json() {
    let (headers, text) = get_page(facts(), "application/json").await;
    assert_eq!(headers[header::CONTENT_TYPE], "application/json");
    let told: Value = serde_json::from_str(&text).expect("is JSON");
    assert_eq!((&told["consent"]["required"], &told["cookies"][0]["name"]), (&true.into(), &"cr_vid".into()));
    assert_eq!(told["recipients"].as_array().map(Vec::len), Some(2));
    assert_eq!(told["kept"][0]["fields"][0]["form"], "made");
    for accept in ["*/*", "text/html", BROWSER, "text/plain"] {
        assert_eq!(get_page(facts(), accept).await.0[header::CONTENT_TYPE], "text/html; charset=utf-8", "{accept}");
    }
}

#[tokio::test]
async fn what_is_configured_is_text_and_never_markup() {
    let contact = Some(Contact::of("\"><script>alert(1)</script>"));
    let (_, page) = get_page(PrivacyFacts { contact, own_domains: vec!["<b>".into()], ..facts() }, BROWSER).await;
    assert!(!page.contains("<script") && !page.contains("<b>"), "{page}");
}

#[test]
fn a_contact_is_a_link_where_it_can_be_one() {
    let href = |text| Contact::of(text).href;
    assert_eq!(href("https://shop.example/privacy?x=1").as_deref(), Some("https://shop.example/privacy?x=1"));
    assert_eq!(href(" privacy@shop.example ").as_deref(), Some("mailto:privacy@shop.example"));
    for text in ["1 Main St, London", "javascript:alert(1)", "a@b", "a@shop.example?bcc=x@y.example"] {
        assert_eq!(href(text), None, "{text}");
    }
}
