//! What Google can match an event by: exactly one ad click, and the person's hashed contact details.

use std::{collections::BTreeSet, time::Duration};

use super::payload::{Address, UserIdentifier};
use crate::model::{ClickId, ClickKind, SealedEvent, Spelled, Time};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// How long after a click Google takes conversions for it. An action's own window may be shorter.
/// Source: <https://support.google.com/google-ads/answer/7012522>, read 2026-11-20.
pub(super) const CLICK_AGE_MAX: Duration = DAY.saturating_mul(90);

/// How long Google takes conversions that carry contact details only.
/// Source: <https://support.google.com/google-ads/answer/10029210>, read 2026-11-20.
pub(super) const USER_DATA_AGE_MAX: Duration = DAY.saturating_mul(63);

/// The most identifiers of the user in one event.
/// Source: <https://developers.google.com/data-manager/api/devguides/limits>, read 2026-11-20.
const USER_IDENTIFIERS_MAX: usize = 10;

/// The one click to name, as Google refuses an event with two. The newest counts; one that came with the event itself
/// (`first_seen` is unknown) is newer than any stored one. Of ids seen at the same moment `gclid` is the most exact,
/// then `wbraid` (web), then `gbraid` (app). A click past its window is left out: it would displace contact details
/// that can still match.
pub(super) fn click(event: &SealedEvent) -> Option<&ClickId> {
    let rank = |click: &ClickId| match click.kind {
        ClickKind::Gclid => Some(3_u8),
        ClickKind::Wbraid => Some(2),
        ClickKind::Gbraid => Some(1),
        _ => None,
    };
    let in_window = |click: &&ClickId| event.time.since(click.first_seen.unwrap_or(event.time)) <= CLICK_AGE_MAX;
    let order = |click: &ClickId| -> (bool, Time, Option<u8>) {
        (click.first_seen.is_none(), click.first_seen.unwrap_or(click.last_seen), rank(click))
    };
    event
        .context
        .clicks
        .iter()
        .filter(|click| rank(click).is_some() && !click.value.is_empty())
        .filter(in_window)
        .max_by_key(|click| order(click))
}

/// Whether contact details and a cart may go with `click`. Google documents neither for a braid: contact details are
/// not in the list of allowed combinations, and a cart draws `CART_DATA_NOT_SUPPORTED_WITH_GBRAID_OR_WBRAID`.
/// Source: google-ads-datamanager 0.9.4, types/processing_errors.py, read 2026-11-20.
pub(super) fn goes_with_user_data(click: Option<&ClickId>) -> bool {
    click.is_none_or(|click| click.kind == ClickKind::Gclid)
}

/// The person, as Google spells and hashes it: e-mail addresses, phone numbers, then the postal address if all four
/// parts that Google requires are there.
pub(super) fn of_user(event: &SealedEvent) -> Vec<UserIdentifier<'_>> {
    let user = &event.user;
    let address = address(event).map(UserIdentifier::Address);
    let emails = distinct(&user.emails).map(UserIdentifier::EmailAddress);
    let phones = distinct(&user.phones).map(UserIdentifier::PhoneNumber);
    let contacts_max = USER_IDENTIFIERS_MAX - usize::from(address.is_some());
    emails.chain(phones).take(contacts_max).chain(address).collect()
}

fn distinct(details: &[Spelled]) -> impl Iterator<Item = String> {
    let mut seen = BTreeSet::new();
    details
        .iter()
        .filter_map(|detail| detail.google)
        .filter(move |digest| seen.insert(*digest))
        .map(|digest| digest.hex())
}

fn address(event: &SealedEvent) -> Option<Address<'_>> {
    let user = &event.user;
    Some(Address {
        given_name: user.first_name.google?.hex(),
        family_name: user.last_name.google?.hex(),
        region_code: user.country_code.as_ref()?.expose(),
        postal_code: user.postal_code_clear.as_ref()?.expose(),
    })
}
