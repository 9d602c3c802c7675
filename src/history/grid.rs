//! The times of the samples: every five minutes, on the same moments for all series.

use std::time::Duration;

use talkover_core::delivery::Timestamp;

/// The time between samples. It equals Prometheus's lookback, for which a sample is shown: longer steps would leave
/// holes in graphs, shorter ones would cost more samples and show nothing more.
pub const STEP: Duration = Duration::from_secs(300);

const STEP_MICROS: i64 = 300 * 1_000_000;

/// The number of a sample: how many steps after the Unix epoch it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GridTime(i64);

impl GridTime {
    /// Returns the sample with this number.
    pub const fn from_number(number: i64) -> Self {
        Self(number)
    }

    /// Returns its number.
    pub const fn number(self) -> i64 {
        self.0
    }

    /// Returns the first sample that shows what happened at `time`.
    pub fn showing(time: Timestamp) -> Self {
        Self(time.as_micros().div_euclid(STEP_MICROS) + i64::from(time.as_micros().rem_euclid(STEP_MICROS) > 0))
    }

    /// Returns the last sample that is not later than `time`.
    pub fn until(time: Timestamp) -> Self {
        Self(time.as_micros().div_euclid(STEP_MICROS))
    }

    /// Returns the time of the sample.
    pub fn time(self) -> Timestamp {
        Timestamp::from_micros(self.0.saturating_mul(STEP_MICROS))
    }

    /// Returns the sample before it.
    pub const fn before(self) -> Self {
        Self(self.0 - 1)
    }

    /// Iterates over the samples from this one through `last`.
    pub fn through(self, last: Self) -> impl Iterator<Item = Self> {
        (self.0..=last.0).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_shows_what_happened_up_to_its_time() {
        let slot = |seconds| GridTime::showing(Timestamp::from_seconds(seconds)).number();
        assert_eq!([0, 1, 299, 300, 301].map(slot), [0, 1, 1, 1, 2]);
        assert_eq!(GridTime::showing(Timestamp::from_micros(300_000_001)).time(), Timestamp::from_seconds(600));
        assert_eq!(GridTime::until(Timestamp::from_seconds(899)).time(), Timestamp::from_seconds(600));
        let slots = GridTime::from_number(3).before().through(GridTime::from_number(4));
        assert_eq!(slots.map(GridTime::number).collect::<Vec<_>>(), [2, 3, 4]);
    }
}
