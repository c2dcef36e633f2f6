//! The binary: parses the command line, calls the library, prints the error chain.

use std::process::ExitCode;

fn main() -> ExitCode {
    match conversion_relay::cli::run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("conversion-relay: {error:#}");
            ExitCode::FAILURE
        }
    }
}
