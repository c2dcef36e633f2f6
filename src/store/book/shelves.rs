//! What the book says, in memory: the records as they are, and the latest audited changes.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use super::{Changed, Entry};

/// Audited changes that are kept.
pub(super) const HISTORY_MAX: usize = 10_000;

/// Records by shelf and key, and what was changed.
#[derive(Default)]
pub(super) struct Shelves {
    records: BTreeMap<String, BTreeMap<String, Record>>,
    /// Oldest first.
    history: VecDeque<Change>,
    /// Bytes of values that nothing refers to any more, about as long as they are in the file.
    pub(super) wasted: u64,
}

/// What a record says, and whether its last change was audited.
struct Record {
    value: Arc<str>,
    audited: bool,
}

/// An audited change. Values are shared with the records and with each other.
struct Change {
    entry: Entry,
    value: Option<Arc<str>>,
    before: Option<Arc<str>>,
}

impl Shelves {
    pub(super) fn get(&self, shelf: &str, key: &str) -> Option<Arc<str>> {
        self.records.get(shelf)?.get(key).map(|record| Arc::clone(&record.value))
    }

    pub(super) fn list(&self, shelf: &str) -> Vec<(String, Arc<str>)> {
        let records = self.records.get(shelf).into_iter().flatten();
        records.map(|(key, record)| (key.clone(), Arc::clone(&record.value))).collect()
    }

    pub(super) fn history(&self, shelf: &str, key: Option<&str>, max: usize) -> Vec<Changed> {
        let wanted = |change: &&Change| change.entry.shelf == shelf && key.is_none_or(|key| change.entry.key == key);
        self.history.iter().rev().filter(wanted).take(max).map(Change::told).collect()
    }

    /// Makes one change.
    pub(super) fn apply(&mut self, mut entry: Entry) {
        let (length, audited) = (length(&entry), entry.audited);
        let value: Option<Arc<str>> = entry.value.take().map(Into::into);
        let before = self.put(&entry.shelf, &entry.key, value.clone(), audited);
        if audited {
            self.remember(Change { entry, value, before });
        } else if value.is_none() {
            self.wasted += length;
        }
    }

    /// Sets a record, or takes it out; returns what it said before.
    fn put(&mut self, shelf: &str, key: &str, value: Option<Arc<str>>, audited: bool) -> Option<Arc<str>> {
        let before = match value {
            Some(value) => {
                let records = self.records.entry(shelf.to_owned()).or_default();
                records.insert(key.to_owned(), Record { value, audited })
            }
            None => self.records.get_mut(shelf).and_then(|records| records.remove(key)),
        }?;
        if !before.audited {
            self.wasted += (shelf.len() + key.len() + before.value.len()) as u64;
        }
        Some(before.value)
    }

    fn remember(&mut self, change: Change) {
        self.history.push_back(change);
        if self.history.len() > HISTORY_MAX
            && let Some(old) = self.history.pop_front()
        {
            self.wasted += length(&old.entry) + old.value.map_or(0, |value| value.len() as u64);
        }
    }
}

impl Change {
    fn told(&self) -> Changed {
        let text = |value: &Option<Arc<str>>| value.as_deref().map(str::to_owned);
        Changed { entry: Entry { value: text(&self.value), ..self.entry.clone() }, before: text(&self.before) }
    }
}

/// About how long an entry is in the file.
fn length(entry: &Entry) -> u64 {
    let value = entry.value.as_ref().map_or(0, String::len);
    (entry.by.len() + entry.shelf.len() + entry.key.len() + value) as u64
}
