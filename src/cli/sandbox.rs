//! `conversion-relay sandbox`

use std::{net::SocketAddr, process::ExitCode, sync::Arc};

use anyhow::Context as _;
use tokio::net::TcpListener;

use crate::{
    model::SystemClock,
    sandbox::{self, Sandbox},
    telemetry,
};

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// Where to listen
    #[arg(long, default_value = "127.0.0.1:8090")]
    listen: SocketAddr,
}

pub(super) async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    telemetry::start_logging(telemetry::LogFormat::Human, "info");
    let listener = TcpListener::bind(arguments.listen)
        .await
        .with_context(|| format!("cannot listen on {}; choose another address with --listen", arguments.listen))?;
    let at = listener.local_addr()?;
    println!("stand-ins for the ad platforms on http://{at}");
    println!("in the configuration of a destination:");
    println!("  meta          base_url = \"http://{at}/meta\"");
    println!("  data_manager  base_url = \"http://{at}/google\", token_url = \"http://{at}/oauth/token\"");
    println!("what arrived: curl http://{at}/_sandbox/received; make them fail: POST http://{at}/_sandbox/faults");
    let sandbox = Sandbox::new(Arc::new(SystemClock), sandbox::Config::default());
    sandbox::serve(listener, sandbox, super::asked_to_end()).await?;
    Ok(ExitCode::SUCCESS)
}
