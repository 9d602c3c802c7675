//! Whole environments in virtual time: good targets beside broken ones, and outages.

use super::*;
use crate::reading::error::ApiError;
use crate::schedule::Intervals;
use crate::schedule::rate::Rate;
use crate::schedule::scheduler::Supply;

const S: fn(u64) -> Duration = Duration::from_secs;
const BOUNDS: Intervals = Intervals { min: Duration::from_secs(15), max: Duration::from_secs(300) };
const PLACES: u32 = 4;
/// What an answer takes, and a time-out.
const QUICK: Duration = Duration::from_millis(50);
const TIMEOUT: Duration = Duration::from_secs(30);
/// The distance of two requests where 30 a minute are allowed, in bursts of 4.
const STEP: Duration = Duration::from_nanos(2_346_153_846);

type Answer = (Duration, StepOutcome);

/// An environment: the loop around the scheduler, with a budget and places, but without an API.
struct Environment {
    scheduler: Scheduler,
    patience: Patience,
    now: Duration,
    /// When the budget allows the next request.
    affordable: Duration,
    /// When each request under way ends, and how.
    running: Vec<(Duration, TargetId, StepOutcome)>,
    /// All requests.
    asked: Vec<(Duration, TargetId)>,
    changes: Vec<(Duration, Change)>,
    /// The most requests that were under way at the same time during an outage, and that began in it.
    most_probes: usize,
}

impl Environment {
    fn new(targets: u64) -> Self {
        let supply = Supply { per_minute: 30.0, per_second: 1.0 / STEP.as_secs_f64() };
        let mut environment = Self {
            scheduler: Scheduler::new(BOUNDS, supply).with_places(PLACES),
            patience: Patience::default(),
            now: Duration::ZERO,
            affordable: Duration::ZERO,
            running: Vec::new(),
            asked: Vec::new(),
            changes: Vec::new(),
            most_probes: 0,
        };
        for id in (0..targets).map(TargetId) {
            environment.scheduler.add(id, Duration::ZERO);
            environment.patience.add(id);
        }
        environment
    }

    /// Plays until `end`; `answer` says how long a request that begins now takes, and how it ends.
    fn play(&mut self, end: Duration, answer: impl Fn(TargetId, Duration) -> Answer) {
        loop {
            let has_room = self.running.len() < PLACES as usize;
            let next = if has_room { self.patience.next(&mut self.scheduler, self.now) } else { None };
            let start = next.map(|next| match next {
                Next::Turn(_) => self.now.max(self.affordable),
                Next::At(moment) => moment,
            });
            let finish = self.running.iter().map(|(at, ..)| *at).min();
            let moment = start.into_iter().chain(finish).min().unwrap_or(end);
            if moment >= end {
                self.now = end;
                return;
            }
            self.now = moment;
            if let Some(place) = self.running.iter().position(|(at, ..)| *at <= moment) {
                let (_, target, end) = self.running.swap_remove(place);
                self.finish(target, end);
            } else if let Some(Next::Turn(Turn::Ask(target, class))) = next
                && start == Some(moment)
            {
                self.ask(target, class, answer(target, moment));
            }
        }
    }

    fn ask(&mut self, target: TargetId, class: RequestClass, (latency, end): Answer) {
        self.patience.begin(target);
        self.patience.ask(target, self.now);
        self.scheduler.start(Turn::Ask(target, class), self.now);
        self.running.push((self.now + latency, target, end));
        self.asked.push((self.now, target));
        self.affordable = self.now + STEP;
        if let Some((began, Change::OutageBegan)) = self.changes.last() {
            let probes = self.asked.iter().rev().take_while(|(at, _)| at >= began).map(|(_, target)| *target);
            let probes: Vec<TargetId> = probes.collect();
            let running = self.running.iter().filter(|(_, target, _)| probes.contains(target)).count();
            self.most_probes = self.most_probes.max(running);
        }
    }

