//! The browser's name and the first number of its version.
//!
//! Browsers put their own name beside those of the browsers they want to be taken for, so the rarest name counts.

/// Names of browsers as they stand in front of a version, and what they mean, by rising rank: a later one wins.
/// Source: the makers' documentation of their user agents, and MDN,
/// <https://developer.mozilla.org/docs/Web/HTTP/Reference/Headers/User-Agent>, read 2026-11-20.
const NAMES: &[(&str, &str)] = &[
    ("applewebkit", "WebKit"),
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
    ("msie", "Internet Explorer"),
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

/// What only stands for a browser where a version follows: as words of their own these mean something else.
const NEED_VERSION: &[&str] = &[
    "mini", "version", "opt", "focus", "iron", "tesla", "edge", "links", "kindle", "avast", "avg", "norton", "silk",
    "whale", "brave",
];

/// The browser of `text` and its version.
pub(super) fn read(text: &str) -> Option<(&'static str, Option<u32>)> {
    let mut found: Option<(usize, Option<u32>)> = None;
    let mut chrome = false;
    for word in text.split([' ', ';', '(', ')', '[', ']', ',']).filter(|word| !word.is_empty()) {
        let (name, behind) = word.split_once(['/', '@']).map_or((word, None), |(name, behind)| (name, Some(behind)));
        let version = behind.and_then(number);
        chrome |= name.eq_ignore_ascii_case("chrome") && version.is_some();
        let Some(rank) = rank(name) else { continue };
        let lonely = version.is_none() && NEED_VERSION.contains(&NAMES[rank].0);
        if !lonely && found.is_none_or(|(best, _)| rank >= best) {
            found = Some((rank, version));
        }
    }
    let (rank, version) = found?;
    Some(match NAMES[rank].0 {
        "version" if chrome => ("Chrome", version),
        // Safari's own version stands behind `Version/`; the number behind `Safari/` is that of the engine.
        "safari" | "applewebkit" => (NAMES[rank].1, None),
        "msie" | "trident" => ("Internet Explorer", explorer(text)),
        "opera" => ("Opera", behind(text, "Version/").or(version)),
        _ => (NAMES[rank].1, version),
    })
}

/// Where `name` stands in [`NAMES`], in any case.
fn rank(name: &str) -> Option<usize> {
    let bytes = name.as_bytes();
    NAMES.iter().rposition(|(known, _)| known.len() == bytes.len() && known.as_bytes().eq_ignore_ascii_case(bytes))
}

/// Internet Explorer's version: `MSIE 8.0`, or `rv:11.0` beside `Trident/7.0`.
fn explorer(text: &str) -> Option<u32> {
    behind(text, "rv:").filter(|_| text.contains("Trident/")).or_else(|| behind(text, "MSIE "))
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
