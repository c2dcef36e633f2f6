//! Reports over visitors: where they came from, how far they went, how they behave.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use axum::{
    extract::{RawQuery, State},
    response::Response,
};
use serde_json::{Value, json};

use super::super::{Admin, answer, asked::Asked, clicks::blocking};
use super::span;
use crate::{
    model::{EventName, LinkKey, Time, Visitor, VisitorId, parse_duration},
    tracking::reports::{Dimension, Funnel, Intent, Referrers, Segment, Thresholds, each_visitor, sessions},
    web::Problem,
};

/// The steps of a shop.
const STEPS: &str = "visit,view_item,add_to_cart,begin_checkout,purchase";
/// Steps of one funnel.
const STEPS_MAX: usize = 12;
/// Examples of a segment that are told, at most and unless asked for otherwise.
const EXAMPLES_MAX: u64 = 1000;
const EXAMPLES: u64 = 20;

/// What no report over visitors can say.
const BASIS: &str =
    "visitors whose browsers reported: what only a server told, and who was not to be kept, is not among them";

/// `GET /v1/reports/referrers`
pub(super) async fn referrers(State(admin): State<Admin>, RawQuery(query): RawQuery) -> Result<Response, Problem> {
    let mut asked = Asked::query(query.as_deref())?;
    let (from, to) = span(&mut asked, admin.clock.now())?;
    asked.finish()?;
    let (visits, policy) = (Arc::clone(&admin.stores.visits), admin.tracked.policy());
    let (table, complete) = blocking(move || {
        let spell = |site: &str| super::super::tracked::spelled(&policy, Dimension::Referrer, site);
        let mut table = Referrers::default();
        let complete = each_visitor(&*visits, |visitor| table.add(visitor, from, to, &spell))?;
        Ok((table.json(), complete))
    })
    .await?;
    let mut told = told(from, to, complete);
    told["rows"] = table["rows"].clone();
    told["beyond"] = table["beyond"].clone();
    told["engaged_means"] =
        "10 seconds in view, a second page, or something done; every other visit is a bounce".into();
    Ok(answer(&told))
}

fn told(from: Time, to: Time, complete: bool) -> Value {
    json!({ "since": from.to_string(), "until": to.to_string(), "basis": BASIS, "complete": complete })
}

/// `GET /v1/reports/steps`
pub(super) async fn steps(State(admin): State<Admin>, RawQuery(query): RawQuery) -> Result<Response, Problem> {
    let mut asked = Asked::query(query.as_deref())?;
    let read = |text: &str| {
        let names: Vec<String> = text.split(',').map(|name| name.trim().to_owned()).collect();
        let sound = names.len() <= STEPS_MAX && names.iter().all(|name| EventName::new(name.clone()).is_ok());
        sound.then_some(names)
    };
    let expected = "up to 12 steps with commas between: click, visit, page, or names of events such as add_to_cart";
    let steps = asked.parsed("steps", expected, read)?;
    let steps = steps.unwrap_or_else(|| STEPS.split(',').map(str::to_owned).collect());
    let link = asked.text("link")?.map(|link| LinkKey::of(&link));
    let (from, to) = span(&mut asked, admin.clock.now())?;
    asked.finish()?;
    let visits = Arc::clone(&admin.stores.visits);
    let (funnel, complete) = blocking(move || {
        let mut funnel = Funnel::new(steps, from, to, link);
        let complete = each_visitor(&*visits, |visitor| funnel.add(visitor))?;
        Ok((funnel.json(), complete))
    })
    .await?;
    let mut told = told(from, to, complete);
    told["steps"] = funnel;
    Ok(answer(&told))
}

/// `GET /v1/reports/segments`
pub(super) async fn segments(State(admin): State<Admin>, RawQuery(query): RawQuery) -> Result<Response, Problem> {
    let mut asked = Asked::query(query.as_deref())?;
    let usual = Thresholds::default();
    let span =
        |asked: &mut Asked, name| asked.parsed(name, "a span such as 10s or 24h", |text| parse_duration(text).ok());
    let thresholds = Thresholds {
        fast: span(&mut asked, "fast")?.unwrap_or(usual.fast),
        delay: span(&mut asked, "delay")?.unwrap_or(usual.delay),
        visits: asked.number("visits", 2..=20)?.map_or(usual.visits, |visits| usize::try_from(visits).unwrap_or(20)),
        intent: asked.number("intent", 1..=100)?.map_or(usual.intent, |score| u32::try_from(score).unwrap_or(100)),
    };
    let expected = "the id of a visitor";
    let one = asked.parsed("visitor", expected, |text| VisitorId::new(text).ok())?;
    let since = asked.time("since")?;
    let limit = asked.number("limit", 1..=EXAMPLES_MAX)?.unwrap_or(EXAMPLES);
    asked.finish()?;
    let visits = Arc::clone(&admin.stores.visits);
    if let Some(id) = one {
        let visitor = blocking(move || visits.find(&id)).await?;
        let visitor = visitor.ok_or_else(|| Problem::unknown("no visitor of this id is stored (any more)"))?;
        let mut told = about(&visitor, &thresholds);
        told["thresholds"] = thresholds.json();
        return Ok(answer(&told));
    }
    let since = since.unwrap_or_else(|| admin.clock.now().minus(Duration::from_secs(super::DAYS * 86_400)));
    let (all, found, complete) = blocking(move || {
        let (mut all, mut found) = (0_u64, BTreeMap::<Segment, (u64, Vec<Value>)>::new());
        let complete = each_visitor(&*visits, |visitor| {
            if visitor.last_seen < since || sessions(visitor).is_empty() {
                return;
            }
            all += 1;
            for segment in Segment::ALL.into_iter().filter(|segment| segment.takes(visitor, &thresholds)) {
                let (count, examples) = found.entry(segment).or_default();
                *count += 1;
                if (examples.len() as u64) < limit {
                    examples.push(about(visitor, &thresholds));
                }
            }
        })?;
        Ok((all, found, complete))
    })
    .await?;
    let segment = |segment: Segment| {
        let (count, examples) = found.get(&segment).cloned().unwrap_or_default();
        json!({ "segment": segment.as_str(), "visitors": count, "examples": examples })
    };
    Ok(answer(&json!({
        "since": since.to_string(), "basis": BASIS, "complete": complete, "visitors": all,
        "thresholds": thresholds.json(), "segments": Segment::ALL.map(segment),
    })))
}

fn about(visitor: &Visitor, thresholds: &Thresholds) -> Value {
    let intent = Intent::of(visitor);
    let segments = Segment::ALL.into_iter().filter(|segment| segment.takes(visitor, thresholds));
    json!({
        "visitor_id": visitor.id, "visits": sessions(visitor).len(), "last_seen": visitor.last_seen.to_string(),
        "intent": intent.score, "reasons": intent.reasons,
        "segments": segments.map(Segment::as_str).collect::<Vec<_>>(),
    })
}
