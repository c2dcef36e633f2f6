//! Links asked for over HTTP, with stores in memory and a clock that stands still.

use std::sync::Weak;

use axum::http::StatusCode;
use tokio::{net::TcpListener, sync::watch, task::JoinHandle};

use super::*;
use crate::{
    delivery,
    model::{Click, ClickKind, ClickVerdict, LinkKey, MockClock, Split},
    pipeline,
    store::{self, StoreError, Stores, memory::SimulatedDisk},
    web::{self, BoundedListener},
};

const CHROME: &str =
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36";
const NOW: Time = Time::from_ms(1_795_000_000_000);

/// A relay that serves links, and whoever asks it.
struct Shop {
    at: String,
    clock: Arc<MockClock>,
    links: Arc<Links>,
    stores: Stores,
    redirects: Weak<Redirects>,
    client: reqwest::Client,
    stop: watch::Sender<bool>,
    serving: JoinHandle<std::io::Result<()>>,
    writing: JoinHandle<std::io::Result<()>>,
}

fn config() -> Config {
    Config {
        hosts: vec!["go.brand.example".to_owned(), "go.other.example".to_owned()],
        fallback: None,
        utm: UtmRule::Keep,
        qa_token: Some(Secret::new("s3cret")),
        qa_networks: Vec::new(),
        duplicate_window: Duration::from_secs(10),
        queue_max: 1000,
        own_paths: vec!["/pixel".to_owned()],
        trusted_proxies: TrustedProxies(vec![Network::parse("127.0.0.1").expect("an address")]),
        cookie_domain: Some("brand.example".to_owned()),
        cookie_life: Duration::from_secs(86_400),
        require_consent: false,
        respect_gpc: true,
    }
}

fn link(key: &str, destination: &str) -> Link {
    let text = format!(r#"{{"key":"{key}","destination":"{destination}","created_at":1,"updated_at":1}}"#);
    serde_json::from_str(&text).expect("a link")
}

fn stores() -> Stores {
    store::memory::open(SimulatedDisk::default(), store::conformance::config("unused".as_ref())).expect("opens")
}

impl Shop {
    async fn open(config: Config) -> Self {
        Self::with(config, stores()).await
    }

    async fn with(config: Config, stores: Stores) -> Self {
        let clock = Arc::new(MockClock::at(NOW));
        let links = Arc::new(Links::open(Arc::clone(&stores.book), 100));
        let settings = pipeline::Config { default_country: None, wait_for_visit: Duration::ZERO };
        let outcomes = delivery::Metrics::default();
        let pipeline = Pipeline::new(stores.clone(), Vec::new(), settings, Arc::clone(&clock) as _, outcomes);
        let country = header::HeaderName::from_static("cf-ipcountry");
        let countries = Countries::open(Some(country), None, config.trusted_proxies.clone()).expect("opens");
        let tools = Tools {
            links: Arc::clone(&links),
            clicks: Arc::clone(&stores.clicks),
            pipeline: Arc::new(pipeline),
            drift: None,
            agents: Agents::default(),
            countries: Arc::new(countries),
            clock: Arc::clone(&clock) as _,
            metrics: Metrics::default(),
        };
        let (redirects, writer) = Redirects::new(config, tools);
        let own = Router::new().route("/healthz", get(async || "ok")).route("/pixel", get(async || "own"));
        let routes = redirects.in_front_of(own.merge(redirects.router()));
        let routes = routes.layer(middleware::from_fn(web::with_request_id));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let at = format!("http://{}", listener.local_addr().expect("an address"));
        let (stop, stopped) = watch::channel(false);
        let mut ended = stopped.clone();
        let service = routes.into_make_service_with_connect_info::<Peer>();
        let serving = axum::serve(BoundedListener::new(listener), service).with_graceful_shutdown(async move {
            let _gone = ended.wait_for(|stopped| *stopped).await;
        });
        let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().expect("a client");
        let (weak, serving) = (Arc::downgrade(&redirects), tokio::spawn(async move { serving.await }));
        drop(redirects);
        let writing = tokio::spawn(writer.run(stopped));
        Self { at, clock, links, stores, redirects: weak, client, stop, serving, writing }
    }

    async fn put(&self, link: Link) {
        self.links.put(link, "test", self.clock.now()).await.expect("stores");
    }

    async fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> reqwest::Response {
        let mut request = self.client.request(method.parse().expect("a method"), format!("{}{path}", self.at));
        if !headers.iter().any(|(name, _)| *name == "user-agent") {
            request = request.header("user-agent", CHROME);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.send().await.expect("answers")
    }

    async fn get(&self, path: &str, headers: &[(&str, &str)]) -> reqwest::Response {
        self.ask("GET", path, headers).await
    }

    /// Stops it; all rows that were written, oldest first.
    async fn close(self) -> Vec<Click> {
        self.stop.send_replace(true);
        drop(self.client);
        self.serving.await.expect("no panic").expect("served");
        self.writing.await.expect("no panic").expect("written");
        let mut rows = Vec::new();
        let mut take = |row: &Click| {
            rows.insert(0, row.clone());
            std::ops::ControlFlow::Continue(())
        };
        self.stores.clicks.scan(Time::default(), Time::from_secs(4_000_000_000), &mut take).expect("reads");
        rows
    }
}

fn header_of<'a>(answer: &'a reqwest::Response, name: &str) -> &'a str {
    answer.headers().get(name).map_or("", |value| value.to_str().expect("text"))
}

