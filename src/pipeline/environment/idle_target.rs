//! A target that waits for its next step: its reader, and how its polls have gone. Everything that the environment's
//! loop needs of a [`Reader`] goes through here.

use std::time::Duration;

use crate::pipeline::reader::{ReadSettings, Reader, Remembered, Step};
use crate::pipeline::trace;
use crate::sinks::metrics::board::WalkProgress;
use crate::store::Loaded;
use talkover_core::delivery::Target;
use talkover_core::discovery::targets::ListedTarget;
use talkover_core::schedule::RequestClass;
use talkover_core::schedule::rate::Rate;
use talkover_core::schedule::streak::FailureStreak;
use talkover_core::server_time::ServerTime;

/// A target in its place.
#[derive(Debug)]
pub(super) struct IdleTarget {
    reader: Reader,
    pub(super) state: PollState,
}

/// How a target's polls have gone.
#[derive(Debug, Default)]
pub(super) struct PollState {
    /// Its own failures in a row.
    pub(super) streak: FailureStreak,
    /// Whether the state file could not be written at the last attempt.
    pub(super) is_unwritten: bool,
    /// No recheck is due before this, in time since the start: the last one failed.
    pub(super) recheck_not_before: Duration,
    /// Whether the scheduler knows the remembered arrivals.
    is_seeded: bool,
}

impl IdleTarget {
    /// A target with what the state file remembers of it.
    pub(super) fn new(listed: &ListedTarget, loaded: Loaded, settings: ReadSettings) -> Self {
        let Loaded { ledger, last_success, failing_since, staged, is_behind, .. } = loaded;
        let remembered =
            Remembered { ledger, last_success, failing_since, staged, is_behind, known_at: listed.known_at };
        let mut reader = Reader::new(listed.target.clone(), remembered, settings);
        reader.info = listed.info.clone();
        Self { reader, state: PollState::default() }
    }

    /// A target after a step.
    pub(super) fn returned(reader: Reader, state: PollState) -> Self {
        Self { reader, state }
    }

    pub(super) fn into_parts(self) -> (Reader, PollState) {
        (self.reader, self.state)
    }

    pub(super) fn target(&self) -> &Target {
        &self.reader.target
    }

    /// The progress of the long walk that is on disk; `None` if there is none.
    pub(super) fn staged_progress(&self) -> Option<WalkProgress> {
        self.reader.staged_progress()
    }

    /// Updates what discovery knows of the target.
    pub(super) fn update(&mut self, listed: &ListedTarget) {
        self.reader.target = listed.target.clone();
        self.reader.info = listed.info.clone();
    }

    /// Whether a reading was begun and is not complete.
    pub(super) fn is_reading(&self) -> bool {
        self.reader.is_reading()
    }

    /// Returns the next step for a class of work at `now` since the start, when about `expected` new entries are
    /// expected. `None` if there is nothing left to read: another job has read it since it became due.
    pub(super) fn begin(&mut self, class: RequestClass, expected: f64, now: Duration) -> Option<Step> {
        self.reader.begin(class, expected, now)
    }

    /// Begins the trace of the poll that a step belongs to, if that is its first step.
    pub(super) fn begin_trace(&mut self, work: &Step) {
        self.reader.traces.begin(&self.reader.target, trace::kind_of(work));
    }

    /// Takes back a step that could not be paid for.
    pub(super) fn give_back(&mut self, work: Step) {
        let kind = trace::kind_of(&work);
        self.reader.give_back(work);
        trace::wait_for_budget(&mut self.reader, kind);
    }

    /// When the next sweep and the next recheck are due, in time since the start; `None` if there is none.
    pub(super) fn due(&self) -> [Option<Duration>; 2] {
        [self.reader.sweep_due(), self.reader.recheck_due()]
    }

    /// Returns the rate of arrivals up to `date`, as far as the memory shows it; `Some` only at the first call.
    pub(super) fn take_arrivals(&mut self, date: ServerTime) -> Option<Rate> {
        (!std::mem::replace(&mut self.state.is_seeded, true)).then(|| self.reader.arrivals(date))
    }
}
