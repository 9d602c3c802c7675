//! What the end of a step says of its target and of the whole environment: who is left alone for how long, what is shown, and
//! what the log tells. It tells changes alone. Called by the loop alone.

use std::time::Duration;

use rand::RngExt;
use tracing::{debug, error, info, warn};

use super::{Environment, Standing};
use crate::pipeline::step::{StepResult, Stepped};
use crate::sinks::metrics::board::TargetView;
use talkover_core::delivery::{Target, Timestamp};
use talkover_core::reading::error::{ApiError, PollResult};
use talkover_core::schedule::Class;
use talkover_core::schedule::pause::Failure;
use talkover_core::schedule::scheduler::Outcome;

/// After so many failures in a row that speak of one target alone, it is asked no more often than an idle one.
const FAILURES_OF_TARGET: u32 = 5;

impl Environment {
    pub(super) fn judge(&mut self, stepped: &Stepped, class: Class, state: &mut Standing) -> Outcome {
        let target = &stepped.reader.target;
        match &stepped.result {
            StepResult::Stopped => Outcome::Unfinished,
            StepResult::More(_) => {
                self.pause.succeed();
                state.backoff.progress();
                tell_written(target, state);
                Outcome::Unfinished
            }
            StepResult::Complete(tally) => {
                self.pause.succeed();
                state.backoff.succeed();
                tell_written(target, state);
                if class != Class::Rechecks {
                    self.succeed(target, stepped.date, state);
                }
                Outcome::Complete(tally.new)
            }
            StepResult::NotWritten(failure) => {
                if std::mem::replace(&mut state.is_unwritten, true) {
                    debug!(webhook = %target, "still not written: {failure}");
                } else {
                    error!(webhook = %target, "what was read is kept in memory until it can be written: {failure}");
                }
                self.workshop.board.update(target, |view, _| view.fail(&failure.to_string()));
                Outcome::Failed(state.backoff.fail(jitter()))
            }
            StepResult::Failed(failure) => self.fail(target, failure, state),
            StepResult::Narrowed(failure) => {
                // Others of the list were answered meanwhile: there is a cause to find, not an outage to sit out.
                state.backoff.progress();
                self.fail(target, failure, state)
            }
        }
    }

    fn succeed(&self, target: &Target, date: Timestamp, state: &mut Standing) {
        if state.last.is_some_and(|last| last != PollResult::Success) {
            info!(webhook = %target, "polls succeed again");
        }
        self.end_poll(target, PollResult::Success, state, |view| view.last_success = Some(date));
    }

    fn fail(&mut self, target: &Target, failure: &ApiError, state: &mut Standing) -> Outcome {
        let result = failure.poll_result();
        if state.last == Some(result) {
            debug!(webhook = %target, "poll failed again: {failure}");
        } else {
            warn!(webhook = %target, "poll failed: {failure}");
        }
        self.end_poll(target, result, state, |view| view.fail(&failure.to_string()));
        let mut pause = state.backoff.fail(jitter());
        if !self.pause_for(failure, state.asked_at) && state.backoff.failures() > FAILURES_OF_TARGET {
            // A webhook that is gone must not cost more than one that is idle.
            pause = pause.max(self.scheduler.max_interval());
        }
        Outcome::Failed(pause)
    }

    /// Leaves the whole environment alone for a while where a failure speaks of all of it; says whether it does.
    pub(super) fn pause_for(&mut self, failure: &ApiError, asked_at: Duration) -> bool {
        if !failure.concerns_environment() {
            return false;
        }
        let failure = Failure {
            asked_at,
            retry_after: failure.retry_after(),
            is_rejection: matches!(failure, ApiError::Unauthorized { .. } | ApiError::RateLimited { .. }),
        };
        self.pause.fail(failure, self.now(), jitter());
        true
    }

    fn end_poll(
        &self,
        target: &Target,
        result: PollResult,
        state: &mut Standing,
        change: impl FnOnce(&mut TargetView),
    ) {
        state.last = Some(result);
        self.workshop.board.update(target, |view, _| {
            view.up = Some(result == PollResult::Success);
            view.failure = None;
            if let Some(position) = PollResult::ALL.iter().position(|known| *known == result) {
                view.polls[position] += 1;
            }
            change(view);
        });
    }
}

fn tell_written(target: &Target, state: &mut Standing) {
    if std::mem::take(&mut state.is_unwritten) {
        info!(webhook = %target, "the state file can be written again");
    }
}

/// Where between half and all of a pause to end it, so that several daemons do not come back at the same moment.
fn jitter() -> f64 {
    rand::rng().random()
}
