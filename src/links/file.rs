//! Links out of files: CSV for many at once, the operator's TOML, and plain lists of tagged addresses.
//!
//! Every row stands for itself: what is wrong with one is told with its line, and the others are read. Texts are data,
//! whatever a spreadsheet would make of them.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use toml::Spanned;
use url::Url;

use super::{LinkDraft, policy::Field};
use crate::model::{Utm, Variant};

/// Rows that are taken at once.
pub const ROWS_MAX: usize = 10_000;
/// Bytes of one row; a quote that nobody closes would swallow the rest of the file.
const ROW_BYTES_MAX: usize = 32 << 10;
/// What may stand between the columns of a CSV file.
const DELIMITERS: [char; 4] = [',', ';', '\t', '|'];

/// The columns of a CSV file. UTM fields may be written `utm_source` too.
pub const COLUMNS: [&str; 21] = [
    "slug",
    "host",
    "destination",
    "source",
    "medium",
    "campaign",
    "content",
    "term",
    "model",
    "prompt_family",
    "angle",
    "placement",
    "audience",
    "intent",
    "goal",
    "offer",
    "owner",
    "note",
    "expires_at",
    "utm_rule",
    "exception",
];

/// Columns of an export that are no fields of a link.
const TOLD_ONLY: [&str; 2] = ["url", "state"];
/// What such a column is.
const UNUSED: &str = "";

/// A link of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The line it begins on, from 1.
    pub line: u64,
    /// What it says.
    pub draft: LinkDraft,
}

/// A row that is no link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Rejected {
    /// The line it begins on, from 1.
    pub line: u64,
    /// Its slug, as far as it has one.
    pub slug: Option<String>,
    /// What is wrong with it: a field, or nothing if it is the whole row.
    pub field: Option<String>,
    /// Why.
    pub reason: String,
}

impl Rejected {
    fn row(line: u64, reason: impl Into<String>) -> Self {
        Self { line, slug: None, field: None, reason: reason.into() }
    }
}

/// Reads the rows of a CSV file: columns by their names in the first row, in any order; `,`, `;`, tab or `|` between them.
#[must_use]
pub fn read_csv(text: &str) -> Vec<Result<Row, Rejected>> {
    let mut rows = Rows::of(text);
    let Some((line, head)) = rows.next() else {
        return vec![Err(Rejected::row(1, "the file is empty; its first row has to hold the names of the columns"))];
    };
    let columns = match head.and_then(|cells| columns(line, &cells)) {
        Ok(columns) => columns,
        Err(rejected) => return vec![Err(rejected)],
    };
    let mut read = Vec::new();
    for (line, cells) in rows {
        if read.len() == ROWS_MAX {
            let why = format!("only {ROWS_MAX} links are taken at once; divide the file here");
            read.push(Err(Rejected::row(line, why)));
            break;
        }
        read.push(cells.and_then(|cells| row(line, &columns, cells)));
    }
    read
}

/// Which field each column is.
fn columns(line: u64, cells: &[String]) -> Result<Vec<&'static str>, Rejected> {
    let mut columns: Vec<&'static str> = Vec::with_capacity(cells.len());
    for (i, cell) in cells.iter().enumerate() {
        let name = cell.trim().to_ascii_lowercase().replace([' ', '-'], "_");
        let plain = ["utm.", "variant."].iter().find_map(|group| name.strip_prefix(group)).unwrap_or(&name);
        let plain: &str = match Field::parse(plain) {
            Some(field) => field.as_str(),
            None => plain,
        };
        // What an export tells besides, and nobody can set.
        if TOLD_ONLY.contains(&plain) {
            columns.push(UNUSED);
            continue;
        }
        let Some(column) = COLUMNS.into_iter().find(|column| *column == plain) else {
            let why = format!("column {} has no name that is known here; known: {}", i + 1, COLUMNS.join(", "));
            return Err(Rejected::row(line, why));
        };
        if columns.contains(&column) {
            return Err(Rejected {
                field: Some(column.to_owned()),
                ..Rejected::row(line, "this column is there twice")
            });
        }
        columns.push(column);
    }
    if !columns.contains(&"destination") {
        let why = "the column destination is missing: where each link leads to";
        return Err(Rejected { field: Some("destination".to_owned()), ..Rejected::row(line, why) });
    }
    Ok(columns)
}

