//! The rule that only what was committed is shown, as types.
//!
//! Only a store makes a [`Durable`], when its transaction is on disk, or if nothing has to be written. Nothing else
//! changes a [`DurableLedger`], and nothing else produces what it returns for the metrics, a [`Committed`].

use std::collections::BTreeMap;
use std::ops::Deref;

use talkover_core::delivery::Timestamp;
use talkover_core::ledger::memory::{Layer, Memory};
use talkover_core::ledger::series::SeriesKey;
use talkover_core::ledger::state::{Changes, Ledger};
use talkover_core::ledger::totals::{Birth, Total};

/// A value that a store has committed, or need not commit: after a crash it would be the same.
#[must_use = "what was committed must also be applied"]
#[derive(Debug)]
pub struct Durable<T>(T);

impl<T> Durable<T> {
    /// For stores, after their transaction.
    pub(super) fn new(committed: T) -> Self {
        Self(committed)
    }

    /// A value that is assumed to be committed.
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

/// The memory of a target, as it is on disk.
#[derive(Debug, Default)]
pub struct DurableLedger(Ledger);

impl DurableLedger {
    /// For stores, with what they have loaded.
    pub(super) fn new(ledger: Ledger) -> Self {
        Self(ledger)
    }

    /// A ledger that is assumed to be on disk.
    #[cfg(test)]
    pub fn assumed(ledger: Ledger) -> Self {
        Self(ledger)
    }

    /// Applies the changes of one decision; returns how they change what is shown.
    pub fn apply(&mut self, changes: Durable<Changes>) -> Committed {
        let Durable(mut changes) = changes;
        let births = std::mem::take(&mut changes.births);
        let committed = Committed { totals: changes.totals.clone(), births, catching_up: changes.catching_up };
        self.0.apply(changes);
        committed
    }

    /// Applies the changes of a long walk; returns how they change what is shown.
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

/// How a commit has changed what is shown.
#[derive(Debug)]
pub struct Committed {
    totals: BTreeMap<SeriesKey, Total>,
    births: BTreeMap<SeriesKey, Birth>,
    catching_up: Option<Timestamp>,
}

impl Committed {
    /// The series that have changed, with their totals.
    pub fn totals(&self) -> &BTreeMap<SeriesKey, Total> {
        &self.totals
    }

    /// The births of those that are new and owe nothing to history.
    pub fn births(&self) -> &BTreeMap<SeriesKey, Birth> {
        &self.births
    }

    /// When this was read, if it happened while nobody looked.
    pub fn catching_up(&self) -> Option<Timestamp> {
        self.catching_up
    }
}
