//! `GET /v1/diagnose`: why something is not tracked. Each of four causes applies, does not, or cannot be told from what is
//! stored, with the figures that say so.

use std::{sync::Arc, time::Duration};

use axum::{
    extract::{RawQuery, State},
    response::Response,
};
use serde_json::{Value, json};

use super::super::{Admin, answer, asked::Asked, clicks::blocking};
use super::quality::each_event;
use crate::{
    model::{Choice, EventId, SealedEvent, Time, Visit, Visitor, VisitorId, plain_url},
    tracking::reports::{each_visitor, sessions, site_of},
    web::Problem,
};

/// A site whose tag reported nothing for this long has none.
const DAYS: u64 = 7;
/// From this share on, visits without a source, and events without a browser, are a cause and no accident.
const TELLING_SHARE: f64 = 0.2;

/// One cause.
struct Finding {
    cause: &'static str,
    /// `None` where the data cannot say.
    applies: Option<bool>,
    says: String,
    figures: Value,
}

impl Finding {
    fn json(&self) -> Value {
        json!({ "cause": self.cause, "applies": self.applies, "says": self.says, "figures": self.figures })
    }
}

/// What the last days show of a site.
#[derive(Default)]
struct Site {
    visits: u64,
    /// Visits without UTM values, click id and tracked link.
    bare: u64,
    visitors: u64,
    denied: u64,
    last: Option<Time>,
    /// Conversions on its pages.
    events: u64,
    /// Those for which no browser was ever seen.
    unseen: u64,
    /// Whether events could be gone through.
    counted: bool,
}

/// `GET /v1/diagnose`
pub(super) async fn show(State(admin): State<Admin>, RawQuery(query): RawQuery) -> Result<Response, Problem> {
    let mut asked = Asked::query(query.as_deref())?;
    let site = asked
        .parsed("url", "the address of a page, such as https://shop.example/", |text| site_of(&plain_url(text)?))?;
    let visitor = asked.parsed("visitor", "the id of a visitor", |text| VisitorId::new(text).ok())?;
    let event = asked.parsed("event", "the id of an event", |text| EventId::new(text).ok())?;
    let (mut answered, findings) = match (site, visitor, event) {
        (Some(site), None, None) => {
            asked.finish()?;
            let seen = look(&admin, &site).await?;
            (json!({ "site": site }), told(&of_site(&seen)))
        }
        (None, Some(id), None) => {
            asked.finish()?;
            let visits = Arc::clone(&admin.stores.visits);
            let visitor = blocking(move || visits.find(&id)).await?;
            let visitor = visitor.ok_or_else(|| Problem::unknown("no visitor of this id is stored (any more)"))?;
            (json!({ "visitor_id": visitor.id }), told(&of_visitor(&visitor)))
        }
        (None, None, Some(id)) => {
            asked.finish()?;
            of_event(&admin, &id).await?
        }
        _ => return Err(asked.wrong("url", "give one of url, visitor and event")),
    };
    let found: Vec<&Value> = findings.iter().filter(|finding| finding["applies"] == true).collect();
    let causes: Vec<Value> = found.iter().map(|finding| finding["cause"].clone()).collect();
    answered["causes"] = causes.into();
    answered["findings"] = findings.into();
    answered["not_told"] = json!([
        "who refused everything leaves no visit, and is not told apart from one whose browser blocked the tag",
        "a visit that was forgotten or is past its retention is as if it had never been",
    ]);
    Ok(answer(&answered))
}

fn told(findings: &[Finding; 4]) -> Vec<Value> {
    findings.iter().map(Finding::json).collect()
}

/// What the last days show of `site`.
async fn look(admin: &Admin, site: &str) -> Result<Site, Problem> {
    let now = admin.clock.now();
    let from = now.minus(Duration::from_secs(DAYS * 86_400));
    let (visits, wanted) = (Arc::clone(&admin.stores.visits), site.to_owned());
    let mut seen = blocking(move || {
        let mut seen = Site::default();
        each_visitor(&*visits, |visitor| {
            let mut here = false;
            for session in sessions(visitor) {
                let visit = session.visit;
                if visit.at < from || !session.reported || page_site(visit).as_ref() != Some(&wanted) {
                    continue;
                }
                here = true;
                seen.visits += 1;
                seen.bare += u64::from(is_bare(visitor, visit));
                seen.last = seen.last.max(Some(visit.at));
            }
            seen.visitors += u64::from(here);
            seen.denied += u64::from(here && visitor.consent.ad_user_data == Choice::Denied);
        })?;
        Ok(seen)
    })
    .await?;
    let gone_through = each_event(admin, from, now, |event| {
        let here = event.context.url.as_ref().and_then(|url| site_of(url.expose()));
        if here.as_deref() == Some(site) {
            seen.events += 1;
            seen.unseen += u64::from(is_unseen(event));
        }
    })
    .await?;
    seen.counted = gone_through.is_some();
    Ok(seen)
}