fn location(answer: &reqwest::Response) -> &str {
    header_of(answer, "location")
}

/// The visitor that the address hands over, and the address without it.
fn handed(answer: &reqwest::Response) -> (String, Option<VisitorId>) {
    let (page, id) = location(answer).split_once("cr_vid=").unwrap_or((location(answer), ""));
    (page.trim_end_matches(['?', '&']).to_owned(), VisitorId::new(id).ok())
}

fn told(rows: &[Click]) -> Vec<(ClickVerdict, String)> {
    rows.iter().map(|row| (row.verdict, row.reasons.join(", "))).collect()
}

#[tokio::test]
async fn a_click_is_answered_with_the_contract_and_becomes_a_row_and_a_visitor() {
    let shop = Shop::open(config()).await;
    let mut mugs = link("mugs", "https://shop.example/mugs?a=1#top");
    mugs.utm.source = Some("newsletter".to_owned());
    shop.put(mugs).await;
    let headers = [
        ("referer", "https://mail.example/inbox?to=ada@example.com"),
        ("x-forwarded-for", "203.0.113.9"),
        ("cf-ipcountry", "de"),
    ];
    let answer = shop.get("/l/Mugs?gclid=AbC-_1&x=%2B+%3D", &headers).await;
    assert_eq!(answer.status(), 302);
    assert_eq!(header_of(&answer, "cache-control"), "private, no-store");
    assert_eq!(header_of(&answer, "x-robots-tag"), "noindex");
    assert_eq!(header_of(&answer, "referrer-policy"), "no-referrer-when-downgrade");
    assert_eq!(header_of(&answer, "content-length"), "0");
    let start = "https://shop.example/mugs?a=1&utm_source=newsletter&gclid=AbC-_1&x=%2B+%3D&cr_vid=";
    let id = location(&answer).strip_prefix(start).and_then(|rest| rest.strip_suffix("#top")).expect("as composed");
    let id = VisitorId::new(id).expect("an id");
    let cookie = format!("cr_vid={id}; Path=/; Max-Age=86400; Secure; SameSite=Lax");
    assert_eq!(header_of(&answer, "set-cookie"), cookie, "the host is not in the cookies' domain");

    let stores = shop.stores.clone();
    let rows = shop.close().await;
    let row = &rows[0];
    assert_eq!((rows.len(), row.verdict, row.reasons.len()), (1, ClickVerdict::Human, 0));
    assert_eq!((row.link.to_string().as_str(), row.at, row.head), ("mugs", NOW, false));
    let seen = [&row.device, &row.browser, &row.os, &row.country].map(|value| value.clone().unwrap_or_default());
    assert_eq!(seen, ["desktop", "Chrome", "Windows", "DE"]);
    assert_eq!(row.referrer.as_deref(), Some("https://mail.example/inbox"));
    assert_eq!((row.utm.source.as_deref(), row.visitor_id.as_ref()), (Some("newsletter"), Some(&id)));
    assert!(row.fingerprint != 0 && row.split.is_none() && row.landed.is_none());

    let visitor = stores.visits.find(&id).expect("works").expect("was seen");
    assert_eq!(
        visitor.clicks.iter().map(|click| (click.kind, click.value.as_str())).collect::<Vec<_>>(),
        [(ClickKind::Gclid, "AbC-_1")]
    );
    assert_eq!(visitor.clicks[0].first_seen, Some(NOW));
    assert_eq!(visitor.first_visit.link, Some(LinkKey::of("mugs")));
    let page = "https://shop.example/mugs?a=1&utm_source=newsletter&gclid=AbC-_1&x=%2B+%3D#top";
    assert_eq!(visitor.first_visit.url.as_ref().map(|url| url.expose().as_str()), Some(page));
    assert_eq!(visitor.ip.map(|ip| ip.expose().to_string()).as_deref(), Some("203.0.113.9"));
    assert_eq!(visitor.user_agent.as_ref().map(|agent| agent.expose().as_str()), Some(CHROME));
}

