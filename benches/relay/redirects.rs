//! Tracked links against a handler that does nothing but redirect, on the same HTTP library.
//!
//! Every redirect of the relay is looked up, composed, judged, written as a row, and, where a person may have clicked, stored
//! as a visitor's landing. The bare handler writes down nothing.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use axum::{
    Router,
    http::{StatusCode, header},
    middleware,
    response::IntoResponse as _,
    routing::get,
    serve::ListenerExt as _,
};
use conversion_relay::{
    agents::Agents,
    capture::{Countries, redirect},
    delivery,
    model::{Clock, Link, LinkKey, SystemClock, Time},
    pipeline::{self, Pipeline},
    store,
    tracking::Links,
    web::{self, BoundedListener, Network, Peer, TrustedProxies},
};
use tokio::{net::TcpListener, sync::watch};

use crate::{
    load::{self, Seen},
    phases::{Plan, median},
    process::{Process, generate},
    report::{Report, Target},
};

/// The slug that is asked for, and where it leads.
const SLUG: &str = "autumn-mugs";
const DESTINATION: &str = "https://shop.example/mugs?color=blue#top";
/// Links there are.
const LINKS: u32 = 1000;
/// The fixed rate at which latency is measured, in requests a second.
const RATE: f64 = 5000.0;

/// The hidden command `redirects`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[arg(long)]
    data: PathBuf,
    /// Only redirects
    #[arg(long)]
    bare: bool,
}

/// Serves until killed.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let at = listener.local_addr()?;
        if arguments.bare {
            println!("listening on http://{at}");
            let answer = async || (StatusCode::FOUND, [(header::LOCATION, DESTINATION)]).into_response();
            let listener = listener.tap_io(|stream| {
                let _unsupported = stream.set_nodelay(true);
            });
            axum::serve(listener, Router::new().route("/l/{slug}", get(answer))).await?;
            return Ok(());
        }
        let (routes, writer) = links(&arguments.data).await?;
        println!("listening on http://{at}");
        let (_stop, stopped) = watch::channel(false);
        tokio::spawn(writer.run(stopped));
        // As the relay listens.
        let routes = routes.layer(middleware::from_fn(web::with_request_id));
        axum::serve(BoundedListener::new(listener), routes.into_make_service_with_connect_info::<Peer>()).await?;
        Ok(())
    })
}

/// A relay's links on the engine that it has.
async fn links(data: &Path) -> anyhow::Result<(Router, redirect::Writer)> {
    std::fs::create_dir_all(data)?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let settings = store::conformance::config(data);
    let stores = tokio::task::spawn_blocking(move || store::sled::open(&settings)).await??;
    let links = Arc::new(Links::open(Arc::clone(&stores.book), 100_000));
    let now = clock.now();
    let all =
        (0..LINKS).map(|number| link(&if number == 0 { SLUG.to_owned() } else { format!("{SLUG}-{number}") }, now));
    links.put_all(all.collect::<Result<_, _>>()?, "bench", now).await?;
    let settings = pipeline::Config { default_country: None, wait_for_visit: Duration::ZERO };
    let outcomes = delivery::Metrics::default();
    let pipeline = Pipeline::new(stores.clone(), Vec::new(), settings, Arc::clone(&clock), outcomes);
    let trusted_proxies = TrustedProxies(Network::parse("127.0.0.1").into_iter().collect());
    let config = redirect::Config { trusted_proxies: trusted_proxies.clone(), ..redirect::Config::default() };
    let tools = redirect::Tools {
        links,
        clicks: Arc::clone(&stores.clicks),
        pipeline: Arc::new(pipeline),
        drift: None,
        agents: Agents::default(),
        countries: Arc::new(Countries::open(None, None, trusted_proxies)?),
        clock,
        metrics: redirect::Metrics::default(),
    };
    let (redirects, writer) = redirect::Redirects::new(config, tools);
    Ok((redirects.router(), writer))
}

fn link(slug: &str, now: Time) -> serde_json::Result<Link> {
    let utm = serde_json::json!({ "source": "newsletter", "medium": "email", "campaign": "autumn 2026" });
    serde_json::from_value(serde_json::json!({
        "key": LinkKey::of(slug),
        "destination": DESTINATION,
        "utm": utm,
        "created_at": now,
        "updated_at": now,
    }))
}

/// Requests as browsers send them, each from one of so many addresses.
pub(crate) struct Requests {
    bytes: Vec<u8>,
    click: usize,
    address: usize,
    visitors: u64,
}

