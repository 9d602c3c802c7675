//! What the end of a step means for its target: what is shown and logged. Logs changes only. Called by the
//! environment's loop alone.

use tracing::{debug, error, info, warn};

use super::idle_target::IdleTarget;
use crate::pipeline::step::StepResult;
use crate::sinks::metrics::board::{Board, TargetView};
use crate::store::error::StoreError;
use talkover_core::reading::error::{ApiError, PollResult};
use talkover_core::schedule::RequestClass;
use talkover_core::schedule::patience::{Change, StepOutcome};
use talkover_core::server_time::ServerTime;

impl IdleTarget {
    /// Records on the board and in the log how the last step, for `class` at `date`, ended, and returns what that means
    /// for the target's next steps.
    pub(super) fn record(
        &mut self,
        result: &StepResult,
        class: RequestClass,
        date: ServerTime,
        board: &Board,
    ) -> StepOutcome {
        match result {
            StepResult::Stopped => StepOutcome::Stopped,
            StepResult::Expected => StepOutcome::Expected,
            StepResult::More(_) => {
                self.record_written();
                StepOutcome::Unfinished
            }
            StepResult::Complete(tally) => {
                self.record_written();
                if class != RequestClass::Rechecks {
                    self.record_success(date, board);
                }
                StepOutcome::Complete(tally.new)
            }
            StepResult::NotWritten(failure) => {
                self.record_unwritten(failure, board);
                StepOutcome::NotWritten
            }
            StepResult::Failed(failure) => {
                self.record_failure(failure, board);
                StepOutcome::Failed(failure.failure())
            }
            StepResult::Narrowed(failure) => {
                self.record_failure(failure, board);
                StepOutcome::Narrowed(failure.retry_after())
            }
        }
    }

    fn record_success(&mut self, date: ServerTime, board: &Board) {
        if self.state.last.is_some_and(|last| last != PollResult::Success) {
            info!(webhook = %self.target(), "polls succeed again");
        }
        self.end_poll(PollResult::Success, board, |view| view.last_success = Some(date.timestamp()));
    }

    fn record_failure(&mut self, failure: &ApiError, board: &Board) {
        let result = failure.poll_result();
        if self.state.last == Some(result) {
            debug!(webhook = %self.target(), "poll failed again: {failure}");
        } else {
            warn!(webhook = %self.target(), "poll failed: {failure}");
        }
        self.end_poll(result, board, |view| view.fail(&failure.to_string()));
    }

    fn end_poll(&mut self, result: PollResult, board: &Board, change: impl FnOnce(&mut TargetView)) {
        self.state.last = Some(result);
        board.update(self.target(), |view, _| {
            view.up = Some(result == PollResult::Success);
            view.failure = None;
            if let Some(position) = PollResult::ALL.iter().position(|known| *known == result) {
                view.polls[position] += 1;
            }
            change(view);
        });
    }

    fn record_written(&mut self) {
        if std::mem::take(&mut self.state.is_unwritten) {
            info!(webhook = %self.target(), "state file writable again");
        }
    }

    fn record_unwritten(&mut self, failure: &StoreError, board: &Board) {
        if std::mem::replace(&mut self.state.is_unwritten, true) {
            debug!(webhook = %self.target(), "state file still not writable: {failure}");
        } else {
            error!(webhook = %self.target(), "failed to write the state file; retrying: {failure}");
        }
        board.update(self.target(), |view, _| view.fail(&failure.to_string()));
    }
}

/// Logs that the state of the whole environment has changed.
pub(super) fn log_change(environment: &str, change: Change) {
    match change {
        Change::OutageBegan => warn!(%environment, "API unreachable; probing one webhook at a time"),
        Change::OutageEnded(lasted) => {
            info!(%environment, "API reachable again after {:.0} s", lasted.as_secs_f64());
        }
    }
}
