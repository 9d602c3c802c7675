//! One target on its way through its log: what is to be asked next, and what has been read so far.
//!
//! A poll is a walk from the newest entry to known ground, and then a round of rechecks where open entries are due. It is made
//! of single requests, so that many targets can take turns; where one fails, the poll goes on at the same page later.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use crate::delivery::{Attempt, EntryId, Target, Timestamp};
use crate::ledger::decide::{Batch, Coverage, Tally};
use crate::ledger::state::{Ledger, RowKey};
use crate::ledger::watermark::Windows;
use crate::source::pager::{Known, PageRequest, Progress, Stretch, Walk, WalkError};
use crate::source::recheck::{Recheck, Wanted};
use crate::source::wire::LogPage;
use crate::store::staged::StagedWalk;

/// An open entry is read again when its age has grown by this part, but
const RECHECK_GROWTH: u32 = 4;
/// not more often than this,
const RECHECK_MIN: Duration = Duration::from_secs(15);
/// and at least this often.
const RECHECK_MAX: Duration = Duration::from_secs(3600);
/// Entries looked for in one round; most of them share pages, and the round ends after a number of requests anyhow.
const MAX_RECHECKED: usize = 200;
/// Entries of a long walk are put on disk by so many: what an interruption costs is the requests for fewer than that.
const STAGED_AT_ONCE: usize = 5_000;

/// How a target is read.
#[derive(Clone, Copy, Debug)]
pub struct ReadSettings {
    /// Entries wanted on a page.
    pub per_page: u32,
    /// How far back is read, and how long entries are followed.
    pub windows: Windows,
}

/// What a start finds of a target.
#[derive(Debug, Default)]
pub struct Remembered {
    /// Its memory.
    pub ledger: Ledger,
    /// When a poll last succeeded, by the server's clock.
    pub last_success: Option<Timestamp>,
    /// What an interrupted walk had read.
    pub staged: Option<StagedWalk>,
}

/// A target, its memory, and the poll that is under way.
#[derive(Debug)]
pub struct Reader {
    /// The target.
    pub target: Target,
    /// Its memory.
    pub ledger: Ledger,
    settings: ReadSettings,
    task: Option<Task>,
    /// When the first page of the walk under way was read, by the server's clock.
    began: Option<Timestamp>,
    /// What the walk under way has on disk.
    staged: Option<StagedWalk>,
    /// When open entries were last read, by the server's clock.
    checked: HashMap<RowKey, Timestamp>,
    /// The entries that the round of rechecks under way looks for.
    wanted: Vec<RowKey>,
    /// When the next sweep is due, in time since the start.
    next_sweep: Duration,
    /// Whether the sweep that is due then was brought forward.
    is_hastened: bool,
    /// The length of the list after the last walk, and how much longer it was than after the one before.
    total: Option<u64>,
    growth: Option<u64>,
    /// What was read but could not be committed.
    uncommitted: Option<Batch>,
    /// When a poll last succeeded, by the server's clock.
    last_success: Option<Timestamp>,
}

#[derive(Debug)]
enum Task {
    Walk { walk: Box<Walk>, coverage: Coverage, until: Timestamp },
    Recheck(Recheck),
}

/// What a page has brought.
#[derive(Debug)]
pub enum Absorbed {
    /// The poll goes on with another page.
    More,
    /// A part of the poll is complete, and is to be decided.
    Complete(Batch),
}

impl Reader {
    /// A reader that goes on from what is remembered.
    pub fn new(target: Target, remembered: Remembered, settings: ReadSettings) -> Self {
        let Remembered { ledger, last_success, staged } = remembered;
        Self {
            target,
            ledger,
            settings,
            task: None,
            began: None,
            staged,
            checked: HashMap::new(),
            wanted: Vec::new(),
            // The first walk after a start is a sweep: nothing tells what turned up late in the meantime.
            next_sweep: Duration::ZERO,
            is_hastened: false,
            total: None,
            growth: None,
            uncommitted: None,
            last_success,
        }
    }