impl Requests {
    pub(crate) fn new(visitors: u64) -> Self {
        let text = format!(
            "GET /l/{SLUG}?gclid=EAIaIQobChMINNNNNNNNNN_Bench-Click&utm_term=blue+mug HTTP/1.1\r\nhost: t.example.com\r\n\
             user-agent: Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) \
             Chrome/142.0.0.0 Safari/537.36\r\naccept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n\
             accept-language: en-GB,en;q=0.9\r\naccept-encoding: gzip, deflate, br, zstd\r\nsec-fetch-dest: document\r\n\
             sec-fetch-mode: navigate\r\nsec-fetch-site: cross-site\r\nreferer: https://www.google.com/\r\n\
             x-forwarded-for: 2001:db8::AAAA:AAAA\r\nx-forwarded-proto: https\r\n\r\n"
        );
        let place = |mark: &str| text.find(mark).expect("it is in the text");
        Self { click: place("NNNNNNNNNN"), address: place("AAAA:AAAA"), bytes: text.into_bytes(), visitors }
    }

    /// The request of this number.
    pub(crate) fn make(&mut self, number: u64) -> &[u8] {
        let mut rest = number;
        for digit in self.bytes[self.click..self.click + 10].iter_mut().rev() {
            *digit = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
        let mut rest = number % self.visitors.max(1);
        let address = &mut self.bytes[self.address..self.address + 9];
        for digit in address.iter_mut().rev().filter(|digit| **digit != b':') {
            *digit = b"0123456789abcdef"[(rest % 16) as usize];
            rest /= 16;
        }
        &self.bytes
    }
}

/// Measures both in turns.
pub(crate) fn measure(plan: &Plan, root: &Path, report: &mut Report) -> anyhow::Result<()> {
    let bare = Process::redirects(&root.join("bare-redirects"), true)?;
    let relay = Process::redirects(&root.join("redirects"), false)?;
    let arguments = |to: &Process, visitors| load::Arguments {
        redirects: true,
        visitors,
        seconds: plan.seconds,
        ..load::Arguments::of(to.at)
    };
    let people = u64::from(u32::MAX);
    for to in [&bare, &relay] {
        generate(&load::Arguments { seconds: 1.0, ..arguments(to, people) })?;
    }
    let (mut limit, mut of_people, mut of_one) = (Vec::new(), Vec::new(), Vec::new());
    let (mut limit_open, mut open) = (Vec::new(), Vec::new());
    let (mut cpu_limit, mut cpu) = (Vec::new(), Vec::new());
    for round in 1..=plan.rounds {
        eprintln!("redirects, round {round}");
        for (to, visitors, rate, seen, cpu) in [
            (&bare, people, 0.0, &mut limit, Some(&mut cpu_limit)),
            (&relay, people, 0.0, &mut of_people, Some(&mut cpu)),
            (&relay, 1, 0.0, &mut of_one, None),
            (&bare, people, RATE, &mut limit_open, None),
            (&relay, people, RATE, &mut open, None),
        ] {
            let before = to.usage()?;
            let got = generate(&load::Arguments { rate, ..arguments(to, visitors) })?;
            if let Some(cpu) = cpu {
                cpu.push((to.usage()?.cpu_seconds - before.cpu_seconds) / (got.events as f64 / 1000.0));
            }
            seen.push(got);
        }
    }
    let at_least = Some(Target::AtLeast(0.7));
    let rate = |of: &[Seen]| median(of, Seen::rate);
    let most = rate(&limit);
    report.title("Tracked links, of a handler that only redirects");
    report.plain("bare 302", most, "/s");
    report.against("one browser again and again: rows", rate(&of_one), "/s", most, at_least);
    report.against("everybody new: rows, and a visitor stored for each", rate(&of_people), "/s", most, None);
    let of = |costs: &[f64]| median(costs, |cost| *cost);
    report.plain("CPU for 1,000 redirects, bare 302", of(&cpu_limit), "s");
    report.against("CPU for 1,000 redirects, everybody new", of(&cpu), "s", of(&cpu_limit), None);
    let p99 = |of: &[Seen]| median(of, |seen| seen.p99_ms);
    report.plain("bare 302 at 5,000/s: p99", p99(&limit_open), "ms");
    let bound = Some(Target::AtMost(2.0));
    report.against("everybody new at 5,000/s: p99", p99(&open), "ms", p99(&limit_open), bound);
    let (_, peak) = relay.memory()?;
    report.plain("peak memory of the links", peak, "MiB");
    Ok(())
}
