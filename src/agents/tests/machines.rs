//! Machines: by their published name, by their words, by their shape.

use std::collections::HashSet;

use super::*;
use crate::agents::table;

const CHROME: &str =
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Safari/537.36";

fn machine(user_agent: &str) -> Automation {
    read(user_agent).automation.unwrap_or_else(|| panic!("{user_agent} is of a machine"))
}

/// One list of user agents for each category.
#[rustfmt::skip]
const SENT: &[(Category, &[&str])] = &[
    (Category::Search, &[
        "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
        "Mozilla/5.0 (Linux; Android 6.0.1; Nexus 5X Build/MMB29P) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.7390.54 Mobile Safari/537.36 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
        "Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm) Chrome/116.0.1938.76 Safari/537.36",
        "Mozilla/5.0 (compatible; YandexBot/3.0; +http://yandex.com/bots)",
        "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_5) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/13.1.1 Safari/605.1.15 (Applebot/0.1; +http://www.apple.com/go/applebot)",
        "DuckDuckBot/1.1; (+http://duckduckgo.com/duckduckbot.html)",
        "Mozilla/5.0 (compatible; Baiduspider/2.0; +http://www.baidu.com/search/spider.html)",
        "Mozilla/5.0 (Linux; Android 7.0;) AppleWebKit/537.36 (KHTML, like Gecko) Mobile Safari/537.36 (compatible; PetalBot;+https://webmaster.petalsearch.com/site/petalbot)",
        "AcmeSearch/1.0",
    ]),
    (Category::SocialPreview, &[
        "facebookexternalhit/1.1 (+http://www.facebook.com/externalhit_uatext.php)",
        "WhatsApp/2.23.20.0 A",
        "Twitterbot/1.0",
        "Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)",
        "TelegramBot (like TwitterBot)",
        "Mozilla/5.0 (compatible; Discordbot/2.0; +https://discordapp.com)",
        "LinkedInBot/1.0 (compatible; Mozilla/5.0; Apache-HttpClient +http://www.linkedin.com)",
        "Mozilla/5.0 (Windows NT 6.1; WOW64) SkypeUriPreview Preview/0.5",
        "Mozilla/5.0 (compatible; Bluesky Cardyb/1.1; +mailto:support@bsky.app)",
        "http.rb/5.1.1 (Mastodon/4.2.1; +https://social.example/) Bot",
        "Pleroma 2.6.0; https://social.example <admin@social.example>; Bot",
        "Google-PageRenderer Google (+https://developers.google.com/+/web/snippet/)",
        "Mozilla/5.0 (compatible; Embedly/0.2; +http://support.embed.ly/)",
        "Iframely/1.3.1 (+https://iframely.com/docs/about)",
        "Mozilla/5.0 (compatible; redditbot/1.0; +http://www.reddit.com/feedback)",
        "Snap URL Preview Service; bot; snapchat; https://developers.snap.com/robots",
        "AcmePreview/1.0 (+https://acme.example)",
    ]),
    (Category::AiCrawler, &[
        "Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; GPTBot/1.2; +https://openai.com/gptbot)",
        "Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; ClaudeBot/1.0; +claudebot@anthropic.com)",
        "CCBot/2.0 (https://commoncrawl.org/faq/)",
        "Mozilla/5.0 (Linux; Android 5.0) AppleWebKit/537.36 (KHTML, like Gecko) Mobile Safari/537.36 (compatible; Bytespider; spider-feedback@bytedance.com)",
        "meta-externalagent/1.1 (+https://developers.facebook.com/docs/sharing/webmasters/crawler)",
    ]),
    (Category::AiAgent, &[
        "Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko); compatible; ChatGPT-User/1.0; +https://openai.com/bot",
        "Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; Claude-User/1.0; +Claude-User@anthropic.com)",
        "Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; Perplexity-User/1.0; +https://perplexity.ai/perplexity-user)",
    ]),
    (Category::Seo, &[
        "Mozilla/5.0 (compatible; AhrefsBot/7.0; +http://ahrefs.com/robot/)",
        "Mozilla/5.0 (compatible; SemrushBot/7~bl; +http://www.semrush.com/bot.html)",
        "Screaming Frog SEO Spider/21.4",
        "AcmeBacklinkBot/1.0",
    ]),
    (Category::Monitoring, &[
        "Mozilla/5.0+(compatible; UptimeRobot/2.0; http://www.uptimerobot.com/)",
        "Mozilla/5.0 (Linux; Android 11; moto g power (2022)) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Mobile Safari/537.36 Chrome-Lighthouse",
        "kube-probe/1.31",
        "AcmeMonitor/3",
    ]),
    (Category::Feed, &[
        "Feedly/1.0 (+http://www.feedly.com/fetcher.html; 12 subscribers; like FeedFetcher-Google)",
        "FreshRSS/1.24.0 (Linux; https://freshrss.org)",
        "Acme RSS/1.0",
    ]),
    (Category::HttpLibrary, &[
        "curl/8.9.1",
        "Wget/1.24.5",
        "python-requests/2.32.3",
        "Python/3.12 aiohttp/3.10.5",
        "Go-http-client/2.0",
        "okhttp/4.12.0",
        "axios/1.7.7",
        "Java/17.0.12",
        "PostmanRuntime/7.42.0",
        "GuzzleHttp/7",
    ]),
    (Category::Automation, &[
        "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) HeadlessChrome/141.0.0.0 Safari/537.36",
        "Mozilla/5.0 (Unknown; Linux x86_64) AppleWebKit/538.1 (KHTML, like Gecko) PhantomJS/2.1.1 Safari/538.1",
    ]),
    (Category::Scanner, &[
        "Mozilla/5.0 (compatible; CensysInspect/1.1; +https://about.censys.io/)",
        "Mozilla/5.00 (Nikto/2.5.0) (Evasions:None) (Test:Port Check)",
        "() { :; }; /bin/bash -c 'id'",
        "${jndi:ldap://host.example/a}",
    ]),
    (Category::Archiver, &[
        "Mozilla/5.0 (compatible; archive.org_bot +http://archive.org/details/archive.org_bot)",
        "Mozilla/4.5 (compatible; HTTrack 3.0x; Windows 98)",
    ]),
    (Category::Advertising, &[
        "AdsBot-Google (+http://www.google.com/adsbot.html)",
        "Mediapartners-Google",
        "Mozilla/5.0 (compatible; adidxbot/2.0; +http://www.bing.com/bingbot.htm)",
        "CriteoBot/0.1 (+https://www.criteo.com/criteo-crawler/)",
    ]),
    (Category::MailScanner, &[
        "BarracudaSentinel (EE)",
        "Kaspersky Lab CFR link resolver cfradmins@kaspersky.com",
    ]),
    (Category::NoUserAgent, &["", "  "]),
    (Category::Malformed, &["Mozilla/5.0", "Mozilla/5.0 (compatible)", "Mozilla/5.0 (X11; Linux x86_64) Acme/2", "-", "12345"]),
    (Category::Other, &[
        "AcmeBot/1.0",
        "Mozilla/5.0 (compatible; Acme/1.0)",
        "Acme",
        "acme.example",
        "AcmeSeeker/1.0 (compatible; Mozilla 4.0; MSIE 5.5)",
    ]),
];

