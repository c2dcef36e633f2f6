//! Who posts to `/webhooks/{source}`: shops, payment services, CRMs. A source says whether a request is from who it claims
//! to be, and what events its body tells. It is pure: the handler owns the network, the clock and the store. The recipe for
//! a new one is in CONTRIBUTING.md.

mod calendly;
mod crm;
mod generic;
mod hubspot;
pub(super) mod json;
mod lemon_squeezy;
mod mapping;
#[cfg(test)]
mod mutated;
mod paddle;
mod pipedrive;
mod salesforce;
mod shopify;
mod standard_webhooks;
mod stripe;
#[cfg(test)]
mod testing;
mod verify;
mod woocommerce;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use axum::http::HeaderMap;
use serde_json::Value;

pub use mapping::{Mapping, Root};
pub(crate) use mapping::{is_field, write_field};
pub use verify::{Inbound, Verified};

use super::{
    draft::Draft,
    fetch::{FetchError, Fetcher},
};
use crate::{
    model::{Settings, SourceName, Time},
    web::Problem,
};

/// Every kind of source this build understands.
pub static REGISTRY: &[Descriptor] = &[
    calendly::DESCRIPTOR,
    generic::DESCRIPTOR,
    hubspot::DESCRIPTOR,
    lemon_squeezy::DESCRIPTOR,
    paddle::DESCRIPTOR,
    pipedrive::DESCRIPTOR,
    salesforce::DESCRIPTOR,
    shopify::DESCRIPTOR,
    standard_webhooks::DESCRIPTOR,
    stripe::DESCRIPTOR,
    woocommerce::DESCRIPTOR,
];

/// A kind of source, as data.
pub struct Descriptor {
    /// Its `kind` in the configuration.
    pub kind: &'static str,
    /// Builds one from its part of the configuration, or notes there what is wrong and gives `None`.
    pub build: fn(&Common, &mut Settings) -> Option<Arc<dyn Source>>,
}

/// What is configured the same way for every kind.
#[derive(Clone, Debug)]
pub struct Common {
    /// What it is called in the address, in logs, metrics and the timeline.
    pub name: SourceName,
    /// The address that the provider posts to, as the outside sees it; `None` without `public.url`.
    pub address: Option<String>,
    /// What becomes of the provider's test events: `test_events`.
    pub test_events: TestEvents,
    /// The fields that `map` sets.
    pub mapped: Vec<String>,
}

/// What becomes of events that the provider marks as a test: `test_events`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TestEvents {
    /// They are answered and counted, and go nowhere: a test order must not teach an ad account anything.
    #[default]
    Ignore,
    /// They are taken like any other.
    Accept,
}

/// One kind of provider, with the settings of one `[[sources]]` table.
#[async_trait]
pub trait Source: Send + Sync {
    /// Whether this is the unsigned greeting that the provider sends when a webhook is set up: it is answered with 200 and
    /// looked at no further.
    fn greets(&self, _inbound: &Inbound<'_>) -> bool {
        false
    }

    /// Checks that the request is from who it claims to be, and fresh.
    ///
    /// # Errors
    /// Why it is not believed.
    fn verify<'a>(&self, inbound: &'a Inbound<'a>, now: Time) -> Result<Verified<'a>, Refusal>;

    /// What the body tells. What is wrong with an entry is among the reports.
    ///
    /// # Errors
    /// If not even that can be told of which delivery it is.
    fn parse(&self, verified: &Verified<'_>) -> Result<Parsed, Refusal>;

    /// The answer the provider expects, if another than ours; asked for whenever the request was verified and read.
    fn answer(&self, _taken: &Taken) -> Option<Reply> {
        None
    }

    /// Asks the provider for what a webhook left out: [`Told::lookup`] says what, and how long deliveries wait.
    /// The answer is the same event as far as this tells of it; `None` if there is nothing to be had.
    ///
    /// # Errors
    /// If it cannot be had now, or not at all.
    async fn look_up(&self, _fetcher: &Fetcher, _what: &str) -> Result<Option<Told>, FetchError> {
        Ok(None)
    }

    /// Lists what happened since a time, for what no webhook brought; `None` if this kind cannot.
    fn listing(&self) -> Option<&dyn Listing> {
        None
    }
}

/// A provider's API, as far as it lists orders: `conversion-relay reconcile`.
#[async_trait]
pub trait Listing: Send + Sync {
    /// One page of what happened or changed since `since`; `cursor` is the [`Page::next`] of the page before it.
    ///
    /// # Errors
    /// If it cannot be had now, or not at all.
    async fn page(&self, fetcher: &Fetcher, since: Time, cursor: Option<&str>) -> Result<Page, FetchError>;
}

/// One page of a listing, oldest first where the provider can.
pub struct Page {
    /// What its entries tell, as their webhooks would have.
    pub reports: Vec<Report>,
    /// Where the next page begins; `None`: this was the last.
    pub next: Option<String>,
}

/// What one request tells.
pub struct Parsed {
    /// The provider's id of this delivery; for the log and, where nothing better is known, to tell events apart.
    pub delivery_id: Option<String>,
    /// One report for each entry of the body.
    pub reports: Vec<Report>,
}

impl Parsed {
    /// One report, or the refusal of all there is.
    #[must_use]
    pub fn one(delivery_id: Option<String>, report: Result<Report, Refusal>) -> Self {
        Self::of(delivery_id, report.map(|report| vec![report]))
    }

