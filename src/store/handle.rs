//! The state file, shared: by those who commit to it and by those who only ask how large it is.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::error::StoreError;
use super::lock::beside;
use super::outbox::{QueuedSpan, SpanBatch};
use super::queue::Queue;
use super::staged::{StagedPart, StagedWalk};
use super::targets::Unlisted;
use super::{Loaded, Store};
use talkover_core::clock::LocalTime;
use talkover_core::delivery::{Attempt, Target, Timestamp};
use talkover_core::discovery::record::{Record, Unsaved};
use talkover_core::ledger::labels::LabelPolicy;
use talkover_core::ledger::state::Changes;
use talkover_core::ledger::totals::SeriesKey;

/// A shared way to the open state file. When the last one goes, the file is closed, and SQLite carries its log over into it.
#[derive(Clone, Debug)]
pub struct StoreHandle {
    store: Arc<Mutex<Store>>,
    info: StoreInfo,
}

/// What is shown of the state file. It does not keep the file open.
#[derive(Clone, Debug)]
pub struct StoreInfo {
    path: Arc<PathBuf>,
    created_at: LocalTime,
    queue: Queue,
}

impl StoreInfo {
    /// When the state file was made.
    pub fn created_at(&self) -> LocalTime {
        self.created_at
    }

    /// The bytes that the state takes on disk now, with its write-ahead log and the memory of the budget.
    pub fn size_bytes(&self) -> u64 {
        let mut wal = self.path.as_os_str().to_owned();
        wal.push("-wal");
        let length = |path: &Path| std::fs::metadata(path).map_or(0, |metadata| metadata.len());
        length(&self.path) + length(Path::new(&wal)) + length(&beside(&self.path, "budget"))
    }

    /// The outbox at a glance.
    pub fn queue(&self) -> &Queue {
        &self.queue
    }
}

impl StoreHandle {
    /// Shares an open state file.
    pub fn new(store: Store) -> Self {
        let info = StoreInfo {
            path: Arc::new(store.path.clone()),
            created_at: store.created_at(),
            queue: store.queue().clone(),
        };
        Self { store: Arc::new(Mutex::new(store)), info }
    }

    /// Commits `changes` and `spans`, and returns when they are on disk: the caller waits, and so must not be an asynchronous task.
    ///
    /// # Errors
    /// Where nothing could be written.
    pub fn commit(&self, target: &Target, changes: &Changes, spans: &SpanBatch) -> Result<(), StoreError> {
        self.lock().commit(target, changes, spans)
    }

    fn lock(&self) -> MutexGuard<'_, Store> {
        // A poisoned lock means that a commit panicked: its transaction was rolled back, the file is sound.
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds what a long walk has read, and returns when that is on disk: the caller waits, and so must not be an asynchronous
    /// task.
    ///
    /// # Errors
    /// Where nothing could be written.
    pub fn stage(
        &self,
        target: &Target,
        walk: &StagedWalk,
        attempts: &[Attempt],
        invalid: &[Box<str>],
    ) -> Result<(), StoreError> {
        self.lock().stage(target, walk, attempts, invalid)
    }

    /// Decides and commits a long walk ([`Store::commit_staged`]): the caller waits, and so must not be an asynchronous task.
    ///
    /// # Errors
    /// Where nothing could be written.
    pub fn commit_staged(
        &self,
        target: &Target,
        attempts: &[Attempt],
        invalid: &[Box<str>],
        decide: impl FnMut(StagedPart) -> (Changes, SpanBatch),
    ) -> Result<(), StoreError> {
        self.lock().commit_staged(target, attempts, invalid, decide)
    }

    /// Reads the memory of a target anew.
    ///
    /// # Errors
    /// Where the file cannot be read.
    pub fn load(&self, target: &Target, policy: &LabelPolicy) -> Result<Loaded, StoreError> {
        self.lock().load(target, policy)
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
        self.lock().release(target, series, caught_up)
    }

