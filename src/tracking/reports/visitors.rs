//! What visitors did after they came: by where they came from, and along the way to a conversion.

use std::collections::{BTreeMap, HashMap};

use serde_json::{Value, json};

use super::figures::share;
use crate::{
    model::{Action, LinkKey, Time, Visit, Visitor},
    store::{StoreError, VisitStore},
};

/// Visitors that one report looks at.
const VISITORS_MAX: usize = 1_000_000;
/// Visitors read at once.
const PAGE: usize = 500;
/// Sites that one report tells of; further ones are counted together.
const SITES_MAX: usize = 10_000;
/// A visit of this length is engaged, as Google Analytics 4 has it.
/// Source: <https://support.google.com/analytics/answer/12195621>, read 2026-11-20.
const ENGAGED_S: u32 = 10;

/// Shows `each` every visitor. Whether that were all; blocks.
///
/// # Errors
/// Of the store.
pub fn each_visitor(visits: &dyn VisitStore, mut each: impl FnMut(&Visitor)) -> Result<bool, StoreError> {
    let (mut after, mut seen) = (None, 0);
    while seen < VISITORS_MAX {
        let page = visits.page(after.as_ref(), PAGE)?;
        let Some(last) = page.last() else { return Ok(true) };
        after = Some(last.id.clone());
        seen += page.len();
        page.iter().for_each(&mut each);
    }
    Ok(false)
}

/// A visit, and what was done in it.
pub struct Session<'a> {
    /// The visit.
    pub visit: &'a Visit,
    /// What was done until the next one.
    pub actions: Vec<&'a Action>,
    /// Whether a page told of it: of a tracked link's visit, the redirect tells first, and sometimes alone.
    pub reported: bool,
}

impl Session<'_> {
    /// Ten seconds, a second page, or something that was done.
    #[must_use]
    pub fn is_engaged(&self) -> bool {
        self.visit.engaged_s >= ENGAGED_S || self.visit.pages > 0 || !self.actions.is_empty()
    }
}

/// A visitor's visits, oldest first. What is left of one who withdrew consent is none.
#[must_use]
pub fn sessions(visitor: &Visitor) -> Vec<Session<'_>> {
    let told = |visit: &&Visit| visit.url.is_some() || visit.link.is_some();
    let visits = std::iter::once(&visitor.first_visit).chain(&visitor.visits).filter(told);
    let mut sessions: Vec<Session<'_>> =
        visits.map(|visit| Session { visit, actions: Vec::new(), reported: false }).collect();
    sessions.sort_by_key(|session| session.visit.at);
    for action in &visitor.actions {
        let behind = sessions.iter_mut().rev().find(|session| session.visit.at <= action.at);
        if let Some(session) = behind {
            session.actions.push(action);
        }
    }
    for session in &mut sessions {
        let visit = session.visit;
        // Only pages know the screen.
        let told = visit.pages > 0 || visit.engaged_s > 0 || visit.scroll > 0 || !session.actions.is_empty();
        session.reported = visit.link.is_none() || visitor.screen.is_some() || told;
    }
    sessions
}

/// The site of an address: its host without `www.`, or the app of an `android-app://` one.
#[must_use]
pub fn site_of(address: &str) -> Option<String> {
    let (_, rest) = address.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    let host = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    };
    let host = host.to_ascii_lowercase();
    let host = host.strip_prefix("www.").unwrap_or(&host);
    (!host.is_empty()).then(|| host.to_owned())
}

/// Visits by the site they came from.
#[derive(Default)]
pub struct Referrers {
    sites: HashMap<String, Site>,
    beyond: u64,
}

#[derive(Default)]
struct Site {
    visits: u64,
    engaged: u64,
    seconds: u64,
    next: BTreeMap<String, u64>,
    raw: BTreeMap<String, u64>,
}

impl Referrers {
    /// Counts the visits of a visitor in `from..to`. `spell` brings a site's name into the form of the policy.
    pub fn add(&mut self, visitor: &Visitor, from: Time, to: Time, spell: &dyn Fn(&str) -> String) {
        for session in sessions(visitor) {
            let visit = session.visit;
            if visit.at < from || visit.at >= to || !session.reported {
                continue;
            }
            let of = |address: &Option<crate::model::Sensitive<String>>| {
                address.as_ref().and_then(|address| site_of(address.expose()))
            };
            let (referrer, own) = (of(&visit.referrer), of(&visit.url));
            let (name, raw) = match referrer {
                None => ("(none)".to_owned(), None),
                Some(site) if own.as_ref() == Some(&site) => ("(same site)".to_owned(), None),
                Some(site) => (spell(&site), Some(site)),
            };
            if !self.sites.contains_key(&name) && self.sites.len() >= SITES_MAX {
                self.beyond += 1;
                continue;
            }
            let site = self.sites.entry(name).or_default();
            site.visits += 1;
            site.engaged += u64::from(session.is_engaged());
            site.seconds += u64::from(visit.engaged_s);
            if let Some(raw) = raw {
                *site.raw.entry(raw).or_default() += 1;
            }
            if let Some(first) = session.actions.first() {
                *site.next.entry(first.name.to_string()).or_default() += 1;
            }
        }
    }

