//! The embedded engine: the event journal in a directory, and visitors in sled.
//!
//! sled 0.34 keeps its promises only when used in a certain way (measured; the numbers are in `docs/decisions/`):
//! - its `flush` is no fsync on Linux, so one committer thread applies a batch, flushes, and syncs the file itself;
//! - batches hold at most 256 operations, or memory grows without bound;
//! - every value carries its own checksum, as a damaged file may open with wrong data;
//! - it keeps up to twice as much in memory as its cache is said to be, so it is told half of what is configured;
//! - opening may panic on a damaged file, so it happens on a thread whose panic becomes an error;
//! - after a failed write the handle stays failed, so it is closed and opened again;
//! - what was deleted stays in its file, so the start after somebody was forgotten writes it anew (`rewrite`).

mod rewrite;
mod v1;

use std::{
    fs,
    io::ErrorKind,
    ops::Bound,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, RwLock},
    thread,
    time::Duration,
};

use async_trait::async_trait;
use serde::Serialize;
use sled::Transactional as _;
use tokio::sync::{mpsc, oneshot};

use super::{
    Config, Health, StoreError, Stores, VisitStore,
    book::FileBook,
    clicks::FileClicks,
    journal::{Journal, disk::Directory},
};
use crate::model::{IdentityKey, IdentityKind, Observation, Time, Visitor, VisitorId};

/// Operations in one batch; sled's memory grows with larger ones.
const BATCH_MAX: usize = 256;
/// Requests that may wait for the committer.
const COMMITTER_QUEUE: usize = 1024;
/// The form visitors are written in. Older ones stay readable.
const VERSION: u8 = 2;
/// Version byte and checksum.
const HEADER_BYTES: usize = 5;
/// sled lets go of its lock a moment after it was closed; nobody else can have it, as the data directory has a lock too.
const LOCKED_TRIES: u32 = 40;
const LOCKED_WAIT: Duration = Duration::from_millis(50);
/// Visitors looked at before retention lets others write.
const RETAIN_BATCH: usize = 100;

/// Opens both stores in the configured directory.
///
/// # Errors
/// What went wrong, with the path and what to do.
pub fn open(config: &Config) -> Result<Stores, StoreError> {
    let failed = |error: &dyn std::fmt::Display| {
        StoreError::Unavailable(format!("cannot open the data directory {}: {error}", config.path.display()))
    };
    let visits = Visitors::open(&config.path.join("visitors"), config.cache_bytes)?;
    let disk = Directory::open(&config.path.join("events")).map_err(|error| failed(&error))?;
    let events = Journal::open(Arc::new(disk), config.clone())?;
    let disk = Directory::open(&config.path.join("book")).map_err(|error| failed(&error))?;
    let book = FileBook::open(Arc::new(disk))?;
    Ok(Stores {
        events: Arc::new(events),
        visits: Arc::new(visits),
        book: Arc::new(book),
        clicks: Arc::new(FileClicks::open(&config.path.join("clicks"))?),
    })
}

type Reply<T> = oneshot::Sender<Result<T, StoreError>>;

enum Op {
    Recover { reply: Reply<()> },
    Remember { seen: Vec<Observation>, reply: Reply<()> },
    Forget { ids: Vec<VisitorId>, unless_seen_since: Option<Time>, reply: Reply<usize> },
}

/// Visitors in sled.
pub struct Visitors {
    trees: SharedTrees,
    health: Arc<Mutex<Health>>,
    operations: Option<mpsc::Sender<Op>>,
    committer: Option<thread::JoinHandle<()>>,
}

/// `None` while sled is closed after a failure.
type SharedTrees = Arc<RwLock<Option<Trees>>>;

#[derive(Clone)]
struct Trees {
    /// Visitor id → visitor.
    visitors: sled::Tree,
    /// Identity key → id of the visitor last seen with it.
    keys: sled::Tree,
}

