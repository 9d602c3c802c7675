//! What can happen to an entry or a delivery: totals consist of nothing else.

use std::sync::Arc;

use super::labels::AttemptLabels;
use super::row::RowKey;
use super::series::LogOutcome;
use crate::delivery::{Attempt, DeliveryResult, EntryId, Timestamp};

/// Whether something had happened before the daemon could have seen it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Origin {
    /// Found by the first walk, and older than the first contact.
    History,
    /// Everything else, however old its date.
    Live,
}

/// The delivery that an attempt belongs to.
#[derive(Clone, Debug, PartialEq)]
pub struct DeliveryRef {
    /// The entry that opened it.
    pub opening: RowKey,
    /// Whether an attempt before this one did not succeed.
    pub is_retry: bool,
}

/// One thing that happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Transition {
    /// An entry was registered or given up.
    Logged(LogOutcome),
    /// An attempt was seen with an outcome for the first time.
    Counted {
        /// The entry as it was read.
        attempt: Box<Attempt>,
        /// Its time.
        at: Timestamp,
        /// Its delivery.
        delivery: DeliveryRef,
        /// The labels with which it counts.
        labels: AttemptLabels,
        /// From creation to delivery, in nanoseconds.
        delay_ns: Option<u64>,
        /// Whether it is history.
        origin: Origin,
    },
    /// A delivery came to an end.
    Ended {
        /// The entry with which it ended.
        id: EntryId,
        /// The delivery.
        delivery: DeliveryRef,
        /// When its first attempt was made, as far as is remembered: before the opening entry if that attempt turned up
        /// late.
        began: Timestamp,
        /// When its last attempt ended.
        at: Timestamp,
        /// The event's name, or its label if the entry could not be read again.
        name: Arc<str>,
        /// The label `event`.
        event: Arc<str>,
        /// How it ended.
        result: DeliveryResult,
        /// The attempt number with which it ended.
        attempts: u8,
        /// What the log says about why it was lost, cleaned; `None` if it succeeded or was abandoned.
        error: Option<Box<str>>,
        /// Whether it is history.
        origin: Origin,
    },
    /// Entries may have been lost to the log's retention before they could be read.
    Gap,
}
