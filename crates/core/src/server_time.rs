//! What time it is on the server: which `Date` headers are believed, and which clock goes on while none is.
//!
//! Pure: headers and the time since the start are passed in. *Invariant:* no single reading of a clock moves the time
//! by more than [`TOLERANCE`], neither the server's nor this machine's: whatever cannot be undone (a cutoff, `expired`,
//! `abandoned`, pruning) is decided by a [`ServerTime`], and only when the clock is [`Certainty::Confirmed`]. The types
//! separate what is easily confused: only [`BelievedClock::new`] turns a [`LocalTime`] into a [`ServerTime`], and to
//! compare the two one has to take the [`Timestamp`] out of both.
//!
//! The program keeps one clock for each environment, because all answers of an environment come from one server.

use std::time::Duration;

use crate::delivery::Timestamp;

/// A `Date` that differs from the expected time by more than this is not believed at once. Clocks that are kept by NTP
/// differ by less, and a cutoff that is five minutes off loses nothing.
pub const TOLERANCE: Duration = Duration::from_secs(5 * 60);
/// This many answers in a row have to agree with each other before they outweigh the time that is believed.
const AGREEING: u32 = 3;
/// After this many answers without any agreement the clock is settled all the same: an API that never agrees with
/// itself must not stop the daemon from reading.
const UNDECIDED: u32 = 12;

/// What the header `Date` of an answer claims.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DateHeader(pub Timestamp);

/// The time on the server, as far as it is believed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct ServerTime(Timestamp);

/// What this machine's clock shows. It may be set at any time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct LocalTime(Timestamp);

/// The time since the program started, by a clock that cannot be set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct SinceStart(Duration);

impl ServerTime {
    /// The server's time as a clock that is believed has shown it.
    pub const fn new(moment: Timestamp) -> Self {
        Self(moment)
    }

    /// The moment, to be compared with the log's times, which are the server's too.
    pub const fn timestamp(self) -> Timestamp {
        self.0
    }

    /// This time plus `duration`.
    pub fn plus(self, duration: Duration) -> Self {
        Self(self.0.plus(duration))
    }

    /// This time minus `duration`.
    pub fn minus(self, duration: Duration) -> Self {
        Self(self.0.minus(duration))
    }

    /// The time since `earlier`, which is zero if that is later.
    pub fn since(self, earlier: Timestamp) -> Duration {
        self.0.since(earlier)
    }
}

impl LocalTime {
    /// What the local clock has shown.
    pub const fn new(moment: Timestamp) -> Self {
        Self(moment)
    }

    /// The moment, for logs, gauges and comparisons within this machine.
    pub const fn timestamp(self) -> Timestamp {
        self.0
    }
}

impl SinceStart {
    /// The time that has passed since the program started.
    pub const fn new(duration: Duration) -> Self {
        Self(duration)
    }

    /// The time since `earlier`, which is zero if that is later.
    pub fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

/// Whether decisions that cannot be undone may rest on the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Certainty {
    /// Only one reading supports it.
    Assumed,
    /// Two clocks agree on it, or several answers do.
    Confirmed,
}

/// What an answer has changed, to be logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClockNews {
    /// Nothing to log.
    None,
    /// A `Date` is not believed, although the one before was.
    Doubted {
        /// What it claims.
        claimed: DateHeader,
    },
    /// The server's time is a different one from now on.
    Moved {
        /// The time that was expected.
        from: ServerTime,
    },
    /// The answers agree neither with each other nor with the local clock; the earliest of their times is used.
    Undecided,
}

/// The time, as of one answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Observed {
    /// The server's time.
    pub now: ServerTime,
    /// When the answer came.
    pub at: SinceStart,
    /// Whether it may be relied on.
    pub certainty: Certainty,
    /// What is new about it.
    pub news: ClockNews,
}

