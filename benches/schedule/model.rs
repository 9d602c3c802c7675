//! Webhooks, a budget and the scheduler in simulated time: how long entries wait until they are read.
//!
//! Deterministic. Arrivals are Poisson processes, the budget is the real one ([`Gcra`]), and polls, sweeps and rechecks
//! cost as many requests as the reader makes for them. Used by the benchmark and by the tests.

use std::collections::VecDeque;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use talkover_core::schedule::allocation::Allocation;
use talkover_core::schedule::gcra::Gcra;
use talkover_core::schedule::page_size::{NextSweep, first_page};
use talkover_core::schedule::rate::Rate;
use talkover_core::schedule::scheduler::{Next, Scheduler, Supply, TurnOutcome};
use talkover_core::schedule::{Intervals, RequestClass, TargetId, Turn};

/// The defaults of the configuration.
pub(crate) const BOUNDS: Intervals = Intervals { min: Duration::from_secs(15), max: Duration::from_secs(300) };
const SWEEP_INTERVAL: f64 = 300.0;
const SWEEP_WINDOW: f64 = 900.0;
const PER_PAGE: u32 = 100;
const BURST: u32 = 4;
/// One entry in so many is pending when it is read, and is looked at again after this time.
const PENDING: f64 = 0.02;
const RECHECK_AFTER: f64 = 15.0;

/// The rate of a webhook at a time, in entries a second.
pub(crate) type Rates = Box<dyn Fn(usize, f64) -> f64>;

/// How targets are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// By what polls bring.
    Learned,
    /// All alike: round-robin, by the same machinery, with the same sweeps and rechecks in its way. The size of pages
    /// is chosen by the true rates.
    InTurn,
}

/// What is simulated.
pub(crate) struct Case {
    pub(crate) webhooks: usize,
    pub(crate) requests_per_minute: u32,
    pub(crate) rates: Rates,
    /// At least the rate of each webhook at all times.
    pub(crate) highest: Vec<f64>,
    /// What is known of arrivals at the start: as if these rates had always been.
    pub(crate) hours: f64,
    pub(crate) seed: u64,
}

/// Zipf's law over `webhooks`, `total` entries a second together; an exponent of 0 makes them equal.
pub(crate) fn zipf(webhooks: usize, exponent: f64, total: f64) -> Vec<f64> {
    let weights: Vec<f64> = (1..=webhooks).map(|rank| (rank as f64).powf(-exponent)).collect();
    let sum: f64 = weights.iter().sum();
    weights.into_iter().map(|weight| total * weight / sum).collect()
}

impl Case {
    /// Rates that stay as they are.
    pub(crate) fn steady(rates: Vec<f64>, requests_per_minute: u32, hours: f64, seed: u64) -> Self {
        let highest = rates.clone();
        let webhooks = rates.len();
        Self { webhooks, requests_per_minute, rates: Box::new(move |index, _| rates[index]), highest, hours, seed }
    }
}

/// A wait and whose it was: when the entry came, and how long until it was read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Waited {
    pub(crate) webhook: usize,
    pub(crate) came: f64,
    pub(crate) waited: f64,
}

/// What came of a case.
pub(crate) struct Observed {
    pub(crate) waits: Vec<Waited>,
    /// When polls began, and sweeps that stood for polls, by webhook.
    pub(crate) polls: Vec<Vec<f64>>,
    /// When requests were made.
    pub(crate) requests: Vec<f64>,
    /// Requests a second that were not the first one of a poll, nor a sweep of one request, which reads what a poll
    /// reads.
    pub(crate) others_per_second: f64,
    /// Requests a second that the budget gives in the long run.
    pub(crate) supply_per_second: f64,
    /// The time within the scheduler.
    pub(crate) spent: Duration,
}

/// Mean and 99th percentile of waiting, in seconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Waiting {
    pub(crate) mean: f64,
    pub(crate) p99: f64,
}

impl Observed {
    /// The waits of entries that came from `from` on, in seconds.
    pub(crate) fn waiting(&self, from: f64) -> Waiting {
        let mut waits: Vec<f64> = self.waits.iter().filter(|wait| wait.came >= from).map(|wait| wait.waited).collect();
        waits.sort_by(f64::total_cmp);
        let mean = waits.iter().sum::<f64>() / waits.len() as f64;
        Waiting { mean, p99: waits[(waits.len() - 1) * 99 / 100] }
    }

    /// The best that is possible for those rates, within the bounds and for the budget that other work leaves.
    pub(crate) fn optimum(&self, rates: &[f64]) -> Waiting {
        let polls = self.supply_per_second - self.others_per_second;
        let best = Allocation::new(rates, BOUNDS, polls);
        of_intervals(rates, |rate| best.interval(rate).as_secs_f64())
    }

