//! Files and bodies of many lines: taken whole, each row once, whatever happens in between.

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use conversion_relay::sandbox::{Fault, FaultMode, Platform};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::support::{KEY, PATIENCE, Platforms, Relay, Setup};

const FILE: &str = r#"
[[destinations]]
name = "import-file"
kind = "file"
format = "jsonl"
[destinations.events]
purchase = "Offline purchase"
"#;

/// A file to import, and how.
struct Source {
    directory: tempfile::TempDir,
    name: &'static str,
}

impl Source {
    fn new(name: &'static str, text: &str) -> Self {
        let source = Self { directory: tempfile::tempdir().expect("a directory"), name };
        std::fs::write(source.path(), text).expect("writes");
        source
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join(self.name)
    }

    fn beside(&self, suffix: &str) -> PathBuf {
        self.directory.path().join(format!("{}{suffix}", self.name))
    }

    fn state(&self) -> Value {
        let text = std::fs::read(self.beside(".import.json")).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or(Value::Null)
    }

    fn refused(&self) -> String {
        std::fs::read_to_string(self.beside(".refused.csv")).expect("reads")
    }

    fn command(&self, relay: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_conversion-relay"));
        command.arg("import").arg(self.path()).args(["--url", relay]).args(arguments).env("RELAY_KEY", KEY);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    async fn run(&self, relay: &str, arguments: &[&str]) -> Ended {
        let mut command = self.command(relay, arguments);
        let output = tokio::task::spawn_blocking(move || command.output().expect("runs")).await.expect("ends");
        Ended::of(&output)
    }
}

/// How an import ended.
struct Ended {
    code: Option<i32>,
    told: String,
    text: String,
}

impl Ended {
    fn of(output: &Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self { code: output.status.code(), told: text(&output.stderr), text: text(&output.stdout) }
    }

    async fn wait(child: Child) -> Self {
        let ended = tokio::task::spawn_blocking(move || child.wait_with_output().expect("ends")).await.expect("ends");
        Self::of(&ended)
    }

    fn first_line(&self) -> &str {
        self.text.lines().next().unwrap_or_default()
    }
}

/// A port that nobody has, for a relay that comes back where it was.
fn address() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").to_string()
}

/// The ids of the rows in the import file, each as often as it is there.
fn ids(setup: &Setup) -> Vec<String> {
    let id = |row: String| {
        let row: Value = serde_json::from_str(&row).expect("JSON");
        row["event_id"].as_str().expect("an id").to_owned()
    };
    let mut ids: Vec<String> = setup.rows().into_iter().map(id).collect();
    ids.sort();
    ids
}

/// Ten thousand purchases, of which every thousandth is not sound; most have no id of their own.
fn ten_thousand() -> String {
    let mut text = "event,transaction_id,value,currency,time,user.email\n".to_owned();
    let time = conversion_relay::model::Clock::now(&conversion_relay::model::SystemClock);
    let time = time.minus(Duration::from_secs(3600)).format("%Y-%m-%d %H:%M:%S");
    for i in 0..10_000 {
        let value = if i % 1000 == 7 { "secret-value".to_owned() } else { format!("{}.50", i % 90) };
        let transaction = if i % 4 == 0 { format!("T-{i}") } else { String::new() };
        // Many rows are alike.
        text += &format!("purchase,{transaction},{value},EUR,{time},customer{}@example.com\n", i % 3);
    }
    text
}

