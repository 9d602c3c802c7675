//! Joins the pages of a list that may change while it is read.
//!
//! Entries are identified by their ids: an entry that is pushed to a later page is read twice and counts once. An entry
//! that is pulled to an earlier page, because another was deleted meanwhile, is missed; [`Completeness`] says whether
//! that may have happened.
//!
//! A page of owners that keeps failing is read in smaller parts, down to the entry that is the cause, which is skipped.
//! A list that does not end is cut off ([`Bounds`]). In both cases the list is [`Completeness::Partial`]: what it shows
//! is used, and nothing is taken to be gone because it is missing.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::delivery::Timestamp;
use crate::reading::wire::lists::ListPage;

/// What it means that an entry is missing from a list that was read to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Completeness {
    /// The list came in one answer, so it shows a single moment.
    OneMoment,
    /// As many entries were read as the API says there are, and that number did not change meanwhile. An entry may
    /// still be missing if one was deleted and another one created.
    Counted,
    /// Something moved, or the numbers do not add up.
    Moved,
    /// Part of the list was not read: nothing follows from what is missing.
    Partial,
}

/// This many failures in a row of a page, or of a single entry, are no coincidence.
const FAILURES: u32 = 3;
/// This many failing single entries in a row are not to blame themselves: everything deeper is refused, or nothing is
/// answered at all.
const MAX_SKIPPED: u32 = 5;

/// How much of a list is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// The number of answers.
    pub pages: u32,
    /// The number of different entries.
    pub entries: usize,
}

impl Bounds {
    /// Of agents, or of campaigns: many times what could be read of them, as the webhooks of each cost a request of
    /// their own.
    pub const OWNERS: Self = Self { pages: 500, entries: 20_000 };
    /// Of the webhooks of one owner: the reference knows no pages of that list at all.
    pub const WEBHOOKS: Self = Self { pages: 200, entries: 10_000 };
}

/// Why a list was read only in part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shortfall {
    /// It is longer than the bounds, or never ends.
    Endless,
    /// Some of its pages cannot be read.
    Unreadable,
}

impl fmt::Display for Shortfall {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Endless => "it does not end",
            Self::Unreadable => "some of its pages cannot be read",
        })
    }
}

/// How the previous reading of a list went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LastReading {
    /// All pages could be read, or there was none: a failure is repeated before it is believed.
    Whole,
    /// Some page could not be read: another failure is no surprise.
    Unreadable,
}

/// What follows from a page that failed.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListFailure {
    /// Request the same page again, later.
    Retry,
    /// Request another page, now.
    Onward,
    /// Nothing can be read: start the list over, later.
    GivenUp,
}

/// From this sum of weights on, a missing entry is taken to be gone.
pub const GONE: u8 = 4;

impl Completeness {
    /// The weight of one list without an entry: an entry is gone after one list in a single answer, two counted lists
    /// in a row, or four others. The last rule keeps wrong numbers of the API from holding entries forever.
    pub const fn weight(self) -> u8 {
        match self {
            Self::OneMoment => GONE,
            Self::Counted => GONE / 2,
            Self::Moved => 1,
            Self::Partial => 0,
        }
    }
}

/// A list that is being read, page by page.
#[derive(Clone, Debug)]
pub struct Listing<T> {
    bounds: Bounds,
    /// What was read so far.
    entries: BTreeMap<Arc<str>, T>,
    unusable: u64,
    total: Option<u64>,
    /// The entries to request per page; `None` if requests cannot say.
    wanted: Option<u32>,
    /// The entries on a full page and on the next page, as far as is known.
    full: Option<u32>,
    per_page: Option<u32>,
    /// The page to read next, from 1.
    page: u32,
    /// How many places of the list were read, from its top.
    reached: u32,
    /// Pages that were answered.
    read: u32,
    has_moved: bool,
    begun_at: Option<Timestamp>,
    /// Whether pages are larger than requested: then a page cannot be read in parts.
    is_oversized: bool,
    /// Failures in a row of the page to read next.
    failures: u32,
    /// Places that were skipped, in all and in a row.
    skipped: u32,
    skipped_in_a_row: u32,
    /// Whether the first page is requested only to see whether anything is answered.
    is_probing: bool,
}