    /// These reports, or the refusal of all there is.
    #[must_use]
    pub fn of(delivery_id: Option<String>, reports: Result<Vec<Report>, Refusal>) -> Self {
        Self { delivery_id, reports: reports.unwrap_or_else(|refusal| vec![Report::Refused(refusal)]) }
    }
}

/// What one entry of a body tells.
pub enum Report {
    /// An event.
    Event(Box<Told>),
    /// Nothing that is a conversion.
    Ignored {
        /// The provider's word for what it is about, as it came.
        topic: String,
        /// Why, for people and metrics: a few fixed words.
        reason: &'static str,
    },
    /// Something that cannot be read as what it has to be.
    Refused(Refusal),
}

impl Report {
    /// An entry of no use.
    #[must_use]
    pub fn ignored(topic: impl Into<String>, reason: &'static str) -> Self {
        Self::Ignored { topic: topic.into(), reason }
    }
}

impl From<Result<Self, Refusal>> for Report {
    fn from(read: Result<Self, Refusal>) -> Self {
        read.unwrap_or_else(Self::Refused)
    }
}

impl From<Told> for Report {
    fn from(told: Told) -> Self {
        Self::Event(Box::new(told))
    }
}

/// An event as a provider tells it.
pub struct Told {
    /// The event. Its `event_id` is best left empty.
    pub draft: Draft,
    /// The provider's id of what happened, if that is not the transaction: of the refund, the customer, the stage change. With
    /// the source's name and the event's it becomes the event's id, so that a second delivery of it counts once.
    pub key: Option<String>,
    /// What `[sources.map]` reads: the entry of the body.
    pub body: Value,
    /// The whole body, where this is one entry of it.
    pub root: Option<Root>,
    /// What to ask the provider for before the event is sent, and how long at most it waits for that.
    pub lookup: Option<(String, Duration)>,
}

impl Told {
    /// An event that needs no lookup and is known by its transaction.
    #[must_use]
    pub const fn new(draft: Draft, body: Value) -> Self {
        Self { draft, key: None, body, root: None, lookup: None }
    }

    /// The same, known by this id of the provider.
    #[must_use]
    pub fn keyed(self, key: impl Into<String>) -> Self {
        Self { key: Some(key.into()), ..self }
    }
}

/// Why a request, or an entry of it, is refused. Its texts never quote what was posted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// A word for logs and metrics: `bad_signature`.
    pub reason: &'static str,
    /// The answer.
    pub problem: Problem,
}

impl Refusal {
    /// It is not from who it claims to be, or not fresh: 401.
    #[must_use]
    pub fn unverified(reason: &'static str, detail: &'static str) -> Self {
        Self { reason, problem: Problem::unauthorized(detail) }
    }

    /// The body is not what it has to be; `pointer` leads to the place.
    #[must_use]
    pub fn unreadable(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { reason: "unreadable", problem: Problem::invalid(pointer, detail) }
    }
}

/// What became of a request that was verified and read.
#[derive(Debug, Default)]
pub struct Taken {
    /// Events that are new, each by its id.
    pub accepted: Vec<String>,
    /// Events that were known, each by the id it is known by.
    pub duplicates: Vec<String>,
    /// Entries of no use.
    pub ignored: usize,
    /// Entries that were refused.
    pub refused: Vec<Problem>,
}

/// An answer in a provider's own form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// HTTP status.
    pub status: u16,
    /// `Content-Type`.
    pub content_type: &'static str,
    /// The body.
    pub body: String,
}

/// Whether each account of this kind numbers its orders from 1: those of two accounts are no two ids.
#[must_use]
pub fn numbers_from_one(kind: &str) -> bool {
    matches!(kind, "pipedrive" | "woocommerce")
}

/// Whether a value includes tax and shipping: `value`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Worth {
    /// What the customer paid, tax and shipping included.
    #[default]
    Total,
    /// The goods after discounts, without tax and shipping.
    Subtotal,
}

/// Reads `value`.
pub fn worth(settings: &mut Settings) -> Worth {
    let read = |text: &str| match text {
        "total" => Some(Worth::Total),
        "subtotal" => Some(Worth::Subtotal),
        _ => None,
    };
    settings.parsed("value", "total (with tax and shipping) or subtotal (without)", read).unwrap_or_default()
}

/// Reads `tolerance`: how old a signature may be, and how far ahead of our clock.
fn tolerance(settings: &mut Settings, default: Duration) -> Duration {
    const DAY: Duration = Duration::from_secs(86_400);
    settings.duration("tolerance", Duration::from_secs(1)..=DAY * 7).unwrap_or(default)
}

/// The first header of this name that is text.
fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok().map(str::trim).filter(|text| !text.is_empty())
}
