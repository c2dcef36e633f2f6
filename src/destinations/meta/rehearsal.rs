//! What `check --live` asks Meta, and what the answers mean to the operator.

use super::{
    super::{HttpRequest, Method, Rehearsal, Response, Verdict},
    Meta, PURCHASE, answer,
};
use crate::model::{EventName, Failure, SealedEvent};

impl Meta {
    /// With a test event code one event, as that is all that proves that events are taken. Meta has no way to validate one
    /// without counting it, so that without such a code only the pixel is looked at.
    pub(super) fn rehearsal(&self, sample: &SealedEvent) -> Rehearsal {
        let tried = self.config.test_event_code.is_some().then(|| self.tried_as()).flatten();
        if let Some(name) = tried {
            let request = self.requested(&[SealedEvent { name: name.clone(), ..sample.clone() }]);
            return Rehearsal {
                what: "access token and pixel, by one test event, which counts like any other (test_event_code)",
                request,
                read: sent,
            };
        }
        let url =
            format!("{}/{}/{}?fields=id,name", self.config.base_url, self.config.api_version, self.config.pixel_id);
        let request = HttpRequest { method: Method::Get, url, ..HttpRequest::default() };
        Rehearsal { what: "access token and pixel, without sending an event", request, read: seen }
    }

    /// The event to try: any that is no sale, if there is one.
    fn tried_as(&self) -> Option<&EventName> {
        let events = || self.common.events.iter().filter(|(name, _)| !name.is_change());
        let other = events().find(|(_, theirs)| *theirs != PURCHASE);
        other.or_else(|| events().next()).map(|(name, _)| name)
    }
}

fn sent(response: &Response) -> Result<String, String> {
    match answer::verdicts(1, response).pop() {
        Some(Verdict::Delivered) => {
            Ok("Meta received the event: it is under \"Test events\" in the Events Manager".to_owned())
        }
        Some(
            Verdict::Retry { failure, .. }
            | Verdict::Blocked(failure)
            | Verdict::Rejected(failure)
            | Verdict::Misconfigured(failure)
            | Verdict::Isolate(failure),
        ) => Err(told(&failure)),
        Some(Verdict::Resend) | None => Err("Meta's answer says nothing about the event".to_owned()),
    }
}

fn seen(response: &Response) -> Result<String, String> {
    match answer::object(response) {
        Ok(_) => {
            Ok("the token reaches the pixel; whether it may send events only an event shows: set test_event_code and \
                     check again"
                .to_owned())
        }
        Err(failure) if is_permission(&failure) => Err(format!(
            "{}; a token made in the Events Manager may send events all the same: set test_event_code and check again",
            told(&failure)
        )),
        Err(failure) => Err(told(&failure)),
    }
}

fn is_permission(failure: &Failure) -> bool {
    let code = failure.code.split('/').next().and_then(|code| code.parse().ok());
    code.is_some_and(|code: i64| matches!(code, 3 | 10 | 200..=299))
}

/// What Meta said, and what puts it right.
fn told(failure: &Failure) -> String {
    let Failure { code, field, message } = failure;
    let place = field.as_ref().map(|field| format!(" ({field})")).unwrap_or_default();
    let hint = match code.as_str() {
        "100/33" => "; look up pixel_id, and assign the pixel to the system user of the token",
        "2635" | "2500" => "; set api_version to one that Meta still supports",
        code if code == "102" || code.split('/').next() == Some("190") => {
            "; make a new access token of a system user, and set access_token"
        }
        _ if is_permission(failure) => "; give the system user of the token access to the pixel",
        "http_404" => "; is base_url right?",
        _ => "",
    };
    format!("{code}{place}: {message}{hint}")
}
