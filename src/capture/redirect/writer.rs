//! The one that writes: judges hits in the order they came, appends their rows at once, and tells the pipeline of visitors.

use std::{
    collections::HashSet,
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{mpsc, watch},
    time::Instant,
};

use super::{Config, Hit, Message, Metrics, Tools};
use crate::{
    capture::truth::{Fingerprints, Judge, Sighting},
    model::{Choice, Click, ClickVerdict, Clock, Observation, Time},
    pipeline::Pipeline,
    store::{Amendment, ClickStore, StoreError},
    tracking::drift::Drift,
};

/// Hits in one write at most.
pub(super) const BATCH_MAX: usize = 512;
/// How long a batch gathers: waking up and writing for each hit alone would cost more than the redirects.
const GATHER: Duration = Duration::from_millis(5);
/// Rows are brought to the disk at most this often.
const SYNC_EVERY: Duration = Duration::from_secs(1);
/// How long a write that failed is waited with.
const RETRY_EVERY: Duration = Duration::from_secs(1);
/// Visitors that are stored together; more at once cost memory (store/sled).
const TOGETHER_MAX: usize = 128;
/// Batches of visitors that wait to be stored.
const VISITORS_WAITING: usize = 16;

/// Writes what comes of links.
pub struct Writer {
    waiting: mpsc::Receiver<Message>,
    desk: Desk,
    pipeline: Arc<Pipeline>,
    require_consent: bool,
}

/// What a batch is written with.
struct Desk {
    clicks: Arc<dyn ClickStore>,
    drift: Option<Arc<Drift>>,
    judge: Judge,
    fingerprints: Arc<Fingerprints>,
    clock: Arc<dyn Clock>,
    metrics: Metrics,
    failing: Arc<AtomicBool>,
}

/// What is to be written of a batch.
#[derive(Default)]
struct Batch {
    rows: Vec<Click>,
    amendments: Vec<Amendment>,
    oldest: Option<Time>,
}

impl Writer {
    pub(super) fn new(
        config: &Config,
        tools: &Tools,
        waiting: mpsc::Receiver<Message>,
        fingerprints: Arc<Fingerprints>,
        failing: Arc<AtomicBool>,
    ) -> Self {
        let desk = Desk {
            clicks: Arc::clone(&tools.clicks),
            drift: tools.drift.clone(),
            judge: Judge::new(config.duplicate_window),
            fingerprints,
            clock: Arc::clone(&tools.clock),
            metrics: tools.metrics.clone(),
            failing,
        };
        Self { waiting, desk, pipeline: Arc::clone(&tools.pipeline), require_consent: config.require_consent }
    }

    /// Writes until everybody has dropped the links and all is written; `stopped` ends waiting for a store that fails.
    ///
    /// # Errors
    /// None: what cannot be written is counted.
    pub async fn run(self, stopped: watch::Receiver<bool>) -> io::Result<()> {
        let (visitors, seen) = mpsc::channel(VISITORS_WAITING);
        let unstored = Arc::new(AtomicBool::new(false));
        let Self { waiting, desk, pipeline, require_consent } = self;
        let keeper = Keeper {
            pipeline,
            require_consent,
            failing: Arc::clone(&unstored),
            metrics: desk.metrics.clone(),
            clock: Arc::clone(&desk.clock),
        };
        tokio::join!(write(waiting, desk, visitors, unstored, stopped.clone()), keeper.run(seen, stopped));
        Ok(())
    }
}

async fn write(
    mut waiting: mpsc::Receiver<Message>,
    mut desk: Desk,
    visitors: mpsc::Sender<Vec<Observation>>,
    unstored: Arc<AtomicBool>,
    stopped: watch::Receiver<bool>,
) {
    let mut sync_at: Option<Instant> = None;
    loop {
        let mut messages = Vec::with_capacity(64);
        let next = waiting.recv_many(&mut messages, BATCH_MAX);
        let received = match sync_at {
            Some(at) => tokio::time::timeout_at(at, next).await.ok(),
            None => Some(next.await),
        };
        if received.is_some_and(|count| count > 0 && count < BATCH_MAX) {
            tokio::time::sleep(GATHER).await;
            while messages.len() < BATCH_MAX
                && let Ok(message) = waiting.try_recv()
            {
                messages.push(message);
            }
        }
        // Nothing came in time, or nothing will come any more, or it is time anyhow.
        let sync = received.is_none_or(|count| count == 0) || sync_at.is_some_and(|at| at <= Instant::now());
        let stop = stopped.clone();
        let work = tokio::task::spawn_blocking(move || {
            let seen = desk.write(messages, &stop);
            if sync {
                desk.sync();
            }
            (desk, seen)
        });
        let seen = match work.await {
            Ok((back, seen)) => {
                desk = back;
                seen
            }
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        };
        if received == Some(0) {
            return;
        }
        sync_at = if sync { None } else { sync_at.or_else(|| Some(Instant::now() + SYNC_EVERY)) };
        let count = seen.len() as u64;
        if count == 0 {
            continue;
        }
        // A slow store is waited for, one that fails is not: rows are to be written all the same.
        let kept = if unstored.load(Ordering::Relaxed) {
            visitors.try_send(seen).is_ok()
        } else {
            visitors.send(seen).await.is_ok()
        };
        if !kept {
            desk.metrics.lose_visitors(count, desk.clock.now());
        }
    }
}

