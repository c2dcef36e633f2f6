//! The load generator, a process of its own: raw HTTP/1.1 over kept connections, closed loop or at a fixed rate.
//!
//! At a fixed rate, latency counts from when a request was to be sent, not from when a connection was free for it: a server
//! that stalls is charged for all it kept waiting (no coordinated omission).

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::Semaphore,
    task::JoinSet,
};

use crate::{event::Requests, redirects};

/// How often the pacer of a fixed rate looks at the clock.
const PACE: Duration = Duration::from_micros(200);

/// The hidden command `load`.
#[derive(clap::Args, Clone)]
pub(crate) struct Arguments {
    #[arg(long)]
    pub(crate) to: SocketAddr,
    #[arg(long)]
    pub(crate) run: String,
    #[arg(long, default_value_t = 64)]
    pub(crate) connections: usize,
    /// How long; 0 for until `events` are sent
    #[arg(long, default_value_t = 0.0)]
    pub(crate) seconds: f64,
    #[arg(long, default_value_t = 0)]
    pub(crate) events: u64,
    /// Requests a second; 0 for as many as are answered
    #[arg(long, default_value_t = 0.0)]
    pub(crate) rate: f64,
    #[arg(long, default_value_t = 10_000)]
    pub(crate) visitors: u64,
    /// Events in a request
    #[arg(long, default_value_t = 1)]
    pub(crate) batch: usize,
    /// Tracked links are asked for instead
    #[arg(long)]
    pub(crate) redirects: bool,
}

impl Arguments {
    /// Single events over 64 connections, without an end.
    pub(crate) fn of(to: SocketAddr) -> Self {
        let run = String::new();
        Self { to, run, connections: 64, seconds: 0.0, events: 0, rate: 0.0, visitors: 0, batch: 1, redirects: false }
    }
}

/// What is sent, and how the answer to it begins.
enum Made {
    Events(Requests),
    Redirects(redirects::Requests),
}

impl Made {
    fn new(arguments: &Arguments) -> Self {
        let Arguments { run, visitors, batch, .. } = arguments;
        match arguments.redirects {
            true => Self::Redirects(redirects::Requests::new(*visitors)),
            false => Self::Events(Requests::new(run, *visitors, *batch)),
        }
    }

    fn make(&mut self, first: u64) -> &[u8] {
        match self {
            Self::Events(requests) => requests.make(first),
            Self::Redirects(requests) => requests.make(first),
        }
    }

    fn answer(&self) -> &'static [u8] {
        match self {
            Self::Events(_) => b"HTTP/1.1 202",
            Self::Redirects(_) => b"HTTP/1.1 302",
        }
    }
}

/// What the generator saw; printed as one line of JSON.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Seen {
    /// Events answered with 202, or redirects.
    pub(crate) events: u64,
    pub(crate) errors: u64,
    pub(crate) first_error: Option<String>,
    pub(crate) seconds: f64,
    /// Bytes of the bodies of those events.
    pub(crate) body_bytes: u64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) p999_ms: f64,
    pub(crate) max_ms: f64,
}

impl Seen {
    pub(crate) fn rate(&self) -> f64 {
        self.events as f64 / self.seconds
    }
}

/// What the connections share.
struct Shared {
    arguments: Arguments,
    began: Instant,
    next: AtomicU64,
    stop: AtomicBool,
    /// One permit for each request that is due; used at a fixed rate only.
    due: Semaphore,
}

/// What one connection saw.
#[derive(Default)]
struct Tally {
    requests: u64,
    errors: u64,
    first_error: Option<String>,
    latencies_us: Vec<u32>,
}

/// Sends the load and prints what came of it.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let shared = Arc::new(Shared {
        arguments: arguments.clone(),
        began: Instant::now(),
        next: AtomicU64::new(0),
        stop: AtomicBool::new(false),
        due: Semaphore::new(0),
    });
    let cores = thread::available_parallelism().map_or(1, usize::from);
    // Half of a small machine is the server's.
    let threads = (cores / 2).clamp(1, 4);
    let workers: Vec<_> = (0..threads)
        .map(|nth| {
            let shared = Arc::clone(&shared);
            let connections = (nth..arguments.connections).step_by(threads).count();
            thread::spawn(move || connect(&shared, connections))
        })
        .collect();
    pace(&shared);
    let mut all = Tally::default();
    for worker in workers {
        let Ok(tally) = worker.join() else { bail!("a thread of the generator ended early") };
        all.add(tally?);
    }
    let seconds = shared.began.elapsed().as_secs_f64();
    all.latencies_us.sort_unstable();
    let at = |share: f64| {
        let last = all.latencies_us.len().saturating_sub(1);
        let index = (last as f64 * share).round() as usize;
        all.latencies_us.get(index).map_or(0.0, |&us| f64::from(us) / 1000.0)
    };
    let events = all.requests * arguments.batch as u64;
    let body = Requests::new(&arguments.run, arguments.visitors, arguments.batch).body as u64;
    let seen = Seen {
        events,
        errors: all.errors,
        seconds,
        body_bytes: all.requests * body,
        p50_ms: at(0.5),
        p99_ms: at(0.99),
        p999_ms: at(0.999),
        max_ms: at(1.0),
        first_error: all.first_error,
    };
    println!("{}", serde_json::to_string(&seen)?);
    Ok(())
}

