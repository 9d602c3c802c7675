//! What is remembered of one entry.

use std::sync::Arc;

use super::labels::{AttemptLabels, HttpLabel};
use super::series::{Family, LogOutcome, SeriesKey};
use crate::delivery::{AttemptStatus, DeliveryResult, EntryId, GroupKey, Timestamp};

/// Where an entry is in the order of time: newer entries have greater keys.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RowKey {
    /// The entry's `created_at`, as the log has it.
    pub created_at: Timestamp,
    /// Its id.
    pub id: EntryId,
}

/// Whether the attempt after an entry is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Continued {
    /// Not yet: the entry is the latest attempt of its delivery, as far as is known.
    No,
    /// By an attempt that turned up after it.
    InOrder,
    /// By an attempt that had turned up before it. Such an entry is late: it counts as an attempt and ends nothing.
    Overtaken,
}

/// What is remembered of an entry.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// The time for which it stands: `created_at`, unless that was ahead of the server's clock.
    pub at: Timestamp,
    /// Its attempt number.
    pub attempt: u8,
    /// The state in which it was last seen.
    pub status: AttemptStatus,
    /// The event's label.
    pub event: Arc<str>,
    /// The labels `status` and `http_status` with which it was counted; `None` while it is pending.
    pub counted: Option<(AttemptStatus, HttpLabel)>,
    /// What it shares with the other attempts of its delivery.
    pub group: GroupKey,
    /// When the attempt ended; when it was created while it is pending.
    pub finished_at: Timestamp,
    /// Whether an earlier attempt of its delivery did not succeed, as far as was known when this one turned up.
    pub is_retry: bool,
    /// The entry that opened its delivery: its first attempt to turn up. `None` if that is this entry.
    pub opening: Option<Arc<RowKey>>,
    /// Whether the attempt before it is known.
    pub is_preceded: bool,
    /// Whether the attempt after it is known.
    pub continued: Continued,
    /// Whether it is followed because it may still change.
    pub open: bool,
    /// Whether it has ended its delivery, or was given up: then its later changes do not count.
    pub ended: bool,
    /// Whether it turned up late.
    pub late: bool,
    /// How its delivery ended, if it ended with this entry.
    pub result: Option<DeliveryResult>,
}

impl Row {
    /// Whether no later attempt of its delivery is known.
    pub fn is_latest(&self) -> bool {
        self.continued == Continued::No
    }

    /// Whether its delivery is lost: it ended with this entry without success, and has not gone on since.
    pub fn is_lost(&self) -> bool {
        self.is_latest() && matches!(self.result, Some(DeliveryResult::Failed | DeliveryResult::Abandoned))
    }

    /// The entry that opened the delivery of the entry at `key`.
    pub fn opening<'a>(&'a self, key: &'a RowKey) -> &'a RowKey {
        self.opening.as_deref().unwrap_or(key)
    }

    /// The labels with which it was counted.
    pub fn labels(&self) -> Option<AttemptLabels> {
        let (status, http_status) = self.counted?;
        Some(AttemptLabels { event: self.event.clone(), status, http_status })
    }

    /// The counters in which it counts, once each.
    pub fn counters(&self) -> Vec<SeriesKey> {
        let logged = if self.late { LogOutcome::Late } else { LogOutcome::New };
        let expired = (self.ended && self.counted.is_none()).then(|| SeriesKey::log_entries(LogOutcome::Expired));
        let delivery = self.result.map(|result| {
            let labels = [self.event.clone(), result.as_str().into()];
            SeriesKey::new(Family::Deliveries, labels)
        });
        let attempt = self.labels().map(|labels| labels.attempts_series());
        [Some(SeriesKey::log_entries(logged)), expired, attempt, delivery].into_iter().flatten().collect()
    }
}

/// An entry, and what is remembered of it.
#[derive(Clone, Debug, PartialEq)]
pub struct KeyedRow {
    /// Its key.
    pub key: RowKey,
    /// What is remembered.
    pub row: Row,
}
