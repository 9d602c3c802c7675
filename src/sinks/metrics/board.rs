//! What is shown: the durable totals of each target's last commit, and what the daemon does.
//!
//! The pipeline writes here after each commit, in one step, so that a reader sees all of a decision or nothing of it. A
//! reader takes a snapshot and then holds no lock: later writes go to a copy.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use super::exemplars::Exemplars;
use super::exposure::Exposure;
use crate::store::durable::{Committed, DurableLedger};
use talkover_core::delivery::{AttemptStatus, Target, Timestamp};
use talkover_core::discovery::targets::WebhookInfo;
use talkover_core::ledger::activity::RecentActivity;
use talkover_core::ledger::decide::Tally;
use talkover_core::ledger::labels::AttemptLabel;
use talkover_core::ledger::losses::RecentLosses;
use talkover_core::ledger::series::Family;
use talkover_core::ledger::state::Marks;
use talkover_core::ledger::totals::Totals;
use talkover_core::reading::error::PollResult;

/// The states in which an entry is followed, in the order in which views keep them.
pub const OPEN_STATES: [AttemptStatus; 2] = [AttemptStatus::Pending, AttemptStatus::Retrying];

/// What is shown about one target.
#[derive(Clone, Debug)]
pub struct TargetView {
    /// The target.
    pub target: Target,
    /// What discovery knows of the webhook.
    pub info: Option<WebhookInfo>,
    /// When its series expire, if it is no longer listed and therefore not polled.
    pub retires: Option<Instant>,
    /// Whether its delivery series are shown: once its first walk is complete, and while the state is not behind what
    /// was shown before.
    pub exposed: bool,
    /// Whether the state went back in time, and the log was not read again since: then nothing durable is shown.
    pub is_behind: bool,
    /// The durable totals.
    pub totals: Totals,
    /// Which of them are held at 0.
    pub exposure: Exposure,
    /// Exemplars for them.
    pub exemplars: Exemplars,
    /// The watermark and the newest attempts.
    pub marks: Marks,
    /// The number of entries that are followed, by [`OPEN_STATES`].
    pub open: [u64; 2],
    /// The oldest of them.
    pub oldest_open: [Option<Timestamp>; 2],
    /// The latest of its lost deliveries.
    pub losses: Arc<RecentLosses>,
    /// What happened lately.
    pub activity: Arc<RecentActivity>,
    /// Whether the last poll succeeded.
    pub up: Option<bool>,
    /// Why it did not.
    pub failure: Option<Arc<str>>,
    /// Since when `up` has been what it is, by the server's clock; `None` if that is not known.
    pub up_since: Option<Timestamp>,
    /// When a poll last succeeded.
    pub last_success: Option<Timestamp>,
    /// When it is expected to be polled next.
    pub next_poll: Option<Instant>,
    /// How far a long walk has come; `None` if none is under way.
    pub progress: Option<WalkProgress>,
    /// The time between polls.
    pub poll_interval: Duration,
    /// Polls by [`talkover_core::reading::error::PollResult::ALL`].
    pub polls: [u64; 7],
}

impl TargetView {
    /// Shows that the last poll failed at `date`, or that none can be made, and why.
    pub fn fail(&mut self, failure: &str, date: Timestamp) {
        // A start knows since when polls had failed before it.
        if self.up.is_some() || self.up_since.is_none() {
            self.set_up(false, date);
        }
        self.up = Some(false);
        self.failure = Some(failure.into());
    }

    /// Shows that the last poll succeeded at `date`.
    pub fn succeed(&mut self, date: Timestamp) {
        self.set_up(true, date);
        self.failure = None;
        self.last_success = Some(date);
    }

    fn set_up(&mut self, up: bool, date: Timestamp) {
        if self.up.replace(up) != Some(up) {
            self.up_since = Some(date);
        }
    }

    /// A target as the state file remembers it.
    pub fn new(
        target: Target,
        ledger: &DurableLedger,
        exposure: Exposure,
        last_success: Option<Timestamp>,
        poll_interval: Duration,
    ) -> Self {
        let mut view = Self {
            target,
            info: None,
            retires: None,
            exposed: false,
            is_behind: false,
            totals: ledger.totals().clone(),
            exposure,
            exemplars: Exemplars::default(),
            marks: Marks::default(),
            open: [0; 2],
            oldest_open: [None; 2],
            losses: Arc::default(),
            activity: Arc::default(),
            up: None,
            failure: None,
            up_since: None,
            last_success,
            next_poll: None,
            progress: None,
            poll_interval,
            polls: [0; 7],
        };
        view.show_ledger(ledger);
        view
    }

    /// Whether the webhook is disabled in TalkOver.
    pub fn is_disabled(&self) -> bool {
        self.info.as_ref().is_some_and(|info| !info.is_enabled)
    }