#[tokio::test]
async fn head_is_answered_alike_and_is_no_click() {
    let shop = Shop::open(config()).await;
    shop.put(link("mugs", "https://shop.example/")).await;
    let answer = shop.ask("HEAD", "/l/mugs?gclid=A", &[]).await;
    assert_eq!((answer.status().as_u16(), location(&answer)), (302, "https://shop.example/?gclid=A"));
    assert_eq!(header_of(&answer, "cache-control"), "private, no-store");
    assert_eq!(header_of(&answer, "set-cookie"), "");
    assert_eq!(shop.ask("POST", "/l/mugs", &[]).await.status(), StatusCode::METHOD_NOT_ALLOWED);
    let rows = shop.close().await;
    assert_eq!(told(&rows), [(ClickVerdict::Bot, "head".to_owned())]);
    assert!(rows[0].head && rows[0].visitor_id.is_none());
}

#[tokio::test]
async fn a_changed_destination_holds_for_the_next_request() {
    let shop = Shop::open(config()).await;
    shop.put(link("mugs", "https://old.example/")).await;
    assert_eq!(handed(&shop.get("/l/mugs", &[]).await).0, "https://old.example/");
    shop.put(link("mugs", "https://new.example/")).await;
    assert_eq!(handed(&shop.get("/l/mugs", &[]).await).0, "https://new.example/");
    shop.links.remove(&LinkKey::of("mugs"), "test", NOW).await.expect("removes");
    assert_eq!(shop.get("/l/mugs", &[]).await.status(), 404);
}

