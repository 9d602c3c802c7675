//! The web file's section `rate_limit`: one token bucket for all requests of the listener, as in exporter-toolkit.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::Deserialize;
use talkover_settings::duration::parse_duration;

use super::problems::Problems;

/// `rate_limit`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RateLimitSection {
    interval: Option<String>,
    burst: Option<u32>,
}

/// A token bucket that gets a token every `interval`, holds at most `burst`, and starts full.
#[derive(Debug)]
pub(super) struct RequestRateLimit {
    interval: Duration,
    burst: u32,
    /// When the bucket will be full.
    full_at: Mutex<Instant>,
}

impl RateLimitSection {
    /// Returns the limit. `None` if the interval is 0, which means no limit, or if the section is wrong, which is added
    /// to `problems`.
    pub(super) fn limit(&self, problems: &mut Problems) -> Option<RequestRateLimit> {
        let interval = match self.interval.as_deref().map(parse_duration) {
            None => Duration::ZERO,
            Some(Ok(interval)) => interval,
            Some(Err(reason)) => {
                problems.add("rate_limit.interval", reason);
                return None;
            }
        };
        match self.burst {
            _ if interval.is_zero() => None,
            None | Some(0) => {
                problems.add("rate_limit.burst", "must be at least 1: with 0, every request would be refused");
                None
            }
            Some(burst) => Some(RequestRateLimit::new(interval, burst, Instant::now())),
        }
    }
}

impl RequestRateLimit {
    fn new(interval: Duration, burst: u32, now: Instant) -> Self {
        Self { interval, burst, full_at: Mutex::new(now) }
    }

    /// Takes a token.
    ///
    /// # Errors
    /// The time until the next token, if there is none now.
    pub(super) fn take(&self, now: Instant) -> Result<(), Duration> {
        let mut full_at = self.full_at.lock().unwrap_or_else(PoisonError::into_inner);
        let missing = full_at.saturating_duration_since(now) + self.interval;
        match missing.checked_sub(self.interval.saturating_mul(self.burst)) {
            Some(wait) if !wait.is_zero() => Err(wait),
            _ => {
                *full_at = now + missing;
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_at_once_and_then_one_an_interval() {
        let start = Instant::now();
        let after = |millis| start + Duration::from_millis(millis);
        let limit = RequestRateLimit::new(Duration::from_secs(1), 3, start);
        assert_eq!([limit.take(start), limit.take(start), limit.take(after(10))], [Ok(()); 3]);
        assert_eq!(limit.take(after(100)), Err(Duration::from_millis(900)));
        assert_eq!(limit.take(after(1000)), Ok(()));
        assert_eq!(limit.take(after(1000)), Err(Duration::from_secs(1)));
        assert_eq!([0; 4].map(|_| limit.take(after(60_000)).is_ok()), [true, true, true, false]);
    }
}
