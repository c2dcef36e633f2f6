//! Strict stand-ins for Meta, Google's Data Manager and Ads APIs, GA4's Measurement Protocol and Google's token endpoint,
//! on one HTTP router.
//!
//! They judge independently: nothing here shares code with `destinations` or `privacy`, so a mistake made there is
//! refused here. They refuse what the platforms refuse (and every field the platforms do not document), answer in the
//! platforms' shapes, deduplicate as they do, and can be told to fail.
//!
//! | stand-in for | base address to configure | serves |
//! |---|---|---|
//! | Meta Conversions API | `http://host:port/meta` | `POST /v{N.N}/{pixel_id}/events`, `GET /v{N.N}/{pixel_id}` |
//! | Data Manager API | `http://host:port/google` | `POST /v1/events:ingest`, `GET /v1/requestStatus:retrieve` |
//! | Google Ads API | `http://host:port/google-ads` | `POST /v{N}/customers/{id}:uploadClickConversions`, `…:uploadConversionAdjustments` |
//! | Google's token endpoint | `http://host:port/oauth/token` | `POST`, both grants |
//! | GA4 Measurement Protocol | `http://host:port/ga4` | `POST /mp/collect`, `POST /debug/mp/collect` |
//! | control | `http://host:port/_sandbox` | `received`, `stats`, `faults` (also at `/faults`), `reset` |
//!
//! Nothing survives a restart and everything in memory is bounded by [`Config`]. Not for a public address: the control
//! API has no password.

mod control;
mod data_manager;
mod fault;
mod ga4;
mod google_ads;
mod ledger;
mod meta;
mod oauth;
mod shape;

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::DefaultBodyLimit,
    http::{HeaderValue, StatusCode, header},
    response::Response,
    routing::{get, post},
};
use serde::Serialize;

pub use fault::{Fault, FaultMode, FaultRequest, InvalidFault, Platform};
pub use ledger::{PlatformStats, RefusalNote};

use crate::model::{Clock, Secret, Time};
use ledger::Ledger;

/// How much the sandbox remembers, and what it accepts. [`Config::default`] suits tests, the demo and benchmarks.
#[derive(Clone, Debug)]
pub struct Config {
    /// Accepted events kept for inspection, for each platform; the oldest go first. 10,000.
    pub recorded_max: usize,
    /// Bytes of accepted events kept for inspection, for each platform. 64 MiB.
    pub recorded_bytes_max: usize,
    /// Ids remembered for deduplication, for each platform, about 32 bytes each; the oldest go first. 5,000,000.
    pub ids_max: usize,
    /// Data Manager requests whose status can be asked for; the oldest go first. 10,000.
    pub receipts_max: usize,
    /// Largest request body in bytes; larger ones get a 413. 16 MiB.
    pub body_bytes_max: usize,
    /// The only access tokens that the stand-in for Meta takes. Empty, the default: any but the words `expired`
    /// (answered like an expired token) and `forbidden` (like a missing permission).
    pub meta_tokens: Vec<Secret>,
    /// How long an issued access token is good for. 3599 seconds, as Google says.
    pub token_lifetime: Duration,
    /// For how long the status of a Data Manager request is `PROCESSING`. Zero; at Google it is half an hour and more.
    pub processing: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            recorded_max: 10_000,
            recorded_bytes_max: 64 << 20,
            ids_max: 5_000_000,
            receipts_max: 10_000,
            body_bytes_max: 16 << 20,
            meta_tokens: Vec::new(),
            token_lifetime: Duration::from_secs(3599),
            processing: Duration::ZERO,
        }
    }
}

/// Counters of all stand-ins since the start or the last reset.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Stats {
    /// Meta.
    pub meta: PlatformStats,
    /// Data Manager API.
    pub data_manager: PlatformStats,
    /// Google Ads API.
    pub google_ads: PlatformStats,
    /// Token endpoint.
    pub oauth: PlatformStats,
    /// GA4 Measurement Protocol. `accepted` are the recorded events; `refused` are requests that GA4 drops without a word.
    pub ga4: PlatformStats,
}

