//! Rows and amendments as lines of JSON, and reading a file of them from its end.

use std::{collections::HashMap, fs::File, io, ops::ControlFlow, os::unix::fs::FileExt};

use super::Amendment;
use crate::model::{Click, Time, VisitorId};

/// What one read brings in. A line that is longer is none of ours.
pub(super) const CHUNK_BYTES: u64 = 1 << 20;
/// What an amendment begins with, and a row.
const AMENDS: &[u8] = b"{\"amends\":\"";
const ID: &[u8] = b"{\"id\":\"";
/// What stands before whose row it is. Inside a text its quotes would be escaped.
const VISITOR: &str = "\"visitor_id\":";

/// Adds a row, or an amendment, as a line.
pub(super) fn push(lines: &mut Vec<u8>, line: &impl serde::Serialize) {
    serde_json::to_writer(&mut *lines, line).expect("writing into memory cannot fail");
    lines.push(b'\n');
}

/// Shows `each` the lines of the first `length` bytes, the last one first.
pub(super) fn backwards(
    file: &File,
    length: u64,
    each: &mut dyn FnMut(&[u8]) -> ControlFlow<()>,
) -> io::Result<ControlFlow<()>> {
    let (mut end, mut chunk, mut too_long) = (length, Vec::new(), false);
    while end > 0 {
        let start = end.saturating_sub(CHUNK_BYTES);
        let bytes = usize::try_from(end - start).expect("at most a chunk");
        chunk.resize(bytes, 0);
        file.read_exact_at(&mut chunk, start)?;
        // What is before the first line break began earlier, and is read again from there.
        let cut =
            if start == 0 { Some(0) } else { chunk[..bytes - 1].iter().position(|b| *b == b'\n').map(|at| at + 1) };
        let from = cut.unwrap_or(0);
        for (n, line) in chunk[from..].rsplit(|b| *b == b'\n').enumerate() {
            // Of a line that is too long only the end is shown, as what cannot be read.
            let begins_too_long = n == 0 && too_long;
            if !begins_too_long && !line.is_empty() && each(line).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        too_long = cut.is_none();
        end = start + from as u64;
    }
    Ok(ControlFlow::Continue(()))
}

/// Reads a file from its end: amendments are met before the row that they change. Holds those in memory whose row has not
/// been met, which are few, as most come soon after their row.
pub(super) struct Reading {
    from: Time,
    to: Time,
    amendments: HashMap<String, Vec<Amendment>>,
    /// Lines that are neither.
    pub(super) unreadable: u64,
}

impl Reading {
    /// Looks for rows in `from..to`.
    pub(super) fn new(from: Time, to: Time) -> Self {
        Self { from, to, amendments: HashMap::new(), unreadable: 0 }
    }

    /// The row that this line holds, as amended; `None` if it is something else, or of another time.
    pub(super) fn row(&mut self, line: &[u8]) -> Option<Click> {
        if line.starts_with(AMENDS) {
            match serde_json::from_slice::<Amendment>(line) {
                Ok(amendment) => self.amendments.entry(amendment.id.clone()).or_default().push(amendment),
                Err(_) => self.unreadable += 1,
            }
            return None;
        }
        if let Some((id, _)) = head(line).filter(|(_, at)| *at < self.from || *at >= self.to) {
            self.amendments.remove(id);
            return None;
        }
        let Ok(mut row) = serde_json::from_slice::<Click>(line) else {
            self.unreadable += 1;
            return None;
        };
        // The last one was met first.
        let amendments = self.amendments.remove(&row.id).unwrap_or_default();
        amendments.iter().rev().for_each(|amendment| amendment.apply(&mut row));
        (self.from <= row.at && row.at < self.to).then_some(row)
    }
}

/// The id and the time of a row, without reading the rest of it.
fn head(line: &[u8]) -> Option<(&str, Time)> {
    let rest = line.strip_prefix(ID)?;
    let id = &rest[..rest.iter().position(|b| *b == b'"')?];
    let time = rest[id.len()..].strip_prefix(b"\",\"at\":")?;
    let time = &time[..time.iter().position(|b| *b == b',')?];
    Some((std::str::from_utf8(id).ok()?, Time::from_ms(std::str::from_utf8(time).ok()?.parse().ok()?)))
}

/// Whether a line is the row of this id or an amendment of it.
pub(super) fn is_about(line: &[u8], id: &str) -> bool {
    let named = line.strip_prefix(AMENDS).or_else(|| line.strip_prefix(ID));
    named.and_then(|rest| rest.strip_prefix(id.as_bytes())).is_some_and(|rest| rest.starts_with(b"\""))
}

/// Whose a line may be, as JSON has them.
pub(super) struct Names(Vec<String>);

impl Names {
    pub(super) fn of(visitors: &[VisitorId]) -> Self {
        let name = |id: &VisitorId| serde_json::to_string(id).expect("a text can be written");
        Self(visitors.iter().map(name).collect())
    }

    /// Whether this line is about one of them.
    pub(super) fn are_in(&self, line: &[u8]) -> bool {
        let text = String::from_utf8_lossy(line);
        let value = text.split_once(VISITOR).map(|(_, value)| value);
        value.is_some_and(|value| self.0.iter().any(|name| value.starts_with(name)))
    }
}
