//! Turn by turn, in simulated time.

use super::*;
use proptest::prelude::*;

const S: fn(u64) -> Duration = Duration::from_secs;
const BOUNDS: Intervals = Intervals { min: Duration::from_secs(15), max: Duration::from_secs(300) };

/// A scheduler and the turns that it gave, one request every `step`.
struct Desk {
    scheduler: Scheduler,
    now: Duration,
    step: Duration,
    turns: Vec<(Duration, Turn)>,
}

impl Desk {
    fn new(targets: u64, step: Duration) -> Self {
        let per_second = 1.0 / step.as_secs_f64();
        let mut scheduler = Scheduler::new(BOUNDS, Supply { per_minute: per_second * 60.0, per_second });
        (0..targets).for_each(|id| scheduler.add(TargetId(id), Duration::ZERO));
        Self { scheduler, now: Duration::ZERO, step, turns: Vec::new() }
    }

    fn seed(&mut self, target: u64, per_second: f64) {
        let rate = Rate::of(per_second);
        self.scheduler.seed(TargetId(target), rate, self.now);
    }

    /// Plays until `end`; `outcome` says what each turn comes to.
    fn play(&mut self, end: Duration, mut outcome: impl FnMut(&mut Scheduler, Turn, Duration) -> TurnOutcome) {
        while self.now < end {
            match self.scheduler.next(self.now) {
                Some(Next::Turn(turn)) => {
                    self.scheduler.start(turn, self.now);
                    self.turns.push((self.now, turn));
                    let outcome = outcome(&mut self.scheduler, turn, self.now);
                    self.scheduler.finish(turn, outcome, self.now);
                    self.now += self.step;
                }
                Some(Next::At(moment)) => {
                    assert!(moment > self.now, "to wait for the present would be for ever");
                    self.now = moment;
                }
                None => return,
            }
        }
    }

    fn times_of(&self, target: u64, class: RequestClass) -> Vec<Duration> {
        let own = self.turns.iter().filter(|(_, turn)| *turn == Turn::Ask(TargetId(target), class));
        own.map(|(at, _)| *at).collect()
    }

    /// The longest time without a poll of a target, from the start to now; sweeps of one request stand for polls.
    fn longest_pause(&self, target: u64) -> Duration {
        let mut times =
            [self.times_of(target, RequestClass::Heads), self.times_of(target, RequestClass::Sweeps)].concat();
        times.push(self.now);
        times.sort_unstable();
        times.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or(self.now).max(times[0])
    }
}

/// What a poll brings of a steady stream, in whole entries.
fn steady(rate: f64, last: &mut Duration, now: Duration) -> u64 {
    let before = (last.as_secs_f64() * rate).floor();
    *last = now;
    ((now.as_secs_f64() * rate).floor() - before) as u64
}

#[test]
fn all_are_due_at_the_start_and_those_that_sleep_then_rest_for_the_longest_interval() {
    let mut desk = Desk::new(3, S(1));
    desk.play(S(301), |_, _, _| TurnOutcome::Complete(0));
    let turns: Vec<u64> = desk.turns.iter().map(|(at, _)| at.as_secs()).collect();
    assert_eq!(turns, [0, 1, 2, 300]);
    assert_eq!(desk.scheduler.interval(TargetId(0), desk.now), S(300));
}

#[test]
fn frequencies_go_by_the_square_root_of_the_rates() {
    let mut desk = Desk::new(40, S(2));
    let rate = |id: u64| if id < 20 { 0.04 } else { 0.01 };
    (0..40).for_each(|id| desk.seed(id, rate(id)));
    let mut last = vec![Duration::ZERO; 40];
    desk.play(S(36_000), |_, turn, now| match turn {
        Turn::Ask(TargetId(id), _) => TurnOutcome::Complete(steady(rate(id), &mut last[id as usize], now)),
        Turn::Discover => TurnOutcome::Complete(0),
    });
    let polls = |id| desk.times_of(id, RequestClass::Heads).len() as f64;
    assert!((polls(0) / polls(39) - 2.0).abs() < 0.2, "{} {}", polls(0), polls(39));
    let shown = |desk: &mut Desk, id| desk.scheduler.interval(TargetId(id), S(36_000)).as_secs_f64();
    assert!((shown(&mut desk, 0) - 60.0).abs() < 3.0, "{}", shown(&mut desk, 0));
    assert!((shown(&mut desk, 39) - 120.0).abs() < 6.0, "{}", shown(&mut desk, 39));
}

