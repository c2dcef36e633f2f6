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
    task::JoinSet,
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
        // What is under way, and whether more events have come to want it meanwhile.
        let mut running: BTreeMap<Lookup, bool> = BTreeMap::new();
        let mut tasks: JoinSet<(Lookup, u16, Option<Duration>)> = JoinSet::new();
        let mut swept: Option<Time> = None;
        loop {
            let now = self.desk.clock.now();
            if swept.is_none_or(|at| now < at || now.since(at) >= SWEEP_EVERY) {
                swept = Some(now);
                let waiting: BTreeSet<Lookup> = self.desk.pipeline.lookups().into_iter().collect();
                plans.retain(|lookup, _| waiting.contains(lookup));
                waiting.into_iter().for_each(|lookup| begin(&mut plans, &mut running, lookup, now));
            }
            while tasks.len() < CONCURRENCY
                && let Some((lookup, tries)) = due(&plans, now)
            {
                plans.remove(&lookup);
                running.insert(lookup.clone(), false);
                let (desk, fetcher) = (self.desk.clone(), self.fetcher.clone());
                tasks.spawn(async move {
                    let again = attempt(&desk, &fetcher, &lookup, tries).await;
                    (lookup, tries, again)
                });
            }
            let next = plans.values().map(|plan| plan.due.since(now)).min().unwrap_or(SWEEP_EVERY).min(SWEEP_EVERY);
            tokio::select! {
                Some(lookup) = self.wanted.recv() => begin(&mut plans, &mut running, lookup, self.desk.clock.now()),
                Some(done) = tasks.join_next() => {
                    // A task that panicked is found again by the sweep.
                    let Ok((lookup, tries, again)) = done else {
                        running.clear();
                        continue;
                    };
                    let more = running.remove(&lookup).unwrap_or_default();
                    let now = self.desk.clock.now();
                    match again {
                        Some(wait) => {
                            plans.insert(lookup, Plan { tries: tries.saturating_add(1), due: now.plus(wait) });
                        }
                        None if more => begin(&mut plans, &mut running, lookup, now),
                        None => {}
                    }
                }
                () = tokio::time::sleep(next.max(Duration::from_millis(20))), if tasks.len() < CONCURRENCY => {}
                _ = stopped.wait_for(|stopped| *stopped) => return Ok(()),
            }
        }
    }
}

