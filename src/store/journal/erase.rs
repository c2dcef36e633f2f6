//! Forgetting a person: everything that tells who it was is cut out of every record, and each record keeps its length, so
//! that all places stay good.
//!
//! 1. The committer records which events it is about, and skips what is queued of them (`Forgotten`).
//! 2. A new segment begins, so that all records about them are in full ones.
//! 3. Each of these segments is written anew beside the old one and put in its place; then its index is.
//! 4. The committer records that it is done (`Erased`).
//!
//! After a crash between 1 and 4, opening the journal does step 3 again. Doing it twice changes nothing.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    sync::{Arc, PoisonError, RwLock, atomic::Ordering},
};

use super::{
    Shared,
    book::{Book, Place, offset_of, place_at, segment_of},
    disk::Disk,
    index::{FullIndex, OpenIndex},
    log::{self, CHECKPOINT, FullSegment, Log, SegmentIndex, index_name, segment_name, unavailable},
    record::{self, Record},
};
use crate::{
    model::{Awaited, Context, IdentityKey, Properties, SealedEvent, SealedUser, Time, VisitorId},
    store::{Forget, StoreError},
};

/// Every event of the person, and the visitors these events name.
pub(super) fn events_of(shared: &Shared, forget: &Forget) -> Result<(Vec<Place>, Vec<VisitorId>), StoreError> {
    let visitors: HashSet<&VisitorId> = forget.visitors.iter().collect();
    let keys: HashSet<IdentityKey> = forget.keys.iter().copied().collect();
    let is_theirs = |event: &SealedEvent| {
        event.visitor_id.as_ref().is_some_and(|id| visitors.contains(id))
            || event.user.identity_keys().any(|key| keys.contains(&key))
    };
    let (mut places, mut named) = (BTreeSet::new(), BTreeSet::new());
    let files = shared.log().files()?;
    for (number, file, end) in files {
        log::walk(&*file, number, 0, end, |at, record| {
            if let Some((place, event)) = record.about(at).filter(|(_, event)| is_theirs(event)) {
                places.insert(place);
                named.extend(event.visitor_id);
            }
            true
        })?;
    }
    Ok((places.into_iter().collect(), named.into_iter().collect()))
}

/// What records that these events' person is forgotten, and how many deliveries are skipped with it.
pub(super) fn forget(book: &mut Book, at: Time, places: Vec<Place>) -> (Vec<Record>, u64) {
    let queued = |&place: &Place| book.queued_at(place).into_iter().map(move |destination| (destination, place));
    let skipped: Vec<_> = places.iter().flat_map(queued).collect();
    let count = skipped.len() as u64;
    (vec![Record::Forgotten { at, places, skipped }], count)
}

/// Whether a new segment, and with it a new checkpoint, has to begin first: one of the records is in the segment that is
/// written to, or the checkpoint may name the person as a visitor whose visit is waited for.
pub(super) fn needs_new_segment(shared: &Shared, places: &[Place]) -> Result<bool, StoreError> {
    let (open, targets) = {
        let log = shared.log();
        (log.open.number, targets(&log, places)?)
    };
    // Of the last full segment, the index or the checkpoint may still be on its way.
    if shared.checkpointed.load(Ordering::Acquire) != open {
        return Ok(true);
    }
    let mut awaited = Vec::new();
    for (&number, offsets) in &targets {
        for &offset in offsets {
            let record = match shared.read(place_at(number, offset)) {
                Err(StoreError::Damaged(_)) => continue,
                record => record?,
            };
            if number == open && without_person(record.clone(), places).is_some() {
                return Ok(true);
            }
            if let Record::Accepted { waits_for: Some(what), .. } = record {
                awaited.push(what);
            }
        }
    }
    let checkpoint = shared.disk.read(CHECKPOINT).map_err(|error| unavailable(&error))?.unwrap_or_default();
    let names = |awaited: &Awaited| {
        let text = awaited.text();
        checkpoint.windows(text.len()).any(|window| window == text.as_bytes())
    };
    Ok(awaited.iter().any(names))
}

/// Erases the person of these events from every full segment.
pub(super) fn erase(shared: &Shared, places: &[Place]) -> Result<(), StoreError> {
    let open = shared.log().open.number;
    let mut targets = targets(&shared.log(), places)?;
    // Only what says that they are to be forgotten can be in there.
    targets.remove(&open);
    for (number, offsets) in targets {
        let file = shared.log().full.get(&number).map(|segment| Arc::clone(&segment.file));
        let Some(file) = file else {
            return Err(StoreError::Unavailable("the segment to erase from is still written to".into()));
        };
        let segment = rewrite(shared.disk.as_ref(), number, &*file, &offsets, places)?;
        let mut log = shared.log.write().unwrap_or_else(PoisonError::into_inner);
        log.full.insert(number, Arc::new(segment));
    }
    Ok(())
}

/// Does it for a journal that is being opened, in the segment that is written to as well.
pub(super) fn erase_at_start(disk: &Arc<dyn Disk>, log: &mut Log, book: &Book) -> Result<(), StoreError> {
    let places: Vec<Place> = book.erasing.iter().copied().collect();
    for (number, offsets) in targets(log, &places)? {
        let open = number == log.open.number;
        let file = if open { Some(&log.open.file) } else { log.full.get(&number).map(|segment| &segment.file) };
        let Some(file) = file.map(Arc::clone) else { continue };
        let FullSegment { file, index } = rewrite(disk.as_ref(), number, &*file, &offsets, &places)?;
        if !open {
            log.full.insert(number, Arc::new(FullSegment { file, index }));
            continue;
        }
        log.open.file = file;
        log.open.index = reindex(&*log.open.file, number, log.open.length)?;
        // It is made when the segment is full.
        disk.remove(&index_name(number)).map_err(|error| unavailable(&error))?;
    }
    Ok(())
}

