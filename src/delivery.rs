//! The vocabulary of the whole program: what an attempt is, what can become of it, and who owns a webhook.
//!
//! Plain values without I/O and without serde: the stages translate from and to them at their borders.

use std::fmt;
use std::sync::Arc;

/// A moment in UTC, in whole microseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The moment `micros` microseconds after the Unix epoch.
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// The moment `seconds` seconds after the Unix epoch.
    pub const fn from_seconds(seconds: i64) -> Self {
        Self(seconds.saturating_mul(1_000_000))
    }

    /// Microseconds since the Unix epoch.
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// Seconds since the Unix epoch, as Prometheus wants times.
    pub fn as_seconds_f64(self) -> f64 {
        self.0 as f64 / 1e6
    }

    /// This moment and `duration` more, or the end of time.
    pub fn plus(self, duration: std::time::Duration) -> Self {
        Self(self.0.saturating_add(micros(duration)))
    }

    /// This moment less `duration`, or the beginning of time.
    pub fn minus(self, duration: std::time::Duration) -> Self {
        Self(self.0.saturating_sub(micros(duration)))
    }

    /// The time from `earlier` to this moment; nothing if `earlier` is later.
    pub fn since(self, earlier: Self) -> std::time::Duration {
        let micros = self.0.saturating_sub(earlier.0);
        std::time::Duration::from_micros(u64::try_from(micros).unwrap_or(0))
    }
}

fn micros(duration: std::time::Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

/// What owns a webhook (`agents/…` or `campaigns/…` in the API's paths).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OwnerType {
    /// A voice agent.
    Agent,
    /// An outbound campaign.
    Campaign,
}

impl OwnerType {
    /// The value of the label `owner_type`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Campaign => "campaign",
        }
    }
}

/// One webhook of one environment: what is polled, and what the labels name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Target {
    /// The label `environment`.
    pub environment: Arc<str>,
    /// The label `webhook_id`.
    pub webhook_id: Arc<str>,
    /// Whether an agent or a campaign owns the webhook.
    pub owner_type: OwnerType,
    /// The owner's id.
    pub owner_id: Arc<str>,
    /// The webhook's name, or its id where it has none.
    pub webhook_name: Arc<str>,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.environment, self.webhook_id)
    }
}

/// What the log says of an attempt now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Status {
    /// Queued; there is no outcome yet.
    Pending,
    /// The webhook's endpoint answered 2xx.
    Success,
    /// The endpoint answered otherwise, or the connection failed.
    Failed,
    /// Failed, and another attempt is due.
    Retrying,
    /// A word that the API's reference does not know: an outcome, but no end.
    Unknown,
}

impl Status {
    /// The value of the label `status`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Success => "success",
            Self::Failed => "failed",
            Self::Retrying => "retrying",
            Self::Unknown => "unknown",
        }
    }

    /// The status of that name, as the state file keeps it.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Pending, Self::Success, Self::Failed, Self::Retrying, Self::Unknown]
            .into_iter()
            .find(|status| status.as_str() == name)
    }

    /// Whether an attempt in this state is counted.
    pub const fn is_outcome(self) -> bool {
        !matches!(self, Self::Pending)
    }
}

/// The answer of the webhook's endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HttpStatus {
    /// No answer came.
    None,
    /// A code from 100 to 999.
    Code(u16),
    /// Something that is no HTTP status.
    Invalid,
}

/// How a delivery came to an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DeliveryResult {
    /// An attempt succeeded.
    Success,
    /// An attempt failed for good.
    Failed,
    /// Nothing more was heard of it within `settle_after`.
    Abandoned,
}

impl DeliveryResult {
    /// The value of the label `result`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Failed => "failed",
            Self::Abandoned => "abandoned",
        }
    }
}

/// A digest of event and payload: attempts of one delivery share it.
pub type GroupKey = [u8; 16];

/// One entry of a delivery log, made sense of: one attempt to deliver one event.
#[derive(Clone, Debug, PartialEq)]
pub struct Attempt {
    /// The entry's id, unique within its environment.
    pub id: Box<str>,
    /// The event's name; `none` where the entry has none.
    pub event: Arc<str>,
    /// 1 for the first attempt of a delivery, at most 255.
    pub attempt: u8,
    /// The state that the entry shows.
    pub status: Status,
    /// What the endpoint answered.
    pub http_status: HttpStatus,
    /// How long the attempt took, in nanoseconds; absent where it cannot be used.
    pub duration_ns: Option<u64>,
    /// When the attempt was delivered.
    pub delivered_at: Option<Timestamp>,
    /// When the entry was made.
    pub created_at: Timestamp,
    /// The cleaned first line of the entry's error text.
    pub error: Option<Box<str>>,
    /// What it shares with the other attempts of its delivery.
    pub group: GroupKey,
}
