//! The formats: their columns, what an event needs for a row, and until when the platform takes it. Headers are spelled
//! as the platforms' templates have them.

use std::time::Duration;

use rust_decimal::Decimal;

use super::{
    cells::{choice, free_text, google_time, line, value},
    jsonl,
    matching::{CLICK_WINDOW, Contact, clicked_at, newest_click, nobody},
};
use crate::{
    destinations::Unsendable,
    model::{ActionSource, ClickKind, Failure, Money, SealedEvent, SkipReason, Time, TransactionId, parse_decimal},
};

/// How long after a lead its contact data is matched.
///
/// Source: <https://support.google.com/google-ads/answer/10029210>, as of 2026-11-20, through others' notes.
const CONTACT_WINDOW: Duration = Duration::from_secs(63 * 86_400);
/// How long after the conversion an adjustment is taken. (The help pages say 55 days, the API 54.)
///
/// Source: <https://support.google.com/google-ads/answer/7686280>, as of 2026-11-20, through others' notes.
const ADJUSTMENT_WINDOW: Duration = Duration::from_secs(54 * 86_400);
/// How old a conversion must be before an adjustment of it is taken.
///
/// Source: google-ads 34.0.0, v26/errors/types/conversion_adjustment_upload_error.py (`TOO_RECENT_CONVERSION`), read
/// 2026-11-20. The pages on files name no time of their own.
const ADJUSTED_AFTER: Duration = Duration::from_secs(86_400);
/// `jsonl` has no platform that would stop taking events: ten years.
const NO_WINDOW: Duration = Duration::from_secs(3650 * 86_400);

/// The property that says what a conversion is worth after a partial refund.
const ADJUSTED_VALUE: &str = "adjusted_value";

/// A layout of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    GoogleAdsClicks,
    GoogleAdsLeads,
    GoogleAdsAdjustments,
    DataManager,
    Microsoft,
    Jsonl,
}

impl Format {
    /// Every format with its name in the configuration.
    pub(super) const ALL: [(&'static str, Self); 6] = [
        ("google_ads_clicks", Self::GoogleAdsClicks),
        ("google_ads_leads", Self::GoogleAdsLeads),
        ("google_ads_adjustments", Self::GoogleAdsAdjustments),
        ("data_manager", Self::DataManager),
        ("microsoft", Self::Microsoft),
        ("jsonl", Self::Jsonl),
    ];

    pub(super) const fn extension(self) -> &'static str {
        if matches!(self, Self::Jsonl) { "jsonl" } else { "csv" }
    }

