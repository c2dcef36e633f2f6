//! User agents that no browser sends, whatever they are called: browsers of people say which engine they have or which device
//! they run on, in forms that have not changed for twenty years.

use std::sync::LazyLock;

use super::{Automation, Category, generic, marks::Marks, table::people};

static ENGINES: LazyLock<Marks<()>> = LazyLock::new(|| marks(people::ENGINES));
static ANYWHERE: LazyLock<Marks<()>> = LazyLock::new(|| marks(people::ANYWHERE));

fn marks(texts: &[&'static str]) -> Marks<()> {
    Marks::new(texts.iter().map(|text| (*text, ())))
}

/// The machine that `text` must be from; `lower` is the same in lower case.
pub(super) fn find(text: &str, lower: &str) -> Option<Automation> {
    let begins = lower.trim_start_matches(['"', '\'', ' ', '(']);
    let begins = begins.strip_prefix("user-agent:").map_or(begins, str::trim_start);
    let first = lower.find(|c: char| c.is_ascii_alphanumeric()).unwrap_or(lower.len());
    let (at, category) = if begins.starts_with("mozilla") || begins.starts_with("ozilla/") {
        match foreign(lower) {
            Some(at) => (at, generic::kind(&lower[at..]).unwrap_or(Category::Other)),
            None if ENGINES.is_in(begins) || netscape(begins) || cut_short(begins) => return None,
            None => (first, Category::Malformed),
        }
    } else if of_people(begins) && !posing(begins) {
        return None;
    } else if lower.bytes().any(|b| b.is_ascii_alphabetic()) {
        (first, generic::kind(begins).unwrap_or(Category::Other))
    } else {
        (first, Category::Malformed)
    };
    Some(Automation { product: generic::name(text, lower, at), category })
}

/// Whether something puts a browser's name into a comment of its own: `Seeker/1.0 (compatible; MSIE 5.5; …)`.
fn posing(lower: &str) -> bool {
    ["(compatible; msie", "(compatible; mozilla"].iter().any(|pose| lower.contains(pose))
        && !lower.contains("mozilla/")
        && !["windows ce", "office"].iter().any(|mark| lower.contains(mark))
        && !lower.starts_with("opera")
}

/// Whether it is Netscape up to version 4, which names no engine: `Mozilla/4.8 [en] (Windows NT 5.1; U)`.
fn netscape(lower: &str) -> bool {
    let old = ["mozilla/1.", "mozilla/2.", "mozilla/3.", "mozilla/4."].iter().any(|begin| lower.starts_with(begin));
    old && ["(win", "(mac", "(x11", "; u", "; i;", "(os/2"].iter().any(|mark| lower.contains(mark))
}

/// Whether it is a browser of which only the system was left, as some gateways of companies do:
/// `Mozilla/5.0 (Windows NT 10.0; Win64; x64)`.
fn cut_short(lower: &str) -> bool {
    let ends = lower.find(')').is_none_or(|end| end + 1 == lower.len());
    ends && ["windows nt", "macintosh", "x11;", "linux "].iter().any(|mark| lower.contains(mark))
}

/// Where the name begins that is said behind `compatible;`, if that is no browser.
fn foreign(lower: &str) -> Option<usize> {
    let behind = &lower[lower.find("compatible;")? + "compatible;".len()..];
    let who = behind.trim_start();
    let known = who.is_empty()
        || who.starts_with(')')
        || ["msie ", "trident/", "; windows nt"].iter().any(|mark| lower.contains(mark))
        || people::COMPATIBLE.iter().any(|known| who.starts_with(known));
    (!known).then_some(lower.len() - who.len())
}

/// Whether `lower` is an app or a browser that does not begin like one.
fn of_people(lower: &str) -> bool {
    ANYWHERE.is_in(lower) || people::BEGINNINGS.iter().any(|begin| lower.starts_with(begin))
}
