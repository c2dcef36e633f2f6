//! What browsers tell, through the real binary: consent, ids handed over, orders that browsers saw, clicks by rule.

use serde_json::{Value, json};

use crate::support::{Answer, Platforms, Relay, Setup};

const CHROME: &str =
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36";

fn yes() -> Value {
    json!({ "ad_user_data": "granted", "ad_personalization": "granted" })
}

fn no() -> Value {
    json!({ "ad_user_data": "denied", "ad_personalization": "denied" })
}

/// Posts a visit as the browser whose cookies these are.
async fn visit(relay: &Relay, cookies: &str, body: &Value) -> Answer {
    let request = relay.client.post(format!("{}/v1/visits", relay.public)).header("user-agent", CHROME);
    let request = if cookies.is_empty() { request } else { request.header("cookie", cookies) };
    Relay::send(request.body(body.to_string())).await
}

/// Clicks the link and returns where it leads, and whom it hands over.
async fn click(relay: &Relay, path: &str) -> (String, String) {
    let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().expect("a client");
    let request = client.get(format!("{}{path}", relay.public)).header("user-agent", CHROME);
    let location = Relay::send(request).await.header("location").to_owned();
    let visitor = location.split("cr_vid=").nth(1).unwrap_or_default().split(['&', '#']).next().unwrap_or_default();
    (location.clone(), visitor.to_owned())
}

async fn make_link(relay: &Relay) {
    let link = json!({ "slug": "mugs", "destination": "https://shop.example/mugs" });
    let request = relay.client.post(format!("{}/v1/links", relay.admin)).header("content-type", "application/json");
    assert_eq!(Relay::send(request.body(link.to_string())).await.status, 201);
}

fn purchase(id: &str) -> Value {
    json!({
        "event": "purchase", "transaction_id": id, "value": "49.99", "currency": "USD",
        "user": { "email": format!("{id}@shop.example") },
    })
}

async fn accepted(relay: &Relay, event: &Value) -> Value {
    let (status, answer) = relay.post("/v1/events", event).await;
    assert_eq!(status, 202, "{answer}");
    let id = answer["results"][0]["event_id"].as_str().expect("an id").to_owned();
    relay.settled().await;
    relay.admin(&format!("/v1/events/{id}")).await
}

