//! The index of the latest attempt (the tip) of every delivery, by what the next attempt has in common with it.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::Arc;

use super::row::{KeyedRow, Row, RowKey};
use crate::delivery::{AttemptStatus, EntryId, GroupKey, Timestamp};

/// Latest attempts, by group and attempt number.
///
/// Attempts without a payload all share one group, so a group may hold any number of deliveries: no query here looks at
/// all of them.
#[derive(Clone, Debug, Default)]
pub struct Tips {
    /// Pending or retrying ones, by the time at which their delivery was opened.
    waiting: BTreeSet<Tip>,
    /// The others, by their own time.
    resting: BTreeSet<Tip>,
}

impl Tips {
    /// Adds an entry, unless a later attempt of its delivery is known.
    pub fn insert(&mut self, entry: &Arc<KeyedRow>) {
        if entry.row.is_latest() {
            self.side(entry).insert(Tip(entry.clone()));
        }
    }

    /// Removes an entry, which must be as it was when it was added.
    pub fn remove(&mut self, entry: &KeyedRow) {
        self.side(entry).remove(entry as &dyn Placed);
    }

    fn side(&mut self, entry: &KeyedRow) -> &mut BTreeSet<Tip> {
        if is_waiting(&entry.row) { &mut self.waiting } else { &mut self.resting }
    }

    /// The waiting attempts with that number, oldest delivery first, beginning after the one at `after`: the key of its
    /// opening entry, and its own.
    pub fn waiting(
        &self,
        group: GroupKey,
        attempt: u8,
        after: Option<&(RowKey, RowKey)>,
    ) -> impl Iterator<Item = &KeyedRow> {
        let least = (least(), least());
        let (first, own) = after.unwrap_or(&least);
        let start = TipKey { group, attempt, first, own };
        self.waiting
            .range::<dyn Placed + '_, _>((Bound::Excluded(&start as &dyn Placed), Bound::Unbounded))
            .map(|Tip(entry)| &**entry)
            .take_while(move |entry| (entry.row.group, entry.row.attempt) == (group, attempt))
    }

    /// The order of the waiting attempts of one group and number.
    pub fn place_of_waiting(entry: &KeyedRow) -> (&RowKey, &RowKey) {
        (entry.row.opening(&entry.key), &entry.key)
    }

    /// The other attempts with that number, newest first, beginning before `before`.
    pub fn resting(&self, group: GroupKey, attempt: u8, before: Option<&RowKey>) -> impl Iterator<Item = &KeyedRow> {
        let least = least();
        let start = TipKey { group, attempt, first: &least, own: &least };
        // Attempt numbers end at 255, and a 255th attempt has no successor that could ask.
        let end = match before {
            Some(key) => TipKey { group, attempt, first: key, own: key },
            None => TipKey { attempt: attempt.saturating_add(1), ..start },
        };
        self.resting
            .range::<dyn Placed + '_, _>((Bound::Included(&start as &dyn Placed), Bound::Excluded(&end as &dyn Placed)))
            .rev()
            .map(|Tip(entry)| &**entry)
    }
}

fn is_waiting(row: &Row) -> bool {
    matches!(row.status, AttemptStatus::Pending | AttemptStatus::Retrying)
}

/// Less than the key of any entry.
fn least() -> RowKey {
    RowKey { created_at: Timestamp::from_micros(i64::MIN), id: EntryId::new("") }
}

/// An entry, compared by its place.
#[derive(Clone, Debug)]
struct Tip(Arc<KeyedRow>);

/// The place of an entry, present or not, in the order of its side.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct TipKey<'a> {
    group: GroupKey,
    attempt: u8,
    /// For a waiting attempt the key of the entry that opened its delivery, otherwise its own.
    first: &'a RowKey,
    own: &'a RowKey,
}

/// Anything with a place, so that a side can be searched without an entry.
trait Placed {
    fn place(&self) -> TipKey<'_>;
}

impl Placed for TipKey<'_> {
    fn place(&self) -> TipKey<'_> {
        *self
    }
}

impl Placed for KeyedRow {
    fn place(&self) -> TipKey<'_> {
        let Self { key, row } = self;
        let first = if is_waiting(row) { row.opening(key) } else { key };
        TipKey { group: row.group, attempt: row.attempt, first, own: key }
    }
}

impl<'a> Borrow<dyn Placed + 'a> for Tip {
    fn borrow(&self) -> &(dyn Placed + 'a) {
        &*self.0
    }
}

impl Ord for dyn Placed + '_ {
    fn cmp(&self, other: &Self) -> Ordering {
        self.place().cmp(&other.place())
    }
}

impl PartialOrd for dyn Placed + '_ {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for dyn Placed + '_ {
    fn eq(&self, other: &Self) -> bool {
        self.place() == other.place()
    }
}

impl Eq for dyn Placed + '_ {}

impl Ord for Tip {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.place().cmp(&other.0.place())
    }
}

impl PartialOrd for Tip {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Tip {
    fn eq(&self, other: &Self) -> bool {
        self.0.place() == other.0.place()
    }
}

impl Eq for Tip {}
