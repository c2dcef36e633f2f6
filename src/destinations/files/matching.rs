//! What a platform can match a conversion by: one click id, hashed contact data.

use std::{cmp::Reverse, time::Duration};

use super::cells;
use crate::{
    destinations::Unsendable,
    model::{Choice, ClickId, ClickKind, SealedEvent, SkipReason, Spelled, Time},
};

/// How long after the click its id is matched.
///
/// Source: <https://support.google.com/google-ads/answer/7012522>, as of 2026-11-20, through others' notes. Microsoft's is
/// said to be as long.
pub(super) const CLICK_WINDOW: Duration = Duration::from_secs(90 * 86_400);

/// The newest click of one of `kinds` that can have led to `event` and was inside [`CLICK_WINDOW`] when the event came.
/// Ids seen together (on one address) go in the order of `kinds`.
///
/// A stale id would displace contact data that could have matched, and an id is never mixed with those of other clicks.
pub(super) fn newest_click<'e>(event: &'e SealedEvent, kinds: &[ClickKind]) -> Option<&'e ClickId> {
    let rank = |click: &ClickId| kinds.iter().position(|kind| *kind == click.kind);
    // Events often carry whole seconds: a click in the same second came before.
    let before = |click: &ClickId| click.first_seen.is_none_or(|at| at.as_secs() <= event.time.as_secs());
    let fresh = |click: &ClickId| event.received_at.since(clicked_at(event, click)) < CLICK_WINDOW;
    let clicks = event.context.clicks.iter();
    clicks
        .filter(|click| rank(click).is_some() && cells::is_click_id(&click.value) && before(click) && fresh(click))
        .max_by_key(|click| (clicked_at(event, click), Reverse(rank(click))))
}

/// When the click was. An id that came on the event without a time is as new as the event.
pub(super) fn clicked_at(event: &SealedEvent, click: &ClickId) -> Time {
    click.first_seen.unwrap_or(event.time)
}

/// Contact data in Google's spelling, hashed, as lower-case hex; empty where there is none.
#[derive(Default)]
pub(super) struct Contact {
    pub(super) email: String,
    pub(super) phone: String,
    /// Given name, family name (hashed), country, postal code (in clear): all four or none, the only form Google takes.
    pub(super) address: [String; 4],
}

impl Contact {
    /// The contact data of `event`; none where the visitor said no to sending it.
    pub(super) fn of(event: &SealedEvent) -> Self {
        if event.consent.ad_user_data == Choice::Denied {
            return Self::default();
        }
        let hex = |spelled: &Spelled| spelled.google.map(|digest| digest.hex());
        let first = |all: &[Spelled]| all.iter().find_map(hex).unwrap_or_default();
        let user = &event.user;
        let address = || {
            let (country, postal_code) =
                (user.country_code.as_ref()?.expose(), user.postal_code_clear.as_ref()?.expose());
            // Left out rather than refused: the row matches by what else it has.
            let fit = !cells::is_unsafe(country) && !cells::is_unsafe(postal_code);
            let names = (hex(&user.first_name)?, hex(&user.last_name)?);
            fit.then(|| [names.0, names.1, country.clone(), postal_code.clone()])
        };
        Self { email: first(&user.emails), phone: first(&user.phones), address: address().unwrap_or_default() }
    }

    /// Whether there is neither e-mail address nor phone number: an address alone matches nobody.
    pub(super) fn is_empty(&self) -> bool {
        self.email.is_empty() && self.phone.is_empty()
    }
}

/// The outcome of an event that matches nobody.
pub(super) fn nobody(event: &SealedEvent) -> Unsendable {
    let withheld = event.consent.ad_user_data == Choice::Denied && event.user.identity_keys().next().is_some();
    Unsendable::Skip(if withheld { SkipReason::Consent } else { SkipReason::NoIdentifiers })
}