fn row(line: u64, columns: &[&'static str], mut cells: Vec<String>) -> Result<Row, Rejected> {
    while cells.len() > columns.len() && cells.last().is_some_and(|cell| cell.trim().is_empty()) {
        cells.pop();
    }
    if cells.len() > columns.len() {
        let why = format!(
            "has {} cells, and there are {} columns; a text with a delimiter in it has to stand in quotes",
            cells.len(),
            columns.len()
        );
        return Err(Rejected::row(line, why));
    }
    let (mut draft, mut utm, mut variant) = (LinkDraft::default(), Utm::default(), Variant::default());
    for (column, cell) in columns.iter().zip(cells) {
        let text = Some(cell.trim().to_owned()).filter(|cell| !cell.is_empty());
        match *column {
            "slug" => draft.slug = text,
            "host" => draft.host = text,
            "destination" => draft.destination = text,
            "source" => utm.source = text,
            "medium" => utm.medium = text,
            "campaign" => utm.campaign = text,
            "content" => utm.content = text,
            "term" => utm.term = text,
            "model" => variant.model = text,
            "prompt_family" => variant.prompt_family = text,
            "angle" => variant.angle = text,
            "placement" => draft.placement = text,
            "audience" => draft.audience = text,
            "intent" => draft.intent = text,
            "goal" => draft.goal = text,
            "offer" => draft.offer = text,
            "owner" => draft.owner = text,
            "note" => draft.note = text,
            "expires_at" => draft.expires_at = text,
            "exception" => draft.exception = text,
            "utm_rule" => {
                let rule = text.map(|text| serde_json::from_value(Value::String(text.to_ascii_lowercase())));
                draft.utm_rule = rule.transpose().map_err(|_| Rejected {
                    slug: draft.slug.clone(),
                    field: Some("utm_rule".to_owned()),
                    ..Rejected::row(line, "must be keep or replace")
                })?;
            }
            _ => {}
        }
    }
    draft.utm = Some(utm).filter(|utm| !utm.is_empty());
    draft.variant = Some(variant).filter(|variant| !variant.is_empty());
    Ok(Row { line, draft })
}

/// The rows of a CSV file, each with its line; blank ones are passed over.
struct Rows<'a> {
    rest: &'a str,
    line: u64,
    delimiter: u8,
}

impl<'a> Rows<'a> {
    fn of(text: &'a str) -> Self {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let first = text.lines().next().unwrap_or_default();
        // What Excel writes to tell itself.
        if let Some(delimiter) = first.strip_prefix("sep=").and_then(|rest| rest.bytes().next()) {
            let rest = text.split_once('\n').map_or("", |(_, rest)| rest);
            return Self { rest, line: 2, delimiter };
        }
        let head = text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
        Self { rest: text, line: 1, delimiter: delimiter(head) }
    }

    /// How long the row is that comes next, with its line end; `None` if it has a quote that is not closed.
    fn length(&self) -> Option<usize> {
        let (mut inside, mut opens, mut closed_at) = (false, true, None);
        let bytes = self.rest.as_bytes();
        for (i, &byte) in bytes.iter().enumerate().take(ROW_BYTES_MAX) {
            match byte {
                b'"' if inside => {
                    inside = false;
                    closed_at = Some(i);
                }
                b'"' if opens || closed_at.is_some_and(|at| at + 1 == i) => inside = true,
                b'\n' if !inside => return Some(i + 1),
                // A text behind a cell in quotes, in a row of several lines: rows between were swallowed.
                _ if !inside
                    && closed_at.is_some_and(|at| at + 1 == i)
                    && byte != self.delimiter
                    && byte != b'\r'
                    && bytes[..i].contains(&b'\n') =>
                {
                    return None;
                }
                _ => {}
            }
            opens = !inside && byte == self.delimiter;
        }
        (!inside && bytes.len() <= ROW_BYTES_MAX).then_some(bytes.len())
    }

    fn cells(&self, row: &str) -> Option<Vec<String>> {
        let mut builder = csv::ReaderBuilder::new();
        builder.has_headers(false).flexible(true).delimiter(self.delimiter).buffer_capacity(row.len() + 1);
        let mut records = builder.from_reader(row.as_bytes()).into_records();
        match (records.next(), records.next()) {
            (Some(Ok(record)), None) => Some(record.iter().map(str::to_owned).collect()),
            _ => None,
        }
    }
}

