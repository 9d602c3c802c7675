//! Finds a page number and size that cover a whole run of equal times that a page border has cut.
//!
//! An answer is a list in order at one moment. If it shows an entry that is newer than a run and one that is older, it
//! shows all of the run, whatever the order within it is, and whatever its unusable entries are. Pages of another size
//! have their borders elsewhere, so such a page can be asked for, unless the run is about as long as a page. Pure; the
//! walk asks for it before it reads the run again page by page.

use std::ops::Range;

use super::cursor::PageRequest;
use super::wire::LogPage;
use crate::delivery::Timestamp;

/// How many pages are asked for before a run is read page by page: the list may have moved on too far.
const TRIES: u32 = 3;
/// How many requests may fail before that.
const MAX_FAILURES: u32 = 3;

/// A run that may not have been seen in full, as the page shows it on which it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CutRun {
    /// Its second.
    pub(super) newest: Timestamp,
    /// The oldest second of which entries may be on both sides of the border.
    pub(super) oldest: Timestamp,
    /// How many entries of it were seen.
    pub(super) len: u64,
    /// How many entries of the page precede those that are older than `oldest`.
    pub(super) end: u64,
}

/// The search for such a page.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cover {
    newest: Timestamp,
    oldest: Timestamp,
    /// How many entries the run has, about.
    len: u64,
    request: PageRequest,
    /// By how many entries the list grows from one request to the next.
    growth: u64,
    full: u32,
    tries_left: u32,
    failures: u32,
}

/// What a page means for such a run.
#[must_use]
#[derive(Clone, Copy, Debug)]
pub(super) enum Covered {
    /// It shows all of it.
    Whole,
    /// It does not, but another page may.
    Retry(Cover),
    /// The run must be read page by page.
    GivenUp,
}

impl Cover {
    /// The search for a page of at most `full` entries that shows all of a run. `offset` entries precede the page on
    /// which it ends. `None` if there is none.
    pub(super) fn of(run: CutRun, offset: u64, growth: u64, full: u32) -> Option<Self> {
        let end = offset + run.end;
        let places = end.saturating_sub(run.len)..end;
        let request = best_page(&places, growth, full)?;
        let CutRun { newest, oldest, len, .. } = run;
        Some(Self { newest, oldest, len, request, growth, full, tries_left: TRIES, failures: 0 })
    }

    pub(super) fn request(&self) -> PageRequest {
        self.request
    }

    /// Judges the page that was requested.
    pub(super) fn see(self, page: &LogPage) -> Covered {
        let is_begun =
            self.request.page == 1 || page.attempts.first().is_some_and(|entry| entry.created_at > self.newest);
        let is_ended = page.attempts.last().is_some_and(|entry| entry.created_at < self.oldest);
        if is_begun && is_ended {
            return Covered::Whole;
        }
        let offset = u64::from(self.request.page - 1) * u64::from(self.request.per_page);
        let first = offset + place_of(page, |time| time <= self.newest);
        let end = offset + place_of(page, |time| time < self.oldest);
        match (is_begun, is_ended) {
            (true, false) => self.retry(first..end.max(first + self.len)),
            (false, true) => self.retry(first.min(end.saturating_sub(self.len))..end),
            _ => Covered::GivenUp,
        }
    }

    /// What to do after the request has failed.
    pub(super) fn fail(self) -> Covered {
        match self.failures + 1 {
            MAX_FAILURES => Covered::GivenUp,
            failures => Covered::Retry(Self { failures, ..self }),
        }
    }

    fn retry(self, places: Range<u64>) -> Covered {
        match (best_page(&places, self.growth, self.full), self.tries_left.saturating_sub(1)) {
            (None, _) | (_, 0) => Covered::GivenUp,
            (Some(request), tries_left) => Covered::Retry(Self { request, tries_left, ..self }),
        }
    }

    /// Whether an entry may be of the run.
    pub(super) fn is_of_run(&self, time: Timestamp) -> bool {
        (self.oldest..=self.newest).contains(&time)
    }
}

/// The page of at most `full` entries, in a list that will have grown by about `growth`, that shows these places with
/// the most room on both sides. `None` if no page shows them and an entry on each side.
fn best_page(places: &Range<u64>, growth: u64, full: u32) -> Option<PageRequest> {
    let (begin, end) = (places.start + growth, places.end + growth);
    let room = |size: &u32| {
        let per_page = u64::from(*size);
        let before = begin / per_page * per_page;
        // Nothing is before the first page.
        let above = if before == 0 { u64::MAX } else { begin - before };
        above.min((before + per_page).saturating_sub(end))
    };
    let (room, per_page) = (1..=full).map(|size| (room(&size), size)).max()?;
    let page = u32::try_from(begin / u64::from(per_page)).ok()?.checked_add(1)?;
    (room > 0).then_some(PageRequest { page, per_page })
}

/// How many entries of a page precede its first one whose time is as wanted.
pub(super) fn place_of(page: &LogPage, is_wanted: impl Fn(Timestamp) -> bool) -> u64 {
    let usable = page.attempts.iter().take_while(|entry| !is_wanted(entry.created_at)).count();
    let unusable = page.invalid.iter().filter(|entry| entry.place <= usable).count();
    (usable + unusable) as u64
}

#[cfg(test)]
mod tests;