    /// What was read but could not be committed, to be tried again before anything else is asked.
    pub fn take_uncommitted(&mut self) -> Option<Batch> {
        self.uncommitted.take()
    }

    /// Keeps what could not be committed.
    pub fn keep_uncommitted(&mut self, batch: Batch) {
        self.uncommitted = Some(batch);
    }

    /// Whether the next step needs a request.
    pub fn needs_request(&self) -> bool {
        self.uncommitted.is_none()
    }

    /// The page that is wanted next; `now` is the time since the start.
    pub fn request(&mut self, now: Duration) -> PageRequest {
        let task = match self.task.take() {
            Some(task) => task,
            None => {
                self.began = None;
                self.start_walk(now)
            }
        };
        let request = match &task {
            Task::Walk { walk, .. } => walk.request(),
            Task::Recheck(recheck) => recheck.request(),
        };
        self.task = Some(task);
        request
    }

    fn start_walk(&self, now: Duration) -> Task {
        let per_page = self.settings.per_page;
        if let Some(StagedWalk { coverage, until, newest, oldest, count, .. }) = self.staged {
            let stretch = Stretch { newest, oldest, count };
            // Late entries may have turned up in what it had read: the sweep is still to be made.
            let coverage = if coverage == Coverage::Sweep { Coverage::Head } else { coverage };
            return Task::Walk { walk: Box::new(Walk::resume(until, per_page, stretch)), coverage, until };
        }
        let windows = &self.settings.windows;
        let marks = self.ledger.marks();
        let (until, coverage) = match (marks.contacted, marks.watermark) {
            // The cut becomes known with the first answer.
            (false, _) => (marks.cut.unwrap_or(Timestamp::from_micros(i64::MIN)), Coverage::FirstContact),
            // Contacted while its log was empty: there is nothing below.
            (true, None) => (marks.cut.unwrap_or_default(), Coverage::Sweep),
            (true, Some(watermark)) if now >= self.next_sweep => {
                (windows.sweep_until(marks.swept.unwrap_or(watermark)), Coverage::Sweep)
            }
            (true, Some(watermark)) => (windows.head_until(watermark), Coverage::Head),
        };
        Task::Walk { walk: Box::new(Walk::new(until, per_page)), coverage, until }
    }

    /// What the first answer of all settles, to be committed before its page is absorbed; `date` is the server's clock.
    pub fn meet(&self, date: Timestamp) -> Option<Batch> {
        let is_new = self.ledger.marks().known_at.is_none() && !self.ledger.marks().contacted;
        is_new.then(|| Batch { coverage: Coverage::Met, now: date, ..Batch::default() })
    }

    /// Takes in the page that was asked for, as of `date` by the server's clock.
    ///
    /// # Errors
    /// Where the server's pages do not lead on; the walk starts anew at the next poll.
    pub fn absorb(&mut self, page: LogPage, date: Timestamp) -> Result<Absorbed, WalkError> {
        match self.task.take() {
            Some(Task::Walk { walk, coverage, until }) => self.absorb_walk(walk, coverage, until, page, date),
            Some(Task::Recheck(mut recheck)) => {
                let progress = recheck.absorb(page);
                Ok(self.go_on_rechecking(recheck, progress, date))
            }
            None => Ok(Absorbed::More),
        }
    }

    fn absorb_walk(
        &mut self,
        mut walk: Box<Walk>,
        coverage: Coverage,
        mut until: Timestamp,
        page: LogPage,
        date: Timestamp,
    ) -> Result<Absorbed, WalkError> {
        if coverage == Coverage::FirstContact {
            until = self.ledger.marks().cut.unwrap_or_default();
            walk.set_until(until);
        }
        let began = *self.began.get_or_insert(date);
        let ledger = &self.ledger;
        let known = Known { entry: &|id| ledger.find(id).is_some(), invalid: &|key| ledger.knows_invalid(key) };
        if walk.absorb(page, known)? == Progress::More {
            self.task = Some(Task::Walk { walk, coverage, until });
            return Ok(Absorbed::More);
        }
        let has_met_known = walk.has_met_known() || self.staged.is_some_and(|staged| staged.has_met_known);
        let is_torn = walk.has_reached_end() && !has_met_known;
        self.total = self.note_total(walk.total());
        let (attempts, invalid) = walk.take();
        let last_success = self.last_success;
        Ok(Absorbed::Complete(Batch {
            attempts,
            invalid,
            coverage,
            is_torn,
            last_success,
            now: date,
            began: Some(began),
            ..Batch::default()
        }))
    }

