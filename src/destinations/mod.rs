//! The places that events go to. A destination turns sealed events into a request and an answer into verdicts; it is
//! pure: `delivery` owns the network, the files, the clock and the retries. The recipe for a new one is in
//! CONTRIBUTING.md.

mod chosen;
pub mod data_manager;
pub mod files;
pub mod ga4;
mod google;
pub mod google_ads;
pub mod meta;
pub mod versions;

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use bytes::Bytes;

pub use chosen::Chosen;

pub use crate::model::Problem;
use crate::model::{
    Choice, Consent, DestinationName, EventName, Failure, SealedEvent, Secret, SkipReason, Time, WaitReason,
};

/// Every destination this build speaks to.
pub static REGISTRY: &[Descriptor] =
    &[data_manager::DESCRIPTOR, files::DESCRIPTOR, ga4::DESCRIPTOR, google_ads::DESCRIPTOR, meta::DESCRIPTOR];

/// A kind of destination, as data.
pub struct Descriptor {
    /// Its `kind` in the configuration.
    pub kind: &'static str,
    /// Builds one from its part of the configuration: what every kind shares, and the keys of its own.
    pub build: Build,
}

/// Builds a destination, or says everything that is wrong with its table at once.
pub type Build = fn(Common, toml::Table) -> Result<Box<dyn Destination>, Vec<Problem>>;

/// What is configured the same way for every kind.
#[derive(Clone, Debug)]
pub struct Common {
    /// What it is called in logs, metrics, the timeline and the balance.
    pub name: DestinationName,
    /// Our event name → what the platform calls it (an event name, a conversion action id or name); never empty.
    pub events: BTreeMap<EventName, String>,
    /// `hold_after_click`: how old a click must be before a delivery that names it is sent. `None`: the kind's default.
    pub hold_after_click: Option<Duration>,
    /// `fallback_for`: it gets only what the operator hands over from that destination.
    pub fallback_for: Option<DestinationName>,
}

/// What to do with an event when nobody told what its visitor allowed: `on_unknown_consent`. A visitor who said no is
/// never sent anywhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnUnknownConsent {
    /// Send it, without a statement about consent.
    #[default]
    Send,
    /// Do not send it.
    Skip,
}

impl OnUnknownConsent {
    /// Whether an event with this consent may be sent.
    #[must_use]
    pub fn allows(self, consent: Consent) -> bool {
        match consent.ad_user_data {
            Choice::Granted => true,
            Choice::Denied => false,
            Choice::Unknown => self == Self::Send,
        }
    }
}

/// Where sealed events go. All methods are pure.
pub trait Destination: Send + Sync {
    /// How it is limited and authorised.
    fn profile(&self) -> &Profile;

    /// When the platform stops taking this event, by its own age limit.
    fn deadline(&self, event: &SealedEvent) -> Time;

    /// Until when to hold this event back, and why; `None` if it may go at once.
    fn hold(&self, _event: &SealedEvent) -> Option<(Time, WaitReason)> {
        None
    }

    /// Whether `event`, on its own, can be sent at all. Asked for each event before it joins a batch.
    ///
    /// # Errors
    /// [`Unsendable`] with the outcome that follows.
    fn admit(&self, event: &SealedEvent) -> Result<(), Unsendable>;

    /// Which of the platform's requests `event` travels in: events of different lanes never travel in one.
    fn lane(&self, _event: &SealedEvent) -> u8 {
        0
    }

    /// The one request that carries `batch`: one to [`Profile::batch_max`] admitted events.
    fn prepare(&self, batch: &[SealedEvent]) -> Request;

    /// The platform's id of the request, for the timeline.
    fn trace_id(&self, _response: &Response) -> Option<String> {
        None
    }

    /// What the answer means: one verdict for each event, in the batch's order.
    fn interpret(&self, batch: &[SealedEvent], response: &Response) -> Vec<Verdict>;

    /// For how long the platform recognises this event if it is sent again.
    fn dedupe(&self, _event: &SealedEvent) -> Dedupe {
        Dedupe::Always
    }

    /// How long nothing more should be sent, by what the answer says of the platform's limits, though it is no refusal.
    fn throttle(&self, _response: &Response) -> Option<Duration> {
        None
    }

