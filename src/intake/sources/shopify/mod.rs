//! Shopify: orders, refunds and customers, from webhooks and from the Admin API.
//!
//! Sources: @shopify/shopify-api 13.1.0 (signature, headers); the REST Admin API reference (order, refund, transaction),
//! whose resources are also the bodies of webhooks; the Node package @shopify/shopify-api 13.1.0 (headers, client
//! credentials grant). All read 2026-11-20.

mod api;
mod order;
mod prices;
mod refund;
#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use serde_json::Value;

use super::{
    Common, Descriptor, Inbound, Listing, Page, Parsed, Refusal, Report, Source, Verified, header, json,
    verify::{Secrets, fresh, from_base64, no_signature},
};
use crate::{
    intake::fetch::{FetchError, Fetcher},
    model::{Settings, Time},
};
use api::Api;
use order::Reading;

/// Kind `shopify`.
pub(super) const DESCRIPTOR: Descriptor = Descriptor { kind: "shopify", build };

const DAY: Duration = Duration::from_secs(86_400);

struct Shopify {
    secrets: Secrets,
    /// How old a delivery may be, if that is to be checked.
    tolerance: Option<Duration>,
    /// The one shop that may post.
    shop: Option<String>,
    reading: Reading,
    api: Option<Api>,
}

fn build(common: &Common, settings: &mut Settings) -> Option<Arc<dyn Source>> {
    let secrets = Secrets::read(
        settings,
        "the client secret of the app that subscribes, or what Settings, Notifications, Webhooks shows at its end",
    );
    let tolerance = settings.duration("tolerance", Duration::from_secs(1)..=DAY * 7);
    let shop = settings.parsed("shop", SHOP, shop_name);
    let reading = Reading::read(common, settings);
    let api = settings.table("api", "a table: { shop, token }", |inner| Api::read(inner, shop.as_deref()));
    Some(Arc::new(Shopify { secrets: secrets?, tolerance, shop, reading, api: api.flatten() }))
}

/// What the name of a shop has to be.
const SHOP: &str = "the shop's own name of Shopify, such as name.myshopify.com";

/// A shop's permanent name, in lower case.
fn shop_name(text: &str) -> Option<String> {
    let name = text.trim().to_ascii_lowercase();
    let label = name.strip_suffix(".myshopify.com")?;
    let sound = !label.starts_with('-') && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    (sound && !label.is_empty()).then_some(name)
}

impl Source for Shopify {
    fn verify<'a>(&self, inbound: &'a Inbound<'a>, now: Time) -> Result<Verified<'a>, Refusal> {
        let given = header(inbound.headers, "x-shopify-hmac-sha256").and_then(from_base64);
        let given = given.ok_or(no_signature("there is no sound X-Shopify-Hmac-Sha256 header; is this Shopify?"))?;
        let verified = self.secrets.hmac(inbound, &[inbound.body], &[given])?;
        // The signature is of the body alone: what follows keeps mistakes and old queues out, not forgers.
        let from = verified.header("x-shopify-shop-domain");
        if self.shop.as_ref().is_some_and(|shop| !from.is_some_and(|from| from.eq_ignore_ascii_case(shop))) {
            return Err(Refusal::unverified("wrong_shop", "X-Shopify-Shop-Domain is not the `shop` of this source"));
        }
        if let Some(tolerance) = self.tolerance {
            let at = verified.header("x-shopify-triggered-at").and_then(|at| Time::parse(at).ok());
            let missing = "there is no sound X-Shopify-Triggered-At header, which `tolerance` needs";
            fresh(at.ok_or(Refusal::unverified("no_time", missing))?, now, tolerance, Some(tolerance))?;
        }
        Ok(verified)
    }

    fn parse(&self, verified: &Verified<'_>) -> Result<Parsed, Refusal> {
        let body = json::body(verified.body())?;
        let topic = verified.header("x-shopify-topic").map(str::to_ascii_lowercase).or_else(|| topic_of(&body));
        let missing = "there is no X-Shopify-Topic header, and the body is neither an order nor a refund";
        let topic = topic.ok_or_else(|| Refusal::unreadable("", missing))?;
        // Several subscriptions to a topic tell of one event each on its own.
        let event = verified.header("x-shopify-event-id").map(|id| format!("{id}.{topic}"));
        let delivery_id = event.or_else(|| verified.header("x-shopify-webhook-id").map(str::to_owned));
        Ok(Parsed::of(delivery_id, self.reports(&topic, body)))
    }

