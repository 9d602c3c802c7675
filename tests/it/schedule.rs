//! The scheduler in simulated time, against the limits that the benchmark is to keep; fewer hours than there.

#[path = "../../benches/schedule/model.rs"]
mod model;

use model::{BOUNDS, Case, Observed, Order, play, play_in, zipf};

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
            let case = Case::steady(rates.clone(), budget, HOURS, 1);
            let observed = play(&case);
            let (waiting, optimum) = (observed.waiting(WARM_UP), observed.optimum(&rates));
            // Where webhooks differ, not even a round-robin that nothing disturbs comes near.
            let in_turn = match exponent {
                0.0 => play_in(Order::InTurn, &case).waiting(WARM_UP),
                _ => observed.round_robin(&rates),
            };
            let what =
                format!("{webhooks} webhooks, Zipf({exponent}): {waiting:?}, at best {optimum:?}, in turn {in_turn:?}");
            assert!(waiting.mean <= 1.15 * optimum.mean, "{what}");
            // One in a hundred is what chance makes of some thousand entries where nobody can do better than in turn.
            assert!(waiting.mean <= 1.01 * in_turn.mean, "{what}");
            // The optimum for the mean lets the entries of quiet webhooks wait: in its tail it may be worse than in
            // turn.
            assert!(waiting.p99 <= 1.15 * optimum.p99.max(in_turn.p99), "{what}");
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
        let case = model::bursts(webhooks, budget, HOURS);
        let (observed, in_turn) = (play(&case), play_in(Order::InTurn, &case));
        let (mean, turns) = (observed.waiting(WARM_UP).mean, in_turn.waiting(WARM_UP).mean);
        assert!(mean < 0.8 * turns, "{webhooks} webhooks: {mean} s, in turn {turns} s");
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
