//! How far an import has come, in a file next to the one that is imported.

use std::{
    fs::File,
    io::{ErrorKind, Write as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::rows::{Beginning, Place};

/// The version of the format.
const VERSION: u32 = 1;

/// What became of the rows so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Counts {
    /// They were new.
    pub(super) accepted: u64,
    /// The relay knew them.
    pub(super) duplicate: u64,
    /// They are in the report.
    pub(super) refused: u64,
}

/// How far an import has come. Holds nothing of the file but hashes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct State {
    version: u32,
    /// Bytes of the file's beginning by which it is known again.
    beginning_bytes: u64,
    /// Their SHA-256.
    beginning: String,
    /// That of the settings that decide what its rows become, and where they go.
    settings: String,
    /// Where the rows end that are done with.
    pub(super) place: Place,
    /// What became of them.
    pub(super) counts: Counts,
    /// The length of the report on them.
    pub(super) report_bytes: u64,
    /// The end of the file was reached.
    pub(super) complete: bool,
}

impl State {
    /// An import that begins.
    pub(super) fn new(beginning: &Beginning, settings: &[&str]) -> Self {
        Self {
            version: VERSION,
            beginning_bytes: beginning.0.len() as u64,
            beginning: hex(&beginning.0),
            settings: hex(&serde_json::to_vec(settings).unwrap_or_default()),
            place: Place::default(),
            counts: Counts::default(),
            report_bytes: 0,
            complete: false,
        }
    }

    /// The same, at this place.
    pub(super) fn at(self, place: Place) -> Self {
        Self { place, ..self }
    }

    /// The state that was kept in `file`, if there is one, for the import of `source` that would begin as `new`.
    ///
    /// # Errors
    /// If it is of another file or of other settings.
    pub(super) fn kept(file: &Path, source: &Path, new: &Self) -> anyhow::Result<Option<Self>> {
        let bytes = match std::fs::read(file) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            read => read.with_context(|| format!("cannot read {}", file.display()))?,
        };
        let anew = "--restart begins anew (rows that were taken before are then duplicates)";
        let kept: Self = match serde_json::from_slice(&bytes) {
            Ok(Self { version, .. }) if version != VERSION => {
                bail!("{} was written by another release; {anew}", file.display())
            }
            Ok(kept) => kept,
            Err(_) => bail!("{} is no state of an import; {anew}", file.display()),
        };
        let beginning = Beginning::of(source, Some(kept.beginning_bytes))?;
        if hex(&beginning.0) != kept.beginning || source.metadata()?.len() < kept.place.offset {
            bail!("{} is not the file whose import {} is the state of; {anew}", source.display(), file.display());
        }
        if kept.settings != new.settings && kept.counts.accepted + kept.counts.duplicate == 0 {
            // Nothing was taken: those settings were the mistake.
            return Ok(None);
        }
        if kept.settings != new.settings {
            bail!(
                "this import was begun with another mapping, time zone, delimiter or --url; say the same again, keep this one \
                 apart with --state, or start over; {anew}"
            );
        }
        Ok(Some(kept))
    }

    /// Makes sure that a state can be written, before anything is sent that it would have to tell of.
    pub(super) fn can_be_kept(file: &Path) -> anyhow::Result<()> {
        let new = beside(file);
        let tried = File::create(&new).and_then(|_| std::fs::remove_file(&new));
        tried.with_context(|| cannot(file))
    }

    /// Writes it in place of what is in `file`: whole, or not at all.
    pub(super) fn keep(&self, file: &Path) -> anyhow::Result<()> {
        let new = beside(file);
        let write = || {
            let mut written = File::create(&new)?;
            written.write_all(&serde_json::to_vec_pretty(self)?)?;
            written.sync_all()?;
            std::fs::rename(&new, file)
        };
        write().with_context(|| cannot(file))
    }
}

/// Where a state is written before it takes the place of the one before it.
fn beside(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".new");
    name.into()
}

fn cannot(file: &Path) -> String {
    format!("cannot write {}; --state names another place", file.display())
}

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_that_of_one_file_and_one_way_to_read_it() {
        let directory = tempfile::tempdir().expect("a directory");
        let (source, file) = (directory.path().join("rows.csv"), directory.path().join("rows.csv.import.json"));
        std::fs::write(&source, "event\npurchase\n").expect("writes");
        let begin = |settings: &[&str]| State::new(&Beginning::of(&source, None).expect("reads"), settings);
        let kept = |settings: &[&str]| State::kept(&file, &source, &begin(settings));
        assert_eq!(kept(&["a"]).expect("reads"), None);

        let place = Place { offset: 15, lines: 2, rows: 1 };
        let state = State { place, ..begin(&["a"]) };
        state.keep(&file).expect("writes");
        assert_eq!(kept(&["b"]).expect("reads"), None, "nothing was taken");
        let counts = Counts { accepted: 1, ..Counts::default() };
        let state = State { counts, ..state };
        state.keep(&file).expect("writes");
        assert_eq!(kept(&["a"]).expect("reads"), Some(state.clone()));
        assert!(kept(&["b"]).is_err_and(|why| why.to_string().contains("another mapping")));

        std::fs::write(&source, "event\npurchase\nsign_up\n").expect("writes");
        assert_eq!(kept(&["a"]).expect("reads"), Some(state), "a file that grew is the same");
        std::fs::write(&source, "event\nsign_up_\n").expect("writes");
        assert!(kept(&["a"]).is_err_and(|why| why.to_string().contains("is not the file")));
        std::fs::write(&file, "{}").expect("writes");
        assert!(kept(&["a"]).is_err_and(|why| why.to_string().contains("--restart")));
    }
}
