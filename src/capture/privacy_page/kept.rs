//! What is kept, in words a visitor understands: one table that ties every stored field to its purpose. A test fails when
//! a field is stored that is not in it.

use std::time::Duration;

use serde::Serialize;

use super::Retention;

/// How a value rests on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Form {
    /// As it was seen.
    Readable,
    /// As a SHA-256 hash.
    Hashed,
    /// Made up by the relay, or worked out.
    Made,
}

/// Fields that are one thing to a visitor.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Kept {
    /// What it is.
    pub(super) what: &'static str,
    /// What for.
    pub(super) why: &'static str,
    /// How.
    pub(super) form: Form,
    /// The names of the fields in the store.
    pub(super) fields: &'static [&'static str],
}

const fn readable(what: &'static str, why: &'static str, fields: &'static [&'static str]) -> Kept {
    Kept { what, why, form: Form::Readable, fields }
}

const fn hashed(what: &'static str, why: &'static str, fields: &'static [&'static str]) -> Kept {
    Kept { what, why, form: Form::Hashed, fields }
}

const fn made(what: &'static str, why: &'static str, fields: &'static [&'static str]) -> Kept {
    Kept { what, why, form: Form::Made, fields }
}

const JOIN: &str = "To find the visit that a later purchase belongs to";
const CREDIT: &str = "To tell which advertisement or page brought you here";
const MATCH: &str = "So that the advertising platform can tell that its advertisement led to the purchase";
const ORDER: &str = "To report the purchase once, with what it was worth";
const USE: &str = "To see which pages are read and where visitors give up";
const COUNT: &str = "To count clicks of people, and each person once";
const HONEST: &str = "To respect your choice, also at a later purchase";

/// A kind of record.
pub(super) struct Record {
    /// What it is called on the page.
    pub(super) title: &'static str,
    /// How long it is kept.
    pub(super) kept_for: fn(&Retention) -> String,
    /// What is in it.
    pub(super) fields: &'static [Kept],
}

