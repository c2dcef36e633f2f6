//! The book in memory alone.

use std::sync::{Arc, PoisonError, RwLock};

use async_trait::async_trait;

use super::{Book, Changed, Entry, shelves::Shelves};
use crate::store::StoreError;

/// A book that is gone with the process.
#[derive(Default)]
pub struct MemoryBook(RwLock<Shelves>);

#[async_trait]
impl Book for MemoryBook {
    fn get(&self, shelf: &str, key: &str) -> Option<Arc<str>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(shelf, key)
    }

    fn list(&self, shelf: &str) -> Vec<(String, Arc<str>)> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).list(shelf)
    }

    async fn write(&self, entries: Vec<Entry>) -> Result<(), StoreError> {
        let mut shelves = self.0.write().unwrap_or_else(PoisonError::into_inner);
        entries.into_iter().for_each(|entry| shelves.apply(entry));
        Ok(())
    }

    fn history(&self, shelf: &str, key: Option<&str>, max: usize) -> Result<Vec<Changed>, StoreError> {
        Ok(self.0.read().unwrap_or_else(PoisonError::into_inner).history(shelf, key, max))
    }
}
