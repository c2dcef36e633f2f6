//! A file as rows: each with its place, holding one row at a time, whatever the file's length.

use std::{
    fs::File,
    io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom},
    path::Path,
};

use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};

use super::Refused;

/// Bytes of a row.
const ROW_BYTES_MAX: usize = 4 << 20;
/// What is read of the file at once.
const BUFFER_BYTES: usize = 256 << 10;
/// So much of the file's beginning tells what it is.
const BEGINNING_BYTES: u64 = 64 << 10;
const UTF8_MARK: &[u8] = b"\xef\xbb\xbf";
/// What may stand between the columns of a CSV file.
pub(super) const DELIMITERS: [char; 4] = [',', ';', '\t', '|'];

/// How a file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, clap::ValueEnum)]
pub(super) enum Format {
    /// Columns, with their names in the first row
    Csv,
    /// One JSON object on each line
    Jsonl,
}

/// How far a file was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Place {
    /// Bytes.
    pub(super) offset: u64,
    /// Lines, also blank ones and that of the columns' names.
    pub(super) lines: u64,
    /// Rows.
    pub(super) rows: u64,
}

/// One row as it stands in the file.
pub(super) struct Row {
    /// The line it begins on, from 1.
    pub(super) line: u64,
    /// The line it ends on.
    pub(super) last_line: u64,
    /// Which one it is, from 1.
    pub(super) number: u64,
    /// Its bytes without the end of the line.
    pub(super) bytes: Result<Vec<u8>, Refused>,
}

/// A file, read row by row.
pub(super) struct Rows {
    reader: BufReader<File>,
    /// What stands between columns; `None` for lines of JSON.
    delimiter: Option<u8>,
    /// How far it is read.
    pub(super) place: Place,
}

/// The beginning of a file, to tell its format and to know it again.
pub(super) struct Beginning(pub(super) Vec<u8>);

impl Beginning {
    /// Reads it, at most `limit` bytes.
    pub(super) fn of(path: &Path, limit: Option<u64>) -> io::Result<Self> {
        let mut bytes = Vec::new();
        File::open(path)?.take(limit.unwrap_or(BEGINNING_BYTES).min(BEGINNING_BYTES)).read_to_end(&mut bytes)?;
        Ok(Self(bytes))
    }

    fn text(&self) -> &[u8] {
        self.0.strip_prefix(UTF8_MARK).unwrap_or(&self.0)
    }

    /// The format, by the name of the file, or by what is in it.
    pub(super) fn format(&self, path: &Path) -> anyhow::Result<Format> {
        if self.0.starts_with(b"\xff\xfe") || self.0.starts_with(b"\xfe\xff") {
            bail!("the file is written in UTF-16; save it as UTF-8 (in a spreadsheet: \"CSV UTF-8\")");
        }
        let first = self.text().iter().copied().find(|byte| !byte.is_ascii_whitespace());
        let extension = path.extension().and_then(|extension| extension.to_str()).map(str::to_ascii_lowercase);
        let format = match extension.as_deref() {
            Some("jsonl" | "ndjson" | "json") => Format::Jsonl,
            Some("csv" | "tsv") => Format::Csv,
            _ if matches!(first, Some(b'{' | b'[')) => Format::Jsonl,
            _ => Format::Csv,
        };
        if format == Format::Jsonl && first == Some(b'[') {
            bail!("the file is one list; there has to be one JSON object on each line, as `jq -c '.[]'` writes it");
        }
        Ok(format)
    }

    /// What stands between the columns: what is most frequent in the first line, outside quotes.
    pub(super) fn delimiter(&self) -> u8 {
        let mut quoted = false;
        let line = self.text().iter().copied().take_while(|&byte| byte != b'\n');
        let bare: Vec<u8> = line
            .filter(|&byte| {
                quoted ^= byte == b'"';
                !quoted
            })
            .collect();
        let count = |delimiter: char| bare.iter().filter(|&&byte| char::from(byte) == delimiter).count();
        // The first of equals wins, which is the comma.
        let most = DELIMITERS.into_iter().rev().max_by_key(|&delimiter| count(delimiter)).unwrap_or(',');
        u8::try_from(most).unwrap_or(b',')
    }
}