    /// All webhooks in turn, within the same bounds and for the same budget.
    pub(crate) fn round_robin(&self, rates: &[f64]) -> Waiting {
        let polls = self.supply_per_second - self.others_per_second;
        let interval = (rates.len() as f64 / polls).clamp(BOUNDS.min.as_secs_f64(), BOUNDS.max.as_secs_f64());
        of_intervals(rates, |_| interval)
    }
}

/// Waiting where each webhook is polled at even intervals: uniform over the interval.
fn of_intervals(rates: &[f64], interval: impl Fn(f64) -> f64) -> Waiting {
    let total: f64 = rates.iter().sum();
    let mean = rates.iter().map(|rate| rate * interval(*rate) / 2.0).sum::<f64>() / total;
    let longer_than =
        |wait: f64| rates.iter().map(|rate| rate * (1.0 - wait / interval(*rate)).max(0.0)).sum::<f64>() / total;
    let (mut low, mut high) = (0.0, 100_000.0);
    for _ in 0..60 {
        let middle = f64::midpoint(low, high);
        if longer_than(middle) > 0.01 { low = middle } else { high = middle }
    }
    Waiting { mean, p99: high }
}

/// By how much round-robin is worse than the optimum where there are no bounds.
pub(crate) fn unbounded_gain(rates: &[f64]) -> f64 {
    let roots: f64 = rates.iter().map(|rate| rate.sqrt()).sum();
    rates.len() as f64 * rates.iter().sum::<f64>() / (roots * roots)
}

struct Webhook {
    /// Arrivals that nobody has read.
    unread: VecDeque<f64>,
    /// Arrivals that may still be in the window of a sweep.
    window: VecDeque<f64>,
    next_arrival: f64,
    /// Further pages of the walk under way, when it began, and whether it reaches as far as a sweep.
    walk: Option<(u32, f64, bool)>,
    /// Further pages of the sweep under way.
    sweep: Option<u32>,
    next_sweep: f64,
    rechecks: VecDeque<f64>,
    /// When a poll was last complete.
    read_at: f64,
}

impl Webhook {
    fn new(next_arrival: f64) -> Self {
        Self {
            unread: VecDeque::new(),
            window: VecDeque::new(),
            next_arrival,
            walk: None,
            sweep: None,
            next_sweep: SWEEP_INTERVAL,
            rechecks: VecDeque::new(),
            read_at: 0.0,
        }
    }
}

struct World<'a> {
    case: &'a Case,
    random: StdRng,
    webhooks: Vec<Webhook>,
    waits: Vec<Waited>,
}

impl World<'_> {
    /// Draws the next arrival after `after`, by thinning.
    fn draw(&mut self, index: usize, mut after: f64) -> f64 {
        let highest = self.case.highest[index];
        let end = self.case.hours * 3600.0;
        while highest > 0.0 && after < end {
            after -= (1.0 - self.random.random::<f64>()).ln() / highest;
            if self.random.random::<f64>() * highest <= (self.case.rates)(index, after) {
                return after;
            }
        }
        f64::INFINITY
    }

    fn arrive(&mut self, index: usize, now: f64) {
        while self.webhooks[index].next_arrival <= now {
            let came = self.webhooks[index].next_arrival;
            self.webhooks[index].unread.push_back(came);
            self.webhooks[index].window.push_back(came);
            self.webhooks[index].next_arrival = self.draw(index, came);
        }
        let window = &mut self.webhooks[index].window;
        while window.front().is_some_and(|came| *came < now - SWEEP_WINDOW) {
            window.pop_front();
        }
    }

    /// One request of a poll: the entries found, where it is complete.
    fn poll(&mut self, index: usize, expected: f64, now: f64) -> Option<u64> {
        self.arrive(index, now);
        let webhook = &mut self.webhooks[index];
        let (left, began, is_sweep) = match webhook.walk.take() {
            Some((left, began, is_sweep)) => (left - 1, began, is_sweep),
            None => {
                let (new, window) = (webhook.unread.len() as u32, webhook.window.len() as u32);
                let is_due = now + SWEEP_INTERVAL / 2.0 >= webhook.next_sweep;
                let sweep = if is_due { NextSweep::Soon } else { NextSweep::Later };
                let first = first_page(expected, 1, (window - new) as usize, sweep, PER_PAGE);
                let (left, read) =
                    if new < first { (0, first) } else { (new / PER_PAGE + 1, (new / PER_PAGE + 1) * PER_PAGE) };
                // A page that was full already is read again only when it was a small one.
                let left = if first == PER_PAGE { left.saturating_sub(1) } else { left };
                (left, now, read > window)
            }
        };
        if left > 0 {
            webhook.walk = Some((left, began, is_sweep));
            return None;
        }
        if is_sweep {
            webhook.next_sweep = now + SWEEP_INTERVAL;
        }
        Some(self.read(index, began, now))
    }

    /// What came until `began` is read at `now`.
    fn read(&mut self, index: usize, began: f64, now: f64) -> u64 {
        let webhook = &mut self.webhooks[index];
        webhook.read_at = now;
        let mut found = 0;
        while let Some(came) = webhook.unread.pop_front_if(|came| *came <= began) {
            found += 1;
            self.waits.push(Waited { webhook: index, came, waited: now - came });
            if self.random.random::<f64>() < PENDING {
                webhook.rechecks.push_back(now + RECHECK_AFTER);
            }
        }
        found
    }

    fn sweep(&mut self, index: usize, now: f64) -> Option<u64> {
        self.arrive(index, now);
        let webhook = &mut self.webhooks[index];
        let is_new = webhook.sweep.is_none();
        let left = webhook.sweep.take().unwrap_or(webhook.window.len() as u32 / PER_PAGE + 1) - 1;
        if left > 0 {
            webhook.sweep = Some(left);
            return None;
        }
        webhook.next_sweep = now + SWEEP_INTERVAL;
        Some(if is_new { self.read(index, now, now) } else { 0 })
    }

    fn recheck(&mut self, index: usize, now: f64) -> Option<u64> {
        // One page holds all that are due.
        while self.webhooks[index].rechecks.pop_front_if(|due| *due <= now).is_some() {}
        Some(0)
    }
}

