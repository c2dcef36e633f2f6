//! Tracked links at work: which there are, who may change them, what was decided about UTM values while the relay runs, and
//! what came of the clicks. Capture redirects by it, the admin listener shows and changes it.

pub mod checks;
pub mod drift;
pub mod governance;
pub mod registry;
pub mod reports;
mod table;
mod twins;

pub use table::{Links, LinksError};
pub use twins::Twins;
