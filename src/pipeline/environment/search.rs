//! Discovery's part of the loop: its requests, and what their answers change of the targets. Called by the loop alone.

use std::time::Duration;

use tokio::task::JoinSet;
use tracing::{debug, error, info, warn};

use super::results::jitter;
use super::{Done, Environment};
use crate::pipeline::discover::{Asked, Registered, ask, register};
use crate::pipeline::retire;
use crate::shutdown::Shutdown;
use talkover_core::clock::Certainty;
use talkover_core::delivery::Target;
use talkover_core::discovery::targets::Listed;
use talkover_core::reading::error::{ApiError, PollResult};
use talkover_core::schedule::Turn;
use talkover_core::schedule::scheduler::Outcome;

/// How discovery fares.
#[derive(Default)]
pub(super) struct Search {
    /// When the request under way was begun, since the start.
    asked_at: Duration,
    /// Failures in a row.
    failures: u32,
    last: Option<PollResult>,
}

impl Environment {
    pub(super) fn start_search(&mut self, steps: &mut JoinSet<Done>, shutdown: &Shutdown) {
        let now = self.now();
        let Some(request) = self.roster.request(now) else {
            return self.scheduler.set_discovery_due(self.roster.due().filter(|due| *due > now));
        };
        if !self.take_from_budget() {
            return;
        }
        self.renew_token();
        self.roster.start();
        self.scheduler.start(Turn::Discover, now);
        self.search.asked_at = now;
        let (workshop, name, shutdown) = (self.workshop.clone(), self.name.clone(), shutdown.clone());
        steps.spawn(async move { Done::Asked(Box::new(ask(workshop, &name, request, shutdown).await)) });
    }

    pub(super) fn receive_answer(&mut self, asked: Asked, steps: &mut JoinSet<Done>) {
        let Asked { request, answer } = asked;
        let Some((answer, seen)) = answer else {
            self.roster.abandon();
            return self.end_search();
        };
        self.learn(&answer.exchange);
        match &answer.result {
            Ok(_) => {
                self.patience.accept();
                self.search.failures = 0;
                self.search.last = None;
            }
            Err(failure) => self.fail_search(failure),
        }
        if answer.result.is_ok() && seen.certainty == Certainty::Assumed {
            // It would say since when a webhook is known by a clock that may be wrong: the same is asked again.
            self.roster.abandon();
            return self.end_search();
        }
        let (date, now) = (seen.now, self.now());
        let update = match answer.result {
            Ok(found) => self.roster.absorb(request, Ok(found), date, now),
            Err(failure) => self.roster.absorb(request, Err(&failure), date, now),
        };
        let Some(update) = update.filter(|update| !update.is_empty()) else { return self.end_search() };
        // One that comes back while its last step is under way has to wait: what that commits is not loaded yet.
        let is_leaving = |listed: &Listed| self.leaving.values().any(|id| *id == listed.target.webhook_id);
        if update.changes.appeared.iter().any(is_leaving) {
            self.roster.keep(update);
            return self.end_search();
        }
        let (workshop, name) = (self.workshop.clone(), self.name.clone());
        steps.spawn_blocking(move || Done::Registered(Box::new(register(&workshop, &name, update))));
    }

    fn fail_search(&mut self, failure: &ApiError) {
        let name = &self.name;
        self.search.failures += 1;
        if self.search.last.replace(failure.poll_result()) == Some(failure.poll_result()) {
            debug!(environment = %name, "discovery failed again: {failure}");
        } else {
            warn!(environment = %name, "discovery failed: {failure}");
        }
        let now = self.now();
        self.patience.fail_discovery(failure.failure(), self.search.asked_at, now, jitter());
    }

    /// Puts an update in force that is on disk.
    pub(super) fn receive_registered(&mut self, registered: Registered) {
        let Registered { update, appeared } = registered;
        match appeared {
            Ok(appeared) => {
                for (listed, loaded) in appeared {
                    info!(webhook = %listed.target, name = %listed.target.webhook_name, "found a webhook");
                    self.add(&listed, loaded);
                }
                update.changes.changed.iter().for_each(|listed| self.change(listed));
                update.changes.disappeared.iter().for_each(|target| self.remove(target));
                self.roster.confirm(update);
                self.resize();
            }
            Err(failure) => {
                self.workshop.write_errors.inc();
                error!(environment = %self.name, "failed to keep what discovery has found: {failure}");
                self.roster.keep(update);
            }
        }
        self.end_search();
    }

    fn end_search(&mut self) {
        self.scheduler.finish(Turn::Discover, Outcome::Complete(0), self.now());
        self.scheduler.set_discovery_due(self.roster.due());
        let (last_success, failures) = (self.roster.last_success(), self.search.failures);
        let is_searching = !self.roster.is_complete();
        self.workshop.board.update_environment(&self.name, |view| {
            view.discovery_last_success = last_success;
            view.discovery_failures = failures;
            view.is_searching = is_searching;
        });
    }

    /// Takes in what discovery says of a target that is polled already.
    fn change(&mut self, listed: &Listed) {
        let target = &listed.target;
        self.workshop.board.update(target, |view, _| {
            view.target = target.clone();
            view.info = listed.info.clone();
        });
        let Some(id) = self.ids.get(&target.webhook_id).copied() else { return };
        let now = self.now();
        self.scheduler.set_disabled(id, listed.is_disabled(), now);
        if let Some(seat) = self.idle.get_mut(&id) {
            seat.reader.target = target.clone();
            seat.reader.info = listed.info.clone();
        }
    }

    /// Lets a target go; its series stay for a while.
    fn remove(&mut self, target: &Target) {
        info!(webhook = %target, "not listed any more: its series go when it has been so for 24 h");
        self.workshop.board.retire_target(target, std::time::Instant::now() + retire::KEEP);
        if let Some(id) = self.ids.remove(&target.webhook_id) {
            self.scheduler.remove(id);
            self.patience.remove(id);
            self.idle.remove(&id);
            if self.away.remove(&id).is_some() {
                self.leaving.insert(id, target.webhook_id.clone());
            }
        }
    }
}