    /// What the request for this event lets the platform match it to a person or a click by: the platform's field names.
    fn evidence(&self, event: &SealedEvent) -> Vec<&'static str>;

    /// What `event`, a refund or a restatement, needs of the conversion that it is about.
    fn original(&self, _event: &SealedEvent) -> Original {
        Original::Here
    }

    /// What the operator should know of how this kind of event arrives, as the platform documents it: for the timeline.
    fn note(&self, _event: &SealedEvent) -> Option<&'static str> {
        None
    }

    /// Whether `response` is a receipt only: [`Destination::ask`] asks later what became of the events.
    fn is_receipt(&self, _response: &Response) -> bool {
        false
    }

    /// The request that asks what became of the events of an earlier one, by its trace id.
    fn ask(&self, _trace_id: &str) -> Option<HttpRequest> {
        None
    }

    /// Reads the answer to [`Destination::ask`].
    fn report(&self, _response: &Response) -> Report {
        Report::Pending
    }

    /// What `check --live` asks the platform; `sample` is an event that is not real.
    fn rehearsals(&self, _sample: &SealedEvent) -> Vec<Rehearsal> {
        Vec::new()
    }

    /// The API and version it speaks, as [`versions::TABLE`] knows them.
    fn api(&self) -> Option<(&'static str, &str)> {
        None
    }

    /// The import file that `GET /files/{name}.csv` serves; `None` if the destination writes none.
    fn file(&self) -> Option<&FileProfile> {
        None
    }
}

/// Where a destination's import files are, and how they are served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileProfile {
    /// Where the daily files are.
    pub directory: PathBuf,
    /// `csv` or `jsonl`.
    pub extension: &'static str,
    /// What every file starts with, line ends included; may be empty.
    pub header: String,
    /// How many daily files are served together.
    pub days_served: u32,
    /// User name and password of the Basic authentication; `None`: the file is not served.
    pub auth: Option<(String, Secret)>,
}

/// So many requests in so long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// So many.
    pub requests: u32,
    /// In so long.
    pub per: Duration,
}

/// How a destination is limited and authorised.
#[derive(Debug)]
pub struct Profile {
    /// The platform's limit of events in one request.
    pub batch_max: usize,
    /// Two requests for less than a full batch start at least this far apart, so that what comes meanwhile travels
    /// together. The first one after a rest goes at once.
    pub spacing: Duration,
    /// How many requests the platform allows; `None` if it names no limit.
    pub rate: Option<Rate>,
    /// How long one request may take.
    pub timeout: Duration,
    /// How requests are authorised.
    pub auth: Auth,
    /// Headers of answers that the destination reads, in lower case.
    pub headers: &'static [&'static str],
}

/// How requests are authorised. The transport adds it, so that no prepared request holds a credential.
#[derive(Debug)]
pub enum Auth {
    /// Not at all.
    None,
    /// A parameter of the URL's query.
    Query {
        /// Its name.
        name: &'static str,
        /// Its value.
        value: Secret,
    },
    /// An OAuth 2 access token of Google, got and renewed by the transport.
    Google(GoogleAuth),
}

/// What an access token of Google is got with.
#[derive(Debug)]
pub struct GoogleAuth {
    /// Whose.
    pub credentials: GoogleCredentials,
    /// The token endpoint.
    pub token_url: String,
    /// The OAuth scope asked for.
    pub scope: &'static str,
}

/// One of the two ways to get an access token.
#[derive(Debug)]
pub enum GoogleCredentials {
    /// A user's refresh token.
    Refresh {
        /// OAuth client.
        client_id: String,
        /// Its secret.
        client_secret: Secret,
        /// The user's token.
        refresh_token: Secret,
    },
    /// A service account's private key.
    ServiceAccount {
        /// The account.
        client_email: String,
        /// Which of its keys.
        private_key_id: String,
        /// The key, PEM.
        private_key: Secret,
    },
}

/// A request, ready but for its authorisation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// A request by HTTP.
    Http(HttpRequest),
    /// Rows for an import file.
    Rows(Rows),
}

/// How a request is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Method {
    /// With a JSON body.
    #[default]
    Post,
    /// Without a body.
    Get,
}