impl Trees {
    fn visitor(&self, id: &[u8]) -> Result<Option<Visitor>, StoreError> {
        let stored = self.visitors.get(id).map_err(|error| unavailable(&error))?;
        stored.map(|bytes| decode(&bytes)).transpose()
    }
}

fn unavailable(error: &dyn std::fmt::Display) -> StoreError {
    StoreError::Unavailable(format!("the visitor store: {error}"))
}

fn key_bytes(key: &IdentityKey) -> [u8; 33] {
    let mut bytes = [0; 33];
    bytes[0] = key.kind as u8;
    bytes[1..].copy_from_slice(key.digest.bytes());
    bytes
}

fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    let mut bytes = vec![VERSION, 0, 0, 0, 0];
    bytes = postcard::to_extend(value, bytes).expect("writing into memory cannot fail");
    let checksum = crc32fast::hash(&bytes[HEADER_BYTES..]);
    bytes[1..HEADER_BYTES].copy_from_slice(&checksum.to_le_bytes());
    bytes
}

fn decode(bytes: &[u8]) -> Result<Visitor, StoreError> {
    let damaged = || StoreError::Damaged("a visitor's record fails its checksum".into());
    let (header, body) = bytes.split_at_checked(HEADER_BYTES).ok_or_else(damaged)?;
    if crc32fast::hash(body).to_le_bytes() != header[1..] {
        return Err(damaged());
    }
    let read = match header[0] {
        1 => postcard::from_bytes::<v1::VisitorV1>(body).map(Visitor::from),
        VERSION => postcard::from_bytes(body),
        _ => return Err(damaged()),
    };
    read.map_err(|_| damaged())
}

impl Visitors {
    /// Opens sled in `path` and starts the committer. If somebody was forgotten, the store is written anew before.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] or [`StoreError::Damaged`], with the path and what to do.
    pub fn open(path: &Path, cache_bytes: u64) -> Result<Self, StoreError> {
        rewrite::at_start(path, cache_bytes)?;
        let (engine, opened) = Engine::open(path, cache_bytes)?;
        let trees = Arc::new(RwLock::new(Some(opened)));
        let (operations, waiting) = mpsc::channel(COMMITTER_QUEUE);
        let health = Arc::new(Mutex::new(Health::Ok));
        let committer = Committer {
            engine: Some(engine),
            path: path.to_owned(),
            cache_bytes,
            trees: Arc::clone(&trees),
            waiting,
            health: Arc::clone(&health),
        };
        let committer = thread::Builder::new()
            .name("visitors".into())
            .spawn(move || committer.run())
            .map_err(|error| unavailable(&error))?;
        Ok(Self { trees, health, operations: Some(operations), committer: Some(committer) })
    }

    fn read<T>(&self, look: impl FnOnce(&Trees) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let trees = self.trees.read().unwrap_or_else(PoisonError::into_inner);
        look(trees.as_ref().ok_or_else(closed)?)
    }

    async fn ask<T>(&self, op: impl FnOnce(Reply<T>) -> Op) -> Result<T, StoreError> {
        let gone = || StoreError::Unavailable("the visitor store has ended".into());
        let (reply, answer) = oneshot::channel();
        let operations = self.operations.as_ref().ok_or_else(gone)?;
        operations.send(op(reply)).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }
}

impl Drop for Visitors {
    fn drop(&mut self) {
        drop(self.operations.take());
        if let Some(committer) = self.committer.take() {
            // A panic of the committer was reported when it happened.
            let _ended = committer.join();
        }
    }
}

/// What only the committer holds: with the trees dropped too, dropping it closes sled.
struct Engine {
    db: sled::Db,
    /// sled's own file, to be synced for real; any descriptor of it does.
    file: fs::File,
}

