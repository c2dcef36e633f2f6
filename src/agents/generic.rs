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
    (r"verif(?:y|ier|ication)", Category::Other),
    (r"preview", Category::SocialPreview),
    (r"subscribers?", Category::Feed),
    (r"index(?:er|ing)", Category::Search),
    (r"collector", Category::Other),
    (r"extract", Category::Other),
    (r"(?-u:\b)seo", Category::Seo),
    (r"favicon", Category::Other),
    (r"webmaster", Category::Other),
    (r"survey", Category::Other),
    (r"[a-z]agent(?:/[0-9]|$)", Category::Other),
    (r"measurement", Category::Other),
    (r"prospect", Category::Seo),
];

/// Words that say of what kind something is that is a machine for another reason. By themselves they tell nothing: browsers
/// carry the names of what is installed beside them.
const KINDS: &[(&str, Category)] = &[
    (r"feed(?:[ /_-]|parse|read|fetch|$)", Category::Feed),
    (r"rss(?:[ /_-]|$)", Category::Feed),
    (r"reader/", Category::Feed),
    (r"search(?:[ /_-]?engine|/)", Category::Search),
    (r"http[ _-]?client", Category::HttpLibrary),
    (r"download", Category::HttpLibrary),
    (r"transcoder", Category::Other),
    (r"proxy", Category::Other),
    (r"agent(?:/|$)", Category::Other),
    (r"^(?:java|python|perl|php|ruby|go|node|rust|lua)", Category::HttpLibrary),
    (r"http|urllib|request|socket|curl", Category::HttpLibrary),
    (r"podcast|news", Category::Feed),
    (r"watch|test|ping|health|status|probe", Category::Monitoring),
    (r"link|domain|rank|whois", Category::Seo),
    (r"secur|vulnerab|malware", Category::Scanner),
];

/// An address where its operator explains the machine, as its documentation asks for: behind a plus sign, or in brackets at
/// the end.
const CONTACT: &str = r"\+ ?(?:https?:|www\.)";

/// Any address. Internet Explorer and Opera carry those of what is installed beside them, other browsers none.
const ADDRESS: &str = r"https?:|www\.|[a-z0-9._-]+(?:@|\(at\)|\[at\])[a-z0-9-]+(?:\.| dot )[a-z]{2}|\((?:[^()]*[ ,])?[a-z0-9.-]+\.(?:com|net|org|io|ai|co|eu|de|fr)(?:/[^ ()]*)?\)$| [a-z0-9-]+\.(?:com|net|org|io)(?:/[0-9v.]+)?$";

/// What such a word stands in by chance: devices, browsers and apps of people. The word around it is looked at.
const PEOPLES: &[&str] = &["cubot", "developerpreview", "20preview", "yrcweblinkpreview", "esobisubscriber", "mozacfetch", "seoul", "unity3d.com"];

static STRONG: LazyLock<Regex> = LazyLock::new(|| any(WORDS.iter().chain([&(CONTACT, Category::Other)])));
static ALL: LazyLock<Regex> =
    LazyLock::new(|| any(WORDS.iter().chain([&(CONTACT, Category::Other), &(ADDRESS, Category::Other)])));
static EACH: LazyLock<Vec<(Regex, Category)>> = LazyLock::new(|| each(WORDS, "^"));
static EACH_KIND: LazyLock<Vec<(Regex, Category)>> = LazyLock::new(|| each(KINDS, ""));

fn any<'a>(words: impl Iterator<Item = &'a (&'static str, Category)>) -> Regex {
    let words: Vec<&str> = words.map(|(word, _)| *word).collect();
    Regex::new(&words.join("|")).expect("fixed patterns, which a test compiles")
}

fn each(words: &[(&str, Category)], begin: &str) -> Vec<(Regex, Category)> {
    let compile = |(word, category): &(&str, Category)| {
        (Regex::new(&format!("{begin}(?:{word})")).expect("fixed patterns, which a test compiles"), *category)
    };
    words.iter().map(compile).collect()
}

/// The machine that `text` says it is; `lower` is the same in lower case.
pub(super) fn find(text: &str, lower: &str) -> Option<Automation> {
    let pattern = if carries_addresses(lower) { &STRONG } else { &ALL };
    let matched = pattern.find_iter(lower).find(|matched| !is_of_a_person(lower, matched.start()))?;
    let category = category(&EACH, &lower[matched.start()..]).or_else(|| kind(lower)).unwrap_or(Category::Other);
    Some(Automation { product: Cow::Owned(name(text, named(lower, matched.start()))), category })
}

/// Of what kind the machine `lower` is, by the words in it.
pub(super) fn kind(lower: &str) -> Option<Category> {
    category(&EACH_KIND, lower)
}

fn category(words: &[(Regex, Category)], text: &str) -> Option<Category> {
    words.iter().find(|(word, _)| word.is_match(text)).map(|(_, category)| *category)
}

/// Whether it looks like a browser in which other programs leave their addresses.
fn carries_addresses(lower: &str) -> bool {
    lower.contains("msie ") || lower.contains("trident/") || lower.contains("opera") || lower.contains("(via ")
}

fn is_of_a_person(lower: &str, at: usize) -> bool {
    let word = word(lower, named(lower, at));
    PEOPLES.iter().any(|name| word.contains(name)) || is_model(lower, at)
}

/// Whether `at` lies in the name of an Android phone, as makers call theirs `M bot 54` and `Spider 8`.
fn is_model(lower: &str, at: usize) -> bool {
    let Some(android) = lower.find("; android ") else { return false };
    let comment = lower[android..].find(')').map_or(lower.len(), |length| android + length);
    (android..comment).contains(&at) && lower[comment..].starts_with(") applewebkit/") && !lower[android..at].contains("compatible")
}

/// The word around `at`.
fn word(text: &str, at: usize) -> &str {
    let part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '!');
    let start = text[..at].rfind(|c| !part(c)).map_or(0, |before| before + 1);
    let end = text[at..].find(|c| !part(c)).map_or(text.len(), |length| at + length);
    text.get(start..end).unwrap_or_default()
}

/// Where the name begins that the match at `at` is part of: behind the signs and the scheme of an address.
fn named(text: &str, at: usize) -> usize {
    let rest = &text[at..];
    let bare = rest.trim_start_matches(['+', ' ', '(']);
    let bare = bare.strip_prefix("https://").or(bare.strip_prefix("http://")).unwrap_or(bare);
    text.len() - bare.len()
}

/// The name around `at`: at most 64 characters that need no quoting.
fn name(text: &str, at: usize) -> String {
    word(text, at).chars().take(64).collect()
}
