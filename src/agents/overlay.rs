//! The operator's own list of machines, in the form of `crawler-user-agents.json`: an array of objects with a `pattern`
//! (a regular expression) and `tags`. Whatever else they hold is left alone, so that the published file can be used as it is.
//! Source: <https://github.com/monperrus/crawler-user-agents>, read 2026-11-20.

use std::borrow::Cow;

use regex::{RegexSet, RegexSetBuilder};
use serde::Deserialize;

use super::Category;

/// The longest list in bytes. The published one has about 550 KB.
pub const OVERLAY_BYTES_MAX: usize = 4 * 1024 * 1024;
/// The most entries. The published one has about 1,500.
pub const OVERLAY_ENTRIES_MAX: usize = 5_000;
/// The longest pattern in bytes.
const PATTERN_MAX: usize = 512;
/// What one pattern may take when compiled, and what all of them together may take, in bytes.
const PATTERN_SIZE_MAX: usize = 256 * 1024;
const LIST_SIZE_MAX: usize = 16 * 1024 * 1024;
/// The tag of an entry whose user agents are people's, whatever any list says.
const PERSON: &str = "human";

/// One entry, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OverlayEntry {
    pattern: String,
    name: String,
    kind: Kind,
}

/// What an entry says of the user agents it matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Person,
    Machine(Option<Category>),
}

/// Why a list cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OverlayError {
    /// Longer than [`OVERLAY_BYTES_MAX`].
    #[error("the list has {0} bytes, more than {OVERLAY_BYTES_MAX}")]
    TooLong(usize),
    /// More entries than [`OVERLAY_ENTRIES_MAX`].
    #[error("the list has {0} entries, more than {OVERLAY_ENTRIES_MAX}")]
    TooMany(usize),
    /// No array of JSON.
    #[error("the list is not a JSON array (line {line}, column {column})")]
    NotAnArray {
        /// Where reading stopped.
        line: usize,
        /// Where in that line.
        column: usize,
    },
    /// An entry of another form.
    #[error("entry {0} (from 0) is not an object with a text `pattern` and an array of texts `tags`")]
    Shape(usize),
    /// An entry without a pattern, or with one that matches everything.
    #[error("entry {0} (from 0): its `pattern` matches an empty text, so it would match every user agent")]
    MatchesAll(usize),
    /// A pattern that is too long.
    #[error("entry {0} (from 0): its `pattern` is longer than {PATTERN_MAX} bytes")]
    PatternTooLong(usize),
    /// No regular expression, or one that compiles to too much.
    #[error("entry {0} (from 0): its `pattern` is not a regular expression of the `regex` crate, or is too large")]
    Pattern(usize),
    /// Each compiles, all of them are too much.
    #[error("the patterns together are too large when compiled; use fewer repetitions or fewer entries")]
    Together,
}

/// What is read of an entry.
#[derive(Deserialize)]
struct Written {
    pattern: String,
    #[serde(default)]
    tags: Vec<String>,
}

/// Reads a list.
///
/// `tags` may hold the published file's tags or the names of [`Category`], the first known one counts; `human` says that what
/// matches is a person's browser, even if our own table takes it for a machine.
///
/// # Errors
/// [`OverlayError`], with the index of the first entry that is wrong.
pub fn parse_overlay(text: &str) -> Result<Vec<OverlayEntry>, OverlayError> {
    if text.len() > OVERLAY_BYTES_MAX {
        return Err(OverlayError::TooLong(text.len()));
    }
    let values: Vec<serde_json::Value> = serde_json::from_str(text)
        .map_err(|error| OverlayError::NotAnArray { line: error.line(), column: error.column() })?;
    if values.len() > OVERLAY_ENTRIES_MAX {
        return Err(OverlayError::TooMany(values.len()));
    }
    let entries = values.into_iter().enumerate().map(|(index, value)| {
        let written = Written::deserialize(value).map_err(|_| OverlayError::Shape(index))?;
        entry(index, written)
    });
    entries.collect()
}

/// The entry of `written`, which stands at `index`.
fn entry(index: usize, written: Written) -> Result<OverlayEntry, OverlayError> {
    if written.pattern.len() > PATTERN_MAX {
        return Err(OverlayError::PatternTooLong(index));
    }
    let pattern = regex::RegexBuilder::new(&written.pattern)
        .size_limit(PATTERN_SIZE_MAX)
        .build()
        .map_err(|_| OverlayError::Pattern(index))?;
    if pattern.is_match("") {
        return Err(OverlayError::MatchesAll(index));
    }
    let kind = if written.tags.iter().any(|tag| tag == PERSON) {
        Kind::Person
    } else {
        Kind::Machine(written.tags.iter().find_map(|tag| category(tag)))
    };
    Ok(OverlayEntry { name: name(&written.pattern), pattern: written.pattern, kind })
}

/// The category of a tag: ours by their names, those of the published list by what they mean there.
fn category(tag: &str) -> Option<Category> {
    let published = match tag {
        "search-engine" => Some(Category::Search),
        "social-preview" => Some(Category::SocialPreview),
        "ai-crawler" => Some(Category::AiCrawler),
        "feed-reader" => Some(Category::Feed),
        "http-library" => Some(Category::HttpLibrary),
        "browser-automation" => Some(Category::Automation),
        "academic" => Some(Category::Other),
        _ => None,
    };
    published.or_else(|| Category::ALL.into_iter().find(|category| category.as_str() == tag))
}

/// A pattern as a name: without what only a regular expression needs.
fn name(pattern: &str) -> String {
    let mut name = String::new();
    let mut rest = pattern.chars();
    while let Some(c) = rest.next() {
        match c {
            // `[wW]get` is called `wget`.
            '[' => name.extend(rest.by_ref().take_while(|c| *c != ']').collect::<Vec<_>>().first()),
            c if c.is_alphanumeric() || matches!(c, ' ' | '-' | '_' | '.' | '!') => name.push(c),
            _ => {}
        }
    }
    let name: String = name.trim().chars().take(64).collect();
    if name.is_empty() { "unnamed".to_owned() } else { name }
}

/// A list, compiled.
#[derive(Clone, Debug, Default)]
pub(super) struct Overlay {
    set: RegexSet,
    entries: Vec<OverlayEntry>,
}

/// What the list says of a user agent.
pub(super) enum Listed {
    Person,
    Machine { product: Cow<'static, str>, category: Option<Category> },
}

impl Overlay {
    pub(super) fn new(entries: Vec<OverlayEntry>) -> Result<Self, OverlayError> {
        let patterns = entries.iter().map(|entry| &entry.pattern);
        let set =
            RegexSetBuilder::new(patterns).size_limit(LIST_SIZE_MAX).build().map_err(|_| OverlayError::Together)?;
        Ok(Self { set, entries })
    }

    /// What the list says of `text`: a person's if one entry says so, else what the first entry says that knows a kind.
    pub(super) fn find(&self, text: &str) -> Option<Listed> {
        if self.entries.is_empty() || !self.set.is_match(text) {
            return None;
        }
        let matched: Vec<&OverlayEntry> = self.set.matches(text).iter().map(|index| &self.entries[index]).collect();
        if matched.iter().any(|entry| entry.kind == Kind::Person) {
            return Some(Listed::Person);
        }
        let known = matched.iter().find(|entry| !matches!(entry.kind, Kind::Machine(None)));
        let entry = known.or(matched.first())?;
        let Kind::Machine(category) = entry.kind else { return Some(Listed::Person) };
        Some(Listed::Machine { product: Cow::Owned(entry.name.clone()), category })
    }
}
