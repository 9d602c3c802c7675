//! What can go wrong with the state file, in words for the person who has to mend it.

use std::io;
use std::path::{Path, PathBuf};

use rusqlite::ErrorCode;
use thiserror::Error;

/// Why the state file cannot be used.
#[derive(Debug, Error)]
pub enum StoreError {
    /// Another process works with it.
    #[error("state file {} is in use by another talkover-exporter", path.display())]
    Locked {
        /// The state file.
        path: PathBuf,
    },
    /// Its directory or lock file cannot be used.
    #[error("failed to {action} {}: {error}", path.display())]
    Io {
        /// What was to be used.
        path: PathBuf,
        /// What was to be done.
        action: &'static str,
        /// Why not.
        error: io::Error,
    },
    /// A newer program has written it.
    #[error(
        "state file {} has format version {found}, this program knows versions up to {known}: run the newer program, \
         or name another file",
        path.display()
    )]
    Newer {
        /// The state file.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// The newest version known here.
        known: i64,
    },
    /// Some other database.
    #[error("{} is an SQLite file, but not a state file of talkover-exporter: it was left untouched", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// Not readable as a database any more.
    #[error(
        "state file {} is damaged ({reason}): it was left untouched; restore it, or move it away to start anew",
        path.display()
    )]
    Damaged {
        /// The state file.
        path: PathBuf,
        /// What SQLite found.
        reason: String,
    },
    /// Anything else that SQLite says.
    #[error("failed to {action} state file {}: {error}", path.display())]
    Sqlite {
        /// The state file.
        path: PathBuf,
        /// What was to be done.
        action: &'static str,
        /// Why not.
        error: rusqlite::Error,
    },
}

impl StoreError {
    /// An error on the way of opening the file.
    pub fn open(path: &Path, error: rusqlite::Error) -> Self {
        Self::sqlite(path, "open", error)
    }

    /// An error of SQLite while doing `action`.
    pub fn sqlite(path: &Path, action: &'static str, error: rusqlite::Error) -> Self {
        let path = path.to_owned();
        match error.sqlite_error_code() {
            Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => {
                Self::Damaged { path, reason: error.to_string() }
            }
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Locked { path },
            _ => Self::Sqlite { path, action, error },
        }
    }
}
