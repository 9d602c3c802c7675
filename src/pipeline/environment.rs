//! The loop of one environment: schedules the requests of its targets within the budget, and backs off from failures.
//!
//! `turns` pays for requests and makes the steps of targets, `members` holds the targets, `spender` decides what may be
//! spent, `search` is discovery's part of the loop, `results` interprets the end of a step, `outages` decides what is
//! logged of failures, and `reports` shows how the environment as a whole is doing. Must never start a step for a
//! target that has one under way, nor make a request that is not paid for.

mod idle_target;
mod members;
mod outages;
mod reports;
mod results;
mod search;
mod spender;
mod turns;

use std::cmp::Reverse;
use std::sync::Arc;
use std::time::Duration;

use rand::RngExt;
use secrecy::SecretString;
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;
use tracing::{info, warn};

use self::members::{Members, Ticket};
use self::reports::Reports;
use self::search::Search;
use self::spender::Spender;
use super::discover::{Asked, Registered};
use super::reader::ReadSettings;
use super::roster::Roster;
use super::step::{StepContext, Stepped};
use crate::budget::Budget;
use crate::client::Client;
use crate::shutdown::Shutdown;
use crate::store::Loaded;
use crate::watchdog::{self, Turns};
use talkover_core::discovery::targets::ListedTarget;
use talkover_core::ledger::decide::Policy;
use talkover_core::schedule::patience::Patience;
use talkover_core::schedule::scheduler::{Next, Scheduler};
use talkover_core::schedule::streak::FailureStreak;
use talkover_core::schedule::{Intervals, RequestClass, Turn};

/// The settings of an environment's loop.
#[derive(Clone, Copy, Debug)]
pub struct EnvironmentSettings {
    /// Requests a minute, as configured.
    pub requests_per_minute: u32,
    /// Requests under way at the same time, at most.
    pub max_concurrent_requests: u32,
    /// Bounds of the time between polls of a target.
    pub intervals: Intervals,
    /// How targets are read.
    pub read: ReadSettings,
}

/// Reads the token, before every request. `None` if that fails: then the previous one is used.
pub type TokenReader = Box<dyn Fn() -> Option<SecretString> + Send + Sync>;

/// The loop of one environment.
pub struct EnvironmentLoop {
    name: Arc<str>,
    settings: EnvironmentSettings,
    context: StepContext,
    read_token: TokenReader,
    /// The times of the loop count from here.
    started: Instant,
    members: Members,
    scheduler: Scheduler,
    /// Which targets are left alone, and for how long.
    patience: Patience,
    /// Failures in a row that concern all targets.
    streak: FailureStreak,
    /// When the API last answered any request.
    answered: Option<Duration>,
    spender: Spender,
    search: Search,
    reports: Reports,
    /// The longest interval that was last logged, or the configured one.
    longest: Duration,
}

/// The result of a task of the loop.
enum Done {
    Stepped(Ticket, RequestClass, Box<Stepped>),
    Asked(Box<Asked>),
    Registered(Box<Registered>),
}

impl EnvironmentLoop {
    /// A loop for the targets of `roster`, with what is remembered of them and the services in `context`.
    pub fn new(
        name: Arc<str>,
        settings: EnvironmentSettings,
        context: StepContext,
        budget: Budget,
        read_token: TokenReader,
        roster: Roster,
        mut remembered: Vec<(ListedTarget, Loaded)>,
    ) -> Self {
        let (rate, concurrent) = (settings.requests_per_minute, settings.max_concurrent_requests);
        let spender = Spender::new(Arc::clone(&name), budget, rate, concurrent);
        let mut environment = Self {
            scheduler: Scheduler::new(settings.intervals, spender.supply()).with_places(concurrent),
            search: Search::new(Arc::clone(&name), roster),
            name,
            settings,
            context,
            read_token,
            started: Instant::now(),
            members: Members::default(),
            patience: Patience::default(),
            streak: FailureStreak::default(),
            answered: None,
            spender,
            reports: Reports::default(),
            longest: settings.intervals.max,
        };
        // Targets that never answer take long: poll those first that answered last.
        remembered.sort_by_key(|(_, loaded)| Reverse(loaded.last_success));
        remembered.into_iter().for_each(|(listed, loaded)| environment.add(&listed, loaded));
        environment.context.board.note_began(&environment.name);
        environment.follow_limits();
        environment.scheduler.set_discovery_due(environment.search.roster.due());
        environment.search.log_found();
        environment
    }