impl Desk {
    /// Judges and writes a batch; what it tells of visitors.
    fn write(&mut self, messages: Vec<Message>, stopped: &watch::Receiver<bool>) -> Vec<Observation> {
        let (mut batch, mut hits) = (Batch::default(), Vec::with_capacity(messages.len()));
        for message in messages {
            match message {
                Message::Hit(hit) => {
                    self.judge(&hit, &mut batch);
                    hits.push(hit);
                }
                Message::Landed(amendment) => batch.amend(amendment),
            }
        }
        let Batch { rows, amendments, oldest } = batch;
        if !rows.is_empty() && !self.persist(stopped, |clicks| clicks.append(&rows)) {
            self.metrics.lose(rows.len() as u64, self.clock.now());
        }
        if !amendments.is_empty() {
            // Without them the rows stand as they are.
            self.persist(stopped, |clicks| clicks.amend(&amendments));
        }
        if let Some(drift) = &self.drift {
            rows.iter().filter(|row| !row.head).for_each(|row| drift.note_all(&row.utm, row.at));
        }
        self.metrics.wrote(rows.iter().map(|row| row.verdict), oldest, self.clock.now());
        let clicked = |verdict| matches!(verdict, ClickVerdict::Human | ClickVerdict::Duplicate);
        // The same visitor on the same way tells nothing new.
        let (mut told, mut seen) = (HashSet::new(), Vec::new());
        for (hit, _) in hits.iter().zip(&rows).filter(|(_, row)| clicked(row.verdict)) {
            if told.insert((hit.visitor(), hit.location.as_ref(), hit.user_agent.as_str())) {
                seen.extend(hit.observation());
            }
        }
        seen
    }

    fn judge(&mut self, hit: &Hit, batch: &mut Batch) {
        let fingerprint = self.fingerprints.of(hit.client, &hit.user_agent, hit.at);
        let (id, link) = (hit.id.to_string(), &hit.link.key);
        let sighting = Sighting { id: &id, at: hit.at, link, who: &hit.who, fingerprint, signs: &hit.signs };
        let judged = self.judge.judge(&sighting);
        judged.amendments.into_iter().for_each(|amendment| batch.amend(amendment));
        batch.oldest = batch.oldest.or(Some(hit.at));
        batch.rows.push(hit.row(id, judged.verdict, judged.reasons, fingerprint));
    }

    /// Writes, again and again while the store fails and the relay is not stopped. Whether it was written.
    fn persist(
        &self,
        stopped: &watch::Receiver<bool>,
        write: impl Fn(&dyn ClickStore) -> Result<(), StoreError>,
    ) -> bool {
        while let Err(error) = write(&*self.clicks) {
            if !self.failing.swap(true, Ordering::Relaxed) {
                tracing::error!(%error, "rows of links cannot be written; trying again until they can");
            }
            if *stopped.borrow() {
                return false;
            }
            std::thread::sleep(RETRY_EVERY);
        }
        if self.failing.swap(false, Ordering::Relaxed) {
            tracing::info!("rows of links can be written again");
        }
        true
    }

    fn sync(&self) {
        if let Err(error) = self.clicks.sync() {
            tracing::warn!(%error, "rows of links were not brought to the disk; trying again with the next");
        }
    }
}

impl Batch {
    /// Changes the row while it is here, else later.
    fn amend(&mut self, amendment: Amendment) {
        match self.rows.iter_mut().rev().find(|row| row.id == amendment.id) {
            Some(row) => amendment.apply(row),
            None => self.amendments.push(amendment),
        }
    }
}

/// Stores what links tell of visitors.
struct Keeper {
    pipeline: Arc<Pipeline>,
    require_consent: bool,
    failing: Arc<AtomicBool>,
    metrics: Metrics,
    clock: Arc<dyn Clock>,
}

impl Keeper {
    async fn run(self, mut seen: mpsc::Receiver<Vec<Observation>>, mut stopped: watch::Receiver<bool>) {
        let mut batches = Vec::new();
        while seen.recv_many(&mut batches, VISITORS_WAITING).await > 0 {
            let all: Vec<Observation> = batches.drain(..).flatten().filter(|seen| self.may_keep(seen)).collect();
            for some in all.chunks(TOGETHER_MAX) {
                self.store(some, &mut stopped).await;
            }
        }
    }

    /// Whether something of a visitor may be kept: a click carries no yes, so where one is needed it was said before.
    fn may_keep(&self, seen: &Observation) -> bool {
        let known = || self.pipeline.visitor(Some(&seen.visitor_id), &[]).ok().flatten();
        !self.require_consent || known().is_some_and(|visitor| visitor.consent.ad_user_data == Choice::Granted)
    }

    async fn store(&self, all: &[Observation], stopped: &mut watch::Receiver<bool>) {
        while let Err(error) = self.pipeline.saw(all.to_vec(), all.len() as u64).await {
            if !self.failing.swap(true, Ordering::Relaxed) {
                tracing::error!(%error, "visitors of links cannot be stored; trying again until they can");
            }
            if *stopped.borrow() {
                self.metrics.lose_visitors(all.len() as u64, self.clock.now());
                return;
            }
            let _stopped = tokio::time::timeout(RETRY_EVERY, stopped.wait_for(|stopped| *stopped)).await;
        }
        if self.failing.swap(false, Ordering::Relaxed) {
            tracing::info!("visitors of links can be stored again");
        }
    }
}