/// The server's clock, as far as its answers are believed.
///
/// Starts with the local clock. A `Date` within [`TOLERANCE`] of the expected time is believed at once; any other one
/// only if the next two answers agree with it. Until then, and if an answer has no `Date`, the last time that was
/// believed goes on with the time since the start. The first `Date` that is believed confirms the clock; if the first
/// three answers have none at all, the local clock has to do.
#[derive(Clone, Debug)]
pub struct BelievedClock {
    /// The last time that was believed, and when.
    base: ServerTime,
    at: SinceStart,
    claim: Option<Claim>,
    /// The claim that implies the earliest time, while the clock is not confirmed.
    earliest: Option<Claim>,
    /// Whether the clock is confirmed.
    state: ClockState,
    /// Whether the last `Date` was believed.
    is_doubting: bool,
}

#[derive(Clone, Copy, Debug)]
enum ClockState {
    Assumed { answers: u32 },
    Confirmed,
}

/// A time that is not believed yet.
#[derive(Clone, Copy, Debug)]
struct Claim {
    time: Timestamp,
    at: SinceStart,
    answers: u32,
}

impl Claim {
    /// The time that it implies at `at`.
    fn at(&self, at: SinceStart) -> Timestamp {
        self.time.plus(at.since(self.at))
    }
}

impl BelievedClock {
    /// A clock that starts from the local one, which showed `local` at `at`.
    pub fn new(local: LocalTime, at: SinceStart) -> Self {
        Self {
            base: ServerTime(local.0),
            at,
            claim: None,
            earliest: None,
            state: ClockState::Assumed { answers: 0 },
            is_doubting: false,
        }
    }

    /// The server's time at `at`.
    pub fn now(&self, at: SinceStart) -> ServerTime {
        self.base.plus(at.since(self.at))
    }

    /// Learns from an answer that came at `at`, and from its `Date`.
    pub fn observe(&mut self, date: Option<DateHeader>, at: SinceStart) -> Observed {
        let mut news = match date {
            Some(date) => self.weigh(date, at),
            None => ClockNews::None,
        };
        if self.is_undecided() {
            news = ClockNews::Undecided;
            // Taking the time to be earlier than it is makes walks read further back and give up later: nothing is
            // lost.
            let claimed = self.earliest.map_or(self.now(at), |claim| ServerTime(claim.at(at)));
            self.believe(claimed.min(self.now(at)), at);
        }
        let certainty = match self.state {
            ClockState::Assumed { .. } => Certainty::Assumed,
            ClockState::Confirmed => Certainty::Confirmed,
        };
        Observed { now: self.now(at), at, certainty, news }
    }

    fn weigh(&mut self, date: DateHeader, at: SinceStart) -> ClockNews {
        let expected = self.now(at);
        if is_near(date.0, expected.0) {
            self.believe(ServerTime(date.0), at);
            return ClockNews::None;
        }
        let claim = match self.claim {
            Some(claim) if is_near(date.0, claim.at(at)) => Claim { answers: claim.answers + 1, ..claim },
            _ => Claim { time: date.0, at, answers: 1 },
        };
        if claim.answers >= AGREEING {
            self.believe(ServerTime(date.0), at);
            return ClockNews::Moved { from: expected };
        }
        self.claim = Some(claim);
        if self.earliest.is_none_or(|earliest| claim.at(at) < earliest.at(at)) {
            self.earliest = Some(claim);
        }
        let was_doubting = std::mem::replace(&mut self.is_doubting, true);
        if was_doubting { ClockNews::None } else { ClockNews::Doubted { claimed: date } }
    }

    fn believe(&mut self, time: ServerTime, at: SinceStart) {
        (self.base, self.at, self.claim, self.earliest) = (time, at, None, None);
        self.state = ClockState::Confirmed;
        self.is_doubting = false;
    }

    /// Counts an answer that has not confirmed the clock. Returns whether that was the last one to wait for.
    fn is_undecided(&mut self) -> bool {
        let ClockState::Assumed { answers } = &mut self.state else { return false };
        *answers += 1;
        if *answers >= AGREEING && self.claim.is_none() {
            // No answer has a `Date`: there is only the local clock, and nothing contradicts it.
            self.state = ClockState::Confirmed;
            return false;
        }
        *answers >= UNDECIDED
    }
}

fn is_near(a: Timestamp, b: Timestamp) -> bool {
    a.since(b).max(b.since(a)) <= TOLERANCE
}

#[cfg(test)]
mod tests;