impl Engine {
    fn open(path: &Path, cache_bytes: u64) -> Result<(Self, Trees), StoreError> {
        let shown = path.display().to_string();
        let config = sled::Config::new()
            .path(path)
            .cache_capacity(cache_bytes / 2)
            .mode(sled::Mode::LowSpace)
            .flush_every_ms(Some(500));
        let opened = thread::spawn(move || {
            let mut tries = 0;
            let db = loop {
                match config.open() {
                    Err(sled::Error::Io(error)) if error.kind() == ErrorKind::Other && tries < LOCKED_TRIES => {
                        tries += 1;
                        thread::sleep(LOCKED_WAIT);
                    }
                    opened => break opened?,
                }
            };
            let trees = Trees { visitors: db.open_tree("visitors")?, keys: db.open_tree("keys")? };
            Ok::<_, sled::Error>((db, trees))
        });
        let advice = "move that directory away to start without visitors; events are not in it";
        let full =
            "the disk is full: free space on it and start again; the visitors are safe, leave them where they are";
        let (db, trees) = match opened.join() {
            Ok(Ok(opened)) => opened,
            Ok(Err(sled::Error::Io(error))) if is_full(&error) => {
                return Err(StoreError::Unavailable(format!("cannot open {shown}: {full} ({error})")));
            }
            Ok(Err(error)) => return Err(StoreError::Unavailable(format!("cannot open {shown}: {error}; {advice}"))),
            Err(_) => return Err(StoreError::Damaged(format!("{shown} is damaged; {advice}"))),
        };
        let file = fs::File::options().read(true).write(true).open(path.join("db")).and_then(|file| {
            file.sync_all()?;
            fs::File::open(path)?.sync_all()?;
            Ok(file)
        });
        let file = file.map_err(|error| {
            let why = if is_full(&error) { format!("{full} ({error})") } else { error.to_string() };
            StoreError::Unavailable(format!("cannot sync {shown}: {why}"))
        })?;
        Ok((Self { db, file }, trees))
    }

    fn write(&self, trees: &Trees, batch: &Batch) -> Result<(), StoreError> {
        let (mut visitors, mut keys) = (sled::Batch::default(), sled::Batch::default());
        for (id, visitor) in &batch.visitors {
            match visitor {
                Some(visitor) => visitors.insert(id.as_slice(), encode(visitor)),
                None => visitors.remove(id.as_slice()),
            }
        }
        for (key, id) in &batch.keys {
            match id {
                Some(id) => keys.insert(key.as_slice(), id.as_slice()),
                None => keys.remove(key.as_slice()),
            }
        }
        let applied = (&trees.visitors, &trees.keys).transaction(|(a, b)| {
            a.apply_batch(&visitors)?;
            b.apply_batch(&keys)?;
            Ok::<_, sled::transaction::ConflictableTransactionError<()>>(())
        });
        applied.map_err(|error| unavailable(&format!("{error:?}")))?;
        self.db.flush().map_err(|error| unavailable(&error))?;
        self.file.sync_data().map_err(|error| unavailable(&error))
    }
}

fn is_full(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}

fn closed() -> StoreError {
    StoreError::Unavailable("the visitor store is closed after a failure, and opens again by itself".into())
}

struct Committer {
    engine: Option<Engine>,
    path: PathBuf,
    cache_bytes: u64,
    trees: SharedTrees,
    waiting: mpsc::Receiver<Op>,
    health: Arc<Mutex<Health>>,
}

/// What one batch changes; `None` deletes. Later reads in the batch look here first.
#[derive(Default)]
struct Batch {
    visitors: std::collections::BTreeMap<Vec<u8>, Option<Visitor>>,
    keys: std::collections::BTreeMap<[u8; 33], Option<Vec<u8>>>,
    /// Somebody wants to be forgotten. Retention is no such wish: by it, every start would write the store anew.
    forgets: bool,
}

impl Batch {
    fn len(&self) -> usize {
        self.visitors.len() + self.keys.len()
    }
}

enum Due {
    Remembered(Reply<()>),
    Forgotten(usize, Reply<usize>),
}

