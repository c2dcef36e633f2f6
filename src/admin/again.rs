//! Sending ended deliveries again: judged one by one, queued in pieces.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{
    Admin,
    diff::Differences,
    fate::{Counts, Fate, counts_twice, fate, request},
};
use crate::{
    delivery::{Place, State},
    destinations::Dedupe,
    model::{Outcome, Time},
    store::{Ended, Exhibit, Requeue},
    web::Problem,
};

/// Requests that a dry run compares; the others are counted.
const DIFFS_MAX: usize = 20;

/// How those are counted that may be at the platform, though nobody knows.
pub(super) const UNDECIDED: &str = "undecided";
/// How those are counted that the platform would count twice.
pub(super) const TWICE: &str = "would_count_twice";

/// One run over ended deliveries.
pub(super) struct Again {
    /// Nothing is queued.
    pub(super) dry_run: bool,
    /// Those that the platform would count twice are queued all the same.
    pub(super) force: bool,
    /// For how long the platform recognises one that it would count twice.
    pub(super) recognised: Option<Dedupe>,
    now: Time,
    counts: Counts,
    diffs: Vec<Value>,
    diffs_left_out: u64,
    waiting: BTreeMap<String, String>,
}

/// What is thought of one ended delivery.
struct Judged {
    number: u64,
    fate: Fate,
    twice: Option<Dedupe>,
    diff: Diff,
}

/// What a dry run tells of one dead letter.
enum Diff {
    /// Nothing: it is none, or it will not be sent.
    None,
    /// This.
    Shown(Value),
    /// Nothing, as enough is told of others.
    LeftOut,
}

impl Again {
    /// A run that has not begun.
    pub(super) fn new(admin: &Admin, dry_run: bool, force: bool) -> Self {
        Self {
            dry_run,
            force,
            recognised: None,
            now: admin.clock.now(),
            counts: Counts::of(&["matched", "replayed", "expired", "unmapped", "refused", UNDECIDED]),
            diffs: Vec::new(),
            diffs_left_out: 0,
            waiting: BTreeMap::new(),
        }
    }

    /// What was counted so far.
    pub(super) const fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Notes dead letters that only the operator can decide about, and did not.
    pub(super) fn leave_undecided(&mut self, count: u64) {
        self.counts.add("matched", count);
        self.counts.add(UNDECIDED, count);
    }

    /// Judges these, which ended at `place`, and queues what can be sent.
    pub(super) async fn take(&mut self, admin: &Admin, place: &Place, ended: Vec<Ended>) -> Result<(), Problem> {
        if ended.is_empty() {
            return Ok(());
        }
        let (now, shown) = (self.now, if self.dry_run { DIFFS_MAX.saturating_sub(self.diffs.len()) } else { 0 });
        let at = place.clone();
        let judged = tokio::task::spawn_blocking(move || judge(&at, &ended, now, shown)).await;
        let judged = judged.map_err(|_| Problem::internal())?;
        let mut queue: BTreeMap<Time, Vec<(u64, Time)>> = BTreeMap::new();
        for Judged { number, fate, twice, diff } in judged {
            self.counts.add("matched", 1);
            match diff {
                Diff::Shown(diff) => self.diffs.push(diff),
                Diff::LeftOut => self.diffs_left_out += 1,
                Diff::None => {}
            }
            match fate {
                Fate::Sendable { .. } if twice.is_some() && !self.force => {
                    self.counts.add(TWICE, 1);
                    self.recognised = self.recognised.or(twice);
                }
                Fate::Sendable { due, deadline } => {
                    queue.entry(due).or_default().push((number, deadline));
                }
                Fate::Expired => self.counts.add("expired", 1),
                Fate::Skipped(reason) => self.counts.add(reason.as_str(), 1),
                Fate::Refused(_) => self.counts.add("refused", 1),
            }
        }
        for (due, events) in queue {
            let wanted = events.len() as u64;
            let queued = if self.dry_run {
                wanted
            } else {
                let requeue = Requeue { destination: place.id, events, at: self.now, due };
                admin.stores.events.requeue(requeue).await?
            };
            self.counts.add("replayed", queued);
            self.counts.add("queued_already", wanted.saturating_sub(queued));
            if let State::Paused { .. } | State::Stopped(_) = admin.state(place) {
                let text = format!("{} is paused: they wait until it goes on", place.name);
                self.waiting.insert(place.name.to_string(), text);
            }
        }
        Ok(())
    }

    /// The answer, with more to say in `notes`.
    pub(super) fn answer(self, mut notes: Vec<String>) -> Value {
        let mut answer = json!({ "dry_run": self.dry_run });
        for (name, count) in self.counts.iter() {
            answer[name] = count.into();
        }
        if self.counts.get(UNDECIDED) > 0 {
            notes.push(
                "undecided: nobody knows whether the platform has these. Look at its own reports; to send them all the \
                 same, ask for class unknown or for their event ids"
                    .to_owned(),
            );
        }
        if self.counts.get("refused") > 0 {
            notes.push("refused: these still lack what the destination needs; nothing would be sent".to_owned());
        }
        notes.extend(self.waiting.into_values());
        answer["notes"] = notes.into();
        if self.dry_run {
            answer["diffs"] = self.diffs.into();
            answer["diffs_left_out"] = self.diffs_left_out.into();
        }
        answer
    }
}

/// Judges each, and tells of the first `shown` dead letters what a replay would change.
fn judge(place: &Place, ended: &[Ended], now: Time, mut shown: usize) -> Vec<Judged> {
    let judge = |ended: &Ended| {
        let fate = fate(place, ended, now);
        let telling =
            matches!(ended.outcome, Outcome::Dead { .. }) && matches!(fate, Fate::Sendable { .. } | Fate::Refused(_));
        let diff = match telling {
            true if shown > 0 => {
                shown -= 1;
                Diff::Shown(told(place, ended, &fate))
            }
            true => Diff::LeftOut,
            false => Diff::None,
        };
        Judged { number: ended.number, twice: counts_twice(place, ended, now), fate, diff }
    };
    ended.iter().map(judge).collect()
}

/// The request that went next to the one that would go now, or why there is none.
fn told(place: &Place, ended: &Ended, fate: &Fate) -> Value {
    let mut answer = json!({ "event_id": ended.event.event_id, "destination": place.name });
    if let Fate::Refused(failure) = fate {
        answer["refused"] = json!({ "code": failure.code, "field": failure.field, "message": failure.message });
        return answer;
    }
    let why_not = match &ended.exhibit {
        _ if ended.event.name.is_change() && ended.event.change.is_none() => {
            "what it changes is looked up when it is sent"
        }
        None => "nothing was sent, or what was sent is not kept",
        Some(exhibit) if exhibit.request.len() >= Exhibit::BYTES_MAX => "the request that went was kept only in part",
        Some(exhibit) => {
            let found = Differences::between(&exhibit.request, &request(place, ended));
            answer["differences"] = found.list.into();
            answer["more"] = found.more.into();
            return answer;
        }
    };
    answer["not_computed"] = why_not.into();
    answer
}
