//! Reads open entries again, wherever they are in the list: starting with the page that their rank suggests.
//!
//! There is no endpoint for a single entry. The number of newer known entries suggests its page, and what is on that
//! page shows whether to look before or after it. One page serves all open entries on it. Pure, like the walk.

use std::collections::{HashSet, VecDeque};

use super::cursor::PageRequest;
use super::cursor::{Cursor, page_of};
use super::walk::Progress;
use super::wire::LogPage;
use crate::delivery::{Attempt, EntryId, Timestamp};

/// Pages read for one entry in one round; if it is not found by then, the next round tries again.
const MAX_PAGES_PER_ENTRY: u32 = 12;
/// Pages read in one round: new entries must not wait for long.
const MAX_PAGES: u32 = 25;

/// An open entry to be read again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Its id.
    pub id: EntryId,
    /// Its `created_at`.
    pub created_at: Timestamp,
    /// How many newer entries there are, as far as is known.
    pub rank: usize,
}

/// One round of rechecks.
#[derive(Debug)]
pub struct Recheck {
    wanted: VecDeque<Wanted>,
    per_page: u32,
    /// The page to read for the first wanted entry.
    page: u32,
    looked_at: u32,
    /// Pages read in this round.
    requests: u32,
    /// The last page that ended before the first wanted entry, and the first one that began behind it.
    between: (u32, Option<u32>),
    /// How far to jump while only one of them is known.
    leap: u32,
    /// How much deeper entries were found than their rank said, because of entries that were added since or were never
    /// known.
    shift: i64,
    attempts: Vec<Attempt>,
    invalid: Vec<Box<str>>,
    missing: Vec<EntryId>,
}

/// What a round of rechecks has read.
#[derive(Debug)]
pub struct Rechecked {
    /// Every usable entry of the pages that were read.
    pub attempts: Vec<Attempt>,
    /// The keys of the others.
    pub invalid: Vec<Box<str>>,
    /// Entries that are not where they would have to be: the log has dropped them.
    pub missing: Vec<EntryId>,
    /// Entries that the round has not looked for.
    pub put_off: HashSet<EntryId>,
}

impl Recheck {
    /// A round for `wanted`, which must not be empty.
    pub fn new(mut wanted: Vec<Wanted>, per_page: u32) -> Self {
        wanted.sort_by_key(|entry| entry.rank);
        let mut recheck = Self {
            wanted: wanted.into(),
            per_page,
            page: 1,
            looked_at: 0,
            requests: 0,
            between: (0, None),
            leap: 1,
            shift: 0,
            attempts: Vec::new(),
            invalid: Vec::new(),
            missing: Vec::new(),
        };
        recheck.aim();
        recheck
    }

    /// The page to request now.
    pub fn request(&self) -> PageRequest {
        PageRequest { page: self.page, per_page: self.per_page }
    }

    /// Processes the page that was requested.
    pub fn absorb(&mut self, page: LogPage) -> Progress {
        if let Some(served) = page.pagination.per_page.and_then(|n| u32::try_from(n).ok()).filter(|n| *n > 0) {
            // Ranks become page numbers by the page size that the server really uses.
            self.per_page = served;
        }
        self.looked_at += 1;
        self.requests += 1;
        self.learn_shift(&page);
        let found: HashSet<&EntryId> = page.attempts.iter().map(|attempt| &attempt.id).collect();
        let is_first_found = self.wanted.front().is_some_and(|first| found.contains(&first.id));
        let whereabouts = self.wanted.front().map(|first| whereabouts(first, &page));
        self.wanted.retain(|entry| !found.contains(&entry.id));
        self.attempts.extend(page.attempts);
        self.invalid.extend(page.invalid.into_iter().map(|entry| entry.key));

        let progress = if is_first_found { self.next_wanted() } else { self.look_elsewhere(whereabouts) };
        if self.requests < MAX_PAGES { progress } else { Progress::Done }
    }

    fn look_elsewhere(&mut self, whereabouts: Option<Whereabouts>) -> Progress {
        match whereabouts {
            Some(Whereabouts::Before) => self.between.1 = Some(self.page),
            // A page after this one may have received the entry while this one was read: look at it again.
            Some(Whereabouts::Behind) => {
                self.between = (self.page, self.between.1.filter(|behind| *behind > self.page + 1));
            }
            Some(Whereabouts::Gone) | None => return self.give_up_first(),
        }
        if self.between.1 == Some(self.between.0 + 1) {
            return self.give_up_first();
        }
        if self.looked_at >= MAX_PAGES_PER_ENTRY {
            return self.skip_first();
        }
        self.page = match self.between {
            (before, Some(behind)) if before > 0 => before.midpoint(behind),
            (_, Some(behind)) => behind.saturating_sub(self.leap).max(1),
            (before, None) => before.saturating_add(self.leap),
        };
        self.leap *= 2;
        Progress::More
    }

    /// Gives up the first wanted entry: it is on no page, so the log has dropped it.
    fn give_up_first(&mut self) -> Progress {
        self.missing.extend(self.wanted.front().map(|entry| entry.id.clone()));
        self.skip_first()
    }

    /// Records that a page is too large to be read: smaller ones are requested. An entry that is too large by itself is
    /// skipped.
    pub fn absorb_too_large(&mut self) -> Progress {
        let mut cursor = Cursor::new(self.per_page);
        self.requests += 1;
        if !cursor.narrow() {
            return self.skip_first();
        }
        self.per_page = cursor.request().per_page;
        self.looked_at = 0;
        self.between = (0, None);
        self.leap = 1;
        self.aim();
        Progress::More
    }

    /// What was read.
    pub fn finish(self) -> Rechecked {
        let put_off = self.wanted.into_iter().map(|entry| entry.id).collect();
        Rechecked { attempts: self.attempts, invalid: self.invalid, missing: self.missing, put_off }
    }

    fn skip_first(&mut self) -> Progress {
        self.wanted.pop_front();
        self.next_wanted()
    }

    fn next_wanted(&mut self) -> Progress {
        self.looked_at = 0;
        self.between = (0, None);
        self.leap = 1;
        if self.wanted.is_empty() {
            return Progress::Done;
        }
        self.aim();
        Progress::More
    }

    fn aim(&mut self) {
        if let Some(first) = self.wanted.front() {
            let rank = (first.rank as u64).saturating_add_signed(self.shift);
            self.page = page_of(rank, self.per_page);
        }
    }

    /// Learns from an entry that was found how far the others have moved.
    fn learn_shift(&mut self, page: &LogPage) {
        let before = i64::from(self.page - 1) * i64::from(self.per_page);
        for (position, attempt) in (0_i64..).zip(&page.attempts) {
            if let Some(entry) = self.wanted.iter().find(|entry| entry.id == attempt.id) {
                self.shift = before + position - i64::try_from(entry.rank).unwrap_or(i64::MAX);
            }
        }
    }
}

/// Where an entry is that is not on a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whereabouts {
    Before,
    Behind,
    Gone,
}

fn whereabouts(wanted: &Wanted, page: &LogPage) -> Whereabouts {
    let (Some(newest), Some(oldest)) = (page.attempts.first(), page.attempts.last()) else {
        // After the end of the list.
        return Whereabouts::Before;
    };
    if wanted.created_at >= newest.created_at && wanted.created_at > oldest.created_at {
        Whereabouts::Before
    } else if wanted.created_at <= oldest.created_at {
        Whereabouts::Behind
    } else {
        Whereabouts::Gone
    }
}

#[cfg(test)]
mod tests;
