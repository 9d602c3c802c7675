//! Exports a whole state to a file, even while a daemon uses it, and imports such a file as a new state.
//!
//! The copy is itself a state file, and includes the content of `<state>.seen` (when each target was last read). The
//! files of the request budget and of the lock are not copied: they belong to the machine. Used by `state export` and
//! `state import`.

use std::cell::RefCell;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OptionalExtension, params};
use tempfile::{NamedTempFile, TempDir};
use thiserror::Error;

use crate::audit::state::{StateError, StateFile};
use crate::store::draft::DraftPlace;
use crate::store::error::StoreError;
use crate::store::place::{self, Holder, beside};
use crate::store::sqlite::commits;
use talkover_core::server_time::LocalTime;

/// The key in the table `meta` under which a copy keeps the content of `<state>.seen`.
const SEEN: &str = "exported_seen";
/// How the names of files begin that are not complete yet.
const PREFIX: &str = ".talkover-state-";
/// What the file of a process is called in its own directory.
const SAVED: &str = "state.db";
/// Only its owner may read a state.
const MODE: u32 = 0o600;
/// How often a file that a process is just writing to is copied until a copy is sound.
const MAX_ATTEMPTS: u32 = 5;
/// The length of the header of a write-ahead log, in bytes.
const LOG_HEADER: u64 = 32;

/// Why a state cannot be copied.
#[derive(Debug, Error)]
pub enum CopyError {
    /// The file to be read is not an intact state of this version.
    #[error(transparent)]
    State(#[from] StateError),
    /// The file to be read does not exist.
    #[error("failed to read {}: {}", path.display(), io::Error::from(io::ErrorKind::NotFound))]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// There is a state where one was to be made, or it cannot be made.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The file to be written exists.
    #[error("file {} already exists: it was left untouched", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// A process works with a deleted state, and there is another one where it was.
    #[error(
        "process {process} works with a state that was at {} and was deleted, and another file is there now, which no \
         process uses: to copy what the process has, move that file away first; to copy the file, stop the process \
         first",
        path.display()
    )]
    Ambiguous {
        /// Where the state was.
        path: PathBuf,
        /// The process's id.
        process: u32,
    },
    /// It cannot be read.
    #[error("failed to read {}: {error}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// It cannot be written.
    #[error("failed to write {}: {error}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// SQLite cannot write the file.
    #[error("failed to write {}: {error}", path.display())]
    Sqlite {
        /// The file.
        path: PathBuf,
        /// SQLite's error.
        error: rusqlite::Error,
    },
}

/// Where an export has come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExportSource {
    /// The file at its path.
    File,
    /// The process of this id, which works with a state of which a file stood at the path and was deleted or replaced.
    Process(u32),
}

/// Copies the state at `state` to a new file at `copy`, as of one moment. If a running daemon works with a state of which
/// a file stood there and was deleted or replaced, that is what is copied.
///
/// # Errors
/// If the state is missing, damaged or of another version, if it cannot be told which state is wanted, or if `copy`
/// exists or cannot be written.
pub fn export(state: &Path, copy: &Path) -> Result<ExportSource, CopyError> {
    if copy.symlink_metadata().is_ok() {
        return Err(CopyError::Exists { path: copy.to_owned() });
    }
    // Before the state, not after it: a last success that is older than what was read makes an outage seem longer, and
    // one that is newer would hide it.
    let seen = read_if_there(&beside(state, "seen"));
    let seen = seen.map_err(|error| CopyError::Read { path: beside(state, "seen"), error })?;
    let Some(holder) = place::holder_of_deleted(state) else {
        export_file(state, &seen, copy)?;
        return Ok(ExportSource::File);
    };
    if holder.is_replaced {
        return Err(CopyError::Ambiguous { path: state.to_owned(), process: holder.process });
    }
    let saved = save_deleted(holder, directory_of(copy))?;
    export_file(&saved.path().join(SAVED), &seen, copy)?;
    Ok(ExportSource::Process(holder.process))
}

/// Copies the file that `holder` has open, with its write-ahead log, to a directory of its own. Repeats that until the
/// copy is sound and the log was not begun anew in between: what a checkpoint has moved to the file since the file was
/// copied would be in neither copy. SQLite changes the log's header when it begins it anew
/// (<https://www.sqlite.org/fileformat2.html#the_write_ahead_log>).
fn save_deleted(holder: Holder, directory: &Path) -> Result<TempDir, CopyError> {
    let failed = |error| CopyError::Write { path: directory.to_owned(), error };
    let mut attempts = 0;
    loop {
        attempts += 1;
        let saved = tempfile::Builder::new().prefix(PREFIX).tempdir_in(directory).map_err(failed)?;
        let file = saved.path().join(SAVED);
        let header = || holder.log.map(|log| log_header(holder.process, log)).transpose();
        let before = header()?;
        save_open(holder.process, holder.database, &file)?;
        if let Some(log) = holder.log {
            save_open(holder.process, log, &place::write_ahead_log(&file))?;
        }
        let is_same_log = header()? == before;
        match StateFile::open(&file) {
            Ok(_sound) if is_same_log => return Ok(saved),
            _ if attempts < MAX_ATTEMPTS => {}
            Err(fault) => return Err(fault.into()),
            Ok(_) => {
                let open = open_path(holder.process, holder.database);
                let error = io::Error::other("its process writes to it faster than it can be copied");
                return Err(CopyError::Read { path: open, error });
            }
        }
    }
}