    /// Returns the client that makes its requests.
    pub fn client(&self) -> Arc<Client> {
        Arc::clone(&self.context.client)
    }

    /// Polls until `shutdown` is requested, and returns when every step under way has ended. `polled` is called after
    /// every poll.
    pub async fn run(mut self, mut shutdown: Shutdown, turns: Turns, polled: impl Fn()) {
        let mut tasks: JoinSet<Done> = JoinSet::new();
        while !shutdown.is_requested() {
            turns.turn();
            let has_room = tasks.len() < self.settings.max_concurrent_requests as usize;
            let due = if has_room { self.next_due() } else { Duration::MAX };
            tokio::select! {
                () = shutdown.recv() => break,
                Some(done) = tasks.join_next(), if !tasks.is_empty() => {
                    self.receive(done, &mut tasks);
                    polled();
                }
                // Only now choose whose turn it is: others may have become due meanwhile.
                () = until(self.started, due), if due < Duration::MAX => self.start_next(&mut tasks, &shutdown),
                () = watchdog::next_turn() => {}
            }
        }
        while let Some(done) = turns.resting(tasks.join_next()).await {
            self.receive(done, &mut tasks);
        }
    }

    /// Returns the time since the start.
    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// Whose turn it is at `now`, or when to call again.
    fn next(&mut self, now: Duration) -> Option<Next> {
        let next = self.patience.next(&mut self.scheduler, now)?;
        Some(next.not_before(self.spender.paused_until(), now))
    }

    /// When a turn may begin.
    fn next_due(&mut self) -> Duration {
        let now = self.now();
        match self.next(now) {
            Some(Next::Turn(_)) => now,
            Some(Next::At(moment)) => moment,
            None => Duration::MAX,
        }
    }

    fn start_next(&mut self, tasks: &mut JoinSet<Done>, shutdown: &Shutdown) {
        let now = self.now();
        match self.next(now) {
            Some(Next::Turn(Turn::Ask(target, class))) => self.start_step(target, class, tasks, shutdown),
            Some(Next::Turn(Turn::Discover)) => self.start_search(tasks, shutdown),
            Some(Next::At(_)) | None => {}
        }
    }

    fn receive(&mut self, done: Result<Done, JoinError>, tasks: &mut JoinSet<Done>) {
        match done {
            Ok(Done::Stepped(ticket, class, stepped)) => self.receive_step(ticket, class, *stepped),
            Ok(Done::Asked(asked)) => self.receive_answer(*asked, tasks),
            Ok(Done::Registered(registered)) => self.receive_registered(*registered),
            // What the target remembered is lost with the task; counting without it would count twice.
            Err(failure) => std::panic::resume_unwind(failure.into_panic()),
        }
    }

    /// Adapts to the number of targets, and to what may be spent on them.
    fn follow_limits(&mut self) {
        self.scheduler.set_supply(self.spender.supply());
        self.follow_ceiling();
        self.log_longest();
    }

    /// If the API allows too little for `max_interval`, being polled less often is not an outage.
    fn follow_ceiling(&mut self) {
        let catch_up_after = self.scheduler.max_interval_at(f64::from(self.spender.ceiling())) * 2;
        if self.context.policy.catch_up_after != catch_up_after {
            self.context.policy = Arc::new(Policy { catch_up_after, ..(*self.context.policy).clone() });
        }
    }

    /// Logs when the longest interval changes, which may be longer than configured.
    fn log_longest(&mut self) {
        let longest = self.scheduler.max_interval();
        if longest == self.longest {
            return;
        }
        self.longest = longest;
        let (name, configured) = (&self.name, self.settings.intervals.max);
        if longest > configured {
            let polls = "idle webhooks are polled every";
            warn!(environment = %name, "request budget too small for max_interval ({configured:?}): {polls} {longest:.0?}");
        } else {
            info!(environment = %name, "request budget large enough for max_interval ({configured:?}) again");
        }
    }
}

/// Waits until `due` since `started`; forever if that is the end of time.
async fn until(started: Instant, due: Duration) {
    match started.checked_add(due) {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

/// Chooses between half and all of a pause, so that several daemons do not come back at the same moment.
fn jitter() -> f64 {
    rand::rng().random()
}
