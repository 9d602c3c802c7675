//! A priority queue of targets: the one with the smallest key is first, and any target can be removed at any time.

use std::collections::{BTreeSet, HashMap};

use super::TargetId;

/// A queue of targets.
#[derive(Debug)]
pub(super) struct WaitingLine<K> {
    order: BTreeSet<(K, TargetId)>,
    keys: HashMap<TargetId, K>,
}

impl<K: Ord + Copy> WaitingLine<K> {
    pub(super) fn new() -> Self {
        Self { order: BTreeSet::new(), keys: HashMap::new() }
    }

    /// Puts a target in its place; a target that is already in the queue changes its place.
    pub(super) fn put(&mut self, target: TargetId, key: K) {
        self.remove(target);
        self.keys.insert(target, key);
        self.order.insert((key, target));
    }

    pub(super) fn remove(&mut self, target: TargetId) {
        if let Some(key) = self.keys.remove(&target) {
            self.order.remove(&(key, target));
        }
    }

    /// The first target, with its key.
    pub(super) fn first(&self) -> Option<(K, TargetId)> {
        self.order.first().copied()
    }
}
