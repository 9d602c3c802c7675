//! When a walk goes back: deletions have pulled entries that it has not read to pages that it has.
//!
//! A list that has become shorter by some entries has pulled at most as many across the border before the page that
//! shows it. They may stand on any page of the second that the first of them has, as its order is not promised: it is
//! read from where it begins. Pure, like the walk that uses it.

use super::cursor::PageRequest;
use super::wire::LogPage;
use crate::delivery::Timestamp;

/// How many pages, for each that a walk has come to, are read again: a length that is told wrongly must not hold it up
/// for ever.
const REPEATS_PER_PAGE: u64 = 5;

/// How a walk has been sent back.
#[derive(Debug, Default)]
pub(super) struct Backtrack {
    /// The highest page that the walk has come to, and over how many in all it has been sent back.
    highest: u32,
    repeats: u64,
    state: BacktrackState,
}

#[derive(Clone, Copy, Debug, Default)]
enum BacktrackState {
    /// Where it was sent is behind it.
    #[default]
    Over,
    /// To the next page, on which what was pulled begins at this place.
    Sent(usize),
    /// To where this second begins.
    Within(Timestamp),
}

impl Backtrack {
    /// The page to which the walk must go back from one that was read. What may have been pulled stood behind the
    /// border before page `begin`: before this page, or before the run that it belongs to. `growth` is by how much the
    /// list has grown since the page before, where that is known.
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

    /// The page to which so many entries may have been pulled from behind the border before page `begin`.
    fn before(&mut self, begin: u32, removed: u64, per_page: u64) -> u32 {
        let pages = removed.div_ceil(per_page);
        let place = pages.saturating_mul(per_page) - removed;
        self.state = BacktrackState::Sent(usize::try_from(place).unwrap_or(0));
        begin.saturating_sub(u32::try_from(pages).unwrap_or(u32::MAX)).max(1)
    }

    /// Whether the second that is looked for may begin on the page before this one.
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
