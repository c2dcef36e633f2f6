//! Journeys through the real binary and the real router, over real HTTP, against the strict sandbox.

mod bad_input;
mod crash;
mod delivery;
mod http;
mod layers;
mod leaks;
mod support;
