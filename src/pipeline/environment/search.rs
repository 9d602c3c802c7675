//! Discovery's part of the loop: its requests, and how their answers change the targets. Changes a target only after
//! the change is on disk. Called by the environment's loop alone.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tracing::{error, info, warn};

use super::idle_target::IdleTarget;
use super::spender::Grant;
use super::{Done, EnvironmentLoop, jitter};
use crate::logging::about::about_webhook;
use crate::pipeline::discover::{Asked, Registered, ask, register, view};
use crate::pipeline::retire;
use crate::pipeline::roster::{Roster, Update};
use crate::shutdown::Shutdown;
use crate::sinks::metrics::board::Board;
use crate::store::Loaded;
use talkover_core::delivery::Target;
use talkover_core::discovery::request::{DiscoveredPage, Request};
use talkover_core::discovery::targets::ListedTarget;
use talkover_core::reading::error::ApiError;
use talkover_core::schedule::scheduler::TurnOutcome;
use talkover_core::schedule::streak::FailureStreak;
use talkover_core::schedule::{TargetId, Turn};
use talkover_core::server_time::{Certainty, Observed};

/// Webhooks found at once that are logged one by one; of more only the number is.
const LOGGED: usize = 5;

/// The search for targets, and what it has found so far.
#[derive(Debug)]
pub(super) struct Search {
    environment: Arc<str>,
    pub(super) roster: Roster,
    /// When the request under way began, in time since the start.
    asked_at: Duration,
    /// Failures in a row.
    failures: u32,
    /// The same, as far as they are its own.
    pub(super) streak: FailureStreak,
    /// Whether the log says how many webhooks there are.
    is_told: bool,
    /// Whether it has found more webhooks than are read, as it was logged.
    has_skipped: bool,
}

impl Search {
    pub(super) fn new(environment: Arc<str>, roster: Roster) -> Self {
        let streak = FailureStreak::default();
        Self { environment, roster, asked_at: Duration::ZERO, failures: 0, streak, is_told: false, has_skipped: false }
    }

    fn begin(&mut self, now: Duration) {
        self.roster.start();
        self.asked_at = now;
    }

    /// Processes an answer at `now` since the start. Returns what it changes, if that has to be written.
    fn absorb(
        &mut self,
        request: Request,
        result: Result<DiscoveredPage, ApiError>,
        seen: &Observed,
        now: Duration,
    ) -> Option<Update> {
        let update = match result {
            Ok(found) => {
                self.failures = 0;
                if seen.certainty == Certainty::Assumed {
                    // The time from which a webhook is known would come from a clock that may be wrong: the request is
                    // made again.
                    self.roster.abandon();
                    return None;
                }
                self.roster.absorb(request, Ok(found), seen.now, now)
            }
            Err(failure) => {
                self.failures += 1;
                self.roster.absorb(request, Err(&failure), seen.now, now)
            }
        };
        update.filter(|update| !update.is_empty())
    }

    /// Logs how many webhooks there are, once it is known: a line for each of hundreds would bury what matters.
    pub(super) fn log_found(&mut self) {
        if !self.roster.is_complete() || std::mem::replace(&mut self.is_told, true) {
            return;
        }
        let (found, named) = (self.roster.found(), self.roster.named());
        info!(environment = %self.environment, "{found} webhooks found, {named} named by hand");
    }

    /// Logs once that there are more webhooks than are read, and once that this is over.
    fn log_skipped(&mut self) {
        let (environment, skipped) = (&self.environment, self.roster.skipped());
        match (std::mem::replace(&mut self.has_skipped, skipped > 0), skipped) {
            (false, 1..) => {
                warn!(%environment, skipped, "more webhooks were found than discovery.max_webhooks: the rest is not read");
            }
            (true, 0) => info!(%environment, "all webhooks that were found are read again"),
            _ => {}
        }
    }

    fn show(&self, board: &Board) {
        board.update_environment(&self.environment, |view| {
            view.discovery_last_success = self.roster.last_success();
            view.discovery_failures = self.failures;
            view.is_searching = !self.roster.is_complete();
            view.webhooks_skipped = self.roster.skipped();
        });
    }
}

impl EnvironmentLoop {
    pub(super) fn start_search(&mut self, tasks: &mut JoinSet<Done>, shutdown: &Shutdown) {
        let now = self.now();
        let Some(request) = self.search.roster.request(now) else {
            return self.scheduler.set_discovery_due(self.search.roster.due().filter(|due| *due > now));
        };
        let Grant::Granted = self.pay(now) else { return };
        self.renew_token();
        self.search.begin(now);
        self.scheduler.start(Turn::Discover, now);
        let (context, name, shutdown) = (self.context.clone(), self.name.clone(), shutdown.clone());
        tasks.spawn(async move { Done::Asked(Box::new(ask(context, &name, request, shutdown).await)) });
    }

