//! Dead letters: which of them somebody means, and going through them in pieces.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{Admin, asked::Asked};
use crate::{
    delivery::Place,
    model::{DestinationId, DestinationName, EventId, EventName, FailureClass, Outcome, SourceName, Time},
    store::{Ended, StoreError},
    web::Problem,
};

/// Read at once. Each may bring a request and an answer of 16 KiB along.
const CHUNK: usize = 200;

/// Which dead letters.
#[derive(Debug, Default)]
pub(super) struct Filter {
    /// Of this destination.
    pub(super) destination: Option<DestinationName>,
    /// Of this class.
    pub(super) class: Option<FailureClass>,
    /// With this code of the platform, or of ours.
    pub(super) code: Option<String>,
    /// Posted by this source.
    pub(super) source: Option<SourceName>,
    /// Of events with this name.
    pub(super) event: Option<EventName>,
    /// That ended dead at or after this.
    pub(super) since: Option<Time>,
    /// That ended dead before this.
    pub(super) until: Option<Time>,
    /// Of these events.
    pub(super) event_ids: Option<BTreeSet<EventId>>,
}

impl Filter {
    /// Takes a filter out of what is asked for.
    pub(super) fn of(asked: &mut Asked) -> Result<Self, Problem> {
        let class = |text: &str| {
            let all = [FailureClass::Event, FailureClass::Settings, FailureClass::Unknown];
            all.into_iter().find(|class| class.as_str() == text)
        };
        let filter = Self {
            destination: asked.destination("destination")?,
            class: asked.parsed("class", "event, settings or unknown", class)?,
            code: asked.text("code")?,
            source: asked.parsed("source", "the name of a source", |text| SourceName::new(text).ok())?,
            event: asked.parsed("event", "the name of an event, such as purchase", |text| EventName::new(text).ok())?,
            since: asked.time("since")?,
            until: asked.time("until")?,
            event_ids: None,
        };
        if matches!((filter.since, filter.until), (Some(since), Some(until)) if since >= until) {
            return Err(asked.wrong("until", "must be after since"));
        }
        Ok(filter)
    }

    /// The same with `event_ids`, which only a body has.
    pub(super) fn of_body(asked: &mut Asked) -> Result<Self, Problem> {
        let filter = Self::of(asked)?;
        let ids = asked.list("event_ids", "the id of an event", |text| EventId::new(text).ok())?;
        Ok(Self { event_ids: ids.map(BTreeSet::from_iter), ..filter })
    }

    /// How many at most; not with event ids, of which each is meant.
    pub(super) fn limit(&self, asked: &mut Asked) -> Result<u64, Problem> {
        match asked.number("limit", 1..=u64::MAX)? {
            Some(_) if self.event_ids.is_some() => Err(asked.wrong("limit", "does not go with event_ids")),
            limit => Ok(limit.unwrap_or(u64::MAX)),
        }
    }

    /// Whether it means all there are.
    pub(super) const fn is_empty(&self) -> bool {
        self.destination.is_none()
            && self.class.is_none()
            && self.code.is_none()
            && self.source.is_none()
            && self.event.is_none()
            && self.since.is_none()
            && self.until.is_none()
            && self.event_ids.is_none()
    }

    /// Whether it means this one, of a destination that it means.
    pub(super) fn matches(&self, ended: &Ended) -> bool {
        fn is<T: PartialEq>(wanted: &Option<T>, given: &T) -> bool {
            wanted.as_ref().is_none_or(|wanted| wanted == given)
        }
        let Outcome::Dead { class, failure } = &ended.outcome else { return false };
        is(&self.class, class)
            && is(&self.code, &failure.code)
            && is(&self.source, &ended.event.source)
            && is(&self.event, &ended.event.name)
            && self.since.is_none_or(|since| since <= ended.at)
            && self.until.is_none_or(|until| ended.at < until)
            && self.event_ids.as_ref().is_none_or(|ids| ids.contains(&ended.event.event_id))
    }

    /// What is logged of it: which filters, and the values that cannot be about a person.
    pub(super) fn words(&self) -> String {
        let mut words = Vec::new();
        let mut add = |name: &str, value: Option<String>| words.extend(value.map(|value| format!("{name}={value}")));
        add("destination", self.destination.as_ref().map(ToString::to_string));
        add("class", self.class.map(|class| class.as_str().to_owned()));
        add("code", self.code.as_ref().map(|_| "(given)".to_owned()));
        add("source", self.source.as_ref().map(ToString::to_string));
        add("event", self.event.as_ref().map(ToString::to_string));
        add("since", self.since.map(|at| at.to_string()));
        add("until", self.until.map(|at| at.to_string()));
        add("event_ids", self.event_ids.as_ref().map(|ids| ids.len().to_string()));
        if words.is_empty() { "all".to_owned() } else { words.join(" ") }
    }
}

