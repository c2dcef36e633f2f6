//! What would become of an ended delivery if it were sent again now.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    delivery::Place,
    destinations::{Dedupe, Request, Unsendable},
    model::{Failure, FailureClass, Outcome, SkipReason, Time},
    store::Ended,
};

/// Deliveries that are held back become due together in steps of this, so that queueing them again is few writes.
const DUE_STEP: Duration = Duration::from_secs(300);

/// What would become of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It can be queued.
    Sendable {
        /// When it is due.
        due: Time,
        /// When the platform stops taking it.
        deadline: Time,
    },
    /// It is past the platform's age limit.
    Expired,
    /// It is not meant for this destination, or not any more.
    Skipped(SkipReason),
    /// The destination would give it up again before sending it, for this.
    Refused(Failure),
}

/// Judges one by the destination's own rules, as the worker would.
pub(super) fn fate(place: &Place, ended: &Ended, now: Time) -> Fate {
    let (event, destination) = (&ended.event, &place.destination);
    if let Outcome::Skipped(reason @ (SkipReason::Spilled | SkipReason::Forgotten | SkipReason::Fallback)) =
        ended.outcome
    {
        // Handed over to a file, or nobody's any more: sending it would count twice, or break a word.
        return Fate::Skipped(reason);
    }
    if place.fallback_for.is_some() && matches!(ended.outcome, Outcome::Skipped(_)) {
        return Fate::Skipped(SkipReason::Fallback);
    }
    // What a change maps to may be the business of the conversion that it changes.
    if !event.name.is_change() && !place.events.contains(&event.name) {
        return Fate::Skipped(SkipReason::Unmapped);
    }
    if place.sources.as_ref().is_some_and(|sources| !sources.contains(&event.source)) {
        return Fate::Skipped(SkipReason::Source);
    }
    if !place.on_unknown_consent.allows(event.consent) {
        return Fate::Skipped(SkipReason::Consent);
    }
    let deadline = destination.deadline(event);
    if deadline <= now {
        return Fate::Expired;
    }
    // A change is judged with what it changes, which the worker looks up when it is its turn.
    if !event.name.is_change() || event.change.is_some() {
        match destination.admit(event) {
            Ok(()) => {}
            Err(Unsendable::Skip(reason)) => return Fate::Skipped(reason),
            Err(Unsendable::Reject(failure)) => return Fate::Refused(failure),
        }
    }
    let held = destination.hold(event).map(|(until, _)| until).filter(|until| *until > now);
    Fate::Sendable { due: held.map_or(now, stepped), deadline }
}

/// `time`, up to the next step.
fn stepped(time: Time) -> Time {
    let step = i64::try_from(DUE_STEP.as_millis()).unwrap_or(i64::MAX);
    Time::from_ms(time.as_ms().saturating_add(step - 1).div_euclid(step).saturating_mul(step))
}

/// For how long the platform recognises it, if that is over: the platform may have got it, and would count it twice if it
/// came now.
pub(super) fn counts_twice(place: &Place, ended: &Ended, now: Time) -> Option<Dedupe> {
    let may_be_there = matches!(ended.outcome, Outcome::Delivered | Outcome::Dead { class: FailureClass::Unknown, .. });
    let sent = ended.attempt.as_ref().map_or(ended.at, |attempt| attempt.at);
    let recognised = place.destination.dedupe(&ended.event);
    let over = match recognised {
        Dedupe::Always => false,
        Dedupe::Within(window) => sent.plus(window) <= now,
        Dedupe::Never => true,
    };
    (may_be_there && over).then_some(recognised)
}

/// The body of the request, or the row, that would carry it now. Only for one that is [`Fate::Sendable`].
pub(super) fn request(place: &Place, ended: &Ended) -> String {
    match place.destination.prepare(std::slice::from_ref(&ended.event)) {
        Request::Http(request) => String::from_utf8_lossy(&request.body).into_owned(),
        Request::Rows(rows) => rows.rows,
    }
}

