//! The visitor's id on its way to where the sale happens.

use serde_json::{Value, json};

use crate::{driver::Browser, pages::script, web::Web};

/// Notes where links and forms would lead, and stays.
const STAY: &str = "window.left = [];
    addEventListener('click', event => { const link = event.target.closest('a'); if (link) { event.preventDefault(); left.push(link.href); } });
    addEventListener('submit', event => { event.preventDefault(); left.push(event.target.getAttribute('action')); });";

async fn known(body: &str) -> (Web, Browser) {
    let web = Web::start(script(&["checkout.localhost"], false).await).await;
    web.page("/", &web.tag(""), body);
    let browser = Browser::start().await;
    browser.open(&web.at("shop", "/")).await;
    web.posts(1).await;
    browser.until("document.cookie.includes('cr_vid=v1')").await;
    (web, browser)
}

#[tokio::test(flavor = "multi_thread")]
async fn links_to_own_domains_get_the_id_when_they_are_followed() {
    let links = [
        ("http://checkout.localhost/pay", "http://checkout.localhost/pay?cr_vid=v1"),
        (
            "http://eu.checkout.localhost/pay?a=%7E1&b#top?x",
            "http://eu.checkout.localhost/pay?a=%7E1&b&cr_vid=v1#top?x",
        ),
        ("http://checkout.localhost/?cr_vid=other", "http://checkout.localhost/?cr_vid=other"),
        ("http://notcheckout.localhost/", "http://notcheckout.localhost/"),
        (
            "http://example.localhost/?u=http://checkout.localhost/",
            "http://example.localhost/?u=http://checkout.localhost/",
        ),
        ("https://buy.stripe.com/test_1", "https://buy.stripe.com/test_1?client_reference_id=v1"),
        (
            "https://buy.stripe.com/test_1?client_reference_id=mine",
            "https://buy.stripe.com/test_1?client_reference_id=mine",
        ),
        ("mailto:shop@checkout.localhost", "mailto:shop@checkout.localhost"),
        ("#part", ""),
    ];
    let body: String = links.iter().map(|(link, _)| format!("<p><a href=\"{link}\"><b>go</b></a></p>")).collect();
    let (web, browser) = known(&body).await;
    browser.run(STAY).await;
    for (at, (link, expected)) in links.iter().enumerate() {
        let selector = format!("p:nth-child({}) b", at + 1);
        browser.click(&selector).await;
        browser.click(&selector).await;
        let own = web.at("shop", "/#part");
        let expected = if expected.is_empty() { own.as_str() } else { expected };
        assert_eq!(browser.eval("left.splice(0)").await, json!([expected, expected]), "{link}");
        browser
            .until(&format!("document.querySelector('{selector}').parentNode.getAttribute('href') == '{link}'"))
            .await;
    }
    browser.run("document.querySelector('p').addEventListener('click', event => event.stopPropagation(), true)").await;
    browser
        .run("document.querySelector('p b').parentNode.addEventListener('click', event => event.preventDefault())")
        .await;
    browser.unhurt().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn forms_carry_the_id_in_a_hidden_field() {
    let body = "<form id=f1 data-relay></form><form id=f2><input type=hidden name=cr_vid></form>
        <form id=f3><input type=text name=cr_vid value=typed></form><form id=f4></form>
        <form id=f5 method=post action=\"http://checkout.localhost/pay?a=1\"><input name=action><button>pay</button></form>
        <form id=f6 action=\"http://other.localhost/\"><button>go</button></form>";
    let (_web, browser) = known(body).await;
    browser.run(STAY).await;
    let fields = "[...document.forms].map(form => new URLSearchParams(new FormData(form)).toString())";
    assert_eq!(browser.eval(fields).await, json!(["cr_vid=v1", "cr_vid=v1", "cr_vid=typed", "", "action=", ""]));
    browser.click("#f5 button").await;
    browser.click("#f5 button").await;
    browser.click("#f6 button").await;
    let pay = "http://checkout.localhost/pay?a=1&cr_vid=v1";
    assert_eq!(browser.eval("left").await, json!([pay, pay, "http://other.localhost/"]));
    assert_eq!(browser.eval(&format!("{fields}.slice(4)")).await, json!(["action=&cr_vid=v1", ""]), "and only once");
    // One that comes later is filled before it is sent.
    browser
        .run("document.body.insertAdjacentHTML('beforeend', '<form id=f7 data-relay><button>go</button></form>')")
        .await;
    browser.click("#f7 button").await;
    assert_eq!(browser.eval(&format!("{fields}[6]")).await, "cr_vid=v1");
    browser.unhurt().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_other_domain_takes_the_id_and_clears_its_address() {
    let (web, browser) = known("<a>pay</a>").await;
    let checkout = web.at("checkout", "/?plan=a%20b&cr_vid=v9&x#end");
    // It links to itself by a name of its own, as this address is read by the page before.
    browser.run(&format!("document.querySelector('a').href = '{}'", web.at("checkout", "/?plan=a%20b#end"))).await;
    browser.click("a").await;
    let posts = web.posts(2).await;
    let visit = posts.iter().find(|post| post.body["engaged_ms"].is_null()).expect("a visit");
    assert_eq!(visit.body["url"], web.at("checkout", "/?plan=a%20b&cr_vid=v1#end"), "the relay reads it there");
    browser.until("document.cookie == 'cr_vid=v1'").await;
    assert_eq!(browser.eval("location.href").await, web.at("checkout", "/?plan=a%20b#end"));
    browser.open(&checkout).await;
    browser.until(&format!("location.href == '{}'", web.at("checkout", "/?plan=a%20b&x#end"))).await;
    browser.unhurt().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_new_cart_of_a_shopify_shop_is_told_once() {
    let web = Web::start(script(&[], false).await).await;
    web.page("/", &format!("<script>window.Shopify = {{}}; document.cookie = 'cart=c1';</script>{}", web.tag("")), "");
    let browser = Browser::start().await;
    let carts = |posts: Vec<crate::web::Post>| {
        let carts = posts.into_iter().filter(|post| post.path == "/cart/update.js");
        carts.map(|post| post.body).collect::<Vec<Value>>()
    };
    browser.open(&web.at("shop", "/")).await;
    assert_eq!(carts(web.posts(2).await), [json!("attributes%5Bcr_vid%5D=v1")]);
    browser.until("sessionStorage.cr_vid == 'v1c1'").await;
    browser.open(&web.at("shop", "/")).await;
    browser.until("document.querySelector('script')").await;
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    assert_eq!(carts(web.taken()), [] as [Value; 0], "this cart knows");
    web.page("/", &format!("<script>window.Shopify = {{}}; document.cookie = 'cart=c2';</script>{}", web.tag("")), "");
    browser.open(&web.at("shop", "/")).await;
    browser.until("sessionStorage.cr_vid == 'v1c2'").await;
    browser.unhurt().await;
}