    fn go_on_rechecking(&mut self, recheck: Recheck, progress: Progress, date: Timestamp) -> Absorbed {
        if progress == Progress::More {
            self.task = Some(Task::Recheck(recheck));
            return Absorbed::More;
        }
        let read = recheck.finish();
        self.wanted.retain(|key| !read.put_off.contains(&key.id));
        Absorbed::Complete(Batch {
            attempts: read.attempts,
            invalid: read.invalid,
            missing: read.missing,
            last_success: self.last_success,
            now: date,
            ..Batch::default()
        })
    }

    /// Takes note that the page that was asked for is too large to be read, as of `date`; `key` stands for what is on it.
    pub fn absorb_too_large(&mut self, key: Box<str>, date: Timestamp) -> Absorbed {
        match self.task.take() {
            Some(Task::Walk { mut walk, coverage, until }) => {
                walk.absorb_too_large(key);
                self.task = Some(Task::Walk { walk, coverage, until });
                Absorbed::More
            }
            Some(Task::Recheck(mut recheck)) => {
                let progress = recheck.absorb_too_large();
                self.go_on_rechecking(recheck, progress, date)
            }
            None => Absorbed::More,
        }
    }

    /// Takes note that a request has failed. A walk asks for the same page again; rechecks wait for their next turn, because
    /// they must not keep what is new from being read.
    pub fn failed(&mut self) {
        if matches!(self.task, Some(Task::Recheck(_))) {
            self.task = None;
            self.wanted.clear();
        }
    }

    /// What a long walk has read since it was last put on disk, and what that makes of it there; nothing while that is little.
    pub fn take_for_stage(&mut self, date: Timestamp) -> Option<(StagedWalk, Vec<Attempt>, Vec<Box<str>>)> {
        let Some(Task::Walk { walk, coverage, until }) = &mut self.task else { return None };
        if walk.len() < STAGED_AT_ONCE || !walk.has_attempts() || !walk.is_contiguous() {
            return None;
        }
        let has_met_known = walk.has_met_known() || self.staged.is_some_and(|staged| staged.has_met_known);
        let (coverage, until) = (*coverage, *until);
        let (attempts, invalid) = walk.take();
        let before = self.staged.map(|StagedWalk { newest, oldest, count, .. }| Stretch { newest, oldest, count });
        let Stretch { newest, oldest, count } = stretch(before, &attempts, invalid.len(), self.began.unwrap_or(date))?;
        let staged = StagedWalk { coverage, until, newest, oldest, count, has_met_known };
        Some((staged, attempts, invalid))
    }

    /// Takes note that a part of a walk is on disk.
    pub fn staged(&mut self, walk: StagedWalk) {
        self.staged = Some(walk);
    }

    /// Whether a part of the walk that was completed is on disk.
    pub fn has_staged(&self) -> bool {
        self.staged.is_some()
    }

    /// Gives up what the walk under way has in memory: the next one goes on from what is on disk.
    pub fn restart_walk(&mut self) {
        self.task = None;
    }

    /// Takes note that a batch was committed, at `now` since the start. Says whether the poll goes on with rechecks.
    pub fn committed(&mut self, batch: &Batch, tally: &Tally, now: Duration) -> bool {
        self.note_checked(batch);
        match batch.coverage {
            Coverage::Met => return true,
            Coverage::Pages => return false,
            _ => self.staged = None,
        }
        if batch.coverage == Coverage::Head {
            self.look_deeper(tally, now);
        } else {
            self.next_sweep = now + self.settings.windows.sweep_interval;
            self.is_hastened = false;
        }
        let mut due = self.due_rechecks(batch.now);
        if due.is_empty() {
            return false;
        }
        due.sort_unstable();
        let ranks = self.ledger.ranks(&due);
        let wanted = due.iter().zip(ranks);
        let wanted = wanted.map(|(key, rank)| Wanted { id: key.id.clone(), created_at: key.created_at, rank });
        self.task = Some(Task::Recheck(Recheck::new(wanted.collect(), self.settings.per_page)));
        self.wanted = due;
        true
    }

