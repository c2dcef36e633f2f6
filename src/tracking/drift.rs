//! UTM values that came in and that nobody registered: what was written instead of what was agreed.
//!
//! What was written is kept, up to a bound; which of it is unknown, what it counts as and what may have been meant is
//! worked out when it is listed, by the policy of that moment.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde::{Deserialize, Serialize, Serializer};
use tracing::warn;

use super::governance::Governance;
use crate::{
    links::{
        contact,
        policy::{Field, VALUE_CHARS_MAX},
    },
    model::{RawUser, Time, Utm},
    privacy::scrub::{self, Posted},
    store::{Book, Entry, StoreError},
};

/// Different values that are kept; more are counted together.
const VALUES_MAX: usize = 10_000;
/// Spellings of one value that are listed.
const SPELLINGS_MAX: usize = 20;
/// What changed is written no more often than this.
const SAVED_EVERY: Duration = Duration::from_secs(60);
/// Where it is kept.
const SHELF: &str = "drift";
/// The key of what is counted together there.
const OTHERS: &str = "others";

/// One value as it was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Seen {
    field: Field,
    value: String,
    first: Time,
    last: Time,
    count: u64,
}

#[derive(Default)]
struct State {
    seen: BTreeMap<(Field, String), Seen>,
    /// What changed since it was written.
    changed: BTreeSet<(Field, String)>,
    /// Values that did not fit, or that nobody may keep.
    others: u64,
    others_changed: bool,
    saved: Option<Time>,
}

/// A value that nobody registered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Drifting {
    /// Of which field.
    pub field: Field,
    /// What it counts as.
    pub value: String,
    /// How it was written, most frequent first; up to twenty.
    pub spellings: Vec<Spelling>,
    /// When it came first.
    #[serde(serialize_with = "written")]
    pub first_seen: Time,
    /// When it came last.
    #[serde(serialize_with = "written")]
    pub last_seen: Time,
    /// How often it came.
    pub count: u64,
    /// The known value that may have been meant.
    pub nearest: Option<String>,
}

/// One way in which a value was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Spelling {
    /// As it was.
    pub raw: String,
    /// How often.
    pub count: u64,
}

fn written<S: Serializer>(time: &Time, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(time)
}

/// Values that nobody registered. What was noted since the last [`Drift::save`] is lost with the process.
pub struct Drift {
    governance: Arc<Governance>,
    book: Arc<dyn Book>,
    state: Mutex<State>,
}

