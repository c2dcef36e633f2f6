//! What Google can match an event by: exactly one ad click, and the person's hashed contact details.

use super::payload::{Address, UserIdentifier};
pub(super) use crate::destinations::google::{CLICK_AGE_MAX, USER_DATA_AGE_MAX, click};
use crate::{
    destinations::google::distinct,
    model::{Choice, ClickId, ClickKind, SealedEvent},
};

/// The most identifiers of the user in one event.
/// Source: <https://developers.google.com/data-manager/api/devguides/limits>, read 2026-11-20.
const USER_IDENTIFIERS_MAX: usize = 10;

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

fn address(event: &SealedEvent) -> Option<Address<'_>> {
    let user = &event.user;
    Some(Address {
        given_name: user.first_name.google?.hex(),
        family_name: user.last_name.google?.hex(),
        region_code: user.country_code.as_ref()?.expose(),
        postal_code: user.postal_code_clear.as_ref()?.expose(),
    })
}

/// What `event` can be matched by, by Google's names.
pub(super) fn names(event: &SealedEvent) -> Vec<&'static str> {
    let click = click(event);
    let of_click = click.map(|click| click.kind.parameter());
    let of_user = if goes_with_user_data(click) && event.consent.ad_user_data != Choice::Denied {
        of_user(event)
    } else {
        Vec::new()
    };
    let mut names: Vec<_> = of_click.into_iter().chain(of_user.iter().map(UserIdentifier::name)).collect();
    names.dedup();
    names
}
