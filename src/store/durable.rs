//! The law that nothing is shown which was not committed, as types.
//!
//! A [`Durable`] is made by a store alone, when its transaction is on disk, or if there is nothing that must be. A
//! [`DurableLedger`] changes by nothing else, and what it hands out for the metrics, [`Committed`], comes from nowhere
//! else.

use std::collections::BTreeMap;
use std::ops::Deref;

use talkover_core::delivery::Timestamp;
use talkover_core::ledger::memory::{Layer, Memory};
use talkover_core::ledger::series::SeriesKey;
use talkover_core::ledger::state::{Changes, Ledger};
use talkover_core::ledger::totals::{Birth, Total};

/// Something that a store has committed, or found that it need not: after a crash it would come out the same.
#[must_use = "what was committed must also be applied"]
#[derive(Debug)]
pub struct Durable<T>(T);

impl<T> Durable<T> {
    /// For stores, after their transaction.
    pub(super) fn new(committed: T) -> Self {
        Self(committed)
    }

    /// Something that is taken to have been committed.
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
    /// For stores, with what they have read.
    pub(super) fn new(ledger: Ledger) -> Self {
        Self(ledger)
    }

    /// A ledger that is taken to be on disk.
    #[cfg(test)]
    pub fn assumed(ledger: Ledger) -> Self {
        Self(ledger)
    }

    /// Takes in the changes of one decision; returns what they change of what is shown.
    pub fn apply(&mut self, changes: Durable<Changes>) -> Committed {
        let Durable(mut changes) = changes;
        let births = std::mem::take(&mut changes.births);
        let committed = Committed { totals: changes.totals.clone(), births, catching_up: changes.catching_up };
        self.0.apply(changes);
        committed
    }

    /// Takes in the changes of a long walk; returns what they change of what is shown.
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

/// What a commit has changed of what is shown.
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

    /// The births of those that were not there before and owe nothing to history.
    pub fn births(&self) -> &BTreeMap<SeriesKey, Birth> {
        &self.births
    }

    /// When it was read, if it had happened while nobody looked.
    pub fn catching_up(&self) -> Option<Timestamp> {
        self.catching_up
    }
}
