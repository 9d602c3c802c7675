//! What can go wrong with the state file, in words for the person who has to repair it.

use std::io;
use std::path::{Path, PathBuf};

use rusqlite::ErrorCode;
use thiserror::Error;

/// Why the state file cannot be used.
#[derive(Debug, Error)]
pub enum StoreError {
    /// Another daemon uses it.
    #[error("state file {} is in use by another talkover-exporter", path.display())]
    Locked {
        /// The state file.
        path: PathBuf,
    },
    /// A program other than talkover-exporter holds SQLite's locks.
    #[error(
        "state file {} is locked by another program, such as a sqlite3 shell with an open transaction (not by another \
         talkover-exporter): end that program",
        path.display()
    )]
    Busy {
        /// The state file.
        path: PathBuf,
    },
    /// Another daemon uses a file that was at this path and has been deleted.
    #[error(
        "state file {} was deleted, but process {process}, most likely another talkover-exporter, still works with it: \
         that process counts into the deleted file, and both would read the same logs. To keep its counts, copy them with \
         `talkover-exporter state export`; then stop that process, and put the copy in place with `state import`",
        path.display(),
    )]
    Held {
        /// The state file.
        path: PathBuf,
        /// The process.
        process: u32,
    },
    /// What is at this path is no state file, or cannot be used as one.
    #[error("state file {} {reason}", path.display())]
    Unsuitable {
        /// The state file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// A new state file was to be made, but there is one.
    #[error("state file {} already exists: it was left untouched", path.display())]
    Exists {
        /// The state file.
        path: PathBuf,
    },
    /// Its directory or lock file cannot be used.
    #[error("failed to {action} {}: {error}", path.display())]
    Io {
        /// The directory or file.
        path: PathBuf,
        /// What failed, as a verb: "open".
        action: &'static str,
        /// Why not.
        error: io::Error,
    },
    /// It was written by a newer version of this program.
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
    /// Its content is not what was written.
    #[error(
        "state file {} is damaged ({reason}): it was left untouched, and none of it is shown. Restore a backup, import \
         an export (`state import`), or move it and the files beside it away to start over",
        path.display()
    )]
    Damaged {
        /// The state file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Any other error of SQLite.
    #[error("failed to {action} state file {}: {error}{}", path.display(), in_brackets(cause.as_ref()))]
    Sqlite {
        /// The state file.
        path: PathBuf,
        /// What failed, as a verb: "write".
        action: &'static str,
        /// SQLite's error.
        error: rusqlite::Error,
        /// The operating system's error, if known.
        cause: Option<io::Error>,
    },
}

impl StoreError {
    /// Returns the error for a file that SQLite failed to open.
    pub fn open(path: &Path, error: rusqlite::Error) -> Self {
        Self::sqlite(path, "open", error)
    }

    /// Returns the error for a file whose content is wrong.
    pub fn damaged(path: &Path, reason: &impl ToString) -> Self {
        Self::Damaged { path: path.to_owned(), reason: reason.to_string() }
    }

    /// Returns the error for a failure of SQLite during `action`, a verb such as "read".
    pub fn sqlite(path: &Path, action: &'static str, error: rusqlite::Error) -> Self {
        let path = path.to_owned();
        // A value that this program cannot have written: the file is damaged.
        if let rusqlite::Error::FromSqlConversionFailure(_, _, reason) = &error {
            return Self::Damaged { path, reason: reason.to_string() };
        }
        if let rusqlite::Error::InvalidColumnType(..) | rusqlite::Error::IntegralValueOutOfRange(..) = &error {
            return Self::Damaged { path, reason: error.to_string() };
        }
        match error.sqlite_error_code() {
            Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => {
                Self::Damaged { path, reason: error.to_string() }
            }
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Busy { path },
            _ => Self::Sqlite { path, action, error, cause: None },
        }
    }

    /// Adds the operating system's reason to an error of SQLite, which itself says only "disk I/O error".
    #[must_use]
    pub fn because(mut self, refusal: impl FnOnce() -> Option<io::Error>) -> Self {
        if let Self::Sqlite { cause, .. } = &mut self {
            *cause = refusal();
        }
        self
    }
}

fn in_brackets(cause: Option<&io::Error>) -> String {
    cause.map(|cause| format!(" ({cause})")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_has_the_last_word() {
        let vague = || {
            let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_IOERR);
            let error = rusqlite::Error::SqliteFailure(code, Some("disk I/O error".to_owned()));
            StoreError::sqlite(Path::new("/x/state.db"), "write", error)
        };
        assert_eq!(vague().because(|| None).to_string(), "failed to write state file /x/state.db: disk I/O error");
        let full = io::Error::from_raw_os_error(28);
        assert_eq!(
            vague().because(|| Some(full)).to_string(),
            "failed to write state file /x/state.db: disk I/O error (No space left on device (os error 28))"
        );
    }
}
