//! What no webhook brought: lists what happened through the shop's API and takes what is missing, as its webhook would
//! have brought it. `POST /v1/sources/{name}/reconcile` does one page; a schedule does all of them.

use std::{io, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::{Path, State},
    http::{HeaderMap, header},
    response::{IntoResponse as _, Response},
    routing::post,
};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tokio::sync::watch;

use super::{
    fetch::{FetchError, Fetcher},
    sources::{Page, Report},
    webhooks::{Desk, SourceConfig},
};
use crate::{
    delivery::Schedule as Waits,
    model::Time,
    store::StoreError,
    web::{Problem, read_body, read_json, require_json},
};

/// More is no request of this kind.
const BODY_BYTES_MAX: usize = 64 << 10;
/// Problems that one answer lists.
const PROBLEMS_MAX: usize = 100;
/// A listing that never ends is cut here: 100 orders a page, a million orders.
const PAGES_MAX: usize = 10_000;
/// The first run after the start leaves the relay time to take what waits at its door.
const FIRST_AFTER: Duration = Duration::from_secs(30);
/// When a page is asked for again that could not be had.
const WAITS: Waits = Waits { first: Duration::from_secs(5), max: Duration::from_secs(300) };
/// How often one page is asked for.
const TRIES_MAX: u16 = 8;

/// When a source is reconciled without anybody asking: `reconcile`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reconcile {
    /// How long after one run the next begins.
    pub every: Duration,
    /// How far back each looks.
    pub since: Duration,
}

/// What reconciling came to.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Reconciled {
    /// Entries that the API listed.
    pub listed: usize,
    /// Those that no webhook had brought.
    pub accepted: usize,
    /// Those that were known.
    pub duplicates: usize,
    /// Those that are no conversions.
    pub ignored: usize,
    /// Those that were refused.
    pub refused: usize,
    /// Why, for the first of them.
    pub problems: Vec<Problem>,
    /// Where the next page begins.
    pub next: Option<String>,
}

impl Reconciled {
    fn add(&mut self, page: Self) {
        self.listed += page.listed;
        self.accepted += page.accepted;
        self.duplicates += page.duplicates;
        self.ignored += page.ignored;
        self.refused += page.refused;
        self.problems.extend(page.problems);
        self.problems.truncate(PROBLEMS_MAX);
        self.next = page.next;
    }
}

/// Why a page was not taken.
enum Failure {
    Fetch(FetchError),
    Store(StoreError),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    since: Option<String>,
    cursor: Option<String>,
    force: Option<bool>,
}

/// Reconciles sources.
#[derive(Clone)]
pub(super) struct Reconciler {
    pub(super) desk: Desk,
    pub(super) fetcher: Fetcher,
    /// How long events are remembered: what is older would count again.
    pub(super) dedupe: Duration,
}

pub(super) fn router(reconciler: Reconciler) -> Router {
    Router::new().route("/v1/sources/{name}/reconcile", post(one_page)).with_state(reconciler)
}

async fn one_page(
    State(reconciler): State<Reconciler>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let body = read_body(body, BODY_BYTES_MAX).await?;
    require_json(&headers)?;
    let Wanted { since, cursor, force } = read_json(&body, "")?;
    let wrong =
        |field: &str, why: String| Problem::invalid_request(Some(format!("/{field}")), format!("{field}: {why}"));
    let since = since.ok_or_else(|| wrong("since", "is missing; it says how far back to look".to_owned()))?;
    let since = Time::parse(&since).map_err(|why| wrong("since", why.to_string()))?;
    let desk = &reconciler.desk;
    let config = desk.sources.get(&name).ok_or_else(|| {
        let known: Vec<&str> = desk.sources.keys().map(String::as_str).collect();
        Problem::unknown(format!("no source of this name is configured; there are: {}", known.join(", ")))
    })?;
    if config.source.listing().is_none() {
        let why = "this source cannot be listed: its kind has no such API, or its `api` is not configured";
        return Err(Problem::conflict(why));
    }
    let oldest = desk.clock.now().minus(reconciler.dedupe);
    if since < oldest && force != Some(true) {
        let why = format!(
            "is before {oldest}, and ids are remembered no longer than that (retention.dedupe): what was delivered \
             before could count twice; force takes it all the same"
        );
        return Err(wrong("since", why));
    }
    let config = config.clone();
    let work = reconciler.clone();
    // To its end, also if whoever asked hangs up in the middle.
    let oldest = (force != Some(true)).then_some(oldest);
    let page = tokio::spawn(async move { work.page(&config, since, cursor.as_deref(), oldest).await });
    match page.await.map_err(|_| Problem::internal())? {
        Ok(page) => {
            let body = serde_json::to_vec(&page).map_err(|_| Problem::internal())?;
            Ok(([(header::CONTENT_TYPE, "application/json")], body).into_response())
        }
        Err(Failure::Store(error)) => Err(error.into()),
        Err(Failure::Fetch(error)) => Err(Problem::bad_gateway(error.to_string())),
    }
}

