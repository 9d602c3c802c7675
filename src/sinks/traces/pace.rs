//! How fast spans are sent: how many at once, how long to wait after a failure, and which changes to log.
//!
//! Pure: a verdict and a random number go in, the next step comes out. Called by [`super::exporter`] alone.

use std::time::Duration;

use crate::sinks::otlp::verdict::Verdict;
use talkover_core::schedule::backoff::Backoff;
use talkover_core::schedule::pause::LONGEST_RETRY_AFTER;

/// The most spans in one request. OpenTelemetry's own batch processors have the same limit.
pub(super) const MAX_SPANS: usize = 512;
/// After this many batches in a row that were accepted completely, rejections are over. For a receiver that rejects
/// spans now and then, one line is logged, not two for each rejection.
const GOOD_IN_A_ROW: u32 = 20;

/// What to do after a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NextSend {
    /// `Some` if the spans leave the queue: how many of them were rejected.
    pub(super) leaving: Option<u64>,
    /// How long to wait before the next request.
    pub(super) pause: Duration,
    /// What to log.
    pub(super) notice: Option<Notice>,
}

/// A change to log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Notice {
    /// Spans are accepted again.
    Well,
    /// Spans cannot be sent, and why.
    Failing(String),
    /// Spans are rejected: how many of how many, and why.
    Rejecting(u64, u64, String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Condition {
    Well,
    Failing,
    Rejecting,
}

/// The receiver's recent behaviour.
#[derive(Debug)]
pub(super) struct Pace {
    backoff: Backoff,
    max_spans: usize,
    condition: Condition,
    good_in_a_row: u32,
}

impl Default for Pace {
    fn default() -> Self {
        Self { backoff: Backoff::default(), max_spans: MAX_SPANS, condition: Condition::Well, good_in_a_row: 0 }
    }
}

impl Pace {
    /// How many spans the next request may contain.
    pub(super) fn max_spans(&self) -> usize {
        self.max_spans
    }

    /// Processes the verdict on a request with `sent` spans. `jitter` is random, from 0 to 1.
    pub(super) fn judge(&mut self, verdict: Verdict, sent: usize, jitter: f64) -> NextSend {
        match verdict {
            Verdict::Accepted { rejected, words } => self.accepted(rejected, words, sent as u64),
            Verdict::TooLarge { .. } if sent > 1 => {
                self.max_spans = sent.div_ceil(2);
                NextSend { leaving: None, pause: Duration::ZERO, notice: None }
            }
            Verdict::TooLarge { reason, is_final: true } | Verdict::Refused(reason) => {
                self.refused(reason, sent as u64, jitter)
            }
            Verdict::TooLarge { reason, is_final: false } | Verdict::Unreachable(reason) => {
                self.failed(reason, None, jitter)
            }
            Verdict::Later { reason, after } => self.failed(reason, after, jitter),
        }
    }

    fn accepted(&mut self, rejected: u64, words: String, sent: u64) -> NextSend {
        self.backoff.succeed();
        self.max_spans = MAX_SPANS.min(self.max_spans + self.max_spans / 8 + 1);
        let rejected = rejected.min(sent);
        let notice = if rejected > 0 || !words.is_empty() {
            self.good_in_a_row = 0;
            self.turn(Condition::Rejecting, Notice::Rejecting(rejected, sent, words))
        } else {
            self.good_in_a_row = self.good_in_a_row.saturating_add(1);
            let is_over = self.condition == Condition::Failing || self.good_in_a_row >= GOOD_IN_A_ROW;
            is_over.then(|| self.turn(Condition::Well, Notice::Well)).flatten()
        };
        NextSend { leaving: Some(rejected), pause: Duration::ZERO, notice }
    }

    /// The pause keeps a wrong key or path from losing a long queue within seconds: there is time to correct it.
    fn refused(&mut self, reason: String, sent: u64, jitter: f64) -> NextSend {
        self.good_in_a_row = 0;
        let notice = self.turn(Condition::Rejecting, Notice::Rejecting(sent, sent, reason));
        NextSend { leaving: Some(sent), pause: self.backoff.fail(jitter), notice }
    }

    fn failed(&mut self, reason: String, after: Option<Duration>, jitter: f64) -> NextSend {
        self.good_in_a_row = 0;
        let pause = self.backoff.fail(jitter).max(after.unwrap_or_default().min(LONGEST_RETRY_AFTER));
        NextSend { leaving: None, pause, notice: self.turn(Condition::Failing, Notice::Failing(reason)) }
    }

    fn turn(&mut self, condition: Condition, notice: Notice) -> Option<Notice> {
        (std::mem::replace(&mut self.condition, condition) != condition).then_some(notice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> Verdict {
        Verdict::Accepted { rejected: 0, words: String::new() }
    }

    fn partial(rejected: u64) -> Verdict {
        Verdict::Accepted { rejected, words: "old".to_owned() }
    }

    fn later(after: Option<u64>) -> Verdict {
        Verdict::Later { reason: "busy".to_owned(), after: after.map(Duration::from_secs) }
    }

    fn refused() -> Verdict {
        Verdict::Refused("bad".to_owned())
    }

    fn too_large(is_final: bool) -> Verdict {
        Verdict::TooLarge { reason: "large".to_owned(), is_final }
    }

    fn next(leaving: Option<u64>, pause: u64, notice: Option<Notice>) -> NextSend {
        NextSend { leaving, pause: Duration::from_secs(pause), notice }
    }

    #[test]
    fn what_may_be_sent_again_stays_and_waits_ever_longer_but_never_less_than_it_was_told() {
        let mut pace = Pace::default();
        assert_eq!(pace.judge(later(None), 5, 1.0), next(None, 1, Some(Notice::Failing("busy".to_owned()))));
        assert_eq!(pace.judge(Verdict::Unreachable("gone".to_owned()), 5, 1.0), next(None, 2, None), "logged once");
        assert_eq!(pace.judge(later(Some(3)), 5, 1.0), next(None, 4, None), "the own pause is longer");
        assert_eq!(pace.judge(later(Some(600)), 5, 1.0), next(None, 600, None));
        assert_eq!(pace.judge(later(Some(u64::MAX)), 5, 1.0), next(None, 3_600, None), "but not for ever");
        assert_eq!(pace.judge(good(), 5, 1.0), next(Some(0), 0, Some(Notice::Well)));
        assert_eq!(pace.judge(good(), 5, 1.0), next(Some(0), 0, None));
        assert_eq!(pace.judge(later(None), 5, 0.0).pause, Duration::from_millis(500));
        assert_eq!(pace.max_spans(), MAX_SPANS);
    }

    #[test]
    fn what_is_refused_for_good_leaves_and_the_rest_follows_after_a_pause() {
        let mut pace = Pace::default();
        let notice = Notice::Rejecting(5, 5, "bad".to_owned());
        assert_eq!(pace.judge(refused(), 5, 1.0), next(Some(5), 1, Some(notice)));
        assert_eq!(pace.judge(refused(), 7, 1.0), next(Some(7), 2, None));
        assert_eq!(pace.judge(good(), 5, 1.0), next(Some(0), 0, None), "one good answer is not the end of refusals");
        assert_eq!(pace.judge(refused(), 5, 1.0), next(Some(5), 1, None));
        let notices = (0..20).map(|_| pace.judge(good(), 5, 1.0).notice).collect::<Vec<_>>();
        assert_eq!(notices[..19], vec![None; 19]);
        assert_eq!(notices[19], Some(Notice::Well));
    }

    #[test]
    fn a_partial_success_leaves_whole_and_is_never_sent_again() {
        let mut pace = Pace::default();
        let notice = Notice::Rejecting(2, 5, "old".to_owned());
        assert_eq!(pace.judge(partial(2), 5, 1.0), next(Some(2), 0, Some(notice)));
        assert_eq!(pace.judge(partial(9), 5, 1.0), next(Some(5), 0, None), "no more than were sent");
        assert_eq!(pace.judge(partial(0), 5, 1.0), next(Some(0), 0, None), "a warning");
    }

    #[test]
    fn what_is_too_large_is_halved_before_it_is_given_up() {
        let mut pace = Pace::default();
        let mut sizes = Vec::new();
        let mut sent = 100;
        while sent > 1 {
            assert_eq!(pace.judge(too_large(true), sent, 1.0), next(None, 0, None));
            sent = pace.max_spans();
            sizes.push(sent);
        }
        assert_eq!(sizes, [50, 25, 13, 7, 4, 2, 1]);
        let notice = Notice::Rejecting(1, 1, "large".to_owned());
        assert_eq!(pace.judge(too_large(true), 1, 1.0), next(Some(1), 1, Some(notice)));
        // It grows again, by and by.
        let sizes: Vec<usize> = (0..50).map(|_| (pace.judge(good(), 1, 1.0), pace.max_spans()).1).collect();
        assert_eq!(sizes[..10], [2, 3, 4, 5, 6, 7, 8, 10, 12, 14]);
        assert_eq!(sizes[49], MAX_SPANS);
        // One that is not refused for good stays.
        assert_eq!(pace.judge(too_large(false), 2, 1.0), next(None, 0, None));
        assert_eq!(pace.judge(too_large(false), 1, 1.0).leaving, None);
    }
}
