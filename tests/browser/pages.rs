//! Pages with the tag in them.

use crate::web::Web;

#[path = "../../src/capture/tag/shorten.rs"]
mod shorten;

/// The tag as the relay serves it.
pub(crate) fn script(own_domains: &[&str], require_consent: bool) -> String {
    let script = shorten::shorten(include_str!("../../src/capture/tag/tag.js"));
    let script = script.replace("COOKIE_SECONDS", "34560000").replace("REQUIRE_CONSENT", &require_consent.to_string());
    script.replace("VISITS", "\"v1/visits\"").replace("OWN_DOMAINS", &serde_json::json!(own_domains).to_string())
}

/// A shop whose front page has the tag, with what else stands there.
pub(crate) async fn tagged(body: &str) -> Web {
    let web = Web::start(script(&[], false)).await;
    web.page("/", &web.tag(""), body);
    web
}