impl Drift {
    /// What the book has of it.
    #[must_use]
    pub fn new(governance: Arc<Governance>, book: Arc<dyn Book>) -> Self {
        let mut state = State::default();
        let mut unread = 0;
        for (key, text) in book.list(SHELF) {
            if key == OTHERS {
                state.others = text.parse().unwrap_or(0);
            } else if let Ok(seen) = serde_json::from_str::<Seen>(&text) {
                state.seen.insert((seen.field, seen.value.clone()), seen);
            } else {
                unread += 1;
            }
        }
        if unread > 0 {
            warn!(count = unread, "UTM values that nobody registered cannot be read: a newer relay wrote them");
        }
        Self { governance, book, state: Mutex::new(state) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes note of the UTM values of a visit or a click.
    pub fn note_all(&self, utm: &Utm, at: Time) {
        for field in Field::UTM {
            if let Some(value) = field.of_utm(utm) {
                self.note(field, value, at);
            }
        }
    }

    /// Takes note of a value, unless it is known, or nothing is agreed about its field. Nothing is kept that looks like
    /// contact data; that is only counted.
    pub fn note(&self, field: Field, raw: &str, at: Time) {
        let raw = raw.trim();
        let policy = self.governance.policy();
        if raw.is_empty() || !policy.is_governed(field) || policy.is_known(field, raw) {
            return;
        }
        let key = (field, raw.to_owned());
        let mut state = self.state();
        let state = &mut *state;
        if let Some(seen) = state.seen.get_mut(&key) {
            seen.count = seen.count.saturating_add(1);
            seen.first = seen.first.min(at);
            seen.last = seen.last.max(at);
        } else if state.seen.len() < VALUES_MAX && may_be_kept(raw) {
            state.seen.insert(key.clone(), Seen { field, value: key.1.clone(), first: at, last: at, count: 1 });
        } else {
            state.others = state.others.saturating_add(1);
            state.others_changed = true;
            return;
        }
        state.changed.insert(key);
    }

    /// The values that nobody registered and that came since then, those that came most often first; up to `max`. What was
    /// registered meanwhile is not among them.
    #[must_use]
    pub fn list(&self, since: Option<Time>, max: usize) -> Vec<Drifting> {
        let policy = self.governance.policy();
        let mut found: BTreeMap<(Field, String), Drifting> = BTreeMap::new();
        {
            let state = self.state();
            let late = |seen: &&Seen| since.is_none_or(|since| seen.last >= since);
            for seen in state.seen.values().filter(late).filter(|seen| !policy.is_known(seen.field, &seen.value)) {
                let value = policy.normal(seen.field, &seen.value).into_owned();
                let one = found.entry((seen.field, value.clone())).or_insert_with(|| Drifting {
                    field: seen.field,
                    value,
                    spellings: Vec::new(),
                    first_seen: seen.first,
                    last_seen: seen.last,
                    count: 0,
                    nearest: None,
                });
                one.first_seen = one.first_seen.min(seen.first);
                one.last_seen = one.last_seen.max(seen.last);
                one.count = one.count.saturating_add(seen.count);
                one.spellings.push(Spelling { raw: seen.value.clone(), count: seen.count });
            }
        }
        let mut list: Vec<Drifting> = found.into_values().collect();
        list.sort_by_key(|one| std::cmp::Reverse(one.count));
        list.truncate(max);
        for one in &mut list {
            one.spellings.sort_by_key(|spelling| std::cmp::Reverse(spelling.count));
            one.spellings.truncate(SPELLINGS_MAX);
            one.nearest = policy.nearest(one.field, &one.value).map(str::to_owned);
        }
        list
    }

    /// How often values came that are not listed: more than ten thousand different ones, or ones that look like contact data.
    #[must_use]
    pub fn others(&self) -> u64 {
        self.state().others
    }

    /// Writes what changed into the book, if that is due.
    ///
    /// # Errors
    /// [`StoreError`]; then it is tried again when it is called next.
    pub async fn save(&self, now: Time) -> Result<(), StoreError> {
        // A clock that was set back does not keep it from being saved.
        let due = self.state().saved.is_none_or(|saved| now < saved || now.since(saved) >= SAVED_EVERY);
        if due { self.save_now(now).await } else { Ok(()) }
    }

    /// Writes what changed into the book, as the process is about to end.
    ///
    /// # Errors
    /// [`StoreError`]; then it is tried again when it is called next.
    pub async fn save_now(&self, now: Time) -> Result<(), StoreError> {
        let (entries, changed, others_changed) = {
            let mut state = self.state();
            let state = &mut *state;
            // What was registered meanwhile makes room.
            let policy = self.governance.policy();
            let known: Vec<(Field, String)> =
                state.seen.keys().filter(|(field, value)| policy.is_known(*field, value)).cloned().collect();
            let mut entries = Vec::new();
            for key in known {
                state.seen.remove(&key);
                state.changed.remove(&key);
                entries.push(entry(name(&key), None, now));
            }
            let changed = std::mem::take(&mut state.changed);
            for key in &changed {
                let value = state.seen.get(key).and_then(|seen| serde_json::to_string(seen).ok());
                entries.push(entry(name(key), value, now));
            }
            let others_changed = std::mem::take(&mut state.others_changed);
            if others_changed {
                entries.push(entry(OTHERS.to_owned(), Some(state.others.to_string()), now));
            }
            (entries, changed, others_changed)
        };
        let written = if entries.is_empty() { Ok(()) } else { self.book.write(entries).await };
        let mut state = self.state();
        match written {
            Ok(()) => state.saved = Some(now),
            Err(_) => {
                state.changed.extend(changed);
                state.others_changed |= others_changed;
            }
        }
        written
    }
}

/// Whether a value may be kept as it was written: no contact data, nothing that nobody typed.
fn may_be_kept(raw: &str) -> bool {
    let plain = raw.chars().count() <= VALUE_CHARS_MAX && !raw.chars().any(char::is_control);
    plain && !contact::holds(raw) && scrub::text(raw.to_owned(), &Posted::of(&RawUser::default())).is_some()
}

fn name((field, value): &(Field, String)) -> String {
    format!("{}/{value}", field.as_str())
}

fn entry(key: String, value: Option<String>, at: Time) -> Entry {
    Entry { at, by: "relay".to_owned(), shelf: SHELF.to_owned(), key, value, audited: false }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        links::policy::{Decision, Policy},
        model::Settings,
        store::{book::FileBook, memory::SimulatedDisk},
    };

    const RULES: &str = "[medium]\nvalues = [\"email\", \"paid-social\"]";

    fn drift(book: &Arc<dyn Book>) -> (Arc<Governance>, Drift) {
        let mut settings = Settings::new("utm.", RULES.parse().expect("TOML"));
        let governance = Arc::new(Governance::new(Policy::read(&mut settings), Arc::clone(book)));
        let drift = Drift::new(Arc::clone(&governance), Arc::clone(book));
        (governance, drift)
    }

    fn book() -> Arc<dyn Book> {
        Arc::new(FileBook::open(Arc::new(SimulatedDisk::default())).expect("opens"))
    }

    fn at(seconds: i64) -> Time {
        Time::from_secs(seconds)
    }

    #[tokio::test]
    async fn a_hundred_clicks_with_an_unknown_medium_are_one_line_with_what_was_meant() {
        let book = book();
        let (governance, drift) = drift(&book);
        for i in 0..100 {
            let medium = if i % 4 == 0 { "Emial" } else { "emial" };
            let utm = Utm { medium: Some(medium.to_owned()), content: Some("any".to_owned()), ..Utm::default() };
            drift.note_all(&utm, at(1000 + i));
        }
        drift.note(Field::Medium, "Paid_Social", at(1000));
        drift.note(Field::Medium, "fax", at(5000));
        let list = drift.list(None, 10);
        assert_eq!(list.len(), 2, "known in any spelling, and a field of which nothing is agreed: {list:?}");
        let first = &list[0];
        assert_eq!((first.field, first.value.as_str(), first.count), (Field::Medium, "emial", 100));
        assert_eq!((first.first_seen, first.last_seen), (at(1000), at(1099)));
        assert_eq!(first.nearest.as_deref(), Some("email"));
        assert_eq!(first.spellings[0], Spelling { raw: "emial".to_owned(), count: 75 });
        assert_eq!(drift.list(Some(at(2000)), 10).len(), 1);
        assert_eq!(drift.list(None, 1).len(), 1);
        let alias = Decision::Alias { field: Field::Medium, from: "emial".to_owned(), to: "email".to_owned() };
        governance.decide(&alias, "ada", at(6000)).await.expect("is decided");
        assert_eq!(drift.list(None, 10).len(), 1, "it is agreed what it means");
    }

    #[tokio::test]
    async fn it_survives_a_restart_and_is_written_once_a_minute() {
        let book = book();
        let (governance, first) = drift(&book);
        first.note(Field::Source, "zeitung", at(10));
        first.save(at(10)).await.expect("saves");
        first.note(Field::Source, "zeitung", at(11));
        first.save(at(69)).await.expect("is not due");
        assert_eq!(drift(&book).1.list(None, 10)[0].count, 1);
        first.save(at(70)).await.expect("saves");
        let (_, second) = drift(&book);
        assert_eq!(second.list(None, 10), first.list(None, 10));
        assert_eq!(second.list(None, 10)[0].count, 2);
        assert_eq!(book.history("drift", None, 10).expect("reads"), [], "it is no decision of anybody");
        let value = Decision::Value { field: Field::Source, value: "zeitung".to_owned() };
        governance.decide(&value, "ada", at(80)).await.expect("is decided");
        first.save_now(at(81)).await.expect("saves");
        assert_eq!(book.list("drift"), [], "it makes room");
    }

    #[tokio::test]
    async fn it_is_bounded_and_keeps_no_contact_data() {
        let book = book();
        let (_, first) = drift(&book);
        for secret in ["ada@example.com", "ada%40example.com", "+1 650 555 1212", "a\u{7}b", &"x".repeat(121)] {
            first.note(Field::Campaign, secret, at(1));
        }
        assert_eq!((first.list(None, 10), first.others()), (vec![], 5));
        for i in 0..VALUES_MAX + 7 {
            first.note(Field::Campaign, &format!("c{i}"), at(1));
        }
        first.note(Field::Campaign, "c0", at(2));
        assert_eq!((first.list(None, usize::MAX).len(), first.others()), (VALUES_MAX, 12));
        assert_eq!(first.list(None, 1)[0].value, "c0");
        first.save_now(at(3)).await.expect("saves");
        let (_, second) = drift(&book);
        assert_eq!((second.list(None, usize::MAX).len(), second.others()), (VALUES_MAX, 12));
    }
}