/// Lets requests go at their time, and ends the run.
fn pace(shared: &Shared) {
    let Arguments { seconds, rate, .. } = shared.arguments;
    let mut released = 0;
    while !shared.stop.load(Ordering::Relaxed) {
        let elapsed = shared.began.elapsed().as_secs_f64();
        if seconds > 0.0 && elapsed >= seconds {
            break;
        }
        if rate > 0.0 {
            let due = (elapsed * rate) as usize;
            shared.due.add_permits(due - released);
            released = due;
            thread::sleep(PACE);
        } else {
            thread::sleep(Duration::from_millis(5));
        }
    }
    shared.stop.store(true, Ordering::Relaxed);
    shared.due.close();
}

fn connect(shared: &Arc<Shared>, connections: usize) -> anyhow::Result<Tally> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut tasks = JoinSet::new();
        for _ in 0..connections {
            tasks.spawn(converse(Arc::clone(shared)));
        }
        let mut all = Tally::default();
        while let Some(tally) = tasks.join_next().await {
            all.add(tally??);
        }
        Ok(all)
    })
}

async fn converse(shared: Arc<Shared>) -> anyhow::Result<Tally> {
    let Arguments { to, rate, batch, events, .. } = shared.arguments;
    let mut requests = Made::new(&shared.arguments);
    let mut stream = TcpStream::connect(to).await.with_context(|| format!("connecting to {to}"))?;
    stream.set_nodelay(true)?;
    let (mut tally, mut answer) = (Tally::default(), Vec::with_capacity(4096));
    while !shared.stop.load(Ordering::Relaxed) {
        if rate > 0.0 {
            match shared.due.acquire().await {
                Ok(permit) => permit.forget(),
                Err(_) => break,
            }
        }
        let nth = shared.next.fetch_add(1, Ordering::Relaxed);
        let first = nth * batch as u64;
        if events > 0 && first >= events {
            shared.stop.store(true, Ordering::Relaxed);
            break;
        }
        let since = if rate > 0.0 { shared.began + Duration::from_secs_f64(nth as f64 / rate) } else { Instant::now() };
        stream.write_all(requests.make(first)).await?;
        read_answer(&mut stream, &mut answer).await?;
        if answer.starts_with(requests.answer()) {
            tally.requests += 1;
        } else {
            tally.errors += 1;
            tally.first_error.get_or_insert_with(|| String::from_utf8_lossy(&answer).into_owned());
        }
        tally.latencies_us.push(u32::try_from(since.elapsed().as_micros()).unwrap_or(u32::MAX));
    }
    Ok(tally)
}

/// Reads one whole answer, which must say its length.
async fn read_answer(stream: &mut TcpStream, answer: &mut Vec<u8>) -> anyhow::Result<()> {
    answer.clear();
    let mut wanted = usize::MAX;
    while answer.len() < wanted {
        if stream.read_buf(answer).await? == 0 {
            bail!("the server closed the connection: {}", String::from_utf8_lossy(answer));
        }
        if wanted == usize::MAX
            && let Some(head) = answer.windows(4).position(|window| window == b"\r\n\r\n")
        {
            wanted = head + 4 + content_length(&answer[..head]).context("an answer without its length")?;
        }
    }
    Ok(())
}

fn content_length(head: &[u8]) -> Option<usize> {
    const NAME: &[u8] = b"content-length: ";
    let at = head.windows(NAME.len()).position(|window| window.eq_ignore_ascii_case(NAME))? + NAME.len();
    let digits = head[at..].iter().take_while(|byte| byte.is_ascii_digit());
    Some(digits.fold(0, |number, digit| number * 10 + usize::from(digit - b'0')))
}

impl Tally {
    fn add(&mut self, other: Self) {
        self.requests += other.requests;
        self.errors += other.errors;
        self.first_error = self.first_error.take().or(other.first_error);
        self.latencies_us.extend(other.latencies_us);
    }
}
