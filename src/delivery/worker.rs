//! The worker of one destination: when it takes deliveries, and how many at once. What happens to them then is in
//! `deliver.rs`.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::{
    sync::watch,
    task::{JoinError, JoinSet},
};

use super::{
    Place, StartError, State, Tools, file_sink::FileSink, https::Https, limit::Limit, order::Order, rate::Bucket,
};
use crate::{
    model::Time,
    store::{Health, LeaseKey, Leased},
};

/// The longest a worker sleeps before it looks at the clock again, so that a clock that jumps is noticed.
const SLEEP_MAX: Duration = Duration::from_secs(1);
/// With a request in flight, another one for less than a full batch starts only after this: what comes meanwhile travels
/// together.
const GATHER: Duration = Duration::from_millis(100);
/// How often a worker that gathers looks whether a full batch has come together.
const LOOK: Duration = Duration::from_millis(10);
/// Outcomes are kept being recorded for so long; and a change keeps its place for so long after its request.
pub(super) const LEASE_GRACE: Duration = Duration::from_secs(60);
/// A lease ends when its task does, however that ends. By the clock it would end in the middle of a request when the clock
/// jumps, and the event would go out twice.
const LEASE: Duration = Duration::from_secs(366 * 86_400);
/// How long to wait before the store is tried again when it fails.
pub(super) const STORE_AGAIN: Duration = Duration::from_secs(1);
/// No rest that a platform asks for is kept longer than this at a stretch; then one request finds out.
pub(super) const REST_MAX: Duration = Duration::from_secs(3600);

/// What sends.
pub(super) enum Transport {
    Https(Box<Https>),
    File(Arc<Mutex<FileSink>>),
}

/// The worker of one destination.
pub(super) struct Worker {
    pub(super) place: Place,
    pub(super) tools: Tools,
    pub(super) transport: Transport,
    pub(super) order: Mutex<Order>,
    pace: Mutex<Pace>,
    limit: Mutex<Limit>,
}

/// When the next request may start.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// Requests in a row that failed for all they carried.
    pub(super) failures: u16,
    /// Nothing is sent before this: by our own schedule, until something works.
    pub(super) not_before: Time,
    /// Nothing is sent before this: the platform says so, and one success does not change it.
    pub(super) throttled_until: Time,
    /// When one of the two was set. A clock that shows an earlier time was put back, and they mean nothing.
    pub(super) set_at: Time,
    /// When a request for less than a full batch, or a question, started last.
    last_start: Option<Instant>,
    /// What is left of the platform's limit of requests.
    bucket: Option<Bucket>,
}

impl Pace {
    /// How long until the platform's limit lets another request through.
    pub(super) fn allowed_in(&mut self) -> Duration {
        self.bucket.as_mut().map_or(Duration::ZERO, |bucket| bucket.wait(Instant::now()))
    }

    /// Notes a request against the platform's limit.
    pub(super) fn take(&mut self) {
        if let Some(bucket) = &mut self.bucket {
            bucket.take(Instant::now());
        }
    }

    /// Until when nothing may be sent, if so.
    fn rests_until(&mut self, now: Time) -> Option<Time> {
        if now < self.set_at {
            (self.not_before, self.throttled_until, self.set_at) = (Time::default(), Time::default(), now);
        }
        let until = self.not_before.max(self.throttled_until);
        (now < until).then_some(until)
    }
}

/// A place among the requests in flight, and what was leased for it. Given back when dropped, also by a panic.
struct Slot {
    worker: Arc<Worker>,
    keys: Vec<LeaseKey>,
}

impl Slot {
    fn take(worker: &Arc<Worker>, leased: &[Leased]) -> Self {
        worker.with_limit(Limit::start);
        Self { worker: Arc::clone(worker), keys: leased.iter().map(|leased| leased.key).collect() }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.worker.with_limit(Limit::end);
        // What was settled or put back holds no lease any more.
        self.worker.tools.store.release(self.worker.place.id, &self.keys);
    }
}

impl Worker {
    pub(super) fn new(place: Place, tools: Tools) -> Result<Self, StartError> {
        let transport = match place.destination.file() {
            Some(file) => {
                let mark = tools.store.mark(place.id);
                let sink = FileSink::recover(&file.directory, place.name.clone(), file.extension, mark.as_ref());
                let sink = sink.map_err(|error| StartError::Files(place.name.clone(), error))?;
                Transport::File(Arc::new(Mutex::new(sink)))
            }
            None => {
                let https = Https::new(place.destination.profile(), Arc::clone(&tools.clock));
                Transport::Https(Box::new(https.map_err(|error| StartError::Https(place.name.clone(), error))?))
            }
        };
        if let Some(pause) = tools.store.paused(place.id) {
            tracing::warn!(destination = %place.name, reason = pause.reason, since = %pause.since, "destination is stopped by its operator: nothing is sent");
            tools.status.stop(&place.name, pause);
        }
        // Rows of one file are written and settled one after the other.
        let cap = place.concurrency.unwrap_or(tools.config.concurrency);
        let cap = if matches!(transport, Transport::File(_)) { 1 } else { cap };
        let limit = Mutex::new(Limit::new(cap));
        let bucket = place.destination.profile().rate.map(Bucket::new);
        let pace = Mutex::new(Pace { bucket, ..Pace::default() });
        Ok(Self { place, tools, transport, order: Mutex::default(), pace, limit })
    }

