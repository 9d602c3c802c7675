//! What a decision reads: the memory of a target, or that memory under a [`Layer`] of changes that are not committed
//! yet.
//!
//! A walk of a million entries is decided in parts and committed as one. Each part has to see what the parts before it
//! have changed, but the ledger itself, and whoever shows it, must not: nothing of it is durable yet. So the parts
//! collect in a layer. If the commit fails, the layer is dropped and the ledger is unchanged; otherwise the layer
//! becomes part of it. An entry is in the layer or in the ledger, seldom in both, so a layer needs no memory that the
//! ledger would not need.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::losses::{EndKey, RecentLosses};
use super::row::{KeyedRow, Row, RowKey};
use super::rows::Rows;
use super::series::SeriesKey;
use super::state::{Changes, Ledger, Marks};
use super::tips::Tips;
use super::totals::{Birth, Totals};
use crate::delivery::{EntryId, GroupKey, Timestamp};

/// The changes of several decisions, laid over the ledger that they were made for.
#[derive(Debug)]
pub struct Layer {
    /// Rows, ids and keys that are new or different; marks and totals as they will be.
    changed: Ledger,
    /// Rows of the ledger that are forgotten.
    pruned: BTreeSet<RowKey>,
    /// Unusable entries of the ledger that are forgotten.
    pruned_invalid: BTreeSet<Box<str>>,
    births: BTreeMap<SeriesKey, Birth>,
    catching_up: Option<Timestamp>,
}

impl Layer {
    /// Returns an empty layer over `ledger`.
    pub fn over(ledger: &Ledger) -> Self {
        let changed = Ledger::restore(ledger.marks().clone(), BTreeMap::new(), ledger.totals().clone())
            .with(Arc::clone(ledger.losses()), Arc::clone(ledger.activity()));
        let (pruned, pruned_invalid) = Default::default();
        Self { changed, pruned, pruned_invalid, births: BTreeMap::new(), catching_up: None }
    }

    /// Adds what a decision over this layer changes, which lies over `base`.
    pub fn add(&mut self, base: &Ledger, mut changes: Changes) {
        self.births.append(&mut changes.births);
        self.catching_up = changes.catching_up.or(self.catching_up);
        self.pruned.extend(changes.pruned.iter().cloned());
        self.pruned_invalid.extend(changes.pruned_invalid.iter().cloned());
        self.changed.apply_over(Some(base), changes);
    }

    /// Takes out the births of new series that owe nothing to history.
    pub fn take_births(&mut self) -> BTreeMap<SeriesKey, Birth> {
        std::mem::take(&mut self.births)
    }

    /// When this was read, if it happened while nobody looked.
    pub fn catching_up(&self) -> Option<Timestamp> {
        self.catching_up
    }

    /// Makes the changes part of `ledger`, for which they were made.
    pub fn settle_into(self, ledger: &mut Ledger) {
        ledger.absorb(self.changed, &self.pruned, &self.pruned_invalid);
    }
}

/// The memory of a target, as a decision sees it.
#[derive(Clone, Copy, Debug)]
pub struct Memory<'a> {
    base: &'a Ledger,
    layer: Option<&'a Layer>,
}

impl<'a> From<&'a Ledger> for Memory<'a> {
    fn from(base: &'a Ledger) -> Self {
        Self { base, layer: None }
    }
}

impl<'a> Memory<'a> {
    /// Returns the memory of `base` as it will be once `layer` is committed.
    pub fn under(base: &'a Ledger, layer: &'a Layer) -> Self {
        Self { base, layer: Some(layer) }
    }

