//! Which of a visitor's clicks goes with a conversion: by the rule of each destination, one click of each platform, never ids
//! of different clicks together.

use std::{borrow::Cow, time::Duration};

use super::{CLICK_WINDOW, CLOCK_SKEW};
use crate::model::{
    ChoiceReason, ClickChoice, ClickId, ClickKind, ClickRule, Context, Credit, SealedEvent, Time, Visitor,
};

/// The rule of a destination that says nothing else: the newest click that platforms still take.
pub const DEFAULT_RULE: ClickRule =
    ClickRule { credit: Credit::Last, window_s: CLICK_WINDOW.as_secs() as u32, exclusive: false };

/// The platform a click belongs to: of each platform only one click gets the credit.
const fn platform(kind: ClickKind) -> ClickKind {
    match kind {
        ClickKind::Gclid | ClickKind::Gbraid | ClickKind::Wbraid => ClickKind::Gclid,
        other => other,
    }
}

/// When it was clicked, as far as we know.
fn clicked(click: &ClickId) -> Time {
    click.first_seen.unwrap_or(click.last_seen)
}

/// The click ids that go with a conversion at `at`, and what each of `rules` chose for each platform: those that came on
/// the event itself, and for every other platform what the rules choose among the stored ones. One landing may have brought
/// several ids of one platform, and then they stay together for the destination to choose from.
#[must_use]
pub fn choose_clicks(
    on_event: &[ClickId],
    stored: &[ClickId],
    visitor: Option<&Visitor>,
    at: Time,
    rules: &[ClickRule],
) -> (Vec<ClickId>, Vec<ClickChoice>) {
    let mut chosen = on_event.to_vec();
    // The same id with the time of the landing is worth more than without.
    for click in &mut chosen {
        let known = stored.iter().find(|known| known.kind == click.kind && known.value == click.value);
        if let Some(known) = known.filter(|_| click.first_seen.is_none()) {
            click.first_seen = known.first_seen;
        }
    }
    let mut platforms: Vec<ClickKind> = Vec::new();
    for click in on_event.iter().chain(stored).filter(|click| click.kind.names_a_click()) {
        if !platforms.contains(&platform(click.kind)) {
            platforms.push(platform(click.kind));
        }
    }
    let mut choices = Vec::new();
    for &rule in rules {
        let mut of_rule: Vec<ClickChoice> = platforms
            .iter()
            .map(|&platform| choose(rule, platform, &chosen[..on_event.len()], stored, visitor, at))
            .collect();
        if rule.exclusive {
            let last = of_rule.iter().filter_map(|choice| choice.at).max();
            for choice in of_rule.iter_mut().filter(|choice| choice.at.is_some() && choice.at < last) {
                (choice.at, choice.reason) = (None, ChoiceReason::OtherPlatform);
            }
        }
        choices.extend(of_rule);
    }
    for click in stored.iter().filter(|click| click.kind.names_a_click()) {
        let given = on_event.iter().any(|given| platform(given.kind) == platform(click.kind));
        let is_it = |choice: &ClickChoice| choice.platform == platform(click.kind) && choice.at == Some(clicked(click));
        if !given && choices.iter().any(is_it) {
            chosen.push(click.clone());
        }
    }
    (chosen, choices)
}

/// What `rule` chooses among the clicks on one platform's ads.
fn choose(
    rule: ClickRule,
    of: ClickKind,
    on_event: &[ClickId],
    stored: &[ClickId],
    visitor: Option<&Visitor>,
    at: Time,
) -> ClickChoice {
    let choice = |at, reason, count: usize| {
        let of_count = u16::try_from(count).unwrap_or(u16::MAX);
        ClickChoice { rule, platform: of, at, reason, of: of_count }
    };
    if let Some(given) = on_event.iter().find(|click| platform(click.kind) == of) {
        return choice(Some(clicked(given)), ChoiceReason::OnEvent, 1);
    }
    // Ids that came with one landing are one click.
    let mut clicks: Vec<(Time, bool)> = Vec::new();
    for click in stored.iter().filter(|click| platform(click.kind) == of) {
        let (when, paid) = (clicked(click), is_paid(click, visitor));
        match clicks.iter_mut().find(|(known, _)| *known == when) {
            Some((_, known)) => *known |= paid,
            None => clicks.push((when, paid)),
        }
    }
    clicks.sort_unstable();
    let all = clicks.len();
    clicks.retain(|(when, _)| *when <= at.plus(CLOCK_SKEW));
    if clicks.is_empty() {
        return choice(None, ChoiceReason::Later, all);
    }
    let window = Duration::from_secs(u64::from(rule.window_s)).min(CLICK_WINDOW);
    clicks.retain(|(when, _)| when.plus(window) >= at);
    let several = clicks.len() > 1;
    let (found, reason, none) = match rule.credit {
        Credit::Last => (clicks.last(), ChoiceReason::Newest, ChoiceReason::Stale),
        Credit::First => (clicks.first(), ChoiceReason::Oldest, ChoiceReason::Stale),
        Credit::LastPaid => {
            let none = if clicks.is_empty() { ChoiceReason::Stale } else { ChoiceReason::NonePaid };
            (clicks.iter().rfind(|(_, paid)| *paid), ChoiceReason::NewestPaid, none)
        }
    };
    match found {
        Some((when, _)) => choice(Some(*when), if several { reason } else { ChoiceReason::Only }, all),
        None => choice(None, none, all),
    }
}

