//! Pages with the tag in them.

use crate::{support::Setup, web::Web};

/// The tag as a relay with these settings serves it.
pub(crate) async fn script(own_domains: &[&str], require_consent: bool) -> String {
    let domains = serde_json::json!(own_domains);
    let relay =
        Setup::new(&format!("[capture]\nown_domains = {domains}\nrequire_consent = {require_consent}\n")).start();
    let answer = relay.client.get(format!("{}/t.js", relay.public)).send().await.expect("answers");
    assert_eq!(answer.headers()["content-type"], "text/javascript; charset=utf-8");
    answer.text().await.expect("is text")
}

/// A shop whose front page has the tag, with what else stands there.
pub(crate) async fn tagged(body: &str) -> Web {
    let web = Web::start(script(&[], false).await).await;
    web.page("/", &web.tag(""), body);
    web
}
