//! What is looked after while the relay runs: retention, stores that failed, counts that somebody has to read off the disk,
//! versions of APIs that end.

use std::{collections::BTreeMap, future::Future, io, sync::Arc, time::Duration};

use tokio::sync::watch;

use crate::{
    context,
    delivery::Place,
    model::{Clock, DestinationId, FailureClass, Outcome, Time},
    store::{self, Counts, Ended, Health, StoreError, Stores},
    telemetry::{self, Observed},
};

/// How often a store that failed is tried.
const RECOVER_EVERY: Duration = Duration::from_secs(1);
/// How many rounds of that between two looks at the oldest events.
const LOOK_ROUNDS: u64 = 5;
/// How many between two looks for what is past its retention, and for dead letters.
const RETAIN_ROUNDS: u64 = 60;
/// Dead letters that are given up do not change their count in the balance; they are counted at least this often.
const COUNT_DEAD_EVERY: Duration = Duration::from_secs(600);
/// Dead letters that are read at once, and at most.
const DEAD_AT_ONCE: usize = 256;
const DEAD_MAX: u64 = 10_000;
/// When everything is counted on disk for the first time, and after that.
const AUDIT_FIRST: Duration = Duration::from_secs(600);
const AUDIT_EVERY: Duration = Duration::from_secs(3600);
/// How often the log warns of a version that ends.
const WARN_EVERY: Duration = Duration::from_secs(86_400);
/// How many days ahead.
const WARN_DAYS: i64 = 90;

/// What looking after the relay needs.
#[derive(Clone)]
pub(super) struct Upkeep {
    pub(super) stores: Stores,
    pub(super) places: Arc<Vec<Place>>,
    pub(super) observed: Observed,
    pub(super) clock: Arc<dyn Clock>,
}

impl Upkeep {
    /// Deletes what is past its retention, brings a store that failed back, and keeps what is shown up to date.
    pub(super) async fn maintain(self, kept: store::Config, mut stopped: watch::Receiver<bool>) -> io::Result<()> {
        let stores = &self.stores;
        let mut dead = DeadLetters::default();
        let mut warned_at: Option<Time> = None;
        let mut rounds: u64 = 0;
        self.warn_of_left_behind();
        loop {
            let now = self.clock.now();
            if rounds.is_multiple_of(LOOK_ROUNDS) {
                self.look_at_queues().await;
            }
            if rounds.is_multiple_of(RETAIN_ROUNDS) {
                self.count_dead_letters(now, &mut dead).await;
                // A clock that went back does not silence it.
                if warned_at.is_none_or(|at| now < at || now.since(at) >= WARN_EVERY) {
                    self.warn_of_versions(now);
                    warned_at = Some(now);
                }
            }
            tokio::select! {
                () = tokio::time::sleep(RECOVER_EVERY) => {}
                _ = stopped.wait_for(|stopped| *stopped) => return Ok(()),
            }
            if stores.events.health() != Health::Ok {
                // That it fails was said when it began, and is said once a minute by whoever wants to write.
                let _still_failing = stores.events.recover().await;
            }
            if stores.visits.health() != Health::Ok {
                let _still_failing = stores.visits.recover().await;
            }
            self.look_at_clicks().await;
            rounds += 1;
            if rounds.is_multiple_of(RETAIN_ROUNDS) {
                let now = self.clock.now();
                warn_on_error("retention of events", stores.events.retain(now)).await;
                warn_on_error("retention of visitors", context::retain(stores, now.minus(kept.visits))).await;
                let (clicks, before) = (Arc::clone(&stores.clicks), now.minus(kept.clicks));
                warn_on_error("retention of clicks", off_the_runtime(move || clicks.retain(before))).await;
            }
        }
    }

