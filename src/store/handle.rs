//! The state file for asynchronous callers: a commit waits for the disk on a thread that may wait.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::Store;
use super::error::StoreError;
use super::lock::beside;
use crate::delivery::{Target, Timestamp};
use crate::ledger::state::Changes;

/// A shared way to the open state file.
#[derive(Clone, Debug)]
pub struct StoreHandle {
    store: Arc<Mutex<Store>>,
    path: Arc<PathBuf>,
    created_at: Timestamp,
}

impl StoreHandle {
    /// Shares an open state file.
    pub fn new(store: Store) -> Self {
        let path = Arc::new(store.path.clone());
        let created_at = store.created_at();
        Self { store: Arc::new(Mutex::new(store)), path, created_at }
    }

    /// Commits `changes`, and gives them back once they are on disk.
    ///
    /// # Errors
    /// Where nothing could be written, with the changes to try again.
    pub async fn commit(&self, target: Target, changes: Changes) -> Result<Changes, (Changes, StoreError)> {
        let store = self.store.clone();
        let path = self.path.clone();
        let kept = Arc::new(changes);
        let work = kept.clone();
        let done = tokio::task::spawn_blocking(move || {
            // A poisoned lock means that a commit panicked: its transaction was rolled back, the file is sound.
            store.lock().unwrap_or_else(PoisonError::into_inner).commit(&target, &work)
        });
        let result = done.await.unwrap_or_else(|_| {
            let error = std::io::Error::other("the writing task ended early");
            Err(StoreError::Io { path: path.to_path_buf(), action: "write", error })
        });
        let changes = Arc::try_unwrap(kept).unwrap_or_else(|shared| (*shared).clone());
        match result {
            Ok(()) => Ok(changes),
            Err(error) => Err((changes, error)),
        }
    }

    /// When the state file was made.
    pub fn created_at(&self) -> Timestamp {
        self.created_at
    }

    /// The bytes that the state takes on disk now, with its write-ahead log.
    pub fn size_bytes(&self) -> u64 {
        size_bytes(&self.path)
    }
}

fn size_bytes(path: &Path) -> u64 {
    let mut wal = path.as_os_str().to_owned();
    wal.push("-wal");
    let length = |path: &Path| std::fs::metadata(path).map_or(0, |metadata| metadata.len());
    length(path) + length(Path::new(&wal)) + length(&beside(path, "budget"))
}
