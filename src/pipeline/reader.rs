//! One target on its way through its log: what is to be asked next, and what has been read so far.
//!
//! A head walk reads from the newest entry to known ground, a sweep further, and a round of rechecks the pages of open entries.
//! The scheduler says which of them a request is made for. Each is made of single requests and waits where it is while the others
//! have their turns: a long sweep does not keep what is new from being read. Where a request fails, a walk goes on at the same
//! page later.

use std::time::Duration;

use self::rechecks::Rechecks;
use crate::store::StagedWalk;
use crate::store::durable::DurableLedger;
use talkover_core::clock::{LocalTime, Observed, ServerTime, SinceStart};
use talkover_core::delivery::{Attempt, Target, Timestamp};
use talkover_core::discovery::targets::WebhookInfo;
use talkover_core::ledger::decide::{Batch, Coverage, Tally};
use talkover_core::ledger::watermark::Windows;
use talkover_core::reading::error::ApiError;
use talkover_core::reading::holes::{self, Hole};
use talkover_core::reading::recheck::{Recheck, Wanted};
use talkover_core::reading::walk::{CutShort, Failed, Known, PageRequest, Progress, Stretch, Walk, WalkError};
use talkover_core::reading::wire::LogPage;
use talkover_core::schedule::Class;
use talkover_core::schedule::page_size::first_page;
use talkover_core::schedule::rate::Rate;

mod rechecks;

/// Entries of a long walk are put on disk by so many: what an interruption costs is the requests for fewer than that.
const STAGED_AT_ONCE: usize = 5_000;

/// So many unreadable entries, those met last, are told to a walk: what is older is rarely within its reach.
const EXPECTED_HOLES: usize = 100;
/// After so many rounds of rechecks in a row that failed, smaller pages are requested.
const FAILED_ROUNDS: u32 = 3;
/// A first contact that takes longer than this says how far it is, this often.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(300);

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
    pub ledger: DurableLedger,
    /// When a poll last succeeded, by the server's clock.
    pub last_success: Option<Timestamp>,
    /// What an interrupted walk had read.
    pub staged: Option<StagedWalk>,
    /// For its first contact: what was created later is live, by the server's clock; nothing where its first answer decides.
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
    settings: ReadSettings,
    /// What the present request is made for.
    turn: Class,
    /// The head walk under way, or the first walk of all or after a start.
    head: Option<Reading>,
    /// The sweep under way.
    sweep: Option<Reading>,
    /// The round of rechecks under way.
    recheck: Option<Recheck>,
    rechecks: Rechecks,
    /// Rounds of rechecks in a row that failed.
    failed_rounds: u32,
    /// From this place in the list on nothing can be read, as far as is known.
    bottom: Option<u64>,
    /// Why the last walk ended before its time, and whether that was logged.
    cut_short: Option<CutShort>,
    is_cut_told: bool,
    /// When the progress of a first contact was last logged, in time since the start.
    progress_told: Option<Duration>,
    /// What the walk under way has on disk.
    staged: Option<StagedWalk>,
    /// When the next sweep is due, in time since the start; nothing until the first walk after the start, which is one.
    next_sweep: Option<Duration>,
    /// Whether the sweep that is due then was brought forward.
    is_hastened: bool,
    /// The newest entry of the last sweep's first page: what came later may have been late where that sweep was already past.
    /// The ledger's own mark may be ahead of it where polls came in between.
    sweep_mark: Option<Timestamp>,
    /// The length of the list after the last walk, and how much longer it was than after the one before.
    total: Option<u64>,
    growth: Option<u64>,
    /// Entries that rechecks have found since then.
    found_aside: u64,
    /// What was read but could not be committed.
    uncommitted: Option<Batch>,
    /// When a poll last succeeded, by the server's clock.
    last_success: Option<Timestamp>,
    /// When the target became known, where that was before its first answer.
    known_at: Option<Timestamp>,
    /// The server's clock when something was last committed, and the time since the start.
    clock: Option<(ServerTime, Duration)>,
    /// When its first answer came, by a clock that is not told the server's time by it.
    first_answer: Option<SinceStart>,
}

