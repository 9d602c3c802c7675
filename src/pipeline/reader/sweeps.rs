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

    /// Records that a head walk, complete at `now` since the start, has found `new` entries. Where the list has grown
    /// by more than was found, something has turned up further down: the next sweep looks for it at once, but only one
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

#[cfg(test)]
mod tests {
    use talkover_core::testing::{at, policy};

    use super::*;

    const fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_list_that_grows_by_more_than_was_found_brings_one_sweep_forward() {
        let mut sweeps = Sweeps::default();
        sweeps.see_total(Some(10));
        sweeps.poll(0, secs(10));
        assert_eq!(sweeps.next(), None, "the first walk is a sweep");
        sweeps.complete(None, secs(300));
        let mut poll = |total, found_by_rechecks, found, now| {
            sweeps.see_total(Some(total));
            sweeps.find_by_rechecks(found_by_rechecks);
            sweeps.poll(found, secs(now));
            sweeps.next()
        };
        assert_eq!(poll(15, 2, 3, 20), Some(secs(300)), "all that is new was found");
        assert_eq!(poll(20, 0, 4, 30), Some(secs(30)));
        assert_eq!(poll(30, 0, 0, 40), Some(secs(30)), "a second one would follow at once");
        sweeps.complete(None, secs(330));
        sweeps.see_total(Some(40));
        sweeps.poll(9, secs(50));
        assert_eq!(sweeps.next(), Some(secs(50)), "after a sweep the next one may be brought forward again");
    }

    #[test]
    fn a_sweep_ends_behind_the_earlier_of_its_own_mark_and_the_ledgers() {
        let windows = policy().windows;
        let mut sweeps = Sweeps::default();
        assert_eq!(sweeps.until(&Marks::default(), &windows), None);
        let marks = Marks { watermark: Some(at(9_000)), ..Marks::default() };
        assert_eq!(sweeps.until(&marks, &windows), Some(windows.sweep_until(at(9_000))));
        let marks = Marks { swept: Some(at(8_000)), ..marks };
        for (newest, mark) in [(None, 8_000), (Some(7_000), 7_000), (None, 7_000), (Some(8_500), 8_000)] {
            sweeps.complete(newest.map(at), secs(1));
            assert_eq!(sweeps.until(&marks, &windows), Some(windows.sweep_until(at(mark))), "{newest:?}");
        }
    }

    #[test]
    fn the_first_sweep_reaches_an_interval_further_but_not_behind_what_is_remembered() {
        let windows = policy().windows;
        let until = windows.sweep_until(at(8_000));
        let further = until.minus(windows.sweep_interval);
        let between = until.minus(windows.sweep_interval / 2);
        for (horizon, expected) in [
            (None, further),
            (Some(between), between),
            (Some(until.plus(secs(1))), until),
            (Some(further.minus(secs(1))), further),
        ] {
            let marks = Marks { swept: Some(at(8_000)), horizon, ..Marks::default() };
            assert_eq!(first_until(&marks, at(9_000), &windows), expected, "{horizon:?}");
        }
        assert_eq!(first_until(&Marks::default(), at(8_000), &windows), further, "without a sweep before");
    }
}
