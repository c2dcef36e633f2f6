//! Pages and networks that make it hard: the tag does what it can, and the page does not notice.

use std::time::Duration;

use serde_json::{Value, json};

use crate::{
    driver::Browser,
    pages::{script, tagged},
    web::Web,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_strict_policy_needs_no_more_than_the_relays_address() {
    let web = Web::start(script(&[], false).await).await;
    let relay = web.at("t.shop", "");
    let policy =
        format!("default-src 'none'; script-src {relay}; connect-src {relay}; require-trusted-types-for 'script'");
    web.strict_page("/", &policy, &web.tag(""), "<form data-relay></form>");
    let browser = Browser::start().await;
    browser.open(&web.at("shop", "/?gclid=A")).await;
    web.posts(1).await;
    browser.until("document.cookie == 'cr_vid=v1'").await;
    assert_eq!(browser.eval("document.querySelector('input').value").await, "v1");
    browser.run("relay('event', 'x')").await;
    assert_eq!(web.posts(1).await[0].body["event"], json!({ "name": "x" }));
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_that_took_things_away_are_not_hurt_and_the_visit_is_told() {
    let broken = [
        "Object.freeze(history);",
        "Object.defineProperty(window, 'localStorage', { get() { throw new Error('no'); } });
         Object.defineProperty(window, 'sessionStorage', { get() { throw new Error('no'); } }); window.Shopify = {};",
        "Object.defineProperty(document, 'cookie', { get() { return ''; }, set() { throw new Error('no'); } });",
        "window.dataLayer = 7;",
        "window.dataLayer = Object.freeze([['consent'], null, 5, { event: 'x' }]);",
        "window.dataLayer = [{ 0: 'consent', 1: 'update', 2: null }];",
        "Object.defineProperty(window, 'dataLayer', { value: undefined, writable: false });",
        "History.prototype.replaceState = () => { throw new Error('no'); };",
        "Object.defineProperty(navigator, 'globalPrivacyControl', { get() { return undefined; } });",
        "delete window.Event.prototype.composedPath;",
        "window.relay = { q: [[], ['nothing'], ['event'], ['constructor', 1], ['visitor', 5], ['identify', null], null] };",
        "Array.prototype.extra = () => { throw new Error('no'); }; Object.prototype.extra = 'x';",
    ];
    let web = Web::start(script(&["checkout.localhost"], false).await).await;
    let browser = Browser::start().await;
    for page in broken {
        web.page("/", &format!("<script>{page}</script>{}", web.tag("data-auto=scroll")), "<a href=\"#x\">x</a>");
        browser.open(&web.at("shop", "/?cr_vid=v0&a=1")).await;
        println!("{page}");
        let posts = web.posts(1).await;
        assert!(posts.iter().any(|post| post.body["url"] == web.at("shop", "/?cr_vid=v0&a=1")), "{page}: {posts:?}");
        browser.run("relay('event', 'x'); relay('nothing'); relay(); relay('consent'); relay('event'); relay('visitor', 1);").await;
        browser.run("const round = {}; round.round = round; relay('event', 'x', { properties: round });").await;
        browser
            .run("try { history.pushState({}, '', '/x'); } catch (error) { if (!/frozen/.test(error)) throw error; }")
            .await;
        browser.click("a").await;
        browser.run("dispatchEvent(new Event('pagehide')); dispatchEvent(new Event('submit'));").await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        let thrown = browser.eval("thrown.filter(text => !text.includes('ResizeObserver'))").await;
        assert_eq!(thrown, json!([]), "{page}");
        web.taken();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_fails_is_not_noticed() {
    let web = tagged("<a href=\"/other\">on</a>").await;
    web.page("/other", "", "");
    let browser = Browser::start().await;
    for (status, takes) in [(500, 0), (403, 0), (429, 0), (200, 20)] {
        web.relay(|relay| (relay.status, relay.takes) = (status, Duration::from_secs(takes)));
        browser.open(&web.at("shop", "/")).await;
        browser.until("window.relay").await;
        browser.run("window.who = 'unknown'; relay('visitor', id => window.who = id); relay('event', 'x');").await;
        if takes == 0 {
            browser.until("window.who === null").await;
        }
        browser.unhurt().await;
        browser.click("a").await;
        browser.until("location.pathname == '/other'").await;
        let posts = web.posts(2).await;
        assert!(
            posts.iter().any(|post| post.body["event"]["name"] == "x"),
            "what waited goes when the page is left: {posts:?}"
        );
    }
    // What answers with something else entirely.
    web.relay(|relay| (relay.status, relay.takes, relay.id) = (200, Duration::ZERO, Some("a b;c=\"<".to_owned())));
    browser.open(&web.at("shop", "/")).await;
    web.posts(1).await;
    assert_eq!(browser.eval("new Promise(done => relay('visitor', done))").await, "a b;c=\"<");
    assert_eq!(browser.eval("document.cookie").await, "", "no cookie that cannot be one");
    // A relay that is not there.
    let gone = web.tag("data-visits=\"http://127.0.0.1:9/v1/visits\"");
    web.page("/", &gone, "");
    browser.open(&web.at("shop", "/")).await;
    assert_eq!(browser.eval("new Promise(done => relay('visitor', done))").await, Value::Null);
    browser.unhurt().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_browser_without_fetch_uses_beacons() {
    let web = Web::start(script(&[], false).await).await;
    web.relay(|relay| relay.cookie = Some("shop.localhost".to_owned()));
    web.page("/", &format!("<script>delete window.fetch;</script>{}", web.tag("")), "");
    let browser = Browser::start().await;
    browser.open(&web.at("shop", "/?gclid=A")).await;
    assert_eq!(web.posts(1).await[0].body["url"], web.at("shop", "/?gclid=A"));
    browser.until("document.cookie == 'cr_vid=v1'").await;
    browser.run("relay('event', 'x')").await;
    let event = web.posts(1).await.remove(0).body;
    assert_eq!((&event["visitor_id"], &event["event"]["name"]), (&json!("v1"), &json!("x")));
    browser.unhurt().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tag_that_is_there_twice_counts_once() {
    let web = tagged("").await;
    web.page("/", &web.tag("").repeat(2), "");
    let browser = Browser::start().await;
    browser.open(&web.at("shop", "/")).await;
    web.posts(1).await;
    browser.until("document.cookie == 'cr_vid=v1'").await;
    web.quiet().await;
    browser.run("relay('event', 'x')").await;
    web.posts(1).await;
    web.quiet().await;
    browser.unhurt().await;
}