impl Reconciler {
    /// Lists one page, and takes what is missing. What happened before `oldest` is left: whether it is known cannot be told.
    async fn page(
        &self,
        config: &SourceConfig,
        since: Time,
        cursor: Option<&str>,
        oldest: Option<Time>,
    ) -> Result<Reconciled, Failure> {
        let unlisted = || FetchError::Settings("this source cannot be listed".to_owned());
        let listing = config.source.listing().ok_or_else(unlisted).map_err(Failure::Fetch)?;
        let Page { mut reports, next } = listing.page(&self.fetcher, since, cursor).await.map_err(Failure::Fetch)?;
        for report in &mut reports {
            // A change of yesterday lists an order of last year.
            if let Report::Event(told) = &*report
                && told.draft.time.zip(oldest).is_some_and(|(time, oldest)| time < oldest)
            {
                *report =
                    Report::ignored(told.draft.event.as_deref().unwrap_or_default(), "older than ids are remembered");
            }
            // Where nothing better tells it from others, its content does.
            if let Report::Event(told) = report
                && told.key.is_none()
                && told.draft.transaction_id.is_none()
            {
                let hash = Sha256::digest(told.body.to_string());
                told.key = Some(hash.iter().take(16).map(|byte| format!("{byte:02x}")).collect());
            }
        }
        let (now, listed) = (self.desk.clock.now(), reports.len());
        let taken = self.desk.take(config, &HeaderMap::new(), None, reports, now).await.map_err(Failure::Store)?;
        let (refused, mut problems) = (taken.refused.len(), taken.refused);
        problems.truncate(PROBLEMS_MAX);
        Ok(Reconciled {
            listed,
            accepted: taken.accepted.len(),
            duplicates: taken.duplicates.len(),
            ignored: taken.ignored,
            refused,
            problems,
            next,
        })
    }

