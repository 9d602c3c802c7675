//! What the steps of a target mean for the traces of its polls. Called by the steps, and by the environment's loop before
//! it pays for one.

use super::reader::{Reader, Step};
use super::step_result::StepResult;
use crate::telemetry::poll::{PollKind, WaitReason};
use talkover_core::reading::job::{Job, Lane};

/// The poll to which a step belongs.
pub fn kind_of(work: &Step) -> PollKind {
    match work {
        Step::Settle(_) => PollKind::Commit,
        Step::Read(job) => kind_of_job(job),
    }
}

/// The poll to which a job belongs.
pub fn kind_of_job(job: &Job) -> PollKind {
    match job {
        Job::Recheck(_) => PollKind::Recheck,
        Job::Walk(walk) => match walk.lane {
            Lane::Head => PollKind::Head,
            Lane::Sweep => PollKind::Sweep,
        },
    }
}

/// Records that a step could not be paid for, after it was given back.
pub fn wait_for_budget(reader: &mut Reader, kind: PollKind) {
    reader.traces.wait(kind, WaitReason::Budget);
}

/// Records how a step ended that belonged to a poll of this `kind`.
pub fn follow(reader: &mut Reader, kind: PollKind, result: &StepResult) {
    let is_parked = reader.is_parked(kind);
    let Reader { traces, target, .. } = reader;
    match result {
        StepResult::More(_) | StepResult::Expected => traces.go_on(target, kind),
        StepResult::Complete(tally) => traces.complete(kind, tally),
        StepResult::Failed(error) | StepResult::Narrowed(error) if is_parked => traces.retry(target, kind, error),
        StepResult::Failed(error) | StepResult::Narrowed(error) => {
            traces.fail(kind, error.poll_result().as_str(), error);
        }
        StepResult::NotWritten(failure) => traces.fail(kind, "state", failure),
        StepResult::Stopped => traces.end(kind, "stopped"),
    }
    // What another poll has read to the end is read no more.
    for other in PollKind::ALL {
        if !reader.is_parked(other) {
            reader.traces.end(other, "superseded");
        }
    }
}
