//! Requests that may have arrived without anybody knowing. Sending again is safe only while the platform recognises what it
//! has; after that the operator decides. Pure.

use std::time::Duration;

use crate::{
    destinations::{Dedupe, Response},
    model::{Failure, FailureClass, Outcome, Time},
};

/// Whether an answer leaves open if the platform has the events: a gateway gave up on what stands behind it.
pub(super) const fn is_unknown(response: &Response) -> bool {
    matches!(response, Response::Http { status: 502 | 504, .. })
}

/// Whether that is open for an event that is to be sent again though the platform said yes: it did not say to how many, or
/// to which. One that names every event by itself recognises them for good.
pub(super) fn is_half_a_yes(dedupe: Dedupe, status: Option<u16>) -> bool {
    dedupe != Dedupe::Always && status.is_some_and(|status| (200..300).contains(&status))
}

/// Whether sending again at `at` might count twice, what may have arrived first at `since`. A request that is sent has to
/// arrive inside the window, so `travel` is left for that.
pub(super) fn is_too_late(dedupe: Dedupe, since: Time, at: Time, travel: Duration) -> bool {
    match dedupe {
        Dedupe::Always => false,
        Dedupe::Within(window) => at.plus(travel) > since.plus(window),
        Dedupe::Never => true,
    }
}

/// How a delivery ends that cannot safely be sent again.
pub(super) fn outcome(since: Time) -> Outcome {
    let message = format!(
        "a request was sent at {since} and the answer never came, so the platform may or may not have the event, and it \
         would no longer notice a second one; look for the event at the platform, then replay it if it is missing there, \
         or discard it"
    );
    Outcome::Dead { class: FailureClass::Unknown, failure: Failure { code: "unknown".into(), field: None, message } }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sending_again_is_safe_exactly_as_long_as_the_platform_recognises_it() {
        let since = Time::from_secs(1_763_626_500);
        let after = |seconds| since.plus(Duration::from_secs(seconds));
        let travel = Duration::from_secs(30);
        let hours = Dedupe::Within(Duration::from_secs(48 * 3600));
        for (dedupe, at, expected) in [
            (Dedupe::Always, after(999_999_999), false),
            (hours, after(0), false),
            (hours, after(48 * 3600 - 30), false),
            (hours, after(48 * 3600 - 29), true),
            (Dedupe::Never, after(0), true),
        ] {
            assert_eq!(is_too_late(dedupe, since, at, travel), expected, "{dedupe:?} {at}");
        }
    }

    #[test]
    fn a_gateway_that_gave_up_tells_nothing_and_a_busy_platform_does() {
        let answer = |status| {
            let (headers, body) = (Vec::new(), bytes::Bytes::new());
            Response::Http { status, retry_after: None, headers, body }
        };
        for (status, expected) in [(502, true), (504, true), (500, false), (503, false), (429, false), (200, false)] {
            assert_eq!(is_unknown(&answer(status)), expected, "{status}");
        }
        assert!(!is_unknown(&Response::Written));
    }
}
