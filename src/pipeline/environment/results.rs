//! What the end of a step says of its target and of the whole environment: who is left alone for how long, what is shown, and
//! what the log tells. It tells changes alone. Called by the loop alone.

use rand::RngExt;
use tracing::{debug, error, info, warn};

use super::{Environment, Standing};
use crate::pipeline::step::{StepResult, Stepped};
use crate::sinks::metrics::board::TargetView;
use talkover_core::clock::ServerTime;
use talkover_core::delivery::Target;
use talkover_core::reading::error::{ApiError, PollResult};
use talkover_core::schedule::patience::{Change, End};
use talkover_core::schedule::scheduler::Outcome;
use talkover_core::schedule::{Class, TargetId};

impl Environment {
    pub(super) fn judge(&mut self, stepped: &Stepped, id: TargetId, class: Class, state: &mut Standing) -> Outcome {
        let target = &stepped.reader.target;
        let end = match &stepped.result {
            StepResult::Stopped => End::Stopped,
            StepResult::More(_) => {
                tell_written(target, state);
                End::Unfinished
            }
            StepResult::Complete(tally) => {
                tell_written(target, state);
                if class != Class::Rechecks {
                    self.succeed(target, stepped.date, state);
                }
                End::Complete(tally.new)
            }
            StepResult::NotWritten(failure) => {
                if std::mem::replace(&mut state.is_unwritten, true) {
                    debug!(webhook = %target, "still not written: {failure}");
                } else {
                    error!(webhook = %target, "what was read is kept in memory until it can be written: {failure}");
                }
                self.workshop.board.update(target, |view, _| view.fail(&failure.to_string()));
                End::NotWritten
            }
            StepResult::Failed(failure) => {
                self.fail(target, failure, state);
                End::Failed(failure.failure())
            }
            StepResult::Narrowed(failure) => {
                self.fail(target, failure, state);
                End::Narrowed(failure.retry_after())
            }
        };
        let now = self.now();
        let (outcome, change) = self.patience.end(&mut self.scheduler, id, end, now, jitter());
        if let Some(change) = change {
            self.tell(change);
        }
        outcome
    }

    fn tell(&self, change: Change) {
        let name = &self.name;
        match change {
            Change::OutageBegan => warn!(environment = %name, "no webhook is answered: probing one after the other"),
            Change::OutageEnded(lasted) => {
                info!(environment = %name, "the API answers again, after {:.0} s", lasted.as_secs_f64());
            }
        }
    }

    fn succeed(&self, target: &Target, date: ServerTime, state: &mut Standing) {
        if state.last.is_some_and(|last| last != PollResult::Success) {
            info!(webhook = %target, "polls succeed again");
        }
        self.end_poll(target, PollResult::Success, state, |view| view.last_success = Some(date.timestamp()));
    }

    fn fail(&self, target: &Target, failure: &ApiError, state: &mut Standing) {
        let result = failure.poll_result();
        if state.last == Some(result) {
            debug!(webhook = %target, "poll failed again: {failure}");
        } else {
            warn!(webhook = %target, "poll failed: {failure}");
        }
        self.end_poll(target, result, state, |view| view.fail(&failure.to_string()));
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
pub(super) fn jitter() -> f64 {
    rand::rng().random()
}
