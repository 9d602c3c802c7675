//! The only way to the state: shared, one caller at a time, and never on a thread that serves others.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::Store;
use super::error::StoreError;
use super::place::{beside, write_ahead_log};
use super::problems::StateProblems;
use super::queue::SpanQueue;
use crate::blocking;
use talkover_core::server_time::LocalTime;

/// A shared handle to the open state. When the last one is dropped, the state is closed.
#[derive(Clone, Debug)]
pub struct StoreHandle {
    store: Arc<Mutex<dyn Store>>,
    info: StoreInfo,
}

/// What is shown about the state file. It does not keep the file open.
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

    /// The current size of the state on disk in bytes, with its write-ahead log and the file of the request budget.
    pub fn size_bytes(&self) -> u64 {
        let length = |path: &Path| std::fs::metadata(path).map_or(0, |metadata| metadata.len());
        length(&self.path) + length(&write_ahead_log(&self.path)) + length(&beside(&self.path, "budget"))
    }

    /// The queue of spans.
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

    /// Runs `work` with the store, on a thread that may block.
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

    /// Runs `work` with the store on this thread, which blocks on the disk: never call it from an asynchronous task.
    pub fn run_blocking<T>(&self, work: impl FnOnce(&mut dyn Store) -> T) -> T {
        // A poisoned lock means that a commit panicked: its transaction was rolled back, the file is sound.
        work(&mut *self.store.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The queue of spans; does not wait for a commit.
    pub fn queue(&self) -> &SpanQueue {
        &self.info.queue
    }

    /// What is shown about the state.
    pub fn info(&self) -> &StoreInfo {
        &self.info
    }
}
