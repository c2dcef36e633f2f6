//! What can be told only from several requests: repetitions, and bursts.

use std::{
    collections::{HashSet, VecDeque},
    hash::{BuildHasher as _, RandomState},
    time::Duration,
};

use super::{Lately, Signs};
use crate::{
    model::{ClickVerdict, LinkKey, Time, VisitorId},
    store::Amendment,
};

/// Visitors with their links, and browsers, that are remembered at once.
const REMEMBERED_MAX: usize = 100_000;
/// So many different links by one browser within [`LINKS_WITHIN`] are a burst: scanners of mails open all that is in one.
const LINKS: usize = 3;
const LINKS_WITHIN: Duration = Duration::from_secs(1);
/// So many requests by one browser within [`REQUESTS_WITHIN`] are a burst.
const REQUESTS: usize = 10;
const REQUESTS_WITHIN: Duration = Duration::from_secs(2);

const DUPLICATE: &str = "duplicate";
const BURST: &str = "burst";

/// Who asked, as well as that is known.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in crate::capture) enum Who {
    /// A browser that had its id already.
    Known(VisitorId),
    /// A browser that was given this one, if it may have one: it may not have had time to keep it.
    New(Option<VisitorId>),
}

/// A request to be judged.
pub(in crate::capture) struct Sighting<'a> {
    /// The id of its row.
    pub(in crate::capture) id: &'a str,
    pub(in crate::capture) at: Time,
    pub(in crate::capture) link: &'a LinkKey,
    pub(in crate::capture) who: &'a Who,
    pub(in crate::capture) fingerprint: u64,
    pub(in crate::capture) signs: &'a Signs,
}

/// What it was.
#[derive(Debug)]
pub(in crate::capture) struct Judged {
    pub(in crate::capture) verdict: ClickVerdict,
    pub(in crate::capture) reasons: Vec<String>,
    /// What became known of earlier rows by it.
    pub(in crate::capture) amendments: Vec<Amendment>,
}

/// By what a repetition is known.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Repeated {
    Visitor(VisitorId, LinkKey),
    Browser(u64, LinkKey),
}

/// One row of a browser.
#[derive(Debug)]
struct Row {
    id: String,
    at: Time,
    link: LinkKey,
    /// Nothing else than a burst speaks against it more.
    is_open: bool,
    is_burst: bool,
}

/// Remembers what it was asked, by the times of the rows alone.
#[derive(Debug)]
pub(in crate::capture) struct Judge {
    /// The last click that was no repetition.
    clicks: Lately<Repeated, ()>,
    /// The last [`REQUESTS`] rows of each browser.
    browsers: Lately<u64, VecDeque<Row>>,
    /// Makes numbers of ids.
    ids: RandomState,
}

impl Judge {
    /// One that takes the same visitor's second click on a link within `duplicate_window` for a repetition.
    pub(in crate::capture) fn new(duplicate_window: Duration) -> Self {
        Self {
            clicks: Lately::new(duplicate_window, REMEMBERED_MAX),
            browsers: Lately::new(REQUESTS_WITHIN, REMEMBERED_MAX),
            ids: RandomState::new(),
        }
    }

    /// What the request was. Requests are asked about in the order they came.
    pub(in crate::capture) fn judge(&mut self, sighting: &Sighting<'_>) -> Judged {
        let (sign, mut reasons) = (sighting.signs.verdict(), sighting.signs.reasons());
        let (is_burst, amendments) = self.burst(sighting);
        let is_duplicate = sign.is_none() && self.is_duplicate(sighting);
        let found = [(is_duplicate, DUPLICATE), (is_burst, BURST)];
        reasons.extend(found.into_iter().filter(|(is, _)| *is).map(|(_, reason)| reason.to_owned()));
        let verdict = match sign {
            Some(verdict) => verdict,
            None if is_burst => ClickVerdict::Burst,
            None if is_duplicate => ClickVerdict::Duplicate,
            None => ClickVerdict::Human,
        };
        Judged { verdict, reasons, amendments }
    }

