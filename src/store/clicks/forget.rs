//! Removes who it was from the rows of a day: the file is written anew beside it and takes its place. A crash leaves the one
//! or the other, whole; what it leaves beside is removed at the next start.

use std::{
    fs::{self, File},
    io::{self, BufRead as _, BufReader, BufWriter, Read as _, Seek as _, SeekFrom, Write as _},
    ops::ControlFlow,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use super::{
    file::{FileClicks, sync_directory, unavailable},
    forget_who,
    lines::{self, CHUNK_BYTES, Names},
};
use crate::{model::Click, store::StoreError};

/// What is read and written at once.
const BUFFER_BYTES: usize = 256 << 10;

/// Forgets in the file of one day; returns in how many rows. Appending goes on meanwhile, but for a moment at the end.
pub(super) fn in_day(store: &FileClicks, day: &str, names: &Names) -> Result<u64, StoreError> {
    let Some((file, length)) = store.snapshot(day)? else { return Ok(0) };
    let failed = |error: io::Error| unavailable(&error);
    if !names_any(&file, length, names).map_err(failed)? {
        return Ok(0);
    }
    let path = store.path(day);
    let mut anew = Anew::begin(&path).map_err(failed)?;
    let written = anew.copy(&file, length, names).and_then(|()| {
        let mut writer = store.writer();
        // What was appended meanwhile; from here on nothing is.
        let now = file.metadata()?.len();
        anew.copy(&file, now, names)?;
        writer.close(day);
        fs::rename(unfinished(&path), &path)?;
        // Before anything is appended to it, or that would go with it when the power goes.
        sync_directory(&store.directory)
    });
    match written {
        Ok(()) => Ok(anew.rows),
        Err(error) => {
            // Whether it is there or not: it is none of the files that are read, and removed at the next start.
            let _removed = fs::remove_file(unfinished(&path));
            Err(failed(error))
        }
    }
}

/// Removes what a crash left.
pub(super) fn remove_unfinished(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "new") {
            fs::remove_file(path)?;
        }
    }
    sync_directory(directory)
}

fn names_any(file: &File, length: u64, names: &Names) -> io::Result<bool> {
    let found = lines::backwards(file, length, &mut |line| match names.are_in(line) {
        true => ControlFlow::Break(()),
        false => ControlFlow::Continue(()),
    });
    Ok(found?.is_break())
}

fn unfinished(path: &Path) -> PathBuf {
    path.with_extension("jsonl.new")
}

/// A file that is written anew.
struct Anew {
    file: BufWriter<File>,
    /// How much of the old one is in it.
    copied: u64,
    /// Rows that were changed.
    rows: u64,
}

impl Anew {
    fn begin(path: &Path) -> io::Result<Self> {
        let file = File::options().write(true).create(true).truncate(true).mode(0o600).open(unfinished(path))?;
        Ok(Self { file: BufWriter::with_capacity(BUFFER_BYTES, file), copied: 0, rows: 0 })
    }

    /// Copies lines up to `end`, and syncs. What cannot be read is left out, as nobody knows whom it tells of.
    fn copy(&mut self, old: &File, end: u64, names: &Names) -> io::Result<()> {
        let mut old = old;
        old.seek(SeekFrom::Start(self.copied))?;
        let mut lines = BufReader::with_capacity(BUFFER_BYTES, old.take(end.saturating_sub(self.copied)));
        let mut line = Vec::new();
        while lines.by_ref().take(CHUNK_BYTES).read_until(b'\n', &mut line)? > 0 {
            self.copy_line(line.trim_ascii_end(), names)?;
            line.clear();
        }
        self.copied = end;
        self.file.flush()?;
        self.file.get_ref().sync_all()
    }

    fn copy_line(&mut self, line: &[u8], names: &Names) -> io::Result<()> {
        let mut changed = Vec::new();
        let kept = if !names.are_in(line) {
            let whole = line.starts_with(b"{") && line.ends_with(b"}");
            if whole { line } else { return Ok(()) }
        } else {
            let Ok(mut row) = serde_json::from_slice::<Click>(line) else { return Ok(()) };
            forget_who(&mut row);
            self.rows += 1;
            lines::push(&mut changed, &row);
            changed.trim_ascii_end()
        };
        self.file.write_all(kept)?;
        self.file.write_all(b"\n")
    }
}
