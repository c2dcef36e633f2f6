//! What a notification of Paddle tells, and what its entities do where the API lists them.

use std::time::Duration;

use rust_decimal::Decimal;
use serde_json::{Value, json as value};

use crate::{
    intake::{
        Draft,
        sources::{Refusal, Report, TestEvents, Told, Worth, json},
    },
    model::{ActionSource, Currency, Item, RawUser, Sensitive, Time},
};

/// Reads notifications.
pub(super) struct Events {
    /// What a purchase is worth.
    pub(super) worth: Worth,
    /// Which of two topics counts a purchase.
    pub(super) purchase_on: PurchaseOn,
    /// What becomes of simulated notifications.
    pub(super) test_events: TestEvents,
    /// How long a purchase waits for its customer's address; `None`: it is not asked for.
    pub(super) lookup_wait: Option<Duration>,
}

/// Which of two topics counts a purchase: `purchase_on`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum PurchaseOn {
    /// `transaction.completed`: paid, and processed by Paddle.
    #[default]
    Completed,
    /// `transaction.paid`: some seconds earlier.
    Paid,
}

impl PurchaseOn {
    /// The statuses in which a listed transaction counts.
    pub(super) const fn statuses(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Paid => "paid,completed",
        }
    }
}

impl Events {
    /// What a notification tells; `body` is the whole of it.
    ///
    /// # Errors
    /// If an amount or its currency is none.
    pub(super) fn report(&self, body: Value) -> Result<Report, Refusal> {
        let topic = json::text(&body, "/event_type").unwrap_or_default();
        let simulated = |pointer| json::text(&body, pointer).is_some_and(|id| id.starts_with("ntfsim"));
        let simulated = simulated("/event_id") || simulated("/notification_id");
        let purchase = match topic.as_str() {
            "transaction.completed" => Some(PurchaseOn::Completed),
            "transaction.paid" => Some(PurchaseOn::Paid),
            "adjustment.created" | "adjustment.updated" | "customer.created" => None,
            _ => return Ok(Report::ignored(topic, "not a conversion")),
        };
        if simulated && self.test_events == TestEvents::Ignore {
            return Ok(Report::ignored(topic, "test event"));
        }
        if purchase.is_some_and(|purchase| purchase != self.purchase_on) {
            return Ok(Report::ignored(topic, "counted by another topic"));
        }
        match topic.as_str() {
            "customer.created" => Ok(sign_up(topic, body)),
            "adjustment.created" | "adjustment.updated" => self.refund(topic, body),
            _ => self.purchase(topic, body),
        }
    }

    /// A purchase; `body` holds the transaction as `data`, as in a notification.
    ///
    /// # Errors
    /// If an amount or its currency is none.
    pub(super) fn purchase(&self, topic: String, body: Value) -> Result<Report, Refusal> {
        let transaction = json::at(&body, "/data").unwrap_or(&Value::Null);
        let origin = json::text(transaction, "/origin").unwrap_or_default();
        if origin == "subscription_payment_method_change" {
            return Ok(Report::ignored(topic, "not a conversion"));
        }
        let currency = json::currency(&body, "/data/currency_code")?;
        let total = |name: &str| json::minor(&body, &format!("/data/details/totals/{name}"), currency);
        let paid = match total("grand_total")? {
            Some(paid) => Some(paid),
            None => total("total")?,
        };
        let worth = match self.worth {
            Worth::Total => paid,
            Worth::Subtotal => {
                let discount = total("discount")?.unwrap_or_default();
                total("subtotal")?.map(|subtotal| (subtotal - discount).max(Decimal::ZERO))
            }
        };
        let tried =
            json::list(transaction, "/items").iter().any(|item| json::at(item, "/price/trial_period").is_some());
        let by_itself = origin.starts_with("subscription_");
        // A renewal that a discount pays for is no second trial.
        let event = if tried && !by_itself && paid == Some(Decimal::ZERO) { "start_trial" } else { "purchase" };
        let captured = json::list(transaction, "/payments")
            .iter()
            .filter(|payment| json::text(payment, "/status").as_deref() == Some("captured"))
            .find_map(|payment| time(payment, "/captured_at"));
        let first = || {
            let (data, envelope) = (["/billed_at", "/created_at"], "/occurred_at");
            time(&body, envelope).or_else(|| data.iter().find_map(|pointer| time(transaction, pointer)))
        };
        let mut draft = Draft {
            time: captured.or_else(first),
            transaction_id: json::text(transaction, "/id"),
            value: worth,
            currency: Some(currency.code().to_owned()),
            action_source: by_itself.then_some(ActionSource::SystemGenerated),
            items: items(transaction, currency),
            ..Draft::named(event)
        };
        if !by_itself {
            draft.context.url = json::text(transaction, "/checkout/url").map(Sensitive::new);
        }
        draft.user.external_ids.extend(json::raw(transaction, "/customer_id"));
        carried(transaction, &mut draft);
        // Listings bring both along.
        for (pointer, read) in [("/customer", customer as fn(&Value, &mut RawUser)), ("/address", address)] {
            if let Some(entity) = json::at(transaction, pointer) {
                read(entity, &mut draft.user);
            }
        }
        let lookup = self.lookup_wait.filter(|_| draft.user.emails.is_empty());
        let lookup = lookup.and_then(|wait| Some((wanted(transaction)?, wait)));
        Ok(Told { lookup, ..Told::new(draft, body) }.into())
    }

