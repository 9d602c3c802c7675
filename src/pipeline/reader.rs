//! Reads the log of one target: decides what to read next, and makes batches of what was read.
//!
//! A head walk reads from the newest entry to known ground, a sweep reads further, and a round of rechecks reads the
//! pages of open entries: each is a [`Job`]. The scheduler chooses which of them makes a request. A job that needs more
//! than one request is parked here while the others have their turns, so that a long sweep does not delay new entries.
//!
//! [`Reader::begin`] returns the next step, [`Reader::park`] takes back a job that is not complete,
//! [`Reader::complete`] makes a batch of what a job has read, and [`Reader::committed`] records that the batch is on
//! disk.

use std::time::Duration;

use self::rechecks::Rechecks;
use self::sweeps::Sweeps;
use crate::store::StagedWalk;
use crate::store::durable::DurableLedger;
use crate::telemetry::poll::{PollKind, PollTraces};
use talkover_core::delivery::{Attempt, Target, Timestamp};
use talkover_core::discovery::targets::WebhookInfo;
use talkover_core::ledger::decide::{Batch, Coverage, Tally};
use talkover_core::ledger::watermark::Windows;
use talkover_core::reading::error::ApiError;
use talkover_core::reading::holes::{self, Hole};
use talkover_core::reading::job::{AfterFailure, Job, JobOutput, Lane, Part, WalkJob, WalkRead};
use talkover_core::reading::recheck::{Recheck, Rechecked, Wanted};
use talkover_core::reading::walk::{CutShort, Stretch, Walk, WalkError};
use talkover_core::schedule::RequestClass;
use talkover_core::schedule::page_size::{NextSweep, first_page};
use talkover_core::schedule::rate::Rate;
use talkover_core::server_time::{LocalTime, Observed, ServerTime, SinceStart};

mod progress;
mod rechecks;
mod sweeps;

/// Entries of a long walk are put on disk in parts of this size: an interruption costs the requests for less than that.
const STAGED_AT_ONCE: usize = 5_000;

/// How many known unreadable entries a walk gets, latest first: older ones are rarely within its reach.
const EXPECTED_HOLES: usize = 100;

/// How a target is read.
#[derive(Clone, Copy, Debug)]
pub struct ReadSettings {
    /// Entries per page.
    pub per_page: u32,
    /// How far back is read, and how long entries are followed.
    pub windows: Windows,
}

/// What is remembered of a target at the start.
#[derive(Debug, Default)]
pub struct Remembered {
    /// Its memory.
    pub ledger: DurableLedger,
    /// When a poll last succeeded, by the server's clock.
    pub last_success: Option<Timestamp>,
    /// Since when polls have failed, by the server's clock; `None` if the last one succeeded.
    pub failing_since: Option<Timestamp>,
    /// What an interrupted walk had read.
    pub staged: Option<StagedWalk>,
    /// Whether the state went back in time, and its log was not read again since.
    pub is_behind: bool,
    /// For its first contact: entries created later are live, by the server's clock; `None` if the first answer
    /// decides.
    pub known_at: Option<Timestamp>,
}

/// A target, its memory, and what is being read of it.
#[derive(Debug)]
pub struct Reader {
    /// The target.
    pub target: Target,
    /// What discovery knows of it.
    pub info: Option<WebhookInfo>,
    /// Its memory.
    pub ledger: DurableLedger,
    /// Whether the state went back in time, and its log was not read again since.
    pub is_behind: bool,
    /// The traces of its polls that are under way.
    pub traces: PollTraces,
    settings: ReadSettings,
    /// What is under way and waits for its next turn.
    parked: Parked,
    rechecks: Rechecks,
    sweeps: Sweeps,
    /// Nothing can be read from this place in the list on, as far as is known.
    bottom: Option<u64>,
    /// Why the last walk ended early, and whether that was logged.
    cut_short: Option<CutShort>,
    is_cut_told: bool,
    /// What the walk under way has on disk.
    staged: Option<StagedWalk>,
    /// What it had on disk at the start.
    resumed: Option<StagedWalk>,
    /// What was read but could not be committed.
    uncommitted: Option<Batch>,
    /// Since when polls have failed, by the server's clock; `None` if the last one succeeded.
    failing_since: Option<Timestamp>,
    /// When a poll last succeeded, by the server's clock.
    last_success: Option<Timestamp>,
    /// When the target became known, where that was before its first answer.
    known_at: Option<Timestamp>,
    /// The server's clock when something was last committed, and the time since the start.
    clock: Option<(ServerTime, Duration)>,
    /// When its first answer arrived, by a clock that does not depend on the answer's `Date` header.
    first_answer: Option<SinceStart>,
}

