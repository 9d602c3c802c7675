//! The arithmetic of the request budget: the generic cell rate algorithm, with time passed in.
//!
//! A plain token bucket of R, refilled at R/60 a second, lets nearly 2R requests through in the minute after a pause.
//! Here a burst of b is paid for by a slower rate, so that no minute, wherever it begins, holds more than R requests.

/// Nanoseconds in the minute of the budget, plus one second: what is sent within a minute may arrive within a little
/// less.
pub const WINDOW_NS: u64 = 61_000_000_000;

/// A budget of R requests in any minute, with bursts of at most b.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gcra {
    interval_ns: u64,
    burst: u64,
    /// How far ahead the arrival time of an exhausted budget is.
    exhausted_ns: u64,
}

impl Gcra {
    /// A budget of `per_minute` requests, of which up to `burst` may go out together after a pause.
    pub fn new(per_minute: u32, burst: u32) -> Self {
        let rate = u64::from(per_minute.max(1));
        // At most half of a small budget, so that something is left for the steady rate; a budget of one has no burst.
        let burst = u64::from(burst).clamp(1, (rate / 2).max(1));
        let steady = rate - burst;
        let interval_ns = WINDOW_NS.checked_div(steady).unwrap_or(WINDOW_NS);
        Self { interval_ns, burst, exhausted_ns: interval_ns * burst }
    }

    /// The same budget, of which only `per_minute` requests may be spent for a while: evenly, because a burst at each
    /// change would exceed it in the end, and never faster than the budget itself allows.
    pub fn lowered(self, per_minute: u32) -> Self {
        let interval_ns = self.interval_ns.max(WINDOW_NS / u64::from(per_minute.max(1)));
        Self { interval_ns, burst: 1, exhausted_ns: self.exhausted_ns.max(interval_ns) }
    }

    /// The theoretical arrival time after a request at `now`, if one is allowed.
    ///
    /// # Errors
    /// The nanoseconds to wait, if not.
    pub fn take(&self, arrival: u64, now: u64) -> Result<u64, u64> {
        let arrival = self.clamp(arrival, now).max(now);
        let earliest = arrival.saturating_sub(self.interval_ns * (self.burst - 1));
        if now < earliest {
            return Err(earliest - now);
        }
        Ok(arrival + self.interval_ns)
    }

    /// The requests that may go out together after a pause.
    pub fn burst(&self) -> u64 {
        self.burst
    }

    /// The requests a second that it allows in the long run.
    pub fn per_second(&self) -> f64 {
        1e9 / self.interval_ns as f64
    }

    /// The arrival time of an exhausted budget: for a past that is not known.
    pub fn exhausted(&self, now: u64) -> u64 {
        now + self.exhausted_ns
    }

    /// The arrival time, no further ahead than that of an exhausted budget: anything further is corrupt.
    pub fn clamp(&self, arrival: u64, now: u64) -> u64 {
        arrival.min(self.exhausted(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MINUTE: u64 = 60_000_000_000;

    /// Asks at the given moments, waits where told to, and gives the moments at which requests went out.
    fn run(gcra: Gcra, pauses: &[u64]) -> Vec<u64> {
        let (mut now, mut arrival) = (1_000_000, 0);
        let mut sent = Vec::new();
        for pause in pauses {
            now += pause;
            loop {
                match gcra.take(arrival, now) {
                    Ok(next) => {
                        arrival = next;
                        break;
                    }
                    Err(wait) => now += wait,
                }
            }
            sent.push(now);
        }
        sent
    }

    fn busiest_minute(sent: &[u64]) -> usize {
        (0..sent.len())
            .map(|first| sent[first..].iter().take_while(|at| **at <= sent[first] + MINUTE).count())
            .max()
            .unwrap_or(0)
    }

    proptest! {
        #[test]
        fn no_minute_exceeds_the_budget(
            rate in 1_u32..200,
            burst in 1_u32..20,
            pauses in prop::collection::vec(prop_oneof![8 => Just(0_u64), 1 => 0..MINUTE * 2], 1..400),
        ) {
            let sent = run(Gcra::new(rate, burst), &pauses);
            prop_assert!(busiest_minute(&sent) <= rate as usize);
        }

        /// As the allowance does it: a lowered rate has no burst, and the full one comes back at any moment.
        #[test]
        fn no_minute_exceeds_the_budget_while_it_is_lowered_and_raised(
            rate in 2_u32..120,
            burst in 1_u32..10,
            changes in prop::collection::vec((1_u32..120, 1_usize..40, 0..MINUTE), 1..20),
        ) {
            let (mut now, mut arrival, mut sent) = (1_000_000, 0, Vec::new());
            for (lowered, requests, pause) in changes {
                let full = Gcra::new(rate, burst);
                let gcra = if lowered < rate { full.lowered(lowered) } else { full };
                for _ in 0..requests {
                    match gcra.take(arrival, now) {
                        Ok(next) => {
                            arrival = next;
                            sent.push(now);
                        }
                        // Nobody waits to the end while rates change.
                        Err(wait) => now += wait.min(2_000_000_000),
                    }
                }
                now += if requests % 3 == 0 { pause } else { 0 };
            }
            prop_assert!(busiest_minute(&sent) <= rate as usize);
        }

        #[test]
        fn a_budget_whose_past_is_lost_is_not_exceeded(rate in 1_u32..200, burst in 1_u32..20, before in 1_usize..300) {
            let gcra = Gcra::new(rate, burst);
            let mut sent = run(gcra, &vec![0; before]);
            let mut now = *sent.last().unwrap();
            let mut arrival = gcra.exhausted(now);
            for _ in 0..300 {
                match gcra.take(arrival, now) {
                    Ok(next) => { arrival = next; sent.push(now); }
                    Err(wait) => now += wait,
                }
            }
            prop_assert!(busiest_minute(&sent) <= rate as usize);
        }
    }

    #[test]
    fn a_saturated_budget_is_used() {
        for (rate, burst) in [(30, 4), (100, 4), (2, 4), (1, 4)] {
            let sent = run(Gcra::new(rate, burst), &vec![0; 1000]);
            let minutes = (sent[999] - sent[0]) as f64 / MINUTE as f64;
            let used = 1000.0 / minutes / f64::from(rate);
            let steady = 1.0 - f64::from(burst.min((rate / 2).max(1))) / f64::from(rate);
            assert!(used >= 0.97 * steady, "{rate}: {used}");
        }
    }

    #[test]
    fn a_past_that_cannot_be_is_cut() {
        let gcra = Gcra::new(60, 4);
        assert!(gcra.take(u64::MAX / 2, 5).is_err_and(|wait| wait <= 4 * WINDOW_NS / 56));
    }
}
