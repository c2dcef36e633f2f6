//! Proofs that need more than a process: the system calls of the relay, traced with `strace`, and a small disk of its own,
//! which only root may mount. Not part of `cargo test`; `.ci/run` installs what they need and runs them with
//! `cargo test --test system`.

mod needs_mount;
mod needs_strace;
#[path = "../it/support/mod.rs"]
#[expect(dead_code, reason = "shared with the journeys, which use more of it")]
mod support;
