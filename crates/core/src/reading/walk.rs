//! Walks a list that moves while it is read: newest first, by page numbers, from page 1 towards older entries.
//!
//! New entries push others to later pages, so a walk meets some entries twice but misses none. Deletions pull entries
//! to earlier pages: when the list has become shorter, the walk reads the pages before again (`backtrack.rs`). Runs of
//! entries of one second that cross a page border are seen on one page (`cover.rs`) or read several times
//! (`same_second.rs`). Pure: the walk says which page to request next, and receives the answer. An interrupted walk
//! resumes where it stopped.

use thiserror::Error;

pub use self::failing::Failed;
use self::failing::Failing;
use super::backtrack::Backtrack;
use super::cover::{Cover, Covered, CutRun};
use super::cursor::Cursor;
pub use super::cursor::PageRequest;
use super::holes::{Hole, Holes};
pub use super::known::KnownEntries;
use super::novelty::{Brought, Novelty};
use super::same_second::{NextPage, PagePosition, RunStep, SameSecond};
use super::wire::{LogPage, Pagination};
use crate::delivery::{Attempt, Timestamp};

mod failing;

/// After this many pages in a row without anything new, the list repeats itself.
const MAX_REPEATED_PAGES: u32 = 20;
/// After this many different unusable entries in a row, a walk no longer expects usable ones: unusable entries have no
/// time, so no walk would end among them. Two hundred full pages.
const MAX_UNUSABLE: u64 = 20_000;
/// After so many runs in a row that no page has shown in full, runs are read page by page only.
const MAX_UNCOVERED: u32 = 5;
/// A resumed walk overlaps what is staged by this much, because times in the log are whole seconds.
const OVERLAP: std::time::Duration = std::time::Duration::from_secs(2);

/// What a walk needs next.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Another page.
    More,
    /// Nothing: everything was read.
    Done,
}

/// Why a walk cannot be finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum WalkError {
    /// Every answer is too large and begins with the same bytes.
    #[error("the last {MAX_REPEATED_PAGES} answers were too large in the same way")]
    Repeating,
    /// Some pages fail, and the pages that are answered do not show why.
    #[error("some pages fail and others do not, and no cause can be found")]
    Unreadable,
}

/// Why a walk has ended before the end of the list and before its target time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum CutShort {
    /// Pages beyond some depth are refused.
    #[error("the API refuses deeper pages")]
    Refused,
    /// Deeper pages bring nothing new.
    #[error("the last {MAX_REPEATED_PAGES} pages brought nothing new")]
    Repeating,
    /// Deeper pages bring nothing of use.
    #[error("more than {MAX_UNUSABLE} entries in a row cannot be used")]
    Unusable,
}

/// What an earlier, interrupted walk has read without a gap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// Its newest entry.
    pub newest: Timestamp,
    /// Its oldest one.
    pub oldest: Timestamp,
    /// How many entries it has.
    pub count: u64,
}

impl Stretch {
    /// What has been read without a gap: `before`, and what was read after it by a walk that began at `began`. `None`
    /// if that has no usable entry.
    pub fn extended(before: Option<Self>, read: &[Attempt], invalid: usize, began: Timestamp) -> Option<Self> {
        let times = || read.iter().map(|attempt| attempt.created_at);
        // What is dated ahead says nothing of how far the reading has come.
        let newest = times().max().map(|newest| newest.min(began)).max(before.map(|stretch| stretch.newest))?;
        let oldest = times().chain(before.map(|stretch| stretch.oldest)).min()?;
        let count = before.map_or(0, |stretch| stretch.count) + (read.len() + invalid) as u64;
        Some(Self { newest, oldest, count })
    }
}

/// What matters of a page for where the walk goes from it.
#[derive(Clone, Copy, Debug)]
struct PageSeen {
    at: u32,
    newest: Option<Timestamp>,
    oldest: Option<Timestamp>,
    is_end: bool,
    is_repeated: bool,
    /// The stretch that the walk resumes, and how many entries precede it, if it begins on this page.
    above_stretch: Option<(Stretch, u64)>,
}

/// A walk that waits for a page that shows all of a run.
#[derive(Clone, Copy, Debug)]
struct Covering {
    cover: Cover,
    /// The page on which the run ends, from which the walk goes on.
    seen: PageSeen,
    /// The page on which the run begins, to read it page by page.
    begin: u32,
}

