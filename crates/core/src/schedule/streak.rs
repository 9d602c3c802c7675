//! Which of many failures in a row are logged: the third, and from then on fewer and fewer. Time is passed in, as the
//! time since any fixed moment.
//!
//! One or two failures before a success are not logged, only counted in metrics. An outage is logged once, even if its
//! reason changes, then repeated at growing intervals, and its end is logged if its beginning was. Called by the
//! environment's loop, which logs.

use std::time::Duration;

/// So many failures in a row are no coincidence.
const TELL_FROM: u32 = 3;
/// Unless they are requests of one moment.
const TELL_AFTER: Duration = Duration::from_secs(1);
/// The first reminder comes after this long; the distance then doubles.
const FIRST_REMINDER: Duration = Duration::from_secs(5 * 60);
/// The longest distance between two reminders.
const LONGEST_DISTANCE: Duration = Duration::from_secs(6 * 3600);

/// Failures in a row.
#[derive(Clone, Debug, Default)]
pub struct FailureStreak {
    /// When the first of them happened; `None` if there is none.
    began: Option<Duration>,
    attempts: u32,
    /// How long it has to last for the next reminder; `None` while it is not told.
    reminder: Option<Duration>,
}

/// How long something has failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreakLength {
    /// Since the first failure.
    pub lasted: Duration,
    /// Failures.
    pub attempts: u32,
}

/// What is worth telling of a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreakNews {
    /// It fails.
    Began(StreakLength),
    /// It still fails.
    GoesOn(StreakLength),
}

impl FailureStreak {
    /// Records a failure at `now`, and returns what is worth telling of it.
    pub fn fail(&mut self, now: Duration) -> Option<StreakNews> {
        self.count(now);
        let began = self.began.unwrap_or(now);
        let length = StreakLength { lasted: now.saturating_sub(began), attempts: self.attempts };
        match self.reminder {
            None if self.attempts < TELL_FROM || length.lasted < TELL_AFTER => None,
            None => {
                self.reminder = Some(FIRST_REMINDER.max(length.lasted * 2));
                Some(StreakNews::Began(length))
            }
            Some(reminder) if length.lasted < reminder => None,
            Some(_) => {
                self.reminder = Some(length.lasted + length.lasted.min(LONGEST_DISTANCE));
                Some(StreakNews::GoesOn(length))
            }
        }
    }

    /// Records a failure at `now` of one of many that share an API, which last answered any of them at `answered`. If
    /// that was before this one began to fail, the API may have failed for all of them, which others tell: nothing of
    /// it is worth telling yet.
    pub fn fail_among_others(&mut self, now: Duration, answered: Option<Duration>) -> Option<StreakNews> {
        if answered > self.began.or(Some(now)) {
            return self.fail(now);
        }
        self.count(now);
        None
    }

    fn count(&mut self, now: Duration) {
        self.began.get_or_insert(now);
        self.attempts = self.attempts.saturating_add(1);
    }

    /// Records a success at `now`, and returns how long the streak was that it ends, if that was told.
    pub fn succeed(&mut self, now: Duration) -> Option<StreakLength> {
        let Self { began, attempts, reminder } = std::mem::take(self);
        reminder?;
        Some(StreakLength { lasted: now.saturating_sub(began?), attempts })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: fn(u64) -> Duration = Duration::from_secs;

    #[test]
    fn a_failure_or_two_are_told_to_nobody() {
        let mut streak = FailureStreak::default();
        for round in 0..10 {
            assert_eq!(streak.fail(S(round * 100)), None);
            assert_eq!(streak.fail(S(round * 100 + 1)), None);
            assert_eq!(streak.succeed(S(round * 100 + 2)), None);
        }
        // Nor those of one moment, however many.
        for _ in 0..4 {
            assert_eq!(streak.fail(S(2_000)), None);
        }
        assert_eq!(streak.succeed(S(2_000)), None);
    }

    #[test]
    fn a_failure_is_told_of_one_if_others_were_answered_since_it_began() {
        let mut streak = FailureStreak::default();
        for at in 100..110 {
            assert_eq!(streak.fail_among_others(S(at), Some(S(99))), None, "perhaps nobody is answered");
        }
        let began = StreakNews::Began(StreakLength { lasted: S(10), attempts: 11 });
        assert_eq!(streak.fail_among_others(S(110), Some(S(109))), Some(began));
        assert!(streak.succeed(S(111)).is_some());
        // An outage that ends is no news of one of those that it has met.
        for at in 200..210 {
            assert_eq!(streak.fail_among_others(S(at), None), None);
        }
        assert_eq!(streak.succeed(S(210)), None);
    }

    #[test]
    fn an_outage_is_told_once_reminded_of_less_and_less_and_its_end_is_told() {
        let mut streak = FailureStreak::default();
        let mut told = Vec::new();
        for at in (0..=24 * 3600).step_by(30) {
            match streak.fail(S(1_000 + at)) {
                Some(StreakNews::Began(StreakLength { lasted, attempts })) => {
                    told.push((0, lasted.as_secs(), attempts))
                }
                Some(StreakNews::GoesOn(StreakLength { lasted, attempts })) => {
                    told.push((lasted.as_secs() / 60, lasted.as_secs(), attempts));
                }
                None => {}
            }
        }
        let minutes: Vec<u64> = told.iter().map(|(minutes, ..)| *minutes).collect();
        assert_eq!(minutes, [0, 5, 10, 20, 40, 80, 160, 320, 640, 1000, 1360]);
        assert_eq!((told[0], told[3]), ((0, 60, 3), (20, 1200, 41)));
        let ended = streak.succeed(S(1_000 + 24 * 3600 + 30)).expect("told");
        assert_eq!((ended.lasted, ended.attempts), (S(24 * 3600 + 30), 24 * 120 + 1));
        assert_eq!(streak.succeed(S(200_000)), None, "told once");
    }
}
