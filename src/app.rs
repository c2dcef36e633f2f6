//! Wiring: builds the real things from a configuration, runs them, and takes them down in order.

mod links;
mod upkeep;

use std::{
    io::{self, Write as _},
    net::SocketAddr,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{Router, extract::State, http::StatusCode, middleware, routing::get};
use tokio::{net::TcpListener, sync::watch, task::JoinSet};

use crate::{
    admin::{self, Admin},
    capture::{
        self, Capture,
        privacy_page::{self, PrivacyFacts, Retention},
    },
    config::{Config, DestinationConfig},
    delivery::{self, Delivery, Place, Status, Tools},
    intake::{self, Tally},
    model::{Clock, DestinationId, Secret, SourceName},
    pipeline::{Pipeline, Route},
    store::{self, Health, StoreError, Stores},
    telemetry::{self, Observed},
    web::{self, BoundedListener, Peer, Problem, ServedFile},
};

/// The file in the data directory that the running process holds.
const LOCK_FILE: &str = "lock";
/// The file with the key that was generated because none is configured.
const KEY_FILE: &str = "relay.key";

/// Keys shorter than this are warned about.
const KEY_BYTES_SAFE: usize = 16;

/// Why the relay does not start. Each is one line that says what to do.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data directory.
    #[error("cannot use the data directory {0}: {1}")]
    Data(PathBuf, io::Error),
    /// Somebody else has it.
    #[error(
        "the data directory {0} is in use by another conversion-relay; stop that one, or set store.path to another"
    )]
    Locked(PathBuf),
    /// A port.
    #[error("cannot listen on {0}: {1}; stop what listens there, or set {2} to another address")]
    Listen(SocketAddr, io::Error, &'static str),
    /// A store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A destination.
    #[error(transparent)]
    Delivery(#[from] delivery::StartError),
    /// A file that links need.
    #[error("cannot use the file of {0}: {1}")]
    LinkFile(&'static str, String),
    /// The client that asks the providers of sources, and the destinations of links.
    #[error("cannot set up TLS for asking the providers of sources and the destinations of links: {0}")]
    Tls(#[from] reqwest::Error),
}

/// A relay that runs.
pub struct Running {
    /// Where the public listener is.
    pub public: SocketAddr,
    /// Where the admin listener is.
    pub admin: SocketAddr,
    /// The key that was generated because none is configured, and whether it is new.
    pub generated_key: Option<(Secret, bool)>,
    draining: Arc<AtomicBool>,
    stop: watch::Sender<bool>,
    listeners: JoinSet<io::Result<()>>,
    delivery: Delivery,
    drain: Duration,
    _lock: std::fs::File,
}

/// Starts the relay: takes the data directory, opens the stores, starts the workers, then listens.
///
/// # Errors
/// [`StartError`]; then nothing runs.
pub async fn start(mut config: Config, clock: Arc<dyn Clock>) -> Result<Running, StartError> {
    warn_of_short_keys(&config);
    let lock = lock(&config.store.path)?;
    let generated_key = generated_key(&mut config)?;
    let public = bind(config.public, "public.listen").await?;
    let admin = bind(config.admin, "admin.listen").await?;
    let settings = config.store.clone();
    let default_country = config.pipeline.default_country;
    let stores = tokio::task::spawn_blocking(move || store::sled::open(&settings)).await;
    let stores = stores.unwrap_or_else(|_| Err(StoreError::Damaged("opening the store failed unexpectedly".into())))?;
    let ids = register(&stores, &config.destinations).await?;

    let metrics = delivery::Metrics::default();
    let (status, observed) = (Status::default(), Observed::default());
    let places = Arc::new(places(&config.destinations, &ids));
    let routes = routes(&config.destinations, &ids);
    let pipeline =
        Arc::new(Pipeline::new(stores.clone(), routes, config.pipeline, Arc::clone(&clock), metrics.clone()));
    pipeline.complete_all().await?;

    let mut registry = telemetry::registry(&pipeline.metrics, &metrics, &stores, &places, &status, &observed, &clock);
    let tally = Tally::default();
    tally.register(&mut registry);
    let tools = Tools {
        store: Arc::clone(&stores.events),
        clock: Arc::clone(&clock),
        config: config.delivery,
        metrics,
        status: status.clone(),
    };
    let delivery = Delivery::start(&places, &tools)?;

    let wired = links::wire(&config, &stores, &pipeline, &clock)?;
    wired.keeper.first().await?;
    wired.metrics.register(&mut registry);
    wired.checks.register(&mut registry);
    let capture = Arc::new(Capture {
        config: config.capture.clone(),
        pipeline: Arc::clone(&pipeline),
        clock: Arc::clone(&clock),
        read_event: intake::read_event,
        redirects: Some(Arc::clone(&wired.redirects)),
        taken_over: capture::TakenOver::default(),
        drift: Some(Arc::clone(&wired.tracked.drift)),
        metrics: capture::Metrics::default(),
    });
    capture.metrics.register(&mut registry);
    pipeline.twins.register(&mut registry);
    let draining = Arc::new(AtomicBool::new(false));
    let health = health_router(stores.clone(), Arc::clone(&draining));
    let intake = intake::build(&config.intake, Arc::clone(&pipeline), Arc::clone(&clock), &tally, config.store.dedupe)?;
    let public_routes = intake
        .public
        .clone()
        .merge(capture::router(Arc::clone(&capture)))
        .merge(wired.redirects.router())
        .merge(privacy_page::router(&config.capture.privacy_path, facts(&config), Arc::clone(&wired.countries)))
        .merge(web::files_router(Arc::clone(&stores.events), served_files(&config.destinations, &ids)))
        .merge(health.clone());
    let public_routes = wired.redirects.in_front_of(public_routes);
    let upkeep =
        upkeep::Upkeep { stores: stores.clone(), places: Arc::clone(&places), observed, clock: Arc::clone(&clock) };
    let admin_routes = Admin {
        stores,
        tracked: wired.tracked,
        places,
        status,
        clock,
        warn_before: config.delivery.warn_before,
        default_country,
        steering: Arc::default(),
        qa: admin::QaSettings { tag_path: config.capture.tag_path.clone(), utm: config.links.redirect.utm },
        metrics: Arc::new(move || telemetry::render(&registry)),
    };
    let admin_routes = admin::router(admin_routes, config.admin_token.take(), intake.admin.clone()).merge(health);

    let (stop, stopped) = watch::channel(false);
    let mut listeners = JoinSet::new();
    let (public_at, admin_at) = (local(&public), local(&admin));
    listeners.spawn(listen(public, public_routes, stopped.clone()));
    listeners.spawn(listen(admin, admin_routes, stopped.clone()));
    for task in intake.tasks(&stopped) {
        listeners.spawn(task);
    }
    listeners.spawn(wired.writer.run(stopped.clone()));
    listeners.spawn(wired.checks.run(stopped.clone()));
    listeners.spawn(wired.keeper.run(stopped.clone()));
    listeners.spawn(upkeep.clone().maintain(config.store, stopped.clone()));
    listeners.spawn(upkeep.audit(stopped));
    Ok(Running {
        public: public_at,
        admin: admin_at,
        generated_key,
        draining,
        stop,
        listeners,
        delivery,
        drain: config.delivery.drain,
        _lock: lock,
    })
}

impl Running {
    /// Stops in order: no new requests, those under way are answered, workers finish what is in flight. What is not done
    /// in the grace period is due again at the next start.
    pub async fn stop(mut self) {
        self.draining.store(true, Ordering::Relaxed);
        self.stop.send_replace(true);
        let answered = async { while self.listeners.join_next().await.is_some() {} };
        let delivered = self.delivery.stop();
        if tokio::time::timeout(self.drain, async { tokio::join!(answered, delivered) }).await.is_err() {
            tracing::warn!("some connections were still open after the grace period");
        }
    }
}

/// The destinations' numbers in the store, in their order.
///
/// # Errors
/// Of the store.
pub async fn register(stores: &Stores, destinations: &[DestinationConfig]) -> Result<Vec<DestinationId>, StoreError> {
    let names: Vec<_> = destinations.iter().map(|destination| destination.name.clone()).collect();
    stores.events.register(&names).await
}

/// What the pipeline routes by.
#[must_use]
pub fn routes(destinations: &[DestinationConfig], ids: &[DestinationId]) -> Vec<Route> {
    let route = |(config, &id): (&DestinationConfig, &DestinationId)| Route {
        name: config.name.clone(),
        id,
        destination: Arc::clone(&config.destination),
        events: config.events.clone(),
        sources: config.sources.clone().map(|sources| sources.into_iter().collect()),
        on_unknown_consent: config.on_unknown_consent,
        fallback: config.fallback_for.is_some(),
        click: config.click,
    };
    destinations.iter().zip(ids).map(route).collect()
}

/// What the page for visitors tells.
fn facts(config: &Config) -> PrivacyFacts {
    let capture::Config { require_consent, respect_gpc, meta_cookies, own_domains, cookie_life, .. } =
        config.capture.clone();
    let store::Config { visits, clicks, delivered, dead_letters, dedupe, .. } = config.store;
    PrivacyFacts {
        contact: config.privacy_contact.clone(),
        require_consent,
        respect_gpc,
        meta_cookies,
        cookie_life,
        own_domains,
        retention: Retention { visits, clicks, delivered, dead_letters, dedupe },
        destinations: config.destinations.iter().map(|place| (place.kind, place.on_unknown_consent)).collect(),
    }
}

fn places(destinations: &[DestinationConfig], ids: &[DestinationId]) -> Vec<Place> {
    let place = |(config, &id): (&DestinationConfig, &DestinationId)| Place {
        name: config.name.clone(),
        kind: config.kind,
        id,
        destination: Arc::clone(&config.destination),
        on_unknown_consent: config.on_unknown_consent,
        concurrency: config.concurrency,
        events: config.events.clone(),
        sources: config.sources.clone(),
        fallback_for: config.fallback_for.clone(),
        has_fallback: destinations.iter().any(|other| other.fallback_for.as_ref() == Some(&config.name)),
    };
    destinations.iter().zip(ids).map(place).collect()
}

fn served_files(destinations: &[DestinationConfig], ids: &[DestinationId]) -> Vec<ServedFile> {
    let served = |(config, &id): (&DestinationConfig, &DestinationId)| {
        let file = config.destination.file()?;
        Some(ServedFile {
            name: config.name.clone(),
            id,
            directory: file.directory.clone(),
            extension: file.extension,
            header: file.header.clone(),
            days: file.days_served,
            auth: file.auth.clone(),
        })
    };
    destinations.iter().zip(ids).filter_map(served).collect()
}

fn lock(data: &Path) -> Result<std::fs::File, StartError> {
    let failed = |error| StartError::Data(data.to_owned(), error);
    // Hashes of personal data are nobody else's business either.
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(data).map_err(failed)?;
    let file = std::fs::File::options().write(true).create(true).truncate(false).open(data.join(LOCK_FILE));
    let file = file.map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(StartError::Locked(data.to_owned())),
        Err(std::fs::TryLockError::Error(error)) => Err(failed(error)),
    }
}

/// Without a configured key, one of our own making: kept in the data directory, readable by its owner alone.
fn generated_key(config: &mut Config) -> Result<Option<(Secret, bool)>, StartError> {
    if !config.intake.keys.is_empty() {
        return Ok(None);
    }
    let path = config.store.path.join(KEY_FILE);
    let failed = |error| StartError::Data(path.clone(), error);
    let (key, new) = match std::fs::read_to_string(&path) {
        Ok(text) if !text.trim().is_empty() => (text.trim().to_owned(), false),
        Ok(_) => return Err(failed(io::Error::other("the file is empty; delete it to get a new key"))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let key = format!("{:032x}", rand::random::<u128>());
            let mut file =
                std::fs::File::options().write(true).create_new(true).mode(0o600).open(&path).map_err(failed)?;
            writeln!(file, "{key}").and_then(|()| file.sync_all()).map_err(failed)?;
            (key, true)
        }
        Err(error) => return Err(failed(error)),
    };
    let key = Secret::new(key);
    let source = SourceName::new("default").expect("a valid name");
    config.intake.keys.push((source, key.clone()));
    Ok(Some((key, new)))
}

/// Short keys work, as a test needs no more, but they can be guessed.
fn warn_of_short_keys(config: &Config) {
    let keys = config.intake.keys.iter().map(|(source, key)| (format!("intake.keys, {source}"), key));
    let token = config.admin_token.iter().map(|token| ("admin.token".to_owned(), token));
    for (setting, _) in keys.chain(token).filter(|(_, key)| key.expose().len() < KEY_BYTES_SAFE) {
        tracing::warn!(setting, "shorter than {KEY_BYTES_SAFE} characters: it can be guessed");
    }
}

async fn bind(address: SocketAddr, key: &'static str) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).await.map_err(|error| StartError::Listen(address, error, key))
}

fn local(listener: &TcpListener) -> SocketAddr {
    listener.local_addr().expect("a bound listener has an address")
}

async fn listen(listener: TcpListener, routes: Router, mut stopped: watch::Receiver<bool>) -> io::Result<()> {
    let routes = routes.layer(middleware::from_fn(web::with_request_id));
    let service = routes.into_make_service_with_connect_info::<Peer>();
    let shutdown = async move {
        let _gone = stopped.wait_for(|stopped| *stopped).await;
    };
    axum::serve(BoundedListener::new(listener), service).with_graceful_shutdown(shutdown).await
}

fn health_router(stores: Stores, draining: Arc<AtomicBool>) -> Router {
    let ready = move |State((stores, draining)): State<(Stores, Arc<AtomicBool>)>| async move {
        if draining.load(Ordering::Relaxed) {
            return Err(Problem::from(StoreError::Unavailable("shutting down".into())));
        }
        for health in [stores.events.health(), stores.visits.health()] {
            if let Health::Failed(reason) = health {
                return Err(Problem::from(StoreError::Unavailable(reason)));
            }
        }
        Ok((StatusCode::OK, "ready\n"))
    };
    Router::new()
        .route("/readyz", get(ready))
        .with_state((stores, draining))
        .route("/healthz", get(async || (StatusCode::OK, "ok\n")))
}
