//! Which spans are sent: those of a share of the deliveries that succeeded at once, drawn by trace id, and those of all
//! other deliveries.
//!
//! Spans that are not sent are parked: if a later attempt of the same delivery does not succeed (after a manual retry),
//! its span is sent after the parked ones, and the trace is complete.

use super::ids::TraceId;
use crate::delivery::{AttemptStatus, DeliveryResult};
use crate::spans::record::Fate;

/// What came before an attempt in its delivery, as far as is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Before {
    /// Nothing: it opened the delivery.
    Nothing,
    /// Attempts that all succeeded.
    Successes,
    /// At least one that did not.
    Failure,
}

/// Draws deliveries by their trace ids, so that every span of a delivery, and every daemon, gets the same result.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampler {
    success_ratio: f64,
}

impl Sampler {
    /// Sends everything.
    pub const ALL: Self = Self { success_ratio: 1.0 };

    /// Sends this share, from 0 to 1, of the deliveries that succeeded at once.
    pub fn new(success_ratio: f64) -> Self {
        Self { success_ratio }
    }

    /// What happens to the span of an attempt with that outcome.
    pub fn attempt(self, trace_id: TraceId, status: AttemptStatus, before: Before) -> Fate {
        match (before, status) {
            (Before::Failure, _) => Fate::Queue,
            (_, AttemptStatus::Success) => self.draw(trace_id),
            (Before::Nothing, _) => Fate::Queue,
            (Before::Successes, _) => Fate::QueueWithParked,
        }
    }

    /// What happens to the root span of a delivery that ended like this, with an attempt after those `before` it.
    pub fn root(self, trace_id: TraceId, result: DeliveryResult, before: Before) -> Fate {
        match (before, result) {
            (Before::Failure, _) => Fate::Queue,
            (_, DeliveryResult::Success) => self.draw(trace_id),
            (_, DeliveryResult::Failed | DeliveryResult::Abandoned) => Fate::QueueWithParked,
        }
    }

    /// Reads the last eight bytes of the id as a number between 0 and 1, as the SDKs' samplers by trace id do.
    fn draw(self, trace_id: TraceId) -> Fate {
        let [.., a, b, c, d, e, f, g, h] = trace_id;
        let place = u64::from_be_bytes([a, b, c, d, e, f, g, h]) as f64 / 2_f64.powi(64);
        if place < self.success_ratio || self.success_ratio >= 1.0 { Fate::Queue } else { Fate::Park }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: TraceId = [0; 16];
    const LAST: TraceId = [0xff; 16];

    #[test]
    fn what_succeeded_at_once_is_drawn_by_its_trace_id() {
        let fates =
            |ratio| [FIRST, LAST].map(|id| Sampler::new(ratio).attempt(id, AttemptStatus::Success, Before::Nothing));
        assert_eq!(fates(1.0), [Fate::Queue, Fate::Queue]);
        assert_eq!(fates(0.5), [Fate::Queue, Fate::Park]);
        assert_eq!(fates(0.0), [Fate::Park, Fate::Park]);
        let roots =
            |ratio| [FIRST, LAST].map(|id| Sampler::new(ratio).root(id, DeliveryResult::Success, Before::Successes));
        assert_eq!([roots(1.0), roots(0.5), roots(0.0)], [fates(1.0), fates(0.5), fates(0.0)]);
        let mut middle = FIRST;
        middle[8] = 0x80;
        assert_eq!(Sampler::new(0.5).attempt(middle, AttemptStatus::Success, Before::Nothing), Fate::Park);
    }

    #[test]
    fn all_else_is_sent() {
        let none = Sampler::new(0.0);
        for status in [AttemptStatus::Failed, AttemptStatus::Retrying, AttemptStatus::Unknown] {
            assert_eq!(none.attempt(LAST, status, Before::Nothing), Fate::Queue, "{status:?}");
            assert_eq!(
                none.attempt(LAST, status, Before::Successes),
                Fate::QueueWithParked,
                "{status:?} after a success"
            );
            assert_eq!(none.attempt(LAST, status, Before::Failure), Fate::Queue, "{status:?} after a failure");
        }
        assert_eq!(none.attempt(LAST, AttemptStatus::Success, Before::Failure), Fate::Queue);
        assert_eq!(none.root(LAST, DeliveryResult::Success, Before::Failure), Fate::Queue);
        for result in [DeliveryResult::Failed, DeliveryResult::Abandoned] {
            assert_eq!(none.root(LAST, result, Before::Successes), Fate::QueueWithParked);
        }
    }
}