/// Whether somebody paid for the click. Only Meta's id is on other links too; those of ads have UTM values that say so.
///
/// The media are those that Google Analytics takes for paid ones. Source:
/// <https://support.google.com/analytics/answer/9756891>, read 2026-11-20.
fn is_paid(click: &ClickId, visitor: Option<&Visitor>) -> bool {
    if click.kind != ClickKind::Fbclid {
        return true;
    }
    let landings = visitor.into_iter().flat_map(|visitor| std::iter::once(&visitor.first_visit).chain(&visitor.visits));
    let mut with_it =
        landings.filter(|visit| visit.url.as_ref().is_some_and(|url| url.expose().contains(&click.value)));
    with_it.any(|visit| {
        let medium = visit.utm.medium.as_deref().unwrap_or_default().to_ascii_lowercase();
        let costs = ["cpc", "cpm", "cpa", "cpv", "ppc", "retargeting", "display", "banner"];
        medium.starts_with("paid") || costs.iter().any(|cost| medium.contains(cost))
    })
}

/// `event` with the clicks that `rule` chose, of those that several rules did. A rule that was configured after the event
/// came chooses among what the others left.
#[must_use]
pub fn narrowed<'a>(event: &'a SealedEvent, rule: &ClickRule) -> Cow<'a, SealedEvent> {
    let (clicks, choices) = (&event.context.clicks, &event.context.choices);
    let stays = |click: &ClickId| {
        let of = platform(click.kind);
        let mut known = choices.iter().filter(|choice| choice.platform == of).peekable();
        if known.peek().is_none() {
            return true;
        }
        let choice = known.find(|choice| choice.rule == *rule);
        let choice = choice.copied().unwrap_or_else(|| choose(*rule, of, &[], clicks, None, event.time));
        choice.reason == ChoiceReason::OnEvent || choice.at == Some(clicked(click))
    };
    if choices.is_empty() || clicks.iter().all(stays) {
        return Cow::Borrowed(event);
    }
    let mut narrow = event.clone();
    narrow.context.clicks.retain(stays);
    drop_unchosen_cookie(&mut narrow.context);
    Cow::Owned(narrow)
}

