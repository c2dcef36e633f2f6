//! Calendly: booked meetings.
//!
//! Source: developer.calendly.com (signature, payloads, rescheduling), read 2026-11-20.

use std::{sync::Arc, time::Duration};

use serde_json::Value;

use super::{
    Common, Descriptor, Inbound, Parsed, Refusal, Report, Source, Told, Verified, header, json, tolerance,
    verify::{Secrets, fresh, from_hex, no_signature},
};
use crate::{
    intake::Draft,
    model::{Currency, EventName, Raw, Settings, Time},
};

/// Kind `calendly`.
pub(super) const DESCRIPTOR: Descriptor = Descriptor { kind: "calendly", build };

/// What a booking is unless `event` says otherwise: Meta's standard event is `Schedule`.
const EVENT: &str = "schedule";
/// Signatures in one header.
const SIGNATURES_MAX: usize = 8;

struct Calendly {
    secrets: Secrets,
    tolerance: Duration,
    event: String,
    visitor_id_in: Option<&'static str>,
    visitor_id_question: Option<String>,
    phone_question: Option<String>,
}

fn build(_common: &Common, settings: &mut Settings) -> Option<Arc<dyn Source>> {
    let secrets = Secrets::read(settings, "the signing key of the webhook subscription");
    let tolerance = tolerance(settings, Duration::from_secs(300));
    let name = |text: &str| EventName::new(text).ok().map(|name| name.to_string());
    let event = settings.parsed("event", "the name of an event, such as schedule or generate_lead", name);
    let visitor_id_in = settings.parsed("visitor_id_in", "utm_content, utm_term or salesforce_uuid", |text| {
        ["utm_content", "utm_term", "salesforce_uuid"].into_iter().find(|known| *known == text)
    });
    Some(Arc::new(Calendly {
        tolerance,
        event: event.unwrap_or_else(|| EVENT.to_owned()),
        visitor_id_in,
        visitor_id_question: settings.text("visitor_id_question"),
        phone_question: settings.text("phone_question"),
        secrets: secrets?,
    }))
}

impl Source for Calendly {
    fn verify<'a>(&self, inbound: &'a Inbound<'a>, now: Time) -> Result<Verified<'a>, Refusal> {
        let missing =
            "there is no sound Calendly-Webhook-Signature header; was the subscription made with a signing key?";
        let text = header(inbound.headers, "calendly-webhook-signature").ok_or_else(|| no_signature(missing))?;
        let parts = || text.split(',').filter_map(|part| part.trim().split_once('='));
        let stamp = parts().find(|(name, _)| *name == "t").map(|(_, stamp)| stamp);
        let given: Vec<[u8; 32]> = parts()
            .filter(|(name, _)| *name == "v1")
            .filter_map(|(_, signature)| from_hex(signature))
            .take(SIGNATURES_MAX)
            .collect();
        let signed_at = stamp.and_then(|stamp| Some((stamp, Time::from_secs(stamp.parse().ok()?))));
        let (stamp, signed_at) = signed_at.filter(|_| !given.is_empty()).ok_or_else(|| no_signature(missing))?;
        let verified = self.secrets.hmac(inbound, &[stamp.as_bytes(), b".", inbound.body], &given)?;
        fresh(signed_at, now, self.tolerance, Some(self.tolerance)).map(|()| verified)
    }

    fn parse(&self, verified: &Verified<'_>) -> Result<Parsed, Refusal> {
        let body = json::body(verified.body())?;
        let topic = json::text(&body, "/event").unwrap_or_default();
        // Deliveries have no id of their own: invitee and topic tell them apart.
        let id = json::text(&body, "/payload/uri").map(|uri| format!("{topic}.{}", tail(&uri)));
        Ok(Parsed::one(id, self.report(&topic, body)))
    }
}

