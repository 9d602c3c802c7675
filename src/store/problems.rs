//! What is wrong with the state file as a whole, for those who show it. Written by the store.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The problems of the state file. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct StateProblems(Arc<ProblemFlags>);

#[derive(Debug, Default)]
struct ProblemFlags {
    is_new: AtomicBool,
    is_detached: AtomicBool,
}

impl StateProblems {
    /// Whether the file was made at this start although there is evidence of an earlier one.
    pub fn is_new(&self) -> bool {
        self.0.is_new.load(Ordering::Relaxed)
    }

    /// Whether the path no longer leads to the open file, or another program has written to it.
    pub fn is_detached(&self) -> bool {
        self.0.is_detached.load(Ordering::Relaxed)
    }

    pub(super) fn set_new(&self) {
        self.0.is_new.store(true, Ordering::Relaxed);
    }

    /// Records that the path no longer leads to the open file, or that another program has written to it.
    pub(super) fn set_detached(&self) {
        self.0.is_detached.store(true, Ordering::Relaxed);
    }

    /// Records that the path leads to the open file; returns whether it was detached before.
    pub(super) fn set_attached(&self) -> bool {
        self.0.is_detached.swap(false, Ordering::Relaxed)
    }
}
