//! Decides the past of one webhook as the daemon would have, and records when each series had which value.
//!
//! The log is treated like a first contact and decided by the same [`decide`]: in parts, oldest first, each as of the
//! end of its last five minutes. Rows that can no longer change are pruned on the way, as in the daemon, so that memory
//! holds only `settle_after` of the log. An attempt counts at the time of its entry, a delivery at the time of its last
//! entry, and an abandoned delivery `settle_after` later.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::time::Duration;

use thiserror::Error;

use super::grid::GridTime;
use super::resume::LogExtent;
use super::spool::{PastSeries, Point, Spool};
use crate::local_clock;
use crate::store::durable::DurableLedger;
use crate::store::error::StoreError;
use crate::store::{SpanBatch, Store};
use talkover_core::delivery::{Attempt, AttemptStatus, DeliveryResult, Target, Timestamp};
use talkover_core::discovery::targets::WebhookInfo;
use talkover_core::ledger::decide::{Batch, Coverage, Decision, Policy, decide};
use talkover_core::ledger::memory::Memory;
use talkover_core::ledger::row::Row;
use talkover_core::ledger::series::LogOutcome;
use talkover_core::ledger::state::{Changes, Ledger};
use talkover_core::ledger::totals::{Total, Totals};
use talkover_core::ledger::transition::Transition;
use talkover_core::server_time::ServerTime;
use talkover_core::spans::span::{Made, SpanPolicy, spans};
use talkover_core::spans::subject::SpanWebhook;

/// Why the past cannot be decided.
#[derive(Debug, Error)]
pub enum ReplayError {
    /// The new state cannot be written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The temporary file cannot be used.
    #[error("failed to keep samples in a temporary file: {0}")]
    Spool(#[from] io::Error),
    /// A bug in this program.
    #[error("the samples of {0} do not add up to the totals of the state: this is a bug, please report it")]
    Unequal(Target),
}

/// A webhook whose past is decided.
#[derive(Clone, Debug)]
pub struct Past {
    /// The webhook.
    pub target: Target,
    /// What discovery knows about it.
    pub info: Option<WebhookInfo>,
    /// Entries count from this time on.
    pub from: Timestamp,
    /// The log is complete up to this time.
    pub end: Timestamp,
    /// The time of the last sample; equals `end`, unless a daemon's own series begin earlier.
    pub samples_until: Timestamp,
}

/// Where decisions are applied.
#[derive(Debug)]
pub enum Books<'a> {
    /// In memory only.
    Scratch(Box<Ledger>),
    /// In the state of a future daemon.
    State {
        /// The memory of the target.
        ledger: Box<DurableLedger>,
        /// The state.
        store: &'a mut dyn Store,
        /// How spans are made; `None` if none are to be sent.
        spans: Option<SpanPolicy>,
    },
}

impl<'a> Books<'a> {
    /// Returns empty books in memory.
    pub fn scratch() -> Self {
        Self::Scratch(Box::default())
    }

    /// Returns empty books in `store`.
    pub fn state(store: &'a mut dyn Store, spans: Option<SpanPolicy>) -> Self {
        Self::State { ledger: Box::default(), store, spans }
    }

    fn ledger(&self) -> &Ledger {
        match self {
            Self::Scratch(ledger) => ledger,
            Self::State { ledger, .. } => ledger,
        }
    }

    fn commit(&mut self, past: &Past, changes: Changes, made: SpanBatch) -> Result<(), StoreError> {
        match self {
            Self::Scratch(ledger) => ledger.apply(changes),
            Self::State { ledger, store, .. } => {
                let durable = store.commit(&past.target, changes, &made)?;
                ledger.apply(durable);
            }
        }
        Ok(())
    }

    fn spans(&self, past: &Past, transitions: &[Transition], now: ServerTime, settle_after: Duration) -> SpanBatch {
        let Self::State { spans: Some(policy), .. } = self else { return SpanBatch::default() };
        let webhook = SpanWebhook { target: &past.target, info: past.info.as_ref() };
        let Made { records, logs, .. } = spans(transitions, webhook, policy);
        let parked_since = now.minus(settle_after * 2);
        SpanBatch { records, logs, queued_at: local_clock::now(), parked_at: now, parked_since }
    }
}

