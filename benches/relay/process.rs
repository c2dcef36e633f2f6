//! The processes under test, and what the kernel says they used.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};

use crate::{
    event::KEY,
    http,
    load::{self, Seen},
};

/// Ticks of CPU time in a second. Linux shows user space this many on every architecture.
const TICKS: f64 = 100.0;
/// How long a process may take to say that it listens.
const READY_MAX: Duration = Duration::from_secs(120);

/// A process under test. Killed when dropped.
pub(crate) struct Process {
    child: Child,
    /// Stays open, so that it may go on printing.
    _output: BufReader<ChildStdout>,
    /// Where it takes events or deliveries.
    pub(crate) at: SocketAddr,
}

/// What a process has used since its start.
#[derive(Clone, Copy)]
pub(crate) struct Usage {
    pub(crate) cpu_seconds: f64,
    pub(crate) written_bytes: f64,
}

impl Process {
    /// Starts `command` and reads where it listens from its first line. Its log goes to `log`.
    fn start(mut command: Command, log: &Path) -> anyhow::Result<(Self, String)> {
        let errors = fs::File::options().create(true).append(true).open(log)?;
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(errors).spawn()?;
        let mut line = String::new();
        let mut output = BufReader::new(child.stdout.take().context("its output is piped")?);
        output.read_line(&mut line)?;
        let at = address(&line, "http://").with_context(|| {
            let log = fs::read_to_string(log).unwrap_or_default();
            format!("a process did not say where it listens: {line}{log}")
        })?;
        Ok((Self { child, _output: output, at }, line))
    }

    /// The stand-ins for both platforms.
    pub(crate) fn sandbox(log: &Path) -> anyhow::Result<Self> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_conversion-relay"));
        command.args(["sandbox", "--listen", "127.0.0.1:0"]);
        Ok(Self::start(command, log)?.0)
    }

    /// Limit A, or, with the platforms, limit B.
    pub(crate) fn limit(data: &Path, platforms: Option<&Self>) -> anyhow::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("limit").arg("--data").arg(data);
        if let Some(platforms) = platforms {
            command.args(["--deliver-to", &format!("http://{}", platforms.at)]);
        }
        Ok(Self::start(command, &data.with_extension("log"))?.0)
    }

    /// Tracked links, or a handler that only redirects.
    pub(crate) fn redirects(data: &Path, bare: bool) -> anyhow::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("redirects").arg("--data").arg(data);
        if bare {
            command.arg("--bare");
        }
        Ok(Self::start(command, &data.with_extension("log"))?.0)
    }

    fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn usage(&self) -> anyhow::Result<Usage> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid()))?;
        let (_, fields) = stat.rsplit_once(") ").context("an unknown form of /proc/PID/stat")?;
        let ticks = fields.split(' ').skip(11).take(2).map(|field| field.parse().unwrap_or(0.0)).sum::<f64>();
        let io = fs::read_to_string(format!("/proc/{}/io", self.pid()))?;
        Ok(Usage { cpu_seconds: ticks / TICKS, written_bytes: field(&io, "write_bytes:") })
    }

    /// Memory in MiB now, and the most it ever was.
    pub(crate) fn memory(&self) -> anyhow::Result<(f64, f64)> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid()))?;
        Ok((field(&status, "VmRSS:") / 1024.0, field(&status, "VmHWM:") / 1024.0))
    }

    /// Makes both platforms of a sandbox fail in this way, or stop failing.
    pub(crate) fn fault(&self, mode: &str, delay_ms: u64) -> anyhow::Result<()> {
        for platform in ["meta", "data_manager"] {
            let fault = json!({ "platform": platform, "mode": mode, "delay_ms": delay_ms });
            http::post(self.at, "/_sandbox/faults", &fault)?;
        }
        Ok(())
    }

    /// SIGKILL, as a crash does it.
    pub(crate) fn kill(mut self) -> anyhow::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _killed = self.child.kill();
        let _ended = self.child.wait();
    }
}

fn address(line: &str, marker: &str) -> Option<SocketAddr> {
    line.split(marker).nth(1)?.split([',', ' ', '\n']).next()?.parse().ok()
}

/// The number behind a name, as the files of /proc have it.
fn field(text: &str, name: &str) -> f64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.split_whitespace().next()).and_then(|number| number.parse().ok()).unwrap_or(0.0)
}

/// A configuration and a data directory, and the relay that runs on them.
pub(crate) struct Setup {
    directory: PathBuf,
}

/// A relay under test.
pub(crate) struct Relay {
    pub(crate) process: Process,
    admin: SocketAddr,
}

