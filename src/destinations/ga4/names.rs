//! Which names GA4 takes for events and parameters. What has another name is dropped by GA4 without a word.
//! Source: <https://developers.google.com/analytics/devguides/collection/protocol/ga4/sending-events> and
//! <https://developers.google.com/analytics/devguides/collection/protocol/ga4/reference>, read 2026-11-20.

const CHARS_MAX: usize = 40;

const RESERVED_PREFIXES: [&str; 5] = ["_", "firebase_", "ga_", "google_", "gtag."];

/// Events that Google's own tags and apps send: GA4 drops one of such a name that comes from elsewhere.
/// Source: <https://firebase.google.com/docs/reference/kotlin/com/google/firebase/analytics/FirebaseAnalytics.Event>, read
/// 2026-11-20.
const RESERVED_EVENTS: [&str; 30] = [
    "ad_activeview",
    "ad_click",
    "ad_exposure",
    "ad_query",
    "ad_reward",
    "adunit_exposure",
    "app_background",
    "app_clear_data",
    "app_exception",
    "app_remove",
    "app_store_refund",
    "app_store_subscription_cancel",
    "app_store_subscription_convert",
    "app_store_subscription_renew",
    "app_update",
    "app_upgrade",
    "dynamic_link_app_open",
    "dynamic_link_app_update",
    "dynamic_link_first_open",
    "error",
    "first_open",
    "first_visit",
    "in_app_purchase",
    "notification_dismiss",
    "notification_foreground",
    "notification_open",
    "notification_receive",
    "os_update",
    "session_start",
    "user_engagement",
];

/// Whether an event may be called `name`, or what is wrong with it.
pub(super) fn check_event(name: &str) -> Result<(), &'static str> {
    if !is_well_formed(name) {
        return Err("must be a letter, then letters, digits and underscores, 40 characters at most, such as sign_up");
    }
    let family = RESERVED_PREFIXES.iter().any(|prefix| name.starts_with(prefix));
    if family || RESERVED_EVENTS.contains(&name) { Err("is a name that GA4 keeps for its own events") } else { Ok(()) }
}

/// Whether a parameter may be called `name`.
pub(super) fn is_parameter(name: &str) -> bool {
    is_well_formed(name) && !RESERVED_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

fn is_well_formed(name: &str) -> bool {
    name.len() <= CHARS_MAX
        && name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}
