//! Daily import files that never lose or repeat a row.
//!
//! Rows are appended to `{directory}/{destination}-{YYYY-MM-DD}.{csv|jsonl}` and synced; then the store records the
//! [`FileMark`] (file and length) together with the outcomes of the rows' deliveries. So whatever is behind the mark
//! belongs to deliveries that are still queued and will be written again:
//!
//! | the process dies … | then |
//! |---|---|
//! | while appending | the rest of a row is behind the mark: cut off at start |
//! | after appending, before the mark is recorded | the rows are behind the mark: cut off at start, written again |
//! | after the mark is recorded | the rows are settled, and stay |
//! | before the first mark is recorded | the rows are written again; the file is moved aside at start, see below |
//!
//! Without any mark a start cannot tell rows that were never settled from those of a store that was lost or moved. So
//! it deletes nothing: files become `{name}.orphaned` (or `.orphaned-2`, …), which nothing here touches or serves.
//!
//! Days only go forward, also when the clock does not, so the marked file is the newest and everything in files of a
//! later day is behind the mark. A file that cannot be continued (its header is that of a format configured earlier, or
//! somebody shortened or removed it) is left as it is, and the next one begins, dated a day later. Everything here
//! blocks; callers use `spawn_blocking`.

#[cfg(test)]
mod tests;

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
};

use jiff::civil::Date;
use sha2::{Digest as _, Sha256};

use crate::{
    destinations::Rows,
    model::{DestinationName, FileMark, Time},
};

/// Every extension that a destination's files may have.
const EXTENSIONS: [&str; 2] = ["csv", "jsonl"];

/// Appends rows to the files of one destination. At most one may exist for each.
///
/// One [`append`](Self::append) is settled in the store before the next begins; one that the store could not settle is
/// taken back with [`roll_back`](Self::roll_back). Otherwise the rows of deliveries that stay queued would be kept, and
/// written twice.
#[derive(Debug)]
pub struct FileSink {
    directory: PathBuf,
    name: DestinationName,
    extension: &'static str,
    mark: Option<FileMark>,
}

impl FileSink {
    /// Opens the files of destination `name` after a start, creates the directory, and cuts off what is behind `mark`,
    /// the last one that the store recorded; with none, files that are there are moved aside.
    ///
    /// A marked file that is missing or shorter than its mark was changed by somebody else: that is logged, what is
    /// there is kept, and rows go to the next file.
    ///
    /// # Errors
    /// Of the file system; also when `mark` names no file of this destination.
    pub fn recover(
        directory: impl Into<PathBuf>,
        name: DestinationName,
        extension: &'static str,
        mark: Option<&FileMark>,
    ) -> io::Result<Self> {
        let directory = directory.into();
        if !directory.is_dir() {
            fs::create_dir_all(&directory)?;
            let parent = directory.parent().filter(|parent| !parent.as_os_str().is_empty());
            sync_directory(parent.unwrap_or(Path::new(".")))?;
        }
        let mut sink = Self { directory, name, extension, mark: None };
        if mark.is_none() {
            sink.set_aside()?;
        }
        sink.roll_back(mark)?;
        Ok(sink)
    }

    /// Cuts off what is behind `mark`: for rows that were appended and then could not be settled. With none, that is
    /// every file, as those that were there before the start are not called so any more.
    ///
    /// # Errors
    /// As [`recover`](Self::recover).
    pub fn roll_back(&mut self, mark: Option<&FileMark>) -> io::Result<()> {
        let settled = mark.map(|mark| self.day_of(mark)).transpose()?.map(|(day, _)| day);
        for daily in daily_files(&self.directory, &self.name)? {
            if settled.is_none_or(|settled| daily.day > settled) {
                tracing::warn!(file = daily.name, "removing an import file whose rows were never settled");
                fs::remove_file(self.directory.join(&daily.name))?;
            }
        }
        if let Some(mark) = mark {
            cut_back(&self.directory.join(&mark.file), mark.length)?;
        }
        self.mark = mark.cloned();
        sync_directory(&self.directory)
    }

    fn set_aside(&self) -> io::Result<()> {
        for daily in daily_files(&self.directory, &self.name)? {
            let mut aside = format!("{}.orphaned", daily.name);
            let mut number = 2;
            while unless_missing(fs::symlink_metadata(self.directory.join(&aside)))?.is_some() {
                aside = format!("{}.orphaned-{number}", daily.name);
                number += 1;
            }
            tracing::warn!(
                file = daily.name,
                moved_to = aside,
                "moving aside an import file the store knows nothing of"
            );
            fs::rename(self.directory.join(&daily.name), self.directory.join(&aside))?;
        }
        Ok(())
    }

    /// How far the files are written; what the store has recorded may be behind it.
    #[must_use]
    pub const fn mark(&self) -> Option<&FileMark> {
        self.mark.as_ref()
    }

    /// Appends `rows` to the file of the day of `now`, after the header if it is new. When this returns, they are on
    /// disk; until the store has recorded the mark, a crash takes them back.
    ///
    /// # Errors
    /// Of the file system. What was written by then is cut off by the next append, so the same rows can be tried again.
    pub fn append(&mut self, rows: &Rows, now: Time) -> io::Result<FileMark> {
        let (day, known) = self.place(&rows.header, now)?;
        let file_name = format!("{}-{day}.{}", self.name, self.extension);
        let path = self.directory.join(&file_name);
        cut_back(&path, known)?;
        let header = if known == 0 { rows.header.as_str() } else { "" };
        let bytes = [header, &rows.rows].concat();

        let mut file = OpenOptions::new().write(true).create(true).truncate(false).open(&path)?;
        file.seek(SeekFrom::Start(known))?;
        file.write_all(bytes.as_bytes())?;
        file.sync_data()?;
        if known == 0 {
            sync_directory(&self.directory)?;
        }
        let mark = FileMark { file: file_name, length: known + bytes.len() as u64 };
        self.mark = Some(mark.clone());
        Ok(mark)
    }

