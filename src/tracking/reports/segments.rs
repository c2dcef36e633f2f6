//! Visitors by how they behave. A score says how close to a conversion somebody seems to be, and why: rules of thumb with
//! their numbers in sight, not a model.

use std::time::Duration;

use serde_json::{Value, json};

use super::sessions;
use crate::model::{Action, Visitor};

/// From where on a behaviour counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thresholds {
    /// A fast clicker does something within this span of a landing.
    pub fast: Duration,
    /// A delayed converter converts this long after the first visit, or later.
    pub delay: Duration,
    /// A repeat visitor has this many visits.
    pub visits: usize,
    /// High intent is a score of this much.
    pub intent: u32,
}

impl Default for Thresholds {
    fn default() -> Self {
        let (fast, delay) = (Duration::from_secs(10), Duration::from_secs(86_400));
        Self { fast, delay, visits: 3, intent: 60 }
    }
}

impl Thresholds {
    /// As they are shown.
    #[must_use]
    pub fn json(&self) -> Value {
        json!({
            "fast_clickers": format!("something done within {} s of a landing", self.fast.as_secs()),
            "delayed_converters": format!("converted {} h or more after the first visit", self.delay.as_secs() / 3600),
            "repeat_visitors": format!("{} visits or more", self.visits),
            "high_intent": format!("a score of {} or more, of 100", self.intent),
        })
    }
}

/// A group of visitors that behave alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Segment {
    /// Who does something at once.
    FastClickers,
    /// Who converts long after the first visit.
    DelayedConverters,
    /// Who comes again.
    RepeatVisitors,
    /// Who seems close to a conversion.
    HighIntent,
}

impl Segment {
    /// Every segment.
    pub const ALL: [Self; 4] = [Self::FastClickers, Self::DelayedConverters, Self::RepeatVisitors, Self::HighIntent];

    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::FastClickers => "fast_clickers",
            Self::DelayedConverters => "delayed_converters",
            Self::RepeatVisitors => "repeat_visitors",
            Self::HighIntent => "high_intent",
        }
    }

    /// Whether `visitor` belongs to it.
    #[must_use]
    pub fn takes(self, visitor: &Visitor, thresholds: &Thresholds) -> bool {
        match self {
            Self::FastClickers => sessions(visitor).iter().any(|session| {
                let first = session.actions.first();
                first.is_some_and(|action| action.at.since(session.visit.at) <= thresholds.fast)
            }),
            Self::DelayedConverters => {
                let Some(first) = sessions(visitor).first().map(|session| session.visit.at) else { return false };
                visitor.actions.iter().any(|action| converts(action) && action.at.since(first) >= thresholds.delay)
            }
            Self::RepeatVisitors => sessions(visitor).len() >= thresholds.visits,
            Self::HighIntent => Intent::of(visitor).score >= thresholds.intent,
        }
    }
}

/// Whether something that was done is a conversion: it names a transaction, or is one by its name.
fn converts(action: &Action) -> bool {
    let names = ["purchase", "generate_lead", "sign_up", "subscribe", "book_appointment"];
    action.transaction.is_some() || names.contains(&action.name.as_str())
}

/// Steps that tell of intent, and how much.
const STEPS: [(&str, u32); 9] = [
    ("purchase", 40),
    ("begin_checkout", 30),
    ("generate_lead", 30),
    ("sign_up", 30),
    ("add_payment_info", 30),
    ("add_to_cart", 25),
    ("add_to_wishlist", 15),
    ("view_item", 10),
    ("search", 10),
];

/// How close to a conversion a visitor seems to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Intent {
    /// From 0 to 100.
    pub score: u32,
    /// What it is made of.
    pub reasons: Vec<String>,
}

impl Intent {
    /// Of a visitor, from scrolling, time, pages, repeats and steps.
    #[must_use]
    pub fn of(visitor: &Visitor) -> Self {
        let sessions = sessions(visitor);
        let (mut sum, mut reasons) = (0, Vec::new());
        let mut give = |points: u32, why: String| {
            sum += points;
            reasons.push(format!("+{points} {why}"));
        };
        let scroll = sessions.iter().map(|session| session.visit.scroll).max().unwrap_or(0);
        match scroll {
            75.. => give(15, format!("scrolled to {scroll} %")),
            50..75 => give(10, format!("scrolled to {scroll} %")),
            _ => {}
        }
        let seconds: u64 = sessions.iter().map(|session| u64::from(session.visit.engaged_s)).sum();
        match seconds {
            60.. => give(20, format!("{seconds} s in view")),
            10..60 => give(10, format!("{seconds} s in view")),
            _ => {}
        }
        let pages: u64 = sessions.iter().map(|session| 1 + u64::from(session.visit.pages)).sum();
        if pages >= 3 {
            give(10, format!("{pages} pages"));
        }
        match sessions.len() {
            3.. => give(20, format!("{} visits", sessions.len())),
            2 => give(15, "2 visits".to_owned()),
            _ => {}
        }
        for (name, points) in STEPS {
            if visitor.actions.iter().any(|action| action.name.as_str() == name) {
                give(points, name.to_owned());
            }
        }
        Self { score: sum.min(100), reasons }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::visitors::tests::visitor, *};
    use crate::model::{Observation, Sensitive, Time, Visit};

    fn come_again(visitor: &mut Visitor, days: i64) {
        let url = Some(Sensitive::new("https://shop.example/again".to_owned()));
        let visit = Visit { at: Time::from_secs(1000 + days * 86_400), url, ..Visit::default() };
        visitor.absorb(Observation::new(visitor.id.clone(), visit));
    }

    #[test]
    fn who_scrolls_and_fills_the_cart_scores_higher_and_is_told_why() {
        let idle = Intent::of(&visitor("v1", None, 0, &[]));
        let mut keen = visitor("v2", None, 75, &["add_to_cart"]);
        keen.first_visit.scroll = 90;
        let keen = Intent::of(&keen);
        assert_eq!((idle.score, idle.reasons.len()), (0, 0));
        assert_eq!(keen.score, 60);
        assert_eq!(keen.reasons, ["+15 scrolled to 90 %", "+20 75 s in view", "+25 add_to_cart"]);
        let all = visitor("v3", None, 100, &["purchase", "begin_checkout", "add_to_cart", "view_item"]);
        assert_eq!(Intent::of(&all).score, 100, "and no more than that");
    }

    #[test]
    fn segments_go_by_their_thresholds() {
        let thresholds = Thresholds::default();
        let of = |visitor: &Visitor| -> Vec<&str> {
            let takes = |segment: &Segment| segment.takes(visitor, &thresholds);
            Segment::ALL.into_iter().filter(takes).map(Segment::as_str).collect()
        };
        assert!(of(&visitor("v1", None, 0, &["view_item"])).is_empty(), "a minute is not fast");
        let mut fast = visitor("v2", None, 0, &["view_item"]);
        fast.actions[0].at = Time::from_secs(1004);
        assert_eq!(of(&fast), ["fast_clickers"]);
        let mut back = visitor("v3", None, 0, &["purchase"]);
        (1..=3).for_each(|days| come_again(&mut back, days));
        back.actions[0].at = Time::from_secs(1000 + 2 * 86_400 + 100);
        assert_eq!(of(&back), ["delayed_converters", "repeat_visitors", "high_intent"]);
    }
}
