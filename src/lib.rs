//! crate
pub mod destinations;
pub mod model;
pub mod sandbox;
