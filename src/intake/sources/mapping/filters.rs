//! The filters that are not minijinja's own: they count in decimals, pass over what is not there, and make nothing large.

use std::borrow::Cow;

use minijinja::{
    Error, ErrorKind, State, filters,
    value::{Kwargs, Rest, Value as Mini, ValueKind, ValueOrKwargs, from_args},
};
use rust_decimal::Decimal;

use crate::model::{Currency, Money, Time, parse_decimal};

/// What `replace` and `join` make: the longest of our fields, an address.
const TEXT_BYTES_MAX: usize = 8 << 10;

/// A value is over its limit.
pub(super) fn too_large() -> Error {
    Error::new(ErrorKind::InvalidOperation, "too large")
}

/// A value is not what a filter takes.
fn wrong() -> Error {
    Error::from(ErrorKind::InvalidOperation)
}

fn nothing(value: &Mini) -> bool {
    value.is_undefined() || value.is_none() || value.as_str().is_some_and(|text| text.trim().is_empty())
}

/// A number, or a text that is one.
fn decimal(value: &Mini) -> Result<Decimal, Error> {
    match value.kind() {
        ValueKind::Number | ValueKind::String => parse_decimal(&value.to_string()).map_err(|_| wrong()),
        _ => Err(wrong()),
    }
}

/// A number that can be compared, and is written as the decimal it is.
fn number(decimal: Decimal) -> Mini {
    let decimal = decimal.normalize();
    if decimal.is_integer()
        && let Ok(whole) = i64::try_from(decimal)
    {
        return whole.into();
    }
    let text = decimal.to_string();
    match text.parse::<f64>() {
        // Up to 15 digits a double is written as it was read.
        Ok(double) if decimal.mantissa().unsigned_abs() < 1_000_000_000_000_000 => double.into(),
        _ => text.into(),
    }
}

/// Counts with two numbers; what is not there is 0 as the second and nothing as the first.
fn count(a: &Mini, b: &Mini, with: impl FnOnce(Decimal, Decimal) -> Option<Decimal>) -> Result<Mini, Error> {
    if nothing(a) {
        return Ok(Mini::UNDEFINED);
    }
    let b = if nothing(b) { Decimal::ZERO } else { decimal(b)? };
    with(decimal(a)?, b).map(number).ok_or_else(wrong)
}

/// Another value for what is not there, null or empty.
pub(super) fn default(value: &Mini, other: &Mini) -> Mini {
    if nothing(value) { other.clone() } else { value.clone() }
}

/// Adds exactly.
pub(super) fn plus(a: &Mini, b: &Mini) -> Result<Mini, Error> {
    count(a, b, Decimal::checked_add)
}

/// Takes away exactly.
pub(super) fn minus(a: &Mini, b: &Mini) -> Result<Mini, Error> {
    count(a, b, Decimal::checked_sub)
}

/// Nothing times anything is nothing, not 0.
pub(super) fn times(a: &Mini, b: &Mini) -> Result<Mini, Error> {
    if nothing(b) { Ok(Mini::UNDEFINED) } else { count(a, b, Decimal::checked_mul) }
}

/// The sum of a list of numbers, or of one field of its entries.
pub(super) fn sum(list: &Mini, kwargs: Kwargs) -> Result<Mini, Error> {
    let attribute: Option<String> = kwargs.get("attribute")?;
    kwargs.assert_all_used()?;
    let mut total = Decimal::ZERO;
    for entry in list.try_iter()? {
        let entry = match &attribute {
            Some(path) => inside(entry, path)?,
            None => entry,
        };
        if !nothing(&entry) {
            total = total.checked_add(decimal(&entry)?).ok_or_else(wrong)?;
        }
    }
    Ok(number(total))
}

/// What is at a dotted path in an entry; nothing, where the path ends early.
fn inside(entry: Mini, path: &str) -> Result<Mini, Error> {
    path.split('.').try_fold(entry, |entry, name| {
        if entry.is_undefined() || entry.is_none() {
            return Ok(Mini::UNDEFINED);
        }
        match name.parse() {
            Ok(place) if entry.kind() == ValueKind::Seq => entry.get_item_by_index(place),
            _ => entry.get_attr(name),
        }
    })
}

/// One field of every entry of a list, also where an entry has none, or a filter over them.
pub(super) fn map(state: &mut State, list: Mini, args: Rest<ValueOrKwargs>) -> Result<Vec<Mini>, Error> {
    let args = args.into_values();
    let (names, kwargs): (&[Mini], Kwargs) = from_args(&args)?;
    if !names.is_empty() || !kwargs.has("attribute") {
        return filters::map(state, list, Rest(args.into_iter().map(ValueOrKwargs::from).collect()));
    }
    let (path, other): (Mini, Option<Mini>) = (kwargs.get("attribute")?, kwargs.get("default")?);
    let path = path.to_string();
    kwargs.assert_all_used()?;
    let other = other.unwrap_or(Mini::UNDEFINED);
    let field = |entry| inside(entry, &path).map(|field| if field.is_undefined() { other.clone() } else { field });
    list.try_iter()?.map(field).collect()
}