impl Iterator for Rows<'_> {
    type Item = (u64, Result<Vec<String>, Rejected>);

    fn next(&mut self) -> Option<Self::Item> {
        while !self.rest.is_empty() {
            let (line, whole) = (self.line, self.length());
            let length = whole.unwrap_or_else(|| self.rest.find('\n').map_or(self.rest.len(), |end| end + 1));
            let (row, rest) = self.rest.split_at(length);
            self.line += row.matches('\n').count() as u64;
            if whole.is_none() {
                self.rest = rest;
                let why = "has a quote that never closes, or closes inside a text, or is over 32 KiB";
                return Some((line, Err(Rejected::row(line, why))));
            }
            // Spreadsheets write empty rows as delimiters alone.
            let blank = row.bytes().all(|byte| byte.is_ascii_whitespace() || byte == self.delimiter);
            let cells = self.cells(row.trim_end_matches(['\r', '\n']));
            self.rest = rest;
            if !blank {
                let why = "cannot be read as one row of CSV: lines have to end with LF or CRLF";
                return Some((line, cells.ok_or_else(|| Rejected::row(line, why))));
            }
        }
        None
    }
}

/// What stands between the columns: what is most frequent in the first row, outside quotes.
fn delimiter(head: &str) -> u8 {
    let mut quoted = false;
    let bare: Vec<char> = head
        .chars()
        .filter(|&c| {
            quoted ^= c == '"';
            !quoted
        })
        .collect();
    let count = |delimiter: &char| bare.iter().filter(|c| *c == delimiter).count();
    // The last of equals wins, which is the comma.
    let most = DELIMITERS.into_iter().rev().max_by_key(count).unwrap_or(',');
    u8::try_from(most).unwrap_or(b',')
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LinksFile {
    #[serde(default)]
    links: Vec<Spanned<toml::Table>>,
}

/// Reads `[[links]]` of a TOML file, each with the fields of `POST /v1/links`.
#[must_use]
pub fn read_toml(text: &str) -> Vec<Result<Row, Rejected>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let line = |at: usize| text[..at.min(text.len())].matches('\n').count() as u64 + 1;
    let file: LinksFile = match toml::from_str(text) {
        Ok(file) => file,
        Err(error) => {
            let at = error.span().map_or(1, |span| line(span.start));
            let why = format!("no links file: {}; each link begins with [[links]]", error.message());
            return vec![Err(Rejected::row(at, why))];
        }
    };
    let mut read = Vec::with_capacity(file.links.len().min(ROWS_MAX));
    for link in file.links {
        let line = line(link.span().start);
        if read.len() == ROWS_MAX {
            read.push(Err(Rejected::row(
                line,
                format!("only {ROWS_MAX} links are taken at once; divide the file here"),
            )));
            break;
        }
        let json = json(toml::Value::Table(link.into_inner()));
        let slug = json.get("slug").and_then(Value::as_str).map(str::to_owned);
        read.push(LinkDraft::read(json).map(|draft| Row { line, draft }).map_err(|problem| Rejected {
            slug,
            field: Some(problem.key).filter(|key| !key.is_empty()),
            ..Rejected::row(line, problem.message)
        }));
    }
    read
}

/// TOML as JSON; a time as its text.
fn json(value: toml::Value) -> Value {
    match value {
        toml::Value::String(text) => Value::String(text),
        toml::Value::Integer(number) => number.into(),
        toml::Value::Float(number) => number.into(),
        toml::Value::Boolean(flag) => flag.into(),
        toml::Value::Datetime(time) => Value::String(time.to_string()),
        toml::Value::Array(values) => values.into_iter().map(json).collect(),
        toml::Value::Table(table) => table.into_iter().map(|(key, value)| (key, json(value))).collect(),
    }
}

