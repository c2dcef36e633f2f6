//! The operating system, and the kind of device.

use std::sync::LazyLock;

use super::{Device, marks::Marks};

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

/// Marks of what is neither of the others: cars, watches, glasses.
const OTHERS: &[&str] = &["tesla", "qtcarbrowser", "watch os", "watchos", "apple watch", "; watch", "glass "];

/// Marks of televisions, of what stands below them, and of game consoles.
const TELEVISIONS: &[&str] = &[
    "smart-tv",
    "smarttv",
    "smart tv",
    "hbbtv",
    "googletv",
    "google tv",
    "android tv",
    "androidtv",
    "appletv",
    "apple tv",
    "roku",
    "crkey",
    "; aft",
    "bravia",
    "netcast",
    "viera",
    "nettv",
    "inettvbrowser",
    "dtv",
    "playstation",
    "xbox",
    "nintendo wii",
    "nintendo switch",
    "web0s",
    "webos.tv",
    "tv safari",
    "ce-html",
    "philipstv",
    "mitv",
    "mibox",
    "shield android",
    "tv box",
    "tvbox",
    " tv ",
    " tv;",
    " tv)",
    "-tv ",
    "stb;",
    "aquos-tv",
];

/// Marks of tablets and e-book readers.
const TABLETS: &[&str] = &[
    "ipad",
    "tablet",
    "kindle",
    "playbook",
    "kobo",
    "nook",
    "silk/",
    "sm-t",
    "sm-x",
    "gt-p",
    "xoom",
    "nexus 7",
    "nexus 9",
    "nexus 10",
    "pixel c",
    "mediapad",
    "matepad",
    "lenovo tb",
    "lenovo yt",
    "kfot",
    "kfsuwi",
    "kftt",
    "kfthwi",
    "kfapwi",
];

/// Marks of phones. Android's browsers say `Mobile` on phones and leave it out on tablets.
/// Source: <https://developer.chrome.com/docs/multidevice/user-agent>, read 2026-11-20.
const PHONES: &[&str] = &[
    "mobile",
    "iphone",
    "ipod",
    "phone",
    "midp",
    "blackberry",
    "bb10",
    "symbian",
    "series60",
    "series40",
    "opera mini",
    "opera mobi",
    "up.browser",
    "nokia",
    "sonyericsson",
    "docomo",
    "kddi",
    "j-phone",
    "kaios",
    "webos/",
    "fennec",
];

static OS: LazyLock<Marks<&'static str>> = LazyLock::new(|| Marks::new(SYSTEMS.iter().copied()));
static DEVICE: LazyLock<Marks<Device>> = LazyLock::new(|| {
    let kinds =
        [(OTHERS, Device::Other), (TELEVISIONS, Device::Tv), (TABLETS, Device::Tablet), (PHONES, Device::Mobile)];
    Marks::new(kinds.into_iter().flat_map(|(marks, device)| marks.iter().map(move |mark| (*mark, device))))
});

/// The operating system of `lower`.
pub(super) fn os(lower: &str) -> Option<&'static str> {
    OS.read(lower)
}

/// The kind of device of `lower`, whose operating system is `os`.
pub(super) fn device(lower: &str, os: Option<&str>) -> Device {
    let marked = DEVICE.read(lower);
    match os {
        Some("Windows") if marked == Some(Device::Tv) => Device::Tv,
        Some("Windows" | "macOS" | "ChromeOS" | "FreeBSD" | "OpenBSD" | "NetBSD" | "Solaris") => Device::Desktop,
        Some("Android" | "HarmonyOS") => marked.unwrap_or(Device::Tablet),
        Some("Linux" | "Haiku" | "AmigaOS") => marked.unwrap_or(Device::Desktop),
        _ => marked.unwrap_or(Device::Other),
    }
}
