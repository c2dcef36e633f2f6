//! The values of one field, and what else they are called.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
};

use serde::Serialize;

use super::{
    pattern::Pattern,
    spelling::{clean, fold},
};

/// Where an alias comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Origin {
    /// `builtin`.
    BuiltIn,
    /// `[utm]`.
    Configured,
    /// Decided while the relay ran.
    Decided,
}

/// Another name of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Alias {
    /// As it was written.
    pub(super) from: String,
    /// The value, or another alias of it.
    pub(super) to: String,
    pub(super) origin: Origin,
}

/// What is ruled of one field.
#[derive(Clone, Debug, Default)]
pub(super) struct Rules {
    /// Only known values may be used.
    pub(super) closed: bool,
    /// Values in the order they were registered, each behind what is folded of it.
    values: Vec<(String, String)>,
    /// What is folded of them.
    folded: BTreeSet<String>,
    /// By what is folded of their names.
    pub(super) aliases: BTreeMap<String, Alias>,
    /// Aliases that do not hold although they are built in.
    pub(super) dropped: BTreeSet<String>,
    pub(super) pattern: Option<Pattern>,
    /// How each known value is spelled, by what is folded of it. Made of the others.
    known: BTreeMap<String, String>,
    /// What each alias comes to in the end, by what is folded of it. Made of the others.
    resolved: BTreeMap<String, String>,
}

impl Rules {
    /// What a folded value is called, if it is an alias or a known value.
    pub(super) fn named(&self, folded: &str) -> Option<&str> {
        self.resolved.get(folded).or_else(|| self.known.get(folded)).map(String::as_str)
    }

    /// The values that may be used: those that are called something else by now are not among them.
    pub(super) fn accepted(&self) -> impl Iterator<Item = &str> {
        let current = self.values.iter().filter(|(folded, _)| !self.aliases.contains_key(folded));
        current.map(|(_, value)| value.as_str())
    }

    /// Whether a value was registered, whatever it is called by now.
    pub(super) fn has(&self, folded: &str) -> bool {
        self.folded.contains(folded)
    }

    /// Registers a value, unless it is.
    pub(super) fn add(&mut self, value: &str) {
        let folded = fold(value);
        if self.folded.insert(folded.clone()) {
            self.values.push((folded, clean(value)));
        }
    }

    /// Whether an alias `from` → `to`, both folded, would lead back to itself.
    pub(super) fn would_circle(&self, from: &str, to: &str) -> bool {
        let mut at = to.to_owned();
        // Without a circle so far, no way is longer than there are aliases.
        for _ in 0..=self.aliases.len() {
            if at == from {
                return true;
            }
            match self.aliases.get(&at) {
                Some(alias) => at = fold(&alias.to),
                None => return false,
            }
        }
        true
    }

    /// Takes out what was decided and stands for none of the values, where only those may be used; how many there were.
    pub(super) fn drop_lost(&mut self) -> usize {
        if !self.closed {
            return 0;
        }
        let decided = self.aliases.iter().filter(|(_, alias)| alias.origin == Origin::Decided);
        let lost = decided.filter(|(from, _)| !self.has(&self.end_from(from))).map(|(from, _)| from.clone());
        let lost: Vec<String> = lost.collect();
        for from in &lost {
            self.aliases.remove(from);
        }
        lost.len()
    }

    /// Works out what each value is called, after anything has changed. `tidy` spells what has no spelling of its own.
    pub(super) fn compile(&mut self, tidy: impl Fn(&str) -> String) {
        self.known.clear();
        self.known.extend(self.values.iter().cloned());
        let ends: Vec<(String, String)> =
            self.aliases.keys().filter_map(|from| Some((from.clone(), self.end_of(from)?.to_owned()))).collect();
        for (_, end) in &ends {
            self.known.entry(fold(end)).or_insert_with(|| tidy(end));
        }
        let spelled = |(from, end): (String, String)| {
            let spelled = self.known.get(&fold(&end)).cloned();
            (from, spelled.unwrap_or(end))
        };
        self.resolved = ends.into_iter().map(spelled).collect();
    }

    /// What a folded name comes to, folded: itself if it is no alias.
    pub(super) fn end_from<'a>(&'a self, folded: &'a str) -> Cow<'a, str> {
        self.end_of(folded).map_or(Cow::Borrowed(folded), |end| Cow::Owned(fold(end)))
    }

    /// What an alias comes to; `None` if it never ends, which [`Rules::would_circle`] keeps from being.
    fn end_of(&self, from: &str) -> Option<&str> {
        let mut alias = self.aliases.get(from)?;
        for _ in 0..self.aliases.len() {
            match self.aliases.get(&fold(&alias.to)) {
                Some(next) => alias = next,
                None => return Some(&alias.to),
            }
        }
        None
    }
}
