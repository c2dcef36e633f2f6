//! What webhooks leave out and their provider can be asked for. The event is durable first, and its deliveries wait; what
//! is learnt in time is filled in and sent with it, and what is not to be had costs nothing but the wait.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::{mpsc, watch},
    task::{Id, JoinSet},
};

use super::{
    draft::Draft,
    fetch::{FetchError, Fetcher},
    read::read_draft,
    sources::Told,
    webhooks::{Desk, SourceConfig},
};
use crate::{
    delivery::Schedule,
    model::{Lookup, RawEvent, SourceName, Time},
    store::{StoreError, Waiting},
};

/// Each source is asked so much at once: most providers allow ten requests a second.
const CONCURRENCY: usize = 4;
/// How often it is looked for events that wait and that nobody told us of.
const SWEEP_EVERY: Duration = Duration::from_secs(60);
/// How long a source rests that refused a question. It may have refused that one alone: then the others go on.
const REFUSED_REST: Duration = Duration::from_secs(5);
/// When to ask again.
const SCHEDULE: Schedule = Schedule { first: Duration::from_secs(2), max: Duration::from_secs(120) };

/// Asks the sources for what events wait for.
pub(super) struct Lookups {
    desk: Desk,
    fetcher: Fetcher,
    wanted: mpsc::Receiver<Lookup>,
}

/// When to ask again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Again {
    wait: Duration,
    /// How long the provider is left alone, whatever it would be asked for.
    rest: Option<Duration>,
}

/// A lookup that somebody asks for at this moment.
struct UnderWay {
    task: Id,
    /// More events have come to wait for it meanwhile.
    again: bool,
}

/// How one lookup stands that did not succeed yet.
#[derive(Clone, Copy)]
struct Plan {
    tries: u16,
    due: Time,
}

impl Lookups {
    pub(super) const fn new(desk: Desk, fetcher: Fetcher, wanted: mpsc::Receiver<Lookup>) -> Self {
        Self { desk, fetcher, wanted }
    }

    /// Works until `stopped`. What is under way then is asked for again after the next start.
    ///
    /// # Errors
    /// None; the signature is that of every task of the relay.
    pub(super) async fn run(mut self, mut stopped: watch::Receiver<bool>) -> io::Result<()> {
        let mut plans: BTreeMap<Lookup, Plan> = BTreeMap::new();
        let mut running: BTreeMap<Lookup, UnderWay> = BTreeMap::new();
        // Until when a source wants to be left alone: also with what comes meanwhile.
        let mut rests: BTreeMap<SourceName, Time> = BTreeMap::new();
        let mut tasks: JoinSet<(Lookup, u16, Option<Again>)> = JoinSet::new();
        let mut swept: Option<Time> = None;
        loop {
            let now = self.desk.clock.now();
            if swept.is_none_or(|at| now < at || now.since(at) >= SWEEP_EVERY) {
                swept = Some(now);
                let waiting: BTreeSet<Lookup> = self.desk.pipeline.lookups().into_iter().collect();
                plans.retain(|lookup, _| waiting.contains(lookup));
                waiting.into_iter().for_each(|lookup| begin(&mut plans, &mut running, &rests, lookup, now));
            }
            let wait = loop {
                let (lookup, tries) = match next(&plans, &running) {
                    Some((lookup, plan)) if plan.due <= now => (lookup.clone(), plan.tries),
                    Some((_, plan)) => break plan.due.since(now).min(SWEEP_EVERY),
                    None => break SWEEP_EVERY,
                };
                plans.remove(&lookup);
                let (desk, fetcher, asked) = (self.desk.clone(), self.fetcher.clone(), lookup.clone());
                let task = tasks.spawn(async move {
                    let again = attempt(&desk, &fetcher, &asked, tries).await;
                    (asked, tries, again)
                });
                running.insert(lookup, UnderWay { task: task.id(), again: false });
            };
            tokio::select! {
                Some(lookup) = self.wanted.recv() => begin(&mut plans, &mut running, &rests, lookup, self.desk.clock.now()),
                Some(done) = tasks.join_next() => {
                    let (lookup, tries, again) = match done {
                        Ok(done) => done,
                        // A task that panicked: what it asked for is found again by the sweep.
                        Err(error) => {
                            running.retain(|_, under_way| under_way.task != error.id());
                            continue;
                        }
                    };
                    let more = running.remove(&lookup).is_some_and(|under_way| under_way.again);
                    let now = self.desk.clock.now();
                    match again {
                        Some(Again { wait, rest }) => {
                            if let Some(until) = rest.map(|rest| now.plus(rest)) {
                                let of_source = plans.iter_mut().filter(|(other, _)| other.source == lookup.source);
                                of_source.for_each(|(_, plan)| plan.due = plan.due.max(until));
                                rests.insert(lookup.source.clone(), until);
                            }
                            plans.insert(lookup, Plan { tries: tries.saturating_add(1), due: now.plus(wait) });
                        }
                        None if more => begin(&mut plans, &mut running, &rests, lookup, now),
                        None => {}
                    }
                }
                () = tokio::time::sleep(wait.max(Duration::from_millis(20))) => {}
                _ = stopped.wait_for(|stopped| *stopped) => return Ok(()),
            }
        }
    }
}

