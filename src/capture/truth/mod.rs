//! What a request for a link was. Every layer is asked and every reason kept; the strongest reason gives the verdict.
//!
//! | reason | verdict | layer |
//! |---|---|---|
//! | `head` | bot, if nothing else says more | the method |
//! | `prefetch` | prefetch | headers by which browsers say that nobody has clicked yet |
//! | `qa: …` | qa | token, cookie or network of the operator's own people |
//! | `known_preview: …`, `known_bot: …` | preview, bot | the user agent |
//! | `no_user_agent` | bot | |
//! | `no_fetch_metadata` | bot | a browser that always says why it fetches has not |
//! | `burst` | burst | what one browser asked for within seconds |
//! | `duplicate` | duplicate | the same visitor and link just before |

mod fingerprint;
mod judge;
mod lately;

use std::net::IpAddr;

use axum::http::{HeaderMap, Method, header};
use subtle::ConstantTimeEq as _;

use super::cookies;
use crate::{
    agents::{Agent, Automation, Category},
    links::QA_PARAMETER,
    model::{ClickVerdict, RawUser, Secret},
    privacy::scrub::{self, Posted},
    web::{Network, TrustedProxies, cut},
};

pub(super) use fingerprint::Fingerprints;
pub(super) use judge::{Judge, Sighting, Who};
pub(super) use lately::Lately;

/// Names of machines are cut at this in reasons.
const PRODUCT_BYTES_MAX: usize = 64;

/// Who the operator's own people are.
#[derive(Clone, Debug, Default)]
pub(super) struct Qa {
    pub(super) token: Option<Secret>,
    pub(super) networks: Vec<Network>,
}

impl Qa {
    /// By what a request is known as one of theirs.
    fn sign(&self, query: &str, headers: &HeaderMap, client: IpAddr) -> Option<&'static str> {
        if let Some(token) = self.token.as_ref().map(Secret::expose).filter(|token| !token.is_empty()) {
            let is_token = |given: &str| bool::from(given.as_bytes().ct_eq(token.as_bytes()));
            let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
            if pairs.any(|(name, value)| name == QA_PARAMETER && is_token(value)) {
                return Some("qa: token");
            }
            if cookie(headers, QA_PARAMETER).is_some_and(is_token) {
                return Some("qa: cookie");
            }
        }
        self.networks.iter().any(|network| network.holds(client)).then_some("qa: network")
    }
}

/// What one request tells by itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Signs {
    pub(super) head: bool,
    prefetch: bool,
    qa: Option<&'static str>,
    automation: Option<Automation>,
    no_fetch_metadata: bool,
}

/// A request as the signs are read from it.
pub(super) struct Asked<'a> {
    pub(super) method: &'a Method,
    pub(super) query: &'a str,
    pub(super) headers: &'a HeaderMap,
    /// The address at the other end of the connection.
    pub(super) peer: IpAddr,
    /// The address of who asks.
    pub(super) client: IpAddr,
}

impl Signs {
    pub(super) fn read(asked: &Asked<'_>, agent: &Agent, qa: &Qa, proxies: &TrustedProxies) -> Self {
        Self {
            head: asked.method == Method::HEAD,
            prefetch: is_prefetch(asked.headers),
            qa: qa.sign(asked.query, asked.headers, asked.client),
            no_fetch_metadata: agent.automation.is_none()
                && says_why_it_fetches(agent)
                && !asked.headers.keys().any(|name| name.as_str().starts_with("sec-fetch-"))
                && came_encrypted(asked, proxies)
                && !is_web_view(asked.headers),
            automation: agent.automation.clone(),
        }
    }

    /// What the request was, if that can be told without others.
    pub(super) fn verdict(&self) -> Option<ClickVerdict> {
        let category = self.automation.as_ref().map(|automation| automation.category);
        if self.prefetch {
            Some(ClickVerdict::Prefetch)
        } else if self.qa.is_some() {
            Some(ClickVerdict::Qa)
        } else if let Some(category) = category {
            Some(if category.is_preview() { ClickVerdict::Preview } else { ClickVerdict::Bot })
        } else {
            (self.head || self.no_fetch_metadata).then_some(ClickVerdict::Bot)
        }
    }

    /// Everything that speaks against a person's click.
    pub(super) fn reasons(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        let plain = [(self.head, "head"), (self.prefetch, "prefetch"), (self.no_fetch_metadata, "no_fetch_metadata")];
        reasons.extend(plain.into_iter().filter(|(is, _)| *is).map(|(_, reason)| reason.to_owned()));
        reasons.extend(self.qa.map(str::to_owned));
        reasons.extend(self.automation.as_ref().map(automation_reason));
        reasons
    }
}

