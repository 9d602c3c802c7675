//! Reads one log back to the wanted time, and saves what it has read, so that nothing is read twice.

use std::time::Duration;

use super::resume::{LogExtent, PriorReading, ResumeFile};
use crate::log_reader::{LogReader, LogSink, ReadError};
use crate::progress::WorkProgress;
use crate::store::error::StoreError;
use talkover_core::delivery::{Attempt, EntryId, Target, Timestamp};
use talkover_core::ledger::watermark::Windows;
use talkover_core::reading::walk::{Stretch, Walk};

/// Entries are saved in batches of this size: an interruption costs fewer entries than that.
const KEPT_AT_ONCE: usize = 1_000;

/// What a daemon has read of a log. The past ends where this begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LiveHistory {
    /// How far back the daemon's first contact has read the log.
    pub since: Timestamp,
    /// The stretch that the daemon knows and that need not be read.
    pub stretch: Option<Stretch>,
}

/// How a log is read.
#[derive(Clone, Copy, Debug)]
pub struct ReadExtent {
    /// Entries per page.
    pub per_page: u32,
    /// How far back to read, from the time of the first response.
    pub since: Duration,
    /// What a daemon knows already, if there is a state.
    pub live: Option<LiveHistory>,
    /// A log that was read longer ago than this is updated.
    pub stale_after: Duration,
    /// How late entries may turn up, and how long they may change.
    pub windows: Windows,
}

/// Reads what is missing of the log of `target`.
///
/// # Errors
/// If the log cannot be read, or the resume file cannot be written. What was read until then is kept.
pub async fn read(
    reader: &mut LogReader,
    resume: &mut ResumeFile,
    target: &Target,
    extent: ReadExtent,
    progress: &mut WorkProgress,
) -> Result<(), ReadError> {
    let kept = resume.find(target).map_err(not_kept)?;
    let now = reader.asker.clock.now().timestamp();
    let (walk, until) = match (kept.complete_until, kept.stretch) {
        (Some(complete), _) if extent.live.is_some() || now.since(complete) < extent.stale_after => return Ok(()),
        (Some(complete), _) => {
            let until = update_until(resume, target, &kept, complete, &extent.windows).map_err(not_kept)?;
            (Walk::new(until, extent.per_page), Some(until))
        }
        (None, stretch) => {
            let until = kept.begun.map(|(_, cutoff)| cutoff);
            let end = until.unwrap_or(Timestamp::from_micros(i64::MIN));
            let known = together(extent.live.and_then(|live| live.stretch), stretch);
            let walk = known
                .map_or_else(|| Walk::new(end, extent.per_page), |known| Walk::resume(end, extent.per_page, known));
            (walk, until)
        }
    };
    let is_update = kept.complete_until.is_some();
    // The daemon continues from there, so no update is needed.
    let is_resumed = !is_update && kept.stretch.is_some() && extent.live.is_none();
    let mut keeper = Keeper { resume, target, extent, kept, until, is_update, is_resumed, began: None, progress };
    let walk = reader.read(target, walk, &mut keeper).await?;
    keeper.finish(walk)
}

/// Returns how far back a log must be read again that is complete up to `complete`: to the oldest entry that may have
/// turned up late or changed since.
fn update_until(
    resume: &ResumeFile,
    target: &Target,
    kept: &PriorReading,
    complete: Timestamp,
    windows: &Windows,
) -> Result<Timestamp, StoreError> {
    let newest = kept.stretch.map_or(complete, |stretch| stretch.newest.min(complete));
    let late = windows.sweep_until(newest);
    let open = resume.oldest_open(target, complete.minus(windows.settle_after))?;
    Ok(open.map_or(late, |open| open.min(late)))
}

/// Joins what a daemon knows and what was read before that into one stretch.
fn together(live: Option<Stretch>, kept: Option<Stretch>) -> Option<Stretch> {
    match (live, kept) {
        (Some(live), Some(kept)) => Some(Stretch {
            newest: live.newest.max(kept.newest),
            oldest: live.oldest.min(kept.oldest),
            count: live.count + kept.count,
        }),
        (live, kept) => live.or(kept),
    }
}

fn not_kept(error: StoreError) -> ReadError {
    ReadError::NotKept(error.to_string())
}

struct Keeper<'a> {
    resume: &'a mut ResumeFile,
    target: &'a Target,
    extent: ReadExtent,
    kept: PriorReading,
    /// The time back to which the walk reads; `None` until the first response.
    until: Option<Timestamp>,
    /// Whether this is an update: all was read once, and only what is new or may have changed is read now.
    is_update: bool,
    /// Whether it skips what an interrupted walk has read.
    is_resumed: bool,
    /// When this walk began, by the server's clock.
    began: Option<Timestamp>,
    progress: &'a mut WorkProgress,
}

impl Keeper<'_> {
    /// Saves what `walk` has read.
    fn keep(&mut self, walk: &mut Walk, date: Timestamp) -> Result<(), ReadError> {
        let (mut attempts, invalid) = walk.take();
        if let Some(live) = self.extent.live {
            attempts.retain(|attempt| attempt.created_at < live.since);
        }
        let cutoff = self.kept.begun.map_or(date, |(_, cutoff)| cutoff);
        let stretch = self.stretch(&attempts, invalid.len(), date).or(self.kept.stretch);
        // Nothing usable was read: its place in the list is unknown, so an interruption will read it again.
        let stretch = stretch.unwrap_or(Stretch { newest: cutoff, oldest: cutoff, count: 0 });
        self.resume.keep(self.target, cutoff, stretch, &attempts, &invalid).map_err(not_kept)?;
        self.kept.stretch = Some(stretch).filter(|stretch| stretch.count > 0);
        Ok(())
    }

    fn stretch(&self, attempts: &[Attempt], invalid: usize, date: Timestamp) -> Option<Stretch> {
        Stretch::extended(self.kept.stretch, attempts, invalid, self.began.unwrap_or(date))
    }

    fn finish(mut self, mut walk: Walk) -> Result<(), ReadError> {
        let first_began = self.kept.begun.map(|(date, _)| date);
        let began = self.began.or(first_began).unwrap_or_default();
        self.keep(&mut walk, began)?;
        let log_extent = walk.cut_short().map_or(LogExtent::Whole, |_| LogExtent::CutShort);
        // What the interrupted walk has read is only as recent as that walk; an update will read it again.
        let until = first_began.filter(|_| self.is_resumed).unwrap_or(began);
        self.resume.complete(self.target, until, log_extent).map_err(not_kept)
    }
}

impl LogSink for Keeper<'_> {
    fn begin(&mut self, date: Timestamp) -> Result<Timestamp, ReadError> {
        self.began = Some(date);
        if self.kept.begun.is_none() {
            self.resume.begin(self.target, date, self.extent.since).map_err(not_kept)?;
            self.kept.begun = Some((date, date.minus(self.extent.since)));
        }
        Ok(*self.until.get_or_insert(date.minus(self.extent.since)))
    }

    fn knows(&self, _id: &EntryId) -> bool {
        false
    }

    fn absorb(&mut self, walk: &mut Walk, date: Timestamp) -> Result<(), ReadError> {
        let (_, reached) = walk.reached();
        self.progress.advance(reached);
        // An update is saved only when it has reached what was there before.
        if self.is_update || walk.len() < KEPT_AT_ONCE || !walk.has_attempts() || !walk.is_contiguous() {
            return Ok(());
        }
        self.keep(walk, date)
    }
}
