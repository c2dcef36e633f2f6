//! What came of links: totals and tables over rows of clicks, and over visitors. Everything is computed from what is stored
//! when it is asked for: a row that was relabelled, or an alias that was added, tells in every report at once.

mod figures;
mod pivot;
mod segments;
mod visitors;

pub use figures::{Figures, Selection, Uniques};
pub use pivot::{Dimension, Group, Pivot, Spell};
pub use segments::{Intent, Segment, Thresholds};
pub use visitors::{Funnel, Referrers, Session, each_visitor, sessions, site_of};
