//! The requests that the simulated API has received, and how many each token may still make.
//!
//! Its only state is what it remembers; time is passed in. Used by the server, and by tests of the daemon's budget.

use std::collections::HashMap;
use std::time::Duration;

use super::clock::Moment;

/// The period in which requests are counted, here and in the documented limit.
const MINUTE: Duration = Duration::from_secs(60);

/// One request, whatever the answer was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceivedRequest {
    /// When it arrived, by the simulated API's clock.
    pub at: Moment,
    /// Its method.
    pub method: String,
    /// Its path and query.
    pub path: String,
}

/// The largest number of requests in any period of 60 s; `requests` are in the order of arrival.
pub fn largest_per_minute(requests: &[ReceivedRequest]) -> usize {
    let mut first = 0;
    let mut largest = 0;
    for (last, request) in requests.iter().enumerate() {
        while request.at.since(requests[first].at) >= MINUTE {
            first += 1;
        }
        largest = largest.max(last - first + 1);
    }
    largest
}

/// Laravel's rate limiter: a fixed window that opens with its first request.
#[derive(Debug)]
pub(super) struct Limiter {
    limit: u32,
    windows: HashMap<String, LimitWindow>,
}

#[derive(Clone, Copy, Debug)]
struct LimitWindow {
    end: Moment,
    used: u32,
}

/// The limiter's verdict on one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Quota {
    pub(super) limit: u32,
    pub(super) remaining: u32,
    /// Until when the token has no requests left; `None` if it has.
    pub(super) blocked_until: Option<Moment>,
}

impl Limiter {
    pub(super) fn new(limit: u32) -> Self {
        Self { limit, windows: HashMap::new() }
    }

    /// Changes the limit; what was used remains used.
    pub(super) fn set_limit(&mut self, limit: u32) {
        self.limit = limit;
    }

    /// Counts a request of `token` at `now`.
    pub(super) fn count(&mut self, token: &str, now: Moment) -> Quota {
        let fresh = LimitWindow { end: now.plus(MINUTE), used: 0 };
        let window = self.windows.entry(token.to_owned()).or_insert(fresh);
        if now >= window.end {
            *window = fresh;
        }
        if window.used >= self.limit {
            return Quota { limit: self.limit, remaining: 0, blocked_until: Some(window.end) };
        }
        window.used += 1;
        Quota { limit: self.limit, remaining: self.limit - window.used, blocked_until: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_opens_with_its_first_request_and_lasts_a_minute() {
        let mut limiter = Limiter::new(2);
        let at = Moment::from_seconds;
        assert_eq!(limiter.count("a", at(10)), Quota { limit: 2, remaining: 1, blocked_until: None });
        assert_eq!(limiter.count("a", at(69)), Quota { limit: 2, remaining: 0, blocked_until: None });
        assert_eq!(limiter.count("a", at(69)).blocked_until, Some(at(70)));
        assert_eq!(limiter.count("b", at(69)).remaining, 1, "each token has its own");
        assert_eq!(limiter.count("a", at(70)).remaining, 1);
    }

    #[test]
    fn the_busiest_minute_slides() {
        let requests = |seconds: &[i64]| -> Vec<ReceivedRequest> {
            let request = |second: &i64| ReceivedRequest {
                at: Moment::from_seconds(*second),
                method: "GET".to_owned(),
                path: "/".to_owned(),
            };
            seconds.iter().map(request).collect()
        };
        for (seconds, largest) in
            [(&[][..], 0), (&[5], 1), (&[0, 60, 120], 1), (&[0, 59, 60, 61, 118], 4), (&[0, 1, 2, 100], 3)]
        {
            assert_eq!(largest_per_minute(&requests(seconds)), largest, "{seconds:?}");
        }
    }
}
