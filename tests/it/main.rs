//! Journeys through the real binary and the real router, over real HTTP, against the strict sandbox.

mod crash;
mod delivery;
mod layers;
mod support;