/// A walk from the newest entry to the first one older than a given time.
#[derive(Debug)]
pub struct Walk {
    until: Timestamp,
    cursor: Cursor,
    runs: SameSecond,
    /// The page that shall show all of a run, before the walk goes on.
    covering: Option<Covering>,
    /// How many runs in a row no page has shown: the API may not turn pages of every size.
    uncovered: u32,
    /// Whether such a page has just failed to the end: if the next request is answered, its size was to blame.
    is_cover_suspect: bool,
    /// What need not be read again, while the walk is still above it.
    skip: Option<Stretch>,
    /// After the jump over that stretch: its oldest entry, and the page before which the walk does not look for it.
    landing: Option<(Timestamp, u32)>,
    leap: u32,
    backtrack: Backtrack,
    total: Option<u64>,
    repeated: u32,
    novelty: Novelty,
    /// Unusable entries in a row.
    unusable: u64,
    failing: Failing,
    holes: Holes,
    /// The time of the last entry that was read in order.
    last_read: Option<Timestamp>,
    cut_short: Option<CutShort>,
    pages: u64,
    /// The key of the previous page that was too large although it held one entry only, and how many such pages in a
    /// row had this key.
    too_large: (Box<str>, u32),
    /// Whether the page size was taken from the first page, because no answer states it.
    is_size_guessed: bool,
    attempts: Vec<Attempt>,
    invalid: Vec<Box<str>>,
    has_met_known: bool,
    has_reached_end: bool,
}

impl Walk {
    /// A walk that ends after the first entry older than `until`.
    pub fn new(until: Timestamp, per_page: u32) -> Self {
        Self {
            until,
            cursor: Cursor::new(per_page),
            runs: SameSecond::default(),
            covering: None,
            uncovered: 0,
            is_cover_suspect: false,
            skip: None,
            landing: None,
            leap: 1,
            backtrack: Backtrack::default(),
            total: None,
            repeated: 0,
            novelty: Novelty::default(),
            unusable: 0,
            failing: Failing::default(),
            holes: Holes::default(),
            last_read: None,
            cut_short: None,
            pages: 0,
            too_large: ("".into(), 0),
            is_size_guessed: false,
            attempts: Vec::new(),
            invalid: Vec::new(),
            has_met_known: false,
            has_reached_end: false,
        }
    }

    /// Requests a page of another size first. If the walk needs more pages, it starts over at the top with full pages:
    /// the entries of the small page are read twice, and it does not matter what has moved in between.
    pub fn with_first_page(mut self, per_page: u32) -> Self {
        self.cursor = self.cursor.with_first_page(per_page);
        self
    }

    /// A walk that reads what is newer than a stretch that was read before, and then what is older.
    pub fn resume(until: Timestamp, per_page: u32, read: Stretch) -> Self {
        Self { skip: Some(read), ..Self::new(until, per_page) }
    }

    /// Tells the walk what earlier walks have found: unreadable entries, and the place from which on nothing can be
    /// read.
    pub fn expecting(mut self, holes: Vec<Hole>, bottom: Option<u64>) -> Self {
        self.holes.expect(holes);
        self.failing.bottom = bottom;
        self
    }

    /// Tells the walk that an unreadable entry may be on the first page.
    pub fn expecting_on_first_page(mut self) -> Self {
        self.failing.is_hole_on_first_page = true;
        self
    }

    /// Moves the end of the walk, if only the first answer decides it.
    pub fn set_until(&mut self, until: Timestamp) {
        self.until = until;
    }

    /// The page to request now; the same one until it is passed to [`Walk::absorb`].
    pub fn request(&self) -> PageRequest {
        let covering = || self.covering.map(|covering| covering.cover.request());
        self.failing.probe().or_else(covering).unwrap_or_else(|| self.cursor.request())
    }

    /// Processes the page that was requested.
    ///
    /// # Errors
    /// If the cause of earlier failures cannot be found: the walk must start over.
    pub fn absorb(&mut self, page: LogPage, known: KnownEntries<'_>) -> Result<Progress, WalkError> {
        self.pages += 1;
        self.too_large.1 = 0;
        let progress = match self.covering.take() {
            Some(covering) => self.absorb_cover(covering, page, known),
            None => {
                if std::mem::take(&mut self.is_cover_suspect) {
                    self.uncovered = MAX_UNCOVERED;
                }
                match self.absorb_evidence(&page)? {
                    Some(progress) => progress,
                    None => self.absorb_page(page, known),
                }
            }
        };
        if progress == Progress::Done {
            self.invalid.extend(self.holes.close(None, self.total));
        }
        Ok(progress)
    }

