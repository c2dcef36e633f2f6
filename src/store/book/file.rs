//! The book on disk: a file of framed records, one for each [`Book::write`], so that its changes are there together or not
//! at all. The start reads it and, if part of it says nothing any more, writes it anew.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard},
};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::{Book, Changed, Entry, shelves::Shelves};
use crate::store::{
    StoreError,
    frame::{self, HEADER_BYTES, RECORD_BYTES_MAX},
    journal::disk::{Disk, DiskFile},
};

/// The file.
pub(super) const FILE: &str = "book.log";
/// What a crash may leave of writing it anew.
const UNFINISHED: &str = "book.log.new";
/// The file as it was when something in the middle of it could not be read.
pub(super) const DAMAGED: &str = "book.log.damaged";
/// The form that is written: JSON, so that fields can be added.
const VERSION: u8 = 1;
/// It is written anew while the relay runs when more than this is wasted, and more than half of it.
const WASTE_BYTES: u64 = 4 << 20;
/// No value is longer: a change with what it replaced fits into a record, however it is escaped.
const VALUE_BYTES_MAX: usize = 1 << 20;
/// About how much is put into one record when the file is written anew.
const PART_BYTES: usize = 256 << 10;
/// About how long an item is beside its values.
const ITEM_BYTES: usize = 150;

/// What a record says.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Told {
    /// These changes were made.
    Written(Vec<Entry>),
    /// Written anew: these changes are in the history.
    Changes(Vec<Changed>),
    /// Written anew: these records are there.
    Records(Vec<Standing>),
}

/// A record as it is.
#[derive(Serialize, Deserialize)]
struct Standing {
    shelf: String,
    key: String,
    value: String,
}

/// The book in a directory.
pub struct FileBook(Arc<Shared>);

struct Shared {
    /// What readers see; nobody reads or writes a file while it is locked for writing.
    shelves: RwLock<Shelves>,
    writer: Mutex<Writer>,
}

/// Who writes the file.
struct Writer {
    disk: Arc<dyn Disk>,
    /// Opened when there is something to write.
    open: Option<Open>,
    /// The waste at which it is written anew: more than usual after that failed.
    waste_max: u64,
}

struct Open {
    file: Arc<dyn DiskFile>,
    /// How much of it counts, and is synced.
    length: u64,
    /// There may be something behind that, of a change that failed.
    torn: bool,
}

impl FileBook {
    /// Reads the book, and writes its file anew if part of it is waste.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if it cannot be read; [`StoreError::Damaged`] if a newer release wrote it.
    pub fn open(disk: Arc<dyn Disk>) -> Result<Self, StoreError> {
        let failed = |error: io::Error| unavailable("read", &error);
        disk.remove(UNFINISHED).map_err(failed)?;
        let bytes = disk.read(FILE).map_err(failed)?.unwrap_or_default();
        let mut shelves = Shelves::default();
        let read = read(&bytes, &mut |told, bytes| shelves.take(told, bytes))?;
        if read.damaged > 0 {
            disk.replace(DAMAGED, &bytes).map_err(failed)?;
            tracing::error!(
                bytes = read.damaged,
                "part of the book of links is damaged and left out; the file as it was is kept as {DAMAGED}"
            );
        }
        let torn = bytes.len() as u64 - read.length;
        if torn > 0 {
            tracing::warn!(bytes = torn, "cut off the end of a change of the book that was never acknowledged");
            disk.open(FILE).and_then(|file| file.truncate(read.length)).map_err(failed)?;
        }
        let mut writer = Writer { disk, open: None, waste_max: WASTE_BYTES };
        if shelves.wasted > 0 || read.damaged > 0 {
            shelves = writer.rewrite(&shelves).unwrap_or(shelves);
        }
        Ok(Self(Arc::new(Shared { shelves: RwLock::new(shelves), writer: Mutex::new(writer) })))
    }

