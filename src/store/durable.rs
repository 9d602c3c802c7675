//! The rule that only what was committed is shown, as types.
//!
//! Only a store makes a [`Durable`]: after its transaction is on disk, or if nothing has to be written. Only a
//! `Durable` changes a [`DurableLedger`], and only that change returns a [`Committed`], from which the metrics are
//! updated.

use std::collections::BTreeMap;
use std::ops::Deref;

use talkover_core::delivery::Timestamp;
use talkover_core::ledger::memory::{Layer, Memory};
use talkover_core::ledger::series::SeriesKey;
use talkover_core::ledger::state::{Changes, Ledger};
use talkover_core::ledger::totals::{Birth, Total};

/// A value that a store has committed, or need not commit because a restart would arrive at the same.
#[must_use = "what was committed must also be applied"]
#[derive(Debug)]
pub struct Durable<T>(T);

impl<T> Durable<T> {
    /// Wraps what was committed; for stores only.
    pub(super) fn new(committed: T) -> Self {
        Self(committed)
    }

    /// Wraps a value that a test assumes to be committed.
    #[cfg(test)]
    pub fn assumed(committed: T) -> Self {
        Self(committed)
    }
}

impl<T> Deref for Durable<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

/// The ledger of a target, equal to what is on disk.
#[derive(Debug, Default)]
pub struct DurableLedger(Ledger);

impl DurableLedger {
    /// Wraps a ledger that was loaded; for stores only.
    pub(super) fn new(ledger: Ledger) -> Self {
        Self(ledger)
    }

    /// Wraps a ledger that a test assumes to be on disk.
    #[cfg(test)]
    pub fn assumed(ledger: Ledger) -> Self {
        Self(ledger)
    }

    /// Applies the changes of one decision; returns what changes for the metrics.
    pub fn apply(&mut self, changes: Durable<Changes>) -> Committed {
        let Durable(mut changes) = changes;
        let births = std::mem::take(&mut changes.births);
        let committed = Committed { totals: changes.totals.clone(), births, catching_up: changes.catching_up };
        self.0.apply(changes);
        committed
    }

    /// Applies the changes of a long walk; returns what changes for the metrics.
    pub fn absorb(&mut self, layer: Durable<Layer>) -> Committed {
        let Durable(mut layer) = layer;
        let (births, catching_up) = (layer.take_births(), layer.catching_up());
        layer.settle_into(&mut self.0);
        let totals = self.0.totals().iter().map(|(key, total)| (key.clone(), total.clone())).collect();
        Committed { totals, births, catching_up }
    }
}

impl Deref for DurableLedger {
    type Target = Ledger;

    fn deref(&self) -> &Ledger {
        &self.0
    }
}

impl<'a> From<&'a DurableLedger> for Memory<'a> {
    fn from(ledger: &'a DurableLedger) -> Self {
        Self::from(&ledger.0)
    }
}

/// What a commit changes for the metrics.
#[derive(Debug)]
pub struct Committed {
    totals: BTreeMap<SeriesKey, Total>,
    births: BTreeMap<SeriesKey, Birth>,
    catching_up: Option<Timestamp>,
}

impl Committed {
    /// Returns the series that have changed, with their new totals.
    pub fn totals(&self) -> &BTreeMap<SeriesKey, Total> {
        &self.totals
    }

    /// Returns the births of series that are new and whose counts contain no history.
    pub fn births(&self) -> &BTreeMap<SeriesKey, Birth> {
        &self.births
    }

    /// Returns when this was read, if it happened while the daemon was not reading; else `None`.
    pub fn catching_up(&self) -> Option<Timestamp> {
        self.catching_up
    }
}
