//! What is measured, in which order. Whatever is compared is measured in turns, so that a noisy neighbour hits both sides.

use std::{
    fs,
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use crate::{
    load::{self, Seen},
    process::{Process, Relay, Setup, generate, wait_taken},
    redirects,
    report::{Report, Target},
};

/// The fixed rate at which latency is measured, in requests a second.
const RATE: f64 = 5000.0;
/// Visitors stored in all phases but the one that is about their number.
const FEW_VISITORS: u64 = 10_000;
/// How long whatever is queued may take to be delivered.
const PATIENCE: Duration = Duration::from_secs(300);
/// What the relay may take next to the cache of its visitor store, and what a backlog may add.
const MEMORY_MIB: f64 = 40.0;
const BACKLOG_MIB: f64 = 64.0;

/// How much to measure.
pub(crate) struct Plan {
    pub(crate) visitors: u64,
    pub(crate) backlog: u64,
    pub(crate) seconds: f64,
    pub(crate) rounds: usize,
    pub(crate) cache_mib: u64,
    pub(crate) only_redirects: bool,
}

/// Runs everything.
pub(crate) fn run(plan: &Plan) -> anyhow::Result<Report> {
    // Next to the build, so on the same disk and not in memory.
    let directory = tempfile::Builder::new().prefix("bench-").tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let mut bench = Bench { plan, root: directory.path().to_owned(), runs: 0, report: Report::new(machine(plan)) };

    redirects::measure(plan, &bench.root, &mut bench.report)?;
    if plan.only_redirects {
        return Ok(bench.report);
    }
    let platforms = bench.sandbox("sandbox-paused")?;
    let few = bench.setup("few", &platforms, true, FEW_VISITORS)?;
    let few_relay = few.start()?;
    let idle = few_relay.process.memory()?.0;
    bench.load(&few_relay.process, FEW_VISITORS, 1.0)?;
    let before_backlog = (idle, few_relay.process.memory()?.0);
    let limit = Process::limit(&bench.path("limit-a"), None)?;
    bench.load(&limit, FEW_VISITORS, 1.0)?;

    let delivering_to = bench.sandbox("sandbox-delivering")?;
    let delivering = bench.setup("delivering", &delivering_to, false, FEW_VISITORS)?;
    let delivering = delivering.start()?;
    bench.throughput(&limit, &few_relay, &delivering)?;
    bench.latency(&limit, &delivering, &delivering_to)?;
    drop((delivering, delivering_to, limit));

    bench.visitors(&platforms)?;
    bench.backlog(&few, few_relay, before_backlog)?;
    Ok(bench.report)
}

fn machine(plan: &Plan) -> String {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("");
    let model = model.trim_start_matches([' ', '\t', ':']);
    let Plan { rounds, seconds, .. } = plan;
    format!(
        "{cores} cores {model}; 64 connections, events of about 1 KB; median of {rounds} rounds of {seconds} s. \
         Server, platforms and load share the cores."
    )
}

struct Bench<'a> {
    plan: &'a Plan,
    root: PathBuf,
    runs: u32,
    report: Report,
}

/// What one stretch of load cost the relay.
#[derive(Clone, Default)]
struct Cost {
    seen: Seen,
    cpu_seconds: f64,
    written_bytes: f64,
    commits: f64,
    /// From the first request to the last delivery.
    delivered_seconds: f64,
}

impl Cost {
    fn cpu_per_thousand(&self) -> f64 {
        self.cpu_seconds / (self.seen.events as f64 / 1000.0)
    }

    fn commits_per_event(&self) -> f64 {
        self.commits / self.seen.events as f64
    }

    fn written_over_body(&self) -> f64 {
        self.written_bytes / self.seen.body_bytes as f64
    }
}

fn limit_cost(limit: &Process, load: &load::Arguments) -> anyhow::Result<Cost> {
    let before = limit.usage()?;
    let seen = generate(load)?;
    let cpu_seconds = limit.usage()?.cpu_seconds - before.cpu_seconds;
    Ok(Cost { seen, cpu_seconds, ..Cost::default() })
}