impl Committer {
    fn run(mut self) {
        while let Some(first) = self.waiting.blocking_recv() {
            let opened = self.reopen();
            let (mut batch, mut due) = (Batch::default(), Vec::new());
            self.stage(&mut batch, &mut due, first);
            while batch.len() < BATCH_MAX {
                let Ok(next) = self.waiting.try_recv() else { break };
                self.stage(&mut batch, &mut due, next);
            }
            let written = opened.and_then(|()| self.write(&batch));
            if let Err(error) = &written {
                tracing::error!(%error, "the visitor store cannot be written");
                // A handle that failed once stays failed: closed here, opened again by the next request.
                *self.trees.write().unwrap_or_else(PoisonError::into_inner) = None;
                self.engine = None;
            }
            *self.health.lock().unwrap_or_else(PoisonError::into_inner) = match &written {
                Ok(()) => Health::Ok,
                Err(error) => Health::Failed(error.to_string()),
            };
            for due in due {
                // Whoever asked may have gone away; the work is done all the same.
                match due {
                    Due::Remembered(reply) => drop(reply.send(written.clone())),
                    Due::Forgotten(count, reply) => drop(reply.send(written.clone().map(|()| count))),
                }
            }
        }
        // Nothing is unsynced here; this only lets sled end tidily.
        let _flushed = self.engine.as_ref().map(|engine| engine.db.flush());
    }

    fn reopen(&mut self) -> Result<(), StoreError> {
        if self.engine.is_none() {
            let (engine, trees) = Engine::open(&self.path, self.cache_bytes)?;
            self.engine = Some(engine);
            *self.trees.write().unwrap_or_else(PoisonError::into_inner) = Some(trees);
            tracing::info!("the visitor store is open again");
        }
        Ok(())
    }

    fn write(&self, batch: &Batch) -> Result<(), StoreError> {
        if batch.forgets {
            // First, so that no crash leaves somebody forgotten without it. Also for a visitor that is not known: retention
            // may have deleted it, and its bytes are there all the same.
            rewrite::mark(&self.path).map_err(|error| unavailable(&error))?;
        }
        let trees = self.trees.read().unwrap_or_else(PoisonError::into_inner);
        match (&self.engine, trees.as_ref()) {
            (Some(_), Some(_)) if batch.len() == 0 => Ok(()),
            (Some(engine), Some(trees)) => engine.write(trees, batch),
            _ => Err(closed()),
        }
    }

    fn stage(&self, batch: &mut Batch, due: &mut Vec<Due>, op: Op) {
        match op {
            Op::Recover { reply } => due.push(Due::Remembered(reply)),
            Op::Remember { seen, reply } => {
                for seen in seen {
                    if let Err(error) = self.remember(batch, seen) {
                        drop(reply.send(Err(error)));
                        return;
                    }
                }
                due.push(Due::Remembered(reply));
            }
            Op::Forget { ids, unless_seen_since, reply } => {
                batch.forgets |= unless_seen_since.is_none();
                let mut count = 0;
                for id in ids {
                    match self.known(batch, id.as_str().as_bytes()) {
                        Ok(Some(visitor)) if unless_seen_since.is_none_or(|since| visitor.last_seen < since) => {
                            self.forget(batch, &visitor);
                            count += 1;
                        }
                        Ok(_) => {}
                        // A record that cannot be read is removed whole; its keys lead nowhere.
                        Err(_) => {
                            batch.visitors.insert(id.as_str().as_bytes().to_vec(), None);
                            count += 1;
                        }
                    }
                }
                due.push(Due::Forgotten(count, reply));
            }
        }
    }

    fn known(&self, batch: &Batch, id: &[u8]) -> Result<Option<Visitor>, StoreError> {
        match batch.visitors.get(id) {
            Some(staged) => Ok(staged.clone()),
            None => {
                let trees = self.trees.read().unwrap_or_else(PoisonError::into_inner);
                trees.as_ref().ok_or_else(closed)?.visitor(id)
            }
        }
    }

