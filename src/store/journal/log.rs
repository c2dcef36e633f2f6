//! The segments: reading records by place, finding events by key, and opening what a crash left.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    sync::{Arc, PoisonError, RwLock},
};

use super::{
    book::{Book, Place, offset_of, place_at, segment_of},
    disk::{Disk, DiskFile},
    index::{FullIndex, OpenIndex},
    record::{self, HEADER_BYTES, Record},
};
use crate::store::StoreError;

/// The file that holds the book as of the start of a segment.
pub(super) const CHECKPOINT: &str = "checkpoint";
/// What one read brings in.
const READ_BYTES: usize = 256 << 10;
/// What replay holds in memory of a segment.
const SCAN_BYTES: usize = 4 << 20;
/// What is held in memory of a segment that is looked through beside the work.
const WALK_BYTES: usize = 1 << 20;
/// A single record is read with this much first.
const RECORD_READ_BYTES: usize = 4 << 10;

/// A segment's number, its file, and how much of that counts.
pub(super) type SegmentFile = (u32, Arc<dyn DiskFile>, u64);

/// All segments.
pub(super) struct Log {
    pub(super) open: OpenSegment,
    pub(super) full: BTreeMap<u32, Arc<FullSegment>>,
}

/// The segment that is written to. `length` is synced; what may be behind it does not count.
pub(super) struct OpenSegment {
    pub(super) number: u32,
    pub(super) file: Arc<dyn DiskFile>,
    pub(super) length: u64,
    pub(super) index: OpenIndex,
}

/// A segment that is only read.
pub(super) struct FullSegment {
    pub(super) file: Arc<dyn DiskFile>,
    pub(super) index: RwLock<SegmentIndex>,
}

/// In memory until its file is written.
pub(super) enum SegmentIndex {
    Memory(OpenIndex),
    Disk(FullIndex),
}

impl SegmentIndex {
    fn find(&self, key: u64) -> io::Result<Option<u32>> {
        match self {
            Self::Memory(index) => Ok(index.find(key)),
            Self::Disk(index) => index.find(key),
        }
    }

    fn touching(&self, place: Place) -> io::Result<Vec<u32>> {
        match self {
            Self::Memory(index) => Ok(index.touching(place)),
            Self::Disk(index) => index.touching(place),
        }
    }
}

/// A stretch of a segment in memory, so that neighbouring records cost one read.
#[derive(Default)]
pub(super) struct Window {
    segment: u32,
    start: u64,
    bytes: Vec<u8>,
}

pub(super) fn segment_name(number: u32) -> String {
    format!("{number:08}.log")
}

pub(super) fn index_name(number: u32) -> String {
    format!("{number:08}.idx")
}

fn number_of(name: &str, extension: &str) -> Option<u32> {
    name.strip_suffix(extension).filter(|stem| stem.len() == 8).and_then(|stem| stem.parse().ok())
}

pub(super) fn unavailable(error: &io::Error) -> StoreError {
    StoreError::Unavailable(error.to_string())
}