#[test]
fn every_category_has_user_agents() {
    for (category, sent) in SENT {
        for user_agent in *sent {
            assert_eq!(machine(user_agent).category, *category, "{user_agent}");
        }
    }
    let tried: HashSet<Category> = SENT.iter().map(|(category, _)| *category).collect();
    assert_eq!(tried, HashSet::from(Category::ALL));
}

#[test]
fn a_missing_header_is_no_user_agent() {
    let agent = Agents::default().read(None);
    assert_eq!(agent.automation.expect("a machine").category, Category::NoUserAgent);
    assert_eq!((agent.device, agent.browser, agent.os), (Device::Other, None, None));
}

#[test]
fn products_are_named() {
    for (user_agent, product) in [
        // Messages of Apple names those it wants to be taken for.
        (
            "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_11_1) AppleWebKit/601.2.4 (KHTML, like Gecko) Version/9.0.1 Safari/601.2.4 facebookexternalhit/1.1 Facebot Twitterbot/1.0",
            "iMessage",
        ),
        ("facebookexternalhit/1.1", "Facebook"),
        ("TelegramBot (like TwitterBot)", "Telegram"),
        ("Mozilla/5.0 (compatible; Googlebot-Image/1.0)", "Googlebot Image"),
        ("Mozilla/5.0 (compatible; AcmeBot/1.0; +https://acme.example/bot)", "AcmeBot"),
        ("Acme LinkChecker/2", "LinkChecker"),
        ("Acme/1.0", "Acme"),
        ("Mozilla/5.0 (compatible; Acme/1.0)", "Acme"),
    ] {
        assert_eq!(machine(user_agent).product, product, "{user_agent}");
    }
}

#[test]
fn a_browser_with_a_machines_name_or_address_is_a_machine() {
    for behind in [
        "AcmeMonitor/1.0",
        "(+https://acme.example/about)",
        "Acme/2.0 (acme.com)",
        "https://acme.example",
        "AcmeAgent",
        "acme-crawler",
        "(compatible; Acme/1.0)",
    ] {
        machine(&format!("{CHROME} {behind}"));
    }
    assert_eq!(read(CHROME).automation, None);
}

#[test]
fn the_table_is_sound() {
    let (mut products, mut needles) = (HashSet::new(), HashSet::new());
    for (category, of_category) in table::ALL {
        for (product, of_product) in *of_category {
            assert!(products.insert(*product), "{product} is there twice");
            for needle in *of_product {
                let literal = bots::unmarked(needle);
                assert!(needles.insert(literal), "{needle} is there twice");
                assert!(literal.len() > 2 && literal.is_ascii() && *literal == literal.to_lowercase(), "{needle}");
                let found = machine(&format!("{literal} x"));
                assert_ne!(found.category, Category::NoUserAgent, "{needle}");
                // A longer needle of another product may hold this one; the same text alone is this product's.
                assert_eq!((found.product.as_ref(), found.category), (*product, *category), "{needle}");
            }
        }
    }
    assert!(products.len() > 500, "the table is read wrongly");
}
