//! From the ad to the platform: a shop with the tag, a real relay, and the stand-ins of Meta and Google.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;

use crate::{
    driver::{Browser, Habits, PATIENCE},
    support::{Platforms, Relay, Setup},
    web::Web,
};

/// The shop's backend, which tells of its orders.
const SOURCE: &str = r#"
[[sources]]
name = "shop"
kind = "generic"
secrets = ["secret-of-the-shop"]
signature = { header = "x-signature", encoding = "hex" }
[sources.map]
event = "'purchase'"
transaction_id = "order.id"
value = "order.total"
currency = "'EUR'"
visitor_id = "order.cr_vid"
"user.email" = "order.email"
"#;

/// A relay, the platforms behind it and the web around it.
struct World {
    web: Web,
    relay: Relay,
    platforms: Platforms,
    _setup: Setup,
}

impl World {
    /// The relay is at `t.shop.localhost`; `capture` is added to its settings.
    async fn new(capture: &str) -> Self {
        let web = Web::start(String::new()).await;
        let platforms = Platforms::start().await;
        let sites = [web.at("shop", ""), web.at("checkout", "")];
        let setup = Setup::new(&format!(
            "[capture]\nsites = {}\n{capture}\n{SOURCE}{}",
            json!(sites),
            platforms.destinations()
        ));
        let relay = setup.start();
        Self { web, relay, platforms, _setup: setup }
    }

    /// The line that loads the tag, from the relay by this name.
    fn tag(&self, name: &str) -> String {
        let port = self.relay.public.rsplit(':').next().expect("a port");
        format!("<script async src=\"http://{name}.localhost:{port}/t.js\"></script>")
    }

    /// Puts the pages of the shop in place: `/`, `/product`, `/cart`, which posts the order to the shop.
    fn shop(&self, tag: &str) {
        let api = "<script>window.relay=window.relay||function(){(relay.q=relay.q||[]).push(arguments)}</script>";
        let head = format!("{api}{tag}");
        let yes = "relay('consent', { ad_user_data: 'granted', ad_personalization: 'granted', ad_storage: 'granted' })";
        let page = |path: &str, body: &str| self.web.page(path, &head, body);
        page("/", &format!("<button id=yes onclick=\"{yes}\">Accept</button><a id=on href=/product>Mug</a>"));
        page(
            "/product",
            "<button id=add onclick=\"relay('event', 'add_to_cart', { value: 25, currency: 'EUR' })\">Add</button>
            <a id=on href=/cart>Cart</a>",
        );
        page(
            "/cart",
            "<form data-relay method=post action=/order><input name=email value=ada@example.com>
            <button id=pay>Pay</button></form>",
        );
    }

    /// The visitor's id, as soon as the tag on the page knows it.
    async fn visitor(&self, browser: &Browser) -> String {
        let id = browser.eval("new Promise(done => relay('visitor', done))").await;
        id.as_str().unwrap_or_else(|| panic!("no visitor: {id}")).to_owned()
    }

    /// What the relay knows of a visitor.
    async fn known(&self, id: &str) -> Value {
        self.relay.admin(&format!("/v1/visitors/{id}")).await
    }

    /// Waits until what the relay knows of a visitor is what it should be.
    async fn until(&self, id: &str, good: impl Fn(&Value) -> bool) -> Value {
        self.relay.until(&format!("/v1/visitors/{id}"), good).await
    }

    /// The shop's backend posts an order, signed.
    async fn order(&self, id: &str, fields: Value) {
        let mut order = fields;
        order["id"] = json!(id);
        order["total"] = json!("49.90");
        let body = json!({ "order": order }).to_string();
        let mut mac = Hmac::<Sha256>::new_from_slice(b"secret-of-the-shop").expect("any key");
        mac.update(body.as_bytes());
        let signature: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        let request = self.relay.client.post(format!("{}/webhooks/shop", self.relay.public));
        let request = request.header("x-signature", signature).header("content-type", "application/json");
        let answer = Relay::send(request.body(body)).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        self.relay.settled().await;
    }