#[tokio::test]
async fn each_host_has_its_own_links_and_the_relays_paths_go_on_working() {
    let shop = Shop::open(config()).await;
    for (key, to) in [("mugs", "own"), ("go.brand.example/mugs", "brand"), ("go.other.example/mugs", "other")] {
        shop.put(link(key, &format!("https://{to}.example/"))).await;
    }
    let to = async |host: &str, path: &str| {
        let answer = shop.get(path, &[("host", host)]).await;
        (answer.status().as_u16(), handed(&answer).0)
    };
    let leads = |to: &str| (302, format!("https://{to}.example/"));
    assert_eq!(to("go.brand.example", "/mugs").await, leads("brand"));
    assert_eq!(to("GO.Brand.example:8443", "/MUGS/").await, leads("brand"));
    assert_eq!(to("go.other.example.", "/mugs").await, leads("other"));
    assert_eq!(to("go.brand.example", "/l/mugs").await, leads("own"));
    assert_eq!(to("t.example.com", "/l/mugs").await, leads("own"));
    assert_eq!(to("t.example.com", "/mugs").await.0, 404, "without /l/ only on link hosts");
    assert_eq!(to("t.example.com", "/l/go.brand.example%2Fmugs").await.0, 404, "nobody chooses the host in a path");
    for (path, status) in [("/healthz", 200), ("/pixel", 200), ("/robots.txt", 404), ("/", 404), ("/a/b", 404)] {
        assert_eq!(to("go.brand.example", path).await.0, status, "{path}");
    }
    assert_eq!(shop.ask("POST", "/mugs", &[("host", "go.brand.example")]).await.status(), 404);
    let answer = shop.get("/mugs", &[("host", "go.brand.example")]).await;
    assert!(header_of(&answer, "set-cookie").contains("; Domain=brand.example"), "the host is in that domain");
    assert_eq!(shop.close().await.len(), 6);
}

#[tokio::test]
async fn what_does_not_exist_or_is_over_says_so_or_leads_home() {
    let shop = Shop::open(config()).await;
    let mut over = link("over", "https://shop.example/");
    over.expires_at = Some(NOW.plus(Duration::from_secs(60)));
    shop.put(over).await;
    let mut paused = link("paused", "https://shop.example/");
    paused.state = LinkState::Paused;
    shop.put(paused).await;
    assert_eq!(shop.get("/l/over", &[]).await.status(), 302);
    shop.clock.advance(Duration::from_secs(60));
    for (path, status) in [("/l/over", 410), ("/l/paused", 410), ("/l/none", 404)] {
        let answer = shop.get(path, &[("accept", "text/html,application/xhtml+xml")]).await;
        assert_eq!((answer.status().as_u16(), header_of(&answer, "set-cookie")), (status, ""));
        assert_eq!(header_of(&answer, "content-type"), "text/html; charset=utf-8");
        assert!(answer.text().await.expect("text").contains("<h1>Link not"));
        let answer = shop.get(path, &[("accept", "*/*")]).await;
        assert_eq!((answer.status().as_u16(), header_of(&answer, "cache-control")), (status, "private, no-store"));
        assert_eq!(header_of(&answer, "content-type"), "application/problem+json");
    }
    let rows = shop.close().await;
    assert_eq!(rows.iter().filter(|row| row.reasons == ["expired"]).count(), 1);

    let home = Config { fallback: Some("https://shop.example/?from=link".to_owned()), ..config() };
    let shop = Shop::open(home).await;
    let answer = shop.get("/l/none?gclid=AbC&cr_vid=x", &[]).await;
    assert_eq!((answer.status().as_u16(), location(&answer)), (302, "https://shop.example/?from=link&gclid=AbC"));
    let answer = shop.get("/", &[("host", "go.brand.example")]).await;
    assert_eq!(location(&answer), "https://shop.example/?from=link");
}

#[tokio::test]
async fn only_stored_destinations_are_redirected_to() {
    let shop = Shop::open(config()).await;
    shop.put(link("go", "https://shop.example/p")).await;
    for path in [
        "/l/go?//evil.example",
        "/l/go?url=https://evil.example/",
        "/l/go?%0d%0aLocation:%20https://evil.example",
        "/l/go?@evil.example",
        "/l/go?\\evil.example",
        "/l/go/",
    ] {
        let answer = shop.get(path, &[]).await;
        let landed = url::Url::parse(location(&answer)).expect("an address");
        assert_eq!((landed.host_str(), landed.path()), (Some("shop.example"), "/p"), "{path}");
    }
    for path in ["/l//evil.example", "/l/https:%2F%2Fevil.example", "/l/..%2Fgo", "/l/go%0d%0aa:b", "/l/%00", "//go"] {
        let answer = shop.get(path, &[]).await;
        assert_eq!((answer.status().as_u16(), location(&answer)), (404, ""), "{path}");
    }
}

