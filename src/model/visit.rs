//! Visitors and their visits: the click context that later conversions are joined to.

use std::{net::IpAddr, time::Duration};

use serde::{Deserialize, Serialize};

use super::{
    Choice, ClickId, Consent, Cookies, Digest, EventName, IdentityKey, IdentityKind, LinkKey, Money, Sensitive, Time,
    VisitorId,
};

/// Visits kept for one visitor next to the first one; the oldest of them go first.
const VISITS_MAX: usize = 20;
/// Click identifiers kept for one visitor; those not seen for longest go first.
const CLICKS_MAX: usize = 32;
/// Identifiers kept for one visitor.
const KEYS_MAX: usize = 32;
/// Ids of the browser at ad platforms kept for one visitor.
const BROWSER_IDS_MAX: usize = 16;
/// Steps kept for one visitor; the oldest go first.
const ACTIONS_MAX: usize = 50;
/// Other visitors that are the same person, at most.
const LINKED_MAX: usize = 8;
/// A silence of this length ends a visit, as analytics tools have it.
const VISIT_ENDS_AFTER: Duration = Duration::from_secs(30 * 60);

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

/// One landing, and what followed it until the visitor was silent for half an hour.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Visit {
    /// When.
    pub at: Time,
    /// The page.
    pub url: Option<Sensitive<String>>,
    /// Where from.
    pub referrer: Option<Sensitive<String>>,
    /// UTM values of the page's address.
    pub utm: Utm,
    /// The tracked link that led to it.
    pub link: Option<LinkKey>,
    /// Pages that were looked at after the first.
    pub pages: u16,
    /// Seconds that its pages were in view.
    pub engaged_s: u32,
    /// How far the page was scrolled that was scrolled furthest, in percent.
    pub scroll: u8,
}

/// How large the visitor's screen is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Screen {
    /// Narrower than 768 points.
    Small,
    /// Narrower than 1280 points.
    Medium,
    /// Wider.
    Large,
}

/// Something a visitor did on a page: a step towards a conversion, or a conversion that its browser saw.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Action {
    /// When.
    pub at: Time,
    /// What.
    pub name: EventName,
    /// The transaction it names, hashed.
    pub transaction: Option<Digest>,
    /// What it is worth, as the browser says.
    pub money: Option<Money>,
}

/// What a page tells when it is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Left {
    /// Seconds that it was in view.
    pub engaged_s: u32,
    /// How far it was scrolled, in percent.
    pub scroll: u8,
}

/// Where in a visit something was seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Place {
    /// At its start.
    #[default]
    Landing,
    /// On a further page; a landing if the visit is over.
    Page,
    /// On a page that was told of before.
    Within,
}

/// What one request tells about a visitor; [`Visitor::absorb`] adds it to what is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observation {
    /// Who.
    pub visitor_id: VisitorId,
    /// Where in the visit.
    pub place: Place,
    /// The page, and where from.
    pub visit: Visit,
    /// Click identifiers seen in the address or in cookies.
    pub clicks: Vec<ClickId>,
    /// Platform cookies.
    pub cookies: Cookies,
    /// The browser's ids at other platforms: names of cookies, and their values.
    pub browser_ids: Vec<(String, String)>,
    /// What the visitor allowed.
    pub consent: Consent,
    /// The browser's address.
    pub ip: Option<Sensitive<IpAddr>>,
    /// The browser.
    pub user_agent: Option<Sensitive<String>>,
    /// Its screen.
    pub screen: Option<Screen>,
    /// Hashed identifiers the visitor can be found by from now on.
    pub keys: Vec<IdentityKey>,
    /// What the visitor did.
    pub action: Option<Action>,
    /// The page was left.
    pub left: Option<Left>,
    /// Another visitor that is the same person: its id was handed over.
    pub same_as: Option<VisitorId>,
    /// The visitor no longer allows anything to be kept: what is known is dropped but for that.
    pub withdrawn: bool,
}

