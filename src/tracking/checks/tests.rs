use wiremock::{
    Mock, MockServer, ResponseTemplate,
    matchers::{method, path},
};

use super::*;
use crate::{
    model::{MockClock, Split, Utm, Variant},
    store::{book::FileBook, memory::SimulatedDisk},
};

const DAY: Duration = Duration::from_secs(86_400);

fn link(slug: &str, destination: &str) -> Link {
    let text = format!(r#"{{"key":"{slug}","destination":"{destination}","created_at":1,"updated_at":1}}"#);
    let link: Link = serde_json::from_str(&text).expect("reads");
    Link { utm: Utm::default(), variant: Variant::default(), ..link }
}

struct Bench {
    clock: Arc<MockClock>,
    links: Arc<Links>,
    book: Arc<dyn Book>,
    settings: Settings,
}

impl Bench {
    fn new(private: bool) -> Self {
        let book: Arc<dyn Book> = Arc::new(FileBook::open(Arc::new(SimulatedDisk::default())).expect("opens"));
        let links = Arc::new(Links::open(Arc::clone(&book), 100));
        let clock = Arc::new(MockClock::at(Time::from_secs(1_000_000)));
        Self { clock, links, book, settings: Settings { every: DAY, private } }
    }

    fn checks(&self) -> Checks {
        let (links, book) = (Arc::clone(&self.links), Arc::clone(&self.book));
        let clock = Arc::clone(&self.clock) as Arc<dyn Clock>;
        let checks = Checks::open(self.settings, links, book, clock).expect("sets up");
        Checks { pace: Duration::ZERO, ..checks }
    }

    async fn put(&self, link: Link) {
        self.links.put(link, "test", self.clock.now()).await.expect("stores");
    }
}

fn condition(checks: &Checks, slug: &str) -> (Condition, Option<String>) {
    let health = checks.health(&LinkKey::of(slug));
    (health.condition, health.reason)
}

async fn answering(server: &MockServer, at: &str, verb: &str, answer: ResponseTemplate) {
    Mock::given(method(verb)).and(path(at)).respond_with(answer).mount(server).await;
}

async fn asked(server: &MockServer) -> usize {
    server.received_requests().await.map_or(0, |all| all.len())
}

#[tokio::test]
async fn a_page_that_is_gone_is_broken_at_the_second_look_and_well_when_it_is_back() {
    let server = MockServer::start().await;
    let bench = Bench::new(true);
    bench.put(link("mugs", &format!("{}/mugs?a=1#b", server.uri()))).await;
    let checks = bench.checks();
    assert_eq!(condition(&checks, "mugs"), (Condition::Unknown, None));
    checks.round().await.expect("asks");
    assert_eq!(condition(&checks, "mugs").0, Condition::Unknown, "once is no proof");
    checks.round().await.expect("asks");
    assert_eq!(asked(&server).await, 2, "HEAD and GET; nothing is due yet");
    bench.clock.advance(AGAIN_AFTER);
    checks.round().await.expect("asks");
    assert_eq!(condition(&checks, "mugs"), (Condition::Broken, Some("answers 404".into())));
    assert_eq!((checks.broken.get(), checks.health(&LinkKey::of("mugs")).since), (1, Some(bench.clock.now())));

    let again = bench.checks();
    assert_eq!((condition(&again, "mugs").0, again.broken.get()), (Condition::Broken, 1), "a restart forgets nothing");

    answering(&server, "/mugs", "HEAD", ResponseTemplate::new(200)).await;
    bench.clock.advance(DAY);
    checks.round().await.expect("asks");
    assert_eq!((condition(&checks, "mugs"), checks.broken.get()), ((Condition::Ok, None), 0));
}

#[tokio::test]
async fn sites_that_do_not_know_head_are_asked_otherwise_and_redirects_are_followed() {
    let server = MockServer::start().await;
    let bench = Bench::new(true);
    answering(&server, "/post-only", "HEAD", ResponseTemplate::new(405)).await;
    answering(&server, "/post-only", "GET", ResponseTemplate::new(206)).await;
    let on = ResponseTemplate::new(301).insert_header("location", "/post-only");
    answering(&server, "/moved", "HEAD", on).await;
    let round = ResponseTemplate::new(302).insert_header("location", "/round");
    answering(&server, "/round", "HEAD", round).await;
    answering(&server, "/secret", "HEAD", ResponseTemplate::new(403)).await;
    answering(&server, "/secret", "GET", ResponseTemplate::new(403)).await;
    for slug in ["moved", "round", "secret"] {
        bench.put(link(slug, &format!("{}/{slug}", server.uri()))).await;
    }
    let checks = bench.checks();
    for _ in 0..2 {
        checks.round().await.expect("asks");
        bench.clock.advance(AGAIN_AFTER);
    }
    assert_eq!(condition(&checks, "moved"), (Condition::Ok, None));
    assert_eq!(condition(&checks, "round"), (Condition::Broken, Some("more than 5 redirects".into())));
    assert_eq!(condition(&checks, "secret").0, Condition::Unknown, "it may well be there for people");
}

#[tokio::test]
async fn who_asks_for_less_is_left_alone_and_is_not_broken() {
    let server = MockServer::start().await;
    let bench = Bench::new(true);
    let busy = ResponseTemplate::new(429).insert_header("retry-after", "7200");
    answering(&server, "/", "HEAD", busy).await;
    bench.put(link("busy", &format!("{}/", server.uri()))).await;
    let checks = Checks { settings: Settings { every: AGAIN_AFTER, private: true }, ..bench.checks() };
    for _ in 0..10 {
        checks.round().await.expect("asks");
        bench.clock.advance(Duration::from_secs(700));
    }
    assert_eq!((asked(&server).await, condition(&checks, "busy").0), (1, Condition::Unknown));
    bench.clock.advance(Duration::from_secs(300));
    checks.round().await.expect("asks");
    assert_eq!(asked(&server).await, 2);
}

#[tokio::test]
async fn nothing_inside_is_asked_by_address_by_name_or_by_redirect() {
    let server = MockServer::start().await;
    let bench = Bench::new(false);
    let port = server.address().port();
    for (slug, host) in
        [("address", "127.0.0.1"), ("name", "localhost"), ("mapped", "[::ffff:127.0.0.1]"), ("odd", "0x7f.1")]
    {
        bench.put(link(slug, &format!("http://{host}:{port}/"))).await;
    }
    let checks = bench.checks();
    checks.round().await.expect("asks");
    for slug in ["address", "name", "mapped", "odd"] {
        assert_eq!(condition(&checks, slug), (Condition::Unknown, Some(ask_inside())), "{slug}");
    }
    assert_eq!(asked(&server).await, 0);
}

fn ask_inside() -> String {
    "leads to an address that is not reachable from outside; it is not asked, see links.check_private".to_owned()
}

#[tokio::test]
async fn only_live_links_are_asked_each_destination_once_and_the_worst_counts() {
    let server = MockServer::start().await;
    answering(&server, "/one", "HEAD", ResponseTemplate::new(200)).await;
    let bench = Bench::new(true);
    let (one, gone) = (format!("{}/one", server.uri()), format!("{}/gone", server.uri()));
    let part = |destination: &String| Split { destination: destination.clone(), weight: 1 };
    bench.put(Link { split: vec![part(&one), part(&gone)], ..link("split", "https://unused.invalid/") }).await;
    bench.put(link("same", &one)).await;
    bench.put(Link { state: LinkState::Paused, ..link("paused", "http://paused.invalid/") }).await;
    bench.put(Link { expires_at: Some(Time::from_secs(5)), ..link("old", "http://old.invalid/") }).await;
    let checks = bench.checks();
    for _ in 0..2 {
        checks.round().await.expect("asks");
        bench.clock.advance(AGAIN_AFTER);
    }
    assert_eq!(asked(&server).await, 1 + 2 * 2, "one by HEAD, gone twice by HEAD and GET");
    assert_eq!(condition(&checks, "split").0, Condition::Broken);
    assert_eq!((condition(&checks, "same").0, checks.broken.get()), (Condition::Ok, 1));
    assert_eq!(condition(&checks, "paused").0, Condition::Unknown);

    bench.links.remove(&LinkKey::of("split"), "test", bench.clock.now()).await.expect("removes");
    checks.round().await.expect("asks");
    let left: Vec<String> = bench.book.list(SHELF).into_iter().map(|(_, value)| value.to_string()).collect();
    assert!(left.len() == 1 && left[0].contains("/one"), "{left:?}");
    assert_eq!(checks.broken.get(), 0);
}

#[test]
fn hosts_take_turns() {
    let due = ["http://a/1", "http://a/2", "http://a/3", "http://b/1"];
    let due = due.map(|text| (text.to_owned(), Url::parse(text).expect("valid")));
    let order: Vec<String> = in_turns(due.to_vec()).into_iter().map(|(text, _)| text).collect();
    assert_eq!(order, ["http://a/1", "http://b/1", "http://a/2", "http://a/3"]);
}

#[tokio::test]
async fn a_host_is_asked_at_its_pace() {
    let pace = tokio::sync::Mutex::new(BTreeMap::new());
    let url = |text: &str| Url::parse(text).expect("valid");
    let began = tokio::time::Instant::now();
    for at in ["http://a/1", "http://b/1", "http://a/2", "http://a/3"] {
        wait_for_turn(&pace, &url(at), Duration::from_millis(40)).await;
    }
    let took = began.elapsed();
    assert!(took >= Duration::from_millis(80) && took < Duration::from_secs(10), "{took:?}");
}
