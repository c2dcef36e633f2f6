//! What the visitor allowed, and what not.

use serde_json::{Value, json};

use crate::{
    driver::Browser,
    pages::{script, tagged},
    web::Web,
};

const GTAG: &str =
    "<script>window.dataLayer = window.dataLayer || []; function gtag() { dataLayer.push(arguments); }</script>";

/// What a page may keep.
async fn kept(browser: &Browser) -> Value {
    browser.eval("[document.cookie, localStorage.length, sessionStorage.length]").await
}

async fn asking(head: &str) -> Web {
    let web = Web::start(script(&["checkout.localhost"], true).await).await;
    let body = "<form data-relay><input type=hidden name=cr_vid></form><a href=\"http://checkout.localhost/\">pay</a>";
    web.page("/", &format!("{head}{}", web.tag("")), body);
    web.page("/start", "", "<a href=\"/?gclid=AbC\">in</a>");
    web
}

#[tokio::test(flavor = "multi_thread")]
async fn without_consent_nothing_is_kept_and_a_later_yes_brings_the_landing() {
    let web = asking("").await;
    web.relay(|relay| relay.id = None);
    let browser = Browser::start().await;
    browser.open(&web.at("shop", "/start")).await;
    browser.run("document.cookie = '_fbp=fb.1.1.1'").await;
    browser.click("a").await;
    let landing = web.posts(1).await.remove(0);
    assert_eq!((landing.cookies.as_str(), &landing.body["cookies"]), ("", &json!({})));
    assert_eq!(landing.body["visitor_id"], Value::Null);
    browser
        .run(
            "relay('identify', { email: 'ada@example.com' }); relay('event', 'add_to_cart', { value: 5, sku: 'mug' });",
        )
        .await;
    let event = web.posts(1).await.remove(0).body;
    assert_eq!((&event["event"], &event["user"]), (&json!("add_to_cart"), &Value::Null), "counted, no more");
    assert_eq!(browser.eval("new Promise(done => relay('visitor', done))").await, Value::Null);
    assert_eq!(kept(&browser).await, json!(["_fbp=fb.1.1.1", 0, 0]));
    // The visitor goes on within the page before the answer.
    browser.run("history.pushState({}, '', '/second')").await;
    assert_eq!(web.posts(1).await[0].body["page"], true);

    web.relay(|relay| relay.id = Some("v1".to_owned()));
    browser.run("relay('consent', { ad_user_data: 'granted' }); relay('consent', { ad_storage: 'granted' });").await;
    let again = web.posts(1).await.remove(0).body;
    assert_eq!(again["url"], web.at("shop", "/?gclid=AbC"), "where the visitor came in");
    assert_eq!(again["referrer"], web.at("shop", "/start"));
    assert_eq!(again["consent"], json!({ "ad_user_data": "granted", "ad_storage": "granted" }));
    assert_eq!(again["cookies"], json!({ "_fbp": "fb.1.1.1" }));
    assert_eq!(again["user"], json!({ "email": "ada@example.com" }), "and who it is");
    browser.until("document.cookie.includes('cr_vid=v1')").await;
    assert_eq!(browser.eval("document.querySelector('input').value").await, "v1");
    web.quiet().await;
    browser.unhurt().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_no_is_told_and_takes_the_cookie_away() {
    let web = asking("").await;
    let browser = Browser::start().await;
    browser.open(&web.at("shop", "/")).await;
    browser.run("relay('consent', { ad_storage: 'granted', ad_user_data: 'granted' })").await;
    web.posts(2).await;
    browser.until("document.cookie == 'cr_vid=v1'").await;
    web.relay(|relay| relay.id = None);
    browser.run("relay('consent', { ad_storage: 'denied', ad_user_data: 'denied' })").await;
    let told = web.posts(1).await.remove(0);
    assert_eq!((told.body["visitor_id"].as_str(), &told.body["consent"]["ad_storage"]), (Some("v1"), &json!("denied")));
    assert_eq!(kept(&browser).await, json!(["", 0, 0]));
    assert_eq!(browser.eval("document.querySelector('input').value").await, "");
    assert_eq!(browser.eval("new Promise(done => relay('visitor', done))").await, Value::Null);
    browser
        .run(
            "document.querySelector('a').addEventListener('click', event => { event.preventDefault();
        window.left = event.currentTarget.href; })",
        )
        .await;
    browser.click("a").await;
    assert_eq!(browser.eval("left").await, "http://checkout.localhost/");
    browser.run("relay('event', 'later')").await;
    let later = web.posts(1).await.remove(0);
    assert_eq!((later.body["visitor_id"].clone(), later.cookies.as_str()), (Value::Null, ""));
    browser.unhurt().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commands_of_consent_mode_are_heard_past_and_future() {
    let denied =
        "gtag('consent', 'default', { ad_storage: 'denied', analytics_storage: 'denied', ad_user_data: 'denied',
        ad_personalization: 'denied', wait_for_update: 500 });";
    let web = Web::start(script(&[], false).await).await;
    web.page("/", &format!("{GTAG}<script>{denied}</script>{}", web.tag("")), "");
    let browser = Browser::start().await;
    browser.open(&web.at("shop", "/nothing")).await;
    browser.run("document.cookie = 'cr_vid=v1'; document.cookie = 'of=relay;domain=shop.localhost;path=/v1';").await;
    browser.open(&web.at("shop", "/?gclid=A")).await;
    let first = web.posts(1).await.remove(0);
    assert_eq!((&first.body["visitor_id"], &first.body["consent"]["ad_storage"]), (&Value::Null, &json!("denied")));
    assert_eq!(first.cookies, "", "even those it has stay at home");
    assert_eq!(browser.eval("document.cookie").await, "cr_vid=v1", "what is only assumed takes nothing away");
    browser.run("gtag('event', 'x'); gtag('consent', 'default', { ad_user_data: 'denied' });").await;
    web.quiet().await;
    browser
        .run("gtag('consent', 'update', { ad_storage: 'granted', analytics_storage: 'granted', ad_user_data: 'granted' })")
        .await;
    let again = web.posts(1).await.remove(0);
    assert_eq!((&again.body["visitor_id"], &again.body["url"]), (&json!("v1"), &json!(web.at("shop", "/?gclid=A"))));
    let consent = json!({ "ad_storage": "granted", "analytics_storage": "granted", "ad_user_data": "granted",
        "ad_personalization": "denied" });
    assert_eq!((&again.body["consent"], again.cookies.as_str()), (&consent, "of=relay"));
    // A change that is no refusal takes nothing away, and the relay is told.
    browser.run("gtag('consent', 'update', { ad_personalization: 'granted' })").await;
    let half = web.posts(1).await.remove(0).body;
    assert_eq!((&half["consent"]["ad_personalization"], &half["visitor_id"]), (&json!("granted"), &json!("v1")));
    // A list in place of the one that was there is found at the next occasion.
    browser.run("dataLayer = [['consent', 'update', { ad_storage: 'denied' }]]; relay('event', 'x');").await;
    let posts = web.posts(2).await;
    assert!(posts.iter().all(|post| post.body["consent"]["ad_storage"] == "denied"), "{posts:?}");
    browser.until("document.cookie == ''").await;
    assert_eq!(browser.eval("dataLayer.push({ event: 'x' })").await, 2, "push works as ever");
    browser.unhurt().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_default_for_some_regions_denies_and_does_not_grant() {
    let web = Web::start(script(&[], false).await).await;
    let commands = "gtag('consent', 'default', { ad_storage: 'granted', ad_user_data: 'denied' });
        gtag('consent', 'default', { ad_storage: 'denied', region: ['DE'] });
        gtag('consent', 'default', { ad_user_data: 'granted', region: ['US'] });";
    web.page("/", &format!("{GTAG}<script>{commands}</script>{}", web.tag("")), "");
    let browser = Browser::start().await;
    browser.open(&web.at("shop", "/")).await;
    assert_eq!(web.posts(1).await[0].body["consent"], json!({ "ad_storage": "denied", "ad_user_data": "denied" }));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_signal_of_the_browser_is_told_and_the_relays_no_is_followed() {
    let web = tagged("").await;
    let signal = "<script>Object.defineProperty(navigator, 'globalPrivacyControl', { value: true });</script>";
    web.page("/", &format!("{signal}{}", web.tag("")), "");
    web.relay(|relay| relay.id = None);
    let browser = Browser::start().await;
    browser.open(&web.at("shop", "/nothing")).await;
    browser.run("document.cookie = 'cr_vid=v1'").await;
    browser.open(&web.at("shop", "/")).await;
    assert_eq!(web.posts(1).await[0].body["gpc"], true);
    browser.until("document.cookie == ''").await;
    browser.unhurt().await;
}