    /// The table, most visits first.
    #[must_use]
    pub fn json(self) -> Value {
        let mut sites: Vec<(String, Site)> = self.sites.into_iter().collect();
        sites.sort_by(|(a, one), (b, other)| other.visits.cmp(&one.visits).then_with(|| a.cmp(b)));
        let row = |(name, site): (String, Site)| {
            let next = site.next.iter().max_by(|(a, one), (b, other)| one.cmp(other).then_with(|| b.cmp(a)));
            let bounced = site.visits - site.engaged;
            json!({
                "referrer": name, "visits": site.visits, "bounce_share": share(bounced, site.visits),
                "engaged": site.engaged, "average_engaged_s": average(site.seconds, site.visits),
                "next_action": next.map(|(name, count)| json!({ "name": name, "visits": count })), "raw": site.raw,
            })
        };
        json!({ "rows": sites.into_iter().map(row).collect::<Vec<_>>(), "beyond": self.beyond })
    }
}

#[expect(clippy::cast_precision_loss, reason = "sums of seconds are far below 2^52")]
fn average(sum: u64, count: u64) -> Option<f64> {
    (count > 0).then(|| (sum as f64 / count as f64 * 10.0).round() / 10.0)
}

/// How many visitors came how far along some steps.
pub struct Funnel {
    steps: Vec<String>,
    reached: Vec<u64>,
    from: Time,
    to: Time,
    link: Option<LinkKey>,
}

impl Funnel {
    /// A funnel of these steps: `click` is a visit by a tracked link, `visit` is any that a page told of, `page` one with a second page, and
    /// everything else is the name of something that visitors do. With a link, only who came by it is counted.
    #[must_use]
    pub fn new(steps: Vec<String>, from: Time, to: Time, link: Option<LinkKey>) -> Self {
        Self { reached: vec![0; steps.len()], steps, from, to, link }
    }

    /// Counts a visitor: a step counts once, and only after the one before it.
    pub fn add(&mut self, visitor: &Visitor) {
        let (from, to) = (self.from, self.to);
        let by_link = |visit: &Visit| self.link.is_none() || visit.link == self.link;
        let mut sessions = sessions(visitor);
        sessions.retain(|session| session.visit.at >= from && session.visit.at < to);
        // What came before the visit by that link did not come of it.
        let Some(first) = sessions.iter().position(|session| by_link(session.visit)) else { return };
        let sessions = &sessions[first..];
        let mut at = sessions[0].visit.at;
        for (step, reached) in self.steps.iter().zip(&mut self.reached) {
            let visit = |wanted: fn(&Session<'_>) -> bool| {
                let visits = sessions.iter().filter(|session| wanted(session)).map(|session| session.visit);
                // A step inside a visit is not before the visit's own.
                visits.map(|visit| visit.at).find(|begun| *begun >= at).or_else(|| {
                    let current = sessions.iter().rev().find(|session| session.visit.at <= at);
                    current.filter(|session| wanted(session)).map(|_| at)
                })
            };
            let next = match step.as_str() {
                "visit" => visit(|session| session.reported),
                "click" => visit(|session| session.visit.link.is_some()),
                "page" => visit(|session| session.visit.pages > 0),
                name => {
                    let actions = visitor.actions.iter().filter(|action| action.name.as_str() == name);
                    actions.map(|action| action.at).filter(|done| *done >= at && *done < to).min()
                }
            };
            let Some(next) = next else { return };
            at = next;
            *reached += 1;
        }
    }

