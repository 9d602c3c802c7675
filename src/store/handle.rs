//! The one way to the state: shared, one caller at a time, and never on a thread that serves others.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::Store;
use super::error::StoreError;
use super::place::{beside, write_ahead_log};
use super::problems::StateProblems;
use super::queue::SpanQueue;
use crate::blocking;
use talkover_core::server_time::LocalTime;

/// A shared way to the open state. When the last one is dropped, the state is closed.
#[derive(Clone, Debug)]
pub struct StoreHandle {
    store: Arc<Mutex<dyn Store>>,
    info: StoreInfo,
}

/// What is shown of the state file. It does not keep the file open.
#[derive(Clone, Debug)]
pub struct StoreInfo {
    pub(super) path: Arc<PathBuf>,
    pub(super) created_at: LocalTime,
    pub(super) queue: SpanQueue,
    pub(super) problems: StateProblems,
}

impl StoreInfo {
    /// When the state file was made.
    pub fn created_at(&self) -> LocalTime {
        self.created_at
    }

    /// The bytes that the state takes on disk now, with its write-ahead log and the memory of the budget.
    pub fn size_bytes(&self) -> u64 {
        let length = |path: &Path| std::fs::metadata(path).map_or(0, |metadata| metadata.len());
        length(&self.path) + length(&write_ahead_log(&self.path)) + length(&beside(&self.path, "budget"))
    }

    /// The outbox at a glance.
    pub fn queue(&self) -> &SpanQueue {
        &self.queue
    }

    /// What is wrong with the state file as a whole.
    pub fn problems(&self) -> &StateProblems {
        &self.problems
    }
}

impl StoreHandle {
    /// Shares an open state.
    pub fn new(store: impl Store + 'static) -> Self {
        let info = store.info();
        Self { store: Arc::new(Mutex::new(store)), info }
    }

    /// Does `work` with the store, on a thread that may wait for the disk.
    ///
    /// # Errors
    /// Those of `work`.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut dyn Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let handle = self.clone();
        blocking::run(move || handle.run_blocking(work)).await
    }

    /// The same on this thread, which may wait for the disk: not an asynchronous task's.
    pub fn run_blocking<T>(&self, work: impl FnOnce(&mut dyn Store) -> T) -> T {
        // A poisoned lock means that a commit panicked: its transaction was rolled back, the file is sound.
        work(&mut *self.store.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The outbox at a glance; waits for no commit.
    pub fn queue(&self) -> &SpanQueue {
        &self.info.queue
    }

    /// What is shown of the state.
    pub fn info(&self) -> &StoreInfo {
        &self.info
    }
}
