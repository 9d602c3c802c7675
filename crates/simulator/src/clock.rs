//! The simulated API's own time: moments, and the clock that shows the current one.
//!
//! Never waits, and knows nothing of the daemon's clock: the two must be free to disagree. Used by the whole simulator,
//! and by tests that move its time by hand.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use serde::{Serialize, Serializer};

/// A moment in UTC, in whole microseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(i64);

impl Moment {
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

    /// Whole seconds since the Unix epoch, rounded down: what the logs show.
    pub const fn as_seconds(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }

    /// This moment plus `duration`, or the end of time.
    pub fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(micros(duration)))
    }

    /// This moment minus `duration`, or the beginning of time.
    pub fn minus(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(micros(duration)))
    }

    /// The time from `earlier` to this moment; zero if `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// RFC 3339 in whole seconds (`2024-01-15T11:00:01Z`), as the delivery logs show times.
    pub fn to_rfc3339(self) -> String {
        timestamp(self.as_seconds()).to_string()
    }

    /// RFC 3339 with six decimals (`2025-09-03T23:19:51.000000Z`), as webhooks show times.
    pub fn to_rfc3339_micros(self) -> String {
        let whole = timestamp(self.as_seconds()).to_string();
        let fraction = self.0.rem_euclid(1_000_000);
        format!("{}.{fraction:06}Z", whole.trim_end_matches('Z'))
    }

    /// The form of the header `Date` (RFC 9110, section 5.6.7), in whole seconds.
    pub fn to_http_date(self) -> String {
        timestamp(self.as_seconds()).strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
    }
}

impl Serialize for Moment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.to_rfc3339())
    }
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

fn timestamp(seconds: i64) -> jiff::Timestamp {
    jiff::Timestamp::from_second(seconds).unwrap_or(jiff::Timestamp::MAX)
}

/// Where the simulated API takes its time from.
#[derive(Clone, Debug)]
pub enum Clock {
    /// The machine's clock.
    Real,
    /// A clock that stands still until it is moved.
    Manual(ManualClock),
}

impl Clock {
    /// The current moment.
    pub fn now(&self) -> Moment {
        match self {
            Self::Real => real_now(),
            Self::Manual(clock) => clock.now(),
        }
    }
}

impl From<ManualClock> for Clock {
    fn from(clock: ManualClock) -> Self {
        Self::Manual(clock)
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the simulator is the other end of the wire: its clock is not the daemon's"
)]
fn real_now() -> Moment {
    let elapsed = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    Moment::default().plus(elapsed.unwrap_or_default())
}

/// A clock that tests move; its clones show the same time.
#[derive(Clone, Debug)]
pub struct ManualClock(Arc<AtomicI64>);

impl ManualClock {
    /// A clock that stands at `start`.
    pub fn new(start: Moment) -> Self {
        Self(Arc::new(AtomicI64::new(start.as_micros())))
    }

    /// The time that the clock shows.
    pub fn now(&self) -> Moment {
        Moment::from_micros(self.0.load(Ordering::SeqCst))
    }

    /// Moves the clock to `now`; the world itself never goes back.
    pub fn set(&self, now: Moment) {
        self.0.store(now.as_micros(), Ordering::SeqCst);
    }

    /// Moves the clock forward by `duration`.
    pub fn advance(&self, duration: Duration) {
        self.0.fetch_add(micros(duration), Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_written_as_the_api_writes_them() {
        let moment = Moment::from_micros(1_705_316_401_250_000);
        assert_eq!(moment.to_rfc3339(), "2024-01-15T11:00:01Z");
        assert_eq!(moment.to_rfc3339_micros(), "2024-01-15T11:00:01.250000Z");
        assert_eq!(moment.to_http_date(), "Mon, 15 Jan 2024 11:00:01 GMT");
    }

    #[test]
    fn clones_of_a_manual_clock_move_together() {
        let clock = ManualClock::new(Moment::from_seconds(100));
        let other = Clock::from(clock.clone());
        clock.advance(Duration::from_secs(5));
        assert_eq!(other.now(), Moment::from_seconds(105));
        clock.set(Moment::from_seconds(7));
        assert_eq!(other.now(), Moment::from_seconds(7));
    }
}
