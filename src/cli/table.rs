//! Answers for people: columns that stand under each other, times that can be read.

use std::{fmt::Arguments, io::Write as _, time::Duration};

use serde_json::Value;

use crate::model::{Clock as _, SystemClock, Time};

/// Wider cells are cut.
const CELL_CHARS_MAX: usize = 100;

/// Writes to standard output. A reader that went away has seen what it wanted.
pub(super) fn out(told: Arguments<'_>) {
    if let Err(error) = std::io::stdout().lock().write_fmt(told)
        && error.kind() != std::io::ErrorKind::BrokenPipe
    {
        eprintln!("conversion-relay: cannot print: {error}");
        std::process::exit(1);
    }
}

/// Prints rows under a head; the last column is as wide as it is.
pub(super) fn print(head: &[&str], rows: &[Vec<String>]) {
    for line in lines(head, rows) {
        println!("{line}");
    }
}

fn lines(head: &[&str], rows: &[Vec<String>]) -> Vec<String> {
    let head: Vec<String> = head.iter().map(|title| title.to_uppercase()).collect();
    let all: Vec<Vec<String>> =
        std::iter::once(&head).chain(rows).map(|row| row.iter().map(|text| cell(text)).collect()).collect();
    let width = |column: usize| all.iter().filter_map(|row| row.get(column)).map(|text| text.chars().count()).max();
    let widths: Vec<usize> = (0..head.len()).map(|column| width(column).unwrap_or(0)).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(text, &width)| format!("{text:<width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    all.iter().map(line).collect()
}

/// A text as one line. Platforms' texts may hold anything, also what would move a terminal's cursor.
pub(super) fn line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// A line of bounded width.
fn cell(text: &str) -> String {
    let clean = line(text);
    if clean.chars().count() <= CELL_CHARS_MAX {
        return clean;
    }
    clean.chars().take(CELL_CHARS_MAX - 1).chain(['…']).collect()
}

/// A value as text; `-` if there is none.
pub(super) fn text(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// A time of an answer in UTC to the second, and how long ago or ahead it is.
pub(super) fn time(value: &Value) -> String {
    let Some(at) = value.as_str().and_then(|text| Time::parse(text).ok()) else { return text(value) };
    told(at, SystemClock.now())
}

fn told(at: Time, now: Time) -> String {
    let away = if at <= now { format!("{} ago", span(now.since(at))) } else { format!("in {}", span(at.since(now))) };
    format!("{} ({away})", at.format("%Y-%m-%d %H:%M:%SZ"))
}

/// A span in its largest whole unit.
pub(super) fn span(span: Duration) -> String {
    let seconds = span.as_secs();
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..172_800 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_under_each_other() {
        let rows = [["a", "größer", "x"], ["bcd", "e", ""]].map(|row| row.map(str::to_owned).to_vec());
        assert_eq!(lines(&["id", "what", "why"], &rows), ["ID   WHAT    WHY", "a    größer  x", "bcd  e"]);
    }

    #[test]
    fn a_cell_is_one_line_of_bounded_width() {
        assert_eq!(cell("a\nb\u{1b}[2J"), "a b [2J");
        assert_eq!(cell(&"x".repeat(500)).chars().count(), CELL_CHARS_MAX);
    }

    #[test]
    fn a_time_says_how_far_away_it_is() {
        let now = Time::parse("2026-11-20T08:15:00Z").expect("valid");
        let at = |seconds: u64| told(now.minus(Duration::from_secs(seconds)), now);
        assert_eq!(at(59), "2026-11-20 08:14:01Z (59s ago)");
        assert_eq!(at(7200), "2026-11-20 06:15:00Z (2h ago)");
        assert_eq!(at(3 * 86_400), "2026-11-17 08:15:00Z (3d ago)");
        assert_eq!(told(now.plus(Duration::from_secs(90)), now), "2026-11-20 08:16:30Z (in 1m)");
    }
}
