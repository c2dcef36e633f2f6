//! The committer: the one thread that writes the journal. It takes what waits, writes it in one piece, syncs once, applies
//! it to the book, and only then answers. While one sync runs, the next batch gathers. A fast disk would make for many small
//! batches, which cost more than they gain in time: under load the committer waits for a batch of the usual size, a
//! millisecond at most. While few requests come at once, none waits for another.

use std::{
    cell::{Cell, RefCell},
    collections::{HashMap, HashSet},
    io,
    sync::{Arc, PoisonError},
    thread,
    time::{Duration, Instant},
};

use tokio::sync::{mpsc, oneshot};

use super::{
    Content, Shared,
    book::{Book, Place, place_at, segment_of},
    deadlines,
    log::{self, OpenSegment, unavailable},
    record::{self, Record, RecordRef},
};
use crate::{
    model::{DestinationId, NewDelivery, NewEvent, NewState, SealedEvent, Time},
    store::{Accepted, Health, Settlement, Step, StoreError},
};

/// Requests in one durable write at most.
const GROUP_MAX: usize = 512;
/// Bytes in one durable write, about.
const GROUP_BYTES: usize = 4 << 20;
/// Under load a group begins this long after the last one, or as soon as it is as large as groups lately were. While
/// delivering on two cores that was about a third less CPU for an event (three benchmark runs against two without).
const GATHER: Duration = Duration::from_millis(1);
/// Groups that were lately as large as this are load.
const GATHER_FROM: usize = 8;
/// How often the waiting requests are counted meanwhile.
const NAP: Duration = Duration::from_micros(150);

/// How often it is said that nothing can be written.
const COMPLAIN_EVERY: Duration = Duration::from_secs(60);
/// How much must fit before a store that failed is trusted again.
const RECOVER_BYTES: usize = 64 << 10;

type Reply<T> = oneshot::Sender<Result<T, StoreError>>;

/// What the committer is asked to do.
pub(super) enum Op {
    Accept {
        events: Vec<Prepared>,
        reply: Reply<Vec<Accepted>>,
    },
    Complete {
        place: Place,
        completed: Box<NewEvent>,
        reply: Reply<()>,
    },
    Settle {
        settlement: Settlement,
        reply: Reply<usize>,
    },
    Register {
        names: Vec<String>,
        reply: Reply<Vec<DestinationId>>,
    },
    Retain {
        now: Time,
        reply: Reply<()>,
    },
    Recover {
        reply: Reply<()>,
    },
    /// Records what `decide` makes of the book at that moment; the answer is its number.
    Record {
        decide: Decide,
        reply: Reply<u64>,
    },
    /// Begins a new segment, and answers when the full one has its index and the book its checkpoint.
    Roll {
        reply: Reply<()>,
    },
}

/// Deliveries that end with what is being written.
pub(super) type Ended = HashSet<(DestinationId, Place)>;

/// What is to be recorded, and a number that tells the asker about it. Applying such a record changes only what is still
/// as the book said, so that nothing else in the same group can be in its way.
pub(super) type Decide = Box<dyn FnOnce(&mut Book, &Ended) -> (Vec<Record>, u64) + Send>;

/// An event, serialised by the task that brings it.
pub(super) struct Prepared {
    event: Box<NewEvent>,
    /// What the event is known by.
    keys: Vec<u64>,
    /// What its visitor may be found by.
    links: Vec<u64>,
    /// What a refund or restatement is found by.
    mark: Option<u64>,
    frame: Vec<u8>,
}

impl Prepared {
    pub(super) fn new(event: NewEvent) -> Self {
        let links = record::links(&event.event).map(|key| record::identity_key(&key)).collect();
        let (keys, mark) = (record::dedupe_keys(&event.event), record::mark_of(&event.event));
        Self { keys, links, mark, frame: accepted_frame(&event), event: Box::new(event) }
    }
}

fn accepted_frame(new: &NewEvent) -> Vec<u8> {
    let NewEvent { event, deliveries, waits_for } = new;
    record::encode(&RecordRef::Accepted { event, deliveries, waits_for })
}

/// A record on its way to the disk.
enum Staged {
    Accepted(Prepared),
    /// Boxed, as it is 26 times as large as the other kind, of which there are many more.
    Other(Box<Record>),
}

/// An answer that is due once the group is durable.
enum Due {
    Accepted(Vec<Accepted>, Reply<Vec<Accepted>>),
    Completed(Reply<()>),
    Settled(usize, Reply<usize>),
    Registered(Vec<DestinationId>, Reply<Vec<DestinationId>>),
    Recorded(u64, Reply<u64>),
}