#[test]
fn no_poll_comes_before_the_shortest_interval() {
    let mut desk = Desk::new(2, S(1));
    desk.seed(0, 5.0);
    desk.seed(1, 5.0);
    desk.play(S(600), |_, _, _| TurnOutcome::Complete(75));
    for target in 0..2 {
        let times = desk.times_of(target, RequestClass::Heads);
        assert!(times.windows(2).all(|pair| pair[1] - pair[0] >= S(15)));
        assert_eq!(times.len(), 600 / 15);
    }
}

#[test]
fn a_long_walk_and_polls_take_turns() {
    let mut desk = Desk::new(100, S(2));
    (0..100).for_each(|id| desk.seed(id, 1.0));
    let mut pages = 0;
    desk.play(S(600), |_, turn, _| {
        let is_walk = turn == Turn::Ask(TargetId(0), RequestClass::Heads) && pages < 100;
        pages += u32::from(is_walk);
        if is_walk { TurnOutcome::Unfinished } else { TurnOutcome::Complete(3) }
    });
    assert_eq!(pages, 100);
    let walk = desk.times_of(0, RequestClass::Heads);
    assert!(walk[99] <= S(2 * 202), "every other request: {:?}", walk[99]);
}

#[test]
fn a_target_that_fails_is_left_alone_and_then_goes_on() {
    let mut desk = Desk::new(1, S(1));
    desk.play(S(20), |_, _, now| if now < S(5) { TurnOutcome::Failed(S(7)) } else { TurnOutcome::Complete(0) });
    let turns: Vec<u64> = desk.turns.iter().map(|(at, _)| at.as_secs()).collect();
    assert_eq!(turns, [0, 7]);
}

#[test]
fn a_disabled_target_is_polled_once_in_the_longest_interval_and_for_nothing_else() {
    let mut desk = Desk::new(1, S(1));
    desk.seed(0, 1.0);
    desk.scheduler.disable(TargetId(0), S(0));
    desk.scheduler.set_due(TargetId(0), Some(S(1)), Some(S(1)), S(0));
    desk.play(S(900), |_, _, _| TurnOutcome::Complete(0));
    assert_eq!(desk.turns.iter().map(|(at, _)| at.as_secs()).collect::<Vec<_>>(), [0, 300, 600]);
    desk.scheduler.enable(TargetId(0), S(900));
    assert!(matches!(desk.scheduler.next(S(900)), Some(Next::Turn(_))));
}

#[test]
fn targets_come_and_go_while_they_are_asked() {
    let mut scheduler = Scheduler::new(BOUNDS, Supply { per_minute: 60.0, per_second: 1.0 });
    assert_eq!(scheduler.next(S(0)), None);
    scheduler.add(TargetId(7), S(0));
    let turn = Turn::Ask(TargetId(7), RequestClass::Heads);
    assert_eq!(scheduler.next(S(0)), Some(Next::Turn(turn)));
    scheduler.start(turn, S(0));
    assert_eq!(scheduler.next(S(400)), None, "it is being asked");
    scheduler.remove(TargetId(7));
    scheduler.finish(turn, TurnOutcome::Complete(0), S(1));
    assert_eq!(scheduler.next(S(1000)), None);
    scheduler.add(TargetId(7), S(2));
    assert_eq!(scheduler.next(S(2)), Some(Next::Turn(turn)));
}

#[test]
fn discovery_is_asked_when_it_is_due_and_once_at_a_time() {
    let mut scheduler = Scheduler::new(BOUNDS, Supply { per_minute: 60.0, per_second: 1.0 });
    scheduler.set_discovery_due(Some(S(5)));
    assert_eq!(scheduler.next(S(1)), Some(Next::At(S(5))));
    assert_eq!(scheduler.next(S(5)), Some(Next::Turn(Turn::Discover)));
    scheduler.start(Turn::Discover, S(5));
    assert_eq!(scheduler.next(S(6)), None);
    scheduler.finish(Turn::Discover, TurnOutcome::Unfinished, S(6));
    assert_eq!(scheduler.next(S(6)), Some(Next::Turn(Turn::Discover)));
}

