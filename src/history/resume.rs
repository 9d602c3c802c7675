//! The resume file: what an interrupted run has read.
//!
//! It is a state file in which nothing is decided yet: each webhook has a staged first contact with the entries that
//! were read. So the store handles it like a long walk of the daemon: it checks the file when it is opened, and refuses
//! one that another run uses.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::local_clock;
use crate::store::draft;
use crate::store::error::StoreError;
use crate::store::sqlite::SqliteStore;
use crate::store::{SpanBatch, StagedWalk, Store};
use talkover_core::delivery::{Attempt, Target, Timestamp};
use talkover_core::ledger::decide::Coverage;
use talkover_core::ledger::labels::LabelPolicy;
use talkover_core::ledger::state::{Changes, Marks};
use talkover_core::reading::walk::Stretch;

/// The open file.
#[derive(Debug)]
pub struct ResumeFile {
    store: SqliteStore,
    path: PathBuf,
    labels: LabelPolicy,
}

/// What earlier runs have read of one webhook.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PriorReading {
    /// When the reading began, by the server's clock, and how far back it reads.
    pub begun: Option<(Timestamp, Timestamp)>,
    /// The stretch that was read without a gap.
    pub stretch: Option<Stretch>,
    /// The log is complete up to this time; `None` while something is left to read. Entries that turned up later than
    /// that, and changes of entries that were open then, are unknown.
    pub complete_until: Option<Timestamp>,
    /// Whether the log could be read to the end of the reading.
    pub log_extent: LogExtent,
}

impl ResumeFile {
    /// Opens the file at `path`, or makes it.
    ///
    /// # Errors
    /// If another run uses it, or if it is damaged, not ours or of a newer version.
    pub fn open(path: &Path, labels: LabelPolicy) -> Result<Self, StoreError> {
        Ok(Self { store: SqliteStore::open(path, local_clock::now())?, path: path.to_owned(), labels })
    }

    /// Returns its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns what was read of `target`.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn find(&self, target: &Target) -> Result<PriorReading, StoreError> {
        let loaded = self.store.load(target, &self.labels)?;
        let marks = loaded.ledger.marks();
        let stretch = loaded.staged.map(|StagedWalk { newest, oldest, count, .. }| Stretch { newest, oldest, count });
        Ok(PriorReading {
            begun: marks.known_at.zip(marks.history_cutoff),
            stretch: stretch.filter(|stretch| stretch.count > 0),
            complete_until: marks.watermark,
            log_extent: marks.gap_at.map_or(LogExtent::Whole, |_| LogExtent::CutShort),
        })
    }

    /// Records that the reading of `target` begins at `date` and goes back by `since`.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn begin(&mut self, target: &Target, date: Timestamp, since: Duration) -> Result<(), StoreError> {
        let (known_at, history_cutoff) = (Some(date), Some(date.minus(since)));
        self.mark(target, Marks { known_at, history_cutoff, ..Marks::default() })
    }

    /// Adds entries of `target`; together with the earlier ones they cover `stretch`.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn keep(
        &mut self,
        target: &Target,
        until: Timestamp,
        stretch: Stretch,
        attempts: &[Attempt],
        invalid: &[Box<str>],
    ) -> Result<(), StoreError> {
        let Stretch { newest, oldest, count } = stretch;
        let coverage = Coverage::FirstContact;
        let walk = StagedWalk { coverage, until, newest, oldest, count, has_met_known: false };
        self.store.stage(target, &walk, attempts, invalid)
    }

    /// Records that the log of `target` is complete up to `until`.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn complete(&mut self, target: &Target, until: Timestamp, log_extent: LogExtent) -> Result<(), StoreError> {
        let mut marks = self.store.load(target, &self.labels)?.ledger.marks().clone();
        marks.watermark = Some(until);
        if log_extent == LogExtent::CutShort {
            marks.gap_at = Some(until);
        }
        self.mark(target, marks)
    }

    /// Of the entries of `target` that were created at or after `since` and were pending or retrying when they were
    /// read, returns the creation time of the oldest.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn oldest_open(&self, target: &Target, since: Timestamp) -> Result<Option<Timestamp>, StoreError> {
        self.store.oldest_staged_open(target, since)
    }

    /// Returns the next entries of `target` after `after`, oldest first, and none after the last.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn part(&self, target: &Target, after: Option<&Attempt>) -> Result<Vec<Attempt>, StoreError> {
        self.store.staged_part(target, after)
    }

    /// Returns the keys of the unusable entries of `target`.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn invalid(&self, target: &Target) -> Result<Vec<Box<str>>, StoreError> {
        self.store.staged_invalid(target)
    }

    /// Removes the file and the files beside it, when the work is done.
    ///
    /// # Errors
    /// If one of them cannot be removed.
    pub fn remove(self) -> io::Result<()> {
        let path = self.path;
        drop(self.store);
        draft::remove(&path)
    }

    fn mark(&mut self, target: &Target, marks: Marks) -> Result<(), StoreError> {
        let changes = Changes { marks: Some(marks), must_commit: true, ..Changes::default() };
        let _durable = self.store.commit(target, changes, &SpanBatch::default())?;
        Ok(())
    }
}

/// Whether a log could be read as far back as wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogExtent {
    /// It could be read.
    #[default]
    Whole,
    /// The API refuses deeper pages.
    CutShort,
}
