//! Refunds: how much money went back, and how much of that was for the goods.
//!
//! Transactions of an order paid in another currency are in that currency (REST Admin API reference, transaction, read
//! 2026-11-20); in the shop's currency there are only the parts of the refund, so that its own rate is taken from them.

use std::time::Duration;

use rust_decimal::Decimal;
use serde_json::Value;

use super::{
    super::{TestEvents, Told, Worth},
    Refusal, Report, json,
    order::{self, Reading},
    prices::{self, Side},
};
use crate::{intake::Draft, model::Currency};

/// An order tells of all its refunds whenever it changes, also long after: of one that is older than this nobody may remember
/// that it was reported. It is less than events are remembered by default (`retention.dedupe`).
const LATE_MAX: Duration = Duration::from_secs(28 * 86_400);

impl Reading {
    /// The refunds of an order that has changed, each as its `refunds/create` tells it.
    ///
    /// # Errors
    /// If one cannot be read.
    pub(super) fn refunds(&self, topic: &str, order: &Value) -> Result<Vec<Report>, Refusal> {
        let changed = json::time(order, "/updated_at").ok().flatten();
        let report = |refund: &Value| {
            let age = changed.zip(order::time(refund)).map(|(changed, refunded)| changed.since(refunded));
            if age.is_some_and(|age| age > LATE_MAX) {
                return Ok(Report::ignored(topic, "refunded long before this change"));
            }
            self.refund(topic, refund.clone(), Some(order))
        };
        json::list(order, "/refunds").iter().map(report).collect()
    }

    /// A refund; `order` is the one it stands in, if it does.
    ///
    /// # Errors
    /// If an id is missing, or an amount is none.
    pub(super) fn refund(&self, topic: &str, refund: Value, order: Option<&Value>) -> Result<Report, Refusal> {
        let word = |entry: &Value, pointer| json::text(entry, pointer).unwrap_or_default().to_ascii_lowercase();
        let all = json::list(&refund, "/transactions").iter();
        let back: Vec<&Value> = all.filter(|transaction| word(transaction, "/kind") == "refund").collect();
        let pending = back.iter().any(|transaction| word(transaction, "/status") == "pending");
        let paid: Vec<&Value> =
            back.into_iter().filter(|transaction| word(transaction, "/status") == "success").collect();
        if paid.is_empty() {
            return Ok(Report::ignored(topic, if pending { "refund is pending" } else { "no money went back" }));
        }
        let test = paid.iter().all(|paid| json::flag(paid, "/test")) || order.is_some_and(|o| json::flag(o, "/test"));
        if test && self.test_events == TestEvents::Ignore {
            return Ok(Report::ignored(topic, "test event"));
        }
        let missing = |pointer: &str, why| Refusal::unreadable(pointer, format!("{pointer}: is missing; {why}"));
        let key = json::text(&refund, "/id");
        let key = key.ok_or_else(|| missing("/id", "the refund is known by it"))?;
        let transaction_id = match order {
            Some(order) => self.transaction(order)?,
            None => json::text(&refund, "/order_id"),
        };
        if transaction_id.is_none() {
            return Err(missing("/order_id", "the refund would belong to no purchase"));
        }
        let amount = Amounts { refund: &refund, order, paid: &paid }.value(self)?;
        let Some((value, currency)) = amount else {
            return Ok(Report::ignored(topic, "no goods refunded"));
        };
        let mut draft = Draft {
            time: order::time(&refund),
            transaction_id,
            value: Some(value),
            currency,
            action_source: order.and_then(order::action_source),
            ..Draft::named("refund")
        };
        if let Some(order) = order {
            order::person(order, &mut draft.user);
        }
        Ok(Told::new(draft, refund).keyed(key).into())
    }
}

/// What there is to compute a refund's value from.
struct Amounts<'a> {
    refund: &'a Value,
    order: Option<&'a Value>,
    /// The transactions that went through.
    paid: &'a [&'a Value],
}

/// The parts of a refund in one currency.
#[derive(Clone, Copy)]
struct Parts {
    /// The lines; with their tax where prices include it.
    goods: Decimal,
    /// The tax of the lines.
    tax: Decimal,
    /// Shipping; with its tax where prices include it.
    shipping: Decimal,
    /// The tax of shipping, where it stands beside it.
    shipping_tax: Decimal,
    /// What was refunded less than all that: more, if negative.
    less: Decimal,
}

impl Parts {
    /// What they come to, where prices include tax or do not.
    fn total(&self, taxes_included: bool) -> Decimal {
        let tax = if taxes_included { Decimal::ZERO } else { self.tax + self.shipping_tax };
        self.goods + tax + self.shipping - self.less
    }
}

