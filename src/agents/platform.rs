//! The operating system, and the kind of device.

use super::Device;

/// Marks of operating systems in lower case; the first that is found counts, as some name others they are like.
const SYSTEMS: &[(&str, &str)] = &[
    ("windows phone", "Windows Phone"),
    ("iemobile", "Windows Phone"),
    ("kaios", "KaiOS"),
    ("tizen", "Tizen"),
    ("web0s", "webOS"),
    ("webos", "webOS"),
    ("roku", "Roku OS"),
    ("playstation", "PlayStation"),
    ("nintendo", "Nintendo"),
    ("harmonyos", "HarmonyOS"),
    ("openharmony", "HarmonyOS"),
    ("cros ", "ChromeOS"),
    ("symbian", "Symbian"),
    ("series60", "Symbian"),
    ("series40", "Series 40"),
    ("bb10", "BlackBerry"),
    ("blackberry", "BlackBerry"),
    ("appletv", "tvOS"),
    ("apple tv", "tvOS"),
    ("watch os", "watchOS"),
    ("android", "Android"),
    ("iphone", "iOS"),
    ("ipod", "iOS"),
    ("ipad", "iPadOS"),
    ("windows nt", "Windows"),
    ("windows", "Windows"),
    ("win32", "Windows"),
    ("win98", "Windows"),
    ("win95", "Windows"),
    ("mac os", "macOS"),
    ("macintosh", "macOS"),
    ("mac_powerpc", "macOS"),
    ("freebsd", "FreeBSD"),
    ("openbsd", "OpenBSD"),
    ("netbsd", "NetBSD"),
    ("haiku", "Haiku"),
    ("amiga", "AmigaOS"),
    ("sunos", "Solaris"),
    ("ubuntu", "Linux"),
    ("linux", "Linux"),
    ("x11", "Linux"),
    ("midp", "Java ME"),
];

/// Marks of televisions, of what stands below them, and of game consoles.
const TELEVISIONS: &[&str] = &[
    "smart-tv", "smarttv", "smart tv", "hbbtv", "googletv", "google tv", "android tv", "appletv", "apple tv", "roku",
    "crkey", "aft", "bravia", "netcast", "viera", "nettv", "inettvbrowser", "dtv", "playstation", "xbox", "nintendo wii",
    "nintendo switch", "web0s", "webos.tv", "tv safari", "ce-html", "philipstv", "mitv", "shield",
];

/// Marks of tablets and e-book readers.
const TABLETS: &[&str] = &[
    "ipad", "tablet", "kindle", "playbook", "kobo", "nook", "silk/", "sm-t", "sm-x", "gt-p", "xoom", "nexus 7", "nexus 9",
    "nexus 10", "pixel c", "mediapad", "matepad", "lenovo tb", "lenovo yt", "kfot", "kfsuwi", "kftt", "kfthwi", "kfapwi",
];

/// Marks of phones. Android's browsers say `Mobile` on phones and leave it out on tablets.
/// Source: <https://developer.chrome.com/docs/multidevice/user-agent>, read 2026-11-20.
const PHONES: &[&str] = &[
    "mobile", "iphone", "ipod", "phone", "midp", "blackberry", "bb10", "symbian", "series60", "series40", "opera mini",
    "opera mobi", "up.browser", "nokia", "sonyericsson", "docomo", "kddi", "j-phone", "kaios", "webos/", "fennec",
];

/// The operating system of `lower`.
pub(super) fn os(lower: &str) -> Option<&'static str> {
    SYSTEMS.iter().find(|(mark, _)| lower.contains(mark)).map(|(_, os)| *os)
}

/// The kind of device of `lower`, whose operating system is `os`.
pub(super) fn device(lower: &str, os: Option<&str>) -> Device {
    let any = |marks: &[&str]| marks.iter().any(|mark| lower.contains(mark));
    let desktop = matches!(os, Some("Windows" | "macOS" | "ChromeOS" | "FreeBSD" | "OpenBSD" | "NetBSD" | "Solaris"));
    if desktop && !lower.contains("xbox") && !lower.contains("mobile") {
        return Device::Desktop;
    }
    if lower.contains("tesla") || lower.contains("watch") || lower.contains("glass") {
        Device::Other
    } else if any(TELEVISIONS) {
        Device::Tv
    } else if any(TABLETS) {
        Device::Tablet
    } else if any(PHONES) {
        Device::Mobile
    } else if matches!(os, Some("Android" | "HarmonyOS")) {
        Device::Tablet
    } else if desktop || matches!(os, Some("Linux" | "Haiku" | "AmigaOS")) {
        Device::Desktop
    } else {
        Device::Other
    }
}