    /// Drops the histograms of durations where they were made with other buckets or labels; says whether there were any.
    ///
    /// # Errors
    /// Where the file cannot be read or written.
    pub fn adopt_layout(&self, policy: &LabelPolicy) -> Result<bool, StoreError> {
        self.lock().adopt_layout(policy)
    }

    /// Notes which targets of an environment are listed, as of `now` by the local clock; gives the others that the file knows.
    ///
    /// # Errors
    /// Where the file cannot be read or written.
    pub fn list(&self, environment: &str, listed: &[Target], now: LocalTime) -> Result<Vec<Unlisted>, StoreError> {
        self.lock().list(environment, listed, now)
    }

    /// The environments that the file knows targets of.
    ///
    /// # Errors
    /// Where the file cannot be read.
    pub fn environments(&self) -> Result<Vec<String>, StoreError> {
        self.lock().environments()
    }

    /// Forgets a target unless it is listed, calls `removed`, and says whether it did. Nobody can list it anew in between.
    ///
    /// # Errors
    /// Where nothing could be written.
    pub fn remove_unlisted(&self, target: &Target, removed: impl FnOnce()) -> Result<bool, StoreError> {
        let mut store = self.lock();
        let is_removed = store.remove_unlisted(target)?;
        if is_removed {
            removed();
        }
        Ok(is_removed)
    }

    /// What discovery knows of an environment.
    ///
    /// # Errors
    /// Where the file cannot be read.
    pub fn load_discovered(&self, environment: &str) -> Result<Record, StoreError> {
        self.lock().load_discovered(environment)
    }

    /// Writes what discovery has learned, and returns when that is on disk: the caller waits, and so must not be an asynchronous task.
    ///
    /// # Errors
    /// Where nothing could be written.
    pub fn save_discovered(
        &self,
        environment: &str,
        unsaved: &Unsaved,
        listed: &[Target],
        unlisted: &[Target],
        now: LocalTime,
    ) -> Result<(), StoreError> {
        self.lock().save_discovered(environment, unsaved, listed, unlisted, now)
    }

    /// Keeps in mind when a target's poll last succeeded.
    pub fn note_success(&self, target: &Target, date: Timestamp) {
        self.lock().note_success(target, date);
    }

    /// Sets how many spans may wait, and drops the oldest where more do; says how many. The caller waits for the disk, and so must
    /// not be an asynchronous task.
    ///
    /// # Errors
    /// Where nothing could be written.
    pub fn limit_spans(&self, capacity: u32) -> Result<u64, StoreError> {
        self.lock().limit_spans(capacity)
    }

    /// The oldest spans that wait ([`Store::oldest_spans`]): the caller waits for commits, and so must not be an asynchronous task.
    ///
    /// # Errors
    /// Where the file cannot be read.
    pub fn oldest_spans(&self, max_spans: usize, max_bytes: usize) -> Result<Vec<QueuedSpan>, StoreError> {
        self.lock().oldest_spans(max_spans, max_bytes)
    }

    /// Removes spans that a receiver has or has refused ([`Store::acknowledge_spans`]), and returns when that is on disk: the caller
    /// waits, and so must not be an asynchronous task.
    ///
    /// # Errors
    /// Where nothing could be written.
    pub fn acknowledge_spans(&self, through: i64, rejected: u64) -> Result<(), StoreError> {
        self.lock().acknowledge_spans(through, rejected)
    }

    /// What tells this state file from all others ([`Store::instance_id`]): the caller waits for the disk, and so must not be an
    /// asynchronous task.
    ///
    /// # Errors
    /// Where the file cannot be read or written.
    pub fn instance_id(&self) -> Result<String, StoreError> {
        self.lock().instance_id()
    }

    /// The outbox at a glance; waits for no commit.
    pub fn queue(&self) -> &Queue {
        &self.info.queue
    }

    /// What is shown of the file.
    pub fn info(&self) -> &StoreInfo {
        &self.info
    }
}