/// What goes into one durable write.
#[derive(Default)]
pub(super) struct Group {
    staged: Vec<Staged>,
    /// New events of this group by key.
    keys: HashMap<u64, usize>,
    /// Changed events of this group by place.
    changes: HashMap<Place, usize>,
    /// Deliveries that end with this group.
    ended: Ended,
    due: Vec<Due>,
    bytes: usize,
}

impl Group {
    /// One record that nobody waits for.
    pub(super) fn of(record: Record) -> Self {
        Self { staged: vec![Staged::Other(Box::new(record))], ..Self::default() }
    }

    /// Forgets what was staged from `before` on: of a request either all of it is stored, or nothing.
    fn take_back(&mut self, before: usize) {
        self.staged.truncate(before);
        self.keys.retain(|_, index| *index < before);
        self.changes.retain(|_, index| *index < before);
    }
}

pub(super) struct Committer {
    pub(super) shared: Arc<Shared>,
    operations: mpsc::Receiver<Op>,
    /// Writes the index of the segment that was filled last, and the checkpoint.
    pub(super) background: Option<thread::JoinHandle<()>>,
    buffer: Vec<u8>,
    /// Since when the open segment is known to be written to.
    pub(super) opened: Cell<Option<Time>>,
    /// Whether it is to be full, however short it is.
    pub(super) old: Cell<bool>,
    /// When it was last said that nothing can be written.
    complained: Option<Instant>,
    /// Who waits for a new segment.
    pub(super) rolls: RefCell<Vec<Reply<()>>>,
}

impl Committer {
    pub(super) fn new(shared: Arc<Shared>, operations: mpsc::Receiver<Op>) -> Self {
        Self {
            shared,
            operations,
            background: None,
            buffer: Vec::new(),
            opened: Cell::default(),
            old: Cell::default(),
            complained: None,
            rolls: RefCell::default(),
        }
    }

    /// Works until every sender is gone.
    pub(super) fn run(mut self) {
        let (mut usual, mut last) = (0_usize, Instant::now());
        while let Some(first) = self.operations.blocking_recv() {
            while usual >= GATHER_FROM && self.operations.len() + 1 < usual && last.elapsed() < GATHER {
                thread::sleep(NAP);
            }
            last = Instant::now();
            let mut group = Group::default();
            self.stage(&mut group, first);
            while group.due.len() < GROUP_MAX && group.bytes < GROUP_BYTES {
                let Ok(next) = self.operations.try_recv() else { break };
                self.stage(&mut group, next);
            }
            // What was usual is forgotten slowly, or one thin group would end the gathering.
            usual = group.due.len().max(usual - usual.div_ceil(8));
            self.commit(group);
            let length = self.log(|log| log.open.length);
            if length >= self.shared.config.segment_bytes || (self.old.take() && length > 0) {
                self.roll();
            }
            self.roll_for_those_who_wait();
        }
        if let Some(background) = self.background.take() {
            // A panic of that thread was reported when it happened; the next start makes its files again.
            let _ended = background.join();
        }
    }