/// A list that was read to its end, or as far as its bounds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompleteList<T> {
    /// Its entries.
    pub entries: BTreeMap<Arc<str>, T>,
    /// What it means that an entry is missing.
    pub certainty: Completeness,
    /// The server's `Date` of its first answer.
    pub begun_at: Timestamp,
    /// Why it was read only in part, if it was.
    pub shortfall: Option<Shortfall>,
}

impl<T> CompleteList<T> {
    /// Whether it holds, as far as can be known, everything that existed when its reading began.
    pub fn is_whole(&self) -> bool {
        !matches!(self.certainty, Completeness::Moved | Completeness::Partial)
    }
}

impl<T> Listing<T> {
    /// A list that has not been read yet; requests ask for `per_page` entries per page, if they can.
    pub fn new(bounds: Bounds, per_page: Option<u32>) -> Self {
        Self {
            bounds,
            entries: BTreeMap::new(),
            unusable: 0,
            total: None,
            wanted: per_page,
            full: per_page,
            per_page,
            page: 1,
            reached: 0,
            read: 0,
            has_moved: false,
            begun_at: None,
            is_oversized: false,
            failures: 0,
            skipped: 0,
            skipped_in_a_row: 0,
            is_probing: false,
        }
    }

    /// The page to read next, from 1, and the entries to request.
    pub fn next_page(&self) -> (u32, Option<u32>) {
        if self.is_probing { (1, self.full) } else { (self.page, self.per_page) }
    }

    /// Whether a failing page is being read in parts.
    pub fn is_looked_into(&self) -> bool {
        self.per_page < self.full
    }

    /// Records that some time has passed since the last page.
    pub fn interrupt(&mut self) {
        self.has_moved |= self.read > 0;
    }

    /// Records that the next page could not be read; `last` says how the previous reading of the list went.
    pub fn fail(&mut self, last: LastReading) -> ListFailure {
        if self.is_probing {
            *self = Self::new(self.bounds, self.wanted);
            return ListFailure::GivenUp;
        }
        self.failures += 1;
        let is_part = self.is_looked_into() && self.per_page != Some(1);
        if self.failures < FAILURES && last == LastReading::Whole && !is_part {
            return ListFailure::Retry;
        }
        self.failures = 0;
        if let Some(per_page) = self.per_page
            && let Some(part) = part_of(per_page).filter(|_| !self.is_oversized)
        {
            self.page = (self.page - 1) * (per_page / part) + 1;
            self.per_page = Some(part);
            return ListFailure::Onward;
        }
        self.skipped += 1;
        self.skipped_in_a_row += 1;
        self.is_probing = self.skipped_in_a_row >= MAX_SKIPPED;
        self.advance();
        ListFailure::Onward
    }

    /// Adds the next page, answered at `date`; returns the list if no more of it is read.
    pub fn absorb(&mut self, page: ListPage<T>, date: Timestamp) -> Option<CompleteList<T>> {
        let begun_at = *self.begun_at.get_or_insert(date);
        if std::mem::take(&mut self.is_probing) {
            // The first page is answered, and nothing from some place on.
            return Some(self.complete(Completeness::Partial, begun_at, Some(Shortfall::Unreadable)));
        }
        self.read += 1;
        (self.failures, self.skipped_in_a_row) = (0, 0);
        let total = page.pagination.total;
        self.has_moved |= self.read > 1 && (total.is_none() || total != self.total);
        self.total = total;
        let is_last = self.is_last(&page);
        let is_part = self.is_looked_into();
        self.note_size(page.pagination.per_page);
        let end = self.page.saturating_mul(self.per_page.unwrap_or(1));
        let is_behind = end <= self.reached;
        self.reached = self.reached.max(end);

        let known = self.entries.len();
        self.unusable += page.invalid.len() as u64;
        let is_room = self.bounds.entries.saturating_sub(known);
        self.entries.extend(page.entries.into_iter().take(is_room));
        // A server that returns the same page for every number would be requested forever. A part may repeat what was
        // pushed on, and a part that turned out smaller than requested is further up.
        let is_new = self.entries.len() > known || is_part || is_behind;
        let is_cut = !is_last && (self.read >= self.bounds.pages || self.entries.len() >= self.bounds.entries);
        if !is_last && is_new && !is_cut {
            self.advance();
            return None;
        }
        let is_whole = total.is_none_or(|total| self.entries.len() as u64 + self.unusable >= total);
        let shortfall =
            if is_cut { Some(Shortfall::Endless) } else { (self.skipped > 0).then_some(Shortfall::Unreadable) };
        let certainty = match (shortfall, self.has_moved || !is_last || !is_whole, self.read) {
            (Some(_), _, _) => Completeness::Partial,
            (None, true, _) => Completeness::Moved,
            (None, false, 1) => Completeness::OneMoment,
            (None, false, _) => Completeness::Counted,
        };
        Some(self.complete(certainty, begun_at, shortfall))
    }