/// Reads a list of tagged addresses, one a line; blank lines and those behind `#` are passed over.
#[must_use]
pub fn read_addresses(text: &str) -> Vec<Result<Row, Rejected>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut read = Vec::new();
    for (line, address) in (1_u64..).zip(text.lines().map(str::trim)) {
        if address.is_empty() || address.starts_with('#') {
            continue;
        }
        if read.len() == ROWS_MAX {
            let why = format!("only {ROWS_MAX} addresses are read at once; divide the file here");
            read.push(Err(Rejected::row(line, why)));
            break;
        }
        read.push(tagged(line, address));
    }
    read
}

fn tagged(line: u64, address: &str) -> Result<Row, Rejected> {
    let refused = |why: &str| Rejected { field: Some("destination".to_owned()), ..Rejected::row(line, why) };
    let url = Url::parse(address).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
    let url = url.ok_or_else(|| refused("must be a whole http or https address"))?;
    let mut utm = Utm::default();
    for (name, value) in url.query_pairs() {
        let place = match name.as_ref() {
            "utm_source" => &mut utm.source,
            "utm_medium" => &mut utm.medium,
            "utm_campaign" => &mut utm.campaign,
            "utm_content" => &mut utm.content,
            "utm_term" => &mut utm.term,
            _ => continue,
        };
        if place.replace(value.into_owned()).is_some() {
            return Err(refused("has a UTM parameter twice"));
        }
    }
    let utm = Some(utm).filter(|utm| !utm.is_empty());
    Ok(Row { line, draft: LinkDraft { destination: Some(address.to_owned()), utm, ..LinkDraft::default() } })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Line and slug of what was read, or line and reason of what was not.
    fn told(read: &[Result<Row, Rejected>]) -> Vec<(u64, String)> {
        let one = |row: &Result<Row, Rejected>| match row {
            Ok(row) => (row.line, row.draft.slug.clone().unwrap_or_default()),
            Err(rejected) => (rejected.line, format!("! {}", rejected.reason)),
        };
        read.iter().map(one).collect()
    }

    #[test]
    fn every_column_comes_to_its_field() {
        let head = COLUMNS.join(",");
        let cells: Vec<String> = COLUMNS
            .iter()
            .map(|column| if *column == "utm_rule" { "Replace".to_owned() } else { format!("the {column}") })
            .collect();
        let read = read_csv(&format!("{head}\n{}\n", cells.join(",")));
        let draft = serde_json::to_value(&read[0].as_ref().expect("a row").draft).expect("writes");
        let text = draft.to_string();
        for column in COLUMNS.iter().filter(|column| **column != "utm_rule") {
            assert_eq!(text.matches(&format!("\"the {column}\"")).count(), 1, "{column}: {text}");
        }
        assert_eq!(draft["utm"]["source"], "the source");
        assert_eq!(draft["utm_rule"], "replace");
    }

    #[test]
    fn files_of_every_spreadsheet_are_read() {
        for (delimiter, end, start) in
            [(",", "\n", ""), (";", "\r\n", "\u{feff}"), ("\t", "\n", ""), ("|", "\r\n", "sep=|\r\n")]
        {
            let rows = [
                "slug;DESTINATION ;utm_source",
                "a;https://x.example/?a=1,2;\"in; quotes\"",
                "",
                ";;",
                "b;\"https://y.example/\";=1+1;;",
            ];
            let text = start.to_owned() + &rows.join(end).replace(';', delimiter).replace("in,", "in, more,");
            let read = read_csv(&text);
            let first = u64::from(start.starts_with("sep")) + 2;
            if delimiter == "," {
                // There the address itself has to stand in quotes.
                assert_eq!(read.len(), 2);
                assert!(read[0].as_ref().expect_err("too many cells").reason.contains("has to stand in quotes"));
                continue;
            }
            assert_eq!(told(&read), [(first, "a".to_owned()), (first + 3, "b".to_owned())], "{delimiter:?}");
            let source =
                |row: &Result<Row, Rejected>| row.as_ref().expect("a row").draft.utm.clone().expect("utm").source;
            assert_eq!(source(&read[0]), Some(format!("in{delimiter} quotes")));
            assert_eq!(source(&read[1]).as_deref(), Some("=1+1"), "a formula is data");
        }
    }

    #[test]
    fn a_broken_row_costs_only_itself() {
        let text = "slug,destination,note\na,https://x.example/,\"two\nlines\"\nb,\"https://x.example/,x\nc,https://x.example/,5\" wide\n\
                    d,https://x.example/,x,more\ne,https://x.example/,\"say \"\"hi\"\"\"";
        let read = read_csv(text);
        let expected = [
            (2, "a".to_owned()),
            (4, "! has a quote that never closes, or closes inside a text, or is over 32 KiB".to_owned()),
            (5, "c".to_owned()),
            (
                6,
                "! has 4 cells, and there are 3 columns; a text with a delimiter in it has to stand in quotes"
                    .to_owned(),
            ),
            (7, "e".to_owned()),
        ];
        assert_eq!(told(&read), expected);
        let note = |i: usize| read[i].as_ref().expect("a row").draft.note.clone().expect("a note");
        assert_eq!((note(0).as_str(), note(2).as_str(), note(4).as_str()), ("two\nlines", "5\" wide", "say \"hi\""));
    }

    #[test]
    fn a_head_that_is_not_understood_is_told() {
        for (text, why) in [
            ("", "the file is empty"),
            ("\u{feff}\n\n", "the file is empty"),
            ("slug,goal\n", "the column destination is missing"),
            ("slug,destination,colour\n", "column 3 has no name that is known here; known: slug, host"),
            ("utm_source,source,destination\n", "this column is there twice"),
        ] {
            let read = read_csv(text);
            assert_eq!(read.len(), 1);
            assert!(read[0].as_ref().expect_err(why).reason.starts_with(why), "{read:?}");
        }
    }

    #[test]
    fn ten_thousand_rows_are_read_and_the_next_is_told() {
        let mut text = "destination\n".to_owned();
        text.extend((0..=ROWS_MAX).map(|i| format!("https://x.example/{i}\n")));
        let read = read_csv(&text);
        assert_eq!((read.len(), read.iter().filter(|row| row.is_ok()).count()), (ROWS_MAX + 1, ROWS_MAX));
        assert!(read[ROWS_MAX].as_ref().expect_err("one too many").reason.contains("only 10000 links"));
    }

    #[test]
    fn a_links_file_is_read_link_by_link() {
        let text = "# ours\n[[links]]\nslug = \"a\"\ndestination = \"https://x.example/\"\nexpires_at = 2026-12-24T18:00:00Z\n\
                    utm = { source = \"ig\" }\n\n[[links]]\nslug = \"b\"\ndestination = 1\n\n[[links]]\ncolour = 1\n\n[[links]]\nslug = \"d\"\n";
        let read = read_toml(text);
        assert_eq!(told(&read)[0], (2, "a".to_owned()));
        assert_eq!(read[0].as_ref().expect("a link").draft.expires_at.as_deref(), Some("2026-12-24T18:00:00Z"));
        let rejected = read[1].as_ref().expect_err("a number");
        assert_eq!(
            (rejected.line, rejected.slug.as_deref(), rejected.field.as_deref()),
            (8, Some("b"), Some("destination"))
        );
        assert_eq!(rejected.reason, "must be a text");
        assert_eq!(read[2].as_ref().expect_err("unknown").field.as_deref(), Some("colour"));
        assert_eq!(told(&read)[3], (15, "d".to_owned()));
        for (text, line) in [("[[links]]\nslug = \n", 2), ("links = 1", 1), ("[[link]]\nslug = \"a\"", 1)] {
            let read = read_toml(text);
            assert_eq!((read.len(), read[0].as_ref().expect_err(text).line), (1, line), "{text}");
        }
        assert_eq!(read_toml(""), []);
    }

    #[test]
    fn addresses_are_read_with_their_utm_values() {
        let text = "# old ones\n\nhttps://x.example/?utm_source=Insta%20Gram&utm_medium=a+b&gclid=AbC#top\nx.example\n\
                    https://x.example/?utm_source=a&utm_source=b\nhttps://x.example/";
        let read = read_addresses(text);
        let utm = read[0].as_ref().expect("an address").draft.utm.clone().expect("utm");
        assert_eq!((utm.source.as_deref(), utm.medium.as_deref()), (Some("Insta Gram"), Some("a b")));
        let lines: Vec<(u64, bool)> =
            read.iter().map(|row| (row.as_ref().map_or_else(|r| r.line, |r| r.line), row.is_ok())).collect();
        assert_eq!(lines, [(3, true), (4, false), (5, false), (6, true)]);
    }
}
