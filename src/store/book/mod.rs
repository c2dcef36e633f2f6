//! The book: small named records that people make and change, each change with who made it. Links, aliases of UTM values,
//! approvals, and counts that are to survive a restart are in it.
//!
//! All of it is in memory; it is meant for thousands of records, not for millions.

mod file;
mod shelves;

pub use file::FileBook;

use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::StoreError;
use crate::model::Time;

/// One change of one record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// When.
    pub at: Time,
    /// Who, as they were named; `relay` for the relay itself.
    pub by: String,
    /// What kind of record: `link`, `alias`, `drift`.
    pub shelf: String,
    /// Which of them.
    pub key: String,
    /// What it says from now on, as JSON; `None` takes it out.
    pub value: Option<String>,
    /// Whether the change is kept for [`Book::history`] when it has been superseded. What changes by itself every minute is
    /// not.
    pub audited: bool,
}

/// A change that was made, and what it replaced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changed {
    /// The change.
    pub entry: Entry,
    /// What the record said before, as JSON; `None` if there was none.
    pub before: Option<String>,
}

/// Named records with their history.
#[async_trait]
pub trait Book: Send + Sync {
    /// What the record says.
    fn get(&self, shelf: &str, key: &str) -> Option<Arc<str>>;

    /// All records of a shelf, by key.
    fn list(&self, shelf: &str) -> Vec<(String, Arc<str>)>;

    /// Makes changes: all or none of them, durable when this returns. [`Book::get`] sees them from then on. A value has at
    /// most 1 MiB, and all of them together 16.
    async fn write(&self, entries: Vec<Entry>) -> Result<(), StoreError>;

    /// The latest audited changes of a shelf, or of one record of it, newest first; up to `max`.
    fn history(&self, shelf: &str, key: Option<&str>, max: usize) -> Result<Vec<Changed>, StoreError>;
}