/// Plans a lookup, unless it is planned, for when its source may be asked; one that is under way comes once more after it.
fn begin(
    plans: &mut BTreeMap<Lookup, Plan>,
    running: &mut BTreeMap<Lookup, UnderWay>,
    rests: &BTreeMap<SourceName, Time>,
    lookup: Lookup,
    now: Time,
) {
    match running.get_mut(&lookup) {
        Some(under_way) => under_way.again = true,
        None => {
            let due = rests.get(&lookup.source).map_or(now, |&until| until.max(now));
            plans.entry(lookup).or_insert(Plan { tries: 0, due });
        }
    }
}

/// The lookup that is due first, of the sources that may be asked more at once: one that does not answer keeps no other
/// waiting.
fn next<'a, T>(plans: &'a BTreeMap<Lookup, Plan>, running: &BTreeMap<Lookup, T>) -> Option<(&'a Lookup, &'a Plan)> {
    let mut asked: BTreeMap<&SourceName, usize> = BTreeMap::new();
    running.keys().for_each(|lookup| *asked.entry(&lookup.source).or_default() += 1);
    let free = |lookup: &Lookup| asked.get(&lookup.source).is_none_or(|&asked| asked < CONCURRENCY);
    plans.iter().filter(|(lookup, _)| free(lookup)).min_by_key(|(_, plan)| plan.due)
}

/// Asks once; when to ask again, if that is of use.
async fn attempt(desk: &Desk, fetcher: &Fetcher, lookup: &Lookup, tries: u16) -> Option<Again> {
    let wait = |after| SCHEDULE.wait(tries.saturating_add(1), after);
    let later = || Some(Again { wait: wait(None), rest: None });
    // A source that was taken out: its events go as they are when their time has come.
    let config = desk.sources.get(lookup.source.as_str())?;
    match desk.pipeline.waiting_for(lookup).await {
        Ok(waiting) if waiting.is_empty() => return None,
        Ok(_) => {}
        Err(error) => return failed(config, &error, later()),
    }
    let found = match config.source.look_up(fetcher, &lookup.what).await {
        Ok(found) => found,
        Err(FetchError::Gone) => None,
        Err(error) => {
            desk.tally.not_looked_up(&config.name, desk.clock.now(), &error);
            return match error {
                FetchError::Later { after, .. } => {
                    let wait = wait(after);
                    Some(Again { wait, rest: after.map(|_| wait) })
                }
                _ => Some(Again { wait: wait(Some(SCHEDULE.max)), rest: Some(REFUSED_REST) }),
            };
        }
    };
    desk.tally.looked_up(&config.name);
    // As they are now: meanwhile, second reports may have told more of them.
    let waiting = match desk.pipeline.waiting_for(lookup).await {
        Ok(waiting) => waiting,
        Err(error) => return failed(config, &error, later()),
    };
    for waiting in waiting {
        let learnt = found.as_ref().and_then(|told| learnt(config, told, &waiting, desk.clock.now()));
        if let Err(error) = desk.pipeline.looked_up(waiting, learnt).await {
            return failed(config, &error, later());
        }
    }
    None
}

fn failed(config: &SourceConfig, error: &StoreError, again: Option<Again>) -> Option<Again> {
    tracing::warn!(source = %config.name, %error, "an event was not completed with what was looked up");
    again
}

/// The waiting event as far as its source told of it now.
fn learnt(config: &SourceConfig, told: &Told, waiting: &Waiting, now: Time) -> Option<RawEvent> {
    let event = &waiting.sealed;
    let mut draft = told.draft.clone();
    draft.event = Some(event.name.to_string());
    let unsound = |detail: &str| tracing::warn!(source = %config.name, detail, "left out something that was looked up");
    if let Some(map) = &config.map {
        map.add(&told.body, told.root.as_ref(), &mut draft).iter().for_each(|problem| unsound(&problem.detail));
    }
    // What happened, and when, was told by the webhook.
    draft.event = Some(event.name.to_string());
    draft.event_id = Some(event.event_id.to_string());
    let told = draft.transaction_id.take().map(|id| config.transaction(&id));
    draft.transaction_id = event.transaction_id.as_ref().map(ToString::to_string).or(told);
    draft.time = None;
    // A worth that makes no sense costs only itself.
    let worthless = Draft { value: None, currency: None, ..draft.clone() };
    for draft in [draft, worthless] {
        let (learnt, left_out) = read_draft(draft, &config.name, now);
        left_out.iter().for_each(|problem| unsound(&problem.detail));
        match learnt {
            Ok(learnt) => return Some(learnt),
            Err(problem) => unsound(&problem.detail),
        }
    }
    None
}

/// What asks the sources; `None` if that already runs.
pub(super) fn lookups(desk: Desk, fetcher: Fetcher) -> Option<Lookups> {
    let wanted = Arc::clone(&desk.pipeline).wanted_lookups()?;
    Some(Lookups::new(desk, fetcher, wanted))
}

#[cfg(test)]
mod tests;
