//! A daemon without I/O: walks, sweeps and rechecks of a log that moves, decided, committed, interrupted and begun
//! again.

use std::collections::{BTreeMap, BTreeSet};

use super::disk::{Disk, Staged};
use super::oracle::Oracle;
use super::world::World;
use crate::delivery::{Attempt, EntryId, Timestamp};
use crate::ledger::decide::{Batch, Coverage, Decision, Pass, decide};
use crate::ledger::losses::KEPT_LOSSES;
use crate::ledger::memory::{Layer, Memory};
use crate::ledger::row::RowKey;
use crate::ledger::series::Family;
use crate::ledger::series::LogOutcome;
use crate::ledger::state::Ledger;
use crate::ledger::totals::Total;
use crate::testing::{at, policy, server};

/// What is staged is met again from so far above its newest entry, in seconds.
const OVERLAP: i64 = 2;

/// What goes wrong with a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The process ends before anything is written.
    CrashBefore,
    /// The process ends when all is written, before it is applied.
    CrashAfter,
    /// The disk cannot take it; the batch is kept.
    Full,
}

/// A walk that is under way.
#[derive(Debug)]
struct Walk {
    coverage: Coverage,
    until: Timestamp,
    /// When its first page was read.
    began: Option<Timestamp>,
    /// The oldest second that was read, from which on the next page goes on.
    reached: Option<Timestamp>,
    /// The newest and the oldest time of what need not be read again.
    skip: Option<(Timestamp, Timestamp)>,
    has_met_known: bool,
    attempts: Vec<Attempt>,
    invalid: Vec<Box<str>>,
}

impl Walk {
    fn new(coverage: Coverage, until: Timestamp, skip: Option<(Timestamp, Timestamp)>) -> Self {
        Self {
            coverage,
            until,
            began: None,
            reached: None,
            skip,
            has_met_known: false,
            attempts: Vec::new(),
            invalid: Vec::new(),
        }
    }
}

/// The daemon, its disk, and what it must come to.
#[derive(Debug, Default)]
pub(super) struct Daemon {
    pub(super) ledger: Ledger,
    disk: Disk,
    pub(super) oracle: Oracle,
    walk: Option<Walk>,
    uncommitted: Option<Batch>,
    next_sweep: i64,
    last_success: Option<Timestamp>,
    pub(super) fault: Option<Fault>,
    /// The entries decided at once where a walk is on disk.
    pub(super) part: usize,
}

impl Daemon {
    /// A daemon with an empty state file.
    pub(super) fn new() -> Self {
        Self { part: 1, ..Self::default() }
    }

    /// Begins anew with what is on disk.
    pub(super) fn restart(&mut self) {
        self.ledger = self.disk.restore();
        (self.walk, self.uncommitted, self.fault) = (None, None, None);
        self.next_sweep = 0;
    }

    /// Reads another page of about `size` entries; says whether a poll was completed.
    pub(super) fn request(&mut self, world: &World, size: usize, order: u8) -> bool {
        if let Some(batch) = self.uncommitted.take() {
            return self.settle(batch);
        }
        if self.ledger.marks().known_at.is_none() {
            let met = Batch { coverage: Coverage::FirstResponse, now: server(world.now), ..Batch::default() };
            if !self.settle(met) {
                return false;
            }
        }
        let mut walk = self.walk.take().unwrap_or_else(|| self.start_walk(world.now));
        if !self.read_page(&mut walk, world, size, order) {
            self.walk = Some(walk);
            return false;
        }
        self.complete(walk, world.now)
    }

