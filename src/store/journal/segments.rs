//! Where a segment ends: the next one begins, the full one gets its index, the book its checkpoint, and what is past its
//! retention goes.

use std::{
    io,
    sync::{Arc, PoisonError, RwLock, atomic::Ordering},
    thread,
    time::Duration,
};

use super::{
    commit::{Committer, Group},
    index::{FullIndex, OpenIndex},
    log::{CHECKPOINT, FullSegment, OpenSegment, SegmentIndex, index_name, segment_name},
    record::Record,
};
use crate::{model::Time, store::StoreError};

/// A segment is written to for this long at most.
const SEGMENT_AGE_MAX: Duration = Duration::from_secs(86_400);

impl Committer {
    /// Begins a new segment. The full one gets its index file, and the book its checkpoint, beside the work.
    pub(super) fn roll(&mut self) {
        if let Some(background) = self.background.take() {
            let _ended = background.join();
        }
        let next = self.log(|log| log.open.number) + 1;
        let file = match self.shared.disk.open(&segment_name(next)) {
            Ok(file) => file,
            Err(error) => {
                tracing::warn!(%error, "no new journal segment can be made; the present one goes on");
                return;
            }
        };
        self.opened.set(None);
        let snapshot = self.shared.book().snapshot(next);
        let segment = {
            let mut log = self.shared.log.write().unwrap_or_else(PoisonError::into_inner);
            let fresh = OpenSegment { number: next, file, length: 0, index: OpenIndex::default() };
            let full = std::mem::replace(&mut log.open, fresh);
            let index = RwLock::new(SegmentIndex::Memory(full.index));
            let segment = Arc::new(FullSegment { file: full.file, index });
            log.full.insert(full.number, Arc::clone(&segment));
            segment
        };
        // So that every segment tells which destination each number means, whatever becomes of the others.
        let names = self.shared.book().names.clone();
        let record = Record::Destinations { names, missed: Vec::new() };
        self.commit(Group::of(record));
        let (disk, shared) = (Arc::clone(&self.shared.disk), Arc::clone(&self.shared));
        let work = move || {
            let saved = (|| {
                let bytes = match &*segment.index.read().unwrap_or_else(PoisonError::into_inner) {
                    SegmentIndex::Memory(index) => index.encode(),
                    SegmentIndex::Disk(_) => return Ok(()),
                };
                disk.replace(&index_name(next - 1), &bytes)?;
                if let Some(stored) = FullIndex::open(disk.open(&index_name(next - 1))?)? {
                    *segment.index.write().unwrap_or_else(PoisonError::into_inner) = SegmentIndex::Disk(stored);
                }
                disk.replace(CHECKPOINT, &snapshot)?;
                shared.checkpointed.store(next, Ordering::Release);
                Ok::<_, io::Error>(())
            })();
            if let Err(error) = saved {
                tracing::warn!(%error, "no checkpoint could be written; a restart will read more of the journal");
            }
        };
        match thread::Builder::new().name("checkpoint".into()).spawn(work) {
            Ok(thread) => self.background = Some(thread),
            Err(error) => tracing::warn!(%error, "no checkpoint could be written; a restart will read more"),
        }
    }

    /// Begins a new segment if anybody asked for one, and answers when the full one has its files.
    pub(super) fn roll_for_those_who_wait(&mut self) {
        let waiting = self.rolls.take();
        if waiting.is_empty() {
            return;
        }
        let rolled = self.roll_and_wait();
        for reply in waiting {
            let failure = StoreError::Unavailable("no new journal segment could be made".into());
            let _gone = reply.send(if rolled { Ok(()) } else { Err(failure) });
        }
    }

    /// Begins a new segment, and waits for the files of the full one. Whether both are there.
    pub(super) fn roll_and_wait(&mut self) -> bool {
        let next = self.log(|log| log.open.number) + 1;
        self.roll();
        if let Some(background) = self.background.take() {
            let _ended = background.join();
        }
        self.shared.checkpointed.load(Ordering::Acquire) == next
    }

    /// Deletes segments from the oldest on, as far as the checkpoint on disk covers them and nothing in them is queued or inside its retention.
    pub(super) fn retain(&self, now: Time) -> io::Result<()> {
        let config = &self.shared.config;
        // Retention goes by segments: with little traffic one would be written to for ever.
        let opened = self.opened.get().unwrap_or(now);
        self.opened.set(Some(opened));
        self.old.set(now.since(opened) >= SEGMENT_AGE_MAX);
        let checkpointed = self.shared.checkpointed.load(Ordering::Acquire);
        let numbers: Vec<u32> = self.log(|log| log.full.keys().copied().filter(|&n| n < checkpointed).collect());
        for number in numbers {
            let state = self.shared.book().segments.get(&number).cloned().unwrap_or_default();
            let kept = if state.dead > 0 { config.dead_letters } else { config.delivered };
            if state.pending > 0 || state.last.plus(kept.max(config.dedupe)) > now {
                break;
            }
            self.shared.log.write().unwrap_or_else(PoisonError::into_inner).full.remove(&number);
            self.shared.book().forget_segment(number);
            self.shared.disk.remove(&segment_name(number))?;
            self.shared.disk.remove(&index_name(number))?;
            tracing::info!(segment = number, "deleted a journal segment past its retention");
        }
        Ok(())
    }
}
