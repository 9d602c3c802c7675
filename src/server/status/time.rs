//! Times in the status: RFC 3339 in UTC.

use std::time::Instant;

use talkover_core::delivery::Timestamp;

/// The same moment by two clocks.
#[derive(Clone, Copy, Debug)]
pub(in crate::server) struct StatusMoment {
    /// By the server's clock, or by the local one for what concerns no server.
    pub(in crate::server) now: Timestamp,
    /// By the monotonic clock.
    pub(in crate::server) instant: Instant,
}

impl StatusMoment {
    /// Converts `instant` to a time by the clock of `now`.
    pub(in crate::server) fn of(self, instant: Instant) -> Timestamp {
        match instant.checked_duration_since(self.instant) {
            Some(ahead) => self.now.plus(ahead),
            None => self.now.minus(self.instant.saturating_duration_since(instant)),
        }
    }

    /// Converts `instant` to text, to the second.
    pub(in crate::server) fn rfc3339_of(self, instant: Instant) -> String {
        seconds(self.of(instant))
    }
}

/// Formats a time for JSON.
pub(in crate::server) fn rfc3339(moment: Timestamp) -> String {
    jiff::Timestamp::from_microsecond(moment.as_micros()).map_or_else(|_| "?".to_owned(), |time| time.to_string())
}

/// Formats a time for JSON, cut to the second.
pub(in crate::server) fn seconds(moment: Timestamp) -> String {
    rfc3339(Timestamp::from_seconds(moment.as_micros().div_euclid(1_000_000)))
}