fn values(timeline: &Value) -> Vec<&str> {
    let clicks = timeline["attribution"]["clicks"].as_array().expect("clicks");
    clicks.iter().filter_map(|click| click["value"].as_str()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_no_on_the_page_that_a_link_led_to_holds_for_the_sale_that_follows() {
    let platforms = Platforms::start().await;
    let setup = Setup::new(&platforms.destinations());
    let relay = setup.start();
    make_link(&relay).await;
    let (location, handed) = click(&relay, "/l/mugs?gclid=Refused-Click").await;
    let answer = visit(&relay, "", &json!({ "url": location, "consent": no() })).await;
    assert_eq!(answer.json()["visitor_id"], handed, "at once, before anything of the click is stored");
    let mut event = purchase("1001");
    event["visitor_id"] = handed.clone().into();
    let timeline = accepted(&relay, &event).await;
    assert_eq!(timeline["deliveries"][0]["reason"], "consent", "{timeline}");
    // Another click on a link is no yes.
    let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().expect("a client");
    let again = client.get(format!("{}/l/mugs?gclid=After-The-No", relay.public)).header("user-agent", CHROME);
    Relay::send(again.header("cookie", format!("cr_vid={handed}"))).await;
    relay.until("/v1/clicks", |clicks| clicks["totals"]["all"] == 2).await;
    let visitor = relay.admin(&format!("/v1/visitors/{handed}")).await;
    assert_eq!((&visitor["clicks"], &visitor["consent"]["ad_user_data"]), (&json!([]), &json!("denied")), "{visitor}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_is_passed_on_makes_nobody_somebody_else() {
    let setup = Setup::new("");
    let relay = setup.start();
    make_link(&relay).await;
    let (location, handed) = click(&relay, "/l/mugs").await;
    let ids: Vec<Value> = [
        visit(&relay, "", &json!({ "url": location, "consent": yes() })).await,
        visit(&relay, "", &json!({ "url": location })).await,
        visit(&relay, &format!("cr_vid={handed}"), &json!({ "url": location })).await,
    ]
    .iter()
    .map(|answer| answer.json()["visitor_id"].clone())
    .collect();
    assert_eq!((&ids[0], &ids[2]), (&json!(handed), &json!(handed)));
    assert_ne!(ids[1], ids[0], "the second browser without a cookie is another one");
    let other = relay.admin(&format!("/v1/visitors/{}", ids[1].as_str().expect("an id"))).await;
    assert_eq!(other["consent"]["ad_user_data"], "unknown", "the first one's yes is not its own: {other}");
    // What the click tells may be stored after its landing.
    let path = format!("/v1/visitors/{handed}");
    let visitor = relay.until(&path, |visitor| visitor["visits"][0]["link"] == "mugs").await;
    assert_eq!((&visitor["linked"], visitor["visits"].as_array().map(Vec::len)), (&json!([]), Some(1)), "{visitor}");
    assert!(!visitor.to_string().contains("cr_vid"), "{visitor}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_a_browser_saw_is_found_by_its_number_and_is_no_yes() {
    let platforms = Platforms::start().await;
    let setup = Setup::new(&platforms.destinations());
    let relay = setup.start();
    let landing = json!({ "visitor_id": "v-1", "url": "https://shop.example/?gclid=Its-Click", "consent": yes() });
    assert_eq!(visit(&relay, "", &landing).await.status, 200);
    let saw = json!({
        "visitor_id": "v-1", "url": "https://shop.example/thanks",
        "event": { "name": "purchase", "transaction_id": "1001", "value": "49.99", "currency": "USD" },
    });
    assert_eq!(visit(&relay, "", &saw).await.status, 200);
    let timeline = accepted(&relay, &purchase("1001")).await;
    assert_eq!((&timeline["joined_by"], values(&timeline)), (&json!("transaction"), vec!["Its-Click"]), "{timeline}");
    assert_eq!(timeline["consent"]["ad_user_data"], "unknown", "what anybody can claim is no yes: {timeline}");
    assert!(timeline["seen_by_browser"].is_string(), "{timeline}");
    let metrics = relay.admin("/metrics").await;
    let line = "relay_conversions_seen_total{event=\"purchase\",seen_by=\"both\"} 1";
    assert!(metrics.as_str().is_some_and(|metrics| metrics.contains(line)), "{metrics}");
    // Somebody claims a number, and the shop saw its customer elsewhere.
    let claim = json!({
        "visitor_id": "v-1", "url": "https://shop.example/thanks", "event": { "name": "purchase", "transaction_id": "1002" },
    });
    visit(&relay, "", &claim).await;
    let mut event = purchase("1002");
    event["context"] = json!({ "ip": "203.0.113.9" });
    let timeline = accepted(&relay, &event).await;
    assert_eq!((&timeline["joined_by"], values(&timeline).len()), (&Value::Null, 0), "{timeline}");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_destination_gets_the_click_of_its_own_rule_metas_cookie_included() {
    let platforms = Platforms::start().await;
    let url = &platforms.url;
    let meta = |name: &str, pixel: u32, more: &str| {
        format!(
            "[[destinations]]\nname = \"{name}\"\nkind = \"meta\"\npixel_id = \"{pixel}\"\naccess_token = \"t\"\n\
             base_url = \"{url}/meta\"\nevents = {{ purchase = \"Purchase\" }}\n{more}\n"
        )
    };
    let destinations = [
        meta("last", 1_000_000_001, ""),
        meta("first", 1_000_000_002, "click = \"first\""),
        meta("paid", 1_000_000_003, "click = \"last_paid\""),
    ];
    let setup = Setup::new(&destinations.concat());
    let relay = setup.start();
    for fbclid in ["IwFirst", "IwLast"] {
        let url = format!("https://shop.example/?fbclid={fbclid}&utm_medium=social");
        let answer = visit(&relay, "", &json!({ "visitor_id": "v-1", "url": url, "consent": yes() })).await;
        assert!(
            answer.headers.get_all("set-cookie").iter().any(|cookie| cookie.to_str().is_ok_and(|c| c.contains(fbclid)))
        );
    }
    let mut event = purchase("1001");
    event["visitor_id"] = json!("v-1");
    let timeline = accepted(&relay, &event).await;
    let sent = platforms.sandbox.received_meta();
    let mut fbc: Vec<String> = sent
        .iter()
        .map(|entry| entry["event"]["user_data"]["fbc"].as_str().unwrap_or("none").to_owned())
        .map(|fbc| fbc.rsplit('.').next().unwrap_or_default().to_owned())
        .collect();
    fbc.sort();
    assert_eq!(fbc, ["IwFirst", "IwLast", "none"], "{timeline}");
    let choices = timeline["attribution"]["choices"].as_array().expect("choices");
    let reasons: Vec<&str> = choices.iter().filter_map(|choice| choice["reason"].as_str()).collect();
    assert_eq!(reasons, ["newest", "oldest", "none_paid"], "{timeline}");
}
