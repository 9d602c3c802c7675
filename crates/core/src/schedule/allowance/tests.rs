//! The API's counter is played by a small model, with its answers under way for a while; others ask it too.

use super::*;

const S: fn(u64) -> Duration = Duration::from_secs;
/// Requests under way at the same time.
const CONCURRENT: u32 = 4;
const TICK: Duration = Duration::from_millis(100);

/// The API's counter: in windows that open with the first request of anybody's, as its reference says.
#[derive(Debug)]
struct Api {
    limit: u64,
    window: Option<Duration>,
    used: u64,
}

impl Api {
    /// Counts a request, unless it refuses it; what remains.
    fn count(&mut self, now: Duration) -> Option<u64> {
        if self.next() <= now {
            (self.window, self.used) = (Some(now), 0);
        }
        self.used += 1;
        self.limit.checked_sub(self.used)
    }

    /// When it counts anew.
    fn next(&self) -> Duration {
        self.window.map_or(Duration::ZERO, |began| began + WINDOW)
    }
}

/// A request of ours under way.
struct Asked {
    at: Duration,
    arrives: Duration,
    answered: Duration,
    /// What remains, once it was counted; nothing of that where it was refused.
    remaining: Option<Option<u64>>,
}

#[derive(Debug, Default)]
struct Played {
    /// The rate every second.
    rates: Vec<u32>,
    /// When ours were accepted and refused.
    accepted: Vec<Duration>,
    refused: Vec<Duration>,
    others_refused: u64,
}

impl Played {
    /// Requests a minute that were accepted, from two minutes on.
    fn per_minute(&self) -> f64 {
        let seconds = self.rates.len() as f64 - 120.0;
        self.accepted.iter().filter(|at| **at >= S(120)).count() as f64 * 60.0 / seconds
    }

    fn late_refusals(&self) -> usize {
        self.refused.iter().filter(|at| **at >= S(120)).count()
    }
}

#[derive(Clone, Copy, Debug)]
struct Game {
    configured: u32,
    limit: u64,
    latency: Duration,
    seconds: u64,
}

const GAME: Game = Game { configured: 1000, limit: 30, latency: Duration::from_millis(200), seconds: 1800 };

impl Game {
    /// Plays it: we ask as soon as we may, and others `foreign(second)` times within a second.
    fn play(self, foreign: impl Fn(u64) -> f64) -> Played {
        let mut allowance = Allowance::new(self.configured, CONCURRENT);
        let mut api = Api { limit: self.limit, window: None, used: 0 };
        let (mut played, mut flying) = (Played::default(), VecDeque::<Asked>::new());
        let (mut theirs, mut next, mut resting_until) = (0.0, Duration::ZERO, Duration::ZERO);
        for tick in 0..self.seconds * 10 {
            let now = TICK * tick as u32;
            theirs += foreign(tick / 10) / 10.0;
            while theirs >= 1.0 {
                theirs -= 1.0;
                played.others_refused += u64::from(api.count(now).is_none());
            }
            for asked in flying.iter_mut().filter(|asked| asked.remaining.is_none() && asked.arrives <= now) {
                asked.remaining = Some(api.count(now));
            }
            while flying.front().is_some_and(|asked| asked.answered <= now) {
                let asked = flying.pop_front().unwrap();
                let remaining = asked.remaining.unwrap();
                if remaining.is_some() {
                    played.accepted.push(asked.at);
                } else {
                    played.refused.push(asked.at);
                    resting_until = api.next();
                }
                allowance.learn(Some(self.limit), remaining, now);
            }
            allowance.review(now);
            next = next.max(now);
            while next < now + TICK && now >= resting_until && flying.len() < CONCURRENT as usize {
                next += WINDOW / allowance.per_minute();
                allowance.sent(now);
                flying.push_back(Asked {
                    at: now,
                    arrives: now + self.latency / 2,
                    answered: now + self.latency,
                    remaining: None,
                });
            }
            if tick % 10 == 0 {
                played.rates.push(allowance.per_minute());
            }
        }
        played
    }
}

/// Plays it with others who ask at an even pace, so many times a minute.
fn play_even(configured: u32, limit: u64, foreign: f64) -> Played {
    Game { configured, limit, ..GAME }.play(|_| foreign / 60.0)
}

#[test]
fn alone_we_spend_all_of_the_budget() {
    for (configured, limit) in [(30, 30), (60, 100), (6, 6), (1000, 1000)] {
        let played = play_even(configured, limit, 0.0);
        assert!(played.rates.iter().all(|rate| *rate == configured), "{configured} of {limit}: {:?}", played.rates);
    }
}

#[test]
fn a_lower_limit_is_the_budget() {
    for limit in [40, 6, 3, 1] {
        let played = play_even(100, limit, 0.0);
        assert!(played.rates[60..].iter().all(|rate| u64::from(*rate) == limit), "{limit}: {:?}", played.rates);
    }
}

#[test]
fn others_who_spend_little_change_nothing() {
    let played = play_even(30, 100, 48.0);
    assert!(played.rates.iter().all(|rate| *rate == 30), "{:?}", played.rates);
}

#[test]
fn others_who_spend_much_are_left_their_part_and_what_they_give_up_is_ours_again() {
    // They spend 70 of 100 a minute for ten minutes.
    let game = Game { configured: 60, limit: 100, seconds: 1200, ..GAME };
    let Played { rates, refused, .. } = game.play(|second| if second < 600 { 70.0 / 60.0 } else { 0.0 });
    let mean = rates[120..600].iter().sum::<u32>() as f64 / 480.0;
    assert!((20.0..=30.0).contains(&mean), "{mean}");
    assert!(refused.len() <= 5, "{refused:?} of our requests were refused");
    assert!(rates[800..].iter().all(|rate| *rate == 60), "{rates:?}");
}

#[test]
fn what_others_leave_of_a_limit_is_spent_however_much_more_is_configured() {
    for configured in [30, 100, 1_000, 1_000_000] {
        for latency in [0, 200, 1500].map(Duration::from_millis) {
            let game = Game { configured, latency, ..GAME };
            for (pattern, played) in [
                ("even", game.play(|_| 10.0 / 60.0)),
                ("at once", game.play(|second| if second % 60 == 30 { 10.0 } else { 0.0 })),
            ] {
                let (found, refused) = (played.per_minute(), played.late_refusals());
                assert!((15.0..=20.0).contains(&found), "{configured}, {latency:?}, {pattern}: {found}");
                assert!(refused <= 3, "{configured}, {latency:?}, {pattern}: {refused} of our requests were refused");
                assert!(played.others_refused <= 5, "{configured}, {latency:?}, {pattern}: {}", played.others_refused);
            }
        }
    }
}

#[test]
fn of_a_small_limit_others_have_their_part_too() {
    let played = play_even(1000, 6, 2.0);
    let found = played.per_minute();
    assert!((2.0..=4.2).contains(&found), "{found}");
    assert!(played.late_refusals() <= 3 && played.others_refused <= 5, "{played:?}");
}

#[test]
fn when_nothing_is_left_there_is_still_a_request_a_minute() {
    let played = play_even(60, 100, 180.0);
    assert!(played.rates[120..].iter().all(|rate| (1..=20).contains(rate)), "{:?}", played.rates);
    let mut asked = [played.accepted, played.refused].concat();
    asked.sort();
    let longest = asked.windows(2).map(|pair| pair[1] - pair[0]).max();
    assert!(longest <= Some(S(61)) && asked.last() > Some(&S(1730)), "{asked:?}");
    assert!(asked.len() <= 30 * 10, "{} in half an hour", asked.len());
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
