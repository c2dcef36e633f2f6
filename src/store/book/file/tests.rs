use super::*;
use crate::store::{
    Config,
    book::shelves::HISTORY_MAX,
    conformance::{
        self,
        book::{entry, said},
    },
    journal::disk::Directory,
    memory::{self, SimulatedDisk},
};

const SHELVES: [&str; 3] = ["link", "alias", "drift"];

fn open(disk: &SimulatedDisk) -> FileBook {
    FileBook::open(Arc::new(disk.clone())).expect("opens")
}

fn length(disk: &SimulatedDisk) -> usize {
    disk.read(FILE).expect("reads").map_or(0, |bytes| bytes.len())
}

fn drift(value: &str) -> Entry {
    Entry { audited: false, ..entry("drift", "ig", Some(value)) }
}

/// A book with records and changes of every kind.
async fn written(disk: &SimulatedDisk) -> FileBook {
    let book = open(disk);
    book.write(vec![entry("link", "a", Some("1")), entry("link", "b", Some("2")), drift("1")]).await.expect("writes");
    book.write(vec![drift("2")]).await.expect("writes");
    book.write(vec![entry("link", "a", Some("3")), entry("link", "b", None)]).await.expect("writes");
    book.write(vec![entry("alias", "ig", Some("\"instagram\""))]).await.expect("writes");
    book
}

#[tokio::test]
async fn the_book_does_what_a_book_has_to_in_a_directory_and_in_memory() {
    let directory = tempfile::tempdir().expect("a directory");
    let next = std::sync::atomic::AtomicU32::new(0);
    conformance::book::suite(|| async {
        let n = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let disk = Directory::open(&directory.path().join(n.to_string())).expect("opens");
        Arc::new(FileBook::open(Arc::new(disk)).expect("opens")) as Arc<dyn Book>
    })
    .await;
    conformance::book::suite(|| async {
        let config: Config = conformance::config("unused".as_ref());
        memory::open(SimulatedDisk::default(), config).expect("opens").book
    })
    .await;
}

#[tokio::test]
async fn a_restart_changes_nothing_and_takes_out_what_is_waste() {
    let disk = SimulatedDisk::default();
    let before = said(&written(&disk).await, &SHELVES);
    let long = length(&disk);
    for _ in 0..2 {
        let book = open(&disk);
        assert_eq!(said(&book, &SHELVES), before);
    }
    assert!(length(&disk) > 0);
    assert_eq!(open(&disk).shelves().wasted, 0, "written anew at the first start");
    let book = open(&disk);
    book.write(vec![drift("3"), entry("link", "a", Some("4"))]).await.expect("writes");
    let after = said(&book, &SHELVES);
    assert_eq!(
        after[0].1[0].before.as_deref(),
        Some("3"),
        "what was there before is known after the file was written anew"
    );
    assert_eq!(said(&open(&disk), &SHELVES), after);
    assert!(long > 0);
}

#[tokio::test]
async fn a_power_cut_at_any_byte_leaves_whole_writes() {
    let disk = SimulatedDisk::default();
    let book = written(&disk).await;
    let before = said(&book, &SHELVES);
    let synced = length(&disk);
    let changes = vec![entry("link", "a", Some("9")), entry("link", "c", Some("9"))];
    let frame = encode(&Told::Written(changes));
    // It was being written when the power went.
    disk.open(FILE).expect("opens").write_at(&frame, synced as u64).expect("writes");
    for kept in 0..=frame.len() {
        let disk = disk.after_power_cut(kept);
        let book = open(&disk);
        if kept < frame.len() {
            assert_eq!(said(&book, &SHELVES), before, "{kept} bytes were kept");
        } else {
            assert_eq!(book.get("link", "a"), book.get("link", "c"));
        }
        book.write(vec![entry("link", "d", Some("1"))]).await.expect("goes on");
        assert_eq!(said(&open(&disk), &SHELVES), said(&book, &SHELVES));
    }
    assert!(open(&disk.after_power_cut(0)).get("link", "d").is_none());
}

