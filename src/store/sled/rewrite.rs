//! Writes the visitor store anew, so that who was forgotten is gone from the bytes on disk too.
//!
//! sled keeps what was deleted in its file until it needs the room, which may be never. So forgetting leaves a marker beside
//! the store, and the next start copies what is left into a new store, which takes the place of the old one. Each step is
//! durable before the next; what a crash leaves is put in order at the following start:
//!
//! | beside `visitors` | the process died | at start |
//! |---|---|---|
//! | marker, maybe `visitors.new` | before or while copying | the copy is deleted and made again |
//! | marker, `visitors.old`, `visitors.new`, no `visitors` | between the two renames | the old one goes back, and is copied again |
//! | marker, `visitors.old` | before the marker was removed | the old one is deleted; copying once more does no harm |
//! | `visitors.old` | while the old one was deleted | it is deleted |

use std::{
    fs,
    hash::{BuildHasher as _, RandomState},
    io,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use super::{BATCH_MAX, Engine, LOCKED_WAIT, StoreError, unavailable};

/// How long sled may take to let go of a store that was closed, before the rewriting is given up.
const CLOSING_MAX: Duration = Duration::from_secs(30);

/// Leaves the marker beside `store`, durably: somebody is about to be forgotten.
///
/// # Errors
/// What the file system says.
pub(super) fn mark(store: &Path) -> io::Result<()> {
    fs::File::create(beside(store, "forgotten"))?.sync_all()?;
    sync_parent(store)
}

/// Puts in order what a crash left, and writes the store anew if somebody was forgotten. A rewriting that fails is logged
/// and leaves the old store, for the next start to try again.
///
/// # Errors
/// There are visitors, but they cannot be put back where they belong.
pub(super) fn at_start(store: &Path, cache_bytes: u64) -> Result<(), StoreError> {
    let rewrite = Rewrite::new(store, cache_bytes);
    if !rewrite.put_in_order()? {
        return Ok(());
    }
    tracing::info!("somebody was forgotten: the visitor store is written anew");
    let began = Instant::now();
    // sled may panic on a damaged file; opening the store will say what there is to say about that.
    let done = thread::scope(|scope| scope.spawn(|| STEPS.iter().try_for_each(|step| step(&rewrite))).join());
    let done = done.unwrap_or_else(|_| Err(StoreError::Damaged("sled panicked".into())));
    let took_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    match done {
        Ok(()) => {
            tracing::info!(took_ms, "the visitor store was written anew: who was forgotten is in none of its files")
        }
        Err(error) => {
            rewrite.put_in_order()?;
            tracing::error!(
                %error,
                took_ms,
                "the visitor store could not be written anew: who was forgotten is still in the bytes of its file, though \
                 nothing finds it there; the next start tries again"
            );
        }
    }
    Ok(())
}

struct Rewrite {
    store: PathBuf,
    /// The copy, until it is whole.
    new: PathBuf,
    /// The store, once the copy is whole.
    old: PathBuf,
    marker: PathBuf,
    cache_bytes: u64,
}

type Step = fn(&Rewrite) -> Result<(), StoreError>;

/// In this order, each durable before the next.
const STEPS: [Step; 5] =
    [Rewrite::copy, Rewrite::put_aside, Rewrite::put_in_place, Rewrite::unmark, Rewrite::remove_old];

impl Rewrite {
    fn new(store: &Path, cache_bytes: u64) -> Self {
        Self {
            store: store.to_owned(),
            new: beside(store, "new"),
            old: beside(store, "old"),
            marker: beside(store, "forgotten"),
            cache_bytes,
        }
    }

    /// Leaves the store, whole, and nothing else but the marker. Whether there is a marker.
    fn put_in_order(&self) -> Result<bool, StoreError> {
        let failed = |error: io::Error| {
            let (old, store) = (self.old.display(), self.store.display());
            StoreError::Unavailable(format!(
                "cannot put {store} in order: {error}; if it is not there, and {old} is, rename that to it"
            ))
        };
        if !self.store.try_exists().map_err(failed)? && self.old.try_exists().map_err(failed)? {
            fs::rename(&self.old, &self.store).and_then(|()| sync_parent(&self.store)).map_err(failed)?;
        }
        for left in [&self.new, &self.old] {
            if let Err(error) = remove(left) {
                tracing::warn!(path = %left.display(), %error, "cannot delete what is left of an old visitor store");
            }
        }
        let marked = self.marker.try_exists().map_err(failed)?;
        if marked && !self.store.try_exists().map_err(failed)? {
            // Somebody moved the store away, and the forgotten with it.
            self.unmark()?;
            return Ok(false);
        }
        Ok(marked)
    }

    fn copy(&self) -> Result<(), StoreError> {
        remove(&self.new).map_err(|error| unavailable(&error))?;
        let copied = self.copy_trees();
        // Only then has sled written its last, and the directories may move.
        let_go(&self.store).and_then(|()| let_go(&self.new)).map_err(|error| unavailable(&error))?;
        let copied = copied?;
        // The old store is about to be deleted: what replaces it has to open and to have everything.
        let found = Engine::open(&self.new, self.cache_bytes)
            .and_then(|(_engine, trees)| Ok((count(&trees.visitors)?, count(&trees.keys)?)))?;
        if found != copied {
            return Err(StoreError::Damaged(format!("{found:?} of {copied:?} visitors and identifiers arrived")));
        }
        let_go(&self.new).and_then(|()| sync_all(&self.new)).map_err(|error| unavailable(&error))
    }

    fn copy_trees(&self) -> Result<(u64, u64), StoreError> {
        let (_old, from) = Engine::open(&self.store, self.cache_bytes / 2)?;
        let (new, to) = Engine::open(&self.new, self.cache_bytes / 2)?;
        // Whose visitors there are, by 8 bytes each: looking each up in sled takes longer than all the rest.
        let (hasher, mut known) = (RandomState::new(), Vec::<u64>::new());
        let visitors = transfer(&from.visitors, (&new, &to.visitors), |id, _| {
            known.push(hasher.hash_one(id));
            true
        })?;
        known.sort_unstable();
        // A visitor remembers only its latest identifiers: forgetting it leaves earlier ones, which lead nowhere since.
        let keys = transfer(&from.keys, (&new, &to.keys), |_, id| known.binary_search(&hasher.hash_one(id)).is_ok())?;
        Ok((visitors, keys))
    }

    fn put_aside(&self) -> Result<(), StoreError> {
        self.rename(&self.store, &self.old)
    }

    fn put_in_place(&self) -> Result<(), StoreError> {
        self.rename(&self.new, &self.store)
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), StoreError> {
        fs::rename(from, to).and_then(|()| sync_parent(&self.store)).map_err(|error| unavailable(&error))
    }

    fn unmark(&self) -> Result<(), StoreError> {
        fs::remove_file(&self.marker).and_then(|()| sync_parent(&self.store)).map_err(|error| unavailable(&error))
    }

    fn remove_old(&self) -> Result<(), StoreError> {
        remove(&self.old).map_err(|error| unavailable(&error))
    }
}

/// Copies what `keep` wants by its key and value; returns how much that is. Damaged records are copied as they are: that is
/// noticed where they are read.
fn transfer(
    from: &sled::Tree,
    (engine, to): (&Engine, &sled::Tree),
    mut keep: impl FnMut(&[u8], &[u8]) -> bool,
) -> Result<u64, StoreError> {
    let (mut entries, mut copied) = (from.iter(), 0);
    loop {
        let (mut batch, mut staged) = (sled::Batch::default(), 0);
        for entry in entries.by_ref() {
            let (key, value) = entry.map_err(|error| unavailable(&error))?;
            if keep(&key, &value) {
                // Copies, as sled's own values may hold on to the page that they are from.
                batch.insert(key.as_ref(), value.as_ref());
                staged += 1;
            }
            if staged >= BATCH_MAX {
                break;
            }
        }
        if staged == 0 {
            return Ok(copied);
        }
        // Flushed each, or sled's memory grows with what it has yet to write.
        to.apply_batch(batch).and_then(|()| engine.db.flush()).map_err(|error| unavailable(&error))?;
        copied += staged as u64;
    }
}

fn count(tree: &sled::Tree) -> Result<u64, StoreError> {
    tree.iter().try_fold(0, |count, entry| entry.map(|_| count + 1)).map_err(|error| unavailable(&error))
}

/// Returns when sled has let go of the closed store in `path`; until then it may still write there.
fn let_go(path: &Path) -> io::Result<()> {
    let file = match fs::File::open(path.join("db")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        file => file?,
    };
    let began = Instant::now();
    loop {
        match file.try_lock() {
            Err(fs::TryLockError::WouldBlock) if began.elapsed() < CLOSING_MAX => thread::sleep(LOCKED_WAIT),
            locked => return locked.map_err(Into::into),
        }
    }
}

/// Syncs every file and directory below `path`: sled's own `flush` is no fsync.
fn sync_all(path: &Path) -> io::Result<()> {
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        match entry.file_type()?.is_dir() {
            true => sync_all(&entry.path())?,
            false => fs::File::open(entry.path())?.sync_all()?,
        }
    }
    fs::File::open(path)?.sync_all()
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Ok(()) => sync_parent(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

fn sync_parent(path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    fs::File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
}

fn beside(store: &Path, suffix: &str) -> PathBuf {
    let mut name = store.as_os_str().to_owned();
    name.push(".");
    name.push(suffix);
    name.into()
}

#[cfg(test)]
mod tests;