fn page_site(visit: &Visit) -> Option<String> {
    visit.url.as_ref().and_then(|url| site_of(url.expose()))
}

/// Whether nothing says where a visit came from by design.
fn is_bare(visitor: &Visitor, visit: &Visit) -> bool {
    let clicked = visitor.clicks.iter().any(|click| click.first_seen == Some(visit.at) || click.last_seen == visit.at);
    visit.utm.is_empty() && visit.link.is_none() && !clicked
}

fn is_unseen(event: &SealedEvent) -> bool {
    event.joined_by.is_none()
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
fn telling(part: u64, whole: u64) -> bool {
    whole > 0 && part as f64 / whole as f64 >= TELLING_SHARE
}

fn of_site(seen: &Site) -> [Finding; 4] {
    let missing = seen.visits == 0;
    let says = |missing: bool, yes: String, no: &str| if missing { yes } else { no.to_owned() };
    let bare = telling(seen.bare, seen.visits);
    let blocked = telling(seen.unseen, seen.events);
    let denied = telling(seen.denied, seen.visitors);
    [
        Finding {
            cause: "tag_missing",
            applies: Some(missing),
            says: says(
                missing,
                format!("no page of this site reported a visit in {DAYS} days: put the tag on it, and the site into capture.sites"),
                "pages of this site report visits",
            ),
            figures: json!({ "visits": seen.visits, "last_visit": seen.last.map(|at| at.to_string()) }),
        },
        Finding {
            cause: "untagged_source",
            applies: (!missing).then_some(bare),
            says: says(
                bare,
                "many visits carry no UTM value, no click id and no tracked link: use tracked links where you can".into(),
                if missing { "without visits this cannot be told" } else { "visits carry their source" },
            ),
            figures: json!({ "visits": seen.visits, "without_source": seen.bare }),
        },
        Finding {
            cause: "blocker_suspected",
            applies: (!missing && seen.counted && seen.events > 0).then_some(blocked),
            says: says(
                blocked && !missing,
                "servers reported conversions whose browsers were never seen here: blockers, or a checkout without the visitor's id".into(),
                if missing || seen.events == 0 { "without both visits and conversions on this site this cannot be told" } else { "the browsers of most conversions were seen" },
            ),
            figures: json!({ "conversions": seen.events, "without_browser": seen.unseen }),
        },
        Finding {
            cause: "consent_denied",
            applies: (!missing).then_some(denied),
            says: says(
                denied,
                "many visitors denied the use of their data for ads: nothing about them may be sent".into(),
                if missing { "without visits this cannot be told" } else { "few visitors who are known denied it" },
            ),
            figures: json!({ "visitors": seen.visitors, "denied": seen.denied }),
        },
    ]
}

fn of_visitor(visitor: &Visitor) -> [Finding; 4] {
    let sessions = sessions(visitor);
    let bare = sessions.iter().filter(|session| is_bare(visitor, session.visit)).count();
    let by_page = sessions.iter().any(|session| session.reported);
    let denied = visitor.consent.ad_user_data == Choice::Denied;
    let all_bare = !sessions.is_empty() && bare == sessions.len();
    let says = |applies: bool, yes: &str, no: &str| if applies { yes.to_owned() } else { no.to_owned() };
    [
        Finding {
            cause: "tag_missing",
            applies: Some(!by_page && !sessions.is_empty()),
            says: says(
                !by_page,
                "only a tracked link saw this visitor, and no page reported it",
                "pages reported this visitor",
            ),
            figures: json!({ "visits": sessions.len(), "screen_known": visitor.screen.is_some() }),
        },
        Finding {
            cause: "untagged_source",
            applies: (!sessions.is_empty()).then_some(all_bare),
            says: says(
                all_bare,
                "no visit carries a UTM value, a click id or a tracked link",
                "at least one visit carries its source",
            ),
            figures: json!({ "visits": sessions.len(), "without_source": bare, "click_ids": visitor.clicks.len() }),
        },
        Finding {
            cause: "blocker_suspected",
            applies: (!sessions.is_empty() && by_page).then_some(false),
            says: says(
                by_page,
                "the browser reports to the relay",
                "this cannot be told of a visitor whom only a link saw",
            ),
            figures: json!({}),
        },
        Finding {
            cause: "consent_denied",
            applies: Some(denied),
            says: says(denied, "this visitor denied the use of data for ads", "this visitor did not deny it"),
            figures: json!(visitor.consent),
        },
    ]
}

async fn of_event(admin: &Admin, id: &EventId) -> Result<(Value, Vec<Value>), Problem> {
    let story = admin.stores.events.timeline(id).await?;
    let event = story.ok_or_else(|| Problem::unknown("no event of this id is stored (any more)"))?.event;
    let mut about = json!({ "event_id": event.event_id, "joined_by": event.joined_by, "visitor_id": event.visitor_id });
    if let (Some(visitor), Some(_)) = (event.visitor_id.clone(), event.joined_by) {
        let visits = Arc::clone(&admin.stores.visits);
        if let Some(visitor) = blocking(move || visits.find(&visitor)).await? {
            return Ok((about, told(&of_visitor(&visitor))));
        }
    }
    let site = event.context.url.as_ref().and_then(|url| site_of(url.expose()));
    let mut findings = match &site {
        Some(site) => of_site(&look(admin, site).await?),
        None => of_site(&Site::default()),
    };
    about["site"] = site.clone().into();
    if site.is_none() {
        for finding in &mut findings {
            (finding.applies, finding.says) = (None, "the event names no page, so that its site is not known".into());
        }
    } else if findings[0].applies == Some(false) {
        // Its site has the tag, and yet this one was not seen.
        findings[2].applies = Some(true);
        findings[2].says = "the tag works on this site, but no visitor was found for this event: a blocker, or a checkout that does not pass the visitor's id on".into();
    }
    if event.consent.ad_user_data == Choice::Denied {
        findings[3].applies = Some(true);
        findings[3].says = "the event itself says that the use of data for ads was denied".into();
    }
    Ok((about, told(&findings)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Consent, Observation, Sensitive};

    fn applying(findings: &[Finding; 4]) -> Vec<&'static str> {
        findings.iter().filter(|finding| finding.applies == Some(true)).map(|finding| finding.cause).collect()
    }

    #[test]
    fn a_site_is_told_which_cause_applies() {
        let sound =
            Site { visits: 10, bare: 1, visitors: 8, denied: 0, events: 10, unseen: 1, counted: true, last: None };
        assert!(applying(&of_site(&sound)).is_empty());
        assert_eq!(applying(&of_site(&Site::default())), ["tag_missing"]);
        assert_eq!(applying(&of_site(&Site { bare: 9, ..sound })), ["untagged_source"]);
        let sound = Site { visits: 10, visitors: 8, events: 10, counted: true, ..Site::default() };
        assert_eq!(applying(&of_site(&Site { unseen: 5, ..sound })), ["blocker_suspected"]);
        let sound = Site { visits: 10, visitors: 8, counted: true, ..Site::default() };
        assert_eq!(applying(&of_site(&Site { denied: 6, ..sound })), ["consent_denied"]);
        assert_eq!(of_site(&Site::default())[2].applies, None, "what the data cannot say is left open");
    }

    #[test]
    fn a_visitor_whom_only_a_link_saw_has_no_tag() {
        let url = Some(Sensitive::new("https://shop.example/".to_owned()));
        let id = VisitorId::new("v1").expect("valid");
        let link = Visit { url: url.clone(), link: Some(crate::model::LinkKey::of("mugs")), ..Visit::default() };
        assert_eq!(applying(&of_visitor(&Visitor::new(Observation::new(id.clone(), link)))), ["tag_missing"]);
        let plain = Observation {
            consent: Consent { ad_user_data: Choice::Denied, ad_personalization: Choice::Denied },
            ..Observation::new(id, Visit { url, ..Visit::default() })
        };
        assert_eq!(applying(&of_visitor(&Visitor::new(plain))), ["untagged_source", "consent_denied"]);
    }
}
