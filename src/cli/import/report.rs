//! What is told of an import: refused rows in a file, progress on the terminal.

use std::{
    fs::File,
    io::{IsTerminal as _, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context as _;
use tokio::time::Instant;

use super::{Refused, state::State};
use crate::cli::table;

/// Refused rows that are also shown at once.
const SHOWN_MAX: u64 = 20;
/// How often progress is told on a terminal.
const REDRAWN_EVERY: Duration = Duration::from_millis(200);
/// How often it is where each telling is a line more.
const TOLD_EVERY: Duration = Duration::from_secs(5);

/// The report on refused rows: CSV, or lines of JSON if its name ends so. There is none before the first.
pub(super) struct Report {
    path: PathBuf,
    file: Option<File>,
    /// Refused rows shown so far.
    shown: u64,
}

impl Report {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, file: None, shown: 0 }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    fn is_json(&self) -> bool {
        self.path.extension().is_some_and(|extension| extension == "jsonl" || extension == "ndjson")
    }

    /// Opens it behind the `kept` bytes of an import that goes on; what was written and not known to be is written again.
    /// How many bytes are kept: none if it is shorter, as it was taken away or is another file than before.
    pub(super) fn open(&mut self, kept: u64) -> anyhow::Result<u64> {
        if !self.path.exists() {
            return Ok(0);
        }
        let open = || {
            let mut file = File::options().write(true).open(&self.path)?;
            let kept = if file.metadata()?.len() < kept { 0 } else { kept };
            file.set_len(kept)?;
            file.seek(SeekFrom::End(0))?;
            Ok::<_, std::io::Error>((file, kept))
        };
        let (file, kept) = open().with_context(|| self.cannot())?;
        self.file = Some(file);
        Ok(kept)
    }

    fn cannot(&self) -> String {
        format!("cannot write {}; --report names another place", self.path.display())
    }

    /// Writes refused rows, each with its line. The length of the report with them.
    pub(super) fn write(&mut self, refused: &[(u64, Refused)], before: u64) -> anyhow::Result<u64> {
        if refused.is_empty() {
            return Ok(before);
        }
        let mut text = Vec::new();
        if self.is_json() {
            for (line, Refused { field, why }) in refused {
                let row = serde_json::json!({ "line": line, "field": field, "why": why });
                writeln!(text, "{row}")?;
            }
        } else {
            let mut csv = csv::Writer::from_writer(&mut text);
            if before == 0 {
                csv.write_record(["line", "field", "why"])?;
            }
            for (line, Refused { field, why }) in refused {
                csv.write_record([&line.to_string(), field, why])?;
            }
            csv.flush()?;
        }
        if self.file.is_none() {
            self.file = Some(File::create(&self.path).with_context(|| self.cannot())?);
        }
        if let Some(file) = &mut self.file {
            file.write_all(&text).with_context(|| self.cannot())?;
        }
        Ok(before + text.len() as u64)
    }

    /// Shows the first refused rows, and says where the others are told of.
    pub(super) fn show(&mut self, refused: &[(u64, Refused)], progress: &mut Progress) {
        for (line, Refused { field, why }) in refused {
            self.shown += 1;
            match self.shown {
                1..=SHOWN_MAX => {
                    let field = if field.is_empty() { String::new() } else { format!("{field}: ") };
                    progress.say(&format!("line {line} is refused: {field}{why}"));
                }
                n if n == SHOWN_MAX + 1 => {
                    progress.say(&format!("more rows are refused; all of them are in {}", self.path.display()));
                }
                _ => return,
            }
        }
    }
}

/// The line that says how far the import is, on standard error.
pub(super) struct Progress {
    terminal: bool,
    length: u64,
    began: Instant,
    rows_before: u64,
    bytes_before: u64,
    told: Option<Instant>,
    drawn: bool,
}

impl Progress {
    /// Of a file of `length` bytes, from where `state` is.
    pub(super) fn new(length: u64, state: &State) -> Self {
        Self {
            terminal: std::io::stderr().is_terminal(),
            length,
            began: Instant::now(),
            rows_before: state.place.rows,
            bytes_before: state.place.offset,
            told: None,
            drawn: false,
        }
    }

    /// Says how far it is, if it is time to.
    pub(super) fn tell(&mut self, state: &State) {
        let now = Instant::now();
        let every = if self.terminal { REDRAWN_EVERY } else { TOLD_EVERY };
        if now.duration_since(self.told.unwrap_or(self.began)) < every {
            return;
        }
        self.told = Some(now);
        let text = self.line(state, now.duration_since(self.began));
        if self.terminal {
            eprint!("\r{text}\x1b[K");
            self.drawn = true;
        } else {
            eprintln!("{text}");
        }
    }

    fn line(&self, state: &State, took: Duration) -> String {
        let State { place, counts, .. } = state;
        let done = place.offset - self.bytes_before;
        let left = self.length.saturating_sub(place.offset);
        let rate = (place.rows - self.rows_before) as f64 / took.as_secs_f64().max(0.001);
        let percent = place.offset as f64 * 100.0 / self.length.max(1) as f64;
        let still = match done {
            0 => String::new(),
            done => format!(", {} left", table::span(took.mul_f64(left as f64 / done as f64))),
        };
        let refused = if counts.refused == 0 { String::new() } else { format!(", {} refused", counts.refused) };
        format!("{percent:5.1} %  {} rows{refused}  {rate:.0} rows/s{still}", place.rows)
    }

    /// Says something on a line of its own.
    pub(super) fn say(&mut self, text: &str) {
        self.clear();
        eprintln!("{}", table::line(text));
    }

    /// Takes the line away.
    pub(super) fn clear(&mut self) {
        if std::mem::take(&mut self.drawn) {
            eprint!("\r\x1b[K");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_that_was_taken_away_or_is_another_begins_anew() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("refused.csv");
        let refused = |line: u64| [(line, Refused::row("is wrong"))];
        let text = || std::fs::read_to_string(&path).expect("reads");
        let mut first = Report::new(path.clone());
        assert_eq!(first.open(0).expect("opens"), 0);
        let kept = first.write(&refused(2), 0).expect("writes");
        let longer = first.write(&refused(3), kept).expect("writes");

        let mut again = Report::new(path.clone());
        assert_eq!(again.open(kept).expect("opens"), kept, "what was not known to be written is written again");
        assert_eq!(again.write(&refused(3), kept).expect("writes"), longer);
        assert_eq!(text(), "line,field,why\n2,,is wrong\n3,,is wrong\n");
        for other in [None, Some("short")] {
            std::fs::remove_file(&path).expect("is there");
            other.into_iter().for_each(|text| std::fs::write(&path, text).expect("writes"));
            let mut anew = Report::new(path.clone());
            let kept = anew.open(longer).expect("opens");
            anew.write(&refused(4), kept).expect("writes");
            assert_eq!((kept, text().as_str()), (0, "line,field,why\n4,,is wrong\n"));
        }
    }
}