    /// Whether the same visitor clicked the same link just before. Who comes with an id is only that visitor; who comes
    /// without one is taken for the one with the same address and browser that came without one too.
    fn is_duplicate(&mut self, sighting: &Sighting<'_>) -> bool {
        let link = sighting.link;
        let visitor = |id: &VisitorId| Repeated::Visitor(id.clone(), link.clone());
        let browser = Repeated::Browser(sighting.fingerprint, link.clone());
        let (asked, noted) = match sighting.who {
            Who::Known(id) => (visitor(id), vec![visitor(id)]),
            Who::New(id) => (browser.clone(), id.iter().map(visitor).chain([browser]).collect()),
        };
        if self.clicks.get(&asked, sighting.at).is_some() {
            return true;
        }
        noted.into_iter().for_each(|key| self.clicks.put(key, (), sighting.at));
        false
    }

    /// Whether it is one of many at once, and what is to be said of the others now.
    fn burst(&mut self, sighting: &Sighting<'_>) -> (bool, Vec<Amendment>) {
        let sign = sighting.signs.verdict();
        // Browsers load several pages ahead, and the operator's people test several at once: whoever clicks then is no machine.
        if matches!(sign, Some(ClickVerdict::Prefetch | ClickVerdict::Qa)) {
            return (false, Vec::new());
        }
        let at = sighting.at;
        // Many people share an address and a kind of browser; who comes with an id is one of them.
        let browser = match sighting.who {
            Who::Known(id) => self.ids.hash_one(id),
            Who::New(_) => sighting.fingerprint,
        };
        let earlier = self.browsers.get_mut(&browser, at).map(std::mem::take);
        let mut rows = earlier.unwrap_or_default();
        rows.push_back(Row {
            id: sighting.id.to_owned(),
            at,
            link: sighting.link.clone(),
            is_open: sign.is_none(),
            is_burst: false,
        });
        while rows.len() > REQUESTS || rows.front().is_some_and(|row| at.since(row.at) >= REQUESTS_WITHIN) {
            rows.pop_front();
        }
        let of_links = |row: &Row| at.since(row.at) < LINKS_WITHIN;
        let many = rows.len() >= REQUESTS;
        let several =
            || rows.iter().filter(|row| of_links(row)).map(|row| &row.link).collect::<HashSet<_>>().len() >= LINKS;
        let is_burst = many || several();
        let mut amendments = Vec::new();
        if is_burst {
            for row in rows.iter_mut().filter(|row| (many || of_links(row)) && !row.is_burst) {
                row.is_burst = true;
                amendments.push(Amendment {
                    id: row.id.clone(),
                    clicked_at: row.at,
                    verdict: row.is_open.then_some(ClickVerdict::Burst),
                    reason: Some(BURST.to_owned()),
                    landed: None,
                    by: None,
                });
            }
            // The last is this row, which is not written yet.
            amendments.pop();
        }
        self.browsers.put(sighting.fingerprint, rows, at);
        (is_burst, amendments)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOT: Signs = Signs { no_fetch_metadata: true, ..HUMAN };
    const PREFETCH: Signs = Signs { prefetch: true, ..HUMAN };
    const HUMAN: Signs = Signs { head: false, prefetch: false, qa: None, automation: None, no_fetch_metadata: false };

    fn id(text: &str) -> VisitorId {
        VisitorId::new(text).expect("an id")
    }

    struct Court(Judge, u32);

    impl Court {
        fn new() -> Self {
            Self(Judge::new(Duration::from_secs(10)), 0)
        }

        /// Judges a request at so many milliseconds; rows are called by their place.
        fn hears(&mut self, ms: i64, link: &str, who: &Who, fingerprint: u64, signs: &Signs) -> Judged {
            self.1 += 1;
            let (name, link, at) = (self.1.to_string(), LinkKey::of(link), Time::from_ms(1_795_000_000_000 + ms));
            self.0.judge(&Sighting { id: &name, at, link: &link, who, fingerprint, signs })
        }
    }

    #[test]
    fn a_second_tap_is_a_duplicate_until_the_window_is_over() {
        use ClickVerdict::{Duplicate, Human};
        let mut court = Court::new();
        let mut tap = |ms, link: &str, who: Who, print| court.hears(ms, link, &who, print, &HUMAN).verdict;
        assert_eq!(tap(0, "mugs", Who::New(Some(id("a"))), 1), Human);
        assert_eq!(tap(300, "mugs", Who::New(Some(id("b"))), 1), Duplicate, "the cookie had no time to be kept");
        assert_eq!(tap(4_000, "mugs", Who::Known(id("a")), 1), Duplicate, "it came back with it");
        assert_eq!(tap(4_100, "mugs", Who::Known(id("other")), 1), Human, "somebody else in the same house");
        assert_eq!(tap(4_200, "cups", Who::Known(id("a")), 1), Human, "another link");
        assert_eq!(tap(9_999, "mugs", Who::New(None), 1), Duplicate, "without ids the browser counts");
        assert_eq!(tap(10_000, "mugs", Who::Known(id("a")), 1), Human, "the window counts from the click");
        assert_eq!(tap(10_001, "mugs", Who::New(None), 2), Human);
    }

    #[test]
    fn what_was_no_click_makes_no_duplicate() {
        let mut court = Court::new();
        court.hears(0, "mugs", &Who::New(None), 1, &PREFETCH);
        assert_eq!(court.hears(10, "mugs", &Who::New(None), 1, &HUMAN).verdict, ClickVerdict::Human);
        let bot = court.hears(20, "mugs", &Who::New(None), 1, &BOT);
        assert_eq!((bot.verdict, bot.reasons), (ClickVerdict::Bot, vec!["no_fetch_metadata".to_owned()]));
    }

    #[test]
    fn three_links_within_a_second_are_a_burst_from_the_first_on() {
        let mut court = Court::new();
        let (one, two) = (Who::New(Some(id("a"))), Who::New(Some(id("b"))));
        assert_eq!(court.hears(0, "a", &one, 1, &HUMAN).verdict, ClickVerdict::Human);
        assert_eq!(court.hears(400, "b", &two, 1, &BOT).verdict, ClickVerdict::Bot);
        assert!(court.hears(500, "c", &Who::New(None), 2, &HUMAN).amendments.is_empty(), "another browser");
        let third = court.hears(999, "c", &Who::New(None), 1, &HUMAN);
        assert_eq!((third.verdict, third.reasons), (ClickVerdict::Burst, vec![BURST.to_owned()]));
        let amended: Vec<_> = third.amendments.iter().map(|of| (of.id.as_str(), of.verdict)).collect();
        assert_eq!(amended, [("1", Some(ClickVerdict::Burst)), ("2", None)], "what was a bot stays one");
        let fourth = court.hears(1_100, "d", &Who::New(None), 1, &HUMAN);
        assert!(fourth.verdict == ClickVerdict::Burst && fourth.amendments.is_empty(), "each is amended once");
        assert_eq!(court.hears(9_000, "e", &Who::New(None), 1, &HUMAN).verdict, ClickVerdict::Human);
    }

    #[test]
    fn a_person_who_opens_two_links_or_waits_a_second_is_no_burst() {
        let mut court = Court::new();
        for (ms, link) in [(0, "a"), (300, "b"), (1_000, "c"), (2_000, "d"), (2_600, "e")] {
            assert_eq!(court.hears(ms, link, &Who::New(None), 1, &HUMAN).verdict, ClickVerdict::Human, "{link}");
        }
        for (ms, link) in [(5_000, "a"), (5_001, "b"), (5_002, "c"), (5_003, "d")] {
            court.hears(ms, link, &Who::New(None), 1, &PREFETCH);
        }
        let click = court.hears(5_100, "x", &Who::New(None), 1, &HUMAN);
        assert_eq!(click.verdict, ClickVerdict::Human, "its browser loaded ahead what was near");
    }

    #[test]
    fn ten_requests_within_two_seconds_are_a_burst() {
        let mut court = Court::new();
        let verdicts: Vec<_> = (0..12).map(|i| court.hears(i * 200, "a", &Who::New(None), 1, &HUMAN)).collect();
        assert_eq!(verdicts[8].verdict, ClickVerdict::Duplicate);
        assert_eq!(verdicts[9].reasons, [DUPLICATE, BURST]);
        assert_eq!((verdicts[9].verdict, verdicts[9].amendments.len()), (ClickVerdict::Burst, 9));
        assert!(verdicts[11].verdict == ClickVerdict::Burst && verdicts[11].amendments.is_empty());
        let slow: Vec<_> = (0..12).map(|i| court.hears(60_000 + i * 223, "a", &Who::New(None), 1, &HUMAN)).collect();
        assert!(slow.iter().all(|judged| judged.verdict != ClickVerdict::Burst));
    }
}