/// How many have which fate.
#[derive(Debug, Default)]
pub(super) struct Counts(BTreeMap<&'static str, u64>);

impl Counts {
    /// With these at zero, so that they are told in any case.
    pub(super) fn of(names: &[&'static str]) -> Self {
        Self(names.iter().map(|name| (*name, 0)).collect())
    }

    /// Adds to one of them.
    pub(super) fn add(&mut self, name: &'static str, count: u64) {
        if count > 0 {
            *self.0.entry(name).or_default() += count;
        }
    }

    /// One of them.
    pub(super) fn get(&self, name: &'static str) -> u64 {
        self.0.get(name).copied().unwrap_or_default()
    }

    /// All of them, by name.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        self.0.iter().map(|(name, count)| (*name, *count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        admin::tests::Fake,
        destinations::OnUnknownConsent,
        model::{Attempt, Choice, EventName},
        store::conformance,
    };

    const NOW: Time = Time::from_secs(1_795_000_000);
    const HOUR: Duration = Duration::from_secs(3600);

    fn dead(class: FailureClass) -> Outcome {
        Outcome::Dead { class, failure: Failure::default() }
    }

    /// A purchase of an hour ago that ended so.
    fn ended(outcome: Outcome) -> Ended {
        let at = NOW.minus(HOUR);
        let attempt = Some(Attempt { at, ..Attempt::default() });
        Ended { number: 1, event: conformance::purchase("o-1", at), outcome, at, attempt, exhibit: None }
    }

    #[test]
    fn what_the_destination_takes_is_due_now_and_until_its_deadline() {
        let sendable = Fate::Sendable { due: NOW, deadline: NOW.plus(HOUR * 23) };
        for outcome in [Outcome::Delivered, dead(FailureClass::Settings), Outcome::Skipped(SkipReason::NotConfigured)] {
            assert_eq!(fate(&Fake::new().place(), &ended(outcome), NOW), sendable);
        }
        let mut old = ended(dead(FailureClass::Event));
        old.event.time = NOW.minus(HOUR * 24);
        assert_eq!(fate(&Fake::new().place(), &old, NOW), Fate::Expired);
        let held = Fake { hold: Some(NOW.plus(HOUR)), ..Fake::new() }.place();
        let Fate::Sendable { due, .. } = fate(&held, &ended(Outcome::Delivered), NOW) else { panic!("is sendable") };
        assert!(due >= NOW.plus(HOUR) && due < NOW.plus(HOUR + DUE_STEP), "{due}");
    }

    #[test]
    fn what_was_handed_over_forgotten_or_is_not_meant_for_it_is_never_sent() {
        for reason in [SkipReason::Spilled, SkipReason::Forgotten, SkipReason::Fallback] {
            let skipped = ended(Outcome::Skipped(reason));
            assert_eq!(fate(&Fake::new().place(), &skipped, NOW), Fate::Skipped(reason));
        }
        let is =
            |place: Place, reason| assert_eq!(fate(&place, &ended(Outcome::Delivered), NOW), Fate::Skipped(reason));
        is(
            Place { events: [EventName::new("refund").expect("valid")].into(), ..Fake::new().place() },
            SkipReason::Unmapped,
        );
        is(Place { sources: Some([].into()), ..Fake::new().place() }, SkipReason::Source);
        is(Place { on_unknown_consent: OnUnknownConsent::Skip, ..Fake::new().place() }, SkipReason::Consent);
        let skip = Err(Unsendable::Skip(SkipReason::NoIdentifiers));
        is(Fake { admit: skip, ..Fake::new() }.place(), SkipReason::NoIdentifiers);
        let mut denied = ended(Outcome::Delivered);
        denied.event.consent.ad_user_data = Choice::Denied;
        assert_eq!(fate(&Fake::new().place(), &denied, NOW), Fate::Skipped(SkipReason::Consent));
        let file = Place { fallback_for: Some(Fake::new().place().name), ..Fake::new().place() };
        let before = ended(Outcome::Skipped(SkipReason::NotConfigured));
        assert_eq!(fate(&file, &before, NOW), Fate::Skipped(SkipReason::Fallback), "it gets only what is handed over");
    }

    #[test]
    fn what_would_fail_again_is_told_why() {
        let failure = Failure { code: "missing_value".into(), ..Failure::default() };
        let fake = Fake { admit: Err(Unsendable::Reject(failure.clone())), ..Fake::new() }.place();
        let letter = ended(dead(FailureClass::Event));
        assert_eq!(fate(&fake, &letter, NOW), Fate::Refused(failure));
        let mut refund = letter;
        refund.event.name = EventName::new("refund").expect("valid");
        assert!(matches!(fate(&fake, &refund, NOW), Fate::Sendable { .. }), "a change is judged when it is its turn");
    }

    #[test]
    fn only_what_the_platform_may_have_and_does_not_recognise_counts_twice() {
        let place = |dedupe| Fake { dedupe, ..Fake::new() }.place();
        let twice = |dedupe, outcome| counts_twice(&place(dedupe), &ended(outcome), NOW).is_some();
        let (short, long) = (Dedupe::Within(HOUR), Dedupe::Within(HOUR + DUE_STEP));
        for outcome in [Outcome::Delivered, dead(FailureClass::Unknown)] {
            let all = [Dedupe::Always, long, short, Dedupe::Never].map(|dedupe| twice(dedupe, outcome.clone()));
            assert_eq!(all, [false, false, true, true], "{outcome:?}");
        }
        for outcome in [dead(FailureClass::Event), Outcome::Expired, Outcome::Skipped(SkipReason::NotConfigured)] {
            assert!(!twice(Dedupe::Never, outcome.clone()), "{outcome:?}");
        }
    }

    #[test]
    fn what_is_held_back_is_due_no_earlier_and_together() {
        assert_eq!(stepped(Time::from_secs(600)), Time::from_secs(600));
        assert_eq!(stepped(Time::from_secs(601)), Time::from_secs(900));
        assert_eq!(stepped(Time::from_secs(899)), Time::from_secs(900));
    }
}
