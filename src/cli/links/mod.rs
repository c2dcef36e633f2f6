//! `links`: tracked links and their UTM values.

mod lint;

use std::process::ExitCode;

use clap::Subcommand;

/// What to do with links.
#[derive(Subcommand)]
pub(super) enum Arguments {
    /// Check a file of links against the UTM policy; needs no relay
    Lint(lint::Arguments),
}

pub(super) async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    match arguments {
        Arguments::Lint(arguments) => lint::run(&arguments),
    }
}