/// The jobs that wait for their next turn: one of each kind at most.
#[derive(Debug, Default)]
struct Parked {
    head: Option<Box<WalkJob>>,
    sweep: Option<Box<WalkJob>>,
    recheck: Option<Recheck>,
}

/// What a step of a target does.
#[derive(Debug)]
pub enum Step {
    /// Commits what was read and could not be committed before. Needs no request.
    Settle(Batch),
    /// Requests the next page of a job.
    Read(Job),
}

impl Reader {
    /// Makes a reader that continues from what is remembered.
    pub fn new(target: Target, remembered: Remembered, settings: ReadSettings) -> Self {
        let Remembered { ledger, last_success, failing_since, staged, is_behind, known_at } = remembered;
        Self {
            target,
            info: None,
            ledger,
            is_behind,
            traces: PollTraces::default(),
            settings,
            parked: Parked::default(),
            rechecks: Rechecks::default(),
            sweeps: Sweeps::default(),
            bottom: None,
            cut_short: None,
            is_cut_told: false,
            staged,
            resumed: staged,
            uncommitted: None,
            last_success,
            failing_since,
            known_at,
            clock: None,
            first_answer: None,
        }
    }

    /// Keeps what could not be committed, to be retried before anything else is read.
    pub fn keep_uncommitted(&mut self, batch: Batch) {
        self.uncommitted = Some(batch);
    }

    /// Whether a job is incomplete: parked, or staged on disk.
    pub fn is_reading(&self) -> bool {
        let Parked { head, sweep, recheck } = &self.parked;
        head.is_some() || sweep.is_some() || recheck.is_some()
    }

    /// Whether a poll of this kind was begun and is not at its end.
    pub fn is_parked(&self, kind: PollKind) -> bool {
        match kind {
            PollKind::Head => self.parked.head.is_some(),
            PollKind::Sweep => self.parked.sweep.is_some(),
            PollKind::Recheck => self.parked.recheck.is_some(),
            PollKind::Commit => self.uncommitted.is_some(),
        }
    }

    /// Hands out what to do in a turn of `class`, at `now` since the start, if about `expected` new entries are
    /// expected. `None` if there is nothing to read for it.
    pub fn begin(&mut self, class: RequestClass, expected: f64, now: Duration) -> Option<Step> {
        if let Some(batch) = self.uncommitted.take() {
            return Some(Step::Settle(batch));
        }
        let job = match class {
            RequestClass::Heads => Some(Job::Walk(self.begin_head(expected, now))),
            RequestClass::Sweeps => {
                self.parked.sweep.take().or_else(|| self.start_sweep(now).map(Box::new)).map(Job::Walk)
            }
            RequestClass::Rechecks => self.parked.recheck.take().or_else(|| self.start_rechecks(now)).map(Job::Recheck),
            RequestClass::Discovery => None,
        };
        job.map(Step::Read)
    }

    fn begin_head(&mut self, expected: f64, now: Duration) -> Box<WalkJob> {
        if let Some(head) = self.parked.head.take() {
            return head;
        }
        let interval = self.settings.windows.sweep_interval;
        match self.parked.sweep.take_if(|sweep| now > sweep.began + interval) {
            // A sweep that has run for longer than a sweep's interval takes the turns of polls, so that it finishes: a
            // start after a crash relies on no sweep taking much longer.
            Some(overdue) => overdue,
            None => Box::new(self.start_head(expected, now)),
        }
    }

    /// Takes back a step that was not made.
    pub fn give_back(&mut self, work: Step) {
        match work {
            Step::Settle(batch) => self.uncommitted = Some(batch),
            Step::Read(job) => self.park(job),
        }
    }

    /// Parks a job that needs another page.
    pub fn park(&mut self, job: Job) {
        match job {
            Job::Recheck(recheck) => self.parked.recheck = Some(recheck),
            Job::Walk(walk) => match walk.lane {
                Lane::Head => self.parked.head = Some(walk),
                Lane::Sweep => self.parked.sweep = Some(walk),
            },
        }
    }

