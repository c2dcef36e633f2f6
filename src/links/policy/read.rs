//! The policy as `[utm]` has it.

use std::collections::BTreeMap;

use super::{
    Campaign, Field, OnViolation, Pattern, Policy, VALUE_CHARS_MAX, clean,
    decision::sound,
    fold,
    rules::{Alias, Origin, Rules},
};
use crate::model::Settings;

/// Values of one field, and campaigns, that can be configured.
const VALUES_MAX: usize = 10_000;

impl Policy {
    /// Reads `[utm]`. Whatever is wrong is noted in `section`, each with its key.
    pub fn read(section: &mut Settings) -> Self {
        let mut policy = Self { stated: !section.names().is_empty(), ..Self::default() };
        policy.lowercase = section.flag("lowercase").unwrap_or(true);
        policy.delimiter = section.parsed("delimiter", "\"-\" or \"_\"", |text| match text {
            "-" => Some('-'),
            "_" => Some('_'),
            _ => None,
        });
        let fields = Field::ALL.map(Field::as_str).join(", ");
        policy.required = section.list("required", &format!("one of {fields}"), Field::parse).unwrap_or_default();
        policy.require_goal = section.flag("require_goal").unwrap_or(false);
        policy.require_variant = section.flag("require_variant").unwrap_or(false);
        policy.require_owner = section.flag("require_owner").unwrap_or(false);
        let chars = section.number("values_max_chars", 1..=VALUE_CHARS_MAX);
        policy.values_max_chars = chars.unwrap_or(VALUE_CHARS_MAX);
        policy.builtin = section.flag("builtin_aliases").unwrap_or(true);
        let on_violation = section.parsed("on_violation", "refuse or pending", |text| match text {
            "refuse" => Some(OnViolation::Refuse),
            "pending" => Some(OnViolation::Pending),
            _ => None,
        });
        policy.on_violation = on_violation.unwrap_or_default();
        for field in Field::ALL {
            section.section(field.as_str(), |section| policy.read_field(field, section));
        }
        section.section("campaigns", |section| policy.read_campaigns(section));
        // Both may name what stands in the other.
        policy.compile();
        for field in Field::ALL {
            policy.check_aliases(field, section);
        }
        policy.compile();
        policy
    }

    fn read_field(&mut self, field: Field, section: &mut Settings) {
        let values = section.list("values", "a value: a text that is not empty", |text| Some(text.to_owned()));
        let mut rules = Rules::default();
        rules.closed = values.is_some();
        if values.as_ref().is_some_and(Vec::is_empty) {
            section.problem("values", "must name at least one value; leave it out to allow any");
        }
        if values.as_ref().is_some_and(|values| values.len() > VALUES_MAX) {
            section.problem("values", format!("must have at most {VALUES_MAX} values"));
        }
        let mut seen: BTreeMap<String, usize> = BTreeMap::new();
        for (i, value) in values.unwrap_or_default().into_iter().take(VALUES_MAX).enumerate() {
            let spelled = sound(&value).and_then(|()| self.spelled_well(field, &value));
            if let Err(why) = spelled {
                section.problem(&format!("values[{i}]"), why);
            } else if let Some(first) = seen.insert(fold(&value), i) {
                let why = format!("differs from values[{first}] in case or delimiters only");
                section.problem(&format!("values[{i}]"), why);
            } else {
                rules.add(&value);
            }
        }
        const ALIASES: &str = "a table of other names and the values they stand for: { ig = \"instagram\" }";
        let aliases = section.table("aliases", ALIASES, |aliases| {
            let mut read = BTreeMap::new();
            for from in aliases.names() {
                let Some(to) = aliases.text(&from) else { continue };
                match sound(&from).and_then(|()| sound(&to)) {
                    Ok(()) => {
                        let alias = Alias { from: clean(&from), to: clean(&to), origin: Origin::Configured };
                        read.insert(fold(&from), alias);
                    }
                    Err(why) => aliases.problem(&from, why),
                }
            }
            read
        });
        rules.aliases = aliases.unwrap_or_default();
        rules.pattern = self.read_pattern(section);
        if field == Field::Campaign {
            self.registered = section.flag("registered").unwrap_or(false);
            rules.closed |= self.registered;
        }
        self.fields[field.index()] = rules;
    }

