//! The best intervals for known rates of arrival: the mean wait is least when polling frequencies are proportional to
//! the square root of the rates, as far as the bounds allow.
//!
//! An entry waits for half an interval on average. So Σ λᵢ·Tᵢ is to be minimised under Σ 1/Tᵢ = requests a second:
//! Lagrange's multiplier yields Tᵢ = scale / √λᵢ, and the bound where a bound holds (Karush–Kuhn–Tucker;
//! "water-filling"). A poll counts as one request here. The number of further pages of a walk follows from the number
//! of entries, not from how often they are requested, so those pages are not part of the choice: they reduce what is
//! left for polls.

use std::time::Duration;

use super::Intervals;

/// How often the range of the scale is halved: enough for the last bit of it.
const HALVINGS: u32 = 60;
/// A target that would bring something to fewer than one in this many polls, if polled every `max_interval`, is asleep:
/// it is polled no more often than that, however large the budget is.
const ASLEEP: f64 = 300.0;

/// The intervals for all rates.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Allocation {
    bounds: Intervals,
    scale: f64,
}

impl Allocation {
    /// The best intervals within `bounds` for targets with these rates, in entries a second, if the budget allows
    /// `polls_per_second`; the longest intervals if even they need more.
    pub fn new(rates: &[f64], bounds: Intervals, polls_per_second: f64) -> Self {
        // At 0 all targets have their shortest interval, at the upper end all have their longest.
        let widest = rates.iter().fold(0.0, |widest: f64, rate| widest.max(rate.sqrt()));
        let (mut low, mut high) = (0.0, widest * bounds.max.as_secs_f64());
        for _ in 0..HALVINGS {
            let scale = f64::midpoint(low, high);
            let polls: f64 = rates.iter().map(|rate| 1.0 / interval(scale, bounds, *rate)).sum();
            if polls > polls_per_second { low = scale } else { high = scale }
        }
        Self { bounds, scale: high }
    }

    /// The interval of a target with this rate.
    pub fn interval(&self, rate: f64) -> Duration {
        Duration::from_secs_f64(interval(self.scale, self.bounds, rate))
    }

    /// How many seconds an entry waits on average until it is read, over all targets with these rates: half an
    /// interval.
    pub fn mean_wait(&self, rates: &[f64]) -> f64 {
        let waits: f64 = rates.iter().map(|rate| rate * interval(self.scale, self.bounds, *rate) / 2.0).sum();
        let entries: f64 = rates.iter().sum();
        if entries > 0.0 { waits / entries } else { 0.0 }
    }
}

fn interval(scale: f64, bounds: Intervals, rate: f64) -> f64 {
    let (min, max) = (bounds.min.as_secs_f64(), bounds.max.as_secs_f64());
    if rate > 0.0 { (scale / rate.sqrt()).clamp(min, max) } else { max }
}

/// Whether a target with this rate is polled no more often than every `max_interval`.
pub fn is_asleep(rate: f64, max_interval: Duration) -> bool {
    rate * max_interval.as_secs_f64() * ASLEEP < 1.0
}

/// The longest interval with which `targets` targets need at most half of a budget, if that is longer than
/// `max_interval`; the other half is for busy targets, sweeps and rechecks.
pub fn stretched(max_interval: Duration, targets: usize, requests_per_minute: f64) -> Duration {
    let needed = 120.0 * targets as f64 / requests_per_minute.max(f64::MIN_POSITIVE);
    max_interval.max(Duration::try_from_secs_f64(needed).unwrap_or(Duration::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: fn(u64) -> Duration = Duration::from_secs;
    const WIDE: Intervals = Intervals { min: Duration::from_millis(1), max: Duration::from_secs(1_000_000) };

    #[test]
    fn frequencies_go_by_the_square_root_of_the_rates() {
        let allocation = Allocation::new(&[4.0, 1.0], WIDE, 3.0);
        assert_eq!(allocation.interval(4.0).as_secs_f64(), 0.5);
        assert_eq!(allocation.interval(1.0).as_secs_f64(), 1.0);
    }

    #[test]
    fn what_a_bound_leaves_over_goes_to_the_others() {
        let bounds = Intervals { min: S(10), max: S(100) };
        // One is held at 10 s, one at 100 s, and two share the rest of 0.15 polls a second.
        let rates = [1.0, 0.01, 0.01, 0.0];
        let allocation = Allocation::new(&rates, bounds, 0.15);
        let intervals: Vec<f64> = rates.iter().map(|rate| allocation.interval(*rate).as_secs_f64()).collect();
        for (found, expected) in intervals.iter().zip([10.0, 50.0, 50.0, 100.0]) {
            assert!((found - expected).abs() < 1e-6, "{intervals:?}");
        }
        assert!((allocation.mean_wait(&rates) - (1.0 * 5.0 + 0.02 * 25.0) / 1.02).abs() < 1e-6);
    }

    #[test]
    fn too_much_and_too_little_are_the_bounds() {
        let bounds = Intervals { min: S(10), max: S(100) };
        assert_eq!(Allocation::new(&[1.0, 2.0], bounds, 100.0).interval(1.0), S(10));
        assert_eq!(Allocation::new(&[1.0, 2.0], bounds, 0.001).interval(2.0), S(100));
        assert_eq!(Allocation::new(&[], bounds, 1.0).mean_wait(&[]), 0.0);
    }

    #[test]
    fn no_other_choice_within_the_bounds_and_the_budget_is_better() {
        let bounds = Intervals { min: S(15), max: S(300) };
        let rates: Vec<f64> = (1..=50).map(|rank| 1.0 / f64::from(rank * rank)).collect();
        let budget = 0.5;
        let best = Allocation::new(&rates, bounds, budget);
        let used: f64 = rates.iter().map(|rate| 1.0 / best.interval(*rate).as_secs_f64()).sum();
        assert!((used - budget).abs() < 1e-6);
        // Moving a little of the budget from any target to any other makes nothing better.
        let (min, max) = (15.0, 300.0);
        let frequency = |rate: f64| 1.0 / best.interval(rate).as_secs_f64();
        for from in &rates {
            for to in &rates {
                let moved = 1e-5;
                let (less, more) = (frequency(*from) - moved, frequency(*to) + moved);
                if from == to || less < 1.0 / max || more > 1.0 / min {
                    continue;
                }
                let change = from * (1.0 / less - 1.0 / frequency(*from)) + to * (1.0 / more - 1.0 / frequency(*to));
                assert!(change > -1e-9, "{from} {to} {change}");
            }
        }
    }

    #[test]
    fn the_longest_interval_stretches_to_half_of_the_budget() {
        assert_eq!(stretched(S(300), 50, 30.0), S(300));
        assert_eq!(stretched(S(300), 500, 30.0), S(2000));
        assert_eq!(stretched(S(300), 75, 30.0), S(300));
    }
}