/// Every kind of record that tells of a visitor.
pub(super) const RECORDS: &[Record] = &[
    Record {
        title: "Your browser and its visits",
        kept_for: |retention| format!("{} after you were last seen", span(retention.visits)),
        fields: &[
            made("A random id for your browser", JOIN, &["visitor.id"]),
            readable(
                "When you came, the address of the page and of the page before it",
                CREDIT,
                &[
                    "visitor.first_visit",
                    "visitor.visits",
                    "visitor.last_seen",
                    "visit.at",
                    "visit.url",
                    "visit.referrer",
                ],
            ),
            readable("Campaign words in the address (utm_source and the like)", CREDIT, &["visit.utm"]),
            readable("The short link that you followed", CREDIT, &["visit.link"]),
            readable(
                "Click ids that advertising platforms add to the address (gclid, fbclid and the like), and when they were seen",
                MATCH,
                &["visitor.clicks", "click_id.kind", "click_id.value", "click_id.first_seen", "click_id.last_seen"],
            ),
            readable(
                "Ids that the tags of advertising and analytics platforms keep in your browser (_fbp, _fbc, _ga and the like)",
                MATCH,
                &[
                    "visitor.cookies",
                    "visitor.browser_ids",
                    "cookies.fbp",
                    "cookies.fbc",
                    "cookies.ga_client_id",
                    "cookies.ga_session_id",
                ],
            ),
            readable("Your IP address, the latest one", MATCH, &["visitor.ip"]),
            readable(
                "The name and version of your browser (user agent), the latest one",
                MATCH,
                &["visitor.user_agent"],
            ),
            readable("Whether your screen is small, medium or large", USE, &["visitor.screen"]),
            readable(
                "How many pages you looked at, for how many seconds, and how far you scrolled",
                USE,
                &["visit.pages", "visit.engaged_s", "visit.scroll"],
            ),
            readable(
                "Steps such as putting something into the cart: which, when, and what it was worth",
                USE,
                &["visitor.actions", "step.at", "step.name", "step.money"],
            ),
            hashed("The number of an order that your browser saw", ORDER, &["step.transaction"]),
            hashed(
                "What you can be recognised by: e-mail address, phone number, customer number, cart",
                JOIN,
                &["visitor.keys"],
            ),
            made("Your other browsers, where you told who you are in each", JOIN, &["visitor.linked"]),
            readable("What you allowed", HONEST, &["visitor.consent"]),
        ],
    },
    Record {
        title: "Requests for short links",
        kept_for: |retention| span(retention.clicks),
        fields: &[
            made(
                "A number of the request, its time, and which link it was for",
                COUNT,
                &["click.id", "click.at", "click.link"],
            ),
            made(
                "Whether it was a person or a program, and why we think so",
                COUNT,
                &["click.verdict", "click.reasons", "click.head", "click.relabelled_by"],
            ),
            made(
                "Kind of device, browser, operating system, and the app it was opened in",
                USE,
                &["click.device", "click.browser", "click.os", "click.in_app"],
            ),
            made("The country; the IP address is not kept with it", USE, &["click.country"]),
            readable(
                "The page that the link was on, without the part behind the question mark",
                CREDIT,
                &["click.referrer"],
            ),
            made("The random id of your browser, if one may be kept", JOIN, &["click.visitor_id"]),
            made(
                "A number mixed from your IP address, your browser and a random value that is thrown away every day; it cannot \
                 be turned back",
                COUNT,
                &["click.fingerprint"],
            ),
            readable("Campaign words of the link", CREDIT, &["click.utm"]),
            made("Which of several pages the link led to", CREDIT, &["click.split"]),
            made("When the page it led to was opened", COUNT, &["click.landed"]),
        ],
    },
    Record {
        title: "Purchases, sign-ups and other conversions",
        kept_for: |retention| {
            // The journal is deleted in pieces: what is stored beside an open dead letter stays as long.
            let done = retention.delivered.max(retention.dedupe);
            let (done, open) = (span(done), span(done.max(retention.dead_letters)));
            format!(
                "{done} after it was reported everywhere; {open} if a platform would not take it, or one stored beside it"
            )
        },
        fields: &[
            readable(
                "What happened and when, its ids, and where it was reported from",
                ORDER,
                &[
                    "event.name",
                    "event.time",
                    "event.received_at",
                    "event.event_id",
                    "event.transaction_id",
                    "event.source",
                    "event.action_source",
                ],
            ),
            readable("What was bought, and what it was worth", ORDER, &["event.money", "event.items"]),
            readable(
                "Further details of the shop, such as the plan; without contact data",
                ORDER,
                &["event.properties"],
            ),
            made("The visit that it belongs to, and how it was found", JOIN, &["event.visitor_id", "event.joined_by"]),
            readable("Campaign words of your first and your latest visit", CREDIT, &["event.attribution"]),
            hashed(
                "E-mail addresses, phone numbers and your customer number",
                MATCH,
                &["event.user", "event.user.emails", "event.user.phones", "event.user.external_ids"],
            ),
            hashed(
                "Name, street, city, region, postal code, country, date of birth and gender, as far as the shop told them",
                MATCH,
                &[
                    "event.user.first_name",
                    "event.user.last_name",
                    "event.user.street",
                    "event.user.city",
                    "event.user.region",
                    "event.user.postal_code",
                    "event.user.country",
                    "event.user.date_of_birth",
                    "event.user.gender",
                ],
            ),
            readable(
                "Country, and postal code where a name came with it: Google takes these readable only",
                MATCH,
                &["event.user.country_code", "event.user.postal_code_clear"],
            ),
            readable(
                "The number of a lead form that you filled in at Facebook or Instagram",
                MATCH,
                &["event.user.lead_id"],
            ),
            readable(
                "IP address, browser (user agent), the page and the page before it",
                MATCH,
                &[
                    "event.context",
                    "event.context.ip",
                    "event.context.user_agent",
                    "event.context.url",
                    "event.context.referrer",
                ],
            ),
            readable(
                "Click ids and browser ids of advertising platforms, from the visit",
                MATCH,
                &["event.context.clicks", "event.context.choices", "event.context.cookies"],
            ),
            readable("What you allowed", HONEST, &["event.consent"]),
        ],
    },
];

