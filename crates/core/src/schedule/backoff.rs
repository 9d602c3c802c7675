//! Exponential backoff with jitter: how long to wait after failures in a row.

use std::time::Duration;

/// The first pause.
const BASE: Duration = Duration::from_secs(1);
/// The longest pause: an API that comes back is noticed within a minute.
const LONGEST: Duration = Duration::from_secs(60);

/// Counts failures in a row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backoff {
    failures: u32,
    /// Failures before the current attempt.
    before: u32,
}

impl Backoff {
    /// Records a failure, and returns the pause that follows: `jitter`, from 0 to 1, chooses between half and all of
    /// it.
    pub fn fail(&mut self, jitter: f64) -> Duration {
        let doubled = BASE.saturating_mul(2_u32.saturating_pow(self.failures.min(16)));
        self.failures = self.failures.saturating_add(1);
        doubled.min(LONGEST).mul_f64(0.5 + 0.5 * jitter.clamp(0.0, 1.0))
    }

    /// Records that a new attempt of several steps begins.
    pub fn begin(&mut self) {
        self.before = self.failures;
    }

    /// Records that one of its steps has succeeded: failures on the way to it no longer count, but those before the
    /// attempt do, because its end may fail in the same way.
    pub fn progress(&mut self) {
        self.failures = self.before;
    }

    /// Records a success.
    pub fn succeed(&mut self) {
        *self = Self::default();
    }

    /// The failures in a row.
    pub fn failures(&self) -> u32 {
        self.failures
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_minute_and_start_over_after_a_success() {
        let mut backoff = Backoff::default();
        let pauses: Vec<u64> = (0..9).map(|_| backoff.fail(1.0).as_secs()).collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        assert_eq!(backoff.fail(0.0), Duration::from_secs(30));
        backoff.succeed();
        assert_eq!((backoff.failures(), backoff.fail(1.0)), (0, BASE));
    }

    #[test]
    fn a_long_attempt_gets_over_failures_on_its_way_but_not_over_those_before() {
        let mut backoff = Backoff::default();
        for _ in 0..5 {
            backoff.fail(1.0);
            assert_eq!(backoff.failures(), 1);
            backoff.progress();
        }
        for attempts in 1..4 {
            backoff.begin();
            backoff.progress();
            backoff.fail(1.0);
            assert_eq!(backoff.failures(), attempts, "each attempt reaches the same step and fails there");
        }
        backoff.succeed();
        backoff.progress();
        assert_eq!(backoff.failures(), 0);
    }
}
