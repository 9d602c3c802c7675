//! What is known of the outbox without asking the file: for scrapes, which must not wait for a commit, and for the
//! exporter, which sleeps until something arrives.
//!
//! It shows what has been committed, and changes after a commit only. Written by the store; read by whoever has a
//! clone.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use talkover_core::delivery::Timestamp;

/// The outbox at a glance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueStatus {
    /// Spans that wait.
    pub length: u64,
    /// Spans that may wait at most.
    pub capacity: u64,
    /// Since when the oldest waits, by the local clock; `None` if none does.
    pub oldest: Option<Timestamp>,
    /// Spans that a receiver has taken since the file was opened.
    pub exported: u64,
    /// Spans that a receiver has refused for good since then.
    pub rejected: u64,
    /// Spans that have had to make room for later ones since then.
    pub dropped: u64,
}

/// The queue as it is on disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct QueueOnDisk {
    /// How many spans wait, and
    pub(super) length: u64,
    /// since when the oldest does.
    pub(super) oldest: Option<Timestamp>,
}

/// The outbox as seen by those who do not write to it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct SpanQueue(Arc<SharedQueueStatus>);

#[derive(Debug)]
struct SharedQueueStatus {
    status: Mutex<QueueStatus>,
    arrivals: Notify,
}

impl SpanQueue {
    /// A queue without a limit.
    pub(super) fn new(waiting: QueueOnDisk) -> Self {
        let QueueOnDisk { length, oldest } = waiting;
        let status = QueueStatus { length, capacity: u64::MAX, oldest, exported: 0, rejected: 0, dropped: 0 };
        Self(Arc::new(SharedQueueStatus { status: Mutex::new(status), arrivals: Notify::new() }))
    }

    /// The outbox as it is now.
    pub fn status(&self) -> QueueStatus {
        *self.lock()
    }

    /// Returns when a commit has brought something since the last call returned; for one waiter.
    pub async fn arrival(&self) {
        self.0.arrivals.notified().await;
    }

    /// Records what a commit has brought, and of what it has dropped for that.
    pub(super) fn committed(&self, waiting: QueueOnDisk, dropped: u64) {
        let mut status = self.lock();
        (status.length, status.oldest) = (waiting.length, waiting.oldest);
        status.dropped += dropped;
        drop(status);
        self.0.arrivals.notify_one();
    }

    /// Records what has left, and how.
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
        // Nothing that holds it can panic half-way.
        self.0.status.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