    /// Reads to known ground while a sweep is under way, as polls do.
    pub(super) fn poll_aside(&mut self, world: &World, order: u8) {
        let is_sweeping = self.walk.as_ref().is_some_and(|walk| walk.coverage == Coverage::Sweep);
        let Some(watermark) = self.ledger.marks().watermark.filter(|_| is_sweeping) else { return };
        if self.disk.staged.is_some() || self.uncommitted.is_some() {
            return;
        }
        let sweep = self.walk.take();
        let is_lost = matches!(self.fault, Some(Fault::CrashBefore | Fault::CrashAfter));
        let mut head = Walk::new(Coverage::Head, policy().windows.head_until(watermark), None);
        while !self.read_page(&mut head, world, 1, order) {}
        self.complete(head, world.now);
        self.walk = sweep.filter(|_| !is_lost);
    }

    fn complete(&mut self, walk: Walk, now: i64) -> bool {
        let has_met_known = walk.has_met_known || self.disk.staged.as_ref().is_some_and(|staged| staged.has_met_known);
        let has_reached_end = walk.reached >= Some(walk.until) || walk.reached.is_none();
        self.settle(Batch {
            attempts: walk.attempts,
            invalid: walk.invalid,
            coverage: walk.coverage,
            is_torn: has_reached_end && !has_met_known,
            last_success: self.last_success,
            now: server(now),
            began: walk.began,
            ..Batch::default()
        })
    }

    fn start_walk(&self, now: i64) -> Walk {
        let marks = self.ledger.marks();
        let windows = policy().windows;
        let (coverage, until) = match (&self.disk.staged, marks.watermark) {
            // What the interrupted sweep has read may have changed since: the next one reads it again.
            (Some(staged), _) if staged.coverage == Coverage::Sweep => (Coverage::Head, staged.until),
            (Some(staged), _) => (staged.coverage, staged.until),
            _ if !marks.contacted => (Coverage::FirstContact, marks.history_cutoff.unwrap()),
            (None, None) => (Coverage::Sweep, marks.history_cutoff.unwrap()),
            (None, Some(watermark)) if now >= self.next_sweep => {
                (Coverage::Sweep, windows.sweep_until(marks.swept.unwrap_or(watermark)))
            }
            (None, Some(watermark)) => (Coverage::Head, windows.head_until(watermark)),
        };
        let skip = self.disk.staged.as_ref().map(|staged| (staged.newest, staged.oldest));
        Walk::new(coverage, until, skip)
    }

    /// Reads on from where the walk is: a page holds all of its seconds. Says whether it was the last one.
    fn read_page(&self, walk: &mut Walk, world: &World, size: usize, order: u8) -> bool {
        walk.began.get_or_insert(at(world.now));
        let list = world.list(order);
        let from = list.partition_point(|entry| walk.reached.is_some_and(|reached| entry.created_at > reached));
        let last = list[from..].iter().find(|entry| Some(entry.created_at) < walk.reached || walk.reached.is_none());
        let least = last.map_or(list.len(), |last| list.partition_point(|entry| entry.created_at >= last.created_at));
        let to = least.max(from + size).min(list.len());
        let to = to + list[to..].iter().take_while(|entry| entry.created_at == list[to - 1].created_at).count();
        let page = &list[from..to];
        walk.has_met_known |= page.iter().any(|entry| self.ledger.find(&entry.id).is_some());
        walk.attempts.extend_from_slice(page);
        walk.invalid.clone_from(&world.invalid);
        walk.reached = page.last().map(|entry| entry.created_at).or(walk.reached);
        let has_reached = |walk: &Walk, time: Timestamp| walk.reached.is_some_and(|reached| reached < time);
        if let Some((newest, oldest)) = walk.skip
            && to < list.len()
            && has_reached(walk, newest.minus(std::time::Duration::from_secs(OVERLAP as u64)))
        {
            walk.reached = walk.reached.min(Some(oldest));
            walk.skip = None;
            return has_reached(walk, walk.until);
        }
        to == list.len() || has_reached(walk, walk.until)
    }

