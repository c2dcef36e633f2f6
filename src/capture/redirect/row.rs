//! From a hit to its row, and to what it tells of the visitor.

use axum::http::{HeaderMap, header};
use ulid::Ulid;
use url::Url;

use super::Hit;
use crate::{
    attribution::read_landing,
    capture::{truth::Who, without_contacts},
    links::VISITOR_PARAMETER,
    model::{Click, ClickVerdict, IdentityKey, Observation, RawUser, Sensitive, Time, Utm, Visit, VisitorId},
    privacy::scrub::{self, Posted},
    store::Amendment,
};

/// User agents are cut at this.
pub(super) const USER_AGENT_BYTES_MAX: usize = 1024;
/// Referrers are cut at this.
const REFERRER_BYTES_MAX: usize = 2048;

/// Whether what a request tells by itself leaves it open that a person clicked: the operator's people are persons too.
pub(super) const fn may_be_a_person(verdict: Option<ClickVerdict>) -> bool {
    matches!(verdict, None | Some(ClickVerdict::Qa))
}

/// Where a request came from, without query and fragment. Apps name themselves too: `android-app://com.google.android.gm/`.
pub(super) fn referrer(headers: &HeaderMap) -> Option<String> {
    let text = headers.get(header::REFERER)?.to_str().ok()?;
    let page = text.split(['?', '#']).next().unwrap_or("");
    let known = ["https://", "http://", "android-app://"].iter().any(|scheme| page.starts_with(scheme));
    // Headers read as text are ASCII.
    known.then(|| page[..page.len().min(REFERRER_BYTES_MAX)].to_owned())
}

/// That the page was reported which the request of this row led to.
pub(super) fn landing(row: Ulid, now: Time) -> Amendment {
    let clicked_at = Time::from_ms(i64::try_from(row.timestamp_ms()).unwrap_or(i64::MAX));
    Amendment { id: row.to_string(), clicked_at, verdict: None, reason: None, landed: Some(now), by: None }
}

impl Hit {
    /// The id of who asked, if there is one.
    pub(super) fn visitor(&self) -> Option<&VisitorId> {
        match &self.who {
            Who::Known(id) | Who::New(Some(id)) => Some(id),
            Who::New(None) => None,
        }
    }

    fn utm(&self) -> Utm {
        let address = self.location.as_ref().and_then(|location| location.to_str().ok()).unwrap_or("");
        without_contacts(scrub::utm(read_landing(address, self.at).utm, &Posted::of(&RawUser::default())))
    }

    /// Its row. A fingerprint is kept only of browsers that may be told from others.
    pub(super) fn row(&self, id: String, verdict: ClickVerdict, mut reasons: Vec<String>, fingerprint: u64) -> Click {
        reasons.extend(self.missing.map(|missing| missing.reason().to_owned()));
        let clean = |referrer: &String| scrub::page(referrer, &Posted::of(&RawUser::default()));
        Click {
            id,
            at: self.at,
            link: self.link.key.clone(),
            verdict,
            reasons,
            head: self.signs.head,
            device: Some(self.agent.device.as_str().to_owned()),
            browser: self.agent.browser.map(str::to_owned),
            os: self.agent.os.map(str::to_owned),
            in_app: self.agent.in_app.map(str::to_owned),
            country: self.country.clone(),
            referrer: self.referrer.as_ref().map(clean),
            visitor_id: self.visitor().cloned(),
            fingerprint: if self.anonymous { 0 } else { fingerprint },
            utm: self.utm(),
            split: self.split,
            landed: None,
            relabelled_by: None,
        }
    }

    /// What it tells of the visitor: that it lands on a page by a link, with these click ids.
    pub(super) fn observation(&self) -> Option<Observation> {
        let (visitor, location) = (self.visitor()?, self.location.as_ref()?.to_str().ok()?);
        let user = RawUser::default();
        let posted = &Posted::of(&user);
        let address = without_visitor(location);
        let mut landing = read_landing(&address, self.at);
        landing.clicks.retain(|click| !scrub::identifies(&click.value, posted));
        // As the browser will call it, so that the tag's report is known to be of the same page.
        let page = Url::parse(&address).map_or(address, String::from);
        let visit = Visit {
            at: self.at,
            url: Some(Sensitive::new(scrub::page(&page, posted))),
            referrer: self.referrer.as_ref().map(|referrer| Sensitive::new(scrub::page(referrer, posted))),
            utm: without_contacts(scrub::utm(landing.utm, posted)),
            link: Some(self.link.key.clone()),
            ..Visit::default()
        };
        let agent = Some(self.user_agent.clone()).filter(|agent| !agent.is_empty());
        Some(Observation {
            keys: landing.clicks.iter().filter_map(IdentityKey::of_click).collect(),
            clicks: landing.clicks,
            ip: Some(Sensitive::new(self.client)),
            user_agent: agent.and_then(|agent| scrub::agent(agent, posted)).map(Sensitive::new),
            ..Observation::new(visitor.clone(), visit)
        })
    }
}

/// An address without the visitor's id, which is the last of its parameters.
fn without_visitor(address: &str) -> String {
    let (page, fragment) = address.split_at(address.find('#').unwrap_or(address.len()));
    let last = page.rfind(['?', '&']);
    let own = |at: &usize| page[at + 1..].strip_prefix(VISITOR_PARAMETER).is_some_and(|rest| rest.starts_with('='));
    let end = last.filter(own).unwrap_or(page.len());
    [&page[..end], fragment].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_landing_page_is_told_without_the_visitor() {
        for (address, page) in [
            ("https://a.example/?gclid=x&cr_vid=01J#top", "https://a.example/?gclid=x#top"),
            ("https://a.example?cr_vid=01J", "https://a.example"),
            ("https://a.example/?a=1&b", "https://a.example/?a=1&b"),
            ("https://a.example/#?cr_vid=1", "https://a.example/#?cr_vid=1"),
        ] {
            assert_eq!(without_visitor(address), page);
        }
    }

    #[test]
    fn referrers_lose_what_stands_behind_the_page() {
        let of = |value: &str| {
            let headers = HeaderMap::from_iter([(header::REFERER, value.parse().expect("a value"))]);
            referrer(&headers)
        };
        assert_eq!(of("https://m.example/inbox?id=7&to=a@b.example#x").as_deref(), Some("https://m.example/inbox"));
        assert_eq!(of("android-app://com.google.android.gm/").as_deref(), Some("android-app://com.google.android.gm/"));
        assert_eq!(of("javascript:alert(1)"), None);
        assert_eq!(of(&format!("https://a.example/{}", "a".repeat(5000))).map(|page| page.len()), Some(2048));
    }
}
