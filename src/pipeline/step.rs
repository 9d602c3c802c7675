//! One turn of one target: one request, and where that completes what was to be read, the decision, the commit, and only then
//! the memory and the metrics.

use std::sync::Arc;
use std::time::Duration;

use prometheus::IntCounter;
use tracing::{debug, error, info};

use super::reader::{Absorbed, Reader};
use crate::clock;
use crate::delivery::Timestamp;
use crate::ledger::decide::{Batch, Policy, Tally, decide};
use crate::shutdown::Shutdown;
use crate::sinks::metrics::board::{Board, Committed};
use crate::sinks::metrics::daemon::{ApiMetrics, LOGS};
use crate::source::client::{Client, Exchange};
use crate::source::error::ApiError;
use crate::source::wire::LogPage;
use crate::store::handle::StoreHandle;

/// What every step of an environment works with.
#[derive(Clone, Debug)]
pub struct Workshop {
    /// The way to the API.
    pub client: Arc<Client>,
    /// How decisions are made.
    pub policy: Arc<Policy>,
    /// Where decisions become durable.
    pub store: StoreHandle,
    /// Where they are shown.
    pub board: Board,
    /// Where requests are counted.
    pub api: ApiMetrics,
    /// Commits that could not be written.
    pub write_errors: IntCounter,
}

/// What a step came to.
#[derive(Debug)]
pub struct Stepped {
    /// The target, ready for its next step.
    pub reader: Reader,
    /// What is known of the request, where one was made.
    pub exchange: Option<Exchange>,
    /// The server's clock.
    pub date: Timestamp,
    /// The result.
    pub result: StepResult,
}

/// How a step ended.
#[derive(Debug)]
pub enum StepResult {
    /// The poll needs further requests.
    More(Tally),
    /// The poll is complete.
    Complete(Tally),
    /// The request failed.
    Failed(ApiError),
    /// The state file could not be written; what was read is kept.
    NotWritten,
    /// The program is to end.
    Stopped,
}

/// Makes one step for `reader`, at `now` since the start. Ends early, before anything is decided, when `shutdown` is requested.
pub async fn step(workshop: Workshop, mut reader: Reader, now: Duration, mut shutdown: Shutdown) -> Stepped {
    if let Some(batch) = reader.take_uncommitted() {
        let date = batch.now;
        let (reader, result) = settle(workshop, reader, batch, now).await;
        return Stepped { reader, exchange: None, date, result };
    }
    let request = reader.request(now);
    let asked = workshop.client.logs(&reader.target, request.page, request.per_page);
    let answer = tokio::select! {
        answer = asked => answer,
        () = shutdown.recv() => {
            return Stepped { reader, exchange: None, date: clock::now(), result: StepResult::Stopped };
        }
    };
    workshop.api.record(&reader.target.environment, LOGS, &answer.exchange);
    let date = answer.exchange.date.unwrap_or_else(clock::now);
    let (reader, result) = match answer.result {
        Err(error) => (reader, StepResult::Failed(error)),
        Ok(page) => {
            for entry in &page.invalid {
                debug!(target = %reader.target, entry = %entry.key, reason = entry.reason, "unusable log entry");
            }
            take_in(workshop, reader, page, date, now).await
        }
    };
    Stepped { reader, exchange: Some(answer.exchange), date, result }
}

/// Takes in a page; where it is the first of all, what that settles is committed before.
async fn take_in(
    workshop: Workshop,
    mut reader: Reader,
    page: LogPage,
    date: Timestamp,
    now: Duration,
) -> (Reader, StepResult) {
    if let Some(batch) = reader.meet(date) {
        match settle(workshop.clone(), reader, batch, now).await {
            (met, StepResult::More(_)) => reader = met,
            failed => return failed,
        }
    }
    match reader.absorb(page, date) {
        Ok(Absorbed::More) => (reader, StepResult::More(Tally::default())),
        Ok(Absorbed::Complete(batch)) => settle(workshop, reader, batch, now).await,
        Err(error) => (reader, StepResult::Failed(ApiError::InvalidResponse(error.to_string()))),
    }
}

/// Decides, commits and applies, on a thread that may wait for the disk.
async fn settle(workshop: Workshop, reader: Reader, batch: Batch, now: Duration) -> (Reader, StepResult) {
    let target = reader.target.clone();
    let work = tokio::task::spawn_blocking(move || settle_blocking(&workshop, reader, batch, now));
    match work.await {
        Ok(settled) => settled,
        Err(failure) => {
            // A panic is a defect of ours. What this target remembers is gone with it; going on without would count anew.
            error!(%target, "the task that decides ended early: {failure}");
            std::panic::resume_unwind(failure.into_panic())
        }
    }
}

fn settle_blocking(workshop: &Workshop, mut reader: Reader, batch: Batch, now: Duration) -> (Reader, StepResult) {
    let decision = decide(&reader.ledger, &batch, &workshop.policy);
    if decision.changes.must_commit {
        if let Err(failure) = workshop.store.commit(&reader.target, &decision.changes) {
            workshop.write_errors.inc();
            error!(target = %reader.target, "{failure}");
            reader.keep_uncommitted(batch);
            return (reader, StepResult::NotWritten);
        }
        debug!(target = %reader.target, entries = decision.changes.rows.len(), "committed");
    }
    if !reader.ledger.marks().contacted && decision.changes.marks.as_ref().is_some_and(|marks| marks.contacted) {
        info!(target = %reader.target, entries = decision.tally.new, "first contact: read the retained log");
    }
    let committed = Committed::from(&decision.changes);
    reader.ledger.apply(decision.changes);
    let tally = decision.tally;
    workshop.board.update(&reader.target, |view, environment| {
        view.show(&reader.ledger, &committed);
        environment.entries_read.new += tally.new;
        environment.entries_read.changed += tally.changed;
        environment.entries_read.unchanged += tally.unchanged;
    });
    let goes_on = reader.committed(&batch, now);
    if !goes_on {
        reader.succeeded(batch.now);
        workshop.store.note_success(&reader.target, batch.now);
    }
    (reader, if goes_on { StepResult::More(tally) } else { StepResult::Complete(tally) })
}
