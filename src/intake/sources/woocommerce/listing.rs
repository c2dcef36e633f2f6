//! Listing orders by the REST API: what no webhook brought, since none is ever repeated.
//!
//! Source: WooCommerce REST API v3, "List all orders", and class-wc-rest-crud-controller.php, read 2026-11-20.

use async_trait::async_trait;

use super::{WooCommerce, order::utc};
use crate::{
    intake::{
        fetch::{Credential, FetchError, Fetcher},
        sources::{Listing, Page, Report},
    },
    model::{Settings, Time},
};

/// The most the API gives at once.
const PER_PAGE: usize = 100;
/// The filter leaves out the second it names, and several orders may have changed in one.
const OVERLAP: std::time::Duration = std::time::Duration::from_secs(1);

/// The shop's API.
pub(super) struct Api {
    url: String,
    credential: Credential,
}

impl Api {
    /// Reads `api`, if it is there.
    pub(super) fn read(settings: &mut Settings) -> Option<Self> {
        const WHAT: &str = "a table with url, key and secret of the shop's REST API";
        settings.table("api", WHAT, |api| {
            let url = api.need("url", "the shop's address, such as https://shop.example").url("url");
            let key = api.need("key", "the consumer key, ck_…").secret("key");
            let secret = api.need("secret", "the consumer secret, cs_…").secret("secret");
            let credential = Credential::Basic(key?.expose().to_owned(), secret?);
            Some(Self { url: url?.trim_end_matches('/').to_owned(), credential })
        })?
    }
}

/// Where a page begins: behind a time, and how many pages on. Each page moves the time on, as an order that changes meanwhile
/// would move all others to another page.
struct Place {
    after: Time,
    page: u64,
}

impl Place {
    fn read(cursor: &str) -> Option<Self> {
        let (after, page) = cursor.split_once('.')?;
        Some(Self { after: Time::from_secs(after.parse().ok()?), page: page.parse().ok()? })
    }

    fn written(&self) -> String {
        format!("{}.{}", self.after.as_secs(), self.page)
    }
}

#[async_trait]
impl Listing for WooCommerce {
    async fn page(&self, fetcher: &Fetcher, since: Time, cursor: Option<&str>) -> Result<Page, FetchError> {
        let Some(api) = &self.api else { return Ok(Page { reports: Vec::new(), next: None }) };
        let start = Place { after: since.minus(OVERLAP), page: 1 };
        let place = cursor.and_then(Place::read).unwrap_or(start);
        let (after, page, per_page) =
            (place.after.format("%Y-%m-%dT%H:%M:%S"), place.page.to_string(), PER_PAGE.to_string());
        // A time with a zone would be moved to that of the shop before it is compared.
        let query = [
            ("modified_after", after.as_str()),
            ("dates_are_gmt", "true"),
            ("orderby", "modified"),
            ("order", "asc"),
            ("per_page", &per_page),
            ("page", &page),
        ];
        let url = format!("{}/wp-json/wc/v3/orders", api.url);
        let answer = fetcher.get(&url, &query, &api.credential).await?;
        let pages = answer.headers.get("x-wp-totalpages").and_then(|pages| pages.to_str().ok()?.parse::<u64>().ok());
        let serde_json::Value::Array(orders) = answer.body else {
            return Err(FetchError::unexpected("orders are no list"));
        };
        let more = !orders.is_empty() && pages.map_or(orders.len() >= PER_PAGE, |pages| pages > place.page);
        let last = orders.last().and_then(|order| utc(order, "/date_modified_gmt")).map(|last| last.minus(OVERLAP));
        let next = match last {
            Some(last) if last > place.after => Place { after: last, page: 1 },
            _ => Place { page: place.page + 1, ..place },
        };
        let reports = orders.into_iter().flat_map(|order| {
            let read = self.orders.reports("order.updated", order);
            // One that cannot be read keeps nothing back of the others.
            read.unwrap_or_else(|refusal| vec![Report::Refused(refusal)])
        });
        Ok(Page { reports: reports.collect(), next: more.then(|| next.written()) })
    }
}
