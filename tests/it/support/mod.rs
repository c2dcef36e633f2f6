//! A relay in a temporary directory, as its own process, and the platforms it delivers to.

mod load;

use std::{
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use conversion_relay::{
    app, config,
    model::{Clock, MockClock, SystemClock},
    sandbox::{self, Sandbox},
    store,
};
use serde_json::Value;

pub(crate) use load::Load;

/// The key of the configuration that [`Setup`] writes.
pub(crate) const KEY: &str = "key-of-the-test-shop";

/// How long anything may take before a test gives up.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The stand-in platforms, on a port of their own.
pub(crate) struct Platforms {
    /// What they got, and how to make them fail.
    pub(crate) sandbox: Arc<Sandbox>,
    /// `http://127.0.0.1:PORT`
    pub(crate) url: String,
    _serving: tokio::task::JoinHandle<std::io::Result<()>>,
}

impl Platforms {
    /// Starts them.
    pub(crate) async fn start() -> Self {
        Self::start_at(Arc::new(SystemClock)).await
    }

    /// Starts them with a clock of their own.
    pub(crate) async fn start_at(clock: Arc<dyn Clock>) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let sandbox = Sandbox::new(clock, sandbox::Config::default());
        let serving = tokio::spawn(sandbox::serve(listener, Arc::clone(&sandbox), std::future::pending()));
        Self { sandbox, url, _serving: serving }
    }

    /// A destination of every kind: `meta`, `google`, `google-ads` and `analytics` here, and the file `import-file`. Refunds
    /// and leads are mapped too. A request that is not answered is given up soon.
    pub(crate) fn everywhere(&self) -> String {
        let url = &self.url;
        let credentials = format!(
            "credentials = {{ client_id = \"id\", client_secret = \"secret\", refresh_token = \"refresh\" }}\n\
             token_url = \"{url}/oauth/token\"\nhold_after_click = \"0s\"\ntimeout = \"1s\""
        );
        format!(
            r#"
[[destinations]]
name = "meta"
kind = "meta"
pixel_id = "1234567890"
access_token = "test-token"
base_url = "{url}/meta"
timeout = "1s"
events = {{ purchase = "Purchase", generate_lead = "Lead", refund = "Refund" }}

[[destinations]]
name = "google"
kind = "data_manager"
operating_account = "123-456-7890"
base_url = "{url}/google"
requests_per_minute = 100000
{credentials}
events = {{ purchase = "987654321", generate_lead = "987654322", refund = "adjust" }}

[[destinations]]
name = "google-ads"
kind = "google_ads"
customer_id = "123-456-7890"
base_url = "{url}/google-ads"
requests_per_day = 86400000
{credentials}
events = {{ purchase = "987654321", generate_lead = "987654322", refund = "adjust" }}

[[destinations]]
name = "analytics"
kind = "ga4"
measurement_id = "G-ABC1234567"
api_secret = "secret-of-the-test"
base_url = "{url}/ga4"
timeout = "1s"
events = {{ purchase = "purchase", generate_lead = "generate_lead", refund = "refund" }}

[[destinations]]
name = "import-file"
kind = "file"
format = "jsonl"
events = {{ purchase = "Purchase", generate_lead = "Lead", refund = "Refund" }}
"#
        )
    }

    /// A Meta and a Data Manager destination here.
    pub(crate) fn destinations(&self) -> String {
        let url = &self.url;
        format!(
            r#"
[[destinations]]
name = "meta"
kind = "meta"
pixel_id = "1234567890"
access_token = "test-token"
base_url = "{url}/meta"
[destinations.events]
purchase = "Purchase"
generate_lead = "Lead"

[[destinations]]
name = "google"
kind = "data_manager"
operating_account = "123-456-7890"
credentials = {{ client_id = "id", client_secret = "secret", refresh_token = "refresh" }}
base_url = "{url}/google"
token_url = "{url}/oauth/token"
hold_after_click = "0s"
requests_per_minute = 100000
[destinations.events]
purchase = "987654321"
generate_lead = "987654322"
"#
        )
    }
}

/// A configuration and a data directory that outlive the processes started on them.
pub(crate) struct Setup {
    directory: tempfile::TempDir,
    config: PathBuf,
    environment: Vec<(&'static str, String)>,
}

impl Setup {
    /// Retries are quick and visits are not waited for; `more` is added to the file.
    pub(crate) fn new(more: &str) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let config = directory.path().join("relay.toml");
        let data = directory.path().join("data");
        let text = format!(
            r#"
[public]
listen = "127.0.0.1:0"
[admin]
listen = "127.0.0.1:0"
[store]
path = '{}'
cache_mib = 8
[intake]
default_country = "US"
keys = [{{ name = "test-shop", key = "{KEY}" }}]
[join]
wait_for_visit = "0s"
[delivery]
retry_first = "20ms"
retry_max = "200ms"
probe_every = "100ms"
drain = "5s"
{more}
"#,
            data.display()
        );
        std::fs::write(&config, text).expect("writes");
        Self { directory, config, environment: Vec::new() }
    }

