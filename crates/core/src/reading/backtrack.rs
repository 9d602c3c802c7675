//! When a walk goes back: deletions have pulled entries that it has not read to pages that it has read.
//!
//! If the list has become shorter by some entries, at most as many were pulled across the border before the page that
//! shows it. They may be on any page of the second to which the first of them belongs, as the order within a second is
//! not promised: the walk reads that second again from its beginning. Pure, like the walk that uses it.

use super::cursor::PageRequest;
use super::wire::LogPage;
use crate::delivery::Timestamp;

/// How many pages are read again for each page that the walk has reached: a wrong `total` must not hold up the walk
/// forever.
const REPEATS_PER_PAGE: u64 = 5;

/// How a walk was sent back.
#[derive(Debug, Default)]
pub(super) struct Backtrack {
    /// The highest page that the walk has reached, and how many pages it was sent back in all.
    highest: u32,
    repeats: u64,
    state: BacktrackState,
}

#[derive(Clone, Copy, Debug, Default)]
enum BacktrackState {
    /// The walk has passed the page to which it was sent.
    #[default]
    Over,
    /// To the next page, on which what was pulled begins at this place.
    Sent(usize),
    /// To the beginning of this second.
    Within(Timestamp),
}

impl Backtrack {
    /// Returns the page to which the walk must go back from a page that was read. What may have been pulled was after
    /// the border before page `begin`: before this page, or before the run that it belongs to. `growth` is how much the
    /// list has grown since the page before, if known.
    pub(super) fn see(&mut self, at: PageRequest, begin: u32, page: &LogPage, growth: Option<i64>) -> Option<u32> {
        if at.page <= 1 {
            self.state = BacktrackState::Over;
            return None;
        }
        let removed = growth.filter(|growth| *growth < 0).map(i64::unsigned_abs);
        self.highest = self.highest.max(at.page);
        let is_worn_out = self.repeats >= REPEATS_PER_PAGE * u64::from(self.highest);
        let to = match removed.filter(|_| !is_worn_out) {
            Some(removed) => self.before(begin, removed, at.per_page.into()),
            None if self.is_within_second(page) => at.page - 1,
            None => return None,
        };
        self.repeats += u64::from(at.page.saturating_sub(to));
        Some(to)
    }

    /// The page to which this many entries may have been pulled from after the border before page `begin`.
    fn before(&mut self, begin: u32, removed: u64, per_page: u64) -> u32 {
        let pages = removed.div_ceil(per_page);
        let place = pages.saturating_mul(per_page) - removed;
        self.state = BacktrackState::Sent(usize::try_from(place).unwrap_or(0));
        begin.saturating_sub(u32::try_from(pages).unwrap_or(u32::MAX)).max(1)
    }

    /// Whether the second that the walk looks for may begin on the page before this one.
    fn is_within_second(&mut self, page: &LogPage) -> bool {
        let time = |place: usize| page.attempts.get(place).map(|attempt| attempt.created_at);
        let second = match self.state {
            BacktrackState::Over => return false,
            BacktrackState::Sent(place) => time(place.saturating_sub(page.invalid.len())),
            BacktrackState::Within(second) => Some(second),
        };
        let is_within = time(0).is_none_or(|newest| second.is_some_and(|second| newest <= second));
        self.state = match second {
            _ if !is_within => BacktrackState::Over,
            Some(second) => BacktrackState::Within(second),
            None => BacktrackState::Sent(0),
        };
        is_within
    }
}

#[cfg(test)]
mod tests;