    /// Puts what the walk under way has read on disk.
    pub(super) fn stage(&mut self, now: i64) {
        let Some(walk) = self.walk.as_mut().filter(|walk| walk.skip.is_none() && !walk.attempts.is_empty()) else {
            return;
        };
        let attempts = std::mem::take(&mut walk.attempts);
        let newest = attempts.iter().map(|entry| entry.created_at).max().unwrap().min(walk.began.unwrap_or(at(now)));
        let oldest = attempts.iter().map(|entry| entry.created_at).min().unwrap();
        let staged = self.disk.staged.get_or_insert_with(|| Staged {
            coverage: walk.coverage,
            until: walk.until,
            newest,
            oldest,
            has_met_known: false,
            entries: Default::default(),
            invalid: Default::default(),
        });
        staged.newest = staged.newest.max(newest);
        staged.oldest = staged.oldest.min(oldest);
        staged.has_met_known |= walk.has_met_known;
        staged.add(attempts, std::mem::take(&mut walk.invalid));
    }

    /// Reads entries that are open again, and what stands beside them.
    pub(super) fn recheck(&mut self, world: &World, picks: &[u8], order: u8) {
        if self.walk.is_some() || self.disk.staged.is_some() || self.uncommitted.is_some() {
            return;
        }
        let open: Vec<RowKey> = self.ledger.open().map(|(key, _)| key.clone()).collect();
        if open.is_empty() {
            return;
        }
        let wanted: BTreeSet<&EntryId> = picks.iter().map(|pick| &open[usize::from(*pick) % open.len()].id).collect();
        let list = world.list(order);
        let mut batch = Batch { last_success: self.last_success, now: server(world.now), ..Batch::default() };
        for id in wanted {
            match list.iter().position(|entry| entry.id == *id) {
                Some(place) => {
                    batch.attempts.extend_from_slice(&list[place.saturating_sub(1)..list.len().min(place + 2)])
                }
                None => batch.missing.push(id.clone()),
            }
        }
        self.settle(batch);
    }

    /// Decides, commits, and applies. Says whether that went well.
    fn settle(&mut self, batch: Batch) -> bool {
        let fault = self.fault.take();
        match fault {
            Some(Fault::CrashBefore) => {
                self.restart();
                return false;
            }
            Some(Fault::Full) => {
                self.uncommitted = Some(batch);
                return false;
            }
            _ => {}
        }
        let is_walk = !matches!(batch.coverage, Coverage::FirstResponse | Coverage::Pages);
        let decided = match self.disk.staged.take().filter(|_| is_walk) {
            Some(staged) => self.settle_staged(batch, staged),
            None => self.settle_whole(batch),
        };
        if is_walk && decided.coverage != Coverage::Head {
            self.next_sweep = second_of(decided.now.timestamp()) + policy().windows.sweep_interval.as_secs() as i64;
        }
        if decided.coverage != Coverage::FirstResponse {
            self.last_success = Some(decided.now.timestamp());
        }
        self.check();
        if fault == Some(Fault::CrashAfter) {
            self.restart();
        }
        true
    }

    fn settle_whole(&mut self, batch: Batch) -> Batch {
        let decision = decide(&self.ledger, &batch, &policy());
        let before = self.oracle.watermark;
        self.oracle.take(&batch);
        self.check_decision(&decision, &batch);
        if decision.changes.must_commit {
            self.disk.write(&decision.changes);
        }
        self.oracle.forget(&decision.changes.pruned, batch.now.timestamp(), before);
        self.ledger.apply(decision.changes);
        batch
    }

    fn check_decision(&self, decision: &Decision, batch: &Batch) {
        let born: BTreeSet<_> = decision.changes.births.keys().collect();
        assert_eq!(born, self.oracle.births(), "other series are born");
        let was_away = batch.last_success.is_none_or(|last| batch.now.since(last) > policy().catch_up_after);
        let is_catching_up = match batch.coverage {
            Coverage::FirstResponse => false,
            Coverage::FirstContact => true,
            _ => was_away,
        };
        assert_eq!(decision.changes.catching_up.is_some(), is_catching_up && decision.changes.must_commit);
    }

