//! Aliases that hold without being configured: names of large networks as they themselves, their apps and their users
//! write them. `[utm] builtin_aliases = false` turns all of them off, a value or alias of one's own takes precedence over
//! each.
//!
//! The hosts are the networks' own, as referrers have them; the spellings of media that mean the same are those of
//! <https://support.google.com/analytics/answer/9756891>, read 2026-11-20.

use super::Field;

/// Each source with what else it is called; a host stands for those below it too. Sorted by nothing: the first that fits.
const SOURCES: &[(&str, &[&str])] = &[
    // "ig" is also what Meta's {{site_source_name}} fills in for Instagram, as "fb" for Facebook.
    ("instagram", &["ig", "insta", "instagram.com", "com.instagram.android"]),
    ("facebook", &["fb", "facebook.com", "fb.com", "fb.me", "com.facebook.katana", "com.facebook.lite"]),
    ("messenger", &["fb-messenger", "messenger.com", "m.me", "com.facebook.orca"]),
    ("threads", &["threads.net", "threads.com", "com.instagram.barcelona"]),
    ("whatsapp", &["wa", "whats-app", "whatsapp.com", "wa.me", "com.whatsapp"]),
    // The Ads account links itself to Analytics as source "google", medium "cpc".
    ("google", &["google-ads", "googleads", "adwords", "google-adwords", "com.google.android.googlequicksearchbox"]),
    ("gmail", &["mail.google.com", "com.google.android.gm"]),
    ("youtube", &["yt", "you-tube", "youtube.com", "youtu.be", "com.google.android.youtube"]),
    ("bing", &["bing-ads", "bingads", "microsoft-ads", "bing.com"]),
    ("linkedin", &["linked-in", "linkedin.com", "lnkd.in", "com.linkedin.android"]),
    ("tiktok", &["tik-tok", "tiktok.com", "com.zhiliaoapp.musically"]),
    ("pinterest", &["pinterest.com", "pin.it", "com.pinterest"]),
    ("snapchat", &["snap", "snapchat.com", "com.snapchat.android"]),
    ("reddit", &["reddit.com", "com.reddit.frontpage"]),
    ("x", &["twitter", "twitter.com", "x.com", "t.co", "com.twitter.android"]),
    ("telegram", &["telegram.org", "t.me", "org.telegram.messenger"]),
    ("bluesky", &["bsky", "bsky.app"]),
    ("duckduckgo", &["ddg", "duckduckgo.com", "com.duckduckgo.mobile.android"]),
    ("ecosia", &["ecosia.org"]),
    ("chatgpt", &["chat-gpt", "chatgpt.com", "chat.openai.com"]),
    ("perplexity", &["perplexity.ai"]),
    ("gemini", &["gemini.google.com"]),
    ("claude", &["claude.ai"]),
    ("copilot", &["copilot.microsoft.com"]),
];

/// The same for media.
const MEDIA: &[(&str, &[&str])] = &[
    ("email", &["e-mail"]),
    ("social", &["social-media", "social-network", "sm"]),
    ("cpc", &["ppc"]),
    ("affiliate", &["affiliates"]),
];

/// What is common besides, to suggest from.
const MEDIA_KNOWN: [&str; 12] =
    ["cpc", "email", "social", "organic", "referral", "affiliate", "display", "video", "audio", "sms", "push", "qr"];

/// What a value, folded, is an alias of.
pub(super) fn alias(field: Field, folded: &str) -> Option<&'static str> {
    let of = |table: &'static [(&'static str, &'static [&'static str])]| {
        table.iter().find(|(_, others)| others.contains(&folded)).map(|(name, _)| *name)
    };
    match field {
        Field::Source => of(SOURCES),
        Field::Medium => of(MEDIA),
        _ => None,
    }
}

/// Every alias of a field, with what it stands for.
pub(super) fn aliases(field: Field) -> impl Iterator<Item = (&'static str, &'static str)> {
    let table: &[(&str, &[&str])] = match field {
        Field::Source => SOURCES,
        Field::Medium => MEDIA,
        _ => &[],
    };
    table.iter().flat_map(|(name, others)| others.iter().map(|other| (*other, *name)))
}

/// Values that everybody knows, to suggest where an operator has named none.
pub(super) fn well_known(field: Field) -> impl Iterator<Item = &'static str> {
    let (sources, media): (&[(&str, &[&str])], &[&str]) = match field {
        Field::Source => (SOURCES, &[]),
        Field::Medium => (&[], &MEDIA_KNOWN),
        _ => (&[], &[]),
    };
    sources.iter().map(|(name, _)| *name).chain(media.iter().copied())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{super::spelling::fold, *};

    #[test]
    fn each_alias_is_folded_once_there_and_no_name_itself() {
        for field in Field::ALL {
            let mut seen = BTreeMap::new();
            for (from, to) in aliases(field) {
                assert_eq!((fold(from).as_str(), fold(to).as_str()), (from, to));
                assert_eq!(seen.insert(from, to), None, "{from} is there twice");
                assert_eq!(alias(field, to), None, "{to} is an alias itself");
                assert_eq!(alias(field, from), Some(to));
            }
        }
    }
}