    /// The steps with how many came that far, and how many of those before did not.
    #[must_use]
    pub fn json(&self) -> Value {
        let before = |i: usize| if i == 0 { None } else { self.reached.get(i - 1).copied() };
        let step = |(i, (name, reached)): (usize, (&String, &u64))| {
            let dropped = before(i).map(|before| before - reached);
            json!({
                "step": name, "visitors": reached, "dropped": dropped,
                "share_of_previous": before(i).and_then(|before| share(*reached, before)),
                "share_of_first": self.reached.first().and_then(|first| share(*reached, *first)),
            })
        };
        self.steps.iter().zip(&self.reached).enumerate().map(step).collect()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::model::{EventName, Observation, Place, Sensitive, VisitorId};

    /// A visitor who came from `referrer` at `seconds`, stayed so long, and then did these, one each minute.
    pub(in crate::tracking::reports) fn visitor(
        id: &str,
        referrer: Option<&str>,
        engaged_s: u32,
        done: &[&str],
    ) -> Visitor {
        let visit = Visit {
            at: Time::from_secs(1000),
            url: Some(Sensitive::new("https://shop.example/mugs".into())),
            referrer: referrer.map(|referrer| Sensitive::new(referrer.to_owned())),
            engaged_s,
            ..Visit::default()
        };
        let mut visitor = Visitor::new(Observation::new(VisitorId::new(id).expect("valid"), visit));
        for (i, name) in (1_i64..).zip(done) {
            let at = Time::from_secs(1000 + 60 * i);
            visitor.actions.push(Action {
                at,
                name: EventName::new(*name).expect("valid"),
                transaction: None,
                money: None,
            });
        }
        visitor
    }

    fn again(visitor: &mut Visitor, seconds: i64, link: Option<&str>) {
        let visit = Visit {
            at: Time::from_secs(seconds),
            url: Some(Sensitive::new(format!("https://shop.example/{seconds}"))),
            link: link.map(LinkKey::of),
            ..Visit::default()
        };
        let seen = Observation { place: Place::Landing, ..Observation::new(visitor.id.clone(), visit) };
        visitor.absorb(seen);
    }

    #[test]
    fn referrers_are_told_by_what_their_visitors_do() {
        let mut table = Referrers::default();
        let spell = |site: &str| if site == "linkedin.com" { "linkedin".to_owned() } else { site.to_owned() };
        for visitor in [
            visitor("v1", Some("https://www.linkedin.com/feed?x=1"), 30, &["view_item", "add_to_cart"]),
            visitor("v2", Some("https://LinkedIn.com/"), 0, &[]),
            visitor("v3", Some("https://linkedin.com/"), 3, &["view_item"]),
            visitor("v4", Some("android-app://com.google.android.gm/"), 12, &[]),
            visitor("v5", Some("https://shop.example/"), 0, &[]),
            visitor("v6", None, 0, &[]),
        ] {
            table.add(&visitor, Time::from_secs(0), Time::from_secs(5000), &spell);
        }
        let table = table.json();
        let row = |name: &str| {
            let rows = table["rows"].as_array().expect("rows");
            rows.iter().find(|row| row["referrer"] == name).unwrap_or_else(|| panic!("{name}: {table}")).clone()
        };
        let linkedin = row("linkedin");
        assert_eq!((&linkedin["visits"], &linkedin["engaged"]), (&json!(3), &json!(2)));
        assert_eq!((&linkedin["bounce_share"], &linkedin["average_engaged_s"]), (&json!(0.3333), &json!(11.0)));
        assert_eq!(linkedin["next_action"], json!({ "name": "view_item", "visits": 2 }));
        assert_eq!((&row("com.google.android.gm")["engaged"], &row("(none)")["visits"]), (&json!(1), &json!(1)));
        assert_eq!(row("(same site)")["visits"], 1);
    }

    #[test]
    fn a_step_counts_in_its_order() {
        let steps = ["visit", "view_item", "add_to_cart", "purchase"].map(str::to_owned).to_vec();
        let mut funnel = Funnel::new(steps, Time::from_secs(0), Time::from_secs(10_000), None);
        for done in [
            &["view_item", "add_to_cart", "purchase"][..],
            &["view_item"],
            &["purchase"],
            &["add_to_cart", "view_item"],
            &[],
        ] {
            funnel.add(&visitor("v", None, 0, done));
        }
        let told = funnel.json();
        let reached: Vec<u64> =
            told.as_array().expect("steps").iter().filter_map(|step| step["visitors"].as_u64()).collect();
        assert_eq!(reached, [5, 3, 1, 1]);
        assert_eq!((&told[2]["dropped"], &told[2]["share_of_previous"]), (&json!(2), &json!(0.3333)));
    }

    #[test]
    fn a_funnel_of_a_link_begins_with_the_click() {
        let mut came = visitor("v1", None, 0, &["view_item"]);
        again(&mut came, 5000, Some("mugs"));
        let funnel = |steps: &[&str]| {
            let steps = steps.iter().map(|step| (*step).to_owned()).collect();
            let mut funnel = Funnel::new(steps, Time::from_secs(0), Time::from_secs(9000), Some(LinkKey::of("mugs")));
            funnel.add(&came);
            funnel.reached
        };
        assert_eq!(funnel(&["click", "view_item"]), [1, 0], "what was done before is not of the click");
        assert_eq!(funnel(&["click", "visit"]), [1, 0], "no page told of it");
        came.screen = Some(crate::model::Screen::Small);
        let mut funnel =
            Funnel::new(vec!["click".into(), "visit".into()], Time::from_secs(0), Time::from_secs(9000), None);
        funnel.add(&came);
        assert_eq!(funnel.reached, [1, 1]);
    }

    #[test]
    fn a_site_is_a_host_without_what_changes_by_chance() {
        for (address, site) in [
            ("https://www.Example.com:8443/a?b#c", Some("example.com")),
            ("http://user@example.com", Some("example.com")),
            ("android-app://com.pinterest/", Some("com.pinterest")),
            ("https:///", None),
            ("mailto:x", None),
            ("", None),
        ] {
            assert_eq!(site_of(address).as_deref(), site, "{address}");
        }
    }
}
