use super::*;

const HEADER: &str = "id,value\n";

struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a directory"))
    }

    fn directory(&self) -> PathBuf {
        self.0.path().join("files")
    }

    /// A new start of the process, whose store recorded `mark`.
    fn start(&self, mark: Option<&FileMark>) -> FileSink {
        FileSink::recover(self.directory(), shop(), "csv", mark).expect("recovers")
    }

    fn read(&self, file: &str) -> String {
        fs::read_to_string(self.directory().join(file)).expect("a file")
    }

    fn write(&self, file: &str, text: &str) {
        fs::write(self.directory().join(file), text).expect("writes");
    }

    fn files(&self) -> Vec<String> {
        let entries = fs::read_dir(self.directory()).expect("a directory");
        let mut names: Vec<_> =
            entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("text")).collect();
        names.sort();
        names
    }

    fn serve(&self, days: u32, settled: Option<&FileMark>) -> (String, String) {
        let served = serve(&self.directory(), &shop(), "csv", HEADER, days, settled).expect("serves");
        (String::from_utf8(served.body).expect("text"), served.etag)
    }
}

fn shop() -> DestinationName {
    DestinationName::new("shop").expect("valid")
}

fn rows(text: &str) -> Rows {
    Rows { directory: "unused".into(), extension: "csv", header: HEADER.into(), rows: text.into() }
}

fn on(day: &str) -> Time {
    Time::parse(&format!("2026-11-{day}T12:00:00Z")).expect("a time")
}

#[test]
fn a_crash_before_the_rows_are_settled_neither_repeats_nor_loses_one() {
    let place = Place::new();
    let settled = place.start(None).append(&rows("a,1\nb,2\n"), on("20")).expect("appends");
    for _ in 0..3 {
        let mut sink = place.start(Some(&settled));
        assert_eq!(sink.mark(), Some(&settled));
        sink.append(&rows("c,3\n"), on("20")).expect("appends");
    }
    assert_eq!(place.read(&settled.file), "id,value\na,1\nb,2\nc,3\n");
    let sink = place.start(Some(&settled));
    assert_eq!(place.read(&settled.file), "id,value\na,1\nb,2\n");
    assert_eq!(sink.mark(), Some(&settled));
}

#[test]
fn a_crash_before_anything_was_settled_repeats_no_row_in_a_file_that_is_served() {
    let place = Place::new();
    place.start(None).append(&rows("a,1\n"), on("20")).expect("appends");
    let mut sink = place.start(None);
    assert_eq!(place.files(), ["shop-2026-11-20.csv.orphaned"]);
    assert_eq!(sink.mark(), None);
    let mark = sink.append(&rows("a,1\n"), on("20")).expect("appends");
    assert_eq!(place.read("shop-2026-11-20.csv"), "id,value\na,1\n");
    assert_eq!(place.serve(7, Some(&mark)).0, "id,value\na,1\n");
}

#[test]
fn files_of_a_store_that_was_lost_are_moved_aside_and_never_deleted() {
    let place = Place::new();
    for text in ["first", "second", "third"] {
        place.start(None);
        place.write("shop-2026-11-20.csv", text);
        place.write("shop-2026-11-21.jsonl", text);
    }
    let mut sink = place.start(None);
    for (end, text) in [("", "first"), ("-2", "second"), ("-3", "third")] {
        assert_eq!(place.read(&format!("shop-2026-11-20.csv.orphaned{end}")), text);
        assert_eq!(place.read(&format!("shop-2026-11-21.jsonl.orphaned{end}")), text);
    }
    assert_eq!(place.files().len(), 6);
    let mark = sink.append(&rows("a,1\n"), on("20")).expect("appends");
    place.start(Some(&mark));
    assert_eq!(place.files().len(), 7, "with a mark they stay as they are");
    assert_eq!(place.serve(7, Some(&mark)).0, "id,value\na,1\n");
}

#[test]
fn the_first_rows_that_could_not_be_settled_are_taken_back_without_a_trace() {
    let place = Place::new();
    let mut sink = place.start(None);
    sink.append(&rows("a,1\n"), on("20")).expect("appends");
    sink.roll_back(None).expect("rolls back");
    assert_eq!(place.files(), [""; 0]);
    assert_eq!(sink.mark(), None);
}

