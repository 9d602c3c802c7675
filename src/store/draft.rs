//! A state that is prepared beside its place and put there in one step: a daemon finds all of it or nothing.
//!
//! Used where a state does not begin empty: by `history --seed-state` and `state import`.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use super::Store as _;
use super::error::StoreError;
use super::lock::LockFile;
use super::place::{self, beside, write_ahead_log};
use super::sqlite::SqliteStore;
use talkover_core::server_time::LocalTime;

/// What a store makes beside its file, and an earlier, interrupted draft may have left behind.
const COMPANIONS: [&str; 4] = ["seen", "failing", "served", "lock"];
/// The same of SQLite.
const SQLITE_COMPANIONS: [&str; 2] = ["-wal", "-shm"];

/// Where a state is prepared. Until it is dropped, or the draft is, nobody else prepares one for the same path, and no
/// daemon starts there.
#[derive(Debug)]
pub struct DraftPlace {
    draft: PathBuf,
    path: PathBuf,
    lock: File,
}

impl DraftPlace {
    /// Reserves the place for a state at `path`, and removes what an earlier draft has left there.
    ///
    /// # Errors
    /// [`StoreError::Exists`] if there is a state at `path`, [`StoreError::Locked`] if another one is being prepared.
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

    /// Opens the state that is in the draft's file, or begins it, at `now` by the local clock.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub fn open(self, now: LocalTime) -> Result<StateDraft, StoreError> {
        Ok(StateDraft { store: SqliteStore::open(&self.draft, now)?, place: self })
    }
}

/// A state that is not in its place yet.
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

    /// Puts the state in its place.
    ///
    /// # Errors
    /// If there is a state by now, or the draft cannot be written to the end.
    pub fn publish(self) -> Result<(), StoreError> {
        let Self { mut store, place: DraftPlace { draft, path, lock: _held } } = self;
        store.checkpoint()?;
        // The last connection writes SQLite's log into the file, and removes it.
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

/// Refuses a draft whose last commits are not in its file.
fn refuse_unfinished(draft: &Path) -> Result<(), StoreError> {
    let log = write_ahead_log(draft);
    if log.symlink_metadata().is_err() {
        return Ok(());
    }
    let error = io::Error::other(format!("its last commits are still in {} alone", log.display()));
    Err(StoreError::Io { path: draft.to_owned(), action: "write", error })
}

/// Refuses to overwrite a state, or to put one beside the log of another: SQLite would take that for its own.
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

/// Removes the state file at `path` and what lies beside it; what is not there is no error. The memory of the request
/// budget stays: what was spent was spent.
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