#[tokio::test]
async fn visitors_keep_their_id_and_their_destination() {
    let shop = Shop::open(config()).await;
    let mut split = link("split", "https://unused.example/");
    let to = |name: &str| Split { destination: format!("https://{name}.example/"), weight: 1 };
    split.split = ["a", "b", "c"].map(to).to_vec();
    shop.put(split).await;
    let (mut first, mut chosen) = (std::collections::BTreeSet::new(), Vec::new());
    for _ in 0..20 {
        let (page, id) = handed(&shop.get("/l/split", &[]).await);
        let cookie = format!("other=1; cr_vid={}", id.expect("an id"));
        let again = shop.get("/l/split", &[("cookie", &cookie)]).await;
        assert_eq!(handed(&again).0, page);
        assert!(header_of(&again, "set-cookie").starts_with(&cookie[9..]), "it is kept longer again");
        first.insert(page.clone());
        chosen.push(page);
    }
    assert_eq!(first.len(), 3);
    let bot = [("user-agent", "curl/8.5.0")];
    let page = |answer: reqwest::Response| location(&answer).to_owned();
    assert_eq!(page(shop.get("/l/split", &bot).await), page(shop.get("/l/split", &bot).await));
    let odd = shop.get("/l/split", &[("cookie", "cr_vid=ada@example.com")]).await;
    assert!(!location(&odd).contains("example.com"), "what tells who it is is no id");
    let rows = shop.close().await;
    let places: Vec<_> = rows.iter().step_by(2).take(20).map(|row| row.split).collect();
    let named = |page: &String| Some(u16::from(page.as_bytes()[8] - b'a'));
    assert_eq!(places, chosen.iter().map(named).collect::<Vec<_>>());
}

#[tokio::test]
async fn without_consent_and_for_machines_there_are_no_ids() {
    for (strict, headers) in [
        (false, [("sec-gpc", "1"), ("cookie", "cr_vid=01JD3N6V6J8Q4T3W9K5Z7Y2X1A")]),
        (true, [("sec-gpc", "1"), ("cookie", "cr_vid=01JD3N6V6J8Q4T3W9K5Z7Y2X1A")]),
        (true, [("accept", "*/*"), ("x-a", "b")]),
    ] {
        let shop = Shop::open(Config { require_consent: strict, ..config() }).await;
        shop.put(link("mugs", "https://shop.example/")).await;
        let answer = shop.get("/l/mugs?gclid=A", &headers).await;
        assert_eq!(location(&answer), "https://shop.example/?gclid=A");
        assert_eq!(header_of(&answer, "set-cookie"), "");
        let stores = shop.stores.clone();
        let rows = shop.close().await;
        let kept = (rows[0].verdict, rows[0].visitor_id.is_some(), rows[0].fingerprint);
        assert_eq!(kept, (ClickVerdict::Human, false, 0));
        assert!(stores.visits.page(None, 10).expect("reads").is_empty());
    }
    let shop = Shop::open(Config { require_consent: true, ..config() }).await;
    shop.put(link("mugs", "https://shop.example/")).await;
    let answer = shop.get("/l/mugs", &[("cookie", "cr_vid=v1")]).await;
    assert_eq!(location(&answer), "https://shop.example/?cr_vid=v1", "who has one allowed it");
    assert_eq!(header_of(&answer, "set-cookie"), "");

    let shop = Shop::open(config()).await;
    shop.put(link("mugs", "https://shop.example/")).await;
    for more in [("user-agent", "WhatsApp/2.23.20.0"), ("user-agent", "curl/8.5.0"), ("sec-purpose", "prefetch")] {
        let answer = shop.get("/l/mugs", &[more, ("cookie", "cr_vid=v1")]).await;
        assert_eq!((location(&answer), header_of(&answer, "set-cookie")), ("https://shop.example/", ""));
    }
    let stores = shop.stores.clone();
    let verdicts: Vec<_> = shop.close().await.iter().map(|row| row.verdict).collect();
    assert_eq!(verdicts, [ClickVerdict::Preview, ClickVerdict::Bot, ClickVerdict::Prefetch]);
    assert!(stores.visits.page(None, 10).expect("reads").is_empty());
}

