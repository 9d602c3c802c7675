//! One entry of a delivery log: one attempt to deliver one event.
//!
//! Values only; `log` keeps them in order, `json` writes them.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::clock::Moment;

/// The documented words for what has become of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Queued; there is no outcome yet.
    Pending,
    /// The endpoint answered 2xx.
    Success,
    /// The endpoint answered otherwise or not at all, and no attempt follows.
    Failed,
    /// Failed, and another attempt is due.
    Retrying,
}

impl Status {
    /// The word that the log shows.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Success => "success",
            Self::Failed => "failed",
            Self::Retrying => "retrying",
        }
    }
}

/// How an entry deviates from the documentation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Anomaly {
    /// There is no `id`.
    MissingId,
    /// `id` is an object.
    GarbageId,
    /// There is no `created_at`.
    MissingCreatedAt,
    /// `created_at` is a text that is not a time.
    GarbageCreatedAt,
    /// `status` is an unknown word.
    UnknownStatus,
    /// `event`, `attempt`, `http_status` and `duration_ms` have unusable types or values.
    GarbageFields,
    /// The entry was given as raw text.
    Raw,
}

impl Anomaly {
    /// The anomalies that are drawn at random.
    pub(super) const DRAWN: [Self; 6] = [
        Self::MissingId,
        Self::GarbageId,
        Self::MissingCreatedAt,
        Self::GarbageCreatedAt,
        Self::UnknownStatus,
        Self::GarbageFields,
    ];

    /// Whether the entry lacks what every reader needs: its id or its time. Not known for raw entries.
    pub const fn is_invalid(self) -> bool {
        matches!(self, Self::MissingId | Self::GarbageId | Self::MissingCreatedAt | Self::GarbageCreatedAt)
    }
}

/// What an entry shows; tests set and change it.
#[derive(Clone, Debug, PartialEq)]
pub struct EntrySpec {
    /// Its id; if `None`, the world makes one.
    pub id: Option<String>,
    /// When it was created; the log shows whole seconds and is ordered by them.
    pub created_at: Moment,
    /// The event's name.
    pub event: Arc<str>,
    /// 1 for the first attempt of a delivery.
    pub attempt: u8,
    /// What has become of it.
    pub status: Status,
    /// The endpoint's answer; `None` if there was none.
    pub http_status: Option<u16>,
    /// The error text of a failure.
    pub error: Option<String>,
    /// How long the attempt took, in milliseconds.
    pub duration_ms: Option<u64>,
    /// When it was delivered.
    pub delivered_at: Option<Moment>,
    /// The delivery to which it belongs, and thereby the payload; `None` opens a new one.
    pub delivery: Option<u32>,
    /// A payload of its own, instead of its delivery's.
    pub payload: Option<serde_json::Value>,
}

impl Default for EntrySpec {
    /// A first attempt that succeeded, like the documented sample.
    fn default() -> Self {
        Self {
            id: None,
            created_at: Moment::default(),
            event: Arc::from("event_phone_call_ended"),
            attempt: 1,
            status: Status::Success,
            http_status: Some(200),
            error: None,
            duration_ms: Some(142),
            delivered_at: None,
            delivery: None,
            payload: None,
        }
    }
}

/// Where an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EntryPlace {
    /// Created, but not in the list yet.
    Hidden,
    /// In the list; among entries of one second, a higher rank comes before a lower one.
    Shown { rank: u64 },
    /// It was in the list and was deleted.
    Deleted,
    /// It was in the list until its retention was over.
    Expired,
}

/// An outcome that was drawn and is not shown yet.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct DrawnOutcome {
    pub(super) status: Status,
    pub(super) http_status: Option<u16>,
    pub(super) error: Option<String>,
    pub(super) duration_ms: u64,
    pub(super) delivered_at: Option<Moment>,
}

/// An entry, and what is known of it beyond what it shows.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) id: Box<str>,
    pub(crate) delivery: u32,
    pub(crate) spec: EntrySpec,
    pub(crate) place: EntryPlace,
    pub(crate) anomaly: Option<Anomaly>,
    /// Whether it was `retrying` until its delivery's last attempt had failed.
    pub(crate) superseded: bool,
    /// Whether the list showed it only some time after its creation.
    pub(crate) late: bool,
    pub(super) coming: Option<Box<DrawnOutcome>>,
    pub(super) raw: Option<Box<str>>,
}

impl Entry {
    /// The second that orders the list.
    pub(super) fn second(&self) -> i64 {
        self.spec.created_at.as_seconds()
    }

    /// Shows the outcome that was drawn. Returns whether there was one.
    pub(super) fn settle(&mut self) -> bool {
        let Some(outcome) = self.coming.take() else { return false };
        self.spec.status = outcome.status;
        self.spec.http_status = outcome.http_status;
        self.spec.error = outcome.error;
        self.spec.duration_ms = Some(outcome.duration_ms);
        self.spec.delivered_at = outcome.delivered_at;
        true
    }
}