    fn start_head(&self, expected: f64, now: Duration) -> WalkJob {
        let per_page = self.settings.per_page;
        if let Some(StagedWalk { coverage, until, newest, oldest, count, .. }) = self.staged {
            let stretch = Stretch { newest, oldest, count };
            // Late entries may have turned up in what the walk had read: the sweep is still to be made.
            let coverage = if coverage == Coverage::Sweep { Coverage::Head } else { coverage };
            let walk = self.expecting(Walk::resume(until, per_page, stretch));
            return WalkJob::new(Lane::Head, walk, coverage, until, now).resumed();
        }
        let marks = self.ledger.marks();
        let (until, coverage) = match (marks.contacted, marks.watermark) {
            // The first answer decides where the history is cut.
            (false, _) => (marks.history_cutoff.unwrap_or(Timestamp::from_micros(i64::MIN)), Coverage::FirstContact),
            // Contacted while its log was empty: there is nothing below.
            (true, None) => (marks.history_cutoff.unwrap_or_default(), Coverage::Sweep),
            // Late entries may have turned up while the daemon was not running.
            (true, Some(watermark)) if self.sweeps.next().is_none() => {
                let until = sweeps::first_until(marks, watermark, &self.settings.windows);
                (self.lost_since().map_or(until, |since| until.min(since)), Coverage::Sweep)
            }
            (true, Some(watermark)) => (self.settings.windows.head_until(watermark), Coverage::Head),
        };
        let first = if coverage == Coverage::Head { self.first_page(until, expected, now) } else { per_page };
        WalkJob::new(Lane::Head, self.walk(until).with_first_page(first), coverage, until, now)
    }

    /// If the state went back in time, since when outcomes may have been shown that it has lost: they must not be
    /// missing when they are shown again.
    fn lost_since(&self) -> Option<Timestamp> {
        self.ledger.open().next().map(|(key, _)| key.created_at).filter(|_| self.is_behind)
    }

    fn walk(&self, until: Timestamp) -> Walk {
        self.expecting(Walk::new(until, self.settings.per_page))
    }

    /// Passes to a walk the entries that earlier walks have found to be unreadable.
    fn expecting(&self, walk: Walk) -> Walk {
        let holes = self.holes();
        let first_page = self.ledger.rows().rev().take(self.settings.per_page as usize);
        let oldest = first_page.last().map(|(key, _)| key.created_at);
        let is_on_first_page = holes.iter().any(|hole| oldest.is_none_or(|oldest| hole.may_be_since(oldest)));
        let walk = walk.expecting(holes, self.bottom);
        if is_on_first_page { walk.expecting_on_first_page() } else { walk }
    }

    /// The entries that are known to be unreadable, the latest ones first.
    fn holes(&self) -> Vec<Hole> {
        let unusable = self.ledger.invalid().iter().filter(|(key, _)| key.starts_with(holes::PREFIX));
        let mut found: Vec<_> = unusable.filter_map(|(key, met)| Some((*met, Hole::from_key(key)?))).collect();
        found.sort_by_key(|(met, _)| std::cmp::Reverse(*met));
        found.into_iter().take(EXPECTED_HOLES).map(|(_, hole)| hole).collect()
    }

    /// The size of a head walk's first page.
    fn first_page(&self, until: Timestamp, expected: f64, now: Duration) -> u32 {
        let full = self.settings.per_page;
        let known_since = |moment| {
            let newest_first = self.ledger.rows().rev().take(full as usize + 1);
            newest_first.take_while(|(key, _)| key.created_at >= moment).count()
        };
        let is_due = self.sweeps.next().is_some_and(|due| now + self.settings.windows.sweep_interval / 2 >= due);
        let is_sweeping = self.parked.sweep.is_some();
        let to_sweep = self.sweep_until().filter(|_| !is_sweeping).map_or(full as usize, known_since);
        let sweep = if is_due { NextSweep::Soon } else { NextSweep::Later };
        first_page(expected, known_since(until), to_sweep, sweep, full)
    }

    fn start_sweep(&self, now: Duration) -> Option<WalkJob> {
        // A long walk that is on disk comes first.
        let is_due = self.staged.is_none() && self.sweep_due().is_some_and(|due| due <= now);
        let until = self.sweep_until().filter(|_| is_due)?;
        Some(WalkJob::new(Lane::Sweep, self.walk(until), Coverage::Sweep, until, now))
    }

    /// Where a sweep ends; `None` if there is no watermark yet.
    fn sweep_until(&self) -> Option<Timestamp> {
        self.sweeps.until(self.ledger.marks(), &self.settings.windows)
    }

    fn start_rechecks(&mut self, now: Duration) -> Option<Recheck> {
        let mut due = self.rechecks.due(&self.ledger, &self.settings.windows, self.date(now)?);
        if due.is_empty() {
            return None;
        }
        due.sort_unstable();
        let ranks = self.ledger.ranks(&due);
        let wanted = due.iter().zip(ranks);
        let wanted = wanted.map(|(key, rank)| Wanted { id: key.id.clone(), created_at: key.created_at, rank });
        let recheck = Recheck::new(wanted.collect(), self.settings.per_page);
        self.rechecks.look_for(due);
        Some(recheck)
    }