/// Plays a case.
pub(crate) fn play(case: &Case) -> Observed {
    play_in(Order::Learned, case)
}

/// Plays a case, with targets chosen in this order.
pub(crate) fn play_in(order: Order, case: &Case) -> Observed {
    let gcra = Gcra::new(case.requests_per_minute, BURST);
    let supply = Supply { per_minute: f64::from(case.requests_per_minute), per_second: gcra.per_second() };
    let mut game = Game::new(order, case, supply);
    let end = Duration::from_secs_f64(case.hours * 3600.0);
    let (mut now, mut arrival, mut others) = (Duration::ZERO, 0, 0_u64);
    while now < end {
        let clock = std::time::Instant::now();
        let next = game.scheduler.next(now);
        game.observed.spent += clock.elapsed();
        let turn = match next {
            Some(Next::Turn(turn)) => turn,
            Some(Next::At(moment)) => {
                now = moment;
                continue;
            }
            None => break,
        };
        match gcra.take(arrival, now.as_nanos() as u64 + 1_000_000_000_000) {
            Ok(next) => arrival = next,
            Err(wait) => {
                now += Duration::from_nanos(wait);
                continue;
            }
        }
        let Turn::Ask(target, class) = turn else { unreachable!("nobody asks for discovery") };
        others += u64::from(!game.ask(target, class, now));
    }
    let Game { mut world, mut observed, .. } = game;
    observed.others_per_second = others as f64 / end.as_secs_f64();
    // What nobody has read by the end has waited at least until then.
    for index in 0..case.webhooks {
        world.arrive(index, end.as_secs_f64());
        world.read(index, end.as_secs_f64(), end.as_secs_f64());
    }
    observed.waits = world.waits;
    observed
}

/// A case that is being played.
struct Game<'a> {
    world: World<'a>,
    scheduler: Scheduler,
    observed: Observed,
    /// What is told of every webhook's rate, where they take their turns and nothing is learned.
    alike: Option<Rate>,
}

impl<'a> Game<'a> {
    fn new(order: Order, case: &'a Case, supply: Supply) -> Self {
        let alike = match order {
            Order::Learned => None,
            Order::InTurn => Some(Rate::from_ages((0..3600).map(Duration::from_secs), Duration::from_secs(3600))),
        };
        let mut world =
            World { case, random: StdRng::seed_from_u64(case.seed), webhooks: Vec::new(), waits: Vec::new() };
        let mut scheduler = Scheduler::new(BOUNDS, supply);
        for index in 0..case.webhooks {
            let next_arrival = world.draw(index, 0.0);
            world.webhooks.push(Webhook::new(next_arrival));
            let target = TargetId(index as u64);
            scheduler.add(target, Duration::ZERO);
            let past = past(&mut world.random, (case.rates)(index, 0.0));
            let rate = alike.unwrap_or_else(|| Rate::from_ages(past, Duration::from_secs(86_400)));
            scheduler.seed(target, rate, Duration::ZERO);
        }
        let observed = Observed {
            waits: Vec::new(),
            polls: vec![Vec::new(); case.webhooks],
            requests: Vec::new(),
            others_per_second: 0.0,
            supply_per_second: supply.per_second,
            spent: Duration::ZERO,
        };
        Self { world, scheduler, observed, alike }
    }

