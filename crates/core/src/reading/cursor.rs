//! The position of a walk: a page number and a page size. The size changes when answers are too large.

/// The page to request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageRequest {
    /// Its number, from 1.
    pub page: u32,
    /// The entries wanted on it.
    pub per_page: u32,
}

/// The sizes with which a page is requested again that is too large.
const SMALLER: [u32; 4] = [50, 25, 5, 1];
/// The sizes with which a page is requested again that fails because of one of its entries.
const PARTS: [u32; 5] = [50, 25, 10, 5, 1];

/// A position in a list that is read in pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cursor {
    page: u32,
    per_page: u32,
    /// The size of pages that are not too large.
    full: u32,
    /// How many entries precede the place from which on full pages are tried again.
    wide_from: Option<u64>,
    /// Whether pages grow again before that place, because a single entry is the cause for smaller ones.
    grows: bool,
}

impl Cursor {
    /// At the first page.
    pub(super) fn new(per_page: u32) -> Self {
        let per_page = per_page.max(1);
        Self { page: 1, per_page, full: per_page, wide_from: None, grows: false }
    }

    /// At a smaller first page; the pages after it are full again, from the top.
    pub(super) fn with_first_page(self, per_page: u32) -> Self {
        let per_page = per_page.clamp(1, self.full);
        let wide_from = (per_page < self.full).then_some(u64::from(per_page));
        Self { per_page, wide_from, ..self }
    }

    pub(super) fn request(&self) -> PageRequest {
        PageRequest { page: self.page, per_page: self.per_page }
    }

    /// The entries before this page.
    pub(super) fn offset(&self) -> u64 {
        u64::from(self.page - 1) * u64::from(self.per_page)
    }

    /// Records the page size that the server uses, which may be smaller than requested: its page numbers count such
    /// pages.
    pub(super) fn note_served(&mut self, per_page: Option<u64>) {
        if let Some(served) = per_page.and_then(|n| u32::try_from(n).ok()).filter(|n| (1..self.per_page).contains(n)) {
            self.per_page = served;
            self.full = self.full.min(served);
        }
    }

    /// Moves to the next page; after a stretch of smaller pages they are full again.
    pub(super) fn advance(&mut self) {
        self.page = self.page.saturating_add(1);
        if let Some(end) = self.wide_from.filter(|end| self.offset() >= *end) {
            self.wide_from = None;
            self.per_page = self.full;
            self.page = page_of(end, self.full);
            self.grows = false;
        } else if self.grows {
            self.grow();
        }
    }

    /// Moves to the largest page that begins here and ends before full pages follow.
    fn grow(&mut self) {
        let (offset, Some(end)) = (self.offset(), self.wide_from) else { return };
        let fits = |size: &u32| offset.is_multiple_of(u64::from(*size)) && offset + u64::from(*size) <= end;
        if let Some(size) = PARTS.into_iter().filter(|size| *size < self.full).find(fits) {
            self.per_page = size;
            self.page = page_of(offset, size);
        }
    }

    /// The size of full pages.
    pub(super) fn full(&self) -> u32 {
        self.full
    }

    /// Whether pages are full ones.
    pub(super) fn is_full(&self) -> bool {
        self.wide_from.is_none()
    }

    /// Moves to the single entry that `offset` entries precede; after it pages grow again.
    pub(super) fn go_to_single(&mut self, offset: u64) {
        let full = u64::from(self.full);
        self.wide_from = Some(self.wide_from.unwrap_or(0).max((offset / full + 1) * full));
        self.grows = true;
        self.per_page = 1;
        self.page = page_of(offset, 1);
    }

    /// Like [`Cursor::narrow`], but only around one entry: after it pages grow again.
    pub(super) fn narrow_around(&mut self) -> bool {
        self.grows |= self.per_page > 1;
        let offset = self.offset();
        // Only sizes with a page that begins here too: otherwise entries before this page would be read again, and
        // could fail again.
        self.narrow_to(PARTS.into_iter().filter(|size| offset.is_multiple_of(u64::from(*size))))
    }

    pub(super) fn go_to(&mut self, page: u32) {
        self.page = page.max(1);
    }

    /// Moves to the page before the one on which the entry that `offset` entries precede must be, but never backwards.
    pub(super) fn leap_to(&mut self, offset: u64) {
        self.page = page_of(offset, self.per_page).saturating_sub(1).max(self.page.saturating_add(1));
    }

    /// Requests the same entries with smaller pages; returns whether there is a smaller size.
    pub(super) fn narrow(&mut self) -> bool {
        self.narrow_to(SMALLER.into_iter())
    }

    fn narrow_to(&mut self, mut sizes: impl Iterator<Item = u32>) -> bool {
        let Some(smaller) = sizes.find(|size| *size < self.per_page) else { return false };
        let offset = self.offset();
        self.wide_from.get_or_insert(offset + u64::from(self.per_page));
        self.per_page = smaller;
        self.page = page_of(offset, smaller);
        true
    }
}

