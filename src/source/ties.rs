//! Runs of entries with equal `created_at` that cross a page's border.
//!
//! The API promises no order among them, not even the same one at the next request: while one page is read, an entry of the run
//! may move from the next page to one that was read before. So such a run is read again until several rounds bring nothing new.
//! Pure, like the pager that uses it.

use std::collections::HashSet;

use super::pager::Known;
use crate::delivery::{Attempt, EntryId, Timestamp};

/// A run is complete when so many rounds in a row have brought nothing new.
const QUIET_ROUNDS: u32 = 3;

/// Where a walk goes after a page.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// To the next page.
    Onward,
    /// Back to this one: a run is to be read again.
    Again(u32),
}

/// What a walk has met of runs.
#[derive(Debug, Default)]
pub(super) struct Ties {
    tail: Option<Tail>,
    run: Option<Run>,
}

/// The last second of a page.
#[derive(Debug)]
struct Tail {
    page: u32,
    time: Timestamp,
    ids: HashSet<EntryId>,
}

/// A run that is being read again.
#[derive(Debug)]
struct Run {
    time: Timestamp,
    first_page: u32,
    ids: HashSet<EntryId>,
    has_news: bool,
    quiet: u32,
}

impl Ties {
    /// Takes in a page that was read; `growth` is by how much the list has grown since the page before, where that is known.
    pub(super) fn see(
        &mut self,
        page: u32,
        attempts: &[Attempt],
        growth: Option<i64>,
        is_end: bool,
        known: Known<'_>,
    ) -> Step {
        let times = attempts.first().zip(attempts.last()).map(|(first, last)| (first.created_at, last.created_at));
        let Some((first, last)) = times else {
            return if is_end { self.end_round() } else { Step::Onward };
        };
        if self.run.is_none() {
            self.begin_run(page, first, attempts, growth, known);
        }
        let Some(run) = &mut self.run else {
            self.tail = Some(tail(page, attempts, last));
            return Step::Onward;
        };
        if page == run.first_page && first == run.time && page > 1 {
            // Deletions have pulled the run's beginning to the page before.
            run.first_page -= 1;
            return Step::Again(run.first_page);
        }
        run.take_in(attempts, known);
        if last >= run.time && !is_end {
            return Step::Onward;
        }
        self.tail = Some(tail(page, attempts, last));
        self.end_round()
    }

    /// Whether a run is being read again.
    pub(super) fn is_in_run(&self) -> bool {
        self.run.is_some()
    }

    /// The walk reads on where this page border is none: with pages of another size, or somewhere else.
    pub(super) fn leap(&mut self) {
        self.tail = None;
    }

    /// Pages have another size from now on.
    pub(super) fn rescale(&mut self, from: u32, to: u32) {
        self.tail = None;
        if let Some(run) = &mut self.run {
            let before = u64::from(run.first_page - 1) * u64::from(from);
            run.first_page = u32::try_from(before / u64::from(to.max(1))).unwrap_or(u32::MAX - 1) + 1;
        }
    }

    fn begin_run(&mut self, page: u32, first: Timestamp, attempts: &[Attempt], growth: Option<i64>, known: Known<'_>) {
        let Some(tail) = self.tail.take_if(|tail| tail.time == first && tail.page + 1 == page) else { return };
        let head: Vec<&EntryId> = of_time(attempts, first).collect();
        if is_explained(&tail.ids, &head, growth) {
            return;
        }
        let ids: HashSet<EntryId> = tail.ids.into_iter().chain(head.into_iter().cloned()).collect();
        // Where all of it was known before, whatever may hide in it is left to the next poll.
        if ids.iter().any(|id| !(known.entry)(id)) {
            let first_page = tail.page;
            self.run = Some(Run { time: first, first_page, ids, has_news: true, quiet: 0 });
        }
    }

    fn end_round(&mut self) -> Step {
        let Some(run) = &mut self.run else { return Step::Onward };
        run.quiet = if run.has_news { 0 } else { run.quiet + 1 };
        run.has_news = false;
        if run.quiet >= QUIET_ROUNDS {
            self.run = None;
            return Step::Onward;
        }
        self.tail = None;
        Step::Again(run.first_page)
    }
}

impl Run {
    fn take_in(&mut self, attempts: &[Attempt], known: Known<'_>) {
        for id in of_time(attempts, self.time) {
            if self.ids.insert(id.clone()) && !(known.entry)(id) {
                self.has_news = true;
            }
        }
    }
}

/// Whether what stands on both sides of a border is there only because new entries have pushed it on.
fn is_explained(tail: &HashSet<EntryId>, head: &[&EntryId], growth: Option<i64>) -> bool {
    let is_repetition = head.iter().all(|id| tail.contains(*id));
    match growth {
        Some(growth) => is_repetition && growth >= head.len() as i64,
        None => is_repetition && tail.len() == 1,
    }
}

fn tail(page: u32, attempts: &[Attempt], time: Timestamp) -> Tail {
    Tail { page, time, ids: of_time(attempts, time).cloned().collect() }
}

fn of_time(attempts: &[Attempt], time: Timestamp) -> impl Iterator<Item = &EntryId> {
    attempts.iter().filter(move |attempt| attempt.created_at == time).map(|attempt| &attempt.id)
}