    pub(super) fn log<T>(&self, look: impl FnOnce(&log::Log) -> T) -> T {
        look(&self.shared.log.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Decides what `op` will do, or answers it if it can do nothing.
    fn stage(&self, group: &mut Group, op: Op) {
        match op {
            Op::Accept { events, reply } => {
                let before = group.staged.len();
                let answers = events.into_iter().map(|event| self.accept(group, event)).collect();
                match answers {
                    Ok(answers) => group.due.push(Due::Accepted(answers, reply)),
                    Err(error) => {
                        group.take_back(before);
                        answer(reply, Err(error));
                    }
                }
            }
            Op::Complete { place, completed, reply } => match self.change(group, place, *completed, true) {
                Ok(()) => group.due.push(Due::Completed(reply)),
                Err(error) => answer(reply, Err(error)),
            },
            Op::Settle { settlement, reply } => {
                let settled = self.settle(group, settlement);
                group.due.push(Due::Settled(settled, reply));
            }
            Op::Register { names, reply } => {
                let ids = self.register(group, names);
                group.due.push(Due::Registered(ids, reply));
            }
            Op::Record { decide, reply } => {
                let (records, number) = decide(&mut self.shared.book(), &group.ended);
                group.staged.extend(records.into_iter().map(|record| Staged::Other(Box::new(record))));
                group.due.push(Due::Recorded(number, reply));
            }
            Op::Roll { reply } => self.rolls.borrow_mut().push(reply),
            Op::Recover { reply } => answer(reply, self.recover().map_err(|error| unavailable(&error))),
            Op::Retain { now, reply } => answer(reply, self.retain(now).map_err(|error| unavailable(&error))),
        }
    }

    fn accept(&self, group: &mut Group, new: Prepared) -> Result<Accepted, StoreError> {
        if let Some(&index) = new.keys.iter().find_map(|key| group.keys.get(key)) {
            return merge_staged(group, index, &new);
        }
        for (nth, &key) in new.keys.iter().enumerate() {
            for place in self.log(|log| log.candidates(key))? {
                let Some((place, known)) = self.shared.event_at(place)? else { continue };
                let same = if nth == 0 {
                    known.event_id == new.event.event.event_id
                } else {
                    known.name == new.event.event.name
                        && record::business_key(&known) == record::business_key(&new.event.event)
                };
                let fresh = new.event.event.received_at.since(known.received_at) <= self.shared.config.dedupe;
                if !same || !fresh {
                    continue;
                }
                if known.name != new.event.event.name {
                    return Ok(Accepted::Conflict(known.name));
                }
                if restates(&known, &new.event.event) {
                    return Ok(Accepted::Restates(Box::new(known)));
                }
                let id = known.event_id;
                if self.shared.book().segments.get(&segment_of(place)).is_some_and(|segment| segment.pending > 0) {
                    self.change(group, place, *new.event, false)?;
                }
                return Ok(Accepted::Duplicate(id));
            }
        }
        let index = group.staged.len();
        group.keys.extend(new.keys.iter().map(|&key| (key, index)));
        group.bytes += new.frame.len();
        group.staged.push(Staged::Accepted(new));
        Ok(Accepted::New)
    }

    /// Gives the event at `place` more content: from its visit (`complete`), or from a second report of it.
    fn change(&self, group: &mut Group, place: Place, new: NewEvent, complete: bool) -> Result<(), StoreError> {
        let staged = group.changes.get(&place).copied();
        let staged = staged.and_then(|index| match &group.staged[index] {
            Staged::Other(record) => Content::of((**record).clone()).ok(),
            Staged::Accepted(_) => None,
        });
        let Content { event: mut current, deadlines: mut all } = match staged {
            Some(content) => content,
            None => self.shared.content(place)?,
        };
        // Most second reports add nothing: that is found out before anything else is read.
        if !complete && !current.fill_from(&new.event) {
            return Ok(());
        }
        let book = self.shared.book();
        let mut queued = book.queued_at(place);
        queued.retain(|destination| !group.ended.contains(&(*destination, place)));
        if queued.is_empty() {
            return Ok(());
        }
        let mut deliveries = Vec::new();
        let content = if complete {
            let mut completed = new.event;
            completed.fill_from(&current);
            let in_flight = |id: DestinationId| book.queues[usize::from(id.0)].in_flight(place);
            let open =
                |delivery: &NewDelivery| queued.contains(&delivery.destination) && !in_flight(delivery.destination);
            deliveries.extend(new.deliveries.into_iter().filter(open));
            completed
        } else {
            current
        };
        drop(book);
        for (destination, deadline) in deadlines(&deliveries) {
            match all.iter_mut().find(|(id, _)| *id == destination) {
                Some(known) => known.1 = deadline,
                None => all.push((destination, deadline)),
            }
        }
        group.ended.extend(deliveries.iter().filter(|d| over(d)).map(|d| (d.destination, place)));
        let index = group.staged.len();
        group.changes.insert(place, index);
        let record = Record::Changed { place, event: content, deliveries, deadlines: all, completed: complete };
        group.staged.push(Staged::Other(Box::new(record)));
        Ok(())
    }

    fn settle(&self, group: &mut Group, settlement: Settlement) -> usize {
        let Settlement { destination, at, attempt, steps, mark, exhibits } = settlement;
        let held: Vec<(Place, Step)> = {
            let mut book = self.shared.book();
            let queue = book.queue(destination);
            let holds = |(key, _): &(_, Step)| queue.holds(*key);
            steps.into_iter().filter(holds).map(|(key, step)| (key.event, step)).collect()
        };
        let held: Vec<(Place, Step)> =
            held.into_iter().filter(|(place, _)| !group.ended.contains(&(destination, *place))).collect();
        let settled = held.len();
        let over = held.iter().filter(|(_, step)| matches!(step, Step::Ended(_)));
        group.ended.extend(over.map(|&(place, _)| (destination, place)));
        if settled > 0 || mark.is_some() {
            let exhibits = exhibits.into_iter().map(|(key, exhibit)| (key.event, exhibit));
            let exhibits = exhibits.filter(|(place, _)| held.iter().any(|(settled, _)| settled == place)).collect();
            let record = Record::Settled { destination, at, attempt, steps: held, mark, exhibits };
            group.staged.push(Staged::Other(Box::new(record)));
        }
        settled
    }

    fn register(&self, group: &mut Group, wanted: Vec<String>) -> Vec<DestinationId> {
        let book = self.shared.book();
        let mut names = book.names.clone();
        let mut ids = Vec::with_capacity(wanted.len());
        let mut missed = Vec::new();
        for name in wanted {
            let index = names.iter().position(|known| *known == name).unwrap_or_else(|| {
                names.push(name);
                names.len() - 1
            });
            let id = DestinationId(u16::try_from(index).unwrap_or(u16::MAX));
            let counted = book.queues.get(index).map_or(0, |queue| queue.counts().sum());
            if counted < book.accepted {
                missed.push((id, book.accepted - counted));
            }
            ids.push(id);
        }
        if names != book.names || !missed.is_empty() {
            group.staged.push(Staged::Other(Box::new(Record::Destinations { names, missed })));
        }
        ids
    }

    /// Writes, syncs, applies, answers; or answers that it could not.
    pub(super) fn commit(&mut self, group: Group) {
        let Group { staged, due, .. } = group;
        // A group in which nothing is new, all duplicates say, writes nothing: the bytes of the last one must not count again.
        let written = if staged.is_empty() {
            self.buffer.clear();
            Ok(Vec::new())
        } else {
            self.write(&staged)
        };
        match written {
            Ok(offsets) => {
                self.apply(staged, &offsets);
                for due in due {
                    match due {
                        Due::Accepted(answers, reply) => answer(reply, Ok(answers)),
                        Due::Completed(reply) => answer(reply, Ok(())),
                        Due::Settled(count, reply) => answer(reply, Ok(count)),
                        Due::Registered(ids, reply) => answer(reply, Ok(ids)),
                        Due::Recorded(number, reply) => answer(reply, Ok(number)),
                    }
                }
            }
            Err(error) => {
                let error = unavailable(&error);
                for due in due {
                    match due {
                        Due::Accepted(_, reply) => answer(reply, Err(error.clone())),
                        Due::Completed(reply) => answer(reply, Err(error.clone())),
                        Due::Settled(_, reply) => answer(reply, Err(error.clone())),
                        Due::Registered(_, reply) => answer(reply, Err(error.clone())),
                        Due::Recorded(_, reply) => answer(reply, Err(error.clone())),
                    }
                }
            }
        }
    }

    /// Appends all frames in one piece and syncs. Returns where each begins. After an error the file is cut back to what
    /// was synced before, now or at the next try: nothing that was refused can come back.
    fn write(&mut self, staged: &[Staged]) -> io::Result<Vec<u32>> {
        let (file, length) = self.log(|log| (Arc::clone(&log.open.file), log.open.length));
        self.buffer.clear();
        let mut offsets = Vec::with_capacity(staged.len());
        for staged in staged {
            let offset = length + self.buffer.len() as u64;
            offsets.push(u32::try_from(offset).map_err(|_| io::Error::other("a segment outgrew its addresses"))?);
            match staged {
                Staged::Accepted(new) => self.buffer.extend_from_slice(&new.frame),
                Staged::Other(record) => self.buffer.extend_from_slice(&record::encode(&**record)),
            }
        }
        let mut health = self.shared.health.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let began = Instant::now();
        let attempt = (|| {
            if health != Health::Ok {
                file.truncate(length)?;
            }
            file.write_at(&self.buffer, length)?;
            file.sync()
        })();
        match &attempt {
            Ok(()) if health != Health::Ok => {
                tracing::info!("the event journal can be written again");
                health = Health::Ok;
            }
            Ok(()) => {}
            Err(error) => {
                // Every request tries: once a minute is loud enough.
                if health == Health::Ok || self.complained.is_none_or(|at| at.elapsed() >= COMPLAIN_EVERY) {
                    tracing::error!(%error, "the event journal cannot be written; nothing is acknowledged until it can");
                    self.complained = Some(Instant::now());
                }
                health = Health::Failed(error.to_string());
                // Frees what a full disk took. If this fails too, the next try begins with it.
                let _retried = file.truncate(length);
            }
        }
        *self.shared.health.lock().unwrap_or_else(PoisonError::into_inner) = health;
        attempt?;
        let metrics = &self.shared.metrics;
        metrics.flush.observe(began.elapsed().as_secs_f64());
        metrics.batch.observe(staged.len() as f64);
        metrics.commits.inc();
        metrics.bytes.inc_by(self.buffer.len() as u64);
        Ok(offsets)
    }

    /// Sees whether there is room again: writes where the next record will be, syncs, and takes it back.
    fn recover(&self) -> io::Result<()> {
        let (file, length) = self.log(|log| (Arc::clone(&log.open.file), log.open.length));
        file.write_at(&[0; RECOVER_BYTES], length)?;
        file.sync()?;
        file.truncate(length)?;
        let mut health = self.shared.health.lock().unwrap_or_else(PoisonError::into_inner);
        if *health != Health::Ok {
            tracing::info!("the event journal can be written again");
            *health = Health::Ok;
        }
        Ok(())
    }

    fn apply(&mut self, staged: Vec<Staged>, offsets: &[u32]) {
        let mut log = self.shared.log.write().unwrap_or_else(PoisonError::into_inner);
        let mut book = self.shared.book();
        let OpenSegment { number, length, index, .. } = &mut log.open;
        let mut wake = HashSet::new();
        for (staged, &offset) in staged.iter().zip(offsets) {
            let at = place_at(*number, offset);
            match staged {
                Staged::Accepted(Prepared { event, keys, links, mark, .. }) => {
                    for &key in keys.iter().chain(links) {
                        index.add_key(key, offset);
                    }
                    if let Some(mark) = *mark {
                        index.touch(mark, offset);
                    }
                    book.accept(at, &event.deliveries, event.waits_for.as_ref(), event.event.received_at);
                    wake.extend(event.deliveries.iter().map(|delivery| delivery.destination));
                }
                Staged::Other(record) => {
                    log::index_record(index, record, offset);
                    book.apply(record, at);
                    match &**record {
                        Record::Changed { deliveries, .. } => {
                            wake.extend(deliveries.iter().map(|delivery| delivery.destination));
                        }
                        Record::Requeued { destination, .. }
                        | Record::Spilled { to: destination, .. }
                        | Record::Steered { destination, .. } => {
                            wake.insert(*destination);
                        }
                        _ => {}
                    }
                }
            }
        }
        *length += self.buffer.len() as u64;
        drop((book, log));
        for destination in wake {
            self.shared.wake(destination).notify_one();
        }
        if self.buffer.capacity() > GROUP_BYTES {
            self.buffer = Vec::new();
        }
    }
}

/// A second report of an event that is in the same group: one record with what both say.
fn merge_staged(group: &mut Group, index: usize, new: &Prepared) -> Result<Accepted, StoreError> {
    let Some(Staged::Accepted(first)) = group.staged.get_mut(index) else {
        return Err(StoreError::Damaged("a key of the group leads to no event of it".into()));
    };
    if first.event.event.name != new.event.event.name {
        return Ok(Accepted::Conflict(first.event.event.name.clone()));
    }
    if restates(&first.event.event, &new.event.event) {
        return Ok(Accepted::Restates(Box::new(first.event.event.clone())));
    }
    if first.event.event.fill_from(&new.event.event) {
        // With the second report's transaction and identifiers.
        *first = Prepared::new((*first.event).clone());
        group.keys.extend(first.keys.iter().map(|&key| (key, index)));
    }
    Ok(Accepted::Duplicate(first.event.event.event_id.clone()))
}

/// Whether a second report gives the conversion another value. Only its first source may: two that count tax differently
/// would restate each other for ever.
fn restates(known: &SealedEvent, new: &SealedEvent) -> bool {
    let (before, after) = (known.money.as_ref(), new.money.as_ref());
    known.source == new.source
        && !known.name.is_change()
        && before.zip(after).is_some_and(|(before, after)| before != after)
}

/// Whether a delivery starts ended.
fn over(delivery: &NewDelivery) -> bool {
    !matches!(delivery.state, NewState::Queued { .. })
}

/// Whoever asked may have gone away; the work is done all the same.
fn answer<T>(reply: Reply<T>, result: Result<T, StoreError>) {
    let _gone = reply.send(result);
}
