//! What sources of CRMs have in common: which steps of a lead count, as what, and what every step says of itself.

use std::{collections::BTreeMap, time::Duration};

use rust_decimal::Decimal;
use serde_json::Value;

use super::json;
use crate::{
    intake::Draft,
    model::{ActionSource, Currency, EventName, Settings},
};

/// What a step is called that shall not count.
const IGNORE: &str = "ignore";
/// The steps of a lead that are no sale, after the events that GA4 recommends for leads.
///
/// Source: <https://developers.google.com/analytics/devguides/collection/ga4/reference/events>, read 2026-11-20.
const BEFORE_THE_SALE: [&str; 4] = ["generate_lead", "qualify_lead", "working_lead", "disqualify_lead"];
/// The deal came to nothing.
const LOST: &str = "close_unconvert_lead";

/// Which steps count, and as which event: `events`.
pub(super) struct Steps(BTreeMap<String, String>);

impl Steps {
    /// Reads `events` over the steps that count without it. `is_step` tells whether a key names one, `what` what would.
    pub(super) fn read(
        settings: &mut Settings,
        defaults: &[(&str, &str)],
        is_step: fn(&str) -> bool,
        what: &str,
    ) -> Self {
        let mut steps = defaults.iter().map(|(step, event)| ((*step).to_owned(), (*event).to_owned())).collect();
        let expected = format!("a table of steps and events, each step {what}");
        settings.table("events", &expected, |table| read(table, "", &mut steps, &|step| is_step(step), what));
        Self(steps)
    }

    /// The event that a step counts as. Case makes no difference.
    pub(super) fn event(&self, step: &str) -> Option<&str> {
        self.0.get(&step.to_ascii_lowercase()).map(String::as_str).filter(|event| *event != IGNORE)
    }

    /// Whether a step is switched off.
    pub(super) fn ignores(&self, step: &str) -> bool {
        self.0.get(&step.to_ascii_lowercase()).is_some_and(|event| event == IGNORE)
    }
}

/// Reads a table of steps, and of tables inside it: without quotes, the dot of a step makes one.
fn read(
    table: &mut Settings,
    prefix: &str,
    steps: &mut BTreeMap<String, String>,
    is_step: &dyn Fn(&str) -> bool,
    what: &str,
) {
    const EVENT: &str = "an event name such as qualify_lead (a letter, then letters, digits, _, at most 40, all lower case; \
                         not restatement), or ignore";
    let event = |text: &str| {
        let name = EventName::new(text).ok().filter(|name| name.as_str() != EventName::RESTATEMENT);
        name.map(|name| name.to_string())
    };
    for name in table.names() {
        let step = format!("{prefix}{name}").to_ascii_lowercase();
        if table.is_table(&name) {
            table.section(&name, |inner| read(inner, &format!("{step}."), steps, is_step, what));
            continue;
        }
        let event = table.parsed(&name, EVENT, event);
        if !is_step(&step) {
            table.problem(&name, format!("is no step: it must be {what}"));
        } else if let Some(event) = event {
            steps.insert(step, event);
        }
    }
}

/// An event for a step that was taken in this CRM: nobody was in a browser, and Meta wants to know whose step it is.
///
/// Source: developers.facebook.com (conversion leads, payload specification), read 2026-11-20.
pub(super) fn step(event: &str, crm: &str) -> Draft {
    let mut draft = Draft { action_source: Some(ActionSource::SystemGenerated), ..Draft::named(event) };
    draft.properties.insert("lead_event_source".to_owned(), crm.into());
    draft
}

/// Whether an event about a deal is about its sale: it is known by the deal then, so that refunds and new values find it,
/// and an order of the shop is the same sale. Steps before it are known each by itself.
pub(super) fn is_sale(event: &str) -> bool {
    event != LOST && !BEFORE_THE_SALE.contains(&event)
}