/// A request by HTTP.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct HttpRequest {
    /// How.
    pub method: Method,
    /// Where to; without credentials.
    pub url: String,
    /// Headers next to `content-type: application/json`.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: Bytes,
}

impl std::fmt::Debug for HttpRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HttpRequest").field("url", &self.url).field("body_bytes", &self.body.len()).finish()
    }
}

/// Rows to append to a destination's file of the day.
#[derive(Clone, PartialEq, Eq)]
pub struct Rows {
    /// Where the files are.
    pub directory: PathBuf,
    /// `csv` or `jsonl`.
    pub extension: &'static str,
    /// What a new file starts with, line ends included; may be empty.
    pub header: String,
    /// One row for each event, line ends included.
    pub rows: String,
}

impl std::fmt::Debug for Rows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rows").field("directory", &self.directory).field("bytes", &self.rows.len()).finish()
    }
}

/// An answer.
#[derive(Clone, Debug)]
pub enum Response {
    /// An HTTP answer.
    Http {
        /// The status.
        status: u16,
        /// `Retry-After`, if there was one that could be read.
        retry_after: Option<Duration>,
        /// Those of [`Profile::headers`] that came, with their names in lower case.
        headers: Vec<(&'static str, String)>,
        /// The body, cut at the transport's limit.
        body: Bytes,
    },
    /// The rows are on disk.
    Written,
}

impl Response {
    /// The value of a header that the profile asks for.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let Self::Http { headers, .. } = self else { return None };
        headers.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str())
    }
}

/// What a refund or a restatement needs of the conversion that it is about. It never overtakes it, whatever it needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Original {
    /// It is sent as a change of that conversion, which has to have got there by this same destination.
    Here,
    /// The same, but the conversion gets there by another destination, so that it says nothing where its delivery to this one
    /// stands. One that is not known to us may still be changed.
    Elsewhere,
    /// Nothing: it is sent as an event of its own.
    Unneeded,
}

/// For how long a platform recognises what it has been sent before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dedupe {
    /// For good: sending again is always safe.
    Always,
    /// For this long after it was first received.
    Within(Duration),
    /// Not at all: whatever is sent twice counts twice.
    Never,
}

/// What a platform says of a request that it only gave a receipt for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// It is still at it.
    Pending,
    /// This is what became of the events.
    Final {
        /// The platform's word for the whole.
        status: String,
        /// How many events it took.
        taken: u64,
        /// How many it did not take or warns of, by the platform's reason.
        counts: Vec<(String, u64)>,
        /// The events are to be sent again after this, with the same ids: some of them came too early.
        resend_after: Option<Duration>,
    },
    /// There will be no report; why.
    Lost(Failure),
    /// The answer cannot be used now.
    Retry(Failure),
}

/// One question of `check --live` to a platform, and how to read its answer.
pub struct Rehearsal {
    /// What is tried, for the operator.
    pub what: &'static str,
    /// The request. It must not make anything count.
    pub request: HttpRequest,
    /// What works, or what is wrong and how it is put right.
    pub read: fn(&Response) -> Result<String, String>,
}

/// What one answer means for one event.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "a verdict that nobody records loses an event"]
pub enum Verdict {
    /// The platform has it.
    Delivered,
    /// Busy or unreachable, or a wait that the platform's code asks for.
    Retry {
        /// How long the platform wants us to wait; `None`: by our own schedule.
        after: Option<Duration>,
        /// Why.
        failure: Failure,
    },
    /// Our settings are wrong: keep the event, pause the destination, tell the operator.
    Blocked(Failure),
    /// Never acceptable: to the dead letters.
    Rejected(Failure),
    /// Not acceptable with our settings, though others are: to the dead letters, with those that are not the event's fault.
    Misconfigured(Failure),
    /// The batch was refused because of some event that the answer does not name: split it.
    Isolate(Failure),
    /// The batch was refused because of another event, which is named: send again without that one.
    Resend,
}

/// Why an event cannot be sent to one destination at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unsendable {
    /// It is not meant to be.
    Skip(SkipReason),
    /// It is, but can never be accepted.
    Reject(Failure),
}