    /// What Meta and Google got of an order: Meta's `fbc` and Google's `gclid`.
    fn clicks(&self, order: &str) -> (Value, Value) {
        let meta = self.platforms.sandbox.received_meta();
        let meta = meta.iter().map(|entry| &entry["event"]).find(|event| event["custom_data"]["order_id"] == order);
        let google = self.platforms.sandbox.received_data_manager();
        let google = google.iter().map(|entry| &entry["event"]).find(|event| event["transactionId"] == order);
        let (meta, google) = (meta.cloned().unwrap_or_default(), google.cloned().unwrap_or_default());
        (meta["user_data"]["fbc"].clone(), google["adIdentifiers"]["gclid"].clone())
    }

    /// The values of all click ids of a visitor.
    fn values(known: &Value) -> Vec<&str> {
        let clicks = known["clicks"].as_array().expect("a list");
        clicks.iter().map(|click| click["value"].as_str().expect("a value")).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn from_the_ad_by_consent_and_cart_to_the_order_at_both_platforms() {
    let world = World::new("require_consent = true\ncookie_domain = \"shop.localhost\"").await;
    world.shop(&world.tag("t.shop"));
    let browser = Browser::start().await;
    browser.open(&world.web.at("shop", "/?gclid=Cj0-AbC_d&fbclid=IwAR-xY_z&utm_source=google")).await;
    browser.until("relay.q.push !== [].push").await;
    assert_eq!(browser.cookies().await, [] as [Value; 0], "nothing before the visitor says yes");
    browser.click("#yes").await;
    let id = world.visitor(&browser).await;
    browser.click("#on").await;
    browser.until("location.pathname == '/product'").await;
    browser.click("#add").await;
    browser.click("#on").await;
    browser.until("location.pathname == '/cart'").await;
    browser.until(&format!("document.querySelector('[name=cr_vid]')?.value == '{id}'")).await;
    browser.unhurt().await;
    browser.click("#pay").await;
    let order = world.web.posts(1).await.remove(0).body;
    let fields: Vec<(String, String)> =
        url::form_urlencoded::parse(order.as_str().expect("a form").as_bytes()).into_owned().collect();
    assert!(fields.contains(&("cr_vid".to_owned(), id.clone())), "{fields:?}");
    world.order("1001", json!({ "cr_vid": id, "email": "ada@example.com" })).await;
    let (fbc, gclid) = world.clicks("1001");
    assert_eq!(gclid, "Cj0-AbC_d");
    assert!(fbc.as_str().is_some_and(|fbc| fbc.starts_with("fb.1.") && fbc.ends_with(".IwAR-xY_z")), "{fbc}");
    let known = world.known(&id).await;
    assert_eq!(known["visits"].as_array().map(Vec::len), Some(1), "one visit of several pages: {known}");
    assert_eq!(known["visits"][0]["utm"]["source"], "google");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tab_closed_200_ms_after_it_was_loaded_still_brings_the_click() {
    let world = World::new("cookie_domain = \"shop.localhost\"").await;
    world.shop(&world.tag("t.shop"));
    let browser = Browser::start().await;
    browser.open(&world.web.at("shop", "/nothing")).await;
    browser.run("document.cookie = '_ga=GA1.1.111.1794000000'").await;
    let tab = browser.open_tab(&world.web.at("shop", "/?gclid=Cj0-Closed")).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    browser.close(tab).await;
    let event = json!({ "event": "purchase", "transaction_id": "2001", "value": "5", "currency": "EUR",
        "user": { "email": "ada@example.com" }, "context": { "ga_client_id": "111.1794000000" } });
    let began = Instant::now();
    assert_eq!(world.relay.post("/v1/events", &event).await.0, 202);
    world.relay.settled().await;
    assert!(began.elapsed() < PATIENCE);
    assert_eq!(world.clicks("2001").1, "Cj0-Closed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_click_is_kept_beside_the_first_and_wins() {
    let world = World::new("cookie_domain = \"shop.localhost\"").await;
    world.shop(&world.tag("t.shop"));
    let browser = Browser::start().await;
    browser.open(&world.web.at("shop", "/?gclid=Cj0-First")).await;
    let id = world.visitor(&browser).await;
    browser.open(&world.web.at("shop", "/?gclid=Cj0-Second")).await;
    assert_eq!(world.visitor(&browser).await, id);
    let known = world.until(&id, |known| World::values(known).contains(&"Cj0-Second")).await;
    assert!(World::values(&known).contains(&"Cj0-First"), "{known}");
    world.order("3001", json!({ "cr_vid": id, "email": "ada@example.com" })).await;
    assert_eq!(world.clicks("3001").1, "Cj0-Second");
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_withdrawal_nothing_is_left_and_no_platform_gets_the_sale() {
    let world = World::new("require_consent = true\ncookie_domain = \"shop.localhost\"").await;
    world.shop(&world.tag("t.shop"));
    let browser = Browser::start().await;
    browser.open(&world.web.at("shop", "/?gclid=Cj0-Gone&fbclid=IwAR-Gone")).await;
    browser.until("relay.q.push !== [].push").await;
    browser.click("#yes").await;
    let id = world.visitor(&browser).await;
    browser.until("document.cookie.includes('_fbc=')").await;
    browser
        .run("relay('consent', { ad_user_data: 'denied', ad_personalization: 'denied', ad_storage: 'denied' })")
        .await;
    browser.until("document.cookie == ''").await;
    world.until(&id, |known| World::values(known).is_empty()).await;
    world.order("4001", json!({ "cr_vid": id, "email": "ada@example.com" })).await;
    assert_eq!(world.clicks("4001"), (Value::Null, Value::Null));
    assert!(world.platforms.sandbox.received_meta().is_empty());
    browser.open(&world.web.at("shop", "/product")).await;
    browser.until("relay.q.push !== [].push").await;
    browser.click("#add").await;
    assert_eq!(browser.eval("new Promise(done => relay('visitor', done))").await, Value::Null);
    assert_eq!(browser.cookies().await, [] as [Value; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_a_single_page_app_belong_to_one_visit() {
    let world = World::new("cookie_domain = \"shop.localhost\"").await;
    world.shop(&world.tag("t.shop"));
    let browser = Browser::start().await;
    browser.open(&world.web.at("shop", "/?gclid=Cj0-App")).await;
    let id = world.visitor(&browser).await;
    for page in ["/one", "/two?wbraid=Wb-Late"] {
        browser.run(&format!("history.pushState({{}}, '', '{page}')")).await;
    }
    let known = world.until(&id, |known| World::values(known).contains(&"Wb-Late")).await;
    assert_eq!(known["visits"].as_array().map(Vec::len), Some(1), "{known}");
    assert!(World::values(&known).contains(&"Cj0-App"), "{known}");
    browser.unhurt().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkout_on_another_domain_knows_who_it_is() {
    let world = World::new("own_domains = [\"checkout.localhost\"]\ncookie_domain = \"shop.localhost\"").await;
    let tag = world.tag("t.shop");
    world.shop(&tag);
    world.web.page("/", &tag, &format!("<a href=\"{}\">Pay</a>", world.web.at("checkout", "/cart?step=1")));
    let browser = Browser::start().await;
    browser.open(&world.web.at("shop", "/?gclid=Cj0-Cross&fbclid=IwAR-Cross")).await;
    browser.until("window.relay").await;
    let id = world.visitor(&browser).await;
    browser.click("a").await;
    browser.until("location.hostname == 'checkout.localhost' && window.relay.q.push !== [].push").await;
    assert_eq!(world.visitor(&browser).await, id, "the same person");
    assert_eq!(browser.eval("location.search").await, "?step=1", "the address is as it was");
    browser.until("document.cookie.includes('cr_vid')").await;
    browser.click("#pay").await;
    let order = world.web.posts(1).await.remove(0).body;
    assert!(order.as_str().is_some_and(|form| form.contains(&format!("cr_vid={id}"))), "{order}");
    world.order("6001", json!({ "cr_vid": id, "email": "ada@example.com" })).await;
    let (fbc, gclid) = world.clicks("6001");
    assert_eq!(gclid, "Cj0-Cross");
    assert!(fbc.as_str().is_some_and(|fbc| fbc.ends_with(".IwAR-Cross")), "{fbc}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_of_another_site_works_where_its_cookies_are_blocked() {
    let world = World::new("").await;
    world.shop(&world.tag("relay"));
    let browser = Browser::with(Habits { blocks_third_parties: true, ..Habits::default() }).await;
    browser.open(&world.web.at("shop", "/?gclid=Cj0-Third&fbclid=IwAR-Third")).await;
    let id = world.visitor(&browser).await;
    browser.until(&format!("document.cookie == 'cr_vid={id}'")).await;
    browser.open(&world.web.at("shop", "/product")).await;
    assert_eq!(world.visitor(&browser).await, id, "by the tag's own cookie");
    browser.click("#add").await;
    browser.click("#on").await;
    browser.until(&format!("document.querySelector('[name=cr_vid]')?.value == '{id}'")).await;
    world.order("7001", json!({ "cr_vid": id, "email": "ada@example.com" })).await;
    let (fbc, gclid) = world.clicks("7001");
    assert_eq!(gclid, "Cj0-Third");
    assert!(fbc.as_str().is_some_and(|fbc| fbc.ends_with(".IwAR-Third")), "{fbc}");
    browser.unhurt().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_script_is_blocked_the_link_alone_joins() {
    let world = World::new("cookie_domain = \"shop.localhost\"").await;
    // As blockers do it: the script never arrives, and the page goes on without.
    world.shop("<script async src=\"http://127.0.0.1:9/t.js\"></script>");
    let link = json!({ "slug": "mug", "destination": world.web.at("shop", "/product"),
        "utm": { "source": "newsletter", "medium": "email", "campaign": "spring" } });
    let request = world.relay.client.post(format!("{}/v1/links", world.relay.admin));
    let answer = Relay::send(request.header("content-type", "application/json").body(link.to_string())).await;
    assert_eq!(answer.status, 201, "{}", answer.text);
    let browser = Browser::start().await;
    let port = world.relay.public.rsplit(':').next().expect("a port");
    browser.open(&format!("http://t.shop.localhost:{port}/l/mug?gclid=Cj0-Link&fbclid=IwAR-Link")).await;
    let landed = browser.eval("location.href").await;
    let landed = url::Url::parse(landed.as_str().expect("an address")).expect("an address");
    let query: BTreeMap<String, String> = landed.query_pairs().into_owned().collect();
    assert_eq!((landed.path(), query["gclid"].as_str()), ("/product", "Cj0-Link"));
    assert_eq!((query["fbclid"].as_str(), query["utm_source"].as_str()), ("IwAR-Link", "newsletter"));
    // The shop's server reads the cookie, as its site is the relay's.
    browser.click("#on").await;
    browser.until("location.pathname == '/cart'").await;
    browser.click("#pay").await;
    let order = world.web.posts(1).await.remove(0);
    let id = order.cookies.split("; ").find_map(|cookie| cookie.strip_prefix("cr_vid=")).expect("the relay's cookie");
    assert_eq!(query["cr_vid"], id);
    world.order("8001", json!({ "cr_vid": id, "email": "ada@example.com" })).await;
    let (fbc, gclid) = world.clicks("8001");
    assert_eq!(gclid, "Cj0-Link");
    assert!(fbc.as_str().is_some_and(|fbc| fbc.ends_with(".IwAR-Link")), "{fbc}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tracked_link_and_the_tag_behind_it_see_one_visitor() {
    let world = World::new("").await;
    world.shop(&world.tag("t.shop"));
    let link = json!({ "slug": "mug", "destination": world.web.at("shop", "/") });
    let request = world.relay.client.post(format!("{}/v1/links", world.relay.admin));
    let answer = Relay::send(request.header("content-type", "application/json").body(link.to_string())).await;
    assert_eq!(answer.status, 201, "{}", answer.text);
    let browser = Browser::start().await;
    let port = world.relay.public.rsplit(':').next().expect("a port");
    // A link host of another site: its cookie is not the shop's.
    browser.open(&format!("http://go.localhost:{port}/l/mug?gclid=Cj0-Both")).await;
    let id = world.visitor(&browser).await;
    assert_eq!(browser.eval("location.search").await, "?gclid=Cj0-Both", "the id is gone from the address");
    let known = world.known(&id).await;
    assert_eq!(
        (World::values(&known), known["visits"].as_array().map(Vec::len)),
        (vec!["Cj0-Both"], Some(1)),
        "{known}"
    );
    let clicks =
        world.relay.until("/v1/clicks", |told| told["clicks"].as_array().is_some_and(|rows| rows.len() == 1)).await;
    assert_eq!((&clicks["clicks"][0]["verdict"], &clicks["clicks"][0]["visitor_id"]), (&json!("human"), &json!(id)));
}
