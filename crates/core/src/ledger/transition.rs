//! What can happen to an entry or a delivery: the only thing that the totals are made of.

use std::sync::Arc;

use super::labels::AttemptLabels;
use super::row::RowKey;
use super::series::LogOutcome;
use crate::delivery::{Attempt, DeliveryResult, EntryId, Timestamp};

/// Whether something was there before the daemon could have seen it happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Origin {
    /// Found by the first walk, and older than the first contact.
    History,
    /// Everything else, however old it says it is.
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
    /// An entry was taken into the books, or out of them.
    Logged(LogOutcome),
    /// An attempt was first seen with an outcome.
    Counted {
        /// The entry as it was read.
        attempt: Box<Attempt>,
        /// Its time.
        at: Timestamp,
        /// Its delivery.
        delivery: DeliveryRef,
        /// The labels it counts with.
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
        /// When its first attempt was made, as far as is remembered: before the opening entry where that one turned up
        /// late.
        began: Timestamp,
        /// When its last attempt was over.
        at: Timestamp,
        /// The event's name, or its label where the entry could not be read again.
        name: Arc<str>,
        /// The label `event`.
        event: Arc<str>,
        /// How.
        result: DeliveryResult,
        /// The attempt number with which it ended.
        attempts: u8,
        /// Whether it is history.
        origin: Origin,
    },
    /// Entries may have been lost to the log's retention before they could be read.
    Gap,
}