    /// The ledgers of which it consists: the upper one first.
    fn ledgers(self) -> impl Iterator<Item = &'a Ledger> {
        self.layer.map(|layer| &layer.changed).into_iter().chain([self.base])
    }

    /// Whether `entry`, which is in one of the ledgers, was neither changed nor forgotten above it.
    fn is_current(self, entry: &KeyedRow) -> bool {
        self.layer.is_none() || self.find(&entry.key.id).is_some_and(|current| std::ptr::eq(current, entry))
    }

    /// The marks.
    pub fn marks(self) -> &'a Marks {
        self.layer.map_or(self.base, |layer| &layer.changed).marks()
    }

    /// The totals.
    pub fn totals(self) -> &'a Totals {
        self.layer.map_or(self.base, |layer| &layer.changed).totals()
    }

    /// The latest of the deliveries that were lost.
    pub fn losses(self) -> &'a RecentLosses {
        self.layer.map_or(self.base, |layer| &layer.changed).losses()
    }

    /// The lost deliveries remembered that ended behind `end`.
    pub fn lost_after(self, end: Option<&EndKey>) -> BTreeSet<EndKey> {
        let is_lost = |end: &&EndKey| self.find(&end.id).is_some_and(|entry| entry.row.is_lost());
        self.ledgers().flat_map(|ledger| ledger.lost_after(end)).filter(is_lost).cloned().collect()
    }

    /// What is remembered of an entry.
    pub fn find(self, id: &EntryId) -> Option<&'a KeyedRow> {
        let Some(layer) = self.layer else { return self.base.find(id) };
        layer.changed.find(id).or_else(|| self.base.find(id).filter(|entry| !layer.pruned.contains(&entry.key)))
    }

    /// The row at a key.
    pub fn row(self, key: &RowKey) -> Option<&'a Row> {
        self.find(&key.id).filter(|entry| entry.key == *key).map(|entry| &entry.row)
    }

    /// Whether an unusable entry was counted before.
    pub fn knows_invalid(self, key: &str) -> bool {
        let Some(layer) = self.layer else { return self.base.knows_invalid(key) };
        layer.changed.knows_invalid(key) || (self.base.knows_invalid(key) && !layer.pruned_invalid.contains(key))
    }

    /// Whether an ignored entry was counted before by this process.
    pub fn knows_ignored(self, id: &EntryId) -> bool {
        self.ledgers().any(|ledger| ledger.knows_ignored(id))
    }

    /// The entries that are followed, in no order.
    pub fn open(self) -> impl Iterator<Item = &'a KeyedRow> {
        // The layer is as it will be: only what lies under it may have changed.
        let above = self.layer.into_iter().flat_map(|layer| layer.changed.entries().open());
        above.chain(self.base.entries().open().filter(move |entry| self.is_current(entry)))
    }

    /// The first of the waiting attempts with that number that `is_wanted`; see [`Tips::waiting`].
    pub fn waiting(
        self,
        (group, attempt): (GroupKey, u8),
        after: Option<&(RowKey, RowKey)>,
        is_wanted: impl Fn(&KeyedRow) -> bool,
    ) -> Option<&'a KeyedRow> {
        let found = self.ledgers().filter_map(|ledger| {
            let mut tips = ledger.tips().waiting(group, attempt, after);
            tips.find(|entry| is_wanted(entry) && self.is_current(entry))
        });
        found.min_by_key(|entry| Tips::place_of_waiting(entry))
    }

    /// The newest of the other attempts with that number that `is_wanted`, among those that are `is_recent`; see
    /// [`Tips::resting`].
    pub fn resting(
        self,
        (group, attempt): (GroupKey, u8),
        before: Option<&RowKey>,
        is_recent: impl Fn(&KeyedRow) -> bool,
        is_wanted: impl Fn(&KeyedRow) -> bool,
    ) -> Option<&'a KeyedRow> {
        let found = self.ledgers().filter_map(|ledger| {
            // Newest first: those after one that is too old are older still.
            let mut tips = ledger.tips().resting(group, attempt, before).take_while(|entry| is_recent(entry));
            tips.find(|entry| is_wanted(entry) && self.is_current(entry))
        });
        found.max_by_key(|entry| &entry.key)
    }

    /// The oldest attempt of that number whose predecessor is not known; see
    /// [`LateAttempts::awaiting`](super::late::LateAttempts::awaiting).
    pub fn awaiting(self, place: (GroupKey, u8), from: Timestamp, after: Option<&RowKey>) -> Option<&'a RowKey> {
        let is_current = |key: &&RowKey| self.row(key).is_some_and(|row| !row.is_preceded);
        self.ledgers().filter_map(|ledger| ledger.late().awaiting(place, from, after).find(is_current)).min()
    }

    /// When the oldest late attempt of the delivery of `opening` was made; see
    /// [`LateAttempts::first_of`](super::late::LateAttempts::first_of).
    pub fn first_of(self, opening: &RowKey) -> Option<Timestamp> {
        self.ledgers().filter_map(|ledger| ledger.late().first_of(opening)).min()
    }

    /// The entries older than `horizon` that may be forgotten, oldest first: neither those that are followed nor the
    /// newest of all.
    pub fn forgettable(self, horizon: Timestamp) -> impl Iterator<Item = &'a KeyedRow> {
        let current = |rows: &'a Rows| rows.iter().filter(move |entry| self.is_current(entry));
        let newest = self.ledgers().filter_map(|ledger| current(ledger.entries()).next_back()).max_by_key(|e| &e.key);
        let newest = newest.map(|entry| &entry.key);
        let mut below = current(self.base.entries()).peekable();
        let mut above = self.layer.map(|layer| current(layer.changed.entries())).into_iter().flatten().peekable();
        std::iter::from_fn(move || match (below.peek(), above.peek()) {
            (Some(lower), Some(upper)) if upper.key < lower.key => above.next(),
            (Some(_), _) => below.next(),
            (None, _) => above.next(),
        })
        .take_while(move |entry| entry.key.created_at < horizon)
        .filter(move |entry| !entry.row.open && Some(&entry.key) != newest)
    }

    /// The unusable entries first seen before `horizon`.
    pub fn forgettable_invalid(self, horizon: Timestamp) -> impl Iterator<Item = &'a Box<str>> {
        let all = self.ledgers().flat_map(|ledger| ledger.invalid());
        all.filter(move |(key, seen)| **seen < horizon && self.knows_invalid(key)).map(|(key, _)| key)
    }
}
