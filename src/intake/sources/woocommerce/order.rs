//! What an order of WooCommerce tells: its purchase, and each of its refunds. And what a new customer tells.

use std::time::Duration;

use rust_decimal::{Decimal, RoundingStrategy};
use serde_json::Value;

use crate::{
    intake::{
        Draft,
        sources::{Refusal, Report, TestEvents, Told, Worth, json},
    },
    model::{ActionSource, Currency, Item, Raw, RawUser, Sensitive, Time},
};

/// Where WooCommerce keeps what it knows of the visit, since 8.5.
const ATTRIBUTION: &str = "_wc_order_attribution_";
/// Refunds of one order that are reported at once, the newest: each report carries the order along.
const REFUNDS_MAX: usize = 50;
/// No money stays with an order in one of these, unless it says what went back.
const VOID: [&str; 3] = ["cancelled", "failed", "trash"];

/// Reads orders.
pub(super) struct Orders {
    /// What a purchase is worth.
    pub(super) worth: Worth,
    /// Statuses in which an order is paid.
    pub(super) paid_statuses: Vec<String>,
    /// What the transaction is called.
    pub(super) numbering: Numbering,
    /// How long after its payment a change of an order reports its purchase.
    pub(super) report_within: Duration,
    /// How long after its payment a change of an order reports its refunds. They carry no date: a change that comes when
    /// nobody remembers them any more would tell them as new.
    pub(super) refunds_within: Duration,
    /// What becomes of orders paid in the payment service's test mode.
    pub(super) test_events: TestEvents,
}

/// What the transaction is called: `transaction_id`.
#[derive(Clone, Copy, Debug, Default)]
pub(super) enum Numbering {
    /// By the order's id.
    #[default]
    Id,
    /// By the number that the customer sees, which a plugin may have changed.
    Number,
}

/// A refund of an order.
struct Refund {
    id: u64,
    amount: Decimal,
}

impl Orders {
    /// The purchase, and behind it the refunds: where the purchase was never seen, they have something to change.
    ///
    /// # Errors
    /// If an amount is none.
    pub(super) fn reports(&self, topic: &str, order: Value) -> Result<Vec<Report>, Refusal> {
        let ignored = |reason| Ok(vec![Report::ignored(topic, reason)]);
        if json::text(&order, "/id").is_none() {
            // As when the user of the webhook may not read orders: the body is the error of the shop's own API.
            return ignored("no order in the body");
        }
        if is_test(&order) && self.test_events == TestEvents::Ignore {
            return ignored("test event");
        }
        let status = json::text(&order, "/status").unwrap_or_default();
        let paid_at = utc(&order, "/date_paid_gmt");
        let refunds = refunds(&order);
        let kept = !VOID.contains(&status.as_str()) || !refunds.is_empty();
        if !self.paid_statuses.contains(&status) && status != "refunded" && !(paid_at.is_some() && kept) {
            return ignored("not paid");
        }
        let changed_at = utc(&order, "/date_modified_gmt");
        let total = json::decimal(&order, "/total")?;
        let value = match self.worth {
            Worth::Total => total,
            Worth::Subtotal => total.map(|total| goods(&order, total)).transpose()?,
        };
        let over = |within| changed_at.zip(paid_at).is_some_and(|(changed, paid)| changed.since(paid) > within);
        let (late, late_refunds) = (over(self.report_within), over(self.refunds_within));
        let mut reports = Vec::new();
        for (refund, value) in self.shares(&order, refunds, total.zip(value)) {
            if late_refunds {
                reports.push(Report::ignored(topic, "refund of an order paid long before this change"));
                continue;
            }
            let draft = Draft { time: changed_at, value: Some(value), ..self.about("refund", &order) };
            let mut body = order.clone();
            body["refund"] = json::list(&order, "/refunds")
                .iter()
                .find(|entry| id(entry) == Some(refund.id))
                .cloned()
                .unwrap_or_default();
            reports.push(Told::new(draft, body).keyed(refund.id.to_string()).into());
        }
        let purchase = if late {
            Report::ignored(topic, "paid long before this change")
        } else {
            let time = paid_at.or_else(|| utc(&order, "/date_created_gmt"));
            let draft = Draft { time, value, items: items(&order), ..self.about("purchase", &order) };
            Told::new(draft, order).into()
        };
        reports.insert(0, purchase);
        Ok(reports)
    }