pub(crate) fn median<T>(of: &[T], value: impl Fn(&T) -> f64) -> f64 {
    let mut values: Vec<f64> = of.iter().map(value).collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

impl Bench<'_> {
    fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    fn sandbox(&self, name: &str) -> anyhow::Result<Process> {
        Process::sandbox(&self.path(name).with_extension("log"))
    }

    /// A relay's configuration, and visitors for it.
    fn setup(&self, name: &str, platforms: &Process, paused: bool, visitors: u64) -> anyhow::Result<Setup> {
        let setup = Setup::new(self.path(name), platforms, paused, self.plan.cache_mib)?;
        let began = Instant::now();
        setup.fill(visitors)?;
        if visitors > FEW_VISITORS {
            eprintln!("stored {visitors} visitors in {:.1} s", began.elapsed().as_secs_f64());
        }
        Ok(setup)
    }

    fn arguments(&mut self, to: &Process, visitors: u64) -> load::Arguments {
        self.runs += 1;
        let run = format!("{:04}", self.runs);
        load::Arguments { run, visitors, ..load::Arguments::of(to.at) }
    }

    /// As many requests as are answered.
    fn load(&mut self, to: &Process, visitors: u64, seconds: f64) -> anyhow::Result<Seen> {
        generate(&load::Arguments { seconds, ..self.arguments(to, visitors) })
    }

    /// The same against a relay, with what it cost; `deliver` waits for, and counts, delivery too.
    fn cost(&mut self, relay: &Relay, load: &load::Arguments, deliver: bool) -> anyhow::Result<Cost> {
        let (before, commits) = (relay.process.usage()?, relay.commits()?);
        let seen = generate(load)?;
        let loaded = Instant::now();
        if deliver {
            relay.wait_delivered(PATIENCE)?;
        }
        let delivered_seconds = seen.seconds + loaded.elapsed().as_secs_f64();
        let (after, commits) = (relay.process.usage()?, relay.commits()? - commits);
        Ok(Cost {
            seen,
            cpu_seconds: after.cpu_seconds - before.cpu_seconds,
            written_bytes: after.written_bytes - before.written_bytes,
            commits,
            delivered_seconds,
        })
    }

    fn throughput(&mut self, limit: &Process, paused: &Relay, delivering: &Relay) -> anyhow::Result<()> {
        let seconds = self.plan.seconds;
        let taking = self.sandbox("sandbox-limit")?;
        let limit_b = Process::limit(&self.path("limit-b"), Some(&taking))?;
        let mut taken = self.load(&limit_b, FEW_VISITORS, 1.0)?.events;
        self.load(&delivering.process, FEW_VISITORS, 1.0)?;
        delivering.wait_delivered(PATIENCE)?;
        wait_taken(&taking, taken, PATIENCE)?;
        let (mut a, mut b, mut pausing, mut sending) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for round in 1..=self.plan.rounds {
            eprintln!("throughput, round {round}");
            let load = load::Arguments { seconds, ..self.arguments(limit, FEW_VISITORS) };
            a.push(limit_cost(limit, &load)?);
            let load = load::Arguments { seconds, ..self.arguments(&paused.process, FEW_VISITORS) };
            pausing.push(self.cost(paused, &load, false)?);

            let load = load::Arguments { seconds, ..self.arguments(&limit_b, FEW_VISITORS) };
            let before = limit_b.usage()?;
            let cost = limit_cost(&limit_b, &load)?;
            let loaded = Instant::now();
            taken += cost.seen.events;
            wait_taken(&taking, taken, PATIENCE)?;
            let delivered_seconds = cost.seen.seconds + loaded.elapsed().as_secs_f64();
            let cpu_seconds = limit_b.usage()?.cpu_seconds - before.cpu_seconds;
            b.push(Cost { cpu_seconds, delivered_seconds, ..cost });
            let load = load::Arguments { seconds, ..self.arguments(&delivering.process, FEW_VISITORS) };
            sending.push(self.cost(delivering, &load, true)?);
        }
        let rate = |of: &[Cost]| median(of, |cost| cost.seen.rate());
        let delivered = |of: &[Cost]| median(of, |cost| cost.seen.events as f64 / cost.delivered_seconds);
        let (limit_a, most_delivered) = (rate(&a), delivered(&b));
        let report = &mut self.report;
        report.title("Throughput");
        report.plain("limit A: body synced, 202", limit_a, "/s");
        report.plain("limit B: the same, parsed, hashed, delivered to two", most_delivered, "/s");
        let at_least = |bound| Some(Target::AtLeast(bound));
        report.against("accepted and durable, delivery paused, of A", rate(&pausing), "/s", limit_a, at_least(0.6));
        report.against("accepted and durable, while delivering, of A", rate(&sending), "/s", limit_a, at_least(0.45));
        report.against("delivered to both, of B", delivered(&sending), "/s", most_delivered, at_least(0.5));

        report.title("Cost at that throughput");
        let cpu = |of: &[Cost]| median(of, Cost::cpu_per_thousand);
        let most = Target::AtMost;
        report.plain("CPU for 1,000 events, limit A", cpu(&a), "s");
        report.plain("CPU for 1,000 events, limit B", cpu(&b), "s");
        report.target("CPU for 1,000 events, delivery paused", cpu(&pausing), "s", most(0.05));
        report.target("CPU for 1,000 events, delivered to two", cpu(&sending), "s", most(0.05));
        let commits = |of: &[Cost]| median(of, Cost::commits_per_event);
        report.target("fdatasyncs for an event, delivery paused", commits(&pausing), "", most(0.1));
        report.target("fdatasyncs for an event, delivered to two", commits(&sending), "", most(0.1));
        let written = |of: &[Cost]| median(of, Cost::written_over_body);
        let body = median(&sending, |cost| cost.seen.body_bytes as f64 / cost.seen.events as f64);
        report.plain("body of an event", body, "bytes");
        report.target("written over body, delivery paused", written(&pausing), "times", most(2.5));
        report.target("written over body, delivered to two", written(&sending), "times", most(2.5));
        let (_, peak) = delivering.process.memory()?;
        let bound = MEMORY_MIB + self.plan.cache_mib as f64;
        report.target("peak memory while delivering (40 and the cache)", peak, "MiB", most(bound));
        Ok(())
    }

    fn latency(&mut self, limit: &Process, relay: &Relay, platforms: &Process) -> anyhow::Result<()> {
        let seconds = self.plan.seconds;
        let (mut at_limit, mut at_once, mut slow, mut down) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let open = |load| load::Arguments { seconds, rate: RATE, ..load };
        for round in 1..=self.plan.rounds {
            eprintln!("latency, round {round}");
            let load = open(self.arguments(limit, FEW_VISITORS));
            at_limit.push(limit_cost(limit, &load)?);
            for (delay, costs) in [(0, &mut at_once), (300, &mut slow)] {
                platforms.fault(if delay == 0 { "none" } else { "slow" }, delay)?;
                let load = open(self.arguments(&relay.process, FEW_VISITORS));
                costs.push(self.cost(relay, &load, true)?);
            }
            platforms.fault("none", 0)?;
        }
        // Last, as what is queued now is not waited for.
        platforms.fault("outage", 0)?;
        for _ in 0..self.plan.rounds {
            let load = open(self.arguments(&relay.process, FEW_VISITORS));
            down.push(self.cost(relay, &load, false)?);
        }
        let report = &mut self.report;
        report.title("Acknowledgement at 5,000/s, open loop, from the time it was to be sent");
        let p99 = median(&at_limit, |cost| cost.seen.p99_ms);
        let rows = [
            ("limit A", &at_limit),
            ("relay, platforms answer at once", &at_once),
            ("relay, platforms take 300 ms", &slow),
            ("relay, platforms are down", &down),
        ];
        for (name, costs) in rows {
            let target = (name != "limit A").then_some(Target::AtMost(2.0));
            let ms = |value: fn(&Seen) -> f64| median(costs, |cost| value(&cost.seen));
            report.plain(format!("{name}: p50"), ms(|seen| seen.p50_ms), "ms");
            report.against(format!("{name}: p99, of limit A"), ms(|seen| seen.p99_ms), "ms", p99, target);
            report.plain(format!("{name}: p99.9"), ms(|seen| seen.p999_ms), "ms");
            let answered = median(costs, |cost| cost.seen.rate());
            if answered < RATE * 0.99 {
                report.plain(format!("{name}: could not keep up"), answered, "/s");
            }
        }
        report.title("Cost at 5,000/s: an idle machine wakes and syncs more often for an event");
        let limit_cpu = median(&at_limit, Cost::cpu_per_thousand);
        report.plain("CPU for 1,000 events, limit A", limit_cpu, "s");
        let cpu = median(&at_once, Cost::cpu_per_thousand);
        report.against("CPU for 1,000 events, delivered to two, of that", cpu, "s", limit_cpu, None);
        let commits = median(&at_once, Cost::commits_per_event);
        report.plain("fdatasyncs for an event, delivered to two", commits, "");
        let written = median(&at_once, Cost::written_over_body);
        report.plain("written over body, delivered to two", written, "times");
        Ok(())
    }

    /// The same throughput with many visitors stored as with few.
    fn visitors(&mut self, platforms: &Process) -> anyhow::Result<()> {
        let (count, seconds) = (self.plan.visitors, self.plan.seconds);
        // Both are new, so that nothing but the visitors tells them apart.
        let few = self.setup("few-again", platforms, true, FEW_VISITORS)?.start()?;
        let many = self.setup("many", platforms, true, count)?;
        let (many, start) = many.start_timed()?;
        self.load(&few.process, FEW_VISITORS, 1.0)?;
        self.load(&many.process, count, 1.0)?;
        let (mut with_few, mut with_many) = (Vec::new(), Vec::new());
        for round in 1..=self.plan.rounds {
            eprintln!("visitors, round {round}");
            with_few.push(self.load(&few.process, FEW_VISITORS, seconds)?);
            with_many.push(self.load(&many.process, count, seconds)?);
        }
        let (_, peak) = many.process.memory()?;
        let (few, many) = (median(&with_few, Seen::rate), median(&with_many, Seen::rate));
        let report = &mut self.report;
        report.title("Stored visitors, every event joined to one, delivery paused");
        report.plain(format!("accepted with {FEW_VISITORS} visitors"), few, "/s");
        let target = Some(Target::AtLeast(0.85));
        report.against(format!("accepted with {count} visitors, of that"), many, "/s", few, target);
        report.plain(format!("start to ready with {count} visitors"), start.as_secs_f64(), "s");
        let bound = MEMORY_MIB + self.plan.cache_mib as f64;
        report.target("peak memory with them (40 and the cache)", peak, "MiB", Target::AtMost(bound));
        Ok(())
    }

    /// What waits for a platform costs little memory, and a restart does not take long.
    fn backlog(&mut self, setup: &Setup, relay: Relay, before: (f64, f64)) -> anyhow::Result<()> {
        let missing = self.plan.backlog.saturating_sub(relay.accepted()?);
        eprintln!("backlog: {missing} more events");
        if missing > 0 {
            generate(&load::Arguments { events: missing, ..self.arguments(&relay.process, FEW_VISITORS) })?;
        }
        let queued = relay.accepted()?;
        let (after, _) = relay.process.memory()?;
        relay.process.kill()?;
        let (relay, start) = setup.start_timed()?;
        let (restarted, _) = relay.process.memory()?;
        anyhow::ensure!(relay.accepted()? >= queued, "acknowledged events are gone after the restart");
        let report = &mut self.report;
        report.title("Backlog, delivery paused");
        report.plain("events queued for two destinations", queued as f64, "");
        let (idle, working) = before;
        report.plain("memory of the idle relay", idle, "MiB");
        report.plain("memory after the first second of load", working, "MiB");
        report.target("memory added to that by the backlog", after - working, "MiB", Target::AtMost(BACKLOG_MIB));
        report.target("SIGKILL, then from start to ready", start.as_secs_f64(), "s", Target::AtMost(2.0));
        report.plain("memory after the restart", restarted, "MiB");
        Ok(())
    }
}
