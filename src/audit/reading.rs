//! Reads a stretch of a log again, to be compared with the state.

use std::collections::HashMap;
use std::time::Duration;

use thiserror::Error;

use super::compare::LogStretch;
use crate::log_reader::{LogReader, LogSink, ReadError};
use talkover_core::delivery::{EntryId, Target, Timestamp};
use talkover_core::reading::walk::{CutShort, Walk};

/// Why a stretch of a log could not be read.
#[derive(Debug, Error)]
pub enum StretchError {
    /// The log cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Not all of the stretch is shown.
    #[error("the log cannot be read to its end: {0}")]
    CutShort(#[from] CutShort),
}

/// How far back a log is read.
#[derive(Clone, Copy, Debug)]
pub struct Depth {
    /// How far before the server's clock at the first answer.
    pub since: Duration,
    /// Not further than this: what is older cannot be compared.
    pub not_before: Option<Timestamp>,
}

/// Reads the log of `target`, `per_page` entries at once; `known_before` are the ids that the state knows, and whether
/// they were counted. `note` is called after each page with the number of entries read and the time of the oldest.
///
/// # Errors
/// If it cannot be read to the end of the stretch.
pub async fn read_stretch(
    reader: &mut LogReader,
    target: &Target,
    per_page: u32,
    depth: Depth,
    known_before: HashMap<EntryId, bool>,
    note: impl FnMut(u64, Option<Timestamp>),
) -> Result<LogStretch, StretchError> {
    let mut sink = StretchSink { depth, read: LogStretch { known_before, ..LogStretch::default() }, note };
    let mut walk = reader.read(target, Walk::new(Timestamp::from_micros(i64::MIN), per_page), &mut sink).await?;
    sink.take(&mut walk);
    walk.cut_short().map_or(Ok(sink.read), |cause| Err(cause.into()))
}

struct StretchSink<N> {
    depth: Depth,
    read: LogStretch,
    note: N,
}

impl<N> StretchSink<N> {
    fn take(&mut self, walk: &mut Walk) {
        let (attempts, invalid) = walk.take();
        self.read.attempts.extend(attempts.into_iter().map(|attempt| (attempt.id.clone(), attempt)));
        self.read.invalid.extend(invalid);
    }
}

impl<N: FnMut(u64, Option<Timestamp>)> LogSink for StretchSink<N> {
    fn begin(&mut self, date: Timestamp) -> Result<Timestamp, ReadError> {
        let Depth { since, not_before } = self.depth;
        self.read.from = not_before.map_or(date.minus(since), |limit| limit.max(date.minus(since)));
        Ok(self.read.from)
    }

    fn knows(&self, id: &EntryId) -> bool {
        self.read.known_before.contains_key(id)
    }

    fn absorb(&mut self, walk: &mut Walk, date: Timestamp) -> Result<(), ReadError> {
        self.read.now = self.read.now.max(date);
        self.take(walk);
        let (pages, reached) = walk.reached();
        (self.note)(pages, reached);
        Ok(())
    }
}
