//! Amounts, which stand in Shopify's bodies twice: in the shop's currency and in that the customer paid in.

use rust_decimal::{Decimal, RoundingStrategy};
use serde_json::Value;

use super::{Refusal, json};
use crate::model::Currency;

/// Which of the two: `currency`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// The shop's own currency.
    Shop,
    /// The currency that the customer saw and paid in.
    Presentment,
}

impl Side {
    /// The same, if `value` tells its `{name}_set`; otherwise the shop's, which is always told.
    pub(super) fn told(self, value: &Value, name: &str) -> Self {
        let set = json::at(value, &format!("/{name}_set/presentment_money/amount"));
        if self == Self::Presentment && set.is_some() { self } else { Self::Shop }
    }

    const fn key(self) -> &'static str {
        match self {
            Self::Shop => "shop_money",
            Self::Presentment => "presentment_money",
        }
    }
}

/// The amount `name`: `{name}` is in the shop's currency, `{name}_set` holds both.
///
/// # Errors
/// If it is no decimal number.
pub(super) fn amount(value: &Value, name: &str, side: Side) -> Result<Option<Decimal>, Refusal> {
    let plain = if side == Side::Shop { json::decimal(value, &format!("/{name}"))? } else { None };
    if plain.is_some() {
        return Ok(plain);
    }
    json::decimal(value, &format!("/{name}_set/{}/amount", side.key()))
}

/// The currency of `{name}_set` on this side.
pub(super) fn code(value: &Value, name: &str, side: Side) -> Option<String> {
    let set = format!("/{name}_set/{}", side.key());
    json::first(value, &[&format!("{set}/currency_code"), &format!("{set}/currency")])
}

/// The sum of `name` over all entries, as far as they have it.
///
/// # Errors
/// If one is no decimal number, or the sum is too large.
pub(super) fn sum<'a>(
    entries: impl IntoIterator<Item = &'a Value>,
    name: &str,
    side: Side,
) -> Result<Decimal, Refusal> {
    entries.into_iter().try_fold(Decimal::ZERO, |sum, entry| {
        let more = amount(entry, name, side)?.unwrap_or_default();
        let sum = sum.checked_add(more).filter(|sum| sum.abs() <= MOST);
        sum.ok_or_else(|| too_large(name))
    })
}

/// No sum is over this, about 5e27, so that some of them can be added without looking.
const MOST: Decimal = Decimal::from_parts(0, 0, 1 << 28, false, 0);

/// A sum or product that is no amount of money any more.
pub(super) fn too_large(name: &str) -> Refusal {
    Refusal::unreadable(format!("/{name}"), format!("{name}: is more than any amount of money"))
}

/// `amount` at the rate of `from` to `to`, to the smallest unit of `currency`; `None` without a rate.
pub(super) fn converted(amount: Decimal, from: Decimal, to: Decimal, currency: Currency) -> Option<Decimal> {
    let exact = amount.checked_mul(to)?.checked_div(from)?;
    let mut rounded = exact.round_dp_with_strategy(currency.exponent(), RoundingStrategy::MidpointAwayFromZero);
    rounded.rescale(currency.exponent());
    Some(rounded)
}