/// Event ids that were asked for and have not been met yet.
pub(super) struct Missing(BTreeSet<EventId>);

impl Missing {
    /// All that a filter asks for.
    pub(super) fn of(filter: &Filter) -> Self {
        Self(filter.event_ids.clone().unwrap_or_default())
    }

    /// Notes that these were met.
    pub(super) fn met<'a>(&mut self, ended: impl IntoIterator<Item = &'a Ended>) {
        for ended in ended {
            self.0.remove(&ended.event.event_id);
        }
    }

    /// Those without a dead letter.
    pub(super) fn into_json(self) -> Value {
        self.0.into_iter().map(|id| Value::from(id.as_str())).collect()
    }
}

/// Where a list goes on: the last dead letter that was looked at. Opaque to callers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cursor {
    destination: DestinationId,
    number: u64,
}

impl Cursor {
    /// Behind this dead letter.
    pub(super) const fn behind(place: &Place, ended: &Ended) -> Self {
        Self { destination: place.id, number: ended.number }
    }

    /// Reads what [`Cursor::text`] wrote.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (destination, number) = text.split_once('.')?;
        let destination = DestinationId(u16::from_str_radix(destination, 16).ok()?);
        Some(Self { destination, number: u64::from_str_radix(number, 16).ok()? })
    }

    /// It as text.
    pub(super) fn text(self) -> String {
        format!("{:x}.{:x}", self.destination.0, self.number)
    }
}

/// Goes through the dead letters of the destinations that a filter means: one destination after the other, by the order in
/// which the events were accepted. What becomes of those that were handed out does not disturb it.
pub(super) struct Letters<'a> {
    admin: &'a Admin,
    places: Vec<&'a Place>,
    after: u64,
}

impl<'a> Letters<'a> {
    /// From the beginning, or from where an earlier pass ended.
    pub(super) fn new(admin: &'a Admin, filter: &Filter, from: Option<Cursor>) -> Result<Self, Problem> {
        let mut places: Vec<&Place> = match &filter.destination {
            Some(name) => vec![admin.place(name.as_str())?],
            None => admin.places.iter().collect(),
        };
        // By the store's numbers, as the configuration may list them in another order after a restart; the next comes last.
        places.sort_by_key(|place| std::cmp::Reverse(place.id));
        let mut after = 0;
        if let Some(from) = from {
            places.retain(|place| place.id >= from.destination);
            if places.last().is_some_and(|place| place.id == from.destination) {
                after = from.number;
            }
        }
        Ok(Self { admin, places, after })
    }

    /// The next of them, unfiltered; `None` behind the last.
    pub(super) async fn next(&mut self) -> Result<Option<(&'a Place, Vec<Ended>)>, StoreError> {
        while let Some(place) = self.places.last().copied() {
            let letters = self.admin.stores.events.dead_letters(place.id, self.after, CHUNK).await?;
            if let Some(last) = letters.last() {
                self.after = last.number;
                return Ok(Some((place, letters)));
            }
            self.places.pop();
            self.after = 0;
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_reads_what_it_wrote_and_nothing_else() {
        let cursor = Cursor { destination: DestinationId(300), number: u64::MAX };
        assert_eq!(Cursor::parse(&cursor.text()), Some(cursor));
        for bad in ["", ".", "1", "1.", "1.2.3", "x.1", "-1.1", "1.ffffffffffffffffff"] {
            assert_eq!(Cursor::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn an_empty_filter_is_told_from_one_that_means_something() {
        let of = |query| Filter::of(&mut Asked::query(Some(query)).expect("reads"));
        assert!(of("").is_ok_and(|filter| filter.is_empty()));
        for query in
            ["destination=meta", "class=unknown", "code=1", "source=s", "event=refund", "since=2026-11-20T00:00:00Z"]
        {
            assert!(of(query).is_ok_and(|filter| !filter.is_empty()), "{query}");
        }
        for bad in [
            "class=mine",
            "event=Purchase",
            "destination=Meta",
            "since=yesterday",
            "since=2026-11-20T00:00:00Z&until=2026-11-20T00:00:00Z",
        ] {
            assert!(of(bad).is_err(), "{bad}");
        }
    }
}
