//! What happens to leased deliveries: what is not to be sent is sorted out, the rest is sent (`send.rs`), and what the
//! answers ask for is done and recorded (`settle.rs`).

use std::{
    collections::{BTreeMap, HashSet},
    time::Duration,
};

use super::{
    State,
    order::Turn,
    send::Answered,
    settle::Conclusion,
    unknown,
    worker::{LEASE_GRACE, REST_MAX, STORE_AGAIN, Worker},
};
use crate::{
    destinations::{Dedupe, Unsendable, Verdict},
    model::{Failure, FailureClass, Outcome, SealedEvent, SkipReason, Time, WaitReason},
    store::{LeaseKey, Leased, Settlement, Step},
};

/// Extra requests that taking apart one refused batch may cost; then the rest is tried later.
const ISOLATE_REQUESTS_MAX: usize = 64;
/// Each of them waits for the platform's limit, but no longer than this: it is made up for later.
const ISOLATE_WAIT_MAX: Duration = Duration::from_secs(5);

/// A leased delivery without its event.
struct Ticket {
    key: LeaseKey,
    attempts: u16,
    deadline: Time,
    unknown_since: Option<Time>,
    /// Whether it is recorded that it is being sent.
    sending: bool,
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
}

/// Why a delivery is not sent now.
enum Stay {
    /// This follows for it.
    Step(Step),
    /// The platform may have it, and would count it twice.
    Unknown(Time),
    /// It waits until then, and nothing is recorded.
    Defer(Time),
}

impl From<Outcome> for Stay {
    fn from(outcome: Outcome) -> Self {
        Self::Step(Step::Ended(outcome))
    }
}

impl Worker {
    /// Brings leased deliveries to their outcome, or back into the queue.
    pub(super) async fn deliver(&self, leased: Vec<Leased>) {
        let mut parts = self.sort_out(leased).await;
        if parts.is_empty() && matches!(self.tools.status.of(&self.place.name), State::Paused { .. }) {
            // The probe was none: the next one need not wait.
            self.pace().not_before = Time::default();
        }
        let mut requests = 0;
        while let Some(mut part) = parts.pop() {
            if requests > 0 && matches!(self.tools.status.of(&self.place.name), State::Stopped(_)) {
                self.release(std::iter::once(&part).chain(&parts)).await;
                return;
            }
            // A platform that fails gets no more of it.
            let now = self.tools.clock.now();
            if requests > 0 && self.pace().not_before > now {
                self.release(std::iter::once(&part).chain(&parts)).await;
                return;
            }
            if requests > 0 {
                // The platform's limit holds for taking apart, too.
                let wait = self.pace().allowed_in().min(ISOLATE_WAIT_MAX);
                tokio::time::sleep(wait).await;
                self.pace().take();
            }
            self.keep_leases(&mut part, &mut parts, now);
            if part.tickets.is_empty() {
                continue;
            }
            requests += 1;
            if !self.note_sending(&mut part).await {
                self.release(std::iter::once(&part).chain(&parts)).await;
                return;
            }
            let (events, request) = self.prepare(std::mem::take(&mut part.events)).await;
            part.events = events;
            let answered = match self.send(&part.events, request).await {
                Ok(answered) => answered,
                Err(failure) => {
                    self.pause(failure);
                    self.release(std::iter::once(&part).chain(&parts)).await;
                    return;
                }
            };
            self.follow(part, answered, &mut parts, requests).await;
        }
    }

    /// Keeps the leases while it lasts, and leaves out what is no longer this worker's.
    fn keep_leases(&self, part: &mut Part, parts: &mut [Part], now: Time) {
        let until = self.lease_until(now);
        for part in std::iter::once(part).chain(parts) {
            let keys: Vec<LeaseKey> = part.tickets.iter().map(|ticket| ticket.key).collect();
            let held = self.tools.store.hold(self.place.id, &keys, until);
            if held.len() < keys.len() {
                let held: HashSet<LeaseKey> = held.into_iter().collect();
                let both = std::mem::take(&mut part.tickets).into_iter().zip(std::mem::take(&mut part.events));
                (part.tickets, part.events) = both.filter(|(ticket, _)| held.contains(&ticket.key)).unzip();
            }
        }
    }

