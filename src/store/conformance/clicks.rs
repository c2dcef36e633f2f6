//! What every engine for rows of clicks has to do.

use std::{ops::ControlFlow, sync::Arc, time::Duration};

use super::{MINUTE, START};
use crate::{
    model::{Click, ClickVerdict, LinkKey, Time, Utm, VisitorId},
    store::{Amendment, ClickStore},
};

const DAY: Duration = Duration::from_secs(86_400);
/// After everything.
const END: Time = Time::from_secs(9_000_000_000);

/// A row of `at` by this visitor; its id is made of the time and `n`.
#[must_use]
pub fn click(n: u64, at: Time, visitor: Option<&str>) -> Click {
    let id = ulid::Ulid::from_parts(at.as_ms().unsigned_abs(), u128::from(n));
    Click {
        id: id.to_string(),
        at,
        link: LinkKey::of("mugs"),
        verdict: ClickVerdict::Human,
        reasons: Vec::new(),
        head: false,
        device: Some("mobile".into()),
        browser: Some("Safari".into()),
        os: Some("iOS".into()),
        in_app: None,
        country: Some("DE".into()),
        referrer: Some("https://a.example/\"visitor_id\":\"ada\"".into()),
        visitor_id: visitor.map(|id| VisitorId::new(id).expect("valid")),
        fingerprint: n + 1,
        utm: Utm { source: Some("Ig \u{1F642}\n".into()), ..Utm::default() },
        split: None,
        landed: None,
        relabelled_by: None,
    }
}

/// An amendment of `row` that changes nothing yet.
#[must_use]
pub fn amends(row: &Click) -> Amendment {
    Amendment { id: row.id.clone(), clicked_at: row.at, verdict: None, reason: None, landed: None, by: None }
}

/// The rows in `from..to`, newest first.
///
/// # Panics
/// If they cannot be read.
#[must_use]
pub fn rows(clicks: &dyn ClickStore, from: Time, to: Time) -> Vec<Click> {
    let mut rows = Vec::new();
    let mut see = |row: &Click| {
        rows.push(row.clone());
        ControlFlow::Continue(())
    };
    clicks.scan(from, to, &mut see).expect("reads");
    rows
}

/// All rows, newest first.
#[must_use]
pub fn all(clicks: &dyn ClickStore) -> Vec<Click> {
    rows(clicks, Time::from_ms(0), END)
}

/// Runs every case, each on a store that `fresh` makes.
///
/// # Panics
/// If the store does not do what it has to.
pub fn suite(fresh: impl Fn() -> Arc<dyn ClickStore>) {
    shows_the_newest_first(&*fresh());
    shows_rows_as_amended(&*fresh());
    leaves_what_a_person_decided(&*fresh());
    finds_by_id(&*fresh());
    forgets_who_it_was(&*fresh());
    keeps_whole_days(&*fresh());
    several_append_at_once(&fresh());
}

/// The midnight after [`START`].
fn midnight() -> Time {
    Time::from_secs((START.as_secs() / 86_400 + 1) * 86_400)
}

