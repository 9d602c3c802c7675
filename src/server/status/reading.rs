//! Whether the log of a webhook can be read, and the progress of a long reading.

use serde::Serialize;

use super::time::{StatusMoment, rfc3339, seconds};
use crate::sinks::metrics::board::{EnvironmentView, TargetView, WalkProgress};
use crate::sinks::metrics::progress::FirstContact;
use talkover_core::delivery::Timestamp;

/// Whether a log can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::server) enum ReadingState {
    /// It cannot be read.
    Failing,
    /// It is being read for the first time.
    FirstContact,
    /// It can be read.
    Ok,
    /// The webhook is disabled in TalkOver, or no longer listed.
    Disabled,
}

/// The state of reading a log.
#[derive(Clone, Debug, Serialize)]
pub(in crate::server) struct Reading {
    pub(in crate::server) state: ReadingState,
    /// Since when it has been in this state.
    pub(in crate::server) since: Option<String>,
    /// Why the last poll failed; null if it succeeded.
    pub(in crate::server) error: Option<String>,
    pub(in crate::server) next_attempt: Option<String>,
    pub(in crate::server) last_success: Option<String>,
    /// The watermark: all entries up to this time have been read.
    pub(in crate::server) watermark: Option<String>,
    pub(in crate::server) poll_interval_seconds: f64,
    /// Whether it is reading entries from a time when the log was not read.
    pub(in crate::server) catching_up: bool,
    /// The progress of a long reading; null if there is none.
    pub(in crate::server) progress: Option<ReadingProgress>,
}

/// The progress of a long reading.
#[derive(Clone, Debug, Serialize)]
pub(in crate::server) struct ReadingProgress {
    /// The ratio that has been read, by time.
    pub(in crate::server) ratio: f64,
    pub(in crate::server) pages_read: u64,
    pub(in crate::server) entries_read: u64,
    /// The time of the oldest entry read so far.
    pub(in crate::server) reached: Option<String>,
    /// The time back to which it reads.
    pub(in crate::server) until: Option<String>,
    pub(in crate::server) eta_seconds: Option<u64>,
}

impl ReadingProgress {
    fn of(walk: WalkProgress) -> Self {
        Self {
            ratio: walk.ratio,
            pages_read: walk.pages,
            entries_read: walk.entries,
            reached: Some(rfc3339(walk.reached)),
            until: Some(seconds(walk.until)),
            eta_seconds: walk.remaining.map(|remaining| remaining.as_secs()),
        }
    }

    /// Sums up the first readings of an environment.
    pub(in crate::server) fn of_environment(first: &FirstContact) -> Self {
        Self {
            ratio: first.ratio,
            pages_read: first.pages,
            entries_read: first.entries,
            reached: first.reached.map(|(reached, _)| rfc3339(reached)),
            until: first.reached.map(|(_, until)| seconds(until)),
            eta_seconds: first.remaining.map(|remaining| remaining.as_secs()),
        }
    }
}

impl Reading {
    /// Derives the state from what `view` and its environment show at `moment`.
    pub(in crate::server) fn of(
        view: &TargetView,
        environment: Option<&EnvironmentView>,
        moment: StatusMoment,
    ) -> Self {
        let trouble = environment.and_then(|environment| environment.trouble.as_ref());
        let is_listed = view.retires.is_none();
        let state = match view.up {
            _ if !is_listed => ReadingState::Disabled,
            Some(false) => ReadingState::Failing,
            // It was failing before the restart, and no poll has ended since.
            None if view.up_since.is_some() => ReadingState::Failing,
            _ if trouble.is_some() => ReadingState::Failing,
            _ if view.is_disabled() => ReadingState::Disabled,
            _ if !view.marks.contacted => ReadingState::FirstContact,
            Some(true) | None => ReadingState::Ok,
        };
        let since = match (state, view.up) {
            (ReadingState::Failing, Some(true)) => trouble.map(|trouble| trouble.since),
            (ReadingState::Failing, None) => view.up_since.or(trouble.map(|trouble| trouble.since)),
            (ReadingState::FirstContact, _) => view.marks.known_at,
            (ReadingState::Disabled, _) => None,
            (_, _) => view.up_since,
        };
        let own_next = view.next_poll.filter(|_| is_listed);
        let next = trouble.and_then(|trouble| trouble.next_attempt).into_iter().chain(own_next).max();
        // It may be overdue, because other logs were read first.
        let next_attempt = next.map(|next| seconds(moment.of(next).max(moment.now)));
        let progress = view.progress.map(ReadingProgress::of);
        let of_all = trouble.filter(|_| state == ReadingState::Failing).map(|trouble| &*trouble.error);
        Self {
            state,
            since: since.map(seconds),
            error: view.failure.as_deref().or(of_all).filter(|_| is_listed).map(ToOwned::to_owned),
            next_attempt,
            last_success: view.last_success.map(rfc3339),
            watermark: view.marks.watermark.map(rfc3339),
            poll_interval_seconds: view.poll_interval.as_secs_f64(),
            catching_up: view.exposure.is_catching_up(),
            progress: progress.or_else(|| unbegun(view, state)),
        }
    }
}

/// Returns the progress of a first reading that has not begun; `None` in other states.
fn unbegun(view: &TargetView, state: ReadingState) -> Option<ReadingProgress> {
    let until: Option<Timestamp> = view.marks.history_cutoff;
    let begin = ReadingProgress {
        ratio: 0.0,
        pages_read: 0,
        entries_read: 0,
        reached: None,
        until: until.map(seconds),
        eta_seconds: None,
    };
    (state == ReadingState::FirstContact).then_some(begin)
}