    fn shelves(&self) -> RwLockReadGuard<'_, Shelves> {
        self.0.shelves.read().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Book for FileBook {
    fn get(&self, shelf: &str, key: &str) -> Option<Arc<str>> {
        self.shelves().get(shelf, key)
    }

    fn list(&self, shelf: &str) -> Vec<(String, Arc<str>)> {
        self.shelves().list(shelf)
    }

    async fn write(&self, entries: Vec<Entry>) -> Result<(), StoreError> {
        let shared = Arc::clone(&self.0);
        let written = tokio::task::spawn_blocking(move || shared.write(entries)).await;
        written.unwrap_or_else(|_| Err(StoreError::Unavailable("the relay is stopping".into())))
    }

    fn history(&self, shelf: &str, key: Option<&str>, max: usize) -> Result<Vec<Changed>, StoreError> {
        Ok(self.shelves().history(shelf, key, max))
    }
}

impl Shared {
    fn write(&self, entries: Vec<Entry>) -> Result<(), StoreError> {
        if entries.is_empty() {
            return Ok(());
        }
        let length = |entry: &Entry| entry.value.as_ref().map_or(0, String::len);
        let longest = entries.iter().map(length).max().unwrap_or_default();
        let told = Told::Written(entries);
        let frame = encode(&told);
        if longest > VALUE_BYTES_MAX || frame.len() - HEADER_BYTES > RECORD_BYTES_MAX {
            let (value, all) = (VALUE_BYTES_MAX >> 20, RECORD_BYTES_MAX >> 20);
            let bounds = format!("a record has at most {value} MiB, and what is written at once {all} MiB");
            return Err(StoreError::Unavailable(format!(
                "the book of links takes no more: {bounds}; write less at once"
            )));
        }
        // Held to the end, so that changes are made in memory in the order of the file.
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        writer.append(&frame)?;
        self.change(|shelves| shelves.take(told, frame.len() as u64));
        let shelves = self.shelves.read().unwrap_or_else(PoisonError::into_inner);
        let anew = writer.is_worth_writing_anew(shelves.wasted).then(|| writer.rewrite(&shelves)).flatten();
        drop(shelves);
        if let Some(anew) = anew {
            self.change(|shelves| *shelves = anew);
        }
        Ok(())
    }

    fn change(&self, change: impl FnOnce(&mut Shelves)) {
        change(&mut self.shelves.write().unwrap_or_else(PoisonError::into_inner));
    }
}

impl Shelves {
    /// Adds what a record of so many bytes says.
    fn take(&mut self, told: Told, bytes: u64) {
        let share = |count: usize| bytes / (count.max(1) as u64);
        match told {
            Told::Written(entries) => {
                let bytes = share(entries.len());
                entries.into_iter().for_each(|entry| self.apply(entry, bytes));
            }
            Told::Changes(changes) => {
                let bytes = share(changes.len());
                changes.into_iter().for_each(|changed| self.recall(changed, bytes));
            }
            Told::Records(records) => {
                let bytes = share(records.len());
                records.iter().for_each(|record| self.restore(&record.shelf, &record.key, &record.value, bytes));
            }
        }
    }

    /// A file that says all of this and nothing else.
    fn written_anew(&self) -> Vec<u8> {
        let mut file = Vec::new();
        let text = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        let changed = |changed: &Changed| text(&changed.entry.value) + text(&changed.before);
        in_parts(self.changes(), changed, |changes| file.extend(encode(&Told::Changes(changes))));
        let records = self.records().map(|(shelf, key, value)| Standing {
            shelf: shelf.to_owned(),
            key: key.to_owned(),
            value: value.to_owned(),
        });
        in_parts(records, |record| record.value.len(), |records| file.extend(encode(&Told::Records(records))));
        file
    }
}

impl Writer {
    /// The file, with nothing behind what counts.
    fn opened(&mut self) -> io::Result<&mut Open> {
        let open = match self.open.take() {
            Some(open) => open,
            None => {
                let file = self.disk.open(FILE)?;
                let read =
                    read(&self.disk.read(FILE)?.unwrap_or_default(), &mut |_, _| {}).map_err(io::Error::other)?;
                Open { torn: file.length()? > read.length, length: read.length, file }
            }
        };
        let open = self.open.insert(open);
        if open.torn {
            open.file.truncate(open.length)?;
            open.torn = false;
        }
        Ok(open)
    }

