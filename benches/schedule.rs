//! How long entries wait until they are read, in simulated time: the scheduler against the optimum and against
//! round-robin.
//!
//! `cargo bench --bench schedule` prints ratios. The optimum is worked out exactly, within the bounds of 15 s and 5 min
//! and for the requests that sweeps, rechecks and further pages leave. Round-robin ("in turn") is played: the same
//! arrivals, bounds, budget and work beside; "even turns" is a round-robin that nothing ever disturbs, worked out like
//! the optimum. The seeds are fixed: every run prints the same, but for the processor time at the end.

#![expect(clippy::print_stdout, reason = "a measurement prints what it has measured")]

use std::time::Duration;

#[path = "schedule/model.rs"]
mod model;

use model::{BOUNDS, Case, Order, play, play_in, unbounded_gain, zipf};

const HOURS: f64 = 6.0;
/// What comes before is not measured.
const WARM_UP: f64 = 3600.0;

fn main() {
    steady();
    bursts();
    sleeper();
    cost();
}

/// The sizes with their budgets: enough for the longest interval, too little for the shortest one.
const SIZES: [(usize, u32); 3] = [(10, 30), (50, 30), (500, 300)];

fn steady() {
    println!(
        "steady arrivals, 1 entry a second in all, intervals from 15 s to 5 min; in turn: played, with the same work beside"
    );
    println!("                                                  mean                                p99");
    println!(
        "webhooks  rates    requests/min  for polls      s  /optimum  /in turn  /even turns      s  /optimum  /in turn  optimum/even turns  unbounded gain"
    );
    for (webhooks, budget) in SIZES {
        for (name, exponent) in [("equal", 0.0), ("Zipf(1)", 1.0), ("Zipf(2)", 2.0)] {
            let rates = zipf(webhooks, exponent, 1.0);
            let case = Case::steady(rates.clone(), budget, HOURS, 1);
            let observed = play(&case);
            let (waiting, in_turn) = (observed.waiting(WARM_UP), play_in(Order::InTurn, &case).waiting(WARM_UP));
            let (best, even) = (observed.optimum(&rates), observed.round_robin(&rates));
            println!(
                "{webhooks:>8}  {name:<8} {budget:>11}  {:>9.1}  {:>5.1}  {:>8.3}  {:>8.3}  {:>11.3}  {:>5.0}  {:>8.3}  {:>8.3}  {:>18.3}  {:>14.2}",
                (observed.supply_per_second - observed.others_per_second) * 60.0,
                waiting.mean,
                waiting.mean / best.mean,
                waiting.mean / in_turn.mean,
                waiting.mean / even.mean,
                waiting.p99,
                waiting.p99 / best.p99,
                waiting.p99 / in_turn.p99,
                best.p99 / even.p99,
                unbounded_gain(&rates),
            );
        }
    }
}

/// Each webhook in turn has five minutes of many entries, and hardly any else.
fn bursts() {
    println!(
        "\nbursts: every webhook in turn has 2 entries a second for 5 min, and one in 10 min else; the optimum knows whose turn it is"
    );
    for (webhooks, budget) in SIZES {
        let case = model::bursts(webhooks, budget, HOURS);
        let observed = play(&case);
        let (waiting, in_turn) = (observed.waiting(WARM_UP), play_in(Order::InTurn, &case).waiting(WARM_UP));
        let rates: Vec<f64> = (0..webhooks).map(|webhook| (case.rates)(webhook, 0.0)).collect();
        let best = observed.optimum(&rates);
        println!(
            "{webhooks:>8} webhooks: mean {:.1} s, {:.3} of the optimum, {:.3} of in turn; p99 {:.0} s, {:.3} of the optimum, {:.3} of in turn",
            waiting.mean,
            waiting.mean / best.mean,
            waiting.mean / in_turn.mean,
            waiting.p99,
            waiting.p99 / best.p99,
            waiting.p99 / in_turn.p99,
        );
    }
}

fn sleeper() {
    println!("\na webhook that has slept for hours wakes up among Zipf(1), with 0.5 entries a second");
    for (webhooks, budget) in SIZES {
        let woken = model::sleeper(webhooks, budget);
        println!(
            "{webhooks:>8} webhooks: noticed after {:.0} s (max_interval {} s), then polled every {:.0} s",
            woken.noticed_after,
            BOUNDS.max.as_secs(),
            woken.interval_after,
        );
    }
}

/// What 10,000 webhooks at 1,000 requests a minute cost.
fn cost() {
    let observed = play(&Case::steady(zipf(10_000, 1.0, 20.0), 1_000, 1.0, 1));
    let requests = observed.requests.len();
    println!(
        "\n10,000 webhooks, 1,000 requests a minute: {:.2} µs of scheduling a request, {:.4} % of a core",
        observed.spent.as_secs_f64() / requests as f64 * 1e6,
        observed.spent.as_secs_f64() / Duration::from_secs(3600).as_secs_f64() * 100.0,
    );
}
