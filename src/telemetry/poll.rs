//! The traces of a target's polls: a span from a poll's first request to its commit, with its requests, the waits between
//! them, the decision and the commit below it.
//!
//! A poll that fails and is retried soon stays one trace, so that it shows the waits and the retries. It ends when that
//! has gone on for a minute, or an outage would be seen only after its end; and it ends after so many requests, because
//! a first reading may take hours, and receivers limit the size of a trace. The next one is linked to it.

use std::time::{Duration, Instant};

use tracing::Span;
use tracing::field::Empty;

use super::request;
use super::span::{child_span, fail, number, root_span};
use talkover_core::delivery::Target;
use talkover_core::ledger::decide::Tally;
use talkover_core::reading::error::ApiError;

/// A poll that has been failing for this long is over.
const LONGEST_FAILURE: Duration = Duration::from_secs(60);
/// A trace with this many requests is over.
const MAX_REQUESTS: u32 = 200;

/// What is read by a poll. Each of them is under way at most once for each target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PollKind {
    /// From the newest entry to known ground.
    Head,
    /// Further.
    Sweep,
    /// The pages of open entries.
    Recheck,
    /// Nothing: what could not be committed before is.
    Commit,
}

impl PollKind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Head, Self::Sweep, Self::Recheck, Self::Commit];

    fn as_str(self) -> &'static str {
        match self {
            Self::Head => "head",
            Self::Sweep => "sweep",
            Self::Recheck => "recheck",
            Self::Commit => "commit",
        }
    }
}

/// What a poll waits for between two requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitReason {
    /// Its next turn: other targets, or other work on this one, come first.
    Turn,
    /// The request budget.
    Budget,
    /// The API has said when to come back, or that there were too many requests.
    RateLimit,
    /// Some time after a failure.
    Backoff,
}

impl WaitReason {
    fn as_str(self) -> &'static str {
        match self {
            Self::Turn => "turn",
            Self::Budget => "budget",
            Self::RateLimit => "rate_limit",
            Self::Backoff => "backoff",
        }
    }
}

/// The polls of one target that are under way. Empty while traces are off.
#[derive(Debug, Default)]
pub struct PollTraces {
    polls: [Option<Box<PollTrace>>; PollKind::ALL.len()],
    /// The one that goes on at present, or did last.
    active: Option<PollKind>,
}

#[derive(Debug)]
struct PollTrace {
    span: Span,
    began: Instant,
    wait: Option<(Span, WaitReason)>,
    requests: u32,
    /// Failures since the last page that could be used.
    failures: u32,
}

impl PollTrace {
    fn begin(target: &Target, kind: PollKind) -> Option<Self> {
        let span = root_span!(
            "poll",
            talkover.environment = &*target.environment,
            talkover.webhook.id = &*target.webhook_id,
            talkover.webhook.name = &*target.webhook_name,
            talkover.poll.kind = kind.as_str(),
            talkover.poll.requests = Empty,
            talkover.poll.result = Empty,
            talkover.entries.new = Empty,
            talkover.entries.changed = Empty,
            talkover.entries.unchanged = Empty
        );
        (!span.is_none()).then(|| Self { span, began: Instant::now(), wait: None, requests: 0, failures: 0 })
    }

    fn end_wait(&mut self) {
        if let Some((span, reason)) = self.wait.take() {
            span.record("talkover.wait.reason", reason.as_str());
        }
    }

    fn wait(&mut self, reason: WaitReason) {
        let span = match self.wait.take() {
            Some((span, _)) => span,
            None => child_span!(&self.span, "wait", talkover.wait.reason = Empty),
        };
        self.wait = Some((span, reason));
    }

    fn end(mut self, result: &str) -> Span {
        self.end_wait();
        self.span.record("talkover.poll.requests", i64::from(self.requests)).record("talkover.poll.result", result);
        self.span
    }
}

