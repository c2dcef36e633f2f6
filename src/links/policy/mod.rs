//! The policy of UTM values: which there are, how they are spelled, what else they are called. The same rules hold where
//! links are made, where visits come in, and in reports.
//!
//! What somebody wrote is kept as it is. How it counts is worked out whenever it is read ([`Policy::normal`]), so that an
//! alias that is added today also groups last month's rows anew. Click ids are no UTM values: nothing here touches them.
//!
//! Without `[utm]` nothing is refused; lower case and a few well-known aliases (`builtin`) hold for what is shown.

mod builtin;
mod check;
mod decision;
mod field;
mod nearest;
mod pattern;
mod read;
mod referrer;
mod rules;
mod spelling;
#[cfg(test)]
mod tests;

use std::{borrow::Cow, collections::BTreeMap};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

pub use self::{
    check::{Broken, Judgement, Offers, Rule},
    decision::{Decision, DecisionKey},
    field::Field,
    pattern::{Pattern, Segment},
};
use self::{
    rules::Rules,
    spelling::{clean, fold, joined, lower},
};
use crate::model::Utm;

/// The most characters of a value; what is longer is no value.
pub const VALUE_CHARS_MAX: usize = 120;

/// What becomes of a link that breaks a rule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnViolation {
    /// It is refused, unless an exception is asked for.
    #[default]
    Refuse,
    /// It waits for somebody to approve it.
    Pending,
}

/// A campaign that was registered before it began.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Campaign {
    /// What it offers: links of another offer cannot use it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offer: Option<String>,
    /// Who decides about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// Whatever there is to remember.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// Its first day, `2026-11-20`, in UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Its last day, in UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
}

/// Which UTM values there are, and how they are spelled.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Whether there is an `[utm]` at all: without it, nothing is a rule.
    stated: bool,
    lowercase: bool,
    delimiter: Option<char>,
    required: Vec<Field>,
    require_goal: bool,
    require_variant: bool,
    require_owner: bool,
    values_max_chars: usize,
    builtin: bool,
    on_violation: OnViolation,
    /// By [`Field::index`].
    fields: [Rules; Field::ALL.len()],
    /// Only registered campaigns may be used.
    registered: bool,
    /// By their folded names, with how they are spelled.
    campaigns: BTreeMap<String, (String, Campaign)>,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            stated: false,
            lowercase: true,
            delimiter: None,
            required: Vec::new(),
            require_goal: false,
            require_variant: false,
            require_owner: false,
            values_max_chars: VALUE_CHARS_MAX,
            builtin: true,
            on_violation: OnViolation::Refuse,
            fields: Default::default(),
            registered: false,
            campaigns: BTreeMap::new(),
        }
    }
}

impl Policy {
    /// The default rules as rules, for checking links where nothing is configured: lower case, one offer for a campaign.
    #[must_use]
    pub fn of_the_house() -> Self {
        Self { stated: true, ..Self::default() }
    }

    fn rules(&self, field: Field) -> &Rules {
        &self.fields[field.index()]
    }

    /// How a value counts: its alias resolved, spelled as the policy spells it. Doing it twice changes nothing.
    #[must_use]
    pub fn normal<'a>(&'a self, field: Field, raw: &'a str) -> Cow<'a, str> {
        let folded = fold(raw);
        if let Some(normal) = self.named(field, &folded) {
            return Cow::Borrowed(normal);
        }
        let tidy = self.tidy(field, raw);
        if tidy == raw { Cow::Borrowed(raw) } else { Cow::Owned(tidy) }
    }

    /// The five UTM values, each as it counts. An empty one is none.
    #[must_use]
    pub fn normalise(&self, utm: &Utm) -> Utm {
        let normal = |field: Field| {
            let value = self.normal(field, field.of_utm(utm)?).into_owned();
            Some(value).filter(|value| !value.is_empty())
        };
        Utm {
            source: normal(Field::Source),
            medium: normal(Field::Medium),
            campaign: normal(Field::Campaign),
            content: normal(Field::Content),
            term: normal(Field::Term),
        }
    }

    /// What a folded value is called, if it is an alias or has a spelling of its own.
    fn named(&self, field: Field, folded: &str) -> Option<&str> {
        if let Some(named) = self.rules(field).named(folded) {
            return Some(named);
        }
        let target = builtin::alias(field, folded).filter(|_| self.holds(field, folded))?;
        // What everybody calls so may have another name here.
        Some(self.rules(field).named(target).unwrap_or(target))
    }

    /// Whether a built-in alias holds.
    fn holds(&self, field: Field, folded: &str) -> bool {
        self.builtin && !self.rules(field).dropped.contains(folded)
    }

    /// A value in the spelling that all values have.
    fn tidy(&self, field: Field, raw: &str) -> String {
        let clean = clean(raw);
        let clean = if self.lowercase { lower(&clean) } else { clean };
        match self.delimiter.filter(|_| field.is_utm()) {
            Some(delimiter) => joined(&clean, delimiter),
            None => clean,
        }
    }

    /// Whether a value was registered: it is configured, was added later, names a campaign, is an alias of such a one, or is
    /// made by the field's pattern. An alias that is built in makes a value known only if nothing else is said of the field.
    #[must_use]
    pub fn is_known(&self, field: Field, raw: &str) -> bool {
        let folded = fold(raw);
        let rules = self.rules(field);
        if rules.named(&folded).is_some() {
            return true;
        }
        let target = builtin::alias(field, &folded).filter(|_| self.holds(field, &folded));
        if let Some(target) = target {
            return !rules.closed || rules.named(target).is_some();
        }
        if !rules.closed && self.builtin && builtin::well_known(field).any(|known| known == folded) {
            return true;
        }
        let fits = |pattern: &Pattern| pattern.misfits(&self.tidy(field, raw)).is_empty();
        !rules.closed && rules.pattern.as_ref().is_some_and(fits)
    }

