//! The names of what is counted: families of series, and the series in them.

use std::sync::Arc;

/// Buckets of the delay between creation and delivery, in seconds.
pub const DELAY_BUCKETS: [f64; 11] = [1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0, 14400.0, 86400.0];
/// Buckets of the attempts that a delivery took: up to the largest `max_retries` of 10, and the first attempt.
pub const ATTEMPTS_BUCKETS: [f64; 7] = [1.0, 2.0, 3.0, 4.0, 5.0, 7.0, 11.0];
/// What became of a log entry: the label `outcome` of `talkover_exporter_log_entries_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LogOutcome {
    /// Seen for the first time, not older than the watermark.
    New,
    /// Seen for the first time, and older than the watermark.
    Late,
    /// Still pending when it was no longer followed.
    Expired,
    /// Older than the history cutoff, or than all that is remembered.
    Ignored,
    /// Not usable.
    Invalid,
}

impl LogOutcome {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::New, Self::Late, Self::Expired, Self::Ignored, Self::Invalid];

    /// The value of the label `outcome`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Late => "late",
            Self::Expired => "expired",
            Self::Ignored => "ignored",
            Self::Invalid => "invalid",
        }
    }
}

/// The families whose totals are durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// `talkover_webhook_delivery_attempts_total`
    Attempts,
    /// `talkover_webhook_delivery_duration_seconds`
    Duration,
    /// `talkover_webhook_delivery_delay_seconds`
    Delay,
    /// `talkover_webhook_deliveries_total`
    Deliveries,
    /// `talkover_webhook_attempts_per_delivery`
    AttemptsPerDelivery,
    /// `talkover_exporter_log_entries_total`
    LogEntries,
    /// `talkover_exporter_history_gaps_total`
    HistoryGaps,
}

impl Family {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Attempts,
        Self::Duration,
        Self::Delay,
        Self::Deliveries,
        Self::AttemptsPerDelivery,
        Self::LogEntries,
        Self::HistoryGaps,
    ];

    /// The name under which the state file keeps it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Attempts => "attempts",
            Self::Duration => "duration",
            Self::Delay => "delay",
            Self::Deliveries => "deliveries",
            Self::AttemptsPerDelivery => "attempts_per_delivery",
            Self::LogEntries => "log_entries",
            Self::HistoryGaps => "history_gaps",
        }
    }

    /// Returns the upper bounds of its buckets, in the unit of its name, if no setting chooses them; `None` for
    /// counters, and for durations, whose buckets are a setting.
    pub const fn fixed_buckets(self) -> Option<&'static [f64]> {
        match self {
            Self::Delay => Some(&DELAY_BUCKETS),
            Self::AttemptsPerDelivery => Some(&ATTEMPTS_BUCKETS),
            Self::Attempts | Self::Duration | Self::Deliveries | Self::LogEntries | Self::HistoryGaps => None,
        }
    }

    /// Whether its series are born: those of deliveries are; those that count the daemon's own work exist from the
    /// start.
    pub const fn is_born(self) -> bool {
        !matches!(self, Self::LogEntries | Self::HistoryGaps)
    }
}

/// One series of one target: a family and the values of its labels, in the family's order.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SeriesKey {
    /// The family.
    pub family: Family,
    /// The values of its labels.
    pub labels: Box<[Arc<str>]>,
}

impl SeriesKey {
    /// The series of `family` with these label values.
    pub fn new(family: Family, labels: impl IntoIterator<Item = Arc<str>>) -> Self {
        Self { family, labels: labels.into_iter().collect() }
    }

    /// The series of log entries with that outcome.
    pub fn log_entries(outcome: LogOutcome) -> Self {
        Self::new(Family::LogEntries, [outcome.as_str().into()])
    }

    /// The series of history gaps.
    pub fn history_gaps() -> Self {
        Self::new(Family::HistoryGaps, [])
    }
}
