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
    pub(super) fn open(&mut self, kept: u64) -> anyhow::Result<()> {
        if kept == 0 && !self.path.exists() {
            return Ok(());
        }
        let open = || {
            let mut file = File::options().write(true).create(true).truncate(false).open(&self.path)?;
            file.set_len(kept)?;
            file.seek(SeekFrom::End(0))?;
            Ok::<_, std::io::Error>(file)
        };
        self.file = Some(open().with_context(|| self.cannot())?);
        Ok(())
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
