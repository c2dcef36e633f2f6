//! The engine for tests: the same journal and the same book on a disk that is simulated, visitors and clicks in maps. The disk can fail, fill up,
//! and lose power: then what was written and not synced is gone.

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;

use super::{
    Config, Health, StoreError, Stores, VisitStore,
    book::FileBook,
    clicks::MemoryClicks,
    journal::{
        Journal,
        disk::{Disk, DiskFile},
    },
};
use crate::model::{IdentityKey, IdentityKind, Observation, Time, Visitor, VisitorId};

/// Opens all stores in memory.
///
/// # Errors
/// None in practice: the simulated disk works until it is told otherwise.
pub fn open(disk: SimulatedDisk, config: Config) -> Result<Stores, StoreError> {
    let disk = Arc::new(disk);
    let book = FileBook::open(disk.clone())?;
    let events = Journal::open(disk, config)?;
    Ok(Stores {
        events: Arc::new(events),
        visits: Arc::new(Visitors::default()),
        book: Arc::new(book),
        clicks: Arc::new(MemoryClicks::default()),
    })
}

/// A directory in memory. Clones are the same disk.
#[derive(Clone, Default)]
pub struct SimulatedDisk(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    files: BTreeMap<String, FileState>,
    /// Writes that still succeed; `None` for all.
    writes_left: Option<u64>,
    syncs: u64,
}

#[derive(Default, Clone)]
struct FileState {
    bytes: Vec<u8>,
    /// How many of them survive a power cut. The journal only ever appends behind what is synced.
    synced: usize,
}

impl FileState {
    fn synced(bytes: Vec<u8>) -> Self {
        Self { synced: bytes.len(), bytes }
    }
}

impl SimulatedDisk {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets `writes` more writes or syncs succeed, then fails them all with "no space left"; `None` heals it.
    pub fn fail_after(&self, writes: Option<u64>) {
        self.state().writes_left = writes;
    }

    /// A disk with what would be left after a power cut at this moment: the first `kept` bytes of what is not synced,
    /// and all that is.
    #[must_use]
    pub fn after_power_cut(&self, kept: usize) -> Self {
        let cut = |file: &FileState| {
            let left = file.synced + kept.min(file.bytes.len() - file.synced);
            FileState::synced(file.bytes[..left].to_vec())
        };
        let files = self.state().files.iter().map(|(name, file)| (name.clone(), cut(file))).collect();
        Self(Arc::new(Mutex::new(State { files, ..State::default() })))
    }

    /// How often a file was synced.
    #[must_use]
    pub fn syncs(&self) -> u64 {
        self.state().syncs
    }

    /// Changes bytes of a file behind everybody's back.
    pub fn damage(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        if let Some(file) = self.state().files.get_mut(name) {
            change(&mut file.bytes);
            file.synced = file.bytes.len();
        }
    }
}

impl State {
    fn write(&mut self) -> io::Result<()> {
        match &mut self.writes_left {
            Some(0) => Err(io::Error::new(io::ErrorKind::StorageFull, "no space left on device")),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }
}

impl Disk for SimulatedDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.state().files.keys().cloned().collect())
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.state();
        if !state.files.contains_key(name) {
            state.write()?;
            state.files.insert(name.into(), FileState::default());
        }
        Ok(Arc::new(SimulatedFile { disk: self.clone(), name: name.into() }))
    }

    fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        Ok(self.state().files.get(name).map(|file| file.bytes.clone()))
    }

    fn replace(&self, name: &str, content: &[u8]) -> io::Result<()> {
        let mut state = self.state();
        state.write()?;
        state.files.insert(name.into(), FileState::synced(content.to_vec()));
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.state().files.remove(name);
        Ok(())
    }
}

struct SimulatedFile {
    disk: SimulatedDisk,
    name: String,
}

impl SimulatedFile {
    fn with<T>(&self, work: impl FnOnce(&mut FileState) -> T) -> io::Result<T> {
        let mut state = self.disk.state();
        let file = state.files.get_mut(&self.name);
        file.map(work).ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the file was removed"))
    }
}