    /// What a file starts with.
    ///
    /// Google's click and lead files may leave their parameter row out when every time has its zone, as ours have; so
    /// the first line is the header, for people too. Microsoft's times have none, so its row says that they are in UTC.
    ///
    /// Sources: <https://support.google.com/google-ads/answer/7014069>,
    /// <https://support.google.com/google-ads/answer/7686280>, <https://support.google.com/google-ads/answer/14184381>,
    /// read 2026-11-20.
    pub(super) const fn header(self) -> &'static str {
        match self {
            Self::GoogleAdsClicks => concat!(
                "Google Click ID,Conversion Name,Conversion Time,Conversion Value,Conversion Currency,",
                "Order ID,Ad User Data,Ad Personalization\n",
            ),
            Self::GoogleAdsLeads => concat!(
                "Email,Phone Number,Conversion Name,Conversion Time,Conversion Value,Conversion Currency,",
                "Order ID,Google Click ID,Ad User Data,Ad Personalization,First Name,Last Name,Country,Zip\n",
            ),
            Self::GoogleAdsAdjustments => {
                "Order ID,Conversion Name,Adjustment Time,Adjustment Type,Adjusted Value,Adjusted Value Currency\n"
            }
            // Mapped to Google's fields in Data Manager's pages, so the names are ours: those of the posted event.
            Self::DataManager => concat!(
                "gclid,gbraid,wbraid,email_sha256,phone_sha256,event_name,event_time,value,currency,transaction_id,",
                "ad_user_data,ad_personalization\n",
            ),
            Self::Microsoft => concat!(
                "Parameters:TimeZone=+0000\n",
                "Microsoft Click ID,Conversion Name,Conversion Time,Conversion Value,Conversion Currency\n",
            ),
            Self::Jsonl => "",
        }
    }

    /// When the platform stops taking `event`.
    pub(super) fn deadline(self, event: &SealedEvent) -> Time {
        let (kinds, without_click): (&[ClickKind], _) = match self {
            Self::GoogleAdsClicks => (&[ClickKind::Gclid], CLICK_WINDOW),
            Self::GoogleAdsLeads => (&[ClickKind::Gclid], CONTACT_WINDOW),
            Self::DataManager => (google_clicks(event), CONTACT_WINDOW),
            Self::Microsoft => (&[ClickKind::Msclkid], CLICK_WINDOW),
            Self::GoogleAdsAdjustments => {
                // Where it is not known when the conversion was, the change itself counts.
                let original = event.change.as_ref().map_or(event, |change| &change.original);
                return original.time.plus(ADJUSTMENT_WINDOW);
            }
            Self::Jsonl => (&[], NO_WINDOW),
        };
        let by_click = newest_click(event, kinds).map(|click| clicked_at(event, click).plus(CLICK_WINDOW));
        by_click.unwrap_or_else(|| event.time.plus(without_click))
    }

    /// Until when `event` has to wait for its conversion.
    pub(super) fn held_until(self, event: &SealedEvent) -> Option<Time> {
        let change = event.change.as_ref().filter(|_| self == Self::GoogleAdsAdjustments)?;
        Some(change.original.time.plus(ADJUSTED_AFTER))
    }

    /// The columns that the row of `event` is matched by.
    pub(super) fn evidence(self, event: &SealedEvent) -> Vec<&'static str> {
        let click = |kind| newest_click(event, &[kind]).is_some();
        let contact = || {
            let contact = Contact::of(event);
            (!contact.email.is_empty(), !contact.phone.is_empty(), contact.address.iter().all(|part| !part.is_empty()))
        };
        let columns = match self {
            Self::GoogleAdsClicks => vec![("Google Click ID", click(ClickKind::Gclid))],
            Self::GoogleAdsLeads => {
                let (email, phone, address) = contact();
                vec![
                    ("Email", email),
                    ("Phone Number", phone),
                    ("Google Click ID", click(ClickKind::Gclid)),
                    ("First Name, Last Name, Country, Zip", address),
                ]
            }
            Self::GoogleAdsAdjustments => vec![("Order ID", true)],
            Self::DataManager => {
                let click = newest_click(event, google_clicks(event)).map(|click| click.kind);
                let (email, phone, _) = if takes_contact(click) { contact() } else { (false, false, false) };
                vec![
                    ("gclid", click == Some(ClickKind::Gclid)),
                    ("gbraid", click == Some(ClickKind::Gbraid)),
                    ("wbraid", click == Some(ClickKind::Wbraid)),
                    ("email_sha256", email),
                    ("phone_sha256", phone),
                ]
            }
            Self::Microsoft => vec![("Microsoft Click ID", click(ClickKind::Msclkid))],
            // Nobody matches it; whoever reads the file may do as he likes.
            Self::Jsonl => Vec::new(),
        };
        columns.into_iter().filter_map(|(column, filled)| filled.then_some(column)).collect()
    }

    /// The line of `event`, which the platform knows as `conversion`.
    pub(super) fn line(self, conversion: &str, event: &SealedEvent) -> Result<String, Unsendable> {
        match self {
            Self::GoogleAdsClicks => google_ads_clicks(conversion, event),
            Self::GoogleAdsLeads => google_ads_leads(conversion, event),
            Self::GoogleAdsAdjustments => google_ads_adjustments(conversion, event),
            Self::DataManager => data_manager(conversion, event),
            Self::Microsoft => microsoft(conversion, event),
            Self::Jsonl => jsonl::line(conversion, event),
        }
    }
}