/// The past of one webhook, decided so far.
#[derive(Debug)]
pub struct Replay<'a> {
    past: &'a Past,
    number: usize,
    policy: Policy,
    books: Books<'a>,
    spool: &'a mut Spool,
    /// The totals after the samples so far.
    shown: Totals,
    newest: HashMap<AttemptStatus, Timestamp>,
    /// The entries of the last five minutes, which the next part may continue.
    waiting: Vec<Attempt>,
}

impl<'a> Replay<'a> {
    /// Begins; `number` is the webhook's in `spool`.
    ///
    /// # Errors
    /// If the state cannot be written.
    pub fn begin(
        past: &'a Past,
        number: usize,
        mut policy: Policy,
        books: Books<'a>,
        spool: &'a mut Spool,
    ) -> Result<Self, ReplayError> {
        policy.windows.initial_lookback = past.end.since(past.from);
        // No birth holds: the samples show each series from its beginning, and serving it as 0 again would be a reset.
        policy.holds_births = false;
        let (shown, newest, waiting) = Default::default();
        let mut replay = Self { past, number, policy, books, spool, shown, newest, waiting };
        let met = Batch { coverage: Coverage::FirstResponse, now: ServerTime::new(past.end), ..Batch::default() };
        replay.decide(&met)?;
        Ok(replay)
    }

    /// Adds the next entries, oldest first.
    ///
    /// # Errors
    /// If the state or the spool cannot be written.
    pub fn add(&mut self, attempts: Vec<Attempt>) -> Result<(), ReplayError> {
        let (from, end) = (self.past.from, self.past.end);
        // Entries dated in the future are left to the daemon.
        self.waiting.extend(attempts.into_iter().filter(|attempt| (from..=end).contains(&attempt.created_at)));
        let Some(last) = self.waiting.last().map(|attempt| GridTime::showing(attempt.created_at)) else {
            return Ok(());
        };
        let complete = self.waiting.partition_point(|attempt| GridTime::showing(attempt.created_at) < last);
        if complete == 0 {
            return Ok(());
        }
        let rest = self.waiting.split_off(complete);
        let part = std::mem::replace(&mut self.waiting, rest);
        let now = last.before().time();
        self.decide(&Batch { attempts: part, ..self.batch(now) })
    }

    /// Decides the remaining entries, the `invalid` ones, and whether the log could be read to its end.
    ///
    /// # Errors
    /// If the state or the spool cannot be written, or if the samples do not add up to the totals.
    pub fn finish(mut self, invalid: Vec<Box<str>>, log_extent: LogExtent) -> Result<(), ReplayError> {
        let attempts = std::mem::take(&mut self.waiting);
        let is_cut_short = log_extent == LogExtent::CutShort;
        self.decide(&Batch { attempts, invalid, is_cut_short, ..self.batch(self.past.end) })?;
        let is_whole = self.past.samples_until >= self.past.end;
        if is_whole && self.shown != *self.books.ledger().totals() {
            return Err(ReplayError::Unequal(self.past.target.clone()));
        }
        Ok(self.spool.flush(self.number)?)
    }

    /// Returns the next part of the first contact, as of `now`.
    fn batch(&self, now: Timestamp) -> Batch {
        let windows = &self.policy.windows;
        let open = self.books.ledger().open().filter(|(_, row)| windows.is_settled(row.at, now));
        Batch {
            // Updates have read open entries again: those that are still open stayed so until now.
            missing: open.map(|(key, _)| key.id.clone()).collect(),
            coverage: Coverage::FirstContact,
            now: ServerTime::new(now),
            began: Some(now),
            ..Batch::default()
        }
    }