    /// What each refund takes of the purchase's value. Of refunds only their total is told: where the value is without tax and
    /// shipping, each takes its share, and all of them together take everything once everything is refunded.
    fn shares(&self, order: &Value, refunds: Vec<Refund>, worth: Option<(Decimal, Decimal)>) -> Vec<(Refund, Decimal)> {
        let currency = json::text(order, "/currency").and_then(|code| Currency::parse(&code).ok());
        let decimals = currency.map_or(2, Currency::exponent);
        let share = |sum: Decimal| {
            let (total, value) = worth.filter(|(total, value)| total != value && !total.is_zero())?;
            let share = sum.checked_mul(value)?.checked_div(total)?;
            Some(share.round_dp_with_strategy(decimals, RoundingStrategy::MidpointAwayFromZero))
        };
        let (mut sum, mut shared) = (Decimal::ZERO, Decimal::ZERO);
        let mut shares: Vec<_> = refunds
            .into_iter()
            .map(|refund| {
                sum = sum.saturating_add(refund.amount);
                let part = share(sum).map(|share| share.saturating_sub(shared));
                shared = shared.saturating_add(part.unwrap_or(refund.amount));
                let part = part.unwrap_or(refund.amount).max(Decimal::ZERO);
                (refund, part)
            })
            .collect();
        shares.drain(..shares.len().saturating_sub(REFUNDS_MAX));
        shares
    }

    /// What every event of the order says.
    fn about(&self, event: &str, order: &Value) -> Draft {
        let transaction: &[&str] = match self.numbering {
            Numbering::Id => &["/id"],
            Numbering::Number => &["/number", "/id"],
        };
        let mut draft = Draft {
            transaction_id: json::first(order, transaction),
            currency: json::text(order, "/currency"),
            action_source: action_source(order),
            ..Draft::named(event)
        };
        let said = |base: &str| json::at(order, base).filter(|base| json::text(base, "/country").is_some());
        let address = said("/billing").or_else(|| said("/shipping")).or_else(|| json::at(order, "/billing"));
        if let Some(address) = address {
            person(address, &mut draft.user);
        }
        draft.user.emails.extend(json::raw(order, "/billing/email"));
        draft.user.phones.extend(json::first(order, &["/billing/phone", "/shipping/phone"]).map(Raw::new));
        // A guest is customer 0.
        let customer = json::text(order, "/customer_id").filter(|customer| customer != "0");
        draft.user.external_ids.extend(customer.map(Raw::new));
        visit(order, &mut draft);
        draft
    }
}

/// A new customer.
pub(super) fn sign_up(topic: &str, customer: Value) -> Report {
    let Some(id) = json::text(&customer, "/id") else { return Report::ignored(topic, "no customer in the body") };
    let role = json::text(&customer, "/role");
    if role.is_some_and(|role| !matches!(role.as_str(), "customer" | "subscriber")) {
        // Whoever works in the shop.
        return Report::ignored(topic, "not a customer");
    }
    let mut draft = Draft { time: utc(&customer, "/date_created_gmt"), ..Draft::named("sign_up") };
    let user = &mut draft.user;
    user.emails.extend(json::first(&customer, &["/email", "/billing/email"]).map(Raw::new));
    user.phones.extend(json::raw(&customer, "/billing/phone"));
    user.external_ids.extend(json::raw(&customer, "/id"));
    if let Some(address) = json::at(&customer, "/billing") {
        person(address, user);
    }
    user.first_name = json::raw(&customer, "/first_name").or(user.first_name.take());
    user.last_name = json::raw(&customer, "/last_name").or(user.last_name.take());
    carried(&customer, &mut draft);
    Told::new(draft, customer).keyed(id).into()
}

/// A time of WooCommerce, which is UTC without saying so.
pub(super) fn utc(value: &Value, pointer: &str) -> Option<Time> {
    let text = json::text(value, pointer)?;
    Time::parse(&format!("{text}Z")).or_else(|_| Time::parse(&text)).ok()
}

/// Whether the order was paid in the test mode of WooPayments, which alone says so.
fn is_test(order: &Value) -> bool {
    let is = |meta: &Value, pointer, text: &str| json::text(meta, pointer).as_deref() == Some(text);
    json::list(order, "/meta_data").iter().any(|meta| is(meta, "/key", "_wcpay_mode") && is(meta, "/value", "test"))
}

fn id(value: &Value) -> Option<u64> {
    json::text(value, "/id")?.parse().ok()
}

/// The refunds that gave money back, oldest first. One whose amount is none is left out: it must not cost the sale.
fn refunds(order: &Value) -> Vec<Refund> {
    let refund = |entry: &Value| {
        // They are written as what the order's total changes by: below zero.
        let amount = json::decimal(entry, "/total").ok()??.abs();
        (!amount.is_zero()).then_some(Refund { id: id(entry)?, amount })
    };
    let mut refunds: Vec<_> = json::list(order, "/refunds").iter().filter_map(refund).collect();
    refunds.sort_by_key(|refund| refund.id);
    refunds
}

/// What is left of the total without tax and shipping: the goods after discounts, and fees. Tax holds that on shipping.
///
/// # Errors
/// If an amount is none.
fn goods(order: &Value, total: Decimal) -> Result<Decimal, Refusal> {
    let tax = json::decimal(order, "/total_tax")?.unwrap_or_default();
    let shipping = json::decimal(order, "/shipping_total")?.unwrap_or_default();
    // A gift card may have paid for more than the goods.
    Ok(total.saturating_sub(tax).saturating_sub(shipping).max(Decimal::ZERO))
}