    fn remember(&self, batch: &mut Batch, seen: Observation) -> Result<(), StoreError> {
        let id = seen.visitor_id.as_str().as_bytes().to_vec();
        let others = self.others(batch, &seen)?;
        // Put back below: one that is seen many times in a batch is not copied each time.
        let known = match batch.visitors.remove(&id) {
            Some(staged) => Ok(staged),
            None => self.known(batch, &id),
        };
        let keys = seen.keys.clone();
        let before = known.as_ref().ok().and_then(|known| known.as_ref().map(|visitor| visitor.keys.clone()));
        let mut visitor = match known {
            Ok(Some(mut visitor)) => {
                visitor.absorb(seen);
                visitor
            }
            Ok(None) => Visitor::new(seen),
            Err(StoreError::Damaged(_)) => {
                tracing::error!("a visitor's record is damaged; it begins anew");
                Visitor::new(seen)
            }
            Err(error) => return Err(error),
        };
        // What the visitor does not keep (any more) leads nowhere.
        for key in before.iter().flatten().filter(|key| !visitor.keys.contains(key)) {
            if self.owner(batch, key)?.is_some_and(|owner| owner == id) {
                batch.keys.insert(key_bytes(key), None);
            }
        }
        for key in keys.iter().filter(|key| visitor.keys.contains(key)) {
            // Whose browser told of a conversion first, had it.
            if key.kind == IdentityKind::Conversion && self.owner(batch, key)?.is_some() {
                continue;
            }
            batch.keys.insert(key_bytes(key), Some(id.clone()));
        }
        for mut other in others {
            visitor.link(&other.id);
            other.link(&visitor.id);
            batch.visitors.insert(other.id.as_str().as_bytes().to_vec(), Some(other));
        }
        batch.visitors.insert(id, Some(visitor));
        Ok(())
    }

    /// The visitor that a key leads to.
    fn owner(&self, batch: &Batch, key: &IdentityKey) -> Result<Option<Vec<u8>>, StoreError> {
        let key = key_bytes(key);
        if let Some(staged) = batch.keys.get(&key) {
            return Ok(staged.clone());
        }
        let trees = self.trees.read().unwrap_or_else(PoisonError::into_inner);
        let stored = trees.as_ref().ok_or_else(closed)?.keys.get(key);
        Ok(stored.map_err(|error| unavailable(&error))?.map(|id| id.to_vec()))
    }

