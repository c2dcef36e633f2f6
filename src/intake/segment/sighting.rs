//! Pages, identities and aliases: what they tell of a visitor, and which of it is a new landing.

use std::{collections::HashMap, sync::Arc, time::Duration};

use url::Url;

use crate::{
    model::{IdentityKey, IdentityKind, Observation, RawEvent, Sensitive, Time, Visit, VisitorId},
    pipeline::Pipeline,
    privacy::{
        Country,
        scrub::{self, Posted},
        seal_user,
    },
    store::StoreError,
};

/// The same page again within this time is no new landing: it was loaded, or the call was sent, once more. Analytics tools
/// take so long a silence for the end of a session.
const SAME_LANDING: Duration = Duration::from_secs(30 * 60);
/// More at once are looked up where blocking is allowed.
const INLINE_MAX: usize = 16;

/// A call that tells of a visitor. Its `event` has the values, checked; it is no event.
pub(super) struct Sighting {
    pub(super) event: RawEvent,
    /// Whether it may be a landing: a page.
    pub(super) landing: bool,
    /// Whether the visitor id may be a user's id.
    pub(super) alias: bool,
}

/// Stores them. What tells of nobody who is known or can be known again is left out.
///
/// # Errors
/// Of the store.
pub(super) async fn store(
    pipeline: &Arc<Pipeline>,
    sightings: Vec<Sighting>,
    default_country: Option<Country>,
) -> Result<(), StoreError> {
    if sightings.is_empty() {
        return Ok(());
    }
    let many = sightings.len() > INLINE_MAX;
    let looking = Arc::clone(pipeline);
    let look = move || observations(&looking, sightings, default_country);
    let (seen, landings) = if many {
        match tokio::task::spawn_blocking(look).await {
            Ok(seen) => seen?,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    } else {
        look()?
    };
    if seen.is_empty() { Ok(()) } else { pipeline.saw(seen, landings).await }
}

/// What was seen of whom, in order, and how many landings are among it.
fn observations(
    pipeline: &Pipeline,
    sightings: Vec<Sighting>,
    default_country: Option<Country>,
) -> Result<(Vec<Observation>, u64), StoreError> {
    let mut last: HashMap<VisitorId, Visit> = HashMap::new();
    let (mut all, mut landings) = (Vec::new(), 0);
    for Sighting { event, landing, alias } in sightings {
        let keys = keys(&event, default_country);
        let given = event.visitor_id.clone();
        let here = given.as_ref().filter(|id| last.contains_key(*id)).cloned();
        let found = match here {
            Some(id) => Some(id),
            None => {
                // A visitor that names itself is nobody else, whoever was seen with the same user id.
                let others = if alias || given.is_none() { keys.as_slice() } else { &[] };
                let known = pipeline.visitor(given.as_ref(), others)?;
                known.map(|visitor| {
                    last.insert(visitor.id.clone(), visitor.last_visit().clone());
                    visitor.id
                })
            }
        };
        // A user of whom no browser is known is no visitor.
        let Some(id) = found.clone().or(given) else { continue };
        let mut seen = observation(event, id.clone(), keys);
        match last.get(&id) {
            Some(known) if !(landing && is_landing(&seen, known)) => seen.visit = known.clone(),
            _ => landings += u64::from(landing),
        }
        last.insert(id, seen.visit.clone());
        all.push(seen);
    }
    Ok((all, landings))
}

/// Whether the visitor came from elsewhere: by a campaign or a click, or from another site; and not just now.
fn is_landing(seen: &Observation, known: &Visit) -> bool {
    let address = |page: &Option<Sensitive<String>>| page.as_ref().and_then(|page| Url::parse(page.expose()).ok());
    let host = |page| address(page).and_then(|url| url.host_str().map(str::to_owned));
    let visit = &seen.visit;
    let again = visit.url == known.url && visit.utm == known.utm && apart(visit.at, known.at) < SAME_LANDING;
    let inside = host(&visit.referrer).is_some_and(|from| Some(from) == host(&visit.url));
    let brought = !visit.utm.is_empty() || !seen.clicks.is_empty();
    visit.url.is_some() && !again && (brought || !inside)
}

fn apart(one: Time, other: Time) -> Duration {
    one.since(other).max(other.since(one))
}

/// What the visitor can be found by from now on, the user's own ids first.
fn keys(event: &RawEvent, default_country: Option<Country>) -> Vec<IdentityKey> {
    let sealed = seal_user(&event.user, default_country);
    let (mut ids, details): (Vec<_>, Vec<_>) =
        sealed.identity_keys().partition(|key| key.kind == IdentityKind::ExternalId);
    ids.extend(details);
    let tokens = event.context.checkout_tokens.iter();
    ids.extend(tokens.map(|token| IdentityKey::of_token(IdentityKind::CheckoutToken, token)));
    ids.extend(IdentityKey::of_cookies(&event.context.cookies));
    ids.extend(event.context.clicks.iter().filter_map(IdentityKey::of_click));
    ids
}

/// What the checked values tell, free of contact data.
fn observation(event: RawEvent, visitor_id: VisitorId, keys: Vec<IdentityKey>) -> Observation {
    let posted = &Posted::of(&event.user);
    let page = |page: Option<Sensitive<String>>| page.map(|page| Sensitive::new(scrub::page(page.expose(), posted)));
    let (context, at) = (event.context, event.time);
    let utm = scrub::utm(context.utm, posted);
    let mut clicks = context.clicks;
    for click in &mut clicks {
        (click.first_seen, click.last_seen) = (click.first_seen.or(Some(at)), at);
    }
    let agent = context.user_agent.and_then(|agent| scrub::agent(agent.into_inner(), posted));
    let (url, referrer) = (page(context.url), page(context.referrer));
    Observation {
        clicks,
        cookies: context.cookies,
        consent: event.consent,
        ip: context.ip,
        user_agent: agent.map(Sensitive::new),
        keys,
        ..Observation::new(visitor_id, Visit { at, url, referrer, utm, ..Visit::default() })
    }
}
