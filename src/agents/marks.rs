//! Looking for many marks at once.

use std::{cmp::Reverse, collections::HashMap};

use regex::Regex;

/// Texts that may stand in a user agent, by what they mean. Earlier ones count more.
pub(super) struct Marks<T> {
    pattern: Regex,
    meanings: HashMap<&'static str, (usize, T)>,
}

impl<T: Copy> Marks<T> {
    /// Marks in lower case, each with its meaning, the one that counts most first.
    pub(super) fn new(marks: impl IntoIterator<Item = (&'static str, T)>) -> Self {
        let ranked = marks.into_iter().enumerate();
        let meanings: HashMap<&str, (usize, T)> =
            ranked.map(|(rank, (mark, meaning))| (mark, (rank, meaning))).collect();
        let mut texts: Vec<&str> = meanings.keys().copied().collect();
        // Of marks that begin at the same place the longest: `windows phone` before `windows`.
        texts.sort_by_key(|text| (Reverse(text.len()), *text));
        let texts: Vec<String> = texts.into_iter().map(regex::escape).collect();
        Self { pattern: Regex::new(&texts.join("|")).expect("escaped texts are a pattern"), meanings }
    }

    /// Whether `lower` holds one.
    pub(super) fn is_in(&self, lower: &str) -> bool {
        self.pattern.is_match(lower)
    }

    /// What the mark in `lower` that counts most means.
    pub(super) fn read(&self, lower: &str) -> Option<T> {
        let found = self.pattern.find_iter(lower).filter_map(|found| self.meanings.get(found.as_str()));
        found.min_by_key(|(rank, _)| *rank).map(|(_, meaning)| *meaning)
    }
}
