//! Puts the pages of one list together, while the list may move.
//!
//! Entries are told by their ids: one that is pushed to a later page is read twice and counts once. One that is pulled to an
//! earlier page, because another was deleted meanwhile, is missed; whether that may have happened is what [`Certainty`] says.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::delivery::Timestamp;
use crate::reading::wire::lists::ListPage;

/// How much it means that an entry is missing from a list that was read to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Certainty {
    /// The list came in one answer, so it shows one moment.
    OneMoment,
    /// As many entries were read as the API says that there are, and that number did not change meanwhile. An entry may still be
    /// missing where one was deleted and another one made.
    Counted,
    /// Something moved, or the numbers do not add up.
    Moved,
}

/// From this sum of weights on, a missing entry is gone.
pub const GONE: u8 = 4;

impl Certainty {
    /// What one listing without an entry weighs: it is gone after one list in one answer, two counted ones in a row, or four
    /// others. The last must be enough, else nothing would ever go where the API's numbers are wrong.
    pub const fn weight(self) -> u8 {
        match self {
            Self::OneMoment => GONE,
            Self::Counted => GONE / 2,
            Self::Moved => 1,
        }
    }
}

/// A list that is being read, page by page.
#[derive(Clone, Debug)]
pub struct Listing<T> {
    /// What was read so far.
    entries: BTreeMap<Arc<str>, T>,
    unusable: u64,
    total: Option<u64>,
    pages: u32,
    has_moved: bool,
    begun_at: Option<Timestamp>,
}

/// A list that was read to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Complete<T> {
    /// Its entries.
    pub entries: BTreeMap<Arc<str>, T>,
    /// What it means that something is not among them.
    pub certainty: Certainty,
    /// The server's `Date` of its first answer.
    pub begun_at: Timestamp,
}

impl<T> Complete<T> {
    /// Whether it holds, as far as can be known, everything that was there when it was begun.
    pub fn is_whole(&self) -> bool {
        self.certainty != Certainty::Moved
    }
}

impl<T> Default for Listing<T> {
    fn default() -> Self {
        let entries = BTreeMap::new();
        Self { entries, unusable: 0, total: None, pages: 0, has_moved: false, begun_at: None }
    }
}

impl<T> Listing<T> {
    /// The page that is to be read next, from 1.
    pub fn next_page(&self) -> u32 {
        self.pages.saturating_add(1)
    }

    /// Notes that some time has passed since the last page.
    pub fn interrupt(&mut self) {
        self.has_moved |= self.pages > 0;
    }

    /// Takes in the next page, answered at `date`; gives the list where that was its last one.
    pub fn absorb(&mut self, page: ListPage<T>, date: Timestamp) -> Option<Complete<T>> {
        self.pages += 1;
        let begun_at = *self.begun_at.get_or_insert(date);
        let total = page.pagination.total;
        self.has_moved |= self.pages > 1 && (total.is_none() || total != self.total);
        self.total = total;
        let is_last = self.is_last(&page);

        let known = self.entries.len();
        self.unusable += page.invalid.len() as u64;
        self.entries.extend(page.entries);
        // A server that gives the same page for every number would be asked for ever.
        let is_new = self.entries.len() > known;
        if !is_last && is_new {
            return None;
        }
        let entries = std::mem::take(&mut self.entries);
        let is_whole = total.is_none_or(|total| entries.len() as u64 + self.unusable >= total);
        let certainty = match (self.has_moved || !is_last || !is_whole, self.pages) {
            (true, _) => Certainty::Moved,
            (false, 1) => Certainty::OneMoment,
            (false, _) => Certainty::Counted,
        };
        *self = Self::default();
        Some(Complete { entries, certainty, begun_at })
    }

    /// Whether no page follows. The answer's own numbers count, not what was asked for.
    fn is_last(&self, page: &ListPage<T>) -> bool {
        let (pages, count) = (u64::from(self.pages), (page.entries.len() + page.invalid.len()) as u64);
        let numbers = page.pagination;
        if count == 0 {
            return true;
        }
        match (numbers.last_page, numbers.per_page, numbers.total) {
            (Some(last), _, _) => pages >= last,
            (None, Some(per_page), Some(total)) => pages.saturating_mul(per_page) >= total,
            (None, Some(per_page), None) => count < per_page,
            (None, None, Some(total)) => (self.entries.len() as u64 + self.unusable).saturating_add(count) >= total,
            // No numbers: the list has no pages.
            (None, None, None) => true,
        }
    }
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
    fn read(pages: &[ListPage<()>]) -> (Vec<String>, Certainty) {
        let mut listing = Listing::default();
        let (last, before) = pages.split_last().unwrap();
        for (number, page) in before.iter().enumerate() {
            assert_eq!(listing.next_page() as usize, number + 1);
            assert_eq!(listing.absorb(page.clone(), Timestamp::from_seconds(number as i64)), None);
        }
        let complete = listing.absorb(last.clone(), Timestamp::from_seconds(9)).unwrap();
        let begun_at = if before.is_empty() { 9 } else { 0 };
        assert_eq!((complete.begun_at, listing.next_page()), (Timestamp::from_seconds(begun_at), 1));
        (complete.entries.keys().map(ToString::to_string).collect(), complete.certainty)
    }

    #[test]
    fn pages_are_read_to_the_end_that_their_numbers_tell() {
        for (what, pages, count, certainty) in [
            ("one page", vec![page(&[1, 2], Some(2), Some(1))], 2, Certainty::OneMoment),
            ("no numbers", vec![page(&[1, 2], None, None)], 2, Certainty::OneMoment),
            ("an empty list", vec![page(&[], Some(0), Some(1))], 0, Certainty::OneMoment),
            ("two pages", vec![page(&[1, 2], Some(3), Some(2)), page(&[3], Some(3), Some(2))], 3, Certainty::Counted),
            ("no last_page", vec![page(&[1, 2], Some(3), None), page(&[3], Some(3), None)], 3, Certainty::Counted),
            ("pushed on", vec![page(&[1, 2], Some(3), Some(2)), page(&[2, 3], Some(4), Some(2))], 3, Certainty::Moved),
            ("pulled ahead", vec![page(&[1, 2], Some(4), Some(2)), page(&[4], Some(3), Some(2))], 3, Certainty::Moved),
            ("wrong total", vec![page(&[1, 2], Some(9), Some(1))], 2, Certainty::Moved),
            ("ended early", vec![page(&[1, 2], Some(4), Some(2)), page(&[], Some(4), Some(2))], 2, Certainty::Moved),
            ("same page", vec![page(&[1, 2], Some(9), Some(5)), page(&[1, 2], Some(9), Some(5))], 2, Certainty::Moved),
        ] {
            let (ids, found) = read(&pages);
            assert_eq!((ids.len(), found), (count, certainty), "{what}");
        }
    }

    #[test]
    fn an_unusable_entry_is_not_a_missing_one() {
        let mut only = page(&[1], Some(2), Some(1));
        only.invalid.push(InvalidEntry { key: "x".into(), reason: "no id", place: 0 });
        assert_eq!(read(&[only]).1, Certainty::OneMoment);
    }

    #[test]
    fn a_list_that_was_interrupted_may_have_moved() {
        let mut listing = Listing::default();
        listing.interrupt();
        assert_eq!(listing.absorb(page(&[1, 2], Some(3), Some(2)), Timestamp::from_seconds(0)), None);
        listing.interrupt();
        let complete = listing.absorb(page(&[3], Some(3), Some(2)), Timestamp::from_seconds(0)).unwrap();
        assert_eq!(complete.certainty, Certainty::Moved);
    }
}