/// The stand-ins and what they have seen. Shared by reference; all methods may be called while requests come in.
pub struct Sandbox {
    clock: Arc<dyn Clock>,
    config: Config,
    meta: Mutex<Ledger>,
    data_manager: Mutex<Ledger>,
    google_ads: Mutex<Ledger>,
    oauth: Mutex<Ledger>,
    ga4: Mutex<Ledger>,
    tokens: Mutex<oauth::Tokens>,
    receipts: Mutex<data_manager::Receipts>,
    ads: Mutex<google_ads::Books>,
    faults: Mutex<fault::Faults>,
    serial: AtomicU64,
}

impl Sandbox {
    /// A sandbox that has seen nothing yet.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, config: Config) -> Arc<Self> {
        Arc::new(Self {
            clock,
            config,
            meta: Mutex::default(),
            data_manager: Mutex::default(),
            google_ads: Mutex::default(),
            oauth: Mutex::default(),
            ga4: Mutex::default(),
            tokens: Mutex::default(),
            receipts: Mutex::default(),
            ads: Mutex::default(),
            faults: Mutex::default(),
            serial: AtomicU64::new(1),
        })
    }

    /// The routes of the [module's table](self).
    pub fn router(self: &Arc<Self>) -> Router {
        Router::new()
            .route("/meta/{version}/{pixel_id}/events", post(meta::events))
            .route("/meta/{version}/{pixel_id}", get(meta::pixel))
            .route("/google/v1/events:ingest", post(data_manager::ingest))
            .route("/google/v1/requestStatus:retrieve", get(data_manager::status))
            .route("/google-ads/{version}/customers/{call}", post(google_ads::upload))
            .route("/oauth/token", post(oauth::token))
            .route("/ga4/mp/collect", post(ga4::collect))
            .route("/ga4/debug/mp/collect", post(ga4::debug))
            .route("/_sandbox/received", get(control::received))
            .route("/_sandbox/stats", get(control::stats))
            .route("/_sandbox/faults", get(control::faults).post(control::set_fault))
            .route("/faults", get(control::faults).post(control::set_fault))
            .route("/_sandbox/reset", post(control::reset))
            .layer(DefaultBodyLimit::max(self.config.body_bytes_max))
            .layer(axum::middleware::from_fn_with_state(Arc::clone(self), fault::cut_off))
            .with_state(Arc::clone(self))
    }

    /// The events that Meta took, oldest first, each as `{"at", "pixel_id", "duplicate", "event": {…}}` with the event
    /// as it was sent. At most [`Config::recorded_max`].
    #[must_use]
    pub fn received_meta(&self) -> Vec<serde_json::Value> {
        control::entries(self, Platform::Meta)
    }

    /// The events that Data Manager took, oldest first, one for each destination, each as `{"at",
    /// "product_destination_id", "duplicate", "event": {…}}` with the event as it was sent. At most
    /// [`Config::recorded_max`].
    #[must_use]
    pub fn received_data_manager(&self) -> Vec<serde_json::Value> {
        control::entries(self, Platform::DataManager)
    }

    /// The conversions that Data Manager knew and that came with another value, oldest first, each as `{"at",
    /// "product_destination_id", "event": {…}}`. At most [`Config::recorded_max`].
    #[must_use]
    pub fn adjusted_data_manager(&self) -> Vec<serde_json::Value> {
        lock(&self.receipts).adjusted()
    }

    /// Has Data Manager take this transaction for no conversion the next time it comes, and give `reason` for it in the
    /// status of that request: `TOO_RECENT_CLICK`, say. Later it is taken.
    pub fn report_reason(&self, transaction_id: &str, reason: &'static str) {
        lock(&self.receipts).report(transaction_id, reason);
    }

    /// The rows that Google Ads took or had already, oldest first, each as `{"at", "kind": "click" or "adjustment",
    /// "conversion_action", "duplicate", "event": {…}}` with the row as it was sent. At most [`Config::recorded_max`].
    #[must_use]
    pub fn received_google_ads(&self) -> Vec<serde_json::Value> {
        control::entries(self, Platform::GoogleAds)
    }

    /// The events that GA4 took, oldest first, each as `{"at", "measurement_id", "duplicate", "event": {…}}` with the
    /// body as it was sent, of this event alone. At most [`Config::recorded_max`].
    #[must_use]
    pub fn received_ga4(&self) -> Vec<serde_json::Value> {
        control::entries(self, Platform::Ga4)
    }

    /// The counters.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let of = |platform| self.ledger(platform).stats.clone();
        Stats {
            meta: of(Platform::Meta),
            data_manager: of(Platform::DataManager),
            google_ads: of(Platform::GoogleAds),
            oauth: of(Platform::Oauth),
            ga4: of(Platform::Ga4),
        }
    }

    /// Makes `platform` fail from its next request on, in place of whatever faults it had.
    pub fn set_fault(&self, platform: Platform, fault: Fault) {
        lock(&self.faults).set(platform, fault);
    }

    /// Makes `platform` fail in one more way.
    pub fn add_fault(&self, platform: Platform, fault: Fault) {
        lock(&self.faults).add(platform, fault);
    }

    /// Puts a fault in force as it is asked for, counted from now.
    ///
    /// # Errors
    /// [`InvalidFault`], if its settings do not go together.
    pub fn request_fault(&self, request: &FaultRequest) -> Result<(), InvalidFault> {
        let fault = request.fault(self.now())?;
        let mut faults = lock(&self.faults);
        if request.adds() {
            faults.add(request.platform(), fault);
        } else {
            faults.set(request.platform(), fault);
        }
        Ok(())
    }

    /// The oldest fault that is in force at `platform` or still to come.
    #[must_use]
    pub fn fault(&self, platform: Platform) -> Fault {
        self.faults(platform).into_iter().next().unwrap_or_default()
    }

    /// The faults that are in force at `platform` or still to come, oldest first.
    #[must_use]
    pub fn faults(&self, platform: Platform) -> Vec<Fault> {
        lock(&self.faults).get(platform, self.now()).cloned().collect()
    }

    /// Forgets events, ids, counters, receipts and faults. Issued access tokens stay good.
    pub fn reset(&self) {
        for platform in Platform::ALL {
            *self.ledger(platform) = Ledger::default();
        }
        *lock(&self.receipts) = data_manager::Receipts::default();
        *lock(&self.ads) = google_ads::Books::default();
        *lock(&self.faults) = fault::Faults::default();
    }

    fn ledger(&self, platform: Platform) -> MutexGuard<'_, Ledger> {
        lock(match platform {
            Platform::Meta => &self.meta,
            Platform::DataManager => &self.data_manager,
            Platform::GoogleAds => &self.google_ads,
            Platform::Oauth => &self.oauth,
            Platform::Ga4 => &self.ga4,
        })
    }

    fn now(&self) -> Time {
        self.clock.now()
    }

    /// A number that no other call gets.
    fn serial(&self) -> u64 {
        self.serial.fetch_add(1, Ordering::Relaxed)
    }

    /// Counts a request and takes the faults that it meets.
    fn meet(&self, platform: Platform) -> fault::Met {
        let met = lock(&self.faults).take(platform, self.now());
        self.ledger(platform).stats.meet(&met.modes);
        met
    }

    /// Whether the connection of the request at hand is to be closed before it is read; counts it then.
    fn cuts(&self, platform: Platform) -> bool {
        let cuts = lock(&self.faults).cuts(platform, self.now());
        if cuts {
            self.ledger(platform).stats.meet(&[FaultMode::Cut]);
        }
        cuts
    }
}

impl std::fmt::Debug for Sandbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sandbox").field("config", &self.config).finish_non_exhaustive()
    }
}

/// Serves `sandbox` on `listener` until `shutdown` completes and the requests in flight are answered.
///
/// # Errors
/// Those of the listener.
pub async fn serve(
    listener: tokio::net::TcpListener,
    sandbox: Arc<Sandbox>,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    use axum::serve::ListenerExt;
    // Without it, small answers wait for the acknowledgement of the ones before.
    let listener = listener.tap_io(|stream| {
        let _ = stream.set_nodelay(true);
    });
    axum::serve(listener, sandbox.router()).with_graceful_shutdown(shutdown).await
}

/// Locks, also after a panic elsewhere: every change here is one step, so there is no half-done state to see.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A JSON answer.
fn json(status: StatusCode, body: &impl Serialize) -> Response {
    let body = serde_json::to_vec(body).expect("answers have string keys and no failing parts");
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json; charset=UTF-8"));
    response
}

#[cfg(test)]
mod testing;
