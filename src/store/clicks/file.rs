//! Rows of clicks on disk: a file for each day (UTC), rows and amendments as lines of JSON in the order they came.
//!
//! A line that a crash tore is passed over; what is appended next begins on a line of its own.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io::{self, ErrorKind, Write as _},
    ops::ControlFlow,
    os::unix::fs::{DirBuilderExt as _, FileExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::{
    Amendment, ClickStore, forget,
    lines::{self, Names, Reading},
};
use crate::{
    model::{Click, Time, VisitorId},
    store::{Health, StoreError},
};

/// Days whose files are open at once.
const OPEN_MAX: usize = 8;
/// What is written, and taken back, to see whether writing works again.
const PROBE_BYTES: usize = 64 << 10;
/// A row is made a moment after its id: near midnight it may be in the file of the next day.
const ID_TO_ROW: Duration = Duration::from_secs(60);

/// Rows of clicks in a directory.
pub struct FileClicks {
    pub(super) directory: PathBuf,
    writer: Mutex<Writer>,
    health: Mutex<Health>,
    /// Held by what replaces or deletes files: one at a time.
    pub(super) keeper: Mutex<()>,
    /// Days that were said to have lines that cannot be read.
    reported: Mutex<BTreeSet<String>>,
}

/// Who appends to the files.
#[derive(Default)]
pub(super) struct Writer {
    open: BTreeMap<String, Day>,
    /// Where writing failed last.
    failed: Option<String>,
}

/// A file that is appended to.
struct Day {
    file: Arc<File>,
    length: u64,
    /// It may end in the middle of a line.
    torn: bool,
    /// Not all of it is synced.
    unsynced: bool,
}

impl FileClicks {
    /// Opens the directory, or makes it so that nobody else reads it.
    ///
    /// # Errors
    /// What the file system says, with the path.
    pub fn open(directory: &Path) -> Result<Self, StoreError> {
        let failed = |error: io::Error| {
            StoreError::Unavailable(format!("cannot open the directory of clicks {}: {error}", directory.display()))
        };
        let parent = directory.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        fs::create_dir_all(parent).map_err(failed)?;
        match fs::DirBuilder::new().mode(0o700).create(directory) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(failed(error)),
            _ => sync_directory(parent).map_err(failed)?,
        }
        forget::remove_unfinished(directory).map_err(failed)?;
        Ok(Self {
            directory: directory.to_owned(),
            writer: Mutex::default(),
            health: Mutex::new(Health::Ok),
            keeper: Mutex::default(),
            reported: Mutex::default(),
        })
    }

    pub(super) fn path(&self, day: &str) -> PathBuf {
        self.directory.join(format!("{day}.jsonl"))
    }

    /// Nobody appends while this is held.
    pub(super) fn writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The days that there are files of, oldest first.
    pub(super) fn days(&self) -> Result<Vec<String>, StoreError> {
        let mut days = Vec::new();
        for entry in fs::read_dir(&self.directory).map_err(|error| unavailable(&error))? {
            let name = entry.map_err(|error| unavailable(&error))?.file_name();
            days.extend(name.to_str().and_then(day_of).map(str::to_owned));
        }
        days.sort_unstable();
        Ok(days)
    }

    /// The file of a day, and how much of it is there at this moment; `None` if there is none (any more).
    pub(super) fn snapshot(&self, day: &str) -> Result<Option<(File, u64)>, StoreError> {
        // Not in the middle of a line that is being appended.
        let _nobody_appends = self.writer();
        let opened = File::open(self.path(day)).and_then(|file| Ok((file.metadata()?.len(), file)));
        match opened {
            Ok((length, file)) => Ok(Some((file, length))),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(unavailable(&error)),
        }
    }

    /// Appends lines to the files of their days: all of them or none.
    fn write(&self, lines: BTreeMap<String, Vec<u8>>, create: bool) -> Result<(), StoreError> {
        let written = self.writer().append(self, lines, create);
        match &written {
            Ok(0) => {}
            Ok(_) => self.note(None),
            Err(error) => self.note(Some(error)),
        }
        written.map(|_| ()).map_err(|error| unavailable(&error))
    }

    /// Says when writing begins to fail, and when that is over.
    fn note(&self, failed: Option<&io::Error>) {
        let mut health = self.health.lock().unwrap_or_else(PoisonError::into_inner);
        match failed {
            None if *health != Health::Ok => {
                tracing::info!("rows of clicks are written again");
                *health = Health::Ok;
            }
            Some(error) if *health == Health::Ok => {
                tracing::error!(%error, "rows of clicks cannot be written; redirects, events and visits go on");
                *health = Health::Failed(error.to_string());
            }
            _ => {}
        }
    }

    fn report_unreadable(&self, day: &str, lines: u64) {
        let mut reported = self.reported.lock().unwrap_or_else(PoisonError::into_inner);
        if lines > 0 && reported.insert(day.to_owned()) {
            tracing::warn!(day, lines, "lines of a file of clicks cannot be read and are passed over");
        }
    }
}

