//! Three figures everywhere: all, human, unique; and how many clicks became a session.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher as _},
    time::Duration,
};

use serde_json::{Value, json};

use crate::model::{Click, ClickVerdict, LinkKey, Time};

/// Which rows are looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection {
    /// Of this link only.
    pub link: Option<LinkKey>,
    /// With this verdict only.
    pub verdict: Option<ClickVerdict>,
    /// With this reason only: the whole of it, or what stands before its colon.
    pub reason: Option<String>,
    /// From this time on.
    pub from: Time,
    /// Up to this time, and not at it.
    pub to: Time,
}

impl Selection {
    /// Everything.
    pub const ALL: Self =
        Self { link: None, verdict: None, reason: None, from: Time::from_ms(0), to: Time::from_ms(i64::MAX) };

    /// Whether a row is among them, whatever its time.
    #[must_use]
    pub fn takes(&self, row: &Click) -> bool {
        let named = |wanted: &String| {
            row.reasons.iter().any(|reason| reason == wanted || reason.split(':').next() == Some(wanted.as_str()))
        };
        self.link.as_ref().is_none_or(|link| row.link == *link)
            && self.verdict.is_none_or(|verdict| row.verdict == verdict)
            && self.reason.as_ref().is_none_or(named)
    }
}

/// Tells which clicks are a visitor's only ones on a link within a span of time. Rows have to come newest first.
pub struct Uniques {
    window: Duration,
    /// The time of the click that was counted last, by whose it was and where.
    counted: HashMap<u64, Time>,
}

impl Uniques {
    /// One click in `window` counts.
    #[must_use]
    pub fn new(window: Duration) -> Self {
        Self { window, counted: HashMap::new() }
    }

    /// Whether this human click counts in `group`. Where spans begin at the latest click instead of the first, they are as
    /// many.
    pub fn counts(&mut self, group: u64, row: &Click) -> bool {
        let mut whose = DefaultHasher::new();
        (group, &row.link).hash(&mut whose);
        match &row.visitor_id {
            Some(id) => id.as_str().hash(&mut whose),
            // Somebody who was forgotten has neither: such a click stands for itself.
            None if row.fingerprint == 0 => row.id.hash(&mut whose),
            None => row.fingerprint.hash(&mut whose),
        }
        match self.counted.entry(whose.finish()) {
            std::collections::hash_map::Entry::Occupied(later) if later.get().since(row.at) < self.window => false,
            entry => {
                entry.insert_entry(row.at);
                true
            }
        }
    }
}

/// The figures of a selection of rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Every request but those for the head alone.
    pub all: u64,
    /// Those judged human.
    pub human: u64,
    /// Of these, each visitor's first of a link within the window.
    pub unique: u64,
    /// Human clicks whose landing page was seen by the tag.
    pub sessions: u64,
    /// Human clicks of visitors with an id, for which that could be seen.
    pub identified: u64,
    /// Requests for the head alone.
    pub head: u64,
    /// All by verdict, in the order of [`ClickVerdict::ALL`].
    pub by_verdict: [u64; ClickVerdict::ALL.len()],
}

impl Figures {
    /// Counts a row.
    pub fn add(&mut self, row: &Click, group: u64, uniques: &mut Uniques) {
        if row.head {
            self.head += 1;
            return;
        }
        self.all += 1;
        if let Some(at) = ClickVerdict::ALL.iter().position(|verdict| *verdict == row.verdict) {
            self.by_verdict[at] += 1;
        }
        // Who was led nowhere, as the link had ended or was stopped, was no visitor of anything.
        let led = !row.reasons.iter().any(|reason| matches!(reason.as_str(), "expired" | "paused" | "pending"));
        if row.verdict == ClickVerdict::Human && led {
            self.human += 1;
            self.unique += u64::from(uniques.counts(group, row));
            self.sessions += u64::from(row.landed.is_some());
            self.identified += u64::from(row.visitor_id.is_some() || row.landed.is_some());
        }
    }

    /// The share of human clicks that became a session; `None` where none could have been seen.
    #[must_use]
    pub fn click_to_session(&self) -> Option<f64> {
        share(self.sessions, self.identified)
    }

    /// The three figures, the sessions and their ratio.
    #[must_use]
    pub fn json(&self) -> Value {
        json!({
            "all": self.all, "human": self.human, "unique": self.unique, "sessions": self.sessions,
            "click_to_session": self.click_to_session(),
        })
    }

    /// All there is to say about the selection.
    #[must_use]
    pub fn totals(&self) -> Value {
        let mut totals = self.json();
        let verdicts = ClickVerdict::ALL.iter().zip(self.by_verdict);
        totals["by_verdict"] =
            verdicts.map(|(verdict, count)| (verdict.as_str().to_owned(), Value::from(count))).collect();
        totals["head"] = self.head.into();
        totals
    }
}

