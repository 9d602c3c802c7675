//! What the log says of failures: an outage once, reminders of it less and less often, and its end, for whatever fails
//! by itself: a webhook, discovery, or the whole environment. Each single failure is at the level `debug`.
//!
//! Decides nothing: the pauses are [`Patience`](talkover_core::schedule::patience)'s. Called by the environment's loop
//! alone.

use std::time::Duration;

use tracing::{debug, info, warn};

use super::EnvironmentLoop;
use super::idle_target::IdleTarget;
use crate::logging::about::{about_webhook, rough};
use crate::pipeline::step_result::StepResult;
use talkover_core::reading::error::ApiError;
use talkover_core::schedule::patience::RequestFailure;
use talkover_core::schedule::scheduler::TurnOutcome;
use talkover_core::schedule::streak::{StreakLength, StreakNews};
use talkover_core::schedule::{RequestClass, TargetId};

impl EnvironmentLoop {
    /// Logs what is worth telling of a step of the target `id` that ended with `result`, and has this outcome for it.
    pub(super) fn log_step(
        &mut self,
        id: TargetId,
        class: RequestClass,
        result: &StepResult,
        outcome: TurnOutcome,
        now: Duration,
    ) {
        match result {
            StepResult::Failed(failure) if self.concerns_all(failure) => self.log_outage(failure, now),
            StepResult::Failed(failure) | StepResult::Narrowed(failure) => {
                if matches!(failure.failure(), RequestFailure::Answered(_)) {
                    self.log_answer(now);
                }
                let pause = if let TurnOutcome::Failed(pause) = outcome { pause } else { Duration::ZERO };
                let answered = self.answered;
                if let Some(idle) = self.members.idle_mut(id) {
                    log_failure(idle, failure, pause, answered, now);
                }
            }
            StepResult::Complete(_) | StepResult::More(_) | StepResult::NotWritten(_) => {
                self.log_answer(now);
                let is_poll = matches!(result, StepResult::Complete(_)) && class != RequestClass::Rechecks;
                if let Some(idle) = self.members.idle_mut(id).filter(|_| is_poll) {
                    log_success(idle, now);
                }
            }
            StepResult::Stopped | StepResult::Expected => {}
        }
    }

    /// Logs what is worth telling of a request of discovery that failed.
    pub(super) fn log_failed_search(&mut self, failure: &ApiError, now: Duration) {
        let name = &self.name;
        debug!(environment = %name, "discovery failed: {failure}");
        if self.concerns_all(failure) {
            return self.log_outage(failure, now);
        }
        match self.search.streak.fail(now) {
            Some(StreakNews::Began(StreakLength { attempts, .. })) => {
                warn!(environment = %name, "discovery fails: {failure}; {attempts} attempts failed");
            }
            Some(StreakNews::GoesOn(StreakLength { lasted, attempts })) => {
                let lasted = rough(lasted);
                info!(environment = %name, "discovery failing for {lasted} ({attempts} attempts): {failure}");
            }
            None => {}
        }
    }

    /// Logs what is worth telling of a request of discovery that succeeded.
    pub(super) fn log_search(&mut self, now: Duration) {
        if let Some(StreakLength { lasted, attempts }) = self.search.streak.succeed(now) {
            info!(environment = %self.name, "discovery succeeds again, after {} ({attempts} attempts)", rough(lasted));
        }
    }

    /// Whether a failure concerns the whole environment, not only the target whose request failed: the API rejects all
    /// requests, or answers none.
    pub(super) fn concerns_all(&self, failure: &ApiError) -> bool {
        match failure.failure() {
            RequestFailure::Rejected(_) => true,
            RequestFailure::Unanswered(_) => self.patience.is_out(),
            RequestFailure::Answered(_) => false,
        }
    }

    fn log_outage(&mut self, failure: &ApiError, now: Duration) {
        let (name, next) = (&self.name, rough(self.patience.remaining_pause(now)));
        let is_rejection = matches!(failure.failure(), RequestFailure::Rejected(_));
        let what = if is_rejection { "API refuses all requests" } else { "API unreachable" };
        debug!(environment = %name, "{what}: {failure}");
        match self.streak.fail(now) {
            Some(StreakNews::Began(StreakLength { attempts, .. })) => {
                warn!(environment = %name, "{what}: {failure}; {attempts} attempts failed, next in {next}");
            }
            Some(StreakNews::GoesOn(StreakLength { lasted, attempts })) => {
                let lasted = rough(lasted);
                info!(environment = %name, "{what}, for {lasted} now ({attempts} attempts), next in {next}: {failure}");
            }
            None => {}
        }
    }

    fn log_answer(&mut self, now: Duration) {
        self.answered = Some(now);
        if let Some(StreakLength { lasted, attempts }) = self.streak.succeed(now) {
            info!(environment = %self.name, "API reachable again after {} ({attempts} attempts)", rough(lasted));
        }
    }
}

fn log_failure(idle: &mut IdleTarget, failure: &ApiError, pause: Duration, answered: Option<Duration>, now: Duration) {
    let news = idle.state.streak.fail_among_others(now, answered);
    let (target, next) = (idle.target(), rough(pause));
    about_webhook!(debug, target, "poll failed: {failure}");
    match news {
        Some(StreakNews::Began(StreakLength { attempts, .. })) => {
            about_webhook!(warn, target, "log unreadable: {failure}; {attempts} attempts failed, next in {next}");
        }
        Some(StreakNews::GoesOn(StreakLength { lasted, attempts })) => {
            let lasted = rough(lasted);
            about_webhook!(
                info,
                target,
                "log still unreadable for {lasted} ({attempts} attempts), next in {next}: {failure}"
            );
        }
        None => {}
    }
}

fn log_success(idle: &mut IdleTarget, now: Duration) {
    if let Some(StreakLength { lasted, attempts }) = idle.state.streak.succeed(now) {
        let lasted = rough(lasted);
        about_webhook!(info, idle.target(), "log readable again after {lasted} ({attempts} attempts)");
    }
}