/// Takes what a deal is worth, unless it came to nothing. An amount that is none, or has no currency, is left out: the step
/// counts all the same. Before the sale, 0 is what a deal has that nobody put a price to.
pub(super) fn worth(draft: &mut Draft, amount: &Value, currency: Option<Currency>) {
    let event = draft.event.as_deref().unwrap_or_default();
    let known = |amount: &Decimal| !amount.is_sign_negative() && (is_sale(event) || !amount.is_zero());
    let amount = json::decimal(amount, "").ok().flatten().filter(known);
    if let Some((amount, currency)) = amount.zip(currency).filter(|_| event != LOST) {
        (draft.value, draft.currency) = (Some(amount), Some(currency.code().to_owned()));
    }
}

/// Whether it is an id as both CRMs have them: a number. Nothing else may get into the path of a question.
pub(super) fn is_id(text: &str) -> bool {
    (1..=20).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit())
}

/// Reads `lookup_wait`: how long an event waits at most for what the CRM is asked.
pub(super) fn lookup_wait(settings: &mut Settings) -> Duration {
    const MINUTE: Duration = Duration::from_secs(60);
    settings.duration("lookup_wait", Duration::from_secs(1)..=MINUTE * 60 * 24).unwrap_or(MINUTE * 10)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(table: &str) -> (Steps, Vec<String>) {
        let mut settings = Settings::new("", table.parse().expect("TOML"));
        let defaults = [("contact.creation", "generate_lead"), ("dealstage.closedwon", "close_convert_lead")];
        let steps = Steps::read(&mut settings, &defaults, |step| step.contains('.'), "property.value");
        (steps, settings.finish().iter().map(ToString::to_string).collect())
    }

    #[test]
    fn a_table_adds_to_the_defaults_replaces_them_and_switches_them_off() {
        let (steps, problems) = read(
            "[events]\n\"dealstage.ClosedWon\" = 'purchase'\nlifecyclestage.customer = 'sign_up'\n\
             \"contact.creation\" = 'ignore'",
        );
        assert!(problems.is_empty(), "{problems:?}");
        assert_eq!(steps.event("dealstage.closedwon"), Some("purchase"));
        assert_eq!(steps.event("lifecyclestage.CUSTOMER"), Some("sign_up"));
        assert_eq!((steps.event("contact.creation"), steps.event("dealstage.other")), (None, None));
    }

    #[test]
    fn what_is_wrong_in_the_table_is_told_with_its_key() {
        let (_, problems) =
            read("[events]\nwon = 'purchase'\n\"a.b\" = 'Qualified Lead'\na.c = 'restatement'\na.d = 1");
        assert_eq!(problems.len(), 4, "{problems:?}");
        for (key, problem) in
            ["events.a.c: must be an event", "events.a.d: must be a text", "events.a.b: must be", "events.won: is no"]
                .iter()
                .map(|key| (key, problems.iter().find(|problem| problem.starts_with(key))))
        {
            assert!(problem.is_some(), "{key}: {problems:?}");
        }
    }

    #[test]
    fn worth_is_exact_or_left_out() {
        let of = |event: &str, amount: Value, code: &str| {
            let mut draft = step(event, "Test");
            worth(&mut draft, &amount, Currency::parse(code).ok());
            draft.value.map(|value| format!("{value} {}", draft.currency.unwrap_or_default()))
        };
        assert_eq!(of("purchase", json!("1250.500"), "KWD").as_deref(), Some("1250.500 KWD"));
        assert_eq!(of("purchase", json!(98_000), "jpy").as_deref(), Some("98000 JPY"));
        for (amount, code) in [(json!("x"), "EUR"), (json!(-1), "EUR"), (json!(1), ""), (json!(null), "EUR")] {
            assert_eq!(of("purchase", amount, code), None);
        }
        assert_eq!((of(LOST, json!(1), "EUR"), of("qualify_lead", json!(0), "EUR")), (None, None));
        assert_eq!(of("purchase", json!(0), "EUR").as_deref(), Some("0 EUR"));
    }
}
