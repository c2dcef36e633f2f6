//! Words that only machines use for themselves, and addresses to write to.

use std::{borrow::Cow, ops::Range, sync::LazyLock};

use regex::Regex;

use super::{Automation, Category};

/// Words that machines use for themselves, wherever they stand.
const WORDS: &[&str] = &[
    r"bots?(?:[^a-z]|$)",
    "robot",
    "crawl",
    "spider",
    r"scrap(?:e|y|ing|per)",
    "fetch",
    "archiv",
    "headless",
    "monitor",
    "uptime",
    "synthetic",
    r"(?:site|link|url|web|status|server|http)[ _-]?check",
    "checker",
    "validator",
    r"verif(?:y|ier|ication)",
    r"scan(?:ner|ning|[ /_-]|$)",
    "preview",
    r"(?-u:\b)seo",
    "sitemap",
    "prospect",
    r"analy[sz](?:er|is|e)",
    "measurement",
    "survey",
    r"ads?txt",
    r"subscribers?",
    r"index(?:er|ing)",
    "webmaster",
    "harvest",
    "collector",
    "extract",
    r"grab(?:ber)?[ /_-]",
    "screenshot",
    r"thumb(?:nail|shot)",
    "favicon",
    r"[a-z]agent(?:/[0-9]|$)",
];

/// What a word says of the kind of machine; the first that is found counts.
const KINDS: &[(&str, Category)] = &[
    ("headless", Category::Automation),
    ("preview", Category::SocialPreview),
    ("unfurl", Category::SocialPreview),
    ("adstxt", Category::Advertising),
    ("adtxt", Category::Advertising),
    ("feed", Category::Feed),
    ("rss", Category::Feed),
    ("subscriber", Category::Feed),
    ("podcast", Category::Feed),
    ("reader", Category::Feed),
    ("news", Category::Feed),
    ("archiv", Category::Archiver),
    ("scan", Category::Scanner),
    ("secur", Category::Scanner),
    ("vulnerab", Category::Scanner),
    ("malware", Category::Scanner),
    ("uptime", Category::Monitoring),
    ("monitor", Category::Monitoring),
    ("synthetic", Category::Monitoring),
    ("check", Category::Monitoring),
    ("watch", Category::Monitoring),
    ("probe", Category::Monitoring),
    ("health", Category::Monitoring),
    ("seo", Category::Seo),
    ("sitemap", Category::Seo),
    ("backlink", Category::Seo),
    ("rank", Category::Seo),
    ("domain", Category::Seo),
    ("prospect", Category::Seo),
    ("analy", Category::Seo),
    ("search", Category::Search),
    ("index", Category::Search),
    ("validator", Category::HttpLibrary),
    ("http", Category::HttpLibrary),
    ("urllib", Category::HttpLibrary),
    ("request", Category::HttpLibrary),
    ("socket", Category::HttpLibrary),
    ("curl", Category::HttpLibrary),
    ("download", Category::HttpLibrary),
    ("python", Category::HttpLibrary),
    ("perl", Category::HttpLibrary),
    ("java", Category::HttpLibrary),
    ("ruby", Category::HttpLibrary),
    ("php", Category::HttpLibrary),
];

/// An address where its operator explains the machine, in the form that crawlers use: behind a plus sign.
const CONTACT: &str = r"\+ ?(?:https?:|www\.)";

/// Any address: a page's, an e-mail address, a host in brackets or as the last word. Internet Explorer and Opera carry those of
/// what is installed beside them, other browsers none.
const ADDRESS: &str = concat!(
    r"https?:|www\.",
    r"|[a-z0-9._-]+(?:@|\(at\)|\[at\])[a-z0-9-]+(?:\.| dot )[a-z]{2}",
    r"|\((?:[^()]*[ ,])?[a-z0-9.-]+\.(?:com|net|org|io|ai|co|eu|de|fr)(?:/[^ ()]*)?\)$",
    r"| [a-z0-9-]+\.(?:com|net|org|io)(?:/[0-9v.]+)?$",
);

