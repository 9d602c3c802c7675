//! One daemon per state file: an advisory lock on a file beside it.
//!
//! Not on the database itself: closing any descriptor of that would drop the locks that SQLite holds on it
//! (<https://www.sqlite.org/howtocorrupt.html>, section 2.2). The operating system drops ours when the process ends, however it
//! ends.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};

use super::error::StoreError;

/// The held lock; dropping it gives the state file free.
#[derive(Debug)]
pub struct LockFile {
    _file: File,
}

impl LockFile {
    /// Takes the lock for the state file at `state`.
    ///
    /// # Errors
    /// [`StoreError::Locked`] where another process holds it.
    pub fn acquire(state: &Path) -> Result<Self, StoreError> {
        let path = beside(state, "lock");
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(|error| StoreError::Io { path: path.clone(), action: "open", error })?;
        match file.try_lock() {
            Ok(()) => Ok(Self { _file: file }),
            Err(TryLockError::WouldBlock) => Err(StoreError::Locked { path: state.to_owned() }),
            Err(TryLockError::Error(error)) => Err(StoreError::Io { path, action: "lock", error }),
        }
    }
}

/// The path of `state` with `.extension` added to its name.
pub fn beside(state: &Path, extension: &str) -> PathBuf {
    let mut name = state.as_os_str().to_owned();
    name.push(".");
    name.push(extension);
    name.into()
}