    /// The server's clock at `now` since the start.
    fn date(&self, now: Duration) -> Option<Timestamp> {
        self.clock.map(|(date, at)| date.plus(now.saturating_sub(at)).timestamp())
    }

    /// Records that an answer came, whatever its status: with the first one the target becomes known.
    pub fn answered(&mut self, at: SinceStart) {
        self.first_answer.get_or_insert(at);
    }

    /// What the first answer of all decides, to be committed before any page is absorbed; `seen` is an answer with
    /// which the server's time is known. It need not be the first answer: the time since then is known too.
    pub fn first_response(&self, seen: &Observed) -> Option<Batch> {
        let is_new = self.ledger.marks().known_at.is_none() && !self.ledger.marks().contacted;
        let first = seen.now.minus(self.first_answer.map_or(Duration::ZERO, |first| seen.at.since(first)));
        is_new.then(|| Batch {
            coverage: Coverage::FirstResponse,
            known_at: self.known_at,
            now: first,
            ..Batch::default()
        })
    }

    /// A batch that corrects the target's marks if they were made while the clock was ahead; `None` if they are right.
    /// The target became known when discovery says so, but no earlier than the state file was made, at `created_at`.
    pub fn mend(&self, now: ServerTime, created_at: LocalTime) -> Option<Batch> {
        let known_at = self.known_at.filter(|known_at| *known_at <= now.timestamp());
        let known_at = known_at.map_or(created_at.timestamp(), |known_at| known_at.max(created_at.timestamp()));
        let is_ahead = self.ledger.marks().are_ahead_of(now);
        is_ahead.then(|| Batch { coverage: Coverage::Mended, known_at: Some(known_at), now, ..Batch::default() })
    }

    /// Abandons what is being read. The next walk is like the first one after a start: its entries count as history.
    fn start_over(&mut self) {
        self.parked = Parked::default();
        self.rechecks.forget_round();
        self.sweeps.start_over();
        self.last_success = None;
    }

    /// Makes a batch of what a job has read, as of `date`.
    pub fn complete(&mut self, read: JobOutput, date: ServerTime) -> Batch {
        match read {
            JobOutput::Walk(read) => self.complete_walk(read, date),
            JobOutput::Recheck(read) => self.complete_rechecks(read, date),
        }
    }

    fn complete_walk(&mut self, read: WalkRead, date: ServerTime) -> Batch {
        let has_met_known = read.has_met_known || (read.lane == Lane::Head && self.staged_has_met_known());
        let is_cut_short = read.cut_short.is_some();
        let is_torn = (read.has_reached_end || is_cut_short) && !has_met_known;
        self.bottom = read.bottom;
        self.note_cut_short(read.cut_short, read.coverage);
        self.sweeps.see_total(read.total);
        let oldest = read.attempts.last().map(|attempt| attempt.created_at);
        let reaches_far = read.has_reached_end || oldest < self.sweep_until() && oldest.is_some();
        let is_sweep = read.coverage == Coverage::Head && reaches_far && !read.is_resumed;
        Batch {
            attempts: read.attempts,
            invalid: read.invalid,
            coverage: if is_sweep { Coverage::Sweep } else { read.coverage },
            is_torn,
            is_cut_short,
            last_success: self.last_success,
            now: date,
            began: read.began,
            newest: read.newest,
            ..Batch::default()
        }
    }

    fn complete_rechecks(&mut self, read: Rechecked, date: ServerTime) -> Batch {
        self.rechecks.succeed();
        self.rechecks.put_off(&read.put_off);
        Batch {
            attempts: read.attempts,
            invalid: read.invalid,
            missing: read.missing,
            last_success: self.last_success,
            now: date,
            ..Batch::default()
        }
    }

    /// Handles a failed request of `job`: it failed with `error`, at `date`.
    ///
    /// # Errors
    /// If no cause can be found; the walk starts over at the next poll.
    pub fn fail(&mut self, job: Job, error: &ApiError, date: ServerTime) -> Result<AfterFailure, WalkError> {
        let is_recheck = matches!(job, Job::Recheck(_));
        // These errors do not depend on the page.
        let failure = if matches!(error, ApiError::Unauthorized { .. } | ApiError::RateLimited { .. }) {
            AfterFailure::BackOff((!is_recheck).then_some(job))
        } else {
            let failed_before = self.rechecks.failed_rounds();
            if is_recheck {
                self.rechecks.fail();
            }
            job.fail(date, failed_before)?
        };
        if is_recheck && matches!(failure, AfterFailure::BackOff(None)) {
            self.rechecks.forget_round();
        }
        Ok(failure)
    }