/// The header of a write-ahead log that a process has open; empty if nothing was written to it yet.
fn log_header(process: u32, log: u32) -> Result<Vec<u8>, CopyError> {
    let open = open_path(process, log);
    let mut header = Vec::new();
    let read = File::open(&open).and_then(|file| file.take(LOG_HEADER).read_to_end(&mut header));
    read.map(|_length| header).map_err(|error| CopyError::Read { path: open, error })
}

/// The path by which another process can open a file that `process` has open, whether it still has a name or not.
fn open_path(process: u32, descriptor: u32) -> PathBuf {
    PathBuf::from(format!("/proc/{process}/fd/{descriptor}"))
}

/// Copies a file that a process has open.
fn save_open(process: u32, descriptor: u32, to: &Path) -> Result<(), CopyError> {
    let open = open_path(process, descriptor);
    let mut open_file = File::open(&open).map_err(|error| CopyError::Read { path: open, error })?;
    let copied = create(to).and_then(|mut file| io::copy(&mut open_file, &mut file));
    copied.map(|_bytes| ()).map_err(|error| CopyError::Write { path: to.to_owned(), error })
}

fn draft_in(directory: &Path) -> io::Result<NamedTempFile> {
    tempfile::Builder::new().prefix(PREFIX).tempfile_in(directory)
}

fn directory_of(copy: &Path) -> &Path {
    copy.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Copies the state in `file` with the content of `<state>.seen`.
fn export_file(file: &Path, seen: &[u8], copy: &Path) -> Result<(), CopyError> {
    let exists = || CopyError::Exists { path: copy.to_owned() };
    let write = |error| CopyError::Write { path: copy.to_owned(), error };
    let sqlite = |error| CopyError::Sqlite { path: copy.to_owned(), error };
    let source = StateFile::open(file)?;
    let file = draft_in(directory_of(copy)).map_err(write)?;
    let target = RefCell::new(Connection::open(file.path()).map_err(sqlite)?);
    source.copy_to(&target)?;
    let mut target = target.into_inner();
    // One file: without WAL mode, which keeps a log beside it.
    target.pragma_update(None, "journal_mode", "DELETE").map_err(sqlite)?;
    target.execute("INSERT OR REPLACE INTO meta VALUES (?1, ?2)", params![SEEN, seen]).map_err(sqlite)?;
    commits::reseal(&mut target).map_err(sqlite)?;
    target.close().map_err(|(_, error)| sqlite(error))?;
    file.as_file().sync_all().map_err(write)?;
    match file.persist_noclobber(copy) {
        Ok(_) => Ok(()),
        Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => Err(exists()),
        Err(error) => Err(write(error.error)),
    }
}

/// Makes a new state at `state` from the copy at `copy`; `now` is the local time.
///
/// # Errors
/// If `copy` is missing, damaged or of another version, or if there is a state already.
pub fn import(copy: &Path, state: &Path, now: LocalTime) -> Result<(), CopyError> {
    let source = match StateFile::open(copy) {
        Err(StateError::Missing { path }) => return Err(CopyError::Missing { path }),
        other => other?,
    };
    let place = DraftPlace::reserve(state)?;
    let draft = place.file().to_owned();
    let write = |error| CopyError::Write { path: draft.clone(), error };
    let sqlite = |error| CopyError::Sqlite { path: draft.clone(), error };
    create(&draft).map_err(write)?;
    let target = RefCell::new(Connection::open(&draft).map_err(sqlite)?);
    source.copy_to(&target)?;
    let mut target = target.into_inner();
    let seen = target.query_row("DELETE FROM meta WHERE key = ?1 RETURNING value", [SEEN], |row| row.get(0));
    let seen: Option<Vec<u8>> = seen.optional().map_err(sqlite)?;
    commits::reseal(&mut target).map_err(sqlite)?;
    target.close().map_err(|(_, error)| sqlite(error))?;
    // If it is missing, the first reading counts as catching up.
    let mut file = create(&beside(&draft, "seen")).map_err(write)?;
    file.write_all(&seen.unwrap_or_default()).map_err(write)?;
    // Opened as the daemon opens it, so that what the daemon would refuse is refused now.
    Ok(place.open(now)?.publish()?)
}

fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).truncate(true).write(true).mode(MODE).open(path)
}

fn read_if_there(path: &Path) -> io::Result<Vec<u8>> {
    match std::fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        read => read,
    }
}