impl ClickStore for FileClicks {
    fn append(&self, rows: &[Click]) -> Result<(), StoreError> {
        let mut lines: BTreeMap<String, Vec<u8>> = BTreeMap::new();
        for row in rows {
            lines::push(lines.entry(row.at.day()).or_default(), row);
        }
        self.write(lines, true)
    }

    fn amend(&self, amendments: &[Amendment]) -> Result<(), StoreError> {
        let mut lines: BTreeMap<String, Vec<u8>> = BTreeMap::new();
        for amendment in amendments {
            lines::push(lines.entry(amendment.clicked_at.day()).or_default(), amendment);
        }
        self.write(lines, false)
    }

    fn sync(&self) -> Result<(), StoreError> {
        let unsynced = self.writer().take_unsynced();
        // Nobody has to wait for it who appends.
        let synced = unsynced
            .iter()
            .try_for_each(|(day, file)| file.sync_data().inspect_err(|_| self.writer().still_unsynced(day)));
        if let Err(error) = &synced {
            self.note(Some(error));
        }
        synced.map_err(|error| unavailable(&error))
    }

    fn scan(&self, from: Time, to: Time, each: &mut dyn FnMut(&Click) -> ControlFlow<()>) -> Result<(), StoreError> {
        let (first, last) = (from.day(), to.day());
        for day in self.days()?.into_iter().rev().filter(|day| (&first..=&last).contains(&day)) {
            let Some((file, length)) = self.snapshot(&day)? else { continue };
            let mut reading = Reading::new(from, to);
            let mut see = |line: &[u8]| reading.row(line).map_or(ControlFlow::Continue(()), |row| each(&row));
            let stopped = lines::backwards(&file, length, &mut see).map_err(|error| unavailable(&error))?;
            self.report_unreadable(&day, reading.unreadable);
            if stopped.is_break() {
                return Ok(());
            }
        }
        Ok(())
    }