    fn absorb_page(&mut self, page: LogPage, known: KnownEntries<'_>) -> Progress {
        let served = self.served(&page);
        self.cursor.note_served(served);
        let at = self.cursor.request().page;
        let growth = self.growth(&page);
        let brought = self.novelty.see(self.cursor.offset(), &page);
        let is_repeated = brought.news == Brought::Nothing;
        let is_end = self.is_end(&page, is_repeated);
        let position = if is_end { PagePosition::Last } else { PagePosition::Inner };
        let newest = page.attempts.first().map(|attempt| attempt.created_at);
        let oldest = page.attempts.last().map(|attempt| attempt.created_at);
        let begin = self.runs.first_page().unwrap_or(at);
        let back = self.backtrack.see(self.cursor.request(), begin, &page, growth);
        self.total = page.pagination.total.or(self.total);
        let step = if back.is_some() { RunStep::Onward } else { self.runs.see(at, &page, growth, position, known) };
        let above_stretch = self.skip.map(|stretch| (stretch, self.entries_above(&page, stretch)));
        self.keep(page, &brought.unknown, known);

        if let Some(page) = back {
            self.runs = SameSecond::default();
            self.cursor.go_to(page);
            return Progress::More;
        }
        let seen = PageSeen { at, newest, oldest, is_end, is_repeated, above_stretch };
        match step {
            RunStep::Onward => return self.go_on(seen),
            RunStep::To(page) => self.cursor.go_to(page),
            RunStep::Again(begin, run) => self.cover(run, seen, begin, growth),
        }
        Progress::More
    }

    /// Requests a page that shows all of a run that begins on page `begin`, or that page if there is none.
    fn cover(&mut self, run: CutRun, seen: PageSeen, begin: u32, growth: Option<i64>) {
        let growth = growth.and_then(|growth| u64::try_from(growth).ok()).unwrap_or(0);
        let is_possible = self.cursor.is_full() && self.uncovered < MAX_UNCOVERED;
        let cover = is_possible.then(|| Cover::of(run, self.cursor.offset(), growth, self.cursor.full())).flatten();
        match cover {
            Some(cover) => self.covering = Some(Covering { cover, seen, begin }),
            None => self.cursor.go_to(begin),
        }
    }

    /// Processes a page that was requested to show all of a run. The walk is where it was: the page counts for nothing
    /// else, and what it shows of other seconds is read in its place.
    fn absorb_cover(&mut self, covering: Covering, mut page: LogPage, known: KnownEntries<'_>) -> Progress {
        let growth = self.growth(&page);
        self.total = page.pagination.total.or(self.total);
        if growth.is_some_and(|growth| growth < 0) {
            // Of what was seen of the run some may be gone, and some may have been pulled to the page before it.
            let at = PageRequest { page: covering.seen.at, ..self.cursor.request() };
            let Some(back) = self.backtrack.see(at, covering.begin, &page, growth) else {
                // It has gone back too often: a `total` that is wrong must not hold the walk up.
                self.resume_covering(covering, Covered::GivenUp);
                return Progress::More;
            };
            self.runs = SameSecond::default();
            self.cursor.go_to(back);
            return Progress::More;
        }
        let covered = covering.cover.see(&page);
        if !matches!(covered, Covered::Whole) {
            self.resume_covering(covering, covered);
            return Progress::More;
        }
        self.uncovered = 0;
        self.runs.complete();
        page.attempts.retain(|attempt| covering.cover.is_of_run(attempt.created_at));
        let unknown = self.novelty.unknown(&page.invalid);
        self.collect(page, &unknown, known);
        self.go_on(covering.seen)
    }

    /// Requests another such page, or begins to read the run page by page.
    fn resume_covering(&mut self, covering: Covering, covered: Covered) {
        if let Covered::Retry(cover) = covered {
            self.covering = Some(Covering { cover, ..covering });
        } else {
            self.uncovered += 1;
            self.cursor.go_to(covering.begin);
        }
    }

    /// Requests that page again, unless it keeps failing. If what is requested then is answered, the walk asks for no
    /// other such page: an API or a proxy may refuse sizes that it does not know.
    fn fail_cover(&mut self, covering: Covering) {
        let covered = covering.cover.fail();
        self.is_cover_suspect = matches!(covered, Covered::GivenUp);
        self.resume_covering(covering, covered);
    }

