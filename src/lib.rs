//! crate
pub mod admin;
pub mod app;
pub mod attribution;
pub mod capture;
pub mod cli;
pub mod config;
pub mod context;
pub mod delivery;
pub mod destinations;
pub mod intake;
pub mod model;
pub mod pipeline;
pub mod privacy;
pub mod sandbox;
pub mod store;
pub mod telemetry;
pub mod web;