    /// Appends a frame, durably, or leaves the file as it was.
    fn append(&mut self, frame: &[u8]) -> Result<(), StoreError> {
        let failed = |error: io::Error| unavailable("written", &error);
        let open = self.opened().map_err(failed)?;
        match open.file.write_at(frame, open.length).and_then(|()| open.file.sync()) {
            Ok(()) => {
                open.length += frame.len() as u64;
                Ok(())
            }
            Err(error) => {
                open.torn = open.file.truncate(open.length).is_err();
                Err(failed(error))
            }
        }
    }

    fn is_worth_writing_anew(&self, wasted: u64) -> bool {
        let length = self.open.as_ref().map_or(0, |open| open.length);
        wasted > self.waste_max && wasted > length / 2
    }

    /// Writes the file anew without what says nothing any more, and returns what it says. If that fails, the old one goes on.
    fn rewrite(&mut self, shelves: &Shelves) -> Option<Shelves> {
        // Whichever is in its place afterwards is opened for the next change.
        self.open = None;
        let (content, mut anew) = (shelves.written_anew(), Shelves::default());
        let written = self.disk.replace(FILE, &content).map_err(|error| unavailable("written anew", &error));
        match written.and_then(|()| read(&content, &mut |told, bytes| anew.take(told, bytes))) {
            Ok(_) => {
                self.waste_max = WASTE_BYTES;
                Some(anew)
            }
            Err(error) => {
                self.waste_max = shelves.wasted + WASTE_BYTES;
                tracing::warn!(%error, "the file of the book keeps what it needs no more");
                None
            }
        }
    }
}

/// What was found in the file.
struct Read {
    /// Where its last whole record ends.
    length: u64,
    /// Bytes between records that are none.
    damaged: u64,
}

/// Hands every record to `each`, with its length. What is behind the last one was never acknowledged.
fn read(bytes: &[u8], each: &mut dyn FnMut(Told, u64)) -> Result<Read, StoreError> {
    let (mut at, mut damaged) = (0, 0);
    while let Some(next) = next_frame(bytes, at) {
        damaged += (next - at) as u64;
        let Some(frame) = frame::frame(&bytes[next..]) else { break };
        each(decode(frame)?, frame.len() as u64);
        at = next + frame.len();
    }
    Ok(Read { length: at as u64, damaged })
}

/// Where the next whole record begins, at `from` or behind something that is none.
fn next_frame(bytes: &[u8], from: usize) -> Option<usize> {
    let begins = |at: &usize| frame::frame(&bytes[*at..]).is_some();
    let looks_like_one =
        |at: &usize| bytes.get(at + HEADER_BYTES..).is_some_and(|rest| rest.starts_with(&[VERSION, b'{']));
    Some(from).filter(begins).or_else(|| (from + 1..bytes.len()).filter(looks_like_one).find(begins))
}

fn encode(told: &Told) -> Vec<u8> {
    let mut frame = frame::begin(VERSION);
    serde_json::to_writer(&mut frame, told).expect("writing into memory cannot fail");
    frame::seal(frame)
}

fn decode(frame: &[u8]) -> Result<Told, StoreError> {
    let newer = || {
        let how = "start that release again, or move data/book away: the links in it are then missing";
        StoreError::Damaged(format!("the book of links was written by a newer release; {how}"))
    };
    match frame[HEADER_BYTES] {
        VERSION => serde_json::from_slice(&frame[HEADER_BYTES + 1..]).map_err(|_| newer()),
        _ => Err(newer()),
    }
}

/// Hands items on in parts that fit into a record each.
fn in_parts<T>(items: impl Iterator<Item = T>, length: impl Fn(&T) -> usize, mut part: impl FnMut(Vec<T>)) {
    let (mut together, mut bytes) = (Vec::new(), 0);
    for item in items {
        bytes += length(&item) + ITEM_BYTES;
        together.push(item);
        if bytes >= PART_BYTES {
            part(std::mem::take(&mut together));
            bytes = 0;
        }
    }
    if !together.is_empty() {
        part(together);
    }
}

fn unavailable(what: &str, error: &io::Error) -> StoreError {
    StoreError::Unavailable(format!("the book of links cannot be {what}: {error}"))
}

#[cfg(test)]
mod tests;
