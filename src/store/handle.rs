//! The state file, shared: by those who commit to it and by those who only ask how large it is.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::Store;
use super::error::StoreError;
use super::lock::beside;
use crate::delivery::{Target, Timestamp};
use crate::ledger::state::Changes;
use crate::ledger::totals::SeriesKey;

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

    /// Commits `changes` and returns when they are on disk: the caller waits, and so must not be an asynchronous task.
    ///
    /// # Errors
    /// Where nothing could be written.
    pub fn commit(&self, target: &Target, changes: &Changes) -> Result<(), StoreError> {
        // A poisoned lock means that a commit panicked: its transaction was rolled back, the file is sound.
        self.store.lock().unwrap_or_else(PoisonError::into_inner).commit(target, changes)
    }

    /// Ends holds, and returns when that is on disk: the caller waits, and so must not be an asynchronous task.
    ///
    /// # Errors
    /// Where nothing could be written.
    pub fn release(
        &self,
        target: &Target,
        series: &[SeriesKey],
        caught_up: Option<Timestamp>,
    ) -> Result<(), StoreError> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner).release(target, series, caught_up)
    }

    /// Forgets a target, and returns when that is on disk: the caller waits, and so must not be an asynchronous task.
    ///
    /// # Errors
    /// Where nothing could be written.
    pub fn remove(&self, target: &Target) -> Result<(), StoreError> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner).remove(target)
    }

    /// Keeps in mind when a target's poll last succeeded.
    pub fn note_success(&self, target: &Target, date: Timestamp) {
        self.store.lock().unwrap_or_else(PoisonError::into_inner).note_success(target, date);
    }

    /// When the state file was made.
    pub fn created_at(&self) -> Timestamp {
        self.created_at
    }

    /// The bytes that the state takes on disk now, with its write-ahead log and the memory of the budget.
    pub fn size_bytes(&self) -> u64 {
        let mut wal = self.path.as_os_str().to_owned();
        wal.push("-wal");
        let length = |path: &Path| std::fs::metadata(path).map_or(0, |metadata| metadata.len());
        length(&self.path) + length(Path::new(&wal)) + length(&beside(&self.path, "budget"))
    }
}