    /// Brings the rows of clicks back after a failure, and shows whether they work. They hold up nothing else: a sale is
    /// taken without them.
    async fn look_at_clicks(&self) {
        let clicks = Arc::clone(&self.stores.clicks);
        if clicks.health() != Health::Ok {
            let _still_failing = off_the_runtime(move || clicks.recover()).await;
        }
        let failed = self.stores.clicks.health() != Health::Ok;
        self.stores.events.metrics().clicks_failed.set(i64::from(failed));
    }

    /// Counts everything on disk from time to time, and is loud when that is not what the balance says.
    pub(super) async fn audit(self, mut stopped: watch::Receiver<bool>) -> io::Result<()> {
        let mut wait = AUDIT_FIRST;
        loop {
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                _ = stopped.wait_for(|stopped| *stopped) => return Ok(()),
            }
            wait = AUDIT_EVERY;
            // It takes minutes where there is much to count, and nobody has to wait for it.
            let audit = tokio::select! {
                audit = self.stores.events.audit() => audit,
                _ = stopped.wait_for(|stopped| *stopped) => return Ok(()),
            };
            match audit {
                Ok(audit) => {
                    let events = audit.events;
                    tracing::debug!(events, "counted everything on disk");
                    self.note_drift(&audit.drift);
                }
                Err(error) => tracing::warn!(%error, "cannot count what is on disk"),
            }
        }
    }

    fn note_drift(&self, drift: &[(DestinationId, Counts, Counts)]) {
        let drift: BTreeMap<_, _> = drift.iter().map(|&(id, disk, balance)| (id, (disk, balance))).collect();
        for place in self.places.iter() {
            let wrong = drift.get(&place.id).map_or(0, |&(disk, balance)| difference(disk, balance));
            self.observed.note(place.id, |observation| observation.drift = wrong);
        }
        for (id, (disk, balance)) in drift {
            let place = self.places.iter().find(|place| place.id == id);
            let name = place.map_or("(not configured)", |place| place.name.as_str());
            tracing::error!(
                destination = name,
                ?disk,
                ?balance,
                "the balance is not what is on disk; please report this defect, with these numbers"
            );
        }
    }

    /// Notes when the oldest queued events came. Reads records, so not on a thread of the runtime.
    async fn look_at_queues(&self) {
        let (events, places) = (Arc::clone(&self.stores.events), Arc::clone(&self.places));
        let read = move || places.iter().map(|place| (place.id, events.oldest(place.id))).collect::<Vec<_>>();
        for (id, oldest) in tokio::task::spawn_blocking(read).await.unwrap_or_default() {
            self.observed.note(id, |observation| observation.oldest = oldest);
        }
    }

    /// Counts dead letters where their number may have changed.
    async fn count_dead_letters(&self, now: Time, known: &mut DeadLetters) {
        let counts: BTreeMap<_, _> = self.stores.events.balance().destinations.into_iter().collect();
        let ended: Vec<u64> =
            self.places.iter().map(|place| counts.get(&place.id).map_or(0, |counts| counts.dead)).collect();
        let fresh = known.at.is_some_and(|at| at <= now && now.since(at) < COUNT_DEAD_EVERY);
        if fresh && known.ended == ended {
            return;
        }
        for (place, dead) in self.places.iter().zip(&ended) {
            let open = if *dead == 0 { Ok(Default::default()) } else { self.open_dead_letters(place.id).await };
            match open {
                Ok(open) => self.observed.note(place.id, |observation| observation.dead_letters = open),
                Err(error) => tracing::warn!(destination = %place.name, %error, "cannot count dead letters"),
            }
        }
        *known = DeadLetters { ended, at: Some(now) };
    }

    /// How many dead letters wait for somebody, in the order of [`FailureClass::ALL`].
    async fn open_dead_letters(&self, id: DestinationId) -> Result<[u64; FailureClass::ALL.len()], StoreError> {
        let mut open = [0; FailureClass::ALL.len()];
        let mut after = 0;
        while open.iter().sum::<u64>() < DEAD_MAX {
            let page = self.stores.events.dead_letters(id, after, DEAD_AT_ONCE).await?;
            for (count, class) in open.iter_mut().zip(FailureClass::ALL) {
                let is = |ended: &&Ended| matches!(&ended.outcome, Outcome::Dead { class: its, .. } if *its == class);
                *count += page.iter().filter(is).count() as u64;
            }
            match page.last() {
                Some(last) if page.len() >= DEAD_AT_ONCE => after = last.number,
                _ => break,
            }
        }
        Ok(open)
    }

    /// What waits for a destination that was renamed or taken out is in no list of destinations: here it is said.
    fn warn_of_left_behind(&self) {
        let configured: Vec<DestinationId> = self.places.iter().map(|place| place.id).collect();
        let deliveries = left_behind(&self.stores.events.balance().destinations, &configured);
        if deliveries > 0 {
            tracing::warn!(
                deliveries,
                "deliveries wait for a destination that is not configured any more; under its old name it goes on with \
                 them, otherwise they expire"
            );
        }
    }

    fn warn_of_versions(&self, now: Time) {
        for place in self.places.iter() {
            let Some(days) = telemetry::api_days_left(place, now).filter(|days| *days <= WARN_DAYS) else { continue };
            let Some((api, version)) = place.destination.api() else { continue };
            let destination = place.name.as_str();
            if days < 0 {
                tracing::error!(
                    destination,
                    api,
                    version,
                    "the platform has ended this version of its API: configure a newer one"
                );
            } else {
                tracing::warn!(
                    destination,
                    api,
                    version,
                    days,
                    "the platform ends this version of its API soon: configure a newer one"
                );
            }
        }
    }
}

