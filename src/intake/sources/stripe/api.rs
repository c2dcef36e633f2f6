//! Stripe's API, as far as we ask it: `[sources.api]`.

use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;

use super::{
    super::{Listing, Page, Told, json},
    Stripe, fields, orders,
};
use crate::{
    intake::{
        Draft,
        fetch::{Credential, FetchError, Fetcher},
    },
    model::{Settings, Time},
};

/// Where it is. Source: docs.stripe.com/api, read 2026-11-20.
const BASE_URL: &str = "https://api.stripe.com";
/// The first version with `invoice_payments`; asked for whatever the account's own version is.
/// Source: docs.stripe.com/changelog/basil/2025-03-31, read 2026-11-20.
const VERSION: (&str, &str) = ("stripe-version", "2025-03-31.basil");
/// Entries on a page, of events as of line items. Source: docs.stripe.com/api/pagination, read 2026-11-20.
const PAGE: &str = "100";
/// How long a purchase waits for its items: they are worth less than its being told in time.
const ITEMS_WAIT: Duration = Duration::from_secs(600);
/// What stands before the id of a session whose items are asked for.
const ITEMS_OF: &str = "items.";
/// What may be listed.
const TOPICS: [&str; 8] = [
    "checkout.session.completed",
    "checkout.session.async_payment_succeeded",
    "invoice.paid",
    "invoice.payment_succeeded",
    "payment_intent.succeeded",
    "charge.refunded",
    "refund.created",
    "customer.created",
];
/// What is listed if the operator does not say: each purchase and refund by one topic, none by two.
const LISTED: [&str; 4] =
    ["checkout.session.completed", "checkout.session.async_payment_succeeded", "invoice.paid", "charge.refunded"];

/// Access to it.
pub(super) struct Api {
    credential: Credential,
    base_url: String,
    topics: Vec<String>,
    items: bool,
}

impl Api {
    /// Reads the table `api`.
    pub(super) fn read(settings: &mut Settings) -> Option<Self> {
        let what = "a restricted key (rk_live_…) that may read events and invoices";
        let token = settings.need("token", what).secret("token");
        let base_url = settings.base_url(BASE_URL);
        let known = |text: &str| TOPICS.contains(&text).then(|| text.to_owned());
        let topics = settings.list("events", &format!("one of {}", TOPICS.join(", ")), known);
        let topics = topics.unwrap_or_else(|| LISTED.map(str::to_owned).to_vec());
        if topics.is_empty() {
            settings.problem("events", "must hold at least one; leave it out for purchases and refunds");
        }
        let items = settings.parsed("items", "fetch or none", |text| match text {
            "fetch" => Some(true),
            "none" => Some(false),
            _ => None,
        });
        let credential = Credential::Bearer(token?);
        Some(Self { credential, base_url, topics, items: items.unwrap_or_default() })
    }

    /// What to ask for the items of a session, and how long to wait for them.
    pub(super) fn items_of(&self, session: &str) -> Option<(String, Duration)> {
        self.items.then(|| (format!("{ITEMS_OF}{session}"), ITEMS_WAIT))
    }

    /// The items of a session, or the transaction of a refund.
    ///
    /// # Errors
    /// If it cannot be had now, or not at all.
    pub(super) async fn look_up(&self, fetcher: &Fetcher, what: &str) -> Result<Told, FetchError> {
        match what.strip_prefix(ITEMS_OF) {
            Some(session) => self.items(fetcher, session).await,
            None => self.transaction_of(fetcher, what).await,
        }
    }

    async fn items(&self, fetcher: &Fetcher, session: &str) -> Result<Told, FetchError> {
        // The id comes from a webhook that was believed; it is an id all the same, and no path.
        if !session.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
            return Err(FetchError::Gone);
        }
        let url = format!("{}/v1/checkout/sessions/{session}/line_items", self.base_url);
        let answer = fetcher.get(&url, &[("limit", PAGE)], &self.credential).await?.body;
        if json::at(&answer, "/data").is_none_or(|data| !data.is_array()) {
            return Err(FetchError::unexpected("no list of line items"));
        }
        let items = match json::currency(&answer, "/data/0/currency") {
            Ok(currency) => orders::items(&answer, "/data", currency),
            Err(_) => Vec::new(),
        };
        Ok(Told::new(Draft { items, ..Draft::named("purchase") }, Value::Null))
    }

    /// The transaction that a payment is part of: the invoice it pays, else itself.
    ///
    /// # Errors
    /// If it cannot be had now, or not at all.
    async fn transaction_of(&self, fetcher: &Fetcher, payment: &str) -> Result<Told, FetchError> {
        let url = format!("{}/v1/invoice_payments", self.base_url);
        let query = [("payment[type]", "payment_intent"), ("payment[payment_intent]", payment), ("limit", "1")];
        let answer = fetcher.get_with(&url, &query, &self.credential, VERSION).await?.body;
        let Some(payments) = answer.get("data").and_then(Value::as_array) else {
            return Err(FetchError::unexpected("no list of invoice payments"));
        };
        let invoice = payments.first().and_then(|payment| fields::id(payment, "/invoice"));
        let transaction_id = Some(invoice.unwrap_or_else(|| payment.to_owned()));
        Ok(Told::new(Draft { transaction_id, ..Draft::named("refund") }, Value::Null))
    }
}

/// Events since a time, the newest first. Stripe keeps them for 30 days.
#[async_trait]
impl Listing for Stripe {
    async fn page(&self, fetcher: &Fetcher, since: Time, cursor: Option<&str>) -> Result<Page, FetchError> {
        let Some(api) = &self.api else { return Ok(Page { reports: Vec::new(), next: None }) };
        let since = since.as_secs().to_string();
        let mut query = vec![("limit", PAGE), ("created[gte]", since.as_str())];
        query.extend(api.topics.iter().map(|topic| ("types[]", topic.as_str())));
        query.extend(cursor.map(|cursor| ("starting_after", cursor)));
        let url = format!("{}/v1/events", api.base_url);
        let mut answer = fetcher.get(&url, &query, &api.credential).await?.body;
        let more = json::flag(&answer, "/has_more");
        let Some(Value::Array(events)) = answer.get_mut("data").map(Value::take) else {
            return Err(FetchError::unexpected("no list of events"));
        };
        let next = events.last().and_then(|event| json::text(event, "/id")).filter(|_| more);
        Ok(Page { reports: events.into_iter().map(|event| self.report(event).into()).collect(), next })
    }
}
