//! The browser's name and the first number of its version.
//!
//! Browsers put their own name beside those of the browsers they want to be taken for, so the rarest name counts.

use std::{collections::HashMap, sync::LazyLock};

/// Names of browsers as they stand in front of a version, and what they mean, by rising rank: a later one wins.
/// Source: the makers' documentation of their user agents, and MDN,
/// <https://developer.mozilla.org/docs/Web/HTTP/Reference/Headers/User-Agent>, read 2026-11-20.
const NAMES: &[(&str, &str)] = &[
    ("applewebkit", "WebKit"),
    ("msie", "Internet Explorer"),
    ("safari", "Safari"),
    ("version", "Safari"),
    ("chrome", "Chrome"),
    ("crios", "Chrome"),
    ("crmo", "Chrome"),
    ("firefox", "Firefox"),
    ("fxios", "Firefox"),
    ("focus", "Firefox Focus"),
    ("klar", "Firefox Focus"),
    ("chromium", "Chromium"),
    ("iceweasel", "Firefox"),
    ("seamonkey", "SeaMonkey"),
    ("palemoon", "Pale Moon"),
    ("waterfox", "Waterfox"),
    ("librewolf", "LibreWolf"),
    ("thunderbird", "Thunderbird"),
    ("k-meleon", "K-Meleon"),
    ("camino", "Camino"),
    ("epiphany", "GNOME Web"),
    ("konqueror", "Konqueror"),
    ("falkon", "Falkon"),
    ("netscape", "Netscape"),
    ("trident", "Internet Explorer"),
    ("iemobile", "Internet Explorer Mobile"),
    ("edge", "Edge"),
    ("edg", "Edge"),
    ("edga", "Edge"),
    ("edgios", "Edge"),
    ("edgw", "Edge"),
    ("opera", "Opera"),
    ("opr", "Opera"),
    ("opt", "Opera Touch"),
    ("opx", "Opera GX"),
    ("opios", "Opera Mini"),
    ("mini", "Opera Mini"),
    ("vivaldi", "Vivaldi"),
    ("brave", "Brave"),
    ("duckduckgo", "DuckDuckGo"),
    ("ddg", "DuckDuckGo"),
    ("ecosia", "Ecosia"),
    ("samsungbrowser", "Samsung Internet"),
    ("silk", "Silk"),
    ("ucbrowser", "UC Browser"),
    ("ucweb", "UC Browser"),
    ("huaweibrowser", "Huawei Browser"),
    ("miuibrowser", "Mi Browser"),
    ("vivobrowser", "vivo Browser"),
    ("heytapbrowser", "HeyTap Browser"),
    ("yabrowser", "Yandex Browser"),
    ("yasearchbrowser", "Yandex Browser"),
    ("whale", "Whale"),
    ("qqbrowser", "QQ Browser"),
    ("mqqbrowser", "QQ Browser"),
    ("qihoobrowser", "360 Browser"),
    ("maxthon", "Maxthon"),
    ("puffin", "Puffin"),
    ("avast", "Avast Secure Browser"),
    ("avg", "AVG Secure Browser"),
    ("norton", "Norton Private Browser"),
    ("ccleaner", "CCleaner Browser"),
    ("coc_coc_browser", "Coc Coc"),
    ("sleipnir", "Sleipnir"),
    ("iron", "Iron"),
    ("dolfin", "Dolfin"),
    ("nokiabrowser", "Nokia Browser"),
    ("netfront", "NetFront"),
    ("blackberry", "BlackBerry Browser"),
    ("bb10", "BlackBerry Browser"),
    ("nintendobrowser", "Nintendo Browser"),
    ("kindle", "Kindle"),
    ("qtcarbrowser", "Tesla"),
    ("tesla", "Tesla"),
    ("lynx", "Lynx"),
    ("elinks", "ELinks"),
    ("links", "Links"),
    ("w3m", "w3m"),
    ("dillo", "Dillo"),
    ("netsurf", "NetSurf"),
];

/// The browser of `lower` and its version.
pub(super) fn read(lower: &str) -> Option<(&'static str, Option<u32>)> {
    let mut found: Option<(usize, Option<u32>)> = lower.contains("msie ").then_some((EXPLORER, None));
    for (position, word) in lower.split([' ', ';', '(', ')', '[', ']', ',']).enumerate() {
        // A name without a version is one only at the beginning: `Links (2.8; …)`.
        let (name, version) = match word.split_once(['/', '@']) {
            Some((name, version)) => (name, number(version)),
            None if position == 0 => (word, None),
            None => continue,
        };
        let Some(&rank) = RANKS.get(name) else { continue };
        if found.is_none_or(|(best, _)| rank >= best) {
            found = Some((rank, version));
        }
    }
    let (rank, version) = found?;
    let (name, browser) = NAMES[rank];
    Some(match name {
        // Safari's own version stands behind `Version/`; the number behind `Safari/` is that of the engine.
        "safari" | "applewebkit" => (browser, None),
        "msie" | "trident" => (browser, explorer(lower)),
        "opera" => (browser, behind(lower, "version/").or(version)),
        "version" if lower.contains("android") => ("Android Browser", version),
        _ => (browser, version),
    })
}

/// Where Internet Explorer stands in [`NAMES`]: what is built on it names itself too.
const EXPLORER: usize = 1;

static RANKS: LazyLock<HashMap<&'static str, usize>> =
    LazyLock::new(|| NAMES.iter().enumerate().map(|(rank, (name, _))| (*name, rank)).collect());

/// Internet Explorer's version: `MSIE 8.0`, or `rv:11.0` beside `Trident/7.0`.
fn explorer(lower: &str) -> Option<u32> {
    behind(lower, "rv:").filter(|_| lower.contains("trident/")).or_else(|| behind(lower, "msie "))
}

/// The number behind the first `mark`.
fn behind(text: &str, mark: &str) -> Option<u32> {
    number(&text[text.find(mark)? + mark.len()..])
}

/// The number that `text` begins with.
fn number(text: &str) -> Option<u32> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    text[..digits].parse().ok()
}