/// A walk that is under way.
#[derive(Debug)]
struct Reading {
    walk: Walk,
    coverage: Coverage,
    until: Timestamp,
    /// When it began, in time since the start.
    began: Duration,
    /// When its first page was read, by the server's clock.
    first_read: Option<Timestamp>,
    /// Whether it goes on from what another walk has put on disk.
    is_resumed: bool,
}

impl Reading {
    fn new(walk: Walk, coverage: Coverage, until: Timestamp, began: Duration) -> Self {
        Self { walk, coverage, until, began, first_read: None, is_resumed: false }
    }
}

/// What follows from a request that failed.
#[derive(Debug)]
pub enum Failure {
    /// The poll fails.
    Of(Failed),
    /// A part of the poll is complete all the same, and is to be decided.
    Complete(Batch),
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
        let Remembered { ledger, last_success, staged, known_at } = remembered;
        Self {
            target,
            info: None,
            ledger,
            settings,
            turn: Class::Heads,
            head: None,
            sweep: None,
            recheck: None,
            rechecks: Rechecks::default(),
            failed_rounds: 0,
            bottom: None,
            cut_short: None,
            is_cut_told: false,
            progress_told: None,
            staged,
            next_sweep: None,
            is_hastened: false,
            sweep_mark: None,
            total: None,
            growth: None,
            found_aside: 0,
            uncommitted: None,
            last_success,
            known_at,
            clock: None,
            first_answer: None,
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

    /// Whether something that was begun is not read to its end.
    pub fn is_reading(&self) -> bool {
        self.head.is_some() || self.sweep.is_some() || self.recheck.is_some()
    }

    /// Turns to what the next request is made for, at `now` since the start, where about `expected` new entries are expected.
    /// Says whether there is anything to be asked for it.
    pub fn turn_to(&mut self, class: Class, expected: f64, now: Duration) -> bool {
        self.turn = class;
        match class {
            Class::Heads if self.head.is_none() && self.is_sweep_overdue(now) => self.turn = Class::Sweeps,
            Class::Heads if self.head.is_none() => self.head = Some(self.start_head(expected, now)),
            Class::Sweeps if self.sweep.is_none() => self.sweep = self.start_sweep(now),
            Class::Rechecks if self.recheck.is_none() => self.recheck = self.start_rechecks(now),
            _ => {}
        }
        match self.turn {
            Class::Heads => self.head.is_some(),
            Class::Sweeps => self.sweep.is_some(),
            Class::Rechecks => self.recheck.is_some(),
            Class::Discovery => false,
        }
    }

    /// The page that is wanted next; the first one of a head walk where nothing was begun.
    pub fn request(&mut self, now: Duration) -> PageRequest {
        match (&self.recheck, &self.sweep, self.turn) {
            (Some(recheck), _, Class::Rechecks) => recheck.request(),
            (_, Some(sweep), Class::Sweeps) => sweep.walk.request(),
            _ => {
                self.turn = Class::Heads;
                let head = self.head.take().unwrap_or_else(|| self.start_head(0.0, now));
                self.head.insert(head).walk.request()
            }
        }
    }

    /// A sweep whose mark is older than a sweep's interval takes the turns of polls, so that it comes to its end: a start after
    /// a crash relies on no sweep taking much longer.
    fn is_sweep_overdue(&self, now: Duration) -> bool {
        self.sweep.as_ref().is_some_and(|sweep| now > sweep.began + self.settings.windows.sweep_interval)
    }

    fn start_head(&self, expected: f64, now: Duration) -> Reading {
        let per_page = self.settings.per_page;
        let began = now;
        if let Some(StagedWalk { coverage, until, newest, oldest, count, .. }) = self.staged {
            let stretch = Stretch { newest, oldest, count };
            // Late entries may have turned up in what it had read: the sweep is still to be made.
            let coverage = if coverage == Coverage::Sweep { Coverage::Head } else { coverage };
            let walk = Walk::resume(until, per_page, stretch).expecting(self.holes(), self.bottom);
            return Reading { is_resumed: true, ..Reading::new(walk, coverage, until, began) };
        }
        let marks = self.ledger.marks();
        let (until, coverage) = match (marks.contacted, marks.watermark) {
            // The cut becomes known with the first answer.
            (false, _) => (marks.cut.unwrap_or(Timestamp::from_micros(i64::MIN)), Coverage::FirstContact),
            // Contacted while its log was empty: there is nothing below.
            (true, None) => (marks.cut.unwrap_or_default(), Coverage::Sweep),
            // Nothing tells what turned up late while nobody looked.
            (true, Some(watermark)) if self.next_sweep.is_none() => {
                (self.first_sweep_until(watermark), Coverage::Sweep)
            }
            (true, Some(watermark)) => (self.settings.windows.head_until(watermark), Coverage::Head),
        };
        let first = if coverage == Coverage::Head { self.first_page(until, expected, now) } else { per_page };
        Reading::new(self.walk(until).with_first_page(first), coverage, until, began)
    }

    fn walk(&self, until: Timestamp) -> Walk {
        Walk::new(until, self.settings.per_page).expecting(self.holes(), self.bottom)
    }

    /// The entries that are known to be unreadable, those met last first.
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
        let is_due = self.next_sweep.is_some_and(|due| now + self.settings.windows.sweep_interval / 2 >= due);
        let is_sweeping = self.sweep.is_some();
        let to_sweep = self.sweep_until().filter(|_| !is_sweeping).map_or(full as usize, known_since);
        first_page(expected, known_since(until), to_sweep, is_due, full)
    }

