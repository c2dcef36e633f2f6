//! Browsers and apps of people.

use super::*;

/// Reads `user_agent`, of a person, as `device browser version os in_app`.
fn person(user_agent: &str) -> String {
    let agent = read(user_agent);
    assert_eq!(agent.automation, None, "{user_agent}");
    let version = agent.browser_version.map_or_else(|| "-".to_owned(), |version| version.to_string());
    let [browser, os, app] = [agent.browser, agent.os, agent.in_app].map(|name| name.unwrap_or("-"));
    format!("{}, {browser} {version}, {os}, {app}", agent.device)
}

#[test]
fn browsers_are_told_with_their_device() {
    for (user_agent, expected) in [
        (
            "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36",
            "desktop, Chrome 142, Windows, -",
        ),
        (
            "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36 Edg/142.0.0.0",
            "desktop, Edge 142, Windows, -",
        ),
        (
            "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.6 Safari/605.1.15",
            "desktop, Safari 18, macOS, -",
        ),
        (
            "Mozilla/5.0 (X11; Ubuntu; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
            "desktop, Firefox 140, Linux, -",
        ),
        (
            "Mozilla/5.0 (X11; CrOS x86_64 14541.0.0) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Safari/537.36",
            "desktop, Chrome 141, ChromeOS, -",
        ),
        (
            "Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.6 Mobile/15E148 Safari/604.1",
            "mobile, Safari 18, iOS, -",
        ),
        (
            "Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) CriOS/141.0.7390.41 Mobile/15E148 Safari/604.1",
            "mobile, Chrome 141, iOS, -",
        ),
        (
            "Mozilla/5.0 (iPad; CPU OS 17_7 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.7 Mobile/15E148 Safari/604.1",
            "tablet, Safari 17, iPadOS, -",
        ),
        (
            "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Mobile Safari/537.36",
            "mobile, Chrome 142, Android, -",
        ),
        (
            "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36",
            "tablet, Chrome 142, Android, -",
        ),
        (
            "Mozilla/5.0 (Linux; Android 13; SAMSUNG SM-S911B) AppleWebKit/537.36 (KHTML, like Gecko) SamsungBrowser/28.0 Chrome/130.0.0.0 Mobile Safari/537.36",
            "mobile, Samsung Internet 28, Android, -",
        ),
        ("Mozilla/5.0 (Android 14; Mobile; rv:140.0) Gecko/140.0 Firefox/140.0", "mobile, Firefox 140, Android, -"),
        (
            "Mozilla/5.0 (Linux; U; Android 4.1.2; de-de; GT-I8190 Build/JZO54K) AppleWebKit/534.30 (KHTML, like Gecko) Version/4.0 Mobile Safari/534.30",
            "mobile, Android Browser 4, Android, -",
        ),
        (
            "Mozilla/5.0 (Linux; Android 9; KFMAWI) AppleWebKit/537.36 (KHTML, like Gecko) Silk/126.2.1 like Chrome/126.0.6478.134 Safari/537.36",
            "tablet, Silk 126, Android, -",
        ),
        (
            "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/138.0.0.0 Safari/537.36 OPR/122.0.0.0",
            "desktop, Opera 122, Windows, -",
        ),
        (
            "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/138.0.0.0 Safari/537.36 Vivaldi/7.5.3735.54",
            "desktop, Vivaldi 7, Linux, -",
        ),
        (
            "Mozilla/5.0 (Windows NT 6.1; WOW64; Trident/7.0; rv:11.0) like Gecko",
            "desktop, Internet Explorer 11, Windows, -",
        ),
        (
            "Mozilla/4.0 (compatible; MSIE 8.0; Windows NT 6.1; Trident/4.0; GTB7.4; InfoPath.2; EmbeddedWB 14.52 from: http://www.bsalsa.com/)",
            "desktop, Internet Explorer 8, Windows, -",
        ),
        (
            "Opera/9.80 (Android; Opera Mini/62.0/191.273; U; en) Presto/2.12.423 Version/12.16",
            "mobile, Opera Mini 62, Android, -",
        ),
        ("Opera/9.80 (Windows NT 6.1; WOW64) Presto/2.12.388 Version/12.18", "desktop, Opera 12, Windows, -"),
        (
            "Mozilla/5.0 (Linux; U; Android 12; ru; CUBOT P50) AppleWebKit/534.30 (KHTML, like Gecko) Version/4.0 UCBrowser/13.4.0 Mobile Safari/534.30",
            "mobile, UC Browser 13, Android, -",
        ),
        (
            "Mozilla/5.0 (Linux; Android 12; HarmonyOS; NOH-AN00) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/114.0.5735.196 HuaweiBrowser/15.0.4 Mobile Safari/537.36",
            "mobile, Huawei Browser 15, HarmonyOS, -",
        ),
        (
            "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/138.0.0.0 YaBrowser/25.8.0.0 Safari/537.36",
            "desktop, Yandex Browser 25, Windows, -",
        ),
        (
            "Mozilla/5.0 (Web0S; Linux/SmartTV) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/108.0.5359.211 Safari/537.36 WebAppManager",
            "tv, Chrome 108, webOS, -",
        ),
        (
            "Mozilla/5.0 (SMART-TV; LINUX; Tizen 7.0) AppleWebKit/537.36 (KHTML, like Gecko) 94.0.4606.31/7.0 TV Safari/537.36",
            "tv, Safari -, Tizen, -",
        ),
        (
            "Mozilla/5.0 (Linux; Android 11; AFTKM Build/RS8149.3370N; wv) AppleWebKit/537.36 (KHTML, like Gecko) Version/4.0 Chrome/130.0.6723.102 Mobile Safari/537.36",
            "tv, Chrome 130, Android, -",
        ),
        (
            "Mozilla/5.0 (PlayStation; PlayStation 5/9.20) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/15.4 Safari/605.1.15",
            "tv, Safari 15, PlayStation, -",
        ),
        (
            "Mozilla/5.0 (Windows NT 10.0; Win64; x64; Xbox; Xbox Series X) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36 Edge/44.18363",
            "tv, Edge 44, Windows, -",
        ),
        (
            "Mozilla/5.0 (X11; GNU/Linux) AppleWebKit/537.36 (KHTML, like Gecko) Chromium/136.0.0.0 Chrome/136.0.0.0 Safari/537.36 Tesla/2025.26",
            "other, Tesla 2025, Linux, -",
        ),
        (
            "Mozilla/5.0 (Mobile; Nokia_8110_4G; rv:48.0) Gecko/48.0 Firefox/48.0 KAIOS/2.5",
            "mobile, Firefox 48, KaiOS, -",
        ),
        ("Lynx/2.9.2 libwww-FM/2.14 SSL-MM/1.4.1 OpenSSL/3.3.1", "other, Lynx 2, -, -"),
        ("w3m/0.5.3+git20230121", "other, w3m 0, -, -"),
        ("Links (2.29; Linux 6.8.0 x86_64; GNU C 13.2; text)", "desktop, Links -, Linux, -"),
    ] {
        assert_eq!(person(user_agent), expected, "{user_agent}");
    }
}

