//! Moments as the status tells them: RFC 3339 in UTC.

use std::time::Instant;

use talkover_core::delivery::Timestamp;

/// One moment by the clocks that times are told by.
#[derive(Clone, Copy, Debug)]
pub(in crate::server) struct StatusMoment {
    /// By the clock of the server, or by the local one where none concerns it.
    pub(in crate::server) now: Timestamp,
    /// By the clock that nobody sets.
    pub(in crate::server) instant: Instant,
}

impl StatusMoment {
    /// When `instant` is, by the clock that tells `now`.
    pub(in crate::server) fn of(self, instant: Instant) -> Timestamp {
        match instant.checked_duration_since(self.instant) {
            Some(ahead) => self.now.plus(ahead),
            None => self.now.minus(self.instant.saturating_duration_since(instant)),
        }
    }

    /// The same to the second, as it is told.
    pub(in crate::server) fn rfc3339_of(self, instant: Instant) -> String {
        seconds(self.of(instant))
    }
}

/// A moment as JSON has it.
pub(in crate::server) fn rfc3339(moment: Timestamp) -> String {
    jiff::Timestamp::from_microsecond(moment.as_micros()).map_or_else(|_| "?".to_owned(), |time| time.to_string())
}

/// The same, cut to the second.
pub(in crate::server) fn seconds(moment: Timestamp) -> String {
    rfc3339(Timestamp::from_seconds(moment.as_micros().div_euclid(1_000_000)))
}
