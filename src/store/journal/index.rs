//! The index of one segment: which deduplication keys it holds, and which of its records are about which event.
//!
//! The segment that is written to has its index in memory. A full segment's index is a file, `NNNNNNNN.idx`: a header,
//! a Bloom filter, then both tables sorted, so that a lookup is a binary search by `pread` and only the filter stays in memory.

use std::{
    collections::{BTreeSet, HashMap},
    io,
    sync::Arc,
};

use super::{book::Place, disk::DiskFile, record::MARK};

const MAGIC: &[u8; 8] = b"crindex1";
/// Magic, number of keys, number of touches, filter bytes, lowest and highest place touched, checksum of all before it.
const HEADER_BYTES: usize = 8 + 8 * 5 + 4;
/// Key or event number, then the offset of the record.
const ROW_BYTES: usize = 12;
/// Gives about 1 % of false positives with seven probes.
const FILTER_BITS_PER_KEY: usize = 10;
const FILTER_PROBES: u64 = 7;

/// The index of the segment that is written to.
#[derive(Debug, Default)]
pub(super) struct OpenIndex {
    keys: HashMap<u64, u32>,
    touches: BTreeSet<(Place, u32)>,
}

impl OpenIndex {
    pub(super) fn add_key(&mut self, key: u64, offset: u32) {
        self.keys.insert(key, offset);
    }

    /// Notes that the record at `offset` is about the event at `place`.
    pub(super) fn touch(&mut self, place: Place, offset: u32) {
        self.touches.insert((place, offset));
    }

    pub(super) fn find(&self, key: u64) -> Option<u32> {
        self.keys.get(&key).copied()
    }

    pub(super) fn touching(&self, place: Place) -> Vec<u32> {
        self.touches.range((place, 0)..=(place, u32::MAX)).map(|&(_, offset)| offset).collect()
    }

    /// The index file of this index.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut keys: Vec<(u64, u32)> = self.keys.iter().map(|(&key, &offset)| (key, offset)).collect();
        keys.sort_unstable();
        let touches = &self.touches;
        let mut filter = vec![0_u8; (keys.len() * FILTER_BITS_PER_KEY).div_ceil(8).max(8)];
        for &(key, _) in &keys {
            for bit in probes(key, filter.len()) {
                filter[bit / 8] |= 1 << (bit % 8);
            }
        }
        // Marks lie above all places, and would make the bounds say nothing.
        let lowest = touches.first().map_or(u64::MAX, |&(place, _)| place);
        let highest = touches.range(..(MARK, 0)).next_back().map_or(0, |&(place, _)| place);
        let mut file = Vec::with_capacity(HEADER_BYTES + filter.len() + (keys.len() + touches.len()) * ROW_BYTES);
        file.extend_from_slice(MAGIC);
        for number in [keys.len() as u64, touches.len() as u64, filter.len() as u64, lowest, highest] {
            file.extend_from_slice(&number.to_le_bytes());
        }
        let mut checksum = crc32fast::Hasher::new();
        checksum.update(&file);
        checksum.update(&filter);
        file.extend_from_slice(&checksum.finalize().to_le_bytes());
        file.extend_from_slice(&filter);
        for (key, offset) in keys.into_iter().chain(touches.iter().copied()) {
            file.extend_from_slice(&key.to_le_bytes());
            file.extend_from_slice(&offset.to_le_bytes());
        }
        file
    }
}

/// The index of a full segment, on disk but for its filter.
pub(super) struct FullIndex {
    file: Arc<dyn DiskFile>,
    filter: Vec<u8>,
    keys: u64,
    touches: u64,
    lowest: Place,
    highest: Place,
}

impl FullIndex {
    /// Reads header and filter; `None` if the file is damaged or not whole: it is then made again from the segment.
    pub(super) fn open(file: Arc<dyn DiskFile>) -> io::Result<Option<Self>> {
        let mut header = [0; HEADER_BYTES];
        if file.read_at(&mut header, 0)? < HEADER_BYTES || &header[..8] != MAGIC {
            return Ok(None);
        }
        let number = |i: usize| u64::from_le_bytes(header[8 + i * 8..16 + i * 8].try_into().expect("eight bytes"));
        let (keys, touches, filter_bytes) = (number(0), number(1), number(2));
        let whole = HEADER_BYTES as u64 + filter_bytes + (keys + touches) * ROW_BYTES as u64;
        if file.length()? != whole {
            return Ok(None);
        }
        let mut filter = vec![0; usize::try_from(filter_bytes).unwrap_or(0)];
        file.read_at(&mut filter, HEADER_BYTES as u64)?;
        let mut checksum = crc32fast::Hasher::new();
        checksum.update(&header[..HEADER_BYTES - 4]);
        checksum.update(&filter);
        if checksum.finalize().to_le_bytes() != header[HEADER_BYTES - 4..] {
            return Ok(None);
        }
        Ok(Some(Self { filter, keys, touches, lowest: number(3), highest: number(4), file }))
    }

