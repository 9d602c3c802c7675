//! Runs of entries with equal `created_at` that cross a page border.
//!
//! The API promises no order within a run, not even the same order for the next request: while one page is read, an
//! entry of the run may move from the next page to one that was read before. A run is complete when as many different
//! entries were seen as it has places in the list, or when one page has shown all of it (`cover.rs`); until then it is
//! read again, or until several rounds bring nothing new. An unusable entry has no time: if one may belong to the run,
//! its places cannot be counted, and only rounds that bring nothing new are trusted. Pure, like the walk that uses it.

use std::collections::HashSet;

use super::cover::{CutRun, place_of};
use super::cursor::page_of;
use super::known::KnownEntries;
use super::wire::LogPage;
use crate::delivery::{Attempt, EntryId, Timestamp};

/// A run counts as complete after this many rounds in a row that brought nothing new;
const QUIET_ROUNDS: u32 = 3;
/// or this many, if its number of places says that something is missing;
const QUIET_ROUNDS_INCOMPLETE: u32 = 30;
/// or this many, if unusable entries keep its places from being counted. The probability that a round hides an entry is
/// below 0.4.
const QUIET_ROUNDS_UNUSABLE: u32 = 12;

/// A list that becomes shorter at every request, as a log does that nobody writes to any more, must not hold a walk up.
const MAX_RESTARTS: u32 = 30;

/// Where a walk goes after a page.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RunStep {
    /// To the next page, if the walk is not over.
    Onward,
    /// To this one: a run is to be read again, or on to its end.
    To(u32),
    /// To this one, unless one page can show all of this run.
    Again(u32, CutRun),
}

/// The position of a page in the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PagePosition {
    /// Others may follow it.
    Inner,
    /// The list ends with it.
    Last,
}

/// Where the next page begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NextPage {
    /// Where the last one has ended.
    Adjoins,
    /// Before the last one has ended.
    Overlaps,
}

/// What a walk has met of such runs.
#[derive(Debug, Default)]
pub(super) struct SameSecond {
    tail: Option<Tail>,
    run: Option<Run>,
    /// The first of the latest pages that hold only unusable entries, if no page before them tells which second may go
    /// on there: the second of the next usable entry may have begun on them.
    blank_from: Option<u32>,
    /// The second of a run that is complete although the walk went back to the page on which it ends.
    completed: Option<Timestamp>,
    /// How often everything was forgotten because the list had become shorter.
    restarts: u32,
}

/// The last second of a page.
#[derive(Debug)]
struct Tail {
    page: u32,
    time: Timestamp,
    ids: Vec<EntryId>,
    /// Whether the next page may begin before this one has ended.
    overlaps: bool,
    /// Whether some of the page's unusable entries may belong to that second.
    has_unusable: bool,
    /// Whether the very last entry on the page is unusable: then the page may end with another second.
    ends_unusable: bool,
}

/// A run that is being read.
#[derive(Debug)]
struct Run {
    time: Timestamp,
    first_page: u32,
    /// The last page of its longest round: if unusable entries follow, a shorter round does not show that the run has
    /// ended.
    last_page: u32,
    /// The page of this round on which it may have ended.
    ended_on: Option<u32>,
    ids: HashSet<EntryId>,
    /// How many places in the list it has, by this round; `None` if the list's length is not stated.
    places: Option<i64>,
    /// How many of them were on the previous page.
    before: i64,
    /// Whether the list changed in an unexpected way during this round.
    is_disturbed: bool,
    /// Whether some of the unusable entries of its pages may belong to it.
    has_unusable: bool,
    is_first_round: bool,
    has_news: bool,
    quiet: u32,
}

impl SameSecond {
    /// Processes a page that was read; `growth` is how much the list has grown since the page before, if known.
    pub(super) fn see(
        &mut self,
        page: u32,
        read: &LogPage,
        growth: Option<i64>,
        position: PagePosition,
        known: KnownEntries<'_>,
    ) -> RunStep {
        let is_end = position == PagePosition::Last;
        if page == 1 && growth.is_some_and(|growth| growth < 0) && self.restarts < MAX_RESTARTS {
            // Some of what was seen of a run may be gone: it would be counted in place of others.
            *self = Self { restarts: self.restarts + 1, ..Self::default() };
        }
        let attempts = &read.attempts;
        let times = attempts.first().zip(attempts.last()).map(|(first, last)| (first.created_at, last.created_at));
        if self.run.is_none() {
            self.begin_run(page, read, times, known);
        }
        let Some(run) = &mut self.run else {
            self.tail = times.map(|(_, last)| tail(page, read, last));
            if times.is_none() && !read.invalid.is_empty() {
                self.blank_from.get_or_insert(page);
            }
            return RunStep::Onward;
        };
        if page == run.first_page && page > 1 && times.is_none_or(|(first, _)| first == run.time) {
            // Deletions have pulled the beginning of the run to the previous page.
            run.first_page -= 1;
            run.places = Some(0);
            return RunStep::To(run.first_page);
        }
        run.has_unusable |= may_hold_unusable(read, run.time);
        run.take_in(page, attempts, growth, known);
        let is_cut_short = run.has_unusable && page < run.last_page;
        run.last_page = run.last_page.max(page);
        run.note_end(page, read);
        if times.is_none_or(|(_, last)| last >= run.time) && !is_end {
            return RunStep::Onward;
        }
        if is_cut_short && !is_end {
            return RunStep::To(page.saturating_add(1));
        }
        self.tail = times.map(|(_, last)| tail(page, read, last));
        self.end_round(page, read)
    }