/// The entries of a list for a field of which a test holds; an entry without the field has an undefined one.
pub(super) fn selectattr(
    state: &mut State,
    list: &Mini,
    path: &str,
    test: Option<Cow<'_, str>>,
    args: Rest<ValueOrKwargs>,
) -> Result<Vec<Mini>, Error> {
    chosen(state, list, path, test.as_deref(), &args.into_values(), true)
}

/// The entries of a list for a field of which a test does not hold.
pub(super) fn rejectattr(
    state: &mut State,
    list: &Mini,
    path: &str,
    test: Option<Cow<'_, str>>,
    args: Rest<ValueOrKwargs>,
) -> Result<Vec<Mini>, Error> {
    chosen(state, list, path, test.as_deref(), &args.into_values(), false)
}

fn chosen(
    state: &mut State,
    list: &Mini,
    path: &str,
    test: Option<&str>,
    args: &[Mini],
    holds: bool,
) -> Result<Vec<Mini>, Error> {
    let mut chosen = Vec::new();
    for entry in list.try_iter()? {
        let field = Mini::from(vec![inside(entry.clone(), path)?]);
        let args = Rest(args.iter().cloned().map(ValueOrKwargs::from).collect());
        if filters::select(state, field, test.map(Cow::Borrowed), args)?.is_empty() != holds {
            chosen.push(entry);
        }
    }
    Ok(chosen)
}

/// Puts another text in the place of one.
pub(super) fn replace(text: &Mini, from: &str, to: &str) -> Result<String, Error> {
    let text = text.to_string();
    let times = if from.is_empty() { text.len() + 1 } else { text.matches(from).count() };
    if text.len() + times.saturating_mul(to.len()) > TEXT_BYTES_MAX {
        return Err(too_large());
    }
    Ok(text.replace(from, to))
}

/// The texts and numbers of a list, one behind the other; what is not there is passed over.
pub(super) fn join(list: &Mini, between: Option<&str>) -> Result<String, Error> {
    let between = between.unwrap_or_default();
    let mut joined = String::new();
    for entry in list.try_iter()?.filter(|entry| !nothing(entry)) {
        if !joined.is_empty() {
            joined.push_str(between);
        }
        joined.push_str(&entry.to_string());
        if joined.len() > TEXT_BYTES_MAX {
            return Err(too_large());
        }
    }
    Ok(joined)
}

/// `4999 | minor('EUR')` is 49.99.
pub(super) fn minor(units: &Mini, currency: &str) -> Result<Mini, Error> {
    if nothing(units) {
        return Ok(Mini::UNDEFINED);
    }
    let currency = Currency::parse(currency).map_err(|_| wrong())?;
    let units = decimal(units)?;
    let whole = units.is_integer().then(|| i64::try_from(units).ok()).flatten().ok_or_else(wrong)?;
    let money = Money::from_minor(whole.checked_abs().ok_or_else(wrong)?, currency).map_err(|_| wrong())?;
    Ok(number(if whole < 0 { -money.amount() } else { money.amount() }))
}

/// `1700000000 | unix` is a time; milliseconds are told by their size.
pub(super) fn unix(number: &Mini) -> Result<Mini, Error> {
    if nothing(number) {
        return Ok(Mini::UNDEFINED);
    }
    unix_time(&number.to_string()).map(|time| time.to_string().into()).ok_or_else(wrong)
}

/// Seconds or milliseconds since 1970.
pub(in crate::intake::sources) fn unix_time(text: &str) -> Option<Time> {
    let number = parse_decimal(text).ok()?;
    let thousand = Decimal::from(1000);
    let seconds = number.abs() < Decimal::from(100_000_000_000_i64);
    let milliseconds = if seconds { number.checked_mul(thousand)? } else { number };
    i64::try_from(milliseconds.trunc()).ok().map(Time::from_ms)
}

/// A time or day without an offset is one of UTC.
pub(super) fn utc(text: &Mini) -> Result<Mini, Error> {
    if nothing(text) {
        return Ok(Mini::UNDEFINED);
    }
    let text = text.to_string();
    let text = text.trim();
    if let Ok(time) = Time::parse(text) {
        return Ok(time.to_string().into());
    }
    let whole = match text.split_once([' ', 'T']) {
        Some((day, time)) => format!("{day}T{time}Z"),
        None => format!("{text}T00:00:00Z"),
    };
    Time::parse(&whole).map(|time| time.to_string().into()).map_err(|_| wrong())
}
