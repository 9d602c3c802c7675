//! When a target is swept, and how far back: what sweeps and other walks have found so far decides.

use std::time::Duration;

use talkover_core::delivery::Timestamp;
use talkover_core::ledger::state::Marks;
use talkover_core::ledger::watermark::Windows;

/// The timing of a target's sweeps.
#[derive(Debug, Default)]
pub(super) struct Sweeps {
    /// When the next one is due, in time since the start; `None` until the first walk after the start, which is one.
    next: Option<Duration>,
    /// Whether the one that is due then was brought forward.
    is_brought_forward: bool,
    /// The newest entry of the last sweep's first page: what came later may have been late where that sweep was already
    /// past. The ledger's own mark may be ahead of it where polls came in between.
    pub(super) mark: Option<Timestamp>,
    /// The length of the list after the last walk, and how much longer it was than after the one before.
    total: Option<u64>,
    growth: Option<u64>,
    /// Entries that rechecks have found since then.
    found_by_rechecks: u64,
}

impl Sweeps {
    /// Makes the next walk a sweep, like the first one after a start.
    pub(super) fn start_over(&mut self) {
        (self.next, self.mark) = (None, None);
    }

    /// When the next sweep is due, in time since the start; `None` until the first walk after the start, which is one.
    pub(super) fn next(&self) -> Option<Duration> {
        self.next
    }

    /// Where a sweep ends; `None` if there is no watermark yet.
    pub(super) fn until(&self, marks: &Marks, windows: &Windows) -> Option<Timestamp> {
        let mark = marks.swept.unwrap_or(marks.watermark?);
        Some(windows.sweep_until(self.mark.map_or(mark, |own| own.min(mark))))
    }

    /// Records that a walk found the list to have `total` entries. [`Sweeps::poll`] compares that with what it brought.
    pub(super) fn see_total(&mut self, total: Option<u64>) {
        self.growth = self.total.zip(total).map(|(before, after)| after.saturating_sub(before));
        self.total = total;
    }

    /// Records that a round of rechecks has found `new` entries.
    pub(super) fn find_by_rechecks(&mut self, new: u64) {
        self.found_by_rechecks += new;
    }

    /// Records that a head walk, complete at `now` since the start, has found `new` entries. Where the list has grown by
    /// more than was found, something has turned up further down: the next sweep looks for it at once, but only one
    /// sweep between two regular ones does.
    pub(super) fn poll(&mut self, new: u64, now: Duration) {
        let found = new + std::mem::take(&mut self.found_by_rechecks);
        if self.growth.take().is_some_and(|growth| growth > found) && !self.is_brought_forward {
            self.is_brought_forward = true;
            self.next = self.next.map(|due| due.min(now));
        }
    }

    /// Records that a sweep is complete, on whose first page `newest` was the newest entry, and when the `next` is due.
    pub(super) fn complete(&mut self, newest: Option<Timestamp>, next: Duration) {
        self.mark = newest.or(self.mark);
        self.next = Some(next);
        self.is_brought_forward = false;
    }
}

/// Where the first walk after a start ends: a sweep, and further back, as polls may have moved the mark while the last
/// sweep before it was under way.
pub(super) fn first_until(marks: &Marks, watermark: Timestamp, windows: &Windows) -> Timestamp {
    let until = windows.sweep_until(marks.swept.unwrap_or(watermark));
    let further = until.minus(windows.sweep_interval);
    // What is forgotten need not be read again.
    marks.horizon.map_or(further, |horizon| further.max(horizon)).min(until)
}
