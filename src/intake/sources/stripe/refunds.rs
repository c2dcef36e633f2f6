//! What was paid back.
//!
//! Two topics tell of every refund: `charge.refunded` the sum so far and, in `previous_attributes`, what it was before;
//! `refund.created` the refund itself. Neither is in the other's payload since version 2022-11-15, but both name the request
//! to Stripe that made the refund: by that they are one. A refund that Stripe made by itself has no request; `charge.refunded`
//! is then known by the sum, `refund.created` by the refund's id, and only one of the two topics may be subscribed to.

use rust_decimal::Decimal;
use serde_json::Value;

use super::{super::json, Reading, Refusal, Stripe, fields};
use crate::{
    intake::Draft,
    model::{Currency, EventName},
};

const REFUND: &str = "refund";

impl Stripe {
    /// A charge of which more than before was paid back.
    pub(super) fn refunded_charge(&self, event: &Value) -> Result<Reading, Refusal> {
        let object = fields::object(event);
        if json::at(object, "/captured").and_then(Value::as_bool) == Some(false) {
            return Ok(Reading::Useless("the payment was only reserved"));
        }
        let currency = json::currency(object, "/currency")?;
        let Some(refunded) = fields::amount(object, "/amount_refunded", currency)?.filter(|sum| *sum > Decimal::ZERO)
        else {
            return Ok(Reading::Useless("nothing was paid back"));
        };
        if released(event, object, refunded, currency)? {
            return Ok(Reading::Useless("the rest of what was reserved"));
        }
        let mut draft = change(event, currency);
        fields::person(object, &fields::CHARGE, &mut draft.user);
        fields::customer(object, &mut draft.user);
        fields::metadata(object, &["/metadata"], &mut draft);
        let charge = json::text(object, "/id");
        let payment = fields::id(object, "/payment_intent").or_else(|| charge.clone());
        let invoice = fields::id(object, "/invoice");
        // Until version 2025-03-31 a charge names its invoice, or says that there is none.
        let told = object.get("invoice").is_some();
        match part(event, object, refunded, currency)? {
            Part::Refund(part) if part <= Decimal::ZERO => Ok(Reading::Useless("nothing was paid back")),
            Part::Refund(part) => {
                draft.value = Some(part);
                let sum = |charge: &String| format!("{charge}.{}", refunded.normalize());
                let key = key(event, charge.as_deref(), part).or_else(|| charge.as_ref().map(sum));
                Ok(self.linked(draft, key, invoice, payment, told))
            }
            Part::Left(left) => {
                draft.event = Some(EventName::RESTATEMENT.to_owned());
                draft.value = Some(left);
                draft.transaction_id = invoice.or(payment);
                Ok(Reading::known(draft))
            }
        }
    }

    /// A refund that was created.
    pub(super) fn refund(&self, event: &Value) -> Result<Reading, Refusal> {
        let object = fields::object(event);
        if let Some("failed" | "canceled") = json::text(object, "/status").as_deref() {
            return Ok(Reading::Useless("the refund failed"));
        }
        let currency = json::currency(object, "/currency")?;
        let mut draft = change(event, currency);
        let Some(amount) = fields::amount(object, "/amount", currency)?.filter(|amount| *amount > Decimal::ZERO) else {
            return Ok(Reading::Useless("nothing was paid back"));
        };
        draft.value = Some(amount);
        fields::customer(object, &mut draft.user);
        fields::metadata(object, &["/metadata"], &mut draft);
        let charge = fields::id(object, "/charge");
        let payment = fields::id(object, "/payment_intent").or_else(|| charge.clone());
        let key = key(event, charge.as_deref(), amount).or_else(|| json::text(object, "/id"));
        let invoice = fields::id(object, "/charge/invoice");
        let told = object.pointer("/charge/invoice").is_some();
        Ok(self.linked(draft, key, invoice, payment, told))
    }

    /// A refund with the transaction of its purchase, as far as the payload tells it. Otherwise it is asked for; without
    /// access to the API it is taken for that of a payment without an invoice.
    fn linked(
        &self,
        mut draft: Draft,
        key: Option<String>,
        invoice: Option<String>,
        payment: Option<String>,
        told: bool,
    ) -> Reading {
        let ask = payment.clone().filter(|payment| self.api.is_some() && !told && payment.starts_with("pi_"));
        if ask.is_none() {
            draft.transaction_id = invoice.or(payment);
        }
        let lookup = ask.map(|payment| (payment, self.lookup_wait));
        Reading::Event { draft: Box::new(draft), key, lookup }
    }
}

fn change(event: &Value, currency: Currency) -> Draft {
    Draft { time: fields::time(event), currency: Some(currency.code().to_owned()), ..Draft::named(REFUND) }
}

/// Whether that is no refund, but what a capture in part left of the reservation: Stripe books it as one.
///
/// Source: github.com/woocommerce/woocommerce-gateway-stripe/pull/861, read 2026-11-20.
fn released(event: &Value, charge: &Value, refunded: Decimal, currency: Currency) -> Result<bool, Refusal> {
    let before = fields::amount(event, "/data/previous_attributes/amount_refunded", currency)?;
    let reserved = fields::amount(charge, "/amount", currency)?;
    let rest = reserved.zip(fields::amount(charge, "/amount_captured", currency)?).map(|(all, taken)| all - taken);
    Ok(before.is_none_or(|before| before.is_zero()) && rest == Some(refunded))
}

/// What a charge tells of its refund.
enum Part {
    /// The amount of this refund.
    Refund(Decimal),
    /// Only what is left after all of them.
    Left(Decimal),
}

fn part(event: &Value, charge: &Value, refunded: Decimal, currency: Currency) -> Result<Part, Refusal> {
    if let Some(before) = fields::amount(event, "/data/previous_attributes/amount_refunded", currency)? {
        return Ok(Part::Refund(refunded - before));
    }
    // Until version 2022-11-15, or expanded: the newest stands first.
    if let Some(newest) = json::list(charge, "/refunds/data").first()
        && let Some(amount) = fields::amount(newest, "/amount", currency)?
    {
        return Ok(Part::Refund(amount));
    }
    let captured = match fields::amount(charge, "/amount_captured", currency)? {
        Some(captured) => Some(captured),
        None => fields::amount(charge, "/amount", currency)?,
    };
    Ok(match captured {
        Some(captured) if refunded < captured => Part::Left(captured - refunded),
        _ => Part::Refund(refunded),
    })
}

/// What a refund is known by, whichever topic tells of it: the charge, the request that made it, and how much it is.
fn key(event: &Value, charge: Option<&str>, amount: Decimal) -> Option<String> {
    // Until version 2017-05-25 the request was a text.
    let request = json::first(event, &["/request/id", "/request"])?;
    charge.map(|charge| format!("{charge}.{request}.{}", amount.normalize()))
}