impl Rows {
    /// The rows of a file from its beginning.
    pub(super) fn open(path: &Path, delimiter: Option<u8>) -> io::Result<Self> {
        let mut reader = BufReader::with_capacity(BUFFER_BYTES, File::open(path)?);
        let mark = reader.fill_buf()?.starts_with(UTF8_MARK);
        let offset = if mark { UTF8_MARK.len() } else { 0 };
        reader.consume(offset);
        Ok(Self { reader, delimiter, place: Place { offset: offset as u64, ..Place::default() } })
    }

    /// The names of the columns: the first row, which counts as none.
    pub(super) fn columns(&mut self) -> anyhow::Result<Vec<String>> {
        let row = self.next()?.context("the file is empty; its first row has to hold the names of the columns")?;
        self.place.rows = 0;
        let cells = row.bytes.and_then(|bytes| self.cells(&bytes));
        let cells =
            cells.map_err(|refused| anyhow::anyhow!("the first row, with the columns' names, {}", refused.why))?;
        let name = |cell: Vec<u8>| String::from_utf8(cell).map(|name| name.trim().to_owned());
        cells.into_iter().map(name).collect::<Result<_, _>>().context("the names of the columns are no UTF-8")
    }

    /// Goes on at a place where rows end.
    pub(super) fn go_to(&mut self, place: Place) -> anyhow::Result<()> {
        let Some(before) = place.offset.checked_sub(1) else { return Ok(()) };
        self.reader.seek(SeekFrom::Start(before))?;
        let mut byte = [0];
        let whole =
            self.reader.read_exact(&mut byte).is_ok() && (byte[0] == b'\n' || self.reader.fill_buf()?.is_empty());
        if !whole {
            bail!("the file is not what it was: no row ends where the import had come to; --restart begins anew");
        }
        self.place = place;
        Ok(())
    }

    /// The next row that is not blank.
    pub(super) fn next(&mut self) -> io::Result<Option<Row>> {
        loop {
            let start = self.place;
            let (mut bytes, mut whole) = self.read()?;
            if self.place.offset == start.offset {
                return Ok(None);
            }
            let mut why = "is too long: a row may have 4 MiB";
            if self.delimiter.is_some() && !whole {
                // A quote that nobody closes would swallow the rest of the file: it costs its own line.
                self.place = start;
                self.reader.seek(SeekFrom::Start(start.offset))?;
                self.skip_line()?;
                why = "has a quote that never closes, or closes inside a text, or is over 4 MiB";
                bytes.clear();
            } else if !whole {
                if bytes.last() != Some(&b'\n') {
                    self.skip_line()?;
                }
                bytes.clear();
            }
            if whole && bytes.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            while whole && bytes.last().is_some_and(|byte| matches!(byte, b'\r' | b'\n')) {
                bytes.pop();
            }
            whole &= !bytes.is_empty();
            self.place.rows += 1;
            return Ok(Some(Row {
                line: start.lines + 1,
                last_line: self.place.lines.max(start.lines + 1),
                number: self.place.rows,
                bytes: if whole { Ok(bytes) } else { Err(Refused::row(why)) },
            }));
        }
    }

    /// Reads up to the end of a row, and with it. Whether it came to one that is a row's: not inside quotes, not over the
    /// limit.
    fn read(&mut self) -> io::Result<(Vec<u8>, bool)> {
        let mut bytes = Vec::new();
        let mut quotes = Quotes::default();
        // A text right behind the end of a quoted cell, in a row of several lines: the quote before it was to open a cell,
        // and the rows between were swallowed.
        let (first, mut torn) = (self.place.lines, false);
        loop {
            let part = self.reader.fill_buf()?;
            if part.is_empty() {
                // A file that does not end with the end of a line has one line more.
                self.place.lines += u64::from(!bytes.is_empty() && bytes.last() != Some(&b'\n'));
                let swallowed = torn && self.place.lines > first + 1;
                return Ok((bytes, quotes != Quotes::Inside && !swallowed));
            }
            let end = part.iter().position(|&byte| match self.delimiter {
                Some(delimiter) => {
                    let closing = quotes == Quotes::Closing;
                    let ends = quotes.ends(byte, delimiter);
                    torn |= closing && quotes == Quotes::Plain && !matches!(byte, b'\r' | b'\n');
                    ends
                }
                None => byte == b'\n',
            });
            let length = end.map_or(part.len(), |end| end + 1);
            self.place.lines += part[..length].iter().filter(|&&byte| byte == b'\n').count() as u64;
            self.place.offset += length as u64;
            bytes.extend_from_slice(&part[..length]);
            self.reader.consume(length);
            let over = bytes.len() > ROW_BYTES_MAX;
            if end.is_some() {
                let swallowed = torn && self.place.lines > first + 1;
                return Ok((bytes, !over && !swallowed));
            }
            if over {
                return Ok((bytes, false));
            }
        }
    }