    /// Records that all of the run was seen at once.
    pub(super) fn complete(&mut self) {
        self.run = None;
    }

    /// The page on which the run begins that is being read.
    pub(super) fn first_page(&self) -> Option<u32> {
        self.run.as_ref().map(|run| run.first_page)
    }

    /// Records that the walk continues somewhere else: the end of the last page is no longer a border, and places
    /// cannot be counted.
    pub(super) fn leap(&mut self) {
        (self.tail, self.blank_from) = (None, None);
        if let Some(run) = &mut self.run {
            run.places = None;
            run.is_disturbed = true;
        }
    }

    /// Records that pages have another size from now on, `to` instead of `from`, and that `page` is the `next` one.
    pub(super) fn rescale(&mut self, from: u32, to: u32, page: u32, next: NextPage) {
        self.blank_from = self.blank_from.map(|first| page_of(u64::from(first - 1) * u64::from(from), to.max(1)));
        if let Some(tail) = &mut self.tail {
            tail.page = page.saturating_sub(1);
            tail.overlaps |= next == NextPage::Overlaps;
        }
        if let Some(run) = &mut self.run {
            let before = u64::from(run.first_page - 1) * u64::from(from);
            run.first_page = page_of(before, to.max(1));
            run.ended_on = run.ended_on.map(|ended| page_of(u64::from(ended - 1) * u64::from(from), to.max(1)));
            run.last_page = 0;
            run.places = None;
            run.is_disturbed = true;
        }
    }

    /// Begins a run if the last second of the previous page goes on with this one, or may do so because an unusable
    /// entry is at the border.
    fn begin_run(&mut self, page: u32, read: &LogPage, times: Option<(Timestamp, Timestamp)>, known: KnownEntries<'_>) {
        let begins_unusable = read.invalid.first().is_some_and(|entry| entry.place == 0);
        let goes_on = |tail: &mut Tail| {
            let is_met = times.is_some_and(|(first, last)| {
                tail.time == first || tail.overlaps && (last..=first).contains(&tail.time)
            });
            tail.page + 1 == page && (is_met || begins_unusable || tail.ends_unusable)
        };
        let Some(tail) = self.tail.take_if(goes_on) else {
            let blank_from = times.and(self.blank_from.take());
            self.run = blank_from.zip(times).map(|(first_page, (first, _))| Run::unseen(first, first_page));
            return;
        };
        if self.completed.is_some_and(|completed| tail.time >= completed) {
            // An unusable entry at the border may be of the second behind it, which then is on both sides.
            let behind = times.filter(|(first, _)| *first < tail.time);
            self.run = behind.map(|(first, _)| Run::unseen(first, tail.page.max(1)));
            return;
        }
        self.run = Some(Run {
            time: tail.time,
            first_page: tail.page.max(1),
            last_page: 0,
            ended_on: None,
            has_news: tail.ids.iter().any(|id| !(known.entry)(id)),
            places: i64::try_from(tail.ids.len()).ok().filter(|_| !tail.overlaps),
            before: tail.ids.len() as i64,
            ids: tail.ids.into_iter().collect(),
            is_disturbed: tail.overlaps,
            // An unusable entry at the very border counts for the pages on both sides.
            has_unusable: tail.has_unusable,
            is_first_round: true,
            quiet: 0,
        });
    }