    fn read_pattern(&self, section: &mut Settings) -> Option<Pattern> {
        let delimiter = self.delimiter;
        let mut why = String::new();
        let orphans = section.has("segments") && !section.has("pattern");
        let text = section.text("pattern");
        let mut pattern = text.and_then(|text| Pattern::read(&text, delimiter).map_err(|told| why = told).ok());
        if !why.is_empty() {
            section.problem("pattern", why);
        }
        const SEGMENTS: &str = "a table of the pattern's segments and what each may be: { audience = [\"new\"] }";
        section.table("segments", SEGMENTS, |section| {
            let Some(pattern) = &mut pattern else {
                section.rest();
                return;
            };
            let between = pattern.delimiter;
            for segment in &mut pattern.segments {
                let expected =
                    format!("a text without {between}, which stands between segments, spelled as all values");
                let sound = |text: &str| {
                    let spelled = !text.contains(between) && self.tidy(Field::Campaign, text) == text;
                    (spelled && sound(text).is_ok()).then(|| text.to_owned())
                };
                segment.values = section.list(&segment.name, &expected, sound).unwrap_or_default();
            }
        });
        if orphans {
            section.problem("segments", "need a pattern that they are of");
        }
        pattern
    }

    fn read_campaigns(&mut self, section: &mut Settings) {
        let names = section.names();
        if names.len() > VALUES_MAX {
            section.problem("", format!("must be at most {VALUES_MAX} campaigns"));
        }
        for name in names {
            const WHAT: &str =
                "a table of what is known of the campaign: { offer = \"spring-sale\", owner = \"growth\" }";
            let campaign = section.table(&name, WHAT, |section| {
                let campaign = Campaign {
                    offer: section.text("offer"),
                    owner: section.text("owner"),
                    note: section.text("note"),
                    from: section.text("from"),
                    until: section.text("until"),
                };
                if let Err(problem) = campaign.checked() {
                    section.problem(&problem.key, problem.message);
                }
                campaign
            });
            let Some(campaign) = campaign else { continue };
            match sound(&name).and_then(|()| self.spelled_well(Field::Campaign, &name)) {
                Err(why) => section.problem(&name, format!("the name {why}")),
                Ok(()) if self.campaigns.contains_key(&fold(&name)) => {
                    section.problem(&name, "differs from another campaign in case or delimiters only");
                }
                Ok(()) => self.register_campaign(&name, campaign),
            }
        }
    }

    /// Takes the configured aliases of a field one by one, without those that cannot hold.
    fn check_aliases(&mut self, field: Field, section: &mut Settings) {
        let rules = &mut self.fields[field.index()];
        let given = std::mem::take(&mut rules.aliases);
        for (from, alias) in given {
            let key = format!("{}.aliases.{}", field.as_str(), alias.from);
            let to = fold(&alias.to);
            if from == to {
                // Says that a built-in one does not hold.
                rules.dropped.insert(from);
            } else if rules.has(&from) {
                section.problem(&key, "is one of the values itself; take it out of values, or leave the alias out");
            } else if rules.would_circle(&from, &to) {
                section.problem(&key, "leads back to itself: one of the names in this circle has to be the value");
            } else {
                rules.aliases.insert(from, alias);
            }
        }
        let lost = |alias: &&Alias| rules.closed && !rules.has(&rules.end_from(&fold(&alias.from)));
        let lost: Vec<String> = rules.aliases.values().filter(lost).map(|alias| alias.from.clone()).collect();
        for from in lost {
            let key = format!("{}.aliases.{from}", field.as_str());
            section.problem(&key, "stands for none of the values of this field; add its value, or choose one of them");
        }
    }
}