/// Takes out Meta's click cookie if clicks on Meta's ads were chosen among and it tells of another one: it would go along
/// instead of the chosen one, or although none was.
pub fn drop_unchosen_cookie(context: &mut Context) {
    let chosen_among = context.choices.iter().any(|choice| choice.platform == ClickKind::Fbclid);
    let Some(payload) = context.cookies.fbc.as_deref().and_then(|fbc| fbc.split('.').nth(3)) else { return };
    let mut clicks = context.clicks.iter().filter(|click| click.kind == ClickKind::Fbclid);
    if chosen_among && !clicks.any(|click| click.value == payload) {
        context.cookies.fbc = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Observation, Sensitive, Utm, Visit, VisitorId};

    fn click(kind: ClickKind, value: &str, day: i64) -> ClickId {
        let at = Time::from_secs(day * 86_400);
        ClickId { kind, value: value.into(), first_seen: Some(at), last_seen: at }
    }

    fn chosen(on_event: &[ClickId], stored: &[ClickId], at: Time) -> Vec<ClickId> {
        choose_clicks(on_event, stored, None, at, &[DEFAULT_RULE]).0
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
        assert_eq!(values(&chosen(&[], &stored, at)), ["newer", "with-it", "meta"]);
    }

    #[test]
    fn what_came_on_the_event_wins_and_takes_its_time_from_the_visit() {
        let stored = [click(ClickKind::Gclid, "AbC", 10), click(ClickKind::Gclid, "abc", 15)];
        let at = Time::from_secs(20 * 86_400);
        let given = ClickId { kind: ClickKind::Gclid, value: "AbC".into(), first_seen: None, last_seen: at };
        let chosen = chosen(std::slice::from_ref(&given), &stored, at);
        assert_eq!(values(&chosen), ["AbC"], "case tells ids apart, and no other click is mixed in");
        assert_eq!(chosen[0].first_seen, Some(Time::from_secs(10 * 86_400)));
        let stranger = ClickId { value: "other".into(), ..given };
        assert_eq!(
            super::choose_clicks(&[stranger], &stored, None, at, &[DEFAULT_RULE]).0[0].first_seen,
            None,
            "no time is invented"
        );
    }

    #[test]
    fn each_rule_chooses_its_click_and_says_why() {
        let day = |days: u32| days * 86_400;
        let stored = [
            click(ClickKind::Gclid, "first", 100),
            click(ClickKind::Gclid, "last", 110),
            click(ClickKind::Fbclid, "ad", 108),
            click(ClickKind::Fbclid, "post", 112),
            click(ClickKind::Ttclid, "old", 20),
        ];
        let landing = |url: &str, medium: Option<&str>| Visit {
            url: Some(Sensitive::new(url.to_owned())),
            utm: Utm { medium: medium.map(str::to_owned), ..Utm::default() },
            ..Visit::default()
        };
        let id = VisitorId::new("v").expect("valid");
        let mut visitor =
            Visitor::new(Observation::new(id, landing("https://a.example/?fbclid=ad", Some("Paid-Social"))));
        visitor.visits.push(landing("https://a.example/?fbclid=post", Some("social")));
        let at = Time::from_secs(120 * 86_400);
        let rule = |credit, window_s, exclusive| ClickRule { credit, window_s, exclusive };
        for (rule, expected) in [
            (
                DEFAULT_RULE,
                vec![(Some(110), ChoiceReason::Newest), (Some(112), ChoiceReason::Newest), (None, ChoiceReason::Stale)],
            ),
            (
                rule(Credit::First, day(90), false),
                vec![(Some(100), ChoiceReason::Oldest), (Some(108), ChoiceReason::Oldest), (None, ChoiceReason::Stale)],
            ),
            (
                rule(Credit::First, day(15), false),
                vec![(Some(110), ChoiceReason::Only), (Some(108), ChoiceReason::Oldest), (None, ChoiceReason::Stale)],
            ),
            (
                rule(Credit::LastPaid, day(90), false),
                vec![
                    (Some(110), ChoiceReason::NewestPaid),
                    (Some(108), ChoiceReason::NewestPaid),
                    (None, ChoiceReason::Stale),
                ],
            ),
            (
                rule(Credit::LastPaid, day(9), false),
                vec![(None, ChoiceReason::Stale), (None, ChoiceReason::NonePaid), (None, ChoiceReason::Stale)],
            ),
            (
                rule(Credit::Last, day(90), true),
                vec![
                    (None, ChoiceReason::OtherPlatform),
                    (Some(112), ChoiceReason::Newest),
                    (None, ChoiceReason::Stale),
                ],
            ),
        ] {
            let (_, choices) = choose_clicks(&[], &stored, Some(&visitor), at, &[rule]);
            let found: Vec<_> =
                choices.iter().map(|choice| (choice.at.map(|at| at.as_secs() / 86_400), choice.reason)).collect();
            assert_eq!(found, expected, "{rule:?}");
        }
    }

    #[test]
    fn metas_cookie_goes_along_only_with_the_chosen_click() {
        let stored = [click(ClickKind::Fbclid, "IwOne", 100), click(ClickKind::Fbclid, "IwTwo", 110)];
        let at = Time::from_secs(120 * 86_400);
        let cookie = || Some("fb.1.9504000000000.IwTwo.AQICAQMC".to_owned());
        for (rule, stays) in [
            (DEFAULT_RULE, true),
            (ClickRule { credit: Credit::First, ..DEFAULT_RULE }, false),
            (ClickRule { credit: Credit::LastPaid, ..DEFAULT_RULE }, false),
            (ClickRule { window_s: 86_400, ..DEFAULT_RULE }, false),
        ] {
            let (clicks, choices) = choose_clicks(&[], &stored, None, at, &[rule]);
            let mut context = Context { clicks, choices, ..Context::default() };
            context.cookies.fbc = cookie();
            drop_unchosen_cookie(&mut context);
            assert_eq!(context.cookies.fbc.is_some(), stays, "{rule:?}");
        }
        let mut context = Context::default();
        context.cookies.fbc = cookie();
        drop_unchosen_cookie(&mut context);
        assert!(context.cookies.fbc.is_some(), "nothing was chosen among");
    }
}
