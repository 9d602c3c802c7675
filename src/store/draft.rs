//! Creates a complete state file atomically: it is written under a temporary name and then renamed, so that a daemon
//! finds all of it or nothing.
//!
//! Used for states that do not begin empty: by `history --seed-state` and `state import`.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use super::Store as _;
use super::error::StoreError;
use super::lock::LockFile;
use super::place::{self, beside, write_ahead_log};
use super::sqlite::SqliteStore;
use talkover_core::server_time::LocalTime;

/// The extensions of the files that a store makes beside its own. An interrupted draft may have left some.
const COMPANIONS: [&str; 4] = ["seen", "failing", "served", "lock"];
/// The suffixes of the files that SQLite makes.
const SQLITE_COMPANIONS: [&str; 2] = ["-wal", "-shm"];

/// The reserved path of a new state. As long as it or its draft exists, nobody else prepares a state for the same path,
/// and no daemon starts there.
#[derive(Debug)]
pub struct DraftPlace {
    draft: PathBuf,
    path: PathBuf,
    lock: File,
}

impl DraftPlace {
    /// Reserves `path` for a new state, and removes what an interrupted draft has left there.
    ///
    /// # Errors
    /// [`StoreError::Exists`] if there is a state at `path`, [`StoreError::Locked`] if another draft is being prepared.
    pub fn reserve(path: &Path) -> Result<Self, StoreError> {
        refuse_existing(path)?;
        place::make_directory(path)?;
        let lock = LockFile::reserve(path)?;
        let draft = beside(path, "draft");
        remove(&draft).map_err(|error| StoreError::Io { path: draft.clone(), action: "remove", error })?;
        Ok(Self { draft, path: path.to_owned(), lock })
    }

    /// The draft's file.
    pub fn file(&self) -> &Path {
        &self.draft
    }

    /// Opens the draft's file, or makes it if there is none; `now` is the local time.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub fn open(self, now: LocalTime) -> Result<StateDraft, StoreError> {
        Ok(StateDraft { store: SqliteStore::open(&self.draft, now)?, place: self })
    }
}

/// A new state that is not at its final path yet.
#[derive(Debug)]
pub struct StateDraft {
    store: SqliteStore,
    place: DraftPlace,
}

impl StateDraft {
    /// The state.
    pub fn store(&mut self) -> &mut SqliteStore {
        &mut self.store
    }

    /// Renames the draft to its final path.
    ///
    /// # Errors
    /// If there is a state at that path by now, or if not all of the draft could be written.
    pub fn publish(self) -> Result<(), StoreError> {
        let Self { mut store, place: DraftPlace { draft, path, lock: _held } } = self;
        store.checkpoint()?;
        // Closing the last connection makes SQLite write its write-ahead log into the file and remove the log.
        drop(store);
        refuse_unfinished(&draft)?;
        let failed = |action| {
            let path = path.clone();
            move |error| StoreError::Io { path, action, error }
        };
        refuse_existing(&path)?;
        File::open(&draft).and_then(|file| file.sync_all()).map_err(failed("write"))?;
        std::fs::rename(beside(&draft, "seen"), beside(&path, "seen")).map_err(failed("write"))?;
        std::fs::rename(&draft, &path).map_err(failed("write"))?;
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(directory).and_then(|directory| directory.sync_all()).map_err(failed("write"))?;
        remove(&draft).map_err(failed("clear up beside"))
    }
}

/// Refuses a draft whose last commits are in its write-ahead log only.
fn refuse_unfinished(draft: &Path) -> Result<(), StoreError> {
    let log = write_ahead_log(draft);
    if log.symlink_metadata().is_err() {
        return Ok(());
    }
    let error = io::Error::other(format!("its last commits are still in {} alone", log.display()));
    Err(StoreError::Io { path: draft.to_owned(), action: "write", error })
}

/// Refuses to overwrite a state, or to put one beside another state's write-ahead log, which SQLite would take for its
/// own.
///
/// # Errors
/// [`StoreError::Exists`] if there is one at `path`.
pub fn refuse_existing(path: &Path) -> Result<(), StoreError> {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    match [path.to_owned(), log.into()].into_iter().find(|file| file.symlink_metadata().is_ok()) {
        Some(path) => Err(StoreError::Exists { path }),
        None => Ok(()),
    }
}

/// Removes the state file at `path` and the files beside it. A file that does not exist is no error. The file of the
/// request budget stays, because those requests have been made.
///
/// # Errors
/// If one of them cannot be removed.
pub fn remove(path: &Path) -> io::Result<()> {
    let of_sqlite = SQLITE_COMPANIONS.iter().map(|suffix| {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        PathBuf::from(name)
    });
    let companions = COMPANIONS.iter().map(|extension| beside(path, extension));
    for file in std::iter::once(path.to_owned()).chain(of_sqlite).chain(companions) {
        match std::fs::remove_file(&file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;
    use talkover_core::testing::{local, policy};

    use super::*;

    #[test]
    fn there_is_one_draft_at_a_time_and_no_daemon_starts_beside_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("new/state.db");
        let draft = DraftPlace::reserve(&path).unwrap().open(local(0)).unwrap();
        assert!(matches!(DraftPlace::reserve(&path), Err(StoreError::Locked { .. })));
        assert!(matches!(SqliteStore::open(&path, local(0)), Err(StoreError::Locked { .. })));
        draft.publish().unwrap();
        assert!(matches!(DraftPlace::reserve(&path), Err(StoreError::Exists { .. })));
        SqliteStore::open(&path, local(0)).unwrap();
    }

    #[test]
    fn a_draft_is_not_published_without_its_last_commits() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state.db");
        let mut draft = DraftPlace::reserve(&path).unwrap().open(local(0)).unwrap();
        let reader = Connection::open(draft.place.file()).unwrap();
        reader.execute_batch("BEGIN; SELECT count(*) FROM meta").unwrap();
        draft.store().adopt_layouts(&policy().labels).unwrap();
        let error = draft.publish().unwrap_err().to_string();
        assert!(error.contains("state.db.draft-wal"), "{error}");
        assert!(!path.exists());
        drop(reader);
        DraftPlace::reserve(&path).unwrap().open(local(0)).unwrap().publish().unwrap();
        assert!(path.exists());
    }
}
