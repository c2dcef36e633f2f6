//! `[capture]`.

use std::{collections::BTreeSet, time::Duration};

use super::read::{DAY, PATHS_TAKEN, name, named};
use crate::{
    capture::{Config, Site, Sites},
    intake,
    model::{EventName, Settings},
    web::TrustedProxies,
};

/// Browsers keep no cookie longer.
const COOKIE_DAYS_MAX: u64 = 400;

/// Steps on the way that GA4 has names for: what they are worth is nobody's money yet.
/// Source: <https://developers.google.com/analytics/devguides/collection/ga4/reference/events>, read 2026-11-20.
const EVENTS: [&str; 10] = [
    "add_payment_info",
    "add_shipping_info",
    "add_to_cart",
    "add_to_wishlist",
    "begin_checkout",
    "search",
    "select_item",
    "view_cart",
    "view_item",
    "view_item_list",
];

/// Reads the section; trusted proxies and the country are set elsewhere.
pub(super) fn read(section: &mut Settings) -> Option<Config> {
    let paths = [
        ("visits_path", "a path such as /v1/visits that nothing else has"),
        ("tag_path", "a path such as /t.js that nothing else has"),
        ("privacy_path", "a path such as /privacy that nothing else has"),
    ];
    let [visits_path, tag_path, privacy_path] =
        paths.map(|(key, expected)| section.parsed(key, expected, |text| path(text).then(|| text.to_owned())));
    let twice = |one: &Option<String>, other: &Option<String>| one.is_some() && one == other;
    if twice(&visits_path, &tag_path) || twice(&visits_path, &privacy_path) || twice(&tag_path, &privacy_path) {
        section.problem("tag_path", "visits_path, tag_path and privacy_path must differ");
    }
    let sites = section.list("sites", "an origin such as https://shop.example or https://*.shop.example", Site::parse);
    let own_domains = section.list("own_domains", "a host such as checkout.example", host);
    let cookie_domain = section.parsed("cookie_domain", "a domain such as shop.example", host);
    let days = section.number("cookie_days", 1..=COOKIE_DAYS_MAX).unwrap_or(COOKIE_DAYS_MAX);
    let require_consent = section.flag("require_consent").unwrap_or(false);
    let respect_gpc = section.flag("respect_gpc").unwrap_or(true);
    let meta_cookies = section.flag("meta_cookies").unwrap_or(true);
    let events = if section.has("events") {
        let read = section.list("events", "the name of an event, such as add_to_cart", name::<EventName>);
        read.map(|names| names.into_iter().collect())
    } else {
        Some(EVENTS.into_iter().filter_map(|event| EventName::new(event).ok()).collect::<BTreeSet<_>>())
    };
    let source = section.parsed("source", &named("tag"), name);
    Some(Config {
        visits_path: visits_path?,
        tag_path: tag_path?,
        privacy_path: privacy_path?,
        sites: Sites(sites.unwrap_or_default()),
        own_domains: own_domains.unwrap_or_default(),
        cookie_domain,
        cookie_life: Duration::from_secs(days * DAY.as_secs()),
        require_consent,
        respect_gpc,
        meta_cookies,
        events: events?,
        source: source?,
        trusted_proxies: TrustedProxies::default(),
        default_country: None,
    })
}

/// Whether a path can be ours: plain, and nobody else's.
fn path(text: &str) -> bool {
    let plain = text.bytes().all(|b| b.is_ascii_alphanumeric() || b"/._-".contains(&b));
    let below = ["/files/", "/webhooks/", "/capi/", "/l/"].iter().any(|folder| text.starts_with(folder));
    let taken = below || PATHS_TAKEN.contains(&text) || intake::segment::has_path(text);
    text.starts_with('/') && text.len() > 1 && plain && !taken
}

/// A host name in lower case, without scheme, port and path.
pub(super) fn host(text: &str) -> Option<String> {
    let host = text.trim_start_matches('.').to_ascii_lowercase();
    let label = |label: &str| {
        !label.is_empty() && label.len() <= 63 && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    (host.len() <= 253 && host.split('.').all(label)).then_some(host)
}
