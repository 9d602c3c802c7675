//! What the end of a step says of its target: what is shown of it. Called by the environment's loop alone.

use super::idle_target::IdleTarget;
use crate::logging::about::about_webhook;
use crate::pipeline::step_result::StepResult;
use crate::sinks::metrics::board::{Board, TargetView};
use crate::store::error::StoreError;
use talkover_core::reading::error::{ApiError, PollResult};
use talkover_core::schedule::RequestClass;
use talkover_core::schedule::patience::StepOutcome;
use talkover_core::server_time::ServerTime;

impl IdleTarget {
    /// Records on the board how the last step ended, which was made for `class` at `date`, and returns
    /// what that means for the target's next steps.
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
                self.record_unwritten(failure, date, board);
                StepOutcome::NotWritten
            }
            StepResult::Failed(failure) => {
                self.record_failure(failure, date, board);
                StepOutcome::Failed(failure.failure())
            }
            StepResult::Narrowed(failure) => {
                self.record_failure(failure, date, board);
                StepOutcome::Narrowed(failure.retry_after())
            }
        }
    }

    fn record_success(&mut self, date: ServerTime, board: &Board) {
        self.end_poll(PollResult::Success, board, |view| view.succeed(date.timestamp()));
    }

    fn record_failure(&mut self, failure: &ApiError, date: ServerTime, board: &Board) {
        self.end_poll(failure.poll_result(), board, |view| view.fail(&failure.to_string(), date.timestamp()));
    }

    fn end_poll(&mut self, result: PollResult, board: &Board, change: impl FnOnce(&mut TargetView)) {
        board.update(self.target(), |view, _| {
            if let Some(position) = PollResult::ALL.iter().position(|known| *known == result) {
                view.polls[position] += 1;
            }
            change(view);
        });
    }

    fn record_written(&mut self) {
        if std::mem::take(&mut self.state.is_unwritten) {
            about_webhook!(info, self.target(), "state file writable again");
        }
    }

    fn record_unwritten(&mut self, failure: &StoreError, date: ServerTime, board: &Board) {
        if std::mem::replace(&mut self.state.is_unwritten, true) {
            about_webhook!(debug, self.target(), "state file still not writable: {failure}");
        } else {
            about_webhook!(error, self.target(), "failed to write the state file; retrying: {failure}");
        }
        board.update(self.target(), |view, _| view.fail(&failure.to_string(), date.timestamp()));
    }
}