#[test]
fn a_sweep_of_one_request_stands_for_a_poll() {
    let mut desk = Desk::new(1, S(1));
    desk.play(S(1), |_, _, _| TurnOutcome::Complete(0));
    desk.scheduler.set_due(TargetId(0), Some(S(100)), None, S(1));
    desk.play(S(450), |scheduler, _, now| {
        scheduler.set_due(TargetId(0), None, None, now);
        TurnOutcome::Complete(0)
    });
    let turns: Vec<u64> = desk.turns.iter().map(|(at, _)| at.as_secs()).collect();
    assert_eq!(turns, [0, 100, 400]);
}

#[test]
fn the_longest_interval_stretches_with_the_targets_and_shrinks_again() {
    let mut desk = Desk::new(500, S(2));
    assert_eq!(desk.scheduler.max_interval(), S(2000));
    (20..500).for_each(|id| desk.scheduler.remove(TargetId(id)));
    assert_eq!(desk.scheduler.max_interval(), S(300));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever polls bring, however many pages walks and sweeps take, and whoever fails: nobody waits much longer than
    /// the longest interval, and each kind of work that is due has a tenth of all requests.
    #[test]
    fn nobody_starves_and_shares_are_kept(
        targets in 1_u64..40,
        step in 1_u64..6,
        behaviour in prop::collection::vec((0_u64..200, 1_u32..30, any::<bool>()), 60),
        discovers in any::<bool>(),
    ) {
        let mut desk = Desk::new(targets, S(step));
        desk.scheduler.set_discovery_due(discovers.then_some(Duration::ZERO));
        let mut pages = vec![1; 60];
        let end = S(3600);
        desk.play(end, |scheduler, turn, now| {
            let Turn::Ask(target, class) = turn else { return TurnOutcome::Unfinished };
            let (found, walk, has_open) = behaviour[target.0 as usize];
            // Sweeps and rechecks are always due: there are more of them than the budget has room for.
            scheduler.set_due(target, Some(now), has_open.then_some(now), now);
            if class == RequestClass::Heads {
                let left = &mut pages[target.0 as usize];
                *left = if *left > 1 { *left - 1 } else { walk };
                if *left > 1 { return TurnOutcome::Unfinished }
            }
            TurnOutcome::Complete(found)
        });
        let longest = desk.scheduler.max_interval();
        // Walks of 30 pages for all, at half of what heads have, are the longest that anybody waits for.
        let queue = S(step) * (targets as u32 * 30) * 4;
        for target in 0..targets {
            prop_assert!(desk.longest_pause(target) <= longest + queue, "{target}: {:?}", desk.longest_pause(target));
        }
        let share = |class| desk.turns.iter().filter(|(_, turn)| turn.class() == class).count() as f64;
        let all = desk.turns.len() as f64;
        // Until each target was asked once nothing but heads and discovery is due.
        let rest = all - targets as f64 * 2.0;
        prop_assert!(share(RequestClass::Sweeps) >= rest * 0.1 - 3.0, "{} of {all}", share(RequestClass::Sweeps));
        if discovers {
            prop_assert!(share(RequestClass::Discovery) >= all * 0.1 - 3.0, "{} of {all}", share(RequestClass::Discovery));
        }
    }
}

#[test]
fn what_is_next_comes_no_earlier_than_a_pause_ends() {
    let turn = Next::Turn(Turn::Discover);
    assert_eq!(turn.not_before(S(5), S(5)), turn);
    assert_eq!(turn.not_before(S(6), S(5)), Next::At(S(6)));
    assert_eq!(Next::At(S(8)).not_before(S(6), S(5)), Next::At(S(8)));
    assert_eq!(Next::At(S(8)).not_before(S(9), S(5)), Next::At(S(9)));
}
