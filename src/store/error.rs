//! What can go wrong with the state file, in words for the person who has to mend it.

use std::io;
use std::path::{Path, PathBuf};

use rusqlite::ErrorCode;
use thiserror::Error;

/// Why the state file cannot be used.
#[derive(Debug, Error)]
pub enum StoreError {
    /// Another daemon works with it.
    #[error("state file {} is in use by another talkover-exporter", path.display())]
    Locked {
        /// The state file.
        path: PathBuf,
    },
    /// Some other program holds SQLite's locks.
    #[error(
        "state file {} is locked by another program, such as a sqlite3 shell with an open transaction (no talkover-exporter \
         has it): end that program",
        path.display()
    )]
    Busy {
        /// The state file.
        path: PathBuf,
    },
    /// Another daemon works with a file that stood there and was deleted.
    #[error(
        "state file {} was deleted while process {process} works with it, as a rule another talkover-exporter: what that one \
         counts goes to the deleted file, and both would read the same logs. Copy it with `cp /proc/{process}/fd/{descriptor} \
         {}`, or give it up, and stop that process",
        path.display(),
        path.display()
    )]
    Held {
        /// The state file.
        path: PathBuf,
        /// The process.
        process: u32,
        /// By which of its descriptors the file can be had.
        descriptor: u32,
    },
    /// What stands there cannot be a state file, or not be used as one.
    #[error("state file {} {reason}", path.display())]
    Unsuitable {
        /// The state file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// There is one already.
    #[error("there is a state file {} already: it was left untouched", path.display())]
    Exists {
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
        "state file {} is damaged ({reason}): it was left untouched, and nothing of it is shown. Restore a backup of it, \
         import an export (`state import`), or move it away with the files beside it to start anew",
        path.display()
    )]
    Damaged {
        /// The state file.
        path: PathBuf,
        /// What SQLite found.
        reason: String,
    },
    /// Anything else that SQLite says.
    #[error("failed to {action} state file {}: {error}{}", path.display(), in_brackets(cause.as_ref()))]
    Sqlite {
        /// The state file.
        path: PathBuf,
        /// What was to be done.
        action: &'static str,
        /// Why not, in SQLite's words.
        error: rusqlite::Error,
        /// Why not, in the system's words, where they are known.
        cause: Option<io::Error>,
    },
}

impl StoreError {
    /// An error on the way of opening the file.
    pub fn open(path: &Path, error: rusqlite::Error) -> Self {
        Self::sqlite(path, "open", error)
    }

    /// What was found wrong with the content of the file.
    pub fn damaged(path: &Path, reason: &impl ToString) -> Self {
        Self::Damaged { path: path.to_owned(), reason: reason.to_string() }
    }

    /// An error of SQLite while doing `action`.
    pub fn sqlite(path: &Path, action: &'static str, error: rusqlite::Error) -> Self {
        let path = path.to_owned();
        // What this program cannot have written.
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

    /// The same error with what the system says of writing to that disk: SQLite tells no more than "disk I/O error".
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
