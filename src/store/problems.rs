//! The problems of the state file as a whole, for the status page and the metrics. Written by the store.

use std::sync::{Arc, PoisonError, RwLock};

/// How the path has come to lead elsewhere than to the open file, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Detached {
    /// What has happened.
    pub what: String,
    /// The way out.
    pub remedy: String,
}

/// The problems of the state file. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct StateProblems(Arc<RwLock<FoundProblems>>);

#[derive(Debug, Default)]
struct FoundProblems {
    /// What says that there was another state before this new one.
    evidence: Option<Arc<str>>,
    detached: Option<Arc<Detached>>,
    /// By how much the state was behind what was shown, in words.
    gap: Option<Arc<str>>,
}

impl StateProblems {
    /// What says that there was another state before, if the file was made at this start.
    pub fn new_despite(&self) -> Option<Arc<str>> {
        self.look(|found| found.evidence.clone())
    }

    /// How the path no longer leads to the open file, or that something else has written to it.
    pub fn detached(&self) -> Option<Arc<Detached>> {
        self.look(|found| found.detached.clone())
    }

    /// By how much the state was behind what was shown when it last went back in time. That some logs have not been read
    /// again since, others know.
    pub fn gap(&self) -> Option<Arc<str>> {
        self.look(|found| found.gap.clone())
    }

    /// Records that the file was made, although `evidence` says that there was another one.
    pub(crate) fn set_new(&self, evidence: &str) {
        self.change(|found| found.evidence = Some(evidence.into()));
    }

    /// Records that the path no longer leads to the open file, or something else has written to it.
    pub(crate) fn set_detached(&self, detached: &Detached) {
        self.change(|found| found.detached = Some(Arc::new(detached.clone())));
    }

    /// Records that the file is in its place; returns whether it was detached before.
    pub(crate) fn set_attached(&self) -> bool {
        self.change(|found| found.detached.take().is_some())
    }

    /// Records by how much the state was behind what was shown.
    pub(crate) fn set_gap(&self, gap: &str) {
        self.change(|found| found.gap = Some(gap.into()));
    }

    fn look<T>(&self, work: impl FnOnce(&FoundProblems) -> T) -> T {
        work(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn change<T>(&self, work: impl FnOnce(&mut FoundProblems) -> T) -> T {
        work(&mut self.0.write().unwrap_or_else(PoisonError::into_inner))
    }
}
