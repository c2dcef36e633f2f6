//! Visitors and their visits: the click context that later conversions are joined to.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::{ClickId, Consent, Cookies, IdentityKey, IdentityKind, Sensitive, Time, VisitorId};

/// Visits kept for one visitor next to the first one; the oldest of them go first.
const VISITS_MAX: usize = 20;
/// Click identifiers kept for one visitor; those not seen for longest go first.
const CLICKS_MAX: usize = 32;
/// Identifiers kept for one visitor.
const KEYS_MAX: usize = 32;

/// The five UTM values of a landing, as they were in the URL.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Utm {
    /// `utm_source`.
    #[serde(default)]
    pub source: Option<String>,
    /// `utm_medium`.
    #[serde(default)]
    pub medium: Option<String>,
    /// `utm_campaign`.
    #[serde(default)]
    pub campaign: Option<String>,
    /// `utm_content`.
    #[serde(default)]
    pub content: Option<String>,
    /// `utm_term`.
    #[serde(default)]
    pub term: Option<String>,
}

impl Utm {
    /// Whether none is set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// One landing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Visit {
    /// When.
    pub at: Time,
    /// The page.
    pub url: Option<Sensitive<String>>,
    /// Where from.
    pub referrer: Option<Sensitive<String>>,
    /// UTM values of the page's address.
    pub utm: Utm,
}

/// What one request tells about a visitor; [`Visitor::absorb`] adds it to what is known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observation {
    /// Who.
    pub visitor_id: VisitorId,
    /// The landing.
    pub visit: Visit,
    /// Click identifiers seen in the address or in cookies.
    pub clicks: Vec<ClickId>,
    /// Platform cookies.
    pub cookies: Cookies,
    /// What the visitor allowed.
    pub consent: Consent,
    /// The browser's address.
    pub ip: Option<Sensitive<IpAddr>>,
    /// The browser.
    pub user_agent: Option<Sensitive<String>>,
    /// Hashed identifiers the visitor can be found by from now on.
    pub keys: Vec<IdentityKey>,
}

/// All we know of one browser.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Visitor {
    /// Who.
    pub id: VisitorId,
    /// The first landing, always kept.
    pub first_visit: Visit,
    /// The latest landings after it, oldest first; at most 20.
    pub visits: Vec<Visit>,
    /// Every click identifier seen, at most 32.
    pub clicks: Vec<ClickId>,
    /// The latest cookies.
    pub cookies: Cookies,
    /// The latest known choices.
    pub consent: Consent,
    /// The latest address.
    pub ip: Option<Sensitive<IpAddr>>,
    /// The latest browser.
    pub user_agent: Option<Sensitive<String>>,
    /// Identifiers it was seen with, at most 32.
    pub keys: Vec<IdentityKey>,
    /// When it was last seen.
    pub last_seen: Time,
}

impl Visitor {
    /// The visitor that `first` is the first sign of.
    #[must_use]
    pub fn new(first: Observation) -> Self {
        let mut visitor = Self {
            id: first.visitor_id.clone(),
            first_visit: first.visit.clone(),
            visits: Vec::new(),
            clicks: Vec::new(),
            cookies: Cookies::default(),
            consent: Consent::default(),
            ip: None,
            user_agent: None,
            keys: Vec::new(),
            last_seen: first.visit.at,
        };
        visitor.learn(first);
        visitor
    }

    /// Adds what `seen` tells. The same observation twice changes nothing more than once does.
    pub fn absorb(&mut self, seen: Observation) {
        let known = self.first_visit == seen.visit || self.visits.contains(&seen.visit);
        if !known {
            self.visits.push(seen.visit.clone());
            if self.visits.len() > VISITS_MAX {
                self.visits.remove(0);
            }
        }
        self.learn(seen);
    }

    /// The latest landing.
    #[must_use]
    pub fn last_visit(&self) -> &Visit {
        self.visits.last().unwrap_or(&self.first_visit)
    }

    fn learn(&mut self, seen: Observation) {
        self.last_seen = self.last_seen.max(seen.visit.at);
        for click in seen.clicks {
            match self.clicks.iter_mut().find(|known| known.kind == click.kind && known.value == click.value) {
                // A landing with a click that is known keeps the time of the first: that was the click.
                Some(known) => {
                    known.first_seen = [known.first_seen, click.first_seen].into_iter().flatten().min();
                    known.last_seen = known.last_seen.max(click.last_seen);
                }
                None => self.clicks.push(click),
            }
        }
        while self.clicks.len() > CLICKS_MAX {
            let oldest = self.clicks.iter().enumerate().min_by_key(|(_, click)| click.last_seen).map_or(0, |(i, _)| i);
            self.clicks.remove(oldest);
        }
        let mut cookies = seen.cookies;
        cookies.fill_from(&self.cookies);
        self.cookies = cookies;
        self.consent = seen.consent.or(self.consent);
        self.ip = seen.ip.or(self.ip.take());
        self.user_agent = seen.user_agent.or(self.user_agent.take());
        for key in seen.keys {
            if !self.keys.contains(&key) {
                self.keys.push(key);
            }
        }
        while self.keys.len() > KEYS_MAX {
            // Click ids come and go; what says who it is stays longest.
            let click = self.keys.iter().position(|key| key.kind == IdentityKind::ClickId);
            self.keys.remove(click.unwrap_or(0));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Choice, ClickKind};

    fn seen(at: i64, gclid: &str, consent: Choice) -> Observation {
        let at = Time::from_secs(at);
        Observation {
            visitor_id: VisitorId::new("v1").expect("valid"),
            visit: Visit { at, url: None, referrer: None, utm: Utm::default() },
            clicks: vec![ClickId { kind: ClickKind::Gclid, value: gclid.into(), first_seen: Some(at), last_seen: at }],
            cookies: Cookies::default(),
            consent: Consent { ad_user_data: consent, ad_personalization: Choice::Unknown },
            ip: None,
            user_agent: None,
            keys: Vec::new(),
        }
    }

    #[test]
    fn a_landing_with_the_same_click_keeps_the_clicks_first_time() {
        let mut visitor = Visitor::new(seen(10, "Abc", Choice::Granted));
        visitor.absorb(seen(20, "Abc", Choice::Unknown));
        visitor.absorb(seen(30, "aBC", Choice::Unknown));
        assert_eq!(visitor.clicks.len(), 2, "case tells click ids apart");
        assert_eq!(visitor.clicks[0].first_seen, Some(Time::from_secs(10)));
        assert_eq!(visitor.clicks[0].last_seen, Time::from_secs(20));
        assert_eq!(visitor.consent.ad_user_data, Choice::Granted, "not having been asked again changes nothing");
        assert_eq!(visitor.visits.len(), 2);
    }

    #[test]
    fn history_is_bounded_and_keeps_the_first_visit() {
        let mut visitor = Visitor::new(seen(0, "first", Choice::Unknown));
        for i in 1..200 {
            visitor.absorb(seen(i, &format!("c{i}"), Choice::Unknown));
        }
        assert_eq!(visitor.first_visit.at, Time::from_secs(0));
        assert_eq!((visitor.visits.len(), visitor.clicks.len()), (VISITS_MAX, CLICKS_MAX));
        assert_eq!(visitor.last_visit().at, Time::from_secs(199));
    }
}
