//! Asking Paddle's API: who a customer is, and what no notification brought.
//!
//! Source: developer.paddle.com/api-reference (get-customer, get-address, list-transactions, list-adjustments), read
//! 2026-11-20.

use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Value, json as value};

use super::{
    Paddle,
    event::{is_id, learnt, time},
};
use crate::{
    intake::{
        fetch::{Credential, FetchError, Fetcher},
        sources::{Listing, Page, Report, Told, json},
    },
    model::{Settings, Time},
};

const LIVE: &str = "https://api.paddle.com";
const SANDBOX: &str = "https://sandbox-api.paddle.com";
/// What an API key of the sandbox begins with.
const SANDBOX_KEY: &str = "pdl_sdbx_";
/// Adjustments can be listed by their creation alone. One that is older than this was approved or rejected long ago.
const APPROVED_WITHIN: Duration = Duration::from_secs(30 * 86_400);
/// The cursor of the first page of adjustments; `adjustments/adj_…` is that behind one.
const ADJUSTMENTS: &str = "adjustments";

/// Paddle's API.
pub(super) struct Api {
    pub(super) base_url: String,
    credential: Credential,
}

impl Api {
    /// Reads `api`, if it is there.
    pub(super) fn read(settings: &mut Settings) -> Option<Self> {
        settings.table("api", "a table with the token of Paddle's API", |api| {
            let token = api.need("token", "an API key, pdl_live_apikey_…").secret("token");
            let sandbox = token.as_ref().is_some_and(|token| token.expose().starts_with(SANDBOX_KEY));
            let base_url = api.base_url(if sandbox { SANDBOX } else { LIVE });
            Some(Self { base_url, credential: Credential::Bearer(token?) })
        })?
    }

    async fn get(&self, fetcher: &Fetcher, path: &str, query: &[(&str, &str)]) -> Result<Value, FetchError> {
        let answer = fetcher.get(&format!("{}/{path}", self.base_url), query, &self.credential).await?;
        Ok(answer.body)
    }

    /// Who a customer is, and the address of the transaction; `what` is what [`super::event`] wants to know.
    ///
    /// # Errors
    /// [`FetchError`].
    pub(super) async fn look_up(&self, fetcher: &Fetcher, what: &str) -> Result<Option<Told>, FetchError> {
        let (customer, address) = match what.split('/').collect::<Vec<_>>()[..] {
            ["customer", customer] => (customer, None),
            ["customer", customer, "address", address] => (customer, Some(address)),
            _ => return Ok(None),
        };
        if !is_id(customer) || !address.is_none_or(is_id) {
            return Ok(None);
        }
        let of = match self.get(fetcher, &format!("customers/{customer}"), &[]).await {
            Err(FetchError::Gone) => return Ok(None),
            answer => data(answer?),
        };
        if !of.is_object() {
            return Err(FetchError::unexpected("no customer"));
        }
        let at = match address {
            Some(address) => match self.get(fetcher, &format!("customers/{customer}/addresses/{address}"), &[]).await {
                Ok(answer) => data(answer),
                // The key may have no permission for addresses: the e-mail address is what counts.
                Err(FetchError::Gone | FetchError::Settings(_)) => Value::Null,
                Err(later) => return Err(later),
            },
            None => Value::Null,
        };
        Ok(Some(learnt(of, at)))
    }
}

/// What an answer holds; it may be any JSON, if something else answers at that address.
fn data(mut answer: Value) -> Value {
    answer.get_mut("data").map(Value::take).unwrap_or_default()
}

/// A page of a list.
struct Listed {
    entities: Vec<Value>,
    /// The id of its last entity, if there are more behind it.
    next: Option<String>,
}

impl Listed {
    fn read(answer: Value) -> Result<Self, FetchError> {
        let more = json::flag(&answer, "/meta/pagination/has_more");
        let Value::Array(entities) = data(answer) else {
            return Err(FetchError::unexpected("no list"));
        };
        let last = entities.last().and_then(|entity| json::text(entity, "/id"));
        Ok(Self { entities, next: last.filter(|_| more) })
    }
}

impl Paddle {
    /// Transactions that changed since a time, by their ids: an order that does not change meanwhile.
    async fn transactions(
        &self,
        api: &Api,
        fetcher: &Fetcher,
        since: Time,
        after: Option<&str>,
    ) -> Result<Page, FetchError> {
        let since = since.to_string();
        let mut query = vec![
            ("status", self.events.purchase_on.statuses()),
            ("updated_at[GTE]", &since),
            ("order_by", "id[ASC]"),
            ("include", "customer,address"),
            ("per_page", "30"),
        ];
        query.extend(after.map(|after| ("after", after)));
        let Listed { entities, next } = Listed::read(api.get(fetcher, "transactions", &query).await?)?;
        let topic = "transaction.completed";
        let reports = entities
            .into_iter()
            .map(|entity| Report::from(self.events.purchase(topic.to_owned(), value!({ "data": entity }))));
        Ok(Page { reports: reports.collect(), next: Some(next.unwrap_or_else(|| ADJUSTMENTS.to_owned())) })
    }

    /// Refunds and chargebacks that changed since a time, the newest first.
    async fn adjustments(
        &self,
        api: &Api,
        fetcher: &Fetcher,
        since: Time,
        after: Option<&str>,
    ) -> Result<Page, FetchError> {
        let mut query =
            vec![("action", "refund,chargeback"), ("status", "approved"), ("order_by", "id[DESC]"), ("per_page", "50")];
        query.extend(after.map(|after| ("after", after)));
        let Listed { entities, next } = Listed::read(api.get(fetcher, "adjustments", &query).await?)?;
        let oldest = entities.last().and_then(|entity| time(entity, "/created_at"));
        let done = oldest.is_some_and(|oldest| oldest < since.minus(APPROVED_WITHIN));
        let topic = "adjustment.updated";
        let reports = entities
            .into_iter()
            .filter(|entity| time(entity, "/updated_at").is_none_or(|changed| changed >= since))
            .map(|entity| Report::from(self.events.refund(topic.to_owned(), value!({ "data": entity }))));
        let next = next.filter(|_| !done).map(|last| format!("{ADJUSTMENTS}/{last}"));
        Ok(Page { reports: reports.collect(), next })
    }
}

#[async_trait]
impl Listing for Paddle {
    async fn page(&self, fetcher: &Fetcher, since: Time, cursor: Option<&str>) -> Result<Page, FetchError> {
        let Some(api) = &self.api else { return Ok(Page { reports: Vec::new(), next: None }) };
        match cursor.map(|cursor| cursor.strip_prefix(ADJUSTMENTS).ok_or(cursor)) {
            None => self.transactions(api, fetcher, since, None).await,
            Some(Err(after)) => self.transactions(api, fetcher, since, Some(after)).await,
            Some(Ok(after)) => self.adjustments(api, fetcher, since, after.strip_prefix('/')).await,
        }
    }
}
