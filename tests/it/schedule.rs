//! The scheduler in simulated time, against the limits that the benchmark is to keep; fewer hours than there.

#[path = "../../benches/schedule/model.rs"]
mod model;

use model::{BOUNDS, Case, Observed, play, zipf};

const HOURS: f64 = 3.0;
const WARM_UP: f64 = 1800.0;

fn assert_budget_holds(observed: &Observed, requests_per_minute: u32) {
    let requests = &observed.requests;
    let busiest = (0..requests.len())
        .map(|first| requests[first..].iter().take_while(|at| **at <= requests[first] + 60.0).count())
        .max();
    assert!(busiest <= Some(requests_per_minute as usize), "{busiest:?}");
}

fn assert_nobody_starves(observed: &Observed) {
    for (webhook, polls) in observed.polls.iter().enumerate() {
        let longest = polls.windows(2).map(|pair| pair[1] - pair[0]).fold(0.0, f64::max);
        // All of them may be due at the same time, as they are at the start.
        assert!(longest <= 1.5 * BOUNDS.max.as_secs_f64(), "webhook {webhook}: {longest}");
    }
}

#[test]
fn waiting_is_near_the_optimum_and_never_worse_than_round_robin() {
    for (webhooks, budget) in [(10, 30), (50, 30), (500, 300)] {
        for exponent in [0.0, 1.0, 2.0] {
            let rates = zipf(webhooks, exponent, 1.0);
            let observed = play(&Case::steady(rates.clone(), budget, HOURS, 1));
            let (waiting, optimum) = (observed.waiting(WARM_UP), observed.optimum(&rates));
            let (mean, best, turns) = (waiting.mean, optimum.mean, observed.round_robin(&rates).mean);
            assert!(waiting.p99 <= 1.6 * optimum.p99, "{webhooks} webhooks, Zipf({exponent}): {waiting:?} {optimum:?}");
            assert!(mean <= 1.15 * best, "{webhooks} webhooks, Zipf({exponent}): {mean} s, at best {best} s");
            // Two in a hundred is what chance makes of some thousand entries where nobody can do better than in turn.
            assert!(mean <= 1.02 * turns, "{webhooks} webhooks, Zipf({exponent}): {mean} s, in turn {turns} s");
            assert_budget_holds(&observed, budget);
            assert_nobody_starves(&observed);
        }
    }
}

#[test]
fn the_gain_that_is_possible_without_bounds_is_as_theory_has_it() {
    for (webhooks, exponent, gain) in [(50, 0.0, 1.0), (50, 1.0, 1.38), (500, 1.0, 1.81), (50, 2.0, 4.01)] {
        let computed = model::unbounded_gain(&zipf(webhooks, exponent, 1.0));
        assert!((computed - gain).abs() < 0.01, "{computed} {gain}");
    }
}

#[test]
fn bursts_are_read_sooner_than_in_turn() {
    for (webhooks, budget) in [(10, 30), (50, 30)] {
        let observed = play(&model::bursts(webhooks, budget, HOURS));
        let (mean, turns) = (observed.waiting(WARM_UP).mean, observed.round_robin(&vec![1.0; webhooks]).mean);
        assert!(mean < 0.9 * turns, "{webhooks} webhooks: {mean} s, in turn {turns} s");
        assert_budget_holds(&observed, budget);
    }
}

#[test]
fn a_sleeper_is_noticed_within_the_longest_interval_and_then_followed_closely() {
    for (webhooks, budget) in [(10, 30), (50, 30)] {
        let woken = model::sleeper(webhooks, budget);
        let max = BOUNDS.max.as_secs_f64();
        assert!(woken.noticed_after <= max + 5.0, "{webhooks} webhooks: {} s", woken.noticed_after);
        // The square root of its half of all entries has that part of the polls.
        assert!(woken.interval_after <= 30.0, "{webhooks} webhooks: {} s", woken.interval_after);
    }
}