fn google_ads_clicks(conversion: &str, event: &SealedEvent) -> Result<String, Unsendable> {
    // The template has no column for gbraid and wbraid.
    let click = newest_click(event, &[ClickKind::Gclid]).ok_or(Unsendable::Skip(SkipReason::NoIdentifiers))?;
    let (amount, currency) = value(event.money);
    Ok(line(&[
        &click.value,
        conversion,
        &google_time(event.time),
        &amount,
        currency,
        free_text("transaction_id", event.transaction())?,
        choice(event.consent.ad_user_data),
        choice(event.consent.ad_personalization),
    ]))
}

fn google_ads_leads(conversion: &str, event: &SealedEvent) -> Result<String, Unsendable> {
    let click = newest_click(event, &[ClickKind::Gclid]);
    let contact = Contact::of(event);
    if click.is_none() && contact.is_empty() {
        return Err(nobody(event));
    }
    let (amount, currency) = value(event.money);
    let [first_name, last_name, country, postal_code] = &contact.address;
    Ok(line(&[
        &contact.email,
        &contact.phone,
        conversion,
        &google_time(event.time),
        &amount,
        currency,
        free_text("transaction_id", event.transaction())?,
        click.map_or("", |click| &click.value),
        choice(event.consent.ad_user_data),
        choice(event.consent.ad_personalization),
        first_name,
        last_name,
        country,
        postal_code,
    ]))
}

/// The word for it is not the API's: a file with `RETRACTION` is refused.
///
/// Source: <https://support.google.com/google-ads/answer/7686280>, as of 2026-11-20, through others' notes.
#[derive(Clone, Copy)]
enum Adjustment {
    /// The conversion counts no more. The cell of its value stays empty.
    Retract,
    /// It is worth this from now on.
    Restate(Money),
}

fn google_ads_adjustments(conversion: &str, event: &SealedEvent) -> Result<String, Unsendable> {
    let (order, at, adjustment) = match &event.change {
        Some(change) => {
            let original = &change.original;
            // Two clocks may disagree, but Google refuses an adjustment that is not after its conversion.
            let at = event.time.max(original.time.plus(Duration::from_secs(1)));
            // A conversion may be restated to nothing and still count; only a refund takes it back.
            let adjustment = match change.worth {
                Some(_) if change.is_total() && event.name.is_refund() => Adjustment::Retract,
                Some(worth) => Adjustment::Restate(worth),
                None => {
                    let message = "what is left of the conversion is not known: it never had a value, or one in another \
                                   currency; refund it as a whole, without a value";
                    return Err(reject("worth_unknown", "value", message));
                }
            };
            (original.transaction(), at, adjustment)
        }
        None => {
            let order = event.transaction_id.as_ref().map(TransactionId::as_str).ok_or_else(|| {
                let message = "post the transaction_id of the conversion that is changed";
                reject("order_id_missing", "transaction_id", message)
            })?;
            (order, event.time, as_given(event)?)
        }
    };
    let order = free_text("transaction_id", order)?;
    let (kind, adjusted) = match adjustment {
        Adjustment::Retract => ("RETRACT", None),
        Adjustment::Restate(money) => ("RESTATE", Some(money)),
    };
    let (amount, currency) = value(adjusted);
    Ok(line(&[order, conversion, &google_time(at), kind, &amount, currency]))
}

