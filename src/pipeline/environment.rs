//! The loop of one environment: gives its targets their turns, within the budget, and leaves alone what fails.
//!
//! `search` is discovery's part of it, `spending` the budget's, and `results` judges what steps came to.

mod results;
mod search;
mod spending;

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use tokio::task::JoinSet;
use tokio::time::Instant;

use self::search::Search;
use self::spending::supply;
use super::discover::{Asked, Registered, view};
use super::reader::{ReadSettings, Reader, Remembered, Work};
use super::roster::Roster;
use super::step::{Stepped, Workshop, step};
use crate::budget::Budget;
use crate::client::{Client, Exchange};
use crate::clock;
use crate::shutdown::Shutdown;
use crate::store::Loaded;
use talkover_core::clock::DateHeader;
use talkover_core::discovery::targets::Listed;
use talkover_core::reading::error::PollResult;
use talkover_core::schedule::allowance::Allowance;
use talkover_core::schedule::patience::Patience;
use talkover_core::schedule::scheduler::{Next, Outcome, Scheduler};
use talkover_core::schedule::{Class, Intervals, TargetId, Turn};

/// How long rechecks wait that have failed: a page that always fails must not have a tenth of the budget.
const RECHECK_RETRY: Duration = Duration::from_secs(60);

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
    /// Who is left alone, and for how long.
    patience: Patience,
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

/// How a target fares, apart from its reader.
#[derive(Default)]
struct Standing {
    /// How the last poll ended, so that the log tells changes only.
    last: Option<PollResult>,
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
        mut remembered: Vec<(Listed, Loaded)>,
    ) -> Self {
        let rate = settings.requests_per_minute;
        let scheduler =
            Scheduler::new(settings.intervals, supply(rate, &budget)).with_places(settings.max_concurrent_requests);
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
            patience: Patience::default(),
            allowance,
            rate,
            longest: settings.intervals.max,
            is_budget_failing: false,
            added: 0,
            settings,
        };
        // Those that are never answered take their time: whoever was answered last is asked first.
        remembered.sort_by_key(|(_, loaded)| Reverse(loaded.last_success));
        remembered.into_iter().for_each(|(listed, loaded)| environment.add(&listed, loaded));
        environment.resize();
        environment.scheduler.set_discovery_due(environment.roster.due());
        environment
    }

    /// The client with which it asks.
    pub fn client(&self) -> Arc<Client> {
        Arc::clone(&self.workshop.client)
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
        self.patience.add(id);
        self.scheduler.set_disabled(id, listed.is_disabled(), now);
        self.ids.insert(listed.target.webhook_id.clone(), id);
        self.idle.insert(id, Seat { reader, state: Standing::default() });
    }

    /// Takes in that there are more or fewer targets than before.
    fn resize(&mut self) {
        self.tell_longest();
        self.follow_ceiling();
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
                    let now = self.now();
                    if let Some(Next::Turn(turn)) = self.patience.next(&mut self.scheduler, now) {
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
        match self.patience.next(&mut self.scheduler, now) {
            Some(Next::Turn(_)) => now,
            Some(Next::At(moment)) => moment,
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
        if !seat.reader.is_reading() {
            self.patience.begin(target);
        }
        let Some(work) = seat.reader.begin(class, expected, now) else {
            let (sweep, recheck) = (seat.reader.sweep_due(), seat.reader.recheck_due());
            // What was due a moment ago was read by something else since.
            self.scheduler.set_due(target, sweep.filter(|due| *due > now), recheck.filter(|due| *due > now), now);
            return;
        };
        let needs_request = matches!(work, Work::Read(_));
        let is_granted = !needs_request || self.take_from_budget();
        let Some(mut seat) = self.idle.remove(&target) else { return };
        if !is_granted {
            seat.reader.give_back(work);
            self.idle.insert(target, seat);
            return;
        }
        if needs_request {
            self.renew_token();
            self.patience.ask(target, now);
        } else {
            self.patience.write(target);
        }
        let turn = Turn::Ask(target, class);
        self.scheduler.start(turn, now);
        let (workshop, shutdown) = (self.workshop.clone(), shutdown.clone());
        self.away.insert(target, seat.state);
        let step = step(workshop, seat.reader, work, now, shutdown);
        steps.spawn(async move { Done::Stepped(turn, Box::new(step.await)) });
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
        let outcome = self.judge(&stepped, target, class, &mut state);
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
            let offset =
                exchange.date.map(|DateHeader(date)| date.as_seconds_f64() - clock::now().timestamp().as_seconds_f64());
            view.clock_offset = offset.or(view.clock_offset);
        });
    }
}

/// Waits until `due` since `started`; for ever where that is the end of time.
async fn until(started: Instant, due: Duration) {
    match started.checked_add(due) {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}
