//! crate
pub mod delivery;
pub mod destinations;
pub mod model;
