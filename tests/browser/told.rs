//! What the tag tells the relay.

use std::time::Duration;

use serde_json::{Value, json};

use crate::{
    driver::Browser,
    pages::{script, tagged},
    web::Web,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_visit_is_told_at_once_with_the_cookies_of_the_platforms() {
    let web = tagged("").await;
    let browser = Browser::start().await;
    web.page("/elsewhere", "", "<a href=\"/?gclid=AbC&x=1#top\">in</a>");
    browser.open(&web.at("shop", "/elsewhere")).await;
    for cookie in
        ["_fbp=fb.1.1700000000000.1", "_fbc=fb.1.1.X=Y", "_gcl_aw=GCL.1.A", "_ga=GA1.1.1.2", "_ga_ABC=GS1", "FPAU=1"]
    {
        browser.run(&format!("document.cookie = '{cookie}'")).await;
    }
    for cookie in ["session=secret", "_gat=1", "x_fbp=1", "email=ada@example.com"] {
        browser.run(&format!("document.cookie = '{cookie}'")).await;
    }
    browser.click("a").await;
    let posts = web.posts(1).await;
    let post = &posts[0];
    assert_eq!(
        (post.path.as_str(), post.kind.as_str()),
        ("/v1/visits", "text/plain;charset=UTF-8"),
        "needs no preflight"
    );
    let expected = json!({
        "visitor_id": null, "url": web.at("shop", "/?gclid=AbC&x=1#top"), "referrer": web.at("shop", "/elsewhere"),
        "cookies": { "_fbp": "fb.1.1700000000000.1", "_fbc": "fb.1.1.X=Y", "_gcl_aw": "GCL.1.A", "_ga": "GA1.1.1.2",
            "_ga_ABC": "GS1", "FPAU": "1" },
        "consent": {}, "gpc": false, "screen": "medium",
    });
    assert_eq!(post.body, expected);
    browser.unhurt().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tab_that_is_closed_200_ms_after_it_was_loaded_has_told_of_its_visit() {
    let web = tagged("").await;
    web.relay(|relay| relay.takes = Duration::from_secs(2));
    let browser = Browser::start().await;
    browser.open(&web.at("shop", "/nothing")).await;
    let tab = browser.open_tab(&web.at("shop", "/?fbclid=IwAR1")).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    browser.close(tab).await;
    let posts = web.posts(1).await;
    assert_eq!(posts[0].body["url"], web.at("shop", "/?fbclid=IwAR1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_id_is_the_relays_cookie_or_kept_in_one_of_the_tags_own() {
    let web = tagged("").await;
    let browser = Browser::start().await;
    web.relay(|relay| relay.cookie = Some("shop.localhost".to_owned()));
    browser.open(&web.at("shop", "/")).await;
    web.posts(1).await;
    browser.until("document.cookie.includes('cr_vid=v1')").await;
    let cookies = browser.cookies().await;
    assert_eq!(cookies.len(), 1, "one is enough: {cookies:?}");
    assert_eq!(cookies[0]["domain"], ".shop.localhost");
    browser.open(&web.at("shop", "/")).await;
    let posts = web.posts(1).await;
    let visit = posts.iter().find(|post| post.body["engaged_ms"].is_null()).expect("a visit");
    assert_eq!((visit.body["visitor_id"].as_str(), visit.cookies.as_str()), (Some("v1"), "cr_vid=v1"));

    // A relay on another site, whose cookies do not get here.
    web.relay(|relay| (relay.cookie, relay.id) = (None, Some("v2".to_owned())));
    browser.open(&web.at("other", "/")).await;
    browser.until("document.cookie == 'cr_vid=v2'").await;
    let cookies = browser.cookies().await;
    assert_eq!(
        (cookies[0]["domain"].as_str(), cookies[0]["sameSite"].as_str()),
        (Some("other.localhost"), Some("Lax"))
    );
    assert_eq!(browser.eval("new Promise(done => relay('visitor', done))").await, "v2");
    browser.unhurt().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_made_before_the_tag_is_there_are_told_in_order() {
    let web = Web::start(script(&[], false).await).await;
    let snippet = "<script>window.track=window.track||function(){(track.q=track.q||[]).push(arguments)};
        const early = window.track, send = window.fetch;
        window.sent = [];
        window.fetch = (address, request) => (sent.push(JSON.parse(request.body)), send(address, request));
        track('event', 'view', { sku: 'mug', value: 12.5, currency: 'EUR', items: [{ id: 'mug' }] });
        track('identify', { email: 'ada@example.com' });
        track('event', 'purchase', { transaction_id: '1001', value: '49.90', currency: 'EUR' });
        track('consent', { ad_user_data: 'granted' });
        track('visitor', id => window.who = id);</script>";
    // A neutral name and a path of the shop's own, behind a proxy.
    let tag = format!("{snippet}<script async data-name=track src=\"{}\"></script>", web.at("shop", "/assets/t.js"));
    web.page("/", &tag, "");
    web.relay(|relay| relay.takes = Duration::from_millis(200));
    let browser = Browser::start().await;
    browser.open(&web.at("shop", "/")).await;
    let posts = web.posts(4).await;
    assert!(posts.iter().all(|post| post.path == "/assets/v1/visits"));
    // On their way they may pass each other.
    let sent = browser.eval("sent").await;
    let bodies: Vec<&Value> = sent.as_array().expect("a list").iter().collect();
    assert!(
        bodies.iter().all(|body| body["consent"] == json!({ "ad_user_data": "granted" })),
        "consent comes first: {bodies:?}"
    );
    assert_eq!((&bodies[0]["event"], &bodies[0]["visitor_id"]), (&Value::Null, &Value::Null), "then the visit");
    assert_eq!(
        bodies[1]["event"],
        json!({ "name": "view", "value": 12.5, "currency": "EUR", "items": [{ "id": "mug" }], "properties": { "sku": "mug" } })
    );
    assert_eq!(bodies[2]["user"], json!({ "email": "ada@example.com" }));
    assert_eq!(
        bodies[3]["event"],
        json!({ "name": "purchase", "transaction_id": "1001", "value": "49.90", "currency": "EUR" })
    );
    assert!(bodies[1..].iter().all(|body| body["visitor_id"] == "v1"), "they waited for the visitor's id");
    browser.until("window.who == 'v1'").await;
    browser.run("early('event', 'late')").await;
    assert_eq!(web.posts(1).await[0].body["event"], json!({ "name": "late" }), "whoever kept the first function");
    assert_eq!(browser.eval("'relay' in window").await, false);
    browser.unhurt().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_of_the_history_are_pages_each_once_in_a_row() {
    let web = tagged("").await;
    let browser = Browser::start().await;
    browser.open(&web.at("shop", "/?gclid=A")).await;
    web.posts(1).await;
    browser.until("document.cookie.includes('cr_vid')").await;
    let told = |posts: Vec<crate::web::Post>| {
        let pages = posts.into_iter().map(|post| post.body).filter(|body| body["engaged_ms"].is_null());
        pages.map(|body| (body["url"].clone(), body["referrer"].clone(), body["page"].clone())).collect::<Vec<_>>()
    };
    browser.run("history.pushState({ n: 1 }, '', '/one'); history.replaceState({ n: 2 }, '', '/one');").await;
    let page = |path: &str, from: &str| (json!(web.at("shop", path)), json!(web.at("shop", from)), json!(true));
    assert_eq!(told(web.posts(2).await), [page("/one", "/?gclid=A")]);
    browser.run("history.pushState({}, '', '/one#part'); location.hash = 'other';").await;
    web.quiet().await;
    browser.run("relay('page'); relay('page');").await;
    assert_eq!(told(web.posts(2).await), [page("/one#other", "/one")], "told by the page, hash and all");
    browser.run("history.replaceState({}, '', '/two')").await;
    assert_eq!(told(web.posts(2).await), [page("/two", "/one#other")]);
    browser.run("history.go(-2)").await;
    browser.until("location.pathname == '/one'").await;
    assert_eq!(told(web.posts(2).await).len(), 1);
    web.quiet().await;
    assert_eq!(browser.eval("history.state.n").await, 2, "what the page keeps there is as it was");
    browser.unhurt().await;

    web.page("/", &web.tag("data-hash"), "");
    browser.open(&web.at("shop", "/#/home")).await;
    web.posts(1).await;
    browser.run("location.hash = '/cart'").await;
    let posts = web.posts(2).await;
    assert!(posts.iter().any(|post| post.body["url"] == web.at("shop", "/#/cart")), "{posts:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn time_and_depth_are_told_when_the_page_is_left_and_each_once() {
    let web = Web::start(script(&[], false).await).await;
    web.page("/", &web.tag("data-auto=\"scroll play\""), "<div style=\"height:8000px\">long</div><audio></audio>");
    web.page("/next", "", "");
    let browser = Browser::start().await;
    browser.open(&web.at("shop", "/")).await;
    web.posts(1).await;
    browser.until("document.cookie.includes('cr_vid')").await;
    browser.run("scrollTo(0, 3500)").await;
    let posts = web.posts(1).await;
    assert_eq!(posts[0].body["event"], json!({ "name": "scroll", "properties": { "percent": 50 } }));
    browser.run("document.querySelector('audio').dispatchEvent(new Event('play'))").await;
    browser.run("document.querySelector('audio').dispatchEvent(new Event('play'))").await;
    assert_eq!(web.posts(1).await[0].body["event"]["name"], "play");
    web.quiet().await;
    // As if another tab were looked at, twice.
    let hide = "Object.defineProperty(document, 'hidden', { value: true, configurable: true });
        document.dispatchEvent(new Event('visibilitychange'));";
    let show = hide.replace("true,", "false,");
    browser.run(hide).await;
    let first = web.posts(1).await.remove(0).body;
    assert_eq!((first["url"].as_str(), &first["visitor_id"]), (Some(web.at("shop", "/").as_str()), &json!("v1")));
    let depth = first["scroll"].as_u64().expect("a number");
    assert!((50..60).contains(&depth), "{depth}");
    let first = first["engaged_ms"].as_u64().expect("whole milliseconds");
    assert!((300..20_000).contains(&first), "{first}");
    browser.run(hide).await;
    web.quiet().await;
    browser.run(&show).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    browser.run(hide).await;
    let second = web.posts(1).await[0].body["engaged_ms"].as_u64().expect("whole milliseconds");
    assert!((40..first.max(300)).contains(&second), "only what is new: {second} after {first}");
    browser.run(&show).await;
    browser.open(&web.at("shop", "/next")).await;
    let last = web.posts(1).await.remove(0);
    assert!(last.body["engaged_ms"].is_u64() && last.cookies.is_empty(), "the one of a left page arrives: {last:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_loaded_in_advance_is_told_when_it_is_seen() {
    let web = tagged("").await;
    let ahead =
        "<script>Object.defineProperty(document, 'prerendering', { value: true, configurable: true });</script>";
    web.page("/", &format!("{ahead}{}", web.tag("id=tag onload=\"this.done = true\"")), "");
    let browser = Browser::start().await;
    browser.open(&web.at("shop", "/?gclid=A")).await;
    browser.until("document.getElementById('tag').done").await;
    web.quiet().await;
    browser.run("document.dispatchEvent(new Event('prerenderingchange'))").await;
    assert_eq!(web.posts(1).await[0].body["url"], web.at("shop", "/?gclid=A"));
    // Back to a page that the browser had kept.
    browser.until("document.cookie.includes('cr_vid')").await;
    browser.run("dispatchEvent(new PageTransitionEvent('pageshow', { persisted: false }))").await;
    web.quiet().await;
    browser.run("dispatchEvent(new PageTransitionEvent('pageshow', { persisted: true }))").await;
    let posts = web.posts(2).await;
    assert_eq!(posts.iter().filter(|post| post.body["page"] == true).count(), 1, "{posts:?}");
    browser.unhurt().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_is_too_long_costs_its_end_and_not_the_visit() {
    let web = tagged("").await;
    let browser = Browser::start().await;
    browser.open(&web.at("shop", &format!("/?gclid=A&x={}", "y".repeat(9000)))).await;
    let url = web.posts(1).await.remove(0).body["url"].as_str().expect("a text").to_owned();
    assert!(url.starts_with(&web.at("shop", "/?gclid=A&x=yyy")) && url.len() == 8000, "{}", url.len());
}