impl PollTraces {
    /// Begins a poll of this kind, if none is under way.
    pub fn begin(&mut self, target: &Target, kind: PollKind) {
        let poll = &mut self.polls[kind as usize];
        if poll.is_none() {
            *poll = PollTrace::begin(target, kind).map(Box::new);
        }
    }

    /// The span of the poll that goes on at present; none if none does.
    pub fn active(&self) -> Span {
        self.active.map_or_else(Span::none, |kind| self.span(kind))
    }

    fn span(&self, kind: PollKind) -> Span {
        self.polls[kind as usize].as_ref().map_or_else(Span::none, |poll| poll.span.clone())
    }

    /// A poll goes on: its wait is over.
    pub fn resume(&mut self, kind: PollKind) {
        self.active = Some(kind);
        if let Some(poll) = &mut self.polls[kind as usize] {
            poll.end_wait();
        }
    }

    /// Begins the next request of a poll.
    pub fn request(&mut self, kind: PollKind) -> Span {
        self.resume(kind);
        let Some(poll) = &mut self.polls[kind as usize] else { return Span::none() };
        poll.requests += 1;
        request::begin(&poll.span, poll.failures)
    }

    /// The next request of a poll waits.
    pub fn wait(&mut self, kind: PollKind, reason: WaitReason) {
        if let Some(poll) = &mut self.polls[kind as usize] {
            poll.wait(reason);
        }
    }

    /// A page of a poll was used, and its reading goes on at the next turn.
    pub fn go_on(&mut self, target: &Target, kind: PollKind) {
        let Some(poll) = &mut self.polls[kind as usize] else { return };
        poll.failures = 0;
        if poll.requests < MAX_REQUESTS {
            return poll.wait(WaitReason::Turn);
        }
        self.cut(target, kind, "continued");
        self.wait(kind, WaitReason::Turn);
    }

    /// A request of a poll has failed, and is made again after some time.
    pub fn retry(&mut self, target: &Target, kind: PollKind, error: &ApiError) {
        let Some(poll) = &mut self.polls[kind as usize] else { return };
        poll.failures = poll.failures.saturating_add(1);
        let is_told = error.retry_after().is_some() || matches!(error, ApiError::RateLimited { .. });
        let reason = if is_told { WaitReason::RateLimit } else { WaitReason::Backoff };
        if poll.began.elapsed() >= LONGEST_FAILURE {
            let failures = poll.failures;
            fail(&poll.span, error.poll_result().as_str(), &error.to_string());
            self.cut(target, kind, error.poll_result().as_str());
            if let Some(next) = &mut self.polls[kind as usize] {
                next.failures = failures;
            }
        }
        self.wait(kind, reason);
    }

    /// Ends a poll whose reading goes on in another one, which is linked to it.
    fn cut(&mut self, target: &Target, kind: PollKind, result: &str) {
        let Some(ended) = self.polls[kind as usize].take().map(|poll| poll.end(result)) else { return };
        self.begin(target, kind);
        self.span(kind).follows_from(&ended);
    }

    /// A poll is complete and committed.
    pub fn complete(&mut self, kind: PollKind, tally: &Tally) {
        if let Some(poll) = self.polls[kind as usize].take() {
            let span = poll.end("success");
            span.record("talkover.entries.new", number(tally.new))
                .record("talkover.entries.changed", number(tally.changed))
                .record("talkover.entries.unchanged", number(tally.unchanged));
        }
    }

    /// A poll has failed and is over: `result` is one of few words, `reason` is what the log says.
    pub fn fail(&mut self, kind: PollKind, result: &str, reason: &impl ToString) {
        if let Some(poll) = self.polls[kind as usize].take() {
            let span = poll.end(result);
            fail(&span, result, &reason.to_string());
        }
    }

    /// Ends a poll without a success or a failure, if it is under way.
    pub fn end(&mut self, kind: PollKind, result: &str) {
        if let Some(poll) = self.polls[kind as usize].take() {
            poll.end(result);
        }
    }
}
