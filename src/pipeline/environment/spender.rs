//! What an environment may spend: every request is taken from the budget here, which is lowered to what the API's
//! headers leave of it. While the budget is exhausted or its file cannot be used, spending is paused. Never lets a
//! request through that the budget has not granted. Called by the environment's loop alone.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tracing::{debug, error, info};

use crate::budget::Budget;
use talkover_core::schedule::allowance::Allowance;
use talkover_core::schedule::scheduler::Supply;

/// How soon to retry when the budget's file could not be used.
const BUDGET_RETRY: Duration = Duration::from_secs(1);
/// How soon to retry while the budget is lowered because of what others spend: they may stop at any time.
const LOWERED_RETRY: Duration = Duration::from_secs(2);

/// The spending of one environment.
#[derive(Debug)]
pub(super) struct Spender {
    environment: Arc<str>,
    budget: Budget,
    allowance: Allowance,
    /// Requests a minute, as configured.
    configured: u32,
    /// The current rate, in requests a minute.
    rate: u32,
    /// No request may be made before this, in time since the start.
    paused_until: Duration,
    /// Whether the budget could not be used at the last attempt.
    is_failing: bool,
}

/// The budget's reply to a request.
#[derive(Debug)]
#[must_use]
pub(super) enum Grant {
    /// It is paid for and may be made.
    Granted,
    /// It must wait until the pause is over.
    Wait,
    /// It must not be made: the budget's file cannot be used.
    Failing(io::Error),
}

impl Spender {
    /// Spends at most `configured` requests a minute, of which up to `concurrent` are under way at the same time.
    pub(super) fn new(environment: Arc<str>, budget: Budget, configured: u32, concurrent: u32) -> Self {
        Self {
            environment,
            budget,
            allowance: Allowance::new(configured, concurrent),
            configured,
            rate: configured,
            paused_until: Duration::ZERO,
            is_failing: false,
        }
    }

    /// Returns the current rate, in requests a minute.
    pub(super) fn rate(&self) -> u32 {
        self.rate
    }

    /// Returns the requests a minute that could be spent if no other client used the API.
    pub(super) fn ceiling(&self) -> u32 {
        self.allowance.ceiling()
    }

    /// Returns what may be spent now.
    pub(super) fn supply(&self) -> Supply {
        Supply { per_minute: f64::from(self.rate), per_second: self.budget.per_second() }
    }

    /// When the next request may be made, in time since the start.
    pub(super) fn paused_until(&self) -> Duration {
        self.paused_until
    }

    /// Pays for one request at `now` since the start, which is `uptime_ns` by the budget's clock.
    pub(super) fn pay(&mut self, now: Duration, uptime_ns: u64) -> Grant {
        self.allowance.review(now);
        self.follow_allowance();
        match self.budget.take(uptime_ns) {
            Ok(None) => {
                if std::mem::take(&mut self.is_failing) {
                    info!(environment = %self.environment, "request budget file usable again");
                }
                self.allowance.sent(now);
                Grant::Granted
            }
            Ok(Some(wait)) => {
                let is_lowered = self.rate < self.configured;
                self.pause(now + if is_lowered { wait.min(LOWERED_RETRY) } else { wait });
                Grant::Wait
            }
            Err(failure) => {
                if !std::mem::replace(&mut self.is_failing, true) {
                    let name = &self.environment;
                    error!(environment = %name, "request budget file not usable; making no requests: {failure}");
                }
                self.pause(now + BUDGET_RETRY);
                Grant::Failing(failure)
            }
        }
    }

    /// Learns from the headers of an answer, received at `now` since the start: the API's limit, and what remains of
    /// it.
    pub(super) fn learn(&mut self, limit: Option<u64>, remaining: Option<u64>, now: Duration) {
        self.allowance.learn(limit, remaining, now);
        self.follow_allowance();
    }

    fn pause(&mut self, until: Duration) {
        self.paused_until = self.paused_until.max(until);
    }

    fn follow_allowance(&mut self) {
        let (rate, configured) = (self.allowance.per_minute(), self.configured);
        if rate == self.rate {
            return;
        }
        let name = &self.environment;
        debug!(environment = %name, "request budget is now {rate} requests a minute");
        if (rate == configured) != (self.rate == configured) {
            let change = if rate == configured { "restored" } else { "lowered" };
            info!(environment = %name, rate, configured, "request budget {change}, following the API's rate limit headers");
        }
        self.rate = rate;
        self.budget.lower_to((rate < configured).then_some(rate));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const S: fn(u64) -> Duration = Duration::from_secs;

    /// Long after the machine was started, so that nothing is taken as spent before.
    fn uptime_ns(now: Duration) -> u64 {
        (S(10_000) + now).as_nanos() as u64
    }

    /// A spender of 60 requests a minute, one at a time, that has not spent anything.
    fn spender(directory: &tempfile::TempDir) -> Spender {
        let budget = Budget::open(&directory.path().join("state"), "boot", "test", 60, 1, None).unwrap();
        Spender::new("test".into(), budget, 60, 1)
    }

    #[test]
    fn spending_pauses_until_the_budget_has_a_request_left() {
        let directory = tempfile::tempdir().unwrap();
        let mut spender = spender(&directory);
        assert!(matches!(spender.pay(S(100), uptime_ns(S(100))), Grant::Granted));
        assert!(matches!(spender.pay(S(100), uptime_ns(S(100))), Grant::Wait));
        let resumes = spender.paused_until();
        assert!(resumes > S(100) && resumes < S(102), "{resumes:?}");
        assert!(matches!(spender.pay(resumes, uptime_ns(resumes)), Grant::Granted));
    }

    #[test]
    fn a_lower_limit_lowers_the_supply_and_a_window_without_others_raises_it_again() {
        let directory = tempfile::tempdir().unwrap();
        let mut spender = spender(&directory);
        let full = spender.supply();
        assert_eq!((spender.rate(), spender.ceiling(), full.per_minute), (60, 60, 60.0));
        spender.learn(Some(30), None, S(100));
        assert_eq!((spender.rate(), spender.ceiling(), spender.supply().per_minute), (30, 30, 30.0));
        assert!(spender.supply().per_second < full.per_second);
        spender.learn(Some(90), None, S(101));
        assert_eq!((spender.rate(), spender.supply()), (60, full));
    }

    #[test]
    fn a_lowered_budget_is_retried_soon() {
        let directory = tempfile::tempdir().unwrap();
        let mut spender = spender(&directory);
        spender.learn(Some(2), None, S(100));
        assert!(matches!(spender.pay(S(200), uptime_ns(S(200))), Grant::Granted));
        assert!(matches!(spender.pay(S(200), uptime_ns(S(200))), Grant::Wait));
        assert_eq!(spender.paused_until(), S(202));
    }
}