    /// Goes on from a page behind which no run is incomplete.
    fn go_on(&mut self, seen: PageSeen) -> Progress {
        let PageSeen { at, newest, oldest, is_end, is_repeated, above_stretch } = seen;
        let has_reached = |moment| oldest.is_some_and(|oldest| oldest < moment);
        // None of these holds within a run: the walk would have ended, or jumped, on the page with which its second
        // began.
        if self.is_before_landing(at, newest) {
            return Progress::More;
        }
        if let Some((stretch, above)) = above_stretch
            && has_reached(stretch.newest.minus(OVERLAP))
        {
            self.leap_over(stretch, above);
            return Progress::More;
        }
        if has_reached(self.until) || is_end {
            self.has_reached_end = !has_reached(self.until);
            return Progress::Done;
        }
        self.repeated = if is_repeated { self.repeated + 1 } else { 0 };
        if self.repeated >= MAX_REPEATED_PAGES {
            return self.cut_short_by(CutShort::Repeating);
        }
        if self.unusable > MAX_UNUSABLE {
            return self.cut_short_by(CutShort::Unusable);
        }
        self.advance();
        Progress::More
    }

    /// Ends the walk here; the caller ends it at once.
    fn cut_short_by(&mut self, cause: CutShort) -> Progress {
        self.cut_short = Some(cause);
        Progress::Done
    }

    /// Records that the page is too large to be read: the walk requests smaller pages. If the page holds one entry
    /// only, that entry is unusable, is counted under `key`, and the walk goes on after it.
    ///
    /// # Errors
    /// If page after page is too large in the same way: then the cause is not an entry but whatever the server answers.
    pub fn absorb_too_large(&mut self, key: Box<str>) -> Result<(), WalkError> {
        if let Some(covering) = self.covering.take() {
            self.resume_covering(covering, Covered::GivenUp);
            return Ok(());
        }
        let before = self.cursor.request().per_page;
        let place = self.cursor.offset();
        if self.cursor.narrow() {
            self.rescale(before, place);
            return Ok(());
        }
        let (before, times) = &mut self.too_large;
        *times = if *before == key { *times + 1 } else { 1 };
        if *times >= MAX_REPEATED_PAGES {
            return Err(WalkError::Repeating);
        }
        before.clone_from(&key);
        self.invalid.push(key);
        self.advance();
        self.runs.leap();
        Ok(())
    }

    /// The number of entries that were read and not taken yet.
    pub fn len(&self) -> usize {
        self.attempts.len() + self.invalid.len()
    }

    /// Whether there are no such entries.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether one of them is usable.
    pub fn has_attempts(&self) -> bool {
        !self.attempts.is_empty()
    }

    /// Whether what was read, together with the stretch that the walk resumed, has no gap.
    pub fn is_contiguous(&self) -> bool {
        self.skip.is_none() && self.landing.is_none()
    }

    /// Takes the usable entries in the order in which they were read, and the keys of the others.
    pub fn take(&mut self) -> (Vec<Attempt>, Vec<Box<str>>) {
        (std::mem::take(&mut self.attempts), std::mem::take(&mut self.invalid))
    }

    /// Whether the list ended before the walk met anything older than `until`.
    pub fn has_reached_end(&self) -> bool {
        self.has_reached_end
    }

    /// Whether the walk met anything that was known before.
    pub fn has_met_known(&self) -> bool {
        self.has_met_known
    }

    /// The length of the list, as the last answer stated it.
    pub fn total(&self) -> Option<u64> {
        self.total
    }

    /// Why the walk has ended before its time, if it has.
    pub fn cut_short(&self) -> Option<CutShort> {
        self.cut_short
    }

    /// The place from which on nothing can be read, for the next walk.
    pub fn bottom(&self) -> Option<u64> {
        self.failing.bottom
    }

    /// How many answers it has read, and the time of the last entry.
    pub fn reached(&self) -> (u64, Option<Timestamp>) {
        (self.pages, self.last_read)
    }

    /// Records that pages had another size before, and that everything before `place` was read.
    fn rescale(&mut self, before: u32, place: u64) {
        let PageRequest { page, per_page } = self.cursor.request();
        let next = if self.cursor.offset() < place { NextPage::Overlaps } else { NextPage::Adjoins };
        self.runs.rescale(before, per_page, page, next);
    }

