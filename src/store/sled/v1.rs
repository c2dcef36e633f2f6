//! Visitors as version 1 wrote them. They are only read: what is written again is written in the newest form.

use std::net::IpAddr;

use serde::Deserialize;

use crate::model::{ClickId, Consent, Cookies, IdentityKey, Sensitive, Time, Utm, Visit, Visitor, VisitorId};

#[derive(Deserialize)]
pub(super) struct VisitorV1 {
    id: VisitorId,
    first_visit: VisitV1,
    visits: Vec<VisitV1>,
    clicks: Vec<ClickId>,
    cookies: Cookies,
    consent: Consent,
    ip: Option<Sensitive<IpAddr>>,
    user_agent: Option<Sensitive<String>>,
    keys: Vec<IdentityKey>,
    last_seen: Time,
}

#[derive(Deserialize)]
struct VisitV1 {
    at: Time,
    url: Option<Sensitive<String>>,
    referrer: Option<Sensitive<String>>,
    utm: Utm,
}

impl From<VisitV1> for Visit {
    fn from(VisitV1 { at, url, referrer, utm }: VisitV1) -> Self {
        Self { at, url, referrer, utm, ..Self::default() }
    }
}

impl From<VisitorV1> for Visitor {
    fn from(old: VisitorV1) -> Self {
        Self {
            id: old.id,
            first_visit: old.first_visit.into(),
            visits: old.visits.into_iter().map(Visit::from).collect(),
            clicks: old.clicks,
            cookies: old.cookies,
            consent: old.consent,
            ip: old.ip,
            user_agent: old.user_agent,
            keys: old.keys,
            last_seen: old.last_seen,
            screen: None,
            browser_ids: Vec::new(),
            actions: Vec::new(),
            linked: Vec::new(),
        }
    }
}
