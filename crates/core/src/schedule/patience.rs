//! Backing off after failures: which targets the scheduler does not poll, and for how long. Time is passed in, as the
//! time since any fixed moment.
//!
//! - A target that fails backs off by itself: after a few failures in a row it is polled no more often than an
//!   idle one.
//! - 401 and 429 concern all targets: the environment is paused ([`Pause`]).
//! - During an outage ([`Outage`]), one target at a time is probed, and all resume at the first answer.
//!
//! Called by the environment's loop, which makes the requests. Must never hold back a target because another one fails
//! by itself.

use std::collections::HashMap;
use std::time::Duration;

use super::backoff::Backoff;
use super::outage::{Outage, OutageVerdict, Reach, Unanswered};
use super::pause::{Pause, Rejection, asked_for};
use super::scheduler::{Next, Scheduler, TurnOutcome};
use super::{RequestClass, TargetId, Turn};

/// After more failures in a row than this, a target costs no more requests than an idle one.
const FAILURES_AT_FULL_PACE: u32 = 5;

/// Why a request failed. Each variant may carry the wait that the API asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestFailure {
    /// Every other request would be rejected too: 401 or 429.
    Rejected(Option<Duration>),
    /// The API did not answer, or only with a 5xx.
    Unanswered(Option<Duration>),
    /// The API answered, but with an error, or with something unusable.
    Answered(Option<Duration>),
}

/// How a step of a target ended: what the schedule needs of the pipeline's `StepResult`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepOutcome {
    /// The program is stopping.
    Stopped,
    /// What was begun needs further requests.
    Unfinished,
    /// It is complete, and brought this many new entries.
    Complete(u64),
    /// What was read could not be written.
    NotWritten,
    /// The request failed.
    Failed(RequestFailure),
    /// The request failed, but others of the same list did not: the walk looks for the cause. May carry the wait that
    /// the API asked for.
    Narrowed(Option<Duration>),
    /// The request failed as expected, because of an entry that is known to be unreadable. Says nothing of the API.
    Expected,
}

/// A change of the environment to be logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// No request is answered any more.
    OutageBegan,
    /// A request was answered again, after this long.
    OutageEnded(Duration),
}

/// What a target is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Activity {
    #[default]
    Nothing,
    /// Its step makes no request.
    Writing,
    /// Its request began at that time.
    Asking(Duration),
}

/// The patience with one target.
#[derive(Debug, Default)]
struct TargetPatience {
    work: Activity,
    backoff: Backoff,
    reach: Reach,
    /// The end of the wait that the API asked for at its last request.
    asked_to_wait_until: Duration,
}

/// Which targets of an environment are left alone, and whether the environment itself is.
#[derive(Debug, Default)]
pub struct Patience {
    pause: Pause,
    outage: Outage,
    members: HashMap<TargetId, TargetPatience>,
    /// How many targets are [hopeful](Reach::is_hopeful).
    hopeful: usize,
    /// When the next probe of an outage may begin.
    probe_at: Duration,
    /// The probe under way.
    probe: Option<TargetId>,
}

impl Patience {
    /// Adds a target of which nothing is known.
    pub fn add(&mut self, target: TargetId) {
        if self.members.insert(target, TargetPatience::default()).is_none_or(|before| !before.reach.is_hopeful()) {
            self.hopeful += 1;
        }
    }

    /// Forgets a target.
    pub fn remove(&mut self, target: TargetId) {
        if let Some(member) = self.members.remove(&target) {
            self.hopeful -= usize::from(member.reach.is_hopeful());
        }
        self.probe = self.probe.filter(|probe| *probe != target);
    }

    /// Whether there is an outage.
    pub fn is_out(&self) -> bool {
        self.outage.is_on()
    }

    /// How long everybody has to wait at `now`, after a rejection or in an outage.
    pub fn remaining_pause(&self, now: Duration) -> Duration {
        let probe_at = if self.is_out() { self.probe_at } else { Duration::ZERO };
        probe_at.max(self.pause.until()).saturating_sub(now)
    }

    /// Whose turn it is at `now`, or when to call again; `None` if only the end of a turn under way can change
    /// anything.
    pub fn next(&self, scheduler: &mut Scheduler, now: Duration) -> Option<Next> {
        let next = if self.is_out() && !self.members.is_empty() {
            soonest(self.next_probe(now), scheduler.next_discovery(now))
        } else {
            scheduler.next(now)
        };
        next.map(|next| next.not_before(self.pause.until(), now))
    }

    /// The next probe during an outage.
    fn next_probe(&self, now: Duration) -> Option<Next> {
        if self.probe.is_some() {
            return None;
        }
        let idle = || self.members.iter().filter(|(_, member)| member.work == Activity::Nothing);
        let at = idle().map(|(_, member)| member.asked_to_wait_until).min()?.max(self.probe_at);
        if at > now {
            return Some(Next::At(at));
        }
        let allowed = idle().filter(|(_, member)| member.asked_to_wait_until <= now);
        let (target, _) = allowed.min_by_key(|(target, member)| (member.reach.probe_order(), **target))?;
        Some(Next::Turn(Turn::Ask(*target, RequestClass::Heads)))
    }

    /// Records that a target begins a new walk or round, rather than going on with one.
    pub fn begin(&mut self, target: TargetId) {
        if let Some(member) = self.members.get_mut(&target) {
            member.backoff.begin();
        }
    }

    /// Records that a target's request begins at `now`.
    pub fn ask(&mut self, target: TargetId, now: Duration) {
        self.start(target, Activity::Asking(now));
    }

    /// Records that a target begins a step that makes no request.
    pub fn write(&mut self, target: TargetId) {
        self.start(target, Activity::Writing);
    }

