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
use crate::ledger::decide::Tally;
use crate::schedule::backoff::Backoff;
use crate::schedule::budget::Budget;
use crate::schedule::pause::{Failure, Pause};
use crate::schedule::{Intervals, Polled, Scheduler};
use crate::shutdown::Shutdown;
use crate::sinks::metrics::board::TargetView;
use crate::source::client::Exchange;
use crate::source::error::{ApiError, PollResult};

/// After so many failures in a row that speak of one target alone, it is asked no more often than an idle one.
const FAILURES_OF_TARGET: u32 = 5;
/// How soon the budget is asked again where its file could not be used.
const BUDGET_RETRY: Duration = Duration::from_secs(1);

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
    idle: HashMap<usize, Seat>,
    /// How those fare whose readers are away.
    away: HashMap<usize, Standing>,
    started: Instant,
    pause: Pause,
    rate: u32,
}

/// A reader in its place, and how it fares.
struct Seat {
    reader: Reader,
    state: Standing,
}

/// How a target fares, apart from its reader.
struct Standing {
    backoff: Backoff,
    /// How the last poll ended, so that the log tells changes only.
    last: Option<PollResult>,
    /// When the request under way was begun, since the start.
    asked_at: Duration,
    /// What the poll under way has brought so far.
    has_news: bool,
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
        let scheduler = Scheduler::new(readers.len(), settings.intervals);
        let state = || Standing { backoff: Backoff::default(), last: None, asked_at: Duration::ZERO, has_news: false };
        let seat = |reader| Seat { reader, state: state() };
        Self {
            name,
            workshop,
            budget,
            read_token,
            scheduler,
            idle: readers.into_iter().map(seat).enumerate().collect(),
            away: HashMap::new(),
            started: Instant::now(),
            pause: Pause::default(),
            rate: settings.requests_per_minute,
            settings,
        }
    }

    /// Polls until `shutdown` is requested, and returns when every step under way has ended. `polled` is called after every poll.
    pub async fn run(mut self, mut shutdown: Shutdown, polled: impl Fn()) {
        let mut steps: JoinSet<(usize, Stepped)> = JoinSet::new();
        while !shutdown.is_requested() {
            let has_room = steps.len() < self.settings.max_concurrent_requests as usize;
            let next = self.scheduler.next().filter(|_| has_room);
            let due = next.map_or(Duration::MAX, |(_, due)| due.max(self.pause.until()));
            tokio::select! {
                () = shutdown.recv() => break,
                Some(done) = steps.join_next(), if !steps.is_empty() => {
                    self.receive(done);
                    polled();
                }
                () = until(self.started, due), if next.is_some() => {
                    if let Some((target, _)) = next {
                        self.start(target, &mut steps, &shutdown);
                    }
                }
            }
        }
        while let Some(done) = steps.join_next().await {
            self.receive(done);
        }
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    fn start(&mut self, target: usize, steps: &mut JoinSet<(usize, Stepped)>, shutdown: &Shutdown) {
        let needs_request = self.idle.get(&target).is_some_and(|seat| seat.reader.needs_request());
        if needs_request && !self.take_from_budget() {
            return;
        }
        let Some(mut seat) = self.idle.remove(&target) else { return };
        // Its file may have changed, above all after a 401.
        if needs_request && let Some(token) = (self.read_token)() {
            self.workshop.client.set_token(&token);
        }
        self.scheduler.start(target);
        let (workshop, now, shutdown) = (self.workshop.clone(), self.now(), shutdown.clone());
        seat.state.asked_at = now;
        self.away.insert(target, seat.state);
        steps.spawn(async move { (target, step(workshop, seat.reader, now, shutdown).await) });
    }

    fn take_from_budget(&mut self) -> bool {
        match self.budget.take(clock::uptime_ns()) {
            Ok(None) => true,
            Ok(Some(wait)) => {
                self.pause.extend(self.now() + wait);
                false
            }
            Err(failure) => {
                error!(environment = %self.name, "failed to use the memory of the request budget: {failure}");
                self.pause.extend(self.now() + BUDGET_RETRY);
                false
            }
        }
    }

    fn receive(&mut self, done: Result<(usize, Stepped), tokio::task::JoinError>) {
        let (target, stepped) = match done {
            Ok(done) => done,
            // What the target remembered is lost with the task, and counting without it would count twice.
            Err(failure) => std::panic::resume_unwind(failure.into_panic()),
        };
        let Some(mut state) = self.away.remove(&target) else { return };
        if let Some(exchange) = &stepped.exchange {
            self.learn(exchange);
        }
        let polled = self.judge(&stepped, &mut state);
        let now = self.now();
        let interval = self.scheduler.finish(target, polled, now);
        if matches!(polled, Polled::Busy | Polled::Idle) {
            let due_in = stepped.reader.due_in(stepped.date, now).max(self.settings.intervals.min);
            self.scheduler.hasten(target, now + due_in);
        }
        self.workshop.board.update(&stepped.reader.target, |view, _| view.poll_interval = interval);
        self.idle.insert(target, Seat { reader: stepped.reader, state });
    }

    /// Takes in what an answer says of the API's clock and limits.
    fn learn(&mut self, exchange: &Exchange) {
        if let Some(limit) = exchange.rate_limit.and_then(|limit| u32::try_from(limit).ok()).filter(|limit| *limit > 0)
        {
            let rate = self.settings.requests_per_minute.min(limit);
            if rate != self.rate {
                info!(environment = %self.name, limit, "the API's rate limit changes the budget to {rate} requests a minute");
                self.rate = rate;
                self.budget.set_rate(rate, self.settings.max_concurrent_requests);
            }
        }
        let rate = self.rate;
        self.workshop.board.update_environment(&self.name, |view| {
            view.budget = rate;
            view.rate_limit = exchange.rate_limit.or(view.rate_limit);
            view.rate_limit_remaining = exchange.rate_limit_remaining.or(view.rate_limit_remaining);
            let offset = exchange.date.map(|date| date.as_seconds_f64() - clock::now().as_seconds_f64());
            view.clock_offset = offset.or(view.clock_offset);
        });
    }

    fn judge(&mut self, stepped: &Stepped, state: &mut Standing) -> Polled {
        let target = &stepped.reader.target;
        match &stepped.result {
            StepResult::Stopped => Polled::Unfinished,
            StepResult::More(tally) => {
                self.pause.succeed();
                state.has_news |= has_news(tally);
                Polled::Unfinished
            }
            StepResult::Complete(tally) => {
                self.pause.succeed();
                state.backoff.succeed();
                let is_busy = std::mem::take(&mut state.has_news) || has_news(tally);
                self.succeed(target, stepped.date, state);
                if is_busy { Polled::Busy } else { Polled::Idle }
            }
            StepResult::NotWritten => {
                self.workshop.board.update(target, |view, _| view.up = Some(false));
                Polled::Failed(state.backoff.fail(jitter()))
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

    fn fail(&mut self, target: &Target, failure: &ApiError, state: &mut Standing) -> Polled {
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
            pause = pause.max(self.settings.intervals.max);
        }
        Polled::Failed(pause)
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

fn has_news(tally: &Tally) -> bool {
    tally.new + tally.changed > 0
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