/// A share to four digits; `None` of nothing.
#[expect(clippy::cast_precision_loss, reason = "counts of rows are far below 2^52")]
pub(super) fn share(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| (part as f64 / whole as f64 * 10_000.0).round() / 10_000.0)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::model::{Utm, VisitorId};

    /// A human click of `visitor` at `seconds`.
    pub(in crate::tracking::reports) fn click(seconds: i64, link: &str, visitor: &str) -> Click {
        Click {
            id: format!("{seconds}-{visitor}"),
            at: Time::from_secs(seconds),
            link: LinkKey::of(link),
            verdict: ClickVerdict::Human,
            reasons: Vec::new(),
            head: false,
            device: None,
            browser: None,
            os: None,
            in_app: None,
            country: None,
            referrer: None,
            visitor_id: VisitorId::new(visitor).ok(),
            fingerprint: 0,
            utm: Utm::default(),
            split: None,
            landed: None,
            relabelled_by: None,
        }
    }

    fn figures(rows: &[Click], window: Duration) -> Figures {
        let (mut figures, mut uniques) = (Figures::default(), Uniques::new(window));
        let mut rows: Vec<&Click> = rows.iter().collect();
        rows.sort_by_key(|row| std::cmp::Reverse(row.at));
        rows.into_iter().for_each(|row| figures.add(row, 0, &mut uniques));
        figures
    }

    #[test]
    fn five_refreshes_are_five_clicks_of_one_visitor() {
        let rows: Vec<Click> = (0..5).map(|i| click(i * 60, "mugs", "v1")).collect();
        let day = Duration::from_secs(86_400);
        let told = figures(&rows, day);
        assert_eq!((told.all, told.human, told.unique), (5, 5, 1));
        let mut more = rows.clone();
        more.push(click(30, "cups", "v1"));
        more.push(click(31, "mugs", "v2"));
        assert_eq!(figures(&more, day).unique, 3, "another link and another visitor count");
        more.push(click(90_000, "mugs", "v1"));
        assert_eq!(figures(&more, day).unique, 4, "and so does the next day");
        assert_eq!(figures(&rows, Duration::from_secs(60)).unique, 5, "the window is a setting");
    }

    #[test]
    fn spans_are_as_many_from_either_end() {
        let rows: Vec<Click> = (0..30).map(|i| click(i * 20, "mugs", "v1")).collect();
        assert_eq!(figures(&rows, Duration::from_secs(100)).unique, 6);
    }

    #[test]
    fn without_an_id_the_days_fingerprint_tells_visitors_apart() {
        let of = |seconds, fingerprint| Click { visitor_id: None, fingerprint, ..click(seconds, "mugs", "v1") };
        assert_eq!(figures(&[of(0, 7), of(60, 7), of(90, 8)], Duration::from_secs(86_400)).unique, 2);
    }

    #[test]
    fn what_is_no_click_of_a_person_is_in_all_and_nowhere_else() {
        let mut rows: Vec<Click> = ClickVerdict::ALL
            .iter()
            .enumerate()
            .map(|(i, verdict)| Click { verdict: *verdict, ..click(i as i64, "mugs", &format!("v{i}")) })
            .collect();
        rows.push(Click { head: true, ..click(99, "mugs", "v9") });
        let told = figures(&rows, Duration::from_secs(1));
        assert_eq!((told.all, told.human, told.unique, told.head), (7, 1, 1, 1));
        assert_eq!(told.totals()["by_verdict"]["preview"], 1);
    }

    #[test]
    fn ten_clicks_and_two_landings_are_a_fifth() {
        let mut rows: Vec<Click> = (0..10).map(|i| click(i, "mugs", &format!("v{i}"))).collect();
        assert_eq!(figures(&rows, Duration::from_secs(1)).click_to_session(), Some(0.0));
        rows[3].landed = Some(rows[3].at);
        rows[4].landed = Some(rows[4].at);
        rows.push(Click { visitor_id: None, fingerprint: 3, ..click(11, "mugs", "v1") });
        assert_eq!(figures(&rows, Duration::from_secs(1)).click_to_session(), Some(0.2), "of those that could be seen");
        assert_eq!(Figures::default().click_to_session(), None);
    }

    #[test]
    fn a_selection_is_by_link_verdict_and_reason() {
        let row =
            Click { reasons: vec!["known_bot: GPTBot (ai_crawler)".into(), "head".into()], ..click(0, "mugs", "v") };
        let by = |reason: &str| Selection { reason: Some(reason.into()), ..Selection::ALL };
        assert!(by("known_bot").takes(&row) && by("head").takes(&row) && !by("known").takes(&row));
        assert!(!Selection { link: Some(LinkKey::of("cups")), ..Selection::ALL }.takes(&row));
        assert!(!Selection { verdict: Some(ClickVerdict::Bot), ..Selection::ALL }.takes(&row));
    }
}
