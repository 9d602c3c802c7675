//! The shared handle to the store, the only access to the state: one caller at a time, and never on a thread that runs
//! asynchronous tasks.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::Store;
use super::error::StoreError;
use super::place::{beside, write_ahead_log};
use super::problems::StateProblems;
use super::queue::OutboxQueue;
use crate::blocking;
use crate::watchdog::{Turns, Watchdog};
use talkover_core::server_time::LocalTime;

/// A shared handle to the open state. When the last one is dropped, the state is closed.
#[derive(Clone, Debug)]
pub struct StoreHandle {
    store: Arc<Mutex<dyn Store>>,
    info: StoreInfo,
    /// What the watchdog sees of it: at rest while nobody uses the store.
    turns: Arc<Turns>,
}

/// The watchdog reports the store if one transaction, or one part of a long one, takes longer than this.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// What is shown about the state file as a whole. It does not keep the file open.
#[derive(Clone, Debug)]
pub struct StoreInfo {
    pub(super) path: Arc<PathBuf>,
    pub(super) created_at: LocalTime,
    pub(super) queue: OutboxQueue,
    pub(super) log_queue: OutboxQueue,
    pub(super) problems: StateProblems,
}

impl StoreInfo {
    /// Returns when the state file was made.
    pub fn created_at(&self) -> LocalTime {
        self.created_at
    }

    /// Returns the current size of the state on disk in bytes, with its write-ahead log and the file of the request
    /// budget.
    pub fn size_bytes(&self) -> u64 {
        let length = |path: &Path| std::fs::metadata(path).map_or(0, |metadata| metadata.len());
        length(&self.path) + length(&write_ahead_log(&self.path)) + length(&beside(&self.path, "budget"))
    }

    /// The queue of spans.
    pub fn queue(&self) -> &OutboxQueue {
        &self.queue
    }

    /// The queue of log records.
    pub fn log_queue(&self) -> &OutboxQueue {
        &self.log_queue
    }

    /// What is wrong with the state file as a whole.
    pub fn problems(&self) -> &StateProblems {
        &self.problems
    }
}

impl StoreHandle {
    /// Shares an open state, without a watchdog.
    pub fn new(store: impl Store + 'static) -> Self {
        Self::watched(store, &Watchdog::default())
    }

    /// Shares an open state; `watchdog` watches the calls.
    pub fn watched(store: impl Store + 'static, watchdog: &Watchdog) -> Self {
        let info = store.info();
        let turns = Arc::new(watchdog.watch("the state's store", LONGEST_WAIT));
        turns.rest();
        Self { store: Arc::new(Mutex::new(store)), info, turns }
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
        let mut store = self.store.lock().unwrap_or_else(PoisonError::into_inner);
        self.turns.turn();
        let done = work(&mut *store);
        self.turns.rest();
        done
    }

    /// Tells the watchdog that a long call of [`run_blocking`](Self::run_blocking) makes progress.
    pub fn report_progress(&self) {
        self.turns.turn();
    }

    /// Returns the queues of spans and log records, without waiting for a commit that is under way.
    pub fn queue(&self) -> &OutboxQueue {
        &self.info.queue
    }

    /// The queue of log records; does not wait for a commit.
    pub fn log_queue(&self) -> &OutboxQueue {
        &self.info.log_queue
    }

    /// What is shown about the state.
    pub fn info(&self) -> &StoreInfo {
        &self.info
    }
}
