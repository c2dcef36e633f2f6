use super::*;
use crate::{
    model::{ClickId, ClickKind, Digest, IdentityKey, IdentityKind, Observation, Visit, VisitorId},
    store::{VisitStore as _, conformance, sled::Visitors},
};

const CACHE: u64 = 16 << 20;
/// More than a batch.
const OTHERS: usize = BATCH_MAX + 44;

fn id(name: &str) -> VisitorId {
    VisitorId::new(name).expect("valid")
}

fn email(name: &str) -> IdentityKey {
    IdentityKey { kind: IdentityKind::Email, digest: Digest::of_token(name) }
}

fn seen(visitor: &str, emails: Vec<IdentityKey>) -> Observation {
    let at = conformance::START;
    let value = format!("click-of-{visitor}");
    Observation {
        clicks: vec![ClickId { kind: ClickKind::Gclid, value, first_seen: Some(at), last_seen: at }],
        keys: emails,
        ..Observation::new(id(visitor), Visit { at, ..Visit::default() })
    }
}

/// A store in which Ada was forgotten, and the others were not.
async fn ada_is_forgotten(store: &Path) {
    let visitors = Visitors::open(store, CACHE).expect("opens");
    // More addresses than a visitor remembers: the first leads to her, and is in no list of hers.
    let hers = (0..40).map(|n| email(&format!("ada-{n}"))).collect();
    visitors.remember(vec![seen("ada", hers)]).await.expect("remembers");
    let others = (0..OTHERS).map(|n| format!("other-{n}")).map(|name| seen(&name, vec![email(&name)])).collect();
    visitors.remember(others).await.expect("remembers");
    assert!(visitors.forget(&id("ada")).await.expect("forgets"));
    assert!(beside(store, "forgotten").exists(), "before the answer");
}

/// Starts with what is there; then all but Ada have to be known, and nothing else may lie around.
#[track_caller]
fn starts_whole(store: &Path, when: &str) {
    let visitors = Visitors::open(store, CACHE).unwrap_or_else(|error| panic!("{when}: {error}"));
    for name in (0..OTHERS).map(|n| format!("other-{n}")) {
        let found = visitors.find_by(&[email(&name)]).expect("reads");
        assert_eq!(found.map(|(visitor, _)| visitor.id), Some(id(&name)), "{when}");
    }
    assert!(visitors.find(&id("ada")).expect("reads").is_none(), "{when}");
    assert_eq!(names(store.parent().expect("has one")), ["visitors"], "{when}");
    drop(visitors);
    assert_eq!(traces(store.parent().expect("has one")), Vec::<String>::new(), "{when}");
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).expect("lists");
    let mut names: Vec<_> =
        entries.map(|entry| entry.expect("reads").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// What of Ada is in the bytes of which file below `directory`. Of digests the last half, as sled leaves out what keys
/// begin with in common.
fn traces(directory: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut marks = vec![("click".to_owned(), b"click-of-ada".to_vec())];
    marks.extend((0..40).map(|n| (format!("email {n}"), email(&format!("ada-{n}")).digest.bytes()[16..].to_vec())));
    for entry in fs::read_dir(directory).expect("lists") {
        let path = entry.expect("reads").path();
        if path.is_dir() {
            found.extend(traces(&path));
            continue;
        }
        let bytes = fs::read(&path).expect("reads");
        let is_there = |mark: &&(String, Vec<u8>)| bytes.windows(mark.1.len()).any(|window| window == mark.1);
        found.extend(marks.iter().filter(is_there).map(|(mark, _)| format!("{mark} in {}", path.display())));
    }
    found
}

#[tokio::test]
async fn who_was_forgotten_is_in_no_file_after_a_restart() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = directory.path().join("visitors");
    ada_is_forgotten(&store).await;
    assert!(traces(directory.path()).len() > 30, "forgetting alone leaves sled's old pages");
    starts_whole(&store, "after a restart");
}