    /// Works until `stopped`, and then until the requests in flight are settled.
    pub(super) async fn run(self: Arc<Self>, mut stopped: watch::Receiver<bool>) {
        let worker = self;
        // Nothing, unless this is another try after a panic.
        worker.take_back_unsettled().await;
        let mut in_flight = JoinSet::new();
        while !*stopped.borrow() {
            while let Some(done) = in_flight.try_join_next() {
                worker.after(done).await;
            }
            if !worker.limit().has_room() {
                tokio::select! {
                    Some(done) = in_flight.join_next() => worker.after(done).await,
                    () = tokio::time::sleep(SLEEP_MAX) => {}
                    _ = stopped.changed() => {}
                }
                continue;
            }
            let now = worker.tools.clock.now();
            let store = &worker.tools.store;
            let mut gathering = false;
            let wait = match worker.batch_size(now) {
                Err(until) => until.since(now),
                Ok(size) => {
                    let due = store.due(worker.place.id, now, size);
                    let spacing = worker.place.destination.profile().spacing;
                    let pause = if in_flight.is_empty() { spacing } else { spacing.max(GATHER) };
                    let last_start = worker.pace().last_start;
                    let rest = last_start.map_or(Duration::ZERO, |last| pause.saturating_sub(last.elapsed()));
                    let allowed = worker.pace().allowed_in();
                    if allowed.is_zero() && (due >= size || (due > 0 && rest.is_zero())) {
                        worker.note_start();
                        worker.pace().take();
                        if let Some(leased) = worker.lease(size, now).await {
                            let worker = Arc::clone(&worker);
                            let slot = Slot::take(&worker, &leased);
                            in_flight.spawn(async move {
                                worker.deliver(leased).await;
                                drop(slot);
                            });
                        }
                        continue;
                    }
                    gathering = due > 0;
                    if gathering {
                        rest.min(LOOK).max(allowed)
                    } else {
                        store.next_due(worker.place.id).map_or(SLEEP_MAX, |due| due.since(now))
                    }
                }
            };
            // While a rest gathers, nobody has to say that there is more of it.
            let watch = !gathering && in_flight.is_empty();
            let wait = if in_flight.is_empty() { wait } else { wait.min(GATHER) };
            tokio::select! {
                () = tokio::time::sleep(wait.clamp(Duration::from_millis(1), SLEEP_MAX)) => {}
                () = store.changed(worker.place.id), if watch => {}
                // What the operator says goes: a rest by our own schedule ends.
                () = worker.tools.status.changed(&worker.place.name) => worker.pace().not_before = Time::default(),
                Some(done) = in_flight.join_next() => worker.after(done).await,
                _ = stopped.changed() => {}
            }
        }
        while let Some(done) = in_flight.join_next().await {
            worker.after(done).await;
        }
    }

    /// A request that ended in a panic, which is a defect, may have left rows behind that nobody settles.
    async fn after(&self, done: Result<(), JoinError>) {
        if let Err(error) = done {
            tracing::error!(destination = %self.place.name, %error, "a delivery ended unexpectedly; its events are tried again");
            self.take_back_unsettled().await;
        }
    }

    /// How many events the next request may carry, or until when there is none.
    pub(super) fn batch_size(&self, now: Time) -> Result<usize, Time> {
        let state = self.tools.status.of(&self.place.name);
        if matches!(state, State::Stopped(_)) {
            return Err(now.plus(SLEEP_MAX));
        }
        // What cannot be recorded would go out again and again. What is in flight is still tried to be recorded.
        if self.tools.store.health() != Health::Ok {
            return Err(now.plus(STORE_AGAIN));
        }
        if let Some(until) = self.pace().rests_until(now) {
            return Err(until);
        }
        let probe = matches!(state, State::Paused { .. });
        Ok(if probe { 1 } else { self.place.destination.profile().batch_max })
    }

    pub(super) fn pace(&self) -> MutexGuard<'_, Pace> {
        self.pace.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that a request starts: the next one for less than a full batch keeps its distance.
    pub(super) fn note_start(&self) {
        self.pace().last_start = Some(Instant::now());
    }

    /// Nothing is sent before `until`, unless something works.
    pub(super) fn rest(&self, now: Time, until: Time) {
        let mut pace = self.pace();
        (pace.not_before, pace.set_at) = (until, now);
    }

    fn limit(&self) -> MutexGuard<'_, Limit> {
        self.limit.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the limit, and shows it.
    pub(super) fn with_limit(&self, change: impl FnOnce(&mut Limit)) {
        let (current, in_flight) = {
            let mut limit = self.limit();
            change(&mut limit);
            (limit.current(), limit.in_flight())
        };
        self.tools.metrics.concurrency(&self.place.name, current, in_flight);
    }

    /// When leases that are taken now run out.
    pub(super) fn lease_until(&self, now: Time) -> Time {
        now.plus(LEASE)
    }

    async fn lease(&self, size: usize, now: Time) -> Option<Vec<Leased>> {
        if matches!(self.tools.status.of(&self.place.name), State::Paused { .. }) {
            // One probe at a time: no other one starts before this one could have been answered.
            self.rest(now, now.plus(self.tools.config.probe_every));
        }
        match self.tools.store.lease(self.place.id, size, now, self.lease_until(now)).await {
            Ok(leased) => Some(leased).filter(|leased| !leased.is_empty()),
            Err(error) => {
                tracing::error!(destination = %self.place.name, %error, "cannot lease deliveries");
                tokio::time::sleep(STORE_AGAIN).await;
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rest_ends_when_its_time_comes_or_the_clock_is_put_back() {
        let now = Time::from_secs(1_763_626_500);
        let hour = Duration::from_secs(3600);
        let mut pace = Pace { throttled_until: now.plus(hour), set_at: now, ..Pace::default() };
        assert_eq!(pace.rests_until(now), Some(now.plus(hour)));
        assert_eq!(pace.rests_until(now.plus(hour)), None);
        assert_eq!(pace.rests_until(now.minus(hour * 24)), None, "not for a day and an hour");
        assert_eq!(pace.rests_until(now), None);
    }
}