impl Calendly {
    fn report(&self, topic: &str, body: Value) -> Result<Report, Refusal> {
        if topic != "invitee.created" {
            return Ok(Report::ignored(topic, "not a conversion"));
        }
        let payload = json::at(&body, "/payload").unwrap_or(&Value::Null);
        // A new time is the same booking: it is created anew with its predecessor. `rescheduled` is what the predecessor says:
        // told late, it is the booking all the same.
        if json::text(payload, "/old_invitee").is_some() {
            return Ok(Report::ignored(topic, "rescheduled"));
        }
        let mut draft = Draft {
            time: json::time(payload, "/created_at").ok().flatten().or(json::time(&body, "/created_at").ok().flatten()),
            ..Draft::named(self.event.as_str())
        };
        self.person(payload, &mut draft);
        self.tracking(payload, &mut draft);
        // A paid booking is worth what was paid for it.
        let currency = json::text(payload, "/payment/currency").and_then(|code| Currency::parse(&code).ok());
        if let Some(currency) = currency.filter(|_| json::flag(payload, "/payment/successful")) {
            let amount = json::decimal(payload, "/payment/amount").ok().flatten();
            draft.value = amount.filter(|amount| !amount.is_sign_negative());
            draft.currency = draft.value.map(|_| currency.code().to_owned());
        }
        let key = json::text(payload, "/uri").map(|uri| tail(&uri).to_owned());
        Ok(Told { key, ..Told::new(draft, body) }.into())
    }

    fn person(&self, payload: &Value, draft: &mut Draft) {
        let user = &mut draft.user;
        user.emails.extend(json::raw(payload, "/email"));
        user.first_name = json::raw(payload, "/first_name");
        user.last_name = json::raw(payload, "/last_name");
        if let Some(name) =
            json::text(payload, "/name").filter(|_| user.first_name.is_none() && user.last_name.is_none())
        {
            json::name(&name, user);
        }
        let mut phones = json::all(payload, &["/text_reminder_number"]);
        // We call the invitee, at the number given.
        if json::text(payload, "/scheduled_event/location/type").as_deref() == Some("outbound_call") {
            phones.extend(json::text(payload, "/scheduled_event/location/location"));
        }
        phones.extend(self.phone_question.as_deref().and_then(|question| answer(payload, question)));
        for (_, phone) in phones.iter().enumerate().filter(|(i, phone)| !phones[..*i].contains(phone)) {
            user.phones.push(Raw::new(phone.as_str()));
        }
    }

    fn tracking(&self, payload: &Value, draft: &mut Draft) {
        for name in ["utm_source", "utm_medium", "utm_campaign", "utm_content", "utm_term", "salesforce_uuid"] {
            let Some(value) = json::text(payload, &format!("/tracking/{name}")) else { continue };
            let name = if self.visitor_id_in == Some(name) { "visitor_id" } else { name };
            draft.carry(name, &value);
        }
        if let Some(visitor) = self.visitor_id_question.as_deref().and_then(|question| answer(payload, question)) {
            draft.carry("visitor_id", &visitor);
        }
        // Questions that are named as what the tag knows: gclid, fbclid, …
        for entry in json::list(payload, "/questions_and_answers") {
            if let (Some(question), Some(answer)) = (json::text(entry, "/question"), json::text(entry, "/answer")) {
                draft.carry(&question, &answer);
            }
        }
    }
}

/// The answer to a question, by its wording.
fn answer(payload: &Value, question: &str) -> Option<String> {
    let asked =
        |entry: &&Value| json::text(entry, "/question").is_some_and(|text| text.eq_ignore_ascii_case(question.trim()));
    json::text(json::list(payload, "/questions_and_answers").iter().find(asked)?, "/answer")
}

/// The last part of an address, which is the id of what is there.
fn tail(uri: &str) -> &str {
    uri.trim_end_matches('/').rsplit('/').next().unwrap_or(uri)
}

#[cfg(test)]
mod tests {
    use super::{super::testing, *};

    const CONFIG: &str = "secrets = ['old', 'shhh']\nvisitor_id_in = 'utm_content'\nvisitor_id_question = 'Reference'\n\
                          phone_question = 'Your phone number'";
    const BODY: &[u8] = br#"{"id":1,"email":"a@b.test"}"#;

