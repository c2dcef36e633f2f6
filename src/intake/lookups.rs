//! What webhooks leave out and their provider can be asked for. The event is durable first, and its deliveries wait; what
//! is learnt in time is filled in and sent with it, and what is not to be had costs nothing but the wait.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    sync::Arc,
    time::Duration,
};

use axum::http::HeaderMap;
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
};

use super::{
    fetch::{FetchError, Fetcher},
    read::read_draft,
    sources::Told,
    webhooks::{Desk, SourceConfig},
};
use crate::{
    delivery::Schedule,
    model::{Lookup, RawEvent, Time},
    store::{StoreError, Waiting},
};

/// Providers are asked so much at once: most allow ten requests a second.
const CONCURRENCY: usize = 4;
/// How often it is looked for events that wait and that nobody told us of.
const SWEEP_EVERY: Duration = Duration::from_secs(60);
/// When to ask again.
const SCHEDULE: Schedule = Schedule { first: Duration::from_secs(2), max: Duration::from_secs(120) };

/// Asks the sources for what events wait for.
pub(super) struct Lookups {
    desk: Desk,
    fetcher: Fetcher,
    wanted: mpsc::Receiver<Lookup>,
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
        let mut running: BTreeSet<Lookup> = BTreeSet::new();
        let mut tasks: JoinSet<(Lookup, u16, Option<Duration>)> = JoinSet::new();
        let mut swept: Option<Time> = None;
        loop {
            let now = self.desk.clock.now();
            if swept.is_none_or(|at| now < at || now.since(at) >= SWEEP_EVERY) {
                swept = Some(now);
                let waiting: BTreeSet<Lookup> = self.desk.pipeline.lookups().into_iter().collect();
                plans.retain(|lookup, _| waiting.contains(lookup));
                waiting.into_iter().for_each(|lookup| begin(&mut plans, &running, lookup, now));
            }
            while tasks.len() < CONCURRENCY
                && let Some((lookup, tries)) = due(&plans, now)
            {
                plans.remove(&lookup);
                running.insert(lookup.clone());
                let (desk, fetcher) = (self.desk.clone(), self.fetcher.clone());
                tasks.spawn(async move {
                    let again = attempt(&desk, &fetcher, &lookup, tries).await;
                    (lookup, tries, again)
                });
            }
            let next = plans.values().map(|plan| plan.due.since(now)).min().unwrap_or(SWEEP_EVERY).min(SWEEP_EVERY);
            tokio::select! {
                Some(lookup) = self.wanted.recv() => begin(&mut plans, &running, lookup, self.desk.clock.now()),
                Some(done) = tasks.join_next() => {
                    // A task that panicked is found again by the sweep.
                    let Ok((lookup, tries, again)) = done else {
                        running.clear();
                        continue;
                    };
                    running.remove(&lookup);
                    if let Some(wait) = again {
                        let due = self.desk.clock.now().plus(wait);
                        plans.insert(lookup, Plan { tries: tries.saturating_add(1), due });
                    }
                }
                () = tokio::time::sleep(next.max(Duration::from_millis(20))), if tasks.len() < CONCURRENCY => {}
                _ = stopped.wait_for(|stopped| *stopped) => return Ok(()),
            }
        }
    }
}

/// Plans a lookup, unless it is planned or under way.
fn begin(plans: &mut BTreeMap<Lookup, Plan>, running: &BTreeSet<Lookup>, lookup: Lookup, now: Time) {
    if !running.contains(&lookup) {
        plans.entry(lookup).or_insert(Plan { tries: 0, due: now });
    }
}

/// The lookup that has been due for longest.
fn due(plans: &BTreeMap<Lookup, Plan>, now: Time) -> Option<(Lookup, u16)> {
    let due = plans.iter().filter(|(_, plan)| plan.due <= now).min_by_key(|(_, plan)| plan.due);
    due.map(|(lookup, plan)| (lookup.clone(), plan.tries))
}

/// Asks once; when to ask again, if that is of use.
async fn attempt(desk: &Desk, fetcher: &Fetcher, lookup: &Lookup, tries: u16) -> Option<Duration> {
    let later = |after| Some(SCHEDULE.wait(tries.saturating_add(1), after));
    // A source that was taken out: its events go as they are when their time has come.
    let config = desk.sources.get(lookup.source.as_str())?;
    let waiting = match desk.pipeline.waiting_for(lookup).await {
        Ok(waiting) if waiting.is_empty() => return None,
        Ok(waiting) => waiting,
        Err(error) => return failed(config, &error, later(None)),
    };
    let found = match config.source.look_up(fetcher, &lookup.what).await {
        Ok(found) => found,
        Err(FetchError::Gone) => None,
        Err(error) => {
            let after = if let FetchError::Later { after, .. } = &error { *after } else { Some(SCHEDULE.max) };
            desk.tally.not_looked_up(&config.name, desk.clock.now(), &error);
            return later(after);
        }
    };
    desk.tally.looked_up(&config.name);
    for waiting in waiting {
        let learnt = found.as_ref().and_then(|told| learnt(config, told, &waiting, desk.clock.now()));
        if let Err(error) = desk.pipeline.looked_up(waiting, learnt).await {
            return failed(config, &error, later(None));
        }
    }
    None
}

fn failed(config: &SourceConfig, error: &StoreError, again: Option<Duration>) -> Option<Duration> {
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
        match map.apply(&told.body, told.root.as_ref(), &HeaderMap::new(), &mut draft) {
            Ok(left_out) => left_out.iter().for_each(|problem| unsound(&problem.detail)),
            Err(problem) => unsound(&problem.detail),
        }
    }
    // What happened, and when, was told by the webhook.
    draft.event = Some(event.name.to_string());
    draft.event_id = Some(event.event_id.to_string());
    draft.time = None;
    let (learnt, left_out) = read_draft(draft, &config.name, now);
    left_out.iter().for_each(|problem| unsound(&problem.detail));
    learnt.inspect_err(|problem| unsound(&problem.detail)).ok()
}

/// What asks the sources; `None` if that already runs.
pub(super) fn lookups(desk: Desk, fetcher: Fetcher) -> Option<Lookups> {
    let wanted = Arc::clone(&desk.pipeline).wanted_lookups()?;
    Some(Lookups::new(desk, fetcher, wanted))
}