    fn start_sweep(&self, now: Duration) -> Option<Reading> {
        // A long walk is on disk: it comes first.
        let is_due = self.staged.is_none() && self.sweep_due().is_some_and(|due| due <= now);
        let until = self.sweep_until().filter(|_| is_due)?;
        Some(Reading::new(self.walk(until), Coverage::Sweep, until, now))
    }

    /// Where a sweep ends; nothing where there is no watermark yet.
    fn sweep_until(&self) -> Option<Timestamp> {
        let marks = self.ledger.marks();
        let mark = marks.swept.unwrap_or(marks.watermark?);
        Some(self.settings.windows.sweep_until(self.sweep_mark.map_or(mark, |own| own.min(mark))))
    }

    /// The same for the first walk after a start: polls may have moved the mark while the last sweep went on.
    fn first_sweep_until(&self, watermark: Timestamp) -> Timestamp {
        let marks = self.ledger.marks();
        let windows = &self.settings.windows;
        let until = windows.sweep_until(marks.swept.unwrap_or(watermark));
        let further = until.minus(windows.sweep_interval);
        // What is forgotten need not be read again.
        marks.horizon.map_or(further, |horizon| further.max(horizon)).min(until)
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

    /// Takes note that an answer came, whatever its status: with the first one the target becomes known.
    pub fn answered(&mut self, at: SinceStart) {
        self.first_answer.get_or_insert(at);
    }

    /// What the first answer of all settles, to be committed before any page is absorbed; `seen` is an answer by which the server's
    /// clock is known. It need not be the first: the time between them is known without it.
    pub fn meet(&self, seen: &Observed) -> Option<Batch> {
        let is_new = self.ledger.marks().known_at.is_none() && !self.ledger.marks().contacted;
        let first = seen.now.minus(self.first_answer.map_or(Duration::ZERO, |first| seen.at.since(first)));
        is_new.then(|| Batch { coverage: Coverage::Met, known_at: self.known_at, now: first, ..Batch::default() })
    }

    /// What sets the target's marks right where a clock that was ahead has made them; `None` if they are. The target became known
    /// when discovery says so, else no earlier than the state file, which was made at `created_at`.
    pub fn mend(&self, now: ServerTime, created_at: LocalTime) -> Option<Batch> {
        let known_at = self.known_at.filter(|known_at| *known_at <= now.timestamp());
        let known_at = known_at.map_or(created_at.timestamp(), |known_at| known_at.max(created_at.timestamp()));
        let is_ahead = self.ledger.marks().are_ahead_of(now);
        is_ahead.then(|| Batch { coverage: Coverage::Mended, known_at: Some(known_at), now, ..Batch::default() })
    }

    /// Gives up what is being read. The next walk is the first one after a start, and what it brings has happened meanwhile.
    fn start_over(&mut self) {
        (self.head, self.sweep, self.recheck) = (None, None, None);
        self.rechecks.forget_round();
        (self.next_sweep, self.sweep_mark, self.last_success) = (None, None, None);
    }

    /// Takes in the page that was asked for, as of `date` by the server's clock.
    ///
    /// # Errors
    /// Where the server's pages do not lead on; the walk starts anew at the next poll.
    pub fn absorb(&mut self, page: LogPage, date: ServerTime) -> Result<Absorbed, WalkError> {
        match self.turn {
            Class::Sweeps => match self.sweep.take() {
                Some(reading) => self.absorb_walk(reading, page, date),
                None => Ok(Absorbed::More),
            },
            Class::Rechecks => match self.recheck.take() {
                Some(mut recheck) => {
                    let progress = recheck.absorb(page);
                    Ok(self.go_on_rechecking(recheck, progress, date))
                }
                None => Ok(Absorbed::More),
            },
            Class::Heads | Class::Discovery => match self.head.take() {
                Some(reading) => self.absorb_walk(reading, page, date),
                None => Ok(Absorbed::More),
            },
        }
    }

    fn absorb_walk(&mut self, mut reading: Reading, page: LogPage, date: ServerTime) -> Result<Absorbed, WalkError> {
        if reading.coverage == Coverage::FirstContact {
            reading.until = self.ledger.marks().cut.unwrap_or_default();
            reading.walk.set_until(reading.until);
        }
        reading.first_read.get_or_insert(date.timestamp());
        let ledger = &self.ledger;
        let known = Known { entry: &|id| ledger.find(id).is_some(), invalid: &|key| ledger.knows_invalid(key) };
        if reading.walk.absorb(page, known)? == Progress::More {
            self.keep(reading);
            return Ok(Absorbed::More);
        }
        Ok(Absorbed::Complete(self.complete(reading, date)))
    }

    /// What a walk has read that is over.
    fn complete(&mut self, reading: Reading, date: ServerTime) -> Batch {
        let Reading { mut walk, coverage, first_read, is_resumed, .. } = reading;
        let has_met_known = walk.has_met_known() || (self.is_staged_turn() && self.staged_has_met_known());
        let cut_short = walk.cut_short();
        let is_torn = (walk.has_reached_end() || cut_short.is_some()) && !has_met_known;
        self.bottom = walk.bottom();
        self.note_cut_short(cut_short, coverage);
        self.total = self.note_total(walk.total());
        let reaches_end = walk.has_reached_end();
        let (attempts, invalid) = walk.take();
        let oldest = attempts.last().map(|attempt| attempt.created_at);
        let reaches_far = reaches_end || oldest < self.sweep_until() && oldest.is_some();
        let is_sweep = coverage == Coverage::Head && reaches_far && !is_resumed;
        Batch {
            attempts,
            invalid,
            coverage: if is_sweep { Coverage::Sweep } else { coverage },
            is_torn,
            is_cut_short: cut_short.is_some(),
            last_success: self.last_success,
            now: date,
            began: first_read,
            ..Batch::default()
        }
    }

    fn note_cut_short(&mut self, cause: Option<CutShort>, coverage: Coverage) {
        // A poll that needs no deep page shows nothing.
        if cause.is_some() || coverage != Coverage::Head {
            self.is_cut_told &= cause == self.cut_short;
            self.cut_short = cause;
        }
    }

    /// Why walks end before their time, once for each change of that.
    pub fn take_cut_short(&mut self) -> Option<CutShort> {
        let cause = self.cut_short?;
        (!std::mem::replace(&mut self.is_cut_told, true)).then_some(cause)
    }

    /// How many answers a first contact has read at `now` since the start, and how far back it has come, if it is time to log that.
    pub fn take_progress(&mut self, now: Duration) -> Option<(u64, Option<Timestamp>)> {
        let head = self.head.as_ref().filter(|head| head.coverage == Coverage::FirstContact)?;
        let told = self.progress_told.map_or(head.began, |told| told.max(head.began));
        if now < told + PROGRESS_INTERVAL {
            return None;
        }
        self.progress_told = Some(now);
        Some(head.walk.reached())
    }

    fn keep(&mut self, reading: Reading) {
        match self.turn {
            Class::Sweeps => self.sweep = Some(reading),
            _ => self.head = Some(reading),
        }
    }

    fn is_staged_turn(&self) -> bool {
        self.turn == Class::Heads
    }

    fn staged_has_met_known(&self) -> bool {
        self.staged.is_some_and(|staged| staged.has_met_known)
    }

    fn go_on_rechecking(&mut self, recheck: Recheck, progress: Progress, date: ServerTime) -> Absorbed {
        if progress == Progress::More {
            self.recheck = Some(recheck);
            return Absorbed::More;
        }
        self.failed_rounds = 0;
        let read = recheck.finish();
        self.rechecks.put_off(&read.put_off);
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
    ///
    /// # Errors
    /// Where page after page is too large in the same way; the walk starts anew at the next poll.
    pub fn absorb_too_large(&mut self, key: Box<str>, date: ServerTime) -> Result<Absorbed, WalkError> {
        if self.turn == Class::Rechecks {
            let Some(mut recheck) = self.recheck.take() else { return Ok(Absorbed::More) };
            let progress = recheck.absorb_too_large();
            return Ok(self.go_on_rechecking(recheck, progress, date));
        }
        let reading = if self.turn == Class::Sweeps { self.sweep.take() } else { self.head.take() };
        if let Some(mut reading) = reading {
            reading.walk.absorb_too_large(key)?;
            self.keep(reading);
        }
        Ok(Absorbed::More)
    }

    /// Records that a request has failed with `error`, at `date` by the server's clock. A walk requests the same page again, and
    /// after some failures finds out what the cause is; rechecks wait for their next turn, because what they looked for is
    /// somewhere else by then.
    ///
    /// # Errors
    /// If no cause can be found; the walk starts anew at the next poll.
    pub fn failed(&mut self, error: &ApiError, date: ServerTime) -> Result<Failure, WalkError> {
        // These say nothing of a page.
        let is_of_page = !matches!(error, ApiError::Unauthorized { .. } | ApiError::RateLimited { .. });
        match self.turn {
            Class::Rechecks => Ok(self.fail_recheck(is_of_page, date)),
            _ if !is_of_page => Ok(Failure::Of(Failed::BackOff)),
            turn => {
                let reading = if turn == Class::Sweeps { self.sweep.take() } else { self.head.take() };
                let Some(mut reading) = reading else { return Ok(Failure::Of(Failed::BackOff)) };
                let failed = reading.walk.fail(date.timestamp())?;
                if failed == Failed::Done {
                    return Ok(Failure::Complete(self.complete(reading, date)));
                }
                self.keep(reading);
                Ok(Failure::Of(failed))
            }
        }
    }

    fn fail_recheck(&mut self, is_of_page: bool, date: ServerTime) -> Failure {
        let round = self.recheck.take();
        self.failed_rounds += u32::from(is_of_page);
        match round.filter(|_| is_of_page && self.failed_rounds > FAILED_ROUNDS) {
            Some(mut recheck) => {
                let progress = recheck.absorb_too_large();
                match self.go_on_rechecking(recheck, progress, date) {
                    Absorbed::Complete(batch) => Failure::Complete(batch),
                    Absorbed::More => Failure::Of(Failed::BackOff),
                }
            }
            None => {
                self.rechecks.forget_round();
                Failure::Of(Failed::BackOff)
            }
        }
    }

    /// What a long walk has read since it was last put on disk, and what that makes of it there; nothing while that is little.
    pub fn take_for_stage(&mut self, date: ServerTime) -> Option<(StagedWalk, Vec<Attempt>, Vec<Box<str>>)> {
        // There is room for one walk on disk, and a sweep beside it would be taken for its end.
        if self.turn != Class::Heads || self.sweep.is_some() {
            return None;
        }
        let has_met_known = self.staged_has_met_known();
        let Reading { walk, coverage, until, first_read, .. } = self.head.as_mut()?;
        if walk.len() < STAGED_AT_ONCE || !walk.has_attempts() || !walk.is_contiguous() {
            return None;
        }
        let has_met_known = walk.has_met_known() || has_met_known;
        let (coverage, until) = (*coverage, *until);
        let (attempts, invalid) = walk.take();
        let before = self.staged.map(|StagedWalk { newest, oldest, count, .. }| Stretch { newest, oldest, count });
        let Stretch { newest, oldest, count } =
            stretch(before, &attempts, invalid.len(), first_read.unwrap_or(date.timestamp()))?;
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
        self.head = None;
    }

    /// Takes note that a batch was committed, at `now` since the start.
    pub fn committed(&mut self, batch: &Batch, tally: &Tally, now: Duration) {
        match batch.coverage {
            Coverage::Met => return,
            Coverage::Mended => return self.start_over(),
            _ => self.clock = Some((batch.now, now)),
        }
        match batch.coverage {
            Coverage::Met | Coverage::Mended => {}
            Coverage::Pages => self.found_aside += tally.new,
            Coverage::Head => {
                self.staged = None;
                self.look_deeper(tally, now);
            }
            Coverage::Sweep | Coverage::FirstContact => {
                self.staged = None;
                self.sweep_mark = batch.attempts.first().map(|attempt| attempt.created_at).or(self.sweep_mark);
                self.next_sweep = Some(now + self.settings.windows.sweep_interval);
                self.is_hastened = false;
                // What the one under way could still bring was just read.
                self.sweep = None;
            }
        }
        self.rechecks.note(batch, &self.ledger);
    }

    /// The list's length after a walk; before, it is compared with what the walk has brought ([`Reader::look_deeper`]).
    fn note_total(&mut self, total: Option<u64>) -> Option<u64> {
        self.growth = self.total.zip(total).map(|(before, after)| after.saturating_sub(before));
        total
    }

    /// Where the list has grown by more than was found, something has turned up further down: the next sweep looks for it at
    /// once, though only one between two regular ones.
    fn look_deeper(&mut self, tally: &Tally, now: Duration) {
        let found = tally.new + std::mem::take(&mut self.found_aside);
        if self.growth.take().is_some_and(|growth| growth > found) && !self.is_hastened {
            self.is_hastened = true;
            self.next_sweep = self.next_sweep.map(|due| due.min(now));
        }
    }

    /// Takes note that a poll has succeeded.
    pub fn succeeded(&mut self, date: ServerTime) {
        self.last_success = Some(date.timestamp());
    }

    /// When the next sweep is due, in time since the start; nothing where head walks are sweeps anyhow.
    pub fn sweep_due(&self) -> Option<Duration> {
        self.ledger.marks().watermark.and(self.next_sweep)
    }

    /// When the next recheck is due, in time since the start; nothing where no entry is open.
    pub fn recheck_due(&self) -> Option<Duration> {
        let (date, at) = self.clock?;
        let next = self.rechecks.next(&self.ledger, &self.settings.windows)?;
        Some(at + next.since(date.timestamp()))
    }

    /// What the memory tells of arrivals up to `date`, by the server's clock.
    pub fn arrivals(&self, date: ServerTime) -> Rate {
        let marks = self.ledger.marks();
        let from = marks.cut.max(marks.horizon).unwrap_or(date.timestamp());
        let newest_first = self.ledger.rows().rev();
        let ages =
            newest_first.take_while(|(key, _)| key.created_at >= from).map(|(key, _)| date.since(key.created_at));
        Rate::from_ages(ages, date.since(from))
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
