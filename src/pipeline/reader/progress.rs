//! The progress of a long walk, measured in time: the part of the stretch between its start and its end that is read.

use std::time::Duration;

use super::Reader;
use crate::sinks::metrics::board::WalkProgress;
use crate::store::StagedWalk;
use talkover_core::delivery::Timestamp;
use talkover_core::ledger::decide::Coverage;
use talkover_core::reading::job::{Job, Lane, WalkJob};
use talkover_core::server_time::ServerTime;

/// A walk that is no first contact is worth a word from so many answers on.
const LONG_WALK: u64 = 3;
/// From so many answers on, what they took says how long the others will take.
const PAGES_UNTIL_ESTIMATE: u64 = 3;

/// The stretch of time that a walk reads.
#[derive(Clone, Copy)]
struct WalkSpan {
    from: Timestamp,
    until: Timestamp,
}

impl WalkSpan {
    /// The part of it that is read: what lies above `reached`, and what is staged.
    fn ratio(self, reached: Option<Timestamp>, staged: Option<StagedWalk>) -> f64 {
        let whole = self.from.since(self.until).as_secs_f64();
        let reached = reached.unwrap_or(self.from).min(self.from);
        let read = match staged {
            // It has not reached the staged entries yet.
            Some(StagedWalk { newest, oldest, .. }) if reached > newest => {
                self.from.since(reached) + newest.min(self.from).since(oldest)
            }
            Some(StagedWalk { oldest, .. }) => self.from.since(oldest.min(reached)),
            None => self.from.since(reached),
        };
        if whole > 0.0 { (read.as_secs_f64() / whole).clamp(0.0, 1.0) } else { 0.0 }
    }
}

impl Reader {
    /// The progress of `job` at `now` since the start, and `date` by the server's clock; `None` if it is short, or if
    /// nothing is known yet.
    pub fn progress(&self, job: &Job, now: Duration, date: ServerTime) -> Option<WalkProgress> {
        let Job::Walk(walk) = job else { return None };
        let (pages, reached) = walk.reached();
        if walk.lane != Lane::Head || (walk.coverage != Coverage::FirstContact && pages < LONG_WALK) {
            return None;
        }
        let span = self.span(walk.coverage, walk.until(), walk.first_read().unwrap_or(date.timestamp()))?;
        let (before, ratio) = (span.ratio(None, self.resumed), span.ratio(reached, self.staged));
        let staged = self.staged.map_or(0, |staged| staged.count);
        Some(WalkProgress {
            ratio,
            pages: self.resumed_pages() + pages,
            entries: staged + walk.len() as u64,
            reached: reached.into_iter().chain(self.staged.map(|staged| staged.oldest)).min()?,
            until: span.until,
            remaining: remaining(walk, pages, now, ratio, before),
        })
    }

    /// The progress of the walk that is on disk; `None` if there is none.
    pub fn staged_progress(&self) -> Option<WalkProgress> {
        let staged = self.staged?;
        let span = self.span(staged.coverage, staged.until, staged.newest)?;
        Some(WalkProgress {
            ratio: span.ratio(None, Some(staged)),
            pages: staged.count.div_ceil(u64::from(self.settings.per_page)),
            entries: staged.count,
            reached: staged.oldest,
            until: span.until,
            remaining: None,
        })
    }

    /// What a walk reads that began at `began`; a first contact reads as far back as it does from the first answer on.
    fn span(&self, coverage: Coverage, until: Timestamp, began: Timestamp) -> Option<WalkSpan> {
        if coverage != Coverage::FirstContact {
            return Some(WalkSpan { from: began, until });
        }
        let until = self.ledger.marks().history_cutoff?;
        Some(WalkSpan { from: until.plus(self.settings.windows.initial_lookback), until })
    }

    /// The answers that a walk had read before the start.
    fn resumed_pages(&self) -> u64 {
        self.resumed.map_or(0, |staged| staged.count.div_ceil(u64::from(self.settings.per_page)))
    }
}

/// How long it will still take to read the rest, if reading from `before` to `ratio` has taken as long as it has.
fn remaining(walk: &WalkJob, pages: u64, now: Duration, ratio: f64, before: f64) -> Option<Duration> {
    let elapsed = now.saturating_sub(walk.began).as_secs_f64();
    let is_known = pages >= PAGES_UNTIL_ESTIMATE && ratio > before;
    is_known.then(|| Duration::try_from_secs_f64(elapsed * (1.0 - ratio) / (ratio - before)).ok()).flatten()
}
