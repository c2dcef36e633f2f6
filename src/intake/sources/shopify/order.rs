//! Orders as purchases, customers as sign-ups.

use rust_decimal::Decimal;
use serde_json::Value;

use super::{
    super::{Common, TestEvents, Told, Worth, worth},
    Refusal, Report, json,
    prices::{self, Side},
};
use crate::{
    intake::Draft,
    model::{ActionSource, Currency, Item, Raw, RawUser, Sensitive, Settings, Time},
};

/// How bodies are read.
#[derive(Clone, Debug)]
pub(super) struct Reading {
    /// Whether an order counts before it is paid: `purchase_on = "orders/create"`.
    unpaid: bool,
    /// Whether refunds count by `refunds/create`: `refund_on`.
    by_refund: bool,
    pub(super) worth: Worth,
    pub(super) side: Side,
    /// Where an order's id stands.
    transaction: &'static str,
    /// Where an item's id stands: the configured place, then the others.
    item_ids: [&'static str; 3],
    pub(super) test_events: TestEvents,
    /// Whether the operator maps the transaction himself.
    mapped: bool,
}

impl Reading {
    pub(super) fn read(common: &Common, settings: &mut Settings) -> Self {
        const NUMBER: &str = "/id";
        let topics = |paid: &'static str, other: &'static str| {
            move |text: &str| [(paid, false), (other, true)].into_iter().find(|(topic, _)| *topic == text)
        };
        let purchase_on = topics("orders/paid", "orders/create");
        let unpaid = settings.parsed("purchase_on", "orders/paid or orders/create", purchase_on);
        let refund_on = topics("refunds/create", "orders/updated");
        let updated = settings.parsed("refund_on", "refunds/create or orders/updated", refund_on);
        let by_refund = !updated.is_some_and(|(_, other)| other);
        let worth = worth(settings);
        let side = settings.parsed("currency", "shop (its own) or presentment (the customer's)", |text| match text {
            "shop" => Some(Side::Shop),
            "presentment" => Some(Side::Presentment),
            _ => None,
        });
        let transaction = settings.parsed("transaction_id", "id, name or order_number", |text| match text {
            "id" => Some(NUMBER),
            "name" => Some("/name"),
            "order_number" => Some("/order_number"),
            _ => None,
        });
        let transaction = transaction.unwrap_or(NUMBER);
        if by_refund && transaction != NUMBER {
            settings.problem(
                "refund_on",
                "must be orders/updated with this transaction_id: refunds/create tells only the order's id, and its \
                 refunds would belong to no purchase. Subscribe to orders/updated",
            );
        }
        let item_ids = settings.parsed("item_id", "variant_id, product_id or sku", |text| match text {
            "variant_id" => Some(["/variant_id", "/product_id", "/sku"]),
            "product_id" => Some(["/product_id", "/variant_id", "/sku"]),
            "sku" => Some(["/sku", "/variant_id", "/product_id"]),
            _ => None,
        });
        Self {
            unpaid: unpaid.is_some_and(|(_, other)| other),
            by_refund,
            worth,
            side: side.unwrap_or(Side::Shop),
            transaction,
            item_ids: item_ids.unwrap_or(["/variant_id", "/product_id", "/sku"]),
            test_events: common.test_events,
            mapped: common.mapped.iter().any(|field| field == "transaction_id"),
        }
    }

    /// Whether an order counts before it is paid.
    pub(super) const fn counts_unpaid(&self) -> bool {
        self.unpaid
    }

    /// Whether `refunds/create` tells enough to link a refund to its purchase.
    pub(super) const fn links_refunds(&self) -> bool {
        self.by_refund
    }

    /// What an order is known by.
    ///
    /// # Errors
    /// If that is missing: nothing else would keep it from being counted twice.
    pub(super) fn transaction(&self, order: &Value) -> Result<Option<String>, Refusal> {
        let id = json::text(order, self.transaction);
        if id.is_none() && !self.mapped {
            let why = format!("{}: is missing; the order is known by it", self.transaction);
            return Err(Refusal::unreadable(self.transaction, why));
        }
        Ok(id)
    }

