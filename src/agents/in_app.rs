//! Browsers that are part of an app: somebody tapped a link in it and stayed inside.

use std::sync::LazyLock;

use super::marks::Marks;

/// What the apps put into the user agent of their browser, in lower case, and the app's name. The first that is found counts.
///
/// Sources, read 2026-11-20: Meta's `FBAN`/`FBAV` list, `Instagram`, `Barcelona` (Threads), `Orca` and `MessengerForiOS`
/// (Messenger) as Meta's apps send them; `BytedanceWebview`, `musical_ly`, `trill` and `TikTok` by
/// <https://github.com/ua-parser/uap-core/issues> and the app; LinkedIn's `[LinkedInApp]`; Pinterest's
/// `[Pinterest/Android]` and `[Pinterest/iOS]`; Snapchat's `Snapchat/`; Google's `GSA/`; LINE's
/// <https://developers.line.biz/en/docs/line-login/> (`Line/`); WeChat's `MicroMessenger/`,
/// <https://developers.weixin.qq.com/doc/>; X's `Twitter for iPhone` and `TwitterAndroid`; Kakao's `KAKAOTALK`,
/// <https://developers.kakao.com/docs>; Naver's `NAVER(inapp; …)`, <https://developers.naver.com/docs>; VK, Baidu, QQ, Weibo,
/// Alipay, Yandex, Viber, DingTalk, Flipboard and Bing as their apps send them.
const APPS: &[(&str, &str)] = &[
    ("instagram ", "Instagram"),
    ("instagram/", "Instagram"),
    ("barcelona ", "Threads"),
    ("fban/messenger", "Messenger"),
    ("fb_iab/messenger", "Messenger"),
    ("fb_iab/orca", "Messenger"),
    ("orca-android", "Messenger"),
    ("fban/", "Facebook"),
    ("fb_iab/", "Facebook"),
    ("fbav/", "Facebook"),
    ("fbios", "Facebook"),
    ("metaiab facebook", "Facebook"),
    ("metaiab", "Meta"),
    ("musical_ly", "TikTok"),
    ("bytedancewebview", "TikTok"),
    ("bytelocale", "TikTok"),
    ("trill_", "TikTok"),
    ("tiktok", "TikTok"),
    ("linkedinapp", "LinkedIn"),
    ("[pinterest/", "Pinterest"),
    ("pinterest for", "Pinterest"),
    ("snapchat", "Snapchat"),
    ("gsa/", "Google app"),
    ("googleapp/", "Google app"),
    ("gnews android", "Google News"),
    ("wxwork/", "WeCom"),
    ("micromessenger/", "WeChat"),
    ("twitter for ", "X"),
    ("twitterandroid", "X"),
    ("kakaotalk", "KakaoTalk"),
    ("kakaostory", "KakaoStory"),
    ("naver(inapp", "Naver"),
    ("reddit/", "Reddit"),
    ("telegram-android/", "Telegram"),
    ("viber", "Viber"),
    ("discord/", "Discord"),
    ("slack_ssb", "Slack"),
    ("bingweb/", "Bing"),
    ("bingsapphire/", "Bing"),
    ("baiduboxapp", "Baidu"),
    ("weibo", "Weibo"),
    ("aliapp(ap", "Alipay"),
    ("dingtalk", "DingTalk"),
    ("yaapp_", "Yandex"),
    ("yandexsearch", "Yandex"),
    ("vkandroidapp", "VK"),
    ("vkclient", "VK"),
    ("flipboard/", "Flipboard"),
    (" line/", "Line"),
    (" qq/", "QQ"),
];

/// The app whose browser `lower` is.
pub(super) fn read(lower: &str) -> Option<&'static str> {
    // Apps use the system's web view, which says it is a browser.
    if !lower.starts_with("mozilla/") {
        return None;
    }
    MARKS.read(lower)
}

static MARKS: LazyLock<Marks<&'static str>> = LazyLock::new(|| Marks::new(APPS.iter().copied()));