    fn note_cut_short(&mut self, cause: Option<CutShort>, coverage: Coverage) {
        // A poll that needs no deep page proves nothing.
        if cause.is_some() || coverage != Coverage::Head {
            self.is_cut_told &= cause == self.cut_short;
            self.cut_short = cause;
        }
    }

    /// Why walks end early, once for each change of the reason.
    pub fn take_cut_short(&mut self) -> Option<CutShort> {
        let cause = self.cut_short?;
        (!std::mem::replace(&mut self.is_cut_told, true)).then_some(cause)
    }

    fn staged_has_met_known(&self) -> bool {
        self.staged.is_some_and(|staged| staged.has_met_known)
    }

    /// Takes out of a long walk what it has read since it was last put on disk, with the resulting state on disk;
    /// `None` if that is too little yet.
    pub fn take_for_stage(&self, job: &mut Job, date: ServerTime) -> Option<(StagedWalk, Vec<Attempt>, Vec<Box<str>>)> {
        // There is room for one walk on disk, and a sweep beside it would be mistaken for its end.
        let Job::Walk(walk) = job else { return None };
        if walk.lane != Lane::Head || self.parked.sweep.is_some() {
            return None;
        }
        let before = self.staged.map(|StagedWalk { newest, oldest, count, .. }| Stretch { newest, oldest, count });
        let Part { coverage, until, stretch, has_met_known, attempts, invalid } =
            walk.take_part(STAGED_AT_ONCE, before, date)?;
        let Stretch { newest, oldest, count } = stretch;
        let has_met_known = has_met_known || self.staged_has_met_known();
        Some((StagedWalk { coverage, until, newest, oldest, count, has_met_known }, attempts, invalid))
    }

    /// Records that a part of a walk is on disk.
    pub fn staged(&mut self, walk: StagedWalk) {
        self.staged = Some(walk);
    }

    /// Whether a part of the walk that was completed is on disk.
    pub fn has_staged(&self) -> bool {
        self.staged.is_some()
    }

    /// Records that a batch was committed, at `now` since the start.
    pub fn committed(&mut self, batch: &Batch, tally: &Tally, now: Duration) {
        match batch.coverage {
            Coverage::FirstResponse => return,
            Coverage::Mended => return self.start_over(),
            _ => self.clock = Some((batch.now, now)),
        }
        match batch.coverage {
            Coverage::FirstResponse | Coverage::Mended => {}
            Coverage::Pages => self.sweeps.find_by_rechecks(tally.new),
            Coverage::Head => {
                (self.staged, self.resumed) = (None, None);
                self.sweeps.poll(tally.new, now);
            }
            Coverage::Sweep | Coverage::FirstContact => {
                (self.staged, self.resumed) = (None, None);
                self.sweeps.complete(batch.newest, now + self.settings.windows.sweep_interval);
                // Everything that the one under way could still bring was just read.
                self.parked.sweep = None;
            }
        }
        self.rechecks.note(batch, &self.ledger);
    }

    /// Records that a poll has failed at `date`; returns whether the one before it had not.
    pub fn begins_to_fail(&mut self, date: ServerTime) -> bool {
        let is_news = self.failing_since.is_none();
        self.failing_since.get_or_insert(date.timestamp());
        is_news
    }

    /// Records that a poll has succeeded.
    pub fn succeeded(&mut self, date: ServerTime) {
        self.failing_since = None;
        self.last_success = Some(date.timestamp());
    }

    /// When the next sweep is due, in time since the start; `None` if head walks are sweeps anyhow.
    pub fn sweep_due(&self) -> Option<Duration> {
        self.ledger.marks().watermark.and(self.sweeps.next())
    }

    /// When the next recheck is due, in time since the start; `None` if no entry is open.
    pub fn recheck_due(&self) -> Option<Duration> {
        let (date, at) = self.clock?;
        let next = self.rechecks.next(&self.ledger, &self.settings.windows)?;
        Some(at + next.since(date.timestamp()))
    }

    /// The rate of arrivals up to `date`, by the server's clock, as far as the memory shows it.
    pub fn arrivals(&self, date: ServerTime) -> Rate {
        let marks = self.ledger.marks();
        let from = marks.history_cutoff.max(marks.horizon).unwrap_or(date.timestamp());
        let newest_first = self.ledger.rows().rev();
        let ages =
            newest_first.take_while(|(key, _)| key.created_at >= from).map(|(key, _)| date.since(key.created_at));
        Rate::from_ages(ages, date.since(from))
    }
}

#[cfg(test)]
mod tests;
