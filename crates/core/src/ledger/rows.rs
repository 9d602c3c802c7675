//! The entries of the window, each kept once and found in three ways: by time, by id, and by its place in its delivery.
//!
//! There may be a million of them, so an index costs one pointer for each entry, and orders pointers by what they point
//! to.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::collections::{BTreeSet, HashSet};
use std::hash::{Hash, Hasher};
use std::ops::Bound;
use std::sync::Arc;

use super::late::LateAttempts;
use super::losses::EndKey;
use super::row::{KeyedRow, Row, RowKey};
use super::tips::Tips;
use crate::delivery::{EntryId, Timestamp};

/// Entries, and the ways to find them.
#[derive(Clone, Debug, Default)]
pub struct Rows {
    by_key: BTreeSet<ByKey>,
    /// An entry is known by its id, whatever its `created_at` says now.
    by_id: HashSet<ById>,
    tips: Tips,
    late: LateAttempts,
    open: BTreeSet<ByKey>,
    /// The ends of deliveries that are lost.
    lost: BTreeSet<EndKey>,
}

impl Rows {
    /// Adds an entry, or replaces what was remembered of it.
    pub fn insert(&mut self, key: RowKey, row: Row) {
        self.put(Arc::new(KeyedRow { key, row }));
    }

    /// Adds all of `others`, or replaces what was remembered of them.
    pub fn absorb(&mut self, others: Self) {
        if self.is_empty() {
            *self = others;
            return;
        }
        for ByKey(entry) in others.by_key {
            self.put(entry);
        }
    }

    fn put(&mut self, entry: Arc<KeyedRow>) {
        self.remove(&entry.key);
        self.tips.insert(&entry);
        self.late.insert(&entry);
        if entry.row.open {
            self.open.insert(ByKey(entry.clone()));
        }
        if entry.row.is_lost() {
            self.lost.insert(EndKey::of(&entry.key, &entry.row));
        }
        self.by_id.insert(ById(entry.clone()));
        self.by_key.insert(ByKey(entry));
    }

    /// Forgets an entry.
    pub fn remove(&mut self, key: &RowKey) {
        if let Some(ByKey(entry)) = self.by_key.take(key) {
            self.by_id.remove(&key.id);
            self.open.remove(key);
            if entry.row.is_lost() {
                self.lost.remove(&EndKey::of(key, &entry.row));
            }
            self.tips.remove(&entry);
            self.late.remove(&entry);
        }
    }

    /// The entry of an id.
    pub fn find(&self, id: &EntryId) -> Option<&KeyedRow> {
        self.by_id.get(id).map(|ById(entry)| &**entry)
    }

    /// The entry at a key.
    pub fn get(&self, key: &RowKey) -> Option<&KeyedRow> {
        self.find(&key.id).filter(|entry| entry.key == *key)
    }

    /// All of them, oldest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &KeyedRow> + Clone {
        self.by_key.iter().map(|ByKey(entry)| &**entry)
    }

    /// Those that are not older than `key`, oldest first.
    pub fn since(&self, key: &RowKey) -> impl DoubleEndedIterator<Item = &KeyedRow> {
        self.by_key.range::<RowKey, _>((Bound::Included(key), Bound::Unbounded)).map(|ByKey(entry)| &**entry)
    }

    /// Those that were made before `time`, oldest first.
    pub fn before(&self, time: Timestamp) -> impl Iterator<Item = &KeyedRow> {
        self.iter().take_while(move |entry| entry.key.created_at < time)
    }

    /// Those that are followed, oldest first.
    pub fn open(&self) -> impl DoubleEndedIterator<Item = &KeyedRow> {
        self.open.iter().map(|ByKey(entry)| &**entry)
    }

    /// The ends, behind `end`, of deliveries that are lost.
    pub fn lost_after(&self, end: Option<&EndKey>) -> impl Iterator<Item = &EndKey> {
        self.lost.range((end.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded))
    }

    /// The latest attempts of deliveries.
    pub fn tips(&self) -> &Tips {
        &self.tips
    }

    /// The attempts whose predecessor is not known, and those that turned up after their successor.
    pub fn late(&self) -> &LateAttempts {
        &self.late
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.by_key.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }
}

/// An entry among others in the order of time.
#[derive(Clone, Debug)]
struct ByKey(Arc<KeyedRow>);

impl Borrow<RowKey> for ByKey {
    fn borrow(&self) -> &RowKey {
        &self.0.key
    }
}

impl Ord for ByKey {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.key.cmp(&other.0.key)
    }
}

impl PartialOrd for ByKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for ByKey {
    fn eq(&self, other: &Self) -> bool {
        self.0.key == other.0.key
    }
}

impl Eq for ByKey {}

/// An entry under its id.
#[derive(Clone, Debug)]
struct ById(Arc<KeyedRow>);

impl Borrow<EntryId> for ById {
    fn borrow(&self) -> &EntryId {
        &self.0.key.id
    }
}

impl Hash for ById {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.key.id.hash(state);
    }
}

impl PartialEq for ById {
    fn eq(&self, other: &Self) -> bool {
        self.0.key.id == other.0.key.id
    }
}

impl Eq for ById {}