    fn complete(
        &mut self,
        certainty: Completeness,
        begun_at: Timestamp,
        shortfall: Option<Shortfall>,
    ) -> CompleteList<T> {
        let entries = std::mem::take(&mut self.entries);
        *self = Self::new(self.bounds, self.wanted);
        CompleteList { entries, certainty, begun_at, shortfall }
    }

    /// Records the real size of pages, which may be smaller than requested.
    fn note_size(&mut self, served: Option<u64>) {
        let (Some(served), Some(per_page)) = (served.and_then(|size| u32::try_from(size).ok()), self.per_page) else {
            return;
        };
        self.is_oversized |= served > per_page;
        if (1..per_page).contains(&served) {
            self.per_page = Some(served);
            self.full = self.full.map(|full| full.min(served));
        }
    }

    /// Moves on after the next page, to the largest page that begins there.
    fn advance(&mut self) {
        let (Some(per_page), Some(full)) = (self.per_page, self.full) else {
            self.page = self.page.saturating_add(1);
            return;
        };
        let place = self.page.saturating_mul(per_page);
        let mut sizes = std::iter::successors(Some(full), |size| part_of(*size));
        let size = sizes.find(|size| place.is_multiple_of(*size)).unwrap_or(1);
        let size = if self.is_oversized { per_page } else { size };
        self.per_page = Some(size);
        self.page = place / size + 1;
    }

    /// Whether no page follows. The answer's own numbers count, not those requested.
    fn is_last(&self, page: &ListPage<T>) -> bool {
        let (at, count) = (u64::from(self.page), (page.entries.len() + page.invalid.len()) as u64);
        let numbers = page.pagination;
        if count == 0 {
            return true;
        }
        let passed = self.entries.len() as u64 + self.unusable + u64::from(self.skipped);
        match (numbers.last_page, numbers.per_page, numbers.total) {
            (Some(last), _, _) => at >= last,
            (None, Some(per_page), Some(total)) => at.saturating_mul(per_page) >= total,
            (None, Some(per_page), None) => count < per_page,
            (None, None, Some(total)) => passed.saturating_add(count) >= total,
            // Without numbers the list has no pages.
            (None, None, None) => true,
        }
    }
}