fn automation_reason(Automation { product, category }: &Automation) -> String {
    if *category == Category::NoUserAgent {
        return "no_user_agent".to_owned();
    }
    let kind = if category.is_preview() { "known_preview" } else { "known_bot" };
    // A name that is not in our table is a word of the user agent, and may be anything.
    let product = scrub::agent(cut(product.to_string(), PRODUCT_BYTES_MAX), &Posted::of(&RawUser::default()));
    format!("{kind}: {} ({})", product.as_deref().unwrap_or("unnamed"), category.as_str())
}

/// Whether a browser loads ahead of a click.
/// Source: <https://wicg.github.io/nav-speculation/prefetch.html> (`Sec-Purpose`), and the older headers of Chrome and Safari
/// (`Purpose`, `X-Purpose`) and Firefox (`X-Moz`), read 2026-11-20.
fn is_prefetch(headers: &HeaderMap) -> bool {
    let says = |name: &str| {
        let value = headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("");
        let mut words = value.split([';', ',']).map(str::trim);
        words.any(|word| {
            ["prefetch", "prerender", "preview", "instant"].iter().any(|sign| word.eq_ignore_ascii_case(sign))
        })
    };
    ["sec-purpose", "purpose", "x-moz", "x-purpose"].into_iter().any(says)
}

/// Whether it is a browser that sends `Sec-Fetch-Mode` with every request that is encrypted: Chrome and Edge from 80 on,
/// Firefox from 90, Safari from 16.4 (of whose version the first number is known). All browsers on iOS are Safari inside,
/// but for their own number. Browsers built into apps are left out.
/// Source: <https://developer.mozilla.org/docs/Web/HTTP/Reference/Headers/Sec-Fetch-Mode#browser_compatibility>, read
/// 2026-11-20.
fn says_why_it_fetches(agent: &Agent) -> bool {
    let apple_mobile = matches!(agent.os, Some("iOS" | "iPadOS"));
    let since = match agent.browser {
        Some("Chrome" | "Edge") if !apple_mobile => 80,
        Some("Firefox") if !apple_mobile => 90,
        Some("Safari") => 17,
        _ => return false,
    };
    agent.in_app.is_none() && agent.browser_version.is_some_and(|version| version >= since)
}

/// Whether the request reached a trusted proxy encrypted: only then are the headers to be expected.
fn came_encrypted(asked: &Asked<'_>, proxies: &TrustedProxies) -> bool {
    let scheme = asked.headers.get("x-forwarded-proto").and_then(|value| value.to_str().ok()).unwrap_or("");
    let scheme = scheme.split(',').next().unwrap_or("").trim();
    scheme.eq_ignore_ascii_case("https") && proxies.trusts(asked.peer)
}

/// Whether it is Android's browser as apps build it in.
/// Source: <https://developer.chrome.com/docs/multidevice/user-agent#webview_user_agent>, read 2026-11-20.
fn is_web_view(headers: &HeaderMap) -> bool {
    let agent = headers.get(header::USER_AGENT).and_then(|agent| agent.to_str().ok());
    agent.is_some_and(|agent| agent.contains("; wv)"))
}

