//! `cargo bench --bench relay`: the relay against limits that are measured in the same run.
//!
//! Everything that is measured is a process of its own, so that its CPU time, memory and writes are its own: the relay and
//! the sandbox are the release binary, the limits and the load generator are this program with a hidden command.

mod event;
mod http;
mod limit;
mod load;
mod phases;
mod process;
mod redirects;
mod report;
mod visitors;

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};

/// As the relay has it: small things are made on one thread and dropped on another all the time, which the system's allocator is slow at.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Measures the relay against limits that it measures in the same run.
#[derive(Parser)]
struct Arguments {
    /// Short phases, 100,000 visitors and a backlog of 100,000: under two minutes
    #[arg(long)]
    quick: bool,
    /// Stored visitors in the comparison with few
    #[arg(long)]
    visitors: Option<u64>,
    /// Events accepted with delivery paused, before the restart
    #[arg(long)]
    backlog: Option<u64>,
    /// Seconds of each measured stretch of load
    #[arg(long)]
    seconds: Option<f64>,
    /// How often the throughput and latency phases are run; their medians are reported
    #[arg(long)]
    rounds: Option<usize>,
    /// Only the phase about tracked links
    #[arg(long)]
    redirects: bool,
    /// Cache of the relay's visitor store
    #[arg(long, default_value_t = 128)]
    cache_mib: u64,
    /// Also write all figures to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// What cargo adds
    #[arg(long, hide = true)]
    bench: bool,
    #[command(subcommand)]
    role: Option<Role>,
}

/// What the program does as its own child.
#[derive(Subcommand)]
enum Role {
    #[command(hide = true)]
    Load(load::Arguments),
    #[command(hide = true)]
    Limit(limit::Arguments),
    #[command(hide = true)]
    Visitors(visitors::Arguments),
    #[command(hide = true)]
    Redirects(redirects::Arguments),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = match arguments.role {
        Some(Role::Load(load)) => load::run(&load),
        Some(Role::Limit(limit)) => limit::run(&limit),
        Some(Role::Visitors(visitors)) => visitors::run(&visitors),
        Some(Role::Redirects(redirects)) => redirects::run(&redirects),
        None => measure(&arguments),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn measure(arguments: &Arguments) -> anyhow::Result<()> {
    let quick = arguments.quick;
    let plan = phases::Plan {
        visitors: arguments.visitors.unwrap_or(if quick { 100_000 } else { 1_000_000 }),
        backlog: arguments.backlog.unwrap_or(if quick { 100_000 } else { 1_000_000 }),
        seconds: arguments.seconds.unwrap_or(if quick { 1.5 } else { 8.0 }),
        rounds: arguments.rounds.unwrap_or(3).max(1),
        cache_mib: arguments.cache_mib,
        only_redirects: arguments.redirects,
    };
    let report = phases::run(&plan)?;
    print!("{}", report.table());
    if let Some(file) = &arguments.json {
        std::fs::write(file, report.json())?;
        println!("\nwritten to {}", file.display());
    }
    Ok(())
}