    fn skip_line(&mut self) -> io::Result<()> {
        loop {
            let part = self.reader.fill_buf()?;
            if part.is_empty() {
                return Ok(());
            }
            let end = part.iter().position(|&byte| byte == b'\n');
            let length = end.map_or(part.len(), |end| end + 1);
            self.place.offset += length as u64;
            self.reader.consume(length);
            if end.is_some() {
                self.place.lines += 1;
                return Ok(());
            }
        }
    }

    /// The cells of a row.
    pub(super) fn cells(&self, row: &[u8]) -> Result<Vec<Vec<u8>>, Refused> {
        let delimiter = self.delimiter.unwrap_or(b',');
        let mut builder = csv::ReaderBuilder::new();
        builder.has_headers(false).flexible(true).delimiter(delimiter).buffer_capacity(row.len() + 1);
        let mut records = builder.from_reader(row).into_byte_records();
        match (records.next(), records.next()) {
            (Some(Ok(record)), None) => Ok(record.iter().map(<[u8]>::to_vec).collect()),
            _ => Err(Refused::row("cannot be read as one row of CSV: lines have to end with LF or CRLF")),
        }
    }
}

/// Where in a row of CSV a byte stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Quotes {
    /// At the beginning of a cell, where a quote opens.
    #[default]
    Before,
    /// In a cell without quotes, where a quote is one.
    Plain,
    /// Inside quotes, where the end of a line is none.
    Inside,
    /// After a quote inside quotes: the second of a pair, or the end.
    Closing,
}

