//! Which machine a user agent names: the published names first, then words that only machines use, then its shape.

use std::{borrow::Cow, collections::HashMap, fmt, sync::LazyLock};

use regex::Regex;
use serde::{Deserialize, Serialize};

use super::{generic, shape, table};

/// What kind of machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Category {
    /// A search engine.
    Search,
    /// Somebody shared the link, and the app or network shows what is behind it.
    SocialPreview,
    /// Collects texts and pictures to train or to feed a language model.
    AiCrawler,
    /// Fetches a page because somebody asks an assistant about it.
    AiAgent,
    /// Measures sites for search marketing.
    Seo,
    /// Looks whether a site is up and how fast.
    Monitoring,
    /// Reads feeds and podcasts.
    Feed,
    /// A library or tool that makes HTTP requests.
    HttpLibrary,
    /// A browser driven by a program.
    Automation,
    /// Looks for weak places, malware or stolen content.
    Scanner,
    /// Keeps or copies pages.
    Archiver,
    /// Checks or values advertisements.
    Advertising,
    /// Opens links of e-mails before the reader does.
    MailScanner,
    /// No user agent at all.
    NoUserAgent,
    /// A user agent that no browser sends.
    Malformed,
    /// A machine of another or unknown kind.
    Other,
}

impl Category {
    /// Every category.
    pub const ALL: [Self; 16] = [
        Self::Search,
        Self::SocialPreview,
        Self::AiCrawler,
        Self::AiAgent,
        Self::Seo,
        Self::Monitoring,
        Self::Feed,
        Self::HttpLibrary,
        Self::Automation,
        Self::Scanner,
        Self::Archiver,
        Self::Advertising,
        Self::MailScanner,
        Self::NoUserAgent,
        Self::Malformed,
        Self::Other,
    ];

    /// Its name in rows and reports.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Search => "search",
            Self::SocialPreview => "social_preview",
            Self::AiCrawler => "ai_crawler",
            Self::AiAgent => "ai_agent",
            Self::Seo => "seo",
            Self::Monitoring => "monitoring",
            Self::Feed => "feed",
            Self::HttpLibrary => "http_library",
            Self::Automation => "automation",
            Self::Scanner => "scanner",
            Self::Archiver => "archiver",
            Self::Advertising => "advertising",
            Self::MailScanner => "mail_scanner",
            Self::NoUserAgent => "no_user_agent",
            Self::Malformed => "malformed",
            Self::Other => "other",
        }
    }

    /// Whether it is the preview of a link that a person shared: no click, and no crawler that came by itself either.
    #[must_use]
    pub const fn is_preview(self) -> bool {
        matches!(self, Self::SocialPreview)
    }
}

impl fmt::Display for Category {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The machine that a user agent names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Automation {
    /// Its name: that of our table, or the word of the user agent that gave it away.
    pub product: Cow<'static, str>,
    /// Its kind.
    pub category: Category,
}

impl Automation {
    /// One with a name of ours.
    pub(super) const fn of(product: &'static str, category: Category) -> Self {
        Self { product: Cow::Borrowed(product), category }
    }
}

/// The machine that sent `text`; `lower` is the same in lower case.
pub(super) fn find(text: &str, lower: &str) -> Option<Automation> {
    if text.is_empty() {
        return Some(Automation::of("none", Category::NoUserAgent));
    }
    KNOWN.find(lower).or_else(|| generic::find(text, lower)).or_else(|| shape::find(text, lower))
}

/// The table, compiled.
static KNOWN: LazyLock<Known> = LazyLock::new(Known::new);

/// One alternation of all needles, and what each of them means.
struct Known {
    pattern: Regex,
    meaning: HashMap<&'static str, (&'static str, Category)>,
}

impl Known {
    fn new() -> Self {
        let (mut needles, mut meaning) = (Vec::new(), HashMap::new());
        for (category, products) in table::ALL {
            for (product, of_product) in *products {
                for needle in *of_product {
                    needles.push(*needle);
                    meaning.insert(unmarked(needle), (*product, *category));
                }
            }
        }
        // The longest first: of needles that match at the same place the earlier alternative wins.
        needles.sort_by_key(|needle| std::cmp::Reverse(needle.len()));
        Self { pattern: Regex::new(&pattern(&needles)).expect("every needle is escaped"), meaning }
    }

    /// The first product that `lower` names. Who uses a library says more than the library does.
    fn find(&self, lower: &str) -> Option<Automation> {
        let mut named = self.pattern.find_iter(lower).filter_map(|found| self.meaning.get(found.as_str()));
        let first = named.next()?;
        let who = |meaning: &&(&str, Category)| meaning.1 != Category::HttpLibrary;
        let (product, category) = Some(first).filter(who).or_else(|| named.find(who)).unwrap_or(first);
        Some(Automation::of(product, *category))
    }
}

/// One pattern for all needles of the table. A needle begins where a word begins, if it begins like a word; `^` in front ties
/// it to the beginning of the user agent, `$` at its end asks that its word ends there.
fn pattern(needles: &[&str]) -> String {
    let like_a_word = |needle: &str| needle.bytes().next().is_some_and(|first| first.is_ascii_alphanumeric());
    let (tied, free): (Vec<&str>, Vec<&str>) = needles.iter().partition(|needle| needle.starts_with('^'));
    let (words, signs): (Vec<&str>, Vec<&str>) = free.into_iter().partition(|needle| like_a_word(needle));
    let [tied, words, signs] =
        [tied, words, signs].map(|group| group.into_iter().map(literal).collect::<Vec<_>>().join("|"));
    format!(r"(?-u:\b)(?:{words})|(?:{signs})|^(?:{tied})")
}

/// The text of a needle, without its marks.
pub(super) fn unmarked(needle: &str) -> &str {
    needle.trim_start_matches('^').trim_end_matches('$')
}

/// The pattern of a needle, without what is in front.
fn literal(needle: &str) -> String {
    let escaped = regex::escape(unmarked(needle));
    if needle.ends_with('$') { escaped + r"(?-u:\b)" } else { escaped }
}