#[test]
fn browsers_inside_apps_have_the_apps_name() {
    let ios = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko)";
    let android = "Mozilla/5.0 (Linux; Android 14; Pixel 8 Build/AP2A.240805.005; wv) AppleWebKit/537.36 (KHTML, like Gecko) Version/4.0 Chrome/141.0.0.0 Mobile Safari/537.36";
    for (user_agent, app) in [
        (
            format!(
                "{ios} Mobile/15E148 Instagram 395.0.0.27.98 (iPhone15,2; iOS 18_6; en_US; en; scale=3.00; 1179x2556; 767)"
            ),
            "Instagram",
        ),
        (
            format!(
                "{android} Instagram 395.0.0.44.90 Android (34/14; 420dpi; 1080x2219; Google/google; Pixel 8; shiba; shiba; en_US; 767)"
            ),
            "Instagram",
        ),
        (
            format!(
                "{android} Barcelona 395.0.0.44.90 Android (34/14; 420dpi; 1080x2219; Google/google; Pixel 8; shiba; shiba; en_US; 767)"
            ),
            "Threads",
        ),
        (
            format!(
                "{ios} Mobile/15E148 [FBAN/FBIOS;FBAV/530.0.0.50.67;FBBV/7;FBDV/iPhone15,2;FBCR/Vodafone.de;FBID/phone]"
            ),
            "Facebook",
        ),
        (format!("{android} [FB_IAB/FB4A;FBAV/530.0.0.48.74;IABMV/1;]"), "Facebook"),
        (format!("{ios} Mobile/15E148 [FBAN/MessengerForiOS;FBAV/520.0.0.31;FBCR/T-Mobile.pl]"), "Messenger"),
        (format!("{android} [FB_IAB/Orca-Android;FBAV/520.0.0.31;]"), "Messenger"),
        (
            format!(
                "{android} musical_ly_2024106030 JsSdk/1.0 NetType/WIFI Channel/googleplay AppName/musical_ly BytedanceWebview/d8a21c6"
            ),
            "TikTok",
        ),
        (format!("{ios} Mobile/15E148 musical_ly_41.2.0 BytedanceWebview/d8a21c6"), "TikTok"),
        (format!("{ios} Mobile/15E148 [LinkedInApp]/9.31.1234"), "LinkedIn"),
        (format!("{android} [Pinterest/Android]"), "Pinterest"),
        (format!("{ios} Mobile/15E148 [Pinterest/iOS]"), "Pinterest"),
        (format!("{ios} Version/18.6 Mobile/15E148 Snapchat/13.50.0.41 (like Safari/8618.3.11, panda)"), "Snapchat"),
        (format!("{ios} GSA/385.0.807 Mobile/15E148 Safari/604.1"), "Google app"),
        (format!("{ios} Mobile/15E148 Safari Line/15.14.0"), "Line"),
        (
            format!(
                "{android} MMWEBID/7 MicroMessenger/8.0.60.2880(0x28003C3D) WeChat/arm64 Weixin NetType/WIFI Language/en"
            ),
            "WeChat",
        ),
        (format!("{ios} Mobile/15E148 Twitter for iPhone/11.30"), "X"),
        (format!("{android} TwitterAndroid"), "X"),
        (format!("{android};KAKAOTALK 2510320"), "KakaoTalk"),
        (format!("{ios} Version/18.6 Mobile/15E148 Safari/605.1 NAVER(inapp; search; 2000; 12.14.3; 14PRO)"), "Naver"),
        (format!("{android} YandexSearch/25.80 YandexSearchBrowser/25.80"), "Yandex"),
        (format!("{ios} Mobile/15E148 baiduboxapp/15.20.0.10 (Baidu; P2 18.6)"), "Baidu"),
    ] {
        let agent = read(&user_agent);
        assert_eq!((agent.in_app, agent.automation, agent.device), (Some(app), None, Device::Mobile), "{user_agent}");
    }
    assert_eq!(read(android).in_app, None, "some app, but it does not say which");
}

