//! What a walk does about a page that fails again and again while others are answered.
//!
//! After three failures in a row, a page elsewhere in the list is requested. If it is answered, the failing page is
//! read in smaller parts, down to single entries. An entry that fails three times is suspected and skipped, until a
//! page after it is answered; then it is requested once more, and if it fails again it is unreadable. If nothing is
//! answered after several suspects in a row, but the first page is, pages beyond that depth are refused: the walk ends
//! there. Failures alone prove nothing: if no page is answered at all, the same page is requested again. Pure, like the
//! walk that it is part of.

use super::{CutShort, PageRequest, Progress, Walk, WalkError};
use crate::delivery::Timestamp;
use crate::reading::wire::LogPage;

/// This many failures in a row are no coincidence.
const FAILURES: u32 = 3;
/// This many failing entries in a row are not to blame themselves: everything deeper is refused.
const MAX_SUSPECTS: u32 = 5;
/// How far after a failing first page another one is tried, in turns: the next one may fail for a reason of its own.
const STEPS_BEHIND: [u32; 4] = [1, 2, 4, 8];

/// What follows from a failed request.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failed {
    /// The target fails: back off, longer each time.
    BackOff,
    /// The walk looks for the cause in smaller parts: there is no reason to wait longer each time.
    Narrowed,
    /// The failure was expected, because of an entry that is known to be unreadable.
    Expected,
    /// Nothing deeper can be read. The walk is over.
    Done,
}

/// A page that is requested only to see whether it is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Probe {
    /// Another page than the failing one.
    Elsewhere(PageRequest),
    /// The first page, when nothing after the suspects was answered.
    Top(PageRequest),
}

/// What is known about the page that fails.
#[derive(Debug, Default)]
pub(super) struct Failing {
    /// Failures in a row of the current request.
    failures: u32,
    probe: Option<Probe>,
    /// How often no page elsewhere was answered.
    rounds: u32,
    /// Whether the walk is looking for the cause.
    is_narrowing: bool,
    /// The place of the first suspect, and how many suspects there are.
    suspects: Option<(u64, u32)>,
    /// Entries before this place failed while one after them was answered.
    accused_to: u64,
    /// From this place on nothing can be read, as far as is known.
    pub(super) bottom: Option<u64>,
    /// Entries that were skipped because they are known to be unreadable, while nothing after them has been answered
    /// yet: the time of the entry before each, and the length of the list.
    unconfirmed: Vec<(Timestamp, Option<u64>)>,
    /// Whether an entry that is known to be unreadable may be on the first page.
    pub(super) is_hole_on_first_page: bool,
}

impl Failing {
    pub(super) fn probe(&self) -> Option<PageRequest> {
        match self.probe? {
            Probe::Elsewhere(request) | Probe::Top(request) => Some(request),
        }
    }

    /// Drops suspects after which nothing has been answered: the walk is about to meet them again from the top.
    pub(super) fn begin_again(&mut self) {
        self.unconfirmed.clear();
        if self.suspects.take().is_some() {
            self.accused_to = 0;
        }
    }
}

impl Walk {
    /// Records that the requested page could not be read, at `date` by the server's clock.
    ///
    /// # Errors
    /// If the cause is neither one entry nor a depth: the walk must start over.
    pub fn fail(&mut self, date: Timestamp) -> Result<Failed, WalkError> {
        if let Some(covering) = self.covering.take() {
            self.fail_cover(covering);
            return Ok(Failed::BackOff);
        }
        self.is_cover_suspect = false;
        match self.failing.probe.take() {
            Some(Probe::Top(_)) => return Err(WalkError::Unreadable),
            Some(Probe::Elsewhere(_)) => {
                self.failing.rounds = self.failing.rounds.wrapping_add(1);
                self.failing.failures = 0;
                return Ok(Failed::BackOff);
            }
            None => {}
        }
        if self.failing.bottom.is_some_and(|bottom| self.cursor.offset() >= bottom) {
            self.cut_short = Some(CutShort::Refused);
            self.invalid.extend(self.holes.close(None, self.total));
            return Ok(Failed::Done);
        }
        self.failing.failures += 1;
        if self.cursor.request().per_page == 1 { self.fail_single(date) } else { Ok(self.fail_page()) }
    }

    /// Whether an entry that is known to be unreadable may be why a page fails. Before anything was read, the position
    /// of a page in the list is only known if it is the first page.
    fn is_hole_behind(&self) -> bool {
        self.holes.is_one_behind(self.last_read) && (self.last_read.is_some() || self.failing.is_hole_on_first_page)
    }

    /// Skips an entry that is known to be unreadable. Nothing is concluded until an entry after it is answered: if too
    /// many fail in a row, nothing is answered at all.
    fn pass_known(&mut self, date: Timestamp) -> Result<Failed, WalkError> {
        if self.failing.unconfirmed.len() >= MAX_SUSPECTS as usize {
            return Err(WalkError::Unreadable);
        }
        self.failing.unconfirmed.push((self.last_read.unwrap_or(date), self.total));
        self.pass();
        Ok(Failed::Expected)
    }

