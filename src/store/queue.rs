//! What is known of the queues of spans and of log records without reading the file: for scrapes, which must not wait for a commit, and for
//! the exporters, which sleep until something arrives.
//!
//! It shows what has been committed, and changes only after a commit. Written by the store; read through clones.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use talkover_core::delivery::Timestamp;

/// A queue at one moment: of spans, or of log records. Either is called an item here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueStatus {
    /// Items in the queue.
    pub length: u64,
    /// The most items that the queue may hold.
    pub capacity: u64,
    /// When the oldest was queued, by the local clock; `None` if the queue is empty.
    pub oldest: Option<Timestamp>,
    /// Items that a receiver has accepted since the file was opened.
    pub exported: u64,
    /// Items that a receiver has rejected since then.
    pub rejected: u64,
    /// Items that were dropped since then to make room for later ones.
    pub dropped: u64,
}

/// The queue as it is on disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct QueueOnDisk {
    /// How many items it holds, and
    pub(super) length: u64,
    /// when the oldest was queued.
    pub(super) oldest: Option<Timestamp>,
}

/// The queue, for readers. Cheap to clone.
#[derive(Clone, Debug)]
pub struct OutboxQueue(Arc<SharedQueueStatus>);

#[derive(Debug)]
struct SharedQueueStatus {
    status: Mutex<QueueStatus>,
    arrivals: Notify,
}

impl OutboxQueue {
    /// A queue without a limit.
    pub(super) fn new(waiting: QueueOnDisk) -> Self {
        let QueueOnDisk { length, oldest } = waiting;
        let status = QueueStatus { length, capacity: u64::MAX, oldest, exported: 0, rejected: 0, dropped: 0 };
        Self(Arc::new(SharedQueueStatus { status: Mutex::new(status), arrivals: Notify::new() }))
    }

    /// The queue as it is now.
    pub fn status(&self) -> QueueStatus {
        *self.lock()
    }

    /// Returns when a commit has added items since the last call; for one waiter.
    pub async fn arrival(&self) {
        self.0.arrivals.notified().await;
    }

    /// Records the queue after a commit, and how many items that commit has dropped.
    pub(super) fn committed(&self, waiting: QueueOnDisk, dropped: u64) {
        let mut status = self.lock();
        (status.length, status.oldest) = (waiting.length, waiting.oldest);
        status.dropped += dropped;
        drop(status);
        self.0.arrivals.notify_one();
    }

    /// Records the queue after items have left it, and how.
    pub(super) fn acknowledged(&self, waiting: QueueOnDisk, exported: u64, rejected: u64) {
        let mut status = self.lock();
        (status.length, status.oldest) = (waiting.length, waiting.oldest);
        status.exported += exported;
        status.rejected += rejected;
    }

    pub(super) fn set_capacity(&self, capacity: u64) {
        self.lock().capacity = capacity;
    }

    fn lock(&self) -> MutexGuard<'_, QueueStatus> {
        // No code that holds the lock can panic half-way.
        self.0.status.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