#[test]
fn a_crash_after_midnight_takes_back_the_new_days_file() {
    let place = Place::new();
    let mut sink = place.start(None);
    let settled = sink.append(&rows("a,1\n"), on("20")).expect("appends");
    sink.append(&rows("b,2\n"), on("21")).expect("appends");
    assert_eq!(place.files(), ["shop-2026-11-20.csv", "shop-2026-11-21.csv"]);
    let mut sink = place.start(Some(&settled));
    assert_eq!(place.files(), ["shop-2026-11-20.csv"]);
    let mark = sink.append(&rows("b,2\n"), on("21")).expect("appends");
    assert_eq!(place.read(&mark.file), "id,value\nb,2\n");
    assert_eq!(place.read(&settled.file), "id,value\na,1\n");
}

#[test]
fn only_files_of_this_destination_are_touched() {
    let place = Place::new();
    place.start(None);
    let others = [
        "shop-2026-11-20.csv.bak",
        "shop-2026-11-20.xlsx",
        "shop-20261120.csv",
        "shop-2026-11-31.csv",
        "shop-eu-2026-11-20.csv",
        "shop-2026-11-20-2026-11-20.csv",
        "shop.csv",
        "eshop-2026-11-20.csv",
    ];
    let mark = place.start(None).append(&rows("a,1\n"), on("19")).expect("appends");
    others.iter().for_each(|name| place.write(name, "mine"));
    place.write("shop-2026-11-20.csv", "unsettled");
    place.write("shop-2026-11-21.jsonl", "unsettled");
    place.start(Some(&mark));
    let mut expected = others.to_vec();
    expected.push("shop-2026-11-19.csv");
    expected.sort_unstable();
    assert_eq!(place.files(), expected);
    place.start(None);
    assert_eq!(place.files().len(), expected.len());
    assert!(others.iter().all(|name| place.read(name) == "mine"));
}

#[test]
fn a_header_is_written_once_a_day_and_days_never_go_back() {
    let place = Place::new();
    let mut sink = place.start(None);
    for (day, row) in [("20", "a,1\n"), ("20", "b,2\n"), ("21", "c,3\n"), ("19", "d,4\n"), ("21", "e,5\n")] {
        let mark = sink.append(&rows(row), on(day)).expect("appends");
        sink = place.start(Some(&mark));
    }
    assert_eq!(place.files(), ["shop-2026-11-20.csv", "shop-2026-11-21.csv"]);
    assert_eq!(place.read("shop-2026-11-20.csv"), "id,value\na,1\nb,2\n");
    assert_eq!(place.read("shop-2026-11-21.csv"), "id,value\nc,3\nd,4\ne,5\n");
}

#[test]
fn what_a_failed_append_left_is_cut_off_by_the_next() {
    let place = Place::new();
    let mut sink = place.start(None);
    let settled = sink.append(&rows("a,1\n"), on("20")).expect("appends");
    // Half a row, as a full disk leaves it.
    place.write(&settled.file, "id,value\na,1\nb,");
    let mark = sink.append(&rows("b,2\n"), on("20")).expect("appends");
    assert_eq!(place.read(&mark.file), "id,value\na,1\nb,2\n");
    // Half a header in the next day's file.
    place.write("shop-2026-11-21.csv", "id,va");
    let mark = sink.append(&rows("c,3\n"), on("21")).expect("appends");
    assert_eq!(place.read(&mark.file), "id,value\nc,3\n");
}

#[test]
fn an_append_that_fails_changes_no_mark_and_can_be_tried_again() {
    let place = Place::new();
    let mut sink = place.start(None);
    let settled = sink.append(&rows("a,1\n"), on("20")).expect("appends");
    let blocked = place.directory().join("shop-2026-11-21.csv");
    fs::create_dir(&blocked).expect("a directory in the way");
    assert!(sink.append(&rows("b,2\n"), on("21")).is_err());
    assert_eq!(sink.mark(), Some(&settled));
    fs::remove_dir(&blocked).expect("removes");
    sink.append(&rows("b,2\n"), on("21")).expect("appends");
    assert_eq!(place.read("shop-2026-11-21.csv"), "id,value\nb,2\n");
}

#[test]
fn rows_that_could_not_be_settled_are_taken_back() {
    let place = Place::new();
    let mut sink = place.start(None);
    let settled = sink.append(&rows("a,1\n"), on("20")).expect("appends");
    sink.append(&rows("b,2\n"), on("21")).expect("appends");
    sink.roll_back(Some(&settled)).expect("rolls back");
    assert_eq!(place.files(), ["shop-2026-11-20.csv"]);
    let mark = sink.append(&rows("b,2\n"), on("20")).expect("appends");
    assert_eq!(place.read(&mark.file), "id,value\na,1\nb,2\n");
}