    fn fail_page(&mut self) -> Failed {
        let is_expected = self.is_hole_behind();
        if self.failing.suspects.is_some() {
            self.suspect();
            return Failed::Narrowed;
        }
        if self.failing.is_narrowing || is_expected {
            self.narrow_failing();
            return if is_expected { Failed::Expected } else { Failed::Narrowed };
        }
        self.look_elsewhere()
    }

    fn fail_single(&mut self, date: Timestamp) -> Result<Failed, WalkError> {
        if self.is_hole_behind() && self.holes.is_one_at(self.last_read) {
            return self.pass_known(date);
        }
        if self.failing.suspects.is_none() && self.cursor.offset() < self.failing.accused_to {
            self.holes.meet(self.last_read.unwrap_or(date), self.total);
            self.pass();
            return Ok(Failed::Expected);
        }
        if self.failing.suspects.is_some() || self.failing.is_narrowing && self.failing.failures >= FAILURES {
            self.suspect();
            return Ok(Failed::Narrowed);
        }
        if self.failing.is_narrowing {
            return Ok(Failed::Narrowed);
        }
        Ok(self.look_elsewhere())
    }

    fn look_elsewhere(&mut self) -> Failed {
        if self.failing.failures >= FAILURES {
            self.failing.probe = Some(Probe::Elsewhere(self.elsewhere()));
        }
        Failed::BackOff
    }

    /// A page that does not hold the entries of the failing one.
    fn elsewhere(&self) -> PageRequest {
        let PageRequest { page, per_page } = self.cursor.request();
        let step = STEPS_BEHIND[self.failing.rounds as usize % STEPS_BEHIND.len()];
        let is_before = page > 1 && self.failing.rounds.is_multiple_of(2);
        PageRequest { page: if is_before { page - 1 } else { page.saturating_add(step) }, per_page }
    }

    fn suspect(&mut self) {
        let (first, count) = self.failing.suspects.unwrap_or((self.cursor.offset(), 0));
        self.failing.suspects = Some((first, count + 1));
        // A larger page that fails is examined by itself later.
        if self.cursor.request().per_page == 1 {
            self.failing.accused_to = self.cursor.offset() + 1;
        }
        if count + 1 >= MAX_SUSPECTS {
            self.failing.probe = Some(Probe::Top(PageRequest { page: 1, per_page: self.cursor.full() }));
        } else {
            self.pass();
        }
    }

    /// Goes on after an entry that could not be read.
    fn pass(&mut self) {
        self.failing.failures = 0;
        self.advance();
        self.runs.leap();
    }

    fn narrow_failing(&mut self) {
        self.failing.failures = 0;
        self.failing.is_narrowing = true;
        let (before, place) = (self.cursor.request().per_page, self.cursor.offset());
        if self.cursor.narrow_around() {
            self.rescale(before, place);
        }
    }

    /// Handles an answer that was requested only to see whether it comes, or that clears or confirms suspects. Returns
    /// `None` if the page is to be read.
    ///
    /// # Errors
    /// If the cause is neither one entry nor a depth.
    pub(super) fn absorb_evidence(&mut self, page: &LogPage) -> Result<Option<Progress>, WalkError> {
        let is_empty = page.is_empty();
        match self.failing.probe.take() {
            Some(Probe::Elsewhere(_)) => {
                self.narrow_failing();
                return Ok(Some(Progress::More));
            }
            Some(Probe::Top(_)) if is_empty => return Err(WalkError::Unreadable),
            Some(Probe::Top(_)) => {
                self.failing.bottom = self.failing.suspects.map(|(first, _)| first);
                self.cut_short = Some(CutShort::Refused);
                return Ok(Some(Progress::Done));
            }
            None => {}
        }
        let at = self.cursor.offset();
        self.failing.failures = 0;
        if is_empty && self.last_read.is_none() && !self.failing.unconfirmed.is_empty() {
            // An empty page alone does not show that entries are answered.
            return Err(WalkError::Unreadable);
        }
        for (newer, total) in std::mem::take(&mut self.failing.unconfirmed) {
            self.holes.meet(newer, total);
        }
        if let Some((first, _)) = self.failing.suspects.take() {
            // An empty page alone does not show that entries are answered.
            if is_empty && self.last_read.is_none() {
                return Err(WalkError::Unreadable);
            }
            let before = self.cursor.request().per_page;
            self.cursor.go_to_single(first);
            self.rescale(before, at);
            self.runs.leap();
            return Ok(Some(Progress::More));
        }
        if self.cursor.is_full() {
            self.failing.is_narrowing = false;
        }
        if !is_empty && self.failing.bottom.is_some_and(|bottom| at >= bottom) {
            self.failing.bottom = None;
        }
        Ok(None)
    }
}
