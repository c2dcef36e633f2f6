//! Tracked links, wired: the links and their rules, the redirect and its writer, and what is looked after meanwhile.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::sync::watch;

use super::StartError;
use crate::{
    admin::{Goals, LinkSettings, Tracked},
    agents::{Agents, parse_overlay},
    capture::{
        Countries,
        redirect::{self, Redirects, Tools, Writer},
    },
    config::Config,
    model::Clock,
    pipeline::Pipeline,
    store::Stores,
    tracking::{
        Links,
        checks::Checks,
        drift::Drift,
        governance::Governance,
        registry::{Places, Registry},
    },
};

/// How often files are looked at, and what drifts is written down.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// Larger files of links or bots are a mistake.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// Everything about links that somebody else needs.
pub(super) struct Wired {
    /// What the admin listener shows and changes.
    pub(super) tracked: Tracked,
    /// What redirects.
    pub(super) redirects: Arc<Redirects>,
    /// What writes what came of that.
    pub(super) writer: Writer,
    /// What asks destinations.
    pub(super) checks: Arc<Checks>,
    /// Who knows countries.
    pub(super) countries: Arc<Countries>,
    /// What looks after the rest.
    pub(super) keeper: Keeper,
    /// What the redirect counts.
    pub(super) metrics: redirect::Metrics,
}

/// Builds it.
///
/// # Errors
/// A file that cannot be used, or TLS.
pub(super) fn wire(
    config: &Config,
    stores: &Stores,
    pipeline: &Arc<Pipeline>,
    clock: &Arc<dyn Clock>,
) -> Result<Wired, StartError> {
    let (settings, book) = (&config.links, &stores.book);
    let governance = Arc::new(Governance::new(settings.policy.clone(), Arc::clone(book)));
    let links = Arc::new(Links::open(Arc::clone(book), settings.max));
    let drift = Arc::new(Drift::new(Arc::clone(&governance), Arc::clone(book)));
    let places = Places { public_url: config.public_url.clone(), hosts: settings.redirect.hosts.clone() };
    let registry =
        Registry::new(Arc::clone(&links), Arc::clone(&governance), Arc::clone(book), Arc::clone(clock), places);
    let registry = Arc::new(registry);
    let proxies = settings.redirect.trusted_proxies.clone();
    let countries = Countries::open(settings.country_header.clone(), settings.geo_file.clone(), proxies)
        .map_err(|error| StartError::LinkFile("links.geo_file", error.to_string()))?;
    let countries = Arc::new(countries);
    let bots = settings.bots_file.clone().map(Watched::new);
    let agents = agents(bots.as_ref()).map_err(|why| StartError::LinkFile("links.bots_file", why))?;
    let checks = Arc::new(Checks::open(settings.checks, Arc::clone(&links), Arc::clone(book), Arc::clone(clock))?);
    let metrics = redirect::Metrics::default();
    let tools = Tools {
        links: Arc::clone(&links),
        clicks: Arc::clone(&stores.clicks),
        pipeline: Arc::clone(pipeline),
        drift: Some(Arc::clone(&drift)),
        agents,
        countries: Arc::clone(&countries),
        clock: Arc::clone(clock),
        metrics: metrics.clone(),
    };
    let (redirects, writer) = Redirects::new(settings.redirect.clone(), tools);
    let checked = !settings.checks.every.is_zero();
    let tracked = Tracked {
        links,
        governance,
        drift: Arc::clone(&drift),
        registry: Arc::clone(&registry),
        settings: LinkSettings { unique_window: settings.unique_window },
        checks: checked.then(|| Arc::clone(&checks)),
        goals: Goals::default(),
    };
    let keeper = Keeper {
        registry,
        drift,
        countries: Arc::clone(&countries),
        redirects: Arc::downgrade(&redirects),
        pipeline: Arc::clone(pipeline),
        clock: Arc::clone(clock),
        file: settings.file.clone().map(Watched::new),
        bots,
    };
    Ok(Wired { tracked, redirects, writer, checks, countries, keeper, metrics })
}

/// Agents, with the bots of this file.
fn agents(bots: Option<&Watched>) -> Result<Agents, String> {
    let overlay = match bots {
        Some(bots) => parse_overlay(&bots.read().map_err(|error| error.to_string())?).map_err(|why| why.to_string())?,
        None => Vec::new(),
    };
    Agents::new(overlay).map_err(|why| why.to_string())
}