    pub(super) fn receive_answer(&mut self, asked: Asked, tasks: &mut JoinSet<Done>) {
        let Asked { request, answer, span } = asked;
        let Some((answer, seen)) = answer else {
            self.search.roster.abandon();
            return self.end_search();
        };
        let now = self.now();
        self.learn(&answer.exchange, now);
        match &answer.result {
            Ok(_) => {
                self.patience.accept();
                self.log_search(now);
            }
            Err(failure) => {
                self.patience.fail_discovery(failure.failure(), self.search.asked_at, now, jitter());
                self.log_failed_search(failure, now);
            }
        }
        self.report_search(answer.result.as_ref().err(), now);
        let Some(update) = self.search.absorb(request, answer.result, &seen, now) else { return self.end_search() };
        // If a webhook comes back while its last step is under way, it has to wait: what that step commits is not
        // loaded yet.
        if update.changes.appeared.iter().any(|listed| self.members.is_leaving(&listed.target.webhook_id)) {
            self.search.roster.keep(update);
            return self.end_search();
        }
        let (context, name) = (self.context.clone(), self.name.clone());
        tasks.spawn_blocking(move || Done::Registered(Box::new(register(&context, &name, update, &span))));
    }

    /// Puts an update in force if it is on disk; keeps it for later if it could not be written.
    pub(super) fn receive_registered(&mut self, registered: Registered) {
        let Registered { update, appeared } = registered;
        match appeared {
            Ok(appeared) => {
                self.put_in_force(&update, appeared);
                self.search.roster.confirm(update);
                self.follow_limits();
            }
            Err(failure) => {
                self.context.write_errors.inc();
                error!(environment = %self.name, "failed to write what discovery found: {failure}");
                self.search.roster.keep(update);
            }
        }
        self.end_search();
    }

    fn put_in_force(&mut self, update: &Update, appeared: Vec<(ListedTarget, Loaded)>) {
        let found = appeared.len();
        if self.search.is_told && found > LOGGED {
            info!(environment = %self.name, found, "webhooks discovered, such as {}", appeared[0].0.target);
        }
        for (listed, loaded) in appeared {
            if self.search.is_told && found <= LOGGED {
                about_webhook!(info, &listed.target, "webhook discovered");
            }
            self.add(&listed, loaded);
        }
        update.changes.changed.iter().for_each(|listed| self.change(listed));
        let gone = &update.changes.disappeared;
        if gone.len() > LOGGED {
            let count = gone.len();
            info!(environment = %self.name, count, "webhooks no longer listed, such as {}", gone[0]);
        }
        for target in gone {
            if gone.len() <= LOGGED {
                about_webhook!(info, target, "webhook no longer listed; its series expire in 24 h");
            }
            self.remove(target);
        }
    }

    fn end_search(&mut self) {
        self.search.log_found();
        self.scheduler.finish(Turn::Discover, TurnOutcome::Complete(0), self.now());
        self.scheduler.set_discovery_due(self.search.roster.due());
        self.search.log_skipped();
        self.search.show(&self.context.board);
    }

    /// Adds a target with what the state file remembers of it.
    pub(super) fn add(&mut self, listed: &ListedTarget, loaded: Loaded) {
        let now = self.now();
        self.context.board.add_target(view(listed, &loaded, self.settings.intervals.min));
        let idle = IdleTarget::new(listed, loaded, self.settings.read);
        let progress = idle.staged_progress();
        self.context.board.update(&listed.target, |view, _| view.progress = progress);
        let id = self.members.add(idle);
        self.scheduler.add(id, now);
        self.patience.add(id);
        self.follow_enabled(id, listed, now);
    }

    /// Updates a target that is polled already with what discovery says of it. If the target is away, it is updated
    /// when it comes back.
    fn change(&mut self, listed: &ListedTarget) {
        let target = &listed.target;
        self.context.board.update(target, |view, _| {
            view.target = target.clone();
            view.info = listed.info.clone();
        });
        let Some(id) = self.members.listed(&target.webhook_id) else { return };
        let now = self.now();
        self.follow_enabled(id, listed, now);
        if let Some(idle) = self.members.idle_mut(id) {
            idle.update(listed);
        }
    }

    /// Polls a webhook less often while it is disabled in TalkOver.
    fn follow_enabled(&mut self, id: TargetId, listed: &ListedTarget, now: Duration) {
        if listed.is_disabled() {
            self.scheduler.disable(id, now);
        } else {
            self.scheduler.enable(id, now);
        }
    }

    /// Stops polling a target; its series stay for a while.
    fn remove(&mut self, target: &Target) {
        self.context.board.retire_target(target, std::time::Instant::now() + retire::KEEP);
        if let Some(id) = self.members.remove(&target.webhook_id) {
            self.scheduler.remove(id);
            self.patience.remove(id);
        }
    }
}
