//! What was paid: checkout sessions, invoices, payment intents.

use std::time::Duration;

use rust_decimal::Decimal;
use serde_json::Value;

use super::{
    super::{Worth, json},
    Reading, Refusal, Stripe, fields,
};
use crate::{
    intake::Draft,
    model::{ActionSource, Currency, Item},
};

/// How Stripe describes the first payment of a subscription. Source: payment intents of December 2025, read 2026-11-20.
const FIRST_PAYMENT: &str = "Subscription creation";
/// Why something without a price is ignored.
const NO_VALUE: &str = "no value";

impl Stripe {
    /// A checkout session that was completed, or whose payment came later.
    pub(super) fn session(&self, event: &Value) -> Result<Reading, Refusal> {
        let object = fields::object(event);
        if json::text(object, "/mode").as_deref() == Some("setup") {
            return Ok(Reading::Useless("saves a payment method, sells nothing"));
        }
        match json::text(object, "/payment_status").as_deref() {
            Some("paid" | "no_payment_required") | None => {}
            Some(_) => return Ok(Reading::Useless("not paid yet")),
        }
        let transaction = ["/invoice", "/payment_intent", "/id"].iter().find_map(|pointer| fields::id(object, pointer));
        let mut draft = Draft { transaction_id: transaction, time: fields::time(event), ..Draft::default() };
        fields::person(object, &fields::SESSION, &mut draft.user);
        fields::customer(object, &mut draft.user);
        fields::metadata(object, &["/metadata"], &mut draft);
        // What the metadata names is meant for us; this field has other uses, too.
        if let Some(reference) = json::text(object, "/client_reference_id") {
            draft.carry("visitor_id", &reference);
        }
        if !positive(object, "/amount_total")? {
            return Ok(self.free(draft));
        }
        let currency = json::currency(object, "/currency")?;
        draft.value = self.session_value(object, currency)?;
        draft.items = items(object, "/line_items/data", currency);
        let session = json::text(object, "/id").filter(|_| draft.items.is_empty());
        let lookup = self.api.as_ref().zip(session).and_then(|(api, session)| api.items_of(&session));
        Ok(sold(draft, currency, lookup))
    }

    /// What a session is worth. Prices may include their tax or not: only what is left of the total is right for both.
    fn session_value(&self, object: &Value, currency: Currency) -> Result<Option<Decimal>, Refusal> {
        let amount = |pointer: &str| fields::amount(object, pointer, currency);
        let total = amount("/amount_total")?;
        if self.worth == Worth::Total {
            return Ok(total);
        }
        let Some((total, tax)) = total.zip(amount("/total_details/amount_tax")?) else {
            let discount = amount("/total_details/amount_discount")?.unwrap_or_default();
            return Ok(amount("/amount_subtotal")?.map(|subtotal| subtotal - discount).or(total));
        };
        let shipping = match shipping(object, currency)? {
            Some(shipping) => shipping,
            None => amount("/total_details/amount_shipping")?.unwrap_or_default(),
        };
        Ok(Some((total - tax - shipping).max(Decimal::ZERO)))
    }

    /// An invoice that was paid.
    pub(super) fn invoice(&self, event: &Value) -> Result<Reading, Refusal> {
        let object = fields::object(event);
        let reason = json::text(object, "/billing_reason").unwrap_or_default();
        if reason == "manual" && !self.manual_invoices {
            return Ok(Reading::Useless("manual invoice"));
        }
        let first = reason == "subscription_create";
        let paid_at = json::time(object, "/status_transitions/paid_at").ok().flatten();
        let mut draft = Draft {
            transaction_id: json::text(object, "/id"),
            time: paid_at.or_else(|| fields::time(event)),
            // A checkout may tell of the first one, too; nobody is there when the others are paid.
            action_source: (!first).then_some(ActionSource::SystemGenerated),
            ..Draft::default()
        };
        fields::person(object, &fields::INVOICE, &mut draft.user);
        fields::customer(object, &mut draft.user);
        let subscription = ["/parent/subscription_details/metadata", "/subscription_details/metadata"];
        fields::metadata(object, &["/metadata", subscription[0], subscription[1]], &mut draft);
        if first && !positive(object, "/total")? {
            return Ok(self.free(draft));
        }
        let currency = json::currency(object, "/currency")?;
        let Some(paid) = paid(object, currency)?.filter(|paid| *paid > Decimal::ZERO) else {
            return Ok(Reading::Useless(NO_VALUE));
        };
        draft.value = Some(match self.worth {
            Worth::Total => paid,
            Worth::Subtotal => net(object, currency)?.map_or(paid, |net| net.clamp(Decimal::ZERO, paid)),
        });
        draft.items = items(object, "/lines/data", currency);
        Ok(sold(draft, currency, None))
    }

