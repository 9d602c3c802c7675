//! Distinguishes an unreachable environment from webhooks that fail by themselves. Time is passed in, as the time since
//! any fixed moment.
//!
//! A webhook whose requests fail backs off by itself and says nothing about the others. An environment is *out* when
//! none of its webhooks is answered: the last request of each went unanswered, or several in a row that had been
//! answered before. While it is out, one webhook at a time is probed, at growing intervals; a single answer ends the
//! outage. Called by the environment's loop.

use std::time::Duration;

use super::backoff::Backoff;

/// This many webhooks in a row, each answered at its previous request, make an outage more likely than separate faults.
const UNEXPECTED_IN_A_ROW: u32 = 3;

/// Whether a webhook's requests are answered, successfully or with an error of the API.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reach {
    /// No request has ended yet.
    #[default]
    Unknown,
    /// The last request was answered, at that time.
    Answered(Duration),
    /// The last request was not answered: a time-out, a broken connection, or a 5xx.
    Unanswered {
        /// When one was last answered; `None` if never.
        last_answer: Option<Duration>,
        /// Unanswered requests in a row, at least 1.
        requests: u32,
    },
}

impl Reach {
    /// The time of the last answer; `None` if there was none.
    pub fn last_answer(self) -> Option<Duration> {
        match self {
            Self::Unknown => None,
            Self::Answered(at) => Some(at),
            Self::Unanswered { last_answer, .. } => last_answer,
        }
    }

    /// The reach after a request that was not answered.
    #[must_use]
    pub fn unanswered(self) -> Self {
        let requests = if let Self::Unanswered { requests, .. } = self { requests.saturating_add(1) } else { 1 };
        Self::Unanswered { last_answer: self.last_answer(), requests }
    }

    /// Whether a request may be answered, as far as is known.
    pub fn is_hopeful(self) -> bool {
        !matches!(self, Self::Unanswered { .. })
    }

    /// The order in which webhooks are probed, smallest first: in turns, those that were answered last before the
    /// others.
    pub fn probe_order(self) -> impl Ord + use<> {
        let requests = if let Self::Unanswered { requests, .. } = self { requests } else { 0 };
        (requests, std::cmp::Reverse(self.last_answer()))
    }
}

/// An unanswered request.
#[derive(Clone, Copy, Debug)]
pub struct Unanswered {
    /// When it began.
    pub asked_at: Duration,
    /// What was known of the webhook before.
    pub before: Reach,
    /// Whether any other webhook is [hopeful](Reach::is_hopeful).
    pub has_hopeful_neighbours: bool,
}

/// What an unanswered request means for the environment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutageVerdict {
    /// The webhook fails by itself.
    OfTarget,
    /// Nothing is answered: make no request for that long, then probe one webhook.
    Out(Duration),
}

/// The outages of one environment.
#[derive(Debug, Default)]
pub struct Outage {
    /// When the current outage began; `None` if there is none.
    began: Option<Duration>,
    /// Webhooks in a row that had been answered before.
    unexpected: u32,
    backoff: Backoff,
}

impl Outage {
    /// Whether there is an outage.
    pub fn is_on(&self) -> bool {
        self.began.is_some()
    }

    /// Records an answer, and returns how long the outage that it ends has lasted, if it ends one.
    pub fn answered(&mut self, now: Duration) -> Option<Duration> {
        let began = std::mem::take(self).began;
        began.map(|began| now.saturating_sub(began))
    }

    /// Records an unanswered request at `now`. `jitter`, from 0 to 1, chooses between half and all of a pause.
    pub fn unanswered(&mut self, request: Unanswered, now: Duration, jitter: f64) -> OutageVerdict {
        self.unexpected += u32::from(matches!(request.before, Reach::Answered(_)));
        if self.began.is_none() && request.has_hopeful_neighbours && self.unexpected < UNEXPECTED_IN_A_ROW {
            return OutageVerdict::OfTarget;
        }
        let began = *self.began.get_or_insert(now);
        // Requests that were under way when the outage began are part of it: they do not prolong the pause.
        if request.asked_at < began && self.backoff.failures() > 0 {
            return OutageVerdict::OfTarget;
        }
        OutageVerdict::Out(self.backoff.fail(jitter))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: fn(u64) -> Duration = Duration::from_secs;

    fn fails(outage: &mut Outage, at: u64, before: Reach, has_hopeful_neighbours: bool) -> OutageVerdict {
        outage.unanswered(Unanswered { asked_at: S(at), before, has_hopeful_neighbours }, S(at), 1.0)
    }

    #[test]
    fn webhooks_that_fail_for_themselves_are_no_outage_however_many() {
        let mut outage = Outage::default();
        for at in 0..50 {
            assert_eq!(fails(&mut outage, at, Reach::Unknown, true), OutageVerdict::OfTarget);
        }
        for at in 50..500 {
            assert_eq!(fails(&mut outage, at, Reach::Unknown.unanswered(), true), OutageVerdict::OfTarget);
        }
        assert!(!outage.is_on());
    }

    #[test]
    fn nobody_left_is_an_outage_and_so_are_three_in_a_row_that_had_answered() {
        let mut outage = Outage::default();
        assert_eq!(fails(&mut outage, 1, Reach::Unknown, false), OutageVerdict::Out(S(1)));
        assert_eq!(outage.answered(S(8)), Some(S(7)));

        let good = Reach::Answered(S(1));
        assert_eq!(fails(&mut outage, 10, good, true), OutageVerdict::OfTarget);
        assert_eq!(fails(&mut outage, 11, good, true), OutageVerdict::OfTarget);
        assert_eq!(outage.answered(S(12)), None);
        for (at, expected) in
            [(13, OutageVerdict::OfTarget), (14, OutageVerdict::OfTarget), (15, OutageVerdict::Out(S(1)))]
        {
            assert_eq!(fails(&mut outage, at, good, true), expected);
        }
        assert!(outage.is_on());
    }

    #[test]
    fn pauses_grow_with_each_probe_and_not_with_requests_under_way_at_the_same_time() {
        let mut outage = Outage::default();
        let mut at = 10;
        assert_eq!(fails(&mut outage, at, Reach::Unknown, false), OutageVerdict::Out(S(1)));
        let under_way = Unanswered { asked_at: S(9), before: Reach::Unknown, has_hopeful_neighbours: false };
        assert_eq!(outage.unanswered(under_way, S(12), 1.0), OutageVerdict::OfTarget);
        for pause in [2, 4, 8, 16, 32, 60, 60] {
            at += 100;
            assert_eq!(fails(&mut outage, at, Reach::Unknown.unanswered(), false), OutageVerdict::Out(S(pause)));
        }
        assert_eq!(outage.answered(S(at)), Some(S(at - 10)));
        assert_eq!(fails(&mut outage, at + 1, Reach::Unknown, false), OutageVerdict::Out(S(1)));
    }

    #[test]
    fn probes_take_turns_and_begin_with_who_answered_last() {
        let mut reaches =
            [Reach::Unknown.unanswered(), Reach::Answered(S(5)).unanswered(), Reach::Answered(S(9)).unanswered()];
        let mut order = Vec::new();
        for _ in 0..6 {
            let next = (0..3).min_by_key(|place| reaches[*place].probe_order()).unwrap();
            order.push(next);
            reaches[next] = reaches[next].unanswered();
        }
        assert_eq!(order, [2, 1, 0, 2, 1, 0]);
    }
}
