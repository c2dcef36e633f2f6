//! Words that only machines use for themselves, and addresses to write to.

use std::{borrow::Cow, sync::LazyLock};

use regex::Regex;

use super::{Automation, Category};

/// Words of machines, wherever they stand, as patterns; what kind of machine says so.
const WORDS: &[(&str, Category)] = &[
    (r"bots?(?:[^a-z]|$)", Category::Other),
    (r"robot", Category::Other),
    (r"bot[_\-/.]", Category::Other),
    (r"crawl", Category::Other),
    (r"spider", Category::Other),
    (r"scrap(?:e|y|ing|per)", Category::Other),
    (r"fetch", Category::Other),
    (r"archiv", Category::Archiver),
    (r"headless", Category::Automation),
    (r"monitor", Category::Monitoring),
    (r"uptime", Category::Monitoring),
    (r"synthetic", Category::Monitoring),
    (r"(?:site|link|url|web|status|server|http)[ _-]?check", Category::Monitoring),
    (r"checker", Category::Monitoring),
    (r"validator", Category::HttpLibrary),
    (r"scan(?:ner|ning|[ /_-]|$)", Category::Scanner),
    (r"harvest", Category::Other),
    (r"grab(?:ber)?[ /_-]", Category::Other),
    (r"analy[sz](?:er|is|e)", Category::Seo),
    (r"ads?txt", Category::Advertising),
    (r"sitemap", Category::Seo),
    (r"screenshot", Category::Other),
    (r"thumb(?:nail|shot)", Category::Other),
];

/// Words that only tell a machine where nothing tells a browser: browsers carry the names of their extensions.
const WEAK: &[(&str, Category)] = &[
    (r"verif(?:y|ier|ication)", Category::Other),
    (r"preview", Category::SocialPreview),
    (r"feed(?:[ /_-]|parse|read|fetch|$)", Category::Feed),
    (r"rss(?:[ /_-]|$)", Category::Feed),
    (r"reader/", Category::Feed),
    (r"subscribers?", Category::Feed),
    (r"index(?:er|ing)", Category::Search),
    (r"search(?:[ /_-]?engine|/)", Category::Search),
    (r"http[ _-]?client", Category::HttpLibrary),
    (r"libwww", Category::HttpLibrary),
    (r"download", Category::HttpLibrary),
    (r"transcoder", Category::Other),
    (r"proxy", Category::Other),
    (r"collector", Category::Other),
    (r"extract", Category::Other),
    (r"(?-u:\b)seo", Category::Seo),
    (r"favicon", Category::Other),
    (r"webmaster", Category::Other),
    (r"survey", Category::Other),
    (r"agent(?:/|$)", Category::Other),
];

/// An address where its operator explains the machine, or can be written to.
const CONTACT: &str = r"\+ ?https?:|\+ ?www\.";
/// The same in forms that stand in browsers too, put there by what is installed beside them.
const ADDRESS: &str = r"https?:|www\.|[a-z0-9._-]+(?:@|\(at\)|\[at\]| at )[a-z0-9-]+(?:\.| dot )[a-z]{2}|[a-z0-9]\.(?:com|net|org|io|ai|info|de|ru|co|eu|fr|nl|pl|cz|app|dev)(?:[^a-z0-9.]|$)";

/// Names in which such a word stands by chance: devices, browsers and apps of people. Their whole word is compared.
const PEOPLES: &[&str] = &["cubot"];

static STRONG: LazyLock<Regex> = LazyLock::new(|| any(WORDS.iter().chain([&(CONTACT, Category::Other)])));
static ALL: LazyLock<Regex> = LazyLock::new(|| any(WORDS.iter().chain(WEAK).chain([&(CONTACT, Category::Other), &(ADDRESS, Category::Other)])));

fn any<'a>(words: impl Iterator<Item = &'a (&'static str, Category)>) -> Regex {
    let words: Vec<&str> = words.map(|(word, _)| *word).collect();
    Regex::new(&words.join("|")).expect("fixed patterns, which a test compiles")
}

static EACH: LazyLock<Vec<(Regex, Category)>> = LazyLock::new(|| {
    let compile = |(word, category): &(&str, Category)| {
        (Regex::new(&format!("^(?:{word})")).expect("fixed patterns, which a test compiles"), *category)
    };
    WORDS.iter().chain(WEAK).map(compile).collect()
});

/// The machine that `text` says it is; `lower` is the same in lower case.
pub(super) fn find(text: &str, lower: &str) -> Option<Automation> {
    let pattern = if with_extensions(lower) { &STRONG } else { &ALL };
    let matched = pattern.find_iter(lower).find(|matched| !is_of_a_person(lower, matched.start()))?;
    let category = EACH.iter().find(|(word, _)| word.is_match(&lower[matched.start()..])).map(|(_, category)| *category);
    Some(Automation { product: Cow::Owned(name(text, matched.start())), category: category.unwrap_or(Category::Other) })
}

/// Whether it looks like a browser in which other programs leave their names: Internet Explorer and what is built on it, Opera.
fn with_extensions(lower: &str) -> bool {
    (lower.starts_with("mozilla/") && (lower.contains("; msie ") || lower.contains("trident/"))) || lower.starts_with("opera/")
        || lower.starts_with("outlook-express/")
}

fn is_of_a_person(lower: &str, at: usize) -> bool {
    PEOPLES.iter().any(|name| word(lower, at).contains(name))
}

/// The word around `at`.
fn word(text: &str, at: usize) -> &str {
    let part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '!');
    let start = text[..at].rfind(|c| !part(c)).map_or(0, |before| before + 1);
    let end = text[at..].find(|c| !part(c)).map_or(text.len(), |length| at + length);
    text.get(start..end).unwrap_or_default()
}

/// The name around `at`: at most 64 characters that need no quoting.
fn name(text: &str, at: usize) -> String {
    word(text, at).chars().take(64).collect()
}
