//! The rules of time: how far back is read, remembered and followed. Only the server's clock matters.

use std::time::Duration;

use crate::delivery::Timestamp;

/// The log shows whole seconds: the second of the watermark, and the one before it, may still be growing while they are
/// read.
const TIE_MARGIN: Duration = Duration::from_secs(2);
/// How far ahead of the server's `Date`, which is cut to whole seconds, an entry may be dated before `Date` is used in
/// its place.
const DATE_MARGIN: Duration = Duration::from_secs(1);

/// The settings of `poll` that decide what is read and remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Windows {
    /// How far back the first contact reads.
    pub initial_lookback: Duration,
    /// How late an entry may turn up.
    pub lookback: Duration,
    /// How often that window is read again.
    pub sweep_interval: Duration,
    /// How long an entry that may still change is followed.
    pub settle_after: Duration,
}

impl Windows {
    /// Entries older than this are ignored for good when the target is met for the first time.
    pub fn history_cutoff(&self, now: Timestamp) -> Timestamp {
        now.minus(self.initial_lookback)
    }

    /// A head walk ends at the first entry older than this.
    pub fn head_until(&self, watermark: Timestamp) -> Timestamp {
        watermark.minus(TIE_MARGIN)
    }

    /// A sweep ends at the first entry older than this; `mark` is the watermark at the previous sweep: an entry that
    /// turned up late right after that sweep is in the window of this one.
    pub fn sweep_until(&self, mark: Timestamp) -> Timestamp {
        mark.minus(self.lookback).minus(TIE_MARGIN)
    }

    /// Every id not older than this is remembered; an unknown entry that is older cannot be told from a forgotten one.
    /// `mark` is the watermark at the previous sweep: what the next one reads must not be forgotten, however long it
    /// takes. An attempt can join one that is `settle_after` older, and may only be seen when the next sweep finds it.
    pub fn horizon(&self, now: Timestamp, watermark: Timestamp, mark: Timestamp) -> Timestamp {
        let latest_find = |time: Timestamp| time.minus(self.lookback).minus(self.sweep_interval);
        latest_find(now.minus(self.settle_after)).min(latest_find(watermark)).min(self.sweep_until(mark))
    }

    /// Whether an entry of that age is no longer followed.
    pub fn is_settled(&self, at: Timestamp, now: Timestamp) -> bool {
        now.since(at) >= self.settle_after
    }
}

/// The time of an entry for gauges, ages and the watermark: never far ahead of the server's clock.
pub fn effective_time(created_at: Timestamp, now: Timestamp) -> Timestamp {
    if created_at > now.plus(DATE_MARGIN) { now } else { created_at }
}