    /// Starts with this environment variable, such as `RELAY__STORE__QUEUE_MAX`, which overrides a setting.
    pub(crate) fn env(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.environment.push((name, value.into()));
        self
    }

    /// The data directory.
    pub(crate) fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    /// The configuration file.
    pub(crate) fn config(&self) -> &Path {
        &self.config
    }

    /// `conversion-relay serve` on this configuration, logging at trace level.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_conversion-relay"));
        command.args(["serve", "--config"]).arg(self.config());
        command.env("RUST_LOG", "trace,hyper=info,reqwest=info,h2=info,rustls=info,sled=info");
        command.envs(self.environment.iter().map(|(name, value)| (*name, value)));
        command
    }

    /// Starts the relay and waits until it listens.
    pub(crate) fn start(&self) -> Relay {
        self.start_as(self.command())
    }

    /// Starts the relay by this command, such as one that wraps it, and waits until it listens.
    pub(crate) fn start_as(&self, mut command: Command) -> Relay {
        let log = self.directory.path().join("log.txt");
        let log = std::fs::File::options().create(true).append(true).open(log).expect("a log file");
        let mut child = command.stdout(Stdio::piped()).stderr(log).spawn().expect("the binary starts");
        let mut banner = Vec::new();
        for line in BufReader::new(child.stdout.take().expect("piped")).lines() {
            banner.push(line.expect("is text"));
            if banner.last().is_some_and(|line| line.starts_with("try: ")) {
                break;
            }
        }
        let first = banner.first().expect("says where it listens").clone();
        let address = |marker: &str| {
            let found = first.split(marker).nth(1).expect("an address").split([',', ' ']).next();
            format!("http://{}", found.expect("an address"))
        };
        let (public, admin) = (address("listening on http://"), address("operator on http://"));
        Relay { process: Process::Child(child), banner, public, admin, client: reqwest::Client::new() }
    }

    /// Starts the relay in this process, with the test's clock.
    pub(crate) async fn start_here(&self, clock: &Arc<MockClock>) -> Relay {
        let clock = Arc::clone(clock);
        let running = app::start(self.configuration(), clock).await.unwrap_or_else(|error| panic!("{error}"));
        let address = |at: std::net::SocketAddr| format!("http://{at}");
        let (public, admin) = (address(running.public), address(running.admin));
        let process = Process::Here(Box::new(running));
        Relay { process, banner: Vec::new(), public, admin, client: reqwest::Client::new() }
    }

    fn configuration(&self) -> config::Config {
        let environment = self.environment.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
        config::load(Some(self.config()), &environment.collect()).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Counts everything on disk, with no relay running: that has to be what the balance says.
    pub(crate) async fn audit(&self) -> u64 {
        let configuration = self.configuration();
        let open = move || (store::sled::open(&configuration.store), configuration.destinations);
        let (stores, destinations) = tokio::task::spawn_blocking(open).await.expect("no panic");
        let stores = stores.unwrap_or_else(|error| panic!("{error}"));
        app::register(&stores, &destinations).await.expect("registers");
        let audit = stores.events.audit().await.expect("counts");
        assert_eq!(audit.drift, [], "on disk, and by the balance");
        audit.events
    }

    /// The lines of all import files.
    pub(crate) fn rows(&self) -> Vec<String> {
        let files = std::fs::read_dir(self.data().join("files")).expect("reads");
        let mut files: Vec<_> = files.map(|entry| entry.expect("reads").path()).collect();
        // A kill before the very first mark leaves a file that is moved aside, and its rows are written again.
        files.retain(|path| path.extension().is_some_and(|extension| extension == "csv" || extension == "jsonl"));
        files.sort();
        let text = files.iter().map(|path| std::fs::read_to_string(path).expect("reads"));
        text.flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>()).collect()
    }

    /// What all processes started on this logged.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("log.txt")).expect("reads")
    }
}

/// A whole answer.
pub(crate) struct Answer {
    /// Its status.
    pub(crate) status: u16,
    /// Its headers.
    pub(crate) headers: reqwest::header::HeaderMap,
    /// Its body.
    pub(crate) text: String,
}

impl Answer {
    /// A header as text; empty if there is none.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("is text"))
    }

    /// The body as JSON, null if it is none.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or(Value::Null)
    }
}

