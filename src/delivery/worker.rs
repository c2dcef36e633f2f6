//! The worker of one destination.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::{
    sync::{Semaphore, watch},
    task::JoinSet,
};

use super::{
    Place, StartError, State, Tools,
    file_sink::FileSink,
    https::{Https, NoAnswer},
};
use crate::{
    destinations::{Request, Response, Unsendable, Verdict},
    model::{Attempt, Failure, FailureClass, FileMark, Outcome, SealedEvent, SkipReason, Time},
    store::{LeaseKey, Leased, Settlement, Step},
};

/// The longest a worker sleeps before it looks at the clock again, so that a clock that jumps is noticed.
const SLEEP_MAX: Duration = Duration::from_secs(1);
/// With a request in flight, another one for less than a full batch starts only after this: what comes meanwhile travels
/// together.
const GATHER: Duration = Duration::from_millis(100);
/// How often a worker that gathers looks whether a full batch has come together.
const LOOK: Duration = Duration::from_millis(10);
/// Larger batches are put together where blocking is allowed: it takes milliseconds, in which requests are to be answered.
const INLINE_MAX: usize = 32;
/// A lease holds for the request's own timeout and this, so that settling has time.
const LEASE_GRACE: Duration = Duration::from_secs(60);
/// Extra requests that taking apart one refused batch may cost; then the rest is tried later.
const ISOLATE_REQUESTS_MAX: usize = 64;
/// How long to wait before settling again when the store cannot write.
const SETTLE_AGAIN: Duration = Duration::from_secs(1);

/// What sends.
enum Transport {
    Https(Box<Https>),
    File(Arc<Mutex<FileSink>>),
}

/// The worker of one destination.
pub(super) struct Worker {
    place: Place,
    tools: Tools,
    transport: Transport,
    pace: Mutex<Pace>,
}

/// When the next request may start.
#[derive(Debug, Default)]
struct Pace {
    /// Requests in a row that failed for all they carried.
    failures: u16,
    /// Nothing is sent before this.
    not_before: Time,
}

/// A leased delivery without its event.
struct Ticket {
    key: LeaseKey,
    attempts: u16,
    deadline: Time,
}

/// What travels together: tickets and their events, in the same order.
#[derive(Default)]
struct Part {
    tickets: Vec<Ticket>,
    events: Vec<SealedEvent>,
}

impl Part {
    fn push(&mut self, ticket: Ticket, event: SealedEvent) {
        self.tickets.push(ticket);
        self.events.push(event);
    }

    fn split(mut self) -> [Self; 2] {
        let half = self.events.len() / 2;
        let (tickets, events) = (self.tickets.split_off(half), self.events.split_off(half));
        [Self { tickets, events }, self]
    }

    fn keys(&self) -> impl Iterator<Item = LeaseKey> + '_ {
        self.tickets.iter().map(|ticket| ticket.key)
    }
}