    /// The part of the first contact that is read, by time: 1 once it is complete.
    pub fn first_contact_ratio(&self) -> f64 {
        match self.progress {
            _ if self.marks.contacted => 1.0,
            Some(progress) => progress.ratio,
            None => 0.0,
        }
    }

    /// Shows what a commit has changed, with those of its attempts whose spans are sent.
    pub fn show(&mut self, ledger: &DurableLedger, committed: &Committed, exemplars: &Exemplars) {
        self.totals.apply(committed.totals());
        self.exposure.add(committed.births(), committed.catching_up());
        self.exemplars.merge(exemplars);
        self.show_ledger(ledger);
    }

    fn show_ledger(&mut self, ledger: &DurableLedger) {
        self.marks = ledger.marks().clone();
        self.exposed = self.marks.contacted && !self.is_behind;
        self.losses = Arc::clone(ledger.losses());
        self.activity = Arc::clone(ledger.activity());
        self.open = [0; 2];
        self.oldest_open = [None; 2];
        for (_, row) in ledger.open() {
            if let Some(position) = OPEN_STATES.iter().position(|status| *status == row.status) {
                self.open[position] += 1;
                self.oldest_open[position].get_or_insert(row.at);
            }
        }
    }
}

/// How far a long walk has come.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WalkProgress {
    /// The part that is read, by time: from 0 to 1.
    pub ratio: f64,
    /// Answers read, those before a restart included.
    pub pages: u64,
    /// Entries read.
    pub entries: u64,
    /// The time of the oldest entry that was read.
    pub reached: Timestamp,
    /// Where it ends.
    pub until: Timestamp,
    /// How long it will still take, going by what it has taken so far; `None` if that cannot be told yet.
    pub remaining: Option<Duration>,
}

/// Why nobody in an environment can be read.
#[derive(Clone, Debug)]
pub struct EnvironmentTrouble {
    /// What the last request came to.
    pub error: Arc<str>,
    /// The same as a kind of failure.
    pub result: PollResult,
    /// When that began, by the server's clock.
    pub since: Timestamp,
    /// When the next request will be made.
    pub next_attempt: Option<Instant>,
}

/// What is shown about one environment.
#[derive(Clone, Debug, Default)]
pub struct EnvironmentView {
    /// Entries read.
    pub entries_read: Tally,
    /// The API's clock minus the local one, in seconds.
    pub clock_offset: Option<f64>,
    /// `X-RateLimit-Limit`
    pub rate_limit: Option<u64>,
    /// `X-RateLimit-Remaining`
    pub rate_limit_remaining: Option<u64>,
    /// Requests a minute that may be made.
    pub budget: u32,
    /// When discovery last had read everything.
    pub discovery_last_success: Option<Timestamp>,
    /// Whether discovery is on and has not read everything yet.
    pub is_searching: bool,
    /// Failed requests of discovery in a row.
    pub discovery_failures: u32,
    /// Why nobody in it can be read; `None` if somebody can.
    pub trouble: Option<EnvironmentTrouble>,
    /// When its loop began, and the part of the first contacts that was read by then.
    pub began: Option<(Instant, f64)>,
    /// When the API last answered, by its own clock.
    pub last_answer: Option<Timestamp>,
    /// Webhooks that discovery has found beyond `max_webhooks`.
    pub webhooks_skipped: usize,
}

/// The settings that say what is shown, and how.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Display {
    /// The labels of the duration histogram.
    pub duration_labels: Vec<AttemptLabel>,
    /// The upper bounds of its buckets, in seconds.
    pub duration_buckets: Arc<[f64]>,
    /// How long a new series is served as 0.
    pub birth_hold: Duration,
    /// Where else to look.
    pub links: Links,
}

/// Where the status page leads to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Links {
    /// The address of a trace, with `{trace_id}` for its id; `None` if there is nothing to show traces.
    pub trace_url: Option<Arc<str>>,
    /// The address of the Grafana that has the bundled dashboards, without a slash at its end; `None` if there is none.
    pub grafana_url: Option<Arc<str>>,
}

/// Whether the configuration is valid and current.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConfigStatus {
    /// Whether the last attempt to load it succeeded.
    pub is_good: bool,
    /// When it was last loaded, by the local clock.
    pub loaded_at: Timestamp,
}

/// Everything that is shown, by name.
#[derive(Clone, Debug, Default)]
pub struct Views {
    /// How often something was written to the board so far.
    version: u64,
    /// How it is shown.
    pub display: Display,
    /// The status of the configuration.
    pub config: ConfigStatus,
    /// Targets by environment and webhook.
    pub targets: BTreeMap<(Arc<str>, Arc<str>), Arc<TargetView>>,
    /// Environments by name.
    pub environments: BTreeMap<Arc<str>, EnvironmentView>,
}