/// The number of the page that holds the entry that `offset` entries precede.
pub(super) fn page_of(offset: u64, per_page: u32) -> u32 {
    u32::try_from(offset / u64::from(per_page)).map_or(u32::MAX, |before| before.saturating_add(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn requests(cursor: &mut Cursor, count: usize) -> Vec<(u32, u32)> {
        let mut all = Vec::new();
        for _ in 0..count {
            all.push((cursor.request().page, cursor.request().per_page));
            cursor.advance();
        }
        all
    }

    #[test]
    fn what_is_too_large_is_read_in_smaller_pages_and_what_follows_in_full_ones() {
        let mut cursor = Cursor::new(100);
        cursor.advance();
        assert!(cursor.narrow() && cursor.narrow());
        assert_eq!(requests(&mut cursor, 5), [(5, 25), (6, 25), (7, 25), (8, 25), (3, 100)]);
        let mut cursor = Cursor::new(5);
        assert!(cursor.narrow() && !cursor.narrow());
        assert_eq!(requests(&mut cursor, 6), [(1, 1), (2, 1), (3, 1), (4, 1), (5, 1), (2, 5)]);
    }

    #[test]
    fn around_one_entry_pages_become_smaller_and_behind_it_larger_again() {
        let mut cursor = Cursor::new(100);
        let mut asked = Vec::new();
        while cursor.request() != (PageRequest { page: 2, per_page: 100 }) {
            let PageRequest { page, per_page } = cursor.request();
            asked.push((cursor.offset(), per_page));
            let is_failing = (cursor.offset()..cursor.offset() + u64::from(per_page)).contains(&37);
            assert_eq!(cursor.offset(), u64::from(page - 1) * u64::from(per_page));
            if !is_failing || !cursor.narrow_around() {
                cursor.advance();
            }
        }
        let singles = [(35, 1), (36, 1), (37, 1), (38, 1), (39, 1)];
        let before = [(0, 100), (0, 50), (0, 25), (25, 25), (25, 5), (30, 10), (30, 5), (35, 5)];
        assert_eq!(asked, [&before[..], &singles, &[(40, 10), (50, 50)]].concat());
        cursor.go_to_single(299);
        assert_eq!(requests(&mut cursor, 2), [(300, 1), (4, 100)]);
        let mut cursor = Cursor::new(100).with_first_page(10);
        assert!(cursor.narrow_around() && cursor.narrow_around());
        assert_eq!(requests(&mut cursor, 7), [(1, 1), (2, 1), (3, 1), (4, 1), (5, 1), (2, 5), (1, 100)]);
    }

    #[test]
    fn behind_a_small_first_page_the_list_is_read_from_the_top_in_full_ones() {
        let mut cursor = Cursor::new(100).with_first_page(10);
        assert_eq!(requests(&mut cursor, 4), [(1, 10), (1, 100), (2, 100), (3, 100)]);
        let mut cursor = Cursor::new(7).with_first_page(10);
        assert_eq!(requests(&mut cursor, 2), [(1, 7), (2, 7)]);
        let mut cursor = Cursor::new(100).with_first_page(10);
        assert!(cursor.narrow());
        assert_eq!(requests(&mut cursor, 3), [(1, 5), (2, 5), (1, 100)]);
    }

    #[test]
    fn a_size_that_does_not_divide_another_loses_nothing() {
        let mut cursor = Cursor::new(70);
        cursor.go_to(4);
        assert_eq!(cursor.offset(), 210);
        assert!(cursor.narrow());
        assert_eq!((cursor.request().page, cursor.offset()), (5, 200));
        assert_eq!(requests(&mut cursor, 3), [(5, 50), (6, 50), (5, 70)]);
    }

    #[test]
    fn the_server_may_cut_smaller_pages() {
        let mut cursor = Cursor::new(100);
        cursor.note_served(Some(30));
        cursor.note_served(Some(1000));
        cursor.note_served(Some(0));
        cursor.advance();
        assert_eq!((cursor.request(), cursor.offset()), (PageRequest { page: 2, per_page: 30 }, 30));
        // Where full pages were asked for from the start, none is read twice.
        let mut cursor = Cursor::new(100).with_first_page(100);
        cursor.note_served(Some(30));
        assert_eq!(requests(&mut cursor, 5), [(1, 30), (2, 30), (3, 30), (4, 30), (5, 30)]);
    }

    #[test]
    fn a_leap_goes_onward_and_lands_a_page_early() {
        let mut cursor = Cursor::new(100);
        cursor.leap_to(1234);
        assert_eq!(cursor.request().page, 12);
        cursor.leap_to(100);
        assert_eq!(cursor.request().page, 13);
    }
}