/// What came of one request.
struct Answered {
    verdicts: Vec<Verdict>,
    attempt: Attempt,
    mark: Option<FileMark>,
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
        Ok(Self { place, tools, transport, pace: Mutex::default() })
    }

    /// Works until `stopped`, and then until the requests in flight are settled.
    pub(super) async fn run(self: Arc<Self>, mut stopped: watch::Receiver<bool>) {
        let worker = self;
        // Rows of one file are written and settled one after the other.
        let lanes = worker.place.concurrency.unwrap_or(worker.tools.config.concurrency);
        let lanes = if matches!(worker.transport, Transport::File(_)) { 1 } else { lanes };
        let lanes = Arc::new(Semaphore::new(lanes));
        let mut in_flight = JoinSet::new();
        let mut last_start: Option<Instant> = None;
        while !*stopped.borrow() {
            while in_flight.try_join_next().is_some() {}
            let Ok(lane) = Arc::clone(&lanes).try_acquire_owned() else {
                tokio::select! { _ = in_flight.join_next() => {}, _ = stopped.changed() => {} }
                continue;
            };
            let now = worker.tools.clock.now();
            let store = &worker.tools.store;
            let mut gathering = false;
            let wait = match worker.batch_size(now) {
                Err(until) => until.since(now),
                Ok(size) => {
                    let due = store.due(worker.place.id, now, size);
                    let spacing = worker.place.destination.profile().spacing;
                    let pause = if in_flight.is_empty() { spacing } else { spacing.max(GATHER) };
                    let rest = last_start.map_or(Duration::ZERO, |last| pause.saturating_sub(last.elapsed()));
                    if due >= size || (due > 0 && rest.is_zero()) {
                        last_start = Some(Instant::now());
                        if let Some(leased) = worker.lease(size, now).await {
                            let worker = Arc::clone(&worker);
                            in_flight.spawn(async move {
                                worker.deliver(leased).await;
                                drop(lane);
                            });
                        }
                        continue;
                    }
                    gathering = due > 0;
                    if gathering {
                        rest.min(LOOK)
                    } else {
                        store.next_due(worker.place.id).map_or(SLEEP_MAX, |due| due.since(now))
                    }
                }
            };
            // While a rest gathers, nobody has to say that there is more of it.
            let watch = !gathering && in_flight.is_empty();
            let wait = if in_flight.is_empty() { wait } else { wait.min(GATHER) };
            drop(lane);
            tokio::select! {
                () = tokio::time::sleep(wait.clamp(Duration::from_millis(1), SLEEP_MAX)) => {}
                () = store.changed(worker.place.id), if watch => {}
                Some(_) = in_flight.join_next() => {}
                _ = stopped.changed() => {}
            }
        }
        while in_flight.join_next().await.is_some() {}
    }

    /// How many events the next request may carry, or until when there is none.
    fn batch_size(&self, now: Time) -> Result<usize, Time> {
        let paused = matches!(self.tools.status.of(&self.place.name), State::Paused { .. });
        let pace = self.pace();
        if now < pace.not_before {
            return Err(pace.not_before);
        }
        Ok(if paused { 1 } else { self.place.destination.profile().batch_max })
    }

    fn pace(&self) -> std::sync::MutexGuard<'_, Pace> {
        self.pace.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn lease(&self, size: usize, now: Time) -> Option<Vec<Leased>> {
        if matches!(self.tools.status.of(&self.place.name), State::Paused { .. }) {
            // One probe at a time: no other lane starts before this one could have been answered.
            self.pace().not_before = now.plus(self.tools.config.probe_every);
        }
        let until = now.plus(self.place.destination.profile().timeout * 2 + LEASE_GRACE);
        match self.tools.store.lease(self.place.id, size, now, until).await {
            Ok(leased) => Some(leased).filter(|leased| !leased.is_empty()),
            Err(error) => {
                tracing::error!(destination = %self.place.name, %error, "cannot lease deliveries");
                tokio::time::sleep(SETTLE_AGAIN).await;
                None
            }
        }
    }

    /// Brings leased deliveries to their outcome, or back into the queue.
    async fn deliver(&self, leased: Vec<Leased>) {
        let now = self.tools.clock.now();
        let (mut batch, mut over) = (Part::default(), Vec::new());
        for Leased { key, event, attempts, deadline, unknown_since: _ } in leased {
            if deadline <= now {
                over.push((key, Step::Ended(Outcome::Expired)));
                continue;
            }
            // A second report or a late visit may have brought the visitor's no since the event was accepted.
            if !self.place.on_unknown_consent.allows(event.consent) {
                over.push((key, Step::Ended(Outcome::Skipped(SkipReason::Consent))));
                continue;
            }
            match self.place.destination.admit(&event) {
                Ok(()) => batch.push(Ticket { key, attempts, deadline }, event),
                Err(Unsendable::Skip(reason)) => over.push((key, Step::Ended(Outcome::Skipped(reason)))),
                Err(Unsendable::Reject(failure)) => {
                    over.push((key, Step::Ended(Outcome::Dead { class: FailureClass::Event, failure })));
                }
            }
        }
        if !over.is_empty() {
            self.settle(None, over, None).await;
        }
        if batch.events.is_empty() {
            return;
        }
        let mut parts = vec![batch];
        let mut requests = 0;
        while let Some(mut part) = parts.pop() {
            requests += 1;
            let (events, request) = self.prepare(std::mem::take(&mut part.events)).await;
            part.events = events;
            let answered = match self.send(&part.events, request).await {
                Ok(answered) => answered,
                Err(failure) => {
                    self.pause(failure);
                    let keys: Vec<LeaseKey> = std::iter::once(&part).chain(&parts).flat_map(Part::keys).collect();
                    self.tools.store.release(self.place.id, &keys);
                    return;
                }
            };
            self.follow(part, answered, &mut parts, requests).await;
        }
    }

    /// Does what the verdicts of one request ask for; what has to be sent again apart is added to `parts`.
    async fn follow(&self, part: Part, answered: Answered, parts: &mut Vec<Part>, requests: usize) {
        let now = self.tools.clock.now();
        let schedule = self.tools.config.schedule;
        let may_isolate = requests < ISOLATE_REQUESTS_MAX;
        let alone = part.events.len() == 1;
        let all_failed = answered.verdicts.iter().all(|verdict| matches!(verdict, Verdict::Retry { .. }));
        self.note_pace(now, all_failed, &answered.verdicts);
        let (mut steps, mut apart, mut again) =
            (Vec::with_capacity(part.events.len()), Part::default(), Part::default());
        let mut blocked = None;
        for ((ticket, event), verdict) in part.tickets.into_iter().zip(part.events).zip(answered.verdicts) {
            let later = |failure: Failure, wish: Option<Duration>| {
                let wait = schedule.wait(ticket.attempts.saturating_add(1), wish);
                Step::Again { due: now.plus(wait).min(ticket.deadline), failure, unknown: false }
            };
            let step = match verdict {
                Verdict::Delivered => Step::Ended(Outcome::Delivered),
                Verdict::Rejected(failure) => Step::Ended(Outcome::Dead { class: FailureClass::Event, failure }),
                Verdict::Misconfigured(failure) => {
                    Step::Ended(Outcome::Dead { class: FailureClass::Settings, failure })
                }
                Verdict::Isolate(failure) if alone => {
                    Step::Ended(Outcome::Dead { class: FailureClass::Event, failure })
                }
                Verdict::Retry { after, failure } => later(failure, after),
                Verdict::Isolate(_) if may_isolate => {
                    apart.push(ticket, event);
                    continue;
                }
                Verdict::Isolate(failure) => later(failure, None),
                Verdict::Resend if may_isolate && !alone => {
                    again.push(ticket, event);
                    continue;
                }
                Verdict::Resend => later(Failure { code: "resend".into(), ..Failure::default() }, None),
                Verdict::Blocked(failure) => {
                    blocked = Some(failure);
                    self.tools.store.release(self.place.id, &[ticket.key]);
                    continue;
                }
            };
            steps.push((ticket.key, step));
        }
        if let Some(failure) = blocked {
            self.pause(failure);
            let rest: Vec<Part> = parts.drain(..).chain([apart, again]).collect();
            let keys: Vec<LeaseKey> = rest.iter().flat_map(Part::keys).collect();
            self.tools.store.release(self.place.id, &keys);
        } else {
            if steps.iter().any(|(_, step)| *step == Step::Ended(Outcome::Delivered)) {
                self.resume();
            }
            let [second, first] = apart.split();
            parts.extend([second, first, again].into_iter().filter(|part| !part.events.is_empty()));
        }
        if !steps.is_empty() {
            self.settle(Some(answered.attempt), steps, answered.mark).await;
        }
    }

    /// A platform that fails for everything gets fewer requests, not one for each waiting event.
    fn note_pace(&self, now: Time, all_failed: bool, verdicts: &[Verdict]) {
        let mut pace = self.pace();
        if !all_failed {
            *pace = Pace::default();
            return;
        }
        pace.failures = pace.failures.saturating_add(1);
        let wishes = verdicts.iter().filter_map(|verdict| match verdict {
            Verdict::Retry { after, .. } => *after,
            _ => None,
        });
        // What waits for one conversion action (hours) must not hold up the others: only short wishes are about all.
        let wish = wishes.max().filter(|wish| *wish <= Duration::from_secs(3600));
        pace.not_before = now.plus(self.tools.config.schedule.wait(pace.failures, wish));
    }

    fn pause(&self, reason: Failure) {
        let now = self.tools.clock.now();
        let name = &self.place.name;
        self.pace().not_before = now.plus(self.tools.config.probe_every);
        let since = match self.tools.status.of(name) {
            State::Paused { since, .. } => since,
            State::Active | State::Stopped(_) => {
                let Failure { code, message, .. } = &reason;
                tracing::error!(destination = %name, code, message, "destination paused: it refuses our settings; no event is lost, it is tried again");
                now
            }
        };
        self.tools.status.set(name, State::Paused { reason, since });
    }

    fn resume(&self) {
        let name = &self.place.name;
        if matches!(self.tools.status.of(name), State::Paused { .. }) {
            tracing::info!(destination = %name, "destination works again");
            self.tools.status.set(name, State::Active);
        }
    }

    /// The request that carries `events`, and the events.
    async fn prepare(&self, events: Vec<SealedEvent>) -> (Vec<SealedEvent>, Request) {
        let destination = Arc::clone(&self.place.destination);
        let few = events.len() <= INLINE_MAX;
        let work = move || {
            let request = destination.prepare(&events);
            (events, request)
        };
        if few {
            return work();
        }
        match tokio::task::spawn_blocking(work).await {
            Ok(prepared) => prepared,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }

    /// Sends one request. The error says why the destination is to be paused.
    async fn send(&self, events: &[SealedEvent], request: Request) -> Result<Answered, Failure> {
        let destination = &self.place.destination;
        let at = self.tools.clock.now();
        let began = Instant::now();
        let retry_all =
            |failure: Failure, after: Option<Duration>| vec![Verdict::Retry { after, failure }; events.len()];
        let mut mark = None;
        let (verdicts, status, trace_id) = match (request, &self.transport) {
            (Request::Http(request), Transport::Https(https)) => {
                match https.send(destination.profile(), &request, at).await {
                    Ok(response) => {
                        let status = match &response {
                            Response::Http { status, .. } => Some(*status),
                            Response::Written => None,
                        };
                        (destination.interpret(events, &response), status, destination.trace_id(&response))
                    }
                    Err(NoAnswer::Failed(failure, after)) => (retry_all(failure, after), None, None),
                    Err(NoAnswer::Blocked(failure)) => return Err(failure),
                }
            }
            (Request::Rows(rows), Transport::File(sink)) => {
                match blocking(sink, move |sink| sink.append(&rows, at)).await {
                    Ok(written) => {
                        mark = Some(written);
                        (destination.interpret(events, &Response::Written), None, None)
                    }
                    Err(error) => {
                        let failure = Failure { code: "file".into(), field: None, message: error.to_string() };
                        (retry_all(failure, None), None, None)
                    }
                }
            }
            _ => {
                let message = "the destination's requests do not fit its transport".to_owned();
                (retry_all(Failure { code: "transport".into(), field: None, message }, None), None, None)
            }
        };
        let took = began.elapsed();
        self.tools.metrics.took(&self.place.name, took);
        let duration_ms = u32::try_from(took.as_millis()).unwrap_or(u32::MAX);
        let verdicts = complete(verdicts, events.len());
        Ok(Answered { verdicts, attempt: Attempt { at, status, trace_id, duration_ms, receipt: false }, mark })
    }

    /// Records what followed. Rows that cannot be recorded are taken back; other outcomes are kept trying, as the
    /// platform has the events already.
    async fn settle(&self, attempt: Option<Attempt>, steps: Vec<(LeaseKey, Step)>, mark: Option<FileMark>) {
        let at = self.tools.clock.now();
        let settlement = Settlement { destination: self.place.id, at, attempt, steps, mark, exhibits: Vec::new() };
        let give_up = at.plus(LEASE_GRACE);
        loop {
            match self.tools.store.settle(settlement.clone()).await {
                Ok(_) => break,
                Err(error) => {
                    tracing::error!(destination = %self.place.name, %error, "cannot record outcomes");
                    if matches!(self.transport, Transport::File(_)) {
                        self.take_back_unsettled().await;
                    } else if self.tools.clock.now() < give_up {
                        tokio::time::sleep(SETTLE_AGAIN).await;
                        continue;
                    }
                    let keys: Vec<LeaseKey> = settlement.steps.iter().map(|(key, _)| *key).collect();
                    self.tools.store.release(self.place.id, &keys);
                    self.pace().not_before = self.tools.clock.now().plus(SETTLE_AGAIN);
                    return;
                }
            }
        }
        self.count(&settlement.steps);
    }

    /// Cuts off rows that were written and could not be recorded: they are written again.
    pub(super) async fn take_back_unsettled(&self) {
        let Transport::File(sink) = &self.transport else { return };
        let mark = self.tools.store.mark(self.place.id);
        if let Err(error) = blocking(sink, move |sink| sink.roll_back(mark.as_ref())).await {
            tracing::error!(destination = %self.place.name, %error, "cannot take back unsettled rows");
        }
    }

    fn count(&self, steps: &[(LeaseKey, Step)]) {
        let (name, metrics) = (&self.place.name, &self.tools.metrics);
        let delivered = steps.iter().filter(|(_, step)| *step == Step::Ended(Outcome::Delivered)).count();
        if delivered > 0 {
            metrics.ended(name, "delivered", "", delivered as u64);
        }
        for (_, step) in steps {
            match step {
                Step::Ended(Outcome::Delivered) => {}
                Step::Ended(Outcome::Skipped(reason)) => metrics.ended(name, "skipped", reason.as_str(), 1),
                Step::Ended(Outcome::Expired) => metrics.ended(name, "expired", "", 1),
                Step::Ended(Outcome::Dead { failure, .. }) => {
                    let Failure { code, field, message } = failure;
                    tracing::warn!(destination = %name, code, field, message, "event dead-lettered");
                    metrics.ended(name, "dead", code, 1);
                }
                Step::Wait { .. } => {}
                Step::Again { failure, .. } => metrics.retried(name, &failure.code, 1),
            }
        }
        let again = steps.iter().find_map(|(_, step)| match step {
            Step::Again { failure, due, .. } => Some((failure, due)),
            Step::Ended(_) | Step::Wait { .. } => None,
        });
        if let Some((failure, due)) = again {
            let Failure { code, message, .. } = failure;
            tracing::warn!(destination = %name, events = steps.len(), code, message, %due, "to be tried again");
        }
    }
}

/// Works on an import file where blocking is allowed.
async fn blocking<T: Send + 'static>(
    sink: &Arc<Mutex<FileSink>>,
    work: impl FnOnce(&mut FileSink) -> std::io::Result<T> + Send + 'static,
) -> std::io::Result<T> {
    let sink = Arc::clone(sink);
    let done = tokio::task::spawn_blocking(move || work(&mut sink.lock().unwrap_or_else(PoisonError::into_inner)));
    done.await.map_err(std::io::Error::other)?
}

/// A destination that answers for fewer events than it was asked about loses none: the others are tried again.
fn complete(mut verdicts: Vec<Verdict>, events: usize) -> Vec<Verdict> {
    let failure = Failure { code: "no_verdict".into(), ..Failure::default() };
    verdicts.resize(events, Verdict::Retry { after: None, failure });
    verdicts
}