fn shows_the_newest_first(clicks: &dyn ClickStore) {
    assert!(all(clicks).is_empty());
    clicks.append(&[]).expect("appends nothing");
    let at = |minutes: i64| Time::from_secs(midnight().as_secs() + minutes * 60);
    // Two days in one batch; one came late.
    let told = [-5_i64, -3, 2, -4, 1].map(|minutes| click(minutes.unsigned_abs(), at(minutes), None));
    clicks.append(&told[..3]).expect("appends");
    clicks.append(&told[3..]).expect("appends");
    let minutes =
        |rows: &[Click]| rows.iter().map(|row| (row.at.as_ms() - midnight().as_ms()) / 60_000).collect::<Vec<_>>();
    assert_eq!(minutes(&all(clicks)), [1, 2, -4, -3, -5], "newest day first, the last to come first");
    assert_eq!(all(clicks)[4], told[0], "as it was written");
    assert_eq!(minutes(&rows(clicks, at(-4), at(2))), [1, -4, -3], "the end is not in it");
    assert_eq!(minutes(&rows(clicks, at(0), at(2))), [1]);
    assert_eq!(minutes(&rows(clicks, at(-9), at(0))), [-4, -3, -5]);
    let mut seen = 0;
    let mut see = |_: &Click| {
        seen += 1;
        if seen == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    clicks.scan(at(-9), at(9), &mut see).expect("reads");
    assert_eq!(seen, 3, "no more than were asked for");
}

fn shows_rows_as_amended(clicks: &dyn ClickStore) {
    let [first, second] = [1, 2].map(|n| click(n, START, None));
    // Of a row that is not there yet, and of a day that there is none of.
    clicks.amend(&[Amendment { reason: Some("early".into()), ..amends(&first) }]).expect("amends");
    clicks.append(&[first.clone(), second.clone()]).expect("appends");
    let late = START.plus(MINUTE);
    let reason = |reason: &str| Amendment { reason: Some(reason.into()), ..amends(&first) };
    let bot = Amendment { verdict: Some(ClickVerdict::Bot), ..reason("late") };
    clicks.amend(&[reason("r1"), reason("r1"), bot]).expect("amends");
    clicks.append(&[click(3, START, None)]).expect("appends");
    let burst = Amendment { verdict: Some(ClickVerdict::Burst), ..reason("r2") };
    let landed = |at| Amendment { landed: Some(at), ..amends(&first) };
    clicks.amend(&[landed(late), landed(late.plus(MINUTE)), burst]).expect("amends");
    let rows = all(clicks);
    assert_eq!(rows.len(), 3);
    assert_eq!(rows[1], second, "only the row that is meant");
    let reasons = ["r1", "late", "r2"].map(str::to_owned).to_vec();
    let expected = Click { verdict: ClickVerdict::Burst, reasons, landed: Some(late), ..first };
    assert_eq!(rows[2], expected, "in their order, each reason once, the first landing");
    clicks.amend(&[Amendment { reason: Some("x".into()), ..amends(&click(9, END, None)) }]).expect("nothing to amend");
    assert_eq!(all(clicks).len(), 3);
}

fn leaves_what_a_person_decided(clicks: &dyn ClickStore) {
    let row = click(1, START, None);
    clicks.append(std::slice::from_ref(&row)).expect("appends");
    let by = |by: Option<&str>, verdict, reason: &str| Amendment {
        verdict: Some(verdict),
        by: by.map(str::to_owned),
        reason: Some(reason.into()),
        ..amends(&row)
    };
    let amendments = [by(Some("ada"), ClickVerdict::Human, "a customer"), by(None, ClickVerdict::Burst, "burst of 9")];
    clicks.amend(&amendments).expect("amends");
    let told = clicks.find(&row.id).expect("reads").expect("is there");
    assert_eq!((told.verdict, told.relabelled_by.as_deref()), (ClickVerdict::Human, Some("ada")));
    assert_eq!(told.reasons, ["a customer", "burst of 9"], "what the relay found out is not kept back");
    clicks.amend(&[by(Some("bob"), ClickVerdict::Bot, "no customer")]).expect("amends");
    let told = clicks.find(&row.id).expect("reads").expect("is there");
    assert_eq!((told.verdict, told.relabelled_by.as_deref()), (ClickVerdict::Bot, Some("bob")));
}

fn finds_by_id(clicks: &dyn ClickStore) {
    let near_midnight = midnight().minus(Duration::from_millis(1));
    // Its id was made just before midnight, and the row after it.
    let late = Click { at: midnight(), ..click(1, near_midnight, None) };
    let told = [click(2, near_midnight, None), late, click(3, midnight().plus(DAY), None)];
    clicks.append(&told).expect("appends");
    clicks.amend(&[Amendment { reason: Some("r".into()), ..amends(&told[0]) }]).expect("amends");
    for row in &told[1..] {
        assert_eq!(clicks.find(&row.id).expect("reads").as_ref(), Some(row));
    }
    assert_eq!(clicks.find(&told[0].id).expect("reads").expect("is there").reasons, ["r"]);
    let other = click(4, near_midnight, None).id;
    for unknown in [other.as_str(), "", "no ulid", "7ZZZZZZZZZZZZZZZZZZZZZZZZZ", &other[..25]] {
        assert_eq!(clicks.find(unknown).expect("reads"), None, "{unknown}");
    }
}

fn forgets_who_it_was(clicks: &dyn ClickStore) {
    let odd = "b\"o\\b \u{1F642}";
    let told = [
        click(1, START, Some("ada")),
        click(2, START, Some("ada-2")),
        click(3, START.plus(DAY), Some(odd)),
        click(4, START.plus(DAY), None),
        click(5, START.plus(DAY * 2), Some("eve")),
    ];
    clicks.append(&told).expect("appends");
    clicks.amend(&[Amendment { reason: Some("r".into()), ..amends(&told[0]) }]).expect("amends");
    let ids = |ids: &[&str]| ids.iter().map(|id| VisitorId::new(*id).expect("valid")).collect::<Vec<_>>();
    assert_eq!(clicks.forget(&[]).expect("forgets"), 0);
    assert_eq!(clicks.forget(&ids(&["ad", "nobody"])).expect("forgets"), 0);
    assert_eq!(clicks.forget(&ids(&["ada", odd])).expect("forgets"), 2);
    assert_eq!(clicks.forget(&ids(&["ada", odd])).expect("forgets"), 0, "once");
    let left = all(clicks);
    let whose: Vec<_> = left.iter().map(|row| row.visitor_id.as_ref().map_or("", VisitorId::as_str)).collect();
    assert_eq!(whose, ["eve", "", "", "ada-2", ""]);
    let expected = Click { visitor_id: None, fingerprint: 0, reasons: vec!["r".into()], ..told[0].clone() };
    assert_eq!(left[4], expected, "everything else stays");
    assert_eq!((&left[1], &left[3]), (&told[3], &told[1]), "and so do the others");
    clicks.append(&[click(6, START, Some("ada"))]).expect("appends");
    assert_eq!(all(clicks).len(), 6, "appending goes on");
    assert_eq!(clicks.forget(&ids(&["ada"])).expect("forgets"), 1);
}

fn keeps_whole_days(clicks: &dyn ClickStore) {
    let told: Vec<Click> =
        (0..4).map(|n| click(n, midnight().plus(DAY * u32::try_from(n).expect("small")), None)).collect();
    clicks.append(&told).expect("appends");
    clicks.retain(midnight()).expect("retains");
    assert_eq!(all(clicks).len(), 4, "the day that ended then began before it");
    clicks.retain(midnight().plus(DAY).plus(MINUTE)).expect("retains");
    assert_eq!(all(clicks).len(), 3);
    clicks.retain(midnight().plus(DAY * 2).minus(Duration::from_millis(1))).expect("retains");
    assert_eq!(all(clicks).len(), 3, "a day is kept until it is over");
    clicks.amend(&[Amendment { reason: Some("gone".into()), ..amends(&told[0]) }]).expect("amends nothing");
    assert_eq!(clicks.find(&told[0].id).expect("reads"), None);
    clicks.append(&told[..1]).expect("appends");
    assert_eq!(all(clicks).len(), 4, "what comes late is kept until the next time");
    clicks.retain(END).expect("retains");
    assert!(all(clicks).is_empty());
}

fn several_append_at_once(clicks: &Arc<dyn ClickStore>) {
    let per_writer = 80;
    std::thread::scope(|scope| {
        for writer in 0..3 {
            scope.spawn(move || {
                for n in 0..per_writer {
                    let row = click(writer * per_writer + n, START, Some(if n % 2 == 0 { "ada" } else { "bob" }));
                    clicks.append(std::slice::from_ref(&row)).expect("appends");
                    clicks.amend(&[Amendment { reason: Some("r".into()), ..amends(&row) }]).expect("amends");
                    clicks.sync().expect("syncs");
                }
            });
        }
        let ada = [VisitorId::new("ada").expect("valid")];
        for _ in 0..10 {
            clicks.forget(&ada).expect("forgets");
            let rows = all(&**clicks);
            assert!(rows.iter().all(|row| row.reasons.len() <= 1));
        }
    });
    let rows = all(&**clicks);
    assert_eq!(rows.len() as u64, 3 * per_writer, "none is lost");
    assert!(rows.iter().all(|row| row.reasons == ["r"]));
}
