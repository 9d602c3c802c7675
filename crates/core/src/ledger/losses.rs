//! Lost deliveries: how many in a row, since when, and the details of the latest.
//!
//! A delivery is lost if its latest attempt ended it as `failed` or `abandoned`. It ended when that attempt was made,
//! no matter when the log entry was read. So the result does not depend on the order in which the log is read: an
//! attempt that turns up late is inserted at its place, and may change the deliveries after it.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::row::{Row, RowKey};
use crate::delivery::{DeliveryResult, EntryId, Timestamp};

/// How many lost deliveries of each target are kept.
pub const KEPT_LOSSES: usize = 50;

/// The end of a delivery. Ends are ordered like the attempts are decided: by time, attempt number and id.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct EndKey {
    /// The time of the last attempt.
    pub at: Timestamp,
    /// The number of the last attempt.
    pub attempt: u8,
    /// The log entry of the last attempt.
    pub id: EntryId,
}

impl EndKey {
    /// Returns the end of the delivery whose last attempt is `row`, at `key`.
    pub fn of(key: &RowKey, row: &Row) -> Self {
        Self { at: row.at, attempt: row.attempt, id: key.id.clone() }
    }
}

/// The deliveries that were lost since the last one that succeeded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LossStreak {
    /// How many.
    pub count: u64,
    /// When the first of them ended; `None` if there is none.
    pub since: Option<Timestamp>,
    /// The end of the last delivery that succeeded.
    pub last_success: Option<EndKey>,
}

/// The details of a lost delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LostDelivery {
    /// The first entry of the delivery, from which the trace id is derived.
    pub opening: EntryId,
    /// The event's label.
    pub event: Arc<str>,
    /// How it ended.
    pub result: DeliveryResult,
    /// The endpoint's HTTP status for the last attempt; `None` if it did not answer, or if that is unknown.
    pub http_status: Option<u16>,
    /// The cleaned error text of the last attempt.
    pub error: Option<Box<str>>,
}

/// The latest lost deliveries of a target.
pub type RecentLosses = BTreeMap<EndKey, LostDelivery>;

/// The changes of a decision to [`RecentLosses`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LossChanges {
    /// Losses that are new.
    pub added: RecentLosses,
    /// Losses to drop, because newer ones replace them or because the delivery was attempted again.
    pub removed: Vec<EndKey>,
}

impl LossChanges {
    /// Whether there are no changes.
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty()
    }

    /// Applies the changes to `losses`.
    pub fn apply_to(self, losses: &mut RecentLosses) {
        for end in &self.removed {
            losses.remove(end);
        }
        losses.extend(self.added);
    }
}
