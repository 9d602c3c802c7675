//! When the next push is due, how large its requests may be, and what to log.
//!
//! Pure: the end of a push, the time and a random number go in. Called by [`super::pusher`] alone.

use std::time::Duration;

use talkover_core::schedule::backoff::Backoff;
use talkover_core::schedule::pause::LONGEST_RETRY_AFTER;
use talkover_core::schedule::streak::{FailureStreak, StreakLength, StreakNews};

/// The most data points in one request: the default of the collector's batch processor.
const MAX_POINTS: usize = 8192;

/// How a push ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum PushOutcome {
    /// All requests were answered.
    Answered {
        /// How many data points were pushed.
        points: usize,
        /// How many of them the receiver has refused for good.
        rejected: u64,
        /// Its message about that, or a warning.
        words: String,
    },
    /// A request failed that may succeed later.
    Failed {
        /// Why.
        reason: String,
        /// How long the receiver wants to be left alone, if it says so.
        after: Option<Duration>,
    },
}

/// What to do after a push.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct AfterPush {
    /// How long to wait before the next one.
    pub(super) pause: Duration,
    /// What to log.
    pub(super) notice: Option<PushNotice>,
}

/// A change to log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum PushNotice {
    /// Pushes fail, or are refused: why.
    Failing(String, StreakLength),
    /// They still do.
    StillFailing(String, StreakLength),
    /// They are taken again.
    Well(StreakLength),
}

/// The receiver's recent behaviour.
#[derive(Debug)]
pub(super) struct PushPace {
    interval: Duration,
    max_points: usize,
    /// Whether the size grows within a push: a single data point was to blame, which is passed.
    is_growing: bool,
    backoff: Backoff,
    streak: FailureStreak,
}

impl PushPace {
    pub(super) fn new(interval: Duration) -> Self {
        Self {
            interval,
            max_points: MAX_POINTS,
            is_growing: false,
            backoff: Backoff::default(),
            streak: FailureStreak::default(),
        }
    }

    /// The most data points in the next request.
    pub(super) fn max_points(&self) -> usize {
        self.max_points
    }

    /// Processes that a request with `points` data points was too large; returns whether smaller ones may help. If it
    /// had one only, that one is to blame, and once others are taken, requests grow again.
    pub(super) fn shrink(&mut self, points: usize) -> bool {
        let may_help = points > 1;
        self.max_points = if may_help { points.div_ceil(2) } else { 1 };
        self.is_growing = !may_help;
        may_help
    }

    /// Processes that a request was taken; returns whether the next one may be larger.
    pub(super) fn grow(&mut self) -> bool {
        self.is_growing &= self.max_points < MAX_POINTS;
        if self.is_growing {
            self.max_points = MAX_POINTS.min(self.max_points * 2);
        }
        self.is_growing
    }

    /// Processes the end of a push at `now`. `jitter` is random, from 0 to 1.
    pub(super) fn judge(&mut self, outcome: &PushOutcome, now: Duration, jitter: f64) -> AfterPush {
        if matches!(outcome, PushOutcome::Answered { .. }) {
            self.backoff.succeed();
            self.max_points = MAX_POINTS.min(self.max_points + self.max_points / 8 + 1);
        }
        match outcome {
            PushOutcome::Answered { rejected: 0, .. } => {
                AfterPush { pause: self.interval, notice: self.streak.succeed(now).map(PushNotice::Well) }
            }
            PushOutcome::Answered { points, rejected, words } => {
                let reason = format!("the receiver refused {rejected} of {points} data points: {words}");
                AfterPush { pause: self.interval, notice: self.failing(reason, now) }
            }
            PushOutcome::Failed { reason, after } => {
                // What was not pushed now is part of the next push: there is no hurry beyond the interval.
                let pause = self.backoff.fail(jitter).min(self.interval);
                let pause = pause.max(after.unwrap_or_default().min(LONGEST_RETRY_AFTER));
                AfterPush { pause, notice: self.failing(reason.clone(), now) }
            }
        }
    }

