//! Exact amounts of money.

use std::fmt;

use rust_decimal::Decimal;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// The most decimals an amount may have (profit shares and unit prices have more than the currency's own).
const DECIMALS_MAX: u32 = 12;

/// Why something is no amount of money.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidMoney {
    /// Not an ISO 4217 code.
    #[error("must be a three-letter ISO 4217 currency code such as EUR")]
    UnknownCurrency,
    /// Not a decimal number, or one with too many digits to be kept exactly.
    #[error("must be a decimal number such as 49.90, of at most 28 digits with at most {DECIMALS_MAX} decimals")]
    NotExact,
    /// Below zero.
    #[error("must not be negative; a refund is an event of its own")]
    Negative,
}

/// An ISO 4217 currency.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Currency(iso_currency::Currency);

impl Currency {
    /// Reads a three-letter code in any case.
    ///
    /// # Errors
    /// [`InvalidMoney::UnknownCurrency`].
    pub fn parse(code: &str) -> Result<Self, InvalidMoney> {
        let upper = code.to_ascii_uppercase();
        iso_currency::Currency::from_code(&upper).map(Self).ok_or(InvalidMoney::UnknownCurrency)
    }

    /// The three letters, in upper case.
    #[must_use]
    pub fn code(self) -> &'static str {
        self.0.code()
    }

    /// Decimals of the smallest unit: 2 for EUR, 0 for JPY, 3 for KWD.
    #[must_use]
    pub fn exponent(self) -> u32 {
        self.0.exponent().map_or(0, u32::from)
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

impl Serialize for Currency {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.code())
    }
}

impl<'de> Deserialize<'de> for Currency {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let code = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        Self::parse(&code).map_err(D::Error::custom)
    }
}

/// An amount in a currency, exact, not negative.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Money {
    amount: Decimal,
    currency: Currency,
}

impl Money {
    /// `amount` of `currency`, exactly as given.
    ///
    /// # Errors
    /// [`InvalidMoney::Negative`].
    pub fn new(amount: Decimal, currency: Currency) -> Result<Self, InvalidMoney> {
        if amount.is_sign_negative() && !amount.is_zero() {
            return Err(InvalidMoney::Negative);
        }
        Ok(Self { amount: amount.abs(), currency })
    }

    /// `units` of the currency's smallest unit: 4999 cents, 4999 yen, 4999 fils.
    ///
    /// # Errors
    /// [`InvalidMoney::Negative`].
    pub fn from_minor(units: i64, currency: Currency) -> Result<Self, InvalidMoney> {
        Self::new(Decimal::new(units, currency.exponent()), currency)
    }

    /// The amount in the currency's main unit.
    #[must_use]
    pub const fn amount(&self) -> Decimal {
        self.amount
    }

    /// The currency.
    #[must_use]
    pub const fn currency(&self) -> Currency {
        self.currency
    }

    /// The amount in the currency's smallest unit, if it is a whole number of them.
    #[must_use]
    pub fn minor(&self) -> Option<i64> {
        let scaled = self.amount.checked_mul(Decimal::from(10_u64.pow(self.currency.exponent())))?;
        if scaled.fract().is_zero() { i64::try_from(scaled.trunc()).ok() } else { None }
    }

    /// The amount with at least the currency's own decimals: `49.90`, `4999`, `1.500`.
    #[must_use]
    pub fn text(&self) -> String {
        let mut amount = self.amount.normalize();
        if amount.scale() < self.currency.exponent() {
            amount.rescale(self.currency.exponent());
        }
        amount.to_string()
    }
}

impl fmt::Debug for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.text(), self.currency.code())
    }
}

/// On disk: mantissa, decimals, currency.
impl Serialize for Money {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (self.amount.mantissa(), self.amount.scale(), self.currency).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Money {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (mantissa, scale, currency) = <(i128, u32, Currency)>::deserialize(deserializer)?;
        let amount = Decimal::try_from_i128_with_scale(mantissa, scale).map_err(D::Error::custom)?;
        Self::new(amount, currency).map_err(D::Error::custom)
    }
}

/// Reads a decimal text exactly: digits, one dot, an exponent (`1e3`) as JSON numbers may have it.
///
/// # Errors
/// [`InvalidMoney::NotExact`] when the text is no number or cannot be kept without rounding.
pub fn parse_decimal(text: &str) -> Result<Decimal, InvalidMoney> {
    let text = text.trim();
    let mantissa = text.split(['e', 'E']).next().unwrap_or_default();
    let digits = mantissa.bytes().filter(u8::is_ascii_digit).count();
    // The library also takes `_` between digits, and rounds what is too long.
    let plain = text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'.' | b'-' | b'+' | b'e' | b'E'));
    let parsed = match (plain, text.len() == mantissa.len()) {
        (true, true) => Decimal::from_str_exact(text).ok(),
        (true, false) => Decimal::from_scientific(text).ok(),
        (false, _) => None,
    };
    match parsed {
        Some(value) if value.normalize().scale() <= DECIMALS_MAX && digits <= 28 => Ok(value),
        _ => Err(InvalidMoney::NotExact),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn money(text: &str, currency: &str) -> Money {
        let amount = parse_decimal(text).expect("a number");
        Money::new(amount, Currency::parse(currency).expect("a currency")).expect("not negative")
    }

    #[test]
    fn amounts_follow_the_exponent_of_their_currency() {
        for (text, currency, minor, printed) in [
            ("49.9", "USD", Some(4990), "49.90"),
            ("4999", "JPY", Some(4999), "4999"),
            ("4999.00", "JPY", Some(4999), "4999"),
            ("1.5", "KWD", Some(1500), "1.500"),
            ("12.3456", "EUR", None, "12.3456"),
            ("0", "EUR", Some(0), "0.00"),
        ] {
            let money = money(text, currency);
            assert_eq!((money.minor(), money.text().as_str()), (minor, printed), "{text} {currency}");
        }
        let kwd = Currency::parse("kwd").expect("known");
        assert_eq!(Money::from_minor(1500, kwd), Ok(money("1.5", "KWD")));
    }

    #[test]
    fn what_cannot_be_kept_exactly_is_refused() {
        for bad in
            ["", " ", "abc", "1,5", "0x10", "NaN", "inf", "1e400", "0.0000000000001", &"9".repeat(40), "--1", "1_000"]
        {
            assert_eq!(parse_decimal(bad), Err(InvalidMoney::NotExact), "{bad}");
        }
        assert_eq!(parse_decimal("1.5e3"), Ok(Decimal::from(1500)));
        assert_eq!(Currency::parse("XYZ"), Err(InvalidMoney::UnknownCurrency));
        assert_eq!(Currency::parse("EURO"), Err(InvalidMoney::UnknownCurrency));
        let eur = Currency::parse("EUR").expect("known");
        assert_eq!(Money::new(Decimal::from(-1), eur), Err(InvalidMoney::Negative));
    }

    #[test]
    fn money_survives_the_disk_exactly() {
        for (text, currency) in [("49.99", "USD"), ("0.000000000001", "EUR"), ("9999999999999999999999999999", "JPY")] {
            let before = money(text, currency);
            let bytes = postcard::to_allocvec(&before).expect("serialises");
            assert_eq!(postcard::from_bytes::<Money>(&bytes).expect("reads"), before);
        }
    }
}