impl Setup {
    /// Delivers to both stand-ins of `sandbox`, or with credentials that they refuse: then it pauses itself.
    pub(crate) fn new(directory: PathBuf, sandbox: &Process, paused: bool, cache_mib: u64) -> anyhow::Result<Self> {
        fs::create_dir_all(&directory)?;
        let data = directory.join("data");
        let (data, url) = (data.display(), sandbox.at);
        let (access, refresh) = if paused { ("expired", "revoked") } else { ("token", "refresh") };
        let config = format!(
            r#"
[public]
listen = "127.0.0.1:0"
[admin]
listen = "127.0.0.1:0"
[store]
path = '{data}'
cache_mib = {cache_mib}
[intake]
default_country = "US"
keys = [{{ name = "bench", key = "{KEY}" }}]
[log]
level = "error"

[[destinations]]
name = "meta"
kind = "meta"
pixel_id = "1234567890"
access_token = "{access}"
base_url = "http://{url}/meta"
[destinations.events]
purchase = "Purchase"

[[destinations]]
name = "google"
kind = "data_manager"
operating_account = "123-456-7890"
credentials = {{ client_id = "id", client_secret = "secret", refresh_token = "{refresh}" }}
base_url = "http://{url}/google"
token_url = "http://{url}/oauth/token"
hold_after_click = "0s"
requests_per_minute = 1000000
[destinations.events]
purchase = "987654321"
"#
        );
        fs::write(directory.join("relay.toml"), config)?;
        Ok(Self { directory })
    }

    /// Stores visitors before the relay is started.
    pub(crate) fn fill(&self, visitors: u64) -> anyhow::Result<()> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("visitors").arg("--data").arg(self.directory.join("data"));
        let status = command.args(["--count", &visitors.to_string()]).status()?;
        ensure!(status.success(), "filling the visitor store failed");
        Ok(())
    }

    pub(crate) fn start(&self) -> anyhow::Result<Relay> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_conversion-relay"));
        command.args(["serve", "--config"]).arg(self.directory.join("relay.toml")).env_remove("RUST_LOG");
        let (process, line) = Process::start(command, &self.directory.join("relay.log"))?;
        let admin =
            address(&line, "operator on http://").context("the relay did not say where its operator listens")?;
        Ok(Relay { process, admin })
    }

    /// Starts the relay and waits until it is ready; also how long that took.
    pub(crate) fn start_timed(&self) -> anyhow::Result<(Relay, Duration)> {
        let began = Instant::now();
        let relay = self.start()?;
        while !matches!(http::request(relay.process.at, "GET", "/readyz", ""), Ok((200, _))) {
            ensure!(began.elapsed() < READY_MAX, "the relay did not get ready");
            thread::sleep(Duration::from_millis(2));
        }
        Ok((relay, began.elapsed()))
    }
}

impl Relay {
    /// Durable writes so far.
    pub(crate) fn commits(&self) -> anyhow::Result<f64> {
        let (_, text) = http::request(self.admin, "GET", "/metrics", "")?;
        Ok(field(&text, "relay_store_commits_total"))
    }

    fn balance(&self) -> anyhow::Result<Value> {
        http::json(self.admin, "/v1/balance")
    }

    /// Events accepted so far.
    pub(crate) fn accepted(&self) -> anyhow::Result<u64> {
        Ok(self.balance()?["accepted"].as_u64().unwrap_or(0))
    }

    /// Waits until both platforms have everything.
    pub(crate) fn wait_delivered(&self, patience: Duration) -> anyhow::Result<()> {
        let began = Instant::now();
        loop {
            let balance = self.balance()?;
            let destinations = balance["destinations"].as_object().context("a balance without destinations")?;
            if destinations.values().all(|counts| counts["delivered"] == balance["accepted"]) {
                return Ok(());
            }
            ensure!(began.elapsed() < patience, "not everything was delivered: {balance}");
            thread::sleep(Duration::from_millis(10));
        }
    }
}

/// Waits until both platforms have taken `events` in all.
pub(crate) fn wait_taken(sandbox: &Process, events: u64, patience: Duration) -> anyhow::Result<()> {
    let began = Instant::now();
    loop {
        let stats = http::json(sandbox.at, "/_sandbox/stats")?;
        if ["meta", "data_manager"].iter().all(|platform| stats[platform]["accepted"] == events) {
            return Ok(());
        }
        ensure!(began.elapsed() < patience, "not everything was taken: {stats}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// Runs the load generator.
pub(crate) fn generate(load: &load::Arguments) -> anyhow::Result<Seen> {
    let mut command = Command::new(std::env::current_exe()?);
    let number = |number: &dyn std::fmt::Display| number.to_string();
    command.args(["load", "--to", &number(&load.to), "--run", &load.run]);
    command.args(["--connections", &number(&load.connections), "--visitors", &number(&load.visitors)]);
    command.args(["--seconds", &number(&load.seconds), "--events", &number(&load.events)]);
    command.args(["--rate", &number(&load.rate), "--batch", &number(&load.batch)]);
    if load.redirects {
        command.arg("--redirects");
    }
    let output = command.stderr(Stdio::inherit()).output()?;
    ensure!(output.status.success(), "the load generator failed");
    let seen: Seen = serde_json::from_slice(&output.stdout).context("what the load generator printed")?;
    if let Some(error) = &seen.first_error {
        ensure!(seen.events > 0, "every request was refused: {error}");
        eprintln!("{} requests were refused, the first with: {error}", seen.errors);
    }
    Ok(seen)
}