    fn find(&self, id: &str) -> Result<Option<Click>, StoreError> {
        let Ok(ulid) = ulid::Ulid::from_string(id) else { return Ok(None) };
        let minted = Time::from_ms(i64::try_from(ulid.timestamp_ms()).unwrap_or(i64::MAX));
        let days: BTreeSet<String> =
            [minted, minted.plus(ID_TO_ROW), minted.minus(ID_TO_ROW)].map(Time::day).into_iter().collect();
        for day in &days {
            let Some((file, length)) = self.snapshot(day)? else { continue };
            let (mut reading, mut found) = (Reading::new(Time::from_ms(i64::MIN), Time::from_ms(i64::MAX)), None);
            let mut see = |line: &[u8]| {
                found = if lines::is_about(line, id) { reading.row(line) } else { None };
                if found.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            };
            let _stopped = lines::backwards(&file, length, &mut see).map_err(|error| unavailable(&error))?;
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    fn forget(&self, visitors: &[VisitorId]) -> Result<u64, StoreError> {
        if visitors.is_empty() {
            return Ok(0);
        }
        let _alone = self.keeper.lock().unwrap_or_else(PoisonError::into_inner);
        let names = Names::of(visitors);
        self.days()?.iter().map(|day| forget::in_day(self, day, &names)).sum()
    }

    fn retain(&self, before: Time) -> Result<(), StoreError> {
        let _alone = self.keeper.lock().unwrap_or_else(PoisonError::into_inner);
        let first = before.day();
        let old: Vec<String> = self.days()?.into_iter().filter(|day| *day < first).collect();
        for day in &old {
            let mut writer = self.writer();
            writer.close(day);
            match fs::remove_file(self.path(day)) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(unavailable(&error)),
                _ => {}
            }
        }
        if old.is_empty() { Ok(()) } else { sync_directory(&self.directory).map_err(|error| unavailable(&error)) }
    }

    fn health(&self) -> Health {
        self.health.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn recover(&self) -> Result<(), StoreError> {
        let tried = self.writer().probe(self);
        let tried = tried.and_then(|()| self.sync().map_err(io::Error::other));
        self.note(tried.as_ref().err());
        tried.map_err(|error| unavailable(&error))
    }
}

impl Writer {
    /// Appends to all days or to none; returns to how many.
    fn append(&mut self, store: &FileClicks, lines: BTreeMap<String, Vec<u8>>, create: bool) -> io::Result<usize> {
        let mut before = Vec::new();
        for (day, lines) in lines {
            let appended = match self.day(store, &day, create) {
                Ok(None) => continue,
                Ok(Some(open)) => {
                    before.push((day.clone(), open.length));
                    open.append(&lines)
                }
                Err(error) => Err(error),
            };
            if let Err(error) = appended {
                self.take_back(store, before);
                self.failed = Some(day);
                return Err(error);
            }
        }
        if !before.is_empty() {
            self.failed = None;
        }
        Ok(before.len())
    }

    /// Cuts files back to what they were.
    fn take_back(&mut self, store: &FileClicks, lengths: Vec<(String, u64)>) {
        for (day, length) in lengths {
            match self.open.get_mut(&day) {
                Some(open) => open.cut(length),
                // Closed again, as there were many days at once.
                None => {
                    let file = File::options().write(true).open(store.path(&day));
                    if let Err(error) = file.and_then(|file| file.set_len(length)) {
                        tracing::warn!(day, %error, "a change of clicks that failed is in part there");
                    }
                }
            }
        }
    }

    /// The file of a day, opened; `None` if there is none and it is not to be made.
    fn day(&mut self, store: &FileClicks, day: &str, create: bool) -> io::Result<Option<&mut Day>> {
        // Somebody deleted it by hand: what is appended to it would be gone with it.
        let gone = |open: &Day| open.file.metadata().is_ok_and(|metadata| metadata.nlink() == 0);
        if self.open.get(day).is_none_or(gone) {
            self.close(day);
            let path = store.path(day);
            let new = !path.try_exists()?;
            if new && !create {
                return Ok(None);
            }
            if self.open.len() >= OPEN_MAX {
                self.close_oldest()?;
            }
            let opened = Day::open(&path)?;
            if new {
                sync_directory(&store.directory)?;
            }
            self.open.insert(day.to_owned(), opened);
        }
        Ok(self.open.get_mut(day))
    }

    fn close_oldest(&mut self) -> io::Result<()> {
        if let Some(oldest) = self.open.first_entry() {
            oldest.get().file.sync_data()?;
            oldest.remove();
        }
        Ok(())
    }

    /// Lets go of the file of a day, because another one takes its place or none.
    pub(super) fn close(&mut self, day: &str) {
        self.open.remove(day);
    }

    fn take_unsynced(&mut self) -> Vec<(String, Arc<File>)> {
        let mut unsynced = Vec::new();
        for (name, day) in self.open.iter_mut().filter(|(_, day)| day.unsynced) {
            day.unsynced = false;
            unsynced.push((name.clone(), Arc::clone(&day.file)));
        }
        unsynced
    }

    fn still_unsynced(&mut self, day: &str) {
        if let Some(open) = self.open.get_mut(day) {
            open.unsynced = true;
        }
    }

    /// Writes where writing failed, and takes that back.
    fn probe(&mut self, store: &FileClicks) -> io::Result<()> {
        let Some(day) = self.failed.clone() else { return Ok(()) };
        if let Some(open) = self.day(store, &day, true)? {
            let length = open.length;
            let written = open.append(&[b'\n'; PROBE_BYTES]);
            open.cut(length);
            written?;
        }
        self.failed = None;
        Ok(())
    }
}

impl Day {
    fn open(path: &Path) -> io::Result<Self> {
        let file = File::options().read(true).append(true).create(true).mode(0o600).open(path)?;
        let length = file.metadata()?.len();
        let mut last = [b'\n'];
        if length > 0 {
            file.read_exact_at(&mut last, length - 1)?;
        }
        Ok(Self { file: Arc::new(file), length, torn: last != *b"\n", unsynced: false })
    }

    fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        self.unsynced = true;
        if self.torn {
            (&*self.file).write_all(b"\n")?;
            (self.length, self.torn) = (self.length + 1, false);
        }
        (&*self.file).write_all(lines)?;
        self.length += lines.len() as u64;
        Ok(())
    }

    /// Cuts the file back to a length that it had. What is appended next begins on a new line, also if that fails.
    fn cut(&mut self, length: u64) {
        self.torn = true;
        self.length = match self.file.set_len(length) {
            Ok(()) => length,
            Err(_) => self.file.metadata().map_or(self.length, |metadata| metadata.len()),
        };
    }
}

/// The day that a file of this name is of.
fn day_of(name: &str) -> Option<&str> {
    let day = name.strip_suffix(".jsonl")?;
    let is_day = day.len() == 10 && day.bytes().all(|b| b.is_ascii_digit() || b == b'-');
    is_day.then_some(day)
}

pub(super) fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

pub(super) fn unavailable(error: &io::Error) -> StoreError {
    StoreError::Unavailable(format!("rows of clicks: {error}"))
}

#[cfg(test)]
mod tests;
