//! crate
pub mod attribution;
pub mod context;
pub mod delivery;
pub mod destinations;
pub mod model;
pub mod privacy;
pub mod sandbox;
pub mod store;
