//! `fbc`, Meta's click, and `fbp`, its browser: `fb.{subdomain index}.{creation, ms}.{fbclid or random}`, and an
//! optional fifth part, the appendix of Meta's parameter builder libraries. Opaque and case-sensitive: never changed.
//! Source: <https://developers.facebook.com/documentation/ads-commerce/conversions-api/parameters/fbp-and-fbc>,
//! read 2026-11-20.

use std::borrow::Cow;

use crate::model::{ClickId, ClickKind, SealedEvent, Time};

/// The subdomain index that a server writes when it stores no cookie itself.
const SUBDOMAIN_INDEX: u8 = 1;

/// A well-formed `_fbc` or `_fbp`.
struct Cookie<'a> {
    text: &'a str,
    created_at: Time,
    payload: &'a str,
}

impl<'a> Cookie<'a> {
    /// Reads four or five parts; `None` if malformed.
    fn parse(text: &'a str) -> Option<Self> {
        let clean = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_graphic());
        let number = |part: &str| part.bytes().all(|b| b.is_ascii_digit()).then(|| part.parse::<i64>().ok()).flatten();
        let mut parts = text.split('.');
        let (prefix, index, created, payload) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let appendix = parts.next().is_none_or(clean);
        let whole = prefix == "fb" && number(index).is_some() && clean(payload) && appendix && parts.next().is_none();
        let created_at = Time::from_ms(number(created)?);
        whole.then_some(Self { text, created_at, payload })
    }
}

/// The event's `fbc`: the newest click, as its cookie tells it if one does.
pub(super) fn fbc(event: &SealedEvent) -> Option<Cow<'_, str>> {
    let cookie = event.context.cookies.fbc.as_deref().and_then(Cookie::parse);
    // A dot or a space inside would make Meta read something else.
    let sendable = |value: &str| !value.is_empty() && value.bytes().all(|b| b.is_ascii_graphic() && b != b'.');
    let clicks = event.context.clicks.iter().filter(|click| click.kind == ClickKind::Fbclid && sendable(&click.value));
    let newest = clicks.max_by_key(|click| clicked_at(event, click));
    match (cookie, newest) {
        (Some(cookie), Some(click))
            if click.value != cookie.payload && clicked_at(event, click) > cookie.created_at =>
        {
            Some(Cow::Owned(built(event, click)))
        }
        (Some(cookie), _) => Some(Cow::Borrowed(cookie.text)),
        (None, click) => click.map(|click| Cow::Owned(built(event, click))),
    }
}

/// The event's `fbp`, unless it is malformed. It is never made up: it would match no browser.
pub(super) fn fbp(event: &SealedEvent) -> Option<&str> {
    event.context.cookies.fbp.as_deref().and_then(Cookie::parse).map(|cookie| cookie.text)
}

fn built(event: &SealedEvent, click: &ClickId) -> String {
    format!("fb.{SUBDOMAIN_INDEX}.{}.{}", clicked_at(event, click).as_ms(), click.value)
}

/// When the click was first seen. One that came on the event, without a time, was first seen when the event reached
/// us: Meta wants the time of storing or seeing an fbclid, never that of the conversion.
fn clicked_at(event: &SealedEvent, click: &ClickId) -> Time {
    click.first_seen.unwrap_or(event.received_at)
}