/// Where a relay runs.
enum Process {
    Child(Child),
    Here(Box<app::Running>),
    Ended,
}

/// A running relay. Killed when dropped.
pub(crate) struct Relay {
    process: Process,
    /// What it said at its start.
    pub(crate) banner: Vec<String>,
    /// `http://127.0.0.1:PORT` of the public listener.
    pub(crate) public: String,
    /// The same of the admin listener.
    pub(crate) admin: String,
    /// For requests of all kinds.
    pub(crate) client: reqwest::Client,
}

impl Relay {
    /// Posts JSON with the key. Status and body.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        self.post_bytes(path, body.to_string().into_bytes()).await
    }

    /// Posts bytes as JSON with the key. Status and body.
    pub(crate) async fn post_bytes(&self, path: &str, body: Vec<u8>) -> (u16, Value) {
        let request = self.client.post(format!("{}{path}", self.public)).bearer_auth(KEY);
        let answer = request.header("content-type", "application/json").body(body).send().await.expect("answers");
        let status = answer.status().as_u16();
        let text = answer.text().await.expect("has a body");
        (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    /// Sends a request and reads the whole answer.
    pub(crate) async fn send(request: reqwest::RequestBuilder) -> Answer {
        let answer = request.send().await.expect("answers");
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        Answer { status, headers, text: answer.text().await.expect("has a body") }
    }

    /// Reads JSON from the admin listener.
    pub(crate) async fn admin(&self, path: &str) -> Value {
        let answer = self.client.get(format!("{}{path}", self.admin)).send().await.expect("answers");
        let text = answer.text().await.expect("has a body");
        serde_json::from_str(&text).unwrap_or(Value::String(text))
    }

    /// Waits until nothing is queued, and returns the balance.
    pub(crate) async fn settled(&self) -> Value {
        let began = Instant::now();
        loop {
            let balance = self.admin("/v1/balance").await;
            let queued = |counts: &Value| counts["queued"].as_u64().expect("a number");
            if balance["destinations"].as_object().expect("destinations").values().all(|c| queued(c) == 0) {
                return balance;
            }
            assert!(began.elapsed() < PATIENCE, "still queued: {balance}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Posts to the admin listener, which has to do it.
    pub(crate) async fn steer(&self, path: &str, body: &Value) -> Value {
        let request = self.client.post(format!("{}{path}", self.admin)).header("content-type", "application/json");
        let answer = Self::send(request.body(body.to_string())).await;
        assert_eq!(answer.status, 200, "{path} {body}: {}", answer.text);
        answer.json()
    }

    /// Waits until the admin listener says what it should.
    pub(crate) async fn until(&self, path: &str, good: impl Fn(&Value) -> bool) -> Value {
        let began = Instant::now();
        loop {
            let answer = self.admin(path).await;
            if good(&answer) {
                return answer;
            }
            assert!(began.elapsed() < PATIENCE, "{path} never got there: {answer}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// The balance: for every destination the five numbers sum up to what was accepted.
    pub(crate) async fn balanced(&self) -> Value {
        let balance = self.admin("/v1/balance").await;
        for (name, counts) in balance["destinations"].as_object().expect("destinations") {
            let counts = counts.as_object().expect("counts");
            let sum: u64 = counts.values().filter_map(Value::as_u64).sum();
            assert_eq!((counts.len(), Some(sum)), (5, balance["accepted"].as_u64()), "{name}: {balance}");
        }
        balance
    }

    /// SIGKILL, as a crash does it.
    pub(crate) fn kill(mut self) {
        let child = self.child();
        child.kill().expect("kills");
        child.wait().expect("ends");
    }

    /// SIGTERM, as an operator does it. Whether it ended well.
    pub(crate) fn terminate(mut self) -> bool {
        let child = self.child();
        let pid = child.id().to_string();
        assert!(Command::new("kill").arg(pid).status().expect("kill runs").success());
        child.wait().expect("ends").success()
    }

    fn child(&mut self) -> &mut Child {
        match &mut self.process {
            Process::Child(child) => child,
            Process::Here(_) | Process::Ended => panic!("is no process of its own"),
        }
    }

    /// Ends a relay that runs in this process, as SIGTERM does.
    pub(crate) async fn stop(mut self) {
        match std::mem::replace(&mut self.process, Process::Ended) {
            Process::Here(running) => running.stop().await,
            Process::Child(_) | Process::Ended => panic!("does not run here"),
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        if let Process::Child(child) = &mut self.process {
            // It may have ended already.
            let _killed = child.kill();
            let _ended = child.wait();
        }
    }
}