impl Amounts<'_> {
    /// What the refund takes off the purchase's value, and its currency; `None` if that is nothing.
    fn value(&self, reading: &Reading) -> Result<Option<(Decimal, Option<String>)>, Refusal> {
        let side = self.side(reading);
        let code = self.code(side);
        let mut sum = prices::sum(self.paid.iter().copied(), "amount", Side::Shop)?;
        // One refund is in one currency, whatever ways it takes.
        let paid_in = self.paid.iter().find_map(|paid| json::text(paid, "/currency"));
        let other = if side == Side::Shop { Side::Presentment } else { Side::Shop };
        let foreign = paid_in.is_some() && code.is_some() && paid_in != code && paid_in == self.code(other);
        let (there, here) = (self.parts(if foreign { other } else { side })?, self.parts(side)?);
        let taxes_included = match self.order {
            Some(order) => json::flag(order, "/taxes_included"),
            // The refund itself does not say so, but adds up only one way.
            None => there.tax + there.shipping_tax > Decimal::ZERO && there.total(true) == sum,
        };
        let mut currency = if foreign { code } else { paid_in.or(code) };
        if foreign && let Some(target) = currency.as_deref().and_then(|code| Currency::parse(code).ok()) {
            match self.rate(&there, &here, taxes_included, side, sum)? {
                Some((from, to)) => {
                    sum = prices::converted(sum, from, to, target).ok_or_else(|| prices::too_large("amount"))?;
                }
                None => currency = self.code(other),
            }
        }
        if reading.worth == Worth::Subtotal {
            let shipping_tax = if taxes_included { Decimal::ZERO } else { here.shipping_tax };
            sum = (sum - here.tax - here.shipping - shipping_tax).max(Decimal::ZERO);
        }
        Ok((!sum.is_zero()).then_some((sum, currency)))
    }

    /// The side that the purchase is counted in.
    fn side(&self, reading: &Reading) -> Side {
        match self.order {
            Some(order) => reading.side.told(order, "total_price"),
            None => reading.side,
        }
    }

    /// The currency of a side: that of the order, or of any part of the refund.
    fn code(&self, side: Side) -> Option<String> {
        let of_order = self.order.and_then(|order| order::currency(order, side));
        let parts = [
            ("", "total_duties"),
            ("/refund_line_items", "subtotal"),
            ("/order_adjustments", "amount"),
            ("/refund_shipping_lines", "subtotal_amount"),
        ];
        let of_part = |(list, name): (&str, &str)| match list {
            "" => prices::code(self.refund, name, side),
            list => json::list(self.refund, list).iter().find_map(|entry| prices::code(entry, name, side)),
        };
        of_order.or_else(|| parts.into_iter().find_map(of_part))
    }

    /// The parts of the refund, as far as they are told.
    fn parts(&self, side: Side) -> Result<Parts, Refusal> {
        let lines = json::list(self.refund, "/refund_line_items");
        let shipped = json::list(self.refund, "/refund_shipping_lines");
        let of_shipping = |entry: &&Value| json::text(entry, "/kind").as_deref() == Some("shipping_refund");
        let adjustments = json::list(self.refund, "/order_adjustments").iter();
        let (shipping_back, adjusted): (Vec<&Value>, Vec<&Value>) = adjustments.partition(of_shipping);
        let (shipping, shipping_tax) = if shipped.is_empty() {
            // Before version 2024-10 shipping was an adjustment, below zero.
            let back = prices::sum(shipping_back.iter().copied(), "amount", side)?;
            let tax = prices::sum(shipping_back, "tax_amount", side)?;
            (back.abs() + tax.abs(), Decimal::ZERO)
        } else {
            (prices::sum(shipped, "subtotal_amount", side)?, prices::sum(shipped, "tax_amount", side)?)
        };
        Ok(Parts {
            goods: prices::sum(lines, "subtotal", side)?,
            tax: prices::sum(lines, "total_tax", side)?,
            shipping,
            shipping_tax,
            less: prices::sum(adjusted, "amount", side)?,
        })
    }

    /// The rate from the currency that was paid in: two amounts that are the same money. What comes to exactly what was paid
    /// is best, as its other side is what Shopify booked.
    fn rate(
        &self,
        there: &Parts,
        here: &Parts,
        taxes_included: bool,
        side: Side,
        paid: Decimal,
    ) -> Result<Option<(Decimal, Decimal)>, Refusal> {
        let mut pairs = vec![
            (there.total(taxes_included), here.total(taxes_included)),
            (there.total(!taxes_included), here.total(!taxes_included)),
            (there.goods, here.goods),
            (there.shipping, here.shipping),
            (there.less.abs(), here.less.abs()),
        ];
        if let Some(order) = self.order {
            let total = |side| prices::amount(order, "total_price", side);
            let other = if side == Side::Shop { Side::Presentment } else { Side::Shop };
            pairs.extend(total(other)?.zip(total(side)?));
        }
        pairs.retain(|(from, to)| *from > Decimal::ZERO && *to > Decimal::ZERO);
        let exact = pairs.iter().find(|(from, _)| *from == paid).copied();
        Ok(exact.or_else(|| pairs.first().copied()))
    }
}