impl Views {
    /// Whether the log of a target is still to be read again because the state went back in time.
    pub fn is_behind(&self) -> bool {
        self.listed().any(|view| view.is_behind)
    }

    /// Returns a number that grows with everything that is written to the board: one number, one content.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The targets that are polled.
    pub fn listed(&self) -> impl Iterator<Item = &TargetView> {
        self.targets.values().map(|view| &**view).filter(|view| view.retires.is_none())
    }
}

/// The shared board.
#[derive(Clone, Debug, Default)]
pub struct Board(Arc<RwLock<Arc<Views>>>);

impl Board {
    /// Sets how everything is shown. Histograms of durations with other labels or buckets are removed.
    pub fn set_display(&self, display: Display) {
        self.write(|views| {
            let layout = |display: &Display| (display.duration_labels.clone(), display.duration_buckets.clone());
            if layout(&views.display) != layout(&display) {
                for view in views.targets.values_mut().map(Arc::make_mut) {
                    view.totals.remove_family(Family::Duration);
                    view.exemplars = Exemplars::default();
                }
            }
            views.display = display;
        });
    }

    /// Changes the status of the configuration.
    pub fn set_config(&self, change: impl FnOnce(&mut ConfigStatus)) {
        self.write(|views| change(&mut views.config));
    }

    /// Adds a target. If it was on the board before, this process's counts for it go on.
    pub fn add_target(&self, mut view: TargetView) {
        let key = (view.target.environment.clone(), view.target.webhook_id.clone());
        self.write(|views| {
            if let Some(before) = views.targets.get(&key) {
                view.up = before.up;
                view.failure.clone_from(&before.failure);
                view.up_since = before.up_since;
                view.polls = before.polls;
            }
            views.targets.insert(key, Arc::new(view));
        });
    }

    /// Records that a target is no longer listed, and when its series expire. Returns whether that is news.
    pub fn retire_target(&self, target: &Target, at: Instant) -> bool {
        let key = (target.environment.clone(), target.webhook_id.clone());
        self.write(|views| match views.targets.get_mut(&key) {
            Some(view) if view.retires.is_none() => Arc::make_mut(view).retires.replace(at).is_none(),
            Some(_) | None => false,
        })
    }

    /// Removes a target.
    pub fn remove_target(&self, target: &Target) {
        let key = (target.environment.clone(), target.webhook_id.clone());
        self.write(|views| views.targets.remove(&key));
    }

    /// Adds an environment, or changes its budget.
    pub fn add_environment(&self, name: Arc<str>, budget: u32) {
        self.write(|views| views.environments.entry(name).or_default().budget = budget);
    }

    /// Notes that the loop of an environment begins, with its targets as they are shown.
    pub fn note_began(&self, name: &Arc<str>) {
        self.write(|views| {
            let own = views.listed().filter(|view| view.target.environment == *name);
            let began = (Instant::now(), average_first_contact(own));
            views.environments.entry(Arc::clone(name)).or_default().began = Some(began);
        });
    }

    /// Removes an environment.
    pub fn remove_environment(&self, name: &str) {
        self.write(|views| views.environments.remove(name));
    }

    /// Changes what is shown of a target and of its environment in one step.
    pub fn update(&self, target: &Target, change: impl FnOnce(&mut TargetView, &mut EnvironmentView)) {
        let key = (target.environment.clone(), target.webhook_id.clone());
        self.write(|views| {
            let environment = views.environments.get_mut(&target.environment);
            if let (Some(view), Some(environment)) = (views.targets.get_mut(&key), environment) {
                change(Arc::make_mut(view), environment);
            }
        });
    }

    /// Changes what is shown of an environment.
    pub fn update_environment(&self, name: &Arc<str>, change: impl FnOnce(&mut EnvironmentView)) {
        self.write(|views| views.environments.get_mut(name).map(change));
    }

    /// Returns everything as of this moment.
    pub fn snapshot(&self) -> Arc<Views> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How often anything was changed.
    pub fn version(&self) -> u64 {
        self.0.read().unwrap_or_else(PoisonError::into_inner).version()
    }

    /// Reads everything at one moment.
    pub fn read<T>(&self, look: impl FnOnce(&Views) -> T) -> T {
        look(&self.snapshot())
    }

    /// Changes what is shown in one step, for later readers.
    fn write<T>(&self, change: impl FnOnce(&mut Views) -> T) -> T {
        let mut board = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let views = Arc::make_mut(&mut board);
        views.version += 1;
        change(views)
    }
}

/// The part of the first contacts that is read, of the average webhook.
pub fn average_first_contact<'a>(views: impl Iterator<Item = &'a TargetView>) -> f64 {
    let ratios: Vec<f64> = views.map(TargetView::first_contact_ratio).collect();
    if ratios.is_empty() { 0.0 } else { ratios.iter().sum::<f64>() / ratios.len() as f64 }
}
