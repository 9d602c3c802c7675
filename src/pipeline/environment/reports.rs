//! Reports on an environment as a whole: shows and logs that no log in it can be read and why, and the progress of
//! first contacts and long walks. Called by the environment's loop alone.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::info;

use super::EnvironmentLoop;
use crate::logging::about::about_webhook;
use crate::pipeline::step_result::StepResult;
use crate::sinks::metrics::board::{Board, EnvironmentTrouble};
use crate::sinks::metrics::progress::{self, approximately};
use talkover_core::delivery::Timestamp;
use talkover_core::reading::error::{ApiError, PollResult};
use talkover_core::schedule::scheduler::Next;

/// How often the progress of long work is logged.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(60);

/// What was last reported of an environment.
#[derive(Debug, Default)]
pub(super) struct Reports {
    /// Why no log can be read, and since when; `None` if at least one can.
    trouble: Option<(Arc<str>, PollResult, Timestamp)>,
    /// When progress was last logged, in time since the start.
    progress_logged: Duration,
}

impl EnvironmentLoop {
    /// Shows, after a step that ended with `result`, whether any log can be read.
    pub(super) fn report_step(&mut self, result: &StepResult, now: Duration) {
        match result {
            StepResult::Failed(failure) if self.concerns_all(failure) => self.note_trouble(failure),
            StepResult::Stopped | StepResult::NotWritten(_) => {}
            // A step that began before the outage proves nothing about it.
            _ if self.patience.is_out() => {}
            _ => self.reports.trouble = None,
        }
        self.show_trouble(now);
        self.log_progress(now);
    }

    /// Shows, after a request of discovery that may have failed, whether the API answers. Once there are webhooks,
    /// their polls decide that instead.
    pub(super) fn report_search(&mut self, failure: Option<&ApiError>, now: Duration) {
        let is_alone = self.search.roster.listed().next().is_none();
        match failure {
            Some(failure) if is_alone || self.concerns_all(failure) => self.note_trouble(failure),
            None if is_alone => self.reports.trouble = None,
            _ => return,
        }
        self.show_trouble(now);
    }

    fn note_trouble(&mut self, failure: &ApiError) {
        let since = self.reports.trouble.take().map(|(_, _, since)| since);
        let since = since.unwrap_or_else(|| self.context.clock.now().timestamp());
        self.reports.trouble = Some((failure.to_string().into(), failure.poll_result(), since));
    }

    fn show_trouble(&mut self, now: Duration) {
        let trouble = self.reports.trouble.clone().map(|(error, result, since)| {
            let next_attempt = match self.next(now) {
                Some(Next::At(moment)) => Some(moment),
                Some(Next::Turn(_)) => Some(now),
                None => None,
            };
            EnvironmentTrouble {
                error,
                result,
                since,
                next_attempt: next_attempt.and_then(|moment| self.instant(moment)),
            }
        });
        self.context.board.update_environment(&self.name, |view| view.trouble = trouble);
    }

    /// The moment that is `moment` since the start.
    pub(super) fn instant(&self, moment: Duration) -> Option<Instant> {
        self.started.into_std().checked_add(moment)
    }

    /// Logs the progress of first contacts and long walks once a minute.
    fn log_progress(&mut self, now: Duration) {
        if now < self.reports.progress_logged + PROGRESS_INTERVAL {
            return;
        }
        self.reports.progress_logged = now;
        log_progress(&self.context.board, &self.name);
    }
}

fn log_progress(board: &Board, environment: &Arc<str>) {
    let views = board.snapshot();
    if let Some(first) = progress::first_contact(&views, environment, Instant::now()) {
        let progress::FirstContact { read, webhooks, ratio, pages, entries, remaining, .. } = first;
        let left = remaining.map_or_else(|| "unknown".to_owned(), approximately);
        info!(
            %environment,
            pages,
            entries,
            left,
            "first reading: {:.0} % done, {read} of {webhooks} webhooks complete{}",
            ratio * 100.0,
            first.reached_text(),
        );
    }
    for view in views.listed().filter(|view| view.target.environment == *environment && view.exposed) {
        let Some(walk) = view.progress else { continue };
        let left = walk.remaining.map_or_else(|| "unknown".to_owned(), approximately);
        let reached = progress::date_time(walk.reached);
        about_webhook!(
            info,
            &view.target,
            pages = walk.pages,
            entries = walk.entries,
            left,
            "catching up: {:.0} % done, read back to {reached}",
            walk.ratio * 100.0,
        );
    }
}
