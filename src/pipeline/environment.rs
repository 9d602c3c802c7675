//! The loop of one environment: gives its targets their turns, within the budget, and leaves alone what fails.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use rand::RngExt;
use secrecy::SecretString;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::{debug, error, info, warn};

use super::discover::{Asked, Registered, ask, register, view};
use super::reader::{ReadSettings, Reader, Remembered};
use super::retire;
use super::roster::Roster;
use super::step::{StepResult, Stepped, Workshop, step};
use crate::clock;
use crate::delivery::{Target, Timestamp};
use crate::discovery::targets::Listed;
use crate::ledger::decide::Policy;
use crate::schedule::allocation::stretched;
use crate::schedule::allowance::Allowance;
use crate::schedule::backoff::Backoff;
use crate::schedule::budget::Budget;
use crate::schedule::pause::{Failure, Pause};
use crate::schedule::scheduler::{Next, Outcome, Scheduler, Supply};
use crate::schedule::{Class, Intervals, TargetId, Turn};
use crate::shutdown::Shutdown;
use crate::sinks::metrics::board::TargetView;
use crate::source::client::Exchange;
use crate::source::error::{ApiError, PollResult};
use crate::store::Loaded;

/// After so many failures in a row that speak of one target alone, it is asked no more often than an idle one.
const FAILURES_OF_TARGET: u32 = 5;
/// How long rechecks wait that have failed: a page that always fails must not have a tenth of the budget.
const RECHECK_RETRY: Duration = Duration::from_secs(60);
/// How soon the budget is asked again where its file could not be used.
const BUDGET_RETRY: Duration = Duration::from_secs(1);
/// How soon it is asked again while others spend so much that it is lowered: they may stop at any time.
const LOWERED_RETRY: Duration = Duration::from_secs(2);

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

/// What a task of the loop came to.
enum Done {
    Stepped(Turn, Box<Stepped>),
    Asked(Box<Asked>),
    Registered(Box<Registered>),
}

/// Reads the token, before every request; nothing where that fails, and the one before is used.
pub type TokenReader = Box<dyn Fn() -> Option<SecretString> + Send + Sync>;

/// The loop of one environment.
pub struct Environment {
    name: Arc<str>,
    settings: EnvironmentSettings,
    workshop: Workshop,
    budget: Budget,
    read_token: TokenReader,
    scheduler: Scheduler,
    roster: Roster,
    ids: HashMap<Arc<str>, TargetId>,
    /// The webhooks that are not listed any more and have a step under way.
    leaving: HashMap<TargetId, Arc<str>>,
    search: Search,
    /// The readers of targets that are not being asked just now.
    idle: HashMap<TargetId, Seat>,
    /// How those fare whose readers are away.
    away: HashMap<TargetId, Standing>,
    started: Instant,
    pause: Pause,
    allowance: Allowance,
    /// What is spent at the moment, in requests a minute.
    rate: u32,
    /// The longest interval when it was last told.
    longest: Duration,
    /// Whether the budget could not be used at the last attempt.
    is_budget_failing: bool,
    /// Targets taken in so far.
    added: u64,
}

/// A reader in its place, and how it fares.
struct Seat {
    reader: Reader,
    state: Standing,
}

/// How discovery fares.
#[derive(Default)]
struct Search {
    /// When the request under way was begun, since the start.
    asked_at: Duration,
    /// Failures in a row.
    failures: u32,
    last: Option<PollResult>,
}

/// How a target fares, apart from its reader.
#[derive(Default)]
struct Standing {
    backoff: Backoff,
    /// How the last poll ended, so that the log tells changes only.
    last: Option<PollResult>,
    /// When the request under way was begun, since the start.
    asked_at: Duration,
    /// Whether the scheduler knows of the arrivals that are remembered.
    is_seeded: bool,
    /// Whether the state file could not be written at the last attempt.
    is_unwritten: bool,
}

