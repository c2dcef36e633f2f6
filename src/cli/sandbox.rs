//! `conversion-relay sandbox`

use std::{net::SocketAddr, process::ExitCode, sync::Arc, time::Duration};

use anyhow::Context as _;
use tokio::net::TcpListener;

use crate::{
    model::SystemClock,
    sandbox::{self, FaultRequest, Sandbox},
    telemetry,
};

/// How long requests under way may take to end; those that hang on demand never would.
const GRACE: Duration = Duration::from_secs(2);

/// How a fault is written, for `--help`.
const FAULTS: &str = "\
Faults: PLATFORM:MODE[=VALUE][:FOR][:SETTING=VALUE]…
  meta:outage:20s                         503 for 20 seconds from now
  meta:outage:from=10s:for=20s            the same, but it begins in 10 seconds
  data_manager:error_rate=0.1:status=503  every tenth request (500 without a status)
  meta:throttle=30s:1m                    \"come back in 30 seconds\", for a minute
  meta:slow=200ms, meta:slow=100ms-2s     each answer comes that much later
  meta:cut:for_requests=3                 the next three connections break in mid-request; nothing is taken
  meta:reset:once                         taken, and the connection breaks instead of an answer
  meta:hang:30s                           taken, and never answered
  data_manager:expired_token:once         the token that comes next is dead, a new one works
  meta:expired_token                      no token works any more
  meta:partial=order-1,order-2            taken but for these events (event or transaction ids)
  meta:poison=order-7                     this event makes the platform refuse what it travels in
  meta:poison_every=500                   so does every 500th event
  meta:usage=95:minutes=5                 answers say that 95 % of the limit are used

Platforms: meta, data_manager, google_ads, oauth, ga4. A bare time says how long; without one a fault stays.
The same while it runs: curl http://ADDRESS/faults --data '{\"platform\": \"meta\", \"mode\": \"outage\", \"for\": \"20s\"}'
(\"mode\": \"none\" ends all faults of a platform, \"add\": true keeps the others).";

#[derive(clap::Args)]
#[command(after_long_help = FAULTS)]
pub(super) struct Arguments {
    /// Where to listen
    #[arg(long, default_value = "127.0.0.1:8090")]
    listen: SocketAddr,
    /// Fail in this way, such as meta:outage:20s; may be given several times. --help lists the ways
    #[arg(long, value_name = "FAULT")]
    fault: Vec<FaultRequest>,
}

pub(super) async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    telemetry::start_logging(telemetry::LogFormat::Human, "info");
    let listener = TcpListener::bind(arguments.listen)
        .await
        .with_context(|| format!("cannot listen on {}; choose another address with --listen", arguments.listen))?;
    let at = listener.local_addr()?;
    let sandbox = Sandbox::new(Arc::new(SystemClock), sandbox::Config::default());
    for fault in &arguments.fault {
        sandbox.request_fault(fault)?;
    }
    println!("stand-ins for the ad platforms on http://{at}");
    println!("in the configuration of a destination:");
    println!("  meta          base_url = \"http://{at}/meta\"");
    println!("  data_manager  base_url = \"http://{at}/google\", token_url = \"http://{at}/oauth/token\"");
    println!("  google_ads    base_url = \"http://{at}/google-ads\", token_url = \"http://{at}/oauth/token\"");
    println!("  ga4           base_url = \"http://{at}/ga4\"");
    println!("what arrived: curl http://{at}/_sandbox/received; make them fail: POST http://{at}/faults");
    let ended = async {
        super::asked_to_end().await;
        tokio::time::sleep(GRACE).await;
    };
    tokio::select! {
        served = sandbox::serve(listener, sandbox, super::asked_to_end()) => served?,
        () = ended => {}
    }
    Ok(ExitCode::SUCCESS)
}
