//! Finds the delivery of an attempt that turns up after its successor.
//!
//! Both indices hold few entries: attempts in order are in neither. They are derived from the rows alone, so a restart
//! knows what was known before it.

use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::Arc;

use super::row::{Continued, KeyedRow, RowKey};
use crate::delivery::{EntryId, GroupKey, Timestamp};

/// Attempts whose predecessor is not known, and attempts that turned up after their successor.
#[derive(Clone, Debug, Default)]
pub struct LateAttempts {
    /// Attempts, other than first ones, whose predecessor is not known, by group, number and time.
    awaiting: BTreeSet<(GroupKey, u8, RowKey)>,
    /// Attempts that turned up after their successor, by the entry that opened their delivery.
    overtaken: BTreeSet<(Arc<RowKey>, RowKey)>,
}

impl LateAttempts {
    /// Adds an entry if it is one of them.
    pub fn insert(&mut self, entry: &KeyedRow) {
        let KeyedRow { key, row } = entry;
        if row.attempt > 1 && !row.is_preceded {
            self.awaiting.insert((row.group, row.attempt, key.clone()));
        }
        if let Some(opening) = row.opening.as_ref().filter(|_| row.continued == Continued::Overtaken) {
            self.overtaken.insert((opening.clone(), key.clone()));
        }
    }

    /// Removes an entry, which must be as it was when it was added.
    pub fn remove(&mut self, entry: &KeyedRow) {
        let KeyedRow { key, row } = entry;
        if row.attempt > 1 && !row.is_preceded {
            self.awaiting.remove(&(row.group, row.attempt, key.clone()));
        }
        if let Some(opening) = row.opening.as_ref().filter(|_| row.continued == Continued::Overtaken) {
            self.overtaken.remove(&(opening.clone(), key.clone()));
        }
    }

    /// The attempts with that number whose predecessor is not known, oldest first: those made at `from` or later that
    /// follow `after`.
    pub fn awaiting(
        &self,
        (group, attempt): (GroupKey, u8),
        from: Timestamp,
        after: Option<&RowKey>,
    ) -> impl Iterator<Item = &RowKey> {
        // Less than the key of any entry of that time.
        let least = RowKey { created_at: from, id: EntryId::new("") };
        let start = after.filter(|after| **after > least).unwrap_or(&least).clone();
        let found = self.awaiting.range((Bound::Excluded((group, attempt, start)), Bound::Unbounded));
        found.take_while(move |(of, number, _)| (*of, *number) == (group, attempt)).map(|(_, _, key)| key)
    }

    /// When the oldest attempt was made that turned up after its successor and belongs to the delivery of `opening`.
    pub fn first_of(&self, opening: &RowKey) -> Option<Timestamp> {
        let least = RowKey { created_at: Timestamp::from_micros(i64::MIN), id: EntryId::new("") };
        let (of, first) = self.overtaken.range((Arc::new(opening.clone()), least)..).next()?;
        (**of == *opening).then_some(first.created_at)
    }
}