impl Log {
    /// Opens every segment, restores the book from the checkpoint and replays what came after it. Returns the first
    /// segment that the checkpoint does not cover, too.
    pub(super) fn open(disk: &Arc<dyn Disk>) -> Result<(Self, Book, u32), StoreError> {
        let io = |error: io::Error| unavailable(&error);
        let names = disk.list().map_err(io)?;
        let mut numbers: Vec<u32> = names.iter().filter_map(|name| number_of(name, ".log")).collect();
        numbers.sort_unstable();
        for orphan in names.iter().filter_map(|name| number_of(name, ".idx")).filter(|n| !numbers.contains(n)) {
            disk.remove(&index_name(orphan)).map_err(io)?;
        }
        let checkpoint = disk.read(CHECKPOINT).map_err(io)?;
        let restored = checkpoint.as_deref().map(Book::restore);
        let (mut book, next) = match restored {
            None => (Book::default(), 0),
            Some(Some(restored)) => restored,
            // Without it the counts of segments that retention deleted are gone; everything queued is still in segments.
            Some(None) => {
                tracing::error!("the checkpoint is damaged; every segment is read again, older counts are lost");
                (Book::default(), 0)
            }
        };
        let there: BTreeSet<u32> = numbers.iter().copied().collect();
        let last = numbers.pop().unwrap_or(next.max(1));
        let mut full = BTreeMap::new();
        for number in numbers {
            let file = disk.open(&segment_name(number)).map_err(io)?;
            let index = if number < next { stored_index(disk.as_ref(), number).map_err(io)? } else { None };
            let index = match index {
                Some(index) => SegmentIndex::Disk(index),
                None => {
                    let replayed = if number < next { None } else { Some(&mut book) };
                    let (index, _) = scan(&*file, number, replayed, false)?;
                    disk.replace(&index_name(number), &index.encode()).map_err(io)?;
                    stored_index(disk.as_ref(), number)
                        .map_err(io)?
                        .map_or(SegmentIndex::Memory(index), SegmentIndex::Disk)
                }
            };
            full.insert(number, Arc::new(FullSegment { file, index: RwLock::new(index) }));
        }
        let file = disk.open(&segment_name(last)).map_err(io)?;
        let (index, length) = scan(&*file, last, (last >= next).then_some(&mut book), true)?;
        // Retention deleted them after the checkpoint; what ended their last deliveries had to be read first.
        let deleted: Vec<u32> = book.segments.keys().copied().filter(|n| !there.contains(n) && *n != last).collect();
        deleted.into_iter().for_each(|number| book.forget_segment(number));
        let torn = file.length().map_err(io)?.saturating_sub(length);
        if torn > 0 {
            tracing::warn!(bytes = torn, segment = last, "cut off the end of a write that was never acknowledged");
            file.truncate(length).map_err(io)?;
        }
        Ok((Self { open: OpenSegment { number: last, file, length, index }, full }, book, next))
    }

    /// Places that may hold the event of a key, newest first.
    pub(super) fn candidates(&self, key: u64) -> Result<Vec<Place>, StoreError> {
        let mut places = Vec::new();
        places.extend(self.open.index.find(key).map(|offset| place_at(self.open.number, offset)));
        for (&number, segment) in self.full.iter().rev() {
            let index = segment.index.read().unwrap_or_else(PoisonError::into_inner);
            let found = index.find(key).map_err(|error| unavailable(&error))?;
            places.extend(found.map(|offset| place_at(number, offset)));
        }
        Ok(places)
    }

    /// Places of the records about an event after its first one, oldest first.
    pub(super) fn touching(&self, place: Place) -> Result<Vec<Place>, StoreError> {
        self.touching_from(segment_of(place), place)
    }

    fn touching_from(&self, first: u32, place: Place) -> Result<Vec<Place>, StoreError> {
        let mut places = Vec::new();
        for (&number, segment) in self.full.range(first..) {
            let index = segment.index.read().unwrap_or_else(PoisonError::into_inner);
            let offsets = index.touching(place).map_err(|error| unavailable(&error))?;
            places.extend(offsets.into_iter().map(|offset| place_at(number, offset)));
        }
        let open = self.open.index.touching(place).into_iter();
        places.extend(open.map(|offset| place_at(self.open.number, offset)));
        Ok(places)
    }

    /// Places of the records that hold an event with this mark, oldest first; there may be several of one event.
    pub(super) fn marked(&self, mark: u64) -> Result<Vec<Place>, StoreError> {
        self.touching_from(0, mark)
    }

    /// Every segment with its file and how much of it counts, oldest first.
    pub(super) fn files(&self) -> Result<Vec<SegmentFile>, StoreError> {
        let full = self.full.iter().map(|(&number, segment)| {
            let length = segment.file.length().map_err(|error| unavailable(&error))?;
            Ok((number, Arc::clone(&segment.file), length))
        });
        let open = (self.open.number, Arc::clone(&self.open.file), self.open.length);
        full.chain(std::iter::once(Ok(open))).collect()
    }

    /// The segment that `place` is in.
    pub(super) fn file(&self, place: Place) -> Result<Arc<dyn DiskFile>, StoreError> {
        let number = segment_of(place);
        if number == self.open.number {
            return Ok(Arc::clone(&self.open.file));
        }
        let full = self.full.get(&number).map(|segment| Arc::clone(&segment.file));
        full.ok_or_else(|| StoreError::Damaged(format!("segment {number} is gone")))
    }
}