    /// A refund or chargeback; `body` holds the adjustment as `data`, as in a notification.
    ///
    /// # Errors
    /// If an amount or its currency is none.
    pub(super) fn refund(&self, topic: String, body: Value) -> Result<Report, Refusal> {
        let adjustment = json::at(&body, "/data").unwrap_or(&Value::Null);
        let action = json::text(adjustment, "/action").unwrap_or_default();
        if !matches!(action.as_str(), "refund" | "chargeback") {
            // A credit gives no money back, and a chargeback's warning may come to nothing.
            return Ok(Report::ignored(topic, "not a refund"));
        }
        if json::text(adjustment, "/status").as_deref() != Some("approved") {
            return Ok(Report::ignored(topic, "not approved"));
        }
        let Some(id) = json::text(adjustment, "/id") else {
            return Ok(Report::ignored(topic, "no adjustment in the body"));
        };
        let currency = json::currency(&body, "/data/currency_code")?;
        let pointer = match self.worth {
            Worth::Total => "/data/totals/total",
            Worth::Subtotal => "/data/totals/subtotal",
        };
        let mut draft = Draft {
            time: time(&body, "/occurred_at").or_else(|| time(adjustment, "/updated_at")),
            transaction_id: json::text(adjustment, "/transaction_id"),
            value: json::minor(&body, pointer, currency)?.map(|value| value.abs()),
            currency: Some(currency.code().to_owned()),
            ..Draft::named("refund")
        };
        draft.user.external_ids.extend(json::raw(adjustment, "/customer_id"));
        Ok(Told::new(draft, body).keyed(id).into())
    }
}

/// A new customer.
fn sign_up(topic: String, body: Value) -> Report {
    let data = json::at(&body, "/data").unwrap_or(&Value::Null);
    let Some(id) = json::text(data, "/id") else { return Report::ignored(topic, "no customer in the body") };
    let mut draft =
        Draft { time: time(data, "/created_at").or_else(|| time(&body, "/occurred_at")), ..Draft::named("sign_up") };
    customer(data, &mut draft.user);
    draft.user.external_ids.extend(json::raw(data, "/id"));
    carried(data, &mut draft);
    Told::new(draft, body).keyed(id).into()
}

/// What the API told of a customer, and of the address of a transaction.
pub(super) fn learnt(of: Value, at: Value) -> Told {
    let mut draft = Draft::named("purchase");
    customer(&of, &mut draft.user);
    address(&at, &mut draft.user);
    carried(&of, &mut draft);
    Told::new(draft, value!({ "data": { "customer": of, "address": at } }))
}

/// What to ask for: `customer/ctm_…`, or `customer/ctm_…/address/add_…`.
fn wanted(transaction: &Value) -> Option<String> {
    let customer = json::text(transaction, "/customer_id").filter(|id| is_id(id))?;
    let address = json::text(transaction, "/address_id").filter(|id| is_id(id));
    Some(
        address
            .map_or_else(|| format!("customer/{customer}"), |address| format!("customer/{customer}/address/{address}")),
    )
}

/// Whether a text can be an id of Paddle's, and so a part of an address of its API.
pub(super) fn is_id(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

pub(super) fn time(value: &Value, pointer: &str) -> Option<Time> {
    json::time(value, pointer).ok().flatten()
}

fn customer(entity: &Value, user: &mut RawUser) {
    user.emails.extend(json::raw(entity, "/email"));
    if let Some(name) = json::text(entity, "/name") {
        json::name(&name, user);
    }
}

fn address(entity: &Value, user: &mut RawUser) {
    user.street = json::raw(entity, "/first_line");
    user.city = json::raw(entity, "/city");
    user.region = json::raw(entity, "/region");
    user.postal_code = json::raw(entity, "/postal_code");
    user.country = json::raw(entity, "/country_code");
}

/// What the checkout carried along in `custom_data`.
fn carried(entity: &Value, draft: &mut Draft) {
    let Some(Value::Object(custom)) = json::at(entity, "/custom_data") else { return };
    for (name, value) in custom {
        match value {
            Value::String(value) => draft.carry(name, value),
            Value::Number(_) | Value::Bool(_) => draft.carry(name, &value.to_string()),
            _ => false,
        };
    }
}

/// What was bought. A price is that of one piece after discounts, without tax.
fn items(transaction: &Value, currency: Currency) -> Vec<Item> {
    let amount = |item: &Value, pointer: &str| json::minor(item, pointer, currency).ok().flatten();
    let line = |line: &Value| Item {
        id: json::first(line, &["/product/id", "/price_id"]),
        name: json::text(line, "/product/name"),
        quantity: json::decimal(line, "/quantity").ok().flatten(),
        price: amount(line, "/unit_totals/subtotal")
            .map(|each| each - amount(line, "/unit_totals/discount").unwrap_or_default()),
    };
    let item = |item: &Value| Item {
        id: json::first(item, &["/price/product_id", "/price/id", "/price_id"]),
        name: json::first(item, &["/price/name", "/price/description"]),
        quantity: json::decimal(item, "/quantity").ok().flatten(),
        price: amount(item, "/price/unit_price/amount"),
    };
    match json::list(transaction, "/details/line_items") {
        [] => json::list(transaction, "/items").iter().map(item).collect(),
        lines => lines.iter().map(line).collect(),
    }
}