    /// The list's length after a walk; before, it is compared with what the walk has brought ([`Reader::look_deeper`]).
    fn note_total(&mut self, total: Option<u64>) -> Option<u64> {
        self.growth = self.total.zip(total).map(|(before, after)| after.saturating_sub(before));
        total
    }

    /// Where the list has grown by more than a walk has found, something has turned up further down: the next sweep looks for
    /// it at once, though only one between two regular ones.
    fn look_deeper(&mut self, tally: &Tally, now: Duration) {
        if self.growth.take().is_some_and(|growth| growth > tally.new) && !self.is_hastened {
            self.is_hastened = true;
            self.next_sweep = self.next_sweep.min(now);
        }
    }

    /// Takes note that a poll has succeeded.
    pub fn succeeded(&mut self, date: Timestamp) {
        self.last_success = Some(date);
    }

    fn note_checked(&mut self, batch: &Batch) {
        let open: HashSet<&RowKey> = self.ledger.open().map(|(key, _)| key).collect();
        self.checked.retain(|key, _| open.contains(key));
        let wanted = std::mem::take(&mut self.wanted);
        if open.is_empty() {
            return;
        }
        let read: HashSet<&EntryId> = batch.attempts.iter().map(|attempt| &attempt.id).collect();
        let is_read = |key: &RowKey| read.contains(&key.id);
        // What was looked for in vain was checked all the same: it waits for its turn like the others.
        let checked = open.into_iter().filter(|key| is_read(key) || wanted.contains(key));
        self.checked.extend(checked.map(|key| (key.clone(), batch.now)));
    }

    /// The open entries that are due to be read again, the oldest first.
    fn due_rechecks(&self, now: Timestamp) -> Vec<RowKey> {
        let due = self.ledger.open().filter(|(key, row)| self.recheck_at(key, row.at) <= now);
        due.take(MAX_RECHECKED).map(|(key, _)| key.clone()).collect()
    }

    /// When an open entry is to be read again, by the server's clock.
    fn recheck_at(&self, key: &RowKey, at: Timestamp) -> Timestamp {
        let Some(checked) = self.checked.get(key) else {
            return Timestamp::from_micros(i64::MIN);
        };
        let growth = checked.since(at) / RECHECK_GROWTH;
        let next = checked.plus(growth.clamp(RECHECK_MIN, RECHECK_MAX));
        let settled = at.plus(self.settings.windows.settle_after);
        // Once more when it is given up, however far off the next recheck would be.
        if *checked < settled { next.min(settled) } else { next }
    }

    /// The time until this target must be read again whatever its interval is: for the next recheck or sweep. `date` is the
    /// server's clock, `now` the time since the start.
    pub fn due_in(&self, date: Timestamp, now: Duration) -> Duration {
        let rechecks = self.ledger.open().map(|(key, row)| self.recheck_at(key, row.at).since(date));
        let sweep = self.next_sweep.saturating_sub(now);
        rechecks.min().map_or(sweep, |recheck| recheck.min(sweep))
    }
}

/// What has been read without a gap: `before`, and what was read after it by a walk that began at `began`.
fn stretch(before: Option<Stretch>, read: &[Attempt], invalid: usize, began: Timestamp) -> Option<Stretch> {
    let times = || read.iter().map(|attempt| attempt.created_at);
    // What is dated ahead says nothing of how far the reading has come.
    let newest = times().max().map(|newest| newest.min(began)).max(before.map(|stretch| stretch.newest))?;
    let oldest = times().chain(before.map(|stretch| stretch.oldest)).min()?;
    let count = before.map_or(0, |stretch| stretch.count) + (read.len() + invalid) as u64;
    Some(Stretch { newest, oldest, count })
}

#[cfg(test)]
mod tests;
