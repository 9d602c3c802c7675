//! One daemon per state file: an advisory lock on a file beside it, and one on the file itself, so that symbolic and
//! hard links to it are the same state.
//!
//! Closing any descriptor of the database drops the locks that SQLite holds on it
//! (<https://www.sqlite.org/howtocorrupt.html>, section 2.2). So ours is opened before SQLite's and closed after it.
//! The two kinds of locks are independent (flock(2)) except on network file systems, where only the file beside is
//! locked. The operating system releases ours when the process ends, however it ends.

use std::fs::{File, TryLockError};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use super::error::StoreError;
use super::place::{self, Identity, LOCK, beside};

/// The held locks; dropping it releases the state file.
#[derive(Debug)]
pub struct LockFile {
    file: File,
    database: File,
}

/// What [`LockFile::refusal`] writes: as much as SQLite needs at once, because its shared memory grows by 32 KiB.
static PROBE: [u8; 64 * 1024] = [0; 64 * 1024];

impl LockFile {
    /// Takes the locks of the state file at `state`, which is made if there is none.
    ///
    /// # Errors
    /// [`StoreError::Locked`] if another process holds one of them, [`StoreError::Held`] if another process uses a
    /// deleted file that was at this path.
    pub fn acquire(state: &Path) -> Result<Self, StoreError> {
        place::inspect(state)?;
        if !state.exists()
            && let Some(holder) = place::holder_of_deleted(state)
        {
            return Err(StoreError::Held { path: state.to_owned(), process: holder.process });
        }
        let file = Self::reserve(state)?;
        let database = place::open_private(state).map_err(|error| place::unopened(state, error))?;
        if !is_remote(&database) {
            lock(&database, state, state)?;
        }
        Ok(Self { file, database })
    }

    /// Takes only the lock beside the state file, which need not exist, until the returned file is dropped.
    ///
    /// # Errors
    /// [`StoreError::Locked`] if another process holds it.
    pub fn reserve(state: &Path) -> Result<File, StoreError> {
        let file = place::open_beside(state, LOCK)?;
        lock(&file, state, &beside(state, LOCK))?;
        Ok(file)
    }

    /// Overwrites a byte of the lock file, to test whether the file system accepts writes.
    ///
    /// # Errors
    /// If the file system has become read-only, or its files immutable. SQLite must not be used then: it writes to
    /// mapped memory, and a write that the file system refuses there kills the process (SIGBUS).
    pub fn touch(&self) -> io::Result<()> {
        self.file.write_all_at(&[0], 0)
    }

    /// Tries to write to this disk; returns the operating system's error, or `None` if it works.
    pub fn refusal(&self) -> Option<io::Error> {
        let written = self.file.write_all_at(&PROBE, 0);
        let shortened = self.file.set_len(1);
        written.and(shortened).err()
    }

    /// Returns the identity of the open database file.
    pub(super) fn identity(&self) -> io::Result<Identity> {
        self.database.metadata().map(|found| Identity::of(&found))
    }

    /// Returns the length and modification time of the database file, which change when anybody writes to it.
    pub(super) fn version(&self) -> io::Result<(u64, i64, i64)> {
        self.database.metadata().map(|found| (found.len(), found.mtime(), found.mtime_nsec()))
    }

    /// Whether the file still has the header of a database (<https://www.sqlite.org/fileformat.html>, section 1.3).
    pub(super) fn has_header(&self) -> bool {
        let mut header = [0; 16];
        self.database.read_exact_at(&mut header, 0).is_ok() && header == *b"SQLite format 3\0"
    }

    /// Returns the descriptor number of the database file, by which it can be copied after it was deleted.
    pub(super) fn descriptor(&self) -> i32 {
        self.database.as_raw_fd()
    }
}

fn lock(file: &File, state: &Path, path: &Path) -> Result<(), StoreError> {
    match file.try_lock() {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => Err(StoreError::Locked { path: state.to_owned() }),
        Err(TryLockError::Error(error)) => Err(StoreError::Io { path: path.to_owned(), action: "lock", error }),
    }
}

/// Whether the file is on a network file system: there the kernel turns our lock into one of SQLite's kind, and the two
/// would conflict (flock(2), section NFS).
#[cfg(target_os = "linux")]
fn is_remote(file: &File) -> bool {
    /// `NFS_SUPER_MAGIC`, `SMB_SUPER_MAGIC`, `CIFS_SUPER_MAGIC`, `SMB2_SUPER_MAGIC` and `V9FS_MAGIC` of Linux'
    /// `magic.h`.
    const REMOTE: [u32; 5] = [0x6969, 0x517b, 0xff53_4d42, 0xfe53_4d42, 0x0102_1997];
    // The field's type differs between architectures.
    rustix::fs::fstatfs(file).is_ok_and(|found| REMOTE.contains(&(found.f_type as u32)))
}

#[cfg(not(target_os = "linux"))]
fn is_remote(_file: &File) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;

    use super::*;

    #[test]
    fn a_disk_that_takes_nothing_is_found_out_by_trying() {
        let directory = tempfile::tempdir().unwrap();
        let lock = LockFile::acquire(&directory.path().join("state.db")).unwrap();
        lock.touch().unwrap();
        assert!(lock.refusal().is_none());
        assert_eq!(lock.file.metadata().unwrap().len(), 1, "the attempt leaves nothing behind");

        let file = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let full = LockFile { file, database: lock.database.try_clone().unwrap() };
        assert_eq!(full.refusal().unwrap().kind(), io::ErrorKind::StorageFull);
        assert_eq!(full.touch().unwrap_err().kind(), io::ErrorKind::StorageFull);
    }

    #[test]
    fn whatever_name_leads_to_the_file_it_is_one_state() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let held = LockFile::acquire(&path("state.db")).unwrap();
        std::os::unix::fs::symlink(path("state.db"), path("symbolic.db")).unwrap();
        std::fs::hard_link(path("state.db"), path("hard.db")).unwrap();
        for name in ["state.db", "symbolic.db", "hard.db"] {
            assert!(matches!(LockFile::acquire(&path(name)), Err(StoreError::Locked { .. })), "{name}");
        }
        LockFile::acquire(&path("other.db")).unwrap();
        drop(held);
        LockFile::acquire(&path("hard.db")).unwrap();
    }
}