/// A file that the operator may change while the relay runs.
struct Watched {
    path: PathBuf,
    /// When it was written, and how long it was, when it was read last.
    seen: Option<(SystemTime, u64)>,
}

impl Watched {
    fn new(path: PathBuf) -> Self {
        let seen = stamp(&path);
        Self { path, seen }
    }

    fn read(&self) -> io::Result<String> {
        if fs::metadata(&self.path)?.len() > FILE_BYTES_MAX {
            return Err(io::Error::other("the file is larger than 64 MiB"));
        }
        fs::read_to_string(&self.path)
    }

    /// Its text, if it is another one than before.
    fn changed(&mut self) -> Option<io::Result<String>> {
        let now = stamp(&self.path);
        if now.is_none() || now == self.seen {
            return None;
        }
        self.seen = now;
        Some(self.read())
    }
}

fn stamp(path: &Path) -> Option<(SystemTime, u64)> {
    let metadata = fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}

/// Brings links in line with their file, reads lists again that changed, and writes down what drifts.
pub(super) struct Keeper {
    registry: Arc<Registry>,
    drift: Arc<Drift>,
    countries: Arc<Countries>,
    /// The writer ends when nobody holds the links any more.
    redirects: std::sync::Weak<Redirects>,
    pipeline: Arc<Pipeline>,
    clock: Arc<dyn Clock>,
    file: Option<Watched>,
    bots: Option<Watched>,
}

impl Keeper {
    /// Reads the file of links for the first time.
    ///
    /// # Errors
    /// If it cannot be read, or none of it stored.
    pub(super) async fn first(&self) -> Result<(), StartError> {
        let Some(file) = &self.file else { return Ok(()) };
        let failed = |why: String| StartError::LinkFile("links.file", why);
        let text = file.read().map_err(|error| failed(error.to_string()))?;
        self.take_links(&text).await.map_err(failed)
    }

    async fn take_links(&self, text: &str) -> Result<(), String> {
        let synced = self.registry.sync_file(text).await.map_err(|refused| {
            let reasons: Vec<String> = refused.reasons().into_iter().map(|(_, reason)| reason).collect();
            reasons.join("; ")
        })?;
        for rejection in &synced.rejected {
            let (line, field, reason) = (rejection.line, &rejection.field, &rejection.reason);
            tracing::warn!(line, field, reason, "an entry of the file of links is not taken");
        }
        let (created, changed, paused) = (synced.created, synced.changed, synced.paused);
        if created + changed + paused > 0 {
            tracing::info!(created, changed, paused, "links were brought in line with their file");
        }
        Ok(())
    }

    /// Looks until `stopped`.
    pub(super) async fn run(mut self, mut stopped: watch::Receiver<bool>) -> io::Result<()> {
        loop {
            let over = tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY) => false,
                _ = stopped.wait_for(|stopped| *stopped) => true,
            };
            let now = self.clock.now();
            let saved = if over { self.drift.save_now(now).await } else { self.drift.save(now).await };
            if let Err(error) = saved {
                tracing::warn!(%error, "what drifts from the UTM policy is not written down");
            }
            if over {
                return Ok(());
            }
            self.pipeline.twins.settle(now);
            let countries = Arc::clone(&self.countries);
            let _reloaded = tokio::task::spawn_blocking(move || countries.reload()).await;
            match self.file.as_mut().and_then(Watched::changed) {
                Some(Ok(text)) => {
                    if let Err(why) = self.take_links(&text).await {
                        tracing::warn!(
                            why,
                            "the file of links has changed and cannot be used; the links stay as they are"
                        );
                    }
                }
                Some(Err(error)) => tracing::warn!(%error, "the file of links cannot be read"),
                None => {}
            }
            self.look_at_bots();
        }
    }

    fn look_at_bots(&mut self) {
        let changed = self.bots.as_mut().and_then(Watched::changed).is_some();
        let Some(redirects) = self.redirects.upgrade().filter(|_| changed) else { return };
        match agents(self.bots.as_ref()) {
            Ok(agents) => {
                tracing::info!("the list of bots is read again");
                redirects.set_agents(agents);
            }
            Err(why) => tracing::warn!(why, "the list of bots has changed and cannot be used; the old one stays"),
        }
    }
}