/// The records with something of these events' person, by segment.
fn targets(log: &Log, places: &[Place]) -> Result<BTreeMap<u32, Vec<u32>>, StoreError> {
    let mut targets: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for &place in places {
        for at in std::iter::once(place).chain(log.touching(place)?) {
            targets.entry(segment_of(at)).or_default().push(offset_of(at));
        }
    }
    for offsets in targets.values_mut() {
        offsets.sort_unstable();
        offsets.dedup();
    }
    Ok(targets)
}

/// Writes a segment anew without the person of these events. What is damaged stays as it is.
fn rewrite(
    disk: &dyn Disk,
    number: u32,
    file: &dyn super::disk::DiskFile,
    offsets: &[u32],
    places: &[Place],
) -> Result<FullSegment, StoreError> {
    let io = |error: std::io::Error| unavailable(&error);
    let mut bytes = vec![0; usize::try_from(file.length().map_err(io)?).unwrap_or(0)];
    let got = file.read_at(&mut bytes, 0).map_err(io)?;
    bytes.truncate(got);
    for &offset in offsets {
        let start = offset as usize;
        let Some(frame) = bytes.get(start..).and_then(record::frame) else { continue };
        let length = frame.len();
        let Some(cleared) = record::decode(frame).and_then(|record| without_person(record, places)) else { continue };
        let Some(cleared) = record::encode_padded(&cleared, length) else {
            return Err(StoreError::Damaged("a record grew when its person was erased".into()));
        };
        bytes[start..start + length].copy_from_slice(&cleared);
    }
    disk.replace(&segment_name(number), &bytes).map_err(io)?;
    let file = disk.open(&segment_name(number)).map_err(io)?;
    let index = reindex(&*file, number, bytes.len() as u64)?;
    disk.replace(&index_name(number), &index.encode()).map_err(io)?;
    let stored = FullIndex::open(disk.open(&index_name(number)).map_err(io)?).map_err(io)?;
    let index = stored.map_or(SegmentIndex::Memory(index), SegmentIndex::Disk);
    Ok(FullSegment { file, index: RwLock::new(index) })
}

fn reindex(file: &dyn super::disk::DiskFile, number: u32, length: u64) -> Result<OpenIndex, StoreError> {
    let mut index = OpenIndex::default();
    log::walk(file, number, 0, length, |at, record| {
        log::index_record(&mut index, &record, offset_of(at));
        true
    })?;
    Ok(index)
}

/// The record without what tells who the person is; `None` if it tells nothing.
fn without_person(record: Record, places: &[Place]) -> Option<Record> {
    Some(match record {
        Record::Accepted { event, deliveries, waits_for } => {
            let event = nobody(event, waits_for.is_some())?;
            Record::Accepted { event, deliveries, waits_for: None }
        }
        Record::Changed { place, event, deliveries, deadlines, completed } => {
            Record::Changed { place, event: nobody(event, false)?, deliveries, deadlines, completed }
        }
        Record::Settled { destination, at, attempt, steps, mark, mut exhibits } => {
            let before = exhibits.len();
            exhibits.retain(|(place, _)| !places.contains(place));
            if exhibits.len() == before {
                return None;
            }
            Record::Settled { destination, at, attempt, steps, mark, exhibits }
        }
        _ => return None,
    })
}

/// The event without its person: what it was, what it was worth and what it is known by stay. `None` if it names nobody,
/// unless `anyway`: a record of an older form that nothing is taken out of would only grow.
fn nobody(event: SealedEvent, anyway: bool) -> Option<SealedEvent> {
    let cleared = SealedEvent {
        visitor_id: None,
        joined_by: None,
        user: SealedUser::default(),
        context: Context::default(),
        properties: Properties::default(),
        ..event.clone()
    };
    (anyway || cleared != event).then_some(cleared)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{model::DestinationId, store::conformance};

    /// Records of older forms are a byte shorter than what is written now: what cannot shrink has to be left alone.
    #[test]
    fn a_record_that_names_nobody_is_left_as_it_is() {
        let bare = conformance::purchase("e", Time::from_secs(1));
        let cleared = nobody(bare.clone(), true).expect("is wanted");
        assert!(nobody(cleared.clone(), false).is_none());
        let accepted = |event, waits_for| Record::Accepted { event, deliveries: Vec::new(), waits_for };
        assert!(without_person(accepted(cleared.clone(), None), &[]).is_none());
        let awaited = VisitorId::new("v").ok().map(Awaited::Visit);
        assert!(without_person(accepted(cleared.clone(), awaited), &[]).is_some(), "whose visit it waits for goes");
        let named = SealedEvent { visitor_id: VisitorId::new("v").ok(), ..cleared };
        let deadlines = vec![(DestinationId(0), Time::default())];
        let changed = Record::Changed { place: 0, event: named, deliveries: Vec::new(), deadlines, completed: true };
        let erased = without_person(changed.clone(), &[]).expect("names somebody");
        assert!(record::encode(&erased).len() < record::encode(&changed).len());
    }
}
