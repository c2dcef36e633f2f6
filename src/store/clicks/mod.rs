//! Requests for tracked links: one row each, in a file for each day, in the order they came.
//!
//! Rows are appended without waiting for a sync: a killed process loses none that [`ClickStore::append`] returned for, a
//! machine that loses power loses those since the last [`ClickStore::sync`].

mod file;
mod forget;
mod lines;
mod memory;

pub use file::FileClicks;
pub use memory::MemoryClicks;

use std::ops::ControlFlow;

use serde::{Deserialize, Serialize};

use super::{Health, StoreError};
use crate::model::{Click, ClickVerdict, Time, VisitorId};

/// What becomes known of a row after it was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Amendment {
    /// Of which row.
    #[serde(rename = "amends")]
    pub id: String,
    /// [`Click::at`] of the row: says which day's file has it.
    pub clicked_at: Time,
    /// It is judged otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<ClickVerdict>,
    /// A reason to be added.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The tag reported its landing page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub landed: Option<Time>,
    /// Who relabelled it; `None` if the relay did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
}

impl Amendment {
    /// Changes the row it is of. What a person decided stays when the relay comes to know more later: that only adds its
    /// reason.
    pub fn apply(&self, row: &mut Click) {
        if let Some(verdict) = self.verdict.filter(|_| self.by.is_some() || row.relabelled_by.is_none()) {
            row.verdict = verdict;
        }
        if let Some(reason) = self.reason.as_ref().filter(|reason| !row.reasons.contains(reason)) {
            row.reasons.push(reason.clone());
        }
        row.landed = row.landed.or(self.landed);
        row.relabelled_by = self.by.clone().or_else(|| row.relabelled_by.take());
    }
}

/// Removes who it was from a row.
fn forget_who(row: &mut Click) {
    row.visitor_id = None;
    row.fingerprint = 0;
}

/// Rows of clicks.
pub trait ClickStore: Send + Sync {
    /// Appends rows. They are in the file when this returns. Blocks.
    fn append(&self, rows: &[Click]) -> Result<(), StoreError>;

    /// Appends amendments of rows. Blocks. Those of rows that are not there (any more) change nothing.
    fn amend(&self, amendments: &[Amendment]) -> Result<(), StoreError>;

    /// Brings what was appended to the disk. Blocks.
    fn sync(&self) -> Result<(), StoreError>;

    /// Shows `each` the rows in `from..to`, as amended, newest day first and newest row first, until it says to stop.
    /// Blocks; reads files.
    fn scan(&self, from: Time, to: Time, each: &mut dyn FnMut(&Click) -> ControlFlow<()>) -> Result<(), StoreError>;

    /// The row of this id, as amended; its ULID says where to look.
    fn find(&self, id: &str) -> Result<Option<Click>, StoreError>;

    /// Removes who it was from every row of these visitors: the rows stay, and with them the totals. How many there were.
    /// Durable when this returns. Blocks.
    fn forget(&self, visitors: &[VisitorId]) -> Result<u64, StoreError>;

    /// Deletes the days that ended before `before`. Blocks.
    fn retain(&self, before: Time) -> Result<(), StoreError>;

    /// Whether it works.
    fn health(&self) -> Health;

    /// Tries to write after a failure, so that it recovers without waiting for somebody's click. Blocks.
    fn recover(&self) -> Result<(), StoreError>;
}