/// Plans a lookup, unless it is planned; one that is under way comes once more after it.
fn begin(plans: &mut BTreeMap<Lookup, Plan>, running: &mut BTreeMap<Lookup, bool>, lookup: Lookup, now: Time) {
    match running.get_mut(&lookup) {
        Some(more) => *more = true,
        None => {
            plans.entry(lookup).or_insert(Plan { tries: 0, due: now });
        }
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
    // What it belongs to was told by the webhook, or is what was asked for: the purchase of a refund.
    let transaction = event.transaction_id.as_ref().map(ToString::to_string).or(draft.transaction_id.take());
    draft.event = Some(event.name.to_string());
    let unsound = |detail: &str| tracing::warn!(source = %config.name, detail, "left out something that was looked up");
    if let Some(map) = &config.map {
        map.add(&told.body, told.root.as_ref(), &mut draft).iter().for_each(|problem| unsound(&problem.detail));
    }
    // What happened, and when, was told by the webhook.
    draft.event = Some(event.name.to_string());
    draft.event_id = Some(event.event_id.to_string());
    draft.transaction_id = transaction;
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
mod tests {
    use std::{collections::VecDeque, sync::Mutex};

    use async_trait::async_trait;

    use super::*;
    use crate::{
        delivery, destinations,
        intake::{
            Draft, Tally,
            sources::{Inbound, Parsed, Refusal, Report, Source, Verified},
        },
        model::{DestinationId, DestinationName, EventId, EventName, MockClock, NewState, Raw, SourceName, WaitReason},
        pipeline::{self, Pipeline, Route},
        store::{Stores, conformance, memory},
    };

    const NOW: Time = Time::from_secs(1_795_165_200);
    const LIMIT: Duration = Duration::from_secs(600);

    /// Answers lookups from a list.
    struct Crm(Mutex<VecDeque<Result<Option<Told>, FetchError>>>);

    #[async_trait]
    impl Source for Crm {
        fn verify<'a>(&self, inbound: &'a Inbound<'a>, _now: Time) -> Result<Verified<'a>, Refusal> {
            Ok(Verified::trusted(inbound))
        }

        fn parse(&self, _verified: &Verified<'_>) -> Result<Parsed, Refusal> {
            Ok(Parsed::one(None, Ok(Report::ignored("test", "not a conversion"))))
        }

        async fn look_up(&self, _fetcher: &Fetcher, what: &str) -> Result<Option<Told>, FetchError> {
            assert_eq!(what, "deal/7");
            self.0.lock().expect("not poisoned").pop_front().unwrap_or(Err(FetchError::Gone))
        }
    }

    fn contact() -> Told {
        let mut draft = Draft { visitor_id: Some("v-1".into()), ..Draft::default() };
        draft.user.emails = vec![Raw::new("ada@example.com")];
        draft.value = Some(rust_decimal::Decimal::TEN);
        draft.currency = Some("EUR".into());
        Told::new(draft, serde_json::json!({ "id": 7 }))
    }

    fn desk(stores: &Stores, answers: Vec<Result<Option<Told>, FetchError>>, ids: &[DestinationId]) -> Desk {
        let purchase = EventName::new("purchase").expect("valid");
        let name = DestinationName::new("out").expect("valid");
        let kind = destinations::REGISTRY.iter().find(|kind| kind.kind == "file").expect("is known");
        let common = destinations::Common {
            name: name.clone(),
            events: [(purchase.clone(), "Purchase".to_owned())].into(),
            hold_after_click: None,
            fallback_for: None,
        };
        let table = "format = \"jsonl\"\npath = \"unused\"".parse().expect("TOML");
        let destination = (kind.build)(common, table).unwrap_or_else(|problems| panic!("{problems:?}")).into();
        let on_unknown_consent = destinations::OnUnknownConsent::Send;
        let events = [purchase].into();
        let route = Route { name, id: ids[0], destination, events, sources: None, on_unknown_consent, fallback: false };
        let clock = Arc::new(MockClock::at(NOW));
        let config = pipeline::Config { default_country: None, wait_for_visit: Duration::from_secs(30) };
        let outcomes = delivery::Metrics::default();
        let pipeline = Arc::new(Pipeline::new(stores.clone(), vec![route], config, Arc::clone(&clock) as _, outcomes));
        let crm = SourceName::new("crm").expect("valid");
        let source = Arc::new(Crm(Mutex::new(answers.into())));
        let config = SourceConfig { name: crm, kind: "test", source, map: None, reconcile: None };
        let sources = Arc::new([("crm".to_owned(), config)].into());
        Desk { pipeline, clock, tally: Tally::default(), body_bytes_max: 1024, sources }
    }

    /// A deal without its contact, accepted.
    async fn deal(desk: &Desk) -> Lookup {
        let draft = Draft { transaction_id: Some("7".into()), ..Draft::named("purchase") };
        let config = &desk.sources["crm"];
        let told = Told { lookup: Some(("deal/7".to_owned(), LIMIT)), ..Told::new(draft, serde_json::json!({})) };
        let taken =
            desk.take(config, &axum::http::HeaderMap::new(), Some("d-1"), vec![told.into()], NOW).await.expect("works");
        assert_eq!(taken.accepted, ["crm:purchase:7"]);
        desk.pipeline.lookups().pop().expect("is awaited")
    }

    async fn stores(disk: &memory::SimulatedDisk) -> (Stores, Vec<DestinationId>) {
        let stores = memory::open(disk.clone(), conformance::config("unused".as_ref())).expect("opens");
        let ids = stores.events.register(&[DestinationName::new("out").expect("valid")]).await.expect("registers");
        (stores, ids)
    }

    #[tokio::test]
    async fn what_is_learnt_is_sent_and_nothing_is_sent_before() {
        let disk = memory::SimulatedDisk::default();
        let (first, ids) = stores(&disk).await;
        deal(&desk(&first, Vec::new(), &ids)).await;
        drop(first);
        // The power goes before anybody was asked.
        let (stores, ids) = stores(&disk.after_power_cut(0)).await;
        let later = FetchError::Later { why: "the provider answered 503".into(), after: Some(Duration::from_secs(9)) };
        let desk = desk(&stores, vec![Err(later), Ok(Some(contact()))], &ids);
        let lookup = desk.pipeline.lookups().pop().expect("is still awaited");
        let lease = || stores.events.lease(ids[0], 9, NOW, NOW.plus(LIMIT));
        assert!(lease().await.expect("leases").is_empty(), "waits");
        let fetcher = Fetcher::new().expect("TLS");
        let again = attempt(&desk, &fetcher, &lookup, 0).await.expect("to be asked again");
        assert!(again >= Duration::from_secs(9), "{again:?}");
        assert!(desk.tally.counts()[0].1.lookup_failure.is_some());
        assert_eq!(attempt(&desk, &fetcher, &lookup, 1).await, None);
        assert!(desk.tally.counts()[0].1.lookup_failure.is_none() && desk.pipeline.lookups().is_empty());
        let leased = lease().await.expect("leases");
        let event = &leased[0].event;
        assert_eq!((event.user.emails.len(), event.money.is_some(), event.time), (1, true, NOW));
        assert_eq!(event.visitor_id.as_ref().map(|id| id.as_str()), Some("v-1"));
        assert_eq!(attempt(&desk, &fetcher, &lookup, 0).await, None, "nothing waits for it any more");
    }

    #[tokio::test]
    async fn a_transaction_that_the_webhook_left_out_is_learnt() {
        let (stores, ids) = stores(&memory::SimulatedDisk::default()).await;
        let found = Draft { transaction_id: Some("in_7".into()), ..contact().draft };
        let desk = desk(&stores, vec![Ok(Some(Told::new(found, serde_json::Value::Null)))], &ids);
        let told = Told::new(Draft::named("purchase"), serde_json::json!({}));
        let told = Told { key: Some("ch_7".into()), lookup: Some(("deal/7".to_owned(), LIMIT)), ..told };
        let config = &desk.sources["crm"];
        desk.take(config, &HeaderMap::new(), None, vec![told.into()], NOW).await.expect("works");
        let lookup = desk.pipeline.lookups().pop().expect("is awaited");
        assert_eq!(attempt(&desk, &Fetcher::new().expect("TLS"), &lookup, 0).await, None);
        let leased = stores.events.lease(ids[0], 9, NOW, NOW.plus(LIMIT)).await.expect("leases");
        assert_eq!(leased[0].event.transaction(), "in_7");
    }

    #[tokio::test]
    async fn an_event_goes_as_it_is_when_nothing_is_to_be_had_or_the_wait_is_over() {
        let (stores, ids) = stores(&memory::SimulatedDisk::default()).await;
        let answers = vec![Err(FetchError::Settings("the provider answered 401".into())), Err(FetchError::Gone)];
        let desk = desk(&stores, answers, &ids);
        let lookup = deal(&desk).await;
        let timeline = stores.events.timeline(&EventId::new("crm:purchase:7").expect("valid")).await.expect("reads");
        let NewState::Queued { due, wait, .. } = timeline.expect("is there").deliveries[0].start else {
            panic!("is to be sent");
        };
        assert_eq!((due, wait), (NOW.plus(LIMIT), Some(WaitReason::Lookup)));
        assert_eq!(stores.events.next_due(ids[0]), Some(NOW.plus(LIMIT)), "whatever becomes of the lookup");
        let fetcher = Fetcher::new().expect("TLS");
        assert!(
            attempt(&desk, &fetcher, &lookup, 0).await.expect("a token can be corrected") >= Duration::from_secs(60)
        );
        assert_eq!(attempt(&desk, &fetcher, &lookup, 1).await, None);
        let leased = stores.events.lease(ids[0], 9, NOW, NOW.plus(LIMIT)).await.expect("leases");
        assert_eq!(leased.len(), 1, "due at once");
    }
}