    /// Reconciles one source on its schedule until `stopped`.
    pub(super) async fn run(
        self,
        config: SourceConfig,
        schedule: Reconcile,
        mut stopped: watch::Receiver<bool>,
    ) -> io::Result<()> {
        let mut wait = FIRST_AFTER.min(schedule.every);
        loop {
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                _ = stopped.wait_for(|stopped| *stopped) => return Ok(()),
            }
            wait = schedule.every;
            let since = self.desk.clock.now().minus(schedule.since);
            let (this, source) = (self.clone(), config.clone());
            // On its own, so that a panic ends one run and not the schedule.
            let mut run = tokio::spawn(async move { this.all(&source, since).await });
            tokio::select! {
                done = &mut run => if let Err(error) = done {
                    tracing::error!(source = %config.name, %error, "a run of the schedule broke off");
                },
                _ = stopped.wait_for(|stopped| *stopped) => {
                    run.abort();
                    return Ok(());
                }
            }
        }
    }

    /// Lists everything since `since`, and takes what is missing.
    async fn all(&self, config: &SourceConfig, since: Time) {
        let source = &config.name;
        let (mut sum, mut tries) = (Reconciled::default(), 0);
        let mut pages = 0;
        let error = loop {
            let oldest = self.desk.clock.now().minus(self.dedupe);
            match self.page(config, since, sum.next.clone().as_deref(), Some(oldest)).await {
                Ok(page) => {
                    sum.add(page);
                    (pages, tries) = (pages + 1, 0);
                    if sum.next.is_none() {
                        break None;
                    }
                    if pages == PAGES_MAX {
                        break Some(format!("the listing has more than {PAGES_MAX} pages"));
                    }
                }
                Err(failure) => {
                    tries += 1;
                    let (error, after) = match failure {
                        Failure::Fetch(FetchError::Later { why, after }) if tries < TRIES_MAX => (why, after),
                        Failure::Fetch(error) => break Some(error.to_string()),
                        Failure::Store(error) if tries < TRIES_MAX => (error.to_string(), None),
                        Failure::Store(error) => break Some(error.to_string()),
                    };
                    tracing::debug!(%source, error, "a page of a listing is asked for again");
                    tokio::time::sleep(WAITS.wait(tries, after)).await;
                }
            }
        };
        let Reconciled { listed, accepted, refused, .. } = sum;
        match &error {
            None if accepted > 0 => {
                tracing::warn!(%source, listed, accepted, refused, "reconciled: webhooks had not brought all of it");
            }
            None => tracing::info!(%source, listed, accepted, refused, "reconciled"),
            Some(error) => tracing::error!(%source, listed, accepted, refused, error, "not reconciled"),
        }
        self.desk.tally.reconciled(source, self.desk.clock.now(), since, &sum, error);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use async_trait::async_trait;

    use super::*;
    use crate::{
        delivery,
        intake::{
            Draft, Tally,
            sources::{Inbound, Listing, Parsed, Refusal, Source, Told, Verified},
        },
        model::{Clock as _, MockClock, SourceName},
        pipeline::{self, Pipeline},
        store::{conformance, memory},
    };

    const START: Time = Time::from_secs(1_795_165_200);
    const DAY: Duration = Duration::from_secs(86_400);

    /// A shop whose only order was paid at the start.
    struct Shop;

    #[async_trait]
    impl Source for Shop {
        fn verify<'a>(&self, inbound: &'a Inbound<'a>, _now: Time) -> Result<Verified<'a>, Refusal> {
            Ok(Verified::trusted(inbound))
        }

        fn parse(&self, _verified: &Verified<'_>) -> Result<Parsed, Refusal> {
            Ok(Parsed::one(None, Ok(Report::ignored("test", "not a conversion"))))
        }

        fn listing(&self) -> Option<&dyn Listing> {
            Some(self)
        }
    }

    #[async_trait]
    impl Listing for Shop {
        async fn page(&self, _: &Fetcher, _: Time, _: Option<&str>) -> Result<Page, FetchError> {
            let draft = Draft { transaction_id: Some("7".into()), time: Some(START), ..Draft::named("purchase") };
            Ok(Page { reports: vec![Told::new(draft, serde_json::json!({})).into()], next: None })
        }
    }

    #[tokio::test]
    async fn an_order_that_changes_long_after_it_was_paid_does_not_count_again() {
        let stores = memory::open(memory::SimulatedDisk::default(), conformance::config("unused".as_ref()));
        let stores = stores.expect("opens");
        let dedupe = conformance::config("unused".as_ref()).dedupe;
        let clock = Arc::new(MockClock::at(START));
        let config = pipeline::Config { default_country: None, wait_for_visit: Duration::ZERO };
        let pipeline = Pipeline::new(stores, Vec::new(), config, Arc::clone(&clock) as _, delivery::Metrics::default());
        let name = SourceName::new("shop").expect("valid");
        let config = SourceConfig {
            name,
            kind: "test",
            source: Arc::new(Shop),
            map: None,
            reconcile: None,
            transaction_prefix: None,
        };
        let sources = Arc::new([("shop".to_owned(), config.clone())].into());
        let (pipeline, tally) = (Arc::new(pipeline), Tally::default());
        let desk = Desk { pipeline, clock: Arc::clone(&clock) as _, tally, body_bytes_max: 1024, sources };
        let reconciler = Reconciler { desk, fetcher: Fetcher::new().expect("TLS"), dedupe };
        let mut runs = Vec::new();
        for after in [DAY, dedupe - DAY, dedupe + DAY * 2] {
            clock.set(START.plus(after));
            reconciler.all(&config, clock.now().minus(DAY * 2)).await;
            runs.push(reconciler.desk.tally.counts()[0].1.clone());
        }
        let counts: Vec<_> = runs.iter().map(|run| (run.accepted, run.duplicate, run.ignored)).collect();
        assert_eq!(counts, [(1, 0, 0), (1, 1, 0), (1, 1, 1)]);
    }
}