impl DiskFile for SimulatedFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.with(|file| {
            let from = usize::try_from(offset).unwrap_or(usize::MAX).min(file.bytes.len());
            let got = buffer.len().min(file.bytes.len() - from);
            buffer[..got].copy_from_slice(&file.bytes[from..from + got]);
            got
        })
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.disk.state().write()?;
        self.with(|file| {
            let from = usize::try_from(offset).unwrap_or(usize::MAX);
            file.bytes.resize(file.bytes.len().max(from + bytes.len()), 0);
            file.bytes[from..from + bytes.len()].copy_from_slice(bytes);
        })
    }

    fn sync(&self) -> io::Result<()> {
        self.disk.state().write()?;
        self.disk.state().syncs += 1;
        self.with(|file| file.synced = file.bytes.len())
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.with(|file| {
            file.bytes.truncate(usize::try_from(length).unwrap_or(usize::MAX));
            file.synced = file.bytes.len();
        })
    }

    fn length(&self) -> io::Result<u64> {
        self.with(|file| file.bytes.len() as u64)
    }
}

/// Visitors in memory.
#[derive(Default)]
struct Visitors(Mutex<VisitorMaps>);

#[derive(Default)]
struct VisitorMaps {
    by_id: BTreeMap<VisitorId, Visitor>,
    by_key: BTreeMap<IdentityKey, VisitorId>,
}

impl Visitors {
    fn maps(&self) -> MutexGuard<'_, VisitorMaps> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl VisitorMaps {
    fn forget(&mut self, id: &VisitorId) -> bool {
        self.by_key.retain(|_, owner| owner != id);
        self.by_id.remove(id).is_some()
    }
}

#[async_trait]
impl VisitStore for Visitors {
    async fn remember(&self, seen: Vec<Observation>) -> Result<(), StoreError> {
        let mut maps = self.maps();
        for seen in seen {
            let id = seen.visitor_id.clone();
            let told = seen.keys.iter().filter(|key| key.kind.tells_person());
            let others: Vec<VisitorId> =
                told.filter_map(|key| maps.by_key.get(key).cloned()).chain(seen.same_as.clone()).collect();
            let keys = seen.keys.clone();
            match maps.by_id.get_mut(&id) {
                Some(visitor) => visitor.absorb(seen),
                None => {
                    maps.by_id.insert(id.clone(), Visitor::new(seen));
                }
            }
            let kept = maps.by_id.get(&id).map(|visitor| visitor.keys.clone()).unwrap_or_default();
            for key in keys.into_iter().filter(|key| kept.contains(key)) {
                if key.kind != IdentityKind::Conversion || !maps.by_key.contains_key(&key) {
                    maps.by_key.insert(key, id.clone());
                }
            }
            for other in others.iter().filter(|other| **other != id) {
                let Some(known) = maps.by_id.get_mut(other) else { continue };
                known.link(&id);
                maps.by_id.entry(id.clone()).and_modify(|visitor| visitor.link(other));
            }
        }
        Ok(())
    }

    fn find(&self, id: &VisitorId) -> Result<Option<Visitor>, StoreError> {
        Ok(self.maps().by_id.get(id).cloned())
    }

    fn find_by(&self, keys: &[IdentityKey]) -> Result<Option<(Visitor, IdentityKey)>, StoreError> {
        let maps = self.maps();
        let found = keys.iter().find_map(|key| Some((maps.by_id.get(maps.by_key.get(key)?)?.clone(), *key)));
        Ok(found)
    }

    fn page(&self, after: Option<&VisitorId>, max: usize) -> Result<Vec<Visitor>, StoreError> {
        let maps = self.maps();
        let behind = maps.by_id.values().filter(|visitor| after.is_none_or(|after| visitor.id > *after));
        Ok(behind.take(max).cloned().collect())
    }

    async fn forget(&self, id: &VisitorId) -> Result<bool, StoreError> {
        Ok(self.maps().forget(id))
    }

    async fn retain(&self, before: Time) -> Result<usize, StoreError> {
        let mut maps = self.maps();
        let old: Vec<VisitorId> = maps
            .by_id
            .values()
            .filter(|visitor| visitor.last_seen < before)
            .map(|visitor| visitor.id.clone())
            .collect();
        for id in &old {
            maps.forget(id);
        }
        Ok(old.len())
    }

    fn health(&self) -> Health {
        Health::Ok
    }

    async fn recover(&self) -> Result<(), StoreError> {
        Ok(())
    }
}
