//! `conversion-relay serve`

use std::{io::Write as _, path::PathBuf, process::ExitCode, sync::Arc};

use crate::{app, model::SystemClock, telemetry};

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// The configuration file; without one the compiled-in defaults hold: loopback, data in ./data
    #[arg(long, short)]
    config: Option<PathBuf>,
}

pub(super) async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let config = super::configuration(arguments.config.as_ref())?;
    telemetry::start_logging(config.log_format, &config.log_level);
    let data = config.store.path.clone();
    let running = app::start(config, Arc::new(SystemClock)).await?;
    let (public, admin) = (running.public, running.admin);
    let mut banner = format!("listening on http://{public}, for the operator on http://{admin}\n");
    banner += &format!("data is in {}\n", data.display());
    let key = match &running.generated_key {
        Some((key, true)) => {
            banner += &format!(
                "no key is configured, so one was made for you (shown this once, kept in {}/relay.key): {}\n",
                data.display(),
                key.expose()
            );
            format!("$(cat {}/relay.key)", data.display())
        }
        Some((_, false)) => format!("$(cat {}/relay.key)", data.display()),
        None => "YOUR-KEY".to_owned(),
    };
    banner += &format!(
        "try: curl http://{public}/v1/events -H \"Authorization: Bearer {key}\" -H 'Content-Type: application/json' \
         -d '{{\"event\":\"purchase\",\"transaction_id\":\"1001\",\"value\":\"49.99\",\"currency\":\"USD\",\
         \"user\":{{\"email\":\"ada@example.com\"}}}}'\n"
    );
    // Nobody has to read it: `serve | head -1` must not end the relay.
    let _unread = std::io::stdout().write_all(banner.as_bytes());
    super::asked_to_end().await;
    tracing::info!("stopping: finishing what is in flight");
    running.stop().await;
    Ok(ExitCode::SUCCESS)
}
