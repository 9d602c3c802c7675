//! Deliveries that were lost: how many in a row, since when, and what is known of the latest.
//!
//! A delivery is lost while the attempt that ended it as `failed` or `abandoned` is its latest one. It ended when that
//! attempt was made, whenever that was found out: so an attempt that turns up late changes what came after it, and
//! nothing depends on the order in which the log is read.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::row::{Row, RowKey};
use crate::delivery::{DeliveryResult, EntryId, Timestamp};

/// The lost deliveries kept of each target.
pub const KEPT_LOSSES: usize = 50;

/// Where the end of a delivery stands among others: in the order in which attempts are decided.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct EndKey {
    /// The time that the last attempt stands for.
    pub at: Timestamp,
    /// Its number.
    pub attempt: u8,
    /// Its entry.
    pub id: EntryId,
}

impl EndKey {
    /// The end of the delivery that ended with the entry at `key`.
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

/// What is kept of a delivery that was lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LostDelivery {
    /// The entry that opened the delivery, which its trace is named after.
    pub opening: EntryId,
    /// The event's label.
    pub event: Arc<str>,
    /// How it ended.
    pub result: DeliveryResult,
    /// What the endpoint answered to the last attempt; `None` if it did not, or if that is not known.
    pub http_status: Option<u16>,
    /// The cleaned error text of the last attempt.
    pub error: Option<Box<str>>,
}

/// The latest of a target's lost deliveries.
pub type RecentLosses = BTreeMap<EndKey, LostDelivery>;

/// What a decision changes of [`RecentLosses`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LossChanges {
    /// Those that are new.
    pub added: RecentLosses,
    /// Those that are kept no longer: newer ones take their place, or the delivery went on.
    pub removed: Vec<EndKey>,
}

impl LossChanges {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty()
    }

    /// Makes the changes part of `losses`.
    pub fn apply_to(self, losses: &mut RecentLosses) {
        for end in &self.removed {
            losses.remove(end);
        }
        losses.extend(self.added);
    }
}
