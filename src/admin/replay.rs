//! `POST /v1/replay`: deliveries that ended, by when their events came, once more.

use std::collections::BTreeSet;

use axum::{body::Body, extract::State, http::HeaderMap, response::Response};

use super::{
    Admin,
    again::{Again, TWICE},
    asked::Asked,
    finished,
};
use crate::{
    delivery::Place,
    destinations::Dedupe,
    model::{Outcome, Time},
    web::Problem,
};

/// Read at once.
const CHUNK: usize = 500;

/// An outcome, without its reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Delivered,
    Skipped,
    Expired,
    Dead,
}

impl Kind {
    const ALL: [(Self, &'static str); 4] =
        [(Self::Delivered, "delivered"), (Self::Skipped, "skipped"), (Self::Expired, "expired"), (Self::Dead, "dead")];

    const fn of(outcome: &Outcome) -> Self {
        match outcome {
            Outcome::Delivered => Self::Delivered,
            Outcome::Skipped(_) => Self::Skipped,
            Outcome::Expired => Self::Expired,
            Outcome::Dead { .. } => Self::Dead,
        }
    }
}

/// What is to be sent again.
struct Wanted {
    place: Place,
    from: Time,
    to: Time,
    kinds: BTreeSet<Kind>,
}

/// `POST /v1/replay`
pub(super) async fn replay(State(admin): State<Admin>, headers: HeaderMap, given: Body) -> Result<Response, Problem> {
    let mut asked = Asked::body(&headers, given).await?;
    let Some(name) = asked.destination("destination")? else {
        return Err(asked.wrong("destination", "is missing; it names where to send again"));
    };
    let (Some(from), Some(to)) = (asked.time("from")?, asked.time("to")?) else {
        let why = "from and to are both needed: events received from the first until before the second are sent again";
        return Err(asked.wrong("from", why));
    };
    if from >= to {
        return Err(asked.wrong("to", "must be after from"));
    }
    let kind = |text: &str| Kind::ALL.into_iter().find(|(_, name)| *name == text).map(|(kind, _)| kind);
    let kinds = asked.list("outcomes", "one of delivered, skipped, expired and dead", kind)?;
    let (dry_run, force) = (asked.flag("dry_run")?, asked.flag("force")?);
    asked.finish()?;
    let kinds = kinds.map_or_else(|| BTreeSet::from([Kind::Delivered]), BTreeSet::from_iter);
    let place = admin.place(name.as_str())?.clone();
    let wanted = Wanted { place, from, to, kinds };
    finished(async move {
        let mut notes = warnings(&wanted);
        // Looked at once before anything is queued, so that a refusal leaves all as it was.
        let mut again = Again::new(&admin, true, force);
        run(&admin, &wanted, &mut again).await?;
        let twice = again.counts().get(TWICE);
        if twice > 0 && !dry_run {
            let all = again.counts().get("matched");
            let detail = format!(
                "{twice} of {all} would count twice: {} Nothing was queued. Narrow from and to, leave out what was \
                 delivered, or force it if counting twice is what you want",
                over(&wanted.place, again.recognised)
            );
            return Err(Problem::conflict(detail));
        }
        if twice > 0 {
            notes.push(format!("{twice} would count twice and need force: {}", over(&wanted.place, again.recognised)));
        }
        if !dry_run {
            again = Again::new(&admin, false, force);
            run(&admin, &wanted, &mut again).await?;
        }
        let (matched, replayed) = (again.counts().get("matched"), again.counts().get("replayed"));
        let Wanted { place, kinds, .. } = &wanted;
        tracing::info!(destination = %place.name, %from, %to, ?kinds, dry_run, force, matched, replayed, "deliveries replayed by the operator");
        Ok(again.answer(notes))
    })
    .await
}

async fn run(admin: &Admin, wanted: &Wanted, again: &mut Again) -> Result<(), Problem> {
    // Dead ones come off their own list: what was discarded is not on it, and stays given up.
    let kinds: BTreeSet<Kind> = wanted.kinds.iter().copied().filter(|kind| *kind != Kind::Dead).collect();
    if !kinds.is_empty() {
        let mut after = 0;
        loop {
            let mut page = admin.stores.events.ended(wanted.place.id, wanted.from, wanted.to, after, CHUNK).await?;
            let Some(last) = page.last() else { break };
            after = last.number;
            page.retain(|ended| kinds.contains(&Kind::of(&ended.outcome)));
            again.take(admin, &wanted.place, page).await?;
        }
    }
    if wanted.kinds.contains(&Kind::Dead) {
        let mut after = 0;
        loop {
            let mut page = admin.stores.events.dead_letters(wanted.place.id, after, CHUNK).await?;
            let Some(last) = page.last() else { break };
            after = last.number;
            page.retain(|ended| (wanted.from..wanted.to).contains(&ended.event.received_at));
            again.take(admin, &wanted.place, page).await?;
        }
    }
    Ok(())
}

/// What the operator should know before he does it.
fn warnings(wanted: &Wanted) -> Vec<String> {
    if !wanted.kinds.contains(&Kind::Delivered) {
        return Vec::new();
    }
    vec![format!(
        "what {} already has is recognised there by its id only as long as the platform remembers it; after that it \
         counts twice",
        wanted.place.name
    )]
}

/// Why some would count twice, in words.
fn over(place: &Place, recognised: Option<Dedupe>) -> String {
    match recognised {
        Some(Dedupe::Within(window)) => format!(
            "{} recognises an id for {} hours after it first got it, and that is over for these.",
            place.name,
            window.as_secs() / 3600
        ),
        Some(Dedupe::Always | Dedupe::Never) | None => {
            format!("{} does not recognise what it already has.", place.name)
        }
    }
}