    /// The day of the file that takes the next rows, and the length it is known to have.
    fn place(&self, header: &str, now: Time) -> io::Result<(Date, u64)> {
        let today: Date = now.day().parse().map_err(io::Error::other)?;
        let Some(mark) = &self.mark else { return Ok((today, 0)) };
        let (newest, extension) = self.day_of(mark)?;
        if today > newest {
            return Ok((today, 0));
        }
        let newest_path = self.directory.join(&mark.file);
        if extension == self.extension && can_be_continued(&newest_path, mark.length, header)? {
            return Ok((newest, mark.length));
        }
        tracing::warn!(file = mark.file, "the newest import file cannot be continued; the next one begins");
        Ok((newest.tomorrow().map_err(io::Error::other)?, 0))
    }

    fn day_of<'m>(&self, mark: &'m FileMark) -> io::Result<(Date, &'m str)> {
        parse_name(&self.name, &mark.file).ok_or_else(|| {
            let message = format!("the mark names {:?}, which is no import file of {}", mark.file, self.name);
            io::Error::new(io::ErrorKind::InvalidData, message)
        })
    }
}

/// What `GET /files/{name}.csv` answers.
pub struct Served {
    /// The header, once, and the settled rows of the served days in order.
    pub body: Vec<u8>,
    /// A strong entity tag, quotes included: it changes when the body does, and only then.
    pub etag: String,
}

/// The settled rows of the last `days` daily files of destination `name`, oldest first, behind one `header`. Nothing
/// behind `settled` is served, as a crash might take it back. Files that begin with another header (of a format
/// configured earlier) are left out.
///
/// # Errors
/// Of the file system; a missing directory has no rows.
pub fn serve(
    directory: &Path,
    name: &DestinationName,
    extension: &str,
    header: &str,
    days: u32,
    settled: Option<&FileMark>,
) -> io::Result<Served> {
    let mut body = header.as_bytes().to_vec();
    if let Some((mark, (newest, _))) = settled.and_then(|mark| Some((mark, parse_name(name, &mark.file)?))) {
        let mut files = daily_files(directory, name)?;
        files.retain(|daily| daily.extension == extension && daily.day <= newest);
        let surplus = files.len().saturating_sub(usize::try_from(days).unwrap_or(usize::MAX));
        for daily in files.into_iter().skip(surplus) {
            let limit = if daily.name == mark.file { mark.length } else { u64::MAX };
            let Some(bytes) = unless_missing(read_up_to(&directory.join(&daily.name), limit))? else { continue };
            if let Some(rows) = bytes.strip_prefix(header.as_bytes()) {
                body.extend_from_slice(rows);
                if !rows.is_empty() && !rows.ends_with(b"\n") {
                    body.push(b'\n');
                }
            }
        }
    }
    let digest = Sha256::digest(&body);
    let hex: String = digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    Ok(Served { body, etag: format!("\"{hex}\"") })
}

struct Daily {
    name: String,
    day: Date,
    extension: String,
}

/// The files of destination `name`, oldest first.
fn daily_files(directory: &Path, name: &DestinationName) -> io::Result<Vec<Daily>> {
    let Some(entries) = unless_missing(fs::read_dir(directory))? else { return Ok(Vec::new()) };
    let mut files = Vec::new();
    for entry in entries {
        let entry = entry?;
        let Ok(file) = entry.file_name().into_string() else { continue };
        if let Some((day, extension)) = parse_name(name, &file)
            && entry.file_type()?.is_file()
        {
            files.push(Daily { day, extension: extension.to_owned(), name: file });
        }
    }
    files.sort_by_key(|daily| daily.day);
    Ok(files)
}

/// Day and extension of `file`, if it is exactly what a file of destination `name` is called. The files of `shop` and
/// `shop-eu` are told apart, as what is between name and extension must be a date and nothing else.
fn parse_name<'f>(name: &DestinationName, file: &'f str) -> Option<(Date, &'f str)> {
    let rest = file.strip_prefix(name.as_str())?.strip_prefix('-')?;
    let (day, extension) = rest.split_once('.')?;
    let date: Date = day.parse().ok()?;
    (date.to_string() == day && EXTENSIONS.contains(&extension)).then_some((date, extension))
}

/// Cuts off what the file at `path` has behind `length`.
fn cut_back(path: &Path, length: u64) -> io::Result<()> {
    let file = unless_missing(OpenOptions::new().write(true).open(path))?;
    let on_disk = file.as_ref().map_or(Ok(0), |file| file.metadata().map(|metadata| metadata.len()))?;
    if on_disk < length {
        tracing::warn!(file = %path.display(), on_disk, settled = length, "an import file was shortened or removed");
    }
    match file {
        Some(file) if on_disk > length => {
            tracing::info!(file = %path.display(), bytes = on_disk - length, "cutting off unsettled rows");
            file.set_len(length)?;
            file.sync_all()
        }
        _ => Ok(()),
    }
}

/// Whether the file at `path` still has `length` bytes that begin with `header`.
fn can_be_continued(path: &Path, length: u64, header: &str) -> io::Result<bool> {
    let Some(metadata) = unless_missing(fs::metadata(path))? else { return Ok(false) };
    Ok(metadata.len() >= length && read_up_to(path, header.len() as u64)? == header.as_bytes())
}

fn read_up_to(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Makes the names in `directory` durable: a new file that is synced is lost with its unsynced name.
fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

fn unless_missing<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