#[test]
fn nothing_of_a_person_is_taken_for_a_machine() {
    for user_agent in [
        // Devices that are called like machines.
        "Mozilla/5.0 (Linux; Android 8.0.0; CUBOT_P20) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/70.0.3538.110 Mobile Safari/537.36",
        "Mozilla/5.0 (Linux; Android 7.0; M bot 54) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/78.0.3904.96 Mobile Safari/537.36",
        "Mozilla/5.0 (Linux; Android 13; Spider 8 Build/TP1A) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/124.0.0.0 Safari/537.36",
        // What is installed beside a browser.
        "Mozilla/4.0 (compatible; MSIE 7.0; Windows NT 6.1; Trident/7.0; SLCC2; .NET4.0E; GWX:DOWNLOADED)",
        "Mozilla/4.0 (compatible; MSIE 8.0; Windows NT 5.1; Trident/4.0; eSobiSubscriber 2.0.4.16; .NET CLR 2.0.50727)",
        "Mozilla/4.0 (compatible; MSIE 6.0; Windows NT 5.0; Avant Browser [avantbrowser.com]; QQDownload 1.7)",
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36 Avast/142.0.31.0",
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36 Norton/142.0.31.0",
        "Mozilla/5.0 (iPhone; CPU iPhone OS 17_4_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.4.1 Mobile/15E148 Safari/604.1 (Ecosia ios@9.2.3.1367)",
        "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.6 Safari/605.1.15 Ddg/17.6",
        // Phones, consoles and readers of the time before.
        "Nokia6280/2.0 (03.60) Profile/MIDP-2.0 Configuration/CLDC-1.1",
        "SonyEricssonW810i/R46EA Browser/NetFront/3.3 Profile/MIDP-2.0 Configuration/CLDC-1.1 UP.Link/6.3.0.0.0",
        "BlackBerry9700/5.0.0.862 Profile/MIDP-2.1 Configuration/CLDC-1.1 VendorID/120",
        "DoCoMo/2.0 P900i(c100;TB;W24H11)",
        "Mozilla/5.0 (Nintendo 3DS; U; ; en) Version/1.7412.EU",
        "Mozilla/5.0 (X11; U; Linux armv7l like Android; en-us) AppleWebKit/531.2+ (KHTML, like Gecko) Version/5.0 Safari/533.2+ Kindle/3.0+",
        "Mozilla/4.8 [en] (Windows NT 5.1; U)",
        "Mozilla/5.0 (compatible; Konqueror/4.14; Linux) KHTML/4.14.2 (like Gecko)",
        // Programs of people: mail, office, apps of their own.
        "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Thunderbird/140.3.0",
        "Microsoft Office/16.0 (Windows NT 10.0; Microsoft Outlook 16.0.18227; Pro)",
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Slack/4.46.96 Chrome/138.0.7204.168 Electron/37.2.5 Safari/537.36 Slack_SSB/4.46.96",
        "Shop/4211 CFNetwork/1568.300.101 Darwin/24.2.0",
        "Dalvik/2.1.0 (Linux; U; Android 14; SM-A546B Build/UP1A.231005.007)",
        "Job Search/95.0 (iPhone; CPU iOS 17_3_1 like Mac OS X)",
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64)",
        "User-Agent:Mozilla/5.0 (Windows NT 10.0; WOW64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/92.0 Safari/537.36",
    ] {
        assert_eq!(read(user_agent).automation, None, "{user_agent}");
    }
}