impl Window {
    /// The record at `place`, from memory if it is in there, else from the segment that `file` finds.
    pub(super) fn read(
        &mut self,
        place: Place,
        file: impl Fn(Place) -> Result<Arc<dyn DiskFile>, StoreError>,
    ) -> Result<Record, StoreError> {
        if self.find(place).is_none() {
            let (file, offset) = (file(place)?, u64::from(offset_of(place)));
            self.bytes.resize(READ_BYTES, 0);
            let got = file.read_at(&mut self.bytes, offset).map_err(|error| unavailable(&error))?;
            self.bytes.truncate(got);
            (self.segment, self.start) = (segment_of(place), offset);
        }
        match self.find(place) {
            Some(from) => parse(&self.bytes[from..], place),
            None => read_record(&*file(place)?, place), // larger than a window, or damaged
        }
    }

    fn find(&self, place: Place) -> Option<usize> {
        let from = usize::try_from(u64::from(offset_of(place)).checked_sub(self.start)?).ok()?;
        let rest = self.bytes.get(from..)?;
        (self.segment == segment_of(place) && record::frame_bytes(rest)? <= rest.len()).then_some(from)
    }
}

/// The record at `place`, which is in `file`.
pub(super) fn read_record(file: &dyn DiskFile, place: Place) -> Result<Record, StoreError> {
    let mut bytes = vec![0; RECORD_READ_BYTES];
    let offset = u64::from(offset_of(place));
    let mut got = file.read_at(&mut bytes, offset).map_err(|error| unavailable(&error))?;
    if let Some(whole) = record::frame_bytes(&bytes[..got]).filter(|&whole| whole > got) {
        bytes.resize(whole, 0);
        got = file.read_at(&mut bytes, offset).map_err(|error| unavailable(&error))?;
    }
    parse(&bytes[..got], place)
}

/// Adds a record to an index: the keys and the mark of an event, and which records it is about.
pub(super) fn index_record(index: &mut OpenIndex, record: &Record, offset: u32) {
    match record {
        Record::Accepted { event, .. } => {
            for key in record::keys(event) {
                index.add_key(key, offset);
            }
            if let Some(mark) = record::mark_of(event) {
                index.touch(mark, offset);
            }
        }
        // A second report, or a lookup, may have brought the transaction: from now on the event is known by that too.
        Record::Changed { place, event, .. } => {
            index.touch(*place, offset);
            for key in record::keys(event) {
                index.add_key(key, offset);
            }
            if let Some(mark) = record::mark_of(event) {
                index.touch(mark, offset);
            }
        }
        Record::Settled { steps, .. } => steps.iter().for_each(|(place, _)| index.touch(*place, offset)),
        Record::Requeued { deliveries, .. } => deliveries.iter().for_each(|again| index.touch(again.place, offset)),
        Record::Spilled { deliveries, .. } => deliveries.iter().for_each(|(place, _)| index.touch(*place, offset)),
        Record::Discarded { places, .. } | Record::Forgotten { places, .. } => {
            places.iter().for_each(|place| index.touch(*place, offset));
        }
        Record::Reported { receipt, .. } => index.touch(*receipt, offset),
        Record::Destinations { .. } | Record::Steered { .. } | Record::Erased { .. } => {}
    }
}

/// Reads the whole records of a segment between two offsets, in their order, until `see` says that it is enough. Damaged
/// ones are left out.
pub(super) fn walk(
    file: &dyn DiskFile,
    number: u32,
    from: u64,
    end: u64,
    mut see: impl FnMut(Place, Record) -> bool,
) -> Result<(), StoreError> {
    let (mut window, mut start, mut at) = (Vec::new(), from, 0);
    loop {
        let place = start + at as u64;
        if place >= end {
            return Ok(());
        }
        let Some(frame) = record::frame(&window[at..]) else {
            let wanted = record::frame_bytes(&window[at..]).unwrap_or(0).max(WALK_BYTES);
            let more = read_from(file, place, wanted)?;
            let grown = more.len() > window.len() - at;
            (window, start, at) = (more, place, 0);
            if grown {
                continue;
            }
            let Some((next, _)) = resume(file, place)? else { return Ok(()) };
            (window, start) = (Vec::new(), next);
            continue;
        };
        let offset = u32::try_from(place).map_err(|_| StoreError::Damaged(format!("segment {number} is too long")))?;
        let bytes = frame.len();
        if let Some(record) = record::decode(frame)
            && !see(place_at(number, offset), record)
        {
            return Ok(());
        }
        at += bytes;
    }
}

