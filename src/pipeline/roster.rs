//! Which targets an environment polls: those that the configuration names, and those that discovery has found.

use std::sync::Arc;
use std::time::Duration;

use tracing::warn;

use talkover_core::delivery::{Target, Timestamp};
use talkover_core::discovery::plan::{Discovery, ShortList};
use talkover_core::discovery::record::Unsaved;
use talkover_core::discovery::request::{DiscoveredPage, Request};
use talkover_core::discovery::targets::{ListedTarget, TargetChanges, Targets, compare, join};
use talkover_core::reading::error::ApiError;
use talkover_core::server_time::ServerTime;

/// The targets of one environment, and the search for them.
#[derive(Debug)]
pub struct Roster {
    environment: Arc<str>,
    named: Vec<Target>,
    discovery: Option<Discovery>,
    /// Those that are polled.
    targets: Arc<Targets>,
    /// Whether discovery has found something that `targets` does not show yet.
    is_outdated: bool,
}

/// What an answer has changed: in force once it is on disk.
#[derive(Debug)]
pub struct Update {
    /// What is to be written.
    pub unsaved: Unsaved,
    /// How the targets change.
    pub changes: TargetChanges,
    targets: Arc<Targets>,
}

impl Update {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.unsaved.is_empty() && self.changes == TargetChanges::default()
    }
}

impl Roster {
    /// The targets in `named`, and those that `discovery` knows already.
    pub fn new(environment: Arc<str>, named: Vec<Target>, discovery: Option<Discovery>) -> Self {
        let mut roster = Self { environment, named, discovery, targets: Arc::default(), is_outdated: false };
        roster.targets = Arc::new(roster.join());
        roster
    }

    fn join(&self) -> Targets {
        join(&self.environment, &self.named, self.discovery.iter().flat_map(Discovery::targets))
    }

    /// All targets.
    pub fn listed(&self) -> impl Iterator<Item = &ListedTarget> {
        self.targets.values()
    }

    /// How many of them the configuration names.
    pub fn named(&self) -> usize {
        self.named.len()
    }

    /// How many of them only discovery has found.
    pub fn found(&self) -> usize {
        self.targets.len().saturating_sub(self.named.len())
    }

    /// The target of a webhook.
    pub fn get(&self, webhook_id: &str) -> Option<&ListedTarget> {
        self.targets.get(webhook_id)
    }

    /// When discovery has a request to make; `None` if it is off or waits for an answer.
    pub fn due(&self) -> Option<Duration> {
        self.discovery.as_ref()?.due()
    }

    /// The request that discovery has to make at `now`.
    pub fn request(&self, now: Duration) -> Option<Request> {
        self.discovery.as_ref()?.next(now)
    }

    /// Records that this request is being made.
    pub fn start(&mut self) {
        if let Some(discovery) = &mut self.discovery {
            discovery.start();
        }
    }

    /// Records that the request was abandoned.
    pub fn abandon(&mut self) {
        if let Some(discovery) = &mut self.discovery {
            discovery.abandon();
        }
    }

    /// Processes an answer at `now`; `date` is the server's clock. What it changes is in force when the update is
    /// confirmed.
    pub fn absorb(
        &mut self,
        request: Request,
        result: Result<DiscoveredPage, &ApiError>,
        date: ServerTime,
        now: Duration,
    ) -> Option<Update> {
        let discovery = self.discovery.as_mut()?;
        self.is_outdated |= discovery.finish(request, result, date, now);
        discovery.take_news().iter().for_each(|list| log_shortfall(&self.environment, list));
        let unsaved = discovery.take_unsaved();
        if !self.is_outdated {
            return Some(Update { unsaved, changes: TargetChanges::default(), targets: Arc::clone(&self.targets) });
        }
        let targets = Arc::new(self.join());
        Some(Update { unsaved, changes: compare(&self.targets, &targets), targets })
    }

    /// Puts an update in force, which must be on disk.
    pub fn confirm(&mut self, update: Update) {
        self.targets = update.targets;
        self.is_outdated = false;
    }

    /// Keeps an update that could not be written for later.
    pub fn keep(&mut self, update: Update) {
        if let Some(discovery) = &mut self.discovery {
            discovery.keep_unsaved(update.unsaved);
        }
        self.is_outdated = true;
    }

    /// Whether all targets are known that existed when discovery began; true if there is no discovery.
    pub fn is_complete(&self) -> bool {
        self.discovery.as_ref().is_none_or(Discovery::has_seen_all)
    }

    /// How many webhooks are not read because there are more than `max_webhooks`.
    pub fn skipped(&self) -> usize {
        self.discovery.as_ref().map_or(0, Discovery::skipped)
    }

    /// When discovery last knew everything, by the server's clock.
    pub fn last_success(&self) -> Option<Timestamp> {
        self.discovery.as_ref()?.last_success()
    }
}

/// Logs that not all of a list is read.
fn log_shortfall(environment: &str, ShortList { owner, owner_type, shortfall }: &ShortList) {
    let kind = owner_type.as_str();
    match owner {
        None => warn!(environment, "list of {kind}s read only in part: {shortfall}; using what was found"),
        Some(owner) => {
            let id = &owner.id;
            warn!(environment, "webhooks of {kind} {id} read only in part: {shortfall}; using what was found");
        }
    }
}