    /// Other visitors that what is seen tells to be the same person: those seen with the same contact details before, and
    /// the one whose id was handed over.
    fn others(&self, batch: &Batch, seen: &Observation) -> Result<Vec<Visitor>, StoreError> {
        let mut ids: Vec<Vec<u8>> = seen.same_as.iter().map(|id| id.as_str().as_bytes().to_vec()).collect();
        for key in seen.keys.iter().filter(|key| key.kind.tells_person()) {
            ids.extend(self.owner(batch, key)?);
        }
        ids.sort_unstable();
        ids.dedup();
        ids.retain(|id| id != seen.visitor_id.as_str().as_bytes());
        let mut others = Vec::new();
        for id in ids {
            match self.known(batch, &id) {
                Ok(other) => others.extend(other),
                // One that cannot be read has no history to add.
                Err(StoreError::Damaged(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(others)
    }

    /// Identifiers that lead to somebody who was seen with them later stay.
    fn forget(&self, batch: &mut Batch, visitor: &Visitor) {
        let id = visitor.id.as_str().as_bytes();
        for key in visitor.keys.iter().map(key_bytes) {
            let owner = match batch.keys.get(&key) {
                Some(owner) => owner.clone(),
                None => {
                    let trees = self.trees.read().unwrap_or_else(PoisonError::into_inner);
                    let stored = trees.as_ref().map(|trees| trees.keys.get(key));
                    // What cannot be read is removed: it leads nowhere.
                    stored.and_then(|stored| stored.map_or(Some(id.to_vec()), |owner| owner.map(|id| id.to_vec())))
                }
            };
            if owner.is_some_and(|owner| owner == id) {
                batch.keys.insert(key, None);
            }
        }
        batch.visitors.insert(visitor.id.as_str().as_bytes().to_vec(), None);
    }
}

#[async_trait]
impl VisitStore for Visitors {
    async fn remember(&self, seen: Vec<Observation>) -> Result<(), StoreError> {
        self.ask(|reply| Op::Remember { seen, reply }).await
    }

    fn find(&self, id: &VisitorId) -> Result<Option<Visitor>, StoreError> {
        self.read(|trees| trees.visitor(id.as_str().as_bytes()))
    }

    fn find_by(&self, keys: &[IdentityKey]) -> Result<Option<(Visitor, IdentityKey)>, StoreError> {
        self.read(|trees| {
            for key in keys {
                let id = trees.keys.get(key_bytes(key)).map_err(|error| unavailable(&error))?;
                let visitor = id.map(|id| trees.visitor(&id)).transpose()?.flatten();
                if let Some(visitor) = visitor {
                    return Ok(Some((visitor, *key)));
                }
            }
            Ok(None)
        })
    }

    fn page(&self, after: Option<&VisitorId>, max: usize) -> Result<Vec<Visitor>, StoreError> {
        self.read(|trees| {
            let after = after.map(|id| id.as_str().as_bytes().to_vec());
            let from = after.map_or(Bound::Unbounded, Bound::Excluded);
            let entries = trees.visitors.range((from, Bound::Unbounded)).take(max);
            let read = entries.map(|entry| {
                let (_, bytes) = entry.map_err(|error| unavailable(&error))?;
                Ok(decode(&bytes).ok())
            });
            read.filter_map(Result::transpose).collect()
        })
    }

    async fn forget(&self, id: &VisitorId) -> Result<bool, StoreError> {
        let forgotten = self.ask(|reply| Op::Forget { ids: vec![id.clone()], unless_seen_since: None, reply }).await?;
        Ok(forgotten > 0)
    }

    async fn retain(&self, before: Time) -> Result<usize, StoreError> {
        let (mut total, mut from) = (0, Vec::new());
        loop {
            let trees = Arc::clone(&self.trees);
            let start = from.clone();
            let looked = tokio::task::spawn_blocking(move || {
                let trees = trees.read().unwrap_or_else(PoisonError::into_inner);
                old(trees.as_ref().ok_or_else(closed)?, &start, before)
            })
            .await;
            let (ids, next) =
                looked.map_err(|_| StoreError::Damaged("reading visitors failed unexpectedly".into()))??;
            if !ids.is_empty() {
                total += self.ask(|reply| Op::Forget { ids, unless_seen_since: Some(before), reply }).await?;
            }
            match next {
                Some(next) => from = next,
                None => return Ok(total),
            }
        }
    }

    fn health(&self) -> Health {
        if self.operations.as_ref().is_none_or(mpsc::Sender::is_closed) {
            return Health::Failed("the committer of visits has ended unexpectedly; restart the relay".into());
        }
        self.health.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn recover(&self) -> Result<(), StoreError> {
        self.ask(|reply| Op::Recover { reply }).await
    }
}

/// Visitors from `start` on that were not seen since `before`, and where to look on; `None` at the end.
fn old(trees: &Trees, start: &[u8], before: Time) -> Result<(Vec<VisitorId>, Option<Vec<u8>>), StoreError> {
    let mut ids = Vec::new();
    for (looked, entry) in trees.visitors.range(start.to_vec()..).enumerate() {
        let (id, bytes) = entry.map_err(|error| unavailable(&error))?;
        if ids.len() >= RETAIN_BATCH || looked >= RETAIN_BATCH * 100 {
            return Ok((ids, Some(id.to_vec())));
        }
        // One that cannot be read is no use to anybody.
        if decode(&bytes).map_or(true, |visitor| visitor.last_seen < before) {
            ids.extend(String::from_utf8(id.to_vec()).ok().and_then(|id| VisitorId::new(id).ok()));
        }
    }
    Ok((ids, None))
}

#[cfg(test)]
mod tests;
