//! Pauses a whole environment after the API has rejected it (401 or 429), and says until when. Time is passed in, as
//! the time since any fixed moment.

use std::time::Duration;

use super::backoff::Backoff;

/// A longer `Retry-After` counts as a mistake: the API is tried again after an hour at the latest.
pub const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(3600);

/// The pauses of one environment.
#[derive(Debug, Default)]
pub struct Pause {
    until: Duration,
    /// When the latest pause after a rejection began.
    began: Option<Duration>,
    backoff: Backoff,
}

/// An answer that any other request would get too: 401 or 429.
#[derive(Clone, Copy, Debug)]
pub struct Rejection {
    /// When the request was begun.
    pub asked_at: Duration,
    /// How long the API asks clients to wait, if it says so.
    pub retry_after: Option<Duration>,
}

impl Pause {
    /// No request may be made before this time.
    pub fn until(&self) -> Duration {
        self.until
    }

    fn extend(&mut self, until: Duration) {
        self.until = self.until.max(until);
    }

    /// Records a request that was not rejected.
    pub fn accept(&mut self) {
        self.backoff.succeed();
    }

    /// Records a rejection at `now`. Requests from before the current pause do not prolong it when they are rejected
    /// too: requests that are under way at the same time are one rejection, not many. What the API asks for always
    /// counts.
    pub fn reject(&mut self, rejection: Rejection, now: Duration, jitter: f64) {
        let is_known = self.began.is_some_and(|began| rejection.asked_at < began);
        let backoff = (!is_known).then(|| self.backoff.fail(jitter));
        if let Some(pause) = asked_for(rejection.retry_after).or(backoff) {
            self.extend(now + pause);
            self.began = if is_known { self.began } else { Some(now) };
        }
    }
}

/// The pause for this `Retry-After`.
pub fn asked_for(retry_after: Option<Duration>) -> Option<Duration> {
    // "Now", or a moment in the past, does not say when to come back.
    retry_after.filter(|wait| !wait.is_zero()).map(|wait| wait.min(LONGEST_RETRY_AFTER))
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: fn(u64) -> Duration = Duration::from_secs;

    /// The end of the pause after rejections at these times, each asked at the time before it.
    fn until(retry_after: Option<Duration>, rejections: &[(u64, u64)]) -> Duration {
        let mut pause = Pause::default();
        for (asked_at, now) in rejections {
            pause.reject(Rejection { asked_at: S(*asked_at), retry_after }, S(*now), 1.0);
        }
        pause.until()
    }

    #[test]
    fn a_rejection_pauses_at_once_and_longer_each_time() {
        assert_eq!(until(None, &[(9, 10)]), S(11));
        assert_eq!(until(None, &[(9, 10), (11, 12), (14, 15)]), S(19));
    }

    #[test]
    fn requests_under_way_at_the_same_time_are_one_rejection() {
        assert_eq!(until(None, &[(9, 10), (9, 10), (9, 10), (8, 10)]), S(11));
        assert_eq!(until(None, &[(9, 10), (9, 10), (11, 12), (11, 12)]), S(14));
    }

    #[test]
    fn what_the_api_asks_for_counts_up_to_an_hour() {
        assert_eq!(until(Some(S(30)), &[(9, 10)]), S(40));
        assert_eq!(until(Some(S(30)), &[(9, 10), (9, 12)]), S(42));
        assert_eq!(until(Some(S(86_400)), &[(9, 10)]), S(3_610));
        assert_eq!(until(Some(S(0)), &[(9, 10)]), S(11));
    }

    #[test]
    fn an_accepted_request_starts_the_count_anew_but_ends_no_pause() {
        let rejection = |at| Rejection { asked_at: S(at), retry_after: None };
        let mut pause = Pause::default();
        for at in [1, 2, 3] {
            pause.reject(rejection(at), S(at), 1.0);
        }
        pause.accept();
        assert_eq!(pause.until(), S(7));
        pause.reject(rejection(8), S(8), 1.0);
        assert_eq!(pause.until(), S(9));
        pause.extend(S(20));
        pause.extend(S(10));
        assert_eq!(pause.until(), S(20));
    }
}
