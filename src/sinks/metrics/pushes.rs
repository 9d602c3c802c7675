//! How pushes of metrics over OTLP went: counted by [`super::otlp`], shown like every other metric.

use std::sync::{Arc, Mutex, PoisonError};

use talkover_core::server_time::LocalTime;

/// How a push ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PushResult {
    /// The receiver has all of it.
    Exported,
    /// The receiver has refused some of it, or all, for good.
    Rejected,
    /// The receiver was not reached, or wants to be asked again.
    Failed,
}

/// Pushes since the process was started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PushCounts {
    /// Those that the receiver has taken as a whole.
    pub exported: u64,
    /// Those of which it has refused a part, or all.
    pub rejected: u64,
    /// Those that have failed.
    pub failed: u64,
    /// When it last had a whole one.
    pub last_success: Option<LocalTime>,
}

/// The counts, for whoever shows them. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct PushStatus(Arc<Mutex<PushCounts>>);

impl PushStatus {
    /// Returns the counts.
    pub fn counts(&self) -> PushCounts {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records the end of a push, at `now`.
    pub fn record(&self, result: PushResult, now: LocalTime) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match result {
            PushResult::Exported => {
                counts.exported += 1;
                counts.last_success = Some(now);
            }
            PushResult::Rejected => counts.rejected += 1,
            PushResult::Failed => counts.failed += 1,
        }
    }
}
