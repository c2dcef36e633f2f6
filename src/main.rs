//! The binary: parses the command line, calls the library, prints the error chain.

use std::process::ExitCode;

/// Small things are made on one thread and dropped on another all the time, which the system's allocator is slow at.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match conversion_relay::cli::run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("conversion-relay: {error:#}");
            ExitCode::FAILURE
        }
    }
}