#[tokio::test]
async fn an_empty_file_and_one_of_zeros_are_no_book_yet() {
    for bytes in [Vec::new(), vec![0; 4096], vec![b'x'; 7]] {
        let disk = SimulatedDisk::default();
        disk.replace(FILE, &bytes).expect("writes");
        let book = open(&disk);
        assert!(book.list("link").is_empty());
        book.write(vec![entry("link", "a", Some("1"))]).await.expect("writes");
        assert_eq!(open(&disk).get("link", "a").as_deref(), Some("1"));
    }
}

#[tokio::test]
async fn a_write_that_fails_changes_nothing() {
    let disk = SimulatedDisk::default();
    let book = written(&disk).await;
    let (before, synced) = (said(&book, &SHELVES), length(&disk));
    // The first fails to write, the second to sync.
    for succeed in [0, 1] {
        disk.fail_after(Some(succeed));
        let failed = book.write(vec![entry("link", "a", Some("9"))]).await;
        assert!(matches!(failed, Err(StoreError::Unavailable(_))));
        assert_eq!((said(&book, &SHELVES), length(&disk)), (before.clone(), synced));
        disk.fail_after(None);
        assert_eq!(said(&open(&disk.after_power_cut(usize::MAX)), &SHELVES), before);
    }
    book.write(vec![entry("link", "a", Some("9"))]).await.expect("writes");
    assert_eq!(open(&disk).get("link", "a").as_deref(), Some("9"));
}

#[tokio::test]
async fn what_was_acknowledged_survives_every_power_cut() {
    let disk = SimulatedDisk::default();
    let book = open(&disk);
    let syncs = disk.syncs();
    for i in 0..50 {
        let value = i.to_string();
        book.write(vec![entry("link", "a", Some(&value)), drift(&value)]).await.expect("writes");
        let reopened = open(&disk.after_power_cut(0));
        assert_eq!(said(&reopened, &SHELVES), said(&book, &SHELVES));
    }
    assert_eq!(disk.syncs() - syncs, 50, "one for each write");
}

#[tokio::test]
async fn damage_in_the_middle_costs_one_write_and_the_file_is_kept() {
    let disk = SimulatedDisk::default();
    drop(written(&disk).await);
    let second = {
        let bytes = disk.read(FILE).expect("reads").expect("is there");
        frame::frame(&bytes).expect("whole").len()
    };
    disk.damage(FILE, |bytes| bytes[second + HEADER_BYTES + 9] ^= 1);
    let damaged = disk.read(FILE).expect("reads");
    let book = open(&disk);
    assert_eq!(book.get("drift", "ig").as_deref(), Some("1"), "the second write is lost");
    assert_eq!((book.get("link", "a").as_deref(), book.get("link", "b")), (Some("3"), None));
    assert_eq!(disk.read(DAMAGED).expect("reads"), damaged);
    disk.remove(DAMAGED).expect("removes");
    assert_eq!(said(&open(&disk), &SHELVES), said(&book, &SHELVES));
    assert_eq!(disk.read(DAMAGED).expect("reads"), None, "written anew, it is sound");
}