/// The value of a cookie, as it is written.
pub(super) fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    cookies::sent(headers).find(|(known, _)| *known == name).map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderName;

    use super::*;
    use crate::agents::Agents;

    const CHROME: &str = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36";

    fn signs(method: Method, query: &str, headers: &[(&'static str, &str)]) -> Signs {
        let headers: HeaderMap = headers
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), value.parse().expect("a value")))
            .collect();
        let agent = headers.get(header::USER_AGENT).map(|agent| agent.to_str().expect("text"));
        let qa = Qa {
            token: Some(Secret::new("s3cret")),
            networks: vec![Network::parse("192.0.2.0/24").expect("a network")],
        };
        let proxies = TrustedProxies(vec![Network::parse("10.0.0.0/8").expect("a network")]);
        let peer = IpAddr::from([10, 0, 0, 1]);
        let client = proxies.client(peer, &headers);
        let asked = Asked { method: &method, query, headers: &headers, peer, client };
        Signs::read(&asked, &Agents::default().read(agent), &qa, &proxies)
    }

    fn told(query: &str, headers: &[(&'static str, &str)]) -> (Option<ClickVerdict>, String) {
        let signs = signs(Method::GET, query, headers);
        (signs.verdict(), signs.reasons().join(", "))
    }

    #[test]
    fn a_browser_is_nothing_else() {
        assert_eq!(
            told("cr_qa=wrong&x", &[("user-agent", CHROME), ("cookie", "a=b; cr_qa=wrong")]),
            (None, String::new())
        );
    }

    #[test]
    fn all_reasons_are_kept_and_the_strongest_gives_the_verdict() {
        let (verdict, reasons) = told("cr_qa=s3cret", &[("sec-purpose", "prefetch;prerender")]);
        assert_eq!((verdict, reasons.as_str()), (Some(ClickVerdict::Prefetch), "prefetch, qa: token, no_user_agent"));
        let head = signs(Method::HEAD, "", &[("user-agent", CHROME)]);
        assert_eq!((head.verdict(), head.reasons()), (Some(ClickVerdict::Bot), vec!["head".to_owned()]));
        let head = signs(Method::HEAD, "", &[("user-agent", "WhatsApp/2.23.20.0")]);
        assert_eq!(head.verdict(), Some(ClickVerdict::Preview));
    }

    #[test]
    fn the_operators_people_are_known_by_token_cookie_and_network() {
        let by = |query: &str, more: (&'static str, &str)| told(query, &[("user-agent", CHROME), more]).1;
        assert_eq!(by("a=1&cr_qa=s3cret", ("accept", "*/*")), "qa: token");
        assert_eq!(by("", ("cookie", "x=y; cr_qa=s3cret")), "qa: cookie");
        assert_eq!(by("", ("x-forwarded-for", "192.0.2.77")), "qa: network");
        assert_eq!(by("cr_qa=", ("x-forwarded-for", "198.51.100.7")), "");
        let open = Qa { token: Some(Secret::new("")), ..Qa::default() };
        assert_eq!(open.sign("cr_qa=", &HeaderMap::new(), IpAddr::from([1, 1, 1, 1])), None, "no token is no token");
    }

    #[test]
    fn browsers_that_load_ahead_say_so_in_many_ways() {
        for (name, value) in
            [("sec-purpose", "prefetch"), ("purpose", "Prefetch"), ("x-moz", "prefetch"), ("x-purpose", "preview")]
        {
            assert_eq!(told("", &[("user-agent", CHROME), (name, value)]).0, Some(ClickVerdict::Prefetch), "{name}");
        }
        assert_eq!(told("", &[("user-agent", CHROME), ("purpose", "shopping")]).0, None);
    }

    #[test]
    fn machines_are_told_apart_by_name() {
        let (verdict, reasons) = told("", &[("user-agent", "WhatsApp/2.23.20.0 A")]);
        assert_eq!(verdict, Some(ClickVerdict::Preview));
        assert!(reasons.starts_with("known_preview: WhatsApp (social_preview)"), "{reasons}");
        let (verdict, reasons) = told("", &[("user-agent", "curl/8.5.0")]);
        assert_eq!(verdict, Some(ClickVerdict::Bot));
        assert!(reasons.starts_with("known_bot: curl (http_library)"), "{reasons}");
        let (_, reasons) = told("", &[("user-agent", "ada@example.com-bot")]);
        assert!(!reasons.contains('@') && reasons.starts_with("known_bot"), "{reasons}");
    }

    #[test]
    fn missing_fetch_metadata_counts_only_where_browsers_send_it() {
        let https = ("x-forwarded-proto", "https");
        let missing = |agent: &str, more: &[(&'static str, &str)]| {
            let headers = [&[("user-agent", agent)], more].concat();
            told("", &headers).1 == "no_fetch_metadata"
        };
        let safari = |version: &str| {
            format!(
                "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) {version} Mobile/15E148 Safari/604.1"
            )
        };
        assert!(missing(CHROME, &[https]));
        assert!(missing(&safari("Version/18.1"), &[https]));
        assert!(!missing(CHROME, &[https, ("sec-fetch-mode", "navigate")]));
        assert!(!missing(CHROME, &[]), "without encryption no browser sends it");
        assert!(!missing(CHROME, &[("x-forwarded-proto", "http")]));
        assert!(!missing(&CHROME.replace("142", "79"), &[https]));
        assert!(!missing(&safari("Version/16.3"), &[https]));
        assert!(!missing(&safari("CriOS/142.0.1"), &[https]), "Chrome on an iPhone is Safari inside");
        let view = "Mozilla/5.0 (Linux; Android 14; Pixel 8 Build/UQ1A; wv) AppleWebKit/537.36 (KHTML, like Gecko) Version/4.0 Chrome/142.0.0.0 Mobile Safari/537.36";
        assert!(!missing(view, &[https]));
    }
}
