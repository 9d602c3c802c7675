//! The loop of one environment: gives its targets their turns, within the budget, and leaves alone what fails.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use rand::RngExt;
use secrecy::SecretString;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::{debug, error, info, warn};

use super::reader::Reader;
use super::step::{StepResult, Stepped, Workshop, step};
use crate::clock;
use crate::delivery::{Target, Timestamp};
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
}

/// A reader in its place, and how it fares.
struct Seat {
    reader: Reader,
    state: Standing,
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
}

impl Environment {
    /// The loop for `readers`, with `workshop` to work in.
    pub fn new(
        name: Arc<str>,
        settings: EnvironmentSettings,
        workshop: Workshop,
        budget: Budget,
        read_token: TokenReader,
        readers: Vec<Reader>,
    ) -> Self {
        let rate = settings.requests_per_minute;
        let mut scheduler = Scheduler::new(settings.intervals, supply(rate, &budget));
        let mut idle = HashMap::new();
        for (id, reader) in (0..).map(TargetId).zip(readers) {
            scheduler.add(id, Duration::ZERO);
            idle.insert(id, Seat { reader, state: Standing::default() });
        }
        let allowance = Allowance::new(rate, settings.max_concurrent_requests);
        let mut environment = Self {
            name,
            workshop,
            budget,
            read_token,
            scheduler,
            idle,
            away: HashMap::new(),
            started: Instant::now(),
            pause: Pause::default(),
            allowance,
            rate,
            longest: settings.intervals.max,
            settings,
        };
        environment.tell_longest();
        environment
    }

    /// Polls until `shutdown` is requested, and returns when every step under way has ended. `polled` is called after every poll.
    pub async fn run(mut self, mut shutdown: Shutdown, polled: impl Fn()) {
        let mut steps: JoinSet<(Turn, Stepped)> = JoinSet::new();
        while !shutdown.is_requested() {
            let has_room = steps.len() < self.settings.max_concurrent_requests as usize;
            let due = if has_room { self.next_due() } else { Duration::MAX };
            tokio::select! {
                () = shutdown.recv() => break,
                Some(done) = steps.join_next(), if !steps.is_empty() => {
                    self.receive(done);
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
            self.receive(done);
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

    fn start(&mut self, turn: Turn, steps: &mut JoinSet<(Turn, Stepped)>, shutdown: &Shutdown) {
        let now = self.now();
        // Nobody asks for discovery yet.
        let Turn::Ask(target, class) = turn else { return self.scheduler.set_discovery_due(None) };
        let expected = self.scheduler.expected(target, now);
        let Some(seat) = self.idle.get_mut(&target) else { return };
        let needs_request = seat.reader.needs_request();
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
        // Its file may have changed, above all after a 401.
        if needs_request && let Some(token) = (self.read_token)() {
            self.workshop.client.set_token(&token);
        }
        self.scheduler.start(turn, now);
        let (workshop, shutdown) = (self.workshop.clone(), shutdown.clone());
        seat.state.asked_at = now;
        self.away.insert(target, seat.state);
        steps.spawn(async move { (turn, step(workshop, seat.reader, now, shutdown).await) });
    }

    fn take_from_budget(&mut self) -> bool {
        let now = self.now();
        self.allowance.review(now);
        self.follow_allowance();
        match self.budget.take(clock::uptime_ns()) {
            Ok(None) => {
                self.allowance.sent(now);
                true
            }
            Ok(Some(wait)) => {
                let is_lowered = self.rate < self.settings.requests_per_minute;
                self.pause.extend(now + if is_lowered { wait.min(LOWERED_RETRY) } else { wait });
                false
            }
            Err(failure) => {
                error!(environment = %self.name, "failed to use the memory of the request budget: {failure}");
                self.pause.extend(now + BUDGET_RETRY);
                false
            }
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

    fn receive(&mut self, done: Result<(Turn, Stepped), tokio::task::JoinError>) {
        let (turn, stepped) = match done {
            Ok(done) => done,
            // What the target remembered is lost with the task, and counting without it would count twice.
            Err(failure) => std::panic::resume_unwind(failure.into_panic()),
        };
        let Turn::Ask(target, class) = turn else { return };
        let Some(mut state) = self.away.remove(&target) else { return };
        if let Some(exchange) = &stepped.exchange {
            self.learn(exchange);
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
                Outcome::Unfinished
            }
            StepResult::Complete(tally) => {
                self.pause.succeed();
                state.backoff.succeed();
                if class != Class::Rechecks {
                    self.succeed(target, stepped.date, state);
                }
                Outcome::Complete(tally.new)
            }
            StepResult::NotWritten => {
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
        if failure.concerns_environment() {
            let failure = Failure {
                asked_at: state.asked_at,
                retry_after: failure.retry_after(),
                is_rejection: matches!(failure, ApiError::Unauthorized { .. } | ApiError::RateLimited { .. }),
            };
            self.pause.fail(failure, self.now(), jitter());
        } else if state.backoff.failures() > FAILURES_OF_TARGET {
            // A webhook that is gone must not cost more than one that is idle.
            pause = pause.max(self.scheduler.max_interval());
        }
        Outcome::Failed(pause)
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