/// What was bought. A price is that of one piece after discounts, without tax.
fn items(order: &Value) -> Vec<Item> {
    let currency = json::text(order, "/currency").and_then(|code| Currency::parse(&code).ok());
    let decimals = currency.map_or(2, Currency::exponent);
    let some = |item: &Value, pointer| json::text(item, pointer).filter(|id| id != "0");
    let number = |item: &Value, pointer| json::decimal(item, pointer).ok().flatten();
    let item = |item: &Value| {
        let quantity = number(item, "/quantity");
        let each = number(item, "/total").zip(quantity).and_then(|(total, quantity)| total.checked_div(quantity));
        let each = each.or_else(|| number(item, "/price"));
        Item {
            id: some(item, "/variation_id").or_else(|| some(item, "/product_id")).or_else(|| some(item, "/sku")),
            name: json::text(item, "/name"),
            quantity,
            price: each.map(|each| each.round_dp_with_strategy(decimals, RoundingStrategy::MidpointAwayFromZero)),
        }
    };
    json::list(order, "/line_items").iter().map(item).filter(|item| item.id.is_some() || item.name.is_some()).collect()
}

/// Name and address.
fn person(address: &Value, user: &mut RawUser) {
    user.first_name = json::raw(address, "/first_name");
    user.last_name = json::raw(address, "/last_name");
    user.street = json::raw(address, "/address_1");
    user.city = json::raw(address, "/city");
    let country = json::text(address, "/country");
    // States of some countries are written with the country: DE-BE.
    let state = json::text(address, "/state").map(|state| {
        let inside = country.as_deref().and_then(|country| state.strip_prefix(country)?.strip_prefix('-'));
        inside.map_or_else(|| state.clone(), str::to_owned)
    });
    user.region = state.map(Raw::new);
    user.postal_code = json::raw(address, "/postcode");
    user.country = country.map(Raw::new);
}

/// Where an order that is no sale of the website was made.
fn action_source(order: &Value) -> Option<ActionSource> {
    match json::text(order, "/created_via")?.as_str() {
        "pos" | "pos-rest-api" | "point-of-sale" => Some(ActionSource::PhysicalStore),
        // Renewals of WooCommerce Subscriptions.
        "subscription" => Some(ActionSource::SystemGenerated),
        // Somebody of the shop typed it in.
        "admin" => Some(ActionSource::Other),
        _ => None,
    }
}

/// The browser, and what led to the order.
fn visit(order: &Value, draft: &mut Draft) {
    // Of a renewal or an order at the till they are those of another time, or of the shop.
    let on_website = draft.action_source.is_none();
    if on_website {
        draft.context.ip = json::text(order, "/customer_ip_address").map(Sensitive::new);
        draft.context.user_agent = json::text(order, "/customer_user_agent").map(Sensitive::new);
    }
    carried(order, draft);
    for meta in json::list(order, "/meta_data") {
        let Some((key, value)) = json::text(meta, "/key").zip(json::text(meta, "/value")) else { continue };
        // "(direct)" and the like stand for nothing.
        let said = |name| key.strip_prefix(ATTRIBUTION) == Some(name) && !value.starts_with('(');
        let context = &mut draft.context;
        if said("user_agent") {
            context.user_agent.get_or_insert_with(|| Sensitive::new(value));
        } else if said("referrer") {
            context.referrer.get_or_insert_with(|| Sensitive::new(value));
        } else if said("session_entry") {
            if value.starts_with("http") {
                context.url.get_or_insert_with(|| Sensitive::new(value.clone()));
            }
            draft.landing(&value);
        }
    }
    if on_website && draft.context.url.is_none() {
        draft.context.url = json::text(order, "/payment_url").and_then(|url| shop_page(&url)).map(Sensitive::new);
    }
}

/// The shop's address, off the page where the order is paid: without a page, Meta takes no sale for one on the website.
fn shop_page(url: &str) -> Option<String> {
    let url = url::Url::parse(url).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())?;
    Some(format!("{}/", url.origin().ascii_serialization()))
}

/// What the shop carries along in `meta_data`, and the UTM values of its own attribution.
fn carried(holder: &Value, draft: &mut Draft) {
    for meta in json::list(holder, "/meta_data") {
        let Some((key, value)) = json::text(meta, "/key").zip(json::text(meta, "/value")) else { continue };
        match key.strip_prefix(ATTRIBUTION) {
            None => {
                draft.carry(&key, &value);
            }
            Some(name) if name.starts_with("utm_") && !value.starts_with('(') => {
                draft.carry(name, &value);
            }
            Some(_) => {}
        }
    }
}
