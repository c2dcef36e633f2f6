//! Which click and which visit get the credit for a conversion, and how clicks are read off landings. Pure.

mod choice;
mod cookies;
mod landing;

use std::time::Duration;

pub use choice::{DEFAULT_RULE, choose_clicks, drop_unchosen_cookie, narrowed};
pub use cookies::{ReadCookies, read_cookies, valid_fbc, valid_fbp};
pub use landing::{Landing, read_landing, without_ours};

use crate::model::{Attribution, Time, Utm, Visitor};

/// How long after the click a platform still takes it: Google and Microsoft say 90 days, Meta keeps its cookies as long.
/// Source: <https://support.google.com/google-ads/answer/7012522>, read 2026-11-20.
pub const CLICK_WINDOW: Duration = Duration::from_secs(90 * 86_400);

/// Clocks of shops and browsers differ: a click this much after the sale may still have led to it.
const CLOCK_SKEW: Duration = Duration::from_secs(10 * 60);

/// UTM values of the first landing, and of the last one before `at` that had any (those on the event count as that).
#[must_use]
pub fn attribute(visitor: Option<&Visitor>, on_event: &Utm, at: Time) -> Attribution {
    let first = visitor.map(|visitor| (visitor.first_visit.at, visitor.first_visit.utm.clone()));
    let landings = visitor.into_iter().flat_map(|visitor| std::iter::once(&visitor.first_visit).chain(&visitor.visits));
    let tagged = landings.filter(|visit| !visit.utm.is_empty() && visit.at <= at.plus(CLOCK_SKEW));
    let last = tagged.max_by_key(|visit| visit.at).map(|visit| (visit.at, visit.utm.clone()));
    let given = (!on_event.is_empty()).then(|| (at, on_event.clone()));
    Attribution { first: first.filter(|(_, utm)| !utm.is_empty()), last: given.or(last) }
}