#[tokio::test]
async fn every_hit_is_a_row_with_its_reason() {
    let shop = Shop::open(config()).await;
    shop.put(link("mugs", "https://shop.example/")).await;
    let curl = [("user-agent", "curl/8.5.0")];
    shop.get("/l/mugs", &curl).await;
    shop.get("/l/mugs", &[("user-agent", "WhatsApp/2.23.20.0")]).await;
    let qa = shop.get("/l/mugs?cr_qa=s3cret&gclid=A", &[]).await;
    assert!(location(&qa).starts_with("https://shop.example/?gclid=A&cr_vid="), "the token goes nowhere");
    shop.get("/l/mugs", &[]).await;
    shop.clock.advance(Duration::from_millis(300));
    shop.get("/l/mugs", &[]).await;
    let rows = shop.close().await;
    let verdicts: Vec<_> = rows.iter().map(|row| row.verdict).collect();
    use ClickVerdict::{Bot, Duplicate, Human, Preview, Qa};
    assert_eq!(verdicts, [Bot, Preview, Qa, Human, Duplicate]);
    let reasons = told(&rows).into_iter().map(|(_, reasons)| reasons).collect::<Vec<_>>();
    assert!(reasons[0].starts_with("known_bot: curl") && reasons[1].starts_with("known_preview: WhatsApp"));
    assert_eq!(reasons[2..], ["qa: token", "", "duplicate"]);
}

#[tokio::test]
async fn who_opens_all_links_of_a_mail_at_once_is_a_burst_in_every_row() {
    let shop = Shop::open(config()).await;
    for name in ["a", "b", "c"] {
        shop.put(link(name, "https://shop.example/")).await;
    }
    shop.get("/l/a", &[("x-forwarded-for", "192.0.2.9")]).await;
    for name in ["a", "b", "c"] {
        shop.get(&format!("/l/{name}"), &[]).await;
        shop.clock.advance(Duration::from_millis(100));
    }
    let verdicts: Vec<_> = shop.close().await.iter().map(|row| row.verdict).collect();
    assert_eq!(verdicts, [ClickVerdict::Human, ClickVerdict::Burst, ClickVerdict::Burst, ClickVerdict::Burst]);
}

#[tokio::test]
async fn a_landing_page_is_believed_for_half_an_hour_and_from_the_same_browser() {
    let shop = Shop::open(config()).await;
    shop.put(link("mugs", "https://shop.example/")).await;
    let (_, id) = handed(&shop.get("/l/mugs", &[]).await);
    let (id, late) = (id.expect("an id"), handed(&shop.get("/l/mugs", &[]).await).1.expect("an id"));
    let redirects = shop.redirects.upgrade().expect("serves");
    shop.clock.advance(Duration::from_secs(5));
    let now = shop.clock.now();
    assert!(!redirects.landed(&id, "another browser", now));
    assert!(!redirects.landed(&VisitorId::new("forged").expect("an id"), CHROME, now));
    assert!(redirects.landed(&id, CHROME, now));
    assert!(redirects.landed(&id, CHROME, now.plus(Duration::from_secs(60))), "the page was loaded again");
    assert!(!redirects.landed(&late, CHROME, now.plus(HANDED_OVER)));
    drop(redirects);
    let rows = shop.close().await;
    assert_eq!(rows.iter().map(|row| row.landed).collect::<Vec<_>>(), [Some(now), None]);
}