#[tokio::test]
async fn a_book_of_a_newer_release_is_left_alone() {
    let disk = SimulatedDisk::default();
    drop(written(&disk).await);
    let mut newer = frame::begin(VERSION + 1);
    newer.extend_from_slice(b"?");
    let unknown_kind = {
        let mut frame = frame::begin(VERSION);
        frame.extend_from_slice(br#"{"something_else":[]}"#);
        frame::seal(frame)
    };
    for frame in [frame::seal(newer), unknown_kind] {
        let disk = disk.after_power_cut(0);
        disk.damage(FILE, |bytes| bytes.extend(frame));
        let before = disk.read(FILE).expect("reads");
        let Err(StoreError::Damaged(reason)) = FileBook::open(Arc::new(disk.clone())) else { panic!("must refuse") };
        assert!(reason.contains("newer release") && reason.contains("data/book"), "{reason}");
        assert_eq!(disk.read(FILE).expect("reads"), before);
    }
    let mut more = frame::begin(VERSION);
    more.extend_from_slice(
        br#"{"written":[{"at":1,"by":"x","shelf":"link","key":"a","value":"7","audited":true,"field_of_2027":1}]}"#,
    );
    disk.damage(FILE, |bytes| bytes.extend(frame::seal(more)));
    assert_eq!(open(&disk).get("link", "a").as_deref(), Some("7"), "a field more is no other form");
}

#[tokio::test]
async fn counts_that_change_all_the_time_do_not_fill_the_disk() {
    let disk = SimulatedDisk::default();
    let book = open(&disk);
    book.write(vec![entry("link", "a", Some("1"))]).await.expect("writes");
    let big = "9".repeat(200 << 10);
    let mut longest = 0;
    for i in 0..60 {
        book.write(vec![drift(&format!("{i}{big}"))]).await.expect("writes");
        longest = longest.max(length(&disk));
    }
    assert!(longest < 6 << 20, "written anew at 4 MiB of waste: {longest}");
    let before = said(&book, &SHELVES);
    assert_eq!(said(&open(&disk.after_power_cut(0)), &SHELVES), before);
}

#[tokio::test]
async fn writing_anew_may_fail_and_nothing_is_lost() {
    let disk = SimulatedDisk::default();
    let book = open(&disk);
    let big = "9".repeat(1 << 20);
    for _ in 0..6 {
        book.write(vec![drift(&big)]).await.expect("writes");
        // The write and its sync succeed, what follows does not.
        disk.fail_after(Some(2));
    }
    disk.fail_after(None);
    assert!(length(&disk) > 6 << 20);
    assert_eq!(said(&open(&disk.after_power_cut(0)), &SHELVES), said(&book, &SHELVES));
    for _ in 0..4 {
        book.write(vec![drift(&big)]).await.expect("writes");
    }
    assert!(length(&disk) < 6 << 20, "it is tried again when there is more to win");
    assert_eq!(said(&open(&disk.after_power_cut(0)), &SHELVES), said(&book, &SHELVES));
}

#[tokio::test]
async fn the_latest_ten_thousand_changes_are_kept() {
    let disk = SimulatedDisk::default();
    let book = open(&disk);
    book.write(vec![entry("link", "first", Some("stands"))]).await.expect("writes");
    for batch in 0..12 {
        let changes = (0..1000).map(|i| entry("link", "a", Some(&(batch * 1000 + i).to_string())));
        book.write(changes.collect()).await.expect("writes");
    }
    let history = book.history("link", None, usize::MAX).expect("reads");
    assert_eq!((history.len(), history[0].entry.value.as_deref()), (HISTORY_MAX, Some("11999")));
    assert_eq!(history[HISTORY_MAX - 1].before.as_deref(), Some("1999"));
    let long = length(&disk);
    let book = open(&disk);
    assert_eq!(book.history("link", None, usize::MAX).expect("reads"), history);
    assert_eq!(book.get("link", "first").as_deref(), Some("stands"), "a record outlives what was told of its change");
    assert!(length(&disk) < long * 11 / 10);
    assert_eq!(book.shelves().wasted, 0);
}

#[test]
fn what_a_crash_left_of_writing_it_anew_is_removed() {
    let directory = tempfile::tempdir().expect("a directory");
    let left = directory.path().join(UNFINISHED);
    std::fs::write(&left, b"half of it").expect("writes");
    let disk = Directory::open(directory.path()).expect("opens");
    FileBook::open(Arc::new(disk)).expect("opens");
    assert!(!left.exists());
}
