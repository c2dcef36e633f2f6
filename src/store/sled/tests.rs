use super::*;
use crate::store::conformance;

#[tokio::test]
async fn the_embedded_engine_does_what_a_store_has_to() {
    let directory = tempfile::tempdir().expect("a directory");
    let next = std::sync::atomic::AtomicU32::new(0);
    conformance::suite(|| async {
        let n = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        open(&conformance::config(&directory.path().join(n.to_string()))).expect("opens")
    })
    .await;
}

#[tokio::test]
async fn visitors_survive_a_restart_and_damage_is_noticed() {
    let directory = tempfile::tempdir().expect("a directory");
    let id = VisitorId::new("v1").expect("valid");
    let seen = Observation::new(id.clone(), crate::model::Visit { at: conformance::START, ..Default::default() });
    let visitors = Visitors::open(directory.path(), 16 << 20).expect("opens");
    visitors.remember(vec![seen.clone()]).await.expect("remembers");
    drop(visitors);
    let visitors = Visitors::open(directory.path(), 16 << 20).expect("opens");
    assert!(visitors.find(&id).expect("reads").is_some());
    let damaged = visitors.read(|trees| {
        let mut bytes = trees.visitors.get("v1").expect("reads").expect("is there").to_vec();
        bytes[HEADER_BYTES] ^= 1;
        Ok(trees.visitors.insert("v1", bytes).expect("writes"))
    });
    assert!(damaged.expect("is open").is_some());
    assert!(matches!(visitors.find(&id), Err(StoreError::Damaged(_))));
    visitors.remember(vec![seen]).await.expect("a damaged record begins anew");
    assert!(visitors.find(&id).expect("reads").is_some());
}

#[test]
fn a_directory_that_cannot_be_opened_says_which_and_what_to_do() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("file");
    fs::write(&file, b"in the way").expect("writes");
    let Err(error) = Visitors::open(&file, 16 << 20) else { panic!("a file is no directory") };
    assert!(error.to_string().contains("move that directory away"), "{error}");
}

#[tokio::test]
async fn a_store_that_was_closed_by_a_failure_opens_again() {
    let directory = tempfile::tempdir().expect("a directory");
    let (engine, trees) = Engine::open(directory.path(), 16 << 20).expect("opens");
    drop((engine, trees));
    let (operations, waiting) = mpsc::channel(1);
    let trees: SharedTrees = Arc::default();
    let health = Arc::new(Mutex::new(Health::Failed("no space".into())));
    let (path, cache_bytes) = (directory.path().to_owned(), 16 << 20);
    let committer =
        Committer { engine: None, path, cache_bytes, trees: Arc::clone(&trees), waiting, health: Arc::clone(&health) };
    let committer = Some(thread::spawn(move || committer.run()));
    let visitors = Visitors { trees, health, operations: Some(operations), committer };
    let id = VisitorId::new("v1").expect("valid");
    assert!(matches!(visitors.find(&id), Err(StoreError::Unavailable(_))), "closed, and says so");
    visitors.recover().await.expect("opens");
    assert_eq!(visitors.health(), Health::Ok);
    assert!(visitors.find(&id).expect("reads").is_none());
}

#[test]
fn a_full_disk_is_called_that_and_nothing_has_to_be_moved() {
    let directory = tempfile::tempdir().expect("a directory");
    // Whatever is written there finds the disk full.
    std::os::unix::fs::symlink("/dev/full", directory.path().join("conf")).expect("links");
    let Err(error) = Visitors::open(directory.path(), 16 << 20) else { panic!("it cannot be written to") };
    let error = error.to_string();
    assert!(error.contains("the disk is full: free space on it and start again"), "{error}");
    assert!(error.contains(&directory.path().display().to_string()) && !error.contains("move"), "{error}");
}