async fn until(what: &str, good: impl Fn() -> bool) {
    let began = Instant::now();
    while !good() {
        assert!(began.elapsed() < PATIENCE, "never: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_rows_are_taken_once_through_kills_of_both_sides() {
    let at = address();
    let setup = Setup::new(FILE).env("RELAY__PUBLIC__LISTEN", at.clone());
    let source = Source::new("orders.csv", &ten_thousand());
    let arguments = ["--time-zone", "+00:00"];
    let done = |source: &Source| source.state()["place"]["rows"].as_u64().unwrap_or(0);
    let mut relay = setup.start();
    for kill in 1..=3 {
        let mut import = source.command(&at, &arguments).spawn().expect("starts");
        until("rows are done with", || done(&source) >= kill * 2000).await;
        import.kill().expect("kills");
        import.wait().expect("ends");
    }
    assert!(done(&source) < 10_000, "it was killed in the middle");
    let import = source.command(&at, &arguments).spawn().expect("starts");
    until("rows are done with", || done(&source) >= 7000).await;
    relay.kill();
    relay = setup.start();
    let ended = Ended::wait(import).await;
    assert_eq!(ended.code, Some(2), "{}{}", ended.told, ended.text);
    assert!(ended.text.contains("10000 rows: ") && ended.text.contains(", 10 refused"), "{}", ended.text);
    let state = source.state();
    assert_eq!((&state["complete"], done(&source)), (&json!(true), 10_000), "{state}");

    let balance = relay.settled().await;
    assert_eq!(balance["accepted"], 9990, "{balance}");
    let taken = ids(&setup);
    let mut once = taken.clone();
    once.dedup();
    assert_eq!((taken.len(), once.len()), (9990, 9990), "each once");

    let report = source.refused();
    let lines: Vec<&str> = report.lines().collect();
    assert_eq!((lines.len(), lines[0]), (11, "line,field,why"), "{report}");
    assert!(lines[1].starts_with("9,value,") && lines[10].starts_with("9009,value,"), "{report}");
    for outside in [&report, &ended.told, &ended.text, &state.to_string()] {
        assert!(!outside.contains("secret-value") && !outside.contains("example.com"), "{outside}");
    }

    let again = source.run(&at, &arguments).await;
    assert_eq!((again.code, again.first_line()), (Some(2), ended.first_line()), "nothing is left to do");
    let anew = source.run(&at, &["--restart", "--time-zone", "UTC"]).await;
    assert_eq!(anew.first_line(), "10000 rows: 0 accepted, 9990 duplicates, 10 refused", "{}", anew.told);
    assert_eq!(source.refused(), report);
    assert!(relay.terminate());
    assert_eq!(setup.audit().await, 9990);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mapping_makes_events_of_any_columns_and_is_rehearsed_first() {
    let setup = Setup::new(FILE);
    let relay = setup.start();
    let text = "\u{feff}Order ID;Amount;Cur;E-Mail;When\r\n\
                A-1;1234;JPY;ada@example.com;11/20/2026 08:15\r\n\
                A-2;12,345;KWD;;11/20/2026 08:16\r\n\
                \r\n\
                A-3;9,99;EUR;\"grace@\nexample.com\";yesterday\r\n";
    let map = "event = \"'purchase'\"\ntransaction_id = \"_body['Order ID']\"\n\
               value = \"Amount | replace(',', '.')\"\ncurrency = \"Cur\"\ntime = \"When\"\n[user]\n\
               email = \"_body['E-Mail']\"\n";
    let source = Source::new("export.txt", text);
    std::fs::write(source.beside(".toml"), map).expect("writes");
    let map_file = source.beside(".toml");
    let map_file = map_file.to_str().expect("text");
    let arguments = ["--map-file", map_file, "--time-format", "%m/%d/%Y %H:%M", "--time-zone", "UTC"];

    let rehearsed = source.run("127.0.0.1:1", &[&arguments[..], &["--dry-run"]].concat()).await;
    assert_eq!(rehearsed.code, Some(2), "{}", rehearsed.told);
    assert_eq!(rehearsed.first_line(), "3 rows: 2 would be sent, 1 would be refused");
    assert!(rehearsed.told.contains("line 5 is refused: time: is not written as --time-format says"));
    assert_eq!((source.state(), relay.admin("/v1/balance").await["accepted"].as_u64()), (Value::Null, Some(0)));

    let ended = source.run(&relay.public, &[&arguments[..], &["--json"]].concat()).await;
    let told: Value = serde_json::from_str(&ended.text).expect("JSON");
    assert_eq!((ended.code, &told["accepted"], &told["refused"]), (Some(2), &json!(2), &json!(1)), "{told}");
    relay.settled().await;
    let rows: Vec<Value> = setup.rows().iter().map(|row| serde_json::from_str(row).expect("JSON")).collect();
    assert_eq!(rows.len(), 2);
    for (row, expected) in rows.iter().zip([("1234", "JPY"), ("12.345", "KWD")]) {
        assert_eq!((row["value"].as_str(), row["currency"].as_str()), (Some(expected.0), Some(expected.1)), "{row}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_the_command_is_told_before_anything_is_sent() {
    let setup = Setup::new(FILE);
    let relay = setup.start();
    let source = Source::new("rows.csv", "event,amount\npurchase,1\n");
    let fails = async |arguments: &[&str], expected: &str| {
        let ended = source.run(&relay.public, arguments).await;
        assert_eq!(ended.code, Some(1), "{}", ended.told);
        assert!(ended.told.contains(expected), "{expected}: {}", ended.told);
        assert_eq!(source.state(), Value::Null);
    };
    fails(&[], "column 2, `amount`: is no field of an event").await;
    fails(&["--map", "amount"], "--map amount: must be").await;
    fails(&["--map", "worth=amount", "--map", "currency=("], "worth: is no field").await;
    fails(&["--map", "value=amount", "--map", "currency=("], "currency: ").await;
    fails(&["--only-mapped", "--map-file", "/nowhere"], "cannot read /nowhere").await;
    fails(&["--only-mapped"], "--only-mapped takes nothing").await;
    fails(&["--map", "value=amount", "--state", "/nowhere/state"], "cannot write /nowhere/state").await;
    let own = source.path();
    fails(&["--restart", "--report", own.to_str().expect("text")], "have to be other files").await;
    let mut keyless = source.command(&relay.public, &["--map", "value=amount"]);
    let ended = Ended::of(&keyless.env("RELAY_KEY", "wrong").output().expect("runs"));
    assert!(ended.code == Some(1) && ended.told.contains("does not take the key in RELAY_KEY"), "{}", ended.told);
    let ended = Ended::of(&keyless.env_remove("RELAY_KEY").output().expect("runs"));
    assert!(ended.code == Some(1) && ended.told.contains("set RELAY_KEY"), "{}", ended.told);
    let gone = ["--map", "properties.amount=amount", "--give-up-after", "300ms"];
    let ended = source.run("127.0.0.1:1", &gone).await;
    assert!(ended.code == Some(1) && ended.told.contains("gave up after"), "{}", ended.told);

    let ended = source.run(&relay.public, &gone).await;
    assert_eq!((ended.code, ended.first_line()), (Some(0), "1 rows: 1 accepted, 0 duplicates, 0 refused"));
    let typo = source.run("127.0.0.1:1", &["--dry-run", "--map", "value=amuont"]).await;
    assert!(typo.told.contains("the expression of value gives nothing for any of 1 rows"), "{}", typo.told);
    let other = source.run(&relay.public, &["--map", "value=amount"]).await;
    assert!(other.code == Some(1) && other.told.contains("another mapping"), "{}", other.told);
    std::fs::write(source.path(), "event,amount\nsign_up_,1\n").expect("writes");
    let other = source.run(&relay.public, &gone).await;
    assert!(other.code == Some(1) && other.told.contains("is not the file"), "{}", other.told);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_grew_goes_on_behind_what_was_taken() {
    let setup = Setup::new(FILE);
    let relay = setup.start();
    let line = |i: usize| format!("{}\n", json!({ "event": "purchase", "properties": { "i": i } }));
    let source = Source::new("events.jsonl", &(line(1) + &line(2)));
    let ended = source.run(&relay.public, &[]).await;
    assert_eq!(ended.first_line(), "2 rows: 2 accepted, 0 duplicates, 0 refused", "{}", ended.told);
    std::fs::write(source.path(), line(1) + &line(2) + &line(3)).expect("writes");
    let ended = source.run(&relay.public, &[]).await;
    assert_eq!(ended.first_line(), "3 rows: 3 accepted, 0 duplicates, 0 refused", "{}", ended.told);
    std::fs::remove_file(source.beside(".import.json")).expect("removes");
    let ended = source.run(&relay.public, &[]).await;
    assert_eq!(ended.first_line(), "3 rows: 0 accepted, 3 duplicates, 0 refused", "{}", ended.told);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_is_heard_and_the_next_run_goes_on() {
    let setup = Setup::new(FILE);
    let relay = setup.start();
    let source = Source::new("orders.csv", &ten_thousand());
    let import = source.command(&relay.public, &["--time-zone", "UTC"]).spawn().expect("starts");
    let pid = import.id().to_string();
    until("rows are done with", || !source.state().is_null()).await;
    assert!(Command::new("kill").args(["-INT", &pid]).status().expect("kill runs").success());
    let ended = Ended::wait(import).await;
    assert!(ended.code == Some(1) && ended.told.contains("run the same command again"), "{}", ended.told);
    let ended = source.run(&relay.public, &["--time-zone", "UTC"]).await;
    assert!(ended.code == Some(2) && ended.told.contains("going on at line"), "{}", ended.told);
    assert_eq!(relay.admin("/v1/balance").await["accepted"], 9990);
}

/// Posts lines. Status and body.
async fn lines(relay: &Relay, body: impl Into<reqwest::Body>) -> (u16, Value) {
    let request = relay.client.post(format!("{}/v1/events", relay.public)).bearer_auth(KEY);
    let answer = Relay::send(request.header("content-type", "application/x-ndjson; charset=utf-8").body(body)).await;
    (answer.status, answer.json())
}

#[tokio::test(flavor = "multi_thread")]
async fn each_line_is_answered_with_its_number() {
    let setup = Setup::new(FILE).env("RELAY__INTAKE__BATCH_MAX", "2").env("RELAY__INTAKE__BODY_BYTES_MAX", "4096");
    let relay = setup.start();
    let long = json!({ "event": "purchase", "event_id": "long", "properties": { "x": "x".repeat(5000) } });
    let body = format!(
        "{}\r\n\n{}\n{}\n{long}\n{}\n{}\n{}",
        json!({ "event": "purchase", "event_id": "1" }),
        json!({ "event": "purchase", "event_id": "2", "value": "ada@example.com" }),
        json!({ "event": "purchase", "event_id": "1" }),
        r#"{"event": "#,
        json!({ "events": [] }),
        json!({ "event": "purchase", "transaction_id": "3" }),
    );
    let (status, answer) = lines(&relay, body.clone()).await;
    assert_eq!(status, 207, "{answer}");
    let told: Vec<(u64, &str, &str)> = answer["results"]
        .as_array()
        .expect("results")
        .iter()
        .map(|result| {
            let about = result["event_id"].as_str().or(result["problem"]["pointer"].as_str()).unwrap_or("");
            (result["line"].as_u64().expect("a line"), result["status"].as_str().expect("a status"), about)
        })
        .collect();
    assert_eq!(
        told,
        [
            (1, "accepted", "1"),
            (3, "rejected", "/value"),
            (4, "duplicate", "1"),
            (5, "rejected", ""),
            (6, "rejected", "/event"),
            (7, "rejected", "/events"),
            (8, "accepted", "test-shop:purchase:3"),
        ]
    );
    assert!(!answer.to_string().contains("ada@"), "{answer}");
    assert_eq!(answer["results"][3]["problem"]["status"], 413, "{answer}");
    assert!(answer["results"][4]["problem"]["detail"].as_str().expect("text").starts_with("the line is no valid JSON"));

    let (status, answer) = lines(&relay, "{\"event\":\"purchase\",\"event_id\":\"1\"}\n").await;
    assert_eq!((status, &answer["results"][0]["status"]), (202, &json!("duplicate")), "{answer}");
    assert_eq!(lines(&relay, "{}\n{}").await.0, 422);
    let (status, answer) = lines(&relay, "\n \n").await;
    assert_eq!((status, &answer["status"]), (422, &json!(422)), "nothing is no event: {answer}");
    let (status, answer) = lines(&relay, "\n".repeat(100_001)).await;
    assert_eq!((status, &answer["lines"]), (413, &json!(100_000)), "{answer}");
    let counts = relay.admin("/v1/sources").await;
    assert!(counts.to_string().contains("\"accepted\":2"), "{counts}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_breaks_off_keeps_what_came_whole() {
    let setup = Setup::new(FILE).env("RELAY__INTAKE__BATCH_MAX", "1");
    let relay = setup.start();
    let address = relay.public.strip_prefix("http://").expect("an address").to_owned();
    let mut stream = TcpStream::connect(&address).await.expect("connects");
    let head = format!(
        "POST /v1/events HTTP/1.1\r\nHost: relay\r\nAuthorization: Bearer {KEY}\r\nContent-Type: application/jsonl\r\n\
         Content-Length: 1000\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.expect("writes");
    stream.write_all(b"{\"event\":\"purchase\",\"event_id\":\"early\"}\n{\"event").await.expect("writes");
    relay.until("/v1/balance", |balance| balance["accepted"] == 1).await;
    // The last line could be read as a whole event, were it not that more was promised.
    let body = "\":\"purchase\",\"event_id\":\"whole\"}\n{\"event\":\"purchase\",\"event_id\":\"cut\"}";
    stream.write_all(body.as_bytes()).await.expect("writes");
    stream.shutdown().await.expect("ends");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("reads");
    relay.until("/v1/balance", |balance| balance["accepted"] == 2).await;
    assert!(relay.admin("/v1/events/whole").await["event_id"] == "whole");
    assert_eq!(relay.admin("/v1/events/cut").await["status"], 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_says_how_many_lines_are_done_with_and_import_waits() {
    let platforms = Platforms::start().await;
    platforms.sandbox.set_fault(Platform::Meta, Fault::new(FaultMode::ExpiredToken));
    let setup = Setup::new(&platforms.destinations());
    let setup = setup.env("RELAY__STORE__QUEUE_MAX", "250").env("RELAY__INTAKE__BATCH_MAX", "100");
    let relay = setup.start();
    let event = |i: usize| {
        let event = json!({
            "event": "purchase", "event_id": format!("q-{i}"), "value": "1", "currency": "EUR",
            "user": { "email": format!("c{i}@example.com") },
            "context": { "url": "https://shop.example/", "user_agent": "test" },
        });
        format!("{event}\n")
    };
    let body: String = (0..400).map(event).collect();
    let request = relay.client.post(format!("{}/v1/events", relay.public)).bearer_auth(KEY);
    let answer = Relay::send(request.header("content-type", "application/ndjson").body(body.clone())).await;
    assert_eq!((answer.status, answer.header("retry-after")), (503, "30"), "{}", answer.text);
    let problem = answer.json();
    assert_eq!((&problem["lines"], &problem["type"]), (&json!(300), &json!("/problems/queue-full")), "{problem}");
    assert_eq!(problem["results"].as_array().map(Vec::len), Some(300));
    assert_eq!(relay.admin("/v1/balance").await["accepted"], 300);

    let source = Source::new("events.jsonl", &body);
    let ended = source.run(&relay.public, &["--give-up-after", "500ms"]).await;
    assert!(ended.code == Some(1) && ended.told.contains("waiting for the relay"), "{}", ended.told);
    assert!(ended.told.contains("as many deliveries waiting"), "{}", ended.told);

    platforms.sandbox.set_fault(Platform::Meta, Fault::default());
    relay.settled().await;
    let ended = source.run(&relay.public, &[]).await;
    assert_eq!(ended.first_line(), "400 rows: 100 accepted, 300 duplicates, 0 refused", "{}", ended.told);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_takes_little_gets_little() {
    let proxy = wiremock::MockServer::start().await;
    let taken = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counted = std::sync::Arc::clone(&taken);
    let answer = move |request: &wiremock::Request| {
        let rows = request.body.iter().filter(|&&byte| byte == b'\n').count();
        if request.body.len() > 600 {
            return wiremock::ResponseTemplate::new(413).set_body_string("<html>");
        }
        counted.fetch_add(rows, std::sync::atomic::Ordering::SeqCst);
        let result = |i: usize| json!({ "line": i + 1, "event_id": i.to_string(), "status": "accepted" });
        let results: Vec<Value> = (0..rows).map(result).collect();
        wiremock::ResponseTemplate::new(202).set_body_json(json!({ "results": results }))
    };
    wiremock::Mock::given(wiremock::matchers::path("/v1/events")).respond_with(answer).mount(&proxy).await;
    let large = "x".repeat(1000);
    let rows: String = (0..50).map(|i| format!("purchase,{i},{}\n", if i == 20 { &large } else { "" })).collect();
    let source = Source::new("rows.csv", &format!("event,transaction_id,properties.note\n{rows}"));
    let ended = source.run(&proxy.uri(), &[]).await;
    assert_eq!(ended.first_line(), "50 rows: 49 accepted, 0 duplicates, 1 refused", "{}", ended.told);
    assert_eq!(taken.load(std::sync::atomic::Ordering::SeqCst), 49);
    assert!(source.refused().contains("22,,\"is longer than"), "{}", source.refused());
    assert!(Path::new(&source.beside(".import.json")).exists());
}
