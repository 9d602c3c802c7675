//! When open entries are read again: less often as they get older, and a last time before they are no longer followed.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use talkover_core::delivery::{EntryId, Timestamp};
use talkover_core::ledger::decide::Batch;
use talkover_core::ledger::row::RowKey;
use talkover_core::ledger::state::Ledger;
use talkover_core::ledger::watermark::Windows;

/// An open entry is read again when its age has grown by this part, but
const GROWTH: u32 = 4;
/// not more often than this,
const SHORTEST: Duration = Duration::from_secs(15);
/// and at least this often.
const LONGEST: Duration = Duration::from_secs(3600);
/// Entries wanted in one round; most of them share pages, and the number of requests limits the round anyway.
const MAX_IN_ROUND: usize = 200;

/// What was read of open entries, and when, by the server's clock.
#[derive(Debug, Default)]
pub(super) struct Rechecks {
    checked: HashMap<RowKey, Timestamp>,
    /// The entries wanted by the round under way.
    wanted: Vec<RowKey>,
    /// Rounds in a row that failed.
    failed_rounds: u32,
}

impl Rechecks {
    /// The open entries that are due to be read again, the oldest first.
    pub(super) fn due(&self, ledger: &Ledger, windows: &Windows, now: Timestamp) -> Vec<RowKey> {
        let due = ledger.open().filter(|(key, row)| self.next_of(key, row.at, windows) <= now);
        due.take(MAX_IN_ROUND).map(|(key, _)| key.clone()).collect()
    }

    /// When the next of them is due.
    pub(super) fn next(&self, ledger: &Ledger, windows: &Windows) -> Option<Timestamp> {
        ledger.open().map(|(key, row)| self.next_of(key, row.at, windows)).min()
    }

    /// Begins a round.
    pub(super) fn look_for(&mut self, wanted: Vec<RowKey>) {
        self.wanted = wanted;
    }

    /// Records that the round was too short for some.
    pub(super) fn put_off(&mut self, put_off: &HashSet<EntryId>) {
        self.wanted.retain(|key| !put_off.contains(&key.id));
    }

    /// Rounds in a row that failed before this one.
    pub(super) fn failed_rounds(&self) -> u32 {
        self.failed_rounds
    }

    /// Records that a request of the round failed.
    pub(super) fn fail(&mut self) {
        self.failed_rounds += 1;
    }

    /// Records that the round is complete.
    pub(super) fn succeed(&mut self) {
        self.failed_rounds = 0;
    }

    /// Abandons the round.
    pub(super) fn forget_round(&mut self) {
        self.wanted.clear();
    }

    /// Records what was read and committed.
    pub(super) fn note(&mut self, batch: &Batch, ledger: &Ledger) {
        let open: HashSet<&RowKey> = ledger.open().map(|(key, _)| key).collect();
        self.checked.retain(|key, _| open.contains(key));
        let is_round = batch.coverage == talkover_core::ledger::decide::Coverage::Pages;
        let wanted = if is_round { std::mem::take(&mut self.wanted) } else { Vec::new() };
        if open.is_empty() {
            return;
        }
        let read: HashSet<&EntryId> = batch.attempts.iter().map(|attempt| &attempt.id).collect();
        let is_read = |key: &RowKey| read.contains(&key.id);
        // What was looked for without success was checked all the same: it waits for its turn like the others.
        let checked = open.into_iter().filter(|key| is_read(key) || wanted.contains(key));
        self.checked.extend(checked.map(|key| (key.clone(), batch.now.timestamp())));
    }

    /// When an open entry is to be read again.
    fn next_of(&self, key: &RowKey, at: Timestamp, windows: &Windows) -> Timestamp {
        let Some(checked) = self.checked.get(key) else {
            return Timestamp::from_micros(i64::MIN);
        };
        let growth = checked.since(at) / GROWTH;
        let next = checked.plus(growth.clamp(SHORTEST, LONGEST));
        let settled = at.plus(windows.settle_after);
        // A last time before it is no longer followed, even if the next recheck would be later.
        if *checked < settled { next.min(settled) } else { next }
    }
}
