//! A destination that sees of each event only the click that its rule chose. Where all destinations choose alike there is
//! nothing to leave out, and none is wrapped.

use std::{borrow::Cow, sync::Arc, time::Duration};

use super::{
    Dedupe, Destination, FileProfile, HttpRequest, Original, Profile, Rehearsal, Report, Request, Response, Unsendable,
    Verdict,
};
use crate::{
    attribution::narrowed,
    model::{Change, ClickRule, SealedEvent, Time, WaitReason},
};

/// `inner`, by the rule.
pub struct Chosen {
    inner: Arc<dyn Destination>,
    rule: ClickRule,
}

impl Chosen {
    /// `inner` with the clicks of this rule.
    #[must_use]
    pub fn new(inner: Arc<dyn Destination>, rule: ClickRule) -> Self {
        Self { inner, rule }
    }

    /// The event as the destination sees it, the conversion that it changes included.
    fn event<'a>(&self, event: &'a SealedEvent) -> Cow<'a, SealedEvent> {
        let mut narrow = narrowed(event, &self.rule);
        let Some(Change { original, .. }) = event.change.as_deref() else { return narrow };
        if let Cow::Owned(original) = narrowed(original, &self.rule)
            && let Some(change) = narrow.to_mut().change.as_deref_mut()
        {
            change.original = original;
        }
        narrow
    }

    fn batch<'a>(&self, batch: &'a [SealedEvent]) -> Cow<'a, [SealedEvent]> {
        if batch.iter().all(|event| matches!(self.event(event), Cow::Borrowed(_))) {
            return Cow::Borrowed(batch);
        }
        batch.iter().map(|event| self.event(event).into_owned()).collect()
    }
}

impl Destination for Chosen {
    fn profile(&self) -> &Profile {
        self.inner.profile()
    }

    fn deadline(&self, event: &SealedEvent) -> Time {
        self.inner.deadline(&self.event(event))
    }

    fn hold(&self, event: &SealedEvent) -> Option<(Time, WaitReason)> {
        self.inner.hold(&self.event(event))
    }

    fn admit(&self, event: &SealedEvent) -> Result<(), Unsendable> {
        self.inner.admit(&self.event(event))
    }

    fn lane(&self, event: &SealedEvent) -> u8 {
        self.inner.lane(&self.event(event))
    }

    fn prepare(&self, batch: &[SealedEvent]) -> Request {
        self.inner.prepare(&self.batch(batch))
    }

    fn trace_id(&self, response: &Response) -> Option<String> {
        self.inner.trace_id(response)
    }

    fn interpret(&self, batch: &[SealedEvent], response: &Response) -> Vec<Verdict> {
        self.inner.interpret(&self.batch(batch), response)
    }

    fn dedupe(&self, event: &SealedEvent) -> Dedupe {
        self.inner.dedupe(&self.event(event))
    }

    fn throttle(&self, response: &Response) -> Option<Duration> {
        self.inner.throttle(response)
    }

    fn evidence(&self, event: &SealedEvent) -> Vec<&'static str> {
        self.inner.evidence(&self.event(event))
    }

    fn original(&self, event: &SealedEvent) -> Original {
        self.inner.original(event)
    }

    fn note(&self, event: &SealedEvent) -> Option<&'static str> {
        self.inner.note(&self.event(event))
    }

    fn is_receipt(&self, response: &Response) -> bool {
        self.inner.is_receipt(response)
    }

    fn ask(&self, trace_id: &str) -> Option<HttpRequest> {
        self.inner.ask(trace_id)
    }

    fn report(&self, response: &Response) -> Report {
        self.inner.report(response)
    }

    fn rehearsals(&self, sample: &SealedEvent) -> Vec<Rehearsal> {
        self.inner.rehearsals(sample)
    }

    fn api(&self) -> Option<(&'static str, &str)> {
        self.inner.api()
    }

    fn file(&self) -> Option<&FileProfile> {
        self.inner.file()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        attribution::{DEFAULT_RULE, choose_clicks},
        model::{ClickId, ClickKind, Credit},
        store::conformance,
    };

    fn values(clicks: &[ClickId]) -> Vec<&str> {
        clicks.iter().map(|click| click.value.as_str()).collect()
    }

    #[test]
    fn a_destination_sees_the_click_of_its_own_rule() {
        let click = |value: &str, day: i64| {
            let at = Time::from_secs(day * 86_400);
            ClickId { kind: ClickKind::Gclid, value: value.into(), first_seen: Some(at), last_seen: at }
        };
        let stored = [click("first", 100), click("last", 110)];
        let first = ClickRule { credit: Credit::First, ..DEFAULT_RULE };
        let mut event = conformance::purchase("e", Time::from_secs(120 * 86_400));
        let (clicks, choices) = choose_clicks(&[], &stored, None, event.time, &[DEFAULT_RULE, first]);
        (event.context.clicks, event.context.choices) = (clicks, choices);
        assert_eq!(values(&event.context.clicks), ["first", "last"]);
        assert_eq!(values(&narrowed(&event, &DEFAULT_RULE).context.clicks), ["last"]);
        assert_eq!(values(&narrowed(&event, &first).context.clicks), ["first"]);
        let added = ClickRule { window_s: 11 * 86_400, ..DEFAULT_RULE };
        assert_eq!(values(&narrowed(&event, &added).context.clicks), ["last"], "a rule that was added later");
        let none = ClickRule { window_s: 86_400, ..DEFAULT_RULE };
        assert!(narrowed(&event, &none).context.clicks.is_empty(), "and one for which all are stale");
    }
}