    /// The offset of the record that holds `key`.
    pub(super) fn find(&self, key: u64) -> io::Result<Option<u32>> {
        if !probes(key, self.filter.len()).all(|bit| self.filter[bit / 8] & 1 << (bit % 8) != 0) {
            return Ok(None);
        }
        let at = self.lower_bound(0, self.keys, key)?;
        let row = if at < self.keys { Some(self.row(at)?) } else { None };
        Ok(row.filter(|&(found, _)| found == key).map(|(_, offset)| offset))
    }

    /// The offsets of all records about the event at `place`.
    pub(super) fn touching(&self, place: Place) -> io::Result<Vec<u32>> {
        let mut offsets = Vec::new();
        if place < MARK && (place < self.lowest || place > self.highest) {
            return Ok(offsets);
        }
        let end = self.keys + self.touches;
        let mut at = self.lower_bound(self.keys, end, place)?;
        while at < end {
            let (touched, offset) = self.row(at)?;
            if touched != place {
                break;
            }
            offsets.push(offset);
            at += 1;
        }
        Ok(offsets)
    }

    fn lower_bound(&self, mut from: u64, mut to: u64, key: u64) -> io::Result<u64> {
        while from < to {
            let middle = from + (to - from) / 2;
            if self.row(middle)?.0 < key { from = middle + 1 } else { to = middle }
        }
        Ok(from)
    }

    fn row(&self, at: u64) -> io::Result<(u64, u32)> {
        let mut row = [0; ROW_BYTES];
        let offset = HEADER_BYTES as u64 + self.filter.len() as u64 + at * ROW_BYTES as u64;
        if self.file.read_at(&mut row, offset)? < ROW_BYTES {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "a segment's index ends early"));
        }
        let (key, offset) = row.split_at(8);
        Ok((
            u64::from_le_bytes(key.try_into().expect("eight bytes")),
            u32::from_le_bytes(offset.try_into().expect("four bytes")),
        ))
    }
}

/// The bits of a filter of `bytes` bytes that stand for `key`.
fn probes(key: u64, bytes: usize) -> impl Iterator<Item = usize> {
    let bits = (bytes * 8) as u64;
    let step = (key.rotate_left(32) ^ 0x9e37_79b9_7f4a_7c15) | 1;
    (0..FILTER_PROBES).map(move |i| usize::try_from(key.wrapping_add(step.wrapping_mul(i)) % bits).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::journal::disk::Disk as _;
    use crate::store::memory::SimulatedDisk;

    #[test]
    fn a_full_index_finds_what_the_open_one_held() {
        let mut open = OpenIndex::default();
        let key = |i: u64| i.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        for i in 0..5000_u32 {
            open.add_key(key(u64::from(i)), i);
            open.touch(u64::from(i / 2), i);
        }
        let disk = SimulatedDisk::default();
        disk.replace("1.idx", &open.encode()).expect("writes");
        let full = FullIndex::open(disk.open("1.idx").expect("opens")).expect("reads").expect("is whole");
        for i in 0..5000_u32 {
            assert_eq!(full.find(key(u64::from(i))).expect("reads"), Some(i));
        }
        let strangers = (10_000..20_000).filter(|&i| full.find(key(i)).expect("reads").is_some()).count();
        assert_eq!(strangers, 0, "the filter may err, the table does not");
        assert_eq!(full.touching(700).expect("reads"), [1400, 1401]);
        assert_eq!(full.touching(700).expect("reads"), open.touching(700));
        assert!(full.touching(99_999).expect("reads").is_empty());
    }

    #[test]
    fn a_damaged_index_is_not_believed() {
        let mut open = OpenIndex::default();
        open.add_key(7, 7);
        let whole = open.encode();
        for bytes in [&whole[..whole.len() - 1], &whole[..10], b""] {
            let disk = SimulatedDisk::default();
            disk.replace("1.idx", bytes).expect("writes");
            assert!(FullIndex::open(disk.open("1.idx").expect("opens")).expect("reads").is_none());
        }
        let mut flipped = whole.clone();
        flipped[HEADER_BYTES] ^= 0x55;
        let disk = SimulatedDisk::default();
        disk.replace("1.idx", &flipped).expect("writes");
        assert!(FullIndex::open(disk.open("1.idx").expect("opens")).expect("reads").is_none());
    }
}