    /// An order as a purchase.
    ///
    /// # Errors
    /// If its id is missing, or its value is none.
    pub(super) fn purchase(&self, topic: &str, order: Value) -> Result<Report, Refusal> {
        if json::flag(&order, "/test") && self.test_events == TestEvents::Ignore {
            return Ok(Report::ignored(topic, "test event"));
        }
        let side = self.side.told(&order, "total_price");
        let currency = currency(&order, side);
        let mut draft = Draft {
            time: time(&order),
            transaction_id: self.transaction(&order)?,
            value: match self.worth {
                Worth::Total => prices::amount(&order, "total_price", side)?,
                Worth::Subtotal => subtotal(&order, side)?,
            },
            action_source: action_source(&order),
            ..Draft::named("purchase")
        };
        let exponent = currency.as_deref().and_then(|code| Currency::parse(code).ok()).map(Currency::exponent);
        let lines = json::list(&order, "/line_items").iter();
        // A tip is a line, too.
        let lines = lines.filter(|line| line.is_object() && json::at(line, "/tip").is_none());
        draft.items.extend(lines.map(|line| self.item(line, side, exponent)));
        draft.currency = currency;
        person(&order, &mut draft.user);
        browser(&order, &mut draft);
        Ok(Told::new(draft, order).into())
    }