/// A span in words: `90 days`.
pub(super) fn span(span: Duration) -> String {
    let seconds = span.as_secs();
    let units = [(86_400, "day"), (3600, "hour"), (60, "minute"), (1, "second")];
    let (unit, name) = units.into_iter().find(|(unit, _)| seconds.is_multiple_of(*unit)).unwrap_or((1, "second"));
    let number = seconds / unit;
    if number == 1 { format!("1 {name}") } else { format!("{number} {name}s") }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;
    use crate::model::{
        Action, ActionSource, Attribution, Click, ClickId, ClickKind, ClickVerdict, Consent, Context, Cookies, EventId,
        EventName, LinkKey, Observation, Properties, SealedEvent, SealedUser, SourceName, Time, Utm, Visit, Visitor,
        VisitorId,
    };

    fn event() -> SealedEvent {
        SealedEvent {
            source: SourceName::new("shop").expect("valid"),
            name: EventName::new("purchase").expect("valid"),
            event_id: EventId::new("e").expect("valid"),
            time: Time::from_secs(1),
            received_at: Time::from_secs(1),
            visitor_id: None,
            joined_by: None,
            transaction_id: None,
            money: None,
            action_source: ActionSource::Website,
            items: Vec::new(),
            user: SealedUser::default(),
            context: Context::default(),
            attribution: Attribution::default(),
            consent: Consent::default(),
            properties: Properties::default(),
            change: None,
        }
    }

    /// Every field set: what is empty may be left out when it is written.
    fn click() -> Click {
        let text = || Some("x".to_owned());
        Click {
            id: "x".into(),
            at: Time::from_secs(1),
            link: LinkKey::of("x"),
            verdict: ClickVerdict::Human,
            reasons: vec!["x".into()],
            head: true,
            device: text(),
            browser: text(),
            os: text(),
            in_app: text(),
            country: text(),
            referrer: text(),
            visitor_id: VisitorId::new("v").ok(),
            fingerprint: 1,
            utm: Utm { source: text(), ..Utm::default() },
            split: Some(1),
            landed: Some(Time::from_secs(1)),
            relabelled_by: text(),
        }
    }

    fn json(value: impl Serialize) -> Value {
        serde_json::to_value(value).expect("writes")
    }

    fn stored() -> BTreeSet<String> {
        let visitor = Visitor::new(Observation::new(VisitorId::new("v").expect("valid"), Visit::default()));
        let name = EventName::new("view_item").expect("valid");
        let step = Action { at: Time::from_secs(1), name, transaction: None, money: None };
        let at = Time::from_secs(1);
        let click_id = ClickId { kind: ClickKind::Gclid, value: "x".into(), first_seen: Some(at), last_seen: at };
        let event = event();
        let all = [
            ("visitor", json(&visitor)),
            ("visit", json(Visit::default())),
            ("step", json(&step)),
            ("click_id", json(&click_id)),
            ("cookies", json(Cookies::default())),
            ("click", json(click())),
            ("event", json(&event)),
            ("event.user", json(&event.user)),
            ("event.context", json(&event.context)),
        ];
        let names = |(record, value): (&str, Value)| {
            let fields = value.as_object().expect("an object").keys().map(|field| format!("{record}.{field}"));
            fields.collect::<Vec<_>>()
        };
        all.into_iter().flat_map(names).collect()
    }

    #[test]
    fn every_stored_field_is_on_the_page_and_nothing_else_is() {
        let fields = RECORDS.iter().flat_map(|record| record.fields).flat_map(|kept| kept.fields);
        let told: Vec<String> = fields.map(|field| (*field).to_owned()).collect();
        let set: BTreeSet<String> = told.iter().cloned().collect();
        assert_eq!(told.len(), set.len(), "a field is told twice");
        let stored = stored();
        let untold: Vec<_> = stored.difference(&set).collect();
        assert!(untold.is_empty(), "stored, and not on the privacy page: {untold:?}; describe them in RECORDS");
        let gone: Vec<_> = set.difference(&stored).collect();
        assert!(gone.is_empty(), "on the privacy page, and not stored: {gone:?}");
    }

    #[test]
    fn spans_are_said_in_words() {
        let of = |seconds| span(Duration::from_secs(seconds));
        assert_eq!([of(86_400), of(90 * 86_400), of(5400), of(3600)], ["1 day", "90 days", "90 minutes", "1 hour"]);
    }
}
