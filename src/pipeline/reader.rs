//! One target on its way through its log: what is to be asked next, and what has been read so far.
//!
//! A poll is a walk from the newest entry to known ground, and then a round of rechecks where open entries are due. It is made
//! of single requests, so that many targets can take turns; where one fails, the poll goes on at the same page later.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use crate::delivery::{EntryId, Target, Timestamp};
use crate::ledger::decide::{Batch, Coverage};
use crate::ledger::state::{Ledger, RowKey};
use crate::ledger::watermark::Windows;
use crate::source::pager::{PageRequest, Progress, Walk, WalkError};
use crate::source::recheck::{Recheck, Wanted};
use crate::source::wire::LogPage;

/// An open entry is read again when its age has grown by this part, but
const RECHECK_GROWTH: u32 = 4;
/// not more often than this,
const RECHECK_MIN: Duration = Duration::from_secs(15);
/// and at least this often.
const RECHECK_MAX: Duration = Duration::from_secs(3600);
/// Entries looked for in one round, so that a round ends before the world has changed.
const MAX_RECHECKED: usize = 200;

/// How a target is read.
#[derive(Clone, Copy, Debug)]
pub struct ReadSettings {
    /// Entries wanted on a page.
    pub per_page: u32,
    /// How far back is read, and how long entries are followed.
    pub windows: Windows,
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
    /// When open entries were last read, by the server's clock.
    checked: HashMap<RowKey, Timestamp>,
    /// The entries that the round of rechecks under way looks for.
    wanted: Vec<RowKey>,
    /// When the next sweep is due, in time since the start.
    next_sweep: Duration,
    /// What was read but could not be committed.
    uncommitted: Option<Batch>,
    /// When a poll last succeeded, by the server's clock.
    last_success: Option<Timestamp>,
}

#[derive(Debug)]
enum Task {
    Walk { walk: Walk, kind: WalkKind },
    Recheck(Recheck),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WalkKind {
    Head,
    Sweep,
    FirstContact,
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
    /// A reader that goes on from `ledger`, and from a last successful poll where there was one.
    pub fn new(target: Target, ledger: Ledger, last_success: Option<Timestamp>, settings: ReadSettings) -> Self {
        Self {
            target,
            ledger,
            settings,
            task: None,
            checked: HashMap::new(),
            wanted: Vec::new(),
            // The first walk after a start is a sweep: nothing tells what turned up late in the meantime.
            next_sweep: Duration::ZERO,
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
            None => self.start_walk(now),
        };
        let request = match &task {
            Task::Walk { walk, .. } => walk.request(),
            Task::Recheck(recheck) => recheck.request(),
        };
        self.task = Some(task);
        request
    }

    fn start_walk(&self, now: Duration) -> Task {
        let windows = &self.settings.windows;
        let marks = self.ledger.marks();
        let (until, kind) = match (marks.contacted, marks.watermark) {
            // The cut becomes known with the first answer.
            (false, _) => (marks.cut.unwrap_or(Timestamp::from_micros(i64::MIN)), WalkKind::FirstContact),
            // Contacted while its log was empty.
            (true, None) => (marks.cut.unwrap_or_default(), WalkKind::Head),
            (true, Some(watermark)) if now >= self.next_sweep => {
                (windows.sweep_until(marks.swept.unwrap_or(watermark)), WalkKind::Sweep)
            }
            (true, Some(watermark)) => (windows.head_until(watermark), WalkKind::Head),
        };
        Task::Walk { walk: Walk::new(until, self.settings.per_page), kind }
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
            Some(Task::Walk { mut walk, kind }) => {
                if kind == WalkKind::FirstContact {
                    walk.set_until(self.ledger.marks().cut.unwrap_or_default());
                }
                if walk.absorb(page)? == Progress::More {
                    self.task = Some(Task::Walk { walk, kind });
                    return Ok(Absorbed::More);
                }
                let is_end = walk.has_reached_end();
                let (attempts, invalid) = walk.into_entries();
                let coverage = match kind {
                    WalkKind::Head => Coverage::Head,
                    WalkKind::Sweep => Coverage::Sweep,
                    WalkKind::FirstContact => Coverage::FirstContact,
                };
                let last_success = self.last_success;
                let missing = Vec::new();
                Ok(Absorbed::Complete(Batch { attempts, invalid, missing, coverage, is_end, last_success, now: date }))
            }
            Some(Task::Recheck(mut recheck)) => {
                if recheck.absorb(page) == Progress::More {
                    self.task = Some(Task::Recheck(recheck));
                    return Ok(Absorbed::More);
                }
                let read = recheck.finish();
                Ok(Absorbed::Complete(Batch {
                    attempts: read.attempts,
                    invalid: read.invalid,
                    missing: read.missing,
                    coverage: Coverage::Pages,
                    is_end: false,
                    last_success: self.last_success,
                    now: date,
                }))
            }
            None => Ok(Absorbed::More),
        }
    }

    /// Takes note that a batch was committed, at `now` since the start. Says whether the poll goes on with rechecks.
    pub fn committed(&mut self, batch: &Batch, now: Duration) -> bool {
        self.note_checked(batch);
        match batch.coverage {
            Coverage::Met => return true,
            Coverage::Pages => return false,
            _ => {}
        }
        if batch.coverage != Coverage::Head {
            self.next_sweep = now + self.settings.windows.sweep_interval;
        }
        let due = self.due_rechecks(batch.now);
        if due.is_empty() {
            return false;
        }
        let wanted = due.iter().map(|key| Wanted {
            id: key.id.clone(),
            created_at: key.created_at,
            rank: self.ledger.rank(key),
        });
        self.task = Some(Task::Recheck(Recheck::new(wanted.collect(), self.settings.per_page)));
        self.wanted = due;
        true
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

#[cfg(test)]
mod tests;
