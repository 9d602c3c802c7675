//! One daemon per state file: an advisory lock on a file beside it.
//!
//! The lock is not on the database itself: closing any descriptor of that would drop the locks that SQLite holds on it
//! (<https://www.sqlite.org/howtocorrupt.html>, section 2.2). The operating system releases ours when the process ends,
//! however it ends.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::error::StoreError;

/// The held lock; dropping it releases the state file.
#[derive(Debug)]
pub struct LockFile {
    file: File,
}

/// As much as SQLite needs at once: its shared memory grows in pieces of 32 KiB.
static PROBE: [u8; 64 * 1024] = [0; 64 * 1024];

impl LockFile {
    /// Takes the lock for the state file at `state`.
    ///
    /// # Errors
    /// [`StoreError::Locked`] if another process holds it.
    pub fn acquire(state: &Path) -> Result<Self, StoreError> {
        let path = beside(state, "lock");
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(|error| StoreError::Io { path: path.clone(), action: "open", error })?;
        match file.try_lock() {
            Ok(()) => Ok(Self { file }),
            Err(TryLockError::WouldBlock) => Err(StoreError::Locked { path: state.to_owned() }),
            Err(TryLockError::Error(error)) => Err(StoreError::Io { path, action: "lock", error }),
        }
    }

    /// Writes a byte over an existing one.
    ///
    /// # Errors
    /// If the file system has become read-only, or its files immutable. SQLite must not be used then: it writes to
    /// memory that is mapped to a file, and a write that the file system refuses there ends the process (SIGBUS).
    pub fn touch(&self) -> io::Result<()> {
        self.file.write_all_at(&[0], 0)
    }

    /// The error of the system if this disk cannot be written to, found out by trying; `None` if it can.
    pub fn refusal(&self) -> Option<io::Error> {
        let written = self.file.write_all_at(&PROBE, 0);
        let shortened = self.file.set_len(1);
        written.and(shortened).err()
    }
}

/// The path of `state` with `.extension` added to its name.
pub fn beside(state: &Path, extension: &str) -> PathBuf {
    let mut name = state.as_os_str().to_owned();
    name.push(".");
    name.push(extension);
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_that_takes_nothing_is_found_out_by_trying() {
        let directory = tempfile::tempdir().unwrap();
        let lock = LockFile::acquire(&directory.path().join("state.db")).unwrap();
        lock.touch().unwrap();
        assert!(lock.refusal().is_none());
        assert_eq!(lock.file.metadata().unwrap().len(), 1, "the attempt leaves nothing behind");

        let full = LockFile { file: OpenOptions::new().write(true).open("/dev/full").unwrap() };
        assert_eq!(full.refusal().unwrap().kind(), io::ErrorKind::StorageFull);
        assert_eq!(full.touch().unwrap_err().kind(), io::ErrorKind::StorageFull);
    }
}