/// The longest name of a machine that is kept, in characters.
const NAME_MAX: usize = 64;

/// What such a word stands in by chance: devices, browsers and apps of people. The word around it is looked at.
const PEOPLES: &[&str] = &[
    "cubot",
    "developerpreview",
    "20preview",
    "yrcweblinkpreview",
    "esobisubscriber",
    "mozacfetch",
    "seoul",
    "unity3d.com",
    "www.qtweb.net",
];

static MACHINES: LazyLock<Regex> = LazyLock::new(|| any(&[CONTACT]));
static MACHINES_AND_ADDRESSES: LazyLock<Regex> = LazyLock::new(|| any(&[CONTACT, ADDRESS]));

/// A pattern for the words and for `more`.
fn any(more: &[&str]) -> Regex {
    Regex::new(&[WORDS, more].concat().join("|")).expect("fixed patterns, which a test compiles")
}

/// The machine that `text` says it is; `lower` is the same in lower case, byte for byte.
pub(super) fn find(text: &str, lower: &str) -> Option<Automation> {
    let pattern = if carries_addresses(lower) { &MACHINES } else { &MACHINES_AND_ADDRESSES };
    let matched = pattern.find_iter(lower).find(|matched| !is_of_a_person(lower, matched.start()))?;
    let at = named(lower, matched.start());
    let category = kind(&lower[word(lower, at)]).unwrap_or(Category::Other);
    Some(Automation { product: name(text, lower, at), category })
}

/// The name around `at`, as it is written. Not what stands in front of the sign of an e-mail address: that may be a person.
pub(super) fn name(text: &str, lower: &str, at: usize) -> Cow<'static, str> {
    let word = word(lower, at);
    let person = lower[word.end..].starts_with('@');
    match text.get(word).filter(|name| !name.is_empty() && !person) {
        Some(name) => Cow::Owned(name.chars().take(NAME_MAX).collect()),
        None => Cow::Borrowed("unnamed"),
    }
}

/// Of what kind the machine is that calls itself `word`.
pub(super) fn kind(word: &str) -> Option<Category> {
    KINDS.iter().find(|(mark, _)| word.contains(mark)).map(|(_, category)| *category)
}

/// Whether it looks like a browser in which other programs leave their addresses.
fn carries_addresses(lower: &str) -> bool {
    lower.contains("msie ") || lower.contains("trident/") || lower.contains("opera") || lower.contains("(via ")
}

fn is_of_a_person(lower: &str, at: usize) -> bool {
    let word = &lower[word(lower, named(lower, at))];
    PEOPLES.iter().any(|name| word.contains(name)) || is_model(lower, at)
}

/// Whether `at` lies in the name of an Android phone, as makers call theirs `M bot 54` and `Spider 8`.
fn is_model(lower: &str, at: usize) -> bool {
    let Some(android) = lower.find("; android ") else { return false };
    let comment = lower[android..].find(')').map_or(lower.len(), |length| android + length);
    (android..comment).contains(&at)
        && lower[comment..].starts_with(") applewebkit/")
        && !lower[android..at].contains("compatible")
}

/// Where the word around `at` stands.
fn word(lower: &str, at: usize) -> Range<usize> {
    let part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '!');
    let start = lower[..at].rfind(|c| !part(c)).map_or(0, |before| before + 1);
    let end = lower[at..].find(|c| !part(c)).map_or(lower.len(), |length| at + length);
    start..end
}

/// Where the name begins that the match at `at` is part of: behind the signs and the scheme of an address.
fn named(text: &str, at: usize) -> usize {
    let rest = &text[at..];
    let bare = rest.trim_start_matches(['+', ' ', '(']);
    let bare = bare.strip_prefix("https://").or(bare.strip_prefix("http://")).unwrap_or(bare);
    text.len() - bare.len()
}
