//! As whom links are looked at: the browsers that people open them in.

/// A browser.
#[derive(Clone, Copy, Debug)]
pub(super) struct Profile {
    /// What it is called in the checklist.
    pub(super) name: &'static str,
    /// What it says it is.
    pub(super) agent: &'static str,
    /// Where it says it comes from.
    pub(super) referrer: Option<&'static str>,
}

/// Whoever has no token is told apart by this behind the user agent.
pub(super) const MARK: &str = concat!(" ConversionRelay-QA/", env!("CARGO_PKG_VERSION"));

/// All of them.
pub(super) const PROFILES: [Profile; 5] = [
    Profile {
        name: "desktop",
        agent: "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 \
                Safari/537.36",
        referrer: None,
    },
    Profile {
        name: "iphone",
        agent: "Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) \
                Version/18.6 Mobile/15E148 Safari/604.1",
        referrer: None,
    },
    Profile {
        name: "instagram",
        agent: "Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) \
                Mobile/22G86 Instagram 400.0.0.20.70 (iPhone15,2; iOS 18_6; en_US; en; scale=3.00; 1179x2556; 700000000)",
        referrer: Some("https://l.instagram.com/"),
    },
    Profile {
        name: "facebook",
        agent: "Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) \
                Mobile/22G86 [FBAN/FBIOS;FBAV/530.0.0.40.60;FBBV/700000000;FBDV/iPhone15,2;FBMD/iPhone;FBSN/iOS;\
                FBSV/18.6;FBSS/3;FBID/phone;FBLC/en_US;FBOP/5]",
        referrer: Some("https://l.facebook.com/"),
    },
    // Gmail opens links in a tab of Chrome, and says so.
    Profile {
        name: "gmail",
        agent: "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Mobile \
                Safari/537.36",
        referrer: Some("android-app://com.google.android.gm/"),
    },
];