    fn listing(&self) -> Option<&dyn Listing> {
        self.api.is_some().then_some(self as &dyn Listing)
    }
}

/// The topic that a body without headers would have come with: one from a file.
fn topic_of(body: &Value) -> Option<String> {
    let has = |pointer| json::at(body, pointer).is_some();
    let topic = if has("/order_id") && (has("/transactions") || has("/refund_line_items")) {
        "refunds/create"
    } else if has("/line_items") || has("/total_price") {
        if order::was_paid(body) { "orders/paid" } else { "orders/create" }
    } else {
        return None;
    };
    Some(topic.to_owned())
}

impl Shopify {
    fn reports(&self, topic: &str, body: Value) -> Result<Vec<Report>, Refusal> {
        let reading = &self.reading;
        let one = match topic {
            "orders/paid" => reading.purchase(topic, body)?,
            "orders/create" if reading.counts_unpaid() => reading.purchase(topic, body)?,
            "refunds/create" if reading.links_refunds() => reading.refund(topic, body, None)?,
            "orders/create" | "refunds/create" => Report::ignored(topic, "not the configured topic"),
            "orders/updated" => {
                let refunds = reading.refunds(topic, &body)?;
                if !refunds.is_empty() {
                    return Ok(refunds);
                }
                Report::ignored(topic, "no refund in it")
            }
            "customers/create" => order::sign_up(body),
            _ => Report::ignored(topic, "not a conversion"),
        };
        Ok(vec![one])
    }
}

/// An order may change long after it was reported, when nobody remembers that it was. Of those that changed since the time
/// asked for, only what is at most this much older than that is listed: an order paid by bank transfer, a refund that took its
/// time. It is far less than events are remembered by default (`retention.dedupe`).
const LATE_MAX: Duration = Duration::from_secs(7 * 86_400);

#[async_trait]
impl Listing for Shopify {
    async fn page(&self, fetcher: &Fetcher, since: Time, cursor: Option<&str>) -> Result<Page, FetchError> {
        let api = self.api.as_ref().ok_or_else(|| FetchError::Settings("`api` is not configured".to_owned()))?;
        let (orders, next) = api.orders(fetcher, since, cursor).await?;
        let begin = since.minus(LATE_MAX);
        let reports = orders.into_iter().flat_map(|order| self.listed(order, begin)).collect();
        Ok(Page { reports, next })
    }
}

impl Shopify {
    /// What an order of the Admin API tells that happened since `begin`. One that cannot be read costs no other.
    fn listed(&self, order: Value, begin: Time) -> Vec<Report> {
        const TOPIC: &str = "orders";
        let unreadable = |refusal: Refusal| {
            let order = order::number(&order).map(|number| format!("order {number}: ")).unwrap_or_default();
            let pointer = refusal.problem.pointer.unwrap_or_default();
            Report::Refused(Refusal::unreadable(pointer, format!("{order}{}", refusal.problem.detail)))
        };
        let recent = |entry: &Value| order::time(entry).is_none_or(|time| time >= begin);
        let refunds = json::list(&order, "/refunds").iter().filter(|refund| recent(refund));
        let refunds = refunds.map(|refund| self.reading.refund(TOPIC, refund.clone(), Some(&order)));
        let refunds: Vec<_> = refunds.map(|report| report.unwrap_or_else(unreadable)).collect();
        let purchase = if !recent(&order) {
            Report::ignored(TOPIC, "too old")
        } else if !order::was_paid(&order) && (!self.reading.counts_unpaid() || order::was_cancelled(&order)) {
            Report::ignored(TOPIC, "not paid")
        } else {
            self.reading.purchase(TOPIC, order.clone()).unwrap_or_else(unreadable)
        };
        std::iter::once(purchase).chain(refunds).collect()
    }
}
