//! The vocabulary of the whole program: what an attempt is, what can become of it, and who owns a webhook.
//!
//! Plain values without I/O and without serde: every stage converts from and to them at its border.

pub mod owners;

use std::cmp::Ordering;
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

    /// This moment plus `duration`, or the end of time.
    pub fn plus(self, duration: std::time::Duration) -> Self {
        Self(self.0.saturating_add(micros(duration)))
    }

    /// This moment minus `duration`, or the beginning of time.
    pub fn minus(self, duration: std::time::Duration) -> Self {
        Self(self.0.saturating_sub(micros(duration)))
    }

    /// The time from `earlier` to this moment; zero if `earlier` is later.
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

    /// The owner type of that name, as the state file keeps it.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Agent, Self::Campaign].into_iter().find(|owner| owner.as_str() == name)
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
    /// The webhook's name, or its id if it has none.
    pub webhook_name: Arc<str>,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.environment, self.webhook_id)
    }
}

/// What the log says of an attempt now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AttemptStatus {
    /// Queued; there is no outcome yet.
    Pending,
    /// The webhook's endpoint answered 2xx.
    Success,
    /// The endpoint answered otherwise, or the connection failed.
    Failed,
    /// Failed, and another attempt is due.
    Retrying,
    /// A word that the API's reference does not list: an outcome, but not an end.
    Unknown,
}

impl AttemptStatus {
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

    /// Whether the attempt has failed, whatever became of its delivery.
    pub const fn is_failure(self) -> bool {
        matches!(self, Self::Failed | Self::Retrying)
    }
}

/// The answer of the webhook's endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HttpStatus {
    /// No answer came.
    None,
    /// A code from 100 to 999.
    Code(u16),
    /// Something that is not an HTTP status.
    Invalid,
}

/// How a delivery ended.
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

    /// The result of that name, as the state file keeps it.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Success, Self::Failed, Self::Abandoned].into_iter().find(|result| result.as_str() == name)
    }
}

/// The id of a log entry, unique within its environment.
///
/// The ids that the API shows are UUIDs, and there may be a million of them in memory: each takes 16 bytes. Any other
/// text is kept as it is. Two ids are equal exactly when their texts are, and are ordered like their texts.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EntryId(IdText);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum IdText {
    /// A UUID in its canonical form: lower case, with hyphens.
    Uuid([u8; 16]),
    Other(Arc<str>),
}

/// The positions of the hyphens in the text of a UUID (RFC 9562, section 4).
const UUID_HYPHENS: [usize; 4] = [8, 13, 18, 23];

impl EntryId {
    /// The id with this text.
    pub fn new(text: &str) -> Self {
        Self(parse_uuid(text.as_bytes()).map_or_else(|| IdText::Other(text.into()), IdText::Uuid))
    }
}

fn parse_uuid(text: &[u8]) -> Option<[u8; 16]> {
    if text.len() != 36 {
        return None;
    }
    let mut bytes = [0; 16];
    let mut digits = 0;
    for (position, &byte) in text.iter().enumerate() {
        if UUID_HYPHENS.contains(&position) {
            if byte != b'-' {
                return None;
            }
            continue;
        }
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            _ => return None,
        };
        bytes[digits / 2] = bytes[digits / 2] << 4 | digit;
        digits += 1;
    }
    Some(bytes)
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            IdText::Other(text) => f.write_str(text),
            IdText::Uuid(bytes) => {
                for (position, byte) in bytes.iter().enumerate() {
                    if matches!(position, 4 | 6 | 8 | 10) {
                        f.write_str("-")?;
                    }
                    write!(f, "{byte:02x}")?;
                }
                Ok(())
            }
        }
    }
}

impl Ord for EntryId {
    fn cmp(&self, other: &Self) -> Ordering {
        match (&self.0, &other.0) {
            (IdText::Uuid(a), IdText::Uuid(b)) => a.cmp(b),
            (IdText::Other(a), IdText::Other(b)) => a.cmp(b),
            _ => self.to_string().cmp(&other.to_string()),
        }
    }
}

impl PartialOrd for EntryId {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// A digest of event and payload, which the attempts of one delivery share.
pub type GroupKey = [u8; 16];

/// One entry of a delivery log, interpreted: one attempt to deliver one event.
#[derive(Clone, Debug, PartialEq)]
pub struct Attempt {
    /// The entry's id, unique within its environment.
    pub id: EntryId,
    /// The event's name; `none` if the entry has none.
    pub event: Arc<str>,
    /// 1 for the first attempt of a delivery, at most 255.
    pub attempt: u8,
    /// The state that the entry shows.
    pub status: AttemptStatus,
    /// What the endpoint answered.
    pub http_status: HttpStatus,
    /// Why a failed attempt failed, as far as the log says so: a short line without secrets.
    pub error: Option<Box<str>>,
    /// How long the attempt took, in nanoseconds; `None` if the log's value is unusable.
    pub duration_ns: Option<u64>,
    /// When the attempt was delivered.
    pub delivered_at: Option<Timestamp>,
    /// When the entry was created.
    pub created_at: Timestamp,
    /// What it shares with the other attempts of its delivery.
    pub group: GroupKey,
}

impl Attempt {
    /// When the attempt began and when it ended, in whole microseconds. It began when its entry was created; or, if the
    /// log says when it was delivered and that makes it later, its duration before that.
    pub fn span(&self) -> (Timestamp, Timestamp) {
        let duration = std::time::Duration::from_nanos(self.duration_ns.unwrap_or(0));
        let sent_at = self.delivered_at.map(|delivered_at| delivered_at.minus(duration));
        let start = self.created_at.max(sent_at.unwrap_or(self.created_at));
        (start, start.plus(duration))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_keeps_its_text_and_its_order() {
        let texts = [
            "0",
            "0f3b6c2e-0000-4000-8000-00000000000",
            "9fcafbf2-7593-44d6-8cd7-1b221beba62a",
            "9fcafbf2-7593-44d6-8cd7-1b221beba62b",
            "9FCAFBF2-7593-44D6-8CD7-1B221BEBA62A",
            "9fcafbf2x7593-44d6-8cd7-1b221beba62a",
            "log-uuid-1",
            "é",
        ];
        for a in texts {
            assert_eq!(EntryId::new(a).to_string(), a);
            for b in texts {
                assert_eq!(EntryId::new(a).cmp(&EntryId::new(b)), a.cmp(b), "{a} and {b}");
            }
        }
    }

    #[test]
    fn time_stops_at_its_ends() {
        let end = Timestamp::from_micros(i64::MAX);
        assert_eq!(end.plus(std::time::Duration::from_secs(1)), end);
        assert_eq!(Timestamp::from_seconds(1).since(Timestamp::from_seconds(2)), std::time::Duration::ZERO);
    }
}
