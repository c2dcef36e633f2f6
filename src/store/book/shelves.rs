//! What the book says, in memory: the records as they are, and the latest audited changes.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use super::{Changed, Entry};

/// Audited changes that are kept.
pub(super) const HISTORY_MAX: usize = 10_000;

/// Records by shelf and key, and what was changed. Everything knows how many bytes of the file it takes, so that it is
/// known how many are wasted.
#[derive(Default)]
pub(super) struct Shelves {
    records: BTreeMap<String, BTreeMap<String, Record>>,
    /// Oldest first.
    history: VecDeque<Change>,
    /// Bytes of the file that say nothing any more.
    pub(super) wasted: u64,
}

struct Record {
    value: Arc<str>,
    bytes: u64,
    /// Its bytes in the file are those of a change in the history, and counted there.
    shared: bool,
}

struct Change {
    /// Without its value.
    entry: Entry,
    value: Option<Arc<str>>,
    before: Option<Arc<str>>,
    bytes: u64,
}

impl Shelves {
    pub(super) fn get(&self, shelf: &str, key: &str) -> Option<Arc<str>> {
        self.records.get(shelf)?.get(key).map(|record| Arc::clone(&record.value))
    }

    pub(super) fn list(&self, shelf: &str) -> Vec<(String, Arc<str>)> {
        let records = self.records.get(shelf).into_iter().flatten();
        records.map(|(key, record)| (key.clone(), Arc::clone(&record.value))).collect()
    }

    /// Newest first.
    pub(super) fn history(&self, shelf: &str, key: Option<&str>, max: usize) -> Vec<Changed> {
        let wanted = |change: &&Change| change.entry.shelf == shelf && key.is_none_or(|key| change.entry.key == key);
        self.history.iter().rev().filter(wanted).take(max).map(Change::told).collect()
    }

    /// Every record: its shelf, its key, and what it says.
    pub(super) fn records(&self) -> impl Iterator<Item = (&str, &str, &str)> {
        self.records.iter().flat_map(|(shelf, records)| {
            records.iter().map(move |(key, record)| (shelf.as_str(), key.as_str(), &*record.value))
        })
    }

    /// The whole history, oldest first.
    pub(super) fn changes(&self) -> impl Iterator<Item = Changed> {
        self.history.iter().map(Change::told)
    }

    /// Makes a change that takes `bytes` of the file.
    pub(super) fn apply(&mut self, mut entry: Entry, bytes: u64) {
        let value: Option<Arc<str>> = entry.value.take().map(Into::into);
        let record = value.clone().map(|value| Record { value, bytes, shared: entry.audited });
        let before = self.put(&entry.shelf, &entry.key, record);
        if entry.audited {
            self.remember(Change { entry, value, before, bytes });
        } else if value.is_none() {
            self.wasted += bytes;
        }
    }

    /// Puts a record back as it was when the file was written anew.
    pub(super) fn restore(&mut self, shelf: &str, key: &str, value: &str, bytes: u64) {
        self.put(shelf, key, Some(Record { value: value.into(), bytes, shared: false }));
    }

    /// Puts a change back into the history.
    pub(super) fn recall(&mut self, changed: Changed, bytes: u64) {
        let Changed { mut entry, before } = changed;
        let value = entry.value.take().map(Into::into);
        self.remember(Change { entry, value, before: before.map(Into::into), bytes });
    }

    /// Returns what was there before.
    fn put(&mut self, shelf: &str, key: &str, record: Option<Record>) -> Option<Arc<str>> {
        let before = match record {
            Some(record) => self.records.entry(shelf.to_owned()).or_default().insert(key.to_owned(), record),
            None => self.records.get_mut(shelf).and_then(|records| records.remove(key)),
        }?;
        self.wasted += if before.shared { 0 } else { before.bytes };
        Some(before.value)
    }

    fn remember(&mut self, change: Change) {
        self.history.push_back(change);
        let oldest = if self.history.len() > HISTORY_MAX { self.history.pop_front() } else { None };
        let Some(Change { entry, value, bytes, .. }) = oldest else { return };
        let record = self.records.get_mut(&entry.shelf).and_then(|records| records.get_mut(&entry.key));
        let stands = |record: &&mut Record| value.as_ref().is_some_and(|value| Arc::ptr_eq(value, &record.value));
        match record.filter(stands) {
            // The record still says what was changed then: its bytes are its own from now on.
            Some(record) if record.shared => record.shared = false,
            _ => self.wasted += bytes,
        }
    }
}

impl Change {
    fn told(&self) -> Changed {
        let text = |value: &Option<Arc<str>>| value.as_deref().map(str::to_owned);
        Changed { entry: Entry { value: text(&self.value), ..self.entry.clone() }, before: text(&self.before) }
    }
}