    /// Whether it is of interest that a value of this field was never registered: any name of a source, medium or campaign,
    /// and of the others if values are named.
    #[must_use]
    pub fn is_governed(&self, field: Field) -> bool {
        let rules = self.rules(field);
        let named = rules.closed || rules.pattern.is_some() || rules.accepted().next().is_some();
        named || matches!(field, Field::Source | Field::Medium | Field::Campaign)
    }

    /// Whether only [`Policy::accepted`] values may be used.
    #[must_use]
    pub fn is_closed(&self, field: Field) -> bool {
        self.rules(field).closed
    }

    /// The values that are registered, in the order they are configured; those added later behind them.
    pub fn accepted(&self, field: Field) -> impl Iterator<Item = &str> {
        self.rules(field).accepted()
    }

    /// The known value that somebody may have meant; an alias stands for its value.
    #[must_use]
    pub fn nearest<'a>(&'a self, field: Field, raw: &str) -> Option<&'a str> {
        let rules = self.rules(field);
        let suggests = self.builtin && !rules.closed;
        let common = builtin::well_known(field).filter(|_| suggests).map(|known| -> &'a str { known });
        let aliases = rules.aliases.values().map(|alias| alias.from.as_str());
        let found = nearest::nearest(raw, rules.accepted().chain(common).chain(aliases))?;
        Some(self.named(field, &fold(found)).unwrap_or(found))
    }

    /// What the names of a field are made of.
    #[must_use]
    pub fn pattern(&self, field: Field) -> Option<&Pattern> {
        self.rules(field).pattern.as_ref()
    }

    /// The name that these segments make, spelled by the policy.
    ///
    /// # Errors
    /// What is wrong with which segment. A field without a pattern has no segments: nothing can be composed.
    pub fn compose(&self, field: Field, segments: &BTreeMap<String, String>) -> Result<String, Vec<Broken>> {
        let Some(pattern) = self.pattern(field) else {
            return Err(vec![Broken::new(Rule::Pattern, field.as_str(), "has no pattern to compose a name by")]);
        };
        let spelled = |name: &str| {
            let clean = clean(segments.get(name)?);
            Some(if self.lowercase { lower(&clean) } else { clean })
        };
        let unknown = segments.keys().any(|name| pattern.segments().iter().all(|segment| segment.name != *name));
        if unknown {
            let message = format!("has no such segment; its names are {}", pattern.written());
            return Err(vec![Broken::new(Rule::Pattern, field.as_str(), message)]);
        }
        let named = |(_, misfit)| Broken::of_misfit(field, misfit);
        pattern.compose(spelled).map_err(|misfits| misfits.into_iter().map(named).collect())
    }

    /// A registered campaign, and how it is spelled.
    #[must_use]
    pub fn campaign(&self, raw: &str) -> Option<(&str, &Campaign)> {
        let normal = fold(&self.normal(Field::Campaign, raw));
        self.campaigns.get(&normal).map(|(name, campaign)| (name.as_str(), campaign))
    }

    /// What becomes of a link that breaks a rule.
    #[must_use]
    pub const fn on_violation(&self) -> OnViolation {
        self.on_violation
    }

    /// Everything that is in force, to be shown.
    #[must_use]
    pub fn shown(&self) -> Value {
        let field = |field: Field| {
            let rules = self.rules(field);
            let own = rules.aliases.values().map(|alias| {
                let to = self.normal(field, &alias.from);
                json!({ "from": alias.from, "to": to, "origin": alias.origin })
            });
            let builtin =
                builtin::aliases(field).filter(|(from, _)| self.holds(field, from) && rules.named(from).is_none());
            let builtin = builtin.map(
                |(from, _)| json!({ "from": from, "to": self.normal(field, from), "origin": rules::Origin::BuiltIn }),
            );
            let segments = |pattern: &Pattern| -> Vec<Value> {
                let shown = |segment: &Segment| json!({ "name": segment.name, "values": segment.values });
                pattern.segments().iter().map(shown).collect()
            };
            let shown = json!({
                "values": self.accepted(field).collect::<Vec<_>>(),
                "closed": rules.closed,
                "aliases": own.chain(builtin).collect::<Vec<_>>(),
                "pattern": rules.pattern.as_ref().map(Pattern::written),
                "segments": rules.pattern.as_ref().map(segments),
            });
            (field.as_str().to_owned(), shown)
        };
        let campaigns: serde_json::Map<String, Value> =
            self.campaigns.values().map(|(name, campaign)| (name.clone(), json!(campaign))).collect();
        json!({
            "stated": self.stated,
            "lowercase": self.lowercase,
            "delimiter": self.delimiter,
            "required": self.required,
            "require_goal": self.require_goal,
            "require_variant": self.require_variant,
            "require_owner": self.require_owner,
            "values_max_chars": self.values_max_chars,
            "on_violation": self.on_violation,
            "builtin_aliases": self.builtin,
            "campaigns_registered": self.registered,
            "campaigns": campaigns,
            "fields": Field::ALL.into_iter().map(field).collect::<serde_json::Map<_, _>>(),
        })
    }
}