    fn finish(&mut self, target: TargetId, end: StepOutcome) {
        let now = self.now;
        let (outcome, change) = self.patience.end(&mut self.scheduler, target, end, now, 1.0);
        self.scheduler.finish(Turn::Ask(target, RequestClass::Heads), outcome, now);
        self.changes.extend(change.map(|change| (now, change)));
        if matches!(outcome, TurnOutcome::Complete(_)) {
            // Its log is known by now, and busy.
            self.scheduler.seed(target, Rate::of(1.0), now);
        }
    }

    fn times_of(&self, target: u64) -> Vec<Duration> {
        self.asked.iter().filter(|(_, asked)| *asked == TargetId(target)).map(|(at, _)| *at).collect()
    }

    fn longest_gap(&self, target: u64, from: Duration) -> Duration {
        let mut times = self.times_of(target);
        times.retain(|at| *at >= from);
        times.push(self.now);
        times.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap()
    }
}

fn well(_: TargetId, _: Duration) -> Answer {
    (QUICK, StepOutcome::Complete(0))
}

fn failing(latency: Duration, failure: &ApiError) -> Answer {
    (latency, StepOutcome::Failed(failure.failure()))
}

fn status(status: u16, retry_after: Option<Duration>) -> ApiError {
    ApiError::Http { status, message: None, retry_after }
}

