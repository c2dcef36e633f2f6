//! User agents that no browser sends, whatever they are called: browsers of people say which engine they have or which device
//! they run on, in forms that have not changed for twenty years.

use std::borrow::Cow;

use super::{Automation, Category};

/// Marks of engines, old ones among them: a user agent that begins like a browser's has one of them.
const ENGINES: &[&str] = &[
    "applewebkit", "gecko/", "like gecko", "goanna/", "firefox/", "msie", "trident/", "khtml", "presto/", "opera", "netfront", "servo/",
    "netscape", "icab", "symbian", "series60", "series40", "blackberry", "palm", "playstation", "nintendo", "webtv", "amiga",
    "ms-office", "msoffice", "omniweb", "hotjava", "netpositive", "windows ce", "windows phone", "midp", "obigo", "teleca",
    "ucweb", "ucbrowser", "safari", "chrome/", "mobile; rv:", "android", "iphone", "ipad", "beonex", "galeon", "charon; inferno",
    "sonyericsson", "nokia", "samsung", "danger hiptop", "avantgo", "reqwireless", "kindle", "smart-tv", "smarttv", "hbbtv",
    "os/2", "risc os", "beos", "arachne", "webpositive", "haiku", "w3m", "lynx", "links (", "elinks", "dillo", "netsurf",
    "ibrowse", "voyager", "sega", "escape", "ant fresco", "xbox", "rv:",
];

/// What stands behind `compatible;` in browsers.
const COMPATIBLE: &[&str] = &[
    "msie", "konqueror", "ibrowse", "amiga", "netpositive", "webpositive", "u;", "ms-office", "abrowse", "icab", "opera",
    "omniweb", "webtv", "avantgo", "os/2", "risc", "beos", "linux", "windows", "mac", "netsurf", "elaine", "blackberry",
    "palm", "arachne", "voyager", "escape", "chimera", "mosaic", "firefox", "gecko", "mozilla", "offbyone", "android", "sega",
    "iphone", "lynx", "w3m", "dillo", "spring", "acorn", "syllable", "x11", "avant", "nokia", "yahoo!calendar", "symbian",
];

/// Marks of what people use that does not begin like a browser: phones of the time before, text browsers, apps on phones and
/// televisions, mail programs, players.
const PEOPLES: &[&str] = &[
    "midp", "up.browser", "up.link", "cfnetwork/", "dalvik/", "android", "iphone", "ipad", "ipod", "ios ", "ios/", "windows nt",
    "windows phone", "windows ce", "symbian", "series60", "series40", "blackberry", "nokia", "applewebkit", "netfront", "ucweb",
    "ucbrowser", "obigo", "teleca", "brew", "docomo/", "kddi-", "softbank/", "vodafone/", "j-phone/", "willcom", "opera",
    "^lynx/", "^links (", "^links/", "^elinks", "^w3m/", "^w3m$", "^dillo/", "netsurf/", "roku", "appletv", "playstation", "ps4application",
    "nintendo", "xbox", "tizen", "web0s", "webos", "smart-tv", "smarttv", "smart tv", "hbbtv", "kaios", "msie ", "gecko/", "khtml", "presto/",
    "trident/", "amiga", "ibrowse/", "ncsa_mosaic", "mosaic/", "microsoft office/", "outlook-", "outlook/", "thunderbird/", "quicktime/",
    "maui", "samsung-", "sec-", "sonyericsson", "^mot-", "^lg-", "^lg/", "^lge-", "^sie-", "^sagem", "^sanyo", "^sharp-", "^zte-", "^huawei", "^alcatel",
    "^philips", "^panasonic", "^nec-", "^kyocera", "^palm", "^treo", "^htc", "^lenovo", "^coolpad", "^dopod", "^haier", "^tianyu", "^audiovox",
    "^benq", "^t-mobile", "^toshiba", "^acer", "^asus", "^xiaomi", "^micromax", "^spice", "^karbonn", "^lava", "^gionee", "^oppo", "^vivo", "^danger",
    "^sprint", "^verizon", "^portalmmm", "goggalaxyclient", "upnp/1.0 sonos", "exoplayer", "googleapp/", "safari/", "chrome/", "yelpwebview",
    "macintosh", "mac os", "windows;", "linux;", "linux x86", "cldc", "polaris/", "jasmine/", "dolfin/", "semc-browser", "wapchoi", "voyager",
];

/// The machine that `text` must be from; `lower` is the same in lower case.
pub(super) fn find(text: &str, lower: &str) -> Option<Automation> {
    let begins = lower.trim_start_matches(['"', '\'', ' ', '(']);
    let begins = begins.strip_prefix("user-agent:").map_or(begins, str::trim_start);
    let found = if begins.starts_with("mozilla") || begins.starts_with("ozilla/") {
        let core = begins.split_once(' ').map_or("", |(_, rest)| rest);
        if !has(core, ENGINES) { Some(Category::Malformed) } else { foreign(begins) }
    } else if has(begins, PEOPLES) {
        None
    } else if lower.bytes().any(|b| b.is_ascii_alphabetic()) {
        Some(Category::Other)
    } else {
        Some(Category::Malformed)
    };
    found.map(|category| Automation { product: Cow::Owned(name(text)), category })
}

/// What is said behind `compatible;`, if that is no browser.
fn foreign(lower: &str) -> Option<Category> {
    let at = lower.find("compatible;")?;
    let who = lower[at + "compatible;".len()..].trim_start();
    let known = who.is_empty() || COMPATIBLE.iter().any(|known| who.starts_with(known));
    (!known).then_some(Category::Other)
}

/// Whether `lower` holds one of `marks`; with a `^`, at its beginning.
fn has(lower: &str, marks: &[&str]) -> bool {
    marks.iter().any(|mark| match mark.strip_prefix('^') {
        Some(mark) => mark.strip_suffix('$').map_or(lower.starts_with(mark), |whole| lower == whole),
        None => lower.contains(mark),
    })
}

/// The first word, without its version: at most 64 characters that need no quoting.
fn name(text: &str) -> String {
    let part = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '!');
    text.chars().skip_while(|c| !c.is_ascii_alphanumeric()).take_while(part).take(64).collect()
}
