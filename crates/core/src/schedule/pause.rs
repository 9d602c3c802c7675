//! When a whole environment is left alone, and until when. Time is passed in, as the time since any fixed moment.

use std::time::Duration;

use super::backoff::Backoff;

/// So many failures in a row that speak of the environment, and all of its targets are left alone for a while.
const FAILURES_OF_ENVIRONMENT: u32 = 3;
/// A longer `Retry-After` is taken for a mistake: the API is asked again after an hour at the latest.
pub const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(3600);

/// The pauses of one environment.
#[derive(Debug, Default)]
pub struct Pause {
    until: Duration,
    /// When the last pause began to which a failure has led.
    began: Option<Duration>,
    backoff: Backoff,
}

/// A failure that speaks of the environment as a whole.
#[derive(Clone, Copy, Debug)]
pub struct Failure {
    /// When the request was begun.
    pub asked_at: Duration,
    /// How long the API asks to be left alone, where it says so.
    pub retry_after: Option<Duration>,
    /// Whether every other request would fail in the same way, so that it takes no more of them to know.
    pub is_rejection: bool,
}

impl Pause {
    /// Nothing is to be asked before this time.
    pub fn until(&self) -> Duration {
        self.until
    }

    /// Lets the pause last until this time at least.
    pub fn extend(&mut self, until: Duration) {
        self.until = self.until.max(until);
    }

    /// Takes note of a success.
    pub fn succeed(&mut self) {
        self.backoff.succeed();
    }

    /// Takes note of a failure at `now`. What was asked before a pause began does not make it longer by failing too: requests
    /// that are under way at the same time are one failure, not many. What the API asks for always counts.
    pub fn fail(&mut self, failure: Failure, now: Duration, jitter: f64) {
        let is_known = self.began.is_some_and(|began| failure.asked_at < began);
        let backoff = if is_known { None } else { self.back_off(failure.is_rejection, jitter) };
        if let Some(pause) = asked_for(failure.retry_after).or(backoff) {
            self.extend(now + pause);
            self.began = if is_known { self.began } else { Some(now) };
        }
    }

    fn back_off(&mut self, is_rejection: bool, jitter: f64) -> Option<Duration> {
        let pause = self.backoff.fail(jitter);
        (is_rejection || self.backoff.failures() >= FAILURES_OF_ENVIRONMENT).then_some(pause)
    }
}

/// The pause that an API asks for with this `Retry-After`.
pub fn asked_for(retry_after: Option<Duration>) -> Option<Duration> {
    // Now, or a moment that has passed, is no answer to the question of when.
    retry_after.filter(|wait| !wait.is_zero()).map(|wait| wait.min(LONGEST_RETRY_AFTER))
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: fn(u64) -> Duration = Duration::from_secs;

    /// The end of the pause after failures at these times, each asked at the time before it.
    fn until(is_rejection: bool, retry_after: Option<Duration>, failures: &[(u64, u64)]) -> Duration {
        let mut pause = Pause::default();
        for (asked_at, now) in failures {
            pause.fail(Failure { asked_at: S(*asked_at), retry_after, is_rejection }, S(*now), 1.0);
        }
        pause.until()
    }

    #[test]
    fn a_rejection_pauses_at_once_and_others_at_the_third_in_a_row() {
        assert_eq!(until(true, None, &[(9, 10)]), S(11));
        assert_eq!(until(true, None, &[(9, 10), (11, 12), (14, 15)]), S(19));
        assert_eq!(until(false, None, &[(9, 10), (11, 12)]), S(0));
        assert_eq!(until(false, None, &[(9, 10), (11, 12), (14, 15)]), S(19));
    }

    #[test]
    fn requests_under_way_at_the_same_time_are_one_failure() {
        assert_eq!(until(true, None, &[(9, 10), (9, 10), (9, 10), (8, 10)]), S(11));
        assert_eq!(until(true, None, &[(9, 10), (9, 10), (11, 12), (11, 12)]), S(14));
        assert_eq!(until(false, None, &[(9, 10), (9, 10), (9, 10), (9, 10)]), S(14));
    }

    #[test]
    fn what_the_api_asks_for_counts_up_to_an_hour() {
        assert_eq!(until(true, Some(S(30)), &[(9, 10)]), S(40));
        assert_eq!(until(false, Some(S(30)), &[(9, 10)]), S(40));
        assert_eq!(until(true, Some(S(30)), &[(9, 10), (9, 12)]), S(42));
        assert_eq!(until(true, Some(S(86_400)), &[(9, 10)]), S(3_610));
        assert_eq!(until(true, Some(S(0)), &[(9, 10)]), S(11));
    }

    #[test]
    fn a_success_starts_the_count_anew_but_ends_no_pause() {
        let failure = |at| Failure { asked_at: S(at), retry_after: None, is_rejection: false };
        let mut pause = Pause::default();
        for at in [1, 2, 3] {
            pause.fail(failure(at), S(at), 1.0);
        }
        pause.succeed();
        assert_eq!(pause.until(), S(7));
        pause.fail(failure(8), S(8), 1.0);
        assert_eq!(pause.until(), S(7));
        pause.extend(S(20));
        pause.extend(S(10));
        assert_eq!(pause.until(), S(20));
    }
}