impl Environment {
    /// The loop for the targets of `roster`, with what is remembered of them, and `workshop` to work in.
    pub fn new(
        name: Arc<str>,
        settings: EnvironmentSettings,
        workshop: Workshop,
        budget: Budget,
        read_token: TokenReader,
        roster: Roster,
        remembered: Vec<(Listed, Loaded)>,
    ) -> Self {
        let rate = settings.requests_per_minute;
        let scheduler = Scheduler::new(settings.intervals, supply(rate, &budget));
        let allowance = Allowance::new(rate, settings.max_concurrent_requests);
        let mut environment = Self {
            name,
            workshop,
            budget,
            read_token,
            scheduler,
            roster,
            ids: HashMap::new(),
            leaving: HashMap::new(),
            search: Search::default(),
            idle: HashMap::new(),
            away: HashMap::new(),
            started: Instant::now(),
            pause: Pause::default(),
            allowance,
            rate,
            longest: settings.intervals.max,
            is_budget_failing: false,
            added: 0,
            settings,
        };
        remembered.into_iter().for_each(|(listed, loaded)| environment.add(&listed, loaded));
        environment.resize();
        environment.scheduler.set_discovery_due(environment.roster.due());
        environment
    }

    /// Takes in a target.
    fn add(&mut self, listed: &Listed, loaded: Loaded) {
        let id = TargetId(self.added);
        self.added += 1;
        self.workshop.board.add_target(view(listed, &loaded, self.settings.intervals.min));
        let Loaded { ledger, last_success, staged, .. } = loaded;
        let remembered = Remembered { ledger, last_success, staged, known_at: listed.known_at };
        let mut reader = Reader::new(listed.target.clone(), remembered, self.settings.read);
        reader.info = listed.info.clone();
        let now = self.now();
        self.scheduler.add(id, now);
        self.scheduler.set_disabled(id, listed.is_disabled(), now);
        self.ids.insert(listed.target.webhook_id.clone(), id);
        self.idle.insert(id, Seat { reader, state: Standing::default() });
    }

    /// Takes in that there are more or fewer targets than before.
    fn resize(&mut self) {
        self.tell_longest();
        // Where the budget is too small for max_interval, being polled less often is no outage.
        let budget = f64::from(self.settings.requests_per_minute);
        let catch_up_after = stretched(self.settings.intervals.max, self.ids.len(), budget) * 2;
        self.workshop.policy = Arc::new(Policy { catch_up_after, ..(*self.workshop.policy).clone() });
    }

    /// Polls until `shutdown` is requested, and returns when every step under way has ended. `polled` is called after every poll.
    pub async fn run(mut self, mut shutdown: Shutdown, polled: impl Fn()) {
        let mut steps: JoinSet<Done> = JoinSet::new();
        while !shutdown.is_requested() {
            let has_room = steps.len() < self.settings.max_concurrent_requests as usize;
            let due = if has_room { self.next_due() } else { Duration::MAX };
            tokio::select! {
                () = shutdown.recv() => break,
                Some(done) = steps.join_next(), if !steps.is_empty() => {
                    self.receive(done, &mut steps);
                    polled();
                }
                // Whose turn it is shows when it has come: others may be due by then.
                () = until(self.started, due), if due < Duration::MAX => {
                    if let Some(Next::Turn(turn)) = self.scheduler.next(self.now()) {
                        self.start(turn, &mut steps, &shutdown);
                    }
                }
            }
        }
        while let Some(done) = steps.join_next().await {
            self.receive(done, &mut steps);
        }
    }

