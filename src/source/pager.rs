//! Walks a list that moves while it is read: newest first, by page numbers, from page 1 towards older entries.
//!
//! New entries push others to later pages, so that a walk meets some twice and misses none. Deletions pull entries to earlier
//! pages: where the list has become shorter, the pages before are read again. Pure: it says which page to ask for, and is given
//! what came. A walk that was interrupted goes on where it stopped.

use std::collections::HashSet;

use thiserror::Error;

use super::wire::LogPage;
use crate::delivery::{Attempt, EntryId, Timestamp};

/// After this many pages in a row that repeat the page before them, the server does not turn its pages.
const MAX_REPEATED_PAGES: u32 = 20;

/// The page to ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageRequest {
    /// Its number, from 1.
    pub page: u32,
    /// The entries wanted on it.
    pub per_page: u32,
}

/// What a walk needs next.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Another page.
    More,
    /// Nothing: all there is was read.
    Done,
}

/// Why a walk cannot be finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum WalkError {
    /// The server gives the same entries under different page numbers.
    #[error("the last {MAX_REPEATED_PAGES} pages were all the same")]
    Repeating,
}

/// A walk from the newest entry to the first one older than a given time.
#[derive(Debug)]
pub struct Walk {
    until: Timestamp,
    per_page: u32,
    page: u32,
    /// The highest page from which a shorter list has sent the walk back; each does so once, so that the walk ends.
    returned_from: u32,
    total: Option<u64>,
    repeated: u32,
    last_ids: HashSet<EntryId>,
    attempts: Vec<Attempt>,
    invalid: Vec<Box<str>>,
    has_reached_end: bool,
}

impl Walk {
    /// A walk that ends behind the first entry older than `until`.
    pub fn new(until: Timestamp, per_page: u32) -> Self {
        Self {
            until,
            per_page,
            page: 1,
            returned_from: 0,
            total: None,
            repeated: 0,
            last_ids: HashSet::new(),
            attempts: Vec::new(),
            invalid: Vec::new(),
            has_reached_end: false,
        }
    }

    /// Moves the end of the walk, where it becomes known only with the first answer.
    pub fn set_until(&mut self, until: Timestamp) {
        self.until = until;
    }

    /// The page that is wanted now; the same one until it is given to [`Walk::absorb`].
    pub fn request(&self) -> PageRequest {
        PageRequest { page: self.page, per_page: self.per_page }
    }

    /// Takes in the page that was asked for.
    ///
    /// # Errors
    /// Where the server's pages do not lead on.
    pub fn absorb(&mut self, page: LogPage) -> Result<Progress, WalkError> {
        let back = self.pages_to_repeat(&page);
        let is_end = self.is_end(&page);
        let is_repeated = self.is_repeated(&page);
        let has_reached = page.attempts.last().is_some_and(|oldest| oldest.created_at < self.until);
        self.total = page.pagination.total.or(self.total);
        self.invalid.extend(page.invalid.into_iter().map(|entry| entry.key));
        self.attempts.extend(page.attempts);

        if let Some(back) = back {
            self.returned_from = self.page;
            self.page = self.page.saturating_sub(back).max(1);
            self.last_ids.clear();
            return Ok(Progress::More);
        }
        if has_reached || is_end {
            self.has_reached_end = !has_reached;
            return Ok(Progress::Done);
        }
        self.repeated = if is_repeated { self.repeated + 1 } else { 0 };
        if self.repeated >= MAX_REPEATED_PAGES {
            return Err(WalkError::Repeating);
        }
        self.page += 1;
        Ok(Progress::More)
    }

    /// Whether the list has ended before anything older than asked for was met.
    pub fn has_reached_end(&self) -> bool {
        self.has_reached_end
    }

    /// The usable entries in the order in which they were read, and the keys of the others.
    pub fn into_entries(self) -> (Vec<Attempt>, Vec<Box<str>>) {
        (self.attempts, self.invalid)
    }

    /// How many pages back entries may have been pulled by deletions since the last answer.
    fn pages_to_repeat(&self, page: &LogPage) -> Option<u32> {
        let removed = self.total?.checked_sub(page.pagination.total?)?;
        if removed == 0 || self.page <= 1 || self.page <= self.returned_from {
            return None;
        }
        let per_page = page.pagination.per_page.unwrap_or(u64::from(self.per_page)).max(1);
        Some(u32::try_from(removed.div_ceil(per_page)).unwrap_or(u32::MAX))
    }

    /// Whether the list ends with this page. `total` and `last_page` may be missing or wrong: a page that is not full is the
    /// last one unless they promise more, and an empty one is behind the end whatever they say.
    fn is_end(&self, page: &LogPage) -> bool {
        let per_page = page.pagination.per_page.unwrap_or(u64::from(self.per_page)).max(1);
        let is_full = page.len() as u64 >= per_page;
        let promised = page.pagination.last_page.or(page.pagination.total.map(|total| total.div_ceil(per_page)));
        let promises_more = promised.is_some_and(|last| last > u64::from(self.page));
        page.is_empty() || (!is_full && !promises_more)
    }

    fn is_repeated(&mut self, page: &LogPage) -> bool {
        let ids: HashSet<EntryId> = page.attempts.iter().map(|attempt| attempt.id.clone()).collect();
        let is_repeated = !ids.is_empty() && ids == self.last_ids;
        self.last_ids = ids;
        is_repeated
    }
}

#[cfg(test)]
mod tests;