#[tokio::test]
async fn a_crash_after_any_step_leaves_all_visitors_and_the_next_start_nothing_else() {
    for done in 0..=STEPS.len() {
        let directory = tempfile::tempdir().expect("a directory");
        let store = directory.path().join("visitors");
        ada_is_forgotten(&store).await;
        let rewrite = Rewrite::new(&store, CACHE);
        assert!(rewrite.put_in_order().expect("in order"));
        for step in &STEPS[..done] {
            step(&rewrite).expect("works");
        }
        starts_whole(&store, &format!("{done} steps were done"));
    }
}

#[tokio::test]
async fn a_crash_within_a_step_does_no_harm_either() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = directory.path().join("visitors");
    ada_is_forgotten(&store).await;
    let rewrite = Rewrite::new(&store, CACHE);
    rewrite.copy().expect("copies");
    let copy = fs::File::options().write(true).open(rewrite.new.join("db")).expect("opens");
    copy.set_len(copy.metadata().expect("has some").len() / 2).expect("cuts");
    starts_whole(&store, "half a copy");

    mark(&store).expect("marks");
    for step in &STEPS[..4] {
        step(&rewrite).expect("works");
    }
    fs::remove_file(rewrite.old.join("db")).expect("deletes");
    starts_whole(&store, "half of the old one");
}

#[tokio::test]
async fn a_rewriting_that_fails_leaves_the_old_store_and_is_tried_again() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = directory.path().join("visitors");
    ada_is_forgotten(&store).await;
    for in_the_way in ["new", "old"].map(|suffix| beside(&store, suffix)) {
        fs::write(&in_the_way, b"a file").expect("writes");
        let visitors = Visitors::open(&store, CACHE).expect("opens");
        assert!(visitors.find(&id("other-7")).expect("reads").is_some());
        assert!(visitors.find(&id("ada")).expect("reads").is_none());
        drop(visitors);
        assert!(beside(&store, "forgotten").exists(), "for the next start");
        assert!(!traces(directory.path()).is_empty());
        fs::remove_file(&in_the_way).expect("deletes");
    }
    starts_whole(&store, "with nothing in the way any more");
}

#[tokio::test]
async fn only_a_wish_to_be_forgotten_costs_a_rewriting() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = directory.path().join("visitors");
    let visitors = Visitors::open(&store, CACHE).expect("opens");
    visitors.remember(vec![seen("ada", vec![email("ada-0")])]).await.expect("remembers");
    let later = conformance::START.plus(Duration::from_secs(1));
    assert_eq!(visitors.retain(later).await.expect("retains"), 1);
    assert_eq!(names(directory.path()), ["visitors"]);
    // Who comes after retention: the bytes are there all the same.
    assert!(!visitors.forget(&id("ada")).await.expect("forgets"));
    assert_eq!(names(directory.path()), ["visitors", "visitors.forgotten"]);
    drop(visitors);
    assert!(!traces(directory.path()).is_empty());
    drop(Visitors::open(&store, CACHE).expect("opens"));
    assert_eq!(traces(directory.path()), Vec::<String>::new());
}

#[tokio::test]
async fn nobody_is_forgotten_without_a_marker() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = directory.path().join("visitors");
    let visitors = Visitors::open(&store, CACHE).expect("opens");
    visitors.remember(vec![seen("ada", vec![email("ada-0")])]).await.expect("remembers");
    fs::create_dir(beside(&store, "forgotten")).expect("in the way");
    assert!(visitors.forget(&id("ada")).await.is_err());
    visitors.recover().await.expect("opens again");
    assert!(visitors.find(&id("ada")).expect("reads").is_some(), "still there, for another try");
}

#[tokio::test]
async fn a_store_that_was_moved_away_took_the_forgotten_with_it() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = directory.path().join("visitors");
    ada_is_forgotten(&store).await;
    let_go(&store).expect("closed");
    fs::rename(&store, directory.path().join("elsewhere")).expect("moves");
    let visitors = Visitors::open(&store, CACHE).expect("opens");
    assert!(visitors.find(&id("other-7")).expect("reads").is_none());
    assert_eq!(names(directory.path()), ["elsewhere", "visitors"]);
}