    fn end_round(&mut self, page: u32, last_page: &LogPage) -> RunStep {
        let Some(run) = &mut self.run else { return RunStep::Onward };
        let patience = match run.places {
            _ if run.has_unusable => QUIET_ROUNDS_UNUSABLE,
            Some(_) => QUIET_ROUNDS_INCOMPLETE,
            // Places that only this round could not count: the next one will.
            None if run.is_disturbed => QUIET_ROUNDS_INCOMPLETE,
            None => QUIET_ROUNDS,
        };
        let is_complete = match run.places {
            _ if run.has_unusable => false,
            Some(places) => run.ids.len() as i64 >= places,
            // A single entry on both sides of the border was pushed there by a new one.
            None => run.ids.len() == 1 && !run.is_disturbed,
        };
        // If the first reading brings only known entries, whatever may hide in the run is left to the next poll.
        let is_known = run.is_first_round && !run.has_news;
        run.is_first_round = false;
        run.quiet = if run.has_news { 0 } else { run.quiet + 1 };
        // The seconds on the pages behind it were only passed: they are read from where the run ends.
        let passed_from = run.ended_on.take().filter(|ended| *ended < page);
        if is_complete || is_known || run.quiet >= patience {
            let time = run.time;
            self.run = None;
            let Some(ended_on) = passed_from else { return RunStep::Onward };
            (self.tail, self.completed) = (None, Some(time));
            return RunStep::To(ended_on);
        }
        run.has_news = false;
        run.places = Some(0);
        run.is_disturbed = false;
        match run.cut(last_page).filter(|_| passed_from.is_none()) {
            Some(cut) => RunStep::Again(run.first_page, cut),
            None => RunStep::To(run.first_page),
        }
    }
}

impl Run {
    /// A run of which nothing was seen yet, and which may begin on `first_page` with unusable entries.
    fn unseen(time: Timestamp, first_page: u32) -> Self {
        Self {
            time,
            first_page,
            last_page: 0,
            ended_on: None,
            ids: HashSet::new(),
            places: None,
            before: 0,
            is_disturbed: true,
            has_unusable: true,
            is_first_round: true,
            has_news: false,
            quiet: 0,
        }
    }

    /// The run as the page shows it on which it ends; `None` if nothing is behind it. An unusable entry at the border
    /// may be of the second behind it, which then is on both sides too.
    fn cut(&self, last_page: &LogPage) -> Option<CutRun> {
        let behind = last_page.attempts.iter().map(|attempt| attempt.created_at).find(|time| *time < self.time)?;
        let oldest = if self.has_unusable { behind } else { self.time };
        let end_before = |moment| place_of(last_page, |time| time < moment);
        let end = end_before(oldest);
        let len = self.ids.len() as u64 + (end - end_before(self.time));
        Some(CutRun { newest: self.time, oldest, len, end })
    }

    /// Records whether the run may have ended on a page: something older is on it, or an unusable entry is its last one.
    fn note_end(&mut self, page: u32, read: &LogPage) {
        let times = || read.attempts.iter().map(|attempt| attempt.created_at);
        if times().next() == Some(self.time) {
            self.ended_on = None;
        }
        let ends_unusable = read.invalid.last().is_some_and(|entry| entry.place >= read.attempts.len());
        if ends_unusable || times().next_back().is_some_and(|last| last < self.time) {
            self.ended_on.get_or_insert(page);
        }
    }

    fn take_in(&mut self, page: u32, attempts: &[Attempt], growth: Option<i64>, known: KnownEntries<'_>) {
        let mut count = 0;
        for id in of_time(attempts, self.time) {
            count += 1;
            if self.ids.insert(id.clone()) && !(known.entry)(id) {
                self.has_news = true;
            }
        }
        // What new entries have pushed on from the previous page is here for the second time.
        let pushed = if page <= self.first_page { Some(0) } else { growth.filter(|growth| *growth >= 0) };
        self.is_disturbed |= growth.is_some_and(|growth| growth < 0);
        let before = std::mem::replace(&mut self.before, count);
        self.places = self.places.zip(pushed).map(|(places, pushed)| places + count - pushed.min(before));
    }
}

fn tail(page: u32, read: &LogPage, time: Timestamp) -> Tail {
    Tail {
        page,
        time,
        ids: of_time(&read.attempts, time).cloned().collect(),
        overlaps: false,
        has_unusable: may_hold_unusable(read, time),
        ends_unusable: read.invalid.last().is_some_and(|entry| entry.place == read.attempts.len()),
    }
}

/// Whether an unusable entry of the page may be of `time`: if the usable entry before or after it is, as the list is in
/// order.
fn may_hold_unusable(read: &LogPage, time: Timestamp) -> bool {
    let is_of_time = |place: usize| read.attempts.get(place).is_none_or(|attempt| attempt.created_at == time);
    read.invalid.iter().any(|entry| is_of_time(entry.place) || entry.place.checked_sub(1).is_none_or(is_of_time))
}

fn of_time(attempts: &[Attempt], time: Timestamp) -> impl Iterator<Item = &EntryId> {
    attempts.iter().filter(move |attempt| attempt.created_at == time).map(|attempt| &attempt.id)
}

#[cfg(test)]
mod tests;
