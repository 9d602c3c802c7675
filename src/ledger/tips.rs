//! The latest attempt of every delivery, found by what the next attempt would share with it.

use std::collections::BTreeSet;
use std::ops::Bound;

use super::state::{Row, RowKey};
use crate::delivery::{EntryId, GroupKey, Status, Timestamp};

/// Latest attempts, by group and attempt number.
///
/// Attempts without a payload all share one group, so a group may hold any number of deliveries: none of the questions asked
/// here looks at all of them.
#[derive(Clone, Debug, Default)]
pub struct Tips {
    /// Pending or retrying ones, by the time at which their delivery was opened.
    waiting: BTreeSet<(GroupKey, u8, RowKey, RowKey)>,
    /// The others, by their own time.
    resting: BTreeSet<(GroupKey, u8, RowKey)>,
}

impl Tips {
    /// Takes in the row at `key`, unless a later attempt of its delivery is known.
    pub fn insert(&mut self, key: &RowKey, row: &Row) {
        if row.superseded {
            return;
        }
        if is_waiting(row) {
            self.waiting.insert((row.group, row.attempt, row.opening(key).clone(), key.clone()));
        } else {
            self.resting.insert((row.group, row.attempt, key.clone()));
        }
    }

    /// Takes out the row at `key`, as it was when it was taken in.
    pub fn remove(&mut self, key: &RowKey, row: &Row) {
        if is_waiting(row) {
            self.waiting.remove(&(row.group, row.attempt, row.opening(key).clone(), key.clone()));
        } else {
            self.resting.remove(&(row.group, row.attempt, key.clone()));
        }
    }

    /// The waiting attempts of that number, with the entries that opened their deliveries: the oldest delivery first, beginning
    /// behind the place `after`.
    pub fn waiting(
        &self,
        group: GroupKey,
        attempt: u8,
        after: Option<&(RowKey, RowKey)>,
    ) -> impl Iterator<Item = (&RowKey, &RowKey)> {
        let (opening, key) = after.cloned().unwrap_or_else(|| (least(), least()));
        self.waiting
            .range((Bound::Excluded((group, attempt, opening, key)), Bound::Unbounded))
            .take_while(move |(of, number, ..)| (*of, *number) == (group, attempt))
            .map(|(_, _, opening, key)| (opening, key))
    }

    /// The other attempts of that number, newest first, beginning behind `before`.
    pub fn resting(&self, group: GroupKey, attempt: u8, before: Option<&RowKey>) -> impl Iterator<Item = &RowKey> {
        // Attempt numbers end at 255, and a 255th attempt has no successor that could ask.
        let next = || (group, attempt.saturating_add(1), least());
        let end = before.map_or_else(next, |key| (group, attempt, key.clone()));
        self.resting
            .range((Bound::Included((group, attempt, least())), Bound::Excluded(end)))
            .rev()
            .map(|(_, _, key)| key)
    }
}

fn is_waiting(row: &Row) -> bool {
    matches!(row.status, Status::Pending | Status::Retrying)
}

/// Less than the key of any entry.
fn least() -> RowKey {
    RowKey { created_at: Timestamp::from_micros(i64::MIN), id: EntryId::new("") }
}
