//! Tracked links as rules: what a link may look like, where it leads, and what its UTM values may be. Pure.

pub mod contact;
mod draft;
pub mod file;
mod onward;
pub mod policy;
mod slug;
mod split;

pub use draft::{Hosts, LinkDraft};
pub use onward::{Onward, QA_PARAMETER, VISITOR_PARAMETER};
pub use slug::{destination_problem, is_reserved, mint_slug, read_slug};
pub use split::pick;
