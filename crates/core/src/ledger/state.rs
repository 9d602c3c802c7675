//! What is remembered of one target: the entries of the window, which of them may still change, and the totals.
//!
//! It changes through [`Ledger::apply`] and `Ledger::absorb` alone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::activity::{Minute, Outcomes, RecentActivity};
use super::late::LateAttempts;
use super::losses::{EndKey, LossChanges, LossStreak, RecentLosses};
use super::row::{KeyedRow, Row, RowKey};
use super::rows::Rows;
use super::series::SeriesKey;
use super::tips::Tips;
use super::totals::{Birth, Total, Totals};
use crate::delivery::{EntryId, Timestamp};
use crate::server_time::{LocalTime, ServerTime, TOLERANCE};

/// What is remembered of a target as a whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    /// When the target became known: the time of its first answer. What is older is history.
    pub known_at: Option<Timestamp>,
    /// Entries older than this are not counted: how far back the first contact read.
    pub history_cutoff: Option<Timestamp>,
    /// The newest time up to which everything has been read.
    pub watermark: Option<Timestamp>,
    /// The watermark at the last sweep.
    pub swept: Option<Timestamp>,
    /// Rows older than this have been forgotten.
    pub horizon: Option<Timestamp>,
    /// Whether a first walk is complete.
    pub contacted: bool,
    /// The watermark when a gap was last counted, so that each gap counts once.
    pub gap_at: Option<Timestamp>,
    /// The newest time with each outcome, in the order of [`OUTCOMES`](super::activity::OUTCOMES).
    pub last_attempt: [Option<Timestamp>; 4],
    /// The deliveries that were lost since the last one that succeeded.
    pub streak: LossStreak,
}

impl Marks {
    /// Whether the target was first contacted while the clock was ahead: then nothing would be counted until the true
    /// time catches up.
    pub fn are_ahead_of(&self, now: ServerTime) -> bool {
        // Clocks that are believed one after the other may differ by as much.
        let latest = now.plus(TOLERANCE).timestamp();
        self.known_at.max(self.history_cutoff) > Some(latest)
    }
}

/// What a decision changes; empty if nothing has to be written.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Changes {
    /// Rows that are new or have changed.
    pub rows: BTreeMap<RowKey, Row>,
    /// Rows that are forgotten.
    pub pruned: Vec<RowKey>,
    /// What the forgotten rows add to each counter.
    pub pruned_totals: BTreeMap<SeriesKey, u64>,
    /// What the forgotten rows add to what happened lately.
    pub pruned_activity: BTreeMap<Minute, Outcomes>,
    /// What is different of the latest lost deliveries.
    pub losses: LossChanges,
    /// Unusable entries seen for the first time, and when.
    pub invalid: BTreeMap<Box<str>, Timestamp>,
    /// Unusable entries that are forgotten.
    pub pruned_invalid: Vec<Box<str>>,
    /// Series with their new totals.
    pub totals: BTreeMap<SeriesKey, Total>,
    /// The births of those of them that are new and owe nothing to history.
    pub births: BTreeMap<SeriesKey, Birth>,
    /// When this was read, if it happened while nobody looked and arrives all at once.
    pub catching_up: Option<Timestamp>,
    /// The marks, if they have changed.
    pub marks: Option<Marks>,
    /// Ignored entries that need not be counted again while this process lives.
    pub ignored: Vec<EntryId>,
    /// Whether any of this must be committed. The mark of the last sweep alone need not be: an older one makes the next
    /// sweep read further back, never less far.
    pub must_commit: bool,
}

impl Changes {
    /// Moves births back that lie ahead of `now`, because the server's clock is fast.
    ///
    /// A scraper takes `_created` for a time of its own clock, which is nearer to this machine's than to the server's:
    /// it refuses a zero from the future. The moment is stored with the birth, so that it never changes.
    pub fn limit_births(&mut self, now: LocalTime) {
        for birth in self.births.values_mut() {
            birth.at = birth.at.min(now.timestamp());
        }
    }
}

/// Ignored ids are remembered only to save commits; beyond this number they are forgotten and may be counted again.
const MAX_IGNORED: usize = 100_000;

/// The memory of one target.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    marks: Marks,
    rows: Rows,
    invalid: BTreeMap<Box<str>, Timestamp>,
    ignored: BTreeSet<EntryId>,
    totals: Totals,
    /// Shared with whoever shows it, like what happened lately.
    losses: Arc<RecentLosses>,
    activity: Arc<RecentActivity>,
}

impl Ledger {
    /// What the state file holds, except for the entries.
    pub fn restore(marks: Marks, invalid: BTreeMap<Box<str>, Timestamp>, totals: Totals) -> Self {
        Self { marks, invalid, totals, ..Self::default() }
    }

    /// The same with the lost deliveries, and with what forgotten rows have added to what happened lately.
    #[must_use]
    pub fn with(self, losses: impl Into<Arc<RecentLosses>>, activity: impl Into<Arc<RecentActivity>>) -> Self {
        Self { losses: losses.into(), activity: activity.into(), ..self }
    }

    /// Adds an entry that the state file holds.
    pub fn remember(&mut self, key: RowKey, row: Row) {
        Arc::make_mut(&mut self.activity).add_row(&row);
        self.rows.insert(key, row);
    }

    /// Everything remembered, oldest first.
    pub fn rows(&self) -> impl DoubleEndedIterator<Item = (&RowKey, &Row)> {
        self.rows.iter().map(|entry| (&entry.key, &entry.row))
    }