impl Quotes {
    /// Takes the next byte; whether the row ends with it.
    fn ends(&mut self, byte: u8, delimiter: u8) -> bool {
        let inside = *self == Self::Inside;
        *self = match (*self, byte) {
            (Self::Before | Self::Closing, b'"') => Self::Inside,
            (Self::Inside, b'"') => Self::Closing,
            (Self::Inside, _) => Self::Inside,
            (_, byte) if byte == delimiter => Self::Before,
            _ => Self::Plain,
        };
        byte == b'\n' && !inside
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(bytes: &[u8]) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), bytes).expect("writes");
        file
    }

    /// Line and cells of each row; what is refused has none.
    fn all(rows: &mut Rows) -> Vec<(u64, Vec<String>)> {
        let mut all = Vec::new();
        while let Some(row) = rows.next().expect("reads") {
            let cells = row.bytes.and_then(|bytes| rows.cells(&bytes)).unwrap_or_default();
            all.push((row.line, cells.into_iter().map(|cell| String::from_utf8(cell).expect("text")).collect()));
        }
        all
    }

    fn row(line: u64, cells: &[&str]) -> (u64, Vec<String>) {
        (line, cells.iter().map(|&cell| cell.to_owned()).collect())
    }

    #[test]
    fn rows_have_the_line_they_begin_on_whatever_ends_a_line() {
        for end in ["\n", "\r\n"] {
            let text = ["\u{feff}a,b", "", "1,\"x", "y\"", "2,\"say \"\"hi\"\"\"", "3,5\" wide", "4,last"].join(end);
            let file = file(text.as_bytes());
            let mut rows = Rows::open(file.path(), Some(b',')).expect("opens");
            assert_eq!(rows.columns().expect("names"), ["a", "b"]);
            let broken = format!("x{end}y");
            let expected = [
                row(3, &["1", &broken]),
                row(5, &["2", "say \"hi\""]),
                row(6, &["3", "5\" wide"]),
                row(7, &["4", "last"]),
            ];
            assert_eq!(all(&mut rows), expected);
            assert_eq!(rows.place, Place { offset: text.len() as u64, lines: 7, rows: 4 });
        }
    }

    #[test]
    fn a_quote_that_never_closes_costs_its_own_line() {
        let file = file(b"a,b\n1,\"x\n2,y\n3,z\n");
        let mut rows = Rows::open(file.path(), Some(b',')).expect("opens");
        rows.columns().expect("names");
        assert_eq!(all(&mut rows), [row(2, &[]), row(3, &["2", "y"]), row(4, &["3", "z"])]);
    }

    #[test]
    fn a_quote_too_many_does_not_swallow_the_rows_up_to_the_next_one() {
        for end in ["", "\n", "\n5,w\n"] {
            let file = file(format!("a,b\n1,\"x\n2,y\n3,\"z\"\n4,\"in\nside\"{end}").as_bytes());
            let mut rows = Rows::open(file.path(), Some(b',')).expect("opens");
            rows.columns().expect("names");
            let read = all(&mut rows);
            let expected = [row(2, &[]), row(3, &["2", "y"]), row(4, &["3", "z"]), row(5, &["4", "in\nside"])];
            assert_eq!(read[..4], expected);
        }
        let file = file(b"a,b\n1,\"x\n2,y\n3,\"z\"");
        let mut rows = Rows::open(file.path(), Some(b',')).expect("opens");
        rows.columns().expect("names");
        assert_eq!(all(&mut rows), [row(2, &[]), row(3, &["2", "y"]), row(4, &["3", "z"])]);
    }

    #[test]
    fn a_line_that_is_too_long_is_skipped_and_the_next_is_read() {
        let long = [vec![b'x'; ROW_BYTES_MAX + 1], b"\n{}\n".to_vec()].concat();
        let file = file(&long);
        let mut rows = Rows::open(file.path(), None).expect("opens");
        let first = rows.next().expect("reads").expect("a row");
        assert!(first.bytes.is_err() && first.line == 1);
        let second = rows.next().expect("reads").expect("a row");
        assert_eq!((second.line, second.bytes.ok()), (2, Some(b"{}".to_vec())));
        assert!(rows.next().expect("reads").is_none());
    }

    #[test]
    fn reading_goes_on_where_it_had_come_to_and_nowhere_else() {
        let file = file(b"a,b\r\n1,x\r\n2,y\r\n3,z");
        let mut rows = Rows::open(file.path(), Some(b',')).expect("opens");
        rows.columns().expect("names");
        rows.next().expect("reads");
        let place = rows.place;
        let mut again = Rows::open(file.path(), Some(b',')).expect("opens");
        again.go_to(place).expect("a row ends there");
        assert_eq!(all(&mut again), [row(3, &["2", "y"]), row(4, &["3", "z"])]);
        let end = again.place;
        again.go_to(end).expect("so it does at the end");
        assert_eq!(all(&mut again), []);
        assert!(again.go_to(Place { offset: place.offset + 1, ..place }).is_err());
        assert!(again.go_to(Place { offset: 1000, ..place }).is_err());
    }

    #[test]
    fn the_delimiter_is_what_the_first_line_has_most_of() {
        for (line, delimiter) in [
            ("a,b,c", b','),
            ("a;b;c", b';'),
            ("a\tb\tc", b'\t'),
            ("a|b", b'|'),
            ("\"a,b,c,d\";b;c\n,,,,,,", b';'),
            ("event", b','),
        ] {
            assert_eq!(Beginning(line.into()).delimiter(), delimiter, "{line}");
        }
    }

    #[test]
    fn the_format_is_that_of_the_name_or_else_of_the_content() {
        let format = |name: &str, text: &str| Beginning(text.into()).format(Path::new(name)).map_err(|e| e.to_string());
        assert_eq!(format("x.csv", "a,b"), Ok(Format::Csv));
        assert_eq!(format("x.NDJSON", "{}"), Ok(Format::Jsonl));
        assert_eq!(format("x.txt", "\u{feff} {\"a\":1}"), Ok(Format::Jsonl));
        assert_eq!(format("x", "a;b"), Ok(Format::Csv));
        assert!(format("x.json", "[{}]").is_err_and(|why| why.contains("jq")));
        let utf16 = Beginning(b"\xff\xfea\0".to_vec()).format(Path::new("x.csv"));
        assert!(utf16.is_err_and(|why| why.to_string().contains("UTF-8")));
    }
}
