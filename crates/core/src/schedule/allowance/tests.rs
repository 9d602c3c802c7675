//! The API's counter is played by a small model: a fixed window that opens with its first request.

use super::*;

struct Api {
    limit: u64,
    window: Option<Duration>,
    used: u64,
}

impl Api {
    fn new(limit: u64) -> Self {
        Self { limit, window: None, used: 0 }
    }

    /// Counts a request; what remains.
    fn count(&mut self, now: Duration) -> u64 {
        if self.window.is_none_or(|began| now >= began + WINDOW) {
            (self.window, self.used) = (Some(now), 0);
        }
        self.used = (self.used + 1).min(self.limit);
        self.limit - self.used
    }
}

/// Plays seconds `0..seconds`: we spend what we may, evenly, and others `foreign` requests a second. The rate at each second.
fn play(configured: u32, limit: u64, seconds: u64, foreign: impl Fn(u64) -> f64) -> (Vec<u32>, u64) {
    let mut allowance = Allowance::new(configured, 4);
    let mut api = Api::new(limit);
    let (mut ours, mut theirs) = (0.0, 0.0);
    let mut refused = 0;
    let rates = (0..seconds).map(|second| {
        let now = Duration::from_secs(second);
        theirs += foreign(second);
        while theirs >= 1.0 {
            theirs -= 1.0;
            api.count(now);
        }
        allowance.review(now);
        ours += f64::from(allowance.per_minute()) / 60.0;
        while ours >= 1.0 {
            ours -= 1.0;
            allowance.sent(now);
            let remaining = api.count(now);
            refused += u64::from(remaining == 0);
            allowance.learn(Some(limit), Some(remaining), now);
        }
        allowance.per_minute()
    });
    (rates.collect(), refused)
}

#[test]
fn alone_we_spend_all_of_the_budget() {
    let (rates, _) = play(30, 30, 600, |_| 0.0);
    assert!(rates.iter().all(|rate| *rate == 30), "{rates:?}");
    let (rates, _) = play(60, 100, 600, |_| 0.0);
    assert!(rates.iter().all(|rate| *rate == 60), "{rates:?}");
}

#[test]
fn a_lower_limit_is_the_budget() {
    let (rates, _) = play(100, 40, 600, |_| 0.0);
    assert!(rates[60..].iter().all(|rate| *rate == 40), "{rates:?}");
}

#[test]
fn others_who_spend_little_change_nothing() {
    let (rates, _) = play(30, 100, 600, |_| 0.8);
    assert!(rates.iter().all(|rate| *rate == 30), "{rates:?}");
}

#[test]
fn others_who_spend_much_are_left_their_part_and_what_they_give_up_is_ours_again() {
    // They spend 70 of 100 a minute for ten minutes.
    let (rates, refused) = play(60, 100, 1200, |second| if second < 600 { 70.0 / 60.0 } else { 0.0 });
    let mean = rates[120..600].iter().sum::<u32>() as f64 / 480.0;
    assert!((20.0..=30.0).contains(&mean), "{mean}");
    assert!(refused <= 5, "{refused} of our requests were refused");
    assert!(rates[800..].iter().all(|rate| *rate == 60), "{rates:?}");
}

#[test]
fn what_others_leave_of_a_limit_is_spent_however_much_more_is_configured() {
    for configured in [30, 100, 1_000, 1_000_000] {
        let (rates, refused) = play(configured, 30, 1800, |_| 10.0 / 60.0);
        let mean = rates[120..].iter().sum::<u32>() as f64 / 1680.0;
        assert!((16.0..=20.0).contains(&mean), "{configured}: {mean}");
        assert!(refused <= 5, "{configured}: {refused} of our requests were refused");
    }
}

#[test]
fn when_nothing_is_left_there_is_still_a_request_a_minute() {
    let (rates, _) = play(60, 100, 600, |_| 3.0);
    assert!(rates[120..].iter().all(|rate| (1..=10).contains(rate)), "{rates:?}");
    assert!(rates[300..].iter().all(|rate| *rate == 1), "{rates:?}");
}

#[test]
fn without_headers_there_is_nothing_to_obey() {
    let mut allowance = Allowance::new(60, 4);
    allowance.sent(Duration::ZERO);
    allowance.learn(None, None, Duration::ZERO);
    allowance.learn(Some(0), Some(0), Duration::from_secs(1));
    assert_eq!(allowance.per_minute(), 60);
}

#[test]
fn answers_that_overtake_each_other_open_no_window() {
    let mut allowance = Allowance::new(60, 4);
    for (at, remaining) in [(0, 99), (1, 96), (1, 98), (1, 97), (2, 95)] {
        allowance.sent(Duration::from_secs(at));
        allowance.learn(Some(100), Some(remaining), Duration::from_secs(at));
    }
    assert_eq!((allowance.window, allowance.remaining), (Some(Duration::ZERO), Some(95)));
}
