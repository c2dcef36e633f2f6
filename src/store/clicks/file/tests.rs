use std::os::unix::fs::PermissionsExt as _;

use super::*;
use crate::store::{
    clicks::{MemoryClicks, lines::CHUNK_BYTES},
    conformance::{
        self, START,
        clicks::{all, amends, click},
    },
};

const DAY: Duration = Duration::from_secs(86_400);

fn open(directory: &Path) -> FileClicks {
    FileClicks::open(directory).expect("opens")
}

fn today(directory: &Path) -> PathBuf {
    directory.join(format!("{}.jsonl", START.day()))
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).expect("reads");
    let mut names: Vec<String> =
        entries.map(|entry| entry.expect("reads").file_name().to_string_lossy().into_owned()).collect();
    names.sort_unstable();
    names
}

fn who(id: &str) -> [VisitorId; 1] {
    [VisitorId::new(id).expect("valid")]
}

#[test]
fn rows_on_disk_and_in_memory_do_what_they_have_to() {
    let directory = tempfile::tempdir().expect("a directory");
    let next = std::sync::atomic::AtomicU32::new(0);
    conformance::clicks::suite(|| {
        let n = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Arc::new(open(&directory.path().join(n.to_string())))
    });
    conformance::clicks::suite(|| Arc::new(MemoryClicks::default()));
}

#[test]
fn nobody_else_reads_them() {
    let directory = tempfile::tempdir().expect("a directory");
    let clicks = directory.path().join("data/clicks");
    let store = open(&clicks);
    store.append(&[click(1, START, Some("ada"))]).expect("appends");
    let mode = |path: &Path| fs::metadata(path).expect("is there").permissions().mode() & 0o777;
    assert_eq!((mode(&clicks), mode(&today(&clicks))), (0o700, 0o600));
    store.forget(&who("ada")).expect("forgets");
    assert_eq!((mode(&today(&clicks)), names(&clicks).len()), (0o600, 1), "written anew, too");
}

#[test]
fn a_line_that_was_torn_at_any_byte_costs_that_line() {
    let directory = tempfile::tempdir().expect("a directory");
    let [first, second, third] = [1, 2, 3].map(|n| click(n, START, Some("ada")));
    open(directory.path()).append(&[first.clone(), second.clone()]).expect("appends");
    let whole = fs::read(today(directory.path())).expect("reads");
    for end in 0..=whole.len() {
        fs::write(today(directory.path()), &whole[..end]).expect("writes");
        let store = open(directory.path());
        let left = whole[..end].iter().filter(|b| **b == b'\n').count();
        // A row without its line break is whole.
        let left = left + usize::from(end > 0 && whole[end - 1] == b'}' && whole.get(end) == Some(&b'\n'));
        assert_eq!(all(&store).len(), left, "{end} bytes are left");
        store.append(std::slice::from_ref(&third)).expect("appends");
        store.amend(&[Amendment { reason: Some("r".into()), ..amends(&third) }]).expect("amends");
        let rows = all(&open(directory.path()));
        assert_eq!(rows.len(), left + 1, "{end} bytes were left");
        assert_eq!(rows[0], Click { reasons: vec!["r".into()], ..third.clone() });
        assert_eq!(rows.get(1), [&first, &second][..left].last().copied());
        if end % 5 > 0 {
            continue;
        }
        store.forget(&who("ada")).expect("forgets");
        let text = fs::read_to_string(today(directory.path())).expect("reads");
        assert!(!text.contains("\"visitor_id\":"), "{end} bytes were left: {text}");
    }
}

#[test]
fn what_cannot_be_read_is_passed_over() {
    let directory = tempfile::tempdir().expect("a directory");
    let told: Vec<Click> = (0..5).map(|n| click(n, START, Some("ada"))).collect();
    let mut text = b"\n\n".to_vec();
    for (n, row) in told.iter().enumerate() {
        lines::push(&mut text, row);
        let long = vec![b'x'; usize::try_from(CHUNK_BYTES).expect("fits") * 2 + 77];
        text.extend_from_slice([&b"{}"[..], b"\xff\xfe\0", b"{\"amends\":\"x\"}", &long, &[0; 4096]][n]);
        text.push(b'\n');
    }
    fs::write(today(directory.path()), &text).expect("writes");
    for name in ["notes.jsonl", "2026.jsonl", "zzzz-zz-zz.jsonl"] {
        fs::write(directory.path().join(name), b"somebody else's").expect("writes");
    }
    let store = open(directory.path());
    let ids = |rows: &[Click]| rows.iter().rev().map(|row| row.id.clone()).collect::<Vec<_>>();
    assert_eq!(ids(&all(&store)), ids(&told.iter().rev().cloned().collect::<Vec<_>>()));
    assert!(store.find(&told[0].id).expect("reads").is_some());
    assert_eq!(store.forget(&who("ada")).expect("forgets"), 5);
    assert_eq!(all(&store).len(), 5);
    let length = fs::metadata(today(directory.path())).expect("is there").len();
    assert!(length < 5 * 500, "what nobody can read is not kept on: {length}");
    store.retain(START.plus(DAY * 9)).expect("retains");
    assert_eq!(names(directory.path()), ["2026.jsonl", "notes.jsonl", "zzzz-zz-zz.jsonl"], "only what is ours goes");
}