    #[test]
    fn fixtures_read_as_their_snapshots() {
        testing::snapshots("calendly", &DESCRIPTOR, CONFIG);
    }

    /// The vector of Stripe's v1, which signs the same text: HMAC-SHA256 of `{t}.{body}` in hex.
    #[test]
    fn the_signature_is_checked() {
        let right = "v1=538db16f9675066496a0eee00bd0ab5b6973f398faaab74a6890bad1fb17ab9f";
        let source = testing::build(&DESCRIPTOR, "secrets = ['old', 'whsec_test']");
        let verdict = |signature: &str, at: i64, body: &[u8]| {
            let headers = testing::headers([("calendly-webhook-signature", signature)]);
            let inbound = Inbound { headers: &headers, query: None, body };
            source.verify(&inbound, Time::from_secs(at)).err().map(|refusal| refusal.reason)
        };
        let (now, sound) = (1_700_000_000, format!("t=1700000000,{right}"));
        assert_eq!(verdict(&sound, now, BODY), None);
        assert_eq!(verdict(&format!("{right}, t=1700000000"), now, BODY), None);
        assert_eq!(verdict(&format!("t=1700000000,v1={},{right}", "0".repeat(64)), now, BODY), None);
        assert_eq!(verdict(&sound, now, b"{}"), Some("bad_signature"));
        assert_eq!(verdict(&format!("t=1700000001,{right}"), now, BODY), Some("bad_signature"));
        assert_eq!(verdict(&sound, now + 300, BODY), None);
        assert_eq!(verdict(&sound, now + 301, BODY), Some("stale"));
        assert_eq!(verdict(&sound, now - 301, BODY), Some("from_the_future"));
        for bad in ["", "t=1700000000", right, "t=x,v1=00", "t=1700000000,v0=00"] {
            assert_eq!(verdict(bad, now, BODY), Some("no_signature"), "{bad}");
        }
        let other = testing::build(&DESCRIPTOR, "secrets = ['old']");
        let headers = testing::headers([("calendly-webhook-signature", sound.as_str())]);
        let inbound = Inbound { headers: &headers, query: None, body: BODY };
        let refused = other.verify(&inbound, Time::from_secs(now)).err();
        assert_eq!(refused.map(|refusal| refusal.reason), Some("bad_signature"));
    }

    #[test]
    fn a_booking_that_is_told_after_it_was_moved_counts_and_its_new_time_does_not() {
        let source = testing::build(&DESCRIPTOR, "secrets = ['x']");
        let report = |more: &str| {
            let body = format!(
                "{{\"event\": \"invitee.created\", \"payload\": {{\"uri\": \"https://x.test/invitees/A\", {more}}}}}"
            );
            let read = testing::reads(source.as_ref(), &testing::headers([]), body.as_bytes());
            read["reports"][0].clone()
        };
        let late = report(r#""rescheduled": true, "old_invitee": null, "new_invitee": "https://x.test/invitees/B""#);
        assert_eq!((&late["event"]["event"], &late["key"]), (&Value::from("schedule"), &Value::from("A")));
        let moved = report(r#""rescheduled": false, "old_invitee": "https://x.test/invitees/0""#);
        assert_eq!(moved["ignored"], "rescheduled");
        let given_back = report(r#""payment": {"successful": true, "amount": -5, "currency": "EUR"}"#);
        assert_eq!(given_back["event"]["value"], Value::Null, "costs no booking");
    }

    #[test]
    fn wrong_settings_are_told() {
        let told = testing::told(&DESCRIPTOR, "event = 'Big Deal'\nvisitor_id_in = 'utm_source'");
        let keys: Vec<&str> = told.iter().filter_map(|problem| Some(problem.split_once(':')?.0)).collect();
        assert_eq!(keys, ["secrets", "event", "visitor_id_in"]);
    }
}