#[test]
fn a_file_that_somebody_shortened_or_removed_is_left_alone_and_the_next_one_begins() {
    let place = Place::new();
    let settled = place.start(None).append(&rows("a,1\nb,2\n"), on("20")).expect("appends");
    place.write(&settled.file, "id,value\na,1\nb,");
    for _ in 0..2 {
        // The second time after a crash before the rows were settled.
        let mark = place.start(Some(&settled)).append(&rows("c,3\n"), on("20")).expect("appends");
        assert_eq!(mark.file, "shop-2026-11-21.csv");
        assert_eq!(place.serve(7, Some(&mark)).0, "id,value\na,1\nb,\nc,3\n");
    }
    let mark = FileMark { file: "shop-2026-11-21.csv".into(), length: 13 };
    fs::remove_file(place.directory().join(&mark.file)).expect("removes");
    let mark = place.start(Some(&mark)).append(&rows("d,4\n"), on("20")).expect("appends");
    assert_eq!(place.read(&mark.file), "id,value\nd,4\n");
    assert_eq!(place.files(), ["shop-2026-11-20.csv", "shop-2026-11-22.csv"]);
}

#[test]
fn a_mark_of_another_file_is_refused() {
    let place = Place::new();
    for file in ["../shop-2026-11-20.csv", "shop-eu-2026-11-20.csv", "shop-2026-11-20.csv/x", ""] {
        let mark = FileMark { file: file.into(), length: 0 };
        let error = FileSink::recover(place.directory(), shop(), "csv", Some(&mark)).expect_err("refuses");
        assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{file}");
    }
}

#[test]
fn another_format_begins_another_file_and_is_served_alone() {
    let place = Place::new();
    let settled = place.start(None).append(&rows("a,1\n"), on("20")).expect("appends");
    let other = Rows { header: "other\n".into(), ..rows("b\n") };
    let mut sink = place.start(Some(&settled));
    let mark = sink.append(&other, on("20")).expect("appends");
    assert_eq!(mark.file, "shop-2026-11-21.csv");
    assert_eq!(place.read(&mark.file), "other\nb\n");
    assert_eq!(place.serve(7, Some(&mark)).0, "id,value\na,1\n");

    let json = Rows { extension: "jsonl", header: String::new(), ..rows("{}\n") };
    let mut sink = FileSink::recover(place.directory(), shop(), "jsonl", Some(&mark)).expect("recovers");
    let mark = sink.append(&json, on("20")).expect("appends");
    assert_eq!(mark.file, "shop-2026-11-22.jsonl");
    sink.append(&json, on("23")).expect("appends");
    place.start(Some(&mark));
    assert_eq!(place.files(), ["shop-2026-11-20.csv", "shop-2026-11-21.csv", "shop-2026-11-22.jsonl"]);
}

#[test]
fn the_served_body_has_one_header_the_last_days_and_stops_at_the_mark() {
    let place = Place::new();
    assert_eq!(place.serve(7, None).0, HEADER, "before the first start");
    let mut sink = place.start(None);
    for (day, row) in [("18", "a,1\n"), ("19", "b,2\n"), ("20", "c,3\n")] {
        sink.append(&rows(row), on(day)).expect("appends");
    }
    let settled = sink.mark().cloned();
    assert_eq!(place.serve(2, settled.as_ref()).0, "id,value\nb,2\nc,3\n");
    sink.append(&rows("d,4\n"), on("20")).expect("appends");
    sink.append(&rows("e,5\n"), on("21")).expect("appends");
    assert_eq!(place.serve(7, settled.as_ref()).0, "id,value\na,1\nb,2\nc,3\n");
    assert_eq!(place.serve(7, None).0, HEADER);
}

#[test]
fn the_entity_tag_changes_with_the_content_and_only_then() {
    let place = Place::new();
    let mut sink = place.start(None);
    let settled = sink.append(&rows("a,1\n"), on("20")).expect("appends");
    let (_, before) = place.serve(7, Some(&settled));
    let next = sink.append(&rows("b,2\n"), on("20")).expect("appends");
    assert_eq!(place.serve(7, Some(&settled)).1, before, "not by rows that are not settled");
    place.start(Some(&settled));
    assert_eq!(place.serve(7, Some(&settled)).1, before, "not by a restart");
    assert_eq!(place.start(Some(&settled)).append(&rows("b,2\n"), on("20")).expect("appends"), next);
    let (_, after) = place.serve(7, Some(&next));
    assert_ne!(after, before);
    assert!(after.starts_with('"') && after.ends_with('"'), "a strong tag is quoted: {after}");
}