/// Every kind of failure that may be a webhook's own, with what it takes.
fn failures() -> [(&'static str, Answer); 7] {
    [
        ("500", failing(QUICK, &status(500, None))),
        ("503", failing(QUICK, &status(503, None))),
        ("503, Retry-After: 1", failing(QUICK, &status(503, Some(S(1))))),
        ("connection closed", failing(QUICK, &ApiError::Connection(String::new()))),
        ("time-out", failing(TIMEOUT, &ApiError::Timeout)),
        ("404", failing(QUICK, &status(404, None))),
        ("invalid", failing(QUICK, &ApiError::InvalidResponse(String::new()))),
    ]
}

/// The longest time until the good one is asked first where it is the last of all, its longest gap afterwards, and how
/// many requests the broken ones cost in an hour.
#[test]
fn a_good_target_is_asked_at_its_interval_beside_any_number_of_broken_ones() {
    let hour = S(3600);
    for (what, answer) in failures() {
        for broken in [0_u64, 1, 8, 50] {
            let mut environment = Environment::new(broken + 1);
            environment.play(hour, |target, now| if target == TargetId(broken) { well(target, now) } else { answer });
            let what = format!("{broken} x {what}");
            let polls = environment.times_of(broken);
            // Everybody is asked once before, and half of the turns repeat what failed; those that time out hold all
            // places.
            let held = if answer.0 == TIMEOUT { TIMEOUT * (broken as u32).div_ceil(2) } else { Duration::ZERO };
            assert!(polls[0] <= STEP * (2 * broken as u32) + held, "{what}: first after {:?}", polls[0]);
            // From then on it waits for two requests of others at most: one under way, and one whose turn it is.
            let longest = environment.longest_gap(broken, polls[0]);
            assert!(longest <= BOUNDS.min + STEP * 2, "{what}: {longest:?}");
            let promised = (hour - polls[0]).as_secs_f64() / BOUNDS.min.as_secs_f64();
            assert!(polls.len() as f64 >= 0.92 * promised, "{what}: {} of {promised} polls", polls.len());
            // Six attempts each at the pace of the back-off, and then one in five minutes.
            let cost = environment.asked.len() - polls.len();
            assert!(cost as u64 <= broken * (6 + 12), "{what}: {cost} requests");
            assert!(environment.changes.is_empty(), "{what}: {:?}", environment.changes);
        }
    }
}

#[test]
fn those_that_time_out_leave_half_of_the_places_to_the_others() {
    let mut environment = Environment::new(50);
    let answer = |target: TargetId, now| match target {
        TargetId(0) => well(target, now),
        _ => failing(TIMEOUT, &ApiError::Timeout),
    };
    for minute in 1..60 {
        environment.play(S(60 * minute), answer);
        let slow = environment.running.iter().filter(|(_, target, _)| *target != TargetId(0)).count();
        assert!(slow <= 2, "{slow} in minute {minute}");
    }
    assert!(environment.longest_gap(0, S(0)) <= BOUNDS.min + STEP * 2, "{:?}", environment.longest_gap(0, S(0)));
}

/// Nine targets that were answered for ten minutes, until the API is gone from then on to `back`.
fn outage(answer: Answer, back: Duration) -> Environment {
    let mut environment = Environment::new(9);
    let gone = S(600)..back;
    environment.play(back + S(120), |target, now| if gone.contains(&now) { answer } else { well(target, now) });
    environment
}

#[test]
fn where_all_are_broken_one_is_probed_after_the_other_and_all_resume_when_the_api_is_back() {
    for (what, answer) in failures().into_iter().filter(|(what, _)| !["404", "invalid"].contains(what)) {
        let back = S(2400);
        let environment = outage(answer, back);
        let [(began, Change::OutageBegan), (ended, Change::OutageEnded(lasted))] = environment.changes[..] else {
            panic!("{what}: {:?}", environment.changes)
        };
        assert!(began <= S(600) + BOUNDS.min + answer.0 + STEP * 3, "{what}: began at {began:?}");
        assert_eq!(lasted, ended - began);
        // The pause under way, a probe that began before, and one more place in the queue.
        assert!(ended <= back + S(60) + answer.0 + STEP, "{what}: ended at {ended:?}");
        assert_eq!(environment.most_probes, 1, "{what}");
        let probes: Vec<_> = environment.asked.iter().filter(|(at, _)| (began..back).contains(at)).collect();
        assert!((20..=36).contains(&probes.len()), "{what}: {} probes in half an hour", probes.len());
        for target in 0..9 {
            let of_target = probes.iter().filter(|(_, asked)| *asked == TargetId(target)).count();
            assert!(of_target >= probes.len() / 9 - 1, "{what}: they take turns, {of_target}");
            let resumed = environment.times_of(target).into_iter().find(|at| *at >= back).unwrap();
            // Those that resume and those that are polled take turns.
            assert!(resumed <= ended + STEP * 18, "{what}: {target} resumed at {resumed:?}, {ended:?}");
        }
    }
}

#[test]
fn targets_that_were_never_answered_are_probed_and_resume_too() {
    let back = S(900);
    let mut environment = Environment::new(9);
    let refused = failing(QUICK, &ApiError::Connection(String::new()));
    environment.play(back + S(200), |target, now| if now < back { refused } else { well(target, now) });
    let [(began, Change::OutageBegan), (ended, Change::OutageEnded(_))] = environment.changes[..] else {
        panic!("{:?}", environment.changes)
    };
    assert!(began <= STEP * 18 && ended <= back + S(61), "{:?}", environment.changes);
    for target in 0..9 {
        let resumed = environment.times_of(target).into_iter().find(|at| *at >= back).unwrap();
        // Besides, the back-off of their own goes on.
        assert!(resumed <= ended + S(60) + STEP * 18, "{target}: {resumed:?}");
    }
}

#[test]
fn what_the_api_asks_of_a_target_is_kept_and_holds_back_nobody_else() {
    let mut environment = Environment::new(2);
    let asks = failing(QUICK, &status(503, Some(S(120))));
    environment.play(S(600), |target, now| if target == TargetId(0) { asks } else { well(target, now) });
    assert!(environment.times_of(0).windows(2).all(|pair| pair[1] - pair[0] >= S(120)));
    assert_eq!(environment.times_of(1).len(), 40);
    // Probes of an outage keep it too.
    let mut environment = Environment::new(1);
    environment.play(S(600), |_, _| asks);
    assert!(environment.times_of(0).windows(2).all(|pair| pair[1] - pair[0] >= S(120)));
    assert_eq!(environment.times_of(0).len(), 5);
}

#[test]
fn a_rejection_pauses_everybody_and_is_no_failure_of_the_target() {
    let mut environment = Environment::new(2);
    let rejected = failing(QUICK, &ApiError::RateLimited { retry_after: Some(S(90)) });
    environment.play(S(300), |target, now| if now < S(3) { rejected } else { well(target, now) });
    let times: Vec<Duration> = environment.asked.iter().map(|(at, _)| *at).take(3).collect();
    assert_eq!(times[0], Duration::ZERO);
    assert!(times[1] >= S(90), "{times:?}");
    assert!(environment.changes.is_empty());
    assert_eq!(environment.patience.members[&TargetId(0)].backoff.failures(), 0);
}

#[test]
fn discovery_goes_on_in_an_outage_and_its_failures_do_not_make_one() {
    let mut environment = Environment::new(1);
    environment.patience.fail_discovery(RequestFailure::Unanswered(None), S(0), S(0), 1.0);
    assert!(!environment.patience.is_out());
    environment.play(S(10), |_, _| failing(QUICK, &status(500, None)));
    assert!(environment.patience.is_out());
    environment.scheduler.set_discovery_due(Some(S(10)));
    let next = environment.patience.next(&mut environment.scheduler, S(10));
    assert_eq!(next, Some(Next::Turn(Turn::Discover)));
    environment.patience.accept();
    assert!(environment.patience.is_out());
    environment.patience.fail_discovery(RequestFailure::Rejected(Some(S(50))), S(10), S(10), 1.0);
    assert_eq!(environment.patience.next(&mut environment.scheduler, S(11)), Some(Next::At(S(60))));
}

#[test]
fn a_probe_that_is_taken_out_makes_room_for_the_next() {
    let mut environment = Environment::new(2);
    environment.play(S(60), |_, _| failing(QUICK, &status(500, None)));
    assert!(environment.patience.is_out());
    let next = environment.patience.next(&mut environment.scheduler, S(200));
    let Some(Next::Turn(Turn::Ask(probe, RequestClass::Heads))) = next else { panic!("{next:?}") };
    environment.patience.ask(probe, S(200));
    assert_eq!(environment.patience.next(&mut environment.scheduler, S(200)), None);
    environment.patience.remove(probe);
    environment.scheduler.remove(probe);
    let other = TargetId(1 - probe.0);
    let next = environment.patience.next(&mut environment.scheduler, S(200));
    assert_eq!(next, Some(Next::Turn(Turn::Ask(other, RequestClass::Heads))));
}

#[test]
fn what_fails_while_its_cause_is_looked_for_is_no_answer() {
    let unanswered = StepOutcome::Failed(RequestFailure::Unanswered(None));
    for end in [StepOutcome::Narrowed(None), StepOutcome::Narrowed(Some(S(600))), StepOutcome::Expected] {
        let mut environment = Environment::new(3);
        // An outage begins, and the first probe of it is of a target whose failing page is being narrowed.
        environment.play(S(120), |_, at| if at < S(60) { well(TargetId(0), at) } else { (QUICK, unanswered) });
        assert!(environment.patience.is_out());
        environment.play(S(900), |target, _| (QUICK, if target == TargetId(1) { end } else { unanswered }));
        assert!(environment.patience.is_out(), "{end:?}");
        assert!(environment.changes.iter().all(|(_, change)| *change == Change::OutageBegan), "{end:?}");
        let asked = environment.asked.iter().filter(|(at, target)| *at > S(120) && *target == TargetId(1)).count();
        let waits = matches!(end, StepOutcome::Narrowed(Some(_)));
        assert_eq!(asked <= 2, waits, "{asked} requests within 13 min, {end:?}");
    }
}
