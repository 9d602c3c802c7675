//! Which spans are sent: of deliveries that succeeded at once a share, drawn by trace id, of all others everything.
//!
//! What is left out is parked: should an attempt of the same delivery not succeed later (after a retry by hand), its
//! span calls back those before it, and the trace is whole.

use super::ids::TraceId;
use crate::delivery::{DeliveryResult, Status};
use crate::spans::record::Fate;

/// Draws deliveries by their trace ids, so that all of a delivery, and every daemon, comes to the same.
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

    /// What becomes of the span of an attempt with that outcome. `is_retry`: an attempt before it did not succeed;
    /// `is_opening`: there was none before it.
    pub fn attempt(self, trace_id: TraceId, status: Status, is_retry: bool, is_opening: bool) -> Fate {
        match status {
            _ if is_retry => Fate::Queue,
            Status::Success => self.draw(trace_id),
            _ if is_opening => Fate::Queue,
            _ => Fate::QueueWithParked,
        }
    }

    /// What becomes of the root span of a delivery that ended so.
    pub fn root(self, trace_id: TraceId, result: DeliveryResult, is_retry: bool) -> Fate {
        match result {
            _ if is_retry => Fate::Queue,
            DeliveryResult::Success => self.draw(trace_id),
            DeliveryResult::Failed | DeliveryResult::Abandoned => Fate::QueueWithParked,
        }
    }

    /// Takes the last eight bytes of the id for a number between 0 and 1, as the SDKs' samplers by trace id do.
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
        let fates = |ratio| [FIRST, LAST].map(|id| Sampler::new(ratio).attempt(id, Status::Success, false, true));
        assert_eq!(fates(1.0), [Fate::Queue, Fate::Queue]);
        assert_eq!(fates(0.5), [Fate::Queue, Fate::Park]);
        assert_eq!(fates(0.0), [Fate::Park, Fate::Park]);
        let roots = |ratio| [FIRST, LAST].map(|id| Sampler::new(ratio).root(id, DeliveryResult::Success, false));
        assert_eq!([roots(1.0), roots(0.5), roots(0.0)], [fates(1.0), fates(0.5), fates(0.0)]);
        let mut middle = FIRST;
        middle[8] = 0x80;
        assert_eq!(Sampler::new(0.5).attempt(middle, Status::Success, false, true), Fate::Park);
    }

    #[test]
    fn all_else_is_sent() {
        let none = Sampler::new(0.0);
        for status in [Status::Failed, Status::Retrying, Status::Unknown] {
            assert_eq!(none.attempt(LAST, status, false, true), Fate::Queue, "{status:?}");
            assert_eq!(none.attempt(LAST, status, false, false), Fate::QueueWithParked, "{status:?} after a success");
            assert_eq!(none.attempt(LAST, status, true, false), Fate::Queue, "{status:?} after a failure");
        }
        assert_eq!(none.attempt(LAST, Status::Success, true, false), Fate::Queue);
        assert_eq!(none.root(LAST, DeliveryResult::Success, true), Fate::Queue);
        for result in [DeliveryResult::Failed, DeliveryResult::Abandoned] {
            assert_eq!(none.root(LAST, result, false), Fate::QueueWithParked);
        }
    }
}
