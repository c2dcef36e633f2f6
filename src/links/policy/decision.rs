//! What people decide about UTM values while the relay runs: aliases, further values, campaigns.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{
    Campaign, Field, Policy, VALUE_CHARS_MAX, builtin, clean, fold,
    rules::{Alias, Origin, Rules},
};
use crate::{links::contact, model::Problem};

/// One decision, as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Decision {
    /// Another name of a value.
    Alias {
        /// Of which field.
        field: Field,
        /// The name.
        from: String,
        /// The value.
        to: String,
    },
    /// An alias that is configured or built in holds no longer.
    NoAlias {
        /// Of which field.
        field: Field,
        /// The name.
        from: String,
    },
    /// A value may be used from now on.
    Value {
        /// Of which field.
        field: Field,
        /// The value.
        value: String,
    },
    /// A campaign may be used from now on; in place of what was said of it before.
    Campaign {
        /// Its name.
        name: String,
        /// What is known of it.
        #[serde(default)]
        campaign: Campaign,
    },
}

/// What a decision is kept under: a later one about the same takes its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecisionKey {
    /// `alias`, `value` or `campaign`.
    pub shelf: &'static str,
    /// `source/ig`, or the name of the campaign; folded.
    pub key: String,
}

impl DecisionKey {
    /// Where decisions are kept.
    pub const SHELVES: [&'static str; 3] = ["alias", "value", "campaign"];

    /// That of what was decided about an alias.
    #[must_use]
    pub fn alias(field: Field, from: &str) -> Self {
        Self { shelf: "alias", key: format!("{}/{}", field.as_str(), fold(from)) }
    }

    /// That of a value.
    #[must_use]
    pub fn value(field: Field, value: &str) -> Self {
        Self { shelf: "value", key: format!("{}/{}", field.as_str(), fold(value)) }
    }

    /// That of a campaign.
    #[must_use]
    pub fn campaign(name: &str) -> Self {
        Self { shelf: "campaign", key: fold(name) }
    }
}

impl fmt::Display for DecisionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.shelf, self.key)
    }
}

impl Decision {
    /// What it is kept under.
    #[must_use]
    pub fn key(&self) -> DecisionKey {
        match self {
            Self::Alias { field, from, .. } | Self::NoAlias { field, from } => DecisionKey::alias(*field, from),
            Self::Value { field, value } => DecisionKey::value(*field, value),
            Self::Campaign { name, .. } => DecisionKey::campaign(name),
        }
    }
}

/// `text` as a value that can be registered.
pub(super) fn sound(text: &str) -> Result<(), String> {
    if clean(text).is_empty() {
        return Err("must not be empty".to_owned());
    }
    if text.chars().count() > VALUE_CHARS_MAX {
        return Err(format!("must have at most {VALUE_CHARS_MAX} characters"));
    }
    if text.chars().any(char::is_control) {
        return Err("must not contain control characters".to_owned());
    }
    if contact::holds(text) {
        return Err("must not contain contact data: UTM values are stored and shown in clear".to_owned());
    }
    Ok(())
}

impl Policy {
    /// Whether `decision` can be made on top of this policy.
    ///
    /// # Errors
    /// The field of the decision that is wrong, and why.
    pub fn allows(&self, decision: &Decision) -> Result<(), Problem> {
        let wrong = |key: &str, why: &str| Err(Problem::new(key, why));
        let text = |key: &str, text: &str| sound(text).map_err(|why| Problem::new(key, why));
        match decision {
            Decision::Alias { field, from, to } => {
                text("from", from)?;
                text("to", to)?;
                let (rules, from, to) = (self.rules(*field), fold(from), fold(to));
                if from == to {
                    return wrong("to", "is the same value: case, spaces and delimiters do not tell values apart");
                }
                if rules.would_circle(&from, &to) {
                    return wrong(
                        "to",
                        "is itself called by the name given in from, so that neither would be the value",
                    );
                }
                if rules.closed && !rules.has(&rules.end_from(&to)) {
                    return wrong(
                        "to",
                        "is none of the values of this field; register it first, or choose one of them",
                    );
                }
                Ok(())
            }
            Decision::NoAlias { field, from } => {
                let from = fold(from);
                if !self.rules(*field).aliases.contains_key(&from) && builtin::alias(*field, &from).is_none() {
                    return wrong("from", "is no alias of this field");
                }
                Ok(())
            }
            Decision::Value { field, value } => {
                text("value", value)?;
                self.spelled_well(*field, value).map_err(|why| Problem::new("value", why))
            }
            Decision::Campaign { name, campaign } => {
                text("name", name)?;
                self.spelled_well(Field::Campaign, name).map_err(|why| Problem::new("name", why))?;
                campaign.checked()
            }
        }
    }