fn parse(bytes: &[u8], place: Place) -> Result<Record, StoreError> {
    record::frame(bytes).and_then(record::decode).ok_or_else(|| {
        StoreError::Damaged(format!("the record at {}+{} fails its checksum", segment_of(place), offset_of(place)))
    })
}

fn stored_index(disk: &dyn Disk, number: u32) -> io::Result<Option<FullIndex>> {
    if disk.list()?.contains(&index_name(number)) { FullIndex::open(disk.open(&index_name(number))?) } else { Ok(None) }
}

/// Reads a segment from its start, adds it to `book`, and returns its index and where its valid records end.
///
/// A record that fails its checksum with valid ones behind it is damage: it is reported and left out. At the end of the
/// segment that was written to last, it is the torn end of a write that nobody was told about.
fn scan(
    file: &dyn DiskFile,
    number: u32,
    mut book: Option<&mut Book>,
    last: bool,
) -> Result<(OpenIndex, u64), StoreError> {
    let mut index = OpenIndex::default();
    // A stretch of the segment in memory, where it begins in the file, and how far it is read.
    let (mut window, mut start, mut at) = (Vec::new(), 0_u64, 0);
    loop {
        let Some(frame) = record::frame(&window[at..]) else {
            let place = start + at as u64;
            let wanted = record::frame_bytes(&window[at..]).unwrap_or(0).max(SCAN_BYTES);
            if window.len() - at < wanted {
                let more = read_from(file, place, wanted)?;
                let grown = more.len() > window.len() - at;
                (window, start, at) = (more, place, 0);
                if grown {
                    continue;
                }
            }
            let Some((next, empty)) = resume(file, place)? else { break };
            // Some versions left room behind that nothing was ever written to.
            if !empty {
                let bytes = next - place;
                tracing::error!(segment = number, offset = place, bytes, "damaged records are left out");
            }
            (window, start, at) = (Vec::new(), next, 0);
            continue;
        };
        let offset = start + at as u64;
        let offset = u32::try_from(offset).map_err(|_| StoreError::Damaged(format!("segment {number} is too long")))?;
        let Some(record) = record::decode(frame) else {
            let message = "holds a record of another version of conversion-relay; use the version that wrote it";
            return Err(StoreError::Damaged(format!("segment {number} {message}")));
        };
        index_record(&mut index, &record, offset);
        if let Some(book) = book.as_deref_mut() {
            book.apply(&record, place_at(number, offset));
        }
        at += frame.len();
    }
    let end = start + at as u64;
    if !last && end < file.length().map_err(|error| unavailable(&error))? {
        tracing::error!(segment = number, offset = end, "the end of a full segment is damaged");
    }
    Ok((index, end))
}

/// Up to `most` bytes from `offset` on.
fn read_from(file: &dyn DiskFile, offset: u64, most: usize) -> Result<Vec<u8>, StoreError> {
    let left = file.length().map_err(|error| unavailable(&error))?.saturating_sub(offset);
    let mut bytes = vec![0; usize::try_from(left).unwrap_or(usize::MAX).min(most)];
    let got = file.read_at(&mut bytes, offset).map_err(|error| unavailable(&error))?;
    bytes.truncate(got);
    Ok(bytes)
}

/// Where the next valid record is after what is none at `from`, and whether there are only zeros before it.
fn resume(file: &dyn DiskFile, from: u64) -> Result<Option<(u64, bool)>, StoreError> {
    let (mut at, mut empty) = (from, true);
    loop {
        let bytes = read_from(file, at, WALK_BYTES)?;
        if bytes.len() <= HEADER_BYTES {
            return Ok(None);
        }
        let starts = bytes.len() - HEADER_BYTES;
        for offset in 0..starts {
            let here = at + offset as u64;
            let plausible = here > from && (1..=record::VERSION).contains(&bytes[offset + HEADER_BYTES]);
            if plausible && let Some(length) = record::frame_bytes(&bytes[offset..]) {
                let whole = offset + length <= bytes.len();
                let beyond = if whole { Vec::new() } else { read_from(file, here, length)? };
                if record::frame(if whole { &bytes[offset..] } else { &beyond }).is_some() {
                    return Ok(Some((here, empty)));
                }
            }
            empty &= bytes[offset] == 0;
        }
        at += starts as u64;
    }
}