/// The size of the parts in which a page of this size is read, a divisor of it; `None` if it holds a single entry.
fn part_of(per_page: u32) -> Option<u32> {
    (2..=per_page).find(|divisor| per_page.is_multiple_of(*divisor)).map(|divisor| per_page / divisor)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reading::wire::{InvalidEntry, Pagination};

    fn page(ids: &[u32], total: Option<u64>, last_page: Option<u64>) -> ListPage<()> {
        let entries = ids.iter().map(|id| (id.to_string().into(), ())).collect();
        let pagination = Pagination { per_page: total.map(|_| 2), total, last_page };
        ListPage { entries, invalid: Vec::new(), pagination }
    }

    /// Reads these pages, of which only the last may end the list: the ids, and how certain it is.
    fn read(pages: &[ListPage<()>]) -> (Vec<String>, Completeness) {
        let mut listing = Listing::new(Bounds::WEBHOOKS, None);
        let (last, before) = pages.split_last().unwrap();
        for (number, page) in before.iter().enumerate() {
            assert_eq!(listing.next_page(), (number as u32 + 1, None));
            assert_eq!(listing.absorb(page.clone(), Timestamp::from_seconds(number as i64)), None);
        }
        let complete = listing.absorb(last.clone(), Timestamp::from_seconds(9)).unwrap();
        let begun_at = if before.is_empty() { 9 } else { 0 };
        assert_eq!((complete.begun_at, listing.next_page()), (Timestamp::from_seconds(begun_at), (1, None)));
        (complete.entries.keys().map(ToString::to_string).collect(), complete.certainty)
    }

    #[test]
    fn pages_are_read_to_the_end_that_their_numbers_tell() {
        for (what, pages, count, certainty) in [
            ("one page", vec![page(&[1, 2], Some(2), Some(1))], 2, Completeness::OneMoment),
            ("no numbers", vec![page(&[1, 2], None, None)], 2, Completeness::OneMoment),
            ("an empty list", vec![page(&[], Some(0), Some(1))], 0, Completeness::OneMoment),
            (
                "two pages",
                vec![page(&[1, 2], Some(3), Some(2)), page(&[3], Some(3), Some(2))],
                3,
                Completeness::Counted,
            ),
            ("no last_page", vec![page(&[1, 2], Some(3), None), page(&[3], Some(3), None)], 3, Completeness::Counted),
            (
                "pushed on",
                vec![page(&[1, 2], Some(3), Some(2)), page(&[2, 3], Some(4), Some(2))],
                3,
                Completeness::Moved,
            ),
            (
                "pulled ahead",
                vec![page(&[1, 2], Some(4), Some(2)), page(&[4], Some(3), Some(2))],
                3,
                Completeness::Moved,
            ),
            ("wrong total", vec![page(&[1, 2], Some(9), Some(1))], 2, Completeness::Moved),
            ("ended early", vec![page(&[1, 2], Some(4), Some(2)), page(&[], Some(4), Some(2))], 2, Completeness::Moved),
            (
                "same page",
                vec![page(&[1, 2], Some(9), Some(5)), page(&[1, 2], Some(9), Some(5))],
                2,
                Completeness::Moved,
            ),
        ] {
            let (ids, found) = read(&pages);
            assert_eq!((ids.len(), found), (count, certainty), "{what}");
        }
    }

    #[test]
    fn an_unusable_entry_is_not_a_missing_one() {
        let mut only = page(&[1], Some(2), Some(1));
        only.invalid.push(InvalidEntry { key: "x".into(), reason: "no id", place: 0 });
        assert_eq!(read(&[only]).1, Completeness::OneMoment);
    }

    #[test]
    fn a_list_that_was_interrupted_may_have_moved() {
        let mut listing = Listing::new(Bounds::WEBHOOKS, None);
        listing.interrupt();
        assert_eq!(listing.absorb(page(&[1, 2], Some(3), Some(2)), Timestamp::from_seconds(0)), None);
        listing.interrupt();
        let complete = listing.absorb(page(&[3], Some(3), Some(2)), Timestamp::from_seconds(0)).unwrap();
        assert_eq!(complete.certainty, Completeness::Moved);
    }

    /// A list of `0..count`, of which these entries make every page fail that holds them, and pages from `deepest` on
    /// are refused.
    struct Api {
        count: u32,
        poisoned: Vec<u32>,
        deepest: u32,
        /// The size of its largest pages, whatever is asked for.
        most: u32,
        requests: Vec<(u32, u32)>,
    }

    impl Api {
        fn new(count: u32, poisoned: &[u32]) -> Self {
            Self { count, poisoned: poisoned.to_vec(), deepest: u32::MAX, most: 100, requests: Vec::new() }
        }

        fn answer(&mut self, (page_number, per_page): (u32, Option<u32>)) -> Option<ListPage<()>> {
            let per_page = per_page.unwrap();
            self.requests.push((page_number, per_page));
            let per_page = per_page.min(self.most);
            let place = (page_number - 1) * per_page;
            let ids: Vec<u32> = (place..place.saturating_add(per_page)).take_while(|id| *id < self.count).collect();
            let is_refused = place >= self.deepest || ids.iter().any(|id| self.poisoned.contains(id));
            let last_page = self.count.div_ceil(per_page).max(1);
            let mut answer = page(&ids, Some(self.count.into()), Some(last_page.into()));
            answer.pagination.per_page = Some(per_page.into());
            (!is_refused).then_some(answer)
        }

        /// Reads the list; `None` if it is given up.
        fn read(&mut self, last: LastReading) -> Option<CompleteList<()>> {
            let mut listing = Listing::new(Bounds::OWNERS, Some(100));
            self.requests.clear();
            loop {
                assert!(self.requests.len() < 2_000, "{:?}", &self.requests[..50]);
                match self.answer(listing.next_page()) {
                    Some(page) => {
                        if let Some(complete) = listing.absorb(page, Timestamp::from_seconds(0)) {
                            return Some(complete);
                        }
                    }
                    None if listing.fail(last) == ListFailure::GivenUp => return None,
                    None => {}
                }
            }
        }
    }

    #[test]
    fn an_entry_that_makes_its_page_fail_hides_no_other() {
        for poisoned in [[0].as_slice(), &[7], &[99], &[100], &[249], &[0, 1, 150], &[19, 20, 21, 22]] {
            for (count, most) in [(250, 70), (15_000, 230)] {
                let mut api = Api::new(count, poisoned);
                for last in [LastReading::Whole, LastReading::Unreadable] {
                    let complete = api.read(last).unwrap();
                    assert_eq!(complete.entries.len(), count as usize - poisoned.len(), "{poisoned:?}");
                    assert_eq!((complete.certainty, complete.is_whole()), (Completeness::Partial, false));
                    assert_eq!(complete.shortfall, Some(Shortfall::Unreadable));
                    assert!(api.requests.len() <= most, "{} {poisoned:?}", api.requests.len());
                }
            }
        }
        let mut api = Api::new(40, &[7]);
        assert_eq!(api.read(LastReading::Unreadable).unwrap().entries.len(), 39);
        let found = [(1, 100), (1, 50), (1, 25), (1, 5), (2, 5), (6, 1), (7, 1), (8, 1)];
        let rest = [(9, 1), (10, 1), (3, 5), (4, 5), (5, 5), (2, 25)];
        assert_eq!(api.requests, [&found[..], &rest].concat());
    }

    #[test]
    fn where_deeper_pages_or_all_pages_fail_a_list_ends() {
        let mut api = Api { deepest: 200, ..Api::new(500, &[]) };
        let complete = api.read(LastReading::Whole).unwrap();
        assert_eq!((complete.entries.len(), complete.shortfall), (200, Some(Shortfall::Unreadable)));
        let mut api = Api { deepest: 0, ..Api::new(500, &[]) };
        assert_eq!(api.read(LastReading::Whole), None);
        assert!(api.requests.len() < 30, "{:?}", api.requests);
    }

    #[test]
    fn a_server_with_pages_of_its_own_size_is_read_in_parts_of_that() {
        for size in [50, 15, 7, 1] {
            for poisoned in [[0], [7], [20], [63], [99]] {
                let mut api = Api { most: size, ..Api::new(100, &poisoned) };
                assert_eq!(api.read(LastReading::Whole).unwrap().entries.len(), 99, "{poisoned:?} {size}");
            }
        }
    }

    #[test]
    fn a_list_of_ever_new_entries_is_ended() {
        let mut listing = Listing::new(Bounds::WEBHOOKS, None);
        let mut pages = 0;
        let complete = loop {
            pages += 1;
            let ids = [2 * pages, 2 * pages + 1];
            if let Some(complete) = listing.absorb(page(&ids, Some(1_000_000), None), Timestamp::from_seconds(0)) {
                break complete;
            }
        };
        assert_eq!((pages, complete.entries.len(), complete.certainty), (200, 400, Completeness::Partial));
        assert_eq!(complete.shortfall, Some(Shortfall::Endless));
        // Nor is one answer taken in whole that is too long.
        let ids: Vec<u32> = (0..10_500).collect();
        let complete = listing.absorb(page(&ids, Some(1_000_000), None), Timestamp::from_seconds(0)).unwrap();
        assert_eq!((complete.entries.len(), complete.shortfall), (10_000, Some(Shortfall::Endless)));
    }
}