    /// This policy with what was decided besides. What contradicts it by now, such as an alias that the configuration
    /// has the other way round, is left out; how many did.
    #[must_use]
    pub fn with(&self, decisions: &[Decision]) -> (Self, usize) {
        let mut policy = self.clone();
        let mut left_out = 0;
        // Values first: an alias may be of one that was registered later.
        let aliases = |decision: &&Decision| matches!(decision, Decision::Alias { .. } | Decision::NoAlias { .. });
        let (later, first): (Vec<&Decision>, Vec<&Decision>) = decisions.iter().partition(aliases);
        for decision in first {
            left_out += usize::from(!policy.add(decision));
        }
        // One that takes an alias out may make room for another.
        let removals = |decision: &&&Decision| matches!(decision, Decision::NoAlias { .. });
        for decision in later.iter().filter(removals).chain(later.iter().filter(|decision| !removals(decision))) {
            left_out += usize::from(!policy.add(decision));
        }
        left_out += policy.fields.iter_mut().map(Rules::drop_lost).sum::<usize>();
        policy.compile();
        (policy, left_out)
    }

    /// Whether `decision` could be added. What an alias comes to is seen when all are there.
    fn add(&mut self, decision: &Decision) -> bool {
        let allowed = match decision {
            Decision::Alias { field, from, to } => {
                let (from, to) = (fold(from), fold(to));
                from != to && !self.rules(*field).would_circle(&from, &to) && sound(&from).and(sound(&to)).is_ok()
            }
            other => self.allows(other).is_ok(),
        };
        if !allowed {
            return false;
        }
        match decision {
            Decision::Alias { field, from, to } => {
                let alias = Alias { from: clean(from), to: clean(to), origin: Origin::Decided };
                self.fields[field.index()].aliases.insert(fold(from), alias);
            }
            Decision::NoAlias { field, from } => {
                let rules = &mut self.fields[field.index()];
                rules.aliases.remove(&fold(from));
                rules.dropped.insert(fold(from));
            }
            Decision::Value { field, value } => self.register(*field, value),
            Decision::Campaign { name, campaign } => self.register_campaign(name, campaign.clone()),
        }
        true
    }

    pub(super) fn register(&mut self, field: Field, value: &str) {
        self.fields[field.index()].add(value);
    }

    pub(super) fn register_campaign(&mut self, name: &str, campaign: Campaign) {
        self.register(Field::Campaign, name);
        self.campaigns.insert(fold(name), (clean(name), campaign));
    }

    /// Works out what follows from values and aliases.
    pub(super) fn compile(&mut self) {
        for field in Field::ALL {
            let mut rules = std::mem::take(&mut self.fields[field.index()]);
            rules.compile(|text| self.tidy(field, text));
            self.fields[field.index()] = rules;
        }
    }

    /// Whether a value that is to be registered keeps the rules of spelling itself.
    pub(super) fn spelled_well(&self, field: Field, value: &str) -> Result<(), String> {
        let tidy = self.tidy(field, value);
        if tidy == value {
            return Ok(());
        }
        let lower = if self.lowercase { "in lower case" } else { "" };
        let delimiter = self.delimiter.filter(|_| field.is_utm());
        let delimiter = delimiter.map(|d| format!("with {d} between words")).unwrap_or_default();
        let rules: Vec<&str> =
            [lower, &delimiter, "without space around it"].into_iter().filter(|rule| !rule.is_empty()).collect();
        Err(format!("must be written as the policy wants values: {}", rules.join(", ")))
    }
}

impl Campaign {
    /// Whether everything said of it can be.
    pub(super) fn checked(&self) -> Result<(), Problem> {
        let texts = [("offer", &self.offer, 120), ("owner", &self.owner, 120), ("note", &self.note, 1000)];
        for (key, text, chars_max) in texts {
            contact::free_text(text.as_deref().unwrap_or_default(), chars_max).map_err(|why| Problem::new(key, why))?;
        }
        for (key, day) in [("from", &self.from), ("until", &self.until)] {
            if day.as_deref().is_some_and(|day| !is_day(day)) {
                return Err(Problem::new(key, "must be a day such as 2026-11-20"));
            }
        }
        match (&self.from, &self.until) {
            (Some(from), Some(until)) if until < from => Err(Problem::new("until", "must not be before from")),
            _ => Ok(()),
        }
    }
}

/// Whether `text` is a day of the calendar.
fn is_day(text: &str) -> bool {
    text.len() == 10 && text.parse::<jiff::civil::Date>().is_ok_and(|day| day.to_string() == text)
}
