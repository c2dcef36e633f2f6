//! A browser, by the W3C WebDriver protocol.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tokio::sync::{Semaphore, SemaphorePermit};

/// How long anything may take before a test gives up.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// Browsers at once: each takes the better part of a core while it starts.
static TURNS: Semaphore = Semaphore::const_new(2);
/// What a visitor's browser calls itself; the headless one says that it is.
const USER_AGENT: &str =
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/148.0.0.0 Safari/537.36";

/// What is different about a browser.
#[derive(Default)]
pub(crate) struct Habits {
    /// Cookies of other sites are not kept.
    pub(crate) blocks_third_parties: bool,
    /// More arguments of Chromium.
    pub(crate) arguments: Vec<String>,
}

/// A browser with one window and an empty profile. Closed when dropped.
pub(crate) struct Browser {
    driver: Child,
    session: String,
    client: reqwest::Client,
    _turn: SemaphorePermit<'static>,
}

impl Browser {
    /// Starts one.
    pub(crate) async fn start() -> Self {
        Self::with(Habits::default()).await
    }

    /// Starts one that is different.
    pub(crate) async fn with(habits: Habits) -> Self {
        let turn = TURNS.acquire().await.expect("is never closed");
        let mut driver = Command::new("chromedriver");
        driver.arg("--port=0").stdout(Stdio::piped()).stderr(Stdio::null());
        let mut driver = driver.spawn().expect("chromedriver starts: Debian's packages chromium and chromium-driver");
        let lines = BufReader::new(driver.stdout.take().expect("piped")).lines();
        let mut ports = lines.map_while(Result::ok).filter_map(|line| {
            line.rsplit_once("successfully on port ").map(|(_, port)| port.trim_end_matches('.').to_owned())
        });
        let port = ports.next().expect("says its port");
        let mut arguments: Vec<String> = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--window-size=1000,800",
        ]
        .map(str::to_owned)
        .into();
        arguments.push(format!("--user-agent={USER_AGENT}"));
        arguments.extend(habits.arguments);
        let options = json!({
            "binary": "/usr/bin/chromium",
            "args": arguments,
            "prefs": { "profile.block_third_party_cookies": habits.blocks_third_parties,
                "profile.cookie_controls_mode": i32::from(habits.blocks_third_parties) },
        });
        let client = reqwest::Client::new();
        let base = format!("http://127.0.0.1:{port}/session");
        let mut browser = Self { driver, session: base, client, _turn: turn };
        let wanted = json!({ "capabilities": { "alwaysMatch": { "goog:chromeOptions": options } } });
        let began = browser.post("", &wanted).await;
        let id = began["sessionId"].as_str().unwrap_or_else(|| panic!("no session: {began}"));
        browser.session = format!("{}/{id}", browser.session);
        browser
    }

    async fn post(&self, path: &str, body: &Value) -> Value {
        let request = self.client.post(format!("{}{path}", self.session)).timeout(PATIENCE);
        let answer = request.body(body.to_string()).send().await.expect("the driver answers");
        let text = answer.text().await.expect("has a body");
        let answer: Value = serde_json::from_str(&text).expect("is JSON");
        let value = &answer["value"];
        assert!(value["error"].is_null() || value["stacktrace"].is_null(), "{path} {body}: {}", value["message"]);
        value.clone()
    }

    async fn get(&self, path: &str) -> Value {
        let answer = self.client.get(format!("{}{path}", self.session)).timeout(PATIENCE).send().await;
        let text = answer.expect("the driver answers").text().await.expect("has a body");
        serde_json::from_str::<Value>(&text).expect("is JSON")["value"].clone()
    }

    /// Goes to this address, until the page is loaded.
    pub(crate) async fn open(&self, address: &str) {
        self.post("/url", &json!({ "url": address })).await;
    }

    /// What this expression is in the page; of a promise, what it comes to.
    pub(crate) async fn eval(&self, expression: &str) -> Value {
        self.run(&format!("return {expression}")).await
    }

    /// Runs this in the page.
    pub(crate) async fn run(&self, script: &str) -> Value {
        self.post("/execute/sync", &json!({ "script": script, "args": [] })).await
    }

    /// Waits until this expression is true in the page.
    pub(crate) async fn until(&self, expression: &str) {
        let began = Instant::now();
        while self.eval(&format!("!!({expression})")).await != true {
            assert!(began.elapsed() < PATIENCE, "never true: {expression}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Clicks there as a person does.
    pub(crate) async fn click(&self, selector: &str) {
        let found = self.post("/element", &json!({ "using": "css selector", "value": selector })).await;
        let id = found.as_object().and_then(|found| found.values().next()).and_then(Value::as_str);
        let id = id.unwrap_or_else(|| panic!("no {selector}")).to_owned();
        self.post(&format!("/element/{id}/click"), &json!({})).await;
    }

    /// Opens another tab and goes there; what it is called.
    pub(crate) async fn open_tab(&self, address: &str) -> Tab {
        let before = self.get("/window").await.as_str().expect("a window").to_owned();
        let tab = self.post("/window/new", &json!({ "type": "tab" })).await;
        self.post("/window", &json!({ "handle": tab["handle"] })).await;
        self.open(address).await;
        Tab { before }
    }

    /// Closes the tab that was opened last.
    pub(crate) async fn close(&self, tab: Tab) {
        let request = self.client.delete(format!("{}/window", self.session)).timeout(PATIENCE);
        request.send().await.expect("the driver answers");
        self.post("/window", &json!({ "handle": tab.before })).await;
    }

    /// The cookies that the page's address has, also those that scripts do not see.
    pub(crate) async fn cookies(&self) -> Vec<Value> {
        self.get("/cookie").await.as_array().expect("a list").clone()
    }

    /// Says that nothing was thrown into the page. Pages of [`crate::web`] note it.
    pub(crate) async fn unhurt(&self) {
        assert_eq!(self.eval("window.thrown").await, json!([]), "thrown into the page");
    }
}

/// A tab that was opened.
pub(crate) struct Tab {
    before: String,
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The browser outlives its driver unless that is asked to end it. It may be too ill to answer.
        let _ended = self.end();
        let _killed = self.driver.kill();
        let _gone = self.driver.wait();
    }
}

impl Browser {
    /// Asks the driver to end the browser, without the runtime: a destructor cannot wait for one.
    fn end(&self) -> std::io::Result<()> {
        let address = self.session.trim_start_matches("http://");
        let (host, path) = address.split_once('/').unwrap_or((address, ""));
        let mut driver = TcpStream::connect(host)?;
        driver.set_read_timeout(Some(PATIENCE))?;
        write!(driver, "DELETE /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")?;
        // The answer's first bytes say that it has ended; the connection stays open.
        driver.read(&mut [0; 64]).map(drop)
    }
}
