//! One reading of a log that is under way: a walk, or a round of rechecks.
//!
//! A job is passed on by value. A request is made for a job, and its answer turns the job into one that needs another
//! page, or into what it has read. So nothing can be requested before it was begun, and nothing can go on after its
//! end; whoever drops a job gives up what it has read. Pure, like all of `reading`.

use std::time::Duration;

use super::recheck::{Recheck, Rechecked};
use super::walk::{CutShort, Failed, KnownEntries, PageRequest, Progress, Stretch, Walk, WalkError};
use super::wire::LogPage;
use crate::delivery::{Attempt, Timestamp};
use crate::ledger::decide::Coverage;
use crate::ledger::state::Ledger;
use crate::server_time::ServerTime;

/// A reading that needs another page.
#[derive(Debug)]
pub enum Job {
    /// From the newest entry towards older ones.
    Walk(Box<WalkJob>),
    /// The pages of open entries.
    Recheck(Recheck),
}

/// What becomes of a job after an answer.
#[must_use]
#[derive(Debug)]
pub enum AfterPage {
    /// It needs another page.
    More(Job),
    /// It is complete.
    Done(JobOutput),
}

/// What becomes of a job after a failed request.
#[must_use]
#[derive(Debug)]
pub enum AfterFailure {
    /// The target fails, as far as is known: back off, longer each time, and go on with the job if there is one.
    BackOff(Option<Job>),
    /// The walk looks for the cause in smaller parts.
    Narrowed(Job),
    /// The failure was expected, because of an entry that is known to be unreadable.
    Expected(Job),
    /// Nothing deeper can be read: the job is over.
    Done(JobOutput),
}

/// What a job has read, when it is over.
#[derive(Debug)]
pub enum JobOutput {
    /// By a walk.
    Walk(WalkRead),
    /// By a round of rechecks.
    Recheck(Rechecked),
}

impl Job {
    /// The page to request now.
    pub fn request(&self) -> PageRequest {
        match self {
            Self::Walk(job) => job.walk.request(),
            Self::Recheck(recheck) => recheck.request(),
        }
    }

    /// Processes the page that was requested, as of `date`.
    ///
    /// # Errors
    /// If the server's pages lead nowhere: the job is given up.
    pub fn absorb(self, page: LogPage, date: ServerTime, ledger: &Ledger) -> Result<AfterPage, WalkError> {
        match self {
            Self::Walk(mut job) => {
                let progress = job.absorb(page, date, ledger)?;
                Ok(job.after(progress))
            }
            Self::Recheck(mut recheck) => {
                let progress = recheck.absorb(page);
                Ok(after_recheck(recheck, progress))
            }
        }
    }

    /// Handles a page that is too large to be read; `key` stands for what is on it.
    ///
    /// # Errors
    /// If page after page is too large in the same way: the job is given up.
    pub fn absorb_too_large(self, key: Box<str>) -> Result<AfterPage, WalkError> {
        match self {
            Self::Walk(mut job) => {
                job.walk.absorb_too_large(key)?;
                Ok(AfterPage::More(Self::Walk(job)))
            }
            Self::Recheck(recheck) => Ok(narrow_recheck(recheck)),
        }
    }

    /// Handles a request that failed, at `date`, for a reason that may lie with the page. A walk requests the same page
    /// again, and looks for the cause after some failures. A round of rechecks is given up, because the entries that it
    /// looks for have moved by the next turn; but after [`FAILED_ROUNDS`] failed rounds in a row (`failed_before`) it
    /// requests smaller pages.
    ///
    /// # Errors
    /// If no cause can be found: the job is given up.
    pub fn fail(self, date: ServerTime, failed_before: u32) -> Result<AfterFailure, WalkError> {
        match self {
            Self::Walk(mut job) => Ok(match job.walk.fail(date.timestamp())? {
                Failed::BackOff => AfterFailure::BackOff(Some(Self::Walk(job))),
                Failed::Narrowed => AfterFailure::Narrowed(Self::Walk(job)),
                Failed::Expected => AfterFailure::Expected(Self::Walk(job)),
                Failed::Done => AfterFailure::Done(job.finish()),
            }),
            Self::Recheck(recheck) if failed_before >= FAILED_ROUNDS => Ok(match narrow_recheck(recheck) {
                AfterPage::More(job) => AfterFailure::BackOff(Some(job)),
                AfterPage::Done(read) => AfterFailure::Done(read),
            }),
            Self::Recheck(_) => Ok(AfterFailure::BackOff(None)),
        }
    }
}

/// After this many failed rounds of rechecks in a row, smaller pages are requested.
pub const FAILED_ROUNDS: u32 = 3;

fn narrow_recheck(mut recheck: Recheck) -> AfterPage {
    let progress = recheck.absorb_too_large();
    after_recheck(recheck, progress)
}

fn after_recheck(recheck: Recheck, progress: Progress) -> AfterPage {
    match progress {
        Progress::More => AfterPage::More(Job::Recheck(recheck)),
        Progress::Done => AfterPage::Done(JobOutput::Recheck(recheck.finish())),
    }
}

/// Which of a target's walks it is. One of each kind may be under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// The head walk; also the very first walk, and the first one after a start.
    Head,
    /// The sweep.
    Sweep,
}