/// Rows in memory that cannot be written for a while.
struct Stubborn {
    clicks: Arc<dyn ClickStore>,
    refusals: std::sync::atomic::AtomicU32,
}

impl ClickStore for Stubborn {
    fn append(&self, rows: &[Click]) -> Result<(), StoreError> {
        let left = self.refusals.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        if left.is_ok() {
            return Err(StoreError::Unavailable("no space left".into()));
        }
        self.clicks.append(rows)
    }
    fn amend(&self, amendments: &[Amendment]) -> Result<(), StoreError> {
        self.clicks.amend(amendments)
    }
    fn sync(&self) -> Result<(), StoreError> {
        self.clicks.sync()
    }
    fn scan(
        &self,
        from: Time,
        to: Time,
        each: &mut dyn FnMut(&Click) -> std::ops::ControlFlow<()>,
    ) -> Result<(), StoreError> {
        self.clicks.scan(from, to, each)
    }
    fn find(&self, id: &str) -> Result<Option<Click>, StoreError> {
        self.clicks.find(id)
    }
    fn forget(&self, visitors: &[VisitorId]) -> Result<u64, StoreError> {
        self.clicks.forget(visitors)
    }
    fn retain(&self, before: Time) -> Result<(), StoreError> {
        self.clicks.retain(before)
    }
    fn health(&self) -> store::Health {
        self.clicks.health()
    }
    fn recover(&self) -> Result<(), StoreError> {
        self.clicks.recover()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_relay_that_stops_under_load_has_written_all_it_answered() {
    let shop = Shop::open(Config { queue_max: 16, ..config() }).await;
    shop.put(link("mugs", "https://shop.example/")).await;
    let mut asking = tokio::task::JoinSet::new();
    let answered = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    for place in 0..16 {
        let (client, url, answered) = (shop.client.clone(), format!("{}/l/mugs", shop.at), Arc::clone(&answered));
        asking.spawn(async move {
            let client =
                client.get(url).header("user-agent", CHROME).header("x-forwarded-for", format!("192.0.2.{place}"));
            while let Ok(answer) = client.try_clone().expect("no body").send().await {
                assert_eq!(answer.status(), 302);
                answered.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    while answered.load(Ordering::Relaxed) < 500 {
        tokio::task::yield_now().await;
    }
    shop.stop.send_replace(true);
    while asking.join_next().await.is_some() {}
    let answered = answered.load(Ordering::Relaxed);
    let rows = shop.close().await.len();
    assert!(rows >= answered && rows <= answered + 16, "{rows} rows of {answered} answers");
}

#[tokio::test]
async fn rows_wait_for_a_disk_that_is_full_and_answers_do_not() {
    let stores = stores();
    let clicks = Stubborn { clicks: Arc::clone(&stores.clicks), refusals: 1.into() };
    let shop = Shop::with(Config { queue_max: 2, ..config() }, Stores { clicks: Arc::new(clicks), ..stores }).await;
    shop.put(link("mugs", "https://shop.example/")).await;
    for _ in 0..12 {
        assert_eq!(shop.get("/l/mugs", &[]).await.status(), 302);
    }
    let redirects = shop.redirects.upgrade().expect("serves");
    let metrics = redirects.metrics.clone();
    drop(redirects);
    let mut registry = prometheus_client::registry::Registry::default();
    metrics.register(&mut registry);
    let rows = shop.close().await.len() as u64;
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).expect("writes");
    let lost = text.lines().find_map(|line| line.strip_prefix("clicks_lost_total ")).expect("is counted");
    let lost: u64 = lost.parse().expect("a number");
    assert!(rows >= 1 && rows + lost == 12, "{rows} rows, {lost} lost");
}
