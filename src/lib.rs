//! crate
pub mod destinations;
pub mod model;