/// A walk that is under way.
#[derive(Debug)]
pub struct WalkJob {
    /// Which one.
    pub lane: Lane,
    /// What it covers when it is complete.
    pub coverage: Coverage,
    /// When it began, in time since the start.
    pub began: Duration,
    until: Timestamp,
    walk: Walk,
    /// When its first page was read, by the server's clock.
    first_read: Option<Timestamp>,
    /// The time of the first entry that it has read.
    newest: Option<Timestamp>,
    /// Whether it resumes what another walk has put on disk.
    is_resumed: bool,
}

/// What a walk has read.
#[derive(Debug)]
pub struct WalkRead {
    /// Which one.
    pub lane: Lane,
    /// What it covers.
    pub coverage: Coverage,
    /// The usable entries that are not on disk yet, newest first.
    pub attempts: Vec<Attempt>,
    /// The keys of the others.
    pub invalid: Vec<Box<str>>,
    /// When its first page was read, by the server's clock.
    pub began: Option<Timestamp>,
    /// The time of the first entry that it has read: some of what it has read may be on disk.
    pub newest: Option<Timestamp>,
    /// Whether it resumed what another walk had put on disk.
    pub is_resumed: bool,
    /// Whether it met anything that was known before.
    pub has_met_known: bool,
    /// Whether it reached the end of the list before it reached the time where it was to end.
    pub has_reached_end: bool,
    /// Why it ended early, if it did.
    pub cut_short: Option<CutShort>,
    /// The place from which on nothing can be read, as far as is known.
    pub bottom: Option<u64>,
    /// The length of the list.
    pub total: Option<u64>,
}

/// A part of a long walk, ready to be put on disk.
#[derive(Debug)]
pub struct Part {
    /// What the whole walk covers when it is complete.
    pub coverage: Coverage,
    /// Where it ends.
    pub until: Timestamp,
    /// What the walk has read without a gap, including this part.
    pub stretch: Stretch,
    /// Whether it has met anything that was known before.
    pub has_met_known: bool,
    /// The part's usable entries, newest first.
    pub attempts: Vec<Attempt>,
    /// The keys of the others.
    pub invalid: Vec<Box<str>>,
}

impl WalkJob {
    /// A walk back to `until` that has read nothing yet, at `began` since the start.
    pub fn new(lane: Lane, walk: Walk, coverage: Coverage, until: Timestamp, began: Duration) -> Self {
        Self { lane, coverage, began, until, walk, first_read: None, newest: None, is_resumed: false }
    }

    /// The same walk, which resumes what another one has put on disk.
    pub fn resumed(self) -> Self {
        Self { is_resumed: true, ..self }
    }

    /// Where it ends.
    pub fn until(&self) -> Timestamp {
        self.until
    }

    /// When its first page was read, by the server's clock.
    pub fn first_read(&self) -> Option<Timestamp> {
        self.first_read
    }

    /// How many entries it holds that are not on disk yet.
    pub fn len(&self) -> usize {
        self.walk.len()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.walk.is_empty()
    }

    /// How many answers it has read, and the time of the last entry.
    pub fn reached(&self) -> (u64, Option<Timestamp>) {
        self.walk.reached()
    }

    /// Takes out what the walk has read, if that is at least `least` entries and follows `before`, which is on disk,
    /// without a gap; `date` is when it was read.
    pub fn take_part(&mut self, least: usize, before: Option<Stretch>, date: ServerTime) -> Option<Part> {
        if self.walk.len() < least || !self.walk.has_attempts() || !self.walk.is_contiguous() {
            return None;
        }
        let has_met_known = self.walk.has_met_known();
        let (attempts, invalid) = self.walk.take();
        let began = self.first_read.unwrap_or(date.timestamp());
        let stretch = Stretch::extended(before, &attempts, invalid.len(), began)?;
        Some(Part { coverage: self.coverage, until: self.until, stretch, has_met_known, attempts, invalid })
    }

    fn absorb(&mut self, page: LogPage, date: ServerTime, ledger: &Ledger) -> Result<Progress, WalkError> {
        if self.coverage == Coverage::FirstContact {
            // The first answer decides where the history is cut.
            self.until = ledger.marks().history_cutoff.unwrap_or_default();
            self.walk.set_until(self.until);
        }
        self.first_read.get_or_insert(date.timestamp());
        self.newest = self.newest.or(page.attempts.first().map(|attempt| attempt.created_at));
        let known = KnownEntries { entry: &|id| ledger.find(id).is_some(), invalid: &|key| ledger.knows_invalid(key) };
        self.walk.absorb(page, known)
    }

    fn after(self: Box<Self>, progress: Progress) -> AfterPage {
        match progress {
            Progress::More => AfterPage::More(Job::Walk(self)),
            Progress::Done => AfterPage::Done(self.finish()),
        }
    }

    fn finish(mut self: Box<Self>) -> JobOutput {
        let (attempts, invalid) = self.walk.take();
        JobOutput::Walk(WalkRead {
            lane: self.lane,
            coverage: self.coverage,
            attempts,
            invalid,
            began: self.first_read,
            newest: self.newest,
            is_resumed: self.is_resumed,
            has_met_known: self.walk.has_met_known(),
            has_reached_end: self.walk.has_reached_end(),
            cut_short: self.walk.cut_short(),
            bottom: self.walk.bottom(),
            total: self.walk.total(),
        })
    }
}