    /// Makes one request; says whether it was a poll.
    fn ask(&mut self, target: TargetId, class: RequestClass, now: Duration) -> bool {
        let Self { world, scheduler, observed, alike } = self;
        let (index, at) = (target.0 as usize, now.as_secs_f64());
        let expected = match alike {
            None => scheduler.expected(target, now),
            Some(_) => (world.case.rates)(index, at) * (at - world.webhooks[index].read_at),
        };
        let was_sweeping = world.webhooks[index].sweep.is_some();
        let is_first = class == RequestClass::Heads && world.webhooks[index].walk.is_none();
        observed.requests.push(at);
        let found = match class {
            RequestClass::Sweeps => world.sweep(index, at),
            RequestClass::Rechecks => world.recheck(index, at),
            _ => world.poll(index, expected, at),
        };
        // A sweep of one request is a poll that reads further.
        let is_poll = is_first || class == RequestClass::Sweeps && found.is_some() && !was_sweeping;
        if is_poll {
            observed.polls[index].push(at);
        }
        let webhook = &world.webhooks[index];
        let sweep = Some(Duration::from_secs_f64(webhook.next_sweep));
        let recheck = webhook.rechecks.front().map(|due| Duration::from_secs_f64(*due));
        let (turn, outcome) = (Turn::Ask(target, class), found.map_or(TurnOutcome::Unfinished, TurnOutcome::Complete));
        let clock = std::time::Instant::now();
        scheduler.start(turn, now);
        scheduler.finish(turn, outcome, now);
        if let Some(alike) = alike {
            scheduler.seed(target, *alike, now);
        }
        scheduler.set_due(target, sweep, recheck, now);
        std::hint::black_box(scheduler.interval(target, now));
        observed.spent += clock.elapsed();
        is_poll
    }
}

/// The ages of the entries of the last day, as a Poisson process has them.
fn past(random: &mut StdRng, rate: f64) -> Vec<Duration> {
    let mut ages = Vec::new();
    let mut age = 0.0;
    loop {
        // At a rate of 0 the first one is infinitely old.
        age -= (1.0 - random.random::<f64>()).ln() / rate;
        if age.is_nan() || age > 86_400.0 {
            return ages;
        }
        ages.push(Duration::from_secs_f64(age));
    }
}

/// Every webhook in turn has a burst; the turns are 5 min each.
pub(crate) fn bursts(webhooks: usize, requests_per_minute: u32, hours: f64) -> Case {
    let rates = move |index: usize, at: f64| {
        let turn = (at / 300.0) as usize % webhooks;
        if turn == index { 2.0 } else { 1.0 / 600.0 }
    };
    Case { webhooks, requests_per_minute, rates: Box::new(rates), highest: vec![2.0; webhooks], hours, seed: 2 }
}

/// How a webhook fared that slept for hours.
pub(crate) struct Woken {
    /// Seconds from its first entry to the poll that found it.
    pub(crate) noticed_after: f64,
    /// The mean time between its polls from then on, in seconds.
    pub(crate) interval_after: f64,
}

/// The last webhook sleeps for three hours, then has half an entry a second, for one hour.
pub(crate) fn sleeper(webhooks: usize, requests_per_minute: u32) -> Woken {
    const WAKES: f64 = 3.0 * 3600.0;
    let others = zipf(webhooks - 1, 1.0, 1.0);
    let highest = others.iter().copied().chain([0.5]).collect();
    let rates = move |index: usize, at: f64| match others.get(index) {
        Some(rate) => *rate,
        None if at >= WAKES => 0.5,
        None => 0.0,
    };
    let hours = 4.0;
    let observed = play(&Case { webhooks, requests_per_minute, rates: Box::new(rates), highest, hours, seed: 3 });
    let first = observed.waits.iter().find(|wait| wait.webhook == webhooks - 1).expect("it woke up");
    let noticed = first.came + first.waited;
    let polls = observed.polls[webhooks - 1].iter().filter(|at| **at > noticed).count();
    Woken { noticed_after: first.waited, interval_after: (hours * 3600.0 - noticed) / polls as f64 }
}