    /// A payment, for shops that take payments without a checkout of Stripe's.
    pub(super) fn payment_intent(&self, event: &Value) -> Result<Reading, Refusal> {
        let object = fields::object(event);
        // Stripe writes there what it made the payment for; before version 2025-03-31 the invoice had a field of its own.
        let order = json::text(object, "/payment_details/order_reference").unwrap_or_default();
        // The first payment of a subscription names its checkout instead, and has a description of Stripe's.
        let first = order.starts_with("cs_") && json::text(object, "/description").as_deref() == Some(FIRST_PAYMENT);
        if fields::id(object, "/invoice").is_some() || order.starts_with("in_") || first {
            return Ok(Reading::Useless("counted by its invoice"));
        }
        let methods = json::list(object, "/payment_method_types");
        let terminal = |method: &Value| method.as_str().is_some_and(|method| method.ends_with("_present"));
        let in_person = !methods.is_empty() && methods.iter().all(terminal);
        let mut draft = Draft {
            transaction_id: json::text(object, "/id"),
            time: fields::time(event),
            action_source: in_person.then_some(ActionSource::PhysicalStore),
            ..Draft::default()
        };
        fields::person(object, &fields::PAYMENT, &mut draft.user);
        fields::customer(object, &mut draft.user);
        fields::metadata(object, &["/metadata"], &mut draft);
        let received = if json::at(object, "/amount_received").is_some() { "/amount_received" } else { "/amount" };
        if !positive(object, received)? {
            return Ok(Reading::Useless(NO_VALUE));
        }
        let currency = json::currency(object, "/currency")?;
        draft.value = fields::amount(object, received, currency)?;
        Ok(sold(draft, currency, None))
    }

    /// A checkout that costs nothing: the beginning of a trial, a coupon over everything.
    fn free(&self, draft: Draft) -> Reading {
        match &self.free_event {
            Some(name) => Reading::known(Draft { event: Some(name.clone()), ..draft }),
            None => Reading::Useless(NO_VALUE),
        }
    }
}

fn sold(draft: Draft, currency: Currency, lookup: Option<(String, Duration)>) -> Reading {
    let currency = Some(currency.code().to_owned());
    let draft = Draft { event: Some("purchase".to_owned()), currency, ..draft };
    Reading::Event { draft: Box::new(draft), key: None, lookup }
}

/// What was paid for an invoice. What the customer's balance paid was counted when it was paid in.
fn paid(object: &Value, currency: Currency) -> Result<Option<Decimal>, Refusal> {
    let amount = |pointer: &str| fields::amount(object, pointer, currency);
    let total = amount("/total")?;
    let elsewhere = amount("/amount_paid_off_stripe")?.is_some_and(|paid| paid > Decimal::ZERO);
    if elsewhere || json::flag(object, "/paid_out_of_band") {
        return Ok(total);
    }
    Ok(amount("/amount_paid")?.or(total))
}

/// The goods of an invoice after discounts, without tax and shipping.
fn net(object: &Value, currency: Currency) -> Result<Option<Decimal>, Refusal> {
    let amount = |pointer: &str| fields::amount(object, pointer, currency);
    let net = match (amount("/total_excluding_tax")?, amount("/total")?) {
        (Some(net), _) => net,
        (None, Some(total)) => total - taxes(object, currency)?,
        (None, None) => return Ok(None),
    };
    Ok(Some(net - shipping(object, currency)?.unwrap_or_default()))
}

/// Whether an amount is over zero, whatever its currency.
fn positive(object: &Value, pointer: &str) -> Result<bool, Refusal> {
    Ok(json::decimal(object, pointer)?.is_some_and(|amount| amount > Decimal::ZERO))
}

/// Shipping without its tax, if the object tells it.
fn shipping(object: &Value, currency: Currency) -> Result<Option<Decimal>, Refusal> {
    let amount = |pointer: &str| fields::amount(object, pointer, currency);
    let tax = amount("/shipping_cost/amount_tax")?.unwrap_or_default();
    Ok(amount("/shipping_cost/amount_total")?.map(|shipping| shipping - tax))
}

/// The taxes of an invoice, which three ages of the API write in three ways.
fn taxes(object: &Value, currency: Currency) -> Result<Decimal, Refusal> {
    for list in ["/total_taxes", "/total_tax_amounts"] {
        let taxes = json::list(object, list);
        if !taxes.is_empty() {
            let amounts = taxes.iter().map(|tax| fields::amount(tax, "/amount", currency));
            return amounts.map(|amount| amount.map(Option::unwrap_or_default)).sum();
        }
    }
    Ok(fields::amount(object, "/tax", currency)?.unwrap_or_default())
}

/// The lines of a session, if Stripe was told to expand them, or of an invoice. What gives money back is no item.
pub(super) fn items(object: &Value, pointer: &str, currency: Currency) -> Vec<Item> {
    const PRODUCT: [&str; 5] =
        ["/pricing/price_details/product", "/price/product", "/price/product/id", "/plan/product", "/price/id"];
    const PRICE: [&str; 5] = [
        "/pricing/unit_amount_decimal",
        "/price/unit_amount_decimal",
        "/price/unit_amount",
        "/plan/amount_decimal",
        "/plan/amount",
    ];
    let sells = |line: &&Value| {
        let amount = ["/amount", "/amount_total"].iter().find_map(|amount| json::decimal(line, amount).ok().flatten());
        amount.is_none_or(|amount| amount >= Decimal::ZERO)
    };
    let item = |line: &Value| Item {
        id: json::first(line, &PRODUCT),
        name: json::text(line, "/description"),
        quantity: json::decimal(line, "/quantity").ok().flatten(),
        price: fields::unit_price(line, &PRICE, currency),
    };
    json::list(object, pointer).iter().filter(sells).map(item).collect()
}