    fn keep(&mut self, page: LogPage, unknown: &[bool], known: KnownEntries<'_>) {
        if let Some(first) = page.attempts.first() {
            self.invalid.extend(self.holes.close(Some(first.created_at), self.total));
        }
        self.last_read = page.attempts.last().map(|attempt| attempt.created_at).or(self.last_read);
        self.unusable = if page.attempts.is_empty() { self.unusable + page.invalid.len() as u64 } else { 0 };
        self.collect(page, unknown, known);
    }

    /// Adds the entries of a page to what was read; `unknown` says which of the unusable ones were not read before.
    fn collect(&mut self, page: LogPage, unknown: &[bool], known: KnownEntries<'_>) {
        self.has_met_known |= page.attempts.iter().any(|attempt| (known.entry)(&attempt.id))
            || page.invalid.iter().any(|entry| (known.invalid)(&entry.key));
        let invalid = page.invalid.into_iter().zip(unknown).filter(|(_, is_unknown)| **is_unknown);
        self.invalid.extend(invalid.map(|(entry, _)| entry.key));
        self.attempts.extend(page.attempts);
    }

    /// How many entries of the list precede a stretch that begins on this page.
    fn entries_above(&self, page: &LogPage, stretch: Stretch) -> u64 {
        let above = page.attempts.iter().take_while(|attempt| attempt.created_at >= stretch.newest.minus(OVERLAP));
        self.cursor.offset() + above.count() as u64
    }

    /// Jumps to the page before the one on which the stretch must end.
    fn leap_over(&mut self, stretch: Stretch, above: u64) {
        let floor = self.cursor.request().page;
        self.cursor.leap_to(above + stretch.count);
        self.skip = None;
        self.landing = Some((stretch.oldest, floor));
        self.runs.leap();
    }

    /// Whether the walk has jumped too far. Then it goes back until a page begins within the stretch.
    fn is_before_landing(&mut self, at: u32, newest: Option<Timestamp>) -> bool {
        let Some((oldest, floor)) = self.landing else { return false };
        if at <= floor || newest.is_some_and(|newest| newest > oldest) {
            self.landing = None;
            return false;
        }
        self.cursor.go_to(at.saturating_sub(self.leap).max(floor));
        self.leap *= 2;
        self.runs.leap();
        true
    }

    fn advance(&mut self) {
        let before = self.cursor.request().per_page;
        let place = self.cursor.offset() + u64::from(before);
        self.cursor.advance();
        let PageRequest { page, per_page } = self.cursor.request();
        if page == 1 {
            // It starts from the top with larger pages: no run has crossed a border yet.
            self.runs = SameSecond::default();
            self.last_read = None;
            self.holes.begin_again();
            self.failing.begin_again();
        } else if before != per_page {
            self.rescale(before, place);
        }
    }

    fn growth(&self, page: &LogPage) -> Option<i64> {
        let (before, after) = (self.total?, page.pagination.total?);
        i64::try_from(after).ok()?.checked_sub(i64::try_from(before).ok()?)
    }

    /// The page size that the server uses: as stated, unless the first page is shorter and the list is stated to be
    /// longer than that, or nothing is stated at all. Then a short page need not be the last one.
    fn served(&mut self, page: &LogPage) -> Option<u64> {
        let PageRequest { page: at, per_page } = self.cursor.request();
        let Pagination { per_page: told, total, .. } = page.pagination;
        let shown = page.len() as u64;
        let is_short = (1..told.unwrap_or(u64::MAX).min(per_page.into())).contains(&shown);
        let is_untold = page.pagination == Pagination::default();
        if at > 1 || !is_short || !total.map_or(is_untold, |total| total > shown) {
            return told;
        }
        self.is_size_guessed = is_untold;
        Some(shown)
    }

    /// Whether the list ends with this page. `total` and `last_page` may be missing or wrong: a page that is not full
    /// is the last one unless they promise more, and an empty page is past the end whatever they say. A page that is
    /// always the same is the whole list, unless something promises more.
    fn is_end(&self, page: &LogPage, is_repeated: bool) -> bool {
        let PageRequest { page: at, per_page } = self.cursor.request();
        let is_full = page.len() as u64 >= u64::from(per_page);
        let promised = page.pagination.last_page.or(page.pagination.total.map(|all| all.div_ceil(per_page.into())));
        let promises_more = promised.is_some_and(|last| last > u64::from(at));
        let is_all = self.is_size_guessed && is_repeated && self.repeated > 0;
        page.is_empty() || is_all || (!is_full && !promises_more)
    }
}

#[cfg(test)]
pub(super) mod tests;
