//! Which target to ask next, and whether the budget allows it. Time is passed in; nothing here waits or asks.
//!
//! [`gcra`] is the arithmetic of the budget and [`budget`] its memory; [`backoff`] says how long to leave alone what failed,
//! [`pause`] when that is a whole environment; [`Scheduler`] is the order in which targets are asked.

pub mod backoff;
pub mod budget;
pub mod gcra;
pub mod pause;

use std::time::Duration;

/// An idle target's interval grows by this much at each poll that brings nothing, until `max_interval`.
const IDLE_GROWTH: f64 = 1.5;

/// Bounds of the time between two polls of one target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Intervals {
    /// For busy targets.
    pub min: Duration,
    /// For idle ones.
    pub max: Duration,
}

/// The order in which targets are asked: whoever has been due for longest comes first.
///
/// Times are durations since any fixed moment.
#[derive(Debug)]
pub struct Scheduler {
    intervals: Intervals,
    slots: Vec<Slot>,
    turns: u64,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    due: Duration,
    interval: Duration,
    is_running: bool,
    /// Whether its poll needs further requests.
    is_unfinished: bool,
    /// The turn at which it was last asked: among targets due at the same time, the one asked longest ago comes first.
    turn: u64,
}

/// What a poll brought, as far as the next one depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Polled {
    /// There were entries or changes.
    Busy,
    /// There was nothing.
    Idle,
    /// It failed, and the target is to be left alone for that long.
    Failed(Duration),
    /// There is more to be read: the target queues up again, and shares every other turn with others of its kind.
    Unfinished,
}

impl Scheduler {
    /// A scheduler for `targets` targets, all due at once.
    pub fn new(targets: usize, intervals: Intervals) -> Self {
        let slot =
            Slot { due: Duration::ZERO, interval: intervals.min, is_running: false, is_unfinished: false, turn: 0 };
        Self { intervals, slots: vec![slot; targets], turns: 0 }
    }

    /// The target that has been due for longest and is not being asked now, with the time at which it is or was due. Every other
    /// turn belongs to polls that are under way: a walk that had to wait for all others before each page would never end.
    pub fn next(&self) -> Option<(usize, Duration)> {
        let free = || self.slots.iter().enumerate().filter(|(_, slot)| !slot.is_running);
        let first = |(_, slot): &(usize, &Slot)| (slot.due, slot.turn);
        let unfinished = free().filter(|(_, slot)| slot.is_unfinished && self.turns % 2 == 1).min_by_key(first);
        unfinished.or_else(|| free().min_by_key(first)).map(|(index, slot)| (index, slot.due))
    }

    /// Marks a target as being asked.
    pub fn start(&mut self, target: usize) {
        self.turns += 1;
        if let Some(slot) = self.slots.get_mut(target) {
            slot.turn = self.turns;
            slot.is_running = true;
        }
    }

    /// Takes in at `now` what asking a target brought, and gives its interval from now on.
    pub fn finish(&mut self, target: usize, polled: Polled, now: Duration) -> Duration {
        let Intervals { min, max } = self.intervals;
        let Some(slot) = self.slots.get_mut(target) else { return max };
        slot.is_running = false;
        slot.is_unfinished = polled == Polled::Unfinished;
        match polled {
            Polled::Unfinished => slot.due = now,
            Polled::Failed(pause) => slot.due = now + pause,
            Polled::Busy => slot.interval = min,
            Polled::Idle => slot.interval = slot.interval.mul_f64(IDLE_GROWTH).min(max),
        }
        if matches!(polled, Polled::Busy | Polled::Idle) {
            slot.due = now + slot.interval;
        }
        slot.interval
    }

    /// Makes a target due no later than `at`.
    pub fn hasten(&mut self, target: usize, at: Duration) {
        if let Some(slot) = self.slots.get_mut(target) {
            slot.due = slot.due.min(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: fn(u64) -> Duration = Duration::from_secs;

    fn scheduler(targets: usize) -> Scheduler {
        Scheduler::new(targets, Intervals { min: S(15), max: S(60) })
    }

    #[test]
    fn an_idle_target_is_asked_ever_less_often_and_a_busy_one_often() {
        let mut scheduler = scheduler(1);
        let mut intervals = Vec::new();
        for polled in [Polled::Idle, Polled::Idle, Polled::Idle, Polled::Idle, Polled::Idle, Polled::Busy] {
            intervals.push(scheduler.finish(0, polled, S(0)).as_secs_f64());
        }
        assert_eq!(intervals, [22.5, 33.75, 50.625, 60.0, 60.0, 15.0]);
    }

    #[test]
    fn a_long_walk_and_the_others_take_turns() {
        let mut scheduler = scheduler(6);
        let mut asked = Vec::new();
        for now in 0..12 {
            let (target, due) = scheduler.next().unwrap();
            assert!(due <= S(now));
            scheduler.start(target);
            asked.push(target);
            let polled = if target == 0 { Polled::Unfinished } else { Polled::Busy };
            scheduler.finish(target, polled, S(now));
        }
        assert_eq!(asked, [0, 0, 1, 0, 2, 0, 3, 0, 4, 0, 5, 0]);
    }

    #[test]
    fn a_long_walk_ends_where_the_budget_is_too_small_for_all() {
        let mut scheduler = scheduler(500);
        let mut pages = 0;
        // One request every two seconds, and all of the others would like to be asked now.
        for turn in 0..400 {
            let (target, _) = scheduler.next().unwrap();
            scheduler.start(target);
            let is_walk = target == 0 && pages < 100;
            pages += u32::from(is_walk);
            scheduler.finish(target, if is_walk { Polled::Unfinished } else { Polled::Idle }, S(turn * 2));
        }
        assert_eq!(pages, 100);
    }

    #[test]
    fn under_scarcity_every_target_gets_its_turn() {
        let mut scheduler = scheduler(50);
        let mut polls = [0; 50];
        // One request every two seconds for fifty targets that would like four a second together.
        for turn in 0..500 {
            let (target, _) = scheduler.next().unwrap();
            scheduler.start(target);
            polls[target] += 1;
            scheduler.finish(target, Polled::Busy, S(turn * 2));
        }
        assert!(polls.iter().all(|count| *count == 10), "{polls:?}");
    }

    #[test]
    fn a_target_that_is_being_asked_is_not_asked_again() {
        let mut scheduler = scheduler(1);
        scheduler.start(0);
        assert_eq!(scheduler.next(), None);
        scheduler.finish(0, Polled::Failed(S(7)), S(1));
        assert_eq!(scheduler.next(), Some((0, S(8))));
        scheduler.hasten(0, S(3));
        assert_eq!(scheduler.next(), Some((0, S(3))));
    }
}