    /// A line of an order. What of it is not sound is left out.
    fn item(&self, line: &Value, side: Side, exponent: Option<u32>) -> Item {
        let quantity = json::decimal(line, "/quantity").ok().flatten();
        let list = prices::amount(line, "price", side).ok().flatten();
        let net = list.zip(quantity).and_then(|(list, quantity)| net_price(line, side, list, quantity));
        let exact = net.filter(|net| exponent.is_some_and(|exponent| net.normalize().scale() <= exponent));
        Item {
            id: json::first(line, &self.item_ids),
            name: json::first(line, &["/title", "/name"]),
            quantity,
            price: exact.or(list),
        }
    }
}

/// What one of a line costs after all discounts, those of the whole order included, which Shopify spreads over the lines.
fn net_price(line: &Value, side: Side, list: Decimal, quantity: Decimal) -> Option<Decimal> {
    let shares = json::list(line, "/discount_allocations");
    let discount = if shares.is_empty() {
        // Older bodies have only the discounts of the line itself.
        prices::amount(line, "total_discount", side).ok()?.unwrap_or_default()
    } else {
        prices::sum(shares, "amount", side).ok()?
    };
    let net = list.checked_mul(quantity)?.checked_sub(discount)?;
    net.checked_div(quantity).filter(|net| !net.is_sign_negative() || net.is_zero())
}

/// The goods after all discounts, without tax and shipping.
fn subtotal(order: &Value, side: Side) -> Result<Option<Decimal>, Refusal> {
    let Some(subtotal) = prices::amount(order, "subtotal_price", side)? else { return Ok(None) };
    if !json::flag(order, "/taxes_included") {
        return Ok(Some(subtotal));
    }
    let taxes = |pointer| -> Result<Decimal, Refusal> {
        let lines = json::list(order, pointer).iter().flat_map(|line| json::list(line, "/tax_lines"));
        prices::sum(lines, "price", side)
    };
    let mut tax = taxes("/line_items")?;
    if tax.is_zero() {
        // Without the taxes of each line: all there is, less that of shipping.
        tax = prices::amount(order, "total_tax", side)?.unwrap_or_default() - taxes("/shipping_lines")?;
    }
    Ok(Some(subtotal - tax.max(Decimal::ZERO)))
}

/// The currency of an order's amounts.
pub(super) fn currency(order: &Value, side: Side) -> Option<String> {
    match side {
        Side::Shop => json::text(order, "/currency").or_else(|| prices::code(order, "total_price", side)),
        Side::Presentment => {
            prices::code(order, "total_price", side).or_else(|| json::text(order, "/presentment_currency"))
        }
    }
}

/// When an order, refund or customer came about.
pub(super) fn time(entry: &Value) -> Option<Time> {
    ["/processed_at", "/created_at"].iter().find_map(|pointer| json::time(entry, pointer).ok().flatten())
}

/// An order's number, for the log.
pub(super) fn number(order: &Value) -> Option<u64> {
    json::at(order, "/id").and_then(Value::as_u64)
}

/// Whether an order was paid in full at some time.
pub(super) fn was_paid(order: &Value) -> bool {
    let status = json::text(order, "/financial_status").unwrap_or_default();
    matches!(status.as_str(), "paid" | "partially_refunded" | "refunded")
}

/// Whether an order was cancelled.
pub(super) fn was_cancelled(order: &Value) -> bool {
    json::at(order, "/cancelled_at").is_some()
}

/// Where an order was placed; `None` for the website, and for apps of which that is not known.
pub(super) fn action_source(order: &Value) -> Option<ActionSource> {
    match json::text(order, "/source_name")?.as_str() {
        "pos" => Some(ActionSource::PhysicalStore),
        // Written by somebody in the shop: after a call, a mail, a chat.
        "shopify_draft_order" => Some(ActionSource::Other),
        // Renewals. The first order of a subscription is one of the website.
        name if name.starts_with("subscription_contract") => Some(ActionSource::SystemGenerated),
        _ => None,
    }
}

/// Who an order, or a customer, is about.
pub(super) fn person(order: &Value, user: &mut RawUser) {
    let texts = |pointers: &[&str]| json::all(order, pointers);
    user.emails.extend(texts(&["/email", "/contact_email", "/customer/email"]).into_iter().map(Raw::new));
    let phones = texts(&[
        "/phone",
        "/customer/phone",
        "/billing_address/phone",
        "/shipping_address/phone",
        "/customer/default_address/phone",
        "/default_address/phone",
    ]);
    user.phones.extend(phones.into_iter().map(Raw::new));
    user.external_ids.extend(json::raw(order, "/customer/id"));
    const PLACES: [&str; 4] =
        ["/billing_address", "/shipping_address", "/customer/default_address", "/default_address"];
    const TELLING: [&str; 5] = ["/address1", "/city", "/zip", "/country_code", "/country"];
    let places = || PLACES.iter().filter_map(|place| json::at(order, place));
    // One address whole, rather than parts of several.
    if let Some(place) = places().find(|place| json::first(place, &TELLING).is_some()) {
        user.street = json::raw(place, "/address1");
        user.city = json::raw(place, "/city");
        user.region = json::first(place, &["/province_code", "/province"]).map(Raw::new);
        user.postal_code = json::raw(place, "/zip");
        user.country = json::first(place, &["/country_code", "/country"]).map(Raw::new);
    }
    let mut named = places().chain(json::at(order, "/customer")).chain([order]);
    if let Some(person) = named.find(|person| json::first(person, &["/first_name", "/last_name"]).is_some()) {
        user.first_name = json::raw(person, "/first_name");
        user.last_name = json::raw(person, "/last_name");
    } else if let Some(whole) = places().find_map(|place| json::text(place, "/name")) {
        json::name(&whole, user);
    }
}

/// The browser side of an order.
fn browser(order: &Value, draft: &mut Draft) {
    // Anywhere else address and browser are those of the staff or of an app.
    if draft.action_source.is_none() {
        let context = &mut draft.context;
        context.ip = json::first(order, &["/browser_ip", "/client_details/browser_ip"]).map(Sensitive::new);
        context.user_agent = json::text(order, "/client_details/user_agent").map(Sensitive::new);
        context.url = json::text(order, "/order_status_url").and_then(|url| shop_page(&url)).map(Sensitive::new);
        let referrer = json::text(order, "/referring_site").filter(|url| url.starts_with("http"));
        context.referrer = referrer.map(Sensitive::new);
    }
    let properties = json::list(order, "/line_items").iter().flat_map(|line| json::list(line, "/properties"));
    for attribute in json::list(order, "/note_attributes").iter().chain(properties) {
        if let Some((name, value)) = json::text(attribute, "/name").zip(json::text(attribute, "/value")) {
            draft.carry(&name, &value);
        }
    }
    if let Some(landing) = json::text(order, "/landing_site") {
        draft.landing(&landing);
    }
    for name in ["checkout_token", "cart_token"] {
        if let Some(token) = json::text(order, &format!("/{name}")) {
            draft.carry(name, &token);
        }
    }
}

/// The shop's address, off the page that shows an order: that page's own address holds a key to it.
fn shop_page(url: &str) -> Option<String> {
    let url = url::Url::parse(url).ok().filter(|url| url.scheme() == "https")?;
    let host = url.host_str().filter(|host| *host != "shopify.com" && !host.ends_with(".shopify.com"))?;
    Some(format!("https://{host}/"))
}

/// A customer as a sign-up.
pub(super) fn sign_up(customer: Value) -> Report {
    let mut draft = Draft { time: time(&customer), ..Draft::named("sign_up") };
    person(&customer, &mut draft.user);
    draft.user.external_ids.extend(json::raw(&customer, "/id"));
    let key = json::text(&customer, "/id");
    Told { key, ..Told::new(draft, customer) }.into()
}