    /// Records that events are being sent which must not go out once more in ignorance: the platform would count them twice, or
    /// a file could be given them. After a crash nobody would know. `false` if that cannot be recorded; then they are not to be sent.
    async fn note_sending(&self, part: &mut Part) -> bool {
        let destination = &self.place.destination;
        let mut steps = Vec::new();
        for (ticket, event) in part.tickets.iter_mut().zip(&part.events) {
            if !ticket.sending && (self.place.has_fallback || destination.dedupe(event) == Dedupe::Never) {
                ticket.sending = true;
                steps.push((ticket.key, Step::Sending));
            }
        }
        if steps.is_empty() {
            return true;
        }
        let (destination, at) = (self.place.id, self.tools.clock.now());
        let settlement = Settlement { destination, at, attempt: None, steps, mark: None, exhibits: Vec::new() };
        let noted = self.tools.store.settle(settlement).await;
        if let Err(error) = &noted {
            part.tickets.iter_mut().for_each(|ticket| ticket.sending = false);
            tracing::error!(destination = %self.place.name, %error, "cannot record that events are being sent");
            self.rest(at, at.plus(STORE_AGAIN));
        }
        noted.is_ok()
    }

    /// Gives back what was certainly not received.
    async fn release<'a>(&self, parts: impl Iterator<Item = &'a Part>) {
        self.put_back(parts, None).await;
    }

    /// The same, until `due` or at once.
    async fn put_back<'a>(&self, parts: impl Iterator<Item = &'a Part>, until: Option<Time>) {
        let due = until.unwrap_or_else(|| self.tools.clock.now());
        let (mut keys, mut steps) = (Vec::new(), Vec::new());
        for ticket in parts.flat_map(|part| &part.tickets) {
            if ticket.sending {
                steps.push((ticket.key, Step::Wait { due, reason: WaitReason::Retry }));
            } else {
                keys.push(ticket.key);
            }
        }
        match until {
            Some(due) => self.tools.store.defer(self.place.id, &keys, due),
            None => self.tools.store.release(self.place.id, &keys),
        }
        if !steps.is_empty() {
            self.settle(Conclusion { steps, ..Conclusion::default() }).await;
        }
    }

    /// Settles what is not to be sent, puts back what has to wait, and returns the rest by the requests it travels in.
    async fn sort_out(&self, mut leased: Vec<Leased>) -> Vec<Part> {
        let now = self.tools.clock.now();
        // Changes of one transaction come in the order of their acceptance.
        leased.sort_by_key(|leased| leased.key.event);
        let mut lanes: BTreeMap<u8, Part> = BTreeMap::new();
        let mut over = Conclusion::default();
        for Leased { key, mut event, attempts, deadline, unknown_since } in leased {
            let mut ticket = Ticket { key, attempts, deadline, unknown_since, sending: false };
            match self.look_at(&mut ticket, &mut event, now).await {
                Ok(()) => lanes.entry(self.place.destination.lane(&event)).or_default().push(ticket, event),
                Err(Stay::Step(step)) => over.steps.push((key, step)),
                Err(Stay::Unknown(since)) => {
                    over.steps.push((key, Step::Ended(unknown::outcome(since))));
                    over.exhibits.push((key, self.exhibit(&event, None, &[])));
                }
                Err(Stay::Defer(due)) => self.tools.store.defer(self.place.id, &[key], due),
            }
        }
        if !over.steps.is_empty() {
            self.settle(over).await;
        }
        lanes.into_values().collect()
    }

    /// Whether a delivery is to be sent now.
    async fn look_at(&self, ticket: &mut Ticket, event: &mut SealedEvent, now: Time) -> Result<(), Stay> {
        let destination = &self.place.destination;
        // The clock may have been ahead when it came: platforms refuse what is still to come.
        event.received_at = event.received_at.min(now);
        // Before anything else could be said of it: what may have arrived is neither expired nor waiting.
        let travel = destination.profile().timeout;
        let too_late = |since: &Time| unknown::is_too_late(destination.dedupe(event), *since, now, travel);
        if let Some(since) = ticket.unknown_since.filter(too_late) {
            return Err(Stay::Unknown(since));
        }
        if ticket.deadline <= now {
            return Err(Outcome::Expired.into());
        }
        let until = now.plus(travel * 2 + LEASE_GRACE);
        let wait = |due: Time, reason: WaitReason| match ticket.unknown_since {
            None => Stay::Step(Step::Wait { due: due.min(ticket.deadline), reason }),
            // A recorded wait says that nothing was sent.
            Some(_) => Stay::Defer(due.min(ticket.deadline)),
        };
        if event.name.is_change() {
            match self.turn(ticket.key.event, event, now, until).await {
                Ok(Turn::Go) => {}
                Ok(Turn::Wait(due, reason)) => return Err(wait(due, reason)),
                Ok(Turn::Defer(due)) => return Err(Stay::Defer(due.min(ticket.deadline))),
                Ok(Turn::Skip(reason)) => return Err(Outcome::Skipped(reason).into()),
                Err(error) => {
                    tracing::error!(destination = %self.place.name, %error, "cannot look up what an event changes");
                    return Err(Stay::Defer(now.plus(STORE_AGAIN)));
                }
            }
        }
        // A second report or a late visit may have brought the visitor's no since the event was accepted. What was allowed for
        // a conversion is allowed for a change of it that says nothing itself.
        let original = event.change.as_ref().map(|change| change.original.consent);
        if !self.place.on_unknown_consent.allows(event.consent.or(original.unwrap_or_default())) {
            return Err(Outcome::Skipped(SkipReason::Consent).into());
        }
        ticket.deadline = ticket.deadline.min(destination.deadline(event));
        if ticket.deadline <= now {
            return Err(Outcome::Expired.into());
        }
        // It is due by then; but a clock that was put back makes some due too early.
        if let Some((until, reason)) = destination.hold(event).filter(|(until, _)| *until > now) {
            return Err(match ticket.unknown_since {
                None => Stay::Step(Step::Wait { due: until.min(ticket.deadline), reason }),
                Some(_) => Stay::Defer(until.min(ticket.deadline)),
            });
        }
        match destination.admit(event) {
            Ok(()) => {}
            Err(Unsendable::Skip(reason)) => return Err(Outcome::Skipped(reason).into()),
            Err(Unsendable::Reject(failure)) => {
                return Err(Outcome::Dead { class: FailureClass::Event, failure }.into());
            }
        }
        Ok(())
    }

    /// Does what the verdicts of one request ask for; what has to be sent again apart is added to `parts`.
    async fn follow(&self, part: Part, answered: Answered, parts: &mut Vec<Part>, requests: usize) {
        let now = self.tools.clock.now();
        let may_isolate = requests < ISOLATE_REQUESTS_MAX;
        let alone = part.events.len() == 1;
        self.note_pace(now, &answered);
        let (mut steps, mut apart, mut again) =
            (Vec::with_capacity(part.events.len()), Part::default(), Part::default());
        let mut dead = Vec::new();
        let (mut blocked, mut refused) = (None, Part::default());
        let attempted_at = answered.attempt.at;
        for ((ticket, event), verdict) in part.tickets.into_iter().zip(part.events).zip(answered.verdicts) {
            let later = |failure, wish, unknown: bool| {
                self.later(&ticket, &event, failure, wish, unknown.then_some(attempted_at))
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
                Verdict::Retry { after, failure } => {
                    let dedupe = self.place.destination.dedupe(&event);
                    let unknown = answered.unknown || unknown::is_half_a_yes(dedupe, answered.attempt.status);
                    later(failure, after, unknown)
                }
                Verdict::Isolate(_) if may_isolate => {
                    apart.push(ticket, event);
                    continue;
                }
                Verdict::Isolate(failure) => later(failure, None, false),
                Verdict::Resend if may_isolate && !alone => {
                    again.push(ticket, event);
                    continue;
                }
                Verdict::Resend => later(Failure { code: "resend".into(), ..Failure::default() }, None, false),
                Verdict::Blocked(failure) => {
                    blocked = Some(failure);
                    refused.push(ticket, event);
                    continue;
                }
            };
            if matches!(step, Step::Ended(Outcome::Dead { .. })) {
                dead.push((ticket.key, event));
            }
            steps.push((ticket.key, step));
        }
        if let Some(failure) = blocked {
            let probed = matches!(self.tools.status.of(&self.place.name), State::Paused { .. });
            self.pause(failure);
            // The next probe is another event: this one may be the only one that is refused.
            let next_but_one = probed.then(|| now.plus(self.tools.config.probe_every * 2));
            self.put_back(std::iter::once(&refused), next_but_one).await;
            self.release(parts.iter().chain([&apart, &again])).await;
            parts.clear();
        } else {
            if steps.iter().any(|(_, step)| *step == Step::Ended(Outcome::Delivered)) {
                self.resume();
            }
            let [second, first] = apart.split();
            parts.extend([second, first, again].into_iter().filter(|part| !part.events.is_empty()));
        }
        if !steps.is_empty() {
            let request = answered.request.filter(|_| alone);
            let exhibits = self.exhibits(dead, request, answered.answer).await;
            let (attempt, mark) = (Some(answered.attempt), answered.mark);
            self.settle(Conclusion { attempt, steps, mark, exhibits }).await;
        }
    }

    /// What follows for a delivery that did not get through: it is tried again, unless it may have got through and the
    /// platform would no longer notice. `unknown_at`: this request may have arrived.
    fn later(
        &self,
        ticket: &Ticket,
        event: &SealedEvent,
        failure: Failure,
        wish: Option<Duration>,
        unknown_at: Option<Time>,
    ) -> Step {
        let destination = &self.place.destination;
        let now = self.tools.clock.now();
        let wait = self.tools.config.schedule.wait(ticket.attempts.saturating_add(1), wish);
        let due = now.plus(wait).min(ticket.deadline);
        let travel = destination.profile().timeout;
        match ticket.unknown_since.or(unknown_at) {
            Some(since) if unknown::is_too_late(destination.dedupe(event), since, due, travel) => {
                Step::Ended(unknown::outcome(since))
            }
            _ => Step::Again { due, failure, unknown: unknown_at.is_some() },
        }
    }

    /// A platform that fails for everything gets fewer requests, not one for each waiting event; one that asks for a rest
    /// gets it.
    fn note_pace(&self, now: Time, answered: &Answered) {
        let verdicts = &answered.verdicts;
        let all_failed = verdicts.iter().all(|verdict| matches!(verdict, Verdict::Retry { .. }));
        let mut pace = self.pace();
        if let Some(wait) = answered.throttle {
            pace.throttled_until = pace.throttled_until.max(now.plus(wait.min(REST_MAX)));
            pace.set_at = now;
        }
        if !all_failed {
            (pace.failures, pace.not_before) = (0, Time::default());
            return;
        }
        pace.failures = pace.failures.saturating_add(1);
        let wishes = verdicts.iter().filter_map(|verdict| match verdict {
            Verdict::Retry { after, .. } => *after,
            _ => None,
        });
        // What waits for one conversion action (hours) must not hold up the others: only short wishes are about all.
        let wish = wishes.max().filter(|wish| *wish <= REST_MAX);
        pace.not_before = now.plus(self.tools.config.schedule.wait(pace.failures, wish));
        pace.set_at = now;
    }

    fn pause(&self, reason: Failure) {
        let now = self.tools.clock.now();
        let name = &self.place.name;
        self.rest(now, now.plus(self.tools.config.probe_every));
        let Failure { code, message, .. } = reason.clone();
        if self.tools.status.refused(name, reason, now) {
            tracing::error!(destination = %name, code, message, "destination paused: it refuses our settings; no event is lost, it is tried again");
        }
    }

    fn resume(&self) {
        let name = &self.place.name;
        if self.tools.status.works(name) {
            tracing::info!(destination = %name, "destination works again");
        }
    }
}