    fn start(&mut self, target: TargetId, work: Activity) {
        if let Some(member) = self.members.get_mut(&target) {
            member.work = work;
            self.probe = if self.outage.is_on() { Some(target) } else { self.probe };
        }
    }

    /// Records how a target's step ended at `now`, and returns what that means for its turn. `jitter`, from 0 to 1,
    /// chooses between half and all of a pause.
    pub fn end(
        &mut self,
        scheduler: &mut Scheduler,
        target: TargetId,
        end: StepOutcome,
        now: Duration,
        jitter: f64,
    ) -> (TurnOutcome, Option<Change>) {
        self.probe = self.probe.filter(|probe| *probe != target);
        let Some(member) = self.members.get_mut(&target) else { return (TurnOutcome::Interrupted, None) };
        let work = std::mem::take(&mut member.work);
        let change = match (work, end) {
            (Activity::Nothing | Activity::Writing, _)
            | (_, StepOutcome::Stopped | StepOutcome::Expected | StepOutcome::Narrowed(_)) => None,
            (Activity::Asking(at), StepOutcome::Failed(RequestFailure::Unanswered(_))) => {
                self.record_unanswered(target, at, now, jitter)
            }
            (Activity::Asking(at), StepOutcome::Failed(RequestFailure::Rejected(retry_after))) => {
                self.pause.reject(Rejection { asked_at: at, retry_after }, now, jitter);
                self.record_answer(scheduler, target, now)
            }
            (Activity::Asking(_), _) => {
                self.pause.accept();
                self.record_answer(scheduler, target, now)
            }
        };
        let is_out = self.outage.is_on();
        let Some(member) = self.members.get_mut(&target) else { return (TurnOutcome::Interrupted, change) };
        let outcome = match end {
            StepOutcome::Stopped | StepOutcome::Failed(RequestFailure::Rejected(_)) => TurnOutcome::Interrupted,
            StepOutcome::Unfinished | StepOutcome::Expected => {
                member.backoff.progress();
                TurnOutcome::Unfinished
            }
            StepOutcome::Complete(found) => {
                member.backoff.succeed();
                TurnOutcome::Complete(found)
            }
            StepOutcome::NotWritten => {
                let pause = member.backoff.fail(jitter);
                self.probe_at = self.probe_at.max(now + pause);
                TurnOutcome::Failed(pause)
            }
            StepOutcome::Narrowed(retry_after) => {
                // There is a cause to find, not an outage to wait for.
                member.backoff.progress();
                let (asked, backoff) = (asked_for(retry_after), member.backoff.fail(jitter));
                member.asked_to_wait_until = asked.map_or(Duration::ZERO, |wait| now + wait);
                TurnOutcome::Failed(asked.unwrap_or(backoff))
            }
            StepOutcome::Failed(RequestFailure::Unanswered(retry_after) | RequestFailure::Answered(retry_after)) => {
                let (asked, backoff) = (asked_for(retry_after), member.backoff.fail(jitter));
                member.asked_to_wait_until = asked.map_or(Duration::ZERO, |wait| now + wait);
                let is_slow = member.backoff.failures() > FAILURES_AT_FULL_PACE && !is_out;
                let shortest = if is_slow { scheduler.max_interval() } else { Duration::ZERO };
                TurnOutcome::Failed(asked.unwrap_or(backoff).max(shortest))
            }
        };
        (outcome, change)
    }

    /// Records a request of discovery that was answered and not rejected.
    pub fn accept(&mut self) {
        self.pause.accept();
    }

    /// Records a failed request of discovery that began at `asked_at`. Only a rejection concerns the targets: lists
    /// have a back-off of their own.
    pub fn fail_discovery(&mut self, failure: RequestFailure, asked_at: Duration, now: Duration, jitter: f64) {
        if let RequestFailure::Rejected(retry_after) = failure {
            self.pause.reject(Rejection { asked_at, retry_after }, now, jitter);
        }
    }

    fn record_unanswered(
        &mut self,
        target: TargetId,
        asked_at: Duration,
        now: Duration,
        jitter: f64,
    ) -> Option<Change> {
        let member = self.members.get_mut(&target)?;
        let before = member.reach;
        member.reach = before.unanswered();
        self.hopeful -= usize::from(before.is_hopeful());
        let was_out = self.outage.is_on();
        let unanswered = Unanswered { asked_at, before, has_hopeful_neighbours: self.hopeful > 0 };
        if let OutageVerdict::Out(pause) = self.outage.unanswered(unanswered, now, jitter) {
            self.probe_at = now + pause;
        }
        (!was_out && self.outage.is_on()).then_some(Change::OutageBegan)
    }

    /// Records an answer. If it ends an outage, the targets that were answered before it resume at once.
    fn record_answer(&mut self, scheduler: &mut Scheduler, target: TargetId, now: Duration) -> Option<Change> {
        let member = self.members.get_mut(&target)?;
        self.hopeful += usize::from(!member.reach.is_hopeful());
        member.reach = Reach::Answered(now);
        member.asked_to_wait_until = Duration::ZERO;
        let lasted = self.outage.answered(now)?;
        for (id, member) in &mut self.members {
            if matches!(member.reach, Reach::Unanswered { last_answer: Some(_), .. }) {
                member.backoff.succeed();
                scheduler.wake(*id, member.asked_to_wait_until, now);
            }
        }
        Some(Change::OutageEnded(lasted))
    }
}

/// The earlier of two; a turn that is due precedes a moment.
fn soonest(first: Option<Next>, second: Option<Next>) -> Option<Next> {
    match (first, second) {
        (Some(Next::At(one)), Some(Next::At(other))) => Some(Next::At(one.min(other))),
        (Some(Next::At(_)) | None, Some(next)) => Some(next),
        (first, _) => first,
    }
}

#[cfg(test)]
mod tests;
