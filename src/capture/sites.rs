//! Whose pages may post visits, and read the answer.

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use url::Url;

/// The most a preflight is remembered, in seconds: browsers cut it at this or less.
const PREFLIGHT_SECONDS: &str = "7200";

/// An origin, or all subdomains of one: `https://shop.example`, `https://*.shop.example`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    scheme: String,
    host: String,
    port: Option<u16>,
    subdomains: bool,
}

impl Site {
    /// Reads one; `None` if it has more than scheme, host and port.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (scheme, rest) = text.trim_end_matches('/').split_once("://")?;
        let (subdomains, plain) = rest.strip_prefix("*.").map_or((false, rest), |rest| (true, rest));
        let url = Url::parse(&format!("{scheme}://{plain}")).ok()?;
        let bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none() && url.username().is_empty();
        let web = matches!(url.scheme(), "http" | "https") && bare && !plain.contains(['/', '@', '*']);
        let host = url.host_str()?.to_owned();
        web.then(|| Self { scheme: url.scheme().to_owned(), host, port: url.port(), subdomains })
    }

    fn holds(&self, url: &Url) -> bool {
        let host = url.host_str().unwrap_or_default();
        let below = || host.strip_suffix(&self.host).is_some_and(|rest| rest.ends_with('.') && rest.len() > 1);
        let host = if self.subdomains { below() } else { host == self.host };
        host && url.scheme() == self.scheme && url.port() == self.port
    }
}

/// The configured sites; `[capture] sites`.
#[derive(Clone, Debug, Default)]
pub struct Sites(pub Vec<Site>);

/// Where a request comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum From {
    /// No page: a server, or a browser that follows a link.
    Elsewhere,
    /// A page that may read the answer.
    Site(HeaderValue),
    /// A page of somebody else.
    Stranger,
}

impl Sites {
    /// Where this request comes from. Pages of the relay's own origin are among the sites.
    pub(super) fn from(&self, headers: &HeaderMap) -> From {
        let Some(origin) = headers.get(header::ORIGIN) else { return From::Elsewhere };
        let url = origin.to_str().ok().and_then(|origin| Url::parse(origin).ok()).filter(Url::has_host);
        let Some(url) = url else { return From::Stranger };
        let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
        let own = || {
            let authority = origin.to_str().ok().and_then(|origin| Some(origin.split_once("://")?.1));
            authority.is_some() && authority == host
        };
        if self.0.iter().any(|site| site.holds(&url)) || own() { From::Site(origin.clone()) } else { From::Stranger }
    }

    /// Whether both addresses are on these sites, or on one host: going from one to the other is no new visit.
    pub(super) fn inside(&self, one: &str, other: &str) -> bool {
        let (Ok(one), Ok(other)) = (Url::parse(one), Url::parse(other)) else { return false };
        let ours = |url: &Url| self.0.iter().any(|site| site.holds(url));
        one.host_str().is_some() && (one.host_str() == other.host_str() || (ours(&one) && ours(&other)))
    }
}

impl From {
    /// Lets the page read an answer, and send cookies.
    pub(super) fn allow(&self, headers: &mut HeaderMap) {
        headers.append(header::VARY, HeaderValue::from_static("origin"));
        let Self::Site(origin) = self else { return };
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
    }

    /// What a preflight asks for.
    pub(super) fn allow_posting(&self, headers: &mut HeaderMap) {
        self.allow(headers);
        if matches!(self, Self::Site(_)) {
            let mut insert = |name: HeaderName, value| drop(headers.insert(name, HeaderValue::from_static(value)));
            insert(header::ACCESS_CONTROL_ALLOW_METHODS, "POST");
            insert(header::ACCESS_CONTROL_ALLOW_HEADERS, "content-type");
            insert(header::ACCESS_CONTROL_MAX_AGE, PREFLIGHT_SECONDS);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(sites: &[&str], origin: &str) -> From {
        let sites = Sites(sites.iter().map(|site| Site::parse(site).expect("a site")).collect());
        let headers = [(header::ORIGIN, origin), (header::HOST, "t.shop.example")];
        sites.from(
            &headers.map(|(name, value)| (name, HeaderValue::from_str(value).expect("valid"))).into_iter().collect(),
        )
    }

    #[test]
    fn only_configured_origins_are_allowed() {
        let sites = ["https://shop.example", "https://*.brand.example", "http://localhost:3000"];
        for origin in
            ["https://shop.example", "https://www.brand.example", "https://a.b.brand.example", "http://localhost:3000"]
        {
            assert!(matches!(from(&sites, origin), From::Site(_)), "{origin}");
        }
        for origin in [
            "http://shop.example",
            "https://shop.example:8443",
            "https://www.shop.example",
            "https://brand.example",
            "https://.brand.example",
            "https://evilbrand.example",
            "https://shop.example.evil.test",
            "null",
            "https://",
            "file://",
        ] {
            assert_eq!(from(&sites, origin), From::Stranger, "{origin}");
        }
        assert!(matches!(from(&[], "https://t.shop.example"), From::Site(_)), "the relay's own");
        assert_eq!(Sites::default().from(&HeaderMap::new()), From::Elsewhere);
    }

    #[test]
    fn a_site_is_an_origin() {
        for bad in [
            "shop.example",
            "https://shop.example/path",
            "https://*",
            "https://a.*.example",
            "ftp://a.example",
            "https://u@a.example",
        ] {
            assert_eq!(Site::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn going_about_on_the_own_sites_is_inside() {
        let sites = Sites(
            ["https://shop.example", "https://checkout.example"].map(|site| Site::parse(site).expect("a site")).into(),
        );
        assert!(sites.inside("https://shop.example/a", "https://checkout.example/b"));
        assert!(sites.inside("https://other.example/a", "https://other.example/b"));
        assert!(!sites.inside("https://shop.example/a", "https://www.google.com/"));
    }
}