impl Observation {
    /// That `visitor_id` was seen at `visit`, and nothing else.
    #[must_use]
    pub fn new(visitor_id: VisitorId, visit: Visit) -> Self {
        Self {
            visitor_id,
            place: Place::Landing,
            visit,
            clicks: Vec::new(),
            cookies: Cookies::default(),
            browser_ids: Vec::new(),
            consent: Consent::default(),
            ip: None,
            user_agent: None,
            screen: None,
            keys: Vec::new(),
            action: None,
            left: None,
            same_as: None,
            withdrawn: false,
        }
    }
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
    /// Its latest screen.
    pub screen: Option<Screen>,
    /// Its ids at other platforms, by cookie; at most 16.
    pub browser_ids: Vec<(String, String)>,
    /// Its latest steps, oldest first; at most 50.
    pub actions: Vec<Action>,
    /// Other visitors that are the same person, at most 8.
    pub linked: Vec<VisitorId>,
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
            screen: None,
            browser_ids: Vec::new(),
            actions: Vec::new(),
            linked: Vec::new(),
        };
        visitor.learn(first);
        visitor
    }

    /// Adds what `seen` tells. The same landing twice changes nothing more than once does.
    pub fn absorb(&mut self, seen: Observation) {
        if self.refuses(&seen) {
            return self.learn(seen);
        }
        let goes_on = seen.visit.at.since(self.last_seen) < VISIT_ENDS_AFTER;
        let last = self.last_visit();
        // The landing page loaded once more.
        let again = seen.visit.url.is_some() && last.url == seen.visit.url && last.utm == seen.visit.utm;
        let page = seen.place == Place::Page || (seen.place == Place::Landing && again);
        let known = self.first_visit == seen.visit || self.visits.contains(&seen.visit);
        if goes_on && page {
            let last = self.last_visit_mut();
            last.pages = last.pages.saturating_add(u16::from(!known && seen.place == Place::Page));
            // The link is told of before its landing page is, but it may also be stored after it.
            last.link = last.link.take().or_else(|| seen.visit.link.clone());
        } else if seen.place != Place::Within && !known {
            self.visits.push(seen.visit.clone());
            if self.visits.len() > VISITS_MAX {
                self.visits.remove(0);
            }
        }
        self.learn(seen);
    }

    /// Notes that `other` is the same person.
    pub fn link(&mut self, other: &VisitorId) {
        if *other != self.id && !self.linked.contains(other) {
            self.linked.push(other.clone());
            if self.linked.len() > LINKED_MAX {
                self.linked.remove(0);
            }
        }
    }

    /// Whether nothing of this may be kept: the visitor says no, or said so and does not say otherwise now.
    fn refuses(&self, seen: &Observation) -> bool {
        let said_no = self.consent.ad_user_data == Choice::Denied && seen.consent.ad_user_data != Choice::Granted;
        seen.withdrawn || said_no
    }

    /// This visitor with the history of `others`, who are the same person. What belongs to a browser stays its own, a yes
    /// included; of who said no, nothing is shared.
    #[must_use]
    pub fn with(mut self, others: Vec<Self>) -> Self {
        let said_no = |visitor: &Self| visitor.consent.ad_user_data == Choice::Denied;
        if said_no(&self) {
            return self;
        }
        for other in others {
            if said_no(&other) {
                if self.consent.ad_user_data == Choice::Unknown {
                    self.consent = other.consent;
                }
                continue;
            }
            let mut landings: Vec<Visit> = std::mem::take(&mut self.visits);
            landings.push(self.first_visit);
            landings.push(other.first_visit);
            landings.extend(other.visits);
            landings.sort_by_key(|visit| visit.at);
            self.first_visit = landings.remove(0);
            self.visits = landings;
            other.clicks.into_iter().for_each(|click| self.click(click));
            self.actions.extend(other.actions);
            self.actions.sort_by_key(|action| action.at);
        }
        self
    }

    /// The latest landing.
    #[must_use]
    pub fn last_visit(&self) -> &Visit {
        self.visits.last().unwrap_or(&self.first_visit)
    }

    fn last_visit_mut(&mut self) -> &mut Visit {
        self.visits.last_mut().unwrap_or(&mut self.first_visit)
    }

    fn click(&mut self, click: ClickId) {
        match self.clicks.iter_mut().find(|known| known.kind == click.kind && known.value == click.value) {
            // A landing with a click that is known keeps the time of the first: that was the click.
            Some(known) => {
                known.first_seen = [known.first_seen, click.first_seen].into_iter().flatten().min();
                known.last_seen = known.last_seen.max(click.last_seen);
            }
            None => self.clicks.push(click),
        }
    }

    /// Drops everything but who it is and by what it is found, so that what it no longer allows holds for later events.
    fn withdraw(&mut self) {
        let at = self.last_seen;
        self.first_visit = Visit { at, ..Visit::default() };
        self.visits.clear();
        self.clicks.clear();
        self.actions.clear();
        self.browser_ids.clear();
        self.cookies = Cookies::default();
        (self.ip, self.user_agent, self.screen) = (None, None, None);
        // How it is known to be who said no stays; what tells where it came from does not.
        self.keys.retain(|key| !matches!(key.kind, IdentityKind::ClickId | IdentityKind::Conversion));
    }

    fn learn(&mut self, seen: Observation) {
        self.last_seen = self.last_seen.max(seen.visit.at);
        if self.refuses(&seen) {
            self.consent = seen.consent.or(self.consent);
            self.add_keys(seen.keys);
            self.withdraw();
            return;
        }
        seen.clicks.into_iter().for_each(|click| self.click(click));
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
        self.screen = seen.screen.or(self.screen);
        for (name, value) in seen.browser_ids {
            self.browser_ids.retain(|(known, _)| *known != name);
            self.browser_ids.push((name, value));
        }
        let surplus = self.browser_ids.len().saturating_sub(BROWSER_IDS_MAX);
        self.browser_ids.drain(..surplus);
        if let Some(left) = seen.left {
            let last = self.last_visit_mut();
            last.engaged_s = last.engaged_s.saturating_add(left.engaged_s);
            last.scroll = last.scroll.max(left.scroll);
        }
        if let Some(action) = seen.action.filter(|action| !self.actions.contains(action)) {
            self.actions.push(action);
            let surplus = self.actions.len().saturating_sub(ACTIONS_MAX);
            self.actions.drain(..surplus);
        }
        if let Some(other) = seen.same_as {
            self.link(&other);
        }
        self.add_keys(seen.keys);
    }

    fn add_keys(&mut self, keys: Vec<IdentityKey>) {
        for key in keys {
            if !self.keys.contains(&key) {
                self.keys.push(key);
            }
        }
        while self.keys.len() > KEYS_MAX {
            // Click ids and conversions come and go; what says who it is stays longest.
            let passing = |key: &IdentityKey| matches!(key.kind, IdentityKind::ClickId | IdentityKind::Conversion);
            let click = self.keys.iter().position(passing);
            self.keys.remove(click.unwrap_or(0));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ClickKind;

    fn seen(at: i64, gclid: &str, consent: Choice) -> Observation {
        let at = Time::from_secs(at);
        let visitor = VisitorId::new("v1").expect("valid");
        Observation {
            clicks: vec![ClickId { kind: ClickKind::Gclid, value: gclid.into(), first_seen: Some(at), last_seen: at }],
            consent: Consent { ad_user_data: consent, ad_personalization: Choice::Unknown },
            ..Observation::new(visitor, Visit { at, ..Visit::default() })
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

    #[test]
    fn pages_belong_to_their_visit_until_it_is_over() {
        let mut visitor = Visitor::new(seen(0, "a", Choice::Unknown));
        let page = |at| Observation { place: Place::Page, clicks: Vec::new(), ..seen(at, "", Choice::Unknown) };
        visitor.absorb(page(60));
        visitor.absorb(page(120));
        visitor.absorb(Observation { left: Some(Left { engaged_s: 7, scroll: 80 }), ..page(130) });
        assert_eq!((visitor.visits.len(), visitor.first_visit.pages), (0, 3));
        assert_eq!((visitor.first_visit.engaged_s, visitor.first_visit.scroll), (7, 80));
        visitor.absorb(page(130 + 1800));
        assert_eq!((visitor.visits.len(), visitor.visits[0].pages), (1, 0), "half an hour later it is another visit");
        let within = Observation { place: Place::Within, ..page(9000) };
        visitor.absorb(within);
        assert_eq!(visitor.visits.len(), 1, "a step is no landing");
    }

    #[test]
    fn one_person_in_two_browsers_has_both_histories() {
        let mut one = Visitor::new(seen(100, "new", Choice::Granted));
        let other = Visitor::new(Observation {
            ip: Some(Sensitive::new([192, 0, 2, 1].into())),
            ..seen(5, "old", Choice::Unknown)
        });
        one.link(&VisitorId::new("v2").expect("valid"));
        let both = one.clone().with(vec![other]);
        assert_eq!(both.first_visit.at, Time::from_secs(5));
        assert_eq!((both.visits.len(), both.clicks.len()), (1, 2));
        assert_eq!(
            (both.consent.ad_user_data, both.ip.is_none()),
            (Choice::Granted, true),
            "a browser's own stays its own"
        );
    }

    #[test]
    fn who_withdraws_is_known_by_nothing_but_that() {
        let key = IdentityKey::of_token(IdentityKind::Fbp, "fb.1.1.2");
        let mut visitor = Visitor::new(Observation { keys: vec![key], ..seen(1, "a", Choice::Granted) });
        let consent = Consent { ad_user_data: Choice::Denied, ad_personalization: Choice::Denied };
        visitor.absorb(Observation { withdrawn: true, consent, place: Place::Within, ..seen(2, "b", Choice::Denied) });
        assert!(visitor.clicks.is_empty() && visitor.visits.is_empty() && visitor.first_visit.url.is_none());
        assert_eq!((visitor.consent, visitor.keys.len()), (consent, 1), "a later sale is to find the no");
    }

    #[test]
    fn after_a_no_nothing_is_learnt_until_there_is_a_yes() {
        let mut visitor = Visitor::new(seen(1, "a", Choice::Granted));
        let refusal = Observation { withdrawn: true, place: Place::Within, ..seen(2, "x", Choice::Denied) };
        visitor.absorb(Observation { clicks: Vec::new(), ..refusal });
        // A click on a tracked link says nothing of consent.
        visitor.absorb(seen(3, "after-the-no", Choice::Unknown));
        assert!(visitor.clicks.is_empty() && visitor.visits.is_empty(), "{visitor:?}");
        let yes = Visitor { consent: Consent::default(), ..Visitor::new(seen(4, "of-another", Choice::Granted)) };
        assert!(yes.clone().with(vec![visitor.clone()]).clicks.iter().all(|click| click.value == "of-another"));
        assert_eq!(visitor.clone().with(vec![yes]).clicks, [], "and nothing of others is used for it");
        visitor.absorb(seen(5, "after-the-yes", Choice::Granted));
        assert_eq!(visitor.clicks.len(), 1);
    }
}
