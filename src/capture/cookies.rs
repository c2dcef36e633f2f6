//! Cookies that are set: the visitor's id, and Meta's browser and click ids for sites without its pixel.

use std::time::Duration;

use axum::http::{HeaderMap, HeaderValue, header};

use crate::model::{ClickId, ClickKind, Cookies, Time, VisitorId};

/// The cookie that holds the visitor id, and the query parameter that hands it over to another site.
pub(super) const VISITOR: &str = "cr_vid";
/// How long Meta's own libraries keep its two cookies.
/// Source: facebook/capi-param-builder, read 2026-11-20.
const META_LIFE: Duration = Duration::from_secs(7_776_000);

/// How cookies are set.
#[derive(Clone, Debug, Default)]
pub(super) struct Jar {
    /// Their domain; `None` for the host alone.
    pub(super) domain: Option<String>,
    /// How long the visitor's id is kept.
    pub(super) life: Duration,
}

impl Jar {
    /// The header that sets a cookie.
    fn set(&self, name: &str, value: &str, life: Duration) -> Option<HeaderValue> {
        let domain = self.domain.as_deref().map(|domain| format!("; Domain={domain}")).unwrap_or_default();
        let seconds = life.as_secs();
        HeaderValue::from_str(&format!("{name}={value}{domain}; Path=/; Max-Age={seconds}; Secure; SameSite=Lax")).ok()
    }

    /// The header that sets the visitor's id. `None` for given ids that hold what a cookie cannot: such a visitor is found
    /// by the id its giver keeps.
    pub(super) fn visitor(&self, id: &VisitorId) -> Option<HeaderValue> {
        let plain = id.as_str().bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.:~".contains(&b));
        self.set(VISITOR, id.as_str(), self.life).filter(|_| plain)
    }

    /// The headers that delete what we set.
    pub(super) fn delete(&self) -> impl Iterator<Item = HeaderValue> {
        [VISITOR, "_fbp", "_fbc"].into_iter().filter_map(|name| self.set(name, "", Duration::ZERO))
    }

    /// Meta's cookies for a browser that has none, or whose click is an older one, and the headers that set them.
    ///
    /// `fb.{index}.{ms}.{payload}`, where the index counts the dots of the domain. Source:
    /// <https://developers.facebook.com/docs/marketing-api/conversions-api/parameters/fbp-and-fbc>, read 2026-11-20.
    pub(super) fn mint_meta(&self, host: &str, known: &mut Cookies, clicks: &[ClickId], now: Time) -> Vec<HeaderValue> {
        let index = subdomain_index(self.domain.as_deref().unwrap_or(host));
        let mut set = Vec::new();
        if known.fbp.is_none() {
            let fbp = format!("fb.{index}.{}.{}", now.as_ms(), rand::random::<u32>() >> 1);
            set.extend(self.set("_fbp", &fbp, META_LIFE));
            known.fbp = Some(fbp);
        }
        let newest = clicks.iter().filter(|click| click.kind == ClickKind::Fbclid).max_by_key(|click| click.last_seen);
        let payload = known.fbc.as_deref().and_then(|fbc| fbc.split('.').nth(3));
        if let Some(click) = newest.filter(|click| payload != Some(click.value.as_str()) && plain(&click.value)) {
            let at = click.first_seen.unwrap_or(now).as_ms();
            let fbc = format!("fb.{index}.{at}.{}", click.value);
            set.extend(self.set("_fbc", &fbc, META_LIFE));
            known.fbc = Some(fbc);
        }
        set
    }
}

/// Whether an fbclid can stand in the cookie: Meta's libraries split it at its dots.
fn plain(fbclid: &str) -> bool {
    fbclid.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}

/// `example.com` is 1, `www.example.com` is 2; addresses and `localhost` are 0.
fn subdomain_index(host: &str) -> usize {
    let host = host.trim_start_matches('.');
    let port = |(_, port): &(&str, &str)| port.bytes().all(|b| b.is_ascii_digit());
    let host = host.rsplit_once(':').filter(port).map_or(host, |(host, _)| host);
    let address = host.starts_with('[') || host.parse::<std::net::IpAddr>().is_ok();
    if address { 0 } else { host.matches('.').count() }
}

/// The cookies of a request, by name.
pub(super) fn sent(headers: &HeaderMap) -> impl Iterator<Item = (&str, &str)> {
    let lists = headers.get_all(header::COOKIE).into_iter().filter_map(|value| value.to_str().ok());
    lists.flat_map(|list| list.split(';')).filter_map(|pair| pair.trim().split_once('='))
}

/// The visitor's id in the cookie of a request.
pub(super) fn visitor(headers: &HeaderMap) -> Option<VisitorId> {
    let mut ids = sent(headers).filter(|(name, _)| *name == VISITOR);
    ids.find_map(|(_, value)| VisitorId::new(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Time = Time::from_ms(1_795_000_000_123);

    fn jar(domain: Option<&str>) -> Jar {
        Jar { domain: domain.map(str::to_owned), life: Duration::from_secs(400 * 86_400) }
    }

    #[test]
    fn metas_cookies_are_minted_in_its_form_and_only_once() {
        let click =
            ClickId { kind: ClickKind::Fbclid, value: "IwAR-a_B".into(), first_seen: Some(NOW), last_seen: NOW };
        let mut known = Cookies::default();
        let set = jar(Some("shop.example")).mint_meta("t.shop.example", &mut known, std::slice::from_ref(&click), NOW);
        assert_eq!(set.len(), 2);
        assert_eq!(known.fbc.as_deref(), Some("fb.1.1795000000123.IwAR-a_B"));
        assert!(crate::attribution::valid_fbp(known.fbp.as_deref().expect("minted")));
        assert!(
            set[1]
                .to_str()
                .expect("text")
                .contains("; Domain=shop.example; Path=/; Max-Age=7776000; Secure; SameSite=Lax")
        );
        let mut again = known.clone();
        assert!(jar(None).mint_meta("h", &mut again, std::slice::from_ref(&click), NOW).is_empty());
        assert_eq!(again, known);
        let newer = ClickId { value: "IwAR-new".into(), ..click.clone() };
        assert_eq!(jar(None).mint_meta("www.a.example:8080", &mut again, &[newer], NOW).len(), 1);
        assert_eq!(again.fbc.as_deref(), Some("fb.2.1795000000123.IwAR-new"), "another click replaces it");
        let dotted = ClickId { value: "a.b".into(), ..click };
        assert_eq!(jar(None).mint_meta("h", &mut Cookies::default(), &[dotted], NOW).len(), 1, "the browser id alone");
    }

    #[test]
    fn the_index_counts_dots_of_names() {
        for (host, index) in
            [("localhost:80", 0), ("192.0.2.1", 0), ("[::1]:80", 0), ("a.example", 1), ("www.a.example", 2)]
        {
            assert_eq!(subdomain_index(host), index, "{host}");
        }
    }

    #[test]
    fn an_id_that_is_no_plain_text_gets_no_cookie() {
        assert!(jar(None).visitor(&VisitorId::new("a;b").expect("valid")).is_none());
        let cookie = jar(None).visitor(&VisitorId::new("01JD").expect("valid")).expect("set");
        assert_eq!(cookie, "cr_vid=01JD; Path=/; Max-Age=34560000; Secure; SameSite=Lax");
    }
}