    /// The unusable entries that were counted, with the time at which they were first seen.
    pub fn invalid(&self) -> &BTreeMap<Box<str>, Timestamp> {
        &self.invalid
    }

    /// The marks.
    pub fn marks(&self) -> &Marks {
        &self.marks
    }

    /// The durable totals.
    pub fn totals(&self) -> &Totals {
        &self.totals
    }

    /// The latest of the deliveries that were lost.
    pub fn losses(&self) -> &Arc<RecentLosses> {
        &self.losses
    }

    /// The lost deliveries remembered that ended behind `end`.
    pub fn lost_after(&self, end: Option<&EndKey>) -> impl Iterator<Item = &EndKey> {
        self.rows.lost_after(end)
    }

    /// What happened lately.
    pub fn activity(&self) -> &Arc<RecentActivity> {
        &self.activity
    }

    /// What is remembered of an entry.
    pub fn find(&self, id: &EntryId) -> Option<&KeyedRow> {
        self.rows.find(id)
    }

    /// The row at a key.
    pub fn row(&self, key: &RowKey) -> Option<&Row> {
        self.rows.get(key).map(|entry| &entry.row)
    }

    /// Whether an unusable entry was counted before.
    pub fn knows_invalid(&self, key: &str) -> bool {
        self.invalid.contains_key(key)
    }

    /// Whether an ignored entry was counted before by this process.
    pub fn knows_ignored(&self, id: &EntryId) -> bool {
        self.ignored.contains(id)
    }

    /// The latest attempt of each delivery.
    pub fn tips(&self) -> &Tips {
        self.rows.tips()
    }

    /// The attempts whose predecessor is not known, and those that turned up after their successor.
    pub fn late(&self) -> &LateAttempts {
        self.rows.late()
    }

    /// The entries that are followed, oldest first.
    pub fn open(&self) -> impl DoubleEndedIterator<Item = (&RowKey, &Row)> {
        self.rows.open().map(|entry| (&entry.key, &entry.row))
    }

    /// How many known entries are newer than each of `keys`: their ranks in the list. The keys must be in ascending
    /// order.
    pub fn ranks(&self, keys: &[RowKey]) -> Vec<usize> {
        let mut ranks = vec![0; keys.len()];
        let Some(oldest) = keys.first() else { return ranks };
        let mut waiting = keys.iter().zip(&mut ranks).rev().peekable();
        for (newer, entry) in self.rows.since(oldest).rev().enumerate() {
            while let Some((_, rank)) = waiting.next_if(|(wanted, _)| **wanted >= entry.key) {
                *rank = newer;
            }
        }
        ranks
    }

    /// The entries older than `horizon` that may be forgotten, oldest first.
    pub fn forgettable(&self, horizon: Timestamp) -> impl Iterator<Item = &KeyedRow> {
        let newest = self.rows.iter().next_back().map(|entry| &entry.key);
        self.rows.before(horizon).filter(move |entry| !entry.row.open && Some(&entry.key) != newest)
    }

    /// The unusable entries first seen before `horizon`.
    pub fn forgettable_invalid(&self, horizon: Timestamp) -> impl Iterator<Item = &Box<str>> {
        self.invalid.iter().filter(move |(_, seen)| **seen < horizon).map(|(key, _)| key)
    }

    /// The number of entries remembered.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether no entry is remembered.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// All entries, with the ways to find them.
    pub(super) fn entries(&self) -> &Rows {
        &self.rows
    }

    /// Makes the changes of one decision part of the memory.
    pub fn apply(&mut self, changes: Changes) {
        self.apply_over(None, changes);
    }

    /// The same where what is remembered lies over `base`.
    pub(super) fn apply_over(&mut self, base: Option<&Self>, changes: Changes) {
        if !changes.rows.is_empty() {
            let activity = Arc::make_mut(&mut self.activity);
            for (key, row) in changes.rows {
                let known = self.rows.get(&key).map(|entry| &entry.row);
                activity.replace(known.or_else(|| base?.row(&key)), &row);
                self.rows.insert(key, row);
            }
            activity.forget();
        }
        if !changes.losses.is_empty() {
            changes.losses.apply_to(Arc::make_mut(&mut self.losses));
        }
        for key in &changes.pruned {
            self.rows.remove(key);
        }
        self.invalid.extend(changes.invalid);
        for key in &changes.pruned_invalid {
            self.invalid.remove(key);
        }
        self.remember_ignored(changes.ignored);
        self.totals.apply(&changes.totals);
        if let Some(marks) = changes.marks {
            self.marks = marks;
        }
    }

    /// Makes the changes of several decisions part of the memory: what is new or has changed, and what is forgotten.
    pub(super) fn absorb(&mut self, changed: Self, pruned: &BTreeSet<RowKey>, pruned_invalid: &BTreeSet<Box<str>>) {
        for key in pruned {
            self.rows.remove(key);
        }
        self.rows.absorb(changed.rows);
        (self.losses, self.activity) = (changed.losses, changed.activity);
        self.invalid.retain(|key, _| !pruned_invalid.contains(key));
        self.invalid.extend(changed.invalid);
        self.remember_ignored(changed.ignored);
        self.totals = changed.totals;
        self.marks = changed.marks;
    }

    fn remember_ignored(&mut self, ids: impl IntoIterator<Item = EntryId, IntoIter: ExactSizeIterator>) {
        let ids = ids.into_iter();
        if self.ignored.len() + ids.len() > MAX_IGNORED {
            self.ignored.clear();
        }
        self.ignored.extend(ids);
    }
}