    /// The same part by part, as one transaction: it must come to what it comes to when it is decided whole.
    fn settle_staged(&mut self, mut batch: Batch, mut staged: Staged) -> Batch {
        staged.add(std::mem::take(&mut batch.attempts), std::mem::take(&mut batch.invalid));
        let attempts: Vec<Attempt> = staged.entries.into_values().collect();
        let whole = Batch { attempts, invalid: staged.invalid.into_iter().collect(), ..batch.clone() };
        let before = self.oracle.watermark;
        let mut pruned = Vec::new();
        let mut layer = Layer::over(&self.ledger);
        for pass in [Pass::Register, Pass::Settle] {
            let mut parts = whole.attempts.chunks(self.part.max(1)).peekable();
            while let Some(part) = parts.next() {
                let is_last = parts.peek().is_none() && pass == Pass::Settle;
                let invalid = if is_last { whole.invalid.clone() } else { Vec::new() };
                let pass = if is_last { Pass::Last } else { pass };
                let part = Batch { attempts: part.to_vec(), invalid, pass, ..batch.clone() };
                let decision = decide(Memory::under(&self.ledger, &layer), &part, &policy());
                if decision.changes.must_commit {
                    self.disk.write(&decision.changes);
                }
                pruned.extend_from_slice(&decision.changes.pruned);
                layer.add(&self.ledger, decision.changes);
            }
        }
        layer.settle_into(&mut self.ledger);
        self.oracle.take(&whole);
        self.oracle.forget(&pruned, whole.now.timestamp(), before);
        // Entries that are dated ahead may fill the last part, and stand for an earlier time than those before them.
        let after = self.ledger.marks().watermark;
        assert!((before..=self.oracle.watermark).contains(&after), "{after:?} after {before:?}");
        self.oracle.watermark = after;
        whole
    }

    /// Checks everything that must hold at any time.
    fn check(&self) {
        let totals = self.ledger.totals();
        assert_eq!(self.oracle.differences(totals), [""; 0]);
        let open: BTreeSet<&RowKey> = self.ledger.open().map(|(key, _)| key).collect();
        assert_eq!(open, self.oracle.open());
        assert_eq!(self.ledger.marks().watermark, self.oracle.watermark);
        self.disk.check(&self.ledger);
        self.check_losses();
        self.disk.check_sums();
    }

    /// Checks what is known of lost deliveries, and of what happened lately.
    fn check_losses(&self) {
        let [since, all] = self.oracle.losses();
        let streak = &self.ledger.marks().streak;
        assert_eq!((streak.count, streak.since), (since.len() as u64, since.first().map(|end| end.at)), "{streak:?}");
        let newest = all[all.len().saturating_sub(KEPT_LOSSES)..].iter();
        // Of those that went on, others that were dropped for them do not come back.
        assert!(self.ledger.losses().keys().eq(newest), "{:?} instead of {all:?}", self.ledger.losses());
        let shown: BTreeMap<_, _> = self.ledger.activity().iter().map(|(minute, of)| (minute, *of)).collect();
        assert_eq!(shown, self.oracle.activity());
    }

    /// Counted, as far as the totals tell: entries, attempts, and entries that were given up.
    pub(super) fn books(&self) -> [u64; 3] {
        let log = |outcome| self.ledger.totals().counter(&crate::ledger::series::SeriesKey::log_entries(outcome));
        let attempts = self.ledger.totals().family(Family::Attempts).map(|(_, total)| match total {
            Total::Counter(count) => *count,
            Total::Histogram(histogram) => histogram.count(),
        });
        [log(LogOutcome::New) + log(LogOutcome::Late), attempts.sum(), log(LogOutcome::Expired)]
    }
}

fn second_of(time: Timestamp) -> i64 {
    (time.as_micros() - at(0).as_micros()) / 1_000_000
}