    fn decide(&mut self, batch: &Batch) -> Result<(), ReplayError> {
        let decision = match &self.books {
            Books::Scratch(ledger) => decide(Memory::from(&**ledger), batch, &self.policy),
            Books::State { ledger, .. } => decide(&**ledger, batch, &self.policy),
        };
        let by_slot = self.by_slot(&decision, batch.now.timestamp());
        for (slot, transitions) in by_slot {
            self.note(slot, &transitions)?;
        }
        let settle_after = self.policy.windows.settle_after;
        let made = self.books.spans(self.past, &decision.transitions, batch.now, settle_after);
        self.books.commit(self.past, decision.changes, made)?;
        Ok(())
    }

    /// Groups the transitions of a decision by the first sample that shows them.
    fn by_slot(&self, decision: &Decision, now: Timestamp) -> BTreeMap<GridTime, Vec<Transition>> {
        let mut by_slot: BTreeMap<GridTime, Vec<Transition>> = BTreeMap::new();
        let mut add = |time: Timestamp, transition: Transition| {
            if time <= self.past.samples_until {
                by_slot.entry(GridTime::showing(time)).or_default().push(transition);
            }
        };
        let rows: HashMap<_, _> = decision.changes.rows.iter().map(|(key, row)| (&key.id, row)).collect();
        for transition in &decision.transitions {
            let time = match transition {
                Transition::Counted { at, .. } => *at,
                Transition::Ended { id, result, .. } => {
                    rows.get(id).map_or(now, |row| self.ended_at(row, *result)).min(now)
                }
                // Their times come from the rows; see below.
                Transition::Logged(LogOutcome::New | LogOutcome::Late | LogOutcome::Expired) => continue,
                Transition::Logged(_) | Transition::Gap => now,
            };
            add(time, transition.clone());
        }
        for (key, row) in &decision.changes.rows {
            let before = self.books.ledger().row(key);
            if before.is_none() {
                let outcome = if row.late { LogOutcome::Late } else { LogOutcome::New };
                add(row.at, Transition::Logged(outcome));
            }
            if has_expired(row) && !before.is_some_and(has_expired) {
                add(row.at.plus(self.policy.windows.settle_after).min(now), Transition::Logged(LogOutcome::Expired));
            }
        }
        by_slot
    }

    fn ended_at(&self, row: &Row, result: DeliveryResult) -> Timestamp {
        match result {
            DeliveryResult::Success | DeliveryResult::Failed => row.at,
            DeliveryResult::Abandoned => row.at.plus(self.policy.windows.settle_after),
        }
    }

    fn note(&mut self, slot: GridTime, transitions: &[Transition]) -> Result<(), ReplayError> {
        let changed = self.shown.after(transitions, &self.policy.labels).totals;
        self.shown.apply(&changed);
        for (key, total) in changed {
            self.spool.push(self.number, PastSeries::Total(key), Point { slot, numbers: numbers(&total) })?;
        }
        for transition in transitions {
            let Transition::Counted { at, labels, .. } = transition else { continue };
            let newest = self.newest.entry(labels.status).or_insert(*at);
            *newest = (*newest).max(*at);
        }
        let counted = |status: &AttemptStatus| {
            transitions.iter().any(|one| matches!(one, Transition::Counted { labels, .. } if labels.status == *status))
        };
        for (status, newest) in self.newest.iter().filter(|(status, _)| counted(status)) {
            let numbers = vec![u64::try_from(newest.as_micros()).unwrap_or(0)];
            self.spool.push(self.number, PastSeries::LastAttempt(*status), Point { slot, numbers })?;
        }
        Ok(())
    }
}

/// Whether an entry expired without an outcome.
fn has_expired(row: &Row) -> bool {
    row.ended && row.counted.is_none()
}

/// Returns the numbers of a total, as the spool keeps them.
fn numbers(total: &Total) -> Vec<u64> {
    match total {
        Total::Counter(value) => vec![*value],
        Total::Histogram(histogram) => histogram.counts.iter().copied().chain([histogram.sum]).collect(),
    }
}

#[cfg(test)]
mod tests;
