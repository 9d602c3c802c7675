//! What the loop may spend: takes each request from the budget, follows what the API's headers leave of it, and tells what that
//! comes to. Called by the loop alone.

use std::sync::Arc;
use std::time::Duration;

use tracing::{debug, error, info, warn};

use super::Environment;
use crate::budget::Budget;
use crate::clock;
use talkover_core::ledger::decide::Policy;
use talkover_core::schedule::allocation::stretched;
use talkover_core::schedule::scheduler::Supply;

/// How soon the budget is asked again where its file could not be used.
const BUDGET_RETRY: Duration = Duration::from_secs(1);
/// How soon it is asked again while others spend so much that it is lowered: they may stop at any time.
const LOWERED_RETRY: Duration = Duration::from_secs(2);

impl Environment {
    pub(super) fn take_from_budget(&mut self) -> bool {
        let now = self.now();
        self.allowance.review(now);
        self.follow_allowance();
        match self.budget.take(clock::uptime_ns()) {
            Ok(None) => {
                if std::mem::take(&mut self.is_budget_failing) {
                    info!(environment = %self.name, "the memory of the request budget can be used again");
                }
                self.allowance.sent(now);
                true
            }
            Ok(Some(wait)) => {
                let is_lowered = self.rate < self.settings.requests_per_minute;
                self.patience.extend_pause(now + if is_lowered { wait.min(LOWERED_RETRY) } else { wait });
                false
            }
            Err(failure) => {
                self.tell_budget_failing(&failure);
                self.patience.extend_pause(now + BUDGET_RETRY);
                false
            }
        }
    }

    fn tell_budget_failing(&mut self, failure: &std::io::Error) {
        self.workshop.write_errors.inc();
        if !std::mem::replace(&mut self.is_budget_failing, true) {
            error!(environment = %self.name, "nothing is asked without the memory of the request budget: {failure}");
        }
        // Nobody can be polled, and so nobody's last poll speaks for the present.
        let failure = format!("failed to write the memory of the request budget: {failure}");
        for seat in self.idle.values() {
            self.workshop.board.update(&seat.reader.target, |view, _| view.fail(&failure));
        }
    }

    /// Spends what may be spent now.
    pub(super) fn follow_allowance(&mut self) {
        self.follow_ceiling();
        let (rate, configured) = (self.allowance.per_minute(), self.settings.requests_per_minute);
        if rate == self.rate {
            return;
        }
        debug!(environment = %self.name, "the budget is {rate} requests a minute now");
        if (rate == configured) != (self.rate == configured) {
            let why = if rate == configured { "all of the budget is spent again" } else { "the budget is lowered" };
            info!(environment = %self.name, rate, configured, "by the API's rate limit headers, {why}");
        }
        self.rate = rate;
        self.budget.lower_to((rate < configured).then_some(rate));
        self.scheduler.set_limits(self.settings.intervals, supply(rate, &self.budget));
        self.tell_longest();
    }

    /// Where what is allowed is too little for `max_interval`, being polled less often is no outage.
    pub(super) fn follow_ceiling(&mut self) {
        let allowed = f64::from(self.allowance.ceiling());
        let catch_up_after = stretched(self.settings.intervals.max, self.ids.len(), allowed) * 2;
        if self.workshop.policy.catch_up_after != catch_up_after {
            self.workshop.policy = Arc::new(Policy { catch_up_after, ..(*self.workshop.policy).clone() });
        }
    }

    /// Tells when the longest interval is another one than the configured one.
    pub(super) fn tell_longest(&mut self) {
        let longest = self.scheduler.max_interval();
        if longest == self.longest {
            return;
        }
        self.longest = longest;
        let (name, configured) = (&self.name, self.settings.intervals.max);
        if longest > configured {
            let polls = "idle webhooks are polled every";
            warn!(environment = %name, "the budget is too small for max_interval ({configured:?}): {polls} {longest:.0?}");
        } else {
            info!(environment = %name, "the budget is large enough for max_interval ({configured:?}) again");
        }
    }
}

/// What a budget gives.
pub(super) fn supply(rate: u32, budget: &Budget) -> Supply {
    Supply { per_minute: f64::from(rate), per_second: budget.per_second() }
}