    fn failing(&mut self, reason: String, now: Duration) -> Option<PushNotice> {
        self.streak.fail(now).map(|news| match news {
            StreakNews::Began(length) => PushNotice::Failing(reason, length),
            StreakNews::GoesOn(length) => PushNotice::StillFailing(reason, length),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: fn(u64) -> Duration = Duration::from_secs;

    fn answered(rejected: u64) -> PushOutcome {
        PushOutcome::Answered { points: 9, rejected, words: "old".to_owned() }
    }

    fn failed(after: Option<u64>) -> PushOutcome {
        PushOutcome::Failed { reason: "busy".to_owned(), after: after.map(S) }
    }

    #[test]
    fn a_failed_push_is_repeated_sooner_than_usual_unless_the_receiver_wants_to_be_left_alone() {
        let mut pace = PushPace::new(S(60));
        let mut pause = |outcome: &PushOutcome| pace.judge(outcome, S(0), 1.0).pause;
        assert_eq!(pause(&answered(0)), S(60));
        let pauses: Vec<u64> = (0..8).map(|_| pause(&failed(None)).as_secs()).collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(pause(&failed(Some(600))), S(600));
        assert_eq!(pause(&failed(Some(1_000_000))), S(3600));
        assert_eq!(pause(&answered(2)), S(60), "what is refused for good is not repeated");
        assert_eq!(pause(&failed(None)), S(1));
        assert_eq!(PushPace::new(S(5)).judge(&failed(Some(2)), S(0), 1.0).pause, S(2));
    }

    #[test]
    fn failures_are_told_at_growing_distances_and_their_end_once() {
        let mut pace = PushPace::new(S(60));
        let mut told = Vec::new();
        for minute in 0..60 {
            let outcome = if minute % 2 == 0 { failed(None) } else { answered(1) };
            told.extend(pace.judge(&outcome, S(minute * 60), 1.0).notice.map(|notice| (minute, notice)));
        }
        let minutes: Vec<u64> = told.iter().map(|(minute, _)| *minute).collect();
        assert_eq!(minutes, [2, 5, 10, 20, 40]);
        let length = StreakLength { lasted: S(120), attempts: 3 };
        assert_eq!(told[0].1, PushNotice::Failing("busy".to_owned(), length));
        assert!(
            matches!(&told[1].1, PushNotice::StillFailing(reason, _) if reason.contains("refused 1 of 9 data points: old"))
        );
        let notice = |pace: &mut PushPace| pace.judge(&answered(0), S(3600), 1.0).notice;
        assert_eq!(notice(&mut pace), Some(PushNotice::Well(StreakLength { lasted: S(3600), attempts: 60 })));
        assert_eq!(notice(&mut pace), None);
    }

    #[test]
    fn requests_shrink_and_grow_again() {
        let mut pace = PushPace::new(S(60));
        assert!(pace.shrink(1001));
        assert_eq!(pace.max_points(), 501);
        assert!(pace.shrink(2));
        assert_eq!(pace.max_points(), 1);
        for refused in [0, 3] {
            let mut pace = PushPace { max_points: 1, ..PushPace::new(S(60)) };
            let mut grown = || (pace.judge(&answered(refused), S(0), 1.0), pace.max_points()).1;
            let sizes: Vec<usize> = (0..80).map(|_| grown()).collect();
            assert_eq!((sizes[0], sizes[79]), (2, MAX_POINTS), "{refused} of nine are refused for good");
        }
        assert!(!pace.grow(), "the receiver takes no larger ones");
        assert!(!pace.shrink(1), "a single data point that is too large stays so");
        assert!(pace.grow() && pace.grow());
        assert_eq!(pace.max_points(), 4);
        assert!(pace.shrink(4) && !pace.grow());
        assert_eq!(pace.max_points(), 2, "the limit is between them");
        pace.shrink(1);
        let requests = (0..100).take_while(|_| pace.grow()).count();
        assert_eq!((requests, pace.max_points()), (13, MAX_POINTS), "as large as any again");
    }
}
