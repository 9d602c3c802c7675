//! The state file, as far as a ledger sees it: takes changes, gives back a memory, and keeps what a long walk has read.

use std::collections::{BTreeMap, BTreeSet};

use crate::delivery::{Attempt, EntryId, Timestamp};
use crate::ledger::activity::RecentActivity;
use crate::ledger::decide::Coverage;
use crate::ledger::losses::RecentLosses;
use crate::ledger::row::{Row, RowKey};
use crate::ledger::series::LogOutcome;
use crate::ledger::series::{Family, SeriesKey};
use crate::ledger::state::{Changes, Ledger, Marks};
use crate::ledger::totals::{Total, Totals};

/// What is durable of one target.
#[derive(Clone, Debug, Default)]
pub(super) struct Disk {
    marks: Marks,
    rows: BTreeMap<RowKey, Row>,
    invalid: BTreeMap<Box<str>, Timestamp>,
    totals: Totals,
    pruned: BTreeMap<SeriesKey, u64>,
    losses: RecentLosses,
    pruned_activity: RecentActivity,
    pub(super) staged: Option<Staged>,
}

/// What a long walk has read without a gap.
#[derive(Clone, Debug)]
pub(super) struct Staged {
    pub(super) coverage: Coverage,
    pub(super) until: Timestamp,
    pub(super) newest: Timestamp,
    pub(super) oldest: Timestamp,
    pub(super) has_met_known: bool,
    /// The entries by their place; of one that was read twice, what was read last.
    pub(super) entries: BTreeMap<(Timestamp, u8, EntryId), Attempt>,
    pub(super) invalid: BTreeSet<Box<str>>,
}

impl Staged {
    pub(super) fn add(&mut self, attempts: Vec<Attempt>, invalid: Vec<Box<str>>) {
        let placed = |entry: Attempt| ((entry.created_at, entry.attempt, entry.id.clone()), entry);
        self.entries.extend(attempts.into_iter().map(placed));
        self.invalid.extend(invalid);
    }
}

impl Disk {
    /// Makes changes durable.
    pub(super) fn write(&mut self, changes: &Changes) {
        self.rows.extend(changes.rows.clone());
        for key in &changes.pruned {
            assert!(self.rows.remove(key).is_some(), "{key:?} is forgotten without having been remembered");
        }
        for (series, count) in &changes.pruned_totals {
            *self.pruned.entry(series.clone()).or_default() += count;
        }
        changes.losses.clone().apply_to(&mut self.losses);
        for (minute, outcomes) in &changes.pruned_activity {
            self.pruned_activity.add(*minute, outcomes);
        }
        self.invalid.extend(changes.invalid.clone());
        self.invalid.retain(|key, _| !changes.pruned_invalid.contains(key));
        self.totals.apply(&changes.totals);
        if let Some(marks) = &changes.marks {
            self.marks = marks.clone();
        }
    }

    /// The memory of a daemon that starts now.
    pub(super) fn restore(&self) -> Ledger {
        let mut ledger = Ledger::restore(self.marks.clone(), self.invalid.clone(), self.totals.clone())
            .with(self.losses.clone(), self.pruned_activity.clone());
        self.rows.iter().for_each(|(key, row)| ledger.remember(key.clone(), row.clone()));
        ledger
    }

    /// Checks that a memory is what would be restored, but for marks that need not be durable.
    pub(super) fn check(&self, ledger: &Ledger) {
        assert!(ledger.rows().eq(&self.rows), "the memory is not what is on disk");
        assert_eq!((ledger.totals(), ledger.invalid()), (&self.totals, &self.invalid));
        assert_eq!((&**ledger.losses(), ledger.activity()), (&self.losses, self.restore().activity()));
        assert_eq!(&Marks { swept: self.marks.swept, ..ledger.marks().clone() }, &self.marks);
    }

    /// Checks that what was forgotten and what is remembered make up the totals.
    pub(super) fn check_sums(&self) {
        let mut sums = self.pruned.clone();
        for series in self.rows.values().flat_map(Row::counters) {
            *sums.entry(series).or_default() += 1;
        }
        let outside = [LogOutcome::Invalid, LogOutcome::Ignored].map(SeriesKey::log_entries);
        let is_of_entries = |key: &SeriesKey| {
            matches!(key.family, Family::Attempts | Family::Deliveries | Family::LogEntries) && !outside.contains(key)
        };
        let totals = self.totals.iter().filter(|(key, _)| is_of_entries(key));
        let totals = totals.filter_map(|(key, total)| match total {
            Total::Counter(count) => Some((key.clone(), *count)),
            Total::Histogram(_) => None,
        });
        assert_eq!(sums, totals.collect(), "pruned totals and rows do not make up the totals");
    }
}