#[test]
fn a_file_larger_than_what_is_read_at_once_is_read_line_by_line() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = open(directory.path());
    let told: Vec<Click> = (0..12_000).map(|n| click(n, START, Some("ada"))).collect();
    store.append(&[]).expect("appends");
    fs::write(today(directory.path()), b"").expect("an empty file is none of a problem");
    assert!(all(&store).is_empty());
    store.append(&told).expect("appends");
    assert!(fs::metadata(today(directory.path())).expect("is there").len() > 3 * CHUNK_BYTES);
    assert!(all(&store).iter().rev().eq(&told));
    store.forget(&who("ada")).expect("forgets");
    assert!(all(&store).iter().rev().map(|row| &row.id).eq(told.iter().map(|row| &row.id)));
}

#[test]
fn a_crash_while_somebody_is_forgotten_leaves_the_old_file_or_the_new_one() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = open(directory.path());
    let told = [click(1, START, Some("ada")), click(2, START, Some("bob"))];
    store.append(&told).expect("appends");
    // Before the new one took its place.
    let left = today(directory.path()).with_extension("jsonl.new");
    fs::write(&left, b"{\"half").expect("writes");
    let store = open(directory.path());
    assert!(!left.exists());
    assert_eq!(all(&store).iter().rev().cloned().collect::<Vec<_>>(), told);
    // In the middle of writing: what is there is not added to.
    fs::write(&left, vec![b'x'; 1 << 20]).expect("writes");
    assert_eq!(store.forget(&who("ada")).expect("forgets"), 1);
    assert_eq!(names(directory.path()).len(), 1);
    let store = open(directory.path());
    assert_eq!((all(&store).len(), store.forget(&who("ada")).expect("forgets")), (2, 0));
    assert_eq!(all(&store)[0], told[1]);
}

#[test]
fn a_forgetting_that_fails_says_so_and_leaves_the_rows() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = open(directory.path());
    store.append(&[click(1, START, Some("ada"))]).expect("appends");
    // Nothing can be written beside it.
    fs::create_dir(today(directory.path()).with_extension("jsonl.new")).expect("makes");
    assert!(matches!(store.forget(&who("ada")), Err(StoreError::Unavailable(_))));
    store.append(&[click(2, START, Some("ada"))]).expect("appends");
    fs::remove_dir(today(directory.path()).with_extension("jsonl.new")).expect("removes");
    assert_eq!(store.forget(&who("ada")).expect("forgets"), 2);
    assert_eq!(all(&store).len(), 2);
}

#[test]
fn a_disk_that_is_full_is_noticed_and_so_is_its_end() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = open(directory.path());
    let yesterday = click(1, START.minus(DAY), None);
    let both = [yesterday.clone(), click(2, START, None)];
    // Whatever is written there finds the disk full.
    std::os::unix::fs::symlink("/dev/full", today(directory.path())).expect("links");
    assert!(matches!(store.append(&both), Err(StoreError::Unavailable(_))));
    assert!(matches!(store.health(), Health::Failed(_)));
    assert!(store.find(&yesterday.id).expect("reads").is_none(), "all of a batch or none of it");
    assert!(store.recover().is_err());
    let long_ago = amends(&click(9, START.minus(DAY * 9), None));
    store.amend(&[long_ago]).expect("there is nothing to write");
    assert!(matches!(store.health(), Health::Failed(_)), "writing nothing proves nothing");
    fs::remove_file(today(directory.path())).expect("removes");
    store.writer().close(&START.day());
    store.recover().expect("works again");
    assert_eq!(store.health(), Health::Ok);
    assert_eq!(fs::metadata(today(directory.path())).expect("is there").len(), 0, "what was tried is taken back");
    store.append(&both).expect("appends");
    assert_eq!(all(&store).len(), 2);
}

#[test]
fn a_file_that_somebody_deletes_is_begun_again() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = open(directory.path());
    store.append(&[click(1, START, None)]).expect("appends");
    fs::remove_file(today(directory.path())).expect("removes");
    assert!(all(&store).is_empty());
    store.append(&[click(2, START, None)]).expect("appends");
    assert_eq!(all(&store), [click(2, START, None)]);
}

#[test]
fn many_days_at_once_are_written_with_few_files_open() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = open(directory.path());
    let told: Vec<Click> =
        (0..40).map(|n| click(n, START.plus(DAY * u32::try_from(n).expect("small")), None)).collect();
    store.append(&told).expect("appends");
    assert!(store.writer().open.len() <= OPEN_MAX);
    store.sync().expect("syncs");
    let amendments: Vec<_> = told.iter().map(|row| Amendment { reason: Some("r".into()), ..amends(row) }).collect();
    store.amend(&amendments).expect("amends");
    assert_eq!(all(&store).iter().filter(|row| row.reasons == ["r"]).count(), 40);
}