/// What the giver says, where we do not know the conversion. A refund without a value takes the whole conversion back. With
/// one it takes a part, and the file has to give what the conversion is worth from now on, which only its giver knows.
fn as_given(event: &SealedEvent) -> Result<Adjustment, Unsendable> {
    if event.name.is_change() && !event.name.is_refund() {
        let unknown =
            || reject("adjusted_value_unknown", "value", "post the value that the conversion has from now on");
        return event.money.map(Adjustment::Restate).ok_or_else(unknown);
    }
    match (adjusted_amount(event)?, event.money) {
        (None, None) => Ok(Adjustment::Retract),
        (Some(amount), Some(refunded)) => {
            let money = Money::new(amount, refunded.currency()).map_err(|_| invalid_adjusted_value())?;
            Ok(Adjustment::Restate(money))
        }
        (None, Some(_)) => {
            let message = "post what the conversion is worth after this refund as properties.adjusted_value (\"0\" if \
                           nothing is left), or no value at all to take the whole conversion back";
            Err(reject("adjusted_value_unknown", "properties.adjusted_value", message))
        }
        (Some(_), None) => {
            let message =
                "post the value and currency of the refund too: the currency is that of properties.adjusted_value";
            Err(reject("adjusted_currency_unknown", "currency", message))
        }
    }
}

/// `properties.adjusted_value`: what the conversion is worth from now on, a decimal as text or number, in the event's
/// currency.
fn adjusted_amount(event: &SealedEvent) -> Result<Option<Decimal>, Unsendable> {
    let text = match event.properties.object().remove(ADJUSTED_VALUE) {
        None | Some(serde_json::Value::Null) => return Ok(None),
        Some(serde_json::Value::String(text)) => text,
        Some(other) => other.to_string(),
    };
    parse_decimal(&text).map(Some).map_err(|_| invalid_adjusted_value())
}

fn invalid_adjusted_value() -> Unsendable {
    let message = "must be a decimal number that is not negative, such as \"12.50\"";
    reject("adjusted_value_invalid", "properties.adjusted_value", message)
}

fn data_manager(conversion: &str, event: &SealedEvent) -> Result<String, Unsendable> {
    let click = newest_click(event, google_clicks(event));
    let contact = if takes_contact(click.map(|click| click.kind)) { Contact::of(event) } else { Contact::default() };
    if click.is_none() && contact.is_empty() {
        return Err(nobody(event));
    }
    let id_of = |kind| click.filter(|click| click.kind == kind).map_or("", |click| click.value.as_str());
    let (amount, currency) = value(event.money);
    Ok(line(&[
        id_of(ClickKind::Gclid),
        id_of(ClickKind::Gbraid),
        id_of(ClickKind::Wbraid),
        &contact.email,
        &contact.phone,
        conversion,
        &google_time(event.time),
        &amount,
        currency,
        free_text("transaction_id", event.transaction())?,
        choice(event.consent.ad_user_data),
        choice(event.consent.ad_personalization),
    ]))
}

/// Whether contact data may stand next to a click of this kind: next to a gbraid or wbraid it is not documented to be taken.
const fn takes_contact(click: Option<ClickKind>) -> bool {
    matches!(click, None | Some(ClickKind::Gclid))
}

/// Data Manager takes exactly one click id. Of those of one click: gclid, else the one made for where the conversion
/// was.
const fn google_clicks(event: &SealedEvent) -> &'static [ClickKind] {
    match event.action_source {
        ActionSource::App => &[ClickKind::Gclid, ClickKind::Gbraid, ClickKind::Wbraid],
        _ => &[ClickKind::Gclid, ClickKind::Wbraid, ClickKind::Gbraid],
    }
}

/// The hashed contact columns of newer exports are left out: no page of Microsoft's that we could read lists them, and
/// a row needs its click id anyway.
fn microsoft(conversion: &str, event: &SealedEvent) -> Result<String, Unsendable> {
    let click = newest_click(event, &[ClickKind::Msclkid]).ok_or(Unsendable::Skip(SkipReason::NoIdentifiers))?;
    let (amount, currency) = value(event.money);
    Ok(line(&[&click.value, conversion, &event.time.format("%Y-%m-%d %H:%M:%S"), &amount, currency]))
}

fn reject(code: &str, field: &str, message: &str) -> Unsendable {
    Unsendable::Reject(Failure { code: code.into(), field: Some(field.into()), message: message.into() })
}
