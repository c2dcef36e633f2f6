//! Which click and which visit get the credit for a conversion, and how clicks are read off landings. Pure.

mod cookies;
mod landing;

use std::time::Duration;

pub use cookies::{ReadCookies, read_cookies, valid_fbc, valid_fbp};
pub use landing::{Landing, read_landing, without_ours};

use crate::model::{Attribution, ClickId, ClickKind, Time, Utm, Visitor};

/// How long after the click a platform still takes it: Google and Microsoft say 90 days, Meta keeps its cookies as long.
/// Source: <https://support.google.com/google-ads/answer/7012522>, read 2026-11-20.
pub const CLICK_WINDOW: Duration = Duration::from_secs(90 * 86_400);

/// Clocks of shops and browsers differ: a click this much after the sale may still have led to it.
const CLOCK_SKEW: Duration = Duration::from_secs(10 * 60);

/// The platform a click belongs to: of each platform only one click gets the credit.
const fn platform(kind: ClickKind) -> ClickKind {
    match kind {
        ClickKind::Gclid | ClickKind::Gbraid | ClickKind::Wbraid => ClickKind::Gclid,
        other => other,
    }
}

/// The click ids that go with a conversion at `at`: those that came on the event itself, and for every other platform the
/// newest stored click inside [`CLICK_WINDOW`]. Ids of different clicks are never mixed; one landing may have brought
/// several ids of one platform, and then they stay together for the destination to choose from.
#[must_use]
pub fn choose_clicks(on_event: &[ClickId], stored: &[ClickId], at: Time) -> Vec<ClickId> {
    let mut chosen = on_event.to_vec();
    // The same id with the time of the landing is worth more than without.
    for click in &mut chosen {
        let known = stored.iter().find(|known| known.kind == click.kind && known.value == click.value);
        if let Some(known) = known.filter(|_| click.first_seen.is_none()) {
            click.first_seen = known.first_seen;
        }
    }
    let clicked = |click: &ClickId| click.first_seen.unwrap_or(click.last_seen);
    let usable: Vec<&ClickId> = stored
        .iter()
        .filter(|click| click.kind.names_a_click())
        .filter(|click| clicked(click) <= at.plus(CLOCK_SKEW) && clicked(click).plus(CLICK_WINDOW) >= at)
        .filter(|click| !on_event.iter().any(|given| platform(given.kind) == platform(click.kind)))
        .collect();
    for click in &usable {
        let newest = usable
            .iter()
            .filter(|other| platform(other.kind) == platform(click.kind))
            .map(|other| clicked(other))
            .max();
        if newest == Some(clicked(click)) {
            chosen.push((*click).clone());
        }
    }
    chosen
}

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

#[cfg(test)]
mod tests {
    use super::*;

    fn click(kind: ClickKind, value: &str, day: i64) -> ClickId {
        let at = Time::from_secs(day * 86_400);
        ClickId { kind, value: value.into(), first_seen: Some(at), last_seen: at }
    }

    fn values(clicks: &[ClickId]) -> Vec<&str> {
        clicks.iter().map(|click| click.value.as_str()).collect()
    }

    #[test]
    fn the_newest_click_of_each_platform_inside_its_window_gets_the_credit() {
        let stored = [
            click(ClickKind::Gclid, "stale", 1),
            click(ClickKind::Gclid, "older", 100),
            click(ClickKind::Wbraid, "newer", 110),
            click(ClickKind::Gclid, "with-it", 110),
            click(ClickKind::Gclid, "after-the-sale", 130),
            click(ClickKind::Fbclid, "meta", 105),
            click(ClickKind::Ttclid, "stale-too", 2),
        ];
        let at = Time::from_secs(120 * 86_400);
        assert_eq!(values(&choose_clicks(&[], &stored, at)), ["newer", "with-it", "meta"]);
    }

    #[test]
    fn what_came_on_the_event_wins_and_takes_its_time_from_the_visit() {
        let stored = [click(ClickKind::Gclid, "AbC", 10), click(ClickKind::Gclid, "abc", 15)];
        let at = Time::from_secs(20 * 86_400);
        let given = ClickId { kind: ClickKind::Gclid, value: "AbC".into(), first_seen: None, last_seen: at };
        let chosen = choose_clicks(std::slice::from_ref(&given), &stored, at);
        assert_eq!(values(&chosen), ["AbC"], "case tells ids apart, and no other click is mixed in");
        assert_eq!(chosen[0].first_seen, Some(Time::from_secs(10 * 86_400)));
        let stranger = ClickId { value: "other".into(), ..given };
        assert_eq!(choose_clicks(&[stranger], &stored, at)[0].first_seen, None, "no time is invented");
    }
}
