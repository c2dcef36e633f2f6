//! No acknowledgement before its sync: read off the system calls.

use std::{
    collections::{HashMap, HashSet},
    process::Command,
    time::Duration,
};

use serde_json::json;

use crate::support::{KEY, Platforms, Setup};

const CLIENTS: usize = 16;
const EVENTS: usize = 400;

/// A system call in the trace: who made it, what it says, and whether a line is its beginning, its end or both.
struct Call<'a> {
    thread: &'a str,
    text: &'a str,
    begins: bool,
    ends: bool,
}

fn call(line: &str) -> Option<Call<'_>> {
    let (thread, text) = line.split_once(' ')?;
    let text = text.trim_start();
    let (begins, ends) = (!text.starts_with("<..."), !text.ends_with("<unfinished ...>"));
    Some(Call { thread, text, begins, ends })
}

/// The ids in a text, each `order-` and six digits.
fn ids(text: &str) -> impl Iterator<Item = &str> {
    text.match_indices("order-").filter_map(|(at, _)| {
        let id = text.get(at..at + 12)?;
        id[6..].bytes().all(|b| b.is_ascii_digit()).then_some(id)
    })
}

/// What the trace shows of every id, in the order of its lines.
#[derive(Default)]
struct Reading<'a> {
    /// Calls that have begun: their first line.
    open: HashMap<&'a str, &'a str>,
    /// Written to the journal, not yet synced.
    written: HashSet<&'a str>,
    /// What a sync that is under way covers.
    syncing: HashMap<&'a str, Vec<&'a str>>,
    synced: HashSet<&'a str>,
    acknowledged: HashSet<&'a str>,
    too_early: Vec<&'a str>,
}

impl<'a> Reading<'a> {
    fn line(&mut self, line: &'a str) {
        let Some(Call { thread, text, begins, ends }) = call(line) else { return };
        if begins {
            self.open.insert(thread, text);
            if text.starts_with("fdatasync(") {
                self.syncing.insert(thread, self.written.iter().copied().collect());
            }
            let sends = ["write(", "writev(", "sendto(", "sendmsg("].iter().any(|name| text.starts_with(name));
            if sends && text.contains("HTTP/1.1 202") {
                for id in ids(text) {
                    self.acknowledged.insert(id);
                    if !self.synced.contains(id) {
                        self.too_early.push(id);
                    }
                }
            }
        }
        if ends {
            let first = self.open.remove(thread).unwrap_or(text);
            let done = text.rsplit_once(" = ").is_some_and(|(_, result)| !result.starts_with('-'));
            if first.starts_with("pwrite64(") && done {
                self.written.extend(ids(first));
            }
            if first.starts_with("fdatasync(") && done {
                for id in self.syncing.remove(thread).unwrap_or_default() {
                    self.written.remove(id);
                    self.synced.insert(id);
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_event_is_acknowledged_before_the_system_says_that_it_is_on_disk() {
    let platforms = Platforms::start().await;
    let setup = Setup::new(&platforms.destinations());
    let trace = setup.data().with_file_name("trace.txt");
    let plain = setup.command();
    let mut traced = Command::new("strace");
    traced.args(["-f", "-qq", "-s", "2000000", "-e", "trace=pwrite64,fdatasync,write,writev,sendto,sendmsg", "-o"]);
    traced.arg(&trace).arg(plain.get_program()).args(plain.get_args()).env("RUST_LOG", "warn");
    let relay = setup.start_as(traced);
    let clients = (0..CLIENTS).map(|client| {
        let url = format!("{}/v1/events", relay.public);
        tokio::spawn(async move {
            let http = reqwest::Client::builder().timeout(Duration::from_secs(30)).build().expect("a client");
            for i in (client..EVENTS).step_by(CLIENTS) {
                let event = json!({ "event": "purchase", "event_id": format!("order-{i:06}"), "value": 1,
                    "currency": "EUR", "user": { "email": "ada@example.com" } });
                let request = http.post(&url).bearer_auth(KEY).header("content-type", "application/json");
                let answer = request.body(event.to_string()).send().await.expect("answers");
                assert_eq!(answer.status(), 202);
            }
        })
    });
    for client in clients.collect::<Vec<_>>() {
        client.await.expect("no panic");
    }
    relay.settled().await;
    drop(relay);
    // strace writes its last lines when the relay has gone.
    let text = String::from_utf8_lossy(&std::fs::read(&trace).expect("a trace")).into_owned();
    let mut reading = Reading::default();
    text.lines().for_each(|line| reading.line(line));
    assert_eq!(reading.acknowledged.len(), EVENTS, "the trace shows every answer");
    assert!(reading.too_early.is_empty(), "acknowledged before they were synced: {:?}", reading.too_early);
}

/// The reading itself: it finds an answer that came too early.
#[test]
fn an_answer_before_its_sync_would_be_found() {
    let written = "1 pwrite64(9, \"order-000001\", 12, 0) = 12";
    let sync = ["1 fdatasync(9 <unfinished ...>", "1 <... fdatasync resumed>) = 0"];
    let answered = "2 sendto(11, \"HTTP/1.1 202 Accepted order-000001\", 34, 0) = 34";
    let early = |lines: &[&'static str]| {
        let mut reading = Reading::default();
        lines.iter().for_each(|line| reading.line(line));
        reading.too_early.len()
    };
    assert_eq!(early(&[written, sync[0], sync[1], answered]), 0);
    assert_eq!(early(&[written, sync[0], answered, sync[1]]), 1, "while the sync runs");
    assert_eq!(early(&[sync[0], written, sync[1], answered]), 1, "a sync that began before the write");
    assert_eq!(early(&[written, "1 fdatasync(9) = -1 EIO (Input/output error)", answered]), 1, "a sync that failed");
}
