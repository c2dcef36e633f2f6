//! `conversion-relay links`

mod qa;

use std::process::ExitCode;

#[derive(clap::Subcommand)]
pub(super) enum Arguments {
    /// Follow links as browsers and apps do, and list what is wrong with each; exits with 1 if anything fails
    Qa(qa::Arguments),
}

pub(super) async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    match arguments {
        Arguments::Qa(arguments) => qa::run(arguments).await,
    }
}
