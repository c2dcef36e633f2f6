//! What every book has to do.

use std::{future::Future, sync::Arc};

use super::{MINUTE, START};
use crate::store::{Book, Changed, Entry};

/// An audited change by Ada; `None` takes the record out.
#[must_use]
pub fn entry(shelf: &str, key: &str, value: Option<&str>) -> Entry {
    Entry {
        at: START,
        by: "ada".into(),
        shelf: shelf.into(),
        key: key.into(),
        value: value.map(str::to_owned),
        audited: true,
    }
}

/// The records of a shelf, and what was changed of them.
pub type Said = (Vec<(String, Arc<str>)>, Vec<Changed>);

/// Everything that two books have to agree about, by shelf.
#[must_use]
pub fn said(book: &dyn Book, shelves: &[&str]) -> Vec<Said> {
    let shelf = |shelf: &&str| (book.list(shelf), book.history(shelf, None, usize::MAX).expect("reads"));
    shelves.iter().map(shelf).collect()
}

/// Runs every case, each on a book that `fresh` makes.
///
/// # Panics
/// If the book does not do what it has to.
pub async fn suite<F: Future<Output = Arc<dyn Book>>>(fresh: impl Fn() -> F) {
    says_what_was_written_last(&*fresh().await).await;
    tells_who_changed_what(&*fresh().await).await;
    remembers_no_change_that_is_not_audited(&*fresh().await).await;
    several_write_at_once(fresh().await).await;
    refuses_what_is_too_long(&*fresh().await).await;
}

async fn says_what_was_written_last(book: &dyn Book) {
    assert_eq!((book.get("link", "mugs"), book.list("link").len()), (None, 0));
    book.write(Vec::new()).await.expect("writes nothing");
    let batch = [
        ("link", "mugs", "1"),
        ("link", "cups", "2"),
        ("alias", "mugs", "3"),
        ("link", "mugs", "\"a \\\" \u{1F642}\""),
    ];
    let batch = batch.map(|(shelf, key, value)| entry(shelf, key, Some(value))).to_vec();
    book.write(batch).await.expect("writes");
    assert_eq!(book.get("link", "mugs").as_deref(), Some("\"a \\\" \u{1F642}\""), "the last of one write");
    let keys: Vec<String> = book.list("link").into_iter().map(|(key, _)| key).collect();
    assert_eq!(keys, ["cups", "mugs"], "by key, and of no other shelf");
    book.write(vec![entry("link", "mugs", None), entry("link", "not-there", None)]).await.expect("writes");
    assert_eq!((book.get("link", "mugs"), book.get("alias", "mugs").as_deref()), (None, Some("3")));
}

async fn tells_who_changed_what(book: &dyn Book) {
    for (value, minute) in [(Some("1"), 0), (Some("2"), 1), (None, 2), (Some("4"), 3)] {
        let change = Entry { at: START.plus(MINUTE * minute), ..entry("link", "mugs", value) };
        book.write(vec![change, entry("link", "cups", Some("x"))]).await.expect("writes");
    }
    let of = |key, max| book.history("link", key, max).expect("reads");
    let told: Vec<_> = of(Some("mugs"), 9).into_iter().map(|c| (c.entry.value, c.before, c.entry.at)).collect();
    let text = |text: &str| Some(text.to_owned());
    let minutes = |minutes| START.plus(MINUTE * minutes);
    let expected = [
        (text("4"), None, minutes(3)),
        (None, text("2"), minutes(2)),
        (text("2"), text("1"), minutes(1)),
        (text("1"), None, START),
    ];
    assert_eq!(told, expected, "newest first, with what was there before");
    assert_eq!((of(Some("mugs"), 2).len(), of(None, 100).len(), of(Some("none"), 9).len()), (2, 8, 0));
    assert_eq!(of(None, 1)[0].entry, entry("link", "cups", Some("x")));
    assert!(book.history("alias", None, 9).expect("reads").is_empty());
}

async fn remembers_no_change_that_is_not_audited(book: &dyn Book) {
    let count = |value: &str| Entry { audited: false, by: "relay".into(), ..entry("drift", "ig", Some(value)) };
    book.write(vec![count("1")]).await.expect("writes");
    book.write(vec![entry("drift", "ig", Some("5"))]).await.expect("writes");
    book.write(vec![count("6")]).await.expect("writes");
    assert_eq!(book.get("drift", "ig").as_deref(), Some("6"));
    let changes = book.history("drift", None, 9).expect("reads");
    assert_eq!(changes, [Changed { entry: entry("drift", "ig", Some("5")), before: Some("1".into()) }]);
}

async fn several_write_at_once(book: Arc<dyn Book>) {
    let write = async |book: Arc<dyn Book>, writer: usize| {
        for i in 0..20 {
            let value = format!("{writer}-{i}");
            let both = ["a", "b"].map(|key| entry("link", key, Some(&value))).to_vec();
            book.write(both).await.expect("writes");
        }
    };
    let writers: Vec<_> = (0..4).map(|writer| tokio::spawn(write(Arc::clone(&book), writer))).collect();
    for writer in writers {
        writer.await.expect("ends");
    }
    assert_eq!(book.get("link", "a"), book.get("link", "b"), "all of a write, or none of it");
    let changes = book.history("link", Some("a"), 999).expect("reads");
    assert_eq!(changes.len(), 80);
    for pair in changes.windows(2) {
        assert_eq!(pair[0].before, pair[1].entry.value, "each change saw the one before it");
    }
}

async fn refuses_what_is_too_long(book: &dyn Book) {
    book.write(vec![entry("link", "a", Some("1"))]).await.expect("writes");
    let long = "x".repeat((1 << 20) + 1);
    assert!(book.write(vec![entry("link", "a", Some("2")), entry("link", "b", Some(&long))]).await.is_err());
    let many = (0..20).map(|i| entry("link", &format!("many-{i}"), Some(&long[1..]))).collect();
    assert!(book.write(many).await.is_err());
    assert_eq!((book.get("link", "a").as_deref(), book.list("link").len()), (Some("1"), 1), "nothing of it is written");
    book.write(vec![entry("link", "a", Some(&long[1..]))]).await.expect("just fits");
    assert_eq!(book.get("link", "a").map(|value| value.len()), Some(1 << 20));
}