    /// When something may be asked.
    fn next_due(&mut self) -> Duration {
        let now = self.now();
        match self.scheduler.next(now) {
            Some(Next::Turn(_)) => now.max(self.pause.until()),
            Some(Next::At(moment)) => moment.max(self.pause.until()),
            None => Duration::MAX,
        }
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    fn start(&mut self, turn: Turn, steps: &mut JoinSet<Done>, shutdown: &Shutdown) {
        match turn {
            Turn::Ask(target, class) => self.start_step(target, class, steps, shutdown),
            Turn::Discover => self.start_search(steps, shutdown),
        }
    }

    fn start_search(&mut self, steps: &mut JoinSet<Done>, shutdown: &Shutdown) {
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

    /// Its file may have changed, above all after a 401.
    fn renew_token(&self) {
        if let Some(token) = (self.read_token)() {
            self.workshop.client.set_token(&token);
        }
    }

    fn start_step(&mut self, target: TargetId, class: Class, steps: &mut JoinSet<Done>, shutdown: &Shutdown) {
        let now = self.now();
        let expected = self.scheduler.expected(target, now);
        let Some(seat) = self.idle.get_mut(&target) else { return };
        let needs_request = seat.reader.needs_request();
        if !seat.reader.is_reading() {
            seat.state.backoff.begin();
        }
        if needs_request && !seat.reader.turn_to(class, expected, now) {
            let (sweep, recheck) = (seat.reader.sweep_due(), seat.reader.recheck_due());
            // What was due a moment ago was read by something else since.
            self.scheduler.set_due(target, sweep.filter(|due| *due > now), recheck.filter(|due| *due > now), now);
            return;
        }
        if needs_request && !self.take_from_budget() {
            return;
        }
        let Some(mut seat) = self.idle.remove(&target) else { return };
        if needs_request {
            self.renew_token();
        }
        let turn = Turn::Ask(target, class);
        self.scheduler.start(turn, now);
        let (workshop, shutdown) = (self.workshop.clone(), shutdown.clone());
        seat.state.asked_at = now;
        self.away.insert(target, seat.state);
        steps.spawn(async move { Done::Stepped(turn, Box::new(step(workshop, seat.reader, now, shutdown).await)) });
    }

    fn take_from_budget(&mut self) -> bool {
        let now = self.now();
        self.allowance.review(now);
        self.follow_allowance();
        match self.budget.take(clock::uptime_ns()) {
            Ok(None) => {
                if std::mem::take(&mut self.is_budget_failing) {
                    info!(environment = %self.name, "the memory of the request budget can be used again");
                }
                self.allowance.sent(now);
                true
            }
            Ok(Some(wait)) => {
                let is_lowered = self.rate < self.settings.requests_per_minute;
                self.pause.extend(now + if is_lowered { wait.min(LOWERED_RETRY) } else { wait });
                false
            }
            Err(failure) => {
                self.tell_budget_failing(&failure);
                self.pause.extend(now + BUDGET_RETRY);
                false
            }
        }
    }

    fn tell_budget_failing(&mut self, failure: &std::io::Error) {
        self.workshop.write_errors.inc();
        if !std::mem::replace(&mut self.is_budget_failing, true) {
            error!(environment = %self.name, "nothing is asked without the memory of the request budget: {failure}");
        }
        // Nobody can be polled, and so nobody's last poll speaks for the present.
        for seat in self.idle.values() {
            self.workshop.board.update(&seat.reader.target, |view, _| view.up = Some(false));
        }
    }

    /// Spends what may be spent now.
    fn follow_allowance(&mut self) {
        let (rate, configured) = (self.allowance.per_minute(), self.settings.requests_per_minute);
        if rate == self.rate {
            return;
        }
        debug!(environment = %self.name, "the budget is {rate} requests a minute now");
        if (rate == configured) != (self.rate == configured) {
            let why = if rate == configured { "all of the budget is spent again" } else { "the budget is lowered" };
            info!(environment = %self.name, rate, configured, "by the API's rate limit headers, {why}");
        }
        self.rate = rate;
        self.budget.lower_to((rate < configured).then_some(rate));
        self.scheduler.set_limits(self.settings.intervals, supply(rate, &self.budget));
        self.tell_longest();
    }

    /// Tells when the longest interval is another one than the configured one.
    fn tell_longest(&mut self) {
        let longest = self.scheduler.max_interval();
        if longest == self.longest {
            return;
        }
        self.longest = longest;
        let (name, configured) = (&self.name, self.settings.intervals.max);
        if longest > configured {
            let polls = "idle webhooks are polled every";
            warn!(environment = %name, "the budget is too small for max_interval ({configured:?}): {polls} {longest:.0?}");
        } else {
            info!(environment = %name, "the budget is large enough for max_interval ({configured:?}) again");
        }
    }

    fn receive(&mut self, done: Result<Done, tokio::task::JoinError>, steps: &mut JoinSet<Done>) {
        match done {
            Ok(Done::Stepped(turn, stepped)) => self.receive_step(turn, *stepped),
            Ok(Done::Asked(asked)) => self.receive_answer(*asked, steps),
            Ok(Done::Registered(registered)) => self.receive_registered(*registered),
            // What the target remembered is lost with the task, and counting without it would count twice.
            Err(failure) => std::panic::resume_unwind(failure.into_panic()),
        }
    }

    fn receive_answer(&mut self, asked: Asked, steps: &mut JoinSet<Done>) {
        let Asked { request, answer } = asked;
        let Some(answer) = answer else {
            self.roster.abandon();
            return self.end_search();
        };
        self.learn(&answer.exchange);
        match &answer.result {
            Ok(_) => {
                self.pause.succeed();
                self.search.failures = 0;
                self.search.last = None;
            }
            Err(failure) => self.fail_search(failure),
        }
        let date = answer.exchange.date.unwrap_or_else(clock::now);
        let now = self.now();
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
        self.pause_for(failure, self.search.asked_at);
    }

    /// Puts an update in force that is on disk.
    fn receive_registered(&mut self, registered: Registered) {
        let Registered { update, appeared } = registered;
        match appeared {
            Ok(appeared) => {
                for (listed, loaded) in appeared {
                    info!(target = %listed.target, name = %listed.target.webhook_name, "found a webhook");
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
        info!(%target, "not listed any more: its series go when it has been so for 24 h");
        self.workshop.board.retire_target(target, std::time::Instant::now() + retire::KEEP);
        if let Some(id) = self.ids.remove(&target.webhook_id) {
            self.scheduler.remove(id);
            self.idle.remove(&id);
            if self.away.remove(&id).is_some() {
                self.leaving.insert(id, target.webhook_id.clone());
            }
        }
    }

    fn receive_step(&mut self, turn: Turn, mut stepped: Stepped) {
        let Turn::Ask(target, class) = turn else { return };
        if let Some(exchange) = &stepped.exchange {
            self.learn(exchange);
        }
        self.leaving.remove(&target);
        let Some(mut state) = self.away.remove(&target) else { return };
        if let Some(listed) = self.roster.get(&stepped.reader.target.webhook_id) {
            stepped.reader.target = listed.target.clone();
            stepped.reader.info = listed.info.clone();
        }
        let outcome = self.judge(&stepped, class, &mut state);
        let now = self.now();
        self.scheduler.finish(turn, outcome, now);
        if matches!(outcome, Outcome::Complete(_)) && class != Class::Rechecks && !state.is_seeded {
            state.is_seeded = true;
            self.scheduler.seed(target, stepped.reader.arrivals(stepped.date), now);
        }
        let patience = if matches!(outcome, Outcome::Failed(_)) && class == Class::Rechecks {
            RECHECK_RETRY
        } else {
            Duration::ZERO
        };
        let recheck = stepped.reader.recheck_due().map(|due| due.max(now + patience));
        self.scheduler.set_due(target, stepped.reader.sweep_due(), recheck, now);
        let interval = self.scheduler.interval(target, now);
        self.workshop.board.update(&stepped.reader.target, |view, _| view.poll_interval = interval);
        self.idle.insert(target, Seat { reader: stepped.reader, state });
    }

    /// Takes in what an answer says of the API's clock and limits.
    fn learn(&mut self, exchange: &Exchange) {
        // That nothing remains is what a 429 says anyhow, and the pause that follows it is the answer to that.
        let remaining = exchange.rate_limit_remaining.filter(|_| exchange.code != Some(429));
        self.allowance.learn(exchange.rate_limit, remaining, self.now());
        self.follow_allowance();
        let rate = self.rate;
        self.workshop.board.update_environment(&self.name, |view| {
            view.budget = rate;
            view.rate_limit = exchange.rate_limit.or(view.rate_limit);
            view.rate_limit_remaining = exchange.rate_limit_remaining.or(view.rate_limit_remaining);
            let offset = exchange.date.map(|date| date.as_seconds_f64() - clock::now().as_seconds_f64());
            view.clock_offset = offset.or(view.clock_offset);
        });
    }

    fn judge(&mut self, stepped: &Stepped, class: Class, state: &mut Standing) -> Outcome {
        let target = &stepped.reader.target;
        match &stepped.result {
            StepResult::Stopped => Outcome::Unfinished,
            StepResult::More(_) => {
                self.pause.succeed();
                state.backoff.progress();
                tell_written(target, state);
                Outcome::Unfinished
            }
            StepResult::Complete(tally) => {
                self.pause.succeed();
                state.backoff.succeed();
                tell_written(target, state);
                if class != Class::Rechecks {
                    self.succeed(target, stepped.date, state);
                }
                Outcome::Complete(tally.new)
            }
            StepResult::NotWritten(failure) => {
                if std::mem::replace(&mut state.is_unwritten, true) {
                    debug!(%target, "still not written: {failure}");
                } else {
                    error!(%target, "what was read is kept in memory until it can be written: {failure}");
                }
                self.workshop.board.update(target, |view, _| view.up = Some(false));
                Outcome::Failed(state.backoff.fail(jitter()))
            }
            StepResult::Failed(failure) => self.fail(target, failure, state),
        }
    }

    fn succeed(&self, target: &Target, date: Timestamp, state: &mut Standing) {
        if state.last.is_some_and(|last| last != PollResult::Success) {
            info!(%target, "polls succeed again");
        }
        self.end_poll(target, PollResult::Success, state, |view| view.last_success = Some(date));
    }

    fn fail(&mut self, target: &Target, failure: &ApiError, state: &mut Standing) -> Outcome {
        let result = failure.poll_result();
        if state.last == Some(result) {
            debug!(%target, "poll failed again: {failure}");
        } else {
            warn!(%target, "poll failed: {failure}");
        }
        self.end_poll(target, result, state, |_| {});
        let mut pause = state.backoff.fail(jitter());
        if !self.pause_for(failure, state.asked_at) && state.backoff.failures() > FAILURES_OF_TARGET {
            // A webhook that is gone must not cost more than one that is idle.
            pause = pause.max(self.scheduler.max_interval());
        }
        Outcome::Failed(pause)
    }

    /// Leaves the whole environment alone for a while where a failure speaks of all of it; says whether it does.
    fn pause_for(&mut self, failure: &ApiError, asked_at: Duration) -> bool {
        if !failure.concerns_environment() {
            return false;
        }
        let failure = Failure {
            asked_at,
            retry_after: failure.retry_after(),
            is_rejection: matches!(failure, ApiError::Unauthorized { .. } | ApiError::RateLimited { .. }),
        };
        self.pause.fail(failure, self.now(), jitter());
        true
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
            if let Some(position) = PollResult::ALL.iter().position(|known| *known == result) {
                view.polls[position] += 1;
            }
            change(view);
        });
    }
}

/// What a budget gives.
fn supply(rate: u32, budget: &Budget) -> Supply {
    Supply { per_minute: f64::from(rate), per_second: budget.per_second() }
}

fn tell_written(target: &Target, state: &mut Standing) {
    if std::mem::take(&mut state.is_unwritten) {
        info!(%target, "the state file can be written again");
    }
}

/// Where between half and all of a pause to end it, so that several daemons do not come back at the same moment.
fn jitter() -> f64 {
    rand::rng().random()
}

/// Waits until `due` since `started`; for ever where that is the end of time.
async fn until(started: Instant, due: Duration) {
    match started.checked_add(due) {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}