/// When dead letters were counted last.
#[derive(Default)]
struct DeadLetters {
    /// How many deliveries had ended dead by then, by place.
    ended: Vec<u64>,
    at: Option<Time>,
}

/// How many deliveries are queued for destinations that are not configured.
fn left_behind(counts: &[(DestinationId, Counts)], configured: &[DestinationId]) -> u64 {
    counts.iter().filter(|(id, _)| !configured.contains(id)).map(|(_, counts)| counts.queued).sum()
}

/// How many deliveries two counts disagree about.
fn difference(a: Counts, b: Counts) -> u64 {
    let list = |counts: Counts| [counts.delivered, counts.skipped, counts.dead, counts.expired, counts.queued];
    let differences = list(a).into_iter().zip(list(b)).map(|(a, b)| a.abs_diff(b));
    differences.max().unwrap_or_default()
}

/// Does work that blocks beside the threads of the runtime.
async fn off_the_runtime(work: impl FnOnce() -> Result<(), StoreError> + Send + 'static) -> Result<(), StoreError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|_| Err(StoreError::Unavailable("it ended before it was done".into())))
}

async fn warn_on_error<T>(what: &str, work: impl Future<Output = Result<T, StoreError>>) {
    if let Err(error) = work.await {
        tracing::warn!(%error, "{what}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delivery_that_is_counted_elsewhere_is_one_that_differs() {
        let counts = |delivered, queued| Counts { delivered, queued, ..Counts::default() };
        assert_eq!(difference(counts(5, 2), counts(5, 2)), 0);
        assert_eq!(difference(counts(5, 2), counts(6, 1)), 1);
        assert_eq!(difference(counts(5, 2), counts(5, 9)), 7);
    }

    #[test]
    fn what_waits_for_a_destination_that_was_taken_out_is_noticed() {
        let counts = |queued| Counts { delivered: 9, queued, ..Counts::default() };
        let all = [(DestinationId(0), counts(3)), (DestinationId(1), counts(5)), (DestinationId(2), counts(0))];
        assert_eq!(left_behind(&all, &[DestinationId(0), DestinationId(2)]), 5);
        assert_eq!(left_behind(&all, &[DestinationId(1)]), 3);
        assert_eq!(left_behind(&all, &[DestinationId(0), DestinationId(1)]), 0);
    }
}
